#include "cmd/picket/why_plan.h"

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

/* ---- words ---- */

static const struct {
    const char *reason;
    const char *advice;
} advices[] = {
    { "NoCapacity", "Make room: stop or shrink other VMs, add a host, or uncordon one "
                    "(`picket get hosts`); a higher spec.priority lets it push others aside." },
    { "NotEnoughMemory",
      "Lower spec.memory, or free memory on a host (`picket get hosts -o wide`)." },
    { "NotEnoughCPU", "Lower spec.vcpus, or raise Cluster.spec.capacity.cpuOvercommit." },
    { "NoSuitableHost", "No host would do even if it were empty: compare spec.placement and the "
                        "PlacementRules with the hosts (`picket get placementrules`)." },
    { "WaitingForVM",
      "It starts after the VMs in spec.startAfter; ask `picket why vm` for those." },
    { "DependencyCycle", "spec.startAfter leads back to this VM: take one of the entries out." },
    { "WaitingForFencing", "A host that may still run it has to be proved off first: see "
                           "`picket get fencings`; if you know that the host is off, "
                           "`picket confirm-off HOST`." },
    { "WaitingForHost", "spec.ha.policy is Never: it waits for its own host to come back." },
    { "LockQuarantined", "After a restore nobody knows yet who runs it: wait until every host has "
                         "reported, or confirm those that are off (`picket confirm-off HOST`)." },
    { "WaitingForPreemption", "VMs of lower priority are being stopped to make room; wait." },
    { "HostMaintenance", "Its host is being drained; it moves when another host has room." },
    { "RuleViolated", "A required PlacementRule does not hold where it is; it moves when it can." },
    { "Held", "It is paused by its owner (spec.paused): set that to false to let Picket act." },
    { "NotWanted", "spec.runPolicy says that it shall not run: set it to Running to start it." },
    { "ClusterPaused", "The cluster is in maintenance: set Cluster.spec.paused to false." },
    { "LeaseLost", "Its agent does not renew the lease: is the host up, is its network, are "
                   "picket-agent and a picketd running?" },
    { "NeverRegistered", "Start picket-agent on that host; its log there says why it cannot "
                         "register." },
    { "NotReady", "`picket why host HOST` tells for each of these hosts why it is not ready." },
    { "NotProbed", "It is asked at its next probe (spec.probeInterval), once a host's fencing "
                   "levels name it." },
    { "NoFencing", "No fence device can prove that it is off: look at the host, and when it is "
                   "really off, `picket confirm-off {}`." },
    { "FencedHold",
      "It was fenced too often; find out why, then `picket fence {}` or bring it up." },
    { "StormLimit", "Too many hosts would be fenced at once: is it the network?  Raise "
                    "Cluster.spec.fencing.maxPerWindow only when you know." },
    { "StartupGrace",
      "The cluster has just started, or had no leader for longer than a lease; hosts get "
      "Cluster.spec.fencing.startupGrace to come up before anybody is fenced." },
    { "MisWired", "The device said off, and the host lived on: check which outlet feeds it, then "
                  "`picket describe host {}`." },
    { "IdentityConflict", "Two machines use this host's identity (a cloned image?): stop one of "
                          "them and give it a certificate of its own." },
    { "Cordoned", "`picket uncordon {}` lets VMs come again." },
    { "Maintenance", "`picket uncordon {}` ends the maintenance." },
    { "StartFailed", "The host could not start it: see the message, and the agent's log there; "
                     "`picket retry {}` tries again at once." },
    { "RestartLimit", "It crashed too often (spec.ha.restartLimit): repair the guest, then "
                      "`picket retry {}`." },
    { "GuestPoweroff", "`picket retry {}` starts it again; ha.onGuestPoweroff: Restart does so "
                       "always." },
    { "GuestCrash", "It stays as it is (spec.ha.onCrash): `picket retry {}` starts it again." },
    { "WaitingForLock", "Somebody else has what it needs: the message says who; it starts when "
                        "that is given back." },
    { "DrainTimedOut", "Its host is in maintenance and no other one can take it: make room, or "
                       "`picket uncordon` the host." },
    { "MigrateAway", "This host lost the users' network and others have it: look at its bonds, "
                     "bridges and cables (`picket get networkchecks`)." },
    { "FailsEverywhere", "Nobody reaches the targets: look at the network and at the check "
                         "(`picket get networkchecks -o wide`)." },
    { "FailsOnSomeHosts", "Look at these hosts' bonds, bridges and cables." },
    { "Unreachable", "The device does not answer: check address, network and credentials." },
};

