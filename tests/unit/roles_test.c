/* Roles: the rules, and the question as kubectl sends it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "api/json_path.h"
#include "api/sar_codec.h"
#include "base/obj.h"
#include "base/str.h"

/* The planner is a part of picketd, which no library holds. */
#include "cmd/picketd/roles_plan.c"

static json_t *parse(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);

    assert_non_null(j);
    return j;
}

static bool allows(const json_t *role, const char *verb, const char *resource, const char *sub,
                   const char *name)
{
    struct roles_ask ask = { "devs", "ann", verb, resource, sub, name };

    return roles_allow(role, &ask);
}

static void rules(void **state)
{
    json_t *r = parse("{\"spec\": {\"rules\": ["
                      "{\"verbs\": [\"get\", \"list\"], \"resources\": [\"hosts\", \"luns\"]},"
                      "{\"verbs\": [\"*\"], \"resources\": [\"virtualmachines\"],"
                      " \"resourceNames\": [\"web\", \"db\"]},"
                      "{\"verbs\": [\"get\"], \"resources\": [\"virtualmachines/console\"],"
                      " \"resourceNames\": [\"web\"]}]}}");
    json_t *all = parse("{\"spec\": {\"rules\": [{\"verbs\": [\"*\"], \"resources\": [\"*\"]}]}}");
    json_t *below = parse("{\"spec\": {\"rules\": [{\"verbs\": [\"get\"], \"resources\": "
                          "[\"virtualmachines/*\"]}]}}");
    json_t *nothing = parse("{\"spec\": {}}");

    (void)state;
    assert_true(allows(r, "get", "hosts", "", "node1"));
    assert_true(allows(r, "list", "luns", "", ""));
    assert_false(allows(r, "watch", "hosts", "", ""));
    assert_false(allows(r, "get", "host", "", "node1"));
    assert_false(allows(r, "get", "hostsx", "", "node1"));
    assert_false(allows(r, "get", "hosts", "status", "node1"));
    assert_true(allows(r, "delete", "virtualmachines", "", "db"));
    assert_false(allows(r, "delete", "virtualmachines", "", "other"));
    assert_false(allows(r, "list", "virtualmachines", "", "")); /* names say nothing of all */
    assert_false(allows(r, "create", "virtualmachines", "", ""));
    assert_true(allows(r, "get", "virtualmachines", "console", "web"));
    assert_false(allows(r, "get", "virtualmachines", "console", "db"));
    assert_true(allows(all, "fence", "hosts", "", "node1"));
    assert_true(allows(all, "get", "virtualmachines", "console", "web"));
    assert_true(allows(below, "get", "virtualmachines", "console", "web"));
    assert_false(allows(below, "get", "virtualmachines", "", "web"));
    assert_false(allows(nothing, "get", "hosts", "", "node1"));
    json_decref(r);
    json_decref(all);
    json_decref(below);
    json_decref(nothing);
}

static void subjects(void **state)
{
    json_t *b = parse("{\"spec\": {\"role\": \"r\", \"subjects\": ["
                      "{\"kind\": \"User\", \"name\": \"ann\"},"
                      "{\"kind\": \"Group\", \"name\": \"devs\"}]}}");
    struct roles_ask ann = { .group = "others", .user = "ann" };
    struct roles_ask dev = { .group = "devs", .user = "bob" };
    struct roles_ask swapped = { .group = "ann", .user = "devs" };

    (void)state;
    assert_true(roles_bound(b, &ann));
    assert_true(roles_bound(b, &dev));
    assert_false(roles_bound(b, &swapped)); /* a group is no user */
    json_decref(b);
}

/* As kubectl 1.32 writes {verb: get, group: picket, resource: hosts, name: node1}. */
static const uint8_t kubectl[] = "k8s\0"
                                 "\x0a\x33\x0a\x17"
                                 "authorization.k8s.io/v1"
                                 "\x12\x18"
                                 "SelfSubjectAccessReview1"
                                 "\x12\x2d"
                                 "\x0a\x08\x0a\x00\x12\x00\x1a\x00\x22\x00"
                                 "\x12\x1f"
                                 "\x0a\x1d"
                                 "\x12\x03"
                                 "get"
                                 "\x1a\x06"
                                 "picket"
                                 "\x2a\x05"
                                 "hosts"
                                 "\x32\x00"
                                 "\x3a\x05"
                                 "node1"
                                 "\x1a\x00"
                                 "\x1a\x00\x22\x00";

static void reviews(void **state)
{
    static const char json[] =
        "{\"spec\": {\"resourceAttributes\": {\"verb\": \"get\", \"group\": \"picket\","
        " \"resource\": \"hosts\", \"name\": \"node1\", \"namespace\": null}}}";
    static const char path[] =
        "{\"spec\": {\"nonResourceAttributes\": {\"verb\": \"get\", \"path\": \"/healthz\"}}}";
    struct sar s;
    struct err err;

    (void)state;
    assert_int_equal(sar_decode(kubectl, sizeof(kubectl) - 1, &s, &err), 0);
    assert_string_equal(s.verb, "get");
    assert_string_equal(s.group, "picket");
    assert_string_equal(s.resource, "hosts");
    assert_string_equal(s.name, "node1");
    assert_string_equal(s.subresource, "");
    for (size_t n = 4; n < sizeof(kubectl) - 8; n++) { /* cut anywhere, it is refused */
        assert_int_equal(sar_decode(kubectl, n, &s, &err), ERR_BAD_REQUEST);
    }
    assert_int_equal(sar_decode((const uint8_t *)json, sizeof(json) - 1, &s, &err), 0);
    assert_string_equal(s.name, "node1");
    assert_int_equal(sar_decode((const uint8_t *)path, sizeof(path) - 1, &s, &err), 0);
    assert_string_equal(s.path, "/healthz");
    assert_int_equal(sar_decode((const uint8_t *)"{}", 2, &s, &err), ERR_BAD_REQUEST);
    assert_int_equal(sar_decode((const uint8_t *)"", 0, &s, &err), ERR_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),
        cmocka_unit_test(subjects),
        cmocka_unit_test(reviews),
    };

    return cmocka_run_group_tests_name("roles", tests, NULL, NULL);
}
