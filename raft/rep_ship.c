#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/rep_snap.h"

/* Sending a snapshot: the file as it is, in pieces, at the pace of the receiver.
 *
 *   OFFER  session u64, term u64, index u64, last term u64, conf_index u64, size u64, sha256[32],
 *          conf bytes u32, configuration
 *   WANT   session u64, offset u64     "I have everything before; go on"
 *   DATA   session u64, offset u64, bytes
 *   DONE   session u64, code u32       0: verified and given to the receiver's core
 *
 * At most SHIP_AHEAD bytes are on their way beyond the last WANT.  A broken link ends the session;
 * the core tries again, and the receiver goes on where it was. */

#define SHIP_PIECE (256u << 10)
#define SHIP_AHEAD (4u * SHIP_PIECE)

struct rep_ship {
    struct rep_job job; /* reading one piece */
    struct rep *rep;
    uint64_t to;
    uint64_t session;
    struct raft_io_send *req; /* NULL: the session is over, only the job is waited for */
    raft_io_send_cb cb;
    struct snap_meta meta;
    struct rep_file *file;
    uint64_t sent, want; /* offsets */
    bool reading, wanted;
    uint64_t active_ms; /* when the receiver was last heard of it */
    size_t n;
    uint8_t *piece; /* SHIP_PIECE */
    struct err err;
    int rc;
};

static void ship_free(struct rep_ship *s)
{
    s->rep->snap->pins--;
    s->rep->env.disk->close(s->rep->env.disk, s->file);
    snap_meta_done(&s->meta);
    free(s->piece);
    free(s);
}

/* The session is over; outside the core. */
static void ship_end(struct rep *r, struct rep_ship *s, int status)
{
    struct rep_peer *p = rep_peer(r, s->to);
    struct raft_io_send *req = s->req;

    if (p != NULL && p->ship == s) {
        p->ship = NULL;
    }
    s->req = NULL;
    rep_io_complete(r, req, s->cb, status);
    if (!s->reading) {
        ship_free(s);
    }
}

static void ship_run(struct rep_job *job)
{
    struct rep_ship *s = CONTAINER_OF(job, struct rep_ship, job);
    struct rep_disk *d = s->rep->env.disk;

    if (s->file == NULL) {
        s->rc = d->open(d, s->meta.name, REP_OPEN_READ, &s->file, &s->err);
    }
    if (s->rc == 0) {
        s->rc = d->read(d, s->file, s->sent, s->piece, s->n, &s->err);
    }
}

static void ship_go_on(struct rep_ship *s);

static void ship_done(struct rep_job *job)
{
    struct rep_ship *s = CONTAINER_OF(job, struct rep_ship, job);
    struct rep *r = s->rep;
    size_t at;

    s->reading = false;
    if (s->req == NULL) {
        ship_free(s);
        return;
    }
    if (s->rc != 0) {
        lg_warn("raft", "peer=%" PRIu64 " msg=\"cannot send the snapshot\" err=\"%s\"", s->to,
                s->err.msg);
        rep_enter(r);
        ship_end(r, s, RAFT_IOERR);
        rep_leave(r);
        return;
    }
    at = frame_begin(&r->frame, FRAME_SNAP_DATA);
    buf_add_u64(&r->frame, s->session);
    buf_add_u64(&r->frame, s->sent);
    buf_add(&r->frame, s->piece, s->n);
    frame_end(&r->frame, at);
    (void)rep_send(r, s->to);
    s->sent += s->n;
    ship_go_on(s);
}

static void ship_go_on(struct rep_ship *s)
{
    uint64_t end = s->want + SHIP_AHEAD;

    if (!s->wanted || s->reading || s->sent >= s->meta.size || s->sent >= end) {
        return;
    }
    s->n = s->meta.size - s->sent < SHIP_PIECE ? (size_t)(s->meta.size - s->sent) : SHIP_PIECE;
    s->reading = true;
    s->job = (struct rep_job){ .run = ship_run, .done = ship_done };
    s->rep->env.submit(s->rep->env.ctx, REP_LANE_FILE, &s->job);
}

