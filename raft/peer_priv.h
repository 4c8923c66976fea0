#ifndef RAFT_PEER_PRIV_H
#define RAFT_PEER_PRIV_H

/* Links between peers: peer_uv.c knows nodes, dials and listens, peer_link_uv.c is one connection.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "raft/hello_codec.h"
#include "raft/peer.h"

#define NET_MAGIC 0x504e4554u
#define DIAL_MIN_MS 50u
#define REFUSED_MS 2000u
#define STRANGERS_MAX 16u /* links from peers that are no members (yet) */

struct link {
    struct peer_net *net; /* NULL: closed, waiting for the stream to go */
    struct stream *stream;
    struct node *node; /* NULL: accepted, no hello yet */
    bool dialed;       /* by us */
    bool up;
    struct buf in;
    uint64_t boot;
    uint64_t last_in_ms, last_out_ms;
    struct link *next; /* of the net */
};

struct node {
    uint64_t id;
    char name[64];
    char address[128];
    bool member;
    struct link *link; /* that is up */
    struct link *dial; /* on its way */
    uint64_t down_since_ms;
    uint64_t dial_at_ms;
    unsigned delay_ms;
    bool complained; /* about the present trouble */
    struct node *next;
};

struct peer_net {
    unsigned magic;
    struct peer_opts opts;
    struct hello self;
    struct listener *listener;
    struct node *nodes;
    struct link *links;
    struct prng prng;
    struct buf out;
};

struct node *peer_find(const struct peer_net *n, uint64_t id); /* or NULL */
struct node *peer_make(struct peer_net *n, uint64_t id);
/* Dial again, not before least_ms. */
void peer_retry(struct peer_net *n, struct node *o, uint64_t least_ms);
/* Log it, once for the present trouble. */
void peer_complain(struct node *o, const char *what, const char *why);

extern const struct stream_cbs peer_link_cbs;
struct link *peer_link_new(struct peer_net *n, struct node *o, bool dialed);
/* Take it out of everything; the memory goes with the stream. */
void peer_link_detach(struct link *l);
void peer_link_close(struct link *l, bool flush);
bool peer_link_write(struct link *l, const void *data, size_t len);
void peer_link_tick(struct link *l, uint64_t now);

#endif
