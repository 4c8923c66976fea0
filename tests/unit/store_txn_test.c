/* Transactions, quota, alarms and raw leases. */

#include "store_fixture.h"

#include <stdlib.h>

static struct cmd txn(struct txn_cmp *cmp, struct txn_op *then_op, struct txn_op *else_op)
{
    struct cmd c = { .op = CMD_TXN, .actor = as_raw() };

    c.txn.cmp = cmp;
    c.txn.n_cmp = cmp != NULL;
    c.txn.then_ops = then_op;
    c.txn.n_then = then_op != NULL;
    c.txn.else_ops = else_op;
    c.txn.n_else = else_op != NULL;
    return c;
}

static const char *value(const char *key)
{
    const struct kv *v = store_get_str(fx.s, key);

    return v == NULL ? "(none)" : (const char *)kv_value(v);
}

/* --- compares ----------------------------------------------------------------------------------
 */

static void compares(void **state)
{
    static const struct {
        enum cmp_target target;
        enum cmp_result result;
        const char *key, *end, *value;
        uint64_t number;
        bool want;
    } T[] = {
        /* k/a: version 2, create 1, mod 3, value "m"; k/b: version 1, create 2, mod 2, value "x" */
        { CMP_VERSION, CMP_EQUAL, "k/a", NULL, NULL, 2, true },
        { CMP_VERSION, CMP_EQUAL, "k/a", NULL, NULL, 1, false },
        { CMP_VERSION, CMP_GREATER, "k/a", NULL, NULL, 1, true },
        { CMP_VERSION, CMP_GREATER, "k/a", NULL, NULL, 2, false },
        { CMP_VERSION, CMP_LESS, "k/a", NULL, NULL, 3, true },
        { CMP_VERSION, CMP_LESS, "k/a", NULL, NULL, 2, false },
        { CMP_VERSION, CMP_NOT_EQUAL, "k/a", NULL, NULL, 3, true },
        { CMP_VERSION, CMP_EQUAL, "k/none", NULL, NULL, 0, true },
        { CMP_CREATE, CMP_EQUAL, "k/a", NULL, NULL, 1, true },
        { CMP_CREATE, CMP_EQUAL, "k/none", NULL, NULL, 0, true },
        { CMP_MOD, CMP_EQUAL, "k/a", NULL, NULL, 3, true },
        { CMP_MOD, CMP_LESS, "k/none", NULL, NULL, 1, true },
        { CMP_LEASE, CMP_EQUAL, "k/a", NULL, NULL, 0, true },
        { CMP_VALUE, CMP_EQUAL, "k/a", NULL, "m", 0, true },
        { CMP_VALUE, CMP_EQUAL, "k/a", NULL, "mm", 0, false },
        { CMP_VALUE, CMP_LESS, "k/a", NULL, "mm", 0, true },
        { CMP_VALUE, CMP_GREATER, "k/a", NULL, "a", 0, true },
        { CMP_VALUE, CMP_GREATER, "k/a", NULL, "", 0, true },
        { CMP_VALUE, CMP_NOT_EQUAL, "k/a", NULL, "m", 0, false },
        { CMP_VALUE, CMP_NOT_EQUAL, "k/none", NULL, "m", 0, false },
        { CMP_VALUE, CMP_EQUAL, "k/none", NULL, "", 0, false },
        { CMP_VERSION, CMP_GREATER, "k/", "k0", NULL, 0, true }, /* all of the range */
        { CMP_VERSION, CMP_GREATER, "k/", "k0", NULL, 1, false },
        { CMP_VERSION, CMP_EQUAL, "k/x", "k/z", NULL, 0, true }, /* an empty range */
        { CMP_VALUE, CMP_EQUAL, "k/x", "k/z", "m", 0, false },
    };

    (void)state;
    OK(fx_put("k/a", "l"));
    OK(fx_put("k/b", "x"));
    OK(fx_put("k/a", "m"));
    for (size_t i = 0; i < ARRAY_LEN(T); i++) {
        struct txn_cmp cmp = {
            .target = T[i].target,
            .result = T[i].result,
            .key = bytes_str(T[i].key),
            .end = bytes_str(T[i].end),
            .value = bytes_str(T[i].value),
            .number = T[i].number,
        };
        struct cmd c = txn(&cmp, NULL, NULL);

        OK(fx_apply(&c));
        if (fx.ans.succeeded != T[i].want) {
            fail_msg("compare %zu of %s", i, T[i].key);
        }
    }
}

