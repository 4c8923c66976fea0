/* One command: decode, once per session and seq, epoch, who asks, execute, answer.
 *
 * Everything is total: what is wrong with a command is its answer, the same on every replica.  A
 * command that fails has changed nothing (REGISTER's IdentityConflict aside, which is recorded). */

#include "store/store_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"

void ap_value(struct ap *x, uint64_t v)
{
    uint64_t *values = ARENA_ARRAY(x->a, uint64_t, x->ans->n_values + 1);

    if (x->ans->n_values > 0) {
        memcpy(values, x->ans->values, x->ans->n_values * sizeof(*values));
    }
    values[x->ans->n_values++] = v;
    x->ans->values = values;
}

uint64_t ap_rev(const struct ap *x)
{
    return x->s->rev + 1;
}

const char *ap_who(const struct ap *x)
{
    if (x->c->actor.role == ACTOR_CONTROLLER) {
        return "controller";
    }
    return x->c->actor.name != NULL ? x->c->actor.name : "?";
}

/* --- small commands ----------------------------------------------------------------------------
 */

static int ap_session_open(struct ap *x)
{
    const char *name = x->c->text;

    if (name == NULL || name[0] == 0 || strlen(name) > 253) {
        return err_set(x->err, ERR_INVALID, "session: the owner must have 1 to 253 bytes");
    }
    /* by role, so that nobody can close another kind of client's session by taking its name */
    ap_value(x, session_open(x->s, arena_printf(x->a, "%d:%s", (int)x->c->actor.role, name)));
    return 0;
}

static int ap_compact(struct ap *x)
{
    uint64_t rev = x->c->number;

    if (rev > x->s->rev) {
        return err_set(x->err, ERR_INVALID,
                       "compact: revision %" PRIu64 " is in the future, now %" PRIu64, rev,
                       x->s->rev);
    }
    if (rev <= x->s->compact_rev) {
        return err_set(x->err, ERR_COMPACTED,
                       "compact: revision %" PRIu64 " is compacted already (up to %" PRIu64 ")",
                       rev, x->s->compact_rev);
    }
    st_compact(x->s, rev);
    return 0;
}

static int ap_execute(struct ap *x)
{
    switch (x->c->op) {
    case CMD_NONE:
        break;
    case CMD_TXN:
        return ap_txn(x);
    case CMD_SESSION_OPEN:
        return ap_session_open(x);
    case CMD_COMPACT:
        return ap_compact(x);
    case CMD_FEATURE:
        return ap_feature(x);
    case CMD_INIT:
        return ap_init(x);
    case CMD_RECOVER:
        return ap_recover(x);
    case CMD_REGISTER:
        return ap_register(x);
    case CMD_TERMS:
        return ap_terms(x);
    case CMD_LOST:
        return ap_lost(x);
    case CMD_REPRIEVE:
        return ap_reprieve(x);
    case CMD_FENCE_OPEN:
        return ap_fence_open(x);
    case CMD_FENCE_ATTEMPT:
        return ap_fence_attempt(x);
    case CMD_FENCE_RESULT:
        return ap_fence_result(x);
    case CMD_FENCE_VETO:
        return ap_fence_veto(x);
    case CMD_PROOF:
        return ap_proof(x);
    case CMD_CONFIRM:
        return ap_confirm(x);
    case CMD_WATCHDOG_WAIT:
        return ap_watchdog_wait(x);
    case CMD_ACQUIRE:
        return ap_acquire(x);
    case CMD_RELEASE:
        return ap_release(x);
    case CMD_MIG_JOIN:
        return ap_mig_join(x);
    case CMD_MIG_COMMIT:
        return ap_mig_commit(x);
    case CMD_MIG_ABORT:
        return ap_mig_abort(x);
    case CMD_INVENTORY:
        return ap_inventory(x);
    case CMD_ALARM:
        return ap_alarm(x);
    case CMD_QUOTA:
        return ap_quota(x);
    case CMD_LEASE:
        return ap_lease(x);
    case CMD_CONFLICT_CLEAR:
        return ap_conflict_clear(x);
    }
    return err_set(x->err, ERR_INVALID, "op %d is no command", (int)x->c->op);
}

