#ifndef TESTS_UNIT_PLACE_WORLD_H
#define TESTS_UNIT_PLACE_WORLD_H

/* Clusters for the tests of placement: from a few lines of text, or from a seed. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/place.h"

#define GI (UINT64_C(1) << 30)
#define WORLD_MAX 64 /* hosts, rules, resources, list lengths */
#define WORLD_VMS_MAX 512

struct world {
    struct arena a;
    struct place_input in;
    struct place_host hosts[WORLD_MAX];
    struct place_vm vms[WORLD_VMS_MAX];
    struct place_rule rules[WORLD_MAX];
    const char *resources[WORLD_MAX];
    uint32_t fail[WORLD_MAX];
    size_t n_fail;
    bool capacity; /* ask for it */
    uint32_t failures;
    uint64_t budget;
    bool all;
};

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->in.hosts = w->hosts;
    w->in.vms = w->vms;
    w->in.rules = w->rules;
    w->in.resources = w->resources;
}

static inline void world_die(const char *what, const char *arg)
{
    (void)fprintf(stderr, "place world: %s: %s\n", what, arg);
    abort();
}

static inline uint32_t world_host(const struct world *w, const char *name)
{
    for (uint32_t i = 0; i < w->in.n_hosts; i++) {
        if (strcmp(w->hosts[i].name, name) == 0) {
            return i;
        }
    }
    world_die("no host", name);
    return 0;
}

static inline uint32_t world_vm(const struct world *w, const char *name)
{
    for (uint32_t i = 0; i < w->in.n_vms; i++) {
        if (strcmp(w->vms[i].name, name) == 0) {
            return i;
        }
    }
    return PLACE_NONE;
}

static inline uint32_t world_resource(struct world *w, const char *name)
{
    for (uint32_t i = 0; i < w->in.n_resources; i++) {
        if (strcmp(w->resources[i], name) == 0) {
            return i;
        }
    }
    CHECK(w->in.n_resources < WORLD_MAX);
    w->resources[w->in.n_resources] = arena_strdup(&w->a, name);
    return (uint32_t)w->in.n_resources++;
}

/* "a,b,c" into its parts. */
static inline size_t world_split(struct world *w, const char *list, char **parts)
{
    char *copy = arena_strdup(&w->a, list);
    size_t n = 0;

    for (char *save = NULL, *s = strtok_r(copy, ",", &save); s != NULL;
         s = strtok_r(NULL, ",", &save)) {
        CHECK(n < WORLD_MAX);
        parts[n++] = s;
    }
    return n;
}

static inline const uint32_t *world_hosts(struct world *w, const char *list, size_t *ret_n)
{
    char *parts[WORLD_MAX];
    size_t n = world_split(w, list, parts);
    uint32_t *ids = ARENA_ARRAY(&w->a, uint32_t, n);

    *ret_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(parts[i], "-") != 0) {
            ids[(*ret_n)++] = world_host(w, parts[i]);
        }
    }
    return ids;
}

/* "rack:r1,ssd:yes" */
static inline const struct place_label *world_labels(struct world *w, const char *list,
                                                     size_t *ret_n)
{
    char *parts[WORLD_MAX];
    size_t n = world_split(w, list, parts);
    struct place_label *l = ARENA_ARRAY(&w->a, struct place_label, n);

    for (size_t i = 0; i < n; i++) {
        char *colon = strchr(parts[i], ':');

        CHECK(colon != NULL);
        *colon = 0;
        l[i] = (struct place_label){ parts[i], colon + 1 };
    }
    *ret_n = n;
    return l;
}

static inline uint64_t world_size(const char *s)
{
    uint64_t v;

    if (!str_parse_size(s, &v)) {
        world_die("not a size", s);
    }
    return v;
}

static inline void world_lacks(struct world *w, struct place_host *h, const char *list)
{
    char *parts[WORLD_MAX];
    size_t n = world_split(w, list, parts);
    struct place_lack *l = ARENA_ARRAY(&w->a, struct place_lack, n);

    for (size_t i = 0; i < n; i++) {
        char *colon = strchr(parts[i], ':');

        if (colon != NULL) {
            *colon = 0;
            l[i].why = colon + 1;
        }
        l[i].resource = world_resource(w, parts[i]);
    }
    h->lacks = l;
    h->n_lacks = n;
}

