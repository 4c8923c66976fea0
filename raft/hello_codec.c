#include "raft/hello_codec.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "raft/frame_codec.h"

static void put_text(struct buf *b, const char *s)
{
    buf_add_u16(b, (uint16_t)strlen(s));
    buf_add_str(b, s);
}

static bool get_text(struct rd *r, char *dst, size_t size)
{
    size_t len = rd_u16(r);
    const uint8_t *p = rd_bytes(r, len);

    if (p == NULL || len >= size || memchr(p, 0, len) != NULL) {
        return false;
    }
    memcpy(dst, p, len);
    dst[len] = 0;
    return true;
}

void hello_frame(struct buf *b, const struct hello *h)
{
    size_t at = frame_begin(b, FRAME_HELLO);

    buf_add_u32(b, h->version);
    buf_add_u64(b, h->from);
    buf_add_u64(b, h->to);
    buf_add_u64(b, h->boot);
    put_text(b, h->name);
    put_text(b, h->cluster);
    buf_add_u64(b, h->epoch);
    buf_add_u32(b, h->round);
    frame_end(b, at);
}

void refuse_frame(struct buf *b, const char *why)
{
    size_t at = frame_begin(b, FRAME_REFUSE);

    buf_add_str(b, why);
    frame_end(b, at);
}

bool hello_decode(const uint8_t *data, size_t len, struct hello *ret)
{
    struct rd r = rd_make(data, len);
    struct hello h = { .version = rd_u32(&r) };

    h.from = rd_u64(&r);
    h.to = rd_u64(&r);
    h.boot = rd_u64(&r);
    if (!get_text(&r, h.name, sizeof(h.name)) || !get_text(&r, h.cluster, sizeof(h.cluster)) ||
        r.bad) {
        return false;
    }
    if (rd_left(&r) > 0) {
        h.epoch = rd_u64(&r);
        h.round = rd_u32(&r);
    }
    if (r.bad) {
        return false;
    }
    *ret = h; /* a later version may say more behind it */
    return true;
}

static bool named_as_certified(const struct hello *h, const char *cert_name)
{
    return cert_name == NULL || cert_name[0] == 0 || str_eq(h->name, cert_name);
}

bool hello_supersedes(const struct hello *h, const struct hello *self, const char *cert_name)
{
    return h->version == self->version && str_eq(h->cluster, self->cluster) && self->epoch != 0 &&
           h->epoch > self->epoch && named_as_certified(h, cert_name);
}

int hello_check(const struct hello *h, const struct hello *self, const char *want_name,
                const char *cert_name, struct err *err)
{
    if (h->version != self->version) {
        return err_set(err, ERR_REFUSED, "protocol version %u there, %u here", h->version,
                       self->version);
    }
    if (!str_eq(h->cluster, self->cluster)) {
        return err_set(err, ERR_REFUSED, "it belongs to cluster %s, this node to %s", h->cluster,
                       self->cluster);
    }
    if (h->epoch != 0 && self->epoch != 0 && h->epoch != self->epoch) {
        return h->epoch < self->epoch
                   ? err_set(err, ERR_REFUSED,
                             "it is of epoch %" PRIu64 ", this cluster is in epoch %" PRIu64
                             ": it missed a restore or recovery; remove its data folder and enrol "
                             "it anew",
                             h->epoch, self->epoch)
                   : err_set(err, ERR_REFUSED,
                             "it is of epoch %" PRIu64 ", this node only of epoch %" PRIu64
                             ": the cluster was restored or recovered without this node; remove "
                             "this node's data folder and enrol it anew",
                             h->epoch, self->epoch);
    }
    if (h->from == 0 || h->from == self->from) {
        return err_set(err, ERR_REFUSED, "it claims id %" PRIu64 ", which is this node's own",
                       h->from);
    }
    if (h->to != self->from) {
        return err_set(err, ERR_REFUSED,
                       "it wants member %" PRIu64 ", this is member %" PRIu64
                       ": is an address wrong or was a node re-created?",
                       h->to, self->from);
    }
    if (want_name != NULL && want_name[0] != 0 && !str_eq(h->name, want_name)) {
        return err_set(err, ERR_REFUSED, "member %" PRIu64 " is %s here, it calls itself %s",
                       h->from, want_name, h->name);
    }
    if (!named_as_certified(h, cert_name)) {
        return err_set(err, ERR_REFUSED, "it calls itself %s, its certificate is for %s", h->name,
                       cert_name);
    }
    return 0;
}
