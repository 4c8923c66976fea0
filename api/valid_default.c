/* Defaults, pruning, and what secrets need. */

#include "api/json_path.h"
#include "api/valid_walk.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *default_value(const struct field *f)
{
    json_error_t e;
    json_t *v = json_loads(f->deflt, JSON_DECODE_ANY, &e);

    CHECK(v != NULL);
    return v;
}

static bool key_in_use(const json_t *list, const char *key, const char *value)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (str_eq(json_string_value(json_object_get(json_array_get(list, i), key)), value)) {
            return true;
        }
    }
    return false;
}

/* "nic#" in element 1: "nic1", or the next number that is free. */
static void default_key(const struct field *key, json_t *list, size_t i)
{
    json_t *item = json_array_get(list, i);
    json_t *pattern;
    const char *text;
    size_t head;
    char name[64];

    if (key == NULL || key->deflt == NULL || !json_is_object(item) ||
        json_object_get(item, key->name) != NULL) {
        return;
    }
    pattern = default_value(key);
    text = json_string_value(pattern);
    head = strcspn(text, "#");
    do {
        (void)snprintf(name, sizeof(name), "%.*s%zu%s", (int)head, text, i,
                       text[head] == '#' ? text + head + 1 : "");
        i++;
    } while (key_in_use(list, key->name, name));
    json_object_set_new(item, key->name, json_string(name));
    json_decref(pattern);
}

static void default_object(const struct field *fields, json_t *obj);

static void default_below(const struct field *f, json_t *v)
{
    const char *key;
    json_t *item;

    if (f->type == F_OBJECT && json_is_object(v)) {
        default_object(f->fields, v);
    } else if (f->type == F_MAP && json_is_object(v)) {
        json_object_foreach (v, key, item) {
            default_below(&f->fields[0], item);
        }
    } else if (f->type == F_LIST && json_is_array(v) && f->fields[0].type == F_OBJECT) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            default_key(field_list_key(f), v, i);
            default_below(&f->fields[0], json_array_get(v, i));
        }
    }
}

static void default_object(const struct field *fields, json_t *obj)
{
    for (const struct field *f = fields; f->name != NULL; f++) {
        json_t *v = json_object_get(obj, f->name);

        if (v != NULL && json_is_null(v)) {
            json_object_del(obj, f->name);
            v = NULL;
        }
        if (v == NULL && f->deflt != NULL && (f->flags & FF_LIST_KEY) == 0) {
            json_object_set_new(obj, f->name, default_value(f));
            v = json_object_get(obj, f->name);
        }
        default_below(f, v);
    }
}

void obj_default(const struct kind *k, json_t *obj)
{
    json_t *spec = json_object_get(obj, "spec");

    if (k->spec != NULL && !k->read_only && (spec == NULL || json_is_null(spec))) {
        json_object_set_new(obj, "spec", json_object());
        spec = json_object_get(obj, "spec");
    }
    if (k->spec != NULL && json_is_object(spec)) {
        default_object(k->spec, spec);
    }
    if (k->fill != NULL) {
        k->fill(obj);
    }
}

static void prune_object(const struct field *fields, json_t *obj);

static void prune_below(const struct field *f, json_t *v)
{
    const char *key;
    json_t *item;

    if (f->type == F_OBJECT && json_is_object(v)) {
        prune_object(f->fields, v);
    } else if (f->type == F_MAP && json_is_object(v)) {
        json_object_foreach (v, key, item) {
            prune_below(&f->fields[0], item);
        }
    } else if (f->type == F_LIST && json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            prune_below(&f->fields[0], json_array_get(v, i));
        }
    }
}

static void prune_object(const struct field *fields, json_t *obj)
{
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(obj, next, key, v)
    {
        const struct field *f = field_find(fields, key);

        if (f == NULL) {
            json_object_del(obj, key);
        } else {
            prune_below(f, v);
        }
    }
}

void obj_prune(const struct kind *k, json_t *obj)
{
    static const char *const parts[] = { "apiVersion", "kind", "metadata", "status", NULL };
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(obj, next, key, v)
    {
        const struct field *f = field_find(k->top, key);
        bool known = f != NULL || (k->spec != NULL && str_eq(key, "spec"));

        for (size_t i = 0; parts[i] != NULL; i++) {
            known = known || str_eq(key, parts[i]);
        }
        if (!known) {
            json_object_del(obj, key);
        } else if (f != NULL) {
            prune_below(f, v);
        }
    }
    if (k->spec != NULL && json_is_object(json_object_get(obj, "spec"))) {
        prune_object(k->spec, json_object_get(obj, "spec"));
    }
    if (json_is_object(json_object_get(obj, "metadata"))) {
        prune_object(metadata_fields, json_object_get(obj, "metadata"));
    }
}

/* kubectl apply keeps a copy of the whole manifest here: of a Secret with its values. */
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

static void drop_last_applied(json_t *obj)
{
    json_t *annotations = json_object_get(json_object_get(obj, "metadata"), "annotations");

    json_object_del(annotations, LAST_APPLIED);
    if (json_is_object(annotations) && json_object_size(annotations) == 0) {
        json_object_del(json_object_get(obj, "metadata"), "annotations");
    }
}

static bool is_secret(const struct kind *k)
{
    return k->top != NULL && (k->top[0].flags & FF_SECRET) != 0;
}

void obj_seal_fields(const struct kind *k, json_t *obj)
{
    json_t *plain = json_object_get(obj, "stringData");
    json_t *data = json_object_get(obj, "data");
    const char *key;
    json_t *v;

    if (!is_secret(k)) {
        return;
    }
    drop_last_applied(obj);
    if (!json_is_object(plain)) {
        return;
    }
    if (!json_is_object(data)) {
        json_object_set_new(obj, "data", json_object());
        data = json_object_get(obj, "data");
    }
    json_object_foreach (plain, key, v) {
        size_t len = json_string_length(v);
        char *text = mem_alloc(4 * ((len + 2) / 3) + 1);

        str_b64_encode(json_is_string(v) ? json_string_value(v) : "", len, text);
        json_object_set_new(data, key, json_string(text));
        explicit_bzero(text, strlen(text));
        free(text);
    }
    json_object_del(obj, "stringData");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The sorted keys of both parts of a Secret. */
static json_t *secret_keys(const json_t *obj)
{
    static const char *const parts[] = { "data", "stringData" };
    json_t *list = json_array();
    const char *names[256];
    size_t n = 0;
    const char *key;
    json_t *v;

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        json_object_foreach (json_object_get(obj, parts[i]), key, v) {
            if (n < ARRAY_LEN(names)) {
                names[n++] = key;
            }
        }
    }
    qsort(names, n, sizeof(names[0]), by_text);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || !str_eq(names[i], names[i - 1])) {
            json_array_append_new(list, json_string(names[i]));
        }
    }
    return list;
}

void obj_redact(const struct kind *k, json_t *obj)
{
    json_t *keys;

    if (!is_secret(k) || !json_is_object(obj)) {
        return;
    }
    drop_last_applied(obj);
    if (json_object_get(obj, "data") == NULL && json_object_get(obj, "stringData") == NULL) {
        return;
    }
    keys = secret_keys(obj);
    json_object_del(obj, "data");
    json_object_del(obj, "stringData");
    jset(obj, "status.keys", keys);
}
