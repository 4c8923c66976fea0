#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/wal_priv.h"

/* The files of the log: the next one is made ahead, on the file lane; an old one that is not needed
 * any more is renamed for that, others are removed. */

void wal_submit(struct wal *w, enum rep_lane lane, struct rep_job *job)
{
    w->jobs++;
    w->opts.env->submit(w->opts.env->ctx, lane, job);
}

/* --- removing a file --- */

static void gone_run(struct rep_job *job)
{
    struct wal_gone *g = CONTAINER_OF(job, struct wal_gone, job);

    g->rc = g->wal->disk->remove(g->wal->disk, g->name, &g->err);
}

static void gone_done(struct rep_job *job)
{
    struct wal_gone *g = CONTAINER_OF(job, struct wal_gone, job);

    g->wal->jobs--;
    if (g->rc != 0) {
        lg_warn("wal", "msg=\"cannot remove an old log file\" err=\"%s\"", g->err.msg);
    }
    free(g);
}

static void wal_remove(struct wal *w, uint64_t seq)
{
    struct wal_gone *g = OBJ_NEW(struct wal_gone);

    g->job = (struct rep_job){ .run = gone_run, .done = gone_done };
    g->wal = w;
    wal_seg_name(seq, g->name);
    wal_submit(w, REP_LANE_FILE, &g->job);
}

/* --- the next segment --- */

static int prep_zero(struct wal *w, struct rep_file *f, uint64_t size, struct err *err)
{
    static const uint8_t zero[1u << 20];
    int rc;

    for (uint64_t off = 0; off < size; off += sizeof(zero)) {
        size_t n = size - off < sizeof(zero) ? (size_t)(size - off) : sizeof(zero);

        /* In steps, so that the log's own writes never wait for the whole file. */
        rc = w->disk->write(w->disk, f, off, zero, n, true, err);
        if (rc != 0) {
            return rc;
        }
    }
    return w->disk->sync(w->disk, f, err);
}

int wal_make_file(struct wal *w, const char *name, struct err *err)
{
    struct rep_file *f;
    int rc;

    rc = w->disk->open(w->disk, "prepare.tmp", REP_OPEN_NEW, &f, err);
    if (rc != 0) {
        return rc;
    }
    rc = prep_zero(w, f, w->opts.segment_bytes, err);
    w->disk->close(w->disk, f);
    return rc != 0 ? rc : w->disk->rename(w->disk, "prepare.tmp", name, err);
}

static int prep_recycle(struct wal *w, uint64_t seq, const char *name, struct err *err)
{
    struct rep_file *f;
    char old[64];
    uint64_t size;
    int rc;

    wal_seg_name(seq, old);
    rc = w->disk->open(w->disk, old, REP_OPEN_READ, &f, err);
    if (rc != 0) {
        /* An earlier try may have come as far as renaming it. */
        return wal_make_file(w, name, err);
    }
    rc = w->disk->size(w->disk, f, &size, err);
    w->disk->close(w->disk, f);
    if (rc == 0 && size == w->opts.segment_bytes) {
        return w->disk->rename(w->disk, old, name, err);
    }
    if (rc == 0) {
        rc = w->disk->remove(w->disk, old, err);
    }
    return rc != 0 ? rc : wal_make_file(w, name, err);
}

static void prep_run(struct rep_job *job)
{
    struct wal_prep *p = CONTAINER_OF(job, struct wal_prep, job);
    struct wal *w = p->wal;
    char name[64];

    wal_seg_name(p->seq, name);
    p->rc = p->recycle != 0 ? prep_recycle(w, p->recycle, name, &p->err)
                            : wal_make_file(w, name, &p->err);
    if (p->rc == 0) {
        p->rc = w->disk->open(w->disk, name, REP_OPEN_WRITE, &p->file, &p->err);
    }
}

static void prep_done(struct rep_job *job)
{
    struct wal_prep *p = CONTAINER_OF(job, struct wal_prep, job);
    struct wal *w = p->wal;

    w->jobs--;
    w->preparing = false;
    if (p->rc == 0) {
        if (w->prep_failed) {
            lg_info("wal", "dir=%s msg=\"the next log file could be prepared again\"", w->opts.dir);
        }
        w->next_file = p->file;
        w->next_size = w->opts.segment_bytes;
        w->prep_failed = false;
        return;
    }
    if (!w->prep_failed) {
        lg_warn("wal",
                "dir=%s msg=\"cannot prepare the next log file, new commands are refused\" "
                "err=\"%s\"",
                w->opts.dir, p->err.msg);
    }
    w->prep_failed = true;
    w->prep_wait = 20;
    if (p->recycle != 0 && w->spare == 0) {
        w->spare = p->recycle;
    } else if (p->recycle != 0) {
        wal_remove(w, p->recycle);
    }
}

void wal_prepare(struct wal *w, bool now)
{
    if (w->preparing || w->next_file != NULL || w->failed ||
        (!now && w->cur_off < w->cur.size / 4) || (w->writing != NULL && w->writing->with_head)) {
        /* The last: a file without a head, after a crash, is always the last one. */
        return;
    }
    w->preparing = true;
    w->prep = (struct wal_prep){
        .job = { .run = prep_run, .done = prep_done },
        .wal = w,
        .seq = w->cur.seq + 1,
        .recycle = w->spare,
    };
    w->spare = 0;
    wal_submit(w, REP_LANE_FILE, &w->prep.job);
}

void wal_tick(struct wal *w)
{
    if (w->prep_failed && w->prep_wait > 0) {
        w->prep_wait--;
        return;
    }
    wal_prepare(w, false);
}

/* --- dropping --- */

void wal_drop(struct wal *w, uint64_t index)
{
    size_t n = 0;

    while (n < w->n_old && w->old[n].max_index <= index) {
        /* The newest dropped file is kept for recycling: then the files on the disk are without a
         * hole at every moment. */
        if (w->spare != 0) {
            wal_remove(w, w->spare);
        }
        w->spare = w->old[n++].seq;
    }
    if (n > 0) {
        memmove(w->old, w->old + n, (w->n_old - n) * sizeof(*w->old));
        w->n_old -= n;
        wal_prepare(w, false);
    }
}
