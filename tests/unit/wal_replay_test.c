/* The log on a disk that crashes: what was durable is there again, torn tails are told from damage.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <raft.h>

#include "base/log.h"
#include "raft/wal.h"
#include "tests/unit/raft_memdisk.h"

#define SEGMENT (4u << 20)

static struct memdisk disk;
static struct prng prng;
static struct rep_job *jobs, **jobs_tail = &jobs;
static bool failed;

static uint64_t env_random(void *ctx)
{
    (void)ctx;
    return prng_u64(&prng);
}

static void env_submit(void *ctx, enum rep_lane lane, struct rep_job *job)
{
    (void)ctx;
    (void)lane;
    job->next = NULL;
    *jobs_tail = job;
    jobs_tail = &job->next;
}

static struct rep_env env = { .random = env_random, .submit = env_submit };

static struct rep_job *next_job(void)
{
    struct rep_job *j = jobs;

    if (j != NULL) {
        jobs = j->next;
        if (jobs == NULL) {
            jobs_tail = &jobs;
        }
    }
    return j;
}

static void on_durable(void *ctx)
{
    (void)ctx;
}

static void on_fail(void *ctx, const char *why)
{
    (void)ctx;
    (void)why;
    failed = true;
}

static struct wal *w;
static struct wal_log wlog;
static struct wal_scan scan;

static int reopen(struct err *err)
{
    struct wal_opts opts = {
        .env = &env,
        .segment_bytes = SEGMENT,
        .dir = "DIR",
        .on_durable = on_durable,
        .on_fail = on_fail,
    };
    int rc;

    env.disk = &disk.disk;
    wal_log_done(&wlog);
    wal_scan_done(&scan);
    rc = wal_replay(&disk.disk, "DIR", &wlog, &scan, err);
    return rc != 0 ? rc : wal_open(&opts, &wlog, &scan, &w, err);
}

static void must_reopen(void)
{
    struct err err;

    if (reopen(&err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static void flush(void)
{
    struct rep_job *j;

    for (;;) {
        wal_kick(w);
        j = next_job();
        if (j == NULL) {
            break;
        }
        j->run(j);
        j->done(j);
    }
    assert_int_equal(wal_durable(w), wal_pos(w));
}

/* Give up the process: jobs that did not run are gone. */
static void drop(void)
{
    while (next_job() != NULL) {
    }
    wal_free(w);
    w = NULL;
}

static uint8_t payload[100000];

static void entry(uint64_t index, uint64_t term, size_t len)
{
    memset(payload, (int)(index * 7 + term), len);
    wal_add_entry(w, index, term, RAFT_COMMAND, payload, len);
}

static void check_entries(uint64_t first, uint64_t last)
{
    assert_int_equal(wlog.base + 1, first);
    assert_int_equal(wlog.n, last - first + 1);
    for (size_t i = 0; i < wlog.n; i++) {
        const struct wal_entry *e = &wlog.entries[i];
        uint64_t index = wlog.base + 1 + i;

        for (size_t k = 0; k < e->len; k++) {
            assert_int_equal(((uint8_t *)e->data)[k], (uint8_t)(index * 7 + e->term));
        }
    }
}

static int begin(void **state)
{
    (void)state;
    lg_set_level(LG_ERR);
    prng_init(&prng, 42);
    memdisk_init(&disk, &prng);
    failed = false;
    must_reopen();
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (w != NULL) {
        drop();
    }
    wal_log_done(&wlog);
    wal_scan_done(&scan);
    memdisk_done(&disk);
    return 0;
}

static void everything_comes_back(void **state)
{
    struct wal_ack acks[2] = { { 1, 2, 3 }, { 2, 2, 9 } };

    (void)state;
    wal_add_meta(w, 1, 0);
    wal_add_meta(w, 1, 2);
    for (uint64_t i = 1; i <= 10; i++) {
        entry(i, 1, 80);
    }
    flush();
    wal_add_truncate(w, 8);
    wal_add_meta(w, 5, 0);
    entry(8, 5, 16);
    wal_add_acks(w, acks, 2);
    flush();
    drop();
    must_reopen();
    assert_int_equal(wlog.term, 5);
    assert_int_equal(wlog.vote, 0);
    check_entries(1, 8);
    assert_int_equal(wlog.entries[7].term, 5);
    assert_int_equal(wlog.n_acks, 2);
    assert_int_equal(wlog.acks[1].index, 9);
    wal_add_reset(w, 50, 4);
    entry(51, 6, 8);
    flush();
    drop();
    must_reopen();
    check_entries(51, 51);
}

