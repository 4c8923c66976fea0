/* The guard's rules one by one: the real core of libraft, a raft_io that does nothing by itself,
 * and messages made by hand. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/obj.h"
#include "raft/guard.h"

#define SENT_MAX 64

static struct raft raft;
static struct raft_io io;
static struct raft_fsm fsm;
static struct guard guard;

static raft_io_tick_cb tick;
static raft_io_recv_cb recv;
static raft_time now;
static struct raft_message sent[SENT_MAX];
static unsigned n_sent;
static struct raft_io_append *appends[16];
static unsigned n_appends;
static struct raft_io_snapshot_put *put_req;
static raft_term saved_term;
static raft_id saved_vote;
static raft_index cut_at, truncated_at;
static char failed[128];
static raft_term ready_term;
static unsigned applied;

/* What load gives. */
static raft_term load_term;
static struct raft_entry load_entries[32];
static unsigned n_load;
static raft_index load_snapshot;
static raft_term load_snapshot_term;

static void configuration(struct raft_configuration *c, unsigned voters)
{
    raft_configuration_init(c);
    for (unsigned i = 1; i <= voters; i++) {
        char address[8] = { (char)('0' + i), 0 };

        assert_int_equal(raft_configuration_add(c, i, address, RAFT_VOTER), 0);
    }
}

static struct raft_buffer command(void)
{
    struct raft_buffer b = { .len = 8, .base = raft_malloc(8) };

    memset(b.base, 'c', 8);
    return b;
}

static int stub_init(struct raft_io *i, raft_id id, const char *address)
{
    (void)i;
    (void)id;
    (void)address;
    return 0;
}

static void stub_close(struct raft_io *i, raft_io_close_cb cb)
{
    while (n_appends > 0) { /* the core is closed and only frees */
        struct raft_io_append *req = appends[0];

        memmove(appends, appends + 1, --n_appends * sizeof(*appends));
        req->cb(req, 0);
    }
    cb(i);
}

static int stub_load(struct raft_io *i, raft_term *term, raft_id *vote, struct raft_snapshot **snap,
                     raft_index *start, struct raft_entry **entries, size_t *n)
{
    (void)i;
    *term = load_term;
    *vote = 0;
    *start = load_snapshot + 1;
    *n = n_load;
    *entries = NULL;
    *snap = NULL;
    if (n_load > 0) {
        *entries = raft_malloc(n_load * sizeof(**entries));
        memcpy(*entries, load_entries, n_load * sizeof(**entries));
    }
    if (load_snapshot != 0) {
        struct raft_snapshot *s = raft_calloc(1, sizeof(*s));

        s->index = load_snapshot;
        s->term = load_snapshot_term;
        configuration(&s->configuration, 3);
        s->configuration_index = 1;
        s->bufs = raft_malloc(sizeof(*s->bufs));
        s->bufs[0] = command();
        s->n_bufs = 1;
        *snap = s;
    }
    return 0;
}

static int stub_start(struct raft_io *i, unsigned msecs, raft_io_tick_cb t, raft_io_recv_cb r)
{
    (void)i;
    (void)msecs;
    tick = t;
    recv = r;
    return 0;
}

static int stub_set_term(struct raft_io *i, raft_term term)
{
    (void)i;
    saved_term = term;
    return 0;
}

static int stub_set_vote(struct raft_io *i, raft_id id)
{
    (void)i;
    saved_vote = id;
    return 0;
}

static struct raft_io_send *completions[SENT_MAX];
static unsigned n_completions;

static int stub_send(struct raft_io *i, struct raft_io_send *req, const struct raft_message *m,
                     raft_io_send_cb cb)
{
    (void)i;
    assert_true(n_sent < SENT_MAX);
    sent[n_sent++] = *m;
    req->cb = cb;
    if (cb != NULL) {
        completions[n_completions++] = req;
    }
    return 0;
}

static int stub_append(struct raft_io *i, struct raft_io_append *req,
                       const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    (void)i;
    (void)entries;
    assert_true(n > 0 && n_appends < ARRAY_LEN(appends));
    req->cb = cb;
    appends[n_appends++] = req;
    return 0;
}

static int stub_truncate(struct raft_io *i, raft_index index)
{
    (void)i;
    truncated_at = index;
    return 0;
}

