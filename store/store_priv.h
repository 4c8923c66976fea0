#ifndef STORE_PRIV_H
#define STORE_PRIV_H

/* What the files of store/ share.  Nobody else includes this. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "store/cmd.h"
#include "store/kvtree.h"
#include "store/safety.h"
#include "store/store.h"

#define STORE_MAGIC 0x53746f7265313a31ULL
/* What a cluster begins with, and which level brought what.  A replica of a lower level must not
 * take part, and nothing of a level is done before the cluster is at it: else replicas diverge. */
#define STORE_FEATURE_FIRST 1U
#define LEVEL_QUOTA 2U           /* CMD_QUOTA, a quota of raw keys, a reserve for the controllers */
#define LEVEL_PRIVATE_RECORDS 2U /* o/_... has a row in the access table */
#define STORE_SESSIONS_MAX 4096U
/* A longer answer of a session's command is not kept word by word (session.c). */
#define STORE_SESSION_ANSWER_MAX 65536U
#define STORE_FENCINGS_KEPT 1000U
#define STORE_RESULTS_KEPT 64U

/* --- history ring (mvcc.c) --- */

/* Event e is a version (or a tombstone) of a key.  The ring owns no reference: until it is cut, a
 * version is the current one in the tree or the `prev` of a later one that is in the ring too.
 *
 * Trimming moves `first` (and compact_rev) at once.  Cutting prev chains and dropping tombstones
 * follows in small steps, and waits until no snapshot is pinned, so that its writer may follow what
 * it finds. */
#define HIST_CHUNK 1024U
struct hist_chunk {
    const struct kv *kv[HIST_CHUNK];
};

struct hist {
    struct hist_chunk **chunks;
    size_t n_chunks, cap;
    uint64_t base;  /* sequence number of the first event of chunks[0] */
    uint64_t cut;   /* everything before it is gone */
    uint64_t first; /* everything before it is compacted */
    uint64_t end;
    size_t bytes; /* of [first, end) */
};

static inline const struct kv *hist_at(const struct hist *h, uint64_t e)
{
    return h->chunks[(e - h->base) / HIST_CHUNK]->kv[(e - h->base) % HIST_CHUNK];
}

/* --- sessions (session.c) --- */

struct session_answer {
    uint64_t seq; /* 0: free */
    uint8_t *data;
    size_t len;
};

struct session {
    uint64_t id;
    char *owner;                  /* "ROLE:NAME" */
    uint64_t ack;                 /* everything below it has been answered for good */
    struct session_answer *slots; /* by seq modulo cap */
    size_t cap;
};

struct session_table {
    struct session *all; /* by id, ascending */
    size_t n, cap;
    uint64_t hash;
};

/* --- the store --- */

/* The parts of s/cluster and s/alarm that every command looks at; kept by st_index. */
struct store_meta {
    bool init;
    uint64_t epoch;
    uint64_t feature_level;
    uint64_t token_floor; /* tokens up to it are of before the last recovery */
    bool lab;
    bool quarantined;
    bool nospace, raw_nospace;
    size_t quota, raw_quota; /* of s/quota; 0: default */
};

struct watch_index;

struct store {
    uint64_t magic;
    struct store_limits limits;
    struct kvtree tree;      /* all keys; tombstones while they are in the history */
    struct kvtrash trash;    /* of snapshots that have ended */
    struct kvtree by_lease;  /* be64(lease) key */
    struct kvtree by_holder; /* be64(incarnation) lock */
    struct map burned;       /* boot id -> non-NULL, whatever the host uid */
    struct hist hist;
    struct store_meta meta;
    struct session_table sessions;
    struct watch_index *watches;

    uint64_t rev, compact_rev, index, term, wall_ms;
    uint64_t last_incarnation, last_token, last_fencing, last_session;
    uint64_t kv_hash; /* sum over live keys */
    size_t bytes, count;
    size_t raw_bytes;   /* of bytes: keys below k/ */
    unsigned max_level; /* feature level that this replica knows; not part of the state */

    uint32_t sub;  /* events of the command that is being applied: they belong to rev + 1 */
    uint32_t pins; /* snapshots being written */
    struct store_snap *snaps; /* which ones */
    bool orphan;              /* replaced by a restore, and kept only for its snapshots */
};

/* --- kv.c --- */

const struct kv *kv_new(const void *key, size_t klen, const void *value, size_t vlen);
struct kv *kv_mut(const struct kv *v); /* for whoever owns it before it is published */
uint64_t kv_hash(const struct kv *v);
uint64_t kv_hash_bytes(uint64_t seed, const void *data, size_t len);
size_t kv_size(const struct kv *v);
static inline bool kv_is_tombstone(const struct kv *v)
{
    return v->version == 0;
}

/* --- mvcc.c: changes of the command being applied --- */

