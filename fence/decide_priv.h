#ifndef FENCE_DECIDE_PRIV_H
#define FENCE_DECIDE_PRIV_H

/* Shared by the decide_*_plan.c files only. */

#include "fence/decide_plan.h"

/* A life sign up to this long before the result was applied does not contradict it: Off is read
 * twice at least 1 s apart, so the host was without power for that long when the result was made,
 * and this much is left for packets that were still on their way. */
#define DECIDE_LIFE_TOLERANCE_MS 500U

/* A probe under way holds an attempt back for so long at most. */
#define DECIDE_PROBE_WAIT_MS 1500U

struct decide_run {
    const struct decide_facts *f;
    struct arena *a;
    struct decide_item *items;
    size_t n_items, cap;
    uint64_t recheck_ms;
    uint32_t opened;    /* FENCE_OPENs in this plan */
    uint32_t in_flight; /* running attempts, those of this plan included */
    bool *attempting;   /* per host: an attempt was started in this plan */
};

/* --- decide_plan.c --- */
struct decide_item *decide_add(struct decide_run *r, enum decide_kind kind,
                               const struct decide_host *h, const char *reason, const char *why);
void decide_recheck(struct decide_run *r, uint64_t at_ms);
uint64_t decide_lease_until(const struct decide_facts *f, const struct decide_host *h);
bool decide_has_lease(const struct decide_facts *f, const struct decide_host *h);
uint64_t decide_age(const struct decide_facts *f, uint64_t at_ms);
bool decide_slot_fresh(const struct decide_facts *f, const struct decide_host *h);
bool decide_asks(const struct decide_facts *f, const struct decide_host *h);
const struct decide_host *decide_find_host(const struct decide_facts *f, const char *name);
const char *decide_evidence(struct decide_run *r, const struct decide_host *h);
const char *decide_ms(struct arena *a, uint64_t ms); /* "1.5s", for `why` */
void decide_rebooted(struct decide_run *r, const struct decide_host *h, struct decide_cond *c);
void decide_cond_set(struct decide_cond *c, const char *ready, const char *reason,
                     const char *message);

/* --- decide_levels_plan.c: what can be attempted, and who can do it --- */
enum decide_level_kind {
    DECIDE_LEVEL_USELESS = 0, /* a device is missing, paused or proves nothing */
    DECIDE_LEVEL_POWER,       /* a success of all devices is the proof Off */
    DECIDE_LEVEL_STORAGE,     /* the proof ScsiReservation: releases what it covers */
    DECIDE_LEVEL_ASK,         /* proves nothing, but may make the host boot, which does (lab) */
};
enum decide_level_kind decide_level_kind(const struct decide_level *l, bool lab);
bool decide_level_attemptable(const struct decide_run *r, const struct decide_level *l);
const char *decide_level_names(struct arena *a, const struct decide_level *l);
bool decide_levels_have(const struct decide_level *l, size_t n, enum fence_type t);
const char *decide_busy_device(struct decide_run *r, const struct decide_host *h,
                               const struct decide_level *l);
const struct decide_candidate *decide_executor(struct decide_run *r, const struct decide_host *h,
                                               const struct decide_level *l, const char *previous,
                                               const char **ret_why_not);
const struct decide_candidate *decide_find_candidate(const struct decide_facts *f,
                                                     const char *name);
void decide_fencing_ready(struct decide_run *r, const struct decide_host *h, struct decide_cond *c);

/* --- decide_open_plan.c: may a fencing be opened? --- */
void decide_open(struct decide_run *r, const struct decide_host *h, struct decide_cond *c);
bool decide_in_grace(const struct decide_facts *f, uint64_t *ret_until_ms);

/* What the watchdog's part of a fencing says. */
struct decide_wait {
    bool waiting;        /* the bound has not passed yet */
    const char *veto;    /* it has, but the host shows signs of life */
    const char *refusal; /* a Watchdog device is declared and cannot count: why */
};

/* --- decide_step_plan.c: the next step of an open fencing --- */
void decide_fencing_step(struct decide_run *r, const struct decide_host *h, struct decide_cond *c);
bool decide_attempt_running(const struct decide_facts *f, const struct decide_host *h);
const char *decide_confirm_hint(struct arena *a, const struct decide_host *h);
const struct decide_level *decide_attempt_level(const struct decide_fencing *fc);
const struct decide_result *decide_find_result(const struct decide_fencing *fc, uint64_t attempt,
                                               const char *device);
bool decide_all_reported(const struct decide_fencing *fc);
uint64_t decide_attempt_deadline_ms(const struct decide_facts *f, const struct decide_fencing *fc);
const char *decide_executor_gone(const struct decide_facts *f, const struct decide_fencing *fc);
bool decide_attempt_abandoned(const struct decide_facts *f, const struct decide_fencing *fc);
bool decide_attempt_over(const struct decide_facts *f, const struct decide_fencing *fc);
uint64_t decide_attempt_ended_ms(const struct decide_facts *f, const struct decide_fencing *fc);

/* --- decide_next_plan.c: the next attempt of an open fencing --- */
void decide_wait_for(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                     enum decide_kind kind, const char *reason, const char *why);
void decide_next_attempt(struct decide_run *r, const struct decide_host *h, struct decide_cond *c,
                         const struct decide_wait *wait);

#endif
