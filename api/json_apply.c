/* Three-way apply.
 *
 * For every field there are three values: what this manager applied last, what is there, what it
 * applies now.  What it declares now wins; what it declared last and does not declare any more goes
 * away; all else stays as it is: defaults, and fields of others.  Mappings merge by field, lists of
 * objects that have a key by that key (in the order wanted, then what others added), all other
 * lists are one value.
 */

#include "api/json_path.h"
#include "api/valid.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

static json_t *apply_value(const struct field *f, const json_t *last, const json_t *live,
                           const json_t *want);

static json_t *apply_object(const struct field *f, const json_t *last, const json_t *live,
                            const json_t *want);

/* The field of a member: in a table, of a map, or unknown (NULL). */
static const struct field *member_field(const struct field *f, const char *key)
{
    if (f == NULL) {
        return NULL;
    }
    return f->type == F_OBJECT ? field_find(f->fields, key)
                               : (f->type == F_MAP ? &f->fields[0] : NULL);
}

/* The key of element i: its own, or the default ("nic#"). */
static bool element_key(const struct field *key, const json_t *list, size_t i, char *dst,
                        size_t size)
{
    const json_t *v = json_object_get(json_array_get(list, i), key->name);
    const char *s = json_string_value(v);

    if (s != NULL) {
        return str_copy(dst, size, s);
    }
    if (key->deflt == NULL || v != NULL) {
        return false;
    }
    /* The default is JSON text: "\"nic#\"". */
    (void)snprintf(dst, size, "%.*s%zu", (int)strcspn(key->deflt + 1, "#\""), key->deflt + 1, i);
    return true;
}

static const json_t *element_find(const struct field *key, const json_t *list, const char *name)
{
    char other[PATH_STEP_MAX];

    for (size_t i = 0; i < json_array_size(list); i++) {
        if (element_key(key, list, i, other, sizeof(other)) && str_eq(name, other)) {
            return json_array_get(list, i);
        }
    }
    return NULL;
}

/* Has every element a key? */
static bool keyed(const struct field *key, const json_t *list)
{
    char name[PATH_STEP_MAX];

    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!element_key(key, list, i, name, sizeof(name))) {
            return false;
        }
    }
    return json_array_size(list) <= 1024;
}

static json_t *apply_list(const struct field *f, const struct field *key, const json_t *last,
                          const json_t *live, const json_t *want)
{
    json_t *out = json_array();
    char name[PATH_STEP_MAX];

    for (size_t i = 0; i < json_array_size(want); i++) {
        json_t *v;

        (void)element_key(key, want, i, name, sizeof(name));
        v = apply_value(&f->fields[0], element_find(key, last, name), element_find(key, live, name),
                        json_array_get(want, i));
        if (json_object_get(v, key->name) == NULL) {
            json_object_set_new(v, key->name, json_string(name));
        }
        json_array_append_new(out, v);
    }
    for (size_t i = 0; i < json_array_size(live); i++) {
        (void)element_key(key, live, i, name, sizeof(name));
        if (element_find(key, want, name) == NULL && element_find(key, last, name) == NULL) {
            json_array_append_new(out, json_deep_copy(json_array_get(live, i)));
        }
    }
    return out;
}

/* A field that the manager declared last and does not declare any more: what others have in it
 * stays, or NULL. */
static json_t *apply_dropped(const struct field *f, const json_t *last, const json_t *live)
{
    const struct field *key = f != NULL ? field_list_key(f) : NULL;
    json_t *left = NULL;

    if (json_is_object(live) && json_is_object(last)) {
        left = apply_object(f, last, live, NULL);
    } else if (key != NULL && json_is_array(live) && keyed(key, live) && keyed(key, last)) {
        left = apply_list(f, key, last, live, NULL);
    }
    if (json_object_size(left) == 0 && json_array_size(left) == 0) {
        json_decref(left);
        left = NULL;
    }
    return left;
}

static json_t *apply_object(const struct field *f, const json_t *last, const json_t *live,
                            const json_t *want)
{
    json_t *out = json_object();
    const char *key;
    json_t *v;

    json_object_foreach (json_loose(live), key, v) {
        const struct field *below = member_field(f, key);
        const json_t *now = json_object_get(want, key);
        const json_t *was = json_object_get(last, key);
        json_t *merged = NULL;

        if (now == NULL) {
            merged = was != NULL ? apply_dropped(below, was, v) : json_deep_copy(v);
        } else if (!json_is_null(now)) {
            merged = apply_value(below, was, v, now);
        }
        if (merged != NULL) {
            json_object_set_new(out, key, merged);
        }
    }
    json_object_foreach (json_loose(want), key, v) {
        if (json_object_get(live, key) == NULL && !json_is_null(v)) {
            json_object_set_new(out, key, apply_value(member_field(f, key), NULL, NULL, v));
        }
    }
    return out;
}

static json_t *apply_value(const struct field *f, const json_t *last, const json_t *live,
                           const json_t *want)
{
    const struct field *key = f != NULL ? field_list_key(f) : NULL;

    if (json_is_object(live) && (want == NULL || json_is_object(want))) {
        return apply_object(f, last, live, want);
    }
    if (key != NULL && json_is_array(want) && json_is_array(live) && keyed(key, want) &&
        keyed(key, live) && (last == NULL || keyed(key, last))) {
        return apply_list(f, key, last, live, want);
    }
    if (json_is_object(want)) {
        return apply_object(f, NULL, NULL, want); /* a copy without nulls */
    }
    return json_deep_copy(want);
}

/* metadata: labels and annotations are declared by managers, the rest by the server. */
static void apply_metadata(json_t *out, const json_t *last, const json_t *live, const json_t *want)
{
    static const char *const parts[] = { "labels", "annotations", NULL };
    json_t *meta = json_object_get(out, "metadata");

    for (size_t i = 0; parts[i] != NULL; i++) {
        const json_t *l = json_object_get(json_object_get(last, "metadata"), parts[i]);
        const json_t *v = json_object_get(json_object_get(live, "metadata"), parts[i]);
        const json_t *w = json_object_get(json_object_get(want, "metadata"), parts[i]);
        json_t *merged = apply_object(NULL, l, v, w);

        if (json_object_size(merged) > 0) {
            json_object_set(meta, parts[i], merged);
        } else {
            json_object_del(meta, parts[i]);
        }
        json_decref(merged);
    }
}

json_t *obj_apply(const struct kind *k, const json_t *last, const json_t *live, const json_t *want)
{
    const struct field spec = {
        .name = "spec", .type = F_OBJECT, .fields = k->spec, .text = "spec"
    };
    json_t *out;
    json_t *part;

    if (live == NULL) {
        return apply_object(NULL, NULL, NULL, want);
    }
    out = json_deep_copy(live);
    if (!json_is_object(json_object_get(out, "metadata"))) {
        json_object_set_new(out, "metadata", json_object());
    }
    apply_metadata(out, last, live, want);
    if (k->spec != NULL) {
        part = apply_object(&spec, json_object_get(last, "spec"), json_object_get(live, "spec"),
                            json_object_get(want, "spec"));
        json_object_set_new(out, "spec", part);
    }
    for (const struct field *f = k->top; f != NULL && f->name != NULL; f++) {
        part = apply_object(f, json_object_get(last, f->name), json_object_get(live, f->name),
                            json_object_get(want, f->name));
        if (json_object_size(part) > 0) {
            json_object_set(out, f->name, part);
        } else {
            json_object_del(out, f->name);
        }
        json_decref(part);
    }
    return out;
}
