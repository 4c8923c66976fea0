#ifndef STORE_KVTREE_H
#define STORE_KVTREE_H

/* A copy-on-write B+tree from byte strings to struct kv, ordered by memcmp.
 *
 * A node that only this tree reaches is changed in place; a node that a pinned root reaches too
 * (references > 1) is copied on the way down.  So pinning is O(1) and costs a copy of what changes
 * afterwards, nothing more.  Everything happens on the owner's thread, except that another thread
 * may read (seek, next) below a pinned root until it is unpinned: nothing reachable from there is
 * changed but reference counts, which readers do not look at.
 *
 * Search is by eight-byte heads behind the prefix that all keys of a node share, so that a lookup
 * touches few cache lines although all keys of a kind begin alike.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define KVTREE_FANOUT 64U
#define KVTREE_DEPTH 16U /* 8^16 keys even when every node is at its emptiest */

struct kvnode;

struct kvtree {
    struct kvnode *root; /* NULL: empty */
    size_t count;
};

void kvtree_done(struct kvtree *t);
const struct kv *kvtree_get(const struct kvtree *t, const void *key, size_t klen);
/* Takes over one reference of v.  Returns what v replaced, with its reference, or NULL. */
const struct kv *kvtree_put(struct kvtree *t, const struct kv *v);
/* Returns what was removed, with its reference, or NULL. */
const struct kv *kvtree_del(struct kvtree *t, const void *key, size_t klen);

struct kvnode *kvtree_pin(struct kvtree *t); /* NULL when empty */
void kvtree_unpin(struct kvnode *root);      /* NULL is fine */

/* Nodes that nobody reaches any more, taken apart in small steps: after a long pin there are many.
 * A zeroed struct is empty. */
struct kvtrash {
    struct kvnode **nodes;
    size_t n, cap;
};
void kvtrash_unpin(struct kvtrash *t, struct kvnode *root); /* as kvtree_unpin, but later */
void kvtrash_step(struct kvtrash *t, size_t max_nodes);
void kvtrash_done(struct kvtrash *t); /* all of it, now */

/* Walks in key order; invalid after any change of the tree that it walks. */
struct kvtree_iter {
    const struct kvnode *node[KVTREE_DEPTH];
    uint32_t at[KVTREE_DEPTH];
    uint32_t depth;
};

/* Stand before the first key >= key.  root may be NULL. */
void kvtree_seek(struct kvtree_iter *it, const struct kvnode *root, const void *key, size_t klen);
const struct kv *kvtree_next(struct kvtree_iter *it); /* borrowed; NULL at the end */

/* Whether order, separators, fill and counts are as they must be (tests and fuzzing). */
bool kvtree_check(const struct kvtree *t);

/* memcmp order of byte strings: shorter first when one begins the other. */
int kv_key_cmp(const void *a, size_t alen, const void *b, size_t blen);

#endif
