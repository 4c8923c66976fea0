/* Migrations: from what is asked for to where it ended. */

#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_place.h"

static void set_phase(struct pass *p, json_t *next, const char *phase, const char *message)
{
    char when[32];

    str_format_time(p->wall_ms, when, sizeof(when));
    if (jget(next, "status.started") == NULL) {
        jset(next, "status.started", json_string(when));
    }
    jset(next, "status.phase", json_string(phase));
    jset(next, "status.message", json_string(message));
    if (migration_over(next)) {
        jset(next, "status.finished", json_string(when));
    }
}

/* Auto: the best other host, by asking placement as if the machine's host would not take it. */
static const char *choose_target(struct vm_places *s, struct arena *a, uint32_t vm)
{
    struct place_vm saved = s->vms[vm];
    uint32_t *not_hosts = ARENA_ARRAY(a, uint32_t, saved.n_not_hosts + 1);
    struct place_plan plan;

    if (saved.n_not_hosts > 0) {
        memcpy(not_hosts, saved.not_hosts, saved.n_not_hosts * sizeof(*not_hosts));
    }
    not_hosts[saved.n_not_hosts] = saved.current;
    s->vms[vm].not_hosts = not_hosts;
    s->vms[vm].n_not_hosts = saved.n_not_hosts + (saved.current == PLACE_NONE ? 0 : 1);
    s->vms[vm].held = false;
    s->vms[vm].current = PLACE_NONE;
    s->vms[vm].n_after = 0;
    place_decide(&s->in, a, &plan);
    s->vms[vm] = saved;
    return plan.vms[vm].host == PLACE_NONE ? NULL : s->hosts[plan.vms[vm].host].name;
}

static const char *migration_refusal(struct arena *a, const char *target, uint32_t h)
{
    if (target == NULL) {
        return "no other host can take it";
    }
    if (h == PLACE_NONE) {
        return arena_printf(a, "there is no host %s: `picket get hosts` lists them", target);
    }
    return arena_printf(a, "host %s is not ready to take it: `picket why host %s` tells why",
                        target, target);
}

static void migration_start(struct pass *p, struct vm_places *s, const struct ctl_obj *m,
                            uint32_t vm, json_t *next)
{
    const char *want = jget_str(m->json, "spec.target", "Auto");
    const char *target = str_eq(want, "Auto") ? choose_target(s, &p->a, vm) : want;
    uint32_t h = places_host(s, target);
    const char *source = s->vms[vm].current == PLACE_NONE ? "" : s->hosts[s->vms[vm].current].name;

    if (h == PLACE_NONE || s->hosts[h].state != PLACE_HOST_READY) {
        set_phase(p, next, "Failed", migration_refusal(&p->a, target, h));
        return;
    }
    if (str_eq(source, target)) {
        set_phase(p, next, "Succeeded", "it is there already");
        return;
    }
    jset(next, "status.source", json_string(source));
    jset(next, "status.target", json_string(target));
    set_phase(p, next, "Running",
              "cold: it is stopped on its host and started on the target (dev hosts do not migrate "
              "live)");
}

static void migration_watch(struct pass *p, struct vm_places *s, const struct ctl_obj *m,
                            uint32_t vm, json_t *next)
{
    const char *target = jget_str(m->json, "status.target", "");
    const struct ctl_obj *vo = ctl_find(p->c, "virtualmachines", s->vms[vm].name);
    const json_t *st = vo == NULL ? NULL : vo->json;
    uint64_t started = 0;
    uint64_t limit = jget_duration(m->json, "spec.timeout", 600000);

    (void)str_parse_time(jget_str(m->json, "status.started", ""), &started);
    if (str_eq(jget_str(st, "status.host", ""), target) &&
        str_eq(jget_str(st, "status.phase", ""), "Running")) {
        set_phase(p, next, "Succeeded", "runs on the target");
    } else if (p->wall_ms > started + limit) {
        set_phase(p, next, "Failed", "timeout");
    } else if (!s->vms[vm].wanted) {
        set_phase(p, next, "Canceled", "the machine shall not run any more");
    } else if (s->targets[vm] == NULL) {
        set_phase(p, next, "Failed", "the target is not ready any more");
    }
}

void ctl_migration_pass(struct pass *p)
{
    const struct kind *k = kind_by_plural("migrations");
    struct vm_places *s = p->c->places;
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        uint32_t vm = places_vm(s, jget_str(o->json, "spec.vm", ""));
        json_t *next;

        if (migration_over(o->json)) {
            continue;
        }
        next = json_deep_copy(o->json);
        if (vm == PLACE_NONE) {
            set_phase(p, next, "Failed", "there is no such VirtualMachine");
        } else if (jget(o->json, "status.target") == NULL) {
            migration_start(p, s, o, vm, next);
        } else {
            migration_watch(p, s, o, vm, next);
        }
        pass_update(p, o, next);
    }
}
