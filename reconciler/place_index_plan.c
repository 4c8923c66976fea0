#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "reconciler/place_priv.h"

/* The fixed part of a placement: order, masks of hosts, rules by virtual machine. */

void place_sort(const struct place_ctx *c, uint32_t *v, size_t n, uint32_t *scratch, place_cmp *cmp)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n;
            size_t hi = lo + 2 * width < n ? lo + 2 * width : n;
            size_t i = lo;
            size_t j = mid;

            for (size_t k = lo; k < hi; k++) {
                bool left = j >= hi || (i < mid && cmp(c, v[i], v[j]) <= 0);

                scratch[k] = left ? v[i++] : v[j++];
            }
        }
        memcpy(v, scratch, n * sizeof(*v));
    }
}

static int cmp_hosts(const struct place_ctx *c, uint32_t x, uint32_t y)
{
    return strcmp(c->in->hosts[x].name, c->in->hosts[y].name);
}

static int cmp_rules(const struct place_ctx *c, uint32_t x, uint32_t y)
{
    return strcmp(c->in->rules[x].name, c->in->rules[y].name);
}

static int cmp_names(const struct place_ctx *c, uint32_t x, uint32_t y)
{
    return strcmp(c->in->vms[x].name, c->in->vms[y].name);
}

static uint32_t *identity(struct arena *a, uint32_t n)
{
    uint32_t *v = ARENA_ARRAY(a, uint32_t, n);

    for (uint32_t i = 0; i < n; i++) {
        v[i] = i;
    }
    return v;
}

static void index_hosts(struct place_ctx *c)
{
    uint32_t percent = c->in->policy.cpu_percent;

    c->host_order = identity(c->a, c->n_hosts);
    place_sort(c, c->host_order, c->n_hosts, c->scratch, cmp_hosts);
    c->rank_of = ARENA_ARRAY(c->a, uint32_t, c->n_hosts);
    c->hosts = ARENA_ARRAY(c->a, struct place_hx, c->n_hosts);
    c->ready = ARENA_ARRAY(c->a, uint64_t, c->words);
    c->all = ARENA_ARRAY(c->a, uint64_t, c->words);
    for (uint32_t r = 0; r < c->n_hosts; r++) {
        struct place_hx *h = &c->hosts[r];

        h->id = c->host_order[r];
        h->h = &c->in->hosts[h->id];
        h->cpu_limit = percent == 0 ? UINT64_MAX : (uint64_t)h->h->cpus * percent / 100;
        c->rank_of[h->id] = r;
        place_bit_set(c->all, r);
    }
}

static const char *label_of(const struct place_host *h, const char *key)
{
    for (size_t i = 0; i < h->n_labels; i++) {
        if (strcmp(h->labels[i].key, key) == 0) {
            return h->labels[i].value;
        }
    }
    return NULL;
}

/* Domains of a topology label, numbered by the first host in them; a host without it stands alone.
 */
static uint32_t *topology_domains(const struct place_ctx *c, const char *key)
{
    uint32_t *dom = ARENA_ARRAY(c->a, uint32_t, c->n_hosts);

    for (uint32_t r = 0; r < c->n_hosts; r++) {
        const char *value = label_of(c->hosts[r].h, key);

        dom[r] = r;
        for (uint32_t q = 0; value != NULL && q < r; q++) {
            if (str_eq(label_of(c->hosts[q].h, key), value)) {
                dom[r] = dom[q];
                break;
            }
        }
    }
    return dom;
}

/* The same table for all rules with one key. */
static const uint32_t *rule_domains(const struct place_ctx *c, uint32_t upto,
                                    const uint32_t *sorted, const char *key)
{
    if (key == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < upto; i++) {
        const struct place_rx *r = &c->rules[sorted[i]];

        if (r->dom != NULL && strcmp(r->r->topology, key) == 0) {
            return r->dom;
        }
    }
    return topology_domains(c, key);
}

static bool is_dynamic(const struct place_rule *r)
{
    return r->type == PLACE_TOGETHER || r->type == PLACE_APART;
}

static void index_rule(struct place_ctx *c, const uint32_t *sorted, uint32_t k)
{
    struct place_rx *x = &c->rules[sorted[k]];
    const struct place_rule *r = &c->in->rules[sorted[k]];

    x->r = r;
    x->rank = k;
    x->weight = r->weight == 0 ? 1 : r->weight;
    if (is_dynamic(r)) {
        x->dom = rule_domains(c, k, sorted, r->topology);
        x->present = ARENA_ARRAY(c->a, uint32_t, c->n_hosts);
        x->decided = ARENA_ARRAY(c->a, uint32_t, c->n_hosts);
        x->who = ARENA_ARRAY(c->a, uint32_t, c->n_hosts);
        return;
    }
    x->hosts = ARENA_ARRAY(c->a, uint64_t, c->words);
    for (size_t i = 0; i < r->n_hosts; i++) {
        CHECK(r->hosts[i] < c->n_hosts);
        place_bit_set(x->hosts, c->rank_of[r->hosts[i]]);
    }
}

