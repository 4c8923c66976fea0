#include "reconciler/exec.h"

#include <inttypes.h>
#include <stdlib.h>

#include "api/json_path.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/exec_priv.h"

/* One turn of an item:
 *
 *   1. Copy the wish from the objects, the facts from the tables, and plan.
 *   2. Report what the plan says, whether or not anything can be done.
 *   3. A step that needs the lease is dropped here if the lease went bad meanwhile.
 *   4. Write the intent if it changed; without that no step is taken.
 *   5. Take the steps one by one (exec_act.c); after the last, or when anything changed, plan
 * again.
 */

const struct vmx_opts vmx_opts_default = {
    .start_ms = 60000,
    .stop_ms = 20000,
    .volume_ms = 20000,
    .mig_ms = 600000,
    .look_ms = 10000,
    .look_period_ms = 60000,
    .sweep_period_ms = 30000,
    .obs = { .confirm_reads = 3, .confirm_gap_ms = 1000, .follow_ms = 180000 },
};

#define FOLLOW_MS 50U /* so often a start under way learns of renewals */

uint64_t vmx_now(const struct vmx *x)
{
    return x->ops.now_ms(x->ctx);
}

void vmx_due(struct vmx_item *it, uint64_t at_ms)
{
    struct vmx *x = it->x;

    if (it->wait != VMX_IDLE) {
        it->dirty = true;
        it->mig_look = it->wait == VMX_JOB;
        return;
    }
    if (it->due_ms == 0 || at_ms < it->due_ms) {
        it->due_ms = at_ms == 0 ? 1 : at_ms;
        if (!x->running) {
            x->ops.wake(x->ctx);
        }
    }
}

struct vmx_item *vmx_item(struct vmx *x, const char *vm)
{
    struct vmx_item *it = map_get(&x->items, vm);

    if (it == NULL) {
        it = OBJ_NEW(struct vmx_item);
        it->magic = VMX_ITEM_MAGIC;
        it->x = x;
        intent_init(&it->rec, vm);
        (void)map_put(&x->items, vm, it);
    }
    return it;
}

void vmx_item_free(struct vmx_item *it)
{
    OBJ_CHECK(it, VMX_ITEM_MAGIC);
    intent_done(&it->rec);
    arena_done(&it->a);
    json_decref(it->object);
    json_wipe(it->secrets);
    free(it->create_group);
    free(it->last_error);
    free(it->stop_reason);
    free(it->stop_message);
    vmx_mig_free(it);
    buf_done(&it->text);
    it->magic = 0;
    free(it);
}

/* --- kicks -------------------------------------------------------------------------------------
 */

static bool concerns_us(struct vmx *x, const char *vm)
{
    struct arena a = { 0 };
    struct plan_want w;
    bool here;

    plan_want_make(&x->src, vm, &a, &w);
    here = w.vm.exists && (w.vm.assign == VM_ASSIGN_HERE || w.vm.mig.role != VM_MIG_NONE);
    arena_done(&a);
    return here;
}

void vmx_kick(struct vmx *x, const char *vm)
{
    struct vmx_item *it = map_get(&x->items, vm);

    if (it == NULL) {
        if (!concerns_us(x, vm)) {
            return;
        }
        it = vmx_item(x, vm);
    }
    vmx_due(it, vmx_now(x));
}

void vmx_kick_all(struct vmx *x)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        vmx_due(v, vmx_now(x));
    }
}

static void kick_users(struct vmx *x, const char *volume)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        if (intent_has_vol(&((struct vmx_item *)v)->rec, volume)) {
            vmx_due(v, vmx_now(x));
        }
    }
}

static void on_event(void *data, const struct drv_event *ev)
{
    struct vmx *x;

    OBJ_FROM(x, data, VMX_MAGIC);
    if (!obs_event(x->obs, ev, vmx_now(x))) {
        vmx_look(x);
        vmx_kick_all(x);
        return;
    }
    if (ev->kind == DRV_EV_VOLUME) {
        kick_users(x, ev->volume->name);
        return;
    }
    if (ev->domain->state != DOM_ABSENT || map_get(&x->items, ev->domain->vm) != NULL) {
        vmx_due(vmx_item(x, ev->domain->vm), vmx_now(x));
    }
}

