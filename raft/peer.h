#ifndef RAFT_PEER_H
#define RAFT_PEER_H

/* Links between peers: one connection for each pair, both ways, mutually authenticated.
 *
 * The peer with the lower id dials; the other one dials too when it has had no link for a while (a
 * new member may not know us yet).  Both sides say hello first: protocol version, cluster, ids,
 * name, cluster epoch and a number of this very process; whoever does not like it says why and
 * closes.  A link on which nothing was heard for two election time-outs is dropped.
 *
 * A peer may have several addresses, in the order of preference.  Without a link they are dialed
 * one after the other, two heartbeats apart; the first to answer is used.  A link that has been
 * silent for longer than two heartbeats is replaced by one over another address as soon as one
 * answers, by whichever side hears nothing; so a cut link costs no election while another one
 * works.  A link over another address than the first goes back to it when it answers again (tried
 * every five seconds).
 *
 * Loop thread only; callbacks come from the loop, on nothing but peer_tick and I/O.
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
    const char *listen;  /* "IP:PORT", several separated by commas */
    struct tls_ctx *tls; /* NULL: plain */
    uint64_t id;
    const char *name;
    const char *cluster;
    uint64_t epoch; /* 0: unknown */
    unsigned heartbeat_ms;
    unsigned election_ms;
    void *ctx;
    void (*on_up)(void *ctx, uint64_t id);
    void (*on_down)(void *ctx, uint64_t id);
    void (*on_frame)(void *ctx, uint64_t id, uint16_t kind, const uint8_t *data, size_t len);
    /* A voter of this cluster is in a later epoch; may be NULL.  The link is refused in any case.
     */
    void (*on_newer_epoch)(void *ctx, uint64_t epoch, const char *name);
};

int peer_net_open(const struct peer_opts *opts, struct peer_net **ret, struct err *err) ERR_USED;
/* Nothing is delivered afterwards; memory goes when the loop has closed the handles. */
void peer_net_close(struct peer_net *n);

void peer_net_members(struct peer_net *n, const struct rep_peer_info *peers, size_t count);
void peer_net_epoch(struct peer_net *n, uint64_t epoch);
void peer_net_tick(struct peer_net *n);
bool peer_net_send(struct peer_net *n, uint64_t id, const void *frame, size_t len);
bool peer_net_up(const struct peer_net *n, uint64_t id);
size_t peer_net_queued(const struct peer_net *n, uint64_t id);
/* Which of the peer's addresses is used: 1, 2, ...; 0: no link, or the peer dialed. */
unsigned peer_net_via(const struct peer_net *n, uint64_t id);
/* The address really bound (the first one). */
const char *peer_net_address(const struct peer_net *n);

#endif
