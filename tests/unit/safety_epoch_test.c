/* Epochs, recovery and quarantine: scenario S1 of docs/safety.md. */

#include "store_fixture.h"

#define VM1 "virtualmachines/vm1"
#define VM2 "virtualmachines/vm2"

static uint64_t inc_of(const char *host)
{
    return fx_s_host(host).incarnation;
}

static int recover(struct actor actor, uint64_t epoch, const char *joined)
{
    struct cmd c = { .op = CMD_RECOVER, .actor = actor, .number = epoch };

    c.names = &joined;
    c.n_names = joined != NULL;
    return fx_apply(&c);
}

static int inventory_of(const char *host, uint64_t inc, const char *lock1, const char *lock2,
                        bool complete)
{
    struct cmd_lock_ref r[2] = { { .lock = lock1, .uid = "uid-1" },
                                 { .lock = lock2, .uid = "uid-2" } };
    struct cmd c = fx_safety(CMD_INVENTORY, as_agent(host), inc);

    c.safety.locks = r;
    c.safety.n_locks = lock2 != NULL ? 2 : lock1 != NULL ? 1 : 0;
    c.safety.complete = complete;
    return fx_apply(&c);
}

static int inventory(const char *host, uint64_t inc, const char *lock1, const char *lock2)
{
    return inventory_of(host, inc, lock1, lock2, true);
}

static struct s_cluster cluster(void)
{
    struct s_cluster c = { 0 };
    struct err err;

    assert_int_equal(s_cluster_get(fx.s, &fx.a, &c, &err), 0);
    return c;
}

/* --- init --------------------------------------------------------------------------------------
 */

static void init_happens_once(void **state)
{
    (void)state;
    WANT(ERR_REFUSED, fx_lost(1));
    SAYS("picket init");
    OK(fx_init(true));
    assert_true(cluster().lab);
    assert_int_equal(cluster().epoch, 1);
    assert_string_equal(cluster().id, "cluster-1");
    WANT(ERR_EXISTS, fx_init(false));
    assert_true(cluster().lab);
}

static void init_refuses_nonsense(void **state)
{
    struct cmd c = { .op = CMD_INIT, .actor = as_admin(), .text = "x", .number = 0 };

    (void)state;
    WANT(ERR_INVALID, fx_apply(&c));
    c.number = 1;
    c.number2 = 2;
    WANT(ERR_INVALID, fx_apply(&c));
    c.number2 = 0;
    c.text = NULL;
    WANT(ERR_INVALID, fx_apply(&c));
    c.text = "x";
    c.actor = as_operator();
    WANT(ERR_DENIED, fx_apply(&c));
}

static void the_epoch_of_a_command_is_checked(void **state)
{
    struct cmd c = fx_safety(CMD_LOST, as_controller(), inc_of("n1"));

    (void)state;
    c.epoch = 2;
    WANT(ERR_STALE, fx_apply(&c));
    SAYS("epoch");
    c.epoch = 1;
    OK(fx_apply(&c));
}

static void the_feature_level_only_grows(void **state)
{
    struct cmd c = { .op = CMD_FEATURE, .actor = as_controller(), .number = 1 };

    (void)state;
    WANT(ERR_REFUSED, fx_apply(&c));
    c.number = 1001;
    WANT(ERR_INVALID, fx_apply(&c));
    assert_int_equal(cluster().feature_level, 1);
    assert_false(store_unfit(fx.s));
    c.number = STORE_FEATURE_MAX;
    OK(fx_apply(&c));
    WANT(ERR_REFUSED, fx_apply(&c));
    assert_int_equal(cluster().feature_level, STORE_FEATURE_MAX);
    assert_false(store_unfit(fx.s));
    /* a later version's level is taken the same way, so that the states stay equal; but then this
     * replica is unfit */
    c.number = STORE_FEATURE_MAX + 1;
    OK(fx_apply(&c));
    assert_true(store_unfit(fx.s));
}

/* Two replicas of different versions see the same log.  While the cluster is at the lower level
 * both do the same with a command of the higher one: nothing, not even in its session. */
