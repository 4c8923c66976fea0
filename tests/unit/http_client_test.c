/* The HTTP client against servers in the same loop: failover, what may be sent twice, streams. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_client.h"
#include "api/http_server.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"

#define CLUSTER "11111111-2222-4333-8444-555555555555"
#define MAX_SERVERS 3

struct world;

struct server {
    struct world *w;
    struct http_server *http;
    const char *address;
    struct http_req *held;
    int requests, aborts;
    bool unavailable; /* answers 503 */
};

struct world {
    uv_loop_t loop;
    uv_timer_t guard;
    struct server servers[MAX_SERVERS];
    struct listener *raw; /* a peer that misbehaves */
    struct stream *raw_stream;
    const char *raw_answer; /* NULL: close without one */
    int raw_requests;
    struct http_client *client;
    int closed;
};

/* What a call or a stream came to. */
struct result {
    struct world *w;
    int done, status, opened, lines;
    struct err err;
    char body[512];
    char text[256];
    struct http_lines *close_me; /* closed from on_line */
    bool close_client;
};

static char test_dir[] = "/tmp/picket-client-XXXXXX";

/* --- servers --- */

static void on_abort(struct http_req *req)
{
    struct server *s = req->data;

    s->aborts++;
    s->held = NULL;
    if (req->streaming) {
        http_stream_end(req);
    } else {
        http_respond(req, 200, NULL, NULL, 0, NULL, 0);
    }
}

static void on_request(void *ctx, struct http_req *req)
{
    struct server *s = ctx;
    struct err err;

    s->requests++;
    req->data = s;
    req->on_abort = on_abort;
    if (s->unavailable) {
        (void)err_set(&err, ERR_NOT_LEADER, "not me");
        http_respond_err(req, &err);
    } else if (str_eq(req->path, "/hold")) {
        if (s->held != NULL) {
            http_respond(s->held, 200, NULL, NULL, 0, NULL, 0); /* its client gave up */
        }
        s->held = req;
    } else if (str_eq(req->path, "/lines")) {
        http_stream_begin(req, 200, "application/json", NULL, 0);
        (void)http_stream_write(req, "one\ntwo\nth", 10);
        s->held = req;
    } else if (str_eq(req->path, "/gone")) {
        (void)err_set(&err, ERR_COMPACTED, "too old");
        http_respond_err(req, &err);
    } else {
        http_respond(req, 200, "text/plain", req->body, req->len, NULL, 0);
    }
}

static struct server *add_server(struct world *w, size_t i, const char *address,
                                 struct tls_ctx *tls)
{
    struct server *s = &w->servers[i];
    struct http_server_opts opts = { .on_request = on_request, .ctx = s };
    struct err err;

    s->w = w;
    assert_int_equal(http_server_new(&w->loop, &opts, &s->http, &err), 0);
    assert_int_equal(http_server_listen(s->http, address, tls, &s->address, &err), 0);
    return s;
}

/* A peer that reads a request and then answers as it likes, or closes. */
static void raw_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct world *w = stream_data(s);
    struct err err;

    (void)data;
    (void)len;
    w->raw_requests++;
    if (w->raw_answer != NULL) {
        (void)stream_write(s, w->raw_answer, strlen(w->raw_answer), &err);
    }
    stream_close(s, true);
}

static void raw_end(struct stream *s, const struct err *err)
{
    (void)err;
    stream_close(s, false);
}

static const struct stream_cbs raw_cbs = { .on_data = raw_data, .on_end = raw_end };

static void raw_accept(struct listener *l, struct stream *s)
{
    stream_set_cbs(s, &raw_cbs);
    stream_set_data(s, listener_data(l));
}

static const char *add_raw(struct world *w, const char *answer)
{
    struct stream_opts opts = { 0 };
    struct err err;

    w->raw_answer = answer;
    assert_int_equal(listener_open(&w->loop, "127.0.0.1:0", &opts, raw_accept, w, &w->raw, &err),
                     0);
    return listener_address(w->raw);
}

/* --- the world --- */

static void on_guard(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->guard), 0);
    assert_int_equal(uv_timer_start(&w->guard, on_guard, 60000, 0), 0);
    uv_unref((uv_handle_t *)&w->guard);
}

