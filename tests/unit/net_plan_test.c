/* The planner of the host's network: written scenarios (tests/golden/net/NAME.net: a world, a line
 * "---", the plan), and random worlds in which every plan has to be complete and undoable.
 * PICKET_GOLDEN=write writes the plans anew; PICKET_SEED=N repeats one random world.
 */

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/net_world.h"

#define DIR_NAME "tests/golden/net"

static char *slurp(const char *path)
{
    struct buf b = { 0 };
    FILE *f = fopen(path, "r");
    char part[4096];
    size_t n;

    assert_non_null(f);
    while ((n = fread(part, 1, sizeof(part), f)) > 0) {
        buf_add(&b, part, n);
    }
    (void)fclose(f);
    (void)buf_cstr(&b);
    return buf_take(&b, NULL);
}

static void update(const char *path, const char *input, const char *plan)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    (void)fprintf(f, "%s---\n%s", input, plan);
    (void)fclose(f);
}

static void run_golden(const char *path)
{
    char *text = slurp(path);
    char *cut = strstr(text, "---\n");
    const char *expected = cut == NULL ? "" : cut + 4;
    char *input, *lines, *line, *wrong, *save = NULL;
    struct net_world w;
    struct nw_plan plan;
    struct buf b = { 0 };

    input = mem_strndup(text, cut == NULL ? strlen(text) : (size_t)(cut - text));
    lines = mem_strdup(input);
    net_world_init(&w);
    for (line = strtok_r(lines, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        net_world_line(&w, line);
    }
    nw_plan_make(&w.want, &w.obs, &w.rec, &w.a, &plan);
    nw_plan_format(&w.want, &plan, &b);
    if (str_eq(getenv("PICKET_GOLDEN"), "write")) {
        update(path, input, buf_cstr(&b));
    } else if (strcmp(buf_cstr(&b), expected) != 0) {
        fail_msg("%s: the plan is now:\n%s", path, buf_cstr(&b));
    }
    wrong = net_world_check(&w, &plan);
    if (wrong != NULL) {
        fail_msg("%s: %s", path, wrong);
    }
    buf_done(&b);
    arena_done(&w.a);
    free(lines);
    free(input);
    free(text);
}

static void test_golden(void **state)
{
    struct dirent **list;
    int n = scandir(DIR_NAME, &list, NULL, alphasort);
    int seen = 0;

    (void)state;
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[400];

        (void)snprintf(path, sizeof(path), "%s/%s", DIR_NAME, list[i]->d_name);
        if (str_ends(path, ".net")) {
            run_golden(path);
            seen++;
        }
        free(list[i]);
    }
    free(list);
    assert_true(seen >= 8);
}

/* --- random worlds -----------------------------------------------------------------------------
 */

static const char *const cards[] = { "eth0", "eth1", "eth2", "eth3" };

static void random_members(struct prng *g, struct buf *b, const char *extra)
{
    unsigned mask = (unsigned)prng_below(g, 15) + 1;
    const char *sep = "";

    for (unsigned i = 0; i < 4; i++) {
        if ((mask & 1U << i) != 0 && prng_below(g, 2) == 0) {
            buf_printf(b, "%s\"%s\"", sep, cards[i]);
            sep = ", ";
        }
    }
    if (sep[0] == 0 || (extra != NULL && prng_below(g, 2) == 0)) {
        buf_printf(b, "%s\"%s\"", sep, extra != NULL ? extra : "eth0");
    }
}

static void random_addrs(struct prng *g, struct buf *b)
{
    const char *sep = "";

    buf_add_str(b, ", \"addresses\": [");
    for (unsigned i = 0; i < 4; i++) {
        if (prng_below(g, 3) == 0) {
            buf_printf(b, i == 3 ? "%s\"fd00::%u/64\"" : "%s\"10.0.%u.1/24\"", sep, i);
            sep = ", ";
        }
    }
    buf_add_str(b, "]");
    if (prng_below(g, 3) == 0) {
        buf_add_str(b, ", \"gateway\": \"10.0.0.254\"");
    }
    if (prng_below(g, 4) == 0) {
        buf_printf(b, ", \"mtu\": %u", (unsigned)prng_below(g, 2) * 7500 + 1500);
    }
}

