#include "cmd/picketd/admit.h"

#include <stdio.h>

#include "base/obj.h"
#include "base/str.h"
#include "fence/agent_rules.h"
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

/* A fence agent is told what it may be told, and nothing that makes it run or believe something
 * else. */
static void admit_agent(const json_t *obj, struct problems *p)
{
    const json_t *params = jget(obj, "spec.parameters");
    const char *program = jget_str(obj, "spec.agent", "");

    if (*program != 0 && !agent_rules_program_ok(program)) {
        problem_add(p, "FieldValueInvalid", "spec.agent",
                    "\"%.80s\" is not the name of a fence agent: fence_ and a-z, 0-9 or _, "
                    "without a path",
                    program);
    }
    for (void *it = json_object_iter((json_t *)(uintptr_t)params); it != NULL;
         it = json_object_iter_next((json_t *)(uintptr_t)params, it)) {
        const char *why = agent_rules_param_refused(json_object_iter_key(it));
        char path[160];

        if (why != NULL) {
            (void)snprintf(path, sizeof(path), "spec.parameters.%.100s", json_object_iter_key(it));
            problem_add(p, "FieldValueForbidden", path, "%s", why);
        }
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
        json_t *whole = json_deep_copy(obj);

        obj_default(k, whole); /* what is left out is the default, not a change of it */
        obj_validate_update(k, old, whole, problems);
        json_decref(whole);
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
        if (str_eq(jget_str(obj, "spec.type", ""), "Agent")) {
            admit_agent(obj, problems);
        }
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
