#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_priv.h"

/* May a fencing be opened for a lost host that holds locks?  Each rule here has an incident behind
 * it: restart loops, storms on a switch failure, a maintenance window (features.md C01-C03, B92).
 */

bool decide_in_grace(const struct decide_facts *f, uint64_t *ret_until_ms)
{
    if (f->grace_ms == 0) {
        return false;
    }
    *ret_until_ms = f->grace_ms + f->policy.startup_grace_ms;
    return f->now_ms < *ret_until_ms;
}

const char *decide_confirm_hint(struct arena *a, const struct decide_host *h)
{
    return arena_printf(a,
                        "make sure that it is off, then say so: picket confirm-off %s "
                        "--incarnation %" PRIu64,
                        h->name, h->incarnation);
}

/* Sticky: as many fencings as the budget allows, all within one window, at any time since the
 * operator released the host, hold it until he does so again. */
static bool budget_spent(const struct decide_facts *f, const struct decide_host *h)
{
    uint32_t max = f->policy.max_per_host;

    if (max == 0) {
        return false;
    }
    for (size_t i = 0; i < h->n_history; i++) {
        uint32_t n = 0;
        for (size_t k = 0; k < h->n_history; k++) {
            if (h->history_ms[k] > h->released_ms && h->history_ms[k] >= h->history_ms[i] &&
                h->history_ms[k] - h->history_ms[i] < f->policy.window_ms) {
                n++;
            }
        }
        if (n >= max) {
            return true;
        }
    }
    return false;
}

/* When may the next one be opened, for the storm limit?  0: now. */
static uint64_t storm_until_ms(const struct decide_run *r)
{
    const struct decide_policy *p = &r->f->policy;
    uint64_t oldest_ms = UINT64_MAX;
    uint64_t n = r->opened;

    if (p->max_per_window == 0) {
        return 0;
    }
    for (size_t i = 0; i < r->f->n_history; i++) {
        uint64_t at_ms = r->f->history_ms[i];

        if (at_ms + p->window_ms > r->f->now_ms) {
            n++;
            oldest_ms = at_ms < oldest_ms ? at_ms : oldest_ms;
        }
    }
    if (n < p->max_per_window) {
        return 0;
    }
    return oldest_ms == UINT64_MAX ? r->f->now_ms + p->window_ms : oldest_ms + p->window_ms;
}

static uint32_t healthy_hosts(const struct decide_facts *f)
{
    uint32_t n = 0;

    for (size_t i = 0; i < f->n_hosts; i++) {
        n += decide_has_lease(f, &f->hosts[i]) ? 1 : 0;
    }
    return n;
}

/* In a cluster of two hosts the one that runs more gets a head start. */
static uint64_t priority_until_ms(const struct decide_facts *f, const struct decide_host *h)
{
    const struct decide_host *other;

    if (f->n_hosts != 2 || f->policy.priority_delay_ms == 0) {
        return 0;
    }
    other = &f->hosts[h == &f->hosts[0] ? 1 : 0];
    if (h->priority <= other->priority) {
        return 0;
    }
    return (h->suspect_ms != 0 ? h->suspect_ms : f->leader_since_ms) + f->policy.priority_delay_ms;
}

/* Whether one of the declared levels could end it: a person's word counts as one of type Manual. */
static bool can_be_ended(const struct decide_facts *f, const struct decide_host *h)
{
    for (size_t i = 0; i < h->n_levels; i++) {
        if (decide_level_kind(&h->levels[i], f->policy.lab) != DECIDE_LEVEL_USELESS) {
            return true;
        }
    }
    return decide_levels_have(h->levels, h->n_levels, FENCE_TYPE_MANUAL);
}

const char *decide_user_refusal(const struct decide_facts *f, const struct decide_host *h,
                                struct arena *a)
{
    bool declared = decide_levels_have(h->levels, h->n_levels, FENCE_TYPE_WATCHDOG);
    const char *why = decide_watchdog_refusal(&h->terms, f->policy.lab);

