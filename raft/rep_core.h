#ifndef RAFT_REP_CORE_H
#define RAFT_REP_CORE_H

/* The inside of struct rep, for the files of raft/ only.
 *
 * Order of things: something happens (a frame, a tick, a finished write, a call of rep.h); the raft
 * core runs between rep_enter and rep_leave and leaves sends, completions and events behind;
 * rep_step then proposes what was collected, sends, starts the log's write and runs the callbacks.
 * So the core is never entered twice, and no callback runs inside it or inside the call that
 * started it.
 */

#include <raft.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "raft/conf_codec.h"
#include "raft/frame_codec.h"
#include "raft/group_codec.h"
#include "raft/guard.h"
#include "raft/rep.h"
#include "raft/rep_env.h"
#include "raft/wal.h"

#define REP_MAGIC 0x52455021u
#define REP_GROUPS_INFLIGHT 2u       /* raft-notes 1.1, "Commit rule" */
#define REP_QUEUE_MAX (64u << 20)    /* bytes of commands that wait */
#define REP_WINDOW (4u << 20)        /* entries sent and not acknowledged, per peer */
#define REP_APPEND_MAX (1u << 20)    /* entries in one AppendEntries */
#define REP_CHUNKS 256u              /* AppendEntries on their way, per peer */
#define REP_CALL_MAX (4u << 20)      /* bytes of a call or its answer */
#define REP_APPLY_SLICE (256u << 10) /* bytes of groups applied in one step: about 2 ms */
#define REP_PENDING_MAX 4u           /* groups committed and not applied with which one proposes */
#define REP_TELL_MS 2u               /* a new commit index waits so long for entries to go with */
#define REP_TRAILING 8192u           /* entries kept behind a snapshot, if they fit */
#define REP_SHED_KEEP (4u << 20)     /* of applied entries' data kept in memory */
#define REP_PROGRESS_PROBE 0u        /* progress.h of 0.15.0 */
#define REP_PROGRESS_PIPELINE 1u
#define REP_PROGRESS_SNAPSHOT 2u

/* --- peers --- */

struct rep_peer {
    struct rep_peer_info info;
    char *hint; /* more addresses (rep_hint), NULL: none */
    bool up;
    /* Leader: what was sent to it over the present link in the present term. */
    uint64_t next;  /* next entry to send, 0: not streaming */
    uint64_t acked; /* highest entry it acknowledged */
    uint64_t knows; /* commit index that it was told and could take */
    bool eager;     /* somebody there waits for what is committed: tell it at once */
    bool owed;      /* it is to be told at owed_ms, unless an AppendEntries does it before */
    uint64_t owed_ms;
    uint64_t short_ms; /* it needed data that was gone (rep_shed.c); 0: never */
    bool broken;       /* what it needs is not in the log any more */
    bool below;        /* says that it has less than it acknowledged: not listened to */
    uint64_t last_append_ms;
    struct {
        uint64_t last;
        size_t bytes;
    } chunks[REP_CHUNKS]; /* a ring */
    unsigned chunk_head, n_chunks;
    size_t inflight;     /* bytes of them */
    uint64_t probe_ack;  /* highest read round it confirmed */
    uint64_t probe_sent; /* the last one that it was asked about as one of a few */
    struct rep_ship *ship;
};

/* --- proposals --- */

enum rep_wait_state { WAIT_OPEN, WAIT_READY /* answered, to be applied here */, WAIT_OVER };

struct rep_wait { /* one command of a group */
    enum rep_wait_state state;
    struct rep_req *req; /* local; NULL: nobody waits any more, or remote */
    rep_propose_cb *cb;
    uint64_t deadline_ms;
    uint64_t from; /* remote: peer, 0: local */
    uint64_t tag;  /* remote: its group */
    uint32_t slot; /* remote: place in that group */
    bool drop;     /* not to be proposed any more */
    uint64_t index;
};

struct rep_group {
    struct raft_apply apply;
    struct rep *rep;
    struct rep_group *next;
    struct group g; /* data is NULL once raft has it */
    struct rep_wait *waits;
    size_t cap_waits;
    uint32_t n;      /* waits */
    uint32_t n_over; /* forwarded: waits that are over */
    bool any_drop;
    struct buf *results; /* as many as waits */
    size_t cap_results;
    uint64_t tag, to; /* forwarded */
    int status;
};

