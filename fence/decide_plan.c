#include "fence/decide_plan.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_priv.h"

/* The story of one host, in the order of its states:
 *
 *   Live     lease held: nothing.  Lease over: MARK_LOST, once this leader has given everybody one
 * full lease, and not in the grace after a cold start. Lost     it asks again: REPRIEVE.  It
 * rebooted: PROOF.  It holds nothing: leave it alone. Otherwise FENCE_OPEN, if nothing speaks
 * against it (decide_open_plan.c). Fencing  attempts, vetoes, waits and the proof
 * (decide_step_plan.c). Fenced   switched on again, where the policy says so.
 *
 * A leader that suspects its own host decides nothing any more and hands leadership over. */

struct decide_item *decide_add(struct decide_run *r, enum decide_kind kind,
                               const struct decide_host *h, const char *reason, const char *why)
{
    struct decide_item *it;

    CHECK(reason != NULL);
    CHECK(why != NULL);
    if (r->n_items == r->cap) {
        size_t cap = r->cap == 0 ? 16 : 2 * r->cap;
        struct decide_item *items = ARENA_ARRAY(r->a, struct decide_item, cap);

        if (r->n_items > 0) {
            memcpy(items, r->items, r->n_items * sizeof(*items));
        }
        r->items = items;
        r->cap = cap;
    }
    it = &r->items[r->n_items++];
    it->kind = kind;
    it->host = h->name;
    it->incarnation = h->incarnation;
    if (h->fencing != NULL) {
        it->fencing = h->fencing->id;
        it->attempt = h->fencing->attempt;
    }
    it->reason = reason;
    it->why = why;
    return it;
}

void decide_recheck(struct decide_run *r, uint64_t at_ms)
{
    if (at_ms <= r->f->now_ms) {
        at_ms = r->f->now_ms + 1;
    }
    if (r->recheck_ms == 0 || at_ms < r->recheck_ms) {
        r->recheck_ms = at_ms;
    }
}

void decide_cond_set(struct decide_cond *c, const char *ready, const char *reason,
                     const char *message)
{
    c->ready = ready;
    c->reason = reason;
    c->message = message;
}

const char *decide_ms(struct arena *a, uint64_t ms)
{
    return arena_printf(a, "%" PRIu64 ".%" PRIu64 "s", ms / 1000, ms % 1000 / 100);
}

const struct decide_host *decide_find_host(const struct decide_facts *f, const char *name)
{
    for (size_t i = 0; i < f->n_hosts; i++) {
        if (str_eq(f->hosts[i].name, name)) {
            return &f->hosts[i];
        }
    }
    return NULL;
}

/* A new leader starts every lease in full after its barrier, whatever it was told before. */
uint64_t decide_lease_until(const struct decide_facts *f, const struct decide_host *h)
{
    uint64_t lease_ms = h->terms.lease_ms > f->lease_ms ? h->terms.lease_ms : f->lease_ms;
    uint64_t granted_ms = f->leader_since_ms + lease_ms + f->drift_ms;

    return h->lease_until_ms > granted_ms ? h->lease_until_ms : granted_ms;
}

bool decide_has_lease(const struct decide_facts *f, const struct decide_host *h)
{
    return h->state == DECIDE_INC_LIVE && f->now_ms <= decide_lease_until(f, h);
}

/* Facts may be a moment newer than `now`. */
uint64_t decide_age(const struct decide_facts *f, uint64_t at_ms)
{
    return f->now_ms > at_ms ? f->now_ms - at_ms : 0;
}

static uint64_t life_fresh_ms(const struct decide_facts *f)
{
    return f->life_fresh_ms != 0 ? f->life_fresh_ms : 2 * f->heartbeat_ms;
}

bool decide_asks(const struct decide_facts *f, const struct decide_host *h)
{
    return h->asked_ms != 0 && decide_age(f, h->asked_ms) <= life_fresh_ms(f);
}

bool decide_slot_fresh(const struct decide_facts *f, const struct decide_host *h)
{
    return h->slot_ms != 0 && decide_age(f, h->slot_ms) <= f->slot_stale_ms;
}

