#include "reconciler/xen_priv.h"

void xen_mig_begin(struct xen_job *j)
{
    xen_job_fail(j, ERR_UNSUPPORTED, "live migration");
}
void xen_mig_step(struct xen_job *j)
{
    xen_job_fail(j, ERR_UNSUPPORTED, "live migration");
}
