#ifndef CMD_PICKETD_DEVICE_H
#define CMD_PICKETD_DEVICE_H

/* From a FenceDevice object to an operation for picket-fence: addresses resolved, Secrets opened.
 */

#include <jansson.h>

#include "cmd/picketd/node.h"
#include "fence/dev.h"

struct device_ask {
    const char *device; /* name of the FenceDevice */
    enum fence_action action;
    const char *host;     /* the target */
    uint64_t incarnation; /* of it: what a reservation is taken from */
    uint64_t timeout_ms;
    uint64_t deadline_ms; /* clock_now_ms: no switching after it */
};

/* The caller wipes the operation with fence_op_done.
 * ERR_NOT_FOUND (device, Secret, LUN, ISCSITarget), ERR_UNREACHABLE (address), ERR_INVALID,
 * ERR_REFUSED (this host's own incarnation is not Live: it may take nothing from others). */
int device_op(struct node *n, const struct device_ask *ask, struct fence_op *ret,
              struct err *err) ERR_USED;

/* A parameter from the Secret that `path`.{secret, key} of the object names; nothing when there is
 * no such reference. */
int device_secret(struct node *n, const json_t *obj, const char *path, const char *key,
                  const char *param, struct fence_op *op, struct err *err) ERR_USED;

/* Everything that a ScsiReservation device needs: keys, targets, portals, LUNs (device_pr.c). */
int device_pr(struct node *n, const json_t *dev, uint64_t incarnation, struct fence_op *op,
              struct err *err) ERR_USED;

#endif
