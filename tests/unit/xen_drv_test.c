/* The Xen driver on a libxl in memory (xen_fake.h): success, failures, hangs with aborts, events,
 * ends of all kinds, a disaster. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/unit/xen_fake.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include "reconciler/xen_drv.h"
#include "reconciler/xen_move.h"

#define WAIT_MS 15000U
#define GIVE_UP_MS 150U

/* A storage that answers at once, and one volume. */
struct fake_storage {
    struct xen_storage s; /* first */
    uv_loop_t *loop;
    struct drv_job *job;
    uv_timer_t timer;
    bool aborted, closed;
    void (*on_closed)(void *ctx);
    void *ctx;
};

struct seen {
    unsigned events;
    enum dom_state state;
    enum dom_reason reason;
    char detail[256], uid[64], console[128];
    int64_t id;
    uint64_t target;
};

struct bench {
    uv_loop_t loop;
    struct fake_storage storage;
    struct drv *drv;
    struct seen dom;
    unsigned doubts, volumes;
    bool closed;
    bool done;
    int code;
    char msg[ERR_MSG_MAX];
    size_t n;
    struct drv_domain d[8];
    struct drv_capacity capacity;
    struct drv_job job, second;
    json_t *object;
    struct drv_disk disk;
    uint64_t suspended_ms;
    /* the other host of a migration */
    char address[64];
    struct xen_mover *mover;
    struct xen_move *move;
    int fd;
};

/* --- the bench ---------------------------------------------------------------------------------
 */

static void on_timer(uv_timer_t *t)
{
    struct fake_storage *f = t->data;
    struct drv_job *job = f->job;
    struct drv_volume v = { .group = (char *)(uintptr_t) "vg0",
                            .name = (char *)(uintptr_t) "v1",
                            .state = VOL_ACTIVE };
    struct drv_event ev = { .kind = DRV_EV_VOLUME, .volume = &v };

    f->job = NULL;
    f->s.on_event(f->s.on_event_data, &ev);
    job->cb(job, NULL);
}

static void storage_submit(struct xen_storage *s, struct drv_job *job)
{
    struct fake_storage *f = (struct fake_storage *)s;

    f->job = job;
    assert_int_equal(uv_timer_start(&f->timer, on_timer, job->size_bytes == 1 ? 60000 : 0, 0), 0);
}

static void storage_abort(struct xen_storage *s, struct drv_job *job)
{
    struct fake_storage *f = (struct fake_storage *)s;

    assert_ptr_equal(f->job, job);
    f->aborted = true;
    assert_int_equal(uv_timer_start(&f->timer, on_timer, 0, 0), 0);
}

static char *storage_path(struct xen_storage *s, const char *group, const char *volume)
{
    (void)s;
    return mem_printf("/dev/%s/%s", group, volume);
}

static void storage_closed(uv_handle_t *h)
{
    struct fake_storage *f = h->data;

    f->on_closed(f->ctx);
}

static void storage_close(struct xen_storage *s, void (*on_closed)(void *ctx), void *ctx)
{
    struct fake_storage *f = (struct fake_storage *)s;

    f->closed = true;
    f->on_closed = on_closed;
    f->ctx = ctx;
    uv_close((uv_handle_t *)&f->timer, storage_closed);
}

static void on_event(void *data, const struct drv_event *ev)
{
    struct bench *b = data;

    b->doubts += ev->kind == DRV_EV_DOUBT;
    b->volumes += ev->kind == DRV_EV_VOLUME;
    if (ev->kind == DRV_EV_DOMAIN) {
        const struct drv_domain *d = ev->domain;

        b->dom = (struct seen){ .events = b->dom.events + 1,
                                .state = d->state,
                                .reason = d->reason,
                                .id = d->id,
                                .target = d->memory_target_bytes };
        (void)str_copy(b->dom.detail, sizeof(b->dom.detail), d->detail == NULL ? "" : d->detail);
        (void)str_copy(b->dom.uid, sizeof(b->dom.uid), d->uid);
        (void)str_copy(b->dom.console, sizeof(b->dom.console),
                       d->console == NULL ? "" : d->console);
    }
}

