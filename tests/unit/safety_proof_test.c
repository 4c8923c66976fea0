/* Fencing and proofs.  Scenarios S4, S11-S13, S16-S21 of docs/safety.md, and hand-made commands
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

static int open_levels(struct cmd_fence_level *levels, size_t n, uint64_t host_gen)
{
    struct cmd c = fx_safety(CMD_FENCE_OPEN, as_controller(), inc_of("n1"));

    c.safety.host = "n1";
    c.safety.host_generation = host_gen;
    c.safety.levels = levels;
    c.safety.n_levels = n;
    return fx_apply(&c);
}

/* --- watchdog ----------------------------------------------------------------------------------
 */

static uint64_t bound(void)
{
    struct s_inc n1 = fx_inc(inc_of("n1"));

    return s_watchdog_bound_ms(&n1.loosest);
}

static int watchdog(uint64_t f, uint64_t elapsed)
{
    return fx_proof_as(as_controller(), f, 0, PROOF_WATCHDOG, elapsed);
}

static void the_bound_covers_lease_watchdog_feed_and_drift(void **state)
{
    (void)state;
    assert_int_equal(s_watchdog_bound_ms(&FX_TERMS), 3000 + 10000 + 1000 + 140 + 1);
}

static void watchdog_proof_after_the_bound(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    WANT(ERR_REFUSED, watchdog(f, UINT64_MAX)); /* no wait was begun */
    OK(fx_wait(n1));
    WANT(ERR_REFUSED, watchdog(f, bound() - 1));
    SAYS("are needed");
    still_held();
    OK(watchdog(f, bound()));
    STATE(n1, "Fenced");
    assert_int_equal(fx_inc(n1).proof, PROOF_WATCHDOG);
    OWNER(VM1, 0);
}

/* S11: the leader's wall clock steps: the store looks at no clock at all. */
static void s11_wall_time_does_not_count(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_wait(n1));
    fx.ms += 3600000;
    WANT(ERR_REFUSED, watchdog(f, 1));
    still_held();
    fx.ms -= 7200000;
    OK(watchdog(f, bound()));
}

/* S12: another leader: the wait begins again. */
static void s12_a_new_term_waits_anew(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_wait(n1));
    fx.term++;
    WANT(ERR_REFUSED, watchdog(f, UINT64_MAX));
    SAYS("term");
    OK(fx_wait(n1));
    OK(watchdog(f, bound()));
}

/* S4: the link heals while a watchdog proof matures, and breaks again. */
static void s04_a_reprieve_resets_the_wait(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_wait(n1));
    OK(fx_reprieve(n1, f));
    WANT(ERR_STALE, watchdog(f, UINT64_MAX));
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, NULL, 0, NULL));
    WANT(ERR_REFUSED, watchdog(fx_value(), UINT64_MAX));
    OWNER(VM1, n1);
}

static void a_life_sign_resets_the_wait(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_wait(n1));
    OK(fx_life_sign(f, 0));
    WANT(ERR_REFUSED, watchdog(f, UINT64_MAX));
    SAYS("no wait");
    OK(fx_attempt(f, 0, "n2")); /* whatever else goes on */
    WANT(ERR_REFUSED, watchdog(f, UINT64_MAX));
    OK(fx_wait(n1));
    OK(watchdog(f, bound()));
}

/* A device that was edited, an executor that was lost: no business of the watchdog's. */
static void another_veto_leaves_the_wait_alone(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_wait(n1));
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_veto(f, 1));
    OK(watchdog(f, bound()));
}

static void the_wait_is_for_the_lost(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    WANT(ERR_REFUSED, fx_wait(n1));
    OK(fx_lost(n1));
    OK(fx_wait(n1));
    OK(fx_confirm_as(as_operator(), "n1", n1));
    WANT(ERR_REFUSED, fx_wait(n1));
}

static int offer(uint64_t inc, struct terms t)
{
    struct cmd c = fx_safety(CMD_TERMS, as_controller(), inc);

    c.safety.offer = true;
    c.safety.terms = t;
    return fx_apply(&c);
}

