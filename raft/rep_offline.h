#ifndef RAFT_REP_OFFLINE_H
#define RAFT_REP_OFFLINE_H

/* The files of a node that does not run: verify them, rebuild the state from them, and make the
 * directory of a new first member from a state.
 *
 * Blocking, one thread; for tools.  Only rep_offline_seed writes.  Take the directory's lock first.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "raft/rep.h"

#define REP_OFFLINE_MEMBERS 64u

struct rep_offline {
    uint64_t term, vote;
    uint64_t snap_index, snap_term; /* newest snapshot; 0: none */
    uint64_t first, last;           /* entries of the log behind it; last < first: none */
    uint64_t conf_index;
    struct rep_peer_info members[REP_OFFLINE_MEMBERS]; /* of the newest configuration */
    size_t n_members;
    size_t n_files;
    uint64_t bytes;
    bool torn; /* a write that was never acknowledged ends the log: no damage */
};

/* A picketd holds this lock as long as it runs, so that two never work in one directory, and no
 * tool beside one.  ERR_CONFLICT when it is held.  It ends with the descriptor or the process.  The
 * directory is made if missing and `make` is set, else ERR_NOT_FOUND. */
int rep_dir_lock(const char *dir, bool make, int *ret_fd, struct err *err) ERR_USED;

/* Told for each file that was found whole: what it is, in one line. */
typedef void rep_offline_file_fn(void *ctx, const char *name, uint64_t size, const char *what);

/* Read all snapshots and the whole log, verify every checksum and that they fit together.
 * ERR_NOT_FOUND: no such directory, or nothing of ours is in it.  ERR_CORRUPT names file, byte and
 * what to do. */
int rep_offline_check(const char *dir, rep_offline_file_fn *on_file, void *ctx,
                      struct rep_offline *ret, struct err *err) ERR_USED;

/* The same checks, and the state: the newest snapshot, then every entry of the log.  The last ones
 * may never have been committed; nothing on one node's disk can tell. */
int rep_offline_load(const char *dir, const struct rep_fsm *fsm, struct rep_offline *ret,
                     struct err *err) ERR_USED;

/* Make `dir`, which must not exist or be empty (ERR_EXISTS), the directory of the only voter `me`:
 * a snapshot of the machine's state that ends at (index, term), and an empty log behind it. */
int rep_offline_seed(const char *dir, const struct rep_member *me, uint64_t index, uint64_t term,
                     const struct rep_fsm *fsm, struct err *err) ERR_USED;

/* A backup is one file: a snapshot of the machine with its place in the log and the members of that
 * time (docs/raft.md, "Snapshot files").  DIR is for backups alone: temporary files are in it. */
int rep_backup_write(const char *dir, const char *name, const struct rep_peer_info *members,
                     size_t n_members, uint64_t index, uint64_t term,
                     int (*fill)(void *ctx, struct rep_sink *sink, struct err *err), void *ctx,
                     struct err *err) ERR_USED;
/* Verify every byte of FILE, and read the state into the machine.  ret has snap_index, snap_term,
 * members and bytes. */
int rep_backup_load(const char *file, const struct rep_fsm *fsm, struct rep_offline *ret,
                    struct err *err) ERR_USED;

#endif
