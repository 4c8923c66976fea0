#include "cmd/picketd/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/certs.h"
#include "cmd/picketd/console.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/exec.h"
#include "cmd/picketd/fsm.h"
#include "cmd/picketd/lease.h"
#include "cmd/picketd/links.h"
#include "cmd/picketd/member.h"
#include "cmd/picketd/native.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/probe.h"
#include "cmd/picketd/rawlease.h"
#include "cmd/picketd/rest.h"
#include "cmd/picketd/seal.h"
#include "cmd/picketd/upkeep.h"
#include "raft/rep_offline.h"

#define RETRY_MS 40U

/* A command on its way: submitted, perhaps repeated, answered once. */
struct node_op {
    struct rep_req req; /* first: comes back from rep */
    struct node *node;
    struct buf cmd;
    TAILQ_ENTRY(node_op) entry; /* while it waits for room in the session's window */
    node_cb *cb;
    void *data;
    uint64_t deadline_ms;
    uint64_t seq;     /* 0: without a session */
    uv_timer_t timer; /* `timed`: repeats, or brings an early refusal */
    struct err last;
    bool timed, done;
};

bool node_leads(const struct node *n)
{
    return rep_role(n->rep) == REP_LEADER && rep_lead_ready(n->rep);
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void op_free(struct node_op *op)
{
    buf_done(&op->cmd);
    free(op);
}

static void op_timer_closed(uv_handle_t *h)
{
    op_free(h->data);
}

static void op_after(struct node_op *op, uint64_t ms, uv_timer_cb cb)
{
    if (!op->timed) {
        op->timed = true;
        op->timer.data = op;
        CHECK(uv_timer_init(op->node->loop, &op->timer) == 0);
    }
    CHECK(uv_timer_start(&op->timer, cb, ms, 0) == 0);
}

static void window_leave(struct node *n, uint64_t seq);

static void op_finish(struct node_op *op, const struct err *err, const struct cmd_answer *ans)
{
    CHECK(!op->done);
    op->done = true;
    op->cb(op->data, err, ans);
    if (op->seq != 0) {
        window_leave(op->node, op->seq);
    }
    if (op->timed) {
        uv_close((uv_handle_t *)&op->timer, op_timer_closed);
    } else {
        op_free(op);
    }
}

static void op_send(struct node_op *op);

static void op_retry(uv_timer_t *t)
{
    op_send(t->data);
}

static bool op_may_retry(const struct node_op *op, const struct err *err)
{
    if (op->seq == 0 || clock_now_ms() >= op->deadline_ms) {
        return false;
    }
    return err->code == ERR_UNKNOWN_OUTCOME || err->code == ERR_NOT_LEADER ||
           err->code == ERR_NO_QUORUM || err->code == ERR_TIMEOUT || err->code == ERR_LIMIT;
}

static void op_fail(struct node_op *op, const struct err *err)
{
    /* Once an outcome was unknown it stays so until an answer says otherwise. */
    if (op->last.code != ERR_UNKNOWN_OUTCOME) {
        op->last = *err;
    }
    if (op_may_retry(op, err)) {
        op_after(op, RETRY_MS, op_retry);
        return;
    }
    op_finish(op, &op->last, NULL);
}

static void op_done(struct rep_req *req, const struct err *err, uint64_t index,
                    const uint8_t *result, size_t len)
{
    struct node_op *op = CONTAINER_OF(req, struct node_op, req);
    struct arena a = { 0 };
    struct cmd_answer ans;
    struct err e;

    (void)index;
    if (err != NULL) {
        op_fail(op, err);
        return;
    }
    if (cmd_answer_decode(result, len, &a, &ans, &e) != 0) {
        op_finish(op, &e, NULL);
    } else if (ans.code == ERR_STALE && op->seq != 0 &&
               store_session_owner(op->node->store, op->node->session) == NULL) {
        /* Crash-only: with a session that is closed this member can write nothing any more. */
        lg_err("node", "session=%llu msg=\"this member's session was closed: it starts again\"",
               (unsigned long long)op->node->session);
        _exit(1);
    } else if (ans.code != 0) {
        (void)err_set(&e, ans.code, "%s", ans.msg == NULL ? err_text(ans.code) : ans.msg);
        op_finish(op, &e, NULL);
    } else {
        op_finish(op, NULL, &ans);
    }
    arena_done(&a);
}

static void op_send(struct node_op *op)
{
    uint64_t now = clock_now_ms();
    uint64_t left = now < op->deadline_ms ? op->deadline_ms - now : 1;

    rep_propose(op->node->rep, &op->req, op->cmd.data, op->cmd.len, left, op_done);
}

static void op_reject(uv_timer_t *t)
{
    struct node_op *op = t->data;

    op_finish(op, &op->last, NULL);
}

/* --- the window of the session -----------------------------------------------------------------
 *
 * The store keeps the answers of a session's commands from the lowest unanswered one (ack) on, and
 * takes none that is too far ahead of it.  What does not fit waits here. */

static void window_number(struct node *n, struct cmd *cmd, struct node_op *op)
{
    op->seq = ++n->next_seq;
    cmd->session = n->session;
    cmd->seq = op->seq;
    cmd->ack = n->seq_low;
}

static bool window_has_room(const struct node *n)
{
    return n->next_seq + 1 - n->seq_low < NODE_WINDOW;
}

/* Encoded when it came, without its number: give it one. */
static void window_enter(struct node_op *op)
{
    struct arena a = { 0 };
    struct cmd cmd;

    CHECK(cmd_decode(op->cmd.data, op->cmd.len, &a, &cmd, &op->last) == 0);
    window_number(op->node, &cmd, op);
    buf_clear(&op->cmd);
    CHECK(cmd_encode(&cmd, &op->cmd, &op->last) == 0);
    arena_done(&a);
    op_send(op);
}

static void window_leave(struct node *n, uint64_t seq)
{
    struct node_op *op;

    n->seq_over[seq % NODE_WINDOW] = true;
    while (n->seq_low <= n->next_seq && n->seq_over[n->seq_low % NODE_WINDOW]) {
        n->seq_over[n->seq_low++ % NODE_WINDOW] = false;
    }
    while (window_has_room(n) && (op = TAILQ_FIRST(&n->waiting)) != NULL) {
        TAILQ_REMOVE(&n->waiting, op, entry);
        n->waiting_bytes -= op->cmd.len;
        window_enter(op);
    }
}

static int window_wait(struct node *n, struct node_op *op, struct err *err)
{
    if (n->waiting_bytes + op->cmd.len > NODE_WAITING_MAX) {
        return err_set(err, ERR_LIMIT, "%s has %u MiB of commands waiting already", n->opts.name,
                       NODE_WAITING_MAX >> 20);
    }
    TAILQ_INSERT_TAIL(&n->waiting, op, entry);
    n->waiting_bytes += op->cmd.len;
    return 0;
}

void node_submit(struct node *n, struct cmd *cmd, bool once, node_cb *cb, void *data)
{
    struct node_op *op = OBJ_NEW(struct node_op);
    bool wait = once && (!window_has_room(n) || !TAILQ_EMPTY(&n->waiting));

    op->node = n;
    op->cb = cb;
    op->data = data;
    op->deadline_ms = clock_now_ms() + NODE_TIMEOUT_MS;
    if (once && n->session == 0) {
        (void)err_set(&op->last, ERR_NO_QUORUM,
                      "%s has no quorum yet: it has not been able to open its session",
                      n->opts.name);
        op_after(op, 0, op_reject);
        return;
    }
    if (once && !wait) {
        window_number(n, cmd, op);
    }
    if (cmd_encode(cmd, &op->cmd, &op->last) != 0 || (wait && window_wait(n, op, &op->last) != 0)) {
        op_after(op, 0, op_reject);
        return;
    }
    if (!wait) {
        op_send(op);
    }
}

struct node_rd {
    struct rep_req req; /* first */
    node_read_cb *cb;
    void *data;
};

static void read_done(struct rep_req *req, const struct err *err)
{
    struct node_rd *r = CONTAINER_OF(req, struct node_rd, req);

    r->cb(r->data, err);
    free(r);
}

void node_read(struct node *n, node_read_cb *cb, void *data)
{
    struct node_rd *r = OBJ_NEW(struct node_rd);

    r->cb = cb;
    r->data = data;
    rep_read(n->rep, &r->req, NODE_READ_MS, read_done);
}

json_t *node_object(struct node *n, const char *plural, const char *name, struct err *err)
{
    return object_read(n->store, plural, name, err);
}

/* --- this node's session -----------------------------------------------------------------------
 */

static void session_open(struct node *n);

static void session_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct node *n = data;

    n->session_opening = false;
    if (err == NULL && ans->n_values > 0) {
        n->session = ans->values[0];
        lg_info("node", "session=%llu msg=\"session open\"", (unsigned long long)n->session);
    } else {
        lg_debug("node", "msg=\"session: %s\"", err == NULL ? "no value" : err->msg);
    }
}

