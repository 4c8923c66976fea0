/* The hypervisor of a machine (reconciler/sim_drv.c) between the agent, which may die while guests
 * go on, and the shared storage.  After everything that may have changed it, who runs and which
 * volumes are active is compared with before: that is what the checkers hear. */

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "reconciler/sim_drv.h"
#include "reconciler/sim_drv_priv.h"
#include "tests/sim/sim_priv.h"

/* --- what changed ------------------------------------------------------------------------------
 */

static struct sim_drv *drv_of(const struct machine *m)
{
    return (struct sim_drv *)(void *)m->drv;
}

static void look_domains(struct machine *m)
{
    struct sim_drv *d = drv_of(m);
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&d->doms, &i, &vm, &v);) {
        const struct sim_dom *dom = v;
        bool was = map_get(&m->running, vm) != NULL;
        bool is = dom->state == DOM_RUNNING;

        if (is && !was) {
            (void)map_put(&m->running, vm, m);
            check_guest_started(m, vm, dom->incarnation, dom->token);
            for (size_t k = 0; k < dom->n_disks; k++) {
                check_writer(m, dom->disks[k], vm, dom->incarnation, dom->token);
            }
        } else if (!is && was) {
            (void)map_del(&m->running, vm);
            check_guest_stopped(m, vm);
        }
    }
}

static void look_volumes(struct machine *m)
{
    struct sim_drv *d = drv_of(m);
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&d->active, &i, &key, &v);) {
        if (map_get(&m->active, key) == NULL) {
            (void)map_put(&m->active, key, m);
            check_volume(m, key, true);
        }
    }
    for (size_t i = 0; map_next(&m->active, &i, &key, &v);) {
        if (map_get(&d->active, key) == NULL) {
            check_volume(m, key, false);
            (void)map_del(&m->active, key);
            i = 0;
        }
    }
}

static void on_wake(void *arg, uint64_t gen);

void guest_wake(struct machine *m)
{
    uint64_t next, now = machine_ms(m), at;

    look_domains(m);
    look_volumes(m);
    next = sim_drv_next_ms(m->drv);
    if (next == 0) {
        m->drv_at_us = 0;
        m->drv_gen++;
        return;
    }
    at = sim_world->now + machine_delay_us(m, next > now ? next - now : 0);
    if (m->drv_at_us == 0 || at != m->drv_at_us) {
        m->drv_at_us = at;
        sim_post(NULL, at - sim_world->now, on_wake, m, ++m->drv_gen);
    }
}

/* The jobs are the agent's threads: they stand still while it does. */
static bool stands_still(const struct machine *m)
{
    return m->suspended || (m->procs[PROC_AGENT].alive && m->procs[PROC_AGENT].paused);
}

static void on_wake(void *arg, uint64_t gen)
{
    struct machine *m = arg;

    if (m->drv_gen != gen) {
        return;
    }
    m->drv_at_us = 0;
    if (stands_still(m)) {
        m->drv_at_us = sim_world->now + 50000;
        sim_post(NULL, 50000, on_wake, m, ++m->drv_gen);
        return;
    }
    sim_drv_run(m->drv);
    guest_wake(m);
}

/* --- between agent and hypervisor --------------------------------------------------------------
 */

static struct proc *shell_proc(struct drv *d)
{
    return CONTAINER_OF(d, struct proc, shell);
}

struct shadow {
    struct drv_job job; /* first */
    struct drv_job *real;
    struct proc *p;
    uint64_t life;
};

static void shadow_forget(struct shadow *sh)
{
    for (size_t i = 0; i < ARRAY_LEN(sh->p->shadows); i++) {
        if (sh->p->shadows[i] == &sh->job) {
            sh->p->shadows[i] = NULL;
        }
    }
}

static void on_job(struct drv_job *job, const struct err *err)
{
    struct shadow *sh = (struct shadow *)(void *)job;
    struct proc *p = sh->p;

    shadow_forget(sh);
    if (p->alive && p->life == sh->life) {
        struct proc *before = sim_enter(p);

        sh->real->result = job->result;
        sh->real->cb(sh->real, err);
        sim_leave(before);
    }
    free(sh);
}

static bool unreachable(const struct machine *m, const struct drv_job *job)
{
    char key[600];

    if (job->op != DRV_VOL_ACTIVATE && job->op != DRV_VOL_CREATE) {
        return false;
    }
    (void)snprintf(key, sizeof(key), "%s/%s", job->group, job->volume);
    return map_get(&m->unreachable, key) != NULL;
}

