#include "reconciler/exec_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

/* Locks of ours that no virtual machine accounts for: left by an agent that died in the middle of
 * something whose record was lost.  A volume is deactivated if nobody has it open, then its lock is
 * released; the metadata lock of a group is released when nobody here works on the group.
 * One at a time, seldom, and only when every item is at rest. */

static bool busy_group(const struct vmx *x, const char *group)
{
    const char *vm;
    void *v;

    if (map_get(&x->groups, group) != NULL) {
        return true;
    }
    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        if (str_eq(((const struct vmx_item *)v)->create_group, group)) {
            return true;
        }
    }
    return false;
}

bool vmx_accounted(const struct vmx *x, const char *volume)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        if (intent_has_vol(&((const struct vmx_item *)v)->rec, volume)) {
            return true;
        }
    }
    return false;
}

static void sweep_end(struct vmx *x, uint64_t again_ms)
{
    x->sweeping = false;
    x->sweep_due_ms = vmx_now(x) + again_ms;
    x->ops.wake(x->ctx);
}

static void sweep_released(void *data, const struct err *err)
{
    struct vmx *x;

    OBJ_FROM(x, data, VMX_MAGIC);
    if (err == NULL) {
        vmx_lock_set(x, x->sweep_lock, VM_LOCK_FREE, 0, 0);
        lg_info("exec", "lock=%s msg=\"released: nothing here accounts for it\"", x->sweep_lock);
    }
    sweep_end(x, err == NULL ? 100 : x->opts.sweep_period_ms);
}

static void release(struct vmx *x, uint64_t token)
{
    struct vmx_lock_ref ref = { x->sweep_lock, "", token };

    x->sweeping = true;
    vmx_lock_set(x, x->sweep_lock, VM_LOCK_UNKNOWN, 0, 0);
    x->ops.release(x->ctx, &ref, 1, sweep_released, x);
}

static void sweep_read(void *data, const struct err *err, const struct vmx_lock_info *infos,
                       size_t n)
{
    struct vmx *x;

    OBJ_FROM(x, data, VMX_MAGIC);
    for (size_t i = 0; err == NULL && i < n; i++) {
        vmx_lock_apply(x, &infos[i], vmx_now(x));
    }
    sweep_end(x, err == NULL ? 100 : x->opts.sweep_period_ms);
}

static void sweep_deactivated(struct drv_job *job, const struct err *err)
{
    struct vmx *x;

    OBJ_FROM(x, job->data, VMX_MAGIC);
    x->sweep_until_ms = 0;
    if (err != NULL) {
        obs_forget_volume(x->obs, x->sweep_group, x->sweep_name);
        vmx_look(x);
    }
    sweep_end(x, err == NULL ? 100 : x->opts.sweep_period_ms);
}

static void sweep_volume(struct vmx *x, const char *name, uint64_t token)
{
    struct arena a = { 0 };
    struct plan_vol pv;
    struct obs_volume o = { .state = VOL_UNKNOWN };

    if (plan_vol_make(&x->src, name, &a, &pv)) {
        obs_volume_get(x->obs, pv.group, pv.name, vmx_now(x), &o);
    }
    if (o.state == VOL_INACTIVE || o.state == VOL_ABSENT) {
        release(x, token);
    } else if (o.state == VOL_ACTIVE && !o.open) {
        free(x->sweep_group);
        free(x->sweep_name);
        x->sweep_group = mem_strdup(pv.group);
        x->sweep_name = mem_strdup(pv.name);
        x->sweep_job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                                         .op = DRV_VOL_DEACTIVATE,
                                         .group = x->sweep_group,
                                         .volume = x->sweep_name,
                                         .deadline_ms = vmx_now(x) + x->opts.volume_ms,
                                         .cb = sweep_deactivated,
                                         .data = x };
        x->sweeping = true;
        x->sweep_until_ms = x->sweep_job.deadline_ms;
        drv_submit(x->drv, &x->sweep_job);
    }
    arena_done(&a);
}

/* Begin something about one lock; true when something is under way now. */
static bool sweep_one(struct vmx *x, const char *lock, const struct vmx_lock *l)
{
    bool volume = str_starts(lock, "volumes/");
    bool group = str_starts(lock, "volumegroups/");
    const char *name = strchr(lock, '/') + 1;

    if ((!volume && !group) || (volume && vmx_accounted(x, name)) ||
        (group && busy_group(x, name))) {
        return false;
    }
    if (l->state != VM_LOCK_MINE && l->state != VM_LOCK_PEER && l->state != VM_LOCK_UNKNOWN) {
        return false;
    }
    free(x->sweep_lock);
    x->sweep_lock = mem_strdup(lock);
    if (l->state == VM_LOCK_UNKNOWN) {
        struct vmx_lock_ref ref = { x->sweep_lock, "", 0 };

        x->sweeping = true;
        x->ops.read_locks(x->ctx, &ref, 1, sweep_read, x);
    } else if (group) {
        release(x, l->token);
    } else {
        sweep_volume(x, name, l->token);
    }
    return x->sweeping;
}

static bool at_rest(const struct vmx *x)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        if (((const struct vmx_item *)v)->wait != VMX_IDLE) {
            return false;
        }
    }
    return x->looking == 0;
}

void vmx_sweep_run(struct vmx *x, uint64_t now_ms)
{
    struct vm_env env;
    const char *lock;
    void *v;

    if (x->sweep_until_ms != 0 && now_ms > x->sweep_until_ms) {
        x->sweep_until_ms = 0;
        drv_abort(x->drv, &x->sweep_job);
    }
    if (x->sweep_due_ms == 0) {
        x->sweep_due_ms = now_ms + x->opts.sweep_period_ms;
    }
    if (x->sweeping || now_ms < x->sweep_due_ms) {
        return;
    }
    x->sweep_due_ms = now_ms + x->opts.sweep_period_ms;
    vmx_full_env(x, &env);
    if (x->locks_ms == 0 || !obs_complete(x->obs) || env.inc != VM_INC_LIVE || !env.synced ||
        !at_rest(x)) {
        return;
    }
    for (size_t i = 0; map_next(&x->locks, &i, &lock, &v);) {
        if (sweep_one(x, lock, v)) {
            return;
        }
    }
    (void)vmx_stray_run(x);
}

bool vmx_group_busy(struct vmx *x, const char *group, bool on)
{
    if (!on) {
        (void)map_del(&x->groups, group);
        return true;
    }
    return !busy_group(x, group) && map_put(&x->groups, group, x) == NULL;
}
