/* Status of VirtualMachines: placement's decision, what the hosts report, what the locks say. */

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_mig.h"
#include "cmd/picketd/ctl_priv.h"

/* What is known of one machine. */
struct vm_view {
    const struct ctl_obj *o;
    const struct s_lock *lock; /* NULL: free */
    const char *holder;        /* owner's host, or NULL */
    const json_t *report;      /* of the holder's or assigned host, or NULL */
    const char *report_host;
    const char *state; /* report's state, "" */
    size_t running_on; /* hosts that report it running */
    const char *missing;
    bool wanted;
    bool halted; /* ended by itself and shall stay so for this generation */
};

static bool seen_running(const json_t *rep)
{
    const char *s = jget_str(rep, "state", "");

    return str_eq(s, "Running") || str_eq(s, "Paused") || str_eq(s, "Stopping");
}

/* A report counts only when it is of the newest incarnation of its host, which is still alive. */
static const json_t *believed(const struct pass *p, const char *host, const json_t *rep)
{
    const struct s_inc *inc = pass_inc(p, host);

    if (inc == NULL || ctl_find(p->c, "hosts", host) == NULL || inc->state == INC_FENCED ||
        (uint64_t)jget_int(rep, "incarnation", 0) != inc->number) {
        return NULL;
    }
    return rep;
}

/* That of the holder; else of whoever runs it, the assigned host before others; else of the
 * assigned host. */
static unsigned report_rank(const struct vm_view *v, const char *host, bool running,
                            const char *assigned)
{
    if (v->holder != NULL && str_eq(host, v->holder)) {
        return 4;
    }
    if (running) {
        return str_eq(host, assigned) ? 3 : 2;
    }
    return v->holder == NULL && str_eq(host, assigned) ? 1 : 0;
}

/* The end that a migration has left still says what it did a moment ago. */
static bool has_left(const struct vm_view *v, const char *host, const json_t *rep)
{
    return v->lock != NULL && v->lock->owner.incarnation != 0 && v->lock->peer.incarnation != 0 &&
           str_eq(host, v->lock->peer.host) && str_eq(jget_str(rep, "reason", ""), "Migrating");
}

static void view_reports(struct pass *p, struct vm_view *v)
{
    const struct world_reports *r = world_reports_of(p->c->world, "virtualmachines", v->o->name);
    const char *assigned = jget_str(v->o->json, "status.assignedHost", "");
    unsigned best = 0;

    for (size_t i = 0; r != NULL && i < r->n; i++) {
        const char *host = r->items[i]->host;
        const json_t *rep = believed(p, host, r->items[i]->json);
        bool running = rep != NULL && seen_running(rep) && !has_left(v, host, rep);
        unsigned rank = rep == NULL ? 0 : report_rank(v, host, running, assigned);

        v->running_on += running;
        if (rank > best || (rank == best && rank != 0 && strcmp(host, v->report_host) < 0)) {
            best = rank;
            v->report = rep;
            v->report_host = host;
        }
    }
    v->state = jget_str(v->report, "state", "");
}

/* After a guest's own power-off (onGuestPoweroff: Stop) or too many crashes it stays down until the
 * user changes the object. */
static bool view_halted(const struct vm_view *v)
{
    const json_t *halt = jget(v->o->json, "status.halted");
    int64_t generation = jget_int(v->o->json, "metadata.generation", 0);

    return halt != NULL && jget_int(halt, "generation", -1) == generation;
}

static void view_make(struct pass *p, const struct ctl_obj *o, struct vm_view *v)
{
    *v = (struct vm_view){ .o = o };
    v->lock = pass_lock(p, "virtualmachines", o->name);
    v->holder = v->lock != NULL && v->lock->owner.incarnation != 0 ? v->lock->owner.host : NULL;
    v->missing = pass_missing_refs(p, o);
    view_reports(p, v);
    v->halted = view_halted(v);
    /* A reference that goes away keeps it from being started, but stops nothing that is there. */
    v->wanted = ctl_vm_wanted(o) && !v->halted && (*v->missing == 0 || v->lock != NULL);
}

/* --- phase -------------------------------------------------------------------------------------
 */

struct phase {
    const char *phase;
    const char *ready; /* condition Ready */
    const char *reason;
    const char *message;
};

static struct phase phase_make(const char *phase, const char *ready, const char *reason,
                               const char *message)
{
    return (struct phase){ phase, ready, reason, message };
}

/* The holder cannot be asked. */
static struct phase phase_silent(struct pass *p, const struct vm_view *v)
{
    const struct s_inc *inc = pass_inc(p, v->holder);
    const char *msg = arena_printf(&p->a,
                                   "%s holds its lock and is silent (incarnation %" PRIu64
                                   " is %s): it starts elsewhere "
                                   "once that host is proved to be off",
                                   v->holder, v->lock->owner.incarnation,
                                   inc == NULL ? "unknown" : inc_state_name(inc->state));

