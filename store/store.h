#ifndef STORE_STORE_H
#define STORE_STORE_H

/* The deterministic state machine: a multi-version key-value store with the safety model inside.
 *
 * No I/O, no clock, no libraft: the same commands give the same state, answers and hash on every
 * replica.  Everything, the safety records included, lives in one revisioned key space, so that
 * watches, snapshots and the state hash cover all of it:
 *
 *   o/<plural>/<name>        API objects (value: struct objval header + JSON)
 *   r/<host>/<plural>/<name> reports of the agent of <host> (JSON), written by TXN of that agent
 * only k/<any bytes>            the raw key space (etcd's JSON form) s/... safety records, written
 * by the safety commands only (store/safety.h)
 *
 * A revision is a 64-bit counter, +1 for every command that changed something.  One thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "store/cmd.h"

struct store;
struct store_snap;
struct store_watch;

struct store_limits {
    size_t history_bytes; /* kept for watches and old revisions; 0: 64 MiB */
    size_t history_count; /* 0: 262144 revisions */
    size_t quota_bytes;   /* live keys and values; 0: 2 GiB; beyond it only deletes are taken */
};

/* The limits are part of the state (they decide what is refused and when history is trimmed): they
 * must be equal on all replicas, and a restored store has those of the snapshot.  NULL: defaults.
 */
struct store *store_new(const struct store_limits *limits);
void store_free(struct store *s);

/* Apply one committed command: decodes, checks, changes, and appends the encoded answer to
 * `result`. `term` and `leader_ms` come from the entry; leader_ms is made monotonic here. */
void store_apply(struct store *s, uint64_t index, uint64_t term, uint64_t leader_ms,
                 const void *cmd, size_t len, struct buf *result);

/* --- feature levels ----------------------------------------------------------------------------
 *
 * The cluster's level is part of the state and rises by CMD_FEATURE, when all members know it.  A
 * command of a higher level is refused, with no effect, by every replica.  A replica whose state is
 * of a level that it does not know must end at once, before it diverges.
 */
#ifndef STORE_FEATURE_MAX    /* tests build a picketd of the level to come (tests/dev/dev.mk) */
#define STORE_FEATURE_MAX 2U /* that this version knows */
#endif
void store_set_max_level(struct store *s, unsigned level); /* pretend to be older; for tests */
unsigned store_max_level(const struct store *s);
unsigned store_level(const struct store *s); /* of the cluster; 1 at least */
bool store_unfit(const struct store *s);

/* --- room --------------------------------------------------------------------------------------
 */

struct store_room {
    size_t bytes, quota;             /* of everything */
    size_t raw_bytes, raw_quota;     /* of keys below k/ */
    size_t set_quota, set_raw_quota; /* by CMD_QUOTA; 0: default */
    bool nospace, raw_nospace;       /* alarms */
};
void store_room(const struct store *s, struct store_room *ret);

uint64_t store_rev(const struct store *s);
uint64_t store_compact_rev(const struct store *s); /* revisions below it are gone */
uint64_t store_index(const struct store *s);       /* last applied raft index */
uint64_t store_wall_ms(const struct store *s);     /* the newest leader_ms: for people only */
uint64_t
store_hash(const struct store *s);         /* of everything that replicas must share; incremental */
size_t store_bytes(const struct store *s); /* live keys and values */
/* Who opened the session, as CMD_SESSION_OPEN named it; NULL: it is not known here. */
const char *store_session_owner(const struct store *s, uint64_t id);
#define STORE_SESSION_WINDOW 1024U /* how far seq may be ahead of ack */
size_t store_count(const struct store *s);

/* --- reads -------------------------------------------------------------------------------------
 */

