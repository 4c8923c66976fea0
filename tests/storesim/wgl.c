#include "tests/storesim/wgl.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

/* A doubly linked list of calls and returns in order of time; a linearized operation is lifted out
 * of it and put back when the search goes back. */
struct node {
    size_t op;
    bool is_call;
    uint64_t at;
    struct node *match; /* of a call: its return, NULL: never */
    struct node *prev, *next;
};

struct cached {
    uint64_t *bits;
    uint64_t state, hash;
    struct cached *next;
};

struct search {
    const struct wgl_op *ops;
    size_t n, words;
    uint64_t *bits;
    struct node head;
    struct node *nodes;
    struct cached **table;
    size_t n_table, n_cached;
};

static int by_time(const void *a, const void *b)
{
    const struct node *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

/* The state after the operation, or false: it cannot happen in this state. */
static bool step(const struct wgl_op *op, uint64_t state, uint64_t *ret)
{
    switch (op->kind) {
    case WGL_READ:
        *ret = state;
        return state == op->value;
    case WGL_WRITE:
        *ret = op->value;
        return true;
    case WGL_CAS:
        if (op->ret == UINT64_MAX) { /* nobody knows whether the compare held */
            *ret = state == op->expect ? op->value : state;
            return true;
        }
        *ret = op->held ? op->value : state;
        return op->held == (state == op->expect);
    }
    CHECK_UNREACHABLE();
}

static void lift(struct node *x)
{
    x->prev->next = x->next;
    if (x->next != NULL) {
        x->next->prev = x->prev;
    }
    if (x->match != NULL) {
        lift(x->match);
    }
}

static void unlift(struct node *x)
{
    if (x->match != NULL) {
        unlift(x->match);
    }
    x->prev->next = x;
    if (x->next != NULL) {
        x->next->prev = x;
    }
}

static uint64_t hash_of(const struct search *s, uint64_t state)
{
    uint64_t h = state * 0x9e3779b97f4a7c15ULL;

    for (size_t i = 0; i < s->words; i++) {
        h = (h ^ s->bits[i]) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    return h;
}

static void grow(struct search *s)
{
    size_t n = s->n_table == 0 ? 1024 : s->n_table * 4;
    struct cached **table = mem_alloc(n * sizeof(struct cached *));

    for (size_t i = 0; i < s->n_table; i++) {
        while (s->table[i] != NULL) {
            struct cached *c = s->table[i];

            s->table[i] = c->next;
            c->next = table[c->hash & (n - 1)];
            table[c->hash & (n - 1)] = c;
        }
    }
    free(s->table);
    s->table = table;
    s->n_table = n;
}

/* False: this has been tried before. */
static bool remember(struct search *s, uint64_t state)
{
    uint64_t h = hash_of(s, state);
    struct cached *c;

    if (s->n_cached >= s->n_table) {
        grow(s);
    }
    for (c = s->table[h & (s->n_table - 1)]; c != NULL; c = c->next) {
        if (c->hash == h && c->state == state &&
            memcmp(c->bits, s->bits, s->words * sizeof(uint64_t)) == 0) {
            return false;
        }
    }
    c = OBJ_NEW(struct cached);
    c->bits = mem_dup(s->bits, s->words * sizeof(uint64_t));
    c->state = state;
    c->hash = h;
    c->next = s->table[h & (s->n_table - 1)];
    s->table[h & (s->n_table - 1)] = c;
    s->n_cached++;
    return true;
}

static void build(struct search *s)
{
    struct node **calls = mem_alloc((s->n + 1) * sizeof(struct node *));
    size_t k = 0;

    s->nodes = mem_alloc((2 * s->n + 1) * sizeof(*s->nodes));
    for (size_t i = 0; i < s->n; i++) {
        s->nodes[k++] = (struct node){ .op = i, .is_call = true, .at = s->ops[i].call };
        if (s->ops[i].ret != UINT64_MAX) {
            s->nodes[k++] = (struct node){ .op = i, .at = s->ops[i].ret };
        }
    }
    qsort(s->nodes, k, sizeof(*s->nodes), by_time);
    s->head.next = k > 0 ? &s->nodes[0] : NULL;
    for (size_t i = 0; i < k; i++) {
        struct node *x = &s->nodes[i];

        x->prev = i == 0 ? &s->head : &s->nodes[i - 1];
        x->next = i + 1 < k ? &s->nodes[i + 1] : NULL;
        if (x->is_call) {
            calls[x->op] = x;
        } else {
            calls[x->op]->match = x;
        }
    }
    free(calls);
}

static void finish(struct search *s)
{
    for (size_t i = 0; i < s->n_table; i++) {
        while (s->table[i] != NULL) {
            struct cached *c = s->table[i];

            s->table[i] = c->next;
            free(c->bits);
            free(c);
        }
    }
    free(s->table);
    free(s->nodes);
    free(s->bits);
}

struct taken {
    struct node *node;
    uint64_t state; /* before it */
};

/* Does anything that has returned wait for its place still? */
static bool returns_left(const struct search *s)
{
    for (const struct node *x = s->head.next; x != NULL; x = x->next) {
        if (!x->is_call) {
            return true;
        }
    }
    return false;
}

static enum wgl_result run(struct search *s, uint64_t state, size_t max_steps, size_t *ret_op)
{
    struct taken *stack = mem_alloc((s->n + 1) * sizeof(*stack));
    struct node *at = s->head.next;
    enum wgl_result result = WGL_OK;
    size_t depth = 0, best = 0;

    while (returns_left(s) && result == WGL_OK) {
        uint64_t after;

        if (max_steps-- == 0) {
            result = WGL_TOO_LONG;
        } else if (at != NULL && at->is_call) {
            bool fits = step(&s->ops[at->op], state, &after);

            s->bits[at->op / 64] |= 1ULL << (at->op % 64);
            if (fits && remember(s, after)) {
                stack[depth++] = (struct taken){ at, state };
                state = after;
                lift(at);
                at = s->head.next;
            } else {
                s->bits[at->op / 64] &= ~(1ULL << (at->op % 64));
                at = at->next;
            }
        } else {
            if (at != NULL && depth >= best) { /* this one must be placed before it returns */
                best = depth;
                *ret_op = at->op;
            }
            if (depth == 0) {
                result = WGL_BAD;
            } else {
                struct taken *t = &stack[--depth];

                unlift(t->node);
                s->bits[t->node->op / 64] &= ~(1ULL << (t->node->op % 64));
                state = t->state;
                at = t->node->next;
            }
        }
    }
    free(stack);
    return result;
}

enum wgl_result wgl_check(const struct wgl_op *ops, size_t n, uint64_t initial, size_t max_steps,
                          size_t *ret_op)
{
    struct search s = { .ops = ops, .n = n, .words = n / 64 + 1 };
    enum wgl_result result;

    *ret_op = 0;
    s.bits = mem_alloc(s.words * sizeof(uint64_t));
    build(&s);
    result = run(&s, initial, max_steps, ret_op);
    finish(&s);
    return result;
}
