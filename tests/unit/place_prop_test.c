/* Properties of placement on random small clusters.  PICKET_SEED=N runs one seed, PICKET_RUNS=N so
 * many (default 4000). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "place_world.h"

#define HOSTS_MAX 8
#define VMS_MAX 24
#define ROUNDS_MAX 60

static uint64_t seed_now;

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fail_msg("PICKET_SEED=%llu: %s", (unsigned long long)seed_now, #cond);                 \
        }                                                                                          \
    } while (0)

/* ---- a cluster from a seed ---- */

struct dice {
    struct prng p;
    unsigned odd_hosts;   /* percent that are not Ready */
    unsigned held;        /* percent that run somewhere */
    unsigned constrained; /* percent with lists, selectors, needs */
    unsigned n_rules;
    unsigned tight; /* memory of a host in units of 1 Gi */
    bool moves;     /* failback, migrations under way, drains */
    bool preempt;
    bool after;
    unsigned spread; /* percent with spreadBy */
};

static uint64_t roll(struct dice *d, uint64_t n)
{
    return prng_below(&d->p, n);
}

static bool chance(struct dice *d, unsigned percent)
{
    return roll(d, 100) < percent;
}

static uint32_t *some(struct world *w, struct dice *d, size_t n, size_t *ret_n)
{
    uint32_t *list = ARENA_ARRAY(&w->a, uint32_t, n);

    *ret_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (chance(d, 50)) {
            list[(*ret_n)++] = i;
        }
    }
    return list;
}

static void random_host(struct world *w, struct dice *d, uint32_t i)
{
    static const char *const racks[] = { "r1", "r2", "r3" };
    struct place_label *l = ARENA_ARRAY(&w->a, struct place_label, 2);
    struct place_host *h = &w->hosts[i];

    *h = (struct place_host){ .name = arena_printf(&w->a, "h%llu-%u",
                                                   (unsigned long long)roll(d, 90), i) };
    h->memory = (d->tight + roll(d, d->tight)) * GI;
    h->cpus = 2 + (uint32_t)roll(d, 8);
    h->labels = l;
    if (chance(d, 80)) {
        l[h->n_labels++] = (struct place_label){ "rack", racks[roll(d, 3)] };
    }
    if (chance(d, 50)) {
        l[h->n_labels++] = (struct place_label){ "ssd", "yes" };
    }
    if (chance(d, d->odd_hosts)) {
        h->state = (enum place_host_state)(1 + roll(d, 4));
        if (h->state == PLACE_HOST_MAINTENANCE && !d->moves) {
            h->state = PLACE_HOST_CORDONED;
        }
    }
    if (chance(d, d->constrained)) {
        struct place_lack *lack = ARENA_ARRAY(&w->a, struct place_lack, 1);

        h->lacks = lack;
        h->n_lacks = 1;
    }
}

static void random_lists(struct world *w, struct dice *d, struct place_vm *v)
{
    static const struct place_label ssd[] = { { "ssd", "yes" } };
    static const uint32_t needs[] = { 0 };
    struct place_avoid *avoid = ARENA_ARRAY(&w->a, struct place_avoid, 1);

    switch (roll(d, 5)) {
    case 0:
        v->only_hosts = true;
        v->hosts = some(w, d, w->in.n_hosts, &v->n_hosts);
        break;
    case 1:
        v->not_hosts = some(w, d, w->in.n_hosts, &v->n_not_hosts);
        break;
    case 2:
        v->selector = ssd;
        v->n_selector = 1;
        break;
    case 3:
        v->needs = needs;
        v->n_needs = 1;
        break;
    default:
        avoid[0].host = (uint32_t)roll(d, w->in.n_hosts);
        v->avoid = avoid;
        v->n_avoid = 1;
        break;
    }
}

static void random_where(struct world *w, struct dice *d, struct place_vm *v)
{
    if (chance(d, d->held)) {
        v->current = (uint32_t)roll(d, w->in.n_hosts);
        v->held = w->hosts[v->current].state != PLACE_HOST_DOWN && chance(d, 90);
        if (d->moves && v->held && chance(d, 5)) {
            v->migrating_to = (uint32_t)roll(d, w->in.n_hosts);
        }
    } else if (d->moves && chance(d, 2)) {
        v->held = true; /* quarantined */
    }
}

