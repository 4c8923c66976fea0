/* In the place of base/clock.c: each machine has a clock of its own. */

#include <string.h>

#include "tests/sim/sim_priv.h"

uint64_t machine_us(const struct machine *m)
{
    return m->clk_us + (uint64_t)((double)(sim_world->now - m->clk_world_us) * m->rate);
}

uint64_t machine_ms(const struct machine *m)
{
    return machine_us(m) / 1000;
}

/* Never early: the clock shows at least `ms` more when the event comes. */
uint64_t machine_delay_us(const struct machine *m, uint64_t ms)
{
    return (uint64_t)((double)ms * 1000.0 / m->rate) + (ms == 0 ? 0 : 1);
}

void machine_clock_set(struct machine *m, double rate)
{
    m->clk_us = machine_us(m);
    m->clk_world_us = sim_world->now;
    m->rate = rate;
}

static const struct machine *here(void)
{
    return sim_world == NULL || sim_world->cur == NULL ? NULL : sim_world->cur->m;
}

uint64_t clock_now_us(void)
{
    const struct machine *m = here();

    return m != NULL ? machine_us(m) : sim_world == NULL ? 0 : sim_world->now;
}

uint64_t clock_now_ms(void)
{
    return clock_now_us() / 1000;
}

uint64_t clock_wall_ms(void)
{
    const struct machine *m = here();
    uint64_t now = WALL_START + (sim_world == NULL ? 0 : sim_world->now / 1000);

    return m == NULL ? now : now + (uint64_t)m->wall_off_ms;
}

void clock_random(void *dst, size_t len)
{
    struct machine *m = sim_world->cur == NULL ? NULL : sim_world->cur->m;
    uint8_t *p = dst;

    while (len > 0) {
        uint64_t r = prng_u64(m == NULL ? &sim_world->prng : &m->prng);
        size_t n = len < sizeof(r) ? len : sizeof(r);

        memcpy(p, &r, n);
        p += n;
        len -= n;
    }
}
