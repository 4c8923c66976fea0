/* Reports of LVM 2.03.16 and util-linux 2.38.1 as they were printed (tests/fixtures/storage), and
 * what is not a report. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/dm_codec.h"
#include "storage/lvm_codec.h"
#include "storage/sig_codec.h"
#include "tests/unit/storage_fixture.h"

static void read_file(const char *name, struct arena *a, struct lvm_report *r)
{
    size_t len = 0;
    char *text = storage_fixture(name, &len);
    struct err err = { 0 };

    if (lvm_report_parse(text, len, a, r, &err) != 0) {
        fail_msg("%s: %s", name, err.msg);
    }
    free(text);
}

static void reads_groups_and_disks(void **state)
{
    struct arena a = { 0 };
    struct lvm_report r = { 0 };
    const struct lvm_vg *g;
    const struct lvm_pv *p;

    (void)state;
    read_file("vgs.json", &a, &r);
    read_file("pvs.json", &a, &r);
    assert_int_equal(r.n_vgs, 1);
    assert_int_equal(r.n_pvs, 2);
    g = lvm_find_vg(&r, "picketvg");
    assert_non_null(g);
    assert_int_equal(g->size, 125829120);
    assert_int_equal(g->free, 113246208);
    assert_int_equal(g->extent, 4194304);
    assert_int_equal(g->missing, 0);
    assert_true(g->writable && !g->exported && !g->shared);
    assert_null(lvm_find_vg(&r, "other"));
    p = lvm_find_pv(&r, "/dev/loop1");
    assert_non_null(p);
    assert_string_equal(p->vg_uuid, g->uuid);
    assert_int_equal(p->dev_size, 67108864);
    assert_false(p->missing || p->duplicate);
    arena_done(&a);
}

static void a_missing_disk_shows(void **state)
{
    struct arena a = { 0 };
    struct lvm_report r = { 0 };

    (void)state;
    read_file("vgs-partial.json", &a, &r);
    read_file("pvs-partial.json", &a, &r);
    assert_int_equal(r.vgs[0].missing, 1);
    assert_int_equal(r.n_pvs, 2);
    assert_false(r.pvs[0].missing);
    assert_true(r.pvs[1].missing);
    assert_string_equal(r.pvs[1].device, "[unknown]");
    arena_done(&a);
}

/* Recorded where the kernel has no device-mapper: LVM could not look. */
static void what_lvm_could_not_look_at_is_unknown(void **state)
{
    struct arena a = { 0 };
    struct lvm_report r = { 0 };
    const struct lvm_lv *v;

    (void)state;
    read_file("lvs.json", &a, &r);
    v = lvm_find_lv(&r, "picketvg", "web");
    assert_non_null(v);
    assert_int_equal(v->size, 12582912);
    assert_int_equal(v->type, '-');
    assert_true(v->writable);
    assert_int_equal(v->active, LVM_UNKNOWN);
    assert_int_equal(v->open, LVM_UNKNOWN);
    assert_null(lvm_find_lv(&r, "other", "web"));
    arena_done(&a);
}

static struct lvm_lv one_lv(struct arena *a, const char *attr, const char *active, const char *open)
{
    struct lvm_report r = { 0 };
    struct err err = { 0 };
    const char *text =
        arena_printf(a,
                     "{\"report\":[{\"lv\":[{\"lv_uuid\":\"u\",\"lv_name\":\"n\",\"vg_uuid\":\"g\","
                     "\"vg_name\":\"v\",\"lv_size\":\"1\",\"lv_attr\":\"%s\",\"lv_active\":\"%s\","
                     "\"lv_device_open\":\"%s\"}]}]}",
                     attr, active, open);

    assert_int_equal(lvm_report_parse(text, strlen(text), a, &r, &err), 0);
    assert_int_equal(r.n_lvs, 1);
    return r.lvs[0];
}

