#include "cmd/picketd/ctl_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"

#define IDLE_MS 2000U    /* hosts are looked at so often, for what only time changes */
#define OBJECTS_MS 6000U /* and every other object, when nothing changed */
#define COLD_START_MS 15000U

/* --- the cache ---------------------------------------------------------------------------------
 */

static void obj_free(struct ctl_obj *o)
{
    if (o != NULL) {
        free(o->name);
        free(o->host);
        json_decref(o->json);
        free(o);
    }
}

static void cache_clear(struct map *m)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(m, &i, &key, &v);) {
        obj_free(v);
    }
    map_done(m);
}

/* "o/<plural>/<name>" */
static struct ctl_obj *parse_object(const struct kv *v)
{
    char plural[64];
    const char *rest = kv_key(v) + 2;
    const char *slash = strchr(rest, '/');
    struct ctl_obj *o;
    const struct kind *k;
    struct err err;

    if (slash == NULL || (size_t)(slash - rest) >= sizeof(plural)) {
        return NULL;
    }
    memcpy(plural, rest, (size_t)(slash - rest));
    plural[slash - rest] = 0;
    k = kind_by_plural(plural);
    if (k == NULL) {
        return NULL;
    }
    o = OBJ_NEW(struct ctl_obj);
    o->k = k;
    o->name = mem_strdup(slash + 1);
    o->rev = v->mod_rev;
    o->json = object_stored(k, v, &err);
    if (o->json == NULL) {
        lg_err("ctl", "key=%s msg=\"%s\"", kv_key(v), err.msg);
        obj_free(o);
        return NULL;
    }
    return o;
}

/* "r/<host>/<plural>/<name>" */
static struct ctl_obj *parse_report(const struct kv *v)
{
    const char *rest = kv_key(v) + 2;
    const char *slash = strchr(rest, '/');
    struct ctl_obj *o;

    if (slash == NULL) {
        return NULL;
    }
    o = OBJ_NEW(struct ctl_obj);
    o->host = mem_strndup(rest, (size_t)(slash - rest));
    o->name = mem_strdup(slash + 1);
    o->rev = v->mod_rev;
    o->json = json_loadb((const char *)kv_value(v), v->vlen, 0, NULL);
    if (o->json == NULL) {
        obj_free(o);
        return NULL;
    }
    return o;
}

static void cache_put(struct controller *c, const struct kv *v)
{
    const char *key = kv_key(v);
    struct ctl_obj *o = NULL;
    struct map *m = NULL;

    if (str_starts(key, "o/")) {
        o = parse_object(v);
        m = &c->objects;
    } else if (str_starts(key, "r/")) {
        o = parse_report(v);
        m = &c->reports;
    }
    if (o != NULL) {
        obj_free(map_put(m, key, o));
    }
}

static void cache_del(struct controller *c, const char *key)
{
    obj_free(map_del(&c->objects, key));
    obj_free(map_del(&c->reports, key));
}

static bool cache_visit(void *ctx, const struct kv *v)
{
    cache_put(ctx, v);
    return true;
}

static void watch_wake(void *ctx)
{
    struct controller *c = ctx;

    c->dirty = true;
    (void)uv_async_send(&c->wake);
}

static void cache_load(struct controller *c)
{
    if (c->watch != NULL) {
        store_watch_free(c->watch);
    }
    cache_clear(&c->objects);
    cache_clear(&c->reports);
    c->watch = store_watch_new(c->node->store, "", 0, NULL, 0, store_rev(c->node->store) + 1,
                               watch_wake, c);
    store_prefix(c->node->store, "o/", cache_visit, c);
    store_prefix(c->node->store, "r/", cache_visit, c);
}

static void cache_pull(struct controller *c)
{
    struct kv_event ev;
    struct err err;
    int rc;

    while ((rc = store_watch_next(c->watch, &ev, &err)) == 1) {
        if (ev.type == KV_PUT) {
            cache_put(c, ev.kv);
        } else {
            char *key = mem_strndup(ev.key, ev.klen);

            cache_del(c, key);
            free(key);
        }
    }
    if (rc != 0) {
        cache_load(c);
    }
}

