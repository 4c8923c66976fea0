#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* The only place where product code reads time or randomness; both can be replaced in tests.
 *
 * Monotonic time is CLOCK_BOOTTIME in milliseconds: it goes on while the machine is suspended,
 * which the lease arithmetic needs (safety.md 3).  Wall time is for people only.  Any thread.
 */

#include <stddef.h>
#include <stdint.h>

uint64_t clock_now_ms(void);  /* CLOCK_BOOTTIME */
uint64_t clock_now_us(void);  /* CLOCK_BOOTTIME */
uint64_t clock_wall_ms(void); /* CLOCK_REALTIME since 1970 */

/* Bytes from the kernel (getrandom(2)); aborts when there are none. */
void clock_random(void *dst, size_t len);
/* A random (version 4) UUID in text form, 36 characters and a NUL (RFC 4122 section 4.4). */
void clock_uuid(char dst[37]);

/* A small seeded generator (xoshiro256**, seeded by splitmix64) for simulation and jitter. */
struct prng {
    uint64_t s[4];
};

void prng_init(struct prng *p, uint64_t seed);
uint64_t prng_u64(struct prng *p);
uint64_t prng_below(struct prng *p, uint64_t n); /* 0 <= x < n; n > 0 */

#endif
