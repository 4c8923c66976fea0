#ifndef CMD_PICKET_OFFLINE_H
#define CMD_PICKET_OFFLINE_H

/* What the verbs share that work on the files of a node that does not run. */

#include "cmd/picket/cli.h"
#include "raft/rep_offline.h"
#include "store/safety.h"
#include "store/store.h"

/* A state machine on `s` (borrowed) for rep_offline_load and rep_offline_seed. */
struct rep_fsm offline_fsm(struct store *s);

/* DIR is a member's data folder or the folder store/ in it: the latter.  false: too long. */
bool offline_dir(const char *dir, char *dst, size_t size);

/* Bring a state that was read from elsewhere under a new epoch, above its own: everything is
 * quarantined until each host has been accounted for (docs/safety.md 5).  `joined` are hosts that
 * the state does not know.  *ret_epoch is the new one. */
int offline_recover(struct store *s, uint64_t index, uint64_t term, const char **joined, size_t n,
                    uint64_t *ret_epoch, struct err *err) ERR_USED;

#endif
