#include "raft/rep_snap.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/le.h"

/* Taking snapshots, and what the core asks for about them.
 *
 *   1. rep_snap_due counts applied bytes and lowers the core's threshold when a snapshot is due;
 *   2. the core calls fsm.snapshot: the state is pinned in O(1);
 *   3. fsm.snapshot_async on the snapshot lane: the file is written and renamed;
 *   4. io.snapshot_put: older files go, the core is told;
 *   5. the core drops entries up to `trailing` before it, and fsm.snapshot_finalize lets go of the
 *      state; the log's files that hold nothing newer are recycled.
 * A failure (a full disk) is logged and tried again later; nothing depends on it. */

#define SNAP_RETRY_MS 10000u
#define SNAP_PENDING_MAX (2u << 20) /* bytes of groups applied before a snapshot, in one turn */

struct snap_take { /* one snapshot being written */
    struct snap_content content;
    struct rep *rep;
    void *pinned;
    struct snap_meta meta;
    struct err err;
    bool failed, put; /* put: the core goes on with it */
};

struct snap_work { /* the core's async work */
    struct rep_job job;
    struct raft_io_async_work *req;
    raft_io_async_work_cb cb;
    struct rep *rep;
    int status;
};

struct snap_put { /* the core's snapshot_put: own snapshot, or one that is installed */
    struct rep_job job;
    struct rep *rep;
    struct raft_io_snapshot_put *req;
    raft_io_snapshot_put_cb cb;
    struct snap_meta meta;
    struct raft_buffer *core_bufs; /* of the core's snapshot */
    bool install, clean;
    char spool[64];
    unsigned trailing;
    struct err err;
    int rc;
};

void rep_snap_desc(uint64_t index, uint64_t term, struct raft_buffer *ret)
{
    ret->len = SNAP_DESC;
    ret->base = raft_malloc(SNAP_DESC);
    CHECK(ret->base != NULL);
    le_put64(ret->base, index);
    le_put64((uint8_t *)ret->base + 8, term);
}

struct raft_snapshot *rep_snap_core(const struct snap_meta *m)
{
    struct raft_snapshot *s = raft_malloc(sizeof(*s));

    CHECK(s != NULL);
    *s = (struct raft_snapshot){
        .index = m->index,
        .term = m->term,
        .configuration_index = m->conf_index,
        .n_bufs = 1,
    };
    CHECK(conf_decode(m->conf.base, m->conf.len, &s->configuration));
    s->bufs = raft_malloc(sizeof(*s->bufs));
    CHECK(s->bufs != NULL);
    rep_snap_desc(m->index, m->term, &s->bufs[0]);
    return s;
}

/* --- when --- */

static uint64_t snap_limit(const struct rep *r)
{
    uint64_t limit = r->params.snapshot_bytes;
    uint64_t size = r->snap->newest.size;

    /* A large state is written less often: not more bytes for snapshots than for the log. */
    limit = size < limit ? limit : size < 4 * limit ? size : 4 * limit;
    /* The members not all at the same time. */
    return limit + limit / 8 * (r->params.id % 4);
}

/* Large enough, or a member waits for what only a snapshot can give (rep_shed.c). */
static bool snap_wanted(const struct rep *r)
{
    return r->log_bytes >= snap_limit(r) || r->shed_lost;
}

void rep_snap_due(struct rep *r)
{
    bool due = snap_wanted(r) && r->snap->take == NULL && rep_now(r) >= r->snap->not_before_ms;

    r->raft.snapshot.threshold = due ? 1 : UINT_MAX;
}

/* How many entries to keep behind the snapshot: up to REP_TRAILING, as many as fit; none whose data
 * cannot be had any more. */
static unsigned snap_trailing(const struct rep *r)
{
    raft_index last = r->raft.last_applied;
    uint64_t bytes = 0;
    unsigned n = 0;

    while (n < REP_TRAILING) {
        const struct raft_entry *e = last > n ? guard_entry(&r->raft, last - n) : NULL;

        if (e == NULL || (r->shed_lost && rep_shed_gone(e)) ||
            bytes + e->buf.len > r->params.snapshot_bytes) {
            break;
        }
        bytes += e->buf.len;
        n++;
    }
    return n == 0 ? 1 : n;
}

/* --- the state machine's side --- */

