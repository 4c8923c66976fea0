/* Random worlds: crashes, torn writes, partitions, pauses, lost and doubled messages, members that
 * come and go, leaders that hand over; clients that write and read all the time.  Checked at every
 * step:
 *   - one leader a term
 *   - what one node applied at an index, every node applies there, and their states are equal
 *   - an acknowledged command is in the log and stays there; one that "did not happen" never
 * appears; none is applied twice
 *   - a read sees all that was acknowledged, and all that reads saw, before it was asked for
 * and after a time everything heals and must converge.
 *
 * RAFT_SIM_SEED=n runs one world, RAFT_SIM_SEEDS=n so many from 1 on. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "raft/le.h"
#include "tests/unit/raft_world.h"

#define OPS_MAX 6000u
#define INDEX_MAX_SEEN 60000u
#define SAFETY_MS 40000u
#define HEAL_MS 60000u

enum op_state { OP_FREE, OP_PENDING, OP_ACKED, OP_NOT_DONE, OP_UNKNOWN };

struct op {
    struct rep_req req;
    enum op_state state;
    unsigned node;
    bool read;
    uint64_t index;
    uint64_t must_see; /* of a read: index that it must reach */
    bool applied;
};

struct machine { /* state of one node */
    uint64_t index, hash, count;
};

static struct world w;
static struct op ops[OPS_MAX];
static unsigned n_ops;
static struct machine machines[WORLD_MAX];
static struct {
    uint64_t term, hash;
} seen[INDEX_MAX_SEEN];        /* by index, as first applied by anybody */
static uint64_t leaders[8192]; /* by term */
static uint64_t max_acked, max_read;
static struct rep_req change_req;
static bool changing;
static uint64_t seed;
static uint64_t total_acked, total_reads, total_crashes, total_restores, total_told_late;
static bool faults;
static uint64_t max_cmd;

#define REQUIRE(e)                                                                                 \
    do {                                                                                           \
        if (!(e)) {                                                                                \
            fail_msg("seed %llu, t=%llu: %s", (unsigned long long)seed, (unsigned long long)w.now, \
                     #e);                                                                          \
        }                                                                                          \
    } while (0)

/* --- the state machine --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15ULL + (h << 6) + (h >> 2);
    return h * 0xff51afd7ed558ccdULL;
}

static void sm_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                     const struct rep_cmd *cmds, size_t n, struct buf *results)
{
    struct machine *m = ctx;

    (void)leader_ms;
    REQUIRE(index > m->index && index < INDEX_MAX_SEEN);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = le_get64(cmds[i].data);

        m->hash = mix(m->hash, id);
        m->count++;
        buf_add_u64(&results[i], id);
    }
    m->index = index;
    if (seen[index].term == 0) {
        seen[index].term = term;
        seen[index].hash = m->hash;
        for (size_t i = 0; i < n; i++) {
            struct op *op = &ops[le_get64(cmds[i].data)];

            REQUIRE(!op->applied);             /* never twice */
            REQUIRE(op->state != OP_NOT_DONE); /* it was promised not to */
            op->applied = true;
        }
    }
    REQUIRE(seen[index].term == term);
    REQUIRE(seen[index].hash == m->hash);
}

static void *sm_begin(void *ctx)
{
    return mem_dup(ctx, sizeof(struct machine));
}

static int sm_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    (void)ctx;
    return sink->write(sink, snap, sizeof(struct machine), err);
}

static void sm_end(void *ctx, void *snap)
{
    (void)ctx;
    free(snap);
}

static int sm_restore(void *ctx, struct rep_source *source, struct err *err)
{
    struct machine *m = ctx;
    int rc = source->read(source, m, sizeof(*m), err);

    REQUIRE(rc != 0 || seen[m->index].hash == m->hash);
    total_restores++;
    return rc;
}

static uint64_t sm_hash(void *ctx)
{
    const struct machine *m = ctx;

    return m->hash;
}

static struct rep_fsm sm_of(struct wnode *n)
{
    return (struct rep_fsm){ .ctx = &machines[n->i],
                             .apply = sm_apply,
                             .snap_begin = sm_begin,
                             .snap_write = sm_write,
                             .snap_end = sm_end,
                             .restore = sm_restore,
                             .hash = sm_hash };
}

static void on_role(void *ctx, enum rep_role role, uint64_t term, uint64_t leader_id)
{
    const struct wnode *n = ctx;

    (void)leader_id;
    if (role == REP_LEADER) {
        REQUIRE(term < 8192);
        REQUIRE(leaders[term] == 0 || leaders[term] == n->id);
        leaders[term] = n->id;
    }
}

