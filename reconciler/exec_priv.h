#ifndef RECONCILER_EXEC_PRIV_H
#define RECONCILER_EXEC_PRIV_H

/* Shared by the files of the executor (exec*.c) only. */

#include "base/map.h"
#include "reconciler/exec.h"

#define VMX_MAGIC 0x766d7830U
#define VMX_ITEM_MAGIC 0x766d7831U

struct vmx_lock {
    enum vm_lock_state state;
    uint64_t token;
    uint64_t confirmed_ms;
    uint64_t read_ms;    /* when a read last showed it */
    uint64_t peer_token; /* MINE: of the peer, 0: none */
    bool aborted;        /* the peer may not become the owner any more */
    bool ownerless;      /* PEER: nobody owns it */
    uint64_t changed_ms; /* when a call of ours (or a read) last said something about it */
    bool release_sent;   /* lost to us until the next acquire, whatever the reply was */
    char *holder;
};

enum vmx_wait { VMX_IDLE = 0, VMX_JOB, VMX_CALL, VMX_LOOK };

/* Stages of ACT_CREATE_VOLUME. */
enum vmx_stage { VMX_STAGE_NONE = 0, VMX_STAGE_LOCK, VMX_STAGE_CREATE, VMX_STAGE_UNLOCK };

struct vmx_item {
    unsigned magic;
    struct vmx *x;
    struct intent rec;
    /* queue */
    enum vmx_wait wait; /* not VMX_IDLE: busy */
    bool dirty;         /* kicked while busy */
    uint64_t due_ms;    /* 0: not due */
    bool gone;          /* free it when it is not busy any more */
    /* the plan under way; everything in it lives in the arena */
    struct arena a;
    struct plan_want want;
    struct vm_plan plan;
    size_t step;
    json_t *object; /* reference held while a job uses it */
    /* the step under way */
    struct drv_job job;
    bool aborted;
    uint64_t sent_ms;
    uint64_t stamp; /* of the observations, when the job was submitted */
    struct vmx_lock_ref *refs;
    size_t n_refs;
    enum vmx_stage stage;
    char *create_group; /* group whose metadata lock this item holds or wants */
    struct err create_err;
    /* failures */
    json_t *secrets; /* of the step under way, or NULL */
    void (*after_secrets)(struct vmx_item *it);
    enum act_kind failed_kind;
    uint32_t failures;
    uint64_t first_failed_ms;   /* of them */
    uint64_t failed_generation; /* of the spec, when last planned */
    uint64_t retry_ms;
    char *last_error;
    uint64_t adjusted_generation; /* of the spec that the running guest was told of last */
    struct buf text;
    bool reported;
    bool stopping;         /* since it ran last, an act has begun to end it */
    uint64_t stop_wall_ms; /* the last such time, 0: never */
    char *stop_reason, *stop_message;
    /* a migration (exec_mig.c) */
    char *mig_id;     /* the one that the rest is about, or NULL */
    bool mig_sent;    /* whole on the other host, suspended here */
    bool mig_refused; /* the commit was */
    bool mig_over;    /* given up at this end */
    bool mig_look;    /* kicked while a transfer is under way: is it still wanted? */
    char *mig_error;
    uint64_t received_ms; /* when it was whole here */
    uint64_t still_ms, resume_ms;
};

