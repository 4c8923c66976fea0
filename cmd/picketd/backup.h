#ifndef CMD_PICKETD_BACKUP_H
#define CMD_PICKETD_BACKUP_H

/* GET /apis/picket/v1/backup: the whole state at one revision, as a file (raft/rep_offline.h).
 *
 * A linearizable read, then the pinned state is written to DATA/backup by a worker thread and sent
 * from there.  Administrators only; one at a time.  Secrets stay sealed: the key is not in it.
 */

#include "cmd/picketd/rest.h"

void rest_backup(struct rest *r);

#endif
