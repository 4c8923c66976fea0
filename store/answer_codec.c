/* Answers to bytes and back: [code, msg, rev, [values], succeeded, [[kind, count, [kv]]]], where
 * kv = [key, value, create, mod, version, lease] and code is 0 or the error's number without its
 * sign. */

#include "store/cmd.h"

#include "base/obj.h"
#include "store/mpk.h"

#define ANSWER_CODE_MAX 1000U
#define ANSWER_VALUE_MAX (CMD_MAX_VALUE + 4096U)

static void enc_kv(struct buf *b, const struct txn_kv *v)
{
    mpk_array(b, 6);
    mpk_bytes(b, v->key);
    mpk_bytes(b, v->value);
    mpk_uint(b, v->create_rev);
    mpk_uint(b, v->mod_rev);
    mpk_uint(b, v->version);
    mpk_uint(b, v->lease);
}

static void enc_answer(struct buf *b, const struct txn_answer *t)
{
    mpk_array(b, 3);
    mpk_uint(b, (uint64_t)t->kind);
    mpk_uint(b, t->count);
    mpk_array(b, t->n_kvs);
    for (size_t i = 0; i < t->n_kvs; i++) {
        enc_kv(b, &t->kvs[i]);
    }
}

int cmd_answer_encode(const struct cmd_answer *ans, struct buf *out, struct err *err)
{
    CHECK(ans->code <= 0);
    mpk_array(out, 6);
    mpk_uint(out, (uint64_t)-ans->code);
    mpk_str(out, ans->msg);
    mpk_uint(out, ans->rev);
    mpk_array(out, ans->n_values);
    for (size_t i = 0; i < ans->n_values; i++) {
        mpk_uint(out, ans->values[i]);
    }
    mpk_bool(out, ans->succeeded);
    mpk_array(out, ans->n_answers);
    for (size_t i = 0; i < ans->n_answers; i++) {
        enc_answer(out, &ans->answers[i]);
    }
    if (out->overflow) {
        return err_set(err, ERR_TOO_LARGE, "answer of %zu parts does not fit in %zu bytes",
                       ans->n_answers, out->max);
    }
    return 0;
}

static void dec_kv(struct mpk *m, struct txn_kv *v)
{
    (void)mpk_get_array(m, 6, 6, "kv");
    v->key = mpk_get_bytes(m, CMD_MAX_KEY, "kv.key");
    v->value = mpk_get_bytes(m, ANSWER_VALUE_MAX, "kv.value");
    v->create_rev = mpk_get_uint(m, UINT64_MAX, "kv.create_rev");
    v->mod_rev = mpk_get_uint(m, UINT64_MAX, "kv.mod_rev");
    v->version = mpk_get_uint(m, UINT64_MAX, "kv.version");
    v->lease = mpk_get_uint(m, UINT64_MAX, "kv.lease");
}

static void dec_answer(struct mpk *m, struct txn_answer *t)
{
    (void)mpk_get_array(m, 3, 3, "op answer");
    t->kind = (enum txn_kind)mpk_get_uint(m, TXN_GET, "op answer.kind");
    t->count = mpk_get_uint(m, UINT64_MAX, "op answer.count");
    t->n_kvs = mpk_get_array(m, 0, SIZE_MAX, "op answer.kvs");
    t->kvs = ARENA_ARRAY(m->arena, struct txn_kv, t->n_kvs);
    for (size_t i = 0; i < t->n_kvs && m->bad == NULL; i++) {
        dec_kv(m, &t->kvs[i]);
    }
}

int cmd_answer_decode(const void *data, size_t len, struct arena *a, struct cmd_answer *ret,
                      struct err *err)
{
    struct mpk m = mpk_make(data, len, a);
    struct cmd_answer ans = { 0 };
    int rc;

    (void)mpk_get_array(&m, 6, 6, "answer");
    ans.code = -(int)mpk_get_uint(&m, ANSWER_CODE_MAX, "code");
    ans.msg = mpk_get_str(&m, SIZE_MAX, "msg");
    ans.rev = mpk_get_uint(&m, UINT64_MAX, "rev");
    ans.n_values = mpk_get_array(&m, 0, SIZE_MAX, "values");
    ans.values = ARENA_ARRAY(a, uint64_t, ans.n_values);
    for (size_t i = 0; i < ans.n_values && m.bad == NULL; i++) {
        ans.values[i] = mpk_get_uint(&m, UINT64_MAX, "value");
    }
    ans.succeeded = mpk_get_bool(&m, "succeeded");
    ans.n_answers = mpk_get_array(&m, 0, SIZE_MAX, "answers");
    ans.answers = ARENA_ARRAY(a, struct txn_answer, ans.n_answers);
    for (size_t i = 0; i < ans.n_answers && m.bad == NULL; i++) {
        dec_answer(&m, &ans.answers[i]);
    }
    rc = mpk_end(&m, ERR_INVALID, "answer", err);
    if (rc == 0) {
        *ret = ans;
    }
    return rc;
}
