/* From VirtualMachine to libxl's configuration.  tests/golden/xen/NAME.json is the object,
 * NAME.conf what libxl_domain_config_to_json says of the result (PICKET_GOLDEN=write makes it). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "reconciler/vm_live.h"
#include "reconciler/xen_map.h"
#include "tests/unit/api_golden.h"

#define DISKS_MAX 8

struct rig {
    json_t *object;
    struct drv_disk disks[DISKS_MAX];
    char *paths[DISKS_MAX];
    struct xen_map_in in;
    libxl_domain_config conf;
    struct err err;
};

static char *disk_path(const json_t *d)
{
    if (jget(d, "volume") != NULL) {
        return mem_printf("/dev/vg0/%s", jget_str(d, "volume", ""));
    }
    if (jget(d, "volumeGroup") != NULL) {
        return mem_printf("/dev/%s/vm-%s", jget_str(d, "volumeGroup", ""), jget_str(d, "name", ""));
    }
    return mem_strdup(jget_str(d, "path", jget_str(d, "cdrom.iso", NULL)));
}

static int map(struct rig *r)
{
    const json_t *disks = jget(r->object, "spec.disks");

    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *d = json_array_get(disks, i);

        r->disks[i] = (struct drv_disk){
            .name = jget_str(d, "name", ""),
            .target = jget_str(d, "target", ""),
            .read_only = jget_bool(d, "readOnly", false),
        };
        r->paths[i] = disk_path(d);
    }
    r->in.vm = jget_str(r->object, "metadata.name", "");
    r->in.uid = jget_str(r->object, "metadata.uid", "");
    r->in.object = r->object;
    r->in.disks = r->disks;
    r->in.paths = (const char *const *)r->paths;
    r->in.n_disks = json_array_size(disks);
    r->in.incarnation = 7;
    r->in.token = 42;
    r->in.since_wall_ms = 1790000000000;
    return xen_map(&r->in, &r->conf, &r->err);
}

static void done(struct rig *r)
{
    libxl_domain_config_dispose(&r->conf);
    json_decref(r->object);
    for (size_t i = 0; i < DISKS_MAX; i++) {
        free(r->paths[i]);
    }
}

static void golden(const char *name, const char *password)
{
    struct rig r = { .in = { .vnc_password = password } };
    char *path = mem_printf("tests/golden/xen/%s.json", name);
    char *text;

    r.object = json_load_file(path, 0, NULL);
    assert_non_null(r.object);
    assert_int_equal(map(&r), 0);
    text = libxl_domain_config_to_json(NULL, &r.conf);
    assert_non_null(text);
    memcpy(strrchr(path, '.'), ".conf", sizeof(".conf"));
    golden_check(path, text);
    free(text);
    free(path);
    done(&r);
}

static void test_pv(void **state)
{
    (void)state;
    golden("pv", NULL);
}

static void test_pvh(void **state)
{
    (void)state;
    golden("pvh", "secret");
}

static void test_hvm(void **state)
{
    (void)state;
    golden("hvm", NULL);
}

static void test_uuid(void **state)
{
    (void)state;
    golden("uuid", NULL);
}

/* What cannot be had is refused, with the field's name. */
static void refuse(const char *spec, int code, const char *word)
{
    struct rig r = { 0 };

    r.object = json_pack("{s:{s:s, s:s}, s:o}", "metadata", "name", "vm1", "uid", "u1", "spec",
                         json_loads(spec, 0, NULL));
    assert_non_null(r.object);
    assert_int_equal(map(&r), code);
    if (strstr(r.err.msg, word) == NULL) {
        fail_msg("\"%s\" is not in: %s", word, r.err.msg);
    }
    done(&r);
}

