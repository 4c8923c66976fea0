#ifndef TESTS_UNIT_PLACE_CHECK_H
#define TESTS_UNIT_PLACE_CHECK_H

/* What docs/placement.md promises of every plan, read independently of the code that makes it. */

#include "place_random.h"

/* ---- an independent view of constraints ---- */

static inline bool contains(const uint32_t *list, size_t n, uint32_t x)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == x) {
            return true;
        }
    }
    return false;
}

static inline const char *label(const struct place_host *h, const char *key)
{
    for (size_t i = 0; i < h->n_labels; i++) {
        if (strcmp(h->labels[i].key, key) == 0) {
            return h->labels[i].value;
        }
    }
    return NULL;
}

/* May vm be on host as far as it alone is concerned?  `start`: also be started there. */
static inline bool suits(const struct place_input *in, uint32_t vm, uint32_t host, bool start)
{
    const struct place_vm *v = &in->vms[vm];

    if ((v->only_hosts && !contains(v->hosts, v->n_hosts, host)) ||
        contains(v->not_hosts, v->n_not_hosts, host)) {
        return false;
    }
    for (size_t i = 0; i < v->n_selector; i++) {
        if (!str_eq(label(&in->hosts[host], v->selector[i].key), v->selector[i].value)) {
            return false;
        }
    }
    for (size_t i = 0; i < in->n_rules; i++) {
        const struct place_rule *r = &in->rules[i];

        if (!r->required || !contains(r->vms, r->n_vms, vm)) {
            continue;
        }
        if ((r->type == PLACE_ON_HOSTS && !contains(r->hosts, r->n_hosts, host)) ||
            (r->type == PLACE_NOT_ON_HOSTS && contains(r->hosts, r->n_hosts, host))) {
            return false;
        }
    }
    return !start || ((v->n_avoid == 0 || v->avoid[0].host != host) &&
                      (v->n_needs == 0 || in->hosts[host].n_lacks == 0));
}

static inline bool same_place(const struct place_input *in, const struct place_rule *r, uint32_t x,
                              uint32_t y)
{
    const char *p, *q;

    if (x == y || r->topology == NULL) {
        return x == y;
    }
    p = label(&in->hosts[x], r->topology);
    q = label(&in->hosts[y], r->topology);
    return p != NULL && q != NULL && strcmp(p, q) == 0;
}

/* Where the plan will have it in the end; PLACE_NONE: nowhere. */
static inline uint32_t final_host(const struct place_plan *p, uint32_t vm)
{
    const struct place_result *r = &p->vms[vm];

    if (r->target != PLACE_NONE) {
        return r->target;
    }
    if (r->reason == PLACE_WAITING_FOR_HOST || (r->reason == PLACE_HELD && !p->in->vms[vm].held)) {
        return PLACE_NONE;
    }
    return r->host;
}

/* It occupies `host` at some time of the plan. */
static inline bool touches(const struct place_plan *p, uint32_t vm, const struct place_rule *r,
                           uint32_t host)
{
    const struct place_vm *v = &p->in->vms[vm];
    uint32_t end = final_host(p, vm);

    return (v->held && v->current != PLACE_NONE && same_place(p->in, r, v->current, host)) ||
           (v->held && v->current != PLACE_NONE && v->migrating_to != PLACE_NONE &&
            same_place(p->in, r, v->migrating_to, host)) ||
           (end != PLACE_NONE && same_place(p->in, r, end, host));
}

/* This pass chose where it goes; PLACE_NONE: it did not. */
static inline uint32_t chosen(const struct place_plan *p, uint32_t vm)
{
    const struct place_result *r = &p->vms[vm];

    if (r->action == PLACE_MIGRATE || r->reason == PLACE_WAITING_FOR_PREEMPTION) {
        return r->target;
    }
    if (r->reason == PLACE_ASSIGNED || (r->reason == PLACE_KEPT && !p->in->vms[vm].held)) {
        return r->host;
    }
    return PLACE_NONE;
}

/* ---- properties ---- */

