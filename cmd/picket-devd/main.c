/* picket-devd: the supervisor of `picket dev` (see docs/dev.md). */

#include "cmd/picket-devd/dev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/prio.h"
#include "base/str.h"

#define TICK_MS 250

struct args {
    unsigned hosts;
    unsigned voters; /* 0: derived */
    int ready_fd;    /* "ok\n" or an error text goes there; -1: none */
    bool guard;
    const char *host_init;
    const char *dir;
    const char *memory;
    const char *cpus;
};

static void print_usage(FILE *f)
{
    (void)fprintf(
        f, "Usage: picket-devd --dir D [--hosts N] [--voters V] [--memory 64Gi] [--cpus 16]\n"
           "\n"
           "The supervisor of a development cluster; `picket dev up` starts it.\n");
}

static bool parse_count(const char *text, unsigned min, unsigned max, unsigned *ret)
{
    uint64_t v;

    if (!str_parse_u64(text, &v) || v < min || v > max) {
        return false;
    }
    *ret = (unsigned)v;
    return true;
}

static int parse_args(int argc, char **argv, struct args *a)
{
    enum { O_DIR = 1, O_HOSTS, O_VOTERS, O_MEMORY, O_CPUS, O_READY, O_INIT, O_GUARD, O_HELP };
    static const struct option options[] = {
        { "dir", required_argument, NULL, O_DIR },
        { "hosts", required_argument, NULL, O_HOSTS },
        { "voters", required_argument, NULL, O_VOTERS },
        { "memory", required_argument, NULL, O_MEMORY },
        { "cpus", required_argument, NULL, O_CPUS },
        { "ready-fd", required_argument, NULL, O_READY },
        { "host-init", required_argument, NULL, O_INIT },
        { "guard", no_argument, NULL, O_GUARD },
        { "help", no_argument, NULL, O_HELP },
        { NULL, 0, NULL, 0 },
    };
    unsigned fd;
    bool ok = true;
    int o;

    *a = (struct args){ .hosts = 3, .ready_fd = -1, .memory = "64Gi", .cpus = "16" };
    while (ok && (o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case O_DIR:
            a->dir = optarg;
            break;
        case O_HOSTS:
            ok = parse_count(optarg, 1, DEV_HOSTS_MAX - 1, &a->hosts);
            break;
        case O_VOTERS:
            ok = parse_count(optarg, 1, 5, &a->voters) && a->voters % 2 == 1;
            break;
        case O_MEMORY:
            a->memory = optarg;
            break;
        case O_CPUS:
            a->cpus = optarg;
            break;
        case O_READY:
            ok = parse_count(optarg, 3, 1000, &fd);
            a->ready_fd = (int)fd;
            break;
        case O_INIT:
            a->host_init = optarg;
            break;
        case O_GUARD:
            a->guard = true;
            break;
        case O_HELP:
            print_usage(stdout);
            exit(0);
        default:
            return ERR_INVALID;
        }
    }
    if (!ok) {
        (void)fprintf(stderr, "picket-devd: --hosts is 1 to %d, --voters 1, 3 or 5\n",
                      DEV_HOSTS_MAX - 1);
    }
    return ok && optind == argc ? 0 : ERR_INVALID;
}

/* ---- the end ---- */

static void close_host(struct dev_host *h)
{
    wdog_dev_close(h);
    uv_close((uv_handle_t *)&h->timer, NULL);
}

static void finish(struct dev *d)
{
    d->stopped = true;
    lg_info("devd", "msg=\"everything has ended\"");
    ctl_close(d);
    for (size_t i = 0; i < d->n_hosts; i++) {
        close_host(&d->hosts[i]);
    }
    uv_close((uv_handle_t *)&d->sigchld, NULL);
    uv_close((uv_handle_t *)&d->sigterm, NULL);
    uv_close((uv_handle_t *)&d->sigint, NULL);
    uv_close((uv_handle_t *)&d->tick, NULL);
}

static void finish_when_off(struct dev *d)
{
    if (!d->stopping || d->stopped) {
        return;
    }
    for (size_t i = 0; i < d->n_hosts; i++) {
        if (d->hosts[i].power != DEV_OFF) {
            return;
        }
    }
    finish(d);
}

