#include <stdlib.h>
#include <string.h>

#include "api/json_path.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* What the executor needs from the outside: time, lease, locks, durable intents. */

#define LIST_MS 30000U /* between two lists of the locks that we hold */

/* --- the environment ---------------------------------------------------------------------------
 */

bool agent_freeze(const struct agent *a)
{
    struct renew_view v;

    /* The policy in force is the one of the terms, not the one just written into the Cluster. */
    renew_view(a->renew, &v);
    return v.has_terms ? v.terms.freeze : a->seen.freeze;
}

static void lease_env(struct agent *a, struct vm_env *e)
{
    struct renew_view v;
    uint32_t lease;

    renew_view(a->renew, &v);
    lease = v.lease_ms != 0 ? v.lease_ms : a->seen.lease_ms;
    e->inc = v.state == RENEW_LIVE   ? VM_INC_LIVE
             : v.state == RENEW_LOST ? VM_INC_LOST
                                     : VM_INC_UNKNOWN;
    e->lease_until_ms = v.lease_until_ms;
    e->lease_half_ms = v.half_ms;
    if (v.lease_until_ms == 0) {
        /* A former process may have had a lease; its end is not known, so it counts from our start,
         * or ends where picket-watchdog says. */
        e->lease_until_ms = a->started_ms + lease;
        e->lease_half_ms = a->started_ms + lease / 2;
        if (v.wd.armed && v.wd.deadline_ms < e->lease_until_ms) {
            e->lease_until_ms = v.wd.deadline_ms;
        }
        if (e->lease_half_ms + lease / 3 > e->lease_until_ms) {
            e->lease_half_ms = e->lease_until_ms > lease / 3 ? e->lease_until_ms - lease / 3 : 0;
        }
    }
    e->margin_ms = lease / 4;
    e->destroy_ms = lease / 6;
    e->effect_ms = lease / 3;
    e->token_max_age_ms = lease;
    e->step_ms = lease / 2;
    e->obs_max_age_ms = 5000;
}

void agent_env(void *ctx, struct vm_env *ret)
{
    struct agent *a;

    OBJ_FROM(a, ctx, AGENT_MAGIC);
    ret->now_ms = clock_now_ms();
    ret->incarnation = a->incarnation;
    if (a->renew == NULL) {
        return; /* stopping */
    }
    lease_env(a, ret);
    ret->stop_on_loss = !agent_freeze(a);
    ret->synced = a->phase == AGENT_RUN && agent_synced(a) && !a->source_old;
    ret->guarded = agent_guarded(a, &ret->guard_why);
}

static uint64_t env_now(void *ctx)
{
    (void)ctx;
    return clock_now_ms();
}

static void env_wake(void *ctx)
{
    agent_wake(ctx);
}

static int env_save(void *ctx, const struct intent *i, struct err *err)
{
    struct agent *a;

    OBJ_FROM(a, ctx, AGENT_MAGIC);
    return intent_save(a->intent_log, i, err);
}

static void env_forget(void *ctx, const char *vm)
{
    struct agent *a;
    struct err err;

    OBJ_FROM(a, ctx, AGENT_MAGIC);
    if (intent_remove(a->intent_log, vm, &err) != 0) {
        lg_warn("agent", "vm=%s err=\"%s\"", vm, err.msg);
    }
}

/* --- calls -------------------------------------------------------------------------------------
 */

struct read_one {
    struct agent_call *c;
    size_t index;
};

struct agent_call {
    struct agent *a;
    struct agent_call *next, **link; /* in a->calls */
    vmx_acquired_cb *acquired;
    vmx_released_cb *released;
    vmx_read_cb *read;
    vmx_secrets_cb *secrets;
    void *data;
    /* reading */
    struct vmx_lock_info *infos;
    char **names, **hosts, **peers;
    struct read_one *reads;
    size_t n, open;
    bool failed;
    struct err err;
};

static struct agent_call *call_new(struct agent *a, void *data)
{
    struct agent_call *c = OBJ_NEW(struct agent_call);

    c->a = a;
    c->data = data;
    c->next = a->calls;
    c->link = &a->calls;
    if (c->next != NULL) {
        c->next->link = &c->next;
    }
    a->calls = c;
    return c;
}

static void call_free(struct agent_call *c)
{
    *c->link = c->next;
    if (c->next != NULL) {
        c->next->link = c->link;
    }
    for (size_t i = 0; i < c->n; i++) {
        free(c->names[i]);
        free(c->hosts[i]);
        free(c->peers[i]);
    }
    free(c->names);
    free(c->hosts);
    free(c->peers);
    free(c->infos);
    free(c->reads);
    free(c);
}

void agent_locks_done(struct agent *a)
{
    while (a->calls != NULL) {
        call_free(a->calls);
    }
}

