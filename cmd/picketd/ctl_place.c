#include "cmd/picketd/ctl_place.h"

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/place.h"

#define SETTLE_MS 3000U

struct vm_places {
    struct pass *p;
    struct place_input in;
    struct place_plan plan;
    bool settling;
    struct place_host *hosts;
    struct place_vm *vms;
    const struct ctl_obj **host_objs;
    const struct ctl_obj **vm_objs;
    const struct ctl_obj **migrations; /* by vm: the active one, or NULL */
    struct vm_place *result;
};

bool ctl_vm_wanted(const struct ctl_obj *vm)
{
    return jget(vm->json, "metadata.deletionTimestamp") == NULL &&
           !str_eq(jget_str(vm->json, "spec.runPolicy", "Running"), "Stopped");
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static uint32_t host_index(const struct vm_places *s, const char *name)
{
    for (uint32_t i = 0; i < s->in.n_hosts; i++) {
        if (str_eq(s->hosts[i].name, name)) {
            return i;
        }
    }
    return PLACE_NONE;
}

static uint32_t vm_index(const struct vm_places *s, const char *name)
{
    for (uint32_t i = 0; i < s->in.n_vms; i++) {
        if (str_eq(s->vms[i].name, name)) {
            return i;
        }
    }
    return PLACE_NONE;
}

static const struct place_label *labels_of(struct pass *p, const json_t *map, size_t *ret_n)
{
    struct place_label *out = ARENA_ARRAY(&p->a, struct place_label, json_object_size(map) + 1);
    size_t n = 0;

    for (void *it = json_object_iter((json_t *)(uintptr_t)map); it != NULL;
         it = json_object_iter_next((json_t *)(uintptr_t)map, it)) {
        const char *value = json_string_value(json_object_iter_value(it));

        out[n++] = (struct place_label){ .key = json_object_iter_key(it),
                                         .value = value == NULL ? "" : value };
    }
    *ret_n = n;
    return out;
}

static enum place_host_state host_state(struct pass *p, const struct ctl_obj *o)
{
    const struct s_inc *inc = pass_inc(p, o->name);

    if (inc == NULL || inc->state == INC_FENCED) {
        return PLACE_HOST_DOWN;
    }
    if (!pass_host_ready(p, o->name)) {
        return PLACE_HOST_SUSPECT;
    }
    if (jget(o->json, "status.capacity.memory") == NULL) {
        return PLACE_HOST_CORDONED; /* what runs there stays; nothing comes before it told its size
                                     */
    }
    if (jget_bool(o->json, "spec.maintenance", false)) {
        return PLACE_HOST_MAINTENANCE;
    }
    return jget_bool(o->json, "spec.unschedulable", false) ? PLACE_HOST_CORDONED : PLACE_HOST_READY;
}

static void host_make(struct pass *p, const struct ctl_obj *o, struct place_host *h)
{
    uint64_t reserve = jget_size(o->json, "spec.memoryReserve",
                                 jget_size(p->cluster, "spec.capacity.dom0Memory", 1ULL << 30));
    uint64_t memory = jget_size(o->json, "status.capacity.memory", 0);
    const json_t *ready = cond_get(o->json, "Ready");

    *h = (struct place_host){ .name = o->name,
                              .memory = memory > reserve ? memory - reserve : 0,
                              .cpus = (uint32_t)jget_int(o->json, "status.capacity.cpus", 0),
                              .state = host_state(p, o) };
    h->labels = labels_of(p, jget(o->json, "metadata.labels"), &h->n_labels);
    if (h->state == PLACE_HOST_CORDONED) {
        h->why = jget_bool(o->json, "spec.unschedulable", false)
                     ? NULL
                     : "it has not told its capacity yet";
    } else if (h->state != PLACE_HOST_READY) {
        h->why = arena_strdup(&p->a, jget_str(ready, "message", "no reason is known"));
    }
}

static void hosts_make(struct vm_places *s)
{
    const struct kind *k = kind_find("Host");
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(s->p->c, k, &pos) != NULL;) {
        n++;
    }
    s->hosts = ARENA_ARRAY(&s->p->a, struct place_host, n + 1);
    n = 0;
    for (size_t pos = 0; (o = ctl_next(s->p->c, k, &pos)) != NULL;) {
        host_make(s->p, o, &s->hosts[n++]);
    }
    s->in.hosts = s->hosts;
    s->in.n_hosts = n;
}

