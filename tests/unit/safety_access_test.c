/* Who may write what: every cell of the table in docs/safety.md 6, and keys of transactions. */

#include "store_fixture.h"

/* One row per command, one letter per role: C controller, A agent, E executor, M administrator, O
 * operator, U user, R raw client.  Written down apart from the table in store/access.c, on purpose.
 */
static const struct {
    enum cmd_op op;
    const char *who;
    bool offer;
} TABLE[] = {
    { CMD_TXN, "CAEMOUR", false },
    { CMD_SESSION_OPEN, "CAEMOUR", false },
    { CMD_COMPACT, "CMR", false },
    { CMD_FEATURE, "CM", false },
    { CMD_INIT, "CM", false },
    { CMD_REGISTER, "A", false },
    { CMD_TERMS, "C", true },
    { CMD_TERMS, "A", false },
    { CMD_LOST, "C", false },
    { CMD_REPRIEVE, "C", false },
    { CMD_FENCE_OPEN, "CMO", false },
    { CMD_FENCE_ATTEMPT, "C", false },
    { CMD_FENCE_RESULT, "E", false },
    { CMD_FENCE_VETO, "C", false },
    { CMD_PROOF, "C", false },
    { CMD_CONFIRM, "MO", false },
    { CMD_WATCHDOG_WAIT, "C", false },
    { CMD_ACQUIRE, "A", false },
    { CMD_RELEASE, "A", false },
    { CMD_MIG_JOIN, "A", false },
    { CMD_MIG_COMMIT, "A", false },
    { CMD_MIG_ABORT, "CA", false },
    { CMD_INVENTORY, "A", false },
    { CMD_ALARM, "CM", false },
    { CMD_LEASE, "CMR", false },
    { CMD_RECOVER, "M", false },
    { CMD_CONFLICT_CLEAR, "MO", false },
    { CMD_QUOTA, "CM", false },
};

static struct actor actor_of(enum actor_role role)
{
    switch (role) {
    case ACTOR_NONE:
        return (struct actor){ ACTOR_NONE, "x", 0 };
    case ACTOR_CONTROLLER:
        return as_controller();
    case ACTOR_AGENT:
        return as_agent("n9");
    case ACTOR_EXECUTOR:
        return as_executor("n9");
    case ACTOR_ADMIN:
        return as_admin();
    case ACTOR_OPERATOR:
        return as_operator();
    case ACTOR_USER:
        return as_user();
    case ACTOR_RAW:
        return as_raw();
    }
    return as_raw();
}

static void every_command_is_in_the_table(void **state)
{
    (void)state;
    for (int op = CMD_NONE + 1; op <= CMD_OP_MAX; op++) {
        struct cmd c = { .op = (enum cmd_op)op, .actor = as_admin() };
        struct buf b = { 0 };
        struct err err;
        bool known = cmd_encode(&c, &b, &err) == 0;
        bool listed = false;

        for (size_t i = 0; i < ARRAY_LEN(TABLE); i++) {
            listed = listed || TABLE[i].op == (enum cmd_op)op;
        }
        assert_int_equal(known, listed);
        buf_done(&b);
    }
}

/* Commands and rows of later levels are there. */
static void newest_level(void)
{
    struct cmd c = { .op = CMD_FEATURE, .actor = as_controller(), .number = STORE_FEATURE_MAX };

    OK(fx_apply(&c));
}

static void every_cell(void **state)
{
    static const char LETTER[] = "-CAEMOUR";

    (void)state;
    newest_level();
    for (size_t i = 0; i < ARRAY_LEN(TABLE); i++) {
        for (int role = ACTOR_NONE; role <= ACTOR_RAW; role++) {
            struct cmd c = { .op = TABLE[i].op, .actor = actor_of((enum actor_role)role) };
            bool allowed = strchr(TABLE[i].who, LETTER[role]) != NULL;
            uint64_t rev = store_rev(fx.s);
            int rc;

            c.safety.offer = TABLE[i].offer;
            c.text = "x";
            if (c.op == CMD_REGISTER) {
                c.reg.host = "n9";
            }
            if (c.op == CMD_LEASE) {
                c.number = 7; /* revoke what is not there */
            }
            rc = fx_apply(&c);
            if (allowed == (rc == ERR_DENIED)) {
                fail_msg("op %d by %c: %s (%s)", (int)c.op, LETTER[role], err_name(rc),
                         fx.ans.msg == NULL ? "" : fx.ans.msg);
            }
            if (!allowed) {
                assert_int_equal(store_rev(fx.s), rev);
            }
        }
    }
}

