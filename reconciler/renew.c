#include "reconciler/renew.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "api/http_client.h"
#include "api/json_path.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/prio.h"
#include "base/str.h"
#include "fence/wdog_client.h"
#include "reconciler/renew_priv.h"

/* A heartbeat, step by step:
 *
 *   1. The timer fires; how late it is goes into the margins.
 *   2. The endpoint that answered last is asked, or, while it owes an answer, the next free one.
 *   3. 200: deadline = send time + L; the watchdog gets it.  LeaseLost: the state changes, nothing
 *      else.  An error: the next endpoint is asked at once, each at most once a heartbeat.
 */

/* Nothing is known of the cluster's timing before the first lease, and there is nothing to lose
 * yet: the slowest host shall get one. */
#define CONNECT_FIRST_MS 10000U
#define HOME_ROUNDS 10U
/* So often another endpoint is asked as well, each in turn: the leader learns which links of which
 * hosts work. */
#define PROBE_ROUNDS 3U

const char *renew_state_name(enum renew_state s)
{
    switch (s) {
    case RENEW_NONE:
        return "None";
    case RENEW_LIVE:
        return "Live";
    case RENEW_LOST:
        return "Lost";
    case RENEW_STALE:
        return "Stale";
    }
    CHECK_UNREACHABLE();
}

json_t *renew_terms_json(const struct renew_terms *t)
{
    return json_pack("{s:I, s:I, s:I, s:s, s:s, s:b, s:b}", "leaseMs", (json_int_t)t->lease_ms,
                     "watchdogMs", (json_int_t)t->watchdog_ms, "feedMs", (json_int_t)t->feed_ms,
                     "onQuorumLoss", t->freeze ? "Freeze" : "Stop", "watchdog",
                     wdog_kind_name((enum wdog_kind)t->wd), "nowayout", t->nowayout, "guarded",
                     t->guarded);
}

bool renew_terms_parse(const json_t *j, struct renew_terms *ret)
{
    int64_t lease = jget_int(j, "leaseMs", -1);
    int64_t watchdog = jget_int(j, "watchdogMs", 0);
    int64_t feed = jget_int(j, "feedMs", 0);
    const char *kind = jget_str(j, "watchdog", "None");
    struct renew_terms t = { 0 };

    if (!json_is_object(j) || lease < 0 || lease > UINT32_MAX || watchdog < 0 ||
        watchdog > UINT32_MAX || feed < 0 || feed > UINT32_MAX) {
        return false;
    }
    for (int k = WDOG_KIND_NONE; k <= WDOG_KIND_DEV; k++) {
        if (str_eq(kind, wdog_kind_name((enum wdog_kind)k))) {
            t.wd = (uint8_t)k;
        }
    }
    t.lease_ms = (uint32_t)lease;
    t.watchdog_ms = (uint32_t)watchdog;
    t.feed_ms = (uint32_t)feed;
    t.freeze = str_eq(jget_str(j, "onQuorumLoss", "Stop"), "Freeze");
    t.nowayout = jget_bool(j, "nowayout", false);
    t.guarded = jget_bool(j, "guarded", false);
    *ret = t;
    return true;
}

bool renew_terms_equal(const struct renew_terms *a, const struct renew_terms *b)
{
    return a->lease_ms == b->lease_ms && a->watchdog_ms == b->watchdog_ms &&
           a->feed_ms == b->feed_ms && a->freeze == b->freeze && a->wd == b->wd &&
           a->nowayout == b->nowayout && a->guarded == b->guarded;
}

/* --- one renewal -------------------------------------------------------------------------------
 */

#define SLOTS_MAX 64

/* {"node2": [incarnation, age in ms], ...} of this epoch. */
static json_t *slots_json(const struct renew *r)
{
    struct slot_seen seen[SLOTS_MAX];
    size_t n = slots_seen(r->slots, seen, SLOTS_MAX);
    json_t *j = json_object();

    for (size_t i = 0; i < n; i++) {
        if (seen[i].epoch == r->view.epoch) {
            (void)json_object_set_new(
                j, seen[i].host,
                json_pack("[I, I]", (json_int_t)seen[i].incarnation, (json_int_t)seen[i].age_ms));
        }
    }
    return j;
}

