/* Watches: cursors into the history ring.
 *
 * A watch is either armed: it has seen everything that matches, up to now, and the next match wakes
 * it; or it is not: its cursor stands at the first event that it has not looked at.  So an idle
 * watch costs nothing while the ring moves on below it, and never falls out of it.
 *
 * Watches of the same range share a group.  A group is found by the key of an event: by hash for
 * one key and for prefixes (one look-up per length that any prefix has), by walking the list for
 * other ranges.  A group keeps its armed watches apart, so an event costs nothing for those that
 * were woken already. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/obj.h"

#define WATCH_MAGIC 0x5761746368303031ULL

enum range_kind { RANGE_KEY, RANGE_PREFIX, RANGE_OTHER };

struct watch_group {
    enum range_kind kind;
    uint8_t *key, *end; /* end: RANGE_OTHER only */
    size_t klen, elen;
    uint64_t hash;
    struct watch_group *next; /* of the bucket or of the list */
    LIST_HEAD(, store_watch) armed;
    LIST_HEAD(, store_watch) idle;
};

struct store_watch {
    uint64_t magic;
    struct store *store;
    struct watch_group *group;
    LIST_ENTRY(store_watch) entry;
    bool armed;
    bool broken;      /* fell out of the history */
    uint64_t cursor;  /* not armed: the next event to look at */
    uint64_t min_rev; /* events before it are not wanted */
    void (*wake)(void *ctx);
    void *ctx;
};

struct watch_index {
    struct watch_group **buckets; /* RANGE_KEY and RANGE_PREFIX */
    size_t n_buckets, n_groups;
    struct watch_group *others;
    uint32_t *lengths; /* [len]: groups of RANGE_PREFIX with that length */
    size_t n_lengths;
};

/* --- groups ------------------------------------------------------------------------------------
 */

void watch_index_init(struct store *s)
{
    struct watch_index *x = OBJ_NEW(struct watch_index);

    x->n_buckets = 64;
    x->buckets = mem_alloc(x->n_buckets * sizeof(struct watch_group *));
    s->watches = x;
}

void watch_index_done(struct store *s)
{
    struct watch_index *x = s->watches;

    CHECK(x->n_groups == 0); /* free the watches first */
    CHECK(x->others == NULL);
    free(x->buckets);
    free(x->lengths);
    free(x);
    s->watches = NULL;
}

static uint64_t group_hash(enum range_kind kind, const void *key, size_t klen)
{
    return kv_hash_bytes((uint64_t)kind, key, klen);
}

static struct watch_group **group_list(struct watch_index *x, enum range_kind kind, uint64_t hash)
{
    return kind == RANGE_OTHER ? &x->others : &x->buckets[hash & (x->n_buckets - 1)];
}

static bool same_bytes(const void *a, size_t alen, const void *b, size_t blen)
{
    return alen == blen && (alen == 0 || memcmp(a, b, alen) == 0);
}

static struct watch_group *group_find(struct watch_index *x, enum range_kind kind, const void *key,
                                      size_t klen, const void *end, size_t elen)
{
    uint64_t hash = group_hash(kind, key, klen);
    struct watch_group *g = *group_list(x, kind, hash);

    for (; g != NULL; g = g->next) {
        if (g->hash == hash && g->kind == kind && same_bytes(g->key, g->klen, key, klen) &&
            same_bytes(g->end, g->elen, end, elen)) {
            return g;
        }
    }
    return NULL;
}

static void buckets_grow(struct watch_index *x)
{
    size_t n = x->n_buckets;
    struct watch_group **old = x->buckets;

    if (x->n_groups < n) {
        return;
    }
    x->n_buckets = n * 2;
    x->buckets = mem_alloc(x->n_buckets * sizeof(struct watch_group *));
    for (size_t i = 0; i < n; i++) {
        while (old[i] != NULL) {
            struct watch_group *g = old[i];
            struct watch_group **to = group_list(x, g->kind, g->hash);

            old[i] = g->next;
            g->next = *to;
            *to = g;
        }
    }
    free(old);
}

static void count_length(struct watch_index *x, size_t len, bool add)
{
    if (len >= x->n_lengths) {
        size_t n = len + 16;

        x->lengths = mem_realloc(x->lengths, n * sizeof(*x->lengths));
        memset(x->lengths + x->n_lengths, 0, (n - x->n_lengths) * sizeof(*x->lengths));
        x->n_lengths = n;
    }
    x->lengths[len] += add ? 1 : UINT32_MAX; /* -1 */
}

