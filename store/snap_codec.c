/* Snapshots: a pinned state as bytes.
 *
 *   blocks of  u32 length, u32 crc32c, bytes   (a block of length 0 ends the snapshot)
 *
 * and in the bytes, little-endian: a header (struct snap_head, in order), the sessions, then every
 * key's version of before the history window, in key order, then the history, event by event.  So a
 * replica that was restored answers reads at old revisions and watches as the others do.
 *
 * The writer runs on a thread of its own.  It only reads what is pinned: tree nodes and versions
 * below the pinned root, and the history chunks of which it has its own list; nothing of those is
 * freed or changed while a pin exists (mvcc.c, kvtree.h). */

#include "store/snap_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

struct store_snap *store_snap_begin(struct store *s)
{
    struct store_snap *p = OBJ_NEW(struct store_snap);

    OBJ_CHECK(s, STORE_MAGIC);
    p->store = s;
    p->root = kvtree_pin(&s->tree);
    p->hist = s->hist;
    p->hist.chunks = mem_dup(s->hist.chunks, s->hist.n_chunks * sizeof(struct hist_chunk *));
    session_table_encode(&s->sessions, &p->sessions);
    p->head = (struct snap_head){
        .limits = s->limits,
        .rev = s->rev,
        .compact_rev = s->compact_rev,
        .index = s->index,
        .term = s->term,
        .wall_ms = s->wall_ms,
        .last_incarnation = s->last_incarnation,
        .last_token = s->last_token,
        .last_fencing = s->last_fencing,
        .last_session = s->last_session,
        .hash = store_hash(s),
        .live = s->count,
        .n_events = s->hist.end - s->hist.first,
        .sessions_len = p->sessions.len,
    };
    p->next = s->snaps;
    s->snaps = p;
    s->pins++;
    return p;
}

void store_snap_end(struct store_snap *p)
{
    struct store *s = p->store;
    struct store_snap **at = &s->snaps;

    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
    CHECK(s->pins > 0);
    s->pins--;
    kvtrash_unpin(&s->trash, p->root);
    free(p->hist.chunks);
    buf_done(&p->sessions);
    free(p);
    if (s->orphan && s->pins == 0) {
        store_free(s);
    }
}

/* --- writing -----------------------------------------------------------------------------------
 */

struct snap_out {
    int (*put)(void *ctx, const void *data, size_t len, struct err *err);
    void *ctx;
    struct buf block;
    int rc;
    struct err *err;
};

static void out_flush(struct snap_out *o)
{
    struct buf head = { 0 };

    if (o->rc == 0) {
        buf_add_u32(&head, (uint32_t)o->block.len);
        buf_add_u32(&head, crc32c(0, o->block.data, o->block.len));
        o->rc = o->put(o->ctx, head.data, head.len, o->err);
    }
    if (o->rc == 0 && o->block.len > 0) {
        o->rc = o->put(o->ctx, o->block.data, o->block.len, o->err);
    }
    buf_clear(&o->block);
    buf_done(&head);
}

static void out_bytes(struct snap_out *o, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len > 0 && o->rc == 0) {
        size_t room = SNAP_BLOCK - o->block.len;
        size_t n = len < room ? len : room;

        buf_add(&o->block, p, n);
        p += n;
        len -= n;
        if (o->block.len == SNAP_BLOCK) {
            out_flush(o);
        }
    }
}

static void out_head(struct snap_out *o, const struct snap_head *h)
{
    struct buf b = { 0 };

    buf_add_u64(&b, SNAP_MAGIC);
    for (size_t i = 0; i < SNAP_HEAD_NUMBERS; i++) {
        buf_add_u64(&b, snap_head_get(h, i));
    }
    out_bytes(o, b.data, b.len);
    buf_done(&b);
}

static void out_kv(struct snap_out *o, const struct kv *v)
{
    struct buf b = { 0 };

    buf_add_u32(&b, v->klen);
    buf_add_u32(&b, v->vlen);
    buf_add_u64(&b, v->create_rev);
    buf_add_u64(&b, v->mod_rev);
    buf_add_u64(&b, v->version);
    buf_add_u64(&b, v->lease);
    buf_add_u32(&b, v->sub);
    out_bytes(o, b.data, b.len);
    out_bytes(o, v->bytes, v->klen);
    out_bytes(o, kv_value(v), v->vlen);
    buf_done(&b);
}

/* The version of a key at the beginning of the history window, unless it was deleted then. */
static const struct kv *base_version(const struct kv *v, uint64_t compact_rev)
{
    while (v != NULL && v->mod_rev > compact_rev) {
        v = v->prev;
    }
    return v == NULL || kv_is_tombstone(v) ? NULL : v;
}

static void out_base(struct snap_out *o, const struct store_snap *p)
{
    struct kvtree_iter it;
    const struct kv *v;

    kvtree_seek(&it, p->root, "", 0);
    while (o->rc == 0 && (v = kvtree_next(&it)) != NULL) {
        v = base_version(v, p->head.compact_rev);
        if (v != NULL) {
            out_kv(o, v);
        }
    }
}

int store_snap_write(struct store_snap *p,
                     int (*put)(void *ctx, const void *data, size_t len, struct err *err),
                     void *ctx, struct err *err)
{
    struct snap_out o = { .put = put, .ctx = ctx, .err = err };
    uint8_t end_of_base[4] = { 0 };

    out_head(&o, &p->head);
    out_bytes(&o, p->sessions.data, p->sessions.len);
    out_base(&o, p);
    out_bytes(&o, end_of_base, sizeof(end_of_base)); /* a key of length 0 */
    for (uint64_t e = p->hist.first; e < p->hist.end && o.rc == 0; e++) {
        out_kv(&o, hist_at(&p->hist, e));
    }
    if (o.block.len > 0) {
        out_flush(&o);
    }
    out_flush(&o); /* the empty block */
    buf_done(&o.block);
    return o.rc;
}
