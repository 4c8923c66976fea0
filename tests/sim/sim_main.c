/* sim-cluster: random clusters, a process each (two at a time), and what became of them. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/obj.h"
#include "tests/sim/sim.h"

struct args {
    uint64_t seeds, seed0;
    unsigned minutes, hours, jobs, seconds;
    bool verbose, debug, twice;
    const char *dir, *self;
};

struct report { /* through a pipe */
    uint64_t seed;
    struct sim_stats stats;
    unsigned hosts;
    uint64_t violations, hash;
    double seconds;
    char violation[400];
};

struct total {
    uint64_t seeds, failed, faults, fencings, needless, failovers, host_ms, commands, requests;
    uint64_t events, starts, resets, skipped_ms;
};

static double now_s(void)
{
    struct timespec ts;

    CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void usage(FILE *f)
{
    (void)fputs(
        "usage: sim-cluster [--seeds N] [--seed0 S] [--minutes M] [--seconds T] [--jobs J] [--dir "
        "DIR]\n"
        "       --minutes: of virtual time under faults for each seed; --seconds: begin no seed "
        "later\n"
        "       --hours H: instead, in seven seeds of eight, storms and quiet times in turn for H\n"
        "       hours; the quiet times are left out\n"
        "       sim-cluster --seed0 S --story [--debug]   one seed, its log on standard output\n"
        "       sim-cluster --twice ...                   each seed twice: the logs must be "
        "equal\n",
        f);
}

static void save_story(const struct args *a, uint64_t seed, const char *text)
{
    char path[512];
    FILE *f;

    (void)mkdir(a->dir, 0755);
    (void)snprintf(path, sizeof(path), "%s/seed-%" PRIu64 ".log", a->dir, seed);
    f = fopen(path, "w");
    if (f == NULL) {
        (void)fprintf(stderr, "sim-cluster: %s: %s\n", path, strerror(errno));
        return;
    }
    (void)fputs(text, f);
    (void)fclose(f);
}

/* A simulator that dies leaves its story, too. */
static const struct args *dying_args;
static uint64_t dying_seed;

static void on_death(int sig)
{
    save_story(dying_args, dying_seed, sim_swarm_story());
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

/* With --hours, every eighth seed is simulated heartbeat by heartbeat all the same. */
static unsigned hours_of(const struct args *a, uint64_t seed)
{
    return seed % 8 == 0 ? 0 : a->hours;
}

static void run_seed(const struct args *a, uint64_t seed, struct report *ret)
{
    struct sim_swarm_result r = { 0 };
    double from = now_s();
    struct sim_swarm_args args = { .seed = seed,
                                   .minutes = a->minutes,
                                   .hours = hours_of(a, seed),
                                   .log = a->verbose ? stdout : NULL,
                                   .debug = a->debug };

    dying_args = a;
    dying_seed = seed;
    (void)signal(SIGSEGV, on_death);
    (void)signal(SIGBUS, on_death);
    (void)signal(SIGABRT, on_death);
    (void)sim_swarm(&args, &r);
    *ret = (struct report){ .seed = seed,
                            .stats = r.stats,
                            .hosts = r.hosts,
                            .violations = r.violations,
                            .hash = r.log_hash,
                            .seconds = now_s() - from };
    (void)snprintf(ret->violation, sizeof(ret->violation), "%.399s", r.violation);
    if (r.violations > 0) {
        save_story(a, seed, r.log);
    }
    free(r.log);
}

static pid_t spawn(const struct args *a, uint64_t seed, int *ret_fd)
{
    int fds[2];
    pid_t pid;

    CHECK(pipe(fds) == 0);
    (void)fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct report r;

        (void)close(fds[0]);
        run_seed(a, seed, &r);
        CHECK(write(fds[1], &r, sizeof(r)) == (ssize_t)sizeof(r));
        (void)fflush(stdout);
        _exit(0);
    }
    (void)close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

static void print_report(const struct args *a, const struct report *r)
{
    const struct sim_stats *s = &r->stats;

    (void)printf("seed %-8" PRIu64 " %u hosts  %6.2f host-hours  %4" PRIu64 " faults  %3" PRIu64
                 " fencings  %3" PRIu64 " failovers  %016" PRIx64 "%s\n",
                 r->seed, r->hosts, (double)s->host_ms / 3.6e6, s->faults, s->fencings,
                 s->failovers, r->hash, r->violations == 0 ? "" : "  VIOLATION");
    if (r->violations != 0) {
        (void)printf("  %s\n  story: %s/seed-%" PRIu64 ".log; again: %s --seed0 %" PRIu64
                     " --minutes %u --hours %u --story\n",
                     r->violation, a->dir, r->seed, a->self, r->seed, a->minutes, a->hours);
    }
    (void)fflush(stdout);
}

static void add(struct total *t, const struct report *r)
{
    t->seeds++;
    t->failed += r->violations != 0;
    t->faults += r->stats.faults;
    t->fencings += r->stats.fencings;
    t->needless += r->stats.needless;
    t->failovers += r->stats.failovers;
    t->host_ms += r->stats.host_ms;
    t->skipped_ms += r->stats.skipped_ms;
    t->commands += r->stats.commands;
    t->requests += r->stats.requests;
    t->events += r->stats.events;
    t->starts += r->stats.starts;
    t->resets += r->stats.wd_resets;
}

struct slot {
    pid_t pid;
    int fd;
    uint64_t seed;
};

static void collect(const struct args *a, struct slot *s, struct total *t, uint64_t *last_hash)
{
    struct report r = { .seed = s->seed, .violations = 1 };
    int status = 0;
    bool whole = read(s->fd, &r, sizeof(r)) == (ssize_t)sizeof(r);

    (void)close(s->fd);
    CHECK(waitpid(s->pid, &status, 0) == s->pid);
    if (!whole) {
        (void)snprintf(r.violation, sizeof(r.violation), "the simulator died (status %x)",
                       (unsigned)status);
    }
    print_report(a, &r);
    add(t, &r);
    *last_hash = r.hash;
    s->pid = 0;
}

static struct slot *next_slot(struct slot *slots, unsigned jobs)
{
    siginfo_t info = { 0 };

    for (unsigned i = 0; i < jobs; i++) {
        if (slots[i].pid == 0) {
            return &slots[i];
        }
    }
    CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0);
    for (unsigned i = 0; i < jobs; i++) {
        if (slots[i].pid == info.si_pid) {
            return &slots[i];
        }
    }
    CHECK_UNREACHABLE();
}

static void run_all(const struct args *a, struct total *t)
{
    struct slot slots[16] = { 0 };
    double from = now_s();
    uint64_t hash;

    for (uint64_t i = 0; i < a->seeds; i++) {
        if (a->seconds != 0 && now_s() - from > a->seconds) {
            break;
        }

        struct slot *s = next_slot(slots, a->jobs);

        if (s->pid != 0) {
            collect(a, s, t, &hash);
        }
        s->seed = a->seed0 + i;
        s->pid = spawn(a, s->seed, &s->fd);
    }
    for (unsigned i = 0; i < a->jobs; i++) {
        if (slots[i].pid != 0) {
            collect(a, &slots[i], t, &hash);
        }
    }
}

/* The same seed gives the same story. */
static void run_twice(const struct args *a, struct total *t)
{
    for (uint64_t i = 0; i < a->seeds; i++) {
        uint64_t hash[2] = { 0 };

        for (int k = 0; k < 2; k++) {
            struct slot s = { .seed = a->seed0 + i };

            s.pid = spawn(a, s.seed, &s.fd);
            collect(a, &s, t, &hash[k]);
        }
        if (hash[0] != hash[1]) {
            (void)printf("  seed %" PRIu64 " told two different stories\n", a->seed0 + i);
            t->failed++;
        }
    }
}

static void print_total(const struct total *t, double seconds)
{
    double hours = (double)t->host_ms / 3.6e6;

    (void)printf("%" PRIu64
                 " seeds, %.1f host-hours (%.1f of them heartbeat by heartbeat), %" PRIu64
                 " faults, %" PRIu64 " fencings (%" PRIu64 " needless), %" PRIu64
                 " watchdog resets, %" PRIu64 " failovers, %" PRIu64 " guest starts, %" PRIu64
                 " commands, %" PRIu64 " user requests\n",
                 t->seeds, hours, hours - (double)t->skipped_ms / 3.6e6, t->faults, t->fencings,
                 t->needless, t->resets, t->failovers, t->starts, t->commands, t->requests);
    (void)printf("%.1f s, %.3f host-hours a second, %.1f million events: %" PRIu64
                 " seeds with violations\n",
                 seconds, hours / seconds, (double)t->events / 1e6, t->failed);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    if (end == text || *end != '\0') {
        (void)fprintf(stderr, "sim-cluster: \"%s\" is not a number\n", text);
        exit(2);
    }
    return n;
}

static void parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = {
        { "seeds", required_argument, NULL, 'n' },   { "seed0", required_argument, NULL, 's' },
        { "minutes", required_argument, NULL, 'm' }, { "hours", required_argument, NULL, 'H' },
        { "seconds", required_argument, NULL, 'T' }, { "jobs", required_argument, NULL, 'j' },
        { "dir", required_argument, NULL, 'd' },     { "story", no_argument, NULL, 'v' },
        { "debug", no_argument, NULL, 'D' },         { "twice", no_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n':
            a->seeds = number(optarg);
            break;
        case 's':
            a->seed0 = number(optarg);
            break;
        case 'm':
            a->minutes = (unsigned)number(optarg);
            break;
        case 'H':
            a->hours = (unsigned)number(optarg);
            break;
        case 'T':
            a->seconds = (unsigned)number(optarg);
            break;
        case 'j':
            a->jobs = (unsigned)number(optarg);
            break;
        case 'd':
            a->dir = optarg;
            break;
        case 'v':
            a->verbose = true;
            break;
        case 'D':
            a->debug = a->verbose = true;
            break;
        case 't':
            a->twice = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (a->jobs == 0 || a->jobs > 16) {
        a->jobs = 2;
    }
    if (a->verbose) {
        a->seeds = 1;
    }
}

int main(int argc, char **argv)
{
    struct args a = { .seeds = 20, .seed0 = 1, .minutes = 10, .jobs = 2, .self = argv[0] };
    struct total t = { 0 };
    double from = now_s();
    char dir[512];

    (void)snprintf(dir, sizeof(dir), "%.*s/sim",
                   (int)(strrchr(argv[0], '/') == NULL ? 1 : strrchr(argv[0], '/') - argv[0]),
                   strrchr(argv[0], '/') == NULL ? "." : argv[0]);
    a.dir = dir;
    parse(argc, argv, &a);
    if (a.twice) {
        run_twice(&a, &t);
    } else {
        run_all(&a, &t);
    }
    print_total(&t, now_s() - from);
    return t.failed == 0 ? 0 : 1;
}
