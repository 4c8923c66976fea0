/* The field tables themselves: nothing missing, nothing contradictory. */

#include "api/kind.h"
#include "api/valid.h"
#include "api/valid_walk.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_fields(const struct field *fields, const char *where, bool spec);

/* The default has to be good for its own field. */
static void check_default(const struct field *f, const char *where)
{
    struct problems ps = { 0 };
    struct walk w = { .ps = &ps };
    json_error_t e;
    json_t *v = json_loads(f->deflt, JSON_DECODE_ANY, &e);

    if (v == NULL) {
        fail_msg("%s.%s: the default %s is not JSON", where, f->name, f->deflt);
    }
    if ((f->flags & FF_LIST_KEY) == 0 && f->type != F_OBJECT) {
        walk_value(&w, f, v);
    }
    for (size_t i = 0; i < ps.n; i++) {
        fail_msg("%s.%s: default: %s", where, f->name, ps.items[i].message);
    }
    problems_done(&ps);
    json_decref(v);
}

static void check_field(const struct field *f, const char *where, bool spec)
{
    char below[256];

    (void)snprintf(below, sizeof(below), "%s.%s", where, f->name);
    if (f->text == NULL || strlen(f->text) < 4) {
        fail_msg("%s: no text", below);
    }
    if (!str_ends(f->text, ".") && !str_ends(f->text, ".)")) {
        fail_msg("%s: \"%s\" is no sentence", below, f->text);
    }
    if (f->type == F_ENUM && (f->values == NULL || f->values[0] == NULL)) {
        fail_msg("%s: no values", below);
    }
    if (f->ref != NULL && (kind_find(f->ref) == NULL || !str_eq(kind_find(f->ref)->name, f->ref))) {
        fail_msg("%s: no kind %s", below, f->ref);
    }
    if (f->ref != NULL && f->type != F_NAME && f->type != F_MAP) {
        fail_msg("%s: a reference that is no name", below);
    }
    if ((f->flags & FF_REQUIRED) != 0 && f->deflt != NULL) {
        fail_msg("%s: required, and with a default", below);
    }
    if (f->deflt != NULL) {
        check_default(f, where);
    }
    if (f->type == F_OBJECT) {
        check_fields(f->fields, below, spec);
    } else if (f->type == F_LIST || f->type == F_MAP) {
        assert_non_null(f->fields);
        assert_null(f->fields[1].name);
        check_field(&f->fields[0], below, spec);
        if (spec && f->type == F_LIST && f->max == 0) {
            fail_msg("%s: a list without limit", below);
        }
        if (spec && f->type == F_MAP && f->max == 0) {
            fail_msg("%s: a map without limit", below);
        }
    } else if (spec && f->type == F_STRING && f->check == NULL && f->max == 0) {
        fail_msg("%s: text without limit or check", below);
    }
}

static void check_fields(const struct field *fields, const char *where, bool spec)
{
    size_t keys = 0;

    assert_non_null(fields);
    for (const struct field *f = fields; f->name != NULL; f++) {
        check_field(f, where, spec);
        keys += (f->flags & FF_LIST_KEY) != 0 ? 1U : 0U;
        for (const struct field *g = fields; g != f; g++) {
            if (str_eq(g->name, f->name)) {
                fail_msg("%s.%s: twice", where, f->name);
            }
        }
    }
    assert_true(keys <= 1);
}

static void tables(void **state)
{
    (void)state;
    assert_int_equal(kind_count(), 25);
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);

        assert_true(strlen(k->text) > 10);
        assert_true(k->spec != NULL || k->top != NULL);
        if (k->spec != NULL) {
            check_fields(k->spec, k->name, !k->read_only);
        }
        if (k->top != NULL) {
            check_fields(k->top, k->name, true);
        }
        check_fields(k->status, k->name, false);
        assert_non_null(field_find(k->status, "conditions"));
        assert_non_null(field_find(k->status, "observedGeneration"));
    }
}

