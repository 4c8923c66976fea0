#ifndef STORAGE_CMD_EXEC_H
#define STORAGE_CMD_EXEC_H

/* Run external commands from a libuv loop: with a deadline, a limit on what they may print, and a
 * reason that can be shown when they fail.
 *
 * The command runs in a session of its own, with a fixed environment (PATH, LC_ALL=C) and without a
 * shell. Secrets go to its standard input, never into argv, where every user can read them. At the
 * deadline the whole group is killed. A command that waits for a dead disk cannot be killed: it is
 * reported as CMD_STUCK after a short grace, and is reaped whenever it ends. So the callback comes
 * exactly once for every started command, at most CMD_GRACE_MS after its deadline, never before
 * cmd_start has returned. Loop thread only. All times are milliseconds.
 */

#include <uv.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CMD_GRACE_MS 1000U           /* from SIGKILL until it counts as stuck */
#define CMD_OUTPUT_MAX (1024 * 1024) /* bytes of standard output unless the spec says otherwise */
#define CMD_STDERR_MAX 16384         /* bytes; what is over is dropped */
#define CMD_INPUT_MAX 65536          /* bytes of standard input */
#define CMD_ARGS_MAX 128
#define CMD_WHY_MAX 400

enum cmd_end {
    CMD_OK = 0,    /* exit status 0, all of its output is there */
    CMD_FAILED,    /* exit status above 0: it said so itself */
    CMD_SIGNALED,  /* ended by somebody's signal: outcome unknown */
    CMD_TIMED_OUT, /* killed at its deadline: outcome unknown */
    CMD_OVERFLOW,  /* printed more than its limit and was killed: outcome unknown */
    CMD_CANCELED,  /* killed by cmd_cancel: outcome unknown */
    CMD_STUCK,     /* cannot even be killed: outcome unknown, it may still act later */
};
const char *cmd_end_name(enum cmd_end end); /* "Ok", "Failed", "TimedOut", ... */

struct cmd_spec {
    const char *const *argv; /* argv[0] is an absolute path; NULL at the end; copied */
    const void *input;       /* standard input, or NULL; copied, the copy is wiped */
    size_t input_len;        /* at most CMD_INPUT_MAX */
    uint64_t timeout_ms;     /* above 0 */
    size_t output_max;       /* bytes; 0: CMD_OUTPUT_MAX */
};

struct cmd_result {
    enum cmd_end end;
    int status; /* exit status, when it exited */
    int signal; /* 0: none */
    const char *out;
    size_t out_len; /* a NUL follows */
    const char *errors;
    size_t errors_len;
    uint64_t took_ms;
    char why[CMD_WHY_MAX]; /* one line for people: which command, what happened; "" when it is OK */
};

/* All commands of one loop. */
struct cmd_runner;
struct cmd;

/* Owned by the runner, valid during the call. */
typedef void cmd_cb(void *ctx, const struct cmd_result *r);

/* The program has to ignore SIGPIPE (checked): a command may end before it has read its input.
 * @max  how many may run at the same time (those that are stuck count) */
struct cmd_runner *cmd_runner_new(uv_loop_t *loop, unsigned max);
unsigned cmd_running(const struct cmd_runner *r);
unsigned cmd_stuck(const struct cmd_runner *r);
/* Kill everything; callbacks of what runs come with CMD_CANCELED or CMD_STUCK, then on_closed, then
 * the runner is freed. Nothing may be started any more. */
void cmd_runner_close(struct cmd_runner *r, void (*on_closed)(void *ctx), void *ctx);

/* Errors: nothing was started and the callback never comes.
 *   ERR_INVALID  argv[0] is not absolute, too many arguments, too much input
 *   ERR_LIMIT    as many as allowed are running
 *   ERR_SYS      the program cannot be started (native: uv)
 * *ret may be NULL; it is valid until the callback. */
int cmd_start(struct cmd_runner *r, const struct cmd_spec *spec, cmd_cb *cb, void *ctx,
              struct cmd **ret, struct err *err) ERR_USED;
void cmd_cancel(struct cmd *c);

/* The result as an error: 0, ERR_DRIVER (it failed by itself) or ERR_UNKNOWN_OUTCOME. */
int cmd_result_err(const struct cmd_result *r, struct err *err);

#endif
