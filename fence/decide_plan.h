#ifndef FENCE_DECIDE_PLAN_H
#define FENCE_DECIDE_PLAN_H

/* The fencing decision: facts in, decisions out.  The heart of failover.
 *
 * Pure: no clock, no I/O, no globals; the same facts give the same decisions, byte for byte
 * (decide_format).  Called by the leader's controller after every change of a fact and at
 * recheck_at_ms.  Level, not edge: it gets what is, never what changed; each decision is carried
 * out by one command, and the next call sees its effect.  The store checks everything again
 * (safety.md).
 *
 * All times are milliseconds of the leader's CLOCK_BOOTTIME; 0 means never or unknown.  The caller
 * owns the facts; everything in *ret lives in the arena or is a pointer into the facts. Rules and
 * their reasons: docs/fencing.md.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "fence/dev.h"

/* How the reason of a fencing begins that `picket fence test --cycle` asked for. */
#define FENCE_WIRING_TEST "wiring test"

enum decide_state { /* of the newest incarnation of a host; NONE: it never registered */
                    DECIDE_INC_NONE = 0,
                    DECIDE_INC_LIVE = 1, /* values as in the store */
                    DECIDE_INC_LOST = 2,
                    DECIDE_INC_FENCING = 3,
                    DECIDE_INC_FENCED = 4,
};

enum decide_wd { /* watchdog kinds, values as in the store */
                 DECIDE_WD_NONE = 0,
                 DECIDE_WD_HARDWARE = 1,
                 DECIDE_WD_XEN = 2,
                 DECIDE_WD_SOFTDOG = 3,
                 DECIDE_WD_DEV = 4,
};

enum decide_proof { /* values as in the store */
                    DECIDE_PROOF_NONE = 0,
                    DECIDE_PROOF_OFF = 1,
                    DECIDE_PROOF_REBOOT = 2,
                    DECIDE_PROOF_WATCHDOG = 3,
                    DECIDE_PROOF_SCSI = 4,
                    DECIDE_PROOF_CONFIRMATION = 5,
};

struct decide_device {
    const char *name;
    enum fence_type type;
    enum fence_class proof_class; /* fence_class_of(...) */
    uint64_t generation;          /* now */
    uint64_t pinned;           /* in the levels of an open fencing: generation when it was opened */
    bool missing;              /* there is no such FenceDevice object any more */
    bool paused;               /* FenceDevice.spec.paused */
    uint32_t max_concurrent;   /* operations at the same time, 0: no limit */
    enum fence_outcome probe;  /* newest probe by anybody */
    uint64_t probe_ms;         /* when; 0: never */
    uint64_t probe_max_age_ms; /* older ones say nothing; 0: as the facts say */
    const char *probe_detail;  /* what it said, or NULL */
    uint64_t probing_ms;       /* a probe by somebody is under way since then; 0: none */
    uint64_t extra_ms;         /* its operations may take so much longer than usual */
};

struct decide_level {
    const struct decide_device *devices;
    size_t n_devices;
    uint32_t covers; /* of ScsiReservation: locks of the host that its success releases now */
};

struct decide_result { /* of a device of the open fencing, any attempt */
    const char *device;
    uint64_t attempt;
    enum fence_outcome result;
    uint64_t at_ms; /* when this leader applied it; 0: before this leader's term */
    const char *detail;
};

struct decide_fencing { /* the open one */
    uint64_t id;
    uint64_t attempt; /* 0: none yet */
    uint32_t level;   /* of the running attempt */
    const char *executor;
    uint64_t started_ms; /* of the attempt; 0: under another leader, then it counts from
                            leader_since_ms */
    bool vetoed;
    const char *veto_reason;
    bool by_user;
    uint64_t host_generation;          /* pinned */
    const struct decide_level *levels; /* as pinned, with today's facts about each device */
    size_t n_levels;
    const struct decide_result *results;
    size_t n_results;
    uint64_t wait_started_ms; /* WatchdogWait committed in this leader's term; 0: none.  A new
                                 attempt does not start it anew, a veto ends it */
};

