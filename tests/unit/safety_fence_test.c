/* Fencing and Off proofs.  Scenarios S4, S16-S18, S21 of docs/safety.md, and hand-made commands
 * that try to prove what is not so. */

#include "store_fixture.h"

#define VM1 "virtualmachines/vm1"

static uint64_t inc_of(const char *host)
{
    return fx_s_host(host).incarnation;
}

/* n1 holds vm1 and is Lost, its fencing is open with the one level `device`. */
static uint64_t open_fencing(const char *device, const char *type)
{
    uint64_t n1 = inc_of("n1");

    OK(fx_acquire("n1", n1, VM1));
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, device, 1, type));
    return fx_value();
}

static void still_held(void)
{
    OWNER(VM1, inc_of("n1"));
    STATE(inc_of("n1"), "Fencing");
}

static int off(uint64_t fencing, uint64_t attempt)
{
    return fx_proof_as(as_controller(), fencing, attempt, PROOF_OFF, 0);
}

/* --- the good way ------------------------------------------------------------------------------
 */

static void off_releases_everything_in_one_entry(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");
    uint64_t rev;

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    assert_int_equal(fx_value(), 1);
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    still_held();
    rev = store_rev(fx.s);
    OK(off(f, 1));
    assert_int_equal(store_rev(fx.s), rev + 1);
    STATE(n1, "Fenced");
    OWNER(VM1, 0);
    assert_int_equal(fx_fencing(f).state, FENCING_SUCCEEDED);
    assert_int_equal(fx_fencing(f).proof, PROOF_OFF);
    assert_int_equal(fx_inc(n1).proof, PROOF_OFF);
    OK(fx_acquire("n2", inc_of("n2"), VM1));
    WANT(ERR_STALE, off(f, 1)); /* once */
}

static void unknown_never_unlocks(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    WANT(ERR_STALE, off(f, 0)); /* no attempt yet */
    OK(fx_attempt(f, 0, "n2"));
    WANT(ERR_REFUSED, off(f, 1)); /* no result yet */
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_UNKNOWN));
    WANT(ERR_REFUSED, off(f, 1));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_FAILED));
    WANT(ERR_REFUSED, off(f, 1));
    SAYS("drac");
    still_held();
}

static void the_last_reading_counts(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_UNKNOWN));
    WANT(ERR_REFUSED, off(f, 1));
    still_held();
}

static int open_levels(struct cmd_fence_level *levels, size_t n, uint64_t host_gen)
{
    struct cmd c = fx_safety(CMD_FENCE_OPEN, as_controller(), inc_of("n1"));

    c.safety.host = "n1";
    c.safety.host_generation = host_gen;
    c.safety.levels = levels;
    c.safety.n_levels = n;
    return fx_apply(&c);
}

static void every_device_of_the_level_must_be_off(void **state)
{
    struct cmd_fence_device d[] = { { .name = "psu1", .generation = 1, .type = "ApcSnmp" },
                                    { .name = "psu2", .generation = 1, .type = "ApcSnmp" } };
    struct cmd_fence_level lv = { .devices = d, .n_devices = 2 };
    struct cmd_fence_level half = { .devices = d, .n_devices = 1 };
    uint64_t n1 = inc_of("n1");
    uint64_t f;

    (void)state;
    fx_device("psu1", 1, "ApcSnmp");
    fx_device("psu2", 1, "ApcSnmp");
    fx_host("n1", 2, "[{\"devices\":[\"psu1\",\"psu2\"]}]");
    OK(fx_acquire("n1", n1, VM1));
    OK(fx_lost(n1));
    WANT(ERR_REFUSED, open_levels(&half, 1, 2)); /* one of two power supplies is no level */
    SAYS("declares no fencing level");
    OK(open_levels(&lv, 1, 2));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "psu1", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, off(f, 1));
    SAYS("psu2");
    /* each in an attempt of its own is not both at once */
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 2, "psu2", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, off(f, 2));
    SAYS("psu1");
    still_held();
    OK(fx_result_as(as_executor("n2"), f, 2, "psu1", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 2));
    OWNER(VM1, 0);
}

