/* The agent against a fake picketd, a fake picket-watchdog and the simulated driver, in real time.
 */

#include "tests/unit/agent_fake.h"

#include "reconciler/agent.h"
#include "reconciler/sim_drv.h"

struct bench {
    uv_loop_t loop;
    char dir[64];
    char data[96];
    struct fake f;
    struct fake_wdog w;
    struct sim_san *san;
    struct drv *drv;
    struct drv shell; /* what the agent gets: closing it leaves the simulated host alone */
    uv_timer_t timer;
    struct agent *a;
    bool stopped;
    char reset[128];
    size_t groups; /* applications of groups */
    uv_idle_t lun_idle;
    struct drv_job *lun_job;
    bool lun_moves;  /* the next application of a LUN does something */
    char secret[64]; /* what the newest application of a target was given */
};

static uint64_t real_now(void *ctx)
{
    (void)ctx;
    return clock_now_ms();
}

/* --- a driver that outlives its agent ----------------------------------------------------------
 */

static struct bench *shell_bench(struct drv *d)
{
    return CONTAINER_OF(d, struct bench, shell);
}

/* A LUN to which something was done. */
static void lun_answers(uv_idle_t *idle)
{
    struct bench *b = idle->data;
    struct drv_job *job = b->lun_job;

    CHECK(uv_idle_stop(idle) == 0);
    job->result = (struct drv_result){
        .ready = true, .reason = "Ready", .message = "", .changed = true, .again_ms = 60000
    };
    job->cb(job, NULL);
}

static void shell_submit(struct drv *d, struct drv_job *job)
{
    struct bench *b = shell_bench(d);

    b->groups += job->op == DRV_APPLY && str_eq(job->kind, "volumegroups");
    if (job->op == DRV_APPLY && str_eq(job->kind, "luns") && b->lun_moves) {
        b->lun_moves = false;
        b->lun_job = job;
        CHECK(uv_idle_start(&b->lun_idle, lun_answers) == 0);
        return;
    }
    if (job->op == DRV_APPLY && str_eq(job->kind, "iscsitargets")) {
        const json_t *v = json_object_get(job->secrets, "spec.chap.passwordRef");

        (void)snprintf(shell_bench(d)->secret, sizeof(shell_bench(d)->secret), "%s",
                       v == NULL ? "none" : json_string_value(v));
    }
    if (job->op == DRV_START) {
        const json_t *v = json_object_get(job->secrets, "spec.graphics.passwordRef");

        (void)snprintf(shell_bench(d)->secret, sizeof(shell_bench(d)->secret), "%s",
                       v == NULL ? "none" : json_string_value(v));
    }
    drv_submit(shell_bench(d)->drv, job);
}

static void shell_abort(struct drv *d, struct drv_job *job)
{
    drv_abort(shell_bench(d)->drv, job);
}

static void shell_close(struct drv *d, void (*on_closed)(void *ctx), void *ctx)
{
    sim_drv_orphan_jobs(shell_bench(d)->drv);
    on_closed(ctx);
}

static void shell_event(void *data, const struct drv_event *ev)
{
    drv_emit(&((struct bench *)data)->shell, ev);
}

static void on_timer(uv_timer_t *t)
{
    struct bench *b = t->data;

    sim_drv_run(b->drv);
}

/* --- bench -------------------------------------------------------------------------------------
 */

static void on_reset(void *ctx, const char *why)
{
    struct bench *b = ctx;

    (void)str_copy(b->reset, sizeof(b->reset), why);
}

