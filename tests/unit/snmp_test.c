/* ApcSnmp end to end: fence/exec_uv.c runs picket-fence against picket-pdu, over real SNMP on
 * loopback. */
#include "tests/unit/snmp_rig.h"

static void works_with(const char *version)
{
    struct pdu p;
    struct fence_answer a;

    pdu_start(&p, NULL);
    a = apc(&p, FENCE_ACTION_LIST, "", version);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.n_outlets, 4);
    assert_string_equal(a.outlets[1].name, "node2-A");
    a = apc(&p, FENCE_ACTION_OFF, "node2", version);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_OFF);
    assert_int_equal(a.n_outlets, 2);
    assert_int_equal(apc(&p, FENCE_ACTION_STATUS, "node1", version).power, FENCE_POWER_ON);
    a = apc(&p, FENCE_ACTION_OFF, "node2", version); /* already off */
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_non_null(strstr(a.detail, "already"));
    a = apc(&p, FENCE_ACTION_ON, "node2", version);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
    a = apc(&p, FENCE_ACTION_REBOOT, "node3", version);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_int_equal(apc(&p, FENCE_ACTION_PROBE, "node3", version).result, FENCE_SUCCEEDED);
    a = apc(&p, FENCE_ACTION_OFF, "node9", version);
    assert_int_equal(a.result, FENCE_FAILED);
    assert_non_null(strstr(a.detail, "node1, node2-A"));
    pdu_stop(&p);
}

static void v1(void **state)
{
    (void)state;
    works_with("1");
}

static void v2c(void **state)
{
    (void)state;
    works_with("2c");
}

/* Each on v1 and v2c. */
static void fails_as(const char *mode, enum fence_outcome want, enum fence_power want_power)
{
    static const char *const versions[] = { "1", "2c" };
    char arg[64];
    const char *const extra[] = { "--fail", arg, NULL };
    struct fence_answer a;
    struct pdu p;

    (void)snprintf(arg, sizeof(arg), "node1=%s", mode);
    pdu_start(&p, extra);
    for (int i = 0; i < 2; i++) {
        a = want == FENCE_UNKNOWN ? apc_stuck(&p, "node1", versions[i])
                                  : apc(&p, FENCE_ACTION_OFF, "node1", versions[i]);
        if (a.result != want || a.power != want_power) {
            fail_msg("%s, %s: %s %s (%s)", mode, versions[i], fence_outcome_name(a.result),
                     fence_power_name(a.power), a.detail);
        }
        assert_int_equal(apc(&p, FENCE_ACTION_OFF, "node3", versions[i]).result, FENCE_SUCCEEDED);
    }
    pdu_stop(&p);
}

static void stuck(void **state)
{
    (void)state;
    fails_as("stuck", FENCE_UNKNOWN, FENCE_POWER_ON);
}

/* Nothing that reads the device can find out: that is what life signs and `fence test` are for. */
static void lying(void **state)
{
    (void)state;
    fails_as("lie", FENCE_SUCCEEDED, FENCE_POWER_OFF);
}

static void refusing(void **state)
{
    (void)state;
    fails_as("refuse", FENCE_FAILED, FENCE_POWER_ON);
}

static void silent(void **state)
{
    (void)state;
    fails_as("silent", FENCE_FAILED, FENCE_POWER_UNKNOWN);
}

static void slow(void **state)
{
    (void)state;
    fails_as("slow:2000", FENCE_SUCCEEDED, FENCE_POWER_OFF);
}

static void too_slow(void **state)
{
    const char *const extra[] = { "--fail", "node1=slow:60000", NULL };
    struct fence_answer a;
    struct pdu p;

    (void)state;
    pdu_start(&p, extra);
    a = apc_stuck(&p, "node1", "1");
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_ON);
    pdu_stop(&p);
}

static void one_of_two_supplies_stuck(void **state)
{
    const char *const extra[] = { "--fail", "node2-B=stuck", NULL };
    struct fence_answer a;
    struct pdu p;

    (void)state;
    pdu_start(&p, extra);
    a = apc_stuck(&p, "node2", "2c");
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_ON);
    pdu_stop(&p);
}

