#include <string.h>

#include "base/obj.h"
#include "raft/guard_priv.h"

/* What comes in from peers, before the core sees it. */

/* The entries of an AppendEntries that is not forwarded; one batch, as all decoders here make it.
 */
static void recv_drop_entries(struct raft_append_entries *a)
{
    void *batch = NULL;

    for (unsigned i = 0; i < a->n_entries; i++) {
        if (a->entries[i].batch != batch) {
            batch = a->entries[i].batch;
            raft_free(batch);
        }
    }
    if (a->entries != NULL) {
        raft_free(a->entries);
    }
}

/* Index of the first entry that contradicts our log, 0: none does. */
static raft_index recv_conflict(const struct raft *r, const struct raft_append_entries *a)
{
    for (unsigned i = 0; i < a->n_entries; i++) {
        raft_index index = a->prev_log_index + 1 + i;
        raft_term have = guard_term_of(r, index);

        if (have == 0) {
            return 0;
        }
        if (have != a->entries[i].term) {
            return index;
        }
    }
    return 0;
}

static void recv_raise_match(struct guard *g, raft_term term, raft_index match)
{
    if (g->match_term != term) {
        g->match_term = term;
        g->match = 0;
    }
    if (match > g->match) {
        g->match = match;
    }
}

static bool recv_installing(const struct raft *r)
{
    return r->last_stored == 0 && r->snapshot.put.data != NULL;
}

/* Rule 20: what is below our snapshot is committed, so the leader has the same; the core would
 * refuse for ever, since the entries are not in its log any more.  Begin behind the snapshot
 * instead. */
static bool recv_skip_compacted(struct guard *g, struct raft_append_entries *a)
{
    const struct raft_log *l = &g->raft->log;
    raft_index skip = l->snapshot.last_index - a->prev_log_index;
    unsigned n = a->n_entries;

    if (a->prev_log_index >= l->snapshot.last_index ||
        guard_term_of(g->raft, a->prev_log_index) != 0 ||
        (a->prev_log_index == 0 && l->offset == 0)) {
        return true;
    }
    if (skip <= n && a->entries[skip - 1].term != l->snapshot.last_term) {
        guard_fail(g, "the leader contradicts this node's snapshot: is it of this cluster?");
        return false;
    }
    if (skip >= n) {
        recv_drop_entries(a);
        a->entries = NULL;
        a->n_entries = 0;
    } else {
        a->n_entries = n - (unsigned)skip;
        memmove(a->entries, a->entries + skip, a->n_entries * sizeof(*a->entries));
    }
    a->prev_log_index = l->snapshot.last_index;
    a->prev_log_term = l->snapshot.last_term;
    g->stats.compacted_skipped++;
    return true;
}

/* Rules 2, 8, 10, 17 and 20.  False: the message is to be dropped. */
static bool recv_append(struct guard *g, struct raft_append_entries *a)
{
    struct raft *r = g->raft;
    raft_index end, conflict, conf;

    if (a->term < r->current_term) {
        return true; /* the core refuses it */
    }
    if (a->term == r->current_term && r->state == RAFT_LEADER) {
        guard_fail(g, "two leaders in one term: is another node running with this node's id?");
        return false;
    }
    if (!recv_installing(r) && !recv_skip_compacted(g, a)) {
        return false;
    }
    end = a->prev_log_index + a->n_entries;
    if (a->leader_commit > end) {
        a->leader_commit = end;
        g->stats.commits_clamped++;
    }
    if (recv_installing(r) ||
        (a->prev_log_index != 0 && guard_term_of(r, a->prev_log_index) != a->prev_log_term)) {
        return true;
    }
    conflict = recv_conflict(r, a);
    if (conflict > r->commit_index && conflict != 0) {
        if (g->n_appends > 0) {
            g->stats.conflicts_put_off++;
            return false; /* the leader sends it again */
        }
        conf = r->configuration_uncommitted_index > r->configuration_index
                   ? r->configuration_uncommitted_index
                   : r->configuration_index;
        if (conf >= conflict) {
            g->stats.rollbacks++;
            if (!guard_conf_before(g, conflict)) {
                return false;
            }
        }
    }
    recv_raise_match(g, a->term, end);
    return true;
}

