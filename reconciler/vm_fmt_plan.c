#include "reconciler/vm_plan.h"

#include <inttypes.h>

#include "base/obj.h"
#include "base/str.h"

/* Names, comparison and text of plans and intents. */

const char *act_name(enum act_kind k)
{
    switch (k) {
    case ACT_LOOK:
        return "look";
    case ACT_READ_LOCKS:
        return "read-locks";
    case ACT_ACQUIRE:
        return "acquire";
    case ACT_CREATE_VOLUME:
        return "create-volume";
    case ACT_GROW_VOLUME:
        return "grow-volume";
    case ACT_ACTIVATE:
        return "activate";
    case ACT_START:
        return "start";
    case ACT_SHUTDOWN:
        return "shutdown";
    case ACT_DESTROY:
        return "destroy";
    case ACT_PAUSE:
        return "pause";
    case ACT_UNPAUSE:
        return "unpause";
    case ACT_ADJUST:
        return "adjust";
    case ACT_DEACTIVATE:
        return "deactivate";
    case ACT_RELEASE:
        return "release";
    case ACT_MIG_JOIN:
        return "join";
    case ACT_MIG_RECEIVE:
        return "receive";
    case ACT_MIG_SEND:
        return "send";
    case ACT_MIG_COMMIT:
        return "commit";
    case ACT_MIG_ABORT:
        return "abort";
    case ACT_MIG_RESUME:
        return "resume";
    }
    CHECK_UNREACHABLE();
}

static const char *const phases[] = { "None",       "Starting", "Running", "Stopping",
                                      "Restarting", "Stopped",  "Sending", "Receiving" };
static const char *const whys[] = { "",         "RunPolicy",   "Moved",         "Deleted",
                                    "LeaseEnd", "ForeignLock", "GuestPoweroff", "GuestReboot",
                                    "Crashed",  "Vanished",    "StartFailed" };
static const char *const latches[] = { "", "Poweroff", "GaveUp" };

const char *vm_phase_name(enum vm_phase p)
{
    CHECK((size_t)p < ARRAY_LEN(phases));
    return phases[p];
}

const char *vm_why_name(enum vm_why w)
{
    CHECK((size_t)w < ARRAY_LEN(whys));
    return whys[w];
}

const char *vm_latch_name(enum vm_latch l)
{
    CHECK((size_t)l < ARRAY_LEN(latches));
    return latches[l];
}

static bool find(const char *const *names, size_t n, const char *s, int *ret)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(names[i], s)) {
            *ret = (int)i;
            return true;
        }
    }
    return false;
}

bool vm_phase_parse(const char *s, enum vm_phase *ret)
{
    int i;

    if (!find(phases, ARRAY_LEN(phases), s, &i)) {
        return false;
    }
    *ret = (enum vm_phase)i;
    return true;
}

bool vm_why_parse(const char *s, enum vm_why *ret)
{
    int i;

    if (!find(whys, ARRAY_LEN(whys), s, &i)) {
        return false;
    }
    *ret = (enum vm_why)i;
    return true;
}

bool vm_latch_parse(const char *s, enum vm_latch *ret)
{
    int i;

    if (!find(latches, ARRAY_LEN(latches), s, &i)) {
        return false;
    }
    *ret = (enum vm_latch)i;
    return true;
}

bool vm_intent_equal(const struct vm_intent *a, const struct vm_intent *b)
{
    for (size_t i = 0; i < VM_RESTARTS_MAX; i++) {
        if (a->restart_ms[i] != b->restart_ms[i]) {
            return false;
        }
    }
    return a->phase == b->phase && a->why == b->why && a->since_ms == b->since_ms &&
           a->latch == b->latch && a->latch_generation == b->latch_generation &&
           a->n_restarts == b->n_restarts && a->restarts_total == b->restarts_total;
}

uint64_t vm_intent_backoff_ms(const struct vm_intent *i)
{
    uint64_t wait = 1000;

    CHECK(i->n_restarts <= VM_RESTARTS_MAX);
    if (i->n_restarts < 2) {
        return 0; /* the first restart is immediate: most crashes are single ones */
    }
    for (uint32_t k = 2; k < i->n_restarts && wait < 30000; k++) {
        wait *= 2;
    }
    return i->restart_ms[i->n_restarts - 1] + (wait < 30000 ? wait : 30000);
}

static void print_at(struct buf *out, const char *key, uint64_t at_ms, uint64_t now_ms)
{
    if (at_ms >= now_ms) {
        buf_printf(out, " %s=+%" PRIu64, key, at_ms - now_ms);
    } else {
        buf_printf(out, " %s=-%" PRIu64, key, now_ms - at_ms);
    }
}

static void print_intent(struct buf *out, const struct vm_intent *i, uint64_t now_ms)
{
    buf_printf(out, "intent %s", vm_phase_name(i->phase));
    if (i->why != VM_WHY_NONE) {
        buf_printf(out, " why=%s", vm_why_name(i->why));
    }
    print_at(out, "since", i->since_ms, now_ms);
    if (i->latch != VM_LATCH_NONE) {
        buf_printf(out, " latch=%s gen=%" PRIu64, vm_latch_name(i->latch), i->latch_generation);
    }
    if (i->restarts_total != 0) {
        buf_printf(out, " restarts=%" PRIu32 "/%" PRIu32, i->n_restarts, i->restarts_total);
    }
    buf_add_byte(out, '\n');
}

void vm_plan_format(const struct vm_env *env, const struct vm_plan *p, struct buf *out)
{
    if (p->set_intent) {
        print_intent(out, &p->intent, env->now_ms);
    }
    for (size_t i = 0; i < p->n_acts; i++) {
        const struct act *a = &p->acts[i];

        buf_printf(out, "%s %s gen=%" PRIu64, act_name(a->kind), a->object, a->generation);
        print_at(out, "before", a->not_after_ms, env->now_ms);
        buf_printf(out, " # %s\n", a->why);
    }
    if (p->blocked_why != NULL) {
        buf_printf(out, "blocked: %s\n", p->blocked_why);
    }
    if (p->recheck_at_ms != 0) {
        buf_add_str(out, "recheck");
        print_at(out, "at", p->recheck_at_ms, env->now_ms);
        buf_add_byte(out, '\n');
    }
    if (p->report.state != NULL) {
        buf_printf(out, "report %s reason=%s%s%s%s%s\n", p->report.state, p->report.reason,
                   p->report.active ? " active" : "", p->report.halted ? " halted" : "",
                   p->report.message[0] != '\0' ? " # " : "", p->report.message);
    }
    if (p->done) {
        buf_add_str(out, "done\n");
    }
}
