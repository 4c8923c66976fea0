/* picket-guest: what `picket dev` runs in place of a Xen domain.
 *
 * A real process that writes to its disk file, so that a test can see from the file alone whether
 * two hosts ever ran it at once.  The launcher (a child of picket-agent) forks the guest and
 * leaves; the guest stays in the process group of its host, so that cutting the host's power ends
 * it, but nothing that happens to the agent does.
 *
 * Nobody can wait for it, so it writes down itself how it ended, in its state file:
 * SIGTERM shuts it down, SIGUSR1 is a power-off from inside, SIGUSR2 a crash, SIGRTMIN a reboot;
 * SIGRTMIN+1 makes it deaf to SIGTERM from then on.  SIGRTMIN+2 and +3 are of live migration
 * (mig.c).
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "cmd/picket-guest/guest.h"

#define WRITE_MS 100U

static int usage(const char *why)
{
    (void)fprintf(stderr,
                  "picket-guest: %s\n"
                  "usage: picket-guest --vm NAME --uid UID --host HOST --incarnation N --token N\n"
                  "       --state FILE --boot-id ID [--disk FILE]... [--not-after BOOTTIME_MS]\n"
                  "       [--memory BYTES] [--log FILE] [--receive]\n"
                  "picket-agent starts it; see docs/agent.md.\n",
                  why);
    return 2;
}

static bool parse(int argc, char **argv, struct guest *g)
{
    static const struct option options[] = {
        { "vm", required_argument, NULL, 'v' },
        { "uid", required_argument, NULL, 'u' },
        { "host", required_argument, NULL, 'h' },
        { "incarnation", required_argument, NULL, 'i' },
        { "token", required_argument, NULL, 't' },
        { "disk", required_argument, NULL, 'd' },
        { "state", required_argument, NULL, 's' },
        { "boot-id", required_argument, NULL, 'b' },
        { "memory", required_argument, NULL, 'm' },
        { "not-after", required_argument, NULL, 'n' },
        { "log", required_argument, NULL, 'l' },
        { "receive", no_argument, NULL, 'r' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'v':
            g->vm = optarg;
            break;
        case 'u':
            g->uid = optarg;
            break;
        case 'h':
            g->host = optarg;
            break;
        case 'i':
            g->incarnation = optarg;
            break;
        case 't':
            g->token = optarg;
            break;
        case 'd':
            if (g->n_disks == DISKS_MAX) {
                return false;
            }
            g->disks[g->n_disks++] = optarg;
            break;
        case 's':
            g->state = optarg;
            break;
        case 'b':
            g->boot_id = optarg;
            break;
        case 'm':
            g->memory = optarg;
            break;
        case 'l':
            g->log = optarg;
            break;
        case 'r':
            g->receive = true;
            break;
        case 'n':
            if (!str_parse_u64(optarg, &g->not_after_ms)) {
                return false;
            }
            break;
        default:
            return false;
        }
    }
    return optind == argc && g->vm != NULL && g->uid != NULL && g->host != NULL &&
           g->incarnation != NULL && g->token != NULL && g->state != NULL && g->boot_id != NULL;
}

/* Field 22 of /proc/self/stat: together with the pid it names a process for ever. */
static uint64_t start_time(void)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    const char *p;
    uint64_t v = 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    p = strrchr(text, ')'); /* the name may hold anything, the rest may not */
    for (int field = 2; p != NULL && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p != NULL && sscanf(p, "%" SCNu64, &v) == 1 ? v : 0;
}

