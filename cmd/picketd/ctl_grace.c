/* The startup grace: hosts that were all reset, or could not renew for longer than a lease, need a
 * moment to come back, and nobody is suspected meanwhile.
 *
 * It begins with a cold start of the whole cluster, and when the cluster has a leader again after
 * longer than a lease without one: every lease was over then, whatever became of its host, and
 * hosts that hold locks have stopped their guests or were ended by their watchdogs.  A leader that
 * takes over within the grace cannot know when it began; so it is written down while it lasts, and
 * begins anew (docs/decisions/0014). */

#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/record.h"

#define GRACE_KEY "o/_cluster/grace"

/* The first leader that this process ever saw is itself. */
static bool cold_start(const struct controller *c)
{
    return c->node->leaders_seen == 0 && !c->led;
}

void ctl_grace_start(struct controller *c, uint64_t now)
{
    struct node *n = c->node;
    struct timing t;
    uint64_t rev, gap;
    json_t *open = record_get(n->store, GRACE_KEY, &rev);

    lease_timing(n, &t);
    gap = reign_gap_ms(&n->reign, now, t.lease_ms);
    c->grace_busy = false;
    c->returned = open != NULL || gap > t.expiry_ms;
    if (c->returned) {
        c->grace_ms = now;
        lg_info("ctl", "without_leader_ms=%llu msg=\"%s: nobody is suspected for startupGrace\"",
                (unsigned long long)gap,
                open != NULL ? "the leader before had hosts coming back"
                             : "the cluster had no leader for longer than a lease");
    } else if (cold_start(c)) {
        c->grace_ms = n->started_ms;
    }
    c->led = true;
    json_decref(open);
}

static void written(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct controller *c = data;

    (void)ans;
    if (err != NULL) {
        lg_debug("ctl", "key=" GRACE_KEY " msg=\"%s\"", err->msg);
    }
    c->grace_busy = false;
}

void ctl_grace_pass(struct pass *p)
{
    struct controller *c = p->c;
    uint64_t until = c->grace_ms == 0 ? 0 : c->grace_ms + p->timing.startup_grace_ms;
    bool lasts = p->now_ms < until;
    uint64_t rev;
    json_t *open = record_get(c->node->store, GRACE_KEY, &rev);

    if (lasts) {
        pass_recheck(p, until);
    }
    if ((open != NULL) != lasts && !c->grace_busy) {
        json_t *value = lasts ? json_pack("{s:I}", "term", (json_int_t)c->term) : NULL;

        c->grace_busy = true;
        record_put(c->node, GRACE_KEY, value, rev, written, c);
        json_decref(value);
    }
    json_decref(open);
}
