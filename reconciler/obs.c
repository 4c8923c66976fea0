#include "reconciler/obs.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"

struct dom_entry {
    struct drv_domain d;
    uint64_t seen_ms;
    uint64_t seq;          /* of the last change */
    bool ended;            /* its end was observed, or is our own doing */
    uint32_t absent_reads; /* enumerations that missed it, in a row */
    uint64_t absent_ms;    /* of the last one that counted */
};

struct vol_entry {
    struct drv_volume v;
    uint64_t seen_ms;
    uint64_t seq;
};

struct obs {
    struct obs_opts opts;
    struct map doms; /* vm -> struct dom_entry, owned */
    struct map vols; /* "group/name" -> struct vol_entry, owned */
    uint64_t seq;
    uint64_t full_doms_ms; /* last complete enumeration, 0: none since the last doubt */
    uint64_t full_vols_ms;
};

struct obs *obs_new(const struct obs_opts *opts)
{
    struct obs *o = OBJ_NEW(struct obs);

    o->opts = *opts;
    CHECK(opts->confirm_reads >= 1);
    return o;
}

void obs_free(struct obs *o)
{
    const char *key;
    void *v;

    if (o == NULL) {
        return;
    }
    for (size_t i = 0; map_next(&o->doms, &i, &key, &v);) {
        struct dom_entry *e = v;

        drv_domain_done(&e->d);
        free(e);
    }
    for (size_t i = 0; map_next(&o->vols, &i, &key, &v);) {
        struct vol_entry *e = v;

        drv_volume_done(&e->v);
        free(e);
    }
    map_done(&o->doms);
    map_done(&o->vols);
    free(o);
}

static struct dom_entry *dom_entry(struct obs *o, const char *vm)
{
    struct dom_entry *e = map_get(&o->doms, vm);

    if (e == NULL) {
        e = OBJ_NEW(struct dom_entry);
        e->d.vm = mem_strdup(vm);
        e->d.uid = mem_strdup("");
        (void)map_put(&o->doms, vm, e);
    }
    return e;
}

static void dom_seen(struct obs *o, const struct drv_domain *d, uint64_t now_ms)
{
    struct dom_entry *e = dom_entry(o, d->vm);

    drv_domain_done(&e->d);
    drv_domain_copy(&e->d, d);
    e->seen_ms = now_ms;
    e->seq = ++o->seq;
    e->absent_reads = 0;
    e->ended = d->state == DOM_STOPPED || d->state == DOM_ABSENT;
}

static void vol_seen(struct obs *o, const struct drv_volume *v, uint64_t now_ms)
{
    char *key = mem_printf("%s/%s", v->group, v->name);
    struct vol_entry *e = map_get(&o->vols, key);
    uint64_t size;

    if (e == NULL) {
        e = OBJ_NEW(struct vol_entry);
        (void)map_put(&o->vols, key, e);
    }
    size = v->size_bytes != 0 ? v->size_bytes : e->v.size_bytes; /* an event may not say it */
    drv_volume_done(&e->v);
    drv_volume_copy(&e->v, v);
    e->v.size_bytes = v->state == VOL_ABSENT ? 0 : size;
    e->seen_ms = now_ms;
    e->seq = ++o->seq;
    free(key);
}

void obs_doubt(struct obs *o)
{
    const char *key;
    void *v;

    o->full_doms_ms = 0;
    o->full_vols_ms = 0;
    for (size_t i = 0; map_next(&o->doms, &i, &key, &v);) {
        ((struct dom_entry *)v)->seen_ms = 0;
    }
    for (size_t i = 0; map_next(&o->vols, &i, &key, &v);) {
        ((struct vol_entry *)v)->seen_ms = 0;
    }
}

bool obs_event(struct obs *o, const struct drv_event *ev, uint64_t now_ms)
{
    switch (ev->kind) {
    case DRV_EV_DOMAIN:
        dom_seen(o, ev->domain, now_ms);
        return true;
    case DRV_EV_VOLUME:
        vol_seen(o, ev->volume, now_ms);
        return true;
    case DRV_EV_DOUBT:
        obs_doubt(o);
        return false;
    }
    CHECK_UNREACHABLE();
}

uint64_t obs_enum_begin(struct obs *o)
{
    return o->seq;
}

