/* The log's memory: data of entries that nobody needs goes; who needs it later has it read back. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "raft/wal.h"
#include "tests/unit/raft_world.h"

#define NODES 3u
#define CMD 1000u
#define KEEP 20000u

static struct world w;

/* What a node has applied: how many commands, and a sum that their order and content change. */
struct sm {
    uint64_t count, sum;
    unsigned restores, snapshots;
};

static struct sm sms[NODES + 1];
static unsigned answered, failed;

static void sm_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                     const struct rep_cmd *cmds, size_t n, struct buf *results)
{
    struct sm *s = ((struct wnode *)ctx)->user;

    (void)index;
    (void)term;
    (void)leader_ms;
    (void)results;
    for (size_t i = 0; i < n; i++) {
        s->count++;
        for (size_t k = 0; k < cmds[i].len; k++) {
            s->sum = s->sum * 31 + ((const uint8_t *)cmds[i].data)[k];
        }
    }
}

static void *sm_begin(void *ctx)
{
    struct sm *s = ((struct wnode *)ctx)->user;

    s->snapshots++;
    return mem_dup(s, sizeof(*s));
}

static int sm_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    (void)ctx;
    return sink->write(sink, snap, 2 * sizeof(uint64_t), err);
}

static void sm_end(void *ctx, void *snap)
{
    (void)ctx;
    free(snap);
}

static int sm_restore(void *ctx, struct rep_source *source, struct err *err)
{
    struct sm *s = ((struct wnode *)ctx)->user;

    s->restores++;
    return source->read(source, s, 2 * sizeof(uint64_t), err);
}

static struct rep_fsm sm_of(struct wnode *n)
{
    n->user = &sms[n->i];
    sms[n->i].count = sms[n->i].sum = 0;
    return (struct rep_fsm){ .ctx = n,
                             .apply = sm_apply,
                             .snap_begin = sm_begin,
                             .snap_write = sm_write,
                             .snap_end = sm_end,
                             .restore = sm_restore };
}

static struct rep_events events_of(struct wnode *n)
{
    (void)n;
    return (struct rep_events){ 0 };
}

static void run_ms(uint64_t ms)
{
    uint64_t until = w.now + ms;

    while (w.now < until) {
        world_step(&w);
    }
}

static unsigned leader(void)
{
    for (unsigned tries = 0; tries < 200; tries++) {
        for (unsigned i = 0; i < NODES; i++) {
            if (w.nodes[i].rep != NULL && rep_lead_ready(w.nodes[i].rep)) {
                return i;
            }
        }
        run_ms(50);
    }
    fail_msg("nobody leads");
    return 0;
}

static void on_answer(struct rep_req *req, const struct err *err, uint64_t index,
                      const uint8_t *result, size_t len)
{
    (void)index;
    (void)result;
    (void)len;
    answered += err == NULL;
    failed += err != NULL;
    free(req);
}

/* One after the other, so that each is an entry. */
static void put(unsigned n)
{
    uint8_t cmd[CMD];

    for (unsigned i = 0; i < n; i++) {
        unsigned before = answered, l = leader();

        memset(cmd, (int)i, sizeof(cmd));
        rep_propose(w.nodes[l].rep, OBJ_NEW(struct rep_req), cmd, sizeof(cmd), 60000, on_answer);
        rep_step(w.nodes[l].rep);
        while (answered == before) {
            world_step(&w);
            assert_int_equal(failed, 0);
        }
    }
}

