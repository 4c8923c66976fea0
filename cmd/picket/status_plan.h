#ifndef CMD_PICKET_STATUS_PLAN_H
#define CMD_PICKET_STATUS_PLAN_H

/* `picket status`: one screen about the whole cluster, what is wrong first.  Pure. */

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct status_in {
    /* [{"server": "127.0.0.1:7443", "view": the answer of GET /cluster} or
     *  {"server": .., "error": TEXT}] in the order of the configuration. */
    const json_t *members;
    /* Lists of objects; NULL: could not be read (no quorum), then why_not says why. */
    const json_t *hosts, *vms, *fencings, *devices, *clusters;
    const char *why_not;
    uint64_t now_wall_ms;
    bool color;
};

/* {"quorate", "leader", "members": .., "problems": [{"object", "reason", "message", "next"}], ...}
 */
json_t *status_summary(const struct status_in *in);
void status_print(const struct status_in *in, const json_t *summary, struct buf *out);

#endif
