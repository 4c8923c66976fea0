/* Migrations that placement wants: off a host in maintenance (or without the users' network), back
 * to a preferred host, away from a broken rule, out of the way of a higher priority. */

#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_mig.h"

#define AGAIN_MS 15000U /* after a failure; doubled each time */
#define AGAIN_MAX_MS 600000U
#define KEEP_MS 3600000U /* history of those that the cluster made itself */
#define LIVE_TRIES 2     /* then cold, where that is allowed */

struct history {
    bool running;      /* one is under way, or waits */
    unsigned failures; /* of the cluster's own, in a row */
    uint64_t failed_ms;
};

static uint64_t time_of(const json_t *o, const char *field)
{
    uint64_t ms = 0;

    (void)str_parse_time(jget_str(o, field, ""), &ms);
    return ms;
}

static struct history history_of(struct pass *p, const char *vm)
{
    const struct kind *k = kind_by_plural("migrations");
    struct history h = { 0 };
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        if (!str_eq(jget_str(o->json, "spec.vm", ""), vm)) {
            continue;
        }
        h.running = h.running || !migration_over(o->json);
        if (str_eq(jget_str(o->json, "status.phase", ""), "Succeeded")) {
            h.failures = 0;
        } else if (migration_over(o->json) && *jget_str(o->json, "spec.cause", "") != 0) {
            h.failures++;
            h.failed_ms = time_of(o->json, "status.finished");
        }
    }
    return h;
}

/* May it be tried now?  False: asked again in time. */
static bool due(struct pass *p, const struct history *h)
{
    uint64_t wait = AGAIN_MS;

    if (h->failures == 0) {
        return true;
    }
    for (unsigned i = 1; i < h->failures && wait < AGAIN_MAX_MS; i++) {
        wait *= 2;
    }
    if (p->wall_ms >= h->failed_ms + wait) {
        return true;
    }
    pass_recheck(p, p->now_ms + (h->failed_ms + wait - p->wall_ms) + 1);
    return false;
}

static bool must_move(enum place_reason r)
{
    return r == PLACE_DRAINED || r == PLACE_PREEMPTED;
}

/* A preference is never worth a restart of the guest. */
static bool worth(struct pass *p, struct ctl_obj *vm, const struct place_result *r,
                  const char *from, const char *to)
{
    return must_move(r->reason) ||
           (str_eq(jget_str(vm->json, "spec.migration.mode", "Live"), "Live") &&
            str_eq(jget_str(vm->json, "status.phase", ""), "Running") &&
            mig_not_live(p, vm, from, to) == NULL);
}

static const char *mode_of(const struct ctl_obj *vm, const struct place_result *r,
                           const struct history *h)
{
    if (!must_move(r->reason)) {
        return "Live";
    }
    return h->failures >= LIVE_TRIES &&
                   str_eq(jget_str(vm->json, "spec.migration.fallback", "Cold"), "Cold")
               ? "Cold"
               : "Auto";
}

static json_t *migration_of(struct pass *p, const struct ctl_obj *vm, const char *name,
                            const char *to, const char *mode, const char *cause)
{
    char uid[37], when[32];

    clock_uuid(uid);
    str_format_time(p->wall_ms, when, sizeof(when));
    return json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:i, s:[{s:s, s:s, s:s, s:s}]}, s:{s:s, s:s, "
                     "s:s, s:s, s:s, s:s}}",
                     "apiVersion", API_VERSION, "kind", "Migration", "metadata", "name", name,
                     "uid", uid, "creationTimestamp", when, "generation", 1, "ownerReferences",
                     "apiVersion", API_VERSION, "kind", "VirtualMachine", "name", vm->name, "uid",
                     jget_str(vm->json, "metadata.uid", ""), "spec", "vm", vm->name, "target", to,
                     "mode", mode, "timeout", jget_str(vm->json, "spec.migration.timeout", "10m"),
                     "onTimeout", "Cancel", "cause", cause);
}

static void want(struct pass *p, struct vm_places *s, uint32_t i)
{
    const struct place_result *r = &s->plan.vms[i];
    struct ctl_obj *vm = ctl_find(p->c, "virtualmachines", s->vms[i].name);
    const char *from = s->hosts[r->host].name, *to = s->hosts[r->target].name;
    struct history h;
    char uuid[37];
    json_t *obj;

    if (vm == NULL || !s->vms[i].held || !worth(p, vm, r, from, to)) {
        return;
    }
    h = history_of(p, vm->name);
    if (h.running || !due(p, &h)) {
        return;
    }
    clock_uuid(uuid);
    uuid[8] = 0;
    obj = migration_of(p, vm, arena_printf(&p->a, "%s-%s", vm->name, uuid), to, mode_of(vm, r, &h),
                       place_reason_name(r->reason));
    pass_create(p, kind_find("Migration"), obj_name(obj), obj, vm);
}

static void forget_old(struct pass *p)
{
    const struct kind *k = kind_by_plural("migrations");
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        if (migration_over(o->json) && *jget_str(o->json, "spec.cause", "") != 0 &&
            p->wall_ms > time_of(o->json, "status.finished") + KEEP_MS && !pass_full(p)) {
            pass_delete(p, o);
        }
    }
}

void ctl_mig_auto(struct pass *p)
{
    struct vm_places *s = p->c->places;

    forget_old(p);
    for (uint32_t i = 0; i < s->in.n_vms && s->plan.n_moves > 0; i++) {
        if (s->plan.vms[i].action == PLACE_MIGRATE && !pass_full(p)) {
            want(p, s, i);
        }
    }
}
