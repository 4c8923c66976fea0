#include "fence/ssh_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#define SSH "/usr/bin/ssh"
#define PIECE 480U
#define PIECES_MAX 16U
#define PEM_LINE 64U
#define OUTPUT_MAX 2048U
#define TICK_MS 20

#define MARK "picket-ssh "
#define ASK_BOOT "echo " MARK "$(cat /proc/sys/kernel/random/boot_id)"
/* The reset comes a second later and detached, so that the answer still gets out. */
#define ASK_RESET                                                                                  \
    ASK_BOOT "; (sleep 1; echo 1 >/proc/sys/kernel/sysrq; echo b >/proc/sysrq-trigger)"            \
             " </dev/null >/dev/null 2>&1 &"

/* --- the private key ---------------------------------------------------------------------------
 */

static int pieces_set(struct fence_op *op, const char *body, size_t len, struct err *err)
{
    char piece[PIECE + 1], name[32];
    size_t n = 0, count = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i <= len; i++) {
        bool end = i == len;

        if (!end && strchr("\r\n\t ", body[i]) == NULL) {
            piece[n++] = body[i];
        }
        if (n == PIECE || (end && n > 0)) {
            piece[n] = '\0';
            n = 0;
            (void)snprintf(name, sizeof(name), "identity%zu", count++);
            rc = count > PIECES_MAX
                     ? err_set(err, ERR_INVALID, "the private key is longer than %u bytes",
                               PIECE * PIECES_MAX)
                     : fence_op_set(op, name, piece, err);
        }
    }
    explicit_bzero(piece, sizeof(piece));
    return rc;
}

int ssh_identity_set(struct fence_op *op, const char *pem, struct err *err)
{
    static const char begin[] = "-----BEGIN ", dashes[] = "-----";
    const char *label = strstr(pem, begin);
    const char *label_end = label == NULL ? NULL : strstr(label + sizeof(begin) - 1, dashes);
    const char *body = label_end == NULL ? NULL : label_end + sizeof(dashes) - 1;
    const char *end = body == NULL ? NULL : strstr(body, "-----END ");
    char name[64];
    int rc;

    if (end == NULL || (size_t)(label_end - label) >= sizeof(name) + sizeof(begin) - 1) {
        return err_set(err, ERR_INVALID,
                       "the private key is no PEM file (-----BEGIN ... PRIVATE KEY-----)");
    }
    label += sizeof(begin) - 1;
    memcpy(name, label, (size_t)(label_end - label));
    name[label_end - label] = '\0';
    rc = fence_op_set(op, "identity_label", name, err);
    return rc == 0 ? pieces_set(op, body, (size_t)(end - body), err) : rc;
}

static void pem_print(const struct fence_op *op, struct buf *out)
{
    const char *label = fence_op_get(op, "identity_label");
    size_t column = 0;

    CHECK(buf_reserve(out, 2 * PIECE * PIECES_MAX) != NULL); /* grown once: no copies are left */
    buf_printf(out, "-----BEGIN %s-----\n", label);
    for (size_t i = 0; i < PIECES_MAX; i++) {
        char name[32];
        const char *p;

        (void)snprintf(name, sizeof(name), "identity%zu", i);
        for (p = fence_op_get(op, name); p != NULL && *p != '\0'; p++) {
            buf_add_byte(out, (uint8_t)*p);
            if (++column % PEM_LINE == 0) {
                buf_add_byte(out, '\n');
            }
        }
    }
    buf_printf(out, "%s-----END %s-----\n", column % PEM_LINE == 0 ? "" : "\n", label);
}

/* At its end, so that whoever reads it as stdin gets nothing; ssh opens it anew by its name. */
static int identity_fd(const struct fence_op *op, struct err *err)
{
    struct buf pem = { 0 };
    int fd = memfd_create("identity", MFD_CLOEXEC);
    bool ok;

    pem_print(op, &pem);
    ok = fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, pem.data, pem.len) == (ssize_t)pem.len;
    explicit_bzero(pem.data, pem.len);
    buf_done(&pem);
    if (!ok) {
        (void)err_native(err, ERR_SYS, "errno", errno, "the private key as a file in memory");
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    return fd;
}

/* --- one call ----------------------------------------------------------------------------------
 */

struct call {
    bool started;
    bool killed;
    int status;
    char boot[64]; /* what the host says; "": nothing */
    char line[160];
};

static void child(const struct fence_op *op, const char *command, int in_fd, int out_fd)
{
    char host[256], port[8] = "22";
    char *colon;
    const char *argv[] = { SSH,
                           "-F",
                           "/dev/null",
                           "-i",
                           "/proc/self/fd/0",
                           "-o",
                           "BatchMode=yes",
                           "-o",
                           "IdentitiesOnly=yes",
                           "-o",
                           "IdentityAgent=none",
                           "-o",
                           "StrictHostKeyChecking=no",
                           "-o",
                           "UserKnownHostsFile=/dev/null",
                           "-o",
                           "GlobalKnownHostsFile=/dev/null",
                           "-o",
                           "LogLevel=ERROR",
                           "-o",
                           "PreferredAuthentications=publickey",
                           "-o",
                           "ConnectTimeout=5",
                           "-p",
                           port,
                           "-l",
                           fence_op_get(op, "username"),
                           "--",
                           host,
                           command,
                           NULL };

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)str_copy(host, sizeof(host), fence_op_get(op, "address"));
    colon = strrchr(host, ':');
    if (colon != NULL && strchr(host, ':') == colon) {
        *colon = '\0';
        (void)str_copy(port, sizeof(port), colon + 1);
    }
    if (dup2(in_fd, STDIN_FILENO) >= 0 && dup2(out_fd, STDOUT_FILENO) >= 0 &&
        dup2(out_fd, STDERR_FILENO) >= 0) {
        (void)execv(SSH, (char *const *)(uintptr_t)argv);
    }
    _exit(126);
}

