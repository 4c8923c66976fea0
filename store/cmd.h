#ifndef STORE_CMD_H
#define STORE_CMD_H

/* The commands of the state machine, as they go through the log, and their answers.
 *
 * On the wire: one msgpack array [op, session, seq, ack, epoch, actor, args...] (cmd_codec.c).
 * Formats only ever grow at the end; a new op or argument is gated by the feature level.  All
 * strings are UTF-8 without NUL.  A decoded struct points into the arena, never into the input.
 *
 * Every command carries who asks (struct actor), filled in by the picketd that authenticated the
 * request, and the state machine checks it against the table in docs/safety.md ("Who may write
 * what").
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum cmd_op {
    CMD_NONE = 0,
    CMD_TXN = 1,          /* compare, then, else over objects, reports or raw keys */
    CMD_SESSION_OPEN = 2, /* (owner): closes the owner's older session; value = session id */
    CMD_COMPACT = 3,      /* (rev) */
    CMD_FEATURE = 4,      /* (level) */
    CMD_INIT = 10,        /* (cluster id, epoch, lab): once, on an empty store */
    CMD_REGISTER = 11,    /* agent: new or adopted incarnation; value = incarnation */
    CMD_TERMS = 12,       /* lease terms of an incarnation: offer (controller) or confirm (agent) */
    CMD_LOST = 13,        /* controller: Live -> Lost */
    CMD_REPRIEVE = 14,    /* controller: Lost or Fencing -> Live, cancels the open Fencing by id */
    CMD_FENCE_OPEN = 15,  /* controller or operator: -> Fencing; value = fencing id */
    CMD_FENCE_ATTEMPT =
        16,                /* controller: next attempt: level, devices, executor; value = attempt */
    CMD_FENCE_RESULT = 17, /* executor: what one device read back */
    CMD_FENCE_VETO = 18,   /* controller: a life sign or a change makes this attempt Unknown */
    CMD_PROOF = 19,        /* controller: Fencing -> Fenced and every lock released, one entry */
    CMD_CONFIRM = 20,      /* operator: Confirmation proof, naming host and incarnation */
    CMD_WATCHDOG_WAIT = 21, /* controller: the wait for a Watchdog proof begins in this term */
    CMD_ACQUIRE = 22,       /* agent: take locks; values = tokens, in order */
    CMD_RELEASE = 23,       /* agent: give locks back by token */
    CMD_MIG_JOIN = 24,      /* agent of the target: enter the peer slot; value = token */
    CMD_MIG_COMMIT = 25,    /* agent of the source: owner and peer swap */
    CMD_MIG_ABORT = 26,     /* agent of the source, or controller: the peer may not become owner */
    CMD_INVENTORY = 27,     /* agent: full inventory given in this epoch (ends a quarantine) */
    CMD_ALARM = 28,         /* controller: (kind, on) */
    CMD_LEASE = 29,         /* raw leases: grant, revoke, (with attached keys through TXN) */
    CMD_RECOVER =
        30, /* admin: (new epoch, hosts joined since the backup): everything quarantined */
    CMD_CONFLICT_CLEAR =
        31,         /* admin or operator: an IdentityConflict of a host has been dealt with */
    CMD_QUOTA = 32, /* controller: (bytes of everything, bytes of raw keys); feature level 2 */
    CMD_OP_MAX = 32,
};

/* Who asks. */
enum actor_role {
    ACTOR_NONE = 0,
    ACTOR_CONTROLLER = 1, /* the leader's own controllers; valid in entry term == term only */
    ACTOR_AGENT = 2,      /* the agent of host `name` (its certificate says so) */
    ACTOR_EXECUTOR = 3,   /* the picketd of host `name`, executing a fencing */
    ACTOR_ADMIN = 4,
    ACTOR_OPERATOR = 5,
    ACTOR_USER = 6, /* authenticated, object access was decided by roles before */
    ACTOR_RAW = 7,  /* a client of the raw key space */
};

struct actor {
    enum actor_role role;
    const char *name;
    uint64_t term; /* controllers only */
};

/* Lease terms in force for an incarnation (safety.md 3). */
enum quorum_loss { QUORUM_LOSS_STOP = 0, QUORUM_LOSS_FREEZE = 1 };
enum wd_kind { WD_NONE = 0, WD_HARDWARE = 1, WD_XEN = 2, WD_SOFTDOG = 3, WD_DEV = 4 };

struct terms {
    uint32_t lease_ms;    /* L */
    uint32_t watchdog_ms; /* W, read back; 0 without a watchdog */
    uint32_t feed_ms;     /* longest time between two feeds */
    enum quorum_loss on_quorum_loss;
    enum wd_kind wd;
    bool nowayout;
    bool guarded; /* the watchdog is armed (or may be) and will end the host */
};

