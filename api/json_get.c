/* Readers that never fail, and writers at a path. */

#include "api/json_path.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

const json_t *jget(const json_t *obj, const char *path)
{
    char step[PATH_STEP_MAX];

    while (obj != NULL && path_next(&path, step)) {
        obj = path_member(obj, step);
    }
    return obj == NULL || *path != 0 || json_is_null(obj) ? NULL : obj;
}

const char *jget_str(const json_t *obj, const char *path, const char *fallback)
{
    const char *s = json_string_value(jget(obj, path));

    return s != NULL ? s : fallback;
}

int64_t jget_int(const json_t *obj, const char *path, int64_t fallback)
{
    const json_t *v = jget(obj, path);

    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool jget_bool(const json_t *obj, const char *path, bool fallback)
{
    const json_t *v = jget(obj, path);

    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

bool json_as_size(const json_t *v, uint64_t *ret_bytes)
{
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *ret_bytes = (uint64_t)json_integer_value(v);
        return true;
    }
    return json_is_string(v) && str_parse_size(json_string_value(v), ret_bytes);
}

bool json_as_duration(const json_t *v, uint64_t *ret_ms)
{
    if (json_is_integer(v) && json_integer_value(v) == 0) {
        *ret_ms = 0;
        return true;
    }
    return json_is_string(v) && str_parse_duration(json_string_value(v), ret_ms);
}

uint64_t jget_size(const json_t *obj, const char *path, uint64_t fallback)
{
    uint64_t bytes;

    return json_as_size(jget(obj, path), &bytes) ? bytes : fallback;
}

uint64_t jget_duration(const json_t *obj, const char *path, uint64_t fallback)
{
    uint64_t ms;

    return json_as_duration(jget(obj, path), &ms) ? ms : fallback;
}

/* Put v where `step` says; true when it was taken over. */
static bool put_member(json_t *at, const char *step, json_t *v)
{
    uint64_t i;

    if (json_is_object(at)) {
        return json_object_set_new(at, step, v) == 0;
    }
    if (!json_is_array(at) || !str_parse_u64(step, &i)) {
        json_decref(v);
        return false;
    }
    return i < json_array_size(at) ? json_array_set_new(at, (size_t)i, v) == 0
                                   : json_array_append_new(at, v) == 0;
}

void jset(json_t *obj, const char *path, json_t *v)
{
    char step[PATH_STEP_MAX];
    char next[PATH_STEP_MAX];

    CHECK(path_next(&path, step));
    while (path_next(&path, next)) {
        json_t *below = path_member(obj, step);

        if (!json_is_object(below) && !json_is_array(below)) {
            below = json_object();
            if (!put_member(obj, step, below)) {
                json_decref(v);
                return;
            }
        }
        obj = below;
        (void)str_copy(step, sizeof(step), next);
    }
    (void)put_member(obj, step, v);
}

const char *obj_name(const json_t *obj)
{
    return jget_str(obj, "metadata.name", "");
}
