/* Stories of the executor, each on two simulated hosts (exec_world.h). */

#include "tests/unit/exec_world.h"

/* --- stories -----------------------------------------------------------------------------------
 */

static void starts_and_stops(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 1);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    run_for(&w, 500);
    assert_string_equal(reported(&w, 0, "vm1"), "Running/Observed");
    assert_int_equal(held(&w), 2); /* vm and volume; the group's lock was given back */
    assert_true(sim_san_has(w.san, "vg", "v1"));
    assert_int_equal(sim_drv_token(w.hosts[0].drv, "vm1"),
                     lock_of(&w, "virtualmachines/vm1")->token);
    put_vm(&w, "vm1", "v1",
           &(struct vm_opts){ .host = "node1", .run = "Stopped", .generation = 2 });
    until(&w, 3000, -1, "vm1");
    run_for(&w, 1000);
    assert_int_equal(held(&w), 0);
    assert_false(sim_drv_active(w.hosts[0].drv, "vg", "v1"));
    assert_string_equal(reported(&w, 0, "vm1"), "Stopped/RunPolicy");
    world_done(&w);
}

static void moves_cold(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 2);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node2" });
    until(&w, 5000, 1, "vm1");
    run_for(&w, 1000);
    assert_int_equal(held(&w), 2);
    assert_string_equal(reported(&w, 0, "vm1"), ""); /* node1 has nothing to say any more */
    assert_int_equal(w.hosts[0].intents.count, 0);
    world_done(&w);
}

static void stubborn_guest_is_destroyed(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 3);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    sim_drv_stubborn(w.hosts[0].drv, "vm1", true);
    put_vm(&w, "vm1", "v1",
           &(struct vm_opts){ .host = "node1", .run = "Stopped", .generation = 2 });
    run_for(&w, 4000);
    assert_true(runs_on(&w, 0, "vm1"));
    until(&w, 3000, -1, "vm1");
    world_done(&w);
}

/* Memory is changed while it runs; a driver that fails is asked again, one that obeys is not. */
static void memory_follows(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 4);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1", .memory = "64Mi" });
    until(&w, 3000, 0, "vm1");
    assert_int_equal(sim_drv_memory(w.hosts[0].drv, "vm1"), 64 << 20);
    sim_drv_fault(w.hosts[0].drv, DRV_ADJUST, SIM_FAULT_FAIL, 2);
    put_vm(&w, "vm1", "v1",
           &(struct vm_opts){ .host = "node1", .memory = "96Mi", .generation = 2 });
    run_for(&w, 3000);
    assert_int_equal(sim_drv_memory(w.hosts[0].drv, "vm1"), 96 << 20);
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 1);
    world_done(&w);
}

/* A volume is made larger under its running guest, under the group's lock, and not a second time.
 */
static void volume_grows(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 4);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    assert_int_equal(sim_drv_size(w.hosts[0].drv, "vg", "v1"), 1ULL << 30);
    sim_drv_fault(w.hosts[0].drv, DRV_VOL_GROW, SIM_FAULT_FAIL, 2);
    put(&w, "volumes", "v1",
        json_pack("{s:{s:s, s:s}, s:{s:s, s:s}}", "metadata", "name", "v1", "uid", "v1", "spec",
                  "volumeGroup", "vg", "size", "3Gi"));
    run_for(&w, 8000);
    assert_int_equal(sim_drv_size(w.hosts[0].drv, "vg", "v1"), 3ULL << 30);
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 1);
    assert_int_equal(held(&w), 2); /* the group's lock was given back */
    world_done(&w);
}

static void activated_by_hand(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 15);
    put_volume(&w, "v1");
    put_volume(&w, "v2");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    sim_san_add(w.san, "vg", "v2");
    sim_drv_activate(w.hosts[1].drv, "vg", "v2");
    run_for(&w, 40000);
    assert_false(sim_drv_active(w.hosts[1].drv, "vg", "v2")); /* nobody has its lock */
    assert_true(sim_drv_active(w.hosts[0].drv, "vg", "v1"));  /* this one is held and used */
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 1);
    world_done(&w);
}

/* Open by hand on a host that has no right to it: nothing is taken while nobody else uses it; as
 * soon as another host holds its lock, its table goes. */
