/* Persistent reservations: keys, hostile replies, and the whole sequence against a logical unit in
 * memory that can be told to misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fence/pr.h"

#define VICTIM 0x504b000000000002U
#define OWN 0x504b000000000001U
#define OTHER 0x504b000000000003U

/* --- a logical unit ----------------------------------------------------------------------------
 */

struct reg {
    uint64_t key;
    int nexus;
};

static struct lu {
    struct reg regs[16];
    size_t n_regs;
    uint8_t type;
    uint64_t holder;
    bool persistent; /* PTPL_C; PTPL_A follows APTPL */
    bool active;
    bool no_abort;        /* refuses PREEMPT AND ABORT */
    bool no_reset;        /* refuses LUN RESET */
    bool keeps_victim;    /* says yes to a preemption and does nothing */
    bool dead_portal;     /* portal 1 does not answer */
    bool split_portal;    /* portal 1 shows registrations of its own */
    bool dies_at_preempt; /* the session breaks, the outcome is unknown */
    int preempts, aborts, resets, reserves;
} lu;

struct pr_path {
    int portal;
};

static int fake_open(const struct pr_ask *ask, size_t target, size_t portal, uint64_t until_ms,
                     struct pr_path **ret, struct err *err)
{
    (void)until_ms;
    if (lu.dead_portal && portal == 1) {
        return err_set(err, ERR_UNREACHABLE, "%s: no route", ask->targets[target].portals[portal]);
    }
    *ret = calloc(1, sizeof(**ret));
    assert_non_null(*ret);
    (*ret)->portal = (int)portal;
    return 0;
}

static void fake_close(struct pr_path *p)
{
    free(p);
}

static void add_be(struct buf *b, uint64_t v, unsigned n)
{
    for (unsigned i = n; i > 0; i--) {
        buf_add_byte(b, (uint8_t)(v >> (8 * (i - 1))));
    }
}

static int fake_in(struct pr_path *p, uint16_t lun, enum pr_in action, struct buf *ret,
                   struct err *err)
{
    (void)lun;
    (void)err;
    switch (action) {
    case PR_IN_KEYS: {
        size_t extra = lu.split_portal && p->portal == 1 ? 1 : 0;

        add_be(ret, 1, 4);
        add_be(ret, 8 * (lu.n_regs + extra), 4);
        for (size_t i = 0; i < lu.n_regs; i++) {
            add_be(ret, lu.regs[i].key, 8);
        }
        if (extra > 0) {
            add_be(ret, VICTIM, 8);
        }
        return 0;
    }
    case PR_IN_RESERVATION:
        add_be(ret, 1, 4);
        add_be(ret, lu.type != 0 ? 16 : 0, 4);
        if (lu.type != 0) {
            add_be(ret, lu.holder, 8);
            add_be(ret, 0, 5);
            add_be(ret, lu.type, 1);
            add_be(ret, 0, 2);
        }
        return 0;
    case PR_IN_CAPABILITIES:
        add_be(ret, 8, 2);
        add_be(ret, lu.persistent ? 1 : 0, 1);
        add_be(ret, 0x80 | (lu.active ? 1 : 0), 1);
        add_be(ret, 0xea01, 2);
        add_be(ret, 0, 2);
        return 0;
    }
    fail();
    return -1;
}

static void unregister(uint64_t key)
{
    size_t n = 0;

    for (size_t i = 0; i < lu.n_regs; i++) {
        if (lu.regs[i].key != key) {
            lu.regs[n++] = lu.regs[i];
        }
    }
    lu.n_regs = n;
}

static bool registered(uint64_t key)
{
    for (size_t i = 0; i < lu.n_regs; i++) {
        if (lu.regs[i].key == key) {
            return true;
        }
    }
    return false;
}

static int fake_preempt(uint64_t key, uint64_t victim, struct err *err)
{
    if (lu.dies_at_preempt) {
        return err_set(err, ERR_UNKNOWN_OUTCOME, "the session broke");
    }
    if (!registered(victim)) {
        return err_set(err, ERR_CONFLICT, "reservation conflict");
    }
    lu.preempts++;
    if (!lu.keeps_victim) {
        unregister(victim);
        if (lu.holder == victim) {
            lu.holder = key;
        }
    }
    return 0;
}

