/* Locks: acquire, release, and the two ends of a migration.
 *
 * A lock has an owner and a peer, each with a token of its own; only the owner may run the guest.
 * A holder changes only by its own release, by its own migration's commit, or by a proof
 * (safety_common.c). */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* "plural/name...": printable, at least one slash, no empty part. */
int sf_lock_name_check(const char *lock, struct err *err)
{
    const char *slash = lock == NULL ? NULL : strchr(lock, '/');

    if (slash == NULL || slash == lock || slash[1] == 0 || strlen(lock) > 1024) {
        return err_set(err, ERR_INVALID, "lock \"%.80s\": want PLURAL/NAME",
                       lock == NULL ? "" : lock);
    }
    for (const char *p = lock; *p != 0; p++) {
        if ((uint8_t)*p <= 0x20 || (uint8_t)*p >= 0x7f) {
            return err_set(err, ERR_INVALID, "lock \"%.80s\": only printable ASCII", lock);
        }
    }
    return 0;
}

/* --- acquire -----------------------------------------------------------------------------------
 */

/* The holder must be in good standing before it may hold more. */
int sl_holder_check(struct ap *x, const struct s_inc *inc)
{
    struct s_host h;
    struct obj_info o;
    int rc;

    if (inc->state != INC_LIVE) {
        return err_set(x->err, ERR_REFUSED, "incarnation %" PRIu64 " of %s is %s, not Live",
                       inc->number, inc->host, inc_state_name(inc->state));
    }
    if (inc->epoch != x->s->meta.epoch) {
        return err_set(x->err, ERR_STALE,
                       "incarnation %" PRIu64 " is of epoch %" PRIu64 ": register in epoch %" PRIu64
                       " first",
                       inc->number, inc->epoch, x->s->meta.epoch);
    }
    if (x->s->meta.quarantined) {
        return err_set(
            x->err, ERR_REFUSED,
            "the cluster was recovered (epoch %" PRIu64
            "): nothing starts until every host has given its inventory or is proved off",
            x->s->meta.epoch);
    }
    rc = sf_host(x, inc->host, &h);
    if (rc == 0 && h.incarnation != inc->number) {
        rc = err_set(x->err, ERR_STALE, "host %s is at incarnation %" PRIu64 " by now", inc->host,
                     h.incarnation);
    }
    if (rc == 0 && h.conflict[0] != 0) {
        rc = err_set(x->err, ERR_REFUSED, "host %s has an IdentityConflict: %s", inc->host,
                     h.conflict);
    }
    if (rc == 0) {
        rc = obj_open(x->s, "hosts", inc->host, &o, x->err);
        if (rc == 0) {
            obj_done(&o);
        }
    }
    return rc;
}

/* What is locked must exist and be the object that the agent means.  Files are no objects. */
int sl_locked_object_check(struct ap *x, const struct cmd_lock_ref *ref)
{
    const char *slash = strchr(ref->lock, '/');
    const char *plural = arena_strndup(x->a, ref->lock, (size_t)(slash - ref->lock));
    struct obj_info o;
    const char *uid;
    int rc;

    if (str_eq(plural, "files")) {
        return 0;
    }
    rc = obj_open(x->s, plural, slash + 1, &o, x->err);
    if (rc != 0) {
        return rc;
    }
    uid = obj_uid(&o);
    if (uid != NULL && !str_eq(uid, ref->uid)) {
        rc = err_set(x->err, ERR_CONFLICT, "%s has uid %s, not %s: read it again", ref->lock, uid,
                     ref->uid == NULL ? "(none)" : ref->uid);
    }
    obj_done(&o);
    return rc;
}

int sl_named_once(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;

    if (c->n_locks == 0) {
        return err_set(x->err, ERR_INVALID, "no locks named");
    }
    for (size_t i = 0; i < c->n_locks; i++) {
        int rc = sf_lock_name_check(c->locks[i].lock, x->err);

        if (rc != 0) {
            return rc;
        }
        for (size_t j = 0; j < i; j++) {
            if (str_eq(c->locks[i].lock, c->locks[j].lock)) {
                return err_set(x->err, ERR_INVALID, "%s is named twice", c->locks[i].lock);
            }
        }
    }
    return 0;
}