static void random_vm(struct world *w, struct dice *d, uint32_t i)
{
    struct place_vm *v = &w->vms[i];

    *v = (struct place_vm){ .current = PLACE_NONE, .migrating_to = PLACE_NONE };
    v->name = arena_printf(&w->a, "v%llu-%u", (unsigned long long)roll(d, 90), i);
    v->memory = (1 + roll(d, 6)) * GI;
    v->vcpus = 1 + (uint32_t)roll(d, 3);
    v->priority = (int64_t)roll(d, 4) - 1;
    v->wanted = chance(d, 92);
    v->hold = chance(d, 3);
    v->migratable = chance(d, 85);
    v->ha = chance(d, 80) ? PLACE_HA_RESTART : (enum place_ha)roll(d, 3);
    v->preemptible = d->preempt && chance(d, 40);
    v->failback = d->moves ? (enum place_failback)roll(d, 3) : PLACE_FAILBACK_NEVER;
    if (chance(d, d->spread)) {
        v->spread_by = chance(d, 70) ? "rack" : "ssd";
        v->spread_key = chance(d, 50) ? "app=web" : "app=mail";
    }
    random_where(w, d, v);
    if (chance(d, d->constrained)) {
        random_lists(w, d, v);
    }
    if (d->after && chance(d, 30)) {
        struct place_after *a = ARENA_ARRAY(&w->a, struct place_after, 1);

        a->vm = (uint32_t)roll(d, w->in.n_vms);
        a->name = "dep";
        a->satisfied = chance(d, 50);
        v->after = a;
        v->n_after = 1;
    }
}

static void random_rule(struct world *w, struct dice *d, uint32_t i)
{
    struct place_rule *r = &w->rules[i];
    uint32_t *vms = ARENA_ARRAY(&w->a, uint32_t, 5);

    *r = (struct place_rule){ .name = arena_printf(&w->a, "r%llu-%u",
                                                   (unsigned long long)roll(d, 90), i) };
    r->type = (enum place_rule_type)roll(d, 4);
    r->required = chance(d, 50);
    r->weight = (uint32_t)roll(d, 3) * 10;
    r->topology = chance(d, 30) ? "rack" : NULL;
    r->n_vms = 1 + roll(d, 5);
    for (size_t k = 0; k < r->n_vms; k++) {
        vms[k] = (uint32_t)roll(d, w->in.n_vms); /* twice the same is fine */
    }
    r->vms = vms;
    if (r->type == PLACE_ON_HOSTS || r->type == PLACE_NOT_ON_HOSTS) {
        r->hosts = some(w, d, w->in.n_hosts, &r->n_hosts);
    }
}

static struct dice throw_dice(uint64_t seed)
{
    struct dice d = { 0 };

    prng_init(&d.p, seed);
    d.odd_hosts = (unsigned)roll(&d, 4) * 10;
    d.held = (unsigned)roll(&d, 5) * 25;
    d.constrained = (unsigned)roll(&d, 4) * 12;
    d.n_rules = (unsigned)roll(&d, 6);
    d.tight = 4 + (unsigned)roll(&d, 20);
    d.moves = chance(&d, 40);
    d.preempt = chance(&d, 30);
    d.after = chance(&d, 25);
    d.spread = (unsigned)roll(&d, 3) * 20;
    return d;
}

static void random_world(struct world *w, struct dice *d)
{
    static const char *const resources[] = { "bridge br0" };

    world_init(w);
    w->resources[0] = resources[0];
    w->in.n_resources = 1;
    w->in.n_hosts = 1 + roll(d, HOSTS_MAX);
    w->in.n_vms = 1 + roll(d, VMS_MAX);
    w->in.n_rules = d->n_rules;
    w->in.policy.strategy = chance(d, 50) ? PLACE_SPREAD : PLACE_PACK;
    w->in.policy.cpu_percent = chance(d, 50) ? 100 * (1 + (uint32_t)roll(d, 4)) : 0;
    w->in.policy.preemption = d->preempt;
    w->in.policy.idle = chance(d, 50);
    for (uint32_t i = 0; i < w->in.n_hosts; i++) {
        random_host(w, d, i);
    }
    for (uint32_t i = 0; i < w->in.n_vms; i++) {
        random_vm(w, d, i);
    }
    for (uint32_t i = 0; i < w->in.n_rules; i++) {
        random_rule(w, d, i);
    }
}

