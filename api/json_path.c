#include "api/json_path.h"

#include "base/str.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

bool path_next(const char **path, char dst[PATH_STEP_MAX])
{
    const char *p = *path;
    const char *end;
    size_t n;

    p += *p == '.' ? 1 : 0;
    if (*p == 0) {
        return false;
    }
    if (*p == '[') {
        p++;
        end = strchr(p, ']');
        if (end == NULL) {
            return false;
        }
    } else {
        end = p + strcspn(p, ".[");
    }
    n = (size_t)(end - p);
    if (n >= PATH_STEP_MAX) {
        return false;
    }
    memcpy(dst, p, n);
    dst[n] = 0;
    *path = *end == ']' ? end + 1 : end;
    return true;
}

json_t *path_member(const json_t *v, const char *step)
{
    uint64_t i;

    if (json_is_object(v)) {
        return json_object_get(v, step);
    }
    return json_is_array(v) && str_parse_u64(step, &i) ? json_array_get(v, (size_t)i) : NULL;
}

static size_t path_added(size_t size, size_t len, int n)
{
    size_t sum = len + (size_t)n;

    return sum < size ? sum : size - 1;
}

size_t path_add_key(char *dst, size_t size, size_t len, const char *key)
{
    bool odd = *key == 0 || key[strcspn(key, ".[] ")] != 0;

    if (odd) {
        return path_added(size, len, snprintf(dst + len, size - len, "[%s]", key));
    }
    return path_added(size, len, snprintf(dst + len, size - len, "%s%s", len > 0 ? "." : "", key));
}

size_t path_add_index(char *dst, size_t size, size_t len, size_t i)
{
    return path_added(size, len, snprintf(dst + len, size - len, "[%zu]", i));
}

json_t *json_loose(const json_t *v)
{
    return (json_t *)(uintptr_t)v;
}

void json_blank(json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;

    if (json_is_string(v)) {
        explicit_bzero((char *)(uintptr_t)json_string_value(v), json_string_length(v));
    }
    json_object_foreach (v, key, item) {
        json_blank(item);
    }
    json_array_foreach (v, i, item) {
        json_blank(item);
    }
}

void json_wipe(json_t *v)
{
    json_blank(v);
    json_decref(v);
}
