/* A live Migration from Preparing to its end: a state machine over the lock and the reports of the
 * two agents.  It gives up by the phase Canceling; who commits or aborts is the source alone. */

#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_mig.h"

#define JOIN_MS 20000U /* a target that says for so long why it cannot join is given up */
#define LEFT_MS 10000U /* the source has so long to say how long the guest stood still */

struct ends {
    const char *source, *target;
    uint64_t source_inc, target_inc;
    const struct s_lock *lock;
    uint64_t owner, peer;    /* incarnations, 0: none */
    const json_t *from, *to; /* what they report of this migration, or NULL */
    const json_t *to_report; /* the target's whole report, or NULL */
};

/* A report on the machine by this life of the host. */
static const json_t *report_of(const struct mig *m, const char *host, uint64_t inc)
{
    const json_t *r = ctl_report(m->p->c, host, "virtualmachines", m->vm_obj->name);

    return (uint64_t)jget_int(r, "incarnation", 0) == inc ? r : NULL;
}

static const json_t *about_this(const struct mig *m, const json_t *report)
{
    const json_t *j = json_object_get(report, "migration");

    return str_eq(jget_str(j, "uid", ""), jget_str(m->o->json, "metadata.uid", "?")) ? j : NULL;
}

static void ends_make(const struct mig *m, struct ends *e)
{
    const json_t *st = json_object_get(m->o->json, "status");

    *e = (struct ends){
        .source = jget_str(st, "source", ""),
        .target = jget_str(st, "target", ""),
        .source_inc = (uint64_t)jget_int(st, "sourceIncarnation", 0),
        .target_inc = (uint64_t)jget_int(st, "targetIncarnation", 0),
        .lock = pass_lock(m->p, "virtualmachines", m->vm_obj->name),
    };
    e->owner = e->lock == NULL ? 0 : e->lock->owner.incarnation;
    e->peer = e->lock == NULL ? 0 : e->lock->peer.incarnation;
    e->to_report = report_of(m, e->target, e->target_inc);
    e->from = about_this(m, report_of(m, e->source, e->source_inc));
    e->to = about_this(m, e->to_report);
}

/* --- after the commit --------------------------------------------------------------------------
 */

static void succeeded(struct mig *m, const struct ends *e)
{
    int64_t still = jget_int(e->from, "stillMs", 0), resume = jget_int(e->to, "resumeMs", 0);

    if (still != 0 && resume != 0) {
        jset(m->next, "status.downtimeMs", json_integer(still + resume));
        mig_end(m, "Succeeded", "Moved",
                arena_printf(&m->p->a, "runs on the target; it stood still for %lld ms",
                             (long long)(still + resume)));
    } else {
        mig_end(m, "Succeeded", "Moved", "runs on the target");
    }
}

static void committed(struct mig *m, const struct ends *e)
{
    bool runs = str_eq(jget_str(e->to_report, "state", ""), "Running");
    bool told = jget_int(e->from, "stillMs", 0) != 0 && jget_int(e->to, "resumeMs", 0) != 0;

    if (!str_eq(jget_str(m->next, "status.phase", ""), "Committing")) {
        mig_phase(m, "Committing", arena_printf(&m->p->a, "%s owns it now", e->target));
    }
    if (runs && ((told && e->peer == 0) || !pass_host_ready(m->p, e->source) ||
                 mig_phase_age_ms(m) > LEFT_MS)) {
        succeeded(m, e);
    }
    pass_recheck(m->p, m->p->now_ms + LEFT_MS);
}

/* --- giving up ---------------------------------------------------------------------------------
 */

static void cancel(struct mig *m, const char *outcome, const char *reason, const char *message)
{
    jset(m->next, "status.outcome", json_string(outcome));
    jset(m->next, "status.reason", json_string(reason));
    mig_phase(m, "Canceling", message);
}

/* Its agent was at it when it spoke last; it aborts, or has it go on, when it hears of the end. */
static bool source_busy(const struct ends *e)
{
    return str_eq(jget_str(e->from, "phase", ""), "Sending");
}

/* Called back: over when nobody is in the peer slot any more, and the source has ended its part:
 * else its abort would meet the next migration. */
static void canceling(struct mig *m, const struct ends *e)
{
    const char *outcome = jget_str(m->o->json, "status.outcome", "Failed");
    const char *reason = jget_str(m->o->json, "status.reason", "");
    const char *message = jget_str(m->o->json, "status.message", "");

    if (e->peer != 0 || source_busy(e)) {
        return;
    }
    if (str_eq(outcome, "Cold")) {
        mig_cold(m, message);
    } else {
        mig_end(m, outcome, reason, message);
    }
}