    return phase_make("Unknown", "Unknown", "HostLost", msg);
}

static struct phase phase_reported(struct pass *p, const struct vm_view *v)
{
    const char *reason = jget_str(v->report, "reason", "");
    const char *message = jget_str(v->report, "message", "");

    if (str_eq(v->state, "Running")) {
        return str_eq(reason, "Migrating") ? phase_make("Running", "True", "Migrating", message)
                                           : phase_make("Running", "True", "Running", "");
    }
    if (str_eq(v->state, "Starting") &&
        (str_eq(reason, "Received") || str_eq(reason, "Committed"))) {
        return phase_make("Migrating", "False", "Migrating", message);
    }
    if (str_eq(v->state, "Paused")) {
        return phase_make("Paused", "False", "Paused", message);
    }
    if (str_eq(v->state, "Starting") || str_eq(v->state, "Stopping")) {
        return phase_make(v->state, "False", *reason == 0 ? v->state : reason, message);
    }
    if (str_eq(v->state, "Unknown")) {
        return phase_make("Unknown", "Unknown", *reason == 0 ? "ObservationUnknown" : reason,
                          message);
    }
    if (str_eq(v->state, "Crashed")) {
        return phase_make("Failed", "False", *reason == 0 ? "Crashed" : reason, message);
    }
    if (v->holder != NULL) {
        return phase_make(v->wanted ? "Starting" : "Stopping", "False",
                          *reason == 0 ? v->state : reason, message);
    }
    (void)p;
    return phase_make(v->wanted ? "Pending" : "Stopped", "False", *reason == 0 ? "Stopped" : reason,
                      message);
}

/* The machine that uses a volume: of those that name it, the one that the same host holds. */
struct disk_user {
    struct pass *p;
    const struct ctl_obj *self;
    const struct s_lock *volume;
    const char *name;
};

static void disk_user(void *ctx, struct ctl_obj *o)
{
    struct disk_user *u = ctx;
    const struct s_lock *l = pass_lock(u->p, o->k->plural, o->name);

    if (str_eq(o->k->name, "VirtualMachine") && o != u->self && l != NULL &&
        l->owner.incarnation == u->volume->owner.incarnation) {
        u->name = o->name;
    }
}

/* The machine that declared the volume in place, or NULL. */
static struct ctl_obj *disk_owner(struct pass *p, const char *volume)
{
    const struct ctl_obj *o = ctl_find(p->c, "volumes", volume);

    if (o == NULL ||
        !str_eq(jget_str(o->json, "metadata.ownerReferences.0.kind", ""), "VirtualMachine")) {
        return NULL;
    }
    return ctl_find(p->c, "virtualmachines",
                    jget_str(o->json, "metadata.ownerReferences.0.name", ""));
}

/* "volume db-root is in use by db on node1; ", "" when no other machine has its disks. */
static const char *who_has_disks(struct pass *p, const struct ctl_obj *vm)
{
    const struct kind *k = kind_find("Volume");
    const json_t *disks = jget(vm->json, "spec.disks");
    struct ctl_obj *owner;
    const char *text = "";

    for (size_t i = 0; i < json_array_size(disks); i++) {
        const char *volume = jget_str(json_array_get(disks, i), "volume", "");
        struct disk_user u = { .p = p, .self = vm, .volume = pass_lock(p, "volumes", volume) };

        if (u.volume == NULL || u.volume->owner.incarnation == 0) {
            continue;
        }
        world_referrers(p->c->world, k, volume, disk_user, &u);
        owner = disk_owner(p, volume);
        if (owner != NULL) {
            disk_user(&u, owner);
        }
        if (u.name != NULL) {
            text = arena_printf(&p->a, "%svolume %s is in use by %s on %s; ", text, volume, u.name,
                                u.volume->owner.host);
        }
    }
    return text;
}

