#ifndef RECONCILER_VM_LIVE_H
#define RECONCILER_VM_LIVE_H

/* Can a virtual machine move while it runs?  Pure. */

#include <jansson.h>

#include <stdbool.h>

/* What keeps it from that, or NULL; static text.  `pv`: the hosts can track the memory of PV guests
 * (Debian's hypervisor cannot). */
const char *vm_not_live(const json_t *object, bool pv);

#endif
