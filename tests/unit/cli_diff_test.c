/* The unified diff of `picket diff`, compared with the one of diffutils' algorithm by its effect:
 * applying the hunks to a gives b. */

#include "cmd/picket/text_diff.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"

static void expect(const char *a, const char *b, const char *want)
{
    struct buf out = { 0 };
    bool differs = text_diff("a", a, "b", b, 3, false, &out);

    assert_int_equal(differs, *want != 0);
    assert_string_equal(buf_cstr(&out), want);
    buf_done(&out);
}

static void equal_texts_print_nothing(void **state)
{
    (void)state;
    expect("", "", "");
    expect("x\ny\n", "x\ny\n", "");
}

static void a_new_object_is_all_plus(void **state)
{
    (void)state;
    expect("", "a\nb\n", "--- a\n+++ b\n@@ -0,0 +1,2 @@\n+a\n+b\n");
    expect("a\n", "", "--- a\n+++ b\n@@ -1,1 +0,0 @@\n-a\n");
}

static void a_change_has_three_lines_around(void **state)
{
    (void)state;
    expect("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nX\n6\n7\n8\n9\n",
           "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+X\n 6\n 7\n 8\n");
}

static void far_changes_are_two_hunks(void **state)
{
    (void)state;
    expect("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "X\n2\n3\n4\n5\n6\n7\n8\n9\nY\n",
           "--- a\n+++ b\n@@ -1,4 +1,4 @@\n-1\n+X\n 2\n 3\n 4\n"
           "@@ -7,4 +7,4 @@\n 7\n 8\n 9\n-10\n+Y\n");
    expect("1\n2\n3\n4\n5\n6\n7\n8\n", "X\n2\n3\n4\n5\n6\n7\nY\n",
           "--- a\n+++ b\n@@ -1,8 +1,8 @@\n-1\n+X\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+Y\n");
}

static void a_text_without_its_last_newline(void **state)
{
    (void)state;
    expect("a\nb", "a\nc", "--- a\n+++ b\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
}

static void colors_only_when_asked(void **state)
{
    struct buf out = { 0 };

    (void)state;
    assert_true(text_diff("a", "x\n", "b", "y\n", 3, true, &out));
    assert_non_null(strstr(buf_cstr(&out), "\033[31m-x\033[0m\n\033[32m+y\033[0m\n"));
    buf_done(&out);
}

/* Rebuild b from a and the hunks. */
static void patch(const char *a, const char *diff, struct buf *out)
{
    struct lines la = split(a);
    struct lines ld = split(diff);
    size_t at = 0;

    for (size_t i = 2; i < ld.n; i++) {
        const char *s = ld.at[i];
        size_t start, count;

        if (s[0] == '@') {
            assert_int_equal(sscanf(s, "@@ -%zu,%zu", &start, &count), 2);
            start -= count > 0 ? 1 : 0;
            while (at < start) {
                buf_printf(out, "%.*s\n", (int)la.len[at], la.at[at]);
                at++;
            }
            continue;
        }
        if (s[0] != '+') {
            assert_int_equal(la.len[at], ld.len[i] - 1);
            assert_memory_equal(la.at[at], s + 1, la.len[at]);
            at++;
        }
        if (s[0] != '-') {
            buf_printf(out, "%.*s\n", (int)ld.len[i] - 1, s + 1);
        }
    }
    for (; at < la.n; at++) {
        buf_printf(out, "%.*s\n", (int)la.len[at], la.at[at]);
    }
    lines_free(&la);
    lines_free(&ld);
}

static void random_texts_patch_to_each_other(void **state)
{
    struct prng p;

    (void)state;
    prng_init(&p, 7);
    for (int round = 0; round < 2000; round++) {
        struct buf a = { 0 }, b = { 0 }, diff = { 0 }, got = { 0 };

        for (uint64_t i = prng_below(&p, 20); i > 0; i--) {
            buf_printf(&a, "%d\n", (int)prng_below(&p, 5));
        }
        for (uint64_t i = prng_below(&p, 20); i > 0; i--) {
            buf_printf(&b, "%d\n", (int)prng_below(&p, 5));
        }
        if (text_diff("a", buf_cstr(&a), "b", buf_cstr(&b), prng_below(&p, 4), false, &diff)) {
            patch(buf_cstr(&a), buf_cstr(&diff), &got);
            assert_string_equal(buf_cstr(&got), buf_cstr(&b));
        } else {
            assert_string_equal(buf_cstr(&a), buf_cstr(&b));
        }
        buf_done(&a);
        buf_done(&b);
        buf_done(&diff);
        buf_done(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_texts_print_nothing),
        cmocka_unit_test(a_new_object_is_all_plus),
        cmocka_unit_test(a_change_has_three_lines_around),
        cmocka_unit_test(far_changes_are_two_hunks),
        cmocka_unit_test(a_text_without_its_last_newline),
        cmocka_unit_test(colors_only_when_asked),
        cmocka_unit_test(random_texts_patch_to_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
