#ifndef CMD_PICKETD_EXEC_H
#define CMD_PICKETD_EXEC_H

/* The fence executor of this picketd: watches the safety records for attempts that name it, runs
 * one picket-fence per device of the level, and writes what the devices read back as FENCE_RESULTs.
 * Probes of devices are in probe.h.
 */

#include "cmd/picketd/node.h"
#include "fence/exec_uv.h"

struct executor *executor_new(struct node *n);

/* Switch a host on again by one device; best effort, the outcome is logged. */
void executor_power_on(struct executor *x, const char *host, const char *device);
/* The same, and the outcome is told.  The callback comes once, perhaps before this returns. */
void executor_on(struct executor *x, const char *host, const char *device, fence_exec_cb *cb,
                 void *ctx);

#endif
