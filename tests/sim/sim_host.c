/* Machines: power, boots, processes and who starts them again. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cmd/picketd/node.h"
#include "reconciler/agent.h"
#include "reconciler/agent_priv.h"
#include "tests/sim/sim_priv.h"

#define RESTART_US 1000000U

static const char *kind_name(enum proc_kind k)
{
    static const char *const names[] = { [PROC_PICKETD] = "picketd",
                                         [PROC_AGENT] = "agent",
                                         [PROC_WATCHDOG] = "watchdog",
                                         [PROC_USER] = "user" };

    return names[k];
}

void machine_hurt(struct machine *m)
{
    m->hurt_us = sim_world->now + 1;
}

/* --- what runs in a process --------------------------------------------------------------------
 */

static char *everybody(const struct sim *s, unsigned port, unsigned first, bool names)
{
    struct buf b = { 0 };
    char address[64];

    for (unsigned k = 0; k < s->n_machines; k++) {
        const struct machine *m = &s->machines[(first + k) % s->n_machines];

        if (!m->is_voter) {
            continue;
        }
        machine_address(m, 0, port, address, sizeof(address));
        if (names) {
            buf_printf(&b, "%s%u=%s@%s", b.len > 0 ? "," : "", m->i + 1, m->name, address);
        } else {
            buf_printf(&b, "%s%s", b.len > 0 ? "," : "", address);
        }
    }
    return buf_take(&b, NULL);
}

static int run_picketd(struct proc *p, struct err *err)
{
    struct machine *m = p->m;
    const struct sim *s = m->s;
    struct node_opts o = { .name = mem_strdup(m->name),
                           .data = "/var/lib/picket",
                           .listen_peer = "0.0.0.0:7640",
                           .listen_api = "0.0.0.0:7443",
                           .cluster = s->cluster,
                           .fence_helper = "picket-fence",
                           .seal_key = "/etc/picket/seal.key",
                           .lab = true };

    o.bootstrap = everybody(s, PEER_PORT, 0, true);
    o.election_ms = (unsigned)(s->opts.host_timeout_ms / 10);
    o.election_ms = o.election_ms < 50 ? 50 : o.election_ms;
    o.heartbeat_ms = o.election_ms / 6;
    p->node = OBJ_NEW(struct node);
    return node_start(p->node, &o, p->loop, err);
}

/* The agent found that this boot can never be part of the cluster again. */
struct reset_note {
    struct machine *m;
    uint64_t boot;
    char why[200];
};

static void on_reset_now(void *arg, uint64_t n)
{
    struct reset_note *r = arg;

    (void)n;
    if (r->m->booted && r->m->boots == r->boot) {
        machine_reset(r->m, r->why);
    }
    free(r);
}

static void on_reset(void *ctx, const char *why)
{
    struct proc *p = ctx;
    struct reset_note *r;

    SIM_WORLD_BEGIN();
    r = OBJ_NEW(struct reset_note);
    r->m = p->m;
    r->boot = p->m->boots;
    (void)snprintf(r->why, sizeof(r->why), "its agent: %s", why);
    sim_post(NULL, 1000, on_reset_now, r, 0);
    SIM_WORLD_END();
}

static int run_agent(struct proc *p, struct err *err)
{
    struct machine *m = p->m;
    const struct sim *s = m->s;
    char *list[MACHINES_MAX];
    struct agent_opts o = { .name = m->name,
                            .data = "/var/lib/picket/agent",
                            .endpoints = (const char *const *)list,
                            .watchdog = s->opts.watchdog ? "/run/picket/watchdog.sock" : NULL,
                            .boot_id = m->boot_id,
                            .hardware_id = m->hardware_id,
                            .watchdog_timeout_ms = s->opts.watchdog_ms,
                            .on_reset = on_reset,
                            .ctx = p };

    for (unsigned k = 0; k < s->n_machines; k++) {
        const struct machine *v = &s->machines[(m->i + k) % s->n_machines];

        if (v->is_voter) {
            list[o.n_endpoints] = mem_alloc(64);
            machine_address(v, 0, API_PORT, list[o.n_endpoints++], 64);
        }
    }
    guest_shell_init(p);
    return agent_start(p->loop, &o, &p->shell, &p->agent, err);
}

static void on_begin(void *arg, uint64_t n)
{
    struct proc *p = arg;
    struct err err;
    int rc = 0;

    (void)n;
    switch (p->kind) {
    case PROC_PICKETD:
        rc = run_picketd(p, &err);
        break;
    case PROC_AGENT:
        rc = run_agent(p, &err);
        break;
    case PROC_WATCHDOG:
        dog_start(p);
        break;
    case PROC_USER:
        break;
    }
    if (rc != 0) {
        p->dying = true;
        (void)snprintf(p->why, sizeof(p->why), "did not start: %.250s", err.msg);
    }
}

/* --- processes ---------------------------------------------------------------------------------
 */

