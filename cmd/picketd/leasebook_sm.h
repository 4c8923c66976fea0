#ifndef CMD_PICKETD_LEASEBOOK_SM_H
#define CMD_PICKETD_LEASEBOOK_SM_H

/* The deadlines of raw leases, as the leader keeps them in memory: pure, time is an argument.
 *
 * The book follows s/lease/ by a watch.  Opened when leadership begins (the barrier applied), so
 * each lease has its full TTL again; closed when it ends.  A lease whose end was proposed is never
 * extended again: only the entry itself, or a new leader, knows what became of it.
 * Milliseconds of the leader's monotonic clock.  One thread: the store's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "store/store.h"

struct leasebook {
    struct store *store;
    struct store_watch *watch; /* NULL: closed */
    struct map leases;         /* private */
};

void leasebook_open(struct leasebook *b, struct store *s, uint64_t now_ms);
void leasebook_close(struct leasebook *b); /* twice is fine */
/* Take over what was granted and ended since; before each of the calls below. */
void leasebook_pull(struct leasebook *b, uint64_t now_ms);

/* Up to max leases whose time is over: each is marked as ending and must be proposed to end now. */
size_t leasebook_due(struct leasebook *b, uint64_t now_ms, uint64_t *ret_ids, size_t max);
/* It is not known that the end happened: propose it again later. */
void leasebook_not_ended(struct leasebook *b, uint64_t id, uint64_t now_ms);

struct leasebook_left {
    uint64_t left_s; /* 0: gone, or its end was proposed */
    uint64_t ttl_s;  /* as granted; 0: unknown lease */
};
/* What is left, with `keep` after it was extended.  Acknowledge it only when this leadership was
 * confirmed by a read-index round that began before this call. */
struct leasebook_left leasebook_ask(struct leasebook *b, uint64_t id, bool keep, uint64_t now_ms);

#endif
