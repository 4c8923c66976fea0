#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

#include <string.h>

/* clang-format off */
static const struct field group_spec[] = {
    { .name = "luns", LIST_OF(NAME_OF("LUN"), .text = "A LUN."), .flags = FF_REQUIRED, .min = 1, .max = 64,
      .text = "Its physical volumes. One may be added later; one that holds data is never taken out." },
    { .name = "initialise", .type = F_BOOL, .deflt = "false",
      .text = "Make the group when the LUNs are empty. Never over anything that is there already. Without it, the group has to exist." },
    { .name = "extentSize", .type = F_SIZE, .flags = FF_IMMUTABLE, .min = KIB, .max = 16 * GIB, .text = "Size of an extent when it is made; LVM's default is 4Mi." },
    { .name = "reservation", ENUM_OF("None", "PersistentReservation"), .deflt = "\"None\"",
      .text = "Whether hosts register a SCSI-3 persistent reservation key on the LUNs." },
    ON_HOSTS_FIELDS,
    PAUSED_FIELD("the group"),
    FIELD_END
};

static const struct field group_host_fields[] = {
    { .name = "state", .type = F_STRING, .text = "Ready, Absent, Wrong or Unknown." },
    { .name = "message", .type = F_STRING, .text = "What is the matter." },
    FIELD_END
};

static const struct field group_status[] = {
    STATUS_FIELDS,
    { .name = "uuid", .type = F_STRING, .text = "LVM's id of the group." },
    { .name = "size", .type = F_SIZE, .text = "Its size." },
    { .name = "free", .type = F_SIZE, .text = "What is not used." },
    { .name = "hosts", MAP_OF(OBJECT_OF(group_host_fields), .text = "As this host sees it."), .text = "Per host." },
    FIELD_END
};

