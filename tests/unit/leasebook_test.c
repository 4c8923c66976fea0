/* Deadlines of raw leases in the leader's memory. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/obj.h"
#include "cmd/picketd/leasebook_sm.h"

static struct store *s;
static struct leasebook b;
static uint64_t applied;

static int setup(void **state)
{
    (void)state;
    s = store_new(NULL);
    b = (struct leasebook){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    leasebook_close(&b);
    store_free(s);
    return 0;
}

static void lease(uint64_t id, uint64_t ttl)
{
    struct cmd c = { .op = CMD_LEASE, .actor = { ACTOR_RAW, "t", 0 }, .number = id };
    struct buf cmd = { 0 }, answer = { 0 };
    struct err err;

    c.number2 = ttl;
    assert_int_equal(cmd_encode(&c, &cmd, &err), 0);
    store_apply(s, ++applied, 1, 1, cmd.data, cmd.len, &answer);
    buf_done(&cmd);
    buf_done(&answer);
}

static size_t due(uint64_t now)
{
    uint64_t ids[8];

    leasebook_pull(&b, now);
    return leasebook_due(&b, now, ids, ARRAY_LEN(ids));
}

static void time_ends_it(void **state)
{
    (void)state;
    leasebook_open(&b, s, 1000);
    lease(5, 10);
    assert_int_equal(due(1000), 0);
    assert_int_equal(due(10999), 0);
    assert_int_equal(due(11000), 1);
    assert_int_equal(due(12000), 0); /* proposed once */
    leasebook_not_ended(&b, 5, 12000);
    assert_int_equal(due(12999), 0);
    assert_int_equal(due(13000), 1);
    lease(5, 0);
    leasebook_pull(&b, 14000);
    assert_int_equal(leasebook_ask(&b, 5, true, 14000).ttl_s, 0);
}

static void keeping_extends_it(void **state)
{
    (void)state;
    leasebook_open(&b, s, 0);
    lease(5, 10);
    leasebook_pull(&b, 0);
    assert_int_equal(leasebook_ask(&b, 5, false, 9000).left_s, 1);
    assert_int_equal(leasebook_ask(&b, 5, true, 9000).left_s, 10);
    assert_int_equal(due(18999), 0);
    assert_int_equal(due(19000), 1);
    assert_int_equal(leasebook_ask(&b, 6, true, 9000).ttl_s, 0);
}

/* From the moment that its end was proposed nobody may be told that it lives. */
static void no_way_back_from_the_end(void **state)
{
    (void)state;
    leasebook_open(&b, s, 0);
    lease(5, 10);
    assert_int_equal(due(0), 0);
    assert_int_equal(due(10000), 1);
    assert_int_equal(leasebook_ask(&b, 5, true, 10001).left_s, 0);
    assert_int_equal(leasebook_ask(&b, 5, true, 10001).ttl_s, 10);
    leasebook_not_ended(&b, 5, 10002);
    assert_int_equal(leasebook_ask(&b, 5, true, 10003).left_s, 0);
    assert_int_equal(due(11002), 1);
}

/* A new leader knows nothing of what the one before was told. */
static void a_new_leader_gives_the_full_time(void **state)
{
    (void)state;
    lease(5, 10);
    lease(300, 70000);
    leasebook_open(&b, s, 50000);
    assert_int_equal(due(59999), 0);
    assert_int_equal(leasebook_ask(&b, 300, false, 50000).left_s, 70000);
    assert_int_equal(due(60000), 1);
    leasebook_open(&b, s, 60000);
    assert_int_equal(due(69999), 0);
    assert_int_equal(due(70000), 1);
}

/* More happened than the history holds: read everything anew. */
static void behind_the_history(void **state)
{
    const struct store_limits few = { .history_count = 5 };

    (void)state;
    store_free(s);
    s = store_new(&few);
    leasebook_open(&b, s, 0);
    for (uint64_t id = 1; id <= 20; id++) {
        lease(id, 10);
    }
    lease(7, 0);
    assert_int_equal(due(3000), 0);
    assert_int_equal(leasebook_ask(&b, 1, false, 3000).left_s, 10);
    assert_int_equal(leasebook_ask(&b, 7, false, 3000).ttl_s, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(time_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(keeping_extends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(no_way_back_from_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_leader_gives_the_full_time, setup, teardown),
        cmocka_unit_test_setup_teardown(behind_the_history, setup, teardown),
    };

    return cmocka_run_group_tests_name("leasebook", tests, NULL, NULL);
}
