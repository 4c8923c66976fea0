/* What stands around the planner: wishes from objects, observations with age, durable intents. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/intent.h"
#include "reconciler/obs.h"
#include "reconciler/plan_want.h"

/* --- wishes ------------------------------------------------------------------------------------
 */

static const json_t *object(void *ctx, const char *plural, const char *name)
{
    char *key = mem_printf("%s/%s", plural, name);
    const json_t *o = map_get(ctx, key);

    free(key);
    return o;
}

static void put(struct map *m, const char *key, const char *text)
{
    json_t *j = json_loads(text, 0, NULL);

    assert_non_null(j);
    json_decref(map_put(m, key, j));
}

static void objects_done(struct map *m)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(m, &i, &key, &v);) {
        json_decref(v);
    }
    map_done(m);
}

static const char vm_text[] =
    "{\"metadata\": {\"name\": \"vm1\", \"uid\": \"u1\", \"generation\": 4},"
    " \"spec\": {\"runPolicy\": \"Paused\", \"shutdownTimeout\": \"90s\","
    "  \"disks\": [{\"name\": \"root\", \"volume\": \"v1\", \"target\": \"xvda\"},"
    "   {\"name\": \"again\", \"volume\": \"v1\", \"readOnly\": true},"
    "   {\"name\": \"data\", \"volumeGroup\": \"vg\", \"size\": \"2Gi\"},"
    "   {\"name\": \"cd\", \"cdrom\": {\"iso\": \"/isos/a.iso\"}}],"
    "  \"ha\": {\"onCrash\": \"Preserve\", \"onGuestPoweroff\": \"Restart\","
    "   \"restartLimit\": {\"count\": 5, \"window\": \"1m\"}}},"
    " \"status\": {\"assignedHost\": \"node1\", \"assignedIncarnation\": 7}}";

static void wishes(void **state)
{
    struct map m = { 0 };
    struct arena a = { 0 };
    struct plan_source src = { .object = object, .ctx = &m, .host = "node1", .incarnation = 7 };
    struct plan_want w;

    (void)state;
    put(&m, "virtualmachines/vm1", vm_text);
    put(&m, "volumes/v1",
        "{\"metadata\": {\"name\": \"v1\", \"uid\": \"x1\"}, \"spec\": {\"volumeGroup\": \"vg\","
        " \"size\": \"1Gi\", \"access\": \"Shared\"}}");
    put(&m, "volumes/vm1-data",
        "{\"metadata\": {\"name\": \"vm1-data\", \"uid\": \"x2\"},"
        " \"spec\": {\"volumeGroup\": \"vg\", \"size\": \"2Gi\"}}");
    put(&m, "volumegroups/vg", "{\"metadata\": {\"name\": \"vg\", \"uid\": \"g\"}}");
    plan_want_make(&src, "vm1", &a, &w);
    assert_true(w.vm.exists);
    assert_null(w.vm.invalid);
    assert_string_equal(w.vm.uid, "u1");
    assert_int_equal(w.vm.generation, 4);
    assert_int_equal(w.vm.run, VM_RUN_PAUSED);
    assert_int_equal(w.vm.assign, VM_ASSIGN_HERE);
    assert_int_equal(w.vm.on_crash, VM_CRASH_PRESERVE);
    assert_true(w.vm.restart_on_poweroff);
    assert_int_equal(w.vm.restart_count, 5);
    assert_int_equal(w.vm.restart_window_ms, 60000);
    assert_int_equal(w.vm.shutdown_timeout_ms, 90000);
    assert_int_equal(w.n_disks, 4);
    assert_int_equal(w.n_vols, 2); /* v1 once, though two disks name it */
    assert_false(w.vols[0].exclusive);
    assert_true(w.vols[1].exclusive);
    assert_string_equal(w.vols[1].name, "vm1-data");
    assert_int_equal(w.vols[1].size_bytes, 2ULL << 30);
    assert_true(w.disks[1].read_only);
    assert_string_equal(w.disks[3].path, "/isos/a.iso");
    /* Decided for an earlier life of this host. */
    src.incarnation = 8;
    plan_want_make(&src, "vm1", &a, &w);
    assert_int_equal(w.vm.assign, VM_ASSIGN_NONE);
    src.incarnation = 7;
    src.host = "node2";
    plan_want_make(&src, "vm1", &a, &w);
    assert_int_equal(w.vm.assign, VM_ASSIGN_ELSEWHERE);
    assert_string_equal(w.vm.assigned_to, "node1");
    put(&m, "clusters/cluster", "{\"spec\": {\"paused\": true}}");
    plan_want_make(&src, "vm1", &a, &w);
    assert_true(w.vm.paused);
    plan_want_make(&src, "vm2", &a, &w);
    assert_false(w.vm.exists);
    arena_done(&a);
    objects_done(&m);
}

