#include "cmd/picketd/exec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/device.h"
#include "cmd/picketd/lease.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/probe.h"
#include "fence/exec_uv.h"

struct executor {
    struct node *node;
    struct store_watch *watch;
    uv_async_t wake;
    uv_timer_t hold; /* until hosts that came back had the time to say so */
    struct map done; /* "fencing/attempt" -> non-NULL: begun by this process */
};

/* One device of one attempt. */
struct job {
    struct executor *x;
    uint64_t fencing, attempt, incarnation;
    char host[256];
    char device[256];
    bool failed; /* it is known that nothing was switched */
    struct fence_exec *exec;
    fence_exec_cb *on_done; /* of switching on: who asked, or NULL */
    void *ctx;
};

/* --- attempts ----------------------------------------------------------------------------------
 */

/* The host came back with a newer boot in the very moment in which we switched it off: nobody meant
 * that, and nobody else would switch it on again. */
static void undo_checked(void *data, const struct err *err)
{
    /* What ended a fencing is final, so that this node's own state is enough; without the host that
     * was switched off there may be no quorum to read from. */
    struct job *j = data;
    struct arena a = { 0 };
    struct s_fencing f;
    struct err e;

    (void)err;
    if (s_fencing_get(j->x->node->store, j->fencing, &a, &f, &e) == 0 && f.state != FENCING_OPEN &&
        f.proof == PROOF_REBOOT) {
        lg_warn("exec",
                "host=%s device=%s msg=\"it had come back by itself before it was switched off; "
                "it is switched on again\"",
                j->host, j->device);
        executor_power_on(j->x, j->host, j->device);
    }
    arena_done(&a);
    free(j);
}

static void result_written(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct job *j = data;

    (void)ans;
    if (err == NULL) {
        free(j);
        return;
    }
    lg_warn("exec", "host=%s msg=\"fence result not recorded: %s\"", j->host, err->msg);
    if (j->failed) {
        free(j); /* nothing was switched */
    } else {
        node_read(j->x->node, undo_checked, j);
    }
}

/* Takes the job. */
static void write_result(struct job *j, const struct fence_answer *ans)
{
    struct cmd c = { .op = CMD_FENCE_RESULT };

    j->failed = ans->result == FENCE_FAILED;
    c.actor = (struct actor){ .role = ACTOR_EXECUTOR, .name = j->x->node->opts.name };
    c.safety = (struct cmd_safety){ .fencing = j->fencing,
                                    .attempt = j->attempt,
                                    .device = j->device,
                                    .result = (enum fence_result)ans->result,
                                    .detail = ans->detail };
    node_submit(j->x->node, &c, true, result_written, j);
}

static void job_finish(struct job *j, const struct fence_answer *ans)
{
    lg_info("exec", "host=%s device=%s attempt=%" PRIu64 " result=%s detail=\"%s\"", j->host,
            j->device, j->attempt, fence_outcome_name(ans->result), ans->detail);
    write_result(j, ans);
}

static void job_done(void *ctx, const struct fence_answer *ans)
{
    job_finish(ctx, ans);
}

static void job_start(struct job *j)
{
    struct node *n = j->x->node;
    struct fence_answer ans = { 0 };
    struct fence_op op;
    struct timing t;
    struct err err;
    struct device_ask ask = { .device = j->device,
                              .action = FENCE_ACTION_OFF,
                              .host = j->host,
                              .incarnation = j->incarnation };
    int rc;

    lease_timing(n, &t);
    prober_yield(n->prober, j->device);
    ask.timeout_ms = t.device_timeout_ms;
    ask.deadline_ms = clock_now_ms() + t.device_timeout_ms;
    rc = device_op(n, &ask, &op, &err);
    if (rc == 0) {
        rc = fence_exec_start(n->loop, n->opts.fence_helper, &op, 0, job_done, j, &j->exec, &err);
        fence_op_done(&op);
    }
    if (rc != 0) {
        /* Nothing was sent, so it is known that this device switched nothing. */
        fence_answer_set(&ans, FENCE_FAILED, "%.200s", err.msg);
        job_finish(j, &ans);
    }
}

/* The record was confirmed to be current by a linearizable read: run every device of the level. */
static void attempt_start(struct executor *x, const struct s_fencing *f)
{
    const struct cmd_fence_level *level = &f->levels[f->level];

    for (size_t i = 0; i < level->n_devices; i++) {
        struct job *j = OBJ_NEW(struct job);

        j->x = x;
        j->fencing = f->id;
        j->attempt = f->attempt;
        j->incarnation = f->incarnation;
        (void)str_copy(j->host, sizeof(j->host), f->host);
        (void)str_copy(j->device, sizeof(j->device), level->devices[i].name);
        job_start(j);
    }
}

static bool mine(const struct executor *x, const struct s_fencing *f)
{
    return f->state == FENCING_OPEN && f->attempt != 0 && !f->vetoed && f->level < f->n_levels &&
           str_eq(f->executor, x->node->opts.name);
}

struct check {
    struct executor *x;
    uint64_t fencing, attempt;
};