static void segments_are_recycled(void **state)
{
    size_t most = 0;
    uint64_t i;

    (void)state;
    wal_add_meta(w, 3, 7);
    for (i = 1; i <= 2000; i++) {
        entry(i, 3, 50000);
        if (i % 20 == 0) {
            flush();
            wal_drop(w, i > 100 ? i - 100 : 0);
            flush();
            most = disk.n > most ? disk.n : most;
        }
    }
    /* 100 MB went through; 100 entries are kept, that is two files, one written, one prepared. */
    assert_true(most <= 6);
    drop();
    must_reopen();
    assert_int_equal(wlog.term, 3);
    assert_int_equal(wlog.vote, 7);
    assert_true(wlog.base < 1901);
    check_entries(wlog.base + 1, 2000);
}

/* Cut the power in the middle of a write, many times and ways. */
static void torn_tail_is_given_up(void **state)
{
    uint64_t last = 0;
    unsigned torn = 0;

    (void)state;
    wal_add_meta(w, 1, 0);
    flush();
    for (int round = 0; round < 300; round++) {
        uint64_t n = 1 + prng_below(&prng, 20);
        struct rep_job *j;

        for (uint64_t i = 1; i <= n; i++) {
            entry(last + i, 1, 8 + prng_below(&prng, 3000));
        }
        if (round % 3 != 0) {
            flush();
            last += n;
            continue;
        }
        wal_kick(w);
        j = next_job();
        disk.tear = true;
        j->run(j);
        drop();
        memdisk_crash(&disk);
        must_reopen();
        torn += scan.torn;
        assert_true(wlog.n == last || wlog.n == last + n); /* all of the write or nothing */
        last = wlog.n;
        check_entries(1, last);
    }
    assert_true(torn > 20);
}

/* A recycled file holds whole batches of its earlier life right behind the new ones. */
static void stale_batches_are_no_records(void **state)
{
    uint64_t i = 1;

    (void)state;
    wal_add_meta(w, 1, 0);
    for (; i <= 2200; i++) { /* a block each, so that old and new ones begin at the same places */
        entry(i, 1, 100);
        flush();
        wal_drop(w, i > 50 ? i - 50 : 0);
        flush();
    }
    drop();
    must_reopen();
    assert_int_equal(wlog.base + wlog.n, 2200);
    check_entries(wlog.base + 1, 2200);
    assert_true(scan.n_segs <= 2);
    assert_true(scan.segs[scan.n_segs - 1].seq > 2); /* a recycled one */
    assert_false(scan.torn);
}

static void flip(const char *name, size_t off)
{
    const struct md_name *n = md_find(&disk, name);
    struct md_inode *i = n == NULL ? NULL : n->inode;

    CHECK(i != NULL);
    i->data[off] ^= 0x10;
    i->durable[off] ^= 0x10;
}

static void damage_is_refused(void **state)
{
    static const char name[] = "wal-0000000000000001.log";
    struct err err;
    size_t refused = 0, accepted = 0;

    (void)state;
    wal_add_meta(w, 1, 0);
    for (uint64_t i = 1; i <= 40; i++) {
        entry(i, 1, 200);
        flush();
    }
    drop();
    /* Head, 40 batches of one block each; the meta record shares the first one. */
    for (size_t block = 0; block <= 40; block++) {
        for (size_t off = 0; off < 200; off += 11) {
            flip(name, block * WAL_BLOCK + off);
            if (reopen(&err) == 0) {
                /* The last write of all cannot be told from a torn one. */
                assert_int_equal(block, 40);
                assert_int_equal(wlog.n, 39);
                accepted++;
                drop();
            } else {
                assert_int_equal(err.code, ERR_CORRUPT);
                assert_non_null(strstr(err.msg, name));
                assert_non_null(strstr(err.msg, "byte "));
                assert_non_null(strstr(err.msg, "new id"));
                refused++;
            }
            flip(name, block * WAL_BLOCK + off);
        }
    }
    assert_true(refused > 500 && accepted > 10);
    must_reopen();
    check_entries(1, 40);
}

static void missing_files_are_refused(void **state)
{
    struct err err;

    (void)state;
    wal_add_meta(w, 1, 0);
    for (uint64_t i = 1; i <= 300; i++) {
        entry(i, 1, 50000);
        flush();
    }
    drop();
    assert_int_equal(md_remove(&disk.disk, "wal-0000000000000002.log", &err), 0);
    assert_int_equal(reopen(&err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "wal-0000000000000003.log"));
}