static void open_drv(struct bench *b)
{
    static const struct xen_storage_ops ops = { .submit = storage_submit,
                                                .abort = storage_abort,
                                                .path = storage_path,
                                                .close = storage_close };
    struct xen_drv_opts o = { .loop = &b->loop, .give_up_ms = GIVE_UP_MS, .patience_ms = 700 };
    struct err err;

    b->storage = (struct fake_storage){ .s = { .ops = &ops }, .loop = &b->loop };
    assert_int_equal(uv_timer_init(&b->loop, &b->storage.timer), 0);
    b->storage.timer.data = &b->storage;
    o.storage = &b->storage.s;
    if (xen_drv_new(&o, &b->drv, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    drv_listen(b->drv, on_event, b);
}

#define UNTIL(b, cond)                                                                             \
    do {                                                                                           \
        uint64_t until_ = clock_now_ms() + WAIT_MS;                                                \
        while (!(cond)) {                                                                          \
            (void)uv_run(&(b)->loop, UV_RUN_NOWAIT);                                               \
            (void)usleep(500);                                                                     \
            if (clock_now_ms() > until_) {                                                         \
                fail_msg("never: %s (last: %s)", #cond, (b)->msg);                                 \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static void on_closed(void *ctx)
{
    ((struct bench *)ctx)->closed = true;
}

static void close_drv(struct bench *b)
{
    b->closed = false;
    drv_close(b->drv, on_closed, b);
    UNTIL(b, b->closed);
    b->drv = NULL;
}

static int setup(void **state)
{
    struct bench *b = OBJ_NEW(struct bench);

    lg_set_level((enum lg_level)0);
    fk_reset();
    assert_int_equal(uv_loop_init(&b->loop), 0);
    b->object = json_pack("{s:{s:s, s:s}, s:{s:s, s:s, s:i, s:i, s:{s:s}, s:[{s:s, s:s, s:s}]}}",
                          "metadata", "name", "vm1", "uid", "u1", "spec", "virt", "PV", "memory",
                          "64Mi", "vcpus", 1, "vcpusMax", 4, "boot", "kernel", "/k", "disks",
                          "name", "root", "volume", "v1", "target", "xvda");
    assert_non_null(b->object);
    b->disk = (struct drv_disk){ .name = "root", .target = "xvda", .group = "vg0", .volume = "v1" };
    open_drv(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    if (b->drv != NULL) {
        close_drv(b);
    }
    for (size_t i = 0; i < 8; i++) {
        drv_domain_done(&b->d[i]);
    }
    assert_true(b->storage.closed);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    json_decref(b->object);
    free(b->capacity.hypervisor);
    free(b);
    return 0;
}

static void on_done(struct drv_job *job, const struct err *err)
{
    struct bench *b = job->data;

    b->done = true;
    b->code = err == NULL ? 0 : err->code;
    (void)str_copy(b->msg, sizeof(b->msg), err == NULL ? "" : err->msg);
    for (size_t i = 0; i < 8; i++) {
        drv_domain_done(&b->d[i]);
        if (i < job->result.n_domains) {
            drv_domain_copy(&b->d[i], &job->result.domains[i]);
        }
    }
    b->n = job->result.n_domains;
    free(b->capacity.hypervisor);
    b->suspended_ms = job->result.suspended_ms;
    b->capacity = job->result.capacity;
    b->capacity.hypervisor = mem_strdup(b->capacity.hypervisor);
}

static bool late; /* the lease is over */

static void submit(struct bench *b, struct drv_job *job, enum drv_op op)
{
    *job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                             .op = op,
                             .vm = "vm1",
                             .uid = "u1",
                             .object = b->object,
                             .disks = &b->disk,
                             .n_disks = 1,
                             .group = "vg0",
                             .volume = "v1",
                             .kind = "luns",
                             .name = "lun1",
                             .peer = "node2",
                             .peer_address = b->address,
                             .migration = "m1",
                             .incarnation = 7,
                             .token = 42,
                             .not_after_ms = late ? 1 : clock_now_ms() + 60000,
                             .deadline_ms = clock_now_ms() + 60000,
                             .cb = on_done,
                             .data = b };
    b->done = false;
    b->msg[0] = '\0';
    drv_submit(b->drv, job);
    assert_false(b->done); /* never before drv_submit has returned */
}

static int op(struct bench *b, enum drv_op what)
{
    submit(b, &b->job, what);
    UNTIL(b, b->done);
    return b->code;
}

/* After the end of the lease. */
static int late_op(struct bench *b, enum drv_op what)
{
    late = true;
    submit(b, &b->job, what);
    late = false;
    UNTIL(b, b->done);
    return b->code;
}

static int abort_op(struct bench *b, enum drv_op what)
{
    submit(b, &b->job, what);
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&b->loop, UV_RUN_NOWAIT);
        (void)usleep(500);
    }
    assert_false(b->done);
    drv_abort(b->drv, &b->job);
    UNTIL(b, b->done);
    return b->code;
}

static void has(const struct bench *b, const char *word)
{
    if (strstr(b->msg, word) == NULL) {
        fail_msg("\"%s\" is not in: %s", word, b->msg);
    }
}

static uint32_t start(struct bench *b)
{
    assert_int_equal(op(b, DRV_START), 0);
    UNTIL(b, b->dom.state == DOM_RUNNING);
    return (uint32_t)b->dom.id;
}

/* --- life --------------------------------------------------------------------------------------
 */

static void test_life(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);

    assert_true(fk_has_node(id, "picket/ready", "1"));
    assert_string_equal(b->dom.uid, "u1");
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 1);
    assert_string_equal(b->d[0].vm, "vm1");
    assert_string_equal(b->d[0].uid, "u1");
    assert_int_equal(b->d[0].state, DOM_RUNNING);
    assert_int_equal(b->d[0].incarnation, 7);
    assert_int_equal(b->d[0].token, 42);
    assert_int_equal(b->d[0].memory_bytes, 64 << 20);
    assert_int_equal(b->d[0].memory_target_bytes, 64 << 20);
    assert_int_equal(b->d[0].vcpus, 1);

    assert_int_equal(op(b, DRV_PAUSE), 0);
    UNTIL(b, b->dom.state == DOM_PAUSED);
    assert_int_equal(op(b, DRV_UNPAUSE), 0);
    UNTIL(b, b->dom.state == DOM_RUNNING);

    assert_int_equal(op(b, DRV_SHUTDOWN), 0);
    fk_shutdown(id, LIBXL_SHUTDOWN_REASON_POWEROFF);
    UNTIL(b, b->dom.state == DOM_STOPPED);
    assert_int_equal(b->dom.reason, DOM_REASON_SHUTDOWN);
    assert_int_equal(op(b, DRV_DESTROY), 0);
    UNTIL(b, b->dom.state == DOM_ABSENT);
    assert_int_equal(fk_count(), 0);
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 0);
}

/* libxl may end an operation within the call that begins it. */
static void test_life_sync(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < FK_KINDS; i++) {
        fk.mode[i] = FK_SYNC;
    }
    (void)start(b);
    assert_int_equal(op(b, DRV_PAUSE), 0);
    assert_int_equal(op(b, DRV_DESTROY), 0);
    UNTIL(b, b->dom.state == DOM_ABSENT);
    assert_int_equal(op(b, DRV_DESTROY), 0); /* what is not there is gone */
}

