/* What hosts say about LUNs, groups, sessions and interfaces, in the status of the object; and what
 * is pinned for ever: a LUN's WWID and a group's id, the first that any host has read (safety.md
 * 2).
 */

#include "cmd/picketd/ctl_disk.h"

#include <stdlib.h>
#include <string.h>

#include "api/json_path.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"

static const struct {
    const char *kind, *pin;
} pins[] = {
    { "LUN", "wwid" },
    { "VolumeGroup", "uuid" },
};

static const char *pin_of(const struct kind *k)
{
    for (size_t i = 0; i < ARRAY_LEN(pins); i++) {
        if (str_eq(pins[i].kind, k->name)) {
            return pins[i].pin;
        }
    }
    return NULL;
}

static bool per_host(const struct kind *k)
{
    return pin_of(k) != NULL || str_eq(k->name, "Bond") || str_eq(k->name, "Bridge") ||
           str_eq(k->name, "VLAN");
}

/* One host's part: what the kind has room for. */
static json_t *host_part(const struct kind *k, const json_t *report)
{
    json_t *part = str_eq(k->name, "VolumeGroup") ? NULL : json_deep_copy(jget(report, "status"));

    part = part == NULL ? json_object() : part;
    (void)json_object_set_new(part, "state", json_string(jget_str(report, "state", "Unknown")));
    (void)json_object_set_new(part, "message", json_string(jget_str(report, "message", "")));
    return part;
}

static void pin(const struct ctl_obj *o, const json_t *report, json_t *next)
{
    const char *field = pin_of(o->k);
    const char *seen =
        field == NULL ? NULL : json_string_value(json_object_get(jget(report, "status"), field));
    json_t *status = json_object_get(next, "status");

    if (seen == NULL || seen[0] == '\0' || status == NULL ||
        json_object_get(status, field) != NULL) {
        return;
    }
    if (str_eq(field, "wwid") && jget_str(o->json, "spec.wwid", NULL) != NULL) {
        return;
    }
    (void)json_object_set_new(status, field, json_string(seen));
}

static void sizes(const struct ctl_obj *o, const json_t *report, json_t *next)
{
    static const char *const fields[] = { "size", "free" };
    json_t *status = json_object_get(next, "status");

    for (size_t i = 0; str_eq(o->k->name, "VolumeGroup") && i < ARRAY_LEN(fields); i++) {
        const json_t *v = json_object_get(jget(report, "status"), fields[i]);
        char text[32];

        if (json_is_integer(v)) {
            str_format_size((uint64_t)json_integer_value(v), text, sizeof(text));
            (void)json_object_set_new(status, fields[i], json_string(text));
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The hosts that have it active, sorted.  What a host reported that is gone counts as long as it
 * holds the lock: nobody knows better. */
static json_t *active_on(struct pass *p, const struct ctl_obj *o, const struct world_reports *reps)
{
    const struct s_lock *lock = pass_lock(p, o->k->plural, o->name);
    const char **names = mem_alloc(reps->n * sizeof(*names));
    json_t *list = json_array();
    size_t n = 0;

    for (size_t i = 0; i < reps->n; i++) {
        const char *host = reps->items[i]->host;

        if (jget_bool(reps->items[i]->json, "active", false) &&
            (pass_host_ready(p, host) || (lock != NULL && str_eq(lock->owner.host, host)))) {
            names[n++] = host;
        }
    }
    qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_string(names[i]));
    }
    free(names);
    return list;
}

/* A volume: how big it is, and where it is active.  Hosts may differ for a moment while it grows:
 * the biggest is what LVM has written down. */
static void volume(struct pass *p, const struct ctl_obj *o, const struct world_reports *reps,
                   json_t *next)
{
    json_t *on = active_on(p, o, reps);
    json_int_t size = 0;
    char text[32];

    for (size_t i = 0; i < reps->n; i++) {
        json_int_t has = (json_int_t)jget_int(reps->items[i]->json, "size", 0);

        size = has > size ? has : size;
    }
    if (size > 0) {
        str_format_size((uint64_t)size, text, sizeof(text));
        jset(next, "status.size", json_string(text));
    }
    jset(next, "status.phase", json_string(json_array_size(on) > 0 ? "InUse" : "Available"));
    jset(next, "status.activeOn", on);
}

static void redundant(struct pass *p, const struct ctl_obj *o, const json_t *hosts, json_t *next)
{
    const char *name;
    const json_t *part;
    bool all = true, any = false;

    if (!str_eq(o->k->name, "LUN")) {
        return;
    }
    json_object_foreach (json_loose(hosts), name, part) {
        any = true;
        all = all && jget_int(part, "paths.active", 0) >= jget_int(part, "paths.total", 1);
    }
    if (any) {
        (void)cond_set(next, "Redundant", all ? "True" : "False", all ? "AllPaths" : "PathsLost",
                       "", p->wall_ms);
    }
}

static void sessions(const struct ctl_obj *o, const char *host, const json_t *report, json_t *all)
{
    const json_t *list = json_object_get(jget(report, "status"), "sessions");

    for (size_t i = 0; str_eq(o->k->name, "ISCSITarget") && i < json_array_size(list); i++) {
        json_t *s = json_deep_copy(json_array_get(list, i));

        (void)json_object_set_new(s, "host", json_string(host));
        (void)json_array_append_new(all, s);
    }
}

void ctl_disk_status(struct pass *p, const struct ctl_obj *o, json_t *next)
{
    const struct world_reports *reps = world_reports_of(p->c->world, o->k->plural, o->name);
    json_t *hosts, *list;
    bool target = str_eq(o->k->name, "ISCSITarget");

    if (reps != NULL && reps->n > 0 && str_eq(o->k->name, "Volume")) {
        volume(p, o, reps, next);
        return;
    }
    if (reps == NULL || reps->n == 0 || (!target && !per_host(o->k))) {
        return;
    }
    hosts = json_object();
    list = json_array();
    if (json_object_get(next, "status") == NULL) {
        (void)json_object_set_new(next, "status", json_object());
    }
    for (size_t i = 0; i < reps->n; i++) {
        const json_t *report = reps->items[i]->json;

        if (!str_starts(jget_str(report, "reason", ""), "Dev")) {
            (void)json_object_set_new(hosts, reps->items[i]->host, host_part(o->k, report));
            sessions(o, reps->items[i]->host, report, list);
            pin(o, report, next);
            sizes(o, report, next);
        }
    }
    redundant(p, o, hosts, next);
    if (target && json_array_size(list) > 0) {
        (void)json_object_set(json_object_get(next, "status"), "sessions", list);
    } else if (!target && json_object_size(hosts) > 0) {
        (void)json_object_set(json_object_get(next, "status"), "hosts", hosts);
    }
    json_decref(hosts);
    json_decref(list);
}
