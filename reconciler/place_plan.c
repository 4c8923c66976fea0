#include <string.h>

#include "base/obj.h"
#include "reconciler/place_priv.h"

/* The pass over all virtual machines (reconciler/place.h, docs/placement.md). */

/* Arguments are formatted only when somebody will read them. */
#define SAY(c, ...) ((c)->quiet ? "" : arena_printf((c)->a, __VA_ARGS__))

static const char *host_name(const struct place_ctx *c, uint32_t rank)
{
    return c->hosts[rank].h->name;
}

static uint32_t host_id(const struct place_ctx *c, uint32_t rank)
{
    return rank == PLACE_NONE ? PLACE_NONE : c->hosts[rank].id;
}

static struct place_result *result_of(struct place_ctx *c, const struct place_vx *x)
{
    return &c->out[x - c->vms];
}

/* Record the outcome. */
static void settle(struct place_ctx *c, struct place_vx *x, uint32_t rank, enum place_reason reason,
                   const char *message)
{
    struct place_result *r = result_of(c, x);

    r->host = host_id(c, rank);
    r->target = PLACE_NONE;
    r->action = PLACE_NOTHING;
    r->reason = reason;
    r->message = message;
}

/* It is and stays at `rank`, where its memory is counted already (at the peer of a migration too).
 */
static void stay(struct place_ctx *c, struct place_vx *x, uint32_t rank, enum place_reason reason,
                 const char *message)
{
    place_present(c, x, rank, x->peer, rank);
    place_mark_decided(c, x);
    settle(c, x, rank, reason, message);
}

static void settle_move(struct place_ctx *c, struct place_vx *x, uint32_t target,
                        enum place_reason reason, const char *message)
{
    place_present(c, x, x->current, target, target);
    place_mark_decided(c, x);
    settle(c, x, x->current, reason, message);
    result_of(c, x)->action = PLACE_MIGRATE;
    result_of(c, x)->target = host_id(c, target);
    c->n_moves++;
}

/* One rejection a host, for those that found none; `except` is where it is now. */
static const char *explain(struct place_ctx *c, const struct place_vx *x, uint32_t except,
                           enum place_reason *ret_reason)
{
    struct place_result *out = result_of(c, x);
    struct place_reject *list;
    size_t n = 0;

    if (c->quiet) {
        *ret_reason = PLACE_NO_CAPACITY;
        return "";
    }
    list = ARENA_ARRAY(c->a, struct place_reject, c->n_hosts);
    for (uint32_t r = 0; r < c->n_hosts; r++) {
        struct place_reject *p = &list[n];

        if (r == except) {
            continue;
        }
        n++;
        if (!place_reject(c, x, r, p)) { /* alone it would fit, with its group not */
            p->reason = PLACE_R_GROUP;
        }
    }
    out->rejects = list;
    out->n_rejects = n;
    return place_summary(c, list, n, ret_reason);
}

/* ---- what is held somewhere ---- */

static bool has_company(const struct place_ctx *c, const struct place_vx *x)
{
    for (uint32_t i = 0; x->dynamic && i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];

        if (r->common != NULL && (r->todo.memory > 0 || r->todo.vcpus > 0)) {
            return true;
        }
    }
    return false;
}

static bool find_target(struct place_ctx *c, const struct place_vx *x, struct place_pick *ret)
{
    struct place_ask ask = { .except = x->current };

    ask.group = c->hosts[x->current].state == PLACE_HOST_MAINTENANCE && has_company(c, x);
    return x->v->migratable && place_choose(c, x, &ask, ret);
}

/* It should leave for `reason`; `why` is the first half of the message. */
static void leave(struct place_ctx *c, struct place_vx *x, enum place_reason reason,
                  const char *why)
{
    enum place_reason unused;
    struct place_pick p;

    if (find_target(c, x, &p)) {
        place_charge(c, x, p.rank);
        settle_move(c, x, p.rank, reason,
                    SAY(c, "%s; %s is %s", why, host_name(c, p.rank), place_pick_text(c, &p)));
        return;
    }
    if (reason == PLACE_PREEMPTED) {
        place_present(c, x, x->current, PLACE_NONE, PLACE_NONE);
        settle(c, x, PLACE_NONE, reason, why);
        result_of(c, x)->action = PLACE_STOP;
        return;
    }
    if (!x->v->migratable) {
        stay(c, x, x->current, reason,
             SAY(c, "%s, but it cannot migrate live: stop it or move it cold", why));
        return;
    }
    stay(c, x, x->current, reason,
         SAY(c, "%s, but has nowhere to go: %s", why, explain(c, x, x->current, &unused)));
}

