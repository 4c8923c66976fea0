/* Validation, defaults, updates, references, and the readers. */

#include "api/manifest.h"
#include "api/valid.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *one(const char *yaml)
{
    struct manifest *m = NULL;
    struct err err;
    json_t *v;

    if (manifest_parse(yaml, strlen(yaml), "t", &m, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(manifest_count(m), 1);
    v = json_incref(manifest_doc(m, 0)->obj);
    manifest_free(m);
    return v;
}

static const struct kind *kind_of(const json_t *obj)
{
    const struct kind *k = NULL;
    struct err err;

    if (obj_kind(obj, &k, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return k;
}

static void expect_none(const struct problems *ps, const char *where)
{
    for (size_t i = 0; i < ps->n; i++) {
        if (!ps->items[i].warning) {
            fail_msg("%s: %s: %s", where, ps->items[i].path, ps->items[i].message);
        }
    }
}

/* The book's cluster loads, is valid, stays valid with its defaults, and defaults twice are the
 * same. */
static void book_cluster(void **state)
{
    struct manifest *m = NULL;
    struct err err;

    (void)state;
    if (manifest_read_path("examples/book-cluster.yaml", &m, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(manifest_count(m), 22);
    for (size_t i = 0; i < manifest_count(m); i++) {
        json_t *obj = manifest_doc(m, i)->obj;
        const struct kind *k = kind_of(obj);
        struct problems ps = { 0 };
        json_t *copy;

        obj_validate(k, obj, false, &ps);
        expect_none(&ps, obj_name(obj));
        obj_default(k, obj);
        obj_validate(k, obj, true, &ps);
        expect_none(&ps, obj_name(obj));
        assert_int_equal(ps.n % 2, 0); /* the same warnings before and after */
        copy = json_deep_copy(obj);
        obj_default(k, copy);
        assert_true(json_equal(copy, obj));
        assert_true(obj_spec_equal(k, copy, obj));
        json_decref(copy);
        problems_done(&ps);
    }
    manifest_free(m);
}

struct expected_ref {
    const char *kind, *name, *path;
    bool seen;
};

static void on_ref(void *ctx, const char *kind, const char *name, const char *path)
{
    struct expected_ref *r = ctx;

    for (; r->kind != NULL; r++) {
        if (str_eq(r->kind, kind) && str_eq(r->name, name) && str_eq(r->path, path)) {
            assert_false(r->seen);
            r->seen = true;
            return;
        }
    }
    fail_msg("unexpected: %s %s at %s", kind, name, path);
}

static void references(void **state)
{
    struct expected_ref vm[] = { { "Volume", "v1", "spec.disks[0].volume", false },
                                 { "VolumeGroup", "g", "spec.disks[1].volumeGroup", false },
                                 { "Bridge", "br0", "spec.nics[0].bridge", false },
                                 { "Host", "n1", "spec.placement.hosts[0]", false },
                                 { "VirtualMachine", "b", "spec.startAfter[0].vm", false },
                                 { NULL, NULL, NULL, false } };
    struct expected_ref fd[] = { { "Host", "node.one", "spec.outlets[node.one]", false },
                                 { "Secret", "pdu", "spec.communityRef.secret", false },
                                 { NULL, NULL, NULL, false } };
    json_t *obj;

    (void)state;
    obj = one("{apiVersion: picket/v1, kind: VirtualMachine, metadata: {name: a}, spec: {memory: "
              "1Gi, disks: "
              "[{name: r, volume: v1}, {name: s, volumeGroup: g, size: 1Gi}], nics: [{bridge: "
              "br0}], placement: "
              "{hosts: [n1]}, startAfter: [{vm: b}]}}");
    obj_refs(kind_of(obj), obj, on_ref, vm);
    for (size_t i = 0; vm[i].kind != NULL; i++) {
        assert_true(vm[i].seen);
    }
    json_decref(obj);
    obj = one("{apiVersion: picket/v1, kind: FenceDevice, metadata: {name: a}, spec: {type: "
              "ApcSnmp, outlets: "
              "{node.one: [1]}, communityRef: {secret: pdu, key: c}}}");
    obj_refs(kind_of(obj), obj, on_ref, fd);
    assert_true(fd[0].seen);
    assert_true(fd[1].seen);
    json_decref(obj);
    obj = one("{apiVersion: picket/v1, kind: Migration, metadata: {name: a}, spec: {vm: x, target: "
              "Auto}}");
    json_object_del(json_object_get(obj, "spec"), "vm");
    obj_refs(kind_of(obj), obj, on_ref, &vm[5]); /* Auto is no host */
    json_decref(obj);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(book_cluster),
        cmocka_unit_test(references),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
