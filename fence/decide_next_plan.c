#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_priv.h"

/* The next attempt of an open fencing: which level, by whom, when; or what it waits for. */

/* --- the next attempt
 * ----------------------------------------------------------------------------- */

static const char *last_results(struct decide_run *r, const struct decide_fencing *fc)
{
    const struct decide_level *l = decide_attempt_level(fc);
    const char *s = "";

    if (fc->vetoed && fc->veto_reason != NULL) {
        s = arena_printf(r->a, "; attempt %" PRIu64 " does not count: %s", fc->attempt,
                         fc->veto_reason);
    }
    for (size_t i = 0; i < fc->n_results; i++) {
        const struct decide_result *res = &fc->results[i];

        if (res->attempt == fc->attempt) {
            s = arena_printf(r->a, "%s; %s: %s%s%s", s, res->device,
                             fence_outcome_name(res->result),
                             res->detail != NULL && res->detail[0] != '\0' ? ", " : "",
                             res->detail != NULL ? res->detail : "");
        }
    }
    for (size_t i = 0; l != NULL && decide_attempt_over(r->f, fc) && i < l->n_devices; i++) {
        const char *gone =
            decide_attempt_abandoned(r->f, fc) ? decide_executor_gone(r->f, fc) : NULL;

        if (decide_find_result(fc, fc->attempt, l->devices[i].name) == NULL) {
            s = gone != NULL
                    ? arena_printf(r->a, "%s; %s: no result, %s %s", s, l->devices[i].name,
                                   fc->executor, gone)
                    : arena_printf(r->a, "%s; %s: no result in time", s, l->devices[i].name);
        }
    }
    return s;
}

/* What its storage slot says, where there is one. */
static const char *slot_evidence(struct decide_run *r, const struct decide_host *h)
{
    if (h->slot_ms == 0) {
        return "";
    }
    if (decide_slot_fresh(r->f, h)) {
        decide_recheck(r, h->slot_ms + r->f->slot_stale_ms + 1);
        return "; its storage slot still moves: it is not off";
    }
    return "; its storage slot is silent";
}

/* What the operator reads while the fencing is open. */
static void set_cond(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                     const char *reason, const char *why)
{
    const struct decide_fencing *fc = h->fencing;
    const char *asks = "";

    if (decide_asks(r->f, h)) {
        const char *refusal = decide_reprieve_refusal(fc);

        asks = arena_printf(r->a, "; it is alive and asks for its lease, but %s: reboot it",
                            refusal != NULL ? refusal : "is being reprieved");
    }
    decide_cond_set(c, "Unknown", reason,
                    arena_printf(r->a, "fencing %" PRIu64 ": %s%s%s%s; or %s", fc->id, why,
                                 last_results(r, fc), asks, slot_evidence(r, h),
                                 decide_confirm_hint(r->a, h)));
}

void decide_wait_for(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                     enum decide_kind kind, const char *reason, const char *why)
{
    (void)decide_add(r, kind, h, reason, why);
    set_cond(r, h, c, reason, why);
}

static uint32_t count_attemptable(const struct decide_run *r, const struct decide_fencing *fc)
{
    uint32_t n = 0;

    for (size_t i = 0; i < fc->n_levels; i++) {
        n += decide_level_attemptable(r, &fc->levels[i]) ? 1 : 0;
    }
    return n;
}

/* The level after the last one that was tried; *ret_wrapped: it starts over.  There is one. */
static uint32_t next_level(const struct decide_run *r, const struct decide_fencing *fc,
                           bool *ret_wrapped)
{
    uint32_t at = fc->attempt == 0 ? 0 : fc->level + 1;

    if (decide_attempt_abandoned(r->f, fc) && decide_attempt_level(fc) != NULL) {
        at = fc->level; /* nobody can say that it failed */
    }

    *ret_wrapped = false;
    for (;; at++) {
        if (at >= fc->n_levels) {
            at = 0;
            *ret_wrapped = true;
        }
        if (decide_level_attemptable(r, &fc->levels[at])) {
            return at;
        }
    }
}

