/* Conditions. */

#include "api/json_path.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

static json_t *cond_find(json_t *list, const char *type)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *c = json_array_get(list, i);

        if (str_eq(json_string_value(json_object_get(c, "type")), type)) {
            return c;
        }
    }
    return NULL;
}

const json_t *cond_get(const json_t *obj, const char *type)
{
    return cond_find(json_object_get(json_object_get(obj, "status"), "conditions"), type);
}

/* obj.status.conditions, made when missing. */
static json_t *cond_list(json_t *obj)
{
    json_t *status = json_object_get(obj, "status");
    json_t *list;

    if (!json_is_object(status)) {
        json_object_set_new(obj, "status", json_object());
        status = json_object_get(obj, "status");
    }
    list = json_object_get(status, "conditions");
    if (!json_is_array(list)) {
        json_object_set_new(status, "conditions", json_array());
        list = json_object_get(status, "conditions");
    }
    return list;
}

/* Set a member; true when it had another value. */
static bool set_text(json_t *c, const char *key, const char *value)
{
    if (str_eq(json_string_value(json_object_get(c, key)), value)) {
        return false;
    }
    json_object_set_new(c, key, json_string_lossy(value));
    return true;
}

bool cond_set(json_t *obj, const char *type, const char *status, const char *reason,
              const char *message, uint64_t wall_ms)
{
    json_t *list = cond_list(obj);
    json_t *c = cond_find(list, type);
    const json_t *generation = jget(obj, "metadata.generation");
    bool changed;
    char now[40];

    CHECK(str_eq(status, "True") || str_eq(status, "False") || str_eq(status, "Unknown"));
    if (c == NULL) {
        c = json_object();
        json_object_set_new(c, "type", json_string(type));
        json_array_append_new(list, c);
    }
    changed = set_text(c, "status", status);
    if (changed) {
        str_format_time(wall_ms, now, sizeof(now));
        json_object_set_new(c, "lastTransitionTime", json_string(now));
    }
    changed = set_text(c, "reason", reason) || changed;
    changed = set_text(c, "message", message) || changed;
    if (generation != NULL && !json_equal(generation, json_object_get(c, "observedGeneration"))) {
        json_object_set_new(
            c, "observedGeneration",
            json_copy(json_object_get(json_object_get(obj, "metadata"), "generation")));
        changed = true;
    }
    return changed;
}

void cond_drop(json_t *obj, const char *type)
{
    json_t *list = json_object_get(json_object_get(obj, "status"), "conditions");

    for (size_t i = json_array_size(list); i > 0; i--) {
        if (str_eq(json_string_value(json_object_get(json_array_get(list, i - 1), "type")), type)) {
            (void)json_array_remove(list, i - 1);
        }
    }
}
