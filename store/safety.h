#ifndef STORE_SAFETY_H
#define STORE_SAFETY_H

/* The safety records of the state machine (keys s/...), for whoever reads them: controllers, the
 * API's Lock and Fencing kinds, tests.  They are written by the commands of store/cmd.h only.
 *
 *   s/cluster                struct s_cluster
 *   s/host/<name>            struct s_host: the newest incarnation of a host
 *   s/inc/<%020 number>      struct s_inc
 *   s/lock/<plural>/<name>   struct s_lock
 *   s/fencing/<%020 id>      struct s_fencing
 *   s/boot/<host uid>/<boot id>  a boot id that must never register again; value: msgpack uint, the
 *                            incarnation that was fenced
 *   s/lease/<%020 id>        raw lease; value: msgpack uint, its TTL in seconds
 *   s/alarm/<kind>           an alarm that is on (NOSPACE refuses growth)
 *
 * Decoded strings live in the arena.  Pure.  Decoders return ERR_CORRUPT for anything else.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "store/cmd.h"
#include "store/store.h"

enum inc_state { INC_LIVE = 1, INC_LOST = 2, INC_FENCING = 3, INC_FENCED = 4 };
const char *inc_state_name(enum inc_state st); /* "Live", "Lost", "Fencing", "Fenced" */

struct s_cluster {
    const char *id; /* UUID */
    uint64_t epoch;
    uint64_t last_incarnation, last_token, last_fencing, last_session;
    uint64_t feature_level;
    bool lab;
    bool quarantined;     /* after restore or recover: see safety.md 1 */
    uint64_t token_floor; /* tokens up to it were given before the last recovery */
};

struct s_host {
    const char *name;
    const char *uid;
    const char *hardware_id;
    uint64_t incarnation;     /* the newest, 0: none */
    const char *conflict;     /* why IdentityConflict, or empty */
    uint64_t accounted_epoch; /* the epoch in which it was accounted for after a recovery */
};

struct s_inc {
    uint64_t number;
    const char *host;
    const char *host_uid;
    const char *boot_id;
    const char *hardware_id;
    enum inc_state state;
    uint64_t state_rev;     /* revision of the last state change */
    uint64_t state_wall_ms; /* for people */
    uint64_t epoch;
    struct terms loosest; /* what may still be in force: proofs count with this */
    struct terms offered; /* the newest offer */
    bool ever_unguarded;  /* a Watchdog proof needs it false at the last confirmation */
    uint64_t fencing;     /* open fencing id, 0: none */
    uint64_t wait_term;   /* WATCHDOG_WAIT: term in which the wait began, 0: none */
    uint64_t wait_rev;
    enum proof_kind proof; /* when Fenced */
    const char *reason;    /* of the last change */
    bool inventoried;      /* gave its inventory in this epoch */
    const char *nonce;     /* of the newest registration */
    uint64_t previous;     /* the host's incarnation before this one, 0: none known */
};

struct s_lock_slot {
    uint64_t incarnation; /* 0: empty */
    const char *host;
    uint64_t token;
    uint64_t since_rev;
    uint64_t since_wall_ms;
    const char *reason;
};

struct s_lock {
    const char *lock; /* "virtualmachines/vm1" */
    const char *uid;
    struct s_lock_slot owner;
    struct s_lock_slot peer;
    bool migration_aborted; /* the peer may not become owner any more */
    bool quarantined;
};

struct s_fencing_result {
    const char *device;
    uint64_t attempt;
    enum fence_result result;
    const char *detail;
    uint64_t wall_ms;
};

/* Who was to execute an attempt: late results are taken from nobody else. */
struct s_fencing_attempt {
    uint64_t number;
    uint32_t level;
    const char *executor;
};

enum fencing_state { FENCING_OPEN = 1, FENCING_SUCCEEDED = 2, FENCING_CANCELED = 3 };

struct s_fencing {
    uint64_t id;
    uint64_t incarnation;
    const char *host;
    enum fencing_state state;
    const char *reason;
    const char *by; /* "controller" or the user */
    uint64_t opened_wall_ms, closed_wall_ms;
    uint64_t host_generation;
    struct cmd_fence_level *levels;
    size_t n_levels;
    uint64_t attempt; /* 0: none yet */
    uint32_t level;
    const char *executor;
    bool vetoed; /* the running attempt can no longer prove anything */
    const char *veto_reason;
    bool life_sign;                   /* of the incarnation, since the last attempt or wait began */
    struct s_fencing_result *results; /* all attempts, the newest 64 */
    size_t n_results;
    enum proof_kind proof;
    struct s_fencing_attempt *attempts; /* the newest 64 */
    size_t n_attempts;
};

/* Read a record now.  0, ERR_NOT_FOUND or ERR_CORRUPT. */
int s_cluster_get(const struct store *s, struct arena *a, struct s_cluster *ret, struct err *err);
int s_host_get(const struct store *s, const char *name, struct arena *a, struct s_host *ret,
               struct err *err);
int s_inc_get(const struct store *s, uint64_t number, struct arena *a, struct s_inc *ret,
              struct err *err);
/* Would this registration be refused only because the boot before it is still Live?  ERR_REFUSED
 * with what the state machine would say, else 0.  The same answer as the command's own, by the
 * state as it is here and now, without an entry in the log for each try of a host that waits. */
int s_register_waits(const struct store *s, const struct cmd_register *r, struct err *err) ERR_USED;
int s_lock_get(const struct store *s, const char *lock, struct arena *a, struct s_lock *ret,
               struct err *err);
int s_fencing_get(const struct store *s, uint64_t id, struct arena *a, struct s_fencing *ret,
                  struct err *err);

/* A lock that nobody holds has no record: ERR_NOT_FOUND.
 * The same from a value that a walk or a watch of the prefix gave. */
int s_host_decode(const void *v, size_t n, struct arena *a, struct s_host *ret, struct err *err);
int s_inc_decode(const void *v, size_t n, struct arena *a, struct s_inc *ret, struct err *err);
int s_lock_decode(const void *v, size_t n, struct arena *a, struct s_lock *ret, struct err *err);
int s_fencing_decode(const void *v, size_t n, struct arena *a, struct s_fencing *ret,
                     struct err *err);

/* A walk over the locks that an incarnation holds, as owner or peer, in name order. */
typedef void s_lock_visit_fn(void *ctx, const char *lock);
void s_locks_of(const struct store *s, uint64_t incarnation, s_lock_visit_fn *fn, void *ctx);

/* Would a ScsiReservation proof by these FenceDevices release this lock ("volumes/lv1")?  0, or
 * ERR_REFUSED and why not; also ERR_NOT_FOUND and ERR_CORRUPT of an object. */
int s_scsi_covers(const struct store *s, const char *const *devs, size_t n_devs, const char *lock,
                  struct err *err) ERR_USED;

/* The time that must have passed since the wait began before a Watchdog proof is accepted:
 * L + W + feed interval + drift of the loosest terms (safety.md 3 and 4). */
uint64_t s_watchdog_bound_ms(const struct terms *t);

#endif
