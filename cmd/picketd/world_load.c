/* Loading the world in pieces, and its safety records. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/world_priv.h"

#define LOAD_KEYS 128U

/* Objects, reports and safety records, without the raw key space ("k/"). */
#define WATCH_FROM "o/"
#define WATCH_TO "t"

static const char *const prefixes[] = { "s/host/", "s/lock/", "o/", "r/" };

static void tell(const struct world *w, const struct world_change *ch)
{
    if (w->listener != NULL) {
        w->listener(w->ctx, ch);
    }
}

/* --- locks -------------------------------------------------------------------------------------
 */

static size_t pack_len(const char *s)
{
    return s == NULL ? 0 : strlen(s) + 1;
}

static const char *pack(char **at, const char *s)
{
    char *start = *at;

    if (s == NULL) {
        return NULL;
    }
    memcpy(start, s, strlen(s) + 1);
    *at += strlen(s) + 1;
    return start;
}

/* One block with its strings behind it: there are thousands. */
static struct world_lock *lock_pack(const struct s_lock *l)
{
    struct world_lock *ret =
        mem_alloc(sizeof(*ret) + pack_len(l->lock) + pack_len(l->uid) + pack_len(l->owner.host) +
                  pack_len(l->owner.reason) + pack_len(l->peer.host) + pack_len(l->peer.reason));
    char *at = (char *)(ret + 1);

    ret->l = *l;
    ret->l.lock = pack(&at, l->lock);
    ret->l.uid = pack(&at, l->uid);
    ret->l.owner.host = pack(&at, l->owner.host);
    ret->l.owner.reason = pack(&at, l->owner.reason);
    ret->l.peer.host = pack(&at, l->peer.host);
    ret->l.peer.reason = pack(&at, l->peer.reason);
    return ret;
}

static void lock_tell(struct world *w, const char *lock)
{
    char plural[64];
    const char *slash = strchr(lock, '/');
    const struct kind *k;

    if (slash == NULL || (size_t)(slash - lock) >= sizeof(plural)) {
        return;
    }
    memcpy(plural, lock, (size_t)(slash - lock));
    plural[slash - lock] = 0;
    k = kind_by_plural(plural);
    tell(w, &(struct world_change){ .what = WORLD_LOCK,
                                    .k = k,
                                    .name = slash + 1,
                                    .o = k == NULL ? NULL : world_find(w, k, slash + 1) });
}

struct world_host *world_host(const struct world *w, const char *name)
{
    return name == NULL ? NULL : map_get(&w->hosts, name);
}

static void load_stale(struct world *w, const struct s_lock *l)
{
    const char *const hosts[] = { l->owner.host, l->peer.host };

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct world_host *h = world_host(w, hosts[i]);

        if (h != NULL) {
            h->loaded = false;
        }
    }
}

static void lock_read(struct world *w, const char *lock)
{
    struct arena a = { 0 };
    struct s_lock l;
    struct err err;

    struct world_lock *old = map_get(&w->locks, lock);

    if (old != NULL) {
        load_stale(w, &old->l);
    }
    if (s_lock_get(w->store, lock, &a, &l, &err) == 0) {
        load_stale(w, &l);
        free(map_put(&w->locks, lock, lock_pack(&l)));
    } else {
        free(map_del(&w->locks, lock));
    }
    arena_done(&a);
    lock_tell(w, lock);
}

