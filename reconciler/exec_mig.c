#include "reconciler/exec_priv.h"

#include <stdlib.h>

#include "base/obj.h"
#include "base/str.h"

/* The steps of a live migration (vm_mig_plan.c decides them), and what is remembered of it while
 * the agent lives.  What has to outlive the agent is the phase in the intent and the lock. */

/* Everything that is remembered is about one migration; of another one nothing is known. */
static void about(struct vmx_item *it, const char *id)
{
    if (str_eq(it->mig_id, id)) {
        return;
    }
    vmx_mig_free(it);
    it->mig_id = mem_strdup(id);
    it->mig_sent = it->mig_refused = it->mig_over = false;
    it->received_ms = it->still_ms = it->resume_ms = 0;
}

void vmx_mig_free(struct vmx_item *it)
{
    free(it->mig_id);
    free(it->mig_error);
    it->mig_id = NULL;
    it->mig_error = NULL;
}

void vmx_mig_have(struct vmx_item *it, struct vm_have *ret)
{
    const struct vm_mig *m = &it->want.vm.mig;

    if (m->role != VM_MIG_NONE && str_eq(it->mig_id, m->id)) {
        ret->sent = it->mig_sent;
        ret->commit_refused = it->mig_refused;
        ret->mig_over = it->mig_over;
        ret->mig_error = arena_strdup(&it->a, it->mig_error);
    }
}

/* --- transfers ---------------------------------------------------------------------------------
 */

static void transfer(struct vmx_item *it, enum drv_op op)
{
    const struct vm_mig *m = &it->want.vm.mig;

    about(it, m->id);
    vmx_job_init(it, op, m->timeout_ms == 0 ? it->x->opts.mig_ms : m->timeout_ms);
    it->mig_look = false;
    it->job.peer = m->peer;
    it->job.peer_address = m->address;
    it->job.migration = m->id;
    it->job.bandwidth = m->bandwidth;
    it->job.uid = it->want.vm.uid;
    it->object = json_deep_copy(it->want.object); /* the cache may change meanwhile */
    it->job.object = it->object;
    if (op == DRV_MIG_RECEIVE) {
        it->job.disks = it->want.disks;
        it->job.n_disks = it->want.n_disks;
        it->job.incarnation = it->x->src.incarnation;
        it->job.token = vmx_token(it->x, vmx_vm_lock(&it->a, it->rec.vm));
        it->job.secrets = it->secrets;
    } else {
        it->mig_sent = false;
        it->mig_refused = false;
    }
    drv_submit(it->x->drv, &it->job);
}

static void receive(struct vmx_item *it)
{
    transfer(it, DRV_MIG_RECEIVE);
}

static void resume(struct vmx_item *it, uint64_t not_after_ms)
{
    vmx_job_init(it, DRV_MIG_RESUME, it->x->opts.stop_ms);
    it->job.not_after_ms = not_after_ms;
    drv_submit(it->x->drv, &it->job);
}

/* A transfer takes minutes: is it still wanted? */
void vmx_mig_check(struct vmx_item *it)
{
    bool send = it->job.op == DRV_MIG_SUSPEND;
    struct arena a = { 0 };
    struct plan_want w;
    bool wanted;

    if (it->wait != VMX_JOB || it->aborted || !it->mig_look ||
        (!send && it->job.op != DRV_MIG_RECEIVE)) {
        return;
    }
    it->mig_look = false;
    plan_want_make(&it->x->src, it->rec.vm, &a, &w);
    wanted = w.vm.mig.role == (send ? VM_MIG_SOURCE : VM_MIG_TARGET) && !w.vm.mig.cancel &&
             str_eq(w.vm.mig.id, it->mig_id);
    arena_done(&a);
    if (!wanted) {
        it->aborted = true;
        drv_abort(it->x->drv, &it->job);
    }
}

/* --- locks -------------------------------------------------------------------------------------
 */

static void joined(void *data, const struct err *err, const uint64_t *tokens, size_t n)
{
    struct vmx_item *it;
    struct err e;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    if (err == NULL && n != it->n_refs) {
        (void)err_set(&e, ERR_UNKNOWN_OUTCOME, "%zu tokens for %zu locks", n, it->n_refs);
        err = &e;
    }
    for (size_t i = 0; i < it->n_refs; i++) {
        if (err == NULL) {
            vmx_lock_set(it->x, it->refs[i].lock, VM_LOCK_PEER, tokens[i], 0);
            vmx_lock_entry(it->x, it->refs[i].lock)->read_ms = it->sent_ms;
            vmx_lock_entry(it->x, it->refs[i].lock)->release_sent = false;
        } else if (err->code == ERR_UNKNOWN_OUTCOME) {
            vmx_lock_set(it->x, it->refs[i].lock, VM_LOCK_UNKNOWN, 0, 0);
        }
    }
    if (err != NULL && err->code != ERR_UNKNOWN_OUTCOME) {
        vmx_acquire_refused(it);
    }
    vmx_step_done(it, err);
}