/* Several entries may be applied before the first of them is told: each comes with its own hash. */
static void on_applied(void *ctx, uint64_t index, uint64_t hash)
{
    const struct wnode *n = ctx;

    REQUIRE(seen[index].hash == hash);
    total_told_late += machines[n->i].index > index;
}

static struct rep_events events_of(struct wnode *n)
{
    return (struct rep_events){ .ctx = n, .on_role = on_role, .on_applied = on_applied };
}

/* --- clients --- */

static void on_proposed(struct rep_req *req, const struct err *err, uint64_t index,
                        const uint8_t *result, size_t len)
{
    struct op *op = req->data;

    REQUIRE(op->state == OP_PENDING);
    if (err == NULL) {
        op->state = OP_ACKED;
        op->index = index;
        REQUIRE(op->applied);
        REQUIRE(len == 8 && le_get64(result) == (uint64_t)(op - ops));
        REQUIRE(machines[op->node].index >= index); /* the local state has it */
        max_acked = index > max_acked ? index : max_acked;
        total_acked++;
    } else if (err->code == ERR_UNKNOWN_OUTCOME) {
        op->state = OP_UNKNOWN;
    } else {
        REQUIRE(err->code == ERR_NO_QUORUM || err->code == ERR_LIMIT ||
                err->code == ERR_NOT_LEADER);
        REQUIRE(!op->applied);
        op->state = OP_NOT_DONE;
    }
}

static void on_read(struct rep_req *req, const struct err *err)
{
    struct op *op = req->data;

    REQUIRE(op->state == OP_PENDING);
    op->state = err == NULL ? OP_ACKED : OP_NOT_DONE;
    if (err != NULL) {
        REQUIRE(err->code == ERR_NO_QUORUM);
        return;
    }
    op->index = rep_applied(w.nodes[op->node].rep);
    REQUIRE(op->index >= op->must_see);
    max_read = op->index > max_read ? op->index : max_read;
    total_reads++;
}

static void client(void)
{
    uint8_t cmd[3000] = { 0 };
    struct op *op = &ops[n_ops];
    unsigned i = (unsigned)world_rand(&w, WORLD_MAX);
    struct wnode *n = &w.nodes[i];

    if (n_ops == OPS_MAX || n->rep == NULL || n->died) {
        return;
    }
    n_ops++;
    *op = (struct op){ .state = OP_PENDING, .node = i, .read = world_rand(&w, 3) == 0 };
    op->req.data = op;
    if (op->read) {
        op->must_see = max_acked > max_read ? max_acked : max_read;
        rep_read(n->rep, &op->req, 200 + world_rand(&w, 3000), on_read);
    } else {
        le_put64(cmd, (uint64_t)(op - ops));
        rep_propose(n->rep, &op->req, cmd, 8 + world_rand(&w, max_cmd), 200 + world_rand(&w, 3000),
                    on_proposed);
    }
    REQUIRE(op->state == OP_PENDING);
    if (world_rand(&w, 2) == 0) {
        world_after(n);
    }
}

/* --- faults --- */

static void start(unsigned i)
{
    struct err err;

    machines[i] = (struct machine){ 0 };
    w.nodes[i].disk.fail_writes = false;
    if (world_open(&w, i, &err) != 0) {
        fail_msg("seed %llu: n%u does not start: %s", (unsigned long long)seed, i + 1, err.msg);
    }
}

static void bury(unsigned i)
{
    struct wnode *n = &w.nodes[i];

    if (n->died) {
        w.deaths++;
        REQUIRE(strstr(n->why, "start again") != NULL || strstr(n->why, "input/output") != NULL ||
                strstr(n->why, "no space") != NULL);
    }
    world_crash(&w, i);
    n->disk.fail_writes = false;
    for (unsigned k = 0; k < n_ops; k++) {
        if (ops[k].state == OP_PENDING && ops[k].node == i) {
            ops[k].state = OP_UNKNOWN; /* its client hears nothing any more */
        }
    }
}

static struct wnode *leader(void)
{
    for (unsigned i = 0; i < WORLD_MAX; i++) {
        if (w.nodes[i].rep != NULL && !w.nodes[i].died && rep_lead_ready(w.nodes[i].rep)) {
            return &w.nodes[i];
        }
    }
    return NULL;
}

