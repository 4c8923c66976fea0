/* From the store, the leases and the probes to the facts of fence/decide_plan.h, and from its
 * decisions to commands. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/exec.h"
#include "cmd/picketd/object.h"

#define HISTORY_MAX 256
#define POWER_ON_MS 600000U
#define PEERS_MAX 32

struct facts {
    struct pass *p;
    struct decide_facts f;
    uint64_t history[HISTORY_MAX];
    size_t n_history;
};

/* Wall time of a record as a point of our own monotonic time; good enough for windows and storms,
 * which are about being needlessly eager and not about safety. */
static uint64_t mono(const struct pass *p, uint64_t wall_ms)
{
    uint64_t ago = wall_ms < p->wall_ms ? p->wall_ms - wall_ms : 0;

    return p->now_ms > ago ? p->now_ms - ago : 1;
}

/* --- devices -----------------------------------------------------------------------------------
 */

static void device_facts(struct pass *p, const char *name, uint64_t pinned,
                         struct decide_device *ret)
{
    const struct ctl_obj *o = ctl_find(p->c, "fencedevices", name);
    const json_t *j = o == NULL ? NULL : o->json;
    const char *program = jget_str(j, "spec.agent", NULL);
    struct exec_probe probe;

    *ret = (struct decide_device){ .name = arena_strdup(&p->a, name), .pinned = pinned };
    ret->missing = j == NULL;
    ret->type = fence_type_parse(jget_str(j, "spec.type", ""));
    ret->proof_class = fence_class_of(ret->type, program, jget_str(j, "spec.provides", NULL),
                                      p->c->node->opts.lab);
    ret->generation = (uint64_t)jget_int(j, "metadata.generation", 0);
    ret->paused = jget_bool(j, "spec.paused", false);
    ret->max_concurrent = (uint32_t)jget_int(j, "spec.maxConcurrent", 0);
    if (executor_probe(p->c->node->exec, name, &probe)) {
        ret->probe = (enum fence_outcome)probe.outcome;
        ret->probe_ms = probe.at_ms;
    }
}

static void declared_levels(struct pass *p, const json_t *host, struct decide_host *ret)
{
    const json_t *levels = jget(host, "spec.fencing");
    size_t n = json_array_size(levels);
    struct decide_level *out = ARENA_ARRAY(&p->a, struct decide_level, n + 1);

    for (size_t i = 0; i < n; i++) {
        const json_t *names = jget(json_array_get(levels, i), "devices");
        size_t m = json_array_size(names);
        struct decide_device *d = ARENA_ARRAY(&p->a, struct decide_device, m + 1);

        for (size_t k = 0; k < m; k++) {
            const char *name = json_string_value(json_array_get(names, k));

            device_facts(p, name == NULL ? "" : name, 0, &d[k]);
        }
        out[i] = (struct decide_level){ .devices = d, .n_devices = m };
    }
    ret->levels = out;
    ret->n_levels = n;
}

/* What an Agent device can prove depends on its program; for all others the store knows. */
static enum proof_class device_class(const struct node *n, const json_t *dev)
{
    enum fence_type type = fence_type_parse(jget_str(dev, "spec.type", ""));

    if (type != FENCE_TYPE_AGENT) {
        return CLASS_BY_TYPE;
    }
    switch (fence_class_of(type, jget_str(dev, "spec.agent", NULL),
                           jget_str(dev, "spec.provides", NULL), n->opts.lab)) {
    case FENCE_CLASS_POWER:
        return CLASS_POWER;
    case FENCE_CLASS_STORAGE:
        return CLASS_STORAGE;
    case FENCE_CLASS_NONE:
        return CLASS_NONE;
    }
    CHECK_UNREACHABLE();
}

int fence_levels(struct node *n, const char *host, struct arena *a, struct cmd_safety *ret,
                 struct err *err)
{
    uint64_t rev;
    json_t *obj = object_load(n->store, kind_find("Host"), host, &rev, err);
    const json_t *levels = jget(obj, "spec.fencing");
    size_t count = json_array_size(levels);

    if (obj == NULL) {
        return err->code;
    }
    ret->host = arena_strdup(a, host);
    ret->host_generation = (uint64_t)jget_int(obj, "metadata.generation", 0);
    ret->levels = ARENA_ARRAY(a, struct cmd_fence_level, count + 1);
    ret->n_levels = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *names = jget(json_array_get(levels, i), "devices");
        size_t m = json_array_size(names);

