/* Three nodes of the replicated log in one process, over loopback, with real files. */

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "raft/rep.h"

#define N_MAX 4
#define PATIENCE_MS 20000

/* --- a state machine: all commands in a row --- */

struct node {
    struct rep *rep;
    uint64_t id;
    char name[16], address[32], dir[128];
    struct tls_ctx *tls;
    struct buf state; /* "cmd;cmd;..." */
    uint64_t applied_term;
    uint64_t last_index;
    uint64_t ready_term;
    unsigned restores, snapshots;
    uint64_t leader_ms;
};

static uv_loop_t loop;
static struct node nodes[N_MAX];
static char base_dir[64];
static uint64_t snapshot_bytes;
static uv_timer_t wake;

static void fsm_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                      const struct rep_cmd *cmds, size_t n, struct buf *results)
{
    struct node *o = ctx;

    assert_true(index > o->last_index);
    assert_true(term >= o->applied_term);
    assert_true(leader_ms > 0);
    o->last_index = index;
    o->applied_term = term;
    o->leader_ms = leader_ms;
    for (size_t i = 0; i < n; i++) {
        buf_add(&o->state, cmds[i].data, cmds[i].len);
        buf_add_byte(&o->state, ';');
        buf_printf(&results[i], "done %.*s", (int)cmds[i].len, (const char *)cmds[i].data);
    }
}

struct pinned {
    uint8_t *data;
    size_t len;
    uint64_t index;
};

static void *fsm_begin(void *ctx)
{
    struct node *o = ctx;
    struct pinned *p = OBJ_NEW(struct pinned);

    p->data = mem_dup(o->state.data, o->state.len);
    p->len = o->state.len;
    p->index = o->last_index;
    o->snapshots++;
    return p;
}

static int fsm_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    const struct pinned *p = snap;
    uint64_t head[2] = { p->len, p->index };
    int rc = sink->write(sink, head, sizeof(head), err);

    (void)ctx;
    return rc != 0 ? rc : sink->write(sink, p->data, p->len, err);
}

static void fsm_end(void *ctx, void *snap)
{
    struct pinned *p = snap;

    (void)ctx;
    free(p->data);
    free(p);
}

static int fsm_restore(void *ctx, struct rep_source *source, struct err *err)
{
    struct node *o = ctx;
    uint64_t head[2];
    int rc = source->read(source, head, sizeof(head), err);

    if (rc != 0) {
        return rc;
    }
    buf_clear(&o->state);
    rc = source->read(source, buf_reserve(&o->state, head[0]), head[0], err);
    if (rc == 0) {
        buf_commit(&o->state, head[0]);
        o->last_index = head[1];
        o->applied_term = 0;
        o->restores++;
    }
    return rc;
}

static void on_ready(void *ctx, uint64_t term)
{
    ((struct node *)ctx)->ready_term = term;
}

static void on_call(void *ctx, uint64_t from, const char *name, uint16_t kind, const uint8_t *data,
                    size_t len, uint64_t call_id)
{
    struct node *o = ctx;
    struct err err;
    char text[128];
    int n;

    if (kind == 2) {
        (void)err_set(&err, ERR_DENIED, "not today");
        rep_reply(o->rep, call_id, &err, NULL, 0);
        return;
    }
    n = snprintf(text, sizeof(text), "%s(%d) to %s: %.*s", name, (int)from, o->name, (int)len,
                 (const char *)data);
    rep_reply(o->rep, call_id, NULL, text, (size_t)n);
}

/* --- running --- */

static void on_wake(uv_timer_t *t)
{
    (void)t;
}

static bool run_until(bool (*done)(void *ctx), void *ctx)
{
    uint64_t until = clock_now_ms() + PATIENCE_MS;

    while (!done(ctx)) {
        if (clock_now_ms() > until) {
            return false;
        }
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    return true;
}

static bool flag_is_set(void *ctx)
{
    return *(bool *)ctx;
}

static void free_port(char *dst, size_t size)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)snprintf(dst, size, "127.0.0.1:%u", ntohs(a.sin_port));
    (void)close(fd);
}

static int try_start(struct node *o, struct err *err)
{
    struct rep_params p = {
        .loop = &loop,
        .dir = o->dir,
        .id = o->id,
        .name = o->name,
        .listen = o->address,
        .cluster = "11111111-2222-4333-8444-555555555555",
        .tls = o->tls,
        .heartbeat_ms = 50,
        .election_ms = 300,
        .snapshot_bytes = snapshot_bytes,
        .segment_bytes = 4u << 20,
        .fsm = { .ctx = o,
                 .apply = fsm_apply,
                 .snap_begin = fsm_begin,
                 .snap_write = fsm_write,
                 .snap_end = fsm_end,
                 .restore = fsm_restore },
        .events = { .ctx = o, .on_lead_ready = on_ready, .on_call = on_call },
    };

    buf_clear(&o->state);
    o->last_index = o->applied_term = o->ready_term = 0;
    return rep_open(&p, &o->rep, err);
}

