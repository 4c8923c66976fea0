#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_priv.h"
#include "fence/timing.h"

/* The next step of an open fencing.  What can end it is looked at first (a newer boot, devices that
 * read back off, the watchdog's bound), then what spoils it (life signs, edits), then the next
 * attempt. */

/* --- the running attempt -------------------------------------------------------------------------
 */

static const struct decide_level *attempt_level(const struct decide_fencing *fc)
{
    return fc->attempt != 0 && fc->level < fc->n_levels ? &fc->levels[fc->level] : NULL;
}

static const struct decide_result *find_result(const struct decide_fencing *fc, uint64_t attempt,
                                               const char *device)
{
    for (size_t i = 0; i < fc->n_results; i++) {
        if (fc->results[i].attempt == attempt && str_eq(fc->results[i].device, device)) {
            return &fc->results[i];
        }
    }
    return NULL;
}

static bool all_succeeded(const struct decide_fencing *fc)
{
    const struct decide_level *l = attempt_level(fc);

    for (size_t i = 0; l != NULL && i < l->n_devices; i++) {
        const struct decide_result *res = find_result(fc, fc->attempt, l->devices[i].name);

        if (res == NULL || res->result != FENCE_SUCCEEDED) {
            return false;
        }
    }
    return l != NULL && l->n_devices > 0;
}

static bool all_reported(const struct decide_fencing *fc)
{
    const struct decide_level *l = attempt_level(fc);

    for (size_t i = 0; l != NULL && i < l->n_devices; i++) {
        if (find_result(fc, fc->attempt, l->devices[i].name) == NULL) {
            return false;
        }
    }
    return l != NULL;
}

/* An attempt of another leader gets its full time again: nobody here knows when it began. */
static uint64_t attempt_deadline_ms(const struct decide_facts *f, const struct decide_fencing *fc)
{
    return (fc->started_ms != 0 ? fc->started_ms : f->leader_since_ms) + f->attempt_timeout_ms;
}

static bool attempt_over(const struct decide_facts *f, const struct decide_fencing *fc)
{
    return fc->attempt == 0 || attempt_level(fc) == NULL || all_reported(fc) ||
           f->now_ms >= attempt_deadline_ms(f, fc);
}

bool decide_attempt_running(const struct decide_facts *f, const struct decide_host *h)
{
    return h->state == DECIDE_INC_FENCING && h->fencing != NULL && !attempt_over(f, h->fencing);
}

static uint64_t attempt_ended_ms(const struct decide_facts *f, const struct decide_fencing *fc)
{
    uint64_t at_ms = 0;

    if (!all_reported(fc)) {
        return attempt_deadline_ms(f, fc);
    }
    for (size_t i = 0; i < fc->n_results; i++) {
        if (fc->results[i].attempt == fc->attempt && fc->results[i].at_ms > at_ms) {
            at_ms = fc->results[i].at_ms;
        }
    }
    return at_ms != 0 ? at_ms : f->leader_since_ms;
}

/* --- refusals ------------------------------------------------------------------------------------
 */

const char *decide_watchdog_refusal(const struct decide_terms *t, bool lab)
{
    if (t->freeze) {
        return "onQuorumLoss is Freeze: the watchdog does not end the host";
    }
    if (!t->guarded) {
        return "the host was not guarded by its watchdog all the time";
    }
    if (!t->nowayout && !lab) {
        return "its watchdog can be stopped (no nowayout)";
    }
    if (t->lease_ms == 0 || t->watchdog_ms == 0 || t->feed_ms == 0) {
        return "its watchdog's timeout was never read back";
    }
    switch (t->wd) {
    case DECIDE_WD_NONE:
        return "it has no watchdog";
    case DECIDE_WD_SOFTDOG:
        return "softdog is software and proves nothing";
    case DECIDE_WD_DEV:
        return lab ? NULL : "a simulated watchdog proves something in a lab only";
    case DECIDE_WD_HARDWARE:
    case DECIDE_WD_XEN:
        return NULL;
    }
    CHECK_UNREACHABLE();
}

