#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/apc.h"
#include "fence/dev.h"

/* --- names and classes
 * ------------------------------------------------------------------------------- */

static void names_go_both_ways(void **state)
{
    (void)state;
    for (int t = FENCE_TYPE_APC_SNMP; t <= FENCE_TYPE_NULL; t++) {
        assert_int_equal(fence_type_parse(fence_type_name((enum fence_type)t)), t);
    }
    for (int a = FENCE_ACTION_STATUS; a <= FENCE_ACTION_LIST; a++) {
        assert_int_equal(fence_action_parse(fence_action_name((enum fence_action)a)), a);
    }
    assert_int_equal(fence_type_parse("apcsnmp"), FENCE_TYPE_NONE);
    assert_int_equal(fence_type_parse(""), FENCE_TYPE_NONE);
    assert_int_equal(fence_type_parse(NULL), FENCE_TYPE_NONE);
    assert_int_equal(fence_action_parse("explode"), FENCE_ACTION_NONE);
}

static enum fence_class agent(const char *program, const char *provides)
{
    return fence_class_of(FENCE_TYPE_AGENT, program, provides, false);
}

static void proof_classes(void **state)
{
    (void)state;
    assert_int_equal(fence_class_of(FENCE_TYPE_APC_SNMP, NULL, NULL, false), FENCE_CLASS_POWER);
    assert_int_equal(fence_class_of(FENCE_TYPE_MANUAL, NULL, "Power", false), FENCE_CLASS_NONE);
    assert_int_equal(fence_class_of(FENCE_TYPE_SSH, NULL, "Power", true), FENCE_CLASS_NONE);
    assert_int_equal(fence_class_of(FENCE_TYPE_NULL, NULL, NULL, false), FENCE_CLASS_NONE);
    assert_int_equal(fence_class_of(FENCE_TYPE_NULL, NULL, NULL, true), FENCE_CLASS_POWER);
    assert_int_equal(agent("fence_ipmilan", NULL), FENCE_CLASS_POWER);
    assert_int_equal(agent("fence_ipmilan", "None"), FENCE_CLASS_NONE);
    assert_int_equal(agent("fence_scsi", "Power"), FENCE_CLASS_STORAGE);
    assert_int_equal(agent("fence_kdump", "Power"), FENCE_CLASS_NONE);
    assert_int_equal(agent("fence_dummy", "Power"), FENCE_CLASS_NONE);
    assert_int_equal(agent("fence_ack_manual", "Power"), FENCE_CLASS_NONE);
    assert_int_equal(agent("fence_ours", NULL), FENCE_CLASS_NONE);
    assert_int_equal(agent("fence_ours", "Power"), FENCE_CLASS_POWER);
    assert_int_equal(agent(NULL, "Power"), FENCE_CLASS_NONE);
}

static size_t match(const char *const *names, size_t n, const char *host)
{
    struct fence_outlet o[FENCE_MAX_OUTLETS] = { 0 };
    size_t ret[FENCE_MAX_OUTLETS];

    for (size_t i = 0; i < n; i++) {
        (void)str_copy(o[i].name, sizeof(o[i].name), names[i]);
    }
    return fence_outlets_match(o, n, host, ret);
}

static void outlets_auto(void **state)
{
    static const char *const names[] = { "node1",   "node1-A", "NODE1.b", "node10", "node1-10",
                                         "node1-X", "xnode1",  "node1_2", "node1-", "Node2/A" };

    (void)state;
    assert_int_equal(match(names, 10, "node1"), 4); /* node1, node1-A, NODE1.b, node1_2 */
    assert_int_equal(match(names, 10, "node2"), 1);
    assert_int_equal(match(names, 10, "node"), 0);
    assert_int_equal(match(names, 10, "node10"), 1);
    assert_int_equal(match(names, 10, ""), 0);
}

/* --- texts
 * ------------------------------------------------------------------------------------------- */

static void operation_round_trip(void **state)
{
    struct fence_op *op = calloc(1, sizeof(*op));
    struct fence_op *got = calloc(1, sizeof(*got));
    struct buf text = { 0 };
    struct err err;

    (void)state;
    op->type = FENCE_TYPE_APC_SNMP;
    op->action = FENCE_ACTION_OFF;
    op->timeout_ms = 10000;
    op->deadline_boottime_ms = 123456;
    (void)str_copy(op->host, sizeof(op->host), "node1");
    assert_int_equal(fence_op_set(op, "community", "s3=cret x", &err), 0);
    assert_int_equal(fence_op_set(op, "param.port", "", &err), 0);
    fence_op_encode(op, &text);
    assert_int_equal(fence_op_decode(buf_cstr(&text), text.len, got, &err), 0);
    assert_memory_equal(op, got, sizeof(*op));
    assert_string_equal(fence_op_get(got, "community"), "s3=cret x");
    assert_null(fence_op_get(got, "password"));
    fence_op_done(got);
    for (size_t i = 0; i < sizeof(*got); i++) {
        assert_int_equal(((unsigned char *)got)[i], 0);
    }
    buf_done(&text);
    free(op);
    free(got);
}

