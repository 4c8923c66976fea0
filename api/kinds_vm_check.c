/* The rules between the fields of a VirtualMachine. */

#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

#include <inttypes.h>
#include <string.h>

static void check_memory(const json_t *obj, struct problems *ps)
{
    uint64_t memory = jget_size(obj, "spec.memory", 0);
    uint64_t max = jget_size(obj, "spec.memoryMax", memory);
    uint64_t min = jget_size(obj, "spec.memoryMin", memory);
    char text[3][32];

    str_format_size(memory, text[0], sizeof(text[0]));
    str_format_size(max, text[1], sizeof(text[1]));
    str_format_size(min, text[2], sizeof(text[2]));
    if (memory != 0 && max < memory) {
        problem_add(ps, "FieldValueInvalid", "spec.memoryMax", "%s is less than memory (%s)",
                    text[1], text[0]);
    }
    if (memory != 0 && min > memory) {
        problem_add(ps, "FieldValueInvalid", "spec.memoryMin", "%s is more than memory (%s)",
                    text[2], text[0]);
    }
    if (memory % MIB != 0) {
        problem_add(ps, "FieldValueInvalid", "spec.memory",
                    "%" PRIu64 " bytes are not whole MiB; Xen gives memory in MiB", memory);
    }
    if (jget_int(obj, "spec.vcpusMax", INT64_MAX) < jget_int(obj, "spec.vcpus", 1)) {
        problem_add(ps, "FieldValueInvalid", "spec.vcpusMax", "%lld is less than vcpus (%lld)",
                    (long long)jget_int(obj, "spec.vcpusMax", 0),
                    (long long)jget_int(obj, "spec.vcpus", 1));
    }
}

static void check_boot(const json_t *obj, struct problems *ps)
{
    const char *virt = jget_str(obj, "spec.virt", "HVM");
    bool hvm = str_eq(virt, "HVM");
    bool bootloader = jget(obj, "spec.boot.bootloader") != NULL;
    bool kernel = jget(obj, "spec.boot.kernel") != NULL;
    static const char *const hvm_only[] = { "spec.boot.firmware", "spec.boot.order" };

    if (hvm && bootloader) {
        problem_add(ps, "FieldValueForbidden", "spec.boot.bootloader",
                    "is for PV and PVH; an HVM guest boots from its disk by itself");
    }
    if ((str_eq(virt, "PV") || str_eq(virt, "PVH")) && !bootloader && !kernel) {
        problem_add(ps, "FieldValueRequired", "spec.boot",
                    "a %s guest needs boot.bootloader (usually pygrub) or boot.kernel", virt);
    }
    if (bootloader && kernel) {
        problem_add(ps, "FieldValueInvalid", "spec.boot.kernel",
                    "both bootloader and kernel are given; the kernel comes from one of them");
    }
    if (!kernel && jget(obj, "spec.boot.ramdisk") != NULL) {
        problem_add(ps, "FieldValueRequired", "spec.boot.kernel",
                    "a ramdisk without a kernel is never used");
    }
    for (size_t i = 0; i < 2 && !hvm; i++) {
        if (jget(obj, hvm_only[i]) != NULL) {
            problem_add(ps, "FieldValueForbidden", hvm_only[i], "is for HVM; this guest is %s",
                        virt);
        }
    }
}

static void check_disk_source(const json_t *disk, const char *path, struct problems *ps)
{
    static const char *const names[] = { "volume", "volumeGroup", "path", "cdrom", NULL };
    size_t n = count_present(disk, names);
    bool group = json_object_get(disk, "volumeGroup") != NULL;
    bool size = json_object_get(disk, "size") != NULL;

    if (n == 0) {
        problem_add(
            ps, "FieldValueRequired", path,
            "nothing says what the disk is: give volume, volumeGroup and size, path, or cdrom");
    } else if (n > 1) {
        problem_add(ps, "FieldValueInvalid", path,
                    "is several things at once; give only one of volume, volumeGroup, path, cdrom");
    }
    if (group && !size) {
        problem_add(ps, "FieldValueRequired", path, "volumeGroup needs a size");
    } else if (size && !group) {
        problem_add(ps, "FieldValueForbidden", path,
                    "size goes with volumeGroup; %s has a size of its own",
                    json_object_get(disk, "volume") != NULL ? "a volume" : "this disk");
    }
    if (json_object_get(disk, "format") != NULL && json_object_get(disk, "path") == NULL) {
        problem_add(ps, "FieldValueForbidden", path, "format is for files (path); volumes are raw");
    }
    if (json_object_get(disk, "cdrom") != NULL && json_object_get(disk, "readOnly") != NULL &&
        !jget_bool(disk, "readOnly", true)) {
        problem_add(ps, "FieldValueInvalid", path, "a CD-ROM is always read only");
    }
}

