/* The HTTP codec: good and malformed messages, in one piece and byte by byte. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_codec.h"
#include "base/obj.h"
#include "base/str.h"

struct got {
    struct http_msg *msgs[8];
    size_t n;
    bool refuse;
};

static bool got_headers(void *data, const struct http_msg *msg)
{
    struct got *g = data;

    (void)msg;
    return !g->refuse;
}

static void got_message(void *data, struct http_msg *msg)
{
    struct got *g = data;

    assert_true(g->n < ARRAY_LEN(g->msgs));
    g->msgs[g->n++] = msg;
}

static const struct http_parser_cbs got_cbs = { .on_headers = got_headers,
                                                .on_message = got_message };

static void got_done(struct got *g)
{
    for (size_t i = 0; i < g->n; i++) {
        http_msg_free(g->msgs[i]);
    }
    memset(g, 0, sizeof(*g));
}

/* Feed `text` in pieces of `step` bytes until it is used up or refused. */
static int feed(struct http_parser *p, const char *text, size_t len, size_t step, struct err *err)
{
    size_t pos = 0;

    while (pos < len) {
        size_t n = len - pos < step ? len - pos : step;
        size_t off = 0;

        while (off < n) {
            size_t used = 0;
            int rc = http_parser_feed(p, (const uint8_t *)text + pos + off, n - off, &used, err);

            if (rc != 0) {
                return rc;
            }
            off += used;
        }
        pos += n;
    }
    return 0;
}

static int parse(enum http_parser_kind kind, const char *text, size_t step, struct got *g,
                 struct err *err)
{
    struct http_parser *p = http_parser_new(kind, 1000, &got_cbs, g);
    int rc;

    memset(err, 0, sizeof(*err));
    rc = feed(p, text, strlen(text), step, err);
    http_parser_free(p);
    return rc;
}

static const size_t steps[] = { 1, 2, 3, 7, 64, 100000 };

static void test_requests(void **state)
{
    static const char text[] =
        "GET /apis/picket%2Dx/v1/%C3%BC?watch=true&labelSelector=a%3Db+c&x&x=2"
        " HTTP/1.1\r\nHost: a\r\nACCEPT:   text/x  \r\n\r\n"
        "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        "PUT /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
        "HEAD http://host:1/z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct got g = { 0 };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        assert_int_equal(parse(HTTP_REQUESTS, text, steps[i], &g, &err), 0);
        assert_int_equal(g.n, 4);
        assert_string_equal(g.msgs[0]->method, "GET");
        assert_string_equal(g.msgs[0]->path, "/apis/picket-x/v1/\xc3\xbc");
        assert_string_equal(map_get(&g.msgs[0]->params, "watch"), "true");
        assert_string_equal(map_get(&g.msgs[0]->params, "labelSelector"), "a=b c");
        assert_string_equal(map_get(&g.msgs[0]->params, "x"), "");
        assert_string_equal(http_header_get(&g.msgs[0]->headers, "accept"), "text/x");
        assert_null(http_header_get(&g.msgs[0]->headers, "nope"));
        assert_true(g.msgs[0]->keep_alive);
        assert_int_equal(g.msgs[1]->body.len, 5);
        assert_memory_equal(g.msgs[1]->body.data, "hello", 5);
        assert_memory_equal(g.msgs[2]->body.data, "abcde", 5);
        assert_null(http_header_get(&g.msgs[2]->headers, "Trailer"));
        assert_string_equal(g.msgs[3]->path, "/z");
        assert_false(g.msgs[3]->keep_alive);
        got_done(&g);
    }
}

static void test_stops_behind_a_message(void **state)
{
    static const char text[] =
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    struct got g = { 0 };
    struct http_parser *p = http_parser_new(HTTP_REQUESTS, 0, &got_cbs, &g);
    struct err err;
    size_t used = 0;

    (void)state;
    assert_int_equal(http_parser_feed(p, (const uint8_t *)text, strlen(text), &used, &err), 0);
    assert_int_equal(g.n, 1);
    assert_int_equal(used, strlen(text) / 2);
    assert_true(http_parser_idle(p));
    assert_int_equal(http_parser_feed(p, (const uint8_t *)text + used, 5, &used, &err), 0);
    assert_false(http_parser_idle(p));
    assert_int_equal(http_parser_finish(p, &err), ERR_BAD_REQUEST);
    http_parser_free(p);
    got_done(&g);
}

