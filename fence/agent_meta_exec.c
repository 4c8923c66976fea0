#include "fence/agent_meta_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fence/agent_meta.h"
#include "fence/agent_rules.h"

#define METADATA_MS 30000U
#define METADATA_MAX_BYTES 262144U

static pid_t spawn(const char *path, int out_fd)
{
    pid_t pid = fork();

    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0 &&
            dup2(out_fd, STDOUT_FILENO) >= 0) {
            (void)execl(path, path, "-o", "metadata", (char *)NULL);
        }
        _exit(126);
    }
    return pid;
}

/* All that it prints, within the time. */
static int read_all(int fd, struct buf *ret, struct err *err)
{
    uint64_t until_ms = clock_now_ms() + METADATA_MS;
    char data[4096];

    for (;;) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        uint64_t now_ms = clock_now_ms();
        ssize_t n;

        if (now_ms >= until_ms || poll(&pfd, 1, (int)(until_ms - now_ms)) == 0) {
            return err_set(err, ERR_TIMEOUT, "it does not end within 30 s");
        }
        n = read(fd, data, sizeof(data));
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return err_native(err, ERR_SYS, "errno", errno, "read its output");
        }
        buf_add(ret, data, n > 0 ? (size_t)n : 0);
        if (ret->overflow) {
            return err_set(err, ERR_INVALID, "it prints more than 256 KiB");
        }
    }
}

static int run(const char *path, struct buf *ret, struct err *err)
{
    int out[2], rc;
    pid_t pid;

    if (access(path, X_OK) != 0) {
        return err_native(err, ERR_NOT_FOUND, "errno", errno, "%s (package fence-agents)", path);
    }
    if (pipe2(out, O_CLOEXEC) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "pipe");
    }
    pid = spawn(path, out[1]);
    (void)close(out[1]);
    rc = pid > 0 ? read_all(out[0], ret, err) : err_set(err, ERR_SYS, "cannot start it");
    (void)close(out[0]);
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    return rc;
}

int agent_meta_ask(const char *dir, const char *program, struct buf *out, struct err *err)
{
    struct buf xml = { 0 };
    char path[300];
    int rc;

    if (program == NULL || !agent_rules_program_ok(program)) {
        return err_set(err, ERR_INVALID, "give the name of a fence agent, fence_...");
    }
    buf_init(&xml, METADATA_MAX_BYTES);
    (void)snprintf(path, sizeof(path), "%s/%s", dir, program);
    rc = run(path, &xml, err);
    if (rc == 0) {
        rc = agent_meta_print(buf_cstr(&xml), xml.len, out, err);
    }
    buf_done(&xml);
    return rc;
}
