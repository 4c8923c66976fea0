#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/rep_core.h"

/* Membership, one change at a time, and handing leadership over.
 *
 * A change is a few steps of the core: add (as a spare), make it a stand-by, wait until it has
 * caught up, make it a voter.  The waiting is ours: the core's own rounds are only entered when the
 * log is nearly equal, since a failed round leaves a member in between (raft-notes 1.1). */

#define CATCH_UP_ENTRIES 256u
#define CATCH_UP_IDLE_MS 60000u /* no progress for that long: give up */

enum change_kind { CHANGE_ADD, CHANGE_ASSIGN, CHANGE_REMOVE };

struct rep_change {
    struct raft_change raft;
    struct rep *rep;
    enum change_kind kind;
    struct rep_req *req;
    rep_change_cb *cb;
    uint64_t id;
    char address[REP_ADDRESS_MAX + 64]; /* NAME@HOST:PORT */
    enum rep_member_role role;
    bool begun;   /* the core was told something */
    bool waiting; /* for the core's callback */
    int status;   /* of the last one */
    uint64_t match, moved_ms;
};

static void change_finish(struct rep *r, int code, const char *text)
{
    struct rep_change *c = r->change;
    struct err err = { 0 };

    r->change = NULL;
    if (code != 0) {
        (void)err_set(&err, code, "%s", text);
        rep_fail(r, REQ_CHANGE, c->req, (void (*)(void))c->cb, &err);
    } else {
        rep_event(r, EVENT_CHANGED)->failure = OBJ_NEW(struct rep_failure);
        *r->events[r->n_events - 1].failure = (struct rep_failure){
            .kind = REQ_CHANGE,
            .req = c->req,
            .cb = (void (*)(void))c->cb,
        };
    }
    free(c);
}

static void change_cb(struct raft_change *req, int status)
{
    struct rep_change *c = CONTAINER_OF(req, struct rep_change, raft);

    c->waiting = false;
    c->status = status;
}

/* What the core said at once. */
static void change_refused(struct rep *r, int rv)
{
    switch (rv) {
    case RAFT_NOTLEADER:
        change_finish(r, ERR_NOT_LEADER, "this node does not lead");
        break;
    case RAFT_CANTCHANGE:
        change_finish(r, ERR_CONFLICT, "another change of the members is not committed yet");
        break;
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS:
        change_finish(r, ERR_EXISTS, "a member has this id, or this name and address, already");
        break;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        change_finish(r, ERR_NOT_FOUND, "no member has this id");
        break;
    default:
        change_finish(r, ERR_INVALID, raft_strerror(rv));
        break;
    }
}

static void change_assign(struct rep *r, struct rep_change *c, enum rep_member_role role)
{
    int rv;

    c->begun = c->waiting = true;
    rep_enter(r);
    rv = raft_assign(&r->raft, &c->raft, c->id, conf_role_to_raft(role), change_cb);
    rep_leave(r);
    if (rv != 0 && !r->dead) {
        c->waiting = false;
        change_refused(r, rv);
    }
}

/* Is the stand-by near enough to the leader's log to become a voter? */
static bool change_caught_up(struct rep *r, struct rep_change *c)
{
    struct raft_progress *p = rep_progress(r, c->id);
    uint64_t now = rep_now(r);

    if (p == NULL) {
        return true; /* let the core say what is wrong */
    }
    if (p->match_index != c->match || c->moved_ms == 0) {
        c->match = p->match_index;
        c->moved_ms = now;
    }
    if (p->match_index + CATCH_UP_ENTRIES >= raft_last_index(&r->raft) && p->match_index > 0) {
        return true;
    }
    if (now - c->moved_ms >= CATCH_UP_IDLE_MS) {
        change_finish(r, ERR_UNREACHABLE,
                      "the member does not catch up with the log; it stays a stand-by");
    }
    return false;
}

static void change_add(struct rep *r, struct rep_change *c)
{
    int rv;

    c->begun = c->waiting = true;
    rep_enter(r);
    rv = raft_add(&r->raft, &c->raft, c->id, c->address, change_cb);
    rep_leave(r);
    if (rv != 0 && !r->dead) {
        c->waiting = false;
        change_refused(r, rv);
    }
}

