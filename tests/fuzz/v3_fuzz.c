/* Bodies of the raw key space in etcd's JSON form.
 *
 * Every body goes through all decoders.  Whatever they make of it is a command that encodes, that
 * the store answers, and that changes nothing but k/ and s/lease/.  Seeds in tests/fuzz/corpus/v3.
 */

#include <stdlib.h>
#include <string.h>

#include "api/manifest.h"
#include "base/obj.h"
#include "cmd/picketd/v3.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store *store;
static uint64_t applied;

static void apply(const struct cmd *c)
{
    struct buf cmd = { 0 }, out = { 0 };
    struct arena a = { 0 };
    struct cmd_answer ans;
    struct err err = { 0 };

    if (cmd_encode(c, &cmd, &err) == 0) {
        applied++;
        store_apply(store, applied, 1, 1, cmd.data, cmd.len, &out);
        CHECK(cmd_answer_decode(out.data, out.len, &a, &ans, &err) == 0);
        for (size_t i = 0; i < ans.n_answers; i++) {
            json_t *j = v3_answer(&ans.answers[i]);

            CHECK(json_is_object(j));
            json_decref(j);
        }
    } else {
        CHECK(err.msg[0] != 0);
    }
    arena_done(&a);
    buf_done(&cmd);
    buf_done(&out);
}

static void check_key(const struct bytes *key, const struct bytes *end)
{
    CHECK(key->n >= 2);
    CHECK(memcmp(key->p, "k/", 2) == 0);
    if (end->p != NULL) { /* at most the end of our own space */
        CHECK(end->n >= 1);
        CHECK(memcmp(end->p, "k0", end->n < 2 ? end->n : 2) <= 0);
    }
}

static void give_op(const struct txn_op *op)
{
    struct txn_op copy = *op;
    struct cmd c = { .op = CMD_TXN, .actor = { ACTOR_RAW, "fuzz", 0 } };

    check_key(&op->key, &op->end);
    c.txn.then_ops = &copy;
    c.txn.n_then = 1;
    apply(&c);
}

static void give_txn(const struct cmd_txn *t)
{
    struct cmd c = { .op = CMD_TXN, .actor = { ACTOR_RAW, "fuzz", 0 }, .txn = *t };

    for (size_t i = 0; i < t->n_cmp; i++) {
        check_key(&t->cmp[i].key, &t->cmp[i].end);
    }
    for (size_t i = 0; i < t->n_then; i++) {
        check_key(&t->then_ops[i].key, &t->then_ops[i].end);
    }
    for (size_t i = 0; i < t->n_else; i++) {
        check_key(&t->else_ops[i].key, &t->else_ops[i].end);
    }
    apply(&c);
}

static void give_lease(const json_t *body)
{
    struct cmd c = { .op = CMD_LEASE, .actor = { ACTOR_RAW, "fuzz", 0 } };
    struct err err;

    if (v3_u64(body, "ID", &c.number, &err) == 0 && v3_u64(body, "TTL", &c.number2, &err) == 0) {
        apply(&c);
    }
}

/* What is watched stays in our own key space too. */
static void give_watch(const struct v3_watch *q)
{
    struct store_watch *w;
    struct kv_event ev;
    struct err err;

    CHECK(q->end.p != NULL);
    check_key(&q->key, &q->end);
    w = store_watch_new(store, q->key.p, q->key.n, q->end.p, q->end.n, q->from, NULL, NULL);
    for (int i = 0; i < 64 && store_watch_next(w, &ev, &err) == 1; i++) {
        CHECK(ev.klen >= 2);
        CHECK(memcmp(ev.key, "k/", 2) == 0);
    }
    store_watch_free(w);
}

static void check_body(const json_t *body)
{
    struct arena a = { 0 };
    struct bytes key, end;
    struct txn_op op = { 0 };
    struct cmd_txn txn = { 0 };
    struct v3_watch watch;
    struct err err;

    if (v3_range(body, &a, &key, &end, &err) == 0) {
        check_key(&key, &end);
    }
    if (v3_put_decode(body, &a, &op, &err) == 0) {
        give_op(&op);
    }
    if (v3_range_decode(body, &a, &op, &err) == 0) {
        give_op(&op);
    }
    if (v3_txn_decode(body, &a, &txn, &err) == 0) {
        give_txn(&txn);
    }
    if (v3_delete_decode(body, &a, &op, &err) == 0) {
        give_op(&op);
    }
    give_lease(body);
    if (v3_watch_decode(body, &a, &watch, &err) == 0) {
        give_watch(&watch);
    }
    arena_done(&a);
}

static bool visit(void *ctx, const struct kv *v)
{
    (void)ctx;
    CHECK(strncmp(kv_key(v), "k/", 2) == 0 || strncmp(kv_key(v), "s/lease/", 8) == 0);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    json_t *v = NULL;
    struct err err;

    store = store_new(NULL);
    applied = 0;
    if (json_parse_strict(text, size, &v, &err) == 0) {
        if (json_is_array(v)) {
            for (size_t i = 0; i < json_array_size(v); i++) {
                check_body(json_array_get(v, i));
            }
        } else {
            check_body(v);
        }
    }
    store_prefix(store, "", visit, NULL);
    json_decref(v);
    store_free(store);
    free(text);
    return 0;
}
