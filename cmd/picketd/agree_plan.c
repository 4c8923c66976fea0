#include "cmd/picketd/agree_plan.h"

void agree_note(struct agree_ring *r, uint64_t index, uint64_t hash)
{
    r->items[r->n % AGREE_RING].index = index;
    r->items[r->n % AGREE_RING].hash = hash;
    r->n++;
}

/* Indexes ascend, so that the ring can be searched by halves. */
bool agree_find(const struct agree_ring *r, uint64_t index, uint64_t *ret_hash)
{
    uint64_t lo = r->n > AGREE_RING ? r->n - AGREE_RING : 0, hi = r->n;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;

        if (r->items[mid % AGREE_RING].index < index) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo == r->n || r->items[lo % AGREE_RING].index != index) {
        return false;
    }
    *ret_hash = r->items[lo % AGREE_RING].hash;
    return true;
}

bool agree_newest(const struct agree_ring *r, uint64_t *ret_index, uint64_t *ret_hash)
{
    if (r->n == 0) {
        return false;
    }
    *ret_index = r->items[(r->n - 1) % AGREE_RING].index;
    *ret_hash = r->items[(r->n - 1) % AGREE_RING].hash;
    return true;
}

enum agree_verdict agree_judge(size_t same, size_t differ)
{
    if (differ == 0) {
        return AGREE_OK;
    }
    return differ > same + 1 ? AGREE_SELF : AGREE_OTHERS;
}
