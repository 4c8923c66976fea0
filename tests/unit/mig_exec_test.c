/* Live migration of the executor, two simulated hosts and a lock table: the good way, every party
 * killed in every phase, lost answers, and thousands of random ones.
 * PICKET_SEED=N repeats one random run, PICKET_SEEDS=N does that many.
 */

#include "tests/unit/exec_world.h"

static json_t *migration(struct world *w, const char *phase, const char *id, int from, int to)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:s, s:I}", "name", id, "uid", id,
                     "phase", phase, "source", w->hosts[from].name, "sourceIncarnation",
                     (json_int_t)w->hosts[from].incarnation, "target", w->hosts[to].name,
                     "targetIncarnation", (json_int_t)w->hosts[to].incarnation, "address",
                     "127.0.0.1:1", "timeoutMs", (json_int_t)5000);
}

/* What the controllers say: assigned to the owner, and where the migration stands. */
static void say(struct world *w, const char *phase, const char *id, int from, int to)
{
    const struct lock *l = lock_of(w, "virtualmachines/vm1");
    int host = l->incarnation != 0 ? l->host : from;
    json_t *j;

    put_vm(w, "vm1", "v1", &(struct vm_opts){ .host = w->hosts[host].name });
    if (phase != NULL) {
        j = map_get(&w->objects, "virtualmachines/vm1");
        (void)json_object_set_new(json_object_get(j, "status"), "migration",
                                  migration(w, phase, id, from, to));
        put(w, "virtualmachines", "vm1", json_incref(j));
    }
}

static const char *stage_of(struct world *w, int to)
{
    const struct lock *l = lock_of(w, "virtualmachines/vm1");

    if (l->incarnation == w->hosts[to].incarnation) {
        return "Committing";
    }
    return l->peer.incarnation == w->hosts[to].incarnation ? "Running" : "Preparing";
}

static void begin(struct world *w, uint64_t seed)
{
    world_init(w, seed);
    sim_san_add(w->san, "vg", "v1");
    put_volume(w, "v1");
    put_vm(w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    until(w, 20000, 0, "vm1");
    run_for(w, 500);
}

/* Play the controllers for so long, or until the lock has changed hands and is nobody else's. */
static bool play(struct world *w, const char *id, uint64_t ms)
{
    uint64_t end = w->now + ms;
    const struct lock *l = lock_of(w, "virtualmachines/vm1");

    while (w->now < end) {
        if (l->incarnation == w->hosts[1].incarnation && l->peer.incarnation == 0 &&
            sim_drv_running(w->hosts[1].drv, "vm1")) {
            say(w, NULL, NULL, 0, 1);
            return true;
        }
        say(w, stage_of(w, 1), id, 0, 1);
        run_for(w, 50);
    }
    return false;
}

static void call_back(struct world *w, const char *id)
{
    for (int i = 0; i < 200 && lock_of(w, "virtualmachines/vm1")->peer.incarnation != 0; i++) {
        bool moved = str_eq(stage_of(w, 1), "Committing");

        say(w, moved ? "Committing" : "Canceling", id, 0, 1);
        run_for(w, 50);
    }
    assert_int_equal(lock_of(w, "virtualmachines/vm1")->peer.incarnation, 0);
    say(w, NULL, NULL, 0, 1);
    run_for(w, 1000);
}

/* It runs on exactly one host, whose lock it is, and nothing is left of the other end. */
static int settled(struct world *w)
{
    const struct lock *l = lock_of(w, "virtualmachines/vm1");
    int at = sim_drv_running(w->hosts[0].drv, "vm1") ? 0 : 1;

    for (int i = 0;
         i < 400 && (!sim_drv_running(w->hosts[at].drv, "vm1") || l->peer.incarnation != 0 ||
                     runs_on(w, 1 - at, "vm1") || sim_drv_active(w->hosts[1 - at].drv, "vg", "v1"));
         i++) {
        run_for(w, 50);
        at = sim_drv_running(w->hosts[0].drv, "vm1") ? 0 : 1;
    }
    if (!sim_drv_running(w->hosts[at].drv, "vm1") || l->incarnation != w->hosts[at].incarnation ||
        l->peer.incarnation != 0 || runs_on(w, 1 - at, "vm1") ||
        sim_drv_active(w->hosts[1 - at].drv, "vg", "v1")) {
        for (int i = 0; i < HOSTS; i++) {
            print_message("node%d runs=%d active=%d plan:\n%s", i + 1, runs_on(w, i, "vm1"),
                          sim_drv_active(w->hosts[i].drv, "vg", "v1"),
                          w->hosts[i].x == NULL ? "-" : vmx_plan_text(w->hosts[i].x, "vm1"));
        }
        fail_msg("seed %" PRIu64 ": not settled: owner %" PRIu64 " peer %" PRIu64, chaos_seed,
                 l->incarnation, l->peer.incarnation);
    }
    return at;
}

static void moves_live(void **state)
{
    struct world w;
    size_t starts;

    (void)state;
    begin(&w, 1);
    starts = sim_drv_starts(w.hosts[0].drv, "vm1");
    assert_true(play(&w, "m1", 10000));
    assert_int_equal(settled(&w), 1);
    assert_int_equal(w.commits, 1);
    assert_int_equal(sim_drv_starts(w.hosts[0].drv, "vm1"), starts); /* nothing was started anew */
    /* And back. */
    for (int i = 0;
         i < 200 && lock_of(&w, "virtualmachines/vm1")->incarnation != w.hosts[0].incarnation;
         i++) {
        say(&w, stage_of(&w, 0), "m2", 1, 0);
        run_for(&w, 50);
    }
    for (int i = 0; i < 20; i++) {
        say(&w, "Committing", "m2", 1, 0);
        run_for(&w, 50);
    }
    say(&w, NULL, NULL, 1, 0);
    run_for(&w, 1000);
    assert_int_equal(settled(&w), 0);
    assert_int_equal(w.commits, 2);
    world_done(&w);
}

/* The source cannot send: it runs on and was never suspended for long; the target gives back. */
static void send_fails(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2);
    sim_drv_fault(w.hosts[0].drv, DRV_MIG_SUSPEND, SIM_FAULT_FAIL, 1);
    assert_false(play(&w, "m1", 3000));
    call_back(&w, "m1");
    assert_int_equal(settled(&w), 0);
    assert_int_equal(w.commits, 0);
    /* Another migration works. */
    assert_true(play(&w, "m2", 10000));
    assert_int_equal(settled(&w), 1);
    world_done(&w);
}

