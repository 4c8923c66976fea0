#ifndef RECONCILER_HOST_LVM_H
#define RECONCILER_HOST_LVM_H

/* The plainest xen_storage: logical volumes of groups that this host sees already, created,
 * activated and listed with LVM's commands.  Nothing is known of LUNs and paths.
 *
 * Creating happens under the group's lock (the caller's), activation under the volume's.  Commands
 * run beside each other, with a deadline each.  Loop thread only.
 */

#include <uv.h>

#include "reconciler/host_parts.h"

/* The program ignores SIGPIPE (cmd_exec.h).  Without LVM on this host there are no volumes. */
struct xen_storage *host_lvm_new(uv_loop_t *loop);
/* Nothing of a group that `usable` denies is activated or created. */
void host_lvm_gate(struct xen_storage *s, bool (*usable)(void *ctx, const char *group), void *ctx);

#endif
