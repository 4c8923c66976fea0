/* `picket why` and `picket status` as golden texts: tests/golden/cli/{why,status}/NAME.json is the
 * input, NAME.ok what is printed.  PICKET_GOLDEN=write makes the .ok files; a missing one fails. */

#include "cmd/picket/status_plan.c"
#include "cmd/picket/why_plan.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOW_MS 1767225600000ULL /* 2026-01-01T00:00:00Z */

static void read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    char chunk[4096];
    size_t n;

    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) {
        buf_add(out, chunk, n);
    }
    (void)fclose(f);
}

static void compare(const char *path, struct buf *got)
{
    const char *mode = getenv("PICKET_GOLDEN");
    struct buf want = { 0 };

    if (str_eq(mode, "write")) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_int_equal(fwrite(got->data, 1, got->len, f), got->len);
        (void)fclose(f);
        return;
    }
    if (access(path, F_OK) != 0) {
        fail_msg("%s is missing; PICKET_GOLDEN=write makes it, review it then", path);
    }
    read_file(path, &want);
    assert_string_equal(buf_cstr(got), buf_cstr(&want));
    buf_done(&want);
}

static void why_text(const json_t *in, struct buf *out)
{
    struct why_in w = { .kind = kind_find(jget_str(in, "obj.kind", "")),
                        .obj = json_object_get(in, "obj"),
                        .hosts = json_object_get(in, "hosts"),
                        .fencings = json_object_get(in, "fencings"),
                        .missing = json_object_get(in, "missing"),
                        .now_wall_ms = NOW_MS };

    assert_non_null(w.kind);
    why_print(&w, out);
}

static void status_text(const json_t *in, struct buf *out)
{
    struct status_in s = { .members = json_object_get(in, "members"),
                           .hosts = json_object_get(in, "hosts"),
                           .vms = json_object_get(in, "vms"),
                           .fencings = json_object_get(in, "fencings"),
                           .devices = json_object_get(in, "devices"),
                           .clusters = json_object_get(in, "clusters"),
                           .why_not = jget_str(in, "why_not", NULL),
                           .now_wall_ms = NOW_MS };
    json_t *summary = status_summary(&s);

    assert_non_null(summary);
    status_print(&s, summary, out);
    json_decref(summary);
}

static void run_folder(const char *folder, void (*text)(const json_t *in, struct buf *out))
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    size_t n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        char path[600];
        struct buf out = { 0 };
        json_error_t why;
        json_t *in;

        if (!str_ends(e->d_name, ".json")) {
            continue;
        }
        n++;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        in = json_load_file(path, 0, &why);
        if (in == NULL) {
            fail_msg("%s:%d: %s", path, why.line, why.text);
        }
        text(in, &out);
        (void)snprintf(path, sizeof(path), "%s/%.*s.ok", folder, (int)strlen(e->d_name) - 5,
                       e->d_name);
        compare(path, &out);
        buf_done(&out);
        json_decref(in);
    }
    (void)closedir(dir);
    assert_true(n > 0);
}

static void why_tells_reasons_and_what_to_do(void **state)
{
    (void)state;
    run_folder("tests/golden/cli/why", why_text);
}

static void status_shows_what_is_wrong_first(void **state)
{
    (void)state;
    run_folder("tests/golden/cli/status", status_text);
}

static void every_placement_reason_that_blocks_has_advice(void **state)
{
    static const char *const blocking[] = { "NoCapacity",        "NoSuitableHost",
                                            "WaitingForVM",      "DependencyCycle",
                                            "WaitingForFencing", "WaitingForHost",
                                            "LockQuarantined",   "WaitingForPreemption" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(blocking); i++) {
        assert_non_null(why_advice(blocking[i]));
    }
    assert_null(why_advice("Assigned"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(why_tells_reasons_and_what_to_do),
        cmocka_unit_test(status_shows_what_is_wrong_first),
        cmocka_unit_test(every_placement_reason_that_blocks_has_advice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