static int stub_snapshot_put(struct raft_io *i, unsigned trailing, struct raft_io_snapshot_put *req,
                             const struct raft_snapshot *snap, raft_io_snapshot_put_cb cb)
{
    (void)i;
    (void)trailing;
    (void)snap;
    req->cb = cb;
    put_req = req;
    return 0;
}

static raft_time stub_time(struct raft_io *i)
{
    (void)i;
    return now;
}

static int stub_random(struct raft_io *i, int min, int max)
{
    (void)i;
    (void)max;
    return min;
}

static int fsm_apply(struct raft_fsm *f, const struct raft_buffer *buf, void **result)
{
    (void)f;
    (void)buf;
    *result = NULL;
    applied++;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *f, struct raft_buffer *bufs[], unsigned *n)
{
    (void)f;
    (void)bufs;
    (void)n;
    return RAFT_BUSY;
}

static int fsm_restore(struct raft_fsm *f, struct raft_buffer *buf)
{
    (void)f;
    raft_free(buf->base);
    return 0;
}

static void on_ready(void *ctx, raft_term term)
{
    (void)ctx;
    ready_term = term;
}

static void on_fail(void *ctx, const char *why)
{
    (void)ctx;
    (void)strncpy(failed, why, sizeof(failed) - 1);
}

static void on_cut(void *ctx, raft_index index)
{
    (void)ctx;
    cut_at = index;
}

/* --- steps --- */

static void settle(void)
{
    while (n_completions > 0) {
        struct raft_io_send *req = completions[--n_completions];

        req->cb(req, 0);
    }
}

static void do_tick(unsigned ms)
{
    now += ms;
    tick(&io);
    settle();
}

static void do_recv(struct raft_message *m)
{
    if (m->server_address == NULL) {
        m->server_address = "2";
    }
    recv(&io, m);
    settle();
}

/* The oldest append is durable. */
static void stored(void)
{
    struct raft_io_append *req = appends[0];

    assert_true(n_appends > 0);
    memmove(appends, appends + 1, --n_appends * sizeof(*appends));
    req->cb(req, 0);
    settle();
}

static const struct raft_message *last_sent(unsigned short type)
{
    unsigned i = n_sent;

    while (i > 1 && sent[i - 1].type != type) {
        i--;
    }
    assert_true(i > 0 && sent[i - 1].type == type);
    return &sent[i - 1];
}

static unsigned count_sent(unsigned short type)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_sent; i++) {
        n += sent[i].type == type;
    }
    return n;
}

static void append_msg(struct raft_message *m, raft_term term, raft_index prev, raft_term prev_term,
                       raft_index commit, unsigned n, raft_term entry_term)
{
    *m = (struct raft_message){ .type = RAFT_IO_APPEND_ENTRIES, .server_id = 2 };
    m->append_entries = (struct raft_append_entries){ .term = term,
                                                      .prev_log_index = prev,
                                                      .prev_log_term = prev_term,
                                                      .leader_commit = commit,
                                                      .n_entries = n };
    if (n > 0) {
        uint8_t *batch = raft_malloc(n * 8);

        m->append_entries.entries = raft_calloc(n, sizeof(struct raft_entry));
        memset(batch, 'e', n * 8);
        for (unsigned i = 0; i < n; i++) {
            m->append_entries.entries[i] = (struct raft_entry){
                .term = entry_term,
                .type = RAFT_COMMAND,
                .buf = { .base = batch + i * 8, .len = 8 },
                .batch = batch,
            };
        }
    }
}

static void do_append(raft_term term, raft_index prev, raft_term prev_term, raft_index commit,
                      unsigned n, raft_term entry_term)
{
    struct raft_message m;

    append_msg(&m, term, prev, prev_term, commit, n, entry_term);
    do_recv(&m);
}

/* An entry of the log that is loaded: 'c' a command, 1...5 a configuration of so many voters. */
static void load_entry(raft_term term, unsigned voters)
{
    struct raft_entry *e = &load_entries[n_load++];

    *e = (struct raft_entry){ .term = term };
    if (voters == 0) {
        e->type = RAFT_COMMAND;
        e->buf = command();
    } else {
        struct raft_configuration c;

        e->type = RAFT_CHANGE;
        configuration(&c, voters);
        assert_int_equal(raft_configuration_encode(&c, &e->buf), 0);
        raft_configuration_close(&c);
    }
}

