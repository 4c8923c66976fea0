#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "fence/slot.h"

/* magic[8] host[64] epoch incarnation counter wall crc32c, little-endian, the rest zero */

static const char magic[8] = { 'P', 'K', 'T', 'S', 'L', 'O', 'T', '1' };

#define OFF_HOST 8U
#define OFF_NUMBERS (OFF_HOST + SLOT_HOST_MAX)
#define OFF_CRC (OFF_NUMBERS + 4U * 8U)

static void put_le(uint8_t *dst, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        dst[i] = (uint8_t)(v >> (8 * i));
    }
}

void slot_encode(const struct slot_rec *r, uint8_t dst[SLOT_BYTES])
{
    memset(dst, 0, SLOT_BYTES);
    memcpy(dst, magic, sizeof(magic));
    (void)str_copy((char *)dst + OFF_HOST, SLOT_HOST_MAX, r->host);
    put_le(dst + OFF_NUMBERS, r->epoch, 8);
    put_le(dst + OFF_NUMBERS + 8, r->incarnation, 8);
    put_le(dst + OFF_NUMBERS + 16, r->counter, 8);
    put_le(dst + OFF_NUMBERS + 24, r->wall_ms, 8);
    put_le(dst + OFF_CRC, crc32c(0, dst, OFF_CRC), 4);
}

bool slot_decode(const uint8_t src[SLOT_BYTES], struct slot_rec *ret)
{
    struct rd r = rd_make(src + OFF_NUMBERS, SLOT_BYTES - OFF_NUMBERS);
    struct slot_rec rec = { 0 };

    if (memcmp(src, magic, sizeof(magic)) != 0 || src[OFF_NUMBERS - 1] != 0) {
        return false;
    }
    memcpy(rec.host, src + OFF_HOST, SLOT_HOST_MAX);
    rec.epoch = rd_u64(&r);
    rec.incarnation = rd_u64(&r);
    rec.counter = rd_u64(&r);
    rec.wall_ms = rd_u64(&r);
    if (rd_u32(&r) != crc32c(0, src, OFF_CRC) || !str_is_name(rec.host)) {
        return false;
    }
    *ret = rec;
    return true;
}