static void then_or_else(void **state)
{
    struct txn_cmp cmp = { .target = CMP_VERSION, .key = bytes_str("k/a") };
    struct txn_op yes = { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("yes") };
    struct txn_op no = { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("no") };
    struct cmd c = txn(&cmp, &yes, &no);

    (void)state;
    OK(fx_apply(&c));
    assert_true(fx.ans.succeeded);
    assert_string_equal(value("k/a"), "yes");
    OK(fx_apply(&c));
    assert_false(fx.ans.succeeded);
    assert_string_equal(value("k/a"), "no");
    assert_int_equal(fx.ans.n_answers, 1);
}

/* --- ops ---------------------------------------------------------------------------------------
 */

static void previous_values(void **state)
{
    struct txn_op op = {
        .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("1"), .prev_kv = true
    };

    (void)state;
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_int_equal(fx.ans.answers[0].n_kvs, 0);
    op.value = bytes_str("2");
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_int_equal(fx.ans.answers[0].n_kvs, 1);
    assert_memory_equal(fx.ans.answers[0].kvs[0].value.p, "1", 1);
    op.kind = TXN_DELETE;
    op.value = (struct bytes){ NULL, 0 };
    op.key = bytes_str("k/");
    op.end = bytes_str("k0");
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_int_equal(fx.ans.answers[0].count, 1);
    assert_memory_equal(fx.ans.answers[0].kvs[0].value.p, "2", 1);
    assert_string_equal(value("k/a"), "(none)");
}

static void gets(void **state)
{
    struct txn_op op = { .kind = TXN_GET, .key = bytes_str("k/"), .end = bytes_str("k0") };

    (void)state;
    for (int i = 0; i < 9; i++) {
        OK(fx_put(arena_printf(&fx.a, "k/%d", i), "some value"));
    }
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_int_equal(fx.ans.answers[0].count, 9);
    assert_int_equal(fx.ans.answers[0].n_kvs, 9);
    assert_memory_equal(fx.ans.answers[0].kvs[8].key.p, "k/8", 3);
    assert_int_equal(fx.ans.answers[0].kvs[8].mod_rev, 9);
    op.limit = 2;
    op.keys_only = true;
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_int_equal(fx.ans.answers[0].count, 9);
    assert_int_equal(fx.ans.answers[0].n_kvs, 2);
    assert_int_equal(fx.ans.answers[0].kvs[0].value.n, 0);
    op.count_only = true;
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_int_equal(fx.ans.answers[0].count, 9);
    assert_int_equal(fx.ans.answers[0].n_kvs, 0);
    assert_int_equal(store_rev(fx.s), 9);
}

/* Ops see what the ones before them did; all of it has one revision. */
static void ops_run_in_order(void **state)
{
    struct txn_op ops[] = {
        { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("1") },
        { .kind = TXN_GET, .key = bytes_str("k/a") },
        { .kind = TXN_DELETE, .key = bytes_str("k/a") },
        { .kind = TXN_GET, .key = bytes_str("k/a") },
        { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("2") },
    };

    (void)state;
    OK(fx_txn_as(as_raw(), ops, 5));
    assert_int_equal(fx.ans.rev, 1);
    assert_int_equal(fx.ans.answers[1].n_kvs, 1);
    assert_int_equal(fx.ans.answers[1].kvs[0].mod_rev, 1);
    assert_int_equal(fx.ans.answers[3].n_kvs, 0);
    assert_string_equal(value("k/a"), "2");
    assert_int_equal(store_get_str(fx.s, "k/a")->version, 1);
}

