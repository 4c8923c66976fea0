/* `picket host check`: a host as a folder of files, broken in one way after another; each time
 * exactly the lines that this is about change. */

#include "cmd/picket/hostcheck_guard_plan.c"
#include "cmd/picket/hostcheck_io.c"
#include "cmd/picket/hostcheck_picket_plan.c"
#include "cmd/picket/hostcheck_plan.c"
#include "cmd/picket/hostcheck_storage_plan.c"
#include "cmd/picket/hostcheck_xen_plan.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdlib.h>

static char root[] = "/tmp/picket-hostcheck-XXXXXX";
static struct arena arena;
static struct hc_report report;

/* --- a folder as a host --- */

static void make_parents(const char *path)
{
    char dir[512];

    for (const char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        (void)snprintf(dir, sizeof(dir), "%.*s", (int)(p - path), path);
        assert_true(mkdir(dir, 0755) == 0 || errno == EEXIST);
    }
}

static void put(const char *path, const char *text)
{
    char full[512];
    FILE *f;

    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    make_parents(full);
    f = fopen(full, "we");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static void drop(const char *path)
{
    char full[512];

    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    assert_int_equal(unlink(full), 0);
}

static const struct {
    const char *path, *text;
} good[] = {
    { "/proc/xen/capabilities", "control_d\n" },
    { "/sys/hypervisor/type", "xen\n" },
    { "/sys/hypervisor/version/major", "4\n" },
    { "/sys/hypervisor/version/minor", "17\n" },
    { "/sys/hypervisor/version/extra", ".7\n" },
    { "/dev/xen/privcmd", "" },
    { "/dev/xen/gntdev", "" },
    { "/dev/xen/evtchn", "" },
    { "/etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\nGRUB_CMDLINE_XEN=\"dom0_mem=2G,max:2G\"\n" },
    { "/proc/sys/kernel/osrelease", "6.1.0-9-amd64\n" },
    { "/proc/modules", "xen_netback 69632 0 - Live 0x0\nbridge 311296 1 br_netfilter, Live 0x0\n" },
    { "/lib/modules/6.1.0-9-amd64/modules.builtin", "kernel/drivers/md/dm-mod.ko\n" },
    { "/lib/modules/6.1.0-9-amd64/modules.dep",
      "kernel/drivers/block/xen-blkback/xen-blkback.ko:\nkernel/drivers/md/dm-multipath.ko: "
      "kernel/drivers/md/dm-mod.ko\nkernel/drivers/scsi/iscsi_tcp.ko:\n"
      "kernel/drivers/net/bonding/bonding.ko:\nkernel/net/8021q/8021q.ko:\n" },
    { "/etc/lvm/lvm.conf", "devices {\n\t# global_filter = [ \"a|.*|\" ]\n}\n" },
    { "/etc/lvm/lvmlocal.conf",
      "devices {\n  global_filter = [ \"a|^/dev/mapper/3.*|\", \"r|.*|\" ]\n}\n"
      "activation { volume_list = [] }\n" },
    { "/etc/multipath.conf", "defaults {\n  no_path_retry 12\n}\n" },
    { "/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:abc\n" },
    { "/etc/iscsi/iscsid.conf",
      "node.startup = manual\nnode.session.timeo.replacement_timeout = 5\n" },
    { "/dev/watchdog", "" },
    { "/sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n" },
    { "/sys/class/watchdog/watchdog0/nowayout", "1\n" },
    { "/proc/sys/kernel/panic", "10\n" },
    { "/sys/class/dmi/id/product_uuid", "4c4c4544-0042-3010-8053-b7c04f4e3232\n" },
    { "/etc/picket/agent.conf",
      "name = node1\ndriver = xen\nwatchdog-socket = /run/picket/watchdog.sock\n" },
    { "/etc/picket/picketd.conf", "name = node1\n" },
    { "/proc/1/comm", "systemd\n" },
    { "/proc/20/comm", "xenstored\n" },
    { "/proc/21/comm", "xenconsoled\n" },
    { "/proc/22/comm", "multipathd\n" },
    { "/proc/23/comm", "chronyd\n" },
    { "/proc/24/comm", "picketd\n" },
    { "/proc/25/comm", "picket-agent\n" },
    { "/proc/26/comm", "picket-watchdog\n" }, /* 15 bytes, as long as comm gets */
};

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/picket-hostcheck-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        put(good[i].path, good[i].text);
    }
    return 0;
}

