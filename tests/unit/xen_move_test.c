/* The mover of live migrations: its frames, and two movers that carry a guest's memory over
 * loopback, with and without TLS, whole, broken, slow, refused. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <netinet/in.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "reconciler/xen_move.h"
#include "reconciler/xen_move_codec.h"

#define WAIT_MS 15000U

/* --- frames ------------------------------------------------------------------------------------
 */

struct seen {
    unsigned n;
    enum xen_frame type[8];
    size_t len[8];
};

static int on_frame(void *ctx, enum xen_frame type, const uint8_t *data, size_t len,
                    struct err *err)
{
    struct seen *s = ctx;

    (void)data;
    (void)err;
    assert_true(s->n < 8);
    s->type[s->n] = type;
    s->len[s->n++] = len;
    return 0;
}

static void test_frames(void **state)
{
    struct xen_hello h = { .vm = "vm1", .uid = "u1", .migration = "m1" }, back;
    struct xen_frames f = { 0 };
    struct seen s = { 0 };
    struct buf b = { 0 };
    struct err err;

    (void)state;
    xen_hello_put(&b, &h);
    xen_frame_put(&b, XEN_FRAME_DATA, "abc", 3);
    xen_frame_put(&b, XEN_FRAME_END, NULL, 0);
    xen_result_put(&b, true, "");
    for (size_t i = 0; i < b.len; i++) { /* byte by byte */
        assert_int_equal(xen_frames_feed(&f, b.data + i, 1, on_frame, &s, &err), 0);
    }
    assert_int_equal(s.n, 4);
    assert_int_equal(s.type[0], XEN_FRAME_HELLO);
    assert_int_equal(s.type[1], XEN_FRAME_DATA);
    assert_int_equal(s.len[1], 3);
    assert_int_equal(s.type[2], XEN_FRAME_END);
    assert_int_equal(s.type[3], XEN_FRAME_RESULT);
    assert_int_equal(xen_hello_get(b.data + XEN_MOVE_HEADER, s.len[0], &back, &err), 0);
    assert_string_equal(back.vm, "vm1");
    assert_string_equal(back.migration, "m1");
    xen_frames_done(&f);
    buf_done(&b);
}

static void test_bad_frames(void **state)
{
    static const uint8_t types[] = { 0, 6, 255 };
    struct xen_frames f;
    struct xen_hello h;
    struct seen s = { 0 };
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(types); i++) {
        uint8_t bytes[5] = { types[i], 0, 0, 0, 0 };

        f = (struct xen_frames){ 0 };
        assert_int_equal(xen_frames_feed(&f, bytes, 5, on_frame, &s, &err), ERR_CORRUPT);
        assert_int_equal(xen_frames_feed(&f, bytes, 5, on_frame, &s, &err), ERR_CORRUPT);
        xen_frames_done(&f);
    }
    f = (struct xen_frames){ 0 };
    assert_int_equal(
        xen_frames_feed(&f, (const uint8_t *)"\x03\x01\x00\x01\x00", 5, on_frame, &s, &err),
        ERR_CORRUPT); /* 65537 bytes */
    xen_frames_done(&f);
    assert_int_equal(s.n, 0);
    assert_int_equal(xen_hello_get((const uint8_t *)"{}", 2, &h, &err), ERR_CORRUPT);
    assert_int_equal(xen_hello_get((const uint8_t *)"{\"vm\": ", 7, &h, &err), ERR_CORRUPT);
#define FUTURE "{\"version\": 9, \"vm\": \"v\", \"uid\": \"u\", \"migration\": \"m\"}"
    assert_int_equal(xen_hello_get((const uint8_t *)FUTURE, strlen(FUTURE), &h, &err),
                     ERR_UNSUPPORTED);
    assert_int_equal(xen_result_get((const uint8_t *)"[]", 2, &err), ERR_CORRUPT);
    assert_int_equal(
        xen_result_get((const uint8_t *)"{\"ok\": false, \"message\": \"no\"}", 30, &err),
        ERR_DRIVER);
    assert_string_equal(err.msg, "no");
}