/* Every attempt so far is known to have switched nothing off.  The level of an earlier attempt is
 * not recorded, so it must have as many results as the largest level has devices. */
const char *decide_reprieve_refusal(const struct decide_fencing *fc)
{
    size_t devices_max = 0;

    if (fc->by_user) {
        return "the fencing was asked for by a user";
    }
    for (size_t i = 0; i < fc->n_levels; i++) {
        devices_max = fc->levels[i].n_devices > devices_max ? fc->levels[i].n_devices : devices_max;
    }
    for (size_t i = 0; i < fc->n_results; i++) {
        if (fc->results[i].result != FENCE_FAILED) {
            return "a device may have cut its power";
        }
    }
    if (fc->attempt > 0 && !all_reported(fc)) {
        return "a device has not reported: it may still cut the power";
    }
    for (uint64_t at = 1; at < fc->attempt; at++) {
        size_t n = 0;

        for (size_t i = 0; i < fc->n_results; i++) {
            n += fc->results[i].attempt == at ? 1 : 0;
        }
        if (n < devices_max) {
            return "an earlier attempt has not reported in full: it may still cut the power";
        }
    }
    return NULL;
}

/* --- what has been edited since ------------------------------------------------------------------
 */

static const char *edited(struct decide_run *r, const struct decide_host *h)
{
    const struct decide_fencing *fc = h->fencing;

    if (fc->host_generation != h->generation) {
        return arena_printf(r->a, "Host %s was edited (generation %" PRIu64 ", pinned %" PRIu64 ")",
                            h->name, h->generation, fc->host_generation);
    }
    for (size_t i = 0; i < fc->n_levels; i++) {
        for (size_t k = 0; k < fc->levels[i].n_devices; k++) {
            const struct decide_device *d = &fc->levels[i].devices[k];

            if (d->missing) {
                return arena_printf(r->a, "FenceDevice %s was deleted", d->name);
            }
            if (d->generation != d->pinned) {
                return arena_printf(
                    r->a, "FenceDevice %s was edited (generation %" PRIu64 ", pinned %" PRIu64 ")",
                    d->name, d->generation, d->pinned);
            }
        }
    }
    return NULL;
}

static void add_veto(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                     const char *reason, const char *why)
{
    (void)decide_add(r, DECIDE_VETO, h, reason, why);
    decide_cond_set(c, "Unknown", reason, why);
}

/* Editing what a fencing works with makes its results worthless: veto what runs, then start over
 * with the new pins once nothing of the old attempt can switch any more (S18). */
static bool step_edited(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_fencing *fc = h->fencing;
    const char *why = edited(r, h);

    if (why == NULL) {
        return false;
    }
    if (fc->attempt != 0 && !fc->vetoed && (!attempt_over(r->f, fc) || all_succeeded(fc))) {
        add_veto(r, h, c, "Edited", why);
        return true;
    }
    if (!attempt_over(r->f, fc)) {
        decide_recheck(r, attempt_deadline_ms(r->f, fc));
        (void)decide_add(r, DECIDE_WAIT, h, "Edited", why);
        decide_cond_set(c, "Unknown", "Edited", why);
        return true;
    }
    (void)decide_add(r, DECIDE_FENCE_REOPEN, h, "Edited", why);
    decide_cond_set(c, "Unknown", "Fencing", why);
    return true;
}

/* --- devices have reported
 * ------------------------------------------------------------------------ */

static const char *life_after(struct decide_run *r, const struct decide_host *h, uint64_t at_ms)
{
    uint64_t from_ms = at_ms > DECIDE_LIFE_TOLERANCE_MS ? at_ms - DECIDE_LIFE_TOLERANCE_MS : 0;

    if (h->life_ms > from_ms) {
        return arena_printf(r->a,
                            "%s gave a sign of life after its devices read back off: is the wiring "
                            "right?",
                            h->name);
    }
    if (h->slot_ms > from_ms) {
        return arena_printf(r->a,
                            "the storage slot of %s moved after its devices read back off: is the "
                            "wiring right?",
                            h->name);
    }
    return NULL;
}