static bool life_fresh(const struct decide_facts *f, const struct decide_host *h)
{
    return h->life_ms != 0 && decide_age(f, h->life_ms) <= life_fresh_ms(f);
}

const char *decide_evidence(struct decide_run *r, const struct decide_host *h)
{
    const struct decide_facts *f = r->f;
    const char *slot = "no storage slot";

    if (h->slot_ms != 0) {
        slot =
            decide_slot_fresh(f, h) ? "its storage slot still moves" : "its storage slot is silent";
    }
    return arena_printf(r->a, "%" PRIu32 " of %" PRIu32 " links answer, %s", h->links_up, h->links,
                        slot);
}

const char *decide_confirm_veto(const struct decide_facts *f, const struct decide_host *h,
                                struct arena *a)
{
    if (h->conflict) {
        return "two live sessions use this host's identity: find out which machine is which first";
    }
    if (decide_slot_fresh(f, h)) {
        return arena_printf(a, "its storage slot was written %s ago: the host is not off",
                            decide_ms(a, decide_age(f, h->slot_ms)));
    }
    if (life_fresh(f, h)) {
        return arena_printf(a, "it gave a sign of life %s ago: the host is not off",
                            decide_ms(a, decide_age(f, h->life_ms)));
    }
    return NULL;
}

/* The registration itself is the proof (the store gives it, safety.md 4): nothing to do but to let
 * the agent try again, and above all not to cut the power of a host that has just come back. */
void decide_rebooted(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const char *why = "the same host came back with a newer boot: its registration is the proof";

    (void)decide_add(r, DECIDE_WAIT, h, "Rebooted", why);
    decide_cond_set(c, "Unknown", "Rebooted", why);
}

static void lease_held(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    if (h->conflict) { /* the store refuses it every lock */
        decide_cond_set(
            c, "False", "IdentityConflict",
            arena_printf(r->a,
                         "another machine asked to be %s: what runs there goes on, nothing starts "
                         "there; find the copy, switch it off and remove its certificate, then "
                         "picket clear-conflict %s",
                         h->name, h->name));
        return;
    }
    decide_cond_set(c, "True", "LeaseHeld",
                    h->links_up < h->links ? decide_evidence(r, h) : "its lease is renewed");
}

static void plan_live(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_facts *f = r->f;
    uint64_t until_ms = decide_lease_until(f, h);
    uint64_t grace_until_ms;
    const char *why;

    if (h->rebooted) {
        why = "the host itself reports a newer boot";
        (void)decide_add(r, DECIDE_MARK_LOST, h, "Rebooted", why);
        decide_cond_set(c, "Unknown", "Rebooted", why);
        return;
    }
    if (f->now_ms <= until_ms) {
        decide_recheck(r, until_ms + 1);
        lease_held(r, h, c);
        return;
    }
    if (decide_in_grace(f, &grace_until_ms)) {
        decide_recheck(r, grace_until_ms);
        decide_cond_set(c, "Unknown", "StartupGrace",
                        arena_printf(r->a, "no renewal yet; after %s hosts have another %s to come",
                                     f->returned ? "longer than a lease without a leader"
                                                 : "the cold start of the whole cluster",
                                     decide_ms(r->a, grace_until_ms - f->now_ms)));
        return;
    }
    why = arena_printf(r->a, "no renewal, lease over for %s; %s",
                       decide_ms(r->a, f->now_ms - until_ms), decide_evidence(r, h));
    (void)decide_add(r, DECIDE_MARK_LOST, h, "LeaseLost", why);
    decide_cond_set(c, "Unknown", "LeaseLost", why);
}