/* --- one turn ----------------------------------------------------------------------------------
 */

void vmx_report_item(struct vmx_item *it)
{
    struct vmx *x = it->x;
    struct obs_domain d;
    char *lock = mem_printf("virtualmachines/%s", it->rec.vm);
    struct vmx_report r = {
        .vm = it->rec.vm,
        .uid = it->want.vm.exists ? it->want.vm.uid : it->rec.uid,
        .report = it->plan.report.state == NULL ? NULL : &it->plan.report,
        .token = vmx_token(x, lock),
        .restarts = it->plan.intent.restarts_total,
    };

    obs_domain_get(x->obs, it->rec.vm, vmx_now(x), &d);
    r.stop_wall_ms = it->stop_wall_ms;
    r.stop_reason = it->stop_reason;
    r.stop_message = it->stop_message;
    r.since_wall_ms = d.since_wall_ms;
    r.domid = d.id;
    r.console = d.console;
    if (it->plan.report.mig_phase != NULL && it->want.vm.mig.role != VM_MIG_NONE) {
        r.migration = it->want.vm.mig.id;
        r.still_ms = str_eq(it->mig_id, r.migration) ? it->still_ms : 0;
        r.resume_ms = str_eq(it->mig_id, r.migration) ? it->resume_ms : 0;
    }
    free(lock);
    if (r.report != NULL || it->reported) {
        x->ops.report(x->ctx, &r);
    }
    it->reported = r.report != NULL;
}

static bool needs_lease(enum act_kind k)
{
    switch (k) {
    case ACT_CREATE_VOLUME:
    case ACT_GROW_VOLUME:
    case ACT_ACTIVATE:
    case ACT_START:
    case ACT_MIG_RECEIVE:
    case ACT_MIG_SEND:
    case ACT_MIG_RESUME:
        return true;
    case ACT_LOOK:
    case ACT_READ_LOCKS:
    case ACT_ACQUIRE: /* the store judges; a running guest may be adopted with little lease left */
    case ACT_SHUTDOWN:
    case ACT_DESTROY:
    case ACT_PAUSE:
    case ACT_ADJUST:
    case ACT_UNPAUSE: /* also a way to stop; not_after covers the other way */
    case ACT_DEACTIVATE:
    case ACT_RELEASE:
    case ACT_MIG_JOIN:
    case ACT_MIG_COMMIT: /* the store judges */
    case ACT_MIG_ABORT:
        return false;
    }
    CHECK_UNREACHABLE();
}

/* The plan may be old: ask again right before something begins. */
static bool may_begin(const struct vmx_item *it, const struct act *act)
{
    struct vm_env env;

    vmx_full_env(it->x, &env);
    if (env.now_ms > act->not_after_ms) {
        return false;
    }
    if (!needs_lease(act->kind)) {
        return true;
    }
    if (!vm_lease_good(&env) || env.incarnation != it->x->src.incarnation) {
        return false;
    }
    if (act->kind == ACT_CREATE_VOLUME || act->kind == ACT_GROW_VOLUME) {
        return env.lease_until_ms >= env.now_ms + env.effect_ms;
    }
    return env.guarded || act->kind == ACT_MIG_SEND || act->kind == ACT_MIG_RESUME;
}

static bool save(struct vmx_item *it)
{
    struct vmx *x = it->x;
    struct err err;

    it->rec.plan = it->plan.intent;
    it->rec.incarnation = x->src.incarnation;
    if (it->want.vm.exists) {
        free(it->rec.uid);
        it->rec.uid = mem_strdup(it->want.vm.uid);
    }
    if (x->ops.save(x->ctx, &it->rec, &err) == 0) {
        return true;
    }
    lg_err("exec", "vm=%s err=\"%s\" msg=\"the intent cannot be written, so nothing is done\"",
           it->rec.vm, err.msg);
    free(it->last_error);
    it->last_error = mem_printf("intent: %s", err.msg);
    return false;
}

