/* Changes between two versions of an object, and what objects refer to. */

#include "api/json_path.h"
#include "api/valid_walk.h"
#include "base/str.h"

#include <string.h>

/* The element of a list whose key is that of `item`, or NULL. */
static const json_t *list_find(const json_t *list, const char *key, const json_t *item)
{
    const char *name = json_string_value(json_object_get(item, key));

    for (size_t i = 0; i < json_array_size(list) && name != NULL; i++) {
        const json_t *other = json_array_get(list, i);

        if (str_eq(name, json_string_value(json_object_get(other, key)))) {
            return other;
        }
    }
    return NULL;
}

static bool value_equal(const struct field *f, const json_t *a, const json_t *b);

static bool object_equal(const struct field *fields, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;

    if (json_object_size(a) != json_object_size(b)) {
        return false;
    }
    json_object_foreach (json_loose(a), key, v) {
        const struct field *f = field_find(fields, key);
        const json_t *other = json_object_get(b, key);

        if (other == NULL || (f != NULL ? !value_equal(f, v, other) : json_equal(v, other) == 0)) {
            return false;
        }
    }
    return true;
}

static bool map_equal(const struct field *f, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;

    if (json_object_size(a) != json_object_size(b)) {
        return false;
    }
    json_object_foreach (json_loose(a), key, v) {
        const json_t *other = json_object_get(b, key);

        if (other == NULL || !value_equal(&f->fields[0], v, other)) {
            return false;
        }
    }
    return true;
}

static bool list_equal(const struct field *f, const json_t *a, const json_t *b)
{
    if (json_array_size(a) != json_array_size(b)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!value_equal(&f->fields[0], json_array_get(a, i), json_array_get(b, i))) {
            return false;
        }
    }
    return true;
}

static bool value_equal(const struct field *f, const json_t *a, const json_t *b)
{
    uint64_t x, y;

    if (f->type == F_SIZE && json_as_size(a, &x) && json_as_size(b, &y)) {
        return x == y;
    }
    if (f->type == F_DURATION && json_as_duration(a, &x) && json_as_duration(b, &y)) {
        return x == y;
    }
    if (f->type == F_OBJECT && json_is_object(a) && json_is_object(b)) {
        return object_equal(f->fields, a, b);
    }
    if (f->type == F_MAP && json_is_object(a) && json_is_object(b)) {
        return map_equal(f, a, b);
    }
    if (f->type == F_LIST && json_is_array(a) && json_is_array(b)) {
        return list_equal(f, a, b);
    }
    return json_equal(a, b) != 0;
}

/* Both absent, or both there and equal. */
static bool part_equal(const struct field *fields, const json_t *a, const json_t *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return json_is_object(a) && json_is_object(b) ? object_equal(fields, a, b)
                                                  : json_equal(a, b) != 0;
}

bool obj_spec_equal(const struct kind *k, const json_t *a, const json_t *b)
{
    for (const struct field *f = k->top; f != NULL && f->name != NULL; f++) {
        const json_t *x = json_object_get(a, f->name);
        const json_t *y = json_object_get(b, f->name);

        if (x == NULL || y == NULL ? x != y : !value_equal(f, x, y)) {
            return false;
        }
    }
    return part_equal(k->spec, json_object_get(a, "spec"), json_object_get(b, "spec"));
}

static void update_object(struct walk *w, const struct field *fields, const json_t *old,
                          const json_t *v);

static void update_list(struct walk *w, const struct field *f, const json_t *old, const json_t *v)
{
    const struct field *key = field_list_key(f);

    for (size_t i = 0; i < json_array_size(v) && key != NULL; i++) {
        const json_t *item = json_array_get(v, i);
        size_t mark = walk_index(w, i);

        update_object(w, f->fields[0].fields, list_find(old, key->name, item), item);
        walk_up(w, mark);
    }
}

