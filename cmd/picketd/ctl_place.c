#include "cmd/picketd/ctl_place.h"
#include "cmd/picketd/ctl_mig.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define SETTLE_MS 3000U

static uint32_t index_of(const struct map *m, const void *base, size_t size, const char *name)
{
    const void *at = name == NULL ? NULL : map_get(m, name);

    return at == NULL ? PLACE_NONE
                      : (uint32_t)((size_t)((const char *)at - (const char *)base) / size);
}

uint32_t places_host(const struct vm_places *s, const char *name)
{
    return index_of(&s->host_names, s->hosts, sizeof(*s->hosts), name);
}

uint32_t places_vm(const struct vm_places *s, const char *name)
{
    return index_of(&s->vm_names, s->vms, sizeof(*s->vms), name);
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static const struct place_label *labels_of(struct vm_places *s, const json_t *map, size_t *ret_n)
{
    struct place_label *out = ARENA_ARRAY(&s->a, struct place_label, json_object_size(map) + 1);
    size_t n = 0;

    for (void *it = json_object_iter((json_t *)(uintptr_t)map); it != NULL;
         it = json_object_iter_next((json_t *)(uintptr_t)map, it)) {
        const char *value = json_string_value(json_object_iter_value(it));

        out[n++] = (struct place_label){ .key = arena_strdup(&s->a, json_object_iter_key(it)),
                                         .value = value == NULL ? "" : arena_strdup(&s->a, value) };
    }
    *ret_n = n;
    return out;
}

/* A NetworkCheck wants everybody to leave this host (ctl_netcheck.c writes the condition). */
static bool isolated(const json_t *host)
{
    return str_eq(jget_str(cond_get(host, "NetworkReachable"), "reason", ""), "MigrateAway");
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
    if (jget_bool(o->json, "spec.maintenance", false) || isolated(o->json)) {
        return PLACE_HOST_MAINTENANCE;
    }
    return jget_bool(o->json, "spec.unschedulable", false) ? PLACE_HOST_CORDONED : PLACE_HOST_READY;
}

static const char *host_why(struct vm_places *s, const struct ctl_obj *o,
                            enum place_host_state state)
{
    switch (state) {
    case PLACE_HOST_READY:
        return NULL;
    case PLACE_HOST_CORDONED:
        return jget_bool(o->json, "spec.unschedulable", false) ? NULL
                                                               : "it has not told its capacity yet";
    case PLACE_HOST_MAINTENANCE:
        return jget_bool(o->json, "spec.maintenance", false)
                   ? "in maintenance"
                   : arena_strdup(&s->a, jget_str(cond_get(o->json, "NetworkReachable"), "message",
                                                  "its network check fails"));
    case PLACE_HOST_SUSPECT:
    case PLACE_HOST_DOWN:
        return arena_strdup(&s->a,
                            jget_str(cond_get(o->json, "Ready"), "message", "no reason is known"));
    }
    CHECK_UNREACHABLE();
}

static void host_make(struct vm_places *s, struct pass *p, const struct ctl_obj *o,
                      struct place_host *h)
{
    uint64_t reserve = jget_size(o->json, "spec.memoryReserve",
                                 jget_size(p->cluster, "spec.capacity.dom0Memory", 1ULL << 30));
    uint64_t memory = jget_size(o->json, "status.capacity.memory", 0);

    *h = (struct place_host){ .name = arena_strdup(&s->a, o->name),
                              .memory = memory > reserve ? memory - reserve : 0,
                              .cpus = (uint32_t)jget_int(o->json, "status.capacity.cpus", 0),
                              .state = host_state(p, o) };
    h->labels = labels_of(s, jget(o->json, "metadata.labels"), &h->n_labels);
    h->why = host_why(s, o, h->state);
}

static void hosts_make(struct vm_places *s, struct pass *p)
{
    const struct kind *k = kind_by_plural("hosts");
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(p->c, k, &pos) != NULL;) {
        n++;
    }
    s->hosts = ARENA_ARRAY(&s->a, struct place_host, n + 1);
    s->stops = ARENA_ARRAY(&s->a, bool, n + 1);
    n = 0;
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        s->stops[n] = ctl_drain_stops(p, o);
        host_make(s, p, o, &s->hosts[n]);
        (void)map_put(&s->host_names, o->name, &s->hosts[n++]);
    }
    s->in.hosts = s->hosts;
    s->in.n_hosts = n;
}

