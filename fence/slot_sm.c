#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "fence/slot.h"

void slot_table_feed(struct slot_table *t, const uint8_t *image, uint64_t now_ms)
{
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        struct slot_track *s = &t->slots[i];
        struct slot_rec rec;

        if (!slot_decode(image + i * SLOT_BYTES, &rec)) {
            continue; /* torn: the one before stands until the next reading */
        }
        if (s->used && (s->rec.counter != rec.counter || s->rec.incarnation != rec.incarnation ||
                        !str_eq(s->rec.host, rec.host))) {
            s->changed_ms = t->read_ms;
        }
        s->used = true;
        s->rec = rec;
    }
    t->read_ms = now_ms;
}

static bool better(const struct slot_track *a, const struct slot_track *b)
{
    return b == NULL || a->changed_ms < b->changed_ms;
}

int slot_table_pick(const struct slot_table *t, const char *host, uint64_t now_ms,
                    uint64_t stale_ms)
{
    uint32_t from = crc32c(0, host, strlen(host)) % SLOT_COUNT;
    const struct slot_track *stalest = NULL;
    int free_one = -1;

    for (uint32_t k = 0; k < SLOT_COUNT; k++) {
        uint32_t i = (from + k) % SLOT_COUNT;
        const struct slot_track *s = &t->slots[i];

        if (!s->used) {
            free_one = free_one < 0 ? (int)i : free_one;
        } else if (str_eq(s->rec.host, host)) {
            return (int)i;
        } else if (now_ms > s->changed_ms + stale_ms && better(s, stalest)) {
            stalest = s;
        }
    }
    if (free_one >= 0) {
        return free_one;
    }
    return stalest != NULL ? (int)(stalest - t->slots) : -1;
}
