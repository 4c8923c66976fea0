/* Three-way apply, equality, updates, defaults, secrets. */

#include "api/manifest.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *ya(const char *text)
{
    struct manifest *m = NULL;
    struct err err;
    json_t *v;

    if (text == NULL) {
        return NULL;
    }
    if (manifest_parse(text, strlen(text), "t", &m, &err) != 0) {
        fail_msg("%s: %s", text, err.msg);
    }
    assert_int_equal(manifest_count(m), 1);
    v = json_incref(manifest_doc(m, 0)->obj);
    manifest_free(m);
    return v;
}

static void expect_apply(const char *kind, const char *last, const char *live, const char *want,
                         const char *result)
{
    json_t *l = ya(last);
    json_t *v = ya(live);
    json_t *w = ya(want);
    json_t *r = ya(result);
    json_t *copy = json_deep_copy(v);
    json_t *out = obj_apply(kind_find(kind), l, v, w);

    if (!json_equal(out, r)) {
        char *have = json_canonical(out, NULL);

        fail_msg("%s\napplied to %s\ngives %s\nnot %s", want, live, have, result);
    }
    assert_true(v == NULL || json_equal(copy, v));
    json_decref(copy);
    json_decref(out);
    json_decref(l);
    json_decref(v);
    json_decref(w);
    json_decref(r);
}

static void apply(void **state)
{
    (void)state;
    /* New: as wanted, without nulls. */
    expect_apply("vm", NULL, NULL, "{metadata: {name: a}, spec: {memory: 1Gi, cpu: null}}",
                 "{metadata: {name: a}, spec: {memory: 1Gi}}");
    /* Defaults and fields of others stay, status too. */
    expect_apply("vm", "{spec: {memory: 1Gi}}",
                 "{metadata: {name: a, uid: u}, spec: {memory: 1Gi, vcpus: 1, priority: 5}, "
                 "status: {phase: Running}}",
                 "{metadata: {name: a}, spec: {memory: 2Gi}}",
                 "{metadata: {name: a, uid: u}, spec: {memory: 2Gi, vcpus: 1, priority: 5}, "
                 "status: {phase: Running}}");
    /* What is declared no more goes away; of a mapping only what was declared. */
    expect_apply(
        "vm", "{spec: {memory: 1Gi, priority: 5, ha: {policy: Never}, placement: {hosts: [a]}}}",
        "{metadata: {}, spec: {memory: 1Gi, priority: 5, ha: {policy: Never, onCrash: Stop}, "
        "placement: {hosts: [a]}}}",
        "{spec: {memory: 1Gi}}", "{metadata: {}, spec: {memory: 1Gi, ha: {onCrash: Stop}}}");
    /* Changed by another manager, but declared here: ours wins. */
    expect_apply("vm", "{spec: {vcpus: 1}}", "{metadata: {}, spec: {vcpus: 4}}",
                 "{spec: {vcpus: 2}}", "{metadata: {}, spec: {vcpus: 2}}");
    /* An explicit null takes away. */
    expect_apply("vm", NULL, "{metadata: {}, spec: {vcpus: 4, priority: 1}}",
                 "{spec: {vcpus: null}}", "{metadata: {}, spec: {priority: 1}}");
}

