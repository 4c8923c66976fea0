/* Merge patch (RFC 7386) and JSON patch (RFC 6902). */

#include "api/json_path.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define PATCH_OPS_MAX 1000
#define PATCH_DEPTH_MAX 64
#define PATCH_COPIES_MAX 20000

json_t *json_merge_patch(const json_t *target, const json_t *patch)
{
    json_t *result;
    const char *key;
    json_t *v;
    void *it;

    if (!json_is_object(patch)) {
        return json_deep_copy(patch);
    }
    result = json_is_object(target) ? json_deep_copy(target) : json_object();
    for (it = json_object_iter(json_loose(patch)); it != NULL;
         it = json_object_iter_next(json_loose(patch), it)) {
        key = json_object_iter_key(it);
        v = json_object_iter_value(it);
        if (json_is_null(v)) {
            json_object_del(result, key);
        } else {
            json_object_set_new(result, key, json_merge_patch(json_object_get(result, key), v));
        }
    }
    return result;
}

/* Where a pointer ends: the container and the last step in it. */
struct spot {
    json_t *parent; /* NULL: the whole document */
    char *last;     /* unescaped */
};

/* "~1" is "/", "~0" is "~" (RFC 6901); false when something else follows a "~". */
static bool unescape(char *s)
{
    char *out = s;

    for (; *s != 0; s++) {
        if (*s == '~' && s[1] != '0' && s[1] != '1') {
            return false;
        }
        if (*s == '~') {
            s++;
            *out++ = *s == '0' ? '~' : '/';
        } else {
            *out++ = *s;
        }
    }
    *out = 0;
    return true;
}

/* An index as RFC 6901 wants it: no leading zeroes; "-" is the end when `end` is allowed. */
static bool list_index(const json_t *list, const char *step, bool end, size_t *ret)
{
    size_t n = json_array_size(list);
    uint64_t i;

    if (end && str_eq(step, "-")) {
        *ret = n;
        return true;
    }
    if (!str_parse_u64(step, &i) || (step[0] == '0' && step[1] != 0) || i > n || (i == n && !end)) {
        return false;
    }
    *ret = (size_t)i;
    return true;
}

static json_t *child(const json_t *v, const char *step)
{
    size_t i;

    if (json_is_object(v)) {
        return json_object_get(v, step);
    }
    return json_is_array(v) && list_index(v, step, false, &i) ? json_array_get(v, i) : NULL;
}

static int find_spot(json_t *doc, const char *pointer, struct spot *ret, struct err *err)
{
    const char *p = pointer;

    ret->parent = NULL;
    ret->last = NULL;
    if (*p == 0) {
        return 0;
    }
    if (*p != '/') {
        return err_set(err, ERR_INVALID, "path \"%.100s\" has to begin with a slash", pointer);
    }
    ret->parent = doc;
    for (;;) {
        const char *begin = p + 1;
        const char *end = begin + strcspn(begin, "/");
        char *step = mem_strndup(begin, (size_t)(end - begin));

        if (!unescape(step)) {
            free(step);
            return err_set(err, ERR_INVALID, "path \"%.100s\": only ~0 and ~1 may follow a tilde",
                           pointer);
        }
        if (*end == 0) {
            ret->last = step;
            return 0;
        }
        ret->parent = child(ret->parent, step);
        free(step);
        if (ret->parent == NULL) {
            return err_set(err, ERR_INVALID, "path \"%.100s\" does not exist", pointer);
        }
        p = end;
    }
}

/* Levels of a value; `limit` ends the count. */
static unsigned depth_of(const json_t *v, unsigned limit)
{
    unsigned deepest = 0;
    const char *key;
    json_t *item;

    for (size_t i = 0; i < json_array_size(v) && limit > 0; i++) {
        unsigned d = depth_of(json_array_get(v, i), limit - 1);

        deepest = d > deepest ? d : deepest;
    }
    json_object_foreach (json_loose(v), key, item) {
        unsigned d = limit > 0 ? depth_of(item, limit - 1) : 0;

        deepest = d > deepest ? d : deepest;
    }
    return deepest + 1;
}

static unsigned steps_of(const char *pointer)
{
    unsigned n = 0;

    for (; *pointer != 0; pointer++) {
        n += *pointer == '/' ? 1U : 0U;
    }
    return n;
}

/* Values in a tree; `limit` ends the count. */
static size_t count_of(const json_t *v, size_t limit)
{
    size_t n = 1;
    const char *key;
    json_t *item;

    for (size_t i = 0; i < json_array_size(v) && n < limit; i++) {
        n += count_of(json_array_get(v, i), limit - n);
    }
    json_object_foreach (json_loose(v), key, item) {
        n += n < limit ? count_of(item, limit - n) : 0;
    }
    return n;
}

/* Steals v. */
static int patch_add(json_t **doc, const char *pointer, json_t *v, struct err *err)
{
    struct spot at;
    size_t i;
    int rc;

    if (steps_of(pointer) + depth_of(v, PATCH_DEPTH_MAX) > PATCH_DEPTH_MAX) {
        json_decref(v);
        return err_set(err, ERR_INVALID, "the result is nested more than %d levels deep",
                       PATCH_DEPTH_MAX);
    }
    rc = find_spot(*doc, pointer, &at, err);
    if (rc != 0) {
        json_decref(v);
        return rc;
    }
    if (at.parent == NULL) {
        json_decref(*doc);
        *doc = v;
    } else if (json_is_object(at.parent)) {
        json_object_set_new(at.parent, at.last, v);
    } else if (json_is_array(at.parent) && list_index(at.parent, at.last, true, &i)) {
        json_array_insert_new(at.parent, i, v);
    } else {
        json_decref(v);
        rc = err_set(err, ERR_INVALID, "nothing can be added at \"%.100s\"", pointer);
    }
    free(at.last);
    return rc;
}

