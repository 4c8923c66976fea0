#ifndef TESTS_UNIT_PLACE_RANDOM_H
#define TESTS_UNIT_PLACE_RANDOM_H

/* Random small clusters for the tests of placement, one a seed. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "place_world.h"

#define HOSTS_MAX 8
#define VMS_MAX 24

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

static inline uint64_t roll(struct dice *d, uint64_t n)
{
    return prng_below(&d->p, n);
}

static inline bool chance(struct dice *d, unsigned percent)
{
    return roll(d, 100) < percent;
}

static inline uint32_t *some(struct world *w, struct dice *d, size_t n, size_t *ret_n)
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

static inline void random_host(struct world *w, struct dice *d, uint32_t i)
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

static inline void random_lists(struct world *w, struct dice *d, struct place_vm *v)
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

static inline void random_where(struct world *w, struct dice *d, struct place_vm *v)
{
    if (chance(d, d->held)) {
        v->current = (uint32_t)roll(d, w->in.n_hosts);
        v->held = w->hosts[v->current].state != PLACE_HOST_DOWN && chance(d, 90);
        if (d->moves && v->held && chance(d, 5)) {
            v->migrating_to = (uint32_t)roll(d, w->in.n_hosts);
        } else if (d->moves && v->held && chance(d, 5)) {
            v->left = (uint32_t)roll(d, w->in.n_hosts);
            v->has_left = v->left != v->current;
        }
    } else if (d->moves && chance(d, 2)) {
        v->held = true; /* quarantined */
    }
}

static inline void random_vm(struct world *w, struct dice *d, uint32_t i)
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

static inline void random_rule(struct world *w, struct dice *d, uint32_t i)
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

static inline struct dice throw_dice(uint64_t seed)
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

static inline void random_world(struct world *w, struct dice *d)
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

/* ---- the runs ---- */

static inline uint64_t runs(void)
{
    const char *s = getenv("PICKET_RUNS");
    uint64_t n;

    return s != NULL && str_parse_u64(s, &n) ? n : 4000;
}

/* For PICKET_SEED: what the cluster looks like. */
static inline void show(const struct world *w)
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

static inline void for_seeds(void (*fn)(struct world *w, struct dice *d))
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

#endif