static void apply_lists(void **state)
{
    (void)state;
    /* Disks merge by name: fields stay, the order is ours, those of others follow. */
    expect_apply("vm", "{spec: {disks: [{name: root, volume: v1}]}}",
                 "{metadata: {}, spec: {disks: [{name: other, volume: o}, {name: root, volume: v1, "
                 "target: xvda}]}}",
                 "{spec: {disks: [{name: data, volume: v2}, {name: root, volume: v1}]}}",
                 "{metadata: {}, spec: {disks: [{name: data, volume: v2}, {name: root, volume: v1, "
                 "target: xvda}, "
                 "{name: other, volume: o}]}}");
    /* One that we declared and do not any more is gone. */
    expect_apply("vm", "{spec: {disks: [{name: root, volume: v1}, {name: data, volume: v2}]}}",
                 "{metadata: {}, spec: {disks: [{name: root, volume: v1}, {name: data, volume: "
                 "v2}, {name: x, volume: y}]}}",
                 "{spec: {disks: [{name: root, volume: v1}]}}",
                 "{metadata: {}, spec: {disks: [{name: root, volume: v1}, {name: x, volume: y}]}}");
    /* The whole list: those of others stay. */
    expect_apply("vm", "{spec: {disks: [{name: root, volume: v1}]}}",
                 "{metadata: {}, spec: {disks: [{name: root, volume: v1}, {name: x, volume: y}]}}",
                 "{spec: {}}", "{metadata: {}, spec: {disks: [{name: x, volume: y}]}}");
    /* Cards without names are nic0, nic1: the generated address of the first one stays. */
    expect_apply(
        "vm", "{spec: {nics: [{bridge: br0}]}}",
        "{metadata: {}, spec: {nics: [{name: nic0, bridge: br0, mac: '00:16:3e:00:00:01'}]}}",
        "{spec: {nics: [{bridge: br1}, {bridge: br2}]}}",
        "{metadata: {}, spec: {nics: [{name: nic0, bridge: br1, mac: '00:16:3e:00:00:01'}, {name: "
        "nic1, bridge: "
        "br2}]}}");
    /* Lists without keys are one value. */
    expect_apply("bond", "{spec: {members: [eth0]}}",
                 "{metadata: {}, spec: {members: [eth0, eth9]}}", "{spec: {members: [eth1]}}",
                 "{metadata: {}, spec: {members: [eth1]}}");
    /* Maps merge by key, and what is below them by field. */
    expect_apply(
        "br", "{spec: {perHost: {a: {mtu: 1500}, b: {mtu: 1500}}}}",
        "{metadata: {}, spec: {perHost: {a: {mtu: 1500, gateway: 1.1.1.1}, b: {mtu: 1500}, c: "
        "{mtu: 9000}}}}",
        "{spec: {perHost: {a: {mtu: 9000}}}}",
        "{metadata: {}, spec: {perHost: {a: {mtu: 9000, gateway: 1.1.1.1}, c: {mtu: 9000}}}}");
    /* A word instead of a map, and back. */
    expect_apply("fd", "{spec: {outlets: Auto}}", "{metadata: {}, spec: {outlets: Auto}}",
                 "{spec: {outlets: {n1: [1]}}}", "{metadata: {}, spec: {outlets: {n1: [1]}}}");
    expect_apply("fd", "{spec: {outlets: {n1: [1]}}}", "{metadata: {}, spec: {outlets: {n1: [1]}}}",
                 "{spec: {outlets: Auto}}", "{metadata: {}, spec: {outlets: Auto}}");
}

static void apply_metadata(void **state)
{
    (void)state;
    expect_apply("br", "{metadata: {labels: {a: '1', b: '2'}}}",
                 "{metadata: {name: x, uid: u, resourceVersion: '7', labels: {a: '1', b: '2', c: "
                 "'3'}}, spec: {}}",
                 "{metadata: {name: x, resourceVersion: '5', labels: {a: '9'}, annotations: {n: "
                 "t}}, spec: {}}",
                 "{metadata: {name: x, uid: u, resourceVersion: '7', labels: {a: '9', c: '3'}, "
                 "annotations: {n: t}}, spec: {}}");
    expect_apply("br", "{metadata: {labels: {a: '1'}}}",
                 "{metadata: {name: x, labels: {a: '1'}}, spec: {}}", "{metadata: {name: x}}",
                 "{metadata: {name: x}, spec: {}}");
    expect_apply("secret", "{data: {a: eA==, b: eQ==}}",
                 "{metadata: {name: x}, data: {a: eA==, b: eQ==, c: eg==}}", "{data: {a: eQ==}}",
                 "{metadata: {name: x}, data: {a: eQ==, c: eg==}}");
}

/* Applying the same again changes nothing; applying what is there changes nothing. */
static void apply_is_stable(void **state)
{
    struct manifest *m = NULL;
    struct err err;

    (void)state;
    assert_int_equal(manifest_read_path("examples/book-cluster.yaml", &m, &err), 0);
    for (size_t i = 0; i < manifest_count(m); i++) {
        const json_t *want = manifest_doc(m, i)->obj;
        const struct kind *k;
        json_t *live, *again;

        assert_int_equal(obj_kind(want, &k, &err), 0);
        live = obj_apply(k, NULL, NULL, want);
        obj_default(k, live);
        again = obj_apply(k, want, live, want);
        obj_default(k, again);
        assert_true(json_equal(again, live));
        json_decref(again);
        json_decref(live);
    }
    manifest_free(m);
}

static bool equal(const char *kind, const char *a, const char *b)
{
    json_t *x = ya(a);
    json_t *y = ya(b);
    bool eq = obj_spec_equal(kind_find(kind), x, y);

    assert_true(obj_spec_equal(kind_find(kind), y, x) == eq);
    json_decref(x);
    json_decref(y);
    return eq;
}

