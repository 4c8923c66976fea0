/* Manifests: reading, places, limits, messages (goldens), and writing YAML. */

#include "api/manifest.h"
#include "api/valid.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/api_golden.h"

static struct manifest *parse(const char *text)
{
    struct manifest *m = NULL;
    struct err err;

    if (manifest_parse(text, strlen(text), "t", &m, &err) != 0) {
        fail_msg("%s\n%s", text, err.msg);
    }
    return m;
}

static void refused(const char *text, size_t len, const char *message)
{
    struct manifest *m = NULL;
    struct err err;

    if (manifest_parse(text, len, "t", &m, &err) == 0) {
        fail_msg("taken: %.100s", text);
    }
    if (strstr(err.msg, message) == NULL) {
        fail_msg("\"%s\" has no \"%s\"", err.msg, message);
    }
    manifest_free(m);
}

/* What the plain scalar of a field becomes. */
static void expect_scalar(const char *yaml, const char *json)
{
    char *text = mem_printf("a: %s", yaml);
    struct manifest *m = parse(text);
    char *have = json_canonical(json_object_get(manifest_doc(m, 0)->obj, "a"), NULL);

    assert_string_equal(have, json);
    free(have);
    free(text);
    manifest_free(m);
}

static void scalars(void **state)
{
    static const char *const table[][2] = {
        { "1", "1" },
        { "-1", "-1" },
        { "+7", "7" },
        { "0", "0" },
        { "-0", "0" },
        { "007", "\"007\"" },
        { "0x1f", "\"0x1f\"" },
        { "0o17", "\"0o17\"" },
        { "1_000", "\"1_000\"" },
        { "1.5", "1.5" },
        { "1e3", "1000.0" },
        { "1.", "\"1.\"" },
        { ".5", "\".5\"" },
        { "00.5", "\"00.5\"" },
        { ".inf", "\".inf\"" },
        { ".nan", "\".nan\"" },
        { "true", "true" },
        { "True", "true" },
        { "FALSE", "false" },
        { "yes", "\"yes\"" },
        { "no", "\"no\"" },
        { "on", "\"on\"" },
        { "y", "\"y\"" },
        { "~", "null" },
        { "null", "null" },
        { "", "null" },
        { "nUll", "\"nUll\"" },
        { "\"1\"", "\"1\"" },
        { "'true'", "\"true\"" },
        { "4Gi", "\"4Gi\"" },
        { "1e", "\"1e\"" },
        { "1e+", "\"1e+\"" },
        { "9223372036854775807", "9223372036854775807" },
        { "2026-01-02", "\"2026-01-02\"" },
        { "|\n  x\n  y", "\"x\\ny\"" },
        { "1:30", "\"1:30\"" },

        { "&x 5", "5" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        expect_scalar(table[i][0], table[i][1]);
    }
}

static void documents(void **state)
{
    struct manifest *m = parse("---\n# only a comment\n---\na: 1\n---\n\n---\nb: 2\n...\n");

    (void)state;
    assert_int_equal(manifest_count(m), 2);
    assert_int_equal(manifest_doc(m, 0)->line, 4);
    assert_int_equal(manifest_doc(m, 1)->line, 8);
    manifest_free(m);
    m = parse("");
    assert_int_equal(manifest_count(m), 0);
    manifest_free(m);
    m = parse("\xef\xbb\xbf"
              "a: 1\n"); /* a byte order mark */
    assert_int_equal(jget_int(manifest_doc(m, 0)->obj, "a", 0), 1);
    manifest_free(m);
}

static void lists_are_flattened(void **state)
{
    struct manifest *m = parse("apiVersion: v1\nkind: List\nitems:\n- a: 1\n- b: {c: 2}\n");
    char where[64];

    (void)state;
    assert_int_equal(manifest_count(m), 2);
    assert_true(manifest_where(m, 1, "b.c", where, sizeof(where)));
    assert_string_equal(where, "t:5:7");
    manifest_free(m);
    m = parse("{\"kind\": \"BridgeList\", \"items\": [{\"a\": 1}]}");
    assert_int_equal(manifest_count(m), 1);
    manifest_free(m);
}

static void places(void **state)
{
    struct manifest *m = parse("metadata: {name: x}\n"
                               "spec:\n"
                               "  disks:\n"
                               "  - name: root\n"
                               "    size: 1\n"
                               "  - {name: data, size: 2}\n"
                               "  perHost:\n"
                               "    node1.example.org:\n"
                               "      mtu: 9000\n");
    static const char *const table[][2] = {
        { "", "t:1:1" },
        { "metadata.name", "t:1:12" },
        { "spec.disks", "t:3:3" },
        { "spec.disks[0]", "t:4:5" },
        { "spec.disks[0].size", "t:5:5" },
        { "spec.disks[1].size", "t:6:18" },
        { "spec.disks.1.size", "t:6:18" },
        { "spec.disks[1].volume", "t:6:5" }, /* the deepest part that is there */
        { "spec.disks[7]", "t:3:3" },
        { "spec.memory", "t:2:1" },
        { "spec.perHost[node1.example.org].mtu", "t:9:7" },
        { "nothing", "t:1:1" },
    };
    char where[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_true(manifest_where(m, 0, table[i][0], where, sizeof(where)));
        assert_string_equal(where, table[i][1]);
    }
    assert_false(manifest_where(m, 1, "spec", where, sizeof(where)));
    manifest_free(m);
}

static void anchors(void **state)
{
    struct manifest *m = parse("a: &x {b: 1}\nc: *x\nd: &y 5\ne: [*y, *y]\n");
    struct buf bomb = { 0 };
    char *json = json_canonical(manifest_doc(m, 0)->obj, NULL);

    (void)state;
    assert_string_equal(json, "{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":5,\"e\":[5,5]}");
    free(json);
    manifest_free(m);
    /* Nine lines that stand for a billion values. */
    buf_add_str(&bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 9; i++) {
        buf_printf(&bomb, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    }
    refused(buf_cstr(&bomb), bomb.len, "stand for more than");
    /* Deeper and deeper. */
    buf_clear(&bomb);
    buf_add_str(&bomb, "a0: &a0 [[[[[[[[x]]]]]]]]\n");
    for (int i = 1; i < 30; i++) {
        buf_printf(&bomb, "a%d: &a%d [[[[[[[[*a%d]]]]]]]]\n", i, i, i - 1);
    }
    refused(buf_cstr(&bomb), bomb.len, "levels deep");
    buf_clear(&bomb);
    for (int i = 0; i < 70; i++) {
        buf_printf(&bomb, "a%d: &a%d x\n", i, i);
    }
    refused(buf_cstr(&bomb), bomb.len, "anchors");
    buf_done(&bomb);
    refused("a: &x [*x]", 10, "no anchor");
    m = parse("a: &x 1\n---\nb: 2\n"); /* not in the next document */
    manifest_free(m);
    refused("a: &x 1\n---\nb: *x\n", 20 - 2, "no anchor");
}

static void limits(void **state)
{
    struct buf text = { 0 };

    (void)state;
    buf_add_str(&text, "a: ");
    for (size_t i = 0; i < (1U << 20) + 10; i++) {
        buf_add_byte(&text, 'x');
    }
    refused(buf_cstr(&text), text.len, "t:1:1: a line of more than 1 MiB");
    buf_clear(&text);
    buf_add_str(&text, "a:\n");
    while (text.len < (4U << 20) + 100) {
        buf_add_str(&text,
                    "- 0123456789012345678901234567890123456789012345678901234567890123456789\n");
    }
    refused(buf_cstr(&text), text.len, "a document of more than 4 MiB");
    buf_clear(&text);
    buf_add_str(&text, "a: ");
    for (int i = 0; i < 100; i++) {
        buf_add_byte(&text, '[');
    }
    refused(buf_cstr(&text), text.len, "levels deep");
    buf_done(&text);
    refused("a: \0b", 5, "NUL byte");
    refused("a: \xff\xfe", 5, "not UTF-8");
    refused("a: \xc3", 4, "not UTF-8");
    refused("\xff\xfe"
            "a\0:\0",
            6, "t:1:4: a NUL byte"); /* UTF-16 */
}

/* JSON that libyaml does not take is taken as JSON. */
static void json_text(void **state)
{
    struct manifest *m = parse("{\"a\": \"\\ud83d\\ude00\",\n\t\"b\": 1}");
    struct err err;
    struct manifest *none = NULL;
    json_t *v = NULL;

    (void)state;
    assert_string_equal(jget_str(manifest_doc(m, 0)->obj, "a", ""), "\xf0\x9f\x98\x80");
    manifest_free(m);
    assert_int_equal(manifest_parse("{\"a\": 1,", 8, "x.json", &none, &err), ERR_BAD_REQUEST);
    assert_non_null(strstr(err.msg, "x.json: line 1, column"));
    manifest_free(none);
    assert_int_equal(json_parse_strict("{\"a\":1,\"a\":2}", 13, &v, &err), ERR_BAD_REQUEST);
    assert_int_equal(json_parse_strict("{\"a\":1} x", 9, &v, &err), ERR_BAD_REQUEST);
    assert_int_equal(json_parse_strict("", 0, &v, &err), ERR_BAD_REQUEST);
    assert_int_equal(json_parse_strict("\"a\\u0000b\"", 10, &v, &err), ERR_BAD_REQUEST);
    assert_int_equal(json_parse_strict("\"\xff\"", 3, &v, &err), ERR_BAD_REQUEST);
    assert_int_equal(json_parse_strict("1e999", 5, &v, &err), ERR_BAD_REQUEST);
    {
        char deep[400];

        memset(deep, '[', 200);
        memset(deep + 200, ']', 200);
        assert_int_equal(json_parse_strict(deep, 400, &v, &err), ERR_BAD_REQUEST);
        assert_non_null(strstr(err.msg, "levels deep"));
        memset(deep, ' ', 400);
        memcpy(deep, "\"[[[[", 5);
        memset(deep + 5, '[', 200);
        deep[205] = '"';
        assert_int_equal(json_parse_strict(deep, 400, &v, &err),
                         0); /* brackets in a string do not count */
        json_decref(v);
    }
}

/* A random value; texts from a list of traps. */
static json_t *random_value(struct prng *p, int depth)
{
    static const char *const texts[] = {
        "",
        "yes",
        "no",
        "null",
        "~",
        "1",
        "1.5",
        "0x10",
        "1e3",
        "true",
        "- a",
        "a: b",
        "#x",
        "a #b",
        " a",
        "a ",
        "a\nb",
        "a\nb\n",
        "\n",
        "a\n\n",
        "*x",
        "&x",
        "!x",
        "|",
        ">",
        "'q'",
        "\"q\"",
        "\\",
        "\t",
        "a\tb",
        "{}",
        "[]",
        "@x",
        "`x`",
        "%x",
        "10m",
        "4Gi",
        "1.2.3.4",
        "1.2.3.4:80",
        "fe80::1",
        "012",
        "1_000",
        "2026-01-02",
        "2026-01-02T03:04:05Z",
        "1:30",
        "<<",
        "=",
        "?",
        "-",
        "---",
        "...",
        "a:",
        ":a",
        "gr\xc3\xb6\xc3\x9f"
        "e",
        "\xf0\x9f\x98\x80",
        "\xc2\xa0",
        "\xe2\x80\xa8",
        "\x7f",
        "\x01",
        "a\r\nb",
        "  x\n y\n",
        "x \ny\n",
        ".inf",
        ".5",
        "0b1",
        "0o7",
        "1e",
        "e1",
        "/dev/x",
        "a,b",
        "12e03",
    };

    switch (prng_below(p, depth > 0 ? 7 : 5)) {
    case 0:
        return json_integer((json_int_t)prng_u64(p));
    case 1:
        return json_boolean(prng_below(p, 2));
    case 2:
        return prng_below(p, 4) == 0 ? json_null()
                                     : json_real((double)(int64_t)prng_u64(p) / 1024.0);
    case 5: {
        json_t *list = json_array();

        for (uint64_t n = prng_below(p, 4); n > 0; n--) {
            json_array_append_new(list, random_value(p, depth - 1));
        }
        return list;
    }
    case 6: {
        json_t *obj = json_object();

        for (uint64_t n = prng_below(p, 4); n > 0; n--) {
            const char *key = texts[1 + prng_below(p, ARRAY_LEN(texts) - 1)];

            if (!str_eq(key, "<<")) {
                json_object_set_new(obj, key, random_value(p, depth - 1));
            }
        }
        return obj;
    }
    default:
        return json_string(texts[prng_below(p, ARRAY_LEN(texts))]);
    }
}

/* What is written reads back as the same value. */
static void yaml_round_trip(void **state)
{
    struct prng p;

    (void)state;
    prng_init(&p, 7);
    for (int i = 0; i < 20000; i++) {
        json_t *v = json_pack("{s:o}", "v", random_value(&p, 4));
        char *text = json_to_yaml(v);
        struct manifest *m = NULL;
        struct err err;

        if (manifest_parse(text, strlen(text), "t", &m, &err) != 0) {
            fail_msg("%s\n%s", err.msg, text);
        }
        if (!json_equal(v, manifest_doc(m, 0)->obj)) {
            char *want = json_canonical(v, NULL);

            fail_msg("%s\nis not\n%s", text, want);
        }
        manifest_free(m);
        free(text);
        json_decref(v);
    }
}

static void yaml_order(void **state)
{
    struct manifest *m = parse(
        "status: {b: 1, a: 2}\nzeta: 1\nspec: {}\nkind: X\nmetadata: {name: x}\napiVersion: y1\n");
    char *text = json_to_yaml(manifest_doc(m, 0)->obj);

    (void)state;
    assert_string_equal(text, "apiVersion: y1\nkind: X\nmetadata:\n  name: x\nspec: {}\nstatus:\n  "
                              "a: 2\n  b: 1\nzeta: 1\n");
    free(text);
    manifest_free(m);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void remove_file(const char *dir, const char *name)
{
    char *path = mem_printf("%s/%s", dir, name);

    assert_int_equal(unlink(path), 0);
    free(path);
}

static void folders(void **state)
{
    char dir[] = "/tmp/manifest_test.XXXXXX";
    struct manifest *m = NULL;
    struct err err;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(manifest_read_path(dir, &m, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "no *.yaml"));
    write_file(dir, "b.yaml", "n: 2\n");
    write_file(dir, "a.json", "{\"n\": 1}\n");
    write_file(dir, "c.yml", "n: 3\n---\nn: 4\n");
    write_file(dir, "d.txt", "n: 5\n");
    write_file(dir, ".e.yaml", "n: 6\n");
    assert_int_equal(manifest_read_path(dir, &m, &err), 0);
    assert_int_equal(manifest_count(m), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(jget_int(manifest_doc(m, i)->obj, "n", 0), (int64_t)i + 1);
    }
    assert_true(str_ends(manifest_doc(m, 3)->source, "/c.yml"));
    manifest_free(m);
    m = NULL;
    assert_int_equal(manifest_read_path("/nowhere/at/all.yaml", &m, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nowhere/at/all.yaml"));
    assert_null(m);
    remove_file(dir, "a.json");
    remove_file(dir, "b.yaml");
    remove_file(dir, "c.yml");
    remove_file(dir, "d.txt");
    remove_file(dir, ".e.yaml");
    assert_int_equal(rmdir(dir), 0);
}

/* All that is wrong with a file, as `picket apply` says it. */
static void report(const char *path, struct buf *out)
{
    struct manifest *m = NULL;
    struct err err;

    if (manifest_read_path(path, &m, &err) != 0) {
        buf_printf(out, "%s\n", err.msg);
    }
    for (size_t i = 0; m != NULL && i < manifest_count(m); i++) {
        const json_t *obj = manifest_doc(m, i)->obj;
        const struct kind *k;
        struct problems ps = { 0 };
        char where[256];

        if (obj_kind(obj, &k, &err) != 0) {
            buf_printf(out, "%s:%u: %s\n", path, manifest_doc(m, i)->line, err.msg);
            continue;
        }
        buf_printf(out, "# %s %s\n", k->name, obj_name(obj));
        obj_validate(k, obj, false, &ps);
        for (size_t n = 0; n < ps.n; n++) {
            assert_true(manifest_where(m, i, ps.items[n].path, where, sizeof(where)));
            buf_printf(out, "%s: %s%s: %s [%s]\n", where, ps.items[n].warning ? "warning: " : "",
                       ps.items[n].path, ps.items[n].message, ps.items[n].reason);
        }
        problems_done(&ps);
    }
    manifest_free(m);
}

/* tests/golden/api/{bad,text}-*.yaml give the messages in the .ok beside them. */
static void messages(void **state)
{
    DIR *dir = opendir("tests/golden/api");
    size_t n = 0;

    (void)state;
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char path[300];
        struct buf out = { 0 };

        if (!str_ends(e->d_name, ".yaml") ||
            (!str_starts(e->d_name, "bad-") && !str_starts(e->d_name, "text-"))) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "tests/golden/api/%s", e->d_name);
        report(path, &out);
        memcpy(path + strlen(path) - 5, ".ok", 4);
        golden_check(path, buf_cstr(&out));
        buf_done(&out);
        n++;
    }
    (void)closedir(dir);
    assert_true(n >= 20);
}

/* Each file of examples/ is without a fault. */
static void examples(void **state)
{
    struct manifest *m = NULL;
    struct err err;

    (void)state;
    if (manifest_read_path("examples", &m, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    for (size_t i = 0; i < manifest_count(m); i++) {
        const struct manifest_doc *d = manifest_doc(m, i);
        const struct kind *k;
        struct problems ps = { 0 };

        if (obj_kind(d->obj, &k, &err) != 0) {
            fail_msg("%s:%u: %s", d->source, d->line, err.msg);
        }
        obj_validate(k, d->obj, false, &ps);
        for (size_t n = 0; n < ps.n; n++) {
            if (!ps.items[n].warning) {
                fail_msg("%s:%u: %s: %s", d->source, d->line, ps.items[n].path,
                         ps.items[n].message);
            }
        }
        problems_done(&ps);
    }
    manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),
        cmocka_unit_test(documents),
        cmocka_unit_test(lists_are_flattened),
        cmocka_unit_test(places),
        cmocka_unit_test(anchors),
        cmocka_unit_test(limits),
        cmocka_unit_test(json_text),
        cmocka_unit_test(yaml_round_trip),
        cmocka_unit_test(yaml_order),
        cmocka_unit_test(folders),
        cmocka_unit_test(messages),
        cmocka_unit_test(examples),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