/* --- movers ------------------------------------------------------------------------------------
 */

struct rig {
    char dir[64];
    char address[64];
    struct xen_mover *a, *b; /* source, target */
    struct xen_move *out, *in;
    int out_fd, in_fd;
    _Atomic unsigned notified;
    struct err err;
};

static void on_notify(void *ctx)
{
    struct rig *r = ctx;

    r->notified++;
}

static void free_address(char *dst, size_t size)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    (void)close(fd);
    (void)snprintf(dst, size, "127.0.0.1:%u", ntohs(sin.sin_port));
}

static void identity_in(struct rig *r, const char *file, const char *role, const char *name)
{
    char crt[128], key[128];
    struct pki_subject subject = { .role = role, .name = name, .cluster = "c1" };

    (void)snprintf(crt, sizeof(crt), "%s/%s.crt", r->dir, file);
    (void)snprintf(key, sizeof(key), "%s/%s.key", r->dir, file);
    (void)unlink(crt);
    (void)unlink(key);
    assert_int_equal(pki_issue(r->dir, &subject, crt, key, &r->err), 0);
}

static void identity(struct rig *r, const char *role, const char *name)
{
    identity_in(r, name, role, name);
}

static struct xen_mover *mover(struct rig *r, const char *name, uint64_t patience_ms)
{
    char crt[128], key[128], ca[128];
    struct xen_mover_opts o = { .notify = on_notify, .ctx = r, .patience_ms = patience_ms };
    struct xen_mover *m;

    if (name != NULL) {
        (void)snprintf(crt, sizeof(crt), "%s/%s.crt", r->dir, name);
        (void)snprintf(key, sizeof(key), "%s/%s.key", r->dir, name);
        (void)snprintf(ca, sizeof(ca), "%s/ca.crt", r->dir);
        o.tls_cert = crt;
        o.tls_key = key;
        o.tls_ca = ca;
    }
    if (xen_mover_new(&o, &m, &r->err) != 0) {
        fail_msg("%s", r->err.msg);
    }
    return m;
}

static void rig_tls(struct rig *r)
{
    (void)str_copy(r->dir, sizeof(r->dir), "/tmp/picket-move-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(pki_make_ca(r->dir, "c1", &r->err), 0);
    identity(r, "picket:agents", "node1");
    identity(r, "picket:agents", "node2");
    identity(r, "picket:agents", "node3");
    identity(r, "picket:admins", "root");
}

static void rig_done(struct rig *r)
{
    char cmd[128];

    if (r->out != NULL) {
        xen_move_end(r->out);
    }
    if (r->in != NULL) {
        xen_move_end(r->in);
    }
    xen_mover_free(r->a);
    xen_mover_free(r->b);
    if (r->dir[0] != '\0') {
        static const char *const names[] = { "ca.crt",    "ca.key",    "node1.crt", "node1.key",
                                             "node2.crt", "node2.key", "node3.crt", "node3.key",
                                             "root.crt",  "root.key" };

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            (void)snprintf(cmd, sizeof(cmd), "%s/%s", r->dir, names[i]);
            (void)unlink(cmd);
        }
        (void)rmdir(r->dir);
    }
}

static void begin_out(struct rig *r, uint64_t bandwidth, const char *peer)
{
    struct xen_move_req req = { .send = true,
                                .vm = "vm1",
                                .uid = "u1",
                                .migration = "m1",
                                .peer = peer,
                                .address = r->address,
                                .bandwidth = bandwidth };

    r->out = xen_move_begin(r->a, &req, &r->out_fd);
}

static void begin_in(struct rig *r, const char *migration, const char *peer)
{
    struct xen_move_req req = {
        .vm = "vm1", .uid = "u1", .migration = migration, .peer = peer, .address = r->address
    };

    r->in = xen_move_begin(r->b, &req, &r->in_fd);
}

static enum xen_move_state until(struct rig *r, struct xen_move *v, enum xen_move_state st)
{
    uint64_t end = clock_now_ms() + WAIT_MS;
    enum xen_move_state now;

