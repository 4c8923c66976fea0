#include "reconciler/vm_plan_priv.h"

#include "base/obj.h"
#include "base/str.h"

/* Both ends of a live migration (safety.md 2).
 *
 * Only the owner of the lock may let the guest run.  The source is suspended before the commit, the
 * target goes on only after it has read itself as the owner; the source goes on only when the abort
 * is committed, or the peer is gone.  While the outcome is not known both stay as they are.  What
 * an end has begun is in its intent (Sending, Receiving), so that an agent that was restarted asks
 * the lock what became of it; the end that dies is fenced like any other host. */

#define READ_MS 200U /* between two looks at the lock, while the other end has the word */
#define HINT_MS 10U  /* the same when somebody says that it has changed */

static const char *peer(const struct vmp *c)
{
    return c->want->mig.role == VM_MIG_NONE ? "the other host" : c->want->mig.peer;
}

static void mig_report(struct vmp *c, const char *phase, const char *message)
{
    c->p->report.mig_phase = phase;
    c->p->report.mig_message = message == NULL ? "" : message;
}

static void read_again(struct vmp *c, const char *why)
{
    const struct vm_lock *l = &c->have->lock;
    bool hint = c->want->mig.committed && l->state == VM_LOCK_PEER && !l->aborted;
    uint64_t next = l->read_ms + (hint ? HINT_MS : READ_MS);

    if (l->read_ms == 0 || c->env->now_ms >= next) {
        vmp_act(c, ACT_READ_LOCKS, c->want->name, why);
    } else {
        vmp_block(c, next, why);
    }
}

/* --- target ------------------------------------------------------------------------------------
 */

/* What came here is removed, then the slots are given back. */
static void give_back(struct vmp *c, const char *why)
{
    vmp_report(c, "Stopped", "MigrationAborted", why);
    mig_report(c, "Failed", c->have->mig_error != NULL ? c->have->mig_error : why);
    if (c->have->state != DOM_ABSENT) {
        vmp_act(c, ACT_DESTROY, c->want->name, why);
        return;
    }
    if (c->next->phase != VM_PHASE_STOPPED) {
        vmp_phase(c, VM_PHASE_STOPPED, VM_WHY_MOVED);
    }
    vmp_clean_up(c, why);
}

/* The lease and the guard that whatever comes in needs. */
static bool may_receive(struct vmp *c)
{
    if (vm_lease_good(c->env) && c->env->guarded) {
        return true;
    }
    vmp_block(c, c->env->now_ms + 200,
              vm_lease_good(c->env) ? c->env->guard_why : "lease too short to receive a guest");
    return false;
}

static bool volumes_active(struct vmp *c)
{
    for (size_t i = 0; i < c->have->n_vols; i++) {
        const struct vm_vol *v = &c->have->vols[i];

        if (!v->wanted) {
            continue;
        }
        if (!vmp_fresh(c, v->seen_ms) || v->state == VOL_UNKNOWN) {
            vmp_look(c, arena_printf(c->a, "volume %s was not observed lately", v->name));
            return false;
        }
        if (v->state != VOL_ACTIVE) {
            vmp_act_until(c, ACT_ACTIVATE, v->name, c->env->lease_until_ms - c->env->margin_ms,
                          "the guest that comes needs it");
            return false;
        }
    }
    return true;
}

static void receive(struct vmp *c)
{
    const char *why = arena_printf(c->a, "it comes from %s", peer(c));

    vmp_report(c, "Starting", "Receiving", why);
    mig_report(c, "Receiving", c->have->last_error);
    if (!may_receive(c) || !volumes_active(c)) {
        return;
    }
    if (c->next->phase != VM_PHASE_RECEIVING) {
        vmp_phase(c, VM_PHASE_RECEIVING, VM_WHY_NONE);
    }
    vmp_act_until(c, ACT_MIG_RECEIVE, c->want->name, c->env->lease_until_ms - c->env->margin_ms,
                  why);
}

