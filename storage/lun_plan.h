#ifndef STORAGE_LUN_PLAN_H
#define STORAGE_LUN_PLAN_H

/* What to do about a LUN on this host: log in everywhere, look whether it is the disk that was
 * pinned, and use it through its multipath map only.
 *
 * The WWID is the identity: never the LUN's number, never the device's name. As long as it is not
 * pinned in the store, or any path shows another one, the LUN is not ready and nothing below uses
 * it. Strings belong to the caller or to the arena. Pure; any thread. */

#include "storage/iscsi_codec.h"
#include "storage/mpath_codec.h"
#include "storage/st_plan.h"

#define LUN_PORTALS_MAX 16
#define LUN_STEPS_MAX (2 * LUN_PORTALS_MAX + 2)

enum lun_step_kind {
    LUN_RECORD = 0,   /* node record for `portal`, with the target's settings */
    LUN_LOGIN,        /* at `portal` */
    LUN_RESCAN,       /* of the session `sid` */
    LUN_MAP,          /* multipath -a and multipathd add map of `wwid` */
    LUN_STOP_QUEUEING /* multipathd disablequeueing map of `wwid` */
};
const char *lun_step_name(enum lun_step_kind k); /* "record", "login", ... */

struct lun_step {
    enum lun_step_kind kind;
    const char *portal;
    const char *wwid;
    uint64_t sid;
    const char *why;
};

/* A SCSI disk of this host, and what it says that it is. */
struct lun_disk {
    const char *device; /* "sdb" */
    const char *wwid;   /* NULL: could not be read */
};

struct lun_want {
    const char *name;
    const char *target; /* NULL: seen by other means, only the WWID counts */
    const char *const *portals;
    size_t n_portals; /* at most LUN_PORTALS_MAX */
    uint64_t lun;
    const char *wwid; /* pinned; "": not yet */
    size_t min_paths; /* 0: the number of portals, at least 1 */
    bool paused;
};

struct lun_have {
    const struct iscsi_sessions *sessions; /* NULL: could not look */
    const struct mpath_maps *maps;         /* NULL: could not look */
    const struct lun_disk *disks;
    size_t n_disks;
    const char *why; /* why nobody could look */
};

struct lun_plan {
    enum st_state state;
    const char *reason;
    const char *message;
    const char *pin;    /* the WWID to pin by compare-and-set in the store; "": none */
    const char *device; /* "/dev/mapper/NAME" when ready, or "" */
    bool redundant;     /* as many paths as there should be */
    size_t usable;
    size_t min_paths;
    struct lun_step steps[LUN_STEPS_MAX];
    size_t n_steps;
};

void lun_plan(const struct lun_want *want, const struct lun_have *have, struct arena *a,
              struct lun_plan *ret);

#endif
