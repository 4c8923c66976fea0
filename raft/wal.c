#include "raft/wal_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"

/* The happy path:
 *   1. wal_add_* appends a record to the batch that is being filled and counts the position up;
 *   2. wal_kick, once a turn of the loop, gives the oldest batch to the log's lane if none is being
 *      written; it goes behind the last one in the present segment, or, where it does not fit,
 *      with a head into the prepared next one;
 *   3. the lane writes it with RWF_DSYNC and the loop is told: the position is durable; where
 *      wal_here allows it and the disk has been quick of late, the loop writes it itself;
 *   4. what was added meanwhile is the next batch.  So the batch grows with the load.
 * When a segment is begun, the one after it is prepared on the file lane: an old file that is not
 * needed any more is renamed, or a new one is written full of zeroes, so that writing the log never
 * allocates.  If that fails (no space), it is tried again at each tick, and appends wait at the end
 * of the present segment rather than fail. */

#define WAL_BATCH_SOFT (2u << 20) /* a batch is closed when it is larger */
#define WAL_HERE_BYTES (64u << 10)
#define WAL_HERE_US 800u        /* a quick write; three of four of the last 32 have to be */
#define WAL_HERE_LONG_US 20000u /* one that the loop should not have waited for: not again soon */
#define WAL_HERE_AFTER 4096u

uint64_t wal_pos(const struct wal *w)
{
    return w->pos;
}

uint64_t wal_durable(const struct wal *w)
{
    return w->durable;
}

void wal_stats(const struct wal *w, struct rep_stats *ret)
{
    ret->log_written_bytes = w->written;
    ret->log_write_count = w->n_writes;
    ret->log_write_sum_us = w->write_sum_us;
    ret->log_write_max_us = w->write_max_us;
}

bool wal_full(const struct wal *w)
{
    return w->prep_failed;
}

/* --- collecting --- */

static struct wal_out *out_new(struct wal *w)
{
    struct wal_out *o = w->pool;

    if (o != NULL) {
        w->pool = o->next;
        buf_clear(&o->b);
    } else {
        o = OBJ_NEW(struct wal_out);
    }
    CHECK(buf_reserve(&o->b, WAL_BLOCK) != NULL);
    buf_commit(&o->b, WAL_BLOCK);
    wal_batch_begin(&o->b);
    o->wal = w;
    o->next = NULL;
    o->seq = w->batch_seq++;
    o->n_recs = 0;
    o->max_index = 0;
    o->first_index = w->next_index;
    o->term = w->term;
    o->vote = w->vote;
    return o;
}

static void wal_seal(struct wal *w)
{
    struct wal_out *o = w->fill;

    if (o == NULL) {
        return;
    }
    wal_batch_end(&o->b, WAL_BLOCK, w->log_id, o->seq, o->n_recs);
    o->end_pos = w->pos;
    w->fill = NULL;
    *w->queue_end = o;
    w->queue_end = &o->next;
}

static void wal_add(struct wal *w, const struct wal_rec *rec)
{
    size_t size = wal_rec_size(rec->len);
    struct wal_out *o = w->fill;

    OBJ_CHECK(w, WAL_MAGIC);
    if (o != NULL && o->b.len + size > w->batch_soft + WAL_BLOCK) {
        wal_seal(w);
        o = NULL;
    }
    if (o == NULL) {
        o = w->fill = out_new(w);
    }
    wal_batch_add(&o->b, w->log_id, o->seq, rec);
    o->n_recs++;
    if (rec->type == WAL_ENTRY && rec->index > o->max_index) {
        o->max_index = rec->index;
    }
    w->pos++;
}

void wal_add_entry(struct wal *w, uint64_t index, uint64_t term, uint8_t kind, const void *data,
                   size_t len)
{
    CHECK(index == w->next_index);
    wal_add(w, &(struct wal_rec){ .type = WAL_ENTRY,
                                  .kind = kind,
                                  .index = index,
                                  .term = term,
                                  .data = data,
                                  .len = len });
    w->next_index = index + 1;
}

void wal_add_meta(struct wal *w, uint64_t term, uint64_t vote)
{
    CHECK(term >= w->term);
    wal_add(w, &(struct wal_rec){ .type = WAL_META, .index = vote, .term = term });
    w->term = term;
    w->vote = vote;
}

void wal_add_truncate(struct wal *w, uint64_t index)
{
    CHECK(index > 0 && index < w->next_index);
    wal_add(w, &(struct wal_rec){ .type = WAL_TRUNCATE, .index = index });
    w->next_index = index;
}

