#ifndef CMD_PICKETD_RAWLEASE_H
#define CMD_PICKETD_RAWLEASE_H

/* Leases of the raw key space.  Grants and ends are entries; deadlines live in the leader's memory
 * only.  A new leader gives each lease its full TTL again; keep-alives are acknowledged after a
 * read-index round and never once the end of the lease was proposed.
 */

#include "cmd/picketd/node.h"

struct raw_leases *raw_leases_new(struct node *n);
void raw_leases_start(struct raw_leases *l, uint64_t term);
void raw_leases_stop(struct raw_leases *l);
/* A relayed keep-alive or time-to-live question (NODE_CALL_RAW_LEASE). */
void raw_leases_call(struct raw_leases *l, const uint8_t *data, size_t len, uint64_t call_id);
/* Ask the leader: the answer to `cb` is two u64, the seconds left (0: gone or ending) and the TTL
 * that was granted; with `keep` the lease begins anew. */
void raw_lease_ask(struct node *n, uint64_t id, bool keep, struct rep_req *req, rep_call_cb *cb);

#endif
