/* The simulated driver, and everything at once: random faults of drivers, calls, agents and hosts,
 * then healing, after which every vm has to be where it should.
 * PICKET_SEED=N repeats one run, PICKET_SEEDS=N does that many.
 */

#include "tests/unit/exec_world.h"

/* --- the driver alone --------------------------------------------------------------------------
 */

struct result {
    unsigned calls;
    int code;
    size_t n;
};

static void on_result(struct drv_job *job, const struct err *err)
{
    struct result *r = job->data;

    r->calls++;
    r->code = err == NULL ? 0 : err->code;
    r->n = job->result.n_domains + job->result.n_volumes;
}

static int run_op(struct world *w, struct drv_job *job, struct result *r)
{
    struct drv *d = w->hosts[0].drv;

    *r = (struct result){ 0 };
    job->magic = DRV_JOB_MAGIC;
    job->vm = "vm1";
    job->group = "vg";
    job->volume = "v1";
    job->deadline_ms = w->now + 1000;
    job->cb = on_result;
    job->data = r;
    drv_submit(d, job);
    assert_int_equal(r->calls, 0); /* never before submit has returned */
    while (r->calls == 0 && w->now <= job->deadline_ms) {
        w->now++;
        sim_drv_run(d);
    }
    if (r->calls == 0) {
        drv_abort(d, job);
        w->now += 2;
        sim_drv_run(d);
    }
    assert_int_equal(r->calls, 1);
    return r->code;
}

static int run_simple(struct world *w, enum drv_op op, struct result *r)
{
    return run_op(w, &(struct drv_job){ .op = op }, r);
}

static int run_start(struct world *w, struct result *r)
{
    struct drv_disk disk = { .name = "root", .group = "vg", .volume = "v1" };
    json_t *o = json_object();
    int rc = run_op(w,
                    &(struct drv_job){ .op = DRV_START,
                                       .uid = "u",
                                       .object = o,
                                       .disks = &disk,
                                       .n_disks = 1,
                                       .incarnation = 1,
                                       .token = 2 },
                    r);

    json_decref(o);
    return rc;
}

static void driver_keeps_the_contract(void **state)
{
    struct world w;
    struct result r;

    (void)state;
    world_init(&w, 50);
    agent_kill(&w.hosts[0]);
    assert_int_equal(run_simple(&w, DRV_VOL_ACTIVATE, &r), ERR_DRIVER);
    assert_int_equal(run_simple(&w, DRV_VOL_CREATE, &r), 0);
    assert_int_equal(run_start(&w, &r), ERR_DRIVER); /* its disk is not active */
    assert_int_equal(run_simple(&w, DRV_VOL_ACTIVATE, &r), 0);
    assert_int_equal(run_start(&w, &r), 0);
    assert_int_equal(run_start(&w, &r), ERR_DRIVER);                      /* exists */
    assert_int_equal(run_simple(&w, DRV_VOL_DEACTIVATE, &r), ERR_DRIVER); /* in use */
    assert_int_equal(run_simple(&w, DRV_ENUM_DOMAINS, &r), 0);
    assert_int_equal(r.n, 1);
    assert_int_equal(run_simple(&w, DRV_PAUSE, &r), 0);
    assert_int_equal(
        run_op(&w, &(struct drv_job){ .op = DRV_UNPAUSE, .not_after_ms = w.now - 1 }, &r),
        ERR_TIMEOUT); /* the lease is over */
    assert_int_equal(
        run_op(&w, &(struct drv_job){ .op = DRV_UNPAUSE, .not_after_ms = w.now + 999 }, &r), 0);
    sim_drv_fault(w.hosts[0].drv, DRV_DESTROY, SIM_FAULT_FAIL, 1);
    assert_int_equal(run_simple(&w, DRV_DESTROY, &r), ERR_DRIVER);
    assert_true(runs_on(&w, 0, "vm1"));
    sim_drv_fault(w.hosts[0].drv, DRV_DESTROY, SIM_FAULT_UNKNOWN_NOT, 1);
    assert_int_equal(run_simple(&w, DRV_DESTROY, &r), ERR_UNKNOWN_OUTCOME);
    assert_true(runs_on(&w, 0, "vm1"));
    sim_drv_fault(w.hosts[0].drv, DRV_PAUSE, SIM_FAULT_HANG, 1);
    assert_int_equal(run_simple(&w, DRV_PAUSE, &r), ERR_UNKNOWN_OUTCOME); /* aborted */
    sim_drv_fault(w.hosts[0].drv, DRV_DESTROY, SIM_FAULT_UNKNOWN_DONE, 1);
    assert_int_equal(run_simple(&w, DRV_DESTROY, &r), ERR_UNKNOWN_OUTCOME);
    assert_false(runs_on(&w, 0, "vm1"));
    assert_int_equal(run_simple(&w, DRV_VOL_DEACTIVATE, &r), 0);
    world_done(&w);
}

