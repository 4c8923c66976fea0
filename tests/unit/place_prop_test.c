/* Properties of placement on random small clusters.  PICKET_SEED=N runs one seed, PICKET_RUNS=N so
 * many (default 4000). */

#include "place_check.h"

#define ROUNDS_MAX 60

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
        v->left = map_one(v->left, hosts);
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

        v->has_left = false;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invariants),
        cmocka_unit_test(deterministic),
        cmocka_unit_test(monotone),
        cmocka_unit_test(comes_to_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
