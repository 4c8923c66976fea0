#ifndef RECONCILER_AGENT_PRIV_H
#define RECONCILER_AGENT_PRIV_H

/* Shared by the files of the agent (agent*.c) only. */

#include <sys/queue.h>

#include "api/client.h"
#include "base/map.h"
#include "fence/timing.h"
#include "reconciler/agent.h"
#include "reconciler/exec.h"
#include "reconciler/renew.h"

#define AGENT_MAGIC 0x6167656eU
#define AGENT_CACHES_MAX 16
#define AGENT_RETIRED_MAX 8

enum agent_phase {
    AGENT_LOOK = 0,
    AGENT_READ,      /* GET registration */
    AGENT_REGISTER,  /* POST register */
    AGENT_LEASE,     /* waiting for the first acknowledgement */
    AGENT_LOCKS,     /* GET locks */
    AGENT_INVENTORY, /* POST report, full */
    AGENT_RUN,
    AGENT_REFUSED, /* this boot is burned: waiting to be reset */
};

/* A copy of one kind's objects. */
struct agent_cache {
    struct agent *a;
    const char *plural;
    bool apply;         /* the driver puts these into effect (DRV_APPLY) */
    struct map objects; /* name -> struct agent_obj, owned */
    struct api_watch *watch;
    uint64_t round; /* of the list under way */
    bool synced;
};

struct agent_obj {
    char *text;   /* compact, without what changes all the time */
    json_t *json; /* parsed when it is asked for; dropped again when it is not hot */
    uint64_t round;
    bool hot;          /* concerns this host */
    uint64_t apply_ms; /* put into effect then; 0: it is */
};

enum agent_guard {
    GUARD_OFF = 0,
    GUARD_ARMING,
    GUARD_CONFIRMING,
    GUARD_ON,
    GUARD_UNGUARDING,
    GUARD_DISARMING
};

/* What can be asked for many machines at once (agent_sets.c). */
enum agent_set_op { AGENT_SET_ACQUIRE = 0, AGENT_SET_RELEASE, AGENT_SET_OPS };
STAILQ_HEAD(agent_sets, agent_set);

/* What survives a restart (DATA/seen.json). */
struct agent_seen {
    char cluster[40];
    uint64_t epoch;
    uint64_t revision;
    uint32_t lease_ms; /* last terms, for the time before the first acknowledgement */
    bool freeze;
};

