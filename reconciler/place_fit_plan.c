#include <string.h>

#include "base/obj.h"
#include "reconciler/place_priv.h"

/* One virtual machine on one host: does it fit, why not, and how well. */

static uint64_t left(uint64_t total, uint64_t used)
{
    return used >= total ? 0 : total - used;
}

bool place_has_room(const struct place_hx *h, const struct place_vm *v)
{
    return left(h->h->memory, h->used.memory) >= v->memory &&
           (h->cpu_limit == UINT64_MAX || left(h->cpu_limit, h->used.vcpus) >= v->vcpus);
}

/* May `x` be in domain d as far as this required rule goes? */
static bool rule_allows(const struct place_rx *r, uint32_t d)
{
    if (r->r->type == PLACE_APART) {
        return r->present[d] == 0;
    }
    if (r->n_decided > 0) {
        return r->decided[d] > 0;
    }
    return r->n_present == 0 || r->present[d] > 0;
}

static bool rules_allow(const struct place_ctx *c, const struct place_vx *x, uint32_t rank)
{
    for (uint32_t i = 0; x->dynamic && i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];

        if (r->r->required && r->present != NULL && !rule_allows(r, place_dom(r, rank))) {
            return false;
        }
    }
    return true;
}

/* Does the rest of its Together groups fit beside it? */
static bool group_fits(const struct place_ctx *c, const struct place_vx *x, uint32_t rank)
{
    const struct place_hx *h = &c->hosts[rank];

    for (uint32_t i = 0; x->dynamic && i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];

        if (r->common == NULL || r->r->topology != NULL) {
            continue;
        }
        if (left(h->h->memory, h->used.memory) < x->v->memory + r->todo.memory ||
            (h->cpu_limit != UINT64_MAX &&
             left(h->cpu_limit, h->used.vcpus) < x->v->vcpus + r->todo.vcpus) ||
            !place_bit(r->common, rank)) {
            return false;
        }
    }
    return true;
}

int64_t place_prefer(const struct place_ctx *c, const struct place_vx *x, uint32_t rank)
{
    int64_t sum = 0;

    for (uint32_t i = 0; x->prefers && i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];

        if (r->r->required) {
            continue;
        }
        switch (r->r->type) {
        case PLACE_TOGETHER:
            sum += r->weight * (int64_t)r->present[place_dom(r, rank)];
            break;
        case PLACE_APART:
            sum -= r->weight * (int64_t)r->present[place_dom(r, rank)];
            break;
        case PLACE_ON_HOSTS:
            sum += place_bit(r->hosts, rank) ? r->weight : 0;
            break;
        case PLACE_NOT_ON_HOSTS:
            sum -= place_bit(r->hosts, rank) ? r->weight : 0;
            break;
        default:
            CHECK_UNREACHABLE();
        }
    }
    return sum;
}

/* Fractions in 1/2^20, of memory in pages so that nothing overflows. */
static void rate(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                 struct place_pick *p)
{
    const struct place_hx *h = &c->hosts[rank];
    uint64_t pages = h->h->memory >> 12;
    uint64_t free = (h->h->memory - h->used.memory - x->v->memory) >> 12;

    p->rank = rank;
    p->group = group_fits(c, x, rank);
    p->prefer = place_prefer(c, x, rank);
    p->memory = pages == 0 ? 0 : (free << 20) / pages;
    p->vcpus = ((h->used.vcpus + x->v->vcpus) << 20) / (h->h->cpus == 0 ? 1 : h->h->cpus);
}

/* Group, preferred rules, then the strategy on memory, then on CPUs; the name decides a tie, since
 * hosts are asked in that order and only a better one replaces the first. */
static bool is_better(enum place_strategy s, const struct place_pick *p, const struct place_pick *q)
{
    if (p->group != q->group) {
        return p->group;
    }
    if (p->prefer != q->prefer) {
        return p->prefer > q->prefer;
    }
    if (p->memory != q->memory) {
        return s == PLACE_SPREAD ? p->memory > q->memory : p->memory < q->memory;
    }
    return s == PLACE_SPREAD ? p->vcpus < q->vcpus : p->vcpus > q->vcpus;
}

