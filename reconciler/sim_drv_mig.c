#include <stdlib.h>

#include "base/obj.h"
#include "base/str.h"
#include "reconciler/sim_drv_priv.h"

/* Live migration between two simulated hosts: they meet in what they share (struct sim_san).
 *
 * The source asks for the target until that waits for it, sends for a while, and is suspended in
 * the moment in which the guest is whole and paused on the target.  A connection that breaks leaves
 * the source running or suspended, as it happens; an agent that dies breaks its connection. */

#define PATIENCE_MS 30000U
#define RETRY_MS 100U

enum stage { MIG_WAIT = 0, MIG_SEND, MIG_OVER };

struct sim_move {
    struct sim_drv *target;
    struct sim_job *job;
};

static struct sim_move *move_of(const struct sim_drv *s, const char *migration)
{
    return migration == NULL ? NULL : map_get(&s->opts.san->moves, migration);
}

static bool reach(const struct sim_drv *s, const char *peer)
{
    return s->opts.reach == NULL || s->opts.reach(s->opts.ctx, peer);
}

static void poke(const struct sim_drv *s)
{
    if (s->opts.poke != NULL) {
        s->opts.poke(s->opts.ctx);
    }
}

/* The target's job ends now, well or not. */
static void end_target(struct sim_drv *s, const char *migration, bool whole)
{
    struct sim_move *v = move_of(s, migration);
    struct sim_drv *target;

    if (v == NULL) {
        return;
    }
    target = v->target;
    v->job->arrived = whole;
    v->job->at_ms = sim_now(target) + 1;
    (void)map_del(&s->opts.san->moves, migration);
    free(v);
    poke(target);
}

void sim_mig_submit(struct sim_drv *s, struct sim_job *j)
{
    struct sim_move *v;

    j->begin_ms = sim_now(s);
    if (j->op != DRV_MIG_RECEIVE || j->fault == SIM_FAULT_HANG || j->fault == SIM_FAULT_FAIL ||
        j->fault == SIM_FAULT_UNKNOWN_NOT || j->migration == NULL) {
        return;
    }
    v = OBJ_NEW(struct sim_move);
    v->target = s;
    v->job = j;
    free(map_put(&s->opts.san->moves, j->migration, v));
    j->at_ms = sim_now(s) + PATIENCE_MS;
}

bool sim_mig_goes_on(struct sim_drv *s, struct sim_job *j)
{
    const struct sim_move *v = move_of(s, j->migration);

    if (j->op != DRV_MIG_SUSPEND || j->aborted || j->job == NULL || j->fault == SIM_FAULT_FAIL ||
        j->fault == SIM_FAULT_UNKNOWN_NOT || j->stage != MIG_WAIT) {
        return false;
    }
    if (v != NULL && reach(s, j->peer)) {
        v->job->at_ms = UINT64_MAX; /* it is in the source's hands */
        j->stage = MIG_SEND;
        j->at_ms = sim_now(s) + 1 + s->opts.mig_ms / 2 +
                   (s->opts.mig_ms == 0 ? 0 : prng_below(&s->rng, s->opts.mig_ms));
        return true;
    }
    j->at_ms = sim_now(s) + RETRY_MS;
    return sim_now(s) < j->begin_ms + PATIENCE_MS;
}

static int suspend(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    struct sim_dom *d = sim_dom(s, j->vm);
    bool ready = j->stage == MIG_SEND;

    if (d->state != DOM_RUNNING) {
        return err_set(err, ERR_DRIVER, "domain %s does not run", j->vm);
    }
    if (!ready) {
        return err_set(err, ERR_DRIVER, "%s does not take the guest", j->peer);
    }
    j->stage = MIG_OVER;
    if (move_of(s, j->migration) == NULL || !reach(s, j->peer)) {
        end_target(s, j->migration, false);
        if (prng_below(&s->rng, 2) == 0) {
            return err_set(err, ERR_DRIVER, "the connection with %s broke", j->peer);
        }
        d->state = DOM_PAUSED;
        d->suspended = true;
        sim_emit_domain(s, j->vm);
        return err_set(err, ERR_UNKNOWN_OUTCOME, "the connection with %s broke", j->peer);
    }
    d->state = DOM_PAUSED;
    d->suspended = true;
    j->suspended_ms = sim_now(s);
    end_target(s, j->migration, true);
    return 0;
}

static int receive(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    struct sim_dom *d = sim_dom(s, j->vm);

    if (!j->arrived) {
        return err_set(err, ERR_DRIVER, "%s did not come with the guest", j->peer);
    }
    if (d->state != DOM_ABSENT) {
        return err_set(err, ERR_DRIVER, "domain %s exists", j->vm);
    }
    sim_dom_make(s, j, DOM_PAUSED);
    return 0;
}

static int resume(struct sim_drv *s, const struct sim_job *j, struct err *err)
{
    struct sim_dom *d = sim_dom(s, j->vm);

    if (d->state != DOM_RUNNING && !(d->state == DOM_PAUSED && d->suspended)) {
        return err_set(err, ERR_DRIVER, "domain %s is not suspended", j->vm);
    }
    d->state = DOM_RUNNING;
    d->suspended = false;
    return 0;
}

int sim_mig_perform(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    if (j->op == DRV_MIG_SUSPEND) {
        return suspend(s, j, err);
    }
    return j->op == DRV_MIG_RECEIVE ? receive(s, j, err) : resume(s, j, err);
}

/* The agent died: what its threads did breaks off. */
void sim_mig_orphan(struct sim_drv *s, struct sim_job *j)
{
    struct sim_dom *d;

    if (j->op == DRV_MIG_SUSPEND && j->stage == MIG_SEND) {
        end_target(s, j->migration, false);
        d = sim_dom(s, j->vm);
        if (d->state == DOM_RUNNING && prng_below(&s->rng, 2) == 0) {
            d->state = DOM_PAUSED;
            d->suspended = true;
        }
    } else if (j->op == DRV_MIG_RECEIVE && j->at_ms == UINT64_MAX && !j->arrived &&
               sim_dom(s, j->vm)->state == DOM_ABSENT && prng_below(&s->rng, 2) == 0) {
        sim_dom_make(s, j, DOM_STOPPED); /* half of it */
        sim_dom(s, j->vm)->reason = DOM_REASON_VANISHED;
    }
    sim_mig_forget(s, j);
    j->stage = MIG_OVER;
    j->fault = SIM_FAULT_UNKNOWN_NOT;
}

/* The job ends: nobody may find it any more. */
void sim_mig_forget(struct sim_drv *s, const struct sim_job *j)
{
    struct sim_move *v = move_of(s, j->migration);

    if (v == NULL) {
        return;
    }
    if (j->op == DRV_MIG_RECEIVE && v->job == j) {
        (void)map_del(&s->opts.san->moves, j->migration);
        free(v);
    } else if (j->op == DRV_MIG_SUSPEND && j->stage == MIG_SEND) {
        end_target(s, j->migration, false);
    }
}
