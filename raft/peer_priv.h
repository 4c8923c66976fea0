#ifndef RAFT_PEER_PRIV_H
#define RAFT_PEER_PRIV_H

/* Links between peers: peer_uv.c knows nodes and listens, peer_dial_uv.c chooses addresses and
 * dials, peer_link_uv.c is one connection.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "raft/hello_codec.h"
#include "raft/peer.h"

#define NET_MAGIC 0x504e4554u
#define DIAL_MIN_MS 50u
#define REFUSED_MS 2000u
#define STRANGERS_MAX 16u /* links from peers that are no members (yet) */
#define PEER_ADDRS_MAX 6u /* of one peer; more are not looked at */
#define PEER_LISTENERS_MAX 4u

struct link {
    struct peer_net *net; /* NULL: closed, waiting for the stream to go */
    struct stream *stream;
    struct node *node; /* NULL: accepted, no hello yet */
    bool dialed;       /* by us */
    bool up;
    bool back;         /* dialed to go back to the first address */
    unsigned addr;     /* which address was dialed */
    uint32_t round;    /* of two links the one of the later round wins */
    uint64_t hello_ms; /* when we said hello as the dialer, 0: not yet */
    uint64_t up_ms;
    struct buf in;
    uint64_t boot;
    uint64_t last_in_ms, last_out_ms;
    struct link *next; /* of the net */
};

struct node {
    uint64_t id;
    char name[64];
    char address[REP_ADDRESS_MAX]; /* as told: one or several, separated by commas */
    char addrs[PEER_ADDRS_MAX][128];
    unsigned n_addrs;
    bool member;
    struct link *link;                  /* that is up */
    struct link *dials[PEER_ADDRS_MAX]; /* on their way, by address */
    uint32_t round;                     /* of the newest link that was up */
    uint64_t down_since_ms;
    uint64_t dial_at_ms;                 /* nothing is dialed before */
    uint64_t addr_at_ms[PEER_ADDRS_MAX]; /* nor this address */
    uint64_t back_at_ms;                 /* the first address is not tried again before */
    unsigned delay_ms;
    bool complained; /* about the present trouble */
    struct node *next;
};

struct peer_net {
    unsigned magic;
    struct peer_opts opts;
    struct hello self;
    struct listener *listeners[PEER_LISTENERS_MAX];
    unsigned n_listeners;
    struct node *nodes;
    struct link *links;
    struct prng prng;
    struct buf out;
};

struct node *peer_find(const struct peer_net *n, uint64_t id); /* or NULL */
struct node *peer_make(struct peer_net *n, uint64_t id);
/* Dial again, not before least_ms. */
void peer_retry(struct peer_net *n, struct node *o, uint64_t least_ms);
void peer_retry_addr(struct peer_net *n, struct node *o, unsigned addr);
/* Log it, once for the present trouble. */
void peer_complain(struct node *o, const char *what, const char *why);

struct stream_opts peer_stream_opts(const struct peer_net *n, const char *name);

/* peer_dial_uv.c */
void peer_dial_addresses(struct node *o, const char *list); /* take the list apart */
void peer_dial_tick(struct peer_net *n, struct node *o, uint64_t now);
bool peer_dialing(const struct node *o);
void peer_dial_drop(struct node *o, const struct link *keep); /* all dials but this one */
/* The dialed link is open: shall it say hello, or is it not needed any more? */
bool peer_dial_wanted(const struct link *l, uint64_t now);
/* Nothing was heard on it for longer than a living link is ever silent. */
bool peer_link_silent(const struct peer_net *n, const struct link *l, uint64_t now);

extern const struct stream_cbs peer_link_cbs;
struct link *peer_link_new(struct peer_net *n, struct node *o, bool dialed);
/* Take it out of everything; the memory goes with the stream. */
void peer_link_detach(struct link *l);
void peer_link_close(struct link *l, bool flush);
bool peer_link_write(struct link *l, const void *data, size_t len);
void peer_link_tick(struct link *l, uint64_t now);

#endif