static void reason(struct bench *b, libxl_shutdown_reason r, enum dom_reason want, const char *text)
{
    fk_shutdown(start(b), r);
    UNTIL(b, b->dom.state == DOM_STOPPED);
    assert_int_equal(b->dom.reason, want);
    assert_non_null(strstr(b->dom.detail, text));
    assert_int_equal(op(b, DRV_SHUTDOWN), ERR_DRIVER); /* it does not run */
    assert_int_equal(op(b, DRV_DESTROY), 0);
    UNTIL(b, b->dom.state == DOM_ABSENT);
}

static void test_reasons(void **state)
{
    struct bench *b = *state;

    reason(b, LIBXL_SHUTDOWN_REASON_POWEROFF, DOM_REASON_POWEROFF, "powered off");
    reason(b, LIBXL_SHUTDOWN_REASON_REBOOT, DOM_REASON_REBOOT, "reboot");
    reason(b, LIBXL_SHUTDOWN_REASON_CRASH, DOM_REASON_CRASH, "crashed");
    reason(b, LIBXL_SHUTDOWN_REASON_WATCHDOG, DOM_REASON_CRASH, "watchdog");
}

/* The end that nobody explains is not believed at once. */
static void test_destroyed_by_others(void **state)
{
    struct bench *b = *state;

    fk_destroy(start(b), true);
    UNTIL(b, b->dom.state == DOM_UNKNOWN);
    assert_non_null(strstr(b->dom.detail, "somebody else"));
}

/* A domain that is missing from the list though nobody told of its death (features.md C05). */
static void test_missing(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);
    unsigned events = b->dom.events;

    fk_dom(id)->hidden = true;
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 0);
    assert_int_equal(b->dom.events, events); /* nothing is claimed */
    fk_dom(id)->hidden = false;
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 1);
    fk_destroy(id, false);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
        assert_int_equal(b->n, 0);
    }
    UNTIL(b, b->dom.state == DOM_UNKNOWN);
}

static void test_removed_after_its_end(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);

    fk_shutdown(id, LIBXL_SHUTDOWN_REASON_CRASH);
    UNTIL(b, b->dom.state == DOM_STOPPED);
    fk_destroy(id, true); /* xl destroy */
    UNTIL(b, b->dom.state == DOM_ABSENT);
}

/* --- failures ----------------------------------------------------------------------------------
 */

static void test_start_fails(void **state)
{
    struct bench *b = *state;

    fk.mode[FK_CREATE] = FK_FAIL;
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    has(b, "create the domain");
    fk.mode[FK_CREATE] = FK_REFUSE;
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    assert_int_equal(fk_count(), 0);
    fk.mode[FK_CREATE] = FK_OK;
    fk.mode[FK_UNPAUSE] = FK_FAIL;
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    has(b, "unpause");
    assert_int_equal(fk_count(), 0); /* taken back */
    fk.mode[FK_UNPAUSE] = FK_FAIL;
    fk.mode[FK_DESTROY] = FK_FAIL;
    assert_int_equal(op(b, DRV_START), ERR_UNKNOWN_OUTCOME);
    assert_int_equal(fk_count(), 1);
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    has(b, "exists already");
}

static void test_start_memory(void **state)
{
    struct bench *b = *state;

    fk.free_kb = 32768;
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    has(b, "needs 64 MiB and the hypervisor has 32 MiB left");
    assert_int_equal(fk.calls[FK_CREATE], 0);
}

