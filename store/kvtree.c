#include "store/kvtree.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "store/kvnode.h"

#define KVTREE_MIN 16U    /* below it a node looks for a neighbour to merge with */
#define KVTREE_MERGED 48U /* and only if the result leaves room */

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
        struct kvnode *n = kvnode_own(slot);

        CHECK(p->depth < KVTREE_DEPTH);
        p->node[p->depth] = n;
        if (n->leaf) {
            p->at[p->depth++] = kvnode_find(n, key, klen, &p->exact);
            return;
        }
        p->at[p->depth] = kvnode_child(n, key, klen);
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
        n = n->child[kvnode_child(n, key, klen)];
    }
    i = kvnode_find(n, key, klen, &exact);
    return exact ? n->kv[i] : NULL;
}

/* --- insertion ---------------------------------------------------------------------------------
 */

static struct kvsep *sep_between(const struct kv *left, const struct kv *right)
{
    size_t len = kvnode_common(left->bytes, left->klen, right->bytes, right->klen) + 1;
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

    if (n->n - kvnode_first(n) == 1 || kvnode_plen(n) != n->plen) {
        kvnode_refresh(n);
        return;
    }
    k = kvnode_key(n, i, &len);
    n->head[i] = kvnode_head(k, len, n->plen);
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
    struct kvnode *r = kvnode_new(true);

    r->n = (uint16_t)(n->n - mid);
    memcpy(r->kv, &n->kv[mid], r->n * sizeof(r->kv[0]));
    n->n = (uint16_t)mid;
    *ret_sep = sep_between(n->kv[mid - 1], r->kv[0]);
    kvnode_refresh(n);
    kvnode_refresh(r);
    return r;
}

static struct kvnode *inner_split(struct kvnode *n, uint32_t mid, struct kvsep **ret_sep)
{
    struct kvnode *r = kvnode_new(false);

    r->n = (uint16_t)(n->n - mid);
    memcpy(r->child, &n->child[mid], r->n * sizeof(r->child[0]));
    memcpy(r->sep, &n->sep[mid], r->n * sizeof(struct kvsep *));
    *ret_sep = r->sep[0];
    r->sep[0] = NULL;
    n->n = (uint16_t)mid;
    kvnode_refresh(n);
    kvnode_refresh(r);
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
    root = kvnode_new(false);
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
        t->root = kvnode_new(true);
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
            kvsep_unref(n->sep[1]);
        }
        node_remove(n, 0);
        if (n->n > 0) {
            n->sep[0] = NULL;
        }
    } else {
        kvsep_unref(n->sep[i]);
        node_remove(n, i);
    }
    kvnode_refresh(n);
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
    kvnode_refresh(l);
}

/* Merge children i and i + 1 of n when they are small enough together. */
static bool inner_merge(struct kvnode *n, uint32_t i)
{
    struct kvnode *r = n->child[i + 1];
    struct kvnode *l;

    if (n->child[i]->n + r->n > KVTREE_MERGED) {
        return false;
    }
    l = kvnode_own(&n->child[i]);
    node_append(l, r, n->sep[i + 1]);
    inner_remove(n, i + 1);
    kvnode_unref(r);
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
            kvnode_unref(p->node[d]);
            inner_remove(up, i);
        } else if (!(i + 1 < up->n && inner_merge(up, i)) && !(i > 0 && inner_merge(up, i - 1))) {
            return;
        }
    }
    while (t->root != NULL && !t->root->leaf && t->root->n == 1) {
        struct kvnode *old = t->root;

        t->root = old->child[0];
        t->root->refs++;
        kvnode_unref(old);
    }
    if (t->root != NULL && t->root->n == 0) {
        kvnode_unref(t->root);
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
    kvnode_unref(t->root);
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
    kvnode_unref(root);
}
