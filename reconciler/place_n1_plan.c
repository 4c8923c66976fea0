#include <string.h>

#include "base/obj.h"
#include "reconciler/place_priv.h"

/* Capacity: which hosts may fail together (features.md B04, C21; safety.md 7).
 *
 * A set of hosts is examined by doing what place_fail_plan would do.  In a quiet cluster, where all
 * that runs stays where it is, only what the failed hosts carried (and what has no host yet) is
 * decided again on top of one settled base, and undone afterwards.  Otherwise, and where somebody
 * would have to be preempted, the whole pass is run for the set. */

#define LEFT_NAMES_MAX 5

/* What a host would leave behind, for the quick proof. */
struct burden {
    uint32_t n;
    uint64_t memory; /* sum */
    struct place_load most;
    bool plain; /* all of it fits wherever there is room */
};

struct cap {
    struct place_ctx *base;
    struct place_ctx *full; /* for whole passes */
    bool quiet;
    uint64_t budget;
    uint32_t *live; /* ranks that may fail, heaviest first */
    uint32_t n_live;
    struct burden *burden; /* by rank */
    struct burden waiting; /* what has no host yet */
    uint32_t *active;      /* decided anew for every set */
    uint32_t n_active;
    uint32_t *list;
    uint32_t n_list;
    uint32_t *left; /* of the last set */
    uint32_t n_left;
    uint64_t left_memory;
    uint64_t sets;
    struct place_capacity *ret;
};

static uint64_t steps_of(const struct cap *p)
{
    return p->base->steps + (p->full == p->base ? 0 : p->full->steps);
}

/* Does it count, and is it left over? */
static bool is_left(const struct place_vm *v, const struct place_result *r)
{
    if (!v->wanted || v->hold || v->ha != PLACE_HA_RESTART) {
        return false;
    }
    switch ((int)r->reason) {
    case PLACE_WAITING_FOR_PREEMPTION:
        return false;
    case PLACE_WAITING_FOR_FENCING:
        return true;
    default:
        return r->host == PLACE_NONE;
    }
}

static void collect(struct cap *p, const struct place_ctx *c, const uint32_t *list, uint32_t n)
{
    p->n_left = 0;
    p->left_memory = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (is_left(c->vms[list[i]].v, &c->out[list[i]])) {
            p->left[p->n_left++] = list[i];
            p->left_memory += c->vms[list[i]].v->memory;
        }
    }
}

static void run_full(struct cap *p, const uint32_t *failed, uint32_t n)
{
    place_reset(p->full, failed, n, true);
    place_run(p->full);
    collect(p, p->full, p->full->order, p->full->n_vms);
}

/* ---- on top of the settled base ---- */

static int cmp_seq(const struct place_ctx *c, uint32_t x, uint32_t y)
{
    return c->vms[x].seq < c->vms[y].seq ? -1 : c->vms[x].seq > c->vms[y].seq;
}

static void fail_host(struct cap *p, uint32_t rank)
{
    struct place_ctx *c = p->base;

    c->hosts[rank].failed = true;
    place_bit_clear(c->ready, rank);
    for (uint32_t i = c->on_host_at[rank]; i < c->on_host_at[rank + 1]; i++) {
        struct place_vx *x = &c->vms[c->on_host[i]];

        if (x->held) {
            place_displace(c, x);
            p->list[p->n_list++] = c->on_host[i];
        }
    }
}

static void heal_host(struct cap *p, uint32_t rank)
{
    struct place_ctx *c = p->base;

    c->hosts[rank].failed = false;
    if (c->hosts[rank].state == PLACE_HOST_READY) {
        place_bit_set(c->ready, rank);
    }
    for (uint32_t i = c->on_host_at[rank]; i < c->on_host_at[rank + 1]; i++) {
        struct place_vx *x = &c->vms[c->on_host[i]];

        if (!x->v->held) {
            continue;
        }
        x->held = true;
        place_todo(c, x, false);
        place_present(c, x, rank, PLACE_NONE, x->v->wanted ? rank : PLACE_NONE);
        if (x->v->wanted) {
            place_mark_decided(c, x);
        }
    }
}

