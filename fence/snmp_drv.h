#ifndef FENCE_SNMP_DRV_H
#define FENCE_SNMP_DRV_H

/* ApcSnmp over net-snmp, SNMP v1, v2c and v3: the packets behind fence/apc.h.
 *
 * Blocking; for picket-fence only: net-snmp exports over two thousand names and has global state,
 * so it is linked into a program that does one thing and ends.  It reads no configuration files, no
 * MIBs and no environment.
 *
 * Source: APC PowerNet-MIB, rPDUOutletControlTable (318.1.1.12.3.3.1) and rPDUOutletStatusTable
 * (318.1.1.12.3.5.1); a real AP7900 and `fence_apc_snmp` of fence-agents use the same objects.
 */

#include "fence/dev.h"
#include "fence/run.h"

void snmp_drv_run(struct fence_run *run, struct fence_answer *ans);

#endif