static void test_start_invalid(void **state)
{
    struct bench *b = *state;

    json_object_set_new(json_object_get(b->object, "spec"), "virt", json_string("odd"));
    assert_int_equal(op(b, DRV_START), ERR_INVALID);
    has(b, "spec.virt");
}

static void test_start_slow(void **state)
{
    struct bench *b = *state;

    fk.mode[FK_CREATE] = FK_DEAF;
    submit(b, &b->job, DRV_START);
    UNTIL(b, fk.calls[FK_CREATE] == 1);
    submit(b, &b->second, DRV_CAPACITY); /* others go on meanwhile */
    UNTIL(b, b->done);
    assert_int_equal(b->code, 0);
    b->done = false;
    fk_release(FK_CREATE);
    UNTIL(b, b->done);
    assert_int_equal(b->code, 0);
    assert_int_equal(op(b, DRV_DESTROY), 0);
}

/* The lease that was long enough when the building began is too short at its end. */
static void test_start_expires(void **state)
{
    struct bench *b = *state;

    fk.mode[FK_CREATE] = FK_DEAF;
    b->job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                               .op = DRV_START,
                               .vm = "vm1",
                               .uid = "u1",
                               .object = b->object,
                               .disks = &b->disk,
                               .n_disks = 1,
                               .incarnation = 7,
                               .token = 42,
                               .not_after_ms = clock_now_ms() + 300,
                               .deadline_ms = clock_now_ms() + 60000,
                               .cb = on_done,
                               .data = b };
    b->done = false;
    drv_submit(b->drv, &b->job);
    UNTIL(b, fk.calls[FK_CREATE] == 1);
    UNTIL(b, clock_now_ms() > b->job.not_after_ms);
    fk_release(FK_CREATE);
    UNTIL(b, b->done);
    assert_int_equal(b->code, ERR_TIMEOUT);
    assert_int_equal(fk_count(), 0);
    assert_int_equal(fk.calls[FK_UNPAUSE], 0);
}

static void test_start_aborted(void **state)
{
    struct bench *b = *state;

    fk.mode[FK_CREATE] = FK_HANG;
    assert_int_equal(abort_op(b, DRV_START), ERR_CANCELED);
    assert_int_equal(fk_count(), 0);
    fk.half = true; /* something is left of it */
    assert_int_equal(abort_op(b, DRV_START), ERR_CANCELED);
    assert_int_equal(fk_count(), 0);
    fk.mode[FK_DESTROY] = FK_FAIL; /* and cannot be removed */
    assert_int_equal(abort_op(b, DRV_START), ERR_UNKNOWN_OUTCOME);
    assert_int_equal(fk_count(), 1);
    UNTIL(b, b->dom.state == DOM_STOPPED); /* half a domain is never unpaused */
    assert_int_equal(b->dom.reason, DOM_REASON_VANISHED);
    assert_non_null(strstr(b->dom.detail, "interrupted"));
    assert_int_equal(op(b, DRV_UNPAUSE), ERR_DRIVER);
    has(b, "not complete");
    fk.mode[FK_DESTROY] = FK_OK;
    assert_int_equal(op(b, DRV_DESTROY), 0);
    UNTIL(b, b->dom.state == DOM_ABSENT);
}

/* libxl does not even react to the abort. */
static void test_deaf(void **state)
{
    struct bench *b = *state;

    (void)start(b);
    fk.mode[FK_PAUSE] = FK_DEAF;
    assert_int_equal(abort_op(b, DRV_PAUSE), ERR_UNKNOWN_OUTCOME);
    has(b, "hangs");
    assert_int_equal(op(b, DRV_UNPAUSE), ERR_DRIVER);
    has(b, "pause");
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0); /* others go on */
    assert_int_equal(b->n, 1);
    assert_int_equal(op(b, DRV_DESTROY), 0); /* the way out */
    UNTIL(b, b->dom.state == DOM_ABSENT);
    fk_release(FK_PAUSE); /* its late end disturbs nobody */
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    (void)start(b);
}

static void test_destroy_fails(void **state)
{
    struct bench *b = *state;

    (void)start(b);
    fk.mode[FK_DESTROY] = FK_FAIL;
    assert_int_equal(op(b, DRV_DESTROY), ERR_UNKNOWN_OUTCOME);
    assert_int_equal(b->dom.state, DOM_RUNNING);
    fk.mode[FK_DESTROY] = FK_HANG;
    assert_int_equal(abort_op(b, DRV_DESTROY), ERR_UNKNOWN_OUTCOME);
    fk.mode[FK_DESTROY] = FK_OK;
    assert_int_equal(op(b, DRV_DESTROY), 0);
    UNTIL(b, b->dom.state == DOM_ABSENT);
}

