/* Random worlds: for each seed another cluster, another mix of faults at another rate (swarm
 * testing), then calm, and progress is demanded. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tests/sim/sim_priv.h"

enum fault {
    F_POWER,
    F_RESET,
    F_KILL,
    F_PAUSE,
    F_CUT,
    F_CUT_ONE_WAY,
    F_ISOLATE,
    F_DEVICE,
    F_DEVICE_CUT,
    F_GUEST,
    F_SUSPEND,
    F_WALL,
    F_RATE,
    F_DISK_SLOW,
    F_DISK_FULL,
    F_LATENCY,
    F_JOB,
    F_VOLUME,
    F_SAN,
    F_USER,
    F_COUNT,
};

struct swarm {
    struct sim *s;
    unsigned vms;
    bool enabled[F_COUNT];
    uint64_t mean_ms; /* between faults */
    unsigned trigger; /* per mille of the cluster's own events that bring a fault at once */
    bool injecting;
    uint64_t storms;
    bool calm;
    bool touched[SIM_HOSTS_MAX]; /* hosts whose object the user changed */
    char *yaml;
};

static struct swarm *swarm; /* one world a process */

/* --- repairs: every fault ends by itself -------------------------------------------------------
 */

struct repair {
    enum fault f;
    unsigned a, b, k;
    int link;
    char name[64];
};

static const char *name_of(unsigned i)
{
    return sim_machine_name(swarm->s, i);
}

/* A host reaches no volume at all, or all of them again. */
static void san(unsigned host, bool cut)
{
    for (unsigned k = 1; k <= swarm->vms; k++) {
        char volume[64];

        (void)snprintf(volume, sizeof(volume), "vg%u/lv%u", k, k);
        sim_volume_cut(swarm->s, name_of(host), volume, cut);
    }
    if (sim_options(swarm->s)->slot) {
        sim_volume_cut(swarm->s, name_of(host), SIM_SLOT_VOLUME, cut);
    }
}

static void on_repair(void *arg, uint64_t n)
{
    struct repair *r = arg;
    struct sim *s = swarm->s;

    (void)n;
    switch (swarm->calm ? F_COUNT : r->f) {
    case F_POWER:
        sim_power_on(s, name_of(r->a));
        break;
    case F_PAUSE:
        sim_unpause(s, name_of(r->a), (enum sim_proc)r->k);
        break;
    case F_KILL:
        sim_start(s, name_of(r->a), (enum sim_proc)r->k);
        break;
    case F_CUT:
        sim_cut_both(s, name_of(r->a), name_of(r->b), r->link, false);
        break;
    case F_CUT_ONE_WAY:
        sim_cut(s, name_of(r->a), name_of(r->b), r->link, false);
        break;
    case F_ISOLATE:
        sim_isolate(s, name_of(r->a), false);
        break;
    case F_DEVICE:
        (void)sim_device_mode(s, r->name, SIM_DEV_OK);
        break;
    case F_DEVICE_CUT:
        sim_device_cut(s, name_of(r->a), r->name, false);
        break;
    case F_SUSPEND:
        sim_resume(s, name_of(r->a));
        break;
    case F_DISK_SLOW:
        sim_disk_slow(s, name_of(r->a), 2);
        break;
    case F_DISK_FULL:
        sim_disk_full(s, name_of(r->a), false);
        break;
    case F_LATENCY:
        sim_latency(s, 100, 700);
        break;
    case F_VOLUME:
        sim_volume_cut(s, name_of(r->a), r->name, false);
        break;
    case F_SAN:
        san(r->a, false);
        break;
    case F_RESET:
    case F_GUEST:
    case F_WALL:
    case F_RATE:
    case F_JOB:
    case F_USER:
    case F_COUNT:
        break;
    }
    free(r);
}

static void repair_in(uint64_t least_ms, uint64_t most_ms, const struct repair *what)
{
    struct repair *r = mem_dup(what, sizeof(*what));

    sim_post(NULL, (least_ms + sim_rand(most_ms - least_ms + 1)) * 1000, on_repair, r, 0);
}