/* --- everything at once ------------------------------------------------------------------------
 */

static void mischief(struct world *w, struct host *h)
{
    static const enum drv_op op[] = { DRV_START,        DRV_DESTROY,        DRV_SHUTDOWN,
                                      DRV_VOL_ACTIVATE, DRV_VOL_DEACTIVATE, DRV_VOL_CREATE,
                                      DRV_ENUM_DOMAINS };
    char vm[16];

    (void)snprintf(vm, sizeof(vm), "vm%d", (int)prng_below(&w->rng, 4));
    switch (prng_below(&w->rng, 12)) {
    case 0:
        host_off(h, true);
        return;
    case 1:
        h->cut = true;
        return;
    case 2:
        agent_kill(h);
        agent_start_sim(h);
        return;
    case 3:
        (void)sim_drv_guest(h->drv, vm, (enum sim_guest)prng_below(&w->rng, 4));
        return;
    case 4:
        sim_drv_hide(h->drv, vm, prng_below(&w->rng, 500));
        vmx_look(h->x);
        return;
    case 5:
        sim_drv_stubborn(h->drv, vm, prng_below(&w->rng, 2) == 0);
        return;
    default:
        sim_drv_fault(h->drv, op[prng_below(&w->rng, ARRAY_LEN(op))],
                      (enum sim_fault)(1 + prng_below(&w->rng, 4)),
                      (unsigned)prng_below(&w->rng, 3));
        return;
    }
}

static void repair(struct world *w, struct host *h)
{
    if (!h->up) {
        host_boot(h);
    } else {
        h->cut = false;
    }
    (void)w;
}

static void random_wish(struct world *w, int generation)
{
    static const char *const hosts[] = { "node1", "node2", "", NULL };
    char vm[16], vol[16];
    int i = (int)prng_below(&w->rng, 4);

    (void)snprintf(vm, sizeof(vm), "vm%d", i);
    (void)snprintf(vol, sizeof(vol), "v%d", i);
    put_vm(w, vm, vol,
           &(struct vm_opts){ .host = hosts[prng_below(&w->rng, 4)],
                              .run = prng_below(&w->rng, 6) == 0 ? "Stopped" : "Running",
                              .generation = generation });
}

static void chaos_one(uint64_t seed)
{
    struct world w;

    chaos_seed = seed;
    world_init(&w, seed);
    w.lose_reply = (unsigned)prng_below(&w.rng, 25);
    w.refuse = (unsigned)prng_below(&w.rng, 25);
    for (int i = 0; i < 4; i++) {
        char vol[16];

        (void)snprintf(vol, sizeof(vol), "v%d", i);
        put_volume(&w, vol);
    }
    for (int round = 1; round <= 60; round++) {
        struct host *h = &w.hosts[prng_below(&w.rng, HOSTS)];

        random_wish(&w, round);
        if (prng_below(&w.rng, 3) == 0 && h->up && h->x != NULL) {
            mischief(&w, h);
        } else if (prng_below(&w.rng, 3) == 0) {
            repair(&w, h);
        }
        run_for(&w, 5 * prng_below(&w.rng, 400));
    }
    /* Heal, and everything has to come to where it should be. */
    w.lose_reply = 0;
    w.refuse = 0;
    for (int i = 0; i < HOSTS; i++) {
        for (int o = 0; o <= DRV_APPLY; o++) {
            sim_drv_fault(w.hosts[i].drv, (enum drv_op)o, SIM_FAULT_NONE, 0);
        }
        repair(&w, &w.hosts[i]);
    }
    run_for(&w, 15000);
    for (int i = 0; i < 4; i++) {
        char vm[16], vol[16];

        (void)snprintf(vm, sizeof(vm), "vm%d", i);
        (void)snprintf(vol, sizeof(vol), "v%d", i);
        put_vm(&w, vm, vol,
               &(struct vm_opts){ .host = i % 2 == 0 ? "node1" : "node2", .generation = 1000 });
    }
    for (int i = 0; i < 4; i++) {
        char vm[16];

        (void)snprintf(vm, sizeof(vm), "vm%d", i);
        until(&w, 60000, i % 2, vm);
    }
    run_for(&w, 61000);
    assert_int_equal(held(&w), 8);
    world_done(&w);
}

static void chaos(void **state)
{
    const char *env = getenv("PICKET_SEED");
    uint64_t n = getenv("PICKET_SEEDS") == NULL ? 60 : strtoull(getenv("PICKET_SEEDS"), NULL, 10);

    (void)state;
    if (env != NULL) {
        chaos_one(strtoull(env, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= n; seed++) {
        chaos_one(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(driver_keeps_the_contract),
        cmocka_unit_test(chaos),
    };

    if (getenv("PICKET_LOG") == NULL) {
        lg_set_level(LG_ERR);
    }
    return cmocka_run_group_tests_name("simdrv", tests, NULL, NULL);
}
