#include "reconciler/sim_drv.h"

#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/sim_drv_priv.h"

struct sim_san *sim_san_new(void)
{
    return OBJ_NEW(struct sim_san);
}

void sim_san_free(struct sim_san *s)
{
    map_done(&s->vols);
    map_done(&s->moves);
    map_done(&s->sizes);
    free(s);
}

void sim_san_add(struct sim_san *s, const char *group, const char *name)
{
    char *key = mem_printf("%s/%s", group, name);

    (void)map_put(&s->vols, key, s);
    free(key);
}

static bool has_key(const struct map *m, const char *group, const char *name)
{
    char *key = mem_printf("%s/%s", group, name);
    bool found = map_get(m, key) != NULL;

    free(key);
    return found;
}

bool sim_san_has(const struct sim_san *s, const char *group, const char *name)
{
    return has_key(&s->vols, group, name);
}

static struct sim_drv *sim(struct drv *d)
{
    struct sim_drv *s = CONTAINER_OF(d, struct sim_drv, drv);

    OBJ_CHECK(s, SIM_DRV_MAGIC);
    return s;
}

static const struct sim_drv *sim_const(const struct drv *d)
{
    const struct sim_drv *s = (const struct sim_drv *)(const void *)d; /* the first member */

    OBJ_CHECK(s, SIM_DRV_MAGIC);
    return s;
}

uint64_t sim_now(const struct sim_drv *s)
{
    return s->opts.now_ms(s->opts.ctx);
}

/* --- domains -----------------------------------------------------------------------------------
 */

struct sim_dom *sim_dom(struct sim_drv *s, const char *vm)
{
    struct sim_dom *d = map_get(&s->doms, vm);

    if (d == NULL) {
        d = OBJ_NEW(struct sim_dom);
        d->state = DOM_ABSENT;
        (void)map_put(&s->doms, vm, d);
    }
    return d;
}

void sim_fill(const struct sim_dom *d, const char *vm, struct drv_domain *ret)
{
    *ret = (struct drv_domain){
        .state = d->state, .reason = d->reason, .incarnation = d->incarnation, .token = d->token
    };
    ret->memory_target_bytes = d->state == DOM_RUNNING ? d->memory : 0;
    ret->vcpus = d->state == DOM_RUNNING ? d->vcpus : 0;
    ret->detail = d->suspended ? mem_strdup("suspended to be moved") : NULL;
    ret->vm = mem_strdup(vm);
    ret->uid = mem_strdup(d->uid == NULL ? "" : d->uid);
}

void sim_emit_domain(struct sim_drv *s, const char *vm)
{
    struct drv_domain d;
    struct drv_event ev = { .kind = DRV_EV_DOMAIN, .domain = &d };

    sim_fill(sim_dom(s, vm), vm, &d);
    drv_emit(&s->drv, &ev);
    drv_domain_done(&d);
}

uint64_t sim_size(const struct sim_drv *s, const char *group, const char *name)
{
    char *key = mem_printf("%s/%s", group, name);
    uint64_t size = (uint64_t)(uintptr_t)map_get(&s->opts.san->sizes, key);

    free(key);
    return size;
}

void sim_emit_volume(struct sim_drv *s, const char *group, const char *name, enum vol_state state)
{
    struct drv_volume v = { .state = state, .size_bytes = sim_size(s, group, name) };
    struct drv_event ev = { .kind = DRV_EV_VOLUME, .volume = &v };

    v.group = mem_strdup(group);
    v.name = mem_strdup(name);
    drv_emit(&s->drv, &ev);
    drv_volume_done(&v);
}

static void drop_disks(struct sim_dom *d)
{
    for (size_t i = 0; i < d->n_disks; i++) {
        free(d->disks[i]);
    }
    d->n_disks = 0;
}

