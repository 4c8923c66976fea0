/* Manifests from nowhere: parsing, places, validation, defaults, printing.  What is taken has to
 * survive a round trip through our own YAML.  libFuzzer: clang -fsanitize=fuzzer,address,undefined
 * ... tests/fuzz/yaml_fuzz.c; seeds in tests/fuzz/corpus/yaml.
 */

#include "api/manifest.h"
#include "api/table.h"
#include "api/valid.h"
#include "base/obj.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const json_t *v)
{
    char *text = json_to_yaml(v);
    struct manifest *m = NULL;
    struct err err;
    int rc = manifest_parse(text, strlen(text), "again", &m, &err);

    /* An empty name of a field cannot be written so that it is read again. */
    if (rc == 0) {
        CHECK(manifest_count(m) == 1);
        CHECK(json_equal(manifest_doc(m, 0)->obj, v));
    } else {
        CHECK(strstr(err.msg, "levels deep") != NULL || strstr(err.msg, "more than") != NULL ||
              strstr(err.msg, "field name") != NULL || strstr(err.msg, "merge keys") != NULL ||
              strstr(err.msg, "items[") != NULL);
    }
    manifest_free(m);
    free(text);
}

static void check_problems(const struct manifest *m, size_t i, const struct problems *ps)
{
    char where[256];

    for (size_t n = 0; n < ps->n; n++) {
        CHECK(manifest_where(m, i, ps->items[n].path, where, sizeof(where)));
        CHECK(ps->items[n].message[0] != 0);
        CHECK(ps->items[n].reason != NULL);
    }
}

static void on_ref(void *ctx, const char *kind, const char *name, const char *path)
{
    (void)ctx;
    CHECK(kind_find(kind) != NULL);
    CHECK(name != NULL);
    CHECK(path[0] != 0);
}

static void check_object(const struct manifest *m, size_t i)
{
    json_t *obj = json_deep_copy(manifest_doc(m, i)->obj);
    const struct kind *k;
    struct problems ps = { 0 };
    struct buf out = { 0 };
    struct err err;
    json_t *applied;

    if (obj_kind(obj, &k, &err) != 0) {
        json_decref(obj);
        return;
    }
    obj_validate(k, obj, true, &ps);
    check_problems(m, i, &ps);
    problems_done(&ps);
    obj_default(k, obj);
    obj_refs(k, obj, on_ref, NULL);
    CHECK(obj_spec_equal(k, obj, obj));
    applied = obj_apply(k, manifest_doc(m, i)->obj, obj, manifest_doc(m, i)->obj);
    obj_validate_update(k, obj, applied, &ps);
    problems_done(&ps);
    json_decref(applied);
    describe_print(k, obj, 0, &out);
    buf_done(&out);
    obj_prune(k, obj);
    obj_seal_fields(k, obj);
    obj_redact(k, obj);
    json_decref(obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest *m = NULL;
    struct err err;
    char *text = mem_strndup((const char *)data, size);
    int rc = manifest_parse(text, size, "fuzz", &m, &err);

    CHECK(rc == 0 || err.msg[0] != 0);
    for (size_t i = 0; i < manifest_count(m); i++) {
        check_round_trip(manifest_doc(m, i)->obj);
        check_object(m, i);
    }
    manifest_free(m);
    free(text);
    return 0;
}
