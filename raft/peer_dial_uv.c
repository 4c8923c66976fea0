/* Which address of a peer is dialed, and when. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addrmap.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/peer_priv.h"

#define BACK_MS 5000u

void peer_dial_addresses(struct node *o, const char *list)
{
    (void)str_copy(o->address, sizeof(o->address), list);
    o->n_addrs = 0;
    for (const char *p = o->address; *p != 0 && o->n_addrs < PEER_ADDRS_MAX;) {
        size_t len = strcspn(p, ",");

        if (len > 0 && len < sizeof(o->addrs[0])) {
            memcpy(o->addrs[o->n_addrs], p, len);
            o->addrs[o->n_addrs++][len] = 0;
        }
        p += len + (p[len] == ',');
    }
}

/* Between two frames of a living link are at most one and a half heartbeats (peer_link_tick). */
bool peer_link_silent(const struct peer_net *n, const struct link *l, uint64_t now)
{
    return now - l->last_in_ms > 2ULL * n->opts.heartbeat_ms;
}

bool peer_dialing(const struct node *o)
{
    for (unsigned i = 0; i < PEER_ADDRS_MAX; i++) {
        if (o->dials[i] != NULL) {
            return true;
        }
    }
    return false;
}

void peer_dial_drop(struct node *o, const struct link *keep)
{
    for (unsigned i = 0; i < PEER_ADDRS_MAX; i++) {
        if (o->dials[i] != NULL && o->dials[i] != keep) {
            peer_link_close(o->dials[i], false);
        }
    }
}

bool peer_dial_wanted(const struct link *l, uint64_t now)
{
    const struct peer_net *n = l->net;
    const struct node *o = l->node;

    for (unsigned i = 0; i < PEER_ADDRS_MAX; i++) {
        const struct link *d = o->dials[i];

        /* another one is through already and waits for the answer */
        if (d != NULL && d != l && d->hello_ms != 0 &&
            now - d->hello_ms < 4ULL * n->opts.heartbeat_ms) {
            return false;
        }
    }
    return o->link == NULL || l->back || peer_link_silent(n, o->link, now);
}

static int dial_resolve(const char *address, char *dst, size_t size, struct err *err)
{
    const char *colon = strrchr(address, ':');
    char host[128];
    uint64_t port;

    if (colon == NULL || !str_parse_u64(colon + 1, &port) || port == 0 || port > 65535) {
        return err_set(err, ERR_INVALID, "address %s is not HOST:PORT", address);
    }
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    if (host[0] == '[') {
        memmove(host, host + 1, strlen(host));
        host[strcspn(host, "]")] = 0;
    }
    return addr_resolve(host, (uint16_t)port, ADDR_TCP, dst, size, err);
}

static void dial(struct peer_net *n, struct node *o, unsigned addr, bool back)
{
    struct stream_opts opts = peer_stream_opts(n, o->name);
    char address[160];
    struct err err;
    struct link *l;
    int rc;

    rc = dial_resolve(o->addrs[addr], address, sizeof(address), &err);
    if (rc == 0) {
        l = peer_link_new(n, o, true);
        l->addr = addr;
        l->back = back;
        l->round = o->round + (o->link != NULL);
        rc = stream_connect(n->opts.loop, address, &opts, &peer_link_cbs, l, &l->stream, &err);
        if (rc == 0) {
            o->dials[addr] = l;
            return;
        }
        peer_link_detach(l);
        free(l);
    }
    if (o->link == NULL) {
        peer_complain(o, "cannot connect", err.msg);
    }
    peer_retry_addr(n, o, addr);
}

/* Without a link: the addresses in order, two heartbeats apart. */
static void dial_any(struct peer_net *n, struct node *o, uint64_t now)
{
    for (unsigned i = 0; i < o->n_addrs; i++) {
        uint64_t due = o->dial_at_ms + 2ULL * i * n->opts.heartbeat_ms;

        if (o->dials[i] == NULL && now >= due && now >= o->addr_at_ms[i]) {
            dial(n, o, i, false);
        }
    }
}

/* The link is silent: whatever is not it. */
static void dial_others(struct peer_net *n, struct node *o, uint64_t now)
{
    for (unsigned i = 0; i < o->n_addrs; i++) {
        if (o->dials[i] == NULL && now >= o->addr_at_ms[i] &&
            !(o->link->dialed && o->link->addr == i)) {
            dial(n, o, i, false);
        }
    }
}

void peer_dial_tick(struct peer_net *n, struct node *o, uint64_t now)
{
    const struct link *l = o->link;

    if (!o->member || o->id == n->self.from || now < o->dial_at_ms) {
        return;
    }
    if (l == NULL) {
        if (n->self.from < o->id || now - o->down_since_ms >= 2ULL * n->opts.election_ms) {
            dial_any(n, o, now);
        }
    } else if (o->n_addrs > 1 && peer_link_silent(n, l, now)) {
        dial_others(n, o, now);
    } else if (l->dialed && l->addr > 0 && now - l->up_ms >= BACK_MS && now >= o->back_at_ms &&
               !peer_dialing(o)) {
        o->back_at_ms = now + BACK_MS;
        dial(n, o, 0, true);
    }
}