/* Without Xen's drivers in the guest its power button is pressed. */
static void test_acpi(void **state)
{
    struct bench *b = *state;

    (void)start(b);
    fk.rc = ERROR_NOPARAVIRT;
    fk.mode[FK_SHUTDOWN] = FK_REFUSE;
    assert_int_equal(op(b, DRV_SHUTDOWN), 0);
    assert_int_equal(fk.calls[FK_TRIGGER], 1);
    fk.mode[FK_TRIGGER] = FK_FAIL;
    assert_int_equal(op(b, DRV_SHUTDOWN), ERR_DRIVER);
    fk.rc = ERROR_FAIL;
    assert_int_equal(op(b, DRV_SHUTDOWN), ERR_DRIVER);
    assert_int_equal(fk.calls[FK_TRIGGER], 2);
}

/* A guest that does not answer the request is not waited for, and the request stays with it. */
static void test_shutdown_slow(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);

    fk.mode[FK_SHUTDOWN] = FK_HANG;
    assert_int_equal(op(b, DRV_SHUTDOWN), 0);
    assert_int_equal(op(b, DRV_PAUSE), 0); /* nothing else waits either */
    assert_int_equal(late_op(b, DRV_UNPAUSE), ERR_TIMEOUT);
    assert_int_equal(op(b, DRV_UNPAUSE), 0);
    close_drv(b); /* an agent that ends does not take it back */
    assert_int_equal(fk_count(), 1);
    b->dom = (struct seen){ 0 };
    fk_reset_ops();
    open_drv(b);
    UNTIL(b, b->dom.state == DOM_RUNNING);
    fk.mode[FK_SHUTDOWN] = FK_FAIL; /* it says no, later */
    assert_int_equal(op(b, DRV_SHUTDOWN), 0);
    fk_shutdown(id, LIBXL_SHUTDOWN_REASON_POWEROFF);
    UNTIL(b, b->dom.state == DOM_STOPPED);
}

static void test_list_fails(void **state)
{
    struct bench *b = *state;

    (void)start(b);
    fk.list_fails = true;
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), ERR_DRIVER);
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    fk.list_fails = false;
    fk.xs_fails = true;
    (void)fk_add("vm2"); /* whose it is cannot be read: that is not "nobody's" */
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), ERR_DRIVER);
    has(b, "marks");
    fk.xs_fails = false;
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 2);
}

/* --- whose is it -------------------------------------------------------------------------------
 */

static const struct drv_domain *find(const struct bench *b, const char *vm)
{
    for (size_t i = 0; i < b->n; i++) {
        if (str_eq(b->d[i].vm, vm)) {
            return &b->d[i];
        }
    }
    fail_msg("%s is not listed", vm);
    abort();
}

static void test_adoption(void **state)
{
    struct bench *b = *state;
    uint32_t stub;

    (void)fk_add("vm2");      /* started by hand */
    (void)fk_add("Odd_Name"); /* cannot be a machine of ours */
    (void)fk_add(NULL);       /* being made by somebody */
    stub = fk_add("vm2-dm");
    fk_node(stub, "target", "1"); /* a device model's domain */
    (void)start(b);
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 2);
    assert_string_equal(find(b, "vm1")->uid, "u1");
    assert_string_equal(find(b, "vm2")->uid, "");
    assert_int_equal(find(b, "vm2")->token, 0);
}

/* The agent is restarted: another driver finds what the first one left. */
static void test_restart(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);

    free(fk_dom(id)->name);
    fk_dom(id)->name = strdup("renamed"); /* xl rename */
    close_drv(b);
    assert_false(fk.ctx_open);
    assert_false(fk.xs_open);
    assert_int_equal(fk_count(), 1); /* guests are not touched */
    b->dom = (struct seen){ 0 };
    open_drv(b);
    UNTIL(b, b->dom.state == DOM_RUNNING); /* told without being asked */
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 1);
    assert_string_equal(b->d[0].vm, "vm1");
    assert_string_equal(b->d[0].uid, "u1");
    assert_int_equal(b->d[0].token, 42);
}

/* The first job of a new driver finds what runs, though nobody listed it before. */
static void test_first_job(void **state)
{
    struct bench *b = *state;

    (void)start(b);
    close_drv(b);
    open_drv(b);
    assert_int_equal(op(b, DRV_PAUSE), 0);
    UNTIL(b, b->dom.state == DOM_PAUSED);
}

static void test_duplicate(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);
    uint32_t other;

    free(fk_dom(id)->name);
    fk_dom(id)->name = strdup("elsewhere");
    other = fk_add("vm1");
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->d[0].state, DOM_UNKNOWN);
    assert_non_null(strstr(b->d[0].detail, "DuplicateRunning"));
    assert_int_equal(op(b, DRV_PAUSE), ERR_DRIVER);
    has(b, "DuplicateRunning");
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    assert_int_equal(fk_count(), 2);
    fk_destroy(other, true);
    UNTIL(b, b->dom.state == DOM_RUNNING);
    assert_int_equal(b->dom.id, id);
}

static void test_dying(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);

    fk_dom(id)->dying = true;
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->d[0].state, DOM_DYING);
    assert_int_equal(op(b, DRV_START), ERR_DRIVER);
    fk_destroy(id, true);
    UNTIL(b, b->dom.state == DOM_UNKNOWN);
}