static void change_remove(struct rep *r, struct rep_change *c)
{
    int rv;

    c->begun = c->waiting = true;
    rep_enter(r);
    rv = raft_remove(&r->raft, &c->raft, c->id, change_cb);
    rep_leave(r);
    if (rv != 0 && !r->dead) {
        c->waiting = false;
        change_refused(r, rv);
    }
}

/* A leader must not take its own vote away: its entry would be the newest one, held by a node that
 * may neither vote nor lead, and if it dies before the entry is committed nobody can be elected. */
static bool change_of_self(struct rep *r, const struct rep_change *c)
{
    const struct raft_server *s = conf_get(&r->raft.configuration, c->id);
    struct err err;

    if (c->id != r->params.id || s == NULL || s->role != RAFT_VOTER ||
        (c->kind != CHANGE_REMOVE && c->role == REP_VOTER)) {
        return false;
    }
    if (conf_voters(&r->raft.configuration) == 1) {
        change_finish(r, ERR_REFUSED, "this is the last voter");
    } else if (rep_transfer(r, 0, &err) != 0) {
        change_finish(r, ERR_CONFLICT,
                      "a leader cannot remove itself, and leadership cannot be handed over now");
    } else {
        change_finish(r, ERR_NOT_LEADER,
                      "a leader cannot remove itself: leadership is handed over, ask the new one");
    }
    return true;
}

/* The next step towards what is wanted, seen from the present configuration. */
static void change_next(struct rep *r, struct rep_change *c)
{
    const struct raft_server *s = conf_get(&r->raft.configuration, c->id);

    if (change_of_self(r, c)) {
        return;
    }
    if (c->kind == CHANGE_REMOVE) {
        if (s != NULL || !c->begun) {
            change_remove(r, c);
        } else {
            change_finish(r, 0, NULL);
        }
        return;
    }
    if (s == NULL && c->kind == CHANGE_ADD && !c->begun) {
        change_add(r, c);
    } else if (s == NULL) {
        change_finish(r, ERR_NOT_FOUND, "no member has this id");
    } else if (c->kind == CHANGE_ADD && !c->begun) {
        change_finish(r, ERR_EXISTS, "a member has this id already");
    } else if (conf_role(s->role) == c->role) {
        change_finish(r, 0, NULL);
    } else if (c->role == REP_VOTER && s->role == RAFT_SPARE) {
        change_assign(r, c, REP_STANDBY);
    } else if (c->role != REP_VOTER || change_caught_up(r, c)) {
        change_assign(r, c, c->role);
    }
}

static void change_step(struct rep *r)
{
    struct rep_change *c = r->change;

    if (c == NULL || c->waiting) {
        return;
    }
    if (c->status == RAFT_NOCONNECTION) {
        change_finish(r, ERR_UNREACHABLE, "the member did not catch up with the log in time");
    } else if (c->status != 0) {
        change_finish(r, ERR_UNKNOWN_OUTCOME,
                      "leadership was lost before the change was committed; it may still be");
    } else if (c->begun && r->raft.state != RAFT_LEADER) {
        /* Committed, and then leadership went. */
        const struct raft_server *s = conf_get(&r->raft.configuration, c->id);
        bool there =
            c->kind == CHANGE_REMOVE ? s == NULL : s != NULL && conf_role(s->role) == c->role;

        change_finish(r, there ? 0 : ERR_UNKNOWN_OUTCOME,
                      "leadership was lost in the middle of the change");
    } else if (r->raft.state != RAFT_LEADER) {
        change_finish(r, ERR_NOT_LEADER, "this node does not lead");
    } else if (guard_ready(&r->guard) && r->raft.transfer == NULL) {
        change_next(r, c);
    }
}

static struct rep_change *change_new(struct rep *r, struct rep_req *req, uint64_t id,
                                     enum change_kind kind, rep_change_cb *cb)
{
    struct rep_change *c;
    struct err err;

