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

const struct decide_level *decide_attempt_level(const struct decide_fencing *fc)
{
    return fc->attempt != 0 && fc->level < fc->n_levels ? &fc->levels[fc->level] : NULL;
}

const struct decide_result *decide_find_result(const struct decide_fencing *fc, uint64_t attempt,
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
    const struct decide_level *l = decide_attempt_level(fc);

    for (size_t i = 0; l != NULL && i < l->n_devices; i++) {
        const struct decide_result *res = decide_find_result(fc, fc->attempt, l->devices[i].name);

        if (res == NULL || res->result != FENCE_SUCCEEDED) {
            return false;
        }
    }
    return l != NULL && l->n_devices > 0;
}

bool decide_all_reported(const struct decide_fencing *fc)
{
    const struct decide_level *l = decide_attempt_level(fc);

    for (size_t i = 0; l != NULL && i < l->n_devices; i++) {
        if (decide_find_result(fc, fc->attempt, l->devices[i].name) == NULL) {
            return false;
        }
    }
    return l != NULL;
}

/* An attempt of another leader gets its full time again: nobody here knows when it began. */
uint64_t decide_attempt_deadline_ms(const struct decide_facts *f, const struct decide_fencing *fc)
{
    const struct decide_level *l = decide_attempt_level(fc);
    uint64_t extra = 0;

    for (size_t i = 0; l != NULL && i < l->n_devices; i++) {
        extra = l->devices[i].extra_ms > extra ? l->devices[i].extra_ms : extra;
    }
    return (fc->started_ms != 0 ? fc->started_ms : f->leader_since_ms) + f->attempt_timeout_ms +
           extra;
}

/* Nothing more is to be expected of the running attempt: somebody else shall go on.  What the
 * executor may still send is bounded by the deadline that its child process has. */
const char *decide_executor_gone(const struct decide_facts *f, const struct decide_fencing *fc)
{
    const struct decide_candidate *k = decide_find_candidate(f, fc->executor);

    if (k == NULL) {
        return "is no longer a member";
    }
    if (k->state != DECIDE_INC_NONE && k->state != DECIDE_INC_LIVE) {
        return "is suspected itself";
    }
    if (!k->reachable && k->silent_ms != 0 && decide_age(f, k->silent_ms) > f->lease_ms) {
        return "is silent";
    }
    return NULL;
}

bool decide_attempt_abandoned(const struct decide_facts *f, const struct decide_fencing *fc)
{
    return fc->attempt != 0 && !decide_all_reported(fc) && decide_executor_gone(f, fc) != NULL;
}

bool decide_attempt_over(const struct decide_facts *f, const struct decide_fencing *fc)
{
    return fc->attempt == 0 || decide_attempt_level(fc) == NULL || decide_all_reported(fc) ||
           decide_attempt_abandoned(f, fc) || f->now_ms >= decide_attempt_deadline_ms(f, fc);
}

bool decide_attempt_running(const struct decide_facts *f, const struct decide_host *h)
{
    return h->state == DECIDE_INC_FENCING && h->fencing != NULL &&
           !decide_attempt_over(f, h->fencing);
}

uint64_t decide_attempt_ended_ms(const struct decide_facts *f, const struct decide_fencing *fc)
{
    uint64_t at_ms = 0;

    if (!decide_all_reported(fc)) {
        return decide_attempt_deadline_ms(f, fc);
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
    if (fc->attempt > 0 && !decide_all_reported(fc)) {
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
    if (fc->attempt != 0 && !fc->vetoed && (!decide_attempt_over(r->f, fc) || all_succeeded(fc))) {
        add_veto(r, h, c, "Edited", why);
        return true;
    }
    if (!decide_attempt_over(r->f, fc)) {
        decide_recheck(r, decide_attempt_deadline_ms(r->f, fc));
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

/* Every device of the level read back off. */
static bool prove_off(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_fencing *fc = h->fencing;
    const char *why = life_after(r, h, decide_attempt_ended_ms(r->f, fc));

    if (why != NULL) {
        add_veto(r, h, c, "MisWired", why);
        return true;
    }
    why = arena_printf(r->a, "%s read back off by %s",
                       decide_level_names(r->a, decide_attempt_level(fc)), fc->executor);
    decide_add(r, DECIDE_PROOF, h, "DevicesReadOff", why)->proof = DECIDE_PROOF_OFF;
    decide_cond_set(c, "False", "Fencing", why);
    return true;
}

/* Its disks were taken from it.  It may live on, so a life sign contradicts nothing. */
static bool prove_storage(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_fencing *fc = h->fencing;
    const struct decide_level *l = decide_attempt_level(fc);
    struct decide_item *it;
    const char *why;

    if (l == NULL || l->covers == 0) {
        return false; /* they are released: what is left needs another proof */
    }
    why = arena_printf(r->a, "%s took its disks from it (by %s): %" PRIu32 " of %" PRIu32 " locks",
                       decide_level_names(r->a, l), fc->executor, l->covers, h->n_locks);
    it = decide_add(r, DECIDE_PROOF, h, "DisksTaken", why);
    it->proof = DECIDE_PROOF_SCSI;
    it->level = fc->level;
    decide_cond_set(c, "False", "Fencing", why);
    return true;
}

/* Every device of the level said Succeeded. */
static bool step_succeeded(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_fencing *fc = h->fencing;
    const struct decide_level *l = decide_attempt_level(fc);
    enum decide_level_kind kind;
    const char *why;

    if (l == NULL || fc->vetoed || !all_succeeded(fc)) {
        return false;
    }
    kind = decide_level_kind(l, r->f->policy.lab);
    if (kind != DECIDE_LEVEL_POWER && kind != DECIDE_LEVEL_STORAGE) {
        return false; /* it proves nothing (any more): a device was paused or lost its class */
    }
    why = executor_lost(r, fc, h);
    if (why != NULL) {
        add_veto(r, h, c, "ExecutorLost", why);
        return true;
    }
    return kind == DECIDE_LEVEL_POWER ? prove_off(r, h, c) : prove_storage(r, h, c);
}

/* --- the watchdog
 * --------------------------------------------------------------------------------- */

static const char *watchdog_contradiction(struct decide_run *r, const struct decide_host *h)
{
    const char *veto = decide_confirm_veto(r->f, h, r->a);

    return veto == NULL ? NULL
                        : arena_printf(r->a, "its watchdog should have ended it, but %s", veto);
}

/* Runs beside the attempts: whichever proof comes first ends the fencing. */
static bool step_watchdog(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                          struct decide_wait *ret)
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

void decide_fencing_step(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_fencing *fc = h->fencing;
    struct decide_wait wait = { 0 };
    const char *why;

    if (fc == NULL) {
        decide_cond_set(c, "Unknown", "Fencing", "its fencing is not known here yet");
        return;
    }
    if (h->conflict) {
        decide_wait_for(
            r, h, c, DECIDE_HOLD, "IdentityConflict",
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
    decide_next_attempt(r, h, c, &wait);
}
