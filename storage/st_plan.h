#ifndef STORAGE_ST_PLAN_H
#define STORAGE_ST_PLAN_H

/* What to do about a volume group and a volume on this host: facts in, ordered steps out.
 *
 * Facts have three values; a plan made from what nobody could look at has no steps. Steps are done
 * in order, each after a new look, and only while the facts hold: the caller checks token and lease
 * again before every step. Steps that write a group's metadata appear only under the group's lock.
 * Strings belong to the caller or to the arena. Pure; any thread. Sizes are bytes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "storage/lvm_codec.h"
#include "storage/sig_codec.h"

enum st_state { ST_UNKNOWN = 0, ST_NOT_READY, ST_READY };
const char *st_state_name(enum st_state s); /* "Unknown", "NotReady", "Ready" */

enum st_step_kind {
    ST_VG_CREATE = 0,    /* vgcreate with `devices`; makes the physical volumes as well */
    ST_VG_EXTEND,        /* vgextend with `device` */
    ST_PV_RESIZE,        /* pvresize of `device` */
    ST_VOL_CREATE,       /* lvcreate of `size`, not active */
    ST_VOL_GROW,         /* lvextend to `size` */
    ST_VOL_REFRESH,      /* load the new size into device-mapper */
    ST_VOL_TELL_GUEST,   /* the guest's disk has `size` now */
    ST_VOL_ACTIVATE,     /* on this host */
    ST_VOL_FAIL_NO_PATH, /* let commands without a path fail, so that the next step cannot hang */
    ST_VOL_WIPE_TABLE,   /* last resort: every further read or write of the opener fails */
    ST_VOL_DEACTIVATE,   /* on this host */
    ST_VOL_REMOVE,       /* lvremove */
};
const char *st_step_name(enum st_step_kind k); /* "vg-create", ... */

struct st_step {
    enum st_step_kind kind;
    const char *device; /* ST_VG_EXTEND, ST_PV_RESIZE */
    uint64_t size;
    const char *why;
};

#define ST_STEPS_MAX 72

struct st_plan {
    enum st_state state;
    const char *reason;  /* one word for the condition */
    const char *message; /* "" when there is nothing to say */
    bool event;          /* somebody did what only we may do: say so as an event */
    struct st_step steps[ST_STEPS_MAX];
    size_t n_steps;
};

/* --- volume groups --- */

struct vg_disk {
    const char *lun;    /* name of the LUN */
    const char *device; /* by WWID */
    enum lvm_tri ready; /* the pinned WWID is what is there */
    enum sig_blank blank;
    const char *what; /* what is on it, for people */
    const char *vg;   /* group of the physical volume on it; "": none */
    const char *vg_uuid;
    uint64_t pv_size;
    uint64_t dev_size;
};

struct vg_want {
    const char *name;
    bool exists; /* there is an object, and it is not being deleted */
    bool initialise;
    bool paused;
    uint64_t extent;  /* 0: LVM's default */
    const char *uuid; /* the pinned id, "": never seen */
    bool meta_lock;   /* this host holds the lock of the group's metadata */
    struct vg_disk *disks;
    size_t n_disks;
};

struct vg_have {
    enum lvm_tri present; /* LVM_UNKNOWN: could not look */
    size_t same_name;     /* groups of this name, at least 1 when present */
    const char *uuid;
    uint64_t extent;
    uint64_t pvs;     /* physical volumes that its metadata names */
    uint64_t missing; /* of these */
    bool exported;
    bool shared; /* lvmlockd's */
    bool writable;
    const char *why; /* why nobody could look */
};

void vg_plan(const struct vg_want *want, const struct vg_have *have, struct arena *a,
             struct st_plan *ret);

/* --- volumes --- */

enum vol_hold {
    VOL_HOLD_UNKNOWN = 0, /* the store could not be asked */
    VOL_HOLD_FREE,        /* nobody has its lock */
    VOL_HOLD_OTHER,       /* another host has it */
    VOL_HOLD_HERE,        /* this incarnation has it, with a token that was read just now */
    VOL_HOLD_PEER,        /* the other end of a running migration; only while that lasts */
    VOL_HOLD_SHARED,      /* access: Shared, and this host may use it */
};
const char *vol_hold_name(enum vol_hold h); /* "Unknown", "Free", ... */

struct vol_want {
    const char *group;
    const char *name;
    bool exists;
    bool remove; /* the object is being deleted with onDelete: Remove */
    bool paused;
    bool create; /* this host is the one to make it */
    bool use;    /* it has to be active here */
    uint64_t size;
    enum vol_hold hold;
    bool lease;     /* our lease outlives the next step */
    bool meta_lock; /* this host holds the lock of the group's metadata */
};

struct vol_have {
    enum lvm_tri group; /* the group is complete and usable */
    enum lvm_tri present;
    char type; /* '-': a plain volume */
    uint64_t size;
    uint64_t extent;      /* of the group */
    enum lvm_tri active;  /* device-mapper has a device for it here */
    uint64_t open;        /* its openers */
    uint64_t active_size; /* what device-mapper has; 0: not known */
    bool paths_lost;      /* a disk below has no path left */
    const char *why;      /* why nobody could look */
};

void vol_plan(const struct vol_want *want, const struct vol_have *have, struct arena *a,
              struct st_plan *ret);

/* `size` in whole extents, rounded up; UINT64_MAX when that does not fit. extent > 0. */
uint64_t st_round_up(uint64_t size, uint64_t extent);

/* One line a step and the state, as golden tests and `picket why` show it. */
void st_plan_print(const struct st_plan *p, struct buf *b);

#endif
