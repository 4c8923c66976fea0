#include <string.h>

#include "base/obj.h"
#include "raft/rep_core.h"

/* AppendEntries.
 *
 * The core sends everything that a follower lacks in one message and never limits itself.  So its
 * message is taken as a hint only: what goes out is read from the core's log here, in pieces of at
 * most REP_APPEND_MAX, as long as less than REP_WINDOW is on its way unacknowledged.  While the
 * core probes a follower, one piece goes out per try; once the follower has answered (the core then
 * is in its pipeline mode), everything from `next` on is streamed, each entry once per link and
 * term, and an ack makes room for more.  A refusal or a broken link starts over with what the core
 * wants.
 *
 * An AppendEntries never tells a commit index beyond the entries that it has checked or carries. */

void rep_pump_reset(struct rep_peer *p)
{
    p->next = 0;
    p->acked = p->knows = 0;
    p->owed = p->eager = false;
    p->broken = false;
    p->n_chunks = 0;
    p->inflight = 0;
    p->last_append_ms = 0;
}

static void pump_emit(struct rep *r, struct rep_peer *p, raft_index prev, raft_term prev_term,
                      unsigned n)
{
    raft_index commit = r->raft.commit_index;
    struct raft_message msg = { .type = RAFT_IO_APPEND_ENTRIES, .server_id = p->info.id };

    if (commit > prev + n) {
        commit = prev + n;
    }
    msg.append_entries = (struct raft_append_entries){
        .term = r->raft.current_term,
        .prev_log_index = prev,
        .prev_log_term = prev_term,
        .leader_commit = commit,
        .entries = r->scratch,
        .n_entries = n,
    };
    frame_raft(&r->frame, &msg);
    (void)rep_send(r, p->info.id);
    /* It commits no further than what it has stored, and surely that is what it acknowledged. */
    commit = commit < p->acked ? commit : p->acked;
    p->knows = commit > p->knows ? commit : p->knows;
    p->last_append_ms = rep_now(r);
}

/* The newest entry that this peer may have.  Rule 24: who is not to vote any more hears of that
 * when it is committed.  Its log must not be the longest for it: by the others' older configuration
 * they may need its vote, which it refuses to a shorter log, and it does not campaign itself.  The
 * core sends a change before it notes that it is uncommitted, hence the look at the entries (few:
 * no more than two groups are under way). */
static raft_index pump_last(struct rep *r, const struct rep_peer *p)
{
    const struct raft_server *s = conf_get(&r->raft.configuration, p->info.id);
    raft_index last = raft_last_index(&r->raft);

    if (s != NULL && s->role == RAFT_VOTER) {
        return last;
    }
    for (raft_index i = r->raft.commit_index + 1; i <= last; i++) {
        const struct raft_entry *e = guard_entry(&r->raft, i);

        if (e != NULL && e->type == RAFT_CHANGE) {
            return i - 1;
        }
    }
    return last;
}

/* Send one piece that starts at `first`.  Returns the number of entries, 0: none is there;
 * *ret_bytes: their size.  False: the entry before is gone and only a snapshot helps, or
 * the data of one, which is read back (rep_shed.c). */
static bool pump_piece(struct rep *r, struct rep_peer *p, raft_index first, unsigned *ret_n,
                       size_t *ret_bytes)
{
    raft_term prev_term = first == 1 ? 0 : guard_term_of(&r->raft, first - 1);
    raft_index last = pump_last(r, p);
    size_t bytes = 0;
    unsigned n = 0;

    if (first > 1 && prev_term == 0) {
        return false;
    }
    while (first + n <= last && n < ARRAY_LEN(r->scratch)) {
        const struct raft_entry *e = guard_entry(&r->raft, first + n);

        if (e == NULL) {
            return false;
        }
        if (rep_shed_gone(e)) {
            r->shed_short = true;
            p->short_ms = rep_now(r);
            return false;
        }
        if (n > 0 && bytes + e->buf.len > REP_APPEND_MAX) {
            break;
        }
        r->scratch[n++] = *e;
        bytes += e->buf.len;
    }
    pump_emit(r, p, first - 1, prev_term, n);
    *ret_n = n;
    *ret_bytes = bytes;
    return true;
}

void rep_pump(struct rep *r, struct rep_peer *p)
{
    raft_index last = pump_last(r, p);
    unsigned n = 0;
    size_t bytes = 0;

    if (r->raft.state != RAFT_LEADER || !p->up) {
        return;
    }
    while (p->next != 0 && p->next <= last && p->inflight < REP_WINDOW &&
           p->n_chunks < REP_CHUNKS && rep_can_send(r, p->info.id)) {
        unsigned slot = (p->chunk_head + p->n_chunks) % REP_CHUNKS;

        if (!pump_piece(r, p, p->next, &n, &bytes)) {
            p->next = 0;
            p->broken = true;
            return;
        }
        CHECK(n > 0);
        p->next += n;
        p->inflight += bytes;
        p->chunks[slot].last = p->next - 1;
        p->chunks[slot].bytes = bytes;
        p->n_chunks++;
    }
}

