/* The first process of a dev host: starts its daemons in its own process group and starts again
 * what dies, after 100 ms to 1 s.
 *
 * It is not libuv's business: one poll on a signalfd with the next restart as its timeout.  It ends
 * only with its host: when it dies the supervisor takes that as a crash of the host.
 */

#include "cmd/picket-devd/dev.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define PROCS_MAX 8
#define ARGS_MAX 64
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 1000
#define STEADY_MS 5000      /* ran that long: the next restart is quick again */
#define EXIT_WANTS_RESET 3  /* the agent's word that this host must be reset */
#define LOG_MAX (64L << 20) /* a log above this is started anew at a restart of its process */

struct proc {
    const char *name;
    char *argv[ARGS_MAX];
    char **env;
    char log[DEV_PATH_MAX];
    char pid_file[DEV_PATH_MAX];
    char stay_down[DEV_PATH_MAX]; /* while this file exists it is not started */
    bool may_reset;
    pid_t pid;
    uint64_t started_ms;
    uint64_t start_at_ms; /* when pid is 0 */
    uint64_t backoff_ms;
};

struct init {
    struct proc procs[PROCS_MAX];
    size_t n_procs;
    json_t *root;
};

extern char **environ;

/* ---- the description, written by the supervisor ---- */

static json_t *proc_describe(const struct dev_host *h, const char *binary, json_t *args)
{
    char path[DEV_PATH_MAX * 2];

    (void)snprintf(path, sizeof(path), "%s/%s", h->dev->bin_dir, binary);
    (void)json_array_insert_new(args, 0, json_string(path));
    return json_pack("{s:s, s:o}", "name", binary, "argv", args);
}

