/* Two peers with two addresses each, through relays that can be cut like a cable: bytes stay unread
 * and nobody gets a reset. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "raft/frame_codec.h"
#include "raft/peer.h"

#define PATIENCE_MS 20000
#define HEARTBEAT_MS 40
#define ELECTION_MS 1000

struct relay;

struct pipe_end {
    uv_tcp_t tcp;
    struct pipe_pair *pair;
    int side; /* 0: who connected */
};

struct pipe_pair {
    struct relay *relay;
    struct pipe_end ends[2];
    struct pipe_pair *next;
    bool open;
    int handles;
};

struct relay {
    uv_tcp_t tcp;
    struct sockaddr_in target;
    char address[32];
    bool cut, one_way; /* one_way: only what comes from who connected is dropped */
    struct pipe_pair *pairs;
    unsigned count;
};

struct side {
    struct peer_net *net;
    uint64_t id;
    char name[16];
    unsigned ups, downs, frames;
    uint64_t newer_epoch;
    bool up;
};

static uv_loop_t loop;
static uv_timer_t timer;
static struct side a, b;
static struct relay to_b[2], to_a[2];

/* --- relays --- */

struct chunk {
    uv_write_t req;
    char data[];
};

static void on_written(uv_write_t *w, int status)
{
    (void)status;
    free(CONTAINER_OF(w, struct chunk, req));
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    (void)h;
    *buf = uv_buf_init(mem_alloc(size), (unsigned)size);
}

static void pair_gone(uv_handle_t *h)
{
    struct pipe_end *e = h->data;
    struct pipe_pair *p = e->pair;

    if (--p->handles == 0) {
        free(p);
    }
}

static void pair_close(struct pipe_pair *p)
{
    for (struct pipe_pair **at = &p->relay->pairs; *at != NULL; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            uv_close((uv_handle_t *)&p->ends[0].tcp, pair_gone);
            uv_close((uv_handle_t *)&p->ends[1].tcp, pair_gone);
            return;
        }
    }
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct pipe_end *e = s->data;

    if (n < 0) {
        pair_close(e->pair);
    } else if (n > 0) {
        struct chunk *c = mem_alloc(sizeof(*c) + (size_t)n);
        uv_buf_t out = uv_buf_init(c->data, (unsigned)n);

        memcpy(c->data, buf->base, (size_t)n);
        (void)uv_write(&c->req, (uv_stream_t *)&e->pair->ends[1 - e->side].tcp, &out, 1,
                       on_written);
    }
    free(buf->base);
}

static void pair_flow(struct pipe_pair *p)
{
    for (int i = 0; i < 2; i++) {
        bool dropped = p->relay->cut && (!p->relay->one_way || i == 0);

        if (dropped || !p->open) {
            (void)uv_read_stop((uv_stream_t *)&p->ends[i].tcp);
        } else {
            (void)uv_read_start((uv_stream_t *)&p->ends[i].tcp, on_alloc, on_read);
        }
    }
}

static void on_connected(uv_connect_t *req, int status)
{
    struct pipe_pair *p = req->data;

    free(req);
    if (status == 0) {
        p->open = true;
        pair_flow(p);
    } else if (status != UV_ECANCELED) {
        pair_close(p);
    }
}

static void on_connection(uv_stream_t *s, int status)
{
    struct relay *r = s->data;
    struct pipe_pair *p = OBJ_NEW(struct pipe_pair);
    uv_connect_t *req = OBJ_NEW(uv_connect_t);

    assert_int_equal(status, 0);
    p->relay = r;
    p->handles = 2;
    p->next = r->pairs;
    r->pairs = p;
    r->count++;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(uv_tcp_init(&loop, &p->ends[i].tcp), 0);
        p->ends[i].tcp.data = &p->ends[i];
        p->ends[i].pair = p;
        p->ends[i].side = i;
    }
    req->data = p;
    assert_int_equal(uv_accept(s, (uv_stream_t *)&p->ends[0].tcp), 0);
    assert_int_equal(
        uv_tcp_connect(req, &p->ends[1].tcp, (struct sockaddr *)&r->target, on_connected), 0);
}

static void relay_open(struct relay *r, const char *target)
{
    struct sockaddr_in any, real;
    int len = sizeof(real);
    const char *colon = strrchr(target, ':');

    *r = (struct relay){ 0 };
    r->tcp.data = r;
    assert_int_equal(uv_ip4_addr("127.0.0.1", atoi(colon + 1), &r->target), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &any), 0);
    assert_int_equal(uv_tcp_init(&loop, &r->tcp), 0);
    r->tcp.data = r;
    assert_int_equal(uv_tcp_bind(&r->tcp, (struct sockaddr *)&any, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&r->tcp, 16, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&r->tcp, (struct sockaddr *)&real, &len), 0);
    (void)snprintf(r->address, sizeof(r->address), "127.0.0.1:%u", ntohs(real.sin_port));
}