static void client_opts(struct world *w, const struct http_client_opts *o)
{
    struct err err;

    if (http_client_new(&w->loop, o, &w->client, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static void client(struct world *w, const char *a, const char *b)
{
    const char *endpoints[] = { a, b };
    struct http_client_opts o = { .endpoints = endpoints, .n_endpoints = b == NULL ? 1 : 2 };

    client_opts(w, &o);
}

static void on_closed(void *ctx)
{
    struct world *w = ctx;

    w->closed++;
}

static void world_done(struct world *w)
{
    int want = 0;

    for (size_t i = 0; i < MAX_SERVERS; i++) {
        struct server *s = &w->servers[i];

        if (s->http != NULL) {
            http_server_close(s->http, on_closed, w);
            want++;
            if (s->held != NULL) {
                if (s->held->streaming) {
                    http_stream_end(s->held);
                } else {
                    http_respond(s->held, 200, NULL, NULL, 0, NULL, 0);
                }
            }
        }
    }
    if (w->raw != NULL) {
        listener_close(w->raw);
    }
    if (w->client != NULL) {
        http_client_close(w->client, on_closed, w);
        want++;
    }
    uv_close((uv_handle_t *)&w->guard, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(w->closed, want);
}

static void turn(struct world *w)
{
    static int n_dead;

    n_dead = uv_run(&w->loop, UV_RUN_ONCE) == 0 ? n_dead + 1 : 0;
    assert_true(n_dead < 3); /* nothing will ever happen again */
}

static void on_reply(void *data, const struct err *err, const struct http_reply *reply)
{
    struct result *r = data;

    assert_true((err == NULL) != (reply == NULL));
    r->done++;
    if (err != NULL) {
        r->err = *err;
    } else {
        r->status = reply->status;
        (void)str_copy(r->body, sizeof(r->body), (const char *)reply->body);
    }
    if (r->close_client) {
        http_client_close(r->w->client, on_closed, r->w);
        r->w->client = NULL;
    }
}

static void run_args(struct world *w, struct result *r, const struct http_call_args *a)
{
    memset(r, 0, sizeof(*r));
    (void)http_call(w->client, a, on_reply, r);
    assert_int_equal(r->done, 0);
    while (r->done == 0) {
        turn(w);
    }
    assert_int_equal(r->done, 1);
}

static void run(struct world *w, struct result *r, const char *method, const char *target)
{
    struct http_call_args a = { .method = method, .target = target };

    if (!str_eq(method, "GET") && !str_eq(method, "HEAD")) {
        a.body = "hello";
        a.len = 5;
    }
    run_args(w, r, &a);
}

static void expect_ok(const struct result *r, const char *body)
{
    if (r->err.code != 0) {
        fail_msg("%s", r->err.msg);
    }
    assert_int_equal(r->status, 200);
    assert_string_equal(r->body, body);
}

/* An address at which nobody listens. */
static void dead_address(struct world *w, char *dst, size_t size)
{
    struct stream_opts opts = { 0 };
    struct listener *l = NULL;
    struct err err;

    assert_int_equal(listener_open(&w->loop, "127.0.0.1:0", &opts, raw_accept, w, &l, &err), 0);
    (void)str_copy(dst, size, listener_address(l));
    listener_close(l);
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
}

/* --- calls --- */

static void test_calls(void **state)
{
    struct world w;
    struct result r;
    struct server *s;

    (void)state;
    world_init(&w);
    s = add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, s->address, NULL);
    for (int i = 0; i < 10; i++) {
        run(&w, &r, "POST", "/x");
        expect_ok(&r, "hello");
        run(&w, &r, "GET", "/x?y=z");
        expect_ok(&r, "");
        run(&w, &r, "HEAD", "/gone");
        assert_int_equal(r.status, 410);
        run(&w, &r, "DELETE", "/gone");
        assert_int_equal(r.status, 410);
        assert_non_null(strstr(r.body, "\"kind\":\"Status\""));
    }
    assert_int_equal(http_server_conns(s->http), 1); /* one kept connection did it all */
    assert_int_equal(s->requests, 40);
    world_done(&w);
}

static void test_unix(void **state)
{
    char address[128];
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    (void)snprintf(address, sizeof(address), "unix:%s/sock", test_dir);
    (void)add_server(&w, 0, address, NULL);
    client(&w, address, NULL);
    run(&w, &r, "POST", "/x");
    expect_ok(&r, "hello");
    world_done(&w);
}

static void test_many(void **state)
{
    enum { N = 500 };
    static struct result r[N];
    struct http_call_args a = { .method = "GET", .target = "/x" };
    struct world w;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, NULL);
    memset(r, 0, sizeof(r));
    for (size_t i = 0; i < N; i++) {
        (void)http_call(w.client, &a, on_reply, &r[i]);
    }
    for (size_t i = 0; i < N; i++) {
        while (r[i].done == 0) {
            turn(&w);
            assert_true(http_server_conns(w.servers[0].http) <= 8);
        }
        expect_ok(&r[i], "");
    }
    assert_int_equal(w.servers[0].requests, N);
    world_done(&w);
}

static void test_limit(void **state)
{
    const char *endpoints[1];
    struct http_client_opts o = { .endpoints = endpoints, .n_endpoints = 1, .max_calls = 2 };
    struct http_call_args a = { .method = "GET", .target = "/x" };
    struct result r[3] = { 0 };
    struct world w;

    (void)state;
    world_init(&w);
    endpoints[0] = add_server(&w, 0, "127.0.0.1:0", NULL)->address;
    client_opts(&w, &o);
    for (size_t i = 0; i < 3; i++) {
        (void)http_call(w.client, &a, on_reply, &r[i]);
    }
    while (r[0].done + r[1].done + r[2].done < 3) {
        turn(&w);
    }
    expect_ok(&r[0], "");
    expect_ok(&r[1], "");
    assert_int_equal(r[2].err.code, ERR_LIMIT);
    world_done(&w);
}

static void test_failover(void **state)
{
    struct world w;
    struct result r;
    char dead[128];

    (void)state;
    world_init(&w);
    dead_address(&w, dead, sizeof(dead));
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, dead, w.servers[0].address);
    run(&w, &r, "POST", "/x");
    expect_ok(&r, "hello");
    assert_string_equal(http_client_endpoint(w.client), w.servers[0].address);
    run(&w, &r, "POST", "/x");
    expect_ok(&r, "hello");
    world_done(&w);

    world_init(&w);
    dead_address(&w, dead, sizeof(dead));
    client(&w, dead, dead);
    run(&w, &r, "POST", "/x");
    assert_int_equal(r.err.code, ERR_UNREACHABLE);
    world_done(&w);
}

/* 503 means "not executed here": also a write goes on to the next server. */
static void test_unavailable(void **state)
{
    struct http_call_args a = { .method = "POST", .target = "/x", .patience_ms = 20000 };
    struct result r = { 0 };
    struct world w;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    (void)add_server(&w, 1, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, w.servers[1].address);
    w.servers[0].unavailable = true;
    run(&w, &r, "POST", "/x");
    expect_ok(&r, "hello");
    assert_int_equal(w.servers[0].requests, 1);
    run(&w, &r, "POST", "/x");
    expect_ok(&r, "hello");
    assert_int_equal(w.servers[0].requests, 1); /* it stays with the second */
    w.servers[1].unavailable = true;
    run(&w, &r, "POST", "/x");
    assert_int_equal(r.status, 503); /* both were asked; the answer is the caller's */
    assert_non_null(strstr(r.body, "not me"));
    assert_int_equal(w.servers[0].requests, 2);
    /* With patience it comes back until an election is over. */
    memset(&r, 0, sizeof(r));
    (void)http_call(w.client, &a, on_reply, &r);
    while (w.servers[0].requests < 4) {
        turn(&w);
        assert_int_equal(r.done, 0);
    }
    w.servers[0].unavailable = false;
    while (r.done == 0) {
        turn(&w);
    }
    expect_ok(&r, "");
    world_done(&w);
}

/* The peer reads the request and dies: a write may have happened. */
static void test_broken(void **state)
{
    struct http_call_args a = { .method = "PUT", .target = "/x", .repeatable = true };
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, add_raw(&w, NULL), w.servers[0].address);
    run(&w, &r, "POST", "/x");
    assert_int_equal(r.err.code, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(w.raw_requests, 1);
    assert_int_equal(w.servers[0].requests, 0);
    run(&w, &r, "GET", "/x");
    expect_ok(&r, "");
    assert_int_equal(w.raw_requests, 2);
    world_done(&w);

    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, add_raw(&w, NULL), w.servers[0].address);
    run_args(&w, &r, &a);
    expect_ok(&r, "");
    assert_int_equal(w.raw_requests, 1);
    world_done(&w);

    /* Repeatable, sent once, and afterwards nobody takes it: still not "it did not happen". */
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    w.servers[0].unavailable = true;
    client(&w, add_raw(&w, NULL), w.servers[0].address);
    run_args(&w, &r, &a);
    assert_int_equal(r.err.code, ERR_UNKNOWN_OUTCOME);
    world_done(&w);
}

