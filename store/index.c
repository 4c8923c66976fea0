/* What the state machine knows besides the keys, all of it derived from them: the keys of a lease,
 * the locks of an incarnation, burned boot ids, and the cluster's switches.  Kept by every change
 * and, at a restore, by loading the keys. */

#include "store/store_priv.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

#define INDEX_NAME_MAX 8192U

/* A set of (number, name) is a tree of keys be64(number) name without values. */
static void set_change(struct kvtree *t, uint64_t number, const void *name, size_t len, bool add)
{
    uint8_t key[8 + INDEX_NAME_MAX];
    uint64_t be = htobe64(number);

    CHECK(len <= INDEX_NAME_MAX);
    memcpy(key, &be, 8);
    memcpy(key + 8, name, len);
    if (add) {
        kv_unref(kvtree_put(t, kv_new(key, 8 + len, NULL, 0)));
    } else {
        kv_unref(kvtree_del(t, key, 8 + len));
    }
}

void st_index_walk(const struct kvtree *t, uint64_t number, st_names_fn *fn, void *ctx)
{
    uint64_t be = htobe64(number);
    struct kvtree_iter it;
    const struct kv *v;

    kvtree_seek(&it, t->root, &be, 8);
    while ((v = kvtree_next(&it)) != NULL && memcmp(v->bytes, &be, 8) == 0) {
        fn(ctx, kv_key(v) + 8, v->klen - 8);
    }
}

static void index_lock(struct store *s, const struct kv *v, bool add)
{
    struct arena a = { 0 };
    struct s_lock l;
    struct err err;

    /* written by us, and checked before it was loaded */
    CHECK(s_lock_decode(kv_value(v), v->vlen, &a, &l, &err) == 0);
    if (l.owner.incarnation != 0) {
        set_change(&s->by_holder, l.owner.incarnation, l.lock, strlen(l.lock), add);
    }
    if (l.peer.incarnation != 0) {
        set_change(&s->by_holder, l.peer.incarnation, l.lock, strlen(l.lock), add);
    }
    arena_done(&a);
}

static void index_cluster(struct store *s, const struct kv *v)
{
    struct arena a = { 0 };
    struct s_cluster r;
    struct err err;

    CHECK(s_cluster_decode(kv_value(v), v->vlen, &a, &r, &err) == 0);
    s->meta.init = true;
    s->meta.epoch = r.epoch;
    s->meta.feature_level = r.feature_level;
    s->meta.token_floor = r.token_floor;
    s->meta.lab = r.lab;
    s->meta.quarantined = r.quarantined;
    arena_done(&a);
}

static void index_boot(struct store *s, const char *key)
{
    const char *boot_id = strrchr(key, '/') + 1;

    (void)map_put(&s->burned, boot_id, s);
}

static void index_safety(struct store *s, const struct kv *v, bool add)
{
    const char *key = kv_key(v);

    if (strncmp(key, "s/lock/", 7) == 0) {
        index_lock(s, v, add);
    } else if (strncmp(key, "s/boot/", 7) == 0) {
        index_boot(s, key); /* burned for good */
    } else if (strcmp(key, "s/alarm/NOSPACE") == 0) {
        s->meta.nospace = add;
    } else if (strcmp(key, "s/alarm/raw-nospace") == 0) {
        s->meta.raw_nospace = add;
    } else if (strcmp(key, "s/quota") == 0) {
        quota_index(s, v, add);
    } else if (add && strcmp(key, "s/cluster") == 0) {
        index_cluster(s, v);
    }
}

void st_index(struct store *s, const struct kv *v, bool add)
{
    if (v->lease != 0) {
        set_change(&s->by_lease, v->lease, v->bytes, v->klen, add);
    }
    if (v->klen > 2 && memcmp(v->bytes, "s/", 2) == 0) {
        index_safety(s, v, add);
    }
}

void st_index_done(struct store *s)
{
    kvtree_done(&s->by_lease);
    kvtree_done(&s->by_holder);
    map_done(&s->burned);
}