static void activity_has_three_values(void **state)
{
    struct arena a = { 0 };
    struct lvm_lv v = one_lv(&a, "-wi-ao----", "active", "open");

    (void)state;
    assert_int_equal(v.active, LVM_YES);
    assert_int_equal(v.open, LVM_YES);
    v = one_lv(&a, "-wi-------", "", "");
    assert_int_equal(v.active, LVM_NO);
    assert_int_equal(v.open, LVM_NO);
    v = one_lv(&a, "-wi-a-----", "active", "");
    assert_int_equal(v.active, LVM_YES);
    assert_int_equal(v.open, LVM_NO);
    v = one_lv(&a, "-wi-s-----", "", "");
    assert_int_equal(v.active, LVM_UNKNOWN);
    v = one_lv(&a, "-wi-------", "unknown", "unknown");
    assert_int_equal(v.active, LVM_UNKNOWN);
    arena_done(&a);
}

static void refuses_what_is_no_report(void **state)
{
    static const char *const cases[][2] = {
        { "", "line" },
        { "[]", "no vg, pv or lv" },
        { "{\"report\":[]}", "no vg, pv or lv" },
        { "{\"report\":[{\"vg\":{}}]}", "not a list" },
        { "{\"report\":[{\"vg\":[{}]}]}", "vg 0: column vg_uuid is not there" },
        { "{\"report\":[{\"vg\":[7]}]}", "column vg_uuid" },
        { "{\"report\":[{\"lv\":[{\"lv_attr\":\"-\"}]}]}", "lv_attr is too short" },
        { "{\"report\":[{\"vg\":[{\"vg_uuid\":\"u\",\"vg_name\":\"n\",\"vg_size\":\"-1\"}]}]}",
          "vg_size is not a whole number" },
    };
    struct arena a = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct lvm_report r = { 0 };
        struct err err = { 0 };

        assert_int_equal(lvm_report_parse(cases[i][0], strlen(cases[i][0]), &a, &r, &err),
                         ERR_CORRUPT);
        if (strstr(err.msg, cases[i][1]) == NULL) {
            fail_msg("%s: says \"%s\"", cases[i][0], err.msg);
        }
    }
    arena_done(&a);
}

