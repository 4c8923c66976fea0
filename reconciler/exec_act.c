#include "reconciler/exec_priv.h"

#include <stdlib.h>

#include "base/obj.h"
#include "base/str.h"

/* The steps.  Each ends in vmx_step_done, exactly once and never before vmx_act has returned. */

/* --- driver jobs -------------------------------------------------------------------------------
 */

/* What a job on a domain did shows in an event or in a look; until then nothing is known. */
static void job_seen(struct vmx_item *it, const struct err *err)
{
    struct obs *o = it->x->obs;

    switch (it->job.op) {
    case DRV_START:
    case DRV_DESTROY:
    case DRV_PAUSE:
    case DRV_UNPAUSE:
    case DRV_MIG_SUSPEND:
    case DRV_MIG_RESUME:
    case DRV_MIG_RECEIVE:
        if (!obs_seen_since(o, it->rec.vm, it->stamp)) {
            obs_forget(o, it->rec.vm);
        }
        return;
    case DRV_VOL_CREATE:
    case DRV_VOL_GROW:
    case DRV_VOL_ACTIVATE:
    case DRV_VOL_DEACTIVATE:
        if (err != NULL && err->code == ERR_UNKNOWN_OUTCOME) {
            obs_forget_volume(o, it->job.group, it->job.volume);
        }
        return;
    case DRV_SHUTDOWN:
    case DRV_ADJUST:
    case DRV_ENUM_DOMAINS:
    case DRV_ENUM_VOLUMES:
    case DRV_CAPACITY:
    case DRV_PING:
    case DRV_APPLY:
    case DRV_NONE:
        return;
    }
    CHECK_UNREACHABLE();
}

static void job_done(struct drv_job *job, const struct err *err)
{
    struct vmx_item *it;

    OBJ_FROM(it, job->data, VMX_ITEM_MAGIC);
    job_seen(it, err);
    if (err != NULL) {
        vmx_look(it->x); /* the world may not be as we think */
    }
    vmx_step_done(it, err);
}

void vmx_job_init(struct vmx_item *it, enum drv_op op, uint64_t timeout_ms)
{
    it->job = (struct drv_job){
        .magic = DRV_JOB_MAGIC,
        .op = op,
        .vm = it->rec.vm,
        .deadline_ms = vmx_now(it->x) + timeout_ms,
        .cb = job_done,
        .data = it,
    };
    it->aborted = false;
    it->stamp = obs_enum_begin(it->x->obs);
    it->wait = VMX_JOB;
}

static void act_domain(struct vmx_item *it, enum drv_op op, uint64_t not_after_ms)
{
    vmx_job_init(it, op, it->x->opts.stop_ms);
    if (op == DRV_SHUTDOWN && not_after_ms < it->job.deadline_ms) {
        it->job.deadline_ms = not_after_ms; /* a hanging request may not hold up the destroy */
    }
    if (op == DRV_UNPAUSE) {
        it->job.not_after_ms = not_after_ms;
    }
    if (op == DRV_DESTROY || op == DRV_SHUTDOWN) {
        obs_expect_end(it->x->obs, it->rec.vm);
    }
    drv_submit(it->x->drv, &it->job);
}

static void act_adjust(struct vmx_item *it)
{
    vmx_job_init(it, DRV_ADJUST, it->x->opts.stop_ms);
    it->object = json_deep_copy(it->want.object); /* the cache may change meanwhile */
    it->job.object = it->object;
    drv_submit(it->x->drv, &it->job);
}

static void start_go(struct vmx_item *it)
{
    char *lock = mem_printf("virtualmachines/%s", it->rec.vm);

    vmx_job_init(it, DRV_START, it->x->opts.start_ms);
    it->object = json_deep_copy(it->want.object); /* the cache may change meanwhile */
    it->job.uid = it->want.vm.uid;
    it->job.object = it->object;
    it->job.secrets = it->secrets;
    it->job.disks = it->want.disks;
    it->job.n_disks = it->want.n_disks;
    it->job.incarnation = it->x->src.incarnation;
    it->job.token = vmx_token(it->x, lock);
    it->job.not_after_ms = it->plan.acts[it->step].not_after_ms;
    free(lock);
    drv_submit(it->x->drv, &it->job);
}

