/* Operations on a host: what its agent does (register, lease, terms, acquire, release, report) and
 * what operators do (fence, confirm-off).  docs/architecture.md has the table. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/auth.h"
#include "cmd/picketd/change.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/fence_test.h"
#include "cmd/picketd/lease.h"
#include "cmd/picketd/links.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/rest_ops.h"
#include "cmd/picketd/roles.h"
#include "cmd/picketd/view.h"

struct actor ops_agent(const struct rest *r)
{
    return (struct actor){ .role = ACTOR_AGENT, .name = r->req->peer.name };
}

uint64_t ops_u64(const struct rest *r, const char *path)
{
    int64_t v = jget_int(r->body, path, 0);

    return v < 0 ? 0 : (uint64_t)v;
}

void ops_empty(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;

    if (err != NULL) {
        rest_err(r, err);
    } else {
        rest_json(r, 200, json_pack("{s:I}", "revision", (json_int_t)ans->rev));
    }
}

/* --- registration ------------------------------------------------------------------------------
 */

static void registration_answer(struct rest *r)
{
    struct arena a = { 0 };
    struct s_cluster c = { 0 };
    struct s_host h = { 0 };
    struct s_inc inc = { 0 };
    struct err err, missing;
    json_t *obj = object_read(r->node->store, "hosts", r->name, &missing);

    if (s_cluster_get(r->node->store, &a, &c, &err) != 0) {
        err.code = ERR_NO_QUORUM; /* not initialised yet: ask again */
        rest_err(r, &err);
        json_decref(obj);
        arena_done(&a);
        return;
    }
    if (s_host_get(r->node->store, r->name, &a, &h, &missing) == 0 && h.incarnation != 0) {
        (void)s_inc_get(r->node->store, h.incarnation, &a, &inc, &missing);
    }
    rest_json(r, 200,
              json_pack("{s:I, s:s, s:s, s:I, s:s, s:s, s:s, s:b, s:b}", "epoch",
                        (json_int_t)c.epoch, "clusterID", c.id, "hostUID",
                        jget_str(obj, "metadata.uid", ""), "incarnation", (json_int_t)inc.number,
                        "state", inc.number == 0 ? "" : inc_state_name(inc.state), "bootID",
                        inc.boot_id == NULL ? "" : inc.boot_id, "hardwareID",
                        inc.hardware_id == NULL ? "" : inc.hardware_id, "lab", c.lab, "quarantined",
                        c.quarantined));
    json_decref(obj);
    arena_done(&a);
}

struct newer_boot {
    struct rep_req req; /* first */
    struct rest *r;
    struct err err; /* what the agent is told */
};

static void newer_boot_told(struct rep_req *req, const struct err *err, const uint8_t *data,
                            size_t len)
{
    struct newer_boot *b = CONTAINER_OF(req, struct newer_boot, req);

    (void)err; /* the agent tries again anyway */
    (void)data;
    (void)len;
    rest_err(b->r, &b->err);
    free(b);
}

/* Refused, since the incarnation of the boot before is still Live: the leader shall know that this
 * host has booted again, so that it does not wait for the rest of that lease and above all does not
 * cut the power of a host that is back. */
static void newer_boot_tell(struct rest *r, const struct err *err)
{
    struct newer_boot *b = OBJ_NEW(struct newer_boot);
    struct arena a = { 0 };
    struct s_cluster c = { 0 };
    struct err missing;
    json_t *body;
    char *text;

    (void)s_cluster_get(r->node->store, &a, &c, &missing);
    b->r = r;
    b->err = *err;
    body = json_pack("{s:s, s:I, s:I, s:s, s:s}", "host", r->name, "incarnation",
                     (json_int_t)ops_u64(r, "expectedIncarnation"), "epoch", (json_int_t)c.epoch,
                     "newerBoot", jget_str(r->body, "bootID", ""), "hardwareID",
                     jget_str(r->body, "hardwareID", ""));
    text = json_dumps(body, JSON_COMPACT);
    rep_call(r->node->rep, 0, NODE_CALL_LEASE, text, strlen(text), NODE_READ_MS, &b->req,
             newer_boot_told);
    free(text);
    json_decref(body);
    arena_done(&a);
}