static bool may_fail_back(const struct place_ctx *c, const struct place_vx *x)
{
    if (!x->prefers || !x->v->migratable) {
        return false;
    }
    switch (x->v->failback) {
    case PLACE_FAILBACK_NEVER:
        return false;
    case PLACE_FAILBACK_WHEN_IDLE:
        return c->in->policy.idle && c->n_moves == 0;
    case PLACE_FAILBACK_ALWAYS:
        return true;
    default:
        CHECK_UNREACHABLE();
    }
}

/* Moving for a preference comes last: the room goes to those first that have none. */
static void fail_back(struct place_ctx *c, struct place_vx *x)
{
    struct place_ask ask = { .except = x->current, .better = true };
    struct place_pick p;

    place_unmark_decided(c, x);
    place_absent(c, x);
    ask.prefer = place_prefer(c, x, x->current);
    if (!place_choose(c, x, &ask, &p)) {
        stay(c, x, x->current, PLACE_KEPT, "runs there");
        return;
    }
    place_charge(c, x, p.rank);
    settle_move(c, x, p.rank, PLACE_FAILBACK,
                SAY(c, "preferred rules favour %s (%lld) over %s (%lld)", host_name(c, p.rank),
                    (long long)p.prefer, host_name(c, x->current), (long long)ask.prefer));
}

static void decide_held(struct place_ctx *c, struct place_vx *x)
{
    const struct place_hx *h = &c->hosts[x->current];
    struct place_reject why;

    if (x->preemptor != PLACE_NONE) {
        leave(c, x, PLACE_PREEMPTED,
              SAY(c, "%s (priority %lld) needs its room", c->in->vms[x->preemptor].name,
                  (long long)c->in->vms[x->preemptor].priority));
    } else if (h->state == PLACE_HOST_MAINTENANCE) {
        leave(c, x, PLACE_DRAINED,
              SAY(c, "%s is in maintenance%s%s", h->h->name, h->h->why == NULL ? "" : ": ",
                  h->h->why == NULL ? "" : h->h->why));
    } else if (place_violates(c, x, x->current, &why)) {
        char text[256];

        place_reject_text(c->in, (uint32_t)(x - c->vms), &why, text, sizeof(text));
        leave(c, x, PLACE_RULE_VIOLATED, SAY(c, "%s: %s", h->h->name, text));
    } else {
        stay(c, x, x->current, PLACE_KEPT, "runs there");
    }
}

static void wait_for_fencing(struct place_ctx *c, struct place_vx *x)
{
    const struct place_host *h = c->hosts[x->current].h;

    stay(c, x, x->current, PLACE_WAITING_FOR_FENCING,
         SAY(c, "%s holds its lock and has to be fenced first%s%s", h->name,
             h->why == NULL ? "" : ": ", h->why == NULL ? "" : h->why));
}

/* Decided by somebody else than placement; false when it is ours. */
static bool decide_bound(struct place_ctx *c, struct place_vx *x)
{
    const struct place_vm *v = x->v;
    bool here = x->held && x->current != PLACE_NONE;
    bool live = here && c->hosts[x->current].state != PLACE_HOST_SUSPECT &&
                c->hosts[x->current].state != PLACE_HOST_DOWN;

    if (x->held && !here) {
        settle(c, x, PLACE_NONE, PLACE_QUARANTINED,
               "its lock is quarantined: report every host, fence it or confirm it off");
    } else if (!v->wanted) {
        if (here) {
            place_present(c, x, x->current, x->peer, PLACE_NONE);
        }
        settle(c, x, PLACE_NONE, PLACE_NOT_WANTED, here ? "stops" : "shall not run");
    } else if (here && !live) {
        wait_for_fencing(c, x);
    } else if (v->hold) {
        if (here) {
            stay(c, x, x->current, PLACE_HELD, "paused: left as it is");
        } else {
            settle(c, x, x->current, PLACE_HELD, "paused: left as it is");
        }
    } else if (x->peer != PLACE_NONE) {
        place_present(c, x, x->current, x->peer, x->peer);
        place_mark_decided(c, x);
        settle(c, x, x->current, PLACE_MIGRATING, "a migration is under way");
        result_of(c, x)->target = host_id(c, x->peer);
    } else {
        return false;
    }
    return true;
}

