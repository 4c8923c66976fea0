/* Xen, its kernel modules, dom0's memory, and who else might start guests. */

#include "cmd/picket/hostcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void judge_dom0(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const struct hc_file *caps = hc_file(h, "/proc/xen/capabilities");
    const char *type = hc_text(h, "/sys/hypervisor/type");

    if (caps->state == HC_PRESENT && strstr(caps->text, "control_d") != NULL) {
        hc_add(r, HC_OK, "xen",
               arena_printf(a, "Xen %s.%s%s, and this is dom0",
                            hc_text(h, "/sys/hypervisor/version/major"),
                            hc_text(h, "/sys/hypervisor/version/minor"),
                            hc_text(h, "/sys/hypervisor/version/extra")),
               NULL);
    } else if (caps->state == HC_UNREADABLE) {
        hc_add(r, HC_UNKNOWN, "xen", "/proc/xen/capabilities cannot be read", "run this as root");
    } else if (caps->state == HC_PRESENT) {
        hc_add(r, HC_FAIL, "xen", "this is a guest of Xen, not dom0",
               "run picket-agent on the physical host");
    } else if (str_eq(type, "xen")) {
        hc_add(r, HC_FAIL, "xen", "Xen runs, but xenfs is not mounted on /proc/xen",
               "systemctl enable --now proc-xen.mount (package xen-utils-common)");
    } else {
        hc_add(r, HC_FAIL, "xen", "the hypervisor does not run: this is a plain Linux",
               "apt-get install xen-system-amd64, then reboot into \"Debian GNU/Linux, with Xen "
               "hypervisor\"");
    }
}

static void judge_devices(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    static const char *const devices[] = { "privcmd", "gntdev", "evtchn" };
    const char *missing = "";

    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        if (hc_file(h, arena_printf(a, "/dev/xen/%s", devices[i]))->state == HC_MISSING) {
            missing = arena_printf(a, "%s /dev/xen/%s", missing, devices[i]);
        }
    }
    if (missing[0] == '\0') {
        hc_add(r, HC_OK, "xen devices", "privcmd, gntdev and evtchn are there", NULL);
    } else {
        hc_add(r, HC_FAIL, "xen devices", arena_printf(a, "missing:%s", missing),
               "modprobe -a xen-privcmd xen-gntdev xen-evtchn, and put them into "
               "/etc/modules-load.d/xen.conf");
    }
}

static void judge_services(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    static const struct {
        const char *process, *what, *fix;
    } services[] = {
        { "xenstored", "xenstored", "systemctl enable --now xen (package xen-utils-common)" },
        { "xenconsoled", "xenconsoled", "systemctl enable --now xen (package xen-utils-common)" },
    };

    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        if (h->processes == NULL) {
            hc_add(r, HC_UNKNOWN, services[i].what, "the processes could not be listed",
                   "run this as root");
        } else if (hc_runs(h, services[i].process)) {
            hc_add(r, HC_OK, services[i].what, "runs", NULL);
        } else {
            hc_add(r, HC_FAIL, services[i].what,
                   arena_printf(a, "%s does not run: no guest can be started", services[i].process),
                   services[i].fix);
        }
    }
}

