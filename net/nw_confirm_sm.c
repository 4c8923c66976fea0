#include "net/nw_confirm_sm.h"

#include "base/obj.h"

static enum nw_confirm_act undo(struct nw_confirm *c, enum nw_confirm_why why)
{
    c->state = NW_UNDOING;
    c->why = why;
    c->undo_tries = 1;
    c->due_ms = 0;
    return NW_ACT_UNDO;
}

static enum nw_confirm_act idle(struct nw_confirm *c, enum nw_confirm_act act)
{
    c->state = NW_IDLE;
    c->due_ms = 0;
    return act;
}

static enum nw_confirm_act in_idle(struct nw_confirm *c, enum nw_confirm_event ev)
{
    if (ev == NW_EV_START) {
        CHECK(c->timeout_ms > 0);
        c->state = NW_APPLYING;
        c->why = NW_WHY_NONE;
        return NW_ACT_APPLY;
    }
    return ev == NW_EV_RECOVER ? undo(c, NW_WHY_CRASH) : NW_ACT_NONE;
}

static enum nw_confirm_act in_applying(struct nw_confirm *c, enum nw_confirm_event ev,
                                       uint64_t at_ms)
{
    if (ev == NW_EV_APPLIED) {
        c->state = NW_WAITING;
        c->applied_at_ms = at_ms;
        c->due_ms = at_ms + c->timeout_ms;
        return NW_ACT_NONE;
    }
    return ev == NW_EV_FAILED ? undo(c, NW_WHY_FAILED) : NW_ACT_NONE;
}

static enum nw_confirm_act in_waiting(struct nw_confirm *c, enum nw_confirm_event ev,
                                      uint64_t at_ms)
{
    /* An answer to a question from before the change proves nothing. */
    if (ev == NW_EV_CONFIRMED && at_ms > c->applied_at_ms) {
        return idle(c, NW_ACT_KEEP);
    }
    return ev == NW_EV_TICK && at_ms >= c->due_ms ? undo(c, NW_WHY_CUT_OFF) : NW_ACT_NONE;
}

static enum nw_confirm_act in_undoing(struct nw_confirm *c, enum nw_confirm_event ev,
                                      uint64_t at_ms)
{
    if (ev == NW_EV_UNDONE) {
        return idle(c, NW_ACT_UNDONE);
    }
    if (ev == NW_EV_UNDO_FAILED) {
        if (c->undo_tries >= NW_UNDO_TRIES) {
            return idle(c, NW_ACT_UNDONE);
        }
        c->due_ms = at_ms + NW_UNDO_AGAIN_MS;
        return NW_ACT_NONE;
    }
    if (ev == NW_EV_TICK && c->due_ms != 0 && at_ms >= c->due_ms) {
        c->undo_tries++;
        c->due_ms = 0;
        return NW_ACT_UNDO;
    }
    return NW_ACT_NONE;
}

enum nw_confirm_act nw_confirm_step(struct nw_confirm *c, enum nw_confirm_event ev, uint64_t at_ms)
{
    switch (c->state) {
    case NW_IDLE:
        return in_idle(c, ev);
    case NW_APPLYING:
        return in_applying(c, ev, at_ms);
    case NW_WAITING:
        return in_waiting(c, ev, at_ms);
    case NW_UNDOING:
        return in_undoing(c, ev, at_ms);
    }
    CHECK_UNREACHABLE();
}
