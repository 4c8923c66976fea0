/* storesim: worlds of the store simulator, one process each.
 *
 *   storesim [--seeds N] [--seed0 S] [--jobs J] [--dir DIR] [--story] [--crc] [--seconds T]
 *
 * Exit 0: no seed failed.  Bounded by --seconds no new worlds are begun after that time. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "tests/storesim/sim.h"

#define HEAL_MS 90000U
#define LIVE_MS 15000U

struct sim_opts opt;

struct settings {
    uint64_t seeds, seed0, jobs, seconds;
    const char *dir;
    bool story, crc;
};

/* --- one world ---------------------------------------------------------------------------------
 */

static void choose_faults(void)
{
    bool mild = chance(30);

    opt.drop = mild ? 0 : (unsigned)rnd(150);
    opt.twice = mild ? 0 : (unsigned)rnd(100);
    opt.late = mild ? 0 : (unsigned)rnd(100);
    opt.net_ms = 1 + (unsigned)rnd(20);
    opt.members = chance(50);
    opt.flips = opt.voters >= 3 && chance(40);
    opt.disks = chance(50);
    opt.clocks = chance(60);
    opt.pauses = chance(70);
    opt.crashes = chance(90);
    opt.cuts = chance(80);
    opt.transfers = chance(60);
    opt.fault_every = 100 + rnd(2500);
}

static void choose(void)
{
    opt = (struct sim_opts){ .safety_ms = 40000 };
    opt.voters = chance(15) ? 1 : chance(70) ? 3 : 5;
    opt.witness = opt.voters == 3 && chance(30);
    opt.kv = 1 + (unsigned)rnd(4);
    opt.sessions = (unsigned)rnd(4);
    opt.leasers = (unsigned)rnd(3);
    opt.safety = (unsigned)rnd(4);
    opt.watchers = (unsigned)rnd(SIM_WATCHERS);
    opt.registers = 1 + (unsigned)rnd(6);
    opt.history = chance(50) ? 100000 : 20 + rnd(400);
    opt.quota = chance(85) ? 1U << 30 : 6000 + rnd(20000);
    opt.op_every = 5 + rnd(200);
    opt.snapshot_bytes = chance(50) ? 30000 : 1U << 20;
    opt.segment_bytes = 4U << 20;
    if (chance(50)) { /* many small files of the log */
        opt.segment_bytes = 512U << 10;
        opt.snapshot_bytes = 5000 + rnd(20000);
    }
    choose_faults();
}

static void tell_choice(void)
{
    story("%u voters%s, clients: %u keys %u sessions %u leases %u safety %u watches", opt.voters,
          opt.witness ? " (one a witness)" : "", opt.kv, opt.sessions, opt.leasers, opt.safety,
          opt.watchers);
    story("history %" PRIu64 " revisions, quota %zu bytes, snapshots each %" PRIu64 " bytes",
          opt.history, opt.quota, opt.snapshot_bytes);
    story("messages per mille: %u lost %u doubled %u late; faults:%s%s%s%s%s%s%s%s", opt.drop,
          opt.twice, opt.late, opt.crashes ? " crashes" : "", opt.cuts ? " cuts" : "",
          opt.pauses ? " pauses" : "", opt.disks ? " disks" : "", opt.flips ? " flips" : "",
          opt.clocks ? " clocks" : "", opt.members ? " members" : "",
          opt.transfers ? " transfers" : "");
}

static void everybody(void)
{
    world_go();
    for (unsigned i = 0; i < SIM_NODES; i++) {
        lease_tick(i);
    }
    clients_step();
    watchers_step();
}

static void run_safety(void)
{
    uint64_t next_fault = 2000, next_restart = 0;

    while (now() < opt.safety_ms) {
        everybody();
        if (now() >= next_fault) {
            next_fault = now() + rnd(opt.fault_every);
            nemesis_fault();
            if (chance(25)) {
                nemesis_members(false);
            }
        }
        if (now() >= next_restart) {
            next_restart = now() + 50;
            nemesis_restart(false);
        }
    }
}

/* All members have everything, in the same state, and know the same leader. */
static bool converged(void)
{
    struct rep_peer_info info[SIM_NODES];
    const struct sim_node *l = leader();
    size_t n;

    if (l == NULL || !nemesis_settled()) {
        return false;
    }
    n = rep_peers(rep_of(l->i), info, SIM_NODES);
    for (size_t k = 0; k < n; k++) {
        unsigned i = (unsigned)info[k].id - 1;

        if (info[k].role != REP_SPARE && (rep_of(i) == NULL || rep_leader(rep_of(i)) != l->i + 1 ||
                                          rep_applied(rep_of(i)) != rep_applied(rep_of(l->i)) ||
                                          !machine_is_current(&nodes[i]))) {
            return false;
        }
    }
    return true;
}