static void on_changed(struct rep_req *req, const struct err *err)
{
    (void)req;
    (void)err;
    changing = false;
}

static void change_member(void)
{
    struct rep_peer_info info[WORLD_MAX];
    struct wnode *l = leader();
    unsigned i = (unsigned)world_rand(&w, WORLD_MAX);
    struct rep_member m = { .id = i + 1, .name = w.nodes[i].name, .address = w.nodes[i].name };
    const struct rep_peer_info *p = NULL;
    size_t n, voters = 0;

    if (l == NULL || changing) {
        return;
    }
    n = rep_peers(l->rep, info, WORLD_MAX);
    for (size_t k = 0; k < n; k++) {
        p = info[k].id == m.id ? &info[k] : p;
        voters += info[k].role == REP_VOTER;
    }
    changing = true;
    if (p == NULL) {
        if (w.nodes[i].rep == NULL && !w.nodes[i].used) {
            start(i);
        }
        m.role = world_rand(&w, 2) == 0 ? REP_VOTER : REP_STANDBY;
        rep_add(l->rep, &change_req, &m, on_changed);
    } else if (p->role != REP_VOTER) {
        rep_assign(l->rep, &change_req, m.id, REP_VOTER, on_changed);
    } else if (voters > 3) {
        if (world_rand(&w, 2) == 0) {
            rep_remove(l->rep, &change_req, m.id, on_changed);
        } else {
            rep_assign(l->rep, &change_req, m.id, REP_STANDBY, on_changed);
        }
    } else {
        changing = false;
    }
    world_after(l);
}

static void transfer(void)
{
    struct wnode *l = leader();
    struct err err;

    if (l != NULL) {
        (void)!rep_transfer(l->rep, 1 + world_rand(&w, WORLD_MAX), &err);
        world_after(l);
    }
}

static void heal(void)
{
    for (unsigned a = 0; a < WORLD_MAX; a++) {
        for (unsigned b = 0; b < WORLD_MAX; b++) {
            world_cut(&w, a, b, false);
        }
    }
}

static void fault(void)
{
    unsigned a = (unsigned)world_rand(&w, WORLD_MAX), b = (unsigned)world_rand(&w, WORLD_MAX);
    struct wnode *n = &w.nodes[a];
    struct wnode *l = leader();

    if (l != NULL && world_rand(&w, 3) == 0) {
        n = l; /* leaders have the most to lose */
        a = l->i;
    }
    switch (world_rand(&w, 12)) {
    case 0:
    case 1:
        if (n->rep != NULL) {
            bury(a);
        }
        break;
    case 2:
    case 3:
        for (unsigned k = 0; k < WORLD_MAX; k++) {
            if (k != a) {
                world_cut(&w, a, k, true);
                world_cut(&w, k, a, world_rand(&w, 2) == 0);
            }
        }
        break;
    case 4:
        if (a != b) {
            world_cut(&w, a, b, true);
        }
        break;
    case 5:
    case 6:
        heal();
        break;
    case 7:
        if (n->paused_until <= w.now) { /* a longer one would mix up the order of what waits */
            n->paused = true;
            n->paused_until = w.now + 10 + world_rand(&w, 2000);
        }
        break;
    case 8:
        if (a != b) {
            world_link_break(&w, a, b);
        }
        break;
    case 9:
        n->disk_ms = world_rand(&w, 3) == 0 ? 300 : 5;
        break;
    case 10:
        transfer();
        break;
    default:
        if (world_rand(&w, 6) == 0) {
            n->disk.fail_writes = true;
        }
        break;
    }
}

static void restart_some(void)
{
    for (unsigned i = 0; i < WORLD_MAX; i++) {
        struct wnode *n = &w.nodes[i];

        if (n->died) {
            bury(i);
        }
        if (n->used && n->rep == NULL && (!faults || world_rand(&w, 20) == 0)) {
            n->died = false;
            start(i);
        }
    }
}

/* --- one world --- */

static void begin_empty(void)
{
    memset(ops, 0, sizeof(ops));
    memset(machines, 0, sizeof(machines));
    memset(seen, 0, sizeof(seen));
    memset(leaders, 0, sizeof(leaders));
    n_ops = 0;
    max_acked = max_read = 0;
    changing = false;
    faults = true;
    max_cmd = 250;
    w.fsm = sm_of;
    w.events = events_of;
}

