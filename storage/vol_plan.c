/* A volume on this host. In this order: could we look; is it active without right; does it have to
 * go; does it exist; does it have its size; does it have to be active. */

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/st_plan_priv.h"

struct ctx {
    const struct vol_want *want;
    const struct vol_have *have;
    struct arena *a;
    struct st_plan *p;
};

static void end(struct ctx *c, enum st_state state, const char *reason, const char *message)
{
    st_end(c->p, state, reason, message);
}

static bool may_be_active(enum vol_hold h)
{
    switch (h) {
    case VOL_HOLD_UNKNOWN: /* what is active stays: not knowing is no reason to take a disk away */
    case VOL_HOLD_HERE:
    case VOL_HOLD_PEER:
    case VOL_HOLD_SHARED:
        return true;
    case VOL_HOLD_FREE:
    case VOL_HOLD_OTHER:
        return false;
    }
    CHECK_UNREACHABLE();
}

static bool may_activate(enum vol_hold h)
{
    return h == VOL_HOLD_HERE || h == VOL_HOLD_PEER || h == VOL_HOLD_SHARED;
}

static void deactivate(struct ctx *c, const char *why)
{
    if (c->have->paths_lost) {
        (void)st_add(c->p, ST_VOL_FAIL_NO_PATH,
                     "a disk below it has no path, and this must not hang");
    }
    (void)st_add(c->p, ST_VOL_DEACTIVATE, why);
}

/* Active, but this host has no right to it: undone and told, whoever did it. */
static void plan_intrusion(struct ctx *c)
{
    bool other = c->want->hold == VOL_HOLD_OTHER;
    const char *why = other ? "another host holds its lock" : "nobody holds its lock";

    c->p->event = true;
    if (c->have->open == 0) {
        deactivate(c, why);
        end(c, ST_NOT_READY, "ActiveWithoutLock",
            arena_printf(c->a, "active on this host, but %s", why));
        return;
    }
    end(c, ST_NOT_READY, "OpenWithoutLock",
        arena_printf(c->a, "%" PRIu64 " openers on this host, but %s", c->have->open, why));
    if (other) { /* two writers are worse than a failing one */
        if (c->have->paths_lost) {
            (void)st_add(c->p, ST_VOL_FAIL_NO_PATH,
                         "a disk below it has no path, and this must not hang");
        }
        (void)st_add(c->p, ST_VOL_WIPE_TABLE,
                     "another host may write to it, and an opener here keeps it active");
    }
}

static void plan_unused(struct ctx *c)
{
    if (c->have->open > 0) {
        end(c, ST_READY, "InUse",
            arena_printf(c->a, "not needed any more; %" PRIu64 " openers are left", c->have->open));
        return;
    }
    deactivate(c, "nothing uses it here any more");
    end(c, ST_READY, "Deactivating", "");
}

static void plan_removal(struct ctx *c)
{
    if (!c->want->remove || c->have->present == LVM_NO) {
        end(c, ST_READY, "Deleted", c->want->remove ? "" : "the data stays where it is");
    } else if (c->have->active == LVM_YES) {
        end(c, ST_NOT_READY, "Deleting", "still active here");
    } else if (c->want->hold != VOL_HOLD_HERE || !c->want->meta_lock || !c->want->lease) {
        end(c, ST_NOT_READY, "Deleting", "waits for the lock of the volume and of its group");
    } else {
        (void)st_add(c->p, ST_VOL_REMOVE, "deleted with onDelete: Remove, and held by this host");
        end(c, ST_NOT_READY, "Deleting", "");
    }
}

static void plan_new(struct ctx *c)
{
    const struct vol_have *h = c->have;
    uint64_t size = h->extent != 0 ? st_round_up(c->want->size, h->extent) : c->want->size;

    if (h->group != LVM_YES) {
        end(c, ST_NOT_READY, "GroupNotReady", "its volume group is not ready on this host");
    } else if (!c->want->create && !c->want->use) {
        end(c, ST_NOT_READY, "Absent", "it does not exist yet");
    } else if (!c->want->meta_lock || !c->want->lease) {
        end(c, ST_NOT_READY, "LockNeeded", "waits for the group's lock to be made");
    } else {
        st_add(c->p, ST_VOL_CREATE, "it does not exist")->size = size;
        end(c, ST_NOT_READY, "Creating", "");
    }
}