static void wishes_that_cannot_be(void **state)
{
    struct map m = { 0 };
    struct arena a = { 0 };
    struct plan_source src = { .object = object, .ctx = &m, .host = "node1", .incarnation = 7 };
    struct plan_want w;

    (void)state;
    put(&m, "virtualmachines/vm1",
        "{\"metadata\": {\"name\": \"vm1\"}, \"spec\": {\"disks\": [{\"name\": \"root\","
        " \"volume\": \"v1\"}]}, \"status\": {\"assignedHost\": \"\"}}");
    plan_want_make(&src, "vm1", &a, &w);
    assert_string_equal(w.vm.invalid, "volume v1 of disk root does not exist");
    assert_int_equal(w.vm.assign, VM_ASSIGN_NOWHERE);
    put(&m, "volumes/v1",
        "{\"metadata\": {\"name\": \"v1\"}, \"spec\": {\"volumeGroup\": \"vg\"}}");
    plan_want_make(&src, "vm1", &a, &w);
    assert_string_equal(w.vm.invalid, "volume group vg of volume v1 does not exist");
    put(&m, "virtualmachines/vm1", "{\"metadata\": {\"name\": \"vm1\"}}");
    plan_want_make(&src, "vm1", &a, &w);
    assert_int_equal(w.vm.assign, VM_ASSIGN_NONE);
    assert_int_equal(w.vm.run, VM_RUN_RUNNING);
    assert_int_equal(w.n_disks, 0);
    arena_done(&a);
    objects_done(&m);
}

/* --- observations ------------------------------------------------------------------------------
 */

static const struct obs_opts opts = { .confirm_reads = 3,
                                      .confirm_gap_ms = 100,
                                      .follow_ms = 10000 };

static struct drv_domain running(char *vm)
{
    static char uid[] = "u1";

    return (struct drv_domain){ .vm = vm, .uid = uid, .state = DOM_RUNNING, .token = 5 };
}

static enum dom_state state_of(const struct obs *o, const char *vm, uint64_t now)
{
    struct obs_domain d;

    obs_domain_get(o, vm, now, &d);
    return d.seen_ms == 0 ? DOM_UNKNOWN : d.state;
}

static void enumerate(struct obs *o, const struct drv_domain *d, size_t n, uint64_t now)
{
    obs_enum_domains(o, obs_enum_begin(o), d, n, now);
    obs_enum_volumes(o, obs_enum_begin(o), NULL, 0, now);
}

static void absence_needs_several_reads(void **state)
{
    char vm1[] = "vm1";
    struct drv_domain d = running(vm1);
    struct obs *o = obs_new(&opts);
    struct obs_domain seen;

    (void)state;
    assert_int_equal(state_of(o, "vm1", 1000), DOM_UNKNOWN); /* nobody looked */
    enumerate(o, NULL, 0, 1000);
    assert_int_equal(state_of(o, "vm1", 1000), DOM_ABSENT); /* never heard of: one look will do */
    enumerate(o, &d, 1, 2000);
    assert_int_equal(state_of(o, "vm1", 2000), DOM_RUNNING);
    assert_int_equal(obs_running(o), 1);
    enumerate(o, NULL, 0, 3000);
    assert_int_equal(state_of(o, "vm1", 3000), DOM_UNKNOWN);
    obs_domain_get(o, "vm1", 3000, &seen);
    assert_int_equal(seen.look_after_ms, 3100);
    enumerate(o, NULL, 0, 3010); /* too soon to count */
    enumerate(o, NULL, 0, 3120);
    assert_int_equal(state_of(o, "vm1", 3120), DOM_UNKNOWN);
    enumerate(o, &d, 1, 3150); /* it was only hidden */
    assert_int_equal(state_of(o, "vm1", 3150), DOM_RUNNING);
    for (uint64_t t = 4000; t < 4300; t += 100) {
        assert_int_not_equal(state_of(o, "vm1", t), DOM_ABSENT);
        enumerate(o, NULL, 0, t);
    }
    assert_int_equal(state_of(o, "vm1", 4300), DOM_ABSENT);
    obs_free(o);
}

