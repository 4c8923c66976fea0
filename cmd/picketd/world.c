#include "cmd/picketd/world.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_path.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/world_priv.h"

#define TURN_EVENTS 512U
#define TURN_US 8000U

size_t kind_number(const struct kind *k)
{
    for (size_t i = 0; i < kind_count(); i++) {
        if (kind_at(i) == k) {
            return i;
        }
    }
    CHECK_UNREACHABLE();
}

/* --- references --------------------------------------------------------------------------------
 */

static void refs_del(struct world *w, const char *ref, const struct ctl_obj *o)
{
    struct world_refs *r = map_get(&w->referrers, ref);

    for (size_t i = 0; r != NULL && i < r->n; i++) {
        if (r->items[i] == o) {
            r->items[i] = r->items[--r->n];
            break;
        }
    }
    if (r != NULL && r->n == 0) {
        (void)map_del(&w->referrers, ref);
        free(r->items);
        free(r);
    }
}

static void refs_add(struct world *w, const char *ref, struct ctl_obj *o)
{
    struct world_refs *r = map_get(&w->referrers, ref);

    if (r == NULL) {
        r = OBJ_NEW(struct world_refs);
        (void)map_put(&w->referrers, ref, r);
    }
    if ((r->n & (r->n - 1)) == 0) { /* doubles at 0, 1, 2, 4, ... */
        r->items = mem_realloc(r->items, (r->n == 0 ? 1 : r->n * 2) * sizeof(*r->items));
    }
    r->items[r->n++] = o;
}

struct ref_list {
    struct world_ref *items;
    size_t n;
};

static void ref_append(struct ref_list *l, const struct kind *k, const char *name, const char *mark)
{
    struct world_ref *r;

    if (k == NULL) {
        return;
    }
    l->items = mem_realloc(l->items, (l->n + 1) * sizeof(*l->items));
    r = &l->items[l->n++];
    *r = (struct world_ref){ .k = k, .owner = *mark != 0 };
    r->key = mem_printf("%s%s/%s", mark, *mark == '#' ? "mac" : k->name, name);
    r->name = strchr(r->key, '/') + 1;
}

static void ref_collect(void *ctx, const char *ref_kind, const char *name, const char *path)
{
    (void)path;
    ref_append(ctx, kind_find(ref_kind), name, "");
}

static void owner_collect(struct ref_list *l, const struct ctl_obj *o)
{
    const json_t *owner = jget(o->json, "metadata.ownerReferences.0");

    if (owner != NULL) {
        ref_append(l, kind_find(jget_str(owner, "kind", "")), jget_str(owner, "name", ""), "@");
    }
}

static void mac_collect(struct ref_list *l, const struct ctl_obj *o)
{
    const json_t *nics = str_eq(o->k->name, "VirtualMachine") ? jget(o->json, "spec.nics") : NULL;

    for (size_t i = 0; i < json_array_size(nics); i++) {
        char mac[32];

        (void)str_copy(mac, sizeof(mac), jget_str(json_array_get(nics, i), "mac", ""));
        for (char *p = mac; *p != 0; p++) {
            *p = (char)tolower((unsigned char)*p);
        }
        if (*mac != 0) {
            ref_append(l, o->k, mac, "#");
        }
    }
}

static bool refs_same(const struct ctl_obj *o, const struct ref_list *l)
{
    if (o->n_refs != l->n) {
        return false;
    }
    for (size_t i = 0; i < l->n; i++) {
        if (!str_eq(o->refs[i].key, l->items[i].key)) {
            return false;
        }
    }
    return true;
}

static void refs_free(struct world_ref *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(items[i].key);
    }
    free(items);
}

/* What an object refers to changes rarely; its status changes all the time. */
static void refs_update(struct world *w, struct ctl_obj *o)
{
    struct ref_list l = { 0 };

    obj_refs(o->k, o->json, ref_collect, &l);
    owner_collect(&l, o);
    mac_collect(&l, o);
    if (refs_same(o, &l)) {
        refs_free(l.items, l.n);
        return;
    }
    for (size_t i = 0; i < o->n_refs; i++) {
        refs_del(w, o->refs[i].key, o);
    }
    refs_free(o->refs, o->n_refs);
    o->refs = l.items;
    o->n_refs = l.n;
    for (size_t i = 0; i < o->n_refs; i++) {
        refs_add(w, o->refs[i].key, o);
    }
}

static void visit_refs(const struct world *w, const char *ref,
                       void (*fn)(void *ctx, struct ctl_obj *o), void *ctx)
{
    const struct world_refs *r = map_get(&w->referrers, ref);

    for (size_t i = 0; r != NULL && i < r->n; i++) {
        fn(ctx, r->items[i]);
    }
}

void world_mac_users(const struct world *w, const char *mac,
                     void (*fn)(void *ctx, struct ctl_obj *o), void *ctx)
{
    char ref[64];

    (void)snprintf(ref, sizeof(ref), "#mac/%.40s", mac);
    visit_refs(w, ref, fn, ctx);
}

