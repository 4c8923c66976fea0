#include "reconciler/sim_drv.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"

#define SIM_DRV_MAGIC 0x73696d64U
#define JOBS_MAX 256

struct sim_dom {
    enum dom_state state;
    enum dom_reason reason;
    char *uid;
    uint64_t incarnation, token;
    uint64_t hidden_until_ms;
    uint64_t dies_ms; /* a shutdown is under way: gone then; 0: none */
    bool stubborn;
    size_t starts;
    char *disks[16]; /* "group/name" */
    size_t n_disks;
};

struct sim_job {
    struct drv_job *job; /* NULL: orphaned */
    enum drv_op op;
    char *vm, *uid, *group, *volume;
    uint64_t incarnation, token, not_after_ms;
    char *disks[16];
    size_t n_disks;
    uint64_t at_ms; /* UINT64_MAX: hangs */
    enum sim_fault fault;
    bool aborted;
};

struct sim_drv {
    struct drv drv; /* first */
    unsigned magic;
    struct sim_drv_opts opts;
    struct prng rng;
    struct map doms;   /* vm -> struct sim_dom, owned */
    struct map active; /* "group/name" -> self */
    struct sim_job *jobs[JOBS_MAX];
    size_t n_jobs;
    enum sim_fault fault[DRV_APPLY + 1];
    unsigned fault_count[DRV_APPLY + 1];
};

struct sim_san {
    struct map vols;
};

struct sim_san *sim_san_new(void)
{
    return OBJ_NEW(struct sim_san);
}

void sim_san_free(struct sim_san *s)
{
    map_done(&s->vols);
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

static uint64_t now(const struct sim_drv *s)
{
    return s->opts.now_ms(s->opts.ctx);
}

/* --- domains -----------------------------------------------------------------------------------
 */

static struct sim_dom *dom(struct sim_drv *s, const char *vm)
{
    struct sim_dom *d = map_get(&s->doms, vm);

    if (d == NULL) {
        d = OBJ_NEW(struct sim_dom);
        d->state = DOM_ABSENT;
        (void)map_put(&s->doms, vm, d);
    }
    return d;
}

static void fill_domain(const struct sim_dom *d, const char *vm, struct drv_domain *ret)
{
    *ret = (struct drv_domain){
        .state = d->state, .reason = d->reason, .incarnation = d->incarnation, .token = d->token
    };
    ret->vm = mem_strdup(vm);
    ret->uid = mem_strdup(d->uid == NULL ? "" : d->uid);
}

static void emit_domain(struct sim_drv *s, const char *vm)
{
    struct drv_domain d;
    struct drv_event ev = { .kind = DRV_EV_DOMAIN, .domain = &d };

    fill_domain(dom(s, vm), vm, &d);
    drv_emit(&s->drv, &ev);
    drv_domain_done(&d);
}

static void emit_volume(struct sim_drv *s, const char *group, const char *name,
                        enum vol_state state)
{
    struct drv_volume v = { .state = state };
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

static void dom_end(struct sim_drv *s, const char *vm, enum dom_state st, enum dom_reason reason)
{
    struct sim_dom *d = dom(s, vm);

    d->state = st;
    d->reason = reason;
    d->dies_ms = 0;
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

    if (dom(s, vm)->state != DOM_RUNNING) {
        return false;
    }
    if (what == SIM_GUEST_VANISH) {
        dom_end(s, vm, DOM_ABSENT, DOM_REASON_NONE);
        return true;
    }
    dom_end(s, vm, DOM_STOPPED, reasons[what]);
    emit_domain(s, vm);
    return true;
}

/* --- what jobs do ------------------------------------------------------------------------------
 */

static int do_start(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    struct sim_dom *d = dom(s, j->vm);

    if (j->not_after_ms != 0 && now(s) > j->not_after_ms) {
        return err_set(err, ERR_TIMEOUT, "too late to start %s", j->vm);
    }
    if (d->state != DOM_ABSENT) {
        return err_set(err, ERR_DRIVER, "domain %s exists", j->vm);
    }
    for (size_t i = 0; i < j->n_disks; i++) {
        if (map_get(&s->active, j->disks[i]) == NULL) {
            return err_set(err, ERR_DRIVER, "disk %s is not active", j->disks[i]);
        }
    }
    d->state = DOM_RUNNING;
    d->reason = DOM_REASON_NONE;
    free(d->uid);
    d->uid = mem_strdup(j->uid);
    d->incarnation = j->incarnation;
    d->token = j->token;
    d->starts++;
    for (size_t i = 0; i < j->n_disks; i++) {
        d->disks[d->n_disks++] = mem_strdup(j->disks[i]);
    }
    return 0;
}

static bool in_use(const struct sim_drv *s, const char *key)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&s->doms, &i, &vm, &v);) {
        const struct sim_dom *d = v;

        for (size_t k = 0; k < d->n_disks; k++) {
            if (str_eq(d->disks[k], key)) {
                return true;
            }
        }
    }
    return false;
}

