#include "cmd/picketd/probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/device.h"
#include "cmd/picketd/world.h"
#include "fence/exec_uv.h"

#define TICK_MS 500U
#define QUIET_MS 2500U /* nothing was due: the objects are not looked at for so long */
#define PROBE_MS 5000U
#define CALL_EXTRA_MS 3000U /* the hard end of the child, and the way there and back */
#define PEERS_MAX 32
#define INTERVAL_MS 60000U
#define HOLD_MAX_MS 600000U

/* What is known of one device. */
struct dev {
    struct map hosts; /* host -> struct probe_result */
    struct map execs; /* picketd -> struct probe_result */
    uint64_t busy_ms; /* a probe was handed out then; 0: none is under way */
    uint64_t hold_ms; /* none is handed out before; see prober_hold */
    uint64_t holder;
};

struct prober {
    struct node *node;
    uv_timer_t timer;
    uint64_t term; /* whose results these are */
    uint64_t quiet_until_ms;
    struct map devs;    /* device -> struct dev */
    struct map running; /* device -> struct local: what this process asks */
};

/* --- one operation in this process -------------------------------------------------------------
 */

struct local {
    struct prober *pr;
    char device[256];
    struct fence_exec *exec;
    probe_cb *cb;
    void *ctx;
};

static void local_done(void *ctx, const struct fence_answer *ans)
{
    struct local *l = ctx;

    if (map_get(&l->pr->running, l->device) == l) {
        (void)map_del(&l->pr->running, l->device);
    }
    l->cb(l->ctx, ans);
    free(l);
}

static uint64_t incarnation_of(struct node *n, const char *host)
{
    struct arena a = { 0 };
    struct s_host h = { 0 };
    struct err err;
    uint64_t inc = s_host_get(n->store, host, &a, &h, &err) == 0 ? h.incarnation : 0;

    arena_done(&a);
    return inc;
}

/* The callback may come before this returns, when nothing could be started. */
static void ask_here(struct prober *pr, const char *device, const char *host,
                     enum fence_action action, probe_cb *cb, void *ctx)
{
    struct local *l = OBJ_NEW(struct local);
    struct device_ask ask = { .device = device, .action = action, .host = host };
    struct fence_answer ans = { 0 };
    struct fence_op op;
    struct err err;
    int rc;

    *l = (struct local){ .pr = pr, .cb = cb, .ctx = ctx };
    (void)str_copy(l->device, sizeof(l->device), device);
    ask.incarnation = incarnation_of(pr->node, host);
    ask.timeout_ms = PROBE_MS;
    ask.deadline_ms = clock_now_ms() + PROBE_MS;
    rc = device_op(pr->node, &ask, &op, &err);
    if (rc == 0) {
        rc = fence_exec_start(pr->node->loop, pr->node->opts.fence_helper, &op, 0, local_done, l,
                              &l->exec, &err);
        fence_op_done(&op);
    }
    if (rc == 0) {
        (void)map_put(&pr->running, device, l);
    } else {
        fence_answer_set(&ans, FENCE_FAILED, "%.200s", err.msg);
        local_done(l, &ans);
    }
}

void prober_yield(struct prober *pr, const char *device)
{
    struct local *l = map_get(&pr->running, device);

    if (l != NULL) {
        fence_exec_cancel(l->exec);
    }
}

/* --- and in another one ------------------------------------------------------------------------
 */

struct remote {
    struct rep_req req; /* first */
    probe_cb *cb;
    void *ctx;
};

static void remote_done(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct remote *q = CONTAINER_OF(req, struct remote, req);
    struct fence_answer ans = { 0 };
    struct err e;

    if (err != NULL) {
        fence_answer_set(&ans, FENCE_UNKNOWN, "no answer from its picketd: %.180s", err->msg);
    } else if (fence_answer_decode((const char *)data, len, &ans, &e) != 0) {
        memset(&ans, 0, sizeof(ans));
        fence_answer_set(&ans, FENCE_UNKNOWN, "its picketd's answer is malformed: %.180s", e.msg);
    }
    q->cb(q->ctx, &ans);
    free(q);
}

