/* Upgrading an HTTP connection, requests into a sink, and the native client against a small server
 * of the test, which answers, stays silent, or talks nonsense. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_server.h"
#include "api/native_client.h"
#include "base/obj.h"
#include "base/str.h"

enum manner { GOOD, NO_UPGRADE, NO_HELLO, NONSENSE, HUGE_FRAME, HANG_UP, SILENT };

struct world {
    uv_loop_t loop;
    uv_timer_t guard;
    struct http_server *server;
    const char *address;
    enum manner manner;
    struct stream *taken; /* the server's end */
    struct buf in;
    struct native_client *client;
    int opened, ended, answered, failed, events, server_closed;
    struct err end, last;
    char body[64];
    bool flush_stop;
};

/* --- the server's side --- */

static void say(struct world *w, const struct native_ans *a)
{
    struct buf b = { 0 };
    struct err err;

    native_ans_encode(a, &b);
    (void)stream_write(w->taken, b.data, b.len, &err);
    buf_done(&b);
}

static struct native_bytes text(const char *s)
{
    return (struct native_bytes){ .p = (const uint8_t *)s, .n = strlen(s) };
}

static void serve(struct world *w, const struct native_req *r)
{
    struct native_kv kv = { .key = r->call == NATIVE_WATCH ? r->key : r->one.key, .mod_rev = 5 };
    struct native_result res = { .kind = NATIVE_OP_GET, .count = 1, .kvs = &kv, .n_kvs = 1 };
    struct native_event ev = { .kv = kv };
    struct native_ans a = { .id = r->id, .kind = NATIVE_RESULT, .rev = 5, .n_ops = 1, .ops = &res };
    struct buf b = { 0 };
    struct err err;

    kv.value = text("val");
    ev.kv.value = text("val");
    if (r->call == NATIVE_PUT) {
        (void)err_set(&err, ERR_DENIED, "not you");
        native_error_encode(r->id, &err, &b);
        (void)stream_write(w->taken, b.data, b.len, &err);
        buf_done(&b);
    } else if (r->call == NATIVE_WATCH) {
        a.kind = NATIVE_NUMBERS;
        say(w, &a);
        a.kind = NATIVE_EVENTS;
        a.events = &ev;
        a.n_events = 1;
        say(w, &a);
        say(w, &a);
        a.kind = NATIVE_END;
        say(w, &a);
    } else {
        say(w, &a);
    }
}

static void taken_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct world *w = stream_data(s);
    struct arena a = { 0 };
    struct native_req r;
    struct err err;
    bool whole;
    size_t n;

    buf_add(&w->in, data, len);
    if (w->manner == HANG_UP) {
        stream_close(s, false);
        w->taken = NULL;
        return;
    }
    for (;;) {
        assert_int_equal(native_frame(w->in.data, w->in.len, 1000, &n, &whole, &err), 0);
        if (!whole) {
            break;
        }
        assert_int_equal(native_req_decode(w->in.data + NATIVE_HEAD, n, &a, &r, &err), 0);
        serve(w, &r);
        buf_consume(&w->in, NATIVE_HEAD + n);
    }
    arena_done(&a);
}

static void taken_end(struct stream *s, const struct err *err)
{
    struct world *w = stream_data(s);

    (void)err;
    w->taken = NULL;
    stream_close(s, false);
}

static const struct stream_cbs taken_cbs = { .on_data = taken_data, .on_end = taken_end };

static void take(void *data, struct stream *s, const uint8_t *rest, size_t len)
{
    struct native_ans hello = { .kind = NATIVE_HELLO, .number = 1, .number2 = 10 };
    struct world *w = data;
    struct err err;

    (void)rest;
    assert_int_equal(len, 0);
    assert_int_equal(http_server_conns(w->server), 0);
    w->taken = s;
    stream_set_data(s, w);
    stream_set_cbs(s, &taken_cbs);
    hello.text = text("node1");
    if (w->manner == GOOD || w->manner == HANG_UP) {
        say(w, &hello);
    } else if (w->manner == NO_HELLO) {
        hello.kind = NATIVE_END;
        say(w, &hello);
    } else if (w->manner == NONSENSE) {
        assert_int_equal(stream_write(s, "\x03\0\0\0\xc1\xc1\xc1", 7, &err), 0);
    } else if (w->manner == HUGE_FRAME) {
        assert_int_equal(stream_write(s, "\xff\xff\xff\xff", 4, &err), 0);
    }
}

