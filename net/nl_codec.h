#ifndef NET_NL_CODEC_H
#define NET_NL_CODEC_H

/* rtnetlink messages: requests from operations, and answers into the picture of the host.
 *
 * Pure; any thread. Input is what a kernel sent, but is treated as foreign: every length is
 * checked, attributes of a wrong size are left out. Input memory has to be aligned to 4 bytes, as
 * malloc and sockets give it. Sources: netlink(7), rtnetlink(7), linux/if_link.h.
 */

#include "net/nw.h"

#define NL_REQUEST_MAX 1024 /* bytes, enough for every request here */

/* What nl_parse found at the end of a part. */
enum nl_end {
    NL_MORE = 0, /* read on */
    NL_DONE,     /* the end of a dump, or an acknowledgement */
    NL_REFUSED,  /* the kernel said no: see struct nl_answer */
};

struct nl_answer {
    enum nl_end end;
    bool inconsistent; /* things changed during the dump: ask again when it is over */
    int error;         /* errno of the kernel, positive */
    char text[160];    /* what the kernel says about it, "" */
};

/* Ask for everything of one sort: type is RTM_GETLINK, RTM_GETADDR or RTM_GETROUTE.
 * Returns the length; buf is aligned and holds NL_REQUEST_MAX bytes. */
size_t nl_build_dump(void *buf, uint16_t type, uint32_t seq);

/* Indices of the interfaces that a request names; 0 where there is none. */
struct nl_indices {
    int dev;
    int other; /* master, or what is below a VLAN */
    int primary;
};
/* The request of one operation. Fails with ERR_INVALID when an index is missing. */
int nl_build_op(void *buf, const struct nw_op *op, const struct nl_indices *ix, uint32_t seq,
                size_t *ret_len, struct err *err) ERR_USED;

/* Read one received part; what is there about links, addresses and routes is added to *o (call
 * nw_obs_resolve when all parts are in). Messages of another seq are passed over; seq 0 takes all
 * (notifications). ERR_CORRUPT when lengths do not fit. */
int nl_parse(const void *data, size_t len, uint32_t seq, struct nw_obs *o, struct nl_answer *ret,
             struct err *err) ERR_USED;

#endif