/* --- faults ------------------------------------------------------------------------------------
 */

static unsigned any_machine(void)
{
    return (unsigned)sim_rand(swarm->s->n_machines);
}

static unsigned any_host(void)
{
    return (unsigned)sim_rand(swarm->s->opts.hosts);
}

static void any_vm(char *dst, size_t size)
{
    (void)snprintf(dst, size, "vm%u", 1 + (unsigned)sim_rand(swarm->vms));
}

static void fault_process(enum fault f)
{
    struct repair r = { .f = f, .a = any_machine(), .k = (unsigned)sim_rand(3) };
    struct sim *s = swarm->s;
    bool stay = sim_rand(4) == 0;

    if (f == F_KILL) {
        sim_kill(s, name_of(r.a), (enum sim_proc)r.k, stay);
        if (stay) {
            repair_in(1000, 20000, &r);
        }
    } else {
        sim_pause(s, name_of(r.a), (enum sim_proc)r.k);
        repair_in(100, sim_rand(3) == 0 ? 30000 : 4000, &r);
    }
}

static void fault_network(enum fault f)
{
    struct repair r = { .f = f, .a = any_machine(), .b = any_machine() };
    struct sim *s = swarm->s;

    r.link = sim_rand(3) == 0 ? (int)sim_rand(s->opts.links) : SIM_ALL_LINKS;
    if (f == F_ISOLATE) {
        sim_isolate(s, name_of(r.a), true);
    } else if (r.a == r.b) {
        return;
    } else if (f == F_CUT) {
        sim_cut_both(s, name_of(r.a), name_of(r.b), r.link, true);
    } else {
        sim_cut(s, name_of(r.a), name_of(r.b), r.link, true);
    }
    repair_in(200, 30000, &r);
}

static void fault_device(enum fault f)
{
    static const enum sim_device modes[] = { SIM_DEV_SILENT, SIM_DEV_REFUSES,     SIM_DEV_LATE,
                                             SIM_DEV_DEAF,   SIM_DEV_LOST_ANSWER, SIM_DEV_LIES,
                                             SIM_DEV_WRONG };
    struct repair r = { .f = f, .a = any_machine() };
    struct sim *s = swarm->s;

    if (sim_rand(2) == 0) {
        (void)snprintf(r.name, sizeof(r.name), "pdu");
    } else {
        (void)snprintf(r.name, sizeof(r.name), "%s-bmc", name_of(any_host()));
    }
    if (f == F_DEVICE) {
        (void)sim_device_mode(s, r.name,
                              modes[sim_rand(ARRAY_LEN(modes) - (s->opts.lies ? 0 : 2))]);
    } else {
        sim_device_cut(s, name_of(r.a), r.name, true);
    }
    repair_in(2000, 60000, &r);
}

static void fault_disk(enum fault f)
{
    struct repair r = { .f = f, .a = any_machine() };
    struct sim *s = swarm->s;

    if (f == F_DISK_SLOW) {
        sim_disk_slow(s, name_of(r.a), 5 + (unsigned)sim_rand(150));
    } else {
        sim_disk_full(s, name_of(r.a), true);
    }
    repair_in(1000, 20000, &r);
}

static void fault_guest(enum fault f)
{
    static const char *const ops[] = { "start",           "destroy",           "shutdown",
                                       "activate-volume", "deactivate-volume", "migrate-suspend",
                                       "migrate-receive", "migrate-resume",    "unpause" };
    struct repair r = { .f = f, .a = any_host() };
    struct sim *s = swarm->s;
    char vm[32];

    any_vm(vm, sizeof(vm));
    if (f == F_SAN) {
        san(r.a, true);
        repair_in(1000, 60000, &r);
    } else if (f == F_GUEST) {
        (void)sim_guest(s, vm, (enum sim_guest_event)sim_rand(3));
    } else if (f == F_JOB) {
        const char *op = ops[sim_rand(ARRAY_LEN(ops))];

        if (sim_job_exists(op)) {
            sim_job_fault(s, name_of(r.a), op, (enum sim_job_fault)sim_rand(4),
                          1 + (unsigned)sim_rand(3));
        }
    } else {
        unsigned k = 1 + (unsigned)sim_rand(swarm->vms);

        (void)snprintf(r.name, sizeof(r.name), "vg%u/lv%u", k, k);
        sim_volume_cut(s, name_of(r.a), r.name, true);
        repair_in(1000, 30000, &r);
    }
}