static void test_malformed(void **state)
{
    static const struct {
        const char *text;
        int code;
    } bad[] = {
        { "garbage\r\n\r\n", ERR_BAD_REQUEST },
        { "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", ERR_BAD_REQUEST },
        { "GET / HTTP/1.1\r\n\r\n", ERR_BAD_REQUEST },                       /* no Host */
        { "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", ERR_BAD_REQUEST }, /* two */
        { "GET / HTTP/0.9\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET / HTTP/2.0\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ERR_BAD_REQUEST },
        { "GET x HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET * HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /?a=%2 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /% HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET /%c0%af HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST },    /* overlong '/' */
        { "GET /%ed%a0%80 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_BAD_REQUEST }, /* surrogate */
        { "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
          ERR_BAD_REQUEST },
        { "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", ERR_BAD_REQUEST },
        { "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
          ERR_BAD_REQUEST },
        { "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
          ERR_BAD_REQUEST },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
          ERR_BAD_REQUEST },
        { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_BAD_REQUEST },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
          ERR_BAD_REQUEST },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          "ffffffffffffffffff\r\n",
          ERR_BAD_REQUEST },
        { "GET / HTTP/1.1\r\nHost: a\r\n x: folded\r\n\r\n",
          0 }, /* obs-fold joins, no new header */
        { "GET / HTTP/1.1\r\nHost : a\r\n\r\n", ERR_BAD_REQUEST },
        { "GET / HTTP/1.1\r\nHost: a\r\nbad name: x\r\n\r\n", ERR_BAD_REQUEST },
        { "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", ERR_BAD_REQUEST },
        { "GET / HTTP/1.1\nHost: a\n\n", ERR_BAD_REQUEST }, /* bare line feeds */
        { "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", ERR_TOO_LARGE },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", 0 },
    };
    struct got g = { 0 };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
            int rc = parse(HTTP_REQUESTS, bad[i].text, steps[k], &g, &err);

            if (rc != bad[i].code) {
                fail_msg("%zu, step %zu: %d (%s) for %s", i, steps[k], rc, err.msg, bad[i].text);
            }
            if (rc != 0) {
                assert_int_equal(err.code, rc);
                assert_int_equal(g.n, 0);
            }
            got_done(&g);
        }
    }
}

/* Repeat `piece` between a head and a tail until `total` bytes are there. */
static char *repeat(const char *head, const char *piece, size_t total, const char *tail)
{
    struct buf b = { 0 };

    buf_add_str(&b, head);
    while (b.len < total) {
        buf_add_str(&b, piece);
    }
    buf_add_str(&b, tail);
    (void)buf_cstr(&b);
    return buf_take(&b, NULL);
}

static void test_limits(void **state)
{
    static const struct {
        const char *head, *piece;
        size_t total;
        const char *tail;
        int code;
    } cases[] = {
        { "GET /", "a", 16000, " HTTP/1.1\r\nHost: a\r\n\r\n", 0 },
        { "GET /", "a", 17000, " HTTP/1.1\r\nHost: a\r\n\r\n", ERR_TOO_LARGE },
        { "GET / HTTP/1.1\r\nHost: a\r\nX: ", "a", 64000, "\r\n\r\n", 0 },
        { "GET / HTTP/1.1\r\nHost: a\r\nX: ", "a", 66000, "\r\n\r\n", ERR_TOO_LARGE },
        { "GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", 600, "\r\n", 0 },
        { "GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", 700, "\r\n", ERR_TOO_LARGE },
        { "GET / HTTP/1.1\r\nHost: a\r\n", "X:\r\n", 700, "\r\n", ERR_TOO_LARGE },
        { "GET / HTTP/1.1\r\nHost: a\r\nX:", " ", 90000, "y\r\n\r\n", ERR_TOO_LARGE },
        { "", "\r\n", 90000, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_TOO_LARGE },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 5900,
          "0\r\n\r\n", 0 },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 6200,
          "0\r\n\r\n", ERR_TOO_LARGE },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", "y", 90000,
          "\r\na\r\n0\r\n\r\n", ERR_TOO_LARGE },
        { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: ", "y", 90000,
          "\r\n\r\n", ERR_TOO_LARGE },
        { "GET /?a=b", "&c=d", 390, " HTTP/1.1\r\nHost: a\r\n\r\n", 0 },
    };
    struct got g = { 0 };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = repeat(cases[i].head, cases[i].piece, cases[i].total, cases[i].tail);
        int rc = parse(HTTP_REQUESTS, text, 1000, &g, &err);

        if (rc != cases[i].code) {
            fail_msg("%zu: %d (%s)", i, rc, err.msg);
        }
        assert_int_equal(g.n, rc == 0 ? 1 : 0);
        got_done(&g);
        free(text);
    }
}

static void test_many_params(void **state)
{
    struct http_msg m = { 0 };
    struct buf b = { 0 };
    struct err err;

    (void)state;
    buf_add_str(&b, "/?");
    for (int i = 0; i < 101; i++) {
        buf_printf(&b, "k%d=v&", i);
    }
    assert_int_equal(http_target_decode(&m, buf_cstr(&b), &err), ERR_BAD_REQUEST);
    map_done(&m.params);
    arena_done(&m.arena);
    buf_done(&b);
}

