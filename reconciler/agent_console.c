#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* Which terminal is a guest's console, by what was observed. */

static int ended(const struct agent *a, const char *vm, const struct obs_domain *d, struct err *err)
{
    const char *reason = dom_reason_name(d->reason);

    return err_set(err, ERR_REFUSED, "%s has ended on %s%s%s; `picket why vm %s` tells more", vm,
                   a->name, reason[0] == '\0' ? "" : ": ", reason, vm);
}

int agent_console(struct agent *a, const char *vm, struct console_where *ret, struct err *err)
{
    struct obs_domain d;

    OBJ_CHECK(a, AGENT_MAGIC);
    obs_domain_get(vmx_obs(a->vmx), vm, clock_now_ms(), &d);
    switch (d.state) {
    case DOM_UNKNOWN:
        return err_set(err, ERR_TIMEOUT, "what became of %s on %s is not known now; try again", vm,
                       a->name);
    case DOM_ABSENT:
        return err_set(err, ERR_NOT_FOUND,
                       "%s does not run on %s (any more); `picket get vm %s` tells where it does",
                       vm, a->name, vm);
    case DOM_DYING:
    case DOM_STOPPED:
        return ended(a, vm, &d, err);
    case DOM_RUNNING:
    case DOM_PAUSED:
        if (d.tty == NULL) {
            return err_set(
                err, ERR_NOT_FOUND,
                "%s has no text console (spec.console, and what its hypervisor gives it)", vm);
        }
        (void)str_copy(ret->tty, sizeof(ret->tty), d.tty);
        (void)str_copy(ret->uid, sizeof(ret->uid), d.uid);
        ret->id = d.id;
        return 0;
    }
    CHECK_UNREACHABLE();
}
