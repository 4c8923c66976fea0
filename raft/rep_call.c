#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/rep_core.h"

/* Calls between peers for the caller's own purposes.
 *
 *   CALL   id u64, kind u16, data
 *   REPLY  id u64, code u32 (0 or -err), message length u16, message, data */

#define CALLS_IN_MAX 4096u

static void call_refuse(struct rep *r, struct rep_req *req, rep_call_cb *cb, int code,
                        const char *text)
{
    struct err err;

    (void)err_set(&err, code, "%s", text);
    rep_fail(r, REQ_CALL, req, (void (*)(void))cb, &err);
}

static struct rep_call_in *call_in_new(struct rep *r, uint64_t from, uint64_t remote_id,
                                       uint16_t kind, const void *data, size_t len)
{
    struct rep_call_in *c = OBJ_NEW(struct rep_call_in);

    c->id = ++r->next_call;
    c->from = from;
    c->remote_id = remote_id;
    c->kind = kind;
    buf_add(&c->data, data, len);
    c->next = r->calls_in;
    r->calls_in = c;
    r->n_calls_in++;
    return c;
}

static void call_in_free(struct rep_call_in *c)
{
    buf_done(&c->data);
    free(c);
}

void rep_call(struct rep *r, uint64_t to, uint16_t kind, const void *data, size_t len,
              uint64_t timeout_ms, struct rep_req *req, rep_call_cb *cb)
{
    struct rep_call_out *c = (struct rep_call_out *)(void *)req->priv;
    size_t at;

    OBJ_CHECK(r, REP_MAGIC);
    CHECK(kind >= 1 && kind <= 99);
    to = to == 0 ? rep_leader(r) : to;
    if (to == 0) {
        call_refuse(r, req, cb, ERR_NO_QUORUM, "no leader is known");
        return;
    }
    if (len > REP_CALL_MAX) {
        call_refuse(r, req, cb, ERR_TOO_LARGE, "the call is larger than 4 MiB");
        return;
    }
    if (to != r->params.id && !rep_can_send(r, to)) {
        call_refuse(r, req, cb, ERR_UNREACHABLE, "the peer is not connected");
        return;
    }
    *c = (struct rep_call_out){
        .cb = cb,
        .deadline_ms = rep_now(r) + timeout_ms,
        .id = ++r->next_call,
        .to = to,
        .next = r->calls,
    };
    r->calls = c;
    if (to == r->params.id) {
        rep_event(r, EVENT_CALL)->a = call_in_new(r, to, c->id, kind, data, len)->id;
        return;
    }
    at = frame_begin(&r->frame, FRAME_CALL);
    buf_add_u64(&r->frame, c->id);
    buf_add_u16(&r->frame, kind);
    buf_add(&r->frame, data, len);
    frame_end(&r->frame, at);
    (void)rep_send(r, to);
}

static struct rep_call_in **call_find(struct rep *r, uint64_t id)
{
    struct rep_call_in **p = &r->calls_in;

    while (*p != NULL && (*p)->id != id) {
        p = &(*p)->next;
    }
    return p;
}

void rep_reply(struct rep *r, uint64_t call_id, const struct err *err, const void *data, size_t len)
{
    struct rep_call_in **p = call_find(r, call_id), *c = *p;
    size_t at, msg_len = err == NULL ? 0 : strlen(err->msg);

    OBJ_CHECK(r, REP_MAGIC);
    CHECK(len <= REP_CALL_MAX);
    if (c == NULL) {
        return; /* the caller's link broke meanwhile */
    }
    *p = c->next;
    r->n_calls_in--;
    if (c->from == r->params.id) {
        buf_clear(&c->data);
        buf_add(&c->data, data, len);
        c->err = err == NULL ? (struct err){ 0 } : *err;
        rep_event(r, EVENT_REPLY)->call = c;
        return;
    }
    at = frame_begin(&r->frame, FRAME_REPLY);
    buf_add_u64(&r->frame, c->remote_id);
    buf_add_u32(&r->frame, err == NULL ? 0 : (uint32_t)-err->code);
    buf_add_u16(&r->frame, (uint16_t)msg_len);
    buf_add(&r->frame, err == NULL ? "" : err->msg, msg_len);
    buf_add(&r->frame, data, len);
    frame_end(&r->frame, at);
    (void)rep_send(r, c->from);
    call_in_free(c);
}