static void shell_submit(struct drv *d, struct drv_job *job)
{
    struct proc *p = shell_proc(d);
    struct machine *m = p->m;
    struct proc *before = sim_enter(NULL);
    struct shadow *sh = OBJ_NEW(struct shadow);
    size_t i = 0;

    sh->job = *job;
    sh->real = job;
    sh->p = p;
    sh->life = p->life;
    sh->job.cb = on_job;
    while (i < ARRAY_LEN(p->shadows) && p->shadows[i] != NULL) {
        i++;
    }
    CHECK(i < ARRAY_LEN(p->shadows));
    p->shadows[i] = &sh->job;
    if (unreachable(m, job)) {
        sim_drv_fault(m->drv, job->op, SIM_FAULT_FAIL, 1);
    }
    drv_submit(m->drv, &sh->job);
    guest_wake(m);
    sim_leave(before);
}

static void shell_abort(struct drv *d, struct drv_job *job)
{
    struct proc *p = shell_proc(d);
    struct proc *before = sim_enter(NULL);

    for (size_t i = 0; i < ARRAY_LEN(p->shadows); i++) {
        struct shadow *sh = (struct shadow *)(void *)p->shadows[i];

        if (sh != NULL && sh->real == job) {
            drv_abort(p->m->drv, &sh->job);
            break;
        }
    }
    guest_wake(p->m);
    sim_leave(before);
}

static void shell_close(struct drv *d, void (*on_closed)(void *ctx), void *ctx)
{
    guest_agent_died(shell_proc(d));
    on_closed(ctx);
}

static void shell_event(void *data, const struct drv_event *ev)
{
    struct proc *p = data;
    struct proc *before;

    if (p->alive) {
        before = sim_enter(p);
        drv_emit(&p->shell, ev);
        sim_leave(before);
    }
}

void guest_shell_init(struct proc *p)
{
    static const struct drv_ops ops = {
        .name = "sim", .submit = shell_submit, .abort = shell_abort, .close = shell_close
    };

    p->shell = (struct drv){ .ops = &ops };
    drv_listen(p->m->drv, shell_event, p);
}

void guest_agent_died(struct proc *p)
{
    struct proc *before = sim_enter(NULL);

    sim_drv_orphan_jobs(p->m->drv);
    for (size_t i = 0; i < ARRAY_LEN(p->shadows); i++) {
        free(p->shadows[i]);
        p->shadows[i] = NULL;
    }
    guest_wake(p->m);
    sim_leave(before);
}

/* --- the machine's part ------------------------------------------------------------------------
 */

static uint64_t drv_clock(void *ctx)
{
    return machine_ms(ctx);
}

static bool answers(void *ctx, const char *address)
{
    const struct machine *m = ctx;

    (void)address;
    return !m->no_gateway;
}

/* Live migration goes over the first network that carries it in both directions. */
static bool mig_reach(void *ctx, const char *host)
{
    const struct machine *m = ctx, *o = sim_machine(m->s, host);

    for (unsigned l = 0; l < SIM_LINKS_MAX && l < (m->s->opts.links == 0 ? 1 : m->s->opts.links);
         l++) {
        if (!m->s->cut[l][m->i][o->i] && !m->s->cut[l][o->i][m->i]) {
            return m->booted && o->booted && !m->suspended && !o->suspended;
        }
    }
    return false;
}

static void mig_poke(void *ctx)
{
    guest_wake(ctx);
}

void guest_machine_new(struct machine *m)
{
    struct sim_drv_opts o = { .now_ms = drv_clock,
                              .ctx = m,
                              .san = m->s->san,
                              .seed = prng_u64(&m->prng),
                              .start_ms = 400,
                              .stop_ms = 60,
                              .volume_ms = 80,
                              .list_ms = 20,
                              .shutdown_ms = 1500,
                              .mig_ms = 3000,
                              .reach = mig_reach,
                              .poke = mig_poke,
                              .memory_bytes = 64ULL << 30,
                              .cpus = 16,
                              .answers = answers };

    m->drv = sim_drv_new(&o);
}

void guest_machine_free(struct machine *m)
{
    if (m->drv != NULL) {
        sim_drv_orphan_jobs(m->drv);
        drv_close(m->drv, NULL, NULL);
    }
    map_done(&m->running);
    map_done(&m->active);
    map_done(&m->unreachable);
}

