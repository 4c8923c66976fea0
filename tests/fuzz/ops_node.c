#include "tests/fuzz/ops_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/manifest.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "cmd/picketd/certs.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/ctl_priv.h"
#include "cmd/picketd/exec.h"
#include "cmd/picketd/lease.h"
#include "cmd/picketd/member.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/probe.h"
#include "cmd/picketd/rawlease.h"
#include "cmd/picketd/upkeep.h"
#include "cmd/picketd/world.h"
#include "raft/rep_offline.h"

#define CLUSTER "5a8d43e1-0e1a-4d2c-8d0f-1f2a3b4c5d6e"
#define TERM 3U
#define SELF "n1"

/* --- what waits --------------------------------------------------------------------------------
 */

enum todo_kind { TODO_CMD, TODO_READ, TODO_CALL, TODO_REPLY, TODO_CHANGE, TODO_PROBE };

struct todo {
    enum todo_kind kind;
    struct todo *next;
    struct buf data;
    struct err err;
    void *ctx;
    struct rep_req *req;
    uint16_t call;
    node_cb *cmd_cb;
    node_read_cb *read_cb;
    rep_call_cb *call_cb;
    rep_change_cb *change_cb;
    probe_cb *probe_cb;
};

/* A call that was handed on; its number is its place and one. */
struct pending {
    struct rep_req *req; /* NULL: from outside */
    rep_call_cb *cb;
    bool answered;
};

static struct todo *todo_head, **todo_end = &todo_head;
static struct pending *pendings;
static size_t n_pendings;
static struct ops_node *self;
static char tls_ca[64];

static struct todo *todo_new(enum todo_kind kind)
{
    struct todo *t = OBJ_NEW(struct todo);

    t->kind = kind;
    *todo_end = t;
    todo_end = &t->next;
    return t;
}

static uint64_t call_new(struct rep_req *req, rep_call_cb *cb)
{
    pendings = mem_realloc(pendings, (n_pendings + 1) * sizeof(*pendings));
    pendings[n_pendings++] = (struct pending){ .req = req, .cb = cb };
    return n_pendings;
}

static void apply(struct cmd *c, node_cb *cb, void *ctx, struct err *err)
{
    struct buf in = { 0 }, out = { 0 };
    struct arena a = { 0 };
    struct cmd_answer ans;

    err->code = 0;
    if (cmd_encode(c, &in, err) == 0) {
        self->index++;
        store_apply(self->n.store, self->index, TERM, 1700000000000 + self->index, in.data, in.len,
                    &out);
        CHECK(cmd_answer_decode(out.data, out.len, &a, &ans, err) == 0);
        if (ans.code != 0) {
            CHECK(ans.msg != NULL);
            CHECK(ans.msg[0] != 0);
            (void)err_set(err, ans.code, "%s", ans.msg);
        }
    }
    if (cb != NULL) {
        cb(ctx, err->code == 0 ? NULL : err, err->code == 0 ? &ans : NULL);
    }
    buf_done(&in);
    buf_done(&out);
    arena_done(&a);
}

static void run_cmd(struct todo *t)
{
    struct arena a = { 0 };
    struct cmd c;

    if (t->err.code == 0) {
        CHECK(cmd_decode(t->data.data, t->data.len, &a, &c, &t->err) == 0);
        apply(&c, t->cmd_cb, t->ctx, &t->err);
    } else {
        t->cmd_cb(t->ctx, &t->err, NULL);
    }
    arena_done(&a);
}

static void dispatch(uint16_t kind, const uint8_t *data, size_t len, uint64_t id)
{
    struct node *n = &self->n;
    struct err err;

    switch (kind) {
    case NODE_CALL_LEASE:
        lease_table_call(n->leases, data, len, id);
        break;
    case NODE_CALL_RAW_LEASE:
        raw_leases_call(n->raw_leases, data, len, id);
        break;
    case NODE_CALL_ALIVE:
        lease_table_alive(n->leases, data, len, id);
        break;
    case NODE_CALL_MEMBER:
        member_call(n, data, len, id);
        break;
    case NODE_CALL_INFO:
        upkeep_info(n, id);
        break;
    case NODE_CALL_DIVERGED:
        upkeep_diverged(n, 1, data, len, id);
        break;
    case NODE_CALL_RENEW:
        certs_call(n, "n2", data, len, id);
        break;
    default:
        (void)err_set(&err, ERR_UNSUPPORTED, "unknown call");
        rep_reply(NULL, id, &err, NULL, 0);
    }
}