void world_referrers(const struct world *w, const struct kind *k, const char *name,
                     void (*fn)(void *ctx, struct ctl_obj *o), void *ctx)
{
    char ref[OBJECT_KEY_MAX];

    (void)snprintf(ref, sizeof(ref), "@%s/%s", k->name, name);
    visit_refs(w, ref, fn, ctx);
    visit_refs(w, ref + 1, fn, ctx);
}

/* --- objects -----------------------------------------------------------------------------------
 */

struct ctl_obj *ctl_obj_make(const struct kind *k, const char *name, json_t *json)
{
    struct ctl_obj *o = OBJ_NEW(struct ctl_obj);

    o->k = k;
    o->name = mem_strdup(name);
    o->json = json;
    return o;
}

void ctl_obj_free(struct ctl_obj *o)
{
    if (o != NULL) {
        free(o->name);
        free(o->host);
        json_decref(o->json);
        refs_free(o->refs, o->n_refs);
        free(o->facts);
        free(o);
    }
}

static void tell(const struct world *w, const struct world_change *ch)
{
    if (w->listener != NULL) {
        w->listener(w->ctx, ch);
    }
}

/* "o/<plural>/<name>" */
static const struct kind *object_kind(const char *key, const char **ret_name)
{
    char plural[64];
    const char *rest = key + 2;
    const char *slash = strchr(rest, '/');

    if (slash == NULL || (size_t)(slash - rest) >= sizeof(plural)) {
        return NULL;
    }
    memcpy(plural, rest, (size_t)(slash - rest));
    plural[slash - rest] = 0;
    *ret_name = slash + 1;
    return kind_by_plural(plural);
}

static void object_put(struct world *w, const struct kv *v)
{
    const char *name;
    const struct kind *k = object_kind(kv_key(v), &name);
    struct ctl_obj *o;
    struct err err;
    json_t *json;
    bool created;

    o = k == NULL ? NULL : world_find(w, k, name);
    if (k == NULL || (o != NULL && o->rev >= v->mod_rev)) {
        return; /* a newer version was loaded before the watch came to this one */
    }
    json = object_stored(k, v, &err);
    if (json == NULL) {
        lg_err("world", "key=%s msg=\"%s\"", kv_key(v), err.msg);
        return;
    }
    created = o == NULL;
    if (created) {
        o = ctl_obj_make(k, name, NULL);
        (void)map_put(&w->kinds[kind_number(k)], name, o);
        w->objects++;
    }
    json_decref(o->json);
    free(o->facts);
    o->facts = NULL;
    o->json = json;
    o->rev = v->mod_rev;
    o->size = v->vlen;
    refs_update(w, o);
    tell(w, &(struct world_change){
                .what = WORLD_OBJECT, .k = k, .name = o->name, .o = o, .created = created });
}

static void object_del(struct world *w, const char *key, uint64_t rev)
{
    const char *name;
    const struct kind *k = object_kind(key, &name);
    struct ctl_obj *o = k == NULL ? NULL : world_find(w, k, name);

    if (o == NULL || o->rev > rev) {
        return;
    }
    (void)map_del(&w->kinds[kind_number(k)], name);
    w->objects--;
    for (size_t i = 0; i < o->n_refs; i++) {
        refs_del(w, o->refs[i].key, o);
    }
    tell(w, &(struct world_change){
                .what = WORLD_OBJECT, .k = k, .name = o->name, .o = o, .deleted = true });
    ctl_obj_free(o);
}

struct ctl_obj *world_find(const struct world *w, const struct kind *k, const char *name)
{
    return map_get(&w->kinds[kind_number(k)], name);
}

struct ctl_obj *world_next(const struct world *w, const struct kind *k, size_t *pos)
{
    const char *key;
    void *v;

    return map_next(&w->kinds[kind_number(k)], pos, &key, &v) ? v : NULL;
}

size_t world_count(const struct world *w, const struct kind *k)
{
    return w->kinds[kind_number(k)].count;
}

/* --- reports -----------------------------------------------------------------------------------
 */

/* "r/<host>/<plural>/<name>" */
static bool report_key(const char *key, char *host, size_t size, const char **ret_object)
{
    const char *rest = key + 2;
    const char *slash = strchr(rest, '/');

    if (slash == NULL || (size_t)(slash - rest) >= size) {
        return false;
    }
    memcpy(host, rest, (size_t)(slash - rest));
    host[slash - rest] = 0;
    *ret_object = slash + 1;
    return true;
}