/* What an end says it failed with; NULL: nothing. */
static const char *failure(const struct ends *e)
{
    if (str_eq(jget_str(e->from, "phase", ""), "Failed")) {
        return jget_str(e->from, "message", "");
    }
    return str_eq(jget_str(e->to, "phase", ""), "Failed") ? jget_str(e->to, "message", "") : NULL;
}

static void failed(struct mig *m, const struct ends *e, const char *why)
{
    const char *text = *why == 0 ? "an agent gave it up" : why;
    bool both = str_eq(jget_str(e->from, "phase", ""), "Failed") &&
                str_eq(jget_str(e->to, "phase", ""), "Failed") &&
                *jget_str(e->to, "message", "") != 0;

    if (both) {
        text =
            arena_printf(&m->p->a, "%s; %s: %s", text, e->target, jget_str(e->to, "message", ""));
    }
    cancel(m, "Failed", "TransferFailed", text);
}

static uint64_t limit_of(const struct mig *m)
{
    uint64_t of_vm = jget_duration(m->vm_obj->json, "spec.migration.timeout", 600000);
    uint64_t own = jget_duration(m->o->json, "spec.timeout", 600000);

    return own < of_vm ? own : of_vm;
}

static void timed_out(struct mig *m)
{
    bool cold = str_eq(jget_str(m->o->json, "spec.onTimeout", "Cancel"), "Cold");

    cancel(m, cold ? "Cold" : "Failed", "Timeout", "timeout");
}

/* --- before the commit -------------------------------------------------------------------------
 */

static uint64_t started_ms(const struct mig *m)
{
    uint64_t at = 0;

    for (size_t i = 0; i < json_array_size(jget(m->o->json, "status.journal")); i++) {
        const json_t *j = json_array_get(jget(m->o->json, "status.journal"), i);

        if (str_eq(jget_str(j, "phase", ""), "Preparing")) {
            (void)str_parse_time(jget_str(j, "time", ""), &at);
        }
    }
    return at;
}

static bool target_lost(const struct mig *m, const struct ends *e)
{
    const struct s_inc *inc = pass_inc(m->p, e->target);

    return inc == NULL || inc->number != e->target_inc || !pass_host_ready(m->p, e->target);
}

static void preparing(struct mig *m, const struct ends *e)
{
    const char *why = jget_str(e->to, "message", "");

    if (e->peer == e->target_inc) {
        mig_phase(m, "Running",
                  arena_printf(&m->p->a, "its memory goes from %s to %s", e->source, e->target));
    } else if (mig_phase_age_ms(m) > JOIN_MS) {
        cancel(m, "Failed", "TargetNotReady",
               *why != 0 ? why
                         : arena_printf(&m->p->a, "%s has not joined within %u s", e->target,
                                        JOIN_MS / 1000));
    } else {
        pass_recheck(m->p, m->p->now_ms + JOIN_MS);
    }
}

static void under_way(struct mig *m, const struct ends *e)
{
    const char *why = failure(e);
    uint64_t limit = limit_of(m), age = m->p->wall_ms - started_ms(m);

    if (!m->s->vms[m->vm].wanted) {
        cancel(m, "Canceled", "NotWanted", "the machine shall not run any more");
    } else if (target_lost(m, e)) {
        cancel(m, "Failed", "HostNotReady", "the target is not ready any more");
    } else if (why != NULL) {
        failed(m, e, why);
    } else if (age > limit) {
        timed_out(m);
    } else if (str_eq(jget_str(m->o->json, "status.phase", ""), "Preparing")) {
        preparing(m, e);
    } else if (e->peer == 0) {
        cancel(m, "Failed", "TargetGone", "the target has left the migration");
    }
    if (age <= limit) {
        pass_recheck(m->p, m->p->now_ms + (limit - age) + 1);
    }
}

void mig_live_watch(struct mig *m)
{
    bool given_up = str_eq(jget_str(m->o->json, "status.phase", ""), "Canceling");
    bool was_committed = str_eq(jget_str(m->o->json, "status.phase", ""), "Committing");
    struct ends e;

    ends_make(m, &e);
    if (e.owner != 0 && e.owner == e.target_inc) {
        committed(m, &e);
    } else if (was_committed) {
        mig_end(m, "Failed", "TargetLost",
                "the target was lost after it had become the owner: it is started anew");
    } else if (e.owner == 0 || e.owner != e.source_inc) {
        mig_end(m, "Failed", "SourceLost", "the source is not its host any more");
    } else if (given_up) {
        canceling(m, &e);
    } else {
        under_way(m, &e);
    }
}
