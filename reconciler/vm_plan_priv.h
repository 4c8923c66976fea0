#ifndef RECONCILER_VM_PLAN_PRIV_H
#define RECONCILER_VM_PLAN_PRIV_H

/* Shared by the files of the planner (vm_*plan.c) only.  Pure. */

#include "reconciler/vm_plan.h"

struct vmp {
    const struct vm_env *env;
    const struct vm_want *want;
    const struct vm_have *have;
    struct arena *a;
    struct vm_plan *p;
    struct vm_intent *next; /* &p->intent, starts as what was written last */
};

void vmp_act(struct vmp *c, enum act_kind kind, const char *object, const char *why);
/* As above, with a bound of its own on when it may begin. */
void vmp_act_until(struct vmp *c, enum act_kind kind, const char *object, uint64_t not_after_ms,
                   const char *why);
void vmp_block(struct vmp *c, uint64_t recheck_at_ms, const char *why);
void vmp_report(struct vmp *c, const char *state, const char *reason, const char *message);
void vmp_phase(struct vmp *c, enum vm_phase phase, enum vm_why why);
void vmp_look(struct vmp *c, const char *why);

bool vmp_fresh(const struct vmp *c, uint64_t seen_ms);
bool vmp_same_uid(const struct vmp *c);
/* Is the vm wanted here, apart from lease, guard and back-off? */
bool vmp_on(const struct vmp *c);
/* Why a running guest has to go, or VM_WHY_NONE. */
enum vm_why vmp_stop_wish(const struct vmp *c);
const char *vmp_why_text(struct vmp *c, enum vm_why why);
/* It ended though it should not have: count, then restart with back-off or give up. */
uint32_t vmp_limit(const struct vmp *c); /* so many failures are borne */
void vmp_unwanted_end(struct vmp *c, enum vm_why why);
void vmp_latch(struct vmp *c, enum vm_latch latch, enum vm_why why);

void vmp_running(struct vmp *c); /* DOM_RUNNING and DOM_PAUSED */
void vmp_stopped(struct vmp *c);
void vmp_absent(struct vmp *c);
/* Deactivate, then release, what is held though it is not needed. */
void vmp_clean_up(struct vmp *c, const char *why);
bool vmp_holds(const struct vmp *c);
/* Live migration, both ends; false: there is none, or it does not matter now. */
bool vmp_migration(struct vmp *c);

#endif
