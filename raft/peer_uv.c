#include "raft/peer_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addrmap.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define DIAL_MAX_MS 500u
#define QUEUE_MAX (32u << 20)
#define ROLE "picket:voters"

/* --- nodes --- */

struct node *peer_find(const struct peer_net *n, uint64_t id)
{
    struct node *o = n->nodes;

    while (o != NULL && o->id != id) {
        o = o->next;
    }
    return o;
}

struct node *peer_make(struct peer_net *n, uint64_t id)
{
    struct node *o = peer_find(n, id);

    if (o == NULL) {
        o = OBJ_NEW(struct node);
        o->id = id;
        o->delay_ms = DIAL_MIN_MS;
        o->down_since_ms = clock_now_ms();
        o->next = n->nodes;
        n->nodes = o;
    }
    return o;
}

void peer_retry(struct peer_net *n, struct node *o, uint64_t least_ms)
{
    uint64_t delay = o->delay_ms > least_ms ? o->delay_ms : least_ms;

    o->dial_at_ms = clock_now_ms() + delay / 2 + prng_below(&n->prng, delay / 2 + 1);
    o->delay_ms = o->delay_ms * 2 > DIAL_MAX_MS ? DIAL_MAX_MS : o->delay_ms * 2;
}

void peer_complain(struct node *o, const char *what, const char *why)
{
    if (!o->complained) {
        lg_warn("peer", "peer=%s id=%" PRIu64 " address=%s msg=\"%s\" err=\"%s\"", o->name, o->id,
                o->address, what, why);
    }
    o->complained = true;
}

static void net_on_accept(struct listener *listener, struct stream *s)
{
    struct peer_net *n = listener_data(listener);
    struct link *l = peer_link_new(n, NULL, false);

    l->stream = s;
    stream_set_cbs(s, &peer_link_cbs);
    stream_set_data(s, l);
}

/* --- dialing --- */

static struct stream_opts net_stream_opts(const struct peer_net *n, const char *name)
{
    uint64_t patience = 2ULL * n->opts.election_ms;

    return (struct stream_opts){
        .tls = n->opts.tls,
        .want_role = n->opts.tls == NULL ? NULL : ROLE,
        .want_name = n->opts.tls == NULL ? NULL : name,
        .connect_ms = patience < 2000 ? 2000 : patience,
        .user_timeout_ms = (unsigned)patience,
        .max_queue = QUEUE_MAX,
    };
}

static int dial_resolve(const struct node *o, char *dst, size_t size, struct err *err)
{
    const char *colon = strrchr(o->address, ':');
    char host[128];
    uint64_t port;

    if (colon == NULL || !str_parse_u64(colon + 1, &port) || port == 0 || port > 65535) {
        return err_set(err, ERR_INVALID, "address %s is not HOST:PORT", o->address);
    }
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - o->address), o->address);
    if (host[0] == '[') {
        memmove(host, host + 1, strlen(host));
        host[strcspn(host, "]")] = 0;
    }
    return addr_resolve(host, (uint16_t)port, ADDR_TCP, dst, size, err);
}

static void node_dial(struct peer_net *n, struct node *o)
{
    struct stream_opts opts = net_stream_opts(n, o->name);
    char address[160];
    struct err err;
    struct link *l;
    int rc;

    rc = dial_resolve(o, address, sizeof(address), &err);
    if (rc == 0) {
        l = peer_link_new(n, o, true);
        rc = stream_connect(n->opts.loop, address, &opts, &peer_link_cbs, l, &l->stream, &err);
        if (rc == 0) {
            o->dial = l;
            return;
        }
        peer_link_detach(l);
        free(l);
    }
    peer_complain(o, "cannot connect", err.msg);
    peer_retry(n, o, 0);
}

static bool node_should_dial(const struct peer_net *n, const struct node *o, uint64_t now)
{
    if (!o->member || o->id == n->self.from || o->link != NULL || o->dial != NULL ||
        now < o->dial_at_ms) {
        return false;
    }
    return n->self.from < o->id || now - o->down_since_ms >= 2ULL * n->opts.election_ms;
}

