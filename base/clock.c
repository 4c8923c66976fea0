#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "base/obj.h"

static uint64_t clock_read_us(clockid_t id)
{
    struct timespec ts;

    CHECK(clock_gettime(id, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

uint64_t clock_now_us(void)
{
    return clock_read_us(CLOCK_BOOTTIME);
}

uint64_t clock_now_ms(void)
{
    return clock_now_us() / 1000U;
}

uint64_t clock_wall_ms(void)
{
    return clock_read_us(CLOCK_REALTIME) / 1000U;
}

void clock_random(void *dst, size_t len)
{
    uint8_t *p = dst;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0) {
            CHECK(errno == EINTR);
            continue;
        }
        p += n;
        len -= (size_t)n;
    }
}

void clock_uuid(char dst[37])
{
    uint8_t b[16];

    clock_random(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0fU) | 0x40U);
    b[8] = (uint8_t)((b[8] & 0x3fU) | 0x80U);
    (void)snprintf(dst, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void prng_init(struct prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15ULL);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        p->s[i] = z ^ (z >> 31);
    }
}

uint64_t prng_u64(struct prng *p)
{
    uint64_t result = rotl(p->s[1] * 5, 7) * 9;
    uint64_t t = p->s[1] << 17;

    p->s[2] ^= p->s[0];
    p->s[3] ^= p->s[1];
    p->s[1] ^= p->s[2];
    p->s[0] ^= p->s[3];
    p->s[2] ^= t;
    p->s[3] = rotl(p->s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *p, uint64_t n)
{
    CHECK(n > 0);
    return prng_u64(p) % n;
}
