/* picket-agent: makes what runs on this host equal to what the cluster wants there.
 *
 * Options on the command line win over the configuration file, which holds the same names without
 * the dashes as "key = value" lines.  docs/agent.md describes both.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "api/valid.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/prio.h"
#include "base/str.h"
#include "reconciler/agent.h"
#include "reconciler/console.h"
#include "reconciler/dev_drv.h"
#include "reconciler/host_lvm.h"
#include "reconciler/host_objects.h"
#include "reconciler/intent.h"
#include "reconciler/renew.h"
#include "reconciler/xen_drv.h"

#define EXIT_USAGE 2
#define EXIT_RESET 3 /* this host has to be reset */
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define HARDWARE_ID_FILE "/sys/class/dmi/id/product_uuid"

enum opt {
    OPT_NAME,
    OPT_DATA,
    OPT_ENDPOINTS,
    OPT_TLS_CERT,
    OPT_TLS_KEY,
    OPT_TLS_CA,
    OPT_DRIVER,
    OPT_DEV_DIR,
    OPT_WATCHDOG_SOCKET,
    OPT_WATCHDOG_TIMEOUT,
    OPT_BOOT_ID_FILE,
    OPT_HARDWARE_ID,
    OPT_MEMORY,
    OPT_CPUS,
    OPT_GUEST,
    OPT_ON_REFUSED,
    OPT_RESET_EXEC,
    OPT_CONFIG,
    OPT_COUNT,
};

static const struct {
    const char *name;
    const char *deflt;
    const char *arg;
    const char *text;
} opts[OPT_COUNT] = {
    [OPT_NAME] = { "name", NULL, "HOST", "name of this host (of its Host object)" },
    [OPT_DATA] = { "data", "/var/lib/picket/agent", "DIR", "what must survive a restart" },
    [OPT_ENDPOINTS] = { "endpoints", NULL, "A,B,...", "picketd's to talk to, the own one first" },
    [OPT_TLS_CERT] = { "tls-cert", NULL, "FILE", "certificate of this agent" },
    [OPT_TLS_KEY] = { "tls-key", NULL, "FILE", "its key" },
    [OPT_TLS_CA] = { "tls-ca", NULL, "FILE", "certificate of the cluster's authority" },
    [OPT_DRIVER] = { "driver", NULL, "dev|xen", "what runs the guests" },
    [OPT_DEV_DIR] = { "dev-dir", NULL, "DIR", "folder of the dev cluster (driver dev)" },
    [OPT_WATCHDOG_SOCKET] = { "watchdog-socket", NULL, "PATH",
                              "socket of picket-watchdog; without it the host is not guarded" },
    [OPT_WATCHDOG_TIMEOUT] = { "watchdog-timeout", NULL, "TIME",
                               "W to ask for; the cluster's timing decides without it" },
    [OPT_BOOT_ID_FILE] = { "boot-id-file", BOOT_ID_FILE, "FILE", "the boot id" },
    [OPT_HARDWARE_ID] = { "hardware-id", NULL, "ID", "the machine; " HARDWARE_ID_FILE " else" },
    [OPT_MEMORY] = { "memory", "64Gi", "SIZE", "memory for guests (driver dev)" },
    [OPT_CPUS] = { "cpus", "16", "N", "processors (driver dev)" },
    [OPT_GUEST] = { "guest", NULL, "PATH", "picket-guest (driver dev); beside this program else" },
    [OPT_ON_REFUSED] = { "on-refused", "exit", "exit|reset",
                         "when this boot was fenced: exit with 3, or run --reset-exec" },
    [OPT_RESET_EXEC] = { "reset-exec", NULL, "PATH", "program that resets the host at once" },
    [OPT_CONFIG] = { "config", NULL, "FILE", "read options from here first" },
};

struct program {
    char *values[OPT_COUNT];
    uv_loop_t loop;
    uv_signal_t term, intr;
    struct agent *agent;
    struct console_srv *consoles; /* NULL: not begun */
    struct host_apply *objects;   /* the driver's; NULL: dev */
    char *boot_id, *hardware_id;
    char *endpoints[RENEW_ENDPOINTS_MAX];
    size_t n_endpoints;
    int exit_code;
    bool stopping;
};

