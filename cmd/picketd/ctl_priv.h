#ifndef CMD_PICKETD_CTL_PRIV_H
#define CMD_PICKETD_CTL_PRIV_H

/* What the controllers share.  Private to ctl*.c and capacity.c.
 *
 * The world (world.h) tells what changed; ctl_dirty.c turns that into a list of objects whose
 * status may be another one now, and into "placement has to be asked again".  A pass does a bounded
 * piece of that list.  What an object's status depends on is exactly what ctl_dirty.c says; a test
 * compares with doing everything from scratch.
 */

#include <jansson.h>

#include "base/map.h"
#include "cmd/picketd/change.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/lease.h"
#include "cmd/picketd/world.h"
#include "fence/decide_plan.h"

struct ctl_host_memory {  /* volatile, of this leader's term */
    uint64_t powered_inc; /* fenced incarnation whose host we switched on again */
    uint64_t suspect_ms;
    uint64_t ready_seen_ms; /* newest time its lease was good */
};

struct ctl_time {
    uint64_t ms;
};

#define PASS_CHANGES_MAX 128U
#define PASS_BYTES_MAX (1U << 20) /* of stored objects in one transaction */
#define PASS_US 5000U             /* objects are looked at for so long in one pass */

struct ctl_key {
    const struct kind *k;
    char name[256];
};

#define PASS_PROVED_MAX 4U /* hosts whose proofs one pass can count on */

struct vm_places;

struct controller {
    struct node *node;
    uint64_t passes;
    struct world *world;
    uint64_t term; /* 0: stopped */
    uint64_t since_ms;
    uint64_t grace_ms; /* the startup grace began, 0: never */
    bool returned;     /* with the return of a leader, not with a cold start */
    bool grace_busy;   /* its record is being written */
    bool led;          /* this process has led before */
    uv_async_t wake;
    uv_timer_t timer;
    struct map hosts;    /* name -> struct ctl_host_memory */
    struct map attempts; /* "fencing/attempt" -> struct ctl_time: when we saw it begin */
    unsigned inflight;
    bool dirty;          /* run a pass */
    bool what_if;        /* no controller at all: see pass_what_if */
    struct map overlay;  /* what-if: "plural/name" -> struct ctl_obj; json NULL: deleted */
    uint64_t refused_ms; /* no pass before: the log took nothing a moment ago */
    struct map alone;    /* "check host" -> struct ctl_time: alone without network since then */
    uint64_t recheck_ms; /* the next pass at the latest */
    uint64_t resync_ms;  /* everything is looked at again */

    struct ctl_obj *dirty_head, *dirty_tail; /* objects to look at */
    size_t n_dirty;
    struct vm_places *places; /* the newest placement, or NULL */
    bool place_dirty;         /* its input changed */
    uint64_t place_hosts;     /* sum of what placement saw of the hosts */
    uint64_t place_runs;
    uint64_t mig_asks;     /* so often placement was asked for one migration's target */
    uint64_t avoid_ms;     /* when the next status.avoid ends; 0: there is none */
    bool counts_dirty;     /* the Cluster's counts */
    bool capacity_dirty;   /* and its proof */
    uint64_t capacity_ms;  /* not before */
    struct ctl_key *batch; /* what the transaction under way changes */
    size_t n_batch;
    size_t batch_max;
};

/* One pass: facts that several planners need, and the changes of objects that they decided. */
struct pass {
    struct controller *c;
    struct arena a;
    uint64_t now_ms;
    uint64_t wall_ms;
    struct timing timing;
    const json_t *cluster; /* the Cluster object's JSON, or NULL: defaults */
    struct change changes[PASS_CHANGES_MAX];
    const struct ctl_obj *causes[PASS_CHANGES_MAX];
    size_t n_changes;
    size_t bytes;
    bool more; /* there was more to change than fits */
    /* Incarnations whose proof this pass has submitted, as they are once it is applied. */
    struct s_inc proved[PASS_PROVED_MAX];
    size_t n_proved;
    struct netcheck *checks;
    size_t n_checks;
};

/* Ask to be run again no later than that. */
void pass_recheck(struct pass *p, uint64_t at_ms);

/* The object, or NULL. */
struct ctl_obj *ctl_find(const struct controller *c, const char *plural, const char *name);
/* Walk the objects of a kind in order of their creation; pos starts at 0. */
struct ctl_obj *ctl_next(const struct controller *c, const struct kind *k, size_t *pos);
const json_t *ctl_report(const struct controller *c, const char *host, const char *plural,
                         const char *name);
