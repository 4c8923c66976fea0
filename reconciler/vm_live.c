#include "reconciler/vm_live.h"

#include "api/valid.h"
#include "base/str.h"

static const char *disk_not_live(const json_t *disk)
{
    if (jget_str(disk, "cdrom.iso", NULL) != NULL) {
        return "a CD-ROM image of this host is in its drive; eject it (remove cdrom.iso)";
    }
    if (jget_str(disk, "path", NULL) != NULL) {
        return "one of its disks is a local file of its host (spec.disks[].path)";
    }
    return NULL;
}

const char *vm_not_live(const json_t *object, bool pv)
{
    const json_t *disks = jget(object, "spec.disks");

    if (str_eq(jget_str(object, "spec.virt", "HVM"), "PV") && !pv) {
        return "the hypervisor cannot track the memory of a PV guest (it is built without shadow "
               "paging, as Debian's is); PVH and HVM guests can move while they run";
    }
    if (str_eq(jget_str(object, "spec.cpu.policy", "Migratable"), "Host")) {
        return "spec.cpu.policy is Host, so the guest may use what only this CPU has";
    }
    if (jget(object, "spec.extra.pci") != NULL) {
        return "a PCI device of this host belongs to it (spec.extra.pci)";
    }
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const char *why = disk_not_live(json_array_get(disks, i));

        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}
