/* The HTTP server over loopback, against a client that sends raw bytes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

#include "api/http_server.h"
#include "base/obj.h"
#include "base/str.h"

struct raw {
    struct stream *s;
    struct buf got;
    int opened, ended, closed;
    bool hold; /* stay open after the server's end */
};

struct world {
    uv_loop_t loop;
    uv_timer_t guard;
    struct http_server *server;
    const char *address;
    struct raw raw;
    int requests, aborts, drains, server_closed;
    struct http_req *held; /* for /later, /stream and /flood */
    char paths[256];       /* of all requests, joined */
    bool stop_in_handler;
    size_t flooded;
};

/* --- the handler --- */

static void on_abort(struct http_req *req)
{
    struct world *w = req->data;

    assert_true(http_req_aborted(req));
    w->aborts++;
    w->held = NULL;
    if (req->streaming) {
        assert_false(http_stream_write(req, "x", 1));
        http_stream_end(req);
    } else {
        http_respond(req, 200, NULL, NULL, 0, NULL, 0);
    }
}

static void flood(struct http_req *req)
{
    static char block[32768];
    struct world *w = req->data;

    while (http_stream_write(req, block, sizeof(block))) {
        w->flooded += sizeof(block);
        if (w->flooded > (64 << 20)) {
            http_stream_end(req);
            w->held = NULL;
            return;
        }
    }
    w->flooded += sizeof(block);
}

static void on_drain(struct http_req *req)
{
    struct world *w = req->data;

    w->drains++;
    flood(req);
}

static void respond_echo(struct http_req *req)
{
    const struct http_header extra = { "X-Query", http_req_query(req, "q") };

    http_respond(req, 200, "text/plain", req->body, req->len, &extra, extra.value == NULL ? 0 : 1);
}

static void respond_error(struct http_req *req)
{
    struct err err;

    (void)err_set(&err, ERR_NOT_FOUND, "no such thing: %s", req->path);
    http_respond_err(req, &err);
}

static void on_request(void *ctx, struct http_req *req)
{
    struct world *w = ctx;
    size_t n = strlen(w->paths);

    w->requests++;
    (void)snprintf(w->paths + n, sizeof(w->paths) - n, "%s;", req->path);
    req->data = w;
    req->on_abort = on_abort;
    if (w->stop_in_handler) {
        http_server_close(w->server, NULL, NULL);
        w->server = NULL;
        respond_error(req);
    } else if (str_eq(req->path, "/echo")) {
        respond_echo(req);
    } else if (str_eq(req->path, "/later")) {
        assert_null(w->held);
        w->held = req;
    } else if (str_eq(req->path, "/stream")) {
        http_stream_begin(req, 200, "application/json", NULL, 0);
        assert_true(http_stream_write(req, "one\n", 4));
        w->held = req;
    } else if (str_eq(req->path, "/flood")) {
        req->on_drain = on_drain;
        http_stream_begin(req, 200, "application/json", NULL, 0);
        w->held = req;
        flood(req);
    } else if (str_eq(req->path, "/empty")) {
        http_respond(req, 204, NULL, NULL, 0, NULL, 0);
    } else {
        respond_error(req);
    }
}

/* --- the raw client --- */

static void raw_open(struct stream *s, const struct err *err)
{
    struct raw *r = stream_data(s);

    assert_null(err);
    r->opened++;
}

static void raw_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct raw *r = stream_data(s);

    buf_add(&r->got, data, len);
    (void)buf_cstr(&r->got);
}

static void raw_end(struct stream *s, const struct err *err)
{
    struct raw *r = stream_data(s);

    (void)err;
    r->ended++;
    if (!r->hold) {
        stream_close(s, false);
    }
}

static void raw_closed(struct stream *s)
{
    struct raw *r = stream_data(s);

    r->closed++;
    r->s = NULL;
}

static const struct stream_cbs raw_cbs = {
    .on_open = raw_open, .on_data = raw_data, .on_end = raw_end, .on_closed = raw_closed
};

static void on_guard(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static void world_open(struct world *w, const struct http_server_opts *o)
{
    struct http_server_opts opts = *o;
    struct err err;

    memset(w, 0, sizeof(*w));
    opts.on_request = on_request;
    opts.ctx = w;
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->guard), 0);
    assert_int_equal(uv_timer_start(&w->guard, on_guard, 60000, 0), 0);
    uv_unref((uv_handle_t *)&w->guard);
    assert_int_equal(http_server_new(&w->loop, &opts, &w->server, &err), 0);
    assert_int_equal(http_server_listen(w->server, "127.0.0.1:0", NULL, &w->address, &err), 0);
}