        ret->levels[i].devices = ARENA_ARRAY(a, struct cmd_fence_device, m + 1);
        ret->levels[i].n_devices = m;
        for (size_t k = 0; k < m; k++) {
            const char *name = json_string_value(json_array_get(names, k));
            struct err missing;
            json_t *dev = object_load(n->store, kind_find("FenceDevice"), name, &rev, &missing);

            ret->levels[i].devices[k] = (struct cmd_fence_device){
                .name = arena_strdup(a, name),
                .generation = (uint64_t)jget_int(dev, "metadata.generation", 0),
                .type = arena_strdup(a, jget_str(dev, "spec.type", "None")),
                .provides = device_class(n, dev),
            };
            json_decref(dev);
        }
    }
    json_decref(obj);
    return 0;
}

/* --- the open fencing --------------------------------------------------------------------------
 */

/* When this leader first saw something of a fencing: its own clock, since its log has none. */
static uint64_t first_seen(struct pass *p, const char *key)
{
    struct ctl_time *t = map_get(&p->c->attempts, key);

    if (t == NULL) {
        t = OBJ_NEW(struct ctl_time);
        t->ms = p->now_ms;
        (void)map_put(&p->c->attempts, key, t);
    }
    return t->ms;
}

static uint64_t attempt_seen(struct pass *p, const struct s_fencing *f, const char *what)
{
    return first_seen(p,
                      arena_printf(&p->a, "%" PRIu64 "/%" PRIu64 "/%s", f->id, f->attempt, what));
}

static uint64_t result_seen(struct pass *p, const struct s_fencing *f,
                            const struct s_fencing_result *r)
{
    return first_seen(
        p, arena_printf(&p->a, "%" PRIu64 "/%" PRIu64 "/result/%s", f->id, r->attempt, r->device));
}

static void pinned_levels(struct pass *p, const struct s_fencing *f, struct decide_fencing *ret)
{
    struct decide_level *out = ARENA_ARRAY(&p->a, struct decide_level, f->n_levels + 1);

    for (size_t i = 0; i < f->n_levels; i++) {
        const struct cmd_fence_level *l = &f->levels[i];
        struct decide_device *d = ARENA_ARRAY(&p->a, struct decide_device, l->n_devices + 1);

        for (size_t k = 0; k < l->n_devices; k++) {
            device_facts(p, l->devices[k].name, l->devices[k].generation, &d[k]);
        }
        out[i] = (struct decide_level){ .devices = d, .n_devices = l->n_devices };
    }
    ret->levels = out;
    ret->n_levels = f->n_levels;
}