void sim_dom_end(struct sim_drv *s, const char *vm, enum dom_state st, enum dom_reason reason)
{
    struct sim_dom *d = sim_dom(s, vm);

    d->state = st;
    d->reason = reason;
    d->dies_ms = 0;
    d->suspended = false;
    drop_disks(d);
    (void)s;
}

bool sim_drv_guest(struct drv *drv, const char *vm, enum sim_guest what)
{
    static const enum dom_reason reasons[] = {
        [SIM_GUEST_POWEROFF] = DOM_REASON_POWEROFF,
        [SIM_GUEST_REBOOT] = DOM_REASON_REBOOT,
        [SIM_GUEST_CRASH] = DOM_REASON_CRASH,
        [SIM_GUEST_VANISH] = DOM_REASON_NONE,
    };
    struct sim_drv *s = sim(drv);

    if (sim_dom(s, vm)->state != DOM_RUNNING) {
        return false;
    }
    if (what == SIM_GUEST_VANISH) {
        sim_dom_end(s, vm, DOM_ABSENT, DOM_REASON_NONE);
        return true;
    }
    sim_dom_end(s, vm, DOM_STOPPED, reasons[what]);
    sim_emit_domain(s, vm);
    return true;
}

/* --- the driver --------------------------------------------------------------------------------
 */

static uint64_t typical(const struct sim_drv *s, enum drv_op op)
{
    if (op == DRV_START) {
        return s->opts.start_ms;
    }
    if (sim_is_domain_op(op)) {
        return s->opts.stop_ms;
    }
    return sim_is_volume_op(op) ? s->opts.volume_ms : s->opts.list_ms;
}

static enum sim_fault take_fault(struct sim_drv *s, enum drv_op op)
{
    if (s->fault_count[op] == 0) {
        return SIM_FAULT_NONE;
    }
    s->fault_count[op]--;
    return s->fault[op];
}

static void sim_submit(struct drv *d, struct drv_job *job)
{
    struct sim_drv *s = sim(d);
    struct sim_job *j = OBJ_NEW(struct sim_job);
    uint64_t t = typical(s, job->op);

    j->job = job;
    j->op = job->op;
    j->vm = mem_strdup(job->vm);
    j->uid = mem_strdup(job->uid);
    j->group = mem_strdup(job->group);
    j->volume = mem_strdup(job->volume);
    j->migration = mem_strdup(job->migration);
    j->peer = mem_strdup(job->peer);
    j->size_bytes = job->size_bytes;
    j->wipe = job->wipe;
    j->incarnation = job->incarnation;
    j->token = job->token;
    j->not_after_ms = job->not_after_ms;
    j->memory = jget_size(job->object, "spec.memory", 0);
    j->vcpus = (uint32_t)jget_int(job->object, "spec.vcpus", 0);
    for (size_t i = 0; i < job->n_disks && i < ARRAY_LEN(j->disks); i++) {
        if (job->disks[i].volume != NULL) {
            j->disks[j->n_disks++] = mem_printf("%s/%s", job->disks[i].group, job->disks[i].volume);
        }
    }
    j->fault = take_fault(s, job->op);
    j->at_ms = sim_now(s) + 1 + t / 2 + (t == 0 ? 0 : prng_below(&s->rng, t + t / 2 + 1));
    if (job->op == DRV_PING && s->opts.answers != NULL &&
        !s->opts.answers(s->opts.ctx, job->name)) {
        j->silent = true;
        j->at_ms = job->deadline_ms;
    }
    if (j->fault == SIM_FAULT_HANG) {
        j->at_ms = UINT64_MAX;
    }
    sim_mig_submit(s, j);
    for (size_t i = 0; i < s->n_jobs && job->vm != NULL; i++) {
        CHECK(s->jobs[i]->job == NULL || !str_eq(s->jobs[i]->vm, job->vm)); /* one per domain */
    }
    CHECK(s->n_jobs < JOBS_MAX);
    job->drv_private = j;
    s->jobs[s->n_jobs++] = j;
}

