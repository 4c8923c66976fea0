#include "raft/guard.h"

#include <string.h>

#include "base/obj.h"
#include "raft/conf_codec.h"
#include "raft/guard_priv.h"

struct guard_append { /* an append on its way through the base */
    struct raft_io_append req;
    struct raft_io_append *core_req;
    raft_io_append_cb core_cb;
    struct guard *guard;
    raft_term term;
};

struct guard_put {
    struct raft_io_snapshot_put req;
    struct raft_io_snapshot_put *core_req;
    raft_io_snapshot_put_cb core_cb;
    struct guard *guard;
    struct raft_configuration conf;
    raft_index conf_index;
};

struct guard *guard_of(struct raft_io *io)
{
    struct raft *r = io->data;

    return r->data;
}

void guard_fail(struct guard *g, const char *why)
{
    g->hooks.on_fail(g->hooks.ctx, why);
}

/* --- rule 1: a barrier at the start of each term --- */

static void guard_barrier_cb(struct raft_barrier *req, int status)
{
    struct guard *g = CONTAINER_OF(req, struct guard, barrier);

    g->barrier_running = false;
    if (status == 0 && g->barrier_term == g->raft->current_term) {
        g->ready_term = g->barrier_term;
        g->hooks.on_ready(g->hooks.ctx, g->ready_term);
    }
}

void guard_after(struct guard *g)
{
    struct raft *r = g->raft;

    if (r->configuration_uncommitted_index != 0 &&
        r->configuration_uncommitted_index <= r->last_applied) {
        /* Rule 19: an installed snapshot has passed it. */
        r->configuration_uncommitted_index = 0;
        g->stats.confs_settled++;
    }
    if (r->state != RAFT_LEADER || g->barrier_term == r->current_term) {
        return;
    }
    CHECK(!g->barrier_running);
    g->n_stash = 0;
    g->barrier_running = true;
    /* Refused while an old transfer is pending: tried again after the next event. */
    if (raft_barrier(r, &g->barrier, guard_barrier_cb) != 0) {
        g->barrier_running = false;
        return;
    }
    g->barrier_term = r->current_term;
}

bool guard_ready(const struct guard *g)
{
    return g->raft->state == RAFT_LEADER && g->ready_term == g->raft->current_term;
}

/* --- time --- */

void guard_forget_leader(struct guard *g)
{
    struct raft *r = g->raft;

    if (r->state == RAFT_FOLLOWER && r->follower_state.current_leader.id != 0 &&
        r->io->time(r->io) - r->election_timer_start >= r->election_timeout) {
        r->follower_state.current_leader.id = 0;
    }
}

/* Rule 22: a candidate that won the pre-vote but not the vote asks for the pre-vote again; the core
 * would raise its term with every time-out from then on, and depose the leader when it is heard. */
static void guard_ask_again(struct guard *g)
{
    struct raft *r = g->raft;

    if (r->state == RAFT_CANDIDATE && r->pre_vote && !r->candidate_state.in_pre_vote &&
        r->io->time(r->io) - r->election_timer_start >=
            r->candidate_state.randomized_election_timeout) {
        r->candidate_state.in_pre_vote = true;
        r->candidate_state.disrupt_leader = false;
        g->stats.elections_asked_again++;
    }
}

static void guard_tick(struct raft_io *io)
{
    struct guard *g = guard_of(io);
    struct raft *r = g->raft;

    if (g->off) {
        g->core_tick(io);
        return;
    }
    if ((g->n_appends > 0 || g->n_puts > 0) &&
        (r->state == RAFT_FOLLOWER || r->state == RAFT_CANDIDATE)) {
        r->election_timer_start = r->io->time(r->io);
        g->stats.timeouts_held++;
    }
    guard_forget_leader(g);
    guard_ask_again(g);
    g->core_tick(io);
    guard_after(g);
}

static int guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    struct guard *g = guard_of(io);

    g->core_tick = tick;
    g->core_recv = recv;
    return g->base_start(io, msecs, guard_tick, guard_recv);
}

/* --- what goes out --- */

static int guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *msg,
                      raft_io_send_cb cb)
{
    struct guard *g = guard_of(io);
    struct raft *r = g->raft;
    struct raft_message copy;
    raft_index limit;

    if (g->off || msg->type != RAFT_IO_APPEND_ENTRIES_RESULT) {
        return g->base_send(io, req, msg, cb);
    }
    if (g->mute) {
        g->stats.acks_muted++;
        req->cb = cb;
        cb(req, RAFT_CANCELED); /* the core only frees the request */
        return 0;
    }
    limit = g->match_term == r->current_term ? g->match : 0;
    if (msg->append_entries_result.rejected != 0 ||
        msg->append_entries_result.last_log_index <= limit) {
        return g->base_send(io, req, msg, cb);
    }
    g->stats.acks_clamped++;
    copy = *msg;
    copy.append_entries_result.last_log_index = limit;
    return g->base_send(io, req, &copy, cb);
}

