#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/rep_snap.h"

uint64_t rep_now(const struct rep *r)
{
    return r->env.now_ms(r->env.ctx);
}

void rep_die(struct rep *r, const char *why)
{
    if (!r->dead) {
        r->dead = true;
        r->env.die(r->env.ctx, why);
    }
}

/* --- around the core --- */

void rep_enter(struct rep *r)
{
    OBJ_CHECK(r, REP_MAGIC);
    CHECK(!r->in_core);
    r->in_core = true;
}

static void rep_role_changed(struct rep *r)
{
    struct rep_event *e;
    const char *address;
    raft_id leader;

    raft_leader(&r->raft, &leader, &address);
    if (r->raft.state == r->role_state && r->raft.current_term == r->role_term &&
        leader == r->role_leader) {
        return;
    }
    if (r->raft.state != r->role_state || r->raft.current_term != r->role_term) {
        rep_member_role(r);
        rep_ship_stop(r);
    }
    wal_here(r->wal, r->raft.state == RAFT_FOLLOWER);
    r->role_state = r->raft.state;
    r->role_term = r->raft.current_term;
    r->role_leader = leader;
    if (r->raft.state == RAFT_LEADER && r->lead_term != r->raft.current_term) {
        r->lead_term = r->raft.current_term;
        for (size_t i = 0; i < r->n_peers; i++) {
            rep_pump_reset(r->peers[i]);
        }
    }
    e = rep_event(r, EVENT_ROLE);
    e->a = (uint64_t)rep_role(r);
    e->b = r->raft.current_term;
    e->c = leader;
}

static void rep_peer_sync(struct rep *r, const struct raft_server *s)
{
    struct rep_peer *p = rep_peer(r, s->id);

    if (p == NULL) {
        CHECK(r->n_peers < CONF_SERVERS_MAX);
        p = OBJ_NEW(struct rep_peer);
        p->info.id = s->id;
        p->up = s->id != r->params.id && r->env.net_up(r->env.ctx, s->id);
        r->peers[r->n_peers++] = p;
    }
    if (!conf_split(s->address, &p->info)) {
        (void)str_copy(p->info.address, sizeof(p->info.address), s->address);
    }
    p->info.role = conf_role(s->role);
}

/* Who the members are, with all addresses that are known of them. */
static void rep_tell_members(struct rep *r)
{
    struct rep_peer_info infos[CONF_SERVERS_MAX];

    for (size_t i = 0; i < r->n_peers; i++) {
        const char *hint = r->peers[i]->hint;

        infos[i] = r->peers[i]->info;
        if (hint != NULL && hint[0] != 0) {
            size_t len = strlen(infos[i].address);

            (void)snprintf(infos[i].address + len, sizeof(infos[i].address) - len, ",%s", hint);
        }
    }
    r->env.net_members(r->env.ctx, infos, r->n_peers);
}

/* The configuration changed: members come and go. */
static void rep_peers_changed(struct rep *r)
{
    const struct raft_configuration *c = &r->raft.configuration;

    if (r->conf_servers == c->servers && r->conf_index == r->raft.configuration_index &&
        r->conf_uncommitted == r->raft.configuration_uncommitted_index && r->conf_n == c->n) {
        return;
    }
    r->conf_servers = c->servers;
    r->conf_index = r->raft.configuration_index;
    r->conf_uncommitted = r->raft.configuration_uncommitted_index;
    r->conf_n = c->n;
    for (unsigned i = 0; i < c->n; i++) {
        rep_peer_sync(r, &c->servers[i]);
    }
    for (size_t i = 0; i < r->n_peers; i++) {
        if (conf_get(c, r->peers[i]->info.id) == NULL) {
            rep_ship_drop(r, r->peers[i]);
            free(r->peers[i]->hint);
            free(r->peers[i]);
            r->peers[i--] = r->peers[--r->n_peers];
        }
    }
    rep_tell_members(r);
}

void rep_hint(struct rep *r, uint64_t id, const char *addresses)
{
    struct rep_peer *p = rep_peer(r, id);

    OBJ_CHECK(r, REP_MAGIC);
    if (p == NULL || r->dead || str_eq(p->hint == NULL ? "" : p->hint, addresses)) {
        return;
    }
    free(p->hint);
    p->hint = mem_strdup(addresses);
    rep_tell_members(r);
}