static void why_not(void)
{
    for (unsigned i = 0; i < SIM_NODES; i++) {
        struct rep *r = rep_of(i);

        if (r != NULL) {
            story("%s: role %d term %" PRIu64 " leader %" PRIu64 " applied %" PRIu64
                  " committed %" PRIu64,
                  node_name(i), (int)rep_role(r), rep_term(r), rep_leader(r), rep_applied(r),
                  rep_committed(r));
        } else if (node_used(i)) {
            story("%s: %s", node_name(i), nodes[i].gone ? "damaged" : "down");
        }
    }
}

/* Everything heals: it must converge, with nobody asking for anything. */
static void run_heal(void)
{
    uint64_t until = now() + HEAL_MS, next = now();

    nemesis_heal();
    while (!converged()) {
        if (now() >= until) {
            why_not();
            FAIL("not converged %u ms after everything healed", HEAL_MS);
        }
        world_go();
        for (unsigned i = 0; i < SIM_NODES; i++) {
            lease_tick(i);
        }
        if (now() >= next) {
            next = now() + 50;
            nemesis_restart(true);
            nemesis_members(true);
        }
    }
    story("converged");
}

/* Without faults every client gets on, and what runs out ends. */
static void run_live(void)
{
    uint64_t before[SIM_CLIENTS], until = now() + LIVE_MS;

    for (unsigned i = 0; i < n_clients; i++) {
        before[i] = clients[i].answered;
    }
    while (now() < until) {
        everybody();
    }
    for (unsigned i = 0; i < n_clients; i++) {
        if (clients[i].answered == before[i]) {
            FAIL("client %u got no answer in %u ms without faults", i, LIVE_MS);
        }
    }
}

static bool all_quiet(void)
{
    for (unsigned i = 0; i < n_clients; i++) {
        if (clients[i].op != NULL) {
            return false;
        }
    }
    return converged() && watchers_current() && lease_all_ended();
}

static void run_out(void)
{
    uint64_t until = now() + HEAL_MS;

    while (!all_quiet()) {
        if (now() >= until) {
            why_not();
            FAIL("at the end: operations, watches or leases are not done after %u ms", HEAL_MS);
        }
        world_go();
        for (unsigned i = 0; i < SIM_NODES; i++) {
            lease_tick(i);
        }
        watchers_step();
    }
}

static void one_world(uint64_t seed)
{
    machine_led(0, 0);
    world_setup(seed);
    choose();
    tell_choice();
    machine_reset();
    ops_reset();
    lease_reset();
    nemesis_reset();
    node_bootstrap(opt.voters);
    net_loss(opt.drop, opt.twice, opt.late);
    clients_setup();
    watchers_setup();
    for (unsigned i = 0; i < opt.voters; i++) {
        struct err err;

        REQUIRE(node_start(i, &err));
    }
    run_safety();
    run_heal();
    run_live();
    run_out();
    ops_end_checks();
    totals.virtual_ms = now();
    totals.fault_lost_message = world_lost();
    watchers_teardown();
    world_teardown();
    lease_reset();
    clients_teardown();
    machine_done();
}

/* --- many worlds -------------------------------------------------------------------------------
 */

static void story_path(char *dst, size_t size, const struct settings *s, uint64_t seed)
{
    (void)snprintf(dst, size, "%s/store-seed-%" PRIu64 ".log", s->dir, seed);
}

static void child(const struct settings *s, uint64_t seed, int fd)
{
    char path[512];

    story_path(path, sizeof(path), s, seed);
    totals = (struct sim_totals){ 0 };
    story_begin(seed, path, s->story);
    one_world(seed);
    story_end();
    totals.seeds = 1;
    if (write(fd, &totals, sizeof(totals)) != (ssize_t)sizeof(totals)) {
        _exit(2);
    }
    exit(0);
}

struct job {
    pid_t pid;
    int fd;
    uint64_t seed;
};

static int spawn(const struct settings *s, struct job *j, uint64_t seed)
{
    int fds[2];

    if (pipe(fds) != 0) {
        return -1;
    }
    (void)fflush(NULL);
    j->pid = fork();
    if (j->pid == 0) {
        (void)close(fds[0]);
        child(s, seed, fds[1]);
    }
    (void)close(fds[1]);
    j->fd = fds[0];
    j->seed = seed;
    return j->pid < 0 ? -1 : 0;
}

static void add_totals(const struct sim_totals *t)
{
    const uint64_t *from = (const uint64_t *)t;
    uint64_t *to = (uint64_t *)&totals;

    for (size_t i = 0; i < offsetof(struct sim_totals, story_crc) / sizeof(uint64_t); i++) {
        to[i] += from[i];
    }
}

