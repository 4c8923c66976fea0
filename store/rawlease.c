/* Leases of the raw key space: a record, and the keys that were put with it.  Their time is the
 * business of the leader, which ends them by a command. */

#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"
#include "store/mpk.h"

bool st_lease_exists(const struct ap *x, uint64_t id)
{
    const char *key = arena_printf(x->a, "s/lease/%020" PRIu64, id);

    return st_get(x->s, key, strlen(key)) != NULL;
}

struct lease_keys {
    struct arena *a;
    const char **keys;
    size_t *lens;
    size_t n, cap;
};

static void lease_key(void *ctx, const char *name, size_t len)
{
    struct lease_keys *k = ctx;

    if (k->n == k->cap) {
        size_t cap = k->cap == 0 ? 16 : k->cap * 2;
        const char **keys = ARENA_ARRAY(k->a, const char *, cap);
        size_t *lens = ARENA_ARRAY(k->a, size_t, cap);

        if (k->n > 0) {
            memcpy(keys, k->keys, k->n * sizeof(*keys));
            memcpy(lens, k->lens, k->n * sizeof(*lens));
        }
        k->keys = keys;
        k->lens = lens;
        k->cap = cap;
    }
    k->keys[k->n] = arena_strndup(k->a, name, len);
    k->lens[k->n++] = len;
}

static int lease_revoke(struct ap *x, uint64_t id, const char *key)
{
    struct lease_keys k = { .a = x->a };

    if (!st_lease_exists(x, id)) {
        return err_set(x->err, ERR_NOT_FOUND, "lease %" PRIu64 " does not exist", id);
    }
    st_index_walk(&x->s->by_lease, id, lease_key, &k);
    for (size_t i = 0; i < k.n; i++) {
        (void)st_del(x->s, k.keys[i], k.lens[i]);
    }
    st_del_str(x->s, key);
    return 0;
}

int ap_lease(struct ap *x)
{
    uint64_t id = x->c->number;
    uint64_t ttl = x->c->number2;
    struct buf value = { 0 };
    const char *key;

    while (id == 0 || (x->c->number == 0 && st_lease_exists(x, id))) {
        id = id == 0 ? ap_rev(x) : id + 1; /* an id of the store's choice */
    }
    key = arena_printf(x->a, "s/lease/%020" PRIu64, id);
    if (ttl == 0) {
        return lease_revoke(x, id, key);
    }
    if (x->c->actor.role == ACTOR_CONTROLLER) {
        return err_set(x->err, ERR_DENIED, "controllers end leases, they do not grant them");
    }
    if (st_lease_exists(x, id)) {
        return err_set(x->err, ERR_EXISTS, "lease %" PRIu64 " exists already", id);
    }
    if (x->s->meta.feature_level >= LEVEL_QUOTA) {
        int rc = quota_check(x, 64, 64);

        if (rc != 0) {
            return rc;
        }
    } else if (x->s->meta.nospace || x->s->bytes + 64 > x->s->limits.quota_bytes) {
        return err_set(x->err, ERR_LIMIT, "quota: %zu of %zu bytes used, no new leases",
                       x->s->bytes, x->s->limits.quota_bytes);
    }
    mpk_uint(&value, ttl);
    (void)st_put(x->s, key, strlen(key), value.data, value.len, 0);
    buf_done(&value);
    ap_value(x, id);
    return 0;
}