static void session_open(struct node *n)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .text = n->opts.name };

    if (n->session != 0 || n->session_opening) {
        return;
    }
    n->session_opening = true;
    c.actor = (struct actor){ .role = ACTOR_EXECUTOR, .name = n->opts.name };
    node_submit(n, &c, false, session_done, n);
}

static void init_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    (void)data;
    (void)ans;
    if (err != NULL && err->code != ERR_EXISTS) {
        lg_warn("node", "msg=\"cluster init: %s\"", err->msg);
    }
}

/* The first leader of an empty store writes down what the cluster is. */
static void cluster_init(struct node *n, uint64_t term)
{
    struct cmd c = { .op = CMD_INIT, .text = n->opts.cluster, .number = 1, .number2 = n->opts.lab };

    if (store_get_str(n->store, "s/cluster") != NULL) {
        return;
    }
    c.actor = (struct actor){ .role = ACTOR_CONTROLLER, .name = n->opts.name, .term = term };
    node_submit(n, &c, false, init_done, n);
}

/* --- events of rep -----------------------------------------------------------------------------
 */

static void on_role(void *ctx, enum rep_role role, uint64_t term, uint64_t leader)
{
    struct node *n = ctx;
    struct timing t;

    if (leader != 0 && leader != n->id) {
        n->leaders_seen++;
    }
    if (leader == 0) {
        n->quorate_since_ms = 0;
    } else if (n->quorate_since_ms == 0) {
        n->quorate_since_ms = clock_now_ms();
    }
    lease_timing(n, &t);
    /* oneself only counts once the barrier is applied: nothing is renewed before */
    reign_known(&n->reign, leader != 0 && leader != n->id, clock_now_ms(), t.lease_ms);
    if (role != REP_LEADER) {
        lease_table_stop(n->leases);
        controller_stop(n->ctl);
        raw_leases_stop(n->raw_leases);
    }
    lg_info("node", "role=%s term=%llu leader=%s",
            role == REP_LEADER      ? "leader"
            : role == REP_CANDIDATE ? "candidate"
            : role == REP_FOLLOWER  ? "follower"
                                    : "unavailable",
            (unsigned long long)term,
            n->rep == NULL || leader == 0 ? "-" : rep_leader_name(n->rep));
    CHECK(role != REP_UNAVAILABLE); /* crash-only: the log replays and we start again */
}