const char *why_advice(const char *reason)
{
    for (size_t i = 0; i < ARRAY_LEN(advices); i++) {
        if (str_eq(advices[i].reason, reason)) {
            return advices[i].advice;
        }
    }
    return NULL;
}

/* Conditions of which True is the bad value. */
static bool bad_when_true(const char *type)
{
    static const char *const types[] = { "Degraded",         "Suspect",        "MisWired",
                                         "IdentityConflict", "FencedHold",     "DuplicateRunning",
                                         "Quarantined",      "MemoryPressure", "Conflict",
                                         "Orphans" };

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (str_eq(type, types[i])) {
            return true;
        }
    }
    return false;
}

static bool is_bad(const json_t *cond)
{
    const char *status = jget_str(cond, "status", "Unknown");

    return !str_eq(status, bad_when_true(jget_str(cond, "type", "")) ? "False" : "True");
}

const json_t *why_worst(const json_t *obj)
{
    static const char *const first[] = { "Scheduled", "Ready" };
    const json_t *list = jget(obj, "status.conditions");
    const json_t *v;
    size_t i;

    for (i = 0; i < ARRAY_LEN(first); i++) {
        v = cond_get(obj, first[i]);
        if (v != NULL && is_bad(v)) {
            return v;
        }
    }
    for (i = 0; i < json_array_size(list); i++) {
        v = json_array_get(list, i);
        if (is_bad(v)) {
            return v;
        }
    }
    return NULL;
}

void why_since(const char *time, uint64_t now_wall_ms, char dst[32])
{
    uint64_t at;

    dst[0] = 0;
    if (time != NULL && str_parse_time(time, &at)) {
        str_format_age(now_wall_ms > at ? now_wall_ms - at : 0, dst, 32);
    }
}

/* ---- parts ---- */

static void print_conditions(const struct why_in *in, struct buf *out)
{
    const json_t *list = jget(in->obj, "status.conditions");

    if (json_array_size(list) == 0) {
        buf_add_str(out, "\nConditions: none reported yet.\n");
        return;
    }
    buf_add_str(out, "\nConditions:\n");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        char since[32];

        why_since(jget_str(c, "lastTransitionTime", NULL), in->now_wall_ms, since);
        buf_printf(out, "  %c %-14s %-8s %-22s %s", is_bad(c) ? '!' : ' ', jget_str(c, "type", "?"),
                   jget_str(c, "status", "?"), jget_str(c, "reason", ""),
                   jget_str(c, "message", ""));
        while (out->data[out->len - 1] == ' ') {
            out->len--;
        }
        buf_printf(out, "%s%s%s\n", *since != 0 ? " (for " : "", since, *since != 0 ? ")" : "");
    }
}

static void print_missing(const struct why_in *in, struct buf *out)
{
    if (json_array_size(in->missing) == 0) {
        return;
    }
    buf_add_str(out, "\nIt refers to objects that do not exist:\n");
    for (size_t i = 0; i < json_array_size(in->missing); i++) {
        const json_t *m = json_array_get(in->missing, i);

        buf_printf(out, "  ! %s: %s \"%s\"\n", jget_str(m, "path", "?"), jget_str(m, "kind", "?"),
                   jget_str(m, "name", "?"));
    }
}

static void print_rejected(const struct why_in *in, struct buf *out)
{
    const json_t *list = jget(in->obj, "status.placement.rejected");

    if (json_array_size(list) == 0) {
        return;
    }
    buf_add_str(out, "\nHosts that cannot have it:\n");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *r = json_array_get(list, i);

        buf_printf(out, "  %-14s %-18s %s\n", jget_str(r, "host", "?"), jget_str(r, "reason", ""),
                   jget_str(r, "message", ""));
    }
}

/* Fencings of a host that are open, or the newest one. */
static void print_fencings(const struct why_in *in, const char *host, struct buf *out)
{
    const json_t *last = NULL;

    for (size_t i = 0; i < json_array_size(in->fencings); i++) {
        const json_t *f = json_array_get(in->fencings, i);

        if (str_eq(jget_str(f, "spec.host", ""), host) &&
            (last == NULL || str_eq(jget_str(f, "status.state", ""), "Open") ||
             strcmp(jget_str(f, "status.opened", ""), jget_str(last, "status.opened", "")) > 0)) {
            last = f;
        }
    }
    if (last == NULL) {
        return;
    }
    buf_printf(out, "\nFencing %s (incarnation %" PRId64 "): %s, proof %s; %s\n", obj_name(last),
               jget_int(last, "spec.incarnation", 0), jget_str(last, "status.state", "?"),
               jget_str(last, "status.proof", "None"),
               jget_str(last, "status.message", jget_str(last, "spec.reason", "")));
    for (size_t i = 0; i < json_array_size(jget(last, "status.results")); i++) {
        const json_t *r = json_array_get(jget(last, "status.results"), i);

        buf_printf(out, "  attempt %" PRId64 ": %s %s%s%s\n", jget_int(r, "attempt", 0),
                   jget_str(r, "device", "?"), jget_str(r, "result", "Unknown"),
                   *jget_str(r, "detail", "") != 0 ? ": " : "", jget_str(r, "detail", ""));
    }
}

