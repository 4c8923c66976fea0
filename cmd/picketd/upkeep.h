#ifndef CMD_PICKETD_UPKEEP_H
#define CMD_PICKETD_UPKEEP_H

/* What the leader keeps an eye on: every two seconds it asks all members which feature level they
 * know, how much room their disks have and what the hash of their state was after an entry; then it
 *
 *   - raises the cluster's feature level, when all members know a higher one,
 *   - compares the hashes; a replica that has diverged is told so, and ends (STORE/diverged keeps
 * it from starting again),
 *   - switches the alarms NOSPACE and raw-nospace on and off, and hands the quota of the Cluster
 *     object to the state machine,
 *   - forgets old requests (request.c).
 *
 * Loop thread only.
 */

#include <jansson.h>

#include "cmd/picketd/node.h"

struct upkeep;

struct upkeep *upkeep_new(struct node *n);
/* Does STORE/diverged forbid to start?  ERR_CORRUPT says what to do. */
int upkeep_may_start(const char *dir, struct err *err) ERR_USED;
void upkeep_applied(struct node *n, uint64_t index, uint64_t hash);
void upkeep_tick(struct node *n);
/* NODE_CALL_INFO and NODE_CALL_DIVERGED. */
void upkeep_info(struct node *n, uint64_t call_id);
void upkeep_diverged(struct node *n, uint64_t from, const uint8_t *data, size_t len,
                     uint64_t call_id);

/* For conditions, `GET /cluster` and metrics.  Leader: as of the last round; else only about
 * itself.
 */
struct upkeep_view {
    unsigned level, max_level;
    uint64_t compared;   /* newest entry at which all that answered agreed; 0: none yet */
    char diverged[128];  /* names of members, "": none */
    char disks_low[256]; /* "node2 (300 MiB in all)", "": none */
    bool nospace, raw_nospace;
};
void upkeep_view(const struct node *n, struct upkeep_view *ret);
/* [{name, version, featureLevel}] of the last round; leader only. */
json_t *upkeep_versions(const struct node *n);

#endif
