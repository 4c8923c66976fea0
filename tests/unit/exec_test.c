/* The executor on simulated hosts under virtual time: the real planner, executor and observation
 * table, a lock table that follows the rules of the store, drivers and calls that fail.
 *
 * What must hold in every run: a vm runs on at most one host, an exclusive volume is active on at
 * most one host, and whatever runs does so under the token that the lock table has.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/exec.h"
#include "reconciler/sim_drv.h"

#define HOSTS 2
#define L 3000U

/* --- the lock table ----------------------------------------------------------------------------
 */

struct lock {
    uint64_t incarnation, token;
    int host;
};

enum call_kind { CALL_ACQUIRE, CALL_RELEASE, CALL_READ };

struct call {
    struct world *w;
    struct host *h;
    enum call_kind kind;
    uint64_t at_ms;
    uint64_t incarnation;
    char *locks[16];
    uint64_t tokens[16];
    size_t n;
    vmx_acquired_cb *acquired;
    vmx_released_cb *released;
    vmx_read_cb *read;
    void *data;
    bool orphan; /* the agent that made it is dead */
};

struct host {
    struct world *w;
    int index;
    char name[16];
    struct drv *drv;
    struct vmx *x;
    uint64_t incarnation;
    bool up;     /* power */
    bool cut;    /* from the lock table: calls get no answer, no renewals */
    bool fenced; /* the incarnation cannot acquire any more */
    uint64_t lease_until_ms, half_ms;
    struct map intents; /* vm -> struct intent */
    struct map reports; /* vm -> state */
};

struct world {
    uint64_t now;
    struct prng rng;
    struct sim_san *san;
    struct host hosts[HOSTS];
    struct map locks;   /* name -> struct lock */
    struct map objects; /* "plural/name" -> json_t */
    struct call *calls[128];
    size_t n_calls;
    uint64_t last_token, last_incarnation;
    unsigned lose_reply; /* percent of calls that are applied without an answer */
    unsigned refuse;     /* percent of calls that fail without being applied */
    uint64_t acquires, releases;
    bool auto_cycle;
};

static struct lock *lock_of(struct world *w, const char *name)
{
    struct lock *l = map_get(&w->locks, name);

    if (l == NULL) {
        l = OBJ_NEW(struct lock);
        (void)map_put(&w->locks, name, l);
    }
    return l;
}

static int apply_acquire(struct world *w, struct call *c, struct err *err)
{
    if (c->h->fenced || c->incarnation != c->h->incarnation) {
        return err_set(err, ERR_REFUSED, "incarnation %" PRIu64 " is not Live", c->incarnation);
    }
    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        if (l->incarnation != 0 && l->incarnation != c->incarnation) {
            return err_set(err, ERR_CONFLICT, "%s is held by %s", c->locks[i],
                           w->hosts[l->host].name);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        *lock_of(w, c->locks[i]) = (struct lock){ c->incarnation, ++w->last_token, c->h->index };
        c->tokens[i] = w->last_token;
    }
    w->acquires++;
    return 0;
}

static int apply_release(struct world *w, struct call *c, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        if (l->token != c->tokens[i] || l->incarnation != c->incarnation) {
            return err_set(err, ERR_STALE, "%s is not held by token %" PRIu64, c->locks[i],
                           c->tokens[i]);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        const char *vm = strchr(c->locks[i], '/') + 1;

        /* Never released while it is in use here. */
        if (str_starts(c->locks[i], "virtualmachines/")) {
            assert_false(c->h->up && sim_drv_runs(c->h->drv, vm));
        } else if (str_starts(c->locks[i], "volumes/")) {
            assert_false(c->h->up && sim_drv_active(c->h->drv, "vg", vm));
        }
        *lock_of(w, c->locks[i]) = (struct lock){ 0 };
    }
    w->releases++;
    return 0;
}

static void answer_read(struct world *w, struct call *c)
{
    struct vmx_lock_info infos[16];

    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        infos[i] = (struct vmx_lock_info){ .lock = c->locks[i],
                                           .incarnation = l->incarnation,
                                           .token = l->token,
                                           .host = w->hosts[l->host].name };
    }
    c->read(c->data, NULL, infos, c->n);
}

static void answer(struct call *c, const struct err *err)
{
    if (c->kind == CALL_ACQUIRE) {
        c->acquired(c->data, err, c->tokens, err == NULL ? c->n : 0);
    } else if (c->kind == CALL_RELEASE) {
        c->released(c->data, err);
    } else {
        c->read(c->data, err, NULL, 0);
    }
}