/* --- virtual machines --------------------------------------------------------------------------
 */

static enum place_failback failback_of(const char *s)
{
    return str_eq(s, "Always")     ? PLACE_FAILBACK_ALWAYS
           : str_eq(s, "WhenIdle") ? PLACE_FAILBACK_WHEN_IDLE
                                   : PLACE_FAILBACK_NEVER;
}

static enum place_ha ha_of(const char *s)
{
    return str_eq(s, "Never")        ? PLACE_HA_NEVER
           : str_eq(s, "BestEffort") ? PLACE_HA_BEST_EFFORT
                                     : PLACE_HA_RESTART;
}

static const uint32_t *host_list(struct vm_places *s, const json_t *names, size_t *ret_n)
{
    uint32_t *out = ARENA_ARRAY(&s->p->a, uint32_t, json_array_size(names) + 1);
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(names); i++) {
        uint32_t h = host_index(s, json_string_value(json_array_get(names, i)));

        if (h != PLACE_NONE) {
            out[n++] = h;
        }
    }
    *ret_n = n;
    return out;
}

static void vm_where(struct vm_places *s, const struct ctl_obj *o, struct place_vm *v)
{
    const struct s_lock *lock = pass_lock(s->p, "virtualmachines", o->name);
    const char *assigned = jget_str(o->json, "status.assignedHost", "");

    v->migrating_to = PLACE_NONE;
    v->current = *assigned == 0 ? PLACE_NONE : host_index(s, assigned);
    if (lock == NULL) {
        return;
    }
    v->held = lock->quarantined || lock->owner.incarnation != 0;
    if (lock->owner.incarnation != 0) {
        v->current = host_index(s, lock->owner.host);
    } else if (lock->quarantined) {
        v->current = PLACE_NONE;
    }
}

static void vm_make(struct vm_places *s, const struct ctl_obj *o, struct place_vm *v)
{
    const char *cluster_failback = jget_str(s->p->cluster, "spec.placement.failback", "Never");
    const json_t *halted = jget(o->json, "status.halted");
    bool is_halted = halted != NULL && jget_int(halted, "generation", -1) ==
                                           jget_int(o->json, "metadata.generation", 0);
    uint64_t memory = jget_size(o->json, "spec.memory", 0);
    uint64_t max = jget_size(o->json, "spec.memoryMax", 0);

    (void)max; /* ballooning up happens only where there is room: memory counts */
    *v = (struct place_vm){ .name = o->name,
                            .priority = jget_int(o->json, "spec.priority", 0),
                            .memory = memory,
                            .vcpus = (uint32_t)jget_int(o->json, "spec.vcpus", 1),
                            .ha = ha_of(jget_str(o->json, "spec.ha.policy", "Restart")),
                            .hold = jget_bool(o->json, "spec.paused", false),
                            .migratable = true };
    v->failback = failback_of(jget_str(o->json, "spec.placement.failback", cluster_failback));
    v->preemptible = v->ha == PLACE_HA_BEST_EFFORT;
    v->wanted =
        ctl_vm_wanted(o) && !is_halted &&
        (*pass_missing_refs(s->p, o) == 0 || pass_lock(s->p, "virtualmachines", o->name) != NULL);
    v->only_hosts = jget(o->json, "spec.placement.hosts") != NULL;
    v->hosts = host_list(s, jget(o->json, "spec.placement.hosts"), &v->n_hosts);
    v->not_hosts = host_list(s, jget(o->json, "spec.placement.notHosts"), &v->n_not_hosts);
    v->selector = labels_of(s->p, jget(o->json, "spec.placement.hostSelector"), &v->n_selector);
    vm_where(s, o, v);
}

static void vm_after(struct vm_places *s, size_t i)
{
    const json_t *list = jget(s->vm_objs[i]->json, "spec.startAfter");
    size_t n = json_array_size(list);
    struct place_after *out = ARENA_ARRAY(&s->p->a, struct place_after, n + 1);

    for (size_t k = 0; k < n; k++) {
        const json_t *a = json_array_get(list, k);
        const char *name = jget_str(a, "vm", "");
        uint32_t vm = vm_index(s, name);
        const json_t *other = vm == PLACE_NONE ? NULL : s->vm_objs[vm]->json;
        bool running = str_eq(jget_str(other, "status.phase", ""), "Running");

        out[k] = (struct place_after){ .vm = vm,
                                       .name = name,
                                       .ready = str_eq(jget_str(a, "condition", ""), "Ready"),
                                       .satisfied = running };
    }
    s->vms[i].after = out;
    s->vms[i].n_after = n;
}