static uint64_t backoff_until_ms(const struct decide_run *r, const struct decide_fencing *fc)
{
    const struct decide_facts *f = r->f;
    uint64_t round = fc->attempt / count_attemptable(r, fc); /* rounds done: >= 1 */
    uint64_t ms = f->backoff_ms;

    for (; round > 1 && ms < f->backoff_max_ms; round--) {
        ms *= 2;
    }
    return decide_attempt_ended_ms(f, fc) + (ms < f->backoff_max_ms ? ms : f->backoff_max_ms);
}

static bool has_storage(const struct decide_run *r, const struct decide_fencing *fc)
{
    for (size_t i = 0; i < fc->n_levels; i++) {
        if (decide_level_kind(&fc->levels[i], r->f->policy.lab) == DECIDE_LEVEL_STORAGE) {
            return true;
        }
    }
    return false;
}

/* What a reservation can release is released. */
static void wait_storage(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    if (h->n_locks == 0) {
        decide_wait_for(
            r, h, c, DECIDE_WAIT, "CutOff",
            "it is cut off from its disks and holds no locks any more; its next boot ends this");
        return;
    }
    decide_wait_for(
        r, h, c, DECIDE_HOLD, "StorageOnly",
        arena_printf(r->a,
                     "%" PRIu32 " locks are left that no reservation can release (VMs without "
                     "fencing: StorageOnly, what lies on no LUN): it has to be off, or to boot",
                     h->n_locks));
}

/* What a user asked for and nothing can do ends when the host is seen to live: nothing was
 * switched, and to keep its lease from it would help nobody. */
static bool give_up(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                    const struct decide_wait *wait)
{
    const struct decide_fencing *fc = h->fencing;
    const char *why;

    if (!fc->by_user || fc->attempt != 0 || wait->waiting || !decide_asks(r->f, h) ||
        decide_levels_have(fc->levels, fc->n_levels, FENCE_TYPE_MANUAL)) {
        return false;
    }
    why = arena_printf(r->a,
                       "a user asked for it, but nothing can prove that it is off (%s); nothing "
                       "was switched, and it asks for its lease again",
                       wait->refusal != NULL ? wait->refusal
                       : fc->n_levels == 0   ? "it has no fence device"
                                             : "its devices are missing, paused or prove nothing");
    (void)decide_add(r, DECIDE_REPRIEVE, h, "CannotFence", why);
    decide_cond_set(c, "Unknown", "CannotFence", why);
    return true;
}

static void no_level(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                     const struct decide_wait *wait)
{
    const struct decide_fencing *fc = h->fencing;

    if (wait->waiting) {
        decide_wait_for(r, h, c, DECIDE_WAIT, "WatchdogWait",
                        "waits until its watchdog has ended it");
    } else if (wait->veto != NULL) {
        decide_wait_for(r, h, c, DECIDE_HOLD, "LifeSign", wait->veto);
    } else if (wait->refusal != NULL) {
        decide_wait_for(
            r, h, c, DECIDE_HOLD, "NoUsableDevice",
            arena_printf(r->a, "no level can be attempted, and its watchdog does not count: %s",
                         wait->refusal));
    } else if (has_storage(r, fc)) {
        wait_storage(r, h, c);
    } else if (fc->n_levels == 0) {
        decide_wait_for(r, h, c, DECIDE_HOLD, "NoFencing", "it has no fence device");
    } else if (decide_levels_have(fc->levels, fc->n_levels, FENCE_TYPE_MANUAL)) {
        decide_wait_for(r, h, c, DECIDE_HOLD, "WaitingForOperator", "a person has to confirm");
    } else {
        decide_wait_for(r, h, c, DECIDE_HOLD, "NoUsableDevice",
                        "no level can be attempted: devices are missing, paused or prove nothing");
    }
}

