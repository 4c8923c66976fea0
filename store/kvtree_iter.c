/* Walks over a tree, pinned or not, and its own checks. */

#include "store/kvtree.h"

#include <string.h>

#include "base/obj.h"
#include "store/kvnode.h"

void kvtree_seek(struct kvtree_iter *it, const struct kvnode *root, const void *key, size_t klen)
{
    const struct kvnode *n = root;
    bool exact;

    it->depth = 0;
    while (n != NULL) {
        CHECK(it->depth < KVTREE_DEPTH);
        it->node[it->depth] = n;
        if (n->leaf) {
            it->at[it->depth++] = kvnode_find(n, key, klen, &exact);
            return;
        }
        it->at[it->depth] = kvnode_child(n, key, klen);
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
    for (uint32_t i = kvnode_first(n); i < n->n; i++) {
        size_t alen, blen;
        const uint8_t *b = kvnode_key(n, i, &blen);
        const uint8_t *a;

        if (blen < n->plen || n->head[i] != kvnode_head(b, blen, n->plen)) {
            return false;
        }
        a = kvnode_key(n, i > kvnode_first(n) ? i - 1 : i, &alen);
        if (memcmp(a, b, n->plen) != 0 ||
            (i > kvnode_first(n) && kv_key_cmp(a, alen, b, blen) >= 0)) {
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
