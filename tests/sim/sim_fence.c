/* In the place of fence/exec_uv.c: what picket-fence and the device behind it do.  The child lives
 * on when its picketd is killed, and ends with its machine. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fence/exec_uv.h"
#include "tests/sim/sim_priv.h"

#define READ_BACK_MS 1200U /* two readings at least a second apart */
#define RETRY_MS 500U

struct simdev {
    char name[48];
    char address[32];
    unsigned host; /* of a management card; MACHINES_MAX: a PDU */
    enum sim_device mode;
    unsigned latency_ms;
    unsigned asking; /* questions (not switching) under way */
    bool cut[MACHINES_MAX];
};

struct fence_exec {
    struct proc *p; /* the picketd that started it */
    uint64_t life;
    struct machine *m;
    uint64_t boot;
    struct fence_op op;
    struct simdev *dev;
    fence_exec_cb *cb;
    void *ctx;
    uint64_t until_us;
    bool sent, done, canceled;
};

const char *sim_device_name(enum sim_device m)
{
    static const char *const names[] = { [SIM_DEV_OK] = "works",
                                         [SIM_DEV_SILENT] = "is silent",
                                         [SIM_DEV_REFUSES] = "refuses",
                                         [SIM_DEV_LATE] = "switches late",
                                         [SIM_DEV_DEAF] = "does not switch",
                                         [SIM_DEV_LOST_ANSWER] = "loses answers",
                                         [SIM_DEV_LIES] = "lies",
                                         [SIM_DEV_WRONG] = "is wired wrongly" };

    return names[m];
}

/* --- the child ---------------------------------------------------------------------------------
 */

struct result {
    struct fence_exec *x;
    struct fence_answer ans;
};

static void on_result(void *arg, uint64_t n)
{
    struct result *r = arg;

    (void)n;
    r->x->cb(r->x->ctx, &r->ans);
    SIM_WORLD_BEGIN();
    free(r->x);
    free(r);
    SIM_WORLD_END();
}

static bool asks(const struct fence_exec *x)
{
    return x->op.action == FENCE_ACTION_PROBE || x->op.action == FENCE_ACTION_STATUS;
}

static void asked(const struct fence_exec *x)
{
    if (asks(x)) {
        x->dev->asking--;
    }
}

static void finish(struct fence_exec *x, enum fence_outcome o, enum fence_power power,
                   const char *why)
{
    struct result *r;

    if (x->done) {
        return;
    }
    x->done = true;
    asked(x);
    if (!x->p->alive || x->p->life != x->life) {
        free(x);
        return;
    }
    r = OBJ_NEW(struct result);
    r->x = x;
    r->ans.power = power;
    fence_answer_set(&r->ans, o, "%s", why);
    sim_post(x->p, 1000, on_result, r, 0);
}

static bool reachable(const struct fence_exec *x)
{
    return !x->dev->cut[x->m->i] && x->m->booted && !x->m->suspended;
}

/* The child's machine is gone, and it with it. */
static bool lost(struct fence_exec *x)
{
    if (x->m->booted && x->m->boots == x->boot && !x->canceled) {
        return false;
    }
    if (x->canceled) {
        finish(x, FENCE_UNKNOWN, FENCE_POWER_UNKNOWN, "picket-fence was ended");
    } else {
        asked(x);
        free(x);
    }
    return true;
}

static bool timed_out(const struct fence_exec *x)
{
    return sim_world->now >= x->until_us;
}

static void again(struct fence_exec *x, sim_fn *fn, uint64_t ms)
{
    sim_post(NULL, ms * 1000, fn, x, 0);
}

static bool target_is_on(const struct fence_exec *x)
{
    return sim_machine(sim_world, x->op.host)->powered;
}

static void switch_power(const struct fence_exec *x, bool on)
{
    struct sim *s = sim_world;
    struct machine *m = sim_machine(s, x->op.host);

    if (x->dev->mode == SIM_DEV_WRONG) {
        m = &s->machines[(m->i + 1) % s->opts.hosts];
    }
    if (m->powered && !on) {
        s->stats.power_offs++;
    }
    machine_power(m, on, x->dev->name);
}

