/* A volume group: found and complete, made when that is proved to be harmless, or refused with what
 * was found. In this order: could we look; is it the group that we mean; are its disks there; is
 * every LUN in it. */

#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "storage/st_plan_priv.h"

#define PV_OVERHEAD (2U * 1024U * 1024U) /* label, metadata area and alignment of a disk */
#define DEFAULT_EXTENT (4ULL * 1024 * 1024)

struct ctx {
    const struct vg_want *want;
    const struct vg_have *have;
    struct arena *a;
    struct st_plan *p;
};

static bool ended(const struct ctx *c)
{
    return c->p->reason[0] != '\0';
}

static void end(struct ctx *c, enum st_state state, const char *reason, const char *message)
{
    if (!ended(c)) {
        st_end(c->p, state, reason, message);
    }
}

static bool in_group(const struct ctx *c, const struct vg_disk *d)
{
    return c->have->present == LVM_YES && d->vg_uuid[0] != '\0' &&
           str_eq(d->vg_uuid, c->have->uuid);
}

/* Is the group that has this name the one that we mean, and may we use it? */
static void check_identity(struct ctx *c)
{
    const struct vg_have *h = c->have;

    if (h->same_name > 1) {
        end(c, ST_NOT_READY, "DuplicateName",
            arena_printf(c->a, "%zu groups are called %s; rename all but one with vgrename UUID",
                         h->same_name, c->want->name));
    } else if (c->want->uuid[0] != '\0' && !str_eq(c->want->uuid, h->uuid)) {
        end(c, ST_NOT_READY, "WrongGroup",
            arena_printf(c->a, "the group of this name has id %s; %s is the one that was used",
                         h->uuid, c->want->uuid));
    } else if (h->exported) {
        end(c, ST_NOT_READY, "Exported", "the group is exported; vgimport it where it belongs");
    } else if (h->shared) {
        end(c, ST_NOT_READY, "OtherLockManager",
            "the group belongs to lvmlockd or clvmd; vgchange --lock-type none when they are gone");
    } else if (!h->writable) {
        end(c, ST_NOT_READY, "ReadOnly", "the group is read-only; vgchange --permission rw");
    } else if (h->missing > 0) {
        end(c, ST_NOT_READY, "DiskMissing",
            arena_printf(c->a, "%" PRIu64 " of its %" PRIu64 " physical volumes are not to be seen",
                         h->missing, h->pvs));
    }
}

static void check_luns(struct ctx *c)
{
    for (size_t i = 0; i < c->want->n_disks; i++) {
        const struct vg_disk *d = &c->want->disks[i];

        if (d->ready == LVM_UNKNOWN) {
            end(c, ST_UNKNOWN, "LunUnknown",
                arena_printf(c->a, "LUN %s could not be looked at", d->lun));
        } else if (d->ready == LVM_NO) {
            end(c, ST_NOT_READY, "LunNotReady", arena_printf(c->a, "LUN %s is not ready", d->lun));
        }
    }
}

/* A LUN that is not in the group yet: true when it is proved to be empty and may be written. */
static bool may_write(struct ctx *c, const struct vg_disk *d)
{
    if (d->blank == SIG_UNKNOWN) {
        end(c, ST_UNKNOWN, "ContentUnknown", arena_printf(c->a, "LUN %s: %s", d->lun, d->what));
    } else if (d->blank == SIG_LVM && d->vg[0] != '\0') {
        end(c, ST_NOT_READY, "OtherGroup",
            arena_printf(c->a, "LUN %s belongs to the volume group %s", d->lun, d->vg));
    } else if (d->blank == SIG_LVM) {
        end(c, ST_NOT_READY, "NotEmpty",
            arena_printf(c->a,
                         "LUN %s is a physical volume of no group that is to be seen; if nothing "
                         "on it is needed: pvremove %s",
                         d->lun, d->device));
    } else if (d->blank == SIG_FOREIGN) {
        end(c, ST_NOT_READY, "NotEmpty",
            arena_printf(c->a,
                         "LUN %s holds %s; if nothing on it is needed, clear it by hand: wipefs -a "
                         "%s, then zeroes over its first and last MiB",
                         d->lun, d->what, d->device));
    } else if (!c->want->initialise) {
        end(c, ST_NOT_READY, "NotInitialised",
            arena_printf(c->a, "LUN %s is empty; spec.initialise: true allows to write to it",
                         d->lun));
    }
    return !ended(c);
}

