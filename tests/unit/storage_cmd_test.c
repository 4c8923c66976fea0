/* Commands with a deadline, an output limit and a reason. Waits are bounded by the runner itself.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/obj.h"
#include "storage/cmd_exec.h"

struct world {
    uv_loop_t loop;
    struct cmd_runner *runner;
    struct cmd_result last;
    char out[256];
    int calls;
    bool closed;
    bool in_start;
};

/* What is killed while this is set does not die, as a process that waits for a dead disk. */
static bool immortal;

int kill(pid_t pid, int sig)
{
    if (immortal && sig == SIGKILL) {
        return 0;
    }
    return (int)syscall(SYS_kill, pid, sig);
}

static void on_result(void *ctx, const struct cmd_result *r)
{
    struct world *w = ctx;

    assert_false(w->in_start);
    w->calls++;
    w->last = *r;
    memset(w->out, 0, sizeof(w->out));
    memcpy(w->out, r->out, r->out_len < sizeof(w->out) ? r->out_len : sizeof(w->out) - 1);
    assert_int_equal(r->out[r->out_len], 0);
}

static void on_closed(void *ctx)
{
    struct world *w = ctx;

    w->closed = true;
}

static int setup(void **state)
{
    struct world *w = OBJ_NEW(struct world);

    immortal = false;
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    w->runner = cmd_runner_new(&w->loop, 2);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    immortal = false;
    if (w->runner != NULL) {
        cmd_runner_close(w->runner, on_closed, w);
    }
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_true(w->closed);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
    return 0;
}

static void start_in(struct world *w, const char *script, const char *input, uint64_t timeout_ms,
                     size_t output_max, struct cmd **ret)
{
    const char *argv[] = { "/bin/sh", "-c", script, NULL };
    struct cmd_spec spec = { .argv = argv,
                             .input = input,
                             .input_len = input != NULL ? strlen(input) : 0,
                             .timeout_ms = timeout_ms,
                             .output_max = output_max };
    struct err err;

    w->in_start = true;
    assert_int_equal(cmd_start(w->runner, &spec, on_result, w, ret, &err), 0);
    w->in_start = false;
}

static void wait_calls(struct world *w, int calls)
{
    while (w->calls < calls) {
        assert_true(uv_run(&w->loop, UV_RUN_ONCE) != 0 || w->calls >= calls);
    }
}

static void run(struct world *w, const char *script, const char *input, uint64_t timeout_ms,
                size_t output_max)
{
    int before = w->calls;

    start_in(w, script, input, timeout_ms, output_max, NULL);
    wait_calls(w, before + 1);
}

static void gives_output_and_status(void **state)
{
    struct world *w = *state;
    struct err err;

    run(w, "echo hello; echo oops >&2", NULL, 60000, 0);
    assert_int_equal(w->last.end, CMD_OK);
    assert_string_equal(w->out, "hello\n");
    assert_int_equal(w->last.errors_len, 5);
    assert_string_equal(w->last.why, "");
    assert_int_equal(cmd_result_err(&w->last, &err), 0);

    run(w, "echo partly; echo first >&2; echo '  Volume group \"x\" not found' >&2; exit 5", NULL,
        60000, 0);
    assert_int_equal(w->last.end, CMD_FAILED);
    assert_int_equal(w->last.status, 5);
    assert_non_null(strstr(w->last.why, "exit status 5: Volume group \"x\" not found"));
    assert_int_equal(cmd_result_err(&w->last, &err), ERR_DRIVER);
    assert_int_equal(cmd_running(w->runner), 0);
}

static void passes_a_secret_on_stdin_and_a_fixed_environment(void **state)
{
    struct world *w = *state;

    assert_int_equal(setenv("PICKET_CMD_TEST", "leak", 1), 0);
    run(w, "cat; echo \"[$PICKET_CMD_TEST][$LC_ALL]\"; pwd", "s3cret\n", 60000, 0);
    assert_string_equal(w->out, "s3cret\n[][C]\n/\n");
    /* one that does not read its input */
    for (int i = 0; i < 20; i++) {
        run(w, "exit 3", "s3cret\n", 60000, 0);
        assert_int_equal(w->last.status, 3);
    }
    /* without input it reads an end at once */
    run(w, "cat", NULL, 60000, 0);
    assert_int_equal(w->last.end, CMD_OK);
}

static void kills_the_group_at_the_deadline(void **state)
{
    struct world *w = *state;
    struct err err;

    run(w, "echo begun; echo waiting >&2; sleep 1000 & sleep 1000", NULL, 100, 0);
    assert_int_equal(w->last.end, CMD_TIMED_OUT);
    assert_non_null(strstr(w->last.why, "killed"));
    assert_int_equal(cmd_result_err(&w->last, &err), ERR_UNKNOWN_OUTCOME);
}

