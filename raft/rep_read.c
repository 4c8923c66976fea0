#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "raft/rep_core.h"

/* Linearizable reads without a log write (raft-notes 1.6, option 2).
 *
 * The leader remembers its commit index and asks all voters "do you still follow me in this term?".
 * When a majority has said so, no newer leader existed when the round began, so nothing newer than
 * that index had been committed; the reads wait until it is applied.  A leader may only do so after
 * its barrier was applied (before, its commit index may be behind).  All reads that wait share a
 * round; a read that comes while one is out goes into the next.  Only as many voters are asked at
 * first as a majority needs, those that answered last; the others when these have not answered
 * within REP_TELL_MS.  A follower asks the leader for an index.
 *
 *   PROBE, PROBE_ACK   term u64, round u64
 *   READ               tag u64
 *   READ_RESULT        tag u64, index u64 (0: not the leader) */

static void reads_push(struct rep_reads *l, struct rep_read *rd)
{
    rd->next = NULL;
    *l->tail = rd;
    l->tail = &rd->next;
}

static void reads_move(struct rep_reads *from, struct rep_reads *to)
{
    if (from->head != NULL) {
        *to->tail = from->head;
        to->tail = from->tail;
        from->head = NULL;
        from->tail = &from->head;
    }
}

static void reads_back(struct rep *r, struct rep_reads *l)
{
    reads_move(&r->reads_new, l);
    reads_move(l, &r->reads_new);
}

static struct rep_req *read_req(struct rep_read *rd)
{
    return CONTAINER_OF(rd, struct rep_req, priv);
}

void rep_read_init(struct rep *r)
{
    r->reads_new.tail = &r->reads_new.head;
    r->reads_round.tail = &r->reads_round.head;
    r->reads_asked.tail = &r->reads_asked.head;
    r->reads_apply.tail = &r->reads_apply.head;
}

void rep_read(struct rep *r, struct rep_req *req, uint64_t timeout_ms, rep_read_cb *cb)
{
    struct rep_read *rd = (struct rep_read *)(void *)req->priv;

    OBJ_CHECK(r, REP_MAGIC);
    *rd = (struct rep_read){ .cb = cb, .deadline_ms = rep_now(r) + timeout_ms };
    reads_push(&r->reads_new, rd);
}

static void read_frame(struct rep *r, uint64_t to, enum frame_kind kind, uint64_t a, uint64_t b)
{
    size_t at = frame_begin(&r->frame, kind);

    buf_add_u64(&r->frame, a);
    if (kind != FRAME_READ) {
        buf_add_u64(&r->frame, b);
    }
    frame_end(&r->frame, at);
    (void)rep_send(r, to);
}

/* --- the leader's rounds --- */

static void round_answer(struct rep *r, uint64_t index)
{
    while (r->remote_round != NULL) {
        struct rep_remote_read *rr = r->remote_round;

        r->remote_round = rr->next;
        read_frame(r, rr->from, FRAME_READ_RESULT, rr->tag, index);
        rep_pump_eager(r, rr->from);
        free(rr);
    }
}

static void round_check(struct rep *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    size_t acks = 0;

    for (unsigned i = 0; i < c->n; i++) {
        const struct rep_peer *p = rep_peer(r, c->servers[i].id);

        if (c->servers[i].role == RAFT_VOTER &&
            (c->servers[i].id == r->params.id || (p != NULL && p->probe_ack == r->round_seq))) {
            acks++;
        }
    }
    if (acks <= conf_voters(c) / 2) {
        return;
    }
    r->round_active = false;
    for (struct rep_read *rd = r->reads_round.head; rd != NULL; rd = rd->next) {
        rd->index = r->round_index;
    }
    reads_move(&r->reads_round, &r->reads_apply);
    round_answer(r, r->round_index);
}

static void round_probe_all(struct rep *r)
{
    const struct raft_configuration *c = &r->raft.configuration;

    r->round_ms = rep_now(r);
    r->round_few = false;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].role == RAFT_VOTER && c->servers[i].id != r->params.id) {
            read_frame(r, c->servers[i].id, FRAME_PROBE, r->round_term, r->round_seq);
        }
    }
}