static void equality(void **state)
{
    (void)state;
    assert_true(equal("vm", "{spec: {memory: 4Gi}}", "{spec: {memory: 4096Mi}}"));
    assert_true(equal("vm", "{spec: {memory: 4Gi}}", "{spec: {memory: 4294967296}}"));
    assert_false(equal("vm", "{spec: {memory: 4Gi}}", "{spec: {memory: 4G}}"));
    assert_true(equal("vm", "{spec: {shutdownTimeout: 90s}}", "{spec: {shutdownTimeout: 1m30s}}"));
    assert_true(equal("vm", "{spec: {disks: [{name: a, size: 1Gi}]}}",
                      "{spec: {disks: [{size: 1024Mi, name: a}]}}"));
    assert_false(equal("vm", "{spec: {disks: [{name: a}, {name: b}]}}",
                       "{spec: {disks: [{name: b}, {name: a}]}}"));
    assert_false(equal("vm", "{spec: {vcpus: 1}}", "{spec: {}}"));
    assert_true(
        equal("vm", "{spec: {}, status: {phase: Running}}", "{spec: {}, metadata: {name: x}}"));
    assert_false(equal("vm", "{a: 1}", "{spec: {}}"));
    assert_true(equal("br", "{spec: {forwardDelay: 0s}}", "{spec: {forwardDelay: 0}}"));
    assert_true(equal("mpp", "{spec: {failback: Immediate}}", "{spec: {failback: Immediate}}"));
    assert_false(equal("mpp", "{spec: {failback: Immediate}}", "{spec: {failback: 5s}}"));
    assert_false(equal("secret", "{data: {a: eA==}}", "{data: {a: eQ==}}"));
    assert_true(equal("secret", "{data: {a: eA==}}", "{data: {a: eA==}}"));
}

/* The problem that a change has, or NULL. */
static void expect_update(const char *kind, const char *old, const char *new, const char *path,
                          const char *message)
{
    struct problems ps = { 0 };
    json_t *a = ya(old);
    json_t *b = ya(new);

    obj_validate_update(kind_find(kind), a, b, &ps);
    if (path == NULL) {
        for (size_t i = 0; i < ps.n; i++) {
            fail_msg("%s: %s", ps.items[i].path, ps.items[i].message);
        }
    } else if (ps.n != 1 || !str_eq(ps.items[0].path, path) ||
               strstr(ps.items[0].message, message) == NULL) {
        fail_msg("%zu problems: %s: %s", ps.n, ps.n > 0 ? ps.items[0].path : "",
                 ps.n > 0 ? ps.items[0].message : "");
    }
    problems_done(&ps);
    json_decref(a);
    json_decref(b);
}

static void updates(void **state)
{
    (void)state;
    expect_update("vol", "{spec: {volumeGroup: a, size: 1Gi}}",
                  "{spec: {volumeGroup: a, size: 2Gi}}", NULL, NULL);
    expect_update("vol", "{spec: {volumeGroup: a, size: 1Gi}}",
                  "{spec: {volumeGroup: b, size: 1Gi}}", "spec.volumeGroup",
                  "cannot be changed (it is \"a\", \"b\" is wanted)");
    expect_update("vol", "{spec: {volumeGroup: a, size: 2Gi}}",
                  "{spec: {volumeGroup: a, size: 1Gi}}", "spec.size",
                  "never shrinks (it has 2Gi, 1Gi is wanted)");
    expect_update("vol", "{spec: {volumeGroup: a, size: 1024Mi}}",
                  "{spec: {volumeGroup: a, size: 1Gi}}", NULL, NULL);
    expect_update("lun", "{spec: {target: t, lun: 1}}", "{spec: {target: t, lun: 1, wwid: 36000}}",
                  NULL, NULL);
    expect_update("lun", "{spec: {target: t, lun: 1, wwid: '36000'}}",
                  "{spec: {target: t, lun: 1}}", "spec.wwid", "cannot be taken away");
    expect_update("vg", "{spec: {luns: [a, b]}}", "{spec: {luns: [b, c, a]}}", NULL, NULL);
    expect_update("vg", "{spec: {luns: [a, b]}}", "{spec: {luns: [b]}}", "spec.luns",
                  "\"a\" cannot be taken out");
    expect_update("mig", "{spec: {vm: a, timeout: 60s}}", "{spec: {vm: a, timeout: 1m}}", NULL,
                  NULL);
    expect_update("mig", "{spec: {vm: a, mode: Live}}", "{spec: {vm: a, mode: Cold}}", "spec.mode",
                  "cannot be changed");
    expect_update("br", "{metadata: {name: a}}", "{metadata: {name: b}}", "metadata.name",
                  "cannot be changed");
    expect_update("br", "{}", "{}", NULL, NULL);
}