static void raw_connect(struct world *w, struct raw *r)
{
    struct stream_opts opts = { 0 };
    struct err err;

    buf_done(&r->got);
    memset(r, 0, sizeof(*r));
    assert_int_equal(stream_connect(&w->loop, w->address, &opts, &raw_cbs, r, &r->s, &err), 0);
}

static void raw_send(struct raw *r, const char *text)
{
    struct err err;

    assert_int_equal(stream_write(r->s, text, strlen(text), &err), 0);
}

static void turn(struct world *w)
{
    assert_true(uv_run(&w->loop, UV_RUN_ONCE) != 0);
}

static bool raw_has(struct raw *r, const char *text)
{
    return r->got.len > 0 && memmem(r->got.data, r->got.len, text, strlen(text)) != NULL;
}

static void raw_wait(struct world *w, const char *text)
{
    while (!raw_has(&w->raw, text)) {
        if (w->raw.closed > 0) {
            fail_msg("closed before \"%s\" came: %s", text, buf_cstr(&w->raw.got));
        }
        turn(w);
    }
}

static void server_closed(void *ctx)
{
    struct world *w = ctx;

    w->server_closed++;
}

static void world_done(struct world *w)
{
    if (w->server != NULL) {
        http_server_close(w->server, server_closed, w);
    }
    if (w->raw.s != NULL) {
        stream_close(w->raw.s, false);
    }
    uv_close((uv_handle_t *)&w->guard, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    if (w->server != NULL) {
        assert_int_equal(w->server_closed, 1);
    }
    buf_done(&w->raw.got);
}

/* How often does `text` occur? */
static int raw_count(struct raw *r, const char *text)
{
    const char *p = buf_cstr(&r->got);
    int n = 0;

    while ((p = strstr(p, text)) != NULL) {
        n++;
        p++;
    }
    return n;
}

/* Send, wait for the server to close, and look at the answer. */
static void exchange(struct world *w, const char *text)
{
    raw_connect(w, &w->raw);
    raw_send(&w->raw, text);
    while (w->raw.closed == 0) {
        turn(w);
    }
    (void)buf_cstr(&w->raw.got);
}

#define HOST " HTTP/1.1\r\nHost: x\r\n"
#define CLOSE "Connection: close\r\n"

/* --- tests --- */

static void test_answer(void **state)
{
    struct http_server_opts opts = { 0 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    exchange(&w, "POST /echo?q=a%20b" HOST CLOSE "Content-Length: 5\r\n\r\nhello");
    assert_true(str_starts((char *)w.raw.got.data, "HTTP/1.1 200 OK\r\n"));
    assert_true(raw_has(&w.raw, "\r\nContent-Length: 5\r\n"));
    assert_true(raw_has(&w.raw, "\r\nContent-Type: text/plain\r\n"));
    assert_true(raw_has(&w.raw, "\r\nX-Query: a b\r\n"));
    assert_true(raw_has(&w.raw, "\r\nDate: "));
    assert_true(raw_has(&w.raw, "\r\nConnection: close\r\n"));
    assert_true(str_ends((char *)w.raw.got.data, "\r\n\r\nhello"));
    exchange(&w, "GET /nope" HOST CLOSE "\r\n");
    assert_true(str_starts((char *)w.raw.got.data, "HTTP/1.1 404 Not Found\r\n"));
    assert_true(raw_has(&w.raw, "\"reason\":\"NotFound\""));
    assert_true(raw_has(&w.raw, "no such thing: /nope"));
    exchange(&w, "HEAD /nope" HOST CLOSE "\r\n");
    assert_true(str_starts((char *)w.raw.got.data, "HTTP/1.1 404 Not Found\r\n"));
    assert_true(str_ends((char *)w.raw.got.data, "\r\n\r\n"));
    assert_false(raw_has(&w.raw, "Content-Length: 0"));
    exchange(&w, "DELETE /empty" HOST CLOSE "\r\n");
    assert_true(str_starts((char *)w.raw.got.data, "HTTP/1.1 204 No Content\r\n"));
    assert_false(raw_has(&w.raw, "Content-Length"));
    exchange(&w, "GET /echo HTTP/1.0\r\n\r\n");
    assert_true(str_starts((char *)w.raw.got.data, "HTTP/1.1 200 OK\r\n"));
    world_done(&w);
}

static void test_pipelined_in_order(void **state)
{
    struct http_server_opts opts = { 0 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /later" HOST "\r\nPOST /echo" HOST "Content-Length: 6\r\n\r\nsecond"
                     "GET /echo" HOST CLOSE "\r\n");
    while (w.held == NULL) {
        turn(&w);
    }
    assert_int_equal(w.requests, 1); /* the others wait */
    http_respond(w.held, 200, "text/plain", "first", 5, NULL, 0);
    w.held = NULL;
    assert_int_equal(w.requests, 1); /* no callback from within http_respond */
    while (w.raw.closed == 0) {
        turn(&w);
    }
    assert_string_equal(w.paths, "/later;/echo;/echo;");
    assert_int_equal(raw_count(&w.raw, "HTTP/1.1 200 OK"), 3);
    assert_true(strstr(buf_cstr(&w.raw.got), "first") < strstr(buf_cstr(&w.raw.got), "second"));
    world_done(&w);
}

/* A client that closes its side after asking still gets all its answers. */
static void test_half_close(void **state)
{
    static const char text[] = "GET /later" HOST "\r\nGET /nope" HOST "\r\n";
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct http_server_opts opts = { 0 };
    struct buf got = { 0 };
    char piece[4096];
    struct world w;
    ssize_t n = -1;
    int fd;

    (void)state;
    world_open(&w, &opts);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    in.sin_port = htons((uint16_t)atoi(strrchr(w.address, ':') + 1));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    while (w.held == NULL) {
        turn(&w);
    }
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&w.loop, UV_RUN_NOWAIT); /* the end is seen before the answer */
    }
    http_respond(w.held, 200, "text/plain", "first", 5, NULL, 0);
    w.held = NULL;
    while (n != 0) {
        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
        n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
        if (n > 0) {
            buf_add(&got, piece, (size_t)n);
        }
    }
    assert_non_null(strstr(buf_cstr(&got), "\r\n\r\nfirst"));
    assert_non_null(strstr(buf_cstr(&got), "no such thing: /nope"));
    (void)close(fd);
    buf_done(&got);
    world_done(&w);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "garbage\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\x01\x01\x01\x01\x01",
        "GET /echo HTTP/1.1\r\n\r\n",
        "GET /%zz" HOST "\r\n",
        "POST /echo" HOST "Content-Length: 2\r\nContent-Length: 3\r\n\r\nab",
        "POST /echo" HOST "Transfer-Encoding: chunked\r\n\r\nxx\r\n",
        "POST /echo" HOST "Expect: magic\r\nContent-Length: 2\r\n\r\nab",
        "GET /echo" HOST "\r\nand then garbage\r\n\r\n",
    };
    struct http_server_opts opts = { 0 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        exchange(&w, bad[i]);
        assert_true(raw_has(&w.raw, "HTTP/1.1 400 Bad Request\r\n"));
        assert_true(raw_has(&w.raw, "\"kind\":\"Status\""));
        assert_true(raw_has(&w.raw, "\"code\":400"));
        assert_int_equal(raw_count(&w.raw, "HTTP/1.1 400"), 1);
    }
    assert_int_equal(w.requests, 1); /* the good one before the last garbage */
    assert_int_equal(http_server_conns(w.server) <= 1, 1);
    world_done(&w);
}