static const struct decide_fencing *fencing_facts(struct pass *p, const struct s_inc *inc)
{
    struct decide_fencing *ret = ARENA_NEW(&p->a, struct decide_fencing);
    struct decide_result *results;
    struct s_fencing f;
    struct err err;

    if (inc->fencing == 0 || s_fencing_get(p->c->node->store, inc->fencing, &p->a, &f, &err) != 0) {
        return NULL;
    }
    *ret = (struct decide_fencing){ .id = f.id,
                                    .attempt = f.attempt,
                                    .level = f.level,
                                    .executor = f.executor,
                                    .vetoed = f.vetoed,
                                    .veto_reason = f.veto_reason,
                                    .by_user = !str_eq(f.by, "controller"),
                                    .host_generation = f.host_generation };
    ret->started_ms = f.attempt == 0 ? 0 : attempt_seen(p, &f, "start");
    if (inc->wait_term == p->c->term && inc->wait_term != 0) {
        /* one wait for the whole fencing, whatever attempts are made meanwhile */
        ret->wait_started_ms =
            first_seen(p, arena_printf(&p->a, "%" PRIu64 "/wait/%" PRIu64, f.id, inc->wait_rev));
    }
    pinned_levels(p, &f, ret);
    results = ARENA_ARRAY(&p->a, struct decide_result, f.n_results + 1);
    for (size_t i = 0; i < f.n_results; i++) {
        const struct s_fencing_result *r = &f.results[i];

        results[i] = (struct decide_result){ .device = r->device,
                                             .attempt = r->attempt,
                                             .result = (enum fence_outcome)r->result,
                                             .at_ms = result_seen(p, &f, r),
                                             .detail = r->detail };
    }
    ret->results = results;
    ret->n_results = f.n_results;
    return ret;
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static struct ctl_host_memory *host_memory(struct pass *p, const char *name)
{
    struct ctl_host_memory *m = map_get(&p->c->hosts, name);

    if (m == NULL) {
        m = OBJ_NEW(struct ctl_host_memory);
        (void)map_put(&p->c->hosts, name, m);
    }
    return m;
}

/* A newer boot of the same machine asks to register, and the lease of the boot before is over.  Not
 * earlier: should two machines bear one identity after all, the other one is no longer ahead of its
 * lease. */
static bool rebooted(const struct pass *p, const struct lease_info *l)
{
    return l->newer_boot_ms != 0 && p->now_ms < l->newer_boot_ms + 2 * p->timing.lease_ms &&
           p->now_ms > l->until_ms;
}

/* Of `declared` links; all of them when nothing is known of single ones (one host alone). */
static uint32_t links_up(const struct pass *p, const struct lease_info *l, uint32_t declared)
{
    uint64_t bits = lease_links(p->c->node->leases, l, p->now_ms);
    uint32_t up = (uint32_t)__builtin_popcountll(bits);

    return bits == 0 || up > declared ? declared : up;
}

static void lease_facts(struct pass *p, const char *name, struct decide_host *h)
{
    struct ctl_host_memory *m = host_memory(p, name);
    struct lease_info l;

    if (h->state == DECIDE_INC_LIVE) {
        const struct s_inc *inc = pass_inc(p, name);

        lease_table_grant(p->c->node->leases, name, h->incarnation, inc->loosest.lease_ms);
    }
    if (lease_table_get(p->c->node->leases, name, &l) && l.incarnation == h->incarnation) {
        h->lease_until_ms = l.until_ms;
        h->asked_ms = l.asked_ms;
        h->life_ms = l.last_ms;
        h->links_up = l.until_ms > p->now_ms ? links_up(p, &l, h->links) : 0;
        h->rebooted = rebooted(p, &l);
        if (l.newer_boot_ms != 0 && !h->rebooted) {
            pass_recheck(p, p->now_ms + p->timing.heartbeat_ms);
        }
    }
    if (h->state == DECIDE_INC_LIVE && h->lease_until_ms > p->now_ms) {
        m->suspect_ms = 0;
    } else if (h->state != DECIDE_INC_NONE && m->suspect_ms == 0) {
        m->suspect_ms = p->now_ms;
    }
    h->suspect_ms = m->suspect_ms;
}

static void lock_facts(struct pass *p, struct decide_host *h)
{
    struct world_host *w = world_host(p->c->world, h->name);

    if (w != NULL) {
        world_load_of(p->c->world, w);
        h->n_locks += (uint32_t)w->n_locks;
        h->priority += w->priority;
    }
}

static void terms_facts(const struct s_inc *inc, struct decide_terms *t)
{
    const struct terms *l = &inc->loosest;

    *t = (struct decide_terms){ .lease_ms = l->lease_ms,
                                .watchdog_ms = l->watchdog_ms,
                                .feed_ms = l->feed_ms,
                                .wd = (enum decide_wd)l->wd,
                                .nowayout = l->nowayout,
                                .guarded = l->guarded && !inc->ever_unguarded,
                                .freeze = l->on_quorum_loss == QUORUM_LOSS_FREEZE };
}

/* A person who fences the host by hand has looked at it: the budget starts anew. */
struct released {
    struct pass *p;
    struct decide_host *h;
};

static bool released_visit(void *ctx, const struct kv *v)
{
    struct released *r = ctx;
    struct arena a = { 0 };
    struct s_fencing f;
    struct err err;

    if (s_fencing_decode(kv_value(v), v->vlen, &a, &f, &err) == 0 && str_eq(f.host, r->h->name) &&
        !str_eq(f.by, "controller")) {
        uint64_t at = mono(r->p, f.opened_wall_ms);

        r->h->released_ms = at > r->h->released_ms ? at : r->h->released_ms;
    }
    arena_done(&a);
    return true;
}

/* `picket annotate`-able: fencings before this time do not count against the host's budget any
 * more. */
static void release_facts(struct pass *p, const struct ctl_obj *o, struct decide_host *h)
{
    const json_t *notes = jget(o->json, "metadata.annotations");
    const char *when = json_string_value(json_object_get(notes, "picket/fencing-released"));
    struct released rel = { .p = p, .h = h };
    uint64_t wall;

    if (when != NULL && str_parse_time(when, &wall)) {
        h->released_ms = mono(p, wall);
    }
    store_prefix(p->c->node->store, "s/fencing/", released_visit, &rel);
}

struct proved {
    uint64_t incarnation;
    uint32_t level;
};

static bool proved_visit(void *ctx, const struct kv *v)
{
    struct proved *pr = ctx;
    struct arena a = { 0 };
    struct s_fencing f;
    struct err err;

    if (s_fencing_decode(kv_value(v), v->vlen, &a, &f, &err) == 0 &&
        f.incarnation == pr->incarnation && f.state == FENCING_SUCCEEDED) {
        pr->level = f.level;
    }
    arena_done(&a);
    return true;
}

/* Switching on again (action: Reboot) belongs to the fencing: not hours later, and once per leader.
 */
static void power_facts(struct pass *p, const struct s_inc *inc, struct decide_host *h)
{
    struct proved pr = { .incarnation = inc->number };

    h->powered_on = true;
    if (h->fenced_by != DECIDE_PROOF_OFF || p->wall_ms > inc->state_wall_ms + POWER_ON_MS ||
        host_memory(p, h->name)->powered_inc == inc->number) {
        return;
    }
    store_prefix(p->c->node->store, "s/fencing/", proved_visit, &pr);
    h->fenced_level = pr.level;
    h->powered_on = false;
}

static void host_facts(struct facts *fa, const struct ctl_obj *o, struct decide_host *h)
{
    struct pass *p = fa->p;
    const struct s_inc *inc = pass_inc(p, o->name);
    struct s_host rec = { 0 };
    struct err err;

    *h = (struct decide_host){ .name = o->name,
                               .generation = (uint64_t)jget_int(o->json, "metadata.generation", 0),
                               .maintenance = jget_bool(o->json, "spec.maintenance", false) };
    h->links = (uint32_t)json_array_size(jget(o->json, "spec.addresses"));
    declared_levels(p, o->json, h);
    if (inc == NULL) {
        return;
    }
    if (s_host_get(p->c->node->store, o->name, &p->a, &rec, &err) == 0) {
        h->conflict = rec.conflict != NULL && *rec.conflict != 0;
    }
    h->incarnation = inc->number;
    h->state = (enum decide_state)inc->state;
    h->fenced_by = inc->state == INC_FENCED ? (enum decide_proof)inc->proof : DECIDE_PROOF_NONE;
    lease_facts(p, o->name, h);
    lock_facts(p, h);
    terms_facts(inc, &h->terms);
    h->fencing = fencing_facts(p, inc);
    release_facts(p, o, h);
    power_facts(p, inc, h);
}

/* --- history and candidates --------------------------------------------------------------------
 */

struct history {
    struct facts *fa;
    const char *host; /* NULL: the whole cluster */
    uint64_t open;    /* not this one */
    uint64_t *dst;
    size_t n;
};

static bool history_visit(void *ctx, const struct kv *v)
{
    struct history *h = ctx;
    struct arena a = { 0 };
    struct s_fencing f;
    struct err err;

    if (s_fencing_decode(kv_value(v), v->vlen, &a, &f, &err) == 0 && str_eq(f.by, "controller") &&
        h->n < HISTORY_MAX && f.id != h->open && (h->host == NULL || str_eq(h->host, f.host))) {
        h->dst[h->n++] = mono(h->fa->p, f.opened_wall_ms);
    }
    arena_done(&a);
    return true;
}

static void history_facts(struct facts *fa, struct decide_host *hosts, size_t n)
{
    struct history all = { .fa = fa, .dst = fa->history };

    store_prefix(fa->p->c->node->store, "s/fencing/", history_visit, &all);
    fa->f.history_ms = fa->history;
    fa->f.n_history = all.n;
    for (size_t i = 0; i < n && all.n > 0; i++) {
        struct history one = { .fa = fa, .host = hosts[i].name };

        one.open = hosts[i].fencing == NULL ? 0 : hosts[i].fencing->id;
        one.dst = ARENA_ARRAY(&fa->p->a, uint64_t, HISTORY_MAX);
        store_prefix(fa->p->c->node->store, "s/fencing/", history_visit, &one);
        hosts[i].history_ms = one.dst;
        hosts[i].n_history = one.n;
    }
}

/* What this leader itself has probed with success. */
static void probed_facts(struct pass *p, struct decide_candidate *c)
{
    const struct kind *k = kind_find("FenceDevice");
    const char **names = ARENA_ARRAY(&p->a, const char *, 64);
    uint64_t *when = ARENA_ARRAY(&p->a, uint64_t, 64);
    const struct ctl_obj *o;
    struct exec_probe probe;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL && c->n_probed < 64;) {
        if (executor_probe(p->c->node->exec, o->name, &probe) &&
            probe.outcome == (int)FENCE_SUCCEEDED) {
            names[c->n_probed] = o->name;
            when[c->n_probed++] = probe.at_ms;
        }
    }
    c->probed_devices = names;
    c->probed_ms = when;
}