static void start(struct node *o)
{
    struct err err;

    if (try_start(o, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static void stop(struct node *o)
{
    rep_free(o->rep);
    o->rep = NULL;
}

static void prepare(size_t n, struct tls_ctx **tls)
{
    struct rep_member m[N_MAX];
    struct err err;

    snapshot_bytes = 0;
    (void)snprintf(base_dir, sizeof(base_dir), "/tmp/picket-raft-XXXXXX");
    assert_non_null(mkdtemp(base_dir));
    for (size_t i = 0; i < N_MAX; i++) {
        struct node *o = &nodes[i];

        *o = (struct node){ .id = i + 1, .tls = tls == NULL ? NULL : tls[i] };
        (void)snprintf(o->name, sizeof(o->name), "host-%c", (char)('a' + i));
        (void)snprintf(o->dir, sizeof(o->dir), "%s/%s", base_dir, o->name);
        free_port(o->address, sizeof(o->address));
        m[i] = (struct rep_member){
            .id = o->id, .name = o->name, .address = o->address, .role = REP_VOTER
        };
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rep_bootstrap(nodes[i].dir, m, n, &err), 0);
    }
}

static void finish(void)
{
    char cmd[128];

    for (size_t i = 0; i < N_MAX; i++) {
        stop(&nodes[i]);
        buf_done(&nodes[i].state);
    }
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    (void)snprintf(cmd, sizeof(cmd), "rm -r %s", base_dir);
    assert_int_equal(system(cmd), 0);
}

/* --- what the tests wait for --- */

static struct node *ready_leader(void)
{
    for (size_t i = 0; i < N_MAX; i++) {
        if (nodes[i].rep != NULL && rep_lead_ready(nodes[i].rep)) {
            return &nodes[i];
        }
    }
    return NULL;
}

static bool have_leader(void *ctx)
{
    const struct node *l = ready_leader();
    bool all = l != NULL;

    (void)ctx;
    for (size_t i = 0; all && i < N_MAX; i++) {
        all = nodes[i].rep == NULL || rep_leader(nodes[i].rep) == l->id;
    }
    return all;
}

static struct node *wait_leader(void)
{
    assert_true(run_until(have_leader, NULL));
    return ready_leader();
}

static bool all_equal(void *ctx)
{
    const struct node *first = NULL;

    (void)ctx;
    for (size_t i = 0; i < N_MAX; i++) {
        const struct node *o = &nodes[i];

        if (o->rep == NULL) {
            continue;
        }
        first = first == NULL ? o : first;
        if (rep_applied(o->rep) != rep_applied(first->rep) || o->state.len != first->state.len ||
            (o->state.len > 0 && memcmp(o->state.data, first->state.data, o->state.len) != 0)) {
            return false;
        }
    }
    return true;
}

/* --- requests --- */

struct want {
    struct rep_req req;
    bool over;
    int code;
    uint64_t index;
    char result[128];
    char expect[32];
    struct node *on;
};

static void on_proposed(struct rep_req *req, const struct err *err, uint64_t index,
                        const uint8_t *result, size_t len)
{
    struct want *w = req->data;

    assert_false(w->over);
    w->over = true;
    w->code = err == NULL ? 0 : err->code;
    w->index = index;
    if (err == NULL) {
        (void)snprintf(w->result, sizeof(w->result), "%.*s", (int)len, (const char *)result);
        /* The local state contains it. */
        assert_non_null(strstr(buf_cstr(&w->on->state), w->expect));
    }
}

static void on_read(struct rep_req *req, const struct err *err)
{
    struct want *w = req->data;

    w->over = true;
    w->code = err == NULL ? 0 : err->code;
}

static void on_changed(struct rep_req *req, const struct err *err)
{
    on_read(req, err);
    if (err != NULL) {
        print_message("change: %s\n", err->msg);
    }
}

static void on_called(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct want *w = req->data;

    w->over = true;
    w->code = err == NULL ? 0 : err->code;
    (void)snprintf(w->result, sizeof(w->result), "%.*s", err == NULL ? (int)len : 100,
                   err == NULL ? (const char *)data : err->msg);
}

static void propose(struct node *o, struct want *w, const char *cmd)
{
    *w = (struct want){ .on = o };
    (void)snprintf(w->expect, sizeof(w->expect), "%s;", cmd);
    w->req.data = w;
    rep_propose(o->rep, &w->req, cmd, strlen(cmd), 10000, on_proposed);
    assert_false(w->over);
}

static void must_propose(struct node *o, const char *cmd)
{
    struct want w;
    char expect[128];

    propose(o, &w, cmd);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
    (void)snprintf(expect, sizeof(expect), "done %s", cmd);
    assert_string_equal(w.result, expect);
}

static void must_read(struct node *o)
{
    struct want w = { .on = o };

    w.req.data = &w;
    rep_read(o->rep, &w.req, 10000, on_read);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
}

static struct node *other_than(const struct node *a, const struct node *b)
{
    size_t i = 0;

    while (i < N_MAX && (nodes[i].rep == NULL || &nodes[i] == a || &nodes[i] == b)) {
        i++;
    }
    assert_true(i < N_MAX);
    return &nodes[i];
}

/* --- tests --- */

static void single_node(void **state)
{
    struct node *o = &nodes[0];
    struct rep_member m = { .id = 1, .name = "host-a", .address = "127.0.0.1:1" };
    struct err err;

    (void)state;
    prepare(1, NULL);
    assert_int_equal(rep_bootstrap(o->dir, &m, 1, &err), ERR_EXISTS);
    start(o);
    assert_ptr_equal(wait_leader(), o);
    must_propose(o, "one");
    must_propose(o, "two");
    must_read(o);
    assert_true(o->ready_term == rep_term(o->rep));
    stop(o);
    start(o);
    assert_ptr_equal(wait_leader(), o);
    must_read(o);
    assert_string_equal(buf_cstr(&o->state), "one;two;");
    finish();
}

static void three_nodes(void **state)
{
    struct rep_peer_info info[N_MAX];
    struct rep_stats stats;
    struct node *l, *f;
    char cmd[32];

    (void)state;
    prepare(3, *state);
    for (size_t i = 0; i < 3; i++) {
        start(&nodes[i]);
    }
    l = wait_leader();
    f = other_than(l, NULL);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(cmd, sizeof(cmd), "cmd-%d", i);
        must_propose(i % 2 == 0 ? l : f, cmd);
        must_read(i % 2 == 0 ? f : l);
    }
    assert_true(run_until(all_equal, NULL));
    assert_int_equal(rep_peers(l->rep, info, N_MAX), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(info[i].reachable);
        assert_int_equal(info[i].match_index, rep_applied(l->rep));
        assert_string_equal(info[i].name, nodes[info[i].id - 1].name);
    }
    assert_string_equal(rep_leader_name(f->rep), l->name);
    rep_stats(l->rep, &stats);
    assert_int_equal(stats.log_first, 1);
    assert_int_equal(stats.log_last, rep_applied(l->rep));
    assert_true(stats.log_write_count > 20 && stats.log_write_max_us > 0);
    assert_true(stats.log_write_sum_us >= stats.log_write_max_us);
    assert_int_equal(stats.queued_bytes, 0);
    assert_false(stats.disk_full);
    finish();
}

static void many_at_once(void **state)
{
    static struct want w[3000];
    struct node *l, *f;
    bool ok = true;

    (void)state;
    prepare(3, NULL);
    for (size_t i = 0; i < 3; i++) {
        start(&nodes[i]);
    }
    l = wait_leader();
    f = other_than(l, NULL);
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        char cmd[32];

        (void)snprintf(cmd, sizeof(cmd), "c%zu", i);
        propose(i % 3 == 0 ? f : l, &w[i], cmd);
        w[i].expect[0] = 0; /* strstr would be quadratic */
    }
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        assert_true(run_until(flag_is_set, &w[i].over));
        ok = ok && w[i].code == 0;
    }
    assert_true(ok);
    assert_true(run_until(all_equal, NULL));
    /* Grouped: far fewer entries than commands. */
    assert_true(rep_applied(l->rep) < 200);
    finish();
}