static void test_bad_answers(void **state)
{
    static const struct {
        const char *answer;
        int code;
    } cases[] = {
        { "SSH-2.0-OpenSSH_9.2\r\n", ERR_UNREACHABLE },
        { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", ERR_UNREACHABLE },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", ERR_TOO_LARGE },
        { "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
          ERR_UNREACHABLE },
        { "HTTP/1.1 200 OK\r\n\r\nuntil the end", 0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", 0 },
    };
    struct world w;
    struct result r;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *endpoints[1];
        struct http_client_opts o = { .endpoints = endpoints, .n_endpoints = 1, .max_body = 1000 };

        world_init(&w);
        endpoints[0] = add_raw(&w, cases[i].answer);
        client_opts(&w, &o);
        run(&w, &r, "GET", "/x");
        if (r.err.code != cases[i].code) {
            fail_msg("%s: %s", cases[i].answer, r.err.msg);
        }
        assert_int_equal(r.status, cases[i].code == 0 ? 200 : 0);
        world_done(&w);
    }
}

static void test_timeouts(void **state)
{
    struct http_call_args get = { .method = "GET", .target = "/hold", .timeout_ms = 50 };
    struct http_call_args put = {
        .method = "PUT", .target = "/hold", .timeout_ms = 50, .repeatable = true
    };
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, NULL);
    run_args(&w, &r, &get);
    assert_int_equal(r.err.code, ERR_TIMEOUT);
    run_args(&w, &r, &put);
    assert_int_equal(r.err.code, ERR_UNKNOWN_OUTCOME);
    run(&w, &r, "GET", "/x");
    expect_ok(&r, "");
    http_respond(w.servers[0].held, 200, NULL, NULL, 0, NULL, 0);
    w.servers[0].held = NULL;
    world_done(&w);
}

