#ifndef RAFT_GROUP_CODEC_H
#define RAFT_GROUP_CODEC_H

/* A group: many commands in one raft entry.
 *
 *   0 magic u16   2 version u8   3 flags u8 (0)   4 count u32   8 leader unix ms u64
 *   16 crc32c u32 over bytes 0..15 and the payload   20 payload bytes u32
 *   24 payload: count times { len u32, bytes }, then zeroes up to a multiple of 8
 *
 * The total is a multiple of 8, without which libraft cannot read its own log (raft-notes 1.1).
 * Pure but for raft_malloc; any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/rep.h"

#define GROUP_HEAD 24u
#define GROUP_CMDS_MAX 1024u
#define GROUP_BYTES_MAX (1u << 20) /* a group is closed when it is that large */
#define GROUP_CMD_MAX (2u << 20)   /* one command */

struct group {
    uint8_t *data; /* raft_malloc */
    size_t len;
    size_t cap;
    uint32_t count;
};

/* Would the command fit without making a group that is too large?  An empty one takes any. */
bool group_fits(const struct group *g, size_t cmd_len);
void group_add(struct group *g, const void *cmd, size_t len);
/* Fill in the head and pad; data and len are the entry. */
void group_seal(struct group *g, uint64_t leader_ms);
void group_done(struct group *g);
/* Command number i, which must exist (linear: for retries only). */
struct rep_cmd group_cmd(const struct group *g, uint32_t i);

/* Decode an entry; cmds point into it.  False when anything is wrong with it. */
bool group_decode(const void *data, size_t len, uint64_t *ret_leader_ms,
                  struct rep_cmd cmds[GROUP_CMDS_MAX], size_t *ret_n);

#endif