static void hosts_need_names(void **state)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = as_agent(""), .text = "x" };

    (void)state;
    WANT(ERR_DENIED, fx_apply(&c));
    c.actor = as_executor(NULL);
    WANT(ERR_DENIED, fx_apply(&c));
}

static void controllers_of_another_term_can_do_nothing(void **state)
{
    (void)state;
    newest_level();
    for (size_t i = 0; i < ARRAY_LEN(TABLE); i++) {
        struct cmd c = { .op = TABLE[i].op, .actor = as_controller() };

        if (strchr(TABLE[i].who, 'C') == NULL) {
            continue;
        }
        c.safety.offer = TABLE[i].offer;
        c.text = "x";
        c.actor.term = fx.term - 1;
        WANT(ERR_STALE, fx_apply(&c));
        c.actor.term = fx.term + 1;
        WANT(ERR_STALE, fx_apply(&c));
        c.actor.term = 0;
        WANT(ERR_STALE, fx_apply(&c));
    }
}

/* --- writing keys ------------------------------------------------------------------------------
 */

/* Role letters that may put, and that may delete; "" nobody. */
static const struct {
    const char *key, *put, *del;
} KEYS[] = {
    { "o/virtualmachines/new", "CMOU", "CMOU" },
    { "o/hosts/new", "CMOU", "CMOU" },
    { "r/n1/hosts/x", "A", "CAM" },
    { "r/n2/hosts/x", "", "CM" },
    { "k/a", "MR", "MR" },
    { "o/_tokens/x", "CEM", "CEM" },
    { "o/_members/ids", "CEM", "CEM" },
    { "o/_requests/x", "CAEMOUR", "CEM" },
    { "s/cluster", "", "" },
    { "s/lock/virtualmachines/vm1", "", "" },
    { "s/inc/00000000000000000001", "", "" },
    { "s/host/n1", "", "" },
    { "s/boot/uid-n1/b", "", "" },
    { "x", "", "" },
    { "o/", "", "" },
    { "r/", "", "" },
    { "k/", "", "" },
    { "o", "", "" },
    { "r/n1/", "", "CM" },
};

static void every_part_of_the_key_space(void **state)
{
    static const char LETTER[] = "-CAEMOUR";

    (void)state;
    newest_level();
    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        for (int role = ACTOR_CONTROLLER; role <= ACTOR_RAW; role++) {
            struct actor a = actor_of((enum actor_role)role);
            bool put = strchr(KEYS[i].put, LETTER[role]) != NULL;
            bool del = strchr(KEYS[i].del, LETTER[role]) != NULL;
            uint64_t rev = store_rev(fx.s);
            int rc;

            if (role == ACTOR_AGENT) {
                a.name = "n1";
            }
            rc = fx_object_as(a, KEYS[i].key, 1, "{}");
            if (put != (rc == 0)) {
                fail_msg("put %s by %c: %s", KEYS[i].key, LETTER[role], err_name(rc));
            }
            assert_int_equal(store_rev(fx.s), put ? rev + 1 : rev);
            rc = fx_del_as(a, KEYS[i].key, NULL);
            if (del != (rc == 0)) {
                fail_msg("delete %s by %c: %s", KEYS[i].key, LETTER[role], err_name(rc));
            }
            if (put && !del) {
                OK(fx_del_as(as_admin(), KEYS[i].key, NULL));
            }
        }
    }
}