/* --- what hosts lack ---------------------------------------------------------------------------
 */

struct lack {
    uint32_t host, resource;
    const char *why;
};

static uint32_t resource_of(struct vm_places *s, const char *what, const char *name)
{
    char *key = arena_printf(&s->a, "%s %s", what, name);
    uint32_t r = index_of(&s->resource_names, s->resources, sizeof(*s->resources), key);

    if (r == PLACE_NONE) {
        r = (uint32_t)s->in.n_resources++;
        s->resources[r] = key;
        (void)map_put(&s->resource_names, key, &s->resources[r]);
    }
    return r;
}

/* "I could not look" is not "I do not have it". */
static bool says_no(const json_t *rep)
{
    const char *reason = jget_str(rep, "reason", "");

    return str_eq(jget_str(rep, "state", ""), "NotReady") &&
           !str_eq(reason, err_name(ERR_TIMEOUT)) && !str_eq(reason, err_name(ERR_CANCELED)) &&
           !str_eq(reason, err_name(ERR_UNKNOWN_OUTCOME));
}

/* A host that says that it does not have something lacks it; one that says nothing may have it. */
static size_t lacks_of(struct vm_places *s, struct pass *p, const char *plural, const char *what,
                       struct lack *out, size_t n, size_t max)
{
    const struct kind *k = kind_by_plural(plural);
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        const struct world_reports *r = world_reports_of(p->c->world, plural, o->name);

        for (size_t i = 0; r != NULL && i < r->n && n < max; i++) {
            const json_t *rep = r->items[i]->json;
            uint32_t h = places_host(s, r->items[i]->host);

            if (h != PLACE_NONE && says_no(rep)) {
                const char *why = jget_str(rep, "message", "");

                out[n++] = (struct lack){ .host = h,
                                          .resource = resource_of(s, what, o->name),
                                          .why = *why == 0 ? NULL : arena_strdup(&s->a, why) };
            }
        }
    }
    return n;
}

static void lacks_make(struct vm_places *s, struct pass *p)
{
    size_t max = s->in.n_hosts * 64;
    struct lack *all = ARENA_ARRAY(&s->a, struct lack, max + 1);
    size_t n;

    s->resources = ARENA_ARRAY(&s->a, const char *, max + 1);
    n = lacks_of(s, p, "bridges", "bridge", all, 0, max);
    n = lacks_of(s, p, "volumegroups", "volume group", all, n, max);
    for (size_t h = 0; h < s->in.n_hosts && n > 0; h++) {
        struct place_lack *out = ARENA_ARRAY(&s->a, struct place_lack, n);
        size_t m = 0;

        for (size_t i = 0; i < n; i++) {
            if (all[i].host == h) {
                out[m++] = (struct place_lack){ .resource = all[i].resource, .why = all[i].why };
            }
        }
        s->hosts[h].lacks = out;
        s->hosts[h].n_lacks = m;
    }
    s->in.resources = s->resources;
}

/* What placement sees of the hosts, as a sum: few objects, looked at in every pass. */
static uint64_t hosts_sum(struct pass *p)
{
    const struct kind *k = kind_by_plural("hosts");
    const struct ctl_obj *o;
    uint64_t sum = 0;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        enum place_host_state st = host_state(p, o);
        struct vm_places text = { 0 };

        sum = sum_str(sum, o->name);
        sum = sum_u64(sum, (uint64_t)st << 1 | (uint64_t)ctl_drain_stops(p, o));
        sum = sum_u64(sum, (uint64_t)jget_int(o->json, "metadata.generation", 0));
        sum = sum_u64(sum, jget_size(o->json, "status.capacity.memory", 0));
        sum = sum_u64(sum, (uint64_t)jget_int(o->json, "status.capacity.cpus", 0));
        sum = sum_str(sum, host_why(&text, o, st));
        for (void *it =
                 json_object_iter(json_object_get(json_object_get(o->json, "metadata"), "labels"));
             it != NULL; it = json_object_iter_next(
                             json_object_get(json_object_get(o->json, "metadata"), "labels"), it)) {
            sum = sum_str(sum, json_object_iter_key(it));
            sum = sum_str(sum, json_string_value(json_object_iter_value(it)));
        }
        arena_done(&text.a);
    }
    return sum;
}

