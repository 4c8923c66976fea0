/* Starting from a directory: log and snapshot that fit, that do not, and that are damaged. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "raft/group_codec.h"
#include "raft/snapfile.h"
#include "raft/wal.h"
#include "tests/unit/raft_world.h"

static struct world w;
static uint64_t last_index, count, restored;

static void sm_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                     const struct rep_cmd *cmds, size_t n, struct buf *results)
{
    (void)ctx;
    (void)term;
    (void)leader_ms;
    (void)cmds;
    (void)results;
    assert_true(index > last_index);
    last_index = index;
    count += n;
}

static void *sm_begin(void *ctx)
{
    (void)ctx;
    return mem_dup(&count, sizeof(count));
}

static int sm_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    (void)ctx;
    return sink->write(sink, snap, sizeof(count), err);
}

static void sm_end(void *ctx, void *snap)
{
    (void)ctx;
    free(snap);
}

static int sm_restore(void *ctx, struct rep_source *source, struct err *err)
{
    (void)ctx;
    restored++;
    return source->read(source, &count, sizeof(count), err);
}

static struct rep_fsm sm_of(struct wnode *n)
{
    return (struct rep_fsm){ .ctx = n,
                             .apply = sm_apply,
                             .snap_begin = sm_begin,
                             .snap_write = sm_write,
                             .snap_end = sm_end,
                             .restore = sm_restore };
}

static struct rep_events events_of(struct wnode *n)
{
    (void)n;
    return (struct rep_events){ 0 };
}

/* --- making a directory --- */

static struct raft_buffer configuration(void)
{
    struct raft_configuration c;
    struct raft_buffer b;

    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 1, "n1@n1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&c, &b), 0);
    raft_configuration_close(&c);
    return b;
}