static int fake_out(struct pr_path *p, uint16_t lun, enum pr_out action, uint8_t type, uint64_t key,
                    uint64_t service_key, bool aptpl, struct err *err)
{
    (void)lun;
    if (action == PR_OUT_REGISTER_IGNORE) {
        for (size_t i = 0; i < lu.n_regs; i++) {
            if (lu.regs[i].nexus == p->portal) {
                lu.regs[i].key = service_key;
                return 0;
            }
        }
        assert_true(lu.n_regs < 16);
        lu.regs[lu.n_regs++] = (struct reg){ service_key, p->portal };
        lu.active = aptpl && lu.persistent;
        return 0;
    }
    assert_true(registered(key));
    switch (action) {
    case PR_OUT_RESERVE:
        assert_int_equal(lu.type, 0);
        lu.type = type;
        lu.holder = type >= PR_TYPE_WRITE_ALL ? 0 : key;
        lu.reserves++;
        return 0;
    case PR_OUT_PREEMPT_ABORT:
        if (lu.no_abort) {
            return err_set(err, ERR_UNSUPPORTED, "illegal request");
        }
        lu.aborts++;
        return fake_preempt(key, service_key, err);
    case PR_OUT_PREEMPT:
        return fake_preempt(key, service_key, err);
    case PR_OUT_REGISTER_IGNORE:
        break;
    }
    fail();
    return -1;
}

static int fake_vpd(struct pr_path *p, uint16_t lun, uint8_t page, struct buf *ret, struct err *err)
{
    static const uint8_t naa[16] = { 0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

    (void)p;
    (void)lun;
    (void)err;
    assert_int_equal(page, 0x83);
    add_be(ret, 0x0083, 2);
    add_be(ret, 20, 2);
    add_be(ret, 0x01030010, 4);
    buf_add(ret, naa, sizeof(naa));
    return 0;
}

static int fake_reset(struct pr_path *p, uint16_t lun, struct err *err)
{
    (void)p;
    (void)lun;
    if (lu.no_reset) {
        return err_set(err, ERR_UNSUPPORTED, "refused");
    }
    lu.resets++;
    return 0;
}

static const struct pr_drv fake = {
    fake_open, fake_in, fake_out, fake_vpd, fake_reset, fake_close
};

/* --- running it --------------------------------------------------------------------------------
 */

static int setup(void **state)
{
    (void)state;
    lu = (struct lu){ .persistent = true,
                      .regs = { { VICTIM, 10 }, { VICTIM, 11 }, { OTHER, 12 } },
                      .n_regs = 3,
                      .type = PR_TYPE_WRITE_ALL };
    return 0;
}

struct extra {
    const char *key, *value;
};

static struct fence_answer run(enum fence_action action, const struct extra *extra)
{
    static const struct extra base[] = {
        { "initiator", "iqn.2026-01.t:n1" },
        { "own_key", "504b000000000001" },
        { "key", "504b000000000002" },
        { "target0", "iqn.2026-01.t:x 127.0.0.1:3260,127.0.0.2:3260" },
    };
    struct fence_op op = { .type = FENCE_TYPE_SCSI_RESERVATION, .action = action };
    struct fence_answer ans;
    struct fence_run r;
    struct err err;
    bool lun = false;

    op.timeout_ms = 60000;
    op.deadline_boottime_ms = clock_now_ms() + 60000;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(fence_op_set(&op, base[i].key, base[i].value, &err), 0);
    }
    for (; extra != NULL && extra->key != NULL; extra++) {
        if (str_eq(extra->key, "deadline")) {
            op.deadline_boottime_ms = 1;
            continue;
        }
        lun = lun || str_eq(extra->key, "lun0");
        assert_int_equal(fence_op_set(&op, extra->key, extra->value, &err), 0);
    }
    if (!lun) {
        assert_int_equal(fence_op_set(&op, "lun0", "0:1:3600102030405060708090a0b0c0d0e0f", &err),
                         0);
    }
    fence_run_init(&r, &op, -1);
    pr_run(&r, &fake, &ans);
    return ans;
}

static const struct extra LAB[] = { { "lab", "1" }, { NULL, NULL } };