static void test_cancel(void **state)
{
    struct http_call_args hold = { .method = "GET", .target = "/hold" };
    struct result r = { 0 }, other = { 0 };
    struct http_call *call;
    struct world w;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, NULL);
    call = http_call(w.client, &hold, on_reply, &r);
    http_call_cancel(call); /* before anything was sent */
    call = http_call(w.client, &hold, on_reply, &r);
    while (w.servers[0].held == NULL) {
        turn(&w);
    }
    http_call_cancel(call);
    run(&w, &other, "GET", "/x");
    expect_ok(&other, "");
    assert_int_equal(r.done, 0);
    http_respond(w.servers[0].held, 200, NULL, NULL, 0, NULL, 0);
    w.servers[0].held = NULL;
    /* Closing the client from a callback, with another call under way. */
    memset(&other, 0, sizeof(other));
    other.close_client = true;
    other.w = &w;
    hold.target = "/x";
    (void)http_call(w.client, &hold, on_reply, &other);
    hold.target = "/hold";
    (void)http_call(w.client, &hold, on_reply, &r);
    while (w.closed == 0) {
        turn(&w);
    }
    assert_int_equal(other.done, 1);
    assert_int_equal(r.done, 0);
    w.closed = 0;
    world_done(&w);
}

/* --- TLS --- */