/* Commands that make sense before INIT: the raw key space, sessions, and INIT. */
static bool op_needs_cluster(enum cmd_op op)
{
    return op != CMD_TXN && op != CMD_SESSION_OPEN && op != CMD_COMPACT && op != CMD_INIT &&
           op != CMD_LEASE;
}

static int ap_checked(struct ap *x)
{
    const struct cmd *c = x->c;
    int rc;

    if (c->epoch != 0 && c->epoch != x->s->meta.epoch) {
        return err_set(x->err, ERR_STALE,
                       "command of epoch %" PRIu64 ", but the cluster is in epoch %" PRIu64,
                       c->epoch, x->s->meta.epoch);
    }
    rc = access_check(c, x->term, x->err);
    if (rc != 0) {
        return rc;
    }
    if (op_needs_cluster(c->op) && !x->s->meta.init) {
        return err_set(x->err, ERR_REFUSED, "the cluster is not initialised: run `picket init`");
    }
    return ap_execute(x);
}

/* --- the door ----------------------------------------------------------------------------------
 */

static void put_answer(const struct cmd_answer *ans, struct buf *result)
{
    struct err err;

    /* bounded by CMD_MAX_ANSWER and the command's own size; results have no smaller limit */
    if (cmd_answer_encode(ans, result, &err) != 0) {
        CHECK(result->overflow);
    }
}

static void put_error(const struct store *s, const struct err *err, struct buf *result)
{
    struct cmd_answer ans = { .code = err->code, .msg = err->msg, .rev = s->rev };

    put_answer(&ans, result);
}

static void execute(struct store *s, uint64_t term, const struct cmd *c, struct arena *a,
                    struct buf *result)
{
    struct cmd_answer ans = { 0 };
    struct err err = { 0 };
    struct ap x = { .s = s, .c = c, .a = a, .term = term, .ans = &ans, .err = &err };
    size_t start = result->len;
    int rc;

    CHECK(s->sub == 0);
    rc = ap_checked(&x);
    if (rc != 0) {
        CHECK(s->sub == 0 || x.keeps_on_error);
        ans = (struct cmd_answer){ .code = rc, .msg = err.msg };
    }
    st_finish(s);
    ans.rev = s->rev;
    put_answer(&ans, result);
    if (c->session != 0) {
        session_leave(s, c, &ans, result->data + start, result->len - start);
    }
}

/* A command of a level that the cluster has not reached is what it is to a replica of an older
 * version: no command at all.  It enters no session. */
static int level_check(const struct store *s, const struct cmd *c, struct err *err)
{
    unsigned needs = c->op == CMD_QUOTA ? LEVEL_QUOTA : STORE_FEATURE_FIRST;

    if (needs > store_level(s)) {
        return err_set(err, ERR_UNSUPPORTED,
                       "op %d is of feature level %u and the cluster is at %u: upgrade all members",
                       (int)c->op, needs, store_level(s));
    }
    return 0;
}

void store_apply(struct store *s, uint64_t index, uint64_t term, uint64_t leader_ms,
                 const void *cmd, size_t len, struct buf *result)
{
    uint64_t first = s->hist.end;
    struct arena a = { 0 };
    const uint8_t *kept;
    struct err err;
    struct cmd c;
    size_t n;
    int rc;

    OBJ_CHECK(s, STORE_MAGIC);
    s->index = index;
    s->term = term;
    if (leader_ms > s->wall_ms) {
        s->wall_ms = leader_ms;
    }
    rc = cmd_decode(cmd, len, &a, &c, &err);
    rc = rc != 0 ? rc : level_check(s, &c, &err);
    if (rc == 0 && c.session != 0) {
        rc = session_enter(s, &c, &kept, &n, &err);
    } else if (rc == 0) {
        rc = 1;
    }
    if (rc == 1) {
        execute(s, term, &c, &a, result);
    } else if (rc == 0) {
        buf_add(result, kept, n);
    } else {
        put_error(s, &err, result);
    }
    arena_done(&a);
    if (s->hist.end > first) {
        watch_notify(s, first, s->hist.end);
    }
}
