/* The deadline of a fence operation: an executor that stalled and wakes switches nothing (S17). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fence/run.h"

static struct fence_run run;
static struct fence_op op;

static int may_switch(int64_t deadline_in_ms, uint32_t timeout_ms)
{
    struct err err = { 0 };
    int rc;

    op = (struct fence_op){ .timeout_ms = timeout_ms };
    op.deadline_boottime_ms = (uint64_t)((int64_t)clock_now_ms() + deadline_in_ms);
    fence_run_init(&run, &op, -1);
    rc = fence_run_may_switch(&run, &err);
    assert_true(rc == 0 || err.msg[0] != 0);
    return rc;
}

static int extend(uint64_t deadline_ms)
{
    char line[64];
    struct err err;

    (void)snprintf(line, sizeof(line), "deadline_boottime_ms=%llu\n",
                   (unsigned long long)deadline_ms);
    fence_run_feed(&run, line, strlen(line));
    return fence_run_may_switch(&run, &err);
}

static void only_before_the_deadline(void **state)
{
    (void)state;
    assert_int_equal(may_switch(60000, 60000), 0);
    assert_int_equal(may_switch(-1, 60000), ERR_CANCELED);
    assert_int_equal(may_switch(0, 60000), ERR_CANCELED);
    assert_int_equal(may_switch(60000, 0), ERR_CANCELED); /* the operation's own time is up */
}

static void never_without_a_deadline(void **state)
{
    struct err err;

    (void)state;
    op = (struct fence_op){ .timeout_ms = 60000 };
    fence_run_init(&run, &op, -1);
    assert_int_equal(fence_run_may_switch(&run, &err), ERR_CANCELED);
}

static void a_renewal_moves_it_on_and_never_back(void **state)
{
    uint64_t now = clock_now_ms();

    (void)state;
    assert_int_equal(may_switch(-5, 60000), ERR_CANCELED);
    assert_int_equal(extend(now + 60000), 0);
    assert_int_equal(extend(1), 0);
    assert_int_equal(run.switch_until_ms, now + 60000);
    fence_run_feed(&run, "deadline_boottime_ms=x\n", 23);
    assert_int_equal(run.switch_until_ms, now + 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_before_the_deadline),
        cmocka_unit_test(never_without_a_deadline),
        cmocka_unit_test(a_renewal_moves_it_on_and_never_back),
    };

    return cmocka_run_group_tests_name("fence_run", tests, NULL, NULL);
}
