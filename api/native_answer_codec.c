/* Answers of the native protocol. */

#include <string.h>

#include "api/native_codec.h"
#include "base/obj.h"

/* --- writing --- */

static void kv_encode(const struct native_kv *v, struct buf *out)
{
    nwire_array(out, 6);
    nwire_bytes(out, v->key);
    nwire_bytes(out, v->value);
    nwire_uint(out, v->create_rev);
    nwire_uint(out, v->mod_rev);
    nwire_uint(out, v->version);
    nwire_uint(out, v->lease);
}

static void result_encode(const struct native_result *r, struct buf *out)
{
    nwire_array(out, 3);
    nwire_uint(out, (uint64_t)r->kind);
    nwire_uint(out, r->count);
    nwire_array(out, r->n_kvs);
    for (size_t i = 0; i < r->n_kvs; i++) {
        kv_encode(&r->kvs[i], out);
    }
}

static void event_encode(const struct native_event *e, struct buf *out)
{
    nwire_array(out, 3);
    nwire_bool(out, e->deleted);
    kv_encode(&e->kv, out);
    if (e->has_prev) {
        kv_encode(&e->prev, out);
    } else {
        nwire_nil(out);
    }
}

static void node_encode(const struct native_node *n, struct buf *out)
{
    const uint64_t all[] = { n->id,      n->leader,      n->term,  n->committed,
                             n->applied, n->compact_rev, n->bytes, n->count };

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        nwire_uint(out, all[i]);
    }
}

/* Elements behind id and kind. */
static size_t ans_count(enum native_kind kind)
{
    switch (kind) {
    case NATIVE_HELLO:
        return 4;
    case NATIVE_RESULT:
    case NATIVE_NUMBERS:
    case NATIVE_EVENTS:
    case NATIVE_REPLY:
        return 3;
    case NATIVE_ERROR:
        return 2;
    case NATIVE_MARK:
    case NATIVE_PIECE:
        return 1;
    case NATIVE_END:
        return 0;
    case NATIVE_NODE:
        return 10;
    }
    CHECK_UNREACHABLE();
}

static void ans_lists_encode(const struct native_ans *a, struct buf *out)
{
    nwire_uint(out, a->rev);
    if (a->kind == NATIVE_RESULT) {
        nwire_bool(out, a->succeeded);
        nwire_array(out, a->n_ops);
        for (size_t i = 0; i < a->n_ops; i++) {
            result_encode(&a->ops[i], out);
        }
        return;
    }
    nwire_bool(out, a->more);
    nwire_array(out, a->n_events);
    for (size_t i = 0; i < a->n_events; i++) {
        event_encode(&a->events[i], out);
    }
}

static void ans_args_encode(const struct native_ans *a, struct buf *out)
{
    switch (a->kind) {
    case NATIVE_HELLO:
        nwire_uint(out, a->number);
        nwire_bytes(out, a->text);
        nwire_uint(out, a->number2);
        nwire_uint(out, a->number3);
        return;
    case NATIVE_RESULT:
    case NATIVE_EVENTS:
        ans_lists_encode(a, out);
        return;
    case NATIVE_ERROR:
        nwire_uint(out, a->number);
        nwire_bytes(out, a->text);
        return;
    case NATIVE_NUMBERS:
        nwire_uint(out, a->rev);
        nwire_uint(out, a->number);
        nwire_uint(out, a->number2);
        return;
    case NATIVE_MARK:
        nwire_uint(out, a->rev);
        return;
    case NATIVE_END:
        return;
    case NATIVE_NODE:
        nwire_bytes(out, a->text);
        nwire_uint(out, a->rev);
        node_encode(&a->node, out);
        return;
    case NATIVE_REPLY:
        nwire_uint(out, a->number);
        nwire_bytes(out, a->text);
        nwire_bytes(out, a->body);
        return;
    case NATIVE_PIECE:
        nwire_bytes(out, a->body);
        return;
    }
    CHECK_UNREACHABLE();
}

void native_ans_encode(const struct native_ans *a, struct buf *out)
{
    size_t at = out->len;
    size_t n;

    buf_add_u32(out, 0);
    nwire_array(out, 2 + ans_count(a->kind));
    nwire_uint(out, a->id);
    nwire_uint(out, (uint64_t)a->kind);
    ans_args_encode(a, out);
    n = out->len - at - NATIVE_HEAD;
    for (size_t i = 0; i < NATIVE_HEAD && !out->overflow; i++) {
        out->data[at + i] = (uint8_t)(n >> (8 * i));
    }
}

void native_error_encode(uint64_t id, const struct err *err, struct buf *out)
{
    struct native_ans a = { .id = id, .kind = NATIVE_ERROR, .number = (uint64_t)-err->code };

    CHECK(err->code < 0);
    a.text = (struct native_bytes){ (const uint8_t *)err->msg, strlen(err->msg) };
    native_ans_encode(&a, out);
}

/* --- reading --- */

#define LEAST_KV 7U /* an empty key and value and four small numbers, in their array */

static void kv_decode(struct nwire *w, struct native_kv *v)
{
    if (nwire_get_array(w, 6, 1, "key and value") != 6) {
        nwire_fail(w, "key and value");
    }
    v->key = nwire_get_bytes(w, NATIVE_MAX_KEY, "key");
    v->value = nwire_get_bytes(w, NATIVE_MAX_VALUE, "value");
    v->create_rev = nwire_get_uint(w, UINT64_MAX, "create revision");
    v->mod_rev = nwire_get_uint(w, UINT64_MAX, "revision");
    v->version = nwire_get_uint(w, UINT64_MAX, "version");
    v->lease = nwire_get_uint(w, UINT64_MAX, "lease");
}