static void leader_loss(void **state)
{
    struct node *l, *f, *g, *next;
    struct want w;
    uint64_t term;

    (void)state;
    prepare(3, *state);
    for (size_t i = 0; i < 3; i++) {
        start(&nodes[i]);
    }
    l = wait_leader();
    term = rep_term(l->rep);
    must_propose(l, "before");
    f = other_than(l, NULL);
    g = other_than(l, f);
    stop(l);
    propose(f, &w, "while"); /* goes on when there is a leader again, or its outcome is unknown */
    next = wait_leader();
    assert_true(next == f || next == g);
    assert_true(rep_term(next->rep) > term);
    assert_true(run_until(flag_is_set, &w.over));
    assert_true(w.code == 0 || w.code == ERR_UNKNOWN_OUTCOME);
    must_propose(f, "after");
    must_propose(g, "after2");
    start(l);
    must_read(l);
    must_propose(l, "again");
    assert_true(run_until(all_equal, NULL));
    assert_true(str_starts(buf_cstr(&l->state), "before;"));
    assert_true(str_ends(buf_cstr(&l->state), "after;after2;again;"));
    /* Without a majority nothing happens, and it says so. */
    stop(l);
    stop(next);
    f = other_than(NULL, NULL);
    w = (struct want){ .on = f };
    w.req.data = &w;
    rep_read(f->rep, &w.req, 1500, on_read);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, ERR_NO_QUORUM);
    finish();
}

