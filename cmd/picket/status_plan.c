#include "cmd/picket/status_plan.h"

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/str.h"
#include "cmd/picket/why_plan.h"

/* ---- what is wrong ---- */

static void problem(json_t *list, const char *object, const char *reason, const char *message,
                    const char *next)
{
    (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "object", object, "reason",
                                                reason, "message", message, "next", next));
}

static void problem_of(json_t *list, const char *prefix, const json_t *obj, const char *reason,
                       const char *message, const char *next)
{
    json_t *object = json_sprintf("%s/%s", prefix, obj_name(obj));

    problem(list, json_string_value(object), reason, message, next);
    json_decref(object);
}

static void why_of(json_t *list, const char *prefix, const json_t *obj, const char *reason,
                   const char *message)
{
    json_t *next = json_sprintf("picket why %s %s", prefix, obj_name(obj));

    problem_of(list, prefix, obj, reason, message, json_string_value(next));
    json_decref(next);
}

static void member_problems(const struct status_in *in, json_t *list)
{
    for (size_t i = 0; i < json_array_size(in->members); i++) {
        const json_t *m = json_array_get(in->members, i);
        json_t *name = json_sprintf("member/%s", jget_str(m, "server", "?"));

        if (jget(m, "error") != NULL) {
            problem(list, json_string_value(name), "Unreachable", jget_str(m, "error", ""),
                    "is its host up, is picketd running there?");
        } else if (!jget_bool(m, "view.quorate", false)) {
            problem(list, json_string_value(name), "NoQuorum",
                    "it knows no leader: it does not reach a majority of the voters", "");
        }
        json_decref(name);
    }
}

static void host_problems(const json_t *hosts, json_t *list)
{
    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const json_t *h = json_array_get(hosts, i);
        const char *state = jget_str(h, "status.incarnationState", "None");
        const json_t *bad = why_worst(h);

        if (bad != NULL) {
            why_of(list, "host", h, jget_str(bad, "reason", "?"), jget_str(bad, "message", ""));
        } else if (!str_eq(state, "Live")) {
            why_of(list, "host", h, state, "no agent of this host has a lease");
        }
    }
}

/* Wanted and not there, or there and not well. */
static void vm_problems(const json_t *vms, json_t *list)
{
    for (size_t i = 0; i < json_array_size(vms); i++) {
        const json_t *v = json_array_get(vms, i);
        const char *phase = jget_str(v, "status.phase", "Pending");
        const char *want = jget_str(v, "spec.runPolicy", "Running");
        const json_t *bad = why_worst(v);
        bool failed = str_eq(phase, "Failed") || str_eq(phase, "Unknown");

        if (str_eq(want, "Running") ? str_eq(phase, "Running") && bad == NULL : !failed) {
            continue;
        }
        why_of(list, "vm", v,
               jget_str(bad, "reason", jget_str(v, "status.placement.reason", phase)),
               jget_str(bad, "message", jget_str(v, "status.placement.message", "")));
    }
}

static void fencing_problems(const json_t *fencings, json_t *list)
{
    for (size_t i = 0; i < json_array_size(fencings); i++) {
        const json_t *f = json_array_get(fencings, i);

        if (str_eq(jget_str(f, "status.state", ""), "Open")) {
            json_t *next = json_sprintf("picket why host %s", jget_str(f, "spec.host", "?"));

            problem_of(list, "fencing", f, "Open",
                       jget_str(f, "status.message", jget_str(f, "spec.reason", "")),
                       json_string_value(next));
            json_decref(next);
        }
    }
}

static void device_problems(const json_t *devices, json_t *list)
{
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const json_t *d = json_array_get(devices, i);
        const json_t *bad = why_worst(d);

        if (bad != NULL) {
            why_of(list, "fencedevice", d, jget_str(bad, "reason", "?"),
                   jget_str(bad, "message", ""));
        }
    }
}

static void cluster_problems(const json_t *clusters, json_t *list)
{
    const json_t *c = json_array_get(clusters, 0);
    const json_t *bad;

    if (c == NULL) {
        return;
    }
    if (jget_bool(c, "spec.paused", false)) {
        problem(list, "cluster", "ClusterPaused", "nothing is started, stopped or moved",
                "set Cluster.spec.paused to false");
    }
    if (jget_bool(c, "spec.pauseFencing", false)) {
        problem(list, "cluster", "FencingPaused", "nobody is fenced, so nothing fails over",
                "set Cluster.spec.pauseFencing to false");
    }
    if (str_eq(jget_str(c, "status.capacity.proof", ""), "Refuted")) {
        problem(list, "cluster", "CapacityRefuted",
                jget_str(c, "status.capacity.message", "not every VM would find room"),
                "picket describe cluster cluster");
    }
    bad = why_worst(c);
    if (bad != NULL) {
        problem(list, "cluster", jget_str(bad, "reason", "?"), jget_str(bad, "message", ""),
                "picket describe cluster cluster");
    }
}

