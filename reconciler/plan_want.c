#include "reconciler/plan_want.h"

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

#define RESTART_COUNT_DEFAULT 3
#define RESTART_WINDOW_DEFAULT_MS 600000U
#define SHUTDOWN_DEFAULT_MS 120000U

static const json_t *object(const struct plan_source *src, const char *plural, const char *name)
{
    return src->object(src->ctx, plural, name);
}

/* A copy of a string of an object; "" when it is not there. */
static const char *text(struct arena *a, const json_t *o, const char *path)
{
    return arena_strdup(a, jget_str(o, path, ""));
}

bool plan_vol_make(const struct plan_source *src, const char *volume, struct arena *a,
                   struct plan_vol *ret)
{
    const json_t *o = object(src, "volumes", volume);

    if (o == NULL) {
        return false;
    }
    *ret = (struct plan_vol){
        .name = arena_strdup(a, obj_name(o)),
        .uid = text(a, o, "metadata.uid"),
        .group = text(a, o, "spec.volumeGroup"),
        .size_bytes = jget_size(o, "spec.size", 0),
        .exclusive = !str_eq(jget_str(o, "spec.access", "Exclusive"), "Shared"),
    };
    return true;
}

static enum vm_run run_of(const json_t *o)
{
    const char *s = jget_str(o, "spec.runPolicy", "Running");

    if (str_eq(s, "Stopped")) {
        return VM_RUN_STOPPED;
    }
    return str_eq(s, "Paused") ? VM_RUN_PAUSED : VM_RUN_RUNNING;
}

static enum vm_on_crash on_crash_of(const json_t *o)
{
    const char *s = jget_str(o, "spec.ha.onCrash", "Restart");

    if (str_eq(s, "Stop")) {
        return VM_CRASH_STOP;
    }
    return str_eq(s, "Preserve") ? VM_CRASH_PRESERVE : VM_CRASH_RESTART;
}

static enum vm_assign assign_of(const struct plan_source *src, const json_t *o)
{
    const char *host = jget_str(o, "status.assignedHost", NULL);
    int64_t inc = jget_int(o, "status.assignedIncarnation", 0);

    if (host == NULL) {
        return VM_ASSIGN_NONE;
    }
    if (host[0] == '\0') {
        return VM_ASSIGN_NOWHERE;
    }
    if (!str_eq(host, src->host)) {
        return VM_ASSIGN_ELSEWHERE;
    }
    /* Decided for an earlier life of this host: wait until it is decided anew. */
    return inc > 0 && (uint64_t)inc != src->incarnation ? VM_ASSIGN_NONE : VM_ASSIGN_HERE;
}