static void arg(json_t *args, const char *option, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void arg(json_t *args, const char *option, const char *fmt, ...)
{
    char text[DEV_PATH_MAX * 4];
    va_list ap;

    va_start(ap, fmt);
    CHECK(vsnprintf(text, sizeof(text), fmt, ap) < (int)sizeof(text));
    va_end(ap);
    (void)json_array_append_new(args, json_string(option));
    (void)json_array_append_new(args, json_string(text));
}

static void tls_args(json_t *args, const struct dev_host *h, const char *who)
{
    arg(args, "--tls-cert", "%s/pki/%s-%s.crt", h->dev->dir, h->name, who);
    arg(args, "--tls-key", "%s/pki/%s-%s.key", h->dev->dir, h->name, who);
    arg(args, "--tls-ca", "%s/pki/ca.crt", h->dev->dir);
}

static json_t *picketd_describe(const struct dev_host *h)
{
    struct dev *d = h->dev;
    json_t *args = json_array();
    struct buf voters = { 0 };
    char ip[32];

    addrs_ip(h->number, h->number, 1, ip);
    for (size_t i = 0; i < d->n_hosts; i++) {
        const struct dev_host *v = &d->hosts[i];

        if (v->voter) {
            buf_printf(&voters, "%s%d=%s@%s:%u+%s.link2:%u", voters.len > 0 ? "," : "", v->number,
                       v->name, v->name, d->port, v->name, d->port);
        }
    }
    arg(args, "--name", "%s", h->name);
    arg(args, "--data", "%s/hosts/%s/store", d->dir, h->name);
    arg(args, "--listen-peer", "%s:%u", ip, d->port);
    arg(args, "--listen-api", "%s:%u", ip, d->port + 1U);
    tls_args(args, h, "voter");
    arg(args, "--cluster", "%s", d->cluster_id);
    arg(args, "--bootstrap", "%s", buf_cstr(&voters));
    arg(args, "--fence-helper", "%s/picket-fence", d->bin_dir);
    (void)json_array_append_new(args, json_string("--lab"));
    buf_done(&voters);
    return proc_describe(h, "picketd", args);
}

/* Its own picketd first, then the others over link 1, then those over link 2. */
static void endpoints(const struct dev_host *h, struct buf *out)
{
    const struct dev *d = h->dev;

    if (h->voter) {
        buf_printf(out, "%s:%u", h->name, d->port + 1U);
    }
    for (size_t i = 0; i < 2 * d->n_hosts; i++) {
        const struct dev_host *v = &d->hosts[i % d->n_hosts];

        if (v->voter && v != h) {
            buf_printf(out, "%s%s%s:%u", out->len > 0 ? "," : "", v->name,
                       i < d->n_hosts ? "" : ".link2", d->port + 1U);
        }
    }
}

static json_t *agent_describe(const struct dev_host *h)
{
    const struct dev *d = h->dev;
    json_t *args = json_array();
    struct buf eps = { 0 };

    endpoints(h, &eps);
    arg(args, "--name", "%s", h->name);
    arg(args, "--data", "%s/hosts/%s/agent", d->dir, h->name);
    arg(args, "--endpoints", "%s", buf_cstr(&eps));
    tls_args(args, h, "agent");
    arg(args, "--driver", "dev");
    arg(args, "--dev-dir", "%s", d->dir);
    arg(args, "--watchdog-socket", "%s/hosts/%s/run/watchdog.sock", d->dir, h->name);
    arg(args, "--boot-id-file", "%s/hosts/%s/boot-id", d->dir, h->name);
    arg(args, "--hardware-id", "%s", h->hardware_id);
    arg(args, "--memory", "%s", d->agent_memory);
    arg(args, "--cpus", "%s", d->agent_cpus);
    buf_done(&eps);
    return proc_describe(h, "picket-agent", args);
}

static json_t *watchdog_describe(const struct dev_host *h)
{
    json_t *args = json_array();

    arg(args, "--socket", "%s/hosts/%s/run/watchdog.sock", h->dev->dir, h->name);
    arg(args, "--state", "%s/hosts/%s/run/watchdog.deadline", h->dev->dir, h->name);
    arg(args, "--device", "dev:%s/hosts/%s/watchdog.sock", h->dev->dir, h->name);
    arg(args, "--timeout-ms", "2000");
    return proc_describe(h, "picket-watchdog", args);
}

json_t *init_describe(struct dev_host *h)
{
    json_t *procs = json_array();
    json_t *root;
    char map[DEV_PATH_MAX], dir[DEV_PATH_MAX];

    if (h->agent) {
        (void)json_array_append_new(procs, watchdog_describe(h));
    }
    if (h->voter) {
        (void)json_array_append_new(procs, picketd_describe(h));
    }
    if (h->agent) {
        (void)json_array_append_new(procs, agent_describe(h));
    }
    host_path(h, map, "addrmap");
    host_path(h, dir, "%s", "");
    root = json_pack("{s:s, s:s, s:s, s:o}", "name", h->name, "dir", dir, "addrmap", map, "procs",
                     procs);
    CHECK(root != NULL);
    return root;
}

/* ---- the process ---- */

/* One older log is kept. */
static void rotate_log(const struct proc *p)
{
    char old[DEV_PATH_MAX + 4];
    struct stat st;

    if (stat(p->log, &st) == 0 && st.st_size > LOG_MAX) {
        (void)snprintf(old, sizeof(old), "%s.1", p->log);
        (void)rename(p->log, old);
    }
}

static void start_proc(struct proc *p, uint64_t now)
{
    struct spawn s = {
        .argv = p->argv, .log = p->log, .stdin_fd = -1, .service = str_eq(p->name, "picketd")
    };
    struct err err = { 0 };
    char text[32];
    int n;

    if (access(p->stay_down, F_OK) == 0) {
        p->start_at_ms = now + BACKOFF_MAX_MS;
        return;
    }
    rotate_log(p);
    if (dev_spawn(&s, &p->pid, &err) != 0) {
        lg_err("init", "process=%s msg=\"%s\"", p->name, err.msg);
        p->pid = 0;
        p->start_at_ms = now + BACKOFF_MAX_MS;
        return;
    }
    p->started_ms = now;
    n = snprintf(text, sizeof(text), "%d", (int)p->pid);
    if (dev_write_file(p->pid_file, text, (size_t)n, &err) != 0) {
        lg_err("init", "process=%s msg=\"%s\"", p->name, err.msg);
    }
    lg_info("init", "process=%s pid=%d msg=started", p->name, (int)p->pid);
}

static void proc_gone(struct proc *p, int status, uint64_t now)
{
    lg_info("init", "process=%s pid=%d %s=%d msg=\"ended\"", p->name, (int)p->pid,
            WIFSIGNALED(status) ? "signal" : "exit",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    (void)unlink(p->pid_file);
    p->pid = 0;
    if (p->may_reset && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_WANTS_RESET) {
        lg_warn("init", "process=%s msg=\"asked for a reset of this host\"", p->name);
        exit(EXIT_WANTS_RESET);
    }
    if (p->backoff_ms == 0 || now - p->started_ms >= STEADY_MS) {
        p->backoff_ms = BACKOFF_MIN_MS;
    } else {
        p->backoff_ms = p->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : p->backoff_ms * 2;
    }
    p->start_at_ms = now + p->backoff_ms;
}

static void reap(struct init *in)
{
    uint64_t now = clock_now_ms();
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < in->n_procs; i++) {
            if (in->procs[i].pid == pid) {
                proc_gone(&in->procs[i], status, now);
            }
        }
    }
}