/* --- virtual machines --------------------------------------------------------------------------
 */

static enum place_failback failback_of(const char *s)
{
    return str_eq(s, "Always")     ? PLACE_FAILBACK_ALWAYS
           : str_eq(s, "WhenIdle") ? PLACE_FAILBACK_WHEN_IDLE
                                   : PLACE_FAILBACK_NEVER;
}

static const uint32_t *host_list(struct vm_places *s, const json_t *names, size_t *ret_n)
{
    uint32_t *out = ARENA_ARRAY(&s->a, uint32_t, json_array_size(names) + 1);
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(names); i++) {
        uint32_t h = places_host(s, json_string_value(json_array_get(names, i)));

        if (h != PLACE_NONE) {
            out[n++] = h;
        }
    }
    *ret_n = n;
    return out;
}

static void vm_where(struct vm_places *s, struct pass *p, const char *name,
                     const struct vm_facts *f, struct place_vm *v)
{
    const struct s_lock *lock = pass_lock(p, "virtualmachines", name);

    v->migrating_to = PLACE_NONE;
    v->current = places_host(s, f->assigned);
    if (lock == NULL) {
        uint32_t seen = places_host(s, f->seen);

        v->held = seen != PLACE_NONE; /* it is there, whatever we like; its agent adopts it */
        v->current = v->held ? seen : v->current;
        return;
    }
    v->held = lock->quarantined || lock->owner.incarnation != 0;
    if (lock->owner.incarnation != 0) {
        v->current = places_host(s, lock->owner.host);
    } else if (lock->quarantined) {
        v->current = PLACE_NONE;
    }
    if (v->held && lock->peer.incarnation != 0 && v->current != PLACE_NONE) {
        uint32_t peer = places_host(s, lock->peer.host);

        v->has_left = peer != PLACE_NONE && str_eq(f->moving_to, lock->owner.host);
        v->left = v->has_left ? peer : 0;
        v->migrating_to = v->has_left ? PLACE_NONE : peer;
    }
}

/* The labels that a machine has are what spreadBy groups it by. */
static const char *spread_key(struct vm_places *s, const struct vm_facts *f)
{
    return arena_printf(&s->a, "%016" PRIx64, f->labels_sum);
}

static void vm_avoid(struct vm_places *s, struct pass *p, const struct vm_facts *f,
                     struct place_vm *v)
{
    struct place_avoid *out;
    size_t n = 0;

    if (json_array_size(f->avoid) == 0) {
        return;
    }
    out = ARENA_ARRAY(&s->a, struct place_avoid, json_array_size(f->avoid));
    for (size_t i = 0; i < json_array_size(f->avoid); i++) {
        const json_t *e = json_array_get(f->avoid, i);
        uint32_t h = places_host(s, jget_str(e, "host", ""));

        if (h != PLACE_NONE && ctl_avoid_active(p, e)) {
            out[n++] = (struct place_avoid){ .host = h,
                                             .why = arena_printf(&s->a, "%s, tried again after %s",
                                                                 jget_str(e, "reason", ""),
                                                                 jget_str(e, "until", "")) };
        }
    }
    v->avoid = out;
    v->n_avoid = n;
}