static int reset(void **state)
{
    (void)state;
    io = (struct raft_io){
        .version = 1,
        .init = stub_init,
        .close = stub_close,
        .load = stub_load,
        .start = stub_start,
        .set_term = stub_set_term,
        .set_vote = stub_set_vote,
        .send = stub_send,
        .append = stub_append,
        .truncate = stub_truncate,
        .snapshot_put = stub_snapshot_put,
        .time = stub_time,
        .random = stub_random,
    };
    fsm = (struct raft_fsm){
        .version = 1, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore
    };
    now = 10000;
    n_sent = n_appends = n_load = n_completions = applied = 0;
    put_req = NULL;
    cut_at = truncated_at = 0;
    failed[0] = 0;
    ready_term = 0;
    load_term = 1;
    load_snapshot = 0;
    return 0;
}

static void start(void)
{
    struct guard_hooks hooks = { .on_ready = on_ready, .on_fail = on_fail, .on_cut = on_cut };
    struct raft_configuration c;

    guard = (struct guard){ 0 };
    assert_int_equal(raft_init(&raft, &io, &fsm, 1, "1"), 0);
    guard_install(&guard, &raft, &hooks);
    raft_set_pre_vote(&raft, false);
    if (load_snapshot != 0) {
        configuration(&c, 3);
        guard_set_snapshot_conf(&guard, &c, 1);
        raft_configuration_close(&c);
    }
    assert_int_equal(raft_start(&raft), 0);
    guard_started(&guard);
}

/* Node 1 of three, with `n` commands of term 1 behind the configuration. */
static void start_three(unsigned n)
{
    load_entry(1, 3);
    while (n-- > 0) {
        load_entry(1, 0);
    }
    start();
}

static int stop(void **state)
{
    (void)state;
    raft_close(&raft, NULL);
    settle();
    guard_done(&guard);
    return 0;
}

static void vote_for_us(raft_id from)
{
    struct raft_message m = { .type = RAFT_IO_REQUEST_VOTE_RESULT, .server_id = from };

    m.request_vote_result.term = raft.current_term;
    m.request_vote_result.vote_granted = true;
    m.request_vote_result.pre_vote = raft_tribool_false;
    do_recv(&m);
}

static void become_leader(void)
{
    do_tick(3000);
    assert_int_equal(raft.state, RAFT_CANDIDATE);
    vote_for_us(2);
    assert_int_equal(raft.state, RAFT_LEADER);
}

static void ack(raft_id from, raft_index index)
{
    struct raft_message m = { .type = RAFT_IO_APPEND_ENTRIES_RESULT, .server_id = from };

    m.append_entries_result.term = raft.current_term;
    m.append_entries_result.last_log_index = index;
    do_recv(&m);
}

/* --- rules --- */

static void rule1_barrier_first(void **state)
{
    (void)state;
    start_three(1); /* 1 configuration, 2 command of term 1, perhaps not committed */
    become_leader();
    assert_int_equal(n_appends, 1); /* the barrier, at once */
    assert_int_equal(raft_last_index(&raft), 3);
    ack(2, 2); /* a majority has the old entry */
    assert_int_equal(raft.commit_index, 1);
    assert_int_equal(guard.stats.acks_delayed, 1);
    ack(2, 3);
    stored();
    /* The ack that was kept back counts now, with the barrier. */
    assert_int_equal(raft.commit_index, 3);
    assert_int_equal(ready_term, raft.current_term);
    assert_true(guard_ready(&guard));
}

static void rule2_only_what_was_checked(void **state)
{
    const struct raft_message *m;

    (void)state;
    start_three(5); /* 6 entries; the leader knows of 2 */
    do_append(2, 2, 1, 0, 0, 0);
    m = last_sent(RAFT_IO_APPEND_ENTRIES_RESULT);
    assert_int_equal(m->append_entries_result.rejected, 0);
    assert_int_equal(m->append_entries_result.last_log_index, 2);
    assert_int_equal(guard.stats.acks_clamped, 1);
    /* A later term starts over. */
    do_append(3, 4, 1, 0, 0, 0);
    assert_int_equal(last_sent(RAFT_IO_APPEND_ENTRIES_RESULT)->append_entries_result.last_log_index,
                     4);
    do_append(4, 3, 1, 0, 0, 0);
    assert_int_equal(last_sent(RAFT_IO_APPEND_ENTRIES_RESULT)->append_entries_result.last_log_index,
                     3);
}

