#include <inttypes.h>
#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* Copies of the objects that concern hosts, kept by reflectors, and putting those of the host
 * (LUNs, bonds, bridges ...) into effect through the driver, one at a time. */

static const struct {
    const char *plural;
    bool apply;
} watched[] = {
    { "clusters", false },         { "hosts", false },       { "virtualmachines", false },
    { "volumes", false },          { "volumegroups", true }, { "iscsitargets", true },
    { "multipathpolicies", true }, { "luns", true },         { "bonds", true },
    { "bridges", true },           { "vlans", true },        { "networkchecks", true },
    { "sharedfilesystems", true },
};

static struct agent_cache *find_cache(struct agent *a, const char *plural)
{
    for (size_t i = 0; i < a->n_caches; i++) {
        if (str_eq(a->caches[i].plural, plural)) {
            return &a->caches[i];
        }
    }
    return NULL;
}

const json_t *agent_object(void *ctx, const char *plural, const char *name)
{
    struct agent *a;
    const struct agent_cache *c;
    const struct agent_obj *o;

    OBJ_FROM(a, ctx, AGENT_MAGIC);
    c = find_cache(a, plural);
    o = c == NULL ? NULL : map_get(&c->objects, name);
    return o == NULL ? NULL : o->json;
}

/* Without these four nothing can be said about what should run. */
bool agent_synced(const struct agent *a)
{
    static const char *const needed[] = { "clusters", "virtualmachines", "volumes",
                                          "volumegroups" };
    size_t n = 0;

    for (size_t i = 0; i < a->n_caches; i++) {
        for (size_t k = 0; k < ARRAY_LEN(needed); k++) {
            n += str_eq(a->caches[i].plural, needed[k]) && a->caches[i].synced;
        }
    }
    return n == ARRAY_LEN(needed);
}

/* --- changes -----------------------------------------------------------------------------------
 */

static void cluster_changed(struct agent *a, const json_t *cluster)
{
    struct timing_in in = {
        .heartbeat_ms = jget_duration(cluster, "spec.timing.heartbeat", 0),
        .host_timeout_ms = jget_duration(cluster, "spec.timing.hostTimeout", 0),
        .watchdog_ms = jget_duration(cluster, "spec.timing.watchdog", 0),
        .dev = a->dev,
    };
    struct timing t;
    struct err err;

    if (timing_derive(&in, &t, &err) != 0) {
        lg_err("agent", "err=\"%s\" msg=\"the cluster's timing is not used\"", err.msg);
        return;
    }
    a->timing = t;
    renew_heartbeat(a->renew, (uint32_t)t.heartbeat_ms);
    vmx_kick_all(a->vmx); /* it may have been paused */
}

static void changed(struct agent_cache *c, const char *name, struct agent_obj *o)
{
    struct agent *a = c->a;

    if (str_eq(c->plural, "virtualmachines")) {
        vmx_kick(a->vmx, name);
    } else if (str_eq(c->plural, "clusters") && o != NULL) {
        cluster_changed(a, o->json);
    } else if (str_eq(c->plural, "volumes") || str_eq(c->plural, "volumegroups")) {
        vmx_kick_all(a->vmx);
    }
    if (c->apply) {
        if (o != NULL) {
            o->to_apply = true;
        } else {
            agent_report_put(a, c->plural, name, NULL);
        }
        agent_apply_next(a);
    }
    agent_wake(a);
}

/* What the agent never reads is not kept: there may be thousands of machines. */
static json_t *slim(const struct agent_cache *c, json_t *obj)
{
    static const char *const heavy[] = { "managedFields", "annotations", "creationTimestamp",
                                         "finalizers", "ownerReferences" };
    json_t *copy = json_copy(obj);
    json_t *meta = json_copy(json_object_get(obj, "metadata"));
    const json_t *status = json_object_get(obj, "status");

    for (size_t i = 0; i < ARRAY_LEN(heavy); i++) {
        (void)json_object_del(meta, heavy[i]);
    }
    (void)json_object_set_new(copy, "metadata", meta);
    if (str_eq(c->plural, "virtualmachines") && status != NULL) {
        json_t *few = json_object();

        (void)json_object_set(few, "assignedHost", json_object_get(status, "assignedHost"));
        (void)json_object_set(few, "assignedIncarnation",
                              json_object_get(status, "assignedIncarnation"));
        (void)json_object_set_new(copy, "status", few);
    } else if (!str_eq(c->plural, "hosts")) {
        (void)json_object_del(copy, "status");
    }
    return copy;
}

static void obj_free(struct agent_obj *o)
{
    json_decref(o->json);
    free(o);
}

static void put(struct agent_cache *c, json_t *obj)
{
    const char *name = obj_name(obj);
    struct agent_obj *o = map_get(&c->objects, name);
    json_t *copy;
    bool same;

    if (str_eq(c->plural, "hosts") && !str_eq(name, c->a->name)) {
        return;
    }
    copy = slim(c, obj);
    if (o == NULL) {
        o = OBJ_NEW(struct agent_obj);
        (void)map_put(&c->objects, name, o);
    }
    same =
        o->json != NULL &&
        json_equal(json_object_get(o->json, "spec"), json_object_get(copy, "spec")) &&
        json_equal(json_object_get(o->json, "status"), json_object_get(copy, "status")) &&
        jget_int(o->json, "metadata.generation", 0) == jget_int(copy, "metadata.generation", 0) &&
        str_eq(jget_str(o->json, "metadata.uid", ""), jget_str(copy, "metadata.uid", "")) &&
        str_eq(jget_str(o->json, "metadata.deletionTimestamp", ""),
               jget_str(copy, "metadata.deletionTimestamp", ""));
    json_decref(o->json);
    o->json = copy;
    o->round = c->round;
    if (!same) {
        changed(c, name, o);
    }
}