static void sim_extend(struct drv *d, struct drv_job *job)
{
    struct sim_job *j = job->drv_private;

    (void)d;
    j->not_after_ms = job->not_after_ms;
}

static void sim_abort(struct drv *d, struct drv_job *job)
{
    struct sim_drv *s = sim(d);
    struct sim_job *j = job->drv_private;

    j->aborted = true;
    j->at_ms = sim_now(s) + 1;
}

void sim_drv_run(struct drv *d)
{
    struct sim_drv *s = sim(d);
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&s->doms, &i, &vm, &v);) {
        struct sim_dom *dm = v;

        if (dm->dies_ms != 0 && dm->dies_ms <= sim_now(s)) {
            sim_dom_end(s, vm, DOM_STOPPED, DOM_REASON_SHUTDOWN);
            sim_emit_domain(s, vm);
        }
    }
    for (size_t i = 0; i < s->n_jobs;) {
        struct sim_job *j = s->jobs[i];

        if (j->at_ms > sim_now(s) || sim_mig_goes_on(s, j)) {
            i++;
            continue;
        }
        s->jobs[i] = s->jobs[--s->n_jobs];
        sim_job_finish(s, j);
        i = 0; /* callbacks may have submitted more */
    }
}

uint64_t sim_drv_next_ms(const struct drv *d)
{
    const struct sim_drv *s = sim_const(d);
    uint64_t best = UINT64_MAX;
    const char *vm;
    void *v;

    for (size_t i = 0; i < s->n_jobs; i++) {
        best = s->jobs[i]->at_ms < best ? s->jobs[i]->at_ms : best;
    }
    for (size_t i = 0; map_next(&s->doms, &i, &vm, &v);) {
        const struct sim_dom *dm = v;

        if (dm->dies_ms != 0 && dm->dies_ms < best) {
            best = dm->dies_ms;
        }
    }
    return best == UINT64_MAX ? 0 : best;
}

static void sim_close(struct drv *d, void (*on_closed)(void *ctx), void *ctx)
{
    struct sim_drv *s = sim(d);
    const char *key;
    void *v;

    for (size_t i = 0; i < s->n_jobs; i++) {
        struct err err;

        (void)err_set(&err, ERR_UNKNOWN_OUTCOME, "the driver was closed");
        if (s->jobs[i]->job != NULL) {
            s->jobs[i]->job->cb(s->jobs[i]->job, &err);
        }
        sim_job_free(s, s->jobs[i]);
    }
    for (size_t i = 0; map_next(&s->doms, &i, &key, &v);) {
        struct sim_dom *dm = v;

        drop_disks(dm);
        free(dm->uid);
        free(dm);
    }
    map_done(&s->doms);
    map_done(&s->active);
    map_done(&s->opened);
    map_done(&s->wiped);
    s->magic = 0;
    free(s);
    if (on_closed != NULL) {
        on_closed(ctx);
    }
}

struct drv *sim_drv_new(const struct sim_drv_opts *opts)
{
    static const struct drv_ops ops = { .name = "sim",
                                        .submit = sim_submit,
                                        .abort = sim_abort,
                                        .close = sim_close,
                                        .extend = sim_extend };
    struct sim_drv *s = OBJ_NEW(struct sim_drv);

    s->drv.ops = &ops;
    s->magic = SIM_DRV_MAGIC;
    s->opts = *opts;
    prng_init(&s->rng, opts->seed);
    return &s->drv;
}

void sim_drv_fault(struct drv *d, enum drv_op op, enum sim_fault f, unsigned count)
{
    struct sim_drv *s = sim(d);

    CHECK(op <= DRV_APPLY);
    s->fault[op] = f;
    s->fault_count[op] = count;
}

void sim_drv_stubborn(struct drv *d, const char *vm, bool on)
{
    sim_dom(sim(d), vm)->stubborn = on;
}

void sim_drv_hide(struct drv *d, const char *vm, uint64_t ms)
{
    struct sim_drv *s = sim(d);

    sim_dom(s, vm)->hidden_until_ms = sim_now(s) + ms;
}

