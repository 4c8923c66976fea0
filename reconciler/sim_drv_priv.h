#ifndef RECONCILER_SIM_DRV_PRIV_H
#define RECONCILER_SIM_DRV_PRIV_H

/* Shared by the files of the simulated driver (sim_drv*.c) only. */

#include "base/map.h"
#include "reconciler/sim_drv.h"

#define SIM_DRV_MAGIC 0x73696d64U
#define JOBS_MAX 256

struct sim_dom {
    enum dom_state state;
    enum dom_reason reason;
    char *uid;
    uint64_t incarnation, token;
    uint64_t hidden_until_ms;
    uint64_t memory; /* bytes, as it was told last */
    uint32_t vcpus;
    uint64_t dies_ms; /* a shutdown is under way: gone then; 0: none */
    bool stubborn;
    bool suspended; /* to be moved: only DRV_MIG_RESUME makes it go on */
    size_t starts;
    char *disks[16]; /* "group/name" */
    size_t n_disks;
};

struct sim_job {
    struct drv_job *job; /* NULL: orphaned */
    enum drv_op op;
    char *vm, *uid, *group, *volume;
    uint64_t size_bytes;
    bool wipe;
    uint64_t incarnation, token, not_after_ms;
    uint64_t memory; /* of the object */
    uint32_t vcpus;
    char *disks[16];
    size_t n_disks;
    uint64_t at_ms; /* UINT64_MAX: hangs */
    enum sim_fault fault;
    bool aborted;
    bool silent; /* DRV_PING: nobody answers */
    /* live migration */
    char *migration, *peer;
    int stage;
    bool arrived; /* RECEIVE: whole */
    uint64_t begin_ms, suspended_ms;
};

struct sim_drv {
    struct drv drv; /* first */
    unsigned magic;
    struct sim_drv_opts opts;
    struct prng rng;
    struct map doms;   /* vm -> struct sim_dom, owned */
    struct map active; /* "group/name" -> self */
    struct map opened; /* by hand; likewise */
    struct map wiped;  /* their openers get errors; likewise */
    struct sim_job *jobs[JOBS_MAX];
    size_t n_jobs;
    enum sim_fault fault[DRV_APPLY + 1];
    unsigned fault_count[DRV_APPLY + 1];
};

struct sim_san {
    struct map vols;
    struct map moves; /* migration -> who waits for it (sim_drv_mig.c), owned */
    struct map sizes; /* "group/name" -> bytes, as a pointer */
};

/* sim_drv.c */
uint64_t sim_now(const struct sim_drv *s);
struct sim_dom *sim_dom(struct sim_drv *s, const char *vm); /* made when missing */
void sim_fill(const struct sim_dom *d, const char *vm, struct drv_domain *ret);
void sim_emit_domain(struct sim_drv *s, const char *vm);
uint64_t sim_size(const struct sim_drv *s, const char *group, const char *name); /* 0: not known */
void sim_emit_volume(struct sim_drv *s, const char *group, const char *name, enum vol_state state);
void sim_dom_end(struct sim_drv *s, const char *vm, enum dom_state st, enum dom_reason reason);

/* sim_drv_mig.c */
void sim_mig_submit(struct sim_drv *s, struct sim_job *j);
bool sim_mig_goes_on(struct sim_drv *s, struct sim_job *j); /* due, and not over */
int sim_mig_perform(struct sim_drv *s, struct sim_job *j, struct err *err);
void sim_mig_orphan(struct sim_drv *s, struct sim_job *j);
void sim_mig_forget(struct sim_drv *s, const struct sim_job *j);

/* sim_drv_job.c */
void sim_dom_make(struct sim_drv *s, const struct sim_job *j, enum dom_state st);

bool sim_is_domain_op(enum drv_op op);
bool sim_is_volume_op(enum drv_op op);
void sim_job_finish(struct sim_drv *s, struct sim_job *j); /* frees it */
void sim_job_free(struct sim_drv *s, struct sim_job *j);

#endif