static void versions_do_not_diverge(void **state)
{
    struct cmd quota = {
        .op = CMD_QUOTA, .actor = as_controller(), .number = 1 << 20, .number2 = 1 << 17
    };
    struct cmd feature = { .op = CMD_FEATURE, .actor = as_controller(), .number = 2 };
    struct cmd open = { .op = CMD_SESSION_OPEN, .actor = as_controller(), .text = "c" };
    struct buf log[5] = { { 0 } }, out = { 0 };
    struct store *older = store_new(NULL), *newer = store_new(NULL);
    struct cmd init = { .op = CMD_INIT, .actor = as_controller(), .text = "id", .number = 1 };
    struct store_room room;
    struct err err;

    (void)state;
    store_set_max_level(older, 1);
    assert_int_equal(cmd_encode(&init, &log[0], &err), 0);
    assert_int_equal(cmd_encode(&open, &log[1], &err), 0);
    quota.session = quota.seq = quota.ack = 1;
    assert_int_equal(cmd_encode(&quota, &log[2], &err), 0);
    assert_int_equal(cmd_encode(&feature, &log[3], &err), 0);
    assert_int_equal(cmd_encode(&quota, &log[4], &err), 0); /* the same seq: it was not used up */
    for (size_t i = 0; i < ARRAY_LEN(log); i++) {
        if (!store_unfit(older)) {
            store_apply(older, i + 1, fx.term, 1, log[i].data, log[i].len, &out);
        }
        store_apply(newer, i + 1, fx.term, 1, log[i].data, log[i].len, &out);
        assert_int_equal(store_hash(older) == store_hash(newer), i < 4);
        assert_int_equal(store_unfit(older), i >= 3);
        store_room(newer, &room);
        assert_int_equal(room.quota == 1 << 20, i == 4);
        buf_done(&log[i]);
    }
    assert_int_equal(room.raw_quota, 1 << 17);
    buf_done(&out);
    store_free(older);
    store_free(newer);
}

/* --- recovery ----------------------------------------------------------------------------------
 */

static void only_an_administrator_recovers(void **state)
{
    (void)state;
    WANT(ERR_DENIED, recover(as_controller(), 2, NULL));
    WANT(ERR_DENIED, recover(as_operator(), 2, NULL));
    WANT(ERR_INVALID, recover(as_admin(), 1, NULL));
    WANT(ERR_INVALID, recover(as_admin(), 2, "No Name"));
    assert_false(cluster().quarantined);
    OK(recover(as_admin(), 2, NULL));
    assert_true(cluster().quarantined);
    assert_int_equal(cluster().epoch, 2);
}

static void counters_leave_the_lost_history_behind(void **state)
{
    struct s_cluster before = cluster();

    (void)state;
    OK(recover(as_admin(), 2, NULL));
    assert_true(cluster().last_token >= before.last_token + (UINT64_C(1) << 40));
    assert_true(cluster().last_incarnation >= before.last_incarnation + (UINT64_C(1) << 40));
}

/* S1: an old backup is restored while guests run; nothing starts before all are heard. */
static void s01_nothing_starts_before_all_are_accounted_for(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t n2 = inc_of("n2");
    uint64_t n3 = inc_of("n3");
    uint64_t token;

    (void)state;
    OK(fx_acquire("n1", n1, VM1)); /* so says the backup; since then vm1 has moved to n2 */
    OK(recover(as_admin(), 2, NULL));
    assert_true(fx_lock(VM1).quarantined);
    /* the agents are of the old epoch */
    WANT(ERR_STALE, fx_acquire("n2", n2, VM2));
    WANT(ERR_STALE, inventory("n2", n2, VM1, NULL));
    OK(fx_register("n1", 1, n1));
    assert_int_equal(fx_value(), n1); /* adopted into the new epoch */
    OK(fx_register("n2", 1, n2));
    OK(fx_register("n3", 1, n3));
    WANT(ERR_REFUSED, fx_acquire("n2", n2, VM2));
    SAYS("recovered");
    /* an inventory that leaves open what is held says nothing */
    WANT(ERR_REFUSED, inventory_of("n2", n2, NULL, NULL, false));
    SAYS("all that the host holds");
    OK(inventory("n2", n2, VM1, NULL)); /* there it is */
    token = fx_value();
    OWNER(VM1, n2);
    assert_true(fx_lock(VM1).quarantined);
    OK(inventory("n1", n1, NULL, NULL));
    WANT(ERR_REFUSED, fx_acquire("n1", n1, VM2));
    OK(inventory("n3", n3, NULL, NULL));
    /* all are accounted for */
    assert_false(cluster().quarantined);
    assert_false(fx_lock(VM1).quarantined);
    OWNER(VM1, n2);
    assert_int_equal(fx_lock(VM1).owner.token, token);
    OK(fx_acquire("n1", n1, VM2));
    WANT(ERR_CONFLICT, fx_acquire("n1", n1, VM1));
    OK(fx_lock_op(CMD_RELEASE, "n2", n2, VM1, token));
}

static void s01_what_nobody_claims_is_free_in_the_end(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_acquire("n1", n1, VM1));
    OK(recover(as_admin(), 2, NULL));
    for (unsigned i = 1; i <= 3; i++) {
        const char *host = arena_printf(&fx.a, "n%u", i);

        OWNER(VM1, n1); /* as the backup says, and quarantined */
        OK(fx_register(host, 1, inc_of(host)));
        OK(inventory(host, inc_of(host), NULL, NULL));
    }
    OWNER(VM1, 0);
    OK(fx_acquire("n2", inc_of("n2"), VM1));
}

