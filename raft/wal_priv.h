#ifndef RAFT_WAL_PRIV_H
#define RAFT_WAL_PRIV_H

/* The log's own parts: wal.c collects and writes, wal_prep.c makes and removes files. */

#include "base/buf.h"
#include "raft/wal.h"

#define WAL_MAGIC 0x57414c21u

struct wal_out { /* a batch on its way */
    struct rep_job job;
    struct wal *wal;
    struct wal_out *next;
    struct buf b; /* WAL_BLOCK bytes of room for a head, then the batch */
    uint64_t seq;
    uint64_t end_pos;
    uint64_t max_index;
    uint64_t first_index, term, vote; /* before its first record */
    uint32_t n_recs;
    bool with_head;
    uint64_t off;
    struct rep_file *file;
    uint64_t took_us;
    struct err err;
    int rc;
};

struct wal_prep { /* the next segment being made */
    struct rep_job job;
    struct wal *wal;
    uint64_t seq;
    uint64_t recycle; /* number of the old file, 0: none */
    struct rep_file *file;
    struct err err;
    int rc;
};

struct wal_gone { /* a file being removed */
    struct rep_job job;
    struct wal *wal;
    char name[64];
    struct err err;
    int rc;
};

struct wal {
    unsigned magic;
    struct wal_opts opts;
    struct rep_disk *disk;
    uint64_t log_id;
    uint64_t batch_seq; /* of the next batch to be closed */
    uint64_t pos, durable, written;
    uint64_t n_writes, write_sum_us, write_max_us;
    uint64_t next_index, term, vote; /* after the last record collected */
    struct wal_ack acks[WAL_ACKS_MAX];
    size_t n_acks;
    struct wal_found *old; /* finished segments, oldest first */
    size_t n_old;
    struct wal_found cur; /* seq 0: none is begun yet */
    uint64_t cur_off;
    struct rep_file *cur_file;
    struct rep_file *next_file; /* NULL: not prepared */
    uint64_t next_size;
    uint64_t batch_soft;  /* a batch is closed when it would become larger */
    uint64_t spare;       /* number of a dropped file to recycle, 0: none */
    struct wal_out *fill; /* NULL: nothing collected */
    struct wal_out *queue, **queue_end;
    struct wal_out *writing;
    struct wal_out *pool;
    struct wal_prep prep;
    bool preparing, prep_failed, failed;
    bool here;           /* see wal_here */
    unsigned here_wait;  /* so many writes go to the lane yet */
    uint32_t here_quick; /* a bit for each of the last writes */
    unsigned prep_wait;  /* ticks until it is tried again */
    unsigned jobs;
};

void wal_submit(struct wal *w, enum rep_lane lane, struct rep_job *job);
/* Make the next segment, unless there is one or it is being made; `now`, or when a quarter of the
 * present one is used. */
void wal_prepare(struct wal *w, bool now);
/* A new file of zeroes with this name; blocking. */
int wal_make_file(struct wal *w, const char *name, struct err *err) ERR_USED;

#endif
