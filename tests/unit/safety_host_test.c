/* Incarnations: registration, terms, Lost, Reprieve.  Scenarios S2-S5, S13, S19 of docs/safety.md.
 */

#include "store_fixture.h"

static uint64_t inc_of(const char *host)
{
    return fx_s_host(host).incarnation;
}

/* --- registration ------------------------------------------------------------------------------
 */

static void same_boot_is_adopted(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t rev;

    (void)state;
    OK(fx_register("n1", 1, n1));
    assert_int_equal(fx_value(), n1);
    rev = store_rev(fx.s);
    OK(fx_register("n1", 1, 0)); /* what it believed to read does not matter then */
    assert_int_equal(fx_value(), n1);
    assert_int_equal(store_rev(fx.s), rev); /* and nothing was written */
    STATE(n1, "Live");
}

static void adoption_keeps_the_state(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    OK(fx_register("n1", 1, n1));
    assert_int_equal(fx_value(), n1);
    STATE(n1, "Lost");
    WANT(ERR_REFUSED, fx_acquire("n1", n1, "virtualmachines/vm1"));
}

static void numbers_grow_across_hosts(void **state)
{
    (void)state;
    assert_true(inc_of("n1") < inc_of("n2"));
    assert_true(inc_of("n2") < inc_of("n3"));
}

/* What s_register_waits says before the command, and the state machine's answer to it. */
static int asked(const char *boot, const char *hardware, uint64_t expected, const char *nonce)
{
    struct cmd_register r = { .host = "n1",
                              .host_uid = "uid-n1",
                              .boot_id = boot,
                              .hardware_id = hardware,
                              .expected = expected,
                              .nonce = nonce,
                              .terms = FX_TERMS };
    struct err err = { 0 };
    int waits = s_register_waits(fx.s, &r, &err);
    int rc = fx_register_as(as_agent("n1"), "n1", boot, hardware, expected, nonce);

    if (waits != 0) {
        assert_int_equal(rc, waits);
        assert_string_equal(fx.ans.msg, err.msg);
    }
    return waits;
}

/* It speaks only where the state machine would refuse for that reason alone, and in its words. */
static void a_wait_needs_no_entry(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    assert_int_equal(asked("n1-boot2", "hw-n1", n1, "nonce-2"), ERR_REFUSED);
    SAYS("still Live");
    assert_int_equal(asked("n1-boot2", "hw-n1", n1 + 7, "nonce-2"), 0);
    assert_int_equal(asked("n1-boot2", "hw-n1", n1, "nonce-n1-1"), 0);
    assert_int_equal(asked("n1-boot1", "hw-n1", n1, "nonce-2"), 0); /* adopted */
    assert_int_equal(asked("n1-boot2", "hw-other", n1, "nonce-4"), 0);
    assert_string_not_equal(fx_s_host("n1").conflict, ""); /* recorded by the command */
    OK(fx_lost(n1));
    assert_int_equal(asked("n1-boot3", "hw-n1", n1, "nonce-3"), 0);
    assert_int_equal(asked("n1-boot3", "hw-n1", 0, "nonce-3"), 0);
}

static void a_new_boot_waits_while_the_old_is_live(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    WANT(ERR_REFUSED, fx_register("n1", 2, n1));
    SAYS("still Live");
    assert_int_equal(inc_of("n1"), n1);
    assert_string_equal(fx_s_host("n1").conflict, "");
}

static void reboot_proves_and_releases(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t again;

    (void)state;
    OK(fx_acquire("n1", n1, "virtualmachines/vm1"));
    OK(fx_acquire("n1", n1, "volumes/lv1"));
    OK(fx_lost(n1));
    OK(fx_register("n1", 2, n1));
    again = fx_value();
    assert_true(again > n1);
    STATE(n1, "Fenced");
    assert_int_equal(fx_inc(n1).proof, PROOF_REBOOT);
    STATE(again, "Live");
    OWNER("virtualmachines/vm1", 0);
    OWNER("volumes/lv1", 0);
    OK(fx_acquire("n2", inc_of("n2"), "virtualmachines/vm1"));
}

static void reboot_closes_the_open_fencing(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t fencing;

    (void)state;
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    fencing = fx_value();
    OK(fx_register("n1", 2, n1));
    assert_int_equal(fx_fencing(fencing).state, FENCING_SUCCEEDED);
    assert_int_equal(fx_fencing(fencing).proof, PROOF_REBOOT);
    STATE(n1, "Fenced");
}