/* `path` up to `end` is one of a column: ".status.size". */
static void column_path(const struct kind *k, const char *title, const char *path, const char *end)
{
    const struct field *fields = str_starts(path, ".spec.") ? k->spec : k->status;
    const char *p = strchr(path + 1, '.');
    char step[64];

    while (p != NULL && p < end) {
        const char *next = strpbrk(p + 1, ".|");
        const struct field *f;
        size_t n;

        next = next == NULL || next > end ? end : next;
        n = (size_t)(next - p) - 1;
        assert_true(n < sizeof(step));
        memcpy(step, p + 1, n);
        step[n] = 0;
        p = next;
        if (str_eq(step, "*")) {
            continue;
        }
        f = field_find(fields, step);
        if (f == NULL) {
            fail_msg("%s: column %s: no field %s", k->name, title, step);
        }
        fields = f->type == F_LIST ? f->fields[0].fields : f->fields;
    }
}

/* A column shows something that exists, or the first that does: ".status.size|.spec.size". */
static void columns(void **state)
{
    (void)state;
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);

        assert_string_equal(k->columns[0].path, ".metadata.name");
        for (const struct column *c = k->columns; c->title != NULL; c++) {
            const char *p = strchr(c->path, '.');

            while (p != NULL) {
                const char *end = strchrnul(p, '|');

                if (!str_starts(p, ".metadata")) {
                    column_path(k, c->title, p, end);
                }
                p = *end == '|' ? end + 1 : NULL;
            }
        }
    }
}

static void names(void **state)
{
    (void)state;
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);

        assert_ptr_equal(kind_find(k->name), k);
        assert_ptr_equal(kind_find(k->plural), k);
        assert_ptr_equal(kind_find(k->singular), k);
        assert_ptr_equal(kind_by_plural(k->plural), k);
        for (size_t n = 0; k->short_names[n] != NULL; n++) {
            assert_ptr_equal(kind_find(k->short_names[n]), k);
        }
        for (const char *p = k->plural; *p != 0; p++) {
            assert_true(islower((unsigned char)*p));
        }
    }
    assert_ptr_equal(kind_find("VM"), kind_find("virtualmachines"));
    assert_null(kind_find("node"));
    assert_null(kind_find(""));
    assert_null(kind_by_plural("vm"));
}

static void suggestions(void **state)
{
    static const char *const words[] = {
        "memory", "memoryMax", "memoryMin", "vcpus", "nics", NULL
    };

    (void)state;
    assert_string_equal(word_suggest_in("memoryMx", words), "memoryMax");
    assert_string_equal(word_suggest_in("MEMORY", words), "memory");
    assert_string_equal(word_suggest_in("memroy", words), "memory");
    assert_string_equal(word_suggest_in("vcpu", words), "vcpus");
    assert_string_equal(word_suggest_in("nisc", words), "nics");
    assert_null(word_suggest_in("disks", words));
    assert_null(word_suggest_in("", words));
    assert_null(word_suggest_in(
        "a very long word that nobody could have meant to write there at all", words));
}

/* A spec with everything wrong in every field gives problems, never a crash. */
static void nonsense(void **state)
{
    static const char *const values[] = { "null",        "true",       "-1",   "1.5",
                                          "\"\"",        "\"x y\\n\"", "[]",   "{}",
                                          "[[]]",        "[null]",     "[{}]", "{\"a\": null}",
                                          "{\"a\": {}}", "{\"\": []}" };

    (void)state;
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);

        for (size_t n = 0; n < ARRAY_LEN(values); n++) {
            json_error_t e;
            json_t *v = json_loads(values[n], JSON_DECODE_ANY, &e);
            json_t *spec = json_object();
            json_t *obj = json_pack("{s:o, s:O, s:O}", "spec", spec, "status", v, "metadata", v);
            struct problems ps = { 0 };

            for (const struct field *f = k->spec; f != NULL && f->name != NULL; f++) {
                json_object_set(spec, f->name, v);
            }
            for (const struct field *f = k->top; f != NULL && f->name != NULL; f++) {
                json_object_set(obj, f->name, v);
            }
            obj_validate(k, obj, true, &ps);
            assert_true(problems_bad(&ps));
            problems_done(&ps);
            obj_default(k, obj);
            obj_prune(k, obj);
            obj_seal_fields(k, obj);
            obj_redact(k, obj);
            json_decref(obj);
            json_decref(v);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),      cmocka_unit_test(columns),  cmocka_unit_test(names),
        cmocka_unit_test(suggestions), cmocka_unit_test(nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
