/* Streams over loopback: echo plain, over unix sockets and with TLS; refusals; back-pressure. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "base/stream.h"

#define CLUSTER "11111111-2222-4333-8444-555555555555"
#define OTHER_CLUSTER "99999999-2222-4333-8444-555555555555"

/* One side of a connection, with what happened to it. */
struct side {
    struct stream *s;
    struct buf got;
    struct err err;
    int opened, failed, ended, broke, closed, drained;
    bool echo;       /* send everything back */
    bool sink_close; /* close as soon as it is accepted */
    size_t want;     /* close with flush when so many bytes came */
    struct stream_peer peer;
};

struct world {
    uv_loop_t loop;
    uv_timer_t guard;
    struct listener *l;
    struct side server, client;
    char address[128];
};

static char test_dir[] = "/tmp/picket-stream-XXXXXX";

static void side_open(struct stream *s, const struct err *err)
{
    struct side *p = stream_data(s);

    if (err != NULL) {
        p->failed++;
        p->err = *err;
    } else {
        p->opened++;
        p->peer = *stream_peer(s);
    }
}

static void side_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct side *p = stream_data(s);
    struct err err;

    assert_int_equal(p->closed, 0);
    buf_add(&p->got, data, len);
    if (p->echo) {
        assert_int_equal(stream_write(s, data, len, &err), 0);
    }
    if (p->want != 0 && p->got.len >= p->want) {
        stream_close(s, true);
    }
}

static void side_end(struct stream *s, const struct err *err)
{
    struct side *p = stream_data(s);

    p->ended++;
    if (err != NULL) {
        p->broke++;
        p->err = *err;
    }
    stream_close(s, true);
}

static void side_drain(struct stream *s)
{
    struct side *p = stream_data(s);

    p->drained++;
}

static void side_closed(struct stream *s)
{
    struct side *p = stream_data(s);

    p->closed++;
    p->s = NULL;
}

static const struct stream_cbs side_cbs = { .on_open = side_open,
                                            .on_data = side_data,
                                            .on_end = side_end,
                                            .on_drain = side_drain,
                                            .on_closed = side_closed };

static void world_accept(struct listener *l, struct stream *s)
{
    struct world *w = listener_data(l);

    assert_null(w->server.s);
    stream_set_cbs(s, &side_cbs);
    stream_set_data(s, &w->server);
    w->server.s = s;
    w->server.opened++;
    w->server.peer = *stream_peer(s);
    if (w->server.sink_close) {
        stream_close(s, false);
    }
}

static void world_guard(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static void world_open(struct world *w, const char *address, const struct stream_opts *sopts,
                       const struct stream_opts *copts)
{
    struct err err;

    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->guard), 0);
    assert_int_equal(uv_timer_start(&w->guard, world_guard, 60000, 0), 0);
    uv_unref((uv_handle_t *)&w->guard);
    assert_int_equal(listener_open(&w->loop, address, sopts, world_accept, w, &w->l, &err), 0);
    (void)str_copy(w->address, sizeof(w->address), listener_address(w->l));
    assert_int_equal(
        stream_connect(&w->loop, w->address, copts, &side_cbs, &w->client, &w->client.s, &err), 0);
    assert_int_equal(w->client.opened + w->client.failed, 0); /* never from within the call */
}

static void world_turn_until(struct world *w, const int *what)
{
    while (*what == 0) {
        assert_true(uv_run(&w->loop, UV_RUN_ONCE) != 0);
    }
}

