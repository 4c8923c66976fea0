#include "reconciler/vm_plan_priv.h"

#include "base/obj.h"
#include "base/str.h"

/* Guests that run: keep, adopt, stop.  And what is left of guests that ended by themselves. */

#define QUARANTINE_READ_MS 2000U

static const char *seconds_left(struct vmp *c, uint64_t until_ms)
{
    uint64_t now = c->env->now_ms;

    return arena_printf(c->a, "%.1fs", until_ms > now ? (double)(until_ms - now) / 1000.0 : 0.0);
}

/* Stop in what is left of the lease: politely first, for sure in the end. */
static void stop_for_lease(struct vmp *c)
{
    const struct vm_env *e = c->env;
    uint64_t until = e->lease_until_ms;
    uint64_t destroy_at = until > e->destroy_ms ? until - e->destroy_ms : 0;
    bool paused = c->have->state == DOM_PAUSED;

    vmp_report(c, "Stopping", vm_why_name(VM_WHY_LEASE),
               "the lease of this host runs out without an acknowledgement");
    if (e->now_ms >= destroy_at || paused) {
        vmp_phase(c, VM_PHASE_STOPPING, VM_WHY_LEASE);
        vmp_act(c, ACT_DESTROY, c->want->name,
                arena_printf(c->a, "the lease ends in %s", seconds_left(c, until)));
        return;
    }
    if (c->next->phase != VM_PHASE_STOPPING) {
        vmp_phase(c, VM_PHASE_STOPPING, VM_WHY_LEASE);
        vmp_act_until(c, ACT_SHUTDOWN, c->want->name, destroy_at,
                      e->inc == VM_INC_LOST
                          ? "the lease of this host is lost"
                          : "half of the lease went by without an acknowledgement");
        c->p->recheck_at_ms = destroy_at;
        return;
    }
    vmp_block(c, destroy_at, "waiting for the guest to shut down before the lease ends");
}

/* Stop because it is not wanted here: shut down, after the timeout destroy. */
static void stop(struct vmp *c, enum vm_why why)
{
    uint64_t destroy_at;

    vmp_report(c, "Stopping", vm_why_name(why), vmp_why_text(c, why));
    if (c->next->phase != VM_PHASE_STOPPING && c->have->state == DOM_PAUSED) {
        vmp_act(c, ACT_UNPAUSE, c->want->name, "only a running guest can shut down");
        return;
    }
    if (c->next->phase != VM_PHASE_STOPPING) {
        vmp_phase(c, VM_PHASE_STOPPING, why);
        vmp_act(c, ACT_SHUTDOWN, c->want->name, vmp_why_text(c, why));
        return;
    }
    c->next->why = why;
    destroy_at = c->next->since_ms + c->want->shutdown_timeout_ms;
    if (c->env->now_ms >= destroy_at) {
        vmp_act(c, ACT_DESTROY, c->want->name,
                arena_printf(c->a, "it did not shut down within %llus",
                             (unsigned long long)(c->want->shutdown_timeout_ms / 1000)));
        return;
    }
    vmp_block(c, destroy_at,
              arena_printf(c->a, "waiting for the guest to shut down, %s left",
                           seconds_left(c, destroy_at)));
}

static void running_foreign(struct vmp *c)
{
    const char *holder = c->have->lock.holder == NULL ? "another host" : c->have->lock.holder;

    vmp_report(c, "Stopping", "DuplicateRunning",
               arena_printf(c->a, "it runs here though %s owns its lock", holder));
    if (!vmp_fresh(c, c->have->lock.confirmed_ms)) {
        vmp_act(c, ACT_READ_LOCKS, c->want->name, "the owner of the lock was not read lately");
        return;
    }
    vmp_phase(c, VM_PHASE_STOPPING, VM_WHY_FOREIGN);
    vmp_act(c, ACT_DESTROY, c->want->name,
            arena_printf(c->a, "%s owns its lock, so it must not run here", holder));
}

static const char *run_name(const struct vmp *c)
{
    return c->have->state == DOM_PAUSED ? "Paused" : "Running";
}

