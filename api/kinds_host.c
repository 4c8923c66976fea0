#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

#include <string.h>

/* clang-format off */
static const struct field level_fields[] = {
    { .name = "devices", LIST_OF(NAME_OF("FenceDevice"), .text = "A fence device."), .flags = FF_REQUIRED, .min = 1, .max = 16,
      .text = "All of them have to succeed (two power supplies on two PDUs: both)." },
    FIELD_END
};

static const struct field watchdog_fields[] = {
    { .name = "type", ENUM_OF("Auto", "Hardware", "Xen", "Softdog", "None"), .deflt = "\"Auto\"",
      .text = "Auto prefers a hardware watchdog, then Xen's. Softdog resets the host but proves nothing." },
    { .name = "device", .type = F_STRING, .check = check_dev_path, .text = "The watchdog device; without it /dev/watchdog0." },
    { .name = "timeout", .type = F_DURATION, .min = SEC, .max = 10 * MINUTE,
      .text = "Timeout wanted of it; without it the cluster's timing.watchdog." },
    FIELD_END
};

static const struct field iscsi_fields[] = {
    { .name = "initiatorName", .type = F_STRING, .check = check_iqn,
      .text = "The host's own IQN. Without it the one in /etc/iscsi/initiatorname.iscsi is used and shown in the status." },
    FIELD_END
};

static const struct field host_spec[] = {
    { .name = "addresses", LIST_OF(.type = F_ADDRESS, .text = "An address of the host."), .flags = FF_REQUIRED, .min = 1, .max = 8,
      .text = "One address per link, the preferred one first. A lease is renewed over all of them." },
    { .name = "migrationAddress", .type = F_ADDRESS, .text = "Where live migrations come in; without it the first address." },
    { .name = "fencing", LIST_OF(OBJECT_OF(level_fields), .text = "A level."), .max = 8,
      .text = "Levels, tried in this order until one proves that the host is off." },
    { .name = "unschedulable", .type = F_BOOL, .deflt = "false", .text = "No further VM is placed here; those that run stay (cordon)." },
    { .name = "maintenance", .type = F_BOOL, .deflt = "false", .text = "VMs are moved away, and none comes (drain). Status.drain shows how far it is." },
    { .name = "paused", .type = F_BOOL, .deflt = "false", .text = "The agent of this host changes nothing on it while this is true." },
    { .name = "watchdog", OBJECT_OF(watchdog_fields), .deflt = "{}", .text = "The watchdog that ends this host when its lease ends." },
    { .name = "memoryReserve", .type = F_SIZE, .max = TIB, .text = "Memory left to dom0 and Xen here; without it the cluster's capacity.dom0Memory." },
    { .name = "onShutdown", ENUM_OF("Migrate", "Stop", "Freeze"), .deflt = "\"Migrate\"",
      .text = "When the host is shut down or rebooted: move its VMs away, stop them, or leave them assigned to it until it is back." },
    { .name = "drainTimeout", .type = F_DURATION, .deflt = "\"10m\"", .min = SEC, .max = DAY,
      .text = "Longest time that a shutdown or maintenance waits for the VMs to move; a shutdown then stops what is left, for maintenance see onDrainTimeout." },
    { .name = "onDrainTimeout", ENUM_OF("Keep", "Stop"), .deflt = "\"Keep\"",
      .text = "What could not leave within drainTimeout in maintenance goes on and is named (Keep), or is shut down and waits for another host (Stop)." },
    { .name = "iscsi", OBJECT_OF(iscsi_fields), .text = "The host as an iSCSI initiator." },
    FIELD_END
};

static const struct field lease_fields[] = {
    { .name = "renewed", .type = F_STRING, .text = "When the last renewal came in." },
    { .name = "leaseMs", .type = F_INT, .text = "Length of the lease in milliseconds." },
    { .name = "onQuorumLoss", .type = F_STRING, .text = "What the host does when it ends." },
    { .name = "watchdog", .type = F_STRING, .text = "Hardware, Xen, Softdog, Dev or None, as the host itself says." },
    { .name = "watchdogMs", .type = F_INT, .text = "The watchdog's timeout as read back." },
    { .name = "guarded", .type = F_BOOL, .text = "Whether the watchdog is armed." },
    { .name = "via", LIST_OF(.type = F_STRING, .text = "An address."), .text = "Links over which renewals come." },
    FIELD_END
};

