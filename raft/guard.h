#ifndef RAFT_GUARD_H
#define RAFT_GUARD_H

/* The rules that make the core of libraft 0.15.0 safe to use, as a wrapper around its raft_io.
 *
 * docs/raft.md lists each rule, the defect it answers and the test that shows it.  The guard stands
 * between the core and any raft_io: ours, the simulator's, or the library's own fixture.  It reads
 * and in few places writes the public struct raft; the layout is pinned below.
 *
 * Use: raft_init; guard_install; raft_start; guard_started.  raft->data must point to the guard.
 * Loop thread only.
 */

#include <raft.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(sizeof(struct raft) == 656 && sizeof(struct raft_io) == 408 &&
                   sizeof(struct raft_progress) == 56 &&
                   offsetof(struct raft, leader_state) == 216 &&
                   offsetof(struct raft, transfer) == 288 && offsetof(struct raft, snapshot) == 296,
               "this is not libraft 0.15.0: read the guard again before you change this");

#define GUARD_STASH 64u

struct guard_hooks {
    void *ctx;
    /* This node leads, and an entry of this very term is committed and applied. */
    void (*on_ready)(void *ctx, raft_term term);
    /* The process must end. */
    void (*on_fail)(void *ctx, const char *why);
    /* The log from index on contradicts a snapshot of the leader: cut it durably, then end. */
    void (*on_cut)(void *ctx, raft_index index);
};

struct guard_stats {
    uint64_t acks_delayed;          /* rule 1 */
    uint64_t acks_clamped;          /* rule 2 */
    uint64_t acks_muted;            /* rule 3 */
    uint64_t timeouts_held;         /* rule 4 */
    uint64_t rollbacks;             /* rule 8 */
    uint64_t conflicts_put_off;     /* rule 10 */
    uint64_t commits_clamped;       /* rule 17 */
    uint64_t votes_refused;         /* rule 18 */
    uint64_t confs_settled;         /* rule 19 */
    uint64_t compacted_skipped;     /* rule 20 */
    uint64_t elections_asked_again; /* rule 22 */
    uint64_t terms_raised;          /* rule 23 */
};

struct guard {
    struct raft *raft;
    struct raft_io *io;
    bool off; /* for the regression tests: show what happens without */
    struct guard_hooks hooks;
    int (*base_start)(struct raft_io *, unsigned, raft_io_tick_cb, raft_io_recv_cb);
    int (*base_send)(struct raft_io *, struct raft_io_send *, const struct raft_message *,
                     raft_io_send_cb);
    int (*base_append)(struct raft_io *, struct raft_io_append *, const struct raft_entry[],
                       unsigned, raft_io_append_cb);
    int (*base_snapshot_put)(struct raft_io *, unsigned, struct raft_io_snapshot_put *,
                             const struct raft_snapshot *, raft_io_snapshot_put_cb);
    raft_io_tick_cb core_tick;
    raft_io_recv_cb core_recv;

    struct raft_barrier barrier; /* rule 1 */
    raft_term barrier_term;      /* the term it was submitted in */
    bool barrier_running;
    raft_term ready_term; /* the term in which it was applied */
    struct {
        raft_id id;
        struct raft_append_entries_result result;
    } stash[GUARD_STASH];
    size_t n_stash;

    raft_term match_term; /* rule 2: our log agrees with the leader of this term up to match */
    raft_index match;
    bool mute; /* rule 3 */
    unsigned n_appends, n_puts;

    struct raft_configuration snap_conf; /* rule 8: as of the newest snapshot */
    raft_index snap_conf_index;          /* 0: no snapshot */
    struct raft_transfer transfer;       /* rule 12 */
    struct guard_stats stats;
};

void guard_install(struct guard *g, struct raft *r, const struct guard_hooks *hooks);
void guard_done(struct guard *g); /* frees what the guard owns; for tests */
/* The configuration that belongs to the snapshot which raft_start is going to restore; copied. */
void guard_set_snapshot_conf(struct guard *g, const struct raft_configuration *conf,
                             raft_index index);
void guard_started(struct guard *g);

/* Leader, and its barrier of this term applied: reads and membership changes are allowed. */
bool guard_ready(const struct guard *g);
/* Rule 6: may the core take a snapshot of what is applied now? */
bool guard_may_snapshot(const struct guard *g);
/* Rule 12: 0 when the core was told to hand over, RAFT_BUSY when the target is not there yet (try
 * again at the next tick), else the core's refusal.  id is never 0. */
int guard_transfer(struct guard *g, raft_id id, raft_transfer_cb cb);

/* Term of the entry at index, 0 when it is not in the log. */
raft_term guard_term_of(const struct raft *r, raft_index index);
/* The entry itself, NULL when it is not in the log. */
const struct raft_entry *guard_entry(const struct raft *r, raft_index index);
/* How many entries the in-memory log has. */
size_t guard_log_len(const struct raft *r);

#endif
