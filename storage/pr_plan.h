#ifndef STORAGE_PR_PLAN_H
#define STORAGE_PR_PLAN_H

/* What to do about the persistent reservations of a volume group's LUNs on this host.
 *
 * Every path is registered under the key of this incarnation before anything of the group is
 * activated, and only registrants may write.  A path is registered only under the group's lock: it
 * was given to this incarnation just now, which therefore was Live, and the lease outlives the
 * command (safety.md 4).  A key of ours that is gone was preempted: this host was cut off and has
 * to be reset; it never registers again.  Strings belong to the caller or to the arena.  Pure. */

#include "storage/pr_text_codec.h"
#include "storage/st_plan.h"

struct prp_path {
    const char *device;      /* "sdb" */
    enum lvm_tri registered; /* under our key, as the target itself says */
};

struct prp_lun {
    const char *name;
    enum lvm_tri ready; /* the pinned WWID is what is there */
    struct prp_path *paths;
    size_t n_paths;
    bool looked;  /* keys and reservation were read through a path */
    bool has_key; /* our key is registered, by whatever path */
    enum prt_type reserved;
    const char *reserved_text;
    bool was_ours;   /* this incarnation had registered it */
    bool missed;     /* and an earlier look missed the key as well */
    const char *why; /* why nobody could look */
};

struct prp_want {
    bool wanted; /* spec.reservation, and the group's object exists */
    bool paused;
    bool key_known;
    bool meta_lock;
    enum lvm_tri in_use; /* a volume of the group is active here */
    const struct prp_lun *luns;
    size_t n_luns;
};

enum prp_step_kind { PRP_REGISTER = 0, PRP_RESERVE, PRP_UNREGISTER };
const char *prp_step_name(enum prp_step_kind k); /* "pr-register", ... */

struct prp_step {
    enum prp_step_kind kind;
    size_t lun;
    const char *device;
    const char *why;
};

#define PRP_STEPS_MAX 256

struct prp_plan {
    enum st_state state; /* READY: the group may be used, as far as reservations go */
    const char *reason, *message;
    bool look_twice; /* the key is missing for the first time: look once more, soon */
    bool reset;      /* it was taken from us */
    struct prp_step steps[PRP_STEPS_MAX];
    size_t n_steps;
};

void prp_plan(const struct prp_want *want, struct arena *a, struct prp_plan *ret);

#endif