static int do_volume(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    char *key = mem_printf("%s/%s", j->group, j->volume);
    int rc = 0;

    if (j->op == DRV_VOL_CREATE) {
        (void)map_put(&s->opts.san->vols, key, s);
        emit_volume(s, j->group, j->volume, VOL_INACTIVE);
    } else if (map_get(&s->opts.san->vols, key) == NULL) {
        rc = err_set(err, ERR_DRIVER, "volume %s does not exist", key);
    } else if (j->op == DRV_VOL_ACTIVATE) {
        (void)map_put(&s->active, key, s);
        emit_volume(s, j->group, j->volume, VOL_ACTIVE);
    } else if (in_use(s, key)) {
        rc = err_set(err, ERR_DRIVER, "volume %s is in use", key);
    } else {
        (void)map_del(&s->active, key);
        emit_volume(s, j->group, j->volume, VOL_INACTIVE);
    }
    free(key);
    return rc;
}

static int do_stop(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    struct sim_dom *d = dom(s, j->vm);

    switch (j->op) {
    case DRV_DESTROY:
        dom_end(s, j->vm, DOM_ABSENT, DOM_REASON_NONE);
        return 0;
    case DRV_SHUTDOWN:
        if (d->state != DOM_RUNNING) {
            return err_set(err, ERR_DRIVER, "domain %s does not run", j->vm);
        }
        d->dies_ms = d->stubborn ? 0 : now(s) + s->opts.shutdown_ms;
        return 0;
    case DRV_PAUSE:
        d->state = d->state == DOM_RUNNING ? DOM_PAUSED : d->state;
        return 0;
    case DRV_UNPAUSE:
        d->state = d->state == DOM_PAUSED ? DOM_RUNNING : d->state;
        return 0;
    case DRV_NONE:
    case DRV_START:
    case DRV_MIG_SUSPEND:
    case DRV_MIG_RESUME:
    case DRV_MIG_RECEIVE:
    case DRV_VOL_CREATE:
    case DRV_VOL_ACTIVATE:
    case DRV_VOL_DEACTIVATE:
    case DRV_ENUM_DOMAINS:
    case DRV_ENUM_VOLUMES:
    case DRV_CAPACITY:
    case DRV_APPLY:
        return err_set(err, ERR_UNSUPPORTED, "%s is not simulated", drv_op_name(j->op));
    }
    CHECK_UNREACHABLE();
}

static bool is_domain_op(enum drv_op op)
{
    return op == DRV_START || op == DRV_SHUTDOWN || op == DRV_DESTROY || op == DRV_PAUSE ||
           op == DRV_UNPAUSE;
}

static bool is_volume_op(enum drv_op op)
{
    return op == DRV_VOL_CREATE || op == DRV_VOL_ACTIVATE || op == DRV_VOL_DEACTIVATE;
}

static int perform(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    int rc;

    if (is_volume_op(j->op)) {
        return do_volume(s, j, err);
    }
    if (!is_domain_op(j->op)) {
        return 0; /* answered in finish_job */
    }
    rc = j->op == DRV_START ? do_start(s, j, err) : do_stop(s, j, err);
    if (rc == 0 && j->op != DRV_SHUTDOWN) {
        emit_domain(s, j->vm);
    }
    return rc;
}

/* --- answers -----------------------------------------------------------------------------------
 */