static void test_refused(void **state)
{
    (void)state;
#define PV "\"virt\": \"PV\", \"memory\": \"64Mi\""
    refuse("{\"virt\": \"VM\", \"memory\": \"64Mi\"}", ERR_INVALID, "spec.virt");
    refuse("{\"virt\": \"PV\"}", ERR_INVALID, "spec.memory");
    refuse("{" PV ", \"cpu\": {\"pin\": \"9-3\"}}", ERR_INVALID, "spec.cpu.pin");
    refuse("{" PV ", \"cpu\": {\"pin\": \"all,^all\"}}", ERR_INVALID, "spec.cpu.pin");
    refuse("{" PV ", \"cpu\": {\"cpuid\": \"host,nosuchbit=1\"}}", ERR_INVALID, "nosuchbit");
    refuse("{" PV ", \"disks\": [{\"name\": \"d\", \"target\": \"xvda\"}]}", ERR_INVALID, "disk d");
    refuse("{" PV ", \"disks\": [{\"name\": \"d\", \"path\": \"/x\"}]}", ERR_INVALID, "target");
    refuse("{" PV ", \"nics\": [{\"bridge\": \"b\", \"mac\": \"00:16:3e:00:00\"}]}", ERR_INVALID,
           "nics[0].mac");
    refuse("{" PV ", \"nics\": [{\"bridge\": \"b\", \"rate\": \"0Mb/s\"}]}", ERR_INVALID,
           "nics[0].rate");
    refuse("{" PV ", \"nics\": [{\"bridge\": \"b\", \"vlan\": 5}]}", ERR_UNSUPPORTED, "vlan");
    refuse("{" PV ", \"graphics\": {\"type\": \"VNC\", \"passwordRef\": {\"name\": \"s\"}}}",
           ERR_UNSUPPORTED, "passwordRef");
    refuse("{" PV ", \"extra\": {\"nosuch\": 1}}", ERR_UNSUPPORTED, "extra.nosuch");
    refuse("{" PV ", \"extra\": {\"hpet\": true}}", ERR_INVALID, "extra.hpet is for HVM");
    refuse("{" PV ", \"extra\": {\"localtime\": \"maybe\"}}", ERR_INVALID, "true or false");
    refuse("{" PV ", \"extra\": {\"event_channels\": -1}}", ERR_INVALID, "whole number");
    refuse("{" PV ", \"extra\": {\"tsc_mode\": \"odd\"}}", ERR_INVALID, "tsc_mode");
    refuse("{" PV ", \"extra\": {\"pci\": [\"03:20.0\"]}}", ERR_INVALID, "pci");
    refuse("{" PV ", \"extra\": {\"pci\": \"03:00.0\"}}", ERR_INVALID, "pci");
    refuse("{" PV ", \"extra\": {\"pool\": 3}}", ERR_INVALID, "a string");
    refuse("{" PV ", \"extra\": {\"device_model_args\": [\"a\", 3]}}", ERR_INVALID, "list");
}

static void test_uuid_of_text(void **state)
{
    libxl_uuid a, b, c;

    (void)state;
    xen_map_uuid(NULL, "not a uuid", &a);
    xen_map_uuid(NULL, "not a uuid", &b);
    xen_map_uuid(NULL, "another", &c);
    assert_int_equal(libxl_uuid_compare(&a, &b), 0);
    assert_int_not_equal(libxl_uuid_compare(&a, &c), 0);
    assert_false(libxl_uuid_is_nil(&a));
    assert_int_equal(a.uuid[6] & 0xf0, 0x40);
}

