#ifndef RECONCILER_VM_PLAN_H
#define RECONCILER_VM_PLAN_H

/* The planner of one virtual machine on one host: what should be, what is, what we hold and how
 * long our lease lasts give the next small safe step, or the reason why there is none.
 *
 * Pure: no clock, no I/O, no globals, no allocation outside the arena; the same input gives the
 * same plan, byte for byte.  docs/agent.md has the whole table in words.
 *
 * Level, not edge: it is asked again after every step and every change, and never told what
 * changed. It acts on fresh observations only, starts nothing without locks that were confirmed in
 * this incarnation and a lease that outlives the beginning of the start, and needs no lease to
 * stop.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "reconciler/drv.h"

enum vm_inc { VM_INC_UNKNOWN = 0, VM_INC_LIVE, VM_INC_LOST };

/* The situation of the host. All times are CLOCK_BOOTTIME in ms. */
struct vm_env {
    uint64_t now_ms;
    enum vm_inc inc;
    uint64_t incarnation;
    uint64_t lease_until_ms;   /* 0: no lease yet */
    uint64_t lease_half_ms;    /* without another acknowledgement we begin to stop here (L/2) */
    uint32_t margin_ms;        /* a start needs so much lease */
    uint32_t destroy_ms;       /* ending guests begins so long before the end of the lease */
    uint32_t effect_ms;        /* hard timeout of an effect outside the host (volume creation) */
    uint32_t obs_max_age_ms;   /* older observations count as UNKNOWN */
    uint32_t token_max_age_ms; /* a start needs locks confirmed within this */
    uint32_t step_ms;          /* an action is dropped when it did not begin within this */
    bool stop_on_loss;         /* onQuorumLoss: Stop */
    bool synced;               /* desired state is known to this process */
    bool guarded;              /* the watchdog is armed and the store knows, or none is needed */
    const char *guard_why;     /* when it is not */
};

enum vm_run { VM_RUN_STOPPED = 0, VM_RUN_RUNNING, VM_RUN_PAUSED };
enum vm_assign {
    VM_ASSIGN_NONE = 0, /* no decision: nothing starts, what runs goes on */
    VM_ASSIGN_NOWHERE,  /* decided: it shall not run */
    VM_ASSIGN_HERE,
    VM_ASSIGN_ELSEWHERE,
};
enum vm_on_crash { VM_CRASH_RESTART = 0, VM_CRASH_STOP, VM_CRASH_PRESERVE };

/* The end that this host is of a live migration (safety.md 2). */
enum vm_mig_role { VM_MIG_NONE = 0, VM_MIG_SOURCE, VM_MIG_TARGET };

struct vm_mig {
    enum vm_mig_role role;
    bool send;           /* the target has joined: the source may begin */
    bool cancel;         /* given up: the source aborts, the target gives back */
    bool committed;      /* the lock has changed hands, as who decides saw it: read it */
    const char *id;      /* of the migration, the same on both ends; "" without a role */
    const char *peer;    /* the other host */
    const char *address; /* of the target, "IP:PORT" */
    uint64_t bandwidth;  /* bytes a second, 0: no limit */
    uint64_t timeout_ms; /* of the transfer */
};

struct vm_want {
    const char *name;
    bool exists; /* false: no such object (any more) */
    bool deleting;
    bool paused; /* hands off: neither started nor stopped but for safety */
    const char *uid;
    uint64_t generation;
    enum vm_run run;
    enum vm_assign assign;
    const char *assigned_to; /* host name, or NULL */
    enum vm_on_crash on_crash;
    bool restart_on_poweroff;
    uint32_t restart_count; /* so many restarts within the window, then we give up here */
    uint64_t restart_window_ms;
    uint64_t shutdown_timeout_ms;
    uint64_t memory_bytes; /* can be changed while it runs, as vcpus; 0: nothing is said */
    uint32_t vcpus;
    struct vm_mig mig;
    const char *invalid; /* why it cannot be started whatever happens here, or NULL */
};