    while ((now = xen_move_look(v, &r->err)) != st && now != XEN_MOVE_FAILED) {
        (void)usleep(1000);
        if (clock_now_ms() > end) {
            fail_msg("state %d never became %d", (int)now, (int)st);
        }
    }
    return now;
}

struct feed {
    int fd;
    size_t len;
};

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 11));
}

static void *feed(void *arg)
{
    struct feed *f = arg;
    uint8_t part[7001];

    for (size_t i = 0; i < f->len;) {
        size_t n = f->len - i < sizeof(part) ? f->len - i : sizeof(part);
        ssize_t w;

        for (size_t k = 0; k < n; k++) {
            part[k] = byte_at(i + k);
        }
        w = write(f->fd, part, n);
        if (w <= 0) {
            return (void *)(uintptr_t)1;
        }
        i += (size_t)w;
    }
    return NULL;
}

static void drink(int fd, size_t len)
{
    uint8_t part[65536];
    size_t n = 0;
    ssize_t r;

    while ((r = read(fd, part, sizeof(part))) > 0) {
        for (ssize_t k = 0; k < r; k++) {
            assert_int_equal(part[k], byte_at(n + (size_t)k));
        }
        n += (size_t)r;
    }
    assert_int_equal(r, 0);
    assert_int_equal(n, len);
}

/* A guest of `len` bytes goes from one to the other. */
static void carry(struct rig *r, size_t len)
{
    struct feed f = { .len = len };
    pthread_t t;
    void *rc;

    assert_int_equal(until(r, r->out, XEN_MOVE_READY), XEN_MOVE_READY);
    assert_int_equal(until(r, r->in, XEN_MOVE_READY), XEN_MOVE_READY);
    f.fd = r->out_fd;
    assert_int_equal(pthread_create(&t, NULL, feed, &f), 0);
    if (len < 65536) {
        assert_int_equal(pthread_join(t, &rc), 0);
        assert_null(rc);
        xen_move_eof(r->out);
        drink(r->in_fd, len);
    } else {
        uint8_t part[65536];
        size_t n = 0;

        while (n < len) {
            ssize_t got = read(r->in_fd, part, sizeof(part));

            assert_true(got > 0);
            for (ssize_t k = 0; k < got; k += 97) {
                assert_int_equal(part[k], byte_at(n + (size_t)k));
            }
            n += (size_t)got;
        }
        assert_int_equal(pthread_join(t, &rc), 0);
        assert_null(rc);
        xen_move_eof(r->out);
        assert_int_equal(read(r->in_fd, part, 1), 0);
    }
}

static void test_plain(void **state)
{
    struct rig r = { 0 };

    (void)state;
    free_address(r.address, sizeof(r.address));
    r.a = mover(&r, NULL, 0);
    r.b = mover(&r, NULL, 0);
    begin_out(&r, 0, "node2"); /* before anybody listens */
    (void)usleep(50000);
    begin_in(&r, "m1", "node1");
    carry(&r, 1000);
    assert_int_equal(xen_move_look(r.out, &r.err), XEN_MOVE_READY); /* not before it is whole */
    xen_move_finish(r.in, true, "");
    assert_int_equal(until(&r, r.out, XEN_MOVE_DONE), XEN_MOVE_DONE);
    assert_int_equal(until(&r, r.in, XEN_MOVE_DONE), XEN_MOVE_DONE);
    assert_true(r.notified >= 4);
    rig_done(&r);
}

static void test_tls(void **state)
{
    struct rig r = { 0 };

    (void)state;
    free_address(r.address, sizeof(r.address));
    rig_tls(&r);
    r.a = mover(&r, "node1", 0);
    r.b = mover(&r, "node2", 0);
    begin_in(&r, "m1", "node1");
    begin_out(&r, 0, "node2");
    carry(&r, 32 << 20); /* more than may wait on the way */
    xen_move_finish(r.in, false, "no room for it");
    assert_int_equal(until(&r, r.out, XEN_MOVE_DONE), XEN_MOVE_FAILED);
    assert_string_equal(r.err.msg, "no room for it");
    rig_done(&r);
}

/* Movers live as long as their agents, certificates do not: both ends show the one that is in the
 * file when they meet. */