/* Whatever leaves open whether the command was applied is unknown; only a definite refusal is not.
 */
static const struct err *outcome(const struct err *err, struct err *copy)
{
    if (err != NULL &&
        (err->code == ERR_TIMEOUT || err->code == ERR_CANCELED || err->code == ERR_SYS) &&
        str_eq(err->origin, "http")) {
        *copy = *err;
        copy->code = ERR_UNKNOWN_OUTCOME;
        return copy;
    }
    return err;
}

static void on_acquired(void *data, const struct err *err, const json_t *j)
{
    struct agent_call *c = data;
    const json_t *tokens = jget(j, "tokens");
    uint64_t values[1024]; /* CMD_MAX_LOCKS */
    struct err copy;
    size_t n = json_array_size(tokens);

    for (size_t i = 0; i < n && i < ARRAY_LEN(values); i++) {
        values[i] = (uint64_t)json_integer_value(json_array_get(tokens, i));
    }
    c->acquired(c->data, outcome(err, &copy), values, n <= ARRAY_LEN(values) ? n : 0);
    call_free(c);
}

static void env_acquire(void *ctx, const struct vmx_lock_ref *refs, size_t n, const char *reason,
                        vmx_acquired_cb *cb, void *data)
{
    struct agent_call *c = call_new(ctx, data);
    json_t *locks = json_array();

    c->acquired = cb;
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(
            locks, json_pack("{s:s, s:s}", "lock", refs[i].lock, "uid", refs[i].uid));
    }
    agent_set_add(c->a, AGENT_SET_ACQUIRE,
                  json_pack("{s:s, s:o}", "reason", reason, "locks", locks), on_acquired, c);
}

static void on_migrated(void *data, const struct err *err, json_t *j)
{
    on_acquired(data, err, j);
}

static void env_migrate(void *ctx, enum vmx_mig_op op, const struct vmx_lock_ref *refs, size_t n,
                        uint64_t peer_token, vmx_acquired_cb *cb, void *data)
{
    static const char *const ops[] = { [VMX_MIG_JOIN] = "migration-join",
                                       [VMX_MIG_COMMIT] = "migration-commit",
                                       [VMX_MIG_ABORT] = "migration-abort" };
    struct agent_call *c = call_new(ctx, data);
    json_t *locks = json_array();
    json_t *body;

    c->acquired = cb;
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(locks, json_pack("{s:s, s:s, s:I}", "lock", refs[i].lock, "uid",
                                                     refs[i].uid == NULL ? "" : refs[i].uid,
                                                     "token", (json_int_t)refs[i].token));
    }
    body = agent_body(c->a);
    (void)json_object_set_new(body, "locks", locks);
    (void)json_object_set_new(body, "reason", json_string("a migration"));
    if (op == VMX_MIG_COMMIT) {
        (void)json_object_set_new(body, "peerToken", json_integer((json_int_t)peer_token));
    }
    (void)agent_post(c->a, ops[op], body, false, 5000, on_migrated, c);
}

static void on_released(void *data, const struct err *err, const json_t *j)
{
    struct agent_call *c = data;
    struct err copy;

    (void)j;
    c->released(c->data, outcome(err, &copy));
    call_free(c);
}

static void env_release(void *ctx, const struct vmx_lock_ref *refs, size_t n, vmx_released_cb *cb,
                        void *data)
{
    struct agent_call *c = call_new(ctx, data);
    json_t *locks = json_array();

    c->released = cb;
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(locks, json_pack("{s:s, s:I}", "lock", refs[i].lock, "token",
                                                     (json_int_t)refs[i].token));
    }
    agent_set_add(c->a, AGENT_SET_RELEASE, json_pack("{s:o}", "locks", locks), on_released, c);
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* A Lock object as information; strings point into it. */
static struct vmx_lock_info info_of(const json_t *o)
{
    return (struct vmx_lock_info){
        .lock = jget_str(o, "status.object", jget_str(o, "spec.object", "")),
        .incarnation = (uint64_t)jget_int(o, "status.incarnation", 0),
        .token = (uint64_t)jget_int(o, "status.token", 0),
        .host = jget_str(o, "status.holder", ""),
        .peer_incarnation = (uint64_t)jget_int(o, "status.peerIncarnation", 0),
        .peer_token = (uint64_t)jget_int(o, "status.peerToken", 0),
        .peer_host = jget_str(o, "status.peer", ""),
        .aborted = jget_bool(o, "status.aborted", false),
        .quarantined = jget_bool(o, "status.quarantined", false),
    };
}

static bool listed(const struct agent *a, const struct vmx_lock_info *i, enum vmx_list kind)
{
    return kind == VMX_LIST_ALL ||
           (kind == VMX_LIST_OWNED ? i->incarnation : i->peer_incarnation) == a->incarnation;
}

