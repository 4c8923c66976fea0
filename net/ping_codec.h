#ifndef NET_PING_CODEC_H
#define NET_PING_CODEC_H

/* ICMP echo requests and their answers (RFC 792, RFC 4443).  An answer is known by its payload, 16
 * random bytes, since the kernel chooses the id of an unprivileged ping socket.  Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PING_COOKIE 16U
#define PING_PACKET (8U + PING_COOKIE)

/* The checksum of ICMPv6 is the kernel's work. */
void ping_request(bool v6, uint16_t id, uint16_t seq, const uint8_t cookie[PING_COOKIE],
                  uint8_t dst[PING_PACKET]);
/* `ip_header`: the packet begins with its IPv4 header (raw sockets). */
bool ping_is_reply(bool v6, bool ip_header, const uint8_t *p, size_t n,
                   const uint8_t cookie[PING_COOKIE]);

#endif