static void attempt_checked(void *data, const struct err *err)
{
    struct check *c = data;
    struct arena a = { 0 };
    struct s_fencing f;
    struct err e;

    if (err != NULL) {
        char key[64];

        (void)snprintf(key, sizeof(key), "%" PRIu64 "/%" PRIu64, c->fencing, c->attempt);
        (void)map_del(&c->x->done, key);
        lg_warn("exec", "fencing=%" PRIu64 " msg=\"not executed: %s\"", c->fencing, err->msg);
    } else if (s_fencing_get(c->x->node->store, c->fencing, &a, &f, &e) == 0 && mine(c->x, &f) &&
               f.attempt == c->attempt) {
        attempt_start(c->x, &f);
    }
    arena_done(&a);
    free(c);
}

static bool consider_visit(void *ctx, const struct kv *v);

static void on_hold_over(uv_timer_t *t)
{
    struct executor *x = t->data;

    store_prefix(x->node->store, "s/fencing/", consider_visit, x);
}

/* An attempt that is found when this process starts, or when there is a quorum again, may be an old
 * one, and its target the very host that brings the quorum: for a lease it has the time to
 * register. */
static bool held(struct executor *x)
{
    uint64_t now = clock_now_ms(), since = x->node->quorate_since_ms;
    struct timing t;

    lease_timing(x->node, &t);
    if (since != 0 && now >= since + t.lease_ms) {
        return false;
    }
    CHECK(uv_timer_start(&x->hold, on_hold_over, since == 0 ? t.lease_ms : since + t.lease_ms - now,
                         0) == 0);
    return true;
}

static void consider(struct executor *x, const struct s_fencing *f)
{
    struct check *c;
    char key[64];

    if (!mine(x, f)) {
        return;
    }
    (void)snprintf(key, sizeof(key), "%" PRIu64 "/%" PRIu64, f->id, f->attempt);
    if (map_get(&x->done, key) != NULL || held(x)) {
        return;
    }
    (void)map_put(&x->done, key, x);
    c = OBJ_NEW(struct check);
    c->x = x;
    c->fencing = f->id;
    c->attempt = f->attempt;
    node_read(x->node, attempt_checked, c);
}

static bool consider_visit(void *ctx, const struct kv *v)
{
    struct arena a = { 0 };
    struct s_fencing f;
    struct err err;

    if (s_fencing_decode(kv_value(v), v->vlen, &a, &f, &err) == 0) {
        consider(ctx, &f);
    }
    arena_done(&a);
    return true;
}

static void wake(void *ctx)
{
    struct executor *x = ctx;

    (void)uv_async_send(&x->wake);
}

static void on_wake(uv_async_t *h)
{
    struct executor *x = h->data;
    struct kv_event ev;
    struct err err;
    int rc;

    while ((rc = store_watch_next(x->watch, &ev, &err)) == 1) {
        if (ev.type == KV_PUT) {
            (void)consider_visit(x, ev.kv);
        }
    }
    controller_wake(x->node->ctl); /* a result, a veto: the decision goes on at once */
    if (rc != 0) {                 /* fell out of the history: look at everything again */
        uint64_t next = store_rev(x->node->store) + 1;

        store_watch_free(x->watch);
        x->watch = store_watch_new(x->node->store, "s/fencing/", 10, NULL, 0, next, wake, x);
        store_prefix(x->node->store, "s/fencing/", consider_visit, x);
    }
}

/* --- switching on again --------------------------------------------------------------------------
 */

static void on_done(void *ctx, const struct fence_answer *ans)
{
    struct job *j = ctx;

    lg_info("exec", "host=%s device=%s power_on=%s detail=\"%s\"", j->host, j->device,
            fence_outcome_name(ans->result), ans->detail);
    if (j->on_done != NULL) {
        j->on_done(j->ctx, ans);
    }
    free(j);
}

void executor_on(struct executor *x, const char *host, const char *device, fence_exec_cb *cb,
                 void *ctx)
{
    struct job *j = OBJ_NEW(struct job);
    struct fence_answer ans = { 0 };
    struct device_ask ask = { .device = device, .action = FENCE_ACTION_ON, .host = host };
    struct fence_op op;
    struct timing t;
    struct err err;
    int rc;

    lease_timing(x->node, &t);
    ask.timeout_ms = t.device_timeout_ms;
    ask.deadline_ms = clock_now_ms() + t.device_timeout_ms;
    j->x = x;
    j->on_done = cb;
    j->ctx = ctx;
    (void)str_copy(j->host, sizeof(j->host), host);
    (void)str_copy(j->device, sizeof(j->device), device);
    rc = device_op(x->node, &ask, &op, &err);
    if (rc == 0) {
        rc = fence_exec_start(x->node->loop, x->node->opts.fence_helper, &op, 0, on_done, j,
                              &j->exec, &err);
        fence_op_done(&op);
    }
    if (rc != 0) {
        fence_answer_set(&ans, FENCE_FAILED, "%.200s", err.msg);
        on_done(j, &ans);
    }
}

void executor_power_on(struct executor *x, const char *host, const char *device)
{
    executor_on(x, host, device, NULL, NULL);
}

struct executor *executor_new(struct node *n)
{
    struct executor *x = OBJ_NEW(struct executor);

    x->node = n;
    x->wake.data = x;
    CHECK(uv_async_init(n->loop, &x->wake, on_wake) == 0);
    x->hold.data = x;
    CHECK(uv_timer_init(n->loop, &x->hold) == 0);
    x->watch =
        store_watch_new(n->store, "s/fencing/", 10, NULL, 0, store_rev(n->store) + 1, wake, x);
    store_prefix(n->store, "s/fencing/", consider_visit, x);
    return x;
}
