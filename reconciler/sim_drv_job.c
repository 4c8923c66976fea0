#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "reconciler/sim_drv_priv.h"

/* Jobs: what they do to the simulated host, how they end, and what is answered. */

/* --- what jobs do ------------------------------------------------------------------------------
 */

void sim_dom_make(struct sim_drv *s, const struct sim_job *j, enum dom_state st)
{
    struct sim_dom *d = sim_dom(s, j->vm);

    d->state = st;
    d->reason = DOM_REASON_NONE;
    free(d->uid);
    d->uid = mem_strdup(j->uid);
    d->incarnation = j->incarnation;
    d->token = j->token;
    d->starts++;
    d->memory = j->memory;
    d->vcpus = j->vcpus;
    for (size_t i = 0; i < j->n_disks; i++) {
        d->disks[d->n_disks++] = mem_strdup(j->disks[i]);
    }
}

static int do_start(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    struct sim_dom *d = sim_dom(s, j->vm);

    if (d->state != DOM_ABSENT) {
        return err_set(err, ERR_DRIVER, "domain %s exists", j->vm);
    }
    for (size_t i = 0; i < j->n_disks; i++) {
        if (map_get(&s->active, j->disks[i]) == NULL) {
            return err_set(err, ERR_DRIVER, "disk %s is not active", j->disks[i]);
        }
    }
    sim_dom_make(s, j, DOM_RUNNING);
    return 0;
}