static struct drv_domain *list_domains(struct sim_drv *s, size_t *ret_n)
{
    struct drv_domain *list = mem_alloc((s->doms.count + 1) * sizeof(*list));
    const char *vm;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&s->doms, &i, &vm, &v);) {
        const struct sim_dom *d = v;

        if (d->state != DOM_ABSENT && d->hidden_until_ms <= now(s)) {
            fill_domain(d, vm, &list[n++]);
        }
    }
    *ret_n = n;
    return list;
}

static struct drv_volume *list_volumes(struct sim_drv *s, size_t *ret_n)
{
    struct drv_volume *list = mem_alloc((s->opts.san->vols.count + 1) * sizeof(*list));
    const char *key;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&s->opts.san->vols, &i, &key, &v); n++) {
        const char *slash = strchr(key, '/');

        list[n].group = mem_strndup(key, (size_t)(slash - key));
        list[n].name = mem_strdup(slash + 1);
        list[n].state = map_get(&s->active, key) != NULL ? VOL_ACTIVE : VOL_INACTIVE;
        list[n].open = in_use(s, key);
    }
    *ret_n = n;
    return list;
}

static void answer_list(struct sim_drv *s, struct drv_job *job)
{
    struct drv_domain *doms = NULL;
    struct drv_volume *vols = NULL;
    size_t n_doms = 0, n_vols = 0;

    if (job->op == DRV_ENUM_DOMAINS) {
        job->result.domains = doms = list_domains(s, &n_doms);
        job->result.n_domains = n_doms;
    } else {
        job->result.volumes = vols = list_volumes(s, &n_vols);
        job->result.n_volumes = n_vols;
    }
    job->cb(job, NULL);
    for (size_t i = 0; i < n_doms; i++) {
        drv_domain_done(&doms[i]);
    }
    for (size_t i = 0; i < n_vols; i++) {
        drv_volume_done(&vols[i]);
    }
    free(doms);
    free(vols);
}

static void answer(struct sim_drv *s, struct drv_job *job, const struct err *err)
{
    static char name[] = "sim";

    if (err != NULL) {
        job->cb(job, err);
    } else if (job->op == DRV_ENUM_DOMAINS || job->op == DRV_ENUM_VOLUMES) {
        answer_list(s, job);
    } else {
        job->result.capacity = (struct drv_capacity){ .memory_bytes = s->opts.memory_bytes,
                                                      .memory_free_bytes = s->opts.memory_bytes,
                                                      .cpus = s->opts.cpus,
                                                      .hypervisor = name };
        job->result.ready = true;
        job->result.reason = "SimHost";
        job->result.message = "";
        job->cb(job, NULL);
    }
}

static void job_free(struct sim_job *j)
{
    for (size_t i = 0; i < j->n_disks; i++) {
        free(j->disks[i]);
    }
    free(j->vm);
    free(j->uid);
    free(j->group);
    free(j->volume);
    free(j);
}

static void finish_job(struct sim_drv *s, struct sim_job *j)
{
    struct err err;
    int rc = 0;

    if (j->aborted && j->fault == SIM_FAULT_NONE) {
        j->fault = prng_below(&s->rng, 2) == 0 ? SIM_FAULT_UNKNOWN_DONE : SIM_FAULT_UNKNOWN_NOT;
    }
    switch (j->fault) {
    case SIM_FAULT_NONE:
        rc = perform(s, j, &err);
        break;
    case SIM_FAULT_FAIL:
        rc = err_set(&err, ERR_DRIVER, "injected failure of %s", drv_op_name(j->op));
        break;
    case SIM_FAULT_UNKNOWN_DONE:
        (void)perform(s, j, &err);
        rc = err_set(&err, ERR_UNKNOWN_OUTCOME, "injected: no answer to %s", drv_op_name(j->op));
        break;
    case SIM_FAULT_UNKNOWN_NOT:
    case SIM_FAULT_HANG:
        rc = err_set(&err, ERR_UNKNOWN_OUTCOME, "injected: no answer to %s", drv_op_name(j->op));
        break;
    }
    if (j->job != NULL) {
        answer(s, j->job, rc == 0 ? NULL : &err);
    }
    job_free(j);
}

/* --- the driver --------------------------------------------------------------------------------
 */