static void drop(struct agent_cache *c, const char *name)
{
    char *copy = mem_strdup(name);
    struct agent_obj *o = map_del(&c->objects, copy);

    if (o != NULL) {
        obj_free(o);
        changed(c, copy, NULL);
    }
    free(copy);
}

/* --- reflectors --------------------------------------------------------------------------------
 */

static void on_sync_begin(void *data)
{
    struct agent_cache *c = data;

    c->round++;
}

static void on_object(void *data, enum api_event type, json_t *obj)
{
    struct agent_cache *c = data;

    if (type == API_DELETED) {
        drop(c, obj_name(obj));
    } else {
        put(c, obj);
    }
}

static void on_synced(void *data)
{
    struct agent_cache *c = data;
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&c->objects, &i, &name, &v);) {
        if (((const struct agent_obj *)v)->round != c->round) {
            drop(c, name);
        }
    }
    if (!c->synced) {
        c->synced = true;
        lg_debug("agent", "plural=%s objects=%zu msg=\"synced\"", c->plural, c->objects.count);
        if (agent_synced(c->a)) {
            vmx_kick_all(c->a->vmx);
        }
        agent_wake(c->a);
    }
}

static void watch_open(struct agent_cache *c)
{
    static const struct api_watch_cbs cbs = { .on_sync_begin = on_sync_begin,
                                              .on_object = on_object,
                                              .on_synced = on_synced };
    struct agent *a = c->a;
    char *own = mem_printf("fieldSelector=metadata.name%%3D%s", a->name);

    c->watch = str_eq(c->plural, "hosts") ? api_watch_query(a->api, c->plural, own, &cbs, c)
                                          : api_watch_new(a->api, c->plural, &cbs, c);
    free(own);
}

void agent_watch_start(struct agent *a)
{
    if (a->n_caches > 0) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
        struct agent_cache *c = &a->caches[a->n_caches++];

        c->a = a;
        c->plural = watched[i].plural;
        c->apply = watched[i].apply;
        watch_open(c);
    }
}

void agent_watch_restart(struct agent *a)
{
    for (size_t i = 0; i < a->n_caches; i++) {
        api_watch_free(a->caches[i].watch);
        watch_open(&a->caches[i]);
    }
}

void agent_watch_stop(struct agent *a)
{
    for (size_t i = 0; i < a->n_caches; i++) {
        const char *name;
        void *v;

        for (size_t k = 0; map_next(&a->caches[i].objects, &k, &name, &v);) {
            obj_free(v);
        }
        map_done(&a->caches[i].objects);
    }
    a->n_caches = 0;
    json_decref(a->apply_object);
    free(a->apply_plural);
    free(a->apply_name);
}

/* --- objects of the host -----------------------------------------------------------------------
 */

static void on_applied(struct drv_job *job, const struct err *err)
{
    struct agent *a;
    const struct kind *k;
    json_t *item;

    OBJ_FROM(a, job->data, AGENT_MAGIC);
    a->apply_busy = false;
    k = kind_by_plural(a->apply_plural);
    if (agent_object(a, a->apply_plural, a->apply_name) != NULL && k != NULL && !a->stopping) {
        item = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "kind", k->name, "name",
                         a->apply_name, "uid", jget_str(a->apply_object, "metadata.uid", ""),
                         "state", err == NULL && job->result.ready ? "Ready" : "NotReady", "reason",
                         err != NULL ? err_name(err->code) : job->result.reason, "message",
                         err != NULL ? err->msg : job->result.message, "generation",
                         (json_int_t)jget_int(a->apply_object, "metadata.generation", 0));
        agent_report_put(a, a->apply_plural, a->apply_name, item);
    }
    json_decref(a->apply_object);
    a->apply_object = NULL;
    if (!a->stopping) {
        agent_apply_next(a);
    }
}

static void apply(struct agent *a, const char *plural, const char *name, json_t *obj)
{
    free(a->apply_plural);
    free(a->apply_name);
    a->apply_plural = mem_strdup(plural);
    a->apply_name = mem_strdup(name);
    a->apply_object = json_incref(obj);
    a->apply_busy = true;
    a->apply_job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                                     .op = DRV_APPLY,
                                     .kind = a->apply_plural,
                                     .name = a->apply_name,
                                     .object = a->apply_object,
                                     .deadline_ms = clock_now_ms() + 60000,
                                     .cb = on_applied,
                                     .data = a };
    drv_submit(a->drv, &a->apply_job);
}

void agent_apply_next(struct agent *a)
{
    if (a->apply_busy) {
        return;
    }
    for (size_t i = 0; i < a->n_caches; i++) {
        const char *name;
        void *v;

        for (size_t k = 0; a->caches[i].apply && map_next(&a->caches[i].objects, &k, &name, &v);) {
            struct agent_obj *o = v;

            if (o->to_apply) {
                o->to_apply = false;
                apply(a, a->caches[i].plural, name, o->json);
                return;
            }
        }
    }
}