struct rep_groups { /* a queue */
    struct rep_group *head, **tail;
    size_t n;
};

/* --- events: callbacks to come --- */

enum rep_event_kind {
    EVENT_ROLE,
    EVENT_READY,
    EVENT_APPLIED, /* a group is to be applied, or was; group: its waiters, or NULL */
    EVENT_LOST,    /* a group was not, as far as we know */
    EVENT_FAIL,    /* a proposal, read, change or call failed at once */
    EVENT_CHANGED, /* a change of the members is committed */
    EVENT_CALL,
    EVENT_REPLY,
};

struct rep_event {
    enum rep_event_kind kind;
    uint64_t a, b, c;
    struct rep_group *group;
    struct rep_failure *failure;
    struct rep_call_in *call;
    /* APPLIED: a is its index, b its term and then, applied, the state's hash right after it. */
    struct raft_buffer entry; /* the core's; NULL: the state machine has it already */
};

enum rep_req_kind { REQ_PROPOSE, REQ_READ, REQ_CALL, REQ_CHANGE };

struct rep_failure {
    enum rep_req_kind kind;
    struct rep_req *req;
    void (*cb)(void); /* of the kind's type */
    struct err err;
};

/* --- reads --- */

struct rep_read { /* lives in rep_req.priv */
    struct rep_read *next;
    rep_read_cb *cb;
    uint64_t deadline_ms;
    uint64_t index; /* wait until this is applied */
};
_Static_assert(sizeof(struct rep_read) <= sizeof(((struct rep_req *)0)->priv), "fits");

struct rep_reads {
    struct rep_read *head, **tail;
};

struct rep_remote_read {
    struct rep_remote_read *next;
    uint64_t from, tag;
};

/* --- calls --- */

struct rep_call_out { /* lives in rep_req.priv */
    struct rep_call_out *next;
    rep_call_cb *cb;
    uint64_t deadline_ms;
    uint64_t id;
    uint64_t to;
};
_Static_assert(sizeof(struct rep_call_out) <= sizeof(((struct rep_req *)0)->priv), "fits");

struct rep_call_in {
    struct rep_call_in *next;
    uint64_t id; /* what on_call was told */
    uint64_t from, remote_id;
    uint16_t kind;
    struct err err; /* of the answer to ourselves */
    struct buf data;
};

/* --- I/O of the core --- */

struct rep_append { /* what waits for a position of the log */
    struct rep_append *next;
    struct raft_io_append *req; /* of the core; else: */
    void (*after)(struct rep *r, void *ctx);
    void *ctx;
    uint64_t pos;
};

struct rep_sent {             /* what is to be completed when the core has returned */
    struct raft_io_send *req; /* of the core; else: */
    void (*later)(struct rep *r, void *ctx);
    void *ctx;
    raft_io_send_cb cb;
    int status;
};

struct rep_held { /* a frame that waits for term and vote to be durable */
    struct rep_held *next;
    uint64_t to, pos;
    size_t len;
    uint8_t data[];
};

struct rep {
    unsigned magic;
    bool started, dead, in_core, stepping;
    struct err load_err; /* of a restore inside raft_start */
    void **load_bufs;    /* the entries' data meanwhile: the core forgets them when that fails */
    size_t n_load_bufs;
    struct rep_params params; /* strings are owned */
    struct rep_env env;
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct guard guard;
    struct wal *wal;
    struct wal_log log; /* between replay and start */

    /* io */
    struct rep_append *appends, **appends_end, *append_pool;
    struct rep_sent *sent;
    size_t n_sent, cap_sent;
    raft_io_tick_cb tick_cb;
    raft_io_recv_cb recv_cb;
    uint64_t io_term, meta_pos;
    uint64_t cut_pos; /* rule 11: end when this is durable; 0: no */
    struct rep_held *held, **held_end;
    struct buf frame; /* being built */

    /* peers */
    struct rep_peer *peers[CONF_SERVERS_MAX];
    size_t n_peers;
    const void *conf_servers; /* what the peers were made from */
    raft_index conf_index, conf_uncommitted;
    unsigned conf_n;
    struct raft_entry scratch[1024];

