/* NetworkChecks: counting rounds, what several hosts' words mean together, and asking itself. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "net/ping_codec.h"
#include "net/ping_uv.h"
#include "net/reach_plan.h"
#include "net/reach_sm.h"

/* --- rounds ------------------------------------------------------------------------------------
 */

#define YES REACH_ANSWERED
#define NO REACH_SILENT
#define BLIND REACH_NOT_ASKED

static const struct reach_rule rule = {
    .n_targets = 2, .threshold = 1, .failures = 3, .recoveries = 2
};

static enum reach_state after(struct reach *r, enum reach_answer a, enum reach_answer b, int times)
{
    enum reach_answer both[2] = { a, b };

    for (int i = 0; i < times; i++) {
        (void)reach_round(r, &rule, both);
    }
    return r->all.state;
}

static void test_counting(void **state)
{
    struct reach r = { 0 };

    (void)state;
    assert_int_equal(after(&r, YES, NO, 1), REACH_PASSING); /* the first good word comes at once */
    assert_int_equal(r.targets[1].state, REACH_UNKNOWN);
    assert_int_equal(after(&r, NO, NO, 2), REACH_PASSING);
    assert_int_equal(after(&r, NO, YES, 1), REACH_PASSING); /* in a row, or not at all */
    assert_int_equal(after(&r, NO, NO, 2), REACH_PASSING);
    assert_int_equal(after(&r, NO, NO, 1), REACH_FAILING);
    assert_int_equal(after(&r, YES, NO, 1), REACH_FAILING);
    assert_int_equal(after(&r, NO, NO, 1), REACH_FAILING);
    assert_int_equal(after(&r, YES, NO, 2), REACH_PASSING);
    assert_int_equal(r.targets[0].state, REACH_PASSING);
    assert_int_equal(r.targets[1].state, REACH_FAILING);
}

/* "I could not look" is neither an answer nor a silence. */
static void test_blind(void **state)
{
    struct reach r = { 0 };

    (void)state;
    assert_int_equal(after(&r, BLIND, NO, 10), REACH_UNKNOWN);
    assert_int_equal(after(&r, NO, NO, 2), REACH_UNKNOWN);
    assert_int_equal(after(&r, BLIND, NO, 1), REACH_UNKNOWN);
    assert_int_equal(after(&r, NO, NO, 1), REACH_FAILING); /* the row was not broken */
    assert_int_equal(after(&r, BLIND, BLIND, 2), REACH_FAILING);
    assert_int_equal(after(&r, BLIND, BLIND, 1), REACH_UNKNOWN); /* too long ago */
    assert_int_equal(after(&r, BLIND, YES, 1), REACH_PASSING);
    reach_restart(&r);
    assert_int_equal(r.all.state, REACH_PASSING); /* the last word holds */
    assert_int_equal(after(&r, NO, NO, 3), REACH_FAILING);
}

static void test_says_changes(void **state)
{
    enum reach_answer both[2] = { YES, YES };
    struct reach r = { 0 };

    (void)state;
    assert_true(reach_round(&r, &rule, both));
    assert_false(reach_round(&r, &rule, both));
    both[1] = NO;
    assert_false(reach_round(&r, &rule, both));
    assert_false(reach_round(&r, &rule, both));
    assert_true(reach_round(&r, &rule, both)); /* one target less: the message is another one */
    assert_int_equal(r.all.state, REACH_PASSING);
    assert_int_equal(reach_state_parse(reach_state_name(REACH_FAILING)), REACH_FAILING);
    assert_int_equal(reach_state_parse("?"), REACH_UNKNOWN);
}

/* --- together ----------------------------------------------------------------------------------
 */

