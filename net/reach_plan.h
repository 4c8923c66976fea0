#ifndef NET_REACH_PLAN_H
#define NET_REACH_PLAN_H

/* What the hosts' words about one NetworkCheck mean together.  Pure.
 *
 * A host that fails while another one passes has lost its own way to the network: guests leave it.
 * When nobody passes the network itself is gone, and moving helps nobody.  Hosts find out (and
 * recover) a round or two after each other, so the first one waits until the others had the time to
 * say the same; so it is again whenever somebody passes after nobody did.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/reach_sm.h"

enum reach_verdict {
    REACH_FINE = 0,
    REACH_BLIND,      /* it could not look, or has not yet */
    REACH_WAITS,      /* alone without network: perhaps the others only have not noticed yet */
    REACH_LEAVE,      /* guests shall leave it */
    REACH_EVERYWHERE, /* it fails, and passes nowhere */
    REACH_WARN,       /* it fails, and the check only warns */
};

struct reach_host {
    enum reach_state state;
    uint64_t alone_ms;          /* since when it has failed while another passed; 0: it has not */
    bool leaving;               /* was told so before (also by an earlier leader) */
    enum reach_verdict verdict; /* out, as alone_ms */
};

/* Times are of one clock, in ms.  Returns when to ask again at the latest; 0: after a change. */
uint64_t reach_decide(struct reach_host *hosts, size_t n, bool move, uint64_t settle_ms,
                      uint64_t now_ms);
/* How long hosts may find out after each other. */
uint64_t reach_settle_ms(uint64_t interval_ms, uint64_t timeout_ms, uint64_t heartbeat_ms);

#endif