static void open_node(unsigned i)
{
    struct err err;

    if (world_open(&w, i, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static uint64_t data_bytes(unsigned i)
{
    struct rep_stats s;

    rep_stats(w.nodes[i].rep, &s);
    return s.log_data_bytes;
}

static void all_equal(void)
{
    for (unsigned tries = 0; tries < 400; tries++) {
        if (sms[0].count == sms[1].count && sms[1].count == sms[2].count) {
            break;
        }
        run_ms(50);
    }
    assert_int_equal(sms[0].count, sms[1].count);
    assert_int_equal(sms[0].count, sms[2].count);
    assert_int_equal(sms[0].sum, sms[1].sum);
    assert_int_equal(sms[0].sum, sms[2].sum);
}

static int begin(void **state)
{
    struct rep_member m[NODES];
    struct err err;

    (void)state;
    lg_set_level((enum lg_level)0);
    world_init(&w, 11);
    w.fsm = sm_of;
    w.events = events_of;
    w.snapshot_bytes = 64u << 20; /* by size none becomes due */
    w.shed_keep = KEEP;
    memset(sms, 0, sizeof(sms));
    answered = failed = 0;
    for (unsigned i = 0; i < NODES; i++) {
        m[i] = (struct rep_member){
            .id = i + 1, .name = w.nodes[i].name, .address = w.nodes[i].name, .role = REP_VOTER
        };
    }
    for (unsigned i = 0; i < NODES; i++) {
        assert_int_equal(rep_bootstrap_disk(&w.nodes[i].disk.disk, m, NODES, &err), 0);
        open_node(i);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_done(&w);
    return 0;
}

static void only_the_newest_stays(void **state)
{
    (void)state;
    put(200);
    all_equal();
    run_ms(200);
    for (unsigned i = 0; i < NODES; i++) {
        struct rep_stats s;

        rep_stats(w.nodes[i].rep, &s);
        assert_in_range(s.log_data_bytes, KEEP - 2 * CMD, KEEP);
        assert_int_equal(s.log_first, 1); /* the entries themselves are all there */
        assert_true(s.log_last > 200);
        assert_int_equal(sms[i].snapshots, 0);
    }
}

/* A follower that is away for a moment gets what it missed, however much that is. */
static void what_a_member_needs_stays(void **state)
{
    unsigned l = leader(), f = (l + 1) % NODES;
    uint64_t least;

    (void)state;
    put(50);
    all_equal();
    w.nodes[f].paused = true;
    w.nodes[f].paused_until = w.now + 4000;
    put(60);
    least = data_bytes(l);
    assert_true(least >= 60 * CMD);
    all_equal();
    assert_int_equal(sms[f].restores, 0);
    run_ms(200);
    assert_true(data_bytes(l) <= KEEP);
}

/* For one that is away for longer the log is read back from the disk. */
static void it_is_read_back_for_who_comes_late(void **state)
{
    unsigned l = leader(), f = (l + 1) % NODES;

    (void)state;
    put(50);
    all_equal();
    world_crash(&w, f);
    put(20);
    run_ms(30ULL * WORLD_ELECTION);
    put(60);
    assert_true(data_bytes(leader()) <= KEEP);
    open_node(f);
    all_equal();
    assert_int_equal(sms[f].restores, 0);
    put(10);
    all_equal();
    run_ms(200);
    assert_true(data_bytes(leader()) <= KEEP);
}

/* The leader knew what its follower lacks, the new one does not; and it needs that follower to
 * commit anything, so that no snapshot could be taken. */
static void a_new_leader_reads_it_back_too(void **state)
{
    unsigned l = leader(), f = (l + 1) % NODES;

    (void)state;
    put(10);
    all_equal();
    for (unsigned i = 0; i < NODES; i++) {
        world_cut(&w, i, f, true);
        world_cut(&w, f, i, true);
    }
    put(100);
    world_crash(&w, l);
    for (unsigned i = 0; i < NODES; i++) {
        world_cut(&w, i, f, false);
        world_cut(&w, f, i, false);
    }
    run_ms(3000);
    assert_int_equal(leader(), (l + 2) % NODES); /* only it has everything */
    assert_int_equal(sms[f].restores, 0);
    open_node(l);
    all_equal();
    assert_int_equal(sms[0].count, 110);
}

static void on_added(struct rep_req *req, const struct err *err)
{
    assert_null(err);
    free(req);
}

/* It has nothing and says nothing by itself. */
static void a_new_member_gets_all(void **state)
{
    struct rep_member m = { .id = NODES + 1, .name = "n4", .address = "n4", .role = REP_STANDBY };
    unsigned l = leader();

    (void)state;
    put(60);
    all_equal();
    run_ms(30ULL * WORLD_ELECTION);
    assert_true(data_bytes(l) <= KEEP);
    open_node(NODES);
    l = leader();
    rep_add(w.nodes[l].rep, OBJ_NEW(struct rep_req), &m, on_added);
    for (unsigned tries = 0; tries < 200 && sms[NODES].count < 60; tries++) {
        run_ms(50);
    }
    assert_int_equal(sms[NODES].count, 60);
    assert_int_equal(sms[NODES].sum, sms[l].sum);
    assert_int_equal(sms[NODES].restores, 0);
}

/* The leader's files are damaged, which it finds when it wants to read them: while it runs it has a
 * snapshot to give, and it takes that without any work of others. */
static void damaged_files_and_a_snapshot(void **state)
{
    unsigned l = leader(), f = (l + 1) % NODES;
    const struct md_name *name;
    char file[64];

    (void)state;
    put(50);
    all_equal();
    world_crash(&w, f);
    put(60);
    run_ms(30ULL * WORLD_ELECTION);
    put(1);
    l = leader();
    wal_seg_name(1, file);
    name = md_find(&w.nodes[l].disk, file);
    CHECK(name != NULL);
    name->inode->data[20 * WAL_BLOCK + 200] ^= 1; /* not padding */
    open_node(f);
    run_ms(2000);
    assert_int_equal(sms[f].restores, 0); /* it may have been a write under way */
    all_equal();
    assert_int_equal(sms[f].restores, 1);
    assert_int_equal(leader(), l);
    put(10);
    all_equal();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_the_newest_stays),
        TEST(what_a_member_needs_stays),
        TEST(it_is_read_back_for_who_comes_late),
        TEST(a_new_leader_reads_it_back_too),
        TEST(a_new_member_gets_all),
        TEST(damaged_files_and_a_snapshot),
    };

    return cmocka_run_group_tests_name("raft_shed", tests, NULL, NULL);
}