static void usage(FILE *f)
{
    (void)fputs("usage: picket-agent --name HOST --endpoints A,B,... --driver dev|xen [OPTION]...\n"
                "\nMakes what runs on this host equal to what the cluster wants there.\n\n",
                f);
    for (int i = 0; i < OPT_COUNT; i++) {
        char left[64];

        (void)snprintf(left, sizeof(left), "--%s %s", opts[i].name, opts[i].arg);
        (void)fprintf(f, "  %-28s %s%s%s%s\n", left, opts[i].text,
                      opts[i].deflt == NULL ? "" : " (", opts[i].deflt == NULL ? "" : opts[i].deflt,
                      opts[i].deflt == NULL ? "" : ")");
    }
    (void)fputs(
        "\nExit status: 0 stopped by a signal, 1 failed, 2 wrong options, 3 the host has to "
        "be reset.\n",
        f);
}

/* --- options -----------------------------------------------------------------------------------
 */

static int find_opt(const char *name)
{
    for (int i = 0; i < OPT_COUNT; i++) {
        if (str_eq(opts[i].name, name)) {
            return i;
        }
    }
    return -1;
}

static char *trim(char *s)
{
    size_t n;

    s += strspn(s, " \t");
    n = strlen(s);
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t' || s[n - 1] == '\r')) {
        s[--n] = '\0';
    }
    return s;
}

static int config_line(struct program *p, const char *path, unsigned line, char *text,
                       struct err *err)
{
    char *value = strchr(text, '=');
    int i;

    if (text[0] == '#' || text[0] == '\0') {
        return 0;
    }
    if (value == NULL) {
        return err_set(err, ERR_INVALID, "%s:%u: \"key = value\" is expected", path, line);
    }
    *value++ = '\0';
    i = find_opt(trim(text));
    if (i < 0 || i == OPT_CONFIG) {
        return err_set(err, ERR_INVALID, "%s:%u: no option is called \"%s\"; see --help", path,
                       line, trim(text));
    }
    if (p->values[i] == NULL) {
        p->values[i] = mem_strdup(trim(value));
    }
    return 0;
}

static int read_config(struct program *p, const char *path, struct err *err)
{
    char *text = NULL;
    char *next;
    unsigned line = 1;
    int rc = intent_read_file(path, &text, err);

    if (rc != 0) {
        return rc;
    }
    for (char *l = text; rc == 0 && l != NULL; l = next, line++) {
        next = strchr(l, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        rc = config_line(p, path, line, trim(l), err);
    }
    free(text);
    return rc;
}

static int parse(struct program *p, int argc, char **argv, struct err *err)
{
    struct option table[OPT_COUNT + 2] = { { 0 } };
    int c, rc = 0;

    for (int i = 0; i < OPT_COUNT; i++) {
        table[i] = (struct option){ opts[i].name, required_argument, NULL, 'A' + i };
    }
    table[OPT_COUNT] = (struct option){ "help", no_argument, NULL, 'h' };
    while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        if (c == 'h') {
            usage(stdout);
            exit(0);
        }
        if (c < 'A' || c >= 'A' + OPT_COUNT) {
            return err_set(err, ERR_INVALID, "wrong option; see --help");
        }
        free(p->values[c - 'A']);
        p->values[c - 'A'] = mem_strdup(optarg);
    }
    if (optind < argc) {
        return err_set(err, ERR_INVALID, "\"%s\" is not an option; see --help", argv[optind]);
    }
    if (p->values[OPT_CONFIG] != NULL) {
        rc = read_config(p, p->values[OPT_CONFIG], err);
    }
    for (int i = 0; i < OPT_COUNT; i++) {
        if (p->values[i] == NULL) {
            p->values[i] = mem_strdup(opts[i].deflt);
        }
    }
    return rc;
}

static int split_endpoints(struct program *p, struct err *err)
{
    char *save = NULL;
    char *copy = mem_strdup(p->values[OPT_ENDPOINTS]);
    int rc = 0;

    for (char *e = strtok_r(copy, ", ", &save); e != NULL; e = strtok_r(NULL, ", ", &save)) {
        if (p->n_endpoints == RENEW_ENDPOINTS_MAX) {
            rc = err_set(err, ERR_INVALID, "--endpoints: more than %d", RENEW_ENDPOINTS_MAX);
            break;
        }
        p->endpoints[p->n_endpoints++] = mem_strdup(e);
    }
    free(copy);
    return rc;
}

