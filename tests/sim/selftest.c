/* The simulator's own tests: does it tell the same story twice, do stories end well that must, and
 * do the checkers see what they are for?  Each world in a process of its own would hide what one
 * leaves behind for the next, so all are made here, one after the other. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/client.h"
#include "api/valid.h"
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
    sim_run(s, 25000); /* past the startup grace */
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

/* Somebody who changes one object again and again. */
struct busy {
    struct sim *s;
    struct api_client *api;
    char target[80];
    uint64_t until_ms;
    unsigned done;
};

static void busy_again(void *data, const struct err *err, json_t *obj)
{
    struct busy *b = data;
    struct api_op op = { .method = "PATCH",
                         .target = b->target,
                         .content_type = "application/merge-patch+json",
                         .timeout_ms = 30000 };
    json_t *body;

    (void)obj;
    b->done += err == NULL;
    if (sim_time(b->s) >= b->until_ms) {
        return;
    }
    body =
        json_pack("{s:{s:{s:o}}}", "metadata", "annotations", "busy", json_sprintf("%u", b->done));
    op.body = body;
    (void)api_start(b->api, &op, busy_again, b);
    json_decref(body);
}

/* With connections of its own. */
static void busy_start(struct sim *s, struct busy *b, const char *target, size_t i)
{
    char server[] = "10.0.0.1:7443", *servers[] = { server };
    struct api_config cfg = { .servers = servers, .n_servers = 1 };
    struct err err = { .code = ERR_CANCELED };

    *b = (struct busy){ .s = s, .until_ms = sim_time(s) + 2000 };
    (void)snprintf(b->target, sizeof(b->target), "/apis/picket/v1/%s%zu", target, i);
    assert_int_equal(api_client_new(s->admin->procs[0].loop, &cfg, &b->api, &err), 0);
    busy_again(b, &err, NULL);
}

/* A large apply beside writers of the same objects is done in the end, and its user sees none of
 * it. */
static void an_apply_beside_writers(void **state)
{
    struct sim_opts o = { .seed = 12, .hosts = 3 };
    struct sim *s = world(&o, 8);
    struct busy busy[32];
    char *yaml = sim_base_yaml(s, 8);
    struct proc *before = sim_enter(&s->admin->procs[0]);
    struct err err;
    json_t *vm;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
        busy_start(s, &busy[i], "virtualmachines/vm", i % 8 + 1);
    }
    sim_leave(before);
    for (char gib = '3'; gib <= '9'; gib++) {
        sim_run(s, 200); /* they are out of step by now */
        for (char *at = yaml; (at = strstr(at, "Gi\n")) != NULL; at++) {
            at[-1] = at[-2] == ' ' ? gib : at[-1]; /* every machine is changed */
        }
        if (sim_apply(s, yaml, 9000, &err) != 0) {
            fail_msg("%s", err.msg);
        }
    }
    free(yaml);
    sim_run(s, 2000);
    for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
        assert_true(busy[i].done > 10);
    }
    assert_int_equal(sim_get(s, "virtualmachines", "vm8", &vm, &err), 0);
    assert_string_equal(jget_str(vm, "spec.memory", ""), "9Gi");
    assert_string_not_equal(jget_str(vm, "metadata.annotations.busy", ""), "");
    json_decref(vm);
    well(s);
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
        cmocka_unit_test(an_apply_beside_writers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