static int snap_begin(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct rep *r = fsm->data;
    const struct raft_snapshot *s = &r->raft.snapshot.pending;
    struct snap_take *t;

    r->raft.snapshot.threshold = UINT_MAX;
    if (r->snap->take != NULL || !snap_wanted(r) || !guard_may_snapshot(&r->guard)) {
        return RAFT_BUSY;
    }
    if (r->pending > SNAP_PENDING_MAX) {
        return RAFT_BUSY; /* the state machine is far behind; later */
    }
    rep_apply_all(r); /* it is as old as the core says that it is */
    if (r->dead) {
        return RAFT_BUSY;
    }
    t = OBJ_NEW(struct snap_take);
    t->rep = r;
    t->meta.index = s->index;
    t->meta.term = s->term;
    t->meta.conf_index = s->configuration_index;
    CHECK(raft_configuration_encode(&s->configuration, &t->meta.conf) == 0);
    snap_name(s->index, s->term, t->meta.name);
    t->pinned = r->params.fsm.snap_begin(r->params.fsm.ctx);
    r->snap->take = t;
    r->raft.snapshot.trailing = snap_trailing(r);
    r->log_bytes = 0;
    r->shed_lost = false;
    *bufs = raft_malloc(sizeof(**bufs));
    CHECK(*bufs != NULL);
    rep_snap_desc(s->index, s->term, *bufs);
    *n_bufs = 1;
    return 0;
}

static int snap_fill(struct snap_content *c, struct rep_sink *sink, struct err *err)
{
    struct snap_take *t = CONTAINER_OF(c, struct snap_take, content);
    const struct rep_fsm *fsm = &t->rep->params.fsm;

    return fsm->snap_write(fsm->ctx, t->pinned, sink, err);
}

static int snap_write(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct rep *r = fsm->data;
    struct snap_take *t = r->snap->take;

    (void)bufs;
    (void)n_bufs;
    t->content.fill = snap_fill;
    t->failed = snapfile_write(r->env.disk, &t->meta, &t->content, &t->err) != 0;
    return t->failed ? RAFT_IOERR : 0;
}

static int snap_end(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct rep *r = fsm->data;
    struct snap_take *t = r->snap->take;

    for (unsigned i = 0; i < *n_bufs; i++) {
        raft_free((*bufs)[i].base);
    }
    raft_free(*bufs);
    if (t == NULL) {
        return 0;
    }
    r->snap->take = NULL;
    r->params.fsm.snap_end(r->params.fsm.ctx, t->pinned);
    if (t->failed) {
        lg_warn("raft", "msg=\"snapshot failed, will be tried again\" err=\"%s\"", t->err.msg);
        r->snap->not_before_ms = rep_now(r) + SNAP_RETRY_MS;
        r->log_bytes += snap_limit(r);
    }
    snap_meta_done(&t->meta);
    free(t);
    return 0;
}

struct restore_use {
    struct snap_reader reader;
    const struct rep_fsm *fsm;
};

static int restore_use(struct snap_reader *u, struct rep_source *source, struct err *err)
{
    const struct rep_fsm *fsm = CONTAINER_OF(u, struct restore_use, reader)->fsm;

    return fsm->restore(fsm->ctx, source, err);
}

static int snap_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct rep *r = fsm->data;
    struct restore_use use = { .reader = { .use = restore_use }, .fsm = &r->params.fsm };
    struct err err;
    char name[64];
    int rc;

    CHECK(buf->len == SNAP_DESC);
    snap_name(le_get64(buf->base), le_get64((uint8_t *)buf->base + 8), name);
    rc = snapfile_read(r->env.disk, name, &use.reader, &err);
    if (rc != 0 && r->started) {
        rep_die(r, err.msg);
    } else if (rc != 0) {
        r->load_err = err;
    }
    if (rc != 0) {
        return RAFT_CORRUPT; /* the buffer stays the core's */
    }
    r->log_bytes = 0;
    r->applied = le_get64(buf->base);
    raft_free(buf->base);
    return 0;
}

void rep_snap_init(struct rep *r)
{
    r->snap = OBJ_NEW(struct rep_snap);
    r->fsm = (struct raft_fsm){
        .version = 3,
        .data = r,
        .apply = rep_fsm_apply,
        .snapshot = snap_begin,
        .restore = snap_restore,
        .snapshot_finalize = snap_end,
        .snapshot_async = snap_write,
    };
}

/* --- the core's work on a lane --- */

static void work_run(struct rep_job *job)
{
    struct snap_work *w = CONTAINER_OF(job, struct snap_work, job);

    w->status = w->req->work(w->req);
}

static void work_done(struct rep_job *job)
{
    struct snap_work *w = CONTAINER_OF(job, struct snap_work, job);
    struct rep *r = w->rep;

    rep_enter(r);
    w->cb(w->req, w->status);
    rep_leave(r);
    free(w);
}

int rep_snap_work(struct raft_io *io, struct raft_io_async_work *req, raft_io_async_work_cb cb)
{
    struct rep *r = io->impl;
    struct snap_work *w = OBJ_NEW(struct snap_work);

    *w = (struct snap_work){ .req = req, .cb = cb, .rep = r };
    w->job = (struct rep_job){ .run = work_run, .done = work_done };
    r->env.submit(r->env.ctx, REP_LANE_SNAP, &w->job);
    return 0;
}

/* --- storing --- */

struct snap_list {
    struct rep_disk *disk;
    uint64_t keep_below; /* index of the newest one: it and one before it stay */
    uint64_t second;
    char victims[16][64];
    size_t n;
};

