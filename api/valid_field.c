/* One value against its field table. */

#include "api/json_path.h"
#include "api/valid_walk.h"
#include "base/obj.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

size_t walk_key(struct walk *w, const char *key)
{
    size_t mark = w->len;

    w->len = path_add_key(w->path, sizeof(w->path), w->len, key);
    return mark;
}

size_t walk_index(struct walk *w, size_t i)
{
    size_t mark = w->len;

    w->len = path_add_index(w->path, sizeof(w->path), w->len, i);
    return mark;
}

void walk_up(struct walk *w, size_t mark)
{
    CHECK(mark <= w->len);
    w->len = mark;
    w->path[mark] = 0;
}

void walk_problem(struct walk *w, const char *reason, const struct field *f, const char *fmt, ...)
{
    char msg[sizeof(((struct problem *)NULL)->message)];
    bool hint = f != NULL && f->hint != NULL;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    problem_add(w->ps, reason, w->path, "%s%s%s", msg, hint ? "; " : "", hint ? f->hint : "");
}

/* Lower and upper limit; false when there is none. */
static bool field_limits(const struct field *f, int64_t *ret_min, int64_t *ret_max)
{
    *ret_min = f->min;
    *ret_max = f->max < f->min ? INT64_MAX : f->max;
    return f->min != 0 || f->max != 0;
}

static void check_count(struct walk *w, const struct field *f, size_t n, const char *what)
{
    int64_t min, max;
    bool limits = field_limits(f, &min, &max);

    if ((f->flags & FF_NONEMPTY) != 0 && n == 0) {
        walk_problem(w, "FieldValueRequired", f, "is empty; it needs at least one");
    } else if (limits && n < (uint64_t)min) {
        walk_problem(w, "FieldValueInvalid", f, "has %zu %s; at least %" PRId64 " %s wanted", n,
                     what, min, min == 1 ? "is" : "are");
    } else if (limits && n > (uint64_t)max) {
        walk_problem(w, "FieldValueInvalid", f, "has %zu %s; at most %" PRId64 " are taken", n,
                     what, max);
    }
}

static bool too_many(const struct field *f, size_t n)
{
    int64_t min, max;

    return field_limits(f, &min, &max) && n > (uint64_t)max;
}

/* Elements of a list of objects that carry the same key. */
static void check_keys(struct walk *w, const struct field *f, const json_t *list)
{
    const struct field *key = field_list_key(f);
    json_t *seen;

    if (key == NULL) {
        return;
    }
    seen = json_object();
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), key->name));
        size_t mark = walk_index(w, i);

        (void)walk_key(w, key->name);
        if (name != NULL && json_object_get(seen, name) != NULL) {
            walk_problem(w, "FieldValueDuplicate", f,
                         "\"%.60s\" is the %s of another element, too ([%lld])", name, key->name,
                         (long long)json_integer_value(json_object_get(seen, name)));
        } else if (name != NULL) {
            json_object_set_new(seen, name, json_integer((json_int_t)i));
        }
        walk_up(w, mark);
    }
    json_decref(seen);
}

static void walk_list(struct walk *w, const struct field *f, const json_t *v)
{
    size_t n = json_array_size(v);

    if (!json_is_array(v)) {
        walk_bad_type(w, f, v);
        return;
    }
    check_count(w, f, n, n == 1 ? "element" : "elements");
    if (too_many(f, n)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t mark = walk_index(w, i);

        walk_value(w, &f->fields[0], json_array_get(v, i));
        walk_up(w, mark);
    }
    check_keys(w, f, v);
}

static void walk_map_key(struct walk *w, const struct field *f, const char *key)
{
    const char *wanted = f->check != NULL ? f->check(key) : NULL;

    if (f->ref != NULL && !str_is_name(key)) {
        walk_problem(w, "FieldValueInvalid", f, "\"%.60s\" cannot be the name of a %s", key,
                     f->ref);
    } else if (wanted != NULL) {
        walk_problem(w, "FieldValueInvalid", f, "the key is \"%.60s\"; wanted: %s", key, wanted);
    }
}

static void walk_map(struct walk *w, const struct field *f, const json_t *v)
{
    const char *key;
    json_t *item;

    if (!json_is_object(v)) {
        walk_bad_type(w, f, v);
        return;
    }
    check_count(w, f, json_object_size(v), json_object_size(v) == 1 ? "entry" : "entries");
    if (too_many(f, json_object_size(v))) {
        return;
    }
    json_object_foreach (json_loose(v), key, item) {
        size_t mark = walk_key(w, key);

        walk_map_key(w, f, key);
        walk_value(w, &f->fields[0], item);
        walk_up(w, mark);
    }
}

static const char *next_field(const void *ctx, size_t i)
{
    const struct field *fields = ctx;

    return fields[i].name;
}

static void unknown_field(struct walk *w, const struct field *fields, const char *key)
{
    const char *near = word_suggest(key, next_field, fields);
    size_t mark = walk_key(w, key);

    if (w->lenient) {
        problem_warn(w->ps, w->path, "unknown field");
    } else {
        walk_problem(w, "FieldValueForbidden", NULL, "unknown field%s%s%s",
                     near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                     near != NULL ? "\"?" : "");
    }
    walk_up(w, mark);
}

static bool key_is_defaulted(const struct field *f)
{
    return f->deflt != NULL;
}

static void missing(struct walk *w, const struct field *f)
{
    char words[200] = "";

    if (f->type == F_ENUM) {
        words_text(f->values, words, sizeof(words));
    }
    walk_problem(w, "FieldValueRequired", f, "is missing; wanted: %s",
                 f->type == F_ENUM ? words : field_type_text(f));
}

void walk_object(struct walk *w, const struct field *fields, const json_t *v)
{
    const char *key;
    json_t *item;

    json_object_foreach (json_loose(v), key, item) {
        const struct field *f = field_find(fields, key);
        size_t mark;

        if (f == NULL) {
            unknown_field(w, fields, key);
            continue;
        }
        mark = walk_key(w, key);
        walk_value(w, f, item);
        walk_up(w, mark);
    }
    for (const struct field *f = fields; f->name != NULL; f++) {
        const json_t *there = json_object_get(v, f->name);

        if ((f->flags & FF_REQUIRED) != 0 && !key_is_defaulted(f) &&
            (there == NULL || json_is_null(there))) {
            size_t mark = walk_key(w, f->name);

            missing(w, f);
            walk_up(w, mark);
        }
    }
}

void walk_value(struct walk *w, const struct field *f, const json_t *v)
{
    if (json_is_null(v) || (f->type != F_ENUM && field_is_word(f, v))) {
        return; /* null is the same as absent */
    }
    switch (f->type) {
    case F_LIST:
        walk_list(w, f, v);
        return;
    case F_MAP:
        walk_map(w, f, v);
        return;
    case F_OBJECT:
        if (json_is_object(v)) {
            walk_object(w, f->fields, v);
        } else {
            walk_bad_type(w, f, v);
        }
        return;
    case F_STRING:
    case F_BOOL:
    case F_INT:
    case F_SIZE:
    case F_DURATION:
    case F_ENUM:
    case F_NAME:
    case F_ADDRESS:
    case F_CIDR:
    case F_MAC:
    case F_QUANTITY:
    case F_ANY:
        walk_scalar(w, f, v);
        return;
    }
    CHECK_UNREACHABLE();
}