/* Something is here and the source has the word: it commits or aborts, or it dies and is fenced. */
static void wait_for_word(struct vmp *c)
{
    vmp_report(c, "Starting", "Received", "it is here, paused, and waits for the commit");
    mig_report(c, c->have->mig_over ? "Failed" : "Received", c->have->mig_error);
    if (c->have->state == DOM_RUNNING && vmp_fresh(c, c->have->lock.read_ms)) {
        vmp_act(c, ACT_DESTROY, c->want->name,
                "it runs, and only the owner of its lock may run it");
        return;
    }
    read_again(c, "whether the source has committed");
}

/* In the peer slot: everything is the owner's word. */
static void target_peer(struct vmp *c)
{
    const struct vm_lock *l = &c->have->lock;
    bool absent = c->have->state == DOM_ABSENT;

    if (c->env->stop_on_loss && vm_lease_ending(c->env) && !absent) {
        vmp_report(c, "Starting", "LeaseEnd", "the lease of this host runs out");
        vmp_act(c, ACT_DESTROY, c->want->name, "the lease of this host runs out");
    } else if (l->aborted) {
        give_back(c, "the migration was aborted");
    } else if (l->ownerless) {
        give_back(c, "the source died before the commit");
    } else if (!absent) {
        wait_for_word(c);
    } else if (c->want->mig.role != VM_MIG_TARGET || c->want->mig.cancel || c->have->mig_over) {
        /* Nothing is whole here, so nothing can have been committed: it needs no abort. */
        give_back(c, c->have->mig_over ? "it could not be received" : "it comes no more");
    } else if (!vmp_fresh(c, l->read_ms)) {
        vmp_report(c, "Starting", "Receiving", "");
        mig_report(c, "Receiving", "");
        read_again(c, "whether the migration goes on");
    } else {
        receive(c);
    }
}

static void join(struct vmp *c)
{
    const char *why = arena_printf(c->a, "it comes from %s", peer(c));

    vmp_report(c, "Starting", "Joining", why);
    mig_report(c, "Joining", c->have->last_error);
    if (c->want->invalid != NULL) {
        vmp_block(c, 0, c->want->invalid);
    } else if (may_receive(c)) {
        vmp_act(c, ACT_MIG_JOIN, c->want->name, why);
    }
    if (c->p->blocked_why != NULL) {
        mig_report(c, "Joining", c->p->blocked_why);
    }
}

/* The owner now: the commit was read. */
static bool target_owner(struct vmp *c)
{
    bool paused = c->have->state == DOM_PAUSED;

    if (c->have->state == DOM_ABSENT || vmp_stop_wish(c) == VM_WHY_LEASE) {
        return false;
    }
    mig_report(c, "Committed", "");
    if (paused && c->want->run != VM_RUN_PAUSED) {
        vmp_report(c, "Starting", "Committed", "it is let run here now");
        if (!vm_lease_good(c->env)) {
            vmp_block(c, c->env->now_ms + 50, "lease too short to let the guest run on");
            return true;
        }
        vmp_act_until(c, ACT_UNPAUSE, c->want->name, c->env->lease_until_ms - c->env->margin_ms,
                      "the migration is committed");
        return true;
    }
    if (c->want->assign == VM_ASSIGN_HERE || c->want->mig.role != VM_MIG_TARGET) {
        return false;
    }
    /* The decision follows the lock in a moment: nobody stops it for the old one. */
    vmp_report(c, paused ? "Paused" : "Running", "Observed", "");
    mig_report(c, "Running", "");
    vmp_block(c, 0, "it has just come; who decides has not seen that yet");
    return true;
}

static bool comes(const struct vmp *c)
{
    const struct vm_mig *m = &c->want->mig;

    return m->role == VM_MIG_TARGET && !m->cancel && !m->committed && !c->have->mig_over;
}

/* As far as is known nobody owns it; that may be old. */
static bool target_free(struct vmp *c)
{
    if (c->have->state != DOM_ABSENT && c->next->phase == VM_PHASE_RECEIVING) {
        give_back(c, "nobody owns its lock any more");
        return true;
    }
    if (c->have->state != DOM_ABSENT || !comes(c)) {
        return false;
    }
    vmp_report(c, "Starting", "Joining", "");
    mig_report(c, "Joining", "nobody owns its lock");
    read_again(c, "who owns its lock");
    return true;
}

