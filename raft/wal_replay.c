#include "raft/wal.h"

#include <inttypes.h>
#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* Reading the log back.
 *
 * The files are read in order of their numbers, the batches in order of theirs.  Where a batch is
 * broken, everything that could follow it is searched for a batch with a higher number.  There is
 * none after a crash, since a batch is only written when the one before it is durable: the broken
 * one was never acknowledged and is given up.  If there is one, the broken batch had been
 * acknowledged, and the log must not be used. */

#define WAL_ADVICE                                                                                 \
    "this node has lost what it acknowledged: do not edit its files; remove the member from the "  \
    "cluster, delete the directory and join again under a new id"

struct replay {
    struct rep_disk *disk;
    const char *dir;
    struct wal_log *log;
    struct wal_scan *scan;
    uint64_t *seqs; /* of all files found, ascending */
    size_t n_seqs;
    uint8_t *data; /* of the present file */
    uint64_t size;
    char name[64];
};

void wal_seg_name(uint64_t seq, char dst[64])
{
    (void)snprintf(dst, 64, "wal-%016" PRIx64 ".log", seq);
}

void wal_log_done(struct wal_log *log)
{
    for (size_t i = 0; i < log->n; i++) {
        raft_free(log->entries[i].data);
    }
    free(log->entries);
    *log = (struct wal_log){ 0 };
}

void wal_scan_done(struct wal_scan *scan)
{
    free(scan->segs);
    *scan = (struct wal_scan){ 0 };
}

static int replay_corrupt(const struct replay *r, uint64_t off, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s/%s: byte %" PRIu64 ": %s; " WAL_ADVICE, r->dir, r->name,
                   off, what);
}

static void replay_name(void *ctx, const char *name)
{
    struct replay *r = ctx;
    char expect[64];
    uint64_t seq;

    if (!str_starts(name, "wal-")) {
        return;
    }
    seq = strtoull(name + 4, NULL, 16);
    wal_seg_name(seq, expect);
    if (seq == 0 || !str_eq(name, expect)) {
        return;
    }
    r->seqs = mem_realloc(r->seqs, (r->n_seqs + 1) * sizeof(*r->seqs));
    r->seqs[r->n_seqs++] = seq;
}

