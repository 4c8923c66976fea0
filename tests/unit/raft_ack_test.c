/* The unverified ack: a follower answers a heartbeat with the end of its own log, which the new
 * leader takes for a copy of its entries.  libraft 0.15.0 then reports a write as committed that
 * exists only once, and loses it.  Guard rule 2 stops it. */

#include "tests/unit/raft_fixture.h"

static struct fx x;

/* The story; returns whether a write was acknowledged and is gone in the end. */
static bool unverified_ack(bool guarded)
{
    const int *acked;
    struct raft *r;
    unsigned n0, winner = 3;
    bool lost;

    fx_open(&x, 3, guarded);
    assert_true(fx_lead(&x, 0, 60000));
    raft_fixture_step_until_elapsed(&x.f, 300);

    /* The old leader stores X, Y and Z, which nobody else gets. */
    fx_links(&x, 0, false);
    (void)fx_propose(&x, 0, 'X');
    (void)fx_propose(&x, 0, 'Y');
    (void)fx_propose(&x, 0, 'Z');
    r = fx_raft(&x, 0);
    for (int q = 0; q < 3000 && r->last_stored < raft_last_index(r); q++) {
        raft_fixture_step(&x.f);
    }
    assert_int_equal(r->last_stored, raft_last_index(r));
    raft_fixture_kill(&x.f, 0);

    /* S1 leads with the vote of S2, and then only reaches S0. */
    assert_true(fx_lead(&x, 1, 60000));
    raft_fixture_step_until_elapsed(&x.f, 300);
    fx_link(&x, 1, 2, false);
    fx_link(&x, 2, 1, false);
    raft_fixture_revive(&x.f, 0);
    fx_link(&x, 0, 1, true);
    fx_link(&x, 1, 0, true);
    n0 = raft_fixture_n_recv(&x.f, 0, RAFT_IO_APPEND_ENTRIES);
    for (int q = 0; q < 3000 && raft_fixture_n_recv(&x.f, 0, RAFT_IO_APPEND_ENTRIES) == n0; q++) {
        raft_fixture_step(&x.f);
    }
    /* S0's answer to the heartbeat is on its way. */
    acked = fx_propose(&x, 1, 'A');
    for (int q = 0; q < 60 && *acked == -1; q++) {
        raft_fixture_step(&x.f);
    }
    if (*acked == 0) {
        /* Then it must be on a majority, and S0 is the other one. */
        raft_fixture_kill(&x.f, 1);
    } else {
        raft_fixture_step_until_elapsed(&x.f, 600);
        raft_fixture_kill(&x.f, 1);
    }

    fx_link(&x, 0, 2, true);
    fx_link(&x, 2, 0, true);
    for (int q = 0; q < 400000 && winner == 3; q++) {
        raft_fixture_step(&x.f);
        winner = fx_raft(&x, 0)->state == RAFT_LEADER   ? 0
                 : fx_raft(&x, 2)->state == RAFT_LEADER ? 2
                                                        : 3;
    }
    assert_true(winner != 3);
    raft_fixture_step_until_elapsed(&x.f, 2000);
    (void)fx_propose(&x, winner, 'E');
    raft_fixture_step_until_elapsed(&x.f, 2000);
    assert_non_null(strchr(x.text[winner], 'E'));
    lost = *acked == 0 && strchr(x.text[winner], 'A') == NULL;
    fx_close(&x);
    return lost;
}

static void without_guard(void **state)
{
    (void)state;
    assert_true(unverified_ack(false));
}

static void with_guard(void **state)
{
    (void)state;
    assert_false(unverified_ack(true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_guard),
        cmocka_unit_test(with_guard),
    };

    return cmocka_run_group_tests_name("raft_ack", tests, NULL, NULL);
}