const struct s_lock *world_lock(const struct world *w, const char *plural, const char *name)
{
    char lock[OBJECT_KEY_MAX];
    const struct world_lock *l;

    (void)snprintf(lock, sizeof(lock), "%s/%s", plural, name);
    l = map_get(&w->locks, lock);
    return l == NULL ? NULL : &l->l;
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static void host_free(struct world_host *h)
{
    if (h != NULL) {
        arena_done(&h->a);
        free(h);
    }
}

static void host_read(struct world *w, const char *name)
{
    struct world_host *h = map_get(&w->hosts, name);
    struct err err;

    if (h == NULL) {
        h = OBJ_NEW(struct world_host);
        (void)map_put(&w->hosts, name, h);
    }
    arena_done(&h->a);
    h->host = (struct s_host){ 0 };
    h->inc = (struct s_inc){ 0 };
    h->loaded = false;
    if (s_host_get(w->store, name, &h->a, &h->host, &err) != 0) {
        host_free(map_del(&w->hosts, name));
    } else if (h->host.incarnation != 0 &&
               s_inc_get(w->store, h->host.incarnation, &h->a, &h->inc, &err) != 0) {
        lg_err("world", "host=%s msg=\"%s\"", name, err.msg);
        h->inc = (struct s_inc){ 0 };
    }
    tell(w, &(struct world_change){ .what = WORLD_HOST, .name = name });
}

static void inc_read(struct world *w, const char *key)
{
    const struct kv *v = store_get_str(w->store, key);
    struct arena a = { 0 };
    struct s_inc inc;
    struct err err;

    if (v != NULL && s_inc_decode(kv_value(v), v->vlen, &a, &inc, &err) == 0) {
        const struct world_host *h = map_get(&w->hosts, inc.host);

        if (h == NULL || h->inc.number <= inc.number) {
            host_read(w, inc.host);
        }
    }
    arena_done(&a);
}

struct load_sum {
    const struct world *w;
    struct world_host *h;
};

static void load_visit_lock(void *ctx, const char *lock)
{
    struct load_sum *sum = ctx;
    const struct ctl_obj *vm;

    sum->h->n_locks++;
    if (str_starts(lock, "virtualmachines/")) {
        vm = world_find(sum->w, kind_by_plural("virtualmachines"),
                        lock + strlen("virtualmachines/"));
        sum->h->priority += vm == NULL ? 0 : jget_int(vm->json, "spec.priority", 0);
    }
}

void world_load_of(const struct world *w, struct world_host *h)
{
    struct load_sum sum = { .w = w, .h = h };

    if (!h->loaded) {
        h->loaded = true;
        h->n_locks = 0;
        h->priority = 0;
        s_locks_of(w->store, h->inc.number, load_visit_lock, &sum);
    }
}

void world_safety(struct world *w, const char *key)
{
    if (str_starts(key, "s/lock/")) {
        lock_read(w, key + strlen("s/lock/"));
    } else if (str_starts(key, "s/host/")) {
        host_read(w, key + strlen("s/host/"));
    } else if (str_starts(key, "s/inc/")) {
        inc_read(w, key);
    }
}

/* --- loading -----------------------------------------------------------------------------------
 */

struct load {
    struct world *w;
    const struct kv *items[LOAD_KEYS];
    size_t n;
};

static bool load_visit(void *ctx, const struct kv *v)
{
    struct load *l = ctx;

    if (l->w->cursor != NULL && str_eq(kv_key(v), l->w->cursor)) {
        return true;
    }
    l->items[l->n++] = v;
    return l->n < LOAD_KEYS;
}

void world_load_some(struct world *w)
{
    const char *prefix = prefixes[w->loading - 1];
    char *end = mem_strdup(prefix);
    struct load l = { .w = w };
    const char *from = w->cursor == NULL ? prefix : w->cursor;

    end[strlen(end) - 1]++; /* "o/" to "o0" */
    store_range(w->store, from, strlen(from), end, strlen(end), 0, load_visit, &l);
    free(end);
    for (size_t i = 0; i < l.n; i++) {
        world_put(w, l.items[i]);
    }
    if (l.n == LOAD_KEYS) {
        char *cursor = mem_strdup(kv_key(l.items[l.n - 1]));

        free(w->cursor);
        w->cursor = cursor;
        return;
    }
    free(w->cursor);
    w->cursor = NULL;
    w->loading = w->loading == ARRAY_LEN(prefixes) ? 0 : w->loading + 1;
}

static void free_objects(struct world *w)
{
    const char *key;
    void *v;

    for (size_t k = 0; k < kind_count(); k++) {
        for (size_t i = 0; map_next(&w->kinds[k], &i, &key, &v);) {
            ctl_obj_free(v);
        }
        map_done(&w->kinds[k]);
    }
    for (size_t i = 0; map_next(&w->referrers, &i, &key, &v);) {
        struct world_refs *r = v;

        free(r->items);
        free(r);
    }
    map_done(&w->referrers);
    w->objects = 0;
}

static void free_rest(struct world *w)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&w->reports, &i, &key, &v);) {
        struct world_reports *r = v;

        for (size_t j = 0; j < r->n; j++) {
            ctl_obj_free(r->items[j]);
        }
        free(r->items);
        free(r);
    }
    map_done(&w->reports);
    for (size_t i = 0; map_next(&w->locks, &i, &key, &v);) {
        free(v);
    }
    map_done(&w->locks);
    for (size_t i = 0; map_next(&w->hosts, &i, &key, &v);) {
        host_free(v);
    }
    map_done(&w->hosts);
}

static void watch_wake(void *ctx)
{
    struct world *w = ctx;

    (void)uv_async_send(&w->wake);
}

static void watch_begin(struct world *w)
{
    if (w->watch != NULL) {
        store_watch_free(w->watch);
    }
    w->watch = store_watch_new(w->store, WATCH_FROM, strlen(WATCH_FROM), WATCH_TO, strlen(WATCH_TO),
                               store_rev(w->store) + 1, watch_wake, w);
    w->loading = 1;
    free(w->cursor);
    w->cursor = NULL;
    (void)uv_async_send(&w->wake);
}

void world_reload(struct world *w)
{
    tell(w, &(struct world_change){ .what = WORLD_ALL });
    free_objects(w);
    free_rest(w);
    watch_begin(w);
}

static void on_wake(uv_async_t *h)
{
    struct world *w = h->data;

    if (!world_turn(w)) {
        (void)uv_async_send(&w->wake);
    }
    if (w->pulled != NULL) {
        w->pulled(w->ctx);
    }
}

struct world *world_new(struct store *s, uv_loop_t *loop)
{
    struct world *w = OBJ_NEW(struct world);

    w->store = s;
    w->kinds = mem_alloc(kind_count() * sizeof(*w->kinds));
    w->wake.data = w;
    CHECK(uv_async_init(loop, &w->wake, on_wake) == 0);
    watch_begin(w);
    return w;
}

void world_listen(struct world *w, world_fn *fn, void (*pulled)(void *ctx), void *ctx)
{
    w->listener = fn;
    w->pulled = pulled;
    w->ctx = ctx;
}

void world_free(struct world *w)
{
    if (w->watch != NULL) {
        store_watch_free(w->watch);
    }
    free_objects(w);
    free_rest(w);
    free(w->cursor);
    free(w->kinds);
    free(w);
}