static const struct plan_vol *find_vol(const struct vmx_item *it, const char *name)
{
    for (size_t i = 0; i < it->want.n_vols; i++) {
        if (str_eq(it->want.vols[i].name, name)) {
            return &it->want.vols[i];
        }
    }
    return NULL;
}

static const char *find_group(const struct vmx_item *it, const char *name)
{
    const struct plan_vol *v = find_vol(it, name);

    if (v != NULL) {
        return v->group;
    }
    for (size_t i = 0; i < it->rec.n_vols; i++) {
        if (str_eq(it->rec.vols[i].name, name)) {
            return it->rec.vols[i].group;
        }
    }
    CHECK_UNREACHABLE();
}

static void act_volume(struct vmx_item *it, enum drv_op op, const char *volume)
{
    char *lock = mem_printf("volumes/%s", volume);

    vmx_job_init(it, op, it->x->opts.volume_ms);
    /* Copied: the record may change while the job is in flight. */
    it->job.group = arena_strdup(&it->a, find_group(it, volume));
    it->job.volume = arena_strdup(&it->a, volume);
    it->job.incarnation = it->x->src.incarnation;
    it->job.token = vmx_token(it->x, lock);
    free(lock);
    if (op == DRV_VOL_ACTIVATE) {
        intent_add_vol(&it->rec, it->job.group, volume);
    }
    drv_submit(it->x->drv, &it->job);
}

/* --- locks -------------------------------------------------------------------------------------
 */

void vmx_add_ref(struct vmx_item *it, const char *lock, const char *uid, uint64_t token)
{
    it->refs[it->n_refs++] = (struct vmx_lock_ref){ lock, uid, token };
}

void vmx_refs_init(struct vmx_item *it)
{
    it->refs = ARENA_ARRAY(&it->a, struct vmx_lock_ref, it->want.n_vols + it->rec.n_vols + 2);
    it->n_refs = 0;
    it->sent_ms = vmx_now(it->x);
    it->wait = VMX_CALL;
}

/* Refused: what was not ours before is not accounted for. */
void vmx_acquire_refused(struct vmx_item *it)
{
    for (size_t i = 0; i < it->want.n_vols; i++) {
        struct vm_lock l;

        vmx_lock_view(it->x, vmx_vol_lock(&it->a, it->want.vols[i].name), &l);
        if (it->want.vols[i].exclusive && l.state != VM_LOCK_MINE && l.state != VM_LOCK_PEER) {
            intent_drop_vol(&it->rec, it->want.vols[i].name);
        }
    }
}

static void acquired(void *data, const struct err *err, const uint64_t *tokens, size_t n)
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
            vmx_lock_set(it->x, it->refs[i].lock, VM_LOCK_MINE, tokens[i], it->sent_ms);
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

static void act_acquire(struct vmx_item *it, const struct act *act)
{
    struct vmx *x = it->x;
    struct err err;

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
    x->ops.acquire(x->ctx, it->refs, it->n_refs, act->why, acquired, it);
}

static void released(void *data, const struct err *err)
{
    struct vmx_item *it;
    struct err e;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    if (err == NULL) {
        for (size_t i = 0; i < it->n_refs; i++) {
            vmx_lock_set(it->x, it->refs[i].lock, VM_LOCK_FREE, 0, it->sent_ms);
            vmx_lock_entry(it->x, it->refs[i].lock)->release_sent = false;
        }
        while (it->rec.n_vols > 0) {
            intent_drop_vol(&it->rec, it->rec.vols[0].name);
        }
        /* A record that still names them is harmless: their locks are not ours any more. */
        (void)it->x->ops.save(it->x->ctx, &it->rec, &e);
    }
    vmx_step_done(it, err);
}

static void add_held(struct vmx_item *it, const char *lock)
{
    uint64_t token = vmx_token(it->x, lock);

    if (token != 0) {
        vmx_add_ref(it, lock, "", token);
    }
}