static void a_grandchild_does_not_hold_the_result_back(void **state)
{
    struct world *w = *state;

    run(w, "echo done; sleep 1000 &", NULL, 600000, 0);
    assert_int_equal(w->last.end, CMD_OK);
    assert_string_equal(w->out, "done\n");
}

static void limits_output(void **state)
{
    struct world *w = *state;

    run(w, "while :; do echo 0123456789; done", NULL, 600000, 1000);
    assert_int_equal(w->last.end, CMD_OVERFLOW);
    assert_true(w->last.out_len <= 1000);
    assert_non_null(strstr(w->last.why, "more than 1000 bytes"));
    /* too much, and already gone: still not a complete output */
    run(w, "printf '%2000d' 1", NULL, 600000, 1000);
    assert_int_equal(w->last.end, CMD_OVERFLOW);
    /* what is too much of standard error is dropped */
    run(w, "printf '%40000d' 1 >&2; echo ok", NULL, 600000, 1000);
    assert_int_equal(w->last.end, CMD_OK);
    assert_true(w->last.errors_len <= CMD_STDERR_MAX);
}

static void tells_signals_and_cancels(void **state)
{
    struct world *w = *state;
    struct cmd *c = NULL;

    run(w, "kill -TERM $$", NULL, 60000, 0);
    assert_int_equal(w->last.end, CMD_SIGNALED);
    assert_int_equal(w->last.signal, SIGTERM);
    start_in(w, "sleep 1000", NULL, 600000, 0, &c);
    cmd_cancel(c);
    cmd_cancel(c);
    wait_calls(w, 2);
    assert_int_equal(w->last.end, CMD_CANCELED);
}

static void a_stuck_command_is_reported_and_blocks_nobody(void **state)
{
    struct world *w = *state;
    struct err err;

    immortal = true;
    run(w, "exec sleep 1000", NULL, 50, 0);
    assert_int_equal(w->last.end, CMD_STUCK);
    assert_non_null(strstr(w->last.why, "cannot be killed"));
    assert_int_equal(cmd_result_err(&w->last, &err), ERR_UNKNOWN_OUTCOME);
    assert_int_equal(cmd_stuck(w->runner), 1);
    immortal = false;
    run(w, "echo other", NULL, 60000, 0);
    assert_string_equal(w->out, "other\n");
}

static void a_stuck_command_is_reaped_when_it_ends(void **state)
{
    struct world *w = *state;

    immortal = true;
    run(w, "exec sleep 2", NULL, 50, 0);
    assert_int_equal(w->last.end, CMD_STUCK);
    immortal = false;
    while (cmd_stuck(w->runner) > 0) {
        assert_int_not_equal(uv_run(&w->loop, UV_RUN_ONCE), -1);
    }
    assert_int_equal(w->calls, 1);
    assert_int_equal(cmd_running(w->runner), 0);
}

static void refuses_what_cannot_start(void **state)
{
    struct world *w = *state;
    const char *relative[] = { "lvm", NULL };
    const char *missing[] = { "/nonexistent/lvm", NULL };
    struct cmd_spec spec = { .argv = relative, .timeout_ms = 1000 };
    struct err err;

    assert_int_equal(cmd_start(w->runner, &spec, on_result, w, NULL, &err), ERR_INVALID);
    spec.argv = missing;
    assert_int_equal(cmd_start(w->runner, &spec, on_result, w, NULL, &err), ERR_SYS);
    assert_non_null(strstr(err.msg, "/nonexistent/lvm"));
    start_in(w, "sleep 1000", NULL, 600000, 0, NULL);
    start_in(w, "sleep 1000", NULL, 600000, 0, NULL);
    spec.argv = (const char *const[]){ "/bin/true", NULL };
    assert_int_equal(cmd_start(w->runner, &spec, on_result, w, NULL, &err), ERR_LIMIT);
    assert_int_equal(w->calls, 0);
    cmd_runner_close(w->runner, on_closed, w);
    w->runner = NULL;
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(w->calls, 2);
    assert_int_equal(w->last.end, CMD_CANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_output_and_status, setup, teardown),
        cmocka_unit_test_setup_teardown(passes_a_secret_on_stdin_and_a_fixed_environment, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(kills_the_group_at_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(a_grandchild_does_not_hold_the_result_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(limits_output, setup, teardown),
        cmocka_unit_test_setup_teardown(tells_signals_and_cancels, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stuck_command_is_reported_and_blocks_nobody, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_stuck_command_is_reaped_when_it_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_cannot_start, setup, teardown),
    };

    return cmocka_run_group_tests_name("storage_cmd", tests, NULL, NULL);
}