/* Without the lock nothing is written: the step is left out and the reason says what it waits for.
 */
static void write_step(struct ctx *c, enum st_step_kind kind, const char *device, const char *why)
{
    if (c->want->meta_lock) {
        st_add(c->p, kind, why)->device = device;
    } else {
        end(c, ST_NOT_READY, "LockNeeded",
            arena_printf(c->a, "waits for the group's lock: %s", why));
    }
}

static void plan_new(struct ctx *c)
{
    if (c->want->uuid[0] != '\0') {
        end(c, ST_NOT_READY, "GroupLost",
            arena_printf(c->a, "group %s is not on its LUNs any more; it is never made twice",
                         c->want->uuid));
        return;
    }
    for (size_t i = 0; i < c->want->n_disks; i++) {
        if (!may_write(c, &c->want->disks[i])) {
            return;
        }
    }
    write_step(c, ST_VG_CREATE, "", "the group does not exist, and its LUNs are empty");
    end(c, ST_NOT_READY, "Creating", "");
}

static void plan_disk(struct ctx *c, const struct vg_disk *d)
{
    uint64_t extent = c->have->extent != 0 ? c->have->extent : DEFAULT_EXTENT;

    if (!in_group(c, d)) {
        if (may_write(c, d)) {
            write_step(c, ST_VG_EXTEND, d->device, "the LUN is new in spec.luns, and empty");
            end(c, ST_NOT_READY, "Extending", "");
        }
    } else if (d->dev_size > d->pv_size && d->dev_size - d->pv_size >= extent + PV_OVERHEAD &&
               c->want->meta_lock) {
        write_step(c, ST_PV_RESIZE, d->device, "the LUN has grown");
    }
}

static void plan_present(struct ctx *c)
{
    uint64_t ours = 0;

    for (size_t i = 0; i < c->want->n_disks && !ended(c); i++) {
        ours += in_group(c, &c->want->disks[i]) ? 1 : 0;
        plan_disk(c, &c->want->disks[i]);
    }
    if (!ended(c) && ours < c->have->pvs) {
        end(c, ST_NOT_READY, "DiskNotListed",
            arena_printf(c->a,
                         "%" PRIu64 " of its %" PRIu64 " physical volumes are on no LUN of "
                         "spec.luns; add the LUN, or vgreduce the group",
                         c->have->pvs - ours, c->have->pvs));
    }
    end(c, ST_READY, "Ready", "");
}

void vg_plan(const struct vg_want *want, const struct vg_have *have, struct arena *a,
             struct st_plan *ret)
{
    struct ctx c = { .want = want, .have = have, .a = a, .p = ret };

    memset(ret, 0, sizeof(*ret));
    ret->reason = ret->message = "";
    if (!want->exists) {
        end(&c, ST_READY, "Deleted", "the group and its data stay where they are");
        return;
    }
    if (have->present == LVM_UNKNOWN) {
        end(&c, ST_UNKNOWN, "CannotLook", have->why);
        return;
    }
    if (want->paused) {
        end(&c, have->present == LVM_YES ? ST_READY : ST_NOT_READY, "Paused", "");
        return;
    }
    if (have->present == LVM_YES) {
        check_identity(&c);
    }
    check_luns(&c);
    if (!ended(&c) && have->present == LVM_YES) {
        plan_present(&c);
    } else if (!ended(&c)) {
        plan_new(&c);
    }
}