static void run_quick(struct cap *p, const uint32_t *failed, uint32_t n)
{
    struct place_ctx *c = p->base;

    p->n_list = p->n_active;
    memcpy(p->list, p->active, p->n_active * sizeof(*p->list));
    for (uint32_t i = 0; i < n; i++) {
        fail_host(p, failed[i]);
    }
    place_sort(c, p->list, p->n_list, c->scratch, cmp_seq);
    c->escalate = false;
    for (uint32_t i = 0; i < p->n_list; i++) {
        place_one(c, p->list[i]);
    }
    collect(p, c, p->list, p->n_list);
    for (uint32_t i = 0; i < p->n_list; i++) {
        place_uncharge(c, &c->vms[p->list[i]]);
        place_displace(c, &c->vms[p->list[i]]);
    }
    for (uint32_t i = 0; i < n; i++) {
        heal_host(p, failed[i]);
    }
    if (c->escalate) {
        run_full(p, failed, n);
    }
}

/* ---- the quick proof ---- */

static void bear(struct burden *b, const struct place_vx *x)
{
    b->n++;
    b->memory += x->v->memory;
    b->most.memory = x->v->memory > b->most.memory ? x->v->memory : b->most.memory;
    b->most.vcpus = x->v->vcpus > b->most.vcpus ? x->v->vcpus : b->most.vcpus;
    b->plain &= x->mask == NULL && !x->dynamic && x->cycle == 0;
}

static void join(struct burden *b, const struct burden *d)
{
    b->n += d->n;
    b->most.memory = d->most.memory > b->most.memory ? d->most.memory : b->most.memory;
    b->most.vcpus = d->most.vcpus > b->most.vcpus ? d->most.vcpus : b->most.vcpus;
    b->plain &= d->plain;
}

static uint64_t slots(const struct place_hx *h, const struct place_load *most)
{
    uint64_t free = h->h->memory > h->used.memory ? h->h->memory - h->used.memory : 0;
    uint64_t n = most->memory == 0 ? UINT32_MAX : free / most->memory;
    uint64_t cpus = h->cpu_limit > h->used.vcpus ? h->cpu_limit - h->used.vcpus : 0;

    if (h->cpu_limit != UINT64_MAX && most->vcpus > 0 && cpus / most->vcpus < n) {
        n = cpus / most->vcpus;
    }
    return n;
}

/* Cut the free room into pieces as large as the largest of those that need one: each takes away at
 * most one piece, so that with as many pieces as machines none can be left over, whatever the
 * order.
 */
static bool has_slots(struct cap *p, const uint32_t *failed, uint32_t n)
{
    struct place_ctx *c = p->base;
    struct burden b = p->waiting;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        join(&b, &p->burden[failed[i]]);
    }
    if (!b.plain) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        place_bit_clear(c->ready, failed[i]);
    }
    for (uint32_t r = 0; r < c->n_hosts && sum < b.n; r++) {
        c->steps++;
        sum += place_bit(c->ready, r) ? slots(&c->hosts[r], &b.most) : 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (c->hosts[failed[i]].state == PLACE_HOST_READY) {
            place_bit_set(c->ready, failed[i]);
        }
    }
    return sum >= b.n;
}

/* ---- sets ---- */

static void keep_worst(struct cap *p, const uint32_t *failed, uint32_t n)
{
    struct place_capacity *ret = p->ret;
    uint32_t *ids = ARENA_ARRAY(p->base->a, uint32_t, n);
    uint32_t *left = ARENA_ARRAY(p->base->a, uint32_t, p->n_left);

    for (uint32_t i = 0; i < n; i++) {
        ids[i] = p->base->host_order[failed[i]];
    }
    memcpy(left, p->left, p->n_left * sizeof(*left));
    ret->failed = ids;
    ret->n_failed = n;
    ret->left = left;
    ret->n_left = p->n_left;
    ret->left_memory = p->left_memory;
}

static void examine(struct cap *p, const uint32_t *failed, uint32_t n)
{
    p->sets++;
    p->n_left = 0;
    p->left_memory = 0;
    if (p->quiet && n > 1 && has_slots(p, failed, n)) {
        return;
    }
    if (p->quiet) {
        run_quick(p, failed, n);
    } else {
        run_full(p, failed, n);
    }
}

