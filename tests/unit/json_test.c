/* Readers, writers, patches, selectors, conditions. */

#include "api/json_path.h"
#include "api/manifest.h"
#include "api/valid.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *js(const char *text)
{
    json_t *v = NULL;
    struct err err;

    if (json_parse_strict(text, strlen(text), &v, &err) != 0) {
        fail_msg("%s: %s", text, err.msg);
    }
    return v;
}

/* Steals v. */
static void expect(json_t *v, const char *text)
{
    char *have = json_canonical(v, NULL);
    json_t *want = js(text);
    char *canonical = json_canonical(want, NULL);

    assert_string_equal(have, canonical);
    free(have);
    free(canonical);
    json_decref(want);
    json_decref(v);
}

static void readers(void **state)
{
    json_t *v = js("{\"spec\": {\"n\": 5, \"b\": true, \"s\": \"x\", \"size\": \"4Gi\", \"d\": "
                   "\"1m30s\", \"z\": 0, \"null\": "
                   "null, \"list\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"a.b\": {\"c\": 1}}}");

    (void)state;
    assert_int_equal(jget_int(v, "spec.n", 0), 5);
    assert_int_equal(jget_int(v, ".spec.n", 0), 5);
    assert_int_equal(jget_int(v, "spec.s", 7), 7);
    assert_true(jget_bool(v, "spec.b", false));
    assert_true(jget_bool(v, "spec.x", true));
    assert_string_equal(jget_str(v, "spec.list.1.name", ""), "b");
    assert_string_equal(jget_str(v, "spec.list[0].name", ""), "a");
    assert_string_equal(jget_str(v, "spec.list[2].name", "none"), "none");
    assert_string_equal(jget_str(v, "spec.list.x.name", "none"), "none");
    assert_int_equal(jget_int(v, "spec[a.b].c", 0), 1);
    assert_true(jget_size(v, "spec.size", 0) == 4ULL << 30);
    assert_true(jget_size(v, "spec.n", 0) == 5);
    assert_true(jget_size(v, "spec.s", 9) == 9);
    assert_true(jget_duration(v, "spec.d", 0) == 90000);
    assert_true(jget_duration(v, "spec.z", 9) == 0);
    assert_true(jget_duration(v, "spec.n", 9) == 9); /* 5 without a unit is nothing */
    assert_null(jget(v, "spec.null"));
    assert_null(jget(v, "spec.n.x"));
    assert_null(jget(v, "spec[n"));
    assert_null(jget(NULL, "spec"));
    assert_ptr_equal(jget(v, ""), v);
    assert_string_equal(obj_name(v), "");
    assert_string_equal(obj_name(NULL), "");
    json_decref(v);
}

static void writers(void **state)
{
    json_t *v = js("{\"list\": [1, {\"a\": 1}]}");

    (void)state;
    jset(v, "spec.ha.policy", json_string("Never"));
    jset(v, "list.0", json_integer(2));
    jset(v, "list[1].b", json_true());
    jset(v, "list.9", json_integer(3));   /* behind the end: appended */
    jset(v, "list.0.x", json_integer(4)); /* a scalar on the way is replaced */
    expect(v, "{\"list\": [{\"x\": 4}, {\"a\": 1, \"b\": true}, 3], \"spec\": {\"ha\": "
              "{\"policy\": \"Never\"}}}");
}