static void explained_absence_is_believed(void **state)
{
    char vm1[] = "vm1", vm2[] = "vm2";
    struct drv_domain d[2] = { running(vm1), running(vm2) };
    struct drv_event ev = { .kind = DRV_EV_DOMAIN, .domain = &d[1] };
    struct obs *o = obs_new(&opts);

    (void)state;
    enumerate(o, d, 2, 1000);
    obs_expect_end(o, "vm1"); /* we are about to end it */
    d[1].state = DOM_STOPPED; /* its end was seen */
    d[1].reason = DOM_REASON_CRASH;
    assert_true(obs_event(o, &ev, 1500));
    assert_int_equal(state_of(o, "vm2", 1500), DOM_STOPPED);
    enumerate(o, NULL, 0, 2000);
    assert_int_equal(state_of(o, "vm1", 2000), DOM_ABSENT);
    assert_int_equal(state_of(o, "vm2", 2000), DOM_ABSENT);
    /* A former process knew one to be running: its absence has to be confirmed. */
    obs_remember(o, "vm3");
    enumerate(o, NULL, 0, 3000);
    assert_int_equal(state_of(o, "vm3", 3000), DOM_UNKNOWN);
    obs_free(o);
}

static void newer_events_win(void **state)
{
    char vm1[] = "vm1";
    struct drv_domain d = running(vm1);
    struct drv_event ev = { .kind = DRV_EV_DOMAIN, .domain = &d };
    struct obs *o = obs_new(&opts);
    uint64_t stamp = obs_enum_begin(o);

    (void)state;
    assert_true(obs_event(o, &ev, 1000)); /* started while the list was made */
    obs_enum_domains(o, stamp, NULL, 0, 1001);
    assert_int_equal(state_of(o, "vm1", 1001), DOM_RUNNING);
    obs_forget(o, "vm1");
    assert_int_equal(state_of(o, "vm1", 1002), DOM_UNKNOWN);
    ev.kind = DRV_EV_DOUBT;
    assert_false(obs_event(o, &ev, 1003));
    assert_false(obs_complete(o));
    obs_free(o);
}

static void views_grow_old(void **state)
{
    char vm1[] = "vm1";
    struct drv_domain d = running(vm1);
    struct obs *o = obs_new(&opts);
    struct obs_domain seen;

    (void)state;
    enumerate(o, &d, 1, 1000);
    obs_domain_get(o, "vm1", 9000, &seen);
    assert_int_equal(seen.seen_ms, 9000); /* events keep it fresh */
    obs_domain_get(o, "vm1", 11001, &seen);
    assert_int_equal(seen.seen_ms, 1000); /* but not for ever */
    obs_free(o);
}

/* --- intents -----------------------------------------------------------------------------------
 */

struct loaded {
    size_t n;
    struct vm_intent plan;
    size_t n_vols;
    char group[32], uid[32];
};

static void on_intent(void *ctx, const struct intent *i)
{
    struct loaded *l = ctx;

    l->n++;
    l->plan = i->plan;
    l->n_vols = i->n_vols;
    (void)str_copy(l->uid, sizeof(l->uid), i->uid);
    if (i->n_vols > 0) {
        (void)str_copy(l->group, sizeof(l->group), i->vols[0].group);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

/* Opened anew, as the next agent does it: what it finds; bad lines have been dropped then. */
static struct loaded reopened(struct intent_log **log, const char *dir, const char *boot)
{
    struct loaded l = { 0 };
    struct err err;

    intent_close(*log);
    *log = intent_open(dir, boot, on_intent, &l, &err);
    assert_non_null(*log);
    return l;
}

static void add_text(const char *dir, const char *file, const char *text)
{
    char path[64];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    f = fopen(path, "a");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static off_t size_of(const char *dir, const char *file)
{
    char path[64];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void intents_survive(void **state)
{
    char dir[] = "/tmp/picket-intent-XXXXXX";
    struct intent_log *log = NULL;
    struct intent i;
    struct loaded l;
    struct err err;

    (void)state;
    assert_non_null(mkdtemp(dir));
    intent_init(&i, "vm1");
    free(i.uid);
    i.uid = mem_strdup("u1");
    i.plan = (struct vm_intent){ .phase = VM_PHASE_RUNNING,
                                 .since_ms = 1234,
                                 .latch = VM_LATCH_POWEROFF,
                                 .latch_generation = 9,
                                 .restart_ms = { 100, 200 },
                                 .n_restarts = 2,
                                 .restarts_total = 7 };
    intent_add_vol(&i, "vg", "v1");
    intent_add_vol(&i, "vg", "v1");
    assert_int_equal(i.n_vols, 1);
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 0);
    i.plan.restarts_total = 6;
    assert_int_equal(intent_save(log, &i, &err), 0);
    i.plan.restarts_total = 7;
    assert_int_equal(intent_save(log, &i, &err), 0);
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 1); /* the newest */
    assert_true(vm_intent_equal(&l.plan, &i.plan));
    assert_string_equal(l.uid, "u1");
    assert_string_equal(l.group, "vg");
    /* Another boot: times and volumes mean nothing any more, the latch does. */
    l = reopened(&log, dir, "boot-2");
    assert_int_equal(l.plan.phase, VM_PHASE_STOPPED);
    assert_int_equal(l.plan.latch, VM_LATCH_POWEROFF);
    assert_int_equal(l.plan.n_restarts, 0);
    assert_int_equal(l.n_vols, 0);
    /* A damaged record is skipped and kept aside, the others are read. */
    add_text(dir, "log", "{\"vm\": \"vm0\", \n");
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 1);
    assert_true(size_of(dir, "log.bad") > 0);
    assert_int_equal(intent_remove(log, "vm1", &err), 0);
    assert_int_equal(intent_remove(log, "vm1", &err), 0); /* gone is gone */
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 0);
    assert_int_equal(size_of(dir, "log"), 0);
    intent_close(log);
    intent_done(&i);
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    assert_null(intent_open(dir, "boot-1", on_intent, &l, &err));
    assert_int_equal(err.code, ERR_SYS);
}