/* ---- an independent view of constraints ---- */

static bool contains(const uint32_t *list, size_t n, uint32_t x)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == x) {
            return true;
        }
    }
    return false;
}

static const char *label(const struct place_host *h, const char *key)
{
    for (size_t i = 0; i < h->n_labels; i++) {
        if (strcmp(h->labels[i].key, key) == 0) {
            return h->labels[i].value;
        }
    }
    return NULL;
}

/* May vm be on host as far as it alone is concerned?  `start`: also be started there. */
static bool suits(const struct place_input *in, uint32_t vm, uint32_t host, bool start)
{
    const struct place_vm *v = &in->vms[vm];

    if ((v->only_hosts && !contains(v->hosts, v->n_hosts, host)) ||
        contains(v->not_hosts, v->n_not_hosts, host)) {
        return false;
    }
    for (size_t i = 0; i < v->n_selector; i++) {
        if (!str_eq(label(&in->hosts[host], v->selector[i].key), v->selector[i].value)) {
            return false;
        }
    }
    for (size_t i = 0; i < in->n_rules; i++) {
        const struct place_rule *r = &in->rules[i];

        if (!r->required || !contains(r->vms, r->n_vms, vm)) {
            continue;
        }
        if ((r->type == PLACE_ON_HOSTS && !contains(r->hosts, r->n_hosts, host)) ||
            (r->type == PLACE_NOT_ON_HOSTS && contains(r->hosts, r->n_hosts, host))) {
            return false;
        }
    }
    return !start || ((v->n_avoid == 0 || v->avoid[0].host != host) &&
                      (v->n_needs == 0 || in->hosts[host].n_lacks == 0));
}

static bool same_place(const struct place_input *in, const struct place_rule *r, uint32_t x,
                       uint32_t y)
{
    const char *p, *q;

    if (x == y || r->topology == NULL) {
        return x == y;
    }
    p = label(&in->hosts[x], r->topology);
    q = label(&in->hosts[y], r->topology);
    return p != NULL && q != NULL && strcmp(p, q) == 0;
}

/* Where the plan will have it in the end; PLACE_NONE: nowhere. */
static uint32_t final_host(const struct place_plan *p, uint32_t vm)
{
    const struct place_result *r = &p->vms[vm];

    if (r->target != PLACE_NONE) {
        return r->target;
    }
    if (r->reason == PLACE_WAITING_FOR_HOST || (r->reason == PLACE_HELD && !p->in->vms[vm].held)) {
        return PLACE_NONE;
    }
    return r->host;
}

/* It occupies `host` at some time of the plan. */
static bool touches(const struct place_plan *p, uint32_t vm, const struct place_rule *r,
                    uint32_t host)
{
    const struct place_vm *v = &p->in->vms[vm];
    uint32_t end = final_host(p, vm);

    return (v->held && v->current != PLACE_NONE && same_place(p->in, r, v->current, host)) ||
           (v->held && v->current != PLACE_NONE && v->migrating_to != PLACE_NONE &&
            same_place(p->in, r, v->migrating_to, host)) ||
           (end != PLACE_NONE && same_place(p->in, r, end, host));
}

/* This pass chose where it goes; PLACE_NONE: it did not. */
static uint32_t chosen(const struct place_plan *p, uint32_t vm)
{
    const struct place_result *r = &p->vms[vm];

    if (r->action == PLACE_MIGRATE || r->reason == PLACE_WAITING_FOR_PREEMPTION) {
        return r->target;
    }
    if (r->reason == PLACE_ASSIGNED || (r->reason == PLACE_KEPT && !p->in->vms[vm].held)) {
        return r->host;
    }
    return PLACE_NONE;
}

/* ---- properties ---- */

