#include <string.h>

#include "base/obj.h"
#include "reconciler/place_priv.h"

/* Who is where: presence and decisions by rule, memory and vCPUs by host.
 *
 * Required Apart rules count a virtual machine wherever it is or will be, all others only where it
 * ends up (for preferred Apart this makes failback come to rest: each move improves a common sum).
 * A member that has to leave its host says nothing about where the others belong. */

static void count_at(struct place_rx *r, uint32_t rank, uint32_t vm, bool decided, int by)
{
    uint32_t d;

    if (rank == PLACE_NONE) {
        return;
    }
    d = place_dom(r, rank);
    if (decided) {
        r->decided[d] += (uint32_t)by;
        r->n_decided += (uint32_t)by;
        return;
    }
    r->present[d] += (uint32_t)by;
    r->n_present += (uint32_t)by;
    if (by > 0) {
        r->who[d] = vm;
    } else if (r->who[d] == vm) {
        r->who[d] = PLACE_NONE;
    }
}

static void count_all(struct place_ctx *c, const struct place_vx *x, bool decided, int by)
{
    uint32_t vm = (uint32_t)(x - c->vms);

    for (uint32_t i = 0; i < x->n_rules; i++) {
        struct place_rx *r = &c->rules[x->rules[i]];

        if (r->r->type == PLACE_TOGETHER || (r->r->type == PLACE_APART && !r->r->required)) {
            count_at(r, x->together, vm, decided, by);
        } else if (r->r->type == PLACE_APART) {
            count_at(r, x->apart[0], vm, decided, by);
            if (x->apart[1] != PLACE_NONE &&
                place_dom(r, x->apart[1]) != place_dom(r, x->apart[0])) {
                count_at(r, x->apart[1], vm, decided, by);
            }
        }
    }
}

void place_present(struct place_ctx *c, struct place_vx *x, uint32_t apart, uint32_t apart2,
                   uint32_t together)
{
    x->apart[0] = apart;
    x->apart[1] = apart2;
    x->together = together;
    count_all(c, x, false, 1);
}

void place_absent(struct place_ctx *c, struct place_vx *x)
{
    CHECK(!x->decided);
    count_all(c, x, false, -1);
    x->apart[0] = x->apart[1] = x->together = PLACE_NONE;
}

void place_mark_decided(struct place_ctx *c, struct place_vx *x)
{
    CHECK(!x->decided);
    x->decided = true;
    count_all(c, x, true, 1);
}

void place_unmark_decided(struct place_ctx *c, struct place_vx *x)
{
    if (x->decided) {
        x->decided = false;
        count_all(c, x, true, -1);
    }
}

void place_todo(struct place_ctx *c, struct place_vx *x, bool on)
{
    if (x->todo == on) {
        return;
    }
    x->todo = on;
    for (uint32_t i = 0; x->dynamic && i < x->n_rules; i++) {
        struct place_load *t = &c->rules[x->rules[i]].todo;

        t->memory = on ? t->memory + x->v->memory : t->memory - x->v->memory;
        t->vcpus = on ? t->vcpus + x->v->vcpus : t->vcpus - x->v->vcpus;
    }
}

static void load_add(struct place_load *l, const struct place_load *d)
{
    l->memory += d->memory;
    l->vcpus += d->vcpus;
}

static void load_sub(struct place_load *l, const struct place_load *d)
{
    CHECK(l->memory >= d->memory && l->vcpus >= d->vcpus);
    l->memory -= d->memory;
    l->vcpus -= d->vcpus;
}

/* Use room on a host; a second charge of the same virtual machine is an error of ours. */
void place_charge(struct place_ctx *c, struct place_vx *x, uint32_t rank)
{
    CHECK(x->charged == PLACE_NONE);
    x->charged = rank;
    x->charge = (struct place_load){ x->v->memory, x->v->vcpus };
    load_add(&c->hosts[rank].used, &x->charge);
}

void place_uncharge(struct place_ctx *c, struct place_vx *x)
{
    if (x->charged != PLACE_NONE) {
        load_sub(&c->hosts[x->charged].used, &x->charge);
        x->charged = PLACE_NONE;
    }
}