static int teardown(void **state)
{
    char cmd[128];

    (void)state;
    arena_done(&arena);
    (void)snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
    return system(cmd);
}

static void judge(const char *fencing)
{
    struct hc_host h;

    hc_look(root, &arena, &h);
    h.fencing = fencing;
    h.fencing_why = "rack1-pdu answers";
    hc_judge(&h, &arena, &report);
}

static const struct hc_line *line(const char *topic, enum hc_level level)
{
    for (size_t i = 0; i < report.n; i++) {
        if (str_eq(report.lines[i].topic, topic) && report.lines[i].level == level) {
            return &report.lines[i];
        }
    }
    return NULL;
}

/* What an ok line says. */
static const char *text(const char *topic)
{
    const struct hc_line *l = line(topic, HC_OK);

    return l == NULL ? "(no such line)" : l->text;
}

static void print(void)
{
    for (size_t i = 0; i < report.n; i++) {
        (void)fprintf(stderr, "%s %s: %s\n", hc_level_name(report.lines[i].level),
                      report.lines[i].topic, report.lines[i].text);
    }
}

/* The one thing that is not ok, and its words. */
static void only(const char *topic, enum hc_level level, const char *words)
{
    const struct hc_line *l;

    judge("True");
    l = line(topic, level);
    if (l == NULL || hc_count(&report, HC_OK) != report.n - 1) {
        print();
    }
    assert_non_null(l);
    assert_int_equal(hc_count(&report, HC_OK), report.n - 1);
    if (strstr(l->text, words) == NULL) {
        print();
    }
    assert_non_null(strstr(l->text, words));
    assert_non_null(l->fix);
}

/* --- tests --- */

static void test_good(void **state)
{
    (void)state;
    judge("True");
    if (hc_count(&report, HC_OK) != report.n) {
        print();
    }
    assert_true(report.n > 15);
    assert_int_equal(hc_count(&report, HC_OK), report.n);
    assert_string_equal(text("xen"), "Xen 4.17.7, and this is dom0");
    assert_non_null(strstr(text("kernel modules"), "xen_blkback, xen_netback, dm_mod"));
}

static void test_xen(void **state)
{
    (void)state;
    put("/proc/xen/capabilities", "\n");
    only("xen", HC_FAIL, "a guest of Xen");
    drop("/proc/xen/capabilities");
    only("xen", HC_FAIL, "xenfs is not mounted");
    drop("/sys/hypervisor/type");
    only("xen", HC_FAIL, "plain Linux");
}

static void test_xen_parts(void **state)
{
    (void)state;
    drop("/dev/xen/gntdev");
    only("xen devices", HC_FAIL, "/dev/xen/gntdev");
    put("/dev/xen/gntdev", "");
    drop("/proc/20/comm");
    only("xenstored", HC_FAIL, "does not run");
    put("/proc/20/comm", "xenstored\n");
    put("/etc/default/grub", "# GRUB_CMDLINE_XEN=\"dom0_mem=1G,max:1G\"\n");
    only("dom0 memory", HC_WARN, "does not fix");
    put("/etc/default/grub", "GRUB_CMDLINE_XEN_DEFAULT=\"dom0_mem=1G\"\n");
    only("dom0 memory", HC_WARN, "no max");
    put("/etc/default/grub", good[8].text);
    put("/lib/modules/6.1.0-9-amd64/modules.dep",
        "kernel/drivers/md/dm-multipath.ko:\nkernel/drivers/scsi/iscsi_tcp.ko:\n"
        "kernel/net/8021q/8021q.ko:\nkernel/drivers/net/bonding/bonding.ko:\n");
    only("kernel module", HC_FAIL, "xen_blkback");
}