static void register_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    struct arena a = { 0 };
    struct s_inc inc;
    struct s_cluster c;
    struct err e;

    if (err != NULL && err->code == ERR_REFUSED && ops_u64(r, "expectedIncarnation") != 0) {
        newer_boot_tell(r, err);
    } else if (err != NULL) {
        rest_err(r, err);
    } else if (ans->n_values < 1 || s_inc_get(r->node->store, ans->values[0], &a, &inc, &e) != 0 ||
               s_cluster_get(r->node->store, &a, &c, &e) != 0) {
        (void)err_set(&e, ERR_UNKNOWN_OUTCOME, "the registration cannot be read back");
        rest_err(r, &e);
    } else {
        lg_info("ops", "host=%s incarnation=%" PRIu64 " state=%s msg=\"registered\"", r->name,
                inc.number, inc_state_name(inc.state));
        rest_json(r, 200,
                  json_pack("{s:I, s:I, s:s, s:o}", "incarnation", (json_int_t)inc.number, "epoch",
                            (json_int_t)c.epoch, "state", inc_state_name(inc.state), "terms",
                            terms_to_json(&inc.offered)));
    }
    arena_done(&a);
}

/* A host that has booted again asks several times a second until its older boot is Lost: those
 * tries need no entry.  This node has just read linearizably, so the answer is the log's. */
static void register_ask(struct rest *r, struct cmd *c)
{
    struct err err;

    if (s_register_waits(r->node->store, &c->reg, &err) != 0) {
        newer_boot_tell(r, &err);
    } else {
        node_submit(r->node, c, true, register_done, r);
    }
}

static void register_submit(struct rest *r, const char *uid)
{
    struct cmd c = { .op = CMD_REGISTER, .actor = ops_agent(r) };
    struct timing t;
    struct err err;
    json_t *cluster = object_read(r->node->store, "clusters", "cluster", &err);

    lease_timing(r->node, &t);
    c.reg = (struct cmd_register){ .host = r->name,
                                   .host_uid = uid,
                                   .boot_id = jget_str(r->body, "bootID", ""),
                                   .hardware_id = jget_str(r->body, "hardwareID", ""),
                                   .expected = ops_u64(r, "expectedIncarnation"),
                                   .nonce = jget_str(r->body, "nonce", "") };
    if (terms_from_json(json_object_get(r->body, "terms"), &c.reg.terms, &err) != 0) {
        rest_err(r, &err);
    } else {
        /* Lease and policy are the cluster's; the watchdog's part is the agent's own statement. */
        c.reg.terms.lease_ms = (uint32_t)t.lease_ms;
        c.reg.terms.on_quorum_loss =
            str_eq(jget_str(cluster, "spec.onQuorumLoss", "Stop"), "Freeze") ? QUORUM_LOSS_FREEZE
                                                                             : QUORUM_LOSS_STOP;
        register_ask(r, &c);
    }
    json_decref(cluster);
}

static void register_go(struct rest *r);

static void host_created(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;

    (void)ans;
    if (err != NULL && err->code != ERR_CONFLICT) {
        rest_err(r, err);
    } else {
        rest_read_then(r, register_go);
    }
}

/* A host whose agent has a certificate of this cluster belongs to it: it gets a Host object if
 * nobody declared one yet. */
static void host_create(struct rest *r)
{
    char address[64];
    json_t *want;
    struct actor actor = { .role = ACTOR_USER, .name = r->req->peer.name };
    struct change *c = mem_alloc(sizeof(*c));
    struct err err;

    (void)str_copy(address, sizeof(address), r->req->remote);
    if (strrchr(address, ':') != NULL) {
        *strrchr(address, ':') = 0;
    }
    want = json_pack("{s:s, s:s, s:{s:s}, s:{s:[s]}}", "apiVersion", API_VERSION, "kind", "Host",
                     "metadata", "name", r->name, "spec", "addresses", address);
    for (size_t i = 0; i < r->n_changes; i++) {
        change_done(&r->changes[i]);
    }
    free(r->changes);
    r->changes = c;
    r->n_changes = 0;
    if (change_prepare(r->node, r->k, r->name, want, CHANGE_CREATE, "", &r->problems, c, &err) !=
        0) {
        rest_err(r, &err);
    } else {
        r->n_changes = 1;
        change_submit(r->node, c, 1, &actor, true, host_created, r);
    }
    json_decref(want);
}