/* Without a fixed size dom0 is ballooned down whenever a guest starts: slow, and it fails. */
static void judge_memory(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const char *grub = arena_printf(a, "%s\n%s", hc_text(h, "/etc/default/grub"),
                                    hc_text(h, "/etc/default/grub.d/xen.cfg"));
    const char *line = hc_setting(grub, "GRUB_CMDLINE_XEN", a);
    const char *more = hc_setting(grub, "GRUB_CMDLINE_XEN_DEFAULT", a);
    const char *all = arena_printf(a, "%s %s", line == NULL ? "" : line, more == NULL ? "" : more);

    if (hc_file(h, "/etc/default/grub")->state != HC_PRESENT) {
        hc_add(r, HC_UNKNOWN, "dom0 memory", "/etc/default/grub is not there or cannot be read",
               "see to it that Xen's command line has dom0_mem=SIZE,max:SIZE");
    } else if (strstr(all, "dom0_mem=") == NULL) {
        hc_add(r, HC_WARN, "dom0 memory", "Xen's command line does not fix the memory of dom0",
               "GRUB_CMDLINE_XEN=\"dom0_mem=2G,max:2G\" in /etc/default/grub, update-grub, reboot; "
               "the Cluster's capacity.dom0Memory has to be at least that");
    } else if (strstr(all, "max:") == NULL) {
        hc_add(r, HC_WARN, "dom0 memory", "dom0_mem has no max: dom0 keeps tables for all memory",
               "GRUB_CMDLINE_XEN=\"dom0_mem=2G,max:2G\" in /etc/default/grub, update-grub, reboot");
    } else {
        hc_add(r, HC_OK, "dom0 memory", "is fixed on Xen's command line", NULL);
    }
}

static void judge_modules(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    static const struct {
        const char *name;
        enum hc_level level; /* when there is no such module */
        const char *why;
    } modules[] = {
        { "xen_blkback", HC_FAIL, "disks of guests" },
        { "xen_netback", HC_FAIL, "network cards of guests" },
        { "dm_mod", HC_FAIL, "logical volumes" },
        { "dm_multipath", HC_WARN, "several paths to a LUN" },
        { "iscsi_tcp", HC_WARN, "iSCSI" },
        { "bridge", HC_FAIL, "bridges" },
        { "bonding", HC_WARN, "bonds" },
        { "8021q", HC_WARN, "VLANs" },
    };
    const char *good = "";

    for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
        if (hc_module(h, modules[i].name) != HC_MODULE_NONE) {
            good = arena_printf(a, "%s%s%s", good, good[0] == '\0' ? "" : ", ", modules[i].name);
            continue;
        }
        hc_add(r, modules[i].level, "kernel module",
               arena_printf(a, "%s is not there: no %s", modules[i].name, modules[i].why),
               "apt-get install linux-image-amd64 (the cloud kernel has no such modules), reboot");
    }
    if (good[0] != '\0') {
        hc_add(r, HC_OK, "kernel modules", good, NULL);
    }
}

static void judge_others(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    static const char *const rivals[] = { "pacemakerd", "corosync", "libvirtd", "heartbeat" };
    const char *autos = hc_text(h, "/etc/xen/auto");

    if (autos[0] != '\0') {
        hc_add(r, HC_FAIL, "xendomains",
               arena_printf(a, "/etc/xen/auto starts guests at boot: %.*s",
                            (int)strcspn(autos, "\n"), autos),
               "systemctl disable xendomains, and move the files away: a guest that somebody else "
               "starts may run twice");
    } else {
        hc_add(r, HC_OK, "xendomains", "starts nothing at boot", NULL);
    }
    for (size_t i = 0; i < sizeof(rivals) / sizeof(rivals[0]); i++) {
        if (hc_runs(h, rivals[i])) {
            hc_add(r, HC_WARN, "other managers",
                   arena_printf(a, "%s runs here; two managers of one guest start it twice",
                                rivals[i]),
                   "give each guest and each volume to one of them only, or stop it");
        }
    }
}

static void judge_bridge_filter(const struct hc_host *h, struct hc_report *r)
{
    if (strtol(hc_text(h, "/proc/sys/net/bridge/bridge-nf-call-iptables"), NULL, 10) == 1) {
        hc_add(r, HC_WARN, "bridges", "traffic of guests passes the firewall of the host",
               "net.bridge.bridge-nf-call-iptables = 0 in /etc/sysctl.d, unless it is meant so");
    }
}

void hc_judge_xen(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    judge_dom0(h, a, r);
    judge_devices(h, a, r);
    judge_services(h, a, r);
    judge_memory(h, a, r);
    judge_modules(h, a, r);
    judge_others(h, a, r);
    judge_bridge_filter(h, r);
}
