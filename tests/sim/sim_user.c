/* The user at a workstation: requests through the real client library, over the simulated network,
 * with the rights of an administrator. */

#include <stdlib.h>
#include <string.h>

#include "api/client.h"
#include "api/manifest.h"
#include "api/valid.h"
#include "base/str.h"
#include "tests/sim/sim_priv.h"

#define PAUSE_MS 500U

struct call {
    bool done;
    struct err err;
    json_t *obj;
    struct http_call *http;
};

static void open_client(struct sim *s, struct proc *p)
{
    char text[MACHINES_MAX][64];
    char *servers[MACHINES_MAX];
    struct api_config cfg = { .servers = servers };
    struct err err;
    struct proc *before = sim_enter(p);

    for (unsigned i = 0; i < s->n_machines; i++) {
        if (s->machines[i].is_voter) {
            machine_address(&s->machines[i], 0, API_PORT, text[cfg.n_servers], sizeof(text[0]));
            servers[cfg.n_servers] = text[cfg.n_servers];
            cfg.n_servers++;
        }
    }
    CHECK(api_client_new(p->loop, &cfg, &p->api, &err) == 0);
    sim_leave(before);
}

void user_start(struct sim *s)
{
    struct machine *m = s->admin;

    m->powered = m->booted = true;
    m->procs[0].kind = PROC_USER;
    proc_start(&m->procs[0]);
    open_client(s, &m->procs[0]);
}

static void on_answer(void *data, const struct err *err, json_t *obj)
{
    struct call *c = data;

    c->done = true;
    c->http = NULL;
    if (err != NULL) {
        c->err = *err;
    } else {
        c->obj = json_incref(obj);
    }
}

static bool is_done(struct sim *s, void *ctx)
{
    (void)s;
    return ((struct call *)ctx)->done;
}

static void one_try(struct sim *s, struct proc *p, const struct api_op *op, struct call *c)
{
    struct proc *before = sim_enter(p);

    c->http = api_start(p->api, op, on_answer, c);
    sim_leave(before);
    if (!sim_run_until(s, is_done, c, op->timeout_ms + 60000)) {
        before = sim_enter(p);
        api_cancel(c->http);
        sim_leave(before);
        (void)err_set(&c->err, ERR_UNKNOWN_OUTCOME, "no answer");
    }
}

static bool never_happened(const struct err *err)
{
    return err->code == ERR_UNREACHABLE || err->code == ERR_NO_QUORUM ||
           err->code == ERR_NOT_LEADER || err->code == ERR_TIMEOUT || err->code == ERR_LIMIT;
}

static int request(struct sim *s, struct api_op *op, uint64_t ms, bool idempotent, json_t **ret,
                   struct err *err)
{
    uint64_t until = sim_time(s) + ms;

    for (;;) {
        struct call c = { .done = false };
        uint64_t left = until > sim_time(s) ? until - sim_time(s) : 1;

        op->timeout_ms = left < 12000 ? left : 12000;
        one_try(s, &s->admin->procs[0], op, &c);
        if (c.err.code == 0) {
            s->stats.requests++;
            if (ret != NULL) {
                *ret = c.obj;
            } else {
                json_decref(c.obj);
            }
            return 0;
        }
        *err = c.err;
        if ((!never_happened(err) && !(idempotent && err->code == ERR_UNKNOWN_OUTCOME)) ||
            sim_time(s) + PAUSE_MS >= until) {
            return err->code;
        }
        sim_run(s, PAUSE_MS);
    }
}

int sim_request_as(struct sim *s, const char *method, const char *target, const char *content_type,
                   const json_t *body, uint64_t ms, json_t **ret, struct err *err)
{
    struct api_op op = {
        .method = method, .target = target, .content_type = content_type, .body = body
    };

    return request(s, &op, ms, str_eq(method, "GET"), ret, err);
}

int sim_request(struct sim *s, const char *method, const char *target, const json_t *body,
                uint64_t ms, json_t **ret, struct err *err)
{
    return sim_request_as(s, method, target, NULL, body, ms, ret, err);
}

/* Somebody else at the same workstation: new connections, since they show who it is. */
static struct proc *other_user(struct sim *s, const struct sim_caller *by)
{
    struct proc *p = &s->admin->procs[1], *before;
    const char *role = by->role == NULL ? "picket:admins" : by->role;
    const char *name = by->name == NULL ? "admin" : by->name;

    if (p->alive && str_eq(p->role, role) && str_eq(p->name, name)) {
        return p;
    }
    if (p->alive) {
        before = sim_enter(p);
        api_client_close(p->api, NULL, NULL);
        sim_leave(before);
    } else {
        p->kind = PROC_USER;
        proc_start(p);
    }
    (void)str_copy(p->role, sizeof(p->role), role);
    (void)str_copy(p->name, sizeof(p->name), name);
    open_client(s, p);
    return p;
}

int sim_request_by(struct sim *s, const struct sim_caller *by, const char *method,
                   const char *target, const json_t *body, uint64_t ms, json_t **ret,
                   struct err *err)
{
    struct api_op op = {
        .method = method, .target = target, .body = body, .request_id = by->id, .timeout_ms = ms
    };
    struct call c = { .done = false };

    one_try(s, other_user(s, by), &op, &c);
    if (c.err.code != 0) {
        *err = c.err;
        return err->code;
    }
    *ret = c.obj;
    return 0;
}

int sim_get(struct sim *s, const char *plural, const char *name, json_t **ret, struct err *err)
{
    struct api_op op = { .method = "GET", .plural = plural, .name = name };

    return request(s, &op, 30000, true, ret, err);
}

/* The disks that a manifest speaks of are there. */
static void make_volumes(struct sim *s, const struct manifest *m)
{
    for (size_t i = 0; i < manifest_count(m); i++) {
        const json_t *obj = manifest_doc(m, i)->obj;

        if (str_eq(jget_str(obj, "kind", ""), "Volume")) {
            guest_san_add(s, jget_str(obj, "spec.volumeGroup", ""),
                          jget_str(obj, "metadata.name", ""));
        }
    }
}

int sim_apply(struct sim *s, const char *yaml, uint64_t ms, struct err *err)
{
    struct manifest *m = NULL;
    struct api_op op = { .method = "POST", .target = API_PREFIX "/apply", .repeatable = true };
    json_t *items = json_array(), *body;
    int rc = manifest_parse(yaml, strlen(yaml), "-", &m, err);

    if (rc == 0) {
        make_volumes(s, m);
        for (size_t i = 0; i < manifest_count(m); i++) {
            (void)json_array_append(items, manifest_doc(m, i)->obj);
        }
        body = json_pack("{s:O, s:s}", "items", items, "fieldManager", "picket");
        op.body = body;
        rc = request(s, &op, ms, true, NULL, err);
        json_decref(body);
        sim_log(s, "user: apply of %zu objects: %s", manifest_count(m),
                rc == 0 ? "done" : err->msg);
    }
    json_decref(items);
    manifest_free(m);
    return rc;
}
