#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

#define ARENA_CHUNK_BYTES 8192U
#define ARENA_ALIGN 16U

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t cap;
    size_t pad;
    unsigned char mem[];
};

static unsigned arena_keep_max;
static _Thread_local struct arena_chunk *arena_spare;
static _Thread_local unsigned arena_spares;

void arena_keep(unsigned n)
{
/* The address sanitizer shall see what is used after its end. */
#if !defined(__SANITIZE_ADDRESS__)
    arena_keep_max = n;
#else
    (void)n;
#endif
}

static struct arena_chunk *chunk_new(size_t size)
{
    size_t cap = size > ARENA_CHUNK_BYTES ? size : ARENA_CHUNK_BYTES;
    struct arena_chunk *c = arena_spare;

    if (c != NULL && cap == ARENA_CHUNK_BYTES) {
        arena_spare = c->next;
        arena_spares--;
    } else {
        c = malloc(sizeof(*c) + cap);
        CHECK(c != NULL);
    }
    c->cap = cap;
    c->used = 0;
    return c;
}

static void chunk_free(struct arena_chunk *c)
{
    if (c->cap == ARENA_CHUNK_BYTES && arena_spares < arena_keep_max) {
        c->next = arena_spare;
        arena_spare = c;
        arena_spares++;
    } else {
        free(c);
    }
}

void arena_done(struct arena *a)
{
    while (a->head != NULL) {
        struct arena_chunk *c = a->head;

        a->head = c->next;
        chunk_free(c);
    }
    a->total = 0;
}

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_chunk *c = a->head;
    void *p;

    CHECK(size < SIZE_MAX / 2);
    size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (c == NULL || c->cap - c->used < size) {
        c = chunk_new(size);
        c->next = a->head;
        a->head = c;
    }
    p = c->mem + c->used;
    c->used += size;
    a->total += size;
    memset(p, 0, size);
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *d = arena_alloc(a, n + 1);

    memcpy(d, s, n);
    return d;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s == NULL ? NULL : arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char *s;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    s = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    (void)vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}