static void report_tell(struct world *w, const char *object, const char *host)
{
    char plural[64];
    const char *slash = strchr(object, '/');
    const struct kind *k;

    if (slash == NULL || (size_t)(slash - object) >= sizeof(plural)) {
        return;
    }
    memcpy(plural, object, (size_t)(slash - object));
    plural[slash - object] = 0;
    k = kind_by_plural(plural);
    tell(w, &(struct world_change){ .what = WORLD_REPORT,
                                    .k = k,
                                    .name = slash + 1,
                                    .host = host,
                                    .o = k == NULL ? NULL : world_find(w, k, slash + 1) });
}

static struct ctl_obj *report_find(const struct world_reports *r, const char *host)
{
    for (size_t i = 0; r != NULL && i < r->n; i++) {
        if (str_eq(r->items[i]->host, host)) {
            return r->items[i];
        }
    }
    return NULL;
}

static struct ctl_obj *report_add(struct world *w, const char *object, const char *host)
{
    struct world_reports *r = map_get(&w->reports, object);
    struct ctl_obj *o = ctl_obj_make(NULL, object, NULL);

    o->host = mem_strdup(host);
    if (r == NULL) {
        r = OBJ_NEW(struct world_reports);
        (void)map_put(&w->reports, object, r);
    }
    r->items = mem_realloc(r->items, (r->n + 1) * sizeof(*r->items));
    r->items[r->n++] = o;
    return o;
}

static void report_put(struct world *w, const struct kv *v)
{
    char host[256];
    const char *object;
    struct ctl_obj *o;
    json_t *json;

    if (!report_key(kv_key(v), host, sizeof(host), &object)) {
        return;
    }
    o = report_find(map_get(&w->reports, object), host);
    json = json_load_quick((const char *)kv_value(v), v->vlen, 0, NULL);
    if (json == NULL || (o != NULL && o->rev >= v->mod_rev)) {
        json_decref(json);
        return;
    }
    if (o == NULL) {
        o = report_add(w, object, host);
    }
    json_decref(o->json);
    o->json = json;
    o->rev = v->mod_rev;
    report_tell(w, object, host);
}

static void report_del(struct world *w, const char *key, uint64_t rev)
{
    char host[256];
    const char *object;
    struct world_reports *r;

    if (!report_key(key, host, sizeof(host), &object)) {
        return;
    }
    r = map_get(&w->reports, object);
    for (size_t i = 0; r != NULL && i < r->n; i++) {
        if (str_eq(r->items[i]->host, host) && r->items[i]->rev <= rev) {
            ctl_obj_free(r->items[i]);
            r->items[i] = r->items[--r->n];
            if (r->n == 0) {
                (void)map_del(&w->reports, object);
                free(r->items);
                free(r);
            }
            report_tell(w, object, host);
            return;
        }
    }
}

const struct world_reports *world_reports_of(const struct world *w, const char *plural,
                                             const char *name)
{
    char object[OBJECT_KEY_MAX];

    (void)snprintf(object, sizeof(object), "%s/%s", plural, name);
    return map_get(&w->reports, object);
}

/* --- one key, one turn -------------------------------------------------------------------------
 */

void world_put(struct world *w, const struct kv *v)
{
    const char *key = kv_key(v);

    if (str_starts(key, "o/")) {
        object_put(w, v);
    } else if (str_starts(key, "r/")) {
        report_put(w, v);
    } else {
        world_safety(w, key);
    }
}

static void world_del(struct world *w, const char *key, uint64_t rev)
{
    if (str_starts(key, "o/")) {
        object_del(w, key, rev);
    } else if (str_starts(key, "r/")) {
        report_del(w, key, rev);
    } else {
        world_safety(w, key);
    }
}

static void world_event(struct world *w, const struct kv_event *ev)
{
    w->events++;
    if (ev->type == KV_PUT) {
        world_put(w, ev->kv);
    } else {
        char *key = mem_strndup(ev->key, ev->klen);

        world_del(w, key, ev->rev);
        free(key);
    }
}

static bool turn(struct world *w, size_t max)
{
    uint64_t end_us = clock_now_us() + TURN_US;
    struct kv_event ev;
    struct err err;
    int rc = 1;

    for (size_t n = 0; !world_loaded(w); n++) {
        if (max != SIZE_MAX && n > 0 && clock_now_us() > end_us) {
            return false;
        }
        world_load_some(w);
    }
    for (size_t n = 0; n < max && rc == 1; n++) {
        rc = store_watch_next(w->watch, &ev, &err);
        if (rc == 1) {
            world_event(w, &ev);
        }
        if (n % 16 == 15 && clock_now_us() > end_us && max != SIZE_MAX) {
            return false;
        }
    }
    if (rc > 1 || rc < 0) { /* ERR_COMPACTED: fell behind, or a snapshot came in */
        world_reload(w);
        return false;
    }
    return rc == 0;
}

bool world_turn(struct world *w)
{
    return turn(w, TURN_EVENTS);
}

void world_sync(struct world *w)
{
    while (!turn(w, SIZE_MAX)) {
    }
}

bool world_loaded(const struct world *w)
{
    return w->loading == 0;
}