/* It runs here and its lock is not ours: take it if it is free, else ask, else say so. */
static void running_without_lock(struct vmp *c)
{
    const struct vm_lock *l = &c->have->lock;

    switch (l->state) {
    case VM_LOCK_UNKNOWN:
        vmp_report(c, run_name(c), "LockUnknown", "it runs here; who owns its lock is not known");
        vmp_act(c, ACT_READ_LOCKS, c->want->name, "it runs here and its lock was not read");
        return;
    case VM_LOCK_FREE:
        vmp_report(c, run_name(c), "WithoutLock",
                   "it runs here and nobody owns its lock; this host takes it");
        if (c->env->inc != VM_INC_LIVE) {
            vmp_block(c, c->env->now_ms + 1000, "no lease to adopt the running guest with");
            return;
        }
        vmp_act(c, ACT_ACQUIRE, c->want->name, "it runs here and nobody owns its lock");
        return;
    case VM_LOCK_QUARANTINED:
        vmp_report(c, run_name(c), "Quarantined",
                   "it runs here and its lock is quarantined until the inventory is complete");
        if (c->env->now_ms >= l->confirmed_ms + QUARANTINE_READ_MS) {
            vmp_act(c, ACT_READ_LOCKS, c->want->name, "the quarantine may be over");
            return;
        }
        vmp_block(c, l->confirmed_ms + QUARANTINE_READ_MS, "its lock is quarantined");
        return;
    case VM_LOCK_OTHER:
    case VM_LOCK_PEER:
        running_foreign(c);
        return;
    case VM_LOCK_MINE:
        break;
    }
    CHECK_UNREACHABLE();
}

/* A running guest that has not what the spec says, as far as it can be changed. */
static void adjust(struct vmp *c)
{
    const struct vm_want *w = c->want;
    const struct vm_have *h = c->have;
    bool memory = h->memory_target_bytes != 0 && w->memory_bytes != 0 &&
                  h->memory_target_bytes != w->memory_bytes;
    bool vcpus = h->vcpus != 0 && w->vcpus != 0 && h->vcpus != w->vcpus;

    if (h->adjusted || (!memory && !vcpus)) {
        return;
    }
    vmp_act(c, ACT_ADJUST, w->name,
            memory && vcpus ? "spec.memory and spec.vcpus were changed"
            : memory        ? "spec.memory was changed"
                            : "spec.vcpus was changed");
}

/* A volume that the spec has made larger.  What fails is tried again and takes nothing from the
 * guest; a lease that is too short comes back. */
static void grow(struct vmp *c)
{
    const struct vm_env *e = c->env;

    if (c->want->mig.role != VM_MIG_NONE) {
        return; /* the other end has loaded the old size, and would keep it */
    }
    for (size_t i = 0; i < c->have->n_vols && c->p->n_acts == 0; i++) {
        const struct vm_vol *v = &c->have->vols[i];

        if (v->wanted && v->exclusive && v->lock.state == VM_LOCK_MINE && v->state == VOL_ACTIVE &&
            v->size_bytes != 0 && v->size_bytes < v->want_bytes && vm_lease_good(e) &&
            e->lease_until_ms >= e->now_ms + e->effect_ms) {
            vmp_act_until(c, ACT_GROW_VOLUME, v->name, e->lease_until_ms - e->effect_ms,
                          "its spec.size is larger");
            if (c->have->grow_failed) {
                vmp_report(c, run_name(c), "VolumeNotGrown", c->have->last_error);
            }
        }
    }
}

static void keep_running(struct vmp *c)
{
    bool paused = c->have->state == DOM_PAUSED;
    uint64_t until = c->next->since_ms + c->want->shutdown_timeout_ms;

    if (c->next->phase == VM_PHASE_STOPPING && c->env->now_ms < until) {
        /* It was told to go and will; its end must not count as its own. */
        vmp_report(c, "Stopping", vm_why_name(c->next->why),
                   "it was told to shut down and is started again afterwards");
        vmp_block(c, until, "waiting for the guest to shut down before it is started again");
        return;
    }
    if (c->next->phase != VM_PHASE_RUNNING) {
        vmp_phase(c, VM_PHASE_RUNNING, VM_WHY_NONE);
    }
    vmp_report(c, run_name(c), "Observed", "");
    if (c->want->paused) {
        vmp_block(c, 0, "reconciling is paused");
        return;
    }
    if (!paused && c->want->run == VM_RUN_PAUSED) {
        vmp_act(c, ACT_PAUSE, c->want->name, "spec.runPolicy is Paused");
    }
    if (paused && c->want->run == VM_RUN_RUNNING) {
        if (!vm_lease_good(c->env)) {
            vmp_block(c, c->env->now_ms + 1000, "lease too short to let the guest run on");
            return;
        }
        vmp_act_until(c, ACT_UNPAUSE, c->want->name, c->env->lease_until_ms - c->env->margin_ms,
                      "spec.runPolicy is Running");
    }
    if (!paused && c->want->run == VM_RUN_RUNNING) {
        adjust(c);
        grow(c);
    }
}