static bool target_other(struct vmp *c)
{

    if (c->have->state != DOM_ABSENT) {
        if (vmp_fresh(c, c->have->lock.read_ms)) {
            give_back(c, "its lock is another host's");
        } else {
            read_again(c, "whose its lock is");
            vmp_report(c, "Starting", "Receiving", "");
        }
        return true;
    }
    if (comes(c)) {
        join(c);
        return true;
    }
    if (c->next->phase == VM_PHASE_RECEIVING) {
        vmp_phase(c, VM_PHASE_STOPPED, VM_WHY_MOVED);
    }
    if (c->want->mig.role == VM_MIG_TARGET && c->have->mig_over) {
        mig_report(c, "Failed", c->have->mig_error);
    }
    return false;
}

static bool target(struct vmp *c)
{
    switch (c->have->lock.state) {
    case VM_LOCK_PEER:
        target_peer(c);
        return true;
    case VM_LOCK_MINE:
        mig_report(c, "Running", "");
        return c->next->phase == VM_PHASE_RECEIVING && target_owner(c);
    case VM_LOCK_UNKNOWN:
        vmp_report(c, "Starting", "Receiving", "");
        read_again(c, "whose its lock is");
        return true;
    case VM_LOCK_OTHER:
        return target_other(c);
    case VM_LOCK_FREE:
        return target_free(c);
    case VM_LOCK_QUARANTINED:
        if (c->have->state == DOM_ABSENT || c->next->phase != VM_PHASE_RECEIVING) {
            return false;
        }
        vmp_report(c, "Starting", "Quarantined",
                   "it came here, and who owns its lock is not known");
        read_again(c, "the quarantine may be over");
        return true;
    }
    CHECK_UNREACHABLE();
}

/* --- source ------------------------------------------------------------------------------------
 */

/* Suspended or running, the lock is ours: commit, or abort and go on. */
static bool source_sending(struct vmp *c)
{
    const struct vm_lock *l = &c->have->lock;
    const struct vm_mig *m = &c->want->mig;
    bool over = l->aborted || !l->peer_joined;
    bool paused = c->have->state == DOM_PAUSED;

    if (c->have->state == DOM_ABSENT) {
        return false; /* it ended by itself meanwhile */
    }
    vmp_report(c, "Running", "Migrating", arena_printf(c->a, "it goes to %s", peer(c)));
    mig_report(c, over ? "Failed" : "Sending", c->have->mig_error);
    if (paused && c->have->sent && !over && m->role == VM_MIG_SOURCE && !m->cancel &&
        !c->have->commit_refused) {
        mig_report(c, "Sent", "");
        vmp_act(c, ACT_MIG_COMMIT, c->want->name,
                arena_printf(c->a, "its memory is whole on %s", peer(c)));
        return true;
    }
    if (!over) {
        vmp_act(c, ACT_MIG_ABORT, c->want->name,
                paused && !c->have->sent ? "it is not known to be whole on the other host"
                : paused                 ? "the migration is given up"
                                         : "it could not be sent");
        return true;
    }
    if (paused && c->want->run != VM_RUN_PAUSED) {
        if (vm_lease_good(c->env)) {
            vmp_act_until(c, ACT_MIG_RESUME, c->want->name,
                          c->env->lease_until_ms - c->env->margin_ms, "the migration was aborted");
        } else {
            vmp_block(c, c->env->now_ms + 50, "lease too short to let the guest run on");
        }
        return true;
    }
    vmp_phase(c, VM_PHASE_RUNNING, VM_WHY_NONE);
    return false;
}

/* Committed: the other host runs it. */
static bool source_left(struct vmp *c)
{
    vmp_report(c, "Stopped", "Migrated", arena_printf(c->a, "it runs on %s now", peer(c)));
    mig_report(c, "Left", "");
    if (c->have->state != DOM_ABSENT) {
        vmp_act(c, ACT_DESTROY, c->want->name, "the migration is committed");
        return true;
    }
    vmp_clean_up(c, "the migration is committed");
    return true;
}