void prober_ask(struct prober *pr, uint64_t peer, const char *device, const char *host,
                enum fence_action action, probe_cb *cb, void *ctx)
{
    struct remote *q;
    json_t *body;
    char *text;

    CHECK(action == FENCE_ACTION_PROBE || action == FENCE_ACTION_STATUS);
    if (peer == 0 || peer == pr->node->id) {
        ask_here(pr, device, host, action, cb, ctx);
        return;
    }
    q = OBJ_NEW(struct remote);
    q->cb = cb;
    q->ctx = ctx;
    body = json_pack("{s:s, s:s, s:s}", "device", device, "host", host, "action",
                     fence_action_name(action));
    text = json_dumps(body, JSON_COMPACT);
    rep_call(pr->node->rep, peer, NODE_CALL_PROBE, text, strlen(text), PROBE_MS + CALL_EXTRA_MS,
             &q->req, remote_done);
    free(text);
    json_decref(body);
}

/* --- holding probes back -----------------------------------------------------------------------
 */

static struct dev *dev_entry(struct prober *pr, const char *device);

/* Leader.  False: a probe is under way, or somebody else holds it. */
static bool hold_here(struct prober *pr, const char *device, uint64_t owner, uint64_t ms)
{
    struct dev *d = dev_entry(pr, device);

    if (d->holder != owner && clock_now_ms() < d->hold_ms) {
        return false;
    }
    d->holder = owner;
    d->hold_ms = ms == 0 ? 0 : clock_now_ms() + (ms > HOLD_MAX_MS ? HOLD_MAX_MS : ms);
    return d->busy_ms == 0;
}

struct holding {
    struct rep_req req; /* first */
    prober_hold_cb *cb;
    void *ctx;
};

static void hold_done(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct holding *h = CONTAINER_OF(req, struct holding, req);

    if (h->cb != NULL) { /* a leader that does not answer hands out nothing either */
        h->cb(h->ctx, err != NULL || len != 1 || data[0] == '1');
    }
    free(h);
}

void prober_hold(struct prober *pr, const char *device, uint64_t owner, uint64_t ms,
                 prober_hold_cb *cb, void *ctx)
{
    uint64_t leader = rep_leader(pr->node->rep);
    struct holding *h;
    json_t *body;
    char *text;

    if (leader == 0 || leader == pr->node->id) {
        bool free = leader == 0 || hold_here(pr, device, owner, ms);

        if (cb != NULL) {
            cb(ctx, free);
        }
        return;
    }
    h = OBJ_NEW(struct holding);
    h->cb = cb;
    h->ctx = ctx;
    body = json_pack("{s:s, s:I, s:I}", "device", device, "hold", (json_int_t)ms, "owner",
                     (json_int_t)owner);
    text = json_dumps(body, JSON_COMPACT);
    rep_call(pr->node->rep, leader, NODE_CALL_PROBE, text, strlen(text), CALL_EXTRA_MS, &h->req,
             hold_done);
    free(text);
    json_decref(body);
}

struct call {
    struct prober *pr;
    uint64_t id;
};

static void call_done(void *ctx, const struct fence_answer *ans)
{
    struct call *c = ctx;
    struct buf out = { 0 };

    fence_answer_encode(ans, &out);
    rep_reply(c->pr->node->rep, c->id, NULL, out.data, out.len);
    buf_done(&out);
    free(c);
}

void prober_call(struct prober *pr, const uint8_t *data, size_t len, uint64_t call_id)
{
    json_t *body = json_loadb((const char *)data, len, 0, NULL);
    enum fence_action action = fence_action_parse(jget_str(body, "action", ""));
    struct call *c;
    struct err err;

    if (jget(body, "hold") != NULL) {
        bool free =
            hold_here(pr, jget_str(body, "device", ""), (uint64_t)jget_int(body, "owner", 0),
                      (uint64_t)jget_int(body, "hold", 0));

        rep_reply(pr->node->rep, call_id, NULL, free ? "1" : "0", 1);
    } else if (action != FENCE_ACTION_PROBE && action != FENCE_ACTION_STATUS) {
        (void)err_set(&err, ERR_INVALID, "a probe asks for probe or status, nothing else");
        rep_reply(pr->node->rep, call_id, &err, NULL, 0);
    } else {
        c = OBJ_NEW(struct call);
        *c = (struct call){ .pr = pr, .id = call_id };
        ask_here(pr, jget_str(body, "device", ""), jget_str(body, "host", ""), action, call_done,
                 c);
    }
    json_decref(body);
}