/* The size on disk, then in device-mapper, then in the guest. */
static void plan_size(struct ctx *c)
{
    const struct vol_have *h = c->have;
    uint64_t want = h->extent != 0 ? st_round_up(c->want->size, h->extent) : c->want->size;
    bool active = h->active == LVM_YES;

    if (h->size < want && c->want->meta_lock && c->want->lease && h->group == LVM_YES) {
        st_add(c->p, ST_VOL_GROW, "spec.size is larger")->size = want;
        if (active && h->open > 0) {
            st_add(c->p, ST_VOL_TELL_GUEST, "its disk has grown")->size = want;
        }
    } else if (active && h->active_size != 0 && h->active_size < h->size) {
        (void)st_add(c->p, ST_VOL_REFRESH, "it was made larger on another host");
        if (h->open > 0) {
            st_add(c->p, ST_VOL_TELL_GUEST, "its disk has grown")->size = h->size;
        }
    }
}

static void plan_use(struct ctx *c)
{
    static const char waits[] = "waits for the group's lock to grow to spec.size";
    const struct vol_want *w = c->want;
    bool small = c->have->size < w->size && c->p->n_steps == 0;

    if (c->have->active == LVM_YES) {
        end(c, ST_READY, "Active", small ? waits : "");
    } else if (!w->use) {
        end(c, ST_READY, "Available", small ? waits : "");
    } else if (!may_activate(w->hold)) {
        end(c, ST_NOT_READY, w->hold == VOL_HOLD_UNKNOWN ? "LockUnknown" : "LockNeeded",
            w->hold == VOL_HOLD_OTHER ? "another host holds its lock" : "waits for its lock");
    } else if (!w->lease) {
        end(c, ST_NOT_READY, "LeaseShort", "waits for a renewed lease");
    } else if (c->have->group != LVM_YES || c->have->paths_lost) {
        end(c, ST_NOT_READY, "GroupNotReady", "its volume group is not ready on this host");
    } else {
        (void)st_add(c->p, ST_VOL_ACTIVATE,
                     w->hold == VOL_HOLD_PEER ? "this host is the other end of a migration"
                                              : "it is used here, and its lock is held");
        end(c, ST_NOT_READY, "Activating", "");
    }
}

static void plan_present(struct ctx *c)
{
    if (c->have->type != '-') {
        end(c, ST_NOT_READY, "NotPlain",
            arena_printf(c->a,
                         "%s/%s is no plain volume (lvs shows '%c'): snapshots, mirrors and thin "
                         "volumes cannot be moved between hosts",
                         c->want->group, c->want->name, c->have->type));
        return;
    }
    plan_size(c);
    plan_use(c);
}

/* What nobody could look at is not touched. An active device can be judged without its group. */
static bool unknown(struct ctx *c)
{
    if (c->have->active == LVM_UNKNOWN ||
        (c->have->active == LVM_NO && c->have->present == LVM_UNKNOWN)) {
        end(c, ST_UNKNOWN, "CannotLook", c->have->why);
        return true;
    }
    return false;
}

void vol_plan(const struct vol_want *want, const struct vol_have *have, struct arena *a,
              struct st_plan *ret)
{
    struct ctx c = { .want = want, .have = have, .a = a, .p = ret };
    bool active = have->active == LVM_YES;

    memset(ret, 0, sizeof(*ret));
    ret->reason = ret->message = "";
    if (unknown(&c)) {
        return;
    }
    if (want->paused) {
        end(&c, active || have->present == LVM_YES ? ST_READY : ST_NOT_READY, "Paused", "");
    } else if (active && !may_be_active(want->hold)) {
        plan_intrusion(&c);
    } else if (active && !want->use && want->hold != VOL_HOLD_UNKNOWN) {
        plan_unused(&c);
    } else if (!want->exists) {
        plan_removal(&c);
    } else if (have->present == LVM_UNKNOWN) { /* active, and its group cannot be read */
        end(&c, ST_READY, "Active", "its volume group cannot be read");
    } else if (have->present == LVM_NO && active) {
        end(&c, ST_UNKNOWN, "Vanished", "active here, but its volume group does not name it");
    } else if (have->present == LVM_NO) {
        plan_new(&c);
    } else {
        plan_present(&c);
    }
}
