/* Client and server against each other at random: calls, streams, cancels, aborts, servers that
 * close and come back, slow readers.  What is checked: every call ends exactly once or was
 * cancelled, nothing hangs, nothing is left; the sanitizers look at the rest.  One seed a run. */

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
#include "base/clock.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"

#define SERVERS 2
#define SLOTS 40
#define STEPS 400
#define CLUSTER "11111111-2222-4333-8444-555555555555"

struct chaos;

struct chaos_server {
    struct chaos *w;
    struct http_server *http;
    char address[128]; /* a port, once there is one, is kept */
};

/* A request in the server's hand. */
struct chaos_req {
    struct chaos *w;
    struct http_req *req;
};

/* A call or a stream of the client. */
struct chaos_call {
    struct chaos *w;
    struct http_call *call;
    struct http_lines *lines;
};

struct chaos {
    uv_loop_t loop;
    uv_timer_t guard;
    struct prng prng;
    struct tls_ctx *tls;
    struct chaos_server servers[SERVERS];
    struct http_client *client;
    struct chaos_req reqs[SLOTS];
    struct chaos_call calls[SLOTS];
    size_t started, ended, cancelled, answered, lines;
    bool stopping;
};

static char test_dir[] = "/tmp/picket-chaos-XXXXXX";

static bool chance(struct chaos *w, uint64_t percent)
{
    return prng_below(&w->prng, 100) < percent;
}

/* --- the server's side --- */

static void req_forget(struct http_req *req)
{
    struct chaos_req *slot = req->data;

    if (slot != NULL) {
        slot->req = NULL;
    }
}

static void req_answer(struct chaos *w, struct http_req *req)
{
    static const int codes[] = { ERR_NOT_LEADER, ERR_NOT_FOUND, ERR_CONFLICT, ERR_SYS };
    static char big[300000];
    struct err err;

    req_forget(req);
    if (req->streaming) {
        http_stream_end(req);
    } else if (chance(w, 30)) {
        (void)err_set(&err, codes[prng_below(&w->prng, ARRAY_LEN(codes))], "chaos");
        http_respond_err(req, &err);
    } else {
        http_respond(req, 200, "text/plain", big, prng_below(&w->prng, sizeof(big)), NULL, 0);
    }
}

static void on_abort(struct http_req *req)
{
    struct chaos_req *slot = req->data;

    if (chance(slot->w, 50)) {
        req_answer(slot->w, req); /* else some time later */
    }
}

static void on_request(void *ctx, struct http_req *req)
{
    struct chaos_server *s = ctx;
    struct chaos *w = s->w;
    struct chaos_req *slot = &w->reqs[prng_below(&w->prng, SLOTS)];

    assert_false(w->stopping);
    if (slot->req != NULL || chance(w, 40)) {
        req_answer(w, req);
        return;
    }
    slot->w = w;
    slot->req = req;
    req->data = slot;
    req->on_abort = on_abort;
    if (str_starts(req->path, "/lines")) {
        http_stream_begin(req, 200, "text/plain", NULL, 0);
    }
}

