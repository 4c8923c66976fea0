#include "api/native_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define NATIVE_CLIENT_MAGIC 0x9a71bec1U
#define CONNECT_MS 5000U
#define ANSWER_HEAD_MAX (16U << 10) /* of the HTTP answer to the upgrade */
#define SLOT_BITS 24U               /* of an id: the slot; above: how often it was used */
#define QUEUE_MAX (256U << 20)

enum client_state { CLIENT_CONNECTING, CLIENT_UPGRADING, CLIENT_OPEN, CLIENT_ENDED, CLIENT_CLOSED };

struct client_call {
    uint64_t id; /* 0: free */
    native_ans_cb *cb;
    void *data;
    uint32_t uses;
    uint32_t next_free;
    bool watching; /* stays after an answer */
};

struct native_client {
    unsigned magic;
    enum client_state state;
    struct stream *stream;
    struct native_client_cbs cbs;
    void *data;
    uv_timer_t timer; /* opening */
    bool stream_gone, timer_gone;
    struct buf in;
    struct buf early; /* calls made before the protocol was agreed */
    struct buf out;
    struct client_call *calls;
    uint32_t n_calls;   /* slots */
    uint32_t free_head; /* slot + 1 */
    size_t pending;
    char address[128];
};

static void client_free_if_done(struct native_client *c)
{
    if (c->stream_gone && c->timer_gone) {
        buf_done(&c->in);
        buf_done(&c->early);
        buf_done(&c->out);
        free(c->calls);
        c->magic = 0;
        free(c);
    }
}

static void timer_closed(uv_handle_t *h)
{
    struct native_client *c = h->data;

    c->timer_gone = true;
    client_free_if_done(c);
}

static void stream_closed(struct stream *s)
{
    struct native_client *c;

    OBJ_FROM(c, stream_data(s), NATIVE_CLIENT_MAGIC);
    c->stream_gone = true;
    client_free_if_done(c);
}

void native_client_close(struct native_client *c)
{
    OBJ_CHECK(c, NATIVE_CLIENT_MAGIC);
    if (c->state == CLIENT_CLOSED) {
        return;
    }
    c->state = CLIENT_CLOSED;
    stream_close(c->stream, false);
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}

/* --- calls --- */

static struct client_call *call_new(struct native_client *c)
{
    struct client_call *k;
    uint32_t slot;

    if (c->free_head == 0) {
        uint32_t n = c->n_calls == 0 ? 64 : c->n_calls * 2;

        CHECK(n < (1U << SLOT_BITS));
        c->calls = mem_realloc(c->calls, n * sizeof(*c->calls));
        memset(c->calls + c->n_calls, 0, (n - c->n_calls) * sizeof(*c->calls));
        for (uint32_t i = n; i-- > c->n_calls;) {
            c->calls[i].next_free = c->free_head;
            c->free_head = i + 1;
        }
        c->n_calls = n;
    }
    slot = c->free_head - 1;
    k = &c->calls[slot];
    c->free_head = k->next_free;
    k->uses = (k->uses + 1) & 0xfffffffU;
    k->id = ((uint64_t)k->uses << SLOT_BITS) | slot;
    c->pending++;
    return k;
}

static struct client_call *call_find(struct native_client *c, uint64_t id)
{
    uint64_t slot = id & ((1U << SLOT_BITS) - 1);

    return slot < c->n_calls && c->calls[slot].id == id && id != 0 ? &c->calls[slot] : NULL;
}

static void call_free(struct native_client *c, struct client_call *k)
{
    k->id = 0;
    k->next_free = c->free_head;
    c->free_head = (uint32_t)(k - c->calls) + 1;
    c->pending--;
}

static bool is_object_watch(const struct native_req *req)
{
    return req->call == NATIVE_OBJECT && memmem(req->target.p, req->target.n, "watch=", 6) != NULL;
}

uint64_t native_client_call(struct native_client *c, const struct native_req *req,
                            native_ans_cb *cb, void *data)
{
    struct native_req r = *req;
    struct client_call *k;
    struct err err;

    OBJ_CHECK(c, NATIVE_CLIENT_MAGIC);
    CHECK(c->state != CLIENT_CLOSED);
    k = call_new(c);
    k->cb = cb;
    k->data = data;
    k->watching = req->call == NATIVE_WATCH || is_object_watch(req);
    r.id = k->id;
    if (c->state == CLIENT_OPEN) {
        buf_clear(&c->out);
        native_req_encode(&r, &c->out);
        /* A failed write is followed by the end of the stream, which answers the call. */
        (void)stream_write(c->stream, c->out.data, c->out.len, &err);
    } else {
        native_req_encode(&r, &c->early);
    }
    return r.id;
}

