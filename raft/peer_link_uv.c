#include "raft/peer_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/frame_codec.h"

struct link *peer_link_new(struct peer_net *n, struct node *o, bool dialed)
{
    struct link *l = OBJ_NEW(struct link);

    l->net = n;
    l->node = o;
    l->dialed = dialed;
    l->last_in_ms = l->last_out_ms = clock_now_ms();
    l->next = n->links;
    n->links = l;
    return l;
}

static void link_not_dialed(const struct link *l)
{
    if (l->dialed && l->node->dials[l->addr] == l) {
        l->node->dials[l->addr] = NULL;
    }
}

void peer_link_detach(struct link *l)
{
    struct peer_net *n = l->net;
    struct node *o = l->node;
    bool was_up = l->up;

    if (n == NULL) {
        return;
    }
    for (struct link **p = &n->links; *p != NULL; p = &(*p)->next) {
        if (*p == l) {
            *p = l->next;
            break;
        }
    }
    l->net = NULL;
    l->up = false;
    if (o == NULL) {
        return;
    }
    link_not_dialed(l);
    if (o->link == l) {
        o->link = NULL;
        o->down_since_ms = clock_now_ms();
        peer_retry(n, o, 0);
    }
    l->node = NULL;
    if (was_up) {
        n->opts.on_down(n->opts.ctx, o->id);
    }
}

void peer_link_close(struct link *l, bool flush)
{
    peer_link_detach(l);
    if (l->stream != NULL) {
        stream_close(l->stream, flush);
    }
}

static void link_refuse(struct link *l, const char *why)
{
    struct buf b = { 0 };
    struct err err;

    refuse_frame(&b, why);
    (void)stream_write(l->stream, b.data, b.len, &err);
    buf_done(&b);
    peer_link_close(l, true);
}

bool peer_link_write(struct link *l, const void *data, size_t len)
{
    struct err err;

    if (stream_write(l->stream, data, len, &err) != 0) {
        return false;
    }
    l->last_out_ms = clock_now_ms();
    return true;
}

static void link_hello(struct link *l, uint64_t to)
{
    struct peer_net *n = l->net;
    struct hello h = n->self;

    h.to = to;
    h.round = l->round;
    buf_clear(&n->out);
    hello_frame(&n->out, &h);
    (void)peer_link_write(l, n->out.data, n->out.len);
}

/* Of two links with one peer, does the new one win? */
static bool link_wins(const struct peer_net *n, const struct link *l, const struct link *old)
{
    bool by_lower = l->dialed ? n->self.from < l->node->id : l->node->id < n->self.from;

    if (l->boot == old->boot && l->round != old->round) {
        return l->round > old->round;
    }
    return l->boot != old->boot || l->dialed == old->dialed || by_lower;
}

static void link_is_up(struct link *l)
{
    struct peer_net *n = l->net;
    struct node *o = l->node;

    link_not_dialed(l);
    if (o->link != NULL && !link_wins(n, l, o->link)) {
        peer_link_close(l, false);
        return;
    }
    if (o->link != NULL) {
        /* what is on its way on a living one still arrives */
        peer_link_close(o->link, !peer_link_silent(n, o->link, clock_now_ms()));
    }
    peer_dial_drop(o, NULL);
    o->link = l;
    o->round = l->round > o->round ? l->round : o->round;
    o->delay_ms = DIAL_MIN_MS;
    memset(o->addr_at_ms, 0, sizeof(o->addr_at_ms));
    o->complained = false;
    l->up = true;
    l->up_ms = clock_now_ms();
    lg_info("peer", "peer=%s id=%" PRIu64 " remote=%s link=%u round=%u msg=\"linked\"", o->name,
            o->id, stream_remote(l->stream), l->dialed ? l->addr + 1 : 0, l->round);
    n->opts.on_up(n->opts.ctx, o->id);
}

static size_t net_strangers(const struct peer_net *n)
{
    size_t count = 0;

    for (const struct node *o = n->nodes; o != NULL; o = o->next) {
        count += !o->member;
    }
    return count;
}

/* Of two epochs the older one has to hear of the newer: it says hello all the same. */
static void link_epochs(struct link *l, const struct hello *h, const char *cert_name)
{
    struct peer_net *n = l->net;

    if (hello_supersedes(h, &n->self, cert_name)) {
        if (n->opts.on_newer_epoch != NULL) {
            n->opts.on_newer_epoch(n->opts.ctx, h->epoch, h->name);
        }
    } else if (!l->dialed && hello_supersedes(&n->self, h, NULL)) {
        link_hello(l, h->from);
    }
}

static void link_got_hello(struct link *l, const struct frame *f)
{
    struct peer_net *n = l->net;
    const char *cert_name = n->opts.tls == NULL ? NULL : stream_peer(l->stream)->name;
    struct node *known;
    struct hello h;
    struct err err;

    if (!hello_decode(f->data, f->len, &h)) {
        link_refuse(l, "malformed hello");
        return;
    }
    known = peer_find(n, h.from);
    if (hello_check(&h, &n->self, known != NULL && known->member ? known->name : NULL, cert_name,
                    &err) != 0) {
        lg_warn("peer", "remote=%s name=%s msg=\"peer refused\" err=\"%s\"",
                stream_remote(l->stream), h.name, err.msg);
        if (l->node != NULL) {
            peer_retry(n, l->node, REFUSED_MS);
        }
        link_epochs(l, &h, cert_name);
        link_refuse(l, err.msg);
        return;
    }
    if (l->dialed && l->node->id != h.from) {
        link_refuse(l, "another member answered than was dialed");
        return;
    }
    if (known == NULL && net_strangers(n) >= STRANGERS_MAX) {
        link_refuse(l, "too many peers that are no members");
        return;
    }
    l->boot = h.boot;
    if (!l->dialed) {
        l->round = h.round;
        l->node = peer_make(n, h.from);
        if (!l->node->member) {
            (void)str_copy(l->node->name, sizeof(l->node->name), h.name);
        }
        link_hello(l, h.from);
    }
    link_is_up(l);
}

