#include "reconciler/vm_plan_priv.h"

#include "base/obj.h"
#include "base/str.h"

#define SETUP_MS 10000U /* a volume that cannot be had is waited for so long */

/* No domain here: start it, wait with a reason, or give back what is held. */

static bool held(const struct vm_lock *l)
{
    return l->state == VM_LOCK_MINE || l->state == VM_LOCK_PEER;
}

bool vmp_holds(const struct vmp *c)
{
    if (held(&c->have->lock)) {
        return true;
    }
    for (size_t i = 0; i < c->have->n_vols; i++) {
        if (held(&c->have->vols[i].lock)) {
            return true;
        }
    }
    return false;
}

static bool locks_unclear(const struct vmp *c)
{
    if (c->have->lock.state == VM_LOCK_UNKNOWN) {
        return true;
    }
    for (size_t i = 0; i < c->have->n_vols; i++) {
        const struct vm_vol *v = &c->have->vols[i];

        if (v->exclusive && !v->wanted && v->lock.state == VM_LOCK_UNKNOWN) {
            return true;
        }
    }
    return false;
}

static enum vol_state vol_now(const struct vmp *c, const struct vm_vol *v)
{
    return vmp_fresh(c, v->seen_ms) ? v->state : VOL_UNKNOWN;
}

/* Deactivations of volumes that nothing here needs; true when there is something to wait for. */
static bool deactivate(struct vmp *c, const char *why)
{
    bool unclear = false;

    for (size_t i = 0; i < c->have->n_vols; i++) {
        const struct vm_vol *v = &c->have->vols[i];

        if (v->used_by != NULL) {
            continue;
        }
        switch (vol_now(c, v)) {
        case VOL_UNKNOWN:
            unclear = unclear || held(&v->lock);
            continue;
        case VOL_ACTIVE:
            if (c->p->n_acts < VM_PLAN_ACTS_MAX) {
                vmp_act(c, ACT_DEACTIVATE, v->name, why);
            }
            continue;
        case VOL_ABSENT:
        case VOL_INACTIVE:
            continue;
        }
        CHECK_UNREACHABLE();
    }
    if (c->p->n_acts > 0) {
        return true;
    }
    if (unclear) {
        vmp_look(c, "a volume was not observed lately, so its lock is kept");
    }
    return unclear;
}

void vmp_clean_up(struct vmp *c, const char *why)
{
    if (deactivate(c, why)) {
        return;
    }
    if (!vmp_holds(c) && !locks_unclear(c)) {
        return;
    }
    if (c->env->inc != VM_INC_LIVE) {
        vmp_block(c, c->env->now_ms + 1000,
                  "its locks cannot be released before this host has a lease again");
        return;
    }
    if (locks_unclear(c)) {
        vmp_act(c, ACT_READ_LOCKS, c->want->name, "the outcome of a release is not known");
        return;
    }
    vmp_act(c, ACT_RELEASE, c->want->name, why);
}

static bool vol_needs_lock(const struct vm_vol *v)
{
    return v->wanted && v->exclusive;
}

static bool confirmed(const struct vmp *c, const struct vm_lock *l)
{
    return l->state == VM_LOCK_MINE && l->confirmed_ms != 0 &&
           l->confirmed_ms + c->env->token_max_age_ms >= c->env->now_ms;
}

static bool all_confirmed(const struct vmp *c)
{
    if (!confirmed(c, &c->have->lock)) {
        return false;
    }
    for (size_t i = 0; i < c->have->n_vols; i++) {
        if (vol_needs_lock(&c->have->vols[i]) && !confirmed(c, &c->have->vols[i].lock)) {
            return false;
        }
    }
    return true;
}

static const char *lease_why(struct vmp *c)
{
    switch (c->env->inc) {
    case VM_INC_UNKNOWN:
        return "this host has no lease yet";
    case VM_INC_LOST:
        return "the lease of this host is lost";
    case VM_INC_LIVE:
        return "lease too short to start a guest";
    }
    CHECK_UNREACHABLE();
}

/* Back-off, lease and guard, in the order of what a person would ask first. */
static bool may_start(struct vmp *c)
{
    uint64_t not_before = vm_intent_backoff_ms(c->next);

    if (c->want->invalid != NULL) {
        vmp_block(c, 0, c->want->invalid);
        return false;
    }
    if (c->next->phase == VM_PHASE_RESTARTING && c->env->now_ms < not_before) {
        vmp_block(c, not_before,
                  arena_printf(c->a, "%s; it is started again %.1fs after that",
                               vmp_why_text(c, c->next->why),
                               (double)(not_before - c->next->restart_ms[c->next->n_restarts - 1]) /
                                   1000.0));
        return false;
    }
    if (!vm_lease_good(c->env)) {
        vmp_block(c, c->env->now_ms + 200, lease_why(c));
        return false;
    }
    if (!c->env->guarded) {
        vmp_block(c, c->env->now_ms + 200, c->env->guard_why);
        return false;
    }
    return true;
}