/* Replace the state file in one step, so that a reader sees one state or the other. */
bool guest_write_state(const struct guest *g, const char *state, const char *reason)
{
    struct buf b = { 0 };
    struct buf tmp = { 0 };
    bool ok = false;
    int fd;

    buf_printf(&b,
               "vm=%s\nuid=%s\nhost=%s\nincarnation=%s\ntoken=%s\npid=%d\nstart=%" PRIu64
               "\nboot=%s\nsince=%" PRIu64 "\nmemory=%s\n",
               g->vm, g->uid, g->host, g->incarnation, g->token, (int)getpid(), g->start_time,
               g->boot_id, g->since_wall_ms, g->memory == NULL ? "0" : g->memory);
    for (size_t i = 0; i < g->n_disks; i++) {
        buf_printf(&b, "disk=%s\n", g->disks[i]);
    }
    if (g->tty[0] != '\0') {
        buf_printf(&b, "tty=%s\n", g->tty);
    }
    buf_printf(&b, "state=%s\nreason=%s\nsuspended=%" PRIu64 "\n", state, reason, g->suspended_ms);
    buf_printf(&tmp, "%s.tmp", g->state);
    fd = open(buf_cstr(&tmp), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ok = write(fd, b.data, b.len) == (ssize_t)b.len;
        (void)close(fd);
        ok = ok && rename(buf_cstr(&tmp), g->state) == 0;
    }
    buf_done(&b);
    buf_done(&tmp);
    return ok;
}

static void end(const struct guest *g, const char *reason)
{
    (void)guest_write_state(g, "Stopped", reason);
    if (str_eq(reason, "GuestCrash")) {
        struct rlimit none = { 0, 0 };

        (void)setrlimit(RLIMIT_CORE, &none);
        abort();
    }
    _exit(0);
}

/* One line, one write, appended: lines of two writers never mix. */
static bool write_disks(struct guest *g)
{
    char line[1024];
    int n = snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 " %s %s %s %s %" PRIu64 " %d\n",
                     clock_now_ms(), clock_wall_ms(), g->host, g->vm, g->incarnation, g->token,
                     ++g->seq, (int)getpid());

    mig_touch(g);
    for (size_t i = 0; i < g->n_disks; i++) {
        if (write(g->fds[i], line, (size_t)n) != n) {
            return false;
        }
    }
    return true;
}

static void on_signal(struct guest *g, int sig)
{
    if (g->suspended_ms != 0 && sig != SIGRTMIN + 3) {
        return; /* a suspended guest hears nothing */
    }
    if (sig == SIGTERM && !g->deaf) {
        end(g, "Shutdown");
    } else if (sig == SIGUSR1) {
        end(g, "GuestPoweroff");
    } else if (sig == SIGUSR2) {
        end(g, "GuestCrash");
    } else if (sig == SIGRTMIN) {
        end(g, "GuestReboot");
    } else if (sig == SIGRTMIN + 1) {
        g->deaf = true;
    } else if (sig == SIGRTMIN + 2) {
        mig_begin(g);
    } else if (sig == SIGRTMIN + 3) {
        mig_resume(g);
    }
}

/* Until a signal, the console or the time: the signal, or 0. */
static int wait_for(struct guest *g, const sigset_t *set, int sigfd, const struct timespec *wait)
{
    const struct timespec none = { 0 };
    bool console = g->console_fd >= 0 && g->suspended_ms == 0;
    struct pollfd fds[2] = { { .fd = sigfd, .events = POLLIN },
                             { .fd = console ? g->console_fd : -1, .events = console_events(g) } };
    const char *reason;
    int sig;

    if (sigfd < 0) {
        return sigtimedwait(set, NULL, wait);
    }
    (void)ppoll(fds, 2, wait, NULL);
    sig = sigtimedwait(set, NULL, &none);
    reason = console && fds[1].revents != 0 ? console_step(g) : NULL;
    if (reason != NULL) {
        end(g, reason);
    }
    return sig;
}

