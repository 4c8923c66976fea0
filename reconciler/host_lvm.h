#ifndef RECONCILER_HOST_LVM_H
#define RECONCILER_HOST_LVM_H

/* The plainest xen_storage: logical volumes of groups that this host sees already, created,
 * activated and listed with LVM's commands.  Nothing is known of LUNs and paths.
 *
 * Creating happens under the group's lock (the caller's), activation under the volume's.  Commands
 * run beside each other, with a deadline each.  Loop thread only.
 */

#include <uv.h>

#include "reconciler/host_parts.h"

/* The program ignores SIGPIPE (cmd_exec.h).  Without LVM on this host there are no volumes. */
struct xen_storage *host_lvm_new(uv_loop_t *loop);
/* What is known of the disks below.  Either may be NULL. */
struct host_lvm_below {
    /* Nothing of a group that is not usable is activated, created or grown. */
    bool (*usable)(void *ctx, const char *group);
    /* Multipath maps without a working path: they are told to fail what they hold before a volume
     * is deactivated, which would wait for it. */
    size_t (*dark)(void *ctx, const char *group, const char **dst, size_t max);
    void *ctx;
};
void host_lvm_below(struct xen_storage *s, const struct host_lvm_below *below);
/* Programs in this folder instead of their own (tests). */
void host_lvm_programs(struct xen_storage *s, const char *dir);

#endif
