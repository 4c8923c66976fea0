#include <string.h>

#include "base/obj.h"
#include "reconciler/place_priv.h"

/* Cycles of startAfter: strongly connected components (Tarjan 1972, without recursion). */

struct walk {
    struct place_ctx *c;
    uint32_t *index; /* 0: not visited */
    uint32_t *low;
    uint32_t *edge;  /* next edge to look at */
    uint32_t *stack; /* Tarjan's */
    uint32_t *path;  /* instead of recursion */
    bool *on_stack;
    uint32_t n_stack;
    uint32_t n_path;
    uint32_t n_index;
    uint32_t n_cycles;
};

static bool has_edge(const struct place_vm *v, uint32_t to)
{
    for (size_t i = 0; i < v->n_after; i++) {
        if (v->after[i].vm == to) {
            return true;
        }
    }
    return false;
}

static void visit(struct walk *w, uint32_t v)
{
    w->index[v] = w->low[v] = ++w->n_index;
    w->stack[w->n_stack++] = v;
    w->on_stack[v] = true;
    w->path[w->n_path++] = v;
}

/* v and everything above it on the stack are one component. */
static void close_component(struct walk *w, uint32_t v)
{
    uint32_t from = w->n_stack;
    bool cyclic;

    do {
        from--;
        w->on_stack[w->stack[from]] = false;
    } while (w->stack[from] != v);
    cyclic = w->n_stack - from > 1 || has_edge(w->c->vms[v].v, v);
    if (cyclic) {
        w->n_cycles++;
    }
    for (uint32_t i = from; cyclic && i < w->n_stack; i++) {
        w->c->vms[w->stack[i]].cycle = w->n_cycles;
    }
    w->n_stack = from;
}

static void step(struct walk *w)
{
    uint32_t v = w->path[w->n_path - 1];
    const struct place_vm *vm = w->c->vms[v].v;

    while (w->edge[v] < vm->n_after) {
        uint32_t to = vm->after[w->edge[v]++].vm;

        if (to == PLACE_NONE) {
            continue;
        }
        if (w->index[to] == 0) {
            visit(w, to);
            return;
        }
        if (w->on_stack[to] && w->index[to] < w->low[v]) {
            w->low[v] = w->index[to];
        }
    }
    w->n_path--;
    if (w->n_path > 0 && w->low[v] < w->low[w->path[w->n_path - 1]]) {
        w->low[w->path[w->n_path - 1]] = w->low[v];
    }
    if (w->low[v] == w->index[v]) {
        close_component(w, v);
    }
}

/* The member that `v` waits for inside its own cycle: the first by order of decision. */
static uint32_t next_in_cycle(const struct place_ctx *c, uint32_t v)
{
    const struct place_vm *vm = c->vms[v].v;
    uint32_t best = PLACE_NONE;

    for (size_t i = 0; i < vm->n_after; i++) {
        uint32_t to = vm->after[i].vm;

        if (to != PLACE_NONE && c->vms[to].cycle == c->vms[v].cycle &&
            (best == PLACE_NONE || c->vms[to].seq < c->vms[best].seq)) {
            best = to;
        }
    }
    CHECK(best != PLACE_NONE);
    return best;
}

#define CYCLE_NAMES_MAX 8

/* "a -> b -> a": walk from the first member until somebody comes twice, and print that loop. */
static const char *cycle_text(struct place_ctx *c, uint32_t first, uint32_t *seen, uint32_t mark)
{
    uint32_t v = first;
    const char *text;
    uint32_t start;
    int n = 0;

    while (seen[v] != mark) {
        seen[v] = mark;
        v = next_in_cycle(c, v);
    }
    start = v;
    text = c->vms[v].v->name;
    do {
        v = next_in_cycle(c, v);
        if (v != start && ++n >= CYCLE_NAMES_MAX) {
            return arena_printf(c->a, "%s -> ...", text);
        }
        text = arena_printf(c->a, "%s -> %s", text, c->vms[v].v->name);
    } while (v != start);
    return text;
}

void place_index_after(struct place_ctx *c)
{
    struct walk w = { .c = c };
    bool any = false;

    for (uint32_t i = 0; i < c->n_vms && !any; i++) {
        any = c->in->vms[i].n_after > 0;
    }
    if (!any) {
        return;
    }
    w.index = ARENA_ARRAY(c->a, uint32_t, c->n_vms);
    w.low = ARENA_ARRAY(c->a, uint32_t, c->n_vms);
    w.edge = ARENA_ARRAY(c->a, uint32_t, c->n_vms);
    w.stack = ARENA_ARRAY(c->a, uint32_t, c->n_vms);
    w.path = ARENA_ARRAY(c->a, uint32_t, c->n_vms);
    w.on_stack = ARENA_ARRAY(c->a, bool, c->n_vms);
    for (uint32_t i = 0; i < c->n_vms; i++) {
        if (w.index[c->order[i]] != 0) {
            continue;
        }
        visit(&w, c->order[i]);
        while (w.n_path > 0) {
            step(&w);
        }
    }
    c->cycles = ARENA_ARRAY(c->a, const char *, w.n_cycles);
    memset(w.low, 0, c->n_vms * sizeof(*w.low)); /* now: marks of cycle_text */
    for (uint32_t k = 0; k < c->n_vms && w.n_cycles > 0; k++) {
        uint32_t v = c->order[k];
        uint32_t id = c->vms[v].cycle;

        if (id != 0 && c->cycles[id - 1] == NULL) {
            c->cycles[id - 1] = cycle_text(c, v, w.low, id);
        }
    }
}
