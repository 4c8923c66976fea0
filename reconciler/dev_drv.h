#ifndef RECONCILER_DEV_DRV_H
#define RECONCILER_DEV_DRV_H

/* The driver of `picket dev`: guests are processes (cmd/picket-guest), volumes are files.
 *
 *   DIR/san/GROUP/VOLUME.img            a volume, shared by all hosts; grows by the guest's lines
 *   DIR/hosts/HOST/active/GROUP.VOLUME  it is active on this host (dots of GROUP are doubled)
 *   DIR/hosts/HOST/guests/VM.state      a guest: pid, start time, boot id, how it ended
 *
 * A live migration's state goes from guest to guest over a TCP connection between the two agents
 * (reconciler/xen_move.h), at addresses that the dev cluster's address map knows.
 * Files of another boot id count for nothing: the host was switched off in between.  Exits are seen
 * at once through a pidfd each, so that nothing is polled.  Loop thread only; the file system calls
 * are synchronous, which is good enough for a laptop's disk and for nothing else.
 */

#include <uv.h>

#include "reconciler/drv.h"

struct dev_drv_opts {
    uv_loop_t *loop;
    const char *dir;                         /* of the dev cluster */
    const char *host;                        /* our name */
    const char *boot_id;                     /* of this power-on */
    const char *guest;                       /* path of picket-guest */
    const char *tls_cert, *tls_key, *tls_ca; /* of live migration; NULL: plain (tests) */
    uint64_t memory_bytes;
    uint64_t cpus;
};

/* Makes the folders that are missing.  ERR_SYS, ERR_INVALID. */
int dev_drv_new(const struct dev_drv_opts *opts, struct drv **ret, struct err *err) ERR_USED;

#endif
