/* malloc of the whole program: a heap for each simulated process, which goes with it.  A process of
 * the product never closes (crash-only), so this is how kill -9 gives its memory back.  It is also
 * fast, and knows no threads.  Not with sanitizers: then the memory of dead processes is lost. */

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/sim/sim_priv.h"

unsigned sim_heap = HEAP_WORLD;

/* OpenSSL keeps what it allocates for the whole program. */
static void *ssl_malloc(size_t size, const char *file, int line)
{
    void *p;

    SIM_WORLD_BEGIN();
    (void)file;
    (void)line;
    p = malloc(size);
    SIM_WORLD_END();
    return p;
}

static void *ssl_realloc(void *p, size_t size, const char *file, int line)
{
    SIM_WORLD_BEGIN();
    (void)file;
    (void)line;
    p = realloc(p, size);
    SIM_WORLD_END();
    return p;
}

static void ssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

void sim_heap_init(void)
{
    CHECK(CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) == 1);
}

#ifdef __SANITIZE_ADDRESS__

unsigned sim_heap_new(void)
{
    return HEAP_WORLD;
}

void sim_heap_drop(unsigned heap)
{
    (void)heap;
}

size_t sim_heap_bytes(unsigned heap)
{
    (void)heap;
    return 0;
}

#else

#define HEAPS_MAX 256U
#define CHUNK ((size_t)256 << 10)
#define BIG ((size_t)32 << 10) /* larger ones are mapped on their own, or taken from a list */
#define BIG_LISTS 8U           /* up to 4 MiB each */
#define CLASSES 84U
#define FINE 64U /* classes of 16 bytes each, then four for each doubling */

struct chunk {
    struct chunk *next;
    uint64_t pad;
};

struct block { /* before each allocation; 16 bytes keep what malloc promises */
    uint32_t heap;
    uint32_t class; /* CLASSES: big */
    size_t size;    /* usable */
};

struct big {
    struct big *next, *prev;
    uint32_t heap, pad;
    size_t mapped;
    struct block block; /* last */
};

struct heap {
    bool used;
    struct chunk *chunks;
    uint8_t *at, *end;
    void *free[CLASSES];
    struct big *bigs;
    size_t bytes;
};

static struct heap heaps[HEAPS_MAX];
static struct chunk *spare;
static struct big *spare_bigs[BIG_LISTS];

static size_t class_size(unsigned c)
{
    if (c < FINE) {
        return ((size_t)c + 1) * 16;
    }
    c -= FINE;
    return ((size_t)1024 << (c / 4)) + ((size_t)1024 << (c / 4)) / 4 * (c % 4 + 1);
}

static unsigned class_of(size_t size)
{
    unsigned c = FINE;

    if (size <= 1024) {
        return size == 0 ? 0 : (unsigned)((size - 1) / 16);
    }
    while (class_size(c) < size) {
        c++;
    }
    return c;
}