static void no_overcommit(const struct place_plan *p)
{
    const struct place_input *in = p->in;

    for (uint32_t h = 0; h < in->n_hosts; h++) {
        uint64_t held = 0, added = 0, freed = 0, cpus = 0, cpus_freed = 0;
        uint64_t limit = (uint64_t)in->hosts[h].cpus * in->policy.cpu_percent / 100;
        bool chose = false;

        for (uint32_t i = 0; i < in->n_vms; i++) {
            const struct place_vm *v = &in->vms[i];
            bool here = v->held && v->current == h;
            bool peer = v->held && v->current != PLACE_NONE && v->migrating_to == h && !here;

            if (here || peer) {
                held += v->memory;
                cpus += v->vcpus;
            }
            if (here && (!v->wanted || p->vms[i].reason == PLACE_PREEMPTED)) {
                freed += v->memory;
                cpus_freed += v->vcpus;
            }
            if (chosen(p, i) == h) {
                chose = true;
                added += v->memory;
                cpus += v->vcpus;
                REQUIRE(in->hosts[h].state == PLACE_HOST_READY);
            }
        }
        if (chose) { /* now, and when those that shall leave have left */
            bool waits = false;

            for (uint32_t i = 0; i < in->n_vms; i++) {
                waits |= p->vms[i].reason == PLACE_WAITING_FOR_PREEMPTION && p->vms[i].target == h;
            }
            REQUIRE(held + added - (waits ? freed : 0) <= in->hosts[h].memory);
            REQUIRE(limit == 0 || cpus - (waits ? cpus_freed : 0) <= limit);
            REQUIRE(waits || p->used[h].memory == held + added);
        }
    }
}

/* What may start at once never adds up to more than is free at once. */
static void no_overcommit_now(const struct place_plan *p)
{
    for (uint32_t h = 0; h < p->in->n_hosts; h++) {
        uint64_t now = 0;
        bool chose = false;

        for (uint32_t i = 0; i < p->in->n_vms; i++) {
            const struct place_vm *v = &p->in->vms[i];

            if (v->held &&
                (v->current == h || (v->current != PLACE_NONE && v->migrating_to == h))) {
                now += v->memory;
            } else if (chosen(p, i) == h && p->vms[i].reason != PLACE_WAITING_FOR_PREEMPTION) {
                now += v->memory;
                chose = true;
            }
        }
        REQUIRE(!chose || now <= p->in->hosts[h].memory);
    }
}

static uint32_t seq_of(const struct place_plan *p, uint32_t vm)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        if (p->order[i] == vm) {
            return i;
        }
    }
    REQUIRE(!"in the order");
    return 0;
}

/* Together: near somebody who was decided before it.  Failback comes after all others: near all of
 * them, unless they are apart already. */
static void together_kept(const struct place_plan *p, const struct place_rule *r, uint32_t vm,
                          uint32_t host)
{
    bool late = p->vms[vm].reason == PLACE_FAILBACK;
    uint32_t companions = 0, near = 0;

    for (size_t k = 0; k < r->n_vms; k++) {
        uint32_t other = r->vms[k];

        if (other == vm || final_host(p, other) == PLACE_NONE ||
            (!late && seq_of(p, other) > seq_of(p, vm))) {
            continue;
        }
        companions++;
        near += same_place(p->in, r, final_host(p, other), host);
        for (size_t i = 0; late && i < k; i++) {
            uint32_t third = r->vms[i];

            if (third != vm && final_host(p, third) != PLACE_NONE &&
                !same_place(p->in, r, final_host(p, third), final_host(p, other))) {
                return;
            }
        }
    }
    REQUIRE(companions == 0 || near > 0);
}

static void rule_kept(const struct place_plan *p, const struct place_rule *r, uint32_t vm,
                      uint32_t host)
{
    if (r->type == PLACE_TOGETHER) {
        together_kept(p, r, vm, host);
    }
    for (size_t k = 0; k < r->n_vms && r->type == PLACE_APART; k++) {
        REQUIRE(r->vms[k] == vm || !touches(p, r->vms[k], r, host));
    }
}

static void no_rule_broken(const struct place_plan *p)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        uint32_t h = chosen(p, i);

        if (h == PLACE_NONE) {
            continue;
        }
        REQUIRE(suits(p->in, i, h, true));
        for (size_t k = 0; k < p->in->n_rules; k++) {
            const struct place_rule *r = &p->in->rules[k];

            if (r->required && contains(r->vms, r->n_vms, i)) {
                rule_kept(p, r, i, h);
            }
        }
    }
}