static void test_alone(void **state)
{
    struct reach_host h[3] = { { .state = REACH_PASSING },
                               { .state = REACH_FAILING },
                               { .state = REACH_UNKNOWN } };

    (void)state;
    assert_int_equal(reach_decide(h, 3, true, 4000, 1000), 5000);
    assert_int_equal(h[0].verdict, REACH_FINE);
    assert_int_equal(h[1].verdict, REACH_WAITS); /* perhaps the others notice a moment later */
    assert_int_equal(h[2].verdict, REACH_BLIND);
    assert_int_equal(reach_decide(h, 3, true, 4000, 4999), 5000);
    assert_int_equal(h[1].verdict, REACH_WAITS);
    assert_int_equal(reach_decide(h, 3, true, 4000, 5000), 0);
    assert_int_equal(h[1].verdict, REACH_LEAVE);
    h[1].state = REACH_PASSING;
    (void)reach_decide(h, 3, true, 4000, 6000);
    assert_int_equal(h[1].verdict, REACH_FINE);
    assert_int_equal(h[1].alone_ms, 0);
}

static void test_everywhere(void **state)
{
    struct reach_host h[3] = { { .state = REACH_FAILING, .leaving = true },
                               { .state = REACH_FAILING, .alone_ms = 500 },
                               { .state = REACH_UNKNOWN } };

    (void)state;
    assert_int_equal(reach_decide(h, 3, true, 4000, 1000), 0);
    assert_int_equal(h[0].verdict, REACH_EVERYWHERE); /* nobody passes: it would help nobody */
    assert_int_equal(h[1].verdict, REACH_EVERYWHERE);
    h[0].leaving = false;
    /* the network comes back, and one host notices first: the others get their time anew */
    h[2].state = REACH_PASSING;
    assert_int_equal(reach_decide(h, 3, true, 4000, 60000), 64000);
    assert_int_equal(h[0].verdict, REACH_WAITS);
    assert_int_equal(h[1].verdict, REACH_WAITS);
    (void)reach_decide(h, 3, false, 4000, 60000);
    assert_int_equal(h[0].verdict, REACH_WARN);
}

/* What an earlier leader decided holds. */
static void test_new_leader(void **state)
{
    struct reach_host h[2] = { { .state = REACH_FAILING, .leaving = true },
                               { .state = REACH_PASSING } };

    (void)state;
    (void)reach_decide(h, 2, true, 4000, 1000);
    assert_int_equal(h[0].verdict, REACH_LEAVE);
    assert_true(reach_settle_ms(1000, 1000, 500) >= 3000);
}

/* --- packets -----------------------------------------------------------------------------------
 */

static void test_packets(void **state)
{
    uint8_t cookie[PING_COOKIE], p[PING_PACKET], raw[20 + PING_PACKET] = { 0x45 };
    uint32_t sum = 0;

    (void)state;
    memset(cookie, 7, sizeof(cookie));
    ping_request(false, 0x1234, 9, cookie, p);
    for (size_t i = 0; i < sizeof(p); i += 2) {
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    }
    sum = (sum & 0xffff) + (sum >> 16);
    assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff); /* RFC 1071 */
    assert_int_equal(p[4] << 8 | p[5], 0x1234);
    assert_false(ping_is_reply(false, false, p, sizeof(p), cookie)); /* our own request */
    p[0] = 0;
    assert_true(ping_is_reply(false, false, p, sizeof(p), cookie));
    assert_false(ping_is_reply(false, false, p, sizeof(p) - 1, cookie));
    assert_false(ping_is_reply(false, false, p, 0, cookie));
    memcpy(raw + 20, p, sizeof(p));
    assert_true(ping_is_reply(false, true, raw, sizeof(raw), cookie));
    raw[0] = 0x4f; /* 60 bytes of header: there are not so many */
    assert_false(ping_is_reply(false, true, raw, sizeof(raw), cookie));
    raw[0] = 0x41;
    assert_false(ping_is_reply(false, true, raw, sizeof(raw), cookie));
    p[12] ^= 1; /* somebody else's */
    assert_false(ping_is_reply(false, false, p, sizeof(p), cookie));
    ping_request(true, 1, 1, cookie, p);
    p[0] = 129;
    assert_true(ping_is_reply(true, false, p, sizeof(p), cookie));
    assert_false(ping_is_reply(false, false, p, sizeof(p), cookie));
}

/* --- asking ------------------------------------------------------------------------------------
 */

struct asked {
    unsigned calls;
    int code;
};