static void forget(struct vmx *x, struct vmx_item *it)
{
    (void)map_del(&x->items, it->rec.vm);
    x->ops.forget(x->ctx, it->rec.vm);
    vmx_item_free(it);
}

/* Why it stops running, for people who find it started again.  The first act of several counts;
 * an end of a migration's part is none. */
static void note_stop(struct vmx_item *it, const struct act *act)
{
    const struct vm_report *r = &it->plan.report;

    if (act->kind == ACT_START || act->kind == ACT_MIG_RECEIVE) {
        it->stopping = false;
    }
    if ((act->kind != ACT_SHUTDOWN && act->kind != ACT_DESTROY) || it->stopping ||
        it->want.vm.mig.role != VM_MIG_NONE) {
        return;
    }
    it->stopping = true;
    it->stop_wall_ms = clock_wall_ms();
    free(it->stop_reason);
    free(it->stop_message);
    it->stop_reason = mem_strdup(r->state == NULL || *r->reason == 0 ? "Stopped" : r->reason);
    it->stop_message = mem_strdup(act->why);
}

/* Run the act at it->step, or end the plan. */
static void next_act(struct vmx_item *it)
{
    const struct act *act;

    if (it->step >= it->plan.n_acts || it->dirty) {
        it->dirty = false;
        vmx_due(it, vmx_now(it->x));
        return;
    }
    act = &it->plan.acts[it->step];
    if (!may_begin(it, act)) {
        vmx_due(it, vmx_now(it->x) + 50);
        return;
    }
    lg_info("exec", "vm=%s act=%s object=%s gen=%" PRIu64 " why=\"%s\"", it->rec.vm,
            act_name(act->kind), act->object, act->generation, act->why);
    note_stop(it, act);
    vmx_act(it, act);
}

static void plan(struct vmx_item *it)
{
    struct vm_env env;
    struct vm_have have;

    arena_done(&it->a);
    it->step = 0;
    vmx_full_env(it->x, &env);
    plan_want_make(&it->x->src, it->rec.vm, &it->a, &it->want);
    vmx_have(it, &env, &have);
    vm_plan(&env, &it->want.vm, &have, &it->rec.plan, &it->a, &it->plan);
    buf_clear(&it->text);
    vm_plan_format(&env, &it->plan, &it->text);
}

/* A step that failed lately waits; what ends a guest waits least. */
static bool gated(struct vmx_item *it, uint64_t now)
{
    return it->plan.n_acts > 0 && it->failures > 0 && it->plan.acts[0].kind == it->failed_kind &&
           it->failed_kind != ACT_START && now < it->retry_ms;
}

static void process(struct vmx *x, struct vmx_item *it)
{
    uint64_t now = vmx_now(x);

    it->due_ms = 0;
    plan(it);
    if (it->plan.intent.latch != VM_LATCH_NONE || it->failed_generation != it->want.vm.generation) {
        it->failures = 0; /* given up, or asked for anew: no waiting, and counted anew */
    }
    it->failed_generation = it->want.vm.generation;
    vmx_report_item(it);
    if (it->plan.done) {
        forget(x, it);
        return;
    }
    if (gated(it, now)) {
        vmx_due(it, it->retry_ms);
        return;
    }
    if (it->plan.n_acts > 0 && !may_begin(it, &it->plan.acts[0])) {
        vmx_due(it, now + 50);
        return;
    }
    if (it->plan.set_intent && !save(it)) {
        vmx_due(it, now + 1000);
        return;
    }
    if (it->plan.n_acts == 0) {
        if (it->plan.recheck_at_ms != 0) {
            vmx_due(it, it->plan.recheck_at_ms);
        }
        return;
    }
    next_act(it);
    if (it->wait != VMX_IDLE && it->plan.recheck_at_ms != 0) {
        it->dirty = it->dirty || it->plan.recheck_at_ms <= now;
    }
}

/* --- results of steps --------------------------------------------------------------------------
 */

