#ifndef SNAP_PRIV_H
#define SNAP_PRIV_H

/* The snapshot format, shared by its writer and its reader. */

#include "store/store_priv.h"

#define SNAP_MAGIC 0x31304b5354454b50ULL /* "PKETSK01" */
#define SNAP_BLOCK ((size_t)256 << 10)
#define SNAP_KV_HEAD 44U

struct snap_head {
    struct store_limits limits;
    uint64_t rev, compact_rev, index, term, wall_ms;
    uint64_t last_incarnation, last_token, last_fencing, last_session;
    uint64_t hash, live, n_events, sessions_len;
};

struct store_snap {
    struct store *store;
    struct store_snap *next;
    struct kvnode *root;
    struct snap_head head;
    struct hist hist; /* own list of the chunks */
    struct buf sessions;
};

#define SNAP_HEAD_NUMBERS 16U
uint64_t snap_head_get(const struct snap_head *h, size_t i); /* in the order of the format */
void snap_head_set(struct snap_head *h, size_t i, uint64_t v);

#endif
