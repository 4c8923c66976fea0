/* Children of the supervisor, and the guard that ends them when the supervisor is killed.
 *
 * Guests are orphans that no parent-death signal reaches, and a stopped process cannot notice that
 * its supervisor went away.  So a guard process of its own session holds the read end of a pipe;
 * the supervisor tells it every process group, and when the pipe ends it kills them all.
 */

#include "cmd/picket-devd/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/prio.h"

extern char **environ;

static void child_files(const struct spawn *s)
{
    int in = s->stdin_fd >= 0 ? s->stdin_fd : open("/dev/null", O_RDONLY);
    int out = s->log != NULL ? open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;

    if (in < 0 || dup2(in, STDIN_FILENO) < 0) {
        _exit(126);
    }
    if (out >= 0 && (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)) {
        _exit(126);
    }
}

static void child_run(const struct spawn *s, pid_t parent)
{
    static const char failed[] = "picket-devd: cannot execute the program\n";
    struct sigaction sa = { .sa_handler = SIG_DFL };
    sigset_t none;

    if (s->new_group && setpgid(0, 0) != 0) {
        _exit(126);
    }
    for (int sig = 1; sig < NSIG; sig++) {
        (void)sigaction(sig, &sa, NULL);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126); /* it died before prctl */
    }
    if (s->service) {
        struct err err;

        (void)!prio_service(true, &err);
    }
    child_files(s);
    if (s->cwd != NULL && chdir(s->cwd) != 0) {
        _exit(126);
    }
    (void)execve(s->argv[0], s->argv, s->env != NULL ? s->env : environ);
    (void)!write(STDERR_FILENO, failed, sizeof(failed) - 1);
    _exit(127);
}

int dev_spawn(const struct spawn *s, pid_t *ret_pid, struct err *err)
{
    pid_t parent = getpid();
    pid_t pid;

    if (access(s->argv[0], X_OK) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "program %s", s->argv[0]);
    }
    pid = fork();
    if (pid < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "fork for %s", s->argv[0]);
    }
    if (pid == 0) {
        child_run(s, parent);
    }
    if (s->new_group) {
        (void)setpgid(pid, pid); /* whoever is first; EACCES after its exec is fine */
    }
    *ret_pid = pid;
    return 0;
}

int guard_start(struct dev *d, struct err *err)
{
    char exe[] = "/proc/self/exe";
    char guard[] = "--guard";
    char *argv[] = { exe, guard, NULL };
    struct spawn s = { .argv = argv, .new_group = true };
    int fds[2];
    int rc;

    if (pipe2(fds, O_CLOEXEC) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "pipe of the guard");
    }
    s.stdin_fd = fds[0];
    rc = dev_spawn(&s, &d->guard_pid, err);
    (void)close(fds[0]);
    if (rc != 0) {
        (void)close(fds[1]);
        return rc;
    }
    d->guard_fd = fds[1];
    for (size_t i = 0; i < d->n_hosts; i++) {
        if (d->hosts[i].pgid > 0) {
            guard_add(d, d->hosts[i].pgid);
        }
    }
    return 0;
}

static void guard_tell(struct dev *d, char what, pid_t pgid)
{
    char line[32];
    int n = snprintf(line, sizeof(line), "%c%d\n", what, (int)pgid);

    if (d->guard_fd >= 0 && write(d->guard_fd, line, (size_t)n) != n) {
        lg_warn("guard", "msg=\"the guard does not listen\" errno=%d", errno);
    }
}

void guard_add(struct dev *d, pid_t pgid)
{
    guard_tell(d, '+', pgid);
}

void guard_del(struct dev *d, pid_t pgid)
{
    guard_tell(d, '-', pgid);
}

#define GUARD_GROUPS_MAX 256

static void guard_line(const char *line, pid_t *groups)
{
    pid_t pgid = (pid_t)strtol(line + 1, NULL, 10);

    if (pgid <= 1) {
        return;
    }
    for (size_t i = 0; i < GUARD_GROUPS_MAX; i++) {
        if (line[0] == '+' && groups[i] == 0) {
            groups[i] = pgid;
            return;
        }
        if (line[0] == '-' && groups[i] == pgid) {
            groups[i] = 0;
            return;
        }
    }
}

int guard_main(void)
{
    pid_t groups[GUARD_GROUPS_MAX] = { 0 };
    char line[32];

    (void)prctl(PR_SET_PDEATHSIG, 0); /* outlives its parent: that is its purpose */
    (void)prctl(PR_SET_NAME, "picket-dev-guard");
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        guard_line(line, groups);
    }
    for (size_t i = 0; i < GUARD_GROUPS_MAX; i++) {
        if (groups[i] > 1) {
            (void)kill(-groups[i], SIGKILL);
        }
    }
    return 0;
}