void proc_start(struct proc *p)
{
    struct machine *m = p->m;

    if (p->alive || !m->booted) {
        return;
    }
    p->alive = true;
    p->paused = p->dying = false;
    p->life = ++m->s->next_life;
    p->started_us = m->s->now;
    if (p->kind != PROC_USER && m->s->now > m->booted_us) {
        sim_log(m->s, "%s: %s starts", m->name, kind_name(p->kind));
    }
    p->heap = sim_heap_new();
    p->node = NULL;
    p->agent = NULL;
    p->rep = NULL;
    p->n_deferred = 0;
    (void)sim_enter(p);
    p->loop = sim_loop_new();
    sim_leave(NULL);
    sim_post(p, 0, on_begin, p, 0);
}

/* Is it one of those that run here?  Then it does now. */
void proc_expected(struct proc *p)
{
    const struct machine *m = p->m;
    bool wanted = p->kind == PROC_PICKETD ? m->is_voter
                  : p->kind == PROC_AGENT ? m->is_host
                                          : m->is_host && m->s->opts.watchdog;

    if (wanted && m->booted) {
        proc_start(p);
    }
}

static void on_restart(void *arg, uint64_t boot)
{
    struct proc *p = arg;

    if (p->m->booted && p->m->boots == boot && !p->alive && !p->stay) {
        proc_start(p);
    }
}

/* The process is no more; called in the world's context. */
void proc_end(struct proc *p, bool power, const char *why)
{
    struct machine *m = p->m;
    struct sim *s = m->s;

    if (!p->alive) {
        return;
    }
    CHECK(s->cur == NULL);
    if (!power) {
        sim_log(s, "%s: %s ends: %s", m->name, kind_name(p->kind), why);
    }
    machine_hurt(m);
    sim_net_proc_died(p);
    simfs_proc_died(p);
    if (p->kind == PROC_PICKETD) {
        sim_rep_died(p, power);
    } else if (p->kind == PROC_AGENT) {
        if (!power) {
            guest_agent_died(p);
        }
    } else {
        dog_died(p);
    }
    p->alive = p->dying = p->paused = false;
    p->life = ++s->next_life;
    p->n_deferred = 0;
    p->node = NULL;
    p->agent = NULL;
    sim_heap_drop(p->heap);
    if (!power && m->booted && !p->stay && !s->opts.no_restart) {
        sim_post(NULL, RESTART_US, on_restart, p, m->boots);
    }
}

/* --- power -------------------------------------------------------------------------------------
 */

static void machine_dies(struct machine *m)
{
    for (unsigned i = 0; i < PROCS; i++) {
        m->procs[i].stay = false;
        proc_end(&m->procs[i], true, "no power");
    }
    sim_net_machine_died(m);
    dog_power_off(m);
    guest_power_off(m);
    simfs_power_off(m);
    for (unsigned i = 0; m->drv != NULL && i < ARRAY_LEN(m->procs[PROC_AGENT].shadows); i++) {
        free(m->procs[PROC_AGENT].shadows[i]);
        m->procs[PROC_AGENT].shadows[i] = NULL;
    }
    m->booted = m->suspended = false;
    m->boot_gen++;
}

static void on_booted(void *arg, uint64_t gen)
{
    struct machine *m = arg;
    struct sim *s = m->s;
    struct prng r;

    if (!m->powered || m->booted || m->boot_gen != gen) {
        return;
    }
    m->booted = true;
    m->lied_about = false;
    m->booted_us = s->now;
    m->boots++;
    r = machine_prng(m, 2, m->boots);
    m->clk_us = prng_below(&r, 5000000);
    m->clk_world_us = s->now;
    (void)snprintf(m->boot_id, sizeof(m->boot_id), "%s-boot-%" PRIu64, m->name, m->boots);
    machine_hurt(m);
    sim_log(s, "%s: booted (%s)", m->name, m->boot_id);
    if (m->is_host && s->opts.watchdog) {
        proc_start(&m->procs[PROC_WATCHDOG]);
    }
    if (m->is_voter) {
        proc_start(&m->procs[PROC_PICKETD]);
    }
    if (m->is_host) {
        proc_start(&m->procs[PROC_AGENT]);
    }
}

struct prng machine_prng(const struct machine *m, uint64_t what, uint64_t times)
{
    struct prng r;

    prng_init(&r, m->s->opts.seed * 1000003 + what * 10007 + m->i * 101 + times);
    return r;
}

static void begin_boot(struct machine *m)
{
    struct prng r = machine_prng(m, 1, m->boots);
    uint64_t ms = m->s->opts.boot_ms;

    sim_post(NULL, (ms / 2 + prng_below(&r, ms + 1)) * 1000, on_booted, m, ++m->boot_gen);
}

void machine_power(struct machine *m, bool on, const char *why)
{
    struct sim *s = m->s;

    if (m->powered == on) {
        return;
    }
    sim_log(s, "%s: power %s by %s", m->name, on ? "on" : "off", why);
    machine_hurt(m);
    m->powered = on;
    if (on) {
        begin_boot(m);
    } else {
        machine_dies(m);
    }
}

void machine_reset(struct machine *m, const char *why)
{
    sim_log(m->s, "%s: reset: %s", m->name, why);
    machine_hurt(m);
    machine_dies(m);
    if (!m->s->opts.no_restart) {
        begin_boot(m);
    }
}