static void a_burned_boot_never_comes_back(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    OK(fx_confirm_as(as_operator(), "n1", n1));
    WANT(ERR_REFUSED, fx_register("n1", 1, n1));
    SAYS("reset the host");
    WANT(ERR_REFUSED, fx_register("n1", 1, 0));
    OK(fx_register("n1", 2, n1));
    WANT(ERR_REFUSED, fx_register("n1", 1, fx_value()));
    SAYS("reset the host");
    /* nor under another host's name, nor for a Host made anew */
    WANT(ERR_REFUSED, fx_register_as(as_agent("n2"), "n2", "n1-boot1", "hw-n2", inc_of("n2"), "x"));
    SAYS("reset the host");
}

static void a_fenced_host_may_change_hardware(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    OK(fx_confirm_as(as_operator(), "n1", n1));
    OK(fx_register_as(as_agent("n1"), "n1", "new-boot", "new-board", n1, "n"));
    assert_string_equal(fx_s_host("n1").hardware_id, "new-board");
}

/* S2: a registration of an earlier boot arrives late. */
static void s02_a_late_registration_fails(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t third;

    (void)state;
    OK(fx_lost(n1));
    OK(fx_register("n1", 3, n1));
    third = fx_value();
    /* boot 2 had read n1 before it went down, and its request was stuck in a minority */
    WANT(ERR_CONFLICT, fx_register("n1", 2, n1));
    SAYS("read again");
    assert_int_equal(inc_of("n1"), third);
    STATE(third, "Live");
    /* and once more when the third is Lost: no reboot proof from the past */
    OK(fx_acquire("n1", third, "virtualmachines/vm1"));
    OK(fx_lost(third));
    WANT(ERR_CONFLICT, fx_register("n1", 2, n1));
    OWNER("virtualmachines/vm1", third);
    STATE(third, "Lost");
}

static void a_nonce_is_good_for_one_boot(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    WANT(ERR_STALE, fx_register_as(as_agent("n1"), "n1", "boot-x", "hw-n1", n1, "nonce-n1-1"));
    /* the same request again gives the same number */
    OK(fx_register("n1", 2, n1));
    n1 = fx_value();
    OK(fx_register("n1", 2, n1 - 3));
    assert_int_equal(fx_value(), n1);
}

/* S3: a cloned host image comes up under the first one's certificate. */
static void s03_a_clone_is_an_identity_conflict(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_acquire("n1", n1, "virtualmachines/vm1"));
    WANT(ERR_REFUSED, fx_register_as(as_agent("n1"), "n1", "clone-boot", "hw-clone", n1, "c1"));
    SAYS("IdentityConflict");
    assert_non_null(strstr(fx_s_host("n1").conflict, "hw-clone"));
    STATE(n1, "Live");
    OWNER("virtualmachines/vm1", n1);
    /* nothing starts there any more */
    WANT(ERR_REFUSED, fx_acquire("n1", n1, "virtualmachines/vm2"));
    SAYS("IdentityConflict");
}

static void s03_no_proof_during_a_conflict(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t fencing;

    (void)state;
    OK(fx_acquire("n1", n1, "virtualmachines/vm1"));
    OK(fx_lost(n1));
    WANT(ERR_REFUSED, fx_register_as(as_agent("n1"), "n1", "clone-boot", "hw-clone", n1, "c1"));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    fencing = fx_value();
    OK(fx_attempt(fencing, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), fencing, 1, "drac", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, fx_proof_as(as_controller(), fencing, 1, PROOF_OFF, 0));
    SAYS("IdentityConflict");
    WANT(ERR_REFUSED, fx_register("n1", 2, n1)); /* no reboot proof either */
    OWNER("virtualmachines/vm1", n1);
    /* a person sorts it out */
    OK(fx_confirm_as(as_operator(), "n1", n1));
    OWNER("virtualmachines/vm1", 0);
    OK(fx_register("n1", 2, n1));
    assert_string_equal(fx_s_host("n1").conflict, "");
}

static void s03_same_boot_id_on_other_hardware(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    WANT(ERR_REFUSED, fx_register_as(as_agent("n1"), "n1", "n1-boot1", "hw-clone", n1, "c1"));
    SAYS("IdentityConflict");
}

