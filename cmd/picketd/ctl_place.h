#ifndef CMD_PICKETD_CTL_PLACE_H
#define CMD_PICKETD_CTL_PLACE_H

/* Placement: facts for reconciler/place.h, the newest decision, and Migrations. */

#include "cmd/picketd/ctl_facts.h"
#include "cmd/picketd/ctl_priv.h"
#include "reconciler/place.h"

struct vm_place {
    const char *host; /* assigned host, "" none */
    const char *reason;
    const char *message;
};

/* One run: facts and plan.  Everything it points to lives in its arena: objects may go on changing.
 */
struct vm_places {
    struct arena a;
    struct controller *c;
    struct place_input in;
    struct place_plan plan;
    bool settling;
    struct place_host *hosts;
    bool *stops; /* by host: its drain is over, what is left there shall stop */
    struct place_vm *vms;
    struct place_rule *rules;
    const struct ctl_obj **vm_objs;  /* while the run is made */
    const char **targets;            /* by vm: host that its migration wants, or NULL */
    struct map host_names, vm_names; /* -> &hosts[i], &vms[i] */
    const char **resources;
    size_t n_resources;
    struct map resource_names;
};

/* The facts alone, for questions (capacity, plan); freed with places_free. */
struct vm_places *places_facts(struct pass *p);
void places_free(struct vm_places *s);
uint32_t places_host(const struct vm_places *s, const char *name);
uint32_t places_vm(const struct vm_places *s, const char *name);

/* What was decided for one machine, as a sum: equal sums, equal status. */
uint64_t places_sum(const struct vm_places *s, uint32_t vm);

/* What the newest run says of a machine. */
struct vm_place ctl_place_of(const struct controller *c, const char *vm);
/* It is moving to another host, or shall. */
bool ctl_place_moves(const struct controller *c, const char *vm);
/* Its message with the reason of each host. */
const char *ctl_place_text(const struct controller *c, const char *vm, struct arena *a);
/* Why no host would do: status.placement.rejected. */
json_t *ctl_place_rejected(const struct controller *c, const char *vm);
bool migration_over(const json_t *migration);

#endif