static void vms_make(struct vm_places *s)
{
    const struct kind *k = kind_find("VirtualMachine");
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(s->p->c, k, &pos) != NULL;) {
        n++;
    }
    s->vms = ARENA_ARRAY(&s->p->a, struct place_vm, n + 1);
    s->vm_objs = ARENA_ARRAY(&s->p->a, const struct ctl_obj *, n + 1);
    s->migrations = ARENA_ARRAY(&s->p->a, const struct ctl_obj *, n + 1);
    s->result = ARENA_ARRAY(&s->p->a, struct vm_place, n + 1);
    n = 0;
    for (size_t pos = 0; (o = ctl_next(s->p->c, k, &pos)) != NULL;) {
        s->vm_objs[n] = o;
        vm_make(s, o, &s->vms[n++]);
    }
    s->in.vms = s->vms;
    s->in.n_vms = n;
    for (size_t i = 0; i < n; i++) {
        vm_after(s, i);
    }
}

/* --- rules -------------------------------------------------------------------------------------
 */

static bool rule_labels_match(const json_t *want, const json_t *labels)
{
    for (void *it = json_object_iter((json_t *)(uintptr_t)want); it != NULL;
         it = json_object_iter_next((json_t *)(uintptr_t)want, it)) {
        const json_t *have = json_object_get(labels, json_object_iter_key(it));

        if (!str_eq(json_string_value(have), json_string_value(json_object_iter_value(it)))) {
            return false;
        }
    }
    return true;
}

static void rule_members(struct vm_places *s, const struct ctl_obj *o, struct place_rule *r)
{
    const json_t *names = jget(o->json, "spec.vms");
    const json_t *selector = jget(o->json, "spec.selector");
    uint32_t *out = ARENA_ARRAY(&s->p->a, uint32_t, s->in.n_vms + 1);
    size_t n = 0;

    for (uint32_t i = 0; i < s->in.n_vms; i++) {
        bool named = false;

        for (size_t k = 0; k < json_array_size(names); k++) {
            named = named || str_eq(json_string_value(json_array_get(names, k)), s->vms[i].name);
        }
        if (named || (selector != NULL && json_object_size(selector) > 0 &&
                      rule_labels_match(selector, jget(s->vm_objs[i]->json, "metadata.labels")))) {
            out[n++] = i;
        }
    }
    r->vms = out;
    r->n_vms = n;
}

static void rule_hosts(struct vm_places *s, const struct ctl_obj *o, struct place_rule *r)
{
    const json_t *selector = jget(o->json, "spec.hostSelector");
    uint32_t *out;
    size_t n = 0;

    if (selector == NULL) {
        r->hosts = host_list(s, jget(o->json, "spec.hosts"), &r->n_hosts);
        return;
    }
    out = ARENA_ARRAY(&s->p->a, uint32_t, s->in.n_hosts + 1);
    for (uint32_t i = 0; i < s->in.n_hosts; i++) {
        const struct ctl_obj *h = ctl_find(s->p->c, "hosts", s->hosts[i].name);

        if (rule_labels_match(selector, jget(h->json, "metadata.labels"))) {
            out[n++] = i;
        }
    }
    r->hosts = out;
    r->n_hosts = n;
}

static enum place_rule_type rule_type(const char *s)
{
    return str_eq(s, "Together")  ? PLACE_TOGETHER
           : str_eq(s, "Apart")   ? PLACE_APART
           : str_eq(s, "OnHosts") ? PLACE_ON_HOSTS
                                  : PLACE_NOT_ON_HOSTS;
}

static void rules_make(struct vm_places *s)
{
    const struct kind *k = kind_find("PlacementRule");
    struct place_rule *rules;
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(s->p->c, k, &pos) != NULL;) {
        n++;
    }
    rules = ARENA_ARRAY(&s->p->a, struct place_rule, n + 1);
    n = 0;
    for (size_t pos = 0; (o = ctl_next(s->p->c, k, &pos)) != NULL; n++) {
        rules[n] = (struct place_rule){
            .name = o->name,
            .type = rule_type(jget_str(o->json, "spec.type", "")),
            .required = str_eq(jget_str(o->json, "spec.strength", "Required"), "Required"),
            .weight = (uint32_t)jget_int(o->json, "spec.weight", 100),
            .topology = jget_str(o->json, "spec.topologyKey", NULL),
        };
        rules[n].weight = rules[n].weight > 100 ? 100 : rules[n].weight;
        rule_members(s, o, &rules[n]);
        rule_hosts(s, o, &rules[n]);
    }
    s->in.rules = rules;
    s->in.n_rules = n;
}