uint64_t native_client_put(struct native_client *c, struct native_bytes key,
                           struct native_bytes value, native_ans_cb *cb, void *data)
{
    struct native_op op = { .kind = NATIVE_OP_PUT, .key = key, .value = value };
    struct native_req r = { .call = NATIVE_PUT, .then = &op, .n_then = 1 };

    return native_client_call(c, &r, cb, data);
}

uint64_t native_client_get(struct native_client *c, struct native_bytes key, bool serializable,
                           native_ans_cb *cb, void *data)
{
    struct native_op op = { .kind = NATIVE_OP_GET, .key = key };
    struct native_req r = { .call = NATIVE_RANGE, .then = &op, .n_then = 1 };

    op.flags = serializable ? NATIVE_SERIALIZABLE : 0;
    return native_client_call(c, &r, cb, data);
}

size_t native_client_pending(const struct native_client *c)
{
    return c->pending;
}

void native_client_pause(struct native_client *c, bool paused)
{
    if (c->state == CLIENT_OPEN) {
        stream_pause(c->stream, paused);
    }
}

/* --- the end --- */

static void client_end(struct native_client *c, const struct err *err)
{
    enum client_state before = c->state;
    struct err lost;

    if (before == CLIENT_ENDED || before == CLIENT_CLOSED) {
        return;
    }
    c->state = CLIENT_ENDED;
    (void)uv_timer_stop(&c->timer);
    lost = *err;
    if (before == CLIENT_OPEN) {
        (void)err_set(&lost, ERR_UNKNOWN_OUTCOME, "the connection ended before the answer: %.300s",
                      err->msg);
    }
    for (uint32_t i = 0; i < c->n_calls && c->state != CLIENT_CLOSED; i++) {
        struct client_call k = c->calls[i];

        if (k.id != 0) {
            call_free(c, &c->calls[i]);
            k.cb(k.data, &lost, NULL);
        }
    }
    if (c->state != CLIENT_CLOSED) {
        c->cbs.on_end(c->data, err);
    }
}

static void on_end(struct stream *s, const struct err *err)
{
    struct native_client *c;
    struct err e;

    OBJ_FROM(c, stream_data(s), NATIVE_CLIENT_MAGIC);
    (void)err_set(&e, ERR_UNREACHABLE, "%s: %.300s", c->address,
                  err == NULL ? "the member closed the connection" : err->msg);
    client_end(c, &e);
}

/* --- receiving --- */

static void client_hello(struct native_client *c, const struct native_ans *a)
{
    struct err err;

    c->state = CLIENT_OPEN;
    (void)uv_timer_stop(&c->timer);
    if (c->early.len > 0) {
        (void)stream_write(c->stream, c->early.data, c->early.len, &err);
    }
    buf_done(&c->early);
    if (c->cbs.on_open != NULL) {
        c->cbs.on_open(c->data, a);
    }
}

static bool is_last(const struct client_call *k, const struct native_ans *a)
{
    /* An object watch that was refused gets a reply with the reason, and nothing after it. */
    return !k->watching || a->kind == NATIVE_ERROR || a->kind == NATIVE_END ||
           (a->kind == NATIVE_REPLY && a->number != 200);
}

static void client_answer(struct native_client *c, const struct native_ans *a)
{
    struct client_call *k = call_find(c, a->id);
    struct client_call copy;
    struct err err;

    if (a->id == 0 && a->kind == NATIVE_ERROR) {
        native_ans_err(a, &err);
        client_end(c, &err);
        return;
    }
    if (k == NULL) {
        return; /* of a watch that was cancelled */
    }
    copy = *k;
    if (is_last(k, a)) {
        call_free(c, k);
    }
    if (a->kind == NATIVE_ERROR) {
        native_ans_err(a, &err);
        copy.cb(copy.data, &err, NULL);
    } else {
        copy.cb(copy.data, NULL, a);
    }
}

static int client_frame(struct native_client *c, const uint8_t *p, size_t len, struct err *err)
{
    struct arena arena = { 0 };
    struct native_ans a;
    int rc = native_ans_decode(p, len, &arena, &a, err);

    if (rc == 0 && c->state == CLIENT_OPEN) {
        client_answer(c, &a);
    } else if (rc == 0 && a.kind == NATIVE_HELLO) {
        client_hello(c, &a);
    } else if (rc == 0) {
        rc = err_set(err, ERR_UNSUPPORTED, "%s did not begin with a hello", c->address);
    }
    arena_done(&arena);
    return rc;
}