static void full_disk_waits(void **state)
{
    uint64_t i = 1;

    (void)state;
    disk.room = 3 * SEGMENT + SEGMENT / 2; /* three, and half of the next */
    wal_add_meta(w, 1, 0);
    for (; i <= 200 && !wal_full(w); i++) {
        struct rep_job *j;

        entry(i, 1, 90000);
        wal_kick(w);
        while ((j = next_job()) != NULL) {
            j->run(j);
            j->done(j);
            wal_kick(w);
        }
    }
    assert_true(wal_full(w));
    assert_false(failed);
    assert_int_equal(wal_durable(w), wal_pos(w)); /* what was accepted is written */
    disk.room = 0;
    for (int k = 0; k < 40; k++) {
        wal_tick(w);
    }
    flush();
    assert_false(wal_full(w));
    for (uint64_t k = 0; k < 100; k++) {
        entry(i + k, 1, 90000);
    }
    flush();
    drop();
    must_reopen();
    check_entries(1, i + 99);
}

static void write_error_is_the_end(void **state)
{
    struct rep_job *j;

    (void)state;
    entry(1, 1, 8);
    disk.fail_writes = true;
    wal_kick(w);
    while ((j = next_job()) != NULL) {
        j->run(j);
        j->done(j);
    }
    assert_true(failed);
    assert_int_equal(wal_durable(w), 0);
    disk.fail_writes = false;
    wal_kick(w);
    assert_null(jobs); /* no second try */
}

/* Random operations against a model, with crashes: the state after a crash is that of a prefix of
 * what was collected, and never shorter than what was durable. */
struct model {
    uint64_t term, vote, base, n;
    uint64_t terms[4096];
};

static struct model history[4096];
static size_t n_history;

static void model_step(struct model *m)
{
    uint64_t what = prng_below(&prng, 20), last = m->base + m->n;

    if (what == 0) {
        m->term += 1 + prng_below(&prng, 2);
        m->vote = 0;
        wal_add_meta(w, m->term, 0);
    } else if (what == 1 && m->term > 0) {
        m->vote = 1 + prng_below(&prng, 3);
        wal_add_meta(w, m->term, m->vote);
    } else if (what == 2 && m->n > 0) {
        uint64_t index = m->base + 1 + prng_below(&prng, m->n);

        wal_add_truncate(w, index);
        m->n = index - m->base - 1;
    } else if (what == 3 && prng_below(&prng, 10) == 0) {
        m->base = last + prng_below(&prng, 5);
        m->n = 0;
        wal_add_reset(w, m->base, m->term + 1);
    } else if (m->n < 4000) {
        m->terms[m->n++] = m->term + 1;
        entry(m->base + m->n, m->term + 1, 8 + prng_below(&prng, 20000));
    }
}

static bool model_equal(const struct model *m)
{
    if (m->term != wlog.term || m->vote != wlog.vote || m->base != wlog.base || m->n != wlog.n) {
        return false;
    }
    for (uint64_t i = 0; i < m->n; i++) {
        if (m->terms[i] != wlog.entries[i].term) {
            return false;
        }
    }
    return true;
}

static void random_crashes(void **state)
{
    static struct model m;
    size_t durable = 0;

    (void)state;
    m = (struct model){ 0 };
    n_history = 0;
    history[n_history++] = m;
    for (int step = 0; step < 6000; step++) {
        struct rep_job *j;
        uint64_t pos = wal_pos(w);

        if (n_history < ARRAY_LEN(history)) {
            model_step(&m);
            if (wal_pos(w) > pos) {
                history[n_history++] = m;
            }
        }
        if (prng_below(&prng, 3) == 0) {
            wal_kick(w);
        }
        j = prng_below(&prng, 2) == 0 ? next_job() : NULL;
        if (j != NULL) {
            j->run(j);
            j->done(j);
            durable = wal_durable(w);
        }
        if (prng_below(&prng, 200) != 0 && n_history < ARRAY_LEN(history)) {
            continue;
        }
        j = next_job();
        if (j != NULL) { /* under way when the power went */
            disk.tear = true;
            j->run(j);
        }
        drop();
        memdisk_crash(&disk);
        must_reopen();
        {
            size_t k = n_history;

            while (k > durable && !model_equal(&history[k - 1])) {
                k--;
            }
            assert_true(k > durable);
            m = history[k - 1];
            check_entries(m.base + 1, m.base + m.n);
            history[0] = m;
            n_history = 1;
            durable = 0;
        }
    }
}

/* --- files that are whole, record by record, and make no log ---------------------------------- */

struct made {
    struct buf b;
    struct wal_head h;
    uint64_t batch;
};

static void made_begin(struct made *m, uint64_t log_id, uint64_t seq, uint64_t first,
                       uint64_t batch)
{
    static const uint8_t zero[WAL_BLOCK];

    *m = (struct made){ .batch = batch };
    m->h = (struct wal_head){ .log_id = log_id, .seq = seq, .first_index = first, .term = 3 };
    m->h.batch_seq = batch;
    buf_add(&m->b, zero, sizeof(zero));
}

