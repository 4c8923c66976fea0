/* The text of one cell of `get`. */

#include "api/json_path.h"
#include "api/table.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE "-"

/* Text of others goes to a terminal: no control characters. */
static void add_clean(struct buf *out, const char *s)
{
    for (; *s != 0; s++) {
        buf_add_byte(out, (unsigned char)*s < 0x20 || *s == 0x7f ? (uint8_t)' ' : (uint8_t)*s);
    }
}

static void add_value(struct buf *out, const json_t *v)
{
    const char *key;
    json_t *item;

    if (out->len > 0) {
        buf_add_byte(out, ',');
    }
    if (json_is_string(v)) {
        add_clean(out, json_string_value(v));
    } else if (json_is_integer(v)) {
        buf_printf(out, "%lld", (long long)json_integer_value(v));
    } else if (json_is_real(v)) {
        buf_printf(out, "%g", json_real_value(v));
    } else if (json_is_boolean(v)) {
        buf_add_str(out, json_is_true(v) ? "true" : "false");
    } else if (json_is_object(v)) {
        size_t n = 0;

        json_object_foreach (json_loose(v), key, item) {
            buf_add_str(out, n++ > 0 ? "," : "");
            add_clean(out, key);
        }
    }
}

/* All values at a path, "*" being every element. */
static void add_path(struct buf *out, const json_t *v, const char *path)
{
    char step[PATH_STEP_MAX];

    while (v != NULL && path_next(&path, step)) {
        if (str_eq(step, "*")) {
            for (size_t i = 0; i < json_array_size(v); i++) {
                add_path(out, json_array_get(v, i), path);
            }
            return;
        }
        v = path_member(v, step);
    }
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            add_value(out, json_array_get(v, i));
        }
    } else if (v != NULL && !json_is_null(v)) {
        add_value(out, v);
    }
}

static void add_since(struct buf *out, const json_t *obj, const char *path, uint64_t now_wall_ms)
{
    uint64_t then;
    char text[32];

    if (!str_parse_time(jget_str(obj, path, ""), &then)) {
        return;
    }
    str_format_age(now_wall_ms > then ? now_wall_ms - then : 0, text, sizeof(text));
    buf_add_str(out, text);
}

/* For people: at most one digit behind the point. */
static void add_size(struct buf *out, const json_t *obj, const char *path)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi" };
    uint64_t bytes;
    uint64_t unit = 1;
    size_t i = 0;
    const json_t *v = jget(obj, path);

    if (!json_as_size(v, &bytes)) {
        return;
    }
    while (i + 1 < ARRAY_LEN(units) && bytes / unit >= 1024) {
        unit *= 1024;
        i++;
    }
    if (bytes % unit == 0 || i == 0) {
        buf_printf(out, "%llu%s", (unsigned long long)(bytes / unit), units[i]);
    } else {
        buf_printf(out, "%llu.%llu%s", (unsigned long long)(bytes / unit),
                   (unsigned long long)(bytes % unit * 10 / unit), units[i]);
    }
}

/* "PATH|PATH": the first that has one. */
static void add_size_of(struct buf *out, const json_t *obj, const char *paths)
{
    char path[64];

    while (out->len == 0 && *paths != '\0') {
        size_t n = strcspn(paths, "|");

        CHECK(n < sizeof(path));
        memcpy(path, paths, n);
        path[n] = '\0';
        add_size(out, obj, path);
        paths += n + (paths[n] == '|' ? 1 : 0);
    }
}

static void add_condition(struct buf *out, const json_t *obj, const char *type)
{
    add_clean(out, jget_str(cond_get(obj, type), "status", ""));
}

/* Why it is not as it should be; nothing when all is well.  What keeps it from being scheduled
 * comes first: the rest follows from it. */
static void add_reason(struct buf *out, const json_t *obj)
{
    const json_t *scheduled = cond_get(obj, "Scheduled");
    const json_t *ready = cond_get(obj, "Ready");
    const json_t *degraded = cond_get(obj, "Degraded");

    if (jget(obj, "metadata.deletionTimestamp") != NULL) {
        buf_add_str(out, "Deleting");
    } else if (scheduled != NULL && !str_eq(jget_str(scheduled, "status", ""), "True") &&
               !str_eq(jget_str(scheduled, "reason", ""), "NotWanted")) {
        add_clean(out, jget_str(scheduled, "reason", ""));
    } else if (ready != NULL && !str_eq(jget_str(ready, "status", ""), "True")) {
        add_clean(out, jget_str(ready, "reason", ""));
    } else if (str_eq(jget_str(degraded, "status", ""), "True")) {
        add_clean(out, jget_str(degraded, "reason", ""));
    } else if (jget_bool(obj, "spec.paused", false)) {
        buf_add_str(out, "Paused");
    }
}

static void add_schedulable(struct buf *out, const json_t *obj)
{
    if (jget_bool(obj, "spec.maintenance", false)) {
        buf_add_str(out, "Maintenance");
    } else {
        buf_add_str(out, jget_bool(obj, "spec.unschedulable", false) ? "No" : "Yes");
    }
}

char *column_text(const struct column *c, const json_t *obj, uint64_t now_wall_ms)
{
    struct buf out = { 0 };
    const char *path = c->path;

    if (str_eq(path, "@age")) {
        add_since(&out, obj, "metadata.creationTimestamp", now_wall_ms);
    } else if (str_eq(path, "@ready")) {
        add_condition(&out, obj, "Ready");
    } else if (str_eq(path, "@reason")) {
        add_reason(&out, obj);
    } else if (str_eq(path, "@schedulable")) {
        add_schedulable(&out, obj);
    } else if (str_starts(path, "@condition:")) {
        add_condition(&out, obj, path + strlen("@condition:"));
    } else if (str_starts(path, "@since:")) {
        add_since(&out, obj, path + strlen("@since:"), now_wall_ms);
    } else if (str_starts(path, "@size:")) {
        add_size_of(&out, obj, path + strlen("@size:"));
    } else {
        CHECK(path[0] == '.');
        add_path(&out, obj, path);
    }
    if (out.len == 0) {
        buf_add_str(&out, NONE);
    }
    return buf_take(&out, NULL);
}