static void fault_machine(enum fault f)
{
    struct repair r = { .f = f, .a = any_machine() };
    struct sim *s = swarm->s;
    const char *m = name_of(r.a);

    if (f == F_POWER) {
        sim_power_off(s, m);
        repair_in(1000, 90000, &r);
    } else if (f == F_RESET) {
        sim_reset(s, m);
    } else if (f == F_SUSPEND) {
        sim_suspend(s, m);
        repair_in(100, sim_rand(2) == 0 ? 3000 : 25000, &r);
    } else if (f == F_WALL) {
        sim_wall_step(s, m, (int64_t)sim_rand(7200000) - 3600000);
    } else {
        sim_clock_rate(s, m, (int)sim_rand(601) - 300);
    }
}

static void inject(enum fault f)
{
    switch (f) {
    case F_POWER:
    case F_RESET:
    case F_SUSPEND:
    case F_WALL:
    case F_RATE:
        fault_machine(f);
        return;
    case F_KILL:
    case F_PAUSE:
        fault_process(f);
        return;
    case F_CUT:
    case F_CUT_ONE_WAY:
    case F_ISOLATE:
        fault_network(f);
        return;
    case F_DEVICE:
    case F_DEVICE_CUT:
        fault_device(f);
        return;
    case F_DISK_SLOW:
    case F_DISK_FULL:
        fault_disk(f);
        return;
    case F_GUEST:
    case F_JOB:
    case F_VOLUME:
    case F_SAN:
        fault_guest(f);
        return;
    case F_LATENCY: {
        struct repair r = { .f = f };

        sim_latency(swarm->s, 500, 2000 + (unsigned)sim_rand(60000));
        repair_in(1000, 20000, &r);
        return;
    }
    case F_USER: /* between the runs of the scheduler: see user_acts */
    case F_COUNT:
        return;
    }
}

static void one_fault(void)
{
    enum fault f = (enum fault)sim_rand(F_COUNT);

    if (!swarm->calm && swarm->enabled[f]) {
        swarm->injecting = true;
        inject(f);
        swarm->injecting = false;
    }
}

static void on_trigger(void *arg, uint64_t n)
{
    (void)arg;
    (void)n;
    one_fault();
}

/* Things go wrong where it hurts most: right when the cluster does something. */
static void on_line(void *ctx, uint64_t ms, const char *line)
{
    bool own = str_starts(line, "cluster: ") || strstr(line, " runs (") != NULL ||
               strstr(line, ": off ") != NULL || strstr(line, ": power off") != NULL;

    (void)ctx;
    (void)ms;
    if (own && !swarm->calm && !swarm->injecting && sim_rand(1000) < swarm->trigger) {
        sim_post(NULL, sim_rand(3) == 0 ? sim_rand(3000000) : sim_rand(20000), on_trigger, NULL, 0);
    }
}

static void on_fault(void *arg, uint64_t n)
{
    (void)arg;
    if (swarm->calm || n != swarm->storms) {
        return;
    }
    one_fault();
    sim_post(NULL, (1 + sim_rand(2 * swarm->mean_ms)) * 1000, on_fault, NULL, n);
}

/* What a fence device switched off stays off until somebody comes. */
static void on_round(void *arg, uint64_t n)
{
    struct sim *s = swarm->s;

    (void)arg;
    if (n != swarm->storms) {
        return;
    }
    for (unsigned i = 0; i < s->n_machines; i++) {
        if (!s->machines[i].powered && sim_rand(2) == 0) {
            sim_power_on(s, name_of(i));
        }
    }
    if (!swarm->calm) {
        sim_post(NULL, (10000 + sim_rand(50000)) * 1000, on_round, NULL, n);
    }
}

