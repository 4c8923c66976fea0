/* From the store, the leases and the probes to the facts of fence/decide_plan.h. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_fence_priv.h"
#include "cmd/picketd/probe.h"

#define POWER_ON_MS 600000U
#define PROBED_MAX 128

/* Wall time of a record as a point of our own monotonic time; good enough for windows and storms,
 * which are about being needlessly eager and not about safety. */
static uint64_t mono(const struct pass *p, uint64_t wall_ms)
{
    uint64_t ago = wall_ms < p->wall_ms ? p->wall_ms - wall_ms : 0;

    return p->now_ms > ago ? p->now_ms - ago : 1;
}

/* --- devices -----------------------------------------------------------------------------------
 */

static void device_facts(struct pass *p, const char *name, const char *host, uint64_t pinned,
                         struct decide_device *ret)
{
    const struct ctl_obj *o = ctl_find(p->c, "fencedevices", name);
    const json_t *j = o == NULL ? NULL : o->json;
    const char *program = jget_str(j, "spec.agent", NULL);
    const struct prober *pr = p->c->node->prober;
    struct probe_result probe;
    uint64_t timeout;

    *ret = (struct decide_device){ .name = arena_strdup(&p->a, name), .pinned = pinned };
    ret->missing = j == NULL;
    ret->type = fence_type_parse(jget_str(j, "spec.type", ""));
    ret->proof_class = fence_class_of(ret->type, program, jget_str(j, "spec.provides", NULL),
                                      p->c->node->opts.lab);
    ret->generation = (uint64_t)jget_int(j, "metadata.generation", 0);
    ret->paused = jget_bool(j, "spec.paused", false);
    ret->max_concurrent = (uint32_t)jget_int(j, "spec.maxConcurrent", 0);
    ret->probing_ms = prober_busy_ms(pr, name);
    timeout = jget_duration(j, "spec.timeout", 0);
    ret->extra_ms =
        timeout > p->timing.device_timeout_ms ? timeout - p->timing.device_timeout_ms : 0;
    ret->probe_max_age_ms = 3 * jget_duration(j, "spec.probeInterval", 60000);
    if (prober_get(pr, name, host, &probe)) {
        ret->probe = (enum fence_outcome)probe.outcome;
        ret->probe_ms = probe.at_ms;
        ret->probe_detail = arena_strdup(&p->a, probe.detail);
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

            device_facts(p, name == NULL ? "" : name, ret->name, 0, &d[k]);
        }
        out[i] = (struct decide_level){ .devices = d, .n_devices = m };
    }
    ret->levels = out;
    ret->n_levels = n;
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
            device_facts(p, l->devices[k].name, f->host, l->devices[k].generation, &d[k]);
        }
        out[i] = (struct decide_level){ .devices = d,
                                        .n_devices = l->n_devices,
                                        .covers = (uint32_t)fence_covered_locks(p, f, (uint32_t)i,
                                                                                NULL) };
    }
    ret->levels = out;
    ret->n_levels = f->n_levels;
}

/* Did a person ask for it?  One that the leader opened anew because something was edited takes the
 * place of the one before in one entry, so the end of that is the beginning of this. */
static bool by_user(const struct fence_facts *fa, const struct s_fencing *f)
{
    uint64_t opened = f->opened_wall_ms;
    bool user = !str_eq(f->by, "controller");

    for (size_t i = fa->n_old; !user && i > 0; i--) { /* in order of their ids */
        const struct old_fencing *o = &fa->old[i - 1];

        if (o->id < f->id && o->incarnation == f->incarnation && o->canceled &&
            o->closed_wall_ms == opened) {
            opened = o->opened_wall_ms;
            user = !o->controller;
        }
    }
    return user;
}