static void test_rivals(void **state)
{
    (void)state;
    put("/etc/xen/auto/web.cfg", "");
    only("xendomains", HC_FAIL, "web.cfg");
    drop("/etc/xen/auto/web.cfg");
    put("/proc/30/comm", "pacemakerd\n");
    only("other managers", HC_WARN, "pacemakerd");
    drop("/proc/30/comm");
    put("/proc/30/comm", "watchdog\n");
    only("watchdog", HC_FAIL, "watchdog feeds");
    drop("/proc/30/comm");
    put("/etc/systemd/system.conf", "[Manager]\n#RuntimeWatchdogSec=off\nRuntimeWatchdogSec=20\n");
    only("watchdog", HC_FAIL, "RuntimeWatchdogSec=20");
}

static void test_lvm(void **state)
{
    (void)state;
    put("/etc/lvm/lvmlocal.conf", "devices { global_filter = [ \"r|.*|\" ] }\n");
    only("lvm activation", HC_FAIL, "at boot");
    put("/etc/lvm/lvmlocal.conf",
        "devices { global_filter = [ \"r|.*|\" ] }\nglobal { event_activation = 0 }\n");
    only("lvm activation", HC_WARN, "a person can");
    put("/etc/lvm/lvmlocal.conf", "activation { volume_list = [ \"root\" ] }\n");
    only("lvm filter", HC_WARN, "disks of guests");
    put("/etc/lvm/lvmlocal.conf", "activation { volume_list = [ \"root\" ] }\n"
                                  "devices { multipath_component_detection = 0 }\n");
    only("lvm filter", HC_FAIL, "one path");
    put("/etc/lvm/lvmlocal.conf", good[14].text);
    put("/etc/lvm/devices/system.devices", "VERSION=1.1.1\n");
    judge("True");
    assert_non_null(line("lvm devices file", HC_OK));
    put("/etc/lvm/lvm.conf", "devices {\n\tuse_devicesfile = 1\n}\n");
    only("lvm devices file", HC_WARN, "invisible");
    drop("/etc/lvm/lvm.conf");
    judge("True");
    assert_non_null(line("lvm", HC_FAIL));
}

static void test_multipath(void **state)
{
    (void)state;
    put("/etc/multipath.conf", "defaults {\n\tno_path_retry queue\n}\n");
    only("multipath", HC_FAIL, "for ever");
    put("/etc/multipath.conf", "devices {\n device {\n features \"1 queue_if_no_path\"\n }\n}\n");
    only("multipath", HC_FAIL, "for ever");
    drop("/etc/multipath.conf");
    only("multipath", HC_WARN, "no /etc/multipath.conf");
    put("/etc/multipath/conf.d/picket.conf", "\n");
    judge("True");
    assert_int_equal(hc_count(&report, HC_OK), report.n);
    drop("/proc/22/comm");
    judge("True");
    assert_non_null(line("multipathd", HC_FAIL));
}

static void test_iscsi(void **state)
{
    (void)state;
    put("/etc/iscsi/initiatorname.iscsi", "GenerateName=yes\n");
    only("iscsi name", HC_FAIL, "no initiator name");
    put("/etc/iscsi/initiatorname.iscsi", "InitiatorName=node1\n");
    only("iscsi name", HC_FAIL, "\"node1\"");
    put("/etc/iscsi/initiatorname.iscsi", good[16].text);
    put("/etc/iscsi/iscsid.conf", "node.startup = automatic\n");
    only("iscsi login", HC_WARN, "at boot");
    put("/etc/iscsi/iscsid.conf", "node.session.timeo.replacement_timeout = 120\n");
    only("iscsi timeout", HC_WARN, "120 s");
    drop("/etc/iscsi/iscsid.conf");
    judge("True");
    assert_non_null(line("iscsi", HC_WARN));
}