static bool in_together(const struct place_input *in, uint32_t vm)
{
    for (size_t k = 0; k < in->n_rules; k++) {
        const struct place_rule *r = &in->rules[k];

        if (r->required && r->type == PLACE_TOGETHER && contains(r->vms, r->n_vms, vm)) {
            return true;
        }
    }
    return false;
}

static bool apart_allows(const struct place_plan *p, uint32_t vm, uint32_t host)
{
    for (size_t k = 0; k < p->in->n_rules; k++) {
        const struct place_rule *r = &p->in->rules[k];

        if (!r->required || r->type != PLACE_APART || !contains(r->vms, r->n_vms, vm)) {
            continue;
        }
        for (size_t i = 0; i < r->n_vms; i++) {
            if (r->vms[i] != vm && touches(p, r->vms[i], r, host)) {
                return false;
            }
        }
    }
    return true;
}

/* Nothing is left over while there is room for it even after everything else was decided. */
static void unplaced_for_a_reason(const struct place_plan *p)
{
    const struct place_input *in = p->in;

    for (uint32_t i = 0; i < in->n_vms; i++) {
        const struct place_result *r = &p->vms[i];
        const struct place_vm *v = &in->vms[i];

        if (r->reason != PLACE_NO_CAPACITY && r->reason != PLACE_NO_SUITABLE_HOST) {
            continue;
        }
        REQUIRE(r->n_rejects == in->n_hosts && r->host == PLACE_NONE);
        for (uint32_t h = 0; h < in->n_hosts && !in_together(in, i); h++) {
            uint64_t limit = (uint64_t)in->hosts[h].cpus * in->policy.cpu_percent / 100;

            REQUIRE(in->hosts[h].state != PLACE_HOST_READY || !suits(in, i, h, true) ||
                    !apart_allows(p, i, h) || p->used[h].memory + v->memory > in->hosts[h].memory ||
                    (limit != 0 && p->used[h].vcpus + v->vcpus > limit));
        }
    }
}

/* Who runs stays, unless there is one of the allowed reasons to go. */
static void sticky(const struct place_plan *p)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        const struct place_vm *v = &p->in->vms[i];
        const struct place_result *r = &p->vms[i];

        if (!v->held || v->current == PLACE_NONE || !v->wanted) {
            continue;
        }
        REQUIRE(r->host == v->current || r->action == PLACE_STOP);
        REQUIRE(r->action == PLACE_NOTHING || r->reason == PLACE_DRAINED ||
                r->reason == PLACE_RULE_VIOLATED || r->reason == PLACE_FAILBACK ||
                r->reason == PLACE_PREEMPTED);
        REQUIRE(r->reason != PLACE_FAILBACK || v->failback != PLACE_FAILBACK_NEVER);
        REQUIRE(r->action == PLACE_NOTHING || !v->hold);
        REQUIRE(r->action != PLACE_MIGRATE || v->migratable);
        REQUIRE(r->reason != PLACE_PREEMPTED || (v->preemptible && p->in->policy.preemption));
    }
}

/* A victim has a lower priority than somebody who waits for its host. */
static void preemption_is_for_somebody(const struct place_plan *p)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        bool found = false;

        if (p->vms[i].reason != PLACE_PREEMPTED) {
            continue;
        }
        for (uint32_t k = 0; k < p->in->n_vms; k++) {
            found |= p->vms[k].reason == PLACE_WAITING_FOR_PREEMPTION &&
                     p->vms[k].target == p->in->vms[i].current &&
                     p->in->vms[k].priority > p->in->vms[i].priority;
        }
        REQUIRE(found);
    }
}

static void check_plan(const struct place_plan *p)
{
    no_overcommit(p);
    no_overcommit_now(p);
    no_rule_broken(p);
    unplaced_for_a_reason(p);
    sticky(p);
    preemption_is_for_somebody(p);
}

/* ---- the runs ---- */

static uint64_t runs(void)
{
    const char *s = getenv("PICKET_RUNS");
    uint64_t n;

    return s != NULL && str_parse_u64(s, &n) ? n : 4000;
}

