/* Links between peers over loopback: hello, refusals, duplicates, silence, garbage. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "raft/frame_codec.h"
#include "raft/hello_codec.h"
#include "raft/peer.h"

#define PATIENCE_MS 10000

struct side {
    struct peer_net *net;
    uint64_t id;
    char name[16], address[32];
    unsigned ups, downs, frames;
    bool up;
    uint16_t last_kind;
    size_t last_len;
    uint64_t last_from;
};

static uv_loop_t loop;
static uv_timer_t timer;
static struct side sides[3];

static void on_up(void *ctx, uint64_t id)
{
    struct side *s = ctx;

    assert_true(id != s->id);
    s->ups++;
    s->up = true;
}

static void on_down(void *ctx, uint64_t id)
{
    struct side *s = ctx;

    (void)id;
    assert_true(s->up);
    s->downs++;
    s->up = false;
}

static void on_frame(void *ctx, uint64_t id, uint16_t kind, const uint8_t *data, size_t len)
{
    struct side *s = ctx;

    (void)data;
    s->frames++;
    s->last_kind = kind;
    s->last_len = len;
    s->last_from = id;
}

static void on_timer(uv_timer_t *t)
{
    (void)t;
    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        if (sides[i].net != NULL) {
            peer_net_tick(sides[i].net);
        }
    }
}

static bool run_until(bool (*done)(void))
{
    uint64_t until = clock_now_ms() + PATIENCE_MS;

    while (!done()) {
        if (clock_now_ms() > until) {
            return false;
        }
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    return true;
}

static void run_ms(uint64_t ms)
{
    uint64_t until = clock_now_ms() + ms;

    while (clock_now_ms() < until) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

static struct side *open_side(uint64_t id, const char *cluster)
{
    struct side *s = &sides[id - 1];
    struct peer_opts opts = {
        .loop = &loop,
        .listen = "127.0.0.1:0",
        .id = id,
        .name = s->name,
        .cluster = cluster,
        .heartbeat_ms = 20,
        .election_ms = 200,
        .ctx = s,
        .on_up = on_up,
        .on_down = on_down,
        .on_frame = on_frame,
    };
    struct err err;

    *s = (struct side){ .id = id };
    (void)snprintf(s->name, sizeof(s->name), "host-%u", (unsigned)id);
    assert_int_equal(peer_net_open(&opts, &s->net, &err), 0);
    (void)snprintf(s->address, sizeof(s->address), "%s", peer_net_address(s->net));
    return s;
}

static void tell(struct side *s, const struct side *o, const char *name)
{
    struct rep_peer_info info[2] = { { .id = s->id }, { .id = o->id } };

    (void)snprintf(info[1].name, sizeof(info[1].name), "%s", name);
    (void)snprintf(info[1].address, sizeof(info[1].address), "%s", o->address);
    peer_net_members(s->net, info, 2);
}

static void close_all(void)
{
    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        peer_net_close(sides[i].net);
        sides[i].net = NULL;
    }
    for (int i = 0; i < 10; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static bool both_up(void)
{
    return sides[0].up && sides[1].up;
}

static bool first_down(void)
{
    return !sides[0].up;
}

static bool second_got_one(void)
{
    return sides[1].frames > 0;
}

static bool send_big(struct side *s, uint64_t to, size_t len)
{
    struct buf b = { 0 };
    size_t at = frame_begin(&b, FRAME_CALL);
    uint8_t *p = buf_reserve(&b, len);
    bool ok;

    memset(p, 7, len);
    buf_commit(&b, len);
    frame_end(&b, at);
    ok = peer_net_send(s->net, to, b.data, b.len);
    buf_done(&b);
    return ok;
}

/* --- tests --- */

static void linked_and_talking(void **state)
{
    struct side *a = open_side(1, "c"), *b = open_side(2, "c");

    (void)state;
    tell(a, b, b->name);
    tell(b, a, a->name);
    assert_true(run_until(both_up));
    assert_true(peer_net_up(a->net, 2));
    assert_false(peer_net_up(a->net, 3));
    assert_false(send_big(a, 3, 10));
    assert_true(send_big(a, 2, 3000000));
    assert_true(run_until(second_got_one));
    assert_int_equal(b->last_kind, FRAME_CALL);
    assert_int_equal(b->last_len, 3000000);
    assert_int_equal(b->last_from, 1);
    run_ms(1000); /* pings keep it */
    assert_int_equal(a->ups + b->ups, 2);
    assert_int_equal(a->downs + b->downs, 0);
    close_all();
}

/* Only the higher id knows the other one: it dials after a while, and the lower takes it. */
static void a_new_member_is_dialed(void **state)
{
    struct side *a = open_side(1, "c"), *b = open_side(2, "c");

    (void)state;
    tell(b, a, a->name);
    assert_true(run_until(both_up));
    /* Now the lower one learns of it: the link stays. */
    tell(a, b, b->name);
    run_ms(500);
    assert_true(both_up());
    assert_int_equal(a->ups, 1);
    close_all();
}

static void another_cluster_is_refused(void **state)
{
    struct side *a = open_side(1, "c"), *b = open_side(2, "d");

    (void)state;
    tell(a, b, b->name);
    tell(b, a, a->name);
    run_ms(1500);
    assert_int_equal(a->ups + b->ups, 0);
    close_all();
}