static struct watch_group *group_new(struct watch_index *x, enum range_kind kind, const void *key,
                                     size_t klen, const void *end, size_t elen)
{
    struct watch_group *g = OBJ_NEW(struct watch_group);
    struct watch_group **list;

    g->kind = kind;
    g->key = mem_dup(key, klen);
    g->klen = klen;
    g->end = elen > 0 ? mem_dup(end, elen) : NULL;
    g->elen = elen;
    g->hash = group_hash(kind, key, klen);
    LIST_INIT(&g->armed);
    LIST_INIT(&g->idle);
    if (kind != RANGE_OTHER) {
        buckets_grow(x);
        x->n_groups++;
    }
    if (kind == RANGE_PREFIX) {
        count_length(x, klen, true);
    }
    list = group_list(x, kind, g->hash);
    g->next = *list;
    *list = g;
    return g;
}

static void group_drop(struct watch_index *x, struct watch_group *g)
{
    struct watch_group **p = group_list(x, g->kind, g->hash);

    while (*p != g) {
        p = &(*p)->next;
    }
    *p = g->next;
    if (g->kind != RANGE_OTHER) {
        x->n_groups--;
    }
    if (g->kind == RANGE_PREFIX) {
        count_length(x, g->klen, false);
    }
    free(g->key);
    free(g->end);
    free(g);
}

static bool group_matches(const struct watch_group *g, const struct kv *v)
{
    switch (g->kind) {
    case RANGE_KEY:
        return same_bytes(g->key, g->klen, v->bytes, v->klen);
    case RANGE_PREFIX:
        return v->klen >= g->klen && memcmp(v->bytes, g->key, g->klen) == 0;
    case RANGE_OTHER:
        return kv_key_cmp(v->bytes, v->klen, g->key, g->klen) >= 0 &&
               kv_key_cmp(v->bytes, v->klen, g->end, g->elen) < 0;
    }
    CHECK_UNREACHABLE();
}

/* --- one watch ---------------------------------------------------------------------------------
 */

static void arm(struct store_watch *w, bool armed)
{
    LIST_REMOVE(w, entry);
    w->armed = armed;
    if (armed) {
        LIST_INSERT_HEAD(&w->group->armed, w, entry);
    } else {
        LIST_INSERT_HEAD(&w->group->idle, w, entry);
    }
}

/* [key, key NUL) is one key, [prefix, prefix with its last byte one up) a prefix. */
static enum range_kind range_kind(const uint8_t *key, size_t klen, const uint8_t *end, size_t elen)
{
    if (end == NULL) {
        return RANGE_PREFIX;
    }
    if (elen == klen + 1 && end[klen] == 0 && memcmp(key, end, klen) == 0) {
        return RANGE_KEY;
    }
    if (elen == klen && klen > 0 && memcmp(key, end, klen - 1) == 0 &&
        end[klen - 1] == key[klen - 1] + 1) {
        return RANGE_PREFIX;
    }
    return RANGE_OTHER;
}

struct store_watch *store_watch_new(struct store *s, const void *key, size_t klen, const void *end,
                                    size_t elen, uint64_t start_rev, void (*wake)(void *ctx),
                                    void *ctx)
{
    enum range_kind kind = range_kind(key, klen, end, elen);
    struct store_watch *w = OBJ_NEW(struct store_watch);

    OBJ_CHECK(s, STORE_MAGIC);
    if (kind != RANGE_OTHER) {
        end = NULL;
        elen = 0;
    }
    w->magic = WATCH_MAGIC;
    w->store = s;
    w->wake = wake;
    w->ctx = ctx;
    w->group = group_find(s->watches, kind, key, klen, end, elen);
    if (w->group == NULL) {
        w->group = group_new(s->watches, kind, key, klen, end, elen);
    }
    w->min_rev = start_rev;
    w->broken = start_rev != 0 && start_rev <= s->compact_rev;
    w->armed = start_rev == 0 || start_rev > s->rev;
    w->cursor = w->armed || w->broken ? s->hist.end : st_hist_find(s, start_rev);
    if (w->armed) {
        LIST_INSERT_HEAD(&w->group->armed, w, entry);
    } else {
        LIST_INSERT_HEAD(&w->group->idle, w, entry);
    }
    return w;
}