static struct phase phase_idle(struct pass *p, const struct vm_view *v, const struct vm_place *pl)
{
    if (*v->missing != 0) {
        return phase_make(
            "Pending", "False", "ReferenceNotFound",
            arena_printf(&p->a, "waits for %s, which does not exist (yet)", v->missing));
    }
    if (v->halted) {
        return phase_make("Stopped", "False",
                          jget_str(v->o->json, "status.halted.reason", "Halted"),
                          jget_str(v->o->json, "status.halted.message", ""));
    }
    if (!v->wanted) {
        return phase_make("Stopped", "False", "NotWanted", "runPolicy is Stopped");
    }
    if (*pl->host != 0 && v->report != NULL && str_eq(v->report_host, pl->host) &&
        str_eq(v->state, "Absent") && *jget_str(v->report, "message", "") != 0) {
        return phase_make("Starting", "False", jget_str(v->report, "reason", "NotStarted"),
                          arena_printf(&p->a, "%s%s: %s", who_has_disks(p, v->o), pl->host,
                                       jget_str(v->report, "message", "")));
    }
    if (*pl->host != 0) {
        return phase_make("Starting", "False", "Assigned",
                          arena_printf(&p->a, "%s is to start it", pl->host));
    }
    return phase_make("Pending", "False", pl->reason, pl->message);
}

static struct phase phase_of(struct pass *p, const struct vm_view *v, const struct vm_place *pl)
{
    if (v->running_on > 1) {
        return phase_make(
            "Unknown", "Unknown", "DuplicateRunning",
            "more than one host reports it running: nothing is touched; stop one of them "
            "by hand");
    }
    if (v->holder != NULL && !pass_host_ready(p, v->holder)) {
        return phase_silent(p, v);
    }
    if (v->report != NULL && (v->holder != NULL || seen_running(v->report) ||
                              (v->wanted && str_eq(v->report_host, pl->host) &&
                               !str_eq(v->state, "Absent") && !str_eq(v->state, "Stopped")))) {
        return phase_reported(p, v);
    }
    return phase_idle(p, v, pl);
}

/* --- writing it down ---------------------------------------------------------------------------
 */

/* A guest that ended by itself and whose agent says that it stays so: remember that in the object,
 * for this generation, since reports go away with their host. */
static void latch_halt(const struct vm_view *v, json_t *next)
{
    const char *reason = jget_str(v->report, "reason", "");
    json_t *halt;

    if (!v->halted) {
        (void)json_object_del(json_object_get(next, "status"), "halted");
    }
    if (v->halted || !jget_bool(v->report, "halted", false) || seen_running(v->report) ||
        jget_int(v->report, "generation", -1) != jget_int(v->o->json, "metadata.generation", 0)) {
        return;
    }
    halt = json_pack(
        "{s:I, s:s, s:s}", "generation", (json_int_t)jget_int(v->o->json, "metadata.generation", 0),
        "reason", *reason == 0 ? "Halted" : reason, "message", jget_str(v->report, "message", ""));
    jset(next, "status.halted", halt);
}

static void write_placement(struct pass *p, const struct vm_view *v, const struct vm_place *pl,
                            json_t *next)
{
    const struct s_inc *inc = *pl->host == 0 ? NULL : pass_inc(p, pl->host);
    bool scheduled = v->wanted && *pl->host != 0;
    bool waits = !v->wanted && *v->missing != 0;
    const char *reason = waits ? "ReferenceNotFound" : v->wanted ? pl->reason : "NotWanted";
    const char *message = waits       ? arena_printf(&p->a, "waits for %s", v->missing)
                          : v->wanted ? pl->message
                                      : "";

    jset(next, "status.assignedHost", json_string(pl->host));
    jset(next, "status.assignedIncarnation",
         json_integer(inc == NULL ? 0 : (json_int_t)inc->number));
    jset(next, "status.placement",
         json_pack("{s:s, s:s, s:o}", "reason", reason, "message", message, "rejected",
                   v->wanted ? ctl_place_rejected(p->c, v->o->name) : json_array()));
    (void)cond_set(next, "Scheduled", scheduled ? "True" : "False", reason, message, p->wall_ms);
}

/* What only the host knows, as long as it says so. */
static void follow_report(json_t *next, const json_t *report, const char *key)
{
    json_t *status = json_object_get(next, "status");
    json_t *v = json_object_get(report, key);

    if (v != NULL) {
        (void)json_object_set(status, key, v);
    } else {
        (void)json_object_del(status, key);
    }
}

static void write_phase(struct pass *p, const struct vm_view *v, const struct phase *ph,
                        json_t *next)
{
    const char *host = v->holder != NULL         ? v->holder
                       : seen_running(v->report) ? v->report_host
                                                 : "";
    char when[32];

    if (!str_eq(jget_str(next, "status.phase", ""), ph->phase)) {
        str_format_time(p->wall_ms, when, sizeof(when));
        jset(next, "status.since", json_string(when));
        lg_info("vm", "vm=%s phase=%s host=%s reason=%s", v->o->name, ph->phase,
                *host == 0 ? "-" : host, ph->reason);
    }
    jset(next, "status.phase", json_string(ph->phase));
    jset(next, "status.host", json_string(host));
    jset(next, "status.token",
         json_integer(v->holder == NULL ? 0 : (json_int_t)v->lock->owner.token));
    if (jget(v->report, "restarts") != NULL) {
        jset(next, "status.restarts", json_integer(jget_int(v->report, "restarts", 0)));
    }
    follow_report(next, v->report, "domid");
    follow_report(next, v->report, "console");
    jset(next, "status.observedGeneration",
         json_integer(jget_int(v->o->json, "metadata.generation", 0)));
    (void)cond_set(next, "Ready", ph->ready, ph->reason, ph->message, p->wall_ms);
}