/* Resources that some host is known not to have; what everybody has need not be asked for. */
static void need(const struct vm_places *s, uint32_t *out, size_t *n, const char *what,
                 const char *name)
{
    char key[300];
    uint32_t r;

    (void)snprintf(key, sizeof(key), "%s %s", what, name);
    r = index_of(&s->resource_names, s->resources, sizeof(*s->resources), key);
    for (size_t i = 0; i < *n; i++) {
        if (out[i] == r) {
            return;
        }
    }
    if (r != PLACE_NONE) {
        out[(*n)++] = r;
    }
}

static void vm_needs(struct vm_places *s, struct pass *p, const struct vm_facts *f,
                     struct place_vm *v)
{
    size_t max = json_array_size(f->nics) + json_array_size(f->disks);
    uint32_t *out;
    size_t n = 0;

    if (s->in.n_resources == 0 || max == 0) {
        return;
    }
    out = ARENA_ARRAY(&s->a, uint32_t, max);
    for (size_t i = 0; i < json_array_size(f->nics); i++) {
        need(s, out, &n, "bridge", jget_str(json_array_get(f->nics, i), "bridge", ""));
    }
    for (size_t i = 0; i < json_array_size(f->disks); i++) {
        const json_t *d = json_array_get(f->disks, i);
        const struct ctl_obj *vol = ctl_find(p->c, "volumes", jget_str(d, "volume", ""));
        const char *group = vol == NULL ? jget_str(d, "volumeGroup", "")
                                        : jget_str(vol->json, "spec.volumeGroup", "");

        need(s, out, &n, "volume group", group);
    }
    v->needs = out;
    v->n_needs = n;
}

static void vm_make(struct vm_places *s, struct pass *p, struct ctl_obj *o, struct place_vm *v)
{
    const struct vm_facts *f = ctl_vm_facts(o);
    const char *cluster_failback = jget_str(p->cluster, "spec.placement.failback", "Never");
    bool held = pass_lock(p, "virtualmachines", o->name) != NULL;

    *v = (struct place_vm){ .name = arena_strdup(&s->a, o->name),
                            .priority = f->priority,
                            .memory = f->memory,
                            .vcpus = f->vcpus,
                            .ha = f->ha,
                            .hold = f->hold || jget_bool(p->cluster, "spec.paused", false),
                            .migratable = !f->pinned,
                            .failback =
                                failback_of(*f->failback == 0 ? cluster_failback : f->failback),
                            .preemptible = f->ha == PLACE_HA_BEST_EFFORT,
                            .only_hosts = f->hosts != NULL };
    v->wanted = f->on && !f->halted && (held || *pass_missing_refs(p, o) == 0);
    v->hosts = host_list(s, f->hosts, &v->n_hosts);
    v->not_hosts = host_list(s, f->not_hosts, &v->n_not_hosts);
    v->selector = labels_of(s, f->selector, &v->n_selector);
    if (f->spread_by != NULL) {
        v->spread_by = arena_strdup(&s->a, f->spread_by);
        v->spread_key = spread_key(s, f);
    }
    vm_where(s, p, o->name, f, v);
    vm_avoid(s, p, f, v);
    vm_needs(s, p, f, v);
}

static void vm_after(struct vm_places *s, struct pass *p, size_t i)
{
    const json_t *list = ctl_vm_facts((struct ctl_obj *)(uintptr_t)s->vm_objs[i])->after;
    size_t n = json_array_size(list);
    struct place_after *out;

    if (n == 0) {
        return;
    }
    out = ARENA_ARRAY(&s->a, struct place_after, n);
    for (size_t k = 0; k < n; k++) {
        const json_t *a = json_array_get(list, k);
        const char *name = jget_str(a, "vm", "");
        struct ctl_obj *other = ctl_find(p->c, "virtualmachines", name);
        const struct vm_facts *f = other == NULL ? NULL : ctl_vm_facts(other);
        bool ready = str_eq(jget_str(a, "condition", ""), "Ready");

        out[k] = (struct place_after){ .vm = places_vm(s, name),
                                       .name = arena_strdup(&s->a, name),
                                       .ready = ready,
                                       .satisfied = f != NULL && (ready ? f->ready : f->running) };
    }
    s->vms[i].after = out;
    s->vms[i].n_after = n;
}