static int watchdog_with(struct terms t, bool lab)
{
    uint64_t n1, f;
    int rc;

    (void)fx_teardown(NULL);
    (void)fx_setup(NULL);
    OK(fx_init(lab));
    fx_host("n1", 1, "[]");
    fx_object("virtualmachines", "vm1");
    OK(fx_register("n1", 1, 0));
    n1 = fx_value();
    OK(offer(n1, t));
    OK(fx_acquire("n1", n1, VM1));
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, NULL, 0, NULL));
    f = fx_value();
    OK(fx_wait(n1));
    rc = watchdog(f, UINT64_MAX);
    OWNER(VM1, rc == 0 ? 0 : n1);
    return rc;
}

/* S19, S20: what may have been in force when the host died. */
static void watchdogs_that_prove_nothing(void **state)
{
    struct terms t = FX_TERMS;

    (void)state;
    OK(watchdog_with(t, false));
    t.wd = WD_XEN;
    OK(watchdog_with(t, false));
    t.wd = WD_SOFTDOG;
    WANT(ERR_REFUSED, watchdog_with(t, false));
    WANT(ERR_REFUSED, watchdog_with(t, true));
    t.wd = WD_DEV;
    WANT(ERR_REFUSED, watchdog_with(t, false));
    OK(watchdog_with(t, true));
    t = FX_TERMS;
    t.nowayout = false;
    WANT(ERR_REFUSED, watchdog_with(t, false));
    OK(watchdog_with(t, true));
    t = FX_TERMS;
    t.guarded = false;
    WANT(ERR_REFUSED, watchdog_with(t, false));
    WANT(ERR_REFUSED, watchdog_with(t, true));
    t = FX_TERMS;
    t.on_quorum_loss = QUORUM_LOSS_FREEZE;
    WANT(ERR_REFUSED, watchdog_with(t, false));
    SAYS("Freeze");
    WANT(ERR_REFUSED, watchdog_with(t, true));
}

/* S13: the longer terms that may still be in force decide about the bound. */
static void s13_the_bound_is_that_of_the_loosest_terms(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct terms t = FX_TERMS;
    uint64_t f;

    (void)state;
    t.lease_ms = 60000;
    OK(offer(n1, t));
    t.lease_ms = 1000;
    OK(offer(n1, t)); /* never confirmed: the host is partitioned */
    f = open_fencing("drac", "Ipmi");
    OK(fx_wait(n1));
    WANT(ERR_REFUSED, watchdog(f, s_watchdog_bound_ms(&t)));
    WANT(ERR_REFUSED, watchdog(f, s_watchdog_bound_ms(&FX_TERMS)));
    still_held();
    t.lease_ms = 60000;
    OK(watchdog(f, s_watchdog_bound_ms(&t)));
}

/* --- confirmation ------------------------------------------------------------------------------
 */

static void a_confirmation_names_host_and_incarnation(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t n2 = inc_of("n2");

    (void)state;
    OK(fx_acquire("n1", n1, VM1));
    WANT(ERR_REFUSED, fx_confirm_as(as_operator(), "n1", n1)); /* Live */
    OK(fx_lost(n1));
    WANT(ERR_CONFLICT, fx_confirm_as(as_operator(), "n1", n2));
    WANT(ERR_CONFLICT, fx_confirm_as(as_operator(), "n2", n1));
    WANT(ERR_CONFLICT, fx_confirm_as(as_operator(), "n1", 0));
    WANT(ERR_NOT_FOUND, fx_confirm_as(as_operator(), "n9", n1));
    OWNER(VM1, n1);
    OK(fx_confirm_as(as_operator(), "n1", n1));
    OWNER(VM1, 0);
    assert_non_null(strstr(fx_inc(n1).reason, "olga"));
}

static void a_confirmation_is_contradicted_by_a_life_sign(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_life_sign(f, 0));
    WANT(ERR_REFUSED, fx_confirm_as(as_admin(), "n1", n1));
    SAYS("life sign");
    still_held();
    OK(fx_veto(f, 0)); /* another reason does not take it back */
    WANT(ERR_REFUSED, fx_confirm_as(as_admin(), "n1", n1));
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_confirm_as(as_admin(), "n1", n1));
    assert_int_equal(fx_fencing(f).proof, PROOF_CONFIRMATION);
}

