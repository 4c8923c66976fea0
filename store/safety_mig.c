/* Migration: the target joins as peer, the source commits (the two slots change places) or aborts.
 *
 * Only the source decides, by the token of its owner slot; a controller may abort.  A VM and its
 * volumes move in one command, all or nothing. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

static int lock_of(struct ap *x, const char *lock, struct s_lock *ret)
{
    int rc = s_lock_get(x->s, lock, x->a, ret, x->err);

    if (rc == ERR_NOT_FOUND) {
        return err_set(x->err, ERR_STALE, "%s is held by nobody: nothing to migrate", lock);
    }
    if (rc == 0 && ret->quarantined) {
        return err_set(x->err, ERR_REFUSED, "%s is quarantined", lock);
    }
    return rc;
}

static int join_check(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref)
{
    struct s_inc owner;
    struct s_lock l;
    int rc;

    rc = sl_locked_object_check(x, ref);
    if (rc == 0) {
        rc = lock_of(x, ref->lock, &l);
    }
    if (rc != 0) {
        return rc;
    }
    if (l.owner.incarnation == 0 || l.peer.incarnation != 0 || str_eq(l.owner.host, inc->host)) {
        return sl_held_error(x, &l);
    }
    rc = sf_inc(x, l.owner.incarnation, &owner);
    if (rc == 0 && owner.state != INC_LIVE) {
        rc = err_set(x->err, ERR_REFUSED, "the source, host %s, is %s", owner.host,
                     inc_state_name(owner.state));
    }
    return rc;
}

int ap_mig_join(struct ap *x)
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
        rc = join_check(x, &inc, &c->locks[i]);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < c->n_locks; i++) {
        struct s_lock l;

        CHECK(s_lock_get(x->s, c->locks[i].lock, x->a, &l, x->err) == 0);
        l.peer = sl_new_slot(x, &inc);
        l.migration_aborted = false;
        s_lock_put(x, &l);
        ap_value(x, l.peer.token);
    }
    return 0;
}

static int commit_check(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref)
{
    struct s_inc peer;
    struct s_lock l;
    int rc;

    rc = lock_of(x, ref->lock, &l);
    if (rc != 0) {
        return rc;
    }
    if (!sf_slot_is(&l.owner, inc->number, ref->token)) {
        return sl_stale_token(x, inc, ref);
    }
    if (l.peer.incarnation == 0 || l.migration_aborted) {
        return err_set(x->err, ERR_REFUSED, "%s: %s", ref->lock,
                       l.migration_aborted ? "the migration was aborted" : "no peer has joined");
    }
    rc = sf_inc(x, l.peer.incarnation, &peer);
    if (rc == 0 && peer.state != INC_LIVE) {
        rc = err_set(x->err, ERR_REFUSED, "the target, host %s, is %s: abort the migration",
                     peer.host, inc_state_name(peer.state));
    }
    return rc;
}

/* All locks of one migration go to one and the same target. */
static int same_peer(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    uint64_t peer = 0;

    for (size_t i = 0; i < c->n_locks; i++) {
        struct s_lock l;

        CHECK(s_lock_get(x->s, c->locks[i].lock, x->a, &l, x->err) == 0);
        if (i > 0 && l.peer.incarnation != peer) {
            return err_set(x->err, ERR_REFUSED, "%s has another peer than %s", l.lock,
                           c->locks[0].lock);
        }
        peer = l.peer.incarnation;
    }
    return 0;
}

/* A commit that was under way while its source died, aborted and began another migration must not
 * end that one: its guest is not whole there yet. */
static int meant_peer(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    struct s_lock l;

    if (c->attempt == 0) {
        return 0;
    }
    CHECK(s_lock_get(x->s, c->locks[0].lock, x->a, &l, x->err) == 0);
    if (l.peer.token == c->attempt) {
        return 0;
    }
    return err_set(x->err, ERR_STALE,
                   "%s: the peer joined by token %" PRIu64 ", the commit means %" PRIu64, l.lock,
                   l.peer.token, c->attempt);
}

int ap_mig_commit(struct ap *x)
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
        rc = commit_check(x, &inc, &c->locks[i]);
    }
    if (rc == 0) {
        rc = same_peer(x);
    }
    if (rc == 0) {
        rc = meant_peer(x);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < c->n_locks; i++) {
        struct s_lock_slot source;
        struct s_lock l;

        CHECK(s_lock_get(x->s, c->locks[i].lock, x->a, &l, x->err) == 0);
        source = l.owner;
        l.owner = l.peer;
        l.peer = source;
        s_lock_put(x, &l);
    }
    return 0;
}

static int abort_check(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref)
{
    struct s_lock l;
    int rc;

    rc = lock_of(x, ref->lock, &l);
    if (rc != 0) {
        return rc;
    }
    return sf_slot_is(&l.owner, inc->number, ref->token) ? 0 : sl_stale_token(x, inc, ref);
}

/* Named by the owner's token: after a commit the old source is no owner and its abort comes too
 * late. */
int ap_mig_abort(struct ap *x)
{
    const struct cmd_safety *c = &x->c->safety;
    bool agent = x->c->actor.role == ACTOR_AGENT;
    struct s_inc inc;
    int rc;

    rc = agent ? sf_inc_own(x, &inc) : sf_inc(x, c->incarnation, &inc);
    if (rc == 0) {
        rc = sl_named_once(x);
    }
    for (size_t i = 0; rc == 0 && i < c->n_locks; i++) {
        rc = abort_check(x, &inc, &c->locks[i]);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < c->n_locks; i++) {
        struct s_lock l;

        CHECK(s_lock_get(x->s, c->locks[i].lock, x->a, &l, x->err) == 0);
        if (l.peer.incarnation != 0 && !l.migration_aborted) {
            l.migration_aborted = true;
            s_lock_put(x, &l);
        }
    }
    return 0;
}