    if (can_be_ended(f, h) || (why == NULL && (declared || f->policy.watchdog_fallback))) {
        return NULL;
    }
    return arena_printf(a,
                        "nothing could prove that %s is off: %s, and its watchdog does not count: "
                        "%s.  Nothing was done.  Give it a device that switches it "
                        "(Host.spec.fencing), or %s",
                        h->name,
                        h->n_levels == 0 ? "it has no fence device"
                                         : "its devices are missing, paused or prove nothing",
                        why != NULL ? why : "none of its levels has it", decide_confirm_hint(a, h));
}

static void hold(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                 enum decide_kind kind, const char *reason, const char *why, uint64_t recheck_ms)
{
    (void)decide_add(r, kind, h, reason, why);
    decide_cond_set(
        c, "Unknown", reason,
        arena_printf(r->a, "lost, holds %" PRIu32 " locks and is not fenced: %s; %s; or %s",
                     h->n_locks, why, decide_evidence(r, h), decide_confirm_hint(r->a, h)));
    if (recheck_ms != 0) {
        decide_recheck(r, recheck_ms);
    }
}

/* Rules that wait for a person. */
static bool held_by_operator(struct decide_run *r, const struct decide_host *h,
                             struct decide_cond *c)
{
    const struct decide_policy *p = &r->f->policy;

    if (h->maintenance) {
        hold(r, h, c, DECIDE_HOLD, "Maintenance",
             arena_printf(r->a,
                          "it is in maintenance; end that, or fence it by hand: picket fence %s "
                          "--reason TEXT",
                          h->name),
             0);
        return true;
    }
    if (p->pause_fencing) {
        hold(r, h, c, DECIDE_HOLD, "FencingPaused",
             "Cluster.spec.pauseFencing is set; unset it to go on", 0);
        return true;
    }
    if (budget_spent(r->f, h)) {
        hold(r, h, c, DECIDE_HOLD, "FencedHold",
             arena_printf(r->a,
                          "it was fenced %" PRIu32 " times within %s: find out why, then fence it "
                          "by hand, which releases it: picket fence %s --reason TEXT",
                          p->max_per_host, decide_ms(r->a, p->window_ms), h->name),
             0);
        return true;
    }
    return false;
}

/* Rules that time, or other hosts, can satisfy. */
static bool held_by_time(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_facts *f = r->f;
    const struct decide_policy *p = &f->policy;
    uint64_t until_ms;

    if (decide_in_grace(f, &until_ms)) {
        hold(r, h, c, DECIDE_WAIT, "StartupGrace",
             f->returned ? "the cluster has just got a leader again, after longer than a lease"
                         : "the whole cluster has just started",
             until_ms);
        return true;
    }
    until_ms = storm_until_ms(r);
    if (until_ms != 0) {
        hold(r, h, c, DECIDE_HOLD, "StormLimit",
             arena_printf(r->a, "%" PRIu32 " fencings within %s is the limit (maxPerWindow)",
                          p->max_per_window, decide_ms(r->a, p->window_ms)),
             until_ms);
        return true;
    }
    if (healthy_hosts(f) < p->min_healthy) {
        hold(r, h, c, DECIDE_HOLD, "MinHealthy",
             arena_printf(r->a, "only %" PRIu32 " hosts hold a lease, minHealthy is %" PRIu32,
                          healthy_hosts(f), p->min_healthy),
             0);
        return true;
    }
    until_ms = priority_until_ms(f, h);
    if (f->now_ms < until_ms) {
        hold(r, h, c, DECIDE_WAIT, "PriorityDelay",
             arena_printf(r->a, "of two hosts it runs more, so it has another %s to win",
                          decide_ms(r->a, until_ms - f->now_ms)),
             until_ms);
        return true;
    }
    return false;
}

void decide_open(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const char *why;

    if (held_by_operator(r, h, c) || held_by_time(r, h, c)) {
        return;
    }
    why = arena_printf(r->a, "lost with %" PRIu32 " locks; %s", h->n_locks, decide_evidence(r, h));
    (void)decide_add(r, DECIDE_FENCE_OPEN, h, "LeaseLost", why);
    r->opened++;
    decide_cond_set(c, "Unknown", "Fencing", why);
}
