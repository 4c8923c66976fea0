/* picket-watchdog: holds the lease deadline of this host and feeds its watchdog while that lies
 * ahead.
 *
 * Everything is allocated before the loop starts: memory is locked, buffers are fixed, and no
 * function that is called from the loop allocates.  The deadline is saved before it is
 * acknowledged, so kill -9 and an upgrade of this program lose nothing: it starts from the saved
 * record, and the device runs on in between.  The decisions are fence/wdog.c's.
 *
 * Ended while armed, it leaves the device running: unless it is started again within the device's
 * timeout the host is reset.  That is the point of it; disarm first (a committed Unguarded) to stop
 * for good.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket-watchdog/device.h"
#include "cmd/picket-watchdog/options.h"

#define CLIENTS_MAX 6
#define REALTIME_PRIORITY 10

struct dog {
    struct wdog_core core;
    struct device device;
    char boot_id[40];
    int state_fd;
    int listen_fd;
    int signal_fd;
    int clients[CLIENTS_MAX];
    uint32_t timeout_ms; /* --timeout-ms: at least so long, whatever ARM wants */
    bool feed_failed;    /* said so */
    bool stop;
};

/* --- effects
 * ---------------------------------------------------------------------------------------- */

static int save(struct dog *d)
{
    struct wdog_saved s;

    wdog_core_save(&d->core, d->boot_id, &s);
    if (pwrite(d->state_fd, &s, sizeof(s), 0) == (ssize_t)sizeof(s)) {
        return 0;
    }
    lg_err("watchdog", "msg=\"cannot save the deadline\" errno=%d", errno);
    return -1;
}

/* This process stood still between the look at the clock and the feed: the device now would run
 * past the bound that a Watchdog proof counts with (L + W + feed), so shorten it.  Nothing gives
 * that time back. */
static void check_late(struct dog *d)
{
    const struct wdog_core *c = &d->core;

    if (!c->armed || clock_now_ms() <= c->deadline_ms + c->feed_ms) {
        return;
    }
    lg_err("watchdog", "msg=\"fed too late after a stall: the host is reset at once\"");
    device_hasten(&d->device);
}

/* A device that was lost (the supervisor of `picket dev` was restarted) is armed again. */
static void feed(struct dog *d)
{
    struct err err;
    int rc = device_feed(&d->device, &err);

    if (rc != 0 && d->core.armed) {
        rc = device_arm(&d->device, d->core.timeout_ms, &err);
    }
    if (rc != 0 && !d->feed_failed) {
        lg_err("watchdog", "msg=\"not fed: %s\"", err.msg);
    } else if (rc == 0 && d->feed_failed) {
        lg_info("watchdog", "msg=\"fed again\"");
    }
    d->feed_failed = rc != 0;
    check_late(d);
}

static void carry_out(struct dog *d, const struct wdog_todo *todo)
{
    const struct wdog_core *c = &d->core;

    if (todo->disarm) {
        device_disarm(&d->device);
        lg_info("watchdog", "incarnation=%" PRIu64 " held=%d msg=disarmed", c->incarnation,
                (int)c->held);
    }
    if (todo->resumed) {
        lg_warn("watchdog", "incarnation=%" PRIu64 " msg=\"a new deadline in time: feeding again\"",
                c->incarnation);
    }
    if (todo->feed) {
        feed(d);
    }
    if (todo->expired) {
        lg_err("watchdog",
               "incarnation=%" PRIu64 " deadline=%" PRIu64
               " msg=\"the lease has ended: not feeding any more, the host is reset within %" PRIu32
               " ms\"",
               c->incarnation, c->deadline_ms, c->timeout_ms);
    }
}

/* --- requests
 * --------------------------------------------------------------------------------------- */

static enum wdog_code arm(struct dog *d, const struct wdog_request *rq, struct wdog_todo *todo)
{
    uint32_t want_ms = todo->want_timeout_ms;
    struct err err;