static inline uint32_t world_number(const char *s)
{
    uint64_t v;

    if (!str_parse_u64(s, &v) || v > UINT32_MAX) {
        world_die("not a number", s);
    }
    return (uint32_t)v;
}

static inline int64_t world_priority(const char *s)
{
    int64_t v;

    if (!str_parse_i64(s, &v)) {
        world_die("not a priority", s);
    }
    return v;
}

static inline enum place_host_state world_state(const char *s)
{
    static const char *const names[] = { "Ready", "Cordoned", "Maintenance", "Suspect", "Down" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            return (enum place_host_state)i;
        }
    }
    world_die("not a host state", s);
    return PLACE_HOST_DOWN;
}

static inline void world_host_word(struct world *w, struct place_host *h, const char *k,
                                   const char *v)
{
    if (strcmp(k, "memory") == 0) {
        h->memory = world_size(v);
    } else if (strcmp(k, "cpus") == 0) {
        h->cpus = world_number(v);
    } else if (strcmp(k, "state") == 0) {
        h->state = world_state(v);
    } else if (strcmp(k, "why") == 0) {
        h->why = arena_strdup(&w->a, v);
    } else if (strcmp(k, "labels") == 0) {
        h->labels = world_labels(w, v, &h->n_labels);
    } else if (strcmp(k, "lacks") == 0) {
        world_lacks(w, h, v);
    } else {
        world_die("host: unknown word", k);
    }
}

static inline void world_after(struct world *w, struct place_vm *vm, const char *list)
{
    char *parts[WORLD_MAX];
    size_t n = world_split(w, list, parts);
    struct place_after *d = ARENA_ARRAY(&w->a, struct place_after, n);

    for (size_t i = 0; i < n; i++) { /* the index is resolved when all are known */
        size_t len = strlen(parts[i]);

        d[i].satisfied = parts[i][len - 1] == '+';
        d[i].ready = parts[i][len - 1] == '!';
        if (d[i].satisfied || d[i].ready) {
            parts[i][len - 1] = 0;
        }
        d[i].name = parts[i];
    }
    vm->after = d;
    vm->n_after = n;
}

static inline void world_avoid(struct world *w, struct place_vm *vm, const char *list)
{
    size_t n;
    const uint32_t *ids = world_hosts(w, list, &n);
    struct place_avoid *l = ARENA_ARRAY(&w->a, struct place_avoid, n);

    for (size_t i = 0; i < n; i++) {
        l[i] = (struct place_avoid){ ids[i], "exit code 1" };
    }
    vm->avoid = l;
    vm->n_avoid = n;
}

static inline void world_needs(struct world *w, struct place_vm *vm, const char *list)
{
    char *parts[WORLD_MAX];
    size_t n = world_split(w, list, parts);
    uint32_t *ids = ARENA_ARRAY(&w->a, uint32_t, n);

    for (size_t i = 0; i < n; i++) {
        ids[i] = world_resource(w, parts[i]);
    }
    vm->needs = ids;
    vm->n_needs = n;
}

static inline bool world_vm_flag(struct place_vm *vm, const char *k)
{
    if (strcmp(k, "stopped") == 0) {
        vm->wanted = false;
    } else if (strcmp(k, "hold") == 0) {
        vm->hold = true;
    } else if (strcmp(k, "quarantined") == 0) {
        vm->held = true;
    } else if (strcmp(k, "preemptible") == 0) {
        vm->preemptible = true;
    } else if (strcmp(k, "immovable") == 0) {
        vm->migratable = false;
    } else if (strcmp(k, "besteffort") == 0) {
        vm->ha = PLACE_HA_BEST_EFFORT;
    } else if (strcmp(k, "never") == 0) {
        vm->ha = PLACE_HA_NEVER;
    } else {
        return false;
    }
    return true;
}