static void rule3_no_late_ack_to_the_new_leader(void **state)
{
    (void)state;
    start_three(0);
    do_append(2, 1, 1, 0, 1, 2);
    assert_int_equal(n_appends, 1);
    do_append(3, 1, 1, 0, 0, 0); /* another leader, while the write is under way */
    n_sent = 0;
    stored();
    assert_int_equal(count_sent(RAFT_IO_APPEND_ENTRIES_RESULT), 0);
    assert_int_equal(guard.stats.acks_muted, 1);
}

static void rule4_no_election_with_writes_under_way(void **state)
{
    struct raft_message m = { .type = RAFT_IO_TIMEOUT_NOW, .server_id = 2 };

    (void)state;
    start_three(0);
    do_append(2, 1, 1, 0, 1, 2);
    for (int i = 0; i < 10; i++) {
        do_tick(1000);
    }
    assert_int_equal(raft.state, RAFT_FOLLOWER);
    assert_true(guard.stats.timeouts_held > 0);
    m.timeout_now.term = 2;
    m.timeout_now.last_log_index = 2;
    m.timeout_now.last_log_term = 2;
    do_recv(&m);
    assert_int_equal(raft.state, RAFT_FOLLOWER);
    stored();
    do_tick(3000);
    assert_int_equal(raft.state, RAFT_CANDIDATE);
}

static void rule6_no_snapshot_of_an_uncommitted_configuration(void **state)
{
    (void)state;
    load_entry(1, 3);
    load_entry(1, 4); /* may or may not be committed */
    start();
    assert_int_equal(raft.configuration.n, 4);
    assert_false(guard_may_snapshot(&guard));
    do_append(2, 2, 1, 2, 0, 0); /* it is */
    assert_int_equal(raft.commit_index, 2);
    assert_true(guard_may_snapshot(&guard));
    assert_int_equal(raft.configuration_index, 2);
}

static void rule7_restart_with_an_uncommitted_configuration(void **state)
{
    struct raft_change change;

    (void)state;
    load_entry(1, 3);
    load_entry(1, 4);
    start();
    assert_int_equal(raft.configuration_index, 1);
    assert_int_equal(raft.configuration_uncommitted_index, 2);
    do_tick(3000);
    vote_for_us(2);
    vote_for_us(3);
    assert_int_equal(raft.state, RAFT_LEADER);
    assert_false(guard_ready(&guard));
    assert_int_equal(raft_add(&raft, &change, 9, "9", NULL), RAFT_CANTCHANGE);
    stored();
    ack(2, 3);
    ack(3, 3);
    assert_true(guard_ready(&guard));
    assert_int_equal(raft.configuration_index, 2);
    assert_int_equal(raft.configuration_uncommitted_index, 0);
}

static void rule8_roll_back_without_the_entry(void **state)
{
    (void)state;
    /* The committed configuration is only in the snapshot, the next one is not committed. */
    load_snapshot = 10;
    load_snapshot_term = 1;
    load_entry(1, 0);
    load_entry(1, 4);
    start();
    assert_int_equal(raft.configuration.n, 4);
    assert_int_equal(raft.configuration_uncommitted_index, 12);
    do_append(2, 11, 1, 0, 1, 2);
    assert_int_equal(truncated_at, 12);
    assert_int_equal(raft.configuration.n, 3);
    assert_int_equal(raft.configuration_index, 1);
    assert_int_equal(raft.configuration_uncommitted_index, 0);
    assert_int_equal(guard.stats.rollbacks, 1);
    assert_string_equal(failed, "");
}

static void rule10_no_truncation_under_writes(void **state)
{
    (void)state;
    start_three(0);
    do_append(2, 1, 1, 0, 2, 2);
    assert_int_equal(n_appends, 1);
    do_append(3, 1, 1, 0, 1, 3); /* contradicts entry 2, which is being written */
    assert_int_equal(truncated_at, 0);
    assert_int_equal(guard.stats.conflicts_put_off, 1);
    stored();
    do_append(3, 1, 1, 0, 1, 3);
    assert_int_equal(truncated_at, 2);
}

static void install_msg(struct raft_message *m, raft_term term, raft_index index,
                        raft_term last_term)
{
    *m = (struct raft_message){ .type = RAFT_IO_INSTALL_SNAPSHOT, .server_id = 2 };
    m->install_snapshot = (struct raft_install_snapshot){
        .term = term, .last_index = index, .last_term = last_term, .conf_index = 1
    };
    configuration(&m->install_snapshot.conf, 3);
    m->install_snapshot.data = command();
}

