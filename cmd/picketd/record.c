#include "cmd/picketd/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

json_t *record_get(const struct store *s, const char *key, uint64_t *ret_rev)
{
    const struct kv *v = store_get_str(s, key);
    uint64_t generation;
    const char *text;
    uint32_t flags;
    struct err err;
    size_t len;

    *ret_rev = v == NULL ? 0 : v->mod_rev;
    if (v == NULL ||
        objval_decode(kv_value(v), v->vlen, &generation, &flags, &text, &len, &err) != 0) {
        return NULL;
    }
    return json_loadb(text, len, 0, NULL);
}

struct record_op {
    node_cb *cb;
    void *data;
};

static void record_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct record_op *op = data;
    struct err e;

    if (err == NULL && !ans->succeeded) {
        (void)err_set(&e, ERR_CONFLICT, "a record was changed meanwhile: repeat the request");
        op->cb(op->data, &e, NULL);
    } else {
        op->cb(op->data, err, ans);
    }
    free(op);
}

void record_put(struct node *n, const char *key, const json_t *value, uint64_t old_rev, node_cb *cb,
                void *data)
{
    struct bytes kb = { .p = (const uint8_t *)key, .n = strlen(key) };
    struct txn_cmp cmp = { .target = CMP_MOD, .result = CMP_EQUAL, .key = kb, .number = old_rev };
    struct txn_op put = { .kind = value == NULL ? TXN_DELETE : TXN_PUT, .key = kb };
    struct cmd c = { .op = CMD_TXN,
                     .actor = { .role = ACTOR_USER, .name = "picketd" },
                     .txn = { .cmp = &cmp, .n_cmp = 1, .then_ops = &put, .n_then = 1 } };
    struct record_op *op = OBJ_NEW(struct record_op);
    struct buf b = { 0 };
    char *text;

    if (store_level(n->store) >= 2) { /* the row o/_... of the access table */
        c.actor = (struct actor){ .role = ACTOR_EXECUTOR, .name = n->opts.name };
    }
    *op = (struct record_op){ .cb = cb, .data = data };
    if (value != NULL) {
        text = json_dumps(value, JSON_COMPACT);
        CHECK(text != NULL);
        objval_encode(1, 0, text, strlen(text), &b);
        put.value = (struct bytes){ .p = b.data, .n = b.len };
        free(text);
    }
    node_submit(n, &c, true, record_done, op);
    buf_done(&b);
}
