#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "raft/rep_snap.h"

/* raft_io on the write-ahead log and the peers.
 *
 * Nothing here waits.  Term and vote are records of the log like entries; what could tell another
 * node of them is held back until they are durable (rep_send), instead of stopping the loop for an
 * fsync. Sends copy and are completed when the core has returned, since it goes on using the
 * request after raft_io.send. */

static struct rep *rep_of_io(struct raft_io *io)
{
    return io->impl;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    rep_io_done(rep_of_io(io));
    cb(io);
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct rep *r = rep_of_io(io);

    (void)msecs;
    r->tick_cb = tick;
    r->recv_cb = recv;
    return 0;
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)io;
    (void)conf;
    return RAFT_INVALID; /* rep_bootstrap writes the log itself */
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct rep *r = rep_of_io(io);

    r->io_term = term;
    wal_add_meta(r->wal, term, 0);
    r->meta_pos = wal_pos(r->wal);
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    struct rep *r = rep_of_io(io);

    wal_add_meta(r->wal, r->io_term, id);
    r->meta_pos = wal_pos(r->wal);
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    wal_add_truncate(rep_of_io(io)->wal, index);
    return 0;
}

static struct rep_append *io_push_append(struct rep *r)
{
    struct rep_append *a = r->append_pool;

    if (a == NULL) {
        a = OBJ_NEW(struct rep_append);
    } else {
        r->append_pool = a->next;
    }
    *a = (struct rep_append){ .pos = wal_pos(r->wal) };
    *r->appends_end = a;
    r->appends_end = &a->next;
    return a;
}

static int io_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct rep *r = rep_of_io(io);
    /* The entries are always the last ones of the core's log. */
    raft_index index = raft_last_index(&r->raft) - n + 1;

    for (unsigned i = 0; i < n; i++) {
        wal_add_entry(r->wal, index + i, entries[i].term, (uint8_t)entries[i].type,
                      entries[i].buf.base, entries[i].buf.len);
    }
    req->cb = cb;
    io_push_append(r)->req = req;
    return 0;
}

void rep_io_after(struct rep *r, void (*fn)(struct rep *r, void *ctx), void *ctx)
{
    struct rep_append *a = io_push_append(r);

    a->after = fn;
    a->ctx = ctx;
}

static void io_run_append(struct rep *r, struct rep_append *a)
{
    if (a->req != NULL) {
        a->req->cb(a->req, 0);
    } else {
        a->after(r, a->ctx);
    }
}

static struct rep_append *io_pop_append(struct rep *r)
{
    struct rep_append *a = r->appends;

    r->appends = a->next;
    if (r->appends == NULL) {
        r->appends_end = &r->appends;
    }
    return a;
}

static void io_release_held(struct rep *r)
{
    while (r->held != NULL && r->held->pos <= wal_durable(r->wal)) {
        struct rep_held *h = r->held;

        r->held = h->next;
        if (r->held == NULL) {
            r->held_end = &r->held;
        }
        (void)r->env.net_send(r->env.ctx, h->to, h->data, h->len);
        free(h);
    }
}

void rep_io_durable(struct rep *r)
{
    if (r->dead) {
        return;
    }
    if (r->cut_pos != 0) {
        if (wal_durable(r->wal) >= r->cut_pos) {
            rep_die(r, "the log contradicted the leader's snapshot and was cut; start again");
        }
        return;
    }
    io_release_held(r);
    while (r->appends != NULL && r->appends->pos <= wal_durable(r->wal) && !r->dead) {
        struct rep_append *a = io_pop_append(r);

        rep_enter(r);
        io_run_append(r, a);
        rep_leave(r);
        a->next = r->append_pool;
        r->append_pool = a;
    }
}

/* --- sending --- */

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *msg,
                   raft_io_send_cb cb)
{
    struct rep *r = rep_of_io(io);
    int status = 0;

    req->cb = cb;
    if (msg->type == RAFT_IO_APPEND_ENTRIES) {
        status = rep_pump_append(r, msg);
    } else if (msg->type == RAFT_IO_INSTALL_SNAPSHOT) {
        if (rep_ship_send(r, req, msg, cb)) {
            return 0;
        }
        status = RAFT_NOCONNECTION;
    } else {
        frame_raft(&r->frame, msg);
        status = rep_send(r, msg->server_id) ? 0 : RAFT_NOCONNECTION;
    }
    if (cb != NULL) {
        rep_io_complete(r, req, cb, status);
    }
    return 0;
}

static struct rep_sent *io_push_sent(struct rep *r)
{
    if (r->n_sent == r->cap_sent) {
        r->cap_sent = r->cap_sent == 0 ? 64 : r->cap_sent * 2;
        r->sent = mem_realloc(r->sent, r->cap_sent * sizeof(*r->sent));
    }
    return &r->sent[r->n_sent++];
}

void rep_io_complete(struct rep *r, struct raft_io_send *req, raft_io_send_cb cb, int status)
{
    *io_push_sent(r) = (struct rep_sent){ .req = req, .cb = cb, .status = status };
}

void rep_io_later(struct rep *r, void (*fn)(struct rep *r, void *ctx), void *ctx)
{
    *io_push_sent(r) = (struct rep_sent){ .later = fn, .ctx = ctx };
}

void rep_io_sent(struct rep *r)
{
    for (size_t i = 0; i < r->n_sent; i++) {
        /* A copy: the callback may send and so move the array. */
        struct rep_sent s = r->sent[i];

        if (s.req != NULL) {
            s.cb(s.req, s.status);
        } else {
            s.later(r, s.ctx);
        }
    }
    r->n_sent = 0;
}

/* --- the rest --- */

static raft_time io_time(struct raft_io *io)
{
    return rep_now(rep_of_io(io));
}

static int io_random(struct raft_io *io, int min, int max)
{
    struct rep *r = rep_of_io(io);

    CHECK(max > min);
    return min + (int)(r->env.random(r->env.ctx) % (uint64_t)(max - min));
}

void rep_io_init(struct rep *r)
{
    r->appends_end = &r->appends;
    r->held_end = &r->held;
    r->io = (struct raft_io){
        .version = 2,
        .impl = r,
        .init = io_init,
        .close = io_close,
        .load = rep_load_core,
        .start = io_start,
        .bootstrap = io_bootstrap,
        .recover = io_bootstrap,
        .set_term = io_set_term,
        .set_vote = io_set_vote,
        .send = io_send,
        .append = io_append,
        .truncate = io_truncate,
        .snapshot_put = rep_snap_put,
        .snapshot_get = rep_snap_get,
        .time = io_time,
        .random = io_random,
        .async_work = rep_snap_work,
    };
}

/* The core is being closed and ignores what it is told: give its memory back. */
void rep_io_done(struct rep *r)
{
    rep_ship_stop(r);
    r->env.close(r->env.ctx);
    rep_io_sent(r);
    while (r->appends != NULL) {
        struct rep_append *a = io_pop_append(r);

        io_run_append(r, a);
        free(a);
    }
    rep_io_sent(r);
    while (r->append_pool != NULL) {
        struct rep_append *a = r->append_pool;

        r->append_pool = a->next;
        free(a);
    }
    while (r->held != NULL) {
        struct rep_held *h = r->held;

        r->held = h->next;
        free(h);
    }
    free(r->sent);
    r->sent = NULL;
    r->n_sent = r->cap_sent = 0;
}
