#ifndef RECONCILER_OBS_H
#define RECONCILER_OBS_H

/* What was seen of domains and volumes, from enumerations and events, merged into one view with
 * age.
 *
 * A domain that was there and is missing from one enumeration is UNKNOWN, not ABSENT, until several
 * enumerations agree, unless its end was observed or was our own doing: Xen drops a rebooting
 * domain from its list for a second or two (features.md C05, safety.md 5).
 * Time is an argument; no I/O.  One thread.
 */

#include "reconciler/drv.h"

struct obs;

struct obs_opts {
    uint32_t confirm_reads;  /* enumerations that must agree on an unexplained absence */
    uint32_t confirm_gap_ms; /* between two that count */
    uint64_t follow_ms;      /* events keep a view fresh so long after the last full enumeration */
};

struct obs_domain {
    enum dom_state state; /* DOM_UNKNOWN when nothing is known */
    enum dom_reason reason;
    const char *uid; /* valid until the next change of the table */
    const char *detail;
    uint64_t incarnation, token, since_wall_ms;
    uint64_t memory_bytes;
    uint64_t memory_target_bytes;
    uint32_t vcpus;
    const char *console;
    const char *tty;
    int64_t id;
    uint64_t seen_ms;       /* 0: never */
    uint64_t look_after_ms; /* the next enumeration should not come earlier */
};

struct obs_volume {
    enum vol_state state;
    bool open;
    uint64_t size_bytes; /* 0: not known */
    uint64_t seen_ms;
};

struct obs *obs_new(const struct obs_opts *opts);
void obs_free(struct obs *o); /* NULL is fine */

/* A driver's event; returns false for DRV_EV_DOUBT (obs_doubt was called: enumerate). */
bool obs_event(struct obs *o, const struct drv_event *ev, uint64_t now_ms);
/* Events may have been lost: nothing is fresh before the next full enumeration. */
void obs_doubt(struct obs *o);

/* Enumerations: what arrived by event since obs_enum_begin is newer and wins. */
uint64_t obs_enum_begin(struct obs *o);
void obs_enum_domains(struct obs *o, uint64_t stamp, const struct drv_domain *d, size_t n,
                      uint64_t now_ms);
void obs_enum_volumes(struct obs *o, uint64_t stamp, const struct drv_volume *v, size_t n,
                      uint64_t now_ms);

/* A former process of ours knew this domain to be running. */
void obs_remember(struct obs *o, const char *vm);
/* We are about to end it, or read its end: a single enumeration without it will do. */
void obs_expect_end(struct obs *o, const char *vm);
/* A job on it is under way or ended unclear: UNKNOWN until it is seen again. */
void obs_forget(struct obs *o, const char *vm);
void obs_forget_volume(struct obs *o, const char *group, const char *name);
/* Was the domain seen (by event or enumeration) since obs_enum_begin gave this stamp? */
bool obs_seen_since(const struct obs *o, const char *vm, uint64_t stamp);
/* A full enumeration has succeeded since the last doubt. */
bool obs_complete(const struct obs *o);

void obs_domain_get(const struct obs *o, const char *vm, uint64_t now_ms, struct obs_domain *ret);
void obs_volume_get(const struct obs *o, const char *group, const char *name, uint64_t now_ms,
                    struct obs_volume *ret);
/* Domains that are not known to be absent; for (size_t i = 0; obs_next(o, &i, &vm);) */
bool obs_next(const struct obs *o, size_t *pos, const char **ret_vm);
/* All volumes known; names valid until the next change. */
bool obs_volume_next(const struct obs *o, size_t *pos, const char **ret_group,
                     const char **ret_name, enum vol_state *ret_state, bool *ret_open,
                     uint64_t *ret_size_bytes); /* 0: not known */
/* Changes with every change of the table of volumes or domains. */
uint64_t obs_version(const struct obs *o);
size_t obs_running(const struct obs *o); /* domains RUNNING or PAUSED */

#endif
