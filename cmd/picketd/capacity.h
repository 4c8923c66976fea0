#ifndef CMD_PICKETD_CAPACITY_H
#define CMD_PICKETD_CAPACITY_H

/* What if: capacity after failures, asked of the local state with changes laid over it. */

#include "cmd/picketd/change.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/node.h"

/* Would these changes break the guarantee of Cluster.spec.capacity.tolerateHostFailures?  With
 * onOvercommit Reject: ERR_INVALID, naming the failing set; with Warn a warning is added.  A
 * guarantee that was broken before, and that the changes do not make worse, refuses nothing. */
int capacity_admit(struct node *n, const struct change *changes, size_t count,
                   struct problems *problems, struct err *err) ERR_USED;

/* `picket plan --fail A,B`: before / because / after as text. ERR_INVALID for an unknown host. */
int capacity_plan(struct node *n, const char *const *hosts, size_t count, struct buf *out,
                  struct err *err) ERR_USED;

/* Leader: the condition and status.capacity of the Cluster object. */
void capacity_status(struct pass *p, json_t *cluster);

#endif