/* --- migrations --------------------------------------------------------------------------------
 */

static bool migration_over(const json_t *m)
{
    const char *phase = jget_str(m, "status.phase", "");

    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed") || str_eq(phase, "Canceled");
}

static void migrations_find(struct vm_places *s)
{
    const struct kind *k = kind_find("Migration");
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(s->p->c, k, &pos)) != NULL;) {
        uint32_t vm = vm_index(s, jget_str(o->json, "spec.vm", ""));

        if (vm != PLACE_NONE && !migration_over(o->json) && s->migrations[vm] == NULL) {
            s->migrations[vm] = o;
        }
    }
}

/* Where a running migration wants its machine; PLACE_NONE when it has not chosen. */
static uint32_t migration_target(const struct vm_places *s, size_t vm)
{
    const struct ctl_obj *m = s->migrations[vm];
    uint32_t h = m == NULL ? PLACE_NONE : host_index(s, jget_str(m->json, "status.target", ""));

    return h != PLACE_NONE && s->hosts[h].state == PLACE_HOST_READY ? h : PLACE_NONE;
}

/* --- the result --------------------------------------------------------------------------------
 */

static void rejects_of(struct vm_places *s, uint32_t vm, struct vm_place *out)
{
    const struct place_result *r = &s->plan.vms[vm];

    out->rejected = ARENA_ARRAY(&s->p->a, struct vm_reject, r->n_rejects + 1);
    for (size_t i = 0; i < r->n_rejects; i++) {
        char text[256];

        place_reject_text(&s->in, vm, &r->rejects[i], text, sizeof(text));
        out->rejected[i] = (struct vm_reject){ .host = s->hosts[r->rejects[i].host].name,
                                               .reason = place_reason_name(r->rejects[i].reason),
                                               .message = arena_strdup(&s->p->a, text) };
    }
    out->n_rejected = r->n_rejects;
}

/* A host that has just registered tells its capacity in a moment: placing everything on the one
 * that was first would be hard to take back. */
static bool settling(struct pass *p)
{
    const struct kind *k = kind_find("Host");
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        const struct s_inc *inc = pass_inc(p, o->name);

        if (inc != NULL && inc->state == INC_LIVE &&
            jget(o->json, "status.capacity.memory") == NULL &&
            p->wall_ms < inc->state_wall_ms + SETTLE_MS) {
            pass_recheck(p, p->now_ms + 100);
            return true;
        }
    }
    return false;
}

static void result_of(struct vm_places *s, uint32_t vm)
{
    const struct place_result *r = &s->plan.vms[vm];
    struct vm_place *out = &s->result[vm];
    uint32_t target = migration_target(s, vm);
    uint32_t host = r->host;

    if (r->action == PLACE_MIGRATE && r->reason == PLACE_DRAINED) {
        /* The agents move it cold (stop there, start here): only for a host that is being emptied,
         * never to tidy up behind rules or preferences. */
        host = r->target;
    } else if (r->action == PLACE_STOP) {
        host = PLACE_NONE;
    }
    if (s->vms[vm].wanted && target != PLACE_NONE) {
        host = target;
    }
    *out = (struct vm_place){ .host = host == PLACE_NONE ? "" : s->hosts[host].name,
                              .reason = place_reason_name(r->reason),
                              .message = r->message };
    if (s->settling && s->vms[vm].current == PLACE_NONE && host != PLACE_NONE) {
        out->host = "";
        out->reason = "Settling";
        out->message = "hosts that have just registered are still telling their capacity";
    }
    rejects_of(s, vm, out);
}

static struct vm_places *facts_make(struct pass *p)
{
    struct vm_places *s = ARENA_NEW(&p->a, struct vm_places);
    const json_t *c = p->cluster;

    s->p = p;
    hosts_make(s);
    vms_make(s);
    rules_make(s);
    migrations_find(s);
    s->in.policy = (struct place_policy){
        .strategy = str_eq(jget_str(c, "spec.placement.strategy", "Spread"), "Pack") ? PLACE_PACK
                                                                                     : PLACE_SPREAD,
        .cpu_percent = (uint32_t)jget_int(c, "spec.capacity.cpuOvercommit", 4) * 100,
        .preemption = true,
    };
    return s;
}