static void results_decode(struct nwire *w, struct arena *arena, struct native_ans *a)
{
    size_t n = nwire_get_array(w, NATIVE_MAX_OPS, 4, "results");

    a->ops = ARENA_ARRAY(arena, struct native_result, n + 1);
    a->n_ops = n;
    for (size_t i = 0; i < n && w->bad == NULL; i++) {
        struct native_result *r = &a->ops[i];

        if (nwire_get_array(w, 3, 1, "result") != 3) {
            nwire_fail(w, "result");
        }
        r->kind = (enum native_op_kind)nwire_get_uint(w, NATIVE_OP_GET, "result's kind");
        r->count = nwire_get_uint(w, UINT64_MAX, "count");
        r->n_kvs = nwire_get_array(w, NATIVE_MAX_KVS, LEAST_KV, "keys and values");
        r->kvs = ARENA_ARRAY(arena, struct native_kv, r->n_kvs + 1);
        for (size_t k = 0; k < r->n_kvs && w->bad == NULL; k++) {
            kv_decode(w, &r->kvs[k]);
        }
    }
}

static void events_decode(struct nwire *w, struct arena *arena, struct native_ans *a)
{
    size_t n = nwire_get_array(w, NATIVE_MAX_EVENTS, 3 + LEAST_KV, "events");

    a->events = ARENA_ARRAY(arena, struct native_event, n + 1);
    a->n_events = n;
    for (size_t i = 0; i < n && w->bad == NULL; i++) {
        struct native_event *e = &a->events[i];

        if (nwire_get_array(w, 3, 1, "event") != 3) {
            nwire_fail(w, "event");
        }
        e->deleted = nwire_get_bool(w, "event's kind");
        kv_decode(w, &e->kv);
        if (w->bad == NULL && w->pos < w->len && w->p[w->pos] == 0xc0) {
            w->pos++;
            continue;
        }
        e->has_prev = true;
        kv_decode(w, &e->prev);
    }
}

static void node_decode(struct nwire *w, struct native_node *n)
{
    uint64_t *const all[] = { &n->id,      &n->leader,      &n->term,  &n->committed,
                              &n->applied, &n->compact_rev, &n->bytes, &n->count };

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        *all[i] = nwire_get_uint(w, UINT64_MAX, "number");
    }
}

static void ans_args_decode(struct nwire *w, struct arena *arena, struct native_ans *a)
{
    switch (a->kind) {
    case NATIVE_HELLO:
        a->number = nwire_get_uint(w, UINT64_MAX, "version");
        a->text = nwire_get_bytes(w, 256, "name");
        a->number2 = nwire_get_uint(w, UINT64_MAX, "window");
        a->number3 = nwire_get_uint(w, UINT64_MAX, "window");
        return;
    case NATIVE_RESULT:
        a->rev = nwire_get_uint(w, UINT64_MAX, "revision");
        a->succeeded = nwire_get_bool(w, "succeeded");
        results_decode(w, arena, a);
        return;
    case NATIVE_EVENTS:
        a->rev = nwire_get_uint(w, UINT64_MAX, "revision");
        a->more = nwire_get_bool(w, "more");
        events_decode(w, arena, a);
        return;
    case NATIVE_ERROR:
        a->number = nwire_get_uint(w, 10000, "error code");
        a->text = nwire_get_bytes(w, 4096, "message");
        if (a->number == 0) {
            nwire_fail(w, "error code");
        }
        return;
    case NATIVE_NUMBERS:
        a->rev = nwire_get_uint(w, UINT64_MAX, "revision");
        a->number = nwire_get_uint(w, UINT64_MAX, "number");
        a->number2 = nwire_get_uint(w, UINT64_MAX, "number");
        return;
    case NATIVE_MARK:
        a->rev = nwire_get_uint(w, UINT64_MAX, "revision");
        return;
    case NATIVE_END:
        return;
    case NATIVE_NODE:
        a->text = nwire_get_bytes(w, 256, "name");
        a->rev = nwire_get_uint(w, UINT64_MAX, "revision");
        node_decode(w, &a->node);
        return;
    case NATIVE_REPLY:
        a->number = nwire_get_uint(w, 999, "status");
        a->text = nwire_get_bytes(w, 64, "error's name");
        a->body = nwire_get_bytes(w, NATIVE_MAX_ANSWER, "body");
        return;
    case NATIVE_PIECE:
        a->body = nwire_get_bytes(w, NATIVE_MAX_ANSWER, "piece");
        return;
    }
    CHECK_UNREACHABLE();
}

int native_ans_decode(const void *data, size_t len, struct arena *arena, struct native_ans *ret,
                      struct err *err)
{
    struct nwire w = nwire_make(data, len);
    size_t n = nwire_get_array(&w, 16, 1, "answer");
    uint64_t kind;

    memset(ret, 0, sizeof(*ret));
    ret->id = nwire_get_uint(&w, NATIVE_MAX_ID, "id");
    kind = nwire_get_uint(&w, NATIVE_KIND_MAX, "kind");
    if (w.bad == NULL) {
        ret->kind = (enum native_kind)kind;
        if (n != 2 + ans_count(ret->kind)) {
            nwire_fail(&w, "number of elements");
        }
    }
    if (w.bad == NULL) {
        ans_args_decode(&w, arena, ret);
    }
    return nwire_end(&w, "native answer", err);
}

void native_ans_err(const struct native_ans *a, struct err *ret)
{
    CHECK(a->kind == NATIVE_ERROR);
    (void)err_set(ret, -(int)a->number, "%.*s", (int)(a->text.n < 500 ? a->text.n : 500),
                  a->text.p == NULL ? "" : (const char *)a->text.p);
}
