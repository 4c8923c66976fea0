/* Who may write what: the one table of safety.md 6 (docs/safety.md shows it;
 * tests/unit/safety_access_test.c walks every cell). */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"

#define C (1U << ACTOR_CONTROLLER)
#define A (1U << ACTOR_AGENT)
#define E (1U << ACTOR_EXECUTOR)
#define M (1U << ACTOR_ADMIN)
#define O (1U << ACTOR_OPERATOR)
#define U (1U << ACTOR_USER)
#define R (1U << ACTOR_RAW)

static const uint32_t ACCESS[CMD_OP_MAX + 1] = {
    [CMD_TXN] = C | A | E | M | O | U | R, /* by key: access_txn_* */
    [CMD_SESSION_OPEN] = C | A | E | M | O | U | R,
    [CMD_COMPACT] = C | M | R,
    [CMD_FEATURE] = C | M,
    [CMD_INIT] = C | M,
    [CMD_REGISTER] = A,
    [CMD_TERMS] = C | A, /* offer: C, confirm: A */
    [CMD_LOST] = C,
    [CMD_REPRIEVE] = C,
    [CMD_FENCE_OPEN] = C | M | O,
    [CMD_FENCE_ATTEMPT] = C,
    [CMD_FENCE_RESULT] = E,
    [CMD_FENCE_VETO] = C,
    [CMD_PROOF] = C,
    [CMD_CONFIRM] = M | O,
    [CMD_WATCHDOG_WAIT] = C,
    [CMD_ACQUIRE] = A,
    [CMD_RELEASE] = A,
    [CMD_MIG_JOIN] = A,
    [CMD_MIG_COMMIT] = A,
    [CMD_MIG_ABORT] = C | A,
    [CMD_INVENTORY] = A,
    [CMD_ALARM] = C | M,
    [CMD_LEASE] = C | M | R,
    [CMD_RECOVER] = M,
    [CMD_CONFLICT_CLEAR] = M | O,
    [CMD_QUOTA] = C | M,
};

static const char *role_name(enum actor_role role)
{
    switch (role) {
    case ACTOR_NONE:
        return "nobody";
    case ACTOR_CONTROLLER:
        return "a controller";
    case ACTOR_AGENT:
        return "an agent";
    case ACTOR_EXECUTOR:
        return "a fencing executor";
    case ACTOR_ADMIN:
        return "an administrator";
    case ACTOR_OPERATOR:
        return "an operator";
    case ACTOR_USER:
        return "a user";
    case ACTOR_RAW:
        return "a raw client";
    }
    return "?";
}

static const char *op_name(enum cmd_op op)
{
    static const char *const NAMES[CMD_OP_MAX + 1] = {
        [CMD_TXN] = "Txn",
        [CMD_SESSION_OPEN] = "SessionOpen",
        [CMD_COMPACT] = "Compact",
        [CMD_FEATURE] = "Feature",
        [CMD_INIT] = "Init",
        [CMD_REGISTER] = "Register",
        [CMD_TERMS] = "Terms",
        [CMD_LOST] = "Lost",
        [CMD_REPRIEVE] = "Reprieve",
        [CMD_FENCE_OPEN] = "FenceOpen",
        [CMD_FENCE_ATTEMPT] = "FenceAttempt",
        [CMD_FENCE_RESULT] = "FenceResult",
        [CMD_FENCE_VETO] = "FenceVeto",
        [CMD_PROOF] = "Proof",
        [CMD_CONFIRM] = "Confirm",
        [CMD_WATCHDOG_WAIT] = "WatchdogWait",
        [CMD_ACQUIRE] = "Acquire",
        [CMD_RELEASE] = "Release",
        [CMD_MIG_JOIN] = "MigrationJoin",
        [CMD_MIG_COMMIT] = "MigrationCommit",
        [CMD_MIG_ABORT] = "MigrationAbort",
        [CMD_INVENTORY] = "Inventory",
        [CMD_ALARM] = "Alarm",
        [CMD_LEASE] = "Lease",
        [CMD_RECOVER] = "Recover",
        [CMD_CONFLICT_CLEAR] = "ConflictClear",
        [CMD_QUOTA] = "Quota",
    };

    return (unsigned)op <= CMD_OP_MAX && NAMES[op] != NULL ? NAMES[op] : "?";
}

static bool op_allows(const struct cmd *c)
{
    if ((ACCESS[c->op] & 1U << c->actor.role) == 0 || c->actor.role == ACTOR_NONE) {
        return false;
    }
    if (c->op == CMD_TERMS) {
        return c->safety.offer == (c->actor.role == ACTOR_CONTROLLER);
    }
    return true;
}