/* The next combination of n out of n_live positions; false after the last. */
static bool next_set(uint32_t *at, uint32_t n, uint32_t n_live)
{
    for (uint32_t i = n; i-- > 0;) {
        if (at[i] < n_live - (n - i)) {
            at[i]++;
            for (uint32_t k = i + 1; k < n; k++) {
                at[k] = at[k - 1] + 1;
            }
            return true;
        }
    }
    return false;
}

/* All sets of n hosts. */
static enum place_verdict try_size(struct cap *p, uint32_t n)
{
    enum place_verdict verdict = PLACE_PROVED;
    uint32_t *at = ARENA_ARRAY(p->base->a, uint32_t, n);
    uint32_t *failed = ARENA_ARRAY(p->base->a, uint32_t, n);

    for (uint32_t i = 0; i < n; i++) {
        at[i] = i;
    }
    do {
        for (uint32_t i = 0; i < n; i++) {
            failed[i] = p->live[at[i]];
        }
        if (n > 1 && p->budget != 0 && steps_of(p) >= p->budget) {
            p->n_left = 0;
            p->left_memory = 0;
            keep_worst(p, failed, n);
            return PLACE_NOT_PROVED;
        }
        examine(p, failed, n);
        if (p->n_left > 0 && (verdict == PLACE_PROVED || p->left_memory > p->ret->left_memory)) {
            keep_worst(p, failed, n);
            verdict = PLACE_REFUTED;
        }
    } while ((verdict == PLACE_PROVED || n == 1) && next_set(at, n, p->n_live));
    return verdict;
}

/* ---- the base ---- */

/* Nothing that runs would move or stop, now or because of a failure elsewhere. */
static bool is_settled(const struct place_ctx *c, uint32_t i)
{
    const struct place_vx *x = &c->vms[i];

    if (x->peer != PLACE_NONE || x->v->has_left || (x->held && x->current == PLACE_NONE)) {
        return false;
    }
    if (!x->held || !x->v->wanted) {
        return c->out[i].reason != PLACE_WAITING_FOR_PREEMPTION;
    }
    if (c->out[i].reason == PLACE_HELD) {
        return !x->dynamic; /* it may break a rule without anybody minding */
    }
    return c->out[i].reason == PLACE_KEPT;
}

static void prepare(struct cap *p)
{
    struct place_ctx *c = p->base;

    p->waiting.plain = true;
    for (uint32_t r = 0; r < c->n_hosts; r++) {
        p->burden[r].plain = true;
    }
    for (uint32_t k = 0; k < c->n_vms; k++) {
        struct place_vx *x = &c->vms[c->order[k]];

        if (!x->v->wanted) {
            continue;
        }
        if (x->held && x->current != PLACE_NONE) {
            bear(&p->burden[x->current], x);
        } else if (p->quiet) {
            bear(&p->waiting, x);
            place_uncharge(c, x);
            place_displace(c, x);
            p->active[p->n_active++] = c->order[k];
        }
    }
    c->no_preempt = p->quiet;
}

static void list_live(struct cap *p)
{
    struct place_ctx *c = p->base;

    for (uint32_t r = 0; r < c->n_hosts; r++) {
        uint32_t k = p->n_live;

        if (c->hosts[r].failed || c->hosts[r].state == PLACE_HOST_DOWN) {
            continue;
        }
        for (; k > 0 && p->burden[p->live[k - 1]].memory < p->burden[r].memory; k--) {
            p->live[k] = p->live[k - 1];
        }
        p->live[k] = r;
        p->n_live++;
    }
}

/* ---- words ---- */

const char *place_verdict_name(enum place_verdict v)
{
    switch (v) {
    case PLACE_PROVED:
        return "Proved";
    case PLACE_REFUTED:
        return "Refuted";
    case PLACE_NOT_PROVED:
        return "NotProved";
    default:
        CHECK_UNREACHABLE();
    }
}

static const char *host_names(const struct cap *p)
{
    const struct place_capacity *r = p->ret;
    const char *text = "";

    for (size_t i = 0; i < r->n_failed; i++) {
        const char *sep = i == 0 ? "" : i + 1 == r->n_failed ? " and " : ", ";

        text = arena_printf(p->base->a, "%s%s%s", text, sep, p->base->in->hosts[r->failed[i]].name);
    }
    return text;
}

