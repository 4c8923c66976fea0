#ifndef RECONCILER_EXEC_H
#define RECONCILER_EXEC_H

/* The executor: one work item per virtual machine, plans run step by step, nothing shared blocks.
 *
 * An item is idle, due at a time, or busy with one step (a driver job, a call of the API, or the
 * wait for an enumeration); a kick while it is busy plans it again right after (the queue, dirty
 * and processing sets of a Kubernetes workqueue).  A failing step is repeated with a back-off of
 * its own.  A hung job keeps only its own item busy.
 *
 * It has no loop and no clock: the owner gives it time, lease, API calls and storage through
 * struct vmx_ops, and calls vmx_run when vmx_next_ms has come.  One thread.
 */

#include "reconciler/intent.h"
#include "reconciler/obs.h"
#include "reconciler/plan_want.h"

struct vmx;

struct vmx_lock_ref {
    const char *lock; /* "virtualmachines/vm1" */
    const char *uid;  /* acquire */
    uint64_t token;   /* release, commit, abort */
};

/* What a migration does to the locks (safety.md 2). */
enum vmx_mig_op { VMX_MIG_JOIN, VMX_MIG_COMMIT, VMX_MIG_ABORT };

/* A lock as a linearizable read shows it. */
struct vmx_lock_info {
    const char *lock;
    uint64_t incarnation; /* of the owner, 0: free */
    uint64_t token;
    const char *host;
    uint64_t peer_incarnation; /* of the other end of a migration, 0: none */
    uint64_t peer_token;
    const char *peer_host;
    bool aborted; /* the peer may not become the owner any more */
    bool quarantined;
};

/* Exactly once per call, never before the call has returned.  err NULL on success; acquire: tokens
 * in refs' order; read: one info per lock asked for. */
typedef void vmx_acquired_cb(void *data, const struct err *err, const uint64_t *tokens, size_t n);
typedef void vmx_released_cb(void *data, const struct err *err);
typedef void vmx_read_cb(void *data, const struct err *err, const struct vmx_lock_info *infos,
                         size_t n);

struct vmx_report {
    const char *vm;
    const char *uid;
    const struct vm_report *report; /* NULL: nothing to say any more */
    uint64_t token;
    uint32_t restarts;
    uint64_t since_wall_ms;
    int64_t domid;         /* 0: none */
    const char *console;   /* where its console and its screen are, or NULL */
    const char *migration; /* id of the one that report->mig_phase is about, or NULL */
    uint64_t still_ms;     /* source: from the suspension until the memory was whole there; 0: not
                              known */
    uint64_t resume_ms;    /* target: from then until it was let run; 0: not known */
    /* The last time that this agent ended its guest or found it ended; CLOCK_REALTIME, 0: never. */
    uint64_t stop_wall_ms;
    const char *stop_reason, *stop_message;
};

typedef void vmx_secrets_cb(void *data, const struct err *err, const json_t *values);

struct vmx_ops {
    uint64_t (*now_ms)(void *ctx);
    /* Lease and guard as they are now; the executor fills in the rest. */
    void (*env)(void *ctx, struct vm_env *ret);
    void (*acquire)(void *ctx, const struct vmx_lock_ref *refs, size_t n, const char *reason,
                    vmx_acquired_cb *cb, void *data);
    void (*release)(void *ctx, const struct vmx_lock_ref *refs, size_t n, vmx_released_cb *cb,
                    void *data);
    /* JOIN: a token each; COMMIT and ABORT: none.  `peer_token` (COMMIT): that of the peer of the
     * first lock, so that a commit that comes late cannot mean another migration. */
    void (*migrate)(void *ctx, enum vmx_mig_op op, const struct vmx_lock_ref *refs, size_t n,
                    uint64_t peer_token, vmx_acquired_cb *cb, void *data);
    void (*read_locks)(void *ctx, const struct vmx_lock_ref *refs, size_t n, vmx_read_cb *cb,
                       void *data);
    /* The plain values that this machine's object refers to; `values` is valid during the call. May
     * be NULL: nobody has secrets. */
    void (*secrets)(void *ctx, const char *vm, vmx_secrets_cb *cb, void *data);
    int (*save)(void *ctx, const struct intent *i, struct err *err);
    void (*forget)(void *ctx, const char *vm);
    void (*report)(void *ctx, const struct vmx_report *r);
    void (*wake)(void *ctx); /* vmx_next_ms may be earlier than it was */
};