static void bad_parameters(void **state)
{
    struct fence_op *op = calloc(1, sizeof(*op));
    char long_value[600];
    struct err err;

    (void)state;
    memset(long_value, 'x', sizeof(long_value) - 1);
    long_value[sizeof(long_value) - 1] = '\0';
    assert_int_equal(fence_op_set(op, "", "x", &err), ERR_INVALID);
    assert_int_equal(fence_op_set(op, "a b", "x", &err), ERR_INVALID);
    assert_int_equal(fence_op_set(op, "a", "x\ntype=Null", &err), ERR_INVALID); /* no injection */
    assert_null(strstr(err.msg, "Null"));
    assert_int_equal(fence_op_set(op, "a", long_value, &err), ERR_INVALID);
    assert_int_equal(fence_op_set(op, "a", "1", &err), 0);
    assert_int_equal(fence_op_set(op, "a", "2", &err), ERR_INVALID);
    for (unsigned i = 1; i < FENCE_OP_MAX_PARAMS; i++) {
        char key[8] = { (char)('a' + (int)(i / 26)), (char)('a' + (int)(i % 26)), 'k', '\0' };

        assert_int_equal(fence_op_set(op, key, "1", &err), 0);
    }
    assert_int_equal(fence_op_set(op, "more", "1", &err), ERR_INVALID);
    free(op);
}

static void expect_bad_op(const char *text, const char *part)
{
    struct fence_op *op = calloc(1, sizeof(*op));
    struct err err = { 0 };

    assert_int_equal(fence_op_decode(text, strlen(text), op, &err), ERR_INVALID);
    if (strstr(err.msg, part) == NULL) {
        fail_msg("'%s' does not say '%s'", err.msg, part);
    }
    assert_null(strstr(err.msg, "hunter2"));
    free(op);
}

static void malformed_operations(void **state)
{
    (void)state;
    expect_bad_op("", "type is missing");
    expect_bad_op("type=Apc\n\n", "line 1: unknown type");
    expect_bad_op("type=Null\nhunter2\n\n", "line 2: not of the form key=value");
    expect_bad_op("type=Null\naction=off\n\n", "timeout_ms must be");
    expect_bad_op("type=Null\ntimeout_ms=5\n\n", "action is missing");
    expect_bad_op("type=Null\naction=off\ntimeout_ms=-5\n\n", "line 3: timeout_ms");
    expect_bad_op("type=Null\naction=off\ntimeout_ms=99999999\n\n", "between 1 and 600000");
    expect_bad_op("type=Null\naction=off\ntimeout_ms=5\npw=hunter2\npw=hunter2\n\n", "given twice");
}

static void answer_round_trip(void **state)
{
    struct fence_answer a = { .power = FENCE_POWER_OFF, .n_outlets = 1 }, b;
    struct buf text = { 0 };
    struct err err;

    (void)state;
    fence_answer_set(&a, FENCE_SUCCEEDED, "said \"off\"\nand %s", "\xff\x01");
    (void)str_copy(a.outlets[0].plug, sizeof(a.outlets[0].plug), "12");
    (void)str_copy(a.outlets[0].name, sizeof(a.outlets[0].name), "node1");
    a.outlets[0].power = FENCE_POWER_OFF;
    fence_answer_encode(&a, &text);
    assert_int_equal(fence_answer_decode(buf_cstr(&text), text.len, &b, &err), 0);
    assert_int_equal(b.result, FENCE_SUCCEEDED);
    assert_int_equal(b.power, FENCE_POWER_OFF);
    assert_string_equal(b.detail, a.detail);
    assert_int_equal(b.n_outlets, 1);
    assert_string_equal(b.outlets[0].plug, "12");
    assert_string_equal(b.outlets[0].name, "node1");
    buf_done(&text);
}

