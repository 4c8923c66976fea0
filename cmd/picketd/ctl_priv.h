#ifndef CMD_PICKETD_CTL_PRIV_H
#define CMD_PICKETD_CTL_PRIV_H

/* What the controllers share within one pass.  Private to ctl*.c. */

#include <jansson.h>

#include "base/map.h"
#include "cmd/picketd/change.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/lease.h"
#include "fence/decide_plan.h"

/* A parsed object or report, kept current by a watch. */
struct ctl_obj {
    const struct kind *k; /* NULL: a report */
    char *name;
    char *host;   /* reports: whose */
    json_t *json; /* stored form (objects), or the report */
    uint64_t rev;
};

struct ctl_host_memory {  /* volatile, of this leader's term */
    uint64_t powered_inc; /* fenced incarnation whose host we switched on again */
    uint64_t suspect_ms;
    uint64_t ready_seen_ms; /* newest time its lease was good */
};

struct controller {
    struct node *node;
    uint64_t term; /* 0: stopped */
    uint64_t since_ms;
    uint64_t cold_start_ms;
    uv_async_t wake;
    uv_timer_t timer;
    struct store_watch *watch;
    struct map objects;  /* key -> struct ctl_obj */
    struct map reports;  /* key -> struct ctl_obj */
    struct map hosts;    /* name -> struct ctl_host_memory */
    struct map attempts; /* "fencing/attempt" -> struct ctl_time: when we saw it begin */
    unsigned inflight;
    bool dirty;
    bool what_if;        /* no controller at all: see pass_what_if */
    uint64_t recheck_ms; /* the next pass at the latest */
    uint64_t objects_ms; /* the next one over all objects at the latest */
    uint64_t ready;      /* which hosts held a lease at the last pass, as a sum */
};

struct ctl_time {
    uint64_t ms;
};

#define PASS_CHANGES_MAX 128U

/* One pass: facts that several planners need, and the changes of objects that they decided. */
struct pass {
    struct controller *c;
    struct arena a;
    uint64_t now_ms;
    uint64_t wall_ms;
    struct timing timing;
    const json_t *cluster; /* the Cluster object's JSON, or NULL: defaults */
    struct change changes[PASS_CHANGES_MAX];
    size_t n_changes;
    bool more;        /* there was more to change than fits */
    struct map locks; /* "virtualmachines/vm1" -> struct s_lock (in the arena) */
    struct map incs;  /* host -> struct s_inc (in the arena), the newest */
};

/* Ask to be run again no later than that. */
void pass_recheck(struct pass *p, uint64_t at_ms);

/* The object, or NULL. */
struct ctl_obj *ctl_find(const struct controller *c, const char *plural, const char *name);
/* Walk the objects of a kind in name order of their creation; pos starts at 0. */
struct ctl_obj *ctl_next(const struct controller *c, const struct kind *k, size_t *pos);
const json_t *ctl_report(const struct controller *c, const char *host, const char *plural,
                         const char *name);
const struct s_inc *pass_inc(const struct pass *p, const char *host); /* NULL: none */
const struct s_lock *pass_lock(const struct pass *p, const char *plural, const char *name);
/* Live incarnation and a lease that has not run out. */
bool pass_host_ready(const struct pass *p, const char *host);

/* Put `next` (stolen) in the place of an object, if it differs. */
void pass_update(struct pass *p, const struct ctl_obj *o, json_t *next);
void pass_create(struct pass *p, const struct kind *k, const char *name, json_t *obj);
void pass_delete(struct pass *p, const struct ctl_obj *o);

/* Submit a command as this term's controller. */
void ctl_submit(struct controller *c, struct cmd *cmd);

/* The planners, in the order in which a pass runs them. */
void ctl_fence_pass(struct pass *p);
void ctl_terms_pass(struct pass *p);
void ctl_host_pass(struct pass *p, const struct decide_plan *d);
void ctl_ref_pass(struct pass *p);
void ctl_volume_pass(struct pass *p);
void ctl_vm_pass(struct pass *p);
void ctl_cluster_pass(struct pass *p);

/* A pass over the local state with changes laid over it, that decides nothing: Live incarnations
 * count as ready.  On any node. */
struct pass *pass_what_if(struct node *n, const struct change *changes, size_t count);
void pass_what_if_done(struct pass *p);

/* References of an object that do not exist, as "Volume lvvm3, Bridge br9"; "" when all do. */
const char *pass_missing_refs(struct pass *p, const struct ctl_obj *o);

#endif
