/* picket-watchdog's process around the real state machine (fence/wdog.c), the agent's end of its
 * socket in the place of fence/wdog_client.c, and the hardware below, which resets the machine. */

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fence/wdog_client.h"
#include "tests/sim/sim_priv.h"

/* --- the hardware ------------------------------------------------------------------------------
 */

static void on_bite(void *arg, uint64_t gen)
{
    struct machine *m = arg;
    struct dog *d = &m->dog;

    if (d->gen != gen || !d->running || !m->booted) {
        return;
    }
    sim_world->stats.wd_resets++;
    machine_reset(m, "its watchdog was not fed");
}

static void device_feed(struct machine *m)
{
    struct dog *d = &m->dog;

    d->fed_us = sim_world->now;
    sim_post(NULL, (uint64_t)d->timeout_ms * 1000, on_bite, m, ++d->gen);
}

static void device_arm(struct machine *m, uint32_t timeout_ms)
{
    m->dog.running = true;
    m->dog.timeout_ms = timeout_ms;
    device_feed(m);
}

void dog_power_off(struct machine *m)
{
    m->dog.running = false;
    m->dog.gen++;
    m->dog.has_saved = false;
}

/* --- the process -------------------------------------------------------------------------------
 */

static void save(struct machine *m)
{
    wdog_core_save(&m->dog.core, m->boot_id, &m->dog.saved);
    m->dog.has_saved = true;
}

static void on_step(void *arg, uint64_t gen);

static void carry_out(struct machine *m, const struct wdog_todo *todo)
{
    struct dog *d = &m->dog;

    if (todo->save) {
        save(m);
    }
    if (todo->disarm) {
        d->running = d->running && d->core.nowayout;
        sim_log(m->s, "%s: the watchdog is disarmed", m->name);
    }
    if (todo->feed && d->running) {
        device_feed(m);
    }
    if (todo->expired) {
        sim_log(m->s, "%s: the lease has ended, the watchdog is not fed any more", m->name);
    }
}

static void plan_step(struct machine *m, const struct wdog_todo *todo)
{
    uint64_t now = machine_ms(m);

    if (todo->next_ms != 0) {
        sim_post(&m->procs[PROC_WATCHDOG],
                 machine_delay_us(m, todo->next_ms > now ? todo->next_ms - now : 0), on_step, m,
                 ++m->dog.step_gen);
    }
}

static void step(struct machine *m)
{
    struct wdog_todo todo = { 0 };

    wdog_core_step(&m->dog.core, machine_ms(m), &todo);
    carry_out(m, &todo);
    plan_step(m, &todo);
}

static void on_step(void *arg, uint64_t gen)
{
    struct machine *m = arg;

    if (m->dog.step_gen == gen) {
        step(m);
    }
}

void dog_start(struct proc *p)
{
    struct machine *m = p->m;
    struct dog *d = &m->dog;
    uint64_t now = machine_ms(m);

    wdog_core_init(&d->core, now);
    d->connection = 0;
    d->n_replies = 0;
    if (d->has_saved && wdog_core_load(&d->core, &d->saved, sizeof(d->saved), m->boot_id, now) &&
        (d->core.held || (d->core.armed && now < d->core.deadline_ms))) {
        device_arm(m, d->core.timeout_ms);
    }
    step(m);
}

void dog_died(struct proc *p)
{
    p->m->dog.connection = 0;
    p->m->dog.step_gen++;
}

static enum wdog_code arm(struct machine *m, const struct wdog_request *rq, struct wdog_todo *todo)
{
    struct dog *d = &m->dog;
    uint32_t w = m->s->opts.watchdog_ms;

    if (!m->s->opts.watchdog) {
        return WDOG_ERR_DEVICE;
    }
    device_arm(m, todo->want_timeout_ms > w ? todo->want_timeout_ms : w);
    wdog_core_armed(&d->core, rq, WDOG_KIND_HARDWARE, true, d->timeout_ms, machine_ms(m), todo);
    sim_log(m->s, "%s: the watchdog is armed, W %u ms", m->name, d->timeout_ms);
    return WDOG_OK;
}