static void another_name_is_refused(void **state)
{
    struct side *a = open_side(1, "c"), *b = open_side(2, "c");

    (void)state;
    tell(a, b, "host-9");
    tell(b, a, a->name);
    run_ms(1500);
    /* The side that answers is satisfied for a moment, until it hears the refusal. */
    assert_int_equal(a->ups, 0);
    assert_int_equal(b->ups, b->downs);
    assert_true(b->ups <= 2);
    close_all();
}

/* A peer that ends and comes back on the same address. */
static void a_restarted_peer_is_linked_again(void **state)
{
    struct side *a = open_side(1, "c"), *b = open_side(2, "c");

    (void)state;
    tell(a, b, b->name);
    tell(b, a, a->name);
    assert_true(run_until(both_up));
    peer_net_close(b->net);
    b->net = NULL;
    assert_true(run_until(first_down));
    b = open_side(2, "c"); /* another port */
    tell(a, b, b->name);
    tell(b, a, a->name);
    assert_true(run_until(both_up));
    assert_int_equal(a->ups, 2);
    close_all();
}

/* --- a peer that we play ourselves --- */

static int fake_fd = -1, fake_listen = -1;

static void fake_open(struct side *s)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);

    fake_listen = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fake_listen, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fake_listen, 5), 0);
    assert_int_equal(getsockname(fake_listen, (struct sockaddr *)&a, &len), 0);
    (void)snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", ntohs(a.sin_port));
}

static void fake_accept(void)
{
    uint64_t until = clock_now_ms() + PATIENCE_MS;

    while (clock_now_ms() < until) {
        (void)uv_run(&loop, UV_RUN_ONCE);
        fake_fd = accept4(fake_listen, NULL, NULL, SOCK_NONBLOCK);
        if (fake_fd >= 0) {
            return;
        }
    }
    fail();
}

static void fake_hello(uint64_t from, uint64_t to)
{
    struct hello h = { .version = HELLO_VERSION, .from = from, .to = to, .boot = 5 };
    struct buf b = { 0 };

    (void)snprintf(h.name, sizeof(h.name), "host-%u", (unsigned)from);
    (void)snprintf(h.cluster, sizeof(h.cluster), "c");
    hello_frame(&b, &h);
    assert_int_equal(write(fake_fd, b.data, b.len), b.len);
    buf_done(&b);
}

static bool first_up(void)
{
    return sides[0].up;
}

static void fake_close(void)
{
    (void)close(fake_fd);
    (void)close(fake_listen);
}

static int prepare_fake(void)
{
    struct side *a = open_side(1, "c"), *b = &sides[1];
    int one = 1;

    *b = (struct side){ .id = 2 };
    (void)snprintf(b->name, sizeof(b->name), "host-2");
    fake_open(b);
    assert_int_equal(setsockopt(fake_listen, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_true(fcntl(fake_listen, F_SETFL, O_NONBLOCK) == 0);
    tell(a, b, b->name);
    fake_accept();
    return fake_fd;
}

static void silence_is_noticed(void **state)
{
    (void)state;
    (void)prepare_fake();
    fake_hello(2, 1);
    assert_true(run_until(first_up));
    assert_true(run_until(first_down)); /* two election time-outs without a word */
    fake_close();
    close_all();
}

static void garbage_ends_the_link(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\n\r\nxxxxxxxxxxxxxxxx";

    (void)state;
    (void)prepare_fake();
    fake_hello(2, 1);
    assert_true(run_until(first_up));
    assert_int_equal(write(fake_fd, text, sizeof(text)), sizeof(text));
    assert_true(run_until(first_down));
    assert_int_equal(sides[0].frames, 0);
    fake_close();
    close_all();
}

static void nothing_before_hello(void **state)
{
    struct buf b = { 0 };

    (void)state;
    (void)prepare_fake();
    frame_end(&b, frame_begin(&b, FRAME_PROBE));
    assert_int_equal(write(fake_fd, b.data, b.len), b.len);
    run_ms(300);
    assert_int_equal(sides[0].frames + sides[0].ups, 0);
    buf_done(&b);
    fake_close();
    close_all();
}

static void somebody_else_answers(void **state)
{
    (void)state;
    (void)prepare_fake();
    fake_hello(3, 1);
    run_ms(300);
    assert_int_equal(sides[0].ups, 0);
    fake_close();
    close_all();
}

static int set_up(void **state)
{
    (void)state;
    lg_set_level((enum lg_level)0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_timer_init(&loop, &timer), 0);
    return uv_timer_start(&timer, on_timer, 20, 20);
}

static int tear_down(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&timer, NULL);
    while (uv_run(&loop, UV_RUN_NOWAIT) != 0) {
    }
    return uv_loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linked_and_talking),
        cmocka_unit_test(a_new_member_is_dialed),
        cmocka_unit_test(another_cluster_is_refused),
        cmocka_unit_test(another_name_is_refused),
        cmocka_unit_test(a_restarted_peer_is_linked_again),
        cmocka_unit_test(silence_is_noticed),
        cmocka_unit_test(garbage_ends_the_link),
        cmocka_unit_test(nothing_before_hello),
        cmocka_unit_test(somebody_else_answers),
    };

    return cmocka_run_group_tests_name("raft_peer", tests, set_up, tear_down);
}