static void rule11_snapshot_against_a_younger_log(void **state)
{
    struct raft_message m;

    (void)state;
    load_entry(1, 3);
    load_entry(4, 0);
    load_entry(4, 0);
    load_term = 4;
    start();
    install_msg(&m, 6, 3, 2); /* entry 3 of term 2 is committed, ours of term 4 is not */
    do_recv(&m);
    assert_int_equal(cut_at, 3);
    assert_null(put_req);
}

static void rule12_transfer_waits_for_the_target(void **state)
{
    (void)state;
    start_three(0);
    become_leader();
    stored();
    assert_int_equal(guard_transfer(&guard, 2, NULL), RAFT_BUSY);
    ack(2, 2);
    n_sent = 0;
    assert_int_equal(guard_transfer(&guard, 2, NULL), 0);
    assert_int_equal(count_sent(RAFT_IO_TIMEOUT_NOW), 1);
    assert_int_equal(guard_transfer(&guard, 2, NULL), RAFT_NOTLEADER); /* one is pending */
    assert_int_equal(guard_transfer(&guard, 9, NULL), RAFT_NOTLEADER);
}

static void rule17_commit_only_what_was_checked(void **state)
{
    (void)state;
    start_three(5); /* entries 3...6 may be anybody's */
    do_append(2, 2, 1, 6, 0, 0);
    assert_int_equal(raft.commit_index, 2);
    assert_int_equal(applied, 1);
    assert_int_equal(guard.stats.commits_clamped, 1);
}

static void rule18_one_vote_a_term(void **state)
{
    struct raft_message m = { .type = RAFT_IO_REQUEST_VOTE, .server_id = 3 };

    (void)state;
    start_three(0);
    become_leader();
    stored();
    ack(2, 2);
    assert_int_equal(guard_transfer(&guard, 2, NULL), 0);
    /* Node 3 is faster and gets our vote of the next term... */
    m.request_vote = (struct raft_request_vote){ .term = raft.current_term + 1,
                                                 .candidate_id = 3,
                                                 .last_log_index = 2,
                                                 .last_log_term = raft.current_term,
                                                 .disrupt_leader = true };
    do_recv(&m);
    assert_true(last_sent(RAFT_IO_REQUEST_VOTE_RESULT)->request_vote_result.vote_granted);
    assert_int_equal(saved_vote, 3);
    /* ...so the target of the transfer must not have it too. */
    n_sent = 0;
    m.server_id = m.request_vote.candidate_id = 2;
    do_recv(&m);
    assert_int_equal(saved_vote, 3);
    assert_int_equal(count_sent(RAFT_IO_REQUEST_VOTE_RESULT), 0);
    assert_int_equal(guard.stats.votes_refused, 1);
}

static void rule19_an_installed_snapshot_settles(void **state)
{
    struct raft_io_snapshot_put *req;
    struct raft_message m;

    (void)state;
    load_entry(1, 3);
    load_entry(1, 4);
    start();
    assert_int_equal(raft.configuration_uncommitted_index, 2);
    install_msg(&m, 2, 9, 2);
    do_recv(&m);
    req = put_req;
    assert_non_null(req);
    req->cb(req, 0);
    settle();
    assert_int_equal(raft.last_applied, 9);
    assert_int_equal(raft.configuration_uncommitted_index, 0);
    assert_true(guard_may_snapshot(&guard));
}

static void rule20_probes_below_our_snapshot(void **state)
{
    const struct raft_append_entries_result *res;

    (void)state;
    load_snapshot = 10;
    load_snapshot_term = 1;
    start();
    do_append(2, 4, 1, 12, 8, 1); /* 5...12; we have 10 and what is before */
    assert_int_equal(n_appends, 1);
    stored();
    res = &last_sent(RAFT_IO_APPEND_ENTRIES_RESULT)->append_entries_result;
    assert_int_equal(res->rejected, 0);
    assert_int_equal(res->last_log_index, 12);
    assert_int_equal(raft.commit_index, 12);
    do_append(2, 4, 1, 12, 2, 1);
    res = &last_sent(RAFT_IO_APPEND_ENTRIES_RESULT)->append_entries_result;
    assert_int_equal(res->rejected, 0);
    assert_string_equal(failed, "");
    do_append(2, 4, 1, 12, 8, 2); /* entry 10 is of another term there */
    assert_true(strlen(failed) > 0);
}