static uint64_t typical(const struct sim_drv *s, enum drv_op op)
{
    if (op == DRV_START) {
        return s->opts.start_ms;
    }
    if (is_domain_op(op)) {
        return s->opts.stop_ms;
    }
    return is_volume_op(op) ? s->opts.volume_ms : s->opts.list_ms;
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
    j->incarnation = job->incarnation;
    j->token = job->token;
    j->not_after_ms = job->not_after_ms;
    for (size_t i = 0; i < job->n_disks && i < ARRAY_LEN(j->disks); i++) {
        if (job->disks[i].volume != NULL) {
            j->disks[j->n_disks++] = mem_printf("%s/%s", job->disks[i].group, job->disks[i].volume);
        }
    }
    j->fault = take_fault(s, job->op);
    j->at_ms = now(s) + 1 + t / 2 + (t == 0 ? 0 : prng_below(&s->rng, t + t / 2 + 1));
    if (j->fault == SIM_FAULT_HANG) {
        j->at_ms = UINT64_MAX;
    }
    for (size_t i = 0; i < s->n_jobs && job->vm != NULL; i++) {
        CHECK(s->jobs[i]->job == NULL || !str_eq(s->jobs[i]->vm, job->vm)); /* one per domain */
    }
    CHECK(s->n_jobs < JOBS_MAX);
    job->drv_private = j;
    s->jobs[s->n_jobs++] = j;
}

static void sim_abort(struct drv *d, struct drv_job *job)
{
    struct sim_drv *s = sim(d);
    struct sim_job *j = job->drv_private;

    j->aborted = true;
    j->at_ms = now(s) + 1;
}

void sim_drv_run(struct drv *d)
{
    struct sim_drv *s = sim(d);
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&s->doms, &i, &vm, &v);) {
        struct sim_dom *dm = v;

        if (dm->dies_ms != 0 && dm->dies_ms <= now(s)) {
            dom_end(s, vm, DOM_STOPPED, DOM_REASON_SHUTDOWN);
            emit_domain(s, vm);
        }
    }
    for (size_t i = 0; i < s->n_jobs;) {
        struct sim_job *j = s->jobs[i];

        if (j->at_ms > now(s)) {
            i++;
            continue;
        }
        s->jobs[i] = s->jobs[--s->n_jobs];
        finish_job(s, j);
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
        job_free(s->jobs[i]);
    }
    for (size_t i = 0; map_next(&s->doms, &i, &key, &v);) {
        struct sim_dom *dm = v;

        drop_disks(dm);
        free(dm->uid);
        free(dm);
    }
    map_done(&s->doms);
    map_done(&s->active);
    s->magic = 0;
    free(s);
    if (on_closed != NULL) {
        on_closed(ctx);
    }
}

struct drv *sim_drv_new(const struct sim_drv_opts *opts)
{
    static const struct drv_ops ops = {
        .name = "sim", .submit = sim_submit, .abort = sim_abort, .close = sim_close
    };
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
    dom(sim(d), vm)->stubborn = on;
}

void sim_drv_hide(struct drv *d, const char *vm, uint64_t ms)
{
    struct sim_drv *s = sim(d);

    dom(s, vm)->hidden_until_ms = now(s) + ms;
}

void sim_drv_orphan_jobs(struct drv *d)
{
    struct sim_drv *s = sim(d);

    for (size_t i = 0; i < s->n_jobs; i++) {
        s->jobs[i]->job = NULL;
        if (s->jobs[i]->at_ms == UINT64_MAX) {
            s->jobs[i]->at_ms = now(s);
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
        job_free(s->jobs[i]);
    }
    s->n_jobs = 0;
    drv_listen(d, NULL, NULL);
    for (size_t i = 0; map_next(&s->doms, &i, &vm, &v);) {
        dom_end(s, vm, DOM_ABSENT, DOM_REASON_NONE);
    }
    map_done(&s->active);
}

bool sim_drv_runs(const struct drv *d, const char *vm)
{
    const struct sim_dom *dm = map_get(&sim_const(d)->doms, vm);

    return dm != NULL && (dm->state == DOM_RUNNING || dm->state == DOM_PAUSED);
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
