#include "net/ping_codec.h"

#include <string.h>

#define ECHO_REQUEST 8U
#define ECHO_REPLY 0U
#define ECHO6_REQUEST 128U
#define ECHO6_REPLY 129U

static uint16_t checksum(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < n; i += 2) {
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

static void put16(uint8_t *dst, uint16_t v)
{
    dst[0] = (uint8_t)(v >> 8);
    dst[1] = (uint8_t)v;
}

void ping_request(bool v6, uint16_t id, uint16_t seq, const uint8_t cookie[PING_COOKIE],
                  uint8_t dst[PING_PACKET])
{
    memset(dst, 0, PING_PACKET);
    dst[0] = v6 ? ECHO6_REQUEST : ECHO_REQUEST;
    put16(dst + 4, id);
    put16(dst + 6, seq);
    memcpy(dst + 8, cookie, PING_COOKIE);
    if (!v6) {
        put16(dst + 2, checksum(dst, PING_PACKET));
    }
}

bool ping_is_reply(bool v6, bool ip_header, const uint8_t *p, size_t n,
                   const uint8_t cookie[PING_COOKIE])
{
    size_t skip = 0;

    if (ip_header && !v6) {
        skip = n == 0 ? 0 : (size_t)(p[0] & 0x0f) * 4;
        if (skip < 20 || (p[0] >> 4) != 4) {
            return false;
        }
    }
    if (n < skip + PING_PACKET || p[skip] != (v6 ? ECHO6_REPLY : ECHO_REPLY) || p[skip + 1] != 0) {
        return false;
    }
    return memcmp(p + skip + 8, cookie, PING_COOKIE) == 0;
}
