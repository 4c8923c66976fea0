#include "cmd/picketd/ctl_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_place.h"
#include "cmd/picketd/object.h"

#define IDLE_MS 2000U     /* hosts are looked at so often, for what only time changes */
#define RESYNC_MS 300000U /* and every object, in case that a dependency was overlooked */

/* --- reading -----------------------------------------------------------------------------------
 */

static struct ctl_obj *overlay_get(const struct controller *c, const struct kind *k,
                                   const char *name)
{
    char key[OBJECT_KEY_MAX];

    if (c->overlay.count == 0) {
        return NULL;
    }
    (void)snprintf(key, sizeof(key), "%s/%s", k->plural, name);
    return map_get(&c->overlay, key);
}

struct ctl_obj *ctl_find(const struct controller *c, const char *plural, const char *name)
{
    const struct kind *k = kind_by_plural(plural);
    struct ctl_obj *o;

    if (k == NULL || name == NULL) {
        return NULL;
    }
    o = overlay_get(c, k, name);
    if (o != NULL) {
        return o->json == NULL ? NULL : o;
    }
    return world_find(c->world, k, name);
}

/* The world's objects first, then those that only the overlay has. */
struct ctl_obj *ctl_next(const struct controller *c, const struct kind *k, size_t *pos)
{
    size_t base = c->world->kinds[kind_number(k)].n_items;
    struct ctl_obj *o;
    const char *key;
    size_t i;
    void *v;

    while (*pos <= base && (o = world_next(c->world, k, pos)) != NULL) {
        struct ctl_obj *over = overlay_get(c, k, o->name);

        if (over == NULL || over->json != NULL) {
            return over == NULL ? o : over;
        }
    }
    for (i = *pos > base ? *pos - base - 1 : 0; map_next(&c->overlay, &i, &key, &v);) {
        o = v;
        *pos = base + 1 + i;
        if (o->k == k && o->json != NULL && world_find(c->world, k, o->name) == NULL) {
            return o;
        }
    }
    return NULL;
}

const json_t *ctl_report(const struct controller *c, const char *host, const char *plural,
                         const char *name)
{
    const struct world_reports *r = world_reports_of(c->world, plural, name);

    for (size_t i = 0; r != NULL && i < r->n; i++) {
        if (str_eq(r->items[i]->host, host)) {
            return r->items[i]->json;
        }
    }
    return NULL;
}

static const struct s_inc *proved_of(const struct pass *p, uint64_t incarnation)
{
    for (size_t i = 0; i < p->n_proved; i++) {
        if (p->proved[i].number == incarnation) {
            return &p->proved[i];
        }
    }
    return NULL;
}

const struct s_inc *pass_inc(const struct pass *p, const char *host)
{
    const struct world_host *h = world_host(p->c->world, host);
    const struct s_inc *proved;

    if (h == NULL || h->inc.number == 0) {
        return NULL;
    }
    proved = proved_of(p, h->inc.number);
    return proved != NULL ? proved : &h->inc;
}

/* What the store does with the slots of an incarnation that is proved to be off; a quarantined lock
 * is looked at once that has happened. */
const struct s_lock *pass_lock(struct pass *p, const char *plural, const char *name)
{
    const struct s_lock *l = world_lock(p->c->world, plural, name);
    struct s_lock *next;
    bool owner, peer;

    if (l == NULL || l->quarantined || p->n_proved == 0) {
        return l;
    }
    owner = l->owner.incarnation != 0 && proved_of(p, l->owner.incarnation) == NULL;
    peer = l->peer.incarnation != 0 && proved_of(p, l->peer.incarnation) == NULL;
    if (!owner && !peer) {
        return NULL;
    }
    next = ARENA_NEW(&p->a, struct s_lock);
    *next = *l;
    next->owner = owner ? l->owner : (struct s_lock_slot){ 0 };
    next->peer = peer ? l->peer : (struct s_lock_slot){ 0 };
    next->migration_aborted = peer && l->migration_aborted;
    return next;
}

void pass_proved(struct pass *p, const char *host)
{
    const struct s_inc *inc = pass_inc(p, host);

    if (inc != NULL && p->n_proved < PASS_PROVED_MAX && proved_of(p, inc->number) == NULL) {
        p->proved[p->n_proved] = *inc;
        p->proved[p->n_proved].fencing = 0;
        p->proved[p->n_proved++].state = INC_FENCED;
    }
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
    return p;
}