static void malformed_answers(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"result\":\"Succeeded\"}",
        "{\"result\":\"Succeeded\",\"power\":\"Off\"}",
        "{\"result\":\"Yes\",\"power\":\"Off\",\"detail\":\"\"}",
        "{\"result\":\"Succeeded\",\"power\":\"off\",\"detail\":\"\"}",
        "{\"result\":\"Failed\",\"result\":\"Succeeded\",\"power\":\"Off\",\"detail\":\"\"}",
        "{\"result\":\"Succeeded\",\"power\":\"Off\",\"detail\":\"\"}x",
        "{\"result\":\"Succeeded\",\"power\":\"Off\",\"detail\":\"\",\"outlets\":[]}",
        "{\"result\":\"Succeeded\",\"power\":\"Off\",\"detail\":\"\",\"outlets\":{\"1\":{}}}",
        "{\"result\":\"Succeeded\",\"power\":\"Off\",\"detail\":\"\",\"outlets\":{\"1\":7}}",
    };
    struct fence_answer a = { .result = FENCE_FAILED };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(fence_answer_decode(bad[i], strlen(bad[i]), &a, &err), ERR_INVALID);
        assert_int_equal(a.result, FENCE_FAILED); /* untouched */
    }
}

/* --- the logic of the PDU driver, against a simulated one
 * ---------------------------------------------- */

struct fake {
    uint64_t now_ms, until_ms;
    enum fence_power power[4]; /* plugs 1 to 3 */
    uint64_t off_at_ms[4];     /* a command takes effect then; 0: never */
    unsigned delay_ms;
    int command_rc[4]; /* what a command returns */
    bool stuck, flaps; /* no effect; every other reading says On */
    int status_rc;     /* what readings return */
    unsigned readings, commands, silent_readings;
    uint64_t last_command_ms;
};

static int fake_status(void *ctx, const uint32_t *plugs, size_t n, enum fence_power *ret,
                       struct err *err)
{
    struct fake *f = ctx;

    f->readings++;
    f->now_ms += 20;
    if (f->status_rc != 0) {
        return err_set(err, f->status_rc, "status failed");
    }
    if (f->silent_readings > 0 && f->commands > 0) {
        f->silent_readings--;
        f->now_ms += 500;
        return err_set(err, ERR_TIMEOUT, "silent");
    }
    for (size_t i = 0; i < n; i++) {
        if (plugs[i] > 3) {
            return err_set(err, ERR_NOT_FOUND, "no such plug");
        }
        if (f->off_at_ms[plugs[i]] != 0 && f->now_ms >= f->off_at_ms[plugs[i]]) {
            f->power[plugs[i]] = FENCE_POWER_OFF;
        }
        ret[i] = f->flaps && f->readings % 2 == 0 ? FENCE_POWER_ON : f->power[plugs[i]];
    }
    return 0;
}

static int fake_command(void *ctx, uint32_t plug, enum apc_command cmd, struct err *err)
{
    struct fake *f = ctx;

    f->now_ms += 10;
    f->commands++;
    f->last_command_ms = f->now_ms;
    if (f->command_rc[plug] != 0 && f->command_rc[plug] != ERR_UNKNOWN_OUTCOME) {
        return err_set(err, f->command_rc[plug], "command failed");
    }
    if (cmd == APC_ON) {
        f->power[plug] = FENCE_POWER_ON;
        f->off_at_ms[plug] = 0;
    } else if (!f->stuck) {
        f->off_at_ms[plug] = f->now_ms + f->delay_ms;
    }
    return f->command_rc[plug] != 0 ? err_set(err, f->command_rc[plug], "no answer") : 0;
}

static int fake_names(void *ctx, struct fence_outlet ret[FENCE_MAX_OUTLETS], size_t *ret_n,
                      struct err *err)
{
    static const char *const names[] = { "node1", "node2-A", "node2-B" };

    (void)ctx;
    (void)err;
    *ret_n = 3;
    for (size_t i = 0; i < 3; i++) {
        memset(&ret[i], 0, sizeof(ret[i]));
        ret[i].plug[0] = (char)('1' + (int)i);
        (void)str_copy(ret[i].name, sizeof(ret[i].name), names[i]);
    }
    return 0;
}

static uint64_t fake_now(void *ctx)
{
    return ((struct fake *)ctx)->now_ms;
}

static uint64_t fake_left(void *ctx)
{
    struct fake *f = ctx;

    return f->now_ms < f->until_ms ? f->until_ms - f->now_ms : 0;
}

static void fake_sleep(void *ctx, uint64_t ms)
{
    ((struct fake *)ctx)->now_ms += ms;
}

static struct fake fake_on(void)
{
    return (struct fake){ .now_ms = 1000,
                          .until_ms = 11000,
                          .power = { 0, FENCE_POWER_ON, FENCE_POWER_ON, FENCE_POWER_ON } };
}

static struct fence_answer run(struct fake *f, enum fence_action action, const char *host,
                               const char *plugs)
{
    struct fence_op *op = calloc(1, sizeof(*op));
    struct apc_io io = { .ctx = f,
                         .status = fake_status,
                         .command = fake_command,
                         .names = fake_names,
                         .now_ms = fake_now,
                         .left_ms = fake_left,
                         .sleep = fake_sleep };
    struct fence_answer ans;
    struct err err;

    op->action = action;
    (void)str_copy(op->host, sizeof(op->host), host);
    assert_int_equal(
        fence_op_set(op, plugs != NULL ? "plugs" : "outlets", plugs != NULL ? plugs : "Auto", &err),
        0);
    apc_run(op, &io, &ans);
    free(op);
    return ans;
}

