#ifndef CMD_PICKETD_RECORD_H
#define CMD_PICKETD_RECORD_H

/* Private records of the daemon in the replicated store: JSON below o/_..., which is no kind, so no
 * API serves them and no client writes them.
 *
 *   o/_members/ids         {"lastID": N, "voters": [ids that become voters once caught up]}
 *   o/_tokens/<sha256>     a join token: {"role", "expiresMs", "by"} (join.h)
 *   o/_cluster/grace       {"term"}: the startup grace lasts (ctl_grace.c)
 */

#include <jansson.h>

#include "cmd/picketd/node.h"

/* The record now, owned by the caller; NULL when there is none (*ret_rev 0) or it is corrupt. */
json_t *record_get(const struct store *s, const char *key, uint64_t *ret_rev);
/* Put `value` (borrowed; NULL: delete) if the key's revision is still old_rev (0: absent), else
 * the callback gets ERR_CONFLICT. */
void record_put(struct node *n, const char *key, const json_t *value, uint64_t old_rev, node_cb *cb,
                void *data);

#endif