static void test_watchdog(void **state)
{
    (void)state;
    put("/sys/class/watchdog/watchdog0/identity", "Software Watchdog\n");
    only("watchdog", HC_WARN, "proves nothing");
    put("/sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n");
    put("/sys/class/watchdog/watchdog0/nowayout", "0\n");
    only("watchdog nowayout", HC_WARN, "can be stopped");
    drop("/dev/watchdog");
    judge("True");
    assert_non_null(line("watchdog", HC_WARN));
    put("/dev/watchdog", "");
    put("/sys/class/watchdog/watchdog0/nowayout", "1\n");
    put("/proc/sys/kernel/panic", "0\n");
    only("panic", HC_WARN, "for ever");
    put("/proc/sys/kernel/panic", "5\n");
    drop("/proc/23/comm");
    only("time", HC_WARN, "nothing keeps");
}

static void test_picket(void **state)
{
    (void)state;
    put("/sys/class/dmi/id/product_uuid", "03000200-0400-0500-0006-000700080009\n");
    only("hardware id", HC_FAIL, "many boards");
    drop("/sys/class/dmi/id/product_uuid");
    only("hardware id", HC_FAIL, "has none");
    put("/etc/picket/agent.conf", "name = node1\ndriver = xen\nhardware-id = board-7\n"
                                  "watchdog-socket = /run/picket/watchdog.sock\n");
    judge("True");
    assert_int_equal(hc_count(&report, HC_OK), report.n);
    put("/etc/picket/agent.conf", "name = node1\nhardware-id = board-7\n"
                                  "watchdog-socket = /run/picket/watchdog.sock\n");
    only("picket driver", HC_FAIL, "does not say");
    put("/etc/picket/agent.conf", "name = node1\ndriver = xen\nhardware-id = board-7\n");
    only("picket watchdog", HC_WARN, "never guarded");
    put("/etc/picket/agent.conf", good[23].text);
    put("/sys/class/dmi/id/product_uuid", good[22].text);
    drop("/proc/26/comm");
    only("picket-watchdog", HC_FAIL, "does not run");
}

/* Not to know is not ok, and not a failure of the host either. */
static void test_unknown(void **state)
{
    struct hc_host h;

    (void)state;
    judge(NULL);
    assert_non_null(line("fencing", HC_UNKNOWN));
    assert_int_equal(hc_count(&report, HC_FAIL), 0);
    judge("False");
    assert_non_null(line("fencing", HC_FAIL));

    hc_look(root, &arena, &h);
    h.processes = NULL;
    hc_judge(&h, &arena, &report);
    assert_non_null(line("xenstored", HC_UNKNOWN));
    assert_non_null(line("picket-agent", HC_UNKNOWN));
}

/* Nothing at all below the folder: no crash, and every line says what to do. */
static void test_empty(void **state)
{
    struct hc_host h;

    (void)state;
    hc_look("/nonexistent", &arena, &h);
    hc_judge(&h, &arena, &report);
    assert_true(hc_count(&report, HC_FAIL) > 3);
    for (size_t i = 0; i < report.n; i++) {
        assert_true(report.lines[i].level == HC_OK || report.lines[i].fix != NULL);
    }
}

static void test_setting(void **state)
{
    (void)state;
    assert_string_equal(hc_setting("a = 1\n#a = 2\n", "a", &arena), "1");
    assert_string_equal(hc_setting("a=1\na=\"two words\"", "a", &arena), "two words");
    assert_string_equal(hc_setting("g { a = 0 }\n", "a", &arena), "0");
    assert_string_equal(hc_setting("\tno_path_retry\t12\n", "no_path_retry", &arena), "12");
    assert_null(hc_setting("ba = 1\nab = 2\nc = a \n", "a", &arena));
    assert_null(hc_setting("", "a", &arena));
    assert_string_equal(hc_setting("a =", "a", &arena), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, setup, teardown),
        cmocka_unit_test_setup_teardown(test_xen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_xen_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rivals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lvm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_multipath, setup, teardown),
        cmocka_unit_test_setup_teardown(test_iscsi, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watchdog, setup, teardown),
        cmocka_unit_test_setup_teardown(test_picket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_setting, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
