/* For how long the cluster had no leader, as one picketd sees it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/picketd/reign_sm.h"

#define LEASE 3000U

static struct reign r;

static int setup(void **state)
{
    (void)state;
    reign_init(&r, 1000);
    return 0;
}

static void counts_from_the_start(void **state)
{
    (void)state;
    assert_int_equal(reign_gap_ms(&r, 1000, LEASE), 0);
    assert_int_equal(reign_gap_ms(&r, 41000, LEASE), 40000);
}

static void none_while_a_leader_reigns(void **state)
{
    (void)state;
    reign_known(&r, true, 2000, LEASE);
    assert_int_equal(reign_gap_ms(&r, 5000, LEASE), 0);
    reign_known(&r, true, 6000, LEASE); /* another one, at once */
    assert_int_equal(reign_gap_ms(&r, 6000, LEASE), 0);
}

/* The leader dies, the next one is elected: its gap is the election. */
static void an_election_is_short(void **state)
{
    (void)state;
    reign_known(&r, true, 2000, LEASE);
    reign_known(&r, false, 90000, LEASE);
    assert_int_equal(reign_gap_ms(&r, 90700, LEASE), 700);
    reign_known(&r, false, 91000, LEASE); /* a vote that was split */
    assert_int_equal(reign_gap_ms(&r, 91500, LEASE), 1500);
}

static void a_leader_of_a_moment_does_not_count(void **state)
{
    (void)state;
    reign_known(&r, true, 2000, LEASE);
    reign_known(&r, false, 10000, LEASE);
    reign_known(&r, true, 50000, LEASE);
    reign_known(&r, false, 52999, LEASE);
    assert_int_equal(reign_gap_ms(&r, 53000, LEASE), 43000);
    reign_known(&r, true, 53000, LEASE);
    assert_int_equal(reign_gap_ms(&r, 55999, LEASE), 45999);
    reign_known(&r, false, 56000, LEASE); /* this one has lasted */
    assert_int_equal(reign_gap_ms(&r, 56100, LEASE), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(counts_from_the_start, setup),
        cmocka_unit_test_setup(none_while_a_leader_reigns, setup),
        cmocka_unit_test_setup(an_election_is_short, setup),
        cmocka_unit_test_setup(a_leader_of_a_moment_does_not_count, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
