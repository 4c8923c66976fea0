#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

#include <string.h>

/* clang-format off */
static const struct field boot_fields[] = {
    { .name = "bootloader", .type = F_STRING, .check = check_bootloader, .text = "PV and PVH: program in dom0 that takes the kernel from the guest's disk: pygrub." },
    { .name = "bootloaderArgs", LIST_OF(.type = F_STRING, .check = check_oneline, .max = 1024, .text = "An argument."), .max = 32, .text = "Its arguments." },
    { .name = "kernel", .type = F_STRING, .check = check_file_path, .text = "Kernel image on every host." },
    { .name = "ramdisk", .type = F_STRING, .check = check_file_path, .text = "Its initial ramdisk." },
    { .name = "args", .type = F_STRING, .check = check_oneline, .max = 4096, .text = "Its command line." },
    { .name = "firmware", ENUM_OF("BIOS", "UEFI"), .text = "HVM: what the machine boots with; BIOS when nothing is said." },
    { .name = "order", .type = F_STRING, .check = check_boot_order, .text = "HVM: c disk, d CD-ROM, n network, in the order in which they are tried." },
    FIELD_END
};

static const struct field cdrom_fields[] = {
    { .name = "iso", .type = F_STRING, .check = check_file_path, .text = "An image; without it the drive is empty." },
    FIELD_END
};

static const struct field disk_fields[] = {
    { .name = "name", .type = F_NAME, .flags = FF_REQUIRED | FF_LIST_KEY, .text = "Name of the disk in this VM." },
    { .name = "volume", NAME_OF("Volume"), .text = "The volume that it is. A disk has this, or volumeGroup and size, or path, or cdrom." },
    { .name = "volumeGroup", NAME_OF("VolumeGroup"), .text = "The group in which a volume called VM-DISK is made for it; goes with size." },
    { .name = "size", .type = F_SIZE, .min = MIB, .max = 1024 * TIB, .text = "Size of the volume that is made." },
    { .name = "path", .type = F_STRING, .check = check_file_path,
      .hint = "devices are declared as Volumes, so that nothing opens them twice",
      .text = "A file on a SharedFilesystem; a file elsewhere ties the VM to its host." },
    { .name = "cdrom", OBJECT_OF(cdrom_fields), .text = "A CD-ROM drive." },
    { .name = "target", .type = F_STRING, .check = check_disk_target, .text = "What the guest sees: xvda, xvdb ... (hda, sda); chosen when nothing is said." },
    { .name = "readOnly", .type = F_BOOL, .text = "The guest may only read it." },
    { .name = "format", ENUM_OF("Raw", "Qcow2", "Vhd"), .text = "Format of the file; Raw when nothing is said." },
    FIELD_END
};

static const struct field nic_fields[] = {
    { .name = "name", .type = F_NAME, .flags = FF_LIST_KEY, .deflt = "\"nic#\"", .text = "Name of the card in this VM; nic0, nic1 ... when nothing is said." },
    { .name = "bridge", NAME_OF("Bridge"), .flags = FF_REQUIRED, .text = "The bridge that it is connected to." },
    { .name = "mac", .type = F_MAC, .text = "Its address; made once and kept when nothing is said." },
    { .name = "model", ENUM_OF("PV", "e1000", "rtl8139", "virtio"), .text = "HVM: card to emulate beside the paravirtual one; PV: none." },
    { .name = "rate", .type = F_STRING, .check = check_rate, .text = "Bandwidth, such as 100Mb/s." },
    { .name = "vlan", .type = F_INT, .min = 1, .max = 4094, .text = "VLAN tag on a bridge with vlanFiltering." },
    FIELD_END
};

static const struct field graphics_fields[] = {
    { .name = "type", ENUM_OF("None", "VNC"), .deflt = "\"None\"", .text = "Kind of the screen." },
    { .name = "listen", .type = F_ADDRESS, .text = "Where it is shown; 127.0.0.1 when nothing is said." },
    { .name = "port", .type = F_INT, .min = 5900, .max = 65535, .text = "Port; the first free one when nothing is said." },
    { .name = "passwordRef", OBJECT_OF(common_secret_ref), .text = "Its password." },
    { .name = "keymap", .type = F_STRING, .check = check_word, .max = 16, .text = "Keyboard, such as de." },
    FIELD_END
};

