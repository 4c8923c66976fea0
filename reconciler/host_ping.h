#ifndef RECONCILER_HOST_PING_H
#define RECONCILER_HOST_PING_H

/* DRV_PING for drivers of hosts with a network: net/ping_uv.h behind the contract of drv_submit.
 * On the thread of the agent's loop. */

#include <uv.h>

#include "net/ping_uv.h"
#include "reconciler/drv.h"

struct host_ping;

struct host_ping *host_ping_new(uv_loop_t *loop, enum ping_how how);
void host_ping_submit(struct host_ping *h, struct drv_job *job);
void host_ping_abort(struct host_ping *h, struct drv_job *job);
/* Jobs in flight are aborted; on_closed (may come before it returns) when all have ended. */
void host_ping_close(struct host_ping *h, void (*on_closed)(void *ctx), void *ctx);

#endif