/* The next two as they are once the proofs of this pass are applied; NULL: none. */
const struct s_inc *pass_inc(const struct pass *p, const char *host);
const struct s_lock *pass_lock(struct pass *p, const char *plural, const char *name);
/* Live incarnation and a lease that has not run out. */
bool pass_host_ready(const struct pass *p, const char *host);

/* Put `next` (stolen) in the place of an object, if it differs. */
void pass_update(struct pass *p, const struct ctl_obj *o, json_t *next);
void pass_create(struct pass *p, const struct kind *k, const char *name, json_t *obj,
                 const struct ctl_obj *cause);
void pass_delete(struct pass *p, const struct ctl_obj *o);
/* No room for another change in this pass. */
bool pass_full(const struct pass *p);
void pass_submit(struct pass *p);
/* A proof that releases everything was submitted: what else this pass decides counts on it, and its
 * changes are made only if it was taken. */
void pass_proved(struct pass *p, const char *host);

/* Submit a command as this term's controller. */
void ctl_submit(struct controller *c, struct cmd *cmd);

/* --- what is to be looked at (ctl_dirty.c) -----------------------------------------------------
 */
void ctl_world_event(void *ctx, const struct world_change *ch);
void ctl_mark(struct controller *c, struct ctl_obj *o);
void ctl_mark_all(struct controller *c);
void ctl_mark_batch(struct controller *c); /* the transaction failed: decide again */
struct ctl_obj *ctl_take(struct controller *c);
void ctl_dirty_drop(struct controller *c);
/* Leases that came or went since the last pass. */
void ctl_ready_scan(struct pass *p);

/* The startup grace (ctl_grace.c): does it begin with this leadership; write down that it lasts. */
void ctl_grace_start(struct controller *c, uint64_t now);
void ctl_grace_pass(struct pass *p);

/* The planners, in the order in which a pass runs them. */
void ctl_fence_pass(struct pass *p);
void ctl_terms_pass(struct pass *p);
void ctl_host_pass(struct pass *p, const struct decide_plan *d);
void ctl_device_pass(struct pass *p);
/* What fencing adds to the status of a FenceDevice and of a Host (ctl_fence_status.c). */
void fence_device_status(struct pass *p, const struct ctl_obj *o, json_t *next);
void fence_host_status(struct pass *p, const struct ctl_obj *o, json_t *next);
bool ctl_place_pass(struct pass *p); /* if its input changed: true */
void ctl_migration_pass(struct pass *p);
void ctl_cluster_pass(struct pass *p);
/* status.lastStop of `next`, whose phase and conditions are written; `report` may be NULL. */
void ctl_stop_update(struct pass *p, const struct ctl_obj *vm, const char *host,
                     const json_t *report, json_t *next);
/* Hosts on which a machine failed: status.avoid from a report (may be NULL); its times. */
void ctl_avoid_update(struct pass *p, const struct ctl_obj *vm, const char *host,
                      const json_t *report, json_t *next);
bool ctl_avoid_active(const struct pass *p, const json_t *entry);
void ctl_avoid_pass(struct pass *p);
/* status.drain and the condition Drained of a host. */
void ctl_drain_status(struct pass *p, const struct ctl_obj *host, json_t *next);
/* The drain took too long, and what is left shall be stopped. */
bool ctl_drain_stops(const struct pass *p, const struct ctl_obj *host);
/* NetworkChecks: looked at together before the hosts; then the condition of a host, the status of a
 * check. */
void ctl_netcheck_pass(struct pass *p);
void ctl_netcheck_host(struct pass *p, const struct ctl_obj *host, json_t *next);
void ctl_netcheck_status(struct pass *p, const struct ctl_obj *o, json_t *next);
/* One object. */
void ctl_ref_one(struct pass *p, const struct ctl_obj *o);
void ctl_volume_one(struct pass *p, const struct ctl_obj *o);
void ctl_vm_one(struct pass *p, struct ctl_obj *o);

/* A pass over the local state with changes laid over it, that decides nothing: Live incarnations
 * count as ready.  On any node. */
struct pass *pass_what_if(struct node *n, const struct change *changes, size_t count);
void pass_what_if_done(struct pass *p);

/* References of an object that do not exist, as "Volume lvvm3, Bridge br9"; "" when all do. */
const char *pass_missing_refs(struct pass *p, const struct ctl_obj *o);

#endif