struct agent {
    unsigned magic;
    uv_loop_t *loop;
    /* options, copied */
    char *name, *data, *intents, *boot_id, *hardware_id, *watchdog;
    struct intent_log *intent_log;
    uint32_t watchdog_timeout_ms;
    bool dev;
    void (*on_reset)(void *ctx, const char *why);
    void (*on_quorum)(void *ctx, uint64_t sent_ms);
    void (*on_host)(void *ctx, const json_t *host);
    void (*on_synced)(void *ctx);
    const char *(*on_status)(void *ctx, json_t *status);
    char storage_why[400]; /* what it said */
    bool told_synced;
    void *ctx;
    /* parts */
    struct drv *drv;
    struct vmx *vmx;
    struct renew *renew;
    /* API clients: the one in use, whose first endpoint is the one that the renewer gets answers
     * from, and older ones whose calls have not ended yet */
    struct api_client *api;
    char *api_endpoint;
    uint64_t
        away_ms; /* since when the renewer is elsewhere than at our own picketd; 0: it is not */
    struct {
        struct api_client *api;
        uint64_t until_ms;
    } retired[AGENT_RETIRED_MAX];
    char *endpoints[RENEW_ENDPOINTS_MAX];
    size_t n_endpoints;
    char *tls_cert, *tls_key, *tls_ca;
    uint64_t cert_next_ms; /* agent_cert.c, like the next one */
    bool cert_asked;
    struct timing timing, timing_logged;
    struct agent_cache caches[AGENT_CACHES_MAX];
    size_t n_caches;
    uint64_t volumes_version; /* changes with every change of a volume */
    uint64_t volumes_reported, obs_reported;
    uint64_t trim_ms;
    bool trim; /* much was freed */
    /* life cycle */
    enum agent_phase phase;
    uint64_t started_ms;
    uv_timer_t step_timer; /* repeats a step that failed */
    uint32_t step_failures;
    struct http_call *step_call;
    char nonce[37];
    char *step_error; /* of the step under way, for the log */
    uint64_t incarnation, epoch, expected;
    uint64_t sent_ms; /* of the list of locks */
    uint64_t list_ms; /* of the newest list of those that we hold */
    uint64_t list_incarnation;
    bool list_busy, list_peers;
    struct agent_seen seen;
    uint64_t seen_saved_ms;
    bool source_old; /* what we read is behind what we saw */
    uint64_t lost_read_ms;
    /* execution */
    uv_timer_t run_timer;
    uv_async_t async;                      /* the renewer changed something */
    bool async_ready;                      /* atomic */
    struct agent_call *calls;              /* of locks, under way */
    struct agent_sets sets[AGENT_SET_OPS]; /* not sent yet, owned */
    unsigned sets_flying[AGENT_SET_OPS];   /* requests under way */
    LIST_HEAD(, agent_batch) batches;      /* under way, owned */
    uv_timer_t sets_timer;
    bool in_run;
    /* guard */
    enum agent_guard guard;
    struct http_call *guard_call;
    uint64_t guard_retry_ms;
    uint64_t idle_since_ms;
    struct renew_terms confirmed;       /* terms that we confirmed last */
    struct renew_terms confirmed_offer; /* the offer that it answered */
    bool has_confirmed;
    char guard_why[256];
    /* storage heartbeat (agent_slot.c) */
    char *heartbeat_dir;
    char *slot_path; /* NULL: none */
    uint64_t slot_beat_ms;
    struct slots *slots;
    /* reports */
    struct map reports; /* "plural/name" -> struct agent_report, owned */
    uv_timer_t report_timer;
    struct http_call *report_call;
    bool report_full;
    uint32_t report_failures;
    uint64_t report_sequence; /* of the last one sent: rises through restarts of the agent, too */
    /* status */
    uv_timer_t tick; /* once a second */
    struct drv_job capacity_job;
    bool capacity_busy;
    struct drv_capacity capacity;
    char *hypervisor;
    bool has_capacity;
    uint64_t capacity_ms;
    json_t *status_sent;
    struct http_call *status_call;
    uint64_t status_retry_ms;
    uint32_t status_failures;
    uint64_t margins_ms;
    bool margins_news; /* those written last were worth a write of their own */
    /* objects of the host */
    struct agent_apply *applies; /* under way */
    size_t n_applies;
    /* NetworkChecks (agent_check.c) */
    struct agent_check *checks;
    uv_timer_t check_timer;
    /* stopping */
    bool starting;
    bool stopping;
    unsigned closing;
    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
};

/* agent.c */
void agent_wake(struct agent *a);
uint64_t agent_jitter(const struct agent *a, uint32_t failures);

/* agent_boot.c: the steps of a start */
void agent_boot_step(struct agent *a);
void agent_boot_again(struct agent *a, const char *why); /* from reading the registration on */
void agent_boot_lost(struct agent *a, uint64_t now);     /* while the lease is lost: fenced yet? */
void agent_boot_looked(struct agent *a);
void agent_boot_leased(struct agent *a);
void agent_boot_inventoried(struct agent *a);

/* agent_client.c */
int agent_client_open(struct agent *a, const char *first, struct err *err);
void agent_client_follow(struct agent *a, const char *endpoint); /* the renewer's */
void agent_client_tick(struct agent *a, uint64_t now);
void agent_cert_tick(struct agent *a, uint64_t now_ms); /* agent_cert.c */
/* GET an object, or a list (name NULL), within a time that a retired client outlives. */
struct http_call *agent_read(struct agent *a, const char *plural, const char *name,
                             const char *query, api_cb *cb, void *data);