/* Rule 1: an ack may not count before an entry of this term is stored here. */
static bool recv_append_result(struct guard *g, const struct raft_message *msg)
{
    const struct raft_append_entries_result *res = &msg->append_entries_result;
    struct raft *r = g->raft;

    if (r->state != RAFT_LEADER || res->rejected != 0 || res->term != r->current_term ||
        guard_term_of(r, r->last_stored) == r->current_term) {
        return true;
    }
    g->stats.acks_delayed++;
    for (size_t i = 0; i < g->n_stash; i++) {
        if (g->stash[i].id == msg->server_id) {
            g->stash[i].result = *res;
            return false;
        }
    }
    if (g->n_stash < GUARD_STASH) {
        g->stash[g->n_stash].id = msg->server_id;
        g->stash[g->n_stash++].result = *res;
    }
    return false;
}

void guard_unstash(struct guard *g)
{
    struct raft *r = g->raft;

    if (r->state != RAFT_LEADER) {
        g->n_stash = 0;
    }
    if (g->n_stash == 0 || guard_term_of(r, r->last_stored) != r->current_term) {
        return;
    }
    while (g->n_stash > 0) {
        struct raft_message msg = { .type = RAFT_IO_APPEND_ENTRIES_RESULT };

        g->n_stash--;
        msg.server_id = g->stash[g->n_stash].id;
        msg.server_address = ""; /* not looked at for this kind */
        msg.append_entries_result = g->stash[g->n_stash].result;
        g->core_recv(g->io, &msg);
    }
}

/* Rule 18: while a transfer is pending the core lets its target have a second vote in one term. */
static bool recv_vote(struct guard *g, const struct raft_request_vote *v)
{
    struct raft *r = g->raft;

    guard_forget_leader(g);
    if (!v->pre_vote && r->transfer != NULL && r->transfer->id == v->candidate_id &&
        v->term == r->current_term && r->voted_for != 0 && r->voted_for != v->candidate_id) {
        g->stats.votes_refused++;
        return false;
    }
    return true;
}

/* Rules 2 and 11; false: drop. */
static bool recv_install(struct guard *g, const struct raft_install_snapshot *s)
{
    struct raft *r = g->raft;

    if (s->term < r->current_term) {
        return true;
    }
    if (s->term == r->current_term && r->state == RAFT_LEADER) {
        guard_fail(g, "two leaders in one term: is another node running with this node's id?");
        return false;
    }
    if (g->n_appends > 0 || g->n_puts > 0 || r->snapshot.pending.term != 0 ||
        r->snapshot.put.data != NULL) {
        return false;
    }
    if (s->last_index > r->commit_index && guard_term_of(r, s->last_index) > s->last_term) {
        g->hooks.on_cut(g->hooks.ctx, s->last_index);
        return false;
    }
    recv_raise_match(g, s->term, s->last_index);
    return true;
}

static bool guard_pass(struct guard *g, struct raft_message *msg)
{
    switch (msg->type) {
    case RAFT_IO_APPEND_ENTRIES:
        if (!recv_append(g, &msg->append_entries)) {
            recv_drop_entries(&msg->append_entries);
            return false;
        }
        return true;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return recv_append_result(g, msg);
    case RAFT_IO_REQUEST_VOTE:
        return recv_vote(g, &msg->request_vote);
    case RAFT_IO_INSTALL_SNAPSHOT:
        if (!recv_install(g, &msg->install_snapshot)) {
            raft_configuration_close(&msg->install_snapshot.conf);
            raft_free(msg->install_snapshot.data.base);
            return false;
        }
        return true;
    case RAFT_IO_TIMEOUT_NOW:
        /* Rule 4: our log in memory is longer than the stored one. */
        return g->n_appends == 0 && g->n_puts == 0;
    default:
        return true;
    }
}

/* Rule 21: the core refuses its vote where its own newest configuration does not make it a voter,
 * but that one may be older than the candidate's, or never be committed.  Who counts is for the
 * candidate to know (Raft, 4.2.2); so show the core a configuration in which we vote. */
static void recv_vote_as_voter(struct guard *g, struct raft_message *msg)
{
    struct raft *r = g->raft;
    struct raft_server self = { .id = r->id, .address = r->address, .role = RAFT_VOTER };
    struct raft_configuration own = r->configuration;

    r->configuration = (struct raft_configuration){ .servers = &self, .n = 1 };
    g->core_recv(g->io, msg);
    r->configuration = own;
}

void guard_recv(struct raft_io *io, struct raft_message *msg)
{
    struct guard *g = guard_of(io);

    if (g->off) {
        g->core_recv(io, msg);
        return;
    }
    if (!guard_pass(g, msg)) {
        guard_after(g);
        return;
    }
    if (msg->type == RAFT_IO_REQUEST_VOTE) {
        recv_vote_as_voter(g, msg);
    } else {
        g->core_recv(io, msg);
    }
    guard_after(g);
}