static const struct decide_fencing *fencing_facts(const struct fence_facts *fa,
                                                  const struct s_inc *inc)
{
    struct pass *p = fa->p;
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
                                    .by_user = by_user(fa, &f),
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

struct ctl_host_memory *fence_host_memory(struct pass *p, const char *name)
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
    struct ctl_host_memory *m = fence_host_memory(p, name);
    struct lease_info l;

    if (h->state == DECIDE_INC_LIVE && !p->c->what_if) {
        const struct s_inc *inc = pass_inc(p, name);

        lease_table_grant(p->c->node->leases, name, h->incarnation, inc->loosest.lease_ms);
    }
    if (lease_table_get(p->c->node->leases, name, &l) && l.incarnation == h->incarnation) {
        h->lease_until_ms = l.until_ms;
        h->asked_ms = l.asked_ms;
        h->life_ms = l.last_ms;
        h->slot_ms = l.slot_ms;
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

/* Fencings by hand: who does that has looked at the host, so its budget starts anew.  And
 * `picket annotate`-able: fencings before this time do not count any more. */
static void release_facts(const struct fence_facts *fa, const struct ctl_obj *o,
                          struct decide_host *h)
{
    const json_t *notes = jget(o->json, "metadata.annotations");
    const char *when = json_string_value(json_object_get(notes, "picket/fencing-released"));
    uint64_t wall;

    if (when != NULL && str_parse_time(when, &wall)) {
        h->released_ms = mono(fa->p, wall);
    }
    for (size_t i = 0; i < fa->n_old; i++) {
        const struct old_fencing *f = &fa->old[i];

        if (!f->controller && f->opened_ms > h->released_ms && str_eq(f->host, h->name)) {
            h->released_ms = f->opened_ms;
        }
    }
}

/* Switching on again (action: Reboot) belongs to the fencing: not hours later, and once per leader.
 */
static void power_facts(const struct fence_facts *fa, const struct s_inc *inc,
                        struct decide_host *h)
{
    struct pass *p = fa->p;

    h->powered_on = true;
    if (h->fenced_by != DECIDE_PROOF_OFF || p->wall_ms > inc->state_wall_ms + POWER_ON_MS ||
        fence_host_memory(p, h->name)->powered_inc == inc->number) {
        return;
    }
    for (size_t i = 0; i < fa->n_old; i++) {
        if (fa->old[i].incarnation == inc->number && fa->old[i].succeeded) {
            h->fenced_level = fa->old[i].level;
        }
    }
    h->powered_on = false;
}

static void host_facts(struct fence_facts *fa, const struct ctl_obj *o, struct decide_host *h)
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
    h->fencing = fencing_facts(fa, inc);
    release_facts(fa, o, h);
    power_facts(fa, inc, h);
}

/* --- history and candidates --------------------------------------------------------------------
 */

/* The newest ones: far more than any window holds. */
static bool old_visit(void *ctx, const struct kv *v)
{
    struct fence_facts *fa = ctx;
    struct old_fencing *o = &fa->old[fa->n_old];
    struct s_fencing f;
    struct err err;
    uint64_t id;

    if (!str_parse_u64(kv_key(v) + strlen("s/fencing/"), &id) ||
        id + FENCE_HISTORY_MAX <= fa->last_fencing) {
        return true;
    }
    if (s_fencing_decode(kv_value(v), v->vlen, &fa->p->a, &f, &err) == 0) {
        *o = (struct old_fencing){ .id = f.id,
                                   .host = f.host,
                                   .incarnation = f.incarnation,
                                   .level = f.level,
                                   .opened_ms = mono(fa->p, f.opened_wall_ms),
                                   .opened_wall_ms = f.opened_wall_ms,
                                   .closed_wall_ms = f.closed_wall_ms,
                                   .canceled = f.state == FENCING_CANCELED,
                                   .controller = str_eq(f.by, "controller"),
                                   .succeeded = f.state == FENCING_SUCCEEDED,
                                   .wiring_test = str_starts(f.reason, FENCE_WIRING_TEST) };
        fa->n_old++;
    }
    return fa->n_old < FENCE_HISTORY_MAX;
}

static void old_facts(struct fence_facts *fa)
{
    struct s_cluster c = { 0 };
    struct err err;

    (void)s_cluster_get(fa->p->c->node->store, &fa->p->a, &c, &err);
    fa->last_fencing = c.last_fencing;
    store_prefix(fa->p->c->node->store, "s/fencing/", old_visit, fa);
}

/* Those that the controller opened, of one host (but for its open one) or of all. */
static size_t history_of(const struct fence_facts *fa, const struct decide_host *h, uint64_t **ret)
{
    uint64_t open = h == NULL || h->fencing == NULL ? 0 : h->fencing->id;
    size_t n = 0;

    *ret = ARENA_ARRAY(&fa->p->a, uint64_t, fa->n_old + 1);
    for (size_t i = 0; i < fa->n_old; i++) {
        const struct old_fencing *f = &fa->old[i];

        if (f->controller && f->id != open && (h == NULL || str_eq(f->host, h->name))) {
            (*ret)[n++] = f->opened_ms;
        }
    }
    return n;
}

static void history_facts(struct fence_facts *fa, struct decide_host *hosts, size_t n)
{
    uint64_t *list;

    fa->f.n_history = history_of(fa, NULL, &list);
    fa->f.history_ms = list;
    for (size_t i = 0; i < n; i++) {
        hosts[i].n_history = history_of(fa, &hosts[i], &list);
        hosts[i].history_ms = list;
    }
}

/* Which devices it reached at its newest probe. */
static void probed_facts(struct pass *p, struct decide_candidate *c)
{
    const struct kind *k = kind_find("FenceDevice");
    const char **names = ARENA_ARRAY(&p->a, const char *, PROBED_MAX);
    uint64_t *when = ARENA_ARRAY(&p->a, uint64_t, PROBED_MAX);
    const struct ctl_obj *o;
    struct probe_result probe;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL && c->n_probed < PROBED_MAX;) {
        if (prober_by(p->c->node->prober, o->name, c->name, &probe) &&
            probe.outcome == (int)FENCE_SUCCEEDED) {
            names[c->n_probed] = o->name;
            when[c->n_probed++] = probe.at_ms;
        }
    }
    c->probed_devices = names;
    c->probed_ms = when;
}