static void run_call(struct world *w, struct call *c)
{
    struct err err = { 0 };
    bool reach = !c->h->cut;
    bool refuse = prng_below(&w->rng, 100) < w->refuse;
    bool lose = prng_below(&w->rng, 100) < w->lose_reply;
    int rc = 0;

    if (!reach || refuse) {
        rc = err_set(&err, reach ? ERR_UNREACHABLE : ERR_UNKNOWN_OUTCOME, "no answer");
    } else if (c->kind == CALL_ACQUIRE) {
        rc = apply_acquire(w, c, &err);
    } else if (c->kind == CALL_RELEASE) {
        rc = apply_release(w, c, &err);
    }
    if (rc == 0 && lose) {
        rc = err_set(&err, ERR_UNKNOWN_OUTCOME, "the reply was lost");
    }
    if (c->orphan) {
        return;
    }
    if (rc == 0 && c->kind == CALL_READ) {
        answer_read(w, c);
    } else {
        answer(c, rc == 0 ? NULL : &err);
    }
}

static void call_free(struct call *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->locks[i]);
    }
    free(c);
}

static struct call *call_new(struct host *h, enum call_kind kind, const struct vmx_lock_ref *refs,
                             size_t n, void *data)
{
    struct call *c = OBJ_NEW(struct call);
    struct world *w = h->w;

    assert_true(n <= ARRAY_LEN(c->locks));
    c->w = w;
    c->h = h;
    c->kind = kind;
    c->incarnation = h->incarnation;
    c->n = n;
    c->data = data;
    c->at_ms = w->now + 1 + prng_below(&w->rng, 30);
    for (size_t i = 0; i < n; i++) {
        c->locks[i] = mem_strdup(refs[i].lock);
        c->tokens[i] = refs[i].token;
    }
    assert_true(w->n_calls < ARRAY_LEN(w->calls));
    w->calls[w->n_calls++] = c;
    return c;
}

static void op_acquire(void *ctx, const struct vmx_lock_ref *refs, size_t n, const char *reason,
                       vmx_acquired_cb *cb, void *data)
{
    (void)reason;
    call_new(ctx, CALL_ACQUIRE, refs, n, data)->acquired = cb;
}

static void op_release(void *ctx, const struct vmx_lock_ref *refs, size_t n, vmx_released_cb *cb,
                       void *data)
{
    call_new(ctx, CALL_RELEASE, refs, n, data)->released = cb;
}

static void op_read(void *ctx, const struct vmx_lock_ref *refs, size_t n, vmx_read_cb *cb,
                    void *data)
{
    call_new(ctx, CALL_READ, refs, n, data)->read = cb;
}

/* --- the rest of the executor's world ----------------------------------------------------------
 */

static uint64_t op_now(void *ctx)
{
    return ((struct host *)ctx)->w->now;
}

static void op_env(void *ctx, struct vm_env *e)
{
    const struct host *h = ctx;

    *e = (struct vm_env){
        .inc = h->lease_until_ms == 0 ? VM_INC_UNKNOWN
               : h->fenced            ? VM_INC_LOST
                                      : VM_INC_LIVE,
        .incarnation = h->incarnation,
        .lease_until_ms = h->lease_until_ms,
        .lease_half_ms = h->half_ms,
        .margin_ms = L / 4,
        .destroy_ms = L / 4,
        .effect_ms = L / 3,
        .obs_max_age_ms = 5000,
        .token_max_age_ms = L,
        .step_ms = L / 2,
        .stop_on_loss = true,
        .synced = true,
        .guarded = true,
    };
}

static int op_save(void *ctx, const struct intent *i, struct err *err)
{
    struct host *h = ctx;
    struct intent *copy = map_get(&h->intents, i->vm);

    (void)err;
    if (copy == NULL) {
        copy = OBJ_NEW(struct intent);
        (void)map_put(&h->intents, i->vm, copy);
    } else {
        intent_done(copy);
    }
    intent_init(copy, i->vm);
    copy->plan = i->plan;
    copy->incarnation = i->incarnation;
    for (size_t k = 0; k < i->n_vols; k++) {
        intent_add_vol(copy, i->vols[k].group, i->vols[k].name);
    }
    return 0;
}

static void op_forget(void *ctx, const char *vm)
{
    struct host *h = ctx;
    struct intent *i = map_del(&h->intents, vm);

    if (i != NULL) {
        intent_done(i);
        free(i);
    }
}

static void op_report(void *ctx, const struct vmx_report *r)
{
    struct host *h = ctx;

    free(map_del(&h->reports, r->vm));
    if (r->report != NULL) {
        (void)map_put(&h->reports, r->vm, mem_printf("%s/%s", r->report->state, r->report->reason));
    }
}