static void candidate_facts(struct facts *fa)
{
    struct pass *p = fa->p;
    struct node *n = p->c->node;
    struct rep_peer_info *peers = ARENA_ARRAY(&p->a, struct rep_peer_info, PEERS_MAX);
    size_t count = rep_peers(n->rep, peers, PEERS_MAX);
    struct decide_candidate *out = ARENA_ARRAY(&p->a, struct decide_candidate, count + 1);

    for (size_t i = 0; i < count; i++) {
        const struct s_inc *inc = pass_inc(p, peers[i].name);

        out[i] = (struct decide_candidate){ .name = peers[i].name,
                                            .leader = peers[i].id == n->id,
                                            .reachable = peers[i].id == n->id || peers[i].reachable,
                                            .voter = peers[i].role == REP_VOTER };
        out[i].state = inc == NULL ? DECIDE_INC_NONE : (enum decide_state)inc->state;
        if (out[i].leader) {
            probed_facts(p, &out[i]);
        }
    }
    fa->f.candidates = out;
    fa->f.n_candidates = count;
}

/* "More than half of all hosts"; of two hosts one has to be enough. */
static uint32_t healthy_needed(const struct pass *p, size_t hosts)
{
    uint32_t most = hosts <= 2 ? 1 : (uint32_t)(hosts / 2 + 1);

    return (uint32_t)jget_int(p->cluster, "spec.fencing.minHealthy", most);
}