static void guard_append_cb(struct raft_io_append *req, int status)
{
    struct guard_append *a = CONTAINER_OF(req, struct guard_append, req);
    struct guard *g = a->guard;

    CHECK(g->n_appends > 0);
    g->n_appends--;
    g->mute = !g->off && a->term != g->raft->current_term;
    a->core_cb(a->core_req, status);
    g->mute = false;
    raft_free(a);
    if (!g->off) {
        guard_unstash(g);
        guard_after(g);
    }
}

static int guard_append(struct raft_io *io, struct raft_io_append *req,
                        const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct guard *g = guard_of(io);
    struct guard_append *a = raft_malloc(sizeof(*a));
    int rv;

    CHECK(a != NULL);
    *a = (struct guard_append){ .core_req = req, .core_cb = cb, .guard = g };
    a->term = g->raft->current_term;
    req->cb = cb;
    g->n_appends++;
    rv = g->base_append(io, &a->req, entries, n, guard_append_cb);
    if (rv != 0) {
        g->n_appends--;
        raft_free(a);
    }
    return rv;
}

/* --- snapshots --- */

static void guard_put_cb(struct raft_io_snapshot_put *req, int status)
{
    struct guard_put *p = CONTAINER_OF(req, struct guard_put, req);
    struct guard *g = p->guard;

    CHECK(g->n_puts > 0);
    g->n_puts--;
    if (status == 0) {
        guard_set_snapshot_conf(g, &p->conf, p->conf_index);
    }
    p->core_cb(p->core_req, status);
    raft_configuration_close(&p->conf);
    raft_free(p);
    if (!g->off) {
        guard_after(g);
    }
}

static int guard_snapshot_put(struct raft_io *io, unsigned trailing,
                              struct raft_io_snapshot_put *req, const struct raft_snapshot *snap,
                              raft_io_snapshot_put_cb cb)
{
    struct guard *g = guard_of(io);
    struct guard_put *p = raft_malloc(sizeof(*p));
    int rv;

    CHECK(p != NULL);
    *p = (struct guard_put){ .core_req = req, .core_cb = cb, .guard = g };
    conf_copy(&snap->configuration, &p->conf);
    p->conf_index = snap->configuration_index;
    req->cb = cb;
    g->n_puts++;
    rv = g->base_snapshot_put(io, trailing, &p->req, snap, guard_put_cb);
    if (rv != 0) {
        g->n_puts--;
        raft_configuration_close(&p->conf);
        raft_free(p);
    }
    return rv;
}

/* --- transfer --- */

int guard_transfer(struct guard *g, raft_id id, raft_transfer_cb cb)
{
    struct raft *r = g->raft;
    raft_index last = raft_last_index(r);

    for (unsigned i = 0; r->state == RAFT_LEADER && i < r->configuration.n; i++) {
        if (r->configuration.servers[i].id == id &&
            (g->n_appends > 0 || r->leader_state.progress[i].match_index != last)) {
            return RAFT_BUSY;
        }
    }
    return raft_transfer(r, &g->transfer, id, cb);
}

/* --- set-up --- */

void guard_install(struct guard *g, struct raft *r, const struct guard_hooks *hooks)
{
    struct raft_io *io = r->io;

    *g = (struct guard){ .raft = r, .io = io, .hooks = *hooks, .off = g->off };
    raft_configuration_init(&g->snap_conf);
    r->data = g;
    g->base_start = io->start;
    g->base_send = io->send;
    g->base_append = io->append;
    g->base_snapshot_put = io->snapshot_put;
    io->start = guard_start;
    io->send = guard_send;
    io->append = guard_append;
    io->snapshot_put = guard_snapshot_put;
}

void guard_done(struct guard *g)
{
    raft_configuration_close(&g->snap_conf);
    raft_configuration_init(&g->snap_conf);
}

/* Rule 23: the only voter leads at once when it starts, in the term that it has been in.  It may
 * have led that term before and sent entries that it has lost since; stand-bys that hold them would
 * take the new ones at the same index and term for the same. */
static void guard_own_term(struct guard *g)
{
    struct raft *r = g->raft;
    raft_term term = r->current_term + 1;

    if (r->io->set_term(r->io, term) != 0 || r->io->set_vote(r->io, r->id) != 0) {
        guard_fail(g, "term and vote cannot be stored");
        return;
    }
    r->current_term = term;
    r->voted_for = r->id;
    g->stats.terms_raised++;
}

void guard_started(struct guard *g)
{
    struct raft *r = g->raft;

    if (!g->off && r->state == RAFT_LEADER) {
        guard_own_term(g);
    }

    /* Rule 7: the core takes the newest configuration of the log for committed. */
    if (!g->off && r->configuration_index > r->commit_index) {
        (void)guard_conf_before(g, raft_last_index(r) + 1);
    }
    guard_after(g);
}
