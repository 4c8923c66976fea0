#include "cmd/picket/dev.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#define ANSWER_MAX (1U << 20)

int dev_dir(struct cli *c, const char *given, char dst[DEV_DIR_SIZE])
{
    char cwd[PATH_MAX];
    char path[DEV_DIR_SIZE];

    if (given == NULL && !cli_dev_dir(path, sizeof(path))) {
        return cli_bad_usage(c, "--dir D or PICKET_DEV_DIR says where the cluster is");
    }
    if (given != NULL && !str_copy(path, sizeof(path), given)) {
        return cli_bad_usage(c, "--dir: the name is too long");
    }
    if (path[0] != '/' && getcwd(cwd, sizeof(cwd)) != NULL) {
        int n = snprintf(dst, DEV_DIR_SIZE, "%s/%s", cwd, path);

        return n > 0 && n < DEV_DIR_SIZE ? CLI_OK : cli_bad_usage(c, "--dir: the name is too long");
    }
    (void)str_copy(dst, DEV_DIR_SIZE, path);
    return CLI_OK;
}

static int dev_connect(const char *dir)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/devd.sock", dir);
    int fd;

    if (n < 0 || (size_t)n >= sizeof(sun.sun_path)) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

bool dev_alive(const char *dir)
{
    int fd = dev_connect(dir);

    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

/* `until_end`: read on until the other side is gone. */
static json_t *exchange(int fd, const json_t *rq, bool until_end)
{
    char *text = json_dumps(rq, JSON_COMPACT);
    struct buf in = { .max = ANSWER_MAX };
    json_t *answer = NULL;
    char chunk[4096];
    ssize_t n;

    CHECK(text != NULL);
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text) &&
        send(fd, "\n", 1, MSG_NOSIGNAL) == 1) {
        while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
            buf_add(&in, chunk, (size_t)n);
            if (in.overflow || (!until_end && memchr(chunk, '\n', (size_t)n) != NULL)) {
                break;
            }
        }
        answer = json_loads(buf_cstr(&in), JSON_DISABLE_EOF_CHECK, NULL);
    }
    free(text);
    buf_done(&in);
    return answer;
}

int dev_call(struct cli *c, const char *dir, json_t *rq, json_t **ret)
{
    bool down = str_eq(jget_str(rq, "cmd", ""), "down");
    struct err err = { 0 };
    json_t *answer;
    int fd = dev_connect(dir);

    if (fd < 0) {
        json_decref(rq);
        cli_say("picket dev: no cluster runs in %s", dir);
        cli_say("  Start one with `picket dev up --dir %s`, or give --dir.", dir);
        return CLI_UNREACHABLE;
    }
    answer = exchange(fd, rq, down);
    (void)close(fd);
    json_decref(rq);
    if (answer == NULL) {
        cli_say("picket dev: the supervisor went away without an answer; see %s/devd.log", dir);
        return CLI_UNKNOWN;
    }
    if (!jget_bool(answer, "ok", false)) {
        int code = (int)jget_int(answer, "code", ERR_SYS);

        cli_say("picket %s: %s", c->verb, jget_str(answer, "error", "refused"));
        json_decref(answer);
        return cli_exit_code(err_set(&err, code, "refused"));
    }
    if (ret != NULL) {
        *ret = answer;
    } else {
        json_decref(answer);
    }
    return CLI_OK;
}

/* ---- verbs ---- */

struct dev_opts {
    const char *dir;
    const char *from;
    const char *direction;
    const char *signal;
    enum cli_output out;
    uint64_t link;
    bool wipe;
};

