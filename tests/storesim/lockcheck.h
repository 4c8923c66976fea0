#ifndef TESTS_STORESIM_LOCKCHECK_H
#define TESTS_STORESIM_LOCKCHECK_H

/* Locks and incarnations, seen from outside: is every change of them one that docs/safety.md
 * allows?  Given each applied command with the changes that it made, in the order of the log.
 *
 *   - a holder leaves a lock by its own release, its own migration, or in the entry that ends its
 *     incarnation (or a reservation that names the lock); nobody else takes it from it
 *   - nobody enters but by Acquire of a free lock, or as the peer of a migration, and only Live
 *   - tokens and incarnations only grow; Fenced is the end
 *   - an Off proof follows a result "off" of the running attempt's own executor
 *
 * Pure; one thread.
 */

#include "store/safety.h"
#include "tests/storesim/model.h"

struct lc_slot {
    uint64_t inc, token;
};

struct lc_lock {
    const char *name;
    struct lc_slot owner, peer;
};

struct lc_inc {
    uint64_t number;
    const char *host;
    enum inc_state state;
};

struct lc_fencing {
    uint64_t id, inc, attempt;
    const char *executor;
    bool off, vetoed; /* of the running attempt */
};

struct lockcheck {
    struct arena a;
    struct lc_lock locks[64];
    size_t n_locks;
    struct lc_inc *incs;
    size_t n_incs, cap_incs;
    struct lc_fencing *fencings;
    size_t n_fencings, cap_fencings;
    uint64_t last_token;
    uint64_t changes; /* of locks, checked */
};

void lockcheck_done(struct lockcheck *l);
/* ERR_REFUSED: a change that the rules do not allow. */
int lockcheck_apply(struct lockcheck *l, const struct cmd *c, const struct cmd_answer *ans,
                    const struct m_event *events, size_t n, struct err *err) ERR_USED;

#endif
