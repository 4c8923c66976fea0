#include "store/kvtree.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

#define KVTREE_MIN 16U    /* below it a node looks for a neighbour to merge with */
#define KVTREE_MERGED 48U /* and only if the result leaves room */

/* A separator of an inner node: the shortest string s with left < s <= right. */
struct kvsep {
    uint32_t refs;
    uint32_t len;
    uint8_t bytes[];
};

/* Entry i of a leaf is kv[i]; of an inner node child[i] with all keys k: sep[i] <= k < sep[i + 1].
 * sep[0] is not used.  plen: bytes that all keys (separators) have in common; head[i]: the eight
 * bytes after them, big-endian, zero-padded. */
struct kvnode {
    uint32_t refs;
    uint16_t n;
    uint16_t leaf;
    uint32_t plen;
    uint64_t head[KVTREE_FANOUT];
    union {
        const struct kv *kv[KVTREE_FANOUT];
        struct kvnode *child[KVTREE_FANOUT];
    };
    struct kvsep *sep[]; /* KVTREE_FANOUT of an inner node, none of a leaf */
};

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

static struct kvnode *node_new(bool leaf)
{
    struct kvnode *n = mem_alloc(sizeof(*n) + (leaf ? 0 : KVTREE_FANOUT * sizeof(struct kvsep *)));

    n->refs = 1;
    n->leaf = leaf;
    return n;
}

static void sep_unref(struct kvsep *s)
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
        sep_unref(n->sep[i]);
    }
    free(n);
}

static void node_unref(struct kvnode *n)
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

static uint32_t node_first(const struct kvnode *n)
{
    return n->leaf ? 0 : 1;
}

static const uint8_t *node_key(const struct kvnode *n, uint32_t i, size_t *ret_len)
{
    if (n->leaf) {
        *ret_len = n->kv[i]->klen;
        return n->kv[i]->bytes;
    }
    *ret_len = n->sep[i]->len;
    return n->sep[i]->bytes;
}

static uint64_t key_head(const uint8_t *key, size_t klen, size_t plen)
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

static size_t common_prefix(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    size_t max = alen < blen ? alen : blen;
    size_t i = 0;

    while (i < max && a[i] == b[i]) {
        i++;
    }
    return i;
}

static size_t node_plen(const struct kvnode *n)
{
    size_t alen, blen;
    const uint8_t *a, *b;

    if (n->n <= node_first(n)) {
        return 0;
    }
    a = node_key(n, node_first(n), &alen);
    b = node_key(n, n->n - 1U, &blen);
    return common_prefix(a, alen, b, blen);
}

static void node_refresh(struct kvnode *n)
{
    n->plen = (uint32_t)node_plen(n);
    for (uint32_t i = node_first(n); i < n->n; i++) {
        size_t len;
        const uint8_t *k = node_key(n, i, &len);

        n->head[i] = key_head(k, len, n->plen);
    }
}

