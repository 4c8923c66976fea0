#ifndef BASE_ARENA_H
#define BASE_ARENA_H

/* A bump allocator for one request or one plan: everything in it is freed in one call.
 *
 * A zeroed struct is a valid empty arena.  Memory is zeroed and aligned to 16 bytes.  Allocation
 * never fails (see mem_alloc).  One thread at a time.
 */

#include <stdarg.h>
#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *head; /* newest first */
    size_t total;             /* bytes given out */
};

void arena_done(struct arena *a); /* frees all; the arena is empty and usable again */
void *arena_alloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A request makes and drops several small arenas: keep up to n chunks a thread for the next ones.
 * Called once, at the start of a program whose heap lives as long as it does (the simulator's does
 * not); 0 without it. */
void arena_keep(unsigned n);

#define ARENA_NEW(a, type) ((type *)arena_alloc(a, sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_alloc(a, sizeof(type) * (size_t)(n)))

#endif