static int require(struct program *p, struct err *err)
{
    static const enum opt needed[] = { OPT_NAME, OPT_ENDPOINTS, OPT_DRIVER };
    bool tls = p->values[OPT_TLS_CERT] != NULL;

    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if (p->values[needed[i]] == NULL) {
            return err_set(err, ERR_INVALID, "--%s is missing; see --help", opts[needed[i]].name);
        }
    }
    if (tls != (p->values[OPT_TLS_KEY] != NULL) || tls != (p->values[OPT_TLS_CA] != NULL)) {
        return err_set(err, ERR_INVALID, "--tls-cert, --tls-key and --tls-ca belong together");
    }
    if (!str_is_name(p->values[OPT_NAME])) {
        return err_set(err, ERR_INVALID, "--name: \"%s\" is not the name of a host",
                       p->values[OPT_NAME]);
    }
    if (!str_eq(p->values[OPT_ON_REFUSED], "exit") &&
        (!str_eq(p->values[OPT_ON_REFUSED], "reset") || p->values[OPT_RESET_EXEC] == NULL)) {
        return err_set(err, ERR_INVALID, "--on-refused is exit, or reset with --reset-exec PATH");
    }
    return split_endpoints(p, err);
}

/* Identities of the boot and of the machine. */
static int identities(struct program *p, struct err *err)
{
    int rc = intent_read_file(p->values[OPT_BOOT_ID_FILE], &p->boot_id, err);

    if (rc == 0 && p->boot_id[0] == '\0') {
        rc = err_set(err, ERR_INVALID, "%s is empty", p->values[OPT_BOOT_ID_FILE]);
    }
    if (rc == 0 && p->values[OPT_HARDWARE_ID] != NULL) {
        p->hardware_id = mem_strdup(p->values[OPT_HARDWARE_ID]);
    } else if (rc == 0) {
        rc = intent_read_file(HARDWARE_ID_FILE, &p->hardware_id, err);
        if (rc != 0) {
            (void)err_wrap(err, "the machine's id is needed (run as root or give --hardware-id)");
        }
    }
    return rc;
}

/* --- driver ------------------------------------------------------------------------------------
 */

static char *sibling(const char *name)
{
    const char *dir = getenv("PICKET_BIN_DIR");
    char self[4096];
    ssize_t n;

    if (dir != NULL) {
        return mem_printf("%s/%s", dir, name);
    }
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    return mem_printf("%s/%s", dirname(self), name);
}

static int open_dev(struct program *p, struct drv **ret, struct err *err)
{
    struct dev_drv_opts o = { .loop = &p->loop,
                              .dir = p->values[OPT_DEV_DIR],
                              .host = p->values[OPT_NAME],
                              .boot_id = p->boot_id,
                              .tls_cert = p->values[OPT_TLS_CERT],
                              .tls_key = p->values[OPT_TLS_KEY],
                              .tls_ca = p->values[OPT_TLS_CA] };
    char *guest =
        p->values[OPT_GUEST] != NULL ? mem_strdup(p->values[OPT_GUEST]) : sibling("picket-guest");
    int rc;

    o.guest = guest;
    if (o.dir == NULL) {
        rc = err_set(err, ERR_INVALID, "--driver dev needs --dev-dir DIR");
    } else if (!str_parse_size(p->values[OPT_MEMORY], &o.memory_bytes)) {
        rc = err_set(err, ERR_INVALID, "--memory: \"%s\" is not a size such as 64Gi",
                     p->values[OPT_MEMORY]);
    } else if (!str_parse_u64(p->values[OPT_CPUS], &o.cpus) || o.cpus == 0) {
        rc = err_set(err, ERR_INVALID, "--cpus: \"%s\" is not a number of processors",
                     p->values[OPT_CPUS]);
    } else if (access(guest, X_OK) != 0) {
        rc = err_native(err, ERR_INVALID, "errno", errno, "picket-guest (%s)", guest);
    } else {
        rc = dev_drv_new(&o, ret, err);
    }
    free(guest);
    return rc;
}

static void on_storage_closed(void *ctx)
{
    (void)ctx;
}