struct ctl_obj *ctl_find(const struct controller *c, const char *plural, const char *name)
{
    char key[OBJECT_KEY_MAX];

    (void)snprintf(key, sizeof(key), "o/%s/%s", plural, name);
    return map_get(&c->objects, key);
}

struct ctl_obj *ctl_next(const struct controller *c, const struct kind *k, size_t *pos)
{
    const char *key;
    void *v;

    while (map_next(&c->objects, pos, &key, &v)) {
        struct ctl_obj *o = v;

        if (o->k == k) {
            return o;
        }
    }
    return NULL;
}

const json_t *ctl_report(const struct controller *c, const char *host, const char *plural,
                         const char *name)
{
    char key[OBJECT_KEY_MAX + 256];
    const struct ctl_obj *o;

    (void)snprintf(key, sizeof(key), "r/%s/%s/%s", host, plural, name);
    o = map_get(&c->reports, key);
    return o == NULL ? NULL : o->json;
}

/* --- facts of a pass ---------------------------------------------------------------------------
 */

static bool lock_visit(void *ctx, const struct kv *v)
{
    struct pass *p = ctx;
    struct s_lock *l = ARENA_NEW(&p->a, struct s_lock);
    struct err err;

    if (s_lock_decode(kv_value(v), v->vlen, &p->a, l, &err) == 0) {
        (void)map_put(&p->locks, l->lock, l);
    }
    return true;
}

static bool host_visit(void *ctx, const struct kv *v)
{
    struct pass *p = ctx;
    struct s_inc *inc = ARENA_NEW(&p->a, struct s_inc);
    struct s_host h;
    struct err err;

    if (s_host_decode(kv_value(v), v->vlen, &p->a, &h, &err) == 0 && h.incarnation != 0 &&
        s_inc_get(p->c->node->store, h.incarnation, &p->a, inc, &err) == 0) {
        (void)map_put(&p->incs, h.name, inc);
    }
    return true;
}

const struct s_inc *pass_inc(const struct pass *p, const char *host)
{
    return host == NULL ? NULL : map_get(&p->incs, host);
}

const struct s_lock *pass_lock(const struct pass *p, const char *plural, const char *name)
{
    char lock[OBJECT_KEY_MAX];

    (void)snprintf(lock, sizeof(lock), "%s/%s", plural, name);
    return map_get(&p->locks, lock);
}

bool pass_host_ready(const struct pass *p, const char *host)
{
    const struct s_inc *inc = pass_inc(p, host);
    struct lease_info l;

    if (p->c->what_if) {
        return inc != NULL && inc->state == INC_LIVE;
    }
    return inc != NULL && inc->state == INC_LIVE && lease_table_get(p->c->node->leases, host, &l) &&
           l.incarnation == inc->number && !l.lost_proposed && l.until_ms > p->now_ms;
}

void pass_recheck(struct pass *p, uint64_t at_ms)
{
    if (at_ms != 0 && at_ms < p->c->recheck_ms) {
        p->c->recheck_ms = at_ms;
    }
}

/* --- changes -----------------------------------------------------------------------------------
 */

static struct change *pass_change(struct pass *p, const struct kind *k, const char *name)
{
    struct change *ch;

    for (size_t i = 0; i < p->n_changes; i++) {
        ch = &p->changes[i];
        if (ch->k == k && str_eq(ch->name, name)) {
            p->more = true; /* one change per object and pass: the rest in the next one */
            return NULL;
        }
    }
    if (p->n_changes == PASS_CHANGES_MAX) {
        p->more = true;
        return NULL;
    }
    ch = &p->changes[p->n_changes++];
    *ch = (struct change){ .k = k };
    (void)str_copy(ch->name, sizeof(ch->name), name);
    return ch;
}