/* A device that is not there spoils its own level only. */
static void a_missing_device_does_not_block_the_other_level(void **state)
{
    struct cmd_fence_device d[] = { { .name = "gone", .generation = 0, .type = "Ipmi" },
                                    { .name = "pdu", .generation = 1, .type = "ApcSnmp" } };
    struct cmd_fence_level lv[] = { { .devices = &d[0], .n_devices = 1 },
                                    { .devices = &d[1], .n_devices = 1 } };
    uint64_t n1 = inc_of("n1");
    uint64_t f;

    (void)state;
    fx_host("n1", 2, "[{\"devices\":[\"gone\"]},{\"devices\":[\"pdu\"]}]");
    OK(fx_acquire("n1", n1, VM1));
    OK(fx_lost(n1));
    d[0].generation = 1;
    WANT(ERR_NOT_FOUND, open_levels(lv, 2, 2));
    d[0].generation = 0;
    OK(open_levels(lv, 2, 2));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "gone", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, off(f, 1));
    fx_device("gone", 0,
              "Ipmi"); /* made by now, even with that number: still not what was pinned */
    WANT(ERR_REFUSED, off(f, 1));
    still_held();
    OK(fx_attempt(f, 1, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 2, "pdu", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 2));
}

static void the_second_level_after_the_first(void **state)
{
    struct cmd_fence_device d[] = { { .name = "drac", .generation = 1, .type = "Ipmi" },
                                    { .name = "pdu", .generation = 1, .type = "ApcSnmp" } };
    struct cmd_fence_level lv[] = { { .devices = &d[0], .n_devices = 1 },
                                    { .devices = &d[1], .n_devices = 1 } };
    uint64_t n1 = inc_of("n1");
    uint64_t f;

    (void)state;
    OK(fx_acquire("n1", n1, VM1));
    OK(fx_lost(n1));
    OK(open_levels(lv, 2, 1));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_FAILED));
    OK(fx_attempt(f, 1, "n3"));
    WANT(ERR_INVALID, fx_result_as(as_executor("n3"), f, 2, "drac", FENCE_RESULT_SUCCEEDED));
    OK(fx_result_as(as_executor("n3"), f, 2, "pdu", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 2));
    OWNER(VM1, 0);
    WANT(ERR_STALE, fx_attempt(f, 0, "n2"));
}

/* --- opening -----------------------------------------------------------------------------------
 */

static void fencing_begins_with_lost(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    WANT(ERR_REFUSED, fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    OK(fx_lost(n1));
    WANT(ERR_INVALID, fx_open_as(as_controller(), "n2", n1, 1, "drac", 1, "Ipmi"));
    WANT(ERR_STALE, fx_open_as(as_controller(), "n1", 99, 1, "drac", 1, "Ipmi"));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    STATE(n1, "Fencing");
    WANT(ERR_REFUSED, fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    SAYS("open already");
}

static void a_user_may_fence_a_live_host(void **state)
{
    struct cmd c = fx_safety(CMD_FENCE_OPEN, as_operator(), inc_of("n1"));

    (void)state;
    c.safety.host = "n1";
    c.safety.host_generation = 1;
    WANT(ERR_REFUSED, fx_apply(&c));
    c.safety.by_user = true;
    OK(fx_apply(&c));
    STATE(inc_of("n1"), "Fencing");
    assert_string_equal(fx_fencing(fx_value()).by, "olga");
}

static void generations_are_pinned_at_the_opening(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    WANT(ERR_CONFLICT, fx_open_as(as_controller(), "n1", n1, 2, "drac", 1, "Ipmi"));
    WANT(ERR_CONFLICT, fx_open_as(as_controller(), "n1", n1, 1, "drac", 2, "Ipmi"));
    WANT(ERR_REFUSED, fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "ApcSnmp"));
    SAYS("of type Ipmi");
    STATE(n1, "Lost");
}

/* S16: the outlet of another host: a level that this Host does not declare. */
static void s16_only_declared_levels(void **state)
{
    uint64_t n2 = inc_of("n2");

    (void)state;
    OK(fx_lost(n2));
    WANT(ERR_REFUSED, fx_open_as(as_controller(), "n2", n2, 1, "drac", 1, "Ipmi"));
    SAYS("declares no fencing level");
}

/* S16: the outlet is wired to the wrong host, so the target goes on living. */
static void s16_a_life_sign_vetoes_the_attempt(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_STALE, fx_veto(f, 0));
    OK(fx_veto(f, 1));
    WANT(ERR_REFUSED, off(f, 1));
    SAYS("ping answered");
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, off(f, 1)); /* nothing heals a vetoed attempt */
    still_held();
    OK(fx_attempt(f, 0, "n2"));
    WANT(ERR_REFUSED, off(f, 2));
    OK(fx_result_as(as_executor("n2"), f, 2, "drac", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 2));
    OWNER(VM1, 0);
}