/* A volume that the spec no longer names, or that another vm here uses, stops the start. */
static bool volumes_free(struct vmp *c)
{
    for (size_t i = 0; i < c->have->n_vols; i++) {
        const struct vm_vol *v = &c->have->vols[i];

        if (v->wanted && v->exclusive && v->used_by != NULL) {
            vmp_block(
                c, c->env->now_ms + 1000,
                arena_printf(c->a, "volume %s is in use by %s on this host", v->name, v->used_by));
            return false;
        }
        if (!v->wanted &&
            (v->lock.state == VM_LOCK_MINE || (v->used_by == NULL && v->state == VOL_ACTIVE))) {
            vmp_clean_up(c, arena_printf(c->a, "the spec no longer names volume %s", v->name));
            return false;
        }
    }
    return true;
}

static bool create_or_activate(struct vmp *c, const struct vm_vol *v)
{
    const struct vm_env *e = c->env;

    switch (vol_now(c, v)) {
    case VOL_UNKNOWN:
        vmp_look(c, arena_printf(c->a, "volume %s was not observed lately", v->name));
        return false;
    case VOL_ABSENT:
        if (!v->creatable) {
            vmp_block(c, 0, arena_printf(c->a, "volume %s does not exist on this host", v->name));
            return false;
        }
        if (e->lease_until_ms < e->now_ms + e->effect_ms) {
            vmp_block(c, e->now_ms + 200,
                      arena_printf(c->a, "lease too short to create volume %s", v->name));
            return false;
        }
        vmp_act_until(c, ACT_CREATE_VOLUME, v->name, e->lease_until_ms - e->effect_ms,
                      "it does not exist yet");
        return false;
    case VOL_INACTIVE:
        vmp_act_until(c, ACT_ACTIVATE, v->name, e->lease_until_ms - e->margin_ms,
                      "the guest needs it");
        return c->p->n_acts < VM_PLAN_ACTS_MAX;
    case VOL_ACTIVE:
        return true;
    }
    CHECK_UNREACHABLE();
}

static bool volumes_ready(struct vmp *c)
{
    for (size_t i = 0; i < c->have->n_vols; i++) {
        if (c->have->vols[i].wanted && !create_or_activate(c, &c->have->vols[i])) {
            return false;
        }
    }
    return c->p->n_acts == 0;
}

static void start(struct vmp *c)
{
    const char *name = c->want->name;

    if (!may_start(c) || !volumes_free(c)) {
        return;
    }
    if (!all_confirmed(c)) {
        vmp_act_until(c, ACT_ACQUIRE, name, c->env->lease_until_ms - c->env->margin_ms,
                      c->have->lock.state == VM_LOCK_MINE
                          ? "its locks have to be confirmed before it starts"
                          : "it should run here and its locks are not ours");
        return;
    }
    if (!volumes_ready(c)) {
        return;
    }
    vmp_phase(c, VM_PHASE_STARTING, VM_WHY_NONE);
    c->next->since_ms = c->env->now_ms;
    vmp_act_until(c, ACT_START, name, c->env->lease_until_ms - c->env->margin_ms,
                  "it should run here, its locks are ours and its volumes are active");
}

static void start_report(struct vmp *c)
{
    const char *what = c->p->blocked_why != NULL ? c->p->blocked_why : c->have->last_error;

    if (c->have->lock.state != VM_LOCK_MINE) {
        vmp_report(c, "Absent", c->have->last_error != NULL ? "WaitingForLock" : "NotStarted",
                   c->have->last_error != NULL && c->p->blocked_why == NULL ? c->have->last_error
                                                                            : what);
        return;
    }
    vmp_report(c, "Starting",
               c->next->phase == VM_PHASE_RESTARTING ? vm_why_name(c->next->why)
               : c->p->blocked_why != NULL           ? "Blocked"
                                                     : "InProgress",
               what);
}