static void run(struct todo *t)
{
    const struct err *err = t->err.code == 0 ? NULL : &t->err;
    struct fence_answer ans = { 0 };

    switch (t->kind) {
    case TODO_CMD:
        run_cmd(t);
        break;
    case TODO_READ:
        t->read_cb(t->ctx, NULL);
        break;
    case TODO_CALL:
        dispatch(t->call, t->data.data, t->data.len, call_new(t->req, t->call_cb));
        break;
    case TODO_REPLY:
        t->call_cb(t->req, err, t->data.data, t->data.len);
        break;
    case TODO_CHANGE:
        t->change_cb(t->req, err);
        break;
    case TODO_PROBE:
        fence_answer_set(&ans, FENCE_UNKNOWN, "there is no device");
        t->probe_cb(t->ctx, &ans);
        break;
    }
}

void ops_run(struct ops_node *f)
{
    struct todo *t;

    do {
        while ((t = todo_head) != NULL) {
            todo_head = t->next;
            todo_end = todo_head == NULL ? &todo_head : todo_end;
            run(t);
            buf_done(&t->data);
            free(t);
        }
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    } while (todo_head != NULL);
}

void ops_call(struct ops_node *f, uint16_t kind, const uint8_t *data, size_t len)
{
    uint64_t id = call_new(NULL, NULL);

    dispatch(kind, data, len, id);
    ops_run(f);
    CHECK(pendings[id - 1].answered);
}

/* --- in place of node.c ------------------------------------------------------------------------
 */

bool node_leads(const struct node *n)
{
    (void)n;
    return true;
}

void node_submit(struct node *n, struct cmd *cmd, bool once, node_cb *cb, void *data)
{
    struct todo *t = todo_new(TODO_CMD);

    (void)n;
    (void)once;
    t->cmd_cb = cb;
    t->ctx = data;
    (void)cmd_encode(cmd, &t->data, &t->err);
}

void node_read(struct node *n, node_read_cb *cb, void *data)
{
    struct todo *t = todo_new(TODO_READ);

    (void)n;
    t->read_cb = cb;
    t->ctx = data;
}

json_t *node_object(struct node *n, const char *plural, const char *name, struct err *err)
{
    return object_read(n->store, plural, name, err);
}

/* --- in place of raft/ -------------------------------------------------------------------------
 */

void rep_call(struct rep *r, uint64_t to, uint16_t kind, const void *data, size_t len,
              uint64_t timeout_ms, struct rep_req *req, rep_call_cb *cb)
{
    struct todo *t = todo_new(TODO_CALL);

    (void)r;
    (void)to;
    (void)timeout_ms;
    t->call = kind;
    buf_add(&t->data, data, len);
    t->req = req;
    t->call_cb = cb;
}

void rep_reply(struct rep *r, uint64_t call_id, const struct err *err, const void *data, size_t len)
{
    struct pending *p = &pendings[call_id - 1];
    struct todo *t;

    (void)r;
    CHECK(call_id >= 1);
    CHECK(call_id <= n_pendings);
    CHECK(!p->answered);
    CHECK(err == NULL || (err->code < 0 && err->msg[0] != 0));
    p->answered = true;
    if (p->req != NULL) {
        t = todo_new(TODO_REPLY);
        t->req = p->req;
        t->call_cb = p->cb;
        if (err != NULL) {
            t->err = *err;
        } else {
            buf_add(&t->data, data, len);
        }
    }
}

static void change(struct rep_req *req, rep_change_cb *cb, int code)
{
    struct todo *t = todo_new(TODO_CHANGE);

    t->req = req;
    t->change_cb = cb;
    if (code != 0) {
        (void)err_set(&t->err, code, "not here");
    }
}

void rep_add(struct rep *r, struct rep_req *req, const struct rep_member *m, rep_change_cb *cb)
{
    (void)r;
    CHECK(str_is_name(m->name));
    change(req, cb, 0);
}

void rep_assign(struct rep *r, struct rep_req *req, uint64_t id, enum rep_member_role role,
                rep_change_cb *cb)
{
    (void)r;
    (void)id;
    (void)role;
    change(req, cb, ERR_UNKNOWN_OUTCOME);
}

void rep_remove(struct rep *r, struct rep_req *req, uint64_t id, rep_change_cb *cb)
{
    (void)r;
    (void)id;
    change(req, cb, ERR_UNKNOWN_OUTCOME);
}

int rep_transfer(struct rep *r, uint64_t to, struct err *err)
{
    (void)r;
    (void)to;
    return err_set(err, ERR_UNREACHABLE, "nobody else");
}