static void agent_begin_at(struct bench *b, bool watchdog, const char *const *endpoints, size_t n)
{
    static const struct drv_ops ops = {
        .name = "shell", .submit = shell_submit, .abort = shell_abort, .close = shell_close
    };
    struct agent_opts o = { .name = "node1",
                            .data = b->data,
                            .endpoints = endpoints,
                            .n_endpoints = n,
                            .watchdog = watchdog ? b->w.path : NULL,
                            .boot_id = "boot-1",
                            .hardware_id = "hw1",
                            .watchdog_timeout_ms = 2000,
                            .dev = true,
                            .on_reset = on_reset,
                            .ctx = b };
    struct err err;

    b->shell = (struct drv){ .ops = &ops };
    drv_listen(b->drv, shell_event, b);
    if (agent_start(&b->loop, &o, &b->shell, &b->a, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static void agent_begin(struct bench *b, bool watchdog)
{
    const char *endpoint = b->f.endpoint;

    agent_begin_at(b, watchdog, &endpoint, 1);
}

static void on_stopped(void *ctx)
{
    ((struct bench *)ctx)->stopped = true;
}

static void agent_end(struct bench *b)
{
    b->stopped = false;
    agent_stop(b->a, on_stopped, b);
    b->a = NULL;
    WAIT_FOR(&b->loop, b->stopped);
}

static int setup(void **state)
{
    struct bench *b = OBJ_NEW(struct bench);
    struct sim_drv_opts o = { .now_ms = real_now,
                              .seed = 1,
                              .start_ms = 10,
                              .stop_ms = 5,
                              .volume_ms = 5,
                              .list_ms = 5,
                              .shutdown_ms = 50,
                              .memory_bytes = 64ULL << 30,
                              .cpus = 16 };

    assert_true(str_copy(b->dir, sizeof(b->dir), "/tmp/picket-agent-XXXXXX"));
    assert_non_null(mkdtemp(b->dir));
    (void)snprintf(b->data, sizeof(b->data), "%s/data", b->dir);
    assert_int_equal(mkdir(b->data, 0700), 0);
    assert_int_equal(uv_loop_init(&b->loop), 0);
    fake_open(&b->f, &b->loop, b->dir, "a");
    fake_wdog_open(&b->w, &b->loop, b->dir);
    b->san = sim_san_new();
    o.san = b->san;
    b->drv = sim_drv_new(&o);
    assert_int_equal(uv_timer_init(&b->loop, &b->timer), 0);
    assert_int_equal(uv_idle_init(&b->loop, &b->lun_idle), 0);
    b->lun_idle.data = b;
    b->timer.data = b;
    assert_int_equal(uv_timer_start(&b->timer, on_timer, 2, 2), 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    if (b->a != NULL) {
        agent_end(b);
    }
    fake_close(&b->f);
    fake_wdog_close(&b->w);
    uv_close((uv_handle_t *)&b->timer, NULL);
    uv_close((uv_handle_t *)&b->lun_idle, NULL);
    drv_close(b->drv, NULL, NULL);
    sim_san_free(b->san);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    (void)nftw(b->dir, fake_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(b);
    return 0;
}

static void put_objects(struct bench *b)
{
    fake_put(&b->f, "hosts", "node1",
             json_pack("{s:{s:s}, s:{s:[{s:s, s:s, s:s, s:s, s:s}]}}", "metadata", "uid", "h1",
                       "status", "conditions", "type", "Ready", "status", "True", "reason", "R",
                       "message", "", "lastTransitionTime", "2026-01-01T00:00:00Z"));
    fake_put(&b->f, "clusters", "cluster",
             json_pack("{s:{s:s}, s:{}}", "metadata", "uid", "c", "spec"));
    fake_put(&b->f, "volumegroups", "vg",
             json_pack("{s:{s:s}, s:{}}", "metadata", "uid", "g", "spec"));
    fake_put(&b->f, "bridges", "br0", json_pack("{s:{s:s}, s:{}}", "metadata", "uid", "b", "spec"));
    fake_put(&b->f, "volumes", "v1",
             json_pack("{s:{s:s}, s:{s:s, s:s}}", "metadata", "uid", "v", "spec", "volumeGroup",
                       "vg", "size", "1Gi"));
}

static void put_vm(struct bench *b, const char *run, const char *host)
{
    fake_put(&b->f, "virtualmachines", "vm1",
             json_pack("{s:{s:s, s:i}, s:{s:s, s:s, s:[{s:s, s:s}]}, s:{s:s, s:i}}", "metadata",
                       "uid", "m", "generation", str_eq(run, "Stopped") ? 2 : 1, "spec",
                       "runPolicy", run, "shutdownTimeout", "5s", "disks", "name", "root", "volume",
                       "v1", "status", "assignedHost", host, "assignedIncarnation",
                       (int)b->f.incarnation));
}

static bool runs(struct bench *b)
{
    return sim_drv_runs(b->drv, "vm1");
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void starts_in_order_and_runs_a_vm(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    assert_true(fake_find(&b->f, "GET registration", 0) >= 0);
    assert_true(fake_find(&b->f, "POS register", 0) > fake_find(&b->f, "GET registration", 0));
    assert_true(fake_find(&b->f, "GET locks", 0) > fake_find(&b->f, "POS register", 0));
    assert_true(fake_find(&b->f, "POS report", 0) > fake_find(&b->f, "GET locks", 0));
    assert_int_equal(b->f.full_reports, 1);
    assert_int_equal(fake_find(&b->f, "POS acquire", 0), -1);
    put_vm(b, "Running", "node1");
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "VirtualMachine/vm1"), "Running"));
    assert_true(runs(b));
    assert_int_equal(sim_drv_token(b->drv, "vm1"),
                     ((struct fake_lock *)map_get(&b->f.locks, "virtualmachines/vm1"))->token);
    assert_string_equal(((struct fake_lock *)map_get(&b->f.locks, "volumes/v1"))->uid, "v");
    assert_null(map_get(&b->f.locks, "volumegroups/vg"));
    assert_string_equal(fake_reported(&b->f, "Bridge/br0"), "Ready");
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "Volume/v1"), "Ready"));
    put_vm(b, "Stopped", "node1");
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "VirtualMachine/vm1"), "Stopped"));
    assert_false(runs(b));
    assert_int_equal(b->f.locks.count, 0);
}

