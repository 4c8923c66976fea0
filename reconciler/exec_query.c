#include "base/obj.h"
#include "base/str.h"
#include "reconciler/exec_priv.h"

/* What others ask the executor. */

struct obs *vmx_obs(struct vmx *x)
{
    return x->obs;
}

bool vmx_looked(const struct vmx *x)
{
    return x->looked;
}

size_t vmx_wants(struct vmx *x)
{
    const char *vm;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        const struct vmx_item *it = v;

        n += it->want.vm.exists && it->want.vm.run != VM_RUN_STOPPED &&
             ((it->want.vm.assign == VM_ASSIGN_HERE && it->rec.plan.latch == VM_LATCH_NONE) ||
              it->want.vm.mig.role == VM_MIG_TARGET);
    }
    return n;
}

bool vmx_busy(const struct vmx *x)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        enum vmx_wait w = ((const struct vmx_item *)v)->wait;

        if (w == VMX_JOB || w == VMX_CALL) {
            return true;
        }
    }
    return x->sweeping;
}

bool vmx_idle(const struct vmx *x)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        const struct vmx_item *it = v;

        if (it->wait != VMX_IDLE || it->due_ms != 0) {
            return false;
        }
    }
    return x->looking == 0;
}

const char *vmx_plan_text(struct vmx *x, const char *vm)
{
    struct vmx_item *it = map_get(&x->items, vm);

    return it == NULL ? "" : buf_cstr(&it->text);
}

void vmx_report_all(struct vmx *x)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&x->items, &i, &vm, &v);) {
        struct vmx_item *it = v;

        if (it->text.len > 0) {
            vmx_report_item(it);
        }
    }
}
