#ifndef CMD_PICKETD_CTL_FACTS_H
#define CMD_PICKETD_CTL_FACTS_H

/* What placement needs of a VirtualMachine, read once per version of the object. */

#include "cmd/picketd/world.h"
#include "reconciler/place.h"

struct vm_facts {
    uint64_t generation;
    uint64_t labels_sum;
    uint64_t avoid_sum;
    int64_t priority;
    uint64_t memory;
    uint32_t vcpus;
    enum place_ha ha;
    const char *failback;  /* "" : the cluster's */
    const char *assigned;  /* status.assignedHost, "" */
    const char *moving_to; /* target of the live migration under way, "" */
    const char *seen;      /* where it was seen running, "" */
    const char *spread_by; /* or NULL */
    const char *why_cold;  /* why it cannot migrate live, or NULL (static) */
    bool hold;
    bool on;     /* runPolicy and deletion */
    bool halted; /* for this generation */
    bool running, ready;
    bool pinned; /* never migrates */
    /* into the object's JSON */
    const json_t *hosts, *not_hosts, *selector, *labels, *after, *avoid, *disks, *nics;
};

/* Of this version; belongs to the object. */
const struct vm_facts *ctl_vm_facts(struct ctl_obj *vm);
/* runPolicy and deletion only. */
bool ctl_vm_wanted(const struct ctl_obj *vm);
/* A sum of everything that placement reads of a machine: equal sums, equal answer. */
uint64_t ctl_place_key(const struct world *w, struct ctl_obj *vm);
/* Do reports about objects of this kind matter to placement (bridges, volume groups)? */
bool ctl_place_resource(const struct kind *k);
uint64_t sum_add(uint64_t sum, const void *data, size_t len); /* FNV-1a, 64 bit */
uint64_t sum_u64(uint64_t sum, uint64_t v);
uint64_t sum_str(uint64_t sum, const char *s);

#endif