/* --- the user ----------------------------------------------------------------------------------
 */

static void user_asks(const char *method, const char *target, json_t *body, const char *what)
{
    const char *type =
        str_eq(method, "PATCH") ? "application/merge-patch+json" : "application/json";
    struct err err;

    sim_log(swarm->s, "user: %s", what);
    if (sim_request_as(swarm->s, method, target, type, body, 10000, NULL, &err) != 0) {
        sim_log(swarm->s, "user: %s: %s", what, err.msg);
    }
    json_decref(body);
}

static void user_runs(const char *vm)
{
    static const char *const policies[] = { "Running", "Running", "Stopped" };
    const char *policy = policies[sim_rand(ARRAY_LEN(policies))];
    char target[96], what[96];

    (void)snprintf(target, sizeof(target), "/apis/picket/v1/virtualmachines/%s", vm);
    (void)snprintf(what, sizeof(what), "%s runPolicy %s", vm, policy);
    user_asks("PATCH", target, json_pack("{s:{s:s}}", "spec", "runPolicy", policy), what);
}

/* Maintenance (which drains it) or no new guests; and back. */
static void user_host(unsigned host, const char *field, bool on)
{
    char target[96], what[96];

    swarm->touched[host] = true;
    (void)snprintf(target, sizeof(target), "/apis/picket/v1/hosts/%s", name_of(host));
    (void)snprintf(what, sizeof(what), "%s %s %s", name_of(host), field, on ? "on" : "off");
    user_asks("PATCH", target, json_pack("{s:{s:b}}", "spec", field, on), what);
}

static void user_migrates(const char *vm)
{
    static const char *const modes[] = { "Live", "Cold" };
    const char *mode = modes[sim_rand(2)], *to = name_of(any_host());
    char name[64], what[128];

    (void)snprintf(name, sizeof(name), "m-%s-%" PRIu64, vm, sim_time(swarm->s));
    (void)snprintf(what, sizeof(what), "migrate %s to %s, %s", vm, to, mode);
    user_asks("POST", "/apis/picket/v1/migrations",
              json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:s, s:s}}", "apiVersion", "picket/v1", "kind",
                        "Migration", "metadata", "name", name, "spec", "vm", vm, "target", to,
                        "mode", mode),
              what);
}

static void user_fences(unsigned host)
{
    char target[96], what[64];

    (void)snprintf(target, sizeof(target), "/apis/picket/v1/hosts/%s/fence", name_of(host));
    (void)snprintf(what, sizeof(what), "fence %s", name_of(host));
    user_asks("POST", target, json_pack("{s:s}", "reason", "a user's whim"), what);
}

static void user_acts(struct sim *s)
{
    char vm[32];

    any_vm(vm, sizeof(vm));
    switch (sim_rand(8)) {
    case 0:
    case 1:
        user_host(any_host(), "maintenance", sim_rand(2) == 0);
        return;
    case 2:
        user_host(any_host(), "unschedulable", sim_rand(2) == 0);
        return;
    case 3:
    case 4:
        user_migrates(vm);
        return;
    case 5: /* one that nobody or only its watchdog could end stays until somebody comes */
        if (s->opts.fencing != SIM_FENCE_WATCHDOG && s->opts.hosts > 1) {
            user_fences(any_host());
        }
        return;
    default:
        user_runs(vm);
        return;
    }
}

/* Everything as it was declared. */
static void user_mends(void)
{
    for (unsigned i = 0; i < swarm->s->opts.hosts; i++) {
        if (swarm->touched[i]) {
            user_host(i, "maintenance", false);
            user_host(i, "unschedulable", false);
            swarm->touched[i] = false;
        }
    }
}

/* --- a seed ------------------------------------------------------------------------------------
 */

