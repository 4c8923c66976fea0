#include <stdbool.h>

#include "base/buf.h"

/* CRC-32C with the reflected polynomial 0x82f63b78; the SSE4.2 instruction where the CPU has it. */

static uint32_t crc_table[256];
static bool crc_ready;
static bool crc_hw;

__attribute__((constructor)) static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++) {
            c = (c & 1U) != 0 ? (c >> 1) ^ 0x82f63b78U : c >> 1;
        }
        crc_table[i] = c;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    crc_hw = __builtin_cpu_supports("sse4.2") != 0;
#endif
    crc_ready = true;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_run_hw(uint32_t c, const uint8_t *p,
                                                             size_t len)
{
    uint64_t c64 = c;

    for (; len >= 8; len -= 8, p += 8) {
        uint64_t v;

        __builtin_memcpy(&v, p, 8);
        c64 = __builtin_ia32_crc32di(c64, v);
    }
    c = (uint32_t)c64;
    for (; len > 0; len--, p++) {
        c = __builtin_ia32_crc32qi(c, *p);
    }
    return c;
}
#endif

static uint32_t crc_run_table(uint32_t c, const uint8_t *p, size_t len)
{
    for (; len > 0; len--, p++) {
        c = (c >> 8) ^ crc_table[(c ^ *p) & 0xffU];
    }
    return c;
}

uint32_t crc32c(uint32_t seed, const void *data, size_t len)
{
    uint32_t c = ~seed;

    if (!crc_ready) {
        crc_init();
    }
#if defined(__x86_64__)
    if (crc_hw) {
        return ~crc_run_hw(c, data, len);
    }
#endif
    return ~crc_run_table(c, data, len);
}
