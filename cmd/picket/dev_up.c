/* picket dev up: starts the supervisor and waits until the cluster has a leader. */

#include "cmd/picket/dev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/timing.h"

#define POLL_MS 100
#define HOSTS_MAX 31 /* of picket-devd */

struct up_args {
    const char *dir;
    const char *hosts;
    const char *voters;
    const char *memory;
    const char *cpus;
    const char *timing;
    uint64_t timeout_ms;
    bool foreground;
    bool wait;
};

/* "HEARTBEAT/HOSTTIMEOUT" */
static int check_timing(struct cli *c, const char *timing)
{
    struct timing_in in = { .dev = true };
    const char *slash = strchr(timing, '/');
    struct timing t;
    struct err err;
    char beat[32];

    (void)snprintf(beat, sizeof(beat), "%.*s", slash == NULL ? 0 : (int)(slash - timing), timing);
    if (slash == NULL || !str_parse_duration(beat, &in.heartbeat_ms) ||
        !str_parse_duration(slash + 1, &in.host_timeout_ms)) {
        return cli_bad_usage(c, "--timing %s: want HEARTBEAT/HOSTTIMEOUT such as 200ms/1500ms",
                             timing);
    }
    if (timing_derive(&in, &t, &err) != 0) {
        return cli_bad_usage(c, "--timing %s: %s", timing, err.msg);
    }
    return CLI_OK;
}

/* Before anything is started; picket-devd checks again. */
static int check_args(struct cli *c, const struct up_args *a)
{
    uint64_t v = 0;

    if (!str_parse_u64(a->hosts, &v) || v < 1 || v > HOSTS_MAX) {
        return cli_bad_usage(c, "--hosts %s: want a number from 1 to %d", a->hosts, HOSTS_MAX);
    }
    if (a->voters != NULL && (!str_parse_u64(a->voters, &v) || (v != 1 && v != 3 && v != 5))) {
        return cli_bad_usage(c, "--voters %s: want 1, 3 or 5", a->voters);
    }
    if (a->cpus != NULL && (!str_parse_u64(a->cpus, &v) || v < 1)) {
        return cli_bad_usage(c, "--cpus %s: want a number such as 16", a->cpus);
    }
    if (a->memory != NULL && (!str_parse_size(a->memory, &v) || v == 0)) {
        return cli_bad_usage(c, "--memory %s: want a size such as 64Gi", a->memory);
    }
    return a->timing == NULL ? CLI_OK : check_timing(c, a->timing);
}

static int up_options(struct cli *c, int argc, char **argv, struct up_args *a)
{
    static const struct option options[] = {
        { "dir", required_argument, NULL, 'd' },   { "hosts", required_argument, NULL, 'n' },
        { "voters", required_argument, NULL, 1 },  { "memory", required_argument, NULL, 2 },
        { "cpus", required_argument, NULL, 3 },    { "timing", required_argument, NULL, 4 },
        { "timeout", required_argument, NULL, 5 }, { "foreground", no_argument, NULL, 6 },
        { "no-wait", no_argument, NULL, 7 },       { NULL, 0, NULL, 0 }
    };
    int o;

    *a = (struct up_args){ .hosts = "3", .timeout_ms = 30000, .wait = true };
    while ((o = cli_getopt(c, argc, argv, "d:n:", options)) != -1) {
        switch (o) {
        case 'd':
            a->dir = optarg;
            break;
        case 'n':
            a->hosts = optarg;
            break;
        case 1:
            a->voters = optarg;
            break;
        case 2:
            a->memory = optarg;
            break;
        case 3:
            a->cpus = optarg;
            break;
        case 4:
            a->timing = optarg;
            break;
        case 5:
            if (!str_parse_duration(optarg, &a->timeout_ms)) {
                return cli_bad_usage(c, "--timeout %s: want a duration such as 30s", optarg);
            }
            break;
        case 6:
            a->foreground = true;
            break;
        case 7:
            a->wait = false;
            break;
        default:
            return cli_usage(c);
        }
    }
    return argc == optind ? check_args(c, a) : cli_bad_usage(c, "up takes only options");
}

/* ---- the daemon ---- */

