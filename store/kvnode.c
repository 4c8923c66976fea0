#include "store/kvnode.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

int kv_key_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
    int c = memcmp(a, b, alen < blen ? alen : blen);

    if (c != 0) {
        return c;
    }
    return alen < blen ? -1 : alen > blen;
}

/* --- one node ----------------------------------------------------------------------------------
 */

struct kvnode *kvnode_new(bool leaf)
{
    struct kvnode *n = mem_alloc(sizeof(*n) + (leaf ? 0 : KVTREE_FANOUT * sizeof(struct kvsep *)));

    n->refs = 1;
    n->leaf = leaf;
    return n;
}

void kvsep_unref(struct kvsep *s)
{
    if (s != NULL && --s->refs == 0) {
        free(s);
    }
}

static void node_free_leaf(struct kvnode *n)
{
    for (uint32_t i = 0; i < n->n; i++) {
        kv_unref(n->kv[i]);
    }
    free(n);
}

static void node_free_inner(struct kvnode *n)
{
    for (uint32_t i = 1; i < n->n; i++) {
        kvsep_unref(n->sep[i]);
    }
    free(n);
}

void kvnode_unref(struct kvnode *n)
{
    struct kvnode *node[KVTREE_DEPTH];
    uint32_t at[KVTREE_DEPTH];
    uint32_t depth = 0;

    if (n == NULL || --n->refs > 0) {
        return;
    }
    node[depth] = n;
    at[depth++] = 0;
    while (depth > 0) {
        struct kvnode *top = node[depth - 1];

        if (top->leaf) {
            node_free_leaf(top);
            depth--;
        } else if (at[depth - 1] == top->n) {
            node_free_inner(top);
            depth--;
        } else {
            struct kvnode *c = top->child[at[depth - 1]++];

            if (--c->refs == 0) {
                CHECK(depth < KVTREE_DEPTH);
                node[depth] = c;
                at[depth++] = 0;
            }
        }
    }
}

/* --- later ---------------------------------------------------------------------------------- */

static void trash_push(struct kvtrash *t, struct kvnode *n)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 64 : t->cap * 2;
        t->nodes = mem_realloc(t->nodes, t->cap * sizeof(struct kvnode *));
    }
    t->nodes[t->n++] = n;
}

void kvtrash_unpin(struct kvtrash *t, struct kvnode *root)
{
    if (root != NULL && --root->refs == 0) {
        trash_push(t, root);
    }
}

void kvtrash_step(struct kvtrash *t, size_t max_nodes)
{
    for (; t->n > 0 && max_nodes > 0; max_nodes--) {
        struct kvnode *n = t->nodes[--t->n];

        if (n->leaf) {
            node_free_leaf(n);
            continue;
        }
        for (uint32_t i = 0; i < n->n; i++) {
            kvtrash_unpin(t, n->child[i]);
        }
        node_free_inner(n);
    }
}

void kvtrash_done(struct kvtrash *t)
{
    kvtrash_step(t, SIZE_MAX);
    free(t->nodes);
    *t = (struct kvtrash){ 0 };
}

/* --- keys ----------------------------------------------------------------------------------- */

uint32_t kvnode_first(const struct kvnode *n)
{
    return n->leaf ? 0 : 1;
}

const uint8_t *kvnode_key(const struct kvnode *n, uint32_t i, size_t *ret_len)
{
    if (n->leaf) {
        *ret_len = n->kv[i]->klen;
        return n->kv[i]->bytes;
    }
    *ret_len = n->sep[i]->len;
    return n->sep[i]->bytes;
}

uint64_t kvnode_head(const uint8_t *key, size_t klen, size_t plen)
{
    uint64_t h = 0;
    size_t n = klen > plen ? klen - plen : 0;

    if (n >= 8) {
        memcpy(&h, key + plen, 8);
        return __builtin_bswap64(h);
    }
    for (size_t i = 0; i < n; i++) {
        h |= (uint64_t)key[plen + i] << (56 - 8 * i);
    }
    return h;
}

size_t kvnode_common(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    size_t max = alen < blen ? alen : blen;
    size_t i = 0;

    while (i < max && a[i] == b[i]) {
        i++;
    }
    return i;
}

size_t kvnode_plen(const struct kvnode *n)
{
    size_t alen, blen;
    const uint8_t *a, *b;

    if (n->n <= kvnode_first(n)) {
        return 0;
    }
    a = kvnode_key(n, kvnode_first(n), &alen);
    b = kvnode_key(n, n->n - 1U, &blen);
    return kvnode_common(a, alen, b, blen);
}

void kvnode_refresh(struct kvnode *n)
{
    n->plen = (uint32_t)kvnode_plen(n);
    for (uint32_t i = kvnode_first(n); i < n->n; i++) {
        size_t len;
        const uint8_t *k = kvnode_key(n, i, &len);

        n->head[i] = kvnode_head(k, len, n->plen);
    }
}

uint32_t kvnode_find(const struct kvnode *n, const uint8_t *key, size_t klen, bool *ret_exact)
{
    uint32_t lo = kvnode_first(n);
    uint32_t hi = n->n;
    const uint8_t *k;
    uint64_t h;
    size_t len;
    int c;

    *ret_exact = false;
    if (lo >= hi) {
        return lo;
    }
    k = kvnode_key(n, lo, &len);
    c = memcmp(key, k, klen < n->plen ? klen : n->plen);
    if (c != 0) {
        return c < 0 ? lo : hi;
    }
    if (klen < n->plen) {
        return lo;
    }
    h = kvnode_head(key, klen, n->plen);
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (n->head[mid] == h) {
            k = kvnode_key(n, mid, &len);
            c = kv_key_cmp(k + n->plen, len - n->plen, key + n->plen, klen - n->plen);
        } else {
            c = n->head[mid] < h ? -1 : 1;
        }
        if (c == 0) {
            *ret_exact = true;
            return mid;
        }
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

uint32_t kvnode_child(const struct kvnode *n, const uint8_t *key, size_t klen)
{
    bool exact;
    uint32_t i = kvnode_find(n, key, klen, &exact);

    return exact ? i : i - 1;
}

static struct kvnode *node_copy(const struct kvnode *n)
{
    struct kvnode *c = kvnode_new(n->leaf);

    c->n = n->n;
    c->plen = n->plen;
    memcpy(c->head, n->head, sizeof(c->head));
    if (n->leaf) {
        memcpy(c->kv, n->kv, sizeof(c->kv));
        for (uint32_t i = 0; i < c->n; i++) {
            (void)kv_ref(c->kv[i]);
        }
        return c;
    }
    memcpy(c->child, n->child, sizeof(c->child));
    for (uint32_t i = 0; i < c->n; i++) {
        c->child[i]->refs++;
        if (i > 0) {
            c->sep[i] = n->sep[i];
            c->sep[i]->refs++;
        }
    }
    return c;
}

/* Make *slot ours alone. */
struct kvnode *kvnode_own(struct kvnode **slot)
{
    struct kvnode *n = *slot;

    if (n->refs > 1) {
        *slot = node_copy(n);
        n->refs--;
    }
    return *slot;
}