/* --- transactions ------------------------------------------------------------------------------
 */

enum cmp_target { CMP_VERSION, CMP_CREATE, CMP_MOD, CMP_VALUE, CMP_LEASE };
enum cmp_result { CMP_EQUAL, CMP_GREATER, CMP_LESS, CMP_NOT_EQUAL };

struct bytes {
    const uint8_t *p; /* NULL only when absent; empty is p != NULL, n == 0 */
    size_t n;
};

struct txn_cmp {
    enum cmp_target target;
    enum cmp_result result;
    struct bytes key;
    struct bytes end; /* absent: the one key */
    struct bytes value;
    uint64_t number; /* version, create or mod revision, lease */
};

enum txn_kind { TXN_PUT, TXN_DELETE, TXN_GET };

struct txn_op {
    enum txn_kind kind;
    struct bytes key;
    struct bytes end; /* DELETE and GET: range [key, end); absent: the one key */
    struct bytes value;
    uint64_t lease;
    bool prev_kv;    /* the answer carries what was there before */
    bool keep_value; /* PUT: only attach the lease (etcd's ignore_value) */
    bool keep_lease; /* PUT: etcd's ignore_lease */
    bool count_only; /* GET */
    bool keys_only;  /* GET */
    uint64_t limit;  /* GET; 0: none */
};

struct cmd_txn {
    struct txn_cmp *cmp;
    size_t n_cmp;
    struct txn_op *then_ops;
    size_t n_then;
    struct txn_op *else_ops;
    size_t n_else;
};

/* --- safety ------------------------------------------------------------------------------------
 */

struct cmd_register {
    const char *host;        /* name; must equal the actor's */
    const char *host_uid;    /* uid of the Host object */
    const char *boot_id;     /* /proc/sys/kernel/random/boot_id */
    const char *hardware_id; /* DMI product UUID or the like */
    uint64_t expected;       /* incarnation that the agent read in this boot; 0: none there yet */
    const char *nonce;       /* one use; the same nonce again gives the same answer */
    struct terms terms;
};

/* What a success of a device can prove. */
enum proof_class { CLASS_BY_TYPE = 0, CLASS_POWER = 1, CLASS_STORAGE = 2, CLASS_NONE = 3 };

struct cmd_fence_device {
    const char *name;
    uint64_t generation; /* pinned; 0: no such device now, so it proves nothing */
    const char *type;    /* "ApcSnmp", ...; decides which proof a success is */
    enum proof_class
        provides;        /* of type Agent: class of its program (safety.md 4).  BY_TYPE: Power */
    uint64_t create_rev; /* filled in by the store: a device made anew under the name is another */
};

struct cmd_fence_level {
    struct cmd_fence_device *devices;
    size_t n_devices;
};

struct cmd_lock_ref {
    const char *lock; /* "virtualmachines/vm1", "volumes/lvvm1", "volumegroups/vg0", ... */
    const char *uid;  /* uid of the object (ACQUIRE) */
    uint64_t token;   /* RELEASE, MIG_* */
};

enum fence_result { FENCE_RESULT_UNKNOWN = 0, FENCE_RESULT_SUCCEEDED = 1, FENCE_RESULT_FAILED = 2 };

enum proof_kind {
    PROOF_NONE = 0,
    PROOF_OFF = 1,
    PROOF_REBOOT = 2,
    PROOF_WATCHDOG = 3,
    PROOF_SCSI = 4,
    PROOF_CONFIRMATION = 5,
};