static void on_lead_ready(void *ctx, uint64_t term)
{
    struct node *n = ctx;

    lg_info("node", "term=%llu msg=\"leading\"", (unsigned long long)term);
    cluster_init(n, term);
    lease_table_start(n->leases, term);
    controller_start(n->ctl, term);
    reign_known(&n->reign, true, clock_now_ms(), 0);
    raw_leases_start(n->raw_leases, term);
}

static void on_applied(void *ctx, uint64_t index, uint64_t hash)
{
    upkeep_applied(ctx, index, hash);
}

static void on_newer_epoch(void *ctx, uint64_t epoch, const char *name)
{
    links_superseded(ctx, epoch, name);
}

static void on_call(void *ctx, uint64_t from, const char *from_name, uint16_t kind,
                    const uint8_t *data, size_t len, uint64_t call_id)
{
    struct node *n = ctx;
    struct err e;

    if (kind == NODE_CALL_RENEW) {
        certs_call(n, from_name, data, len, call_id);
        return;
    }
    if (kind == NODE_CALL_INFO) {
        upkeep_info(n, call_id);
        return;
    }
    if (kind == NODE_CALL_DIVERGED) {
        upkeep_diverged(n, from, data, len, call_id);
        return;
    }
    if (kind == NODE_CALL_LEASE) {
        lease_table_call(n->leases, data, len, call_id);
        return;
    }
    if (kind == NODE_CALL_ALIVE) {
        lease_table_alive(n->leases, data, len, call_id);
        return;
    }
    if (kind == NODE_CALL_RAW_LEASE) {
        raw_leases_call(n->raw_leases, data, len, call_id);
        return;
    }
    if (kind == NODE_CALL_MEMBER) {
        member_call(n, data, len, call_id);
        return;
    }
    if (kind == NODE_CALL_PROBE) {
        prober_call(n->prober, data, len, call_id);
        return;
    }
    (void)err_set(&e, ERR_UNSUPPORTED, "unknown call %u: the peers differ in version", kind);
    rep_reply(n->rep, call_id, &e, NULL, 0);
}