void wal_add_reset(struct wal *w, uint64_t index, uint64_t term)
{
    wal_add(w, &(struct wal_rec){ .type = WAL_RESET, .index = index, .term = term });
    w->next_index = index + 1;
}

void wal_add_acks(struct wal *w, const struct wal_ack *acks, size_t n)
{
    uint8_t data[WAL_ACKS_MAX * 24];

    CHECK(n <= WAL_ACKS_MAX);
    wal_add(w, &(struct wal_rec){
                   .type = WAL_ACKS, .data = data, .len = wal_acks_encode(acks, n, data) });
    memcpy(w->acks, acks, n * sizeof(*acks));
    w->n_acks = n;
}

/* --- writing --- */

static uint64_t out_now_us(const struct wal_out *o)
{
    const struct rep_env *env = o->wal->opts.env;

    return env->now_us == NULL ? 0 : env->now_us(env->ctx);
}

static void out_run(struct rep_job *job)
{
    struct wal_out *o = CONTAINER_OF(job, struct wal_out, job);
    struct rep_disk *d = o->wal->disk;
    size_t skip = o->with_head ? 0 : WAL_BLOCK;
    uint64_t start = out_now_us(o);

    o->rc = d->write(d, o->file, o->off, o->b.data + skip, o->b.len - skip, true, &o->err);
    o->took_us = out_now_us(o) - start;
}

static void here_learn(struct wal *w, uint64_t took_us)
{
    w->here_quick = w->here_quick << 1 | (took_us <= WAL_HERE_US);
    if (took_us > WAL_HERE_LONG_US) {
        w->here_wait = WAL_HERE_AFTER;
    } else if (w->here_wait > 0) {
        w->here_wait--;
    }
}

static enum rep_lane out_lane(const struct wal *w, const struct wal_out *o)
{
    return w->here && w->here_wait == 0 && __builtin_popcount(w->here_quick) >= 24 &&
                   o->b.len <= WAL_HERE_BYTES && !o->with_head
               ? REP_LANE_HERE
               : REP_LANE_WAL;
}

void wal_here(struct wal *w, bool may)
{
    OBJ_CHECK(w, WAL_MAGIC);
    w->here = may && w->opts.env->now_us != NULL;
}

static void out_done(struct rep_job *job)
{
    struct wal_out *o = CONTAINER_OF(job, struct wal_out, job);
    struct wal *w = o->wal;

    w->jobs--;
    w->writing = NULL;
    o->next = w->pool;
    w->pool = o;
    if (o->rc != 0) {
        w->failed = true;
        w->opts.on_fail(w->opts.ctx, o->err.msg);
        return;
    }
    CHECK(o->end_pos > w->durable);
    w->durable = o->end_pos;
    w->written += o->b.len;
    w->n_writes++;
    w->write_sum_us += o->took_us;
    here_learn(w, o->took_us);
    w->write_max_us = o->took_us > w->write_max_us ? o->took_us : w->write_max_us;
    wal_prepare(w, false);
    w->opts.on_durable(w->opts.ctx);
}

static void wal_switch(struct wal *w, struct wal_out *o)
{
    struct wal_head h = {
        .log_id = w->log_id,
        .seq = w->cur.seq + 1,
        .size = w->next_size,
        .first_index = o->first_index,
        .batch_seq = o->seq,
        .term = o->term,
        .vote = o->vote,
        .n_acks = w->n_acks,
    };

    memcpy(h.acks, w->acks, w->n_acks * sizeof(*w->acks));
    wal_head_encode(&h, o->b.data);
    if (w->cur_file != NULL) {
        w->old = mem_realloc(w->old, (w->n_old + 1) * sizeof(*w->old));
        w->old[w->n_old++] = w->cur;
        w->disk->close(w->disk, w->cur_file);
    }
    w->cur = (struct wal_found){ .seq = h.seq, .size = h.size };
    w->cur_off = 0;
    w->cur_file = w->next_file;
    w->next_file = NULL;
    o->with_head = true;
}

void wal_kick(struct wal *w)
{
    struct wal_out *o;

    if (w->writing != NULL || w->failed) {
        return;
    }
    if (w->queue == NULL) {
        wal_seal(w);
    }
    o = w->queue;
    if (o == NULL) {
        return;
    }
    o->with_head = false;
    if (w->cur_file == NULL || w->cur_off + o->b.len - WAL_BLOCK > w->cur.size) {
        if (w->next_file == NULL) {
            wal_prepare(w, true);
            return;
        }
        wal_switch(w, o);
    }
    w->queue = o->next;
    if (w->queue == NULL) {
        w->queue_end = &w->queue;
    }
    o->off = w->cur_off;
    o->file = w->cur_file;
    w->cur_off += o->b.len - (o->with_head ? 0 : WAL_BLOCK);
    if (o->max_index > w->cur.max_index) {
        w->cur.max_index = o->max_index;
    }
    w->writing = o;
    o->job = (struct rep_job){ .run = out_run, .done = out_done };
    wal_submit(w, out_lane(w, o), &o->job);
}