static void on_answer(void *data, const struct err *err)
{
    struct asked *a = data;

    a->calls++;
    a->code = err == NULL ? 0 : err->code;
}

static int ask(enum ping_how how, const char *address, uint64_t ms)
{
    struct asked a = { 0 };
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    (void)ping_start(&loop, how, address, clock_now_ms() + ms, on_answer, &a);
    assert_int_equal(a.calls, 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(a.calls, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
    return a.code;
}

/* A bound socket of this type and its address; a listening one takes connections. */
static int bound(int type, char address[40])
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    (void)snprintf(address, 40, "127.0.0.1:%u", ntohs(in.sin_port));
    return fd;
}

static void test_tcp(void **state)
{
    char address[40];
    int fd = bound(SOCK_STREAM, address);

    (void)state;
    assert_int_equal(ask(PING_TCP, address, 5000), 0); /* refused: it is there */
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(ask(PING_TCP, address, 5000), 0);
    (void)close(fd);
    assert_int_equal(ask(PING_TCP, "127.0.0.1", 5000), ERR_INVALID);
    assert_int_equal(ask(PING_TCP, "host:1", 5000), ERR_INVALID);
}

static void test_udp(void **state)
{
    char address[40];
    int fd = bound(SOCK_DGRAM, address);

    (void)state;
    assert_int_equal(ask(PING_UDP, address, 50), ERR_TIMEOUT); /* nobody sends it back */
    (void)close(fd);
    assert_int_equal(ask(PING_UDP, address, 5000), ERR_UNREACHABLE); /* the kernel knows */
}

struct echo {
    uv_poll_t poll;
    int fd;
};

static void on_echo(uv_poll_t *h, int status, int events)
{
    const struct echo *e = h->data;
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    uint8_t d[64];
    ssize_t n = recvfrom(e->fd, d, sizeof(d), 0, (struct sockaddr *)&from, &len);

    (void)events;
    assert_int_equal(status, 0);
    assert_true(n > 0);
    d[0] ^= 0xff; /* first a wrong one: it is not taken for the answer */
    (void)sendto(e->fd, d, (size_t)n, 0, (struct sockaddr *)&from, len);
    d[0] ^= 0xff;
    (void)sendto(e->fd, d, (size_t)n, 0, (struct sockaddr *)&from, len);
    uv_close((uv_handle_t *)h, NULL);
}

static void test_udp_echo(void **state)
{
    struct asked a = { 0 };
    struct echo e = { 0 };
    char address[40];
    uv_loop_t loop;

    (void)state;
    e.fd = bound(SOCK_DGRAM, address);
    e.poll.data = &e;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_poll_init(&loop, &e.poll, e.fd), 0);
    assert_int_equal(uv_poll_start(&e.poll, UV_READABLE, on_echo), 0);
    (void)ping_start(&loop, PING_UDP, address, clock_now_ms() + 60000, on_answer, &a);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.code, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)close(e.fd);
}

static void test_abort(void **state)
{
    struct asked a = { 0 };
    char address[40];
    int fd = bound(SOCK_DGRAM, address);
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    ping_abort(ping_start(&loop, PING_UDP, address, clock_now_ms() + 600000, on_answer, &a));
    assert_int_equal(a.calls, 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.code, ERR_CANCELED);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)close(fd);
}

/* The loopback interface answers; where no ICMP socket may be opened that is said. */
static void test_icmp(void **state)
{
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    int code = ask(PING_ICMP, "127.0.0.1:0", 5000);

    (void)state;
    assert_true(code == 0 || (fd < 0 && code == ERR_SYS));
    if (code == 0 && access("/proc/net/if_inet6", R_OK) == 0) {
        assert_int_equal(ask(PING_ICMP, "[::1]:0", 5000), 0);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counting),     cmocka_unit_test(test_blind),
        cmocka_unit_test(test_says_changes), cmocka_unit_test(test_alone),
        cmocka_unit_test(test_everywhere),   cmocka_unit_test(test_new_leader),
        cmocka_unit_test(test_packets),      cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_udp),          cmocka_unit_test(test_udp_echo),
        cmocka_unit_test(test_abort),        cmocka_unit_test(test_icmp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
