/* Where the log's writes are made: on the loop's thread only for followers, while the disk is
 * quick. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <raft.h>

#include "raft/wal.h"
#include "tests/unit/raft_memdisk.h"

static struct memdisk disk;
static struct prng prng;
static struct rep_job *job; /* the log's only one */
static enum rep_lane lane;
static struct wal *w;
static struct wal_log wlog;
static struct wal_scan scan;
static uint64_t now_us, took_us; /* each write takes that long */
static uint64_t next_index = 1;

static uint64_t env_random(void *ctx)
{
    (void)ctx;
    return prng_u64(&prng);
}

/* Called before and after a write. */
static uint64_t env_now_us(void *ctx)
{
    (void)ctx;
    now_us += took_us;
    return now_us;
}

static void env_submit(void *ctx, enum rep_lane to, struct rep_job *j)
{
    (void)ctx;
    if (to == REP_LANE_FILE) { /* the next segment */
        j->run(j);
        j->done(j);
        return;
    }
    assert_null(job);
    job = j;
    lane = to;
}

static struct rep_env env = { .random = env_random, .submit = env_submit, .now_us = env_now_us };

static void on_durable(void *ctx)
{
    (void)ctx;
}

static void on_fail(void *ctx, const char *why)
{
    (void)ctx;
    fail_msg("%s", why);
}

/* One write of so many bytes that takes `us`: where was it made? */
static enum rep_lane one(size_t len, uint64_t us)
{
    static uint8_t payload[200000];
    struct rep_job *j;

    took_us = us;
    wal_add_entry(w, next_index++, 1, RAFT_COMMAND, payload, len);
    wal_kick(w);
    j = job;
    job = NULL;
    assert_non_null(j);
    j->run(j);
    j->done(j);
    assert_int_equal(wal_durable(w), wal_pos(w));
    return lane;
}

static enum rep_lane many(unsigned n, uint64_t us)
{
    for (unsigned i = 1; i < n; i++) {
        (void)one(100, us);
    }
    return one(100, us);
}

static int begin(void **state)
{
    struct wal_opts opts = { .env = &env,
                             .segment_bytes = 64U << 20,
                             .dir = "DIR",
                             .on_durable = on_durable,
                             .on_fail = on_fail };
    struct err err;

    (void)state;
    prng_init(&prng, 1);
    memdisk_init(&disk, &prng);
    env.disk = &disk.disk;
    env.now_us = env_now_us;
    next_index = 1;
    assert_int_equal(wal_replay(&disk.disk, "DIR", &wlog, &scan, &err), 0);
    assert_int_equal(wal_open(&opts, &wlog, &scan, &w, &err), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    wal_free(w);
    wal_log_done(&wlog);
    wal_scan_done(&scan);
    memdisk_done(&disk);
    return 0;
}

static void only_where_it_may(void **state)
{
    (void)state;
    assert_int_equal(many(100, 100), REP_LANE_WAL); /* a leader */
    wal_here(w, true);
    assert_int_equal(many(100, 100), REP_LANE_HERE);
    wal_here(w, false);
    assert_int_equal(many(2, 100), REP_LANE_WAL);
}

static void the_disk_is_seen_first(void **state)
{
    (void)state;
    wal_here(w, true);
    assert_int_equal(many(10, 100), REP_LANE_WAL);
    assert_int_equal(many(30, 100), REP_LANE_HERE);
}

static void a_slow_disk_is_left_to_the_lane(void **state)
{
    (void)state;
    wal_here(w, true);
    assert_int_equal(many(200, 3000), REP_LANE_WAL);
    (void)many(40, 100);
    assert_int_equal(one(100, 100), REP_LANE_HERE);
    (void)many(6, 3000); /* a few do not matter */
    assert_int_equal(one(100, 100), REP_LANE_HERE);
    (void)many(12, 3000);
    assert_int_equal(one(100, 100), REP_LANE_WAL);
}

/* The loop stood still for it: that is not to happen often. */
static void a_long_write_is_not_forgotten(void **state)
{
    (void)state;
    wal_here(w, true);
    (void)many(40, 100);
    assert_int_equal(one(100, 50000), REP_LANE_HERE);
    assert_int_equal(many(4000, 100), REP_LANE_WAL);
    assert_int_equal(many(200, 100), REP_LANE_HERE);
}

static void large_writes_go_to_the_lane(void **state)
{
    (void)state;
    wal_here(w, true);
    (void)many(40, 100);
    assert_int_equal(one(150000, 100), REP_LANE_WAL);
    assert_int_equal(one(100, 100), REP_LANE_HERE);
}

/* As in the simulators. */
static void what_is_not_timed_goes_to_the_lane(void **state)
{
    (void)state;
    env.now_us = NULL;
    wal_here(w, true);
    assert_int_equal(many(100, 100), REP_LANE_WAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_where_it_may, begin, end),
        cmocka_unit_test_setup_teardown(the_disk_is_seen_first, begin, end),
        cmocka_unit_test_setup_teardown(a_slow_disk_is_left_to_the_lane, begin, end),
        cmocka_unit_test_setup_teardown(a_long_write_is_not_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(large_writes_go_to_the_lane, begin, end),
        cmocka_unit_test_setup_teardown(what_is_not_timed_goes_to_the_lane, begin, end),
    };

    return cmocka_run_group_tests_name("wal_here", tests, NULL, NULL);
}