static void register_go(struct rest *r)
{
    struct err err;
    json_t *obj = object_read(r->node->store, "hosts", r->name, &err);

    if (obj == NULL && err.code == ERR_NOT_FOUND && ++r->tries < 4) {
        host_create(r);
    } else if (obj == NULL) {
        rest_err(r, &err);
    } else {
        register_submit(r, jget_str(obj, "metadata.uid", ""));
    }
    json_decref(obj);
}

/* --- leases and terms --------------------------------------------------------------------------
 */

struct lease_call {
    struct rep_req req; /* first */
    struct rest *r;
};

static void lease_done(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct lease_call *c = CONTAINER_OF(req, struct lease_call, req);

    if (err != NULL && err->code == ERR_REFUSED && str_starts(err->msg, "LeaseLost")) {
        json_t *status = status_from_err(err, "hosts", c->r->name, NULL);

        (void)json_object_set_new(status, "reason", json_string("LeaseLost"));
        rest_json(c->r, err_http(err->code), status);
    } else if (err != NULL) {
        rest_err(c->r, err);
    } else {
        http_respond(c->r->req, 200, "application/json", data, len, NULL, 0);
        rest_free(c->r);
    }
    free(c);
}

static void lease_go(struct rest *r)
{
    struct lease_call *c = OBJ_NEW(struct lease_call);
    char *text;

    c->r = r;
    jset(r->body, "host", json_string(r->name));
    if (!str_eq(r->name, r->node->opts.name)) { /* else it did not travel */
        jset(r->body, "link",
             json_integer((json_int_t)links_number(r->node, http_req_header(r->req, "host"))));
    }
    text = json_dumps(r->body, JSON_COMPACT);
    rep_call(r->node->rep, 0, NODE_CALL_LEASE, text, strlen(text), NODE_READ_MS, &c->req,
             lease_done);
    free(text);
}

static void terms_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    struct arena a = { 0 };
    struct s_inc inc;
    struct err e;

    (void)ans;
    if (err != NULL) {
        rest_err(r, err);
    } else if (s_inc_get(r->node->store, ops_u64(r, "incarnation"), &a, &inc, &e) != 0) {
        rest_err(r, &e);
    } else {
        rest_json(r, 200, json_pack("{s:o}", "terms", terms_to_json(&inc.offered)));
    }
    arena_done(&a);
}

static void terms_go(struct rest *r)
{
    struct cmd c = { .op = CMD_TERMS, .actor = ops_agent(r), .epoch = ops_u64(r, "epoch") };
    struct err err;

    c.safety.incarnation = ops_u64(r, "incarnation");
    if (terms_from_json(json_object_get(r->body, "terms"), &c.safety.terms, &err) != 0) {
        rest_err(r, &err);
        return;
    }
    node_submit(r->node, &c, true, terms_done, r);
}

/* --- locks -------------------------------------------------------------------------------------
 */

static void acquire_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    json_t *tokens;

    if (err != NULL) {
        rest_err(r, err);
        return;
    }
    tokens = json_array();
    for (size_t i = 0; i < ans->n_values; i++) {
        (void)json_array_append_new(tokens, json_integer((json_int_t)ans->values[i]));
    }
    rest_json(r, 200, json_pack("{s:o, s:I}", "tokens", tokens, "revision", (json_int_t)ans->rev));
}

int ops_locks(const struct rest *r, const json_t *set, struct arena *a, struct cmd_safety *ret,
              struct err *err)
{
    const json_t *locks = json_object_get(set, "locks");
    size_t n = json_array_size(locks);

