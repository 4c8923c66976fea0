#ifndef RAFT_WAL_CODEC_H
#define RAFT_WAL_CODEC_H

/* The bytes of the write-ahead log (docs/raft.md, "Log files").  Pure; any thread.
 *
 * A segment is one file: a head block, then batches, each starting at a multiple of WAL_BLOCK.  One
 * batch is one write; the next one is written only when it is durable, and no acknowledged byte is
 * ever written again.  Batches are numbered through all segments without a hole, which is how a
 * torn tail is told from damage: a batch that is broken although a later one exists was
 * acknowledged. Every checksum covers the log's id and the batch's number, so that what a recycled
 * file held before can never be taken for something new.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define WAL_BLOCK 4096u
#define WAL_BATCH_HEAD 32u
#define WAL_REC_HEAD 32u
/* One raft entry; larger ones are refused before they are proposed. */
#define WAL_ENTRY_MAX (3u << 20)
#define WAL_ACKS_MAX 64u

enum wal_type {
    WAL_ENTRY = 1, /* index, term, kind (raft's entry type), data */
    WAL_META,      /* term, index = vote (0: none) */
    WAL_TRUNCATE,  /* entries from index on are gone */
    WAL_RESET,     /* the log now starts behind (index, term) of an installed snapshot */
    WAL_ACKS,      /* data: what voters acknowledged, 24 bytes each */
};

struct wal_rec {
    enum wal_type type;
    uint8_t kind;
    uint64_t index;
    uint64_t term;
    const uint8_t *data; /* points into the batch when decoded */
    size_t len;
};

/* The highest (term, index) that a voter acknowledged, as far as this node was told. */
struct wal_ack {
    uint64_t id;
    uint64_t term;
    uint64_t index;
};

struct wal_head {
    uint64_t log_id;
    uint64_t seq;         /* of the segment */
    uint64_t size;        /* of the file */
    uint64_t first_index; /* of the next entry when the segment was begun */
    uint64_t batch_seq;   /* of the segment's first batch */
    uint64_t term;
    uint64_t vote;
    size_t n_acks;
    struct wal_ack acks[WAL_ACKS_MAX];
};

void wal_head_encode(const struct wal_head *h, uint8_t dst[WAL_BLOCK]);
bool wal_head_decode(const uint8_t src[WAL_BLOCK], struct wal_head *ret);

/* Build a batch in b, from offset `at` on (a multiple of 8). */
void wal_batch_begin(struct buf *b);
void wal_batch_add(struct buf *b, uint64_t log_id, uint64_t batch_seq, const struct wal_rec *rec);
/* Fills in the head and pads to WAL_BLOCK with zeroes. */
void wal_batch_end(struct buf *b, size_t at, uint64_t log_id, uint64_t batch_seq, uint32_t n_recs);
/* Bytes that the record takes in a batch. */
size_t wal_rec_size(size_t data_len);

struct wal_batch {
    uint64_t seq;
    uint32_t n_recs;
    size_t len; /* head and records, without padding */
    const uint8_t *p;
    uint64_t log_id;
    size_t pos; /* of the next record */
};

/* Is there a batch's head at p?  Only the head is verified. */
bool wal_batch_open(struct wal_batch *b, const uint8_t *p, size_t len, uint64_t log_id);
/* Does something that may be a batch's head start at p (4 bytes)?  For when the log's id is
 * unknown. */
bool wal_batch_maybe(const uint8_t *p);
/* The next record, verified.  False: none is left, or it is broken (then *ret_bad is set). */
bool wal_batch_next(struct wal_batch *b, struct wal_rec *ret, bool *ret_bad);
/* Are all its records whole? */
bool wal_batch_check(const struct wal_batch *b);
size_t wal_batch_span(const struct wal_batch *b); /* with padding */

size_t wal_acks_encode(const struct wal_ack *acks, size_t n, uint8_t *dst); /* 24 * n bytes */
/* False when the length is none of an acks record. */
bool wal_acks_decode(const uint8_t *p, size_t len, struct wal_ack acks[WAL_ACKS_MAX],
                     size_t *ret_n);

#endif
