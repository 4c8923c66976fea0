#ifndef RAFT_SNAPFILE_H
#define RAFT_SNAPFILE_H

/* Snapshot files (docs/raft.md, "Snapshot files").
 *
 * A head with the place in the log and the configuration, blocks of at most 1 MiB, each compressed
 * with LZ4 where that helps and with a CRC-32C, and a foot with counts and the SHA-256 of all that
 * is before it.  Written beside and renamed, so a file of the final name is always whole; what is
 * sent to a peer is the file as it is.  Blocking: for a lane's thread, or while a node starts.
 */

#include <raft.h>

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "raft/rep.h"
#include "raft/rep_env.h"

#define SNAP_BLOCK (1u << 20)
#define SNAP_HASH 32u
#define SNAP_CONF_MAX (64u << 10)

struct snap_meta {
    char name[64];
    uint64_t index;
    uint64_t term;
    uint64_t conf_index;
    struct raft_buffer conf; /* encoded; raft_malloc, owned */
    uint64_t size;           /* of the file */
    uint8_t hash[SNAP_HASH];
};

void snap_meta_done(struct snap_meta *m);
void snap_meta_copy(const struct snap_meta *src, struct snap_meta *dst);

/* "snap-<index>-<term>.snap" */
void snap_name(uint64_t index, uint64_t term, char dst[64]);
bool snap_name_parse(const char *name, uint64_t *ret_index, uint64_t *ret_term);

/* Write m->name (index, term and configuration are given); `fill` writes the content to the sink.
 * Sets size and hash. */
struct snap_content {
    int (*fill)(struct snap_content *c, struct rep_sink *sink, struct err *err);
};
int snapfile_write(struct rep_disk *disk, struct snap_meta *m, struct snap_content *content,
                   struct err *err) ERR_USED;

/* Head and foot.  The result is owned by the caller (snap_meta_done). */
int snapfile_meta(struct rep_disk *disk, const char *name, struct snap_meta *ret,
                  struct err *err) ERR_USED;
/* Read everything and compare it with the foot. */
int snapfile_verify(struct rep_disk *disk, const char *name, struct err *err) ERR_USED;

/* Give the content to `use`, which must read all of it; what does not match the checksums gives
 * ERR_CORRUPT. */
struct snap_reader {
    int (*use)(struct snap_reader *u, struct rep_source *source, struct err *err);
};
int snapfile_read(struct rep_disk *disk, const char *name, struct snap_reader *user,
                  struct err *err) ERR_USED;

#endif
