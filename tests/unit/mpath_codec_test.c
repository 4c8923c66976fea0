/* multipathd's maps, and its configuration from objects (tests/golden/storage/multipath.conf). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/mpath_codec.h"
#include "tests/unit/storage_fixture.h"

#define GOLDEN "../../golden/storage/multipath.conf" /* seen from the fixtures */

static void reads_maps(void **state)
{
    struct arena a = { 0 };
    struct mpath_maps m;
    const struct mpath_map *one;
    struct err err;
    size_t len = 0;
    char *text = storage_fixture("multipath-maps.json", &len);

    (void)state;
    assert_int_equal(mpath_parse_maps(text, len, &a, &m, &err), 0);
    free(text);
    assert_int_equal(m.n, 2);
    one = mpath_find(&m, "36000000000000000e00000000ab0001");
    assert_non_null(one);
    assert_int_equal(one->n_paths, 2);
    assert_int_equal(one->usable, 1);
    assert_string_equal(one->dm, "dm-0");
    assert_string_equal(one->paths[1].device, "sdd");
    assert_string_equal(one->paths[1].checker, "faulty");
    assert_false(one->queues_for_ever);
    one = mpath_find(&m, "36000000000000000e00000000ab0002");
    assert_int_equal(one->usable, 0);
    assert_true(one->queues_for_ever);
    assert_null(mpath_find(&m, "3"));
    arena_done(&a);
}

static void refuses_what_is_no_map(void **state)
{
    static const char *const cases[] = {
        "",
        "[]",
        "{\"maps\":{}}",
        "{\"maps\":[{}]}",
        "{\"maps\":[7]}",
        "{\"maps\":[{\"name\":\"a\",\"uuid\":\"b\",\"sysfs\":\"c\",\"queueing\":\"off\"}]}",
        "{\"maps\":[{\"name\":\"a\",\"uuid\":\"b\",\"sysfs\":\"c\",\"queueing\":\"off\","
        "\"path_groups\":[{\"paths\":[{\"dev\":\"sda\"}]}]}]}",
    };
    struct arena a = { 0 };
    struct mpath_maps m;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(mpath_parse_maps(cases[i], strlen(cases[i]), &a, &m, &err), ERR_CORRUPT);
    }
    assert_int_equal(mpath_parse_maps("{\"maps\":[]}", 11, &a, &m, &err), 0);
    assert_int_equal(m.n, 0);
    arena_done(&a);
}

static json_t *policy(const char *name, const char *spec)
{
    json_t *p = json_pack("{s{ss}so}", "metadata", "name", name, "spec", json_loads(spec, 0, NULL));

    assert_non_null(p);
    return p;
}

static void renders_policies(void **state)
{
    json_t *p[] = {
        policy("tgt", "{\"match\":{\"vendor\":\"IET\",\"product\":\"VIRTUAL-DISK\"}}"),
        policy("book", "{\"match\":{\"vendor\":\"DELL\",\"product\":\"MD3000i\"},"
                       "\"productBlacklist\":\"Universal Xport\",\"grouping\":\"GroupByPrio\","
                       "\"prio\":\"rdac\",\"checker\":\"rdac\",\"hardwareHandler\":\"1 rdac\","
                       "\"selector\":\"round-robin 0\",\"failback\":\"Immediate\","
                       "\"noPathRetry\":30,\"rrMinIO\":100,\"rrWeight\":\"Priorities\","
                       "\"pollingInterval\":\"2s\",\"fastIOFailTimeout\":\"5s\","
                       "\"devLossTimeout\":\"2m\"}"),
        policy("fails-at-once", "{\"match\":{\"vendor\":\"X\"},\"noPathRetry\":0,"
                                "\"failback\":\"90s\",\"grouping\":\"Failover\"}"),
    };
    char *want = storage_fixture(GOLDEN, NULL);
    struct buf out = { 0 };
    struct err err;

    (void)state;
    assert_int_equal(mpath_conf_render((const json_t *const *)p, ARRAY_LEN(p), &out, &err), 0);
    assert_string_equal(buf_cstr(&out), want);
    assert_null(strstr(want, "queue\n"));
    free(want);
    buf_done(&out);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        json_decref(p[i]);
    }
}

static void refuses_what_would_break_the_file(void **state)
{
    static const char *const specs[][2] = {
        { "{\"match\":{\"vendor\":\"a\\\"b\"}}", "vendor" },
        { "{\"match\":{\"vendor\":\"a\\nb\"}}", "vendor" },
        { "{\"match\":{},\"noPathRetry\":-1}", "noPathRetry" },
        { "{\"match\":{},\"noPathRetry\":1000000}", "noPathRetry" },
        { "{\"match\":{},\"grouping\":\"Some\"}", "grouping" },
        { "{\"match\":{},\"failback\":\"Never\"}", "failback" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        json_t *p = policy("bad", specs[i][0]);
        struct buf out = { 0 };
        struct err err = { 0 };

        assert_int_equal(mpath_conf_render((const json_t *const[]){ p }, 1, &out, &err),
                         ERR_INVALID);
        assert_non_null(strstr(err.msg, specs[i][1]));
        assert_non_null(strstr(err.msg, "bad"));
        buf_done(&out);
        json_decref(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_maps),
        cmocka_unit_test(refuses_what_is_no_map),
        cmocka_unit_test(renders_policies),
        cmocka_unit_test(refuses_what_would_break_the_file),
    };

    return cmocka_run_group_tests_name("mpath_codec", tests, NULL, NULL);
}
