#ifndef RAFT_PEER_H
#define RAFT_PEER_H

/* Links between peers: one connection for each pair, both ways, mutually authenticated.
 *
 * The peer with the lower id dials; the other one dials too when it has had no link for a while (a
 * new member may not know us yet).  Both sides say hello first: protocol version, cluster, ids,
 * name and a number of this very process; whoever does not like it says why and closes.  A link on
 * which nothing was heard for two election time-outs is dropped.  Loop thread only; callbacks come
 * from the loop, on nothing but peer_tick and I/O.
 */

#include <uv.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/stream.h"
#include "raft/rep.h"

struct peer_net;

struct peer_opts {
    uv_loop_t *loop;
    const char *listen;  /* "IP:PORT" */
    struct tls_ctx *tls; /* NULL: plain */
    uint64_t id;
    const char *name;
    const char *cluster;
    unsigned heartbeat_ms;
    unsigned election_ms;
    void *ctx;
    void (*on_up)(void *ctx, uint64_t id);
    void (*on_down)(void *ctx, uint64_t id);
    void (*on_frame)(void *ctx, uint64_t id, uint16_t kind, const uint8_t *data, size_t len);
};

int peer_net_open(const struct peer_opts *opts, struct peer_net **ret, struct err *err) ERR_USED;
/* Nothing is delivered afterwards; memory goes when the loop has closed the handles. */
void peer_net_close(struct peer_net *n);

void peer_net_members(struct peer_net *n, const struct rep_peer_info *peers, size_t count);
void peer_net_tick(struct peer_net *n);
bool peer_net_send(struct peer_net *n, uint64_t id, const void *frame, size_t len);
bool peer_net_up(const struct peer_net *n, uint64_t id);
size_t peer_net_queued(const struct peer_net *n, uint64_t id);
/* The address really bound. */
const char *peer_net_address(const struct peer_net *n);

#endif