static int dev_options(struct cli *c, int argc, char **argv, struct dev_opts *d)
{
    static const struct option options[] = {
        { "dir", required_argument, NULL, 'd' },     { "from", required_argument, NULL, 1 },
        { "direction", required_argument, NULL, 2 }, { "link", required_argument, NULL, 3 },
        { "signal", required_argument, NULL, 's' },  { "wipe", no_argument, NULL, 4 },
        { "output", required_argument, NULL, 'o' },  { NULL, 0, NULL, 0 }
    };
    int o;

    while ((o = cli_getopt(c, argc, argv, "d:s:o:", options)) != -1) {
        switch (o) {
        case 'd':
            d->dir = optarg;
            break;
        case 1:
            d->from = optarg;
            break;
        case 2:
            d->direction = optarg;
            break;
        case 3:
            if (!str_parse_u64(optarg, &d->link) || d->link == 0 || d->link > 2) {
                return cli_bad_usage(c, "--link %s: want 1 or 2", optarg);
            }
            break;
        case 's':
            d->signal = optarg;
            break;
        case 4:
            d->wipe = true;
            break;
        case 'o':
            if (!cli_parse_output(optarg, &d->out)) {
                return cli_bad_usage(c, "-o %s: want json or yaml", optarg);
            }
            break;
        default:
            return cli_usage(c);
        }
    }
    return CLI_OK;
}

static const char *process_name(const char *word)
{
    if (str_eq(word, "agent")) {
        return "picket-agent";
    }
    return str_eq(word, "watchdog") ? "picket-watchdog" : word;
}

static bool signal_number(const char *text, int *ret)
{
    static const struct {
        const char *name;
        int number;
    } names[] = { { "KILL", SIGKILL }, { "TERM", SIGTERM }, { "STOP", SIGSTOP },
                  { "CONT", SIGCONT }, { "HUP", SIGHUP },   { "INT", SIGINT },
                  { "ABRT", SIGABRT }, { "USR1", SIGUSR1 }, { "USR2", SIGUSR2 } };
    uint64_t n;

    text = str_starts(text, "SIG") ? text + 3 : text;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(text, names[i].name)) {
            *ret = names[i].number;
            return true;
        }
    }
    if (!str_parse_u64(text, &n) || n == 0 || n > 64) {
        return false;
    }
    *ret = (int)n;
    return true;
}

static void print_processes(const json_t *h, struct buf *b)
{
    const char *name;
    json_t *pid;
    size_t n = 0;

    json_object_foreach (json_object_get(h, "processes"), name, pid) {
        buf_printf(b, "%s%s", n++ > 0 ? "," : "", str_starts(name, "picket-") ? name + 7 : name);
        buf_printf(b, json_integer_value(pid) > 0 ? ":%d" : ":down", (int)json_integer_value(pid));
    }
}

static void print_host(const json_t *h)
{
    struct buf procs = { 0 };
    const json_t *wd = json_object_get(h, "watchdog");

    print_processes(h, &procs);
    (void)printf("%-10s %-7s %-6s %-6s %5" PRId64 " %-9s %s\n", jget_str(h, "name", "?"),
                 jget_str(h, "power", "?"), jget_bool(h, "outlet", false) ? "on" : "off",
                 jget_bool(h, "voter", false) ? "voter" : "-", jget_int(h, "boots", 0),
                 jget_bool(wd, "armed", false) ? "armed" : "-", buf_cstr(&procs));
    buf_done(&procs);
}

static void print_cut(const json_t *cut)
{
    char link[32] = "";

    if (jget_int(cut, "link", 0) > 0) {
        (void)snprintf(link, sizeof(link), ", link %" PRId64, jget_int(cut, "link", 0));
    }
    (void)printf("cut: %s from %s (%s%s)\n", jget_str(cut, "host", "?"), jget_str(cut, "from", "?"),
                 jget_str(cut, "direction", "?"), link);
}

