#include <inttypes.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_plan.h"

/* Names, and the text form of a plan: what the log, `picket why` and the goldens show. */

const char *decide_kind_name(enum decide_kind k)
{
    switch (k) {
    case DECIDE_TRANSFER_LEADERSHIP:
        return "transfer-leadership";
    case DECIDE_MARK_LOST:
        return "mark-lost";
    case DECIDE_REPRIEVE:
        return "reprieve";
    case DECIDE_FENCE_OPEN:
        return "fence-open";
    case DECIDE_FENCE_REOPEN:
        return "fence-reopen";
    case DECIDE_FENCE_ATTEMPT:
        return "fence-attempt";
    case DECIDE_VETO:
        return "veto";
    case DECIDE_PROOF:
        return "proof";
    case DECIDE_WATCHDOG_WAIT:
        return "watchdog-wait";
    case DECIDE_POWER_ON:
        return "power-on";
    case DECIDE_HOLD:
        return "hold";
    case DECIDE_WAIT:
        return "wait";
    }
    CHECK_UNREACHABLE();
}

const char *decide_proof_name(enum decide_proof p)
{
    switch (p) {
    case DECIDE_PROOF_NONE:
        return "None";
    case DECIDE_PROOF_OFF:
        return "Off";
    case DECIDE_PROOF_REBOOT:
        return "Reboot";
    case DECIDE_PROOF_WATCHDOG:
        return "Watchdog";
    case DECIDE_PROOF_SCSI:
        return "ScsiReservation";
    case DECIDE_PROOF_CONFIRMATION:
        return "Confirmation";
    }
    CHECK_UNREACHABLE();
}

const char *decide_state_name(enum decide_state s)
{
    switch (s) {
    case DECIDE_INC_NONE:
        return "None";
    case DECIDE_INC_LIVE:
        return "Live";
    case DECIDE_INC_LOST:
        return "Lost";
    case DECIDE_INC_FENCING:
        return "Fencing";
    case DECIDE_INC_FENCED:
        return "Fenced";
    }
    CHECK_UNREACHABLE();
}

static void format_args(const struct decide_item *it, struct buf *out)
{
    switch (it->kind) {
    case DECIDE_TRANSFER_LEADERSHIP:
        buf_printf(out, " to=%s", it->executor);
        return;
    case DECIDE_FENCE_ATTEMPT:
        buf_printf(out, " fencing=%" PRIu64 " attempt=%" PRIu64 " level=%" PRIu32 " executor=%s",
                   it->fencing, it->attempt, it->level, it->executor);
        return;
    case DECIDE_POWER_ON:
        buf_printf(out, " level=%" PRIu32 " executor=%s", it->level, it->executor);
        return;
    case DECIDE_PROOF:
        buf_printf(out, " fencing=%" PRIu64 " attempt=%" PRIu64 " kind=%s", it->fencing,
                   it->attempt, decide_proof_name(it->proof));
        if (it->proof == DECIDE_PROOF_WATCHDOG) {
            buf_printf(out, " elapsed=%" PRIu64, it->elapsed_ms);
        }
        return;
    case DECIDE_VETO:
        buf_printf(out, " fencing=%" PRIu64 " attempt=%" PRIu64, it->fencing, it->attempt);
        return;
    case DECIDE_REPRIEVE:
    case DECIDE_FENCE_REOPEN:
    case DECIDE_WATCHDOG_WAIT:
        buf_printf(out, " fencing=%" PRIu64, it->fencing);
        return;
    case DECIDE_HOLD:
    case DECIDE_WAIT:
        buf_printf(out, " reason=%s", it->reason);
        return;
    case DECIDE_MARK_LOST:
    case DECIDE_FENCE_OPEN:
        return;
    }
    CHECK_UNREACHABLE();
}

void decide_format(const struct decide_plan *p, struct buf *out)
{
    for (size_t i = 0; i < p->n_items; i++) {
        const struct decide_item *it = &p->items[i];

        buf_printf(out, "%s %s inc=%" PRIu64, decide_kind_name(it->kind), it->host,
                   it->incarnation);
        format_args(it, out);
        buf_printf(out, "  # %s\n", it->why);
    }
    for (size_t i = 0; i < p->n_conds; i++) {
        const struct decide_cond *c = &p->conds[i];

        if (!str_eq(c->ready, "True")) {
            buf_printf(out, "cond %s Ready=%s %s: %s\n", c->host, c->ready, c->reason, c->message);
        }
        if (!str_eq(c->fencing_ready, "True")) {
            buf_printf(out, "cond %s FencingReady=%s %s: %s\n", c->host, c->fencing_ready,
                       c->fencing_reason, c->fencing_message);
        }
    }
    if (p->recheck_at_ms != 0) {
        buf_printf(out, "recheck %" PRIu64 "\n", p->recheck_at_ms);
    }
}