    if (n == 0 || n > CMD_MAX_LOCKS) {
        return err_set(err, ERR_INVALID, "locks: 1 to %u are expected, not %zu", CMD_MAX_LOCKS, n);
    }
    ret->locks = ARENA_ARRAY(a, struct cmd_lock_ref, n);
    ret->n_locks = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *l = json_array_get(locks, i);

        ret->locks[i] = (struct cmd_lock_ref){ .lock = jget_str(l, "lock", ""),
                                               .uid = jget_str(l, "uid", ""),
                                               .token = (uint64_t)jget_int(l, "token", 0) };
    }
    ret->incarnation = ops_u64(r, "incarnation");
    ret->reason = jget_str(set, "reason", "");
    return 0;
}

static void locks_go(struct rest *r, enum cmd_op op, node_cb *cb)
{
    struct cmd c = { .op = op, .actor = ops_agent(r), .epoch = ops_u64(r, "epoch") };
    struct arena a = { 0 };
    struct err err;

    if (json_object_get(r->body, "sets") != NULL) {
        rest_sets_go(r, op);
    } else if (ops_locks(r, r->body, &a, &c.safety, &err) != 0) {
        rest_err(r, &err);
    } else {
        c.safety.attempt = op == CMD_MIG_COMMIT ? ops_u64(r, "peerToken") : 0;
        node_submit(r->node, &c, true, cb, r);
    }
    arena_done(&a);
}

static void acquire_go(struct rest *r)
{
    locks_go(r, CMD_ACQUIRE, acquire_done);
}

static void release_go(struct rest *r)
{
    locks_go(r, CMD_RELEASE, ops_empty);
}

static void mig_join_go(struct rest *r)
{
    locks_go(r, CMD_MIG_JOIN, acquire_done);
}

static void mig_commit_go(struct rest *r)
{
    struct err err;

    if (ops_u64(r, "peerToken") == 0) {
        (void)err_set(&err, ERR_INVALID, "peerToken: the token of the machine's peer is missing");
        rest_err(r, &err);
        return;
    }
    locks_go(r, CMD_MIG_COMMIT, ops_empty);
}

static void mig_abort_go(struct rest *r)
{
    locks_go(r, CMD_MIG_ABORT, ops_empty);
}

/* --- operators ---------------------------------------------------------------------------------
 */

static void fencing_answer(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    char name[320];
    struct err e;
    json_t *obj;

    if (err != NULL) {
        rest_err(r, err);
        return;
    }
    (void)snprintf(name, sizeof(name), "%s-%" PRIu64, r->name,
                   ans->n_values > 0 ? ans->values[0] : 0);
    obj = object_read(r->node->store, "fencings", name, &e);
    rest_json(r, 201, obj == NULL ? json_object() : obj);
}

static int host_incarnation(struct rest *r, uint64_t *ret, struct err *err)
{
    struct arena a = { 0 };
    struct s_host h;
    int rc = s_host_get(r->node->store, r->name, &a, &h, err);

    if (rc == 0 && h.incarnation == 0) {
        rc = err_set(err, ERR_NOT_FOUND, "host %s has never registered: there is nothing to fence",
                     r->name);
    }
    if (rc == 0 && ops_u64(r, "incarnation") != 0 && ops_u64(r, "incarnation") != h.incarnation) {
        rc = err_set(err, ERR_CONFLICT,
                     "host %s is at incarnation %" PRIu64 ", not %" PRIu64
                     ": it has started anew since; nothing was done",
                     r->name, h.incarnation, ops_u64(r, "incarnation"));
    }
    *ret = rc == 0 ? h.incarnation : 0;
    arena_done(&a);
    return rc;
}

static void fence_go(struct rest *r)
{
    struct cmd c = { .op = CMD_FENCE_OPEN, .actor = r->actor };
    struct arena a = { 0 };
    struct err err;
    int rc = host_incarnation(r, &c.safety.incarnation, &err);

    if (rc == 0) {
        rc = fence_user_check(r->node, r->name, &err);
    }
    if (rc == 0) {
        rc = fence_levels(r->node, r->name, &a, &c.safety, &err);
    }
    if (rc == 0) {
        c.safety.by_user = true;
        c.safety.reason = jget_str(r->body, "reason", "asked for by an operator");
        node_submit(r->node, &c, true, fencing_answer, r);
    } else {
        rest_err(r, &err);
    }
    arena_done(&a);
}