static void take_output(char *text, struct call *ret)
{
    char *save = NULL;

    for (char *t = strtok_r(text, "\r\n", &save); t != NULL; t = strtok_r(NULL, "\r\n", &save)) {
        if (str_starts(t, MARK)) {
            (void)str_copy(ret->boot, sizeof(ret->boot), t + strlen(MARK));
        } else {
            (void)str_copy(ret->line, sizeof(ret->line), t);
        }
    }
}

static void supervise(struct fence_run *run, pid_t pid, int fd, bool switching, struct call *ret)
{
    char text[OUTPUT_MAX], junk[256];
    size_t len = 0;
    struct err err;
    int status = 0;
    bool gone = false, ended = false;

    while (!ended) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        ssize_t n = 0;

        if (fence_run_left_ms(run) == 0 || (switching && fence_run_may_switch(run, &err) != 0)) {
            ret->killed = true;
            if (!gone) {
                (void)kill(pid, SIGKILL);
            }
        }
        if (poll(&pfd, 1, TICK_MS) > 0) {
            n = len + 1 < sizeof(text) ? read(fd, text + len, sizeof(text) - 1 - len)
                                       : read(fd, junk, sizeof(junk));
            len += n > 0 && len + 1 < sizeof(text) ? (size_t)n : 0;
        }
        gone = gone || waitpid(pid, &status, WNOHANG) == pid;
        ended = gone && n <= 0;
    }
    text[len] = '\0';
    ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ret->started = ret->status != 126;
    take_output(text, ret);
}

static void call_ssh(struct fence_run *run, const char *command, bool switching, struct call *ret)
{
    int out[2] = { -1, -1 };
    struct err err = { 0 };
    int in_fd = identity_fd(run->op, &err);
    pid_t pid = -1;

    memset(ret, 0, sizeof(*ret));
    ret->status = -1;
    if (in_fd < 0 || (switching && fence_run_may_switch(run, &err) != 0) ||
        pipe2(out, O_CLOEXEC | O_NONBLOCK) != 0) {
        (void)str_copy(ret->line, sizeof(ret->line), err.code != 0 ? err.msg : "no pipe");
    } else {
        pid = fork();
        if (pid == 0) {
            child(run->op, command, in_fd, out[1]);
        }
        (void)close(out[1]);
        if (pid > 0) {
            supervise(run, pid, out[0], switching, ret);
        }
        (void)close(out[0]);
    }
    if (in_fd >= 0) {
        (void)close(in_fd);
    }
}

/* --- operations --------------------------------------------------------------------------------
 */

static int check(const struct fence_op *op, struct err *err)
{
    const char *user = fence_op_get(op, "username");

    if (!str_eq(fence_op_get(op, "lab"), "1")) {
        return err_set(err, ERR_REFUSED, "Ssh devices work in a lab only");
    }
    if (fence_op_get(op, "address") == NULL || fence_op_get(op, "address")[0] == '-') {
        return err_set(err, ERR_INVALID, "address is missing");
    }
    if (user == NULL || *user == '\0' || *user == '-') {
        return err_set(err, ERR_INVALID, "username is missing");
    }
    if (fence_op_get(op, "identity_label") == NULL || fence_op_get(op, "identity0") == NULL) {
        return err_set(err, ERR_INVALID, "the private key is missing (spec.identityRef)");
    }
    if (access(SSH, X_OK) != 0) {
        return err_native(err, ERR_NOT_FOUND, "errno", errno, "%s (package openssh-client)", SSH);
    }
    return 0;
}

static void ask(struct fence_run *run, bool reset, struct fence_answer *ans)
{
    struct call c;

    call_ssh(run, reset ? ASK_RESET : ASK_BOOT, reset, &c);
    if (!c.started && !c.killed) {
        fence_answer_set(ans, FENCE_FAILED, "ssh was not started: %.200s", c.line);
    } else if (c.boot[0] == '\0') {
        fence_answer_set(ans, FENCE_UNKNOWN, "%s%.180s",
                         c.killed ? "no answer in time: " : "no proper answer: ", c.line);
    } else if (reset) {
        fence_answer_set(ans, FENCE_UNKNOWN,
                         "boot %.40s was asked to reset itself; only its next boot proves that it "
                         "did",
                         c.boot);
    } else {
        ans->power = FENCE_POWER_ON;
        fence_answer_set(ans, FENCE_SUCCEEDED, "it answers, boot %.40s", c.boot);
    }
}

void ssh_exec_run(struct fence_run *run, struct fence_answer *ans)
{
    struct err err;

    memset(ans, 0, sizeof(*ans));
    if (check(run->op, &err) != 0) {
        fence_answer_set(ans, FENCE_FAILED, "nothing was sent: %.200s", err.msg);
        return;
    }
    switch (run->op->action) {
    case FENCE_ACTION_STATUS:
    case FENCE_ACTION_PROBE:
    case FENCE_ACTION_LIST:
        ask(run, false, ans);
        return;
    case FENCE_ACTION_OFF:
    case FENCE_ACTION_REBOOT:
        ask(run, true, ans);
        return;
    case FENCE_ACTION_ON:
        fence_answer_set(ans, FENCE_FAILED, "a host that is off cannot be asked to switch on");
        return;
    case FENCE_ACTION_NONE:
        break;
    }
    CHECK_UNREACHABLE();
}