static void op_wake(void *ctx)
{
    (void)ctx; /* the world asks vmx_next_ms all the time */
}

static const struct vmx_ops ops = {
    .now_ms = op_now,
    .env = op_env,
    .acquire = op_acquire,
    .release = op_release,
    .read_locks = op_read,
    .save = op_save,
    .forget = op_forget,
    .report = op_report,
    .wake = op_wake,
};

static const json_t *object(void *ctx, const char *plural, const char *name)
{
    struct host *h = ctx;
    char *key = mem_printf("%s/%s", plural, name);
    const json_t *o = map_get(&h->w->objects, key);

    free(key);
    return o;
}

static uint64_t sim_now(void *ctx)
{
    return ((struct host *)ctx)->w->now;
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static void read_locks(struct host *h, bool mine_only)
{
    struct vmx_lock_info infos[64];
    const char *name;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&h->w->locks, &i, &name, &v);) {
        const struct lock *l = v;

        if (l->incarnation != 0 && (!mine_only || l->incarnation == h->incarnation)) {
            infos[n++] = (struct vmx_lock_info){ .lock = name,
                                                 .incarnation = l->incarnation,
                                                 .token = l->token,
                                                 .host = h->w->hosts[l->host].name };
        }
    }
    vmx_locks(h->x, infos, n, h->w->now, mine_only);
}

static void agent_start_sim(struct host *h)
{
    struct plan_source src = { .object = object, .ctx = h, .host = h->name };
    struct vmx_opts o = vmx_opts_default;
    const char *name;
    void *v;

    o.start_ms = 2000;
    o.stop_ms = 1000;
    o.volume_ms = 1000;
    o.look_ms = 500;
    o.obs.confirm_gap_ms = 200;
    h->x = vmx_new(&o, &ops, h, h->drv, &src);
    vmx_set_incarnation(h->x, h->incarnation);
    for (size_t i = 0; map_next(&h->intents, &i, &name, &v);) {
        vmx_load(h->x, v);
    }
    vmx_look(h->x);
    read_locks(h, false);
    for (size_t i = 0; map_next(&h->w->objects, &i, &name, &v);) {
        if (str_starts(name, "virtualmachines/")) {
            vmx_kick(h->x, strchr(name, '/') + 1);
        }
    }
}

/* kill -9 of the agent: its calls and jobs go on without it. */
static void agent_kill(struct host *h)
{
    for (size_t i = 0; i < h->w->n_calls; i++) {
        if (h->w->calls[i]->h == h) {
            h->w->calls[i]->orphan = true;
        }
    }
    sim_drv_orphan_jobs(h->drv);
    vmx_free(h->x);
    h->x = NULL;
}

static void drop_intents(struct host *h)
{
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&h->intents, &i, &name, &v);) {
        intent_done(v);
        free(v);
    }
    map_done(&h->intents);
}

static void drop_reports(struct host *h)
{
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&h->reports, &i, &name, &v);) {
        free(v);
    }
    map_done(&h->reports);
}

static void host_boot(struct host *h)
{
    h->up = true;
    h->cut = false;
    h->fenced = false;
    h->incarnation = ++h->w->last_incarnation;
    h->lease_until_ms = 0;
    drop_intents(h);
    agent_start_sim(h);
}

/* Power cut: the lock table learns of it by a proof, in the same instant here. */
static void host_off(struct host *h, bool proof)
{
    const char *name;
    void *v;

    if (h->x != NULL) {
        agent_kill(h);
    }
    sim_drv_power_off(h->drv);
    drop_reports(h);
    h->up = false;
    h->fenced = h->fenced || proof;
    for (size_t i = 0; proof && map_next(&h->w->locks, &i, &name, &v);) {
        if (((struct lock *)v)->incarnation == h->incarnation) {
            *(struct lock *)v = (struct lock){ 0 };
        }
    }
}

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->now = 100000;
    prng_init(&w->rng, seed);
    w->san = sim_san_new();
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];
        struct sim_drv_opts o = { .now_ms = sim_now,
                                  .ctx = h,
                                  .san = w->san,
                                  .seed = seed * 7 + (uint64_t)i,
                                  .start_ms = 50,
                                  .stop_ms = 10,
                                  .volume_ms = 20,
                                  .list_ms = 5,
                                  .shutdown_ms = 300,
                                  .memory_bytes = 1ULL << 36,
                                  .cpus = 16 };

        h->w = w;
        h->index = i;
        (void)snprintf(h->name, sizeof(h->name), "node%d", i + 1);
        h->drv = sim_drv_new(&o);
        host_boot(h);
    }
}

