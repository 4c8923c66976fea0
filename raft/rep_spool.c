#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/rep_snap.h"

/* Receiving a snapshot: the pieces go to a file beside, which is verified as a whole and only then
 * shown to the core, as one InstallSnapshot.  After a broken link the same snapshot goes on where
 * it was, from whichever leader offers it. */

#define SPOOL_NAME "receive.tmp"
#define SPOOL_PENDING (2u << 20) /* more than a sender may have on its way */

enum spool_state {
    SPOOL_OPEN,   /* pieces come in */
    SPOOL_VERIFY, /* being read back */
    SPOOL_READY,  /* may be given to the core */
    SPOOL_TAKEN,  /* the core has it */
};

struct rep_spool {
    struct rep_job job;
    struct rep *rep;
    enum spool_state state;
    uint64_t from, session, term; /* of the last offer */
    struct snap_meta meta;
    struct rep_file *file;
    uint64_t offset; /* written */
    struct buf pending, writing;
    bool busy;
    bool over; /* to be freed when the job is done */
    struct err err;
    int rc;
};

static void spool_free(struct rep_spool *s)
{
    struct rep_disk *d = s->rep->env.disk;

    d->close(d, s->file);
    snap_meta_done(&s->meta);
    buf_done(&s->pending);
    buf_done(&s->writing);
    free(s);
}

/* Forget it; the file is overwritten by the next one. */
static void spool_drop(struct rep *r)
{
    struct rep_spool *s = r->snap->spool;

    r->snap->spool = NULL;
    if (s->busy) {
        s->over = true;
    } else {
        spool_free(s);
    }
}

static void spool_send(struct rep *r, const struct rep_spool *s, enum frame_kind kind, uint64_t v)
{
    size_t at = frame_begin(&r->frame, kind);

    buf_add_u64(&r->frame, s->session);
    if (kind == FRAME_SNAP_WANT) {
        buf_add_u64(&r->frame, v);
    } else {
        buf_add_u32(&r->frame, (uint32_t)v);
    }
    frame_end(&r->frame, at);
    (void)rep_send(r, s->from);
}

/* --- writing --- */

/* A whole snapshot, but is it the one that was offered? */
static int spool_compare(struct rep_spool *s)
{
    const struct snap_meta *o = &s->meta;
    struct snap_meta m;
    int rc = snapfile_meta(s->rep->env.disk, SPOOL_NAME, &m, &s->err);

    if (rc != 0) {
        return rc;
    }
    if (m.index != o->index || m.term != o->term || m.conf_index != o->conf_index ||
        m.size != o->size || memcmp(m.hash, o->hash, SNAP_HASH) != 0 || m.conf.len != o->conf.len ||
        memcmp(m.conf.base, o->conf.base, m.conf.len) != 0) {
        rc = err_set(&s->err, ERR_CORRUPT, "the snapshot is not the one that was offered");
    }
    snap_meta_done(&m);
    return rc;
}

static void spool_run(struct rep_job *job)
{
    struct rep_spool *s = CONTAINER_OF(job, struct rep_spool, job);
    struct rep_disk *d = s->rep->env.disk;

    if (s->state == SPOOL_VERIFY) {
        s->rc = d->sync(d, s->file, &s->err);
        if (s->rc == 0) {
            s->rc = snapfile_verify(d, SPOOL_NAME, &s->err);
        }
        if (s->rc == 0) {
            s->rc = spool_compare(s);
        }
        return;
    }
    if (s->file == NULL) {
        s->rc = d->open(d, SPOOL_NAME, REP_OPEN_NEW, &s->file, &s->err);
    }
    if (s->rc == 0) {
        s->rc = d->write(d, s->file, s->offset, s->writing.data, s->writing.len, false, &s->err);
    }
}

static void spool_go_on(struct rep_spool *s);

static void spool_written(struct rep_spool *s)
{
    s->offset += s->writing.len;
    buf_clear(&s->writing);
    spool_send(s->rep, s, FRAME_SNAP_WANT, s->offset);
    if (s->offset == s->meta.size) {
        s->state = SPOOL_VERIFY;
    }
    spool_go_on(s);
}

static void spool_done(struct rep_job *job)
{
    struct rep_spool *s = CONTAINER_OF(job, struct rep_spool, job);

    s->busy = false;
    if (s->over) {
        spool_free(s);
        return;
    }
    if (s->rc != 0) {
        lg_warn("raft", "msg=\"receiving a snapshot failed\" err=\"%s\"", s->err.msg);
        spool_send(s->rep, s, FRAME_SNAP_DONE, 1);
        spool_drop(s->rep);
        return;
    }
    if (s->state == SPOOL_VERIFY) {
        s->state = SPOOL_READY;
    } else {
        spool_written(s);
    }
}

static void spool_go_on(struct rep_spool *s)
{
    struct buf swap = s->pending;

    if (s->busy || (s->state != SPOOL_VERIFY && s->pending.len == 0)) {
        return;
    }
    if (s->state == SPOOL_OPEN) {
        s->pending = s->writing;
        s->writing = swap;
    }
    s->busy = true;
    s->job = (struct rep_job){ .run = spool_run, .done = spool_done };
    s->rep->env.submit(s->rep->env.ctx, REP_LANE_FILE, &s->job);
}

/* --- frames --- */