/* One version of a key.  Immutable and refcounted: hold it as long as you like with kv_ref. */
struct kv {
    uint64_t create_rev, mod_rev, version, lease;
    uint32_t klen, vlen;
    uint32_t refs;
    uint32_t sub;          /* position within its revision */
    const struct kv *prev; /* private: older version within the history window */
    uint8_t bytes[];       /* key, NUL, value, NUL */
};
static inline const char *kv_key(const struct kv *v)
{
    return (const char *)v->bytes;
}
static inline const uint8_t *kv_value(const struct kv *v)
{
    return v->bytes + v->klen + 1;
}
const struct kv *kv_ref(const struct kv *v);
void kv_unref(const struct kv *v); /* NULL is fine */

/* The version of a key at revision rev (0: now); NULL when there is none.  Borrowed until the next
 * store_apply.  For rev != 0 check it against store_compact_rev and store_rev first. */
const struct kv *store_get(const struct store *s, const void *key, size_t klen, uint64_t rev);
const struct kv *store_get_str(const struct store *s, const char *key);

/* Walk [key, end) in key order at revision rev (0: now).  end NULL: the keys that begin with `key`.
 * The callback returns false to stop.  Not during store_apply. */
typedef bool store_visit_fn(void *ctx, const struct kv *v);
void store_range(const struct store *s, const void *key, size_t klen, const void *end, size_t elen,
                 uint64_t rev, store_visit_fn *fn, void *ctx);
void store_prefix(const struct store *s, const char *prefix, store_visit_fn *fn, void *ctx);

/* --- watches -----------------------------------------------------------------------------------
 */

enum kv_event_type { KV_PUT, KV_DELETE };
struct kv_event {
    enum kv_event_type type;
    uint64_t rev;
    const struct kv *kv;   /* PUT: the new version; DELETE: NULL */
    const struct kv *prev; /* what was there before, or NULL */
    const void *key;
    size_t klen;
};

/* Watch [key, end) (end NULL: prefix) from start_rev on (0: from now).  A watch is only a cursor
 * into the history ring: events are pulled, and `wake` says (once, after an applied command that
 * may match, until the next pull that runs dry) that there is something to pull.  wake must not
 * call back.  With a start_rev in the past, pull once right away. */
struct store_watch *store_watch_new(struct store *s, const void *key, size_t klen, const void *end,
                                    size_t elen, uint64_t start_rev, void (*wake)(void *ctx),
                                    void *ctx);
/* The next event: 1; nothing new: 0; ERR_COMPACTED when the cursor fell out of the ring.  Pointers
 * in *ret are valid until the next store_apply.  All events of one revision come before the next
 * one's. */
int store_watch_next(struct store_watch *w, struct kv_event *ret, struct err *err);
/* Everything up to this revision has been delivered (for progress marks and bookmarks). */
uint64_t store_watch_rev(const struct store_watch *w);
void store_watch_free(struct store_watch *w);

/* --- snapshots ---------------------------------------------------------------------------------
 */

struct store_snap *store_snap_begin(struct store *s); /* O(1): pins the copy-on-write root */
/* Any thread, while the store goes on. */
int store_snap_write(struct store_snap *snap,
                     int (*put)(void *ctx, const void *data, size_t len, struct err *err),
                     void *ctx, struct err *err) ERR_USED;
void store_snap_end(struct store_snap *snap); /* the store's thread */
/* Replace everything, the limits included; on failure the store is unchanged.  Existing watches get
 * ERR_COMPACTED.  A snapshot that is being written goes on with what it pinned. */
int store_restore(struct store *s, int (*get)(void *ctx, void *data, size_t len, struct err *err),
                  void *ctx, struct err *err) ERR_USED;

/* --- object values -----------------------------------------------------------------------------
 */

/* The value of an o/ key: this header, little-endian, then JSON. */
#define OBJVAL_HEADER 24
enum objval_flags { OBJVAL_DELETING = 1 };
void objval_encode(uint64_t generation, uint32_t flags, const char *json, size_t len,
                   struct buf *out);
/* ERR_CORRUPT when it is no object value.  *ret_json points into data. */
int objval_decode(const void *data, size_t len, uint64_t *ret_generation, uint32_t *ret_flags,
                  const char **ret_json, size_t *ret_len, struct err *err) ERR_USED;

#endif