static void world_done(struct world *w)
{
    const char *name;
    void *v;

    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];

        if (h->x != NULL) {
            agent_kill(h);
        }
        drv_close(h->drv, NULL, NULL);
        drop_intents(h);
        drop_reports(h);
    }
    for (size_t i = 0; i < w->n_calls; i++) {
        call_free(w->calls[i]);
    }
    for (size_t i = 0; map_next(&w->locks, &i, &name, &v);) {
        free(v);
    }
    for (size_t i = 0; map_next(&w->objects, &i, &name, &v);) {
        json_decref(v);
    }
    map_done(&w->locks);
    map_done(&w->objects);
    sim_san_free(w->san);
}

/* --- objects -----------------------------------------------------------------------------------
 */

static void put(struct world *w, const char *plural, const char *name, json_t *o)
{
    char *key = mem_printf("%s/%s", plural, name);

    json_decref(map_put(&w->objects, key, o));
    free(key);
    for (int i = 0; i < HOSTS; i++) {
        if (w->hosts[i].x != NULL && str_eq(plural, "virtualmachines")) {
            vmx_kick(w->hosts[i].x, name);
        } else if (w->hosts[i].x != NULL) {
            vmx_kick_all(w->hosts[i].x);
        }
    }
}

static void put_volume(struct world *w, const char *name)
{
    put(w, "volumegroups", "vg", json_pack("{s:{s:s, s:s}}", "metadata", "name", "vg", "uid", "g"));
    put(w, "volumes", name,
        json_pack("{s:{s:s, s:s}, s:{s:s, s:s}}", "metadata", "name", name, "uid", name, "spec",
                  "volumeGroup", "vg", "size", "1Gi"));
}

struct vm_opts {
    const char *run, *host, *on_poweroff;
    int generation;
    bool deleting;
};

static void put_vm(struct world *w, const char *name, const char *volume, const struct vm_opts *o)
{
    json_t *j = json_pack(
        "{s:{s:s, s:s, s:i}, s:{s:s, s:s, s:[{s:s, s:s}], s:{s:s, s:{s:i, s:s}}}, s:{}}",
        "metadata", "name", name, "uid", name, "generation", o->generation == 0 ? 1 : o->generation,
        "spec", "runPolicy", o->run == NULL ? "Running" : o->run, "shutdownTimeout", "5s", "disks",
        "name", "root", "volume", volume, "ha", "onGuestPoweroff",
        o->on_poweroff == NULL ? "Stop" : o->on_poweroff, "restartLimit", "count", 3, "window",
        "10m", "status");

    if (o->host != NULL) {
        (void)json_object_set_new(json_object_get(j, "status"), "assignedHost",
                                  json_string(o->host));
    }
    if (o->deleting) {
        (void)json_object_set_new(json_object_get(j, "metadata"), "deletionTimestamp",
                                  json_string("2026-01-01T00:00:00Z"));
    }
    put(w, "virtualmachines", name, j);
}

static uint64_t chaos_seed; /* for messages: PICKET_SEED=N repeats one run */

/* --- time --------------------------------------------------------------------------------------
 */

static void check_world(struct world *w)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&w->objects, &i, &key, &v);) {
        const char *name = strchr(key, '/') + 1;
        int runs = 0, active = 0;

        for (int h = 0; h < HOSTS; h++) {
            struct host *host = &w->hosts[h];

            runs += sim_drv_runs(host->drv, name);
            active += str_starts(key, "volumes/") && sim_drv_active(host->drv, "vg", name);
        }
        if (runs > 1 || active > 1) {
            fail_msg("seed %" PRIu64 ": %s: runs on %d hosts, active on %d, at %" PRIu64,
                     chaos_seed, key, runs, active, w->now);
        }
    }
}

static void renew(struct host *h)
{
    if (h->up && !h->cut && !h->fenced && h->x != NULL) {
        h->lease_until_ms = h->w->now + L;
        h->half_ms = h->w->now + L / 2;
    }
}

/* The watchdog of a host whose lease ended; the proof comes after a guard time. */
static void watchdog(struct host *h)
{
    if (h->up && h->lease_until_ms != 0 && h->w->now > h->lease_until_ms) {
        host_off(h, true);
    }
}