static void confirm_checked(struct rep_req *req, const struct err *err, const uint8_t *data,
                            size_t len)
{
    struct lease_call *call = CONTAINER_OF(req, struct lease_call, req);
    struct rest *r = call->r;
    struct cmd c = { .op = CMD_CONFIRM, .actor = r->actor };

    (void)data;
    (void)len;
    free(call);
    if (err != NULL) {
        rest_err(r, err);
        return;
    }
    c.safety.host = r->name;
    c.safety.incarnation = ops_u64(r, "incarnation");
    c.safety.reason = jget_str(r->body, "statement", "");
    node_submit(r->node, &c, true, ops_empty, r);
}

/* A person's word counts only while nothing contradicts it: ask the leader for life signs first. */
static void confirm_go(struct rest *r)
{
    struct lease_call *call = OBJ_NEW(struct lease_call);

    call->r = r;
    rep_call(r->node->rep, 0, NODE_CALL_ALIVE, r->name, strlen(r->name), NODE_READ_MS, &call->req,
             confirm_checked);
}

static void conflict_go(struct rest *r)
{
    struct cmd c = { .op = CMD_CONFLICT_CLEAR, .actor = r->actor };

    c.safety.host = r->name;
    c.safety.reason = jget_str(r->body, "reason", "cleared by an operator");
    node_submit(r->node, &c, true, ops_empty, r);
}

/* --- routing -----------------------------------------------------------------------------------
 */

static const struct host_op {
    const char *name;
    const char *method;
    const char *verb; /* that people need (roles.h); NULL: the agent's own */
    bool read;        /* a read point first */
    void (*go)(struct rest *r);
} host_ops[] = {
    { "registration", "GET", NULL, true, registration_answer },
    { "register", "POST", NULL, true, register_go },
    { "lease", "POST", NULL, false, lease_go },
    { "terms", "POST", NULL, false, terms_go },
    { "acquire", "POST", NULL, false, acquire_go },
    { "release", "POST", NULL, false, release_go },
    { "migration-join", "POST", NULL, false, mig_join_go },
    { "migration-commit", "POST", NULL, false, mig_commit_go },
    { "migration-abort", "POST", NULL, false, mig_abort_go },
    { "report", "POST", NULL, true, rest_report_go },
    { "secrets", "POST", NULL, true, rest_secrets_go },
    { "fence", "POST", "fence", true, fence_go },
    { "confirm-off", "POST", "confirm", false, confirm_go },
    { "clear-conflict", "POST", "confirm", false, conflict_go },
    { "fence-test", "POST", "fence", true, fence_test_go },
    { "power-on", "POST", "fence", true, fence_power_on_go },
};

void rest_host_op(struct rest *r)
{
    const struct host_op *op = NULL;
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(host_ops); i++) {
        if (str_eq(host_ops[i].name, r->sub)) {
            op = &host_ops[i];
        }
    }
    if (op == NULL) {
        (void)err_set(&err, ERR_NOT_FOUND, "hosts have no operation \"%s\"", r->sub);
        rest_err(r, &err);
    } else if (!str_eq(op->method, r->req->method)) {
        (void)err_set(&err, ERR_METHOD, "hosts/%s/%s needs %s", r->name, r->sub, op->method);
        rest_err(r, &err);
    } else if ((op->verb == NULL ? auth_agent(&r->req->peer, r->name, &err)
                                 : auth_host_op(r->node, &r->req->peer, r->name, op->verb,
                                                &r->actor, &err)) != 0) {
        rest_err(r, &err);
    } else if (rest_body(r)) {
        if (op->read) {
            rest_read_then(r, op->go);
        } else {
            op->go(r);
        }
    }
}