/* ---- members ---- */

/* The answer of the member that knows most: of those with a leader the one with the highest term.
 */
static const json_t *best_view(const json_t *members)
{
    const json_t *best = NULL;

    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *v = jget(json_array_get(members, i), "view");
        bool better = best == NULL ||
                      (jget_bool(v, "quorate", false) && !jget_bool(best, "quorate", false)) ||
                      (jget_bool(v, "quorate", false) == jget_bool(best, "quorate", false) &&
                       jget_int(v, "term", 0) > jget_int(best, "term", 0));

        if (v != NULL && better) {
            best = v;
        }
    }
    return best;
}

static json_t *objects(const json_t *list)
{
    return list != NULL ? json_integer((json_int_t)json_array_size(list)) : json_null();
}

json_t *status_summary(const struct status_in *in)
{
    const json_t *view = best_view(in->members);
    json_t *problems = json_array();

    member_problems(in, problems);
    cluster_problems(in->clusters, problems);
    fencing_problems(in->fencings, problems);
    host_problems(in->hosts, problems);
    vm_problems(in->vms, problems);
    device_problems(in->devices, problems);
    return json_pack("{s:b, s:s, s:I, s:s, s:I, s:I, s:O, s:o, s:o, s:o}", "quorate",
                     jget_bool(view, "quorate", false), "leader", jget_str(view, "leader", ""),
                     "term", (json_int_t)jget_int(view, "term", 0), "clusterID",
                     jget_str(view, "clusterID", ""), "epoch",
                     (json_int_t)jget_int(view, "epoch", 0), "revision",
                     (json_int_t)jget_int(view, "revision", 0), "members", in->members, "hosts",
                     objects(in->hosts), "virtualMachines", objects(in->vms), "problems", problems);
}

/* ---- the screen ---- */

/* End a line without the padding of empty columns. */
static void end_line(struct buf *out)
{
    while (out->len > 0 && out->data[out->len - 1] == ' ') {
        out->len--;
    }
    buf_add_byte(out, '\n');
}

static const char *paint(const struct status_in *in, const char *code)
{
    return in->color ? code : "";
}

static void print_head(const struct status_in *in, const json_t *s, struct buf *out)
{
    bool quorate = jget_bool(s, "quorate", false);
    size_t up = 0, n = json_array_size(in->members);

    for (size_t i = 0; i < n; i++) {
        up += jget(json_array_get(in->members, i), "view") != NULL ? 1 : 0;
    }
    buf_printf(out, "Cluster%s%s: %s%s%s", *jget_str(s, "clusterID", "") != 0 ? " " : "",
               jget_str(s, "clusterID", ""), paint(in, quorate ? "\033[32m" : "\033[31m"),
               quorate ? "quorate" : "NO QUORUM", paint(in, "\033[0m"));
    if (quorate) {
        buf_printf(out, ", leader %s (term %" PRId64 "), revision %" PRId64,
                   jget_str(s, "leader", "?"), jget_int(s, "term", 0), jget_int(s, "revision", 0));
    }
    buf_printf(out, ", %zu of %zu members answer\n", up, n);
}

static void print_members(const struct status_in *in, struct buf *out)
{
    buf_printf(out, "\n%-22s %-10s %-10s %6s %10s  %s\n", "MEMBER", "NODE", "ROLE", "TERM",
               "APPLIED", "LEADER");
    for (size_t i = 0; i < json_array_size(in->members); i++) {
        const json_t *m = json_array_get(in->members, i);
        const json_t *v = jget(m, "view");

        if (v == NULL) {
            buf_printf(out, "%-22s %s%s%s\n", jget_str(m, "server", "?"), paint(in, "\033[31m"),
                       jget_str(m, "error", "?"), paint(in, "\033[0m"));
            continue;
        }
        buf_printf(out, "%-22s %-10s %-10s %6" PRId64 " %10" PRId64 "  %s\n",
                   jget_str(m, "server", "?"), jget_str(v, "node", "?"), jget_str(v, "role", "?"),
                   jget_int(v, "term", 0), jget_int(v, "applied", 0),
                   *jget_str(v, "leader", "") != 0 ? jget_str(v, "leader", "") : "none");
    }
}

static void print_problems(const struct status_in *in, const json_t *s, struct buf *out)
{
    const json_t *list = json_object_get(s, "problems");
    size_t n = json_array_size(list);

    if (n == 0) {
        if (in->why_not == NULL) {
            buf_printf(out, "\n%sNothing is wrong.%s\n", paint(in, "\033[32m"),
                       paint(in, "\033[0m"));
        }
        return;
    }
    buf_printf(out, "\n%sWhat is wrong (%zu):%s\n", paint(in, "\033[31m"), n, paint(in, "\033[0m"));
    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(list, i);
        const char *message = jget_str(p, "message", "");
        const char *next = jget_str(p, "next", "");

        buf_printf(out, "  %-26s %s%s%s\n", jget_str(p, "object", "?"), jget_str(p, "reason", "?"),
                   *message != 0 ? ": " : "", message);
        if (*next != 0) {
            buf_printf(out, "  %-26s   -> %s\n", "", next);
        }
    }
}