static void test_refused(void **state)
{
    struct got g = { .refuse = true };
    struct err err;

    (void)state;
    assert_int_equal(parse(HTTP_REQUESTS, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 5, &g, &err),
                     ERR_CANCELED);
    assert_int_equal(g.n, 0);
}

static void test_upgrade_is_ignored(void **state)
{
    struct got g = { 0 };
    struct err err;

    (void)state;
    assert_int_equal(parse(HTTP_REQUESTS,
                           "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                           "Upgrade: SPDY/3.1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
                           9, &g, &err),
                     0);
    assert_int_equal(g.n, 2);
    assert_string_equal(g.msgs[1]->path, "/2");
    got_done(&g);
}

static void test_responses(void **state)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n"
                               "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
                               "HTTP/1.1 204 No Content\r\n\r\n"
                               "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "2\r\nno\r\n0\r\n\r\n";
    struct got g = { 0 };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        assert_int_equal(parse(HTTP_RESPONSES, text, steps[i], &g, &err), 0);
        assert_int_equal(g.n, 3);
        assert_int_equal(g.msgs[0]->status, 200);
        assert_memory_equal(g.msgs[0]->body.data, "hi", 2);
        assert_int_equal(g.msgs[1]->status, 204);
        assert_int_equal(g.msgs[2]->status, 404);
        assert_memory_equal(g.msgs[2]->body.data, "no", 2);
        got_done(&g);
    }
}

static void test_response_until_close(void **state)
{
    static const char text[] = "HTTP/1.0 200 OK\r\n\r\nall of it";
    static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort";
    struct got g = { 0 };
    struct http_parser *p = http_parser_new(HTTP_RESPONSES, 0, &got_cbs, &g);
    struct err err;

    (void)state;
    assert_int_equal(feed(p, text, strlen(text), 4, &err), 0);
    assert_int_equal(g.n, 0);
    assert_int_equal(http_parser_held(p), 9);
    assert_int_equal(http_parser_finish(p, &err), 0);
    assert_int_equal(g.n, 1);
    assert_memory_equal(g.msgs[0]->body.data, "all of it", 9);
    assert_false(g.msgs[0]->keep_alive);
    http_parser_free(p);
    got_done(&g);

    p = http_parser_new(HTTP_RESPONSES, 0, &got_cbs, &g);
    assert_int_equal(feed(p, cut, strlen(cut), 4, &err), 0);
    assert_int_equal(http_parser_finish(p, &err), ERR_BAD_REQUEST);
    http_parser_free(p);
    got_done(&g);

    /* The answer to HEAD: a length and nothing behind it. */
    p = http_parser_new(HTTP_RESPONSES, 2, &got_cbs, &g);
    http_parser_expect_head(p, true);
    assert_int_equal(feed(p, cut, strlen(cut) - 5, 4, &err), 0);
    assert_int_equal(g.n, 1);
    http_parser_free(p);
    got_done(&g);
}

static void test_encode(void **state)
{
    const struct http_header headers[] = { { "A", "b" }, { "Evil", "x\r\nInjected: y" } };
    struct buf b = { 0 };

    (void)state;
    http_encode_response(&b, 422, headers, 2);
    assert_string_equal(buf_cstr(&b),
                        "HTTP/1.1 422 Unprocessable Content\r\nA: b\r\nEvil: x\r\n\r\n");
    buf_clear(&b);
    http_encode_request(&b, "GET", "/x?y", headers, 1);
    assert_string_equal(buf_cstr(&b), "GET /x?y HTTP/1.1\r\nA: b\r\n\r\n");
    buf_clear(&b);
    http_escape(&b, "a/b c=\xc3\xbc~");
    assert_string_equal(buf_cstr(&b), "a%2Fb%20c%3D%C3%BC~");
    buf_done(&b);
}

static void test_status(void **state)
{
    struct buf b = { 0 };
    struct err err;
    json_t *j;

    (void)state;
    (void)err_set(&err, ERR_CONFLICT, "vm \"web\" \\ changed\tby \xc3\xbc and \xff");
    http_status_json(&b, &err);
    j = json_loadb((const char *)b.data, b.len, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "kind")), "Status");
    assert_string_equal(json_string_value(json_object_get(j, "reason")), "Conflict");
    assert_int_equal(json_integer_value(json_object_get(j, "code")), 409);
    assert_string_equal(json_string_value(json_object_get(j, "message")),
                        "vm \"web\" \\ changed\tby \xc3\xbc and \xef\xbf\xbd");
    json_decref(j);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_stops_behind_a_message),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_params),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_upgrade_is_ignored),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_response_until_close),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
