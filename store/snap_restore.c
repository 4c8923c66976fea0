/* Reading a snapshot: into a new store, with everything checked, and only then in the place of the
 * old one. */

#include "store/snap_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

/* --- header ------------------------------------------------------------------------------------
 */

static uint64_t *head_slot(struct snap_head *h, size_t i)
{
    uint64_t *const slots[] = {
        &h->rev,          &h->compact_rev,  &h->index,
        &h->term,         &h->wall_ms,      &h->last_incarnation,
        &h->last_token,   &h->last_fencing, &h->last_session,
        &h->hash,         &h->live,         &h->n_events,
        &h->sessions_len,
    };

    CHECK(i < ARRAY_LEN(slots));
    return slots[i];
}

uint64_t snap_head_get(const struct snap_head *h, size_t i)
{
    struct snap_head copy = *h;

    if (i == 0) {
        return h->limits.history_bytes;
    }
    if (i == 1) {
        return h->limits.history_count;
    }
    if (i == 2) {
        return h->limits.quota_bytes;
    }
    return *head_slot(&copy, i - 3);
}

void snap_head_set(struct snap_head *h, size_t i, uint64_t v)
{
    if (i == 0) {
        h->limits.history_bytes = (size_t)v;
    } else if (i == 1) {
        h->limits.history_count = (size_t)v;
    } else if (i == 2) {
        h->limits.quota_bytes = (size_t)v;
    } else {
        *head_slot(h, i - 3) = v;
    }
}

/* --- input -------------------------------------------------------------------------------------
 */

struct snap_in {
    int (*get)(void *ctx, void *data, size_t len, struct err *err);
    void *ctx;
    uint8_t *block;
    size_t len, pos;
    uint64_t offset; /* of the block within the snapshot */
    struct err *err;
};

static int in_block(struct snap_in *in)
{
    uint8_t head[8] = { 0 };
    struct rd r = rd_make(head, sizeof(head));
    uint32_t crc;
    size_t len;
    int rc;

    rc = in->get(in->ctx, head, sizeof(head), in->err);
    if (rc != 0) {
        return rc;
    }
    len = rd_u32(&r);
    crc = rd_u32(&r);
    if (len > SNAP_BLOCK) {
        return err_set(in->err, ERR_CORRUPT, "snapshot: block of %zu bytes at offset %" PRIu64, len,
                       in->offset);
    }
    rc = len == 0 ? 0 : in->get(in->ctx, in->block, len, in->err);
    if (rc == 0 && crc32c(0, in->block, len) != crc) {
        rc = err_set(in->err, ERR_CORRUPT,
                     "snapshot: wrong checksum of the block at offset %" PRIu64, in->offset);
    }
    in->offset += sizeof(head) + len;
    in->len = len;
    in->pos = 0;
    return rc;
}

static int in_bytes(struct snap_in *in, void *data, size_t len)
{
    uint8_t *p = data;

    while (len > 0) {
        size_t n = in->len - in->pos < len ? in->len - in->pos : len;

        if (n == 0) {
            int rc = in_block(in);

            if (rc != 0) {
                return rc;
            }
            if (in->len == 0) {
                return err_set(in->err, ERR_CORRUPT, "snapshot: ends early at offset %" PRIu64,
                               in->offset);
            }
            continue;
        }
        memcpy(p, in->block + in->pos, n);
        in->pos += n;
        p += n;
        len -= n;
    }
    return 0;
}

/* The empty block, with nothing left before it. */
static int in_end(struct snap_in *in)
{
    int rc;

    if (in->pos < in->len) {
        return err_set(in->err, ERR_CORRUPT, "snapshot: %zu bytes too many", in->len - in->pos);
    }
    rc = in_block(in);
    if (rc == 0 && in->len != 0) {
        rc = err_set(in->err, ERR_CORRUPT,
                     "snapshot: goes on at offset %" PRIu64 " where it should end", in->offset);
    }
    return rc;
}

/* --- parts -------------------------------------------------------------------------------------
 */