struct decide_terms { /* loosest terms that may be in force */
    uint64_t lease_ms;
    uint64_t watchdog_ms;
    uint64_t feed_ms;
    enum decide_wd wd;
    bool nowayout;
    bool guarded; /* never was unguarded since the last confirmation */
    bool freeze;  /* onQuorumLoss: Freeze */
};

struct decide_host {
    const char *name;
    uint64_t generation; /* of the Host object */
    uint64_t incarnation;
    enum decide_state state;
    enum decide_proof fenced_by; /* when FENCED */

    uint64_t
        lease_until_ms;  /* as the leader's lease table has it (receipt + L + drift); 0: no lease */
    uint64_t suspect_ms; /* when it expired (or was marked Lost, if that is known); 0: unknown */
    uint64_t asked_ms; /* a renewal of this very incarnation arrived after the loss was proposed */
    uint64_t life_ms;  /* newest life sign of this incarnation: link, session, report */
    uint64_t slot_ms;  /* newest change of its storage slot, 0: none seen or no slot */
    uint32_t links, links_up; /* declared, and answering now */
    bool rebooted;            /* the same uid and hardware id asks to register a newer boot, now */
    bool conflict;            /* two live sessions under one identity: never a proof */

    uint32_t n_locks; /* owner and peer slots */
    int64_t priority; /* sum of the priorities of its VMs */
    bool maintenance;
    struct decide_terms terms;
    const struct decide_level *levels; /* declared now */
    size_t n_levels;
    const struct decide_fencing *fencing; /* open one, or NULL */
    const uint64_t *history_ms; /* when fencings of this host were opened; not the open one */
    size_t n_history;
    uint64_t released_ms;  /* the operator released the hold (by fencing it by hand, say): older
                              fencings do not count */
    uint32_t fenced_level; /* when FENCED by Off: the level that proved it */
    bool powered_on;       /* after a fencing with action Reboot: `on` was done or given up */
};

struct decide_candidate { /* a picketd that may execute */
    const char *name;
    bool leader;
    bool reachable;
    bool voter;              /* may take over leadership */
    enum decide_state state; /* of the host of the same name; NONE: a witness, no agent there */
    uint64_t silent_ms;      /* unreachable: when it was heard last; 0: reachable, or never heard */
    bool fresh;              /* has not yet been in a quorum with an older member since its boot */
    const char *const *probed_devices; /* devices that it probed with success... */
    const uint64_t *probed_ms;         /* ...and when */
    size_t n_probed;
};

struct decide_policy {
    bool reboot; /* fencing.action: Reboot */
    bool pause_fencing;
    bool lab;
    bool watchdog_fallback; /* a Watchdog proof counts even where no Watchdog device is declared */
    uint64_t startup_grace_ms;
    uint32_t max_per_window; /* 0: no limit */
    uint32_t max_per_host;   /* in the same window; 0: no limit */
    uint64_t window_ms;
    uint32_t max_in_flight;     /* running attempts, 0: no limit */
    uint32_t min_healthy;       /* hosts with a lease, 0: none needed */
    uint64_t priority_delay_ms; /* two-host clusters only */
};

struct decide_facts {
    uint64_t now_ms;
    bool quorate;
    uint64_t leader_since_ms; /* this leader's barrier */
    uint64_t
        grace_ms;     /* the startup grace began: cold start of the whole cluster; 0: it was none */
    bool returned;    /* or rather: it has a leader again, after longer than a lease without */
    const char *self; /* host name of the leader */

    uint64_t heartbeat_ms, lease_ms, drift_ms; /* fence/timing.h */
    uint64_t attempt_timeout_ms, backoff_ms, backoff_max_ms;
    uint64_t probe_max_age_ms;
    uint64_t life_fresh_ms; /* a life sign (or a request to renew) younger than this is news; 0: 2
                               heartbeats */
    uint64_t slot_stale_ms; /* a slot that did not change for so long is silent */