const struct kv *st_get(const struct store *s, const void *key, size_t klen); /* live or NULL */
const struct kv *st_put(struct store *s, const void *key, size_t klen, const void *value,
                        size_t vlen, uint64_t lease);
bool st_del(struct store *s, const void *key, size_t klen); /* false: there was none */
void st_del_str(struct store *s, const char *key);
/* The command is over: give its events a revision, trim the history. */
void st_finish(struct store *s);
/* Compact up to and including rev (compact_rev <= rev <= s->rev). */
void st_compact(struct store *s, uint64_t rev);
/* What compaction left for later: at most so many events, and nothing while a snapshot is pinned.
 */
void st_cut(struct store *s, size_t max_events);
/* Append a version as it was (restore). */
void st_replay(struct store *s, const struct kv *v);
void st_load(struct store *s, const struct kv *v);
uint64_t st_hist_find(const struct store *s, uint64_t rev); /* first event with revision >= rev */
void st_hist_done(struct store *s);

/* --- index.c: what is derived from keys --- */

/* A live version appears (add) or disappears. */
void st_index(struct store *s, const struct kv *v, bool add);
void st_index_done(struct store *s);
/* Visit the names of set `t` under `number`; not while it changes. */
typedef void st_names_fn(void *ctx, const char *name, size_t len);
void st_index_walk(const struct kvtree *t, uint64_t number, st_names_fn *fn, void *ctx);

/* --- session.c --- */

/* Before execution.  1: execute; 0: *ret_answer is what was answered before (borrowed); or an
 * error. */
int session_enter(struct store *s, const struct cmd *c, const uint8_t **ret_answer, size_t *ret_len,
                  struct err *err);
/* After execution: keep the answer. */
void session_leave(struct store *s, const struct cmd *c, const struct cmd_answer *ans,
                   const uint8_t *data, size_t len);
uint64_t session_open(struct store *s, const char *owner);
void session_close_all(struct store *s);
void session_table_done(struct session_table *t);
void session_table_encode(const struct session_table *t, struct buf *out);
int session_table_decode(struct session_table *t, const void *data, size_t len, struct err *err);

/* --- apply.c --- */

/* One command on its way through the state machine. */
struct ap {
    struct store *s;
    const struct cmd *c;
    struct arena *a;
    uint64_t term;
    struct cmd_answer *ans;
    struct err *err;
    bool keeps_on_error; /* this refusal is itself recorded (IdentityConflict) */
};

void ap_value(struct ap *x, uint64_t v); /* append to the answer's values */
uint64_t ap_rev(const struct ap *x);     /* the revision that this command will have */
const char *ap_who(const struct ap *x);  /* "controller", or the actor's name */

/* --- access.c: who may write what --- */

int access_check(const struct cmd *c, uint64_t term, struct err *err);
int access_txn_write(const struct ap *x, const struct txn_op *op);
int access_txn_read(const struct ap *x, struct bytes key, struct bytes end);

/* --- txn.c --- */

int ap_txn(struct ap *x);
int ap_lease(struct ap *x); /* rawlease.c */
bool st_lease_exists(const struct ap *x, uint64_t id);
bool bytes_is_prefix(struct bytes key, const char *prefix);
/* Whether the one key, or the range, lies within the prefix. */
bool bytes_within(struct bytes key, struct bytes end, const char *prefix);
/* A key as a message may carry it: any bytes, but an answer's text is UTF-8 (access.c). */
const char *bytes_shown(struct arena *a, struct bytes key);
/* Each live key of a TXN's key or range, in order, into the arena. */
size_t st_collect(const struct store *s, struct bytes key, struct bytes end, struct arena *a,
                  const struct kv ***ret);

/* --- watch.c --- */

void watch_index_init(struct store *s);
void watch_index_done(struct store *s);
void watch_notify(struct store *s, uint64_t first, uint64_t end); /* events of one command */
void watch_break_all(struct store *s);                            /* the history was replaced */

/* --- objjson.c: the few fields of objects that safety depends on --- */

struct obj_info {
    uint64_t generation;
    uint64_t create_rev;
    uint32_t flags;
    void *json; /* json_t */
};

/* An object value taken apart (objval_decode). */
struct objval {
    uint64_t generation;
    uint32_t flags;
    const char *json;
    size_t len;
};

/* Whether spec and uid are the same; false when one of them is no JSON. */
bool obj_same_spec(const struct objval *a, const struct objval *b);
/* ERR_NOT_FOUND or ERR_CORRUPT.  obj_done frees. */
int obj_open(const struct store *s, const char *plural, const char *name, struct obj_info *ret,
             struct err *err);
void obj_done(struct obj_info *o);
const char *obj_uid(const struct obj_info *o);
const char *obj_spec_str(const struct obj_info *o, const char *field); /* or NULL */
bool obj_host_declares_level(const struct obj_info *host, const struct cmd_fence_level *lv);
/* Whether reservation device `dev` covers the lock completely (safety.md 4); why not, otherwise. */
int obj_scsi_covers(const struct store *s, const char *const *devs, size_t n_devs, const char *lock,
                    struct err *err);

