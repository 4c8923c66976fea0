/* The driver of `picket dev` with real guest processes and real files.
 *
 * This program is also its own picket-guest: the driver starts /proc/self/exe.  The tests run in a
 * child with a process group of its own, which is ended as a whole afterwards, as a host's is when
 * its power is cut.
 */

int picket_guest_main(int argc, char **argv);
#define main picket_guest_main
#include "cmd/picket-guest/console.c"
#include "cmd/picket-guest/main.c"
#include "cmd/picket-guest/mig.c"
#undef main

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ftw.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <uv.h>

#include "base/log.h"
#include "base/obj.h"
#include "reconciler/dev_drv.h"

static char base_dir[] = "/tmp/picket-devdrv-XXXXXX";

#define BOOT "boot-1"
#define WAIT_MS 15000U

struct seen { /* newest event about a domain */
    enum dom_state state;
    enum dom_reason reason;
    unsigned events;
};

struct bench {
    uv_loop_t loop;
    char dir[64];
    struct drv *drv;
    struct seen dom;
    unsigned doubts;
    bool closed;
    /* result of the last job */
    bool done;
    int code;
    char msg[ERR_MSG_MAX];
    size_t n;
    struct drv_domain d; /* the first one listed */
    enum vol_state vol;
    bool vol_open;
    struct drv_capacity capacity;
};

static void on_event(void *data, const struct drv_event *ev)
{
    struct bench *b = data;

    if (ev->kind == DRV_EV_DOMAIN) {
        b->dom = (struct seen){ ev->domain->state, ev->domain->reason, b->dom.events + 1 };
    }
    b->doubts += ev->kind == DRV_EV_DOUBT;
}