static const struct field cpu_fields[] = {
    { .name = "policy", ENUM_OF("Migratable", "Host"), .deflt = "\"Migratable\"", .text = "Host shows the guest everything that the host has; it cannot migrate then." },
    { .name = "cpuid", .type = F_STRING, .check = check_oneline, .min = 1, .max = 1024, .text = "Features to hide or to show, as in xl.cfg(5)." },
    { .name = "pin", .type = F_STRING, .check = check_cpu_list, .text = "Physical CPUs that it may use, such as 0-3,8." },
    { .name = "weight", .type = F_INT, .min = 1, .max = 65535, .text = "Share of the scheduler; 256 is usual." },
    { .name = "cap", .type = F_INT, .min = 0, .max = 51200, .text = "Most that it gets, in percent of one CPU; 0: no limit." },
    FIELD_END
};

static const struct field limit_fields[] = {
    { .name = "count", .type = F_INT, .deflt = "3", .min = 0, .max = 1000, .text = "So many restarts are tried on the same host." },
    { .name = "window", .type = F_DURATION, .deflt = "\"10m\"", .min = SEC, .max = 7 * DAY, .text = "The time in which they are counted. After more, it is tried on another host." },
    FIELD_END
};

static const struct field ha_fields[] = {
    { .name = "policy", ENUM_OF("Restart", "BestEffort", "Never"), .deflt = "\"Restart\"",
      .text = "When its host dies: started elsewhere, room is kept for it; started if there is room; not started." },
    { .name = "onCrash", ENUM_OF("Restart", "Stop", "Preserve"), .deflt = "\"Restart\"", .text = "When the guest crashes. Preserve keeps the dead domain for debugging." },
    { .name = "onGuestPoweroff", ENUM_OF("Stop", "Restart"), .deflt = "\"Stop\"", .text = "When somebody shuts it down from inside." },
    { .name = "restartLimit", OBJECT_OF(limit_fields), .deflt = "{}", .text = "Against a guest that dies again and again." },
    FIELD_END
};

static const struct field placement_fields[] = {
    { .name = "hosts", LIST_OF(NAME_OF("Host"), .text = "A host."), .min = 1, .max = 256, .text = "Only on these hosts." },
    { .name = "notHosts", LIST_OF(NAME_OF("Host"), .text = "A host."), .min = 1, .max = 256, .text = "Not on these hosts." },
    { .name = "hostSelector", MAP_OF(.type = F_STRING, .check = check_label_value, .text = "The label's value."), .check = check_label_key, .min = 1, .max = 32, .text = "Only on hosts that have all these labels." },
    { .name = "failback", ENUM_OF("Never", "WhenIdle", "Always"), .text = "Whether it moves back when a better host returns; without it the cluster's." },
    { .name = "spreadBy", .type = F_STRING, .check = check_label_key, .text = "VMs with the same labels are spread over hosts that differ in this label, such as rack." },
    FIELD_END
};

static const struct field after_fields[] = {
    { .name = "vm", NAME_OF("VirtualMachine"), .flags = FF_REQUIRED | FF_LIST_KEY, .text = "The VM to wait for." },
    { .name = "condition", ENUM_OF("Running", "Ready"), .deflt = "\"Running\"", .text = "What it has to be." },
    FIELD_END
};

static const struct field vm_migration_fields[] = {
    { .name = "mode", ENUM_OF("Live", "Cold", "Never"), .deflt = "\"Live\"", .text = "How it moves when it has to: running, stopped and started, or not at all." },
    { .name = "fallback", ENUM_OF("Cold", "Stay"), .deflt = "\"Cold\"", .text = "What happens when it has to move and cannot live: stopped and started elsewhere, or left where it is." },
    { .name = "timeout", .type = F_DURATION, .deflt = "\"10m\"", .min = SEC, .max = DAY, .text = "Longest time for a live migration." },
    FIELD_END
};

