#include "api/native_codec.h"

#include <string.h>

#include "base/obj.h"

/* --- frames --- */

static size_t frame_open(struct buf *out)
{
    size_t at = out->len;

    buf_add_u32(out, 0);
    return at;
}

static void frame_close(struct buf *out, size_t at)
{
    size_t n = out->len - at - NATIVE_HEAD;

    for (size_t i = 0; i < NATIVE_HEAD && !out->overflow; i++) {
        out->data[at + i] = (uint8_t)(n >> (8 * i));
    }
}

int native_frame(const void *data, size_t len, size_t max, size_t *ret_len, bool *ret_whole,
                 struct err *err)
{
    struct rd r = rd_make(data, len);
    uint32_t n = rd_u32(&r);

    *ret_whole = false;
    if (r.bad) {
        return 0;
    }
    if (n == 0) {
        return err_set(err, ERR_BAD_REQUEST, "native protocol: an empty frame");
    }
    if (n > max) {
        return err_set(err, ERR_TOO_LARGE,
                       "native protocol: a frame of %u bytes is larger than the limit of %zu", n,
                       max);
    }
    *ret_len = n;
    *ret_whole = rd_left(&r) >= n;
    return 0;
}

/* --- requests --- */

#define ONCE_ARGS 4U /* ONCE, session, seq, ack */

static void op_args_encode(const struct native_op *o, struct buf *out)
{
    nwire_bytes(out, o->key);
    switch (o->kind) {
    case NATIVE_OP_PUT:
        nwire_bytes(out, o->value);
        nwire_uint(out, o->lease);
        break;
    case NATIVE_OP_DELETE:
        nwire_bytes(out, o->end);
        break;
    case NATIVE_OP_GET:
        nwire_bytes(out, o->end);
        nwire_uint(out, o->limit);
        break;
    }
    nwire_uint(out, o->flags);
}

static size_t op_args_count(enum native_op_kind kind)
{
    return kind == NATIVE_OP_DELETE ? 3 : 4;
}

static void ops_encode(const struct native_op *ops, size_t n, struct buf *out)
{
    nwire_array(out, n);
    for (size_t i = 0; i < n; i++) {
        nwire_array(out, 1 + op_args_count(ops[i].kind));
        nwire_uint(out, (uint64_t)ops[i].kind);
        op_args_encode(&ops[i], out);
    }
}

static void cmps_encode(const struct native_req *r, struct buf *out)
{
    nwire_array(out, r->n_cmps);
    for (size_t i = 0; i < r->n_cmps; i++) {
        const struct native_cmp *c = &r->cmps[i];

        nwire_array(out, 5);
        nwire_uint(out, c->target);
        nwire_uint(out, c->result);
        nwire_bytes(out, c->key);
        nwire_bytes(out, c->end);
        if (c->target == NATIVE_CMP_VALUE) {
            nwire_bytes(out, c->value);
        } else {
            nwire_uint(out, c->number);
        }
    }
}

static size_t req_count(enum native_call call)
{
    switch (call) {
    case NATIVE_RANGE:
        return 5;
    case NATIVE_PUT:
        return 4;
    case NATIVE_DELETE:
    case NATIVE_TXN:
    case NATIVE_OBJECT:
        return 3;
    case NATIVE_GRANT:
        return 2;
    case NATIVE_WATCH:
        return 4;
    case NATIVE_REVOKE:
    case NATIVE_KEEPALIVE:
    case NATIVE_TTL:
    case NATIVE_CANCEL:
    case NATIVE_COMPACT:
    case NATIVE_SESSION:
        return 1;
    case NATIVE_STATUS:
        return 0;
    case NATIVE_ONCE:
        break;
    }
    CHECK_UNREACHABLE();
}

/* What can be executed once under a client's session. */
static bool req_can_once(enum native_call call)
{
    switch (call) {
    case NATIVE_PUT:
    case NATIVE_DELETE:
    case NATIVE_TXN:
    case NATIVE_GRANT:
    case NATIVE_REVOKE:
    case NATIVE_COMPACT:
        return true;
    case NATIVE_RANGE:
    case NATIVE_KEEPALIVE:
    case NATIVE_TTL:
    case NATIVE_WATCH:
    case NATIVE_CANCEL:
    case NATIVE_STATUS:
    case NATIVE_OBJECT:
    case NATIVE_SESSION:
    case NATIVE_ONCE:
        return false;
    }
    CHECK_UNREACHABLE();
}

