/* Progress of maintenance: who is still on the host, and what keeps them there. */

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_place.h"

#define VM_LOCK "virtualmachines/"

struct drain {
    struct pass *p;
    const struct ctl_obj *o;
    const char *host;
    json_t *remaining, *blocked;
};

/* What became of the newest move that the cluster wanted; NULL: it is under way, or about to be. */
static const char *move_failed(const struct drain *d, const char *vm)
{
    const struct kind *k = kind_by_plural("migrations");
    const struct ctl_obj *o, *newest = NULL;
    const char *when = "";

    for (size_t pos = 0; (o = ctl_next(d->p->c, k, &pos)) != NULL;) {
        if (!str_eq(jget_str(o->json, "spec.vm", ""), vm)) {
            continue;
        }
        if (!migration_over(o->json)) {
            return NULL;
        }
        if (strcmp(jget_str(o->json, "status.finished", ""), when) >= 0) {
            newest = o;
            when = jget_str(o->json, "status.finished", "");
        }
    }
    if (newest == NULL || str_eq(jget_str(newest->json, "status.phase", ""), "Succeeded")) {
        return NULL;
    }
    return arena_printf(&d->p->a, "migration/%s %s: %s; it is tried again", newest->name,
                        jget_str(newest->json, "status.phase", ""),
                        jget_str(newest->json, "status.message", ""));
}

/* Why this machine does not leave; NULL: it does, or will. */
static const char *blocked_why(const struct drain *d, const char *vm)
{
    struct ctl_obj *o = ctl_find(d->p->c, "virtualmachines", vm);
    struct vm_place pl = ctl_place_of(d->p->c, vm);

    if (o == NULL) {
        return "there is no such VirtualMachine";
    }
    if (ctl_vm_facts(o)->hold) {
        return "spec.paused";
    }
    if (jget_bool(d->p->cluster, "spec.paused", false)) {
        return "Cluster.spec.paused";
    }
    if (ctl_place_moves(d->p->c, vm)) {
        return move_failed(d, vm);
    }
    return str_eq(pl.host, d->host) ? ctl_place_text(d->p->c, vm, &d->p->a) : NULL;
}

static void visit(void *ctx, const char *lock)
{
    struct drain *d = ctx;
    const char *vm = lock + strlen(VM_LOCK);
    const char *why;

    if (!str_starts(lock, VM_LOCK)) {
        return;
    }
    (void)json_array_append_new(d->remaining, json_string(vm));
    why = blocked_why(d, vm);
    if (why != NULL) {
        (void)json_array_append_new(d->blocked, json_sprintf("%s: %s", vm, why));
    }
}

/* Since when; kept from the first look on. */
static uint64_t since(struct pass *p, json_t *next)
{
    uint64_t ms = 0;
    char when[32];

    if (!str_parse_time(jget_str(next, "status.drain.since", ""), &ms)) {
        ms = p->wall_ms;
        str_format_time(ms, when, sizeof(when));
        jset(next, "status.drain.since", json_string(when));
    }
    return ms;
}

static void condition(struct pass *p, const struct drain *d, uint64_t until_ms, json_t *next)
{
    size_t left = json_array_size(d->remaining);
    size_t blocked = json_array_size(d->blocked);
    const char *reason = "GuestsRemain";
    const char *message;

    if (left == 0) {
        (void)cond_set(next, "Drained", "True", "Empty", "no guest runs here", p->wall_ms);
        return;
    }
    message = arena_printf(&p->a, "%zu of %" PRId64 " guest%s here", left,
                           jget_int(next, "status.drain.total", 0), left == 1 ? " is" : "s are");
    if (blocked > 0) {
        reason = "Blocked";
        message = arena_printf(&p->a, "%s, %zu cannot leave: %s%s", message, blocked,
                               json_string_value(json_array_get(d->blocked, 0)),
                               blocked > 1 ? "; the others are in status.drain.blockedBy" : "");
    }
    if (p->wall_ms >= until_ms) {
        reason = "TimedOut";
        message = arena_printf(&p->a, "%s; spec.drainTimeout is over%s", message,
                               ctl_drain_stops(p, d->o)
                                   ? ": what is left is being stopped (spec.onDrainTimeout: Stop)"
                                   : " (spec.onDrainTimeout: Keep)");
    } else {
        pass_recheck(p, p->now_ms + (until_ms - p->wall_ms));
    }
    (void)cond_set(next, "Drained", "False", reason, message, p->wall_ms);
}

/* How far it is, and until when. */
static void progress(json_t *next, const struct drain *d, uint64_t until_ms)
{
    int64_t left = (int64_t)json_array_size(d->remaining);
    int64_t total = jget_int(next, "status.drain.total", 0);
    char when[32];

    str_format_time(until_ms, when, sizeof(when));
    jset(next, "status.drain.until", json_string(when));
    jset(next, "status.drain.total", json_integer(left > total ? left : total));
}

static uint64_t until_of(const struct ctl_obj *host, uint64_t since_ms)
{
    return since_ms + jget_duration(host->json, "spec.drainTimeout", 600000);
}

bool ctl_drain_stops(const struct pass *p, const struct ctl_obj *host)
{
    uint64_t ms = 0;

    return jget_bool(host->json, "spec.maintenance", false) &&
           str_eq(jget_str(host->json, "spec.onDrainTimeout", "Keep"), "Stop") &&
           str_parse_time(jget_str(host->json, "status.drain.since", ""), &ms) &&
           p->wall_ms >= until_of(host, ms);
}

void ctl_drain_status(struct pass *p, const struct ctl_obj *host, json_t *next)
{
    const struct s_inc *inc = pass_inc(p, host->name);
    struct drain d = { .p = p, .o = host, .host = host->name };
    uint64_t until;

    if (!jget_bool(host->json, "spec.maintenance", false)) {
        (void)json_object_del(json_object_get(next, "status"), "drain");
        cond_drop(next, "Drained");
        return;
    }
    if (p->c->places == NULL) {
        return; /* a new leader: what was written stays until placement has been asked */
    }
    d.remaining = json_array();
    d.blocked = json_array();
    until = until_of(host, since(p, next));
    if (inc != NULL && inc->state != INC_FENCED) {
        s_locks_of(p->c->world->store, inc->number, visit, &d);
    }
    progress(next, &d, until);
    condition(p, &d, until, next);
    jset(next, "status.drain.remaining", d.remaining);
    jset(next, "status.drain.blockedBy", d.blocked);
}