static const char *executor_lost(struct decide_run *r, const struct decide_fencing *fc,
                                 const struct decide_host *h)
{
    const struct decide_candidate *k = decide_find_candidate(r->f, fc->executor);

    if (str_eq(fc->executor, h->name)) {
        return "the executor is the target itself";
    }
    if (k == NULL) {
        return arena_printf(r->a, "the executor %s is no longer a member", fc->executor);
    }
    if (k->state != DECIDE_INC_NONE && k->state != DECIDE_INC_LIVE) {
        return arena_printf(r->a, "the executor %s is %s itself", fc->executor,
                            decide_state_name(k->state));
    }
    return NULL;
}

/* Every device of the level said Succeeded. */
static bool step_succeeded(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_fencing *fc = h->fencing;
    const struct decide_level *l = attempt_level(fc);
    const char *why;

    if (l == NULL || fc->vetoed || !all_succeeded(fc)) {
        return false;
    }
    if (!decide_level_attemptable(l)) {
        return false; /* it no longer proves anything: a device was paused or lost its class */
    }
    why = executor_lost(r, fc, h);
    if (why != NULL) {
        add_veto(r, h, c, "ExecutorLost", why);
        return true;
    }
    why = life_after(r, h, attempt_ended_ms(r->f, fc));
    if (why != NULL) {
        add_veto(r, h, c, "MisWired", why);
        return true;
    }
    why = arena_printf(r->a, "%s read back off by %s", decide_level_names(r->a, l), fc->executor);
    decide_add(r, DECIDE_PROOF, h, "DevicesReadOff", why)->proof = DECIDE_PROOF_OFF;
    decide_cond_set(c, "False", "Fencing", why);
    return true;
}

/* --- the watchdog
 * --------------------------------------------------------------------------------- */

static const char *watchdog_contradiction(struct decide_run *r, const struct decide_host *h)
{
    const char *veto = decide_confirm_veto(r->f, h, r->a);

    return veto == NULL ? NULL
                        : arena_printf(r->a, "its watchdog should have ended it, but %s", veto);
}

/* What the watchdog's part of a fencing says. */
struct wait_state {
    bool waiting;        /* the bound has not passed yet */
    const char *veto;    /* it has, but the host shows signs of life */
    const char *refusal; /* a Watchdog device is declared and cannot count: why */
};

/* Runs beside the attempts: whichever proof comes first ends the fencing. */
static bool step_watchdog(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                          struct wait_state *ret)
{
    const struct decide_facts *f = r->f;
    const struct decide_fencing *fc = h->fencing;
    const struct decide_terms *t = &h->terms;
    uint64_t settled_ms = f->leader_since_ms + f->lease_ms + f->drift_ms;
    uint64_t bound_ms = timing_watchdog_bound_ms(t->lease_ms, t->watchdog_ms, t->feed_ms);
    struct decide_item *it;
    bool declared = decide_levels_have(fc->levels, fc->n_levels, FENCE_TYPE_WATCHDOG);
    const char *why = decide_watchdog_refusal(t, f->policy.lab);

    if (why != NULL || (!declared && !f->policy.watchdog_fallback)) {
        ret->refusal = declared ? why : NULL;
        return false;
    }
    if (fc->vetoed) { /* the store takes no proof before the next attempt */
        return false;
    }
    ret->waiting = true;
    if (fc->wait_started_ms == 0) {
        if (f->now_ms < settled_ms) {
            decide_recheck(r, settled_ms);
            return false;
        }
        (void)decide_add(
            r, DECIDE_WATCHDOG_WAIT, h, "WatchdogWait",
            arena_printf(r->a, "its watchdog ends it within %s", decide_ms(r->a, bound_ms)));
        return false;
    }
    if (f->now_ms < fc->wait_started_ms + bound_ms) {
        decide_recheck(r, fc->wait_started_ms + bound_ms);
        return false;
    }
    ret->waiting = false;
    ret->veto = watchdog_contradiction(r, h);
    if (ret->veto != NULL) {
        decide_recheck(r, f->now_ms + f->slot_stale_ms);
        return false;
    }
    why = arena_printf(r->a, "the watchdog's bound of %s has passed", decide_ms(r->a, bound_ms));
    it = decide_add(r, DECIDE_PROOF, h, "WatchdogBound", why);
    it->proof = DECIDE_PROOF_WATCHDOG;
    it->elapsed_ms = f->now_ms - fc->wait_started_ms;
    decide_cond_set(c, "False", "Fencing", why);
    return true;
}

