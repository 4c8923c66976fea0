#ifndef CMD_PICKETD_CTL_PLACE_H
#define CMD_PICKETD_CTL_PLACE_H

/* Placement of one pass: facts for reconciler/place.h, and Migrations. */

#include "cmd/picketd/ctl_priv.h"
#include "reconciler/place.h"

struct vm_reject {
    const char *host, *reason, *message;
};

struct vm_place {
    const char *host; /* assigned host, "" none */
    const char *reason;
    const char *message;
    struct vm_reject *rejected;
    size_t n_rejected;
};

struct vm_places;

/* runPolicy and deletion only. */
bool ctl_vm_wanted(const struct ctl_obj *vm);
/* The facts alone, for questions (capacity, plan). */
const struct place_input *ctl_place_facts(struct pass *p);
/* Everything lives in the pass's arena. */
struct vm_places *ctl_place(struct pass *p);
const struct vm_place *ctl_place_of(const struct vm_places *places, const char *vm);
/* Progress of Migration objects. */
void ctl_migration_pass(struct pass *p, struct vm_places *places);

#endif