/* An answer's text is UTF-8, whatever the key is. */
static void refusals_name_any_key(void **state)
{
    static const uint8_t key[] = { 'k', '/', 0xff, 0, 0xc3, '"' };
    struct txn_op op = { .kind = TXN_PUT, .key = { key, sizeof(key) }, .keep_value = true };

    (void)state;
    WANT(ERR_NOT_FOUND, fx_txn_as(as_raw(), &op, 1));
    SAYS("k/...\"");
    op.keep_value = false;
    op.value = bytes_str("1");
    WANT(ERR_DENIED, fx_txn_as(as_agent("n1"), &op, 1));
    SAYS("k/...\"");
}

static void keep_value_and_keep_lease(void **state)
{
    struct cmd grant = { .op = CMD_LEASE, .actor = as_raw(), .number = 5, .number2 = 60 };
    struct txn_op op = { .kind = TXN_PUT, .key = bytes_str("k/a"), .keep_value = true, .lease = 5 };

    (void)state;
    OK(fx_apply(&grant));
    WANT(ERR_NOT_FOUND, fx_txn_as(as_raw(), &op, 1));
    OK(fx_put("k/a", "1"));
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_string_equal(value("k/a"), "1");
    assert_int_equal(store_get_str(fx.s, "k/a")->lease, 5);
    op = (struct txn_op){
        .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("2"), .keep_lease = true
    };
    OK(fx_txn_as(as_raw(), &op, 1));
    assert_string_equal(value("k/a"), "2");
    assert_int_equal(store_get_str(fx.s, "k/a")->lease, 5);
    OK(fx_put("k/a", "3")); /* a plain put detaches */
    assert_int_equal(store_get_str(fx.s, "k/a")->lease, 0);
}

/* An answer that nobody could carry is refused before anything is changed. */
static void too_much_to_read(void **state)
{
    char *big = mem_alloc(1000001);
    struct txn_op ops[] = {
        { .kind = TXN_PUT, .key = bytes_str("k/x"), .value = bytes_str("1") },
        { .kind = TXN_GET, .key = bytes_str("k/"), .end = bytes_str("k0") },
    };

    (void)state;
    memset(big, 'x', 1000000);
    for (int i = 0; i < 9; i++) {
        OK(fx_put(arena_printf(&fx.a, "k/%d", i), big));
    }
    WANT(ERR_TOO_LARGE, fx_txn_as(as_raw(), ops, 2));
    assert_string_equal(value("k/x"), "(none)");
    ops[1].keys_only = true;
    OK(fx_txn_as(as_raw(), ops, 2));
    ops[1].keys_only = false;
    ops[1].limit = 3;
    OK(fx_txn_as(as_raw(), ops, 2));
    free(big);
}

/* --- quota and alarm ---------------------------------------------------------------------------
 */

static void the_quota_refuses_growth_only(void **state)
{
    struct store_limits limits = { .quota_bytes = 2000 };
    char value_of[1001];
    uint64_t n1;

    (void)state;
    (void)fx_teardown(NULL);
    (void)fx_setup_limits(&limits);
    OK(fx_init(false));
    fx_host("n1", 1, "[]");
    fx_object("virtualmachines", "vm1");
    memset(value_of, 'x', 1000);
    value_of[1000] = 0;
    OK(fx_put("k/a", value_of));
    WANT(ERR_LIMIT, fx_put("k/b", value_of));
    SAYS("quota");
    OK(fx_put("k/a", value_of)); /* no growth */
    /* what safety needs goes on */
    OK(fx_register("n1", 1, 0));
    n1 = fx_value();
    OK(fx_acquire("n1", n1, "virtualmachines/vm1"));
    OK(fx_lost(n1));
    OK(fx_confirm_as(as_operator(), "n1", n1));
    OK(fx_del("k/a"));
    OK(fx_put("k/b", "small"));
}