static void call_deliver(struct rep *r, struct rep_call_in *c)
{
    const struct rep_events *ev = &r->params.events;
    struct rep_peer *p = rep_peer(r, c->from);
    char name[64];
    struct buf data = c->data;
    uint64_t id = c->id;

    (void)str_copy(name, sizeof(name), p == NULL ? "" : p->info.name);
    if (ev->on_call == NULL) {
        struct err err;

        (void)err_set(&err, ERR_UNSUPPORTED, "this node takes no calls");
        rep_reply(r, id, &err, NULL, 0);
        return;
    }
    c->data = (struct buf){ 0 }; /* the callback may answer, and so free c, at once */
    ev->on_call(ev->ctx, c->from, name, c->kind, data.data, data.len, id);
    buf_done(&data);
}

static void call_finish(struct rep *r, uint64_t from, uint64_t id, const struct err *err,
                        const uint8_t *data, size_t len)
{
    for (struct rep_call_out **p = &r->calls; *p != NULL; p = &(*p)->next) {
        struct rep_call_out *c = *p;

        if (c->id == id && c->to == from) {
            *p = c->next;
            c->cb(CONTAINER_OF(c, struct rep_req, priv), err->code == 0 ? NULL : err, data, len);
            return;
        }
    }
}

void rep_call_event(struct rep *r, struct rep_event *e)
{
    struct rep_call_in *c = e->call;

    if (e->kind == EVENT_CALL) {
        c = *call_find(r, e->a);
        if (c != NULL) { /* the link may have broken meanwhile */
            call_deliver(r, c);
        }
        return;
    }
    call_finish(r, r->params.id, c->remote_id, &c->err, c->data.data, c->data.len);
    call_in_free(c);
}

void rep_call_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    uint64_t id = rd_u64(&rd);
    struct err err = { 0 };
    struct rep_call_in *c;
    uint32_t code;
    const uint8_t *msg;
    size_t n;

    if (kind == FRAME_CALL) {
        uint16_t call_kind = rd_u16(&rd);

        if (rd.bad || r->n_calls_in >= CALLS_IN_MAX) {
            lg_warn("raft", "peer=%" PRIu64 " msg=\"a call was not taken\"", from);
            return;
        }
        c = call_in_new(r, from, id, call_kind, rd.p + rd.pos, rd_left(&rd));
        rep_event(r, EVENT_CALL)->a = c->id;
        return;
    }
    code = rd_u32(&rd);
    n = rd_u16(&rd);
    msg = rd_bytes(&rd, n);
    if (rd.bad || code > 1000) {
        lg_warn("raft", "peer=%" PRIu64 " msg=\"malformed answer to a call\"", from);
        return;
    }
    if (code != 0) {
        (void)err_set(&err, -(int)code, "%.*s", (int)n, (const char *)msg);
    }
    call_finish(r, from, id, &err, rd.p + rd.pos, rd_left(&rd));
}

static void calls_fail(struct rep *r, uint64_t to, uint64_t now, const char *text)
{
    struct rep_call_out **p = &r->calls;

    while (*p != NULL) {
        struct rep_call_out *c = *p;

        if ((to != 0 && c->to != to) || (to == 0 && c->deadline_ms > now)) {
            p = &c->next;
            continue;
        }
        *p = c->next;
        call_refuse(r, CONTAINER_OF(c, struct rep_req, priv), c->cb, ERR_UNKNOWN_OUTCOME, text);
    }
}

void rep_call_tick(struct rep *r, uint64_t now)
{
    calls_fail(r, 0, now, "the peer's answer did not come in time");
}

void rep_call_down(struct rep *r, uint64_t id)
{
    struct rep_call_in **p = &r->calls_in;

    calls_fail(r, id, 0, "the link broke before the peer's answer");
    while (*p != NULL) {
        struct rep_call_in *c = *p;

        if (c->from != id) {
            p = &c->next;
            continue;
        }
        *p = c->next;
        r->n_calls_in--;
        call_in_free(c);
    }
}

void rep_call_done(struct rep *r)
{
    while (r->calls_in != NULL) {
        struct rep_call_in *c = r->calls_in;

        r->calls_in = c->next;
        call_in_free(c);
    }
}