static void begin_voters(unsigned n)
{
    struct rep_member m[3];
    struct err err;
    bool mild = world_rand(&w, 3) == 0;

    begin_empty();
    w.snapshot_bytes = world_rand(&w, 2) == 0 ? 30000 : 1u << 20;
    max_cmd = 2900;
    if (world_rand(&w, 2) == 0) { /* many small files of the log */
        w.segment_bytes = 512u << 10;
        w.snapshot_bytes = 5000;
        max_cmd = 250;
    }
    w.drop = mild ? 0 : (unsigned)world_rand(&w, 150);
    w.twice = mild ? 0 : (unsigned)world_rand(&w, 100);
    w.late = mild ? 0 : (unsigned)world_rand(&w, 100);
    w.net_ms = 1 + (unsigned)world_rand(&w, 20);
    w.apply_slice = 1 + world_rand(&w, 4000);
    w.shed_keep = 1 + world_rand(&w, 20000);
    for (unsigned i = 0; i < n; i++) {
        m[i] = (struct rep_member){
            .id = i + 1, .name = w.nodes[i].name, .address = w.nodes[i].name, .role = REP_VOTER
        };
    }
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(rep_bootstrap_disk(&w.nodes[i].disk.disk, m, n, &err), 0);
        start(i);
    }
}

static void begin(void)
{
    begin_voters(3);
}

static bool converged(void)
{
    const struct wnode *l = leader();
    struct rep_peer_info info[WORLD_MAX];
    size_t n;

    if (l == NULL) {
        return false;
    }
    n = rep_peers(l->rep, info, WORLD_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct wnode *o = &w.nodes[info[i].id - 1];

        if (info[i].role != REP_SPARE &&
            (o->rep == NULL || rep_applied(o->rep) != rep_applied(l->rep) ||
             machines[o->i].hash != machines[l->i].hash || rep_leader(o->rep) != l->id)) {
            return false;
        }
    }
    return true;
}

static void run_safety(bool members)
{
    uint64_t next_fault = 2000, next_op = 0, next_restart = 0;
    uint64_t fault_every = 100 + world_rand(&w, 2000), op_every = 5 + world_rand(&w, 100);

    while (w.now < SAFETY_MS) {
        world_step(&w);
        if (w.now >= next_op) {
            next_op = w.now + world_rand(&w, op_every);
            client();
        }
        if (w.now >= next_fault) {
            next_fault = w.now + world_rand(&w, fault_every);
            fault();
            if (members && world_rand(&w, 4) == 0) {
                change_member();
            }
        }
        if (w.now >= next_restart) {
            next_restart = w.now + 50;
            restart_some();
        }
        if (changing && leader() == NULL && world_rand(&w, 500) == 0) {
            changing = false; /* its node may have crashed with it */
        }
    }
}

static void run_heal(void)
{
    uint64_t until = w.now + HEAL_MS;
    const struct wnode *l;

    faults = false;
    w.drop = w.twice = w.late = 0;
    heal();
    for (unsigned i = 0; i < WORLD_MAX; i++) {
        w.nodes[i].disk_ms = 5;
        w.nodes[i].disk.fail_writes = false;
    }
    while (!converged() && w.now < until) {
        world_step(&w);
        restart_some();
    }
    l = leader();
    REQUIRE(l != NULL && converged());
    CHECK(l != NULL);
    /* Everything that was acknowledged is there. */
    for (unsigned i = 0; i < n_ops; i++) {
        if (!ops[i].read && ops[i].state == OP_ACKED) {
            REQUIRE(ops[i].applied && ops[i].index <= machines[l->i].index);
        }
    }
    REQUIRE(machines[l->i].index >= max_acked);
}

static void one_world(uint64_t s)
{
    bool members;

    seed = s;
    world_init(&w, s);
    members = world_rand(&w, 2) == 0;
    begin();
    run_safety(members);
    run_heal();
    total_crashes += w.crashes;
    world_done(&w);
}

static void worlds(void **state)
{
    const char *one = getenv("RAFT_SIM_SEED"), *many = getenv("RAFT_SIM_SEEDS");
    uint64_t n = many == NULL ? 40 : strtoull(many, NULL, 10);

    (void)state;
    if (one != NULL) {
        one_world(strtoull(one, NULL, 10));
    }
    for (uint64_t s = 1; one == NULL && s <= n; s++) {
        one_world(s);
    }
    print_message("acknowledged %llu, reads %llu, crashes %llu, restores %llu\n",
                  (unsigned long long)total_acked, (unsigned long long)total_reads,
                  (unsigned long long)total_crashes, (unsigned long long)total_restores);
    if (one == NULL && n >= 40) {
        assert_true(total_acked > 1000 && total_reads > 300 && total_crashes > 100);
        assert_true(total_restores > 50);
        assert_true(total_told_late > 0);
    }
}

