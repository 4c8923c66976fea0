#ifndef NET_NW_STATE_H
#define NET_NW_STATE_H

/* What is reported about one object on this host. Pure; any thread. */

#include <jansson.h>

#include "net/nw_plan.h"

struct nw_state {
    bool ready;
    char reason[40];
    char message[400];
    json_t
        *details; /* state, up, active, addresses, message as in status.hosts.NAME; ours to free */
};
void nw_state_done(struct nw_state *s);

/* `obs` NULL: it could not be looked at. *ret is overwritten; free it with nw_state_done. */
void nw_state_make(const struct nw_iface *f, const struct nw_verdict *v, const struct nw_obs *obs,
                   struct nw_state *ret);

#endif