void rep_set_epoch(struct rep *r, uint64_t epoch)
{
    OBJ_CHECK(r, REP_MAGIC);
    if (r->env.net_epoch != NULL && !r->dead) {
        r->env.net_epoch(r->env.ctx, epoch);
    }
}

void rep_leave(struct rep *r)
{
    CHECK(r->in_core);
    rep_io_sent(r);
    r->in_core = false;
    if (r->dead) {
        return;
    }
    if (r->started && r->raft.state == RAFT_UNAVAILABLE) {
        char why[256];

        (void)snprintf(why, sizeof(why), "the raft core gave up: %s", raft_errmsg(&r->raft));
        rep_die(r, why);
        return;
    }
    rep_peers_changed(r);
    rep_role_changed(r);
}

struct rep_peer *rep_peer(const struct rep *r, uint64_t id)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        if (r->peers[i]->info.id == id) {
            return r->peers[i];
        }
    }
    return NULL;
}

struct raft_progress *rep_progress(struct rep *r, uint64_t id)
{
    const struct raft_configuration *c = &r->raft.configuration;

    for (unsigned i = 0; r->raft.state == RAFT_LEADER && i < c->n; i++) {
        if (c->servers[i].id == id) {
            return &r->raft.leader_state.progress[i];
        }
    }
    return NULL;
}

/* --- sending --- */

bool rep_can_send(const struct rep *r, uint64_t to)
{
    return r->env.net_up(r->env.ctx, to) && r->env.net_queued(r->env.ctx, to) < REP_WINDOW;
}

bool rep_send(struct rep *r, uint64_t to)
{
    struct rep_held *h;
    bool sent;

    CHECK(!r->frame.overflow);
    if (r->held == NULL && wal_durable(r->wal) >= r->meta_pos) {
        sent = r->env.net_send(r->env.ctx, to, r->frame.data, r->frame.len);
        buf_clear(&r->frame);
        return sent;
    }
    h = mem_alloc(sizeof(*h) + r->frame.len);
    h->to = to;
    h->pos = r->meta_pos;
    h->len = r->frame.len;
    memcpy(h->data, r->frame.data, h->len);
    *r->held_end = h;
    r->held_end = &h->next;
    buf_clear(&r->frame);
    return r->env.net_up(r->env.ctx, to);
}

/* --- events --- */

struct rep_event *rep_event(struct rep *r, enum rep_event_kind kind)
{
    if (r->n_events == r->cap_events) {
        r->cap_events = r->cap_events == 0 ? 64 : r->cap_events * 2;
        r->events = mem_realloc(r->events, r->cap_events * sizeof(*r->events));
    }
    r->events[r->n_events] = (struct rep_event){ .kind = kind };
    return &r->events[r->n_events++];
}

void rep_fail(struct rep *r, enum rep_req_kind kind, struct rep_req *req, void (*cb)(void),
              const struct err *err)
{
    struct rep_failure *f = OBJ_NEW(struct rep_failure);

    *f = (struct rep_failure){ .kind = kind, .req = req, .cb = cb, .err = *err };
    rep_event(r, EVENT_FAIL)->failure = f;
}

static void rep_run_failure(struct rep_failure *f)
{
    const struct err *err = f->err.code == 0 ? NULL : &f->err;

    switch (f->kind) {
    case REQ_PROPOSE:
        ((rep_propose_cb *)f->cb)(f->req, err, 0, NULL, 0);
        break;
    case REQ_READ:
        ((rep_read_cb *)f->cb)(f->req, err);
        break;
    case REQ_CALL:
        ((rep_call_cb *)f->cb)(f->req, err, NULL, 0);
        break;
    case REQ_CHANGE:
        ((rep_change_cb *)f->cb)(f->req, err);
        break;
    }
    free(f);
}

