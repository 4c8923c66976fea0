#ifndef CMD_PICKETD_CTL_MIG_H
#define CMD_PICKETD_CTL_MIG_H

/* Migrations, from what is asked for to where it ended.  Private to ctl*.c.
 *
 * A Migration says what shall happen and where it stands; VirtualMachine.status.migration is made
 * of it (ctl_mig_vm.c) and is all that the two agents see.  The agents alone touch guests and
 * locks; what became of it is read from the lock and from their reports (docs/migration.md).
 *
 * Who wants a machine moved creates a Migration: users do, and ctl_mig_auto.c for every
 * PLACE_MIGRATE of placement's newest run.  Nothing else has to be called.
 */

#include "cmd/picketd/ctl_place.h"

#define MIGRATION_PORT 7445

/* Live ones that begin in the pass under way: the objects do not say so yet. */
struct mig_begun {
    const char *source[64], *target[64];
    size_t n;
    uint64_t sum; /* of what those that wait depend on */
};

/* One Migration that is not over, in one pass. */
struct mig {
    struct mig_begun *begun;
    struct pass *p;
    struct vm_places *s;
    const struct ctl_obj *o;
    struct ctl_obj *vm_obj;
    uint32_t vm;
    json_t *next; /* becomes the object */
};

/* A phase begins (journal, times); the same phase with another message only changes the message. */
void mig_phase(struct mig *m, const char *phase, const char *message);
void mig_end(struct mig *m, const char *phase, const char *reason, const char *message);
/* It goes on as a cold one. */
void mig_cold(struct mig *m, const char *why);
bool mig_may_fall_back(const struct mig *m);
uint64_t mig_phase_age_ms(const struct mig *m);
void mig_live_watch(struct mig *m); /* ctl_mig_live.c */

bool migration_live(const json_t *migration); /* has begun, and is not over */
bool migration_cold(const json_t *migration);

/* ctl_mig_vm.c */
/* Why it cannot move live from one host to the other (NULL: any host), or NULL. */
const char *mig_not_live(struct pass *p, struct ctl_obj *vm, const char *from, const char *to);
/* status.migration and the condition LiveMigratable. */
void ctl_mig_status(struct pass *p, struct ctl_obj *vm, json_t *next);
/* The live Migration of this machine that is under way, or NULL. */
const struct ctl_obj *ctl_migration_of(struct pass *p, const char *vm);

/* ctl_mig_auto.c: Migrations that placement wants; old ones of that kind go. */
void ctl_mig_auto(struct pass *p);

#endif