static void ranges_do_not_reach_over(void **state)
{
    static const struct {
        const char *key, *end;
        int raw, admin, agent;
    } T[] = {
        { "k/", "k0", 0, 0, ERR_DENIED },
        { "k/a", "k/b", 0, 0, ERR_DENIED },
        { "k/", "k1", ERR_DENIED, ERR_DENIED, ERR_DENIED },
        { "k/", "s/z", ERR_DENIED, ERR_DENIED, ERR_DENIED },
        { "a", "z", ERR_DENIED, ERR_DENIED, ERR_DENIED },
        { "o/hosts/", "s/", ERR_DENIED, ERR_DENIED, ERR_DENIED },
        { "r/n1/", "r/n10", ERR_DENIED, 0, 0 },
        { "r/n1/", "r/n2", ERR_DENIED, 0, ERR_DENIED },
        { "r/", "r0", ERR_DENIED, 0, ERR_DENIED },
        { "s/", "s0", ERR_DENIED, ERR_DENIED, ERR_DENIED },
        { "o/volumes/", "o/volumes0", ERR_DENIED, 0, ERR_DENIED },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(T); i++) {
        WANT(T[i].raw, fx_del_as(as_raw(), T[i].key, T[i].end));
        WANT(T[i].admin, fx_del_as(as_admin(), T[i].key, T[i].end));
        WANT(T[i].agent, fx_del_as(as_agent("n1"), T[i].key, T[i].end));
    }
}

/* One forbidden op spoils the whole transaction. */
static void a_transaction_is_all_or_nothing(void **state)
{
    struct txn_op ops[] = {
        { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("1") },
        { .kind = TXN_PUT,
          .key = bytes_str("s/lock/virtualmachines/vm1"),
          .value = bytes_str("1") },
    };

    (void)state;
    WANT(ERR_DENIED, fx_txn_as(as_raw(), ops, 2));
    assert_null(store_get_str(fx.s, "k/a"));
}

static void the_branch_that_is_not_taken_is_not_judged(void **state)
{
    struct txn_op bad = { .kind = TXN_DELETE, .key = bytes_str("s/cluster") };
    struct txn_op good = { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("1") };
    struct cmd c = { .op = CMD_TXN, .actor = as_raw() };

    (void)state;
    c.txn.then_ops = &good;
    c.txn.n_then = 1;
    c.txn.else_ops = &bad;
    c.txn.n_else = 1;
    OK(fx_apply(&c));
    c.txn.then_ops = &bad;
    c.txn.else_ops = &good;
    WANT(ERR_DENIED, fx_apply(&c));
}

static void an_agent_writes_the_status_of_its_own_host_only(void **state)
{
    static const char STATUS[] =
        "{\"status\":{\"guests\":3},\"metadata\":{\"uid\":\"uid-n1\"},\"spec\":{\"fencing\":"
        "[{\"devices\":[\"drac\"]},{\"devices\":[\"pdu\"]}]}}";
    static const char OTHER_OUTLET[] =
        "{\"metadata\":{\"uid\":\"uid-n1\"},\"spec\":{\"fencing\":[{\"devices\":[\"x\"]}]}}";
    static const char OTHER_UID[] = "{\"metadata\":{\"uid\":\"me\"},\"spec\":{\"fencing\":"
                                    "[{\"devices\":[\"drac\"]},{\"devices\":[\"pdu\"]}]}}";

    (void)state;
    OK(fx_object_as(as_agent("n1"), "o/hosts/n1", 1, STATUS));
    WANT(ERR_DENIED, fx_object_as(as_agent("n1"), "o/hosts/n1", 1, OTHER_OUTLET));
    WANT(ERR_DENIED, fx_object_as(as_agent("n1"), "o/hosts/n1", 1, OTHER_UID));
    WANT(ERR_DENIED, fx_object_as(as_agent("n1"), "o/hosts/n1", 1, "no json"));
    WANT(ERR_DENIED, fx_object_as(as_agent("n1"), "o/hosts/n2", 1, "{}"));
    WANT(ERR_DENIED, fx_object_as(as_agent("n1"), "o/hosts/n1", 2, STATUS));
    SAYS("nothing but the status");
    WANT(ERR_DENIED, fx_object_as(as_agent("n1"), "o/virtualmachines/vm1", 1, "{}"));
    WANT(ERR_DENIED, fx_object_as(as_agent("n9"), "o/hosts/n9", 1, "{}"));
    WANT(ERR_DENIED, fx_del_as(as_agent("n1"), "o/hosts/n1", NULL));
    WANT(ERR_INVALID, fx_put_as(as_agent("n1"), "o/hosts/n1", "{}", 2));
    WANT(ERR_DENIED, fx_object_as(as_executor("n1"), "o/hosts/n1", 1, "{}"));
}

static void generations_never_go_back(void **state)
{
    (void)state;
    OK(fx_object_as(as_user(), "o/volumes/x", 3, "{}"));
    WANT(ERR_INVALID, fx_object_as(as_user(), "o/volumes/x", 2, "{}"));
    SAYS("never goes back");
    OK(fx_object_as(as_user(), "o/volumes/x", 3, "{\"status\":{}}"));
    OK(fx_object_as(as_user(), "o/volumes/x", 4, "{}"));
}

