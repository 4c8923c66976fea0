#ifndef TESTS_STORESIM_SIM_H
#define TESTS_STORESIM_SIM_H

/* The simulator of the store: up to nine nodes with the real log, guard, write-ahead log, frames,
 * snapshots and state machine in one process, in virtual time, from one seed; clients of all kinds;
 * faults; and checkers that look at every step.  docs/testing.md says how to use it.
 *
 * One world a process (main.c forks one for each seed), one thread, so what is shared is global.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "cmd/picketd/leasebook_sm.h"
#include "raft/rep.h"
#include "store/cmd.h"
#include "store/store.h"
#include "tests/storesim/lockcheck.h"
#include "tests/storesim/model.h"

#define SIM_NODES 9u
#define SIM_CLIENTS 14u
#define SIM_WATCHERS 8u
#define SIM_HEARTBEAT 50u
#define SIM_ELECTION 300u

/* --- options of one world (swarm: drawn from the seed) --- */

struct sim_opts {
    unsigned voters;                                  /* 1, 3 or 5 at the start */
    bool witness;                                     /* the last of them has no clients */
    unsigned kv, sessions, leasers, safety, watchers; /* clients of each kind */
    unsigned registers;                               /* keys of their own */
    uint64_t history;                                 /* revisions kept */
    size_t quota;
    unsigned drop, twice, late; /* per mille */
    unsigned net_ms;
    uint64_t snapshot_bytes, segment_bytes;
    uint64_t fault_every, op_every; /* ms, on average twice that is the longest */
    bool members, flips, disks, clocks, pauses, crashes, cuts, transfers;
    uint64_t safety_ms; /* length of the part with faults */
};
extern struct sim_opts opt;

/* --- totals --- */

#define SIM_FAULTS(X)                                                                              \
    X(crash)                                                                                       \
    X(torn)                                                                                        \
    X(death)                                                                                       \
    X(partition)                                                                                   \
    X(one_way)                                                                                     \
    X(link_broken)                                                                                 \
    X(pause)                                                                                       \
    X(slow_disk)                                                                                   \
    X(io_error)                                                                                    \
    X(full_disk)                                                                                   \
    X(bit_flip)                                                                                    \
    X(refused_damage)                                                                              \
    X(clock)                                                                                       \
    X(transfer)                                                                                    \
    X(member)                                                                                      \
    X(replaced)                                                                                    \
    X(lost_message)

struct sim_totals {
    uint64_t seeds, failed, virtual_ms;
    uint64_t commands, acked, unknown, refused, retried, reads, serializable, old_reads;
    uint64_t keepalives, expiries, safety_ops, proofs, lock_changes;
    uint64_t applied, predicted, watch_events, watch_compacted, watch_opened;
    uint64_t registers, register_ops, register_long, restores, elections;
#define SIM_FIELD(name) uint64_t fault_##name;
    SIM_FAULTS(SIM_FIELD)
#undef SIM_FIELD
    uint32_t story_crc;
};
extern struct sim_totals totals;

/* --- story.c --- */

