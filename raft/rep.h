#ifndef RAFT_REP_H
#define RAFT_REP_H

/* Replicated log of opaque commands: the only face of consensus that the rest of the product sees.
 *
 * Inside: the core of canonical's libraft 0.15.0, the guard rules of docs/raft.md around it, our
 * own write-ahead log, transport and snapshot files.  Commands are collected into groups; one group
 * is one raft entry.  All calls and callbacks on the loop's thread; no callback runs before the
 * call that started it has returned.
 *
 * Crash-only: a failed write or fsync of the log ends the process (never a retry, never an error to
 * the core).  There is no close for production; tests use rep_free.
 */

#include <uv.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/stream.h"

struct rep;

enum rep_role { REP_FOLLOWER, REP_CANDIDATE, REP_LEADER, REP_UNAVAILABLE };
enum rep_member_role { REP_VOTER, REP_STANDBY, REP_SPARE };

struct rep_cmd {
    const uint8_t *data;
    size_t len;
};

/* Where snapshot bytes go to or come from; blocking, for a worker thread.  0 or an error code. */
struct rep_sink {
    int (*write)(struct rep_sink *s, const void *data, size_t len, struct err *err);
};
struct rep_source {
    /* Reads exactly len bytes or fails with ERR_CORRUPT. */
    int (*read)(struct rep_source *s, void *data, size_t len, struct err *err);
};

/* The state machine.  `apply` is total and deterministic: bad input gives an error result. */
struct rep_fsm {
    void *ctx;
    /* One committed group of the entry (index, term), proposed when the leader's wall clock said
     * leader_ms.  results[i] is empty and takes the answer to cmds[i]. */
    void (*apply)(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                  const struct rep_cmd *cmds, size_t n, struct buf *results);
    /* Loop thread, O(1): pin the present state. */
    void *(*snap_begin)(void *ctx);
    /* Worker thread: write the pinned state. */
    int (*snap_write)(void *ctx, void *snap, struct rep_sink *sink, struct err *err);
    /* Loop thread: unpin. */
    void (*snap_end)(void *ctx, void *snap);
    /* Loop thread: replace the whole state. */
    int (*restore)(void *ctx, struct rep_source *source, struct err *err);
    /* Hash of the state, compared between replicas at equal index. */
    uint64_t (*hash)(void *ctx);
};

#define REP_ADDRESS_MAX 384U /* one or several addresses with the NUL */

struct rep_peer_info {
    uint64_t id;
    char name[64]; /* host name; the certificate's CN must be equal */
    /* What addr_resolve is asked for, "HOST:PORT"; one for each link to the host, separated by
     * commas, the preferred one first. */
    char address[REP_ADDRESS_MAX];
    enum rep_member_role role;
    bool reachable;           /* heard of within an election timeout (leader's view) */
    uint64_t last_contact_ms; /* clock_now_ms of the last frame from it, 0: never */
    uint64_t match_index;     /* leader only */
};

struct rep_events {
    void *ctx;
    /* Role, term or known leader changed (leader_id 0: unknown). */
    void (*on_role)(void *ctx, enum rep_role role, uint64_t term, uint64_t leader_id);
    /* This node leads and its barrier of this term has been applied: controllers may act. */
    void (*on_lead_ready)(void *ctx, uint64_t term);
    /* A group was applied (after all its results were delivered).  Several may be applied before
     * the first of these calls: `hash` is the state's right after this group, not of now. */
    void (*on_applied)(void *ctx, uint64_t index, uint64_t hash);
    /* The voter `name` is in a later epoch of this cluster, which was restored or recovered without
     * this node: its state counts no more.  Comes from within I/O: nothing of rep.h may be called;
     * meant for ending the process. */
    void (*on_newer_epoch)(void *ctx, uint64_t epoch, const char *name);
    /* A call from a peer.  Answer with rep_reply, now or later, exactly once. */
    void (*on_call)(void *ctx, uint64_t from_id, const char *from_name, uint16_t kind,
                    const uint8_t *data, size_t len, uint64_t call_id);
};

struct rep_params {
    uv_loop_t *loop;
    const char *dir;         /* log and snapshots; made if missing */
    uint64_t id;             /* this node's raft id, never 0 */
    const char *name;        /* this node's host name */
    const char *listen;      /* "IP:PORT" for peers; several, separated by commas */
    const char *cluster;     /* cluster id; a peer with another one is refused on both sides */
    uint64_t epoch;          /* newest cluster epoch that this node knows, 0: none yet */
    struct tls_ctx *tls;     /* NULL: plain TCP, for unit tests only */
    unsigned heartbeat_ms;   /* 50 */
    unsigned election_ms;    /* 300 */
    uint64_t snapshot_bytes; /* log bytes after which a snapshot is due; 0: 64 MiB */
    uint64_t segment_bytes;  /* size of a log file, a multiple of 4 KiB; 0: 64 MiB; least: 4 MiB */
    struct rep_fsm fsm;
    struct rep_events events;
};