/* From the moment the release leaves, the locks are lost to us, whatever comes back (S6). */
static void act_release(struct vmx_item *it)
{
    struct vmx *x = it->x;

    vmx_refs_init(it);
    add_held(it, vmx_vm_lock(&it->a, it->rec.vm));
    for (size_t i = 0; i < it->rec.n_vols; i++) {
        if (vmx_vol_user(it, it->rec.vols[i].name, true) == NULL) {
            add_held(it, vmx_vol_lock(&it->a, it->rec.vols[i].name));
        }
    }
    CHECK(it->n_refs > 0);
    for (size_t i = 0; i < it->n_refs; i++) {
        vmx_lock_set(x, it->refs[i].lock, VM_LOCK_UNKNOWN, 0, 0);
        vmx_lock_entry(x, it->refs[i].lock)->release_sent = true;
    }
    x->ops.release(x->ctx, it->refs, it->n_refs, released, it);
}

static void locks_read(void *data, const struct err *err, const struct vmx_lock_info *infos,
                       size_t n)
{
    struct vmx_item *it;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    for (size_t i = 0; err == NULL && i < n; i++) {
        vmx_lock_apply(it->x, &infos[i], it->sent_ms);
    }
    vmx_step_done(it, err);
}

static void act_read_locks(struct vmx_item *it)
{
    vmx_refs_init(it);
    vmx_add_ref(it, vmx_vm_lock(&it->a, it->rec.vm), "", 0);
    for (size_t i = 0; i < it->rec.n_vols; i++) {
        vmx_add_ref(it, vmx_vol_lock(&it->a, it->rec.vols[i].name), "", 0);
    }
    it->x->ops.read_locks(it->x->ctx, it->refs, it->n_refs, locks_read, it);
}

/* --- creating or growing a volume: lock of its group, write, unlock
 * ----------------------------------------- */

static void group_unlocked(void *data, const struct err *err)
{
    struct vmx_item *it;
    struct vmx *x;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    x = it->x;
    if (err == NULL) {
        vmx_lock_set(x, it->refs[0].lock, VM_LOCK_FREE, 0, it->sent_ms);
    } /* else the sweep reads it and gives it back */
    free(it->create_group);
    it->create_group = NULL;
    vmx_step_done(it, it->create_err.code != 0 ? &it->create_err : NULL);
}

static void create_done(struct drv_job *job, const struct err *err)
{
    struct vmx_item *it;
    struct vmx *x;

    OBJ_FROM(it, job->data, VMX_ITEM_MAGIC);
    x = it->x;
    job_seen(it, err);
    it->create_err = err == NULL ? (struct err){ 0 } : *err;
    it->stage = VMX_STAGE_UNLOCK;
    it->wait = VMX_CALL;
    it->sent_ms = vmx_now(x);
    it->refs[0].token = vmx_token(x, it->refs[0].lock);
    vmx_lock_set(x, it->refs[0].lock, VM_LOCK_UNKNOWN, 0, 0);
    x->ops.release(x->ctx, it->refs, 1, group_unlocked, it);
}

static void create_failed(struct vmx_item *it, const struct err *err)
{
    free(it->create_group);
    it->create_group = NULL;
    vmx_step_done(it, err);
}

static void group_locked(void *data, const struct err *err, const uint64_t *tokens, size_t n)
{
    const struct plan_vol *v;
    struct vmx_item *it;
    struct vm_env env;
    struct err e;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    if (err != NULL || n != 1) {
        vmx_lock_set(it->x, it->refs[0].lock, VM_LOCK_UNKNOWN, 0, 0);
        if (err == NULL) {
            (void)err_set(&e, ERR_UNKNOWN_OUTCOME, "%zu tokens for one lock", n);
        }
        create_failed(it, err == NULL ? &e : err);
        return;
    }
    vmx_lock_set(it->x, it->refs[0].lock, VM_LOCK_MINE, tokens[0], it->sent_ms);
    vmx_full_env(it->x, &env);
    v = find_vol(it, it->plan.acts[it->step].object);
    CHECK(v != NULL);
    /* Group metadata is an effect outside the host: the lease outlives its hard timeout. */
    vmx_job_init(it,
                 it->plan.acts[it->step].kind == ACT_GROW_VOLUME ? DRV_VOL_GROW : DRV_VOL_CREATE,
                 env.effect_ms);
    it->job.cb = create_done;
    it->job.group = v->group;
    it->job.volume = v->name;
    it->job.size_bytes = v->size_bytes;
    it->job.token = tokens[0];
    it->job.incarnation = it->x->src.incarnation;
    it->stage = VMX_STAGE_CREATE;
    if (!vm_lease_good(&env) || env.lease_until_ms < env.now_ms + env.effect_ms) {
        (void)err_set(&e, ERR_TIMEOUT, "the lease became too short to write volume %s", v->name);
        create_done(&it->job, &e);
        return;
    }
    drv_submit(it->x->drv, &it->job);
}