static void opened_by_hand(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 15);
    put_volume(&w, "v1");
    put_volume(&w, "v2");
    sim_san_add(w.san, "vg", "v1");
    sim_san_add(w.san, "vg", "v2");
    sim_drv_activate(w.hosts[1].drv, "vg", "v2");
    sim_drv_hold(w.hosts[1].drv, "vg", "v2", true);
    run_for(&w, 70000);
    assert_true(sim_drv_active(w.hosts[1].drv, "vg", "v2"));
    assert_false(sim_drv_wiped(w.hosts[1].drv, "vg", "v2"));
    put_vm(&w, "vm1", "v2", &(struct vm_opts){ .host = "node1" });
    until(&w, 5000, 0, "vm1");
    run_for(&w, 70000);
    assert_true(sim_drv_wiped(w.hosts[1].drv, "vg", "v2"));
    assert_true(runs_on(&w, 0, "vm1"));
    assert_false(sim_drv_wiped(w.hosts[0].drv, "vg", "v2"));
    sim_drv_hold(w.hosts[1].drv, "vg", "v2", false);
    run_for(&w, 70000);
    assert_false(sim_drv_active(w.hosts[1].drv, "vg", "v2"));
    world_done(&w);
}

static void guest_ends(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 4);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    run_for(&w, 100);
    /* A reboot and three crashes are ours to repair; the fourth crash is one too many. */
    assert_true(sim_drv_guest(w.hosts[0].drv, "vm1", SIM_GUEST_REBOOT));
    until(&w, 3000, 0, "vm1");
    for (int i = 0; i < 3; i++) {
        run_for(&w, 100);
        assert_true(sim_drv_guest(w.hosts[0].drv, "vm1", SIM_GUEST_CRASH));
        run_for(&w, 100);
        until(&w, 6000, 0, "vm1");
    }
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 5);
    assert_true(sim_drv_guest(w.hosts[0].drv, "vm1", SIM_GUEST_CRASH));
    run_for(&w, 20000);
    assert_false(runs_on(&w, 0, "vm1"));
    assert_string_equal(reported(&w, 0, "vm1"), "Crashed/RestartLimit");
    assert_int_equal(held(&w), 0);
    /* Another host may try. */
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node2" });
    until(&w, 3000, 1, "vm1");
    run_for(&w, 1000);
    /* Power-off from inside: it stays off, until somebody changes the spec. */
    assert_true(sim_drv_guest(w.hosts[1].drv, "vm1", SIM_GUEST_POWEROFF));
    run_for(&w, 5000);
    assert_false(runs_on(&w, 1, "vm1"));
    assert_string_equal(reported(&w, 1, "vm1"), "Stopped/GuestPoweroff");
    assert_int_equal(held(&w), 0);
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node2", .generation = 2 });
    until(&w, 3000, 1, "vm1");
    world_done(&w);
}

/* features.md C05: the domain is missing from the list for two seconds while it runs. */
static void hidden_domain_is_not_started_twice(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 5);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    run_for(&w, 500);
    sim_drv_hide(w.hosts[0].drv, "vm1", 350);
    vmx_look(w.hosts[0].x);
    run_for(&w, 3000);
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 1);
    assert_string_equal(reported(&w, 0, "vm1"), "Running/Observed");
    /* Really gone, without a word: several looks agree, then it is started again. */
    assert_true(sim_drv_guest(w.hosts[0].drv, "vm1", SIM_GUEST_VANISH));
    vmx_look(w.hosts[0].x);
    until(&w, 5000, 0, "vm1");
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 2);
    world_done(&w);
}

static void agent_killed_and_back(void **state)
{
    struct world w;
    uint64_t token;

    (void)state;
    world_init(&w, 6);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    run_for(&w, 500);
    token = sim_drv_token(w.hosts[0].drv, "vm1");
    agent_kill(&w.hosts[0]);
    run_for(&w, 500);
    agent_start_sim(&w.hosts[0]);
    run_for(&w, 2000);
    assert_true(runs_on(&w, 0, "vm1"));
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 1);
    assert_int_equal(sim_drv_token(w.hosts[0].drv, "vm1"), token);
    /* The records are lost too: the guest is adopted all the same, with its volume. */
    agent_kill(&w.hosts[0]);
    drop_intents(&w.hosts[0]);
    agent_start_sim(&w.hosts[0]);
    run_for(&w, 2000);
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node2" });
    until(&w, 6000, 1, "vm1");
    world_done(&w);
}