static void run_ms(uint64_t ms)
{
    uint64_t until = w.now + ms, next_op = w.now;

    while (w.now < until) {
        world_step(&w);
        if (w.now >= next_op) {
            next_op = w.now + 30;
            client();
        }
    }
}

/* A copy of a voter's machine from yesterday is started again: everybody remembers what it had
 * acknowledged, so it must not take part. */
static void a_restored_copy_ends_itself(void **state)
{
    struct memdisk copy;
    struct wnode *n;

    (void)state;
    seed = 1;
    for (unsigned i = 0; i < 3; i++) {
        world_init(&w, 100 + i);
        begin();
        w.drop = w.twice = w.late = 0;
        run_ms(3000);
        n = &w.nodes[i];
        memdisk_init(&copy, &w.prng);
        memdisk_clone(&n->disk, &copy);
        run_ms(5000);
        bury(i);
        memdisk_done(&n->disk);
        memdisk_init(&n->disk, &w.prng);
        memdisk_clone(&copy, &n->disk);
        memdisk_done(&copy);
        start(i);
        run_ms(3000);
        REQUIRE(n->died);
        assert_non_null(strstr(n->why, "new id"));
        world_done(&w);
    }
}

/* What an only voter sent to a stand-by may be lost by it: it must not use index and term again. */
static void a_lone_voter_never_leads_a_term_twice(void **state)
{
    struct rep_member m = { .id = 1, .role = REP_VOTER };
    uint64_t term = 0;
    struct err err;

    (void)state;
    seed = 1;
    world_init(&w, 7);
    begin_empty();
    m.name = m.address = w.nodes[0].name;
    assert_int_equal(rep_bootstrap_disk(&w.nodes[0].disk.disk, &m, 1, &err), 0);
    for (unsigned i = 0; i < 4; i++) {
        start(0);
        run_ms(500);
        REQUIRE(rep_lead_ready(w.nodes[0].rep));
        REQUIRE(rep_term(w.nodes[0].rep) > term);
        term = rep_term(w.nodes[0].rep);
        bury(0);
    }
    world_done(&w);
}

/* Two voters, the leader takes the other one's vote away and dies before that is on its own disk.
 * Were it in the other's log by then, none of them could ever lead: the one needs a vote that the
 * other's longer log refuses, and the other does not campaign. */
static void a_demotion_locks_nobody_out(void **state)
{
    struct wnode *l, *o;
    struct rep_req change = { 0 };

    (void)state;
    for (seed = 1; seed <= 40; seed++) {
        world_init(&w, 5000 + seed);
        begin_voters(2);
        w.drop = w.twice = w.late = 0;
        w.net_ms = 5;
        while ((l = leader()) == NULL) {
            world_step(&w);
        }
        run_ms(2000);
        o = &w.nodes[1 - l->i];
        l->disk_ms = 2000;
        rep_assign(l->rep, &change, o->id, REP_STANDBY, on_changed);
        world_after(l);
        run_ms(20 + world_rand(&w, 200));
        l->disk_ms = 5;
        bury(l->i);
        start(l->i);
        run_ms(20000);
        REQUIRE(leader() != NULL);
        world_done(&w);
    }
}

/* One command of 256 KiB at the leader, and wait for it. */
static void big_command(struct wnode *l)
{
    static uint8_t cmd[256u << 10];
    struct op *op = &ops[n_ops++];

    *op = (struct op){ .state = OP_PENDING, .node = l->i };
    op->req.data = op;
    le_put64(cmd, (uint64_t)(op - ops));
    rep_propose(l->rep, &op->req, cmd, sizeof(cmd), 5000, on_proposed);
    world_after(l);
    while (op->state == OP_PENDING) {
        world_step(&w);
    }
    REQUIRE(op->state == OP_ACKED);
}

/* Rule 13: what waits for a follower that stands still, with its connection open, is bounded: the
 * others go on for many times the window, and when it goes on it gets everything, in pieces. */