/* A number that was given to another domain. */
static void test_reused_number(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);

    pthread_mutex_lock(&fk.lock);
    fk_remove_locked(id);
    fk.next_domid = id;
    pthread_mutex_unlock(&fk.lock);
    fk_dom(fk_add("vm3"))->uuid.uuid[15] = 0x77;
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 1);
    assert_string_equal(b->d[0].vm, "vm3");
}

/* --- the rest ----------------------------------------------------------------------------------
 */

static void test_adjust(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);
    json_t *spec = json_object_get(b->object, "spec");

    json_object_set_new(spec, "memory", json_string("96Mi"));
    json_object_set_new(spec, "vcpus", json_integer(3));
    assert_int_equal(op(b, DRV_ADJUST), 0);
    UNTIL(b, b->dom.target == 96 << 20);
    assert_int_equal(fk_dom(id)->vcpus, 3);
    fk.mode[FK_VCPUS] = FK_FAIL;
    assert_int_equal(op(b, DRV_ADJUST), ERR_DRIVER);
    has(b, "processors");
}

static void test_console(void **state)
{
    struct bench *b = *state;
    uint32_t id = start(b);

    assert_string_equal(b->dom.console, "");
    fk_node(id, "console/tty", "/dev/pts/3");
    fk_node(id, "console/vnc-port", "5901");
    fk_node(id, "console/vnc-listen", "127.0.0.1");
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_string_equal(b->d[0].console, "tty /dev/pts/3, vnc 127.0.0.1:5901");
    UNTIL(b, b->dom.console[0] != '\0');
}

static void test_capacity(void **state)
{
    struct bench *b = *state;

    assert_int_equal(op(b, DRV_CAPACITY), 0);
    assert_string_equal(b->capacity.hypervisor, "xen-4.17.5");
    assert_int_equal(b->capacity.cpus, 8);
    assert_int_equal(b->capacity.memory_bytes, 16ULL << 30);
    assert_int_equal(b->capacity.memory_free_bytes, 8ULL << 30);
    assert_true(xen_drv_caps(b->drv)->pv);
    assert_false(xen_drv_caps(b->drv)->pv_logdirty);
}

static void test_parts(void **state)
{
    struct bench *b = *state;

    assert_int_equal(op(b, DRV_VOL_ACTIVATE), 0);
    assert_int_equal(b->volumes, 1);
    assert_int_equal(op(b, DRV_ENUM_VOLUMES), 0);
    submit(b, &b->job, DRV_VOL_CREATE);
    drv_abort(b->drv, &b->job);
    UNTIL(b, b->done);
    assert_true(b->storage.aborted);
    assert_int_equal(op(b, DRV_APPLY), ERR_UNSUPPORTED);
    has(b, "luns lun1");
}

static void test_disaster(void **state)
{
    struct bench *b = *state;

    (void)start(b);
    fk.mode[FK_PAUSE] = FK_DEAF;
    submit(b, &b->job, DRV_PAUSE);
    UNTIL(b, fk.calls[FK_PAUSE] == 1);
    fk.want_disaster = true;
    fk_wake();
    UNTIL(b, b->done);
    assert_int_equal(b->code, ERR_UNKNOWN_OUTCOME);
    UNTIL(b, b->doubts >= 1);
    UNTIL(b, fk.ctxs == 2);
    assert_int_equal(op(b, DRV_ENUM_DOMAINS), 0);
    assert_int_equal(b->n, 1);
    /* Xen cannot be reached for a while. */
    fk.ctx_fails = true;
    fk.want_disaster = true;
    fk_wake();
    UNTIL(b, op(b, DRV_ENUM_DOMAINS) != 0);
    assert_int_equal(b->code, ERR_DRIVER);
    has(b, "cannot be reached");
    fk.ctx_fails = false;
    UNTIL(b, op(b, DRV_ENUM_DOMAINS) == 0);
}

static void test_children(void **state)
{
    struct bench *b = *state;
    unsigned before = fk.sigchld;

    assert_int_equal(kill(getpid(), SIGCHLD), 0);
    UNTIL(b, fk.sigchld > before);
}

static void test_close_busy(void **state)
{
    struct bench *b = *state;

    (void)start(b);
    fk.mode[FK_PAUSE] = FK_HANG;
    submit(b, &b->job, DRV_PAUSE);
    UNTIL(b, fk.calls[FK_PAUSE] == 1);
    close_drv(b);
    assert_true(b->done);
    assert_int_not_equal(b->code, 0);
    assert_int_equal(fk_count(), 1);
}

/* --- migration ---------------------------------------------------------------------------------
 */

static void on_moved(void *ctx)
{
    (void)ctx;
}

/* The other host's half, played by the test. */
static void other(struct bench *b, bool send)
{
    struct xen_mover_opts o = { .notify = on_moved, .patience_ms = WAIT_MS };
    struct xen_move_req req = { .send = send,
                                .vm = "vm1",
                                .uid = "u1",
                                .migration = "m1",
                                .peer = "node1",
                                .address = b->address };
    struct err err;

    assert_int_equal(xen_mover_new(&o, &b->mover, &err), 0);
    b->move = xen_move_begin(b->mover, &req, &b->fd);
}