static void vms_make(struct vm_places *s, struct pass *p)
{
    const struct kind *k = kind_by_plural("virtualmachines");
    struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(p->c, k, &pos) != NULL;) {
        n++;
    }
    s->vms = ARENA_ARRAY(&s->a, struct place_vm, n + 1);
    s->vm_objs = ARENA_ARRAY(&s->a, const struct ctl_obj *, n + 1);
    s->targets = ARENA_ARRAY(&s->a, const char *, n + 1);
    n = 0;
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        s->vm_objs[n] = o;
        vm_make(s, p, o, &s->vms[n]);
        (void)map_put(&s->vm_names, o->name, &s->vms[n++]);
    }
    s->in.vms = s->vms;
    s->in.n_vms = n;
    for (size_t i = 0; i < n; i++) {
        vm_after(s, p, i);
    }
}

/* --- rules -------------------------------------------------------------------------------------
 */

static size_t rule_selected(struct vm_places *s, const json_t *selector, uint32_t *out, size_t n)
{
    if (json_object_size(selector) == 0) {
        return n;
    }
    for (uint32_t i = 0; i < s->in.n_vms; i++) {
        if (labels_match(selector, jget(s->vm_objs[i]->json, "metadata.labels"))) {
            out[n++] = i;
        }
    }
    return n;
}

static void rule_members(struct vm_places *s, const struct ctl_obj *o, struct place_rule *r)
{
    const json_t *names = jget(o->json, "spec.vms");
    const json_t *selector = jget(o->json, "spec.selector");
    size_t max = json_array_size(names) + (json_object_size(selector) == 0 ? 0 : s->in.n_vms);
    uint32_t *out = ARENA_ARRAY(&s->a, uint32_t, max + 1);
    size_t n = 0;

    for (size_t k = 0; k < json_array_size(names); k++) {
        uint32_t vm = places_vm(s, json_string_value(json_array_get(names, k)));

        if (vm != PLACE_NONE) {
            out[n++] = vm;
        }
    }
    r->vms = out;
    r->n_vms = n == 0 ? rule_selected(s, selector, out, n) : n; /* a rule has one or the other */
}

static void rule_hosts(struct vm_places *s, struct pass *p, const struct ctl_obj *o,
                       struct place_rule *r)
{
    const json_t *selector = jget(o->json, "spec.hostSelector");
    uint32_t *out;
    size_t n = 0;