void sim_drv_orphan_jobs(struct drv *d)
{
    struct sim_drv *s = sim(d);

    for (size_t i = 0; i < s->n_jobs; i++) {
        s->jobs[i]->job = NULL;
        if (s->jobs[i]->op >= DRV_MIG_SUSPEND && s->jobs[i]->op <= DRV_MIG_RECEIVE) {
            sim_mig_orphan(s, s->jobs[i]);
            s->jobs[i]->at_ms = sim_now(s);
        }
        if (s->jobs[i]->at_ms == UINT64_MAX) {
            s->jobs[i]->at_ms = sim_now(s);
        }
    }
    drv_listen(d, NULL, NULL);
}

void sim_drv_power_off(struct drv *d)
{
    struct sim_drv *s = sim(d);
    const char *vm;
    void *v;

    for (size_t i = 0; i < s->n_jobs; i++) {
        sim_job_free(s, s->jobs[i]);
    }
    s->n_jobs = 0;
    drv_listen(d, NULL, NULL);
    for (size_t i = 0; map_next(&s->doms, &i, &vm, &v);) {
        sim_dom_end(s, vm, DOM_ABSENT, DOM_REASON_NONE);
    }
    map_done(&s->active);
    map_done(&s->opened);
    map_done(&s->wiped);
}

bool sim_drv_runs(const struct drv *d, const char *vm)
{
    const struct sim_dom *dm = map_get(&sim_const(d)->doms, vm);

    return dm != NULL && (dm->state == DOM_RUNNING || dm->state == DOM_PAUSED);
}

bool sim_drv_running(const struct drv *d, const char *vm)
{
    const struct sim_dom *dm = map_get(&sim_const(d)->doms, vm);

    return dm != NULL && dm->state == DOM_RUNNING;
}

void sim_drv_not_live(struct drv *d, bool on)
{
    sim(d)->opts.not_live = on;
}

void sim_drv_activate(struct drv *d, const char *group, const char *name)
{
    struct sim_drv *s = sim(d);
    char *key = mem_printf("%s/%s", group, name);

    (void)map_put(&s->active, key, s);
    sim_emit_volume(s, group, name, VOL_ACTIVE);
    free(key);
}

void sim_drv_hold(struct drv *d, const char *group, const char *name, bool on)
{
    struct sim_drv *s = sim(d);
    char *key = mem_printf("%s/%s", group, name);

    if (on) {
        (void)map_put(&s->opened, key, s);
    } else {
        (void)map_del(&s->opened, key);
    }
    free(key);
}

bool sim_drv_held(const struct drv *d, const char *group, const char *name)
{
    return has_key(&sim_const(d)->opened, group, name);
}

bool sim_drv_wiped(const struct drv *d, const char *group, const char *name)
{
    return has_key(&sim_const(d)->wiped, group, name);
}

uint64_t sim_drv_size(const struct drv *d, const char *group, const char *name)
{
    return sim_size(sim_const(d), group, name);
}

bool sim_drv_active(const struct drv *d, const char *group, const char *name)
{
    return has_key(&sim_const(d)->active, group, name);
}

uint64_t sim_drv_token(const struct drv *d, const char *vm)
{
    const struct sim_dom *dm = map_get(&sim_const(d)->doms, vm);

    return dm == NULL || dm->state == DOM_ABSENT ? 0 : dm->token;
}

size_t sim_drv_starts(const struct drv *d, const char *vm)
{
    const struct sim_dom *dm = map_get(&sim_const(d)->doms, vm);

    return dm == NULL ? 0 : dm->starts;
}

uint64_t sim_drv_memory(const struct drv *d, const char *vm)
{
    const struct sim_dom *dm = map_get(&sim_const(d)->doms, vm);

    return dm == NULL || dm->state == DOM_ABSENT ? 0 : dm->memory;
}