/* The value at a pointer (borrowed). */
static int patch_get(json_t *doc, const char *pointer, json_t **ret, struct err *err)
{
    struct spot at;
    int rc = find_spot(doc, pointer, &at, err);

    if (rc != 0) {
        return rc;
    }
    *ret = at.parent == NULL ? doc : child(at.parent, at.last);
    free(at.last);
    return *ret != NULL ? 0 : err_set(err, ERR_INVALID, "path \"%.100s\" does not exist", pointer);
}

static int patch_remove(json_t *doc, const char *pointer, struct err *err)
{
    struct spot at;
    json_t *v;
    size_t i;
    int rc = patch_get(doc, pointer, &v, err);

    rc = rc != 0 ? rc : find_spot(doc, pointer, &at, err);
    if (rc != 0) {
        return rc;
    }
    if (at.parent == NULL) {
        return err_set(err, ERR_INVALID, "the whole object cannot be removed by a patch");
    }
    if (json_is_object(at.parent)) {
        json_object_del(at.parent, at.last);
    } else if (list_index(at.parent, at.last, false, &i)) {
        json_array_remove(at.parent, i);
    }
    free(at.last);
    return 0;
}

static int patch_replace(json_t **doc, const char *pointer, json_t *v, struct err *err)
{
    json_t *old;
    int rc = patch_get(*doc, pointer, &old, err);

    if (rc == 0 && *pointer != 0) {
        rc = patch_remove(*doc, pointer, err);
    }
    if (rc != 0) {
        json_decref(v);
        return rc;
    }
    return patch_add(doc, pointer, v, err);
}

static int patch_copy(json_t **doc, const json_t *op, const char *path, bool move, size_t *budget,
                      struct err *err)
{
    const char *from = json_string_value(json_object_get(op, "from"));
    json_t *v = NULL;
    size_t n;
    int rc;

    if (from == NULL) {
        return err_set(err, ERR_INVALID, "\"from\" is missing");
    }
    if (move && str_starts(path, from) && path[strlen(from)] == '/') {
        return err_set(err, ERR_INVALID, "\"%.60s\" cannot be moved below itself", from);
    }
    rc = patch_get(*doc, from, &v, err);
    if (rc != 0) {
        return rc;
    }
    /* A value copied into itself doubles each time. */
    n = move ? 0 : count_of(v, *budget + 1);
    if (n > *budget) {
        return err_set(err, ERR_TOO_LARGE, "this patch copies more than %d values",
                       PATCH_COPIES_MAX);
    }
    *budget -= n;
    v = json_deep_copy(v);
    if (move && *from != 0) {
        rc = patch_remove(*doc, from, err);
        if (rc != 0) {
            json_decref(v);
            return rc;
        }
    }
    return patch_add(doc, path, v, err);
}

static int patch_test(json_t *doc, const char *path, const json_t *want, struct err *err)
{
    json_t *v = NULL;
    int rc = patch_get(doc, path, &v, err);

    if (rc != 0) {
        return rc;
    }
    return json_equal(v, want)
               ? 0
               : err_set(err, ERR_INVALID, "test: \"%.100s\" has another value", path);
}

static int patch_op(json_t **doc, const json_t *op, size_t *budget, struct err *err)
{
    const char *name = json_string_value(json_object_get(op, "op"));
    const char *path = json_string_value(json_object_get(op, "path"));
    json_t *value = json_object_get(op, "value");

    if (name == NULL || path == NULL) {
        return err_set(err, ERR_INVALID, "every operation needs \"op\" and \"path\"");
    }
    if (str_eq(name, "remove")) {
        return patch_remove(*doc, path, err);
    }
    if (str_eq(name, "move") || str_eq(name, "copy")) {
        return patch_copy(doc, op, path, str_eq(name, "move"), budget, err);
    }
    if (!str_eq(name, "add") && !str_eq(name, "replace") && !str_eq(name, "test")) {
        return err_set(
            err, ERR_INVALID,
            "operation \"%.40s\" is not known; there are add, remove, replace, move, copy, test",
            name);
    }
    if (value == NULL) {
        return err_set(err, ERR_INVALID, "\"value\" is missing");
    }
    if (str_eq(name, "test")) {
        return patch_test(*doc, path, value, err);
    }
    value = json_deep_copy(value);
    return str_eq(name, "add") ? patch_add(doc, path, value, err)
                               : patch_replace(doc, path, value, err);
}

int json_patch(const json_t *target, const json_t *patch, json_t **ret, struct err *err)
{
    size_t budget = PATCH_COPIES_MAX;
    json_t *doc;

    if (!json_is_array(patch)) {
        return err_set(err, ERR_BAD_REQUEST, "a JSON patch is a list of operations");
    }
    if (json_array_size(patch) > PATCH_OPS_MAX) {
        return err_set(err, ERR_TOO_LARGE, "more than %d operations in one patch", PATCH_OPS_MAX);
    }
    doc = json_deep_copy(target);
    for (size_t i = 0; i < json_array_size(patch); i++) {
        int rc = patch_op(&doc, json_array_get(patch, i), &budget, err);
        if (rc != 0) {
            json_decref(doc);
            return err_wrap(err, "patch operation %zu", i);
        }
    }
    *ret = doc;
    return 0;
}