static void pass_free(struct pass *p)
{
    arena_done(&p->a);
    free(p);
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

/* --- what if -----------------------------------------------------------------------------------
 */

static void overlay(struct controller *c, const struct change *ch)
{
    char key[OBJECT_KEY_MAX];

    (void)snprintf(key, sizeof(key), "%s/%s", ch->k->plural, ch->name);
    ctl_obj_free(map_put(&c->overlay, key, ctl_obj_make(ch->k, ch->name, json_incref(ch->stored))));
}

struct pass *pass_what_if(struct node *n, const struct change *changes, size_t count)
{
    struct controller *c = OBJ_NEW(struct controller);

    c->node = n;
    c->world = n->ctl->world;
    c->what_if = true;
    world_sync(c->world);
    for (size_t i = 0; i < count; i++) {
        overlay(c, &changes[i]);
    }
    return pass_new(c);
}

void pass_what_if_done(struct pass *p)
{
    struct controller *c = p->c;
    const char *key;
    void *v;

    pass_free(p);
    for (size_t i = 0; map_next(&c->overlay, &i, &key, &v);) {
        ctl_obj_free(v);
    }
    map_done(&c->overlay);
    free_values(&c->hosts);
    free_values(&c->attempts);
    free(c);
}

/* --- one pass ----------------------------------------------------------------------------------
 */

static void one_object(struct pass *p, struct ctl_obj *o)
{
    if (str_eq(o->k->name, "VirtualMachine")) {
        ctl_vm_one(p, o);
    } else if (str_eq(o->k->name, "Volume")) {
        ctl_volume_one(p, o);
    } else {
        ctl_ref_one(p, o);
    }
}

/* As many as fit into one transaction and a few milliseconds; the rest in the next pass. */
static void some_objects(struct pass *p)
{
    uint64_t end_us = clock_now_us() + PASS_US;
    struct ctl_obj *o;

    while (!pass_full(p) && clock_now_us() <= end_us && (o = ctl_take(p->c)) != NULL) {
        one_object(p, o);
    }
    p->more = p->more || p->c->n_dirty > 0;
}

static void pass_run(struct controller *c)
{
    struct pass *p;
    bool placed;

    c->dirty = false;
    c->passes++;
    p = pass_new(c);
    lease_table_follow(c->node->leases, &p->timing);
    c->recheck_ms = p->now_ms + IDLE_MS;
    if (p->now_ms >= c->resync_ms) {
        c->resync_ms = p->now_ms + RESYNC_MS;
        ctl_mark_all(c);
    }
    ctl_netcheck_pass(p);
    ctl_grace_pass(p);
    ctl_fence_pass(p);
    ctl_ready_scan(p); /* after leases were granted to hosts that have just registered */
    ctl_terms_pass(p);
    ctl_device_pass(p);
    ctl_avoid_pass(p);
    placed = ctl_place_pass(p);
    p->more = p->more || placed;
    if (!placed) {
        ctl_migration_pass(p);
    }
    if (!placed || p->n_proved > 0) { /* placement is enough for one turn, but a failover waits */
        some_objects(p);
    }
    if (!p->more) {
        ctl_cluster_pass(p);
    }
    pass_submit(p);
    c->dirty = p->more || c->n_dirty > 0 || c->place_dirty;
    if (c->dirty) {
        (void)uv_async_send(&c->wake);
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
    uint64_t now = clock_now_ms();

    if (c->term == 0 || c->inflight > 0 || !node_leads(c->node)) {
        return;
    }
    if (now < c->refused_ms) {
        CHECK(uv_timer_start(&c->timer, on_timer, c->refused_ms - now, 0) == 0);
        return;
    }
    if (!c->dirty && now < c->recheck_ms) {
        schedule(c);
        return;
    }
    if (!world_turn(c->world)) {
        (void)uv_async_send(&c->wake); /* act on what is, not on what was */
        return;
    }
    pass_run(c);
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

static void on_pulled(void *ctx)
{
    maybe_run(ctx);
}

void controller_wake(struct controller *c)
{
    c->dirty = true;
    (void)uv_async_send(&c->wake);
}

struct world *controller_world(const struct controller *c)
{
    return c->world;
}

void controller_metrics(const struct controller *c, struct buf *out)
{
    buf_printf(out,
               "# TYPE picket_controller_passes counter\npicket_controller_passes %" PRIu64 "\n"
               "# TYPE picket_placements counter\npicket_placements %" PRIu64 "\n"
               "# TYPE picket_objects gauge\npicket_objects %" PRIu64 "\n"
               "# TYPE picket_objects_dirty gauge\npicket_objects_dirty %zu\n",
               c->passes, c->place_runs, c->world->objects, c->n_dirty);
}

struct controller *controller_new(struct node *n)
{
    struct controller *c = OBJ_NEW(struct controller);

    c->node = n;
    c->wake.data = c;
    c->timer.data = c;
    c->batch = mem_alloc(PASS_CHANGES_MAX * sizeof(*c->batch));
    c->world = world_new(n->store, n->loop);
    world_listen(c->world, ctl_world_event, on_pulled, c);
    CHECK(uv_async_init(n->loop, &c->wake, on_wake) == 0);
    CHECK(uv_timer_init(n->loop, &c->timer) == 0);
    return c;
}

void controller_stop(struct controller *c)
{
    if (c == NULL || c->term == 0) {
        return;
    }
    c->term = 0;
    (void)uv_timer_stop(&c->timer);
    ctl_dirty_drop(c);
    places_free(c->places);
    c->places = NULL;
    free_values(&c->hosts);
    free_values(&c->attempts);
    free_values(&c->alone);
}

void controller_start(struct controller *c, uint64_t term)
{
    uint64_t now = clock_now_ms();

    controller_stop(c);
    c->term = term;
    c->since_ms = now;
    ctl_grace_start(c, now);
    c->recheck_ms = now;
    c->resync_ms = now; /* the first pass looks at everything */
    c->avoid_ms = 1;
    c->batch_max = PASS_CHANGES_MAX;
    c->n_batch = 0;
    c->dirty = true;
    CHECK(uv_timer_start(&c->timer, on_timer, 0, 0) == 0);
}
