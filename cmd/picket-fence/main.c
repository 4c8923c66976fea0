/* picket-fence: one operation of one fence device (fence/dev.h), then the end.
 *
 * A process of its own, because the libraries and programs behind devices block, leak and crash,
 * and because it can be killed.  It takes everything from stdin, so that no secret is ever on a
 * command line, and answers with one line of JSON.  It ends with its parent.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/agent_exec.h"
#include "fence/agent_meta_exec.h"
#include "fence/pr.h"
#include "fence/run.h"
#include "fence/snmp_drv.h"
#include "fence/ssh_exec.h"

#define INPUT_MS 5000

static char input[FENCE_OP_MAX_BYTES + 1];
static struct fence_op op;
static struct fence_answer answer;

/* A read takes what is there, and more than the operation may be there already. */
static size_t op_length(size_t len)
{
    const char *end = memmem(input, len, "\n\n", 2);

    return end != NULL ? (size_t)(end - input) + 2 : 0;
}

/* Up to the empty line.  Extensions of the deadline may have come along with the operation: they
 * are what lies between *ret_op and *ret_len. */
static int read_input(size_t *ret_op, size_t *ret_len, struct err *err)
{
    uint64_t until_ms = clock_now_ms() + INPUT_MS;
    size_t len = 0;

    for (;;) {
        struct pollfd pfd = { .fd = STDIN_FILENO, .events = POLLIN };
        uint64_t now_ms = clock_now_ms();
        ssize_t n;

        if (now_ms >= until_ms || poll(&pfd, 1, (int)(until_ms - now_ms)) <= 0) {
            return err_set(err, ERR_TIMEOUT, "no operation on stdin within 5 s");
        }
        n = read(STDIN_FILENO, input + len, sizeof(input) - 1 - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        len += n > 0 ? (size_t)n : 0;
        *ret_op = n <= 0 ? len : op_length(len);
        *ret_len = len;
        if (*ret_op != 0) {
            return 0;
        }
        if (n <= 0 || len == sizeof(input) - 1) {
            return err_set(err, ERR_INVALID, "the operation on stdin is empty or too long");
        }
    }
}

static void run_null(struct fence_answer *ans)
{
    if (!str_eq(fence_op_get(&op, "lab"), "1")) {
        fence_answer_set(ans, FENCE_FAILED, "Null devices work in a lab only");
        return;
    }
    ans->power = op.action == FENCE_ACTION_OFF ? FENCE_POWER_OFF : FENCE_POWER_ON;
    fence_answer_set(ans, FENCE_SUCCEEDED, "Null: nothing was done, and it says that it was");
}

static void run_op(struct fence_run *run, const char *dir)
{
    switch (op.type) {
    case FENCE_TYPE_APC_SNMP:
        snmp_drv_run(run, &answer);
        return;
    case FENCE_TYPE_IPMI:
    case FENCE_TYPE_REDFISH:
    case FENCE_TYPE_AGENT:
        agent_exec_run(run, dir, &answer);
        return;
    case FENCE_TYPE_NULL:
        run_null(&answer);
        return;
    case FENCE_TYPE_MANUAL:
        fence_answer_set(&answer, FENCE_UNKNOWN, "only a person can say that %s is off", op.host);
        return;
    case FENCE_TYPE_SCSI_RESERVATION:
        pr_run(run, &pr_iscsi_drv, &answer);
        return;
    case FENCE_TYPE_SSH:
        ssh_exec_run(run, &answer);
        return;
    case FENCE_TYPE_WATCHDOG:
        fence_answer_set(&answer, FENCE_FAILED, "%s devices are not operated by this program",
                         fence_type_name(op.type));
        return;
    case FENCE_TYPE_NONE:
        break;
    }
    CHECK_UNREACHABLE();
}

static int finish(void)
{
    struct buf out = { 0 };
    bool written;

    fence_answer_encode(&answer, &out);
    written = write(STDOUT_FILENO, out.data, out.len) == (ssize_t)out.len;
    buf_done(&out);
    fence_op_done(&op);
    if (!written) {
        return 2;
    }
    switch (answer.result) {
    case FENCE_SUCCEEDED:
        return 0;
    case FENCE_FAILED:
        return 1;
    case FENCE_UNKNOWN:
        return 2;
    }
    CHECK_UNREACHABLE();
}

/* Secrets are in memory: no core dumps, no ptrace by others.  And no effect after the parent's end.
 */
static void harden(void)
{
    struct rlimit none = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static int print_metadata(const char *dir, const char *program)
{
    struct buf out = { 0 };
    struct err err;
    int rc = agent_meta_ask(dir, program, &out, &err);

    if (rc == 0) {
        (void)fputs(buf_cstr(&out), stdout);
        rc = fflush(stdout) == 0 ? 0 : err_set(&err, ERR_SYS, "cannot write to stdout");
    }
    if (rc != 0) {
        (void)fprintf(stderr, "picket-fence: %s: %s\n", program, err.msg);
    }
    buf_done(&out);
    return rc == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *dir = "/usr/sbin";
    size_t op_len = 0, len = 0;
    struct fence_run run;
    struct err err;

    harden();
    if (argc >= 3 && strcmp(argv[1], "--agent-dir") == 0) {
        dir = argv[2];
        argc -= 2;
        argv += 2;
    }
    if (argc == 3 && strcmp(argv[1], "--metadata") == 0) {
        return print_metadata(dir, argv[2]);
    }
    if (argc != 1) {
        (void)fputs("usage: picket-fence [--agent-dir DIR] < operation (see docs/fencing.md)\n"
                    "       picket-fence [--agent-dir DIR] --metadata PROGRAM\n",
                    stderr);
        return 1;
    }
    if (read_input(&op_len, &len, &err) != 0 || fence_op_decode(input, op_len, &op, &err) != 0) {
        fence_answer_set(&answer, FENCE_FAILED, "nothing was switched: %.200s", err.msg);
    } else {
        fence_run_init(&run, &op, STDIN_FILENO);
        fence_run_feed(&run, input + op_len, len - op_len);
        explicit_bzero(input, sizeof(input));
        run_op(&run, dir);
    }
    return finish();
}
