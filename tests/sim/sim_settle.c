/* After the storm: everything that can run runs, whatever does not says why, and no lock is left
 * behind. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/str.h"
#include "reconciler/sim_drv.h"
#include "tests/sim/sim_priv.h"

#define LOOK_MS 1000U
#define JOB_MS 300000U /* what an agent gives the start of a guest (reconciler/agent.c) */

struct verdict {
    size_t wanted, running, excused;
    char missing[400]; /* what is not as it should be */
};

static void complain(struct verdict *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void complain(struct verdict *v, const char *fmt, ...)
{
    size_t at = strlen(v->missing);
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(v->missing + at, sizeof(v->missing) - at, fmt, ap);
    va_end(ap);
}

/* A VM may rest for a reason that it names, and that is not "soon". */
static bool excused(const json_t *vm)
{
    return jget(vm, "status.halted") != NULL && jget_str(vm, "status.halted.reason", NULL) != NULL;
}

static void look_vm(struct sim *s, const json_t *vm, struct verdict *v)
{
    const char *name = jget_str(vm, "metadata.name", "");
    const char *phase = jget_str(vm, "status.phase", "");
    const char *host = jget_str(vm, "status.host", "");
    const char *on = sim_vm_on(s, name);

    if (!str_eq(jget_str(vm, "spec.runPolicy", "Running"), "Running")) {
        if (*on != '\0') {
            complain(v, "%s runs on %s and should not; ", name, on);
        }
        return;
    }
    v->wanted++;
    if (str_eq(phase, "Running") && *on != '\0' && str_eq(on, host)) {
        v->running++;
    } else if (*on == '\0' && excused(vm)) {
        v->excused++;
    } else {
        complain(v, "%s is %s on \"%s\" (%s: %.100s), runs on \"%s\"; ", name, phase, host,
                 jget_str(vm, "status.placement.reason", ""),
                 jget_str(vm, "status.placement.message", ""), on);
    }
}

/* Every lock is with an incarnation that is the newest of its host, and guards something there. */
static void look_lock(struct sim *s, const json_t *lock, struct verdict *v)
{
    const char *name = jget_str(lock, "status.object", "");
    const char *host = jget_str(lock, "status.holder", "");
    uint64_t inc = (uint64_t)jget_int(lock, "status.incarnation", 0);
    const char *dot = strchr(name, '/');

    if (*host == '\0' || !sim_machine_exists(s, host)) {
        complain(v, "lock %s is with nobody we know (\"%s\"); ", name, host);
    } else if (sim_inc(s, host) != inc) {
        complain(v, "lock %s is with incarnation %" PRIu64 " of %s, which is over; ", name, inc,
                 host);
    } else if (jget_str(lock, "status.peer", NULL) != NULL) {
        complain(v, "lock %s has a peer, %s; ", name, jget_str(lock, "status.peer", ""));
    } else if (str_starts(name, "virtualmachines/") && dot != NULL &&
               !str_eq(sim_vm_on(s, dot + 1), host)) {
        complain(v, "lock %s is with %s, where it does not run; ", name, host);
    }
}

static int look_list(struct sim *s, const char *target,
                     void (*look)(struct sim *s, const json_t *item, struct verdict *v),
                     struct verdict *v)
{
    json_t *list = NULL;
    struct err err;
    int rc = sim_request(s, "GET", target, NULL, 20000, &list, &err);
    const json_t *items = json_object_get(list, "items");

    if (rc != 0) {
        complain(v, "%s: %s; ", target, err.msg);
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        look(s, json_array_get(items, i), v);
    }
    json_decref(list);
    return rc;
}

static bool host_lives(const struct sim *s, unsigned i)
{
    const struct machine *m = &s->machines[i];

    return m->booted && str_eq(sim_inc_state(s, m->name), "Live") &&
           str_eq(s->check->boots[i], m->boot_id);
}

bool sim_quiet(struct sim *s)
{
    for (unsigned i = 0; i < s->opts.hosts; i++) {
        if (!host_lives(s, i)) {
            return false;
        }
    }
    return true;
}

static bool settled(struct sim *s, struct verdict *v)
{
    *v = (struct verdict){ 0 };
    for (unsigned i = 0; i < s->opts.hosts; i++) {
        if (!host_lives(s, i)) {
            complain(v, "%s is %s; ", s->machines[i].name, sim_inc_state(s, s->machines[i].name));
        }
    }
    return v->missing[0] == '\0' &&
           look_list(s, "/apis/picket/v1/virtualmachines", look_vm, v) == 0 &&
           look_list(s, "/apis/picket/v1/locks", look_lock, v) == 0 && v->missing[0] == '\0';
}

uint64_t sim_settle_bound(const struct sim *s)
{
    const struct sim_opts *o = &s->opts;
    uint64_t lease = o->host_timeout_ms;
    /* boot, grace, detection, and for each host that may still be fenced: all levels, twice, with
     * their back-off; then the start of the guests */
    uint64_t fence = 2 * (2 * (10000 + lease) + 60000) + lease + o->watchdog_ms;

    return 2ULL * o->boot_ms + sim_grace_ms(o) + 4 * lease + fence + 60000 + (s->hung ? JOB_MS : 0);
}

bool sim_settle(struct sim *s, uint64_t ms)
{
    uint64_t from = sim_time(s), until = from + ms;
    struct verdict v;

    while (!settled(s, &v)) {
        if (sim_time(s) >= until) {
            sim_violate(s, "liveness: after %" PRIu64 " ms: %s", sim_time(s) - from, v.missing);
            return false;
        }
        sim_run(s, LOOK_MS);
    }
    sim_log(s, "settled after %" PRIu64 " ms: %zu of %zu guests run, %zu say why not",
            sim_time(s) - from, v.running, v.wanted, v.excused);
    s->hung = false;
    writer_final(s);
    return sim_violations(s) == 0;
}