/* Deleted, and nothing of it is left anywhere. */
static bool gone(const struct pass *p, const struct vm_view *v)
{
    return jget(v->o->json, "metadata.deletionTimestamp") != NULL && v->lock == NULL &&
           v->running_on == 0 && (v->report == NULL || !seen_running(v->report)) && p != NULL;
}

/* --- volumes that disks declare in place -------------------------------------------------------
 */

static json_t *owned_volume(const struct ctl_obj *vm, const json_t *disk, const char *name,
                            uint64_t wall_ms)
{
    char uid[37];
    char when[32];

    clock_uuid(uid);
    str_format_time(wall_ms, when, sizeof(when));
    return json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:s, s:i, s:[{s:s, s:s, s:s, s:s, s:b}]}, s:{s:s, s:O, s:s}}",
        "apiVersion", API_VERSION, "kind", "Volume", "metadata", "name", name, "uid", uid,
        "creationTimestamp", when, "generation", 1, "ownerReferences", "apiVersion", API_VERSION,
        "kind", "VirtualMachine", "name", vm->name, "uid", jget_str(vm->json, "metadata.uid", ""),
        "controller", 1, "spec", "volumeGroup", jget_str(disk, "volumeGroup", ""), "size",
        json_object_get(disk, "size"), "access", "Exclusive");
}

static void vm_volumes(struct pass *p, const struct ctl_obj *vm)
{
    const json_t *disks = jget(vm->json, "spec.disks");

    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *d = json_array_get(disks, i);
        const char *name;

        if (json_object_get(d, "volumeGroup") == NULL || json_object_get(d, "size") == NULL) {
            continue;
        }
        name = arena_printf(&p->a, "%s-%s", vm->name, jget_str(d, "name", ""));
        if (ctl_find(p->c, "volumes", name) == NULL) {
            json_t *vol = owned_volume(vm, d, name, p->wall_ms);

            if (vol != NULL) {
                pass_create(p, kind_find("Volume"), name, vol, vm);
            }
        }
    }
}

/* A Volume whose owner is gone goes too (the object; the data stays where it is), unless it is
 * locked. */
static bool volume_gc(struct pass *p, const struct ctl_obj *vol)
{
    const char *kind = jget_str(vol->json, "metadata.ownerReferences.0.kind", "");
    const char *owner = jget_str(vol->json, "metadata.ownerReferences.0.name", "");
    const char *uid = jget_str(vol->json, "metadata.ownerReferences.0.uid", "");
    const struct ctl_obj *vm;

    if (!str_eq(kind, "VirtualMachine") || pass_lock(p, "volumes", vol->name) != NULL) {
        return false;
    }
    vm = ctl_find(p->c, "virtualmachines", owner);
    if (vm != NULL && str_eq(jget_str(vm->json, "metadata.uid", ""), uid)) {
        return false;
    }
    pass_delete(p, vol);
    return true;
}

void ctl_volume_one(struct pass *p, const struct ctl_obj *o)
{
    if (!volume_gc(p, o)) {
        ctl_ref_one(p, o);
    }
}

/* --- one machine -------------------------------------------------------------------------------
 */

static void vm_status(struct pass *p, struct ctl_obj *o)
{
    struct vm_place pl = ctl_place_of(p->c, o->name);
    struct vm_view v;
    struct phase ph;
    json_t *next;

    pl.message = ctl_place_text(p->c, o->name, &p->a);
    view_make(p, o, &v);
    if (gone(p, &v)) {
        pass_delete(p, o);
        return;
    }
    next = json_deep_copy(o->json);
    ph = phase_of(p, &v, &pl);
    latch_halt(&v, next);
    ctl_avoid_update(p, o, v.report_host, v.report, next);
    write_placement(p, &v, &pl, next);
    write_phase(p, &v, &ph, next);
    ctl_stop_update(p, o, v.report_host, v.report, next);
    ctl_mig_status(p, o, next);
    pass_update(p, o, next);
}

void ctl_vm_one(struct pass *p, struct ctl_obj *o)
{
    if (jget(o->json, "metadata.deletionTimestamp") == NULL) {
        vm_volumes(p, o);
    }
    vm_status(p, o);
}