static void candidate_facts(struct fence_facts *fa)
{
    struct pass *p = fa->p;
    struct node *n = p->c->node;
    struct rep_peer_info *peers = ARENA_ARRAY(&p->a, struct rep_peer_info, FENCE_PEERS_MAX);
    size_t count = rep_peers(n->rep, peers, FENCE_PEERS_MAX);
    struct decide_candidate *out = ARENA_ARRAY(&p->a, struct decide_candidate, count + 1);

    for (size_t i = 0; i < count; i++) {
        const struct s_inc *inc = pass_inc(p, peers[i].name);

        out[i] = (struct decide_candidate){ .name = peers[i].name,
                                            .leader = peers[i].id == n->id,
                                            .reachable = peers[i].id == n->id || peers[i].reachable,
                                            .voter = peers[i].role == REP_VOTER };
        out[i].state = inc == NULL ? DECIDE_INC_NONE : (enum decide_state)inc->state;
        /* a host whose agent has not registered since it was made part of the cluster */
        out[i].fresh = inc == NULL && ctl_find(p->c, "hosts", peers[i].name) != NULL;
        out[i].silent_ms = out[i].reachable ? 0 : peers[i].last_contact_ms;
        probed_facts(p, &out[i]);
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
        .priority_delay_ms = jget_duration(c, "spec.fencing.priorityDelay", 0),
    };
}

void fence_facts_make(struct fence_facts *fa, struct pass *p)
{
    const struct kind *k = kind_find("Host");
    struct decide_host *hosts;
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(p->c, k, &pos) != NULL;) {
        n++;
    }
    hosts = ARENA_ARRAY(&p->a, struct decide_host, n + 1);
    n = 0;
    fa->p = p;
    old_facts(fa);
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
    fa->f.grace_ms = p->c->grace_ms;
    fa->f.returned = p->c->returned;
    fa->f.self = p->c->node->opts.name;
    fa->f.heartbeat_ms = p->timing.heartbeat_ms;
    fa->f.lease_ms = p->timing.lease_ms;
    fa->f.drift_ms = p->timing.drift_ms;
    fa->f.attempt_timeout_ms = p->timing.attempt_timeout_ms;
    fa->f.backoff_ms = p->timing.backoff_ms;
    fa->f.backoff_max_ms = p->timing.backoff_max_ms;
    fa->f.probe_max_age_ms = 3 * p->timing.probe_ms;
    fa->f.life_fresh_ms = p->timing.lease_ms;
    fa->f.slot_stale_ms = LEASE_SLOT_BEATS * p->timing.heartbeat_ms;
    fa->f.hosts = hosts;
    fa->f.n_hosts = n;
}