static bool is_gone(const struct place_ctx *c, uint32_t rank)
{
    return rank == PLACE_NONE || c->hosts[rank].failed;
}

/* Room of those that leave anyway can be promised, of those that may be preempted taken. */
static void reset_held(struct place_ctx *c, struct place_vx *x)
{
    struct place_hx *h = &c->hosts[x->current];
    struct place_load l = { x->v->memory, x->v->vcpus };
    uint32_t final = x->peer != PLACE_NONE ? x->peer : x->current;

    load_add(&h->used, &l);
    if (x->peer != PLACE_NONE) {
        load_add(&c->hosts[x->peer].used, &l);
        load_add(&h->promised, &l); /* or others would be asked to make the same room again */
    }
    if (x->v->has_left) {
        load_add(&c->hosts[c->rank_of[x->v->left]].used, &l);
        load_add(&c->hosts[c->rank_of[x->v->left]].promised, &l);
    }
    if (!x->v->wanted) {
        load_add(&h->promised, &l);
        final = PLACE_NONE;
    } else if (x->v->preemptible && !x->v->hold && x->peer == PLACE_NONE) {
        load_add(&h->yielding, &l);
    }
    if (final != PLACE_NONE && !x->v->hold && c->hosts[final].state == PLACE_HOST_MAINTENANCE) {
        final = PLACE_NONE;
        place_todo(c, x, true);
    }
    place_present(c, x, x->current, x->peer, final);
}

static void reset_vm(struct place_ctx *c, struct place_vx *x)
{
    const struct place_vm *v = x->v;

    x->current = v->current == PLACE_NONE ? PLACE_NONE : c->rank_of[v->current];
    x->peer = v->migrating_to == PLACE_NONE ? PLACE_NONE : c->rank_of[v->migrating_to];
    x->held = v->held && (x->current == PLACE_NONE || !is_gone(c, x->current));
    if (!x->held || x->current == PLACE_NONE || x->peer == x->current || is_gone(c, x->peer)) {
        x->peer = PLACE_NONE;
    }
    x->todo = x->decided = false;
    x->preemptor = x->charged = PLACE_NONE;
    x->apart[0] = x->apart[1] = x->together = PLACE_NONE;
    if (x->held && x->current != PLACE_NONE) {
        reset_held(c, x);
    } else if (v->wanted && !x->held) {
        place_todo(c, x, true);
    }
}

void place_reset(struct place_ctx *c, const uint32_t *failed_ranks, size_t n_failed,
                 bool suspects_fail)
{
    memset(c->ready, 0, c->words * sizeof(*c->ready));
    for (uint32_t r = 0; r < c->n_hosts; r++) {
        struct place_hx *h = &c->hosts[r];

        h->state = h->h->state;
        h->failed = suspects_fail && h->state == PLACE_HOST_SUSPECT;
        h->used = h->promised = h->yielding = (struct place_load){ 0 };
        if (h->state == PLACE_HOST_READY) {
            place_bit_set(c->ready, r);
        }
    }
    for (size_t i = 0; i < n_failed; i++) {
        c->hosts[failed_ranks[i]].failed = true;
        place_bit_clear(c->ready, failed_ranks[i]);
    }
    for (uint32_t k = 0; k < c->n_rules; k++) {
        struct place_rx *r = &c->rules[k];

        r->n_present = r->n_decided = 0;
        r->todo = (struct place_load){ 0 };
        if (r->present != NULL) {
            memset(r->present, 0, c->n_hosts * sizeof(*r->present));
            memset(r->decided, 0, c->n_hosts * sizeof(*r->decided));
            memset(r->who, 0xff, c->n_hosts * sizeof(*r->who));
        }
    }
    c->n_moves = 0;
    for (uint32_t i = 0; i < c->n_vms; i++) {
        reset_vm(c, &c->vms[c->order[i]]);
    }
}

void place_displace(struct place_ctx *c, struct place_vx *x)
{
    place_unmark_decided(c, x);
    place_absent(c, x);
    x->held = false;
    x->peer = PLACE_NONE;
    if (x->v->wanted) {
        place_todo(c, x, true);
    }
}
