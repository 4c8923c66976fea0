#include "cmd/picketd/admit.h"

#include "base/obj.h"
#include "base/str.h"
#include "fence/timing.h"

/* Devices that cut nothing are for labs only (safety.md 4). */
static void admit_device(const struct node *n, const json_t *obj, struct problems *p)
{
    const char *type = jget_str(obj, "spec.type", "");

    if ((str_eq(type, "Null") || str_eq(type, "Ssh")) && !n->opts.lab) {
        problem_add(
            p, "FieldValueForbidden", "spec.type",
            "%s proves nothing about a silent host and is allowed only in a lab cluster (one that "
            "was initialised with --lab); use Manual when there is no device",
            type);
    }
}

static void admit_timing(const struct node *n, const json_t *obj, struct problems *p)
{
    struct timing_in in = { .dev = n->opts.lab,
                            .heartbeat_ms = jget_duration(obj, "spec.timing.heartbeat", 0),
                            .host_timeout_ms = jget_duration(obj, "spec.timing.hostTimeout", 0),
                            .startup_grace_ms =
                                jget_duration(obj, "spec.fencing.startupGrace", 0) };
    struct timing t;
    struct err err;

    if (timing_derive(&in, &t, &err) != 0) {
        problem_add(p, "FieldValueInvalid", "spec.timing", "%s", err.msg);
    }
}

static void admit_deleting(const json_t *old, const json_t *obj, struct problems *p)
{
    if (jget(old, "metadata.deletionTimestamp") != NULL &&
        !json_equal(json_object_get(old, "spec"), json_object_get(obj, "spec"))) {
        problem_add(p, "FieldValueForbidden", "spec",
                    "the object is being deleted; its spec cannot change any more");
    }
}

int admit_validate(struct node *n, const struct kind *k, const json_t *old, const json_t *obj,
                   bool status, struct problems *problems, struct err *err)
{
    obj_validate(k, obj, status, problems);
    if (old != NULL && !status) {
        obj_validate_update(k, old, obj, problems);
        admit_deleting(old, obj, problems);
    }
    if (k->singleton != NULL && !str_eq(obj_name(obj), k->singleton)) {
        problem_add(problems, "FieldValueInvalid", "metadata.name",
                    "\"%s\": there is exactly one %s, named \"%s\"", obj_name(obj), k->name,
                    k->singleton);
    }
    if (str_eq(k->name, "Cluster") && !problems_bad(problems)) {
        admit_timing(n, obj, problems);
    }
    if (str_eq(k->name, "FenceDevice")) {
        admit_device(n, obj, problems);
    }
    if (problems_bad(problems)) {
        const struct problem *first = problems->items;

        while (first->warning) {
            first++;
        }
        return err_set(err, ERR_INVALID, "%s.%s \"%s\" is invalid: %s: %s", k->name, API_GROUP,
                       obj_name(obj), first->path, first->message);
    }
    return 0;
}
