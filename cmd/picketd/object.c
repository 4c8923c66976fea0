#include "cmd/picketd/object.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_path.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/view.h"

void object_prefix(const struct kind *k, char *dst, size_t size)
{
    int n;

    if (str_eq(k->name, "Lock")) {
        n = snprintf(dst, size, "s/lock/");
    } else if (str_eq(k->name, "Fencing")) {
        n = snprintf(dst, size, "s/fencing/");
    } else {
        n = snprintf(dst, size, "o/%s/", k->plural);
    }
    CHECK(n > 0);
    CHECK((size_t)n < size);
}

bool object_key(const struct kind *k, const char *name, char *dst, size_t size)
{
    uint64_t id;
    int n;

    if (str_eq(k->name, "Lock")) {
        const char *dot = strchr(name, '.');

        if (dot == NULL) {
            return false;
        }
        n = snprintf(dst, size, "s/lock/%.*s/%s", (int)(dot - name), name, dot + 1);
    } else if (str_eq(k->name, "Fencing")) {
        const char *dash = strrchr(name, '-');

        if (dash == NULL || !str_parse_u64(dash + 1, &id)) {
            return false;
        }
        n = snprintf(dst, size, "s/fencing/%020" PRIu64, id);
    } else {
        n = snprintf(dst, size, "o/%s/%s", k->plural, name);
    }
    return n > 0 && (size_t)n < size;
}

static json_t *object_parse(const struct kv *v, struct err *err)
{
    uint64_t generation;
    uint32_t flags;
    const char *text;
    size_t len;
    json_error_t je;
    json_t *obj;

    if (objval_decode(kv_value(v), v->vlen, &generation, &flags, &text, &len, err) != 0) {
        (void)err_wrap(err, "%s", kv_key(v));
        return NULL;
    }
    obj = json_load_quick(text, len, 0, &je);
    if (obj == NULL) {
        (void)err_set(err, ERR_CORRUPT, "%s: %s at byte %d: restore the store from a backup",
                      kv_key(v), je.text, je.position);
    }
    return obj;
}

json_t *object_stored(const struct kind *k, const struct kv *v, struct err *err)
{
    return k->read_only ? view_record(k, v, err) : object_parse(v, err);
}

json_t *object_load(const struct store *s, const struct kind *k, const char *name,
                    uint64_t *ret_rev, struct err *err)
{
    char key[OBJECT_KEY_MAX];
    const struct kv *v = NULL;

    if (object_key(k, name, key, sizeof(key))) {
        v = store_get_str(s, key);
    }
    if (v == NULL) {
        (void)err_set(err, ERR_NOT_FOUND, "%s.%s \"%s\" not found", k->plural, API_GROUP, name);
        return NULL;
    }
    *ret_rev = v->mod_rev;
    return object_stored(k, v, err);
}

json_t *object_dress(const struct kind *k, json_t *stored, uint64_t rev)
{
    char text[24];
    json_t *meta = json_object_get(stored, "metadata");

    (void)json_object_del(stored, "_applied");
    obj_redact(k, stored);
    (void)snprintf(text, sizeof(text), "%" PRIu64, rev);
    if (meta != NULL) {
        (void)json_object_set_new(meta, "resourceVersion", json_string(text));
    }
    return stored;
}

json_t *object_present(const struct kind *k, const struct kv *v, struct err *err)
{
    json_t *obj = object_stored(k, v, err);

    return obj == NULL ? NULL : object_dress(k, obj, v->mod_rev);
}

json_t *object_read(const struct store *s, const char *plural, const char *name, struct err *err)
{
    const struct kind *k = kind_by_plural(plural);
    uint64_t rev;
    json_t *obj;

    CHECK(k != NULL);
    obj = object_load(s, k, name, &rev, err);
    return obj == NULL ? NULL : object_dress(k, obj, rev);
}

void object_encode(const json_t *stored, struct buf *out)
{
    bool deleting = jget(stored, "metadata.deletionTimestamp") != NULL;
    char *text = json_dumps(stored, JSON_COMPACT | JSON_SORT_KEYS);

    CHECK(text != NULL);
    objval_encode((uint64_t)jget_int(stored, "metadata.generation", 1),
                  deleting ? (uint32_t)OBJVAL_DELETING : 0U, text, strlen(text), out);
    free(text);
}

struct each {
    const struct kind *k;
    object_visit_fn *fn;
    void *ctx;
};

static bool each_visit(void *ctx, const struct kv *v)
{
    struct each *e = ctx;
    struct err err;
    json_t *obj = object_stored(e->k, v, &err);
    bool more = true;

    if (obj != NULL) {
        more = e->fn(e->ctx, obj, v);
        json_decref(obj);
    }
    return more;
}

void object_each(const struct store *s, const struct kind *k, object_visit_fn *fn, void *ctx)
{
    char prefix[OBJECT_KEY_MAX];
    struct each e = { .k = k, .fn = fn, .ctx = ctx };

    object_prefix(k, prefix, sizeof(prefix));
    store_prefix(s, prefix, each_visit, &e);
}