/* --- start -------------------------------------------------------------------------------------
 */

#define BOOT_MAX 16

/* "1=node1@node1:7640,2=node2@node2:7640"; several addresses of one with '+' between them. */
static int bootstrap_parse(char *text, struct rep_member *m, size_t *ret_n, struct err *err)
{
    char *save = NULL;
    size_t n = 0;

    for (char *p = strtok_r(text, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        char *eq = strchr(p, '=');
        char *at = eq == NULL ? NULL : strchr(eq, '@');

        if (at == NULL || n == BOOT_MAX) {
            return err_set(err, ERR_INVALID, "--bootstrap: \"%s\" is not ID=NAME@HOST:PORT", p);
        }
        *eq = 0;
        *at = 0;
        for (char *plus = strchr(at + 1, '+'); plus != NULL; plus = strchr(plus, '+')) {
            *plus = ',';
        }
        m[n] = (struct rep_member){ .name = eq + 1, .address = at + 1, .role = REP_VOTER };
        if (!str_parse_u64(p, &m[n].id) || m[n].id == 0) {
            return err_set(err, ERR_INVALID, "--bootstrap: \"%s\" is no member id (1, 2, ...)", p);
        }
        n++;
    }
    *ret_n = n;
    return 0;
}

/* Find our id, and write the first configuration into an empty folder. */
static int node_bootstrap(struct node *n, const char *dir, struct err *err)
{
    struct rep_member m[BOOT_MAX];
    char *text;
    size_t count = 0;
    int rc;

    n->id = n->opts.id;
    if (n->opts.bootstrap == NULL) {
        return 0; /* the leader of the others will tell who the members are */
    }
    text = mem_strdup(n->opts.bootstrap);
    rc = bootstrap_parse(text, m, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        n->id = n->opts.id == 0 && str_eq(m[i].name, n->opts.name) ? m[i].id : n->id;
    }
    if (rc == 0 && n->id == 0) {
        rc = err_set(err, ERR_INVALID, "--bootstrap does not name %s", n->opts.name);
    }
    if (rc == 0) {
        rc = rep_bootstrap(dir, m, count, err);
        rc = rc == ERR_EXISTS ? 0 : rc;
    }
    free(text);
    return rc;
}

static void node_tick(uv_timer_t *t)
{
    struct node *n = t->data;

    session_open(n);
    member_tick(n);
    links_tick(n);
    upkeep_tick(n);
    certs_tick(n);
}

static int node_open_rep(struct node *n, const char *dir, struct err *err)
{
    struct rep_params p = {
        .loop = n->loop,
        .dir = dir,
        .id = n->id,
        .name = n->opts.name,
        .listen = n->opts.listen_peer,
        .cluster = n->opts.cluster,
        .epoch = n->epoch,
        .tls = n->tls,
        .heartbeat_ms = n->opts.heartbeat_ms == 0 ? 50 : n->opts.heartbeat_ms,
        .election_ms = n->opts.election_ms == 0 ? 300 : n->opts.election_ms,
        .fsm = store_fsm(n->store),
        .events = { .ctx = n,
                    .on_role = on_role,
                    .on_lead_ready = on_lead_ready,
                    .on_applied = on_applied,
                    .on_newer_epoch = on_newer_epoch,
                    .on_call = on_call },
    };

    return rep_open(&p, &n->rep, err);
}

static int node_listen(struct node *n, struct err *err)
{
    char *list = mem_strdup(n->opts.listen_api), *save = NULL;
    int rc = 0;

    for (char *p = strtok_r(list, ",", &save); rc == 0 && p != NULL;
         p = strtok_r(NULL, ",", &save)) {
        rc = http_server_listen(n->server, p, n->tls, NULL, err);
    }
    free(list);
    return rc;
}

int node_start(struct node *n, const struct node_opts *opts, uv_loop_t *loop, struct err *err)
{
    struct http_server_opts so = { .on_request = rest_request, .ctx = n };
    char *dir = mem_printf("%s/store", opts->data);
    int lock, rc;

    *n = (struct node){ .opts = *opts, .loop = loop, .started_ms = clock_now_ms(), .seq_low = 1 };
    reign_init(&n->reign, n->started_ms);
    TAILQ_INIT(&n->waiting);
    loopstat_start(&n->loopstat, loop);
    n->store = store_new(NULL);
    if (opts->max_level != 0) {
        store_set_max_level(n->store, opts->max_level);
    }
    n->upkeep = upkeep_new(n);
    n->leases = lease_table_new(n);
    n->ctl = controller_new(n);
    n->raw_leases = raw_leases_new(n);
    n->native = native_new(n);
    n->consoles = consoles_new(n);
    rc = seal_load(n, err);
    certs_start(n);
    if (rc == 0 && opts->tls_cert != NULL) {
        rc = tls_ctx_load(opts->tls_cert, opts->tls_key, opts->tls_ca, opts->cluster, &n->tls, err);
    }
    if (rc == 0) {
        rc = rep_dir_lock(dir, true, &lock, err); /* until the process ends */
    }
    if (rc == 0) {
        rc = upkeep_may_start(dir, err);
    }
    if (rc == 0) {
        rc = links_may_start(dir, err);
    }
    if (rc == 0) {
        rc = node_bootstrap(n, dir, err);
    }
    if (rc == 0) {
        n->epoch = links_epoch_load(dir);
        rc = node_open_rep(n, dir, err);
    }
    if (rc == 0) {
        n->prober = prober_new(n);
        n->exec = executor_new(n);
        rc = http_server_new(loop, &so, &n->server, err);
    }
    if (rc == 0) {
        rc = node_listen(n, err);
    }
    if (rc == 0) {
        n->tick.data = n;
        CHECK(uv_timer_init(loop, &n->tick) == 0);
        CHECK(uv_timer_start(&n->tick, node_tick, 50, 100) == 0);
    }
    free(dir);
    return rc;
}