/* Write the first configuration into an empty dir (ERR_EXISTS otherwise). */
struct rep_member {
    uint64_t id;
    const char *name;
    const char *address;
    enum rep_member_role role;
};
int rep_bootstrap(const char *dir, const struct rep_member *members, size_t n,
                  struct err *err) ERR_USED;

/* Load snapshot and log, verify, start.  ERR_CORRUPT names file, offset and what to do. */
int rep_open(const struct rep_params *params, struct rep **ret, struct err *err) ERR_USED;
void rep_free(struct rep *r); /* tests only: stops threads and timers */

enum rep_role rep_role(const struct rep *r);
uint64_t rep_term(const struct rep *r);
uint64_t rep_leader(const struct rep *r); /* id, 0: unknown */
const char *rep_leader_name(const struct rep *r);
uint64_t rep_applied(const struct rep *r);
uint64_t rep_committed(const struct rep *r);
bool rep_lead_ready(const struct rep *r);
size_t rep_peers(const struct rep *r, struct rep_peer_info *dst, size_t max); /* all members */

/* The cluster epoch, as it became known (the caller persists it and gives it with rep_params at the
 * next start).  Two peers that know different ones refuse each other. */
void rep_set_epoch(struct rep *r, uint64_t epoch);
/* More addresses at which a member may be reached, in the form of rep_peer_info.address, tried
 * after those of the configuration; "": none.  Kept until the process ends. */
void rep_hint(struct rep *r, uint64_t id, const char *addresses);

/* Counters since the start, for metrics. */
struct rep_stats {
    uint64_t log_first, log_last; /* entries in memory */
    uint64_t log_data_bytes;      /* of applied entries, in memory */
    uint64_t log_written_bytes;
    uint64_t log_write_max_us, log_write_count, log_write_sum_us;
    uint64_t snapshot_index, snapshot_bytes; /* the newest one; 0: none */
    bool snapshot_writing;                   /* one is being written */
    uint64_t queued_bytes;                   /* commands not yet proposed or sent */
    unsigned inflight;                       /* groups proposed and not committed */
    bool disk_full;                          /* new commands are refused */
    uint64_t guard_hits;                     /* times that a guard rule had to act */
};
void rep_stats(const struct rep *r, struct rep_stats *ret);

/* Propose one command; the request is the caller's until the callback.  On a follower the command
 * is forwarded and the callback waits until the local state has applied it too.
 *
 * Errors:
 *   ERR_NO_QUORUM, ERR_NOT_LEADER, ERR_LIMIT, ERR_TOO_LARGE
 *       it did not happen and will not
 *   ERR_UNKNOWN_OUTCOME
 *       it may have happened, or may still: repeat under the same session
 *
 * On success `result` is what the state machine answered (valid during the call), `index` its
 * entry.  A command has at most 2 MiB. */
struct rep_req {
    void *data;
    void *priv[8];
};
typedef void rep_propose_cb(struct rep_req *req, const struct err *err, uint64_t index,
                            const uint8_t *result, size_t len);
void rep_propose(struct rep *r, struct rep_req *req, const void *cmd, size_t len,
                 uint64_t timeout_ms, rep_propose_cb *cb);

/* Linearizable read: the callback runs when the local state contains everything that was committed
 * when this call was made.  No log write; all waiting reads share one round.  ERR_NO_QUORUM when no
 * majority confirms within timeout_ms. */
typedef void rep_read_cb(struct rep_req *req, const struct err *err);
void rep_read(struct rep *r, struct rep_req *req, uint64_t timeout_ms, rep_read_cb *cb);

/* A call to one peer (id 0: the present leader; to itself it is delivered through on_call too).
 * kinds 1..99 are free for the caller.  A call or an answer has at most 4 MiB.
 *
 * Errors:
 *   ERR_UNREACHABLE, ERR_NO_QUORUM (no leader is known), ERR_TOO_LARGE
 *       it was not sent
 *   ERR_UNKNOWN_OUTCOME
 *       no answer in time, or the link broke
 *   others are what the peer answered */
typedef void rep_call_cb(struct rep_req *req, const struct err *err, const uint8_t *data,
                         size_t len);
void rep_call(struct rep *r, uint64_t to, uint16_t kind, const void *data, size_t len,
              uint64_t timeout_ms, struct rep_req *req, rep_call_cb *cb);
/* err may be NULL (success). */
void rep_reply(struct rep *r, uint64_t call_id, const struct err *err, const void *data,
               size_t len);

/* Hand leadership over (to 0: the best follower).  Best effort: watch on_role. */
int rep_transfer(struct rep *r, uint64_t to, struct err *err) ERR_USED;

/* Membership, leader only, one change at a time.  A leader that is to remove or demote itself hands
 * leadership over and answers ERR_NOT_LEADER: ask the new one. */
typedef void rep_change_cb(struct rep_req *req, const struct err *err);
void rep_add(struct rep *r, struct rep_req *req, const struct rep_member *m, rep_change_cb *cb);
void rep_assign(struct rep *r, struct rep_req *req, uint64_t id, enum rep_member_role role,
                rep_change_cb *cb);
void rep_remove(struct rep *r, struct rep_req *req, uint64_t id, rep_change_cb *cb);

#endif
