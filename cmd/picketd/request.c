#include "cmd/picketd/request.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/record.h"

#define PREFIX "o/_requests/"
#define SWEEP_MS 10000U
#define SWEEP_MAX 256U

/* FNV-1a, to tell other requests under the same id apart. */
static uint64_t mix(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

static uint64_t fingerprint(const struct http_req *q)
{
    uint64_t h = mix(UINT64_C(0xcbf29ce484222325), q->method, strlen(q->method));

    h = mix(h, q->target, strlen(q->target));
    return mix(h, q->body, q->len);
}

static bool id_good(const char *s)
{
    size_t n = strlen(s);

    if (n < 8 || n > 64) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.') {
            return false;
        }
    }
    return true;
}

/* Whoever else uses the same id by chance is somebody else. */
static void make_key(struct rest *r, const char *id)
{
    const struct stream_peer *p = &r->req->peer;
    uint64_t who = mix(UINT64_C(0xcbf29ce484222325), p->role, strlen(p->role) + 1);

    who = mix(who, p->name, strlen(p->name));
    (void)snprintf(r->request, sizeof(r->request), PREFIX "%016" PRIx64 ".%s", who, id);
}

bool request_begin(struct rest *r)
{
    const char *id = http_req_header(r->req, REQUEST_HEADER);
    const char *m = r->req->method;
    struct err err;

    if (id == NULL || str_eq(m, "GET") || str_eq(m, "HEAD") || store_level(r->node->store) < 2) {
        return true;
    }
    if (!id_good(id)) {
        (void)err_set(&err, ERR_BAD_REQUEST,
                      "Picket-Request-Id: 8 to 64 letters, digits, '-', '_' or '.' (a UUID)");
        rest_err(r, &err);
        return false;
    }
    make_key(r, id);
    return true;
}

/* --- the record --------------------------------------------------------------------------------
 */

static const char *result_name(enum change_result r)
{
    switch (r) {
    case CHANGE_CREATED:
        return "created";
    case CHANGE_CONFIGURED:
        return "configured";
    case CHANGE_UNCHANGED:
        return "unchanged";
    case CHANGE_DELETED:
        return "deleted";
    }
    CHECK_UNREACHABLE();
}

static json_t *record_of(const struct rest *r, const struct change *changes, size_t count)
{
    json_t *list = json_array();
    char print[20];

    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "kind", changes[i].k->name,
                                                    "name", changes[i].name, "result",
                                                    result_name(changes[i].result)));
    }
    (void)snprintf(print, sizeof(print), "%016" PRIx64, fingerprint(r->req));
    return json_pack("{s:I, s:s, s:o}", "ms", (json_int_t)clock_wall_ms(), "print", print, "items",
                     list);
}

bool request_guard(const struct rest *r, const struct change *changes, size_t count,
                   struct arena *a, struct txn_cmp *cmp, struct txn_op *put)
{
    struct bytes key = { .p = (const uint8_t *)arena_strdup(a, r->request),
                         .n = strlen(r->request) };
    struct buf b = { 0 };
    json_t *record;
    char *text;
    uint8_t *copy;

    if (r->request[0] == 0) {
        return false;
    }
    record = record_of(r, changes, count);
    text = json_dumps(record, JSON_COMPACT);
    CHECK(text != NULL);
    objval_encode(1, 0, text, strlen(text), &b);
    copy = arena_alloc(a, b.len);
    memcpy(copy, b.data, b.len);
    *cmp = (struct txn_cmp){ .target = CMP_CREATE, .result = CMP_EQUAL, .key = key };
    *put = (struct txn_op){ .kind = TXN_PUT, .key = key, .value = { .p = copy, .n = b.len } };
    buf_done(&b);
    free(text);
    json_decref(record);
    return true;
}

void request_submit(struct rest *r, const struct actor *actor, node_cb *cb)
{
    struct arena a = { 0 };
    struct txn_cmp cmp;
    struct txn_op put;

    if (request_guard(r, r->changes, r->n_changes, &a, &cmp, &put)) {
        change_submit_with(r->node, r->changes, r->n_changes, actor, &cmp, &put, cb, r);
    } else {
        change_submit(r->node, r->changes, r->n_changes, actor, true, cb, r);
    }
    arena_done(&a);
}

/* NULL: it was not executed, or (err->code != 0) the id belongs to another request. */
static json_t *find(const struct rest *r, uint64_t *rev, struct err *err)
{
    json_t *record = r->request[0] == 0 ? NULL : record_get(r->node->store, r->request, rev);
    char print[20];

    err->code = 0;
    (void)snprintf(print, sizeof(print), "%016" PRIx64, fingerprint(r->req));
    if (record != NULL && !str_eq(jget_str(record, "print", ""), print)) {
        (void)err_set(err, ERR_INVALID,
                      "this Picket-Request-Id was used for another request: make a new one for "
                      "each");
        json_decref(record);
        return NULL;
    }
    return record;
}