static void a_conflict_is_cleared_by_a_person(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct cmd c = fx_safety(CMD_CONFLICT_CLEAR, as_operator(), 0);

    (void)state;
    c.safety.host = "n1";
    WANT(ERR_REFUSED, fx_apply(&c));
    WANT(ERR_REFUSED, fx_register_as(as_agent("n1"), "n1", "clone-boot", "hw-clone", n1, "c1"));
    c.actor = as_controller();
    WANT(ERR_DENIED, fx_apply(&c));
    c.actor = as_operator();
    OK(fx_apply(&c));
    OK(fx_acquire("n1", n1, "virtualmachines/vm2"));
}

static void registration_needs_its_host(void **state)
{
    (void)state;
    WANT(ERR_NOT_FOUND, fx_register("n9", 1, 0));
    WANT(ERR_DENIED, fx_register_as(as_agent("n2"), "n1", "b", "h", 0, "n"));
    WANT(ERR_DENIED, fx_register_as(as_admin(), "n1", "b", "h", 0, "n"));
    WANT(ERR_DENIED, fx_register_as(as_controller(), "n1", "b", "h", 0, "n"));
}

static void registration_names_the_right_uid(void **state)
{
    struct cmd c = { .op = CMD_REGISTER, .actor = as_agent("n1") };

    (void)state;
    c.reg = (struct cmd_register){ .host = "n1",
                                   .host_uid = "somebody-else",
                                   .boot_id = "b",
                                   .hardware_id = "h",
                                   .expected = inc_of("n1"),
                                   .nonce = "n",
                                   .terms = FX_TERMS };
    WANT(ERR_CONFLICT, fx_apply(&c));
    SAYS("uid");
}

static void registration_refuses_bad_fields(void **state)
{
    static const struct {
        const char *boot, *hardware, *nonce;
    } BAD[] = {
        { "", "h", "n" },    { "b", "", "n" },   { "b", "h", "" },
        { "a/b", "h", "n" }, { "b", "h/", "n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        WANT(ERR_INVALID,
             fx_register_as(as_agent("n1"), "n1", BAD[i].boot, BAD[i].hardware, 0, BAD[i].nonce));
    }
    WANT(ERR_INVALID, fx_register_as(as_agent("n1"), "n1", NULL, "h", 0, "n"));
}

/* --- Lost and Reprieve -------------------------------------------------------------------------
 */

static void lost_only_once(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    STATE(n1, "Lost");
    WANT(ERR_REFUSED, fx_lost(n1));
    WANT(ERR_STALE, fx_lost(4711));
}

static void reprieve_brings_back(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    WANT(ERR_REFUSED, fx_reprieve(n1, 0));
    OK(fx_acquire("n1", n1, "virtualmachines/vm1"));
    OK(fx_lost(n1));
    OK(fx_reprieve(n1, 0));
    STATE(n1, "Live");
    OWNER("virtualmachines/vm1", n1);
    OK(fx_acquire("n1", n1, "virtualmachines/vm2"));
}

static void reprieve_names_the_open_fencing(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t fencing;

    (void)state;
    OK(fx_lost(n1));
    WANT(ERR_STALE, fx_reprieve(n1, 7));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    fencing = fx_value();
    WANT(ERR_STALE, fx_reprieve(n1, 0));
    WANT(ERR_STALE, fx_reprieve(n1, fencing + 1));
    OK(fx_reprieve(n1, fencing));
    STATE(n1, "Live");
    assert_int_equal(fx_fencing(fencing).state, FENCING_CANCELED);
    assert_int_equal(fx_inc(n1).fencing, 0);
}

static void no_way_back_from_fenced(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    OK(fx_confirm_as(as_admin(), "n1", n1));
    WANT(ERR_REFUSED, fx_reprieve(n1, 0));
    WANT(ERR_REFUSED, fx_lost(n1));
    STATE(n1, "Fenced");
}

/* S5: an Acquire that was under way when its incarnation was fenced. */
static void s05_a_delayed_acquire_of_a_fenced_incarnation(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    WANT(ERR_REFUSED, fx_acquire("n1", n1, "virtualmachines/vm1"));
    SAYS("Lost");
    OK(fx_confirm_as(as_operator(), "n1", n1));
    WANT(ERR_REFUSED, fx_acquire("n1", n1, "virtualmachines/vm1"));
    SAYS("Fenced");
    OK(fx_register("n1", 2, n1));
    WANT(ERR_REFUSED, fx_acquire("n1", n1, "virtualmachines/vm1"));
    OWNER("virtualmachines/vm1", 0);
}

