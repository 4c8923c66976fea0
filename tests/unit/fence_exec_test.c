/* fence/exec_uv.c against programs that misbehave, and picket-fence with fence agents that do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "fence/exec_uv.h"

#define SECRET "hunter2-Secret"
#define GENEROUS_MS 120000U /* nothing here needs so long, whatever else the machine does */

static char bin_dir[400];
static char dir[64];

static int setup(void **state)
{
    ssize_t n = readlink("/proc/self/exe", bin_dir, sizeof(bin_dir) - 1);

    (void)state;
    assert_true(n > 0);
    bin_dir[n] = '\0';
    *strrchr(bin_dir, '/') = '\0';
    *strrchr(bin_dir, '/') = '\0';
    (void)snprintf(dir, sizeof(dir), "/tmp/fence-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int teardown(void **state)
{
    DIR *d = opendir(dir);
    const struct dirent *e;

    (void)state;
    if (d == NULL) { /* somebody tidied /tmp: then the test failed for that reason as well */
        fail_msg("%s is gone: %s", dir, strerror(errno));
    }
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.') {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    (void)closedir(d);
    (void)rmdir(dir);
    return 0;
}

static void path_of(char dst[128], const char *name)
{
    (void)snprintf(dst, 128, "%s/%s", dir, name);
}

static void script(const char *name, const char *body)
{
    char path[128];
    FILE *f;

    path_of(path, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fprintf(f, "#!/bin/sh\ncd %s\n%s\n", dir, body) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

static bool file_has(const char *name, const char *part)
{
    char path[128], text[4096];
    FILE *f;
    size_t n;

    path_of(path, name);
    f = fopen(path, "r");
    if (f == NULL) {
        return false;
    }
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    (void)fclose(f);
    return strstr(text, part) != NULL;
}

static struct fence_op new_op(enum fence_type type, enum fence_action action)
{
    struct fence_op op;

    memset(&op, 0, sizeof(op));
    op.type = type;
    op.action = action;
    op.timeout_ms = GENEROUS_MS;
    op.deadline_boottime_ms = clock_now_ms() + GENEROUS_MS;
    (void)str_copy(op.host, sizeof(op.host), "node1");
    return op;
}

static void set(struct fence_op *op, const char *key, const char *value)
{
    struct err err;

    assert_int_equal(fence_op_set(op, key, value, &err), 0);
}

/* What to do to a running operation, and when. */
struct poke {
    uv_timer_t timer;
    struct fence_exec *x;
    const char *at_file;  /* as soon as it exists */
    uint64_t extend_ms;   /* a new deadline; 0: cancel */
    uint64_t go_after_ms; /* then, when the clock has passed it, make the file "go" */
    bool done;
};

static bool exists(const char *name)
{
    char path[128];

    path_of(path, name);
    return access(path, F_OK) == 0;
}

static void touch(const char *name)
{
    char path[128];
    FILE *f;

    path_of(path, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
}

static void forget(const char *name)
{
    char path[128];

    path_of(path, name);
    assert_true(unlink(path) == 0 || errno == ENOENT);
}

static void on_poke(uv_timer_t *t)
{
    struct poke *p = t->data;

    if (!p->done && exists(p->at_file)) {
        p->done = true;
        if (p->extend_ms != 0) {
            fence_exec_extend(p->x, p->extend_ms);
        } else {
            fence_exec_cancel(p->x);
        }
    }
    if (p->done && p->go_after_ms != 0 && clock_now_ms() > p->go_after_ms) {
        p->go_after_ms = 0;
        touch("go");
    }
}

struct outcome {
    struct fence_answer ans;
    unsigned calls;
    struct poke *poke;
};

static void on_answer(void *ctx, const struct fence_answer *ans)
{
    struct outcome *o = ctx;

    o->ans = *ans;
    o->calls++;
    if (o->poke != NULL) {
        uv_close((uv_handle_t *)&o->poke->timer, NULL);
    }
}

static struct fence_answer run_poked(const char *program, struct fence_op *op, uint64_t hard_ms,
                                     struct poke *poke)
{
    struct outcome o = { .poke = poke };
    struct fence_exec *x = NULL;
    uv_loop_t loop;
    struct err err;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(fence_exec_start(&loop, program, op, hard_ms, on_answer, &o, &x, &err), 0);
    assert_int_equal(o.calls, 0); /* never before it returned */
    if (poke != NULL) {
        poke->x = x;
        poke->timer.data = poke;
        assert_int_equal(uv_timer_init(&loop, &poke->timer), 0);
        assert_int_equal(uv_timer_start(&poke->timer, on_poke, 20, 20), 0);
    }
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(o.calls, 1);
    return o.ans;
}

static struct fence_answer run_script(const char *body, uint64_t hard_ms, struct poke *poke)
{
    struct fence_op op = new_op(FENCE_TYPE_NULL, FENCE_ACTION_OFF);
    char path[128];

    script("program", body);
    path_of(path, "program");
    return run_poked(path, &op, hard_ms, poke);
}

/* --- exec_uv
 * ------------------------------------------------------------------------------------------- */

#define ANSWER(result) "echo '{\"result\":\"" result "\",\"power\":\"Off\",\"detail\":\"x\"}'; "

static void proper_answers(void **state)
{
    (void)state;
    assert_int_equal(run_script(ANSWER("Succeeded") "exit 0", 0, NULL).result, FENCE_SUCCEEDED);
    assert_int_equal(run_script(ANSWER("Failed") "exit 1", 0, NULL).result, FENCE_FAILED);
    assert_int_equal(run_script(ANSWER("Unknown") "exit 2", 0, NULL).result, FENCE_UNKNOWN);
}

static void everything_else_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(run_script("exit 0", 0, NULL).result, FENCE_UNKNOWN);
    assert_int_equal(run_script("echo Succeeded; exit 0", 0, 0).result, FENCE_UNKNOWN);
    /* The words and the exit status do not agree. */
    assert_int_equal(run_script(ANSWER("Succeeded") "exit 1", 0, NULL).result, FENCE_UNKNOWN);
    assert_int_equal(run_script(ANSWER("Failed") "exit 0", 0, NULL).result, FENCE_UNKNOWN);
    assert_int_equal(run_script(ANSWER("Succeeded") ANSWER("Succeeded") "exit 0", 0, NULL).result,
                     FENCE_UNKNOWN);
    /* A crash after the answer. */
    assert_int_equal(run_script(ANSWER("Succeeded") "kill -SEGV $$", 0, NULL).result,
                     FENCE_UNKNOWN);
    /* Too much. */
    assert_int_equal(run_script("head -c 1000000 /dev/zero; exit 0", 0, 0).result, FENCE_UNKNOWN);
}

static void hangs_are_ended(void **state)
{
    struct fence_answer a = run_script("exec sleep 600", 300, NULL);
    struct poke cancel = { .at_file = "running" };

    (void)state;
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_non_null(strstr(a.detail, "hard timeout"));
    /* Its answer came, but it does not end. */
    assert_int_equal(run_script(ANSWER("Succeeded") "exec sleep 600", 300, NULL).result,
                     FENCE_UNKNOWN);
    assert_int_equal(run_script("touch running; exec sleep 600", 0, &cancel).result, FENCE_UNKNOWN);
    assert_true(cancel.done);
}

static void no_such_program(void **state)
{
    struct fence_op op = new_op(FENCE_TYPE_NULL, FENCE_ACTION_OFF);
    struct outcome o = { .calls = 0 };
    struct fence_exec *x = NULL;
    uv_loop_t loop;
    struct err err;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(
        fence_exec_start(&loop, "/nonexistent/picket-fence", &op, 0, on_answer, &o, &x, &err),
        ERR_SYS);
    assert_non_null(strstr(err.msg, "/nonexistent/picket-fence"));
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(o.calls, 0);
}

static void secrets_travel_on_stdin_only(void **state)
{
    struct fence_op op = new_op(FENCE_TYPE_NULL, FENCE_ACTION_OFF);
    char path[128];

    (void)state;
    set(&op, "password", SECRET);
    script("program", "tr '\\0' '\\n' </proc/$$/cmdline >cmdline; env >environ; "
                      "while read -r l && test -n \"$l\"; do echo \"$l\"; done >stdin; exit 2");
    path_of(path, "program");
    assert_int_equal(run_poked(path, &op, 0, NULL).result, FENCE_UNKNOWN);
    assert_true(file_has("cmdline", "program"));
    assert_false(file_has("cmdline", SECRET));
    assert_true(file_has("environ", "PATH="));
    assert_false(file_has("environ", SECRET));
    assert_true(file_has("stdin", "password=" SECRET));
}

/* --- picket-fence with agents
 * ---------------------------------------------------------------------------- */

/* A wrapper, since fence_exec_start gives no arguments. */
static struct fence_answer run_agent(struct fence_op *op, struct poke *poke)
{
    char body[700], path[128];

    (void)snprintf(body, sizeof(body), "exec %s/picket-fence --agent-dir %s", bin_dir, dir);
    script("program", body);
    path_of(path, "program");
    return run_poked(path, op, 0, poke);
}

static struct fence_op agent_op(enum fence_action action)
{
    struct fence_op op = new_op(FENCE_TYPE_AGENT, action);

    set(&op, "program", "fence_test");
    set(&op, "address", "192.0.2.7:1623");
    set(&op, "username", "admin");
    set(&op, "password", SECRET);
    set(&op, "plugs", "7");
    set(&op, "param.power_wait", "3");
    return op;
}

/* Keeps its power in a file; every call is noted. */
#define AGENT                                                                                      \
    "cat >last; action=$(sed -n s/^action=//p last); echo $action >>calls; "                       \
    "case $action in status) test -e is_off && exit 2; exit 0;; "

/* As those of the package fence-agents. */
#define SAYING_AGENT                                                                               \
    "cat >last; action=$(sed -n s/^action=//p last); echo $action >>calls; "                       \
    "case $action in status) test -e is_off && { echo Status: OFF; exit 2; }; "                    \
    "echo Status: ON; exit 0;; "

static int agent_calls(const char *action)
{
    char path[128], line[64];
    int n = 0;
    FILE *f;

    path_of(path, "calls");
    f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        n += str_eq(line, action) ? 1 : 0;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return n;
}

static void agent_switches_off(void **state)
{
    struct fence_op op = agent_op(FENCE_ACTION_OFF);
    struct fence_answer a;

    (void)state;
    script("fence_test", AGENT "off) touch is_off;; on) rm -f is_off;; esac");
    a = run_agent(&op, NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_OFF);
    assert_int_equal(agent_calls("off"), 1);
    assert_int_equal(agent_calls("status"), 3); /* before, and twice after */
    assert_true(file_has("last", "ip=192.0.2.7\n"));
    assert_true(file_has("last", "ipport=1623\n"));
    assert_true(file_has("last", "plug=7\n"));
    assert_true(file_has("last", "power_wait=3\n"));
    assert_true(file_has("last", "password=" SECRET "\n"));
    op = agent_op(FENCE_ACTION_OFF);
    a = run_agent(&op, NULL); /* already off: not told again */
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(agent_calls("off"), 1);
    op = agent_op(FENCE_ACTION_REBOOT);
    a = run_agent(&op, NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
}

/* fence-agents report success early now and then: what counts is the reading. */
static void agent_that_says_so_only(void **state)
{
    struct fence_answer a = { 0 };
    struct fence_op op;

    (void)state;
    script("fence_test", AGENT "off) echo 'Success: Powered OFF';; esac");
    for (uint64_t ms = 2000; ms <= GENEROUS_MS && agent_calls("off") == 0; ms *= 2) {
        op = agent_op(FENCE_ACTION_OFF);
        op.timeout_ms = ms;
        a = run_agent(&op, NULL);
    }
    assert_int_equal(agent_calls("off"), 1);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_ON);
}

static void agent_output_without_secrets(void **state)
{
    struct fence_op op = agent_op(FENCE_ACTION_STATUS);
    struct fence_answer a;

    (void)state;
    script("fence_test", "echo 'Unable to log in as admin with " SECRET " today' >&2; exit 1");
    a = run_agent(&op, NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_UNKNOWN);
    assert_non_null(strstr(a.detail, "Unable to log in"));
    assert_null(strstr(a.detail, SECRET));
    assert_null(strstr(a.detail, "admin"));
}

static void agent_program_names(void **state)
{
    static const char *const bad[] = { "rm", "../fence_x", "fence_x;y", "/bin/fence_x", "fence_X" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fence_op op = new_op(FENCE_TYPE_AGENT, FENCE_ACTION_OFF);

        set(&op, "program", bad[i]);
        assert_int_equal(run_agent(&op, NULL).result, FENCE_FAILED);
    }
    {
        struct fence_op op = new_op(FENCE_TYPE_AGENT, FENCE_ACTION_OFF);
        struct fence_answer a;

        set(&op, "program", "fence_absent");
        a = run_agent(&op, NULL);
        assert_int_equal(a.result, FENCE_FAILED);
        assert_non_null(strstr(a.detail, "fence-agents"));
    }
}

/* Where an agent has to be at work before a deadline passes, how long that takes is not known: each
 * round has twice the time of the one before. */
#define FIRST_ROUND_MS 1000U
#define SLOW_AGENT AGENT "off) echo $$ >pid; touch running; until test -e go; do sleep 0.1; done; "

static pid_t agent_pid(void)
{
    char path[128];
    int pid = 0;
    FILE *f;

    path_of(path, "pid");
    f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    (void)fclose(f);
    assert_true(pid > 1);
    return pid;
}

/* An agent that is told to switch ends with the executor's lease; what it did is not known. */
static void agent_ends_at_the_deadline(void **state)
{
    struct fence_answer a = { 0 };
    uint64_t until_ms = 0;

    (void)state;
    script("fence_test", SLOW_AGENT "touch was_here;; esac");
    for (uint64_t ms = FIRST_ROUND_MS; ms <= GENEROUS_MS && !exists("running"); ms *= 2) {
        struct fence_op op = agent_op(FENCE_ACTION_OFF);

        until_ms = clock_now_ms() + ms;
        op.deadline_boottime_ms = until_ms;
        op.timeout_ms = 2 * ms;
        a = run_agent(&op, NULL);
    }
    assert_true(exists("running"));
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_true(clock_now_ms() >= until_ms);
    assert_int_equal(kill(agent_pid(), 0), -1); /* not left behind */
    assert_false(exists("was_here"));
}

/* It is at work when its first deadline passes, and has a later one by then. */
static void agent_goes_on_when_the_lease_is_renewed(void **state)
{
    struct fence_answer a = { 0 };
    uint64_t first_ms = 0;

    (void)state;
    script("fence_test", SLOW_AGENT "touch is_off;; esac");
    for (uint64_t ms = FIRST_ROUND_MS; ms <= GENEROUS_MS && !exists("is_off"); ms *= 2) {
        struct fence_op op = agent_op(FENCE_ACTION_OFF);
        struct poke renew = { .at_file = "running" };

        forget("running");
        forget("go");
        first_ms = clock_now_ms() + ms;
        op.deadline_boottime_ms = first_ms;
        op.timeout_ms = 4 * ms + 5000;
        renew.extend_ms = first_ms + 2 * (uint64_t)GENEROUS_MS;
        renew.go_after_ms = first_ms + 200;
        a = run_agent(&op, &renew);
    }
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_true(clock_now_ms() > first_ms);
    assert_true(exists("is_off"));
}

static void ipmi_and_redfish_are_agents(void **state)
{
    struct fence_op op = new_op(FENCE_TYPE_IPMI, FENCE_ACTION_OFF);

    (void)state;
    script("fence_ipmilan", SAYING_AGENT "off) touch is_off;; esac");
    set(&op, "address", "[2001:db8::7]:623");
    set(&op, "username", "root");
    set(&op, "password", SECRET);
    assert_int_equal(run_agent(&op, NULL).result, FENCE_SUCCEEDED);
    assert_true(file_has("last", "ip=2001:db8::7\n"));
    assert_true(file_has("last", "lanplus=1\n"));
    assert_true(file_has("last", "method=onoff\n"));
    op = new_op(FENCE_TYPE_REDFISH, FENCE_ACTION_STATUS);
    script("fence_redfish", SAYING_AGENT "esac");
    set(&op, "address", "192.0.2.9");
    set(&op, "systems_uri", "/redfish/v1/Systems/1");
    assert_int_equal(run_agent(&op, NULL).result, FENCE_SUCCEEDED);
    assert_true(file_has("last", "systems_uri=/redfish/v1/Systems/1\n"));
    assert_false(file_has("last", "ipport"));
}

/* An exit status of 2 without the words: a shell that could not read its script ends with it. */
static void exit_status_alone_is_not_off(void **state)
{
    struct fence_op op = new_op(FENCE_TYPE_IPMI, FENCE_ACTION_STATUS);
    struct fence_answer a;

    (void)state;
    set(&op, "address", "192.0.2.7");
    script("fence_ipmilan", "exit 2");
    a = run_agent(&op, NULL);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_equal(a.power, FENCE_POWER_UNKNOWN);
    script("fence_ipmilan", "fi");
    op = new_op(FENCE_TYPE_IPMI, FENCE_ACTION_STATUS);
    a = run_agent(&op, NULL);
    assert_int_equal(a.power, FENCE_POWER_UNKNOWN);
}

static void parameters_that_are_refused(void **state)
{
    static const char *const bad[] = { "param.action", "param.missing_as_off",
                                       "param.password_script", "param.ipmitool-path" };

    (void)state;
    script("fence_test", AGENT "off) touch is_off;; esac");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fence_op op = agent_op(FENCE_ACTION_OFF);
        struct fence_answer a;

        set(&op, bad[i], "/bin/true");
        a = run_agent(&op, NULL);
        assert_int_equal(a.result, FENCE_FAILED);
        assert_non_null(strstr(a.detail, bad[i]));
        assert_false(exists("calls"));
    }
}

static void manual_null_and_nonsense(void **state)
{
    struct fence_op op = new_op(FENCE_TYPE_MANUAL, FENCE_ACTION_OFF);

    (void)state;
    assert_int_equal(run_agent(&op, NULL).result, FENCE_UNKNOWN);
    op = new_op(FENCE_TYPE_NULL, FENCE_ACTION_OFF);
    assert_int_equal(run_agent(&op, NULL).result, FENCE_FAILED);
    op = new_op(FENCE_TYPE_NULL, FENCE_ACTION_OFF);
    set(&op, "lab", "1");
    assert_int_equal(run_agent(&op, NULL).result, FENCE_SUCCEEDED);
    op = new_op(FENCE_TYPE_WATCHDOG, FENCE_ACTION_OFF);
    assert_int_equal(run_agent(&op, NULL).result, FENCE_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(proper_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_else_is_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(hangs_are_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(no_such_program, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_travel_on_stdin_only, setup, teardown),
        cmocka_unit_test_setup_teardown(agent_switches_off, setup, teardown),
        cmocka_unit_test_setup_teardown(agent_that_says_so_only, setup, teardown),
        cmocka_unit_test_setup_teardown(agent_output_without_secrets, setup, teardown),
        cmocka_unit_test_setup_teardown(agent_program_names, setup, teardown),
        cmocka_unit_test_setup_teardown(agent_ends_at_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(agent_goes_on_when_the_lease_is_renewed, setup, teardown),
        cmocka_unit_test_setup_teardown(ipmi_and_redfish_are_agents, setup, teardown),
        cmocka_unit_test_setup_teardown(exit_status_alone_is_not_off, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_that_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(manual_null_and_nonsense, setup, teardown),
    };

    (void)signal(SIGPIPE, SIG_IGN); /* as every daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
