/* ApcSnmp end to end: fence/exec_uv.c runs picket-fence against picket-pdu, over real SNMP on
 * loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fence/exec_uv.h"

#define COMMUNITY "s3cret-write"
#define GENEROUS_MS 60000U /* for what succeeds in its own time */
#define STUCK_MS 8000U     /* for what is read until the time is up */

struct pdu {
    pid_t pid;
    int log_fd;
    char address[64];
};

static char bin_dir[400];

static int find_bins(void **state)
{
    ssize_t n = readlink("/proc/self/exe", bin_dir, sizeof(bin_dir) - 1);

    (void)state;
    assert_true(n > 0);
    bin_dir[n] = '\0';
    *strrchr(bin_dir, '/') = '\0';
    *strrchr(bin_dir, '/') = '\0';
    return 0;
}

static unsigned free_port(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    (void)close(fd);
    return ntohs(sin.sin_port);
}

/* Wait for the line "started". */
static void wait_started(struct pdu *p)
{
    char text[2048];
    size_t len = 0;

    for (;;) {
        struct pollfd pfd = { .fd = p->log_fd, .events = POLLIN };
        ssize_t n;

        assert_true(poll(&pfd, 1, (int)GENEROUS_MS) > 0);
        n = read(p->log_fd, text + len, sizeof(text) - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = '\0';
        if (strstr(text, "msg=started") != NULL) {
            return;
        }
    }
}

/* Outlets node1, node2-A, node2-B, node3; extra: "--fail", "node1=lie" and so on. */
static void pdu_start(struct pdu *p, const char *const *extra)
{
    char listen[64], bin[512];
    const char *argv[24] = {
        bin,           "--listen", listen, "--outlets", "node1,node2-A,node2-B,node3",
        "--community", COMMUNITY
    };
    int pipefd[2];

    for (int i = 0; extra != NULL && extra[i] != NULL; i++) {
        argv[7 + i] = extra[i];
    }
    (void)snprintf(bin, sizeof(bin), "%s/picket-pdu", bin_dir);
    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%u", free_port());
    (void)snprintf(p->address, sizeof(p->address), "%s", listen);
    assert_int_equal(pipe(pipefd), 0);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a check fails */
        (void)dup2(pipefd[1], STDERR_FILENO);
        (void)close(pipefd[0]);
        (void)execv(bin, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    (void)close(pipefd[1]);
    p->log_fd = pipefd[0];
    wait_started(p);
}

static void pdu_stop(struct pdu *p)
{
    int status = 0;

    assert_int_equal(kill(p->pid, SIGTERM), 0);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)close(p->log_fd);
}

static void set(struct fence_op *op, const char *key, const char *value)
{
    struct err err;

    assert_int_equal(fence_op_set(op, key, value, &err), 0);
}

static void on_answer(void *ctx, const struct fence_answer *ans)
{
    *(struct fence_answer *)ctx = *ans;
}

static struct fence_answer run_op(struct fence_op *op)
{
    struct fence_answer ans = { .n_outlets = 999 };
    struct fence_exec *x = NULL;
    char bin[512];
    uv_loop_t loop;
    struct err err;

    (void)snprintf(bin, sizeof(bin), "%s/picket-fence", bin_dir);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(fence_exec_start(&loop, bin, op, 0, on_answer, &ans, &x, &err), 0);
    fence_op_done(op);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_not_equal(ans.n_outlets, 999); /* the callback came */
    return ans;
}

static struct fence_op new_op(const struct pdu *p, enum fence_action action, const char *host,
                              const char *version)
{
    struct fence_op op;

    memset(&op, 0, sizeof(op));
    op.type = FENCE_TYPE_APC_SNMP;
    op.action = action;
    op.timeout_ms = GENEROUS_MS;
    op.deadline_boottime_ms = clock_now_ms() + 2 * (uint64_t)GENEROUS_MS;
    (void)snprintf(op.host, sizeof(op.host), "%s", host);
    set(&op, "address", p->address);
    set(&op, "version", version);
    set(&op, "outlets", "Auto");
    return op;
}

static struct fence_answer apc(const struct pdu *p, enum fence_action action, const char *host,
                               const char *version)
{
    struct fence_op op = new_op(p, action, host, version);

    set(&op, "community", COMMUNITY);
    return run_op(&op);
}

/* Off, of a device that never does it: nobody waits for longer than need be. */
static struct fence_answer apc_stuck(const struct pdu *p, const char *host, const char *version)
{
    struct fence_op op = new_op(p, FENCE_ACTION_OFF, host, version);

    set(&op, "community", COMMUNITY);
    op.timeout_ms = STUCK_MS;
    return run_op(&op);
}

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

/* --- a supervisor behind the PDU
 * ---------------------------------------------------------------------- */

/* One line in, one out; keeps the power of node1 in *on, and ends at "reboot node3". */
static void supervise(int listen_fd)
{
    bool on = true;

    for (;;) {
        int fd = accept(listen_fd, NULL, NULL);
        char line[128] = { 0 };
        const char *reply = "ok\n";
        bool last;

        if (fd < 0 || read(fd, line, sizeof(line) - 1) <= 0) {
            _exit(1);
        }
        last = strcmp(line, "reboot node3\n") == 0;
        if (strcmp(line, "off node1\n") == 0) {
            on = false;
        } else if (strcmp(line, "on node1\n") == 0) {
            on = true;
        } else if (strcmp(line, "status node1\n") == 0) {
            reply = on ? "on\n" : "off\n";
        } else if (strncmp(line, "status ", 7) == 0) {
            reply = "no such outlet\n";
        }
        (void)!write(fd, reply, strlen(reply));
        (void)close(fd);
        if (last) {
            _exit(0);
        }
    }
}

static void control_socket(void **state)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    char dir[] = "/tmp/pdu-test-XXXXXX";
    char path[64];
    const char *const extra[] = { "--control", path, NULL };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct fence_answer a;
    struct pdu p;
    pid_t child;
    int status;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/pdu.sock", dir);
    (void)strncpy(sun.sun_path, path, sizeof(sun.sun_path) - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 8), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        supervise(fd);
    }
    pdu_start(&p, extra);
    assert_int_equal(apc(&p, FENCE_ACTION_STATUS, "node1", "1").power, FENCE_POWER_ON);
    a = apc(&p, FENCE_ACTION_OFF, "node1", "1");
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_OFF);
    assert_int_equal(apc(&p, FENCE_ACTION_ON, "node1", "1").power, FENCE_POWER_ON);
    /* The supervisor does not know it: an error, never a state. */
    a = apc(&p, FENCE_ACTION_OFF, "node3", "1");
    assert_int_equal(a.result, FENCE_FAILED);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)close(fd);
    (void)unlink(path);
    a = apc(&p, FENCE_ACTION_OFF, "node1", "1"); /* the supervisor is gone */
    assert_int_equal(a.result, FENCE_FAILED);
    pdu_stop(&p);
    (void)rmdir(dir);
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
        cmocka_unit_test(wrong_community),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(after_the_deadline),
        cmocka_unit_test(version_3),
        cmocka_unit_test(forged_answers_are_no_answers),
        cmocka_unit_test(control_socket),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, find_bins, NULL);
}