static const struct field vm_spec[] = {
    { .name = "runPolicy", ENUM_OF("Running", "Stopped", "Paused"), .deflt = "\"Running\"", .text = "What it should be." },
    { .name = "virt", ENUM_OF("PV", "PVH", "HVM"), .deflt = "\"HVM\"", .text = "Kind of virtualisation. HVM boots any disk, PV and PVH need boot.bootloader or boot.kernel." },
    { .name = "uuid", .type = F_STRING, .flags = FF_IMMUTABLE, .check = check_uuid, .text = "The domain's UUID; metadata.uid when nothing is said. To take over a domain that exists." },
    { .name = "memory", .type = F_SIZE, .flags = FF_REQUIRED, .min = 8 * MIB, .max = 16 * TIB, .text = "Memory that it gets; can be changed while it runs." },
    { .name = "memoryMax", .type = F_SIZE, .min = 8 * MIB, .max = 16 * TIB, .text = "Up to here memory can grow without a restart; as much as memory when nothing is said." },
    { .name = "memoryMin", .type = F_SIZE, .min = 8 * MIB, .max = 16 * TIB, .text = "Down to here it may be shrunk when hosts failed." },
    { .name = "vcpus", .type = F_INT, .deflt = "1", .min = 1, .max = 512, .text = "Virtual CPUs." },
    { .name = "vcpusMax", .type = F_INT, .min = 1, .max = 512, .text = "Up to here they can be added without a restart." },
    { .name = "cpu", OBJECT_OF(cpu_fields), .text = "What kind of CPUs, and how much of them." },
    { .name = "boot", OBJECT_OF(boot_fields), .text = "How it boots." },
    { .name = "disks", LIST_OF(OBJECT_OF(disk_fields), .text = "A disk."), .max = 64, .text = "Its disks." },
    { .name = "nics", LIST_OF(OBJECT_OF(nic_fields), .text = "A network card."), .max = 16, .text = "Its network cards." },
    { .name = "graphics", OBJECT_OF(graphics_fields), .text = "Its screen." },
    { .name = "console", .type = F_BOOL, .deflt = "true", .text = "A text console (`picket console`); with HVM a serial port." },
    { .name = "ha", OBJECT_OF(ha_fields), .deflt = "{}", .text = "What happens when its host or itself dies." },
    { .name = "placement", OBJECT_OF(placement_fields), .text = "Where it may run." },
    { .name = "priority", .type = F_INT, .deflt = "0", .min = -1000000, .max = 1000000, .text = "Higher ones are placed and started first." },
    { .name = "startAfter", LIST_OF(OBJECT_OF(after_fields), .text = "A VM to wait for."), .max = 64, .text = "It starts only after these." },
    { .name = "shutdownTimeout", .type = F_DURATION, .deflt = "\"2m\"", .max = DAY, .text = "How long it may take to shut down; then it is destroyed." },
    { .name = "migration", OBJECT_OF(vm_migration_fields), .deflt = "{}", .text = "How it moves." },
    { .name = "fencing", ENUM_OF("Full", "StorageOnly"), .deflt = "\"Full\"",
      .text = "StorageOnly: a host that is cut off from the disks is good enough to start it elsewhere, though the old one may still answer on the network." },
    { .name = "retry", .type = F_STRING, .check = check_oneline, .max = 64,
      .text = "Another value than before: what was given up (restartLimit, failed starts, a guest that ended by itself) is tried again (`picket retry`)." },
    PAUSED_FIELD("the VM"),
    { .name = "extra", MAP_OF(.type = F_ANY, .text = "The value."), .check = check_word, .max = 64,
      .text = "Settings of xl.cfg(5) that have no field here, such as localtime or pci." },
    FIELD_END
};

static const struct field rejected_fields[] = {
    { .name = "host", .type = F_STRING, .text = "The host." },
    { .name = "reason", .type = F_STRING, .text = "Why not, for programs." },
    { .name = "message", .type = F_STRING, .text = "Why not, for people." },
    FIELD_END
};

static const struct field vm_placement_status[] = {
    { .name = "reason", .type = F_STRING, .text = "What placement found, for programs." },
    { .name = "message", .type = F_STRING, .text = "The same for people." },
    { .name = "rejected", LIST_OF(OBJECT_OF(rejected_fields), .text = "A host."), .text = "Hosts that cannot have it." },
    FIELD_END
};

static const struct field vm_avoid[] = {
    { .name = "host", .type = F_STRING, .text = "The host." },
    { .name = "reason", .type = F_STRING, .text = "StartFailed or RestartLimit." },
    { .name = "message", .type = F_STRING, .text = "What its agent said." },
    { .name = "failures", .type = F_INT, .text = "How often." },
    { .name = "until", .type = F_STRING, .text = "It is not tried there before this time." },
    { .name = "incarnation", .type = F_INT, .text = "Of the host, when it failed last." },
    { .name = "restarts", .type = F_INT, .text = "The agent's count at that time." },
    FIELD_END
};

static const struct field vm_halted[] = {
    { .name = "generation", .type = F_INT, .text = "It stays down until metadata.generation is another one: change the object to start it." },
    { .name = "reason", .type = F_STRING, .text = "Why, for programs." },
    { .name = "message", .type = F_STRING, .text = "Why, for people." },
    FIELD_END
};