struct vmx_opts {
    uint64_t start_ms; /* deadlines of driver jobs */
    uint64_t stop_ms;
    uint64_t volume_ms;
    uint64_t mig_ms; /* of a migration's transfer when nothing else is said */
    uint64_t look_ms;
    uint64_t look_period_ms; /* between two enumerations without a reason */
    uint64_t sweep_period_ms;
    struct obs_opts obs;
};
extern const struct vmx_opts vmx_opts_default;

/* The driver's events are taken over (drv_listen).  `src` is copied; set its incarnation with
 * vmx_set_incarnation. */
struct vmx *vmx_new(const struct vmx_opts *opts, const struct vmx_ops *ops, void *ctx,
                    struct drv *drv, const struct plan_source *src);
/* No driver job may be in flight any more (close the driver first). */
void vmx_free(struct vmx *x);

/* What a former process wrote; before the first vmx_run. */
void vmx_load(struct vmx *x, const struct intent *i);
void vmx_set_incarnation(struct vmx *x, uint64_t incarnation);
enum vmx_list { VMX_LIST_ALL, VMX_LIST_OWNED, VMX_LIST_PEERED };
/* A linearizable list of all locks, of those that this host owns, or of those in which it is the
 * peer of a migration, asked for at sent_ms.  To be
 * repeated now and then: an acquire that nobody waits for any more (its agent died, its answer was
 * lost) may be applied later, and only a list shows that the lock is ours. */
void vmx_locks(struct vmx *x, const struct vmx_lock_info *infos, size_t n, uint64_t sent_ms,
               enum vmx_list list);
/* What was known of locks is void (another incarnation, a restored store). */
void vmx_locks_forget(struct vmx *x);
/* The metadata of a volume group is being written outside the executor (or not any more): volumes
 * are created in it later, and its lock is not swept.  False: the executor works on it. */
bool vmx_group_busy(struct vmx *x, const char *group, bool on);

/* The object of this vm changed or went (made an item if it concerns this host). */
void vmx_kick(struct vmx *x, const char *vm);
/* Something that concerns all of them changed: lease, guard, volumes, cluster. */
void vmx_kick_all(struct vmx *x);
/* Enumerate soon. */
void vmx_look(struct vmx *x);

void vmx_run(struct vmx *x);
uint64_t vmx_next_ms(const struct vmx *x); /* 0: nothing is due before an event */

struct obs *vmx_obs(struct vmx *x);
bool vmx_looked(const struct vmx *x); /* a full enumeration has succeeded */
size_t vmx_locks_held(const struct vmx *x);
/* Locks held or perhaps held: nothing may be unguarded while this is not 0. */
size_t vmx_locks_unclear(const struct vmx *x);
/* Virtual machines that are to run here, whether or not they do. */
size_t vmx_wants(struct vmx *x);
/* A job or a call is under way: locks may be about to become ours. */
bool vmx_busy(const struct vmx *x);
bool vmx_idle(const struct vmx *x); /* no item is busy or due */
/* Token of a lock that we hold, 0: not held. */
uint64_t vmx_token(const struct vmx *x, const char *lock);
/* The newest plan of a vm as text, "" when there is none; for people and tests. */
const char *vmx_plan_text(struct vmx *x, const char *vm);
/* Report everything again (a full report is being made). */
void vmx_report_all(struct vmx *x);

#endif