static void other_done(struct bench *b)
{
    xen_move_end(b->move);
    xen_mover_free(b->mover);
}

static void pick_address(struct bench *b)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    (void)close(fd);
    (void)snprintf(b->address, sizeof(b->address), "127.0.0.1:%u", ntohs(sin.sin_port));
}

static void test_migrate_source(void **state)
{
    struct bench *b = *state;
    uint64_t before = clock_now_ms();
    struct err err;

    pick_address(b);
    (void)start(b);
    other(b, false);
    submit(b, &b->job, DRV_MIG_SUSPEND);
    UNTIL(b, fk.calls[FK_SUSPEND] == 1);
    assert_true(fk_restores(b->fd));
    UNTIL(b, b->dom.state == DOM_PAUSED);
    assert_string_equal(b->dom.detail, "suspended to be moved");
    (void)usleep(20000);
    (void)uv_run(&b->loop, UV_RUN_NOWAIT);
    assert_false(b->done); /* not before it is whole there */
    xen_move_finish(b->move, true, "");
    UNTIL(b, b->done);
    assert_int_equal(b->code, 0);
    assert_true(b->suspended_ms >= before);
    UNTIL(b, xen_move_look(b->move, &err) == XEN_MOVE_DONE);
    other_done(b);
    /* Until somebody decides it stays so. */
    assert_int_equal(op(b, DRV_UNPAUSE), ERR_DRIVER);
    has(b, "suspended to be moved");
    assert_int_equal(late_op(b, DRV_MIG_RESUME), ERR_TIMEOUT);
    assert_int_equal(fk.calls[FK_RESUME], 0);
    assert_int_equal(op(b, DRV_MIG_RESUME), 0); /* the abort was committed */
    UNTIL(b, b->dom.state == DOM_RUNNING);
    assert_int_equal(op(b, DRV_MIG_RESUME), 0);
    assert_int_equal(fk.calls[FK_RESUME], 1);
}

static void test_migrate_source_commit(void **state)
{
    struct bench *b = *state;

    pick_address(b);
    (void)start(b);
    other(b, false);
    submit(b, &b->job, DRV_MIG_SUSPEND);
    UNTIL(b, fk.calls[FK_SUSPEND] == 1);
    assert_true(fk_restores(b->fd));
    xen_move_finish(b->move, true, "");
    UNTIL(b, b->done);
    assert_int_equal(b->code, 0);
    other_done(b);
    assert_int_equal(op(b, DRV_DESTROY), 0);
    UNTIL(b, b->dom.state == DOM_ABSENT);
}

/* The target fails after everything was sent: nobody goes on by itself. */
static void test_migrate_source_unclear(void **state)
{
    struct bench *b = *state;

    pick_address(b);
    (void)start(b);
    other(b, false);
    submit(b, &b->job, DRV_MIG_SUSPEND);
    UNTIL(b, fk.calls[FK_SUSPEND] == 1);
    assert_true(fk_restores(b->fd));
    xen_move_finish(b->move, false, "no memory there");
    UNTIL(b, b->done);
    assert_int_equal(b->code, ERR_UNKNOWN_OUTCOME);
    has(b, "no memory there");
    assert_int_equal(b->dom.state, DOM_PAUSED);
    assert_int_equal(fk.calls[FK_RESUME], 0);
    other_done(b);
    assert_int_equal(op(b, DRV_MIG_SUSPEND), ERR_DRIVER);
    has(b, "suspended already");
}

static void test_migrate_source_runs_on(void **state)
{
    struct bench *b = *state;

    pick_address(b);
    (void)start(b);
    /* Nobody is there. */
    assert_int_equal(op(b, DRV_MIG_SUSPEND), ERR_DRIVER);
    has(b, "node2 does not take the guest");
    assert_int_equal(abort_op(b, DRV_MIG_SUSPEND), ERR_CANCELED);
    assert_int_equal(b->dom.state, DOM_RUNNING);
    /* libxl fails, and is aborted, while it sends. */
    other(b, false);
    fk.mode[FK_SUSPEND] = FK_FAIL;
    assert_int_equal(op(b, DRV_MIG_SUSPEND), ERR_DRIVER);
    has(b, "send the guest");
    other_done(b);
    other(b, false);
    fk.mode[FK_SUSPEND] = FK_HANG;
    submit(b, &b->job, DRV_MIG_SUSPEND);
    UNTIL(b, fk.calls[FK_SUSPEND] == 2);
    drv_abort(b->drv, &b->job);
    UNTIL(b, b->done);
    assert_int_equal(b->code, ERR_DRIVER);
    assert_int_equal(b->dom.state, DOM_RUNNING);
    other_done(b);
    /* A hypervisor that cannot. */
    fk.pv = true;
    assert_int_equal(op(b, DRV_MIG_SUSPEND), ERR_UNSUPPORTED);
    has(b, "shadow paging");
}