static struct tls_ctx *make_tls(const char *ca, const char *role, const char *cluster)
{
    static int serial;
    struct pki_subject subject = { .role = role, .name = "host", .cluster = cluster };
    struct tls_ctx *tls = NULL;
    struct err err;
    char *dir = mem_printf("%s/%s", test_dir, ca);
    char *crt = mem_printf("%s/%d.crt", test_dir, ++serial);
    char *key = mem_printf("%s/%d.key", test_dir, serial);
    char *trust = mem_printf("%s/%s/ca.crt", test_dir, ca);
    int rc;

    rc = pki_make_ca(dir, CLUSTER, &err);
    assert_true(rc == 0 || rc == ERR_EXISTS);
    assert_int_equal(pki_issue(dir, &subject, crt, key, &err), 0);
    assert_int_equal(tls_ctx_load(crt, key, trust, CLUSTER, &tls, &err), 0);
    free(dir);
    free(crt);
    free(key);
    free(trust);
    return tls;
}

static void tls_case(struct tls_ctx *server, struct tls_ctx *client_tls, int code)
{
    const char *endpoints[1];
    struct http_client_opts o = {
        .endpoints = endpoints, .n_endpoints = 1, .tls = client_tls, .want_role = "picket:voters"
    };
    struct world w;
    struct result r;

    world_init(&w);
    endpoints[0] = add_server(&w, 0, "127.0.0.1:0", server)->address;
    client_opts(&w, &o);
    for (int i = 0; i < 3; i++) {
        run(&w, &r, "POST", "/x");
        if (r.err.code != code) {
            fail_msg("want %d: %s", code, r.err.msg);
        }
    }
    assert_int_equal(w.servers[0].requests, code == 0 ? 3 : 0);
    world_done(&w);
}

static void test_tls(void **state)
{
    struct tls_ctx *voter = make_tls("ca", "picket:voters", CLUSTER);
    struct tls_ctx *agent = make_tls("ca", "picket:agents", CLUSTER);
    struct tls_ctx *foreign = make_tls("ca2", "picket:voters", CLUSTER);
    struct tls_ctx *stray = make_tls("ca", "picket:voters", "99999999-2222-4333-8444-555555555555");

    (void)state;
    tls_case(voter, agent, 0);
    tls_case(agent, agent, ERR_UNAUTHORIZED);   /* the server is no voter */
    tls_case(foreign, agent, ERR_UNAUTHORIZED); /* wrong CA, seen by the client */
    tls_case(voter, foreign, ERR_UNAUTHORIZED);
    tls_case(stray, agent, ERR_UNAUTHORIZED); /* of another cluster */
    tls_case(voter, stray, ERR_UNAUTHORIZED); /* the server refuses; nothing was executed */
    tls_ctx_unref(voter);
    tls_ctx_unref(agent);
    tls_ctx_unref(foreign);
    tls_ctx_unref(stray);
}

/* --- lines --- */

static void on_lines_open(void *data)
{
    struct result *r = data;

    r->opened++;
}

static void on_line(void *data, const char *line, size_t len)
{
    struct result *r = data;

    assert_int_equal(strlen(line), len);
    r->lines++;
    (void)snprintf(r->text + strlen(r->text), sizeof(r->text) - strlen(r->text), "%.20s|", line);
    if (r->close_me != NULL) {
        http_lines_close(r->close_me);
        r->close_me = NULL;
    }
}

static void on_lines_end(void *data, const struct err *err, const struct http_reply *reply)
{
    struct result *r = data;

    r->done++;
    if (err != NULL) {
        r->err = *err;
    }
    if (reply != NULL) {
        r->status = reply->status;
        (void)str_copy(r->body, sizeof(r->body), (const char *)reply->body);
    }
}

static const struct http_lines_cbs lines_cbs = { .on_open = on_lines_open,
                                                 .on_line = on_line,
                                                 .on_end = on_lines_end };

static struct http_lines *open_lines(struct world *w, struct result *r,
                                     const struct http_lines_args *a)
{
    memset(r, 0, sizeof(*r));
    r->w = w;
    return http_lines_open(w->client, a, &lines_cbs, r);
}

