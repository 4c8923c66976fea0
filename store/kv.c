#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

struct kv *kv_mut(const struct kv *v)
{
    return (struct kv *)(uintptr_t)v;
}

const struct kv *kv_new(const void *key, size_t klen, const void *value, size_t vlen)
{
    struct kv *v;

    CHECK(klen <= UINT32_MAX);
    CHECK(vlen <= UINT32_MAX);
    v = malloc(sizeof(*v) + klen + vlen + 2);
    CHECK(v != NULL);
    memset(v, 0, sizeof(*v));
    v->refs = 1;
    v->klen = (uint32_t)klen;
    v->vlen = (uint32_t)vlen;
    memcpy(v->bytes, key, klen);
    v->bytes[klen] = 0;
    if (vlen > 0) {
        memcpy(v->bytes + klen + 1, value, vlen);
    }
    v->bytes[klen + 1 + vlen] = 0;
    return v;
}

const struct kv *kv_ref(const struct kv *v)
{
    CHECK(v->refs > 0);
    kv_mut(v)->refs++;
    return v;
}

/* The last reference to a version takes its older versions along, one by one: chains are long. */
void kv_unref(const struct kv *v)
{
    while (v != NULL) {
        const struct kv *prev = v->prev;

        CHECK(v->refs > 0);
        if (--kv_mut(v)->refs > 0) {
            return;
        }
        free(kv_mut(v));
        v = prev;
    }
}

size_t kv_size(const struct kv *v)
{
    return sizeof(*v) + v->klen + v->vlen + 2;
}

/* --- hashing -----------------------------------------------------------------------------------
 */

static uint64_t hash_step(uint64_t h, uint64_t v)
{
    h = (h << 29 | h >> 35) ^ v;
    return h * 0x9e3779b97f4a7c15ULL;
}

/* splitmix64's finaliser (Steele, Lea, Flood 2014). */
static uint64_t hash_final(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* Not against an adversary: it finds replicas that went apart, and damaged snapshots. */
uint64_t kv_hash_bytes(uint64_t seed, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t h = hash_step(seed, len);
    uint64_t w;

    for (; len >= 8; len -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = hash_step(h, w);
    }
    w = 0;
    if (len > 0) {
        memcpy(&w, p, len);
    }
    return hash_final(hash_step(h, w));
}

uint64_t kv_hash(const struct kv *v)
{
    uint64_t h = hash_step(v->create_rev, v->mod_rev);

    h = hash_step(hash_step(h, v->version), v->lease);
    h = kv_hash_bytes(h, v->bytes, v->klen);
    return kv_hash_bytes(h, kv_value(v), v->vlen);
}