static void choose(uint64_t seed, struct sim_opts *o, struct prng *r)
{
    static const unsigned timings[][2] = {
        { 500, 3000 }, { 500, 3000 }, { 250, 1500 }, { 1000, 6000 }
    };
    static const unsigned sizes[] = { 1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7, 9, 12, 16 };
    size_t t = prng_below(r, ARRAY_LEN(timings));

    *o = (struct sim_opts){ .seed = seed,
                            .hosts = sizes[prng_below(r, ARRAY_LEN(sizes))],
                            .heartbeat_ms = timings[t][0],
                            .host_timeout_ms = timings[t][1],
                            .links = 1 + (unsigned)prng_below(r, 2),
                            .freeze = prng_below(r, 5) == 0,
                            .fencing = (enum sim_fencing)prng_below(r, SIM_FENCE_NONE),
                            .watchdog = prng_below(r, 2) == 0,
                            .watchdog_ms = 3000 + (unsigned)prng_below(r, 8000),
                            .boot_ms = 3000 + (unsigned)prng_below(r, 12000),
                            .skew_ppm = (unsigned)prng_below(r, 300),
                            .lies = prng_below(r, 6) == 0 };
    o->slot = seed / 2 % 4 == 1; /* not drawn, so that other seeds stay what they were */
    o->witness = o->hosts == 2 && prng_below(r, 3) != 0;
}

static void prepare(struct swarm *w, struct prng *r)
{
    struct sim *s = w->s;

    w->vms = 1 + (unsigned)prng_below(r, 2 * (s->opts.hosts < 8 ? s->opts.hosts : 8) + 1);
    w->mean_ms = 1000 + prng_below(r, 15000);
    for (int i = 0; i < F_COUNT; i++) {
        w->enabled[i] = prng_below(r, 5) < 3;
    }
    w->trigger = prng_below(r, 2) == 0 ? (unsigned)prng_below(r, 400) : 0;
    w->yaml = sim_base_yaml(s, w->vms);
}

static bool set_up(struct swarm *w)
{
    struct err err;

    if (sim_apply(w->s, w->yaml, 120000, &err) != 0) {
        sim_violate(w->s, "the cluster did not take its objects: %s", err.msg);
        return false;
    }
    sim_writers(w->s, true);
    return sim_settle(w->s, sim_settle_bound(w->s));
}

static void storm(struct swarm *w, uint64_t ms)
{
    struct sim *s = w->s;
    uint64_t until = sim_time(s) + ms;

    w->calm = false;
    w->storms++;
    sim_writers(s, true);
    sim_on_line(s, on_line, NULL);
    on_fault(NULL, w->storms);
    on_round(NULL, w->storms);
    while (sim_time(s) < until && sim_violations(s) == 0) {
        sim_run(s, ms < 10000 ? ms : 10000);
        if (w->enabled[F_USER] && sim_rand(3) == 0) {
            user_acts(s);
        }
    }
}

/* Operators do what only they can: power what was fenced meanwhile, also while two hosts without
 * each other take nothing. */
static void on_operator(void *arg, uint64_t n)
{
    struct sim *s = swarm->s;

    (void)arg;
    if (!swarm->calm || n == 0) {
        return;
    }
    for (unsigned i = 0; i < s->n_machines; i++) {
        if (!s->machines[i].powered) {
            sim_power_on(s, name_of(i));
        }
    }
    sim_post(NULL, 7000000, on_operator, NULL, n - 1);
}

static bool on_and_live(struct sim *s, void *ctx)
{
    (void)ctx;
    return sim_quiet(s);
}