static void req_args_encode(const struct native_req *r, struct buf *out)
{
    switch (r->call) {
    case NATIVE_RANGE:
        op_args_encode(&r->then[0], out);
        nwire_uint(out, r->number);
        return;
    case NATIVE_PUT:
    case NATIVE_DELETE:
        op_args_encode(&r->then[0], out);
        return;
    case NATIVE_TXN:
        cmps_encode(r, out);
        ops_encode(r->then, r->n_then, out);
        ops_encode(r->other, r->n_other, out);
        return;
    case NATIVE_GRANT:
        nwire_uint(out, r->number);
        nwire_uint(out, r->number2);
        return;
    case NATIVE_WATCH:
        nwire_bytes(out, r->key);
        nwire_bytes(out, r->end);
        nwire_uint(out, r->number);
        nwire_uint(out, r->flags);
        return;
    case NATIVE_REVOKE:
    case NATIVE_KEEPALIVE:
    case NATIVE_TTL:
    case NATIVE_CANCEL:
    case NATIVE_COMPACT:
    case NATIVE_SESSION:
        nwire_uint(out, r->number);
        return;
    case NATIVE_STATUS:
        return;
    case NATIVE_OBJECT:
        nwire_bytes(out, r->method);
        nwire_bytes(out, r->target);
        nwire_bytes(out, r->body);
        return;
    case NATIVE_ONCE:
        break;
    }
    CHECK_UNREACHABLE();
}

void native_req_encode(const struct native_req *r, struct buf *out)
{
    size_t at = frame_open(out);

    nwire_array(out, 2 + (r->session != 0 ? ONCE_ARGS : 0) + req_count(r->call));
    nwire_uint(out, r->id);
    if (r->session != 0) {
        nwire_uint(out, (uint64_t)NATIVE_ONCE);
        nwire_uint(out, r->session);
        nwire_uint(out, r->seq);
        nwire_uint(out, r->ack);
    }
    nwire_uint(out, (uint64_t)r->call);
    req_args_encode(r, out);
    frame_close(out, at);
}

static void op_args_decode(struct nwire *w, enum native_op_kind kind, struct native_op *o)
{
    *o = (struct native_op){ .kind = kind };
    o->key = nwire_get_bytes(w, NATIVE_MAX_KEY, "key");
    if (o->key.p == NULL || o->key.n == 0) {
        nwire_fail(w, "key");
    }
    switch (kind) {
    case NATIVE_OP_PUT:
        o->value = nwire_get_bytes(w, NATIVE_MAX_VALUE, "value");
        o->lease = nwire_get_uint(w, UINT64_MAX, "lease");
        break;
    case NATIVE_OP_DELETE:
        o->end = nwire_get_bytes(w, NATIVE_MAX_KEY, "end");
        break;
    case NATIVE_OP_GET:
        o->end = nwire_get_bytes(w, NATIVE_MAX_KEY, "end");
        o->limit = nwire_get_uint(w, UINT64_MAX, "limit");
        break;
    }
    o->flags = (uint32_t)nwire_get_uint(w, NATIVE_FLAGS_ALL, "flags");
}

static void ops_decode(struct nwire *w, struct arena *a, struct native_op **ret, size_t *ret_n)
{
    size_t n = nwire_get_array(w, NATIVE_MAX_OPS, 5, "operations");

    *ret = ARENA_ARRAY(a, struct native_op, n + 1);
    for (size_t i = 0; i < n && w->bad == NULL; i++) {
        size_t count = nwire_get_array(w, 5, 1, "operation");
        uint64_t kind = nwire_get_uint(w, NATIVE_OP_GET, "operation's kind");

        if (w->bad == NULL && count != 1 + op_args_count((enum native_op_kind)kind)) {
            nwire_fail(w, "operation");
        }
        op_args_decode(w, (enum native_op_kind)kind, &(*ret)[i]);
    }
    *ret_n = n;
}

static void cmps_decode(struct nwire *w, struct arena *a, struct native_req *r)
{
    size_t n = nwire_get_array(w, NATIVE_MAX_OPS, 6, "compares");

    r->cmps = ARENA_ARRAY(a, struct native_cmp, n + 1);
    r->n_cmps = n;
    for (size_t i = 0; i < n && w->bad == NULL; i++) {
        struct native_cmp *c = &r->cmps[i];

        if (nwire_get_array(w, 5, 1, "compare") != 5) {
            nwire_fail(w, "compare");
        }
        c->target = (uint32_t)nwire_get_uint(w, NATIVE_CMP_TARGETS - 1, "compare's target");
        c->result = (uint32_t)nwire_get_uint(w, NATIVE_CMP_RESULTS - 1, "compare's result");
        c->key = nwire_get_bytes(w, NATIVE_MAX_KEY, "compare's key");
        c->end = nwire_get_bytes(w, NATIVE_MAX_KEY, "compare's end");
        if (c->key.p == NULL || c->key.n == 0) {
            nwire_fail(w, "compare's key");
        }
        if (c->target == NATIVE_CMP_VALUE) {
            c->value = nwire_get_bytes(w, NATIVE_MAX_VALUE, "compare's value");
        } else {
            c->number = nwire_get_uint(w, UINT64_MAX, "compare's number");
        }
    }
}