void pass_update(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    struct change *ch;

    if (json_equal(o->json, next)) {
        json_decref(next);
        return;
    }
    ch = pass_change(p, o->k, o->name);
    if (ch == NULL) {
        json_decref(next);
        return;
    }
    ch->old_rev = o->rev;
    ch->stored = next;
    ch->result = CHANGE_CONFIGURED;
}

void pass_create(struct pass *p, const struct kind *k, const char *name, json_t *obj)
{
    struct change *ch = pass_change(p, k, name);

    if (ch == NULL) {
        json_decref(obj);
        return;
    }
    ch->stored = obj;
    ch->result = CHANGE_CREATED;
}

void pass_delete(struct pass *p, const struct ctl_obj *o)
{
    struct change *ch = pass_change(p, o->k, o->name);

    if (ch != NULL) {
        ch->old_rev = o->rev;
        ch->result = CHANGE_DELETED;
    }
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void answered(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct controller *c = data;

    (void)ans;
    CHECK(c->inflight > 0);
    c->inflight--;
    c->dirty = true;
    if (err != NULL && err->code != ERR_CONFLICT) {
        lg_debug("ctl", "msg=\"%s\"", err->msg);
    }
    (void)uv_async_send(&c->wake);
}

void ctl_submit(struct controller *c, struct cmd *cmd)
{
    cmd->actor =
        (struct actor){ .role = ACTOR_CONTROLLER, .name = c->node->opts.name, .term = c->term };
    c->inflight++;
    node_submit(c->node, cmd, false, answered, c);
}

static void submit_changes(struct pass *p)
{
    struct actor actor = { .role = ACTOR_CONTROLLER,
                           .name = p->c->node->opts.name,
                           .term = p->c->term };

    if (p->n_changes > 0) {
        p->c->inflight++;
        change_submit(p->c->node, p->changes, p->n_changes, &actor, false, answered, p->c);
    }
    for (size_t i = 0; i < p->n_changes; i++) {
        change_done(&p->changes[i]);
    }
}

/* --- the pass ----------------------------------------------------------------------------------
 */

static struct pass *pass_new(struct controller *c)
{
    struct pass *p = OBJ_NEW(struct pass);
    const struct ctl_obj *cluster;

    p->c = c;
    p->now_ms = clock_now_ms();
    p->wall_ms = clock_wall_ms();
    lease_timing(c->node, &p->timing);
    cluster = ctl_find(c, "clusters", "cluster");
    p->cluster = cluster == NULL ? NULL : cluster->json;
    store_prefix(c->node->store, "s/lock/", lock_visit, p);
    store_prefix(c->node->store, "s/host/", host_visit, p);
    return p;
}

static void pass_free(struct pass *p)
{
    map_done(&p->locks);
    map_done(&p->incs);
    arena_done(&p->a);
    free(p);
}

/* --- what if -----------------------------------------------------------------------------------
 */

static void overlay(struct controller *c, const struct change *ch)
{
    char key[OBJECT_KEY_MAX];
    struct ctl_obj *o;

    if (!object_key(ch->k, ch->name, key, sizeof(key))) {
        return;
    }
    if (ch->stored == NULL) {
        cache_del(c, key);
        return;
    }
    o = OBJ_NEW(struct ctl_obj);
    o->k = ch->k;
    o->name = mem_strdup(ch->name);
    o->json = json_incref(ch->stored);
    obj_free(map_put(&c->objects, key, o));
}

struct pass *pass_what_if(struct node *n, const struct change *changes, size_t count)
{
    struct controller *c = OBJ_NEW(struct controller);

    c->node = n;
    c->what_if = true;
    store_prefix(n->store, "o/", cache_visit, c);
    for (size_t i = 0; i < count; i++) {
        overlay(c, &changes[i]);
    }
    return pass_new(c);
}

void pass_what_if_done(struct pass *p)
{
    struct controller *c = p->c;

    pass_free(p);
    cache_clear(&c->objects);
    cache_clear(&c->reports);
    free(c);
}

/* --- one pass ----------------------------------------------------------------------------------
 */

/* Which incarnations hold a lease now: nothing in the store says when one ends. */
static uint64_t ready_sum(const struct pass *p)
{
    const struct kind *k = kind_find("Host");
    const struct ctl_obj *o;
    uint64_t sum = 0;

    for (size_t pos = 0; (o = ctl_next(p->c, k, &pos)) != NULL;) {
        const struct s_inc *inc = pass_inc(p, o->name);

        if (inc != NULL && pass_host_ready(p, o->name)) {
            sum += inc->number * 2654435761U;
        }
    }
    return sum;
}

static void pass_objects(struct pass *p)
{
    struct controller *c = p->c;
    uint64_t leases_ms = c->recheck_ms;

    c->recheck_ms = p->now_ms + OBJECTS_MS;
    ctl_terms_pass(p);
    ctl_volume_pass(p);
    ctl_vm_pass(p);
    ctl_ref_pass(p);
    c->objects_ms = c->recheck_ms;
    c->recheck_ms = leases_ms < c->objects_ms ? leases_ms : c->objects_ms;
}

static void pass_run(struct controller *c)
{
    bool changed = c->dirty;
    struct pass *p;
    uint64_t ready;

    c->dirty = false;
    cache_pull(c);
    p = pass_new(c);
    ready = ready_sum(p);
    c->recheck_ms = p->now_ms + IDLE_MS;
    ctl_fence_pass(p);
    if (changed || ready != c->ready || p->now_ms >= c->objects_ms) {
        pass_objects(p);
    }
    c->ready = ready;
    ctl_cluster_pass(p);
    submit_changes(p);
    if (p->more) {
        c->dirty = true;
    }
    pass_free(p);
}

static void on_timer(uv_timer_t *h);

static void schedule(struct controller *c)
{
    uint64_t now = clock_now_ms();

    if (c->term != 0) {
        (void)uv_timer_start(&c->timer, on_timer, c->recheck_ms > now ? c->recheck_ms - now : 0, 0);
    }
}

static void maybe_run(struct controller *c)
{
    if (c->term == 0 || c->inflight > 0 || !node_leads(c->node)) {
        return;
    }
    if (c->dirty || clock_now_ms() >= c->recheck_ms) {
        pass_run(c);
    }
    schedule(c);
}

static void on_wake(uv_async_t *h)
{
    maybe_run(h->data);
}

static void on_timer(uv_timer_t *h)
{
    maybe_run(h->data);
}

void controller_wake(struct controller *c)
{
    c->dirty = true;
    (void)uv_async_send(&c->wake);
}

struct controller *controller_new(struct node *n)
{
    struct controller *c = OBJ_NEW(struct controller);

    c->node = n;
    c->wake.data = c;
    c->timer.data = c;
    CHECK(uv_async_init(n->loop, &c->wake, on_wake) == 0);
    CHECK(uv_timer_init(n->loop, &c->timer) == 0);
    return c;
}

static void free_values(struct map *m)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(m, &i, &key, &v);) {
        free(v);
    }
    map_done(m);
}

void controller_stop(struct controller *c)
{
    if (c == NULL || c->term == 0) {
        return;
    }
    c->term = 0;
    (void)uv_timer_stop(&c->timer);
    store_watch_free(c->watch);
    c->watch = NULL;
    cache_clear(&c->objects);
    cache_clear(&c->reports);
    free_values(&c->hosts);
    free_values(&c->attempts);
}

void controller_start(struct controller *c, uint64_t term)
{
    uint64_t now = clock_now_ms();

    controller_stop(c);
    c->term = term;
    c->since_ms = now;
    /* The whole cluster starts cold when the first leader that this process ever saw is itself. */
    c->cold_start_ms = c->node->leaders_seen == 0 && now - c->node->started_ms < COLD_START_MS
                           ? c->node->started_ms
                           : c->cold_start_ms;
    c->recheck_ms = now;
    c->dirty = true;
    cache_load(c);
    CHECK(uv_timer_start(&c->timer, on_timer, 0, 0) == 0);
}