static bool devd_path(char *dst, size_t size)
{
    const char *env = getenv("PICKET_BIN_DIR");
    char self[PATH_MAX];
    ssize_t n;
    char *slash;

    if (env != NULL && *env != 0) {
        return snprintf(dst, size, "%s/picket-devd", env) < (int)size;
    }
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) {
        return false;
    }
    self[n] = 0;
    slash = strrchr(self, '/');
    *slash = 0;
    return snprintf(dst, size, "%s/picket-devd", self) < (int)size;
}

static void devd_argv(const struct up_args *a, char *exe, char *dir, char *ready, char **argv)
{
    static const char *const names[] = { "--hosts", "--voters", "--memory", "--cpus" };
    const char *const values[] = { a->hosts, a->voters, a->memory, a->cpus };
    size_t n = 0;

    argv[n++] = exe;
    argv[n++] = (char *)(uintptr_t) "--dir";
    argv[n++] = dir;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (values[i] != NULL) {
            argv[n++] = (char *)(uintptr_t)names[i];
            argv[n++] = (char *)(uintptr_t)values[i];
        }
    }
    if (ready != NULL) {
        argv[n++] = (char *)(uintptr_t) "--ready-fd";
        argv[n++] = ready;
    }
    argv[n] = NULL;
}

static void run_daemon(char *exe, char **argv, const char *log)
{
    int in = open("/dev/null", O_RDONLY);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);

    (void)setsid();
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        _exit(126);
    }
    (void)execv(exe, argv);
    _exit(127);
}

static int make_dirs(const char *dir)
{
    char part[DEV_DIR_SIZE];

    (void)str_copy(part, sizeof(part), dir);
    for (char *p = part + 1; *p != 0; p++) {
        if (*p == '/') {
            *p = 0;
            (void)mkdir(part, 0755);
            *p = '/';
        }
    }
    if (mkdir(part, 0755) != 0 && errno != EEXIST) {
        cli_say("picket dev up: cannot make the folder %s: %s", dir, strerror(errno));
        return CLI_ERROR;
    }
    return CLI_OK;
}