void dev_stop(struct dev *d)
{
    if (d->stopping) {
        return;
    }
    lg_info("devd", "msg=\"going down\"");
    d->stopping = true;
    for (size_t i = 0; i < d->n_hosts; i++) {
        host_kill(&d->hosts[i], "the cluster goes down", -1);
    }
    learn_close(d);
    pdu_close(d);
    net_close(d);
}

/* ---- events ---- */

static void child_gone(struct dev *d, pid_t pid, int status)
{
    struct err err = { 0 };

    if (pid == d->guard_pid && !d->stopping) {
        lg_warn("guard", "pid=%d msg=\"ended; starts again\"", (int)pid);
        (void)close(d->guard_fd);
        d->guard_fd = -1;
        if (guard_start(d, &err) != 0) {
            lg_err("guard", "msg=\"%s\"", err.msg);
        }
        return;
    }
    if (pdu_child_gone(d, pid)) {
        return;
    }
    for (size_t i = 0; i < d->n_hosts; i++) {
        if (d->hosts[i].pgid == pid) {
            host_child_gone(&d->hosts[i], status);
        }
    }
}

static void on_sigchld(uv_signal_t *handle, int sig)
{
    struct dev *d;
    int status;
    pid_t pid;

    (void)sig;
    OBJ_FROM(d, handle->data, DEV_MAGIC);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        child_gone(d, pid, status); /* or an orphan of a host: that it is reaped is enough */
    }
}

static void on_sigterm(uv_signal_t *handle, int sig)
{
    struct dev *d;

    (void)sig;
    OBJ_FROM(d, handle->data, DEV_MAGIC);
    dev_stop(d);
}

static void on_tick(uv_timer_t *timer)
{
    struct dev *d;

    OBJ_FROM(d, timer->data, DEV_MAGIC);
    dev_waits_check(d);
    finish_when_off(d);
}

static void init_events(struct dev *d)
{
    CHECK(uv_signal_init(d->loop, &d->sigchld) == 0);
    CHECK(uv_signal_init(d->loop, &d->sigterm) == 0);
    CHECK(uv_signal_init(d->loop, &d->sigint) == 0);
    CHECK(uv_timer_init(d->loop, &d->tick) == 0);
    d->sigchld.data = d;
    d->sigterm.data = d;
    d->sigint.data = d;
    d->tick.data = d;
    CHECK(uv_signal_start(&d->sigchld, on_sigchld, SIGCHLD) == 0);
    CHECK(uv_signal_start(&d->sigterm, on_sigterm, SIGTERM) == 0);
    CHECK(uv_signal_start(&d->sigint, on_sigterm, SIGINT) == 0);
    CHECK(uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS) == 0);
}

/* ---- the start ---- */

static bool is_empty_dir(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    bool empty = true;

    if (dir == NULL) {
        return errno == ENOENT;
    }
    while (empty && (e = readdir(dir)) != NULL) {
        empty = e->d_name[0] == '.' || str_starts(e->d_name, "devd.");
    }
    (void)closedir(dir);
    return empty;
}

static int take_dir(struct dev *d, const char *dir, struct err *err)
{
    char path[DEV_PATH_MAX], *real;
    int rc;

    rc = dev_mkdirs(dir, err);
    if (rc != 0) {
        return rc;
    }
    real = realpath(dir, NULL);
    if (real == NULL) {
        return err_native(err, ERR_SYS, "errno", errno, "folder %s", dir);
    }
    if (strlen(real) > DEV_DIR_MAX) {
        rc =
            err_set(err, ERR_INVALID,
                    "folder %s: its name has %zu characters, at most %d fit into the names of unix "
                    "sockets: choose a shorter one with --dir",
                    real, strlen(real), DEV_DIR_MAX);
        free(real);
        return rc;
    }
    CHECK(str_copy(d->dir, sizeof(d->dir), real));
    free(real);
    dev_path(d, path, "dev.json");
    if (access(path, F_OK) != 0 && !is_empty_dir(d->dir)) {
        return err_set(err, ERR_INVALID,
                       "%s is neither empty nor a dev cluster: choose another --dir, or delete it",
                       d->dir);
    }
    dev_path(d, path, "devd.lock");
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "open %s", path);
    }
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return err_set(err, ERR_CONFLICT,
                       "a cluster runs in %s already; see `picket dev status --dir %s`", d->dir,
                       d->dir);
    }
    return 0;
}

