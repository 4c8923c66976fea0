#include "cmd/picketd/v3.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define TXN_OPS_MAX 128U /* etcd's default --max-txn-ops */

/* --- fields ------------------------------------------------------------------------------------
 */

const json_t *v3_get(const json_t *obj, const char *name)
{
    const json_t *v = json_object_get(obj, name);
    char camel[64];
    size_t n = 0;

    if (v != NULL) {
        return v;
    }
    for (const char *p = name; *p != 0 && n + 1 < sizeof(camel); p++) {
        bool up = *p == '_' && p[1] != 0;

        p += up;
        camel[n++] = (char)(up && *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    }
    camel[n] = 0;
    return json_object_get(obj, camel);
}

int v3_u64(const json_t *obj, const char *name, uint64_t *ret, struct err *err)
{
    const json_t *v = v3_get(obj, name);
    int64_t signed_v;

    *ret = 0;
    if (v == NULL || json_is_null(v)) {
        return 0;
    }
    if (json_is_integer(v)) {
        *ret = (uint64_t)json_integer_value(v);
        return 0;
    }
    if (json_is_string(v) && str_parse_i64(json_string_value(v), &signed_v)) {
        *ret = (uint64_t)signed_v;
        return 0;
    }
    return err_set(err, ERR_BAD_REQUEST, "%s: a 64-bit integer is expected", name);
}

bool v3_bool(const json_t *obj, const char *name)
{
    return json_is_true(v3_get(obj, name));
}

int v3_enum(const json_t *obj, const char *name, const char *const *names, unsigned *ret,
            struct err *err)
{
    const json_t *v = v3_get(obj, name);

    *ret = 0;
    if (v == NULL) {
        return 0;
    }
    for (unsigned i = 0; names[i] != NULL; i++) {
        if ((json_is_integer(v) && json_integer_value(v) == (json_int_t)i) ||
            str_eq(json_string_value(v), names[i])) {
            *ret = i;
            return 0;
        }
    }
    return err_set(err, ERR_BAD_REQUEST, "%s: unknown value", name);
}

int v3_bytes(const json_t *obj, const char *name, struct arena *a, struct bytes *ret,
             struct err *err)
{
    const json_t *v = v3_get(obj, name);
    size_t len;
    uint8_t *p;

    *ret = (struct bytes){ 0 };
    if (v == NULL || json_is_null(v)) {
        return 0;
    }
    len = json_string_length(v);
    p = arena_alloc(a, len + 1);
    if (!json_is_string(v) || !str_b64_decode(json_string_value(v), len, p, len + 1, &ret->n)) {
        return err_set(err, ERR_BAD_REQUEST, "%s: base64 is expected", name);
    }
    ret->p = p;
    return 0;
}

static struct bytes in_space(struct arena *a, struct bytes b)
{
    uint8_t *p = arena_alloc(a, b.n + 3);

    memcpy(p, "k/", 2);
    if (b.n > 0) {
        memcpy(p + 2, b.p, b.n);
    }
    return (struct bytes){ .p = p, .n = b.n + 2 };
}

/* range_end "\0" means: everything from key on.  Key "\0" with it: everything. */
int v3_range(const json_t *obj, struct arena *a, struct bytes *ret_key, struct bytes *ret_end,
             struct err *err)
{
    struct bytes key, end;

    if (v3_bytes(obj, "key", a, &key, err) != 0 || v3_bytes(obj, "range_end", a, &end, err) != 0) {
        return err->code;
    }
    if (key.p == NULL || key.n == 0) {
        return err_set(err, ERR_BAD_REQUEST, "etcdserver: key is not provided");
    }
    *ret_key = in_space(a, key);
    *ret_end = (struct bytes){ 0 };
    if (end.p != NULL && end.n > 0) {
        bool all = end.n == 1 && end.p[0] == 0;

        *ret_end = all ? (struct bytes){ .p = (const uint8_t *)"k0", .n = 2 } : in_space(a, end);
    }
    return 0;
}

void v3_set_u64(json_t *obj, const char *name, uint64_t v)
{
    char text[24];

    if (v != 0) {
        (void)snprintf(text, sizeof(text), "%" PRId64, (int64_t)v);
        (void)json_object_set_new(obj, name, json_string(text));
    }
}

static uint64_t cluster_number(const struct node *n)
{
    uint64_t h = 0xcbf29ce484222325ULL;

    for (const char *p = n->opts.cluster; p != NULL && *p != 0; p++) {
        h = (h ^ (uint8_t)*p) * 0x100000001b3ULL;
    }
    return h >> 1;
}

json_t *v3_header(const struct node *n, uint64_t revision)
{
    json_t *h = json_object();

    v3_set_u64(h, "cluster_id", cluster_number(n));
    v3_set_u64(h, "member_id", n->id);
    v3_set_u64(h, "revision", revision);
    v3_set_u64(h, "raft_term", rep_term(n->rep));
    return h;
}

static void set_b64(json_t *obj, const char *name, const void *p, size_t n)
{
    char *text;

    if (n > 0) {
        text = mem_alloc(4 * ((n + 2) / 3) + 1);
        str_b64_encode(p, n, text);
        (void)json_object_set_new(obj, name, json_string(text));
        free(text);
    }
}

json_t *v3_kv(const void *key, size_t klen, const void *value, size_t vlen, uint64_t create,
              uint64_t mod, uint64_t version, uint64_t lease)
{
    json_t *j = json_object();

    CHECK(klen >= 2);
    set_b64(j, "key", (const uint8_t *)key + 2, klen - 2);
    v3_set_u64(j, "create_revision", create);
    v3_set_u64(j, "mod_revision", mod);
    v3_set_u64(j, "version", version);
    set_b64(j, "value", value, vlen);
    v3_set_u64(j, "lease", lease);
    return j;
}

/* --- operations --------------------------------------------------------------------------------
 */

int v3_put_decode(const json_t *body, struct arena *a, struct txn_op *ret, struct err *err)
{
    struct bytes key;

    *ret = (struct txn_op){ .kind = TXN_PUT,
                            .prev_kv = v3_bool(body, "prev_kv"),
                            .keep_value = v3_bool(body, "ignore_value"),
                            .keep_lease = v3_bool(body, "ignore_lease") };
    if (v3_bytes(body, "key", a, &key, err) != 0 ||
        v3_bytes(body, "value", a, &ret->value, err) != 0 ||
        v3_u64(body, "lease", &ret->lease, err) != 0) {
        return err->code;
    }
    if (key.p == NULL || key.n == 0) {
        return err_set(err, ERR_BAD_REQUEST, "etcdserver: key is not provided");
    }
    if (ret->keep_value && ret->value.n > 0) {
        return err_set(err, ERR_BAD_REQUEST, "etcdserver: value is provided");
    }
    if (ret->keep_lease && ret->lease != 0) {
        return err_set(err, ERR_BAD_REQUEST, "etcdserver: lease is provided");
    }
    ret->key = in_space(a, key);
    if (ret->keep_value) {
        ret->value = (struct bytes){ 0 };
    } else if (ret->value.p == NULL) {
        ret->value.p = (const uint8_t *)"";
    }
    return 0;
}

int v3_delete_decode(const json_t *body, struct arena *a, struct txn_op *ret, struct err *err)
{
    *ret = (struct txn_op){ .kind = TXN_DELETE, .prev_kv = v3_bool(body, "prev_kv") };
    return v3_range(body, a, &ret->key, &ret->end, err);
}

int v3_range_decode(const json_t *body, struct arena *a, struct txn_op *ret, struct err *err)
{
    *ret = (struct txn_op){ .kind = TXN_GET,
                            .count_only = v3_bool(body, "count_only"),
                            .keys_only = v3_bool(body, "keys_only") };
    if (v3_u64(body, "limit", &ret->limit, err) != 0) {
        return err->code;
    }
    return v3_range(body, a, &ret->key, &ret->end, err);
}

static int decode_cmp(const json_t *j, struct arena *a, struct txn_cmp *ret, struct err *err)
{
    static const char *const targets[] = { "VERSION", "CREATE", "MOD", "VALUE", "LEASE", NULL };
    static const char *const results[] = { "EQUAL", "GREATER", "LESS", "NOT_EQUAL", NULL };
    static const char *const numbers[] = { "version", "create_revision", "mod_revision", NULL,
                                           "lease" };
    unsigned target, result;

    if (v3_enum(j, "target", targets, &target, err) != 0 ||
        v3_enum(j, "result", results, &result, err) != 0) {
        return err->code;
    }
    *ret = (struct txn_cmp){ .target = (enum cmp_target)target, .result = (enum cmp_result)result };
    if (v3_range(j, a, &ret->key, &ret->end, err) != 0) {
        return err->code;
    }
    if (ret->target == CMP_VALUE) {
        int rc = v3_bytes(j, "value", a, &ret->value, err);

        if (ret->value.p == NULL) {
            ret->value.p = (const uint8_t *)"";
        }
        return rc;
    }
    return v3_u64(j, numbers[target], &ret->number, err);
}

static int decode_op(const json_t *j, struct arena *a, struct txn_op *ret, struct err *err)
{
    const json_t *v;

    if ((v = v3_get(j, "request_put")) != NULL) {
        return v3_put_decode(v, a, ret, err);
    }
    if ((v = v3_get(j, "request_range")) != NULL) {
        return v3_range_decode(v, a, ret, err);
    }
    if ((v = v3_get(j, "request_delete_range")) != NULL) {
        return v3_delete_decode(v, a, ret, err);
    }
    if (v3_get(j, "request_txn") != NULL) {
        return err_set(err, ERR_BAD_REQUEST, "nested transactions are not supported");
    }
    return err_set(err, ERR_BAD_REQUEST,
                   "an operation is request_put, request_range or request_delete_range");
}

static int decode_ops(const json_t *list, struct arena *a, struct txn_op **ret, size_t *ret_n,
                      struct err *err)
{
    size_t n = json_array_size(list);

    if (n > TXN_OPS_MAX) {
        return err_set(err, ERR_BAD_REQUEST, "etcdserver: too many operations in txn request");
    }
    *ret = ARENA_ARRAY(a, struct txn_op, n + 1);
    *ret_n = n;
    for (size_t i = 0; i < n; i++) {
        struct txn_op *op = &(*ret)[i];

        if (decode_op(json_array_get(list, i), a, op, err) != 0) {
            return err->code;
        }
        for (size_t k = 0; k < i && op->kind == TXN_PUT; k++) {
            const struct txn_op *o = &(*ret)[k];

            if (o->kind == TXN_PUT && o->key.n == op->key.n &&
                memcmp(o->key.p, op->key.p, op->key.n) == 0) {
                return err_set(err, ERR_BAD_REQUEST,
                               "etcdserver: duplicate key given in txn request");
            }
        }
    }
    return 0;
}

int v3_txn_decode(const json_t *body, struct arena *a, struct cmd_txn *ret, struct err *err)
{
    const json_t *cmp = v3_get(body, "compare");
    size_t n = json_array_size(cmp);

    *ret = (struct cmd_txn){ .n_cmp = n };
    if (n > TXN_OPS_MAX) {
        return err_set(err, ERR_BAD_REQUEST, "etcdserver: too many operations in txn request");
    }
    ret->cmp = ARENA_ARRAY(a, struct txn_cmp, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (decode_cmp(json_array_get(cmp, i), a, &ret->cmp[i], err) != 0) {
            return err->code;
        }
    }
    if (decode_ops(v3_get(body, "success"), a, &ret->then_ops, &ret->n_then, err) != 0) {
        return err->code;
    }
    return decode_ops(v3_get(body, "failure"), a, &ret->else_ops, &ret->n_else, err);
}

static void watch_filters(const json_t *req, struct v3_watch *ret)
{
    const json_t *filters = v3_get(req, "filters");

    for (size_t i = 0; i < json_array_size(filters); i++) {
        const json_t *f = json_array_get(filters, i);

        ret->no_put = ret->no_put || str_eq(json_string_value(f), "NOPUT") ||
                      (json_is_integer(f) && json_integer_value(f) == 0);
        ret->no_delete = ret->no_delete || str_eq(json_string_value(f), "NODELETE") ||
                         (json_is_integer(f) && json_integer_value(f) == 1);
    }
}

int v3_watch_decode(const json_t *body, struct arena *a, struct v3_watch *ret, struct err *err)
{
    const json_t *req = v3_get(body, "create_request");

    *ret = (struct v3_watch){ 0 };
    if (req == NULL) {
        return err_set(err, ERR_BAD_REQUEST, "create_request is missing");
    }
    if (v3_range(req, a, &ret->key, &ret->end, err) != 0 ||
        v3_u64(req, "start_revision", &ret->from, err) != 0 ||
        v3_u64(req, "watch_id", &ret->id, err) != 0) {
        return err->code;
    }
    if (ret->end.p == NULL) { /* one key: up to the key right behind it */
        uint8_t *p = arena_alloc(a, ret->key.n + 1);

        memcpy(p, ret->key.p, ret->key.n);
        p[ret->key.n] = 0;
        ret->end = (struct bytes){ .p = p, .n = ret->key.n + 1 };
    }
    watch_filters(req, ret);
    ret->prev_kv = v3_bool(req, "prev_kv");
    ret->progress = v3_bool(req, "progress_notify");
    return 0;
}

/* --- answers -----------------------------------------------------------------------------------
 */

static json_t *answer_kv(const struct txn_kv *kv)
{
    return v3_kv(kv->key.p, kv->key.n, kv->value.p, kv->value.n, kv->create_rev, kv->mod_rev,
                 kv->version, kv->lease);
}

static json_t *answer_kvs(const struct txn_answer *ans)
{
    json_t *list = json_array();

    for (size_t i = 0; i < ans->n_kvs; i++) {
        (void)json_array_append_new(list, answer_kv(&ans->kvs[i]));
    }
    return list;
}

json_t *v3_answer(const struct txn_answer *ans)
{
    json_t *j = json_object();

    switch (ans->kind) {
    case TXN_PUT:
        if (ans->n_kvs > 0) {
            (void)json_object_set_new(j, "prev_kv", answer_kv(&ans->kvs[0]));
        }
        return j;
    case TXN_DELETE:
        v3_set_u64(j, "deleted", ans->count);
        if (ans->n_kvs > 0) {
            (void)json_object_set_new(j, "prev_kvs", answer_kvs(ans));
        }
        return j;
    case TXN_GET:
        if (ans->n_kvs > 0) {
            (void)json_object_set_new(j, "kvs", answer_kvs(ans));
        }
        if (ans->n_kvs > 0 && ans->count > ans->n_kvs) {
            (void)json_object_set_new(j, "more", json_true());
        }
        v3_set_u64(j, "count", ans->count);
        return j;
    }
    CHECK_UNREACHABLE();
}
