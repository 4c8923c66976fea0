#include "storage/pr_plan.h"

#include <string.h>

#include "base/obj.h"
#include "base/str.h"

struct ctx {
    const struct prp_want *want;
    struct arena *a;
    struct prp_plan *p;
};

const char *prp_step_name(enum prp_step_kind k)
{
    switch (k) {
    case PRP_REGISTER:
        return "pr-register";
    case PRP_RESERVE:
        return "pr-reserve";
    case PRP_UNREGISTER:
        return "pr-unregister";
    }
    CHECK_UNREACHABLE();
}

static bool ended(const struct ctx *c)
{
    return c->p->reason[0] != '\0';
}

static void end(struct ctx *c, enum st_state state, const char *reason, const char *message)
{
    if (!ended(c)) {
        c->p->state = state;
        c->p->reason = reason;
        c->p->message = message;
    }
}

static void add(struct ctx *c, enum prp_step_kind kind, size_t lun, const char *device,
                const char *why)
{
    if (c->p->n_steps < PRP_STEPS_MAX) { /* the rest comes with the next look */
        c->p->steps[c->p->n_steps++] =
            (struct prp_step){ .kind = kind, .lun = lun, .device = device, .why = why };
    }
}

static void count(const struct prp_lun *l, size_t *yes, size_t *no)
{
    *yes = *no = 0;
    for (size_t i = 0; i < l->n_paths; i++) {
        *yes += l->paths[i].registered == LVM_YES ? 1 : 0;
        *no += l->paths[i].registered == LVM_NO ? 1 : 0;
    }
}

/* A right that we had and have no more. */
static bool taken(struct ctx *c, const struct prp_lun *l)
{
    if (!l->was_ours || l->has_key) {
        return false;
    }
    c->p->reset = l->missed;
    c->p->look_twice = !l->missed;
    c->p->state = ST_NOT_READY; /* whatever else there is to say */
    c->p->reason = "KeyGone";
    c->p->message =
        arena_printf(c->a,
                     "LUN %s: the key of this host was taken away: it was cut off, and writes "
                     "nothing any more until it has booted again",
                     l->name);
    c->p->n_steps = 0;
    return true;
}

/* Writing what others see: only with the lock, which says that this host is Live now. */
static void outside(struct ctx *c, enum prp_step_kind kind, size_t i, const char *device,
                    const char *why)
{
    const struct prp_lun *l = &c->want->luns[i];

    if (c->want->meta_lock) {
        add(c, kind, i, device, why);
        end(c, ST_NOT_READY, "Registering", arena_printf(c->a, "LUN %s: %s", l->name, why));
    } else {
        end(c, ST_NOT_READY, "LockNeeded",
            arena_printf(c->a, "waits for the group's lock: LUN %s: %s", l->name, why));
    }
}

static void plan_lun(struct ctx *c, size_t i)
{
    const struct prp_lun *l = &c->want->luns[i];
    size_t yes, no;

    count(l, &yes, &no);
    if (!l->looked) {
        end(c, ST_UNKNOWN, "ReservationUnknown", arena_printf(c->a, "LUN %s: %s", l->name, l->why));
        return;
    }
    if (taken(c, l)) {
        return;
    }
    if (l->reserved == PRT_OTHER) {
        end(c, ST_NOT_READY, "ForeignReservation",
            arena_printf(c->a,
                         "LUN %s is reserved by somebody else (%s); if nobody uses it: sg_persist "
                         "--out --clear",
                         l->name, l->reserved_text));
        return;
    }
    for (size_t k = 0; k < l->n_paths; k++) {
        if (l->paths[k].registered == LVM_NO) {
            outside(c, PRP_REGISTER, i, l->paths[k].device, "a path is not registered");
        }
    }
    if (yes == 0 && no == 0) {
        end(c, ST_UNKNOWN, "ReservationUnknown",
            arena_printf(c->a, "LUN %s: no path answers", l->name));
    } else if (no == 0 && l->reserved == PRT_NONE) {
        for (size_t k = 0; k < l->n_paths; k++) {
            if (l->paths[k].registered == LVM_YES) {
                outside(c, PRP_RESERVE, i, l->paths[k].device, "nothing keeps others out yet");
                return;
            }
        }
    }
}

/* Giving up one's own right needs no lock, but nobody here may still write. */
static void plan_leave(struct ctx *c)
{
    bool any = false;

    for (size_t i = 0; i < c->want->n_luns; i++) {
        const struct prp_lun *l = &c->want->luns[i];

        for (size_t k = 0; l->was_ours && k < l->n_paths; k++) {
            if (l->paths[k].registered == LVM_YES) {
                any = true;
                add(c, PRP_UNREGISTER, i, l->paths[k].device, "the group is not reserved any more");
            }
        }
    }
    if (any && c->want->in_use != LVM_NO) {
        c->p->n_steps = 0;
        end(c, ST_READY, "StillRegistered",
            "not reserved any more; registered until none of its volumes is active here");
    }
    end(c, ST_READY, any ? "Unregistering" : "NotReserved", "");
}

void prp_plan(const struct prp_want *want, struct arena *a, struct prp_plan *ret)
{
    struct ctx c = { .want = want, .a = a, .p = ret };

    memset(ret, 0, sizeof(*ret));
    ret->reason = ret->message = "";
    if (!want->wanted) {
        plan_leave(&c);
        ret->n_steps = want->paused ? 0 : ret->n_steps;
        return;
    }
    if (!want->key_known) {
        end(&c, ST_UNKNOWN, "KeyUnknown", "this host is not registered with the cluster yet");
    }
    for (size_t i = 0; i < want->n_luns && !c.p->reset && !c.p->look_twice; i++) {
        if (want->luns[i].ready == LVM_YES && want->key_known) { /* others: the group's own plan */
            plan_lun(&c, i);
        }
    }
    end(&c, ST_READY, "Reserved", "");
    if (want->paused || ret->state == ST_UNKNOWN) {
        ret->n_steps = 0;
    }
}