/* The linked voter with the newest answer that was not asked in this round; NULL: none. */
static struct rep_peer *round_next(const struct rep *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    struct rep_peer *best = NULL;

    for (unsigned i = 0; i < c->n; i++) {
        struct rep_peer *p = rep_peer(r, c->servers[i].id);

        if (c->servers[i].role == RAFT_VOTER && c->servers[i].id != r->params.id && p != NULL &&
            p->up && p->probe_sent != r->round_seq &&
            (best == NULL || p->probe_ack > best->probe_ack)) {
            best = p;
        }
    }
    return best;
}

static void round_probe(struct rep *r)
{
    size_t need = conf_voters(&r->raft.configuration) / 2;

    if (conf_get(&r->raft.configuration, r->params.id) == NULL || r->env.step_in == NULL) {
        round_probe_all(r);
        return;
    }
    r->round_ms = rep_now(r);
    r->round_few = true;
    for (size_t i = 0; i < need; i++) {
        struct rep_peer *p = round_next(r);

        if (p == NULL) {
            round_probe_all(r);
            return;
        }
        p->probe_sent = r->round_seq;
        read_frame(r, p->info.id, FRAME_PROBE, r->round_term, r->round_seq);
    }
}

/* Those that were asked take their time: ask all. */
static void round_hedge(struct rep *r)
{
    uint64_t now;

    if (!r->round_active || !r->round_few) {
        return;
    }
    now = rep_now(r);
    if (now - r->round_ms >= REP_TELL_MS) {
        round_probe_all(r);
    } else {
        r->env.step_in(r->env.ctx, (unsigned)(r->round_ms + REP_TELL_MS - now));
    }
}

static void round_start(struct rep *r)
{
    r->round_active = true;
    r->round_seq++;
    r->round_term = r->raft.current_term;
    r->round_index = r->raft.commit_index;
    reads_move(&r->reads_new, &r->reads_round);
    r->remote_round = r->remote_new;
    r->remote_new = NULL;
    round_probe(r);
    round_check(r);
}

static void round_give_up(struct rep *r)
{
    r->round_active = false;
    reads_back(r, &r->reads_round);
    round_answer(r, 0);
    r->remote_round = r->remote_new;
    r->remote_new = NULL;
    round_answer(r, 0);
}

/* --- the follower's question --- */

static void read_ask(struct rep *r)
{
    uint64_t leader = rep_leader(r);

    if (r->asked_tag != 0 || leader == 0 || leader == r->params.id || !rep_can_send(r, leader) ||
        rep_now(r) < r->forward_not_before_ms) {
        return;
    }
    r->asked_tag = ++r->next_tag;
    r->asked_to = leader;
    reads_move(&r->reads_new, &r->reads_asked);
    read_frame(r, leader, FRAME_READ, r->asked_tag, 0);
}

static void read_answered(struct rep *r, uint64_t from, uint64_t tag, uint64_t index)
{
    if (tag == 0 || tag != r->asked_tag || from != r->asked_to) {
        return;
    }
    r->asked_tag = 0;
    if (index == 0) {
        r->forward_not_before_ms = rep_now(r) + r->params.heartbeat_ms;
        reads_back(r, &r->reads_asked);
        return;
    }
    for (struct rep_read *rd = r->reads_asked.head; rd != NULL; rd = rd->next) {
        rd->index = index;
    }
    reads_move(&r->reads_asked, &r->reads_apply);
}

/* --- both --- */

static void reads_run(struct rep *r)
{
    struct rep_reads due = { .tail = &due.head };
    struct rep_read **p = &r->reads_apply.head;

    while (*p != NULL) {
        struct rep_read *rd = *p;

        if (rd->index > rep_applied(r)) {
            p = &rd->next;
            continue;
        }
        *p = rd->next;
        reads_push(&due, rd);
    }
    r->reads_apply.tail = p;
    while (due.head != NULL) {
        struct rep_read *rd = due.head;

        due.head = rd->next;
        rd->cb(read_req(rd), NULL);
    }
}