static void on_read_back(void *arg, uint64_t n)
{
    struct fence_exec *x = arg;
    bool want_on = x->op.action == FENCE_ACTION_ON;
    bool claims = x->dev->mode == SIM_DEV_LIES || x->dev->mode == SIM_DEV_WRONG;

    (void)n;
    if (lost(x)) {
        return;
    }
    if (reachable(x) && x->dev->mode != SIM_DEV_SILENT && x->dev->mode != SIM_DEV_LOST_ANSWER &&
        (claims || target_is_on(x) == want_on)) {
        if (!want_on && target_is_on(x)) {
            sim_log(sim_world, "fault: %s lies: %s is on", x->dev->name, x->op.host);
            sim_machine(sim_world, x->op.host)->lied_about = true;
        }
        finish(x, FENCE_SUCCEEDED, want_on ? FENCE_POWER_ON : FENCE_POWER_OFF,
               want_on ? "read back on" : "read back off twice");
    } else if (timed_out(x)) {
        finish(x, FENCE_UNKNOWN, FENCE_POWER_UNKNOWN, "no proof within the time");
    } else {
        again(x, on_read_back, RETRY_MS);
    }
}

/* The device does it after its executor has given up; its machine may be gone then. */
struct late {
    char host[64];
    struct simdev *dev;
};

static void on_late(void *arg, uint64_t n)
{
    struct late *l = arg;

    (void)n;
    machine_power(sim_machine(sim_world, l->host), false, l->dev->name);
    free(l);
}

static void send_switch(struct fence_exec *x)
{
    enum sim_device mode = x->dev->mode;
    struct late *l;

    x->sent = true;
    if (mode == SIM_DEV_LATE && x->op.action == FENCE_ACTION_OFF) {
        l = OBJ_NEW(struct late);
        (void)str_copy(l->host, sizeof(l->host), x->op.host);
        l->dev = x->dev;
        sim_post(NULL, x->until_us - sim_world->now + 1000000 + sim_rand(8000000), on_late, l, 0);
    } else if (mode == SIM_DEV_OK || mode == SIM_DEV_LOST_ANSWER || mode == SIM_DEV_WRONG) {
        switch_power(x, x->op.action == FENCE_ACTION_ON);
    }
    again(x, on_read_back, READ_BACK_MS);
}

static void on_try(void *arg, uint64_t n)
{
    struct fence_exec *x = arg;
    bool switches = x->op.action == FENCE_ACTION_OFF || x->op.action == FENCE_ACTION_ON;

    (void)n;
    if (lost(x)) {
        return;
    }
    if (x->dev->mode == SIM_DEV_REFUSES && reachable(x)) {
        finish(x, FENCE_FAILED, FENCE_POWER_UNKNOWN, "the device refused");
    } else if (!reachable(x) || (x->dev->mode == SIM_DEV_SILENT && !switches)) {
        if (timed_out(x)) {
            finish(x, FENCE_FAILED, FENCE_POWER_UNKNOWN, "the device does not answer");
        } else {
            again(x, on_try, RETRY_MS);
        }
    } else if (!switches) {
        finish(x, FENCE_SUCCEEDED, target_is_on(x) ? FENCE_POWER_ON : FENCE_POWER_OFF, "answers");
    } else if (machine_ms(x->m) > x->op.deadline_boottime_ms) {
        finish(x, FENCE_FAILED, FENCE_POWER_UNKNOWN, "too late: nothing was sent");
    } else {
        send_switch(x);
    }
}

/* --- fence/exec_uv.h ---------------------------------------------------------------------------
 */

static struct simdev *find_dev(const char *address)
{
    struct sim *s = sim_world;

    for (size_t i = 0; address != NULL && i < s->n_devs; i++) {
        size_t len = strlen(s->devs[i].address);

        if (strncmp(address, s->devs[i].address, len) == 0 &&
            (address[len] == '\0' || address[len] == ':')) {
            return &s->devs[i];
        }
    }
    return NULL;
}