static void answer(struct machine *m, const struct wdog_request *in, struct wdog_reply *ret)
{
    struct dog *d = &m->dog;
    struct wdog_request rq;
    struct wdog_todo todo = { 0 };
    enum wdog_code code = wdog_request_check(in, sizeof(*in), &rq);

    if (code == WDOG_OK) {
        code = wdog_core_request(&d->core, &rq, machine_ms(m), &todo);
    }
    if (code == WDOG_OK && todo.arm) {
        code = arm(m, &rq, &todo);
    }
    carry_out(m, &todo);
    plan_step(m, &todo);
    *ret = (struct wdog_reply){
        .magic = WDOG_MAGIC, .version = WDOG_VERSION, .code = (uint16_t)code, .seq = rq.seq
    };
    wdog_core_status(&d->core, &ret->status);
}

/* --- the client --------------------------------------------------------------------------------
 */

static struct machine *here(void)
{
    return sim_world->cur->m;
}

int wdog_client_open(struct wdog_client *c, const char *path, struct err *err)
{
    struct machine *m = here();

    c->fd = -1;
    if (!m->procs[PROC_WATCHDOG].alive) {
        return err_set(err, ERR_UNREACHABLE, "picket-watchdog at %s", path);
    }
    c->fd = (int)(m->procs[PROC_WATCHDOG].life & 0x7fffffff);
    m->dog.connection = (uint64_t)c->fd;
    m->dog.n_replies = 0;
    return 0;
}

void wdog_client_close(struct wdog_client *c)
{
    c->fd = -1;
}

void wdog_client_prepare(struct wdog_client *c, struct wdog_request *rq, enum wdog_op op)
{
    *rq = (struct wdog_request){ 0 };
    rq->magic = WDOG_MAGIC;
    rq->version = WDOG_VERSION;
    rq->op = (uint16_t)op;
    rq->seq = ++c->seq;
}

static int gone(struct wdog_client *c, struct err *err)
{
    wdog_client_close(c);
    return err_set(err, ERR_UNREACHABLE, "picket-watchdog is gone");
}

struct asked {
    struct wdog_request rq;
};

/* In the watchdog's context. */
static void on_request(void *arg, uint64_t connection)
{
    struct asked *a = arg;
    struct machine *m = here();
    struct dog *d = &m->dog;
    struct wdog_reply reply;

    answer(m, &a->rq, &reply);
    if (d->connection == connection && d->n_replies < ARRAY_LEN(d->replies)) {
        d->replies[d->n_replies++] = reply;
    }
    free(a);
}

int wdog_client_send(struct wdog_client *c, const struct wdog_request *rq, struct err *err)
{
    struct machine *m = here();
    struct asked *a;

    if (c->fd < 0 || !m->procs[PROC_WATCHDOG].alive || m->dog.connection != (uint64_t)c->fd) {
        return gone(c, err);
    }
    SIM_WORLD_BEGIN();
    a = OBJ_NEW(struct asked);
    a->rq = *rq;
    sim_post(&m->procs[PROC_WATCHDOG], 20 + sim_rand(200), on_request, a, (uint64_t)c->fd);
    SIM_WORLD_END();
    return 0;
}

int wdog_client_recv(struct wdog_client *c, struct wdog_reply *ret, struct err *err)
{
    struct dog *d = &here()->dog;

    if (c->fd < 0 || d->connection != (uint64_t)c->fd) {
        return gone(c, err);
    }
    if (d->n_replies == 0) {
        return err_set(err, ERR_TIMEOUT, "no reply of picket-watchdog yet");
    }
    *ret = d->replies[0];
    memmove(&d->replies[0], &d->replies[1], --d->n_replies * sizeof(d->replies[0]));
    return 0;
}
