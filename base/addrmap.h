#ifndef BASE_ADDRMAP_H
#define BASE_ADDRMAP_H

/* Where a declared address really is.
 *
 * In production there is no map and every address stands for itself.  Under `picket dev` the file
 * named by PICKET_ADDRESS_MAP has one line an address, "DECLARED[:PORT][/udp] REAL:PORT", and an
 * address that is not in it counts as unreachable without a packet being sent (docs/dev.md).
 * The file is read again whenever its modification time or inode changed.  Any thread.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum addr_proto { ADDR_TCP, ADDR_UDP };

/* Resolve `host` (an IP address or, with a map, any name) and port to "IP:PORT" in dst.
 * ERR_UNREACHABLE: there is a map and it does not know the address; the message says so.
 * ERR_INVALID: no map, and `host` is not an IP address. */
int addr_resolve(const char *host, uint16_t port, enum addr_proto proto, char *dst, size_t size,
                 struct err *err) ERR_USED;

#endif