static void rule21_votes_outside_its_configuration(void **state)
{
    struct raft_message m = { .type = RAFT_IO_REQUEST_VOTE, .server_id = 2 };
    struct raft_configuration c;

    (void)state;
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 2, "2", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&c, 1, "1", RAFT_STANDBY), 0);
    load_entries[n_load++] = (struct raft_entry){ .term = 1, .type = RAFT_CHANGE };
    assert_int_equal(raft_configuration_encode(&c, &load_entries[0].buf), 0);
    raft_configuration_close(&c);
    start();
    m.request_vote = (struct raft_request_vote){
        .term = 2, .candidate_id = 2, .last_log_index = 5, .last_log_term = 1
    };
    do_recv(&m);
    assert_true(last_sent(RAFT_IO_REQUEST_VOTE_RESULT)->request_vote_result.vote_granted);
    assert_int_equal(saved_vote, 2);
    assert_int_equal(raft.configuration.n, 2);
    assert_int_equal(raft.configuration.servers[1].role, RAFT_STANDBY);
}

static void rule22_every_election_asks_first(void **state)
{
    struct raft_message m = { .type = RAFT_IO_REQUEST_VOTE_RESULT, .server_id = 2 };
    raft_term term;

    (void)state;
    start_three(0);
    raft_set_pre_vote(&raft, true);
    do_tick(3000);
    assert_true(raft.candidate_state.in_pre_vote);
    m.request_vote_result.term = raft.current_term + 1;
    m.request_vote_result.vote_granted = true;
    m.request_vote_result.pre_vote = raft_tribool_true;
    do_recv(&m); /* the pre-vote is won, the vote is not */
    assert_false(raft.candidate_state.in_pre_vote);
    term = raft.current_term;
    for (int i = 0; i < 5; i++) {
        do_tick(3000);
        assert_int_equal(raft.state, RAFT_CANDIDATE);
        assert_true(raft.candidate_state.in_pre_vote);
    }
    assert_int_equal(raft.current_term, term);
}

static void a_silent_leader_is_forgotten(void **state)
{
    struct raft_message m = { .type = RAFT_IO_REQUEST_VOTE, .server_id = 3 };

    (void)state;
    start_three(0);
    raft.follower_state.randomized_election_timeout = 1900;
    do_append(2, 1, 1, 1, 0, 0);
    m.request_vote = (struct raft_request_vote){
        .term = 3, .candidate_id = 3, .last_log_index = 1, .last_log_term = 1
    };
    do_recv(&m);
    assert_false(last_sent(RAFT_IO_REQUEST_VOTE_RESULT)->request_vote_result.vote_granted);
    do_tick(1100); /* more than one election time-out, less than our own patience */
    assert_int_equal(raft.state, RAFT_FOLLOWER);
    do_recv(&m);
    assert_true(last_sent(RAFT_IO_REQUEST_VOTE_RESULT)->request_vote_result.vote_granted);
}

static void two_leaders_in_a_term_end_it(void **state)
{
    (void)state;
    start_three(0);
    become_leader();
    do_append(raft.current_term, 1, 1, 1, 0, 0);
    assert_non_null(strstr(failed, "two leaders"));
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, reset, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(rule1_barrier_first),
        RULE(rule2_only_what_was_checked),
        RULE(rule3_no_late_ack_to_the_new_leader),
        RULE(rule4_no_election_with_writes_under_way),
        RULE(rule6_no_snapshot_of_an_uncommitted_configuration),
        RULE(rule7_restart_with_an_uncommitted_configuration),
        RULE(rule8_roll_back_without_the_entry),
        RULE(rule10_no_truncation_under_writes),
        RULE(rule11_snapshot_against_a_younger_log),
        RULE(rule12_transfer_waits_for_the_target),
        RULE(rule17_commit_only_what_was_checked),
        RULE(rule18_one_vote_a_term),
        RULE(rule19_an_installed_snapshot_settles),
        RULE(rule20_probes_below_our_snapshot),
        RULE(rule21_votes_outside_its_configuration),
        RULE(rule22_every_election_asks_first),
        RULE(a_silent_leader_is_forgotten),
        RULE(two_leaders_in_a_term_end_it),
    };

    return cmocka_run_group_tests_name("raft_guard", tests, NULL, NULL);
}