enum vm_lock_state {
    VM_LOCK_UNKNOWN = 0, /* never read, or a release was sent */
    VM_LOCK_FREE,
    VM_LOCK_MINE, /* this incarnation, with `token` */
    VM_LOCK_OTHER,
    VM_LOCK_PEER, /* this incarnation is in the peer slot of a migration, with `token` */
    VM_LOCK_QUARANTINED,
};

struct vm_lock {
    enum vm_lock_state state;
    uint64_t token;
    uint64_t confirmed_ms; /* when a linearizable answer last said so; 0: never */
    const char *holder;    /* VM_LOCK_OTHER: "node2 (incarnation 7)" */
    uint64_t read_ms;      /* when a linearizable read last showed it; 0: never */
    bool peer_joined;      /* VM_LOCK_MINE: somebody is in the peer slot */
    bool aborted;          /* the peer may not become the owner any more */
    bool ownerless;        /* VM_LOCK_PEER: the owner was proved to be gone */
};

struct vm_vol {
    const char *name;
    bool wanted;    /* the spec names it (else we only hold it still) */
    bool exclusive; /* access: Exclusive: needs a lock */
    bool creatable; /* we know group and size */
    struct vm_lock lock;
    enum vol_state state;
    uint64_t size_bytes, want_bytes; /* as it is, as the spec says; 0: not known */
    uint64_t seen_ms;
    const char *used_by; /* another virtual machine of this host that uses it, or NULL */
};

struct vm_have {
    enum dom_state state;
    enum dom_reason reason;
    const char *detail; /* of the driver, or NULL */
    const char *uid;    /* of the object the domain was started for; "" not known */
    uint64_t seen_ms;
    uint64_t look_after_ms; /* the next look makes no sense earlier */
    struct vm_lock lock;
    const struct vm_vol *vols;
    size_t n_vols;
    uint64_t memory_target_bytes; /* what it was told to have; 0: this hypervisor cannot say */
    uint32_t vcpus;
    bool adjusted;          /* to this generation of the spec; what the guest makes of it is its */
    const char *last_error; /* of the last failed step, or NULL */
    bool grow_failed;       /* and that step was to grow a volume */
    /* A volume could not be created or activated so often in a row, and since when. */
    uint32_t setup_failures;
    uint64_t setup_since_ms;
    bool sent;             /* its memory is whole on the other host, suspended here */
    bool commit_refused;   /* the store refused to swap the slots: abort */
    bool mig_over;         /* this end has given up the migration of `want` */
    const char *mig_error; /* why, or NULL */
};

/* What the host must not forget about a virtual machine, written before it is acted upon. */
enum vm_phase {
    VM_PHASE_NONE = 0,
    VM_PHASE_STARTING,   /* a start was about to be sent */
    VM_PHASE_RUNNING,    /* was seen running */
    VM_PHASE_STOPPING,   /* we stop it, for `why` */
    VM_PHASE_RESTARTING, /* it ended by itself, for `why`, and shall be started again here */
    VM_PHASE_STOPPED,    /* it ended and nothing is left to do */
    VM_PHASE_SENDING,    /* source of a migration: the guest may be suspended here */
    VM_PHASE_RECEIVING,  /* target of a migration: what is here may not run before the commit */
};
enum vm_why {
    VM_WHY_NONE = 0,
    VM_WHY_POLICY, /* runPolicy: Stopped */
    VM_WHY_MOVED,  /* assigned to another host, or to none */
    VM_WHY_DELETED,
    VM_WHY_LEASE,    /* the lease runs out */
    VM_WHY_FOREIGN,  /* another incarnation owns its lock */
    VM_WHY_POWEROFF, /* the guest powered itself off */
    VM_WHY_REBOOT,
    VM_WHY_CRASH,
    VM_WHY_VANISHED,
    VM_WHY_START_FAILED,
};
enum vm_latch {
    VM_LATCH_NONE = 0,
    VM_LATCH_POWEROFF, /* stays off until the spec changes: the guest wanted it */
    VM_LATCH_GAVE_UP,  /* crashed or failed to start too often */
};

#define VM_RESTARTS_MAX 16

struct vm_intent {
    enum vm_phase phase;
    enum vm_why why;
    uint64_t since_ms; /* of the phase */
    enum vm_latch latch;
    uint64_t latch_generation;            /* of the spec for which it holds */
    uint64_t restart_ms[VM_RESTARTS_MAX]; /* unwanted ends within the window, oldest first */
    uint32_t n_restarts;
    uint32_t restarts_total;
};

