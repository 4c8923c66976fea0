#include "cmd/picketd/reign_sm.h"

static bool lasted(const struct reign *r, uint64_t now_ms, uint64_t lease_ms)
{
    return r->led_ms != 0 && now_ms >= r->led_ms + lease_ms;
}

void reign_init(struct reign *r, uint64_t now_ms)
{
    *r = (struct reign){ .without_ms = now_ms };
}

void reign_known(struct reign *r, bool known, uint64_t now_ms, uint64_t lease_ms)
{
    if (known) {
        r->led_ms = r->led_ms == 0 ? now_ms : r->led_ms;
        return;
    }
    if (lasted(r, now_ms, lease_ms)) {
        r->without_ms = now_ms;
    }
    r->led_ms = 0;
}

uint64_t reign_gap_ms(const struct reign *r, uint64_t now_ms, uint64_t lease_ms)
{
    return lasted(r, now_ms, lease_ms) ? 0 : now_ms - r->without_ms;
}