/* Disks that cannot be read (no list of the volumes) do not keep a new agent from looking round:
 * what runs and what is active it knows.  What it does not know it does not touch. */
static void agent_back_without_its_disks(void **state)
{
    struct world w;
    uint64_t token;

    (void)state;
    world_init(&w, 6);
    put_volume(&w, "v1");
    put_volume(&w, "v2");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    run_for(&w, 500);
    token = sim_drv_token(w.hosts[0].drv, "vm1");
    agent_kill(&w.hosts[0]);
    sim_drv_fault(w.hosts[0].drv, DRV_ENUM_VOLUMES, SIM_FAULT_FAIL, 1000);
    agent_start_sim(&w.hosts[0]);
    run_for(&w, 2000);
    assert_true(vmx_looked(w.hosts[0].x));
    put_vm(&w, "vm2", "v2", &(struct vm_opts){ .host = "node1" });
    run_for(&w, 3000);
    assert_true(runs_on(&w, 0, "vm1"));
    assert_int_equal(sim_drv_token(w.hosts[0].drv, "vm1"), token);
    assert_true(sim_drv_active(w.hosts[0].drv, "vg", "v1"));
    assert_false(runs_on(&w, 0, "vm2")); /* whether v2 exists is not known */
    sim_drv_fault(w.hosts[0].drv, DRV_ENUM_VOLUMES, SIM_FAULT_NONE, 0);
    until(&w, 8000, 0, "vm2");
    world_done(&w);
}

/* The agent dies between the destroy of a rebooting guest and its start (S24). */
static void agent_killed_in_reboot(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct world w;

        world_init(&w, 1000 + seed);
        put_volume(&w, "v1");
        put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
        until(&w, 3000, 0, "vm1");
        run_for(&w, 200);
        assert_true(sim_drv_guest(w.hosts[0].drv, "vm1", SIM_GUEST_REBOOT));
        run_for(&w, prng_below(&w.rng, 40) * 5);
        agent_kill(&w.hosts[0]);
        run_for(&w, prng_below(&w.rng, 20) * 5);
        agent_start_sim(&w.hosts[0]);
        run_for(&w, 4000);
        until(&w, 4000, 0, "vm1");
        assert_int_equal(w.hosts[0].reports.count, 1);
        world_done(&w);
    }
}

/* A host that is cut off stops its guests before its lease ends, and the watchdog has the rest. */
static void lease_runs_out(void **state)
{
    struct world w;
    uint64_t cut_at;

    (void)state;
    world_init(&w, 7);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    run_for(&w, 1000);
    w.hosts[0].cut = true;
    cut_at = w.now;
    until(&w, L, -1, "vm1");
    assert_true(w.now < w.hosts[0].lease_until_ms);
    assert_true(w.now >= cut_at + L / 2 - 500);
    /* Healed in time: it starts again under fresh tokens. */
    w.hosts[0].cut = false;
    renew(&w.hosts[0]);
    until(&w, 3000, 0, "vm1");
    /* A guest that does not listen is destroyed. */
    sim_drv_stubborn(w.hosts[0].drv, "vm1", true);
    run_for(&w, 600);
    w.hosts[0].cut = true;
    until(&w, L, -1, "vm1");
    assert_true(w.hosts[0].up);
    assert_true(w.now < w.hosts[0].lease_until_ms);
    world_done(&w);
}

/* The start hangs while the lease runs out: it is aborted at once, so that whatever came of it can
 * be ended in time. */
static void hanging_start_when_lease_ends(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 8);
    put_volume(&w, "v1");
    run_for(&w, 1000);
    sim_drv_fault(w.hosts[0].drv, DRV_START, SIM_FAULT_HANG, 1);
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    run_for(&w, 400);
    assert_true(vmx_busy(w.hosts[0].x));
    w.hosts[0].cut = true;
    while (w.now < w.hosts[0].half_ms) {
        step(&w);
        assert_true(vmx_busy(w.hosts[0].x));
    }
    run_for(&w, 50);
    assert_false(vmx_busy(w.hosts[0].x));
    run_for(&w, L / 2);
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 0);
    world_done(&w);
}

/* A guest that takes longer to build than a lease lasts: while the lease is renewed it may begin
 * late; once it is not, it may not. */
