#ifndef CMD_PICKET_DEVD_ADDRS_PLAN_H
#define CMD_PICKET_DEVD_ADDRS_PLAN_H

/* The address map of one host of a dev cluster (format: base/addrmap.h).  Pure.
 *
 * What objects declare ("192.168.1.101", "rack1-pdu at 192.168.1.245") is turned into the loopback
 * addresses of the relays:
 *   127.(63 + link).I.J   host I's way to host J
 *   127.64.I.250          host I's way to the PDU
 *   127.64.I.254          host I's gateway
 *   127.64.100.J          the operator's way to host J
 */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define ADDRS_LINKS 2
#define ADDRS_MIGRATION 4U /* from the base port to the port of live migrations */

/* What the API's objects declare: {"hosts": {NAME: {"addresses": [..], "migration": ".."}}, "pdus":
 * {NAME: "IP:PORT"}, "checks": {NAME: [ADDRESS...]}}.  A zeroed struct knows nothing. */
struct addrs {
    json_t *learned;
};

struct addrs_host {
    const char *name;
    int number;
};

struct addrs_world {
    const struct addrs_host *hosts;
    size_t n_hosts;
    uint16_t port; /* peers; +1 API, +2 PDU, +3 gateway */
    const struct addrs *addrs;
};

/* Take over an object (or, with `gone`, forget it); true when something changed.  `plural`: hosts,
 * fencedevices, networkchecks; others change nothing. */
bool addrs_learn(struct addrs *a, const char *plural, const json_t *obj, bool gone);
/* Forget what is not in `seen` (an object with the names as keys). */
bool addrs_keep(struct addrs *a, const char *plural, const json_t *seen);
void addrs_done(struct addrs *a);
/* The map's text for host number `host`. */
void addrs_render(const struct addrs_world *w, int host, struct buf *out);
/* The relay address for I's way to J over `link` (from 1); I == J is the host itself. */
void addrs_ip(int from, int to, int link, char dst[32]);

#endif