static inline void world_vm_word(struct world *w, struct place_vm *vm, const char *k, const char *v)
{
    if (world_vm_flag(vm, k)) {
        return;
    }
    if (strcmp(k, "memory") == 0) {
        vm->memory = world_size(v);
    } else if (strcmp(k, "vcpus") == 0) {
        vm->vcpus = world_number(v);
    } else if (strcmp(k, "priority") == 0) {
        vm->priority = world_priority(v);
    } else if (strcmp(k, "on") == 0) {
        vm->current = world_host(w, v);
        vm->held = true;
    } else if (strcmp(k, "assigned") == 0) {
        vm->current = world_host(w, v);
    } else if (strcmp(k, "left") == 0) {
        vm->has_left = true;
        vm->left = world_host(w, v);
    } else if (strcmp(k, "to") == 0) {
        vm->migrating_to = world_host(w, v);
    } else if (strcmp(k, "failback") == 0) {
        vm->failback = strcmp(v, "Always") == 0 ? PLACE_FAILBACK_ALWAYS : PLACE_FAILBACK_WHEN_IDLE;
    } else if (strcmp(k, "hosts") == 0) {
        vm->only_hosts = true;
        vm->hosts = world_hosts(w, v, &vm->n_hosts);
    } else if (strcmp(k, "notHosts") == 0) {
        vm->not_hosts = world_hosts(w, v, &vm->n_not_hosts);
    } else if (strcmp(k, "selector") == 0) {
        vm->selector = world_labels(w, v, &vm->n_selector);
    } else if (strcmp(k, "needs") == 0) {
        world_needs(w, vm, v);
    } else if (strcmp(k, "avoid") == 0) {
        world_avoid(w, vm, v);
    } else if (strcmp(k, "spread") == 0) {
        vm->spread_by = "rack";
        vm->spread_key = arena_strdup(&w->a, v);
    } else if (strcmp(k, "after") == 0) {
        world_after(w, vm, v);
    } else {
        world_die("vm: unknown word", k);
    }
}

static inline void world_rule_vms(struct world *w, struct place_rule *r, const char *list)
{
    char *parts[WORLD_MAX];
    size_t n = world_split(w, list, parts);
    uint32_t *ids = ARENA_ARRAY(&w->a, uint32_t, n);

    for (size_t i = 0; i < n; i++) {
        ids[i] = world_vm(w, parts[i]);
        if (ids[i] == PLACE_NONE) {
            world_die("rule: no vm", parts[i]);
        }
    }
    r->vms = ids;
    r->n_vms = n;
}

static inline void world_rule_word(struct world *w, struct place_rule *r, const char *k,
                                   const char *v)
{
    static const char *const types[] = { "Together", "Apart", "OnHosts", "NotOnHosts" };

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(k, types[i]) == 0) {
            r->type = (enum place_rule_type)i;
            return;
        }
    }
    if (strcmp(k, "required") == 0) {
        r->required = true;
    } else if (strcmp(k, "weight") == 0) {
        r->weight = world_number(v);
    } else if (strcmp(k, "topology") == 0) {
        r->topology = arena_strdup(&w->a, v);
    } else if (strcmp(k, "vms") == 0) {
        world_rule_vms(w, r, v);
    } else if (strcmp(k, "hosts") == 0) {
        r->hosts = world_hosts(w, v, &r->n_hosts);
    } else {
        world_die("rule: unknown word", k);
    }
}

static inline void world_policy_word(struct world *w, const char *k, const char *v)
{
    struct place_policy *p = &w->in.policy;

    if (strcmp(k, "Pack") == 0) {
        p->strategy = PLACE_PACK;
    } else if (strcmp(k, "cpu") == 0) {
        p->cpu_percent = world_number(v);
    } else if (strcmp(k, "preemption") == 0) {
        p->preemption = true;
    } else if (strcmp(k, "idle") == 0) {
        p->idle = true;
    } else if (strcmp(k, "fail") == 0) {
        const uint32_t *ids = world_hosts(w, v, &w->n_fail);

        memcpy(w->fail, ids, w->n_fail * sizeof(*ids));
    } else if (strcmp(k, "failures") == 0) {
        w->capacity = true;
        w->failures = world_number(v);
    } else if (strcmp(k, "budget") == 0) {
        w->budget = world_number(v);
    } else if (strcmp(k, "all") == 0) {
        w->all = true;
    } else {
        world_die("policy: unknown word", k);
    }
}