/* The table of RFC 7386, appendix A. */
static void merge_patch(void **state)
{
    static const char *const table[][3] = {
        { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
        { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
        { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
        { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
        { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
        { "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
        { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
        { "{\"a\":\"foo\"}", "null", "null" },
        { "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
        { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
        { "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
        { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        json_t *target = js(table[i][0]);
        json_t *patch = js(table[i][1]);
        json_t *copy = json_deep_copy(target);

        expect(json_merge_patch(target, patch), table[i][2]);
        assert_true(json_equal(copy, target)); /* untouched */
        json_decref(copy);
        json_decref(target);
        json_decref(patch);
    }
}

/* Result, or (with '!') a part of the error. */
static void try_patch(const char *target, const char *patch, const char *result)
{
    json_t *t = js(target);
    json_t *p = js(patch);
    json_t *copy = json_deep_copy(t);
    json_t *out = NULL;
    struct err err;
    int rc = json_patch(t, p, &out, &err);

    if (result[0] == '!') {
        if (rc == 0 || strstr(err.msg, result + 1) == NULL) {
            fail_msg("%s: %s", patch, rc == 0 ? "taken" : err.msg);
        }
    } else if (rc != 0) {
        fail_msg("%s: %s", patch, err.msg);
    } else {
        expect(out, result);
    }
    assert_true(json_equal(copy, t));
    json_decref(copy);
    json_decref(t);
    json_decref(p);
}

/* Mostly from RFC 6902, appendix A. */
static void patches(void **state)
{
    static const char *const table[][3] = {
        { "{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
          "{\"baz\":\"qux\",\"foo\":\"bar\"}" },
        { "{\"foo\":[\"bar\",\"baz\"]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":\"qux\"}]",
          "{\"foo\":[\"bar\",\"qux\",\"baz\"]}" },
        { "{\"baz\":1,\"foo\":2}", "[{\"op\":\"remove\",\"path\":\"/baz\"}]", "{\"foo\":2}" },
        { "{\"foo\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/foo/1\"}]", "{\"foo\":[1,3]}" },
        { "{\"baz\":1}", "[{\"op\":\"replace\",\"path\":\"/baz\",\"value\":[2]}]",
          "{\"baz\":[2]}" },
        { "{\"l\":[1,2]}", "[{\"op\":\"replace\",\"path\":\"/l/0\",\"value\":5}]",
          "{\"l\":[5,2]}" },
        { "{\"foo\":{\"bar\":1,\"waldo\":2},\"qux\":{}}",
          "[{\"op\":\"move\",\"from\":\"/foo/waldo\",\"path\":\"/qux/thud\"}]",
          "{\"foo\":{\"bar\":1},\"qux\":{\"thud\":2}}" },
        { "{\"foo\":[1,2,3,4]}", "[{\"op\":\"move\",\"from\":\"/foo/1\",\"path\":\"/foo/3\"}]",
          "{\"foo\":[1,3,4,2]}" },
        { "{\"a\":{\"b\":1}}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/c\"}]",
          "{\"a\":{\"b\":1},\"c\":{\"b\":1}}" },
        { "{\"a\":\"x\"}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":\"x\"}]", "{\"a\":\"x\"}" },
        { "{\"a\":\"x\"}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":\"y\"}]",
          "!test: \"/a\" has another value" },
        { "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b/c\",\"value\":1}]",
          "!\"/b/c\" does not exist" },
        { "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", "!does not exist" },
        { "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", "!does not exist" },
        { "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":[2]}]", "{\"a\":[1,[2]]}" },
        { "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/2\",\"value\":2}]",
          "!nothing can be added" },
        { "{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":2}]",
          "!nothing can be added" },
        { "{\"a\":[1]}", "[{\"op\":\"remove\",\"path\":\"/a/-\"}]", "!does not exist" },
        { "{\"a~b/c\":1}", "[{\"op\":\"replace\",\"path\":\"/a~0b~1c\",\"value\":2}]",
          "{\"a~b/c\":2}" },
        { "{\"~1\":10}", "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":10}]", "{\"~1\":10}" },
        { "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/~2\",\"value\":1}]", "!only ~0 and ~1" },
        { "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]", "!begin with a slash" },
        { "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"\",\"value\":{\"b\":2}}]", "{\"b\":2}" },
        { "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":{\"b\":2}}]", "{\"b\":2}" },
        { "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"\"}]", "!whole object" },
        { "{\"\":1}", "[{\"op\":\"replace\",\"path\":\"/\",\"value\":2}]", "{\"\":2}" },
        { "{\"a\":{\"b\":1}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]",
          "!below itself" },
        { "{\"a\":1}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a\"}]", "{\"a\":1}" },
        { "{\"a\":1}", "[{\"op\":\"adds\",\"path\":\"/a\",\"value\":1}]",
          "!patch operation 0: operation \"adds\"" },
        { "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\"}]", "!\"value\" is missing" },
        { "{\"a\":1}", "[{\"op\":\"copy\",\"path\":\"/a\"}]", "!\"from\" is missing" },
        { "{\"a\":1}", "[{\"path\":\"/a\"}]", "!needs \"op\"" },
        { "{\"a\":1}", "[5]", "!needs \"op\"" },
        { "{\"a\":1}", "{\"op\":\"add\"}", "!list of operations" },
        { "{\"a\":1}",
          "[{\"op\":\"add\",\"path\":\"/b\",\"value\":1},{\"op\":\"remove\",\"path\":\"/zz\"}]",
          "!patch operation 1" },
        { "{\"a\":null}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":null}]", "{\"a\":null}" },
        { "5", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":1}]", "!nothing can be added" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        try_patch(table[i][0], table[i][1], table[i][2]);
    }
}

/* A patch of thirty lines must not make gigabytes, nor a tree that is deeper than a stack. */
static void patch_bombs(void **state)
{
    json_t *t = js("{\"a\":[1,1,1,1,1,1,1,1],\"b\":{}}");
    json_t *patch = json_array();
    json_t *out = NULL;
    struct err err;

    (void)state;
    for (int i = 0; i < 30; i++) {
        json_array_append_new(patch, js("{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}"));
    }
    assert_int_equal(json_patch(t, patch, &out, &err), ERR_TOO_LARGE);
    json_decref(patch);
    patch = json_array();
    for (int i = 0; i < 100; i++) {
        struct buf path = { 0 };

        for (int k = 0; k <= i; k++) {
            buf_add_str(&path, "/b");
        }
        json_array_append_new(
            patch, json_pack("{s:s, s:s, s:{}}", "op", "add", "path", buf_cstr(&path), "value"));
        buf_done(&path);
    }
    assert_int_equal(json_patch(t, patch, &out, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "levels deep"));
    json_decref(patch);
    patch = json_array();
    for (int i = 0; i < 1001; i++) {
        json_array_append_new(patch, js("{\"op\":\"test\",\"path\":\"/b\",\"value\":{}}"));
    }
    assert_int_equal(json_patch(t, patch, &out, &err), ERR_TOO_LARGE);
    json_decref(patch);
    json_decref(t);
}

static void conditions(void **state)
{
    json_t *obj = js("{\"metadata\":{\"generation\":3}}");

    (void)state;
    assert_null(cond_get(obj, "Ready"));
    assert_true(cond_set(obj, "Ready", "False", "NoHost", "no host fits", 1767323045000ULL));
    assert_false(cond_set(obj, "Ready", "False", "NoHost", "no host fits", 1767323099000ULL));
    assert_string_equal(jget_str(cond_get(obj, "Ready"), "lastTransitionTime", ""),
                        "2026-01-02T03:04:05Z");
    assert_true(
        cond_set(obj, "Ready", "False", "NoHost", "two hosts do not fit", 1767323099000ULL));
    assert_string_equal(jget_str(cond_get(obj, "Ready"), "lastTransitionTime", ""),
                        "2026-01-02T03:04:05Z");
    assert_true(cond_set(obj, "Ready", "True", "Running", "ok", 1767323099000ULL));
    assert_string_equal(jget_str(cond_get(obj, "Ready"), "lastTransitionTime", ""),
                        "2026-01-02T03:04:59Z");
    assert_true(cond_set(obj, "Other", "Unknown", "X", "bad \xff text", 1767323099000ULL));
    assert_string_equal(jget_str(cond_get(obj, "Other"), "message", ""), "bad ? text");
    assert_int_equal(json_array_size(jget(obj, "status.conditions")), 2);
    assert_int_equal(jget_int(cond_get(obj, "Ready"), "observedGeneration", 0), 3);
    jset(obj, "metadata.generation", json_integer(4));
    assert_true(cond_set(obj, "Ready", "True", "Running", "ok", 1767323199000ULL));
    assert_int_equal(jget_int(cond_get(obj, "Ready"), "observedGeneration", 0), 4);
    assert_string_equal(jget_str(cond_get(obj, "Ready"), "lastTransitionTime", ""),
                        "2026-01-02T03:04:59Z");
    json_decref(obj);
}

static void label_selectors(void **state)
{
    static const struct {
        const char *selector;
        int match; /* -1: an error */
    } table[] = {
        { "", 1 },
        { "app=web", 1 },
        { "app==web", 1 },
        { "app = web", 1 },
        { "app=mail", 0 },
        { "app!=mail", 1 },
        { "app!=web", 0 },
        { "none!=x", 1 },
        { "app", 1 },
        { "none", 0 },
        { "!none", 1 },
        { "!app", 0 },
        { "app in (mail,web)", 1 },
        { "app in (mail, web )", 1 },
        { "app in(web)", 1 },
        { "app in (mail)", 0 },
        { "none in (mail)", 0 },
        { "app notin (mail)", 1 },
        { "app notin (web,x)", 0 },
        { "none notin (web)", 1 },
        { "app=web,tier=1", 1 },
        { "app=web,tier=2", 0 },
        { "app=mail,tier=1", 0 },
        { "app in (web), tier", 1 },
        { "empty=", 1 },
        { "empty in ()", 0 },
        { "app=", 0 },
        { "example.org/rack=r1", 1 },
        { "index", 0 },
        { "app=web,", 1 },
        { "app=web tier", -1 },
        { "=x", -1 },
        { "app in web", -1 },
        { "app in (web", -1 },
        { "app in (web))", -1 },
        { "!app=web", -1 },
        { ",,", -1 },
        { "app=a=b", -1 },
        { "(", -1 },
    };
    json_t *labels =
        js("{\"app\":\"web\",\"tier\":\"1\",\"empty\":\"\",\"example.org/rack\":\"r1\"}");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct err err;
        bool match = false;
        int rc = selector_match(table[i].selector, labels, &match, &err);
        int have = rc != 0 ? -1 : (match ? 1 : 0);

        if (have != table[i].match) {
            fail_msg("\"%s\": %d", table[i].selector, have);
        }
        if (rc != 0) {
            assert_int_equal(rc, ERR_BAD_REQUEST);
        }
    }
    json_decref(labels);
}

static void field_selectors(void **state)
{
    json_t *obj = js("{\"metadata\":{\"name\":\"vm1\"},\"spec\":{\"n\":5,\"b\":true},\"status\":{"
                     "\"phase\":\"Running\"}}");
    static const struct {
        const char *selector;
        int match;
    } table[] = {
        { "", 1 },
        { "metadata.name=vm1", 1 },
        { "metadata.name=vm2", 0 },
        { "status.phase!=Running", 0 },
        { "status.phase!=Stopped,metadata.name=vm1", 1 },
        { "status.host=", 1 },
        { "status.host!=", 0 },
        { "spec.n=5,spec.b=true", 1 },
        { "metadata.name", -1 },
        { "metadata.name in (a)", -1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct err err;
        bool match = false;
        int rc = field_selector_match(table[i].selector, obj, &match, &err);

        if ((rc != 0 ? -1 : (match ? 1 : 0)) != table[i].match) {
            fail_msg("\"%s\"", table[i].selector);
        }
    }
    json_decref(obj);
}

static void label_maps(void **state)
{
    json_t *labels = js("{\"rack\":\"r1\",\"zone\":\"a\"}");
    json_t *want = js("{\"rack\":\"r1\"}");

    (void)state;
    assert_true(labels_match(NULL, labels));
    assert_true(labels_match(NULL, NULL));
    assert_true(labels_match(want, labels));
    assert_false(labels_match(want, NULL));
    jset(want, "zone", json_string("b"));
    assert_false(labels_match(want, labels));
    jset(want, "zone", json_integer(1));
    assert_false(labels_match(want, labels));
    json_decref(labels);
    json_decref(want);
}

static void lossy(void **state)
{
    static const char *const table[][2] = {
        { "abc", "abc" },
        { "gr\xc3\xbc"
          "n",
          "gr\xc3\xbc"
          "n" },
        { "cut \xc3", "cut ?" },
        { "\xe2\x82", "??" },
        { "\xe2\x82\xac", "\xe2\x82\xac" },
        { "\xed\xa0\x80", "???" }, /* a surrogate */
        { "\xc0\xaf", "??" },      /* overlong */
        { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
        { "\xf5\x80\x80\x80", "????" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        json_t *v = json_string_lossy(table[i][0]);

        assert_string_equal(json_string_value(v), table[i][1]);
        json_decref(v);
    }
}

/* Both read the same, and find the same fault. */
static void same_as_jansson(const char *text, size_t len, size_t flags)
{
    json_error_t a = { .position = -7 }, b = { .position = -7 };
    json_t *quick = json_load_quick(text, len, flags, &a), *slow = json_loadb(text, len, flags, &b);

    if (!((quick == NULL && slow == NULL) || json_equal(quick, slow))) {
        fail_msg("\"%.*s\" is read in two ways", (int)len, text);
    }
    assert_true(slow != NULL || (a.position == b.position && strcmp(a.text, b.text) == 0));
    json_decref(quick);
    json_decref(slow);
}

static void quick(void **state)
{
    static const char *const texts[] = {
        "{\"a\":{\"b\":[1,-2,3,{\"c\":null}],\"d\":\"text of it\"},\"e\":true,\"f\":false}",
        " [ { } , [ ] , \"\" , 0 ] ",
        "{}",
        "[]",
        "",
        "7",
        "\"text\"",
        "{\"a\":1,\"a\":2}",
        "[01]",
        "[-0]",
        "[-]",
        "[1.5,1e3,2E-1]",
        "[999999999999999999,9223372036854775807,-9223372036854775808,9223372036854775808]",
        "[\"\\u00e9\\n\",\"\xc3\xa9\",\"\xff\"]",
        "[truefalse]",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{1:2}",
        "[1}",
        "[1] x",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    };
    struct prng r;
    char text[128];

    (void)state;
    prng_init(&r, 1);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t len = strlen(texts[i]);

        for (size_t cut = 0; cut <= len; cut++) {
            same_as_jansson(texts[i], cut, 0);
            same_as_jansson(texts[i], cut, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY);
        }
        for (unsigned k = 0; k < 3000 && len > 0; k++) {
            memcpy(text, texts[i], len);
            text[prng_below(&r, len)] = "\"{}[],:\\ 0-9e.\x80tfn"[prng_below(&r, 19)];
            same_as_jansson(text, len, k % 2 == 0 ? 0 : JSON_REJECT_DUPLICATES);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers),         cmocka_unit_test(writers),
        cmocka_unit_test(merge_patch),     cmocka_unit_test(patches),
        cmocka_unit_test(patch_bombs),     cmocka_unit_test(conditions),
        cmocka_unit_test(label_maps),      cmocka_unit_test(label_selectors),
        cmocka_unit_test(field_selectors), cmocka_unit_test(lossy),
        cmocka_unit_test(quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