static void transfer_and_calls(void **state)
{
    struct node *l, *f;
    struct want w = { 0 };
    struct err err;

    (void)state;
    prepare(3, NULL);
    for (size_t i = 0; i < 3; i++) {
        start(&nodes[i]);
    }
    l = wait_leader();
    f = other_than(l, NULL);
    assert_int_equal(rep_transfer(f->rep, 0, &err), ERR_NOT_LEADER);
    assert_int_equal(rep_transfer(l->rep, l->id, &err), ERR_INVALID);
    must_propose(l, "x");
    assert_int_equal(rep_transfer(l->rep, f->id, &err), 0);
    propose(l, &w, "held back");
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
    assert_ptr_equal(wait_leader(), f);

    w = (struct want){ .req.data = &w };
    rep_call(l->rep, 0, 1, "hello", 5, 5000, &w.req, on_called);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
    assert_non_null(strstr(w.result, "hello"));
    assert_non_null(strstr(w.result, l->name));
    w = (struct want){ .req.data = &w };
    rep_call(f->rep, 0, 1, "self", 4, 5000, &w.req, on_called);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
    w = (struct want){ .req.data = &w };
    rep_call(l->rep, f->id, 2, "", 0, 5000, &w.req, on_called);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, ERR_DENIED);
    assert_string_equal(w.result, "not today");
    w = (struct want){ .req.data = &w };
    rep_call(l->rep, 77, 2, "", 0, 5000, &w.req, on_called);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, ERR_UNREACHABLE);
    finish();
}

static void fill(struct node *o, int n, const char *tag)
{
    static struct want w[64];
    char cmd[2100];

    for (int i = 0; i < n; i += 64) {
        for (int k = 0; k < 64; k++) {
            int len = snprintf(cmd, sizeof(cmd), "%s%d-", tag, i + k);

            memset(cmd + len, 'x', 2000);
            cmd[len + 2000] = 0;
            propose(o, &w[k], cmd);
            w[k].expect[0] = 0;
        }
        for (int k = 0; k < 64; k++) {
            assert_true(run_until(flag_is_set, &w[k].over));
            assert_int_equal(w[k].code, 0);
        }
    }
}