/* The answer to the upgrade: 101, or why not.  *ret_used 0 while it is incomplete. */
static int client_upgraded(struct native_client *c, size_t *ret_used, struct err *err)
{
    const char *text = buf_cstr(&c->in);
    const char *end = strstr(text, "\r\n\r\n");
    long status;

    *ret_used = 0;
    if (end == NULL) {
        return c->in.len < ANSWER_HEAD_MAX
                   ? 0
                   : err_set(err, ERR_UNSUPPORTED, "%s does not speak HTTP", c->address);
    }
    status = strncmp(text, "HTTP/1.1 ", 9) == 0 ? strtol(text + 9, NULL, 10) : 0;
    if (status == 0) {
        return err_set(err, ERR_UNSUPPORTED, "%s does not speak HTTP/1.1", c->address);
    }
    if (status != 101) {
        return err_set(err, status == 401 ? ERR_UNAUTHORIZED : ERR_UNSUPPORTED,
                       "%s answered HTTP %ld to the offer of %s: %.300s", c->address, status,
                       NATIVE_PROTOCOL, end + 4);
    }
    *ret_used = (size_t)(end + 4 - text);
    return 0;
}

static int client_frames(struct native_client *c, struct err *err)
{
    size_t at = 0, n = 0;
    bool whole = true;
    int rc = 0;

    if (c->state == CLIENT_CONNECTING) {
        rc = client_upgraded(c, &at, err);
        if (rc != 0 || at == 0) {
            return rc;
        }
        c->state = CLIENT_UPGRADING;
    }
    while (rc == 0 && whole && (c->state == CLIENT_UPGRADING || c->state == CLIENT_OPEN)) {
        rc = native_frame(c->in.data + at, c->in.len - at, NATIVE_MAX_ANSWER, &n, &whole, err);
        if (rc == 0 && whole) {
            rc = client_frame(c, c->in.data + at + NATIVE_HEAD, n, err);
            at += NATIVE_HEAD + n;
        }
    }
    buf_consume(&c->in, at);
    return rc;
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct native_client *c;
    struct err err;

    OBJ_FROM(c, stream_data(s), NATIVE_CLIENT_MAGIC);
    if (c->state >= CLIENT_ENDED) {
        return;
    }
    buf_add(&c->in, data, len);
    if (client_frames(c, &err) != 0) {
        client_end(c, &err);
    }
}

static void on_open(struct stream *s, const struct err *err)
{
    static const char hello[] = "GET " NATIVE_PATH " HTTP/1.1\r\nHost: picket\r\n"
                                "Connection: Upgrade\r\nUpgrade: " NATIVE_PROTOCOL "\r\n\r\n";
    struct native_client *c;
    struct err e;

    OBJ_FROM(c, stream_data(s), NATIVE_CLIENT_MAGIC);
    if (err != NULL) {
        client_end(c, err);
    } else if (stream_write(s, hello, sizeof(hello) - 1, &e) != 0) {
        client_end(c, &e);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct native_client *c = t->data;
    struct err err;

    (void)err_set(&err, ERR_UNREACHABLE, "%s did not agree on %s in time", c->address,
                  NATIVE_PROTOCOL);
    client_end(c, &err);
}

static const struct stream_cbs client_cbs = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = stream_closed,
};

int native_client_open(uv_loop_t *loop, const struct native_client_opts *opts,
                       const struct native_client_cbs *cbs, void *data, struct native_client **ret,
                       struct err *err)
{
    uint64_t ms = opts->connect_ms == 0 ? CONNECT_MS : opts->connect_ms;
    struct stream_opts so = {
        .tls = opts->tls, .want_role = opts->want_role, .connect_ms = ms, .max_queue = QUEUE_MAX
    };
    struct native_client *c = OBJ_NEW(struct native_client);

    CHECK(cbs->on_end != NULL);
    c->magic = NATIVE_CLIENT_MAGIC;
    c->cbs = *cbs;
    c->data = data;
    c->timer.data = c;
    (void)str_copy(c->address, sizeof(c->address), opts->address);
    if (stream_connect(loop, opts->address, &so, &client_cbs, c, &c->stream, err) != 0) {
        free(c);
        return err->code;
    }
    CHECK(uv_timer_init(loop, &c->timer) == 0);
    CHECK(uv_timer_start(&c->timer, on_timer, ms, 0) == 0);
    *ret = c;
    return 0;
}