/* One struct for the safety commands; the comment says which op reads a field. */
struct cmd_safety {
    uint64_t incarnation;  /* TERMS LOST REPRIEVE FENCE_OPEN CONFIRM WATCHDOG_WAIT ACQUIRE RELEASE
                              MIG_* INVENTORY (CONFIRM in quarantine: 0 when the host has none) */
    uint64_t fencing;      /* REPRIEVE (0: none) FENCE_ATTEMPT FENCE_RESULT FENCE_VETO PROOF;
                              FENCE_OPEN: the open one that is to be replaced (0: none is open) */
    uint64_t attempt;      /* FENCE_RESULT FENCE_VETO PROOF; MIG_COMMIT: token of the peer of the
                              first lock (0: not checked) */
    uint64_t elapsed_ms;   /* PROOF of kind Watchdog: measured by this leader in this term */
    enum proof_kind proof; /* PROOF */
    const char *host;   /* FENCE_OPEN CONFIRM: name; must be the incarnation's.  CONFLICT_CLEAR */
    const char *reason; /* LOST REPRIEVE FENCE_OPEN FENCE_VETO CONFIRM ACQUIRE CONFLICT_CLEAR */
    uint64_t host_generation;       /* FENCE_OPEN: pinned generation of the Host object */
    struct cmd_fence_level *levels; /* FENCE_OPEN: pinned levels, may be empty */
    size_t n_levels;
    bool by_user;         /* FENCE_OPEN: also from Live (Live -> Lost -> Fencing in one entry) */
    uint32_t level;       /* FENCE_ATTEMPT: index into levels */
    const char *executor; /* FENCE_ATTEMPT: host name of the executing picketd; not the target */
    const char *device;   /* FENCE_RESULT */
    enum fence_result result;   /* FENCE_RESULT */
    const char *detail;         /* FENCE_RESULT: one line, no secrets */
    bool offer;                 /* TERMS: true: the controller offers, false: the agent confirms */
    struct terms terms;         /* TERMS */
    struct cmd_lock_ref *locks; /* ACQUIRE RELEASE MIG_* (a VM and its volumes in one command);
                                   PROOF of kind ScsiReservation: what is to be released;
                                   INVENTORY in quarantine: what this host holds (lock and uid) */
    size_t n_locks;
    bool
        life_sign; /* FENCE_VETO: the incarnation itself showed a sign of life: contradicts Watchdog
                      and Confirmation proofs too, until the next WATCHDOG_WAIT or attempt */
    bool complete; /* INVENTORY: `locks` is all that this host holds; nothing else ends a quarantine
                    */
};

struct cmd {
    enum cmd_op op;
    uint64_t session; /* 0: no deduplication */
    uint64_t seq;     /* 1, 2, ... per session */
    uint64_t ack;     /* every seq below it has been answered: its result may be forgotten */
    uint64_t epoch;   /* 0: not checked; else must be the store's */
    struct actor actor;
    struct cmd_txn txn;
    struct cmd_register reg;
    struct cmd_safety safety;
    const char *text; /* SESSION_OPEN: owner; INIT: cluster id; ALARM: kind */
    uint64_t number;  /* COMPACT: revision; FEATURE: level; INIT, RECOVER: epoch; ALARM: on; LEASE:
                         id  (0 at a grant: the store picks one, see values); QUOTA: bytes, 0:
                         default */
    uint64_t number2; /* INIT: lab; LEASE: ttl in s (0: revoke); QUOTA: bytes of raw keys */
    const char **names; /* RECOVER: hosts that joined since the backup was made */
    size_t n_names;
};

/* Append the encoding.  Checks limits (see cmd_limits below): ERR_TOO_LARGE, ERR_INVALID. */
int cmd_encode(const struct cmd *c, struct buf *out, struct err *err) ERR_USED;
/* Total: anything that is not a valid command gives ERR_INVALID with what and where. */
int cmd_decode(const void *data, size_t len, struct arena *a, struct cmd *ret,
               struct err *err) ERR_USED;

#define CMD_MAX_BYTES (2U << 20)
#define CMD_MAX_KEY 4096U
#define CMD_MAX_VALUE (1536U << 10)
#define CMD_MAX_TXN_OPS 4096U
#define CMD_MAX_LOCKS 1024U
#define CMD_MAX_TEXT 4096U
#define CMD_MAX_LEVELS 16U
#define CMD_MAX_DEVICES 16U /* of one level */
#define CMD_MAX_NAMES 1024U
#define CMD_MAX_ANSWER                                                                             \
    (8U << 20) /* of keys and values; a TXN that would read more is refused whole */

/* --- answers -----------------------------------------------------------------------------------
 */

struct txn_kv {
    struct bytes key;
    struct bytes value;
    uint64_t create_rev, mod_rev, version, lease;
};

struct txn_answer { /* one per executed op */
    enum txn_kind kind;
    uint64_t count;     /* DELETE: removed; GET: matching (before limit) */
    struct txn_kv *kvs; /* GET: found; PUT, DELETE with prev_kv: what was there */
    size_t n_kvs;
};

struct cmd_answer {
    int code;         /* 0 or enum err_code */
    const char *msg;  /* when code != 0 */
    uint64_t rev;     /* store revision after the command */
    uint64_t *values; /* incarnation, token(s), fencing id, attempt, session id */
    size_t n_values;
    bool succeeded; /* TXN: the compares held */
    struct txn_answer *answers;
    size_t n_answers;
};

int cmd_answer_encode(const struct cmd_answer *ans, struct buf *out, struct err *err) ERR_USED;
int cmd_answer_decode(const void *data, size_t len, struct arena *a, struct cmd_answer *ret,
                      struct err *err) ERR_USED;

#endif