static void open_as(struct bench *b, const char *boot, const char *guest)
{
    struct dev_drv_opts o = { .loop = &b->loop,
                              .dir = b->dir,
                              .host = "node1",
                              .boot_id = boot,
                              .guest = guest,
                              .memory_bytes = 64ULL << 30,
                              .cpus = 16 };
    struct err err;

    if (dev_drv_new(&o, &b->drv, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    drv_listen(b->drv, on_event, b);
}

static void on_closed(void *ctx)
{
    ((struct bench *)ctx)->closed = true;
}

static void close_drv(struct bench *b)
{
    b->closed = false;
    drv_close(b->drv, on_closed, b);
    for (int i = 0; i < 1000 && !b->closed; i++) {
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
    }
    assert_true(b->closed);
    (void)uv_run(&b->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
    struct bench *b = OBJ_NEW(struct bench);

    (void)snprintf(b->dir, sizeof(b->dir), "%s/XXXXXX", base_dir);
    assert_non_null(mkdtemp(b->dir));
    assert_int_equal(uv_loop_init(&b->loop), 0);
    open_as(b, BOOT, "/proc/self/exe");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    close_drv(b);
    drv_domain_done(&b->d);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    free(b);
    return 0;
}

static void job_done(struct drv_job *job, const struct err *err)
{
    struct bench *b = job->data;

    b->done = true;
    b->code = err == NULL ? 0 : err->code;
    (void)str_copy(b->msg, sizeof(b->msg), err == NULL ? "" : err->msg);
    b->n = job->result.n_domains + job->result.n_volumes;
    drv_domain_done(&b->d);
    if (job->result.n_domains > 0) {
        drv_domain_copy(&b->d, &job->result.domains[0]);
    }
    if (job->result.n_volumes > 0) {
        b->vol = job->result.volumes[0].state;
        b->vol_open = job->result.volumes[0].open;
    }
    b->capacity = job->result.capacity;
}

static void wait_until(struct bench *b, const bool *flag)
{
    uint64_t end = clock_now_ms() + WAIT_MS;

    while (!*flag && clock_now_ms() < end) {
        struct timespec nap = { 0, 1000000 };

        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        (void)nanosleep(&nap, NULL);
    }
    assert_true(*flag);
}

static int run_job(struct bench *b, struct drv_job *job)
{
    job->magic = DRV_JOB_MAGIC;
    job->deadline_ms = clock_now_ms() + WAIT_MS;
    job->cb = job_done;
    job->data = b;
    b->done = false;
    drv_submit(b->drv, job);
    assert_false(b->done); /* never before submit has returned */
    wait_until(b, &b->done);
    return b->code;
}

static int op(struct bench *b, enum drv_op o)
{
    return run_job(b, &(struct drv_job){ .op = o, .vm = "vm1" });
}

static int vol(struct bench *b, enum drv_op o)
{
    return run_job(b, &(struct drv_job){
                          .op = o, .group = "vg.a", .volume = "v1", .size_bytes = 1, .token = 9 });
}

static int start_at(struct bench *b, uint64_t not_after_ms)
{
    struct drv_disk disk = { .name = "root", .target = "xvda", .group = "vg.a", .volume = "v1" };
    json_t *o = json_pack("{s:{s:s}}", "spec", "memory", "1Gi");
    int rc = run_job(b, &(struct drv_job){ .op = DRV_START,
                                           .vm = "vm1",
                                           .uid = "u1",
                                           .object = o,
                                           .disks = &disk,
                                           .n_disks = 1,
                                           .incarnation = 7,
                                           .token = 42,
                                           .not_after_ms = not_after_ms });

    json_decref(o);
    return rc;
}

static void start(struct bench *b)
{
    if (start_at(b, clock_now_ms() + WAIT_MS) != 0) {
        fail_msg("%s", b->msg);
    }
    assert_int_equal(b->dom.state, DOM_RUNNING);
}

static void prepare_volume(struct bench *b)
{
    assert_int_equal(vol(b, DRV_VOL_CREATE), 0);
    assert_int_equal(vol(b, DRV_VOL_ACTIVATE), 0);
}

static pid_t guest_pid(struct bench *b)
{
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 1);
    return (pid_t)b->d.id;
}

static void wait_state(struct bench *b, enum dom_state st)
{
    uint64_t end = clock_now_ms() + WAIT_MS;

    while (b->dom.state != st && clock_now_ms() < end) {
        struct timespec nap = { 0, 1000000 };

        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        (void)nanosleep(&nap, NULL);
    }
    assert_int_equal(b->dom.state, st);
}

static off_t disk_size(const struct bench *b)
{
    char path[256];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/san/vg.a/v1.img", b->dir);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void wait_for_writes(struct bench *b)
{
    off_t before = disk_size(b);
    uint64_t end = clock_now_ms() + WAIT_MS;

    while (disk_size(b) <= before && clock_now_ms() < end) {
        struct timespec nap = { 0, 5000000 };

        (void)nanosleep(&nap, NULL);
    }
    assert_true(disk_size(b) > before);
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void a_guest_writes_and_is_found_again(void **state)
{
    struct bench *b = *state;
    char path[256], line[256];
    uint64_t boottime, wall, seq;
    FILE *f;
    pid_t pid;

    prepare_volume(b);
    start(b);
    wait_for_writes(b);
    pid = guest_pid(b);
    assert_string_equal(b->d.vm, "vm1");
    assert_string_equal(b->d.uid, "u1");
    assert_int_equal(b->d.incarnation, 7);
    assert_int_equal(b->d.token, 42);
    assert_int_equal(b->d.state, DOM_RUNNING);
    assert_int_equal(b->d.memory_bytes, 1ULL << 30);
    assert_int_equal(getpgid(pid), getpgrp()); /* power off ends it */
    (void)snprintf(path, sizeof(path), "%s/san/vg.a/v1.img", b->dir);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(
        sscanf(line, "%" SCNu64 " %" SCNu64 " node1 vm1 7 42 %" SCNu64, &boottime, &wall, &seq), 3);
    assert_int_equal(seq, 1);
    /* The agent dies and comes back: the guest has not noticed. */
    close_drv(b);
    open_as(b, BOOT, "/proc/self/exe");
    assert_int_equal(guest_pid(b), pid);
    assert_int_equal(b->d.token, 42);
    wait_for_writes(b);
    assert_int_equal(op(b, DRV_DESTROY), 0);
    assert_int_equal(b->dom.state, DOM_ABSENT);
    assert_int_equal(waitpid(pid, NULL, 0), pid); /* we are its reaper here */
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 0);
}

static void ends_have_reasons(void **state)
{
    static const struct {
        int sig;
        enum dom_reason reason;
    } ends[] = {
        { SIGUSR1, DOM_REASON_POWEROFF }, { SIGUSR2, DOM_REASON_CRASH },
        { 34, DOM_REASON_REBOOT },        { SIGKILL, DOM_REASON_VANISHED },
        { SIGTERM, DOM_REASON_SHUTDOWN },
    };
    struct bench *b = *state;

    prepare_volume(b);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        start(b);
        assert_int_equal(kill(guest_pid(b), ends[i].sig == 34 ? SIGRTMIN : ends[i].sig), 0);
        wait_state(b, DOM_STOPPED);
        assert_int_equal(b->dom.reason, ends[i].reason);
        /* An enumeration says the same, until the record is removed. */
        assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
        assert_int_equal(b->d.state, DOM_STOPPED);
        assert_int_equal(b->d.reason, ends[i].reason);
        assert_int_equal(op(b, DRV_DESTROY), 0);
        assert_int_equal(b->dom.state, DOM_ABSENT);
    }
}

static void shutdown_and_the_deaf(void **state)
{
    struct bench *b = *state;

    prepare_volume(b);
    start(b);
    assert_int_equal(op(b, DRV_SHUTDOWN), 0);
    wait_state(b, DOM_STOPPED);
    assert_int_equal(b->dom.reason, DOM_REASON_SHUTDOWN);
    assert_int_equal(op(b, DRV_SHUTDOWN), ERR_DRIVER); /* it does not run any more */
    assert_int_equal(op(b, DRV_DESTROY), 0);
    start(b);
    assert_int_equal(kill(guest_pid(b), SIGRTMIN + 1), 0);
    wait_for_writes(b);
    assert_int_equal(op(b, DRV_SHUTDOWN), 0);
    wait_for_writes(b);
    wait_for_writes(b);
    assert_int_equal(b->dom.state, DOM_RUNNING);
    assert_int_equal(op(b, DRV_DESTROY), 0);
    assert_int_equal(b->dom.state, DOM_ABSENT);
}

static void pause_and_go_on(void **state)
{
    struct bench *b = *state;

    prepare_volume(b);
    start(b);
    assert_int_equal(op(b, DRV_PAUSE), 0);
    assert_int_equal(b->dom.state, DOM_PAUSED);
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->d.state, DOM_PAUSED);
    assert_int_equal(
        run_job(b, &(struct drv_job){ .op = DRV_UNPAUSE, .vm = "vm1", .not_after_ms = 1 }),
        ERR_TIMEOUT); /* the lease is over */
    assert_int_equal(b->dom.state, DOM_PAUSED);
    assert_int_equal(op(b, DRV_UNPAUSE), 0);
    assert_int_equal(b->dom.state, DOM_RUNNING);
    wait_for_writes(b);
    assert_int_equal(op(b, DRV_PAUSE), 0);
    assert_int_equal(op(b, DRV_DESTROY), 0);
    assert_int_equal(b->dom.state, DOM_ABSENT);
}

static void starts_that_must_not_be(void **state)
{
    struct bench *b = *state;

    assert_int_equal(vol(b, DRV_VOL_ACTIVATE), ERR_DRIVER); /* does not exist */
    assert_int_equal(vol(b, DRV_VOL_CREATE), 0);
    assert_int_equal(start_at(b, clock_now_ms() + WAIT_MS), ERR_DRIVER);
    assert_non_null(strstr(b->msg, "not active"));
    assert_int_equal(vol(b, DRV_VOL_ACTIVATE), 0);
    /* The lease under which it was to start has ended: not a byte is written. */
    assert_int_equal(start_at(b, clock_now_ms() - 1), ERR_DRIVER);
    assert_non_null(strstr(b->msg, "too late"));
    assert_int_equal(b->dom.state, DOM_ABSENT);
    assert_int_equal(disk_size(b), 0);
    start(b);
    assert_int_equal(start_at(b, clock_now_ms() + WAIT_MS), ERR_DRIVER);
    assert_non_null(strstr(b->msg, "exists"));
    assert_int_equal(op(b, DRV_DESTROY), 0);
}

static void volumes(void **state)
{
    struct bench *b = *state;

    assert_int_equal(op(b, DRV_ENUM_VOLUMES), 0);
    assert_int_equal(b->n, 0);
    assert_int_equal(vol(b, DRV_VOL_CREATE), 0);
    assert_int_equal(vol(b, DRV_VOL_CREATE), 0); /* it exists: as good */
    assert_int_equal(op(b, DRV_ENUM_VOLUMES), 0);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->vol, VOL_INACTIVE);
    assert_int_equal(vol(b, DRV_VOL_ACTIVATE), 0);
    start(b);
    assert_int_equal(op(b, DRV_ENUM_VOLUMES), 0);
    assert_int_equal(b->vol, VOL_ACTIVE);
    assert_true(b->vol_open);
    assert_int_equal(vol(b, DRV_VOL_DEACTIVATE), ERR_DRIVER); /* in use */
    assert_int_equal(op(b, DRV_DESTROY), 0);
    assert_int_equal(vol(b, DRV_VOL_DEACTIVATE), 0);
    assert_int_equal(op(b, DRV_ENUM_VOLUMES), 0);
    assert_int_equal(b->vol, VOL_INACTIVE);
    assert_false(b->vol_open);
    assert_int_equal(
        run_job(b, &(struct drv_job){ .op = DRV_VOL_CREATE, .group = "../etc", .volume = "x" }),
        ERR_INVALID);
}

