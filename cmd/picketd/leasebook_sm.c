#include "cmd/picketd/leasebook_sm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#define PREFIX "s/lease/"
#define RETRY_MS 1000U

struct entry {
    uint64_t id;
    uint64_t ttl_s;
    uint64_t until_ms;
    bool ending;
};

/* The value of s/lease/<id>: a msgpack unsigned integer. */
static uint64_t ttl_decode(const struct kv *v)
{
    struct rd r = rd_make(kv_value(v), v->vlen);
    uint8_t tag = rd_u8(&r);
    size_t n = tag == 0xcc ? 1 : tag == 0xcd ? 2 : tag == 0xce ? 4 : tag == 0xcf ? 8 : 0;
    const uint8_t *p = rd_bytes(&r, n);
    uint64_t x = n == 0 ? tag : 0;

    for (size_t i = 0; p != NULL && i < n; i++) {
        x = (x << 8) | p[i];
    }
    return x;
}

static struct entry *find(const struct leasebook *b, uint64_t id)
{
    char name[24];

    (void)snprintf(name, sizeof(name), "%020" PRIu64, id);
    return map_get(&b->leases, name);
}

static void put(struct leasebook *b, const struct kv *v, uint64_t now_ms)
{
    const char *name = kv_key(v) + strlen(PREFIX);
    struct entry *x = map_get(&b->leases, name);

    if (x == NULL) {
        x = OBJ_NEW(struct entry);
        (void)str_parse_u64(name, &x->id);
        (void)map_put(&b->leases, name, x);
    }
    x->ttl_s = ttl_decode(v);
    x->until_ms = now_ms + x->ttl_s * 1000;
    x->ending = false;
}

struct load {
    struct leasebook *b;
    uint64_t now_ms;
};

static bool load_one(void *ctx, const struct kv *v)
{
    const struct load *l = ctx;

    put(l->b, v, l->now_ms);
    return true;
}

static void wake_nothing(void *ctx)
{
    (void)ctx; /* the caller pulls anyway */
}

void leasebook_open(struct leasebook *b, struct store *s, uint64_t now_ms)
{
    struct load l = { b, now_ms };

    leasebook_close(b);
    b->store = s;
    b->watch =
        store_watch_new(s, PREFIX, strlen(PREFIX), NULL, 0, store_rev(s) + 1, wake_nothing, NULL);
    store_prefix(s, PREFIX, load_one, &l);
}

void leasebook_close(struct leasebook *b)
{
    const char *key;
    void *v;

    store_watch_free(b->watch);
    b->watch = NULL;
    for (size_t i = 0; map_next(&b->leases, &i, &key, &v);) {
        free(v);
    }
    map_done(&b->leases);
}

void leasebook_pull(struct leasebook *b, uint64_t now_ms)
{
    struct kv_event ev;
    struct err err;
    int rc;

    CHECK(b->watch != NULL);
    while ((rc = store_watch_next(b->watch, &ev, &err)) == 1) {
        if (ev.type == KV_PUT) {
            put(b, ev.kv, now_ms);
        } else {
            char *key = mem_strndup(ev.key, ev.klen);

            free(map_del(&b->leases, key + strlen(PREFIX)));
            free(key);
        }
    }
    if (rc != 0) { /* fell behind the history: every lease gets its full time once more */
        leasebook_open(b, b->store, now_ms);
    }
}

size_t leasebook_due(struct leasebook *b, uint64_t now_ms, uint64_t *ret_ids, size_t max)
{
    size_t n = 0;
    const char *key;
    void *v;

    for (size_t i = 0; n < max && map_next(&b->leases, &i, &key, &v);) {
        struct entry *x = v;

        if (now_ms >= x->until_ms) {
            x->ending = true;
            x->until_ms = UINT64_MAX;
            ret_ids[n++] = x->id;
        }
    }
    return n;
}

void leasebook_not_ended(struct leasebook *b, uint64_t id, uint64_t now_ms)
{
    struct entry *x = find(b, id);

    if (x != NULL && x->ending) {
        x->until_ms = now_ms + RETRY_MS;
    }
}

struct leasebook_left leasebook_ask(struct leasebook *b, uint64_t id, bool keep, uint64_t now_ms)
{
    struct leasebook_left r = { 0 };
    struct entry *x = find(b, id);

    if (x == NULL) {
        return r;
    }
    r.ttl_s = x->ttl_s;
    if (x->ending) {
        return r;
    }
    if (keep) {
        x->until_ms = now_ms + x->ttl_s * 1000;
    }
    r.left_s = x->until_ms > now_ms ? (x->until_ms - now_ms + 999) / 1000 : 0;
    return r;
}