/* One supply was switched off, the other one refused: it is not off, and it is not as it was. */
static void one_of_two_supplies_refuses(void **state)
{
    const char *const extra[] = { "--fail", "node2-B=refuse", NULL };
    struct fence_answer a;
    struct pdu p;

    (void)state;
    pdu_start(&p, extra);
    a = apc_stuck(&p, "node2", "2c");
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_int_equal(a.n_outlets, 2);
    assert_int_equal(a.outlets[0].power, FENCE_POWER_OFF);
    assert_int_equal(a.outlets[1].power, FENCE_POWER_ON);
    pdu_stop(&p);
}

/* Two executors at one PDU at the same time, for two hosts: neither gets the other's answer. */
static void two_clients_at_once(void **state)
{
    static const char *const hosts[] = { "node1", "node3" };
    struct fence_answer a[2] = { { .n_outlets = 999 }, { .n_outlets = 999 } };
    struct fence_exec *x[2];
    uv_loop_t loop;
    char bin[512];
    struct err err;
    struct pdu p;

    (void)state;
    pdu_start(&p, NULL);
    (void)snprintf(bin, sizeof(bin), "%s/picket-fence", bin_dir);
    assert_int_equal(uv_loop_init(&loop), 0);
    for (int i = 0; i < 2; i++) {
        struct fence_op op = new_op(&p, FENCE_ACTION_OFF, hosts[i], "2c");

        set(&op, "community", COMMUNITY);
        assert_int_equal(fence_exec_start(&loop, bin, &op, 0, on_answer, &a[i], &x[i], &err), 0);
        fence_op_done(&op);
    }
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(a[i].result, FENCE_SUCCEEDED);
        assert_int_equal(a[i].power, FENCE_POWER_OFF);
        assert_int_equal(a[i].n_outlets, 1);
        assert_string_equal(a[i].outlets[0].plug, i == 0 ? "1" : "4");
    }
    assert_int_equal(apc(&p, FENCE_ACTION_STATUS, "node2", "2c").power, FENCE_POWER_ON);
    pdu_stop(&p);
}

static void wrong_community(void **state)
{
    struct fence_answer a;
    struct fence_op op;
    struct pdu p;

    (void)state;
    pdu_start(&p, NULL);
    op = new_op(&p, FENCE_ACTION_OFF, "node1", "1");
    set(&op, "community", "public");
    a = run_op(&op);
    assert_int_equal(a.result, FENCE_FAILED);
    assert_null(strstr(a.detail, "public")); /* not even a wrong secret is shown */
    assert_int_equal(apc(&p, FENCE_ACTION_STATUS, "node1", "1").power, FENCE_POWER_ON);
    pdu_stop(&p);
}

static void nobody_there(void **state)
{
    struct pdu p = { 0 };
    struct fence_answer a;

    (void)state;
    (void)snprintf(p.address, sizeof(p.address), "127.0.0.1:%u", free_port());
    a = apc(&p, FENCE_ACTION_OFF, "node1", "1");
    assert_int_equal(a.result, FENCE_FAILED);
    assert_non_null(strstr(a.detail, "nothing was switched"));
}

/* S17: an executor that stood still for longer than its lease switches nothing. */
static void after_the_deadline(void **state)
{
    struct fence_op op;
    struct fence_answer a;
    struct pdu p;

    (void)state;
    pdu_start(&p, NULL);
    op = new_op(&p, FENCE_ACTION_OFF, "node1", "1");
    set(&op, "community", COMMUNITY);
    op.deadline_boottime_ms = clock_now_ms() - 1;
    a = run_op(&op);
    assert_int_equal(a.result, FENCE_FAILED);
    assert_non_null(strstr(a.detail, "deadline passed"));
    op = new_op(&p, FENCE_ACTION_OFF, "node1", "1");
    set(&op, "community", COMMUNITY);
    op.deadline_boottime_ms = 0;
    assert_int_equal(run_op(&op).result, FENCE_FAILED);
    assert_int_equal(apc(&p, FENCE_ACTION_STATUS, "node1", "1").power, FENCE_POWER_ON);
    pdu_stop(&p);
}

