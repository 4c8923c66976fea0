#ifndef RECONCILER_XEN_DRV_H
#define RECONCILER_XEN_DRV_H

/* The Xen driver: guests are domains, libxenlight makes and ends them.
 *
 * libxl lives on a thread of its own with its own poll loop, since much of it blocks although it
 * takes an ao_how; the two threads exchange messages, and nothing else is shared.  Domains carry
 * the machine's name, uid, incarnation and token below /local/domain/ID/picket, written in the
 * transaction that makes them: that is how they are known again after a restart of the agent or a
 * rename.  A domain without these marks is known by its name and may be adopted.
 *
 * Volumes and objects of the host are left to the parts of host_parts.h.  docs/xen.md.
 */

#include <uv.h>

#include "reconciler/host_parts.h"

struct xen_drv_opts {
    uv_loop_t *loop;
    struct xen_storage *storage; /* the driver's from now on */
    struct host_apply *apply;    /* the driver's; NULL: DRV_APPLY says that nobody does it */
    const char *tls_cert, *tls_key, *tls_ca; /* the agent's, for live migration; NULL: plain */
    uint64_t patience_ms; /* a migration waits so long for the other host; 0: 60 s */
    uint64_t give_up_ms;  /* after an abort the answer comes within this; 0: 10 s */
};

/* ERR_UNSUPPORTED: this machine does not run Xen, or we are not in dom0; ERR_DRIVER: Xen cannot be
 * reached.  On failure the parts stay the caller's. */
int xen_drv_new(const struct xen_drv_opts *opts, struct drv **ret, struct err *err) ERR_USED;

/* The version and abilities of this host's Xen, asked once at the start; static until closed. */
struct xen_host_caps {
    char version[32]; /* "xen-4.17.5" */
    bool pv, hvm, hap;
    bool pv_logdirty; /* PV guests can migrate live (hypervisor with shadow paging) */
};
const struct xen_host_caps *xen_drv_caps(struct drv *d);

#endif