static void policy_facts(const struct pass *p, size_t hosts, struct decide_policy *ret)
{
    const json_t *c = p->cluster;

    *ret = (struct decide_policy){
        .reboot = str_eq(jget_str(c, "spec.fencing.action", "Off"), "Reboot"),
        .pause_fencing = jget_bool(c, "spec.pauseFencing", false),
        .lab = p->c->node->opts.lab,
        .watchdog_fallback = true, /* the store checks that the host was guarded */
        .startup_grace_ms = p->timing.startup_grace_ms,
        .max_per_window = (uint32_t)jget_int(c, "spec.fencing.maxPerWindow", 2),
        .max_per_host = (uint32_t)jget_int(c, "spec.fencing.maxPerHost", 2),
        .window_ms = jget_duration(c, "spec.fencing.window", 600000),
        .max_in_flight = 1,
        .min_healthy = healthy_needed(p, hosts),
        .priority_delay_ms = 0,
    };
}

/* --- decisions to commands ---------------------------------------------------------------------
 */

static void transfer(struct pass *p, const struct decide_item *it)
{
    struct rep_peer_info peers[PEERS_MAX];
    size_t n = rep_peers(p->c->node->rep, peers, PEERS_MAX);
    struct err err;

    for (size_t i = 0; i < n; i++) {
        if (str_eq(peers[i].name, it->executor) &&
            rep_transfer(p->c->node->rep, peers[i].id, &err) != 0) {
            lg_warn("ctl", "msg=\"transfer to %s: %s\"", it->executor, err.msg);
        }
    }
}

static void power_on(struct pass *p, const struct decide_item *it)
{
    const struct ctl_obj *o = ctl_find(p->c, "hosts", it->host);
    const json_t *levels = o == NULL ? NULL : jget(o->json, "spec.fencing");
    const json_t *names = jget(json_array_get(levels, it->level), "devices");

    host_memory(p, it->host)->powered_inc = it->incarnation;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *device = json_string_value(json_array_get(names, i));

        if (device != NULL) {
            executor_power_on(p->c->node->exec, it->host, device);
        }
    }
}