/* --- v3
 * ---------------------------------------------------------------------------------------------- */

static void write_users(char path[64])
{
    FILE *f;
    int fd;

    (void)snprintf(path, 64, "/tmp/snmp-test-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    f = fdopen(fd, "w");
    assert_non_null(f);
    assert_true(fputs("fencer SHA authpassword AES privpassword\nplain MD5 authpassword\n", f) >=
                0);
    assert_int_equal(fclose(f), 0);
}

static struct fence_answer v3(const struct pdu *p, enum fence_action action, const char *user,
                              const char *auth_protocol, const char *auth_password, bool priv)
{
    struct fence_op op = new_op(p, action, "node1", "3");

    set(&op, "username", user);
    set(&op, "auth_protocol", auth_protocol);
    set(&op, "auth_password", auth_password);
    if (priv) {
        set(&op, "priv_protocol", "AES");
        set(&op, "priv_password", "privpassword");
    }
    return run_op(&op);
}

static void version_3(void **state)
{
    char users[64];
    const char *const extra[] = { "--v3-user-file", users, NULL };
    struct pdu p;

    (void)state;
    write_users(users);
    pdu_start(&p, extra);
    assert_int_equal(v3(&p, FENCE_ACTION_OFF, "fencer", "SHA", "authpassword", true).result,
                     FENCE_SUCCEEDED);
    assert_int_equal(v3(&p, FENCE_ACTION_ON, "plain", "MD5", "authpassword", false).result,
                     FENCE_SUCCEEDED);
    assert_int_equal(v3(&p, FENCE_ACTION_OFF, "plain", "MD5", "wrongpassword", false).result,
                     FENCE_FAILED);
    assert_int_equal(v3(&p, FENCE_ACTION_OFF, "nobody", "MD5", "authpassword", false).result,
                     FENCE_FAILED);
    assert_int_equal(v3(&p, FENCE_ACTION_OFF, "plain", "MD5", "short", false).result, FENCE_FAILED);
    assert_int_equal(v3(&p, FENCE_ACTION_STATUS, "plain", "MD5", "authpassword", false).power,
                     FENCE_POWER_ON);
    pdu_stop(&p);
    (void)unlink(users);
}

/* Somebody who does not know the key answers "it is off".  Nothing of that may be believed. */
static void forged_answers_are_no_answers(void **state)
{
    char users[64];
    const char *const extra[] = { "--v3-user-file", users, "--rogue", NULL };
    struct fence_answer a;
    struct pdu p;

    (void)state;
    write_users(users);
    pdu_start(&p, extra);
    assert_int_equal(v3(&p, FENCE_ACTION_OFF, "plain", "MD5", "authpassword", false).result,
                     FENCE_SUCCEEDED);
    a = v3(&p, FENCE_ACTION_STATUS, "plain", "MD5", "wrongpassword", false);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_UNKNOWN);
    a = v3(&p, FENCE_ACTION_OFF, "plain", "MD5", "wrongpassword", false);
    assert_int_not_equal(a.result, FENCE_SUCCEEDED);
    pdu_stop(&p);
    (void)unlink(users);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v1),
        cmocka_unit_test(v2c),
        cmocka_unit_test(stuck),
        cmocka_unit_test(lying),
        cmocka_unit_test(refusing),
        cmocka_unit_test(silent),
        cmocka_unit_test(slow),
        cmocka_unit_test(too_slow),
        cmocka_unit_test(one_of_two_supplies_stuck),
        cmocka_unit_test(one_of_two_supplies_refuses),
        cmocka_unit_test(two_clients_at_once),
        cmocka_unit_test(wrong_community),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(after_the_deadline),
        cmocka_unit_test(version_3),
        cmocka_unit_test(forged_answers_are_no_answers),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, find_bins, NULL);
}