static int open_xen(struct program *p, struct drv **ret, struct err *err)
{
    struct xen_drv_opts o = { .loop = &p->loop,
                              .tls_cert = p->values[OPT_TLS_CERT],
                              .tls_key = p->values[OPT_TLS_KEY],
                              .tls_ca = p->values[OPT_TLS_CA] };
    struct host_objects_opts ho = { .loop = &p->loop,
                                    .host = p->values[OPT_NAME],
                                    .boot_id = p->boot_id,
                                    .data = p->values[OPT_DATA] };
    int rc = host_objects_new(&ho, &p->objects, err);

    if (rc != 0) {
        return rc;
    }
    o.apply = p->objects;
    o.storage = host_lvm_new(&p->loop);
    host_lvm_below(o.storage, &(struct host_lvm_below){ .usable = host_objects_group_usable,
                                                        .dark = host_objects_group_dark,
                                                        .ctx = p->objects });
    rc = xen_drv_new(&o, ret, err);
    if (rc != 0) {
        o.storage->ops->close(o.storage, on_storage_closed, NULL);
        o.apply->ops->close(o.apply, on_storage_closed, NULL);
        p->objects = NULL;
    }
    return rc;
}

static int open_driver(struct program *p, struct drv **ret, struct err *err)
{
    const char *name = p->values[OPT_DRIVER];

    if (str_eq(name, "dev")) {
        return open_dev(p, ret, err);
    }
    if (str_eq(name, "xen")) {
        return open_xen(p, ret, err);
    }
    return err_set(err, ERR_INVALID, "--driver: \"%s\" is not known; dev or xen", name);
}

/* --- running -----------------------------------------------------------------------------------
 */

static void on_stopped(void *ctx)
{
    (void)ctx; /* the loop ends when the last handle has closed */
}

static void stop(struct program *p)
{
    if (p->stopping) {
        return;
    }
    p->stopping = true;
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->intr, NULL);
    console_srv_close(p->consoles);
    agent_stop(p->agent, on_stopped, p);
}

static void on_signal(uv_signal_t *s, int sig)
{
    lg_info("agent", "signal=%d msg=\"stopping; guests stay as they are\"", sig);
    stop(s->data);
}

static void on_reset(void *ctx, const char *why)
{
    struct program *p = ctx;

    if (str_eq(p->values[OPT_ON_REFUSED], "reset")) {
        char *argv[] = { p->values[OPT_RESET_EXEC], mem_strdup(why), NULL };

        lg_err("agent", "exec=%s msg=\"resetting the host\"", argv[0]);
        (void)execv(argv[0], argv);
        lg_err("agent", "exec=%s err=\"%s\"", argv[0], strerror(errno));
    }
    /* Whoever started us resets the host for this status; guests must not outlive it. */
    _exit(EXIT_RESET);
}

static void on_quorum(void *ctx, uint64_t sent_ms)
{
    const struct program *p = ctx;

    if (p->objects != NULL) {
        host_objects_confirm(p->objects, sent_ms);
    }
}

static void on_host(void *ctx, const json_t *host)
{
    const struct program *p = ctx;

    if (p->objects != NULL) {
        host_objects_host(p->objects, host);
    }
}

static const char *on_status(void *ctx, json_t *status)
{
    const struct program *p = ctx;

    return p->objects == NULL ? "" : host_objects_status(p->objects, status);
}

static void on_synced(void *ctx)
{
    const struct program *p = ctx;

    if (p->objects != NULL) {
        host_objects_synced(p->objects);
    }
}

static int where(void *ctx, const char *vm, struct console_where *ret, struct err *err)
{
    const struct program *p = ctx;

    return agent_console(p->agent, vm, ret, err);
}

static int open_consoles(struct program *p, struct err *err)
{
    struct console_opts o = { .loop = &p->loop,
                              .host = p->values[OPT_NAME],
                              .endpoints = (const char *const *)p->endpoints,
                              .n_endpoints = p->n_endpoints,
                              .where = where,
                              .ctx = p };

    if (p->values[OPT_TLS_CERT] != NULL &&
        tls_ctx_load(p->values[OPT_TLS_CERT], p->values[OPT_TLS_KEY], p->values[OPT_TLS_CA], NULL,
                     &o.tls, err) != 0) {
        return err->code;
    }
    p->consoles = console_srv_new(&o);
    tls_ctx_unref(o.tls);
    return 0;
}

