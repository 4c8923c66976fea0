#include "raft/peer_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static uint64_t retry_at(struct peer_net *n, struct node *o, uint64_t least_ms)
{
    uint64_t delay = o->delay_ms > least_ms ? o->delay_ms : least_ms;

    o->delay_ms = o->delay_ms * 2 > DIAL_MAX_MS ? DIAL_MAX_MS : o->delay_ms * 2;
    return clock_now_ms() + delay / 2 + prng_below(&n->prng, delay / 2 + 1);
}

void peer_retry(struct peer_net *n, struct node *o, uint64_t least_ms)
{
    o->dial_at_ms = retry_at(n, o, least_ms);
}

void peer_retry_addr(struct peer_net *n, struct node *o, unsigned addr)
{
    o->addr_at_ms[addr] = retry_at(n, o, 0);
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

struct stream_opts peer_stream_opts(const struct peer_net *n, const char *name)
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

/* Forget nodes that are no members and have no link. */
static void net_sweep(struct peer_net *n)
{
    struct node **p = &n->nodes;

    while (*p != NULL) {
        struct node *o = *p;

        if (o->member || o->link != NULL || peer_dialing(o)) {
            p = &o->next;
            continue;
        }
        *p = o->next;
        free(o);
    }
}

void peer_net_epoch(struct peer_net *n, uint64_t epoch)
{
    OBJ_CHECK(n, NET_MAGIC);
    n->self.epoch = epoch;
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
        peer_dial_tick(n, o, now);
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
            peer_dial_drop(o, NULL);
            peer_dial_addresses(o, peers[i].address);
            o->dial_at_ms = clock_now_ms();
        }
        (void)str_copy(o->name, sizeof(o->name), peers[i].name);
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
    return listener_address(n->listeners[0]);
}

unsigned peer_net_via(const struct peer_net *n, uint64_t id)
{
    const struct node *o = peer_find(n, id);

    return o == NULL || o->link == NULL || !o->link->dialed ? 0 : o->link->addr + 1;
}

static int net_listen(struct peer_net *n, const char *listen, struct err *err)
{
    struct stream_opts opts = peer_stream_opts(n, NULL);
    char list[512], *save = NULL;
    int rc = 0;

    if (!str_copy(list, sizeof(list), listen)) {
        return err_set(err, ERR_INVALID, "listen for peers: the list of addresses is too long");
    }
    for (char *p = strtok_r(list, ",", &save); rc == 0 && p != NULL;
         p = strtok_r(NULL, ",", &save)) {
        if (n->n_listeners == PEER_LISTENERS_MAX) {
            rc = err_set(err, ERR_INVALID, "more than %u addresses", PEER_LISTENERS_MAX);
        } else {
            rc = listener_open(n->opts.loop, p, &opts, net_on_accept, n,
                               &n->listeners[n->n_listeners], err);
            n->n_listeners += rc == 0;
        }
    }
    if (rc == 0 && n->n_listeners == 0) {
        rc = err_set(err, ERR_INVALID, "no address is given");
    }
    return rc == 0 ? 0 : err_wrap(err, "listen for peers");
}

int peer_net_open(const struct peer_opts *opts, struct peer_net **ret, struct err *err)
{
    struct peer_net *n = OBJ_NEW(struct peer_net);
    int rc;

    n->magic = NET_MAGIC;
    n->opts = *opts;
    n->opts.listen = n->opts.name = n->opts.cluster = NULL; /* copied below */
    n->self = (struct hello){ .version = HELLO_VERSION, .from = opts->id, .epoch = opts->epoch };
    clock_random(&n->self.boot, sizeof(n->self.boot));
    prng_init(&n->prng, n->self.boot);
    if (!str_copy(n->self.name, sizeof(n->self.name), opts->name) ||
        !str_copy(n->self.cluster, sizeof(n->self.cluster), opts->cluster)) {
        free(n);
        return err_set(err, ERR_INVALID, "name or cluster id is too long (63 characters)");
    }
    rc = net_listen(n, opts->listen, err);
    if (rc != 0) {
        peer_net_close(n);
        return rc;
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
    for (unsigned i = 0; i < n->n_listeners; i++) {
        listener_close(n->listeners[i]);
    }
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
