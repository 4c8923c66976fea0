/* Links that speak the native protocol. */

#include <stdlib.h>
#include <string.h>

#include "api/native_client.h"
#include "base/obj.h"
#include "base/str.h"
#include "tests/bench/load.h"

static struct native_bytes span(const char *p, size_t n)
{
    return (struct native_bytes){ .p = (const uint8_t *)(p == NULL ? "" : p), .n = n };
}

static void on_events(void *data, const struct err *err, const struct native_ans *ans)
{
    struct load_link *l = data;

    if (err != NULL) {
        return; /* on_end follows, or the watch fell behind: the missing events show in the count */
    }
    l->watching = true;
    for (size_t i = 0; i < ans->n_events; i++) {
        const struct native_event *e = &ans->events[i];

        if (!e->deleted) {
            l->on_event(l->event_data, (const char *)e->kv.value.p, e->kv.value.n);
        }
    }
}

static void on_open(void *data, const struct native_ans *hello)
{
    struct load_link *l = data;

    (void)hello;
    load_link_ready_now(l);
    if (l->watch_key != NULL) {
        struct native_req r = { .call = NATIVE_WATCH };

        r.key = span(l->watch_key, strlen(l->watch_key));
        (void)native_client_call(l->impl, &r, on_events, l);
    }
}

static void on_end(void *data, const struct err *err)
{
    struct load_link *l = data;

    (void)err;
    native_client_close(l->impl);
    l->impl = NULL;
    load_link_lost(l);
}

void load_native_dial(struct load_link *l)
{
    static const struct native_client_cbs cbs = { .on_open = on_open, .on_end = on_end };
    struct native_client_opts o = {
        .address = l->address, .tls = l->target.tls, .want_role = l->target.role, .connect_ms = 2000
    };
    struct native_client *c;
    struct err err;

    if (native_client_open(l->loop, &o, &cbs, l, &c, &err) != 0) {
        load_link_lost(l);
        return;
    }
    l->impl = c;
}

static void on_answer(void *data, const struct err *err, const struct native_ans *ans)
{
    struct load_op *op = data;
    const struct native_result *r;

    if (err != NULL) {
        op->done(op, err, NULL, 0, false);
        return;
    }
    r = ans->n_ops > 0 ? &ans->ops[0] : NULL;
    if (op->kind == LOAD_GET && r != NULL && r->n_kvs > 0) {
        op->done(op, NULL, (const char *)r->kvs[0].value.p, r->kvs[0].value.n, false);
    } else {
        op->done(op, NULL, NULL, 0,
                 op->kind == LOAD_DELETE ? r != NULL && r->count > 0 : ans->succeeded);
    }
}

static void issue_cas(struct load_link *l, struct load_op *op)
{
    struct native_bytes key = span(op->key, strlen(op->key));
    struct native_op put = { .kind = NATIVE_OP_PUT,
                             .key = key,
                             .value = span(op->value, op->vlen) };
    struct native_cmp cmp = { .key = key }; /* version == 0: absent */
    struct native_req r = {
        .call = NATIVE_TXN, .cmps = &cmp, .n_cmps = 1, .then = &put, .n_then = 1
    };

    if (op->old != NULL) {
        cmp.target = NATIVE_CMP_VALUE;
        cmp.value = span(op->old, op->old_len);
    }
    (void)native_client_call(l->impl, &r, on_answer, op);
}

void load_native_issue(struct load_link *l, struct load_op *op)
{
    struct native_op del = { .kind = NATIVE_OP_DELETE };
    struct native_req r = { .call = NATIVE_DELETE, .then = &del, .n_then = 1 };

    CHECK(l->ready);
    switch (op->kind) {
    case LOAD_PUT:
        (void)native_client_put(l->impl, span(op->key, strlen(op->key)), span(op->value, op->vlen),
                                on_answer, op);
        return;
    case LOAD_GET:
        (void)native_client_get(l->impl, span(op->key, strlen(op->key)), false, on_answer, op);
        return;
    case LOAD_CAS:
        issue_cas(l, op);
        return;
    case LOAD_DELETE:
        del.key = span(op->key, strlen(op->key));
        (void)native_client_call(l->impl, &r, on_answer, op);
        return;
    }
    CHECK_UNREACHABLE();
}
