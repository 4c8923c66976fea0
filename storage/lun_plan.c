/* In this order: log in, see the disk, see that it is the right one, see its map, count its paths.
 */

#include "storage/lun_plan.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

struct ctx {
    const struct lun_want *want;
    const struct lun_have *have;
    struct arena *a;
    struct lun_plan *p;
    const char *wwid; /* what the paths say, NULL: nothing yet */
    size_t seen;      /* sessions that show the LUN */
    size_t down;      /* sessions that are broken or missing */
    const char *down_portal;
};

const char *lun_step_name(enum lun_step_kind k)
{
    switch (k) {
    case LUN_RECORD:
        return "record";
    case LUN_LOGIN:
        return "login";
    case LUN_RESCAN:
        return "rescan";
    case LUN_MAP:
        return "map";
    case LUN_STOP_QUEUEING:
        return "stop-queueing";
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
        c->p->message = message != NULL ? message : "";
    }
}

static struct lun_step *add(struct ctx *c, enum lun_step_kind kind, const char *why)
{
    struct lun_step *s;

    CHECK(c->p->n_steps < LUN_STEPS_MAX);
    s = &c->p->steps[c->p->n_steps++];
    *s = (struct lun_step){ .kind = kind, .portal = "", .wwid = "", .why = why };
    return s;
}

/* What a path says must be what is pinned, and what every other path says. */
static void check_wwid(struct ctx *c, const char *device, const char *portal)
{
    const char *wwid = NULL;

    for (size_t i = 0; i < c->have->n_disks; i++) {
        if (str_eq(c->have->disks[i].device, device)) {
            wwid = c->have->disks[i].wwid;
        }
    }
    if (wwid == NULL || wwid[0] == '\0') {
        end(c, ST_UNKNOWN, "WwidUnknown",
            arena_printf(c->a, "%s over %s does not say what it is", device, portal));
    } else if (c->want->wwid[0] != '\0' && !str_eq(wwid, c->want->wwid)) {
        end(c, ST_NOT_READY, "WrongWwid",
            arena_printf(c->a, "LUN %" PRIu64 " over %s is %s; %s is the one that was pinned",
                         c->want->lun, portal, wwid, c->want->wwid));
    } else if (c->wwid != NULL && !str_eq(c->wwid, wwid)) {
        end(c, ST_NOT_READY, "DifferentDisks",
            arena_printf(c->a, "LUN %" PRIu64 " is %s over one portal and %s over %s", c->want->lun,
                         c->wwid, wwid, portal));
    }
    c->wwid = wwid != NULL ? wwid : c->wwid;
}

static void look_at_session(struct ctx *c, const struct iscsi_session *s, const char *portal)
{
    for (size_t i = 0; i < s->n_disks; i++) {
        if (s->disks[i].lun == c->want->lun) {
            c->seen++;
            check_wwid(c, s->disks[i].device, portal);
            return;
        }
    }
    if (s->logged_in) {
        add(c, LUN_RESCAN, "the session does not show the LUN")->sid = s->sid;
    }
}

static void plan_portal(struct ctx *c, const char *portal)
{
    const struct iscsi_session *s = iscsi_find(c->have->sessions, c->want->target, portal);

    if (s == NULL) {
        add(c, LUN_RECORD, "no session over this portal")->portal = portal;
        add(c, LUN_LOGIN, "no session over this portal")->portal = portal;
    } else {
        look_at_session(c, s, portal);
    }
    if (s == NULL || !s->logged_in) { /* iscsid itself logs in again to what it has lost */
        c->down++;
        c->down_portal = portal;
    }
}

static void plan_sessions(struct ctx *c)
{
    if (c->have->sessions == NULL) {
        end(c, ST_UNKNOWN, "CannotLook", c->have->why);
        return;
    }
    CHECK(c->want->n_portals <= LUN_PORTALS_MAX);
    for (size_t i = 0; i < c->want->n_portals; i++) {
        plan_portal(c, c->want->portals[i]);
    }
    if (c->seen == 0) {
        end(c, ST_NOT_READY, "NotSeen",
            c->down > 0
                ? arena_printf(c->a, "no session over %zu of %zu portals (%s)", c->down,
                               c->want->n_portals, c->down_portal)
                : arena_printf(c->a, "the target does not show LUN %" PRIu64, c->want->lun));
    }
}

static void count_paths(struct ctx *c, const struct mpath_map *m)
{
    struct lun_plan *p = c->p;

    p->usable = m->usable;
    p->redundant = m->usable >= p->min_paths;
    if (m->queues_for_ever) {
        add(c, LUN_STOP_QUEUEING, "it would keep commands for ever when no path is left")->wwid =
            m->wwid;
    }
    if (m->usable == 0) {
        end(c, ST_NOT_READY, "NoPath",
            arena_printf(c->a, "none of its %zu paths works", m->n_paths));
        return;
    }
    p->device = arena_printf(c->a, "/dev/mapper/%s", m->name);
    end(c, ST_READY, "Ready",
        p->redundant ? "" : arena_printf(c->a, "%zu of %zu paths work", m->usable, p->min_paths));
}

static void plan_map(struct ctx *c, const char *wwid)
{
    const struct mpath_map *m;

    if (c->have->maps == NULL) {
        end(c, ST_UNKNOWN, "CannotLook", c->have->why);
        return;
    }
    m = mpath_find(c->have->maps, wwid);
    if (m != NULL) {
        count_paths(c, m);
    } else if (c->want->target == NULL && c->seen == 0) {
        end(c, ST_NOT_READY, "NotSeen", arena_printf(c->a, "no disk here is %s", wwid));
    } else {
        add(c, LUN_MAP, "it has no multipath map")->wwid = wwid;
        end(c, ST_NOT_READY, "NoMap", "waits for its multipath map");
    }
}

/* A LUN without a target: the disks that are there by other means. */
static void plan_by_wwid(struct ctx *c)
{
    for (size_t i = 0; i < c->have->n_disks; i++) {
        c->seen += str_eq(c->have->disks[i].wwid, c->want->wwid) ? 1 : 0;
    }
}

void lun_plan(const struct lun_want *want, const struct lun_have *have, struct arena *a,
              struct lun_plan *ret)
{
    struct ctx c = { .want = want, .have = have, .a = a, .p = ret };

    memset(ret, 0, sizeof(*ret));
    ret->reason = ret->message = ret->pin = ret->device = "";
    ret->min_paths = want->min_paths != 0 ? want->min_paths : want->n_portals;
    ret->min_paths = ret->min_paths != 0 ? ret->min_paths : 1;
    CHECK(want->target != NULL || want->wwid[0] != '\0');
    if (want->target != NULL) {
        plan_sessions(&c);
    } else {
        plan_by_wwid(&c);
    }
    if (!ended(&c) && want->wwid[0] == '\0') {
        ret->pin = c.wwid;
        end(&c, ST_NOT_READY, "PinNeeded", "its WWID is not recorded yet");
    }
    if (!ended(&c)) {
        plan_map(&c, want->wwid);
    }
    if (ret->state == ST_UNKNOWN || want->paused) {
        ret->n_steps = 0;
    }
}