static size_t vms_on(const struct status_in *in, const char *host)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(in->vms); i++) {
        n += str_eq(jget_str(json_array_get(in->vms, i), "status.host", ""), host) ? 1 : 0;
    }
    return n;
}

static const char *host_notes(const json_t *h)
{
    if (jget_bool(h, "spec.maintenance", false)) {
        return "maintenance";
    }
    return jget_bool(h, "spec.unschedulable", false) ? "cordoned" : "";
}

static void print_hosts(const struct status_in *in, struct buf *out)
{
    if (in->hosts == NULL) {
        return;
    }
    buf_printf(out, "\n%-14s %-8s %-9s %4s %10s %10s  %s\n", "HOST", "READY", "STATE", "VMS",
               "MEMORY", "FREE", "NOTE");
    for (size_t i = 0; i < json_array_size(in->hosts); i++) {
        const json_t *h = json_array_get(in->hosts, i);
        char memory[32] = "-", unused[32] = "-";
        uint64_t total = jget_size(h, "status.capacity.memory", 0);

        if (total > 0) {
            str_format_size(total, memory, sizeof(memory));
            str_format_size(jget_size(h, "status.capacity.memoryFree", 0), unused, sizeof(unused));
        }
        buf_printf(out, "%-14s %-8s %-9s %4zu %10s %10s  %s", obj_name(h),
                   jget_str(cond_get(h, "Ready"), "status", "-"),
                   jget_str(h, "status.incarnationState", "None"), vms_on(in, obj_name(h)), memory,
                   unused, host_notes(h));
        end_line(out);
    }
}

static void print_vms(const struct status_in *in, struct buf *out)
{
    if (in->vms == NULL) {
        return;
    }
    buf_printf(out, "\n%-22s %-10s %-14s %-9s %s\n", "VM", "PHASE", "HOST", "WANTED", "FOR");
    for (size_t i = 0; i < json_array_size(in->vms); i++) {
        const json_t *v = json_array_get(in->vms, i);
        const char *host = jget_str(v, "status.host", "");
        char since[32];

        why_since(jget_str(v, "status.since", NULL), in->now_wall_ms, since);
        buf_printf(out, "%-22s %-10s %-14s %-9s %s", obj_name(v), jget_str(v, "status.phase", "-"),
                   *host != 0 ? host : "-", jget_str(v, "spec.runPolicy", "Running"), since);
        end_line(out);
    }
    if (json_array_size(in->vms) == 0) {
        buf_add_str(out, "none yet: `picket apply -f FILE` declares some\n");
    }
}

#define FENCINGS_SHOWN 5

/* The newest that was opened before `than` (NULL: at all). */
static const json_t *newest_before(const json_t *fencings, const char *than)
{
    const json_t *best = NULL;

    for (size_t i = 0; i < json_array_size(fencings); i++) {
        const json_t *f = json_array_get(fencings, i);
        const char *opened = jget_str(f, "status.opened", "");

        if ((than == NULL || strcmp(opened, than) < 0) &&
            (best == NULL || strcmp(opened, jget_str(best, "status.opened", "")) > 0)) {
            best = f;
        }
    }
    return best;
}

static void print_last_fencings(const struct status_in *in, struct buf *out)
{
    const json_t *f = newest_before(in->fencings, NULL);

    if (f == NULL) {
        return;
    }
    buf_printf(out, "\n%-18s %-10s %-12s %-14s %s\n", "FENCING", "STATE", "PROOF", "AGO", "REASON");
    for (int i = 0; i < FENCINGS_SHOWN && f != NULL; i++) {
        char since[32];

        why_since(jget_str(f, "status.opened", NULL), in->now_wall_ms, since);
        buf_printf(out, "%-18s %-10s %-12s %-14s %s", obj_name(f), jget_str(f, "status.state", "?"),
                   jget_str(f, "status.proof", "None"), since, jget_str(f, "spec.reason", ""));
        end_line(out);
        f = newest_before(in->fencings, jget_str(f, "status.opened", ""));
    }
}

void status_print(const struct status_in *in, const json_t *summary, struct buf *out)
{
    print_head(in, summary, out);
    print_problems(in, summary, out);
    print_members(in, out);
    if (in->why_not != NULL) {
        buf_printf(out, "\nHosts and VMs cannot be read now: %s\n", in->why_not);
        return;
    }
    print_hosts(in, out);
    print_vms(in, out);
    print_last_fencings(in, out);
}