/* Whole there and suspended here, but the source was not told: nobody knows, so it is aborted. */
static void outcome_unknown(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3);
    sim_drv_fault(w.hosts[0].drv, DRV_MIG_SUSPEND, SIM_FAULT_UNKNOWN_DONE, 1);
    assert_false(play(&w, "m1", 3000));
    call_back(&w, "m1");
    assert_int_equal(settled(&w), 0);
    assert_int_equal(w.commits, 0);
    world_done(&w);
}

static void receive_fails(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 4);
    sim_drv_fault(w.hosts[1].drv, DRV_MIG_RECEIVE, SIM_FAULT_FAIL, 1);
    assert_false(play(&w, "m1", 3000));
    call_back(&w, "m1");
    assert_int_equal(settled(&w), 0);
    world_done(&w);
}

static void called_back(void **state)
{
    struct world w;

    (void)state;
    for (uint64_t ms = 0; ms < 1500; ms += 60) {
        begin(&w, 100 + ms);
        (void)play(&w, "m1", ms);
        call_back(&w, "m1");
        (void)settled(&w);
        world_done(&w);
    }
}

/* The Migration is deleted under way: the agents see nothing of it any more. */
static void forgotten(void **state)
{
    struct world w;

    (void)state;
    for (uint64_t ms = 0; ms < 1500; ms += 60) {
        begin(&w, 200 + ms);
        (void)play(&w, "m1", ms);
        for (int i = 0; i < 100; i++) {
            say(&w, NULL, NULL, 0, 1);
            run_for(&w, 50);
        }
        (void)settled(&w);
        world_done(&w);
    }
}

enum victim { SOURCE_AGENT, TARGET_AGENT, BOTH_AGENTS, SOURCE_HOST, TARGET_HOST };

static void kill_one(struct world *w, enum victim v)
{
    for (int i = 0; i < HOSTS; i++) {
        bool agent =
            v == BOTH_AGENTS || (i == 0 && v == SOURCE_AGENT) || (i == 1 && v == TARGET_AGENT);

        if (agent && w->hosts[i].x != NULL) {
            agent_kill(&w->hosts[i]);
        }
    }
    if (v == SOURCE_HOST || v == TARGET_HOST) {
        host_off(&w->hosts[v == SOURCE_HOST ? 0 : 1], true);
    }
}