    if (device_arm(&d->device, want_ms > d->timeout_ms ? want_ms : d->timeout_ms, &err) != 0) {
        lg_err("watchdog", "msg=\"not armed: %s\"", err.msg);
        return WDOG_ERR_DEVICE;
    }
    wdog_core_armed(&d->core, rq, d->device.kind, d->device.nowayout, d->device.timeout_ms,
                    clock_now_ms(), todo);
    lg_info("watchdog",
            "incarnation=%" PRIu64 " kind=%s timeout_ms=%" PRIu32 " nowayout=%d lmax_ms=%" PRIu32
            " msg=armed",
            rq->incarnation, wdog_kind_name(d->core.kind), d->core.timeout_ms,
            (int)d->core.nowayout, d->core.lmax_ms);
    return WDOG_OK;
}

static void answer(struct dog *d, const void *data, size_t len, struct wdog_reply *ret)
{
    struct wdog_core before = d->core;
    struct wdog_request rq = { 0 };
    struct wdog_todo todo = { 0 };
    enum wdog_code code = wdog_request_check(data, len, &rq);

    if (code == WDOG_OK) {
        code = wdog_core_request(&d->core, &rq, clock_now_ms(), &todo);
    }
    if (code == WDOG_OK && todo.arm) {
        code = arm(d, &rq, &todo);
    }
    /* What is not saved is not acknowledged, and not in force: a restart would not know it. */
    if (todo.save && save(d) != 0 && rq.op == WDOG_SET_DEADLINE) {
        d->core = before;
        memset(&todo, 0, sizeof(todo));
        code = WDOG_ERR_DEVICE;
    }
    carry_out(d, &todo);
    *ret = (struct wdog_reply){
        .magic = WDOG_MAGIC,
        .version = WDOG_VERSION,
        .code = (uint16_t)code,
        .seq = rq.seq,
    };
    wdog_core_status(&d->core, &ret->status);
}

