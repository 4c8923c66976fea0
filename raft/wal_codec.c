#include "raft/wal_codec.h"

#include <string.h>

#include "base/obj.h"
#include "raft/le.h"

/* Head block:  0 magic[8]  8 crc  12 version  16 log_id  24 seq  32 size  40 first_index
 *              48 batch_seq  56 term  64 vote  72 n_acks  80 acks
 * Batch head:  0 magic  4 crc  8 len  12 n_recs  16 seq  24 zero
 * Record:      0 crc  4 len  8 type  9 kind  10 zero[6]  16 index  24 term  32 data, padded to 8
 * A checksum covers everything behind itself in its head (and a record's data), and is seeded with
 * the log's id and the batch's number. */

#define HEAD_MAGIC "PICKETWL"
#define HEAD_VERSION 1u
#define HEAD_ACKS 80u
#define BATCH_MAGIC 0x42574b50u /* "PKWB" */

_Static_assert(HEAD_ACKS + WAL_ACKS_MAX * 24u <= WAL_BLOCK, "the acks fit into the head block");

static uint32_t wal_seed(uint64_t log_id, uint64_t batch_seq)
{
    uint8_t d[16];

    le_put64(d, log_id);
    le_put64(d + 8, batch_seq);
    return crc32c(0, d, sizeof(d));
}

size_t wal_acks_encode(const struct wal_ack *acks, size_t n, uint8_t *dst)
{
    for (size_t i = 0; i < n; i++, dst += 24) {
        le_put64(dst, acks[i].id);
        le_put64(dst + 8, acks[i].term);
        le_put64(dst + 16, acks[i].index);
    }
    return n * 24;
}

bool wal_acks_decode(const uint8_t *p, size_t len, struct wal_ack acks[WAL_ACKS_MAX], size_t *ret_n)
{
    if (len % 24 != 0 || len / 24 > WAL_ACKS_MAX) {
        return false;
    }
    *ret_n = len / 24;
    for (size_t i = 0; i < *ret_n; i++, p += 24) {
        acks[i] = (struct wal_ack){
            .id = le_get64(p),
            .term = le_get64(p + 8),
            .index = le_get64(p + 16),
        };
    }
    return true;
}

void wal_head_encode(const struct wal_head *h, uint8_t dst[WAL_BLOCK])
{
    CHECK(h->n_acks <= WAL_ACKS_MAX);
    memset(dst, 0, WAL_BLOCK);
    memcpy(dst, HEAD_MAGIC, 8);
    le_put32(dst + 12, HEAD_VERSION);
    le_put64(dst + 16, h->log_id);
    le_put64(dst + 24, h->seq);
    le_put64(dst + 32, h->size);
    le_put64(dst + 40, h->first_index);
    le_put64(dst + 48, h->batch_seq);
    le_put64(dst + 56, h->term);
    le_put64(dst + 64, h->vote);
    le_put64(dst + 72, h->n_acks);
    (void)wal_acks_encode(h->acks, h->n_acks, dst + HEAD_ACKS);
    le_put32(dst + 8, crc32c(0, dst + 12, WAL_BLOCK - 12));
}

bool wal_head_decode(const uint8_t src[WAL_BLOCK], struct wal_head *ret)
{
    uint64_t n_acks = le_get64(src + 72);

    if (memcmp(src, HEAD_MAGIC, 8) != 0 || le_get32(src + 12) != HEAD_VERSION ||
        le_get32(src + 8) != crc32c(0, src + 12, WAL_BLOCK - 12) || n_acks > WAL_ACKS_MAX) {
        return false;
    }
    *ret = (struct wal_head){
        .log_id = le_get64(src + 16),
        .seq = le_get64(src + 24),
        .size = le_get64(src + 32),
        .first_index = le_get64(src + 40),
        .batch_seq = le_get64(src + 48),
        .term = le_get64(src + 56),
        .vote = le_get64(src + 64),
    };
    return wal_acks_decode(src + HEAD_ACKS, (size_t)n_acks * 24, ret->acks, &ret->n_acks);
}

size_t wal_rec_size(size_t data_len)
{
    return WAL_REC_HEAD + (data_len + 7) / 8 * 8;
}

void wal_batch_begin(struct buf *b)
{
    static const uint8_t zero[WAL_BATCH_HEAD];

    buf_add(b, zero, sizeof(zero));
}

