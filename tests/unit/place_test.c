/* Golden tests of placement: tests/golden/place/NAME.in gives NAME.ok.
 * PICKET_GOLDEN=write writes the .ok files; review the difference. */

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "place_world.h"

#define GOLDEN "tests/golden/place"
#define CASES_MAX 128

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    struct buf b = { 0 };
    char chunk[4096];
    size_t n;

    if (f == NULL) {
        return NULL;
    }
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) {
        buf_add(&b, chunk, n);
    }
    (void)fclose(f);
    return buf_take(&b, NULL);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void answer(const char *text, struct buf *out)
{
    struct world w;
    struct place_plan plan;
    struct arena a = { 0 };

    world_parse(&w, text);
    if (w.capacity) {
        struct place_capacity cap;

        place_capacity(&w.in, w.failures, w.budget, &a, &cap);
        buf_printf(out, "%s: %s\n", place_verdict_name(cap.verdict), cap.message);
        buf_printf(out, "tolerates %u of %u asked\n", cap.max_tolerated, cap.failures);
    } else {
        if (w.n_fail > 0) {
            place_fail_plan(&w.in, w.fail, w.n_fail, &a, &plan);
        } else {
            place_decide(&w.in, &a, &plan);
        }
        place_format(&plan, w.all, out);
        buf_printf(out, "assigned %zu, unplaced %zu, moves %zu, stops %zu\n", plan.n_assigned,
                   plan.n_unplaced, plan.n_moves, plan.n_stops);
    }
    arena_done(&a);
    world_done(&w);
}

static void golden(void **state)
{
    const char *name = *state;
    char path[512];
    struct buf out = { 0 };
    const char *mode = getenv("PICKET_GOLDEN");
    char *text, *want;

    (void)snprintf(path, sizeof(path), GOLDEN "/%s.in", name);
    text = read_file(path);
    assert_non_null(text);
    answer(text, &out);
    (void)snprintf(path, sizeof(path), GOLDEN "/%s.ok", name);
    if (mode != NULL && strcmp(mode, "write") == 0) {
        write_file(path, buf_cstr(&out));
    }
    want = read_file(path);
    if (want == NULL) {
        fail_msg("%s is missing: run with PICKET_GOLDEN=write and review it", path);
    }
    assert_string_equal(buf_cstr(&out), want);
    free(want);
    free(text);
    buf_done(&out);
}

static void names_of_reasons(void **state)
{
    (void)state;
    assert_string_equal(place_reason_name(PLACE_ASSIGNED), "Assigned");
    assert_string_equal(place_reason_name(PLACE_R_FAILED), "Failed");
    assert_string_equal(place_verdict_name(PLACE_NOT_PROVED), "NotProved");
}

static void an_empty_cluster(void **state)
{
    struct place_input in = { 0 };
    struct arena a = { 0 };
    struct place_capacity cap;
    struct place_plan plan;
    struct buf out = { 0 };

    (void)state;
    place_decide(&in, &a, &plan);
    place_format(&plan, true, &out);
    assert_string_equal(buf_cstr(&out), "before\nbecause\nafter\n");
    place_capacity(&in, 1, 0, &a, &cap);
    assert_int_equal(cap.verdict, PLACE_PROVED);
    assert_int_equal(cap.max_tolerated, 0);
    buf_done(&out);
    arena_done(&a);
}

static jmp_buf jump;

static void on_check(const char *expr, const char *file, int line)
{
    (void)expr;
    (void)file;
    (void)line;
    longjmp(jump, 1);
}

/* An index that points nowhere is our own mistake and must not be read through. */
static void a_wild_index_is_caught(void **state)
{
    static const uint32_t wild[] = { 7 };
    struct arena a = { 0 };
    struct place_plan plan;
    struct world w;
    volatile bool caught = false;

    (void)state;
    world_parse(&w, "host h\nvm v\n");
    w.vms[0].hosts = wild;
    w.vms[0].n_hosts = 1;
    check_set_handler(on_check);
    if (setjmp(jump) == 0) {
        place_decide(&w.in, &a, &plan);
    } else {
        caught = true;
    }
    check_set_handler(NULL);
    assert_true(caught);
    arena_done(&a);
    world_done(&w);
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const struct CMUnitTest *)x)->name, ((const struct CMUnitTest *)y)->name);
}

int main(void)
{
    static struct CMUnitTest tests[CASES_MAX];
    size_t n = 0;
    DIR *d = opendir(GOLDEN);
    int rc;

    if (d == NULL) {
        (void)fprintf(stderr, "%s: run me from the top of the tree\n", GOLDEN);
        return 1;
    }
    for (const struct dirent *e; (e = readdir(d)) != NULL && n + 4 < CASES_MAX;) {
        if (str_ends(e->d_name, ".in")) {
            char *name = mem_strndup(e->d_name, strlen(e->d_name) - 3);

            tests[n++] = (struct CMUnitTest){ name, golden, NULL, NULL, name };
        }
    }
    (void)closedir(d);
    qsort(tests, n, sizeof(*tests), by_name);
    if (n == 0) {
        (void)fprintf(stderr, "%s holds no cases\n", GOLDEN);
        return 1;
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(names_of_reasons);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(an_empty_cluster);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_wild_index_is_caught);
    rc = _cmocka_run_group_tests("place", tests, n, NULL, NULL);
    for (size_t i = 0; i + 3 < n; i++) {
        free(tests[i].initial_state);
    }
    return rc;
}
