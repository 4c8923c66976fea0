#include "cmd/picketd/lease.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/view.h"
#include "fence/timing_io.h"

#define TICK_MS 50U

struct lease_table {
    struct node *node;
    struct map hosts; /* name -> struct lease_info, owned */
    uv_timer_t timer;
    uint64_t last_tick_ms;
    uint64_t term; /* 0: not leading */
    struct timing timing, logged;
};

void lease_timing(struct node *n, struct timing *ret)
{
    struct err err;
    json_t *c = object_read(n->store, "clusters", "cluster", &err);
    struct timing_in in = { .dev = n->opts.lab };

    if (c != NULL) {
        in.heartbeat_ms = jget_duration(c, "spec.timing.heartbeat", 0);
        in.host_timeout_ms = jget_duration(c, "spec.timing.hostTimeout", 0);
        in.startup_grace_ms = jget_duration(c, "spec.fencing.startupGrace", 0);
        json_decref(c);
    }
    if (timing_derive(&in, ret, &err) != 0) {
        struct timing_in fallback = { .dev = n->opts.lab };

        /* Admission refuses such knobs; an object of an older version may still have them. */
        CHECK(timing_derive(&fallback, ret, &err) == 0);
    }
}

/* --- the table ---------------------------------------------------------------------------------
 */

static struct lease_info *lease_entry(struct lease_table *t, const char *host)
{
    struct lease_info *l = map_get(&t->hosts, host);

    if (l == NULL) {
        l = OBJ_NEW(struct lease_info);
        (void)map_put(&t->hosts, host, l);
    }
    return l;
}

static void lease_extend(struct lease_table *t, struct lease_info *l, uint64_t receipt_ms,
                         uint32_t lease_ms)
{
    uint64_t until = receipt_ms + lease_ms + timing_drift_ms(lease_ms);

    l->until_ms = until > l->until_ms ? until : l->until_ms;
    (void)t;
}

/* A gap in our own loop says nothing about the hosts: give every lease that much more. */
static void lease_tick(uv_timer_t *timer)
{
    struct lease_table *t = timer->data;
    uint64_t now = clock_now_ms();
    uint64_t gap = now - t->last_tick_ms - TICK_MS;
    const char *host;
    void *v;

    if (t->last_tick_ms != 0 && now > t->last_tick_ms + TICK_MS && gap > t->timing.loop_gap_ms) {
        lg_warn("lease", "gap_ms=%llu msg=\"the loop stood still; leases are extended\"",
                (unsigned long long)gap);
        for (size_t i = 0; map_next(&t->hosts, &i, &host, &v);) {
            struct lease_info *l = v;

            l->until_ms += gap;
        }
    }
    t->last_tick_ms = now;
}

void lease_table_grant(struct lease_table *t, const char *host, uint64_t incarnation,
                       uint32_t lease_ms)
{
    struct lease_info *l = lease_entry(t, host);

    if (l->incarnation != incarnation) {
        *l = (struct lease_info){ .incarnation = incarnation };
        lease_extend(t, l, clock_now_ms(), lease_ms != 0 ? lease_ms : (uint32_t)t->timing.lease_ms);
    }
}

static bool grant_visit(void *ctx, const struct kv *v)
{
    struct lease_table *t = ctx;
    struct arena a = { 0 };
    struct s_host h;
    struct s_inc inc;
    struct err err;

    if (s_host_decode(kv_value(v), v->vlen, &a, &h, &err) == 0 && h.incarnation != 0 &&
        s_inc_get(t->node->store, h.incarnation, &a, &inc, &err) == 0 && inc.state == INC_LIVE) {
        lease_table_grant(t, h.name, h.incarnation, inc.loosest.lease_ms);
    }
    arena_done(&a);
    return true;
}

static void lease_clear(struct lease_table *t)
{
    const char *host;
    void *v;

    for (size_t i = 0; map_next(&t->hosts, &i, &host, &v);) {
        free(v);
    }
    map_done(&t->hosts);
}