/* One enumeration did not name it. */
static void dom_missing(struct obs *o, struct dom_entry *e, uint64_t now_ms)
{
    if (!e->ended && e->d.state != DOM_ABSENT) {
        if (e->absent_reads == 0 || now_ms >= e->absent_ms + o->opts.confirm_gap_ms) {
            e->absent_reads++;
            e->absent_ms = now_ms;
        }
        if (e->absent_reads < o->opts.confirm_reads) {
            e->d.state = DOM_UNKNOWN;
            e->seen_ms = now_ms;
            return;
        }
    }
    e->d.state = DOM_ABSENT;
    e->d.reason = DOM_REASON_NONE;
    e->ended = true;
    e->seen_ms = now_ms;
}

void obs_enum_domains(struct obs *o, uint64_t stamp, const struct drv_domain *d, size_t n,
                      uint64_t now_ms)
{
    const uint64_t end = o->seq;
    struct map named = { 0 };
    const char *vm;
    void *v;

    CHECK(stamp <= o->seq);
    for (size_t i = 0; i < n; i++) {
        const struct dom_entry *e = map_get(&o->doms, d[i].vm);

        (void)map_put(&named, d[i].vm, o);
        if (e == NULL || e->seq <= stamp) {
            dom_seen(o, &d[i], now_ms);
        }
    }
    for (size_t i = 0; map_next(&o->doms, &i, &vm, &v);) {
        struct dom_entry *e = v;

        if (e->seq <= stamp && map_get(&named, vm) == NULL) {
            dom_missing(o, e, now_ms);
        }
    }
    map_done(&named);
    CHECK(o->seq >= end);
    o->full_doms_ms = now_ms;
}

void obs_enum_volumes(struct obs *o, uint64_t stamp, const struct drv_volume *v, size_t n,
                      uint64_t now_ms)
{
    struct map named = { 0 };
    const char *key;
    void *value;

    for (size_t i = 0; i < n; i++) {
        char *k = mem_printf("%s/%s", v[i].group, v[i].name);
        const struct vol_entry *e = map_get(&o->vols, k);

        (void)map_put(&named, k, o);
        if (e == NULL || e->seq <= stamp) {
            vol_seen(o, &v[i], now_ms);
        }
        free(k);
    }
    for (size_t i = 0; map_next(&o->vols, &i, &key, &value);) {
        struct vol_entry *e = value;

        if (e->seq <= stamp && map_get(&named, key) == NULL) {
            o->seq += e->v.state != VOL_ABSENT;
            e->v.state = VOL_ABSENT;
            e->v.open = false;
            e->seen_ms = now_ms;
        }
    }
    map_done(&named);
    o->full_vols_ms = now_ms;
}

void obs_remember(struct obs *o, const char *vm)
{
    struct dom_entry *e = dom_entry(o, vm);

    if (e->seen_ms == 0 && e->d.state == DOM_UNKNOWN) {
        e->ended = false;
    }
}

void obs_expect_end(struct obs *o, const char *vm)
{
    struct dom_entry *e = map_get(&o->doms, vm);

    if (e != NULL) {
        e->ended = true;
    }
}

void obs_forget(struct obs *o, const char *vm)
{
    struct dom_entry *e = dom_entry(o, vm);

    if (e->d.state == DOM_ABSENT || e->d.state == DOM_STOPPED) {
        e->ended = true; /* nothing was running: one read decides whether the job changed that */
    }
    e->d.state = DOM_UNKNOWN;
    e->seen_ms = 0;
    e->seq = ++o->seq;
}

void obs_forget_volume(struct obs *o, const char *group, const char *name)
{
    struct drv_volume v = { 0 };

    v.group = mem_strdup(group);
    v.name = mem_strdup(name);
    vol_seen(o, &v, 0);
    drv_volume_done(&v);
}

bool obs_seen_since(const struct obs *o, const char *vm, uint64_t stamp)
{
    const struct dom_entry *e = map_get(&o->doms, vm);

    return e != NULL && e->seq > stamp && e->seen_ms != 0;
}

bool obs_complete(const struct obs *o)
{
    return o->full_doms_ms != 0 && o->full_vols_ms != 0;
}

