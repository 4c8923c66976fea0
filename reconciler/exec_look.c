#include "reconciler/exec_priv.h"

#include "base/log.h"
#include "base/obj.h"

/* Enumerations: both at once, shared by everybody who waits for one. */

void vmx_look(struct vmx *x)
{
    x->look_due_ms = vmx_now(x);
    if (x->look_due_ms == 0) {
        x->look_due_ms = 1;
    }
    x->look_again = x->looking != 0;
    x->ops.wake(x->ctx);
}

static void adopt_domains(struct vmx *x)
{
    const char *vm;

    for (size_t i = 0; obs_next(x->obs, &i, &vm);) {
        vmx_due(vmx_item(x, vm), vmx_now(x));
    }
}

/* Everybody who waited plans again on what was seen. */
static void finish(struct vmx *x)
{
    struct err err;
    const char *vm;
    void *v;

    if (x->look_failed) {
        (void)err_set(&err, ERR_DRIVER, "domains or volumes of this host cannot be listed");
        x->look_due_ms = vmx_now(x) + 1000;
        /* Disks that cannot be read shall not keep an agent from its lease: it knows all that runs
         * and all that is active, and of the rest that it does not know it. */
        x->looked = x->looked || (!x->look_doms_failed && x->look_active_told);
    } else {
        x->looked = true;
        x->look_due_ms = vmx_now(x) + (x->look_again ? 0 : x->opts.look_period_ms);
    }
    x->look_again = false;
    adopt_domains(x);
    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        struct vmx_item *it = v;

        if (it->wait == VMX_LOOK) {
            vmx_step_done(it, x->look_failed ? &err : NULL);
        } else {
            vmx_due(it, vmx_now(x));
        }
    }
    x->ops.wake(x->ctx);
}

static void look_done(struct drv_job *job, const struct err *err)
{
    struct vmx *x;

    OBJ_FROM(x, job->data, VMX_MAGIC);
    CHECK(x->looking > 0);
    job->deadline_ms = 0; /* answered */
    if (err != NULL) {
        lg_warn("exec", "op=%s code=%s err=\"%s\"", drv_op_name(job->op), err_name(err->code),
                err->msg);
        x->look_failed = true;
        x->look_doms_failed = x->look_doms_failed || job->op == DRV_ENUM_DOMAINS;
        x->look_active_told = x->look_active_told || job->result.active_told;
    } else if (job->op == DRV_ENUM_DOMAINS) {
        obs_enum_domains(x->obs, x->look_stamp, job->result.domains, job->result.n_domains,
                         vmx_now(x));
    } else {
        obs_enum_volumes(x->obs, x->look_stamp, job->result.volumes, job->result.n_volumes,
                         vmx_now(x));
    }
    if (--x->looking == 0) {
        finish(x);
    }
}

void vmx_look_start(struct vmx *x)
{
    struct drv_job job = {
        .magic = DRV_JOB_MAGIC,
        .deadline_ms = vmx_now(x) + x->opts.look_ms,
        .cb = look_done,
        .data = x,
    };

    CHECK(x->looking == 0);
    x->looking = 2;
    x->look_until_ms = job.deadline_ms;
    x->look_failed = x->look_doms_failed = x->look_active_told = false;
    x->look_again = false;
    x->look_stamp = obs_enum_begin(x->obs);
    x->look_doms = job;
    x->look_doms.op = DRV_ENUM_DOMAINS;
    x->look_vols = job;
    x->look_vols.op = DRV_ENUM_VOLUMES;
    drv_submit(x->drv, &x->look_doms);
    drv_submit(x->drv, &x->look_vols);
}

void vmx_look_run(struct vmx *x, uint64_t now_ms)
{
    if (x->looking != 0 && x->look_until_ms != 0 && now_ms > x->look_until_ms) {
        x->look_until_ms = 0;
        if (x->look_doms.deadline_ms != 0) {
            drv_abort(x->drv, &x->look_doms);
        }
        if (x->look_vols.deadline_ms != 0) {
            drv_abort(x->drv, &x->look_vols);
        }
    }
    if (x->looking == 0 && x->look_due_ms != 0 && x->look_due_ms <= now_ms) {
        vmx_look_start(x);
    }
}