static void wait_lines(struct world *w, const int *what, int n)
{
    while (*what < n) {
        turn(w);
    }
}

static void test_lines(void **state)
{
    struct http_lines_args a = { .target = "/lines" };
    struct server *s;
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    s = add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, s->address, NULL);
    (void)open_lines(&w, &r, &a);
    wait_lines(&w, &r.lines, 2);
    assert_int_equal(r.opened, 1);
    assert_string_equal(r.text, "one|two|");
    (void)http_stream_write(s->held, "ree\n\nfive\nsi", 12);
    wait_lines(&w, &r.lines, 5);
    assert_string_equal(r.text, "one|two|three||five|");
    http_stream_end(s->held);
    s->held = NULL;
    wait_lines(&w, &r.done, 1);
    assert_int_equal(r.err.code, 0);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.lines, 5); /* half a line is none */
    a.target = "/gone";
    (void)open_lines(&w, &r, &a);
    wait_lines(&w, &r.done, 1);
    assert_int_equal(r.status, 410);
    assert_int_equal(r.opened, 0);
    assert_non_null(strstr(r.body, "Status"));
    world_done(&w);
}

static void test_lines_close(void **state)
{
    struct http_lines_args a = { .target = "/lines" };
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, NULL);
    r.close_me = open_lines(&w, &r, &a);
    wait_lines(&w, &w.servers[0].aborts, 1);
    assert_int_equal(r.lines, 1); /* not the second, though it had arrived */
    assert_int_equal(r.done, 0);
    http_lines_close(open_lines(&w, &r, &a)); /* at once */
    world_done(&w);
    assert_int_equal(r.done + r.opened, 0);
}

static void test_lines_limits(void **state)
{
    struct http_lines_args a = { .target = "/lines", .max_line = 100 };
    struct http_lines_args quiet = { .target = "/lines", .silence_ms = 60 };
    struct http_lines_args late = { .target = "/hold", .timeout_ms = 50 };
    char big[101];
    struct world w;
    struct result r;

    (void)state;
    memset(big, 'x', sizeof(big));
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, NULL);
    (void)open_lines(&w, &r, &a);
    wait_lines(&w, &r.lines, 2);
    (void)http_stream_write(w.servers[0].held, big, sizeof(big));
    wait_lines(&w, &r.done, 1);
    assert_int_equal(r.err.code, ERR_TOO_LARGE);
    wait_lines(&w, &w.servers[0].aborts, 1);
    (void)open_lines(&w, &r, &quiet);
    wait_lines(&w, &r.done, 1);
    assert_int_equal(r.err.code, ERR_TIMEOUT);
    assert_int_equal(r.lines, 2);
    wait_lines(&w, &w.servers[0].aborts, 2);
    (void)open_lines(&w, &r, &late);
    wait_lines(&w, &r.done, 1);
    assert_int_equal(r.err.code, ERR_TIMEOUT);
    assert_int_equal(r.opened, 0);
    http_respond(w.servers[0].held, 200, NULL, NULL, 0, NULL, 0);
    w.servers[0].held = NULL;
    world_done(&w);
}

static void test_lines_failover(void **state)
{
    struct http_lines_args a = { .target = "/lines" };
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    (void)add_server(&w, 1, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, w.servers[1].address);
    w.servers[0].unavailable = true;
    (void)open_lines(&w, &r, &a);
    wait_lines(&w, &r.lines, 2);
    assert_int_equal(w.servers[1].requests, 1);
    /* Once lines have come, a break is the owner's to judge. */
    http_server_close(w.servers[1].http, NULL, NULL);
    http_stream_end(w.servers[1].held);
    memset(&w.servers[1], 0, sizeof(w.servers[1]));
    wait_lines(&w, &r.done, 1);
    assert_int_equal(r.err.code, ERR_UNREACHABLE);
    world_done(&w);
}