static void submit_now(void *ctx, enum rep_lane lane, struct rep_job *job)
{
    (void)ctx;
    (void)lane;
    job->run(job);
    job->done(job);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void no_fail(void *ctx, const char *why)
{
    (void)ctx;
    fail_msg("%s", why);
}

/* A log with the entries first..last of `term`; the first of all is the configuration. */
static void make_log(uint64_t first, uint64_t last, uint64_t term, bool configured)
{
    struct rep_env env = {
        .ctx = &w.nodes[0], .random = we_random, .submit = submit_now, .disk = &w.nodes[0].disk.disk
    };
    struct wal_opts opts = { .env = &env,
                             .segment_bytes = 4u << 20,
                             .dir = "n1",
                             .on_durable = nothing,
                             .on_fail = no_fail };
    struct wal_log log = { .base = first - 1 };
    struct wal_scan scan = { .batch_seq = 1 };
    struct raft_buffer conf = configuration();
    struct group g = { 0 };
    struct wal *wal;
    struct err err;

    group_add(&g, "x", 1);
    group_seal(&g, 1);
    assert_int_equal(wal_open(&opts, &log, &scan, &wal, &err), 0);
    wal_add_meta(wal, term, 0);
    for (uint64_t i = first; i <= last; i++) {
        if (i == 1 && configured) {
            wal_add_entry(wal, i, term, RAFT_CHANGE, conf.base, conf.len);
        } else {
            wal_add_entry(wal, i, term, RAFT_COMMAND, g.data, g.len);
        }
    }
    wal_kick(wal);
    assert_int_equal(wal_durable(wal), wal_pos(wal));
    wal_free(wal);
    group_done(&g);
    raft_free(conf.base);
}

static int fill(struct snap_content *c, struct rep_sink *sink, struct err *err)
{
    uint64_t v = 1000;

    (void)c;
    return sink->write(sink, &v, sizeof(v), err);
}

static void make_snapshot(uint64_t index, uint64_t term)
{
    struct snap_meta m = { .index = index, .term = term, .conf_index = 1, .conf = configuration() };
    struct snap_content c = { .fill = fill };
    struct err err;

    snap_name(index, term, m.name);
    assert_int_equal(snapfile_write(&w.nodes[0].disk.disk, &m, &c, &err), 0);
    snap_meta_done(&m);
}

static void run_ms(uint64_t ms)
{
    uint64_t until = w.now + ms;

    while (w.now < until) {
        world_step(&w);
    }
}

/* Starts, leads (it is the only voter) and has applied what is there. */
static void must_start(uint64_t last)
{
    struct err err;

    if (world_open(&w, 0, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    run_ms(1000);
    assert_true(rep_lead_ready(w.nodes[0].rep));
    assert_int_equal(rep_applied(w.nodes[0].rep), last + 1); /* and the barrier */
}

static void must_refuse(const char *text)
{
    struct err err;

    assert_int_equal(world_open(&w, 0, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, text));
    assert_non_null(strstr(err.msg, "new id"));
}

static int begin(void **state)
{
    (void)state;
    lg_set_level((enum lg_level)0);
    world_init(&w, 7);
    w.fsm = sm_of;
    w.events = events_of;
    w.snapshot_bytes = 1u << 20;
    last_index = count = restored = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_done(&w);
    return 0;
}

/* --- tests --- */

static void only_a_log(void **state)
{
    (void)state;
    make_log(1, 10, 2, true);
    must_start(10);
    assert_int_equal(count, 9);
    assert_int_equal(restored, 0);
}

/* All of it is committed at once, when the only voter leads: heartbeats must not wait for it, and
 * nobody is told that this node leads before its state is there. */
static void a_long_log_in_slices(void **state)
{
    uint64_t before = 0, most = 0, until = w.now + 1000;
    struct err err;

    (void)state;
    make_log(1, 300, 2, true);
    w.apply_slice = 1;
    assert_int_equal(world_open(&w, 0, &err), 0);
    while (w.now < until) {
        world_step(&w);
        most = count - before > most ? count - before : most;
        before = count;
        assert_true(count == 299 || !rep_lead_ready(w.nodes[0].rep));
        assert_true(count == 0 || rep_applied(w.nodes[0].rep) >= count);
        assert_true(count == 299 || rep_applied(w.nodes[0].rep) <= 1 + count);
    }
    assert_int_equal(count, 299);
    assert_in_range(most, 1, 10);
    assert_int_equal(rep_applied(w.nodes[0].rep), 301);
}

static void a_snapshot_inside_the_log(void **state)
{
    (void)state;
    make_log(1, 10, 2, true);
    make_snapshot(6, 2);
    must_start(10);
    assert_int_equal(count, 1000 + 4);
    assert_int_equal(restored, 1);
}

static void the_newest_snapshot_counts(void **state)
{
    (void)state;
    make_log(1, 10, 2, true);
    make_snapshot(3, 2);
    make_snapshot(10, 2);
    must_start(10);
    assert_int_equal(count, 1000);
}

/* The process ended between the installed snapshot's rename and the log's record of it. */
static void a_log_that_ends_before_the_snapshot(void **state)
{
    (void)state;
    make_log(1, 10, 2, true);
    make_snapshot(50, 3);
    must_start(50);
    assert_int_equal(count, 1000);
    /* And once more, from what was written since. */
    world_crash(&w, 0);
    last_index = count = 0;
    must_start(51);
    assert_int_equal(count, 1000);
}

static void a_log_that_contradicts_the_snapshot(void **state)
{
    (void)state;
    make_log(1, 80, 2, true);
    make_snapshot(50, 3); /* entry 50 is of term 3 there: ours were never committed */
    must_start(50);
    assert_int_equal(count, 1000);
}

static void a_log_without_what_is_before(void **state)
{
    (void)state;
    make_log(21, 30, 2, false);
    must_refuse("no snapshot of what is before");
    make_snapshot(5, 2);
    must_refuse("newest snapshot ends at 5");
    make_snapshot(20, 2);
    must_start(30);
    assert_int_equal(count, 1000 + 10);
}

static void a_log_without_a_configuration(void **state)
{
    (void)state;
    make_log(1, 3, 2, false);
    must_refuse("does not start with a configuration");
}

static void a_damaged_snapshot(void **state)
{
    const struct md_name *name;

    (void)state;
    make_log(1, 10, 2, true);
    make_snapshot(6, 2);
    name = md_find(&w.nodes[0].disk, "snap-0000000000000006-0000000000000002.snap");
    CHECK(name != NULL);
    name->inode->data[name->inode->size / 2] ^= 1;
    must_refuse("snap-0000000000000006");
    name->inode->data[name->inode->size / 2] ^= 1;
    name->inode->data[20] ^= 1;
    must_refuse("snap-0000000000000006");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_a_log),
        TEST(a_long_log_in_slices),
        TEST(a_snapshot_inside_the_log),
        TEST(the_newest_snapshot_counts),
        TEST(a_log_that_ends_before_the_snapshot),
        TEST(a_log_that_contradicts_the_snapshot),
        TEST(a_log_without_what_is_before),
        TEST(a_log_without_a_configuration),
        TEST(a_damaged_snapshot),
    };

    return cmocka_run_group_tests_name("raft_load", tests, NULL, NULL);
}
