#include <inttypes.h>
#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* Reports: what this host observes, sent in batches, changes only; everything after a registration.
 */

#define BATCH_MAX 500U
#define GATHER_MS 5U /* changes of one moment go together */

struct agent_report {
    json_t *now;  /* NULL: gone */
    json_t *sent; /* what the store has; NULL: nothing */
    json_t *flying;
    bool in_flight;
};

static void on_report_timer(uv_timer_t *t);

static void report_free(struct agent_report *r)
{
    json_decref(r->now);
    json_decref(r->sent);
    json_decref(r->flying);
    free(r);
}

void agent_report_done(struct agent *a)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&a->reports, &i, &key, &v);) {
        report_free(v);
    }
    map_done(&a->reports);
}

json_t *agent_body(const struct agent *a)
{
    return json_pack("{s:I, s:I}", "incarnation", (json_int_t)a->incarnation, "epoch",
                     (json_int_t)a->epoch);
}

struct http_call *agent_post(struct agent *a, const char *op, json_t *body, bool repeatable,
                             uint64_t timeout_ms, api_cb *cb, void *data)
{
    struct api_op o = { .method = "POST",
                        .plural = "hosts",
                        .name = a->name,
                        .sub = op,
                        .body = body,
                        .timeout_ms = timeout_ms,
                        .repeatable = repeatable };
    struct http_call *call;

    CHECK(body != NULL);
    if (a->stopping) { /* a driver's last job led here; nobody waits for the answer */
        json_decref(body);
        return NULL;
    }
    call = api_start(a->api, &o, cb, data);
    json_decref(body);
    return call;
}

static void schedule(struct agent *a, uint64_t in_ms)
{
    if (!a->stopping && a->report_call == NULL) {
        CHECK(uv_timer_start(&a->report_timer, on_report_timer, in_ms, 0) == 0);
    }
}

/* --- what is to be said ------------------------------------------------------------------------
 */

void agent_report_put(struct agent *a, const char *plural, const char *name, json_t *item)
{
    char *key = mem_printf("%s/%s", plural, name);
    struct agent_report *r = map_get(&a->reports, key);

    if (r == NULL && item != NULL) {
        r = OBJ_NEW(struct agent_report);
        (void)map_put(&a->reports, key, r);
    }
    if (r != NULL && !(item == NULL && r->now == NULL) &&
        (item == NULL || r->now == NULL || !json_equal(item, r->now))) {
        json_decref(r->now);
        r->now = json_incref(item);
        schedule(a, GATHER_MS);
    }
    json_decref(item);
    free(key);
}

void agent_report_vm(void *ctx, const struct vmx_report *v)
{
    const struct vm_report *p = v->report;
    const json_t *obj;
    struct agent *a;
    json_t *item;

    OBJ_FROM(a, ctx, AGENT_MAGIC);
    if (p == NULL) {
        agent_report_put(a, "virtualmachines", v->vm, NULL);
        return;
    }
    obj = agent_object(a, "virtualmachines", v->vm);
    item = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:b}", "kind", "VirtualMachine", "name",
        v->vm, "uid", v->uid, "state", p->state, "incarnation", (json_int_t)a->incarnation, "token",
        (json_int_t)v->token, "reason", p->reason, "message", p->message, "sinceWallMs",
        (json_int_t)v->since_wall_ms, "restarts", (json_int_t)v->restarts, "active", p->active);
    CHECK(item != NULL);
    if (p->halted) {
        (void)json_object_set_new(item, "halted", json_true());
    }
    if (v->domid != 0 && p->active && !a->dev) {
        (void)json_object_set_new(item, "domid", json_integer(v->domid));
    }
    if (v->migration != NULL) {
        (void)json_object_set_new(item, "migration",
                                  json_pack("{s:s, s:s, s:s, s:I, s:I}", "uid", v->migration,
                                            "phase", p->mig_phase, "message", p->mig_message,
                                            "stillMs", (json_int_t)v->still_ms, "resumeMs",
                                            (json_int_t)v->resume_ms));
    }
    if (v->console != NULL && p->active) {
        (void)json_object_set_new(item, "console", json_string(v->console));
    }
    if (v->stop_wall_ms != 0) {
        (void)json_object_set_new(item, "lastStop",
                                  json_pack("{s:I, s:s, s:s}", "wallMs",
                                            (json_int_t)v->stop_wall_ms, "reason", v->stop_reason,
                                            "message", v->stop_message));
    }
    (void)json_object_set_new(item, "generation",
                              json_integer(jget_int(obj, "metadata.generation", 0)));
    agent_report_put(a, "virtualmachines", v->vm, item);
}