static void world_done(struct world *w)
{
    if (w->client.s != NULL) {
        stream_close(w->client.s, false);
    }
    if (w->server.s != NULL) {
        stream_close(w->server.s, false);
    }
    listener_close(w->l);
    uv_close((uv_handle_t *)&w->guard, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    buf_done(&w->client.got);
    buf_done(&w->server.got);
}

/* --- certificates --- */

static struct tls_ctx *make_tls(const char *ca, const char *ca_cluster, const char *trust_ca,
                                const char *role, const char *name, const char *cert_cluster,
                                const char *want_cluster)
{
    static int serial;
    struct pki_subject subject = { .role = role,
                                   .name = name,
                                   .cluster = cert_cluster,
                                   .ip = "127.0.0.1,::1",
                                   .dns = "localhost" };
    struct tls_ctx *tls = NULL;
    struct err err;
    char *dir = mem_printf("%s/%s", test_dir, ca);
    char *crt = mem_printf("%s/%d.crt", test_dir, ++serial);
    char *key = mem_printf("%s/%d.key", test_dir, serial);
    char *trust = mem_printf("%s/%s/ca.crt", test_dir, trust_ca);
    int rc;

    rc = pki_make_ca(dir, ca_cluster, &err);
    assert_true(rc == 0 || rc == ERR_EXISTS);
    assert_int_equal(pki_issue(dir, &subject, crt, key, &err), 0);
    rc = tls_ctx_load(crt, key, trust, want_cluster, &tls, &err);
    if (rc != 0) {
        fail_msg("%s", err.msg);
    }
    free(dir);
    free(crt);
    free(key);
    free(trust);
    return tls;
}

static struct tls_ctx *good_tls(const char *role, const char *name)
{
    return make_tls("ca", CLUSTER, "ca", role, name, CLUSTER, CLUSTER);
}

/* --- tests --- */

/* Send `total` bytes in odd pieces, get them all back, close from the client. */
static void echo(struct world *w, size_t total)
{
    uint8_t piece[7919];
    struct err err;
    size_t sent = 0;

    w->server.echo = true;
    w->client.want = total;
    world_turn_until(w, &w->client.opened);
    while (sent < total) {
        size_t n = total - sent < sizeof(piece) ? total - sent : sizeof(piece);

        for (size_t i = 0; i < n; i++) {
            piece[i] = (uint8_t)((sent + i) * 31 >> 3);
        }
        assert_int_equal(stream_write(w->client.s, piece, n, &err), 0);
        sent += n;
    }
    world_turn_until(w, &w->client.closed);
    world_turn_until(w, &w->server.closed);
    assert_int_equal(w->client.got.len, total);
    for (size_t i = 0; i < total; i++) {
        assert_int_equal(w->client.got.data[i], (uint8_t)(i * 31 >> 3));
    }
    assert_int_equal(w->server.ended, 1);
    assert_int_equal(w->server.broke, 0);
}

static void test_echo_plain(void **state)
{
    struct world w = { 0 };
    struct stream_opts opts = { .user_timeout_ms = 5000 };

    (void)state;
    world_open(&w, "127.0.0.1:0", &opts, &opts);
    echo(&w, 3000000);
    assert_true(str_starts(w.address, "127.0.0.1:"));
    assert_false(w.client.peer.local);
    world_done(&w);
}

static void test_echo_ipv6(void **state)
{
    struct world w = { 0 };
    struct stream_opts opts = { 0 };

    (void)state;
    world_open(&w, "[::1]:0", &opts, &opts);
    echo(&w, 1000);
    world_done(&w);
}

static void test_echo_unix(void **state)
{
    struct world w = { 0 };
    struct stream_opts opts = { 0 };
    char address[128];

    (void)state;
    (void)snprintf(address, sizeof(address), "unix:%s/sock", test_dir);
    world_open(&w, address, &opts, &opts);
    echo(&w, 500000);
    assert_true(w.server.peer.local);
    assert_int_equal(w.server.peer.uid, geteuid());
    assert_int_equal(w.server.peer.pid, getpid());
    world_done(&w);
    assert_int_not_equal(access(address + strlen("unix:"), F_OK), 0);
}

static void test_echo_tls(void **state)
{
    struct world w = { 0 };
    struct stream_opts sopts = { .tls = good_tls("picket:voters", "host-a") };
    struct stream_opts copts = { .tls = good_tls("picket:agents", "host-b"),
                                 .want_role = "picket:voters",
                                 .want_name = "host-a" };

    (void)state;
    world_open(&w, "127.0.0.1:0", &sopts, &copts);
    echo(&w, 3000000);
    assert_string_equal(w.client.peer.role, "picket:voters");
    assert_string_equal(w.client.peer.name, "host-a");
    assert_string_equal(w.client.peer.cluster, CLUSTER);
    assert_string_equal(w.server.peer.role, "picket:agents");
    assert_string_equal(w.server.peer.name, "host-b");
    world_done(&w);
    tls_ctx_unref(sopts.tls);
    tls_ctx_unref(copts.tls);
}

/* The client refuses: nobody is told that a connection is open. */
static void client_refuses(const struct stream_opts *sopts, const struct stream_opts *copts,
                           const char *text)
{
    struct world w = { 0 };

    world_open(&w, "127.0.0.1:0", sopts, copts);
    world_turn_until(&w, &w.client.closed);
    assert_int_equal(w.client.failed, 1);
    assert_int_equal(w.client.opened, 0);
    assert_int_equal(w.client.err.code, ERR_UNAUTHORIZED);
    if (strstr(w.client.err.msg, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", w.client.err.msg, text);
    }
    world_done(&w);
    assert_int_equal(w.server.opened, 0);
}

static void test_tls_client_refuses(void **state)
{
    struct tls_ctx *voter = good_tls("picket:voters", "host-a");
    struct tls_ctx *agent = good_tls("picket:agents", "host-b");
    struct tls_ctx *lost =
        make_tls("ca", CLUSTER, "ca", "picket:agents", "host-b", CLUSTER, OTHER_CLUSTER);
    struct tls_ctx *foreign =
        make_tls("ca2", CLUSTER, "ca2", "picket:voters", "host-a", CLUSTER, CLUSTER);
    struct stream_opts sopts = { .tls = voter };

    (void)state;
    client_refuses(&sopts, &(struct stream_opts){ .tls = agent, .want_role = "picket:admins" },
                   "has role picket:voters, want picket:admins");
    client_refuses(&sopts, &(struct stream_opts){ .tls = agent, .want_name = "host-z" },
                   "named host-a, want host-z");
    client_refuses(&sopts, &(struct stream_opts){ .tls = lost }, "belongs to cluster " CLUSTER);
    client_refuses(&sopts, &(struct stream_opts){ .tls = foreign }, "certificate");
    tls_ctx_unref(voter);
    tls_ctx_unref(agent);
    tls_ctx_unref(lost);
    tls_ctx_unref(foreign);
}

/* The server refuses: with TLS 1.3 the client learns it by an alert right after the handshake. */
static void server_refuses(const struct stream_opts *sopts, const struct stream_opts *copts)
{
    struct world w = { 0 };

    world_open(&w, "127.0.0.1:0", sopts, copts);
    world_turn_until(&w, &w.client.closed);
    assert_int_equal(w.client.failed + w.client.broke, 1);
    assert_int_equal(w.client.err.code, ERR_UNAUTHORIZED);
    world_done(&w);
    assert_int_equal(w.server.opened, 0);
}

static void test_tls_server_refuses(void **state)
{
    struct tls_ctx *voter = good_tls("picket:voters", "host-a");
    struct tls_ctx *agent = good_tls("picket:agents", "host-b");
    struct tls_ctx *stray =
        make_tls("ca", CLUSTER, "ca", "picket:voters", "host-b", OTHER_CLUSTER, CLUSTER);
    struct tls_ctx *foreign =
        make_tls("ca2", CLUSTER, "ca", "picket:voters", "host-a", CLUSTER, CLUSTER);

    (void)state;
    server_refuses(&(struct stream_opts){ .tls = voter, .want_role = "picket:voters" },
                   &(struct stream_opts){ .tls = agent });
    server_refuses(&(struct stream_opts){ .tls = voter }, &(struct stream_opts){ .tls = stray });
    server_refuses(&(struct stream_opts){ .tls = voter }, &(struct stream_opts){ .tls = foreign });
    tls_ctx_unref(voter);
    tls_ctx_unref(agent);
    tls_ctx_unref(stray);
    tls_ctx_unref(foreign);
}

/* A plain client that talks garbage to a TLS port is dropped and leaves nothing behind. */
static void test_plain_to_tls(void **state)
{
    struct world w = { 0 };
    struct tls_ctx *voter = good_tls("picket:voters", "host-a");
    struct stream_opts sopts = { .tls = voter };
    struct stream_opts copts = { 0 };
    struct err err;

    (void)state;
    world_open(&w, "127.0.0.1:0", &sopts, &copts);
    assert_int_equal(stream_write(w.client.s, "GET / HTTP/1.1\r\n\r\n", 18, &err), 0);
    world_turn_until(&w, &w.client.closed);
    assert_int_equal(w.server.opened, 0);
    assert_int_equal(w.client.ended, 1);
    world_done(&w);
    tls_ctx_unref(voter);
}

/* A peer that accepts and never answers the handshake: the deadline ends it. */
static void test_handshake_deadline(void **state)
{
    struct world w = { 0 };
    struct tls_ctx *agent = good_tls("picket:agents", "host-b");
    struct stream_opts sopts = { 0 };
    struct stream_opts copts = { .tls = agent, .connect_ms = 50 };

    (void)state;
    world_open(&w, "127.0.0.1:0", &sopts, &copts);
    world_turn_until(&w, &w.client.closed);
    assert_int_equal(w.client.failed, 1);
    assert_int_equal(w.client.err.code, ERR_UNREACHABLE);
    world_done(&w);
    tls_ctx_unref(agent);
}

static void test_refused_port(void **state)
{
    struct world w = { 0 };
    struct stream_opts opts = { 0 };
    struct err err;

    (void)state;
    /* A port that was free a moment ago: closing its listener first. */
    assert_int_equal(uv_loop_init(&w.loop), 0);
    assert_int_equal(listener_open(&w.loop, "127.0.0.1:0", &opts, world_accept, &w, &w.l, &err), 0);
    (void)str_copy(w.address, sizeof(w.address), listener_address(w.l));
    listener_close(w.l);
    (void)uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(
        stream_connect(&w.loop, w.address, &opts, &side_cbs, &w.client, &w.client.s, &err), 0);
    (void)uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(w.client.failed, 1);
    assert_int_equal(w.client.closed, 1);
    assert_int_equal(w.client.err.code, ERR_UNREACHABLE);
    assert_int_equal(uv_loop_close(&w.loop), 0);
}

static void test_missing_socket(void **state)
{
    struct side side = { 0 };
    struct stream_opts opts = { 0 };
    char address[128];
    uv_loop_t loop;
    struct err err;

    (void)state;
    (void)snprintf(address, sizeof(address), "unix:%s/nobody", test_dir);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(stream_connect(&loop, address, &opts, &side_cbs, &side, &side.s, &err), 0);
    assert_int_equal(stream_write(side.s, "x", 1, &err), 0); /* waits for the connection */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(side.failed, 1);
    assert_int_equal(side.closed, 1);
    assert_int_equal(side.err.code, ERR_UNREACHABLE);
    assert_non_null(strstr(side.err.msg, "nobody"));
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void back_pressure(struct tls_ctx *server_tls, struct tls_ctx *client_tls)
{
    static uint8_t block[65536];
    struct world w = { 0 };
    struct stream_opts sopts = { .tls = server_tls };
    struct stream_opts copts = { .tls = client_tls, .max_queue = 1 << 20, .low_mark = 1 << 16 };
    size_t sent = 0;
    struct err err;

    world_open(&w, "127.0.0.1:0", &sopts, &copts);
    world_turn_until(&w, &w.client.opened);
    world_turn_until(&w, &w.server.opened);
    stream_pause(w.server.s, true);
    /* The kernel takes a few MiB, then the queue fills and refuses. */
    for (int turn = 0; turn < 10000; turn++) {
        if (stream_write(w.client.s, block, sizeof(block), &err) == 0) {
            sent += sizeof(block);
        } else if (turn > 9000) {
            break;
        }
        (void)uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(stream_write(w.client.s, block, sizeof(block), &err), ERR_LIMIT);
    assert_true(stream_queued(w.client.s) <= 1 << 20);
    assert_int_equal(w.client.drained, 0);
    stream_pause(w.server.s, false);
    world_turn_until(&w, &w.client.drained);
    assert_int_equal(w.client.drained, 1);
    while (w.server.got.len < sent) {
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    }
    assert_int_equal(w.server.got.len, sent);
    assert_int_equal(stream_queued(w.client.s), 0);
    world_done(&w);
}

static void test_back_pressure(void **state)
{
    struct tls_ctx *voter = good_tls("picket:voters", "host-a");
    struct tls_ctx *agent = good_tls("picket:agents", "host-b");

    (void)state;
    back_pressure(NULL, NULL);
    back_pressure(voter, agent);
    tls_ctx_unref(voter);
    tls_ctx_unref(agent);
}

/* Flush and close: a large last message arrives whole, although the peer also sent something that
 * nobody read. */
static void test_flush_close(void **state)
{
    static uint8_t block[4 << 20];
    struct world w = { 0 };
    struct stream_opts opts = { 0 };
    struct err err;

    (void)state;
    world_open(&w, "127.0.0.1:0", &opts, &opts);
    world_turn_until(&w, &w.client.opened);
    world_turn_until(&w, &w.server.opened);
    stream_pause(w.server.s, true);
    assert_int_equal(stream_write(w.client.s, block, 1000, &err), 0);
    assert_int_equal(stream_write(w.server.s, block, sizeof(block), &err), 0);
    stream_close(w.server.s, true);
    assert_int_equal(stream_write(w.server.s, block, 1, &err), ERR_CANCELED);
    world_turn_until(&w, &w.client.ended);
    assert_int_equal(w.client.broke, 0);
    assert_int_equal(w.client.got.len, sizeof(block));
    world_turn_until(&w, &w.server.closed);
    assert_int_equal(w.server.got.len, 0); /* nothing was delivered after the close */
    world_done(&w);
}

static void test_close_in_accept(void **state)
{
    struct world w = { 0 };
    struct stream_opts opts = { 0 };

    (void)state;
    w.server.sink_close = true;
    world_open(&w, "127.0.0.1:0", &opts, &opts);
    world_turn_until(&w, &w.client.closed);
    world_turn_until(&w, &w.server.closed);
    assert_int_equal(w.client.ended, 1);
    world_done(&w);
}

/* Closing before anything happened gives on_closed and nothing else. */
static void test_close_early(void **state)
{
    struct world w = { 0 };
    struct stream_opts opts = { 0 };

    (void)state;
    world_open(&w, "127.0.0.1:0", &opts, &opts);
    stream_close(w.client.s, true);
    stream_close(w.client.s, false); /* twice is fine */
    world_turn_until(&w, &w.client.closed);
    assert_int_equal(w.client.opened + w.client.failed + w.client.ended, 0);
    world_done(&w);
}

static void test_bad_addresses(void **state)
{
    static const char *const bad[] = {
        "",       "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "host.example:1",
        "[::1:5", "[zz]:5",    "::1:5",      "unix:",           "999.1.1.1:5"
    };
    struct stream_opts opts = { 0 };
    struct stream *s = NULL;
    struct listener *l = NULL;
    uv_loop_t loop;
    struct err err;
    char path[200] = "unix:/";

    (void)state;
    memset(path + 6, 'a', 150);
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(stream_connect(&loop, bad[i], &opts, &side_cbs, NULL, &s, &err),
                         ERR_INVALID);
        assert_int_equal(listener_open(&loop, bad[i], &opts, world_accept, NULL, &l, &err),
                         ERR_INVALID);
    }
    assert_int_equal(stream_connect(&loop, path, &opts, &side_cbs, NULL, &s, &err), ERR_INVALID);
    assert_null(s);
    assert_null(l);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* A socket file of a killed process is replaced, one that is in use is not, nor is a plain file. */
static void test_unix_stale(void **state)
{
    struct stream_opts opts = { 0 };
    struct listener *a = NULL, *b = NULL;
    char address[128], other[128];
    uv_loop_t loop;
    struct err err;
    FILE *f;

    (void)state;
    (void)snprintf(address, sizeof(address), "unix:%s/stale", test_dir);
    (void)snprintf(other, sizeof(other), "%s/moved", test_dir);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_open(&loop, address, &opts, world_accept, NULL, &a, &err), 0);
    assert_int_equal(listener_open(&loop, address, &opts, world_accept, NULL, &b, &err),
                     ERR_EXISTS);
    /* Move it away, so that closing does not unlink it, and back: now it is stale. */
    assert_int_equal(rename(address + 5, other), 0);
    listener_close(a);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(rename(other, address + 5), 0);
    assert_int_equal(listener_open(&loop, address, &opts, world_accept, NULL, &a, &err), 0);
    listener_close(a);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    f = fopen(address + 5, "w");
    assert_non_null(f);
    (void)fclose(f);
    assert_int_equal(listener_open(&loop, address, &opts, world_accept, NULL, &a, &err),
                     ERR_EXISTS);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
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
        cmocka_unit_test(test_echo_plain),         cmocka_unit_test(test_echo_ipv6),
        cmocka_unit_test(test_echo_unix),          cmocka_unit_test(test_echo_tls),
        cmocka_unit_test(test_tls_client_refuses), cmocka_unit_test(test_tls_server_refuses),
        cmocka_unit_test(test_plain_to_tls),       cmocka_unit_test(test_handshake_deadline),
        cmocka_unit_test(test_refused_port),       cmocka_unit_test(test_missing_socket),
        cmocka_unit_test(test_back_pressure),      cmocka_unit_test(test_flush_close),
        cmocka_unit_test(test_close_in_accept),    cmocka_unit_test(test_close_early),
        cmocka_unit_test(test_bad_addresses),      cmocka_unit_test(test_unix_stale),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