static char *request_body(const struct renew *r, uint64_t seq)
{
    const struct renew_view *v = &r->view;
    json_t *wd =
        json_pack("{s:b, s:b, s:s, s:I, s:I, s:b, s:I, s:I}", "connected", v->wd.connected, "armed",
                  v->wd.armed, "kind", wdog_kind_name((enum wdog_kind)v->wd.kind), "timeoutMs",
                  (json_int_t)v->wd.timeout_ms, "feedMs", (json_int_t)v->wd.feed_ms, "nowayout",
                  v->wd.nowayout, "deadlineMs", (json_int_t)v->wd.deadline_ms, "lastFeedMs",
                  (json_int_t)v->wd.last_feed_ms);
    json_t *margins =
        json_pack("{s:I, s:I, s:I}", "worstAckMs", (json_int_t)v->worst_ack_ms, "leastLeftMs",
                  (json_int_t)v->least_left_ms, "worstGapMs", (json_int_t)v->worst_gap_ms);
    json_t *body =
        json_pack("{s:I, s:I, s:I, s:o, s:o, s:o}", "incarnation", (json_int_t)v->incarnation,
                  "epoch", (json_int_t)v->epoch, "sequence", (json_int_t)seq, "terms",
                  renew_terms_json(&r->say), "watchdog", wd, "margins", margins);
    char *text;

    if (r->slots != NULL) {
        (void)json_object_set_new(body, "slots", slots_json(r));
    }
    text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    CHECK(text != NULL);
    return text;
}

static void set_state(struct renew *r, enum renew_state s)
{
    if (r->view.state != s) {
        lg_info("renew", "state=%s was=%s incarnation=%" PRIu64, renew_state_name(s),
                renew_state_name(r->view.state), r->view.incarnation);
        r->view.state = s;
        r->changed = true;
    }
}

static void margins(struct renew *r, uint64_t sent_ms, uint64_t now)
{
    struct renew_view *v = &r->view;
    uint64_t left = v->lease_until_ms > now ? v->lease_until_ms - now : 0;

    if (now - sent_ms > v->worst_ack_ms) {
        v->worst_ack_ms = now - sent_ms;
    }
    if (v->lease_until_ms != 0 && left < v->least_left_ms) {
        v->least_left_ms = left;
    }
}

/* A cluster that is behind what it said itself before this was sent is another one (restored).
 * Answers that overtake each other are not: each may be as old as its question. */
static void revision_seen(struct renew *r, const struct renew_call *c, uint64_t revision)
{
    struct renew_view *v = &r->view;

    if (revision < c->revision || revision > v->revision) {
        v->revision = revision;
    }
}

/* Acknowledged: the lease runs from the moment at which this renewal was sent. */
static void acknowledged(struct renew *r, const struct renew_call *c, const json_t *j)
{
    struct renew_view *v = &r->view;
    int64_t lease = jget_int(j, "leaseMs", 0);
    struct renew_terms terms;
    uint64_t now = clock_now_ms();

    if (lease <= 0 || lease > UINT32_MAX) {
        (void)snprintf(v->error, sizeof(v->error), "%s: an answer without leaseMs", c->ep->name);
        return;
    }
    margins(r, c->sent_ms, now);
    if (now - c->sent_ms > (uint64_t)lease / 4) {
        lg_info("renew", "endpoint=%s ack_ms=%" PRIu64 " msg=\"acknowledged late\"", c->ep->name,
                now - c->sent_ms);
    }
    v->acks++;
    v->lease_ms = (uint32_t)lease;
    v->term = (uint64_t)jget_int(j, "term", 0);
    revision_seen(r, c, (uint64_t)jget_int(j, "revision", 0));
    if (c->sent_ms + (uint64_t)lease > v->lease_until_ms) {
        v->lease_until_ms = c->sent_ms + (uint64_t)lease;
        v->half_ms = c->sent_ms + (uint64_t)lease / 2;
    }
    if (renew_terms_parse(json_object_get(j, "terms"), &terms) &&
        (!v->has_terms || !renew_terms_equal(&terms, &v->terms))) {
        v->terms = terms;
        v->has_terms = true;
        r->changed = true;
    }
    /* An acknowledgement from before a LeaseLost extends what was granted then, and no more. */
    if (c->seq > r->lost_seq) {
        set_state(r, RENEW_LIVE);
    }
    v->error[0] = '\0';
    renew_wd_deadline(r);
}