static uint32_t u32_of(int64_t v)
{
    if (v < 0) {
        return 0;
    }
    return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

/* status.migration: this host's end of it, unless it was decided for an earlier life of ours. */
static void migration_of(const struct plan_source *src, const json_t *o, struct arena *a,
                         struct vm_mig *ret)
{
    const json_t *m = jget(o, "status.migration");
    const char *phase = jget_str(m, "phase", "");
    bool source = str_eq(jget_str(m, "source", ""), src->host);
    int64_t inc = jget_int(m, source ? "sourceIncarnation" : "targetIncarnation", 0);

    *ret = (struct vm_mig){ .id = "", .peer = "", .address = "" };
    if ((!source && !str_eq(jget_str(m, "target", ""), src->host)) || src->incarnation == 0 ||
        (uint64_t)inc != src->incarnation) {
        return;
    }
    *ret = (struct vm_mig){
        .role = source ? VM_MIG_SOURCE : VM_MIG_TARGET,
        .send = str_eq(phase, "Running"),
        .cancel = str_eq(phase, "Canceling"),
        .committed = str_eq(phase, "Committing"),
        .id = text(a, m, "uid"),
        .peer = text(a, m, source ? "target" : "source"),
        .address = text(a, m, "address"),
        .bandwidth = (uint64_t)jget_int(m, "bandwidth", 0),
        .timeout_ms = (uint64_t)jget_int(m, "timeoutMs", 0),
    };
}

static void invalid(struct plan_want *w, const char *why)
{
    if (w->vm.invalid == NULL) {
        w->vm.invalid = why;
    }
}

static void add_volume(const struct plan_source *src, const char *disk, const char *volume,
                       struct arena *a, struct plan_want *w, struct drv_disk *d)
{
    struct plan_vol v;

    if (!plan_vol_make(src, volume, a, &v)) {
        invalid(w, arena_printf(a, "volume %s of disk %s does not exist", volume, disk));
        return;
    }
    if (v.group[0] == '\0' || object(src, "volumegroups", v.group) == NULL) {
        invalid(w, arena_printf(a, "volume group %s of volume %s does not exist", v.group, volume));
    }
    d->group = v.group;
    d->volume = v.name;
    for (size_t i = 0; i < w->n_vols; i++) {
        if (str_eq(w->vols[i].name, v.name)) {
            return;
        }
    }
    w->vols[w->n_vols++] = v;
}

static void add_disk(const struct plan_source *src, const json_t *j, struct arena *a,
                     struct plan_want *w)
{
    const char *name = text(a, j, "name");
    const char *volume = jget_str(j, "volume", NULL);
    struct drv_disk *d = &w->disks[w->n_disks++];

    *d = (struct drv_disk){
        .name = name,
        .target = text(a, j, "target"),
        .path = arena_strdup(a, jget_str(j, "path", jget_str(j, "cdrom.iso", NULL))),
        .read_only = jget_bool(j, "readOnly", false) || jget(j, "cdrom") != NULL,
    };
    if (volume == NULL && jget_str(j, "volumeGroup", NULL) != NULL) {
        volume = arena_printf(a, "%s-%s", w->vm.name, name);
    }
    if (volume != NULL) {
        add_volume(src, name, volume, a, w, d);
    }
}

static void add_disks(const struct plan_source *src, struct arena *a, struct plan_want *w)
{
    const json_t *disks = jget(w->object, "spec.disks");
    size_t n = json_array_size(disks);

    w->disks = ARENA_ARRAY(a, struct drv_disk, n + 1);
    w->vols = ARENA_ARRAY(a, struct plan_vol, n + 1);
    for (size_t i = 0; i < n; i++) {
        add_disk(src, json_array_get(disks, i), a, w);
    }
}

void plan_want_make(const struct plan_source *src, const char *vm, struct arena *a,
                    struct plan_want *ret)
{
    const json_t *o = object(src, "virtualmachines", vm);
    const json_t *cluster = object(src, "clusters", "cluster");

    *ret =
        (struct plan_want){ .vm = { .name = arena_strdup(a, vm), .uid = "", .mig = { .id = "" } },
                            .object = o };
    if (o == NULL) {
        return;
    }
    ret->vm = (struct vm_want){
        .name = ret->vm.name,
        .exists = true,
        .deleting = jget_str(o, "metadata.deletionTimestamp", NULL) != NULL,
        .paused = jget_bool(o, "spec.paused", false) || jget_bool(cluster, "spec.paused", false),
        .uid = text(a, o, "metadata.uid"),
        .generation = (uint64_t)jget_int(o, "metadata.generation", 0),
        .run = run_of(o),
        .assign = assign_of(src, o),
        .assigned_to = arena_strdup(a, jget_str(o, "status.assignedHost", NULL)),
        .on_crash = on_crash_of(o),
        .restart_on_poweroff = str_eq(jget_str(o, "spec.ha.onGuestPoweroff", "Stop"), "Restart"),
        .restart_count = u32_of(jget_int(o, "spec.ha.restartLimit.count", RESTART_COUNT_DEFAULT)),
        .restart_window_ms =
            jget_duration(o, "spec.ha.restartLimit.window", RESTART_WINDOW_DEFAULT_MS),
        .memory_bytes = jget_size(o, "spec.memory", 0),
        .vcpus = u32_of(jget_int(o, "spec.vcpus", 0)),
        .shutdown_timeout_ms = jget_duration(o, "spec.shutdownTimeout", SHUTDOWN_DEFAULT_MS),
    };
    migration_of(src, o, a, &ret->vm.mig);
    add_disks(src, a, ret);
}