const struct place_input *ctl_place_facts(struct pass *p)
{
    return &facts_make(p)->in;
}

struct vm_places *ctl_place(struct pass *p)
{
    struct vm_places *s = facts_make(p);

    s->settling = settling(p);
    place_decide(&s->in, &p->a, &s->plan);
    for (uint32_t i = 0; i < s->in.n_vms; i++) {
        result_of(s, i);
    }
    return s;
}

const struct vm_place *ctl_place_of(const struct vm_places *s, const char *vm)
{
    static const struct vm_place none = { .host = "", .reason = "", .message = "" };
    uint32_t i = vm_index(s, vm);

    return i == PLACE_NONE ? &none : &s->result[i];
}

/* --- progress of migrations --------------------------------------------------------------------
 */

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
static const char *choose_target(struct vm_places *s, uint32_t vm)
{
    struct place_vm saved = s->vms[vm];
    uint32_t *not_hosts = ARENA_ARRAY(&s->p->a, uint32_t, saved.n_not_hosts + 1);
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
    place_decide(&s->in, &s->p->a, &plan);
    s->vms[vm] = saved;
    return plan.vms[vm].host == PLACE_NONE ? NULL : s->hosts[plan.vms[vm].host].name;
}

static const char *migration_refusal(struct vm_places *s, const char *target, uint32_t h)
{
    if (target == NULL) {
        return "no other host can take it";
    }
    if (h == PLACE_NONE) {
        return arena_printf(&s->p->a, "there is no host %s: `picket get hosts` lists them", target);
    }
    return arena_printf(&s->p->a, "host %s is not ready to take it: `picket why host %s` tells why",
                        target, target);
}

static void migration_start(struct vm_places *s, const struct ctl_obj *m, uint32_t vm, json_t *next)
{
    const char *want = jget_str(m->json, "spec.target", "Auto");
    const char *target = str_eq(want, "Auto") ? choose_target(s, vm) : want;
    uint32_t h = host_index(s, target);
    const char *source = s->vms[vm].current == PLACE_NONE ? "" : s->hosts[s->vms[vm].current].name;

    if (h == PLACE_NONE || s->hosts[h].state != PLACE_HOST_READY) {
        set_phase(s->p, next, "Failed", migration_refusal(s, target, h));
        return;
    }
    if (str_eq(source, target)) {
        set_phase(s->p, next, "Succeeded", "it is there already");
        return;
    }
    jset(next, "status.source", json_string(source));
    jset(next, "status.target", json_string(target));
    set_phase(s->p, next, "Running",
              "cold: it is stopped on its host and started on the target (dev hosts do not migrate "
              "live)");
}

static void migration_watch(struct vm_places *s, const struct ctl_obj *m, uint32_t vm, json_t *next)
{
    const char *target = jget_str(m->json, "status.target", "");
    const json_t *st = s->vm_objs[vm]->json;
    uint64_t started = 0;
    uint64_t limit = jget_duration(m->json, "spec.timeout", 600000);

    (void)str_parse_time(jget_str(m->json, "status.started", ""), &started);
    if (str_eq(jget_str(st, "status.host", ""), target) &&
        str_eq(jget_str(st, "status.phase", ""), "Running")) {
        set_phase(s->p, next, "Succeeded", "runs on the target");
    } else if (s->p->wall_ms > started + limit) {
        set_phase(s->p, next, "Failed", "timeout");
    } else if (!s->vms[vm].wanted) {
        set_phase(s->p, next, "Canceled", "the machine shall not run any more");
    } else if (migration_target(s, vm) == PLACE_NONE) {
        set_phase(s->p, next, "Failed", "the target is not ready any more");
    }
}

void ctl_migration_pass(struct pass *p, struct vm_places *s)
{
    const struct kind *k = kind_find("Migration");
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        uint32_t vm = vm_index(s, jget_str(o->json, "spec.vm", ""));
        json_t *next;

        if (migration_over(o->json)) {
            continue;
        }
        next = json_deep_copy(o->json);
        if (vm == PLACE_NONE) {
            set_phase(p, next, "Failed", "there is no such VirtualMachine");
        } else if (jget(o->json, "status.target") == NULL) {
            migration_start(s, o, vm, next);
        } else {
            migration_watch(s, o, vm, next);
        }
        pass_update(p, o, next);
    }
}