/* An operator's brake does not stop what a user asked for. */
static bool braked(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    if (h->fencing->by_user) {
        return false;
    }
    if (r->f->policy.pause_fencing) {
        decide_wait_for(r, h, c, DECIDE_HOLD, "FencingPaused",
                        "Cluster.spec.pauseFencing is set; unset it to go on");
        return true;
    }
    if (h->maintenance) {
        decide_wait_for(r, h, c, DECIDE_HOLD, "Maintenance",
                        "it is in maintenance; end that to go on");
        return true;
    }
    return false;
}

static void start_attempt(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                          uint32_t level)
{
    const struct decide_fencing *fc = h->fencing;
    const struct decide_level *l = &fc->levels[level];
    const struct decide_candidate *ex;
    const char *busy = decide_busy_device(r, h, l);
    const char *why_not = NULL;
    struct decide_item *it;
    const char *why;

    if (busy != NULL) {
        decide_wait_for(r, h, c, DECIDE_WAIT, "DeviceBusy",
                        arena_printf(r->a, "%s is at work for somebody else", busy));
        return;
    }
    if (r->f->policy.max_in_flight > 0 && r->in_flight >= r->f->policy.max_in_flight) {
        decide_wait_for(r, h, c, DECIDE_WAIT, "InFlight",
                        arena_printf(r->a, "%" PRIu32 " attempts run already", r->in_flight));
        return;
    }
    ex = decide_executor(r, h, l, fc->attempt != 0 ? fc->executor : NULL, &why_not);
    if (ex == NULL) {
        decide_wait_for(r, h, c, DECIDE_HOLD, "NoExecutor",
                        arena_printf(r->a, "nobody can execute: %s", why_not));
        return;
    }
    why = arena_printf(r->a, "level %" PRIu32 " (%s) by %s", level + 1, decide_level_names(r->a, l),
                       ex->name);
    set_cond(r, h, c, "Fencing", why);
    it = decide_add(r, DECIDE_FENCE_ATTEMPT, h, "Attempt", why);
    it->attempt = fc->attempt + 1;
    it->level = level;
    it->executor = ex->name;
    r->attempting[h - r->f->hosts] = true;
    r->in_flight++;
}

/* When it would have been silent for too long. */
static void recheck_executor(struct decide_run *r, const struct decide_fencing *fc)
{
    const struct decide_candidate *k = decide_find_candidate(r->f, fc->executor);

    if (k != NULL && !k->reachable && k->silent_ms != 0) {
        decide_recheck(r, k->silent_ms + r->f->lease_ms + 1);
    }
}

void decide_next_attempt(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                         const struct decide_wait *wait)
{
    const struct decide_facts *f = r->f;
    const struct decide_fencing *fc = h->fencing;
    bool wrapped;
    uint64_t until_ms;
    uint32_t level;

    if (!decide_attempt_over(f, fc)) {
        decide_recheck(r, decide_attempt_deadline_ms(f, fc));
        recheck_executor(r, fc);
        decide_wait_for(r, h, c, DECIDE_WAIT, "Fencing",
                        arena_printf(r->a, "attempt %" PRIu64 ", level %" PRIu32 " (%s) by %s runs",
                                     fc->attempt, fc->level + 1,
                                     decide_level_names(r->a, decide_attempt_level(fc)),
                                     fc->executor));
        return;
    }
    if (braked(r, h, c)) {
        return;
    }
    if (count_attemptable(r, fc) == 0) {
        if (!give_up(r, h, c, wait)) {
            no_level(r, h, c, wait);
        }
        return;
    }
    level = next_level(r, fc, &wrapped);
    until_ms = wrapped && fc->attempt != 0 ? backoff_until_ms(r, fc) : 0;
    if (f->now_ms < until_ms) {
        decide_recheck(r, until_ms);
        decide_wait_for(r, h, c, DECIDE_WAIT, "Backoff",
                        arena_printf(r->a, "every level was tried, again in %s",
                                     decide_ms(r->a, until_ms - f->now_ms)));
        return;
    }
    start_attempt(r, h, c, level);
}