static int read_head(struct snap_in *in, struct snap_head *h)
{
    uint8_t raw[8 * (SNAP_HEAD_NUMBERS + 1)] = { 0 };
    struct rd r = rd_make(raw, sizeof(raw));
    int rc;

    rc = in_bytes(in, raw, sizeof(raw));
    if (rc != 0) {
        return rc;
    }
    if (rd_u64(&r) != SNAP_MAGIC) {
        return err_set(in->err, ERR_CORRUPT, "no snapshot of this format");
    }
    for (size_t i = 0; i < SNAP_HEAD_NUMBERS; i++) {
        snap_head_set(h, i, rd_u64(&r));
    }
    if (h->compact_rev > h->rev || h->limits.history_bytes == 0 || h->limits.history_count == 0 ||
        h->limits.quota_bytes == 0 || h->sessions_len > UINT32_MAX) {
        return err_set(in->err, ERR_CORRUPT, "snapshot: impossible header");
    }
    return 0;
}

/* A version, or *ret = NULL for a key of length 0. */
static int read_kv(struct snap_in *in, struct kv **ret)
{
    uint8_t raw[SNAP_KV_HEAD] = { 0 };
    struct rd r = rd_make(raw, sizeof(raw));
    uint32_t klen, vlen;
    uint8_t *buf;
    struct kv *v;
    int rc;

    *ret = NULL;
    rc = in_bytes(in, raw, 4);
    if (rc != 0 || (klen = rd_u32(&r)) == 0) {
        return rc;
    }
    rc = in_bytes(in, raw + 4, sizeof(raw) - 4);
    if (rc != 0) {
        return rc;
    }
    vlen = rd_u32(&r);
    if (klen > 2 * CMD_MAX_KEY || vlen > CMD_MAX_BYTES) {
        return err_set(in->err, ERR_CORRUPT, "snapshot: key of %u and value of %u bytes", klen,
                       vlen);
    }
    buf = mem_alloc((size_t)klen + vlen + 1);
    rc = in_bytes(in, buf, (size_t)klen + vlen);
    if (rc == 0) {
        v = kv_mut(kv_new(buf, klen, buf + klen, vlen));
        v->create_rev = rd_u64(&r);
        v->mod_rev = rd_u64(&r);
        v->version = rd_u64(&r);
        v->lease = rd_u64(&r);
        v->sub = rd_u32(&r);
        *ret = v;
    }
    free(buf);
    return rc;
}

/* Whether a live version of an s/ key can be read, so that nobody stumbles over it later. */
static int check_record(const struct kv *v, struct err *err)
{
    if (kv_is_tombstone(v) || v->klen < 2 || memcmp(v->bytes, "s/", 2) != 0) {
        return 0;
    }
    return s_record_check(v, err);
}

static int check_base(const struct store *t, const struct kv *v, const struct kv *last,
                      struct err *err)
{
    if (kv_is_tombstone(v) || v->create_rev == 0 || v->create_rev > v->mod_rev ||
        v->mod_rev > t->compact_rev ||
        (last != NULL && kv_key_cmp(last->bytes, last->klen, v->bytes, v->klen) >= 0)) {
        return err_set(err, ERR_CORRUPT, "snapshot: impossible version of key \"%s\"", kv_key(v));
    }
    return check_record(v, err);
}

static int read_base(struct store *t, struct snap_in *in)
{
    const struct kv *last = NULL;
    struct kv *v;
    int rc;

    for (;;) {
        rc = read_kv(in, &v);
        if (rc != 0 || v == NULL) {
            return rc;
        }
        rc = check_base(t, v, last, in->err);
        if (rc != 0) {
            kv_unref(v);
            return rc;
        }
        st_load(t, v);
        last = v;
    }
}

/* An event must follow from what is there before it. */
static int check_event(const struct store *t, const struct kv *v, const struct kv *last,
                       struct err *err)
{
    const struct kv *old = st_get(t, v->bytes, v->klen);
    bool ok = v->mod_rev > t->compact_rev && v->mod_rev <= t->rev;

    if (last == NULL || v->mod_rev != last->mod_rev) {
        ok = ok && v->sub == 0 &&
             (last == NULL ? v->mod_rev == t->compact_rev + 1 : v->mod_rev == last->mod_rev + 1);
    } else {
        ok = ok && v->sub == last->sub + 1;
    }
    if (kv_is_tombstone(v)) {
        ok = ok && old != NULL && v->vlen == 0;
    } else if (old != NULL) {
        ok = ok && v->version == old->version + 1 && v->create_rev == old->create_rev;
    } else {
        ok = ok && v->version == 1 && v->create_rev == v->mod_rev;
    }
    return ok ? check_record(v, err)
              : err_set(err, ERR_CORRUPT, "snapshot: impossible event of key \"%s\"", kv_key(v));
}