static bool group_busy(const struct vmx_item *it, const char *group)
{
    const char *vm;
    void *v;

    if (map_get(&it->x->groups, group) != NULL) {
        return true;
    }
    for (size_t i = 0; map_next(&it->x->items, &i, &vm, &v);) {
        if (v != it && str_eq(((const struct vmx_item *)v)->create_group, group)) {
            return true;
        }
    }
    return false;
}

static void act_create(struct vmx_item *it, const struct act *act)
{
    const struct plan_vol *v = find_vol(it, act->object);
    const json_t *group;

    CHECK(v != NULL);
    group = it->x->src.object(it->x->src.ctx, "volumegroups", v->group);
    if (group == NULL || group_busy(it, v->group)) {
        it->wait = VMX_IDLE;
        vmx_due(it, vmx_now(it->x) + 100); /* one at a time in a group */
        return;
    }
    vmx_refs_init(it);
    it->create_group = mem_strdup(v->group);
    it->stage = VMX_STAGE_LOCK;
    vmx_add_ref(it, arena_printf(&it->a, "volumegroups/%s", v->group),
                arena_strdup(&it->a, json_string_value(json_object_get(
                                         json_object_get(group, "metadata"), "uid"))),
                0);
    it->x->ops.acquire(it->x->ctx, it->refs, 1,
                       act->kind == ACT_GROW_VOLUME ? "grow a volume" : "create a volume",
                       group_locked, it);
}

/* --- all ---------------------------------------------------------------------------------------
 */

static void act_look(struct vmx_item *it)
{
    it->wait = VMX_LOOK;
    vmx_look(it->x);
}

void vmx_act(struct vmx_item *it, const struct act *act)
{
    switch (act->kind) {
    case ACT_LOOK:
        act_look(it);
        return;
    case ACT_READ_LOCKS:
        act_read_locks(it);
        return;
    case ACT_ACQUIRE:
        act_acquire(it, act);
        return;
    case ACT_CREATE_VOLUME:
    case ACT_GROW_VOLUME:
        act_create(it, act);
        return;
    case ACT_ACTIVATE:
        act_volume(it, DRV_VOL_ACTIVATE, act->object);
        return;
    case ACT_START:
        vmx_with_secrets(it, start_go);
        return;
    case ACT_SHUTDOWN:
        act_domain(it, DRV_SHUTDOWN, act->not_after_ms);
        return;
    case ACT_DESTROY:
        act_domain(it, DRV_DESTROY, act->not_after_ms);
        return;
    case ACT_PAUSE:
        act_domain(it, DRV_PAUSE, act->not_after_ms);
        return;
    case ACT_UNPAUSE:
        act_domain(it, DRV_UNPAUSE, act->not_after_ms);
        return;
    case ACT_ADJUST:
        act_adjust(it);
        return;
    case ACT_DEACTIVATE:
        act_volume(it, DRV_VOL_DEACTIVATE, act->object);
        return;
    case ACT_RELEASE:
        act_release(it);
        return;
    case ACT_MIG_JOIN:
    case ACT_MIG_RECEIVE:
    case ACT_MIG_SEND:
    case ACT_MIG_COMMIT:
    case ACT_MIG_ABORT:
    case ACT_MIG_RESUME:
        vmx_mig_act(it, act);
        return;
    }
    CHECK_UNREACHABLE();
}
