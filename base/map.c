#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

#define MAP_DELETED UINT32_MAX

/* FNV-1a, 64 bit (Fowler, Noll, Vo). */
static uint64_t map_hash(const char *key)
{
    uint64_t h = 0xcbf29ce484222325ULL;

    for (; *key != 0; key++) {
        h = (h ^ (uint8_t)*key) * 0x100000001b3ULL;
    }
    return h ^ (h >> 29);
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->n_items; i++) {
        free(m->items[i].key);
    }
    free(m->items);
    free(m->slots);
    *m = (struct map){ 0 };
}

/* The slot of `key`, or of the first free place for it. */
static size_t map_slot(const struct map *m, const char *key, bool *ret_found)
{
    size_t mask = m->n_slots - 1;
    size_t i = (size_t)map_hash(key) & mask;

    for (;; i = (i + 1) & mask) {
        uint32_t s = m->slots[i];

        if (s == 0) {
            *ret_found = false;
            return i;
        }
        if (s != MAP_DELETED && strcmp(m->items[s - 1].key, key) == 0) {
            *ret_found = true;
            return i;
        }
    }
}

/* Rebuild without holes, with room for one more. */
static void map_rebuild(struct map *m)
{
    struct map old = *m;
    size_t n_slots = 16;
    bool found;

    while (n_slots < (old.count + 1) * 2 + old.count / 2) {
        n_slots *= 2;
    }
    m->items = mem_alloc(n_slots * sizeof(*m->items));
    m->slots = mem_alloc(n_slots * sizeof(*m->slots));
    m->n_slots = n_slots;
    m->n_items = 0;
    for (size_t i = 0; i < old.n_items; i++) {
        if (old.items[i].key != NULL) {
            m->items[m->n_items++] = old.items[i];
            m->slots[map_slot(m, old.items[i].key, &found)] = (uint32_t)m->n_items;
        }
    }
    free(old.items);
    free(old.slots);
}

void *map_get(const struct map *m, const char *key)
{
    bool found;
    size_t i;

    if (m->count == 0) {
        return NULL;
    }
    i = map_slot(m, key, &found);
    return found ? m->items[m->slots[i] - 1].value : NULL;
}

void *map_put(struct map *m, const char *key, void *value)
{
    bool found;
    size_t i;

    CHECK(value != NULL);
    /* n_items counts holes too, and so bounds used and deleted slots together */
    if (m->n_slots == 0 || (m->n_items + 1) * 4 > m->n_slots * 3) {
        map_rebuild(m);
    }
    i = map_slot(m, key, &found);
    if (found) {
        struct map_item *it = &m->items[m->slots[i] - 1];
        void *old = it->value;

        it->value = value;
        return old;
    }
    m->items[m->n_items++] = (struct map_item){ mem_strdup(key), value };
    m->slots[i] = (uint32_t)m->n_items;
    m->count++;
    return NULL;
}

void *map_del(struct map *m, const char *key)
{
    struct map_item *it;
    bool found;
    size_t i;

    if (m->count == 0) {
        return NULL;
    }
    i = map_slot(m, key, &found);
    if (!found) {
        return NULL;
    }
    it = &m->items[m->slots[i] - 1];
    m->slots[i] = MAP_DELETED;
    free(it->key);
    it->key = NULL;
    m->count--;
    return it->value;
}

bool map_next(const struct map *m, size_t *pos, const char **ret_key, void **ret_value)
{
    while (*pos < m->n_items) {
        const struct map_item *it = &m->items[(*pos)++];

        if (it->key != NULL) {
            *ret_key = it->key;
            *ret_value = it->value;
            return true;
        }
    }
    return false;
}
