#ifndef TESTS_UNIT_EXEC_WORLD_H
#define TESTS_UNIT_EXEC_WORLD_H

/* Simulated hosts under virtual time for tests of the executor: the real planner, executor and
 * observation table, a lock table that follows the rules of the store, drivers and calls that fail.
 *
 * After every step it checks that a vm runs on at most one host and that an exclusive volume is
 * active on at most one; a lock is never released while what it protects is in use.
 */

#include "tests/unit/exec_calls.h"

/* --- the rest of the executor's world ----------------------------------------------------------
 */

static inline uint64_t op_now(void *ctx)
{
    return ((struct host *)ctx)->w->now;
}

static inline void op_env(void *ctx, struct vm_env *e)
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

static inline int op_save(void *ctx, const struct intent *i, struct err *err)
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

static inline void op_forget(void *ctx, const char *vm)
{
    struct host *h = ctx;
    struct intent *i = map_del(&h->intents, vm);

    if (i != NULL) {
        intent_done(i);
        free(i);
    }
}

static inline void op_report(void *ctx, const struct vmx_report *r)
{
    struct host *h = ctx;

    free(map_del(&h->reports, r->vm));
    if (r->report != NULL) {
        (void)map_put(&h->reports, r->vm, mem_printf("%s/%s", r->report->state, r->report->reason));
    }
}

static inline void op_wake(void *ctx)
{
    (void)ctx; /* the world asks vmx_next_ms all the time */
}

static const struct vmx_ops ops = {
    .now_ms = op_now,
    .env = op_env,
    .acquire = op_acquire,
    .release = op_release,
    .migrate = op_migrate,
    .read_locks = op_read,
    .save = op_save,
    .forget = op_forget,
    .report = op_report,
    .wake = op_wake,
};

static inline const json_t *object(void *ctx, const char *plural, const char *name)
{
    struct host *h = ctx;
    char *key = mem_printf("%s/%s", plural, name);
    const json_t *o = map_get(&h->w->objects, key);

    free(key);
    return o;
}

static inline uint64_t host_now(void *ctx)
{
    return ((struct host *)ctx)->w->now;
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static inline void read_locks(struct host *h, enum vmx_list kind)
{
    struct vmx_lock_info infos[64];
    const char *name;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&h->w->locks, &i, &name, &v);) {
        const struct lock *l = v;

        if (kind == VMX_LIST_ALL
                ? l->incarnation != 0 || l->peer.incarnation != 0
                : (kind == VMX_LIST_OWNED ? l->incarnation : l->peer.incarnation) ==
                      h->incarnation) {
            infos[n++] = info_of(h->w, name, l);
        }
    }
    vmx_locks(h->x, infos, n, h->w->now, kind);
}

/* How long a start takes, and may take. */
static uint64_t world_start_ms = 50, world_start_max_ms = 2000;

static inline void agent_start_sim(struct host *h)
{
    struct plan_source src = { .object = object, .ctx = h, .host = h->name };
    struct vmx_opts o = vmx_opts_default;
    const char *name;
    void *v;

    o.start_ms = world_start_max_ms;
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
    read_locks(h, VMX_LIST_ALL);
    for (size_t i = 0; map_next(&h->w->objects, &i, &name, &v);) {
        if (str_starts(name, "virtualmachines/")) {
            vmx_kick(h->x, strchr(name, '/') + 1);
        }
    }
}

/* kill -9 of the agent: its calls and jobs go on without it. */
static inline void agent_kill(struct host *h)
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

static inline void drop_intents(struct host *h)
{
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&h->intents, &i, &name, &v);) {
        intent_done(v);
        free(v);
    }
    map_done(&h->intents);
}

static inline void drop_reports(struct host *h)
{
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&h->reports, &i, &name, &v);) {
        free(v);
    }
    map_done(&h->reports);
}

static inline void host_boot(struct host *h)
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
static inline void host_off(struct host *h, bool proof)
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
        drop_slot(v, h->incarnation);
    }
}