/* Rules by virtual machine, each list by the name of the rule and without repetition. */
static void index_members(struct place_ctx *c, const uint32_t *sorted)
{
    uint32_t *last = ARENA_ARRAY(c->a, uint32_t, c->n_vms); /* rule seen last + 1 */
    uint32_t *list;
    size_t total = 0;

    for (uint32_t k = 0; k < c->n_rules; k++) {
        const struct place_rule *r = &c->in->rules[sorted[k]];

        for (size_t i = 0; i < r->n_vms; i++) {
            CHECK(r->vms[i] < c->n_vms);
            if (last[r->vms[i]] != k + 1) {
                last[r->vms[i]] = k + 1;
                c->vms[r->vms[i]].n_rules++;
                total++;
            }
        }
    }
    list = ARENA_ARRAY(c->a, uint32_t, total);
    for (uint32_t i = 0; i < c->n_vms; i++) {
        c->vms[i].rules = list;
        list += c->vms[i].n_rules;
        c->vms[i].n_rules = 0;
        last[i] = 0;
    }
    for (uint32_t k = 0; k < c->n_rules; k++) {
        const struct place_rule *r = &c->in->rules[sorted[k]];

        for (size_t i = 0; i < r->n_vms; i++) {
            struct place_vx *x = &c->vms[r->vms[i]];

            if (last[r->vms[i]] != k + 1) {
                last[r->vms[i]] = k + 1;
                ((uint32_t *)(uintptr_t)x->rules)[x->n_rules++] = sorted[k];
                x->dynamic |= r->required && is_dynamic(r);
                x->prefers |= !r->required;
            }
        }
    }
}

static bool needs_mask(const struct place_ctx *c, const struct place_vx *x)
{
    const struct place_vm *v = x->v;

    if (v->only_hosts || v->n_hosts > 0 || v->n_not_hosts > 0 || v->n_selector > 0 ||
        v->n_needs > 0 || v->n_avoid > 0) {
        return true;
    }
    for (uint32_t i = 0; i < x->n_rules; i++) {
        const struct place_rule *r = &c->in->rules[x->rules[i]];

        if (r->required && !is_dynamic(r)) {
            return true;
        }
    }
    return false;
}

static void check_indices(const struct place_ctx *c, const struct place_vm *v)
{
    CHECK(v->name != NULL);
    CHECK(v->current == PLACE_NONE || v->current < c->n_hosts);
    CHECK(v->migrating_to == PLACE_NONE || v->migrating_to < c->n_hosts);
    CHECK(!v->has_left || v->left < c->n_hosts);
    for (size_t i = 0; i < v->n_hosts; i++) {
        CHECK(v->hosts[i] < c->n_hosts);
    }
    for (size_t i = 0; i < v->n_not_hosts; i++) {
        CHECK(v->not_hosts[i] < c->n_hosts);
    }
    for (size_t i = 0; i < v->n_avoid; i++) {
        CHECK(v->avoid[i].host < c->n_hosts);
    }
    for (size_t i = 0; i < v->n_needs; i++) {
        CHECK(v->needs[i] < c->in->n_resources);
    }
    for (size_t i = 0; i < v->n_after; i++) {
        CHECK(v->after[i].vm == PLACE_NONE || v->after[i].vm < c->n_vms);
    }
}

static void index_masks(struct place_ctx *c)
{
    struct place_reject unused;

    for (uint32_t i = 0; i < c->n_vms; i++) {
        struct place_vx *x = &c->vms[i];
        uint64_t *mask;

        if (!needs_mask(c, x)) {
            continue;
        }
        mask = ARENA_ARRAY(c->a, uint64_t, c->words);
        for (uint32_t r = 0; r < c->n_hosts; r++) {
            if (!place_reject_static(c, x, r, false, &unused)) {
                place_bit_set(mask, r);
            }
        }
        x->mask = mask;
    }
    for (uint32_t k = 0; k < c->n_rules; k++) {
        struct place_rx *r = &c->rules[k];

        if (r->r->type != PLACE_TOGETHER || !r->r->required) {
            continue;
        }
        r->common = ARENA_ARRAY(c->a, uint64_t, c->words);
        memcpy(r->common, c->all, c->words * sizeof(*c->all));
        for (size_t i = 0; i < r->r->n_vms; i++) {
            const uint64_t *mask = c->vms[r->r->vms[i]].mask;

            for (uint32_t w = 0; mask != NULL && w < c->words; w++) {
                r->common[w] &= mask[w];
            }
        }
    }
}

/* ---- order of decision ---- */

/* The components of required Together rules on one host: union-find, the root is the lowest seq,
 * which at this point is the position by name. */
static uint32_t find_root(uint32_t *up, uint32_t i)
{
    while (up[i] != i) {
        up[i] = up[up[i]];
        i = up[i];
    }
    return i;
}

