#ifndef CMD_PICKETD_LEASE_H
#define CMD_PICKETD_LEASE_H

/* Host leases.  Deadlines live in the leader's memory only; their loss is an entry of the log
 * (safety.md 3).  A follower relays renewals to the leader; the leader extends the lease at receipt
 * and acknowledges after a read-index round, so that a deposed leader acknowledges nothing.
 */

#include <jansson.h>

#include "cmd/picketd/links.h"
#include "cmd/picketd/node.h"
#include "fence/timing.h"

#define LEASE_LATE_MS 300000U
#define LEASE_SLOT_BEATS 6U /* heartbeats after which a storage slot counts as silent */

struct lease_info {
    uint64_t incarnation;
    uint64_t until_ms;      /* clock_now_ms; 0: no lease under this leader */
    uint64_t last_ms;       /* newest receipt, 0: none under this leader */
    uint64_t asked_ms;      /* a renewal arrived after the loss was proposed */
    uint64_t newer_boot_ms; /* a newer boot of the same machine asked to register, 0: no, or this
                               incarnation renewed since */
    /* Newest renewal that came to another host over link i + 1 of that host; 0: none.  The agent
     * goes round all addresses. */
    uint64_t link_ms[LINKS_MAX];
    /* The longest time by which renewals came later than a heartbeat after the one before: in this
     * and in the last LEASE_LATE_MS. */
    uint64_t late_ms[2];
    uint64_t late_since_ms;
    uint64_t slot_ms; /* it wrote its storage slot after this, as other hosts say; 0: never seen */
    bool lost_proposed;
    struct terms terms; /* as stated by the agent at the last renewal */
    bool has_terms;
};

struct lease_table *lease_table_new(struct node *n);
/* This node leads: every Live incarnation gets one full lease. */
void lease_table_start(struct lease_table *t, uint64_t term);
void lease_table_stop(struct lease_table *t);
/* Leader: the knobs are what they are now; logged with their derivation when they changed. */
void lease_table_follow(struct lease_table *t, const struct timing *timing);
/* A relayed renewal (NODE_CALL_LEASE), or with "newerBoot" in its body the word of a host that has
 * booted again; answers through rep_reply. */
void lease_table_call(struct lease_table *t, const uint8_t *data, size_t len, uint64_t call_id);
/* Leader: a Live incarnation that the table has never heard of (it has just registered) gets a full
 * lease. */
void lease_table_grant(struct lease_table *t, const char *host, uint64_t incarnation,
                       uint32_t lease_ms);
/* Leader: what is known of a host; false when nothing. */
bool lease_table_get(const struct lease_table *t, const char *host, struct lease_info *ret);
/* A bit for each link over which renewals came lately; 0: nothing is known of single links. */
uint64_t lease_links(const struct lease_table *t, const struct lease_info *l, uint64_t now_ms);
/* Is there a life sign of this host (NODE_CALL_ALIVE, body: its name)?  Answers ERR_REFUSED when
 * there is, so that nobody confirms as off what still talks to us. */
void lease_table_alive(struct lease_table *t, const uint8_t *data, size_t len, uint64_t call_id);
/* Leader: no renewal of this incarnation is acknowledged any more until lease_table_reprieve. */
void lease_table_lost(struct lease_table *t, const char *host);
void lease_table_reprieve(struct lease_table *t, const char *host);

/* The timing in force, from the Cluster object or the defaults. */
void lease_timing(struct node *n, struct timing *ret);

#endif
