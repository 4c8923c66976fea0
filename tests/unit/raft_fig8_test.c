/* Figure 8 of the Raft paper: a leader commits an entry of an older term by counting copies, and a
 * later leader, who has never seen it, replaces it.  libraft 0.15.0 does this; guard rule 1 stops
 * it. */

#include "tests/unit/raft_fixture.h"

static struct fx x;

/* Do two servers disagree about a letter that both applied? */
static bool diverged_now(void)
{
    for (unsigned i = 0; i < x.n; i++) {
        for (unsigned j = 0; j < i; j++) {
            size_t a = strlen(x.text[i]), b = strlen(x.text[j]);

            if (memcmp(x.text[i], x.text[j], a < b ? a : b) != 0) {
                return true;
            }
        }
    }
    return false;
}

/* The story; returns whether two servers applied different entries. */
static bool figure8(bool guarded)
{
    struct raft *r;
    bool diverged;

    fx_open(&x, 5, guarded);
    assert_true(fx_lead(&x, 0, 60000));
    raft_fixture_step_until_elapsed(&x.f, 300);

    /* "A" reaches only S0 and S1, and S1's answers are lost. */
    for (unsigned j = 2; j < 5; j++) {
        fx_link(&x, 0, j, false);
    }
    fx_link(&x, 1, 0, false);
    (void)fx_propose(&x, 0, 'A');
    r = fx_raft(&x, 1);
    for (int q = 0; q < 5000 && r->last_stored < raft_last_index(fx_raft(&x, 0)); q++) {
        raft_fixture_step(&x.f);
    }
    assert_int_equal(r->last_stored, raft_last_index(fx_raft(&x, 0)));

    /* S4 leads a later term and stores "B", which nobody else gets. */
    fx_links(&x, 0, false);
    fx_links(&x, 1, false);
    assert_true(fx_lead(&x, 4, 60000));
    fx_links(&x, 4, false);
    (void)fx_propose(&x, 4, 'B');
    r = fx_raft(&x, 4);
    for (int q = 0; q < 5000 && r->last_stored < raft_last_index(r); q++) {
        raft_fixture_step(&x.f);
    }
    assert_int_equal(r->last_stored, raft_last_index(r));
    raft_fixture_kill(&x.f, 4);

    /* S0 leads again and has "A" on a majority. */
    fx_links(&x, 0, true);
    fx_links(&x, 1, true);
    fx_links(&x, 4, false);
    raft_fixture_step_until_elapsed(&x.f, 2500);
    if (fx_raft(&x, 0)->state != RAFT_LEADER) {
        (void)fx_lead(&x, 0, 120000);
    }
    r = fx_raft(&x, 0);
    for (int q = 0; q < 3000 && strchr(x.text[0], 'A') == NULL; q++) {
        raft_fixture_step(&x.f);
        if (guarded && r->state == RAFT_LEADER) {
            /* Committed only together with an entry of the present term. */
            assert_true(r->commit_index < 2 ||
                        guard_term_of(r, r->commit_index) == r->current_term);
        }
    }

    /* S0 dies; S4, which knows only its "B", comes back. */
    fx_links(&x, 0, false);
    raft_fixture_kill(&x.f, 0);
    raft_fixture_revive(&x.f, 4);
    fx_links(&x, 4, true);
    fx_links(&x, 0, false);
    (void)fx_lead(&x, 4, 60000);
    raft_fixture_step_until_elapsed(&x.f, 5000);
    diverged = diverged_now();
    assert_true(strlen(x.text[1]) > 0);
    fx_close(&x);
    return diverged;
}

static void without_guard(void **state)
{
    (void)state;
    assert_true(figure8(false));
}

static void with_guard(void **state)
{
    (void)state;
    assert_false(figure8(true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_guard),
        cmocka_unit_test(with_guard),
    };

    return cmocka_run_group_tests_name("raft_fig8", tests, NULL, NULL);
}