void wal_batch_add(struct buf *b, uint64_t log_id, uint64_t batch_seq, const struct wal_rec *rec)
{
    size_t size = wal_rec_size(rec->len);
    uint8_t *p = buf_reserve(b, size);

    CHECK(p != NULL);
    CHECK(rec->len <= WAL_ENTRY_MAX);
    memset(p, 0, WAL_REC_HEAD);
    memset(p + size - 8, 0, 8);
    le_put32(p + 4, (uint32_t)rec->len);
    p[8] = (uint8_t)rec->type;
    p[9] = rec->kind;
    le_put64(p + 16, rec->index);
    le_put64(p + 24, rec->term);
    if (rec->len > 0) {
        memcpy(p + WAL_REC_HEAD, rec->data, rec->len);
    }
    le_put32(p, crc32c(wal_seed(log_id, batch_seq), p + 4, WAL_REC_HEAD - 4 + rec->len));
    buf_commit(b, size);
}

void wal_batch_end(struct buf *b, size_t at, uint64_t log_id, uint64_t batch_seq, uint32_t n_recs)
{
    size_t len = b->len - at;
    size_t pad = (WAL_BLOCK - len % WAL_BLOCK) % WAL_BLOCK;
    uint8_t *p = buf_reserve(b, pad);

    CHECK(p != NULL);
    memset(p, 0, pad);
    buf_commit(b, pad);
    p = b->data + at;
    le_put32(p, BATCH_MAGIC);
    le_put32(p + 8, (uint32_t)len);
    le_put32(p + 12, n_recs);
    le_put64(p + 16, batch_seq);
    le_put64(p + 24, 0);
    le_put32(p + 4, crc32c(wal_seed(log_id, batch_seq), p + 8, WAL_BATCH_HEAD - 8));
}

bool wal_batch_open(struct wal_batch *b, const uint8_t *p, size_t len, uint64_t log_id)
{
    uint64_t seq;
    uint32_t size;

    if (len < WAL_BATCH_HEAD || le_get32(p) != BATCH_MAGIC) {
        return false;
    }
    size = le_get32(p + 8);
    seq = le_get64(p + 16);
    if (size < WAL_BATCH_HEAD || size > len ||
        le_get32(p + 4) != crc32c(wal_seed(log_id, seq), p + 8, WAL_BATCH_HEAD - 8)) {
        return false;
    }
    *b = (struct wal_batch){
        .seq = seq,
        .n_recs = le_get32(p + 12),
        .len = size,
        .p = p,
        .log_id = log_id,
        .pos = WAL_BATCH_HEAD,
    };
    return true;
}

bool wal_batch_maybe(const uint8_t *p)
{
    return le_get32(p) == BATCH_MAGIC;
}

bool wal_batch_next(struct wal_batch *b, struct wal_rec *ret, bool *ret_bad)
{
    const uint8_t *p = b->p + b->pos;
    size_t left = b->len - b->pos;
    size_t len;

    *ret_bad = false;
    if (b->n_recs == 0 && left == 0) {
        return false;
    }
    *ret_bad = true;
    if (b->n_recs == 0 || left < WAL_REC_HEAD) {
        return false;
    }
    len = le_get32(p + 4);
    if (len > WAL_ENTRY_MAX || wal_rec_size(len) > left || p[8] < WAL_ENTRY || p[8] > WAL_ACKS ||
        le_get32(p) != crc32c(wal_seed(b->log_id, b->seq), p + 4, WAL_REC_HEAD - 4 + len)) {
        return false;
    }
    *ret = (struct wal_rec){
        .type = (enum wal_type)p[8],
        .kind = p[9],
        .index = le_get64(p + 16),
        .term = le_get64(p + 24),
        .data = p + WAL_REC_HEAD,
        .len = len,
    };
    b->pos += wal_rec_size(len);
    b->n_recs--;
    *ret_bad = false;
    return true;
}

bool wal_batch_check(const struct wal_batch *b)
{
    struct wal_batch copy = *b;
    struct wal_rec rec;
    bool bad;

    while (wal_batch_next(&copy, &rec, &bad)) {
    }
    return !bad;
}

size_t wal_batch_span(const struct wal_batch *b)
{
    return (b->len + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
}