/* --- what is known -----------------------------------------------------------------------------
 */

static struct dev *dev_entry(struct prober *pr, const char *device)
{
    struct dev *d = map_get(&pr->devs, device);

    if (d == NULL) {
        d = OBJ_NEW(struct dev);
        (void)map_put(&pr->devs, device, d);
    }
    return d;
}

static void results_clear(struct map *m)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(m, &i, &key, &v);) {
        free(v);
    }
    map_done(m);
}

static void forget(struct prober *pr)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&pr->devs, &i, &key, &v);) {
        struct dev *d = v;

        results_clear(&d->hosts);
        results_clear(&d->execs);
        free(d);
    }
    map_done(&pr->devs);
}

bool prober_get(const struct prober *pr, const char *device, const char *host,
                struct probe_result *ret)
{
    const struct dev *d = map_get(&pr->devs, device);
    const struct probe_result *r, *best = NULL;
    const char *key;
    void *v;

    if (d == NULL || pr->term != rep_term(pr->node->rep)) {
        return false;
    }
    if (host != NULL) {
        best = map_get(&d->hosts, host);
    }
    for (size_t i = 0; host == NULL && map_next(&d->hosts, &i, &key, &v);) {
        r = v;
        best = best == NULL || r->at_ms > best->at_ms ? r : best;
    }
    if (best != NULL) {
        *ret = *best;
    }
    return best != NULL;
}

bool prober_by(const struct prober *pr, const char *device, const char *executor,
               struct probe_result *ret)
{
    const struct dev *d = map_get(&pr->devs, device);
    const struct probe_result *r = d == NULL ? NULL : map_get(&d->execs, executor);

    if (r == NULL || pr->term != rep_term(pr->node->rep)) {
        return false;
    }
    *ret = *r;
    return true;
}

bool prober_summary(const struct prober *pr, const char *device, struct probe_result *ret)
{
    const struct dev *d = map_get(&pr->devs, device);
    const char *key;
    char missing[256] = "";
    bool any = false;
    void *v;

    if (!prober_get(pr, device, NULL, ret)) {
        return false;
    }
    for (size_t i = 0; map_next(&d->execs, &i, &key, &v);) {
        const struct probe_result *r = v;
        size_t n = strlen(missing);

        if (r->outcome == (int)FENCE_SUCCEEDED) {
            any = true;
        } else {
            (void)snprintf(missing + n, sizeof(missing) - n, "%s%s: %.120s", n > 0 ? "; " : "", key,
                           r->detail);
        }
    }
    if (any) {
        ret->outcome = (int)FENCE_SUCCEEDED;
        (void)str_copy(ret->detail, sizeof(ret->detail), missing);
    }
    return true;
}

uint64_t prober_busy_ms(const struct prober *pr, const char *device)
{
    const struct dev *d = map_get(&pr->devs, device);

    return d == NULL ? 0 : d->busy_ms;
}

/* --- handing out (leader) ----------------------------------------------------------------------
 */

struct turn {
    struct prober *pr;
    uint64_t term;
    char device[256];
    struct probe_result r;
};

static bool put_result(struct map *m, const char *key, const struct probe_result *r)
{
    struct probe_result *old = map_get(m, key);
    bool changed = old == NULL || old->outcome != r->outcome;

    if (old == NULL) {
        old = OBJ_NEW(struct probe_result);
        (void)map_put(m, key, old);
    }
    *old = *r;
    return changed;
}