void lease_table_start(struct lease_table *t, uint64_t term)
{
    lease_clear(t);
    t->term = term;
    lease_timing(t->node, &t->timing);
    timing_log(&t->logged, &t->timing);
    t->last_tick_ms = clock_now_ms();
    store_prefix(t->node->store, "s/host/", grant_visit, t);
    CHECK(uv_timer_start(&t->timer, lease_tick, TICK_MS, TICK_MS) == 0);
}

void lease_table_follow(struct lease_table *t, const struct timing *timing)
{
    t->timing = *timing;
    timing_log(&t->logged, timing);
}

void lease_table_stop(struct lease_table *t)
{
    t->term = 0;
    (void)uv_timer_stop(&t->timer);
    lease_clear(t);
}

struct lease_table *lease_table_new(struct node *n)
{
    struct lease_table *t = OBJ_NEW(struct lease_table);

    t->node = n;
    t->timer.data = t;
    CHECK(uv_timer_init(n->loop, &t->timer) == 0);
    return t;
}

bool lease_table_get(const struct lease_table *t, const char *host, struct lease_info *ret)
{
    const struct lease_info *l = map_get(&t->hosts, host);

    if (l == NULL) {
        return false;
    }
    *ret = *l;
    return true;
}

void lease_table_lost(struct lease_table *t, const char *host)
{
    lease_entry(t, host)->lost_proposed = true;
}

void lease_table_reprieve(struct lease_table *t, const char *host)
{
    struct lease_info *l = lease_entry(t, host);

    l->lost_proposed = false;
    l->asked_ms = 0;
    lease_extend(t, l, clock_now_ms(), (uint32_t)t->timing.lease_ms);
}

/* --- renewals ----------------------------------------------------------------------------------
 */

struct renewal {
    struct lease_table *t;
    uint64_t call_id;
    uint64_t incarnation;
    char host[256];
};

static int renewal_check(struct lease_table *t, const struct renewal *r, uint64_t epoch,
                         struct s_inc *inc, struct arena *a, struct err *err)
{
    struct store *s = t->node->store;
    struct s_cluster c;

    if (t->term == 0 || !node_leads(t->node)) {
        return err_set(err, ERR_NOT_LEADER, "%s does not lead", t->node->opts.name);
    }
    if (s_inc_get(s, r->incarnation, a, inc, err) != 0 || !str_eq(inc->host, r->host)) {
        return err_set(err, ERR_STALE, "incarnation %llu is not one of %s: register again",
                       (unsigned long long)r->incarnation, r->host);
    }
    if (s_cluster_get(s, a, &c, err) != 0 || c.epoch != epoch) {
        return err_set(err, ERR_STALE, "epoch %llu is not the cluster's: register again",
                       (unsigned long long)epoch);
    }
    return 0;
}

static void renewal_ack(struct renewal *r)
{
    struct lease_table *t = r->t;
    struct arena a = { 0 };
    struct s_inc inc = { 0 };
    struct lease_info *l = lease_entry(t, r->host);
    struct err err = { 0 };

    if (!node_leads(t->node)) {
        (void)err_set(&err, ERR_NOT_LEADER, "leadership was lost");
    } else if (s_inc_get(t->node->store, r->incarnation, &a, &inc, &err) != 0) {
        err.code = ERR_STALE;
    } else if (inc.state != INC_LIVE || l->lost_proposed) {
        (void)err_set(&err, ERR_REFUSED, "LeaseLost: incarnation %llu of %s is %s",
                      (unsigned long long)r->incarnation, r->host, inc_state_name(inc.state));
    }
    if (err.code != 0) {
        rep_reply(t->node->rep, r->call_id, &err, NULL, 0);
    } else {
        json_t *j =
            json_pack("{s:I, s:o, s:I, s:I, s:b}", "leaseMs", (json_int_t)inc.offered.lease_ms,
                      "terms", terms_to_json(&inc.offered), "term", (json_int_t)t->term, "revision",
                      (json_int_t)store_rev(t->node->store), "guardedConfirmed",
                      inc.loosest.guarded && !inc.ever_unguarded);
        char *text = json_dumps(j, JSON_COMPACT);

        rep_reply(t->node->rep, r->call_id, NULL, text, strlen(text));
        free(text);
        json_decref(j);
    }
    arena_done(&a);
}