/* Forget nodes that are no members and have no link. */
static void net_sweep(struct peer_net *n)
{
    struct node **p = &n->nodes;

    while (*p != NULL) {
        struct node *o = *p;

        if (o->member || o->link != NULL || o->dial != NULL) {
            p = &o->next;
            continue;
        }
        *p = o->next;
        free(o);
    }
}

void peer_net_tick(struct peer_net *n)
{
    uint64_t now = clock_now_ms();

    OBJ_CHECK(n, NET_MAGIC);
    for (struct link *l = n->links, *next; l != NULL; l = next) {
        next = l->next;
        peer_link_tick(l, now);
    }
    for (struct node *o = n->nodes; o != NULL; o = o->next) {
        if (node_should_dial(n, o, now)) {
            node_dial(n, o);
        }
    }
    net_sweep(n);
}

/* --- the rest --- */

void peer_net_members(struct peer_net *n, const struct rep_peer_info *peers, size_t count)
{
    OBJ_CHECK(n, NET_MAGIC);
    for (struct node *o = n->nodes; o != NULL; o = o->next) {
        o->member = false;
    }
    for (size_t i = 0; i < count; i++) {
        struct node *o = peer_make(n, peers[i].id);

        o->member = true;
        if (!str_eq(o->address, peers[i].address)) {
            o->dial_at_ms = 0;
        }
        (void)str_copy(o->name, sizeof(o->name), peers[i].name);
        (void)str_copy(o->address, sizeof(o->address), peers[i].address);
    }
}

bool peer_net_send(struct peer_net *n, uint64_t id, const void *frame, size_t len)
{
    struct node *o = peer_find(n, id);

    return o != NULL && o->link != NULL && peer_link_write(o->link, frame, len);
}

bool peer_net_up(const struct peer_net *n, uint64_t id)
{
    const struct node *o = peer_find(n, id);

    return o != NULL && o->link != NULL;
}

size_t peer_net_queued(const struct peer_net *n, uint64_t id)
{
    const struct node *o = peer_find(n, id);

    return o == NULL || o->link == NULL ? 0 : stream_queued(o->link->stream);
}

const char *peer_net_address(const struct peer_net *n)
{
    return listener_address(n->listener);
}

int peer_net_open(const struct peer_opts *opts, struct peer_net **ret, struct err *err)
{
    struct peer_net *n = OBJ_NEW(struct peer_net);
    struct stream_opts sopts;
    int rc;

    n->magic = NET_MAGIC;
    n->opts = *opts;
    n->opts.listen = n->opts.name = n->opts.cluster = NULL; /* copied below */
    n->self = (struct hello){ .version = HELLO_VERSION, .from = opts->id };
    clock_random(&n->self.boot, sizeof(n->self.boot));
    prng_init(&n->prng, n->self.boot);
    if (!str_copy(n->self.name, sizeof(n->self.name), opts->name) ||
        !str_copy(n->self.cluster, sizeof(n->self.cluster), opts->cluster)) {
        free(n);
        return err_set(err, ERR_INVALID, "name or cluster id is too long (63 characters)");
    }
    sopts = net_stream_opts(n, NULL);
    rc = listener_open(opts->loop, opts->listen, &sopts, net_on_accept, n, &n->listener, err);
    if (rc != 0) {
        free(n);
        return err_wrap(err, "listen for peers");
    }
    *ret = n;
    return 0;
}

void peer_net_close(struct peer_net *n)
{
    if (n == NULL) {
        return;
    }
    OBJ_CHECK(n, NET_MAGIC);
    n->opts.on_down = NULL;
    listener_close(n->listener);
    while (n->links != NULL) {
        struct link *l = n->links;

        l->up = false;
        peer_link_close(l, false);
    }
    while (n->nodes != NULL) {
        struct node *o = n->nodes;

        n->nodes = o->next;
        free(o);
    }
    buf_done(&n->out);
    n->magic = 0;
    free(n);
}