static void test_renewed(void **state)
{
    struct rig r = { 0 };

    (void)state;
    free_address(r.address, sizeof(r.address));
    rig_tls(&r);
    identity_in(&r, "node1", "picket:agents", "node3"); /* nobody would take these two now */
    identity_in(&r, "node2", "picket:agents", "node3");
    r.a = mover(&r, "node1", 0);
    r.b = mover(&r, "node2", 0);
    identity(&r, "picket:agents", "node1");
    identity(&r, "picket:agents", "node2");
    begin_in(&r, "m1", "node1");
    begin_out(&r, 0, "node2");
    carry(&r, 1000);
    xen_move_finish(r.in, true, "");
    assert_int_equal(until(&r, r.out, XEN_MOVE_DONE), XEN_MOVE_DONE);
    rig_done(&r);
}

static void test_strangers(void **state)
{
    struct rig r = { 0 };

    (void)state;
    free_address(r.address, sizeof(r.address));
    rig_tls(&r);
    /* An agent, but not of the host that is expected. */
    r.a = mover(&r, "node3", 1500);
    r.b = mover(&r, "node2", 60000);
    begin_in(&r, "m1", "node1");
    begin_out(&r, 0, "node2");
    assert_int_equal(until(&r, r.out, XEN_MOVE_READY), XEN_MOVE_FAILED);
    assert_non_null(strstr(r.err.msg, "not waited for"));
    assert_int_equal(xen_move_look(r.in, &r.err), XEN_MOVE_WAIT);
    xen_move_end(r.out);
    xen_mover_free(r.a);
    /* Not an agent. */
    r.a = mover(&r, "root", 1500);
    begin_out(&r, 0, "node2");
    assert_int_equal(until(&r, r.out, XEN_MOVE_READY), XEN_MOVE_FAILED);
    assert_int_equal(xen_move_look(r.in, &r.err), XEN_MOVE_WAIT);
    xen_move_end(r.out);
    xen_mover_free(r.a);
    /* The target is not the host that the source means. */
    r.a = mover(&r, "node1", 1500);
    begin_out(&r, 0, "node3");
    assert_int_equal(until(&r, r.out, XEN_MOVE_READY), XEN_MOVE_FAILED);
    assert_int_equal(xen_move_look(r.in, &r.err), XEN_MOVE_WAIT);
    xen_move_end(r.out);
    /* And the right one. */
    begin_out(&r, 0, "node2");
    carry(&r, 100);
    xen_move_finish(r.in, true, "");
    assert_int_equal(until(&r, r.out, XEN_MOVE_DONE), XEN_MOVE_DONE);
    rig_done(&r);
}

static void test_other_migration(void **state)
{
    struct rig r = { 0 };

    (void)state;
    free_address(r.address, sizeof(r.address));
    r.a = mover(&r, NULL, 1000);
    r.b = mover(&r, NULL, 1000);
    begin_in(&r, "m2", "node1");
    begin_out(&r, 0, "node2");
    assert_int_equal(until(&r, r.out, XEN_MOVE_READY), XEN_MOVE_FAILED);
    assert_int_equal(until(&r, r.in, XEN_MOVE_READY), XEN_MOVE_FAILED);
    assert_int_equal(r.err.code, ERR_TIMEOUT);
    rig_done(&r);
}