static inline void no_overcommit(const struct place_plan *p)
{
    const struct place_input *in = p->in;

    for (uint32_t h = 0; h < in->n_hosts; h++) {
        uint64_t held = 0, added = 0, freed = 0, cpus = 0, cpus_freed = 0;
        uint64_t limit = (uint64_t)in->hosts[h].cpus * in->policy.cpu_percent / 100;
        bool chose = false;

        for (uint32_t i = 0; i < in->n_vms; i++) {
            const struct place_vm *v = &in->vms[i];
            bool here = v->held && v->current == h;
            bool peer = v->held && v->current != PLACE_NONE && v->migrating_to == h && !here;

            bool left = v->held && v->current != PLACE_NONE && v->has_left && v->left == h;
            bool goes = here && v->migrating_to != PLACE_NONE && v->migrating_to != h;

            held += (uint64_t)((here || peer) + left) * v->memory;
            cpus += (uint64_t)((here || peer) + left) * v->vcpus;
            if (left) {
                freed += v->memory;
                cpus_freed += v->vcpus;
            }
            if (here && (!v->wanted || goes || p->vms[i].reason == PLACE_PREEMPTED)) {
                freed += v->memory;
                cpus_freed += v->vcpus;
            }
            if (chosen(p, i) == h) {
                chose = true;
                added += v->memory;
                cpus += v->vcpus;
                REQUIRE(in->hosts[h].state == PLACE_HOST_READY);
            }
        }
        if (chose) { /* now, and when those that shall leave have left */
            bool waits = false;

            for (uint32_t i = 0; i < in->n_vms; i++) {
                waits |= p->vms[i].reason == PLACE_WAITING_FOR_PREEMPTION && p->vms[i].target == h;
            }
            REQUIRE(held + added - (waits ? freed : 0) <= in->hosts[h].memory);
            REQUIRE(limit == 0 || cpus - (waits ? cpus_freed : 0) <= limit);
            REQUIRE(waits || p->used[h].memory == held + added);
        }
    }
}

/* What may start at once never adds up to more than is free at once. */
static inline void no_overcommit_now(const struct place_plan *p)
{
    for (uint32_t h = 0; h < p->in->n_hosts; h++) {
        uint64_t now = 0;
        bool chose = false;

        for (uint32_t i = 0; i < p->in->n_vms; i++) {
            const struct place_vm *v = &p->in->vms[i];

            if (v->held && v->current != PLACE_NONE && v->has_left && v->left == h) {
                now += v->memory;
            }
            if (v->held &&
                (v->current == h || (v->current != PLACE_NONE && v->migrating_to == h))) {
                now += v->memory;
            } else if (chosen(p, i) == h && p->vms[i].reason != PLACE_WAITING_FOR_PREEMPTION) {
                now += v->memory;
                chose = true;
            }
        }
        REQUIRE(!chose || now <= p->in->hosts[h].memory);
    }
}

static inline uint32_t seq_of(const struct place_plan *p, uint32_t vm)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        if (p->order[i] == vm) {
            return i;
        }
    }
    REQUIRE(!"in the order");
    return 0;
}

/* Together: near somebody who was decided before it.  Failback comes after all others: near all of
 * them, unless they are apart already. */
static inline void together_kept(const struct place_plan *p, const struct place_rule *r,
                                 uint32_t vm, uint32_t host)
{
    bool late = p->vms[vm].reason == PLACE_FAILBACK;
    uint32_t companions = 0, near = 0;

    for (size_t k = 0; k < r->n_vms; k++) {
        uint32_t other = r->vms[k];

        if (other == vm || final_host(p, other) == PLACE_NONE ||
            (!late && seq_of(p, other) > seq_of(p, vm))) {
            continue;
        }
        companions++;
        near += same_place(p->in, r, final_host(p, other), host);
        for (size_t i = 0; late && i < k; i++) {
            uint32_t third = r->vms[i];

            if (third != vm && final_host(p, third) != PLACE_NONE &&
                !same_place(p->in, r, final_host(p, third), final_host(p, other))) {
                return;
            }
        }
    }
    REQUIRE(companions == 0 || near > 0);
}

static inline void rule_kept(const struct place_plan *p, const struct place_rule *r, uint32_t vm,
                             uint32_t host)
{
    if (r->type == PLACE_TOGETHER) {
        together_kept(p, r, vm, host);
    }
    for (size_t k = 0; k < r->n_vms && r->type == PLACE_APART; k++) {
        REQUIRE(r->vms[k] == vm || !touches(p, r->vms[k], r, host));
    }
}