static bool offer_decode(struct rep_spool *s, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    const uint8_t *hash, *conf;
    size_t n;

    s->session = rd_u64(&rd);
    s->term = rd_u64(&rd);
    s->meta.index = rd_u64(&rd);
    s->meta.term = rd_u64(&rd);
    s->meta.conf_index = rd_u64(&rd);
    s->meta.size = rd_u64(&rd);
    hash = rd_bytes(&rd, SNAP_HASH);
    n = rd_u32(&rd);
    conf = rd_bytes(&rd, n);
    if (rd.bad || rd_left(&rd) != 0 || n > SNAP_CONF_MAX || !conf_valid(conf, n) ||
        s->meta.index == 0 || s->meta.term == 0 || s->meta.size == 0 || s->term == 0) {
        return false;
    }
    memcpy(s->meta.hash, hash, SNAP_HASH);
    s->meta.conf.base = raft_malloc(n);
    CHECK(s->meta.conf.base != NULL);
    memcpy(s->meta.conf.base, conf, n);
    s->meta.conf.len = n;
    snap_name(s->meta.index, s->meta.term, s->meta.name);
    return true;
}

static bool spool_same(const struct rep_spool *a, const struct rep_spool *b)
{
    return a->meta.index == b->meta.index && a->meta.term == b->meta.term &&
           a->meta.size == b->meta.size && memcmp(a->meta.hash, b->meta.hash, SNAP_HASH) == 0;
}

void rep_spool_offer(struct rep *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct rep_spool *s = OBJ_NEW(struct rep_spool), *have = r->snap->spool;

    s->rep = r;
    s->from = from;
    if (!offer_decode(s, data, len)) {
        lg_warn("raft", "peer=%" PRIu64 " msg=\"malformed offer of a snapshot\"", from);
        spool_free(s);
        return;
    }
    if (s->term < r->raft.current_term || (have != NULL && have->state == SPOOL_TAKEN)) {
        spool_send(r, s, FRAME_SNAP_DONE, 1);
        spool_free(s);
        return;
    }
    if (have != NULL && spool_same(have, s)) {
        have->from = from;
        have->session = s->session;
        have->term = s->term;
        buf_clear(&have->pending);
        spool_free(s);
        /* What is being written now is told when it is done. */
        if (!have->busy) {
            spool_send(r, have, FRAME_SNAP_WANT, have->offset);
        }
        return;
    }
    if (have != NULL && have->busy) {
        spool_send(r, s, FRAME_SNAP_DONE, 1); /* the file is still in use: later */
        spool_free(s);
        return;
    }
    if (have != NULL) {
        spool_drop(r);
    }
    r->snap->spool = s;
    spool_send(r, s, FRAME_SNAP_WANT, 0);
}

void rep_spool_data(struct rep *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    uint64_t session = rd_u64(&rd), offset = rd_u64(&rd);
    struct rep_spool *s = r->snap->spool;
    size_t n = rd_left(&rd);

    if (rd.bad || s == NULL || s->from != from || s->session != session || s->state != SPOOL_OPEN) {
        return;
    }
    if (offset != s->offset + s->writing.len + s->pending.len || n > s->meta.size - offset ||
        s->pending.len + n > SPOOL_PENDING) {
        lg_warn("raft", "peer=%" PRIu64 " msg=\"a piece of a snapshot out of place\"", from);
        spool_send(r, s, FRAME_SNAP_DONE, 1);
        s->session = 0;
        return;
    }
    buf_add(&s->pending, rd.p + rd.pos, n);
    spool_go_on(s);
}

/* --- to the core --- */

void rep_spool_step(struct rep *r)
{
    struct rep_spool *s = r->snap->spool;
    struct raft_message msg = { .type = RAFT_IO_INSTALL_SNAPSHOT };
    struct raft_install_snapshot *a = &msg.install_snapshot;
    char address[REP_ADDRESS_MAX + 64];

    if (s == NULL || s->state != SPOOL_READY || r->guard.n_appends > 0 || r->guard.n_puts > 0 ||
        r->raft.snapshot.pending.term != 0 || r->cut_pos != 0) {
        return;
    }
    msg.server_id = s->from;
    msg.server_address = rep_address(r, s->from, address, sizeof(address));
    a->term = s->term;
    a->last_index = s->meta.index;
    a->last_term = s->meta.term;
    a->conf_index = s->meta.conf_index;
    CHECK(conf_decode(s->meta.conf.base, s->meta.conf.len, &a->conf));
    rep_snap_desc(s->meta.index, s->meta.term, &a->data);
    spool_send(r, s, FRAME_SNAP_DONE, 0);
    rep_enter(r);
    rep_apply_all(r); /* the core drops its log */
    r->recv_cb(&r->io, &msg);
    rep_leave(r);
    spool_drop(r);
}

/* Verifying a large one takes long: tell the sender that we are still at it. */
void rep_spool_tick(struct rep *r)
{
    struct rep_spool *s = r->snap->spool;

    if (s != NULL && (s->state == SPOOL_VERIFY || s->state == SPOOL_READY)) {
        spool_send(r, s, FRAME_SNAP_WANT, s->offset);
    }
}

const char *rep_spool_take(struct rep *r, uint64_t index, uint64_t term)
{
    struct rep_spool *s = r->snap->spool;

    if (s == NULL || s->state != SPOOL_READY || s->meta.index != index || s->meta.term != term) {
        return NULL;
    }
    s->state = SPOOL_TAKEN;
    return SPOOL_NAME;
}

const struct snap_meta *rep_spool_meta(const struct rep *r)
{
    return &r->snap->spool->meta;
}

void rep_spool_done(struct rep *r)
{
    if (r->snap->spool != NULL) {
        spool_free(r->snap->spool);
        r->snap->spool = NULL;
    }
}