static void reap(const struct settings *s, struct job *j)
{
    struct sim_totals t;
    ssize_t n = read(j->fd, &t, sizeof(t));
    int status = 0;

    (void)close(j->fd);
    while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR) {
    }
    j->pid = 0;
    if (n == (ssize_t)sizeof(t) && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        add_totals(&t);
        if (s->crc) {
            (void)printf("seed %" PRIu64 " story %08x\n", j->seed, t.story_crc);
        }
    } else {
        totals.seeds++;
        totals.failed++;
        if (WIFSIGNALED(status)) {
            (void)fprintf(stderr, "seed %" PRIu64 " FAILED: ended by signal %d\n", j->seed,
                          WTERMSIG(status));
        }
    }
}

static void print_totals(double seconds)
{
    const struct sim_totals *t = &totals;

    (void)printf("store simulator: %" PRIu64 " seeds, %" PRIu64 " failed, %.1f virtual hours in "
                 "%.0f s\n",
                 t->seeds, t->failed, (double)t->virtual_ms / 3600000, seconds);
    (void)printf("operations checked: %" PRIu64 " commands (%" PRIu64 " acknowledged, %" PRIu64
                 " refused, %" PRIu64 " unknown, %" PRIu64 " repeated), %" PRIu64
                 " linearizable reads, %" PRIu64 " serializable, %" PRIu64 " of old revisions\n",
                 t->commands, t->acked, t->refused, t->unknown, t->retried, t->reads,
                 t->serializable, t->old_reads);
    (void)printf("  %" PRIu64 " entries applied first, %" PRIu64 " predicted to the byte; %" PRIu64
                 " watches, %" PRIu64 " events, %" PRIu64 " times compacted\n",
                 t->applied, t->predicted, t->watch_opened, t->watch_events, t->watch_compacted);
    (void)printf("  %" PRIu64 " register histories, %" PRIu64
                 " operations in them linearizable (%" PRIu64 " given up)\n",
                 t->registers, t->register_ops, t->register_long);
    (void)printf("  %" PRIu64 " keep-alives, %" PRIu64 " leases ended by time; %" PRIu64
                 " safety commands, %" PRIu64 " proofs, %" PRIu64 " changes of locks\n",
                 t->keepalives, t->expiries, t->safety_ops, t->proofs, t->lock_changes);
    (void)printf("faults:");
#define SIM_PRINT(name) (void)printf(" %s %" PRIu64, #name, t->fault_##name);
    SIM_FAULTS(SIM_PRINT)
#undef SIM_PRINT
    (void)printf("; elections %" PRIu64 ", restores %" PRIu64 "\n", t->elections, t->restores);
}

static double seconds_since(const struct timespec *t0)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - t0->tv_sec) + (double)(t.tv_nsec - t0->tv_nsec) / 1e9;
}

static void run_all(const struct settings *s)
{
    struct job jobs[16] = { 0 };
    uint64_t next = 0;
    struct timespec t0;

    (void)clock_gettime(CLOCK_MONOTONIC, &t0);
    for (size_t k = 0;; k = (k + 1) % s->jobs) { /* in turn: totals and lines in order of seeds */
        bool more = next < s->seeds && (s->seconds == 0 || seconds_since(&t0) < (double)s->seconds);
        bool busy = false;

        if (jobs[k].pid != 0) {
            reap(s, &jobs[k]);
        }
        if (more && spawn(s, &jobs[k], s->seed0 + next++) != 0) {
            (void)fprintf(stderr, "storesim: no more processes\n");
            totals.failed++;
            break;
        }
        for (size_t i = 0; i < s->jobs; i++) {
            busy = busy || jobs[i].pid != 0;
        }
        if (!busy) {
            break;
        }
    }
    print_totals(seconds_since(&t0));
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: storesim [--seeds N] [--seed0 S] [--jobs J] [--seconds T] "
                          "[--dir DIR] [--story] [--crc]\n");
    return 2;
}

static bool parse(struct settings *s, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        uint64_t *number = str_eq(a, "--seeds")     ? &s->seeds
                           : str_eq(a, "--seed0")   ? &s->seed0
                           : str_eq(a, "--jobs")    ? &s->jobs
                           : str_eq(a, "--seconds") ? &s->seconds
                                                    : NULL;

        if (number != NULL) {
            i++;
            if (!str_parse_u64(v, number)) {
                return false;
            }
        } else if (str_eq(a, "--dir")) {
            s->dir = v;
            i++;
        } else if (str_eq(a, "--story")) {
            s->story = true;
        } else if (str_eq(a, "--crc")) {
            s->crc = true;
        } else {
            return false;
        }
    }
    return s->jobs >= 1 && s->jobs <= 16;
}

int main(int argc, char **argv)
{
    struct settings s = { .seeds = 100, .seed0 = 1, .jobs = 2, .dir = "." };

    if (!parse(&s, argc, argv)) {
        return usage();
    }
    (void)mkdir(s.dir, 0755);
    lg_set_level((enum lg_level)0); /* what goes wrong in there is meant to */
    run_all(&s);
    return totals.failed == 0 ? 0 : 1;
}
