#ifndef NET_NW_DRV_H
#define NET_NW_DRV_H

/* The kernel's side of the host network: look, change, be told of changes.
 *
 * A struct nw_drv belongs to the thread that uses it; calls block for at most their deadline
 * (CLOCK_BOOTTIME, ms), so call from a thread that may wait. It acts in the network namespace of
 * the thread that opened it. Sources: netlink(7), rtnetlink(7),
 * Documentation/networking/ethtool-netlink.rst.
 */

#include "net/nw.h"

struct nw_drv;

int nw_drv_open(struct nw_drv **ret, struct err *err) ERR_USED;
void nw_drv_close(struct nw_drv *d); /* NULL is allowed */

/* Everything, or an error: then it is not known how things are. *ret is in `a`. */
int nw_drv_observe(struct nw_drv *d, struct arena *a, uint64_t deadline_ms, struct nw_obs *ret,
                   struct err *err) ERR_USED;

/* Do operations in order; the first failure ends it, with the operation in the message.
 * What is already so is success. ERR_UNKNOWN_OUTCOME: it may have happened. *ret_done may be NULL.
 */
int nw_drv_apply(struct nw_drv *d, const struct nw_op *ops, size_t n, uint64_t deadline_ms,
                 size_t *ret_done, struct err *err) ERR_USED;
/* Do all of them, whatever fails on the way; the first failure is returned at the end. */
int nw_drv_undo(struct nw_drv *d, const struct nw_op *ops, size_t n, uint64_t deadline_ms,
                struct err *err) ERR_USED;

/* A non-blocking socket that becomes readable when links, addresses or routes change. */
int nw_monitor_open(int *ret_fd, struct err *err) ERR_USED;
/* Read what is there. True: something changed, or notifications were lost. */
bool nw_monitor_drain(int fd);

#endif
