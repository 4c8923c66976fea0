/* Transactions.
 *
 * A transaction is checked as a whole against the state before it, then executed op by op; nothing
 * that is checked can fail half-way. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"

/* --- key ranges --------------------------------------------------------------------------------
 */

bool bytes_is_prefix(struct bytes key, const char *prefix)
{
    size_t n = strlen(prefix);

    return key.n >= n && memcmp(key.p, prefix, n) == 0;
}

bool bytes_within(struct bytes key, struct bytes end, const char *prefix)
{
    size_t n = strlen(prefix);
    uint8_t after[CMD_MAX_TEXT + 8];

    if (!bytes_is_prefix(key, prefix)) {
        return false;
    }
    if (end.p == NULL) {
        return key.n > n; /* the bare prefix is no key */
    }
    /* no prefix of ours ends in 0xff, so the first string behind all of them is one byte up */
    CHECK(n > 0 && n <= sizeof(after));
    memcpy(after, prefix, n);
    after[n - 1]++;
    return kv_key_cmp(end.p, end.n, after, n) <= 0;
}

size_t st_collect(const struct store *s, struct bytes key, struct bytes end, struct arena *a,
                  const struct kv ***ret)
{
    const struct kv **all = NULL;
    const struct kv *v;
    struct kvtree_iter it;
    size_t n = 0;
    size_t cap = 0;

    if (end.p == NULL) {
        *ret = ARENA_NEW(a, const struct kv *);
        (*ret)[0] = st_get(s, key.p, key.n);
        return (*ret)[0] != NULL;
    }
    kvtree_seek(&it, s->tree.root, key.p, key.n);
    while ((v = kvtree_next(&it)) != NULL && kv_key_cmp(v->bytes, v->klen, end.p, end.n) < 0) {
        if (kv_is_tombstone(v)) {
            continue;
        }
        if (n == cap) {
            const struct kv **more;

            cap = cap == 0 ? 16 : cap * 2;
            more = ARENA_ARRAY(a, const struct kv *, cap);
            if (n > 0) {
                memcpy(more, all, n * sizeof(struct kv *));
            }
            all = more;
        }
        all[n++] = v;
    }
    *ret = all;
    return n;
}

/* --- compares ----------------------------------------------------------------------------------
 */

static bool cmp_holds(enum cmp_result want, int c)
{
    switch (want) {
    case CMP_EQUAL:
        return c == 0;
    case CMP_GREATER:
        return c > 0;
    case CMP_LESS:
        return c < 0;
    case CMP_NOT_EQUAL:
        return c != 0;
    }
    CHECK_UNREACHABLE();
}

