#ifndef RECONCILER_PLACE_H
#define RECONCILER_PLACE_H

/* Placement: which host every virtual machine shall run on, and why not elsewhere.
 *
 * Pure: no clock, no I/O, no globals; everything reachable from a result lives in the arena of the
 * call.  The same input gives the same result, byte for byte, whatever the order of its arrays:
 * decisions go by priority and name, never by index.  Input strings and arrays belong to the caller
 * and must live as long as the result (texts point into them).  Any thread, one arena each.
 *
 * Indices are positions in place_input.hosts, .vms, .rules and .resources; PLACE_NONE means none.
 * Sources: features.md B04, B05, B61, B62, B89, B90, C07, C20, C21; safety.md 7; docs/placement.md.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

#define PLACE_NONE UINT32_MAX

/* What an outcome or a rejection is called in status.placement.reason and .rejected[].reason */
#define PLACE_REASON_TABLE(X)                                                                      \
    /* outcomes of a virtual machine */                                                            \
    X(PLACE_ASSIGNED, "Assigned")                     /* a host was chosen */                      \
    X(PLACE_KEPT, "Kept")                             /* stays where it is */                      \
    X(PLACE_NOT_WANTED, "NotWanted")                  /* shall not run */                          \
    X(PLACE_HELD, "Held")                             /* paused by its owner: left as it is */     \
    X(PLACE_MIGRATING, "Migrating")                   /* a migration is under way */               \
    X(PLACE_WAITING_FOR_VM, "WaitingForVM")           /* startAfter does not hold yet */           \
    X(PLACE_DEPENDENCY_CYCLE, "DependencyCycle")      /* startAfter leads back to itself */        \
    X(PLACE_WAITING_FOR_FENCING, "WaitingForFencing") /* a host not Live holds its lock */         \
    X(PLACE_WAITING_FOR_HOST, "WaitingForHost")       /* ha.policy Never, and its host is gone */  \
    X(PLACE_QUARANTINED, "LockQuarantined") /* restored lock: who holds it is not known */         \
    X(PLACE_WAITING_FOR_PREEMPTION, "WaitingForPreemption") /* others have to stop first */        \
    X(PLACE_NO_CAPACITY, "NoCapacity")          /* would suit, but memory or CPUs are used up */   \
    X(PLACE_NO_SUITABLE_HOST, "NoSuitableHost") /* no host would do, however empty */              \
    X(PLACE_DRAINED, "HostMaintenance")         /* moves, or should, since its host is drained */  \
    X(PLACE_RULE_VIOLATED, "RuleViolated")      /* moves, or should, for a required rule */        \
    X(PLACE_FAILBACK, "Failback")               /* moves to a host that it prefers */              \
    X(PLACE_PREEMPTED, "Preempted")             /* moves or stops for a higher priority */         \
    /* why a host was rejected */                                                                  \
    X(PLACE_R_NOT_READY, "NotReady")                                                               \
    X(PLACE_R_CORDONED, "Cordoned")                                                                \
    X(PLACE_R_MAINTENANCE, "Maintenance")                                                          \
    X(PLACE_R_HOSTS, "NotInHosts")                                                                 \
    X(PLACE_R_NOT_HOSTS, "InNotHosts")                                                             \
    X(PLACE_R_SELECTOR, "SelectorMismatch")                                                        \
    X(PLACE_R_RULE_ON, "RuleOnHosts")                                                              \
    X(PLACE_R_RULE_NOT_ON, "RuleNotOnHosts")                                                       \
    X(PLACE_R_RULE_TOGETHER, "RuleTogether")                                                       \
    X(PLACE_R_RULE_APART, "RuleApart")                                                             \
    X(PLACE_R_LACKS, "LacksResource")                                                              \
    X(PLACE_R_AVOID, "StartFailed")                                                                \
    X(PLACE_R_MEMORY, "NotEnoughMemory")                                                           \
    X(PLACE_R_CPU, "NotEnoughCPU")                                                                 \
    X(PLACE_R_GROUP, "GroupDoesNotFit") /* it alone would fit, its Together group not */           \
    X(PLACE_R_FAILED, "Failed")         /* the host is one of those assumed to fail */

enum place_reason {
#define PLACE_REASON_ENUM(name, text) name,
    PLACE_REASON_TABLE(PLACE_REASON_ENUM)
#undef PLACE_REASON_ENUM
};

const char *place_reason_name(enum place_reason r);

/* ---- input ---- */