/* --- safety_codec.c: keys and records --- */

const char *s_key_host(struct arena *a, const char *name);
const char *s_key_inc(struct arena *a, uint64_t number);
const char *s_key_lock(struct arena *a, const char *lock);
const char *s_key_fencing(struct arena *a, uint64_t id);
const char *s_key_boot(struct arena *a, const char *host_uid, const char *boot_id);
void s_cluster_put(struct ap *x, const struct s_cluster *r);
void s_host_put(struct ap *x, const struct s_host *r);
void s_inc_put(struct ap *x, const struct s_inc *r);
void s_lock_put(struct ap *x, const struct s_lock *r); /* deletes it when it is free */
void s_fencing_put(struct ap *x, const struct s_fencing *r);
int s_cluster_decode(const void *v, size_t n, struct arena *a, struct s_cluster *ret,
                     struct err *err);
/* Whether the record of an s/ key is sound (restore). */
int s_record_check(const struct kv *v, struct err *err);

/* --- safety_*.c: the commands --- */

int ap_init(struct ap *x);
int ap_recover(struct ap *x);
int ap_feature(struct ap *x);
int ap_alarm(struct ap *x);
int ap_quota(struct ap *x); /* quota.c, like the next two */
/* May a command of this actor make the store grow by so much, of which raw keys?  ERR_LIMIT. */
int quota_check(const struct ap *x, size_t grows, size_t raw_grows);
int quota_record_check(const struct kv *v, struct err *err);
void quota_index(struct store *s, const struct kv *v, bool add);
int ap_inventory(struct ap *x);
int ap_register(struct ap *x);
int ap_terms(struct ap *x);
int ap_lost(struct ap *x);
int ap_reprieve(struct ap *x);
int ap_watchdog_wait(struct ap *x);
int ap_conflict_clear(struct ap *x);
int ap_fence_open(struct ap *x);
int ap_fence_attempt(struct ap *x);
int ap_fence_result(struct ap *x);
int ap_fence_veto(struct ap *x);
int ap_proof(struct ap *x);
int ap_confirm(struct ap *x);
int ap_acquire(struct ap *x);
int ap_release(struct ap *x);
int ap_mig_join(struct ap *x);
int ap_mig_commit(struct ap *x);
int ap_mig_abort(struct ap *x);

/* Shared by them. */
int sf_inc(struct ap *x, uint64_t number, struct s_inc *ret); /* ERR_STALE when there is none */
int sf_inc_own(struct ap *x, struct s_inc *ret); /* the command's, and the agent's own host */
int sf_host(struct ap *x, const char *name,
            struct s_host *ret); /* zeroed record when there is none */
int sf_fencing_open(struct ap *x, uint64_t id, struct s_fencing *f, struct s_inc *inc);
void sf_set_state(struct ap *x, struct s_inc *inc, enum inc_state st, const char *reason);
/* inc -> Fenced: its locks, its open fencing, its boot id, all in this entry. */
void sf_fenced(struct ap *x, struct s_inc *inc, enum proof_kind kind, const char *reason);
void sf_fencing_close(struct ap *x, uint64_t id, enum fencing_state st, enum proof_kind kind);
/* The host is accounted for in this epoch; ends the quarantine when it was the last one. */
void sf_account(struct ap *x, const char *host);
/* Before and after the deletion of an object. */
int sf_may_delete(const struct ap *x, const struct kv *v);
void sf_deleted(struct ap *x, const char *plural, const char *name);
struct terms sf_terms_loosest(struct terms a, struct terms b);
int sf_terms_check(const struct terms *t, struct err *err);
enum proof_class sf_device_class(const struct cmd_fence_device *d, bool lab);
int sf_executor_check(struct ap *x, const struct s_fencing *f); /* the running attempt's */
int sf_lock_name_check(const char *lock, struct err *err);
/* Clear the incarnation's slots of a lock that was read, and write it. */
void sf_lock_clear(struct ap *x, struct s_lock *l, uint64_t incarnation);
/* Of lock commands (safety_lock.c): the asking incarnation is in good standing; the object of a
 * lock is there and the one that is meant; names are good and each is there once; refusals; a new
 * slot. */
int sl_holder_check(struct ap *x, const struct s_inc *inc);
int sl_locked_object_check(struct ap *x, const struct cmd_lock_ref *ref);
int sl_named_once(struct ap *x);
int sl_held_error(struct ap *x, const struct s_lock *l);
int sl_stale_token(struct ap *x, const struct s_inc *inc, const struct cmd_lock_ref *ref);
struct s_lock_slot sl_new_slot(struct ap *x, const struct s_inc *inc);
bool sf_slot_is(const struct s_lock_slot *slot, uint64_t incarnation, uint64_t token);

#endif