static void start_longer_than_a_lease(void **state)
{
    struct world w;

    (void)state;
    world_start_ms = 4 * L;
    world_start_max_ms = 20 * L;
    world_init(&w, 8);
    put_volume(&w, "v1");
    run_for(&w, 1000);
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    run_for(&w, 10 * L);
    assert_true(sim_drv_runs(w.hosts[0].drv, "vm1"));
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), 1);
    put_volume(&w, "v2");
    put_vm(&w, "vm2", "v2", &(struct vm_opts){ .host = "node1" });
    run_for(&w, 1000);
    assert_true(vmx_busy(w.hosts[0].x));
    w.hosts[0].cut = true;
    run_for(&w, 10 * L);
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm2"), 0);
    world_done(&w);
    world_start_ms = 50;
    world_start_max_ms = 2000;
}

static size_t active_here(struct world *w)
{
    return (size_t)sim_drv_active(w->hosts[0].drv, "vg", "v1") +
           (size_t)sim_drv_active(w->hosts[0].drv, "vg", "v2");
}

/* Every step asks for the lease again: it may be lost between two steps of one plan. */
static void lease_is_asked_before_each_step(void **state)
{
    struct world w;
    struct host *h = &w.hosts[0];
    json_t *o;

    (void)state;
    world_init(&w, 14);
    put_volume(&w, "v1");
    put_volume(&w, "v2");
    sim_san_add(w.san, "vg", "v1");
    sim_san_add(w.san, "vg", "v2");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node2" });
    o = json_deep_copy(object(h, "virtualmachines", "vm1"));
    (void)json_array_append_new(json_object_get(json_object_get(o, "spec"), "disks"),
                                json_pack("{s:s, s:s}", "name", "data", "volume", "v2"));
    (void)json_object_set_new(json_object_get(o, "status"), "assignedHost", json_string("node1"));
    put(&w, "virtualmachines", "vm1", o);
    /* Up to the moment at which the first of two activations is under way. */
    while (strstr(vmx_plan_text(h->x, "vm1"), "activate v2") == NULL) {
        step(&w);
    }
    assert_int_equal(active_here(&w), 0);
    h->fenced = true; /* LeaseLost has just been answered; the executor has not run since */
    w.now += 100;
    sim_drv_run(h->drv);
    w.now += 100;
    sim_drv_run(h->drv);
    assert_int_equal(active_here(&w), 1);
    h->fenced = false;
    until(&w, 5000, 0, "vm1");
    world_done(&w);
}

/* Until node1 waits for the answer to an Acquire of this lock. */
static void until_acquiring(struct world *w, const char *lock)
{
    for (int i = 0; i < 1000; i++) {
        for (size_t k = 0; k < w->n_calls; k++) {
            if (w->calls[k]->kind == CALL_ACQUIRE && str_eq(w->calls[k]->locks[0], lock)) {
                w->calls[k]->at_ms = w->now + 20;
                return;
            }
        }
        step(w);
    }
    fail_msg("nobody acquires %s", lock);
}

/* The lease gets short while the answer to the Acquire is on its way: nothing begins under it, and
 * nobody has told the planner yet. */
static void lease_ends_between_acquire_and_use(void **state)
{
    struct world w;
    struct host *h = &w.hosts[0];

    (void)state;
    world_init(&w, 15);
    put_volume(&w, "v1");
    sim_san_add(w.san, "vg", "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until_acquiring(&w, "virtualmachines/vm1");
    h->lease_until_ms = w.now + L / 8;
    run_for(&w, 25);
    assert_int_equal(w.n_calls, 0); /* answered */
    assert_false(vmx_busy(h->x));   /* and nothing was begun */
    assert_int_equal(sim_drv_active(h->drv, "vg", "v1"), 0);
    renew(h);
    until(&w, 5000, 0, "vm1");
    world_done(&w);
}

/* A volume is made in the group of others: only under a lease that outlives the effect. */
static void a_short_lease_makes_no_volume(void **state)
{
    struct world w;
    struct host *h = &w.hosts[0];

    (void)state;
    world_init(&w, 16);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until_acquiring(&w, "volumegroups/vg");
    h->lease_until_ms = w.now + L / 3 - 60; /* good for a start, too short for this */
    run_for(&w, 60);
    assert_false(sim_san_has(w.san, "vg", "v1"));
    renew(h);
    until(&w, 5000, 0, "vm1");
    assert_true(sim_san_has(w.san, "vg", "v1"));
    world_done(&w);
}

/* S6: the reply of a release is lost, and the vm is wanted again at once. */
static void lost_release_then_wanted_again(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 9);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    w.lose_reply = 100;
    put_vm(&w, "vm1", "v1",
           &(struct vm_opts){ .host = "node1", .run = "Stopped", .generation = 2 });
    until(&w, 3000, -1, "vm1");
    run_for(&w, 1000);
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1", .generation = 3 });
    run_for(&w, 1000);
    w.lose_reply = 0;
    until(&w, 5000, 0, "vm1");
    assert_int_equal(sim_drv_token(w.hosts[0].drv, "vm1"),
                     lock_of(&w, "virtualmachines/vm1")->token);
    world_done(&w);
}

