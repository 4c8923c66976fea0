#ifndef CMD_PICKETD_PROBE_H
#define CMD_PICKETD_PROBE_H

/* Probes of fence devices: can it be reached, does it know the host's outlets?
 *
 * The leader hands them out, so that a device hears one client at a time whoever asks: each pair of
 * device and host is looked at once in FenceDevice.spec.probeInterval by somebody else than the
 * host, and each picketd reaches each device once in that time.  What they found is known to the
 * leader only and gathered anew after a change of leader.  A probe switches nothing.
 */

#include "cmd/picketd/node.h"
#include "fence/dev.h"

struct prober;

struct prober *prober_new(struct node *n);

struct probe_result {
    int outcome;    /* enum fence_outcome */
    uint64_t at_ms; /* clock_now_ms */
    char by[64];    /* the picketd that probed */
    char host[64];  /* for which host */
    char detail[256];
};

/* Leader: the newest probe of a device for this host by anybody else; `host` NULL: for any host.
 * False when there is none in this term. */
bool prober_get(const struct prober *pr, const char *device, const char *host,
                struct probe_result *ret);
/* Leader: the newest probe by one picketd, whatever the host. */
bool prober_by(const struct prober *pr, const char *device, const char *executor,
               struct probe_result *ret);
/* Leader: a device as a whole, for its condition: Succeeded when anybody reached it at the newest
 * probe of his; `detail` then names those who did not, else it is what the newest probe said. */
bool prober_summary(const struct prober *pr, const char *device, struct probe_result *ret);
/* Leader: since when a probe is under way, clock_now_ms; 0: none is. */
uint64_t prober_busy_ms(const struct prober *pr, const char *device);
/* An attempt begins here: whatever this process is asking the device is ended. */
void prober_yield(struct prober *pr, const char *device);

/* `owner` (a random number) asks the device for a while: the leader hands out no probe of it for so
 * long (0: it may again).  `cb` comes once (NULL: nobody waits), perhaps before this returns; free:
 * no probe is under way now, and nobody else holds it.  Attempts of fencing are not held back. */
typedef void prober_hold_cb(void *ctx, bool free);
void prober_hold(struct prober *pr, const char *device, uint64_t owner, uint64_t ms,
                 prober_hold_cb *cb, void *ctx);

/* Ask one picketd (0 or our own id: this one) for a probe or status of a device.  `cb` comes once,
 * with Unknown when no answer came. */
typedef void probe_cb(void *ctx, const struct fence_answer *ans);
void prober_ask(struct prober *pr, uint64_t peer, const char *device, const char *host,
                enum fence_action action, probe_cb *cb, void *ctx);
/* Somebody asks us (NODE_CALL_PROBE). */
void prober_call(struct prober *pr, const uint8_t *data, size_t len, uint64_t call_id);

#endif