static void advise(const struct why_in *in, const char *reason, struct buf *out, size_t *n)
{
    const char *advice = why_advice(reason);
    const char *hole;

    if (advice == NULL) {
        return;
    }
    buf_add_str(out, (*n)++ == 0 ? "\nWhat to do:\n  - " : "  - ");
    while ((hole = strstr(advice, "{}")) != NULL) {
        buf_add(out, advice, (size_t)(hole - advice));
        buf_add_str(out, obj_name(in->obj));
        advice = hole + 2;
    }
    buf_printf(out, "%s\n", advice);
}

static bool advised(const json_t *seen, const char *reason)
{
    return json_object_get(seen, reason) != NULL;
}

static void advise_once(const struct why_in *in, json_t *seen, const char *reason, struct buf *out,
                        size_t *n)
{
    if (*reason != 0 && !advised(seen, reason)) {
        (void)json_object_set_new(seen, reason, json_true());
        advise(in, reason, out, n);
    }
}

static void print_advice(const struct why_in *in, struct buf *out)
{
    const json_t *conds = jget(in->obj, "status.conditions");
    const json_t *rejected = jget(in->obj, "status.placement.rejected");
    const char *phase = jget_str(in->obj, "status.phase", "");
    bool waiting = str_eq(phase, "Pending") || str_eq(phase, "Unknown") || str_eq(phase, "Failed");
    json_t *seen = json_object();
    size_t n = 0;

    if (json_array_size(in->missing) > 0) {
        buf_add_str(out, "\nWhat to do:\n  - Apply the missing objects, or correct their names.\n");
        n++;
    }
    if (waiting) {
        const char *reason = jget_str(in->obj, "status.placement.reason", "");
        bool wanted = str_eq(jget_str(in->obj, "spec.runPolicy", "Running"), "Running");

        /* What waits for something missing counts as not wanted by placement. */
        advise_once(in, seen, wanted && str_eq(reason, "NotWanted") ? "" : reason, out, &n);
    }
    for (size_t i = 0; i < json_array_size(conds); i++) {
        if (is_bad(json_array_get(conds, i))) {
            advise_once(in, seen, jget_str(json_array_get(conds, i), "reason", ""), out, &n);
        }
    }
    for (size_t i = 0; waiting && i < json_array_size(rejected); i++) {
        const char *reason = jget_str(json_array_get(rejected, i), "reason", "");

        if (str_starts(reason, "NotEnough") || str_eq(reason, "StartFailed") ||
            str_eq(reason, "NotReady")) {
            advise_once(in, seen, reason, out, &n);
        }
    }
    json_decref(seen);
}

/* ---- virtual machines ---- */

static void vm_where(const struct why_in *in, struct buf *out)
{
    const char *host = jget_str(in->obj, "status.host", "");
    const char *assigned = jget_str(in->obj, "status.assignedHost", "");

    if (*host != 0) {
        buf_printf(out, " on %s", host);
    }
    if (*assigned != 0 && !str_eq(host, assigned)) {
        buf_printf(out, "%s assigned to %s", *host != 0 ? "," : "", assigned);
    }
}

static const json_t *find(const json_t *items, const char *name)
{
    for (size_t i = 0; i < json_array_size(items); i++) {
        if (str_eq(obj_name(json_array_get(items, i)), name)) {
            return json_array_get(items, i);
        }
    }
    return NULL;
}

