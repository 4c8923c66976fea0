/* What a change of the store means for the controllers: whose status may be another one now.
 *
 * An object's status depends on itself, its lock, the reports about it, the existence of what it
 * refers to, the hosts that hold or report it, and (machines) on placement.  Nothing else may be
 * read by the functions that write it. */

#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_facts.h"
#include "cmd/picketd/ctl_priv.h"

#define HOSTS_ONE_BY_ONE 3U

/* --- the list ----------------------------------------------------------------------------------
 */

static void unlink_obj(struct controller *c, struct ctl_obj *o)
{
    if (!o->dirty) {
        return;
    }
    if (o->dirty_prev == NULL) {
        c->dirty_head = o->dirty_next;
    } else {
        o->dirty_prev->dirty_next = o->dirty_next;
    }
    if (o->dirty_next == NULL) {
        c->dirty_tail = o->dirty_prev;
    } else {
        o->dirty_next->dirty_prev = o->dirty_prev;
    }
    o->dirty = false;
    o->dirty_prev = NULL;
    o->dirty_next = NULL;
    c->n_dirty--;
}

static void link_obj(struct controller *c, struct ctl_obj *o)
{
    c->dirty = true;
    if (o->dirty) {
        return;
    }
    o->dirty = true;
    o->dirty_prev = c->dirty_tail;
    o->dirty_next = NULL;
    if (c->dirty_tail == NULL) {
        c->dirty_head = o;
    } else {
        c->dirty_tail->dirty_next = o;
    }
    c->dirty_tail = o;
    c->n_dirty++;
}

struct ctl_obj *ctl_take(struct controller *c)
{
    struct ctl_obj *o = c->dirty_head;

    if (o != NULL) {
        unlink_obj(c, o);
    }
    return o;
}

void ctl_dirty_drop(struct controller *c)
{
    while (ctl_take(c) != NULL) {
    }
}

static bool is_kind(const struct ctl_obj *o, const char *kind)
{
    return str_eq(o->k->name, kind);
}

void ctl_mark(struct controller *c, struct ctl_obj *o)
{
    link_obj(c, o);
    if (is_kind(o, "VirtualMachine")) {
        uint64_t key = ctl_place_key(c->world, o);

        c->place_dirty = c->place_dirty || key != o->place_key;
        o->place_key = key;
    }
}

void ctl_mark_all(struct controller *c)
{
    for (size_t i = 0; i < kind_count(); i++) {
        struct ctl_obj *o;

        for (size_t pos = 0; (o = world_next(c->world, kind_at(i), &pos)) != NULL;) {
            link_obj(c, o);
        }
    }
    c->place_dirty = true;
    c->counts_dirty = true;
    c->capacity_dirty = true;
}

void ctl_mark_batch(struct controller *c)
{
    for (size_t i = 0; i < c->n_batch; i++) {
        struct ctl_obj *o = world_find(c->world, c->batch[i].k, c->batch[i].name);

        if (o != NULL) {
            ctl_mark(c, o);
            c->counts_dirty = c->counts_dirty || is_kind(o, "Cluster");
            c->capacity_dirty = c->capacity_dirty || is_kind(o, "Cluster");
        }
    }
}

/* --- events ------------------------------------------------------------------------------------
 */

static void mark_visit(void *ctx, struct ctl_obj *o)
{
    ctl_mark(ctx, o);
}

static void mark_owner(struct controller *c, const struct ctl_obj *o)
{
    const char *kind = jget_str(o->json, "metadata.ownerReferences.0.kind", "");
    const char *name = jget_str(o->json, "metadata.ownerReferences.0.name", "");
    struct ctl_obj *vm;

    if (str_eq(kind, "VirtualMachine")) {
        vm = ctl_find(c, "virtualmachines", name);
        if (vm != NULL) {
            ctl_mark(c, vm);
        }
    }
}

/* A machine's priority is part of what its host's locks weigh. */
static void touch_holder(struct controller *c, const struct ctl_obj *vm)
{
    const struct s_lock *l = world_lock(c->world, "virtualmachines", vm->name);
    struct world_host *h = l == NULL ? NULL : world_host(c->world, l->owner.host);

    if (h != NULL) {
        h->loaded = false;
    }
}

static void existence(struct controller *c, const struct world_change *ch)
{
    world_referrers(c->world, ch->k, ch->name, mark_visit, c);
    if (is_kind(ch->o, "VirtualMachine")) {
        c->place_dirty = true;
    } else if (is_kind(ch->o, "Volume") && ch->deleted) {
        mark_owner(c, ch->o);
    } else if (is_kind(ch->o, "Host")) {
        struct world_host *h = world_host(c->world, ch->name);

        c->place_dirty = true;
        if (h != NULL) {
            h->touched = true;
        }
    }
}