static void server_open(struct chaos *w, size_t i)
{
    struct chaos_server *s = &w->servers[i];
    struct http_server_opts opts = {
        .on_request = on_request, .ctx = s, .high_mark = 65536, .max_conns = 20
    };
    const char *address;
    struct err err;

    s->w = w;
    assert_int_equal(http_server_new(&w->loop, &opts, &s->http, &err), 0);
    if (s->address[0] == '\0') {
        (void)str_copy(s->address, sizeof(s->address), "127.0.0.1:0");
    }
    if (http_server_listen(s->http, s->address, w->tls, &address, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    (void)str_copy(s->address, sizeof(s->address), address);
}

static void server_bounce(struct chaos *w)
{
    size_t i = prng_below(&w->prng, SERVERS);

    http_server_close(w->servers[i].http, NULL, NULL);
    server_open(w, i);
}

static void server_step(struct chaos *w)
{
    struct chaos_req *slot = &w->reqs[prng_below(&w->prng, SLOTS)];
    static char block[50000];

    if (slot->req == NULL) {
        return;
    }
    if (!slot->req->streaming || chance(w, 10)) {
        req_answer(w, slot->req);
        return;
    }
    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 5; i++) {
        size_t n = 1 + prng_below(&w->prng, sizeof(block) - 1);

        block[n - 1] = '\n';
        (void)http_stream_write(slot->req, block, n);
        block[n - 1] = 'x';
    }
}

/* --- the client's side --- */

static void call_ended(struct chaos_call *c)
{
    assert_false(c->w->stopping);
    c->w->ended++;
    c->call = NULL;
    c->lines = NULL;
}

static void start_one(struct chaos *w);

static void on_reply(void *data, const struct err *err, const struct http_reply *reply)
{
    struct chaos_call *c = data;

    assert_non_null(c->call);
    assert_true((err == NULL) != (reply == NULL));
    if (reply != NULL) {
        c->w->answered++;
    } else {
        assert_true(err->code != 0);
        assert_true(err->msg[0] != '\0');
    }
    call_ended(c);
    if (chance(c->w, 30)) {
        start_one(c->w); /* from within a callback */
    }
}

static void close_lines(struct chaos_call *c)
{
    http_lines_close(c->lines);
    c->lines = NULL;
    c->w->cancelled++;
}

static void on_line(void *data, const char *line, size_t len)
{
    struct chaos_call *c = data;

    assert_non_null(c->lines);
    assert_int_equal(strlen(line), len);
    c->w->lines++;
    if (chance(c->w, 3)) {
        close_lines(c);
    }
}

static void on_lines_end(void *data, const struct err *err, const struct http_reply *reply)
{
    struct chaos_call *c = data;

    assert_non_null(c->lines);
    assert_false(err != NULL && reply != NULL);
    call_ended(c);
}

static void start_one(struct chaos *w)
{
    static const struct http_lines_cbs cbs = { .on_line = on_line, .on_end = on_lines_end };
    static const char *const methods[] = { "GET", "POST", "PUT", "HEAD", "DELETE" };
    struct chaos_call *c = &w->calls[prng_below(&w->prng, SLOTS)];
    static char body[100000];

    if (c->call != NULL || c->lines != NULL) {
        return;
    }
    w->started++;
    c->w = w;
    if (chance(w, 30)) {
        struct http_lines_args a = { .target = "/lines", .silence_ms = 50, .timeout_ms = 50 };

        c->lines = http_lines_open(w->client, &a, &cbs, c);
    } else {
        struct http_call_args a = { .method = methods[prng_below(&w->prng, ARRAY_LEN(methods))],
                                    .target = "/x",
                                    .timeout_ms = 1 + prng_below(&w->prng, 60),
                                    .repeatable = chance(w, 30),
                                    .patience_ms = chance(w, 20) ? 30 : 0 };

        if (str_starts(a.method, "P")) {
            a.body = body;
            a.len = prng_below(&w->prng, sizeof(body));
        }
        c->call = http_call(w->client, &a, on_reply, c);
    }
}

static void cancel_one(struct chaos *w)
{
    struct chaos_call *c = &w->calls[prng_below(&w->prng, SLOTS)];

    if (c->call != NULL) {
        http_call_cancel(c->call);
        c->call = NULL;
        w->cancelled++;
    } else if (c->lines != NULL) {
        if (chance(w, 50)) {
            http_lines_pause(c->lines, chance(w, 50));
        } else {
            close_lines(c);
        }
    }
}

/* --- a run --- */

static void on_guard(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static void chaos_open(struct chaos *w, uint64_t seed, struct tls_ctx *tls)
{
    const char *endpoints[SERVERS];
    struct http_client_opts opts = {
        .endpoints = endpoints, .n_endpoints = SERVERS, .tls = tls, .max_conns = 4
    };
    struct err err;

    memset(w, 0, sizeof(*w));
    prng_init(&w->prng, seed);
    w->tls = tls;
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->guard), 0);
    assert_int_equal(uv_timer_start(&w->guard, on_guard, 120000, 0), 0);
    uv_unref((uv_handle_t *)&w->guard);
    for (size_t i = 0; i < SERVERS; i++) {
        server_open(w, i);
        endpoints[i] = w->servers[i].address;
    }
    assert_int_equal(http_client_new(&w->loop, &opts, &w->client, &err), 0);
}

static size_t under_way(const struct chaos *w)
{
    size_t n = 0;

    for (size_t i = 0; i < SLOTS; i++) {
        n += w->calls[i].call != NULL || w->calls[i].lines != NULL;
    }
    return n;
}

static void answer_all(struct chaos *w)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (w->reqs[i].req != NULL) {
            req_answer(w, w->reqs[i].req);
        }
    }
}

static void chaos_close(struct chaos *w, bool orderly)
{
    if (orderly) { /* everything ends by itself */
        for (size_t i = 0; i < SLOTS; i++) {
            if (w->calls[i].lines != NULL) {
                http_lines_pause(w->calls[i].lines, false);
            }
        }
        while (under_way(w) > 0) {
            answer_all(w);
            (void)uv_run(&w->loop, UV_RUN_ONCE);
        }
        assert_int_equal(w->ended + w->cancelled, w->started);
    }
    w->stopping = true;
    http_client_close(w->client, NULL, NULL);
    for (size_t i = 0; i < SERVERS; i++) {
        http_server_close(w->servers[i].http, NULL, NULL);
    }
    answer_all(w);
    uv_close((uv_handle_t *)&w->guard, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

/* Of all runs: it must not be all failures. */
static size_t total_answered, total_lines;

static void chaos_run(uint64_t seed, struct tls_ctx *tls)
{
    struct chaos *w = OBJ_NEW(struct chaos);

    chaos_open(w, seed, tls);
    for (int step = 0; step < STEPS; step++) {
        start_one(w);
        server_step(w);
        if (chance(w, 20)) {
            cancel_one(w);
        }
        if (chance(w, 2)) {
            server_bounce(w);
        }
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    total_answered += w->answered;
    total_lines += w->lines;
    chaos_close(w, seed % 2 == 0);
    free(w);
}

static void test_plain(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        chaos_run(seed, NULL);
    }
    assert_true(total_answered > 0);
    assert_true(total_lines > 0);
}

static void test_tls(void **state)
{
    struct pki_subject s = { .role = "picket:voters", .name = "h", .cluster = CLUSTER };
    char *crt = mem_printf("%s/h.crt", test_dir), *key = mem_printf("%s/h.key", test_dir);
    char *ca = mem_printf("%s/ca.crt", test_dir);
    struct tls_ctx *tls = NULL;
    struct err err;

    (void)state;
    assert_int_equal(pki_make_ca(test_dir, CLUSTER, &err), 0);
    assert_int_equal(pki_issue(test_dir, &s, crt, key, &err), 0);
    assert_int_equal(tls_ctx_load(crt, key, ca, CLUSTER, &tls, &err), 0);
    for (uint64_t seed = 11; seed <= 16; seed++) {
        chaos_run(seed, tls);
    }
    tls_ctx_unref(tls);
    free(crt);
    free(key);
    free(ca);
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_plain), cmocka_unit_test(test_tls) };

    return cmocka_run_group_tests(tests, setup, teardown);
}
