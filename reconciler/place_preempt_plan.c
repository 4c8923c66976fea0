#include <string.h>

#include "base/obj.h"
#include "reconciler/place_priv.h"

/* Room for a higher priority: who would have to leave which host (features.md C20).
 *
 * What leaves a host anyway comes first; then those that may be preempted, lowest priority first.
 * The host with the mildest choice wins: lowest highest priority among the victims, then fewest. */

#define VICTIM_NAMES_MAX 8

struct choice {
    uint32_t rank;
    uint32_t n;             /* victims, in scratch */
    int64_t highest;        /* priority of the most important victim */
    struct place_load lack; /* what is missing beside the free room */
};

static uint64_t over(uint64_t need, uint64_t have)
{
    return need > have ? need - have : 0;
}

/* What the host lacks beyond its free room; more than `v` where it is overcommitted already. */
static struct place_load lacking(const struct place_hx *h, const struct place_vm *v)
{
    struct place_load l = { over(h->used.memory + v->memory, h->h->memory), 0 };

    if (h->cpu_limit != UINT64_MAX) {
        l.vcpus = over(h->used.vcpus + v->vcpus, h->cpu_limit);
    }
    return l;
}

static bool covers(const struct place_load *have, const struct place_load *need)
{
    return have->memory >= need->memory && have->vcpus >= need->vcpus;
}

static bool is_victim(const struct place_vx *x, uint32_t rank, int64_t below)
{
    return x->held && !x->decided && x->current == rank && x->v->wanted && x->v->preemptible &&
           !x->v->hold && x->peer == PLACE_NONE && x->preemptor == PLACE_NONE &&
           x->v->priority < below;
}

/* Drop victims that are not needed after all, the most important ones first. */
static uint32_t prune(const struct place_ctx *c, uint32_t *victims, uint32_t n,
                      struct place_load have, const struct place_load *need)
{
    uint32_t kept = 0;

    for (uint32_t i = n; i-- > 0;) {
        const struct place_vm *v = c->vms[victims[i]].v;
        struct place_load rest = { have.memory - v->memory, have.vcpus - v->vcpus };

        if (covers(&rest, need)) {
            have = rest;
            victims[i] = PLACE_NONE;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (victims[i] != PLACE_NONE) {
            victims[kept++] = victims[i];
        }
    }
    return kept;
}

/* Victims on one host into `victims`; false when all of them would not be enough. */
static bool try_host(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                     uint32_t *victims, struct choice *ret)
{
    const struct place_hx *h = &c->hosts[rank];
    struct place_load have = h->promised;
    uint32_t n = 0;

    *ret = (struct choice){ .rank = rank, .highest = INT64_MIN, .lack = lacking(h, x->v) };
    if (have.memory + h->yielding.memory < ret->lack.memory ||
        have.vcpus + h->yielding.vcpus < ret->lack.vcpus) {
        return false;
    }
    for (uint32_t i = c->on_host_at[rank + 1];
         i-- > c->on_host_at[rank] && !covers(&have, &ret->lack);) {
        const struct place_vx *y = &c->vms[c->on_host[i]];

        if (is_victim(y, rank, x->v->priority)) {
            victims[n++] = c->on_host[i];
            have.memory += y->v->memory;
            have.vcpus += y->v->vcpus;
        }
    }
    if (!covers(&have, &ret->lack)) {
        return false;
    }
    ret->n = prune(c, victims, n, have, &ret->lack);
    for (uint32_t i = 0; i < ret->n; i++) {
        int64_t p = c->vms[victims[i]].v->priority;

        ret->highest = p > ret->highest ? p : ret->highest;
    }
    return true;
}

static bool is_milder(const struct choice *p, const struct choice *q)
{
    if (p->highest != q->highest) {
        return p->highest < q->highest;
    }
    return p->n < q->n;
}

/* Take the free room and promises; what a victim has too much becomes a promise for the next. */
static void reserve(struct place_ctx *c, struct place_vx *x, const uint32_t *victims,
                    const struct choice *b)
{
    struct place_hx *h = &c->hosts[b->rank];

    for (uint32_t i = 0; i < b->n; i++) {
        struct place_vx *y = &c->vms[victims[i]];

        y->preemptor = (uint32_t)(x - c->vms);
        h->promised.memory += y->v->memory;
        h->promised.vcpus += y->v->vcpus;
        h->yielding.memory -= y->v->memory;
        h->yielding.vcpus -= y->v->vcpus;
    }
    h->promised.memory -= b->lack.memory;
    h->promised.vcpus -= b->lack.vcpus;
    x->charged = b->rank;
    x->charge.memory = over(x->v->memory, b->lack.memory);
    x->charge.vcpus = over(x->v->vcpus, b->lack.vcpus);
    h->used.memory += x->charge.memory;
    h->used.vcpus += x->charge.vcpus;
}

static const char *say(struct place_ctx *c, const struct place_vx *x, const uint32_t *victims,
                       const struct choice *b)
{
    const char *names = "";

    if (c->quiet) {
        return "";
    }
    if (b->n == 0) {
        return arena_printf(c->a, "on %s others are leaving already", c->hosts[b->rank].h->name);
    }
    for (uint32_t i = 0; i < b->n; i++) {
        const struct place_vm *v = c->vms[victims[i]].v;

        if (i == VICTIM_NAMES_MAX) {
            names = arena_printf(c->a, "%s and %u more", names, b->n - i);
            break;
        }
        names = arena_printf(c->a, "%s%s%s (priority %lld)", names, i == 0 ? "" : ", ", v->name,
                             (long long)v->priority);
    }
    return arena_printf(c->a, "on %s room is made by %s for priority %lld",
                        c->hosts[b->rank].h->name, names, (long long)x->v->priority);
}

bool place_preempt(struct place_ctx *c, struct place_vx *x, uint32_t *ret_rank,
                   const char **ret_why)
{
    uint32_t *now = c->scratch;
    uint32_t *best_list = c->victims;
    struct choice best = { .rank = PLACE_NONE };
    struct place_reject why;

    if (!c->in->policy.preemption) {
        return false;
    }
    if (c->no_preempt) {
        c->escalate = true;
        return false;
    }
    for (uint32_t r = 0; r < c->n_hosts; r++) {
        struct choice p;

        c->steps++;
        if (!place_reject(c, x, r, &why) ||
            (why.reason != PLACE_R_MEMORY && why.reason != PLACE_R_CPU) ||
            !try_host(c, x, r, now, &p)) {
            continue;
        }
        if (best.rank == PLACE_NONE || is_milder(&p, &best)) {
            best = p;
            memcpy(best_list, now, p.n * sizeof(*now));
        }
    }
    if (best.rank == PLACE_NONE) {
        return false;
    }
    reserve(c, x, best_list, &best);
    *ret_rank = best.rank;
    *ret_why = say(c, x, best_list, &best);
    return true;
}