static void step(struct world *w)
{
    w->now += 5;
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];

        if (w->now % 500 == 0) {
            renew(h);
        }
        watchdog(h);
        if (w->now % 10000 == 0 && h->x != NULL && !h->cut) {
            read_locks(h, true);
        }
        if (h->up) {
            sim_drv_run(h->drv);
        }
        if (h->x != NULL && vmx_next_ms(h->x) != 0 && vmx_next_ms(h->x) <= w->now) {
            vmx_run(h->x);
        }
    }
    for (size_t i = 0; i < w->n_calls;) {
        struct call *c = w->calls[i];

        if (c->at_ms > w->now) {
            i++;
            continue;
        }
        w->calls[i] = w->calls[--w->n_calls];
        run_call(w, c);
        call_free(c);
    }
    check_world(w);
}

static void run_for(struct world *w, uint64_t ms)
{
    uint64_t until = w->now + ms;

    while (w->now < until) {
        step(w);
    }
}

static bool runs_on(struct world *w, int host, const char *vm)
{
    return sim_drv_runs(w->hosts[host].drv, vm);
}

/* Run until the vm runs there (or nowhere: host -1); fails after the limit. */
static void until(struct world *w, uint64_t limit_ms, int host, const char *vm)
{
    uint64_t end = w->now + limit_ms;

    while (w->now < end) {
        int at = -1;

        for (int i = 0; i < HOSTS; i++) {
            at = runs_on(w, i, vm) ? i : at;
        }
        if (at == host) {
            return;
        }
        step(w);
    }
    for (int i = 0; i < HOSTS; i++) {
        if (w->hosts[i].x != NULL) {
            print_message("plan of %s on node%d:\n%s", vm, i + 1, vmx_plan_text(w->hosts[i].x, vm));
        }
    }
    fail_msg("seed %" PRIu64 ": %s is not on host %d after %" PRIu64 " ms", chaos_seed, vm, host,
             limit_ms);
}

static const char *reported(struct world *w, int host, const char *vm)
{
    const char *s = map_get(&w->hosts[host].reports, vm);

    return s == NULL ? "" : s;
}

static size_t held(struct world *w)
{
    const char *name;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&w->locks, &i, &name, &v);) {
        n += ((const struct lock *)v)->incarnation != 0;
    }
    return n;
}

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

/* The start hangs while the lease runs out: it is aborted, and whatever came of it is ended. */
static void hanging_start_when_lease_ends(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 8);
    put_volume(&w, "v1");
    sim_drv_fault(w.hosts[0].drv, DRV_START, SIM_FAULT_HANG, 1);
    put_vm(&w, "vm1", "v1", &(struct vm_opts){ .host = "node1" });
    run_for(&w, 1000);
    w.hosts[0].cut = true;
    run_for(&w, L - 500);
    assert_false(runs_on(&w, 0, "vm1"));
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
    *lock_of(&w, "volumes/v1") = (struct lock){ w.hosts[0].incarnation, ++w.last_token, 0 };
    *lock_of(&w, "volumegroups/vg") = (struct lock){ w.hosts[0].incarnation, ++w.last_token, 0 };
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

/* --- everything at once ------------------------------------------------------------------------
 */

static void mischief(struct world *w, struct host *h)
{
    static const enum drv_op op[] = { DRV_START,        DRV_DESTROY,        DRV_SHUTDOWN,
                                      DRV_VOL_ACTIVATE, DRV_VOL_DEACTIVATE, DRV_VOL_CREATE,
                                      DRV_ENUM_DOMAINS };
    char vm[8];

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
    char vm[8], vol[8];
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
        char vol[8];

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
        char vm[8], vol[8];

        (void)snprintf(vm, sizeof(vm), "vm%d", i);
        (void)snprintf(vol, sizeof(vol), "v%d", i);
        put_vm(&w, vm, vol,
               &(struct vm_opts){ .host = i % 2 == 0 ? "node1" : "node2", .generation = 1000 });
    }
    for (int i = 0; i < 4; i++) {
        char vm[8];

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
        cmocka_unit_test(starts_and_stops),
        cmocka_unit_test(moves_cold),
        cmocka_unit_test(stubborn_guest_is_destroyed),
        cmocka_unit_test(guest_ends),
        cmocka_unit_test(hidden_domain_is_not_started_twice),
        cmocka_unit_test(agent_killed_and_back),
        cmocka_unit_test(agent_killed_in_reboot),
        cmocka_unit_test(lease_runs_out),
        cmocka_unit_test(hanging_start_when_lease_ends),
        cmocka_unit_test(lost_release_then_wanted_again),
        cmocka_unit_test(hung_job_blocks_nobody_else),
        cmocka_unit_test(one_volume_for_two),
        cmocka_unit_test(orphaned_locks_are_swept),
        cmocka_unit_test(deletes),
        cmocka_unit_test(chaos),
    };

    if (getenv("PICKET_LOG") == NULL) {
        lg_set_level(LG_ERR);
    }
    return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}