/* Start what is due; how long until the next, -1: nothing waits. */
static int start_due(struct init *in)
{
    uint64_t now = clock_now_ms();
    int wait_ms = -1;

    for (size_t i = 0; i < in->n_procs; i++) {
        struct proc *p = &in->procs[i];

        if (p->pid == 0 && p->start_at_ms <= now) {
            start_proc(p, now);
        }
        if (p->pid == 0) {
            int left = (int)(p->start_at_ms > now ? p->start_at_ms - now : 1);

            wait_ms = wait_ms < 0 || left < wait_ms ? left : wait_ms;
        }
    }
    return wait_ms;
}

static int load_proc(struct init *in, const char *dir, const json_t *v, struct err *err)
{
    struct proc *p = &in->procs[in->n_procs];
    const json_t *argv = json_object_get(v, "argv");
    size_t i;
    json_t *a;

    p->name = json_string_value(json_object_get(v, "name"));
    if (p->name == NULL || in->n_procs == PROCS_MAX || json_array_size(argv) == 0 ||
        json_array_size(argv) >= ARGS_MAX) {
        return err_set(err, ERR_CORRUPT, "process %zu is damaged", in->n_procs);
    }
    json_array_foreach (argv, i, a) {
        p->argv[i] = mem_strdup(json_string_value(a));
    }
    (void)snprintf(p->log, sizeof(p->log), "%slog/%s.log", dir, p->name);
    (void)snprintf(p->pid_file, sizeof(p->pid_file), "%srun/%s.pid", dir, p->name);
    (void)snprintf(p->stay_down, sizeof(p->stay_down), "%srun/%s.stopped", dir, p->name);
    p->may_reset = str_eq(p->name, "picket-agent");
    (void)unlink(p->pid_file);
    (void)unlink(p->stay_down);
    in->n_procs++;
    return 0;
}

static int load(struct init *in, const char *file, struct err *err)
{
    json_error_t why;
    const char *dir, *map;
    json_t *v;
    size_t i;
    int rc = 0;

    in->root = json_load_file(file, 0, &why);
    if (in->root == NULL) {
        return err_set(err, ERR_CORRUPT, "%s:%d: %s", file, why.line, why.text);
    }
    dir = json_string_value(json_object_get(in->root, "dir"));
    map = json_string_value(json_object_get(in->root, "addrmap"));
    if (dir == NULL || map == NULL || setenv("PICKET_ADDRESS_MAP", map, 1) != 0) {
        return err_set(err, ERR_CORRUPT, "%s: dir or addrmap is missing", file);
    }
    json_array_foreach (json_object_get(in->root, "procs"), i, v) {
        rc = load_proc(in, dir, v, err);
        if (rc != 0) {
            return err_wrap(err, "%s", file);
        }
    }
    return rc;
}

static void on_signal(struct init *in, uint32_t sig)
{
    switch (sig) {
    case SIGCHLD:
        break;
    case SIGHUP: /* look again at what may run */
        for (size_t i = 0; i < in->n_procs; i++) {
            in->procs[i].start_at_ms = 0;
        }
        break;
    default:
        lg_info("init", "signal=%u msg=\"ends\"", sig);
        exit(0);
    }
}

static void run(struct init *in, int fd)
{
    struct signalfd_siginfo si;
    struct pollfd p = { .fd = fd, .events = POLLIN };

    for (;;) {
        int wait_ms = start_due(in);

        if (poll(&p, 1, wait_ms) > 0 && read(fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
            on_signal(in, si.ssi_signo);
        }
        reap(in);
    }
}

int init_main(const char *file)
{
    struct init in = { 0 };
    struct err err = { 0 };
    sigset_t set;
    int fd;

    (void)prctl(PR_SET_NAME, "picket-dev-init");
    if (load(&in, file, &err) != 0) {
        lg_err("init", "msg=\"%s\"", err.msg);
        return 1;
    }
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || (fd = signalfd(-1, &set, SFD_CLOEXEC)) < 0) {
        lg_err("init", "errno=%d msg=\"signalfd\"", errno);
        return 1;
    }
    run(&in, fd);
    return 0;
}
