#ifndef RAFT_GUARD_PRIV_H
#define RAFT_GUARD_PRIV_H

/* Shared by the guard's own files. */

#include "raft/guard.h"

struct guard *guard_of(struct raft_io *io);
void guard_fail(struct guard *g, const char *why);
/* After everything that ran the core: submit the barrier of a new term (rule 1). */
void guard_after(struct guard *g);
void guard_recv(struct raft_io *io, struct raft_message *msg);
/* Deliver the acks that waited for this term's barrier. */
void guard_unstash(struct guard *g);
/* A follower that has heard nothing for an election timeout has no leader any more. */
void guard_forget_leader(struct guard *g);
/* Rules 7 and 8: make the configuration the one that the log has before `index`, and set the
 * indexes of the committed and the uncommitted one right.  False: the log holds none (then it
 * failed). */
bool guard_conf_before(struct guard *g, raft_index index);

#endif