    OBJ_CHECK(r, REP_MAGIC);
    if (r->change != NULL || r->raft.state != RAFT_LEADER) {
        (void)err_set(&err, r->change != NULL ? ERR_CONFLICT : ERR_NOT_LEADER, "%s",
                      r->change != NULL ? "another change of the members is under way"
                                        : "this node does not lead");
        rep_fail(r, REQ_CHANGE, req, (void (*)(void))cb, &err);
        return NULL;
    }
    c = OBJ_NEW(struct rep_change);
    c->rep = r;
    c->kind = kind;
    c->req = req;
    c->cb = cb;
    c->id = id;
    r->change = c;
    return c;
}

void rep_add(struct rep *r, struct rep_req *req, const struct rep_member *m, rep_change_cb *cb)
{
    struct rep_change *c;
    struct err err;

    if (conf_check_member(m, &err) != 0) {
        rep_fail(r, REQ_CHANGE, req, (void (*)(void))cb, &err);
        return;
    }
    c = change_new(r, req, m->id, CHANGE_ADD, cb);
    if (c != NULL) {
        c->role = m->role;
        (void)snprintf(c->address, sizeof(c->address), "%s@%s", m->name, m->address);
    }
}

void rep_assign(struct rep *r, struct rep_req *req, uint64_t id, enum rep_member_role role,
                rep_change_cb *cb)
{
    struct rep_change *c = change_new(r, req, id, CHANGE_ASSIGN, cb);

    if (c != NULL) {
        c->role = role;
    }
}

void rep_remove(struct rep *r, struct rep_req *req, uint64_t id, rep_change_cb *cb)
{
    (void)change_new(r, req, id, CHANGE_REMOVE, cb);
}

/* --- transfer --- */

static uint64_t transfer_best(struct rep *r)
{
    uint64_t best = 0, best_match = 0;

    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer *p = r->peers[i];
        struct raft_progress *progress = rep_progress(r, p->info.id);

        if (p->info.id != r->params.id && p->up && p->info.role == REP_VOTER && progress != NULL &&
            (best == 0 || progress->match_index > best_match)) {
            best = p->info.id;
            best_match = progress->match_index;
        }
    }
    return best;
}

int rep_transfer(struct rep *r, uint64_t to, struct err *err)
{
    const struct raft_server *s;

    OBJ_CHECK(r, REP_MAGIC);
    if (r->raft.state != RAFT_LEADER) {
        return err_set(err, ERR_NOT_LEADER, "this node does not lead");
    }
    if (r->raft.transfer != NULL || r->transfer_to != 0) {
        return err_set(err, ERR_CONFLICT, "leadership is being handed over already");
    }
    to = to == 0 ? transfer_best(r) : to;
    if (to == 0) {
        return err_set(err, ERR_UNREACHABLE, "no other voter is connected");
    }
    s = conf_get(&r->raft.configuration, to);
    if (s == NULL || s->role != RAFT_VOTER || to == r->params.id) {
        return err_set(err, ERR_INVALID, "member %" PRIu64 " is not another voter", to);
    }
    r->transfer_to = to;
    r->transfer_until_ms = rep_now(r) + 2ULL * r->params.election_ms;
    return 0;
}

/* No new entry is proposed while transfer_to is set, so the target soon has everything. */
static void transfer_step(struct rep *r)
{
    int rv;

    if (r->transfer_to == 0) {
        return;
    }
    if (r->raft.state != RAFT_LEADER || rep_now(r) >= r->transfer_until_ms) {
        r->transfer_to = 0;
        return;
    }
    rep_enter(r);
    rv = guard_transfer(&r->guard, r->transfer_to, NULL);
    rep_leave(r);
    if (rv != RAFT_BUSY) {
        r->transfer_to = 0;
    }
}

void rep_member_step(struct rep *r)
{
    change_step(r);
    if (!r->dead) {
        transfer_step(r);
    }
}

void rep_member_role(struct rep *r)
{
    r->transfer_to = 0;
}

void rep_member_done(struct rep *r)
{
    free(r->change);
    r->change = NULL;
}