static void fetches_the_secrets_of_a_target(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    fake_put(&b->f, "iscsitargets", "open",
             json_pack("{s:{s:s}, s:{}}", "metadata", "uid", "t1", "spec"));
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "ISCSITarget/open"), "Ready"));
    assert_int_equal(fake_count(&b->f, "POS secrets"), 0); /* it needs none */
    assert_string_equal(b->secret, "none");
    fake_put(&b->f, "iscsitargets", "san",
             json_pack("{s:{s:s}, s:{s:{s:s}}}", "metadata", "uid", "t2", "spec", "chap",
                       "username", "we"));
    WAIT_FOR(&b->loop, str_eq(b->secret, "geheim"));
    assert_int_equal(fake_count(&b->f, "POS secrets"), 1);
    b->f.no_secrets = true; /* not to be had: it is applied all the same, and says what it lacks */
    fake_put(&b->f, "iscsitargets", "san2",
             json_pack("{s:{s:s}, s:{s:{s:s}}}", "metadata", "uid", "t3", "spec", "chap",
                       "username", "we"));
    WAIT_FOR(&b->loop, str_eq(b->secret, "none"));
}

static void groups_look_when_a_lun_has_changed(void **state)
{
    struct bench *b = *state;
    size_t before;

    put_objects(b);
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "VolumeGroup/vg"), "Ready"));
    before = b->groups;
    fake_put(&b->f, "luns", "l1", json_pack("{s:{s:s}, s:{}}", "metadata", "uid", "l1", "spec"));
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "LUN/l1"), "Ready"));
    assert_int_equal(b->groups, before); /* it was as it should be */
    b->lun_moves = true;
    fake_put(&b->f, "luns", "l2", json_pack("{s:{s:s}, s:{}}", "metadata", "uid", "l2", "spec"));
    WAIT_FOR(&b->loop, b->groups > before);
}

static void gives_the_password_of_a_screen(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    b->f.no_secrets = true;
    agent_begin(b, false);
    fake_put(&b->f, "virtualmachines", "vm1",
             json_pack("{s:{s:s, s:i}, s:{s:s, s:{s:{s:s}}, s:[{s:s, s:s}]}, s:{s:s, s:i}}",
                       "metadata", "uid", "m", "generation", 1, "spec", "runPolicy", "Running",
                       "graphics", "passwordRef", "secret", "vnc", "disks", "name", "root",
                       "volume", "v1", "status", "assignedHost", "node1", "assignedIncarnation",
                       (int)b->f.incarnation));
    WAIT_FOR(&b->loop, fake_count(&b->f, "POS secrets") > 1); /* it cannot start without */
    assert_false(runs(b));
    b->f.no_secrets = false;
    WAIT_FOR(&b->loop, runs(b));
    assert_string_equal(b->secret, "geheim");
}

