#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/obj.h"
#include "raft/wal_codec.h"

#define LOG_ID 0x1122334455667788ULL

static void build(struct buf *b, uint64_t seq, size_t n, size_t len)
{
    uint8_t data[4096];

    memset(data, 0xa5, sizeof(data));
    wal_batch_begin(b);
    for (size_t i = 0; i < n; i++) {
        wal_batch_add(b, LOG_ID, seq,
                      &(struct wal_rec){ .type = WAL_ENTRY,
                                         .kind = 1,
                                         .index = 10 + i,
                                         .term = 3,
                                         .data = data,
                                         .len = len + i });
    }
    wal_batch_end(b, 0, LOG_ID, seq, (uint32_t)n);
}

static void batch_round_trip(void **state)
{
    struct buf b = { 0 };
    struct wal_batch w;
    struct wal_rec rec;
    bool bad;

    (void)state;
    build(&b, 7, 5, 100);
    assert_int_equal(b.len % WAL_BLOCK, 0);
    assert_true(wal_batch_open(&w, b.data, b.len, LOG_ID));
    assert_int_equal(w.seq, 7);
    assert_int_equal(w.n_recs, 5);
    assert_int_equal(wal_batch_span(&w), b.len);
    assert_true(wal_batch_check(&w));
    for (size_t i = 0; i < 5; i++) {
        assert_true(wal_batch_next(&w, &rec, &bad));
        assert_int_equal(rec.type, WAL_ENTRY);
        assert_int_equal(rec.index, 10 + i);
        assert_int_equal(rec.term, 3);
        assert_int_equal(rec.len, 100 + i);
        assert_int_equal(rec.data[rec.len - 1], 0xa5);
    }
    assert_false(wal_batch_next(&w, &rec, &bad));
    assert_false(bad);
    assert_false(wal_batch_open(&w, b.data, b.len, LOG_ID + 1));
    assert_false(wal_batch_open(&w, b.data, WAL_BATCH_HEAD - 1, LOG_ID));
    buf_done(&b);
}

/* No single changed bit in head or records goes unnoticed. */
static void every_bit_counts(void **state)
{
    struct buf b = { 0 };
    struct wal_batch w;
    size_t unnoticed = 0, used;

    (void)state;
    build(&b, 9, 2, 64);
    used = WAL_BATCH_HEAD + wal_rec_size(64) + WAL_REC_HEAD + 65; /* padding is not covered */
    for (size_t i = 0; i < used * 8; i++) {
        b.data[i / 8] = (uint8_t)(b.data[i / 8] ^ (1U << (i % 8)));
        unnoticed += wal_batch_open(&w, b.data, b.len, LOG_ID) && w.seq == 9 && wal_batch_check(&w);
        b.data[i / 8] = (uint8_t)(b.data[i / 8] ^ (1U << (i % 8)));
    }
    assert_int_equal(unnoticed, 0);
    assert_true(wal_batch_open(&w, b.data, b.len, LOG_ID) && wal_batch_check(&w));
    buf_done(&b);
}

static void garbage_is_bounded(void **state)
{
    uint8_t data[512];
    struct wal_batch w;
    struct wal_rec rec;
    struct prng prng;
    bool bad;

    (void)state;
    prng_init(&prng, 5);
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof(data); i++) {
            data[i] = (uint8_t)prng_u64(&prng);
        }
        assert_false(wal_batch_open(&w, data, sizeof(data), LOG_ID));
        /* Records without a valid checksum, whatever their length says. */
        w = (struct wal_batch){
            .p = data, .len = sizeof(data), .n_recs = 3, .pos = WAL_BATCH_HEAD, .log_id = LOG_ID
        };
        assert_false(wal_batch_next(&w, &rec, &bad));
        assert_true(bad);
    }
}

static void head_round_trip(void **state)
{
    struct wal_head h = { .log_id = LOG_ID,
                          .seq = 3,
                          .size = 1 << 22,
                          .first_index = 99,
                          .batch_seq = 1234,
                          .term = 8,
                          .vote = 2,
                          .n_acks = 2,
                          .acks = { { 1, 2, 3 }, { 4, 5, 6 } } };
    uint8_t block[WAL_BLOCK];
    struct wal_head got;

    (void)state;
    wal_head_encode(&h, block);
    assert_true(wal_head_decode(block, &got));
    assert_memory_equal(&h, &got, sizeof(h));
    for (size_t i = 0; i < sizeof(block); i += 7) {
        block[i] ^= 0x40;
        assert_false(wal_head_decode(block, &got));
        block[i] ^= 0x40;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_round_trip),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(garbage_is_bounded),
        cmocka_unit_test(head_round_trip),
    };

    return cmocka_run_group_tests_name("wal_codec", tests, NULL, NULL);
}