/* Volumes: that they are there, and which are active here. */
void agent_report_volumes(struct agent *a)
{
    struct obs *o = vmx_obs(a->vmx);
    const char *group, *name;
    enum vol_state st;
    uint64_t size;
    bool open;

    if (a->phase != AGENT_RUN ||
        (a->volumes_reported == a->volumes_version && a->obs_reported == obs_version(o))) {
        return;
    }
    a->volumes_reported = a->volumes_version;
    a->obs_reported = obs_version(o);
    a->trim = true; /* looking at them all parses them all */
    for (size_t i = 0; obs_volume_next(o, &i, &group, &name, &st, &open, &size);) {
        const json_t *obj = agent_object(a, "volumes", name);
        bool ours = obj != NULL && str_eq(jget_str(obj, "spec.volumeGroup", ""), group);
        char *lock = mem_printf("volumes/%s", name);
        json_t *item = NULL;

        if (ours && st == VOL_ACTIVE && vmx_token(a->vmx, lock) == 0) {
            item = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "kind", "Volume", "name", name,
                             "uid", jget_str(obj, "metadata.uid", ""), "state", "NotReady",
                             "reason", "ActiveWithoutLock", "message",
                             open ? "active without its lock, and open: activated by hand? Close it"
                                  : "active without its lock: activated by hand? It is deactivated",
                             "active", 1);
        } else if (ours && (st == VOL_ACTIVE || st == VOL_INACTIVE)) {
            item =
                json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I}", "kind", "Volume", "name",
                          name, "uid", jget_str(obj, "metadata.uid", ""), "state", "Ready",
                          "reason", st == VOL_ACTIVE ? "Active" : "Inactive", "message", "",
                          "active", st == VOL_ACTIVE, "incarnation", (json_int_t)a->incarnation,
                          "token", (json_int_t)(st == VOL_ACTIVE ? vmx_token(a->vmx, lock) : 0));
        }
        if (item != NULL && size != 0) {
            (void)json_object_set_new(item, "size", json_integer((json_int_t)size));
        }
        agent_report_put(a, "volumes", name, item);
        free(lock);
    }
}

const json_t *agent_report_next(const struct agent *a, size_t *pos, const char **ret_key)
{
    void *v;

    while (map_next(&a->reports, pos, ret_key, &v)) {
        if (((const struct agent_report *)v)->now != NULL) {
            return ((const struct agent_report *)v)->now;
        }
    }
    return NULL;
}

/* --- sending -----------------------------------------------------------------------------------
 */

static void on_reported(void *data, const struct err *err, json_t *j)
{
    struct agent *a;
    const char *key;
    void *v;
    bool more = false;

    (void)j;
    OBJ_FROM(a, data, AGENT_MAGIC);
    a->report_call = NULL;
    for (size_t i = 0; map_next(&a->reports, &i, &key, &v);) {
        struct agent_report *r = v;

        if (r->in_flight) {
            r->in_flight = false;
            json_decref(r->sent);
            /* Not answered: the store may have either; send it again whatever it is. */
            r->sent = err == NULL ? r->flying : json_pack("{s:b}", "unknown", 1);
            if (err != NULL) {
                json_decref(r->flying);
            }
            r->flying = NULL;
        }
        if (r->now == NULL && r->sent == NULL) {
            (void)map_del(&a->reports, key);
            report_free(r);
        } else {
            more = more || !(r->now != NULL && r->sent != NULL && json_equal(r->now, r->sent));
        }
    }
    if (err != NULL) {
        if (a->report_failures++ == 0) {
            lg_warn("agent", "err=\"%s\" msg=\"report not taken, trying again\"", err->msg);
        }
    } else {
        a->report_failures = 0;
        if (a->report_full) {
            a->report_full = false;
            agent_boot_inventoried(a);
        }
    }
    if (more || a->report_full) {
        schedule(a, err == NULL ? GATHER_MS : agent_jitter(a, a->report_failures));
    }
}

/* Everything that differs from what the store has (or everything), as one request. */
static void gather(struct agent *a, json_t *items, json_t *gone)
{
    size_t max = a->report_full ? SIZE_MAX : BATCH_MAX;
    const char *key;
    size_t n = 0;
    void *v;

    for (size_t i = 0; n < max && map_next(&a->reports, &i, &key, &v);) {
        struct agent_report *r = v;

        if (!a->report_full &&
            ((r->now == NULL && r->sent == NULL) ||
             (r->now != NULL && r->sent != NULL && json_equal(r->now, r->sent)))) {
            continue;
        }
        if (r->now != NULL) {
            (void)json_array_append(items, r->now);
        } else {
            (void)json_array_append_new(gone, json_string(key));
        }
        r->flying = json_incref(r->now);
        r->in_flight = true;
        n++;
    }
}

static void send_reports(struct agent *a)
{
    json_t *items = json_array();
    json_t *gone = json_array();
    json_t *body;

    gather(a, items, gone);
    if (json_array_size(items) == 0 && json_array_size(gone) == 0 && !a->report_full) {
        json_decref(items);
        json_decref(gone);
        return;
    }
    body = agent_body(a);
    a->report_sequence =
        clock_now_ms() > a->report_sequence ? clock_now_ms() : a->report_sequence + 1;
    (void)json_object_set_new(body, "sequence", json_integer((json_int_t)a->report_sequence));
    (void)json_object_set_new(body, "full", json_boolean(a->report_full));
    (void)json_object_set_new(body, "items", items);
    (void)json_object_set_new(body, "gone", gone);
    a->report_call = agent_post(a, "report", body, true, 10000, on_reported, a);
}

static void on_report_timer(uv_timer_t *t)
{
    struct agent *a;

    OBJ_FROM(a, t->data, AGENT_MAGIC);
    /* Before the inventory nothing is told in part: it would read as if it were all. */
    if (a->report_call == NULL && (a->phase == AGENT_RUN || a->report_full)) {
        send_reports(a);
    }
}

void agent_report_send_full(struct agent *a)
{
    a->report_full = true;
    vmx_report_all(a->vmx);
    if (a->report_call == NULL) {
        send_reports(a);
    }
}