/* For PICKET_SEED: what the cluster looks like. */
static void show(const struct world *w)
{
    struct arena a = { 0 };
    struct buf b = { 0 };
    struct place_plan p;

    place_decide(&w->in, &a, &p);
    place_format(&p, true, &b);
    (void)fprintf(stderr, "%s", buf_cstr(&b));
    for (size_t i = 0; i < w->in.n_rules; i++) {
        const struct place_rule *r = &w->rules[i];

        (void)fprintf(stderr, "rule %s type %d required %d weight %u topology %s:", r->name,
                      (int)r->type, r->required, r->weight,
                      r->topology == NULL ? "-" : r->topology);
        for (size_t k = 0; k < r->n_vms; k++) {
            (void)fprintf(stderr, " %s", w->vms[r->vms[k]].name);
        }
        (void)fprintf(stderr, "\n");
    }
    buf_done(&b);
    arena_done(&a);
}

static void for_seeds(void (*fn)(struct world *w, struct dice *d))
{
    static struct world w;
    const char *one = getenv("PICKET_SEED");
    uint64_t first = 1, n = runs();

    if (one != NULL && str_parse_u64(one, &first)) {
        n = 1;
    }
    for (seed_now = first; seed_now < first + n; seed_now++) {
        struct dice d = throw_dice(seed_now);

        random_world(&w, &d);
        if (one != NULL) {
            show(&w);
        }
        fn(&w, &d);
        world_done(&w);
    }
}

static void check_invariants(struct world *w, struct dice *d)
{
    struct arena a = { 0 };
    struct place_plan p;

    (void)d;
    place_decide(&w->in, &a, &p);
    check_plan(&p);
    arena_done(&a);
}

static void invariants(void **state)
{
    (void)state;
    for_seeds(check_invariants);
}

/* ---- the order of the input does not matter ---- */

static void shuffle(struct dice *d, uint32_t *to, size_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        to[i] = i;
    }
    for (size_t i = n; i > 1; i--) {
        size_t k = roll(d, i);
        uint32_t t = to[i - 1];

        to[i - 1] = to[k];
        to[k] = t;
    }
}

static const uint32_t *mapped(struct world *w, const uint32_t *list, size_t n, const uint32_t *to)
{
    uint32_t *m = ARENA_ARRAY(&w->a, uint32_t, n);

    for (size_t i = 0; i < n; i++) {
        m[i] = to[list[i]];
    }
    return m;
}

static uint32_t map_one(uint32_t x, const uint32_t *to)
{
    return x == PLACE_NONE ? PLACE_NONE : to[x];
}

static void permute(struct world *w, struct dice *d, struct world *dst)
{
    uint32_t hosts[HOSTS_MAX], vms[VMS_MAX], rules[WORLD_MAX];

    world_init(dst);
    dst->in = w->in;
    dst->in.hosts = dst->hosts;
    dst->in.vms = dst->vms;
    dst->in.rules = dst->rules;
    shuffle(d, hosts, w->in.n_hosts);
    shuffle(d, vms, w->in.n_vms);
    shuffle(d, rules, w->in.n_rules);
    for (size_t i = 0; i < w->in.n_hosts; i++) {
        dst->hosts[hosts[i]] = w->hosts[i];
    }
    for (size_t i = 0; i < w->in.n_vms; i++) {
        struct place_vm *v = &dst->vms[vms[i]];

        *v = w->vms[i];
        v->current = map_one(v->current, hosts);
        v->migrating_to = map_one(v->migrating_to, hosts);
        v->hosts = mapped(w, v->hosts, v->n_hosts, hosts);
        v->not_hosts = mapped(w, v->not_hosts, v->n_not_hosts, hosts);
        if (v->n_avoid > 0) {
            struct place_avoid *l = ARENA_ARRAY(&w->a, struct place_avoid, 1);

            l[0].host = hosts[v->avoid[0].host];
            v->avoid = l;
        }
        if (v->n_after > 0) {
            struct place_after *l = ARENA_ARRAY(&w->a, struct place_after, 1);

            l[0] = v->after[0];
            l[0].vm = vms[l[0].vm];
            v->after = l;
        }
    }
    for (size_t i = 0; i < w->in.n_rules; i++) {
        struct place_rule *r = &dst->rules[rules[i]];

        *r = w->rules[i];
        r->vms = mapped(w, r->vms, r->n_vms, vms);
        r->hosts = mapped(w, r->hosts, r->n_hosts, hosts);
    }
}