static struct native_bytes text_decode(struct nwire *w, size_t max, const char *what)
{
    struct native_bytes b = nwire_get_bytes(w, max, what);

    if (w->bad == NULL && (b.p == NULL || memchr(b.p, 0, b.n) != NULL)) {
        nwire_fail(w, what);
        return (struct native_bytes){ 0 };
    }
    return b;
}

static void req_args_decode(struct nwire *w, struct arena *a, struct native_req *r)
{
    static const enum native_op_kind kinds[] = { [NATIVE_RANGE] = NATIVE_OP_GET,
                                                 [NATIVE_PUT] = NATIVE_OP_PUT,
                                                 [NATIVE_DELETE] = NATIVE_OP_DELETE };

    switch (r->call) {
    case NATIVE_RANGE:
    case NATIVE_PUT:
    case NATIVE_DELETE:
        r->then = &r->one;
        r->n_then = 1;
        op_args_decode(w, kinds[r->call], &r->one);
        r->number = r->call == NATIVE_RANGE ? nwire_get_uint(w, UINT64_MAX, "revision") : 0;
        return;
    case NATIVE_TXN:
        cmps_decode(w, a, r);
        ops_decode(w, a, &r->then, &r->n_then);
        ops_decode(w, a, &r->other, &r->n_other);
        return;
    case NATIVE_GRANT:
        r->number = nwire_get_uint(w, UINT64_MAX, "lease");
        r->number2 = nwire_get_uint(w, UINT64_MAX, "ttl");
        return;
    case NATIVE_WATCH:
        r->key = nwire_get_bytes(w, NATIVE_MAX_KEY, "key");
        r->end = nwire_get_bytes(w, NATIVE_MAX_KEY, "end");
        r->number = nwire_get_uint(w, UINT64_MAX, "revision");
        r->flags = (uint32_t)nwire_get_uint(w, NATIVE_FLAGS_ALL, "flags");
        if (r->key.p == NULL || r->key.n == 0) {
            nwire_fail(w, "key");
        }
        return;
    case NATIVE_REVOKE:
    case NATIVE_KEEPALIVE:
    case NATIVE_TTL:
    case NATIVE_CANCEL:
    case NATIVE_COMPACT:
        r->number = nwire_get_uint(w, UINT64_MAX, "number");
        return;
    case NATIVE_SESSION:
        r->number = nwire_get_uint(w, NATIVE_SESSIONS - 1, "number of the session");
        return;
    case NATIVE_STATUS:
        return;
    case NATIVE_OBJECT:
        r->method = text_decode(w, 16, "method");
        r->target = text_decode(w, 16U << 10, "target");
        r->body = nwire_get_bytes(w, NATIVE_MAX_REQUEST, "body");
        return;
    case NATIVE_ONCE:
        break;
    }
    CHECK_UNREACHABLE();
}

/* `call` and what stands before it when it is to be executed once; how many elements that were. */
static size_t once_decode(struct nwire *w, struct native_req *r, uint64_t *call)
{
    *call = nwire_get_uint(w, UINT32_MAX, "call");
    if (w->bad != NULL || *call != NATIVE_ONCE) {
        return 0;
    }
    r->session = nwire_get_uint(w, UINT64_MAX, "session");
    r->seq = nwire_get_uint(w, UINT64_MAX, "seq");
    r->ack = nwire_get_uint(w, UINT64_MAX, "ack");
    *call = nwire_get_uint(w, UINT32_MAX, "call");
    if (w->bad == NULL && (r->session == 0 || r->seq == 0 || *call == 0 ||
                           *call > NATIVE_CALL_MAX || !req_can_once((enum native_call) * call))) {
        nwire_fail(w, "session, seq or call");
    }
    return ONCE_ARGS;
}

int native_req_decode(const void *data, size_t len, struct arena *a, struct native_req *ret,
                      struct err *err)
{
    struct nwire w = nwire_make(data, len);
    size_t n = nwire_get_array(&w, 16, 1, "request"), before;
    uint64_t call;

    memset(ret, 0, sizeof(*ret));
    ret->id = nwire_get_uint(&w, NATIVE_MAX_ID, "id");
    before = once_decode(&w, ret, &call);
    if (w.bad == NULL && ret->id == 0) {
        nwire_fail(&w, "id");
    }
    if (w.bad == NULL && (call == 0 || call > NATIVE_CALL_MAX)) {
        return err_set(err, ERR_UNSUPPORTED, "native request: call %llu is not known here",
                       (unsigned long long)call);
    }
    if (w.bad == NULL) {
        ret->call = (enum native_call)call;
        if (n != 2 + before + req_count(ret->call)) {
            nwire_fail(&w, "number of arguments");
        }
    }
    if (w.bad == NULL) {
        req_args_decode(&w, a, ret);
    }
    return nwire_end(&w, "native request", err);
}
