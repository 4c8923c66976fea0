#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

/* clang-format off */
static const struct field replica_fields[] = {
    { .name = "host", NAME_OF("Host"), .flags = FF_REQUIRED | FF_LIST_KEY, .text = "The host that keeps this copy." },
    { .name = "volume", NAME_OF("Volume"), .flags = FF_REQUIRED, .text = "The volume under it, on disks of that host." },
    { .name = "address", .type = F_ADDRESS, .flags = FF_PORT_OK, .text = "Where the copies are exchanged; without it the host's first address." },
    FIELD_END
};

static const struct field replicated_spec[] = {
    { .name = "replicas", LIST_OF(OBJECT_OF(replica_fields), .text = "A copy."), .flags = FF_REQUIRED, .min = 2, .max = 4, .text = "The copies." },
    { .name = "protocol", ENUM_OF("A", "B", "C"), .deflt = "\"C\"", .text = "When a write is done: C when it is on all disks." },
    { .name = "rate", .type = F_STRING, .check = check_rate, .text = "Bandwidth of a resynchronisation, such as 50MB/s." },
    { .name = "onIOError", ENUM_OF("Detach", "PassOn"), .deflt = "\"Detach\"", .text = "When the disk under it fails: go on without it, or tell the user." },
    { .name = "quorum", ENUM_OF("Majority", "Off"), .deflt = "\"Majority\"", .text = "Majority: no writes without a majority of the copies and the tie breaker." },
    { .name = "tieBreaker", NAME_OF("Host"), .text = "A host without a copy that counts for the majority." },
    PAUSED_FIELD("the replication"),
    FIELD_END
};

static const struct field replicated_status[] = {
    STATUS_FIELDS,
    { .name = "primary", .type = F_STRING, .text = "The host that may write." },
    { .name = "quorum", .type = F_BOOL, .text = "Whether it has a majority." },
    { .name = "replicas", .type = F_ANY, .text = "Per host: connection, disk state, progress." },
    FIELD_END
};

static const struct column replicated_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Primary", .path = ".status.primary" },
    { .title = "Quorum", .path = ".status.quorum" },
    { .title = "Replicas", .path = ".spec.replicas.*.host" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field export_chap[] = {
    { .name = "username", .type = F_STRING, .flags = FF_REQUIRED, .check = check_oneline, .min = 1, .max = 255, .text = "Login of the initiators." },
    { .name = "passwordRef", OBJECT_OF(common_secret_ref), .flags = FF_REQUIRED, .text = "Its password." },
    FIELD_END
};

static const struct field export_spec[] = {
    { .name = "volume", NAME_OF("Volume"), .text = "The volume that is exported. An export has this or replicatedVolume." },
    { .name = "replicatedVolume", NAME_OF("ReplicatedVolume"), .text = "The replicated volume that is exported, where it is primary." },
    { .name = "iqn", .type = F_STRING, .flags = FF_REQUIRED | FF_IMMUTABLE, .check = check_iqn, .text = "Name of the target." },
    { .name = "lun", .type = F_INT, .deflt = "0", .min = 0, .max = 255, .text = "Number of the LUN." },
    { .name = "virtualIP", NAME_OF("VirtualIP"), .flags = FF_REQUIRED, .text = "The address that moves with it." },
    { .name = "chap", OBJECT_OF(export_chap), .text = "How initiators log in." },
    { .name = "initiators", LIST_OF(.type = F_STRING, .check = check_iqn, .text = "An initiator's IQN."), .max = 256, .text = "Who may; without it everybody who logs in." },
    PAUSED_FIELD("the export"),
    FIELD_END
};

static const struct field where_status[] = {
    STATUS_FIELDS,
    { .name = "host", .type = F_STRING, .text = "Where it is." },
    { .name = "token", .type = F_INT, .text = "The token of its lock." },
    FIELD_END
};

static const struct column export_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Host", .path = ".status.host" },
    { .title = "IQN", .path = ".spec.iqn" },
    { .title = "Address", .path = ".spec.virtualIP" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field vip_spec[] = {
    { .name = "address", .type = F_CIDR, .flags = FF_REQUIRED, .text = "Address with prefix length." },
    { .name = "interface", .type = F_STRING, .flags = FF_REQUIRED, .check = check_ifname, .text = "The interface that carries it." },
    ON_HOSTS_FIELDS,
    PAUSED_FIELD("the address"),
    FIELD_END
};

static const struct column vip_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Address", .path = ".spec.address" },
    { .title = "Interface", .path = ".spec.interface" },
    { .title = "Host", .path = ".status.host" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static void replicated_check(const json_t *obj, void *problems)
{
    size_t n = json_array_size(jget(obj, "spec.replicas"));
    const char *tie = jget_str(obj, "spec.tieBreaker", NULL);

    check_list_unique(obj, "spec.replicas", "volume", problems);
    if (n == 2 && tie == NULL && str_eq(jget_str(obj, "spec.quorum", "Majority"), "Majority")) {
        problem_warn(problems, "spec.tieBreaker",
                     "two copies without a tie breaker: when one is lost, the other one stops");
    }
    for (size_t i = 0; i < n && tie != NULL; i++) {
        if (str_eq(tie, json_string_value(json_object_get(
                            json_array_get(jget(obj, "spec.replicas"), i), "host")))) {
            problem_add(problems, "FieldValueInvalid", "spec.tieBreaker",
                        "\"%s\" keeps a copy already; the tie breaker is a host without one", tie);
        }
    }
}

static void export_check(const json_t *obj, void *problems)
{
    static const char *const sources[] = { "volume", "replicatedVolume", NULL };
    size_t n = count_present(jget(obj, "spec"), sources);

    if (n == 0) {
        problem_add(problems, "FieldValueRequired", "spec.volume",
                    "nothing says what is exported: give volume or replicatedVolume");
    } else if (n > 1) {
        problem_add(problems, "FieldValueInvalid", "spec.volume",
                    "both volume and replicatedVolume are given; one export is one of them");
    }
}

static const char *const no_short[] = { NULL };
static const char *const vip_short[] = { "vip", "vips", NULL };
static const char *const replicated_short[] = { "rvol", NULL };

const struct kind kind_replicated_volume = {
    .name = "ReplicatedVolume",
    .plural = "replicatedvolumes",
    .singular = "replicatedvolume",
    .short_names = replicated_short,
    .spec = replicated_spec,
    .status = replicated_status,
    .columns = replicated_columns,
    .text = "A volume with a copy on several hosts (DRBD).",
    .check = replicated_check,
};

const struct kind kind_iscsi_export = {
    .name = "ISCSIExport",
    .plural = "iscsiexports",
    .singular = "iscsiexport",
    .short_names = no_short,
    .spec = export_spec,
    .status = where_status,
    .columns = export_columns,
    .text = "An iSCSI target of our own that moves to another host with its volume and address.",
    .check = export_check,
};

const struct kind kind_virtual_ip = {
    .name = "VirtualIP",
    .plural = "virtualips",
    .singular = "virtualip",
    .short_names = vip_short,
    .spec = vip_spec,
    .status = where_status,
    .columns = vip_columns,
    .text = "An address that one host has at a time.",
};