static void turn_done(void *ctx, const struct fence_answer *ans)
{
    struct turn *t = ctx;
    struct dev *d = map_get(&t->pr->devs, t->device);
    bool changed;

    if (d == NULL || t->term != t->pr->term) { /* another leader's time */
        free(t);
        return;
    }
    d->busy_ms = 0;
    t->r.outcome = (int)ans->result;
    t->r.at_ms = clock_now_ms();
    (void)str_copy(t->r.detail, sizeof(t->r.detail), ans->detail);
    changed = put_result(&d->hosts, t->r.host, &t->r);
    changed = put_result(&d->execs, t->r.by, &t->r) || changed;
    if (changed) {
        lg_info("probe", "device=%s host=%s by=%s result=%s detail=\"%s\"", t->device, t->r.host,
                t->r.by, fence_outcome_name(ans->result), ans->detail);
    }
    controller_wake(t->pr->node->ctl);
    free(t);
}

/* One look at everything: which hosts a device is for, and which devices are at work. */
struct names {
    char (*list)[64];
    size_t n;
};

struct round {
    struct prober *pr;
    struct rep_peer_info peers[PEERS_MAX];
    size_t n_peers;
    struct map hosts_of; /* device -> struct names (in the arena) */
    struct map in_use;   /* devices of running attempts */
    struct arena a;
    unsigned handed_out;
};

static void hand_out(struct round *r, const char *device, const char *host,
                     const struct rep_peer_info *by)
{
    struct prober *pr = r->pr;
    struct turn *t = OBJ_NEW(struct turn);

    r->handed_out++;
    t->pr = pr;
    t->term = pr->term;
    (void)str_copy(t->device, sizeof(t->device), device);
    (void)str_copy(t->r.host, sizeof(t->r.host), host);
    (void)str_copy(t->r.by, sizeof(t->r.by), by->name);
    dev_entry(pr, device)->busy_ms = clock_now_ms();
    prober_ask(pr, by->id, device, host, FENCE_ACTION_PROBE, turn_done, t);
}

static void names_add(struct round *r, const char *device, const char *host)
{
    struct names *l = map_get(&r->hosts_of, device);

    if (l == NULL) {
        l = ARENA_NEW(&r->a, struct names);
        (void)map_put(&r->hosts_of, device, l);
    }
    if (l->n % 8 == 0) {
        char(*list)[64] = arena_alloc(&r->a, (l->n + 8) * sizeof(*list));

        if (l->n > 0) {
            memcpy(list, l->list, l->n * sizeof(*list));
        }
        l->list = list;
    }
    (void)str_copy(l->list[l->n++], sizeof(l->list[0]), host);
}

static void names_of(struct round *r, const struct ctl_obj *host)
{
    const json_t *levels = jget(host->json, "spec.fencing");

    for (size_t i = 0; i < json_array_size(levels); i++) {
        const json_t *devices = jget(json_array_get(levels, i), "devices");

        for (size_t k = 0; k < json_array_size(devices); k++) {
            const char *device = json_string_value(json_array_get(devices, k));

            if (device != NULL) {
                names_add(r, device, host->name);
            }
        }
    }
}

static bool fencing_visit(void *ctx, const struct kv *v)
{
    struct round *r = ctx;
    struct s_fencing f;
    struct err err;

    if (s_fencing_decode(kv_value(v), v->vlen, &r->a, &f, &err) == 0 && f.state == FENCING_OPEN &&
        f.attempt != 0 && f.level < f.n_levels) {
        for (size_t i = 0; i < f.levels[f.level].n_devices; i++) {
            (void)map_put(&r->in_use, f.levels[f.level].devices[i].name, r);
        }
    }
    return true;
}

static uint64_t last_ms(const struct map *m, const char *key)
{
    const struct probe_result *r = map_get(m, key);

    return r == NULL ? 0 : r->at_ms;
}

/* Who reached the device longest ago; not the host itself. */
static const struct rep_peer_info *oldest_exec(const struct round *r, const struct dev *d,
                                               const char *host)
{
    const struct rep_peer_info *best = NULL;

    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer_info *p = &r->peers[i];

        if (!str_eq(p->name, host) && (p->reachable || p->id == r->pr->node->id) &&
            (best == NULL || last_ms(&d->execs, p->name) < last_ms(&d->execs, best->name))) {
            best = p;
        }
    }
    return best;
}