static void another_boot_counts_for_nothing(void **state)
{
    struct bench *b = *state;
    pid_t pid;

    prepare_volume(b);
    start(b);
    pid = guest_pid(b);
    close_drv(b);
    open_as(b, "boot-2", "/proc/self/exe");
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 0);
    assert_int_equal(op(b, DRV_ENUM_VOLUMES), 0);
    assert_int_equal(b->vol, VOL_INACTIVE);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

static void unreadable_state_is_not_absence(void **state)
{
    struct bench *b = *state;
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/hosts/node1/guests/vm9.state", b->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs("garbage\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), ERR_CORRUPT);
    assert_int_equal(b->n, 0);
}

static void an_aborted_start_is_unknown(void **state)
{
    struct bench *b = *state;
    struct drv_disk disk = { .name = "root", .target = "xvda", .group = "vg.a", .volume = "v1" };
    json_t *o = json_object();
    struct drv_job job = { .magic = DRV_JOB_MAGIC,
                           .op = DRV_START,
                           .vm = "vm1",
                           .uid = "u1",
                           .object = o,
                           .disks = &disk,
                           .n_disks = 1,
                           .incarnation = 7,
                           .token = 42,
                           .deadline_ms = clock_now_ms() + 100,
                           .cb = job_done,
                           .data = b };
    char script[256];
    FILE *f;

    (void)snprintf(script, sizeof(script), "%s/slow", b->dir);
    f = fopen(script, "w");
    assert_non_null(f);
    assert_true(fputs("#!/bin/sh\nexec sleep 60\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(script, 0700), 0);
    close_drv(b);
    open_as(b, BOOT, script);
    prepare_volume(b);
    b->done = false;
    drv_submit(b->drv, &job);
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
    }
    assert_false(b->done);
    drv_abort(b->drv, &job);
    wait_until(b, &b->done);
    assert_int_equal(b->code, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(b->dom.state, DOM_ABSENT);
    json_decref(o);
}

static void capacity_and_objects(void **state)
{
    struct bench *b = *state;

    prepare_volume(b);
    start(b);
    assert_int_equal(op(b, DRV_CAPACITY), 0);
    assert_int_equal(b->capacity.memory_bytes, 64ULL << 30);
    assert_int_equal(b->capacity.memory_free_bytes, 63ULL << 30);
    assert_int_equal(b->capacity.cpus, 16);
    assert_int_equal(run_job(b, &(struct drv_job){ .op = DRV_APPLY, .kind = "bonds", .name = "b" }),
                     0);
    assert_int_equal(op(b, DRV_DESTROY), 0);
}

/* --- live migration ----------------------------------------------------------------------------
 */

static void free_address(char *dst, size_t size)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)snprintf(dst, size, "127.0.0.1:%u", ntohs(at.sin_port));
    (void)close(fd);
}