static void plan_lost(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const char *why;

    if (h->conflict) {
        why =
            "two live sessions use this host's identity: no proof can be given and nothing starts "
            "there; find the copy and remove its certificate";
        (void)decide_add(r, DECIDE_HOLD, h, "IdentityConflict", why);
        decide_cond_set(c, "False", "IdentityConflict", why);
        return;
    }
    if (h->rebooted) {
        decide_rebooted(r, h, c);
        return;
    }
    if (decide_asks(r->f, h)) {
        why = "it asks for its lease again, and no fencing was opened";
        (void)decide_add(r, DECIDE_REPRIEVE, h, "Reprieved", why);
        decide_cond_set(c, "Unknown", "Reprieved", why);
        return;
    }
    if (h->n_locks == 0) {
        decide_cond_set(c, "Unknown", "LeaseLost",
                        arena_printf(r->a,
                                     "lost; %s; it holds no locks, so it is not fenced, and it is "
                                     "back as soon as its agent renews or registers",
                                     decide_evidence(r, h)));
        return;
    }
    decide_open(r, h, c);
}

static void plan_fenced(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    const struct decide_candidate *ex;
    const char *why = NULL;

    decide_cond_set(c, "False", "Fenced",
                    arena_printf(r->a,
                                 "incarnation %" PRIu64 " was fenced (%s); the host is back once "
                                 "it has booted again and its agent registers",
                                 h->incarnation, decide_proof_name(h->fenced_by)));
    if (!r->f->policy.reboot || h->fenced_by != DECIDE_PROOF_OFF || h->powered_on ||
        h->fenced_level >= h->n_levels) {
        return;
    }
    ex = decide_executor(r, h, &h->levels[h->fenced_level], NULL, &why);
    if (ex != NULL) {
        struct decide_item *it = decide_add(r, DECIDE_POWER_ON, h, "PowerOn",
                                            "fenced, and spec.fencing.action is Reboot");

        it->level = h->fenced_level;
        it->executor = ex->name;
    }
}

static void plan_host(struct decide_run *r, const struct decide_host *h, struct decide_cond *c)
{
    decide_fencing_ready(r, h, c);
    switch (h->state) {
    case DECIDE_INC_NONE:
        decide_cond_set(c, "Unknown", "NeverRegistered",
                        "no agent of this host has registered; start picket-agent there");
        return;
    case DECIDE_INC_LIVE:
        plan_live(r, h, c);
        return;
    case DECIDE_INC_LOST:
        plan_lost(r, h, c);
        return;
    case DECIDE_INC_FENCING:
        decide_fencing_step(r, h, c);
        return;
    case DECIDE_INC_FENCED:
        plan_fenced(r, h, c);
        return;
    }
    CHECK_UNREACHABLE();
}

/* --- the leader's own host ---------------------------------------------------------------------
 */

static bool self_suspect(const struct decide_facts *f, const struct decide_host *self)
{
    uint64_t grace_until_ms;

    if (self == NULL) {
        return false; /* a witness */
    }
    switch (self->state) {
    case DECIDE_INC_NONE:
    case DECIDE_INC_FENCED: /* of an earlier boot: this picketd runs in a later one */
        return false;
    case DECIDE_INC_LIVE:
        return !self->rebooted && !decide_has_lease(f, self) &&
               !decide_in_grace(f, &grace_until_ms);
    case DECIDE_INC_LOST:
    case DECIDE_INC_FENCING:
        return !decide_asks(f, self) && !self->rebooted;
    }
    CHECK_UNREACHABLE();
}

static const struct decide_candidate *transfer_target(const struct decide_facts *f)
{
    const struct decide_candidate *best = NULL;

    for (size_t i = 0; i < f->n_candidates; i++) {
        const struct decide_candidate *k = &f->candidates[i];
        const struct decide_host *h = decide_find_host(f, k->name);

        if (!k->voter || !k->reachable || k->leader || str_eq(k->name, f->self)) {
            continue;
        }
        if (h != NULL && h->state != DECIDE_INC_NONE && !decide_has_lease(f, h)) {
            continue;
        }
        if (best == NULL || (best->fresh && !k->fresh)) {
            best = k;
        }
    }
    return best;
}

