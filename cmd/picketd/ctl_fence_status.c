/* What fencing adds to the status of FenceDevices and Hosts. */

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_fence_priv.h"
#include "cmd/picketd/probe.h"

/* --- devices: what the probes of all picketds say ----------------------------------------------
 */

/* The time is of the newest change of a result, so that nothing is written while nothing changes.
 */
static void probe_status(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    struct rep_peer_info peers[FENCE_PEERS_MAX];
    size_t n = rep_peers(p->c->node->rep, peers, FENCE_PEERS_MAX);
    const json_t *old = jget(o->json, "status.probes");
    json_t *map = json_object();
    char now[32];

    str_format_time(p->wall_ms, now, sizeof(now));
    for (size_t i = 0; i < n; i++) {
        struct probe_result r;
        const json_t *was = json_object_get(old, peers[i].name);
        const char *result, *time = now;

        if (!prober_by(p->c->node->prober, o->name, peers[i].name, &r)) {
            if (was != NULL) {
                (void)json_object_set_new(map, peers[i].name, json_deep_copy(was));
            }
            continue;
        }
        result = fence_outcome_name((enum fence_outcome)r.outcome);
        if (was != NULL && str_eq(jget_str(was, "result", ""), result)) {
            time = jget_str(was, "since", now);
        }
        (void)json_object_set_new(map, peers[i].name,
                                  json_pack("{s:s, s:s, s:s}", "result", result, "since", time,
                                            "message",
                                            r.outcome == (int)FENCE_SUCCEEDED ? "" : r.detail));
    }
    if (json_object_size(map) > 0) {
        jset(next, "status.probes", map);
    } else {
        json_decref(map);
    }
}

void fence_device_status(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    struct probe_result probe;

    if (str_eq(jget_str(o->json, "spec.type", ""), "Manual")) {
        (void)cond_set(next, "Ready", "True", "Manual",
                       "waits for `picket confirm-off` when needed", p->wall_ms);
        return;
    }
    probe_status(p, o, next);
    if (!prober_summary(p->c->node->prober, o->name, &probe)) {
        if (cond_get(next, "Ready") == NULL) {
            (void)cond_set(next, "Ready", "Unknown", "NotProbed",
                           "not probed yet: it is in no host's fencing levels, or was just made",
                           p->wall_ms);
        }
    } else if (probe.outcome == (int)FENCE_SUCCEEDED) {
        (void)cond_set(next, "Ready", "True",
                       probe.detail[0] == 0 ? "ProbeSucceeded" : "NotFromEverywhere", probe.detail,
                       p->wall_ms);
    } else {
        (void)cond_set(next, "Ready", probe.outcome == (int)FENCE_FAILED ? "False" : "Unknown",
                       "ProbeFailed", probe.detail, p->wall_ms);
    }
}

/* --- wiring: proved by a power cycle ------------------------------------------------------------
 */

/* `picket fence test --cycle`: the host was well, its devices read back off, and it came back with
 * another boot: each device of the level cuts the power of this very host. */
static void record_tested(struct pass *p, const struct s_fencing *f)
{
    const struct cmd_fence_level *l = &f->levels[f->level];

    for (size_t i = 0; i < l->n_devices; i++) {
        const struct ctl_obj *o = ctl_find(p->c, "fencedevices", l->devices[i].name);
        const json_t *was =
            o == NULL ? NULL : json_object_get(jget(o->json, "status.tested"), f->host);
        json_t *next, *tested;
        char now[32];

        if (o == NULL || jget_int(was, "fencing", 0) >= (int64_t)f->id) {
            continue;
        }
        str_format_time(p->wall_ms, now, sizeof(now));
        next = json_deep_copy(o->json);
        tested = jget(next, "status.tested") == NULL ? json_object()
                                                     : json_deep_copy(jget(next, "status.tested"));
        (void)json_object_set_new(tested, f->host,
                                  json_pack("{s:I, s:s, s:I}", "generation",
                                            (json_int_t)l->devices[i].generation, "time", now,
                                            "fencing", (json_int_t)f->id));
        jset(next, "status.tested", tested);
        pass_update(p, o, next);
    }
}