    struct decide_policy policy;
    const struct decide_host *hosts;
    size_t n_hosts;
    const struct decide_candidate *candidates;
    size_t n_candidates;
    const uint64_t
        *history_ms; /* openings of controller fencings, cluster-wide, open ones included */
    size_t n_history;
};

enum decide_kind {
    DECIDE_TRANSFER_LEADERSHIP, /* to `executor` */
    DECIDE_MARK_LOST,
    DECIDE_REPRIEVE,     /* fencing (0: none) */
    DECIDE_FENCE_OPEN,   /* with the levels of the host as declared now */
    DECIDE_FENCE_REOPEN, /* host or devices were edited: cancel by a new FENCE_OPEN with new pins */
    DECIDE_FENCE_ATTEMPT, /* level, executor */
    DECIDE_VETO,          /* fencing, attempt */
    DECIDE_PROOF,         /* fencing, attempt, proof, elapsed_ms; level: SCSI, what it covers */
    DECIDE_WATCHDOG_WAIT, /* begin the wait in this term */
    DECIDE_POWER_ON,      /* after a fencing with action Reboot: `on` for every device of `level` */
    DECIDE_HOLD,          /* would act, may not: an operator, or time, has to change something */
    DECIDE_WAIT,          /* something is under way */
};

struct decide_item {
    enum decide_kind kind;
    const char *host;
    uint64_t incarnation;
    uint64_t fencing;
    uint64_t attempt;
    uint32_t level;
    const char *executor;
    enum decide_proof proof;
    uint64_t elapsed_ms;
    const char *reason; /* CamelCase, static: for conditions and events */
    const char *why;    /* one clause for the log, events and goldens */
};

/* What is going on with a host, in the words of a condition. */
struct decide_cond {
    const char *host;
    const char *ready;         /* "True", "False", "Unknown": condition Ready */
    const char *reason;        /* CamelCase */
    const char *message;       /* says what the operator can do, where there is something */
    const char *fencing_ready; /* condition FencingReady: is there a working way to fence it? */
    const char *fencing_reason;
    const char *fencing_message;
};

struct decide_plan {
    struct decide_item *items; /* in the order in which to carry them out */
    size_t n_items;
    struct decide_cond *conds; /* one per host, in the order of the facts */
    size_t n_conds;
    uint64_t recheck_at_ms; /* 0: only when a fact changes */
};

/* Never fails.  A world that it may not act on gives HOLD and WAIT items, and conditions. */
void decide_plan(const struct decide_facts *f, struct arena *a, struct decide_plan *ret);

/* May an operator's confirmation for this host be accepted?  NULL: yes; else why not (a life sign
 * contradicts it), for the API's answer and the veto. */
const char *decide_confirm_veto(const struct decide_facts *f, const struct decide_host *h,
                                struct arena *a);

/* May a user have this host fenced?  NULL: yes; else why nothing could ever end such a fencing but
 * his own word, and what to do.  Opening one ends the host's lease: without a device or a watchdog
 * that counts its guests would be stopped, and nobody could start them elsewhere. */
const char *decide_user_refusal(const struct decide_facts *f, const struct decide_host *h,
                                struct arena *a);

/* Could the terms of this incarnation ever give a Watchdog proof?  NULL: yes; else why not
 * (static). */
const char *decide_watchdog_refusal(const struct decide_terms *t, bool lab);

/* May a fencing be cancelled by a Reprieve, i.e. is it known that no device cut the power?  NULL:
 * yes; else why not (static). */
const char *decide_reprieve_refusal(const struct decide_fencing *fc);

/* One line per item, then one per condition that is not plainly healthy, then the recheck time. */
void decide_format(const struct decide_plan *p, struct buf *out);
const char *decide_kind_name(enum decide_kind k);
const char *decide_proof_name(enum decide_proof p);
const char *decide_state_name(enum decide_state s);

#endif
