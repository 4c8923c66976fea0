/* Time and memory of placement: place_bench [HOSTS VMS]...; default 64 5000 100 10000.
 *
 * The cluster is 70 % full; one machine in ten has a list of hosts, one in five is in a rule.
 * Build and run: make build/bench/place_bench && build/bench/place_bench
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/place.h"

#define GI (UINT64_C(1) << 30)

struct cluster {
    struct arena a;
    struct prng p;
    struct place_input in;
    struct place_host *hosts;
    struct place_vm *vms;
    struct place_rule *rules;
};

static void make_hosts(struct cluster *c)
{
    static const struct place_label racks[] = { { "rack", "r0" }, { "rack", "r1" },
                                                { "rack", "r2" }, { "rack", "r3" },
                                                { "rack", "r4" }, { "rack", "r5" },
                                                { "rack", "r6" }, { "rack", "r7" } };

    c->hosts = ARENA_ARRAY(&c->a, struct place_host, c->in.n_hosts);
    for (size_t i = 0; i < c->in.n_hosts; i++) {
        c->hosts[i] = (struct place_host){ .name = arena_printf(&c->a, "host%03zu", i),
                                           .labels = &racks[i % 8],
                                           .n_labels = 1,
                                           .cpus = 64 };
    }
    c->in.hosts = c->hosts;
}

/* A list without every third host. */
static void give_list(struct cluster *c, struct place_vm *v)
{
    uint32_t *list = ARENA_ARRAY(&c->a, uint32_t, c->in.n_hosts);

    for (uint32_t h = 0; h < c->in.n_hosts; h++) {
        if (h % 3 != 0) {
            list[v->n_hosts++] = h;
        }
    }
    v->hosts = list;
    v->only_hosts = true;
}

static void make_vms(struct cluster *c)
{
    uint64_t total = 0;

    c->vms = ARENA_ARRAY(&c->a, struct place_vm, c->in.n_vms);
    for (size_t i = 0; i < c->in.n_vms; i++) {
        struct place_vm *v = &c->vms[i];

        *v = (struct place_vm){ .name = arena_printf(&c->a, "vm%05zu", i),
                                .memory = (1 + prng_below(&c->p, 8)) * GI,
                                .vcpus = 1 + (uint32_t)prng_below(&c->p, 4),
                                .priority = (int64_t)prng_below(&c->p, 5),
                                .wanted = true,
                                .migratable = true,
                                .current = PLACE_NONE,
                                .migrating_to = PLACE_NONE };
        total += v->memory;
        if (i % 10 == 0) {
            give_list(c, v);
        }
    }
    c->in.vms = c->vms;
    for (size_t i = 0; i < c->in.n_hosts; i++) {
        c->hosts[i].memory = total * 10 / 7 / c->in.n_hosts;
    }
}

/* Groups of four: apart, together, apart by rack, preferred apart. */
static void make_rules(struct cluster *c)
{
    c->in.n_rules = c->in.n_vms / 20;
    c->rules = ARENA_ARRAY(&c->a, struct place_rule, c->in.n_rules);
    for (size_t i = 0; i < c->in.n_rules; i++) {
        uint32_t *vms = ARENA_ARRAY(&c->a, uint32_t, 4);

        for (uint32_t k = 0; k < 4; k++) {
            vms[k] = (uint32_t)(i * 20) + 1 + k;
        }
        c->rules[i] = (struct place_rule){ .name = arena_printf(&c->a, "rule%05zu", i),
                                           .type = i % 4 == 1 ? PLACE_TOGETHER : PLACE_APART,
                                           .required = i % 4 != 3,
                                           .topology = i % 4 == 2 ? "rack" : NULL,
                                           .weight = 10,
                                           .vms = vms,
                                           .n_vms = 4 };
    }
    c->in.rules = c->rules;
}

static double ms_since(uint64_t t)
{
    return (double)(clock_now_us() - t) / 1000;
}