static void run(struct guest *g, const sigset_t *set)
{
    int sigfd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK); /* only to be polled */
    uint64_t next = clock_now_ms();

    for (;;) {
        uint64_t now = clock_now_ms();
        struct timespec wait = { 0 };
        int sig;

        mig_send(g);
        if (now >= next && g->suspended_ms == 0) {
            if (!write_disks(g)) {
                end(g, "GuestCrash"); /* no guest survives the loss of its disk */
            }
            next = now + WRITE_MS;
        }
        wait.tv_nsec = (long)(next > now ? next - now : 1) * 1000000L;
        if (g->mig_fd >= 0 && wait.tv_nsec > MIG_TICK_NS) {
            wait.tv_nsec = MIG_TICK_NS;
        }
        if (g->suspended_ms != 0) {
            wait.tv_nsec = 100000000L;
        }
        sig = wait_for(g, set, sigfd, &wait);
        if (sig > 0) {
            on_signal(g, sig);
        }
    }
}

void guest_say(int fd, const char *what, const char *file)
{
    if (dprintf(fd, "%s %s: %s\n", what, file, strerror(errno)) < 0) {
        _exit(1);
    }
}

/* Everything that can fail, before the launcher is told that the guest runs. */
static bool begin(struct guest *g, int report)
{
    char lock[4096];
    int fd;

    (void)snprintf(lock, sizeof(lock), "%s.lock", g->state);
    fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        guest_say(report, "another guest of this name runs here, or no lock", lock);
        return false;
    }
    for (size_t i = 0; i < g->n_disks; i++) {
        g->fds[i] = open(g->disks[i], O_WRONLY | O_APPEND | O_CLOEXEC);
        if (g->fds[i] < 0) {
            guest_say(report, "cannot open disk", g->disks[i]);
            return false;
        }
    }
    g->start_time = start_time();
    console_open(g);
    if (!g->receive) {
        g->since_wall_ms = clock_wall_ms();
    }
    if (!guest_write_state(g, "Running", "")) {
        guest_say(report, "cannot write", g->state);
        return false;
    }
    /* After everything slow, before the first write to a disk. */
    if (g->not_after_ms != 0 && clock_now_ms() > g->not_after_ms) {
        (void)unlink(g->state);
        errno = ETIME;
        guest_say(report, "too late: the lease does not cover the start of", g->vm);
        return false;
    }
    return true;
}

static void detach(const struct guest *g)
{
    int null = open("/dev/null", O_RDWR);
    int log = g->log == NULL ? -1 : open(g->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    if (null < 0) {
        _exit(1);
    }
    (void)dup2(null, 0);
    (void)dup2(log < 0 ? null : log, 1);
    (void)dup2(log < 0 ? null : log, 2);
    if (null > 2) {
        (void)close(null);
    }
    if (log > 2) {
        (void)close(log);
    }
}

static void guest_main(struct guest *g, int report)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigaddset(&set, SIGUSR2);
    (void)sigaddset(&set, SIGRTMIN);
    (void)sigaddset(&set, SIGRTMIN + 1);
    (void)sigaddset(&set, SIGRTMIN + 2);
    (void)sigaddset(&set, SIGRTMIN + 3);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    if ((g->receive && !mig_receive(g, report)) || !begin(g, report)) {
        _exit(1);
    }
    (void)dprintf(report, "ok %d\n", (int)getpid());
    (void)close(report);
    detach(g);
    if (g->receive) {
        (void)raise(SIGSTOP); /* whole and paused; it was told before, so that nobody misses it */
    }
    run(g, &set);
}

int main(int argc, char **argv)
{
    static struct guest g;
    char text[1024];
    int fds[2];
    ssize_t n;
    pid_t pid;

    g.mig_fd = -1;
    g.console_fd = -1;
    if (!parse(argc, argv, &g) || !mig_init(&g)) {
        return usage("an option is missing or wrong");
    }
    (void)umask(0077);
    if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
        (void)fprintf(stderr, "cannot fork: %s\n", strerror(errno));
        return 1;
    }
    if (pid == 0) {
        (void)close(fds[0]);
        guest_main(&g, fds[1]);
    }
    (void)close(fds[1]);
    n = read(fds[0], text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    (void)fputs(n > 0 ? text : "the guest ended at once\n", stdout);
    return strncmp(text, "ok ", 3) == 0 ? 0 : 1;
}