/* Events keep what they cover fresh, as long as a full look is not too long ago. */
static uint64_t freshness(const struct obs *o, uint64_t full_ms, uint64_t seen_ms, uint64_t now_ms)
{
    return full_ms != 0 && now_ms <= full_ms + o->opts.follow_ms ? now_ms : seen_ms;
}

void obs_domain_get(const struct obs *o, const char *vm, uint64_t now_ms, struct obs_domain *ret)
{
    const struct dom_entry *e = map_get(&o->doms, vm);

    *ret = (struct obs_domain){ .state = DOM_UNKNOWN, .uid = "" };
    if (e == NULL) {
        if (o->full_doms_ms != 0) {
            ret->state = DOM_ABSENT;
            ret->seen_ms = freshness(o, o->full_doms_ms, o->full_doms_ms, now_ms);
        }
        return;
    }
    *ret = (struct obs_domain){
        .state = e->seen_ms == 0 ? DOM_UNKNOWN : e->d.state,
        .reason = e->d.reason,
        .uid = e->d.uid == NULL || e->d.state == DOM_ABSENT ? "" : e->d.uid,
        .detail = e->d.detail,
        .incarnation = e->d.incarnation,
        .token = e->d.token,
        .since_wall_ms = e->d.since_wall_ms,
        .memory_bytes = e->d.memory_bytes,
        .memory_target_bytes = e->d.memory_target_bytes,
        .vcpus = e->d.vcpus,
        .console = e->d.console,
        .tty = e->d.tty,
        .id = e->d.id,
        .seen_ms = e->seen_ms == 0 ? 0 : freshness(o, o->full_doms_ms, e->seen_ms, now_ms),
    };
    if (e->d.state == DOM_UNKNOWN && e->absent_reads > 0) {
        ret->look_after_ms = e->absent_ms + o->opts.confirm_gap_ms;
    }
}

void obs_volume_get(const struct obs *o, const char *group, const char *name, uint64_t now_ms,
                    struct obs_volume *ret)
{
    char *key = mem_printf("%s/%s", group, name);
    const struct vol_entry *e = map_get(&o->vols, key);

    free(key);
    *ret = (struct obs_volume){ .state = VOL_UNKNOWN };
    if (e == NULL) {
        if (o->full_vols_ms != 0) {
            ret->state = VOL_ABSENT;
            ret->seen_ms = o->full_vols_ms; /* no event tells that another host made it */
        }
        return;
    }
    if (e->seen_ms != 0) {
        ret->state = e->v.state;
        ret->open = e->v.open;
        ret->size_bytes = e->v.size_bytes;
        ret->seen_ms = e->v.state == VOL_ABSENT ? e->seen_ms
                                                : freshness(o, o->full_vols_ms, e->seen_ms, now_ms);
    }
}

bool obs_next(const struct obs *o, size_t *pos, const char **ret_vm)
{
    void *v;

    while (map_next(&o->doms, pos, ret_vm, &v)) {
        if (((const struct dom_entry *)v)->d.state != DOM_ABSENT) {
            return true;
        }
    }
    return false;
}

bool obs_volume_next(const struct obs *o, size_t *pos, const char **ret_group,
                     const char **ret_name, enum vol_state *ret_state, bool *ret_open,
                     uint64_t *ret_size_bytes)
{
    const char *key;
    void *v;

    if (!map_next(&o->vols, pos, &key, &v)) {
        return false;
    }
    *ret_group = ((const struct vol_entry *)v)->v.group;
    *ret_name = ((const struct vol_entry *)v)->v.name;
    *ret_state = ((const struct vol_entry *)v)->v.state;
    *ret_open = ((const struct vol_entry *)v)->v.open;
    *ret_size_bytes = ((const struct vol_entry *)v)->v.size_bytes;
    return true;
}

uint64_t obs_version(const struct obs *o)
{
    return o->seq;
}

size_t obs_running(const struct obs *o)
{
    const char *vm;
    size_t n = 0;
    void *v;

    for (size_t i = 0; map_next(&o->doms, &i, &vm, &v);) {
        enum dom_state st = ((const struct dom_entry *)v)->d.state;

        n += st == DOM_RUNNING || st == DOM_PAUSED;
    }
    return n;
}
