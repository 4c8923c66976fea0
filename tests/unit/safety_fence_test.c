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

static int off_by_type(const char *type, bool lab)
{
    uint64_t f;
    int rc;

    (void)fx_teardown(NULL);
    (void)fx_setup(NULL);
    OK(fx_init(lab));
    fx_device("dev", 1, type);
    fx_host("n1", 1, "[{\"devices\":[\"dev\"]}]");
    fx_host("n2", 1, "[]");
    fx_object("virtualmachines", "vm1");
    OK(fx_register("n1", 1, 0));
    OK(fx_register("n2", 1, 0));
    f = open_fencing("dev", type);
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "dev", FENCE_RESULT_SUCCEEDED));
    rc = off(f, 1);
    assert_int_equal(fx_lock(VM1).owner.incarnation, rc == 0 ? 0 : inc_of("n1"));
    return rc;
}

static void proof_class_of_each_type(void **state)
{
    static const struct {
        const char *type;
        int normal, lab;
    } T[] = {
        { "ApcSnmp", 0, 0 },
        { "Ipmi", 0, 0 },
        { "Redfish", 0, 0 },
        { "Agent", 0, 0 },
        { "Null", ERR_REFUSED, 0 },
        { "Manual", ERR_REFUSED, ERR_REFUSED },
        { "Ssh", ERR_REFUSED, ERR_REFUSED },
        { "Watchdog", ERR_REFUSED, ERR_REFUSED },
        { "ScsiReservation", ERR_REFUSED, ERR_REFUSED },
        { "Nonsense", ERR_REFUSED, ERR_REFUSED },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(T); i++) {
        WANT(T[i].normal, off_by_type(T[i].type, false));
        WANT(T[i].lab, off_by_type(T[i].type, true));
    }
}

static int off_by_agent(const char *spec, enum proof_class said)
{
    struct cmd_fence_device d = {
        .name = "dev", .generation = 1, .type = "Agent", .provides = said
    };
    struct cmd_fence_level lv = { .devices = &d, .n_devices = 1 };
    uint64_t n1, f;

    (void)fx_teardown(NULL);
    (void)fx_setup_cluster(NULL);
    n1 = inc_of("n1");
    OK(fx_object_as(as_admin(), "o/fencedevices/dev", 1, spec));
    fx_host("n1", 2, "[{\"devices\":[\"dev\"]}]");
    OK(fx_lost(n1));
    OK(open_levels(&lv, 1, 2));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "dev", FENCE_RESULT_SUCCEEDED));
    return off(f, 1);
}

static void proof_class_of_agent_programs(void **state)
{
#define AGENT(more) "{\"spec\":{\"type\":\"Agent\"" more "}}"
    (void)state;
    OK(off_by_agent(AGENT(",\"agent\":\"fence_ilo5\""), CLASS_BY_TYPE));
    OK(off_by_agent(AGENT(",\"agent\":\"fence_x\",\"provides\":\"Power\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_x\""), CLASS_NONE));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_x\""), CLASS_STORAGE));
    /* what the object says cannot be talked up */
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"provides\":\"None\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"provides\":\"Storage\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_scsi\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_kdump\""), CLASS_BY_TYPE));
    WANT(ERR_REFUSED,
         off_by_agent(AGENT(",\"agent\":\"fence_dummy\",\"provides\":\"Power\""), CLASS_POWER));
    WANT(ERR_REFUSED, off_by_agent(AGENT(",\"agent\":\"fence_ack_manual\""), CLASS_BY_TYPE));
}

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
        FX_CLUSTER_TEST(proof_class_of_each_type),
        FX_CLUSTER_TEST(proof_class_of_agent_programs),
        FX_CLUSTER_TEST(kinds_that_do_not_come_from_controllers),
        FX_CLUSTER_TEST(a_proof_names_its_own_fencing),
        FX_CLUSTER_TEST(s04_a_reprieve_ends_the_fencing),
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
        FX_CLUSTER_TEST(results_are_kept_within_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