size_t rep_peers(const struct rep *r, struct rep_peer_info *dst, size_t max)
{
    (void)r;
    CHECK(max > 1);
    for (uint64_t i = 0; i < 2; i++) {
        dst[i] = (struct rep_peer_info){ .id = i + 1, .reachable = true, .role = REP_VOTER };
        (void)str_copy(dst[i].name, sizeof(dst[i].name), i == 0 ? SELF : "n2");
    }
    return 2;
}

enum rep_role rep_role(const struct rep *r)
{
    (void)r;
    return REP_LEADER;
}

uint64_t rep_term(const struct rep *r)
{
    (void)r;
    return TERM;
}

uint64_t rep_leader(const struct rep *r)
{
    (void)r;
    return 1;
}

const char *rep_leader_name(const struct rep *r)
{
    (void)r;
    return SELF;
}

uint64_t rep_applied(const struct rep *r)
{
    (void)r;
    return self->index;
}

uint64_t rep_committed(const struct rep *r)
{
    (void)r;
    return self->index;
}

void rep_stats(const struct rep *r, struct rep_stats *ret)
{
    (void)r;
    *ret = (struct rep_stats){ 0 };
}

void rep_set_epoch(struct rep *r, uint64_t epoch)
{
    (void)r;
    (void)epoch;
}

void rep_hint(struct rep *r, uint64_t id, const char *addresses)
{
    (void)r;
    (void)id;
    (void)addresses;
}

int rep_backup_write(const char *dir, const char *name, const struct rep_peer_info *members,
                     size_t n_members, uint64_t index, uint64_t term,
                     int (*fill)(void *ctx, struct rep_sink *sink, struct err *err), void *ctx,
                     struct err *err)
{
    (void)dir;
    (void)name;
    (void)members;
    (void)n_members;
    (void)index;
    (void)term;
    (void)fill;
    (void)ctx;
    return err_set(err, ERR_UNSUPPORTED, "not here");
}

/* --- in place of devices -----------------------------------------------------------------------
 */

void prober_ask(struct prober *pr, uint64_t peer, const char *device, const char *host,
                enum fence_action action, probe_cb *cb, void *ctx)
{
    struct todo *t = todo_new(TODO_PROBE);

    (void)pr;
    (void)peer;
    (void)device;
    (void)host;
    (void)action;
    t->probe_cb = cb;
    t->ctx = ctx;
}

void prober_hold(struct prober *pr, const char *device, uint64_t owner, uint64_t ms,
                 prober_hold_cb *cb, void *ctx)
{
    (void)pr;
    (void)device;
    (void)owner;
    (void)ms;
    if (cb != NULL) {
        cb(ctx, true);
    }
}

bool prober_get(const struct prober *pr, const char *device, const char *host,
                struct probe_result *ret)
{
    (void)pr;
    (void)device;
    (void)host;
    (void)ret;
    return false;
}

bool prober_by(const struct prober *pr, const char *device, const char *executor,
               struct probe_result *ret)
{
    return prober_get(pr, device, executor, ret);
}

bool prober_summary(const struct prober *pr, const char *device, struct probe_result *ret)
{
    return prober_get(pr, device, NULL, ret);
}

uint64_t prober_busy_ms(const struct prober *pr, const char *device)
{
    (void)pr;
    (void)device;
    return 0;
}

void executor_power_on(struct executor *x, const char *host, const char *device)
{
    (void)x;
    (void)host;
    (void)device;
}

void executor_on(struct executor *x, const char *host, const char *device, fence_exec_cb *cb,
                 void *ctx)
{
    (void)x;
    (void)host;
    prober_ask(NULL, 0, device, host, FENCE_ACTION_ON, cb, ctx);
}

/* --- set-up ------------------------------------------------------------------------------------
 */

static void remove_pki(void)
{
    static const char *const files[] = { "ca.crt", "ca.key" };
    char path[80];

    *strrchr(tls_ca, '/') = 0;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", tls_ca, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(tls_ca);
}

void ops_pki(void)
{
    char dir[] = "/tmp/picket-ops-fuzz-XXXXXX";
    struct err err;

    if (tls_ca[0] != 0) {
        return;
    }
    CHECK(mkdtemp(dir) != NULL);
    CHECK(pki_make_ca(dir, CLUSTER, &err) == 0);
    (void)snprintf(tls_ca, sizeof(tls_ca), "%s/ca.crt", dir);
    CHECK(atexit(remove_pki) == 0);
}

