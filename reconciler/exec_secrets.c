#include "reconciler/exec_priv.h"

#include "api/json_path.h"
#include "api/valid.h"
#include "base/obj.h"

/* What a guest needs in plain (the password of its screen) is asked for right before it is started
 * or received, given to the driver, and wiped when the step is over. */

static void got(void *data, const struct err *err, const json_t *values)
{
    struct vmx_item *it;

    OBJ_FROM(it, data, VMX_ITEM_MAGIC);
    if (err != NULL) {
        vmx_step_done(it, err);
        return;
    }
    json_wipe(it->secrets);
    it->secrets = json_deep_copy(values);
    it->after_secrets(it);
}

void vmx_with_secrets(struct vmx_item *it, void (*go)(struct vmx_item *it))
{
    if (it->x->ops.secrets == NULL || jget(it->want.object, "spec.graphics.passwordRef") == NULL) {
        go(it);
        return;
    }
    it->after_secrets = go;
    it->wait = VMX_CALL;
    it->x->ops.secrets(it->x->ctx, it->rec.vm, got, it);
}