void guest_power_off(struct machine *m)
{
    if (m->drv == NULL) {
        return;
    }
    sim_drv_power_off(m->drv);
    guest_wake(m);
}

void guest_san_add(struct sim *s, const char *group, const char *name)
{
    if (!sim_san_has(s->san, group, name)) {
        sim_san_add(s->san, group, name);
    }
}

/* --- faults ------------------------------------------------------------------------------------
 */

static struct machine *runs_on(const struct sim *s, const char *vm)
{
    for (unsigned i = 0; i < s->n_machines; i++) {
        const struct machine *m = &s->machines[i];

        if (m->drv != NULL && sim_drv_runs(m->drv, vm)) {
            return sim_machine(s, m->name);
        }
    }
    return NULL;
}

bool sim_guest(struct sim *s, const char *vm, enum sim_guest_event what)
{
    static const enum sim_guest kinds[] = { [SIM_VM_POWEROFF] = SIM_GUEST_POWEROFF,
                                            [SIM_VM_REBOOT] = SIM_GUEST_REBOOT,
                                            [SIM_VM_CRASH] = SIM_GUEST_CRASH };
    static const char *const names[] = {
        [SIM_VM_POWEROFF] = "powers off", [SIM_VM_REBOOT] = "reboots", [SIM_VM_CRASH] = "crashes"
    };
    struct machine *m = runs_on(s, vm);

    if (m == NULL || m->suspended || !sim_drv_guest(m->drv, vm, kinds[what])) {
        return false;
    }
    sim_log(s, "fault: %s %s by itself on %s", vm, names[what], m->name);
    s->stats.faults++;
    guest_wake(m);
    return true;
}

void sim_guest_stubborn(struct sim *s, const char *vm, bool on)
{
    sim_log(s, "fault: %s %s requests to shut down", vm, on ? "ignores" : "follows");
    for (unsigned i = 0; i < s->n_machines; i++) {
        if (s->machines[i].drv != NULL) {
            sim_drv_stubborn(s->machines[i].drv, vm, on);
        }
    }
}

void sim_volume_cut(struct sim *s, const char *machine, const char *volume, bool cut)
{
    struct machine *m = sim_machine(s, machine);

    sim_log(s, "fault: %s %s %s", machine, cut ? "cannot reach" : "reaches", volume);
    s->stats.faults++;
    if (cut) {
        (void)map_put(&m->unreachable, volume, m);
    } else {
        (void)map_del(&m->unreachable, volume);
    }
}

bool sim_job_exists(const char *op)
{
    for (int i = DRV_START; i <= DRV_APPLY; i++) {
        if (str_eq(drv_op_name((enum drv_op)i), op)) {
            return true;
        }
    }
    return false;
}

void sim_job_faults_end(struct machine *m)
{
    for (int i = DRV_START; i <= DRV_APPLY; i++) {
        sim_drv_fault(m->drv, (enum drv_op)i, SIM_FAULT_NONE, 0);
    }
}

void sim_job_fault(struct sim *s, const char *machine, const char *op, enum sim_job_fault f,
                   unsigned count)
{
    static const enum sim_fault kinds[] = { [SIM_JOB_FAILS] = SIM_FAULT_FAIL,
                                            [SIM_JOB_UNKNOWN_DONE] = SIM_FAULT_UNKNOWN_DONE,
                                            [SIM_JOB_UNKNOWN_NOT] = SIM_FAULT_UNKNOWN_NOT,
                                            [SIM_JOB_HANGS] = SIM_FAULT_HANG };
    static const char *const names[] = { [SIM_JOB_FAILS] = "fail",
                                         [SIM_JOB_UNKNOWN_DONE] = "give no answer, done",
                                         [SIM_JOB_UNKNOWN_NOT] = "give no answer, not done",
                                         [SIM_JOB_HANGS] = "hang" };
    struct machine *m = sim_machine(s, machine);

    for (int i = DRV_START; i <= DRV_APPLY; i++) {
        if (str_eq(drv_op_name((enum drv_op)i), op)) {
            sim_log(s, "fault: %s: the next %u jobs \"%s\" %s", machine, count, op, names[f]);
            s->stats.faults++;
            s->hung = s->hung || f == SIM_JOB_HANGS;
            sim_drv_fault(m->drv, (enum drv_op)i, kinds[f], count);
            return;
        }
    }
    CHECK_UNREACHABLE();
}

const char *sim_vm_on(const struct sim *s, const char *vm)
{
    const struct machine *m = runs_on(s, vm);

    return m == NULL ? "" : m->name;
}