static void join_groups(struct place_ctx *c, uint32_t *up)
{
    for (uint32_t k = 0; k < c->n_rules; k++) {
        const struct place_rule *r = &c->in->rules[k];

        if (r->type != PLACE_TOGETHER || !r->required || r->topology != NULL) {
            continue;
        }
        for (size_t i = 1; i < r->n_vms; i++) {
            uint32_t x = find_root(up, r->vms[0]);
            uint32_t y = find_root(up, r->vms[i]);

            if (c->vms[x].seq < c->vms[y].seq) {
                up[y] = x;
            } else {
                up[x] = y;
            }
        }
    }
}

/* By priority, then group, then name (which is what seq says until the order is known). */
static int cmp_groups(const struct place_ctx *c, uint32_t x, uint32_t y)
{
    const struct place_vx *p = &c->vms[x];
    const struct place_vx *q = &c->vms[y];

    if (p->v->priority != q->v->priority) {
        return p->v->priority > q->v->priority ? -1 : 1;
    }
    if (p->group != q->group) {
        return p->group < q->group ? -1 : 1;
    }
    return p->seq < q->seq ? -1 : p->seq > q->seq;
}

/* Sorted by cmp_groups, members of one group with equal priority are neighbours: name each such run
 * after its first member, so that a group is decided where that one would be. */
static void name_groups(struct place_ctx *c)
{
    uint32_t group = PLACE_NONE;
    int64_t priority = 0;
    uint32_t key = 0;

    for (uint32_t i = 0; i < c->n_vms; i++) {
        struct place_vx *x = &c->vms[c->order[i]];

        if (x->group != group || x->v->priority != priority) {
            group = x->group;
            priority = x->v->priority;
            key = x->seq;
        }
        x->group = key;
    }
}

static void index_order(struct place_ctx *c)
{
    uint32_t *up = identity(c->a, c->n_vms);

    c->order = identity(c->a, c->n_vms);
    place_sort(c, c->order, c->n_vms, c->scratch, cmp_names);
    for (uint32_t i = 0; i < c->n_vms; i++) {
        c->vms[c->order[i]].seq = i;
    }
    join_groups(c, up);
    for (uint32_t i = 0; i < c->n_vms; i++) {
        c->vms[i].group = c->vms[find_root(up, i)].seq;
    }
    place_sort(c, c->order, c->n_vms, c->scratch, cmp_groups);
    name_groups(c);
    place_sort(c, c->order, c->n_vms, c->scratch, cmp_groups);
    for (uint32_t i = 0; i < c->n_vms; i++) {
        c->vms[c->order[i]].seq = i;
    }
}

/* Virtual machines by current host, in order of decision. */
static void index_on_host(struct place_ctx *c)
{
    uint32_t *at = ARENA_ARRAY(c->a, uint32_t, c->n_hosts + 2);
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n_vms; i++) {
        if (c->in->vms[i].current != PLACE_NONE) {
            at[c->rank_of[c->in->vms[i].current] + 2]++;
            n++;
        }
    }
    for (uint32_t r = 1; r < c->n_hosts + 2; r++) {
        at[r] += at[r - 1];
    }
    c->on_host = ARENA_ARRAY(c->a, uint32_t, n);
    for (uint32_t k = 0; k < c->n_vms; k++) {
        const struct place_vm *v = &c->in->vms[c->order[k]];

        if (v->current != PLACE_NONE) {
            c->on_host[at[c->rank_of[v->current] + 1]++] = c->order[k];
        }
    }
    c->on_host_at = at;
}

void place_index(struct place_ctx *c, const struct place_input *given, struct arena *a)
{
    const struct place_input *in = place_with_spread(given, a);
    uint32_t *sorted;

    CHECK(in->n_hosts < PLACE_NONE / 2 && in->n_vms < PLACE_NONE / 2);
    CHECK(in->n_rules < PLACE_NONE / 2);
    *c = (struct place_ctx){ .in = in, .a = a, .ignore_after = in->policy.ignore_after };
    c->n_hosts = (uint32_t)in->n_hosts;
    c->n_vms = (uint32_t)in->n_vms;
    c->n_rules = (uint32_t)in->n_rules;
    c->words = (c->n_hosts + 63) / 64;
    c->scratch = ARENA_ARRAY(a, uint32_t, in->n_vms + in->n_hosts + in->n_rules);
    c->victims = ARENA_ARRAY(a, uint32_t, in->n_vms);
    index_hosts(c);
    c->vms = ARENA_ARRAY(a, struct place_vx, c->n_vms);
    for (uint32_t i = 0; i < c->n_vms; i++) {
        c->vms[i].v = &in->vms[i];
        check_indices(c, &in->vms[i]);
    }
    c->rules = ARENA_ARRAY(a, struct place_rx, c->n_rules);
    sorted = identity(a, c->n_rules);
    place_sort(c, sorted, c->n_rules, c->scratch, cmp_rules);
    for (uint32_t k = 0; k < c->n_rules; k++) {
        index_rule(c, sorted, k);
    }
    index_members(c, sorted);
    index_masks(c);
    index_order(c);
    index_on_host(c);
    place_index_after(c);
    c->out = ARENA_ARRAY(a, struct place_result, c->n_vms);
}