static void an_alarm_refuses_growth_only(void **state)
{
    struct cmd c = { .op = CMD_ALARM, .actor = as_controller(), .text = "NOSPACE", .number = 1 };
    struct cmd grant = { .op = CMD_LEASE, .actor = as_raw(), .number2 = 60 };

    (void)state;
    OK(fx_init(false));
    OK(fx_put("k/a", "12345"));
    OK(fx_apply(&c));
    OK(fx_apply(&c)); /* on is on */
    WANT(ERR_LIMIT, fx_put("k/b", "1"));
    SAYS("NOSPACE");
    WANT(ERR_LIMIT, fx_apply(&grant));
    OK(fx_put("k/a", "1234"));
    OK(fx_del("k/a"));
    c.number = 0;
    OK(fx_apply(&c));
    OK(fx_put("k/b", "1"));
    c.text = "Not A Name";
    WANT(ERR_INVALID, fx_apply(&c));
}

static int give_quota(uint64_t all, uint64_t raw)
{
    struct cmd c = { .op = CMD_QUOTA, .actor = as_controller(), .number = all, .number2 = raw };

    return fx_apply(&c);
}

static int raise_level(void)
{
    struct cmd c = { .op = CMD_FEATURE, .actor = as_controller(), .number = 2 };

    return fx_apply(&c);
}

static int put_by(struct actor actor, const char *key, const char *value)
{
    return fx_put_as(actor, key, value, strlen(value));
}

/* From level 2 on: raw keys have a quota of their own, and what keeps machines running has a
 * reserve. */
static void raw_keys_do_not_take_the_room_of_objects(void **state)
{
    static char big[60001];
    struct store_room room;

    (void)state;
    OK(fx_init(false));
    fx_host("n1", 1, "[]");
    WANT(ERR_UNSUPPORTED, give_quota(1 << 18, 1 << 17));
    OK(raise_level());
    WANT(ERR_INVALID, give_quota(100, 0));
    OK(give_quota(1 << 18, 1 << 17));
    memset(big, 'x', 60000);
    OK(put_by(as_raw(), "k/a", big));
    OK(put_by(as_raw(), "k/b", big));
    WANT(ERR_LIMIT, put_by(as_raw(), "k/c", big));
    assert_string_equal(fx.ans.msg, "etcdserver: mvcc: database space exceeded");
    store_room(fx.s, &room);
    assert_int_equal(room.raw_bytes, 2 * (60000 + 3));
    fx_object("virtualmachines", "vm1");
    OK(fx_del("k/a"));
    OK(put_by(as_raw(), "k/c", big));
    OK(give_quota(1 << 17, 0)); /* too late for what is there */
    store_room(fx.s, &room);
    assert_int_equal(room.raw_quota, 1 << 16);
    WANT(ERR_LIMIT, put_by(as_raw(), "k/d", "1"));
    OK(put_by(as_agent("n1"), "r/n1/volumes/v", "{}"));
    big[10000] = 0;
    OK(put_by(as_agent("n1"), "r/n1/volumes/v", big));
    big[10000] = 'x';
    WANT(ERR_LIMIT, put_by(as_agent("n1"), "r/n1/volumes/w", big)); /* the reserve has an end */
    SAYS("quota");
}

