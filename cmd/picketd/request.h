#ifndef CMD_PICKETD_REQUEST_H
#define CMD_PICKETD_REQUEST_H

/* Exactly-once for HTTP clients: the header `Picket-Request-Id`.
 *
 * A write of an object, an apply, or a put or deletion of raw keys that carries the header leaves a
 * record (o/_requests/...) in its own transaction, on condition that there is none yet.  The same
 * request again, under the same identity and id, through any picketd, finds the record and is
 * answered without being executed.  Records are kept for ten minutes.  Needs feature level 2; below
 * it the header is not looked at.  Loop thread only.
 */

#include "cmd/picketd/change.h"
#include "cmd/picketd/rest.h"

#define REQUEST_HEADER "picket-request-id"
#define REQUEST_WINDOW_MS 600000U

/* Take note of the header of a write; false when it is malformed: answered. */
bool request_begin(struct rest *r);
/* After a read point: was this request executed before?  Then it has been answered. */
bool request_again(struct rest *r);
/* After a read point, of the raw key space: the revision that it made, 0: it was not executed. */
uint64_t request_raw_again(struct rest *r, struct err *err);

/* Submit r->changes, with the record when there is an id. */
void request_submit(struct rest *r, const struct actor *actor, node_cb *cb);
/* The compare and the put that belong into the transaction; false when there is no id. */
bool request_guard(const struct rest *r, const struct change *changes, size_t count,
                   struct arena *a, struct txn_cmp *cmp, struct txn_op *put);

/* Leader, now and then: forget what is older than the window. */
void request_sweep(struct node *n);

#endif