static void list_second(void *ctx, const char *name)
{
    struct snap_list *l = ctx;
    uint64_t index, term;

    if (snap_name_parse(name, &index, &term) && index < l->keep_below && index > l->second) {
        l->second = index;
    }
}

static void list_victims(void *ctx, const char *name)
{
    struct snap_list *l = ctx;
    uint64_t index, term;

    if (snap_name_parse(name, &index, &term) && index < l->second && l->n < ARRAY_LEN(l->victims)) {
        (void)str_copy(l->victims[l->n++], sizeof(l->victims[0]), name);
    }
}

/* Remove all but the two newest snapshots. */
static void put_clean(struct rep_disk *disk, uint64_t newest)
{
    struct snap_list l = { .disk = disk, .keep_below = newest };
    struct err err;

    if (disk->list(disk, list_second, &l, &err) != 0 ||
        disk->list(disk, list_victims, &l, &err) != 0) {
        lg_warn("raft", "msg=\"cannot list old snapshots\" err=\"%s\"", err.msg);
        return;
    }
    for (size_t i = 0; i < l.n; i++) {
        if (disk->remove(disk, l.victims[i], &err) != 0) {
            lg_warn("raft", "msg=\"cannot remove an old snapshot\" err=\"%s\"", err.msg);
        }
    }
}

static void put_run(struct rep_job *job)
{
    struct snap_put *p = CONTAINER_OF(job, struct snap_put, job);
    struct rep_disk *disk = p->rep->env.disk;

    if (p->install) {
        p->rc = disk->rename(disk, p->spool, p->meta.name, &p->err);
    }
    if (p->rc == 0 && p->clean) {
        put_clean(disk, p->meta.index);
    }
}

static void put_newest(struct rep *r, struct snap_meta *m)
{
    snap_meta_done(&r->snap->newest);
    r->snap->newest = *m;
    *m = (struct snap_meta){ 0 };
}

/* In the order of the log's appends: the record of the install is durable. */
static void put_installed(struct rep *r, void *ctx)
{
    /* A failed rename has ended the process; only a test that closes the node comes by here then.
     */
    struct snap_put *p = ctx;
    uint64_t index = p->meta.index;

    put_newest(r, &p->meta);
    p->cb(p->req, 0);
    if (r->raft.state == RAFT_UNAVAILABLE) {
        raft_free(p->core_bufs); /* the core forgets it when it is being closed */
    }
    wal_drop(r->wal, index);
    free(p);
}

static void put_done(struct rep_job *job)
{
    struct snap_put *p = CONTAINER_OF(job, struct snap_put, job);
    struct rep *r = p->rep;
    uint64_t index = p->meta.index;

    if (p->rc != 0) {
        rep_die(r, p->err.msg);
    }
    if (p->install) {
        wal_add_reset(r->wal, p->meta.index, p->meta.term);
        rep_io_after(r, put_installed, p);
        return;
    }
    put_newest(r, &p->meta);
    lg_info("raft", "index=%" PRIu64 " bytes=%" PRIu64 " msg=\"snapshot taken\"", index,
            r->snap->newest.size);
    rep_enter(r);
    p->cb(p->req, 0);
    rep_leave(r);
    wal_drop(r->wal, index > p->trailing ? index - p->trailing : 0);
    free(p);
}

int rep_snap_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                 const struct raft_snapshot *snap, raft_io_snapshot_put_cb cb)
{
    struct rep *r = io->impl;
    struct snap_put *p = OBJ_NEW(struct snap_put);
    struct snap_take *t = r->snap->take;
    const char *spool;

    *p = (struct snap_put){ .rep = r, .req = req, .cb = cb, .trailing = trailing };
    p->clean = r->snap->pins == 0;
    p->job = (struct rep_job){ .run = put_run, .done = put_done };
    req->cb = cb;
    if (t != NULL && t->meta.index == snap->index && t->meta.term == snap->term) {
        snap_meta_copy(&t->meta, &p->meta);
    } else {
        spool = rep_spool_take(r, snap->index, snap->term);
        CHECK(spool != NULL);
        p->install = true;
        p->core_bufs = snap->bufs;
        (void)str_copy(p->spool, sizeof(p->spool), spool);
        snap_meta_copy(rep_spool_meta(r), &p->meta);
    }
    r->env.submit(r->env.ctx, REP_LANE_FILE, &p->job);
    return 0;
}

/* --- giving it to the core for a peer --- */

static void get_run(struct rep *r, void *ctx)
{
    struct raft_io_snapshot_get *req = ctx;

    req->cb(req, rep_snap_core(&r->snap->newest), 0);
}

int rep_snap_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct rep *r = io->impl;

    if (r->snap->newest.index == 0) {
        return RAFT_NOTFOUND;
    }
    req->cb = cb;
    rep_io_later(r, get_run, req);
    return 0;
}

void rep_snap_done(struct rep *r)
{
    rep_spool_done(r);
    snap_meta_done(&r->snap->newest);
    free(r->snap);
    r->snap = NULL;
}
