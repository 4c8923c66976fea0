#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/rep_core.h"

/* What voters acknowledged, remembered by everybody (safety.md 6).
 *
 * A voter that comes back with less than it had acknowledged (a snapshot of its machine was
 * restored) would break what Raft rests on.  So the leader notes for each voter the highest (term,
 * index) that it acknowledged, tells all peers, and everybody keeps the table in the log, not later
 * than ACKS_EVERY_MS.  On a new link both sides say where they are before anything else; whoever is
 * below its line in the other's table is not listened to and is told so.  It ends itself, unless it
 * has got further in the meantime (its first word may have been long on its way): then it says
 * where it is now.
 *
 *   STATE  term u64, last index u64
 *   ACKS   count u32, count times { id u64, term u64, index u64 }
 *   BELOW  term u64, index u64      the receiver had acknowledged this */

#define ACKS_EVERY_MS 1000u

static bool ack_less(uint64_t term_a, uint64_t index_a, uint64_t term_b, uint64_t index_b)
{
    return term_a < term_b || (term_a == term_b && index_a < index_b);
}

static struct wal_ack *ack_find(struct rep *r, uint64_t id)
{
    for (size_t i = 0; i < r->n_acks; i++) {
        if (r->acks[i].id == id) {
            return &r->acks[i];
        }
    }
    return NULL;
}

static void ack_raise(struct rep *r, uint64_t id, uint64_t term, uint64_t index)
{
    struct wal_ack *a = ack_find(r, id);

    if (a == NULL) {
        if (r->n_acks == WAL_ACKS_MAX) {
            return;
        }
        a = &r->acks[r->n_acks++];
        *a = (struct wal_ack){ .id = id };
    }
    if (ack_less(a->term, a->index, term, index)) {
        a->term = term;
        a->index = index;
        r->acks_changed = true;
    }
}

/* Members that are gone are forgotten. */
static void acks_sweep(struct rep *r)
{
    for (size_t i = 0; i < r->n_acks; i++) {
        if (rep_peer(r, r->acks[i].id) == NULL) {
            r->acks[i--] = r->acks[--r->n_acks];
        }
    }
}

static void acks_send(struct rep *r, uint64_t to)
{
    size_t at = frame_begin(&r->frame, FRAME_ACKS);
    uint8_t data[WAL_ACKS_MAX * 24];

    buf_add_u32(&r->frame, (uint32_t)r->n_acks);
    buf_add(&r->frame, data, wal_acks_encode(r->acks, r->n_acks, data));
    frame_end(&r->frame, at);
    (void)rep_send(r, to);
}

void rep_acks_tick(struct rep *r, uint64_t now)
{
    const struct raft_configuration *c = &r->raft.configuration;

    if (now - r->acks_ms < ACKS_EVERY_MS) {
        return;
    }
    r->acks_ms = now;
    for (unsigned i = 0; r->raft.state == RAFT_LEADER && i < c->n; i++) {
        raft_index match = r->raft.leader_state.progress[i].match_index;

        if (c->servers[i].role == RAFT_VOTER && match > 0) {
            ack_raise(r, c->servers[i].id, r->raft.current_term, match);
        }
    }
    if (!r->acks_changed) {
        return;
    }
    r->acks_changed = false;
    acks_sweep(r);
    wal_add_acks(r->wal, r->acks, r->n_acks);
    for (size_t i = 0; r->raft.state == RAFT_LEADER && i < r->n_peers; i++) {
        if (r->peers[i]->up && rep_can_send(r, r->peers[i]->info.id)) {
            acks_send(r, r->peers[i]->info.id);
        }
    }
}

static void acks_pair(struct rep *r, uint64_t to, enum frame_kind kind, uint64_t term,
                      uint64_t index)
{
    size_t at = frame_begin(&r->frame, kind);

    buf_add_u64(&r->frame, term);
    buf_add_u64(&r->frame, index);
    frame_end(&r->frame, at);
    (void)rep_send(r, to);
}

void rep_acks_up(struct rep *r, uint64_t id)
{
    acks_pair(r, id, FRAME_STATE, r->raft.current_term, raft_last_index(&r->raft));
}

static void acks_state(struct rep *r, uint64_t from, uint64_t term, uint64_t index)
{
    struct rep_peer *p = rep_peer(r, from);
    const struct wal_ack *a = ack_find(r, from);

    if (p == NULL) {
        return;
    }
    p->below = a != NULL && ack_less(term, index, a->term, a->index);
    if (!p->below) {
        return;
    }
    lg_warn("raft",
            "peer=%s id=%" PRIu64 " term=%" PRIu64 " index=%" PRIu64 " had_term=%" PRIu64
            " had_index=%" PRIu64
            " msg=\"a voter says that it has less than it had acknowledged; not listened to until "
            "it has not\"",
            p->info.name, from, term, index, a->term, a->index);
    acks_pair(r, from, FRAME_BELOW, a->term, a->index);
}

static void acks_below(struct rep *r, uint64_t from, uint64_t term, uint64_t index)
{
    char why[384];

    if (!ack_less(r->raft.current_term, raft_last_index(&r->raft), term, index)) {
        rep_acks_up(r, from);
        return;
    }
    (void)snprintf(why, sizeof(why),
                   "%s: this node has term %llu and entry %llu, but member %" PRIu64
                   " knows that it had acknowledged term %" PRIu64 " and entry %" PRIu64
                   " (was a copy of the machine restored?); remove this member from the cluster, "
                   "delete the directory and join again under a new id",
                   r->params.dir, r->raft.current_term, raft_last_index(&r->raft), from, term,
                   index);
    rep_die(r, why);
}

static void acks_table(struct rep *r, struct rd *rd)
{
    struct wal_ack acks[WAL_ACKS_MAX];
    uint32_t n = rd_u32(rd);
    size_t count;

    if (rd->bad || n > WAL_ACKS_MAX || rd_left(rd) != n * 24u ||
        !wal_acks_decode(rd->p + rd->pos, n * 24u, acks, &count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (rep_peer(r, acks[i].id) != NULL) {
            ack_raise(r, acks[i].id, acks[i].term, acks[i].index);
        }
    }
}

void rep_acks_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    uint64_t term, index;

    if (kind == FRAME_ACKS) {
        acks_table(r, &rd);
        return;
    }
    term = rd_u64(&rd);
    index = rd_u64(&rd);
    if (rd.bad || rd_left(&rd) != 0) {
        return;
    }
    if (kind == FRAME_STATE) {
        acks_state(r, from, term, index);
    } else {
        acks_below(r, from, term, index);
    }
}