static void off_is_read_twice(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a = run(&f, FENCE_ACTION_OFF, "node2", NULL);

    (void)state;
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_OFF);
    assert_int_equal(f.commands, 2); /* both supplies */
    assert_int_equal(f.readings, 3);
    assert_true(f.now_ms - f.last_command_ms >= APC_READBACK_MS);
    assert_int_equal(f.power[1], FENCE_POWER_ON);
}

static void already_off_is_read_twice_too(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.power[1] = FENCE_POWER_OFF;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(f.commands, 0);
    assert_true(f.now_ms >= 1000 + APC_READBACK_MS);
}

static void stuck_is_unknown(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.stuck = true;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_true(f.now_ms >= f.until_ms);
}

static void one_supply_stuck_is_unknown(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.command_rc[3] = ERR_REFUSED;
    a = run(&f, FENCE_ACTION_OFF, "node2", NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_int_equal(f.power[2], FENCE_POWER_OFF);
}

static void slow_is_waited_for(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.delay_ms = 4000;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_true(f.now_ms >= 1000 + 4000 + APC_READBACK_MS);
    f = fake_on();
    f.delay_ms = 20000;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
}

static void flapping_is_unknown(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.flaps = true;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
}

static void refused_is_failed(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.command_rc[1] = ERR_REFUSED;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_FAILED);
    f.command_rc[1] = ERR_CANCELED; /* the executor's deadline */
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_FAILED);
    assert_int_equal(f.power[1], FENCE_POWER_ON);
}

static void no_answer_to_the_command_is_settled_by_reading(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.command_rc[1] = ERR_UNKNOWN_OUTCOME;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    f = fake_on();
    f.command_rc[1] = ERR_UNKNOWN_OUTCOME;
    f.stuck = true;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
}

static void silence_before_and_after(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a;

    (void)state;
    f.status_rc = ERR_TIMEOUT;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_FAILED); /* nothing that switches was sent */
    assert_int_equal(f.commands, 0);
    f = fake_on();
    f.silent_readings = 100;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    f = fake_on();
    f.silent_readings = 3;
    a = run(&f, FENCE_ACTION_OFF, "node1", NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
}

static void reboot_proves_off_first(void **state)
{
    struct fake f = fake_on();
    struct fence_answer a = run(&f, FENCE_ACTION_REBOOT, "node2", NULL);

    (void)state;
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_int_equal(f.commands, 4);
    f = fake_on();
    f.stuck = true;
    a = run(&f, FENCE_ACTION_REBOOT, "node1", NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(f.commands, 1); /* never on */
}

static void wrong_plugs(void **state)
{
    struct fake f = fake_on();

    (void)state;
    assert_int_equal(run(&f, FENCE_ACTION_OFF, "nobody", NULL).result, FENCE_FAILED);
    assert_non_null(strstr(run(&f, FENCE_ACTION_OFF, "nobody", NULL).detail, "node2-A"));
    assert_int_equal(run(&f, FENCE_ACTION_OFF, "node1", "9").result, FENCE_FAILED);
    assert_int_equal(run(&f, FENCE_ACTION_OFF, "node1", "0").result, FENCE_FAILED);
    assert_int_equal(run(&f, FENCE_ACTION_OFF, "node1", "1,x").result, FENCE_FAILED);
    assert_int_equal(run(&f, FENCE_ACTION_OFF, "node1", "").result, FENCE_FAILED);
    assert_int_equal(
        run(&f, FENCE_ACTION_OFF, "node1", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17").result,
        FENCE_FAILED);
    assert_int_equal(f.commands, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(proof_classes),
        cmocka_unit_test(outlets_auto),
        cmocka_unit_test(operation_round_trip),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(malformed_operations),
        cmocka_unit_test(answer_round_trip),
        cmocka_unit_test(malformed_answers),
        cmocka_unit_test(off_is_read_twice),
        cmocka_unit_test(already_off_is_read_twice_too),
        cmocka_unit_test(stuck_is_unknown),
        cmocka_unit_test(one_supply_stuck_is_unknown),
        cmocka_unit_test(slow_is_waited_for),
        cmocka_unit_test(flapping_is_unknown),
        cmocka_unit_test(refused_is_failed),
        cmocka_unit_test(no_answer_to_the_command_is_settled_by_reading),
        cmocka_unit_test(silence_before_and_after),
        cmocka_unit_test(reboot_proves_off_first),
        cmocka_unit_test(wrong_plugs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