static int replay_cmp(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

static int replay_read(struct replay *r, uint64_t seq, struct err *err)
{
    struct rep_file *f;
    int rc;

    free(r->data);
    r->data = NULL;
    wal_seg_name(seq, r->name);
    rc = r->disk->open(r->disk, r->name, REP_OPEN_READ, &f, err);
    if (rc != 0) {
        return rc;
    }
    rc = r->disk->size(r->disk, f, &r->size, err);
    if (rc == 0 && r->size > (4ULL << 30)) {
        rc = replay_corrupt(r, 0, "the file is larger than any segment", err);
    }
    if (rc == 0) {
        r->data = malloc((size_t)r->size + 1);
        CHECK(r->data != NULL);
        rc = r->disk->read(r->disk, f, 0, r->data, (size_t)r->size, err);
    }
    r->disk->close(r->disk, f);
    return rc;
}

static void replay_cut(struct wal_log *log, uint64_t index)
{
    while (log->n > 0 && log->base + log->n >= index) {
        raft_free(log->entries[--log->n].data);
    }
    if (index <= log->base) {
        log->base = index - 1;
    }
}

static void replay_push(struct wal_log *log, const struct wal_rec *rec)
{
    struct wal_entry *e;

    if (log->n == log->cap) {
        log->cap = log->cap == 0 ? 1024 : log->cap * 2;
        log->entries = mem_realloc(log->entries, log->cap * sizeof(*log->entries));
    }
    e = &log->entries[log->n++];
    *e = (struct wal_entry){ .term = rec->term, .kind = rec->kind, .len = rec->len };
    e->data = raft_malloc(rec->len + 1);
    CHECK(e->data != NULL);
    memcpy(e->data, rec->data, rec->len);
}

/* NULL, or what is wrong with the record. */
static const char *replay_record(struct wal_log *log, const struct wal_rec *rec)
{
    switch (rec->type) {
    case WAL_ENTRY:
        if (rec->index != log->base + log->n + 1) {
            return "an entry does not follow the one before it";
        }
        if (rec->kind < RAFT_COMMAND || rec->kind > RAFT_CHANGE || rec->term == 0) {
            return "an entry of no known kind";
        }
        replay_push(log, rec);
        return NULL;
    case WAL_META:
        if (rec->term < log->term) {
            return "the term goes backwards";
        }
        log->term = rec->term;
        log->vote = rec->index;
        return NULL;
    case WAL_TRUNCATE:
        if (rec->index == 0 || rec->index > log->base + log->n) {
            return "a truncation of entries that are not there";
        }
        replay_cut(log, rec->index);
        return NULL;
    case WAL_RESET:
        replay_cut(log, log->base + 1);
        log->base = rec->index;
        return NULL;
    case WAL_ACKS:
        return wal_acks_decode(rec->data, rec->len, log->acks, &log->n_acks) ? NULL
                                                                             : "bad list of acks";
    }
    CHECK_UNREACHABLE();
}

static int replay_batch(struct replay *r, struct wal_batch *b, uint64_t off, struct err *err)
{
    struct wal_found *seg = &r->scan->segs[r->scan->n_segs - 1];
    const char *bad_why;
    struct wal_rec rec;
    bool bad;

    while (wal_batch_next(b, &rec, &bad)) {
        bad_why = replay_record(r->log, &rec);
        if (bad_why != NULL) {
            return replay_corrupt(r, off, bad_why, err);
        }
        if (rec.type == WAL_ENTRY && rec.index > seg->max_index) {
            seg->max_index = rec.index;
        }
    }
    CHECK(!bad);
    return 0;
}

/* Is there a batch from `off` on that was written later than number `seq`? */
static bool replay_later(const struct replay *r, uint64_t off, uint64_t seq, uint64_t *ret_off)
{
    struct wal_batch b;

    for (; off + WAL_BATCH_HEAD <= r->size; off += WAL_BLOCK) {
        if (wal_batch_open(&b, r->data + off, (size_t)(r->size - off), r->scan->log_id) &&
            b.seq > seq) {
            *ret_off = off;
            return true;
        }
    }
    return false;
}

/* All batches of the file in memory.  *ret_torn: it does not end at a batch's end. */
static int replay_batches(struct replay *r, bool *ret_torn, struct err *err)
{
    struct wal_scan *scan = r->scan;
    uint64_t off = WAL_BLOCK, later;
    struct wal_batch b;
    int rc;

    while (off < r->size) {
        if (!wal_batch_open(&b, r->data + off, (size_t)(r->size - off), scan->log_id) ||
            b.seq != scan->batch_seq || !wal_batch_check(&b)) {
            break;
        }
        rc = replay_batch(r, &b, off, err);
        if (rc != 0) {
            return rc;
        }
        off += wal_batch_span(&b);
        scan->batch_seq++;
    }
    scan->end = off;
    if (off < r->size && replay_later(r, off, scan->batch_seq, &later)) {
        char what[128];

        (void)snprintf(what, sizeof(what),
                       "a damaged record, and whole ones follow at byte %" PRIu64
                       ": this is no torn write",
                       later);
        return replay_corrupt(r, off, what, err);
    }
    *ret_torn = off < r->size &&
                wal_batch_open(&b, r->data + off, (size_t)(r->size - off), scan->log_id) &&
                b.seq == scan->batch_seq;
    return 0;
}

/* Without any head the log's id is unknown, and with it the checksums: the first write of all, head
 * and one batch, may be torn, but not a second one. */
static bool replay_many(const struct replay *r)
{
    size_t n = 0;

    for (uint64_t off = WAL_BLOCK; off + WAL_BATCH_HEAD <= r->size; off += WAL_BLOCK) {
        n += wal_batch_maybe(r->data + off);
    }
    return n > 1;
}

/* The file has no valid head.  That is the prepared next file, a torn first write, or damage. */
static int replay_headless(struct replay *r, size_t i, struct err *err)
{
    uint64_t later;
    bool more = r->scan->log_id == 0 ? replay_many(r)
                                     : replay_later(r, WAL_BLOCK, r->scan->batch_seq, &later);

    if (i + 1 < r->n_seqs) {
        return replay_corrupt(r, 0, "the head of the file is damaged", err);
    }
    if (more) {
        return replay_corrupt(r, 0, "the head of the file is damaged, and records follow", err);
    }
    r->scan->spare_seq = r->seqs[i];
    return 0;
}

static int replay_head(struct replay *r, size_t i, const struct wal_head *h, struct err *err)
{
    struct wal_scan *scan = r->scan;
    struct wal_log *log = r->log;

    if (h->size > r->size) {
        return replay_corrupt(r, r->size, "the file was cut short", err);
    }
    if (scan->n_segs == 0) {
        scan->log_id = h->log_id;
        scan->batch_seq = h->batch_seq;
        log->base = h->first_index - 1;
        log->term = h->term;
        log->vote = h->vote;
    }
    if (h->log_id != scan->log_id) {
        return replay_corrupt(r, 0, "the file belongs to another log", err);
    }
    if (h->batch_seq != scan->batch_seq || h->first_index != log->base + log->n + 1) {
        wal_seg_name(r->seqs[i - 1], r->name);
        return replay_corrupt(r, scan->end,
                              "damaged records, and the next file goes on behind them", err);
    }
    log->n_acks = h->n_acks;
    memcpy(log->acks, h->acks, sizeof(h->acks));
    scan->segs = mem_realloc(scan->segs, (scan->n_segs + 1) * sizeof(*scan->segs));
    scan->segs[scan->n_segs++] = (struct wal_found){ .seq = r->seqs[i], .size = h->size };
    return 0;
}

static int replay_file(struct replay *r, size_t i, struct err *err)
{
    struct wal_head h;
    int rc;

    rc = replay_read(r, r->seqs[i], err);
    if (rc != 0) {
        return rc;
    }
    if (i > 0 && r->seqs[i] != r->seqs[i - 1] + 1) {
        return replay_corrupt(r, 0, "the file before this one is missing", err);
    }
    if (r->size < WAL_BLOCK || !wal_head_decode(r->data, &h) || h.seq != r->seqs[i]) {
        return replay_headless(r, i, err);
    }
    rc = replay_head(r, i, &h, err);
    return rc != 0 ? rc : replay_batches(r, &r->scan->torn, err);
}

int wal_replay(struct rep_disk *disk, const char *dir, struct wal_log *log, struct wal_scan *scan,
               struct err *err)
{
    struct replay r = { .disk = disk, .dir = dir, .log = log, .scan = scan };
    int rc;

    *log = (struct wal_log){ 0 };
    *scan = (struct wal_scan){ .batch_seq = 1 };
    rc = disk->list(disk, replay_name, &r, err);
    if (rc == 0 && r.n_seqs > 0) {
        qsort(r.seqs, r.n_seqs, sizeof(*r.seqs), replay_cmp);
    }
    for (size_t i = 0; rc == 0 && i < r.n_seqs; i++) {
        rc = replay_file(&r, i, err);
    }
    free(r.data);
    free(r.seqs);
    return rc;
}