    /* role as last told */
    int role_state;
    raft_term role_term;
    raft_id role_leader;
    uint64_t lead_term; /* term for which the peers' progress was reset */

    /* events */
    struct rep_event *events;
    size_t n_events, cap_events, next_event;
    unsigned n_pending;    /* of them, groups that are to be applied */
    uint64_t applied;      /* the last group that was */
    uint64_t ready_term;   /* the state machine has what was committed when this term began */
    size_t slice, pending; /* bytes applied in this step; of groups that are to be applied */

    /* proposals */
    struct rep_groups queue, forwarded;
    size_t queue_bytes;
    unsigned n_inflight;
    struct rep_group *inflight; /* list, for time-outs */
    struct rep_group *group_pool;
    uint64_t next_tag;
    uint64_t forward_not_before_ms;
    struct rep_cmd cmds[GROUP_CMDS_MAX];
    struct buf *results; /* of the group being applied */
    uint64_t log_bytes;  /* applied since the last snapshot */

    /* memory of the log (rep_shed.c) */
    raft_index shed;         /* entries up to it have no data, or were passed over */
    raft_index shed_counted; /* the data of entries up to it is in shed_bytes */
    size_t shed_bytes;
    bool shed_short; /* a member needs data that is gone */
    bool shed_loading;
    bool shed_lost;       /* and it cannot be read back */
    unsigned shed_failed; /* tries in a row */
    bool shed_asked;
    struct raft_barrier shed_barrier;
    uint64_t shed_not_before_ms; /* after a failure */

    /* reads */
    struct rep_reads reads_new, reads_round, reads_asked, reads_apply;
    struct rep_remote_read *remote_new, *remote_round;
    bool round_active;
    bool round_few; /* only as many were asked as are needed */
    uint64_t round_seq, round_term, round_index, round_ms;
    uint64_t asked_tag, asked_to; /* 0: no question is out */

    /* calls */
    struct rep_call_out *calls;
    struct rep_call_in *calls_in;
    uint64_t next_call;
    size_t n_calls_in;

    /* what voters acknowledged */
    struct wal_ack acks[WAL_ACKS_MAX];
    size_t n_acks;
    bool acks_changed;
    uint64_t acks_ms;

    /* membership */
    struct rep_change *change;
    /* transfer */
    uint64_t transfer_to, transfer_until_ms;

    /* snapshots */
    struct rep_snap *snap;
    char leader_name[64];
};

/* rep.c */
void rep_enter(struct rep *r);
void rep_leave(struct rep *r);
void rep_die(struct rep *r, const char *why);
uint64_t rep_now(const struct rep *r);
struct rep_peer *rep_peer(const struct rep *r, uint64_t id); /* NULL: no member */
/* The peer's progress while this node leads, else NULL. */
struct raft_progress *rep_progress(struct rep *r, uint64_t id);
/* Send the frame in r->frame (which is emptied), after term and vote are durable. */
bool rep_send(struct rep *r, uint64_t to);
/* The peer's address as the core wants it in messages.  A copy, since handling a message may
 * replace the configuration; the core makes its own. */
const char *rep_address(const struct rep *r, uint64_t id, char *dst, size_t size);
bool rep_can_send(const struct rep *r, uint64_t to); /* link is up and its queue is short */
struct rep_event *rep_event(struct rep *r, enum rep_event_kind kind);
/* Fail a request in the next step. */
void rep_fail(struct rep *r, enum rep_req_kind kind, struct rep_req *req, void (*cb)(void),
              const struct err *err);

/* rep_io.c */
void rep_io_init(struct rep *r);
void rep_io_durable(struct rep *r); /* the log went forward */
void rep_io_sent(struct rep *r);    /* complete the core's sends */
/* Inside the core: when everything added to the log so far is durable; when the core has returned.
 */
void rep_io_after(struct rep *r, void (*fn)(struct rep *r, void *ctx), void *ctx);
void rep_io_later(struct rep *r, void (*fn)(struct rep *r, void *ctx), void *ctx);
void rep_io_complete(struct rep *r, struct raft_io_send *req, raft_io_send_cb cb, int status);
void rep_io_done(struct rep *r);