unsigned agent_client_close(struct agent *a, void (*on_closed)(void *ctx)); /* how many close */
void agent_client_free(struct agent *a);

/* agent_slot.c: the volume that Cluster.spec.fencing.storageHeartbeat names now */
void agent_slot_follow(struct agent *a);
void agent_slot_close(struct agent *a);

/* agent_seen.c */
void agent_seen_load(struct agent *a);
void agent_seen_save(struct agent *a, bool now);

/* agent_watch.c */
void agent_watch_start(struct agent *a);
void agent_watch_restart(struct agent *a); /* on the client that is now in use */
void agent_watch_stop(struct agent *a);
void agent_watch_tick(struct agent *a, uint64_t now); /* give back memory */
const json_t *agent_object(void *ctx, const char *plural, const char *name);
bool agent_synced(const struct agent *a);
const struct agent_cache *agent_cache(struct agent *a, const char *plural); /* or NULL */
struct agent_obj *agent_find(struct agent *a, const char *plural, const char *name);

/* agent_apply.c */
void agent_apply_next(struct agent *a); /* begin what is due */
void agent_apply_tick(struct agent *a, uint64_t now);
void agent_apply_done(struct agent *a); /* frees what will not be answered any more */
void agent_apply_deleted(struct agent *a, const char *plural, const char *name);

/* agent_check.c */
void agent_check_init(struct agent *a);
void agent_check_follow(struct agent *a, const char *name); /* it changed, or is gone */
void agent_check_follow_all(struct agent *a);               /* the host's labels did */
void agent_check_done(struct agent *a); /* frees, when no question is in flight any more */

/* agent_locks.c: the executor's calls of the API */
extern const struct vmx_ops agent_vmx_ops;
void agent_env(void *ctx, struct vm_env *ret);
bool agent_freeze(const struct agent *a);
int agent_read_all_locks(struct agent *a);
void agent_locks_apply(struct agent *a, const json_t *list, uint64_t sent_ms, enum vmx_list kind);
void agent_locks_done(struct agent *a); /* frees calls that will not be answered any more */
void agent_locks_tick(struct agent *a, uint64_t now); /* now and then, those that we hold */

/* agent_sets.c: locks of many machines in one request.  A set is {locks: [...]} with what else the
 * operation wants (stolen); its part of the answer, or an error, comes exactly once, later. */
typedef void agent_set_cb(void *data, const struct err *err, const json_t *answer);
void agent_set_add(struct agent *a, enum agent_set_op op, json_t *set, agent_set_cb *cb,
                   void *data);
void agent_sets_init(struct agent *a);
void agent_sets_send(struct agent *a);
void agent_sets_done(struct agent *a); /* frees what will not be answered any more */

/* agent_guard.c */
void agent_guard_step(struct agent *a);
bool agent_guarded(struct agent *a, const char **ret_why);
void agent_guard_forget(struct agent *a);
void agent_own_terms(struct agent *a, struct renew_terms *ret);

/* agent_report.c */
void agent_report_vm(void *ctx, const struct vmx_report *r);
void agent_report_put(struct agent *a, const char *plural, const char *name, json_t *item);
void agent_report_volumes(struct agent *a);
/* What is being said now; for (size_t i = 0; (r = agent_report_next(a, &i, &key)) != NULL;) */
const json_t *agent_report_next(const struct agent *a, size_t *pos, const char **ret_key);
void agent_report_send_full(struct agent *a);
void agent_report_done(struct agent *a);   /* frees */
json_t *agent_body(const struct agent *a); /* {incarnation, epoch} */
struct http_call *agent_post(struct agent *a, const char *op, json_t *body, bool repeatable,
                             uint64_t timeout_ms, api_cb *cb, void *data);

/* agent_status.c */
void agent_status_tick(struct agent *a);
void agent_status_capacity(struct agent *a);

#endif