    if (selector == NULL) {
        r->hosts = host_list(s, jget(o->json, "spec.hosts"), &r->n_hosts);
        return;
    }
    out = ARENA_ARRAY(&s->a, uint32_t, s->in.n_hosts + 1);
    for (uint32_t i = 0; i < s->in.n_hosts; i++) {
        const struct ctl_obj *h = ctl_find(p->c, "hosts", s->hosts[i].name);

        if (labels_match(selector, jget(h->json, "metadata.labels"))) {
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

static void rules_make(struct vm_places *s, struct pass *p)
{
    const struct kind *k = kind_by_plural("placementrules");
    const struct ctl_obj *o;
    size_t n = 0;

    for (size_t pos = 0; ctl_next(p->c, k, &pos) != NULL;) {
        n++;
    }
    s->rules = ARENA_ARRAY(&s->a, struct place_rule, n + 1);
    n = 0;
    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL; n++) {
        const char *topology = jget_str(o->json, "spec.topologyKey", NULL);

        s->rules[n] = (struct place_rule){
            .name = arena_strdup(&s->a, o->name),
            .type = rule_type(jget_str(o->json, "spec.type", "")),
            .required = str_eq(jget_str(o->json, "spec.strength", "Required"), "Required"),
            .weight = (uint32_t)jget_int(o->json, "spec.weight", 100),
            .topology = arena_strdup(&s->a, topology),
        };
        s->rules[n].weight = s->rules[n].weight > 100 ? 100 : s->rules[n].weight;
        rule_members(s, o, &s->rules[n]);
        rule_hosts(s, p, o, &s->rules[n]);
    }
    s->in.rules = s->rules;
    s->in.n_rules = n;
}

/* --- migrations --------------------------------------------------------------------------------
 */

bool migration_over(const json_t *m)
{
    const char *phase = jget_str(m, "status.phase", "");

    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed") || str_eq(phase, "Canceled");
}

/* Where running migrations want their machines: cold ones by assignment, live ones keep theirs. */
static void targets_make(struct vm_places *s, struct pass *p)
{
    const struct kind *k = kind_by_plural("migrations");
    const struct ctl_obj *o;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        uint32_t vm = places_vm(s, jget_str(o->json, "spec.vm", ""));
        const char *target = jget_str(o->json, "status.target", "");
        uint32_t h = places_host(s, target);

        if (vm == PLACE_NONE || h == PLACE_NONE || s->hosts[h].state != PLACE_HOST_READY) {
            continue;
        }
        if (migration_cold(o->json) && s->targets[vm] == NULL) {
            s->targets[vm] = s->hosts[h].name;
        } else if (migration_live(o->json) && s->vms[vm].held && s->vms[vm].current != h &&
                   s->vms[vm].current != PLACE_NONE && s->vms[vm].migrating_to == PLACE_NONE) {
            s->vms[vm].migrating_to = h; /* its room is taken before it has joined */
        }
    }
}

/* --- a run -------------------------------------------------------------------------------------
 */

/* A host that has just registered tells its capacity in a moment: placing everything on the one
 * that was first would be hard to take back. */
static bool settling(struct pass *p)
{
    const struct kind *k = kind_by_plural("hosts");
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

/* Nothing else goes on: everybody who shall run does, and nobody moves. */
static bool idle(const struct vm_places *s)
{
    for (size_t i = 0; i < s->in.n_vms; i++) {
        if ((s->vms[i].wanted && !s->vms[i].held) || s->targets[i] != NULL ||
            s->vms[i].migrating_to != PLACE_NONE) {
            return false;
        }
    }
    return true;
}

struct vm_places *places_facts(struct pass *p)
{
    struct vm_places *s = OBJ_NEW(struct vm_places);
    const json_t *c = p->cluster;

    s->c = p->c;
    hosts_make(s, p);
    lacks_make(s, p);
    vms_make(s, p);
    rules_make(s, p);
    targets_make(s, p);
    s->in.policy = (struct place_policy){
        .strategy = str_eq(jget_str(c, "spec.placement.strategy", "Spread"), "Pack") ? PLACE_PACK
                                                                                     : PLACE_SPREAD,
        .cpu_percent = (uint32_t)jget_int(c, "spec.capacity.cpuOvercommit", 4) * 100,
        .preemption = true,
        .idle = idle(s),
    };
    return s;
}

void places_free(struct vm_places *s)
{
    if (s != NULL) {
        map_done(&s->host_names);
        map_done(&s->vm_names);
        map_done(&s->resource_names);
        arena_done(&s->a);
        free(s);
    }
}

static void decided(struct pass *p, struct vm_places *s)
{
    for (uint32_t i = 0; i < s->in.n_vms; i++) {
        struct ctl_obj *o =
            world_find(p->c->world, kind_by_plural("virtualmachines"), s->vms[i].name);
        uint64_t sum = places_sum(s, i);

        if (o != NULL && o->place_sum != sum) {
            o->place_sum = sum;
            ctl_mark(p->c, o);
        }
    }
}

bool ctl_place_pass(struct pass *p)
{
    struct controller *c = p->c;
    uint64_t sum = hosts_sum(p);
    bool settles = settling(p);
    struct vm_places *s;

    if (!c->place_dirty && sum == c->place_hosts && c->places != NULL &&
        settles == c->places->settling) {
        return false;
    }
    c->place_dirty = false;
    c->place_hosts = sum;
    s = places_facts(p);
    s->settling = settles;
    place_decide(&s->in, &s->a, &s->plan);
    places_free(c->places);
    c->places = s;
    c->place_runs++;
    c->capacity_dirty = true;
    decided(p, s);
    return true;
}