static void test_lines_pause(void **state)
{
    struct http_lines_args a = { .target = "/lines", .silence_ms = 100 };
    struct http_lines *l;
    struct world w;
    struct result r;
    uint64_t start;

    (void)state;
    world_init(&w);
    (void)add_server(&w, 0, "127.0.0.1:0", NULL);
    client(&w, w.servers[0].address, NULL);
    l = open_lines(&w, &r, &a);
    wait_lines(&w, &r.lines, 2);
    http_lines_pause(l, true);
    (void)http_stream_write(w.servers[0].held, "ree\n", 4);
    start = uv_now(&w.loop);
    while (uv_now(&w.loop) - start < 300) {
        turn(&w);
    }
    assert_int_equal(r.lines, 2);
    assert_int_equal(r.done, 0); /* silence is our own doing */
    http_lines_pause(l, false);
    wait_lines(&w, &r.lines, 3);
    http_lines_close(l);
    world_done(&w);
}

/* The first endpoint is home: it is preferred again some time after it failed. */
static void test_home(void **state)
{
    const char *endpoints[2];
    struct http_client_opts o = { .endpoints = endpoints, .n_endpoints = 2, .home_ms = 100 };
    struct http_lines_args la = { .target = "/lines" };
    struct http_lines *l;
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    endpoints[0] = add_server(&w, 0, "127.0.0.1:0", NULL)->address;
    endpoints[1] = add_server(&w, 1, "127.0.0.1:0", NULL)->address;
    client_opts(&w, &o);
    w.servers[0].unavailable = true;
    run(&w, &r, "GET", "/x");
    expect_ok(&r, "");
    w.servers[0].unavailable = false;
    l = open_lines(&w, &r, &la);
    wait_lines(&w, &r.lines, 2);
    while (!http_lines_away(l)) {
        turn(&w);
    }
    assert_non_null(w.servers[1].held); /* the stream itself stays where it is */
    http_lines_close(l);
    run(&w, &r, "GET", "/x");
    expect_ok(&r, "");
    assert_string_equal(http_client_endpoint(w.client), endpoints[0]);
    assert_int_equal(w.servers[0].requests, 2);
    world_done(&w);
}

/* A home that hangs: the first request waits for it in vain, others soon do not. */
static void test_home_hangs(void **state)
{
    const char *endpoints[2];
    struct http_client_opts o = { .endpoints = endpoints, .n_endpoints = 2, .home_ms = 1000 };
    struct http_call_args a = { .method = "GET", .target = "/hold", .timeout_ms = 50 };
    struct world w;
    struct result r;

    (void)state;
    world_init(&w);
    endpoints[0] = add_server(&w, 0, "127.0.0.1:0", NULL)->address;
    endpoints[1] = add_server(&w, 1, "127.0.0.1:0", NULL)->address;
    client_opts(&w, &o);
    run_args(&w, &r, &a);
    assert_int_equal(r.err.code, ERR_TIMEOUT);
    for (int i = 0; i < 5; i++) {
        run(&w, &r, "GET", "/x");
        expect_ok(&r, "");
    }
    assert_int_equal(w.servers[0].requests, 1);
    assert_int_equal(w.servers[1].requests, 5);
    world_done(&w);
}

static void test_bad_options(void **state)
{
    static const char *const bad[] = { "",       "host",   "host:",     ":7443",
                                       "host:0", "host:x", "host:99999" };
    struct http_client *c = NULL;
    uv_loop_t loop;
    struct err err;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http_client_opts o = { .endpoints = &bad[i], .n_endpoints = 1 };

        assert_int_equal(http_client_new(&loop, &o, &c, &err), ERR_INVALID);
    }
    assert_int_equal(http_client_new(&loop, &(struct http_client_opts){ 0 }, &c, &err),
                     ERR_INVALID);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(test_dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    char cmd[100];

    (void)state;
    (void)snprintf(cmd, sizeof(cmd), "rm -rf %s", test_dir);
    return system(cmd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_failover),
        cmocka_unit_test(test_unavailable),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_close),
        cmocka_unit_test(test_lines_limits),
        cmocka_unit_test(test_lines_failover),
        cmocka_unit_test(test_lines_pause),
        cmocka_unit_test(test_home),
        cmocka_unit_test(test_home_hangs),
        cmocka_unit_test(test_bad_options),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