/* One line of what happens; kept in memory, written when the seed fails or when asked for. */
void story(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void story_begin(uint64_t seed, const char *path, bool keep_always);
void story_end(void);
/* The seed has failed: says why, writes the story, ends the process with 1. */
void sim_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));
#define REQUIRE(e)                                                                                 \
    do {                                                                                           \
        if (!(e)) {                                                                                \
            sim_fail(__FILE__, __LINE__, "not true: %s", #e);                                      \
        }                                                                                          \
    } while (0)
#define FAIL(...) sim_fail(__FILE__, __LINE__, __VA_ARGS__)

/* --- world.c: nodes, time, links, disks --- */

struct sim_node {
    unsigned i;
    struct store *store; /* NULL: down */
    struct store_watch *audit;
    struct rep_fsm fsm;
    uint64_t applied; /* last group, or what a snapshot covered */
    uint64_t restores;
    struct leasebook book;
    uint64_t lead_term; /* 0: not leading, or the barrier is not applied */
    uint64_t lease_next;
    uint64_t down_since, down_term, down_index;
    bool gone; /* damaged or replaced: never started again */
};
extern struct sim_node nodes[SIM_NODES];

void world_setup(uint64_t seed);
void world_teardown(void);
void world_go(void); /* one event */
uint64_t now(void);
uint64_t rnd(uint64_t n);
bool chance(unsigned percent);
struct rep *rep_of(unsigned i); /* NULL: down, or about to die */
bool node_used(unsigned i);
bool node_dying(unsigned i, const char **ret_why);
bool node_paused(unsigned i);
uint64_t node_clock(unsigned i); /* its monotonic clock */
const char *node_name(unsigned i);
void node_bootstrap(unsigned n_voters);
/* False: it does not start, and *err says why. */
bool node_start(unsigned i, struct err *err);
void node_crash(unsigned i);
void node_after(unsigned i); /* after calls of rep.h: one turn of its loop */
void node_pause(unsigned i, uint64_t ms);
void node_disk_ms(unsigned i, unsigned ms);
void node_disk_fail(unsigned i, bool fail);
void node_disk_room(unsigned i, size_t bytes); /* more than it uses now; 0: no limit */
bool node_disk_flip(unsigned i, char *ret_what, size_t size); /* one bit of what is stored */
void node_clock_rate(unsigned i, unsigned per_mille);
void node_wall_step(unsigned i, int64_t ms);
void link_cut(unsigned from, unsigned to, bool cut);
void link_break(unsigned a, unsigned b);
void net_loss(unsigned drop, unsigned twice, unsigned late);
uint64_t world_torn(void);
uint64_t world_lost(void);

/* --- machine.c: the store behind rep, and what is checked of every entry --- */

extern struct model model;
extern struct lockcheck locks;

void machine_reset(void);
void machine_done(void);
void machine_start(struct sim_node *n); /* a fresh store */
void machine_stop(struct sim_node *n);
struct rep_fsm machine_fsm(struct sim_node *n);
uint64_t machine_state_after(uint64_t index); /* hash of the state; the entry was applied */
uint64_t machine_index(void);                 /* newest group that anybody applied */
uint64_t machine_leader_of(uint64_t term);
void machine_led(unsigned i, uint64_t term);
/* Equal hash and index as the newest entry? */
bool machine_is_current(const struct sim_node *n);

/* --- op.c: operations of clients --- */

enum sim_kind { OP_COMMAND, OP_READ, OP_KEEP };
enum sim_state { ST_PENDING, ST_OK, ST_REFUSED, ST_UNKNOWN, ST_NOT_DONE };

struct sim_op {
    struct rep_req req;
    uint64_t id;
    unsigned client, node;
    enum sim_kind kind;
    enum sim_state state;
    uint64_t began, ended; /* ms */
    uint64_t call, ret;    /* position in the order of all calls and returns */
    uint64_t must_rev;     /* of a linearizable read: it sees at least that */
    struct buf cmd;
    uint64_t session, seq;
    bool maybe;   /* one of its submissions may still happen */
    int code;     /* the store's, or rep's */
    uint64_t rev; /* of the store's answer */
    /* What the log did with it: each time, and the answer of the first. */
    unsigned applied;
    struct {
        uint64_t index;
        uint32_t crc;
    } * times;
    uint64_t applied_at, applied_ret;
    uint8_t *answer;
    size_t answer_len;
    /* Registers: for the linearizability checker. */
    int reg; /* -1: none */
    int wgl; /* enum wgl_kind */
    uint64_t value, expect;
    bool held;
    /* Leases. */
    uint64_t lease;
    char key_text[48], end_text[48];
    struct bytes key, end; /* of reads, in the texts */
    void (*done)(struct sim_op *op);
};

void ops_reset(void);
void ops_done(void);
size_t ops_count(void);
struct sim_op *op_at(size_t i);
struct sim_op *op_new(unsigned client, unsigned node, enum sim_kind kind);
/* Encode and propose; with a session seq is the session's, else the op's id marks the command. */
void op_submit(struct sim_op *op, struct cmd *c);
void op_again(struct sim_op *op, unsigned node); /* the same bytes, somewhere else */
void op_read(struct sim_op *op, bool linearizable);
void op_old_read(struct sim_op *op, uint64_t rev);
/* What machine.c tells of each entry of the log, when it is first applied. */
void op_applied(const struct cmd *c, uint64_t index, const uint8_t *answer, size_t len);
void op_keep(struct sim_op *op); /* keep-alive of op->lease */
void ops_node_down(unsigned i);  /* its clients hear nothing any more */
void ops_end_checks(void);       /* registers, lost commands */
uint64_t rev_seen(void);         /* newest revision that any client has seen */

/* --- client.c, lease.c, safety.c, watcher.c --- */

struct sim_client {
    unsigned i;
    enum client_kind { CL_KV, CL_SESSION, CL_LEASE, CL_SAFETY } kind;
    unsigned node;
    struct sim_op *op; /* under way */
    uint64_t next_at;
    uint64_t session, next_seq;
    unsigned generation; /* of its session */
    uint64_t lease, ttl_s;
    uint64_t answered;    /* commands and reads, refusals too */
    struct sim_op *stuck; /* must be repeated until it is answered */
};
extern struct sim_client clients[SIM_CLIENTS];
extern unsigned n_clients;

void clients_setup(void);
void clients_step(void);
void clients_teardown(void);
unsigned pick_node(void); /* where a client turns to */
void client_kv(struct sim_client *c);
void client_lease(struct sim_client *c);
void client_safety(struct sim_client *c);
void command(struct sim_client *c, struct cmd *cmd); /* starts an op */
void answer_of(const struct sim_op *op, struct arena *a, struct cmd_answer *ret);

void lease_reset(void);
void lease_tick(unsigned i); /* the leader's part */
void lease_call(unsigned i, const uint8_t *data, size_t len, uint64_t call_id);
void lease_kept(struct sim_op *op, const uint8_t *data, size_t len);
void lease_applied(const struct cmd *c, const struct cmd_answer *ans);
bool lease_all_ended(void); /* of those that nobody keeps alive */

void watchers_setup(void);
void watchers_step(void);
void watchers_node_down(unsigned i);
void watchers_teardown(void);
bool watchers_current(void);

/* --- nemesis.c --- */

struct sim_node *leader(void);
void nemesis_reset(void);
void nemesis_fault(void);
void nemesis_restart(bool all);
void nemesis_members(bool heal);
void nemesis_heal(void);
bool nemesis_healing(void);
bool nemesis_settled(void); /* no damaged node is a member any more */

#endif