/* A folder of something else is left alone, without even a log in it. */
static int check_dir(const char *dir)
{
    char mark[DEV_DIR_SIZE + 16];
    const struct dirent *e;
    bool foreign = false;
    DIR *d;

    (void)snprintf(mark, sizeof(mark), "%s/dev.json", dir);
    d = access(mark, F_OK) == 0 ? NULL : opendir(dir);
    while (d != NULL && !foreign && (e = readdir(d)) != NULL) {
        foreign = e->d_name[0] != '.' && !str_starts(e->d_name, "devd.");
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    if (foreign) {
        cli_say("picket dev up: %s is neither empty nor a dev cluster: choose another --dir, or "
                "delete it",
                dir);
    }
    return foreign ? CLI_ERROR : CLI_OK;
}

/* "ok" or why not; the end without a word means that it died. */
static int read_ready(int fd, const char *dir)
{
    char text[1024];
    size_t len = 0;
    ssize_t n;

    text[0] = 0;
    while (len < sizeof(text) - 1 && strchr(text, '\n') == NULL &&
           (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
        len += (size_t)n;
        text[len] = 0;
    }
    if (str_eq(text, "ok\n")) {
        return CLI_OK;
    }
    cli_say("picket dev up: %s", len > 0 ? text : "picket-devd could not be started");
    if (len == 0) {
        cli_say("  See %s/devd.log.", dir);
    }
    return CLI_ERROR;
}

static int start_daemon(const struct up_args *a, char *exe, char *dir)
{
    char log[DEV_DIR_SIZE + 16], ready[16];
    char *argv[20];
    int fds[2], rc;
    pid_t pid;

    rc = check_dir(dir);
    rc = rc == CLI_OK ? make_dirs(dir) : rc;
    if (rc != CLI_OK) {
        return rc;
    }
    if (pipe(fds) != 0) {
        cli_say("picket dev up: pipe: %s", strerror(errno));
        return CLI_ERROR;
    }
    (void)fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    (void)snprintf(ready, sizeof(ready), "%d", fds[1]);
    (void)snprintf(log, sizeof(log), "%s/devd.log", dir);
    devd_argv(a, exe, dir, ready, argv);
    pid = fork();
    if (pid == 0) {
        run_daemon(exe, argv, log);
    }
    (void)close(fds[1]);
    rc = pid > 0 ? read_ready(fds[0], dir) : CLI_ERROR;
    (void)close(fds[0]);
    return rc;
}

/* ---- the cluster ---- */

static bool has_leader(struct cli *c, char *leader, size_t size)
{
    struct api_op op = { .method = "GET", .target = "/cluster", .timeout_ms = 1000 };
    struct err err = { 0 };
    json_t *view = NULL;
    bool ok;

    if (api_run(c->client, &op, &view, &err) != 0) {
        return false;
    }
    ok = jget_bool(view, "quorate", false) && *jget_str(view, "clusterID", "") != 0 &&
         jget_int(view, "epoch", 0) > 0;
    (void)str_copy(leader, size, jget_str(view, "leader", ""));
    json_decref(view);
    return ok;
}

static int wait_leader(struct cli *c, const char *dir, uint64_t timeout_ms)
{
    uint64_t deadline = clock_now_ms() + timeout_ms;
    char leader[128] = "";

    while (!has_leader(c, leader, sizeof(leader))) {
        if (clock_now_ms() >= deadline) {
            cli_say("picket dev up: the hosts are up, but no leader was elected yet");
            cli_say("  See `picket dev logs --dir %s`, `picket status`.", dir);
            return CLI_TIMEOUT;
        }
        cli_sleep(c, POLL_MS);
    }
    (void)printf("The cluster is quorate; %s leads.\n", leader);
    return CLI_OK;
}

static int set_timing(struct cli *c, const char *timing)
{
    char heartbeat[32];
    const char *slash = strchr(timing, '/');
    struct api_op op = { .method = "POST", .target = API_PREFIX "/apply" };
    struct err err = { 0 };
    json_t *body;
    int rc;

    CHECK(slash != NULL); /* check_timing */
    (void)snprintf(heartbeat, sizeof(heartbeat), "%.*s", (int)(slash - timing), timing);
    body =
        json_pack("{s:[{s:s, s:s, s:{s:s}, s:{s:{s:s, s:s}}}], s:s}", "items", "apiVersion",
                  API_VERSION, "kind", "Cluster", "metadata", "name", "cluster", "spec", "timing",
                  "heartbeat", heartbeat, "hostTimeout", slash + 1, "fieldManager", "picket-dev");
    op.body = body;
    rc = cli_request(c, &op, NULL, &err);
    json_decref(body);
    return rc == 0 ? CLI_OK : cli_fail(c, &err);
}

static int connect_to(struct cli *c, const char *dir)
{
    char file[DEV_DIR_SIZE + 16];

    (void)snprintf(file, sizeof(file), "%s/kubeconfig", dir);
    c->config = file;
    return cli_connect(c);
}

static int after_start(struct cli *c, const struct up_args *a, const char *dir)
{
    int rc = CLI_OK;

    (void)printf("The dev cluster in %s is running.\n", dir);
    (void)fflush(stdout);
    if (a->wait || a->timing != NULL) {
        rc = connect_to(c, dir);
        rc = rc == CLI_OK ? wait_leader(c, dir, a->timeout_ms) : rc;
    }
    if (rc == CLI_OK && a->timing != NULL) {
        rc = set_timing(c, a->timing);
    }
    (void)printf("\nexport PICKET_CONFIG=%s/kubeconfig\n", dir);
    if (a->dir != NULL) {
        (void)printf("export PICKET_DEV_DIR=%s\n", dir);
    }
    return rc;
}

int dev_up(struct cli *c, int argc, char **argv)
{
    struct up_args a;
    char dir[DEV_DIR_SIZE], exe[PATH_MAX];
    int rc = up_options(c, argc, argv, &a);

    if (rc != CLI_OK || c->usage_only) {
        return rc;
    }
    rc = dev_dir(c, a.dir, dir);
    if (rc != CLI_OK) {
        return rc;
    }
    if (!devd_path(exe, sizeof(exe)) || access(exe, X_OK) != 0) {
        cli_say("picket dev up: there is no program %s; build everything with `make`", exe);
        return CLI_ERROR;
    }
    if (a.foreground) {
        char *args[20];

        devd_argv(&a, exe, dir, NULL, args);
        (void)execv(exe, args);
        cli_say("picket dev up: %s: %s", exe, strerror(errno));
        return CLI_ERROR;
    }
    if (!dev_alive(dir)) {
        rc = start_daemon(&a, exe, dir);
    }
    return rc == CLI_OK ? after_start(c, &a, dir) : rc;
}