/* The first entry whose key is >= key. */
static uint32_t node_find(const struct kvnode *n, const uint8_t *key, size_t klen, bool *ret_exact)
{
    uint32_t lo = node_first(n);
    uint32_t hi = n->n;
    const uint8_t *k;
    uint64_t h;
    size_t len;
    int c;

    *ret_exact = false;
    if (lo >= hi) {
        return lo;
    }
    k = node_key(n, lo, &len);
    c = memcmp(key, k, klen < n->plen ? klen : n->plen);
    if (c != 0) {
        return c < 0 ? lo : hi;
    }
    if (klen < n->plen) {
        return lo;
    }
    h = key_head(key, klen, n->plen);
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (n->head[mid] == h) {
            k = node_key(n, mid, &len);
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

/* Which child of an inner node holds `key`. */
static uint32_t node_child(const struct kvnode *n, const uint8_t *key, size_t klen)
{
    bool exact;
    uint32_t i = node_find(n, key, klen, &exact);

    return exact ? i : i - 1;
}

static struct kvnode *node_copy(const struct kvnode *n)
{
    struct kvnode *c = node_new(n->leaf);

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
static struct kvnode *node_own(struct kvnode **slot)
{
    struct kvnode *n = *slot;

    if (n->refs > 1) {
        *slot = node_copy(n);
        n->refs--;
    }
    return *slot;
}

/* --- finding the way ---------------------------------------------------------------------------
 */

struct path {
    struct kvnode *node[KVTREE_DEPTH];
    uint32_t at[KVTREE_DEPTH]; /* which child was taken; of the leaf: the entry */
    uint32_t depth;
    bool exact;
};

/* Go down to the place of `key`; every node on the way becomes ours. */
static void path_down(struct kvtree *t, const uint8_t *key, size_t klen, struct path *p)
{
    struct kvnode **slot = &t->root;

    p->depth = 0;
    for (;;) {
        struct kvnode *n = node_own(slot);

        CHECK(p->depth < KVTREE_DEPTH);
        p->node[p->depth] = n;
        if (n->leaf) {
            p->at[p->depth++] = node_find(n, key, klen, &p->exact);
            return;
        }
        p->at[p->depth] = node_child(n, key, klen);
        slot = &n->child[p->at[p->depth++]];
    }
}

const struct kv *kvtree_get(const struct kvtree *t, const void *key, size_t klen)
{
    const struct kvnode *n = t->root;
    bool exact;
    uint32_t i;

    if (n == NULL) {
        return NULL;
    }
    while (!n->leaf) {
        n = n->child[node_child(n, key, klen)];
    }
    i = node_find(n, key, klen, &exact);
    return exact ? n->kv[i] : NULL;
}

/* --- insertion ---------------------------------------------------------------------------------
 */

static struct kvsep *sep_between(const struct kv *left, const struct kv *right)
{
    size_t len = common_prefix(left->bytes, left->klen, right->bytes, right->klen) + 1;
    struct kvsep *s;

    CHECK(len <= right->klen);
    s = mem_alloc(sizeof(*s) + len);
    s->refs = 1;
    s->len = (uint32_t)len;
    memcpy(s->bytes, right->bytes, len);
    return s;
}

/* Set the heads after entry i was inserted. */
static void node_inserted(struct kvnode *n, uint32_t i)
{
    size_t len;
    const uint8_t *k;

    if (n->n - node_first(n) == 1 || node_plen(n) != n->plen) {
        node_refresh(n);
        return;
    }
    k = node_key(n, i, &len);
    n->head[i] = key_head(k, len, n->plen);
}

static void leaf_insert(struct kvnode *n, uint32_t i, const struct kv *v)
{
    memmove(&n->kv[i + 1], &n->kv[i], (n->n - i) * sizeof(n->kv[0]));
    memmove(&n->head[i + 1], &n->head[i], (n->n - i) * sizeof(n->head[0]));
    n->kv[i] = v;
    n->n++;
    node_inserted(n, i);
}

static void inner_insert(struct kvnode *n, uint32_t i, struct kvsep *sep, struct kvnode *child)
{
    memmove(&n->child[i + 1], &n->child[i], (n->n - i) * sizeof(n->child[0]));
    memmove(&n->sep[i + 1], &n->sep[i], (n->n - i) * sizeof(struct kvsep *));
    memmove(&n->head[i + 1], &n->head[i], (n->n - i) * sizeof(n->head[0]));
    n->child[i] = child;
    n->sep[i] = sep;
    n->n++;
    node_inserted(n, i);
}

/* Move the entries from `mid` on to a new right neighbour. */
static struct kvnode *leaf_split(struct kvnode *n, uint32_t mid, struct kvsep **ret_sep)
{
    struct kvnode *r = node_new(true);

    r->n = (uint16_t)(n->n - mid);
    memcpy(r->kv, &n->kv[mid], r->n * sizeof(r->kv[0]));
    n->n = (uint16_t)mid;
    *ret_sep = sep_between(n->kv[mid - 1], r->kv[0]);
    node_refresh(n);
    node_refresh(r);
    return r;
}

static struct kvnode *inner_split(struct kvnode *n, uint32_t mid, struct kvsep **ret_sep)
{
    struct kvnode *r = node_new(false);

    r->n = (uint16_t)(n->n - mid);
    memcpy(r->child, &n->child[mid], r->n * sizeof(r->child[0]));
    memcpy(r->sep, &n->sep[mid], r->n * sizeof(struct kvsep *));
    *ret_sep = r->sep[0];
    r->sep[0] = NULL;
    n->n = (uint16_t)mid;
    node_refresh(n);
    node_refresh(r);
    return r;
}

/* Hang `right` in above level `depth`, splitting on the way up. */
static void path_up(struct kvtree *t, struct path *p, struct kvsep *sep, struct kvnode *right)
{
    uint32_t d = p->depth - 1;
    struct kvnode *root;

    while (d > 0) {
        struct kvnode *n = p->node[--d];
        uint32_t i = p->at[d] + 1;
        struct kvsep *up;
        struct kvnode *r;

        if (n->n < KVTREE_FANOUT) {
            inner_insert(n, i, sep, right);
            return;
        }
        r = inner_split(n, KVTREE_FANOUT / 2, &up);
        if (i >= KVTREE_FANOUT / 2 + 1) {
            inner_insert(r, i - KVTREE_FANOUT / 2, sep, right);
        } else {
            inner_insert(n, i, sep, right);
        }
        sep = up;
        right = r;
    }
    root = node_new(false);
    root->child[0] = t->root;
    root->n = 1;
    inner_insert(root, 1, sep, right);
    t->root = root;
}

const struct kv *kvtree_put(struct kvtree *t, const struct kv *v)
{
    struct kvnode *leaf, *right;
    struct kvsep *sep;
    struct path p;
    uint32_t i, mid;

    if (t->root == NULL) {
        t->root = node_new(true);
    }
    path_down(t, v->bytes, v->klen, &p);
    leaf = p.node[p.depth - 1];
    i = p.at[p.depth - 1];
    if (p.exact) {
        const struct kv *old = leaf->kv[i];

        leaf->kv[i] = v;
        return old;
    }
    t->count++;
    if (leaf->n < KVTREE_FANOUT) {
        leaf_insert(leaf, i, v);
        return NULL;
    }
    /* Keys that arrive in order fill their leaves instead of halving them. */
    mid = i == leaf->n ? leaf->n - 1U : KVTREE_FANOUT / 2;
    right = leaf_split(leaf, mid, &sep);
    if (kv_key_cmp(v->bytes, v->klen, sep->bytes, sep->len) >= 0) {
        leaf_insert(right, i - mid, v);
    } else {
        leaf_insert(leaf, i, v);
    }
    path_up(t, &p, sep, right);
    return NULL;
}

/* --- removal -----------------------------------------------------------------------------------
 */

static void node_remove(struct kvnode *n, uint32_t i)
{
    uint32_t tail = n->n - i - 1U;

    if (n->leaf) {
        memmove(&n->kv[i], &n->kv[i + 1], tail * sizeof(n->kv[0]));
    } else {
        memmove(&n->child[i], &n->child[i + 1], tail * sizeof(n->child[0]));
        memmove(&n->sep[i], &n->sep[i + 1], tail * sizeof(struct kvsep *));
    }
    memmove(&n->head[i], &n->head[i + 1], tail * sizeof(n->head[0]));
    n->n--;
}

/* Take child i out of n; its reference was used up or dropped by the caller. */
static void inner_remove(struct kvnode *n, uint32_t i)
{
    if (i == 0) {
        if (n->n > 1) {
            sep_unref(n->sep[1]);
        }
        node_remove(n, 0);
        if (n->n > 0) {
            n->sep[0] = NULL;
        }
    } else {
        sep_unref(n->sep[i]);
        node_remove(n, i);
    }
    node_refresh(n);
}

/* Append the content of r to l; `sep` parts them. */
static void node_append(struct kvnode *l, const struct kvnode *r, struct kvsep *sep)
{
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t at = l->n++;

        if (l->leaf) {
            l->kv[at] = kv_ref(r->kv[i]);
        } else {
            l->child[at] = r->child[i];
            l->child[at]->refs++;
            l->sep[at] = i == 0 ? sep : r->sep[i];
            l->sep[at]->refs++;
        }
    }
    node_refresh(l);
}

/* Merge children i and i + 1 of n when they are small enough together. */
static bool inner_merge(struct kvnode *n, uint32_t i)
{
    struct kvnode *r = n->child[i + 1];
    struct kvnode *l;

    if (n->child[i]->n + r->n > KVTREE_MERGED) {
        return false;
    }
    l = node_own(&n->child[i]);
    node_append(l, r, n->sep[i + 1]);
    inner_remove(n, i + 1);
    node_unref(r);
    return true;
}

/* After a removal from the node at depth d: merge or drop it, and go on upwards. */
static void path_shrink(struct kvtree *t, struct path *p)
{
    uint32_t d = p->depth - 1;

    for (; d > 0 && p->node[d]->n < KVTREE_MIN; d--) {
        struct kvnode *up = p->node[d - 1];
        uint32_t i = p->at[d - 1];

        if (p->node[d]->n == 0) {
            node_unref(p->node[d]);
            inner_remove(up, i);
        } else if (!(i + 1 < up->n && inner_merge(up, i)) && !(i > 0 && inner_merge(up, i - 1))) {
            return;
        }
    }
    while (t->root != NULL && !t->root->leaf && t->root->n == 1) {
        struct kvnode *old = t->root;

        t->root = old->child[0];
        t->root->refs++;
        node_unref(old);
    }
    if (t->root != NULL && t->root->n == 0) {
        node_unref(t->root);
        t->root = NULL;
    }
}

const struct kv *kvtree_del(struct kvtree *t, const void *key, size_t klen)
{
    const struct kv *old;
    struct kvnode *leaf;
    struct path p;

    if (kvtree_get(t, key, klen) == NULL) {
        return NULL;
    }
    path_down(t, key, klen, &p);
    CHECK(p.exact);
    leaf = p.node[p.depth - 1];
    old = leaf->kv[p.at[p.depth - 1]];
    node_remove(leaf, p.at[p.depth - 1]);
    t->count--;
    path_shrink(t, &p);
    return old;
}

/* --- whole tree --------------------------------------------------------------------------------
 */

void kvtree_done(struct kvtree *t)
{
    node_unref(t->root);
    t->root = NULL;
    t->count = 0;
}

struct kvnode *kvtree_pin(struct kvtree *t)
{
    if (t->root != NULL) {
        t->root->refs++;
    }
    return t->root;
}

void kvtree_unpin(struct kvnode *root)
{
    node_unref(root);
}

void kvtree_seek(struct kvtree_iter *it, const struct kvnode *root, const void *key, size_t klen)
{
    const struct kvnode *n = root;
    bool exact;

    it->depth = 0;
    while (n != NULL) {
        CHECK(it->depth < KVTREE_DEPTH);
        it->node[it->depth] = n;
        if (n->leaf) {
            it->at[it->depth++] = node_find(n, key, klen, &exact);
            return;
        }
        it->at[it->depth] = node_child(n, key, klen);
        n = n->child[it->at[it->depth++]];
    }
}

const struct kv *kvtree_next(struct kvtree_iter *it)
{
    while (it->depth > 0) {
        const struct kvnode *n = it->node[it->depth - 1];
        uint32_t *at = &it->at[it->depth - 1];

        if (n->leaf) {
            if (*at < n->n) {
                return n->kv[(*at)++];
            }
            it->depth--;
        } else if (++*at < n->n) {
            it->node[it->depth] = n->child[*at];
            it->at[it->depth] = 0;
            /* an inner child is entered at its first child: one before it, for the ++ above */
            if (!it->node[it->depth]->leaf) {
                it->at[it->depth] = UINT32_MAX;
            }
            it->depth++;
        } else {
            it->depth--;
        }
    }
    return NULL;
}

/* --- checking ----------------------------------------------------------------------------------
 */

static bool node_check(const struct kvnode *n)
{
    for (uint32_t i = node_first(n); i < n->n; i++) {
        size_t alen, blen;
        const uint8_t *b = node_key(n, i, &blen);
        const uint8_t *a;

        if (blen < n->plen || n->head[i] != key_head(b, blen, n->plen)) {
            return false;
        }
        a = node_key(n, i > node_first(n) ? i - 1 : i, &alen);
        if (memcmp(a, b, n->plen) != 0 ||
            (i > node_first(n) && kv_key_cmp(a, alen, b, blen) >= 0)) {
            return false;
        }
    }
    return n->refs > 0 && n->n > 0 && n->n <= KVTREE_FANOUT;
}

bool kvtree_check(const struct kvtree *t)
{
    const struct kv *prev = NULL;
    const struct kv *v;
    struct kvtree_iter it;
    size_t count = 0;

    kvtree_seek(&it, t->root, "", 0);
    while ((v = kvtree_next(&it)) != NULL) {
        for (uint32_t i = 0; i < it.depth; i++) {
            /* the whole path once a leaf: when its first entry is returned */
            if (it.at[it.depth - 1] == 1 && !node_check(it.node[i])) {
                return false;
            }
        }
        if (prev != NULL && kv_key_cmp(prev->bytes, prev->klen, v->bytes, v->klen) >= 0) {
            return false;
        }
        if (kvtree_get(t, v->bytes, v->klen) != v) {
            return false;
        }
        prev = v;
        count++;
    }
    return count == t->count;
}