static void check_order(struct world *w, struct dice *d)
{
    static struct world other;
    struct arena a = { 0 };
    struct place_plan p, q, again;
    struct buf x = { 0 }, y = { 0 }, z = { 0 };

    permute(w, d, &other);
    place_decide(&w->in, &a, &p);
    place_decide(&w->in, &a, &again);
    place_decide(&other.in, &a, &q);
    place_format(&p, true, &x);
    place_format(&again, true, &y);
    place_format(&q, true, &z);
    if (strcmp(buf_cstr(&x), buf_cstr(&y)) != 0 || strcmp(buf_cstr(&x), buf_cstr(&z)) != 0) {
        (void)fprintf(stderr, "%s\n--- other order\n%s\n", buf_cstr(&x), buf_cstr(&z));
        REQUIRE(!"the same text");
    }
    buf_done(&x);
    buf_done(&y);
    buf_done(&z);
    arena_done(&a);
}

static void deterministic(void **state)
{
    (void)state;
    for_seeds(check_order);
}

/* ---- a new empty host moves nobody ---- */

static void check_new_host(struct world *w, struct dice *d)
{
    struct arena a = { 0 };
    struct place_plan p, q;

    if (d->moves || d->preempt) {
        return;
    }
    place_decide(&w->in, &a, &p);
    for (uint32_t i = 0; i < w->in.n_vms; i++) {
        if (p.vms[i].reason == PLACE_RULE_VIOLATED || /* then repairs may go another way */
            p.vms[i].reason == PLACE_HELD ||          /* and these may hide a violation */
            p.vms[i].reason == PLACE_WAITING_FOR_FENCING) {
            arena_done(&a);
            return;
        }
    }
    w->hosts[w->in.n_hosts++] = (struct place_host){ .name = "a-new-one", .memory = 999 * GI };
    place_decide(&w->in, &a, &q);
    for (uint32_t i = 0; i < w->in.n_vms; i++) {
        if (w->vms[i].held && p.vms[i].reason == PLACE_KEPT) {
            REQUIRE(q.vms[i].reason == PLACE_KEPT && q.vms[i].host == p.vms[i].host);
        }
    }
    arena_done(&a);
}

static void monotone(void **state)
{
    (void)state;
    for_seeds(check_new_host);
}

/* ---- doing what is planned comes to rest ---- */

/* All moves, stops and starts happen. */
static void carry_out(struct world *w, const struct place_plan *p)
{
    for (uint32_t i = 0; i < w->in.n_vms; i++) {
        const struct place_result *r = &p->vms[i];
        struct place_vm *v = &w->vms[i];

        if (v->migrating_to != PLACE_NONE) {
            v->current = r->reason == PLACE_MIGRATING ? v->migrating_to : v->current;
            v->migrating_to = PLACE_NONE;
        } else if (r->action == PLACE_MIGRATE) {
            v->current = r->target;
        } else if (r->action == PLACE_STOP || r->reason == PLACE_NOT_WANTED) {
            v->held = v->held && v->current == PLACE_NONE;
            v->current = PLACE_NONE;
        } else if (r->reason == PLACE_ASSIGNED || r->reason == PLACE_KEPT) {
            v->current = r->host;
            v->held = true;
        }
    }
}

static bool same_answers(const struct place_plan *p, const struct place_plan *q)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        if (p->vms[i].host != q->vms[i].host || p->vms[i].target != q->vms[i].target ||
            p->vms[i].action != q->vms[i].action) {
            return false;
        }
    }
    return true;
}

static void check_rest(struct world *w, struct dice *d)
{
    struct arena a = { 0 };
    struct place_plan p, before;
    bool rest = false;

    (void)d;
    place_decide(&w->in, &a, &before);
    for (unsigned round = 0; round < ROUNDS_MAX && !rest; round++) {
        carry_out(w, &before);
        place_decide(&w->in, &a, &p);
        check_plan(&p);
        rest = p.n_moves == 0 && p.n_stops == 0 && same_answers(&p, &before);
        before = p;
    }
    REQUIRE(rest);
    arena_done(&a);
}