static void writes_its_part_of_the_status(void **state)
{
    struct bench *b = *state;
    const json_t *conds;

    put_objects(b);
    agent_begin(b, false);
    WAIT_FOR(&b->loop, b->f.status != NULL);
    assert_string_equal(jget_str(b->f.status, "bootID", ""), "boot-1");
    assert_string_equal(jget_str(b->f.status, "capacity.memory", ""), "64Gi");
    assert_int_equal(jget_int(b->f.status, "capacity.cpus", 0), 16);
    conds = jget(b->f.status, "conditions");
    assert_int_equal(json_array_size(conds), 4); /* Ready of the controllers is kept */
    assert_string_equal(jget_str(json_array_get(conds, 0), "type", ""), "Ready");
    /* Nothing changes: nothing more is written, but for the margins once a minute. */
    spin_for(&b->loop, 2500);
    assert_true(fake_count(&b->f, "PAT status") <= 3);
}

static void guards_before_the_first_lock(void **state)
{
    struct bench *b = *state;
    int confirmed;

    put_objects(b);
    agent_begin(b, true);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    spin_for(&b->loop, 300);
    assert_int_equal(b->w.arms, 0); /* a host without locks never resets itself */
    put_vm(b, "Running", "node1");
    WAIT_FOR(&b->loop, runs(b));
    assert_int_equal(b->w.arms, 1);
    assert_true(jget_bool(b->f.terms, "guarded", false));
    assert_string_equal(jget_str(b->f.terms, "watchdog", ""), "Dev");
    assert_int_equal(jget_int(b->f.terms, "watchdogMs", 0), 2000);
    confirmed = fake_find(&b->f, "POS terms", 0);
    assert_true(confirmed >= 0 && confirmed < fake_find(&b->f, "POS acquire", 0));
    /* After the last release: Unguarded is committed first, then the watchdog is disarmed. */
    put_vm(b, "Stopped", "node1");
    WAIT_FOR(&b->loop, b->w.disarms == 1);
    assert_false(jget_bool(b->f.terms, "guarded", true));
    assert_true(fake_find(&b->f, "POS terms", fake_find(&b->f, "POS release", 0)) >= 0);
}

#define MANY 60

static void put_many(struct bench *b)
{
    for (int i = 0; i < MANY; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "m%d", i);
        fake_put(&b->f, "virtualmachines", name,
                 json_pack("{s:{s:s, s:i}, s:{s:s}, s:{s:s, s:i}}", "metadata", "uid", name,
                           "generation", 1, "spec", "runPolicy", "Running", "status",
                           "assignedHost", "node1", "assignedIncarnation", (int)b->f.incarnation));
    }
}

static bool many_run(struct bench *b)
{
    for (int i = 0; i < MANY; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "VirtualMachine/m%d", i);
        if (!str_eq(fake_reported(&b->f, key), "Running")) {
            return false;
        }
    }
    return true;
}

/* What a takeover brings asks for its locks together, each machine's as a set of its own; one that
 * is refused does not hold up the others. */
static void locks_of_many_in_few_requests(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    (void)str_copy(b->f.refuse, sizeof(b->f.refuse), "virtualmachines/m7");
    put_many(b);
    WAIT_FOR(&b->loop, b->f.locks.count == MANY - 1);
    assert_true(b->f.sets >= MANY);
    assert_true(fake_count(&b->f, "POS acquire") <= MANY / 4);
    assert_false(sim_drv_runs(b->drv, "m7"));
    b->f.refuse[0] = 0;
    WAIT_FOR(&b->loop, many_run(b));
    assert_int_equal(b->f.locks.count, MANY);
    for (int i = 0; i < MANY; i++) {
        char lock[48];

        (void)snprintf(lock, sizeof(lock), "virtualmachines/m%d", i);
        assert_int_equal(sim_drv_token(b->drv, lock + strlen("virtualmachines/")),
                         ((struct fake_lock *)map_get(&b->f.locks, lock))->token);
    }
}