static int prepare(struct dev *d, const struct args *a, struct err *err)
{
    bool witness = a->voters == 0 && a->hosts == 2;
    unsigned voters = a->voters != 0 ? a->voters : a->hosts >= 5 ? 5 : a->hosts >= 3 ? 3 : a->hosts;
    int rc = dev_layout_load(d, err);

    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    if (voters > a->hosts) {
        return err_set(err, ERR_INVALID, "%u voters need as many hosts, there are %u", voters,
                       a->hosts);
    }
    return dev_layout_create(d, a->hosts, voters, witness, err);
}

static int start_hosts(struct dev *d, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        struct dev_host *h = &d->hosts[i];

        h->plugged = true;
        h->outlet_on = true;
        host_init_timers(h);
        rc = h->agent ? wdog_dev_open(h, err) : 0;
    }
    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        rc = host_boot(&d->hosts[i], "start of the cluster", err);
    }
    return rc;
}

static int start(struct dev *d, const struct args *a, struct err *err)
{
    int rc;

    CHECK(str_copy(d->agent_memory, sizeof(d->agent_memory), a->memory));
    CHECK(str_copy(d->agent_cpus, sizeof(d->agent_cpus), a->cpus));
    rc = take_dir(d, a->dir, err);
    if (rc == 0) {
        rc = dev_bin_dir(d->bin_dir, sizeof(d->bin_dir), err);
    }
    if (rc == 0) {
        rc = prepare(d, a, err);
    }
    if (rc == 0) {
        rc = addrs_load(d, err);
    }
    if (rc == 0) {
        rc = addrs_write_all(d, err);
    }
    init_events(d);
    if (rc == 0) {
        rc = guard_start(d, err);
    }
    if (rc == 0) {
        rc = net_open(d, err);
    }
    if (rc == 0) {
        rc = ctl_open(d, err);
    }
    if (rc == 0) {
        rc = pdu_open(d, err);
    }
    if (rc == 0) {
        rc = start_hosts(d, err);
    }
    return rc == 0 ? learn_open(d, err) : rc;
}

static void tell_ready(const struct args *a, const char *text)
{
    if (a->ready_fd >= 0) {
        (void)!write(a->ready_fd, text, strlen(text));
        (void)close(a->ready_fd);
    }
}

static void raise_limits(void)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max; /* relays: two descriptors a connection */
        (void)setrlimit(RLIMIT_NOFILE, &lim);
    }
}

static int supervise(const struct args *a)
{
    static struct dev d = { .magic = DEV_MAGIC, .guard_fd = -1, .lock_fd = -1 };
    struct err err = { 0 };
    uv_loop_t loop;

    raise_limits();
    if (prio_session(&err) != 0 ||
        prio_service(false, &err) != 0) { /* its relays are the hosts' network */
        lg_info("devd", "msg=\"no priority over other programs: %s\"", err.msg);
    }
    if (a->ready_fd >= 0) {
        (void)fcntl(a->ready_fd, F_SETFD, FD_CLOEXEC); /* not for the hosts */
    }
    (void)unsetenv("PICKET_ADDRESS_MAP"); /* the supervisor itself stands outside */
    (void)signal(SIGPIPE, SIG_IGN);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    CHECK(uv_loop_init(&loop) == 0);
    d.loop = &loop;
    TAILQ_INIT(&d.waits);
    if (start(&d, a, &err) != 0) {
        lg_err("devd", "msg=\"%s\"", err.msg);
        tell_ready(a, err.msg);
        return 1; /* children get their parent-death signal, groups the guard */
    }
    lg_info("devd", "dir=%s cluster=%s port=%u hosts=%zu msg=\"up\"", d.dir, d.cluster_id, d.port,
            d.n_hosts);
    tell_ready(a, "ok\n");
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    addrs_done(&d.addrs);
    return 0;
}

int main(int argc, char **argv)
{
    struct args a;

    if (parse_args(argc, argv, &a) != 0) {
        print_usage(stderr);
        return 2;
    }
    if (a.guard) {
        return guard_main();
    }
    if (a.host_init != NULL) {
        lg_init("dev-init");
        return init_main(a.host_init);
    }
    lg_init("picket-devd");
    if (a.dir == NULL || strlen(a.memory) >= 32 || strlen(a.cpus) >= 16) {
        print_usage(stderr);
        return 2;
    }
    return supervise(&a);
}
