/* Plans as words. */

#include <inttypes.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/st_plan_priv.h"

const char *st_state_name(enum st_state s)
{
    switch (s) {
    case ST_UNKNOWN:
        return "Unknown";
    case ST_NOT_READY:
        return "NotReady";
    case ST_READY:
        return "Ready";
    }
    CHECK_UNREACHABLE();
}

const char *st_step_name(enum st_step_kind k)
{
    switch (k) {
    case ST_VG_CREATE:
        return "vg-create";
    case ST_VG_EXTEND:
        return "vg-extend";
    case ST_PV_RESIZE:
        return "pv-resize";
    case ST_VOL_CREATE:
        return "vol-create";
    case ST_VOL_GROW:
        return "vol-grow";
    case ST_VOL_REFRESH:
        return "vol-refresh";
    case ST_VOL_TELL_GUEST:
        return "vol-tell-guest";
    case ST_VOL_ACTIVATE:
        return "vol-activate";
    case ST_VOL_FAIL_NO_PATH:
        return "vol-fail-if-no-path";
    case ST_VOL_WIPE_TABLE:
        return "vol-wipe-table";
    case ST_VOL_DEACTIVATE:
        return "vol-deactivate";
    case ST_VOL_REMOVE:
        return "vol-remove";
    }
    CHECK_UNREACHABLE();
}

const char *vol_hold_name(enum vol_hold h)
{
    switch (h) {
    case VOL_HOLD_UNKNOWN:
        return "Unknown";
    case VOL_HOLD_FREE:
        return "Free";
    case VOL_HOLD_OTHER:
        return "Other";
    case VOL_HOLD_HERE:
        return "Here";
    case VOL_HOLD_PEER:
        return "Peer";
    case VOL_HOLD_SHARED:
        return "Shared";
    }
    CHECK_UNREACHABLE();
}

uint64_t st_round_up(uint64_t size, uint64_t extent)
{
    uint64_t rest = size % extent;

    if (rest == 0) {
        return size;
    }
    return size > UINT64_MAX - (extent - rest) ? UINT64_MAX : size + (extent - rest);
}

void st_end(struct st_plan *p, enum st_state state, const char *reason, const char *message)
{
    p->state = state;
    p->reason = reason;
    p->message = message != NULL ? message : "";
}

struct st_step *st_add(struct st_plan *p, enum st_step_kind kind, const char *why)
{
    struct st_step *s;

    CHECK(p->n_steps < ST_STEPS_MAX);
    s = &p->steps[p->n_steps++];
    *s = (struct st_step){ .kind = kind, .device = "", .why = why };
    return s;
}

void st_plan_print(const struct st_plan *p, struct buf *b)
{
    char size[32];

    for (size_t i = 0; i < p->n_steps; i++) {
        const struct st_step *s = &p->steps[i];

        buf_printf(b, "%s", st_step_name(s->kind));
        if (s->device[0] != '\0') {
            buf_printf(b, " %s", s->device);
        }
        if (s->size != 0) {
            str_format_size(s->size, size, sizeof(size));
            buf_printf(b, " %s", size);
        }
        buf_printf(b, "  # %s\n", s->why);
    }
    buf_printf(b, "%s %s%s%s%s\n", st_state_name(p->state), p->reason,
               p->message[0] != '\0' ? ": " : "", p->message, p->event ? " (event)" : "");
}