/* Who moves for a preference does not leave the others of a required Together rule. */
static bool keeps_company(const struct place_ctx *c, const struct place_vx *x, uint32_t rank)
{
    for (uint32_t i = 0; x->dynamic && i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];

        if (r->common != NULL && r->n_decided > 0 &&
            place_dom(r, rank) != place_dom(r, x->current)) {
            return false;
        }
    }
    return true;
}

static bool is_candidate(struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                         const struct place_ask *ask)
{
    c->steps++;
    return rank != ask->except && place_has_room(&c->hosts[rank], x->v) &&
           rules_allow(c, x, rank) &&
           (!ask->better ||
            (place_prefer(c, x, rank) > ask->prefer && keeps_company(c, x, rank))) &&
           (!ask->group || group_fits(c, x, rank));
}

bool place_choose(struct place_ctx *c, const struct place_vx *x, const struct place_ask *ask,
                  struct place_pick *ret)
{
    struct place_pick best = { .rank = PLACE_NONE };
    bool differ = false, groups = false;
    uint32_t n_fit = 0;

    for (uint32_t w = 0; w < c->words; w++) {
        uint64_t bits = c->ready[w] & (x->mask == NULL ? ~(uint64_t)0 : x->mask[w]);

        for (; bits != 0; bits &= bits - 1) {
            uint32_t rank = w * 64 + (uint32_t)__builtin_ctzll(bits);
            struct place_pick p = { 0 };

            if (!is_candidate(c, x, rank, ask)) {
                continue;
            }
            rate(c, x, rank, &p);
            differ |= n_fit > 0 && p.prefer != best.prefer;
            groups |= n_fit > 0 && p.group != best.group;
            if (n_fit++ == 0 || is_better(c->in->policy.strategy, &p, &best)) {
                best = p;
            }
        }
    }
    best.n_fit = n_fit;
    best.by_prefer = differ;
    best.by_group = groups;
    *ret = best;
    return n_fit > 0;
}

/* ---- why not ---- */

static bool in_list(const uint32_t *list, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == id) {
            return true;
        }
    }
    return false;
}