/* The controllers after something died: who owns it keeps it, else the survivor gets it. */
static void recover(struct world *w, enum victim v)
{
    const struct lock *l = lock_of(w, "virtualmachines/vm1");

    for (int i = 0; i < 200; i++) {
        int survivor = v == SOURCE_HOST ? 1 : 0;
        int host = l->incarnation != 0 ? l->host : survivor;

        if (l->incarnation != 0 && l->peer.incarnation != 0) {
            bool moved = l->incarnation == w->hosts[1].incarnation;

            say(w, moved ? "Committing" : "Canceling", "m1", 0, 1);
        } else {
            put_vm(w, "vm1", "v1", &(struct vm_opts){ .host = w->hosts[host].name });
        }
        run_for(w, 50);
    }
}

static void every_death(void **state)
{
    struct world w;

    (void)state;
    for (int v = SOURCE_AGENT; v <= TARGET_HOST; v++) {
        for (uint64_t ms = 0; ms < 1500; ms += 25) {
            chaos_seed = 1000 * (uint64_t)v + ms;
            begin(&w, chaos_seed);
            (void)play(&w, "m1", ms);
            kill_one(&w, (enum victim)v);
            run_for(&w, 200);
            for (int i = 0; i < HOSTS; i++) {
                if (w.hosts[i].x == NULL && w.hosts[i].up) {
                    agent_start_sim(&w.hosts[i]);
                }
            }
            recover(&w, (enum victim)v);
            (void)settled(&w);
            world_done(&w);
        }
    }
}

/* --- at random ---------------------------------------------------------------------------------
 */

static void random_fault(struct world *w)
{
    static const enum drv_op jobs[] = { DRV_MIG_SUSPEND, DRV_MIG_RECEIVE, DRV_MIG_RESUME,
                                        DRV_UNPAUSE,     DRV_DESTROY,     DRV_VOL_ACTIVATE };
    static const enum sim_fault faults[] = { SIM_FAULT_FAIL, SIM_FAULT_UNKNOWN_DONE,
                                             SIM_FAULT_UNKNOWN_NOT, SIM_FAULT_HANG };
    struct host *h = &w->hosts[prng_below(&w->rng, HOSTS)];

    switch (prng_below(&w->rng, 5)) {
    case 0:
        if (h->x != NULL) {
            agent_kill(h);
        }
        return;
    case 1:
        sim_drv_fault(h->drv, jobs[prng_below(&w->rng, ARRAY_LEN(jobs))],
                      faults[prng_below(&w->rng, ARRAY_LEN(faults))], 1);
        return;
    case 2:
        w->lose_reply = (unsigned)prng_below(&w->rng, 40);
        return;
    case 3:
        w->refuse = (unsigned)prng_below(&w->rng, 30);
        return;
    default:
        return;
    }
}

static void one_random(uint64_t seed)
{
    struct world w;

    chaos_seed = seed;
    begin(&w, seed);
    for (int round = 0; round < 4; round++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "m%d", round);
        for (int i = 0; i < 30; i++) {
            if (prng_below(&w.rng, 6) == 0) {
                random_fault(&w);
            }
            for (int k = 0; k < HOSTS; k++) {
                if (w.hosts[k].x == NULL && prng_below(&w.rng, 4) == 0) {
                    agent_start_sim(&w.hosts[k]);
                }
            }
            if (prng_below(&w.rng, 12) == 0) {
                say(&w, "Canceling", id, 0, 1);
            } else {
                say(&w, stage_of(&w, 1), id, 0, 1);
            }
            run_for(&w, 20 + prng_below(&w.rng, 80));
        }
    }
    w.lose_reply = w.refuse = 0;
    for (int k = 0; k < HOSTS; k++) {
        for (int op = DRV_START; op <= DRV_APPLY; op++) {
            sim_drv_fault(w.hosts[k].drv, (enum drv_op)op, SIM_FAULT_NONE, 0);
        }
        if (w.hosts[k].x == NULL) {
            agent_start_sim(&w.hosts[k]);
        }
    }
    recover(&w, SOURCE_AGENT);
    (void)settled(&w);
    world_done(&w);
}

static void at_random(void **state)
{
    const char *one = getenv("PICKET_SEED"), *many = getenv("PICKET_SEEDS");
    uint64_t n = many == NULL ? 150 : strtoull(many, NULL, 10);

    (void)state;
    if (one != NULL) {
        one_random(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= n; seed++) {
        one_random(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_live),      cmocka_unit_test(send_fails),
        cmocka_unit_test(outcome_unknown), cmocka_unit_test(receive_fails),
        cmocka_unit_test(called_back),     cmocka_unit_test(forgotten),
        cmocka_unit_test(every_death),     cmocka_unit_test(at_random),
    };

    lg_set_level(LG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
