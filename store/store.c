#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

static const struct store_limits DEFAULT_LIMITS = {
    .history_bytes = (size_t)64 << 20,
    .history_count = 262144,
    .quota_bytes = (size_t)2 << 30,
};

struct store *store_new(const struct store_limits *limits)
{
    struct store *s = OBJ_NEW(struct store);

    s->magic = STORE_MAGIC;
    s->limits = limits != NULL ? *limits : DEFAULT_LIMITS;
    if (s->limits.history_bytes == 0) {
        s->limits.history_bytes = DEFAULT_LIMITS.history_bytes;
    }
    if (s->limits.history_count == 0) {
        s->limits.history_count = DEFAULT_LIMITS.history_count;
    }
    if (s->limits.quota_bytes == 0) {
        s->limits.quota_bytes = DEFAULT_LIMITS.quota_bytes;
    }
    s->max_level = STORE_FEATURE_MAX;
    watch_index_init(s);
    return s;
}

void store_free(struct store *s)
{
    if (s == NULL) {
        return;
    }
    OBJ_CHECK(s, STORE_MAGIC);
    CHECK(s->pins == 0);
    watch_index_done(s);
    session_table_done(&s->sessions);
    st_hist_done(s);
    kvtree_done(&s->tree);
    kvtrash_done(&s->trash);
    st_index_done(s);
    s->magic = 0;
    free(s);
}

void store_set_max_level(struct store *s, unsigned level)
{
    s->max_level = level;
}

unsigned store_max_level(const struct store *s)
{
    return s->max_level;
}

unsigned store_level(const struct store *s)
{
    return s->meta.feature_level < STORE_FEATURE_FIRST ? STORE_FEATURE_FIRST
                                                       : (unsigned)s->meta.feature_level;
}

bool store_unfit(const struct store *s)
{
    return store_level(s) > s->max_level;
}

uint64_t store_rev(const struct store *s)
{
    return s->rev;
}

uint64_t store_compact_rev(const struct store *s)
{
    return s->compact_rev;
}

uint64_t store_index(const struct store *s)
{
    return s->index;
}

uint64_t store_wall_ms(const struct store *s)
{
    return s->wall_ms;
}

size_t store_bytes(const struct store *s)
{
    return s->bytes;
}

size_t store_count(const struct store *s)
{
    return s->count;
}

uint64_t store_hash(const struct store *s)
{
    const uint64_t rest[] = {
        s->kv_hash,
        s->sessions.hash,
        s->rev,
        s->compact_rev,
        s->wall_ms,
        s->last_incarnation,
        s->last_token,
        s->last_fencing,
        s->last_session,
        s->limits.history_bytes,
        s->limits.history_count,
        s->limits.quota_bytes,
    };

    return kv_hash_bytes(0, rest, sizeof(rest));
}

/* --- reads -------------------------------------------------------------------------------------
 */

/* The version that was current at `rev` (0: now), or NULL. */
static const struct kv *version_at(const struct kv *v, uint64_t rev)
{
    while (v != NULL && rev != 0 && v->mod_rev > rev) {
        v = v->prev;
    }
    return v == NULL || kv_is_tombstone(v) ? NULL : v;
}

const struct kv *store_get(const struct store *s, const void *key, size_t klen, uint64_t rev)
{
    return version_at(kvtree_get(&s->tree, key, klen), rev);
}

const struct kv *store_get_str(const struct store *s, const char *key)
{
    return store_get(s, key, strlen(key), 0);
}

void store_range(const struct store *s, const void *key, size_t klen, const void *end, size_t elen,
                 uint64_t rev, store_visit_fn *fn, void *ctx)
{
    struct kvtree_iter it;
    const struct kv *v;

    kvtree_seek(&it, s->tree.root, key, klen);
    while ((v = kvtree_next(&it)) != NULL) {
        if (end != NULL ? kv_key_cmp(v->bytes, v->klen, end, elen) >= 0
                        : v->klen < klen || memcmp(v->bytes, key, klen) != 0) {
            return;
        }
        v = version_at(v, rev);
        if (v != NULL && !fn(ctx, v)) {
            return;
        }
    }
}

void store_prefix(const struct store *s, const char *prefix, store_visit_fn *fn, void *ctx)
{
    store_range(s, prefix, strlen(prefix), NULL, 0, 0, fn, ctx);
}

/* --- object values -----------------------------------------------------------------------------
 */

#define OBJVAL_MAGIC 0x4a424f50U /* "POBJ" */

/* magic u32, version u16, flags of the header u16 (0), object flags u32, reserved u32 (0),
 * generation u64 */
void objval_encode(uint64_t generation, uint32_t flags, const char *json, size_t len,
                   struct buf *out)
{
    buf_add_u32(out, OBJVAL_MAGIC);
    buf_add_u16(out, 1);
    buf_add_u16(out, 0);
    buf_add_u32(out, flags);
    buf_add_u32(out, 0);
    buf_add_u64(out, generation);
    buf_add(out, json, len);
}

int objval_decode(const void *data, size_t len, uint64_t *ret_generation, uint32_t *ret_flags,
                  const char **ret_json, size_t *ret_len, struct err *err)
{
    struct rd r = rd_make(data, len);
    uint32_t magic = rd_u32(&r);
    uint16_t version = rd_u16(&r);
    uint16_t zero = rd_u16(&r);
    uint32_t flags = rd_u32(&r);
    uint32_t zero2 = rd_u32(&r);
    uint64_t generation = rd_u64(&r);

    if (r.bad || magic != OBJVAL_MAGIC || version != 1 || zero != 0 || zero2 != 0 ||
        (flags & ~(uint32_t)OBJVAL_DELETING) != 0) {
        return err_set(err, ERR_CORRUPT, "no object value: %zu bytes, magic %08x, version %u", len,
                       magic, version);
    }
    *ret_generation = generation;
    *ret_flags = flags;
    *ret_json = (const char *)data + OBJVAL_HEADER;
    *ret_len = len - OBJVAL_HEADER;
    return 0;
}