/* Killed in the middle of a write: the record before holds, and the next one is whole. */
static void a_torn_intent_is_dropped(void **state)
{
    char dir[] = "/tmp/picket-intent-XXXXXX";
    struct intent_log *log = NULL;
    struct intent i;
    struct loaded l;
    struct err err;

    (void)state;
    assert_non_null(mkdtemp(dir));
    intent_init(&i, "vm1");
    i.plan = (struct vm_intent){ .phase = VM_PHASE_RUNNING, .since_ms = 1 };
    (void)reopened(&log, dir, "boot-1");
    assert_int_equal(intent_save(log, &i, &err), 0);
    add_text(dir, "log", "{\"vm\": \"vm1\", \"gone\": tr");
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 1);
    assert_int_equal(size_of(dir, "log.bad"), -1);
    i.plan.since_ms = 2;
    assert_int_equal(intent_save(log, &i, &err), 0);
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 1);
    assert_int_equal(l.plan.since_ms, 2);
    intent_close(log);
    intent_done(&i);
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* What versions with a file for each machine left is read once, and loses against the log. */
static void old_intents_are_taken_over(void **state)
{
    char dir[] = "/tmp/picket-intent-XXXXXX";
    struct intent_log *log = NULL;
    struct intent i;
    struct loaded l;
    struct err err;
    char *text;

    (void)state;
    assert_non_null(mkdtemp(dir));
    intent_init(&i, "vm1");
    i.plan = (struct vm_intent){ .phase = VM_PHASE_STARTING, .since_ms = 5 };
    text = intent_encode("boot-1", &i);
    add_text(dir, "vm1.json", text);
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 1);
    assert_int_equal(l.plan.phase, VM_PHASE_STARTING);
    assert_int_equal(size_of(dir, "vm1.json"), -1);
    i.plan.phase = VM_PHASE_RUNNING;
    assert_int_equal(intent_save(log, &i, &err), 0);
    add_text(dir, "vm1.json", text); /* the agent died before it had removed it */
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 1);
    assert_int_equal(l.plan.phase, VM_PHASE_RUNNING);
    free(text);
    intent_close(log);
    intent_done(&i);
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The file is rewritten before it holds much more than what counts. */
static void intents_do_not_grow(void **state)
{
    char dir[] = "/tmp/picket-intent-XXXXXX";
    struct intent_log *log = NULL;
    struct intent i;
    struct loaded l;
    struct err err;
    off_t most = 0;

    (void)state;
    assert_non_null(mkdtemp(dir));
    intent_init(&i, "vm1");
    i.plan.phase = VM_PHASE_RUNNING;
    (void)reopened(&log, dir, "boot-1");
    for (uint64_t n = 1; n <= 20000; n++) {
        i.plan.since_ms = n;
        assert_int_equal(intent_save(log, &i, &err), 0);
        most = size_of(dir, "log") > most ? size_of(dir, "log") : most;
    }
    assert_in_range(most, 1U << 20, 2U << 20);
    assert_true(size_of(dir, "log") < most);
    l = reopened(&log, dir, "boot-1");
    assert_int_equal(l.n, 1);
    assert_int_equal(l.plan.since_ms, 20000);
    intent_close(log);
    intent_done(&i);
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wishes),
        cmocka_unit_test(wishes_that_cannot_be),
        cmocka_unit_test(absence_needs_several_reads),
        cmocka_unit_test(explained_absence_is_believed),
        cmocka_unit_test(newer_events_win),
        cmocka_unit_test(views_grow_old),
        cmocka_unit_test(intents_survive),
        cmocka_unit_test(a_torn_intent_is_dropped),
        cmocka_unit_test(old_intents_are_taken_over),
        cmocka_unit_test(intents_do_not_grow),
    };

    lg_set_level(LG_ERR);
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