enum act_kind {
    ACT_LOOK = 1,      /* enumerate domains and volumes */
    ACT_READ_LOCKS,    /* linearizable read of the locks of the vm and its volumes */
    ACT_ACQUIRE,       /* vm and its exclusive volumes, one transaction */
    ACT_CREATE_VOLUME, /* under the metadata lock of its group */
    ACT_ACTIVATE,
    ACT_START,
    ACT_SHUTDOWN,
    ACT_DESTROY,
    ACT_PAUSE,
    ACT_UNPAUSE,
    ACT_GROW_VOLUME, /* of a running guest, under the metadata lock of its group */
    ACT_ADJUST,      /* memory and vcpus of a running guest */
    ACT_DEACTIVATE,
    ACT_RELEASE,     /* everything that is held for the vm, one transaction */
    ACT_MIG_JOIN,    /* target: into the peer slots of the vm and its exclusive volumes */
    ACT_MIG_RECEIVE, /* target: the guest is paused here then */
    ACT_MIG_SEND,    /* source: the guest is suspended here then */
    ACT_MIG_COMMIT,  /* source: the slots change places */
    ACT_MIG_ABORT,   /* source: the peer may not become the owner */
    ACT_MIG_RESUME,  /* source: after a committed abort */
};

struct act {
    enum act_kind kind;
    const char *object; /* the vm, or the volume */
    uint64_t generation;
    uint64_t not_after_ms; /* the executor refuses to begin it later */
    const char *why;       /* one clause for the log and the goldens */
};

struct vm_report {
    const char *state; /* as in docs/architecture.md; NULL: nothing to report */
    const char *reason;
    const char *message;
    bool active; /* a domain exists here, or may */
    bool halted; /* it ended by itself and shall stay so for this generation, on every host */
    const char *mig_phase;   /* what this end of a migration does, or NULL: nothing */
    const char *mig_message; /* never NULL when mig_phase is not */
};

#define VM_PLAN_ACTS_MAX 4

struct vm_plan {
    struct act acts[VM_PLAN_ACTS_MAX]; /* in order; the next only when the one before succeeded */
    size_t n_acts;
    const char *blocked_why; /* NULL, or why nothing (more) may be done now */
    uint64_t recheck_at_ms;  /* 0: only when something changes */
    bool set_intent;         /* write `intent` before the first act */
    struct vm_intent intent;
    struct vm_report report;
    bool done; /* nothing left here: domain absent, no lock held, not wanted: forget the vm */
};

/* Decide.  Never fails: a world that it cannot act on gives no acts and blocked_why.
 * Strings of *ret point into the arena or the inputs. */
void vm_plan(const struct vm_env *env, const struct vm_want *want, const struct vm_have *have,
             const struct vm_intent *intent, struct arena *a, struct vm_plan *ret);

/* One text for logs, `picket why` and goldens; times relative to now ("+1500"). */
void vm_plan_format(const struct vm_env *env, const struct vm_plan *p, struct buf *out);

const char *act_name(enum act_kind k);      /* "acquire", ... */
const char *vm_phase_name(enum vm_phase p); /* "Starting", ... */
const char *vm_why_name(enum vm_why w);     /* CamelCase, a reason of a report */
const char *vm_latch_name(enum vm_latch l); /* "", "Poweroff", "GaveUp" */
bool vm_phase_parse(const char *s, enum vm_phase *ret);
bool vm_why_parse(const char *s, enum vm_why *ret);
bool vm_latch_parse(const char *s, enum vm_latch *ret);

bool vm_intent_equal(const struct vm_intent *a, const struct vm_intent *b);
/* Earliest time of the next start after unwanted ends; 0: now. */
uint64_t vm_intent_backoff_ms(const struct vm_intent *i);

/* Is the lease so short that guests have to go?  (L/2 without an acknowledgement, or Lost.) */
bool vm_lease_ending(const struct vm_env *env);
/* May something that ends with the host begin now? */
bool vm_lease_good(const struct vm_env *env);

#endif
