/* What people and kubectl see: tables, describe, explain, discovery, OpenAPI, Status. */

#include "api/manifest.h"
#include "api/table.h"
#include "api/valid.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/api_golden.h"

#define NOW 1767323045000ULL /* 2026-01-02T03:04:05Z */

static struct manifest *load(const char *path)
{
    struct manifest *m = NULL;
    struct err err;

    if (manifest_read_path(path, &m, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return m;
}

/* All objects of a kind in a manifest, with defaults. */
static json_t *items_of(const struct manifest *m, const struct kind *k)
{
    json_t *list = json_array();

    for (size_t i = 0; i < manifest_count(m); i++) {
        json_t *obj = manifest_doc(m, i)->obj;

        if (str_eq(jget_str(obj, "kind", ""), k->name)) {
            obj_default(k, obj);
            json_array_append(list, obj);
        }
    }
    return list;
}

static void print_table(void **state)
{
    struct manifest *m = load("tests/golden/api/table.yaml");
    struct buf out = { 0 };

    (void)state;
    for (size_t i = 0; i < kind_count(); i++) {
        json_t *items = items_of(m, kind_at(i));

        if (json_array_size(items) > 0) {
            buf_printf(&out, "# %s\n", kind_at(i)->plural);
            table_print(kind_at(i), items, false, true, NOW, &out);
            buf_printf(&out, "# %s, wide, without headings\n", kind_at(i)->plural);
            table_print(kind_at(i), items, true, false, NOW, &out);
        }
        json_decref(items);
    }
    golden_check("tests/golden/api/table.ok", buf_cstr(&out));
    buf_done(&out);
    manifest_free(m);
}

static void print_describe(void **state)
{
    struct manifest *m = load("tests/golden/api/table.yaml");
    struct buf out = { 0 };

    (void)state;
    for (size_t i = 0; i < manifest_count(m); i++) {
        const struct kind *k = kind_find(jget_str(manifest_doc(m, i)->obj, "kind", ""));

        obj_default(k, manifest_doc(m, i)->obj);
        describe_print(k, manifest_doc(m, i)->obj, NOW, &out);
        buf_add_str(&out, "---\n");
    }
    assert_null(strstr(buf_cstr(&out), "s3cret"));
    golden_check("tests/golden/api/describe.ok", buf_cstr(&out));
    buf_done(&out);
    manifest_free(m);
}

static void print_explain(void **state)
{
    static const char *const paths[] = { "vm.spec.disks",
                                         "cluster.spec.timing.hostTimeout",
                                         "fd",
                                         "fd.spec.outlets",
                                         "secret",
                                         "mpp.spec.noPathRetry",
                                         "vm.metadata.labels",
                                         "vn",
                                         "vm.spec.discs",
                                         "vm.spec.memory.x",
                                         "host.speck",
                                         "" };
    struct buf out = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        bool found;

        buf_printf(&out, "$ picket explain %s\n", paths[i]);
        found = explain_print(paths[i], false, &out);
        buf_printf(&out, "=> %s\n\n", found ? "found" : "not found");
    }
    buf_add_str(&out, "$ picket explain --recursive bond\n");
    assert_true(explain_print("bond", true, &out));
    golden_check("tests/golden/api/explain.ok", buf_cstr(&out));
    buf_done(&out);
}

/* Every field of every kind can be explained, and the reference is the one in docs/. */
static void reference(void **state)
{
    struct buf out = { 0 };

    (void)state;
    reference_print(&out);
    golden_check("docs/reference/kinds.md", buf_cstr(&out));
    buf_done(&out);
    for (size_t i = 0; i < kind_count(); i++) {
        assert_true(explain_print(kind_at(i)->plural, true, &out));
    }
    buf_done(&out);
}

static void table_shape(void **state)
{
    struct manifest *m = load("tests/golden/api/table.yaml");
    const struct kind *k = kind_find("vm");
    json_t *items = items_of(m, k);
    json_t *t = table_build(k, items, "105", "Metadata", NOW);

    (void)state;
    assert_string_equal(jget_str(t, "kind", ""), "Table");
    assert_string_equal(jget_str(t, "metadata.resourceVersion", ""), "105");
    assert_string_equal(jget_str(t, "columnDefinitions.0.name", ""), "Name");
    assert_string_equal(jget_str(t, "columnDefinitions.0.format", ""), "name");
    assert_int_equal(json_array_size(jget(t, "rows")), json_array_size(items));
    assert_int_equal(json_array_size(jget(t, "rows.0.cells")),
                     json_array_size(jget(t, "columnDefinitions")));
    assert_string_equal(jget_str(t, "rows.0.object.kind", ""), "PartialObjectMetadata");
    assert_null(jget(t, "rows.0.object.spec"));
    json_decref(t);
    t = table_build(k, items, "105", "Object", NOW);
    assert_string_equal(jget_str(t, "rows.0.object.spec.memory", ""), "4Gi");
    json_decref(t);
    t = table_build(k, items, "105", "None", NOW);
    assert_null(jget(t, "rows.0.object"));
    json_decref(t);
    json_decref(items);
    manifest_free(m);
}

static void discovery(void **state)
{
    json_t *r = discovery_resources();
    json_t *a = discovery_aggregated();
    json_t *g = discovery_groups();
    json_t *v = discovery_api_versions();
    json_t *c = discovery_core_resources();
    json_t *ca = discovery_core_aggregated();
    size_t with_status = 0;

    (void)state;
    assert_string_equal(jget_str(r, "groupVersion", ""), "picket/v1");
    for (size_t i = 0; i < json_array_size(jget(r, "resources")); i++) {
        const json_t *one = json_array_get(jget(r, "resources"), i);

        assert_false(jget_bool(one, "namespaced", true));
        assert_true(json_array_size(jget(one, "verbs")) > 0);
        with_status += str_ends(jget_str(one, "name", ""), "/status") ? 1U : 0U;
        if (str_eq(jget_str(one, "name", ""), "locks")) {
            assert_int_equal(json_array_size(jget(one, "verbs")), 3);
        }
    }
    assert_int_equal(with_status, kind_count() - 2);
    assert_int_equal(json_array_size(jget(a, "items.0.versions.0.resources")), kind_count());
    assert_string_equal(jget_str(a, "items.0.metadata.name", ""), "picket");
    assert_string_equal(jget_str(a, "items.0.versions.0.resources.0.scope", ""), "Cluster");
    assert_string_equal(jget_str(g, "groups.0.preferredVersion.groupVersion", ""), "picket/v1");
    assert_string_equal(jget_str(v, "versions.0", ""), "v1");
    assert_string_equal(jget_str(c, "resources.0.name", ""), "events");
    assert_string_equal(jget_str(ca, "items.0.versions.0.resources.0.resource", ""), "events");
    json_decref(r);
    json_decref(a);
    json_decref(g);
    json_decref(v);
    json_decref(c);
    json_decref(ca);
}

static bool has_param(const json_t *op, const char *name)
{
    const json_t *params = jget(op, "parameters");

    for (size_t i = 0; i < json_array_size(params); i++) {
        if (str_eq(jget_str(json_array_get(params, i), "name", ""), name)) {
            return true;
        }
    }
    return false;
}

static void openapi(void **state)
{
    json_t *doc = openapi_v3_group();
    json_t *index = openapi_v3_index();
    json_t *again = openapi_v3_index();

    (void)state;
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        char path[128];
        const json_t *item, *patch, *schema;

        (void)snprintf(path, sizeof(path), "/apis/picket/v1/%s/{name}", k->plural);
        item = json_object_get(json_object_get(doc, "paths"), path);
        patch = json_object_get(item, "patch");
        assert_non_null(item);
        assert_true(k->read_only == (patch == NULL));
        if (patch != NULL) {
            assert_true(has_param(patch, "fieldValidation"));
            assert_true(has_param(patch, "dryRun"));
            assert_true(has_param(patch, "fieldManager"));
            assert_string_equal(
                jget_str(json_object_get(patch, "x-kubernetes-group-version-kind"), "kind", ""),
                k->name);
            assert_true(has_param(json_object_get(item, "put"), "fieldValidation"));
        }
        (void)snprintf(path, sizeof(path), "picket.v1.%s", k->name);
        schema = json_object_get(jget(doc, "components.schemas"), path);
        assert_string_equal(jget_str(schema, "x-kubernetes-group-version-kind.0.kind", ""),
                            k->name);
        assert_non_null(jget(schema, "properties.status"));
    }
    assert_true(json_equal(index, again));
    assert_true(
        str_starts(jget_str(json_object_get(json_object_get(index, "paths"), "apis/picket/v1"),
                            "serverRelativeURL", ""),
                   "/openapi/v3/apis/picket/v1?hash="));
    assert_string_equal(
        jget_str(doc,
                 "components.schemas[picket.v1.VirtualMachine].properties.spec.properties.disks"
                 ".x-kubernetes-list-type",
                 ""),
        "map");
    json_decref(doc);
    json_decref(index);
    json_decref(again);
}