static const struct field vm_last_stop[] = {
    { .name = "at", .type = F_STRING, .text = "When." },
    { .name = "host", .type = F_STRING, .text = "Where it ran." },
    { .name = "reason", .type = F_STRING, .text = "Why, for programs." },
    { .name = "message", .type = F_STRING, .text = "Why, for people." },
    FIELD_END
};

static const struct field vm_migration_status[] = {
    { .name = "name", .type = F_STRING, .text = "The Migration." },
    { .name = "uid", .type = F_STRING, .text = "Its uid." },
    { .name = "phase", ENUM_OF("Preparing", "Running", "Committing", "Canceling"), .text = "What both agents shall do now." },
    { .name = "source", .type = F_STRING, .text = "The host that it leaves." },
    { .name = "sourceIncarnation", .type = F_INT, .text = "The incarnation of that host." },
    { .name = "target", .type = F_STRING, .text = "The host that it goes to." },
    { .name = "targetIncarnation", .type = F_INT, .text = "The incarnation of that host." },
    { .name = "address", .type = F_STRING, .text = "Where the target listens." },
    { .name = "bandwidth", .type = F_INT, .text = "Bytes a second at most; 0: no limit." },
    { .name = "timeoutMs", .type = F_INT, .text = "Longest time of the transfer." },
    FIELD_END
};

static const struct field vm_status[] = {
    STATUS_FIELDS,
    { .name = "phase", ENUM_OF("Pending", "Starting", "Running", "Paused", "Stopping", "Stopped", "Migrating", "Failed", "Unknown"), .text = "Where it stands." },
    { .name = "assignedHost", .type = F_STRING, .text = "The host that placement chose; its agent acts." },
    { .name = "assignedIncarnation", .type = F_INT, .text = "The incarnation of that host." },
    { .name = "host", .type = F_STRING, .text = "Where it was seen, or who holds its lock." },
    { .name = "token", .type = F_INT, .text = "The token of its lock." },
    { .name = "since", .type = F_STRING, .text = "Since when it is in this phase." },
    { .name = "restarts", .type = F_INT, .text = "How often it was restarted." },
    { .name = "lastStop", OBJECT_OF(vm_last_stop), .text = "The last time it stopped running, whoever wanted that; it may run again since." },
    { .name = "avoid", LIST_OF(OBJECT_OF(vm_avoid), .text = "A host."), .text = "Hosts on which it failed, avoided for a while." },
    { .name = "avoidGeneration", .type = F_INT, .text = "The metadata.generation that failed there; with another one it is tried everywhere." },
    { .name = "halted", OBJECT_OF(vm_halted), .text = "The guest shut itself down, or crashed too often." },
    { .name = "domid", .type = F_INT, .text = "Xen's number of the domain." },
    { .name = "console", .type = F_STRING, .text = "Where its console and its screen are." },
    { .name = "migration", OBJECT_OF(vm_migration_status), .text = "The live migration that is under way." },
    { .name = "placement", OBJECT_OF(vm_placement_status), .text = "What placement decided and why." },
    FIELD_END
};

static const struct column vm_columns[] = {
    COLUMN_NAME,
    { .title = "Phase", .path = ".status.phase" },
    { .title = "Host", .path = ".status.host" },
    { .title = "Memory", .path = ".spec.memory" },
    { .title = "VCPUs", .path = ".spec.vcpus" },
    { .title = "HA", .path = ".spec.ha.policy" },
    { .title = "Fencing", .path = ".spec.fencing" },
    { .title = "Reason", .path = "@reason" },
    { .title = "Assigned", .path = ".status.assignedHost", .wide = true },
    { .title = "Priority", .path = ".spec.priority", .wide = true },
    { .title = "Restarts", .path = ".status.restarts", .wide = true },
    { .title = "Disks", .path = ".spec.disks.*.name", .wide = true },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static const char *const vm_short[] = { "vm", "vms", NULL };

const struct kind kind_virtual_machine = {
    .name = "VirtualMachine",
    .plural = "virtualmachines",
    .singular = "virtualmachine",
    .short_names = vm_short,
    .spec = vm_spec,
    .status = vm_status,
    .columns = vm_columns,
    .text =
        "A Xen guest: what it is made of, where it may run, and what happens when its host dies.",
    .check = kind_vm_check,
    .fill = kind_vm_fill,
};
