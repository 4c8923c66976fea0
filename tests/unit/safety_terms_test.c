/* Lease terms: what may be in force.  Scenarios S13, S19 of docs/safety.md. */

#include "store_fixture.h"

static uint64_t inc_of(const char *host)
{
    return fx_s_host(host).incarnation;
}

/* --- terms -------------------------------------------------------------------------------------
 */

static int terms(bool offer, uint64_t inc, struct actor actor, struct terms t)
{
    struct cmd c = fx_safety(CMD_TERMS, actor, inc);

    c.safety.offer = offer;
    c.safety.terms = t;
    return fx_apply(&c);
}

static void loosening_counts_from_the_offer(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;

    (void)state;
    t.lease_ms = 9000;
    OK(terms(true, n1, as_controller(), t));
    assert_int_equal(fx_inc(n1).loosest.lease_ms, 9000);
    assert_int_equal(fx_inc(n1).offered.lease_ms, 9000);
}

/* S13: hostTimeout is lowered while a host is partitioned. */
static void s13_tightening_counts_from_the_confirmation(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;

    (void)state;
    t.lease_ms = 1000;
    OK(terms(true, n1, as_controller(), t));
    assert_int_equal(fx_inc(n1).loosest.lease_ms, 3000);
    OK(terms(false, n1, as_agent("n1"), t));
    assert_int_equal(fx_inc(n1).loosest.lease_ms, 1000);
}

static void a_late_confirmation_is_stale(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;
    struct terms longer = FX_TERMS;

    (void)state;
    t.lease_ms = 1000;
    longer.lease_ms = 20000;
    OK(terms(true, n1, as_controller(), t));
    OK(terms(true, n1, as_controller(), longer));
    WANT(ERR_STALE, terms(false, n1, as_agent("n1"), t));
    assert_int_equal(fx_inc(n1).loosest.lease_ms, 20000);
    OK(terms(false, n1, as_agent("n1"), longer));
}

static void freeze_and_unguarded_stick_until_confirmed(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;

    (void)state;
    t.on_quorum_loss = QUORUM_LOSS_FREEZE;
    t.guarded = false;
    OK(terms(true, n1, as_controller(), t));
    OK(terms(true, n1, as_controller(), FX_TERMS)); /* taken back, but it may be in force */
    assert_int_equal(fx_inc(n1).loosest.on_quorum_loss, QUORUM_LOSS_FREEZE);
    assert_false(fx_inc(n1).loosest.guarded);
    assert_true(fx_inc(n1).ever_unguarded);
    OK(terms(false, n1, as_agent("n1"), FX_TERMS));
    assert_int_equal(fx_inc(n1).loosest.on_quorum_loss, QUORUM_LOSS_STOP);
    assert_true(fx_inc(n1).loosest.guarded);
    assert_false(fx_inc(n1).ever_unguarded);
}

/* S19: the module is gone: what the agent says about its watchdog counts at once. */
static void s19_an_agent_may_report_a_worse_watchdog(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;

    (void)state;
    t.wd = WD_SOFTDOG;
    OK(terms(false, n1, as_agent("n1"), t));
    assert_int_equal(fx_inc(n1).loosest.wd, WD_SOFTDOG);
    t.wd = WD_NONE;
    t.watchdog_ms = 0;
    t.guarded = false;
    OK(terms(false, n1, as_agent("n1"), t));
    assert_int_equal(fx_inc(n1).loosest.wd, WD_NONE);
    assert_true(fx_inc(n1).ever_unguarded);
}

static void an_offer_of_unguarded_outlives_a_guarded_confirmation(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;

    (void)state;
    t.guarded = false;
    OK(terms(true, n1, as_controller(), t));
    OK(terms(false, n1, as_agent("n1"), FX_TERMS)); /* not yet unguarded, but it may become so */
    assert_false(fx_inc(n1).loosest.guarded);
}

static void terms_are_fixed_once_lost(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;

    (void)state;
    t.lease_ms = 1000;
    OK(terms(true, n1, as_controller(), t));
    OK(fx_lost(n1));
    WANT(ERR_REFUSED, terms(false, n1, as_agent("n1"), t));
    WANT(ERR_REFUSED, terms(true, n1, as_controller(), t));
    assert_int_equal(fx_inc(n1).loosest.lease_ms, 3000);
}

static void terms_have_their_authors(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    WANT(ERR_DENIED, terms(true, n1, as_agent("n1"), FX_TERMS));
    WANT(ERR_DENIED, terms(false, n1, as_controller(), FX_TERMS));
    WANT(ERR_DENIED, terms(false, n1, as_agent("n2"), FX_TERMS));
    WANT(ERR_DENIED, terms(true, n1, as_admin(), FX_TERMS));
}

static void terms_must_make_sense(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;

    (void)state;
    t.lease_ms = 0;
    WANT(ERR_INVALID, terms(true, n1, as_controller(), t));
    t = FX_TERMS;
    t.wd = WD_NONE;
    WANT(ERR_INVALID, terms(true, n1, as_controller(), t));
    t = FX_TERMS;
    t.watchdog_ms = 0;
    WANT(ERR_INVALID, terms(true, n1, as_controller(), t));
}

static void adoption_with_looser_terms_loosens(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct cmd c = { .op = CMD_REGISTER, .actor = as_agent("n1") };

    (void)state;
    c.reg = (struct cmd_register){ .host = "n1",
                                   .host_uid = "uid-n1",
                                   .boot_id = "n1-boot1",
                                   .hardware_id = "hw-n1",
                                   .nonce = "again",
                                   .terms = FX_TERMS };
    c.reg.terms.watchdog_ms = 60000;
    c.reg.terms.lease_ms = 1;
    OK(fx_apply(&c));
    assert_int_equal(fx_inc(n1).loosest.watchdog_ms, 60000);
    assert_int_equal(fx_inc(n1).loosest.lease_ms, 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_CLUSTER_TEST(loosening_counts_from_the_offer),
        FX_CLUSTER_TEST(s13_tightening_counts_from_the_confirmation),
        FX_CLUSTER_TEST(a_late_confirmation_is_stale),
        FX_CLUSTER_TEST(freeze_and_unguarded_stick_until_confirmed),
        FX_CLUSTER_TEST(s19_an_agent_may_report_a_worse_watchdog),
        FX_CLUSTER_TEST(an_offer_of_unguarded_outlives_a_guarded_confirmation),
        FX_CLUSTER_TEST(terms_are_fixed_once_lost),
        FX_CLUSTER_TEST(terms_have_their_authors),
        FX_CLUSTER_TEST(terms_must_make_sense),
        FX_CLUSTER_TEST(adoption_with_looser_terms_loosens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
