#ifndef NET_PING_UV_H
#define NET_PING_UV_H

/* Does an address answer?  One question, one socket, one answer.
 *
 * Echo needs CAP_NET_RAW or a group of net.ipv4.ping_group_range (ICMP_ECHO).  On the loop's
 * thread.
 */

#include <uv.h>

#include "base/err.h"

enum ping_how {
    PING_ICMP, /* echo request; the port does not matter */
    PING_UDP,  /* a datagram that is sent back (picket dev's gateway) */
    PING_TCP,  /* a connection; a refusal is an answer, too: the address is reached */
};

struct ping;

/* err NULL: it answered.  ERR_TIMEOUT: it did not before the deadline; ERR_UNREACHABLE: the kernel
 * knows that it cannot be reached; ERR_CANCELED: ping_abort; others: it could not be asked. */
typedef void ping_cb(void *data, const struct err *err);

/* `address` is "IP:PORT" or "[IP6]:PORT"; deadline_ms is CLOCK_BOOTTIME.  The callback comes
 * exactly once and never before this has returned; then *ret is gone. */
struct ping *ping_start(uv_loop_t *loop, enum ping_how how, const char *address,
                        uint64_t deadline_ms, ping_cb *cb, void *data);
void ping_abort(struct ping *p); /* the callback comes soon */

#endif