static void on_request(void *ctx, struct http_req *req)
{
    struct world *w = ctx;

    if (w->manner == NO_UPGRADE || !http_upgrade(req, NATIVE_PROTOCOL, take, w)) {
        http_respond(req, 404, "text/plain", "what?", 5, NULL, 0);
    }
}

/* --- the client's side --- */

static void stop(struct world *w)
{
    if (w->client != NULL) {
        native_client_close(w->client);
        w->client = NULL;
    }
    uv_stop(&w->loop);
}

static void on_open(void *data, const struct native_ans *hello)
{
    struct world *w = data;

    assert_int_equal(hello->number, 1);
    assert_int_equal(hello->text.n, 5);
    w->opened++;
}

static void on_end(void *data, const struct err *err)
{
    struct world *w = data;

    w->ended++;
    w->end = *err;
    stop(w);
}

static void on_answer(void *data, const struct err *err, const struct native_ans *ans)
{
    struct world *w = data;

    if (err != NULL) {
        w->failed++;
        w->last = *err;
    } else if (ans->kind == NATIVE_EVENTS) {
        w->events++;
    } else {
        w->answered++;
        if (ans->n_ops > 0 && ans->ops[0].n_kvs > 0) {
            assert_int_equal(ans->ops[0].kvs[0].value.n, 3);
        }
    }
    if (w->client != NULL && native_client_pending(w->client) == 0 && w->flush_stop) {
        stop(w);
    }
}

static void guard_cb(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static void server_gone(void *ctx)
{
    ((struct world *)ctx)->server_closed++;
}

static void begin(struct world *w, enum manner manner, uint64_t connect_ms)
{
    static const struct native_client_cbs cbs = { .on_open = on_open, .on_end = on_end };
    struct http_server_opts so = { .on_request = on_request, .ctx = w };
    struct native_client_opts co = { .connect_ms = connect_ms };
    struct err err;

    memset(w, 0, sizeof(*w));
    w->manner = manner;
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->guard), 0);
    assert_int_equal(uv_timer_start(&w->guard, guard_cb, 20000, 0), 0);
    assert_int_equal(http_server_new(&w->loop, &so, &w->server, &err), 0);
    assert_int_equal(http_server_listen(w->server, "127.0.0.1:0", NULL, &w->address, &err), 0);
    co.address = w->address;
    assert_int_equal(native_client_open(&w->loop, &co, &cbs, w, &w->client, &err), 0);
}

static void end(struct world *w)
{
    if (w->taken != NULL) {
        stream_close(w->taken, false);
    }
    http_server_close(w->server, server_gone, w);
    uv_close((uv_handle_t *)&w->guard, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(w->server_closed, 1);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    buf_done(&w->in);
}

static void calls_before_and_after_opening(void **state)
{
    struct native_req watch = { .call = NATIVE_WATCH };
    struct world w;

    (void)state;
    begin(&w, GOOD, 0);
    watch.key = text("w");
    for (int i = 0; i < 200; i++) { /* more than the slots at the beginning */
        (void)native_client_get(w.client, text("k"), false, on_answer, &w);
    }
    (void)native_client_put(w.client, text("k"), text("v"), on_answer, &w);
    (void)native_client_call(w.client, &watch, on_answer, &w);
    assert_int_equal(native_client_pending(w.client), 202);
    w.flush_stop = true;
    (void)uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(w.opened, 1);
    assert_int_equal(w.answered, 202); /* 200 results, the watch's acceptance and its end */
    assert_int_equal(w.events, 2);
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.last.code, ERR_DENIED);
    assert_int_equal(w.ended, 0);
    end(&w);
}

static void ends(enum manner manner, int code, const char *words, int call_code)
{
    struct world w;

    begin(&w, manner, manner == SILENT ? 50 : 0);
    (void)native_client_get(w.client, text("k"), false, on_answer, &w);
    (void)uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(w.ended, 1);
    assert_int_equal(w.end.code, code);
    if (strstr(w.end.msg, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", w.end.msg, words);
    }
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.last.code, call_code);
    end(&w);
}

static void servers_of_another_kind(void **state)
{
    (void)state;
    ends(NO_UPGRADE, ERR_UNSUPPORTED, "HTTP 404", ERR_UNSUPPORTED);
    ends(NO_HELLO, ERR_UNSUPPORTED, "hello", ERR_UNSUPPORTED);
    ends(NONSENSE, ERR_BAD_REQUEST, "native answer", ERR_BAD_REQUEST);
    ends(HUGE_FRAME, ERR_TOO_LARGE, "larger than", ERR_TOO_LARGE);
    ends(SILENT, ERR_UNREACHABLE, "in time", ERR_UNREACHABLE);
}