enum place_host_state {
    PLACE_HOST_READY,       /* Live incarnation with a lease, takes virtual machines */
    PLACE_HOST_CORDONED,    /* Live; what runs there stays, nothing new comes */
    PLACE_HOST_MAINTENANCE, /* Live; what runs there shall leave (also: NetworkCheck failed) */
    PLACE_HOST_SUSPECT,     /* Lost or Fencing: its locks are held, nothing may be taken over yet */
    PLACE_HOST_DOWN,        /* Fenced, never registered, or no capacity known: holds nothing */
};

struct place_label {
    const char *key;
    const char *value;
};

/* Something a host is known not to have (not: of which nothing is known). */
struct place_lack {
    uint32_t resource;
    const char *why; /* may be NULL */
};

struct place_host {
    const char *name;
    const struct place_label *labels;
    size_t n_labels;
    uint64_t memory; /* bytes for guests: dom0's reserve is already subtracted */
    uint32_t cpus;   /* physical; times policy.cpu_percent / 100 bounds the vCPUs */
    enum place_host_state state;
    const char *why; /* text for a state other than Ready: "lease lost 12s ago"; may be NULL */
    const struct place_lack *lacks;
    size_t n_lacks;
};

enum place_failback { PLACE_FAILBACK_NEVER, PLACE_FAILBACK_WHEN_IDLE, PLACE_FAILBACK_ALWAYS };
enum place_ha { PLACE_HA_RESTART, PLACE_HA_BEST_EFFORT, PLACE_HA_NEVER };

struct place_after {
    uint32_t vm;      /* PLACE_NONE: no such virtual machine */
    const char *name; /* as written in startAfter */
    bool ready;       /* condition Ready, not just Running; for the text */
    bool satisfied;   /* it holds now */
};

/* A host where it may not be started for now, e.g. after failed starts. */
struct place_avoid {
    uint32_t host;
    const char *why; /* may be NULL */
};

struct place_vm {
    const char *name; /* unique */
    int64_t priority; /* higher first */
    uint64_t memory;  /* bytes that Xen will need at most, overhead included */
    uint32_t vcpus;
    enum place_ha ha;
    enum place_failback failback; /* the cluster's default already applied */
    bool wanted;                  /* runPolicy Running or Paused, not being deleted */
    bool held; /* `current` owns its lock or is seen running it: it is there, whatever we like */
    bool hold; /* leave it as it is (spec.paused) */
    bool preemptible; /* may be stopped for a higher priority (ha.policy BestEffort) */
    bool migratable;  /* live migration is possible */
    uint32_t current; /* lock owner, else the assigned host; PLACE_NONE (with held: quarantined) */
    uint32_t migrating_to; /* the peer of a running migration; PLACE_NONE */
    bool has_left;         /* a migration was committed; the end that it left, `left`, still has */
    uint32_t left;         /* its memory for a moment */

    const uint32_t *hosts; /* spec.placement.hosts: only these, if there are any */
    size_t n_hosts;
    bool only_hosts; /* hosts was given (even if no name in it exists) */
    const uint32_t *not_hosts;
    size_t n_not_hosts;
    const struct place_label *selector; /* all must match a host's labels */
    size_t n_selector;
    const uint32_t *needs; /* resources */
    size_t n_needs;
    const struct place_after *after;
    size_t n_after;
    const struct place_avoid *avoid;
    size_t n_avoid;
    const char *spread_by; /* label of hosts, or NULL: like a preferred Apart rule of weight 1... */
    const char *spread_key; /* ...for all with the same key and label, such as their own labels */
};

enum place_rule_type { PLACE_TOGETHER, PLACE_APART, PLACE_ON_HOSTS, PLACE_NOT_ON_HOSTS };

struct place_rule {
    const char *name; /* unique */
    enum place_rule_type type;
    bool required;        /* else preferred, with weight */
    uint32_t weight;      /* 1..100; 0 counts as 1 */
    const char *topology; /* Together, Apart: label whose value makes hosts one place; NULL: host */
    const uint32_t *vms;
    size_t n_vms;
    const uint32_t *hosts; /* OnHosts, NotOnHosts */
    size_t n_hosts;
};

enum place_strategy { PLACE_SPREAD, PLACE_PACK };

struct place_policy {
    enum place_strategy strategy;
    uint32_t cpu_percent; /* vCPUs per 100 physical CPUs; 0: no limit */
    bool preemption;      /* lower priorities that are preemptible may be stopped */
    bool idle;            /* nothing else goes on: failback WhenIdle may act (one move a plan) */
    bool ignore_after;    /* where everything ends up: startAfter counts as satisfied */
};