static void calm(struct swarm *w)
{
    struct sim *s = w->s;
    struct err err;

    w->calm = true;
    sim_log(s, "calm");
    sim_heal(s);
    sim_latency(s, 100, 700);
    for (size_t i = 0; i < s->n_devs; i++) {
        (void)sim_device_mode(s, sim_dev_name(s, i), SIM_DEV_OK);
    }
    for (unsigned i = 0; i < s->n_machines; i++) {
        struct machine *m = &s->machines[i];

        sim_resume(s, m->name);
        sim_disk_slow(s, m->name, 2);
        sim_disk_full(s, m->name, false);
        map_done(&m->unreachable);
        if (m->is_host) {
            sim_job_faults_end(m);
        }
        sim_power_on(s, m->name);
        for (unsigned k = 0; k < PROCS; k++) {
            sim_unpause(s, m->name, (enum sim_proc)k);
            if (k != PROC_WATCHDOG || s->opts.watchdog) {
                m->procs[k].stay = false;
            }
            proc_expected(&m->procs[k]);
        }
    }
    sim_post(NULL, 7000000, on_operator, NULL, 60);
    (void)sim_run_until(s, on_and_live, NULL, 2 * s->opts.boot_ms);
    if (sim_apply(s, w->yaml, 120000, &err) != 0) {
        sim_violate(s, "liveness: nothing is taken after the heal: %s", err.msg);
    }
    user_mends();
    (void)sim_run_until(s, on_and_live, NULL, 300000);
}

/* Storms and quiet times in turn; after each storm progress is demanded. */
static void episodes(struct swarm *w, unsigned hours)
{
    struct sim *s = w->s;
    uint64_t until = sim_time(s) + hours * 3600000ULL;

    while (sim_violations(s) == 0 && sim_time(s) < until) {
        sim_run(s, 5000);
        sim_skip(s, (300 + sim_rand(6900)) * 1000);
        sim_run(s, 2000 + sim_rand(3000));
        storm(w, 5000 + sim_rand(60000));
        if (sim_violations(s) == 0) {
            calm(w);
        }
        if (sim_violations(s) == 0) {
            (void)sim_settle(s, sim_settle_bound(s));
        }
    }
}

static void take_result(struct sim *s, struct sim_swarm_result *ret)
{
    sim_stats(s, &ret->stats);
    ret->hosts = s->opts.hosts;
    ret->violations = sim_violations(s);
    (void)str_copy(ret->violation, sizeof(ret->violation),
                   ret->violations == 0 ? "" : sim_violation(s));
    ret->log_hash = sim_log_hash(s);
    ret->log = mem_strdup(sim_log_text(s));
}

bool sim_swarm(const struct sim_swarm_args *args, struct sim_swarm_result *ret)
{
    uint64_t seed = args->seed;
    struct swarm w = { .calm = false };
    struct sim_opts o;
    struct prng r;

    prng_init(&r, seed * 7919 + 13);
    choose(seed, &o, &r);
    o.log = args->log;
    o.debug = args->debug;
    w.s = sim_new(&o);
    swarm = &w;
    prepare(&w, &r);
    sim_log(w.s,
            "seed %" PRIu64 ": %u hosts%s, %u voters, %u guests, H %u ms, T %u ms, W %s%u ms, "
            "fencing %d%s, %s, a fault each %" PRIu64 " ms",
            seed, o.hosts, o.witness ? " and a witness" : "", w.s->opts.voters, w.vms,
            o.heartbeat_ms, o.host_timeout_ms, w.s->opts.watchdog ? "" : "no, ", o.watchdog_ms,
            (int)o.fencing, o.lies ? " that may lie" : "", o.freeze ? "Freeze" : "Stop", w.mean_ms);
    if (!set_up(&w)) {
        sim_log(w.s, "not set up");
    } else if (args->hours != 0) {
        episodes(&w, args->hours);
    } else {
        storm(&w, args->minutes * 60000ULL);
        if (sim_violations(w.s) == 0) {
            calm(&w);
        }
        if (sim_violations(w.s) == 0) {
            (void)sim_settle(w.s, sim_settle_bound(w.s));
        }
    }
    take_result(w.s, ret);
    free(w.yaml);
    sim_free(w.s);
    return ret->violations == 0;
}

const char *sim_swarm_story(void)
{
    return sim_world == NULL ? "" : sim_log_text(sim_world);
}
