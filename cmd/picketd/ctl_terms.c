/* Lease terms follow the Cluster object: what differs is offered to each Live incarnation.  The
 * store records a loosening before the agent can hear of it; a tightening counts once the agent has
 * confirmed it. */

#include <inttypes.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/picketd/ctl_priv.h"

static void offer(struct pass *p, const struct s_inc *inc, const struct terms *want)
{
    struct cmd c = { .op = CMD_TERMS };

    lg_info("ctl", "host=%s incarnation=%" PRIu64 " do=offer-terms lease_ms=%u policy=%s",
            inc->host, inc->number, want->lease_ms,
            want->on_quorum_loss == QUORUM_LOSS_FREEZE ? "Freeze" : "Stop");
    c.safety.incarnation = inc->number;
    c.safety.offer = true;
    c.safety.terms = *want;
    ctl_submit(p->c, &c);
}

void ctl_terms_pass(struct pass *p)
{
    const char *policy = jget_str(p->cluster, "spec.onQuorumLoss", "Stop");
    const char *host;
    void *v;

    for (size_t i = 0; map_next(&p->incs, &i, &host, &v);) {
        const struct s_inc *inc = v;
        struct terms want = inc->offered;

        want.lease_ms = (uint32_t)p->timing.lease_ms;
        want.on_quorum_loss = str_eq(policy, "Freeze") ? QUORUM_LOSS_FREEZE : QUORUM_LOSS_STOP;
        if (inc->state == INC_LIVE && (want.lease_ms != inc->offered.lease_ms ||
                                       want.on_quorum_loss != inc->offered.on_quorum_loss)) {
            offer(p, inc, &want);
        }
    }
}