int fence_exec_start(uv_loop_t *loop, const char *path, const struct fence_op *op, uint64_t hard_ms,
                     fence_exec_cb *cb, void *ctx, struct fence_exec **ret, struct err *err)
{
    struct proc *p = loop->data;
    struct simdev *dev = find_dev(fence_op_get(op, "address"));
    struct fence_exec *x;

    (void)path;
    (void)hard_ms;
    if (dev == NULL || !sim_machine_exists(sim_world, op->host)) {
        return err_set(err, ERR_SYS, "the simulator has no device at %s for %s",
                       fence_op_get(op, "address"), op->host);
    }
    SIM_WORLD_BEGIN();
    x = OBJ_NEW(struct fence_exec);
    SIM_WORLD_END();
    *x = (struct fence_exec){ .p = p,
                              .life = p->life,
                              .m = p->m,
                              .boot = p->m->boots,
                              .op = *op,
                              .dev = dev,
                              .cb = cb,
                              .ctx = ctx };
    x->until_us = sim_world->now + machine_delay_us(p->m, op->timeout_ms);
    if (asks(x) && dev->asking++ > 0) {
        sim_world->stats.asked_twice++;
    }
    if (op->action != FENCE_ACTION_PROBE) {
        sim_log(sim_world, "%s: %s %s by %s", p->m->name, fence_action_name(op->action), op->host,
                dev->name);
    }
    again(x, on_try, 1 + dev->latency_ms / 2 + sim_rand(dev->latency_ms + 1));
    *ret = x;
    return 0;
}

void fence_exec_extend(struct fence_exec *x, uint64_t deadline_boottime_ms)
{
    x->op.deadline_boottime_ms = deadline_boottime_ms;
}

void fence_exec_cancel(struct fence_exec *x)
{
    x->canceled = true;
}

/* --- the devices -------------------------------------------------------------------------------
 */

static void dev_add(struct sim *s, const char *name, const char *address, unsigned host)
{
    struct simdev *d;

    s->devs = mem_realloc(s->devs, (s->n_devs + 1) * sizeof(*s->devs));
    d = &s->devs[s->n_devs++];
    *d = (struct simdev){ .host = host, .latency_ms = 200 };
    (void)str_copy(d->name, sizeof(d->name), name);
    (void)str_copy(d->address, sizeof(d->address), address);
}

void sim_devs_new(struct sim *s)
{
    dev_add(s, "pdu", "192.168.9.1", MACHINES_MAX);
    for (unsigned i = 0; i < s->opts.hosts; i++) {
        char name[48], address[32];

        (void)snprintf(name, sizeof(name), "%s-bmc", s->machines[i].name);
        (void)snprintf(address, sizeof(address), "192.168.9.%u", 10 + i);
        dev_add(s, name, address, i);
    }
}

void sim_devs_free(struct sim *s)
{
    free(s->devs);
}

static struct simdev *dev_named(struct sim *s, const char *name)
{
    for (size_t i = 0; i < s->n_devs; i++) {
        if (str_eq(s->devs[i].name, name)) {
            return &s->devs[i];
        }
    }
    return NULL;
}

bool sim_device_mode(struct sim *s, const char *device, enum sim_device mode)
{
    struct simdev *d = dev_named(s, device);

    if (d == NULL) {
        return false;
    }
    sim_log(s, "fault: %s %s", device, sim_device_name(mode));
    s->stats.faults++;
    d->mode = mode;
    return true;
}

void sim_device_cut(struct sim *s, const char *machine, const char *device, bool cut)
{
    struct simdev *d = dev_named(s, device);

    CHECK(d != NULL);
    sim_log(s, "fault: %s %s %s", machine, cut ? "does not reach" : "reaches", device);
    s->stats.faults++;
    d->cut[sim_machine(s, machine)->i] = cut;
}

void sim_devs_isolate(struct sim *s, const struct machine *m, bool cut)
{
    for (size_t i = 0; i < s->n_devs; i++) {
        s->devs[i].cut[m->i] = cut;
    }
}

void sim_devs_heal(struct sim *s)
{
    for (size_t i = 0; i < s->n_devs; i++) {
        memset(s->devs[i].cut, 0, sizeof(s->devs[i].cut));
    }
}

void sim_device_latency(struct sim *s, const char *device, unsigned ms)
{
    struct simdev *d = dev_named(s, device);

    CHECK(d != NULL);
    d->latency_ms = ms;
}

const char *sim_dev_name(const struct sim *s, size_t i)
{
    return s->devs[i].name;
}