void vmp_running(struct vmp *c)
{
    enum vm_why why = vmp_stop_wish(c);

    if (why == VM_WHY_LEASE) {
        stop_for_lease(c);
        return;
    }
    if (!c->env->synced) {
        vmp_report(c, run_name(c), "Observed", "");
        vmp_block(c, 0, "what should run here is not known yet");
        return;
    }
    if (!c->want->exists || !vmp_same_uid(c)) {
        vmp_report(c, run_name(c), "Orphan",
                   c->want->exists ? "a guest of an earlier object of this name runs here; end it "
                                     "on the host, or rename the new object"
                                   : "a guest without a VirtualMachine object runs here; create "
                                     "the object, or end the guest on the host");
        vmp_block(c, 0, "it does not belong to an object, so it is left alone");
        return;
    }
    if (c->have->lock.state != VM_LOCK_MINE) {
        running_without_lock(c);
        return;
    }
    if (why != VM_WHY_NONE) {
        stop(c, why);
        return;
    }
    keep_running(c);
}

static void remove_record(struct vmp *c, const char *state, const char *why)
{
    vmp_report(c, state, vm_why_name(c->next->why), vmp_why_text(c, c->next->why));
    vmp_act(c, ACT_DESTROY, c->want->name, why);
}

static void crashed(struct vmp *c, enum vm_why why)
{
    if (c->want->on_crash == VM_CRASH_PRESERVE) {
        vmp_report(c, "Crashed", "Preserved",
                   "the guest crashed and its domain is kept (ha.onCrash: Preserve); set "
                   "spec.runPolicy to Stopped to remove it");
        vmp_block(c, 0, "the crashed domain is preserved");
        return;
    }
    vmp_unwanted_end(c, why);
    if (c->next->latch == VM_LATCH_GAVE_UP) {
        remove_record(c, "Crashed", "it crashed and is not restarted here");
        return;
    }
    remove_record(c, "Starting", "it crashed and is restarted");
}

static void powered_off(struct vmp *c)
{
    if (c->want->restart_on_poweroff) {
        vmp_phase(c, VM_PHASE_RESTARTING, VM_WHY_POWEROFF);
        remove_record(c, "Starting", "the guest powered itself off (ha.onGuestPoweroff: Restart)");
        return;
    }
    vmp_latch(c, VM_LATCH_POWEROFF, VM_WHY_POWEROFF);
    remove_record(c, "Stopped", "the guest powered itself off (ha.onGuestPoweroff: Stop)");
}

/* The guest ended by itself: decide by its reason what happens next. */
static void ended(struct vmp *c)
{
    switch (c->have->reason) {
    case DOM_REASON_REBOOT:
        vmp_phase(c, VM_PHASE_RESTARTING, VM_WHY_REBOOT);
        remove_record(c, "Starting", "the guest rebooted and is started again");
        return;
    case DOM_REASON_SHUTDOWN:
    case DOM_REASON_POWEROFF:
        powered_off(c);
        return;
    case DOM_REASON_CRASH:
        crashed(c, VM_WHY_CRASH);
        return;
    case DOM_REASON_NONE:
    case DOM_REASON_VANISHED:
        crashed(c, VM_WHY_VANISHED);
        return;
    }
    CHECK_UNREACHABLE();
}

void vmp_stopped(struct vmp *c)
{
    enum vm_phase phase = c->next->phase;
    enum vm_why wish = vmp_stop_wish(c);

    if (c->env->synced && (!c->want->exists || !vmp_same_uid(c))) {
        vmp_phase(c, VM_PHASE_STOPPING, VM_WHY_DELETED);
        remove_record(c, "Stopping", "the record of a guest without an object");
        return;
    }
    if (phase == VM_PHASE_STOPPING || phase == VM_PHASE_RESTARTING) {
        remove_record(c, phase == VM_PHASE_STOPPING ? "Stopping" : "Starting",
                      "the guest has ended");
        return;
    }
    if (!c->env->synced || c->want->paused) {
        vmp_report(c, "Stopped", dom_reason_name(c->have->reason), c->have->detail);
        vmp_block(c, 0,
                  c->env->synced ? "reconciling is paused"
                                 : "what should run here is not known yet");
        return;
    }
    if (wish != VM_WHY_NONE && wish != VM_WHY_LEASE) {
        vmp_phase(c, VM_PHASE_STOPPING, wish);
        remove_record(c, "Stopping", vmp_why_text(c, wish));
        return;
    }
    ended(c);
}