static void test_parsers(void **state)
{
    libxl_bitmap bits;
    libxl_device_pci pci;
    libxl_mac mac, other;
    uint64_t rate;

    (void)state;
    libxl_bitmap_init(&bits);
    assert_true(xen_parse_cpus("1,8-9", 64, &bits));
    assert_int_equal(bits.size, 8);
    assert_int_equal(bits.map[0], 0x02);
    assert_int_equal(bits.map[1], 0x03);
    assert_true(xen_parse_cpus("all,^0", 8, &bits));
    assert_int_equal(bits.map[0], 0xfe);
    assert_false(xen_parse_cpus("", 8, &bits));
    assert_false(xen_parse_cpus("1,", 8, &bits));
    assert_false(xen_parse_cpus("1;2", 8, &bits));
    assert_false(xen_parse_cpus("99999999", 8, &bits));
    assert_false(xen_parse_cpus("64", 64, &bits));
    libxl_bitmap_dispose(&bits);

    assert_true(xen_parse_pci("0001:0a:1f.7", &pci));
    assert_int_equal(pci.domain, 1);
    assert_int_equal(pci.bus, 10);
    assert_int_equal(pci.dev, 31);
    assert_int_equal(pci.func, 7);
    assert_false(xen_parse_pci("0a:1f.8", &pci));
    assert_false(xen_parse_pci("0a-1f.7", &pci));
    assert_false(xen_parse_pci("", &pci));

    assert_true(xen_parse_rate("3MB/s", &rate));
    assert_int_equal(rate, 3000000);
    assert_true(xen_parse_rate("8Kb/s", &rate));
    assert_int_equal(rate, 1000);
    assert_false(xen_parse_rate("8", &rate));
    assert_false(xen_parse_rate("Mb/s", &rate));
    assert_false(xen_parse_rate("12345678901Mb/s", &rate));

    assert_true(xen_parse_mac("AA:bb:0c:1D:02:ff", &mac));
    assert_int_equal(mac[0], 0xaa);
    assert_int_equal(mac[5], 0xff);
    assert_false(xen_parse_mac("AA:bb:0c:1D:02:f", &mac));
    assert_false(xen_parse_mac("AA-bb-0c-1D-02-ff", &mac));
    assert_false(xen_parse_mac("AA:bb:0c:1D:02:fg", &mac));

    xen_make_mac("u1", 0, &mac);
    xen_make_mac("u1", 0, &other);
    assert_memory_equal(mac, other, 6);
    assert_memory_equal(mac, "\x00\x16\x3e", 3);
    xen_make_mac("u1", 1, &other);
    assert_true(memcmp(mac, other, 6) != 0);
}

static void test_not_live(void **state)
{
    static const struct {
        const char *spec;
        bool logdirty;
        const char *word; /* NULL: it can */
    } cases[] = {
        { "{\"virt\": \"PV\"}", false, "PV" },
        { "{\"virt\": \"PV\"}", true, NULL },
        { "{\"virt\": \"PVH\"}", false, NULL },
        { "{\"virt\": \"PVH\", \"cpu\": {\"policy\": \"Host\"}}", false, "policy" },
        { "{\"disks\": [{\"cdrom\": {}}]}", false, NULL },
        { "{\"disks\": [{\"cdrom\": {\"iso\": \"/x\"}}]}", false, "CD-ROM" },
        { "{\"extra\": {\"pci\": [\"03:00.0\"]}}", false, "PCI" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *o = json_pack("{s:o}", "spec", json_loads(cases[i].spec, 0, NULL));
        const char *why = vm_not_live(o, cases[i].logdirty);

        if (cases[i].word == NULL) {
            assert_null(why);
        } else {
            assert_non_null(why);
            assert_non_null(strstr(why, cases[i].word));
        }
        json_decref(o);
    }
}

static void test_reasons(void **state)
{
    (void)state;
    assert_int_equal(xen_reason(LIBXL_SHUTDOWN_REASON_POWEROFF, false), DOM_REASON_POWEROFF);
    assert_int_equal(xen_reason(LIBXL_SHUTDOWN_REASON_POWEROFF, true), DOM_REASON_SHUTDOWN);
    assert_int_equal(xen_reason(LIBXL_SHUTDOWN_REASON_REBOOT, true), DOM_REASON_REBOOT);
    assert_int_equal(xen_reason(LIBXL_SHUTDOWN_REASON_CRASH, true), DOM_REASON_CRASH);
    assert_int_equal(xen_reason(LIBXL_SHUTDOWN_REASON_WATCHDOG, false), DOM_REASON_CRASH);
    assert_int_equal(xen_reason(LIBXL_SHUTDOWN_REASON_UNKNOWN, false), DOM_REASON_VANISHED);
    assert_string_equal(xen_reason_text(LIBXL_SHUTDOWN_REASON_CRASH), "the guest crashed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pv),      cmocka_unit_test(test_pvh),
        cmocka_unit_test(test_hvm),     cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_uuid_of_text),
        cmocka_unit_test(test_parsers), cmocka_unit_test(test_not_live),
        cmocka_unit_test(test_reasons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