void store_watch_free(struct store_watch *w)
{
    struct watch_group *g;

    if (w == NULL) {
        return;
    }
    OBJ_CHECK(w, WATCH_MAGIC);
    g = w->group;
    LIST_REMOVE(w, entry);
    if (LIST_EMPTY(&g->armed) && LIST_EMPTY(&g->idle)) {
        group_drop(w->store->watches, g);
    }
    w->magic = 0;
    free(w);
}

static void fill_event(const struct kv *v, struct kv_event *ret)
{
    const struct kv *prev = v->prev != NULL && !kv_is_tombstone(v->prev) ? v->prev : NULL;

    *ret = (struct kv_event){
        .type = kv_is_tombstone(v) ? KV_DELETE : KV_PUT,
        .rev = v->mod_rev,
        .kv = kv_is_tombstone(v) ? NULL : v,
        .prev = prev,
        .key = v->bytes,
        .klen = v->klen,
    };
}

int store_watch_next(struct store_watch *w, struct kv_event *ret, struct err *err)
{
    const struct store *s;

    OBJ_CHECK(w, WATCH_MAGIC);
    s = w->store;
    if (w->armed) {
        return 0;
    }
    if (w->broken || w->cursor < s->hist.first) {
        w->broken = true;
        return err_set(err, ERR_COMPACTED,
                       "watch: revisions up to %" PRIu64
                       " are compacted: list again and watch from there",
                       s->compact_rev);
    }
    while (w->cursor < s->hist.end) {
        const struct kv *v = hist_at(&s->hist, w->cursor++);

        if (v->mod_rev >= w->min_rev && group_matches(w->group, v)) {
            fill_event(v, ret);
            return 1;
        }
    }
    arm(w, true);
    return 0;
}

uint64_t store_watch_rev(const struct store_watch *w)
{
    const struct store *s = w->store;

    if (w->armed || (!w->broken && w->cursor >= s->hist.end)) {
        return s->rev;
    }
    if (w->broken || w->cursor < s->hist.first) {
        return 0;
    }
    return hist_at(&s->hist, w->cursor)->mod_rev - 1;
}

/* --- after a command ---------------------------------------------------------------------------
 */

static void wake_group(struct watch_group *g, uint64_t e, uint64_t rev)
{
    struct store_watch *w = LIST_FIRST(&g->armed);

    while (w != NULL) {
        struct store_watch *next = LIST_NEXT(w, entry);

        if (rev >= w->min_rev) {
            w->cursor = e;
            arm(w, false);
            if (w->wake != NULL) {
                w->wake(w->ctx);
            }
        }
        w = next;
    }
}

static void notify_prefixes(struct watch_index *x, const struct kv *v, uint64_t e)
{
    for (size_t len = 0; len < x->n_lengths && len <= v->klen; len++) {
        if (x->lengths[len] > 0) {
            struct watch_group *g = group_find(x, RANGE_PREFIX, v->bytes, len, NULL, 0);

            if (g != NULL) {
                wake_group(g, e, v->mod_rev);
            }
        }
    }
}

void watch_notify(struct store *s, uint64_t first, uint64_t end)
{
    struct watch_index *x = s->watches;

    if (first < s->hist.first) {
        first = s->hist.first;
    }
    for (uint64_t e = first; e < end; e++) {
        const struct kv *v = hist_at(&s->hist, e);
        struct watch_group *g = group_find(x, RANGE_KEY, v->bytes, v->klen, NULL, 0);

        if (g != NULL) {
            wake_group(g, e, v->mod_rev);
        }
        notify_prefixes(x, v, e);
        for (g = x->others; g != NULL; g = g->next) {
            if (!LIST_EMPTY(&g->armed) && group_matches(g, v)) {
                wake_group(g, e, v->mod_rev);
            }
        }
    }
}

static void break_group(struct watch_group *g)
{
    struct store_watch *w;

    while ((w = LIST_FIRST(&g->armed)) != NULL) {
        arm(w, false);
        if (w->wake != NULL) {
            w->wake(w->ctx);
        }
    }
    LIST_FOREACH(w, &g->idle, entry)
    {
        w->broken = true;
    }
}

void watch_break_all(struct store *s)
{
    struct watch_index *x = s->watches;

    for (struct watch_group *g = x->others; g != NULL; g = g->next) {
        break_group(g);
    }
    for (size_t i = 0; i < x->n_buckets; i++) {
        for (struct watch_group *g = x->buckets[i]; g != NULL; g = g->next) {
            break_group(g);
        }
    }
}