static void relay_cut(struct relay *r, bool cut, bool one_way)
{
    r->cut = cut;
    r->one_way = one_way;
    for (struct pipe_pair *p = r->pairs; p != NULL; p = p->next) {
        pair_flow(p);
    }
}

static void relay_close(struct relay *r)
{
    while (r->pairs != NULL) {
        pair_close(r->pairs);
    }
    uv_close((uv_handle_t *)&r->tcp, NULL);
}

/* --- the peers --- */

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

static void on_newer_epoch(void *ctx, uint64_t epoch, const char *name)
{
    struct side *s = ctx;

    assert_string_equal(name, "host-1");
    s->newer_epoch = epoch;
}

static void on_frame(void *ctx, uint64_t id, uint16_t kind, const uint8_t *data, size_t len)
{
    struct side *s = ctx;

    (void)id;
    (void)kind;
    (void)data;
    (void)len;
    s->frames++;
}

static void on_timer(uv_timer_t *t)
{
    (void)t;
    if (a.net != NULL) {
        peer_net_tick(a.net);
        peer_net_tick(b.net);
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

static void side_open(struct side *s, uint64_t id, uint64_t epoch, const char *listen)
{
    struct peer_opts opts = {
        .loop = &loop,
        .listen = listen,
        .id = id,
        .name = s->name,
        .cluster = "c",
        .epoch = epoch,
        .heartbeat_ms = HEARTBEAT_MS,
        .election_ms = ELECTION_MS,
        .ctx = s,
        .on_up = on_up,
        .on_down = on_down,
        .on_frame = on_frame,
        .on_newer_epoch = on_newer_epoch,
    };
    struct err err;

    *s = (struct side){ .id = id };
    (void)snprintf(s->name, sizeof(s->name), "host-%u", (unsigned)id);
    assert_int_equal(peer_net_open(&opts, &s->net, &err), 0);
}

static void tell(struct side *s, const struct side *o, const char *addresses)
{
    struct rep_peer_info info[2] = { { .id = s->id }, { .id = o->id } };

    (void)snprintf(info[1].name, sizeof(info[1].name), "%s", o->name);
    (void)snprintf(info[1].address, sizeof(info[1].address), "%s", addresses);
    peer_net_members(s->net, info, 2);
}

static void tell_both(void)
{
    char both[80];

    (void)snprintf(both, sizeof(both), "%s,%s", to_b[0].address, to_b[1].address);
    tell(&a, &b, both);
    (void)snprintf(both, sizeof(both), "%s,%s", to_a[0].address, to_a[1].address);
    tell(&b, &a, both);
}

static void open_strangers(uint64_t epoch_a, uint64_t epoch_b)
{
    side_open(&a, 1, epoch_a, "127.0.0.1:0");
    side_open(&b, 2, epoch_b, "127.0.0.1:0,127.0.0.1:0");
    for (int i = 0; i < 2; i++) {
        relay_open(&to_a[i], peer_net_address(a.net));
        relay_open(&to_b[i], peer_net_address(b.net));
    }
}

static void open_epochs(uint64_t epoch_a, uint64_t epoch_b)
{
    open_strangers(epoch_a, epoch_b);
    tell_both();
}

static void close_all(void)
{
    peer_net_close(a.net);
    peer_net_close(b.net);
    a.net = b.net = NULL;
    for (int i = 0; i < 2; i++) {
        relay_close(&to_a[i]);
        relay_close(&to_b[i]);
    }
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static bool both_up(void)
{
    return a.up && b.up;
}

static bool over_second(void)
{
    return both_up() && (peer_net_via(a.net, 2) == 2 || peer_net_via(b.net, 1) == 2);
}

static bool over_first(void)
{
    return both_up() && (peer_net_via(a.net, 2) == 1 || peer_net_via(b.net, 1) == 1);
}

static bool sent_over(struct side *from, struct side *to)
{
    struct buf f = { 0 };
    unsigned before = to->frames;
    uint64_t until = clock_now_ms() + PATIENCE_MS;

    frame_end(&f, frame_begin(&f, FRAME_CALL));
    assert_true(peer_net_send(from->net, to->id, f.data, f.len));
    buf_done(&f);
    while (to->frames == before && clock_now_ms() < until) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    return to->frames > before;
}

/* --- tests --- */

static void the_first_address_is_used(void **state)
{
    (void)state;
    open_epochs(0, 0);
    assert_true(run_until(over_first));
    run_ms(20 * HEARTBEAT_MS);
    assert_int_equal(a.ups, 1); /* a living link is left alone */
    assert_int_equal(to_b[1].count, 0);
    close_all();
}

static void the_second_when_the_first_is_dead_from_the_start(void **state)
{
    (void)state;
    open_epochs(0, 0);
    relay_cut(&to_b[0], true, false);
    assert_true(run_until(over_second));
    close_all();
}

/* The link is replaced before a follower would call an election, and goes back afterwards. */
static void a_cut_costs_no_election(void **state)
{
    uint64_t cut_ms, took;

    (void)state;
    open_epochs(1, 1);
    assert_true(run_until(over_first));
    run_ms(4 * HEARTBEAT_MS);
    relay_cut(&to_b[0], true, false);
    relay_cut(&to_a[0], true, false);
    cut_ms = clock_now_ms();
    assert_true(run_until(over_second));
    took = clock_now_ms() - cut_ms;
    print_message("over the second link after %u ms (heartbeat %u ms)\n", (unsigned)took,
                  HEARTBEAT_MS);
    assert_true(took < ELECTION_MS);
    assert_true(sent_over(&a, &b));
    assert_true(sent_over(&b, &a));
    relay_cut(&to_b[0], false, false);
    relay_cut(&to_a[0], false, false);
    assert_true(run_until(over_first));
    assert_true(sent_over(&a, &b));
    close_all();
}

/* Only what the lower one sends is lost: only the higher one hears nothing, and it acts. */
static void one_way_is_enough(void **state)
{
    (void)state;
    open_epochs(0, 0);
    assert_true(run_until(over_first));
    run_ms(4 * HEARTBEAT_MS);
    relay_cut(&to_b[0], true, true);
    relay_cut(&to_a[0], true, false);
    assert_true(run_until(over_second));
    assert_true(sent_over(&a, &b));
    assert_true(sent_over(&b, &a));
    close_all();
}

/* Cut after cut, in turn: there is always a way. */
static void links_take_turns(void **state)
{
    (void)state;
    open_epochs(0, 0);
    assert_true(run_until(over_first));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            relay_cut(&to_b[i], true, false);
            relay_cut(&to_a[i], true, false);
            assert_true(run_until(i == 0 ? over_second : over_first));
            assert_true(sent_over(&a, &b));
            assert_true(sent_over(&b, &a));
            relay_cut(&to_b[i], false, false);
            relay_cut(&to_a[i], false, false);
        }
    }
    close_all();
}

static bool b_is_superseded(void)
{
    return b.newer_epoch == 2;
}

/* A cluster that was recovered does not know its old voters any more: they dial. */
static void an_old_voter_hears_of_the_newer_epoch(void **state)
{
    (void)state;
    open_strangers(2, 1);
    tell(&b, &a, to_a[0].address);
    assert_true(run_until(b_is_superseded));
    assert_int_equal(a.ups + b.ups, 0);
    assert_int_equal(a.newer_epoch, 0);
    peer_net_epoch(b.net, 0); /* enrolled anew; and no connection is half done when all closes */
    assert_true(run_until(both_up));
    close_all();
}

static void another_epoch_is_refused(void **state)
{
    (void)state;
    open_epochs(2, 1);
    run_ms(1500);
    assert_int_equal(a.ups + b.ups, 0);
    assert_int_equal(a.newer_epoch, 0);
    assert_int_equal(b.newer_epoch, 2); /* and it is told, whoever dialed */
    /* the older one has been enrolled anew */
    peer_net_epoch(b.net, 0);
    assert_true(run_until(both_up));
    close_all();
}

static int set_up(void **state)
{
    (void)state;
    lg_set_level((enum lg_level)0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_timer_init(&loop, &timer), 0);
    return uv_timer_start(&timer, on_timer, HEARTBEAT_MS, HEARTBEAT_MS);
}

static int tear_down(void **state)
{
    (void)state;
    if (a.net != NULL) { /* a test failed in the middle */
        close_all();
    }
    uv_close((uv_handle_t *)&timer, NULL);
    while (uv_run(&loop, UV_RUN_NOWAIT) != 0) {
    }
    return uv_loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_address_is_used),
        cmocka_unit_test(the_second_when_the_first_is_dead_from_the_start),
        cmocka_unit_test(a_cut_costs_no_election),
        cmocka_unit_test(one_way_is_enough),
        cmocka_unit_test(links_take_turns),
        cmocka_unit_test(another_epoch_is_refused),
        cmocka_unit_test(an_old_voter_hears_of_the_newer_epoch),
    };

    return cmocka_run_group_tests_name("raft_links", tests, set_up, tear_down);
}