static void update_value(struct walk *w, const struct field *f, const json_t *old, const json_t *v)
{
    char was[80], is[80];

    if (old == NULL || json_is_null(old)) {
        return;
    }
    if ((f->flags & FF_IMMUTABLE) == 0) {
        if (f->type == F_OBJECT) {
            update_object(w, f->fields, old, v);
        } else if (f->type == F_LIST) {
            update_list(w, f, old, v);
        }
        return;
    }
    if (v != NULL && value_equal(f, old, v)) {
        return;
    }
    value_text(f, old, was, sizeof(was));
    if (v == NULL || json_is_null(v)) {
        walk_problem(w, "FieldValueInvalid", f,
                     "cannot be taken away; it is %s for the life of the object", was);
        return;
    }
    value_text(f, v, is, sizeof(is));
    walk_problem(w, "FieldValueInvalid", f,
                 "cannot be changed (it is %s, %s is wanted); delete the object and create it anew",
                 was, is);
}

static void update_object(struct walk *w, const struct field *fields, const json_t *old,
                          const json_t *v)
{
    for (const struct field *f = fields; f != NULL && f->name != NULL; f++) {
        size_t mark = walk_key(w, f->name);

        update_value(w, f, json_object_get(old, f->name), json_object_get(v, f->name));
        walk_up(w, mark);
    }
}

void obj_validate_update(const struct kind *k, const json_t *old, const json_t *obj,
                         struct problems *ret)
{
    struct walk w = { .ps = ret };
    size_t mark = walk_key(&w, "spec");
    const char *was = obj_name(old);
    const char *is = obj_name(obj);

    update_object(&w, k->spec, json_object_get(old, "spec"), json_object_get(obj, "spec"));
    walk_up(&w, mark);
    if (!str_eq(was, is)) {
        problem_add(ret, "FieldValueInvalid", "metadata.name",
                    "cannot be changed (it is \"%.60s\", \"%.60s\" is wanted)", was, is);
    }
    if (k->check_update != NULL) {
        k->check_update(old, obj, ret);
    }
}

struct refs {
    struct walk w; /* only its path */
    void (*fn)(void *ctx, const char *ref_kind, const char *name, const char *path);
    void *ctx;
};

static void refs_object(struct refs *r, const struct field *fields, const json_t *v);

static void refs_value(struct refs *r, const struct field *f, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t mark;

    if (f->type == F_NAME && f->ref != NULL && json_is_string(v) && !field_is_word(f, v)) {
        r->fn(r->ctx, f->ref, json_string_value(v), r->w.path);
    } else if (f->type == F_OBJECT && json_is_object(v)) {
        refs_object(r, f->fields, v);
    } else if (f->type == F_LIST && json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            mark = walk_index(&r->w, i);
            refs_value(r, &f->fields[0], json_array_get(v, i));
            walk_up(&r->w, mark);
        }
    } else if (f->type == F_MAP && json_is_object(v)) {
        json_object_foreach (json_loose(v), key, item) {
            mark = walk_key(&r->w, key);
            if (f->ref != NULL) {
                r->fn(r->ctx, f->ref, key, r->w.path);
            }
            refs_value(r, &f->fields[0], item);
            walk_up(&r->w, mark);
        }
    }
}

static void refs_object(struct refs *r, const struct field *fields, const json_t *v)
{
    for (const struct field *f = fields; f->name != NULL; f++) {
        size_t mark = walk_key(&r->w, f->name);

        refs_value(r, f, json_object_get(v, f->name));
        walk_up(&r->w, mark);
    }
}

void obj_refs(const struct kind *k, const json_t *obj,
              void (*fn)(void *ctx, const char *ref_kind, const char *name, const char *path),
              void *ctx)
{
    struct refs r = { .fn = fn, .ctx = ctx };
    const json_t *spec = json_object_get(obj, "spec");

    if (k->spec != NULL && json_is_object(spec)) {
        (void)walk_key(&r.w, "spec");
        refs_object(&r, k->spec, spec);
    }
}
