#include "reconciler/vm_plan.h"

#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "reconciler/vm_plan_priv.h"

/* The order of the questions:
 *
 *   1. Do we know what is?  No: look, and nothing else.
 *   2. Does safety end the guest (lease, another owner)?  That needs neither a lease nor a wish.
 *   3. Do we know what should be?  No: wait.
 *   4. By state of the domain: running (vm_stop_plan.c), stopped by itself, absent
 *      (vm_start_plan.c): one step towards the wish.
 */

void vmp_act_until(struct vmp *c, enum act_kind kind, const char *object, uint64_t not_after_ms,
                   const char *why)
{
    CHECK(c->p->n_acts < VM_PLAN_ACTS_MAX);
    c->p->acts[c->p->n_acts++] = (struct act){
        .kind = kind,
        .object = object,
        .generation = c->want->generation,
        .not_after_ms = not_after_ms,
        .why = why,
    };
}

void vmp_act(struct vmp *c, enum act_kind kind, const char *object, const char *why)
{
    vmp_act_until(c, kind, object, c->env->now_ms + c->env->step_ms, why);
}

void vmp_block(struct vmp *c, uint64_t recheck_at_ms, const char *why)
{
    c->p->blocked_why = why;
    c->p->recheck_at_ms = recheck_at_ms;
}

void vmp_report(struct vmp *c, const char *state, const char *reason, const char *message)
{
    c->p->report.state = state;
    c->p->report.reason = reason;
    c->p->report.message = message == NULL ? "" : message;
}

void vmp_phase(struct vmp *c, enum vm_phase phase, enum vm_why why)
{
    if (c->next->phase != phase) {
        c->next->since_ms = c->env->now_ms;
    }
    c->next->phase = phase;
    c->next->why = why;
}

void vmp_look(struct vmp *c, const char *why)
{
    if (c->env->now_ms < c->have->look_after_ms) {
        vmp_block(c, c->have->look_after_ms, why);
        return;
    }
    vmp_act(c, ACT_LOOK, c->want->name, why);
}

bool vmp_fresh(const struct vmp *c, uint64_t seen_ms)
{
    return seen_ms != 0 && seen_ms + c->env->obs_max_age_ms >= c->env->now_ms;
}

bool vmp_same_uid(const struct vmp *c)
{
    const char *uid = c->have->uid;

    return uid == NULL || uid[0] == '\0' || str_eq(uid, c->want->uid);
}

bool vm_lease_ending(const struct vm_env *env)
{
    if (env->inc == VM_INC_LOST) {
        return true;
    }
    return env->lease_until_ms != 0 && env->now_ms >= env->lease_half_ms;
}

bool vm_lease_good(const struct vm_env *env)
{
    if (env->inc != VM_INC_LIVE || (env->stop_on_loss && vm_lease_ending(env))) {
        return false;
    }
    return env->lease_until_ms >= env->now_ms + env->margin_ms;
}

bool vmp_on(const struct vmp *c)
{
    const struct vm_want *w = c->want;

    return c->env->synced && w->exists && !w->deleting && w->run != VM_RUN_STOPPED &&
           w->assign == VM_ASSIGN_HERE && c->next->latch == VM_LATCH_NONE;
}

enum vm_why vmp_stop_wish(const struct vmp *c)
{
    const struct vm_want *w = c->want;

    if (c->env->stop_on_loss && vm_lease_ending(c->env)) {
        return VM_WHY_LEASE;
    }
    if (!c->env->synced || !w->exists || w->paused) {
        return VM_WHY_NONE;
    }
    if (w->deleting) {
        return VM_WHY_DELETED;
    }
    if (w->run == VM_RUN_STOPPED) {
        return VM_WHY_POLICY;
    }
    if (w->assign == VM_ASSIGN_ELSEWHERE || w->assign == VM_ASSIGN_NOWHERE) {
        return VM_WHY_MOVED;
    }
    return VM_WHY_NONE;
}

const char *vmp_why_text(struct vmp *c, enum vm_why why)
{
    switch (why) {
    case VM_WHY_NONE:
        return "";
    case VM_WHY_POLICY:
        return "spec.runPolicy is Stopped";
    case VM_WHY_MOVED:
        if (c->want->assign != VM_ASSIGN_ELSEWHERE || c->want->assigned_to == NULL) {
            return "it is assigned to no host";
        }
        return arena_printf(c->a, "it is assigned to %s", c->want->assigned_to);
    case VM_WHY_DELETED:
        return "it is being deleted";
    case VM_WHY_LEASE:
        return "the lease of this host runs out";
    case VM_WHY_FOREIGN:
        return "another host owns its lock";
    case VM_WHY_POWEROFF:
        return "the guest powered itself off";
    case VM_WHY_REBOOT:
        return "the guest rebooted";
    case VM_WHY_CRASH:
        return "the guest crashed";
    case VM_WHY_VANISHED:
        return "the domain vanished";
    case VM_WHY_START_FAILED:
        return "the start failed";
    }
    CHECK_UNREACHABLE();
}

