#include "tests/storesim/lockcheck.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define WRONG(...) err_set(err, ERR_REFUSED, __VA_ARGS__)

void lockcheck_done(struct lockcheck *l)
{
    free(l->incs);
    free(l->fencings);
    arena_done(&l->a);
    *l = (struct lockcheck){ 0 };
}

static struct lc_lock *lock_of(struct lockcheck *l, const char *name)
{
    for (size_t i = 0; i < l->n_locks; i++) {
        if (str_eq(l->locks[i].name, name)) {
            return &l->locks[i];
        }
    }
    CHECK(l->n_locks < ARRAY_LEN(l->locks));
    l->locks[l->n_locks] = (struct lc_lock){ .name = arena_strdup(&l->a, name) };
    return &l->locks[l->n_locks++];
}

static struct lc_inc *inc_of(const struct lockcheck *l, uint64_t number)
{
    for (size_t i = 0; i < l->n_incs; i++) {
        if (l->incs[i].number == number) {
            return &l->incs[i];
        }
    }
    return NULL;
}

static struct lc_fencing *fencing_of(const struct lockcheck *l, uint64_t id)
{
    for (size_t i = 0; i < l->n_fencings; i++) {
        if (l->fencings[i].id == id) {
            return &l->fencings[i];
        }
    }
    return NULL;
}

/* --- incarnations ------------------------------------------------------------------------------
 */

static bool may_become(enum inc_state from, enum inc_state to, const struct cmd *c)
{
    switch (to) {
    case INC_LIVE:
        return from == INC_LIVE ||
               ((from == INC_LOST || from == INC_FENCING) && c->op == CMD_REPRIEVE);
    case INC_LOST:
        return from == INC_LIVE || from == INC_LOST;
    case INC_FENCING:
        return from != INC_FENCED;
    case INC_FENCED:
        return from == INC_FENCED || from == INC_LOST || from == INC_FENCING;
    }
    return false;
}

static int off_check(const struct lockcheck *l, const struct cmd *c, struct err *err)
{
    const struct lc_fencing *f = fencing_of(l, c->safety.fencing);

    if (c->op != CMD_PROOF || c->safety.proof != PROOF_OFF) {
        return 0;
    }
    if (f == NULL || f->attempt != c->safety.attempt || !f->off || f->vetoed) {
        return WRONG("an Off proof of fencing %" PRIu64 " attempt %" PRIu64
                     " without a result \"off\" of its executor",
                     c->safety.fencing, c->safety.attempt);
    }
    return 0;
}

static int see_inc(struct lockcheck *l, const struct cmd *c, const struct s_inc *r, struct err *err)
{
    struct lc_inc *old = inc_of(l, r->number);

    if (old == NULL) {
        if (l->n_incs > 0 && r->number <= l->incs[l->n_incs - 1].number) {
            return WRONG("incarnation %" PRIu64 " is new, but %" PRIu64 " was given before",
                         r->number, l->incs[l->n_incs - 1].number);
        }
        if (c->op != CMD_REGISTER || r->state != INC_LIVE) {
            return WRONG("incarnation %" PRIu64 " appears without a registration", r->number);
        }
        if (l->n_incs == l->cap_incs) {
            l->cap_incs = l->cap_incs == 0 ? 16 : l->cap_incs * 2;
            l->incs = mem_realloc(l->incs, l->cap_incs * sizeof(*l->incs));
        }
        l->incs[l->n_incs++] = (struct lc_inc){ r->number, arena_strdup(&l->a, r->host), r->state };
        return 0;
    }
    if (!may_become(old->state, r->state, c)) {
        return WRONG("incarnation %" PRIu64 " went from %s to %s by command %d", r->number,
                     inc_state_name(old->state), inc_state_name(r->state), (int)c->op);
    }
    if (old->state != INC_FENCED && r->state == INC_FENCED && off_check(l, c, err) != 0) {
        return err->code;
    }
    old->state = r->state;
    return 0;
}

/* --- locks -------------------------------------------------------------------------------------
 */

static const struct cmd_lock_ref *named(const struct cmd *c, const char *lock)
{
    for (size_t i = 0; i < c->safety.n_locks; i++) {
        if (str_eq(c->safety.locks[i].lock, lock)) {
            return &c->safety.locks[i];
        }
    }
    return NULL;
}