static int cmp_number(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* A key that is not there has version, revisions and lease 0, and no value: comparing it is false
 * (as in etcd, applyCompares of server/mvcc). */
static bool cmp_one(const struct txn_cmp *c, const struct kv *v)
{
    switch (c->target) {
    case CMP_VERSION:
        return cmp_holds(c->result, cmp_number(v == NULL ? 0 : v->version, c->number));
    case CMP_CREATE:
        return cmp_holds(c->result, cmp_number(v == NULL ? 0 : v->create_rev, c->number));
    case CMP_MOD:
        return cmp_holds(c->result, cmp_number(v == NULL ? 0 : v->mod_rev, c->number));
    case CMP_LEASE:
        return cmp_holds(c->result, cmp_number(v == NULL ? 0 : v->lease, c->number));
    case CMP_VALUE:
        return v != NULL &&
               cmp_holds(c->result, kv_key_cmp(kv_value(v), v->vlen, c->value.p, c->value.n));
    }
    CHECK_UNREACHABLE();
}

static bool txn_compare(const struct ap *x, const struct cmd_txn *t)
{
    for (size_t i = 0; i < t->n_cmp; i++) {
        const struct txn_cmp *c = &t->cmp[i];
        const struct kv **found;
        size_t n = st_collect(x->s, c->key, c->end, x->a, &found);

        if (n == 0 && !cmp_one(c, NULL)) {
            return false;
        }
        for (size_t j = 0; j < n; j++) {
            if (!cmp_one(c, found[j])) {
                return false;
            }
        }
    }
    return true;
}

/* --- checks before anything is changed ---------------------------------------------------------
 */

struct txn_sum {
    size_t read;                /* bytes that the answer may carry */
    size_t put;                 /* bytes written */
    size_t before;              /* bytes that they replace */
    size_t raw_put, raw_before; /* of these, below k/ */
};

/* Records of requests need room even when there is none: they are few and go away by themselves. */
static void sum_put(const struct ap *x, const struct txn_op *op, size_t put, size_t before,
                    struct txn_sum *sum)
{
    if (x->s->meta.feature_level >= LEVEL_QUOTA && bytes_is_prefix(op->key, "o/_requests/")) {
        return;
    }
    sum->put += put;
    sum->before += before;
    if (bytes_is_prefix(op->key, "k/")) {
        sum->raw_put += put;
        sum->raw_before += before;
    }
}

static int check_put(const struct ap *x, const struct txn_op *op, struct txn_sum *sum)
{
    const struct kv *old = st_get(x->s, op->key.p, op->key.n);

    if (old == NULL && (op->keep_value || op->keep_lease)) {
        return err_set(x->err, ERR_NOT_FOUND, "put that keeps value or lease: \"%s\" is not there",
                       bytes_shown(x->a, op->key));
    }
    if (op->lease != 0 && !op->keep_lease && !st_lease_exists(x, op->lease)) {
        return err_set(x->err, ERR_NOT_FOUND, "put: lease %" PRIu64 " does not exist", op->lease);
    }
    if (old != NULL) {
        sum->read += op->prev_kv ? (size_t)old->klen + old->vlen : 0;
    }
    sum_put(x, op, op->key.n + (op->keep_value && old != NULL ? old->vlen : op->value.n),
            old == NULL ? 0 : (size_t)old->klen + old->vlen, sum);
    return 0;
}

static int check_delete(const struct ap *x, const struct txn_op *op, struct txn_sum *sum)
{
    const struct kv **found;
    size_t n = st_collect(x->s, op->key, op->end, x->a, &found);

    for (size_t i = 0; i < n; i++) {
        int rc = sf_may_delete(x, found[i]);

        if (rc != 0) {
            return rc;
        }
        sum->read += op->prev_kv ? (size_t)found[i]->klen + found[i]->vlen : 0;
    }
    return 0;
}

static void check_get(const struct ap *x, const struct txn_op *op, struct txn_sum *sum)
{
    const struct kv **found;
    size_t n = op->count_only ? 0 : st_collect(x->s, op->key, op->end, x->a, &found);

    for (size_t i = 0; i < n && (op->limit == 0 || i < op->limit); i++) {
        sum->read += (size_t)found[i]->klen + (op->keys_only ? 0 : found[i]->vlen) + 32;
    }
}

static int check_op(const struct ap *x, const struct txn_op *op, struct txn_sum *sum)
{
    int rc;

    switch (op->kind) {
    case TXN_PUT:
        rc = access_txn_write(x, op);
        return rc != 0 ? rc : check_put(x, op, sum);
    case TXN_DELETE:
        rc = access_txn_write(x, op);
        return rc != 0 ? rc : check_delete(x, op, sum);
    case TXN_GET:
        rc = access_txn_read(x, op->key, op->end);
        if (rc == 0) {
            check_get(x, op, sum);
        }
        return rc;
    }
    CHECK_UNREACHABLE();
}

/* Growth beyond the quota is refused; what shrinks or stays goes on. */
static int check_quota(const struct ap *x, const struct txn_sum *sum)
{
    const struct store *s = x->s;
    size_t grows = sum->put > sum->before ? sum->put - sum->before : 0;
    size_t raw = sum->raw_put > sum->raw_before ? sum->raw_put - sum->raw_before : 0;

    if (s->meta.feature_level >= LEVEL_QUOTA) {
        return quota_check(x, grows, raw);
    }
    if (grows > 0 && s->meta.nospace) {
        return err_set(x->err, ERR_LIMIT, "alarm NOSPACE is on: only deletions are taken");
    }
    if (grows > 0 && s->bytes + grows > s->limits.quota_bytes) {
        return err_set(x->err, ERR_LIMIT, "quota: %zu of %zu bytes used, %zu more asked for",
                       s->bytes, s->limits.quota_bytes, grows);
    }
    return 0;
}

static int check_all(const struct ap *x, const struct txn_op *ops, size_t n)
{
    struct txn_sum sum = { 0 };
    size_t gets = 0;
    int rc;

    for (size_t i = 0; i < n; i++) {
        rc = check_op(x, &ops[i], &sum);
        if (rc != 0) {
            return rc;
        }
        gets += ops[i].kind == TXN_GET || ops[i].prev_kv;
    }
    /* an op may also read what an earlier one of this transaction has put */
    if (gets > 0 && sum.read + gets * sum.put > CMD_MAX_ANSWER) {
        return err_set(x->err, ERR_TOO_LARGE,
                       "transaction: the answer could have %zu bytes, at most %u are taken",
                       sum.read + gets * sum.put, CMD_MAX_ANSWER);
    }
    return check_quota(x, &sum);
}

/* --- execution ---------------------------------------------------------------------------------
 */

static void answer_kv(struct ap *x, struct txn_answer *ans, const struct kv *v, bool keys_only)
{
    struct txn_kv *r = &ans->kvs[ans->n_kvs++];
    size_t vlen = keys_only ? 0 : v->vlen;

    r->key.p = (const uint8_t *)arena_strndup(x->a, kv_key(v), v->klen);
    r->key.n = v->klen;
    r->value.p = (const uint8_t *)arena_strndup(x->a, (const char *)kv_value(v), vlen);
    r->value.n = vlen;
    r->create_rev = v->create_rev;
    r->mod_rev = v->mod_rev;
    r->version = v->version;
    r->lease = v->lease;
}

static void exec_put(struct ap *x, const struct txn_op *op, struct txn_answer *ans)
{
    bool look = op->keep_lease || op->keep_value || op->prev_kv;
    const struct kv *old = look ? st_get(x->s, op->key.p, op->key.n) : NULL;
    uint64_t lease = op->keep_lease && old != NULL ? old->lease : op->lease;

    if (op->prev_kv && old != NULL) {
        ans->kvs = ARENA_NEW(x->a, struct txn_kv);
        answer_kv(x, ans, old, false);
    }
    if (op->keep_value) {
        /* checked to be there; an earlier op of this transaction may have deleted it */
        if (old != NULL) {
            (void)st_put(x->s, op->key.p, op->key.n, kv_value(old), old->vlen, lease);
        }
        return;
    }
    (void)st_put(x->s, op->key.p, op->key.n, op->value.p, op->value.n, lease);
}

/* Deleting an object ends what the state machine kept for it. */
static void after_delete(struct ap *x, struct bytes key)
{
    const char *plural, *slash;

    if (!bytes_is_prefix(key, "o/")) {
        return;
    }
    plural = (const char *)key.p + 2;
    slash = strchr(plural, '/');
    if (slash != NULL) {
        sf_deleted(x, arena_strndup(x->a, plural, (size_t)(slash - plural)), slash + 1);
    }
}

static void exec_delete(struct ap *x, const struct txn_op *op, struct txn_answer *ans)
{
    const struct kv **found;
    size_t n = st_collect(x->s, op->key, op->end, x->a, &found);

    ans->count = n;
    if (op->prev_kv) {
        ans->kvs = ARENA_ARRAY(x->a, struct txn_kv, n);
    }
    for (size_t i = 0; i < n; i++) {
        struct bytes key = {
            .p = (const uint8_t *)arena_strndup(x->a, kv_key(found[i]), found[i]->klen),
            .n = found[i]->klen,
        };

        if (op->prev_kv) {
            answer_kv(x, ans, found[i], false);
        }
        CHECK(st_del(x->s, key.p, key.n));
        after_delete(x, key);
    }
}

static void exec_get(struct ap *x, const struct txn_op *op, struct txn_answer *ans)
{
    const struct kv **found;
    size_t n = st_collect(x->s, op->key, op->end, x->a, &found);
    size_t take = op->count_only ? 0 : op->limit != 0 && op->limit < n ? (size_t)op->limit : n;

    ans->count = n;
    ans->kvs = ARENA_ARRAY(x->a, struct txn_kv, take);
    for (size_t i = 0; i < take; i++) {
        answer_kv(x, ans, found[i], op->keys_only);
    }
}

int ap_txn(struct ap *x)
{
    const struct cmd_txn *t = &x->c->txn;
    const struct txn_op *ops;
    size_t n;
    int rc;

    for (size_t i = 0; i < t->n_cmp; i++) {
        rc = access_txn_read(x, t->cmp[i].key, t->cmp[i].end);
        if (rc != 0) {
            return rc;
        }
    }
    x->ans->succeeded = txn_compare(x, t);
    ops = x->ans->succeeded ? t->then_ops : t->else_ops;
    n = x->ans->succeeded ? t->n_then : t->n_else;
    rc = check_all(x, ops, n);
    if (rc != 0) {
        return rc;
    }
    x->ans->answers = ARENA_ARRAY(x->a, struct txn_answer, n);
    x->ans->n_answers = n;
    for (size_t i = 0; i < n; i++) {
        struct txn_answer *ans = &x->ans->answers[i];

        ans->kind = ops[i].kind;
        switch (ops[i].kind) {
        case TXN_PUT:
            exec_put(x, &ops[i], ans);
            break;
        case TXN_DELETE:
            exec_delete(x, &ops[i], ans);
            break;
        case TXN_GET:
            exec_get(x, &ops[i], ans);
            break;
        }
    }
    return 0;
}