static void a_lost_connection_leaves_calls_unknown(void **state)
{
    (void)state;
    ends(HANG_UP, ERR_UNREACHABLE, "closed", ERR_UNKNOWN_OUTCOME);
}

/* --- sinks --- */

struct sink_world {
    int responds, begins, writes, ends, aborts, drains, status;
    char body[64], error[32];
    bool full;
};

static void sink_respond(void *ctx, int status, const char *error, const void *body, size_t len)
{
    struct sink_world *s = ctx;

    s->responds++;
    s->status = status;
    (void)str_copy(s->error, sizeof(s->error), error == NULL ? "" : error);
    memcpy(s->body, body, len < sizeof(s->body) ? len : sizeof(s->body));
}

static void sink_begin(void *ctx, int status)
{
    struct sink_world *s = ctx;

    s->begins++;
    s->status = status;
}

static bool sink_write(void *ctx, const void *data, size_t len)
{
    struct sink_world *s = ctx;

    s->writes++;
    memcpy(s->body, data, len);
    return !s->full;
}

static void sink_end(void *ctx)
{
    ((struct sink_world *)ctx)->ends++;
}

static void req_aborted(struct http_req *req)
{
    struct sink_world *s = req->data;

    assert_true(http_req_aborted(req));
    s->aborts++;
    assert_false(http_stream_write(req, "x", 1));
    http_stream_end(req);
}

static void req_drained(struct http_req *req)
{
    ((struct sink_world *)req->data)->drains++;
}

static const struct http_sink sink = { sink_respond, sink_begin, sink_write, sink_end };

static struct http_req *make(struct sink_world *s, const char *target)
{
    static const struct http_header accept = { "Accept", "application/json" };
    static const struct stream_peer peer = { .role = "picket:admins", .name = "root" };
    struct err err;

    return http_req_make(&sink, s, "GET", target, &accept, 1, "hi", 2, &peer, "here", &err);
}

static void answers_go_into_the_sink(void **state)
{
    struct sink_world s = { 0 };
    struct http_req *r = make(&s, "/a%20b?q=1");
    struct err err;

    (void)state;
    assert_string_equal(r->path, "/a b");
    assert_string_equal(http_req_query(r, "q"), "1");
    assert_string_equal(http_req_header(r, "accept"), "application/json");
    assert_string_equal(r->peer.name, "root");
    assert_int_equal(r->len, 2);
    assert_false(http_req_aborted(r));
    http_respond(r, 200, "text/plain", "ok", 2, NULL, 0);
    assert_int_equal(s.responds, 1);
    assert_string_equal(s.body, "ok");
    r = make(&s, "/");
    (void)err_set(&err, ERR_STALE, "old");
    http_respond_err(r, &err);
    assert_int_equal(s.status, 409);
    assert_string_equal(s.error, "ERR_STALE");
    assert_null(make(&s, "no-slash"));
}

static void streams_go_into_the_sink(void **state)
{
    struct sink_world s = { .full = true };
    struct http_req *r = make(&s, "/");

    (void)state;
    r->data = &s;
    r->on_abort = req_aborted;
    r->on_drain = req_drained;
    http_stream_begin(r, 200, NULL, NULL, 0);
    assert_false(http_stream_write(r, "abc", 3));
    http_req_drain(r);
    http_req_drain(r); /* only when something waits */
    assert_int_equal(s.drains, 1);
    s.full = false;
    assert_true(http_stream_write(r, "def", 3));
    http_stream_end(r);
    assert_int_equal(s.begins + s.ends, 2);
    assert_int_equal(s.writes, 2);

    r = make(&s, "/");
    r->data = &s;
    r->on_abort = req_aborted;
    http_stream_begin(r, 200, NULL, NULL, 0);
    http_req_abort(r);
    assert_int_equal(s.aborts, 1);
    assert_int_equal(s.ends, 1); /* nobody is told any more */

    r = make(&s, "/");
    http_req_abort(r);
    http_respond(r, 200, NULL, NULL, 0, NULL, 0);
    assert_int_equal(s.responds, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_before_and_after_opening),
        cmocka_unit_test(servers_of_another_kind),
        cmocka_unit_test(a_lost_connection_leaves_calls_unknown),
        cmocka_unit_test(answers_go_into_the_sink),
        cmocka_unit_test(streams_go_into_the_sink),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
