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

static bool terms_equal(const struct terms *a, const struct terms *b)
{
    return a->lease_ms == b->lease_ms && a->watchdog_ms == b->watchdog_ms &&
           a->feed_ms == b->feed_ms && a->on_quorum_loss == b->on_quorum_loss && a->wd == b->wd &&
           a->nowayout == b->nowayout && a->guarded == b->guarded;
}

/* Lease and policy are the cluster's; the watchdog's part is what the host stated at its last
 * renewal. */
static struct terms wanted(const struct pass *p, const struct s_inc *inc)
{
    const char *policy = jget_str(p->cluster, "spec.onQuorumLoss", "Stop");
    struct terms t = inc->offered;
    struct lease_info l;

    t.lease_ms = (uint32_t)p->timing.lease_ms;
    t.on_quorum_loss = str_eq(policy, "Freeze") ? QUORUM_LOSS_FREEZE : QUORUM_LOSS_STOP;
    if (lease_table_get(p->c->node->leases, inc->host, &l) && l.incarnation == inc->number &&
        l.has_terms) {
        t.wd = l.terms.wd;
        t.watchdog_ms = l.terms.watchdog_ms;
        t.feed_ms = l.terms.feed_ms;
        t.nowayout = l.terms.nowayout;
        t.guarded = l.terms.guarded;
    }
    return t;
}

void ctl_terms_pass(struct pass *p)
{
    const char *host;
    void *v;

    for (size_t i = 0; map_next(&p->c->world->hosts, &i, &host, &v);) {
        const struct world_host *h = v;
        const struct s_inc *inc = &h->inc;
        struct terms want;

        if (inc->number == 0 || inc->state != INC_LIVE) {
            continue;
        }
        want = wanted(p, inc);
        if (!terms_equal(&want, &inc->offered)) {
            offer(p, inc, &want);
        }
    }
}