/* rep_pump.c: AppendEntries */
int rep_pump_append(struct rep *r, const struct raft_message *msg); /* 0 or a raft status */
void rep_pump_acked(struct rep *r, struct rep_peer *p,
                    const struct raft_append_entries_result *res);
void rep_pump(struct rep *r, struct rep_peer *p);
void rep_pump_reset(struct rep_peer *p);
/* Tell followers the new commit index: at once where somebody waits for it, else with the next
 * entries or after REP_TELL_MS. */
void rep_pump_commit(struct rep *r);
void rep_pump_eager(struct rep *r, uint64_t id); /* somebody at that peer waits */

/* rep_shed.c */
void rep_shed(struct rep *r); /* free the data of entries that nobody needs; once a step */
bool rep_shed_gone(const struct raft_entry *e);
void rep_shed_tick(struct rep *r);

/* rep_propose.c, rep_forward.c */
int rep_fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result);
/* Give the state machine the group of an event, once. */
void rep_apply_event(struct rep *r, struct rep_event *e);
void rep_apply_all(struct rep *r); /* everything that is committed, before the log's memory goes */
void rep_propose_init(struct rep *r);
void rep_propose_step(struct rep *r);
void rep_propose_tick(struct rep *r, uint64_t now);
void rep_propose_applied(struct rep *r, struct rep_event *e);
void rep_propose_done(struct rep *r);
struct rep_group *rep_group_new(struct rep *r);
void rep_group_put(struct rep *r, struct rep_group *g); /* back to the pool */
struct rep_wait *rep_queue_add(struct rep *r, const void *cmd, size_t len);
void rep_wait_fail(struct rep *r, struct rep_wait *w, int code, const char *text);
void rep_queue_strip(struct rep *r, struct rep_group *g);
struct rep_group *rep_queue_pop(struct rep *r);
void rep_forward_step(struct rep *r);
void rep_forward_tick(struct rep *r, uint64_t now);
void rep_forward_down(struct rep *r, uint64_t id);
void rep_forward_ready(struct rep *r);
void rep_forward_request(struct rep *r, uint64_t from, const uint8_t *data, size_t len);
void rep_forward_result(struct rep *r, uint64_t from, const uint8_t *data, size_t len);
/* Answer remote waiters [i, n) of one peer in a row; returns the first one after them. */
uint32_t rep_forward_answer(struct rep *r, struct rep_group *g, uint32_t i, int code);

/* rep_read.c */
void rep_read_init(struct rep *r);
void rep_read_step(struct rep *r);
void rep_read_tick(struct rep *r, uint64_t now);
void rep_read_down(struct rep *r, uint64_t id);
void rep_read_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len);
void rep_read_done(struct rep *r);

/* rep_call.c */
void rep_call_tick(struct rep *r, uint64_t now);
void rep_call_down(struct rep *r, uint64_t id);
void rep_call_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len);
void rep_call_event(struct rep *r, struct rep_event *e);
void rep_call_done(struct rep *r);

/* rep_acks.c */
void rep_acks_tick(struct rep *r, uint64_t now);
void rep_acks_up(struct rep *r, uint64_t id);
void rep_acks_frame(struct rep *r, uint64_t from, uint16_t kind, const uint8_t *data, size_t len);

/* rep_member.c */
void rep_member_step(struct rep *r);
void rep_member_role(struct rep *r); /* role or term changed */
void rep_member_done(struct rep *r);

/* rep_load.c */
int rep_load(struct rep *r, struct err *err) ERR_USED; /* snapshot and log to memory */
int rep_load_core(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snap,
                  raft_index *start, struct raft_entry **entries, size_t *n);

/* rep_snap.c */
int rep_snap_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                 const struct raft_snapshot *snap, raft_io_snapshot_put_cb cb);
int rep_snap_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);
int rep_snap_work(struct raft_io *io, struct raft_io_async_work *req, raft_io_async_work_cb cb);
/* Counts what was applied and makes the core take a snapshot when one is due. */
void rep_snap_due(struct rep *r);
void rep_snap_init(struct rep *r); /* fills r->fsm */
void rep_snap_done(struct rep *r);

/* rep_ship.c: a snapshot on its way to a peer.  True: the request is completed later. */
bool rep_ship_send(struct rep *r, struct raft_io_send *req, const struct raft_message *msg,
                   raft_io_send_cb cb);

#endif