static void put(const char *key, const char *json, struct actor actor)
{
    struct txn_op op = { .kind = TXN_PUT, .key = { (const uint8_t *)key, strlen(key) } };
    struct cmd c = { .op = CMD_TXN, .actor = actor, .txn = { .then_ops = &op, .n_then = 1 } };
    struct buf b = { 0 };
    struct err err;

    objval_encode(1, 0, json, strlen(json), &b);
    op.value = (struct bytes){ b.data, b.len };
    apply(&c, NULL, NULL, &err);
    CHECK(err.code == 0);
    buf_done(&b);
}

static void put_object(const char *plural, const char *name, const char *kind, const char *spec)
{
    char key[128], json[512];

    (void)snprintf(key, sizeof(key), "o/%s/%s", plural, name);
    (void)snprintf(json, sizeof(json),
                   "{\"apiVersion\":\"" API_VERSION
                   "\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\","
                   "\"uid\":\"uid-%s\",\"generation\":1},\"spec\":%s}",
                   kind, name, name, spec);
    put(key, json, (struct actor){ .role = ACTOR_ADMIN, .name = "admin" });
}

static void begin_cluster(void)
{
    struct actor controller = { .role = ACTOR_CONTROLLER, .name = SELF, .term = TERM };
    struct cmd c = { .op = CMD_INIT, .actor = controller, .text = CLUSTER, .number = 1 };
    struct err err;

    c.number2 = true;
    apply(&c, NULL, NULL, &err);
    CHECK(err.code == 0);
    c = (struct cmd){ .op = CMD_FEATURE, .actor = controller, .number = STORE_FEATURE_MAX };
    apply(&c, NULL, NULL, &err);
    CHECK(err.code == 0);
    put_object("clusters", "cluster", "Cluster", "{}");
    put_object("fencedevices", "pdu", "FenceDevice",
               "{\"type\":\"ApcSnmp\",\"address\":\"10.0.0.9\"}");
    put_object("hosts", "n1", "Host",
               "{\"addresses\":[\"10.0.0.1\"],\"fencing\":[{\"devices\":[\"pdu\"]}]}");
    put_object("hosts", "n2", "Host", "{\"addresses\":[\"10.0.0.2\"]}");
    put_object("virtualmachines", "vm1", "VirtualMachine", "{\"memory\":\"1Gi\",\"vcpus\":1}");
    put("o/_tokens/tok", "{\"voter\":true,\"expiresMs\":9999999999999,\"by\":\"admin\"}",
        (struct actor){ .role = ACTOR_EXECUTOR, .name = SELF });
    c = (struct cmd){ .op = CMD_REGISTER, .actor = { .role = ACTOR_AGENT, .name = "n1" } };
    c.reg = (struct cmd_register){ .host = "n1",
                                   .host_uid = "uid-n1",
                                   .boot_id = "boot1",
                                   .hardware_id = "hw1",
                                   .nonce = "nonce1",
                                   .terms = { .lease_ms = 3000 } };
    apply(&c, NULL, NULL, &err);
    CHECK(err.code == 0);
}

void ops_start(struct ops_node *f)
{
    *f = (struct ops_node){ .index = 0 };
    self = f;
    CHECK(uv_loop_init(&f->loop) == 0);
    f->n.loop = &f->loop;
    f->n.opts = (struct node_opts){
        .name = SELF, .data = "/nonexistent", .cluster = CLUSTER, .tls_ca = tls_ca, .lab = true
    };
    f->n.id = 1;
    f->n.session = 1;
    f->n.store = store_new(NULL);
    TAILQ_INIT(&f->n.waiting);
    f->n.has_seal_key = true;
    f->n.upkeep = upkeep_new(&f->n);
    f->n.leases = lease_table_new(&f->n);
    f->n.raw_leases = raw_leases_new(&f->n);
    begin_cluster();
    f->n.ctl = controller_new(&f->n);
    lease_table_start(f->n.leases, TERM);
    raw_leases_start(f->n.raw_leases, TERM);
    ops_run(f);
}

static void close_handle(uv_handle_t *h, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(h)) {
        uv_close(h, NULL);
    }
}

void ops_stop(struct ops_node *f)
{
    lease_table_stop(f->n.leases);
    raw_leases_stop(f->n.raw_leases);
    uv_walk(&f->loop, close_handle, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&f->loop) == 0);
    world_free(f->n.ctl->world);
    free(f->n.ctl->batch);
    free(f->n.ctl);
    free(f->n.leases);
    free(f->n.raw_leases);
    free(f->n.upkeep);
    store_free(f->n.store);
    free(pendings);
    pendings = NULL;
    n_pendings = 0;
    CHECK(todo_head == NULL);
}