static const struct column group_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "LUNs", .path = ".spec.luns" },
    { .title = "Size", .path = "@size:.status.size" },
    { .title = "Free", .path = "@size:.status.free" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field volume_spec[] = {
    { .name = "volumeGroup", NAME_OF("VolumeGroup"), .flags = FF_REQUIRED | FF_IMMUTABLE, .text = "Where it lives." },
    { .name = "size", .type = F_SIZE, .flags = FF_REQUIRED, .min = MIB, .max = 1024 * TIB, .hint = "a volume can grow, but never shrinks",
      .text = "Its size, rounded up to whole extents. It can grow later." },
    { .name = "access", ENUM_OF("Exclusive", "Shared"), .deflt = "\"Exclusive\"", .flags = FF_IMMUTABLE,
      .text = "Exclusive: active on one host at a time. Shared: only for a SharedFilesystem." },
    { .name = "onDelete", ENUM_OF("Retain", "Remove"), .deflt = "\"Retain\"",
      .text = "What happens to the data when this object is deleted. Retain leaves the logical volume where it is." },
    PAUSED_FIELD("the volume"),
    FIELD_END
};

static const struct field volume_status[] = {
    STATUS_FIELDS,
    { .name = "phase", ENUM_OF("Pending", "Creating", "Available", "InUse", "Deleting", "Failed", "Unknown"), .text = "Where it stands." },
    { .name = "size", .type = F_SIZE, .text = "Its real size." },
    { .name = "activeOn", LIST_OF(.type = F_STRING, .text = "A host."), .text = "Where it is active." },
    { .name = "usedBy", .type = F_STRING, .text = "The VM that uses it." },
    { .name = "path", .type = F_STRING, .text = "Its device node." },
    { .name = "token", .type = F_INT, .text = "The token of its lock." },
    FIELD_END
};

static const struct column volume_columns[] = {
    COLUMN_NAME,
    { .title = "Group", .path = ".spec.volumeGroup" },
    { .title = "Size", .path = "@size:.status.size|.spec.size" },
    { .title = "Access", .path = ".spec.access" },
    { .title = "Active-On", .path = ".status.activeOn" },
    { .title = "Used-By", .path = ".status.usedBy" },
    COLUMN_READY,
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field filesystem_spec[] = {
    { .name = "volume", NAME_OF("Volume"), .flags = FF_REQUIRED | FF_IMMUTABLE, .text = "A volume with access Shared." },
    { .name = "type", ENUM_OF("OCFS2"), .deflt = "\"OCFS2\"", .flags = FF_IMMUTABLE, .text = "The file system." },
    { .name = "mountPoint", .type = F_STRING, .flags = FF_REQUIRED, .check = check_dir_path, .text = "Where it is mounted, on every host the same." },
    { .name = "options", LIST_OF(.type = F_STRING, .check = check_oneline, .min = 1, .max = 255, .text = "An option."), .max = 32, .text = "Mount options." },
    { .name = "initialise", .type = F_BOOL, .deflt = "false", .text = "Make the file system when the volume is empty. Never over anything that is there already." },
    { .name = "slots", .type = F_INT, .flags = FF_IMMUTABLE, .min = 1, .max = 255, .text = "Hosts that may mount it at once; without it as many as there are, and two more." },
    ON_HOSTS_FIELDS,
    PAUSED_FIELD("the mounts"),
    FIELD_END
};

static const struct field filesystem_status[] = {
    STATUS_FIELDS,
    { .name = "mountedOn", LIST_OF(.type = F_STRING, .text = "A host."), .text = "Where it is mounted." },
    { .name = "size", .type = F_SIZE, .text = "Its size." },
    { .name = "free", .type = F_SIZE, .text = "What is not used." },
    FIELD_END
};

static const struct column filesystem_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Volume", .path = ".spec.volume" },
    { .title = "Mount-Point", .path = ".spec.mountPoint" },
    { .title = "Mounted-On", .path = ".status.mountedOn" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static void group_check(const json_t *obj, void *problems)
{
    check_list_unique(obj, "spec.luns", NULL, problems);
    if (strlen(obj_name(obj)) > 100) {
        problem_add(problems, "FieldValueInvalid", "metadata.name",
                    "a volume group's name may have 100 characters at most, this has %zu",
                    strlen(obj_name(obj)));
    }
}

static void group_check_update(const json_t *old, const json_t *obj, void *problems)
{
    const json_t *had = jget(old, "spec.luns");
    const json_t *has = jget(obj, "spec.luns");

    for (size_t i = 0; i < json_array_size(had); i++) {
        bool kept = false;

        for (size_t k = 0; k < json_array_size(has); k++) {
            kept = kept || json_equal(json_array_get(had, i), json_array_get(has, k)) != 0;
        }
        if (!kept) {
            problem_add(problems, "FieldValueInvalid", "spec.luns",
                        "\"%s\" cannot be taken out: data may be on it; move it with pvmove and "
                        "delete the group's object first",
                        json_string_value(json_array_get(had, i)));
        }
    }
}

/* Names that LVM keeps for itself (lvm(8), VALID NAMES). */
static void volume_check(const json_t *obj, void *problems)
{
    const char *name = obj_name(obj);

    if (str_starts(name, "snapshot") || str_starts(name, "pvmove")) {
        problem_add(problems, "FieldValueInvalid", "metadata.name",
                    "LVM refuses names that begin with \"snapshot\" or \"pvmove\"");
    }
    if (strlen(name) > 100) {
        problem_add(problems, "FieldValueInvalid", "metadata.name",
                    "a volume's name may have 100 characters at most, this has %zu", strlen(name));
    }
}

static void volume_check_update(const json_t *old, const json_t *obj, void *problems)
{
    uint64_t had = jget_size(old, "spec.size", 0);
    uint64_t has = jget_size(obj, "spec.size", 0);

    if (has < had) {
        problem_add(
            problems, "FieldValueInvalid", "spec.size",
            "a volume never shrinks (it has %s, %s is wanted); for a smaller one make a new "
            "volume and copy",
            jget_str(old, "spec.size", "more"), jget_str(obj, "spec.size", "less"));
    }
}

static const char *const no_short[] = { NULL };
static const char *const group_short[] = { "vg", "vgs", NULL };
static const char *const volume_short[] = { "vol", "vols", NULL };

const struct kind kind_volume_group = {
    .name = "VolumeGroup",
    .plural = "volumegroups",
    .singular = "volumegroup",
    .short_names = group_short,
    .spec = group_spec,
    .status = group_status,
    .columns = group_columns,
    .text = "An LVM volume group on LUNs that several hosts see.",
    .check = group_check,
    .check_update = group_check_update,
};

const struct kind kind_volume = {
    .name = "Volume",
    .plural = "volumes",
    .singular = "volume",
    .short_names = volume_short,
    .spec = volume_spec,
    .status = volume_status,
    .columns = volume_columns,
    .text = "A logical volume: a disk of one VM, active where that VM runs and nowhere else.",
    .check = volume_check,
    .check_update = volume_check_update,
};

const struct kind kind_shared_filesystem = {
    .name = "SharedFilesystem",
    .plural = "sharedfilesystems",
    .singular = "sharedfilesystem",
    .short_names = no_short,
    .spec = filesystem_spec,
    .status = filesystem_status,
    .columns = filesystem_columns,
    .text = "A cluster file system that is mounted on all hosts, for disks that are files.",
};