int sl_held_error(struct ap *x, const struct s_lock *l)
{
    const struct s_lock_slot *t = l->owner.incarnation != 0 ? &l->owner : &l->peer;

    return err_set(x->err, ERR_CONFLICT,
                   "%s is held by host %s (%s, incarnation %" PRIu64 ", token %" PRIu64
                   ", since revision %" PRIu64 ": %s)",
                   l->lock, t->host, t == &l->owner ? "owner" : "peer", t->incarnation, t->token,
                   t->since_rev, t->reason);
}

static int acquire_check(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref)
{
    struct s_lock l;
    int rc;

    rc = sl_locked_object_check(x, ref);
    if (rc != 0) {
        return rc;
    }
    rc = s_lock_get(x->s, ref->lock, x->a, &l, x->err);
    if (rc != 0) {
        return rc == ERR_NOT_FOUND ? 0 : rc; /* free */
    }
    if (l.owner.incarnation != inc->number) {
        return sl_held_error(x, &l);
    }
    if (l.quarantined) {
        return err_set(x->err, ERR_REFUSED,
                       "%s is quarantined: hosts %s and %s both said that they hold it", l.lock,
                       l.owner.host, l.peer.host);
    }
    return 0;
}

struct s_lock_slot sl_new_slot(struct ap *x, const struct s_inc *inc)
{
    return (struct s_lock_slot){
        .incarnation = inc->number,
        .host = inc->host,
        .token = ++x->s->last_token,
        .since_rev = ap_rev(x),
        .since_wall_ms = x->s->wall_ms,
        .reason = x->c->safety.reason,
    };
}

int ap_acquire(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_inc inc;
    int rc;

    rc = sf_inc_own(x, &inc);
    if (rc == 0) {
        rc = sl_holder_check(x, &inc);
    }
    if (rc == 0) {
        rc = sl_named_once(x);
    }
    for (size_t i = 0; rc == 0 && i < c->n_locks; i++) {
        rc = acquire_check(x, &inc, &c->locks[i]);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < c->n_locks; i++) {
        struct s_lock l;

        if (s_lock_get(x->s, c->locks[i].lock, x->a, &l, x->err) != 0) {
            l = (struct s_lock){ .lock = c->locks[i].lock };
        }
        l.uid = c->locks[i].uid;
        l.owner = sl_new_slot(x, &inc);
        /* What joined before goes on with an older token: it can not become the owner any more. */
        l.migration_aborted = l.migration_aborted || l.peer.incarnation != 0;
        s_lock_put(x, &l);
        ap_value(x, l.owner.token);
    }
    return 0;
}

/* --- release -----------------------------------------------------------------------------------
 */

static struct s_lock_slot *slot_of(struct s_lock *l, uint64_t incarnation, uint64_t token)
{
    if (sf_slot_is(&l->owner, incarnation, token)) {
        return &l->owner;
    }
    return sf_slot_is(&l->peer, incarnation, token) ? &l->peer : NULL;
}

int sl_stale_token(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref)
{
    return err_set(x->err, ERR_STALE,
                   "incarnation %" PRIu64 " of %s does not hold %s by token %" PRIu64, inc->number,
                   inc->host, ref->lock, ref->token);
}

/* A slot that is from before a recovery is not this host's to give. */
static bool slot_current(const struct ap *x, const struct s_lock_slot *slot)
{
    return slot->token > x->s->meta.token_floor;
}

static int release_check(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref)
{
    struct s_lock_slot *slot;
    struct s_lock l;
    int rc;

    rc = s_lock_get(x->s, ref->lock, x->a, &l, x->err);
    if (rc == ERR_NOT_FOUND) {
        return sl_stale_token(x, inc, ref);
    }
    if (rc != 0) {
        return rc;
    }
    slot = slot_of(&l, inc->number, ref->token);
    return slot == NULL || !slot_current(x, slot) ? sl_stale_token(x, inc, ref) : 0;
}

static void release_one(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref)
{
    struct s_lock l;

    /* an incarnation has at most one slot of a lock, and the check found that it is this one */
    CHECK(s_lock_get(x->s, ref->lock, x->a, &l, x->err) == 0);
    sf_lock_clear(x, &l, inc->number);
}

int ap_release(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_inc inc;
    int rc;

    rc = sf_inc_own(x, &inc);
    if (rc == 0) {
        rc = sl_named_once(x);
    }
    for (size_t i = 0; rc == 0 && i < c->n_locks; i++) {
        rc = release_check(x, &inc, &c->locks[i]);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < c->n_locks; i++) {
        release_one(x, &inc, &c->locks[i]);
    }
    return 0;
}