static void refused(struct renew *r, const struct renew_call *c, const json_t *j, const char *code)
{
    const char *reason = jget_str(j, "reason", "");
    const char *message = jget_str(j, "message", "");

    r->view.refusals++;
    (void)snprintf(r->view.error, sizeof(r->view.error), "%s: %.200s", c->ep->name, message);
    if (c->seq <= r->lost_seq) {
        return;
    }
    r->lost_seq = c->seq;
    if (str_eq(reason, "LeaseLost") || strstr(message, "LeaseLost") != NULL ||
        str_eq(code, err_name(ERR_REFUSED))) {
        set_state(r, RENEW_LOST);
    } else {
        set_state(r, RENEW_STALE);
    }
}

static void reply_apply(struct renew *r, struct renew_call *c, const struct http_reply *reply)
{
    json_error_t je;
    json_t *j = json_load_quick((const char *)reply->body, reply->len, 0, &je);

    if (c->incarnation != r->view.incarnation || c->epoch != r->view.epoch) {
        json_decref(j);
        return; /* an answer to who we were */
    }
    if (reply->status == 200 && j != NULL) {
        acknowledged(r, c, j);
    } else if (reply->status == 409) {
        refused(r, c, j, http_header_get(&reply->headers, HTTP_ERROR_HEADER));
    } else {
        (void)snprintf(r->view.error, sizeof(r->view.error), "%s: %d %.200s", c->ep->name,
                       reply->status, jget_str(j, "message", ""));
        c->failed = true;
    }
    json_decref(j);
}

static void send_next(struct renew *r);

/* Was asked in an earlier heartbeat and has not answered. */
static bool owes(const struct renew *r, const struct renew_endpoint *ep)
{
    return ep->call != NULL && ep->tried != r->round;
}

static void on_reply(void *data, const struct err *err, const struct http_reply *reply)
{
    struct renew_call *c = data;
    struct renew *r = c->r;
    bool failed, again;

    uv_mutex_lock(&r->lock);
    if (err != NULL) {
        if (!c->probe) {
            (void)snprintf(r->view.error, sizeof(r->view.error), "%s: %.200s", c->ep->name,
                           err->msg);
        }
        c->failed = true;
    } else {
        reply_apply(r, c, reply);
    }
    failed = c->failed;
    again = failed && !c->probe;
    c->ep->call = NULL;
    c->ep->call_data = NULL;
    if (failed && r->cur == c->ep->index) {
        r->cur = (r->cur + 1) % r->n_endpoints;
    } else if (!failed && (c->ep->index < r->cur || owes(r, &r->endpoints[r->cur]))) {
        r->cur = c->ep->index;
    }
    if (!failed && !str_eq(r->view.endpoint, r->endpoints[r->cur].name)) {
        (void)str_copy(r->view.endpoint, sizeof(r->view.endpoint), r->endpoints[r->cur].name);
        r->changed = true;
    }
    uv_mutex_unlock(&r->lock);
    free(c);
    if (again) {
        send_next(r);
    }
    renew_notify(r);
}