/* S17: an executor stalls, another one goes on, the first wakes up. */
static void s17_results_of_an_earlier_attempt_prove_nothing(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_attempt(f, 0, "n3"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED)); /* recorded */
    assert_int_equal(fx_fencing(f).n_results, 1);
    WANT(ERR_STALE, off(f, 1));
    WANT(ERR_REFUSED, off(f, 2));
    /* n2 cannot speak for the attempt of n3, nor the other way round */
    WANT(ERR_DENIED, fx_result_as(as_executor("n2"), f, 2, "drac", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_DENIED, fx_result_as(as_executor("n3"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_STALE, fx_result_as(as_executor("n3"), f, 3, "drac", FENCE_RESULT_SUCCEEDED));
    still_held();
    OK(fx_result_as(as_executor("n3"), f, 2, "drac", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 2));
}

/* S18: outlets are edited in the middle of a fencing. */
static void s18_an_edited_device_proves_nothing(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    fx_device("drac", 2, "Ipmi");
    WANT(ERR_REFUSED, off(f, 1));
    SAYS("changed");
    still_held();
}

static void s18_a_device_made_anew_proves_nothing(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(fx_del_as(as_user(), "o/fencedevices/drac", NULL));
    WANT(ERR_REFUSED, off(f, 1));
    SAYS("deleted");
    fx_device("drac", 1, "Ipmi"); /* same name, same generation, another device */
    WANT(ERR_REFUSED, off(f, 1));
    still_held();
}

static void s18_an_edited_host_proves_nothing(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    fx_host("n1", 2, "[{\"devices\":[\"pdu\"]}]");
    WANT(ERR_REFUSED, off(f, 1));
    still_held();
}

static void a_status_update_does_not_disturb(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    fx_device("drac", 1, "Ipmi"); /* another revision of the same generation */
    OK(off(f, 1));
}

/* --- executors ---------------------------------------------------------------------------------
 */

static void the_target_does_not_execute(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    WANT(ERR_REFUSED, fx_attempt(f, 0, "n1"));
    SAYS("its own fencing");
    WANT(ERR_INVALID, fx_attempt(f, 0, NULL));
    WANT(ERR_INVALID, fx_attempt(f, 1, "n2")); /* no such level */
    OK(fx_attempt(f, 0, "witness"));           /* a picketd without agent may */
    OK(fx_result_as(as_executor("witness"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 1));
}

static void an_executor_must_be_live_itself(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_lost(inc_of("n2")));
    WANT(ERR_REFUSED, fx_attempt(f, 0, "n2"));
    SAYS("Lost");
    OK(fx_attempt(f, 0, "n3"));
    OK(fx_lost(inc_of("n3")));
    WANT(ERR_REFUSED, fx_result_as(as_executor("n3"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(fx_reprieve(inc_of("n3"), 0));
    OK(fx_result_as(as_executor("n3"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(fx_lost(inc_of("n3")));
    WANT(ERR_REFUSED, off(f, 1));
    still_held();
}

/* S21: a forged Off: whoever is not the executor of the attempt. */
static void s21_only_the_executor_reports(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");
    const struct actor liars[] = { as_executor("n3"), as_executor("n1"), as_agent("n2"),
                                   as_agent("n1"),    as_controller(),   as_admin(),
                                   as_operator(),     as_user(),         as_raw() };

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    for (size_t i = 0; i < ARRAY_LEN(liars); i++) {
        WANT(ERR_DENIED, fx_result_as(liars[i], f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    }
    assert_int_equal(fx_fencing(f).n_results, 0);
    WANT(ERR_REFUSED, off(f, 1));
    still_held();
}

static void only_controllers_prove(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");
    const struct actor liars[] = { as_executor("n2"), as_agent("n2"), as_agent("n1"), as_admin(),
                                   as_operator(),     as_user(),      as_raw() };

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    for (size_t i = 0; i < ARRAY_LEN(liars); i++) {
        WANT(ERR_DENIED, fx_proof_as(liars[i], f, 1, PROOF_OFF, 0));
    }
    still_held();
}

static void a_controller_of_another_term_is_nobody(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");
    struct actor old = as_controller();
    struct actor next = as_controller();

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    old.term--;
    next.term++;
    WANT(ERR_STALE, fx_proof_as(old, f, 1, PROOF_OFF, 0));
    WANT(ERR_STALE, fx_proof_as(next, f, 1, PROOF_OFF, 0));
    still_held();
}

/* --- what a device can prove -------------------------------------------------------------------
 */

static void kinds_that_do_not_come_from_controllers(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, fx_proof_as(as_controller(), f, 1, PROOF_NONE, 0));
    WANT(ERR_REFUSED, fx_proof_as(as_controller(), f, 1, PROOF_REBOOT, 0));
    WANT(ERR_REFUSED, fx_proof_as(as_controller(), f, 1, PROOF_CONFIRMATION, 0));
    still_held();
}

static void a_proof_names_its_own_fencing(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t n2 = inc_of("n2");
    uint64_t f1, f2;

    (void)state;
    f1 = open_fencing("drac", "Ipmi");
    OK(fx_lost(n2));
    OK(fx_open_as(as_controller(), "n2", n2, 1, "pdu", 1, "ApcSnmp"));
    f2 = fx_value();
    OK(fx_attempt(f2, 0, "n3"));
    OK(fx_result_as(as_executor("n3"), f2, 1, "pdu", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_STALE, off(f1, 1));
    WANT(ERR_STALE, off(f1 + f2, 1));
    OWNER(VM1, n1);
    OK(off(f2, 1));
    OWNER(VM1, n1); /* n2's proof releases what n2 held, nothing else */
}

static void s04_a_reprieve_ends_the_fencing(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(fx_reprieve(n1, f));
    WANT(ERR_STALE, off(f, 1));
    OWNER(VM1, n1);
    STATE(n1, "Live");
    /* nor does the old result help a new fencing */
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    WANT(ERR_STALE, off(fx_value(), 1));
    OWNER(VM1, n1);
}

/* --- history -----------------------------------------------------------------------------------
 */

static void results_are_kept_within_bounds(void **state)
{
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    for (uint64_t i = 1; i <= 70; i++) {
        OK(fx_attempt(f, 0, i % 2 == 0 ? "n2" : "n3"));
        assert_int_equal(fx_value(), i);
        OK(fx_result_as(as_executor(i % 2 == 0 ? "n2" : "n3"), f, i, "drac", FENCE_RESULT_UNKNOWN));
    }
    assert_int_equal(fx_fencing(f).n_results, 64);
    assert_int_equal(fx_fencing(f).results[63].attempt, 70);
    assert_int_equal(fx_fencing(f).n_attempts, 64);
    OK(fx_result_as(as_executor("n2"), f, 70, "drac", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 70));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_CLUSTER_TEST(off_releases_everything_in_one_entry),
        FX_CLUSTER_TEST(unknown_never_unlocks),
        FX_CLUSTER_TEST(the_last_reading_counts),
        FX_CLUSTER_TEST(every_device_of_the_level_must_be_off),
        FX_CLUSTER_TEST(a_missing_device_does_not_block_the_other_level),
        FX_CLUSTER_TEST(the_second_level_after_the_first),
        FX_CLUSTER_TEST(fencing_begins_with_lost),
        FX_CLUSTER_TEST(a_user_may_fence_a_live_host),
        FX_CLUSTER_TEST(generations_are_pinned_at_the_opening),
        FX_CLUSTER_TEST(s16_only_declared_levels),
        FX_CLUSTER_TEST(s16_a_life_sign_vetoes_the_attempt),
        FX_CLUSTER_TEST(s17_results_of_an_earlier_attempt_prove_nothing),
        FX_CLUSTER_TEST(s18_an_edited_device_proves_nothing),
        FX_CLUSTER_TEST(s18_a_device_made_anew_proves_nothing),
        FX_CLUSTER_TEST(s18_an_edited_host_proves_nothing),
        FX_CLUSTER_TEST(a_status_update_does_not_disturb),
        FX_CLUSTER_TEST(the_target_does_not_execute),
        FX_CLUSTER_TEST(an_executor_must_be_live_itself),
        FX_CLUSTER_TEST(s21_only_the_executor_reports),
        FX_CLUSTER_TEST(only_controllers_prove),
        FX_CLUSTER_TEST(a_controller_of_another_term_is_nobody),
        FX_CLUSTER_TEST(kinds_that_do_not_come_from_controllers),
        FX_CLUSTER_TEST(a_proof_names_its_own_fencing),
        FX_CLUSTER_TEST(s04_a_reprieve_ends_the_fencing),
        FX_CLUSTER_TEST(results_are_kept_within_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