static void a_stopped_follower_is_owed_a_window_at_most(void **state)
{
    struct wnode *l, *o;
    uint64_t worst = 0, queued;

    (void)state;
    seed = 1;
    world_init(&w, 77);
    begin();
    w.drop = w.twice = w.late = 0;
    w.snapshot_bytes = 256u << 20;
    while ((l = leader()) == NULL) {
        world_step(&w);
    }
    o = &w.nodes[(l->i + 1) % 3];
    o->paused = true;
    o->paused_until = w.now + 60000;
    for (unsigned i = 0; i < 100; i++) { /* 25 MiB */
        big_command(l);
        queued = w.links[l->i][o->i].queued;
        worst = queued > worst ? queued : worst;
    }
    print_message("25 MiB of commands: at most %llu bytes on their way to the stopped follower\n",
                  (unsigned long long)worst);
    REQUIRE(worst > 1u << 20);
    REQUIRE(worst < (5u << 20) + (512u << 10)); /* the window and one piece more */
    REQUIRE(w.now < o->paused_until);
    while (w.now < o->paused_until + 20000) { /* nobody asks for anything */
        world_step(&w);
    }
    REQUIRE(machines[o->i].index >= machines[l->i].index);
    REQUIRE(machines[o->i].hash == machines[l->i].hash);
    world_done(&w);
}

/* --- machines that are too busy ----------------------------------------------------------------
 */

/* Every loop stands still again and again, for up to `longest` ms, and runs for as long between. */
static void stall_all(uint64_t next[3], uint64_t longest)
{
    for (unsigned i = 0; i < 3; i++) {
        struct wnode *n = &w.nodes[i];

        if (w.now >= next[i] && n->paused_until <= w.now) {
            uint64_t ms = world_rand(&w, longest);

            n->paused = true;
            n->paused_until = w.now + ms;
            next[i] = w.now + ms + world_rand(&w, longest);
        }
    }
}

static bool somebody_leads(void)
{
    for (unsigned i = 0; i < 3; i++) {
        if (w.nodes[i].rep != NULL && rep_lead_ready(w.nodes[i].rep)) {
            return true;
        }
    }
    return false;
}

static uint64_t until_a_leader(uint64_t s, uint64_t longest, unsigned disk_ms)
{
    uint64_t next[3] = { 0 }, begun, ms;

    seed = s;
    world_init(&w, s);
    begin();
    w.drop = w.twice = w.late = 0;
    for (unsigned i = 0; i < 3; i++) {
        w.nodes[i].disk_ms = disk_ms;
    }
    begun = w.now;
    while (!somebody_leads() && w.now - begun < 60000) {
        world_step(&w);
        stall_all(next, longest);
    }
    ms = w.now - begun;
    world_done(&w);
    return ms;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Elections end also where loops stand still for longer than the time-out, on slow disks: chance
 * separates the candidates, and a pre-vote costs the others nothing. */
static void elections_end_on_busy_machines(void **state)
{
    static const struct {
        uint64_t stall;          /* longest, in election time-outs / 10 */
        unsigned disk_ms, bound; /* the latter in election time-outs */
    } cases[] = { { 1, 5, 8 }, { 5, 50, 12 }, { 10, 100, 16 }, { 20, 100, 32 }, { 30, 300, 120 } };
    static uint64_t took[100];

    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        uint64_t longest = cases[c].stall * WORLD_ELECTION / 10;

        for (uint64_t s = 0; s < ARRAY_LEN(took); s++) {
            took[s] = until_a_leader(9000 + s, longest, cases[c].disk_ms);
        }
        qsort(took, ARRAY_LEN(took), sizeof(took[0]), by_size);
        print_message("stalls of up to %llu ms, disk %u ms: a leader after %llu ms (median), %llu "
                      "(worst of %zu)\n",
                      (unsigned long long)longest, cases[c].disk_ms,
                      (unsigned long long)took[ARRAY_LEN(took) / 2],
                      (unsigned long long)took[ARRAY_LEN(took) - 1], ARRAY_LEN(took));
        assert_true(took[ARRAY_LEN(took) - 1] < cases[c].bound * WORLD_ELECTION);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_copy_ends_itself),
        cmocka_unit_test(a_lone_voter_never_leads_a_term_twice),
        cmocka_unit_test(a_demotion_locks_nobody_out),
        cmocka_unit_test(a_stopped_follower_is_owed_a_window_at_most),
        cmocka_unit_test(elections_end_on_busy_machines),
        cmocka_unit_test(worlds),
    };

    lg_set_level((enum lg_level)0); /* what goes wrong in there is meant to */
    return cmocka_run_group_tests_name("raft_sim", tests, NULL, NULL);
}