static void post(struct renew *r, struct renew_endpoint *ep)
{
    struct renew_call *c = OBJ_NEW(struct renew_call);
    struct http_call_args args = { .method = "POST", .target = r->target };
    char *body;

    c->r = r;
    c->ep = ep;
    uv_mutex_lock(&r->lock);
    c->incarnation = r->view.incarnation;
    c->epoch = r->view.epoch;
    c->revision = r->view.revision;
    c->seq = ++r->seq;
    r->view.tries++;
    body = request_body(r, c->seq);
    args.timeout_ms = r->view.lease_ms != 0 ? r->view.lease_ms : 2U * r->connect_ms;
    uv_mutex_unlock(&r->lock);
    args.content_type = "application/json";
    args.body = body;
    args.len = strlen(body);
    /* The oldest moment at which the leader can have counted from. */
    c->sent_ms = clock_now_ms();
    ep->tried = r->round;
    ep->call_data = c;
    ep->call = http_call(ep->client, &args, on_reply, c);
    free(body);
}

/* Ask the first endpoint, from the current one on, that owes no answer and was not asked in this
 * heartbeat. */
static void send_next(struct renew *r)
{
    for (size_t i = 0; i < r->n_endpoints; i++) {
        struct renew_endpoint *ep = &r->endpoints[(r->cur + i) % r->n_endpoints];

        if (ep->call == NULL && ep->tried != r->round) {
            post(r, ep);
            return;
        }
    }
}

/* Is the way to another endpoint open?  Each in turn, only while the current one does its work. */
static void probe_next(struct renew *r)
{
    for (size_t i = 0; i < r->n_endpoints; i++) {
        struct renew_endpoint *ep;

        r->probed = (r->probed + 1) % r->n_endpoints;
        ep = &r->endpoints[r->probed];
        if (r->probed != r->cur && ep->call == NULL && ep->tried != r->round) {
            post(r, ep);
            ep->call_data->probe = true;
            return;
        }
    }
}

static void on_tick(uv_timer_t *t)
{
    struct renew *r = t->data;
    uint64_t now = clock_now_ms();
    bool active;

    uv_mutex_lock(&r->lock);
    if (r->last_tick_ms != 0 && now > r->last_tick_ms + r->heartbeat_ms) {
        uint64_t gap = now - r->last_tick_ms - r->heartbeat_ms;

        if (gap > r->view.worst_gap_ms) {
            r->view.worst_gap_ms = gap;
        }
        if (gap > r->heartbeat_ms) {
            lg_warn("renew", "gap_ms=%" PRIu64 " msg=\"the renewer stood still\"", gap);
        }
    }
    r->last_tick_ms = now;
    active = r->view.incarnation != 0 && r->view.state != RENEW_STALE;
    uv_mutex_unlock(&r->lock);
    r->round++;
    renew_wd_tick(r);
    if (active) {
        send_next(r);
    }
    if (active && r->cur != 0 && r->round % HOME_ROUNDS == 0 && r->endpoints[0].call == NULL &&
        r->endpoints[0].tried != r->round) {
        post(r, &r->endpoints[0]); /* is the own picketd back? */
    }
    if (active && r->probe && r->round % PROBE_ROUNDS == 0) {
        probe_next(r);
    }
    renew_notify(r);
}

/* --- the thread --------------------------------------------------------------------------------
 */

void renew_notify(struct renew *r)
{
    bool tell;

    uv_mutex_lock(&r->lock);
    tell = r->changed;
    r->changed = false;
    uv_mutex_unlock(&r->lock);
    if (tell && r->on_change != NULL) {
        r->on_change(r->on_change_ctx);
    }
}

static void close_all(struct renew *r)
{
    (void)uv_timer_stop(&r->timer);
    uv_close((uv_handle_t *)&r->timer, NULL);
    wake_close(r->wake);
    renew_wd_close(r);
    for (size_t i = 0; i < r->n_endpoints; i++) {
        /* Calls under way end without a callback. */
        free(r->endpoints[i].call_data);
        r->endpoints[i].call_data = NULL;
        http_client_close(r->endpoints[i].client, NULL, NULL);
    }
}

