/* A log directory from nowhere.  Replaying it ends with a log or with a message, and what was
 * replayed once replays the same again.
 *
 * The first byte chooses.  Even: the bytes are files as they are, each behind its length in blocks
 * of 512 bytes.  Odd: they are records (type, kind, index, term, length, data), put into batches
 * with the right checksums by the real encoders, so that the replay itself is reached; then changes
 * of single bytes.  Seeds: tests/fuzz/seeds.c.
 */

#include <stdlib.h>
#include <string.h>

#include <raft.h>

#include "base/obj.h"
#include "raft/wal.h"
#include "tests/unit/raft_memdisk.h"

#define LOG_ID 77U
#define FILE_MAX (256U << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_file(struct memdisk *d, uint64_t seq, const void *data, size_t len)
{
    struct rep_file *f;
    struct err err;
    char name[64];

    wal_seg_name(seq, name);
    CHECK(d->disk.open(&d->disk, name, REP_OPEN_NEW, &f, &err) == 0);
    CHECK(d->disk.write(&d->disk, f, 0, data, len, true, &err) == 0);
    d->disk.close(&d->disk, f);
}

static void raw_files(struct memdisk *d, const uint8_t *p, size_t size)
{
    for (uint64_t seq = 1; size > 1 && seq < 8; seq++) {
        size_t len = (size_t)p[0] * 512;

        p++;
        size--;
        len = len < size ? len : size;
        put_file(d, seq, p, len);
        p += len;
        size -= len;
    }
}

/* One record from the input; false: there is no more. */
static bool take_record(struct rd *r, struct wal_rec *rec)
{
    uint8_t type = rd_u8(r), kind = rd_u8(r);

    *rec = (struct wal_rec){ .type = (enum wal_type)(WAL_ENTRY + type % WAL_ACKS), .kind = kind };
    rec->index = rd_u16(r);
    rec->term = rd_u8(r);
    rec->len = rd_u8(r);
    rec->data = rd_bytes(r, rec->len);
    return !r->bad;
}

static void some_batches(struct buf *file, struct rd *r, uint64_t *batch)
{
    uint8_t batches = rd_u8(r) % 8;

    for (uint8_t b = 0; b < batches && !r->bad; b++) {
        uint8_t n = rd_u8(r) % 8;
        size_t at = file->len;
        struct wal_rec rec;
        uint32_t made = 0;

        wal_batch_begin(file);
        while (made < n && take_record(r, &rec)) {
            wal_batch_add(file, LOG_ID, *batch, &rec);
            made++;
        }
        wal_batch_end(file, at, LOG_ID, (*batch)++, made);
    }
}

static void made_files(struct memdisk *d, const uint8_t *p, size_t size)
{
    struct rd r = rd_make(p, size);
    uint64_t batch = 1;

    for (uint64_t seq = 1; rd_left(&r) > 4 && seq < 5; seq++) {
        struct wal_head h = { .log_id = LOG_ID, .seq = seq, .batch_seq = batch };
        uint8_t block[WAL_BLOCK], edits;
        struct buf file = { 0 };

        h.first_index = rd_u16(&r);
        h.term = rd_u8(&r);
        h.vote = rd_u8(&r) % 4;
        memset(block, 0, sizeof(block));
        buf_add(&file, block, sizeof(block));
        some_batches(&file, &r, &batch);
        memset(buf_reserve(&file, WAL_BLOCK), 0, WAL_BLOCK);
        buf_commit(&file, WAL_BLOCK);
        h.size = file.len;
        wal_head_encode(&h, file.data);
        edits = rd_u8(&r) % 4;
        for (uint8_t i = 0; i < edits; i++) {
            file.data[rd_u32(&r) % file.len] ^= rd_u8(&r);
        }
        CHECK(file.len < FILE_MAX);
        put_file(d, seq, file.data, file.len);
        buf_done(&file);
    }
}

static uint64_t log_hash(const struct wal_log *l)
{
    uint32_t h = crc32c(0, &l->base, sizeof(l->base));

    h = crc32c(h, &l->term, sizeof(l->term));
    h = crc32c(h, &l->vote, sizeof(l->vote));
    for (size_t i = 0; i < l->n; i++) {
        h = crc32c(h, &l->entries[i].term, sizeof(uint64_t));
        h = crc32c(h, l->entries[i].data, l->entries[i].len);
    }
    return h + ((uint64_t)l->n << 32);
}

static int replay(struct memdisk *d, uint64_t *ret_hash)
{
    struct wal_scan scan;
    struct wal_log log;
    struct err err = { 0 };
    int rc = wal_replay(&d->disk, "DIR", &log, &scan, &err);

    if (rc == 0) {
        CHECK(scan.n_segs == 0 || scan.end >= WAL_BLOCK);
        *ret_hash = log_hash(&log);
    } else {
        CHECK(rc == ERR_CORRUPT);
        CHECK(strstr(err.msg, "wal-") != NULL);
    }
    wal_log_done(&log);
    wal_scan_done(&scan);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memdisk d;
    struct prng prng;
    uint64_t first = 0, second = 0;

    if (size < 2) {
        return 0;
    }
    prng_init(&prng, 1);
    memdisk_init(&d, &prng);
    if ((data[0] & 1) == 0) {
        raw_files(&d, data + 1, size - 1);
    } else {
        made_files(&d, data + 1, size - 1);
    }
    if (replay(&d, &first) == 0) {
        CHECK(replay(&d, &second) == 0);
        CHECK(first == second);
    }
    memdisk_done(&d);
    return 0;
}