uint64_t request_raw_again(struct rest *r, struct err *err)
{
    uint64_t rev = 0;
    json_t *record = find(r, &rev, err);

    json_decref(record);
    return record == NULL ? 0 : rev;
}

/* --- the answer to a repeated request ----------------------------------------------------------
 */

static json_t *item_json(const struct rest *r, const json_t *item)
{
    const struct kind *k = kind_find(jget_str(item, "kind", ""));
    const char *name = jget_str(item, "name", "");
    struct err err;
    json_t *obj = k == NULL ? NULL : object_read(r->node->store, k->plural, name, &err);

    return json_pack("{s:s, s:s, s:s, s:o*}", "kind", jget_str(item, "kind", ""), "name", name,
                     "result", jget_str(item, "result", ""), "object", obj);
}

static void answer_apply(struct rest *r, const json_t *record)
{
    json_t *items = json_array(), *v;
    size_t i;

    json_array_foreach (json_object_get(record, "items"), i, v) {
        (void)json_array_append_new(items, item_json(r, v));
    }
    rest_json(r, 200,
              json_pack("{s:o, s:[s]}", "items", items, "warnings",
                        "this request was executed before; it was not executed again"));
}

static void answer_object(struct rest *r, const json_t *item)
{
    bool created = str_eq(jget_str(item, "result", ""), "created");
    struct err err;
    json_t *obj = object_read(r->node->store, r->k->plural, r->name, &err);

    rest_warn(r, "this request was executed before; it was not executed again");
    if (obj != NULL) {
        rest_json(r, created ? 201 : 200, obj);
        return;
    }
    rest_json(r, 200,
              json_pack("{s:s, s:s, s:{}, s:s, s:{s:s, s:s, s:s}}", "apiVersion", "v1", "kind",
                        "Status", "metadata", "status", "Success", "details", "name", r->name,
                        "group", API_GROUP, "kind", r->k->plural));
}

bool request_again(struct rest *r)
{
    struct err err;
    uint64_t rev;
    json_t *record = find(r, &rev, &err);

    if (record == NULL && err.code == 0) {
        return false;
    }
    if (record == NULL) {
        rest_err(r, &err);
    } else if (r->k == NULL) {
        answer_apply(r, record);
    } else {
        answer_object(r, json_array_get(json_object_get(record, "items"), 0));
    }
    json_decref(record);
    return true;
}

/* --- forgetting --------------------------------------------------------------------------------
 */

struct sweep {
    struct arena a;
    struct txn_op ops[SWEEP_MAX];
    size_t n;
    uint64_t now;
};

static bool sweep_one(void *ctx, const struct kv *v)
{
    struct sweep *s = ctx;
    uint64_t generation, ms = 0;
    const char *text;
    json_t *record;
    uint32_t flags;
    struct err err;
    size_t len;

    if (objval_decode(kv_value(v), v->vlen, &generation, &flags, &text, &len, &err) == 0) {
        record = json_loadb(text, len, 0, NULL);
        ms = (uint64_t)jget_int(record, "ms", 0);
        json_decref(record);
    }
    if (ms + REQUEST_WINDOW_MS < s->now) {
        struct bytes key = { (const uint8_t *)arena_strndup(&s->a, kv_key(v), v->klen), v->klen };

        s->ops[s->n++] = (struct txn_op){ .kind = TXN_DELETE, .key = key };
    }
    return s->n < SWEEP_MAX;
}

static void swept(void *data, const struct err *err, const struct cmd_answer *ans)
{
    (void)data;
    (void)ans;
    if (err != NULL) {
        lg_debug("request", "msg=\"%s\"", err->msg);
    }
}

void request_sweep(struct node *n)
{
    struct cmd c = {
        .op = CMD_TXN,
        .actor = { .role = ACTOR_CONTROLLER, .name = n->opts.name, .term = rep_term(n->rep) }
    };
    uint64_t now = clock_now_ms();
    struct sweep *s;

    if (now < n->sweep_next_ms) {
        return;
    }
    n->sweep_next_ms = now + SWEEP_MS;
    s = OBJ_NEW(struct sweep);
    s->now = clock_wall_ms();
    store_prefix(n->store, PREFIX, sweep_one, s);
    if (s->n > 0) {
        c.txn.then_ops = s->ops;
        c.txn.n_then = s->n;
        node_submit(n, &c, false, swept, NULL);
    }
    arena_done(&s->a);
    free(s);
}