static void add_object(struct net_world *w, struct buf *b, const char *plural, const char *name)
{
    buf_add_str(b, "}");
    net_world_object(w, plural, name, buf_cstr(b));
    buf_clear(b);
}

static void random_objects(struct prng *g, struct net_world *w)
{
    static const char *const modes[] = { "ActiveBackup", "LACP", "BalanceRR" };
    struct buf b = { 0 };

    w->want.n_ifaces = 0;
    if (prng_below(g, 3) > 0) {
        buf_printf(&b, "{\"mode\": \"%s\", \"members\": [", modes[prng_below(g, 3)]);
        random_members(g, &b, NULL);
        buf_add_str(&b, "]");
        random_addrs(g, &b);
        add_object(w, &b, "bonds", "bond0");
    }
    if (prng_below(g, 3) > 0) {
        buf_printf(&b, "{\"id\": %u, \"link\": \"%s\"", (unsigned)prng_below(g, 3) + 1,
                   prng_below(g, 2) == 0 ? "bond0" : cards[prng_below(g, 4)]);
        random_addrs(g, &b);
        add_object(w, &b, "vlans", "vlan5");
    }
    if (prng_below(g, 3) > 0) {
        buf_printf(&b, "{\"stp\": %s, \"ports\": [", prng_below(g, 2) == 0 ? "true" : "false");
        random_members(g, &b, prng_below(g, 2) == 0 ? "bond0" : "vlan5");
        buf_add_str(&b, "]");
        random_addrs(g, &b);
        add_object(w, &b, "bridges", "br0");
    }
    buf_done(&b);
}

static void random_host(struct prng *g, struct net_world *w)
{
    char line[80];

    for (size_t i = 0; i < ARRAY_LEN(cards); i++) {
        (void)snprintf(line, sizeof(line), "link %s%s", cards[i],
                       prng_below(g, 4) > 0 ? " up" : "");
        net_world_line(w, line);
        if (prng_below(g, 2) == 0) {
            (void)snprintf(line, sizeof(line), "10.0.%zu.1/24", i);
            net_world_addr(w, cards[i], line);
        }
        if (w->obs.links[i].up && prng_below(g, 4) == 0) {
            (void)snprintf(line, sizeof(line), "10.%zu.0.0/16 10.0.%zu.254 %s", i + 100, i,
                           cards[i]);
            net_world_route(w, line);
        }
    }
    if (w->obs.links[0].up && nw_obs_addr(&w->obs, "eth0", &w->obs.addrs[0].addr) != NULL) {
        net_world_route(w, "0.0.0.0/0 10.0.0.254 eth0");
    }
}

/* Somebody's interfaces that no object names stay exactly as they are. */
static void check_foreign(const struct nw_plan *p)
{
    for (size_t i = 0; i < p->n_ops; i++) {
        assert_string_not_equal(p->ops[i].dev, "wan0");
        assert_string_not_equal(p->ops[i].other, "wan0");
    }
}

static void run_random(uint64_t seed)
{
    struct prng g;
    struct net_world w;

    prng_init(&g, seed);
    net_world_init(&w);
    random_host(&g, &w);
    net_world_line(&w, (char[]){ "link wan0 up" });
    net_world_addr(&w, "wan0", "203.0.113.1/24");
    for (int round = 0; round < 4; round++) {
        struct nw_plan plan;
        char *wrong;

        random_objects(&g, &w);
        nw_plan_make(&w.want, &w.obs, &w.rec, &w.a, &plan);
        check_foreign(&plan);
        wrong = net_world_check(&w, &plan);
        if (wrong != NULL) {
            struct buf b = { 0 };

            nw_plan_format(&w.want, &plan, &b);
            print_error("PICKET_SEED=%lu round %d\n", (unsigned long)seed, round);
            (void)fprintf(stderr, "%s\n%s", buf_cstr(&b), wrong);
            fail();
        }
        for (size_t i = 0; i < plan.n_ops; i++) {
            nw_obs_apply(&w.obs, &plan.ops[i]);
        }
        w.rec = plan.next;
    }
    arena_done(&w.a);
}

static void test_random(void **state)
{
    const char *one = getenv("PICKET_SEED");

    (void)state;
    if (one != NULL) {
        run_random(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        run_random(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