/* Everything from nothing, then everything runs. */
static void bench_all(struct cluster *c)
{
    uint64_t t = clock_now_us();
    struct arena a = { 0 };
    struct place_plan p;

    place_decide(&c->in, &a, &p);
    printf("  place all from nothing      %8.2f ms  %6.1f MiB  assigned %zu, left %zu\n",
           ms_since(t), (double)a.total / (1 << 20), p.n_assigned, p.n_unplaced);
    for (size_t i = 0; i < c->in.n_vms; i++) {
        c->vms[i].current = p.vms[i].host;
        c->vms[i].held = p.vms[i].host != PLACE_NONE;
    }
    arena_done(&a);
}

static void bench_again(struct cluster *c)
{
    uint64_t t = clock_now_us();
    struct arena a = { 0 };
    struct place_plan p;

    place_decide(&c->in, &a, &p);
    printf("  nothing to do               %8.2f ms  %6.1f MiB  moves %zu\n", ms_since(t),
           (double)a.total / (1 << 20), p.n_moves);
    arena_done(&a);
}

static void bench_fail(struct cluster *c, uint32_t n)
{
    uint32_t failed[4] = { 0, 1, 2, 3 };
    uint64_t t = clock_now_us();
    struct arena a = { 0 };
    struct place_plan p;

    place_fail_plan(&c->in, failed, n, &a, &p);
    printf("  replacement, %u failed        %8.2f ms  %6.1f MiB  left %zu\n", n, ms_since(t),
           (double)a.total / (1 << 20), p.n_unplaced);
    arena_done(&a);
}

static void bench_capacity(struct cluster *c, uint32_t failures, uint64_t budget)
{
    uint64_t t = clock_now_us();
    struct arena a = { 0 };
    struct place_capacity p;

    place_capacity(&c->in, failures, budget, &a, &p);
    printf("  capacity, %u may fail         %8.2f ms  %6.1f MiB  %s after %" PRIu64
           " sets, %" PRIu64 " steps\n",
           failures, ms_since(t), (double)a.total / (1 << 20), place_verdict_name(p.verdict),
           p.sets, p.steps);
    arena_done(&a);
}

/* Twice as much as there is room for: every second one is explained for every host. */
static void bench_overfull(struct cluster *c)
{
    uint64_t t;
    struct arena a = { 0 };
    struct place_plan p;

    for (size_t i = 0; i < c->in.n_hosts; i++) {
        c->hosts[i].memory /= 3;
    }
    for (size_t i = 0; i < c->in.n_vms; i++) {
        c->vms[i].held = false;
        c->vms[i].current = PLACE_NONE;
    }
    t = clock_now_us();
    place_decide(&c->in, &a, &p);
    printf("  overfull, from nothing      %8.2f ms  %6.1f MiB  assigned %zu, left %zu\n",
           ms_since(t), (double)a.total / (1 << 20), p.n_assigned, p.n_unplaced);
    arena_done(&a);
}

static void bench(size_t n_hosts, size_t n_vms)
{
    struct cluster c = { .in = { .n_hosts = n_hosts, .n_vms = n_vms } };

    prng_init(&c.p, 1);
    c.in.policy.cpu_percent = 1000;
    printf("%zu hosts, %zu virtual machines\n", n_hosts, n_vms);
    make_hosts(&c);
    make_vms(&c);
    make_rules(&c);
    bench_all(&c);
    bench_again(&c);
    bench_fail(&c, 1);
    bench_fail(&c, 4);
    bench_capacity(&c, 1, 0);
    bench_capacity(&c, 2, 20000000);
    bench_overfull(&c);
    arena_done(&c.a);
}

int main(int argc, char **argv)
{
    struct rusage u;

    if (argc == 1) {
        bench(64, 5000);
        bench(100, 10000);
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t hosts, vms;

        if (!str_parse_u64(argv[i], &hosts) || !str_parse_u64(argv[i + 1], &vms) || hosts == 0) {
            (void)fprintf(stderr, "place_bench: \"%s %s\" is not HOSTS VMS\n", argv[i],
                          argv[i + 1]);
            return 2;
        }
        bench((size_t)hosts, (size_t)vms);
    }
    if (getrusage(RUSAGE_SELF, &u) == 0) {
        printf("most memory of the process: %ld MiB\n", u.ru_maxrss / 1024);
    }
    return 0;
}