static void made_record(struct made *m, enum wal_type type, uint64_t index, uint64_t term)
{
    struct wal_rec rec = { .type = type, .kind = RAFT_COMMAND, .index = index, .term = term };
    size_t at = m->b.len;

    rec.data = (const uint8_t *)"a command";
    rec.len = type == WAL_ENTRY ? 8 : 0;
    wal_batch_begin(&m->b);
    wal_batch_add(&m->b, m->h.log_id, m->batch, &rec);
    wal_batch_end(&m->b, at, m->h.log_id, m->batch++, 1);
}

static void made_end(struct made *m, size_t zeroes)
{
    struct rep_file *f;
    struct err err;
    char name[64];

    memset(buf_reserve(&m->b, zeroes), 0, zeroes);
    buf_commit(&m->b, zeroes);
    m->h.size = m->b.len;
    wal_head_encode(&m->h, m->b.data);
    wal_seg_name(m->h.seq, name);
    assert_int_equal(disk.disk.open(&disk.disk, name, REP_OPEN_NEW, &f, &err), 0);
    assert_int_equal(disk.disk.write(&disk.disk, f, 0, m->b.data, m->b.len, true, &err), 0);
    disk.disk.close(&disk.disk, f);
    buf_done(&m->b);
}

static int begin_made(void **state)
{
    (void)state;
    prng_init(&prng, 42);
    memdisk_init(&disk, &prng);
    return 0;
}

static int made_replay(struct err *err)
{
    wal_log_done(&wlog);
    wal_scan_done(&scan);
    return wal_replay(&disk.disk, "DIR", &wlog, &scan, err);
}

#define REFUSED(text)                                                                              \
    do {                                                                                           \
        struct err err_;                                                                           \
        assert_int_equal(made_replay(&err_), ERR_CORRUPT);                                         \
        if (strstr(err_.msg, text) == NULL) {                                                      \
            fail_msg("%s", err_.msg);                                                              \
        }                                                                                          \
    } while (0)

static void entries_follow_each_other(void **state)
{
    struct made m;
    struct err err;

    (void)state;
    made_begin(&m, 9, 1, 1, 1);
    made_record(&m, WAL_ENTRY, 1, 3);
    made_record(&m, WAL_ENTRY, 2, 3);
    made_end(&m, WAL_BLOCK);
    assert_int_equal(made_replay(&err), 0); /* so these are taken when they are right */
    assert_int_equal(wlog.n, 2);
    made_begin(&m, 9, 1, 1, 1);
    made_record(&m, WAL_ENTRY, 1, 3);
    made_record(&m, WAL_ENTRY, 3, 3);
    made_end(&m, WAL_BLOCK);
    REFUSED("does not follow");
    made_begin(&m, 9, 1, 1, 1);
    made_record(&m, WAL_META, 1, 7);
    made_record(&m, WAL_META, 1, 6);
    made_end(&m, WAL_BLOCK);
    REFUSED("term goes backwards");
}

static void files_belong_together(void **state)
{
    struct made m;
    struct err err;

    (void)state;
    for (unsigned what = 0; what < 4; what++) {
        made_begin(&m, 9, 1, 1, 1);
        made_record(&m, WAL_ENTRY, 1, 3);
        if (what != 2) {
            made_record(&m, WAL_ENTRY, 2, 3);
        }
        made_end(&m, what == 2 ? 2 * WAL_BLOCK : WAL_BLOCK); /* 2: the second one is wiped out */
        made_begin(&m, what == 1 ? 10 : 9, 2, what == 3 ? 4 : 3, 3);
        made_record(&m, WAL_ENTRY, 3, 3);
        made_end(&m, WAL_BLOCK);
        if (what == 0) {
            assert_int_equal(made_replay(&err), 0);
            assert_int_equal(wlog.n, 3);
        } else {
            REFUSED(what == 1 ? "another log" : "the next file goes on behind them");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(segments_are_recycled, begin, end),
        cmocka_unit_test_setup_teardown(stale_batches_are_no_records, begin, end),
        cmocka_unit_test_setup_teardown(torn_tail_is_given_up, begin, end),
        cmocka_unit_test_setup_teardown(damage_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(missing_files_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(full_disk_waits, begin, end),
        cmocka_unit_test_setup_teardown(write_error_is_the_end, begin, end),
        cmocka_unit_test_setup_teardown(random_crashes, begin, end),
        cmocka_unit_test_setup_teardown(entries_follow_each_other, begin_made, end),
        cmocka_unit_test_setup_teardown(files_belong_together, begin_made, end),
    };

    return cmocka_run_group_tests_name("wal_replay", tests, NULL, NULL);
}