/* Whether guests can leave a host alive is told in their status. */
static void live_changed(struct controller *c, struct ctl_obj *o)
{
    uint64_t key = (uint64_t)jget_bool(o->json, "status.capacity.liveMigration", false) |
                   (uint64_t)jget_bool(o->json, "status.capacity.liveMigrationPV", false) << 1;
    struct world_host *h = world_host(c->world, o->name);

    if (key != o->place_key && h != NULL) {
        h->touched = true;
    }
    o->place_key = key;
}

/* Placement reads these whole. */
static void place_input(struct controller *c, struct ctl_obj *o)
{
    if (is_kind(o, "Migration")) {
        struct ctl_obj *vm = ctl_find(c, "virtualmachines", jget_str(o->json, "spec.vm", ""));

        c->place_dirty = true;
        if (vm != NULL) {
            ctl_mark(c, vm); /* status.migration */
        }
    } else if (is_kind(o, "Host")) {
        live_changed(c, o);
    } else if (is_kind(o, "PlacementRule") || is_kind(o, "Cluster")) {
        uint64_t key = (uint64_t)jget_int(o->json, "metadata.generation", 0);

        c->place_dirty = c->place_dirty || key != o->place_key;
        o->place_key = key;
    } else if (is_kind(o, "VirtualMachine")) {
        c->counts_dirty = true;
        touch_holder(c, o);
    }
}

static void object_event(struct controller *c, const struct world_change *ch)
{
    c->dirty = true;
    place_input(c, ch->o);
    if (ch->deleted) {
        c->place_dirty = c->place_dirty || is_kind(ch->o, "PlacementRule");
        unlink_obj(c, ch->o);
    } else {
        ctl_mark(c, ch->o);
    }
    if (ch->created || ch->deleted) {
        existence(c, ch);
    }
}

void ctl_world_event(void *ctx, const struct world_change *ch)
{
    struct controller *c = ctx;
    struct world_host *h;

    if (ch->what == WORLD_ALL) {
        ctl_dirty_drop(c);
        c->place_dirty = true;
        c->dirty = true;
        return;
    }
    if (c->term == 0) {
        if (ch->deleted) {
            unlink_obj(c, ch->o);
        }
        return;
    }
    switch (ch->what) {
    case WORLD_OBJECT:
        object_event(c, ch);
        return;
    case WORLD_REPORT:
        c->place_dirty = c->place_dirty || (ch->k != NULL && ctl_place_resource(ch->k));
        if (ch->o != NULL) {
            ctl_mark(c, ch->o);
        }
        return;
    case WORLD_LOCK:
        if (ch->o != NULL) {
            ctl_mark(c, ch->o);
        }
        /* A lock may be of what is no object (a file on a shared file system).  Of a volume: who
         * waits for it says who has it. */
        if (ch->k != NULL && str_eq(ch->k->name, "Volume")) {
            world_referrers(c->world, ch->k, ch->name, mark_visit, c);
        }
        return;
    case WORLD_HOST:
        c->dirty = true;
        h = world_host(c->world, ch->name);
        if (h != NULL) {
            h->touched = true;
        }
        return;
    case WORLD_ALL:
        break;
    }
    CHECK_UNREACHABLE();
}

/* --- hosts that came or went -------------------------------------------------------------------
 */

static void mark_reported(struct controller *c, const char *host)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&c->world->reports, &i, &key, &v);) {
        const struct world_reports *r = v;

        for (size_t j = 0; j < r->n; j++) {
            const char *slash = strchr(key, '/');
            char plural[64];
            struct ctl_obj *o;

            if (!str_eq(r->items[j]->host, host) || slash == NULL ||
                (size_t)(slash - key) >= sizeof(plural)) {
                continue;
            }
            memcpy(plural, key, (size_t)(slash - key));
            plural[slash - key] = 0;
            o = ctl_find(c, plural, slash + 1);
            if (o != NULL) {
                ctl_mark(c, o);
            }
        }
    }
}

static void mark_held(struct controller *c, const char *host)
{
    const struct kind *k = kind_by_plural("virtualmachines");
    struct ctl_obj *o;

    for (size_t pos = 0; (o = world_next(c->world, k, &pos)) != NULL;) {
        const struct s_lock *l = world_lock(c->world, "virtualmachines", o->name);

        if ((l != NULL && (str_eq(l->owner.host, host) || str_eq(l->peer.host, host))) ||
            str_eq(jget_str(o->json, "status.assignedHost", ""), host)) {
            ctl_mark(c, o);
        }
    }
}

void ctl_ready_scan(struct pass *p)
{
    struct controller *c = p->c;
    const char *changed[HOSTS_ONE_BY_ONE];
    const char *host;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&c->world->hosts, &i, &host, &v);) {
        struct world_host *h = v;
        bool ready = pass_host_ready(p, host);

        if (ready != h->ready || h->touched) {
            h->ready = ready;
            h->touched = false;
            if (n < HOSTS_ONE_BY_ONE) {
                changed[n] = host;
            }
            n++;
        }
    }
    if (n > HOSTS_ONE_BY_ONE) {
        ctl_mark_all(c);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        mark_reported(c, changed[i]);
        mark_held(c, changed[i]);
    }
}