static void s01_an_old_token_is_void(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t old;

    (void)state;
    OK(fx_acquire("n1", n1, VM1));
    old = fx_value();
    OK(recover(as_admin(), 2, NULL));
    OK(fx_register("n1", 1, n1));
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, old));
    OK(inventory("n1", n1, VM1, NULL));
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, old));
    OK(inventory("n1", n1, VM1, NULL)); /* again: the same token */
    OK(fx_lock_op(CMD_RELEASE, "n1", n1, VM1, fx_value()));
}

static void s01_two_claims_stay_quarantined(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t n2 = inc_of("n2");
    uint64_t n3 = inc_of("n3");
    uint64_t token;

    (void)state;
    OK(recover(as_admin(), 2, NULL));
    OK(fx_register("n1", 1, n1));
    OK(fx_register("n2", 1, n2));
    OK(fx_register("n3", 1, n3));
    OK(inventory("n1", n1, VM1, NULL));
    OK(inventory("n2", n2, VM1, NULL));
    token = fx_value();
    WANT(ERR_CONFLICT, inventory("n3", n3, VM2, VM1));
    OWNER(VM2, 0); /* all or nothing */
    OK(inventory("n3", n3, NULL, NULL));
    assert_false(cluster().quarantined);
    assert_true(fx_lock(VM1).quarantined);
    WANT(ERR_REFUSED, fx_acquire("n1", n1, VM1));
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_COMMIT, "n1", n1, VM1, fx_lock(VM1).owner.token));
    OK(fx_lock_op(CMD_RELEASE, "n1", n1, VM1, fx_lock(VM1).owner.token));
    assert_false(fx_lock(VM1).quarantined);
    OWNER(VM1, n2);
    assert_int_equal(fx_lock(VM1).owner.token, token);
    PEER(VM1, 0);
}

static void s01_a_contested_lock_is_settled_by_a_proof(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t n2 = inc_of("n2");

    (void)state;
    OK(recover(as_admin(), 2, NULL));
    OK(fx_register("n1", 1, n1));
    OK(fx_register("n2", 1, n2));
    OK(fx_register("n3", 1, inc_of("n3")));
    OK(inventory("n1", n1, VM1, NULL));
    OK(inventory("n2", n2, VM1, NULL));
    OK(inventory("n3", inc_of("n3"), NULL, NULL));
    OK(fx_lost(n1));
    OK(fx_confirm_as(as_operator(), "n1", n1));
    OWNER(VM1, n2);
    PEER(VM1, 0);
    assert_false(fx_lock(VM1).quarantined);
}

static void s01_hosts_that_joined_since_count(void **state)
{
    (void)state;
    OK(recover(as_admin(), 2, "n4"));
    for (unsigned i = 1; i <= 3; i++) {
        const char *host = arena_printf(&fx.a, "n%u", i);

        OK(fx_register(host, 1, inc_of(host)));
        OK(inventory(host, inc_of(host), NULL, NULL));
    }
    assert_true(cluster().quarantined);
    WANT(ERR_REFUSED, fx_acquire("n1", inc_of("n1"), VM1));
    WANT(ERR_DENIED, fx_confirm_as(as_controller(), "n4", 0));
    OK(fx_confirm_as(as_operator(), "n4", 0)); /* it has no incarnation here */
    assert_false(cluster().quarantined);
    OK(fx_acquire("n1", inc_of("n1"), VM1));
}

static void account_for_all_but_n1(void)
{
    for (unsigned i = 2; i <= 3; i++) {
        const char *host = arena_printf(&fx.a, "n%u", i);

        OK(fx_register(host, 1, inc_of(host)));
        OK(inventory(host, inc_of(host), NULL, NULL));
    }
    assert_true(cluster().quarantined);
}

static void s01_older_proofs_are_void(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(fx_lost(n1));
    OK(fx_confirm_as(as_operator(), "n1", n1)); /* before the backup; n1 may have come back since */
    OK(recover(as_admin(), 2, NULL));
    account_for_all_but_n1();
    OK(fx_confirm_as(as_operator(), "n1", n1)); /* again, in this epoch */
    assert_false(cluster().quarantined);
    WANT(ERR_REFUSED, fx_confirm_as(as_operator(), "n1", n1));
}

static void s01_a_fencing_under_way_is_canceled(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f;

    (void)state;
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(recover(as_admin(), 2, NULL));
    WANT(ERR_STALE, fx_proof_as(as_controller(), f, 1, PROOF_OFF, 0));
    assert_int_equal(fx_fencing(f).state, FENCING_CANCELED);
    STATE(n1, "Lost");
}