static void a_new_wait_ends_the_contradiction(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_life_sign(f, 0));
    OK(fx_wait(n1));
    OK(fx_confirm_as(as_admin(), "n1", n1));
}

/* When no executor is left, a person's word is what there is. */
static void a_veto_without_a_life_sign_leaves_the_person_alone(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = open_fencing("drac", "Ipmi");

    (void)state;
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_veto(f, 1));
    OK(fx_confirm_as(as_admin(), "n1", n1));
}

/* S18: after an edit the fencing is opened anew in the place of the old one. */
static void s18_a_fencing_is_replaced_by_its_id(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t old = open_fencing("drac", "Ipmi");
    struct cmd_fence_device d = { .name = "drac", .generation = 2, .type = "Ipmi" };
    struct cmd_fence_level lv = { .devices = &d, .n_devices = 1 };
    struct cmd c = fx_safety(CMD_FENCE_OPEN, as_controller(), n1);
    uint64_t f;

    (void)state;
    OK(fx_wait(n1));
    OK(fx_attempt(old, 0, "n2"));
    fx_device("drac", 2, "Ipmi");
    c.safety.host = "n1";
    c.safety.host_generation = 1;
    c.safety.levels = &lv;
    c.safety.n_levels = 1;
    WANT(ERR_REFUSED, fx_apply(&c)); /* names none */
    c.safety.fencing = old + 1;
    WANT(ERR_REFUSED, fx_apply(&c));
    c.safety.fencing = old;
    OK(fx_apply(&c));
    f = fx_value();
    assert_int_equal(fx_fencing(old).state, FENCING_CANCELED);
    assert_int_equal(fx_inc(n1).fencing, f);
    WANT(ERR_STALE, fx_result_as(as_executor("n2"), old, 1, "drac", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_STALE, off(old, 1));
    WANT(ERR_STALE, off(f, 1));
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(off(f, 1));
    OWNER(VM1, 0);
}

static void a_confirmation_of_an_old_incarnation(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t again;

    (void)state;
    OK(fx_lost(n1));
    OK(fx_register("n1", 2, n1));
    again = fx_value();
    OK(fx_acquire("n1", again, VM1));
    OK(fx_lost(again));
    WANT(ERR_CONFLICT, fx_confirm_as(as_operator(), "n1", n1)); /* written before the reboot */
    OWNER(VM1, again);
}

/* --- reservations ------------------------------------------------------------------------------
 */

#define DEV(luns) "{\"spec\":{\"type\":\"ScsiReservation\"" luns "}}"

static uint64_t scsi_setup(const char *device)
{
    struct cmd_fence_device d = { .name = "pr", .generation = 1, .type = "ScsiReservation" };
    struct cmd_fence_level lv = { .devices = &d, .n_devices = 1 };
    uint64_t n1 = inc_of("n1");
    uint64_t f;

    OK(fx_object_as(as_admin(), "o/fencedevices/pr", 1, device));
    fx_host("n1", 2, "[{\"devices\":[\"pr\"]}]");
    OK(fx_object_as(as_admin(), "o/volumes/lv1", 1, "{\"spec\":{\"volumeGroup\":\"vg0\"}}"));
    OK(fx_object_as(as_admin(), "o/volumegroups/vg0", 1, "{\"spec\":{\"luns\":[\"a\",\"b\"]}}"));
    OK(fx_acquire("n1", n1, "volumes/lv1"));
    OK(fx_acquire("n1", n1, VM1));
    OK(fx_lost(n1));
    OK(open_levels(&lv, 1, 2));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    return f;
}

static int scsi(uint64_t f, const char *lock)
{
    struct cmd_lock_ref r = { .lock = lock };
    struct cmd c = fx_safety(CMD_PROOF, as_controller(), 0);

    c.safety.fencing = f;
    c.safety.attempt = 1;
    c.safety.proof = PROOF_SCSI;
    c.safety.locks = &r;
    c.safety.n_locks = lock != NULL;
    return fx_apply(&c);
}

static void s20_a_reservation_releases_what_it_covers(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = scsi_setup(DEV(""));

    (void)state;
    WANT(ERR_REFUSED, scsi(f, "volumes/lv1")); /* not read back yet */
    OK(fx_result_as(as_executor("n2"), f, 1, "pr", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, scsi(f, NULL));
    WANT(ERR_REFUSED, off(f, 1)); /* the host still runs */
    OK(scsi(f, "volumes/lv1"));
    OWNER("volumes/lv1", 0);
    OWNER(VM1, n1);
    STATE(n1, "Fencing");
    WANT(ERR_NOT_FOUND, scsi(f, "volumes/lv1"));
    /* its guests have lost their disks: no way back but a reset */
    WANT(ERR_REFUSED, fx_reprieve(n1, f));
    SAYS("reset");
    OK(fx_confirm_as(as_operator(), "n1", n1));
    OWNER(VM1, 0);
}

static void s20_a_reservation_must_cover_all_luns(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = scsi_setup(DEV(",\"luns\":[\"a\"]"));

    (void)state;
    OK(fx_result_as(as_executor("n2"), f, 1, "pr", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, scsi(f, "volumes/lv1"));
    SAYS("LUN b");
    OWNER("volumes/lv1", n1);
}

static void a_vm_needs_more_than_a_reservation(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f = scsi_setup(DEV(",\"luns\":[\"a\",\"b\"]"));

    (void)state;
    OK(fx_result_as(as_executor("n2"), f, 1, "pr", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, scsi(f, VM1));
    SAYS("StorageOnly");
    OK(fx_object_as(as_user(), "o/" VM1, 2,
                    "{\"spec\":{\"fencing\":\"StorageOnly\",\"disks\":[{\"path\":\"/x.img\"}]}}"));
    WANT(ERR_REFUSED, scsi(f, VM1));
    OWNER(VM1, n1);
    OK(fx_object_as(as_user(), "o/" VM1, 3,
                    "{\"spec\":{\"fencing\":\"StorageOnly\",\"disks\":[{\"volume\":\"lv1\"}]}}"));
    OK(scsi(f, VM1));
    OWNER(VM1, 0);
    OK(scsi(f, "volumes/lv1"));
}

static void a_reservation_is_no_proof_for_others(void **state)
{
    uint64_t f;

    (void)state;
    OK(fx_acquire("n2", inc_of("n2"), "volumes/lv2"));
    f = scsi_setup(DEV(""));
    OK(fx_result_as(as_executor("n2"), f, 1, "pr", FENCE_RESULT_SUCCEEDED));
    WANT(ERR_REFUSED, scsi(f, "volumes/lv2"));
    OWNER("volumes/lv2", inc_of("n2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_CLUSTER_TEST(the_bound_covers_lease_watchdog_feed_and_drift),
        FX_CLUSTER_TEST(watchdog_proof_after_the_bound),
        FX_CLUSTER_TEST(s11_wall_time_does_not_count),
        FX_CLUSTER_TEST(s12_a_new_term_waits_anew),
        FX_CLUSTER_TEST(s04_a_reprieve_resets_the_wait),
        FX_CLUSTER_TEST(a_life_sign_resets_the_wait),
        FX_CLUSTER_TEST(another_veto_leaves_the_wait_alone),
        FX_CLUSTER_TEST(the_wait_is_for_the_lost),
        FX_CLUSTER_TEST(watchdogs_that_prove_nothing),
        FX_CLUSTER_TEST(s13_the_bound_is_that_of_the_loosest_terms),
        FX_CLUSTER_TEST(a_confirmation_names_host_and_incarnation),
        FX_CLUSTER_TEST(a_confirmation_is_contradicted_by_a_life_sign),
        FX_CLUSTER_TEST(a_new_wait_ends_the_contradiction),
        FX_CLUSTER_TEST(a_veto_without_a_life_sign_leaves_the_person_alone),
        FX_CLUSTER_TEST(s18_a_fencing_is_replaced_by_its_id),
        FX_CLUSTER_TEST(a_confirmation_of_an_old_incarnation),
        FX_CLUSTER_TEST(s20_a_reservation_releases_what_it_covers),
        FX_CLUSTER_TEST(s20_a_reservation_must_cover_all_luns),
        FX_CLUSTER_TEST(a_vm_needs_more_than_a_reservation),
        FX_CLUSTER_TEST(a_reservation_is_no_proof_for_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