int access_check(const struct cmd *c, uint64_t term, struct err *err)
{
    bool named = c->actor.name != NULL && c->actor.name[0] != 0;

    if (!op_allows(c)) {
        return err_set(err, ERR_DENIED, "%s (%s) may not give the command %s",
                       role_name(c->actor.role), named ? c->actor.name : "no name", op_name(c->op));
    }
    if ((c->actor.role == ACTOR_AGENT || c->actor.role == ACTOR_EXECUTOR) && !named) {
        return err_set(err, ERR_DENIED, "%s: %s without a host name", op_name(c->op),
                       role_name(c->actor.role));
    }
    if (c->actor.role == ACTOR_CONTROLLER && c->actor.term != term) {
        return err_set(err, ERR_STALE,
                       "%s: decided by the controllers of term %" PRIu64
                       " in an entry of term %" PRIu64,
                       op_name(c->op), c->actor.term, term);
    }
    return 0;
}

/* --- keys of transactions ----------------------------------------------------------------------
 */

const char *bytes_shown(struct arena *a, struct bytes key)
{
    size_t n = key.n < 80 ? key.n : 80;
    char *shown = arena_strndup(a, (const char *)key.p, n);

    for (size_t i = 0; i < n; i++) {
        if (key.p[i] < 0x20 || key.p[i] >= 0x7f) {
            shown[i] = '.';
        }
    }
    return shown;
}

static int denied(const struct ap *x, const char *what, struct bytes key, const char *why)
{
    return err_set(x->err, ERR_DENIED, "%s (%s) may not %s \"%s\": %s", role_name(x->c->actor.role),
                   ap_who(x), what, bytes_shown(x->a, key), why);
}

static const char *own_reports(const struct ap *x)
{
    return arena_printf(x->a, "r/%s/", x->c->actor.name);
}

static bool is_own_host(const struct ap *x, const struct txn_op *op)
{
    const char *key = arena_printf(x->a, "o/hosts/%s", x->c->actor.name);

    return op->end.p == NULL && op->key.n == strlen(key) && memcmp(op->key.p, key, op->key.n) == 0;
}

/* The header of what is put, and of what is there already (zeroes when nothing is). */
static int object_header(const struct ap *x, const struct txn_op *op, const struct kv *old,
                         struct objval *ret, struct objval *ret_old)
{
    int rc;

    *ret_old = (struct objval){ 0 };
    rc = objval_decode(op->value.p, op->value.n, &ret->generation, &ret->flags, &ret->json,
                       &ret->len, x->err);
    if (rc == 0 && old != NULL) {
        rc = objval_decode(kv_value(old), old->vlen, &ret_old->generation, &ret_old->flags,
                           &ret_old->json, &ret_old->len, x->err);
    }
    if (rc != 0) {
        (void)err_wrap(x->err, "put of an object");
        x->err->code = ERR_INVALID;
        return ERR_INVALID;
    }
    return 0;
}

/* An agent writes its own reports, and the status of its own Host: what is there must stay in
 * being, in the same generation, not un-deleted, and with the same spec.  (Else an agent could
 * point its own fencing at another outlet, unseen by the pins of a fencing under way.) */
static int agent_write(const struct ap *x, const struct txn_op *op)
{
    struct objval is, was;
    const struct kv *old;

    if (bytes_within(op->key, op->end, own_reports(x))) {
        return 0;
    }
    if (!is_own_host(x, op) || op->kind != TXN_PUT || op->keep_value) {
        return denied(x, "write", op->key,
                      "an agent writes r/<its host>/ and the status of its own Host");
    }
    old = st_get(x->s, op->key.p, op->key.n);
    if (old == NULL) {
        return denied(x, "write", op->key, "there is no such Host; an agent does not create it");
    }
    if (object_header(x, op, old, &is, &was) != 0) {
        return x->err->code;
    }
    if (is.generation != was.generation || is.flags != was.flags || !obj_same_spec(&is, &was)) {
        return denied(x, "write", op->key, "an agent changes nothing but the status of its Host");
    }
    return 0;
}

/* "o/PLURAL/NAME" in printable ASCII: what is derived from a key (its lock, its host) must be
 * unambiguous. */
static bool is_object_key(struct bytes key)
{
    size_t slashes = 0;

    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] <= 0x20 || key.p[i] >= 0x7f) {
            return false;
        }
        slashes += key.p[i] == '/';
    }
    return slashes == 2 && key.n > 4 && key.p[2] != '/' && key.p[key.n - 1] != '/';
}

