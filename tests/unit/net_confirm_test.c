/* The confirmed change, what objects mean on a host, the files' content, and what is reported. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nw_confirm_sm.h"
#include "net/nw_journal_codec.h"
#include "net/nw_state.h"
#include "net/nw_want.h"

/* --- the state machine -------------------------------------------------------------------------
 */

static struct nw_confirm waiting(void)
{
    struct nw_confirm c = { .timeout_ms = 30000 };

    assert_int_equal(nw_confirm_step(&c, NW_EV_START, 1000), NW_ACT_APPLY);
    assert_int_equal(nw_confirm_step(&c, NW_EV_CONFIRMED, 1001), NW_ACT_NONE); /* not done yet */
    assert_int_equal(nw_confirm_step(&c, NW_EV_APPLIED, 1100), NW_ACT_NONE);
    assert_int_equal(c.state, NW_WAITING);
    return c;
}

static void test_kept(void **state)
{
    struct nw_confirm c = waiting();

    (void)state;
    /* a request from before the change, answered after it, proves nothing */
    assert_int_equal(nw_confirm_step(&c, NW_EV_CONFIRMED, 1100), NW_ACT_NONE);
    assert_int_equal(nw_confirm_step(&c, NW_EV_CONFIRMED, 1101), NW_ACT_KEEP);
    assert_int_equal(c.state, NW_IDLE);
    assert_int_equal(c.why, NW_WHY_NONE);
    assert_int_equal(nw_confirm_step(&c, NW_EV_TICK, 99999), NW_ACT_NONE);
}

static void test_cut_off(void **state)
{
    struct nw_confirm c = waiting();

    (void)state;
    assert_int_equal(c.due_ms, 31100);
    assert_int_equal(nw_confirm_step(&c, NW_EV_TICK, 31099), NW_ACT_NONE);
    assert_int_equal(nw_confirm_step(&c, NW_EV_TICK, 31100), NW_ACT_UNDO);
    assert_int_equal(c.why, NW_WHY_CUT_OFF);
    /* too late to confirm: the undo is on its way */
    assert_int_equal(nw_confirm_step(&c, NW_EV_CONFIRMED, 31101), NW_ACT_NONE);
    assert_int_equal(nw_confirm_step(&c, NW_EV_UNDONE, 31200), NW_ACT_UNDONE);
    assert_int_equal(c.state, NW_IDLE);
}

static void test_failed_and_undo_again(void **state)
{
    struct nw_confirm c = { .timeout_ms = 30000 };

    (void)state;
    (void)nw_confirm_step(&c, NW_EV_START, 1000);
    assert_int_equal(nw_confirm_step(&c, NW_EV_FAILED, 1100), NW_ACT_UNDO);
    assert_int_equal(c.why, NW_WHY_FAILED);
    for (unsigned i = 1; i < NW_UNDO_TRIES; i++) {
        uint64_t at = 2000 * i;

        assert_int_equal(nw_confirm_step(&c, NW_EV_UNDO_FAILED, at), NW_ACT_NONE);
        assert_int_equal(nw_confirm_step(&c, NW_EV_TICK, at + NW_UNDO_AGAIN_MS - 1), NW_ACT_NONE);
        assert_int_equal(nw_confirm_step(&c, NW_EV_TICK, at + NW_UNDO_AGAIN_MS), NW_ACT_UNDO);
        assert_int_equal(nw_confirm_step(&c, NW_EV_TICK, at + 99999), NW_ACT_NONE); /* only once */
    }
    assert_int_equal(nw_confirm_step(&c, NW_EV_UNDO_FAILED, 99999), NW_ACT_UNDONE);
}

static void test_crash(void **state)
{
    struct nw_confirm c = { 0 };

    (void)state;
    assert_int_equal(nw_confirm_step(&c, NW_EV_RECOVER, 5), NW_ACT_UNDO);
    assert_int_equal(c.why, NW_WHY_CRASH);
    assert_int_equal(nw_confirm_step(&c, NW_EV_UNDONE, 6), NW_ACT_UNDONE);
}

/* --- objects -----------------------------------------------------------------------------------
 */

static json_t *object(const char *name, const char *spec)
{
    json_t *s = json_loads(spec, 0, NULL);

    assert_non_null(s);
    return json_pack("{s:{s:s}, s:o}", "metadata", "name", name, "spec", s);
}

static void test_want_bond(void **state)
{
    json_t *o = object("bond0", "{\"members\": [\"eth0\", \"eth1\"], \"mode\": \"LACP\", "
                                "\"miimon\": \"50ms\", \"upDelay\": \"120ms\", "
                                "\"xmitHashPolicy\": \"Layer34\", \"perHost\": {\"node2\": "
                                "{\"members\": [\"ens1\"], \"addresses\": [\"10.0.0.2/24\"]}}}");
    struct nw_iface f;
    struct err err;

    (void)state;
    assert_int_equal(nw_want_iface(NW_BOND, o, "node1", &f, &err), 0);
    assert_int_equal(f.n_members, 2);
    assert_int_equal(f.bond.mode, NW_BOND_MODE_LACP);
    assert_int_equal(f.bond.lacp_rate, 1); /* fast unless said otherwise */
    assert_int_equal(f.bond.updelay, 100); /* whole intervals */
    assert_int_equal(f.bond.xmit_hash, 1);
    assert_int_equal(f.bond.set & NW_BOND_PRIMARY, 0);
    assert_int_equal(f.commit_timeout, 30000);
    assert_int_equal(nw_want_iface(NW_BOND, o, "node2", &f, &err), 0);
    assert_int_equal(f.n_members, 1);
    assert_string_equal(f.members[0], "ens1");
    assert_int_equal(f.n_addrs, 1);
    json_decref(o);
}