static void client_ready(struct dog *d, int *fd)
{
    char data[sizeof(struct wdog_request) + 1];
    struct wdog_reply reply;
    ssize_t n = recv(*fd, data, sizeof(data), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        answer(d, data, (size_t)n, &reply);
        n = send(*fd, &reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (n <= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void accept_client(struct dog *d)
{
    int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (size_t i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
        if (d->clients[i] < 0) {
            d->clients[i] = fd;
            return;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* --- the loop
 * --------------------------------------------------------------------------------------- */

static int poll_ms(uint64_t next_ms, uint64_t now_ms)
{
    if (next_ms == 0) {
        return -1;
    }
    return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

static void turn(struct dog *d)
{
    struct pollfd fds[2 + CLIENTS_MAX];
    struct wdog_todo todo = { 0 };
    uint64_t now_ms = clock_now_ms();

    wdog_core_step(&d->core, now_ms, &todo);
    carry_out(d, &todo);
    fds[0] = (struct pollfd){ .fd = d->signal_fd, .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = d->listen_fd, .events = POLLIN };
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        fds[2 + i] = (struct pollfd){ .fd = d->clients[i], .events = POLLIN };
    }
    if (poll(fds, ARRAY_LEN(fds), poll_ms(todo.next_ms, clock_now_ms())) < 0) {
        CHECK(errno == EINTR);
        return;
    }
    d->stop = (fds[0].revents & POLLIN) != 0;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (fds[2 + i].revents != 0) {
            client_ready(d, &d->clients[i]);
        }
    }
    if ((fds[1].revents & POLLIN) != 0) {
        accept_client(d);
    }
}

/* --- start
 * ------------------------------------------------------------------------------------------ */

static int open_state(struct dog *d, const char *path, struct err *err)
{
    char data[sizeof(struct wdog_saved) + 1];
    ssize_t n;

    d->state_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->state_fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "--state %s", path);
    }
    /* A second one would take over the socket, could not open the device, and the host were reset.
     */
    if (flock(d->state_fd, LOCK_EX | LOCK_NB) != 0) {
        return err_native(err, ERR_SYS, "errno", errno,
                          "--state %s: another picket-watchdog runs with it; leave it alone", path);
    }
    n = pread(d->state_fd, data, sizeof(data), 0);
    if (n > 0 && wdog_core_load(&d->core, data, (size_t)n, d->boot_id, clock_now_ms())) {
        lg_info("watchdog",
                "armed=%d incarnation=%" PRIu64 " deadline=%" PRIu64 " restarts=%" PRIu32
                " msg=\"goes on from the saved deadline\"",
                (int)d->core.armed, d->core.incarnation, d->core.deadline_ms, d->core.restarts);
    }
    return 0;
}

/* The device first runs for its whole timeout: opening it counts as a feed, which is right only
 * while the saved deadline lies ahead. */
static void resume(struct dog *d)
{
    struct wdog_core *c = &d->core;
    struct err err;

    if (!c->held && (!c->armed || clock_now_ms() >= c->deadline_ms)) {
        return;
    }
    if (device_arm(&d->device, c->timeout_ms, &err) != 0) {
        lg_err("watchdog", "msg=\"cannot go on: %s\"", err.msg);
    }
}

static int listen_on(struct dog *d, const char *path, struct err *err)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    if (!str_copy(sun.sun_path, sizeof(sun.sun_path), path)) {
        return err_set(err, ERR_INVALID, "--socket %s: the path is too long", path);
    }
    (void)unlink(path);
    (void)umask(0177);
    d->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->listen_fd < 0 || bind(d->listen_fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
        listen(d->listen_fd, CLIENTS_MAX) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "--socket %s", path);
    }
    return 0;
}

/* Nothing may ever make the loop wait: neither paging, nor other processes, nor a full log pipe. */
static void settle(struct dog *d)
{
    struct sched_param sp = { .sched_priority = REALTIME_PRIORITY };
    struct stat st;
    sigset_t set;

    if (fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))) {
        (void)fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_NONBLOCK);
    }
#ifndef __SANITIZE_ADDRESS__ /* its shadow memory is larger than any machine */
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        lg_warn("watchdog", "errno=%d msg=\"memory is not locked\"", errno);
    }
#endif
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &sp) != 0) {
        lg_warn("watchdog", "errno=%d msg=\"no real-time priority\"", errno);
    }
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(d->signal_fd >= 0);
}

int main(int argc, char **argv)
{
    static struct dog d;
    struct options o = { .socket = "/run/picket/watchdog.sock",
                         .state = "/run/picket/watchdog.deadline",
                         .device = "/dev/watchdog",
                         .boot_id_file = "/proc/sys/kernel/random/boot_id" };
    struct err err;

    lg_init("picket-watchdog");
    wdog_core_init(&d.core, clock_now_ms());
    memset(d.clients, 0xff, sizeof(d.clients)); /* -1 */
    if (options_parse(argc, argv, &o, &err) != 0 || device_init(&d.device, o.device, &err) != 0 ||
        options_read_boot_id(o.boot_id_file, d.boot_id, sizeof(d.boot_id), &err) != 0 ||
        open_state(&d, o.state, &err) != 0 || listen_on(&d, o.socket, &err) != 0) {
        lg_err("watchdog", "msg=\"%s\"", err.msg);
        return 1;
    }
    d.timeout_ms = (uint32_t)o.timeout_ms;
    settle(&d);
    resume(&d);
    lg_info("watchdog", "device=%s msg=started", o.device);
    while (!d.stop) {
        turn(&d);
    }
    lg_info("watchdog", "armed=%d msg=\"ended%s\"", (int)d.core.armed,
            d.core.armed || d.core.held ? "; the device runs on and resets the host unless this "
                                          "program is started again in time"
                                        : "");
    return 0;
}
