#include "reconciler/exec_priv.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

/* Volumes that are active here without their lock: somebody activated them by hand.  One that
 * nobody has open is deactivated, after a linearizable read of its lock.  One that is open is only
 * reported, since nothing is taken from whoever uses it, unless another host holds its lock: two
 * writers are worse than one that fails, and it gets errors from then on (docs/storage.md). */

static void stray_end(struct vmx *x, uint64_t again_ms)
{
    x->sweeping = false;
    x->sweep_due_ms = vmx_now(x) + again_ms;
    x->ops.wake(x->ctx);
}

static void stray_deactivated(struct drv_job *job, const struct err *err)
{
    struct vmx *x;

    OBJ_FROM(x, job->data, VMX_MAGIC);
    x->sweep_until_ms = 0;
    if (err != NULL) {
        lg_warn("exec", "volume=%s/%s err=\"%s\" msg=\"active without its lock, and stays so\"",
                x->sweep_group, x->sweep_name, err->msg);
    }
    obs_forget_volume(x->obs, x->sweep_group, x->sweep_name);
    vmx_look(x);
    stray_end(x, x->opts.sweep_period_ms);
}

static bool still_stray(const struct vmx *x)
{
    struct obs_volume o;

    obs_volume_get(x->obs, x->sweep_group, x->sweep_name, vmx_now(x), &o);
    return o.state == VOL_ACTIVE && (!o.open || x->sweep_wipe) && !vmx_accounted(x, x->sweep_name);
}

static void stray_read(void *data, const struct err *err, const struct vmx_lock_info *infos,
                       size_t n)
{
    struct vmx *x;

    OBJ_FROM(x, data, VMX_MAGIC);
    for (size_t i = 0; err == NULL && i < n; i++) {
        vmx_lock_apply(x, &infos[i], vmx_now(x));
    }
    if (err != NULL || n != 1 || infos[0].incarnation == x->src.incarnation ||
        infos[0].peer_incarnation == x->src.incarnation || !still_stray(x) ||
        (x->sweep_wipe && (infos[0].incarnation == 0 || infos[0].quarantined))) {
        stray_end(x, x->opts.sweep_period_ms);
        return;
    }
    lg_warn(
        "exec",
        "volume=%s/%s holder=\"%s\" msg=\"active here without its lock, activated by hand? %s\"",
        x->sweep_group, x->sweep_name, infos[0].incarnation == 0 ? "nobody" : infos[0].host,
        x->sweep_wipe ? "It is open: its table is wiped, whoever has it open gets errors"
                      : "Deactivating it");
    x->sweep_job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                                     .op = DRV_VOL_DEACTIVATE,
                                     .group = x->sweep_group,
                                     .volume = x->sweep_name,
                                     .wipe = x->sweep_wipe,
                                     .deadline_ms = vmx_now(x) + x->opts.volume_ms,
                                     .cb = stray_deactivated,
                                     .data = x };
    x->sweep_until_ms = x->sweep_job.deadline_ms;
    drv_submit(x->drv, &x->sweep_job);
}

/* `exclusive`: and two hosts must never write to it. */
static bool ours(const struct vmx *x, const char *group, const char *name, bool exclusive)
{
    struct arena a = { 0 };
    struct plan_vol pv;
    bool yes = plan_vol_make(&x->src, name, &a, &pv) && str_eq(pv.group, group) &&
               (!exclusive || pv.exclusive);

    arena_done(&a);
    return yes;
}

static bool held(const struct vmx *x, const char *lock)
{
    const struct vmx_lock *l = map_get(&x->locks, lock);

    return l != NULL && (l->state == VM_LOCK_MINE || l->state == VM_LOCK_PEER);
}

static bool stray(const struct vmx *x, const char *group, const char *name, bool open)
{
    char *lock = mem_printf("volumes/%s", name);
    bool yes = !held(x, lock) && !vmx_accounted(x, name) && ours(x, group, name, open);

    free(lock);
    return yes;
}

static void begin(struct vmx *x, const char *group, const char *name, bool open)
{
    struct vmx_lock_ref ref = { NULL, "", 0 };

    free(x->sweep_lock);
    free(x->sweep_group);
    free(x->sweep_name);
    x->sweep_lock = mem_printf("volumes/%s", name);
    x->sweep_group = mem_strdup(group);
    x->sweep_name = mem_strdup(name);
    x->sweep_wipe = open;
    x->sweeping = true;
    ref.lock = x->sweep_lock;
    x->ops.read_locks(x->ctx, &ref, 1, stray_read, x);
}

/* The first that nobody has open, else one after the other those that are. */
bool vmx_stray_run(struct vmx *x)
{
    const char *group, *name, *open_group = NULL, *open_name = NULL;
    enum vol_state st;
    unsigned n = 0;
    uint64_t size;
    bool open;

    for (size_t i = 0; obs_volume_next(x->obs, &i, &group, &name, &st, &open, &size);) {
        if (st != VOL_ACTIVE || !stray(x, group, name, open)) {
            continue;
        }
        if (!open) {
            begin(x, group, name, false);
            return true;
        }
        if (n++ == 0 || n - 1 == x->stray_turn) {
            open_group = group;
            open_name = name;
        }
    }
    x->stray_turn = n == 0 ? 0 : (x->stray_turn + 1) % n;
    if (open_name != NULL) {
        begin(x, open_group, open_name, true);
    }
    return open_name != NULL;
}