static void link_refused(struct link *l, const struct frame *f)
{
    char why[256];

    (void)snprintf(why, sizeof(why), "%.*s", (int)(f->len > 200 ? 200 : f->len),
                   (const char *)f->data);
    if (l->node != NULL) {
        peer_complain(l->node, "the peer refuses this node", why);
        peer_retry(l->net, l->node, REFUSED_MS);
    }
    peer_link_close(l, false);
}

static void link_frame(struct link *l, const struct frame *f)
{
    struct peer_net *n = l->net;

    if (!l->up) {
        if (f->kind == FRAME_HELLO) {
            link_got_hello(l, f);
        } else if (f->kind == FRAME_REFUSE) {
            link_refused(l, f);
        } else {
            link_refuse(l, "no hello");
        }
        return;
    }
    switch (f->kind) {
    case FRAME_PING:
        break;
    case FRAME_REFUSE:
        link_refused(l, f);
        break;
    default:
        n->opts.on_frame(n->opts.ctx, l->node->id, f->kind, f->data, f->len);
        break;
    }
}

/* All whole frames of the bytes; returns how many bytes they were. */
static size_t link_frames(struct link *l, const uint8_t *data, size_t len)
{
    size_t pos = 0, used;
    struct frame f;
    struct err err;

    while (l->net != NULL) {
        if (frame_next(data + pos, len - pos, &f, &used, &err) != 0) {
            lg_warn("peer", "remote=%s msg=\"link dropped\" err=\"%s\"", stream_remote(l->stream),
                    err.msg);
            peer_link_close(l, false);
            return len;
        }
        if (used == 0) {
            return pos;
        }
        pos += used;
        link_frame(l, &f);
    }
    return len;
}

/* --- the stream's callbacks --- */

static void link_on_open(struct stream *s, const struct err *err)
{
    struct link *l = stream_data(s);

    if (l->net == NULL) {
        return;
    }
    if (err != NULL) {
        if (l->node->link == NULL) {
            peer_complain(l->node, "cannot connect", err->msg);
        }
        peer_retry_addr(l->net, l->node, l->addr);
        peer_link_detach(l);
        return;
    }
    l->last_in_ms = clock_now_ms();
    if (!peer_dial_wanted(l, l->last_in_ms)) {
        peer_link_close(l, false);
        return;
    }
    l->hello_ms = l->last_in_ms;
    link_hello(l, l->node->id);
}

static void link_on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct link *l = stream_data(s);
    size_t used;

    if (l->net == NULL) {
        return;
    }
    l->last_in_ms = clock_now_ms();
    if (l->in.len > 0) {
        buf_add(&l->in, data, len);
        used = link_frames(l, l->in.data, l->in.len);
        if (l->net != NULL) {
            buf_consume(&l->in, used);
        }
        return;
    }
    used = link_frames(l, data, len);
    if (l->net != NULL && used < len) {
        buf_add(&l->in, data + used, len - used);
    }
}

static void link_on_end(struct stream *s, const struct err *err)
{
    struct link *l = stream_data(s);

    if (l->net != NULL && l->up) {
        lg_info("peer", "peer=%s id=%" PRIu64 " msg=\"link ended\" err=\"%s\"", l->node->name,
                l->node->id, err == NULL ? "closed by the peer" : err->msg);
    } else if (l->net != NULL && l->node != NULL) {
        peer_complain(l->node, "the peer ended the connection", err == NULL ? "closed" : err->msg);
        peer_retry(l->net, l->node, 0);
    }
    peer_link_close(l, false);
}

static void link_on_closed(struct stream *s)
{
    struct link *l = stream_data(s);

    peer_link_detach(l);
    buf_done(&l->in);
    free(l);
}

const struct stream_cbs peer_link_cbs = {
    .on_open = link_on_open,
    .on_data = link_on_data,
    .on_end = link_on_end,
    .on_closed = link_on_closed,
};

void peer_link_tick(struct link *l, uint64_t now)
{
    struct peer_net *n = l->net;
    uint64_t patience;

    if (n == NULL) {
        return; /* closed while the others were looked at */
    }
    patience = 2ULL * n->opts.election_ms;
    if (!l->up) {
        patience = patience < 2000 ? 2000 : patience; /* connecting, or hello is due */
        if (now - l->last_in_ms >= 2 * patience) {
            peer_link_close(l, false);
        }
        return;
    }
    if (now - l->last_in_ms >= patience) {
        lg_warn("peer", "peer=%s id=%" PRIu64 " silent_ms=%" PRIu64 " msg=\"silent, link dropped\"",
                l->node->name, l->node->id, now - l->last_in_ms);
        peer_link_close(l, false);
        return;
    }
    if (now - l->last_out_ms >= n->opts.heartbeat_ms / 2) {
        buf_clear(&n->out);
        frame_end(&n->out, frame_begin(&n->out, FRAME_PING));
        (void)peer_link_write(l, n->out.data, n->out.len);
    }
}