/* Two agents of one host would act against each other.  A record lock goes with the process, and is
 * not inherited by what libxl forks. */
static int lock_data(const char *dir, struct err *err)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    char *path = mem_printf("%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* never closed */
    int rc = 0;

    if (fd < 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "open %s", path);
    } else if (fcntl(fd, F_SETLK, &whole) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno,
                        "%s: another picket-agent works with this folder; leave it alone", path);
    }
    free(path);
    return rc;
}

static int start(struct program *p, struct err *err)
{
    struct agent_opts o = { .name = p->values[OPT_NAME],
                            .data = p->values[OPT_DATA],
                            .endpoints = (const char *const *)p->endpoints,
                            .n_endpoints = p->n_endpoints,
                            .tls_cert = p->values[OPT_TLS_CERT],
                            .tls_key = p->values[OPT_TLS_KEY],
                            .tls_ca = p->values[OPT_TLS_CA],
                            .watchdog = p->values[OPT_WATCHDOG_SOCKET],
                            .boot_id = p->boot_id,
                            .hardware_id = p->hardware_id,
                            .dev = str_eq(p->values[OPT_DRIVER], "dev"),
                            .on_reset = on_reset,
                            .on_quorum = on_quorum,
                            .on_host = on_host,
                            .on_synced = on_synced,
                            .on_status = on_status,
                            .realtime = true,
                            .ctx = p };
    uint64_t w = 0;
    struct drv *drv = NULL;
    int rc;

    o.heartbeat_dir = o.dev ? p->values[OPT_DEV_DIR] : NULL;
    if (p->values[OPT_WATCHDOG_TIMEOUT] != NULL &&
        (!str_parse_duration(p->values[OPT_WATCHDOG_TIMEOUT], &w) || w > 600000)) {
        return err_set(err, ERR_INVALID, "--watchdog-timeout: \"%s\" is not a time up to 10m",
                       p->values[OPT_WATCHDOG_TIMEOUT]);
    }
    o.watchdog_timeout_ms = (uint32_t)w;
    if (mkdir(o.data, 0700) != 0 && errno != EEXIST) {
        return err_native(err, ERR_SYS, "errno", errno, "create folder %s", o.data);
    }
    if (lock_data(o.data, err) != 0) {
        return err->code;
    }
    if (o.tls_cert != NULL && pki_renew_recover(o.tls_cert, o.tls_key, err) != 0) {
        lg_warn("agent", "msg=\"%s\"", err->msg);
    }
    rc = open_driver(p, &drv, err);
    if (rc == 0) {
        rc = agent_start(&p->loop, &o, drv, &p->agent, err);
    }
    if (rc == 0) {
        rc = open_consoles(p, err);
    }
    return rc;
}

static void watch_signals(struct program *p)
{
    CHECK(uv_signal_init(&p->loop, &p->term) == 0);
    CHECK(uv_signal_init(&p->loop, &p->intr) == 0);
    p->term.data = p;
    p->intr.data = p;
    CHECK(uv_signal_start(&p->term, on_signal, SIGTERM) == 0);
    CHECK(uv_signal_start(&p->intr, on_signal, SIGINT) == 0);
}

int main(int argc, char **argv)
{
    static struct program p;
    struct err err;
    int rc;

    lg_init("picket-agent");
    rc = parse(&p, argc, argv, &err);
    if (rc == 0) {
        rc = require(&p, &err);
    }
    if (rc == 0) {
        rc = identities(&p, &err);
    }
    if (rc != 0) {
        (void)fprintf(stderr, "picket-agent: %s\n", err.msg);
        return EXIT_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* commands and streams may end before we have written all */
    json_object_seed(0);            /* before there is a second thread */
    if (prio_service(false, &err) != 0) {
        lg_warn("agent", "err=\"%s\" msg=\"no priority over other programs of this host\"",
                err.msg);
    }
    CHECK(uv_loop_init(&p.loop) == 0);
    rc = start(&p, &err);
    if (rc != 0) {
        lg_err("agent", "code=%s err=\"%s\"", err_name(err.code), err.msg);
        return err.code == ERR_INVALID || err.code == ERR_UNSUPPORTED ? EXIT_USAGE : 1;
    }
    watch_signals(&p);
    (void)uv_run(&p.loop, UV_RUN_DEFAULT);
    return p.exit_code;
}