static const struct field host_capacity[] = {
    { .name = "memory", .type = F_SIZE, .text = "Memory of the machine." },
    { .name = "memoryFree", .type = F_SIZE, .text = "Memory that no domain has." },
    { .name = "cpus", .type = F_INT, .text = "Physical CPUs (threads)." },
    { .name = "vcpus", .type = F_INT, .text = "Virtual CPUs of all guests." },
    { .name = "liveMigration", .type = F_BOOL, .text = "Guests can leave and come while they run." },
    { .name = "liveMigrationPV", .type = F_BOOL, .text = "PV guests too (the hypervisor has shadow paging)." },
    FIELD_END
};

static const struct field host_versions[] = {
    { .name = "picket", .type = F_STRING, .text = "Of the agent." },
    { .name = "xen", .type = F_STRING, .text = "Of the hypervisor." },
    { .name = "kernel", .type = F_STRING, .text = "Of dom0's kernel." },
    FIELD_END
};

static const struct field host_drain[] = {
    { .name = "since", .type = F_STRING, .text = "When it began." },
    { .name = "until", .type = F_STRING, .text = "When spec.drainTimeout is over." },
    { .name = "total", .type = F_INT, .text = "VMs that were here when it began, or came meanwhile." },
    { .name = "remaining", LIST_OF(.type = F_STRING, .text = "A VM."), .text = "VMs that are still here." },
    { .name = "blockedBy", LIST_OF(.type = F_STRING, .text = "VM: reason."), .text = "Those that cannot move, and why." },
    FIELD_END
};

static const struct field host_status[] = {
    STATUS_FIELDS,
    { .name = "incarnation", .type = F_INT, .text = "The number of this boot of this host, cluster-wide monotonic." },
    { .name = "incarnationState", ENUM_OF("None", "Live", "Lost", "Fencing", "Fenced"), .text = "State of that incarnation." },
    { .name = "bootID", .type = F_STRING, .text = "The kernel's boot id." },
    { .name = "hardwareID", .type = F_STRING, .text = "The machine's id from its firmware." },
    { .name = "fencing", .type = F_STRING, .text = "The open Fencing, if there is one." },
    { .name = "lease", OBJECT_OF(lease_fields), .text = "The lease." },
    { .name = "capacity", OBJECT_OF(host_capacity), .text = "What the agent measured." },
    { .name = "cpu", .type = F_ANY, .text = "CPU model and features." },
    { .name = "guests", .type = F_INT, .text = "Domains beside dom0." },
    { .name = "margins", .type = F_ANY, .text = "How near renewals and feeds came to their limits." },
    { .name = "versions", OBJECT_OF(host_versions), .text = "Software." },
    { .name = "appliedRevision", .type = F_INT, .text = "The newest revision that the agent has seen." },
    { .name = "iscsi", OBJECT_OF(iscsi_fields), .text = "The host as an iSCSI initiator." },
    { .name = "drain", OBJECT_OF(host_drain), .text = "Progress of maintenance." },
    FIELD_END
};

static const struct column host_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "State", .path = ".status.incarnationState" },
    { .title = "Guests", .path = ".status.guests" },
    { .title = "Memory", .path = "@size:.status.capacity.memory" },
    { .title = "Free", .path = "@size:.status.capacity.memoryFree" },
    { .title = "Schedulable", .path = "@schedulable" },
    { .title = "Reason", .path = "@reason" },
    { .title = "Incarnation", .path = ".status.incarnation", .wide = true },
    { .title = "Addresses", .path = ".spec.addresses", .wide = true },
    { .title = "Watchdog", .path = ".status.lease.watchdog", .wide = true },
    { .title = "Xen", .path = ".status.versions.xen", .wide = true },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static void host_check(const json_t *obj, void *problems)
{
    struct problems *ps = problems;
    const json_t *levels = jget(obj, "spec.fencing");

    check_list_unique(obj, "spec.addresses", NULL, ps);
    for (size_t i = 0; i < json_array_size(levels); i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "spec.fencing[%zu].devices", i);
        check_list_unique(obj, path, NULL, ps);
    }
    if (json_array_size(levels) == 0) {
        problem_warn(ps, "spec.fencing",
                     "no fence device: when this host dies, its VMs wait for its watchdog, its "
                     "reboot or `picket confirm-off %s`",
                     obj_name(obj));
    }
    if (strlen(obj_name(obj)) > 63) {
        problem_add(ps, "FieldValueInvalid", "metadata.name",
                    "a host's name may have 63 characters at most, this has %zu",
                    strlen(obj_name(obj)));
    }
}

static const char *const host_short[] = { NULL };

const struct kind kind_host = {
    .name = "Host",
    .plural = "hosts",
    .singular = "host",
    .short_names = host_short,
    .spec = host_spec,
    .status = host_status,
    .columns = host_columns,
    .text = "A machine that runs Xen: where it is reached, how it is fenced, what may run on it.",
    .check = host_check,
};