static int dev_status(struct cli *c, const char *dir, enum cli_output out)
{
    json_t *st = NULL, *v;
    size_t i;
    int rc = dev_call(c, dir, json_pack("{s:s}", "cmd", "status"), &st);

    if (rc != CLI_OK) {
        return rc;
    }
    if (out == OUT_JSON) {
        cli_print_json(st);
    } else if (out == OUT_YAML) {
        cli_print_yaml(st);
    } else {
        (void)printf("dev cluster %s in %s\n\n", jget_str(st, "clusterID", "?"), dir);
        (void)printf("%-10s %-7s %-6s %-6s %5s %-9s %s\n", "HOST", "POWER", "OUTLET", "VOTER",
                     "BOOTS", "WATCHDOG", "PROCESSES");
        json_array_foreach (json_object_get(st, "hosts"), i, v) {
            print_host(v);
        }
        json_array_foreach (json_object_get(st, "cuts"), i, v) {
            print_cut(v);
        }
    }
    json_decref(st);
    return CLI_OK;
}

static int dev_power(struct cli *c, const char *dir, char **args, int n)
{
    int rc;

    if (n != 2 || !(str_eq(args[1], "on") || str_eq(args[1], "off"))) {
        return cli_bad_usage(c, "want: picket dev power HOST on|off");
    }
    rc = dev_call(
        c, dir,
        json_pack("{s:s, s:s, s:b}", "cmd", "power", "host", args[0], "on", str_eq(args[1], "on")),
        NULL);
    if (rc == CLI_OK) {
        (void)printf("%s is %s\n", args[0], args[1]);
    }
    return rc;
}

static int dev_cut(struct cli *c, const char *dir, const struct dev_opts *d, char **args, int n)
{
    int rc;

    if (n != 1) {
        return cli_bad_usage(c, "want: picket dev cut HOST [--from HOST|operator|pdu|gateway]");
    }
    rc = dev_call(c, dir,
                  json_pack("{s:s, s:s, s:s*, s:s*, s:I}", "cmd", "cut", "host", args[0], "from",
                            d->from, "direction", d->direction, "link", (json_int_t)d->link),
                  NULL);
    if (rc == CLI_OK) {
        (void)printf("%s is cut off from %s\n", args[0], d->from != NULL ? d->from : "everybody");
    }
    return rc;
}

static int dev_heal(struct cli *c, const char *dir, const struct dev_opts *d, char **args, int n)
{
    json_t *answer = NULL;
    int rc;

    if (n > 1) {
        return cli_bad_usage(c, "want: picket dev heal [HOST] [--from X]");
    }
    rc = dev_call(c, dir,
                  json_pack("{s:s, s:s*, s:s*}", "cmd", "heal", "host", n == 1 ? args[0] : NULL,
                            "from", d->from),
                  &answer);
    if (rc == CLI_OK) {
        (void)printf("%s healed (%" PRId64 " cuts removed)\n", n == 1 ? args[0] : "everything",
                     jget_int(answer, "removed", 0));
        json_decref(answer);
    }
    return rc;
}

static int dev_host_verb(struct cli *c, const char *dir, const char *cmd, char **args, int n)
{
    int rc;

    if (n != 1) {
        return cli_bad_usage(c, "want: picket dev %s HOST", cmd);
    }
    rc = dev_call(c, dir, json_pack("{s:s, s:s}", "cmd", cmd, "host", args[0]), NULL);
    if (rc == CLI_OK) {
        (void)printf("%s: %s\n", args[0], cmd);
    }
    return rc;
}

static int dev_process(struct cli *c, const char *dir, const char *cmd, const struct dev_opts *d,
                       char **args, int n)
{
    int sig = SIGKILL;
    int rc;

    if (n != 2) {
        return cli_bad_usage(c, "want: picket dev %s HOST picketd|agent|watchdog", cmd);
    }
    if (d->signal != NULL && !signal_number(d->signal, &sig)) {
        return cli_bad_usage(c, "--signal %s: want a number or a name such as TERM", d->signal);
    }
    rc = dev_call(c, dir,
                  json_pack("{s:s, s:s, s:s, s:i}", "cmd", cmd, "host", args[0], "process",
                            process_name(args[1]), "signal", sig),
                  NULL);
    if (rc == CLI_OK) {
        (void)printf("%s %s: %s\n", args[0], process_name(args[1]), cmd);
    }
    return rc;
}