static void cuts_off(void **state)
{
    struct fence_answer a = run(FENCE_ACTION_OFF, NULL);

    (void)state;
    assert_string_equal(a.detail, "cut off from 1 LUNs, read back through every portal; it was "
                                  "registered on 1; preempted and aborted");
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_false(registered(VICTIM));
    assert_true(registered(OTHER)); /* the others go on */
    assert_true(registered(OWN));
    assert_int_equal(lu.aborts, 1);
    assert_int_equal(lu.resets, 0);
    assert_int_equal(lu.reserves, 0);
    assert_true(lu.active);
    /* again, as after an executor that died before it could report: what is under way is ended */
    a = run(FENCE_ACTION_OFF, NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(lu.resets, 1);
}

static void takes_the_reservation_where_there_is_none(void **state)
{
    struct fence_answer a;

    (void)state;
    lu.type = 0;
    a = run(FENCE_ACTION_OFF, NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(lu.type, PR_TYPE_WRITE_ALL);
    assert_int_equal(lu.reserves, 1);
}

static void victim_that_holds_the_reservation_itself(void **state)
{
    (void)state;
    lu.type = PR_TYPE_WRITE_REGISTRANTS;
    lu.holder = VICTIM;
    assert_int_equal(run(FENCE_ACTION_OFF, NULL).result, FENCE_SUCCEEDED);
    assert_int_equal(lu.holder, OWN);
}

static void target_that_refuses_abort(void **state)
{
    static const struct extra drain[] = { { "lab", "1" }, { "drain_ms", "20" }, { NULL, NULL } };
    struct fence_answer a;

    (void)state;
    lu.no_abort = true;
    a = run(FENCE_ACTION_OFF, NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED); /* by a reset of the unit */
    assert_int_equal(lu.resets, 1);

    (void)setup(NULL);
    lu.no_abort = true;
    lu.no_reset = true;
    a = run(FENCE_ACTION_OFF, NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);

    /* a declared time counts in a lab only */
    (void)setup(NULL);
    lu.no_abort = true;
    lu.no_reset = true;
    a = run(FENCE_ACTION_OFF, (const struct extra[]){ { "drain_ms", "20" }, { NULL, NULL } });
    assert_int_equal(a.result, FENCE_UNKNOWN);
    (void)setup(NULL);
    lu.no_abort = true;
    lu.no_reset = true;
    a = run(FENCE_ACTION_OFF, drain);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_non_null(strstr(a.detail, "drained for 20 ms (lab)"));
}

static void nothing_is_taken(const char *part, const struct extra *extra)
{
    struct lu before = lu;
    struct fence_answer a = run(FENCE_ACTION_OFF, extra);

    assert_non_null(strstr(a.detail, part));
    assert_int_equal(a.result, FENCE_FAILED);
    assert_true(registered(VICTIM));
    assert_int_equal(lu.preempts + lu.resets + lu.reserves,
                     before.preempts + before.resets + before.reserves);
}

static void failed_is_said_while_nothing_was_taken(void **state)
{
    static const struct extra other_lun[] = { { "lun0", "0:1:3600aa" }, { NULL, NULL } };
    static const struct extra too_late[] = { { "deadline", "" }, { NULL, NULL } };

    (void)state;
    lu.dead_portal = true;
    nothing_is_taken("no route", NULL);
    (void)setup(NULL);
    nothing_is_taken("renumbered", other_lun);
    lu.persistent = false;
    nothing_is_taken("PTPL_C", NULL);
    (void)setup(NULL);
    lu.type = 3; /* exclusive access of somebody else */
    nothing_is_taken("not for registrants", NULL);
    (void)setup(NULL);
    nothing_is_taken("deadline passed", too_late);
}

static void unknown_whenever_it_is_not_known(void **state)
{
    (void)state;
    lu.keeps_victim = true;
    assert_int_equal(run(FENCE_ACTION_OFF, NULL).result, FENCE_UNKNOWN);
    (void)setup(NULL);
    lu.split_portal = true;
    assert_int_equal(run(FENCE_ACTION_OFF, NULL).result, FENCE_UNKNOWN);
    (void)setup(NULL);
    lu.dies_at_preempt = true;
    assert_int_equal(run(FENCE_ACTION_OFF, NULL).result, FENCE_UNKNOWN);
}

static void a_lab_does_without_persistence(void **state)
{
    struct fence_answer a;

    (void)state;
    lu.persistent = false;
    a = run(FENCE_ACTION_PROBE, LAB);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_non_null(strstr(a.detail, "no persistence"));
    assert_int_equal(run(FENCE_ACTION_OFF, LAB).result, FENCE_SUCCEEDED);
    assert_int_equal(run(FENCE_ACTION_STATUS, LAB).power, FENCE_POWER_OFF);
    assert_int_equal(run(FENCE_ACTION_PROBE, NULL).result, FENCE_FAILED);
}

static void nobody_else_can_register_a_host(void **state)
{
    (void)state;
    assert_int_equal(run(FENCE_ACTION_ON, NULL).result, FENCE_FAILED);
    assert_int_equal(run(FENCE_ACTION_REBOOT, NULL).result, FENCE_FAILED);
    assert_int_equal(lu.n_regs, 3);
}

/* --- pure ----------------------------------------------------------------------------------------
 */

static void keys_encode_the_incarnation(void **state)
{
    uint64_t a, b, c;
    char text[17];
    struct err err;

    (void)state;
    assert_int_equal(pr_key("c1", 7, 41, &a, &err), 0);
    assert_int_equal(pr_key("c1", 7, 42, &b, &err), 0);
    assert_true(a != b);
    assert_true(pr_key_is_ours(a, b));
    assert_int_equal(pr_key_incarnation(b), 42);
    assert_int_equal(pr_key("c1", 8, 42, &c, &err), 0); /* after a restore */
    assert_false(pr_key_is_ours(c, b));
    assert_int_equal(pr_key("c2", 7, 42, &c, &err), 0);
    assert_false(pr_key_is_ours(c, b));
    assert_int_equal(pr_key("c1", 7, 1U << 26, &c, &err), ERR_INVALID);
    pr_key_format(a, text);
    assert_true(pr_key_parse(text, &c));
    assert_true(a == c);
    assert_false(pr_key_parse("0000000000000000", &c));
    assert_false(pr_key_parse("504B000000000002", &c));
    assert_false(pr_key_parse("504b00000000000", &c));
    assert_false(pr_key_parse(NULL, &c));
}

/* Every prefix of every valid reply, and random bytes: an error or a sane value, nothing else. */
static void hostile_replies(void **state)
{
    uint8_t data[96];
    struct pr_reservation res;
    struct pr_keys keys;
    struct pr_caps caps;
    struct prng p;
    struct err err;

    (void)state;
    prng_init(&p, 7);
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = prng_below(&p, sizeof(data));

        for (size_t i = 0; i < n; i++) {
            data[i] = (uint8_t)(i < 7 && round % 2 == 0 ? 0 : prng_u64(&p));
        }
        if (pr_keys_decode(data, n, &keys, &err) == 0) {
            assert_true(8 + 8 * keys.n <= n);
        }
        if (pr_reservation_decode(data, n, &res, &err) == 0) {
            assert_true(res.type < 16);
        }
        if (pr_caps_decode(data, n, &caps, &err) == 0) {
            assert_true(n >= 6);
        }
        data[1] = 0x83;
        (void)pr_vpd_has_wwid(data, n, "3600102");
    }
    memset(data, 0, sizeof(data));
    data[7] = 8; /* one key is announced, half of it comes */
    assert_int_equal(pr_keys_decode(data, 12, &keys, &err), ERR_INVALID);
    assert_int_equal(pr_keys_decode(data, 16, &keys, &err), 0);
    data[7] = 9;
    assert_int_equal(pr_keys_decode(data, 32, &keys, &err), ERR_INVALID);
}

static void says(const char *key, const char *value, const char *part)
{
    struct fence_op op = { .type = FENCE_TYPE_SCSI_RESERVATION };
    static const struct extra all[] = { { "initiator", "iqn.2026-01.t:n1" },
                                        { "own_key", "504b000000000001" },
                                        { "key", "504b000000000002" },
                                        { "target0", "iqn.2026-01.t:x 127.0.0.1:3260" },
                                        { "lun0", "0:1" } };
    struct pr_ask ask;
    struct err err = { 0 };

    for (size_t i = 0; i < 5; i++) {
        const char *v = str_eq(all[i].key, key) ? value : all[i].value;

        if (v != NULL) {
            assert_int_equal(fence_op_set(&op, all[i].key, v, &err), 0);
        }
    }
    assert_int_equal(pr_ask_decode(&op, &ask, &err), ERR_INVALID);
    if (strstr(err.msg, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, part);
    }
}

static void wrong_parameters(void **state)
{
    (void)state;
    says("initiator", NULL, "initiator");
    says("own_key", "1", "own_key");
    says("key", NULL, "16 hexadecimal");
    says("key", "504b000000000001", "nobody cuts off himself");
    says("target0", "iqn.2026-01.t:x", "target0");
    says("target0", "iqn.2026-01.t:x ,", "portals");
    says("target0", NULL, "no target0");
    says("lun0", NULL, "covers no LUN");
    says("lun0", "1:0", "no target1");
    says("lun0", "0:99999", "16383");
    says("lun0", "x", "TARGET:LUN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(cuts_off, setup),
        cmocka_unit_test_setup(takes_the_reservation_where_there_is_none, setup),
        cmocka_unit_test_setup(victim_that_holds_the_reservation_itself, setup),
        cmocka_unit_test_setup(target_that_refuses_abort, setup),
        cmocka_unit_test_setup(failed_is_said_while_nothing_was_taken, setup),
        cmocka_unit_test_setup(unknown_whenever_it_is_not_known, setup),
        cmocka_unit_test_setup(a_lab_does_without_persistence, setup),
        cmocka_unit_test_setup(nobody_else_can_register_a_host, setup),
        cmocka_unit_test(keys_encode_the_incarnation),
        cmocka_unit_test(hostile_replies),
        cmocka_unit_test(wrong_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
