#ifndef CMD_PICKETD_DEVICE_H
#define CMD_PICKETD_DEVICE_H

/* From a FenceDevice object to an operation for picket-fence: addresses resolved, Secrets opened.
 */

#include "cmd/picketd/node.h"
#include "fence/dev.h"

/* The caller wipes the operation with fence_op_done.
 * ERR_NOT_FOUND (device, Secret), ERR_UNREACHABLE (address), ERR_INVALID. */
int device_op(struct node *n, const char *device, enum fence_action action, const char *host,
              uint64_t timeout_ms, uint64_t deadline_ms, struct fence_op *ret,
              struct err *err) ERR_USED;

#endif
