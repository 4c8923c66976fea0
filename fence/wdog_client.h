#ifndef FENCE_WDOG_CLIENT_H
#define FENCE_WDOG_CLIENT_H

/* The agent's end of picket-watchdog's socket: a plain non-blocking descriptor, for the renewer
 * thread.
 *
 * One request in flight at a time is enough, several are fine: replies come in order and carry the
 * request's seq.  One thread per client.  Nothing here allocates.
 */

#include <stdint.h>

#include "base/err.h"
#include "fence/wdog.h"

struct wdog_client {
    int fd; /* -1: not connected; poll it for POLLIN */
    uint64_t seq;
};

/* ERR_UNREACHABLE when nobody listens there. */
int wdog_client_open(struct wdog_client *c, const char *path, struct err *err) ERR_USED;
void wdog_client_close(struct wdog_client *c);

/* Magic, version, op and seq; everything else is 0 and filled in after. */
void wdog_client_prepare(struct wdog_client *c, struct wdog_request *rq, enum wdog_op op);
/* ERR_LIMIT: the socket is full, try again later; ERR_UNREACHABLE: the other end is gone (closed
 * here). */
int wdog_client_send(struct wdog_client *c, const struct wdog_request *rq,
                     struct err *err) ERR_USED;
/* ERR_TIMEOUT: nothing there yet; ERR_UNREACHABLE as above; ERR_CORRUPT: not a reply (closed). */
int wdog_client_recv(struct wdog_client *c, struct wdog_reply *ret, struct err *err) ERR_USED;

/* Send and wait for the reply, at most timeout_ms.  ERR_REFUSED with the reason when the code is
 * not WDOG_OK (*ret is set then too); ERR_UNKNOWN_OUTCOME when no reply came: connect again and ask
 * STATUS. */
int wdog_client_call(struct wdog_client *c, struct wdog_request *rq, uint32_t timeout_ms,
                     struct wdog_reply *ret, struct err *err) ERR_USED;

#endif