void rep_read_step(struct rep *r)
{
    if (r->round_active &&
        (r->raft.state != RAFT_LEADER || r->raft.current_term != r->round_term)) {
        round_give_up(r);
    }
    if (r->raft.state == RAFT_LEADER) {
        if (r->asked_tag != 0) {
            r->asked_tag = 0;
            reads_back(r, &r->reads_asked);
        }
        if (!r->round_active && guard_ready(&r->guard) &&
            (r->reads_new.head != NULL || r->remote_new != NULL)) {
            round_start(r);
        }
        round_hedge(r);
    } else if (r->reads_new.head != NULL) {
        read_ask(r);
    }
    reads_run(r);
}

static void reads_expire(struct rep *r, struct rep_reads *l, uint64_t now)
{
    struct rep_read **p = &l->head;
    struct err err;

    while (*p != NULL) {
        struct rep_read *rd = *p;

        if (rd->deadline_ms > now) {
            p = &rd->next;
            continue;
        }
        *p = rd->next;
        (void)err_set(&err, ERR_NO_QUORUM, "no leader with a quorum confirmed the read in time");
        rep_fail(r, REQ_READ, read_req(rd), (void (*)(void))rd->cb, &err);
    }
    l->tail = p;
}

void rep_read_tick(struct rep *r, uint64_t now)
{
    reads_expire(r, &r->reads_new, now);
    reads_expire(r, &r->reads_round, now);
    reads_expire(r, &r->reads_asked, now);
    reads_expire(r, &r->reads_apply, now);
    if (r->round_active && now - r->round_ms >= r->params.heartbeat_ms) {
        round_probe_all(r);
    }
}

void rep_read_down(struct rep *r, uint64_t id)
{
    struct rep_remote_read **p = &r->remote_new;

    if (r->asked_tag != 0 && r->asked_to == id) {
        r->asked_tag = 0;
        reads_back(r, &r->reads_asked);
    }
    while (*p != NULL) {
        struct rep_remote_read *rr = *p;

        if (rr->from == id) {
            *p = rr->next;
            free(rr);
        } else {
            p = &rr->next;
        }
    }
}

static void read_remote(struct rep *r, uint64_t from, uint64_t tag)
{
    struct rep_remote_read *rr;

    if (r->raft.state != RAFT_LEADER) {
        read_frame(r, from, FRAME_READ_RESULT, tag, 0);
        return;
    }
    rr = OBJ_NEW(struct rep_remote_read);
    *rr = (struct rep_remote_read){ .from = from, .tag = tag, .next = r->remote_new };
    r->remote_new = rr;
}

void rep_read_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    struct rep_peer *p = rep_peer(r, from);
    uint64_t a = rd_u64(&rd), b = kind == FRAME_READ ? 0 : rd_u64(&rd);

    if (rd.bad || rd_left(&rd) != 0) {
        return;
    }
    switch (kind) {
    case FRAME_PROBE:
        if (r->raft.state == RAFT_FOLLOWER && r->raft.current_term == a &&
            r->raft.follower_state.current_leader.id == from && r->cut_pos == 0) {
            read_frame(r, from, FRAME_PROBE_ACK, a, b);
        }
        break;
    case FRAME_PROBE_ACK:
        if (p != NULL && r->round_active && a == r->round_term && b == r->round_seq &&
            r->raft.state == RAFT_LEADER && r->raft.current_term == a) {
            p->probe_ack = b;
            round_check(r);
        }
        break;
    case FRAME_READ:
        read_remote(r, from, a);
        break;
    default:
        read_answered(r, from, a, b);
        break;
    }
}

static void remote_free(struct rep_remote_read *rr)
{
    while (rr != NULL) {
        struct rep_remote_read *next = rr->next;

        free(rr);
        rr = next;
    }
}

void rep_read_done(struct rep *r)
{
    remote_free(r->remote_new);
    remote_free(r->remote_round);
}