static void objects_have_the_form_of_objects(void **state)
{
    (void)state;
    WANT(ERR_INVALID, fx_put_as(as_user(), "o/volumes/x", "{}", 2));
    WANT(ERR_INVALID, fx_object_as(as_user(), "o/volumes", 1, "{}"));
    WANT(ERR_INVALID, fx_object_as(as_user(), "o/volumes/x/y", 1, "{}"));
    WANT(ERR_INVALID, fx_object_as(as_user(), "o/volumes/", 1, "{}"));
    WANT(ERR_INVALID, fx_object_as(as_user(), "o//x", 1, "{}"));
    WANT(ERR_INVALID, fx_object_as(as_user(), "o/volumes/a b", 1, "{}"));
}

/* --- reading keys ------------------------------------------------------------------------------
 */

static int get_as(struct actor a, const char *key, const char *end)
{
    struct txn_op op = { .kind = TXN_GET, .key = bytes_str(key), .end = bytes_str(end) };

    return fx_txn_as(a, &op, 1);
}

static int compare_as(struct actor a, const char *key)
{
    struct txn_cmp cmp = { .target = CMP_VERSION, .result = CMP_GREATER, .key = bytes_str(key) };
    struct cmd c = { .op = CMD_TXN, .actor = a };

    c.txn.cmp = &cmp;
    c.txn.n_cmp = 1;
    return fx_apply(&c);
}

static void raw_clients_see_nothing_else(void **state)
{
    static const char *const KEYS_OF_OTHERS[] = { "o/hosts/n1", "s/cluster", "r/n1/x", "x" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(KEYS_OF_OTHERS); i++) {
        WANT(ERR_DENIED, get_as(as_raw(), KEYS_OF_OTHERS[i], NULL));
        WANT(ERR_DENIED, compare_as(as_raw(), KEYS_OF_OTHERS[i]));
    }
    WANT(ERR_DENIED, get_as(as_raw(), "a", "z"));
    OK(get_as(as_raw(), "k/", "k0"));
    OK(compare_as(as_raw(), "k/a"));
}

static void hosts_do_not_read_secrets(void **state)
{
    (void)state;
    fx_object("secrets", "pdu");
    WANT(ERR_DENIED, get_as(as_agent("n1"), "o/secrets/pdu", NULL));
    WANT(ERR_DENIED, get_as(as_agent("n1"), "o/secrets/", "o/secrets0"));
    WANT(ERR_DENIED, get_as(as_agent("n1"), "o/", "o0"));
    WANT(ERR_DENIED, get_as(as_agent("n1"), "o/s", "o/t"));
    WANT(ERR_DENIED, get_as(as_executor("n1"), "o/secrets/pdu", NULL));
    WANT(ERR_DENIED, get_as(as_agent("n1"), "k/a", NULL));
    OK(get_as(as_agent("n1"), "o/hosts/", "o/hosts0"));
    OK(get_as(as_agent("n1"), "s/lock/", "s/lock0"));
    OK(compare_as(as_agent("n1"), "o/virtualmachines/vm1"));
    OK(get_as(as_admin(), "o/secrets/", "o/secrets0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_CLUSTER_TEST(every_command_is_in_the_table),
        FX_CLUSTER_TEST(every_cell),
        FX_CLUSTER_TEST(hosts_need_names),
        FX_CLUSTER_TEST(controllers_of_another_term_can_do_nothing),
        FX_CLUSTER_TEST(every_part_of_the_key_space),
        FX_CLUSTER_TEST(ranges_do_not_reach_over),
        FX_CLUSTER_TEST(a_transaction_is_all_or_nothing),
        FX_CLUSTER_TEST(the_branch_that_is_not_taken_is_not_judged),
        FX_CLUSTER_TEST(an_agent_writes_the_status_of_its_own_host_only),
        FX_CLUSTER_TEST(generations_never_go_back),
        FX_CLUSTER_TEST(objects_have_the_form_of_objects),
        FX_CLUSTER_TEST(raw_clients_see_nothing_else),
        FX_CLUSTER_TEST(hosts_do_not_read_secrets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