/* Only what `dev up` made: a folder without dev.json is left alone. */
static int wipe(const char *dir)
{
    char mark[DEV_DIR_SIZE + 16];
    char dst[DEV_DIR_SIZE];
    char *const argv[] = { (char[]){ "rm" }, (char[]){ "-rf" }, (char[]){ "--" }, dst, NULL };
    uv_process_options_t opts = { .file = "rm", .args = (char **)(uintptr_t)argv };
    uv_process_t proc;
    uv_loop_t loop;

    (void)snprintf(mark, sizeof(mark), "%s/dev.json", dir);
    if (access(mark, F_OK) != 0) {
        return CLI_OK;
    }
    (void)str_copy(dst, sizeof(dst), dir);
    CHECK(uv_loop_init(&loop) == 0);
    if (uv_spawn(&loop, &proc, &opts) != 0) {
        cli_say("picket dev down: cannot delete %s", dir);
        return CLI_ERROR;
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&proc, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    return access(mark, F_OK) == 0 ? CLI_ERROR : CLI_OK;
}

static int dev_down(struct cli *c, const char *dir, bool and_wipe)
{
    int rc = CLI_OK;

    if (dev_alive(dir)) {
        rc = dev_call(c, dir, json_pack("{s:s}", "cmd", "down"), NULL);
        if (rc == CLI_OK) {
            (void)printf("dev cluster in %s is down\n", dir);
        }
    } else if (!and_wipe) {
        (void)printf("no dev cluster runs in %s\n", dir);
    }
    if (rc == CLI_OK && and_wipe) {
        rc = wipe(dir);
        if (rc == CLI_OK) {
            (void)printf("%s deleted\n", dir);
        }
    }
    return rc;
}

static int dispatch(struct cli *c, const char *verb, const char *dir, const struct dev_opts *d,
                    char **args, int n)
{
    if (str_eq(verb, "status")) {
        return dev_status(c, dir, d->out);
    }
    if (str_eq(verb, "down")) {
        return dev_down(c, dir, d->wipe);
    }
    if (str_eq(verb, "power")) {
        return dev_power(c, dir, args, n);
    }
    if (str_eq(verb, "cut")) {
        return dev_cut(c, dir, d, args, n);
    }
    if (str_eq(verb, "heal")) {
        return dev_heal(c, dir, d, args, n);
    }
    if (str_eq(verb, "wedge") || str_eq(verb, "unwedge") || str_eq(verb, "reset")) {
        return dev_host_verb(c, dir, verb, args, n);
    }
    if (str_eq(verb, "kill") || str_eq(verb, "stop") || str_eq(verb, "start")) {
        return dev_process(c, dir, verb, d, args, n);
    }
    return cli_bad_usage(c, "there is no `picket dev %s`", verb);
}

int verb_dev(struct cli *c, int argc, char **argv)
{
    struct dev_opts d = { 0 };
    char dir[DEV_DIR_SIZE];
    const char *verb;
    int rc;

    if (argc > 1 && str_eq(argv[1], "up")) {
        return dev_up(c, argc - 1, argv + 1);
    }
    if (argc > 1 && str_eq(argv[1], "logs")) {
        return dev_logs(c, argc - 1, argv + 1);
    }
    rc = dev_options(c, argc, argv, &d);
    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    if (argc == optind) {
        return cli_bad_usage(c, "what? up, down, status, power, cut, heal, wedge, unwedge, kill, "
                                "stop, start, reset or logs");
    }
    verb = argv[optind];
    rc = dev_dir(c, d.dir, dir);
    return rc == CLI_OK ? dispatch(c, verb, dir, &d, argv + optind + 1, argc - optind - 1) : rc;
}
