#ifndef CMD_PICKETD_REIGN_SM_H
#define CMD_PICKETD_REIGN_SM_H

/* For how long has the cluster had no leader?  As one picketd sees it: pure, time is an argument.
 *
 * A leader that did not last for a lease does not count: under it not even every lease could be
 * renewed.  A picketd that was cut off cannot tell that from a cluster without a leader, and takes
 * it for one.  Milliseconds of CLOCK_BOOTTIME.  One thread: the node's.
 */

#include <stdbool.h>
#include <stdint.h>

struct reign {
    uint64_t without_ms; /* no leader has lasted for a lease since then */
    uint64_t led_ms;     /* the leader is known since then; 0: there is none */
};

void reign_init(struct reign *r, uint64_t now_ms); /* no leader is known */
/* A leader is known now, or none is.  One leader after another counts as the same. */
void reign_known(struct reign *r, bool known, uint64_t now_ms, uint64_t lease_ms);
/* 0 while a leader reigns, and has for a lease. */
uint64_t reign_gap_ms(const struct reign *r, uint64_t now_ms, uint64_t lease_ms);

#endif