void machine_new(struct sim *s, unsigned i, const char *name, bool host, bool voter)
{
    struct machine *m = &s->machines[i];

    m->s = s;
    m->i = i;
    (void)str_copy(m->name, sizeof(m->name), name);
    (void)snprintf(m->hardware_id, sizeof(m->hardware_id), "hardware-%s", name);
    m->is_host = host;
    m->is_voter = voter;
    m->rate = 1.0;
    m->prng = machine_prng(m, 0, 0);
    if (s->opts.skew_ppm != 0) {
        m->rate =
            1.0 +
            ((double)prng_below(&m->prng, 2ULL * s->opts.skew_ppm + 1) - s->opts.skew_ppm) * 1e-6;
    }
    m->wall_off_ms = (int64_t)prng_below(&m->prng, 40) - 20;
    for (unsigned k = 0; k < PROCS; k++) {
        m->procs[k].m = m;
        m->procs[k].kind = (enum proc_kind)k;
    }
    m->disk = simdisk_new(m);
    simfs_put(m, "/etc/picket/seal.key",
              "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    if (host) {
        guest_machine_new(m);
    }
}

void machine_free(struct machine *m)
{
    for (unsigned i = 0; i < PROCS; i++) {
        proc_end(&m->procs[i], true, "the end");
        free(m->procs[i].deferred);
    }
    guest_machine_free(m);
    simdisk_free(m->disk);
    simfs_free(m);
}

/* --- faults ------------------------------------------------------------------------------------
 */

static struct proc *proc_of(struct sim *s, const char *machine, enum sim_proc p)
{
    return &sim_machine(s, machine)->procs[p];
}

void sim_power_off(struct sim *s, const char *machine)
{
    s->stats.faults++;
    machine_power(sim_machine(s, machine), false, "a fault");
}

void sim_power_on(struct sim *s, const char *machine)
{
    machine_power(sim_machine(s, machine), true, "the operator");
}

void sim_reset(struct sim *s, const char *machine)
{
    struct machine *m = sim_machine(s, machine);

    s->stats.faults++;
    if (m->powered) {
        machine_reset(m, "a fault");
    }
}

void sim_suspend(struct sim *s, const char *machine)
{
    struct machine *m = sim_machine(s, machine);

    if (m->booted && !m->suspended) {
        sim_log(s, "fault: %s stands still", machine);
        s->stats.faults++;
        machine_hurt(m);
        m->suspended = true;
    }
}

void sim_resume(struct sim *s, const char *machine)
{
    struct machine *m = sim_machine(s, machine);

    if (m->suspended) {
        sim_log(s, "fault: %s goes on", machine);
        machine_hurt(m);
        m->suspended = false;
        for (unsigned i = 0; i < PROCS; i++) {
            if (!m->procs[i].paused) {
                proc_run_deferred(&m->procs[i]);
            }
        }
    }
}

void sim_wall_step(struct sim *s, const char *machine, int64_t ms)
{
    sim_log(s, "fault: %s: the wall clock steps by %" PRId64 " ms", machine, ms);
    s->stats.faults++;
    sim_machine(s, machine)->wall_off_ms += ms;
}

void sim_clock_rate(struct sim *s, const char *machine, int ppm)
{
    sim_log(s, "fault: %s: the clock runs %d ppm too fast", machine, ppm);
    s->stats.faults++;
    machine_clock_set(sim_machine(s, machine), 1.0 + ppm * 1e-6);
}

void sim_kill(struct sim *s, const char *machine, enum sim_proc p, bool stay)
{
    struct proc *pr = proc_of(s, machine, p);

    s->stats.faults++;
    if (pr->alive) {
        pr->stay = stay;
        proc_end(pr, false, "killed");
    }
}

void sim_start(struct sim *s, const char *machine, enum sim_proc p)
{
    struct proc *pr = proc_of(s, machine, p);

    pr->stay = false;
    if (pr->m->booted && !pr->alive) {
        proc_expected(pr);
    }
}

void sim_pause(struct sim *s, const char *machine, enum sim_proc p)
{
    struct proc *pr = proc_of(s, machine, p);

    if (pr->alive && !pr->paused) {
        sim_log(s, "fault: %s: %s is stopped", machine, kind_name(pr->kind));
        s->stats.faults++;
        machine_hurt(pr->m);
        pr->paused = true;
    }
}

void sim_unpause(struct sim *s, const char *machine, enum sim_proc p)
{
    struct proc *pr = proc_of(s, machine, p);

    if (pr->alive && pr->paused) {
        sim_log(s, "fault: %s: %s goes on", machine, kind_name(pr->kind));
        machine_hurt(pr->m);
        pr->paused = false;
        if (!pr->m->suspended) {
            proc_run_deferred(pr);
        }
    }
}

bool sim_running(const struct sim *s, const char *machine, enum sim_proc p)
{
    return sim_machine(s, machine)->procs[p].alive;
}

bool sim_is_on(const struct sim *s, const char *machine)
{
    return sim_machine(s, machine)->powered;
}
