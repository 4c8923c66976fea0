#ifndef RAFT_WAL_H
#define RAFT_WAL_H

/* The write-ahead log: entries, term and vote, truncations, all in one sequence of records.
 *
 * Records are collected in memory; wal_kick writes what was collected as one batch, one write at a
 * time.  A position counts the records; wal_durable says up to which they are on the medium.  There
 * is always a next segment prepared, so that a full disk is found out while there is still room. A
 * write that fails is never repeated: on_fail, and nothing becomes durable any more.
 *
 * Loop thread only, but for the jobs on the lanes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "raft/rep_env.h"
#include "raft/wal_codec.h"

#define WAL_SEGMENT_MIN (4u << 20)

struct wal;

struct wal_entry {
    uint64_t term;
    uint8_t kind;
    void *data; /* raft_malloc; NULL once the raft core has taken it */
    size_t len;
};

/* What a replay found.  The entries have the indexes base + 1 ... base + n. */
struct wal_log {
    uint64_t term;
    uint64_t vote;
    uint64_t base;
    struct wal_entry *entries;
    size_t n;
    size_t cap;
    struct wal_ack acks[WAL_ACKS_MAX];
    size_t n_acks;
};

/* A file of the log as it was found. */
struct wal_found {
    uint64_t seq;
    uint64_t size;
    uint64_t max_index; /* highest index of an entry in it */
};

struct wal_scan {
    struct wal_found *segs; /* used ones, oldest first; the last one is written on */
    size_t n_segs;
    uint64_t end;       /* where the next batch goes in the last one */
    uint64_t log_id;    /* 0: there is no log yet */
    uint64_t batch_seq; /* the next one */
    uint64_t spare_seq; /* a file behind the last one, prepared and never used; 0: none */
    bool torn;          /* an unacknowledged batch at the end was given up */
};

struct wal_opts {
    const struct rep_env *env;
    uint64_t segment_bytes;
    const char *dir; /* for messages */
    void *ctx;
    void (*on_durable)(void *ctx);
    void (*on_fail)(void *ctx, const char *why);
};

/* Read everything back; blocking.  ERR_CORRUPT names file, offset and what to do.  The caller frees
 * with wal_log_done and wal_scan_done in every case. */
int wal_replay(struct rep_disk *disk, const char *dir, struct wal_log *log, struct wal_scan *scan,
               struct err *err) ERR_USED;
void wal_log_done(struct wal_log *log);
void wal_scan_done(struct wal_scan *scan);

/* Go on after a replay.  Blocking only where the first file has to be made. */
int wal_open(const struct wal_opts *opts, const struct wal_log *log, const struct wal_scan *scan,
             struct wal **ret, struct err *err) ERR_USED;
/* For tests and tools: no job may be running. */
void wal_free(struct wal *w);

/* Collect a record; the data is copied. */
void wal_add_entry(struct wal *w, uint64_t index, uint64_t term, uint8_t kind, const void *data,
                   size_t len);
void wal_add_meta(struct wal *w, uint64_t term, uint64_t vote);
void wal_add_truncate(struct wal *w, uint64_t index);
void wal_add_reset(struct wal *w, uint64_t index, uint64_t term);
void wal_add_acks(struct wal *w, const struct wal_ack *acks, size_t n);

void wal_kick(struct wal *w); /* start writing what was collected */
/* May the loop wait for short writes itself, as long as the disk is quick?  For followers: their
 * leader waits for nothing else of them, and going to the log's thread and back costs more than the
 * loop would do meanwhile. */
void wal_here(struct wal *w, bool may);
/* At every tick: prepares the next segment again where that failed before. */
void wal_tick(struct wal *w);
uint64_t wal_pos(const struct wal *w);     /* of the last record collected */
uint64_t wal_durable(const struct wal *w); /* up to here they are on the medium */
/* Entries up to index are not needed any more: recycle the files that hold nothing else. */
void wal_drop(struct wal *w, uint64_t index);
/* Is the disk too full to prepare the next segment? */
bool wal_full(const struct wal *w);
/* Fills in the log_write fields. */
void wal_stats(const struct wal *w, struct rep_stats *ret);

/* "wal-<seq>.log" */
void wal_seg_name(uint64_t seq, char dst[64]);

#endif