static void *map_memory(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* Large blocks come and go all the time: asking the kernel each time costs more than all the rest.
 * Sizes are powers of two, so that they fit again. */
static unsigned big_list(size_t size)
{
    unsigned i = 0;

    while (((size_t)BIG << i) < size) {
        i++;
    }
    return i;
}

static struct big *big_map(size_t size)
{
    unsigned i = big_list(size);
    struct big *b;

    if (i >= BIG_LISTS) {
        b = size > SIZE_MAX - 4096 ? NULL : map_memory((size + 4095) & ~(size_t)4095);
        if (b != NULL) {
            b->mapped = (size + 4095) & ~(size_t)4095;
        }
        return b;
    }
    b = spare_bigs[i];
    if (b != NULL) {
        spare_bigs[i] = b->next;
        return b;
    }
    b = map_memory((size_t)BIG << i);
    if (b != NULL) {
        b->mapped = (size_t)BIG << i;
    }
    return b;
}

static void big_unmap(struct big *b)
{
    unsigned i = big_list(b->mapped);

    if (i >= BIG_LISTS) {
        (void)munmap(b, b->mapped);
        return;
    }
    b->next = spare_bigs[i];
    spare_bigs[i] = b;
}

static bool heap_grow(struct heap *h)
{
    struct chunk *c = spare;

    if (c != NULL) {
        spare = c->next;
    } else {
        c = map_memory(CHUNK);
    }
    if (c == NULL) {
        return false;
    }
    c->next = h->chunks;
    h->chunks = c;
    h->at = (uint8_t *)(c + 1);
    h->end = (uint8_t *)c + CHUNK;
    return true;
}

static void *big_new(struct heap *h, unsigned heap, size_t size)
{
    struct big *b = size > SIZE_MAX / 2 ? NULL : big_map(size + sizeof(struct big));

    if (b == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    b->heap = heap;
    b->prev = NULL;
    b->next = h->bigs;
    if (h->bigs != NULL) {
        h->bigs->prev = b;
    }
    h->bigs = b;
    h->bytes += b->mapped;
    b->block = (struct block){ .heap = heap, .class = CLASSES, .size = b->mapped - sizeof(*b) };
    return &b->block + 1;
}

static void *heap_alloc(unsigned heap, size_t size)
{
    struct heap *h = &heaps[heap];
    unsigned c;
    struct block *b;
    void *p;

    if (size > BIG) {
        return big_new(h, heap, size);
    }
    c = class_of(size);
    p = h->free[c];
    h->bytes += class_size(c);
    if (p != NULL) {
        memcpy(&h->free[c], p, sizeof(void *));
        return p;
    }
    size = class_size(c) + sizeof(*b);
    if ((size_t)(h->end - h->at) < size && !heap_grow(h)) {
        errno = ENOMEM;
        return NULL;
    }
    b = (struct block *)(void *)h->at;
    h->at += size;
    *b = (struct block){ .heap = heap, .class = c, .size = class_size(c) };
    return b + 1;
}

void *malloc(size_t size)
{
    return heap_alloc(sim_heap, size);
}

void free(void *p)
{
    struct block *b = (struct block *)p - 1;
    struct heap *h;

    if (p == NULL) {
        return;
    }
    h = &heaps[b->heap];
    if (b->class == CLASSES) {
        struct big *g = CONTAINER_OF(b, struct big, block);

        h->bytes -= g->mapped;
        if (g->next != NULL) {
            g->next->prev = g->prev;
        }
        if (g->prev != NULL) {
            g->prev->next = g->next;
        } else {
            h->bigs = g->next;
        }
        big_unmap(g);
        return;
    }
    h->bytes -= b->size;
    memcpy(p, &h->free[b->class], sizeof(void *));
    h->free[b->class] = p;
}

void *calloc(size_t n, size_t size)
{
    void *p;

    if (size != 0 && n > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    p = malloc(n * size);
    if (p != NULL) {
        memset(p, 0, n * size);
    }
    return p;
}

void *realloc(void *p, size_t size)
{
    const struct block *b = (struct block *)p - 1;
    void *q;

    if (p == NULL) {
        return malloc(size);
    }
    if (size <= b->size && (b->size <= 64 || size >= b->size / 2)) {
        return p;
    }
    q = heap_alloc(b->heap, size);
    if (q != NULL) {
        memcpy(q, p, size < b->size ? size : b->size);
        free(p);
    }
    return q;
}

/* Nobody here needs more than 16 but libraft, which asks for pages it could do without: such a
 * block is never given back before its heap is. */
void *memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size)
{
    uint8_t *p = malloc(size + align + sizeof(struct block));
    struct block *b;
    uintptr_t at;

    if (p == NULL || ((uintptr_t)p & (align - 1)) == 0) {
        return p;
    }
    b = (struct block *)(void *)p - 1;
    at = ((uintptr_t)p + sizeof(*b) + align - 1) & ~(uintptr_t)(align - 1);
    ((struct block *)at)[-1] = (struct block){ .heap = b->heap, .class = 0, .size = size };
    return (void *)at;
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
    *ret = memalign(align, size);
    return *ret == NULL ? ENOMEM : 0;
}

size_t malloc_usable_size(void *p);
size_t malloc_usable_size(void *p)
{
    return p == NULL ? 0 : ((const struct block *)p - 1)->size;
}

unsigned sim_heap_new(void)
{
    for (unsigned i = 1; i < HEAPS_MAX; i++) {
        if (!heaps[i].used) {
            heaps[i] = (struct heap){ .used = true };
            return i;
        }
    }
    CHECK_UNREACHABLE();
}

void sim_heap_drop(unsigned heap)
{
    struct heap *h = &heaps[heap];
    struct chunk *c, *next;

    CHECK(heap != HEAP_WORLD && h->used && sim_heap != heap);
    for (c = h->chunks; c != NULL; c = next) {
        next = c->next;
        c->next = spare;
        spare = c;
    }
    while (h->bigs != NULL) {
        struct big *b = h->bigs;

        h->bigs = b->next;
        big_unmap(b);
    }
    *h = (struct heap){ 0 };
}

size_t sim_heap_bytes(unsigned heap)
{
    return heaps[heap].bytes;
}

#endif