/* --- the next attempt
 * ----------------------------------------------------------------------------- */

static const char *last_results(struct decide_run *r, const struct decide_fencing *fc)
{
    const struct decide_level *l = attempt_level(fc);
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
    for (size_t i = 0; l != NULL && attempt_over(r->f, fc) && i < l->n_devices; i++) {
        if (find_result(fc, fc->attempt, l->devices[i].name) == NULL) {
            s = arena_printf(r->a, "%s; %s: no result in time", s, l->devices[i].name);
        }
    }
    return s;
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
                    arena_printf(r->a, "fencing %" PRIu64 ": %s%s%s; or %s", fc->id, why,
                                 last_results(r, fc), asks, decide_confirm_hint(r->a, h)));
}

static void wait_for(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                     enum decide_kind kind, const char *reason, const char *why)
{
    (void)decide_add(r, kind, h, reason, why);
    set_cond(r, h, c, reason, why);
}

static uint32_t count_attemptable(const struct decide_fencing *fc)
{
    uint32_t n = 0;

    for (size_t i = 0; i < fc->n_levels; i++) {
        n += decide_level_attemptable(&fc->levels[i]) ? 1 : 0;
    }
    return n;
}

/* The level after the last one that was tried; *ret_wrapped: it starts over.  There is one. */
static uint32_t next_level(const struct decide_fencing *fc, bool *ret_wrapped)
{
    uint32_t at = fc->attempt == 0 ? 0 : fc->level + 1;

    *ret_wrapped = false;
    for (;; at++) {
        if (at >= fc->n_levels) {
            at = 0;
            *ret_wrapped = true;
        }
        if (decide_level_attemptable(&fc->levels[at])) {
            return at;
        }
    }
}

static uint64_t backoff_until_ms(const struct decide_facts *f, const struct decide_fencing *fc)
{
    uint64_t round = fc->attempt / count_attemptable(fc); /* rounds done: >= 1 */
    uint64_t ms = f->backoff_ms;

    for (; round > 1 && ms < f->backoff_max_ms; round--) {
        ms *= 2;
    }
    return attempt_ended_ms(f, fc) + (ms < f->backoff_max_ms ? ms : f->backoff_max_ms);
}

