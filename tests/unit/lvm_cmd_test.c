/* Steps as commands, and LVM's configuration. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/lvm_cmd_codec.h"

#define CONFIG "devices/hints=\"none\" activation/monitoring=0 global/use_lvmpolld=0"
#define LVM "/usr/sbin/lvm"
#define DM "/usr/sbin/dmsetup"

static const char *const disks[] = { "/dev/mapper/3600a", "/dev/mapper/3600b", NULL };
static const struct lvm_cmd cmd = {
    .group = "vg-a", .volume = "web-1", .devices = disks, .extent = 4 << 20, .map = "3600a"
};

static void joined(const char *const *argv, struct buf *b)
{
    buf_clear(b);
    for (size_t i = 0; argv[i] != NULL; i++) {
        buf_printf(b, "%s%s", i > 0 ? "|" : "", argv[i]);
    }
}

static void every_step_has_its_command(void **state)
{
    static const struct {
        enum st_step_kind kind;
        const char *want;
    } cases[] = {
        { ST_VG_CREATE, LVM "|vgcreate|--config|" CONFIG "|--physicalextentsize|4194304b|vg-a|"
                            "/dev/mapper/3600a|/dev/mapper/3600b" },
        { ST_VG_EXTEND, LVM "|vgextend|--config|" CONFIG "|vg-a|/dev/mapper/3600c" },
        { ST_PV_RESIZE, LVM "|pvresize|--config|" CONFIG "|/dev/mapper/3600c" },
        { ST_VOL_CREATE, LVM "|lvcreate|--config|" CONFIG "|--activate|n|--zero|n|"
                             "--wipesignatures|n|--size|8388608b|--name|web-1|vg-a" },
        { ST_VOL_GROW, LVM "|lvextend|--config|" CONFIG "|--size|8388608b|vg-a/web-1" },
        { ST_VOL_REFRESH, LVM "|lvchange|--config|" CONFIG "|--refresh|vg-a/web-1" },
        { ST_VOL_ACTIVATE, LVM "|lvchange|--config|" CONFIG
                               " activation/volume_list=[\"vg-a/web-1\"]|--activate|y|vg-a/web-1" },
        { ST_VOL_FAIL_NO_PATH, DM "|message|3600a|0|fail_if_no_path" },
        { ST_VOL_WIPE_TABLE, DM "|wipe_table|--noflush|--nolockfs|vg--a-web--1" },
        { ST_VOL_DEACTIVATE, DM "|remove|vg--a-web--1" },
        { ST_VOL_REMOVE, LVM "|lvremove|--config|" CONFIG "|--force|vg-a/web-1" },
    };
    struct arena a = { 0 };
    struct buf b = { 0 };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct st_step s = { .kind = cases[i].kind,
                             .device = "/dev/mapper/3600c",
                             .size = 8 << 20 };
        const char *const *argv = NULL;

        assert_int_equal(lvm_step_argv(&s, &cmd, &a, &argv, &err), 0);
        joined(argv, &b);
        assert_string_equal(buf_cstr(&b), cases[i].want);
        assert_null(strstr(buf_cstr(&b), "|--yes"));
        assert_null(strstr(buf_cstr(&b), "|-y"));
    }
    buf_done(&b);
    arena_done(&a);
}

static void names_cannot_become_options(void **state)
{
    static const char *const bad[] = { "--yes", "", "a/b", "a b", "a\"]", "..", NULL };
    struct arena a = { 0 };
    const char *const *argv = NULL;
    struct err err;

    (void)state;
    for (size_t i = 0; bad[i] != NULL; i++) {
        const char *const devices[] = { bad[i], NULL };
        struct st_step s = { .kind = ST_VOL_ACTIVATE, .device = bad[i] };
        struct lvm_cmd c = cmd;

        c.volume = bad[i];
        assert_int_equal(lvm_step_argv(&s, &c, &a, &argv, &err), ERR_INVALID);
        c = cmd;
        c.group = bad[i];
        assert_int_equal(lvm_step_argv(&s, &c, &a, &argv, &err), ERR_INVALID);
        c = cmd;
        s.kind = ST_VG_EXTEND;
        assert_int_equal(lvm_step_argv(&s, &c, &a, &argv, &err), ERR_INVALID);
        s.kind = ST_VG_CREATE;
        c.devices = devices;
        assert_int_equal(lvm_step_argv(&s, &c, &a, &argv, &err), ERR_INVALID);
        s.kind = ST_VOL_FAIL_NO_PATH;
        c = cmd;
        c.map = bad[i];
        assert_int_equal(lvm_step_argv(&s, &c, &a, &argv, &err), ERR_INVALID);
    }
    assert_int_equal(lvm_step_argv(&(struct st_step){ .kind = ST_VG_CREATE, .device = "" },
                                   &(struct lvm_cmd){ .group = "g" }, &a, &argv, &err),
                     ERR_INVALID);
    assert_int_equal(lvm_step_argv(&(struct st_step){ .kind = ST_VOL_TELL_GUEST, .device = "" },
                                   &cmd, &a, &argv, &err),
                     ERR_UNSUPPORTED);
    arena_done(&a);
}

static void looks_take_no_lock(void **state)
{
    struct arena a = { 0 };
    struct buf b = { 0 };

    (void)state;
    for (enum lvm_look k = LVM_LOOK_VGS; k <= LVM_LOOK_LVS; k++) {
        joined(lvm_look_argv(k, &a), &b);
        assert_non_null(strstr(buf_cstr(&b), "|--nolocking|--reportformat|json|--units|b|"));
    }
    joined(lvm_look_argv(LVM_LOOK_DM, &a), &b);
    assert_string_equal(buf_cstr(&b),
                        DM "|info|-c|--noheadings|--separator|||-o|uuid,major,minor,open,suspended,"
                           "readonly,tables_loaded,name");
    buf_done(&b);
    arena_done(&a);
}

static void configuration_and_drift(void **state)
{
    static const char *const local[] = { "rootvg", "scratch" };
    static const char *const bad[] = { "a\" ]" };
    struct buf b = { 0 };
    struct err err;
    static const char shipped[] = "# a = b\nlocal {\n\t# system_id = \"\"\n}\n";
    static const char others[] = "activation {\n volume_list = [ \"@tag\" ] # by hand\n}\n";
    char *copy;

    (void)state;
    assert_int_equal(lvm_conf_render(local, 2, &b, &err), 0);
    assert_non_null(strstr(buf_cstr(&b), "    volume_list = [ \"rootvg\", \"scratch\" ]\n"));
    assert_non_null(strstr(buf_cstr(&b), "    auto_activation_volume_list = [ \"rootvg\","));
    copy = mem_strdup(buf_cstr(&b));
    assert_int_equal(lvm_conf_drift(copy, strlen(copy), buf_cstr(&b)), 0);
    assert_int_equal(lvm_conf_drift(copy, strlen(copy) - 1, buf_cstr(&b)), 13);
    assert_int_equal(lvm_conf_owner(copy, strlen(copy)), LVM_CONF_OURS);
    assert_int_equal(lvm_conf_owner(copy, strlen(copy) - 1), LVM_CONF_EDITED);
    *strstr(copy, "rootvg") = 'R';
    assert_int_equal(lvm_conf_drift(copy, strlen(copy), buf_cstr(&b)), 6);
    assert_int_equal(lvm_conf_owner(copy, strlen(copy)), LVM_CONF_EDITED);
    assert_int_equal(lvm_conf_owner("", 0), LVM_CONF_NONE);
    assert_int_equal(lvm_conf_owner(shipped, strlen(shipped)), LVM_CONF_NONE);
    assert_int_equal(lvm_conf_owner(others, strlen(others)), LVM_CONF_FOREIGN);
    assert_int_equal(lvm_conf_drift("", 0, buf_cstr(&b)), 1);
    free(copy);
    buf_clear(&b);
    assert_int_equal(lvm_conf_render(NULL, 0, &b, &err), 0);
    assert_non_null(strstr(buf_cstr(&b), "    volume_list = [ ]\n"));
    assert_int_equal(lvm_conf_render(bad, 1, &b, &err), ERR_INVALID);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_has_its_command),
        cmocka_unit_test(names_cannot_become_options),
        cmocka_unit_test(looks_take_no_lock),
        cmocka_unit_test(configuration_and_drift),
    };

    return cmocka_run_group_tests_name("lvm_cmd", tests, NULL, NULL);
}