static bool selector_matches(const struct place_vm *v, const struct place_host *h)
{
    for (size_t i = 0; i < v->n_selector; i++) {
        bool found = false;

        for (size_t k = 0; k < h->n_labels && !found; k++) {
            found = strcmp(h->labels[k].key, v->selector[i].key) == 0 &&
                    strcmp(h->labels[k].value, v->selector[i].value) == 0;
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool reject_as(struct place_reject *r, enum place_reason reason, uint32_t ref)
{
    r->reason = reason;
    r->ref = ref;
    return true;
}

static bool reject_lack(const struct place_vm *v, const struct place_host *h,
                        struct place_reject *ret)
{
    for (size_t i = 0; i < v->n_needs; i++) {
        for (size_t k = 0; k < h->n_lacks; k++) {
            if (h->lacks[k].resource == v->needs[i]) {
                return reject_as(ret, PLACE_R_LACKS, v->needs[i]);
            }
        }
    }
    return false;
}

static bool reject_host_rules(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                              struct place_reject *ret)
{
    for (uint32_t i = 0; i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];

        if (!r->r->required || r->hosts == NULL) {
            continue;
        }
        if (r->r->type == PLACE_ON_HOSTS && !place_bit(r->hosts, rank)) {
            return reject_as(ret, PLACE_R_RULE_ON, x->rules[i]);
        }
        if (r->r->type == PLACE_NOT_ON_HOSTS && place_bit(r->hosts, rank)) {
            return reject_as(ret, PLACE_R_RULE_NOT_ON, x->rules[i]);
        }
    }
    return false;
}

bool place_reject_static(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                         bool running, struct place_reject *ret)
{
    const struct place_host *h = c->hosts[rank].h;
    const struct place_vm *v = x->v;

    *ret = (struct place_reject){ .host = c->hosts[rank].id, .ref = PLACE_NONE, .vm = PLACE_NONE };
    if ((v->only_hosts || v->n_hosts > 0) && !in_list(v->hosts, v->n_hosts, ret->host)) {
        return reject_as(ret, PLACE_R_HOSTS, PLACE_NONE);
    }
    if (in_list(v->not_hosts, v->n_not_hosts, ret->host)) {
        return reject_as(ret, PLACE_R_NOT_HOSTS, PLACE_NONE);
    }
    if (!selector_matches(v, h)) {
        return reject_as(ret, PLACE_R_SELECTOR, PLACE_NONE);
    }
    if (reject_host_rules(c, x, rank, ret)) {
        return true;
    }
    if (running) {
        return false;
    }
    for (size_t i = 0; i < v->n_avoid; i++) {
        if (v->avoid[i].host == ret->host) {
            return reject_as(ret, PLACE_R_AVOID, (uint32_t)i);
        }
    }
    return reject_lack(v, h, ret);
}

static bool reject_pair(const struct place_rx *r, uint32_t rule, uint32_t vm,
                        struct place_reject *ret)
{
    ret->vm = vm;
    return reject_as(ret, r->r->type == PLACE_APART ? PLACE_R_RULE_APART : PLACE_R_RULE_TOGETHER,
                     rule);
}

/* Somebody of a Together rule: where the first of its places is. */
static uint32_t somebody(const struct place_ctx *c, const struct place_rx *r)
{
    for (uint32_t d = 0; d < c->n_hosts; d++) {
        if (r->who[d] != PLACE_NONE && (r->n_decided == 0 || r->decided[d] > 0)) {
            return r->who[d];
        }
    }
    return PLACE_NONE;
}

bool place_reject_rules(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                        struct place_reject *ret)
{
    *ret = (struct place_reject){ .host = c->hosts[rank].id, .ref = PLACE_NONE, .vm = PLACE_NONE };
    for (uint32_t i = 0; x->dynamic && i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];
        uint32_t d = place_dom(r, rank);

        if (r->r->required && r->present != NULL && !rule_allows(r, d)) {
            return reject_pair(r, x->rules[i],
                               r->r->type == PLACE_APART ? r->who[d] : somebody(c, r), ret);
        }
    }
    return false;
}

static bool reject_state(const struct place_hx *h, struct place_reject *ret)
{
    if (h->failed) {
        return reject_as(ret, PLACE_R_FAILED, PLACE_NONE);
    }
    switch (h->state) {
    case PLACE_HOST_READY:
        return false;
    case PLACE_HOST_CORDONED:
        return reject_as(ret, PLACE_R_CORDONED, PLACE_NONE);
    case PLACE_HOST_MAINTENANCE:
        return reject_as(ret, PLACE_R_MAINTENANCE, PLACE_NONE);
    case PLACE_HOST_SUSPECT:
    case PLACE_HOST_DOWN:
        return reject_as(ret, PLACE_R_NOT_READY, PLACE_NONE);
    default:
        CHECK_UNREACHABLE();
    }
}

bool place_reject(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                  struct place_reject *ret)
{
    const struct place_hx *h = &c->hosts[rank];

    *ret = (struct place_reject){ .host = h->id, .ref = PLACE_NONE, .vm = PLACE_NONE };
    if (reject_state(h, ret) || place_reject_static(c, x, rank, false, ret) ||
        place_reject_rules(c, x, rank, ret)) {
        return true;
    }
    ret->need = x->v->memory;
    ret->free = left(h->h->memory, h->used.memory);
    if (ret->free < ret->need) {
        return reject_as(ret, PLACE_R_MEMORY, PLACE_NONE);
    }
    ret->need = x->v->vcpus;
    ret->free = left(h->cpu_limit, h->used.vcpus);
    if (h->cpu_limit != UINT64_MAX && ret->free < ret->need) {
        return reject_as(ret, PLACE_R_CPU, PLACE_NONE);
    }
    return false;
}

bool place_violates(const struct place_ctx *c, const struct place_vx *x, uint32_t rank,
                    struct place_reject *ret)
{
    if (place_reject_static(c, x, rank, true, ret)) {
        return true;
    }
    for (uint32_t i = 0; x->dynamic && i < x->n_rules; i++) {
        const struct place_rx *r = &c->rules[x->rules[i]];
        uint32_t d = place_dom(r, rank);

        if (!r->r->required || r->present == NULL) {
            continue;
        }
        if (r->r->type == PLACE_APART && r->decided[d] > 0) {
            return reject_pair(r, x->rules[i], r->who[d], ret);
        }
        if (r->r->type == PLACE_TOGETHER && r->n_decided > 0 && r->decided[d] == 0) {
            return reject_pair(r, x->rules[i], somebody(c, r), ret);
        }
    }
    return false;
}
