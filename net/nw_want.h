#ifndef NET_NW_WANT_H
#define NET_NW_WANT_H

/* What a Bond, VLAN or Bridge object means on one host: host selection, perHost fields, defaults.
 * Pure; any thread. The fields are those of api/kinds_net.c. */

#include <jansson.h>

#include "net/nw.h"

/* Is the object for this host? `labels` are the host's (an object, or NULL). */
bool nw_want_applies(const json_t *object, const char *host, const json_t *labels);

/* ERR_INVALID with what is wrong; the object's validation does not let that through. */
int nw_want_iface(enum nw_kind kind, const json_t *object, const char *host, struct nw_iface *ret,
                  struct err *err) ERR_USED;

#endif