/* What is left to say about a vm that does not run here and shall not. */
static void off_report(struct vmp *c)
{
    const struct vm_want *w = c->want;
    bool ours = w->exists && w->assign != VM_ASSIGN_ELSEWHERE && w->assign != VM_ASSIGN_NONE;

    switch (c->next->latch) {
    case VM_LATCH_POWEROFF:
        c->p->report.halted = true;
        vmp_report(c, "Stopped", "GuestPoweroff",
                   "the guest powered itself off and stays off (ha.onGuestPoweroff: Stop); "
                   "`picket retry` starts it again");
        return;
    case VM_LATCH_GAVE_UP:
        /* Too many restarts: another host may try.  onCrash: Stop: none may. */
        c->p->report.halted = c->want->on_crash != VM_CRASH_RESTART;
        vmp_report(c, "Crashed",
                   c->next->why == VM_WHY_START_FAILED ? "StartFailed"
                   : c->p->report.halted               ? vm_why_name(c->next->why)
                                                       : "RestartLimit",
                   c->have->last_error != NULL
                       ? c->have->last_error
                       : "it ended too often on this host (ha.restartLimit, ha.onCrash); `picket "
                         "retry` tries again");
        return;
    case VM_LATCH_NONE:
        break;
    }
    if (vmp_holds(c)) {
        vmp_report(c, "Stopping", vm_why_name(c->next->why), "its locks are still held here");
    } else if (ours) {
        vmp_report(c, "Stopped", vm_why_name(c->next->why), vmp_why_text(c, c->next->why));
    }
}

static bool nothing_left(const struct vmp *c)
{
    if (c->p->n_acts != 0 || vmp_holds(c) || locks_unclear(c) || c->p->recheck_at_ms != 0) {
        return false;
    }
    return c->next->latch == VM_LATCH_NONE && c->want->mig.role == VM_MIG_NONE &&
           (!c->want->exists || c->want->assign == VM_ASSIGN_ELSEWHERE ||
            c->want->assign == VM_ASSIGN_NONE);
}

static void off(struct vmp *c)
{
    enum vm_why wish = vmp_stop_wish(c);
    const char *why = vmp_why_text(c, c->next->why);

    if (why[0] == '\0') {
        why = "it does not run here";
    }
    if (wish != VM_WHY_NONE && wish != VM_WHY_LEASE) {
        why = vmp_why_text(c, wish);
        if (c->next->phase != VM_PHASE_NONE && c->next->latch == VM_LATCH_NONE) {
            c->next->why = wish;
        }
    }
    if (c->next->phase != VM_PHASE_NONE) {
        vmp_phase(c, VM_PHASE_STOPPED, c->next->why);
    }
    vmp_clean_up(c, why);
    off_report(c);
    c->p->done = nothing_left(c);
}

/* What the absence means, given what we did last. */
static bool absence_explained(struct vmp *c)
{
    switch (c->next->phase) {
    case VM_PHASE_NONE:
    case VM_PHASE_STOPPED:
    case VM_PHASE_RESTARTING:
        return true;
    case VM_PHASE_RECEIVING: /* what came did not stay: like a start that failed */
        vmp_unwanted_end(c, VM_WHY_START_FAILED);
        return true;
    case VM_PHASE_SENDING:
        if (c->have->lock.state == VM_LOCK_MINE) {
            vmp_unwanted_end(c, VM_WHY_VANISHED);
        } else {
            vmp_phase(c, VM_PHASE_STOPPED, VM_WHY_MOVED);
        }
        return true;
    case VM_PHASE_STOPPING:
        vmp_phase(c, VM_PHASE_STOPPED, c->next->why);
        return true;
    case VM_PHASE_STARTING:
        if (c->have->seen_ms <= c->next->since_ms) {
            vmp_look(c, "it was started after the last observation");
            vmp_report(c, "Starting", "InProgress", "");
            return false;
        }
        vmp_unwanted_end(c, VM_WHY_START_FAILED);
        return true;
    case VM_PHASE_RUNNING:
        vmp_unwanted_end(c, VM_WHY_VANISHED);
        return true;
    }
    CHECK_UNREACHABLE();
}

/* Its storage does not come here: another host may reach it.  Not at once: paths and sessions come
 * back. */
static bool setup_hopeless(const struct vmp *c)
{
    return vmp_on(c) && c->have->setup_failures > vmp_limit(c) &&
           c->env->now_ms >= c->have->setup_since_ms + SETUP_MS;
}

void vmp_absent(struct vmp *c)
{
    if (!absence_explained(c)) {
        return;
    }
    if (!c->env->synced) {
        vmp_block(c, 0, "what should run here is not known yet");
        vmp_report(c, vmp_holds(c) ? "Absent" : NULL, "NotSynced", "");
        return;
    }
    if (c->want->exists && c->want->paused && !c->want->deleting) {
        vmp_block(c, 0, "reconciling is paused");
        vmp_report(c, "Absent", "Paused", "reconciling is paused (spec.paused)");
        return;
    }
    if (setup_hopeless(c)) {
        c->next->restarts_total++;
        vmp_latch(c, VM_LATCH_GAVE_UP, VM_WHY_START_FAILED);
    }
    if (!vmp_on(c)) {
        off(c);
        return;
    }
    if (c->next->phase == VM_PHASE_STOPPED) {
        vmp_phase(c, VM_PHASE_NONE, VM_WHY_NONE);
    }
    start(c);
    start_report(c);
}