void vmp_latch(struct vmp *c, enum vm_latch latch, enum vm_why why)
{
    c->next->latch = latch;
    c->next->latch_generation = c->want->generation;
    vmp_phase(c, VM_PHASE_STOPPING, why);
}

static void forget_old_ends(struct vmp *c)
{
    struct vm_intent *i = c->next;
    uint32_t n = 0;

    for (uint32_t k = 0; k < i->n_restarts; k++) {
        if (i->restart_ms[k] + c->want->restart_window_ms >= c->env->now_ms) {
            i->restart_ms[n++] = i->restart_ms[k];
        }
    }
    for (uint32_t k = n; k < VM_RESTARTS_MAX; k++) {
        i->restart_ms[k] = 0;
    }
    i->n_restarts = n;
}

uint32_t vmp_limit(const struct vmp *c)
{
    uint32_t limit = c->want->restart_count;

    return limit < VM_RESTARTS_MAX ? limit : VM_RESTARTS_MAX - 1;
}

void vmp_unwanted_end(struct vmp *c, enum vm_why why)
{
    struct vm_intent *i = c->next;
    uint32_t limit = vmp_limit(c);

    forget_old_ends(c);
    if (c->want->on_crash != VM_CRASH_RESTART && why != VM_WHY_START_FAILED) {
        vmp_latch(c, VM_LATCH_GAVE_UP, why);
        return;
    }
    CHECK(i->n_restarts < VM_RESTARTS_MAX);
    i->restart_ms[i->n_restarts++] = c->env->now_ms;
    i->restarts_total++;
    if (i->n_restarts > limit) {
        vmp_latch(c, VM_LATCH_GAVE_UP, why);
        return;
    }
    vmp_phase(c, VM_PHASE_RESTARTING, why);
    i->since_ms = c->env->now_ms;
}

/* A latch holds for one generation of the spec, and until the vm is somebody else's; where it may
 * be tried again also until it is nobody's: who decides has taken note (status.avoid), and may come
 * back to this host when there is no better one. */
static bool latch_holds(const struct vmp *c)
{
    const struct vm_want *w = c->want;
    bool once_more = c->next->latch == VM_LATCH_GAVE_UP && w->on_crash == VM_CRASH_RESTART;

    return w->exists && w->run != VM_RUN_STOPPED && w->assign != VM_ASSIGN_ELSEWHERE &&
           !(once_more && w->assign == VM_ASSIGN_NOWHERE) &&
           w->generation == c->next->latch_generation;
}

static void drop_latch(struct vmp *c)
{
    if (c->next->latch == VM_LATCH_NONE || !c->env->synced || latch_holds(c)) {
        return;
    }
    c->next->latch = VM_LATCH_NONE;
    c->next->latch_generation = 0;
    c->next->n_restarts = 0;
    for (uint32_t k = 0; k < VM_RESTARTS_MAX; k++) {
        c->next->restart_ms[k] = 0;
    }
}

static void vmp_unknown(struct vmp *c)
{
    vmp_report(c, "Unknown", "NotObserved",
               c->have->state == DOM_UNKNOWN ? "the state of the domain is not known"
                                             : "the last observation of the domain is too old");
    vmp_look(c, "the domain was not observed lately");
    if (c->p->n_acts == 0) {
        return;
    }
    c->p->blocked_why = "observation missing or stale";
}

static void vmp_dying(struct vmp *c)
{
    vmp_report(c, "Stopping", "DomainDying",
               "the hypervisor is tearing the domain down; its devices may still be in use");
    vmp_block(c, c->env->now_ms + 1000, "the domain is dying");
}

static void by_state(struct vmp *c)
{
    switch (c->have->state) {
    case DOM_UNKNOWN:
        vmp_unknown(c);
        return;
    case DOM_RUNNING:
    case DOM_PAUSED:
        vmp_running(c);
        return;
    case DOM_DYING:
        vmp_dying(c);
        return;
    case DOM_STOPPED:
        vmp_stopped(c);
        return;
    case DOM_ABSENT:
        vmp_absent(c);
        return;
    }
    CHECK_UNREACHABLE();
}

void vm_plan(const struct vm_env *env, const struct vm_want *want, const struct vm_have *have,
             const struct vm_intent *intent, struct arena *a, struct vm_plan *ret)
{
    struct vmp c = { env, want, have, a, ret, &ret->intent };

    CHECK(want->name != NULL);
    memset(ret, 0, sizeof(*ret));
    ret->intent = *intent;
    drop_latch(&c);
    if (!vmp_fresh(&c, have->seen_ms)) {
        vmp_unknown(&c);
    } else if (!vmp_migration(&c)) {
        by_state(&c);
    }
    if (ret->report.state == NULL && ret->report.mig_phase != NULL) {
        vmp_report(&c, "Stopped", "Migrated", "");
    }
    ret->report.active = have->state != DOM_ABSENT;
    ret->set_intent = !vm_intent_equal(intent, &ret->intent);
    CHECK(!ret->done || ret->n_acts == 0);
}
