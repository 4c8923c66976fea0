#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/timing_io.h"
#include "reconciler/agent_priv.h"

/* Copies of the objects that concern hosts, kept by reflectors. */

static const struct {
    const char *plural;
    bool apply;
} watched[] = {
    { "clusters", false },         { "hosts", false },       { "virtualmachines", false },
    { "volumes", false },          { "volumegroups", true }, { "iscsitargets", true },
    { "multipathpolicies", true }, { "luns", true },         { "bonds", true },
    { "bridges", true },           { "vlans", true },        { "networkchecks", false },
    { "sharedfilesystems", true },
};

const struct agent_cache *agent_cache(struct agent *a, const char *plural)
{
    for (size_t i = 0; i < a->n_caches; i++) {
        if (str_eq(a->caches[i].plural, plural)) {
            return &a->caches[i];
        }
    }
    return NULL;
}

struct agent_obj *agent_find(struct agent *a, const char *plural, const char *name)
{
    const struct agent_cache *c = agent_cache(a, plural);

    return c == NULL ? NULL : map_get(&c->objects, name);
}

const json_t *agent_object(void *ctx, const char *plural, const char *name)
{
    struct agent *a;
    struct agent_obj *o;

    OBJ_FROM(a, ctx, AGENT_MAGIC);
    o = agent_find(a, plural, name);
    if (o == NULL) {
        return NULL;
    }
    if (o->json == NULL) {
        o->json = json_loads(o->text, 0, NULL);
        CHECK(o->json != NULL);
    }
    return o->json;
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
    timing_log(&a->timing_logged, &t);
    renew_timing(a->renew, (uint32_t)t.heartbeat_ms, (uint32_t)t.renew_connect_ms);
    agent_slot_follow(a);
    vmx_kick_all(a->vmx); /* it may have been paused */
}

static void host_changed(struct agent *a, const json_t *host)
{
    if (a->on_host != NULL) {
        a->on_host(a->ctx, host);
    }
    agent_check_follow_all(a); /* the labels say which */
}

static void changed(struct agent_cache *c, const char *name, struct agent_obj *o)
{
    struct agent *a = c->a;

    if (str_eq(c->plural, "virtualmachines")) {
        vmx_kick(a->vmx, name);
    } else if (str_eq(c->plural, "clusters") && o != NULL) {
        cluster_changed(a, agent_object(a, c->plural, name));
    } else if (str_eq(c->plural, "hosts") && o != NULL) {
        host_changed(a, agent_object(a, c->plural, name));
    } else if (str_eq(c->plural, "networkchecks")) {
        agent_check_follow(a, name);
    } else if (str_eq(c->plural, "volumes") || str_eq(c->plural, "volumegroups")) {
        a->volumes_version++;
        agent_slot_follow(a);
        vmx_kick_all(a->vmx);
    }
    if (c->apply) {
        if (o != NULL) {
            o->apply_ms = 1; /* now */
        } else {
            agent_apply_deleted(a, c->plural, name);
        }
        agent_apply_next(a);
    }
    agent_wake(a);
}

static json_t *pick(const json_t *obj, const char *const *names, size_t n)
{
    json_t *few = json_object();

    for (size_t i = 0; i < n; i++) {
        json_t *v = json_object_get(obj, names[i]);

        if (v != NULL) {
            (void)json_object_set(few, names[i], v);
        }
    }
    return few;
}

/* Of a machine that is another host's business: what stopping or adopting it would need. */
static json_t *slim_elsewhere(const json_t *spec)
{
    static const char *const kept[] = { "runPolicy", "paused", "disks", "ha", "shutdownTimeout" };

    return pick(spec, kept, ARRAY_LEN(kept));
}

/* Assigned to this host, or about to come. */
static bool here(const struct agent_cache *c, const json_t *vm)
{
    return str_eq(jget_str(vm, "status.assignedHost", ""), c->a->name) ||
           str_eq(jget_str(vm, "status.migration.target", ""), c->a->name);
}

static json_t *slim_status(const struct agent_cache *c, const json_t *vm)
{
    static const char *const status[] = { "assignedHost", "assignedIncarnation", "migration" };
    bool moves = here(c, vm) || str_eq(jget_str(vm, "status.migration.source", ""), c->a->name);

    return pick(json_object_get(vm, "status"), status, ARRAY_LEN(status) - (moves ? 0 : 1));
}

/* What the agent never reads is not kept: there may be thousands of machines. */
static json_t *slim(const struct agent_cache *c, json_t *obj)
{
    static const char *const meta[] = {
        "name", "uid", "generation", "deletionTimestamp", "resourceVersion", "labels"
    };                                                    /* these for our own Host only */
    static const char *const pins[] = { "wwid", "uuid" }; /* what a disk or a group was, once */
    json_t *copy = json_copy(obj);
    bool vm = str_eq(c->plural, "virtualmachines");
    bool host = str_eq(c->plural, "hosts");

    (void)json_object_set_new(
        copy, "metadata",
        pick(json_object_get(obj, "metadata"), meta, ARRAY_LEN(meta) - (host ? 0 : 2)));
    (void)json_object_del(copy, "apiVersion");
    (void)json_object_del(copy, "kind");
    if (vm && json_object_get(obj, "status") != NULL) {
        (void)json_object_set_new(copy, "status", slim_status(c, obj));
    } else if (str_eq(c->plural, "luns") || str_eq(c->plural, "volumegroups")) {
        (void)json_object_set_new(copy, "status",
                                  pick(json_object_get(obj, "status"), pins, ARRAY_LEN(pins)));
    } else if (!host) {
        (void)json_object_del(copy, "status");
    }
    if (vm && !here(c, obj)) {
        (void)json_object_set_new(copy, "spec", slim_elsewhere(json_object_get(obj, "spec")));
    }
    return copy;
}

static void obj_free(struct agent_obj *o)
{
    json_decref(o->json);
    free(o->text);
    free(o);
}

static bool hot(const struct agent_cache *c, const json_t *obj)
{
    if (str_eq(c->plural, "virtualmachines")) {
        return here(c, obj);
    }
    return !str_eq(c->plural, "volumes");
}

static void put(struct agent_cache *c, json_t *obj)
{
    const char *name = obj_name(obj);
    struct agent_obj *o = map_get(&c->objects, name);
    json_t *copy;
    char *text;

    if (str_eq(c->plural, "hosts") && !str_eq(name, c->a->name)) {
        return;
    }
    copy = slim(c, obj);
    text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    CHECK(text != NULL);
    if (o == NULL) {
        o = OBJ_NEW(struct agent_obj);
        (void)map_put(&c->objects, name, o);
    }
    o->round = c->round;
    o->hot = hot(c, obj);
    c->a->trim = true;
    if (str_eq(o->text, text)) {
        free(text);
        return;
    }
    free(o->text);
    o->text = text;
    json_decref(o->json);
    o->json = NULL;
    changed(c, name, o);
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
}

#define TRIM_MS 10000U

static void cool(struct agent_cache *c)
{
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&c->objects, &i, &name, &v);) {
        struct agent_obj *o = v;

        if (!o->hot) {
            json_decref(o->json);
            o->json = NULL;
        }
    }
}

void agent_watch_tick(struct agent *a, uint64_t now)
{
    if (!a->trim || now < a->trim_ms + TRIM_MS) {
        return;
    }
    a->trim = false;
    a->trim_ms = now;
    for (size_t i = 0; i < a->n_caches; i++) {
        cool(&a->caches[i]);
    }
    (void)malloc_trim(0); /* a list of thousands was parsed and freed */
}
