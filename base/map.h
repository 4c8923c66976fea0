#ifndef BASE_MAP_H
#define BASE_MAP_H

/* A hash map from strings to pointers, with keys copied and values owned by the caller.
 *
 * Walks go in insertion order, so that whatever is printed from one is deterministic.  A zeroed
 * struct is a valid empty map.  One thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_item {
    char *key; /* NULL: removed */
    void *value;
};

struct map {
    struct map_item *items; /* in insertion order, with holes */
    uint32_t *slots;        /* open addressing; index into items + 1, 0 = free */
    size_t n_items;         /* used entries of items, holes included */
    size_t n_slots;         /* a power of two or 0 */
    size_t count;           /* live keys */
};

void map_done(struct map *m); /* frees keys and tables, not the values */
/* Set a value (not NULL); returns the value that was there before, or NULL. */
void *map_put(struct map *m, const char *key, void *value);
void *map_get(const struct map *m, const char *key); /* NULL when absent */
void *map_del(struct map *m, const char *key);       /* the removed value, or NULL */

/* for (size_t i = 0; map_next(&m, &i, &key, &value);) - removal of the current key is allowed. */
bool map_next(const struct map *m, size_t *pos, const char **ret_key, void **ret_value);

#endif