static void test_want_refuses(void **state)
{
    static const struct {
        enum nw_kind kind;
        const char *name, *spec, *message;
    } bad[] = {
        { NW_BOND, "bond0", "{}", "bonds/bond0: spec.members is empty" },
        { NW_BOND, "bond0", "{\"members\": [\"a\", \"a\"]}",
          "bonds/bond0: spec.members names an interface twice" },
        { NW_BOND, "bond0", "{\"members\": [\"a\"], \"mode\": \"Fast\"}",
          "bonds/bond0: spec.mode is none of the known words" },
        { NW_BRIDGE, "br0", "{\"ports\": [\"a-very-long-interface\"]}",
          "bridges/br0: spec.ports is not the name of an interface (at most 15 characters)" },
        { NW_BRIDGE, "br0", "{\"addresses\": [\"10.0.0.1\"]}",
          "bridges/br0: spec.addresses holds something that is no address with prefix length" },
        { NW_VLAN, "v", "{\"link\": \"a\", \"id\": 4095}",
          "vlans/v: spec.id is not a number from 1 to 4094" },
        { NW_VLAN, "v", "{\"id\": 5}", "vlans/v: spec.link is missing" },
        { NW_VLAN, "much-too-long-a-name", "{}",
          "vlans/much-too-long-a-name: not the name of an interface" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *o = object(bad[i].name, bad[i].spec);
        struct nw_iface f;
        struct err err;

        assert_int_equal(nw_want_iface(bad[i].kind, o, "node1", &f, &err), ERR_INVALID);
        assert_string_equal(err.msg, bad[i].message);
        json_decref(o);
    }
}

static void test_want_applies(void **state)
{
    json_t *o = object("br0", "{\"hosts\": [\"node1\"]}");
    json_t *s = object("br0", "{\"hostSelector\": {\"rack\": \"a\"}}");
    json_t *labels = json_pack("{s:s}", "rack", "a");

    (void)state;
    assert_true(nw_want_applies(o, "node1", NULL));
    assert_false(nw_want_applies(o, "node2", labels));
    assert_true(nw_want_applies(s, "node1", labels));
    assert_false(nw_want_applies(s, "node1", NULL));
    json_decref(o);
    json_decref(s);
    json_decref(labels);
}

/* --- files -------------------------------------------------------------------------------------
 */

static void test_journal_refuses(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[1]",
        "[{\"op\": 99}]",
        "[{\"op\": 3, \"dev\": \"this-name-is-too-long\"}]",
    };
    struct arena a = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *v = json_loads(bad[i], 0, NULL);
        struct nw_op *ops;
        struct nw_record r;
        struct err err;
        size_t n;

        assert_int_equal(nw_ops_decode(v, &a, &ops, &n, &err), ERR_CORRUPT);
        assert_int_equal(nw_record_decode(v, &a, &r, &err), ERR_CORRUPT);
        json_decref(v);
    }
    arena_done(&a);
}

/* --- states ------------------------------------------------------------------------------------
 */

static void test_state_of_bond(void **state)
{
    struct nw_iface f = {
        .kind = NW_BOND, .name = "bond0", .members = { "eth0", "eth1" }, .n_members = 2
    };
    struct nw_verdict v = { 0 };
    struct arena a = { 0 };
    struct nw_obs o;
    struct nw_link *l;
    struct nw_state s;

    (void)state;
    nw_state_make(&f, &v, NULL, &s);
    assert_string_equal(s.reason, "Unknown");
    nw_state_done(&s);
    nw_obs_init(&o, &a);
    nw_state_make(&f, &v, &o, &s);
    assert_string_equal(jget_str(s.details, "state", ""), "Absent");
    nw_state_done(&s);
    l = nw_obs_add_link(&o);
    *l = (struct nw_link){
        .name = "bond0", .kind = NW_BOND, .up = true, .carrier = true, .bond_active = "eth0"
    };
    l = nw_obs_add_link(&o);
    *l = (struct nw_link){ .name = "eth0",
                           .up = true,
                           .carrier = true,
                           .is_slave = true,
                           .slave_mii_up = true,
                           .speed_mbps = 10000 };
    nw_state_make(&f, &v, &o, &s);
    assert_true(s.ready);
    assert_string_equal(s.reason, "Degraded");
    assert_string_equal(s.message, "eth0 is active; eth0 10000 Mbit/s; eth1 does not exist");
    assert_string_equal(jget_str(s.details, "active", ""), "eth0");
    nw_state_done(&s);
    v = (struct nw_verdict){ NW_BLOCKED, "RolledBack", "undone" };
    nw_state_make(&f, &v, &o, &s);
    assert_false(s.ready);
    assert_string_equal(jget_str(s.details, "state", ""), "RolledBack");
    nw_state_done(&s);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_failed_and_undo_again),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_want_bond),
        cmocka_unit_test(test_want_refuses),
        cmocka_unit_test(test_want_applies),
        cmocka_unit_test(test_journal_refuses),
        cmocka_unit_test(test_state_of_bond),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
