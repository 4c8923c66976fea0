#ifndef NET_NW_CONFIRM_SM_H
#define NET_NW_CONFIRM_SM_H

/* The confirmed change: done, then kept only if the host reached the quorum afterwards, within
 * commitTimeout; undone otherwise, after a crash in between too.
 *
 * Pure. Times are CLOCK_BOOTTIME in ms. The caller writes the journal before NW_ACT_APPLY is
 * carried out and removes it on NW_ACT_KEEP (when the record is saved) and after a complete undo.
 */

#include <stdbool.h>
#include <stdint.h>

enum nw_confirm_state {
    NW_IDLE = 0,
    NW_APPLYING, /* the journal is on disk, operations are on their way */
    NW_WAITING,  /* all done, nobody has answered since */
    NW_UNDOING,
};

enum nw_confirm_event {
    NW_EV_START,     /* a plan with operations; the journal is on disk */
    NW_EV_RECOVER,   /* at start: a journal of this boot is on disk */
    NW_EV_APPLIED,   /* all operations done */
    NW_EV_FAILED,    /* one of them failed, or nobody knows */
    NW_EV_CONFIRMED, /* at_ms: when the request that the quorum answered was *sent* */
    NW_EV_TICK,
    NW_EV_UNDONE,      /* the undo list is through */
    NW_EV_UNDO_FAILED, /* not all of it could be done */
};

enum nw_confirm_act {
    NW_ACT_NONE = 0,
    NW_ACT_APPLY,
    NW_ACT_UNDO,
    NW_ACT_KEEP,   /* save the record, remove the journal */
    NW_ACT_UNDONE, /* restore the record, remove the journal, report `why` */
};

enum nw_confirm_why { NW_WHY_NONE = 0, NW_WHY_FAILED, NW_WHY_CUT_OFF, NW_WHY_CRASH };

#define NW_UNDO_TRIES 3
#define NW_UNDO_AGAIN_MS 1000

struct nw_confirm {
    enum nw_confirm_state state;
    enum nw_confirm_why why; /* of the undo */
    uint64_t timeout_ms;     /* set before NW_EV_START */
    uint64_t applied_at_ms;
    uint64_t due_ms; /* next NW_EV_TICK that matters, 0: none */
    unsigned undo_tries;
};

enum nw_confirm_act nw_confirm_step(struct nw_confirm *c, enum nw_confirm_event ev, uint64_t at_ms);

#endif
