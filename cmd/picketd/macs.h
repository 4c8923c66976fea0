#ifndef CMD_PICKETD_MACS_H
#define CMD_PICKETD_MACS_H

/* MAC addresses of virtual machines: made once and kept; no two machines may have the same. */

#include "cmd/picketd/change.h"

/* Give every card of a VirtualMachine without an address that of the old version, or a new one. */
void macs_fill(const json_t *old, json_t *vm);
/* ERR_INVALID when a machine of these changes has an address that another one has, there or here.
 */
int macs_admit(struct node *n, const struct change *changes, size_t count,
               struct err *err) ERR_USED;

#endif