static void carry_out(struct pass *p, const struct decide_item *it)
{
    struct cmd c = { .op = CMD_NONE };
    struct err err;

    c.safety.incarnation = it->incarnation;
    c.safety.fencing = it->fencing;
    c.safety.attempt = it->attempt;
    c.safety.reason = it->why;
    c.safety.host = it->host;
    switch (it->kind) {
    case DECIDE_TRANSFER_LEADERSHIP:
        transfer(p, it);
        return;
    case DECIDE_MARK_LOST:
        lease_table_lost(p->c->node->leases, it->host);
        c.op = CMD_LOST;
        break;
    case DECIDE_REPRIEVE:
        lease_table_reprieve(p->c->node->leases, it->host);
        c.op = CMD_REPRIEVE;
        break;
    case DECIDE_FENCE_OPEN:
    case DECIDE_FENCE_REOPEN:
        c.op = CMD_FENCE_OPEN;
        if (fence_levels(p->c->node, it->host, &p->a, &c.safety, &err) != 0) {
            lg_warn("ctl", "host=%s msg=\"%s\"", it->host, err.msg);
            return;
        }
        break;
    case DECIDE_FENCE_ATTEMPT:
        c.op = CMD_FENCE_ATTEMPT;
        c.safety.level = it->level;
        c.safety.executor = it->executor;
        break;
    case DECIDE_VETO:
        c.op = CMD_FENCE_VETO;
        c.safety.life_sign = str_eq(it->reason, "MisWired");
        break;
    case DECIDE_PROOF:
        c.op = CMD_PROOF;
        c.safety.proof = (enum proof_kind)it->proof;
        c.safety.elapsed_ms = it->elapsed_ms;
        break;
    case DECIDE_WATCHDOG_WAIT:
        c.op = CMD_WATCHDOG_WAIT;
        break;
    case DECIDE_POWER_ON:
        power_on(p, it);
        return;
    case DECIDE_HOLD:
    case DECIDE_WAIT:
        return;
    }
    lg_info("ctl", "host=%s incarnation=%" PRIu64 " do=%s why=\"%s\"", it->host, it->incarnation,
            decide_kind_name(it->kind), it->why);
    ctl_submit(p->c, &c);
}

void ctl_fence_pass(struct pass *p)
{
    struct facts *fa = ARENA_NEW(&p->a, struct facts);
    const struct kind *k = kind_find("Host");
    struct decide_host *hosts;
    struct decide_plan plan;
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(p->c, k, &pos) != NULL;) {
        n++;
    }
    hosts = ARENA_ARRAY(&p->a, struct decide_host, n + 1);
    n = 0;
    fa->p = p;
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        host_facts(fa, o, &hosts[n]);
        if (hosts[n].lease_until_ms > p->now_ms) {
            pass_recheck(p, hosts[n].lease_until_ms + 1);
        }
        n++;
    }
    history_facts(fa, hosts, n);
    candidate_facts(fa);
    policy_facts(p, n, &fa->f.policy);
    fa->f.now_ms = p->now_ms;
    fa->f.quorate = true; /* a pass runs on a leader whose barrier has been applied */
    fa->f.leader_since_ms = p->c->since_ms;
    fa->f.cold_start_ms = p->c->cold_start_ms;
    fa->f.self = p->c->node->opts.name;
    fa->f.heartbeat_ms = p->timing.heartbeat_ms;
    fa->f.lease_ms = p->timing.lease_ms;
    fa->f.drift_ms = p->timing.drift_ms;
    fa->f.attempt_timeout_ms = p->timing.attempt_timeout_ms;
    fa->f.backoff_ms = p->timing.backoff_ms;
    fa->f.backoff_max_ms = p->timing.backoff_max_ms;
    fa->f.probe_max_age_ms = 3 * p->timing.probe_ms;
    fa->f.life_fresh_ms = p->timing.lease_ms;
    fa->f.slot_stale_ms = 3 * p->timing.heartbeat_ms;
    fa->f.hosts = hosts;
    fa->f.n_hosts = n;
    decide_plan(&fa->f, &p->a, &plan);
    for (size_t i = 0; i < plan.n_items; i++) {
        carry_out(p, &plan.items[i]);
    }
    pass_recheck(p, plan.recheck_at_ms);
    ctl_host_pass(p, &plan);
}