static void test_migrate_target(void **state)
{
    struct bench *b = *state;
    struct err err;

    pick_address(b);
    other(b, true);
    submit(b, &b->job, DRV_MIG_RECEIVE);
    UNTIL(b, xen_move_look(b->move, &err) == XEN_MOVE_READY);
    assert_int_equal(write(b->fd, fk_memory, sizeof(fk_memory)), sizeof(fk_memory));
    xen_move_eof(b->move);
    UNTIL(b, b->done);
    assert_int_equal(b->code, 0);
    UNTIL(b, b->dom.state == DOM_PAUSED);
    assert_string_equal(b->dom.detail, "");
    UNTIL(b, xen_move_look(b->move, &err) == XEN_MOVE_DONE);
    other_done(b);
    assert_int_equal(op(b, DRV_UNPAUSE), 0); /* the commit was read */
    UNTIL(b, b->dom.state == DOM_RUNNING);
    assert_int_equal(op(b, DRV_MIG_RECEIVE), ERR_DRIVER);
    has(b, "exists already");
}

static void test_migrate_target_broken(void **state)
{
    struct bench *b = *state;
    struct err err;

    pick_address(b);
    /* Nobody comes. */
    assert_int_equal(op(b, DRV_MIG_RECEIVE), ERR_DRIVER);
    has(b, "node2 did not come");
    assert_int_equal(abort_op(b, DRV_MIG_RECEIVE), ERR_CANCELED);
    /* The source goes half-way. */
    other(b, true);
    submit(b, &b->job, DRV_MIG_RECEIVE);
    UNTIL(b, xen_move_look(b->move, &err) == XEN_MOVE_READY);
    assert_int_equal(write(b->fd, fk_memory, 3), 3);
    other_done(b);
    UNTIL(b, b->done);
    assert_int_equal(b->code, ERR_DRIVER);
    has(b, "restore the guest");
    assert_int_equal(fk_count(), 0);
    /* libxl fails: the source hears why. */
    fk.mode[FK_RESTORE] = FK_FAIL;
    other(b, true);
    submit(b, &b->job, DRV_MIG_RECEIVE);
    UNTIL(b, b->done);
    assert_int_equal(b->code, ERR_DRIVER);
    UNTIL(b, xen_move_look(b->move, &err) == XEN_MOVE_FAILED);
    other_done(b);
}

static void test_migrate_closed(void **state)
{
    struct bench *b = *state;

    pick_address(b);
    (void)start(b);
    other(b, false);
    submit(b, &b->job, DRV_MIG_SUSPEND);
    UNTIL(b, fk.calls[FK_SUSPEND] == 1);
    UNTIL(b, b->dom.state == DOM_PAUSED);
    close_drv(b);
    assert_int_equal(b->code, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(fk_count(), 1);
    other_done(b);
}

static void test_open_fails(void **state)
{
    struct bench *b = *state;
    struct xen_drv_opts o = { .loop = &b->loop, .storage = &b->storage.s };
    struct drv *d;
    struct err err;

    close_drv(b);
    fk.ctx_fails = true;
    assert_int_equal(xen_drv_new(&o, &d, &err), ERR_DRIVER);
    assert_non_null(strstr(err.msg, "libxenlight"));
    assert_int_equal(setenv("PICKET_XEN_CAPABILITIES", "/nonexistent/file", 1), 0);
    assert_int_equal(xen_drv_new(&o, &d, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "does not run Xen"));
    assert_int_equal(setenv("PICKET_XEN_CAPABILITIES", "/dev/null", 1), 0);
    assert_int_equal(xen_drv_new(&o, &d, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "dom0"));
    assert_int_equal(setenv("PICKET_XEN_CAPABILITIES", __FILE__, 1), 0); /* control_d */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_life),
        T(test_life_sync),
        T(test_reasons),
        T(test_destroyed_by_others),
        T(test_missing),
        T(test_removed_after_its_end),
        T(test_start_fails),
        T(test_start_memory),
        T(test_start_invalid),
        T(test_start_slow),
        T(test_start_expires),
        T(test_start_aborted),
        T(test_deaf),
        T(test_destroy_fails),
        T(test_acpi),
        T(test_shutdown_slow),
        T(test_list_fails),
        T(test_adoption),
        T(test_restart),
        T(test_first_job),
        T(test_duplicate),
        T(test_dying),
        T(test_reused_number),
        T(test_adjust),
        T(test_console),
        T(test_capacity),
        T(test_parts),
        T(test_disaster),
        T(test_children),
        T(test_close_busy),
        T(test_migrate_source),
        T(test_migrate_source_commit),
        T(test_migrate_source_unclear),
        T(test_migrate_source_runs_on),
        T(test_migrate_target),
        T(test_migrate_target_broken),
        T(test_migrate_closed),
        T(test_open_fails),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    if (setenv("PICKET_XEN_CAPABILITIES", __FILE__, 1) != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
