#ifndef RECONCILER_PLAN_WANT_H
#define RECONCILER_PLAN_WANT_H

/* From API objects to what the planner of a virtual machine and the drivers need.  Pure: objects
 * come through a callback, results live in the arena or point into the objects (valid as long as
 * they). */

#include <jansson.h>

#include "base/arena.h"
#include "reconciler/drv.h"
#include "reconciler/vm_plan.h"

struct plan_source {
    /* The object of this plural and name in the caller's copy of the store; NULL: none. */
    const json_t *(*object)(void *ctx, const char *plural, const char *name);
    void *ctx;
    const char *host;     /* our name */
    uint64_t incarnation; /* ours, 0: none yet */
};

struct plan_vol {
    const char *name;
    const char *uid;
    const char *group;
    uint64_t size_bytes;
    bool exclusive;
};

struct plan_want {
    struct vm_want vm;
    const json_t *object;  /* NULL when vm.exists is false */
    struct plan_vol *vols; /* each once, though several disks may name it */
    size_t n_vols;
    struct drv_disk *disks;
    size_t n_disks;
};

void plan_want_make(const struct plan_source *src, const char *vm, struct arena *a,
                    struct plan_want *ret);
/* The volume as an object declares it; false when there is no such object. */
bool plan_vol_make(const struct plan_source *src, const char *volume, struct arena *a,
                   struct plan_vol *ret);

#endif