static inline void no_rule_broken(const struct place_plan *p)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        uint32_t h = chosen(p, i);

        if (h == PLACE_NONE) {
            continue;
        }
        REQUIRE(suits(p->in, i, h, true));
        for (size_t k = 0; k < p->in->n_rules; k++) {
            const struct place_rule *r = &p->in->rules[k];

            if (r->required && contains(r->vms, r->n_vms, i)) {
                rule_kept(p, r, i, h);
            }
        }
    }
}

static inline bool in_together(const struct place_input *in, uint32_t vm)
{
    for (size_t k = 0; k < in->n_rules; k++) {
        const struct place_rule *r = &in->rules[k];

        if (r->required && r->type == PLACE_TOGETHER && contains(r->vms, r->n_vms, vm)) {
            return true;
        }
    }
    return false;
}

static inline bool apart_allows(const struct place_plan *p, uint32_t vm, uint32_t host)
{
    for (size_t k = 0; k < p->in->n_rules; k++) {
        const struct place_rule *r = &p->in->rules[k];

        if (!r->required || r->type != PLACE_APART || !contains(r->vms, r->n_vms, vm)) {
            continue;
        }
        for (size_t i = 0; i < r->n_vms; i++) {
            if (r->vms[i] != vm && touches(p, r->vms[i], r, host)) {
                return false;
            }
        }
    }
    return true;
}

/* Nothing is left over while there is room for it even after everything else was decided. */
static inline void unplaced_for_a_reason(const struct place_plan *p)
{
    const struct place_input *in = p->in;

    for (uint32_t i = 0; i < in->n_vms; i++) {
        const struct place_result *r = &p->vms[i];
        const struct place_vm *v = &in->vms[i];

        if (r->reason != PLACE_NO_CAPACITY && r->reason != PLACE_NO_SUITABLE_HOST) {
            continue;
        }
        REQUIRE(r->n_rejects == in->n_hosts && r->host == PLACE_NONE);
        for (uint32_t h = 0; h < in->n_hosts && !in_together(in, i); h++) {
            uint64_t limit = (uint64_t)in->hosts[h].cpus * in->policy.cpu_percent / 100;

            REQUIRE(in->hosts[h].state != PLACE_HOST_READY || !suits(in, i, h, true) ||
                    !apart_allows(p, i, h) || p->used[h].memory + v->memory > in->hosts[h].memory ||
                    (limit != 0 && p->used[h].vcpus + v->vcpus > limit));
        }
    }
}

/* Who runs stays, unless there is one of the allowed reasons to go. */
static inline void sticky(const struct place_plan *p)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        const struct place_vm *v = &p->in->vms[i];
        const struct place_result *r = &p->vms[i];

        if (!v->held || v->current == PLACE_NONE || !v->wanted) {
            continue;
        }
        REQUIRE(r->host == v->current || r->action == PLACE_STOP);
        REQUIRE(r->action == PLACE_NOTHING || r->reason == PLACE_DRAINED ||
                r->reason == PLACE_RULE_VIOLATED || r->reason == PLACE_FAILBACK ||
                r->reason == PLACE_PREEMPTED);
        REQUIRE(r->reason != PLACE_FAILBACK || v->failback != PLACE_FAILBACK_NEVER);
        REQUIRE(r->action == PLACE_NOTHING || !v->hold);
        REQUIRE(r->action != PLACE_MIGRATE || v->migratable);
        REQUIRE(r->reason != PLACE_PREEMPTED || (v->preemptible && p->in->policy.preemption));
    }
}

/* A victim has a lower priority than somebody who waits for its host. */
static inline void preemption_is_for_somebody(const struct place_plan *p)
{
    for (uint32_t i = 0; i < p->in->n_vms; i++) {
        bool found = false;

        if (p->vms[i].reason != PLACE_PREEMPTED) {
            continue;
        }
        for (uint32_t k = 0; k < p->in->n_vms; k++) {
            found |= p->vms[k].reason == PLACE_WAITING_FOR_PREEMPTION &&
                     p->vms[k].target == p->in->vms[i].current &&
                     p->in->vms[k].priority > p->in->vms[i].priority;
        }
        REQUIRE(found);
    }
}

static inline void check_plan(const struct place_plan *p)
{
    no_overcommit(p);
    no_overcommit_now(p);
    no_rule_broken(p);
    unplaced_for_a_reason(p);
    sticky(p);
    preemption_is_for_somebody(p);
}

#endif
