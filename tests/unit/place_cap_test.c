/* The capacity proof against trying every set of hosts, on random small clusters (see
 * place_prop_test.c for PICKET_SEED and PICKET_RUNS). */

#include "place_random.h"

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
        cmocka_unit_test(capacity_is_the_truth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
