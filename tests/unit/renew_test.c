/* The renewer against fake picketds and a fake picket-watchdog. */

#include "tests/unit/agent_fake.h"

#include "base/pki.h"
#include "reconciler/renew.h"

#define HEARTBEAT 60U

struct bench {
    uv_loop_t loop;
    char dir[64];
    struct fake f[2];
    struct fake_wdog w;
    struct renew *r;
    unsigned changes; /* written by the renewer's thread */
};

static void on_change(void *ctx)
{
    struct bench *b = ctx;

    __atomic_add_fetch(&b->changes, 1, __ATOMIC_SEQ_CST);
}

static void begin_probing(struct bench *b, bool watchdog, bool probe)
{
    const char *endpoints[2] = { b->f[0].endpoint, b->f[1].endpoint };
    struct renew_opts o = { .host = "node1",
                            .endpoints = endpoints,
                            .n_endpoints = 2,
                            .heartbeat_ms = HEARTBEAT,
                            .probe = probe,
                            .watchdog = watchdog ? b->w.path : NULL,
                            .on_change = on_change,
                            .ctx = b };
    struct err err;

    if (renew_start(&o, &b->r, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static void begin(struct bench *b, bool watchdog)
{
    begin_probing(b, watchdog, false);
}

static int setup(void **state)
{
    struct bench *b = OBJ_NEW(struct bench);

    assert_true(str_copy(b->dir, sizeof(b->dir), "/tmp/picket-renew-XXXXXX"));
    assert_non_null(mkdtemp(b->dir));
    assert_int_equal(uv_loop_init(&b->loop), 0);
    fake_open(&b->f[0], &b->loop, b->dir, "a");
    fake_open(&b->f[1], &b->loop, b->dir, "b");
    fake_wdog_open(&b->w, &b->loop, b->dir);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    renew_stop(b->r);
    fake_close(&b->f[0]);
    fake_close(&b->f[1]);
    fake_wdog_close(&b->w);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    (void)nftw(b->dir, fake_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(b);
    return 0;
}

static struct renew_view look(struct bench *b)
{
    struct renew_view v;

    renew_view(b->r, &v);
    return v;
}

static void live(struct bench *b)
{
    renew_target(b->r, 7, 1);
    WAIT_FOR(&b->loop, look(b).state == RENEW_LIVE);
}

/* The deadline counts from the send time: never later than receipt + L. */
static void deadline_is_send_time_plus_lease(void **state)
{
    struct bench *b = *state;
    struct renew_view v;

    begin(b, false);
    spin_for(&b->loop, 3 * HEARTBEAT);
    assert_int_equal(b->f[0].renewals, 0); /* nobody's lease yet */
    live(b);
    WAIT_FOR(&b->loop, look(b).acks >= 5);
    v = look(b);
    assert_true(v.lease_until_ms <= b->f[0].lease_received_ms + FAKE_L);
    assert_true(v.lease_until_ms > clock_now_ms());
    assert_int_equal(v.lease_until_ms - v.half_ms, FAKE_L - FAKE_L / 2);
    assert_int_equal(v.lease_ms, FAKE_L);
    assert_true(v.has_terms);
    assert_int_equal(v.revision, 100);
    assert_string_equal(v.endpoint, b->f[0].endpoint);
    assert_int_equal(b->f[1].renewals, 0);
    assert_true(__atomic_load_n(&b->changes, __ATOMIC_SEQ_CST) >= 1);
}

/* The other addresses are asked now and then, and one that is dead disturbs nothing. */
static void other_ways_are_tried(void **state)
{
    struct bench *b = *state;

    begin_probing(b, false, true);
    live(b);
    WAIT_FOR(&b->loop, b->f[1].renewals >= 3);
    assert_true(b->f[0].renewals > b->f[1].renewals);
    assert_string_equal(look(b).endpoint, b->f[0].endpoint);
    b->f[1].lease_mode = FAKE_HANG;
    spin_for(&b->loop, 10 * HEARTBEAT);
    assert_string_equal(look(b).endpoint, b->f[0].endpoint);
    assert_string_equal(look(b).error, "");
    assert_true(look(b).lease_until_ms > clock_now_ms());
}

/* An answer that comes late is worth only what is left of the lease since it was asked for. */
static void a_late_answer_extends_little(void **state)
{
    struct bench *b = *state;
    uint64_t until, held_ms;

    begin(b, false);
    live(b);
    b->f[0].lease_mode = FAKE_HANG;
    b->f[1].mode = FAKE_503;
    WAIT_FOR(&b->loop, b->f[0].n_held > 0);
    held_ms = b->f[0].lease_received_ms;
    until = look(b).lease_until_ms;
    spin_for(&b->loop, 300);
    assert_int_equal(look(b).lease_until_ms, until);
    b->f[0].lease_mode = FAKE_OK;
    fake_answer_held(&b->f[0]);
    WAIT_FOR(&b->loop, look(b).worst_ack_ms >= 250);
    assert_true(look(b).worst_ack_ms < FAKE_WAIT_MS);
    assert_true(held_ms > 0);
}

/* Answers that overtake each other do not make the cluster look restored; an answer to a question
 * that was asked when more was known does. */
static void a_late_answer_is_not_behind(void **state)
{
    struct bench *b = *state;
    uint64_t acks;

    begin(b, false);
    live(b);
    assert_int_equal(look(b).revision, 100);
    b->f[0].lease_mode = FAKE_HANG;
    WAIT_FOR(&b->loop, b->f[0].n_held > 0);
    b->f[1].revision = 120;
    WAIT_FOR(&b->loop, look(b).revision == 120);
    b->f[1].lease_mode = FAKE_HANG; /* nobody says it again */
    spin_for(&b->loop, 2 * HEARTBEAT);
    acks = look(b).acks;
    b->f[0].revision = 110;
    b->f[0].lease_mode = FAKE_OK;
    fake_answer_held(&b->f[0]);
    b->f[0].lease_mode = FAKE_HANG;
    WAIT_FOR(&b->loop, look(b).acks > acks);
    assert_int_equal(look(b).revision, 120);
    b->f[0].lease_mode = FAKE_OK;
    WAIT_FOR(&b->loop, look(b).revision == 110);
}

static void another_endpoint_when_one_is_silent(void **state)
{
    struct bench *b = *state;

    begin(b, false);
    live(b);
    b->f[0].mode = FAKE_HANG;
    WAIT_FOR(&b->loop, str_eq(look(b).endpoint, b->f[1].endpoint));
    assert_int_equal(look(b).state, RENEW_LIVE);
    assert_true(look(b).lease_until_ms > clock_now_ms());
    /* At most one request is under way per endpoint. */
    spin_for(&b->loop, 5 * HEARTBEAT);
    assert_true(b->f[0].n_held <= 1);
    /* It answers again: the own picketd is preferred. */
    b->f[0].mode = FAKE_OK;
    fake_answer_held(&b->f[0]);
    WAIT_FOR(&b->loop, str_eq(look(b).endpoint, b->f[0].endpoint));
}

static void another_endpoint_when_one_does_not_lead(void **state)
{
    struct bench *b = *state;

    b->f[0].mode = FAKE_503;
    begin(b, false);
    live(b);
    assert_string_equal(look(b).endpoint, b->f[1].endpoint);
}

static void lost_and_reprieved(void **state)
{
    struct bench *b = *state;
    uint64_t until;

    begin(b, false);
    live(b);
    b->f[0].lease_mode = FAKE_LOST;
    WAIT_FOR(&b->loop, look(b).state == RENEW_LOST);
    until = look(b).lease_until_ms;
    spin_for(&b->loop, 4 * HEARTBEAT);
    assert_int_equal(look(b).lease_until_ms, until); /* nothing is added */
    assert_true(look(b).refusals >= 2);              /* but it asks on: a reprieve may come */
    b->f[0].lease_mode = FAKE_OK;
    WAIT_FOR(&b->loop, look(b).state == RENEW_LIVE);
    assert_true(look(b).lease_until_ms > until);
}

/* The answer to a renewal that was sent before the loss is worth what is left of it, and brings
 * nobody back to Live. */
static void a_late_answer_takes_no_loss_back(void **state)
{
    struct bench *b = *state;
    uint64_t acks;

    begin(b, false);
    live(b);
    b->f[0].lease_mode = FAKE_HANG;
    WAIT_FOR(&b->loop, b->f[0].n_held > 0);
    b->f[1].lease_mode = FAKE_LOST;
    WAIT_FOR(&b->loop, look(b).state == RENEW_LOST);
    b->f[1].lease_mode = FAKE_HANG; /* nobody says it again */
    spin_for(&b->loop, 2 * HEARTBEAT);
    acks = look(b).acks;
    b->f[0].lease_mode = FAKE_OK;
    fake_answer_held(&b->f[0]);
    b->f[0].lease_mode = FAKE_HANG;
    WAIT_FOR(&b->loop, look(b).acks > acks);
    assert_int_equal(look(b).state, RENEW_LOST);
}

static void stale_stops_until_there_is_a_target(void **state)
{
    struct bench *b = *state;
    unsigned n;

    begin(b, false);
    live(b);
    b->f[0].lease_mode = FAKE_STALE;
    WAIT_FOR(&b->loop, look(b).state == RENEW_STALE);
    spin_for(&b->loop, HEARTBEAT);
    n = b->f[0].renewals;
    spin_for(&b->loop, 4 * HEARTBEAT);
    assert_int_equal(b->f[0].renewals, n);
    b->f[0].lease_mode = FAKE_OK;
    b->f[0].incarnation = 8;
    renew_target(b->r, 8, 1);
    assert_int_equal(look(b).lease_until_ms, 0); /* another incarnation has no lease yet */
    WAIT_FOR(&b->loop, look(b).state == RENEW_LIVE);
}

/* The answer to a renewal of an earlier incarnation is nobody's lease. */
static void answers_to_who_we_were_do_not_count(void **state)
{
    struct bench *b = *state;

    b->f[1].mode = FAKE_503;
    b->f[0].lease_mode = FAKE_HANG;
    begin(b, false);
    renew_target(b->r, 7, 1);
    WAIT_FOR(&b->loop, b->f[0].n_held == 1);
    renew_target(b->r, 8, 1);
    b->f[0].lease_mode = FAKE_OK;
    b->f[0].mode = FAKE_OK;
    fake_answer_held(&b->f[0]);
    b->f[0].mode = FAKE_503;
    spin_for(&b->loop, 3 * HEARTBEAT);
    assert_int_equal(look(b).lease_until_ms, 0);
    assert_int_equal(look(b).state, RENEW_NONE);
}

static void the_watchdog_gets_every_deadline(void **state)
{
    struct bench *b = *state;
    uint64_t deadline;

    begin(b, true);
    live(b);
    WAIT_FOR(&b->loop, look(b).wd.connected);
    assert_int_equal(b->w.arms, 0); /* not before it is told to */
    renew_arm(b->r, 2000, 10 * FAKE_L);
    WAIT_FOR(&b->loop, look(b).wd.armed);
    assert_int_equal(look(b).wd.incarnation, 7);
    assert_int_equal(look(b).wd.timeout_ms, 2000);
    WAIT_FOR(&b->loop, b->w.deadlines >= 3);
    assert_true(b->w.core.deadline_ms <= look(b).lease_until_ms);
    /* Lost: it gets no newer deadline, whatever is sent. */
    b->f[0].lease_mode = FAKE_LOST;
    WAIT_FOR(&b->loop, look(b).state == RENEW_LOST);
    spin_for(&b->loop, HEARTBEAT);
    deadline = b->w.core.deadline_ms;
    spin_for(&b->loop, 4 * HEARTBEAT);
    assert_int_equal(b->w.core.deadline_ms, deadline);
    b->f[0].lease_mode = FAKE_OK;
    WAIT_FOR(&b->loop, look(b).state == RENEW_LIVE);
    renew_disarm(b->r, 55);
    WAIT_FOR(&b->loop, !look(b).wd.armed);
    assert_int_equal(b->w.disarms, 1);
}

static void terms_round_trip(void **state)
{
    struct renew_terms t = { 3000, 2000, 500, true, WDOG_KIND_HARDWARE, true, true };
    struct renew_terms u = { 0 };
    json_t *j = renew_terms_json(&t);

    (void)state;
    assert_true(renew_terms_parse(j, &u));
    assert_true(renew_terms_equal(&t, &u));
    assert_false(renew_terms_parse(NULL, &u));
    (void)json_object_set_new(j, "leaseMs", json_integer(-1));
    assert_false(renew_terms_parse(j, &u));
    json_decref(j);
}

/* --- a slow way --- */

#define SLOW_MS 2600U

/* Carries one connection to a server, but nothing in its first SLOW_MS: a TLS handshake takes so
 * long on a slow host. */
struct slow {
    uv_loop_t *loop;
    const char *to;
    struct stream *near, *far;
    struct buf early;
    uv_timer_t timer;
    struct listener *listener;
};

static void slow_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct slow *w = stream_data(s);
    struct stream *other = s == w->near ? w->far : w->near;
    struct err err;

    if (other == NULL) {
        buf_add(&w->early, data, len);
    } else {
        (void)stream_write(other, data, len, &err);
    }
}

static void slow_end(struct stream *s, const struct err *err)
{
    (void)err;
    stream_close(s, false);
}

static void slow_closed(struct stream *s)
{
    struct slow *w = stream_data(s);

    if (s == w->near) {
        w->near = NULL;
        buf_clear(&w->early);
        (void)uv_timer_stop(&w->timer);
        if (w->far != NULL) {
            stream_close(w->far, false);
        }
    } else {
        w->far = NULL;
    }
}

static void slow_open(struct stream *s, const struct err *err)
{
    struct slow *w = stream_data(s);
    struct err e;

    assert_null(err);
    assert_int_equal(stream_write(s, w->early.data, w->early.len, &e), 0);
    buf_clear(&w->early);
}

static const struct stream_cbs slow_cbs = {
    .on_open = slow_open, .on_data = slow_data, .on_end = slow_end, .on_closed = slow_closed
};

static void slow_go_on(uv_timer_t *t)
{
    struct slow *w = t->data;
    struct stream_opts o = { .connect_ms = 5000 };
    struct err err;

    assert_int_equal(stream_connect(w->loop, w->to, &o, &slow_cbs, w, &w->far, &err), 0);
}

static void slow_accept(struct listener *l, struct stream *s)
{
    struct slow *w = listener_data(l);

    stream_set_cbs(s, &slow_cbs);
    stream_set_data(s, w);
    if (w->near != NULL) {
        stream_close(s, false); /* one will do */
        return;
    }
    w->near = s;
    assert_int_equal(uv_timer_start(&w->timer, slow_go_on, SLOW_MS, 0), 0);
}

/* A host whose handshakes take longer than two seconds gets its lease. */
static void a_slow_handshake_is_waited_for(void **state)
{
    struct bench *b = *state;
    struct slow w = { .loop = &b->loop };
    struct stream_opts none = { 0 };
    struct pki_subject voter = { .role = "picket:voters", .name = "node1", .cluster = "c1" };
    char crt[96], key[96], ca[96];
    const char *endpoint;
    struct renew_opts o = { .host = "node1", .n_endpoints = 1, .heartbeat_ms = HEARTBEAT };
    struct tls_ctx *tls = NULL;
    struct err err;

    (void)snprintf(crt, sizeof(crt), "%s/voter.crt", b->dir);
    (void)snprintf(key, sizeof(key), "%s/voter.key", b->dir);
    (void)snprintf(ca, sizeof(ca), "%s/ca.crt", b->dir);
    assert_int_equal(pki_make_ca(b->dir, "c1", &err), 0);
    assert_int_equal(pki_issue(b->dir, &voter, crt, key, &err), 0);
    assert_int_equal(tls_ctx_load(crt, key, ca, NULL, &tls, &err), 0);
    assert_int_equal(http_server_listen(b->f[0].server, "127.0.0.1:0", tls, &w.to, &err), 0);
    w.timer.data = &w;
    assert_int_equal(uv_timer_init(&b->loop, &w.timer), 0);
    assert_int_equal(
        listener_open(&b->loop, "127.0.0.1:0", &none, slow_accept, &w, &w.listener, &err), 0);
    endpoint = listener_address(w.listener);
    o.endpoints = &endpoint;
    o.tls_cert = crt;
    o.tls_key = key;
    o.tls_ca = ca;
    assert_int_equal(renew_start(&o, &b->r, &err), 0);
    live(b);
    renew_timing(b->r, HEARTBEAT, 1000);
    WAIT_FOR(&b->loop, look(b).acks >= 5); /* the connection stays */
    renew_stop(b->r);
    b->r = NULL;
    WAIT_FOR(&b->loop, w.near == NULL && w.far == NULL);
    /* and when it is known that so much time is not worth it, it is not given */
    o.connect_ms = 1000;
    assert_int_equal(renew_start(&o, &b->r, &err), 0);
    renew_target(b->r, 7, 1);
    WAIT_FOR(&b->loop, look(b).error[0] != '\0');
    assert_int_equal(look(b).acks, 0);
    renew_stop(b->r);
    b->r = NULL;
    WAIT_FOR(&b->loop, w.near == NULL && w.far == NULL);
    listener_close(w.listener);
    uv_close((uv_handle_t *)&w.timer, NULL);
    buf_done(&w.early);
    tls_ctx_unref(tls);
    spin(&b->loop);
}

static void wrong_options_are_refused(void **state)
{
    struct renew_opts o = { .host = "node1", .n_endpoints = 0 };
    struct renew *r = NULL;
    struct err err;

    (void)state;
    assert_int_equal(renew_start(&o, &r, &err), ERR_INVALID);
    assert_null(r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(deadline_is_send_time_plus_lease),
        TEST(other_ways_are_tried),
        TEST(a_late_answer_extends_little),
        TEST(a_late_answer_is_not_behind),
        TEST(another_endpoint_when_one_is_silent),
        TEST(another_endpoint_when_one_does_not_lead),
        TEST(lost_and_reprieved),
        TEST(a_late_answer_takes_no_loss_back),
        TEST(stale_stops_until_there_is_a_target),
        TEST(answers_to_who_we_were_do_not_count),
        TEST(the_watchdog_gets_every_deadline),
        TEST(a_slow_handshake_is_waited_for),
        cmocka_unit_test(terms_round_trip),
        cmocka_unit_test(wrong_options_are_refused),
    };

    lg_set_level(LG_ERR);
    return cmocka_run_group_tests_name("renew", tests, NULL, NULL);
}