/* The lock is not ours in any way: it may have run elsewhere since it was suspended. */
static bool source_lost(struct vmp *c)
{
    if (c->have->state != DOM_PAUSED) {
        return false;
    }
    vmp_report(c, "Stopping", "MigrationLost",
               "it was suspended to be moved, and its lock is lost");
    if (c->have->lock.state == VM_LOCK_QUARANTINED || !vmp_fresh(c, c->have->lock.read_ms)) {
        read_again(c, "whose its lock is");
    } else {
        vmp_act(c, ACT_DESTROY, c->want->name, "it may have run elsewhere since it was suspended");
    }
    return true;
}

static bool source_began(struct vmp *c)
{
    switch (c->have->lock.state) {
    case VM_LOCK_UNKNOWN:
        vmp_report(c, "Running", "Migrating", "whose its lock is is not known yet");
        mig_report(c, "Sending", "");
        read_again(c, "whether the migration is committed");
        return true;
    case VM_LOCK_PEER:
        return source_left(c);
    case VM_LOCK_MINE:
        return vmp_stop_wish(c) != VM_WHY_LEASE && source_sending(c);
    case VM_LOCK_OTHER:
    case VM_LOCK_FREE:
    case VM_LOCK_QUARANTINED:
        return source_lost(c);
    }
    CHECK_UNREACHABLE();
}

static bool source_begin(struct vmp *c)
{
    const char *why = arena_printf(c->a, "it goes to %s", peer(c));

    vmp_phase(c, VM_PHASE_SENDING, VM_WHY_NONE);
    vmp_report(c, "Running", "Migrating", why);
    mig_report(c, "Sending", "");
    vmp_act_until(c, ACT_MIG_SEND, c->want->name, c->env->lease_until_ms - c->env->margin_ms, why);
    return true;
}

static bool source(struct vmp *c)
{
    const struct vm_lock *l = &c->have->lock;
    const struct vm_mig *m = &c->want->mig;

    if (c->next->phase == VM_PHASE_SENDING) {
        return source_began(c);
    }
    if (l->state == VM_LOCK_PEER) {
        return source_left(c); /* the record of the sending was lost */
    }
    if (c->have->state == DOM_ABSENT && m->committed) {
        mig_report(c, "Left", "");
    }
    if (c->have->state != DOM_RUNNING || l->state != VM_LOCK_MINE || c->want->paused ||
        vmp_stop_wish(c) != VM_WHY_NONE) {
        return false;
    }
    mig_report(c, c->have->mig_over || m->cancel ? "Failed" : "Ready", c->have->mig_error);
    if (!m->send && !m->cancel) {
        return false;
    }
    if (!vmp_fresh(c, l->read_ms) ||
        (m->send && !m->cancel && !c->have->mig_over && (!l->peer_joined || l->aborted))) {
        vmp_report(c, "Running", "Observed", "");
        read_again(c, "whether the target has joined");
        return true;
    }
    if (l->peer_joined && !l->aborted && (m->cancel || c->have->mig_over)) {
        vmp_report(c, "Running", "Observed", "");
        vmp_act(c, ACT_MIG_ABORT, c->want->name, "the migration is given up");
        return true;
    }
    return !m->cancel && !c->have->mig_over && !l->aborted && vm_lease_good(c->env) &&
           source_begin(c);
}

bool vmp_migration(struct vmp *c)
{
    enum vm_phase phase = c->next->phase;
    enum vm_mig_role role = c->want->mig.role;

    if (c->have->state != DOM_ABSENT && c->have->state != DOM_RUNNING &&
        c->have->state != DOM_PAUSED) {
        return false; /* it ended, or is being torn down */
    }
    if (!c->env->synced) {
        return false;
    }
    if (phase == VM_PHASE_SENDING || role == VM_MIG_SOURCE) {
        return source(c);
    }
    if (phase == VM_PHASE_RECEIVING || c->have->lock.state == VM_LOCK_PEER ||
        role == VM_MIG_TARGET) {
        return target(c);
    }
    return false;
}
