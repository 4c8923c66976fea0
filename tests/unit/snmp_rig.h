#ifndef TESTS_UNIT_SNMP_RIG_H
#define TESTS_UNIT_SNMP_RIG_H

/* picket-fence against picket-pdu over real SNMP on loopback: what the tests of both sides share.
 * Outlets node1, node2-A, node2-B, node3. */

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

static inline int find_bins(void **state)
{
    ssize_t n = readlink("/proc/self/exe", bin_dir, sizeof(bin_dir) - 1);

    (void)state;
    assert_true(n > 0);
    bin_dir[n] = '\0';
    *strrchr(bin_dir, '/') = '\0';
    *strrchr(bin_dir, '/') = '\0';
    return 0;
}

static inline unsigned free_port(void)
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
static inline void wait_started(struct pdu *p)
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
static inline void pdu_start(struct pdu *p, const char *const *extra)
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

static inline void pdu_stop(struct pdu *p)
{
    int status = 0;

    assert_int_equal(kill(p->pid, SIGTERM), 0);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)close(p->log_fd);
}

static inline void set(struct fence_op *op, const char *key, const char *value)
{
    struct err err;

    assert_int_equal(fence_op_set(op, key, value, &err), 0);
}

static inline void on_answer(void *ctx, const struct fence_answer *ans)
{
    *(struct fence_answer *)ctx = *ans;
}

static inline struct fence_answer run_op(struct fence_op *op)
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

static inline struct fence_op new_op(const struct pdu *p, enum fence_action action,
                                     const char *host, const char *version)
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

static inline struct fence_answer apc(const struct pdu *p, enum fence_action action,
                                      const char *host, const char *version)
{
    struct fence_op op = new_op(p, action, host, version);

    set(&op, "community", COMMUNITY);
    return run_op(&op);
}

/* Off, of a device that never does it: nobody waits for longer than need be. */
static inline struct fence_answer apc_stuck(const struct pdu *p, const char *host,
                                            const char *version)
{
    struct fence_op op = new_op(p, FENCE_ACTION_OFF, host, version);

    set(&op, "community", COMMUNITY);
    op.timeout_ms = STUCK_MS;
    return run_op(&op);
}

#endif