struct world_line {
    enum { WORLD_HOST, WORLD_VM, WORLD_RULE, WORLD_POLICY } type;
    size_t index;
};

static inline struct world_line world_begin(struct world *w, const char *type, const char *name)
{
    const char *copy = name == NULL ? NULL : arena_strdup(&w->a, name);
    struct world_line l = { WORLD_POLICY, 0 };

    if (strcmp(type, "policy") == 0) {
        return l;
    }
    if (copy == NULL) {
        world_die("no name after", type);
    }
    if (strcmp(type, "host") == 0) {
        CHECK(w->in.n_hosts < WORLD_MAX);
        l = (struct world_line){ WORLD_HOST, w->in.n_hosts++ };
        w->hosts[l.index] = (struct place_host){ .name = copy, .memory = 64 * GI, .cpus = 16 };
    } else if (strcmp(type, "vm") == 0) {
        CHECK(w->in.n_vms < WORLD_VMS_MAX);
        l = (struct world_line){ WORLD_VM, w->in.n_vms++ };
        w->vms[l.index] = (struct place_vm){ .name = copy,
                                             .memory = 4 * GI,
                                             .vcpus = 1,
                                             .wanted = true,
                                             .migratable = true,
                                             .current = PLACE_NONE,
                                             .migrating_to = PLACE_NONE };
    } else if (strcmp(type, "rule") == 0) {
        CHECK(w->in.n_rules < WORLD_MAX);
        l = (struct world_line){ WORLD_RULE, w->in.n_rules++ };
        w->rules[l.index] = (struct place_rule){ .name = copy };
    } else {
        world_die("unknown line", type);
    }
    return l;
}

static inline void world_word(struct world *w, struct world_line l, char *word)
{
    char *eq = strchr(word, '=');
    const char *v = "";

    if (eq != NULL) {
        *eq = 0;
        v = eq + 1;
    }
    switch (l.type) {
    case WORLD_HOST:
        world_host_word(w, &w->hosts[l.index], word, v);
        break;
    case WORLD_VM:
        world_vm_word(w, &w->vms[l.index], word, v);
        break;
    case WORLD_RULE:
        world_rule_word(w, &w->rules[l.index], word, v);
        break;
    case WORLD_POLICY:
        world_policy_word(w, word, v);
        break;
    default:
        CHECK_UNREACHABLE();
    }
}

static inline void world_resolve(struct world *w)
{
    for (size_t i = 0; i < w->in.n_vms; i++) {
        struct place_after *d = (struct place_after *)(uintptr_t)w->vms[i].after;

        for (size_t k = 0; k < w->vms[i].n_after; k++) {
            d[k].vm = world_vm(w, d[k].name);
        }
    }
}

/* Lines "host NAME word...", "vm NAME word...", "rule NAME word...", "policy word..."; # comments.
 */
static inline void world_parse(struct world *w, const char *text)
{
    char *copy = mem_strdup(text);

    world_init(w);
    for (char *save = NULL, *line = strtok_r(copy, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *rest = NULL;
        char *type = strtok_r(line, " ", &rest);
        struct world_line l;

        if (type == NULL || type[0] == '#') {
            continue;
        }
        l = world_begin(w, type, strcmp(type, "policy") == 0 ? NULL : strtok_r(NULL, " ", &rest));
        for (char *word = strtok_r(NULL, " ", &rest); word != NULL;
             word = strtok_r(NULL, " ", &rest)) {
            world_word(w, l, word);
        }
    }
    world_resolve(w);
    free(copy);
}

static inline void world_done(struct world *w)
{
    arena_done(&w->a);
}

#endif