/* --- opening --- */

static uint64_t wal_segment_min(const struct rep_env *env)
{
    return env->segment_min == 0 ? WAL_SEGMENT_MIN : env->segment_min;
}

/* The first file of all, made while the caller waits. */
static int wal_first(struct wal *w, struct err *err)
{
    char name[64];
    int rc;

    do {
        w->log_id = w->opts.env->random(w->opts.env->ctx);
    } while (w->log_id == 0);
    w->batch_seq = 1;
    wal_seg_name(1, name);
    w->next_size = w->opts.segment_bytes;
    rc = wal_make_file(w, name, err);
    return rc != 0 ? rc : w->disk->open(w->disk, name, REP_OPEN_WRITE, &w->next_file, err);
}

static int wal_resume(struct wal *w, const struct wal_scan *scan, struct err *err)
{
    char name[64];
    int rc;

    w->log_id = scan->log_id;
    w->batch_seq = scan->batch_seq;
    w->n_old = scan->n_segs - 1;
    w->old = mem_dup(scan->segs, w->n_old * sizeof(*w->old));
    w->cur = scan->segs[scan->n_segs - 1];
    w->cur_off = scan->end;
    wal_seg_name(w->cur.seq, name);
    rc = w->disk->open(w->disk, name, REP_OPEN_WRITE, &w->cur_file, err);
    if (rc != 0 || scan->spare_seq == 0) {
        return rc;
    }
    wal_seg_name(scan->spare_seq, name);
    rc = w->disk->open(w->disk, name, REP_OPEN_WRITE, &w->next_file, err);
    if (rc == 0) {
        rc = w->disk->size(w->disk, w->next_file, &w->next_size, err);
    }
    if (rc == 0 && (w->next_size < wal_segment_min(w->opts.env) || w->next_size % WAL_BLOCK != 0)) {
        w->disk->close(w->disk, w->next_file);
        w->next_file = NULL;
        rc = w->disk->remove(w->disk, name, err);
    }
    return rc;
}

int wal_open(const struct wal_opts *opts, const struct wal_log *log, const struct wal_scan *scan,
             struct wal **ret, struct err *err)
{
    struct wal *w;
    int rc;

    if (opts->segment_bytes < wal_segment_min(opts->env) || opts->segment_bytes % WAL_BLOCK != 0) {
        return err_set(err, ERR_INVALID,
                       "log segment size %" PRIu64
                       ": must be a multiple of %u and at least %" PRIu64,
                       opts->segment_bytes, WAL_BLOCK, wal_segment_min(opts->env));
    }
    w = OBJ_NEW(struct wal);
    w->magic = WAL_MAGIC;
    w->opts = *opts;
    w->disk = opts->env->disk;
    w->queue_end = &w->queue;
    /* Also one that fills up the smallest file fits, with its padding. */
    w->batch_soft = wal_segment_min(opts->env) - 2 * WAL_BLOCK;
    w->batch_soft = w->batch_soft < WAL_BATCH_SOFT ? w->batch_soft : WAL_BATCH_SOFT;
    w->next_index = log->base + log->n + 1;
    w->term = log->term;
    w->vote = log->vote;
    w->n_acks = log->n_acks;
    memcpy(w->acks, log->acks, sizeof(w->acks));
    rc = scan->n_segs == 0 ? wal_first(w, err) : wal_resume(w, scan, err);
    if (rc != 0) {
        wal_free(w);
        return rc;
    }
    if (scan->torn) {
        lg_info("wal", "dir=%s msg=\"gave up an unfinished write at the end of the log\"",
                opts->dir);
    }
    *ret = w;
    return 0;
}

static void out_free(struct wal_out *o)
{
    while (o != NULL) {
        struct wal_out *next = o->next;

        buf_done(&o->b);
        free(o);
        o = next;
    }
}

void wal_free(struct wal *w)
{
    if (w == NULL) {
        return;
    }
    OBJ_CHECK(w, WAL_MAGIC);
    w->magic = 0;
    out_free(w->fill);
    out_free(w->queue);
    out_free(w->writing);
    out_free(w->pool);
    w->disk->close(w->disk, w->cur_file);
    w->disk->close(w->disk, w->next_file);
    free(w->old);
    free(w);
}