static void renewal_confirmed(void *data, const struct err *err)
{
    struct renewal *r = data;

    if (err != NULL) {
        rep_reply(r->t->node->rep, r->call_id, err, NULL, 0);
    } else {
        renewal_ack(r);
    }
    free(r);
}

#define LINK_WINDOW 40U /* heartbeats; the agent asks another address every third */

uint64_t lease_links(const struct lease_table *t, const struct lease_info *l, uint64_t now_ms)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < LINKS_MAX; i++) {
        if (l->link_ms[i] != 0 && now_ms - l->link_ms[i] <= LINK_WINDOW * t->timing.heartbeat_ms) {
            bits |= 1ULL << i;
        }
    }
    return bits;
}

static void link_seen(struct lease_info *l, const json_t *body, uint64_t now)
{
    int64_t link = jget_int(body, "link", 0);

    if (link > 0 && link <= (int64_t)LINKS_MAX) {
        l->link_ms[link - 1] = now;
    }
}

/* A new leader knows nothing of hosts that are not Live. */
static struct lease_info *slot_entry(struct lease_table *t, const char *host, uint64_t incarnation)
{
    struct lease_info *l = map_get(&t->hosts, host);
    struct arena a = { 0 };
    struct s_host h;
    struct err err;

    if (l == NULL && s_host_get(t->node->store, host, &a, &h, &err) == 0 &&
        h.incarnation == incarnation) {
        l = lease_entry(t, host);
        l->incarnation = incarnation;
    }
    arena_done(&a);
    return l;
}

/* What the sender read on the shared volume: {"node2": [incarnation, age in ms], ...}. */
static void slots_seen_by(struct lease_table *t, const json_t *body, uint64_t now)
{
    const char *host;
    json_t *v;

    json_object_foreach (json_object_get(body, "slots"), host, v) {
        uint64_t incarnation = (uint64_t)json_integer_value(json_array_get(v, 0));
        struct lease_info *l = slot_entry(t, host, incarnation);
        json_int_t age = json_integer_value(json_array_get(v, 1));
        uint64_t at = age >= 0 && (uint64_t)age < now ? now - (uint64_t)age : 0;

        if (l != NULL && l->incarnation == incarnation && at > l->slot_ms) {
            l->slot_ms = at;
        }
    }
}

/* Lateness as the leader sees it: whatever the reason, it is this that leases run out of. */
static void late_seen(const struct lease_table *t, struct lease_info *l, const char *host,
                      uint64_t now)
{
    uint64_t gap = l->last_ms == 0 ? 0 : now - l->last_ms;
    uint64_t late = gap > t->timing.heartbeat_ms ? gap - t->timing.heartbeat_ms : 0;

    if (l->late_since_ms == 0 || now - l->late_since_ms >= LEASE_LATE_MS) {
        l->late_ms[1] = l->late_since_ms == 0 ? 0 : l->late_ms[0];
        l->late_ms[0] = 0;
        l->late_since_ms = now;
    }
    l->late_ms[0] = late > l->late_ms[0] ? late : l->late_ms[0];
    if (late > t->timing.heartbeat_ms) {
        lg_info("lease", "host=%s late_ms=%" PRIu64 " msg=\"its renewal came late\"", host, late);
    }
}

/* Extend at receipt: whatever the agent may come to believe ends at its send time + L, before this.
 */
static void renewal_receive(struct lease_table *t, struct renewal *r, const json_t *body,
                            const struct s_inc *inc)
{
    struct lease_info *l = lease_entry(t, r->host);
    uint64_t now = clock_now_ms();
    bool was_guarded;
    struct err err;

    if (l->incarnation != r->incarnation) {
        *l = (struct lease_info){ .incarnation = r->incarnation };
    }
    late_seen(t, l, r->host, now);
    slots_seen_by(t, body, now);
    l->last_ms = now;
    link_seen(l, body, now);
    l->newer_boot_ms = 0; /* the boot that was thought to be over still talks to us */
    if (inc->state != INC_LIVE || l->lost_proposed) {
        bool first = l->asked_ms == 0;

        l->asked_ms = now;
        if (first) {
            controller_wake(t->node->ctl); /* it may be reprieved */
        }
        return;
    }
    lease_extend(t, l, now, inc->loosest.lease_ms);
    was_guarded = l->has_terms && l->terms.guarded;
    l->has_terms = terms_from_json(json_object_get(body, "terms"), &l->terms, &err) == 0;
    if (l->has_terms && l->terms.guarded != was_guarded) {
        controller_wake(t->node->ctl); /* the store shall know what can be proved of this host */
    }
}