static bool same_slot(struct lc_slot a, struct lc_slot b)
{
    return a.inc == b.inc && a.token == b.token;
}

/* Somebody is no longer in the lock: by which right? */
static int left(const struct lockcheck *l, const struct cmd *c, const struct lc_lock *was,
                struct lc_slot slot, struct err *err)
{
    const struct cmd_lock_ref *ref = named(c, was->name);
    const struct lc_inc *inc = inc_of(l, slot.inc);

    if (inc == NULL) {
        return WRONG("%s was held by incarnation %" PRIu64 ", which was never registered",
                     was->name, slot.inc);
    }
    if (inc->state == INC_FENCED) {
        return 0; /* in this very entry: earlier ones have left nothing behind (see below) */
    }
    if (c->op == CMD_RELEASE && ref != NULL && ref->token == slot.token &&
        c->safety.incarnation == slot.inc && str_eq(c->actor.name, inc->host)) {
        return 0;
    }
    if (c->op == CMD_PROOF && c->safety.proof == PROOF_SCSI && ref != NULL &&
        inc->state == INC_FENCING) {
        return 0;
    }
    return WRONG("%s was taken from incarnation %" PRIu64 " (%s, token %" PRIu64 ") by command %d",
                 was->name, slot.inc, inc_state_name(inc->state), slot.token, (int)c->op);
}

static int entered(struct lockcheck *l, const struct cmd *c, const struct lc_lock *was,
                   struct lc_slot slot, bool as_peer, struct err *err)
{
    const struct lc_inc *inc = inc_of(l, slot.inc);
    bool again = !as_peer && was->owner.inc == slot.inc; /* a new token for its holder */

    if (inc == NULL || inc->state != INC_LIVE || !str_eq(inc->host, c->actor.name) ||
        c->actor.role != ACTOR_AGENT || c->safety.incarnation != slot.inc) {
        return WRONG("%s was given to incarnation %" PRIu64 " (%s) by command %d of %s", was->name,
                     slot.inc, inc == NULL ? "unknown" : inc_state_name(inc->state), (int)c->op,
                     c->actor.name == NULL ? "nobody" : c->actor.name);
    }
    if (c->op != (as_peer ? CMD_MIG_JOIN : CMD_ACQUIRE)) {
        return WRONG("%s was entered by command %d", was->name, (int)c->op);
    }
    if (!as_peer && !again && (was->owner.inc != 0 || was->peer.inc != 0)) {
        return WRONG("%s was acquired by %" PRIu64 " while %" PRIu64 " and %" PRIu64 " were in it",
                     was->name, slot.inc, was->owner.inc, was->peer.inc);
    }
    if (slot.token <= l->last_token) {
        return WRONG("%s: token %" PRIu64 " after token %" PRIu64, was->name, slot.token,
                     l->last_token);
    }
    return 0;
}

static int see_lock(struct lockcheck *l, const struct cmd *c, const char *name,
                    const struct lc_lock *is, struct err *err)
{
    struct lc_lock *was = lock_of(l, name);
    bool swapped =
        same_slot(was->owner, is->peer) && same_slot(was->peer, is->owner) && was->peer.inc != 0;
    int rc = 0;

    l->changes++;
    if (swapped && !same_slot(was->owner, was->peer)) {
        const struct cmd_lock_ref *ref = named(c, name);

        if (c->op != CMD_MIG_COMMIT || ref == NULL || ref->token != was->owner.token ||
            c->safety.incarnation != was->owner.inc) {
            rc = WRONG("%s changed hands by command %d", name, (int)c->op);
        }
    } else {
        bool again = was->owner.inc != 0 && was->owner.inc == is->owner.inc;

        if (was->owner.inc != 0 && !again) {
            rc = left(l, c, was, was->owner, err);
        }
        if (rc == 0 && was->peer.inc != 0 && !same_slot(was->peer, is->peer)) {
            rc = left(l, c, was, was->peer, err);
        }
        if (rc == 0 && is->owner.inc != 0 && !same_slot(was->owner, is->owner)) {
            rc = entered(l, c, was, is->owner, false, err);
        }
        if (rc == 0 && is->peer.inc != 0 && !same_slot(was->peer, is->peer)) {
            rc = entered(l, c, was, is->peer, true, err);
        }
    }
    was->owner = is->owner;
    was->peer = is->peer;
    return rc;
}