static const char *left_names(const struct cap *p)
{
    const struct place_capacity *r = p->ret;
    const char *text = "";

    for (size_t i = 0; i < r->n_left; i++) {
        if (i == LEFT_NAMES_MAX && r->n_left > LEFT_NAMES_MAX + 1) {
            return arena_printf(p->base->a, "%s and %zu more", text, r->n_left - i);
        }
        text = arena_printf(p->base->a, "%s%s%s", text, i == 0 ? "" : ", ",
                            p->base->in->vms[r->left[i]].name);
    }
    return text;
}

static const char *say_refuted(const struct cap *p)
{
    const struct place_capacity *r = p->ret;
    const char *when = "even now";
    char size[24];

    place_size_text(r->left_memory, size, sizeof(size));
    if (r->n_failed > 0) {
        when =
            arena_printf(p->base->a, "if %s fail%s,", host_names(p), r->n_failed == 1 ? "s" : "");
    }
    return arena_printf(
        p->base->a, "%s %zu virtual machine%s with ha.policy Restart (%s) find%s no host: %s", when,
        r->n_left, r->n_left == 1 ? "" : "s", size, r->n_left == 1 ? "s" : "", left_names(p));
}

static const char *say(const struct cap *p)
{
    const struct place_capacity *r = p->ret;

    switch (r->verdict) {
    case PLACE_REFUTED:
        return say_refuted(p);
    case PLACE_NOT_PROVED:
        return arena_printf(
            p->base->a,
            "any %u of %u hosts may fail; for %u no failing set was found, but the budget "
            "ended after %llu sets, before %s",
            r->max_tolerated, p->n_live, r->max_tolerated + 1, (unsigned long long)p->sets,
            host_names(p));
    case PLACE_PROVED:
        if (r->max_tolerated == 0) {
            return "every virtual machine with ha.policy Restart has a host";
        }
        return arena_printf(p->base->a,
                            "any %u of %u hosts may fail and every virtual machine with ha.policy "
                            "Restart finds a host (%llu sets examined)",
                            r->max_tolerated, p->n_live, (unsigned long long)p->sets);
    default:
        CHECK_UNREACHABLE();
    }
}

static void ask(struct cap *p, uint32_t failures)
{
    struct place_capacity *ret = p->ret;
    uint32_t most = failures < p->n_live ? failures : p->n_live;

    p->sets = 1; /* the one without failures */
    if (p->n_left > 0) {
        keep_worst(p, NULL, 0);
        ret->verdict = PLACE_REFUTED;
        return;
    }
    for (uint32_t n = 1; n <= most && ret->verdict == PLACE_PROVED; n++) {
        ret->verdict = try_size(p, n);
        if (ret->verdict == PLACE_PROVED) {
            ret->max_tolerated = n;
        }
    }
}

void place_capacity(const struct place_input *in, uint32_t failures, uint64_t budget,
                    struct arena *a, struct place_capacity *ret)
{
    struct place_ctx base;
    struct place_ctx full;
    struct cap p = { .base = &base, .full = &full, .quiet = true, .budget = budget, .ret = ret };

    *ret = (struct place_capacity){ .verdict = PLACE_PROVED, .failures = failures };
    place_index(&base, in, a);
    base.quiet = base.ignore_after = true;
    p.live = ARENA_ARRAY(a, uint32_t, in->n_hosts);
    p.burden = ARENA_ARRAY(a, struct burden, in->n_hosts);
    p.active = ARENA_ARRAY(a, uint32_t, in->n_vms);
    p.list = ARENA_ARRAY(a, uint32_t, in->n_vms);
    p.left = ARENA_ARRAY(a, uint32_t, in->n_vms);
    place_reset(&base, NULL, 0, true);
    place_run(&base);
    collect(&p, &base, base.order, base.n_vms);
    for (uint32_t i = 0; i < base.n_vms && p.quiet; i++) {
        p.quiet = is_settled(&base, i);
    }
    if (p.quiet && in->policy.preemption) {
        place_index(&full, in, a);
        full.quiet = full.ignore_after = true;
    } else {
        p.full = &base;
    }
    prepare(&p);
    list_live(&p);
    ask(&p, failures);
    ret->sets = p.sets;
    ret->steps = steps_of(&p);
    ret->message = say(&p);
}
