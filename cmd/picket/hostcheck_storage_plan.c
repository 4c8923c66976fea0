/* LVM, multipath, iSCSI. Sources: lvm.conf(5), multipath.conf(5), the open-iscsi README. */

#include "cmd/picket/hostcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* lvmlocal.conf wins over lvm.conf. */
static const char *lvm(const struct hc_host *h, const char *key, struct arena *a)
{
    const char *v = hc_setting(hc_text(h, "/etc/lvm/lvmlocal.conf"), key, a);

    return v != NULL ? v : hc_setting(hc_text(h, "/etc/lvm/lvm.conf"), key, a);
}

/* Whoever activates at boot activates a volume that runs elsewhere. */
static void judge_activation(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const char *event = lvm(h, "event_activation", a);
    const char *automatic = lvm(h, "auto_activation_volume_list", a);
    const char *list = lvm(h, "volume_list", a);

    if (list != NULL) {
        hc_add(r, HC_OK, "lvm activation",
               arena_printf(a, "volume_list = %s: nothing else can be activated by hand", list),
               NULL);
    } else if (automatic != NULL || str_eq(event, "0")) {
        hc_add(r, HC_WARN, "lvm activation",
               "volumes are not activated at boot, but a person can activate one that runs "
               "elsewhere",
               "leave /etc/lvm/lvmlocal.conf to picket-agent, or set volume_list in its section "
               "activation to the host's own groups");
    } else {
        hc_add(r, HC_FAIL, "lvm activation", "LVM activates every volume that it sees at boot",
               "in /etc/lvm/lvm.conf, section activation: auto_activation_volume_list = [ "
               "\"GROUP\" ] with the groups of this host's own disks ([] when there are none)");
    }
}

static void judge_filter(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const char *filter = lvm(h, "global_filter", a);
    const char *component = lvm(h, "multipath_component_detection", a);

    if (filter != NULL) {
        hc_add(r, HC_OK, "lvm filter", arena_printf(a, "global_filter = %s", filter), NULL);
    } else if (str_eq(component, "0")) {
        hc_add(r, HC_FAIL, "lvm filter",
               "multipath_component_detection is off and there is no global_filter: LVM may use "
               "one path instead of the map",
               "multipath_component_detection = 1 in /etc/lvm/lvm.conf, section devices");
    } else {
        hc_add(r, HC_WARN, "lvm filter",
               "no global_filter: LVM also looks into the disks of guests, and finds their groups",
               "in /etc/lvm/lvm.conf, section devices: global_filter = [ "
               "\"a|^/dev/mapper/3.*|\", \"a|^/dev/sda|\", \"r|.*|\" ] with the host's own disks");
    }
}

static void judge_devices_file(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const char *use = lvm(h, "use_devicesfile", a);
    const struct hc_file *f = hc_file(h, "/etc/lvm/devices/system.devices");

    if (str_eq(use, "1") && f->state == HC_PRESENT) {
        hc_add(r, HC_WARN, "lvm devices file",
               "use_devicesfile = 1: LUNs that are not listed there are invisible to LVM",
               "use_devicesfile = 0 in /etc/lvm/lvm.conf, section devices");
    } else if (f->state == HC_UNREADABLE) {
        hc_add(r, HC_UNKNOWN, "lvm devices file", "cannot be read", "run this as root");
    } else {
        hc_add(r, HC_OK, "lvm devices file", "is not used", NULL);
    }
}

static void judge_lvm(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    if (hc_file(h, "/etc/lvm/lvm.conf")->state != HC_PRESENT) {
        hc_add(r, HC_FAIL, "lvm", "LVM is not installed, or /etc/lvm/lvm.conf cannot be read",
               "apt-get install lvm2, and run this as root");
        return;
    }
    judge_activation(h, a, r);
    judge_filter(h, a, r);
    judge_devices_file(h, a, r);
}