/* True: this leader must not decide anything else. */
static bool plan_self(struct decide_run *r, const struct decide_host *self, struct decide_cond *c)
{
    const struct decide_candidate *to;
    const char *why;

    if (!self_suspect(r->f, self)) {
        return false;
    }
    to = transfer_target(r->f);
    if (to == NULL) {
        why = "the leader suspects its own host, and no other voter is there to lead: it is judged "
              "when one comes back";
        (void)decide_add(r, DECIDE_HOLD, self, "LeaderSuspect", why);
        decide_recheck(r, r->f->now_ms + r->f->heartbeat_ms);
    } else {
        why = arena_printf(r->a, "the leader suspects its own host; %s", decide_evidence(r, self));
        decide_add(r, DECIDE_TRANSFER_LEADERSHIP, self, "LeaderSuspect", why)->executor = to->name;
    }
    decide_fencing_ready(r, self, c);
    decide_cond_set(c, "Unknown", "LeaderSuspect", why);
    return to != NULL;
}

/* --- all hosts ---------------------------------------------------------------------------------
 */

/* Open fencings first (they hold devices), then by priority, then by name. */
static bool goes_before(const struct decide_host *a, const struct decide_host *b)
{
    bool fa = a->state == DECIDE_INC_FENCING;
    bool fb = b->state == DECIDE_INC_FENCING;

    if (fa != fb) {
        return fa;
    }
    if (a->priority != b->priority) {
        return a->priority > b->priority;
    }
    return strcmp(a->name, b->name) < 0;
}

static size_t *sorted_hosts(struct decide_run *r)
{
    const struct decide_facts *f = r->f;
    size_t *order = ARENA_ARRAY(r->a, size_t, f->n_hosts + 1);

    for (size_t i = 0; i < f->n_hosts; i++) {
        size_t k = i;

        for (; k > 0 && goes_before(&f->hosts[i], &f->hosts[order[k - 1]]); k--) {
            order[k] = order[k - 1];
        }
        order[k] = i;
    }
    return order;
}

static void conds_without(struct decide_run *r, struct decide_cond *conds, const char *reason,
                          const char *message)
{
    for (size_t i = 0; i < r->f->n_hosts; i++) {
        if (conds[i].reason == NULL) {
            decide_fencing_ready(r, &r->f->hosts[i], &conds[i]);
            decide_cond_set(&conds[i], "Unknown", reason, message);
        }
    }
}

static void plan_all(struct decide_run *r, struct decide_cond *conds)
{
    const struct decide_facts *f = r->f;
    const struct decide_host *self = decide_find_host(f, f->self);
    size_t *order;

    if (!f->quorate) {
        conds_without(r, conds, "NoQuorum",
                      "this picketd does not lead a quorum: it decides nothing about any host");
        return;
    }
    if (self != NULL && plan_self(r, self, &conds[self - f->hosts])) {
        conds_without(r, conds, "LeaderSuspect",
                      "the leader is handing over: the next one decides");
        return;
    }
    for (size_t i = 0; i < f->n_hosts; i++) {
        r->in_flight += decide_attempt_running(f, &f->hosts[i]) ? 1 : 0;
    }
    order = sorted_hosts(r);
    for (size_t i = 0; i < f->n_hosts; i++) {
        if (conds[order[i]].reason == NULL) {
            plan_host(r, &f->hosts[order[i]], &conds[order[i]]);
        }
    }
}

void decide_plan(const struct decide_facts *f, struct arena *a, struct decide_plan *ret)
{
    struct decide_run r = { .f = f, .a = a };
    struct decide_cond *conds = ARENA_ARRAY(a, struct decide_cond, f->n_hosts + 1);

    CHECK(f->now_ms > 0);
    if (f->quorate) {
        CHECK(f->leader_since_ms > 0);
        CHECK(f->leader_since_ms <= f->now_ms);
    }
    r.attempting = ARENA_ARRAY(a, bool, f->n_hosts + 1);
    for (size_t i = 0; i < f->n_hosts; i++) {
        CHECK(f->hosts[i].name != NULL);
        conds[i].host = f->hosts[i].name;
    }
    plan_all(&r, conds);
    for (size_t i = 0; i < f->n_hosts; i++) {
        CHECK(conds[i].reason != NULL);
        CHECK(conds[i].fencing_reason != NULL);
    }
    *ret = (struct decide_plan){
        .items = r.items,
        .n_items = r.n_items,
        .conds = conds,
        .n_conds = f->n_hosts,
        .recheck_at_ms = r.recheck_ms,
    };
}