static inline void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->now = 100000;
    prng_init(&w->rng, seed);
    w->san = sim_san_new();
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];
        struct sim_drv_opts o = { .now_ms = host_now,
                                  .ctx = h,
                                  .san = w->san,
                                  .seed = seed * 7 + (uint64_t)i,
                                  .start_ms = world_start_ms,
                                  .stop_ms = 10,
                                  .volume_ms = 20,
                                  .list_ms = 5,
                                  .shutdown_ms = 300,
                                  .mig_ms = 400,
                                  .memory_bytes = 1ULL << 36,
                                  .cpus = 16 };

        h->w = w;
        h->index = i;
        (void)snprintf(h->name, sizeof(h->name), "node%d", i + 1);
        h->drv = sim_drv_new(&o);
        host_boot(h);
    }
}

static inline void world_done(struct world *w)
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

static inline void put(struct world *w, const char *plural, const char *name, json_t *o)
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

static inline void put_volume(struct world *w, const char *name)
{
    put(w, "volumegroups", "vg", json_pack("{s:{s:s, s:s}}", "metadata", "name", "vg", "uid", "g"));
    put(w, "volumes", name,
        json_pack("{s:{s:s, s:s}, s:{s:s, s:s}}", "metadata", "name", name, "uid", name, "spec",
                  "volumeGroup", "vg", "size", "1Gi"));
}

struct vm_opts {
    const char *run, *host, *on_poweroff;
    const char *memory;
    int generation;
    bool deleting;
};

static inline void put_vm(struct world *w, const char *name, const char *volume,
                          const struct vm_opts *o)
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
    if (o->memory != NULL) {
        (void)json_object_set_new(json_object_get(j, "spec"), "memory", json_string(o->memory));
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

/* Both hosts are in the lock: the ends of a migration. */
static inline bool both_ends(struct world *w, const char *key)
{
    const struct lock *l = map_get(&w->locks, key);

    return l != NULL && l->incarnation != 0 && l->peer.incarnation != 0;
}

static inline void check_world(struct world *w)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&w->objects, &i, &key, &v);) {
        const char *name = strchr(key, '/') + 1;
        int runs = 0, active = 0;

        for (int h = 0; h < HOSTS; h++) {
            struct host *host = &w->hosts[h];

            runs += sim_drv_running(host->drv, name);
            /* what a person has done with root is another matter */
            active += str_starts(key, "volumes/") && sim_drv_active(host->drv, "vg", name) &&
                      !sim_drv_held(host->drv, "vg", name) && !sim_drv_wiped(host->drv, "vg", name);
        }
        if (runs > 1 || (active > 1 && !both_ends(w, key))) {
            fail_msg("seed %" PRIu64 ": %s: runs on %d hosts, active on %d, at %" PRIu64,
                     chaos_seed, key, runs, active, w->now);
        }
    }
}

static inline void renew(struct host *h)
{
    if (h->up && !h->cut && !h->fenced && h->x != NULL) {
        h->lease_until_ms = h->w->now + L;
        h->half_ms = h->w->now + L / 2;
    }
}

/* The watchdog of a host whose lease ended; the proof comes after a guard time. */
static inline void watchdog(struct host *h)
{
    if (h->up && h->lease_until_ms != 0 && h->w->now > h->lease_until_ms) {
        host_off(h, true);
    }
}

static inline void step(struct world *w)
{
    w->now += 5;
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];

        if (w->now % 500 == 0) {
            renew(h);
        }
        watchdog(h);
        if (w->now % 10000 == 0 && h->x != NULL && !h->cut) {
            read_locks(h, VMX_LIST_OWNED);
            read_locks(h, VMX_LIST_PEERED);
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

static inline void run_for(struct world *w, uint64_t ms)
{
    uint64_t until = w->now + ms;

    while (w->now < until) {
        step(w);
    }
}

static inline bool runs_on(struct world *w, int host, const char *vm)
{
    return sim_drv_runs(w->hosts[host].drv, vm);
}

/* Run until the vm runs there (or nowhere: host -1); fails after the limit. */
static inline void until(struct world *w, uint64_t limit_ms, int host, const char *vm)
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

static inline const char *reported(struct world *w, int host, const char *vm)
{
    const char *s = map_get(&w->hosts[host].reports, vm);

    return s == NULL ? "" : s;
}

static inline size_t held(struct world *w)
{
    const char *name;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&w->locks, &i, &name, &v);) {
        n += ((const struct lock *)v)->incarnation != 0;
    }
    return n;
}

#endif
