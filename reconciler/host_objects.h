#ifndef RECONCILER_HOST_OBJECTS_H
#define RECONCILER_HOST_OBJECTS_H

/* Objects that a real host is set up with: storage by storage/st_host.h, the network by
 * net/nw_host.h, both behind the seam of host_parts.h.  Other kinds are Ready at once: nothing has
 * to be set up for them.  Loop thread only.
 */

#include <uv.h>

#include "reconciler/host_parts.h"

struct host_objects_opts {
    uv_loop_t *loop;
    const char *host;    /* name of the Host object */
    const char *boot_id; /* of this boot */
    const char *data;    /* folder for what must survive; exists */
};

int host_objects_new(const struct host_objects_opts *opts, struct host_apply **ret,
                     struct err *err) ERR_USED;
/* The quorum has answered a request that was sent at sent_ms (CLOCK_BOOTTIME): changes of the
 * network made before that have not cut this host off. */
void host_objects_confirm(struct host_apply *a, uint64_t sent_ms);
/* The Host object, whenever it changes: its labels (hostSelector), its initiator name. */
void host_objects_host(struct host_apply *a, const json_t *host);
/* Adds what the host is to its status; what is wrong with its storage as a whole, "" when nothing
 * is.  Valid until the next call. */
const char *host_objects_status(struct host_apply *a, json_t *status);
/* May volumes of this group be activated here?  For host_lvm_below. */
bool host_objects_group_usable(void *host_apply, const char *group);
/* Maps below this group without a working path.  For host_lvm_below. */
size_t host_objects_group_dark(void *host_apply, const char *group, const char **dst, size_t max);
/* The agent knows every object: from now on what Picket made and nobody declares is removed. */
void host_objects_synced(struct host_apply *a);

#endif
