#ifndef RECONCILER_SIM_DRV_H
#define RECONCILER_SIM_DRV_H

/* A hypervisor in memory under virtual time, with faults on request: for unit tests and for the
 * simulator of the whole cluster.
 *
 * Nothing happens on its own: time comes from a callback, and jobs end when sim_drv_run is called
 * at or after sim_drv_next_ms.  The disks of all hosts are one struct sim_san.  One thread.
 */

#include "base/clock.h"
#include "reconciler/drv.h"

/* Shared storage: which volumes exist, how often they were created. */
struct sim_san;

struct sim_san *sim_san_new(void);
void sim_san_free(struct sim_san *s);
void sim_san_add(struct sim_san *s, const char *group, const char *name);
bool sim_san_has(const struct sim_san *s, const char *group, const char *name);

struct sim_drv_opts {
    uint64_t (*now_ms)(void *ctx);
    void *ctx;
    struct sim_san *san;
    uint64_t seed;     /* of latencies and hidden domains */
    uint64_t start_ms; /* typical durations; each job takes between half and twice as long */
    uint64_t stop_ms;
    uint64_t volume_ms;
    uint64_t list_ms;
    uint64_t shutdown_ms; /* from the request until the guest has gone */
    uint64_t mig_ms;      /* of a live migration's transfer */
    bool not_live;        /* it cannot migrate live */
    /* Live migration: can this host reach that one?  NULL: always. */
    bool (*reach)(void *ctx, const char *host);
    /* A job of this driver ends earlier than sim_drv_next_ms said.  May be NULL. */
    void (*poke)(void *ctx);
    uint64_t memory_bytes, cpus;
    /* DRV_PING: does the address answer?  NULL: every address does. */
    bool (*answers)(void *ctx, const char *address);
};

enum sim_fault {
    SIM_FAULT_NONE = 0,
    SIM_FAULT_FAIL,         /* ERR_DRIVER, nothing done */
    SIM_FAULT_UNKNOWN_DONE, /* ERR_UNKNOWN_OUTCOME, and it was done */
    SIM_FAULT_UNKNOWN_NOT,  /* ERR_UNKNOWN_OUTCOME, and it was not */
    SIM_FAULT_HANG,         /* no answer before it is aborted; then as UNKNOWN_NOT */
};

enum sim_guest { SIM_GUEST_POWEROFF, SIM_GUEST_REBOOT, SIM_GUEST_CRASH, SIM_GUEST_VANISH };

struct drv *sim_drv_new(const struct sim_drv_opts *opts);
void sim_drv_run(struct drv *d);
uint64_t sim_drv_next_ms(const struct drv *d); /* 0: nothing under way */

/* The next `count` jobs of this kind end like that. */
void sim_drv_fault(struct drv *d, enum drv_op op, enum sim_fault f, unsigned count);
/* Something happens inside a running guest; false when it does not run.  SIM_GUEST_VANISH gives
 * neither a record nor an event. */
bool sim_drv_guest(struct drv *d, const char *vm, enum sim_guest what);
/* The guest ignores requests to shut down. */
void sim_drv_stubborn(struct drv *d, const char *vm, bool on);
/* The domain is missing from lists for so long though it runs (features.md C05). */
void sim_drv_hide(struct drv *d, const char *vm, uint64_t ms);
/* The host lost its power: domains and activations are gone, jobs never end. */
void sim_drv_power_off(struct drv *d);

bool sim_drv_runs(const struct drv *d, const char *vm);    /* running or paused */
bool sim_drv_running(const struct drv *d, const char *vm); /* and not paused */
void sim_drv_not_live(struct drv *d, bool on);
/* A person activates the volume by hand; the driver tells of it. */
void sim_drv_activate(struct drv *d, const char *group, const char *name);
/* Somebody has it open, or not any more. */
void sim_drv_hold(struct drv *d, const char *group, const char *name, bool on);
bool sim_drv_held(const struct drv *d, const char *group, const char *name);
bool sim_drv_wiped(const struct drv *d, const char *group, const char *name);
uint64_t sim_drv_size(const struct drv *d, const char *group, const char *name); /* bytes */
bool sim_drv_active(const struct drv *d, const char *group, const char *name);
uint64_t sim_drv_memory(const struct drv *d, const char *vm); /* bytes, as it was told last */
uint64_t sim_drv_token(const struct drv *d, const char *vm);  /* of a running guest */
size_t sim_drv_starts(const struct drv *d, const char *vm);   /* how often it was started here */
/* An agent died: jobs in flight end as they would, but nobody is told, and nobody listens. */
void sim_drv_orphan_jobs(struct drv *d);

#endif