static void test_too_large(void **state)
{
    struct http_server_opts opts = { .max_body = 100, .max_body_total = 150 };
    struct world w;
    char filler[91] = "";

    (void)state;
    memset(filler, 'x', 90);
    world_open(&w, &opts);
    /* Refused from the header alone: the body is never sent. */
    exchange(&w, "POST /echo" HOST "Expect: 100-continue\r\nContent-Length: 101\r\n\r\n");
    assert_true(raw_has(&w.raw, "HTTP/1.1 413 "));
    assert_false(raw_has(&w.raw, "100 Continue"));
    assert_int_equal(w.requests, 0);
    /* The total counts what other requests hold. */
    {
        struct raw first = { 0 };

        raw_connect(&w, &first);
        raw_send(&first, "POST /later" HOST "Content-Length: 90\r\n\r\n");
        raw_send(&first, filler);
        while (w.held == NULL) {
            turn(&w);
        }
        raw_connect(&w, &w.raw);
        raw_send(&w.raw, "POST /echo" HOST "Content-Length: 90\r\n\r\n");
        raw_send(&w.raw, filler);
        raw_wait(&w, "HTTP/1.1 429 ");
        http_respond(w.held, 200, NULL, NULL, 0, NULL, 0);
        w.held = NULL;
        stream_close(first.s, false);
        while (first.closed == 0) {
            turn(&w);
        }
        buf_done(&first.got);
    }
    exchange(&w, "POST /echo" HOST CLOSE "Content-Length: 4\r\n\r\nfree");
    assert_true(raw_has(&w.raw, "\r\n\r\nfree"));
    world_done(&w);
}