static void an_alarm_spares_what_keeps_machines_running(void **state)
{
    struct cmd c = { .op = CMD_ALARM, .actor = as_controller(), .text = "NOSPACE", .number = 1 };

    (void)state;
    OK(fx_init(false));
    fx_host("n1", 1, "[]");
    OK(raise_level());
    OK(fx_apply(&c));
    WANT(ERR_LIMIT, put_by(as_raw(), "k/b", "1"));
    WANT(ERR_LIMIT, fx_put("k/b", "1"));
    OK(put_by(as_agent("n1"), "r/n1/volumes/v", "{}"));
    c.number = 0;
    OK(fx_apply(&c));
    OK(put_by(as_raw(), "k/b", "1"));
    c.text = "raw-nospace";
    c.number = 1;
    OK(fx_apply(&c));
    WANT(ERR_LIMIT, put_by(as_raw(), "k/c", "1"));
    fx_object("virtualmachines", "vm1");
    OK(fx_del("k/b"));
}

/* --- leases ------------------------------------------------------------------------------------
 */

static int lease(struct actor actor, uint64_t id, uint64_t ttl)
{
    struct cmd c = { .op = CMD_LEASE, .actor = actor, .number = id, .number2 = ttl };

    return fx_apply(&c);
}

static int put_leased(const char *key, uint64_t id)
{
    struct txn_op op = { .kind = TXN_PUT, .key = bytes_str(key), .value = bytes_str("v") };

    op.lease = id;
    return fx_txn_as(as_raw(), &op, 1);
}

static void a_lease_takes_its_keys_along(void **state)
{
    uint64_t rev;

    (void)state;
    WANT(ERR_NOT_FOUND, put_leased("k/a", 7));
    OK(lease(as_raw(), 7, 60));
    assert_int_equal(fx_value(), 7);
    WANT(ERR_EXISTS, lease(as_raw(), 7, 60));
    OK(lease(as_raw(), 8, 60));
    OK(put_leased("k/a", 7));
    OK(put_leased("k/b", 7));
    OK(put_leased("k/c", 8));
    OK(put_leased("k/d", 7));
    OK(put_leased("k/b", 8)); /* moves over */
    OK(fx_del("k/d"));
    rev = store_rev(fx.s);
    OK(lease(as_controller(), 7, 0));
    assert_int_equal(store_rev(fx.s), rev + 1);
    assert_string_equal(value("k/a"), "(none)");
    assert_string_equal(value("k/b"), "v");
    assert_string_equal(value("k/c"), "v");
    WANT(ERR_NOT_FOUND, lease(as_raw(), 7, 0));
    OK(lease(as_raw(), 8, 0));
    assert_int_equal(store_count(fx.s), 0);
}

static void the_store_picks_an_id(void **state)
{
    uint64_t id;

    (void)state;
    OK(lease(as_raw(), 1, 60));
    OK(lease(as_raw(), 3, 60));
    OK(lease(as_raw(), 0, 60)); /* revision 3 is taken */
    id = fx_value();
    assert_int_equal(id, 4);
    OK(put_leased("k/a", id));
    WANT(ERR_DENIED, lease(as_controller(), 0, 60));
}

static void objects_have_no_leases(void **state)
{
    struct txn_op op = { .kind = TXN_PUT, .key = bytes_str("o/volumes/x"), .lease = 7 };
    struct buf b = { 0 };

    (void)state;
    OK(lease(as_raw(), 7, 60));
    objval_encode(1, 0, "{}", 2, &b);
    op.value = (struct bytes){ b.data, b.len };
    WANT(ERR_INVALID, fx_txn_as(as_user(), &op, 1));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(compares),
        FX_TEST(then_or_else),
        FX_TEST(previous_values),
        FX_TEST(gets),
        FX_TEST(ops_run_in_order),
        FX_TEST(refusals_name_any_key),
        FX_TEST(keep_value_and_keep_lease),
        FX_TEST(too_much_to_read),
        FX_TEST(the_quota_refuses_growth_only),
        FX_TEST(an_alarm_refuses_growth_only),
        FX_TEST(raw_keys_do_not_take_the_room_of_objects),
        FX_TEST(an_alarm_spares_what_keeps_machines_running),
        FX_TEST(a_lease_takes_its_keys_along),
        FX_TEST(the_store_picks_an_id),
        FX_TEST(objects_have_no_leases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