static void snapshots(void **state)
{
    struct node *l, *lagging;
    unsigned commands = 0;

    (void)state;
    prepare(3, *state);
    snapshot_bytes = 1u << 20;
    for (size_t i = 0; i < 3; i++) {
        start(&nodes[i]);
    }
    l = wait_leader();
    lagging = other_than(l, NULL);
    fill(l, 640, "a");
    stop(lagging);
    fill(l, 3840, "b"); /* some 7 MiB: its entries are gone from the others' logs */
    assert_true(l->snapshots > 2);
    assert_int_equal(lagging->restores, 0);
    start(lagging);
    assert_true(run_until(all_equal, NULL));
    assert_true(lagging->restores > 0);
    fill(lagging, 64, "c");
    /* And everything can be started again from its own files. */
    for (size_t i = 0; i < 3; i++) {
        stop(&nodes[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        nodes[i].restores = 0;
        start(&nodes[i]);
        assert_true(nodes[i].restores > 0);
    }
    l = wait_leader();
    must_propose(l, "end");
    assert_true(run_until(all_equal, NULL));
    for (const char *p = buf_cstr(&l->state); *p != 0; p++) {
        commands += *p == ';';
    }
    assert_int_equal(commands, 640 + 3840 + 64 + 1);
    finish();
}

static bool other_leads(void *ctx)
{
    const struct node *l = ready_leader();

    return l != NULL && l != ctx;
}

static void membership(void **state)
{
    struct node *l, *old, *new = &nodes[3];
    struct rep_member m = { .id = 4, .role = REP_VOTER };
    struct rep_peer_info info[N_MAX];
    struct want w = { .req.data = &w };

    (void)state;
    prepare(3, NULL);
    for (size_t i = 0; i < 3; i++) {
        start(&nodes[i]);
    }
    l = wait_leader();
    must_propose(l, "one");
    start(new); /* empty, waits to be added */
    m.name = new->name;
    m.address = new->address;
    rep_add(l->rep, &w.req, &m, on_changed);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
    must_propose(new, "two");
    assert_true(run_until(all_equal, NULL));
    assert_int_equal(rep_peers(l->rep, info, N_MAX), 4);
    w = (struct want){ .req.data = &w };
    rep_add(l->rep, &w.req, &m, on_changed);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, ERR_EXISTS);
    /* The leader leaves: it hands over first, the others go on. */
    old = l;
    w = (struct want){ .req.data = &w };
    rep_remove(old->rep, &w.req, old->id, on_changed);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, ERR_NOT_LEADER);
    assert_true(run_until(other_leads, old));
    l = ready_leader();
    CHECK(l != NULL);
    w = (struct want){ .req.data = &w };
    rep_remove(l->rep, &w.req, old->id, on_changed);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
    stop(old);
    l = wait_leader();
    must_propose(new, "three");
    assert_int_equal(rep_peers(l->rep, info, N_MAX), 3);
    w = (struct want){ .req.data = &w };
    rep_assign(l->rep, &w.req, other_than(l, NULL)->id, REP_STANDBY, on_changed);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, 0);
    w = (struct want){ .req.data = &w };
    rep_remove(l->rep, &w.req, 99, on_changed);
    assert_true(run_until(flag_is_set, &w.over));
    assert_int_equal(w.code, ERR_NOT_FOUND);
    must_propose(l, "four");
    assert_true(run_until(all_equal, NULL));
    finish();
}

/* --- certificates --- */

static struct tls_ctx *tls[N_MAX], **tls_list = tls;
static struct tls_ctx **no_tls;
static char pki_dir[64];

static int make_tls(void **state)
{
    struct err err;

    (void)snprintf(pki_dir, sizeof(pki_dir), "/tmp/picket-raft-pki-XXXXXX");
    assert_non_null(mkdtemp(pki_dir));
    assert_int_equal(pki_make_ca(pki_dir, "11111111-2222-4333-8444-555555555555", &err), 0);
    for (int i = 0; i < 3; i++) {
        char crt[96], key[96], ca[96], name[16];
        struct pki_subject s = { .role = "picket:voters",
                                 .name = name,
                                 .cluster = "11111111-2222-4333-8444-555555555555",
                                 .ip = "127.0.0.1" };

        (void)snprintf(name, sizeof(name), "host-%c", 'a' + i);
        (void)snprintf(crt, sizeof(crt), "%s/%s.crt", pki_dir, name);
        (void)snprintf(key, sizeof(key), "%s/%s.key", pki_dir, name);
        (void)snprintf(ca, sizeof(ca), "%s/ca.crt", pki_dir);
        assert_int_equal(pki_issue(pki_dir, &s, crt, key, &err), 0);
        assert_int_equal(tls_ctx_load(crt, key, ca, s.cluster, &tls[i], &err), 0);
    }
    *state = tls_list;
    return 0;
}

static int drop_tls(void **state)
{
    char cmd[128];

    (void)state;
    for (int i = 0; i < 3; i++) {
        tls_ctx_unref(tls[i]);
    }
    (void)snprintf(cmd, sizeof(cmd), "rm -r %s", pki_dir);
    return system(cmd);
}

static int plain(void **state)
{
    *state = no_tls;
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    lg_set_level(LG_WARN);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_timer_init(&loop, &wake), 0);
    return uv_timer_start(&wake, on_wake, 10, 10);
}

static int tear_down(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&wake, NULL);
    while (uv_run(&loop, UV_RUN_NOWAIT) != 0) {
    }
    return uv_loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(single_node, plain),
        cmocka_unit_test_setup(three_nodes, plain),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test_setup(leader_loss, plain),
        cmocka_unit_test(transfer_and_calls),
        cmocka_unit_test_setup(snapshots, plain),
        cmocka_unit_test(membership),
        cmocka_unit_test_setup_teardown(three_nodes, make_tls, drop_tls),
        cmocka_unit_test_setup_teardown(snapshots, make_tls, drop_tls),
    };

    return cmocka_run_group_tests_name("raft_cluster", tests, set_up, tear_down);
}
