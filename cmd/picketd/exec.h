#ifndef CMD_PICKETD_EXEC_H
#define CMD_PICKETD_EXEC_H

/* The fence executor of this picketd: watches the safety records for attempts that name it, runs
 * one picket-fence per device of the level, and writes what the devices read back as FENCE_RESULTs.
 * Also probes fence devices on a schedule, so that a broken one is known before it is needed.
 */

#include "cmd/picketd/node.h"

struct executor *executor_new(struct node *n);

/* Switch a host on again by one device; best effort, the outcome is logged. */
void executor_power_on(struct executor *x, const char *host, const char *device);

/* Newest probe by this node of a device: outcome and clock_now_ms (0: never). */
struct exec_probe {
    int outcome; /* enum fence_outcome */
    uint64_t at_ms;
    char detail[256];
};
bool executor_probe(const struct executor *x, const char *device, struct exec_probe *ret);

#endif