static void on_wake(void *ctx)
{
    struct renew *r = ctx;
    uint32_t heartbeat, connect;
    bool stop, again, wd;

    uv_mutex_lock(&r->lock);
    stop = r->stop;
    again = r->kick;
    r->kick = false;
    wd = r->kick_wd;
    r->kick_wd = false;
    heartbeat = r->heartbeat_ms;
    connect = r->connect_ms;
    uv_mutex_unlock(&r->lock);
    if (stop) {
        close_all(r);
        return;
    }
    for (size_t i = 0; i < r->n_endpoints; i++) {
        http_client_connect_ms(r->endpoints[i].client, connect);
    }
    if (wd) {
        renew_wd_tick(r);
    }
    if (uv_timer_get_repeat(&r->timer) != heartbeat || again) {
        r->last_tick_ms = 0;
        CHECK(uv_timer_start(&r->timer, on_tick, 0, heartbeat) == 0);
    }
}

static void thread_main(void *arg)
{
    struct renew *r = arg;
    struct err err;

    if (r->realtime && prio_realtime(&err) != 0) {
        lg_warn("renew", "err=\"%s\" msg=\"on an overloaded host renewals may be late\"", err.msg);
    }
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
}

static int endpoints_open(struct renew *r, const struct renew_opts *o, struct err *err)
{
    struct tls_ctx *tls = NULL;
    int rc = 0;

    if (o->tls_cert != NULL) {
        rc = tls_ctx_load(o->tls_cert, o->tls_key, o->tls_ca, NULL, &tls, err);
    }
    for (size_t i = 0; rc == 0 && i < o->n_endpoints; i++) {
        struct renew_endpoint *ep = &r->endpoints[i];
        const char *name = o->endpoints[i];
        struct http_client_opts co = { .endpoints = &name,
                                       .n_endpoints = 1,
                                       .tls = tls,
                                       .want_role = tls == NULL ? NULL : "picket:voters",
                                       .connect_ms = r->connect_ms,
                                       .max_body = 1U << 20 };

        ep->index = i;
        ep->name = mem_strdup(name);
        rc = http_client_new(&r->loop, &co, &ep->client, err);
        r->n_endpoints = i + 1;
    }
    tls_ctx_unref(tls);
    return rc;
}

static void renew_free(struct renew *r)
{
    for (size_t i = 0; i < r->n_endpoints; i++) {
        free(r->endpoints[i].name);
    }
    free(r->target);
    free(r->wd_path);
    uv_mutex_destroy(&r->lock);
    free(r);
}

int renew_start(const struct renew_opts *opts, struct renew **ret, struct err *err)
{
    struct renew *r = OBJ_NEW(struct renew);
    int rc;

    if (opts->n_endpoints == 0 || opts->n_endpoints > RENEW_ENDPOINTS_MAX) {
        free(r);
        return err_set(err, ERR_INVALID, "%zu endpoints given, 1 to %d are possible",
                       opts->n_endpoints, RENEW_ENDPOINTS_MAX);
    }
    CHECK(uv_loop_init(&r->loop) == 0);
    CHECK(uv_mutex_init(&r->lock) == 0);
    r->target = mem_printf("/apis/picket/v1/hosts/%s/lease", opts->host);
    r->wd_path = mem_strdup(opts->watchdog);
    r->wd.fd = -1;
    r->heartbeat_ms = opts->heartbeat_ms == 0 ? 500 : opts->heartbeat_ms;
    r->connect_ms = opts->connect_ms == 0 ? CONNECT_FIRST_MS : opts->connect_ms;
    r->probe = opts->probe;
    r->realtime = opts->realtime;
    r->on_change = opts->on_change;
    r->on_change_ctx = opts->ctx;
    r->view.least_left_ms = UINT64_MAX;
    CHECK(uv_timer_init(&r->loop, &r->timer) == 0);
    r->wake = wake_new(&r->loop, on_wake, r);
    r->timer.data = r;
    renew_wd_init(r);
    rc = endpoints_open(r, opts, err);
    if (rc == 0) {
        CHECK(uv_timer_start(&r->timer, on_tick, 0, r->heartbeat_ms) == 0);
        CHECK(uv_thread_create(&r->thread, thread_main, r) == 0);
        *ret = r;
        return 0;
    }
    for (size_t i = 0; i < r->n_endpoints; i++) {
        if (r->endpoints[i].client != NULL) {
            http_client_close(r->endpoints[i].client, NULL, NULL);
        }
    }
    uv_close((uv_handle_t *)&r->timer, NULL);
    wake_close(r->wake);
    renew_wd_close(r);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&r->loop) == 0);
    renew_free(r);
    return rc;
}

