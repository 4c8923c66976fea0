/* Versions, revisions, history.
 *
 * Each change makes a new version whose `prev` is the one it replaced (a deletion makes a
 * tombstone: version 0), puts it into the tree and appends it to the history ring.  So the ring is
 * at once the window of old revisions and the buffer of all watches.  A read at revision R takes
 * the key's current version and follows `prev` to the first with mod_rev <= R.
 *
 * Trimming is by rule inside of apply (more than history_count revisions or history_bytes), so all
 * replicas compact alike. */

#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

const struct kv *st_get(const struct store *s, const void *key, size_t klen)
{
    const struct kv *v = kvtree_get(&s->tree, key, klen);

    return v == NULL || kv_is_tombstone(v) ? NULL : v;
}

/* --- the ring ----------------------------------------------------------------------------------
 */

static void hist_append(struct store *s, const struct kv *v)
{
    struct hist *h = &s->hist;
    size_t chunk = (size_t)((h->end - h->base) / HIST_CHUNK);

    if (chunk == h->n_chunks) {
        if (h->n_chunks == h->cap) {
            h->cap = h->cap == 0 ? 16 : h->cap * 2;
            h->chunks = mem_realloc(h->chunks, h->cap * sizeof(struct hist_chunk *));
        }
        h->chunks[h->n_chunks++] = mem_alloc(sizeof(struct hist_chunk));
    }
    h->chunks[chunk]->kv[(h->end - h->base) % HIST_CHUNK] = v;
    h->end++;
    h->bytes += kv_size(v);
}

/* The first event with revision >= rev, or the end. */
uint64_t st_hist_find(const struct store *s, uint64_t rev)
{
    uint64_t lo = s->hist.first;
    uint64_t hi = s->hist.end;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;

        if (hist_at(&s->hist, mid)->mod_rev < rev) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* Version v is the oldest that anyone may ask for now. */
static void cut_one(struct store *s, const struct kv *v)
{
    const struct kv *prev = v->prev;

    kv_mut(v)->prev = NULL;
    kv_unref(prev);
    if (kv_is_tombstone(v) && kvtree_get(&s->tree, v->bytes, v->klen) == v) {
        kv_unref(kvtree_del(&s->tree, v->bytes, v->klen));
    }
}

void st_cut(struct store *s, size_t max_events)
{
    struct hist *h = &s->hist;
    size_t n;

    if (s->pins > 0) {
        return;
    }
    for (; h->cut < h->first && max_events > 0; max_events--) {
        cut_one(s, hist_at(h, h->cut));
        h->cut++;
    }
    n = (size_t)((h->cut - h->base) / HIST_CHUNK);
    if (n == 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        free(h->chunks[i]);
    }
    memmove(h->chunks, h->chunks + n, (h->n_chunks - n) * sizeof(struct hist_chunk *));
    h->n_chunks -= n;
    h->base += n * HIST_CHUNK;
}

void st_compact(struct store *s, uint64_t rev)
{
    struct hist *h = &s->hist;

    CHECK(rev >= s->compact_rev);
    CHECK(rev <= s->rev);
    while (h->first < h->end && hist_at(h, h->first)->mod_rev <= rev) {
        h->bytes -= kv_size(hist_at(h, h->first));
        h->first++;
    }
    s->compact_rev = rev;
}

/* Drop the oldest revisions until the bounds hold; the newest always stays. */
static void hist_trim(struct store *s)
{
    const struct hist *h = &s->hist;

    while (s->compact_rev + 1 < s->rev && (s->rev - s->compact_rev > s->limits.history_count ||
                                           h->bytes > s->limits.history_bytes)) {
        st_compact(s, s->compact_rev + 1);
    }
}

void st_hist_done(struct store *s)
{
    for (size_t i = 0; i < s->hist.n_chunks; i++) {
        free(s->hist.chunks[i]);
    }
    free(s->hist.chunks);
    s->hist = (struct hist){ 0 };
}

/* --- changes -----------------------------------------------------------------------------------
 */

static bool is_raw(const struct kv *v)
{
    return v->klen >= 2 && v->bytes[0] == 'k' && v->bytes[1] == '/';
}

static void account(struct store *s, const struct kv *v, bool add)
{
    if (v == NULL || kv_is_tombstone(v)) {
        return;
    }
    if (add) {
        s->kv_hash += kv_hash(v);
        s->bytes += (size_t)v->klen + v->vlen;
        s->raw_bytes += is_raw(v) ? (size_t)v->klen + v->vlen : 0;
        s->count++;
    } else {
        s->kv_hash -= kv_hash(v);
        s->bytes -= (size_t)v->klen + v->vlen;
        s->raw_bytes -= is_raw(v) ? (size_t)v->klen + v->vlen : 0;
        s->count--;
    }
    st_index(s, v, add);
}

/* Put a finished version in the place of the one before it. */
void st_replay(struct store *s, const struct kv *v)
{
    const struct kv *old = kvtree_put(&s->tree, v);

    account(s, old, false);
    kv_mut(v)->prev = old; /* with its reference */
    account(s, v, true);
    hist_append(s, v);
}

/* The oldest known version of a key: there is no history before it. */
void st_load(struct store *s, const struct kv *v)
{
    const struct kv *old = kvtree_put(&s->tree, v);

    CHECK(old == NULL);
    account(s, v, true);
}

const struct kv *st_put(struct store *s, const void *key, size_t klen, const void *value,
                        size_t vlen, uint64_t lease)
{
    const struct kv *old = st_get(s, key, klen);
    struct kv *v = kv_mut(kv_new(key, klen, value, vlen));

    v->mod_rev = s->rev + 1;
    v->create_rev = old != NULL ? old->create_rev : v->mod_rev;
    v->version = old != NULL ? old->version + 1 : 1;
    v->lease = lease;
    v->sub = s->sub++;
    st_replay(s, v);
    return v;
}

bool st_del(struct store *s, const void *key, size_t klen)
{
    struct kv *v;

    if (st_get(s, key, klen) == NULL) {
        return false;
    }
    v = kv_mut(kv_new(key, klen, NULL, 0));
    v->mod_rev = s->rev + 1;
    v->sub = s->sub++;
    st_replay(s, v);
    return true;
}

void st_del_str(struct store *s, const char *key)
{
    (void)st_del(s, key, strlen(key));
}

/* Cleaning up keeps pace with what commands add, and never takes long: the loop has leases to
 * renew. */
void st_finish(struct store *s)
{
    size_t events = s->sub;

    if (events > 0) {
        s->sub = 0;
        s->rev++;
        hist_trim(s);
    }
    st_cut(s, 64 + 4 * events);
    kvtrash_step(&s->trash, 8 + events);
}