static uint64_t backoff(enum act_kind k, uint32_t failures)
{
    uint64_t cap = 30000, wait = 100;

    if (k == ACT_ACQUIRE || k == ACT_READ_LOCKS || k == ACT_LOOK) {
        cap = 2000;
    } else if (k == ACT_DESTROY || k == ACT_SHUTDOWN || k == ACT_MIG_COMMIT || k == ACT_MIG_ABORT ||
               k == ACT_MIG_RESUME || k == ACT_UNPAUSE) {
        cap = 1000;
    }
    for (uint32_t i = 1; i < failures && wait < cap; i++) {
        wait *= 2;
    }
    return wait < cap ? wait : cap;
}

static void failed(struct vmx_item *it, enum act_kind k, const struct err *err)
{
    bool news;
    char *text = mem_printf("%s: %s", act_name(k), err->msg);

    news = !str_eq(text, it->last_error);
    free(it->last_error);
    it->last_error = text;
    it->failures = it->failed_kind == k ? it->failures + 1 : 1;
    it->first_failed_ms = it->failures == 1 ? vmx_now(it->x) : it->first_failed_ms;
    it->failed_kind = k;
    it->retry_ms = vmx_now(it->x) + backoff(k, it->failures);
    if (news) {
        lg_warn("exec", "vm=%s act=%s code=%s err=\"%s\"", it->rec.vm, act_name(k),
                err_name(err->code), err->msg);
    }
}

static void succeeded(struct vmx_item *it, enum act_kind k)
{
    if (it->failures > 0 && it->failed_kind == k) {
        it->failures = 0;
        free(it->last_error);
        it->last_error = NULL;
    }
}

void vmx_step_done(struct vmx_item *it, const struct err *err)
{
    enum act_kind k;

    OBJ_CHECK(it, VMX_ITEM_MAGIC);
    CHECK(it->wait != VMX_IDLE);
    CHECK(it->step < it->plan.n_acts);
    k = it->plan.acts[it->step].kind;
    it->wait = VMX_IDLE;
    it->stage = VMX_STAGE_NONE;
    json_decref(it->object);
    it->object = NULL;
    json_wipe(it->secrets);
    it->secrets = NULL;
    vmx_mig_step(it, k, err);
    if (err != NULL) {
        failed(it, k, err);
        it->step = it->plan.n_acts;
    } else {
        if (k == ACT_ADJUST) {
            it->adjusted_generation = it->plan.acts[it->step].generation;
        }
        succeeded(it, k);
        it->step++;
    }
    next_act(it);
}

/* --- the whole ---------------------------------------------------------------------------------
 */

struct vmx *vmx_new(const struct vmx_opts *opts, const struct vmx_ops *ops, void *ctx,
                    struct drv *drv, const struct plan_source *src)
{
    struct vmx *x = OBJ_NEW(struct vmx);

    x->magic = VMX_MAGIC;
    x->opts = *opts;
    x->ops = *ops;
    x->ctx = ctx;
    x->drv = drv;
    x->src = *src;
    x->obs = obs_new(&opts->obs);
    drv_listen(drv, on_event, x);
    return x;
}

void vmx_free(struct vmx *x)
{
    const char *vm;
    void *v;

    if (x == NULL) {
        return;
    }
    OBJ_CHECK(x, VMX_MAGIC);
    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        vmx_item_free(v);
    }
    map_done(&x->items);
    map_done(&x->groups);
    vmx_locks_free(x);
    obs_free(x->obs);
    free(x->sweep_lock);
    free(x->sweep_group);
    free(x->sweep_name);
    x->magic = 0;
    free(x);
}

void vmx_load(struct vmx *x, const struct intent *i)
{
    struct vmx_item *it = vmx_item(x, i->vm);

    intent_done(&it->rec);
    intent_init(&it->rec, i->vm);
    free(it->rec.uid);
    it->rec.uid = mem_strdup(i->uid);
    it->rec.incarnation = i->incarnation;
    it->rec.token = i->token;
    it->rec.plan = i->plan;
    for (size_t k = 0; k < i->n_vols; k++) {
        intent_add_vol(&it->rec, i->vols[k].group, i->vols[k].name);
    }
    if (i->plan.phase == VM_PHASE_RUNNING) {
        obs_remember(x->obs, i->vm);
    }
    vmx_due(it, vmx_now(x));
}