static void no_level(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                     const struct wait_state *wait)
{
    const struct decide_fencing *fc = h->fencing;

    if (wait->waiting) {
        wait_for(r, h, c, DECIDE_WAIT, "WatchdogWait", "waits until its watchdog has ended it");
    } else if (wait->veto != NULL) {
        wait_for(r, h, c, DECIDE_HOLD, "LifeSign", wait->veto);
    } else if (wait->refusal != NULL) {
        wait_for(r, h, c, DECIDE_HOLD, "NoUsableDevice",
                 arena_printf(r->a,
                              "no level can be attempted, and its watchdog does not count: %s",
                              wait->refusal));
    } else if (fc->n_levels == 0) {
        wait_for(r, h, c, DECIDE_HOLD, "NoFencing", "it has no fence device");
    } else if (decide_levels_have(fc->levels, fc->n_levels, FENCE_TYPE_MANUAL)) {
        wait_for(r, h, c, DECIDE_HOLD, "WaitingForOperator", "a person has to confirm");
    } else {
        wait_for(r, h, c, DECIDE_HOLD, "NoUsableDevice",
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
        wait_for(r, h, c, DECIDE_HOLD, "FencingPaused",
                 "Cluster.spec.pauseFencing is set; unset it to go on");
        return true;
    }
    if (h->maintenance) {
        wait_for(r, h, c, DECIDE_HOLD, "Maintenance", "it is in maintenance; end that to go on");
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
        wait_for(r, h, c, DECIDE_WAIT, "DeviceBusy",
                 arena_printf(r->a, "%s is at work for another host", busy));
        return;
    }
    if (r->f->policy.max_in_flight > 0 && r->in_flight >= r->f->policy.max_in_flight) {
        wait_for(r, h, c, DECIDE_WAIT, "InFlight",
                 arena_printf(r->a, "%" PRIu32 " attempts run already", r->in_flight));
        return;
    }
    ex = decide_executor(r, h, l, fc->attempt != 0 ? fc->executor : NULL, &why_not);
    if (ex == NULL) {
        wait_for(r, h, c, DECIDE_HOLD, "NoExecutor",
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

static void step_attempt(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                         const struct wait_state *wait)
{
    const struct decide_facts *f = r->f;
    const struct decide_fencing *fc = h->fencing;
    bool wrapped;
    uint64_t until_ms;
    uint32_t level;

    if (!attempt_over(f, fc)) {
        decide_recheck(r, attempt_deadline_ms(f, fc));
        wait_for(r, h, c, DECIDE_WAIT, "Fencing",
                 arena_printf(r->a, "attempt %" PRIu64 ", level %" PRIu32 " (%s) by %s runs",
                              fc->attempt, fc->level + 1,
                              decide_level_names(r->a, attempt_level(fc)), fc->executor));
        return;
    }
    if (braked(r, h, c)) {
        return;
    }
    if (count_attemptable(fc) == 0) {
        no_level(r, h, c, wait);
        return;
    }
    level = next_level(fc, &wrapped);
    until_ms = wrapped && fc->attempt != 0 ? backoff_until_ms(f, fc) : 0;
    if (f->now_ms < until_ms) {
        decide_recheck(r, until_ms);
        wait_for(r, h, c, DECIDE_WAIT, "Backoff",
                 arena_printf(r->a, "every level was tried, again in %s",
                              decide_ms(r->a, until_ms - f->now_ms)));
        return;
    }
    start_attempt(r, h, c, level);
}

void decide_fencing_step(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_fencing *fc = h->fencing;
    struct wait_state wait = { 0 };
    const char *why;

    if (fc == NULL) {
        decide_cond_set(c, "Unknown", "Fencing", "its fencing is not known here yet");
        return;
    }
    if (h->conflict) {
        wait_for(r, h, c, DECIDE_HOLD, "IdentityConflict",
                 "two live sessions use this host's identity: no proof can be given; find the copy "
                 "and remove its certificate");
        return;
    }
    if (h->rebooted) {
        decide_rebooted(r, h, c);
        return;
    }
    if (decide_asks(r->f, h) && decide_reprieve_refusal(fc) == NULL) {
        why = fc->attempt == 0
                  ? "it asks for its lease again, and no attempt was made"
                  : "it asks for its lease again, and every attempt is known to have failed";
        (void)decide_add(r, DECIDE_REPRIEVE, h, "Reprieved", why);
        decide_cond_set(c, "Unknown", "Reprieved", why);
        return;
    }
    if (step_edited(r, h, c) || step_succeeded(r, h, c) || step_watchdog(r, h, c, &wait)) {
        return;
    }
    step_attempt(r, h, c, &wait);
}