/* The agent of a newer boot was refused, since the incarnation of the boot before is still Live. */
static void newer_boot(struct lease_table *t, const struct renewal *r, const json_t *body,
                       const struct s_inc *inc)
{
    struct lease_info *l = lease_entry(t, r->host);
    bool first = l->newer_boot_ms == 0;

    if (l->incarnation != r->incarnation || str_eq(inc->boot_id, jget_str(body, "newerBoot", "")) ||
        !str_eq(inc->hardware_id, jget_str(body, "hardwareID", ""))) {
        return; /* nothing is known of that incarnation, or the claim is not of the same machine */
    }
    l->newer_boot_ms = clock_now_ms();
    if (first) {
        lg_info("lease", "host=%s incarnation=%llu msg=\"a newer boot asks to register\"", r->host,
                (unsigned long long)r->incarnation);
        controller_wake(t->node->ctl);
    }
}

void lease_table_call(struct lease_table *t, const uint8_t *data, size_t len, uint64_t call_id)
{
    struct renewal *r = OBJ_NEW(struct renewal);
    struct arena a = { 0 };
    json_t *body = NULL;
    struct s_inc inc = { 0 };
    struct err err;
    int rc = json_parse_strict((const char *)data, len, &body, &err);

    r->t = t;
    r->call_id = call_id;
    if (rc == 0) {
        r->incarnation = (uint64_t)jget_int(body, "incarnation", 0);
        (void)str_copy(r->host, sizeof(r->host), jget_str(body, "host", ""));
        rc = renewal_check(t, r, (uint64_t)jget_int(body, "epoch", 0), &inc, &a, &err);
    }
    if (rc != 0) {
        rep_reply(t->node->rep, call_id, &err, NULL, 0);
        free(r);
    } else if (json_object_get(body, "newerBoot") != NULL) {
        newer_boot(t, r, body, &inc);
        rep_reply(t->node->rep, call_id, NULL, "{}", 2);
        free(r);
    } else {
        renewal_receive(t, r, body, &inc);
        node_read(t->node, renewal_confirmed, r);
    }
    json_decref(body);
    arena_done(&a);
}

void lease_table_alive(struct lease_table *t, const uint8_t *data, size_t len, uint64_t call_id)
{
    char host[256];
    struct lease_info l;
    struct err err = { 0 };
    uint64_t now = clock_now_ms();

    (void)snprintf(host, sizeof(host), "%.*s", (int)(len < 255 ? len : 255), (const char *)data);
    if (t->term == 0 || !node_leads(t->node)) {
        (void)err_set(&err, ERR_NOT_LEADER, "%s does not lead", t->node->opts.name);
    } else if (lease_table_get(t, host, &l) && l.last_ms != 0 &&
               now - l.last_ms <= t->timing.lease_ms) {
        (void)err_set(&err, ERR_REFUSED,
                      "%s is alive: its agent asked for its lease %" PRIu64
                      " ms ago. Switch it off, then confirm",
                      host, now - l.last_ms);
    }
    if (err.code == 0 && lease_table_get(t, host, &l) && l.slot_ms != 0 &&
        now - l.slot_ms <= LEASE_SLOT_BEATS * t->timing.heartbeat_ms) {
        (void)err_set(&err, ERR_REFUSED,
                      "%s is alive: it wrote its sign of life on the shared volume %" PRIu64
                      " ms ago. Switch it off, then confirm",
                      host, now - l.slot_ms);
    }
    rep_reply(t->node->rep, call_id, err.code == 0 ? NULL : &err, NULL, 0);
}