struct moved {
    bool done;
    int code;
    uint64_t suspended_ms;
};

static void move_done(struct drv_job *job, const struct err *err)
{
    struct moved *m = job->data;

    m->done = true;
    m->code = err == NULL ? 0 : err->code;
    m->suspended_ms = job->result.suspended_ms;
}

static struct drv_job move_job(enum drv_op o, const char *peer, const char *address,
                               struct moved *m)
{
    return (struct drv_job){ .magic = DRV_JOB_MAGIC,
                             .op = o,
                             .vm = "vm1",
                             .uid = "u1",
                             .peer = peer,
                             .peer_address = address,
                             .migration = "m1",
                             .incarnation = 8,
                             .token = 43,
                             .deadline_ms = clock_now_ms() + WAIT_MS,
                             .cb = move_done,
                             .data = m };
}

/* A second host on the same loop and storage; its guest is another process. */
static void open_second(struct bench *b, struct bench *other)
{
    struct dev_drv_opts o = { .loop = &b->loop,
                              .dir = b->dir,
                              .host = "node2",
                              .boot_id = "boot-2",
                              .guest = "/proc/self/exe",
                              .memory_bytes = 64ULL << 30,
                              .cpus = 16 };
    struct err err;

    assert_int_equal(dev_drv_new(&o, &other->drv, &err), 0);
    drv_listen(other->drv, on_event, other);
}

static int other_op(struct bench *b, struct bench *other, struct drv_job *job)
{
    struct drv *mine = b->drv;
    int rc;

    b->drv = other->drv;
    rc = run_job(b, job);
    b->drv = mine;
    return rc;
}

static void close_second(struct bench *b, struct bench *other)
{
    other->closed = false;
    drv_close(other->drv, on_closed, other);
    wait_until(b, &other->closed);
}