void fence_record_tests(const struct fence_facts *fa)
{
    struct pass *p = fa->p;

    for (size_t i = 0; i < fa->n_old; i++) {
        const struct old_fencing *old = &fa->old[i];
        const struct s_inc *inc;
        struct s_fencing f;
        struct err err;

        if (!old->wiring_test || !old->succeeded) {
            continue;
        }
        inc = pass_inc(p, old->host);
        if (inc != NULL && inc->state == INC_LIVE && inc->previous == old->incarnation &&
            s_fencing_get(p->c->node->store, old->id, &p->a, &f, &err) == 0 &&
            f.proof == PROOF_OFF && f.level < f.n_levels) {
            record_tested(p, &f);
        }
    }
}

/* NULL: proved; else the device that is not. */
static const char *unproved_device(struct pass *p, const char *host, const json_t *names)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        const struct ctl_obj *o = name == NULL ? NULL : ctl_find(p->c, "fencedevices", name);
        const json_t *tested =
            o == NULL ? NULL : json_object_get(jget(o->json, "status.tested"), host);

        if (tested == NULL ||
            jget_int(tested, "generation", 0) != jget_int(o->json, "metadata.generation", 0)) {
            return name == NULL ? "" : name;
        }
    }
    return NULL;
}

/* Some level whose devices can prove power and were all seen to cut this host's. */
static void wiring_condition(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    const json_t *levels = jget(o->json, "spec.fencing");
    const char *device = NULL;

    if (json_array_size(levels) == 0) {
        return; /* FencingReady says enough */
    }
    for (size_t i = 0; i < json_array_size(levels); i++) {
        const char *d = unproved_device(p, o->name, jget(json_array_get(levels, i), "devices"));

        if (d == NULL) {
            (void)cond_set(next, "WiringProved", "True", "Cycled",
                           "a power cycle through its devices ended in a new boot of this host",
                           p->wall_ms);
            return;
        }
        device = device == NULL ? d : device;
    }
    (void)cond_set(next, "WiringProved", "False", "NeverCycled",
                   arena_printf(&p->a,
                                "that %s cuts the power of this very host was never seen (or it "
                                "was changed since): when the host is empty, picket fence test "
                                "--cycle %s",
                                device, o->name),
                   p->wall_ms);
}

/* --- margins -------------------------------------------------------------------------------------
 */

/* What a renewal may be late before the agent begins to stop its guests: half a lease but for the
 * heartbeat that it always takes. */
static void margin_condition(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    uint64_t budget_ms = p->timing.stop_begin_ms > p->timing.heartbeat_ms
                             ? p->timing.stop_begin_ms - p->timing.heartbeat_ms
                             : 1;
    struct lease_info l;
    uint64_t late_ms;

    if (!lease_table_get(p->c->node->leases, o->name, &l) || l.last_ms == 0) {
        return;
    }
    late_ms = l.late_ms[0] > l.late_ms[1] ? l.late_ms[0] : l.late_ms[1];
    if (4 * late_ms >= 3 * budget_ms) {
        (void)cond_set(next, "LeaseMargin", "False", "ThreeQuartersUsed",
                       "renewals were late by three quarters or more of what is left before its "
                       "guests are stopped: is the host overloaded, or its network?",
                       p->wall_ms);
    } else if (2 * late_ms >= budget_ms) {
        (void)cond_set(next, "LeaseMargin", "False", "HalfUsed",
                       "renewals were late by half or more of what is left before its guests are "
                       "stopped",
                       p->wall_ms);
    } else {
        (void)cond_set(next, "LeaseMargin", "True", "Good", "renewals come in time", p->wall_ms);
    }
}

void fence_host_status(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    wiring_condition(p, o, next);
    margin_condition(p, o, next);
}
