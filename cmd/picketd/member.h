#ifndef CMD_PICKETD_MEMBER_H
#define CMD_PICKETD_MEMBER_H

/* Members of the replicated log: list, add, promote, remove, hand leadership over.
 *
 *   GET    members                 {leader, items: [{id, name, address, role, reachable, ...}]}
 *   POST   members                 {name, address, voter}: a stand-by; with `voter` it is promoted
 *                                  by itself once it has caught up
 *   POST   members/NAME/promote    wait until it has caught up, then make it a voter
 *   POST   members/NAME/demote     a voter becomes a stand-by
 *   POST   members/NAME/transfer   leadership goes to NAME; "-": to the best follower
 *   DELETE members/NAME            administrator only, as all but GET
 *
 * Any node takes the request and relays it to the leader (NODE_CALL_MEMBER).
 */

#include "cmd/picketd/rest.h"

/* Below /apis/picket/v1/members; path is what follows, "" or "/...". */
void rest_members(struct rest *r, const char *path);

/* Ask the leader, wherever it is; repeats while leadership moves.  `body` is stolen: {"op": ...}.
 * The callback gets err or the answer (borrowed). */
typedef void member_ask_cb(void *data, const struct err *err, json_t *answer);
void member_ask(struct node *n, json_t *body, member_ask_cb *cb, void *data);
/* The same; waits for the end of another change of the members for as long as a client waits. */
void member_ask_patient(struct node *n, json_t *body, member_ask_cb *cb, void *data);
/* May a member of this name with these addresses be added?  By what this node knows; the leader
 * looks again.  ERR_EXISTS, ERR_INVALID. */
int member_addable(const struct node *n, const char *name, const char *address,
                   struct err *err) ERR_USED;

/* The leader's side of a relayed request. */
void member_call(struct node *n, const uint8_t *data, size_t len, uint64_t call_id);
/* Now and then: promote stand-bys that shall be voters, if this node leads. */
void member_tick(struct node *n);

#endif