/* ---- what is nowhere ---- */

static bool wait_for_vm(struct place_ctx *c, struct place_vx *x)
{
    const struct place_vm *v = x->v;

    for (size_t i = 0; i < v->n_after; i++) {
        const struct place_after *d = &v->after[i];
        if (d->vm == PLACE_NONE) {
            settle(c, x, PLACE_NONE, PLACE_WAITING_FOR_VM,
                   SAY(c, "startAfter: there is no virtual machine \"%s\"", d->name));
            return true;
        }
        if (c->ignore_after ? c->vms[d->vm].held : d->satisfied) {
            continue;
        }
        if (x->cycle != 0 && c->vms[d->vm].cycle == x->cycle && !c->vms[d->vm].held) {
            settle(c, x, PLACE_NONE, PLACE_DEPENDENCY_CYCLE,
                   SAY(c, "startAfter leads in a circle: %s", c->cycles[x->cycle - 1]));
            return true;
        }
        if (!c->ignore_after) {
            settle(c, x, PLACE_NONE, PLACE_WAITING_FOR_VM,
                   SAY(c, "startAfter: %s is not %s yet", c->in->vms[d->vm].name,
                       d->ready ? "Ready" : "Running"));
            return true;
        }
    }
    return false;
}

static void take(struct place_ctx *c, struct place_vx *x, uint32_t rank, enum place_reason reason,
                 const char *message)
{
    place_charge(c, x, rank);
    stay(c, x, rank, reason, message);
}

/* Assigned before and not started yet: no reason to change that. */
static bool keep_assignment(struct place_ctx *c, struct place_vx *x)
{
    struct place_reject unused;

    if (x->current == PLACE_NONE) {
        return false;
    }
    c->steps++;
    if (place_reject(c, x, x->current, &unused)) {
        return false;
    }
    take(c, x, x->current, PLACE_KEPT, "assigned there before");
    return true;
}

static bool bound_to_lost_host(const struct place_ctx *c, const struct place_vx *x)
{
    const struct place_hx *h;

    if (x->v->ha != PLACE_HA_NEVER || x->current == PLACE_NONE) {
        return false;
    }
    h = &c->hosts[x->current];
    return h->failed || h->state == PLACE_HOST_SUSPECT || h->state == PLACE_HOST_DOWN;
}

static void make_room(struct place_ctx *c, struct place_vx *x)
{
    enum place_reason reason;
    const char *why;
    uint32_t rank;

    if (place_preempt(c, x, &rank, &why)) {
        place_present(c, x, rank, PLACE_NONE, rank);
        place_mark_decided(c, x);
        settle(c, x, PLACE_NONE, PLACE_WAITING_FOR_PREEMPTION, why);
        result_of(c, x)->target = host_id(c, rank);
        return;
    }
    why = explain(c, x, PLACE_NONE, &reason);
    settle(c, x, PLACE_NONE, reason, why);
}

static void decide_new(struct place_ctx *c, struct place_vx *x)
{
    const struct place_ask any = { .except = PLACE_NONE };
    struct place_pick p;

    if (bound_to_lost_host(c, x)) {
        settle(c, x, x->current, PLACE_WAITING_FOR_HOST,
               SAY(c, "ha.policy is Never: it waits for %s", host_name(c, x->current)));
    } else if (wait_for_vm(c, x) || keep_assignment(c, x)) {
        return;
    } else if (place_choose(c, x, &any, &p)) {
        take(c, x, p.rank, PLACE_ASSIGNED,
             SAY(c, "%s is %s", host_name(c, p.rank), place_pick_text(c, &p)));
    } else {
        make_room(c, x);
    }
}

