#ifndef NET_NW_PLAN_H
#define NET_NW_PLAN_H

/* The planner of the host's network: what should be, what is and what is ours give the operations
 * that lead there, and those that lead back.
 *
 * Pure: no clock, no I/O, no globals, no allocation outside the arena; the same input gives the
 * same plan. docs/network.md has the rules in words.
 *
 * It never touches an interface that no object names and that is not in the record; never removes
 * an address, a member or a link that is not in the record; and takes no card whose addresses no
 * object wants, since the host would be cut off.
 */

#include "net/nw.h"

enum nw_verdict_kind { NW_OK = 0, NW_PAUSED, NW_BLOCKED };

struct nw_verdict {
    enum nw_verdict_kind kind;
    const char *reason;  /* CamelCase, NULL when OK without anything to say */
    const char *message; /* what, where, what to do */
};

struct nw_plan {
    struct nw_op *ops;
    size_t n_ops;
    struct nw_op *undo; /* every one is harmless when there is nothing to undo */
    size_t n_undo;
    struct nw_verdict *verdicts; /* one for each of want->ifaces */
    struct nw_record next;       /* the record when all is done */
    const char *leftover;        /* NULL, or what of ours could not be removed yet and why */
};

/* Never fails: what cannot be done is said in a verdict. Reads its arguments only. */
void nw_plan_make(const struct nw_want *want, const struct nw_obs *obs, const struct nw_record *rec,
                  struct arena *a, struct nw_plan *ret);

void nw_op_format(const struct nw_op *op, struct buf *b); /* one line without its end */
void nw_plan_format(const struct nw_want *want, const struct nw_plan *plan, struct buf *b);

#endif