void agent_locks_apply(struct agent *a, const json_t *list, uint64_t sent_ms, enum vmx_list kind)
{
    size_t n = json_array_size(list);
    struct vmx_lock_info *infos = mem_alloc((n + 1) * sizeof(*infos));
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        infos[k] = info_of(json_array_get(list, i));
        k += strchr(infos[k].lock, '/') != NULL && listed(a, &infos[k], kind);
    }
    vmx_locks(a->vmx, infos, k, sent_ms, kind);
    free(infos);
}

static void on_listed(void *data, const struct err *err, json_t *j)
{
    struct agent *a;

    OBJ_FROM(a, data, AGENT_MAGIC);
    a->list_busy = false;
    if (err == NULL && a->phase == AGENT_RUN && a->incarnation == a->list_incarnation) {
        agent_locks_apply(a, jget(j, "items"), a->list_ms,
                          a->list_peers ? VMX_LIST_PEERED : VMX_LIST_OWNED);
        agent_wake(a);
    }
}

void agent_locks_tick(struct agent *a, uint64_t now)
{
    char *query;

    if (a->phase != AGENT_RUN || a->list_busy || now < a->list_ms + LIST_MS) {
        return;
    }
    /* In turn: what we own, and where we are the peer (a join that nobody waits for any more). */
    a->list_peers = !a->list_peers;
    query = mem_printf("fieldSelector=status.%s%%3D%s", a->list_peers ? "peer" : "holder", a->name);
    a->list_busy = true;
    a->list_ms = now;
    a->list_incarnation = a->incarnation;
    (void)agent_read(a, "locks", NULL, query, on_listed, a);
    free(query);
}

static void read_end(struct agent_call *c)
{
    if (--c->open > 0) {
        return;
    }
    c->read(c->data, c->failed ? &c->err : NULL, c->infos, c->failed ? 0 : c->n);
    agent_wake(c->a);
    call_free(c);
}

static void on_read(void *data, const struct err *err, json_t *j)
{
    struct read_one *r = data;
    struct agent_call *c = r->c;
    struct vmx_lock_info *info = &c->infos[r->index];

    if (err != NULL && err->code != ERR_NOT_FOUND) {
        c->failed = true;
        c->err = *err;
    } else if (err == NULL) {
        *info = info_of(j);
        c->hosts[r->index] = mem_strdup(info->host);
        info->host = c->hosts[r->index];
        c->peers[r->index] = mem_strdup(info->peer_host);
        info->peer_host = c->peers[r->index];
    }
    info->lock = c->names[r->index];
    read_end(c);
}

static void env_read(void *ctx, const struct vmx_lock_ref *refs, size_t n, vmx_read_cb *cb,
                     void *data)
{
    struct agent_call *c = call_new(ctx, data);

    c->read = cb;
    c->n = n;
    c->open = n;
    c->infos = mem_alloc(n * sizeof(*c->infos));
    c->names = mem_alloc(n * sizeof(*c->names));
    c->hosts = mem_alloc(n * sizeof(*c->hosts));
    c->peers = mem_alloc(n * sizeof(*c->peers));
    c->reads = mem_alloc(n * sizeof(*c->reads));
    for (size_t i = 0; i < n && !c->a->stopping; i++) {
        struct read_one *r = &c->reads[i];
        char *object = mem_strdup(refs[i].lock);
        char *slash = strchr(object, '/');

        c->names[i] = mem_strdup(refs[i].lock);
        c->infos[i].host = "";
        c->infos[i].peer_host = "";
        r->c = c;
        r->index = i;
        CHECK(slash != NULL);
        *slash = '.'; /* "volumes.lvvm1" is the name of the Lock */
        (void)agent_read(c->a, "locks", object, NULL, on_read, r);
        free(object);
    }
}

static void on_secrets(void *data, const struct err *err, json_t *j)
{
    struct agent_call *c = data;

    c->secrets(c->data, err, jget(j, "values"));
    json_blank(j);
    call_free(c);
}

static void env_secrets(void *ctx, const char *vm, vmx_secrets_cb *cb, void *data)
{
    struct agent_call *c = call_new(ctx, data);

    c->secrets = cb;
    (void)agent_post(c->a, "secrets", json_pack("{s:s, s:s}", "kind", "VirtualMachine", "name", vm),
                     true, 5000, on_secrets, c);
}

const struct vmx_ops agent_vmx_ops = {
    .now_ms = env_now,
    .env = agent_env,
    .acquire = env_acquire,
    .release = env_release,
    .migrate = env_migrate,
    .read_locks = env_read,
    .secrets = env_secrets,
    .save = env_save,
    .forget = env_forget,
    .report = agent_report_vm,
    .wake = env_wake,
};
