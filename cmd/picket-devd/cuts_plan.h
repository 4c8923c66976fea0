#ifndef CMD_PICKET_DEVD_CUTS_PLAN_H
#define CMD_PICKET_DEVD_CUTS_PLAN_H

/* Which traffic of a dev cluster is dropped.  Pure; one thread at a time.
 *
 * Ends are numbered as the last octet of their loopback address: hosts from 1, then the three
 * below.
 */

#include <stdbool.h>
#include <stddef.h>

#define END_ANY 0
#define END_OPERATOR 100
#define END_PDU 250
#define END_GATEWAY 254

enum cut_direction { CUT_BOTH, CUT_IN, CUT_OUT };

/* Traffic of `host` with `with` (END_ANY: everybody) over `link` (0: every link) is dropped;
 * CUT_IN: only what comes to `host`. */
struct cut {
    int host;
    int with;
    enum cut_direction direction;
    int link;
};

#define CUTS_MAX 256

struct cuts {
    struct cut items[CUTS_MAX];
    size_t n;
};

/* False when there are CUTS_MAX already; a cut that is there is not added twice. */
bool cuts_add(struct cuts *c, struct cut cut);
/* Remove what cuts traffic between `host` and `with`; with END_ANY everything that names `host`.
 * `host` END_ANY removes all.  Returns how many went. */
size_t cuts_heal(struct cuts *c, int host, int with);
/* Does a packet from `from` to `to` over `link` get lost? */
bool cuts_blocked(const struct cuts *c, int from, int to, int link);
const char *cut_direction_name(enum cut_direction d); /* "both", "in", "out" */

#endif