struct vmx {
    unsigned magic;
    struct vmx_opts opts;
    struct vmx_ops ops;
    void *ctx;
    struct drv *drv;
    struct plan_source src;
    struct obs *obs;
    struct map items;  /* vm -> struct vmx_item, owned */
    struct map locks;  /* "plural/name" -> struct vmx_lock, owned */
    uint64_t locks_ms; /* when the full list was asked for, 0: never */
    /* enumeration */
    struct drv_job look_doms, look_vols;
    unsigned looking; /* jobs of the enumeration in flight */
    bool look_again;
    bool look_failed, look_doms_failed, look_active_told;
    uint64_t look_stamp;
    uint64_t look_due_ms;
    uint64_t look_until_ms; /* aborted then; 0: it was */
    bool looked;
    struct map groups; /* written outside: name -> this */
    /* sweep of locks that no vm accounts for */
    uint64_t sweep_due_ms;
    bool sweeping;
    struct drv_job sweep_job;
    uint64_t sweep_until_ms; /* of the job, 0: none, or aborted */
    char *sweep_lock, *sweep_group, *sweep_name;
    bool sweep_wipe;     /* it is open */
    unsigned stray_turn; /* which of those that are open */
    bool running;        /* in vmx_run */
    uint64_t run_ms;     /* when it was called last */
    bool ending;         /* the lease, when last looked at */
    bool good;
    uint64_t lease_half_ms;
};

uint64_t vmx_now(const struct vmx *x);
void vmx_due(struct vmx_item *it, uint64_t at_ms);        /* at the latest then */
struct vmx_item *vmx_item(struct vmx *x, const char *vm); /* made when missing */
void vmx_item_free(struct vmx_item *it);
/* The step under way ended. */
void vmx_step_done(struct vmx_item *it, const struct err *err);

void vmx_report_item(struct vmx_item *it);

/* exec_locks.c */
struct vmx_lock *vmx_lock_entry(struct vmx *x, const char *lock);
void vmx_lock_view(const struct vmx *x, const char *lock, struct vm_lock *ret);
void vmx_lock_apply(struct vmx *x, const struct vmx_lock_info *info, uint64_t sent_ms);
void vmx_lock_set(struct vmx *x, const char *lock, enum vm_lock_state st, uint64_t token,
                  uint64_t confirmed_ms);
void vmx_locks_free(struct vmx *x);
const char *vmx_vm_lock(struct arena *a, const char *vm);
const char *vmx_vol_lock(struct arena *a, const char *vol);

/* exec_have.c: everything that the planner is told about an item */
void vmx_have(struct vmx_item *it, const struct vm_env *env, struct vm_have *ret);
/* Another item of this host that accounts for a volume; NULL: none. */
const char *vmx_vol_user(const struct vmx_item *it, const char *vol, bool exclusive);

/* Are the locks of the start under way still ours? */
bool vmx_start_confirmed(const struct vmx_item *it);

/* exec_act.c */
void vmx_act(struct vmx_item *it, const struct act *act);
void vmx_full_env(const struct vmx *x, struct vm_env *ret);

/* exec_mig.c: the steps of a live migration */
void vmx_mig_act(struct vmx_item *it, const struct act *act);
void vmx_mig_step(struct vmx_item *it, enum act_kind k, const struct err *err); /* one ended */
void vmx_mig_have(struct vmx_item *it, struct vm_have *ret);
void vmx_mig_check(struct vmx_item *it); /* abort a transfer that nobody wants any more */
void vmx_mig_free(struct vmx_item *it);
/* Used by it, of exec_act.c. */
void vmx_job_init(struct vmx_item *it, enum drv_op op, uint64_t timeout_ms);
void vmx_acquire_refused(struct vmx_item *it);
void vmx_refs_init(struct vmx_item *it);
void vmx_add_ref(struct vmx_item *it, const char *lock, const char *uid, uint64_t token);

/* exec_look.c */
void vmx_look_start(struct vmx *x);
void vmx_look_run(struct vmx *x, uint64_t now_ms);

/* exec_secrets.c: `go`, once it->secrets is there, or when none are needed */
void vmx_with_secrets(struct vmx_item *it, void (*go)(struct vmx_item *it));

/* exec_sweep.c */
/* exec_stray.c: begin to take away a volume that is active without its lock; false: there is none
 */
bool vmx_stray_run(struct vmx *x);
/* exec_sweep.c: some virtual machine here uses the volume */
bool vmx_accounted(const struct vmx *x, const char *volume);
void vmx_sweep_run(struct vmx *x, uint64_t now_ms);

#endif