/* A VM that has a host says how that host is. */
static void vm_host(const struct why_in *in, struct buf *out)
{
    const char *name =
        jget_str(in->obj, "status.host", jget_str(in->obj, "status.assignedHost", ""));
    const json_t *host = find(in->hosts, name);
    const json_t *bad;

    if (*name == 0 || in->hosts == NULL) {
        return;
    }
    if (host == NULL) {
        buf_printf(out, "\nHost %s does not exist (any more).\n", name);
        return;
    }
    bad = why_worst(host);
    if (bad != NULL || !str_eq(jget_str(host, "status.incarnationState", "Live"), "Live")) {
        buf_printf(out, "\nHost %s: incarnation %" PRId64 " is %s; %s: %s\n", name,
                   jget_int(host, "status.incarnation", 0),
                   jget_str(host, "status.incarnationState", "None"), jget_str(bad, "reason", ""),
                   jget_str(bad, "message", ""));
        print_fencings(in, name, out);
    }
}

static void vm_last_stop(const struct why_in *in, struct buf *out)
{
    const json_t *stop = jget(in->obj, "status.lastStop");
    char since[32];

    why_since(jget_str(stop, "at", NULL), in->now_wall_ms, since);
    if (*since != 0) {
        buf_printf(out, "It stopped last %s ago on %s: %s: %s\n", since, jget_str(stop, "host", ""),
                   jget_str(stop, "reason", ""), jget_str(stop, "message", ""));
    }
}

static void why_vm(const struct why_in *in, struct buf *out)
{
    const char *phase = jget_str(in->obj, "status.phase", "not handled yet");
    const char *reason = jget_str(in->obj, "status.placement.reason", "");
    const char *message = jget_str(in->obj, "status.placement.message", "");
    char since[32];

    why_since(jget_str(in->obj, "status.since", NULL), in->now_wall_ms, since);
    buf_printf(out, "virtualmachine/%s is %s", obj_name(in->obj), phase);
    vm_where(in, out);
    buf_printf(out, "%s%s (runPolicy %s)\n", *since != 0 ? " for " : "", since,
               jget_str(in->obj, "spec.runPolicy", "Running"));
    if (*reason != 0 || *message != 0) {
        buf_printf(out, "Placement: %s%s%s\n", reason, *message != 0 ? ": " : "", message);
    }
    vm_last_stop(in, out);
    if (jget_bool(in->obj, "spec.paused", false)) {
        buf_add_str(out, "It is paused by its owner (spec.paused): Picket leaves it as it is.\n");
    }
    print_conditions(in, out);
    print_missing(in, out);
    print_rejected(in, out);
    vm_host(in, out);
}

/* ---- hosts, others ---- */

static void print_list(const char *title, const json_t *list, struct buf *out)
{
    if (json_array_size(list) == 0) {
        return;
    }
    buf_printf(out, "\n%s:\n", title);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        buf_printf(out, "  %s\n", s != NULL ? s : "?");
    }
}

static void why_host(const struct why_in *in, struct buf *out)
{
    buf_printf(out, "host/%s: incarnation %" PRId64 " is %s%s%s\n", obj_name(in->obj),
               jget_int(in->obj, "status.incarnation", 0),
               jget_str(in->obj, "status.incarnationState", "None"),
               jget_bool(in->obj, "spec.unschedulable", false) ? ", cordoned" : "",
               jget_bool(in->obj, "spec.maintenance", false) ? ", in maintenance" : "");
    print_conditions(in, out);
    print_missing(in, out);
    print_list("VMs that are still here", jget(in->obj, "status.drain.remaining"), out);
    print_list("VMs that cannot move", jget(in->obj, "status.drain.blockedBy"), out);
    print_fencings(in, obj_name(in->obj), out);
}

static void why_other(const struct why_in *in, struct buf *out)
{
    const char *phase = jget_str(in->obj, "status.phase", jget_str(in->obj, "status.state", ""));
    const char *message = jget_str(in->obj, "status.message", "");

    buf_printf(out, "%s/%s%s%s%s%s\n", in->kind->singular, obj_name(in->obj),
               *phase != 0 ? " is " : "", phase, *message != 0 ? ": " : "", message);
    print_conditions(in, out);
    print_missing(in, out);
}

void why_print(const struct why_in *in, struct buf *out)
{
    const json_t *deleted = jget(in->obj, "metadata.deletionTimestamp");
    size_t mark;

    if (str_eq(in->kind->name, "VirtualMachine")) {
        why_vm(in, out);
    } else if (str_eq(in->kind->name, "Host")) {
        why_host(in, out);
    } else {
        why_other(in, out);
    }
    if (deleted != NULL) {
        print_list("It is being deleted, and waits for", jget(in->obj, "metadata.finalizers"), out);
    }
    mark = out->len;
    print_advice(in, out);
    if (out->len == mark && why_worst(in->obj) == NULL && deleted == NULL) {
        buf_add_str(out, "\nNothing is wrong with it.\n");
    }
}