void renew_stop(struct renew *r)
{
    if (r == NULL) {
        return;
    }
    uv_mutex_lock(&r->lock);
    r->stop = true;
    uv_mutex_unlock(&r->lock);
    wake_send(r->wake);
    CHECK(uv_thread_join(&r->thread) == 0);
    CHECK(uv_loop_close(&r->loop) == 0);
    renew_free(r);
}

/* --- what others say ---------------------------------------------------------------------------
 */

void renew_slots(struct renew *r, struct slots *s)
{
    uv_mutex_lock(&r->lock);
    r->slots = s;
    if (s != NULL) {
        slots_identity(s, r->view.epoch, r->view.incarnation);
    }
    uv_mutex_unlock(&r->lock);
}

static void kick(struct renew *r)
{
    r->kick = true;
    uv_mutex_unlock(&r->lock);
    wake_send(r->wake);
}

void renew_target(struct renew *r, uint64_t incarnation, uint64_t epoch)
{
    struct renew_view *v = &r->view;

    uv_mutex_lock(&r->lock);
    if (v->incarnation != incarnation || v->epoch != epoch || v->state == RENEW_STALE) {
        v->lease_until_ms = v->incarnation == incarnation ? v->lease_until_ms : 0;
        v->half_ms = v->lease_until_ms == 0 ? 0 : v->half_ms;
        v->revision = v->epoch == epoch ? v->revision : 0;
        v->incarnation = incarnation;
        v->epoch = epoch;
        v->state = RENEW_NONE;
        v->has_terms = false;
        r->lost_seq = r->seq;
    }
    if (r->slots != NULL) {
        slots_identity(r->slots, epoch, incarnation);
    }
    kick(r);
}

void renew_say(struct renew *r, const struct renew_terms *t)
{
    uv_mutex_lock(&r->lock);
    r->say = *t;
    uv_mutex_unlock(&r->lock);
}

void renew_timing(struct renew *r, uint32_t heartbeat_ms, uint32_t connect_ms)
{
    bool change;

    CHECK(heartbeat_ms > 0 && connect_ms > 0);
    uv_mutex_lock(&r->lock);
    change = r->heartbeat_ms != heartbeat_ms || r->connect_ms != connect_ms;
    r->heartbeat_ms = heartbeat_ms;
    r->connect_ms = connect_ms;
    uv_mutex_unlock(&r->lock);
    if (change) {
        wake_send(r->wake);
    }
}

static void kick_wd(struct renew *r)
{
    r->kick_wd = true;
    uv_mutex_unlock(&r->lock);
    wake_send(r->wake);
}

void renew_arm(struct renew *r, uint32_t timeout_ms, uint32_t lmax_ms)
{
    uv_mutex_lock(&r->lock);
    r->want_arm = true;
    r->want_disarm = false;
    r->arm_timeout_ms = timeout_ms;
    r->arm_lmax_ms = lmax_ms;
    kick_wd(r);
}

void renew_disarm(struct renew *r, uint64_t revision)
{
    uv_mutex_lock(&r->lock);
    r->want_arm = false;
    r->want_disarm = true;
    r->disarm_revision = revision;
    kick_wd(r);
}

void renew_view(struct renew *r, struct renew_view *ret)
{
    uv_mutex_lock(&r->lock);
    *ret = r->view;
    uv_mutex_unlock(&r->lock);
}

void renew_margins_reset(struct renew *r)
{
    uv_mutex_lock(&r->lock);
    r->view.worst_ack_ms = 0;
    r->view.worst_gap_ms = 0;
    r->view.least_left_ms = UINT64_MAX;
    uv_mutex_unlock(&r->lock);
}