static int object_write(const struct ap *x, const struct txn_op *op)
{
    struct objval is, was;
    int rc;

    if (op->kind == TXN_PUT && !is_object_key(op->key)) {
        return err_set(x->err, ERR_INVALID, "put of an object: its key must be o/PLURAL/NAME");
    }
    if (op->kind == TXN_PUT && !op->keep_value) {
        rc = object_header(x, op, st_get(x->s, op->key.p, op->key.n), &is, &was);
        if (rc != 0) {
            return rc;
        }
        if (is.generation < was.generation) {
            return err_set(x->err, ERR_INVALID,
                           "put of an object: generation %" PRIu64 " after %" PRIu64
                           ": it never goes back",
                           is.generation, was.generation);
        }
    }
    if (op->lease != 0) {
        return err_set(x->err, ERR_INVALID, "an object cannot be attached to a raw lease");
    }
    return 0;
}

/* Records of picketd itself, "o/_WHAT/NAME": written by picketds (as executors) under their own
 * name, but those of requests, which come in the transaction of whoever made the request. */
static int private_write(const struct ap *x, const struct txn_op *op)
{
    bool request = bytes_within(op->key, op->end, "o/_requests/");

    switch (x->c->actor.role) {
    case ACTOR_CONTROLLER:
    case ACTOR_ADMIN:
    case ACTOR_EXECUTOR:
        return object_write(x, op);
    case ACTOR_OPERATOR:
    case ACTOR_USER:
    case ACTOR_AGENT:
    case ACTOR_RAW:
        if (request && op->kind == TXN_PUT) {
            return object_write(x, op);
        }
        break;
    case ACTOR_NONE:
        break;
    }
    return denied(x, "write", op->key, "a record of picketd itself");
}

int access_txn_write(const struct ap *x, const struct txn_op *op)
{
    bool o = bytes_within(op->key, op->end, "o/");
    bool r = bytes_within(op->key, op->end, "r/");
    bool k = bytes_within(op->key, op->end, "k/");

    if (!o && !r && !k) {
        return denied(x, "write", op->key,
                      "transactions write below o/, r/ or k/ (safety records have commands)");
    }
    if (x->s->meta.feature_level >= LEVEL_PRIVATE_RECORDS && o && op->key.n > 2 &&
        op->key.p[2] == '_') {
        return private_write(x, op);
    }
    switch (x->c->actor.role) {
    case ACTOR_AGENT:
        return agent_write(x, op);
    case ACTOR_RAW:
        return k ? 0 : denied(x, "write", op->key, "the raw key space is all that it sees");
    case ACTOR_ADMIN:
    case ACTOR_CONTROLLER:
        if (r && op->kind == TXN_DELETE) {
            return 0; /* what a host that is gone reported */
        }
        if (k && x->c->actor.role == ACTOR_ADMIN) {
            return 0;
        }
        return o ? object_write(x, op) : denied(x, "write", op->key, "only its owner may");
    case ACTOR_OPERATOR:
    case ACTOR_USER:
        return o ? object_write(x, op) : denied(x, "write", op->key, "objects only");
    case ACTOR_EXECUTOR:
    case ACTOR_NONE:
        return denied(x, "write", op->key, "it only reports results of fencing");
    }
    CHECK_UNREACHABLE();
}

int access_txn_read(const struct ap *x, struct bytes key, struct bytes end)
{
    bool k = bytes_within(key, end, "k/");
    bool mine = bytes_within(key, end, "o/") || bytes_within(key, end, "r/") ||
                bytes_within(key, end, "s/");

    if (x->s->meta.feature_level >= LEVEL_PRIVATE_RECORDS && end.p == NULL &&
        bytes_within(key, end, "o/_requests/")) {
        return 0; /* to see whether a request was made before */
    }
    switch (x->c->actor.role) {
    case ACTOR_RAW:
        return k ? 0 : denied(x, "read", key, "the raw key space is all that it sees");
    case ACTOR_AGENT:
    case ACTOR_EXECUTOR:
        /* a range over all of o/ would take the secrets along, so it has to name a kind */
        if (mine && !bytes_within(key, end, "o/secrets/") &&
            !(end.p != NULL && kv_key_cmp(key.p, key.n, "o/secrets/", 10) <= 0 &&
              kv_key_cmp(end.p, end.n, "o/secrets/", 10) > 0)) {
            return 0;
        }
        return denied(x, "read", key, "not the business of a host");
    case ACTOR_ADMIN:
    case ACTOR_CONTROLLER:
    case ACTOR_OPERATOR:
    case ACTOR_USER:
        return k || mine ? 0 : denied(x, "read", key, "no such part of the key space");
    case ACTOR_NONE:
        return denied(x, "read", key, "not authenticated");
    }
    CHECK_UNREACHABLE();
}
