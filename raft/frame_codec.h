#ifndef RAFT_FRAME_CODEC_H
#define RAFT_FRAME_CODEC_H

/* The bytes between peers.  A frame:
 *
 *   0 magic u16   2 version u8   3 zero   4 kind u16   6 zero u16   8 payload bytes u32
 *   12 crc32c u32 over bytes 0..11 and the payload   16 payload
 *
 * Integers are little-endian.  Everything here is bounded and treats the bytes as hostile, although
 * they come over an authenticated connection.  Pure but for raft_malloc; any thread.
 */

#include <raft.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define FRAME_VERSION 1u
#define FRAME_HEAD 16u
#define FRAME_MAX (8u << 20) /* payload */
#define FRAME_ENTRIES_MAX 65536u

enum frame_kind {
    FRAME_HELLO = 1, /* of the connection: peer_codec */
    FRAME_REFUSE,
    FRAME_PING,
    FRAME_VOTE = 10, /* raft's messages */
    FRAME_VOTE_RESULT,
    FRAME_APPEND,
    FRAME_APPEND_RESULT,
    FRAME_TIMEOUT_NOW,
    FRAME_PROBE = 20, /* ours: term u64, seq u64 */
    FRAME_PROBE_ACK,
    FRAME_READ,
    FRAME_READ_RESULT,
    FRAME_PROPOSE,
    FRAME_PROPOSE_RESULT,
    FRAME_CALL,
    FRAME_REPLY,
    FRAME_SNAP_OFFER = 30, /* streamed snapshots */
    FRAME_SNAP_WANT,
    FRAME_SNAP_DATA,
    FRAME_SNAP_DONE,
    FRAME_STATE = 40, /* what the voters acknowledged (safety.md 6): rep_acks.c */
    FRAME_ACKS,
    FRAME_BELOW,
};

/* Append a frame to b: begin, add the payload, end.  begin returns what end wants. */
size_t frame_begin(struct buf *b, enum frame_kind kind);
void frame_end(struct buf *b, size_t at);

struct frame {
    uint16_t kind;
    const uint8_t *data;
    size_t len;
};

/* The first frame of the bytes.  *ret_used: bytes it took, 0: more are needed.  ERR_CORRUPT: the
 * connection must be dropped. */
int frame_next(const uint8_t *data, size_t len, struct frame *ret, size_t *ret_used,
               struct err *err) ERR_USED;

/* All of raft's messages but InstallSnapshot.  Of an AppendEntries, the entries must be those given
 * (a part of the log's); the rest comes from the message. */
void frame_raft(struct buf *b, const struct raft_message *msg);
/* server_id is set to `from`; the entries are in one batch, both raft_malloc'ed. */
bool frame_raft_decode(uint16_t kind, const uint8_t *data, size_t len, uint64_t from,
                       struct raft_message *ret);

#endif