static void moves_live(void **state)
{
    struct drv_disk disk = { .name = "root", .target = "xvda", .group = "vg.a", .volume = "v1" };
    struct bench *b = *state, other = { 0 };
    json_t *object = json_pack("{s:{s:s}}", "spec", "memory", "1Gi");
    struct moved sent = { 0 }, received = { 0 };
    struct drv_job send, receive;
    char address[64];
    off_t size;

    prepare_volume(b);
    start(b);
    wait_for_writes(b);
    open_second(b, &other);
    assert_int_equal(
        other_op(b, &other,
                 &(struct drv_job){
                     .op = DRV_VOL_ACTIVATE, .group = "vg.a", .volume = "v1", .token = 10 }),
        0);
    free_address(address, sizeof(address));
    send = move_job(DRV_MIG_SUSPEND, "node2", address, &sent);
    receive = move_job(DRV_MIG_RECEIVE, "node1", address, &received);
    receive.disks = &disk;
    receive.n_disks = 1;
    receive.object = object;
    drv_submit(b->drv, &send);
    drv_submit(other.drv, &receive);
    wait_until(b, &sent.done);
    wait_until(b, &received.done);
    assert_int_equal(sent.code, 0);
    assert_int_equal(received.code, 0);
    assert_true(sent.suspended_ms != 0 && sent.suspended_ms <= clock_now_ms());
    assert_int_equal(b->dom.state, DOM_PAUSED); /* both stand still until somebody decides */
    assert_int_equal(other.dom.state, DOM_PAUSED);
    size = disk_size(b);
    (void)usleep(250000);
    assert_int_equal(disk_size(b), size);
    assert_int_equal(op(b, DRV_UNPAUSE), ERR_DRIVER); /* only RESUME makes the source go on */
    assert_int_equal(op(b, DRV_SHUTDOWN), ERR_DRIVER);
    assert_int_equal(other_op(b, &other, &(struct drv_job){ .op = DRV_UNPAUSE, .vm = "vm1" }), 0);
    assert_int_equal(other.dom.state, DOM_RUNNING);
    wait_for_writes(b);
    assert_int_equal(op(b, DRV_DESTROY), 0);
    assert_int_equal(other_op(b, &other, &(struct drv_job){ .op = DRV_DESTROY, .vm = "vm1" }), 0);
    close_second(b, &other);
    json_decref(object);
}

/* Nobody is there to receive; called back, it has never stood still. */
static void called_back(void **state)
{
    struct moved sent = { 0 };
    struct bench *b = *state;
    struct drv_job send;
    char address[64];

    prepare_volume(b);
    start(b);
    free_address(address, sizeof(address));
    send = move_job(DRV_MIG_SUSPEND, "node2", address, &sent);
    drv_submit(b->drv, &send);
    (void)uv_run(&b->loop, UV_RUN_NOWAIT);
    drv_abort(b->drv, &send);
    wait_until(b, &sent.done);
    assert_int_equal(sent.code, ERR_CANCELED);
    assert_int_equal(b->dom.state, DOM_RUNNING);
    assert_int_equal(
        run_job(b, &(struct drv_job){ .op = DRV_MIG_RESUME, .vm = "vm1", .not_after_ms = 1 }),
        ERR_TIMEOUT);                           /* the lease is over */
    assert_int_equal(op(b, DRV_MIG_RESUME), 0); /* well when it runs already */
    wait_for_writes(b);
    assert_int_equal(op(b, DRV_DESTROY), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_guest_writes_and_is_found_again),
        TEST(ends_have_reasons),
        TEST(shutdown_and_the_deaf),
        TEST(pause_and_go_on),
        TEST(starts_that_must_not_be),
        TEST(volumes),
        TEST(another_boot_counts_for_nothing),
        TEST(unreadable_state_is_not_absence),
        TEST(an_aborted_start_is_unknown),
        TEST(capacity_and_objects),
        TEST(moves_live),
        TEST(called_back),
    };

    lg_set_level(LG_ERR);
    return cmocka_run_group_tests_name("devdrv", tests, NULL, NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

int main(int argc, char **argv)
{
    int status = 0;
    pid_t pid;

    if (argc > 1 && str_starts(argv[1], "--")) {
        return picket_guest_main(argc, argv);
    }
    if (mkdtemp(base_dir) == NULL) {
        return 1;
    }
    pid = fork();
    if (pid == 0) {
        (void)setpgid(0, 0);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        exit(all_tests());
    }
    (void)waitpid(pid, &status, 0);
    (void)kill(-pid, SIGKILL);
    (void)nftw(base_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