void vmx_set_incarnation(struct vmx *x, uint64_t incarnation)
{
    if (x->src.incarnation != incarnation) {
        x->src.incarnation = incarnation;
        vmx_locks_forget(x);
    }
}

/* What begins something must not finish after the guests had to go. */
static bool begins(enum drv_op op)
{
    return op == DRV_START || op == DRV_UNPAUSE || op == DRV_VOL_ACTIVATE ||
           op == DRV_MIG_RECEIVE || op == DRV_MIG_SUSPEND || op == DRV_MIG_RESUME;
}

/* A start waits for its turn, or builds the guest, for longer than a short lease: what it may last
 * follows the lease as it is renewed. */
static void follow_lease(struct vmx_item *it, const struct vm_env *env)
{
    uint64_t until =
        env->lease_until_ms > env->margin_ms ? env->lease_until_ms - env->margin_ms : 0;

    if (it->wait == VMX_JOB && it->job.op == DRV_START && !it->aborted &&
        until > it->job.not_after_ms && vm_lease_good(env) && env->guarded &&
        env->incarnation == it->job.incarnation && vmx_start_confirmed(it)) {
        drv_extend(it->x->drv, &it->job, until);
    }
}

static void check_deadline(struct vmx_item *it, uint64_t now)
{
    if (it->wait == VMX_JOB && !it->aborted && it->x->ending && begins(it->job.op)) {
        it->aborted = true;
        lg_warn("exec", "vm=%s op=%s msg=\"the lease runs out, aborting\"", it->rec.vm,
                drv_op_name(it->job.op));
        drv_abort(it->x->drv, &it->job);
        return;
    }
    if (it->wait == VMX_JOB && !it->aborted && now > it->job.deadline_ms) {
        it->aborted = true;
        lg_warn("exec", "vm=%s op=%s msg=\"deadline passed, aborting\"", it->rec.vm,
                drv_op_name(it->job.op));
        drv_abort(it->x->drv, &it->job);
    }
}

/* Everybody plans anew when the lease turns bad, or good again. */
static void watch_lease(struct vmx *x, struct vm_env *ret)
{
    struct vm_env env;
    bool ending, good;

    vmx_full_env(x, &env);
    *ret = env;
    ending = env.stop_on_loss && vm_lease_ending(&env);
    good = vm_lease_good(&env) && env.guarded;
    if (ending != x->ending || good != x->good) {
        x->ending = ending;
        x->good = good;
        vmx_kick_all(x);
    }
    x->lease_half_ms = env.stop_on_loss && !ending ? env.lease_half_ms : 0;
}

void vmx_run(struct vmx *x)
{
    uint64_t now = vmx_now(x);
    struct vm_env env;
    const char *vm;
    void *v;

    OBJ_CHECK(x, VMX_MAGIC);
    x->running = true;
    x->run_ms = now;
    watch_lease(x, &env);
    vmx_look_run(x, now);
    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        struct vmx_item *it = v;

        vmx_mig_check(it);
        check_deadline(it, now);
        follow_lease(it, &env);
        if (it->wait == VMX_IDLE && it->due_ms != 0 && it->due_ms <= now) {
            process(x, it);
        }
    }
    vmx_sweep_run(x, now);
    x->running = false;
}

static void earlier(uint64_t *best, uint64_t at_ms)
{
    if (at_ms != 0 && (*best == 0 || at_ms < *best)) {
        *best = at_ms;
    }
}

uint64_t vmx_next_ms(const struct vmx *x)
{
    uint64_t best = 0;
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        const struct vmx_item *it = v;

        if (it->wait == VMX_IDLE) {
            earlier(&best, it->due_ms);
        } else if (it->wait == VMX_JOB && !it->aborted) {
            earlier(&best, it->job.deadline_ms + 1);
            earlier(&best, it->job.op == DRV_START ? x->run_ms + FOLLOW_MS : 0);
        }
    }
    earlier(&best, x->looking == 0 ? x->look_due_ms : x->look_until_ms);
    earlier(&best, x->sweep_until_ms);
    if (x->items.count > 0) {
        earlier(&best, x->lease_half_ms);
    }
    if (!x->sweeping) {
        earlier(&best, x->sweep_due_ms);
    }
    return best;
}