static void check_disks(const json_t *obj, struct problems *ps)
{
    const json_t *disks = jget(obj, "spec.disks");

    for (size_t i = 0; i < json_array_size(disks); i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "spec.disks[%zu]", i);
        if (json_is_object(json_array_get(disks, i))) {
            check_disk_source(json_array_get(disks, i), path, ps);
        }
    }
    check_list_unique(obj, "spec.disks", "target", ps);
    check_list_unique(obj, "spec.disks", "volume", ps);
    check_list_unique(obj, "spec.disks", "path", ps);
    if (json_array_size(disks) == 0 && jget(obj, "spec.boot.kernel") == NULL &&
        !str_starts(jget_str(obj, "spec.boot.order", "c"), "n")) {
        problem_warn(ps, "spec.disks",
                     "no disk, no kernel and no network boot: it has nothing to boot from");
    }
}

static void check_nics(const json_t *obj, struct problems *ps)
{
    const json_t *nics = jget(obj, "spec.nics");
    bool hvm = str_eq(jget_str(obj, "spec.virt", "HVM"), "HVM");

    check_list_unique(obj, "spec.nics", "mac", ps);
    for (size_t i = 0; i < json_array_size(nics) && !hvm; i++) {
        const char *model = jget_str(json_array_get(nics, i), "model", "PV");
        char path[64];

        (void)snprintf(path, sizeof(path), "spec.nics[%zu].model", i);
        if (!str_eq(model, "PV")) {
            problem_add(ps, "FieldValueForbidden", path, "%s is emulated for HVM; this guest is %s",
                        model, jget_str(obj, "spec.virt", "HVM"));
        }
    }
}

static void check_after(const json_t *obj, struct problems *ps)
{
    const json_t *after = jget(obj, "spec.startAfter");

    for (size_t i = 0; i < json_array_size(after); i++) {
        const char *vm = jget_str(json_array_get(after, i), "vm", "");
        char path[64];

        (void)snprintf(path, sizeof(path), "spec.startAfter[%zu].vm", i);
        if (str_eq(vm, obj_name(obj))) {
            problem_add(ps, "FieldValueInvalid", path, "a VM cannot wait for itself");
        }
    }
}

static void check_where(const json_t *obj, struct problems *ps)
{
    const json_t *hosts = jget(obj, "spec.placement.hosts");
    const json_t *not_hosts = jget(obj, "spec.placement.notHosts");

    check_list_unique(obj, "spec.placement.hosts", NULL, ps);
    for (size_t i = 0; i < json_array_size(not_hosts); i++) {
        for (size_t k = 0; k < json_array_size(hosts); k++) {
            char path[64];

            (void)snprintf(path, sizeof(path), "spec.placement.notHosts[%zu]", i);
            if (json_equal(json_array_get(not_hosts, i), json_array_get(hosts, k)) != 0) {
                problem_add(ps, "FieldValueInvalid", path, "\"%s\" is in hosts, too",
                            json_string_value(json_array_get(hosts, k)));
            }
        }
    }
}

void kind_vm_check(const json_t *obj, void *problems)
{
    check_memory(obj, problems);
    check_boot(obj, problems);
    check_disks(obj, problems);
    check_nics(obj, problems);
    check_after(obj, problems);
    check_where(obj, problems);
    if (str_eq(jget_str(obj, "spec.graphics.type", ""), "VNC") &&
        !str_starts(jget_str(obj, "spec.graphics.listen", "127.0.0.1"), "127.") &&
        jget(obj, "spec.graphics.passwordRef") == NULL) {
        problem_warn(problems, "spec.graphics",
                     "the screen is open to everybody who reaches %s; give passwordRef",
                     jget_str(obj, "spec.graphics.listen", ""));
    }
    if (str_eq(jget_str(obj, "spec.fencing", "Full"), "StorageOnly")) {
        problem_warn(
            problems, "spec.fencing",
            "with StorageOnly the old guest may answer on the network for a while after the "
            "new one was started");
    }
}

static bool target_taken(const json_t *disks, const char *target)
{
    for (size_t i = 0; i < json_array_size(disks); i++) {
        if (str_eq(jget_str(json_array_get(disks, i), "target", NULL), target)) {
            return true;
        }
    }
    return false;
}

/* Disks without a target get the first free letter, in their order. */
void kind_vm_fill(json_t *obj)
{
    const json_t *disks = jget(obj, "spec.disks");

    for (size_t i = 0; i < json_array_size(disks); i++) {
        json_t *disk = json_array_get(disks, i);
        char target[8] = "xvda";

        if (!json_is_object(disk) || json_object_get(disk, "target") != NULL) {
            continue;
        }
        while (target[3] < 'z' && target_taken(disks, target)) {
            target[3]++;
        }
        if (!target_taken(disks, target)) {
            json_object_set_new(disk, "target", json_string(target));
        }
    }
}
