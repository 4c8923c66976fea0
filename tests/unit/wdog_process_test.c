/* picket-watchdog as a process: against a supervisor's socket that stands for the hardware. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fence/wdog.h"
#include "fence/wdog_client.h"

#define W_MS 1000U /* feeds every 250 ms */

struct rig {
    char dir[64], bin[512], dev[96], sock[96], state[96], boot[96];
    int listen_fd, dev_fd;
    pid_t pid;
};

static void path_of(char dst[96], const struct rig *r, const char *name)
{
    (void)snprintf(dst, 96, "%s/%s", r->dir, name);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    char self[400];
    ssize_t n;
    FILE *f;

    assert_non_null(r);
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/wdog-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    assert_true(n > 0);
    self[n] = '\0';
    *strrchr(self, '/') = '\0'; /* .../unit */
    *strrchr(self, '/') = '\0';
    (void)snprintf(r->bin, sizeof(r->bin), "%s/picket-watchdog", self);
    path_of(r->dev, r, "dev.sock");
    path_of(r->sock, r, "watchdog.sock");
    path_of(r->state, r, "deadline");
    path_of(r->boot, r, "boot-id");
    f = fopen(r->boot, "w");
    assert_non_null(f);
    assert_true(fputs("boot-1\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    r->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(r->listen_fd >= 0);
    (void)strncpy(sun.sun_path, r->dev, sizeof(sun.sun_path) - 1);
    assert_int_equal(bind(r->listen_fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(r->listen_fd, 4), 0);
    r->dev_fd = -1;
    *state = r;
    return 0;
}

static void kill_dog(struct rig *r, int sig)
{
    int status;

    if (r->pid > 0) {
        assert_int_equal(kill(r->pid, sig), 0);
        assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
        r->pid = 0;
    }
    if (r->dev_fd >= 0) {
        (void)close(r->dev_fd);
        r->dev_fd = -1;
    }
}

static int teardown(void **state)
{
    struct rig *r = *state;

    kill_dog(r, SIGKILL);
    (void)close(r->listen_fd);
    (void)unlink(r->dev);
    (void)unlink(r->sock);
    (void)unlink(r->state);
    (void)unlink(r->boot);
    (void)rmdir(r->dir);
    free(r);
    return 0;
}

static void start_dog(struct rig *r, struct wdog_client *c)
{
    char device[128];
    struct err err;
    int rc = ERR_UNREACHABLE;

    (void)snprintf(device, sizeof(device), "dev:%s", r->dev);
    (void)unlink(r->sock);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        (void)dup2(null, STDERR_FILENO);
        (void)execl(r->bin, r->bin, "--socket", r->sock, "--state", r->state, "--device", device,
                    "--boot-id-file", r->boot, (char *)NULL);
        _exit(127);
    }
    *c = (struct wdog_client){ .fd = -1 };
    for (int i = 0; i < 3000 && rc != 0; i++) {
        rc = wdog_client_open(c, r->sock, &err);
        if (rc != 0) {
            assert_int_equal(waitpid(r->pid, NULL, WNOHANG), 0);
            (void)poll(NULL, 0, 10);
        }
    }
    assert_int_equal(rc, 0);
}

/* The supervisor's side: the next message, or 0 after timeout_ms. */
static uint32_t next_op(struct rig *r, int timeout_ms)
{
    struct wdog_dev_msg m = { 0 };
    struct pollfd pfd = { .events = POLLIN };

    if (r->dev_fd < 0) {
        pfd.fd = r->listen_fd;
        if (poll(&pfd, 1, timeout_ms) <= 0) {
            return 0;
        }
        r->dev_fd = accept(r->listen_fd, NULL, NULL);
        assert_true(r->dev_fd >= 0);
    }
    pfd.fd = r->dev_fd;
    if (poll(&pfd, 1, timeout_ms) <= 0) {
        return 0;
    }
    assert_int_equal(recv(r->dev_fd, &m, sizeof(m), 0), sizeof(m));
    assert_int_equal(m.magic, WDOG_DEV_MAGIC);
    if (m.op == WDOG_DEV_ARM) {
        assert_int_equal(send(r->dev_fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
    }
    return m.op;
}

static void send_request(struct wdog_client *c, enum wdog_op op, uint64_t deadline_ms,
                         uint64_t revision)
{
    struct wdog_request rq, fresh = { 0 };
    struct err err;

    memset(&rq, 0xa5, sizeof(rq)); /* as what lay on the stack before */
    wdog_client_prepare(c, &rq, op);
    fresh.magic = rq.magic;
    fresh.version = rq.version;
    fresh.op = (uint16_t)op;
    fresh.seq = c->seq;
    assert_memory_equal(&rq, &fresh, sizeof(rq));
    rq.epoch = 1;
    rq.incarnation = 3;
    rq.deadline_boottime_ms = deadline_ms;
    rq.timeout_ms = W_MS;
    rq.lmax_ms = 60000;
    rq.revision = revision;
    assert_int_equal(wdog_client_send(c, &rq, &err), 0);
}

static struct wdog_reply get_reply(struct wdog_client *c)
{
    struct wdog_reply rp = { 0 };
    struct err err = { 0 };

    for (int i = 0; i < 3000; i++) {
        int rc = wdog_client_recv(c, &rp, &err);

        if (rc == 0) {
            return rp;
        }
        assert_int_equal(rc, ERR_TIMEOUT);
        (void)poll(&(struct pollfd){ .fd = c->fd, .events = POLLIN }, 1, 10);
    }
    fail_msg("no reply");
    return rp;
}

static void arm(struct rig *r, struct wdog_client *c, uint64_t deadline_ms)
{
    struct wdog_reply rp;

    send_request(c, WDOG_ARM, deadline_ms, 0);
    assert_int_equal(next_op(r, 20000), WDOG_DEV_ARM);
    rp = get_reply(c);
    assert_int_equal(rp.code, WDOG_OK);
    assert_int_equal(rp.status.armed, 1);
    assert_int_equal(rp.status.kind, WDOG_KIND_DEV);
    assert_int_equal(rp.status.timeout_ms, W_MS);
    assert_int_equal(rp.status.deadline_boottime_ms, deadline_ms);
}

/* Feeds come while the deadline lies ahead, and then none any more.  How many is up to the
 * scheduler: at least one.  What was sent before the deadline may be read here after it. */
static void expect_feeds_then_silence(struct rig *r, uint64_t deadline_ms)
{
    unsigned feeds = 0;
    uint64_t now_ms;

    while ((now_ms = clock_now_ms()) < deadline_ms) {
        uint32_t op = next_op(r, (int)(deadline_ms - now_ms) + 1);

        assert_true(op == WDOG_DEV_FEED || op == 0);
        feeds += op == WDOG_DEV_FEED ? 1 : 0;
    }
    assert_true(feeds >= 1);
    while (next_op(r, 0) == WDOG_DEV_FEED) {
    }
    assert_int_equal(next_op(r, 1500), 0);
}

static void feeds_until_the_deadline(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    struct wdog_reply rp;
    uint64_t deadline_ms;

    start_dog(r, &c);
    send_request(&c, WDOG_STATUS, 0, 0);
    rp = get_reply(&c);
    assert_int_equal(rp.status.armed, 0);
    send_request(&c, WDOG_SET_DEADLINE, clock_now_ms() + 50000, 0);
    assert_int_equal(get_reply(&c).code, WDOG_ERR_NOT_ARMED);
    deadline_ms = clock_now_ms() + 3000;
    arm(r, &c, deadline_ms);
    expect_feeds_then_silence(r, deadline_ms);
    send_request(&c, WDOG_STATUS, 0, 0);
    rp = get_reply(&c);
    assert_int_equal(rp.status.expired, 1);
    assert_true(rp.status.last_feed_boottime_ms < deadline_ms);
    wdog_client_close(&c);
}

/* The agent dies: nobody renews, and feeding ends with the deadline.  A lost connection ends
 * nothing. */
static void connection_loss_does_not_disarm(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    uint64_t deadline_ms = 0;

    start_dog(r, &c);
    deadline_ms = clock_now_ms() + 3000;
    arm(r, &c, deadline_ms);
    wdog_client_close(&c);
    expect_feeds_then_silence(r, deadline_ms);
}

static void killed_and_restarted_goes_on(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    struct wdog_reply rp;
    uint64_t deadline_ms;

    start_dog(r, &c);
    arm(r, &c, clock_now_ms() + 8000);
    deadline_ms = clock_now_ms() + 10000;
    send_request(&c, WDOG_SET_DEADLINE, deadline_ms, 0);
    assert_int_equal(get_reply(&c).code, WDOG_OK);
    kill_dog(r, SIGKILL);
    wdog_client_close(&c);
    start_dog(r, &c);
    assert_int_equal(next_op(r, 20000), WDOG_DEV_ARM);
    assert_int_equal(next_op(r, 20000), WDOG_DEV_FEED);
    send_request(&c, WDOG_STATUS, 0, 0);
    rp = get_reply(&c);
    assert_int_equal(rp.status.armed, 1);
    assert_int_equal(rp.status.deadline_boottime_ms, deadline_ms);
    assert_int_equal(rp.status.restarts, 1);
    assert_int_equal(rp.status.incarnation, 3);
    expect_feeds_then_silence(r, deadline_ms);
    wdog_client_close(&c);
}

static void restarted_too_late_never_feeds(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    struct wdog_reply rp;
    uint64_t deadline_ms;

    start_dog(r, &c);
    deadline_ms = clock_now_ms() + 2000;
    arm(r, &c, deadline_ms);
    kill_dog(r, SIGKILL);
    wdog_client_close(&c);
    while (clock_now_ms() < deadline_ms) {
        (void)poll(NULL, 0, 50);
    }
    start_dog(r, &c);
    assert_int_equal(next_op(r, 1000), 0); /* does not even open the device */
    send_request(&c, WDOG_STATUS, 0, 0);
    rp = get_reply(&c);
    assert_int_equal(rp.status.armed, 1);
    assert_int_equal(rp.status.expired, 1);
    wdog_client_close(&c);
}

static void another_boot_starts_disarmed(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    FILE *f;

    start_dog(r, &c);
    arm(r, &c, clock_now_ms() + 50000);
    kill_dog(r, SIGKILL);
    wdog_client_close(&c);
    f = fopen(r->boot, "w");
    assert_non_null(f);
    assert_true(fputs("boot-2\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    start_dog(r, &c);
    send_request(&c, WDOG_STATUS, 0, 0);
    assert_int_equal(get_reply(&c).status.armed, 0);
    wdog_client_close(&c);
}

static void disarm_needs_a_revision(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    uint32_t op;

    start_dog(r, &c);
    arm(r, &c, clock_now_ms() + 50000);
    send_request(&c, WDOG_DISARM, 0, 0);
    assert_int_equal(get_reply(&c).code, WDOG_ERR_INVALID);
    send_request(&c, WDOG_DISARM, 0, 77);
    assert_int_equal(get_reply(&c).code, WDOG_OK);
    for (int i = 0; (op = next_op(r, 20000)) == WDOG_DEV_FEED && i < 1000; i++) {
    }
    assert_int_equal(op, WDOG_DEV_DISARM);
    wdog_client_close(&c);
}

static void supervisor_comes_back(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;

    start_dog(r, &c);
    arm(r, &c, clock_now_ms() + 60000);
    (void)close(r->dev_fd);
    r->dev_fd = -1;
    assert_int_equal(next_op(r, 20000), WDOG_DEV_ARM); /* connects again by itself */
    assert_int_equal(next_op(r, 20000), WDOG_DEV_FEED);
    wdog_client_close(&c);
}

static void garbage_is_answered(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    char junk[300];

    start_dog(r, &c);
    memset(junk, 0xa5, sizeof(junk));
    for (size_t n = 1; n <= sizeof(junk); n += 23) {
        assert_int_equal(send(c.fd, junk, n, MSG_NOSIGNAL), n);
        assert_int_equal(get_reply(&c).code, WDOG_ERR_MALFORMED);
    }
    wdog_client_close(&c);
}

/* A second one, started by mistake, goes away again; the first one keeps socket and device. */
static void a_second_one_is_refused(void **state)
{
    struct rig *r = *state;
    struct wdog_client c, later = { .fd = -1 };
    struct err err;
    int status;
    pid_t pid;

    start_dog(r, &c);
    arm(r, &c, clock_now_ms() + 50000);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        (void)dup2(null, STDERR_FILENO);
        (void)execl(r->bin, r->bin, "--socket", r->sock, "--state", r->state, "--device", "none",
                    "--boot-id-file", r->boot, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_int_equal(wdog_client_open(&later, r->sock, &err), 0);
    send_request(&later, WDOG_STATUS, 0, 0);
    assert_int_equal(get_reply(&later).status.armed, 1);
    wdog_client_close(&later);
    wdog_client_close(&c);
}

/* "VmData:" of the process, in KiB: grows with any allocation that needs memory. */
static long vm_data(pid_t pid)
{
    char path[64], line[256];
    long kib = -1;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "VmData:", 7) == 0) {
            kib = strtol(line + 7, NULL, 10);
        }
    }
    assert_int_equal(fclose(f), 0);
    return kib;
}

static void allocates_nothing_after_start(void **state)
{
    struct rig *r = *state;
    struct wdog_client c;
    long before;

    start_dog(r, &c);
    arm(r, &c, clock_now_ms() + 50000);
    before = vm_data(r->pid);
    assert_true(before > 0);
    for (int i = 0; i < 3000; i++) {
        send_request(&c, i % 2 == 0 ? WDOG_SET_DEADLINE : WDOG_STATUS, clock_now_ms() + 50000, 0);
        assert_int_equal(get_reply(&c).code, WDOG_OK);
    }
    assert_int_equal(vm_data(r->pid), before);
    wdog_client_close(&c);
}

/* The code of the loop does not even refer to an allocator. */
static void refers_to_no_allocator(void **state)
{
    static const char *const objects[] = { "main", "device" };
    struct rig *r = *state;

    for (size_t i = 0; i < 2; i++) {
        char cmd[640], line[256];
        unsigned symbols = 0;
        FILE *p;

        (void)snprintf(cmd, sizeof(cmd), "nm -u '%.*s/cmd/picket-watchdog/%s.o'",
                       (int)(strrchr(r->bin, '/') - r->bin), r->bin, objects[i]);
        p = popen(cmd, "r");
        assert_non_null(p);
        while (fgets(line, sizeof(line), p) != NULL) {
            symbols++;
            if (strstr(line, " __asan_") != NULL) {
                continue;
            }
            if (strstr(line, "alloc") != NULL || strstr(line, "strdup") != NULL ||
                strstr(line, "fopen") != NULL || strstr(line, "mem_") != NULL ||
                strstr(line, " buf_") != NULL) {
                fail_msg("%s.o refers to %s", objects[i], line);
            }
        }
        assert_int_equal(pclose(p), 0);
        assert_true(symbols > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(feeds_until_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(connection_loss_does_not_disarm, setup, teardown),
        cmocka_unit_test_setup_teardown(killed_and_restarted_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(restarted_too_late_never_feeds, setup, teardown),
        cmocka_unit_test_setup_teardown(another_boot_starts_disarmed, setup, teardown),
        cmocka_unit_test_setup_teardown(disarm_needs_a_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(supervisor_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_one_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(allocates_nothing_after_start, setup, teardown),
        cmocka_unit_test_setup_teardown(refers_to_no_allocator, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
