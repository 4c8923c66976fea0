#ifndef CMD_PICKETD_CTL_FENCE_PRIV_H
#define CMD_PICKETD_CTL_FENCE_PRIV_H

/* Shared by ctl_fence*.c: the fencing controller of one pass. */

#include "cmd/picketd/ctl_priv.h"

#define FENCE_HISTORY_MAX 256
#define FENCE_PEERS_MAX 32

/* What is kept of fencings, open or over. */
struct old_fencing {
    uint64_t id, incarnation, opened_ms;
    uint64_t opened_wall_ms, closed_wall_ms; /* as recorded */
    const char *host;
    uint32_t level;
    bool controller; /* opened by it, not by a person */
    bool succeeded, canceled;
    bool wiring_test; /* picket fence test --cycle */
};

struct fence_facts {
    struct pass *p;
    struct decide_facts f;
    struct old_fencing old[FENCE_HISTORY_MAX];
    size_t n_old;
    uint64_t last_fencing;
};

/* ctl_fence_facts.c: the facts of fence/decide_plan.h, from the world, leases and probes. */
void fence_facts_make(struct fence_facts *fa, struct pass *p);
struct ctl_host_memory *fence_host_memory(struct pass *p, const char *host);

/* ctl_fence_status.c */
/* Wiring tests that ended with a new boot are recorded in their devices' status. */
void fence_record_tests(const struct fence_facts *fa);

/* ctl_fence_scsi.c: locks of the fenced incarnation that a level of ScsiReservation devices covers,
 * CMD_MAX_LOCKS at most (the rest comes with the next proof); `refs` may be NULL. */
size_t fence_covered_locks(struct pass *p, const struct s_fencing *f, uint32_t level,
                           struct cmd_lock_ref *refs);
/* Those that a ScsiReservation proof is to release. */
void fence_proof_locks(struct pass *p, const struct decide_item *it, struct cmd_safety *ret);

#endif