/* --- one command -------------------------------------------------------------------------------
 */

static bool starts(struct bytes key, const char *prefix)
{
    return key.n > strlen(prefix) && memcmp(key.p, prefix, strlen(prefix)) == 0;
}

static int see_event(struct lockcheck *l, const struct cmd *c, const struct m_event *e, bool incs,
                     struct arena *a, struct err *err)
{
    const char *key = arena_strndup(a, (const char *)e->key.p, e->key.n);
    struct lc_lock is = { 0 };
    struct s_lock lock;
    struct s_inc inc;

    if (incs && starts(e->key, "s/inc/") && !e->del) {
        return s_inc_decode(e->value.p, e->value.n, a, &inc, err) != 0 ? err->code
                                                                       : see_inc(l, c, &inc, err);
    }
    if (incs || !starts(e->key, "s/lock/")) {
        return 0;
    }
    if (!e->del) {
        if (s_lock_decode(e->value.p, e->value.n, a, &lock, err) != 0) {
            return err->code;
        }
        is.owner = (struct lc_slot){ lock.owner.incarnation, lock.owner.token };
        is.peer = (struct lc_slot){ lock.peer.incarnation, lock.peer.token };
    }
    return see_lock(l, c, key + strlen("s/lock/"), &is, err);
}

/* A Fenced incarnation holds nothing. */
static int nothing_left(const struct lockcheck *l, struct err *err)
{
    for (size_t i = 0; i < l->n_locks; i++) {
        const struct lc_lock *k = &l->locks[i];
        const struct lc_inc *o = inc_of(l, k->owner.inc), *p = inc_of(l, k->peer.inc);

        if ((o != NULL && o->state == INC_FENCED) || (p != NULL && p->state == INC_FENCED)) {
            return WRONG("%s is held by a fenced incarnation", k->name);
        }
    }
    return 0;
}

static void see_fencing(struct lockcheck *l, const struct cmd *c, const struct cmd_answer *ans)
{
    struct lc_fencing *f = fencing_of(l, c->safety.fencing);

    if (c->op == CMD_FENCE_OPEN && ans->n_values > 0) {
        if (l->n_fencings == l->cap_fencings) {
            l->cap_fencings = l->cap_fencings == 0 ? 16 : l->cap_fencings * 2;
            l->fencings = mem_realloc(l->fencings, l->cap_fencings * sizeof(*l->fencings));
        }
        l->fencings[l->n_fencings++] =
            (struct lc_fencing){ .id = ans->values[0], .inc = c->safety.incarnation };
    }
    if (f == NULL) {
        return;
    }
    if (c->op == CMD_FENCE_ATTEMPT && ans->n_values > 0) {
        f->attempt = ans->values[0];
        f->executor = arena_strdup(&l->a, c->safety.executor);
        f->off = f->vetoed = false;
    } else if (c->op == CMD_FENCE_RESULT && c->safety.attempt == f->attempt &&
               str_eq(c->actor.name, f->executor)) {
        f->off = c->safety.result == FENCE_RESULT_SUCCEEDED;
    } else if (c->op == CMD_FENCE_VETO && c->safety.attempt == f->attempt) {
        f->vetoed = true;
    }
}

int lockcheck_apply(struct lockcheck *l, const struct cmd *c, const struct cmd_answer *ans,
                    const struct m_event *events, size_t n, struct err *err)
{
    struct arena a = { 0 };
    int rc = 0;

    for (size_t i = 0; i < 2 * n && rc == 0; i++) { /* incarnations first */
        rc = see_event(l, c, &events[i % n], i < n, &a, err);
    }
    if (rc == 0 && n > 0) {
        rc = nothing_left(l, err);
    }
    for (size_t i = 0; i < l->n_locks; i++) {
        uint64_t t = l->locks[i].owner.token, u = l->locks[i].peer.token;

        l->last_token = t > l->last_token ? t : l->last_token;
        l->last_token = u > l->last_token ? u : l->last_token;
    }
    if (ans->code == 0) {
        see_fencing(l, c, ans);
    }
    arena_done(&a);
    return rc;
}