static void status_errors(void **state)
{
    struct problems ps = { 0 };
    struct err err;
    json_t *s;

    (void)state;
    (void)err_set(&err, ERR_NOT_FOUND, "virtualmachine \"x\" not found");
    s = status_from_err(&err, "virtualmachines", "x", NULL);
    assert_string_equal(jget_str(s, "reason", ""), "NotFound");
    assert_int_equal(jget_int(s, "code", 0), 404);
    assert_string_equal(jget_str(s, "details.kind", ""), "virtualmachines");
    json_decref(s);
    (void)err_set(&err, ERR_INVALID, "invalid");
    problem_add(&ps, "FieldValueInvalid", "spec.vcpus", "0 is too small \xc3");
    problem_warn(&ps, "spec.x", "only a warning");
    s = status_from_err(&err, "virtualmachines", "x", &ps);
    assert_string_equal(jget_str(s, "message", ""),
                        "VirtualMachine \"x\" is invalid: spec.vcpus: 0 is too small ?");
    assert_string_equal(jget_str(s, "details.kind", ""), "VirtualMachine");
    assert_int_equal(json_array_size(jget(s, "details.causes")), 1);
    assert_string_equal(jget_str(s, "details.causes.0.field", ""), "spec.vcpus");
    json_decref(s);
    problems_done(&ps);
    s = status_success(kind_find("vm"), "x", "u-1");
    assert_string_equal(jget_str(s, "status", ""), "Success");
    assert_string_equal(jget_str(s, "details.uid", ""), "u-1");
    json_decref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(print_table),   cmocka_unit_test(print_describe),
        cmocka_unit_test(print_explain), cmocka_unit_test(reference),
        cmocka_unit_test(table_shape),   cmocka_unit_test(discovery),
        cmocka_unit_test(openapi),       cmocka_unit_test(status_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