static void names_and_device_names(void **state)
{
    struct arena a = { 0 };
    char *s;

    (void)state;
    assert_true(lvm_name_ok("web-root"));
    assert_true(lvm_name_ok("a"));
    assert_false(lvm_name_ok(""));
    assert_false(lvm_name_ok("-x"));
    assert_false(lvm_name_ok(".."));
    assert_false(lvm_name_ok("a b"));
    assert_false(lvm_name_ok("a/b"));
    assert_false(lvm_name_ok("snapshot1"));
    assert_false(lvm_name_ok("x_tmeta"));
    assert_string_equal(lvm_mapper_path(&a, "vg-a", "web-root-1"),
                        "/dev/mapper/vg--a-web--root--1");
    s = lvm_dm_uuid(&a, "w6MD87-81kg-Ej4E-v202-opyR-m01A-lvp0dO",
                    "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaab");
    assert_string_equal(s, "LVM-w6MD8781kgEj4Ev202opyRm01Alvp0dO"
                           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    assert_null(lvm_dm_uuid(&a, "short", "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaab"));
    assert_null(lvm_dm_uuid(&a, "w6MD87-81kg-Ej4E-v202-opyR-m01A-lvp0dOx", "x"));
    arena_done(&a);
}

static void reads_device_mapper(void **state)
{
    static const char list[] = "LVM-abc|253|1|1|Active|Writeable|Live|vg-web\n"
                               "mpath-36000000000000000e00000000001|253|0|3|Suspended|Read-only|"
                               "Both|odd|name\n"
                               "|253|2|0|Active|Writeable|None|empty\n";
    static const char *const wrong[] = { "x\n",
                                         "u|253|1|1|Active|Writeable|Live|\n",
                                         "u|253|-1|1|Active|Writeable|Live|n\n",
                                         "u|253|1|1|Aktiv|Writeable|Live|n\n",
                                         "u|253|1|1|Active|Writeable|?|n\n",
                                         "u|253|99999999999|1|Active|Writeable|Live|n\n" };
    struct arena a = { 0 };
    struct dm_devices d;
    struct err err;

    (void)state;
    assert_int_equal(dm_parse(list, sizeof(list) - 1, &a, &d, &err), 0);
    assert_int_equal(d.n, 3);
    assert_non_null(dm_find(&d, "LVM-abc"));
    assert_int_equal(dm_find(&d, "LVM-abc")->open, 1);
    assert_true(dm_find(&d, "LVM-abc")->live);
    assert_true(d.list[1].suspended && d.list[1].read_only && d.list[1].live);
    assert_string_equal(d.list[1].name, "odd|name");
    assert_false(d.list[2].live);
    assert_null(dm_find(&d, "LVM-other"));
    assert_null(dm_find(&d, NULL));
    assert_int_equal(dm_parse("No devices found\n", 17, &a, &d, &err), 0);
    assert_int_equal(d.n, 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(dm_parse(wrong[i], strlen(wrong[i]), &a, &d, &err), ERR_CORRUPT);
    }
    assert_int_equal(dm_parse("a\0b", 3, &a, &d, &err), ERR_CORRUPT);
    arena_done(&a);
}

static enum sig_blank sig_file(struct arena *a, const char *name, struct sig_verdict *v)
{
    size_t len = 0;
    char *text = storage_fixture(name, &len);
    struct err err = { 0 };

    assert_int_equal(sig_parse_wipefs(text, len, a, v, &err), 0);
    free(text);
    return v->blank;
}

static void empty_has_to_be_proved(void **state)
{
    struct arena a = { 0 };
    struct sig_verdict lvm, ext, none, v;
    struct err err;

    (void)state;
    assert_int_equal(sig_file(&a, "wipefs-lvm.json", &lvm), SIG_LVM);
    assert_int_equal(sig_file(&a, "wipefs-ext.json", &ext), SIG_FOREIGN);
    assert_string_equal(ext.what, "ext2 at 0x438");
    assert_int_equal(sig_file(&a, "wipefs-empty.json", &none), SIG_EMPTY);
    assert_int_equal(sig_parse_wipefs("", 0, &a, &v, &err), ERR_CORRUPT);
    assert_int_equal(v.blank, SIG_UNKNOWN);
    assert_int_equal(sig_parse_wipefs("{}", 2, &a, &v, &err), ERR_CORRUPT);

    assert_int_equal(sig_verdict_of(&a, &none, true, UINT64_MAX).blank, SIG_EMPTY);
    assert_int_equal(sig_verdict_of(&a, &none, false, UINT64_MAX).blank, SIG_UNKNOWN);
    assert_int_equal(sig_verdict_of(&a, NULL, true, UINT64_MAX).blank, SIG_UNKNOWN);
    v = sig_verdict_of(&a, &none, true, 512);
    assert_int_equal(v.blank, SIG_FOREIGN);
    assert_string_equal(v.what, "data without a known signature at byte 512");
    assert_int_equal(sig_verdict_of(&a, NULL, true, 512).blank, SIG_FOREIGN);
    assert_int_equal(sig_verdict_of(&a, &ext, false, 0).blank, SIG_FOREIGN);
    assert_int_equal(sig_verdict_of(&a, &lvm, true, 512).blank, SIG_LVM);
    arena_done(&a);
}

static void finds_the_first_data(void **state)
{
    uint8_t b[4096] = { 0 };

    (void)state;
    assert_int_equal(sig_first_data(b, sizeof(b)), sizeof(b));
    b[4095] = 1;
    assert_int_equal(sig_first_data(b, sizeof(b)), 4095);
    b[7] = 0x80;
    assert_int_equal(sig_first_data(b, sizeof(b)), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_groups_and_disks),
        cmocka_unit_test(a_missing_disk_shows),
        cmocka_unit_test(what_lvm_could_not_look_at_is_unknown),
        cmocka_unit_test(activity_has_three_values),
        cmocka_unit_test(refuses_what_is_no_report),
        cmocka_unit_test(names_and_device_names),
        cmocka_unit_test(reads_device_mapper),
        cmocka_unit_test(empty_has_to_be_proved),
        cmocka_unit_test(finds_the_first_data),
    };

    return cmocka_run_group_tests_name("lvm_codec", tests, NULL, NULL);
}
