#ifndef CMD_PICKETD_FSM_H
#define CMD_PICKETD_FSM_H

/* The state machine as the replicated log wants it: what connects raft/rep.h and store/store.h.
 * The daemon and the simulator of the store share it.  The store must outlive the log.
 */

#include "raft/rep.h"
#include "store/store.h"

struct rep_fsm store_fsm(struct store *s);

#endif
