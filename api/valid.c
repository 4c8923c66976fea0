#include "api/valid.h"

#include "api/json_path.h"
#include "api/valid_walk.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEMS_MAX 64

void problems_done(struct problems *p)
{
    free(p->items);
    memset(p, 0, sizeof(*p));
}

/* The next free entry; NULL when there are too many. */
static struct problem *problem_next(struct problems *p)
{
    if (p->n >= PROBLEMS_MAX) {
        p->more = true;
        return NULL;
    }
    if (p->items == NULL) {
        p->items = mem_alloc(PROBLEMS_MAX * sizeof(*p->items));
    }
    return &p->items[p->n++];
}

static void problem_vadd(struct problems *p, const char *reason, const char *path, bool warning,
                         const char *fmt, va_list ap)
{
    struct problem *item = problem_next(p);

    if (item == NULL) {
        return;
    }
    item->reason = reason;
    item->warning = warning;
    (void)str_copy(item->path, sizeof(item->path), path);
    (void)vsnprintf(item->message, sizeof(item->message), fmt, ap);
}

void problem_add(struct problems *p, const char *reason, const char *path, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problem_vadd(p, reason, path, false, fmt, ap);
    va_end(ap);
}

void problem_warn(struct problems *p, const char *path, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problem_vadd(p, "Warning", path, true, fmt, ap);
    va_end(ap);
}

bool problems_bad(const struct problems *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!p->items[i].warning) {
            return true;
        }
    }
    return p->more;
}

static const char *next_kind(const void *ctx, size_t i)
{
    (void)ctx;
    return i < kind_count() ? kind_at(i)->name : NULL;
}

int obj_kind(const json_t *obj, const struct kind **ret, struct err *err)
{
    const char *version = jget_str(obj, "apiVersion", NULL);
    const char *name = jget_str(obj, "kind", NULL);
    const struct kind *k;

    if (!json_is_object(obj)) {
        return err_set(err, ERR_INVALID,
                       "not an object; it should begin with apiVersion: " API_VERSION);
    }
    if (version == NULL) {
        return err_set(err, ERR_INVALID, "apiVersion is missing; write apiVersion: " API_VERSION);
    }
    if (!str_eq(version, API_VERSION)) {
        return err_set(err, ERR_INVALID,
                       "apiVersion \"%.60s\" is not known here; it has to be " API_VERSION,
                       version);
    }
    if (name == NULL) {
        return err_set(err, ERR_INVALID, "kind is missing; `picket api-resources` lists the kinds");
    }
    k = kind_find(name);
    if (k == NULL || !str_eq(k->name, name)) {
        const char *near = k != NULL ? k->name : word_suggest(name, next_kind, NULL);

        return err_set(err, ERR_INVALID, "kind \"%.60s\" is not known%s%s%s", name,
                       near != NULL ? "; did you mean "
                                    : "; `picket api-resources` lists the kinds",
                       near != NULL ? near : "", near != NULL ? "?" : "");
    }
    *ret = k;
    return 0;
}

/* A member beside apiVersion, kind, metadata, spec and status. */
static void validate_top(struct walk *w, const struct kind *k, const char *key, const json_t *v)
{
    const struct field *f = field_find(k->top, key);
    static const char *const known[] = { "apiVersion", "kind", "metadata", "spec", "status", NULL };
    size_t mark = walk_key(w, key);
    const char *near = word_suggest_in(key, known);

    if (f != NULL) {
        walk_value(w, f, v);
    } else if (str_eq(key, "spec")) {
        walk_problem(w, "FieldValueForbidden", NULL, "a %s has no spec; its values go into %s",
                     k->name, k->top != NULL ? k->top[0].name : "other fields");
    } else if (field_find(k->spec, key) != NULL) {
        walk_problem(w, "FieldValueForbidden", NULL, "unknown field here; it belongs below spec");
    } else {
        walk_problem(w, "FieldValueForbidden", NULL, "unknown field%s%s%s",
                     near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                     near != NULL ? "\"?" : "");
    }
    walk_up(w, mark);
}

static void validate_part(struct walk *w, const struct field *fields, const char *name,
                          const json_t *v)
{
    size_t mark = walk_key(w, name);

    if (v != NULL && !json_is_object(v) && !json_is_null(v)) {
        walk_problem(w, "FieldValueInvalid", NULL, "has to be a mapping of field names to values");
    } else {
        walk_object(w, fields, json_is_null(v) ? NULL : v);
    }
    walk_up(w, mark);
}

void obj_validate(const struct kind *k, const json_t *obj, bool status, struct problems *ret)
{
    struct walk w = { .ps = ret };
    const char *key;
    json_t *v;

    if (!json_is_object(obj)) {
        problem_add(ret, "FieldValueInvalid", "", "has to be an object");
        return;
    }
    walk_metadata(&w, k, obj);
    json_object_foreach (json_loose(obj), key, v) {
        bool part = str_eq(key, "apiVersion") || str_eq(key, "kind") || str_eq(key, "metadata") ||
                    str_eq(key, "status") || (str_eq(key, "spec") && k->spec != NULL);

        if (!part) {
            validate_top(&w, k, key, v);
        }
    }
    if (k->spec != NULL) {
        validate_part(&w, k->spec, "spec", json_object_get(obj, "spec"));
    }
    if (status && json_object_get(obj, "status") != NULL) {
        w.lenient = true;
        validate_part(&w, k->status, "status", json_object_get(obj, "status"));
    }
    if (k->check != NULL) {
        k->check(obj, ret);
    }
}
