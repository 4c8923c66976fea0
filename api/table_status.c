/* Errors as Kubernetes Status objects. */

#include "api/json_path.h"
#include "api/table.h"
#include "api/valid.h"
#include "base/buf.h"
#include "base/str.h"

#include <stdlib.h>

static json_t *causes_of(const struct problems *problems)
{
    json_t *causes = json_array();

    for (size_t i = 0; problems != NULL && i < problems->n; i++) {
        const struct problem *p = &problems->items[i];

        if (!p->warning) {
            json_array_append_new(causes, json_pack("{s:s, s:o, s:o}", "reason", p->reason,
                                                    "message", json_string_lossy(p->message),
                                                    "field", json_string_lossy(p->path)));
        }
    }
    return causes;
}

static void add_problems(struct buf *out, const struct problems *problems)
{
    size_t n = 0;

    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *p = &problems->items[i];

        if (!p->warning) {
            buf_printf(out, "%s%s: %s", n++ > 0 ? "; " : "", p->path, p->message);
        }
    }
    if (problems->more) {
        buf_add_str(out, "; and more");
    }
}

static void add_message(struct buf *out, const struct err *err, const struct kind *k,
                        const char *name, const struct problems *problems)
{
    if (problems != NULL && problems_bad(problems)) {
        if (name != NULL && *name != 0) {
            buf_printf(out, "%s \"%s\" is invalid: ", k != NULL ? k->name : "object", name);
        } else {
            buf_add_str(out, "refused: "); /* of many objects: each problem names its own */
        }
        add_problems(out, problems);
    } else {
        buf_add_str(out, err->msg);
    }
}

json_t *status_from_err(const struct err *err, const char *plural, const char *name,
                        const struct problems *problems)
{
    const struct kind *k = plural != NULL ? kind_by_plural(plural) : NULL;
    json_t *details = json_object();
    json_t *causes = causes_of(problems);
    struct buf msg = { 0 };
    json_t *status;

    add_message(&msg, err, k, name, problems);
    if (name != NULL && *name != 0) {
        json_object_set_new(details, "name", json_string_lossy(name));
    }
    if (plural != NULL) {
        /* kubectl begins its sentence about an invalid object with this: "The VirtualMachine ..."
         */
        json_object_set_new(details, "group", json_string(API_GROUP));
        json_object_set_new(
            details, "kind",
            json_string_lossy(err->code == ERR_INVALID && k != NULL ? k->name : plural));
    }
    if (json_array_size(causes) > 0) {
        json_object_set(details, "causes", causes);
    }
    json_decref(causes);
    status =
        json_pack("{s:s, s:s, s:{}, s:s, s:o, s:s, s:o, s:i}", "kind", "Status", "apiVersion", "v1",
                  "metadata", "status", "Failure", "message", json_string_lossy(buf_cstr(&msg)),
                  "reason", err_reason(err->code), "details", details, "code", err_http(err->code));
    buf_done(&msg);
    return status;
}

json_t *status_success(const struct kind *k, const char *name, const char *uid)
{
    return json_pack("{s:s, s:s, s:{}, s:s, s:{s:s, s:s, s:s, s:s}}", "kind", "Status",
                     "apiVersion", "v1", "metadata", "status", "Success", "details", "name", name,
                     "group", API_GROUP, "kind", k->plural, "uid", uid);
}