static void defaults(void **state)
{
    json_t *vm = ya("{spec: {memory: 1Gi, cpu: null, disks: [{name: a, volume: v}, {name: b, "
                    "volume: w, target: xvda}], nics: "
                    "[{bridge: br0}, {name: nic0, bridge: br1}, {bridge: br2}]}}");
    json_t *none = json_object();

    (void)state;
    obj_default(kind_find("vm"), vm);
    assert_string_equal(jget_str(vm, "spec.disks[0].target", ""), "xvdb");
    assert_string_equal(jget_str(vm, "spec.disks[1].target", ""), "xvda");
    assert_string_equal(jget_str(vm, "spec.nics[0].name", ""), "nic1"); /* nic0 is taken */
    assert_string_equal(jget_str(vm, "spec.nics[2].name", ""), "nic2");
    assert_string_equal(jget_str(vm, "spec.ha.restartLimit.window", ""), "10m");
    assert_int_equal(jget_int(vm, "spec.ha.restartLimit.count", 0), 3);
    assert_null(json_object_get(json_object_get(vm, "spec"), "cpu"));
    json_decref(vm);
    obj_default(kind_find("cluster"), none);
    assert_string_equal(jget_str(none, "spec.timing.hostTimeout", ""), "3s");
    assert_string_equal(jget_str(none, "spec.onQuorumLoss", ""), "Stop");
    json_decref(none);
}

static void prune(void **state)
{
    json_t *vm = ya("{apiVersion: picket/v1, kind: VirtualMachine, what: 1, metadata: {name: a, "
                    "nam: b}, spec: {memory: 1Gi, x: 1, "
                    "disks: [{name: a, y: 1}], extra: {any: {thing: 1}}}, status: {z: 1}}");
    struct problems ps = { 0 };

    (void)state;
    obj_prune(kind_find("vm"), vm);
    assert_null(json_object_get(vm, "what"));
    assert_null(jget(vm, "metadata.nam"));
    assert_null(jget(vm, "spec.x"));
    assert_null(jget(vm, "spec.disks[0].y"));
    assert_int_equal(jget_int(vm, "spec.extra.any.thing", 0), 1);
    assert_int_equal(jget_int(vm, "status.z", 0), 1);
    obj_validate(kind_find("vm"), vm, false, &ps);
    for (size_t i = 0; i < ps.n; i++) {
        assert_true(strstr(ps.items[i].message, "unknown") == NULL);
    }
    problems_done(&ps);
    json_decref(vm);
}

/* No value of a Secret may leave the server, whichever way it came in. */
static void secrets(void **state)
{
    const struct kind *k = kind_find("secret");
    json_t *s =
        ya("{apiVersion: picket/v1, kind: Secret, metadata: {name: a, annotations: {keep: x, "
           "kubectl.kubernetes.io/last-applied-configuration: 's3cret'}}, stringData: {community: "
           "s3cret, user: ''}, data: "
           "{old: czNjcmV0}}");
    char *text;

    (void)state;
    obj_seal_fields(k, s);
    assert_null(json_object_get(s, "stringData"));
    assert_string_equal(jget_str(s, "data.community", ""), "czNjcmV0");
    assert_string_equal(jget_str(s, "data.user", "none"), "");
    assert_string_equal(jget_str(s, "data.old", ""), "czNjcmV0");
    text = json_canonical(s, NULL);
    assert_null(strstr(text, "s3cret"));
    free(text);
    jset(s, "stringData.late", json_string("s3cret"));
    obj_redact(k, s);
    text = json_canonical(s, NULL);
    assert_null(strstr(text, "s3cret"));
    assert_null(strstr(text, "czNjcmV0"));
    free(text);
    assert_string_equal(jget_str(s, "metadata.annotations.keep", ""), "x");
    assert_int_equal(json_array_size(jget(s, "status.keys")), 4);
    assert_string_equal(jget_str(s, "status.keys[0]", ""), "community");
    json_decref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply),          cmocka_unit_test(apply_lists),
        cmocka_unit_test(apply_metadata), cmocka_unit_test(equality),
        cmocka_unit_test(updates),        cmocka_unit_test(apply_is_stable),
        cmocka_unit_test(defaults),       cmocka_unit_test(prune),
        cmocka_unit_test(secrets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
