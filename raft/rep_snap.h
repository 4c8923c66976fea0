#ifndef RAFT_REP_SNAP_H
#define RAFT_REP_SNAP_H

/* Snapshots inside raft/: taking, finding, installing, shipping. */

#include "raft/rep_core.h"
#include "raft/snapfile.h"

/* What the core carries around in place of a snapshot's data: index u64, term u64. */
#define SNAP_DESC 16u

struct rep_snap {
    struct snap_meta newest; /* index 0: there is none */
    struct snap_take *take;  /* being written */
    uint64_t not_before_ms;  /* after a failure */
    unsigned pins;           /* files being sent: nothing is removed meanwhile */
    struct rep_spool *spool; /* one that comes in */
};

/* The core's form of a snapshot; raft_malloc. */
struct raft_snapshot *rep_snap_core(const struct snap_meta *m);
void rep_snap_desc(uint64_t index, uint64_t term, struct raft_buffer *ret); /* raft_malloc */

/* rep_spool.c: receiving */
void rep_spool_offer(struct rep *r, uint64_t from, const uint8_t *data, size_t len);
void rep_spool_data(struct rep *r, uint64_t from, const uint8_t *data, size_t len);
void rep_spool_tick(struct rep *r);
void rep_spool_step(struct rep *r); /* hand a whole snapshot to the core when it may take it */
/* The core accepted it: the spooled file's name, NULL if it is none of ours. */
const char *rep_spool_take(struct rep *r, uint64_t index, uint64_t term);
const struct snap_meta *rep_spool_meta(const struct rep *r);
void rep_spool_done(struct rep *r);

/* rep_ship.c: sending */
void rep_ship_want(struct rep *r, uint64_t from, const uint8_t *data, size_t len);
void rep_ship_over(struct rep *r, uint64_t from, const uint8_t *data, size_t len);
void rep_ship_tick(struct rep *r, uint64_t now); /* give up on silent receivers */
void rep_ship_down(struct rep *r, uint64_t id);  /* the link broke */
/* The core's requests are completed when it is left the next time. */
void rep_ship_drop(struct rep *r, struct rep_peer *p); /* no member any more */
void rep_ship_stop(struct rep *r);                     /* not the leader any more */

#endif
