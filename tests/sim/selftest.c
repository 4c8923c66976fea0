/* The simulator's own tests: does it tell the same story twice, do stories end well that must, and
 * do the checkers see what they are for?  Each world in a process of its own would hide what one
 * leaves behind for the next, so all are made here, one after the other. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/obj.h"
#include "tests/sim/sim_priv.h"

static struct sim *world(const struct sim_opts *o, unsigned vms)
{
    struct sim *s = sim_new(o);
    struct err err;
    char *yaml = sim_base_yaml(s, vms);

    if (sim_apply(s, yaml, 120000, &err) != 0) {
        fail_msg("%s\n%s", err.msg, sim_log_text(s));
    }
    free(yaml);
    if (!sim_settle(s, sim_settle_bound(s))) {
        fail_msg("%s\n%s", sim_violation(s), sim_log_text(s));
    }
    sim_run(s, 3 * 3000 + 15000); /* past the startup grace */
    return s;
}

static void well(struct sim *s)
{
    if (sim_violation(s) != NULL) {
        fail_msg("%s\n%s", sim_violation(s), sim_log_text(s));
    }
    sim_free(s);
}

static void power_cut(void **state)
{
    struct sim_opts o = { .seed = 5, .hosts = 3 };
    struct sim *s = world(&o, 4);
    struct sim_stats st;
    char victim[32];

    (void)state;
    (void)snprintf(victim, sizeof(victim), "%s", sim_vm_on(s, "vm1"));
    sim_writers(s, true);
    sim_power_off(s, victim);
    sim_run(s, 60000);
    assert_string_not_equal(sim_vm_on(s, "vm1"), "");
    assert_string_not_equal(sim_vm_on(s, "vm1"), victim);
    assert_string_equal(sim_inc_state(s, victim), "Fenced");
    sim_stats(s, &st);
    assert_int_equal(st.fencings, 1);
    assert_true(st.failovers >= 1);
    sim_power_on(s, victim);
    assert_true(sim_settle(s, sim_settle_bound(s)));
    well(s);
}

static void processes_die(void **state)
{
    struct sim_opts o = { .seed = 6, .hosts = 3, .watchdog = true };
    struct sim *s = world(&o, 3);
    struct sim_stats before, after;

    (void)state;
    sim_stats(s, &before);
    for (unsigned i = 0; i < 3; i++) {
        for (int p = SIM_PICKETD; p <= SIM_WATCHDOG; p++) {
            sim_kill(s, sim_machine_name(s, i), (enum sim_proc)p, false);
            sim_run(s, 8000);
        }
    }
    sim_stats(s, &after);
    assert_int_equal(before.starts, after.starts); /* P8: no guest was touched */
    assert_int_equal(after.fencings, 0);
    assert_int_equal(after.wd_resets, 0);
    assert_true(sim_settle(s, sim_settle_bound(s)));
    well(s);
}

static uint64_t story(uint64_t seed)
{
    struct sim_opts o = { .seed = seed, .hosts = 2, .witness = true, .watchdog = true };
    struct sim *s = world(&o, 2);
    uint64_t hash;

    sim_isolate(s, "node1", true);
    sim_run(s, 40000);
    sim_isolate(s, "node1", false);
    sim_power_on(s, "node1");
    assert_true(sim_settle(s, sim_settle_bound(s)));
    hash = sim_log_hash(s);
    well(s);
    return hash;
}

static void same_seed_same_story(void **state)
{
    uint64_t a = story(7), b = story(7), c = story(8);

    (void)state;
    assert_true(a == b);
    assert_true(a != c);
}

/* A device that lies breaks every promise, and the checkers say so. */
static void lies_are_seen(void **state)
{
    struct sim_opts o = { .seed = 9, .hosts = 3, .freeze = true };
    struct sim *s = world(&o, 3);
    char victim[32];

    (void)state;
    (void)snprintf(victim, sizeof(victim), "%s", sim_vm_on(s, "vm1"));
    assert_true(sim_device_mode(s, "pdu", SIM_DEV_LIES));
    sim_isolate(s, victim, true);
    sim_run(s, 60000);
    assert_non_null(sim_violation(s));
    assert_non_null(strstr(sim_log_text(s), "VIOLATION P3: "));
    assert_non_null(strstr(sim_log_text(s), "VIOLATION P1: vm1 runs on "));
    sim_free(s);
}

/* Without a device nothing is believed: nothing fails over, and that is no violation. */
static void nothing_without_proof(void **state)
{
    struct sim_opts o = { .seed = 10, .hosts = 3, .fencing = SIM_FENCE_PDU };
    struct sim *s = world(&o, 3);
    struct sim_stats st;
    char victim[32];

    (void)state;
    (void)snprintf(victim, sizeof(victim), "%s", sim_vm_on(s, "vm1"));
    assert_true(sim_device_mode(s, "pdu", SIM_DEV_SILENT));
    sim_power_off(s, victim);
    sim_run(s, 120000);
    sim_stats(s, &st);
    assert_int_equal(st.proofs, 0);
    assert_string_equal(sim_vm_on(s, "vm1"), "");
    well(s);
}

/* A CHECK that fails in the product ends its process and is a finding. */
static void crash(void *arg, uint64_t n)
{
    (void)arg;
    CHECK(n == 1);
}

static void a_failed_check_is_seen(void **state)
{
    struct sim_opts o = { .seed = 11, .hosts = 1 };
    struct sim *s = world(&o, 1);

    (void)state;
    sim_post(&s->machines[0].procs[PROC_AGENT], 1000, crash, NULL, 2);
    sim_run(s, 500);
    assert_non_null(sim_violation(s));
    assert_non_null(strstr(sim_violation(s), "CHECK(n == 1)"));
    assert_false(sim_running(s, "node1", SIM_AGENT));
    sim_run(s, 5000);
    assert_true(sim_running(s, "node1", SIM_AGENT));
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cut),
        cmocka_unit_test(processes_die),
        cmocka_unit_test(same_seed_same_story),
        cmocka_unit_test(lies_are_seen),
        cmocka_unit_test(nothing_without_proof),
        cmocka_unit_test(a_failed_check_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