struct place_input {
    struct place_policy policy;
    const struct place_host *hosts;
    size_t n_hosts;
    const struct place_vm *vms;
    size_t n_vms;
    const struct place_rule *rules;
    size_t n_rules;
    const char *const *resources; /* "bridge br0", "volume group vgvm1", "CPU feature vmx" */
    size_t n_resources;
};

/* ---- result ---- */

enum place_action {
    PLACE_NOTHING, /* the assignment says all */
    PLACE_MIGRATE, /* live migrate from `host` to `target` */
    PLACE_STOP,    /* shut down where it runs: a higher priority needs the room */
};

struct place_reject {
    uint32_t host;
    enum place_reason reason;
    uint32_t ref;  /* rule or resource that the reason is about; PLACE_NONE */
    uint32_t vm;   /* Together, Apart: somebody in the way; PLACE_NONE: not known by name */
    uint64_t need; /* bytes or vCPUs */
    uint64_t free;
};

struct place_result {
    uint32_t host;   /* status.assignedHost: where it is or shall be started; PLACE_NONE */
    uint32_t target; /* of PLACE_MIGRATE; of WaitingForPreemption: where room is being made */
    enum place_action action;
    enum place_reason reason;
    const char *message;                /* one line; never NULL */
    const struct place_reject *rejects; /* one a host, by host name, when no host was found */
    size_t n_rejects;
};

struct place_load {
    uint64_t memory;
    uint64_t vcpus;
};

struct place_plan {
    const struct place_input *in;
    const struct place_result *vms;  /* one each of in->vms, same index */
    const uint32_t *order;           /* indices of in->vms in the order of decision */
    const uint32_t *host_order;      /* indices of in->hosts by name */
    const struct place_load *before; /* by host: what runs there now */
    const struct place_load *used;   /* by host: with what is reserved, sources of moves included */
    const struct place_load *after;  /* by host: when all moves and stops are done */
    const bool *failed;              /* by host: assumed to have failed; NULL: none */
    size_t n_assigned;               /* wanted ones with a host */
    size_t n_unplaced;               /* wanted ones without */
    size_t n_moves;                  /* PLACE_MIGRATE */
    size_t n_stops;                  /* PLACE_STOP */
};

/* Decide for all virtual machines in one pass.  Never fails: input that contradicts itself gives
 * results that say so.  Indices out of range are our own mistake (CHECK). */
void place_decide(const struct place_input *in, struct arena *a, struct place_plan *ret);

/* The same as if `failed` had been fenced just now and every startAfter held in time. */
void place_fail_plan(const struct place_input *in, const uint32_t *failed, size_t n_failed,
                     struct arena *a, struct place_plan *ret);

/* "needs 4Gi, 1.5Gi free of 60Gi" */
void place_reject_text(const struct place_input *in, uint32_t vm, const struct place_reject *r,
                       char *dst, size_t size);

/* before / because / after, for people and goldens.  `all`: also what stays as it is. */
void place_format(const struct place_plan *plan, bool all, struct buf *out);

/* ---- capacity ---- */

enum place_verdict { PLACE_PROVED, PLACE_REFUTED, PLACE_NOT_PROVED };
const char *place_verdict_name(enum place_verdict v);

struct place_capacity {
    enum place_verdict verdict;
    uint32_t failures;      /* the question: so many hosts at once */
    uint32_t max_tolerated; /* so many are proved (at most `failures`) */
    const uint32_t *failed; /* Refuted: the smallest failing set found; NotProved: the worst seen */
    size_t n_failed;
    const uint32_t *left; /* virtual machines left over when those fail, in order of decision */
    size_t n_left;
    uint64_t left_memory; /* their bytes together */
    uint64_t sets;        /* examined */
    uint64_t steps;       /* host checks spent */
    const char *message;  /* one line; never NULL */
};

/* Would every virtual machine with ha.policy Restart still run if any `failures` hosts died at
 * once? Exactly what place_fail_plan would do is asked for every set of hosts that may fail, so
 * Proved and Refuted are facts about Picket, not about the best packing that somebody might find.
 * Sets of one are always examined in full; for larger ones `budget` bounds the host checks (0: no
 * bound), then the verdict is NotProved.  failures 0 asks about now. */
void place_capacity(const struct place_input *in, uint32_t failures, uint64_t budget,
                    struct arena *a, struct place_capacity *ret);

#endif