/* --- deletion ----------------------------------------------------------------------------------
 */

static void a_host_with_locks_cannot_be_deleted(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_acquire("n1", n1, "virtualmachines/vm1"));
    WANT(ERR_REFUSED, fx_del_as(as_admin(), "o/hosts/n1", NULL));
    SAYS("virtualmachines/vm1");
    WANT(ERR_REFUSED, fx_del_as(as_user(), "o/hosts/", "o/hosts0"));
    WANT(ERR_REFUSED, fx_del_as(as_controller(), "o/", "o0"));
    assert_non_null(store_get_str(fx.s, "o/hosts/n2")); /* all or nothing */
    OK(fx_lost(n1));
    WANT(ERR_REFUSED, fx_del_as(as_admin(), "o/hosts/n1", NULL));
    OK(fx_confirm_as(as_operator(), "n1", n1));
    OK(fx_del_as(as_admin(), "o/hosts/n1", NULL));
}

static void a_host_with_an_open_fencing_cannot_be_deleted(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    WANT(ERR_REFUSED, fx_del_as(as_admin(), "o/hosts/n1", NULL));
    SAYS("fencing");
}

static void a_deleted_host_takes_its_incarnation_along(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct s_host h;
    struct err err;

    (void)state;
    OK(fx_del_as(as_admin(), "o/hosts/n1", NULL));
    assert_int_equal(s_host_get(fx.s, "n1", &fx.a, &h, &err), ERR_NOT_FOUND);
    WANT(ERR_STALE, fx_acquire("n1", n1, "virtualmachines/vm1"));
    WANT(ERR_NOT_FOUND, fx_register("n1", 1, n1));
    fx_host("n1", 1, "[]");
    WANT(ERR_CONFLICT, fx_register("n1", 1, n1));
    OK(fx_register("n1", 1, 0));
    assert_true(fx_value() > n1);
}

static void a_held_object_cannot_be_deleted(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_acquire("n1", n1, "volumes/lv1"));
    WANT(ERR_REFUSED, fx_del_as(as_user(), "o/volumes/lv1", NULL));
    SAYS("n1");
    OK(fx_del_as(as_user(), "o/volumes/lv2", NULL));
    WANT(ERR_NOT_FOUND, fx_acquire("n1", n1, "volumes/lv2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_CLUSTER_TEST(same_boot_is_adopted),
        FX_CLUSTER_TEST(adoption_keeps_the_state),
        FX_CLUSTER_TEST(numbers_grow_across_hosts),
        FX_CLUSTER_TEST(a_new_boot_waits_while_the_old_is_live),
        FX_CLUSTER_TEST(a_wait_needs_no_entry),
        FX_CLUSTER_TEST(reboot_proves_and_releases),
        FX_CLUSTER_TEST(reboot_closes_the_open_fencing),
        FX_CLUSTER_TEST(a_burned_boot_never_comes_back),
        FX_CLUSTER_TEST(a_fenced_host_may_change_hardware),
        FX_CLUSTER_TEST(s02_a_late_registration_fails),
        FX_CLUSTER_TEST(a_nonce_is_good_for_one_boot),
        FX_CLUSTER_TEST(s03_a_clone_is_an_identity_conflict),
        FX_CLUSTER_TEST(s03_no_proof_during_a_conflict),
        FX_CLUSTER_TEST(s03_same_boot_id_on_other_hardware),
        FX_CLUSTER_TEST(a_conflict_is_cleared_by_a_person),
        FX_CLUSTER_TEST(registration_needs_its_host),
        FX_CLUSTER_TEST(registration_names_the_right_uid),
        FX_CLUSTER_TEST(registration_refuses_bad_fields),
        FX_CLUSTER_TEST(lost_only_once),
        FX_CLUSTER_TEST(reprieve_brings_back),
        FX_CLUSTER_TEST(reprieve_names_the_open_fencing),
        FX_CLUSTER_TEST(no_way_back_from_fenced),
        FX_CLUSTER_TEST(s05_a_delayed_acquire_of_a_fenced_incarnation),
        FX_CLUSTER_TEST(a_host_with_locks_cannot_be_deleted),
        FX_CLUSTER_TEST(a_host_with_an_open_fencing_cannot_be_deleted),
        FX_CLUSTER_TEST(a_deleted_host_takes_its_incarnation_along),
        FX_CLUSTER_TEST(a_held_object_cannot_be_deleted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