static void join(struct vmx_item *it)
{
    struct vmx *x = it->x;
    struct err err;

    about(it, it->want.vm.mig.id);
    vmx_refs_init(it);
    vmx_add_ref(it, vmx_vm_lock(&it->a, it->rec.vm), it->want.vm.uid, 0);
    for (size_t i = 0; i < it->want.n_vols; i++) {
        const struct plan_vol *v = &it->want.vols[i];

        intent_add_vol(&it->rec, v->group, v->name);
        if (v->exclusive) {
            vmx_add_ref(it, vmx_vol_lock(&it->a, v->name), v->uid, 0);
        }
    }
    /* Which volumes we are about to hold has to outlive us. */
    if (x->ops.save(x->ctx, &it->rec, &err) != 0) {
        it->wait = VMX_IDLE;
        free(it->last_error);
        it->last_error = mem_printf("intent: %s", err.msg);
        vmx_due(it, vmx_now(x) + 1000);
        return;
    }
    x->ops.migrate(x->ctx, VMX_MIG_JOIN, it->refs, it->n_refs, 0, joined, it);
}

static void shared(struct vmx_item *it, const char *lock)
{
    const struct vmx_lock *l = map_get(&it->x->locks, lock);

    if (l != NULL && l->state == VM_LOCK_MINE && l->peer_token != 0) {
        vmx_add_ref(it, lock, "", l->token);
    }
}

/* The locks of ours in which the peer is: the machine's first. */
static uint64_t shared_refs(struct vmx_item *it)
{
    const char *vm = vmx_vm_lock(&it->a, it->rec.vm);
    const struct vmx_lock *l = map_get(&it->x->locks, vm);

    vmx_refs_init(it);
    shared(it, vm);
    for (size_t i = 0; i < it->rec.n_vols; i++) {
        shared(it, vmx_vol_lock(&it->a, it->rec.vols[i].name));
    }
    return l == NULL ? 0 : l->peer_token;
}

static void committed(void *data, const struct err *err, const uint64_t *tokens, size_t n)
{
    struct vmx_item *it;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    (void)tokens;
    (void)n;
    for (size_t i = 0; i < it->n_refs; i++) {
        if (err == NULL) { /* a list may have come first: the token is the one that we named */
            vmx_lock_set(it->x, it->refs[i].lock, VM_LOCK_PEER, it->refs[i].token, 0);
            vmx_lock_entry(it->x, it->refs[i].lock)->read_ms = it->sent_ms;
        } else {
            vmx_lock_set(it->x, it->refs[i].lock, VM_LOCK_UNKNOWN, 0, 0);
        }
    }
    it->mig_refused = err != NULL && err->code == ERR_REFUSED;
    vmx_step_done(it, err);
}

static void aborted(void *data, const struct err *err, const uint64_t *tokens, size_t n)
{
    struct vmx_item *it;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    (void)tokens;
    (void)n;
    for (size_t i = 0; i < it->n_refs; i++) {
        if (err == NULL) {
            vmx_lock_entry(it->x, it->refs[i].lock)->aborted = true;
        } else {
            vmx_lock_set(it->x, it->refs[i].lock, VM_LOCK_UNKNOWN, 0, 0);
        }
    }
    vmx_step_done(it, err);
}

static void decide(struct vmx_item *it, enum vmx_mig_op op, vmx_acquired_cb *cb)
{
    uint64_t peer_token = shared_refs(it);

    if (it->n_refs == 0) { /* the peer has gone: the lock says so to the next plan */
        it->wait = VMX_IDLE;
        vmx_due(it, vmx_now(it->x));
        return;
    }
    it->x->ops.migrate(it->x->ctx, op, it->refs, it->n_refs, peer_token, cb, it);
}

/* --- all ---------------------------------------------------------------------------------------
 */

void vmx_mig_act(struct vmx_item *it, const struct act *act)
{
    if (act->kind == ACT_MIG_JOIN) {
        join(it);
    } else if (act->kind == ACT_MIG_RECEIVE) {
        vmx_with_secrets(it, receive);
    } else if (act->kind == ACT_MIG_SEND) {
        transfer(it, DRV_MIG_SUSPEND);
    } else if (act->kind == ACT_MIG_COMMIT) {
        decide(it, VMX_MIG_COMMIT, committed);
    } else if (act->kind == ACT_MIG_ABORT) {
        decide(it, VMX_MIG_ABORT, aborted);
    } else {
        CHECK(act->kind == ACT_MIG_RESUME);
        resume(it, act->not_after_ms);
    }
}

static void give_up(struct vmx_item *it, const char *why)
{
    it->mig_over = true;
    if (it->mig_error == NULL) {
        it->mig_error = mem_strdup(why);
    }
}

/* At least 1: 0 says that it is not known. */
static uint64_t span_ms(uint64_t from_ms, uint64_t to_ms)
{
    if (from_ms == 0) {
        return 0;
    }
    return to_ms > from_ms ? to_ms - from_ms : 1;
}

void vmx_mig_step(struct vmx_item *it, enum act_kind k, const struct err *err)
{
    const struct vm_mig *m = &it->want.vm.mig;
    uint64_t now = vmx_now(it->x);

    if (k == ACT_MIG_SEND) {
        it->mig_sent = err == NULL;
        it->still_ms = span_ms(it->job.result.suspended_ms, now);
        if (err != NULL) {
            give_up(it, err->msg);
        }
    } else if (k == ACT_MIG_RECEIVE) {
        it->received_ms = now;
        if (err != NULL) {
            give_up(it, err->msg);
        }
    } else if (k == ACT_UNPAUSE && err == NULL && it->received_ms != 0) {
        it->resume_ms = span_ms(it->received_ms, now);
    } else if (k == ACT_MIG_COMMIT && it->mig_refused) {
        give_up(it, err->msg);
    } else if (k == ACT_MIG_ABORT && err == NULL && m->role != VM_MIG_NONE) {
        about(it, m->id);
        give_up(it, "it was interrupted, and is given up at this end");
    }
}