static bool in_use(const struct sim_drv *s, const char *key)
{
    const char *vm;
    void *v;

    if (map_get(&s->opened, key) != NULL) {
        return true;
    }
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

static void size_set(struct sim_drv *s, const char *key, uint64_t size)
{
    if (size != 0) {
        (void)map_put(&s->opts.san->sizes, key, (void *)(uintptr_t)size);
    }
}

static int do_volume(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    char *key = mem_printf("%s/%s", j->group, j->volume);
    int rc = 0;

    if (j->op == DRV_VOL_CREATE) {
        (void)map_put(&s->opts.san->vols, key, s);
        size_set(s, key, j->size_bytes);
        sim_emit_volume(s, j->group, j->volume, VOL_INACTIVE);
    } else if (map_get(&s->opts.san->vols, key) == NULL) {
        rc = err_set(err, ERR_DRIVER, "volume %s does not exist", key);
    } else if (j->op == DRV_VOL_GROW) {
        size_set(s, key, j->size_bytes);
        sim_emit_volume(s, j->group, j->volume,
                        map_get(&s->active, key) != NULL ? VOL_ACTIVE : VOL_INACTIVE);
    } else if (j->op == DRV_VOL_ACTIVATE) {
        (void)map_put(&s->active, key, s);
        sim_emit_volume(s, j->group, j->volume, VOL_ACTIVE);
    } else if (j->wipe) {
        (void)map_put(&s->wiped, key, s);
    } else if (in_use(s, key)) {
        rc = err_set(err, ERR_DRIVER, "volume %s is in use", key);
    } else {
        (void)map_del(&s->active, key);
        (void)map_del(&s->wiped, key);
        sim_emit_volume(s, j->group, j->volume, VOL_INACTIVE);
    }
    free(key);
    return rc;
}

static int do_stop(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    struct sim_dom *d = sim_dom(s, j->vm);

    switch (j->op) {
    case DRV_DESTROY:
        sim_dom_end(s, j->vm, DOM_ABSENT, DOM_REASON_NONE);
        return 0;
    case DRV_SHUTDOWN:
        if (d->state != DOM_RUNNING) {
            return err_set(err, ERR_DRIVER, "domain %s does not run", j->vm);
        }
        d->dies_ms = d->stubborn ? 0 : sim_now(s) + s->opts.shutdown_ms;
        return 0;
    case DRV_PAUSE:
        d->state = d->state == DOM_RUNNING ? DOM_PAUSED : d->state;
        return 0;
    case DRV_UNPAUSE:
        if (d->suspended) {
            return err_set(err, ERR_DRIVER, "domain %s is suspended to be moved", j->vm);
        }
        d->state = d->state == DOM_PAUSED ? DOM_RUNNING : d->state;
        return 0;
    case DRV_ADJUST:
        if (d->state != DOM_RUNNING) {
            return err_set(err, ERR_DRIVER, "domain %s does not run", j->vm);
        }
        d->memory = j->memory;
        d->vcpus = j->vcpus;
        return 0;
    case DRV_NONE:
    case DRV_START:
    case DRV_MIG_SUSPEND:
    case DRV_MIG_RESUME:
    case DRV_MIG_RECEIVE:
    case DRV_VOL_CREATE:
    case DRV_VOL_GROW:
    case DRV_VOL_ACTIVATE:
    case DRV_VOL_DEACTIVATE:
    case DRV_ENUM_DOMAINS:
    case DRV_ENUM_VOLUMES:
    case DRV_CAPACITY:
    case DRV_PING:
    case DRV_APPLY:
        return err_set(err, ERR_UNSUPPORTED, "%s is not simulated", drv_op_name(j->op));
    }
    CHECK_UNREACHABLE();
}

bool sim_is_domain_op(enum drv_op op)
{
    return op == DRV_START || op == DRV_SHUTDOWN || op == DRV_DESTROY || op == DRV_PAUSE ||
           op == DRV_UNPAUSE || op == DRV_ADJUST || op == DRV_MIG_SUSPEND || op == DRV_MIG_RESUME ||
           op == DRV_MIG_RECEIVE;
}

bool sim_is_volume_op(enum drv_op op)
{
    return op == DRV_VOL_CREATE || op == DRV_VOL_GROW || op == DRV_VOL_ACTIVATE ||
           op == DRV_VOL_DEACTIVATE;
}

static bool begins_to_run(enum drv_op op)
{
    return op == DRV_START || op == DRV_UNPAUSE || op == DRV_MIG_RESUME;
}

static int perform(struct sim_drv *s, struct sim_job *j, struct err *err)
{
    int rc;

    if (sim_is_volume_op(j->op)) {
        return do_volume(s, j, err);
    }
    if (j->silent) {
        return err_set(err, ERR_TIMEOUT, "no answer");
    }
    if (!sim_is_domain_op(j->op)) {
        return 0; /* answered in sim_job_finish */
    }
    if (begins_to_run(j->op) && j->not_after_ms != 0 && sim_now(s) > j->not_after_ms) {
        return err_set(err, ERR_TIMEOUT, "too late for %s to begin to run", j->vm);
    }
    if (j->op >= DRV_MIG_SUSPEND && j->op <= DRV_MIG_RECEIVE) {
        rc = sim_mig_perform(s, j, err);
    } else {
        rc = j->op == DRV_START ? do_start(s, j, err) : do_stop(s, j, err);
    }
    if (rc == 0 && j->op != DRV_SHUTDOWN) {
        sim_emit_domain(s, j->vm);
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

        if (d->state != DOM_ABSENT && d->hidden_until_ms <= sim_now(s)) {
            sim_fill(d, vm, &list[n++]);
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
        list[n].size_bytes = sim_size(s, list[n].group, list[n].name);
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

/* As on a host (host_lvm.c): what is active is known without its disks. */
static void tell_active(struct sim_drv *s, struct drv_job *job)
{
    size_t n = 0;
    struct drv_volume *vols = list_volumes(s, &n);

    for (size_t i = 0; i < n; i++) {
        struct drv_event ev = { .kind = DRV_EV_VOLUME, .volume = &vols[i] };

        if (vols[i].state == VOL_ACTIVE) {
            drv_emit(&s->drv, &ev);
        }
        drv_volume_done(&vols[i]);
    }
    free(vols);
    job->result.active_told = true;
}

static void answer(struct sim_drv *s, struct drv_job *job, const struct err *err)
{
    static char name[] = "sim";

    if (err != NULL && job->op == DRV_ENUM_VOLUMES && err->code == ERR_DRIVER) {
        tell_active(s, job);
    }
    if (err != NULL) {
        job->cb(job, err);
    } else if (job->op == DRV_ENUM_DOMAINS || job->op == DRV_ENUM_VOLUMES) {
        answer_list(s, job);
    } else {
        job->result.capacity = (struct drv_capacity){ .memory_bytes = s->opts.memory_bytes,
                                                      .memory_free_bytes = s->opts.memory_bytes,
                                                      .cpus = s->opts.cpus,
                                                      .hypervisor = name,
                                                      .live = !s->opts.not_live,
                                                      .live_pv = !s->opts.not_live };
        job->result.ready = true;
        job->result.reason = "SimHost";
        job->result.message = "";
        job->cb(job, NULL);
    }
}

void sim_job_free(struct sim_drv *s, struct sim_job *j)
{
    sim_mig_forget(s, j);
    for (size_t i = 0; i < j->n_disks; i++) {
        free(j->disks[i]);
    }
    free(j->vm);
    free(j->uid);
    free(j->group);
    free(j->volume);
    free(j->migration);
    free(j->peer);
    free(j);
}

void sim_job_finish(struct sim_drv *s, struct sim_job *j)
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
        j->job->result.suspended_ms = j->suspended_ms;
        answer(s, j->job, rc == 0 ? NULL : &err);
    }
    sim_job_free(s, j);
}