/* A picketd of the own host that hangs is left, but only when the renewer does not come back to it:
 * else every change of leader would make every host list everything again. */
static void own_picketd_is_left_when_it_hangs_for_long(void **state)
{
    struct bench *b = *state;
    const char *endpoints[2];
    struct fake other;
    uint64_t hung_ms;

    fake_open(&other, &b->loop, b->dir, "b");
    other.revision = 10000;
    endpoints[0] = b->f.endpoint;
    endpoints[1] = other.endpoint;
    put_objects(b);
    fake_put(&b->f, "clusters", "cluster",
             json_pack("{s:{s:s}, s:{s:{s:s, s:s}}}", "metadata", "uid", "c", "spec", "timing",
                       "heartbeat", "100ms", "hostTimeout", "2s"));
    agent_begin_at(b, false, endpoints, 2);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    assert_int_equal(fake_count(&other, "GET list"), 0);
    b->f.mode = FAKE_HANG;
    hung_ms = clock_now_ms();
    WAIT_FOR(&b->loop, fake_count(&other, "GET list") > 0);
    assert_true(clock_now_ms() - hung_ms >= 15 * 100);
    agent_end(b);
    fake_close(&other);
}

static void no_watchdog_no_start(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    fake_wdog_close(&b->w);
    agent_begin(b, true);
    put_vm(b, "Running", "node1");
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "VirtualMachine/vm1"), "Absent"));
    spin_for(&b->loop, 500);
    assert_false(runs(b));
    assert_int_equal(fake_find(&b->f, "POS acquire", 0), -1);
    assert_non_null(strstr(jget_str(map_get(&b->f.reports, "VirtualMachine/vm1"), "message", ""),
                           "picket-watchdog does not answer"));
    agent_end(b);
    (void)unlink(b->w.path);
    fake_wdog_open(&b->w, &b->loop, b->dir); /* for teardown */
}

static void agent_restart_adopts(void **state)
{
    struct bench *b = *state;
    uint64_t token;

    put_objects(b);
    put_vm(b, "Running", "node1");
    agent_begin(b, true);
    WAIT_FOR(&b->loop, str_eq(fake_reported(&b->f, "VirtualMachine/vm1"), "Running"));
    token = sim_drv_token(b->drv, "vm1");
    agent_end(b);
    spin_for(&b->loop, 100);
    assert_true(runs(b)); /* a planned stop touches no guest */
    assert_true(b->w.core.armed);
    agent_begin(b, true);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    spin_for(&b->loop, 500);
    assert_true(runs(b));
    assert_int_equal(sim_drv_starts(b->drv, "vm1"), 1);
    assert_int_equal(sim_drv_token(b->drv, "vm1"), token);
    assert_int_equal(b->f.full_reports, 2);
    put_vm(b, "Stopped", "node1");
    WAIT_FOR(&b->loop, !runs(b) && b->f.locks.count == 0);
}

static void fenced_boot_asks_for_a_reset(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    put_vm(b, "Running", "node1");
    b->f.registered = 7;
    (void)str_copy(b->f.boot, sizeof(b->f.boot), "boot-1");
    (void)str_copy(b->f.state, sizeof(b->f.state), "Fenced");
    agent_begin(b, false);
    WAIT_FOR(&b->loop, b->reset[0] != '\0');
    spin_for(&b->loop, 300);
    assert_string_equal(agent_phase(b->a), "Refused");
    assert_int_equal(fake_find(&b->f, "POS register", 0), -1);
    assert_int_equal(fake_find(&b->f, "POS acquire", 0), -1);
    assert_false(runs(b));
}

static void fenced_while_alone_asks_for_a_reset(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    b->f.lease_mode = FAKE_LOST;
    (void)str_copy(b->f.state, sizeof(b->f.state), "Lost");
    spin_for(&b->loop, 1500);
    assert_string_equal(b->reset, ""); /* Lost alone may be reprieved */
    (void)str_copy(b->f.state, sizeof(b->f.state), "Fenced");
    WAIT_FOR(&b->loop, b->reset[0] != '\0');
}