static void comes_to_rest(void **state)
{
    (void)state;
    for_seeds(check_rest);
}

/* ---- capacity against brute force ---- */

static size_t left_over(const struct place_plan *p, uint32_t *list)
{
    size_t n = 0;

    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        uint32_t vm = p->order[i];
        const struct place_vm *v = &p->in->vms[vm];

        if (v->wanted && !v->hold && v->ha == PLACE_HA_RESTART &&
            p->vms[vm].reason != PLACE_WAITING_FOR_PREEMPTION && p->vms[vm].host == PLACE_NONE) {
            list[n++] = vm;
        }
    }
    return n;
}

/* What is left over when the hosts of `set` fail, with those that are suspect. */
static size_t fail_set(struct world *w, uint32_t set, uint32_t *list)
{
    uint32_t failed[HOSTS_MAX];
    struct arena a = { 0 };
    struct place_plan p;
    size_t n = 0, n_left;

    for (uint32_t h = 0; h < w->in.n_hosts; h++) {
        if ((set >> h & 1U) != 0 || w->hosts[h].state == PLACE_HOST_SUSPECT) {
            failed[n++] = h;
        }
    }
    place_fail_plan(&w->in, failed, n, &a, &p);
    for (uint32_t h = 0; h < w->in.n_hosts; h++) {
        REQUIRE(p.after[h].memory == 0 || (set >> h & 1U) == 0);
    }
    n_left = left_over(&p, list);
    arena_done(&a);
    return n_left;
}

static bool may_fail(const struct world *w, uint32_t set)
{
    for (uint32_t h = 0; h < w->in.n_hosts; h++) {
        enum place_host_state s = w->hosts[h].state;

        if ((set >> h & 1U) != 0 && (s == PLACE_HOST_SUSPECT || s == PLACE_HOST_DOWN)) {
            return false;
        }
    }
    return true;
}

static unsigned smallest_failing(struct world *w)
{
    uint32_t list[VMS_MAX];
    unsigned best = HOSTS_MAX + 1;

    for (uint32_t set = 0; set < 1U << w->in.n_hosts; set++) {
        unsigned n = (unsigned)__builtin_popcount(set);

        if (n < best && n <= 3 && may_fail(w, set) && fail_set(w, set, list) > 0) {
            best = n;
        }
    }
    return best;
}

static void check_capacity(struct world *w, struct dice *d)
{
    uint32_t list[VMS_MAX];
    struct arena a = { 0 };
    struct place_capacity cap;
    unsigned best;

    (void)d;
    best = smallest_failing(w);
    for (uint32_t n = 0; n <= 3; n++) {
        place_capacity(&w->in, n, 0, &a, &cap);
        if (cap.verdict != (best <= n ? PLACE_REFUTED : PLACE_PROVED)) {
            (void)fprintf(stderr, "brute force: %u; %s\n", best, cap.message);
        }
        REQUIRE(cap.verdict == (best <= n ? PLACE_REFUTED : PLACE_PROVED));
        if (cap.verdict == PLACE_REFUTED) {
            uint32_t set = 0;

            for (size_t i = 0; i < cap.n_failed; i++) {
                set |= 1U << cap.failed[i];
            }
            REQUIRE(cap.n_failed == best);
            REQUIRE(fail_set(w, set, list) == cap.n_left);
            REQUIRE(memcmp(list, cap.left, cap.n_left * sizeof(*list)) == 0);
        }
        REQUIRE(cap.verdict != PLACE_PROVED || cap.max_tolerated <= n);
    }
    place_capacity(&w->in, 3, 1, &a, &cap);
    REQUIRE(cap.verdict != PLACE_PROVED || best > 3);
    REQUIRE(cap.verdict != PLACE_REFUTED || best <= 3);
    arena_done(&a);
}

static void capacity_is_the_truth(void **state)
{
    (void)state;
    for_seeds(check_capacity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invariants),
        cmocka_unit_test(deterministic),
        cmocka_unit_test(monotone),
        cmocka_unit_test(comes_to_rest),
        cmocka_unit_test(capacity_is_the_truth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
