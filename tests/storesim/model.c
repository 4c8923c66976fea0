#include "tests/storesim/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

#define WRONG(...) err_set(err, ERR_CONFLICT, __VA_ARGS__)

static int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);

    return c != 0 ? c : a.n < b.n ? -1 : a.n > b.n;
}

static bool starts(struct bytes key, const char *prefix)
{
    size_t n = strlen(prefix);

    return key.n >= n && memcmp(key.p, prefix, n) == 0;
}

static struct bytes keep(struct model *m, struct bytes b)
{
    const char *p = b.n == 0 ? "" : (const char *)b.p;

    return (struct bytes){ (const uint8_t *)arena_strndup(&m->a, p, b.n), b.n };
}

void model_init(struct model *m, uint64_t history_count)
{
    *m = (struct model){ .history_count = history_count };
}

void model_done(struct model *m)
{
    for (size_t i = 0; i < m->n_sessions; i++) {
        free(m->sessions[i].kept);
    }
    free(m->sessions);
    free(m->events);
    free(m->keys);
    arena_done(&m->a);
    *m = (struct model){ 0 };
}

/* --- looking -----------------------------------------------------------------------------------
 */

/* The first key at or behind `key`. */
static size_t key_at(const struct model *m, struct bytes key)
{
    size_t lo = 0, hi = m->n_keys;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (bytes_cmp(m->keys[mid].key, key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static const struct m_event *version_at(const struct model *m, int64_t at, uint64_t rev)
{
    while (at >= 0 && rev != 0 && m->events[at].rev > rev) {
        at = m->events[at].prev;
    }
    return at < 0 || m->events[at].del ? NULL : &m->events[at];
}

const struct m_event *model_get(const struct model *m, struct bytes key, uint64_t rev)
{
    size_t i = key_at(m, key);

    return i < m->n_keys && bytes_cmp(m->keys[i].key, key) == 0
               ? version_at(m, m->keys[i].last, rev)
               : NULL;
}

const struct m_event *model_range(const struct model *m, struct bytes key, struct bytes end,
                                  uint64_t rev, size_t nth)
{
    if (end.p == NULL) {
        return nth == 0 ? model_get(m, key, rev) : NULL;
    }
    for (size_t i = key_at(m, key); i < m->n_keys && bytes_cmp(m->keys[i].key, end) < 0; i++) {
        const struct m_event *e = version_at(m, m->keys[i].last, rev);

        if (e != NULL && nth-- == 0) {
            return e;
        }
    }
    return NULL;
}

int64_t model_next(const struct model *m, size_t from, struct bytes key, struct bytes end)
{
    for (size_t i = from; i < m->n; i++) {
        struct bytes k = m->events[i].key;

        if (end.p == NULL ? k.n >= key.n && memcmp(k.p, key.p, key.n) == 0
                          : bytes_cmp(k, key) >= 0 && bytes_cmp(k, end) < 0) {
            return (int64_t)i;
        }
    }
    return -1;
}

size_t model_after(const struct model *m, uint64_t rev)
{
    size_t lo = 0, hi = m->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (m->events[mid].rev <= rev) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

bool model_same(const struct m_event *a, const struct m_event *b)
{
    return a->rev == b->rev && a->del == b->del && bytes_cmp(a->key, b->key) == 0 &&
           bytes_cmp(a->value, b->value) == 0 && a->create_rev == b->create_rev &&
           a->version == b->version && a->lease == b->lease;
}

/* --- changing ----------------------------------------------------------------------------------
 */

static struct m_key *key_slot(struct model *m, struct bytes key)
{
    size_t i = key_at(m, key);

    if (i < m->n_keys && bytes_cmp(m->keys[i].key, key) == 0) {
        return &m->keys[i];
    }
    if (m->n_keys == m->cap_keys) {
        m->cap_keys = m->cap_keys == 0 ? 64 : m->cap_keys * 2;
        m->keys = mem_realloc(m->keys, m->cap_keys * sizeof(*m->keys));
    }
    memmove(&m->keys[i + 1], &m->keys[i], (m->n_keys - i) * sizeof(*m->keys));
    m->n_keys++;
    m->keys[i] = (struct m_key){ keep(m, key), -1 };
    return &m->keys[i];
}

static void append(struct model *m, struct m_event e)
{
    struct m_key *k = key_slot(m, e.key);

    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 1024 : m->cap * 2;
        m->events = mem_realloc(m->events, m->cap * sizeof(*m->events));
    }
    e.key = k->key;
    e.value = keep(m, e.value);
    e.prev = k->last;
    k->last = (int64_t)m->n;
    m->events[m->n++] = e;
}

static void put(struct model *m, struct bytes key, struct bytes value, uint64_t lease)
{
    const struct m_event *old = model_get(m, key, 0);
    struct m_event e = { .rev = m->rev + 1, .key = key, .value = value, .lease = lease };

    e.create_rev = old == NULL ? e.rev : old->create_rev;
    e.version = old == NULL ? 1 : old->version + 1;
    append(m, e);
}

static void del(struct model *m, struct bytes key)
{
    append(m, (struct m_event){ .rev = m->rev + 1, .del = true, .key = key });
}

/* --- transactions ------------------------------------------------------------------------------
 */

static bool holds(enum cmp_result want, int c)
{
    return want == CMP_EQUAL     ? c == 0
           : want == CMP_GREATER ? c > 0
           : want == CMP_LESS    ? c < 0
                                 : c != 0;
}

static bool cmp_version(const struct txn_cmp *c, const struct m_event *e)
{
    uint64_t is = 0;

    if (c->target == CMP_VALUE) {
        return e != NULL && holds(c->result, bytes_cmp(e->value, c->value));
    }
    if (e != NULL) {
        is = c->target == CMP_VERSION  ? e->version
             : c->target == CMP_CREATE ? e->create_rev
             : c->target == CMP_MOD    ? e->rev
                                       : e->lease;
    }
    return holds(c->result, is < c->number ? -1 : is > c->number);
}

static bool compare(const struct model *m, const struct cmd_txn *t)
{
    for (size_t i = 0; i < t->n_cmp; i++) {
        const struct txn_cmp *c = &t->cmp[i];
        const struct m_event *e;
        size_t k = 0;

        do {
            e = model_range(m, c->key, c->end, 0, k);
            if ((e != NULL || k == 0) && !cmp_version(c, e)) {
                return false;
            }
            k++;
        } while (e != NULL);
    }
    return true;
}

static struct bytes lease_key(struct arena *a, uint64_t id)
{
    const char *s = arena_printf(a, "s/lease/%020" PRIu64, id);

    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

/* What may be refused: 0 or the code. */
static int txn_refusal(const struct model *m, const struct m_seen *seen, const struct txn_op *ops,
                       size_t n, struct arena *a)
{
    size_t grows = 0, shrinks = 0;

    for (size_t i = 0; i < n; i++) {
        const struct m_event *old = model_get(m, ops[i].key, 0);

        if (ops[i].kind != TXN_PUT) {
            continue;
        }
        if (old == NULL && (ops[i].keep_value || ops[i].keep_lease)) {
            return ERR_NOT_FOUND;
        }
        if (ops[i].lease != 0 && !ops[i].keep_lease &&
            model_get(m, lease_key(a, ops[i].lease), 0) == NULL) {
            return ERR_NOT_FOUND;
        }
        shrinks += old == NULL ? 0 : old->key.n + old->value.n;
        grows += ops[i].key.n + (ops[i].keep_value && old != NULL ? old->value.n : ops[i].value.n);
    }
    if (grows > shrinks && (m->nospace || seen->bytes_before + grows - shrinks > seen->quota)) {
        return ERR_LIMIT;
    }
    return 0;
}

static void answer_kv(struct txn_answer *ans, const struct m_event *e, bool keys_only)
{
    ans->kvs[ans->n_kvs++] = (struct txn_kv){
        .key = e->key,
        .value = { e->value.p, keys_only ? 0 : e->value.n },
        .create_rev = e->create_rev,
        .mod_rev = e->rev,
        .version = e->version,
        .lease = e->lease,
    };
}

static size_t count(const struct model *m, struct bytes key, struct bytes end)
{
    size_t n = 0;

    while (model_range(m, key, end, 0, n) != NULL) {
        n++;
    }
    return n;
}

static void do_put(struct model *m, const struct txn_op *op, struct txn_answer *ans,
                   struct arena *a)
{
    const struct m_event *old = model_get(m, op->key, 0);

    if (op->prev_kv && old != NULL) {
        ans->kvs = ARENA_NEW(a, struct txn_kv);
        answer_kv(ans, old, false);
    }
    if (!op->keep_value) {
        put(m, op->key, op->value, op->keep_lease && old != NULL ? old->lease : op->lease);
    } else if (old != NULL) {
        put(m, op->key, old->value, op->keep_lease ? old->lease : op->lease);
    }
}

static void do_op(struct model *m, const struct txn_op *op, struct txn_answer *ans, struct arena *a)
{
    size_t n = count(m, op->key, op->end);
    const struct m_event *e;

    ans->kind = op->kind;
    if (op->kind == TXN_PUT) {
        do_put(m, op, ans, a);
        return;
    }
    ans->count = n;
    ans->kvs = ARENA_ARRAY(a, struct txn_kv, n);
    if (op->kind == TXN_DELETE) {
        for (size_t i = 0; i < n; i++) {
            e = model_range(m, op->key, op->end, 0, 0); /* always the first: it goes */
            if (op->prev_kv) {
                answer_kv(ans, e, false);
            }
            del(m, e->key);
        }
        return;
    }
    for (size_t i = 0; i < n && !op->count_only && (op->limit == 0 || i < op->limit); i++) {
        answer_kv(ans, model_range(m, op->key, op->end, 0, i), op->keys_only);
    }
}

static int do_txn(struct model *m, const struct m_seen *seen, const struct cmd_txn *t,
                  struct cmd_answer *ans, struct arena *a)
{
    const struct txn_op *ops;
    size_t n;
    int rc;

    ans->succeeded = compare(m, t);
    ops = ans->succeeded ? t->then_ops : t->else_ops;
    n = ans->succeeded ? t->n_then : t->n_else;
    rc = txn_refusal(m, seen, ops, n, a);
    if (rc != 0) {
        return rc;
    }
    ans->answers = ARENA_ARRAY(a, struct txn_answer, n);
    ans->n_answers = n;
    for (size_t i = 0; i < n; i++) {
        do_op(m, &ops[i], &ans->answers[i], a);
    }
    return 0;
}

/* --- leases, compaction ------------------------------------------------------------------------
 */

static void answer_value(struct cmd_answer *ans, uint64_t v, struct arena *a)
{
    ans->values = ARENA_NEW(a, uint64_t);
    ans->values[0] = v;
    ans->n_values = 1;
}

static struct bytes ttl_value(struct arena *a, uint64_t ttl)
{
    uint8_t *p = arena_alloc(a, 9); /* msgpack, shortest form */
    size_t n = ttl < 128 ? 0 : ttl < 256 ? 1 : ttl < 65536 ? 2 : ttl <= UINT32_MAX ? 4 : 8;

    if (n == 0) {
        p[0] = (uint8_t)ttl;
        return (struct bytes){ p, 1 };
    }
    p[0] = n == 1 ? 0xcc : n == 2 ? 0xcd : n == 4 ? 0xce : 0xcf;
    for (size_t i = 0; i < n; i++) {
        p[n - i] = (uint8_t)(ttl >> (8 * i));
    }
    return (struct bytes){ p, n + 1 };
}

/* The keys that hang on a lease go in their order, the lease last. */
static int do_revoke(struct model *m, uint64_t id, struct arena *a)
{
    struct bytes key = lease_key(a, id);

    if (model_get(m, key, 0) == NULL) {
        return ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < m->n_keys; i++) {
        const struct m_event *e = version_at(m, m->keys[i].last, 0);

        if (e != NULL && e->lease == id) {
            del(m, m->keys[i].key);
        }
    }
    del(m, key);
    return 0;
}

static int do_lease(struct model *m, const struct m_seen *seen, const struct cmd *c,
                    struct cmd_answer *ans, struct arena *a)
{
    uint64_t id = c->number != 0 ? c->number : m->rev + 1;

    while (c->number == 0 && model_get(m, lease_key(a, id), 0) != NULL) {
        id++;
    }
    if (c->number2 == 0) {
        return do_revoke(m, id, a);
    }
    if (c->actor.role == ACTOR_CONTROLLER) {
        return ERR_DENIED;
    }
    if (model_get(m, lease_key(a, id), 0) != NULL) {
        return ERR_EXISTS;
    }
    if (m->nospace || seen->bytes_before + 64 > seen->quota) {
        return ERR_LIMIT;
    }
    put(m, lease_key(a, id), ttl_value(a, c->number2), 0);
    answer_value(ans, id, a);
    return 0;
}

static int do_compact(struct model *m, const struct cmd *c)
{
    if (c->number > m->rev) {
        return ERR_INVALID;
    }
    if (c->number <= m->compact_rev) {
        return ERR_COMPACTED;
    }
    m->compact_rev = c->number;
    return 0;
}

/* --- sessions ----------------------------------------------------------------------------------
 */

static struct m_session *session(const struct model *m, uint64_t id)
{
    for (size_t i = m->n_sessions; i > 0; i--) {
        if (m->sessions[i - 1].id == id) {
            return m->sessions[i - 1].owner == NULL ? NULL : &m->sessions[i - 1];
        }
    }
    return NULL;
}

static int do_session(struct model *m, const struct cmd *c, struct cmd_answer *ans, struct arena *a)
{
    const char *owner = arena_printf(&m->a, "%d:%s", (int)c->actor.role, c->text);
    uint64_t id = m->n_sessions == 0 ? 1 : m->sessions[m->n_sessions - 1].id + 1;

    for (size_t i = 0; i < m->n_sessions; i++) {
        if (m->sessions[i].owner != NULL && strcmp(m->sessions[i].owner, owner) == 0) {
            m->sessions[i].owner = NULL;
        }
    }
    if (m->n_sessions == m->cap_sessions) {
        m->cap_sessions = m->cap_sessions == 0 ? 16 : m->cap_sessions * 2;
        m->sessions = mem_realloc(m->sessions, m->cap_sessions * sizeof(*m->sessions));
    }
    m->sessions[m->n_sessions++] = (struct m_session){ .id = id, .owner = owner, .ack = 1 };
    answer_value(ans, id, a);
    return 0;
}

/* 1: execute; 0: *ret is the answer of the first time; else what is refused. */
static int session_enter(struct model *m, const struct cmd *c, struct bytes *ret)
{
    struct m_session *e = session(m, c->session);

    if (e == NULL) {
        return ERR_STALE;
    }
    if (c->seq == 0 || c->ack > c->seq) {
        return ERR_INVALID;
    }
    e->ack = c->ack > e->ack ? c->ack : e->ack;
    if (c->seq < e->ack) {
        return ERR_STALE;
    }
    for (size_t i = 0; i < e->n; i++) {
        if (e->kept[i].seq == c->seq) {
            *ret = e->kept[i].answer;
            return 0;
        }
    }
    return 1;
}

static void session_leave(struct model *m, const struct cmd *c, struct bytes answer)
{
    struct m_session *e = session(m, c->session);

    if (e == NULL) {
        return;
    }
    if (e->n == e->cap) {
        e->cap = e->cap == 0 ? 16 : e->cap * 2;
        e->kept = mem_realloc(e->kept, e->cap * sizeof(*e->kept));
    }
    e->kept[e->n++] = (struct m_kept){ c->seq, keep(m, answer) };
}

/* --- one command -------------------------------------------------------------------------------
 */

static bool raw_keys_only(const struct cmd *c)
{
    const struct cmd_txn *t = &c->txn;
    bool raw = c->actor.role == ACTOR_RAW;

    for (size_t i = 0; raw && i < t->n_cmp; i++) {
        raw =
            starts(t->cmp[i].key, "k/") && (t->cmp[i].end.p == NULL || starts(t->cmp[i].end, "k/"));
    }
    for (size_t i = 0; raw && i < t->n_then + t->n_else; i++) {
        const struct txn_op *op = i < t->n_then ? &t->then_ops[i] : &t->else_ops[i - t->n_then];

        raw = starts(op->key, "k/") && (op->end.p == NULL || starts(op->end, "k/"));
    }
    return raw;
}

static bool predictable(const struct cmd *c)
{
    return (c->op == CMD_TXN && raw_keys_only(c)) || c->op == CMD_SESSION_OPEN ||
           (c->op == CMD_COMPACT && c->actor.role == ACTOR_RAW) || c->op == CMD_LEASE;
}

static int execute(struct model *m, const struct m_seen *seen, const struct cmd *c,
                   struct cmd_answer *ans, struct arena *a)
{
    if (c->actor.role == ACTOR_CONTROLLER && c->actor.term != seen->term) {
        return ERR_STALE;
    }
    switch (c->op) {
    case CMD_TXN:
        return do_txn(m, seen, &c->txn, ans, a);
    case CMD_LEASE:
        return do_lease(m, seen, c, ans, a);
    case CMD_COMPACT:
        return do_compact(m, c);
    default:
        return do_session(m, c, ans, a);
    }
}

/* After the model's own changes from `first` on: the same that the store made? */
static int check_events(const struct model *m, const struct m_seen *seen, size_t first,
                        struct err *err)
{
    if (m->n - first != seen->n_events) {
        return WRONG("%zu changes, the model has %zu", seen->n_events, m->n - first);
    }
    for (size_t i = 0; i < seen->n_events; i++) {
        const struct m_event *e = &seen->events[i];

        if (!model_same(e, &m->events[first + i])) {
            return WRONG("change %zu is %s %.*s at %" PRIu64 " version %" PRIu64
                         ", the model has %s %.*s at %" PRIu64 " version %" PRIu64,
                         i, e->del ? "del" : "put", (int)e->key.n, (const char *)e->key.p, e->rev,
                         e->version, m->events[first + i].del ? "del" : "put",
                         (int)m->events[first + i].key.n, (const char *)m->events[first + i].key.p,
                         m->events[first + i].rev, m->events[first + i].version);
        }
    }
    return 0;
}

/* The automatic end of old history: the newest history_count revisions stay. */
static int check_compact(struct model *m, const struct m_seen *seen, struct err *err)
{
    uint64_t want = m->compact_rev;

    if (m->rev > m->history_count && m->rev - m->history_count > want) {
        want = m->rev - m->history_count;
    }
    if (seen->compact_rev != want) {
        return WRONG("compacted up to %" PRIu64 ", the model says %" PRIu64, seen->compact_rev,
                     want);
    }
    m->compact_rev = want;
    return 0;
}

static int check_answer(const struct m_seen *seen, const struct cmd_answer *want, int code,
                        struct arena *a, struct err *err)
{
    struct cmd_answer is;
    struct buf b = { 0 };
    struct err e;
    bool same;

    if (cmd_answer_decode(seen->answer, seen->answer_len, a, &is, &e) != 0) {
        return WRONG("the answer cannot be decoded: %s", e.msg);
    }
    if (code != 0) {
        return is.code == code
                   ? 0
                   : WRONG("answered %s, the model says %s", err_name(is.code), err_name(code));
    }
    if (cmd_answer_encode(want, &b, &e) != 0) {
        return WRONG("the model's answer: %s", e.msg);
    }
    same = b.len == seen->answer_len && memcmp(b.data, seen->answer, b.len) == 0;
    buf_done(&b);
    return same ? 0
                : WRONG("answered %s with %zu parts at revision %" PRIu64
                        ", succeeded %d; the model says %zu parts at %" PRIu64 ", succeeded %d",
                        is.code == 0 ? "ok" : err_name(is.code), is.n_answers, is.rev, is.succeeded,
                        want->n_answers, want->rev, want->succeeded);
}

static int predict(struct model *m, const struct m_seen *seen, const struct cmd *c, struct arena *a,
                   struct err *err)
{
    struct cmd_answer ans = { 0 };
    size_t first = m->n;
    int code = execute(m, seen, c, &ans, a);
    int rc;

    m->predicted++;
    rc = check_events(m, seen, first, err);
    if (rc != 0) {
        return rc;
    }
    m->rev += m->n > first;
    ans.rev = m->rev;
    return check_answer(seen, &ans, code, a, err);
}

/* A key that this command may change. */
static bool may_touch(const struct cmd *c, struct bytes key)
{
    const struct cmd_txn *t = &c->txn;

    if (c->op != CMD_TXN) {
        return starts(key, "s/");
    }
    for (size_t i = 0; i < t->n_then + t->n_else; i++) {
        const struct txn_op *op = i < t->n_then ? &t->then_ops[i] : &t->else_ops[i - t->n_then];

        if (op->end.p == NULL ? bytes_cmp(op->key, key) == 0
                              : bytes_cmp(key, op->key) >= 0 && bytes_cmp(key, op->end) < 0) {
            return !starts(key, "s/");
        }
    }
    return starts(key, "s/"); /* what the store kept for an object that was deleted */
}

static int adopt_one(struct model *m, const struct cmd *c, const struct m_event *e, struct err *err)
{
    const struct m_event *old = model_get(m, e->key, 0);

    if (e->rev != m->rev + 1) {
        return WRONG("a change at revision %" PRIu64 " after %" PRIu64, e->rev, m->rev);
    }
    if (!may_touch(c, e->key)) {
        return WRONG("command %d changed %.*s", (int)c->op, (int)e->key.n, (const char *)e->key.p);
    }
    if (e->del ? old == NULL
               : e->version != (old == NULL ? 1 : old->version + 1) ||
                     e->create_rev != (old == NULL ? e->rev : old->create_rev)) {
        return WRONG("%.*s: version %" PRIu64 " created %" PRIu64 " after version %" PRIu64,
                     (int)e->key.n, (const char *)e->key.p, e->version, e->create_rev,
                     old == NULL ? 0 : old->version);
    }
    append(m, *e);
    return 0;
}

static int adopt(struct model *m, const struct m_seen *seen, const struct cmd *c, struct arena *a,
                 struct err *err)
{
    struct cmd_answer is;

    m->adopted++;
    if (cmd_answer_decode(seen->answer, seen->answer_len, a, &is, err) != 0) {
        return WRONG("the answer cannot be decoded");
    }
    if (is.code != 0 && seen->n_events > 0 && c->op != CMD_REGISTER) {
        return WRONG("command %d was refused (%s) and changed something", (int)c->op,
                     err_name(is.code));
    }
    for (size_t i = 0; i < seen->n_events; i++) {
        if (adopt_one(m, c, &seen->events[i], err) != 0) {
            return err->code;
        }
    }
    m->rev += seen->n_events > 0;
    if (is.rev != m->rev) {
        return WRONG("answered revision %" PRIu64 ", the model says %" PRIu64, is.rev, m->rev);
    }
    if (c->op == CMD_ALARM && is.code == 0 && c->text != NULL && strcmp(c->text, "NOSPACE") == 0) {
        m->nospace = c->number != 0;
    }
    return 0;
}

static int apply(struct model *m, const struct m_seen *seen, struct arena *a, struct err *err)
{
    struct bytes kept;
    struct cmd c;
    int rc;

    if (cmd_decode(seen->cmd, seen->cmd_len, a, &c, err) != 0) {
        return WRONG("no command");
    }
    rc = c.session == 0 ? 1 : session_enter(m, &c, &kept);
    if (rc == 0) {
        return seen->n_events == 0 && kept.n == seen->answer_len &&
                       memcmp(kept.p, seen->answer, kept.n) == 0
                   ? 0
                   : WRONG("session %" PRIu64 " seq %" PRIu64
                           " came again and was not answered as the first time",
                           c.session, c.seq);
    }
    if (rc != 1) {
        return seen->n_events > 0 ? WRONG("session %" PRIu64 " seq %" PRIu64
                                          " must be refused and changed something",
                                          c.session, c.seq)
                                  : check_answer(seen, NULL, rc, a, err);
    }
    rc = predictable(&c) ? predict(m, seen, &c, a, err) : adopt(m, seen, &c, a, err);
    if (rc == 0 && c.session != 0) {
        session_leave(m, &c, (struct bytes){ seen->answer, seen->answer_len });
    }
    return rc;
}

int model_apply(struct model *m, const struct m_seen *seen, struct err *err)
{
    struct arena a = { 0 };
    int rc = apply(m, seen, &a, err);

    if (rc == 0) {
        rc = check_compact(m, seen, err);
    }
    arena_done(&a);
    return rc;
}