static bool queues(const char *conf, struct arena *a)
{
    const char *retry = hc_setting(conf, "no_path_retry", a);
    const char *features = hc_setting(conf, "features", a);

    return str_eq(retry, "queue") ||
           (features != NULL && strstr(features, "queue_if_no_path") != NULL);
}

static void judge_multipath(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const struct hc_file *f = hc_file(h, "/etc/multipath.conf");

    if (!hc_runs(h, "multipathd")) {
        hc_add(r, HC_FAIL, "multipathd", "does not run: a LUN has one path only",
               "apt-get install multipath-tools, systemctl enable --now multipathd");
        return;
    }
    hc_add(r, HC_OK, "multipathd", "runs", NULL);
    if (f->state == HC_PRESENT && queues(f->text, a)) {
        hc_add(r, HC_FAIL, "multipath",
               "I/O waits for ever when all paths are gone (queue): stopping a guest then hangs, "
               "and so does its failover",
               "no_path_retry 12 in /etc/multipath.conf, and no queue_if_no_path in features; "
               "systemctl reload multipathd");
    } else if (f->state == HC_MISSING && hc_text(h, "/etc/multipath/conf.d")[0] == '\0') {
        hc_add(r, HC_WARN, "multipath",
               "no /etc/multipath.conf: multipathd makes maps of what it knows to be an array only",
               "a MultipathPolicy object, or defaults { find_multipaths no } with the host's own "
               "disks in blacklist");
    } else {
        hc_add(r, HC_OK, "multipath", "waits for lost paths for a limited time", NULL);
    }
}

static void judge_initiator(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const struct hc_file *f = hc_file(h, "/etc/iscsi/initiatorname.iscsi");
    const char *name = f->text == NULL ? NULL : hc_setting(f->text, "InitiatorName", a);

    if (f->state == HC_UNREADABLE) {
        hc_add(r, HC_UNKNOWN, "iscsi name", "/etc/iscsi/initiatorname.iscsi cannot be read",
               "run this as root");
    } else if (name != NULL &&
               (str_starts(name, "iqn.") || str_starts(name, "eui.") || str_starts(name, "naa."))) {
        hc_add(r, HC_OK, "iscsi name", name, NULL);
    } else {
        hc_add(r, HC_FAIL, "iscsi name",
               name != NULL ? arena_printf(a, "\"%s\" is not the name of an initiator", name)
                            : "this host has no initiator name",
               "echo \"InitiatorName=$(iscsi-iname)\" >/etc/iscsi/initiatorname.iscsi: its own on "
               "every host, never copied with an image");
    }
}

static void judge_iscsi(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const struct hc_file *f = hc_file(h, "/etc/iscsi/iscsid.conf");
    const char *startup, *replacement;

    if (f->state == HC_MISSING) {
        hc_add(r, HC_WARN, "iscsi", "open-iscsi is not installed: no LUN can be reached by iSCSI",
               "apt-get install open-iscsi");
        return;
    }
    judge_initiator(h, a, r);
    startup = hc_setting(hc_text(h, "/etc/iscsi/iscsid.conf"), "node.startup", a);
    replacement = hc_setting(hc_text(h, "/etc/iscsi/iscsid.conf"),
                             "node.session.timeo.replacement_timeout", a);
    if (str_eq(startup, "automatic")) {
        hc_add(r, HC_WARN, "iscsi login", "targets are logged in at boot, before Picket asks",
               "node.startup = manual in /etc/iscsi/iscsid.conf");
    }
    if (replacement != NULL &&
        (strtol(replacement, NULL, 10) < 0 || strtol(replacement, NULL, 10) > 20)) {
        hc_add(r, HC_WARN, "iscsi timeout",
               arena_printf(a, "a dead path holds I/O for %s s before the other one is tried",
                            replacement),
               "node.session.timeo.replacement_timeout = 5 in /etc/iscsi/iscsid.conf: with several "
               "paths multipath does the waiting");
    }
}

void hc_judge_storage(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    judge_lvm(h, a, r);
    judge_multipath(h, a, r);
    judge_iscsi(h, a, r);
}