void place_one(struct place_ctx *c, uint32_t vm)
{
    struct place_vx *x = &c->vms[vm];

    c->out[vm] = (struct place_result){ .host = PLACE_NONE, .target = PLACE_NONE };
    if (x->held) {
        place_absent(c, x);
    }
    place_todo(c, x, false);
    if (decide_bound(c, x)) {
        return;
    }
    if (x->held) {
        decide_held(c, x);
    } else {
        decide_new(c, x);
    }
}

void place_run(struct place_ctx *c)
{
    for (uint32_t i = 0; i < c->n_vms; i++) {
        place_one(c, c->order[i]);
    }
    for (uint32_t i = 0; i < c->n_vms && !c->quiet;
         i++) { /* it changes nothing about who is left */
        struct place_vx *x = &c->vms[c->order[i]];

        if (x->held && result_of(c, x)->reason == PLACE_KEPT && may_fail_back(c, x)) {
            fail_back(c, x);
        }
    }
}

/* ---- the plan ---- */

static void add_load(struct place_load *l, uint32_t host, const struct place_vm *v)
{
    if (host != PLACE_NONE) {
        l[host].memory += v->memory;
        l[host].vcpus += v->vcpus;
    }
}

static void sum_up(const struct place_ctx *c, struct place_plan *ret)
{
    struct place_load *before = ARENA_ARRAY(c->a, struct place_load, c->n_hosts);
    struct place_load *after = ARENA_ARRAY(c->a, struct place_load, c->n_hosts);
    struct place_load *used = ARENA_ARRAY(c->a, struct place_load, c->n_hosts);

    for (uint32_t i = 0; i < c->n_vms; i++) {
        const struct place_vm *v = &c->in->vms[i];
        const struct place_result *r = &c->out[i];
        bool counts =
            r->reason != PLACE_WAITING_FOR_HOST && (c->vms[i].held || r->reason != PLACE_HELD);

        if (v->held) {
            add_load(before, v->current, v);
        }
        if (v->wanted) {
            ret->n_assigned += r->host != PLACE_NONE;
            ret->n_unplaced += r->host == PLACE_NONE;
        }
        ret->n_moves += r->action == PLACE_MIGRATE;
        ret->n_stops += r->action == PLACE_STOP;
        if (counts) {
            add_load(after, r->target != PLACE_NONE ? r->target : r->host, v);
        }
    }
    for (uint32_t r = 0; r < c->n_hosts; r++) {
        used[c->hosts[r].id] = c->hosts[r].used;
    }
    ret->before = before;
    ret->after = after;
    ret->used = used;
}

static void make_plan(struct place_ctx *c, struct place_plan *ret)
{
    *ret = (struct place_plan){ .in = c->in };
    place_run(c);
    ret->vms = c->out;
    ret->order = c->order;
    ret->host_order = c->host_order;
    sum_up(c, ret);
}

void place_decide(const struct place_input *in, struct arena *a, struct place_plan *ret)
{
    struct place_ctx c;

    place_index(&c, in, a);
    place_reset(&c, NULL, 0, false);
    make_plan(&c, ret);
}

void place_fail_plan(const struct place_input *in, const uint32_t *failed, size_t n_failed,
                     struct arena *a, struct place_plan *ret)
{
    uint32_t *ranks = ARENA_ARRAY(a, uint32_t, n_failed);
    bool *marks = ARENA_ARRAY(a, bool, in->n_hosts);
    struct place_ctx c;

    place_index(&c, in, a);
    for (size_t i = 0; i < n_failed; i++) {
        CHECK(failed[i] < in->n_hosts);
        ranks[i] = c.rank_of[failed[i]];
        marks[failed[i]] = true;
    }
    c.ignore_after = true;
    place_reset(&c, ranks, n_failed, false);
    make_plan(&c, ret);
    ret->failed = marks;
}