static void ship_offer(struct rep *r, const struct rep_ship *s,
                       const struct raft_install_snapshot *a)
{
    const struct snap_meta *m = &s->meta;
    size_t at = frame_begin(&r->frame, FRAME_SNAP_OFFER);

    buf_add_u64(&r->frame, s->session);
    buf_add_u64(&r->frame, a->term);
    buf_add_u64(&r->frame, m->index);
    buf_add_u64(&r->frame, m->term);
    buf_add_u64(&r->frame, m->conf_index);
    buf_add_u64(&r->frame, m->size);
    buf_add(&r->frame, m->hash, SNAP_HASH);
    buf_add_u32(&r->frame, (uint32_t)m->conf.len);
    buf_add(&r->frame, m->conf.base, m->conf.len);
    frame_end(&r->frame, at);
    (void)rep_send(r, s->to);
}

bool rep_ship_send(struct rep *r, struct raft_io_send *req, const struct raft_message *msg,
                   raft_io_send_cb cb)
{
    const struct raft_install_snapshot *a = &msg->install_snapshot;
    struct rep_peer *p = rep_peer(r, msg->server_id);
    struct rep_ship *s;

    if (p == NULL || p->ship != NULL || !rep_can_send(r, msg->server_id) ||
        a->last_index != r->snap->newest.index) {
        return false;
    }
    rep_pump_reset(p);
    s = OBJ_NEW(struct rep_ship);
    s->rep = r;
    s->to = msg->server_id;
    s->session = ++r->next_tag;
    s->req = req;
    s->cb = cb;
    s->active_ms = rep_now(r);
    s->piece = mem_alloc(SHIP_PIECE);
    snap_meta_copy(&r->snap->newest, &s->meta);
    r->snap->pins++;
    p->ship = s;
    ship_offer(r, s, a);
    lg_info("raft",
            "peer=%" PRIu64 " index=%" PRIu64 " bytes=%" PRIu64 " msg=\"sending a snapshot\"",
            s->to, s->meta.index, s->meta.size);
    return true;
}

static struct rep_ship *ship_find(struct rep *r, uint64_t from, uint64_t session)
{
    struct rep_peer *p = rep_peer(r, from);

    return p != NULL && p->ship != NULL && p->ship->session == session ? p->ship : NULL;
}

void rep_ship_want(struct rep *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    uint64_t session = rd_u64(&rd), offset = rd_u64(&rd);
    struct rep_ship *s = ship_find(r, from, session);
    struct raft_progress *progress = rep_progress(r, from);

    if (rd.bad || s == NULL || offset > s->meta.size) {
        return;
    }
    if (!s->wanted) {
        s->wanted = true;
        s->sent = offset;
    }
    s->want = offset;
    s->active_ms = rep_now(r);
    if (progress != NULL) {
        /* It gets on: the core's time-out is for receivers that do not. */
        progress->snapshot_last_send = rep_now(r);
    }
    ship_go_on(s);
}

void rep_ship_over(struct rep *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    uint64_t session = rd_u64(&rd);
    uint32_t code = rd_u32(&rd);
    struct rep_ship *s = ship_find(r, from, session);

    if (rd.bad || s == NULL) {
        return;
    }
    rep_enter(r);
    ship_end(r, s, code == 0 ? 0 : RAFT_CANCELED);
    rep_leave(r);
}

void rep_ship_down(struct rep *r, uint64_t id)
{
    struct rep_peer *p = rep_peer(r, id);

    if (p != NULL && p->ship != NULL) {
        rep_enter(r);
        ship_end(r, p->ship, RAFT_NOCONNECTION);
        rep_leave(r);
    }
}

/* The core's own time-out is longer, so that it finds the way free. */
void rep_ship_tick(struct rep *r, uint64_t now)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        struct rep_ship *s = r->peers[i]->ship;

        if (s != NULL && now - s->active_ms >= 10ULL * r->params.election_ms) {
            rep_enter(r);
            ship_end(r, s, RAFT_NOCONNECTION);
            rep_leave(r);
        }
    }
}

void rep_ship_drop(struct rep *r, struct rep_peer *p)
{
    if (p->ship != NULL) {
        ship_end(r, p->ship, RAFT_CANCELED);
    }
}

void rep_ship_stop(struct rep *r)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        rep_ship_drop(r, r->peers[i]);
    }
}