static int pump_empty(struct rep *r, struct rep_peer *p, raft_index prev, raft_term prev_term)
{
    pump_emit(r, p, prev, prev_term, 0);
    return 0;
}

/* Where the data of the next entry has to be read back first, it is told meanwhile who leads. */
static int pump_probe(struct rep *r, struct rep_peer *p, const struct raft_append_entries *a)
{
    const struct raft_entry *e = guard_entry(&r->raft, a->prev_log_index + 1);
    size_t bytes;
    unsigned n;

    if (pump_piece(r, p, a->prev_log_index + 1, &n, &bytes)) {
        return 0;
    }
    return e != NULL && rep_shed_gone(e) ? pump_empty(r, p, a->prev_log_index, a->prev_log_term)
                                         : RAFT_NOCONNECTION;
}

int rep_pump_append(struct rep *r, const struct raft_message *msg)
{
    const struct raft_append_entries *a = &msg->append_entries;
    struct rep_peer *p = rep_peer(r, msg->server_id);
    struct raft_progress *progress = rep_progress(r, msg->server_id);
    raft_index before;

    if (p == NULL || progress == NULL || !p->up || p->broken) {
        if (p != NULL) {
            p->broken = false;
            p->next = 0;
        }
        return RAFT_NOCONNECTION; /* the core goes back to probing */
    }
    if (progress->state == REP_PROGRESS_SNAPSHOT) {
        return pump_empty(r, p, a->prev_log_index, a->prev_log_term);
    }
    if (progress->state == REP_PROGRESS_PROBE) {
        rep_pump_reset(p);
        if (!rep_can_send(r, p->info.id)) {
            return RAFT_NOCONNECTION;
        }
        return pump_probe(r, p, a);
    }
    if (p->next == 0) {
        p->next = a->prev_log_index + 1;
    }
    before = p->next;
    rep_pump(r, p);
    if (p->broken) {
        p->broken = false;
        return RAFT_NOCONNECTION;
    }
    if (p->next == before && rep_now(r) - p->last_append_ms >= r->raft.heartbeat_timeout) {
        raft_term term = p->next == 1 ? 0 : guard_term_of(&r->raft, p->next - 1);

        return p->next > 1 && term == 0 ? RAFT_NOCONNECTION : pump_empty(r, p, p->next - 1, term);
    }
    return 0;
}

void rep_pump_acked(struct rep *r, struct rep_peer *p, const struct raft_append_entries_result *res)
{
    if (r->raft.state != RAFT_LEADER || res->term != r->raft.current_term) {
        return;
    }
    if (res->rejected != 0) {
        rep_pump_reset(p);
        return;
    }
    p->acked = res->last_log_index > p->acked ? res->last_log_index : p->acked;
    while (p->n_chunks > 0 && p->chunks[p->chunk_head].last <= res->last_log_index) {
        p->inflight -= p->chunks[p->chunk_head].bytes;
        p->chunk_head = (p->chunk_head + 1) % REP_CHUNKS;
        p->n_chunks--;
    }
}

void rep_pump_eager(struct rep *r, uint64_t id)
{
    struct rep_peer *p = rep_peer(r, id);

    if (p != NULL) {
        p->eager = true;
    }
}

/* May it wait for the next entries?  Then a step is due when it has waited long enough. */
static bool pump_owe(struct rep *r, struct rep_peer *p)
{
    uint64_t now;

    if (p->eager || r->env.step_in == NULL) {
        return false;
    }
    now = rep_now(r);
    if (!p->owed) {
        p->owed = true;
        p->owed_ms = now + REP_TELL_MS;
    }
    if (now >= p->owed_ms) {
        return false;
    }
    r->env.step_in(r->env.ctx, (unsigned)(p->owed_ms - now));
    return true;
}

void rep_pump_commit(struct rep *r)
{
    raft_term term;

    if (r->raft.state != RAFT_LEADER) {
        return;
    }
    for (size_t i = 0; i < r->n_peers; i++) {
        struct rep_peer *p = r->peers[i];
        raft_index can = r->raft.commit_index < p->acked ? r->raft.commit_index : p->acked;

        if (!p->up || p->next <= 1 || p->knows >= can) {
            p->owed = false;
            p->eager = p->eager && p->knows < r->raft.commit_index;
            continue;
        }
        if (pump_owe(r, p)) {
            continue;
        }
        term = guard_term_of(&r->raft, p->next - 1);
        if (term != 0 && rep_can_send(r, p->info.id)) {
            (void)pump_empty(r, p, p->next - 1, term);
            p->owed = p->eager = false;
        }
    }
}