/* The look at what became of a lost boot is still out when the lease comes back. */
static void reprieved_while_it_asks(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    b->f.lease_mode = FAKE_LOST;
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "WaitingForLease"));
    b->f.hold_registration = true;
    WAIT_FOR(&b->loop, b->f.n_held > 0);
    b->f.lease_mode = FAKE_OK;
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "ReadingLocks"));
    b->f.hold_registration = false;
    fake_answer_held(&b->f);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
}

static void older_epoch_is_no_source(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    b->f.epoch = 5;
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    agent_end(b);
    b->f.epoch = 4; /* old voters came back (S1) */
    b->f.n_log = 0;
    agent_begin(b, false);
    spin_for(&b->loop, 800);
    assert_int_equal(fake_find(&b->f, "POS register", 0), -1);
    assert_true(fake_count(&b->f, "GET registration") >= 2);
    b->f.epoch = 6;
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
}

static void behind_what_was_seen_starts_nothing(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    b->f.revision = 5000;
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    spin_for(&b->loop, 1200); /* the revision is noted with a tick */
    agent_end(b);
    b->f.revision = 1000;
    put_vm(b, "Running", "node1");
    agent_begin(b, false);
    WAIT_FOR(&b->loop, str_eq(agent_phase(b->a), "Running"));
    spin_for(&b->loop, 1500);
    assert_int_equal(fake_find(&b->f, "POS acquire", 0), -1);
    assert_false(runs(b));
    b->f.revision = 6000;
    WAIT_FOR(&b->loop, runs(b));
}

static void lost_lease_stops_the_guest(void **state)
{
    struct bench *b = *state;
    uint64_t lost_ms;

    put_objects(b);
    put_vm(b, "Running", "node1");
    agent_begin(b, false);
    WAIT_FOR(&b->loop, runs(b));
    b->f.mode = FAKE_HANG; /* silence */
    lost_ms = b->f.lease_received_ms;
    WAIT_FOR(&b->loop, !runs(b));
    assert_true(clock_now_ms() < lost_ms + FAKE_L + 1000); /* about when the lease ends */
    assert_true(b->f.locks.count > 0);                     /* its locks stay */
    b->f.mode = FAKE_OK;
    fake_answer_held(&b->f);
    WAIT_FOR(&b->loop, runs(b));
    assert_int_equal(sim_drv_starts(b->drv, "vm1"), 2);
}

static void stale_registration_is_renewed(void **state)
{
    struct bench *b = *state;

    put_objects(b);
    put_vm(b, "Running", "node1");
    agent_begin(b, false);
    WAIT_FOR(&b->loop, runs(b));
    b->f.epoch = 2; /* restored: another epoch, and the host registers anew */
    b->f.lease_mode = FAKE_STALE;
    WAIT_FOR(&b->loop, fake_count(&b->f, "POS register") >= 2);
    b->f.lease_mode = FAKE_OK;
    WAIT_FOR(&b->loop, b->f.full_reports >= 2);
    spin_for(&b->loop, 300);
    assert_true(runs(b));
    assert_int_equal(sim_drv_starts(b->drv, "vm1"), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_in_order_and_runs_a_vm),
        TEST(fetches_the_secrets_of_a_target),
        TEST(groups_look_when_a_lun_has_changed),
        TEST(gives_the_password_of_a_screen),
        TEST(writes_its_part_of_the_status),
        TEST(guards_before_the_first_lock),
        TEST(locks_of_many_in_few_requests),
        TEST(own_picketd_is_left_when_it_hangs_for_long),
        TEST(no_watchdog_no_start),
        TEST(agent_restart_adopts),
        TEST(fenced_boot_asks_for_a_reset),
        TEST(fenced_while_alone_asks_for_a_reset),
        TEST(older_epoch_is_no_source),
        TEST(behind_what_was_seen_starts_nothing),
        TEST(reprieved_while_it_asks),
        TEST(lost_lease_stops_the_guest),
        TEST(stale_registration_is_renewed),
    };

    if (getenv("PICKET_LOG") == NULL) {
        lg_set_level(LG_ERR);
    }
    json_object_seed(0);
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
