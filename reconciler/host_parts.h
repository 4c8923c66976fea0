#ifndef RECONCILER_HOST_PARTS_H
#define RECONCILER_HOST_PARTS_H

/* The parts of a real host that a hypervisor driver does not do itself: volumes, and the objects
 * that are set up on the host (LUNs, bonds, bridges ...).
 *
 * Both take jobs of drv.h with the contract of drv_submit: the job is untouchable until its
 * callback, which comes exactly once, never before submit has returned, and soon after abort.
 * `job->drv_private` is theirs, `job->result` too (valid only during the callback).
 * Everything happens on the thread of the agent's loop.  The Xen driver passes on what is theirs:
 *
 *   xen_storage  DRV_VOL_CREATE DRV_VOL_GROW DRV_VOL_ACTIVATE DRV_VOL_DEACTIVATE
 *                DRV_ENUM_VOLUMES
 *   host_apply   DRV_APPLY
 *
 * They are closed by the driver that was given them, after its own jobs have ended.
 */

#include "reconciler/drv.h"

struct xen_storage;

struct xen_storage_ops {
    void (*submit)(struct xen_storage *s, struct drv_job *job);
    void (*abort)(struct xen_storage *s, struct drv_job *job);
    /* The block device of an active volume ("/dev/vg0/web-root"); the caller frees it.  NULL: not a
     * volume that it knows how to open. */
    char *(*path)(struct xen_storage *s, const char *group, const char *volume);
    /* Jobs in flight end with ERR_UNKNOWN_OUTCOME first. on_closed may come before it returns. */
    void (*close)(struct xen_storage *s, void (*on_closed)(void *ctx), void *ctx);
};

/* The first member of every implementation's own struct. */
struct xen_storage {
    const struct xen_storage_ops *ops;
    /* Set by the driver: report DRV_EV_VOLUME and DRV_EV_DOUBT here (NULL: nobody listens). */
    drv_event_cb *on_event;
    void *on_event_data;
};

#define HOST_NOT_HERE "NotHere" /* reason: the object is for other hosts; nobody reports it */

struct host_apply;

struct host_apply_ops {
    void (*submit)(struct host_apply *a, struct drv_job *job);
    void (*abort)(struct host_apply *a, struct drv_job *job);
    void (*close)(struct host_apply *a, void (*on_closed)(void *ctx), void *ctx);
};

struct host_apply {
    const struct host_apply_ops *ops;
};

#endif