/* The host of the device that was looked at longest ago; not this one. */
static const char *oldest_host(const struct names *hosts, const struct dev *d, const char *not_this)
{
    const char *best = NULL;

    for (size_t i = 0; i < hosts->n; i++) {
        const char *h = hosts->list[i];

        if (!str_eq(h, not_this) &&
            (best == NULL || last_ms(&d->hosts, h) < last_ms(&d->hosts, best))) {
            best = h;
        }
    }
    return best;
}

static bool due(const struct map *m, const char *key, uint64_t interval_ms)
{
    uint64_t at = last_ms(m, key);

    return at == 0 || clock_now_ms() >= at + interval_ms;
}

/* First a host that nobody looked at lately, then a picketd that was not there lately. */
static void probe_device(struct round *r, const char *device, const struct names *hosts,
                         uint64_t interval_ms)
{
    struct dev *d = dev_entry(r->pr, device);
    const char *host = oldest_host(hosts, d, NULL);

    if (host != NULL && due(&d->hosts, host, interval_ms)) {
        const struct rep_peer_info *by = oldest_exec(r, d, host);

        if (by != NULL) {
            hand_out(r, device, host, by);
            return;
        }
    }
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct rep_peer_info *p = &r->peers[i];

        host = oldest_host(hosts, d, p->name);
        if (host != NULL && (p->reachable || p->id == r->pr->node->id) &&
            due(&d->execs, p->name, interval_ms)) {
            hand_out(r, device, host, p);
            return;
        }
    }
}

static bool held(const struct prober *pr, const char *device)
{
    const struct dev *d = map_get(&pr->devs, device);

    return d != NULL && clock_now_ms() < d->hold_ms;
}

static void consider(struct round *r, const struct ctl_obj *o)
{
    enum fence_type type = fence_type_parse(jget_str(o->json, "spec.type", ""));
    const struct names *hosts = map_get(&r->hosts_of, o->name);

    if (hosts != NULL && type != FENCE_TYPE_MANUAL && type != FENCE_TYPE_WATCHDOG &&
        type != FENCE_TYPE_NONE && !jget_bool(o->json, "spec.paused", false) &&
        prober_busy_ms(r->pr, o->name) == 0 && !held(r->pr, o->name) &&
        map_get(&r->in_use, o->name) == NULL) {
        probe_device(r, o->name, hosts, jget_duration(o->json, "spec.probeInterval", INTERVAL_MS));
    }
}

static void look(struct prober *pr)
{
    struct node *n = pr->node;
    const struct world *w = controller_world(n->ctl);
    struct round *r = OBJ_NEW(struct round);
    const struct ctl_obj *o;

    r->pr = pr;
    r->n_peers = rep_peers(n->rep, r->peers, PEERS_MAX);
    for (size_t i = 0; (o = world_next(w, kind_find("Host"), &i)) != NULL;) {
        names_of(r, o);
    }
    store_prefix(n->store, "s/fencing/", fencing_visit, r);
    for (size_t i = 0; (o = world_next(w, kind_find("FenceDevice"), &i)) != NULL;) {
        consider(r, o);
    }
    pr->quiet_until_ms = r->handed_out == 0 ? clock_now_ms() + QUIET_MS : 0;
    map_done(&r->hosts_of);
    map_done(&r->in_use);
    arena_done(&r->a);
    free(r);
}

static void on_timer(uv_timer_t *h)
{
    struct prober *pr = h->data;

    if (!node_leads(pr->node) || pr->node->session == 0 ||
        !world_loaded(controller_world(pr->node->ctl))) {
        return;
    }
    if (pr->term != rep_term(pr->node->rep)) {
        forget(pr);
        pr->term = rep_term(pr->node->rep);
        pr->quiet_until_ms = 0;
    }
    if (clock_now_ms() >= pr->quiet_until_ms) {
        look(pr);
    }
}

struct prober *prober_new(struct node *n)
{
    struct prober *pr = OBJ_NEW(struct prober);

    pr->node = n;
    pr->timer.data = pr;
    CHECK(uv_timer_init(n->loop, &pr->timer) == 0);
    CHECK(uv_timer_start(&pr->timer, on_timer, TICK_MS, TICK_MS) == 0);
    return pr;
}