static void rep_run_event(struct rep *r, struct rep_event *e)
{
    const struct rep_events *ev = &r->params.events;

    switch (e->kind) {
    case EVENT_ROLE:
        if (ev->on_role != NULL) {
            ev->on_role(ev->ctx, (enum rep_role)e->a, e->b, e->c);
        }
        break;
    case EVENT_READY: /* behind all groups that were committed before it */
        r->ready_term = e->a;
        if (ev->on_lead_ready != NULL && guard_ready(&r->guard) && r->raft.current_term == e->a) {
            ev->on_lead_ready(ev->ctx, e->a);
        }
        break;
    case EVENT_APPLIED:
        rep_propose_applied(r, e);
        rep_forward_ready(r);
        if (ev->on_applied != NULL) {
            ev->on_applied(ev->ctx, e->a, e->b);
        }
        break;
    case EVENT_LOST:
        rep_propose_applied(r, e);
        break;
    case EVENT_FAIL:
    case EVENT_CHANGED:
        rep_run_failure(e->failure);
        break;
    case EVENT_CALL:
    case EVENT_REPLY:
        rep_call_event(r, e);
        break;
    }
}

/* Enough was applied in this step: the rest in another one, soon. */
static bool rep_slice_over(struct rep *r, const struct rep_event *e)
{
    size_t most = r->env.apply_slice == 0 ? REP_APPLY_SLICE : r->env.apply_slice;

    if (e->kind != EVENT_APPLIED || e->entry.base == NULL || r->slice < most ||
        r->env.step_in == NULL) {
        return false;
    }
    r->env.step_in(r->env.ctx, 0);
    return true;
}

/* False: nothing is left to do in this step. */
static bool rep_run_events(struct rep *r)
{
    bool any = r->n_events > 0;

    while (r->next_event < r->n_events && !r->dead) {
        struct rep_event *at = &r->events[r->next_event], e;

        if (rep_slice_over(r, at)) {
            return false;
        }
        if (at->kind == EVENT_APPLIED) {
            rep_apply_event(r, at);
        }
        /* A copy: the callback may add events and so move the array. */
        e = r->events[r->next_event++];
        rep_run_event(r, &e);
    }
    if (!r->dead) {
        r->n_events = 0;
        r->next_event = 0;
    }
    return any;
}

/* --- what the environment calls --- */

void rep_step(struct rep *r)
{
    OBJ_CHECK(r, REP_MAGIC);
    if (r->dead || r->stepping || !r->started) {
        return;
    }
    r->stepping = true;
    r->slice = 0;
    do {
        rep_propose_step(r);
        rep_forward_step(r);
        rep_read_step(r);
        rep_member_step(r);
        rep_spool_step(r);
        rep_pump_commit(r);
        wal_kick(r->wal);
    } while (!r->dead && rep_run_events(r) && !r->dead);
    if (!r->dead) {
        rep_shed(r);
    }
    r->stepping = false;
}

void rep_tick(struct rep *r)
{
    uint64_t now;

    OBJ_CHECK(r, REP_MAGIC);
    if (r->dead || !r->started || r->cut_pos != 0) {
        return;
    }
    now = rep_now(r);
    rep_enter(r);
    r->tick_cb(&r->io);
    rep_leave(r);
    if (r->dead) {
        return;
    }
    wal_tick(r->wal);
    rep_propose_tick(r, now);
    rep_forward_tick(r, now);
    rep_read_tick(r, now);
    rep_call_tick(r, now);
    rep_ship_tick(r, now);
    rep_acks_tick(r, now);
    rep_spool_tick(r);
    rep_shed_tick(r);
    if (r->dead) {
        return;
    }
    for (size_t i = 0; i < r->n_peers; i++) {
        rep_pump(r, r->peers[i]);
    }
}

void rep_link_up(struct rep *r, uint64_t id)
{
    struct rep_peer *p = rep_peer(r, id);

    OBJ_CHECK(r, REP_MAGIC);
    if (r->dead || !r->started) {
        return;
    }
    if (p != NULL) {
        p->up = true;
        p->below = false;
        p->info.last_contact_ms = rep_now(r);
        rep_pump_reset(p);
    }
    rep_acks_up(r, id);
}

void rep_newer_epoch(struct rep *r, uint64_t epoch, const char *name)
{
    const struct rep_events *ev = &r->params.events;

    OBJ_CHECK(r, REP_MAGIC);
    if (ev->on_newer_epoch != NULL && !r->dead) {
        ev->on_newer_epoch(ev->ctx, epoch, name);
    }
}

