#ifndef STORE_KVNODE_H
#define STORE_KVNODE_H

/* One node of the B+tree (kvtree.h): what kvtree.c and kvtree_iter.c share. */

#include "store/kvtree.h"

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

struct kvnode *kvnode_new(bool leaf);
void kvnode_unref(struct kvnode *n); /* NULL is fine; takes along what nobody else reaches */
struct kvnode *
kvnode_own(struct kvnode **slot);  /* *slot becomes a node that only this tree reaches */
void kvsep_unref(struct kvsep *s); /* NULL is fine */

uint32_t kvnode_first(const struct kvnode *n); /* the first entry that has a key */
const uint8_t *kvnode_key(const struct kvnode *n, uint32_t i, size_t *ret_len);
uint64_t kvnode_head(const uint8_t *key, size_t klen, size_t plen);
size_t kvnode_common(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen);
size_t kvnode_plen(const struct kvnode *n); /* as it should be */
void kvnode_refresh(struct kvnode *n);      /* plen and all heads anew */
/* The first entry whose key is >= key. */
uint32_t kvnode_find(const struct kvnode *n, const uint8_t *key, size_t klen, bool *ret_exact);
/* Which child of an inner node holds `key`. */
uint32_t kvnode_child(const struct kvnode *n, const uint8_t *key, size_t klen);

#endif