static void test_expect_continue(void **state)
{
    struct http_server_opts opts = { 0 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "POST /echo" HOST "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    raw_wait(&w, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(w.requests, 0);
    raw_send(&w.raw, "body");
    raw_wait(&w, "\r\n\r\nbody");
    world_done(&w);
}

static void test_stream(void **state)
{
    struct http_server_opts opts = { 0 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /stream" HOST "\r\n");
    raw_wait(&w, "4\r\none\n\r\n");
    assert_true(raw_has(&w.raw, "Transfer-Encoding: chunked\r\n"));
    assert_true(http_stream_write(w.held, "second\n", 7));
    assert_true(http_stream_write(w.held, "", 0)); /* must not end the chunks */
    raw_wait(&w, "7\r\nsecond\n\r\n");
    http_stream_end(w.held);
    w.held = NULL;
    raw_wait(&w, "\r\n0\r\n\r\n");
    raw_send(&w.raw, "GET /echo" HOST "\r\n"); /* the connection lives on */
    raw_wait(&w, "HTTP/1.1 200 OK\r\nContent-Length: 0");
    /* HTTP/1.0: no chunks, the end is the end of the connection. */
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /stream HTTP/1.0\r\n\r\n");
    raw_wait(&w, "\r\n\r\none\n");
    http_stream_end(w.held);
    w.held = NULL;
    while (w.raw.closed == 0) {
        turn(&w);
    }
    assert_false(raw_has(&w.raw, "chunked"));
    assert_int_equal(w.aborts, 0);
    world_done(&w);
}

static void abort_while(struct world *w, const char *request)
{
    int before = w->aborts;

    raw_connect(w, &w->raw);
    raw_send(&w->raw, request);
    while (w->held == NULL) {
        turn(w);
    }
    stream_close(w->raw.s, false);
    while (w->aborts == before) {
        turn(w);
    }
    assert_null(w->held);
}

static void test_aborts(void **state)
{
    struct http_server_opts opts = { 0 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    abort_while(&w, "GET /stream" HOST "\r\n");
    abort_while(&w, "GET /flood" HOST "\r\n");
    /* While answering, a plain end may be a half-close, but bytes nobody will read are a reset. */
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /later" HOST "\r\n");
    while (w.held == NULL) {
        turn(&w);
    }
    stream_close(w.raw.s, false);
    while (w.raw.closed == 0) {
        turn(&w);
    }
    http_respond(w.held, 200, "text/plain", "too late", 8, NULL, 0);
    while (http_server_conns(w.server) > 0) {
        turn(&w);
    }
    world_done(&w);
}

/* A reader that stops: the producer is told to wait, memory stays bounded, all arrives at last. */
static void test_slow_reader(void **state)
{
    struct http_server_opts opts = { .high_mark = 256 << 10 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /flood" HOST CLOSE "\r\n");
    while (w.raw.got.len == 0) {
        turn(&w);
    }
    stream_pause(w.raw.s, true);
    for (int i = 0; i < 2000; i++) {
        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    assert_non_null(w.held);
    assert_true(w.flooded < (32 << 20)); /* what the kernel took, and the high mark */
    assert_int_equal(w.aborts, 0);
    stream_pause(w.raw.s, false);
    while (w.raw.closed == 0) {
        turn(&w);
    }
    assert_true(w.drains > 1);
    assert_true(w.raw.got.len > (64 << 20));
    assert_int_equal(w.aborts, 0);
    world_done(&w);
}

/* A reader that stops for good is dropped after send_ms. */
static void test_stuck_reader(void **state)
{
    struct http_server_opts opts = { .high_mark = 64 << 10, .send_ms = 100 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /flood" HOST "\r\n");
    while (w.raw.got.len == 0) {
        turn(&w);
    }
    stream_pause(w.raw.s, true);
    while (w.aborts == 0) {
        turn(&w);
    }
    assert_null(w.held);
    world_done(&w);
}

static void test_timeouts(void **state)
{
    struct http_server_opts opts = { .idle_ms = 100, .request_ms = 100 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    exchange(&w, ""); /* silent */
    assert_int_equal(w.raw.got.len, 0);
    exchange(&w, "GET /echo HTTP/1.1\r\nHos"); /* slow-loris */
    assert_true(raw_has(&w.raw, "did not arrive in full"));
    /* Neither applies while we are the ones who take long. */
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /stream" HOST "\r\n");
    raw_wait(&w, "one\n");
    {
        uint64_t start = uv_now(&w.loop);

        while (uv_now(&w.loop) - start < 500) {
            turn(&w);
        }
    }
    assert_int_equal(w.raw.ended, 0);
    assert_non_null(w.held);
    world_done(&w);
    http_stream_end(w.held);
}

static void test_connection_limit(void **state)
{
    struct http_server_opts opts = { .max_conns = 2 };
    struct raw a = { 0 }, b = { 0 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &a);
    raw_connect(&w, &b);
    while (http_server_conns(w.server) < 2) {
        turn(&w);
    }
    raw_connect(&w, &w.raw);
    while (w.raw.closed == 0) {
        turn(&w);
    }
    assert_int_equal(http_server_conns(w.server), 2);
    stream_close(a.s, false);
    while (http_server_conns(w.server) == 2) {
        turn(&w);
    }
    exchange(&w, "GET /echo" HOST CLOSE "\r\n");
    assert_true(raw_has(&w.raw, "200 OK"));
    stream_close(b.s, false);
    world_done(&w);
}

/* A handler that does not listen loses its client, though not from within its own call. */
static void test_disobedient_handler(void **state)
{
    static char block[65536];
    struct http_server_opts opts = { .high_mark = 65536 };
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /stream" HOST "\r\n");
    raw_wait(&w, "one\n");
    for (int i = 0; i < 100; i++) {
        (void)http_stream_write(w.held, block, sizeof(block));
    }
    assert_false(http_stream_write(w.held, block, sizeof(block)));
    assert_int_equal(w.aborts, 0);
    while (w.aborts == 0) {
        turn(&w);
    }
    world_done(&w);
}

/* Nobody has much to say during a watch. */
static void test_chatter_during_stream(void **state)
{
    static char block[200000];
    struct http_server_opts opts = { 0 };
    struct world w;
    struct err err;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /stream" HOST "\r\n");
    raw_wait(&w, "one\n");
    assert_int_equal(stream_write(w.raw.s, block, sizeof(block), &err), 0);
    while (w.aborts == 0) {
        turn(&w);
    }
    world_done(&w);
}

/* Much pipelined input behind an unanswered request is bounded, and lost nowhere. */
static void test_pipelined_flood(void **state)
{
    struct http_server_opts opts = { 0 };
    struct buf b = { 0 };
    struct world w;
    struct err err;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /later" HOST "\r\n");
    for (int i = 0; i < 20000; i++) {
        buf_add_str(&b, "GET /n" HOST "\r\n");
    }
    assert_int_equal(stream_write(w.raw.s, b.data, b.len, &err), 0);
    for (int i = 0; i < 200; i++) {
        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    assert_non_null(w.held);
    assert_int_equal(w.requests, 1);
    http_respond(w.held, 200, "text/plain", NULL, 0, NULL, 0);
    while (w.requests < 20001) {
        turn(&w);
    }
    while (raw_count(&w.raw, "HTTP/1.1 404") < 20000) {
        turn(&w);
    }
    buf_done(&b);
    world_done(&w);
}

/* Closing the server: no callback after it, a request in the hand can still be ended. */
static void test_close_with_requests(void **state)
{
    struct http_server_opts opts = { 0 };
    struct http_req *req;
    struct world w;

    (void)state;
    world_open(&w, &opts);
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /stream" HOST "\r\n");
    raw_wait(&w, "one\n");
    req = w.held;
    w.held = NULL;
    world_done(&w);
    assert_int_equal(w.aborts, 0);
    assert_null(req->server);
    assert_true(http_req_aborted(req));
    assert_false(http_stream_write(req, "x", 1));
    http_stream_end(req);

    world_open(&w, &opts);
    w.stop_in_handler = true;
    raw_connect(&w, &w.raw);
    raw_send(&w.raw, "GET /a" HOST "\r\nGET /b" HOST "\r\n");
    (void)uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(w.raw.closed, 1);
    assert_int_equal(w.requests, 1);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_pipelined_in_order),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_aborts),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_stuck_reader),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_disobedient_handler),
        cmocka_unit_test(test_chatter_during_stream),
        cmocka_unit_test(test_pipelined_flood),
        cmocka_unit_test(test_close_with_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