void rep_link_down(struct rep *r, uint64_t id)
{
    struct rep_peer *p = rep_peer(r, id);

    OBJ_CHECK(r, REP_MAGIC);
    if (r->dead) {
        return;
    }
    if (p != NULL) {
        p->up = false;
        rep_pump_reset(p);
    }
    rep_ship_down(r, id);
    rep_forward_down(r, id);
    rep_read_down(r, id);
    rep_call_down(r, id);
}

/* --- frames --- */

const char *rep_address(const struct rep *r, uint64_t id, char *dst, size_t size)
{
    const struct raft_server *s = conf_get(&r->raft.configuration, id);

    (void)str_copy(dst, size, s == NULL ? "" : s->address);
    return dst;
}

static void rep_core_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data,
                           size_t len)
{
    struct rep_peer *p = rep_peer(r, from);
    struct raft_message msg;
    char address[REP_ADDRESS_MAX + 64];

    if (r->cut_pos != 0) {
        return;
    }
    if (!frame_raft_decode(kind, data, len, from, &msg)) {
        lg_warn("raft", "peer=%" PRIu64 " kind=%u msg=\"malformed message ignored\"", from, kind);
        return;
    }
    msg.server_address = rep_address(r, from, address, sizeof(address));
    if (p != NULL && kind == FRAME_APPEND_RESULT) {
        rep_pump_acked(r, p, &msg.append_entries_result);
    }
    rep_enter(r);
    r->recv_cb(&r->io, &msg);
    rep_leave(r);
    p = rep_peer(r, from);
    if (p != NULL && !r->dead && kind == FRAME_APPEND_RESULT) {
        rep_pump(r, p);
    }
}

/* A peer that is no member (any more) may not use us; raft's own messages are for the core to
 * judge, since a new member knows nobody yet, and knows less than its leader. */
static bool rep_frame_allowed(const struct rep_peer *p, uint64_t from, uint16_t kind)
{
    if (p != NULL || (kind != FRAME_PROPOSE && kind != FRAME_READ && kind != FRAME_CALL)) {
        return true;
    }
    lg_warn("raft", "peer=%" PRIu64 " kind=%u msg=\"a request from no member was ignored\"", from,
            kind);
    return false;
}

void rep_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len)
{
    struct rep_peer *p = rep_peer(r, from);

    OBJ_CHECK(r, REP_MAGIC);
    if (r->dead || !r->started) {
        return;
    }
    if (p != NULL) {
        if (p->below && kind != FRAME_STATE && kind != FRAME_BELOW) {
            return;
        }
        p->info.last_contact_ms = rep_now(r);
    }
    if (!rep_frame_allowed(p, from, kind)) {
        return;
    }
    switch (kind) {
    case FRAME_STATE:
    case FRAME_ACKS:
    case FRAME_BELOW:
        rep_acks_frame(r, from, kind, data, len);
        break;
    case FRAME_VOTE:
    case FRAME_VOTE_RESULT:
    case FRAME_APPEND:
    case FRAME_APPEND_RESULT:
    case FRAME_TIMEOUT_NOW:
        rep_core_frame(r, from, kind, data, len);
        break;
    case FRAME_PROBE:
    case FRAME_PROBE_ACK:
    case FRAME_READ:
    case FRAME_READ_RESULT:
        rep_read_frame(r, from, kind, data, len);
        break;
    case FRAME_PROPOSE:
        rep_forward_request(r, from, data, len);
        break;
    case FRAME_PROPOSE_RESULT:
        rep_forward_result(r, from, data, len);
        break;
    case FRAME_CALL:
    case FRAME_REPLY:
        rep_call_frame(r, from, kind, data, len);
        break;
    case FRAME_SNAP_OFFER:
        rep_spool_offer(r, from, data, len);
        break;
    case FRAME_SNAP_WANT:
        rep_ship_want(r, from, data, len);
        break;
    case FRAME_SNAP_DATA:
        rep_spool_data(r, from, data, len);
        break;
    case FRAME_SNAP_DONE:
        rep_ship_over(r, from, data, len);
        break;
    default:
        break; /* a later release's; pings end in the transport */
    }
}