static void s01_an_off_proof_accounts_for_a_host(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t f;

    (void)state;
    OK(recover(as_admin(), 2, NULL));
    account_for_all_but_n1();
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    f = fx_value();
    OK(fx_attempt(f, 0, "n2"));
    OK(fx_result_as(as_executor("n2"), f, 1, "drac", FENCE_RESULT_SUCCEEDED));
    OK(fx_proof_as(as_controller(), f, 1, PROOF_OFF, 0));
    assert_false(cluster().quarantined);
}

/* A watchdog bound is that of one incarnation; there may have been a later one. */
static void s01_a_watchdog_proof_does_not_account_for_a_host(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(recover(as_admin(), 2, NULL));
    account_for_all_but_n1();
    OK(fx_lost(n1));
    OK(fx_open_as(as_controller(), "n1", n1, 1, "drac", 1, "Ipmi"));
    OK(fx_wait(n1));
    OK(fx_proof_as(as_controller(), fx_inc(n1).fencing, 0, PROOF_WATCHDOG, UINT64_MAX));
    STATE(n1, "Fenced");
    assert_true(cluster().quarantined);
    OK(fx_register("n1", 2, n1));
    assert_true(cluster().quarantined); /* back, but what does it run? */
    OK(inventory("n1", inc_of("n1"), NULL, NULL));
    assert_false(cluster().quarantined);
}

static void s01_a_host_cannot_be_deleted_out_of_the_way(void **state)
{
    (void)state;
    OK(recover(as_admin(), 2, NULL));
    account_for_all_but_n1();
    WANT(ERR_REFUSED, fx_del_as(as_admin(), "o/hosts/n1", NULL));
    SAYS("accounted");
    OK(fx_del_as(as_admin(), "o/hosts/n2", NULL));
    assert_true(cluster().quarantined);
}

static void sessions_end_with_their_epoch(void **state)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = as_executor("n1"), .text = "n1" };
    uint64_t id;

    (void)state;
    OK(fx_apply(&c));
    id = fx_value();
    c = (struct cmd){ .op = CMD_RECOVER, .actor = as_admin(), .number = 2 };
    c.session = id;
    c.seq = 1;
    c.ack = 1;
    OK(fx_apply(&c));
    WANT(ERR_STALE, fx_apply(&c)); /* not executed twice, and the session is gone */
    assert_int_equal(cluster().epoch, 2);
}

static void inventory_outside_a_quarantine_is_just_noted(void **state)
{
    uint64_t n1 = inc_of("n1");

    (void)state;
    OK(inventory("n1", n1, VM1, NULL));
    assert_true(fx_inc(n1).inventoried);
    OWNER(VM1, 0);
    assert_int_equal(fx.ans.n_values, 0);
    WANT(ERR_DENIED, inventory("n2", n1, NULL, NULL));
    OK(fx_lost(n1));
    WANT(ERR_STALE, inventory("n1", n1, NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(init_happens_once),
        FX_TEST(init_refuses_nonsense),
        FX_CLUSTER_TEST(the_epoch_of_a_command_is_checked),
        FX_CLUSTER_TEST(the_feature_level_only_grows),
        FX_TEST(versions_do_not_diverge),
        FX_TEST(versions_do_not_diverge),
        FX_CLUSTER_TEST(only_an_administrator_recovers),
        FX_CLUSTER_TEST(counters_leave_the_lost_history_behind),
        FX_CLUSTER_TEST(s01_nothing_starts_before_all_are_accounted_for),
        FX_CLUSTER_TEST(s01_what_nobody_claims_is_free_in_the_end),
        FX_CLUSTER_TEST(s01_an_old_token_is_void),
        FX_CLUSTER_TEST(s01_two_claims_stay_quarantined),
        FX_CLUSTER_TEST(s01_a_contested_lock_is_settled_by_a_proof),
        FX_CLUSTER_TEST(s01_hosts_that_joined_since_count),
        FX_CLUSTER_TEST(s01_older_proofs_are_void),
        FX_CLUSTER_TEST(s01_a_fencing_under_way_is_canceled),
        FX_CLUSTER_TEST(s01_an_off_proof_accounts_for_a_host),
        FX_CLUSTER_TEST(s01_a_watchdog_proof_does_not_account_for_a_host),
        FX_CLUSTER_TEST(s01_a_host_cannot_be_deleted_out_of_the_way),
        FX_CLUSTER_TEST(sessions_end_with_their_epoch),
        FX_CLUSTER_TEST(inventory_outside_a_quarantine_is_just_noted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