/* A hung job keeps only its own vm from going on. */
static void hung_job_blocks_nobody_else(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 10);
    put_volume(&w, "v1");
    put_volume(&w, "v2");
    sim_drv_fault(w.hosts[0].drv, DRV_START, SIM_FAULT_HANG, 1);
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    run_for(&w, 300);
    put_vm(&w, "vm2", "v2", &(struct vm_opts){ .host = "node1" });
    until(&w, 1500, 0, "vm2");
    assert_false(runs_on(&w, 0, "vm1"));
    until(&w, 8000, 0, "vm1"); /* aborted at its deadline, looked at, started again */
    world_done(&w);
}

/* Two vms of one host that name the same exclusive volume: one runs, the other says why not. */
static void one_volume_for_two(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 11);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    put_vm(&w, "vm2", "v1", &(struct vm_opts){ .host = "node1" });
    run_for(&w, 5000);
    assert_false(runs_on(&w, 0, "vm2"));
    assert_non_null(strstr(vmx_plan_text(w.hosts[0].x, "vm2"), "volume v1 is in use by vm1"));
    put_vm(&w, "vm1", "v1",
           &(struct vm_opts){ .host = "node1", .run = "Stopped", .generation = 2 });
    until(&w, 6000, 0, "vm2");
    world_done(&w);
}

/* Locks that nobody accounts for are given back, also the metadata lock of a group. */
static void orphaned_locks_are_swept(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 12);
    put_volume(&w, "v1");
    agent_kill(&w.hosts[0]);
    *lock_of(&w, "volumes/v1") =
        (struct lock){ .incarnation = w.hosts[0].incarnation, .token = ++w.last_token };
    *lock_of(&w, "volumegroups/vg") =
        (struct lock){ .incarnation = w.hosts[0].incarnation, .token = ++w.last_token };
    agent_start_sim(&w.hosts[0]);
    run_for(&w, 65000);
    assert_int_equal(held(&w), 0);
    world_done(&w);
}

static void deletes(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 13);
    put_volume(&w, "v1");
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(&w, 3000, 0, "vm1");
    put_vm(&w, "vm1", "v1",
           &(struct vm_opts){ .host = "node1", .deleting = true, .generation = 2 });
    until(&w, 3000, -1, "vm1");
    run_for(&w, 1000);
    assert_int_equal(held(&w), 0);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_and_stops),
        cmocka_unit_test(moves_cold),
        cmocka_unit_test(stubborn_guest_is_destroyed),
        cmocka_unit_test(memory_follows),
        cmocka_unit_test(volume_grows),
        cmocka_unit_test(activated_by_hand),
        cmocka_unit_test(opened_by_hand),
        cmocka_unit_test(guest_ends),
        cmocka_unit_test(hidden_domain_is_not_started_twice),
        cmocka_unit_test(agent_killed_and_back),
        cmocka_unit_test(agent_back_without_its_disks),
        cmocka_unit_test(agent_killed_in_reboot),
        cmocka_unit_test(lease_runs_out),
        cmocka_unit_test(hanging_start_when_lease_ends),
        cmocka_unit_test(start_longer_than_a_lease),
        cmocka_unit_test(lease_is_asked_before_each_step),
        cmocka_unit_test(lease_ends_between_acquire_and_use),
        cmocka_unit_test(a_short_lease_makes_no_volume),
        cmocka_unit_test(lost_release_then_wanted_again),
        cmocka_unit_test(hung_job_blocks_nobody_else),
        cmocka_unit_test(one_volume_for_two),
        cmocka_unit_test(orphaned_locks_are_swept),
        cmocka_unit_test(deletes),
    };

    if (getenv("PICKET_LOG") == NULL) {
        lg_set_level(LG_ERR);
    }
    return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}