static int read_events(struct store *t, struct snap_in *in, uint64_t n)
{
    const struct kv *last = NULL;

    for (uint64_t i = 0; i < n; i++) {
        struct kv *v;
        int rc = read_kv(in, &v);

        if (rc == 0 && v == NULL) {
            rc = err_set(in->err, ERR_CORRUPT, "snapshot: event without key");
        }
        if (rc == 0) {
            rc = check_event(t, v, last, in->err);
        }
        if (rc != 0) {
            kv_unref(v);
            return rc;
        }
        st_replay(t, v);
        last = v;
    }
    if ((last == NULL ? t->compact_rev : last->mod_rev) != t->rev) {
        return err_set(in->err, ERR_CORRUPT, "snapshot: history ends before revision %" PRIu64,
                       t->rev);
    }
    return 0;
}

static int read_sessions(struct store *t, struct snap_in *in, size_t len)
{
    struct buf b = { 0 };
    uint8_t chunk[4096];
    int rc = 0;

    /* bytes first, room after: a lying length costs nothing */
    for (size_t left = len; left > 0 && rc == 0;) {
        size_t n = left < sizeof(chunk) ? left : sizeof(chunk);

        rc = in_bytes(in, chunk, n);
        if (rc == 0) {
            buf_add(&b, chunk, n);
        }
        left -= n;
    }
    if (rc == 0) {
        rc = session_table_decode(&t->sessions, b.data, b.len, in->err);
    }
    buf_done(&b);
    return rc;
}

static void take_head(struct store *t, const struct snap_head *h)
{
    t->limits = h->limits;
    t->rev = h->rev;
    t->compact_rev = h->compact_rev;
    t->index = h->index;
    t->term = h->term;
    t->wall_ms = h->wall_ms;
    t->last_incarnation = h->last_incarnation;
    t->last_token = h->last_token;
    t->last_fencing = h->last_fencing;
    t->last_session = h->last_session;
}

static int read_all(struct store *t, struct snap_in *in)
{
    struct snap_head h = { 0 };
    int rc;

    rc = read_head(in, &h);
    if (rc != 0) {
        return rc;
    }
    take_head(t, &h);
    rc = read_sessions(t, in, (size_t)h.sessions_len);
    if (rc == 0) {
        rc = read_base(t, in);
    }
    if (rc == 0) {
        rc = read_events(t, in, h.n_events);
    }
    if (rc == 0) {
        rc = in_end(in);
    }
    if (rc == 0 && (store_hash(t) != h.hash || t->count != h.live)) {
        rc = err_set(in->err, ERR_CORRUPT,
                     "snapshot: hash %016" PRIx64 " instead of %016" PRIx64
                     ", %zu keys instead of %" PRIu64,
                     store_hash(t), h.hash, t->count, h.live);
    }
    return rc;
}

/* --- the store ---------------------------------------------------------------------------------
 */

/* Exchange what the two stores are; watches stay with the store that callers know, snapshots with
 * the state that they pin. */
static void exchange(struct store *s, struct store *t)
{
    struct watch_index *watches = s->watches;
    struct store swap = *s;

    *s = *t;
    *t = swap;
    t->watches = s->watches;
    s->watches = watches;
    for (struct store_snap *p = t->snaps; p != NULL; p = p->next) {
        p->store = t;
    }
}

int store_restore(struct store *s, int (*get)(void *ctx, void *data, size_t len, struct err *err),
                  void *ctx, struct err *err)
{
    struct snap_in in = { .get = get, .ctx = ctx, .err = err };
    struct store *t = store_new(NULL);
    int rc;

    OBJ_CHECK(s, STORE_MAGIC);
    t->max_level = s->max_level;
    in.block = mem_alloc(SNAP_BLOCK);
    rc = read_all(t, &in);
    free(in.block);
    if (rc == 0) {
        exchange(s, t);
        watch_break_all(s);
    }
    if (t->pins > 0) {
        t->orphan = true; /* until the last snapshot of it has ended */
    } else {
        store_free(t);
    }
    return rc;
}