/* Either end breaks off half-way: the other one's libxl sees it. */
static void test_broken(void **state)
{
    struct rig r = { 0 };
    char c;

    (void)state;
    free_address(r.address, sizeof(r.address));
    r.a = mover(&r, NULL, 0);
    r.b = mover(&r, NULL, 0);
    for (int i = 0; i < 2; i++) {
        begin_in(&r, "m1", "node1");
        begin_out(&r, 0, "node2");
        assert_int_equal(until(&r, r.out, XEN_MOVE_READY), XEN_MOVE_READY);
        assert_int_equal(until(&r, r.in, XEN_MOVE_READY), XEN_MOVE_READY);
        assert_int_equal(write(r.out_fd, "x", 1), 1);
        assert_int_equal(read(r.in_fd, &c, 1), 1);
        if (i == 0) { /* the source goes */
            xen_move_end(r.out);
            assert_int_equal(until(&r, r.in, XEN_MOVE_DONE), XEN_MOVE_FAILED);
            assert_int_equal(read(r.in_fd, &c, 1), 0);
            xen_move_finish(r.in, false, "nobody hears it");
            xen_move_end(r.in);
        } else { /* the target goes */
            xen_move_end(r.in);
            assert_int_equal(until(&r, r.out, XEN_MOVE_DONE), XEN_MOVE_FAILED);
            assert_int_equal(r.err.code, ERR_UNREACHABLE);
            while (write(r.out_fd, "x", 1) == 1) {
            }
            assert_int_equal(errno, EPIPE);
            xen_move_end(r.out);
        }
        r.in = r.out = NULL;
    }
    rig_done(&r);
}

/* The limit is kept: so many bytes cannot be there before so much time. */
static void test_bandwidth(void **state)
{
    struct rig r = { 0 };
    uint64_t start;

    (void)state;
    free_address(r.address, sizeof(r.address));
    r.a = mover(&r, NULL, 0);
    r.b = mover(&r, NULL, 0);
    begin_in(&r, "m1", "node1");
    begin_out(&r, 400000, "node2");
    assert_int_equal(until(&r, r.out, XEN_MOVE_READY), XEN_MOVE_READY);
    start = clock_now_ms();
    carry(&r, 300000);
    assert_true(clock_now_ms() - start >= 300); /* 750 at 400 kB/s, less a bucket */
    xen_move_finish(r.in, true, "");
    assert_int_equal(until(&r, r.out, XEN_MOVE_DONE), XEN_MOVE_DONE);
    rig_done(&r);
}

static void test_address(void **state)
{
    struct rig r = { 0 };

    (void)state;
    (void)str_copy(r.address, sizeof(r.address), "not an address");
    r.a = mover(&r, NULL, 0);
    r.b = mover(&r, NULL, 0);
    begin_in(&r, "m1", "node1");
    begin_out(&r, 0, "node2");
    assert_int_equal(until(&r, r.in, XEN_MOVE_READY), XEN_MOVE_FAILED);
    assert_int_equal(until(&r, r.out, XEN_MOVE_READY), XEN_MOVE_FAILED);
    rig_done(&r);
}

/* Somebody who connects and says something else, or nothing. */
static void test_noise(void **state)
{
    struct rig r = { 0 };
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    uint64_t port;
    char text[16];
    int fd[2];

    (void)state;
    free_address(r.address, sizeof(r.address));
    r.a = mover(&r, NULL, 0);
    r.b = mover(&r, NULL, 0);
    begin_in(&r, "m1", "node1");
    assert_true(str_parse_u64(strchr(r.address, ':') + 1, &port));
    sin.sin_port = htons((uint16_t)port);
    for (int i = 0; i < 2; i++) {
        uint64_t end = clock_now_ms() + WAIT_MS;

        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        while (connect(fd[i], (struct sockaddr *)&sin, sizeof(sin)) != 0) {
            assert_true(clock_now_ms() < end);
            (void)usleep(1000);
        }
    }
    assert_int_equal(write(fd[0], "GET / HTTP/1.1\r\n\r\n", 18), 18);
    while (read(fd[0], text, sizeof(text)) > 0) {
    }
    begin_out(&r, 0, "node2");
    carry(&r, 10);
    xen_move_finish(r.in, true, "");
    assert_int_equal(until(&r, r.out, XEN_MOVE_DONE), XEN_MOVE_DONE);
    rig_done(&r); /* the silent one is dropped */
    (void)close(fd[0]);
    (void)close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),          cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_plain),           cmocka_unit_test(test_tls),
        cmocka_unit_test(test_renewed),         cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_other_migration), cmocka_unit_test(test_broken),
        cmocka_unit_test(test_bandwidth),       cmocka_unit_test(test_address),
        cmocka_unit_test(test_noise),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    if (getenv("PICKET_LOG") == NULL) {
        lg_set_level((enum lg_level)0);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
