#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

/* clang-format off */
static const struct field chap_fields[] = {
    { .name = "username", .type = F_STRING, .flags = FF_REQUIRED, .check = check_oneline, .min = 1, .max = 255, .text = "Our login at the target." },
    { .name = "passwordRef", OBJECT_OF(common_secret_ref), .flags = FF_REQUIRED, .text = "Its password." },
    { .name = "mutualUsername", .type = F_STRING, .check = check_oneline, .min = 1, .max = 255, .text = "The target's login at us." },
    { .name = "mutualPasswordRef", OBJECT_OF(common_secret_ref), .text = "Its password." },
    FIELD_END
};

static const struct field target_spec[] = {
    { .name = "iqn", .type = F_STRING, .flags = FF_REQUIRED | FF_IMMUTABLE, .check = check_iqn, .text = "Name of the target." },
    { .name = "portals", LIST_OF(.type = F_ADDRESS, .flags = FF_PORT_OK, .text = "A portal; port 3260 when none is given."),
      .flags = FF_REQUIRED, .min = 1, .max = 16,
      .text = "Every host logs in once at each of them. At least two, over different switches, or one path is all there is." },
    { .name = "chap", OBJECT_OF(chap_fields), .text = "How we log in, and how the target does." },
    { .name = "headerDigest", ENUM_OF("None", "CRC32C"), .deflt = "\"None\"", .text = "Checksums of headers." },
    { .name = "dataDigest", ENUM_OF("None", "CRC32C"), .deflt = "\"None\"", .text = "Checksums of data." },
    { .name = "replacementTimeout", .type = F_DURATION, .deflt = "\"5s\"", .max = 10 * MINUTE,
      .text = "How long a broken session holds its commands before multipath gets them back." },
    { .name = "noopInterval", .type = F_DURATION, .deflt = "\"5s\"", .max = MINUTE, .text = "How often a session is pinged." },
    { .name = "noopTimeout", .type = F_DURATION, .deflt = "\"5s\"", .max = MINUTE, .text = "How long it may take to answer." },
    ON_HOSTS_FIELDS,
    PAUSED_FIELD("the sessions"),
    FIELD_END
};

static const struct field session_fields[] = {
    { .name = "host", .type = F_STRING, .text = "The host." },
    { .name = "portal", .type = F_STRING, .text = "The portal." },
    { .name = "state", .type = F_STRING, .text = "LoggedIn, Failed or Free." },
    { .name = "reconnects", .type = F_INT, .text = "How often it came back." },
    { .name = "message", .type = F_STRING, .text = "What the target said." },
    FIELD_END
};

static const struct field target_status[] = {
    STATUS_FIELDS,
    { .name = "sessions", LIST_OF(OBJECT_OF(session_fields), .text = "A session."), .text = "Sessions of all hosts." },
    FIELD_END
};

static const struct column target_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "IQN", .path = ".spec.iqn" },
    { .title = "Portals", .path = ".spec.portals" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field lun_spec[] = {
    { .name = "target", NAME_OF("ISCSITarget"), .flags = FF_IMMUTABLE, .text = "The target that exports it." },
    { .name = "lun", .type = F_INT, .flags = FF_IMMUTABLE, .min = 0, .max = 16383, .text = "Its number there." },
    { .name = "wwid", .type = F_STRING, .flags = FF_IMMUTABLE, .check = check_wwid,
      .text = "What it is, wherever it is found. Without it the first WWID seen is pinned; a LUN with another one is never touched. "
              "Alone, without target: a LUN that the hosts see by other means (Fibre Channel, SAS)." },
    { .name = "multipath", NAME_OF("MultipathPolicy"), .text = "How its paths are used; without it multipathd's defaults." },
    { .name = "minPaths", .type = F_INT, .min = 1, .max = 64, .text = "With fewer paths than this the condition Redundant is False; without it the number of portals." },
    ON_HOSTS_FIELDS,
    PAUSED_FIELD("the LUN"),
    FIELD_END
};

static const struct field path_fields[] = {
    { .name = "device", .type = F_STRING, .text = "The disk, as the host calls it now." },
    { .name = "state", .type = F_STRING, .text = "What multipathd's checker says (ready, ghost, faulty, shaky ...), with the kernel's word where that is another one." },
    FIELD_END
};

static const struct field paths_fields[] = {
    { .name = "total", .type = F_INT, .text = "Paths that should be." },
    { .name = "active", .type = F_INT, .text = "Paths that work." },
    { .name = "list", LIST_OF(OBJECT_OF(path_fields), .text = "A path."), .text = "Each of them, as in multipathd's order." },
    FIELD_END
};

static const struct field lun_host_fields[] = {
    { .name = "device", .type = F_STRING, .text = "The device node." },
    { .name = "wwid", .type = F_STRING, .text = "What the host read." },
    { .name = "size", .type = F_SIZE, .text = "Its size." },
    { .name = "state", .type = F_STRING, .text = "Ready, Absent, Wrong or Unknown." },
    { .name = "paths", OBJECT_OF(paths_fields), .text = "Its paths." },
    { .name = "message", .type = F_STRING, .text = "What is the matter." },
    FIELD_END
};

static const struct field lun_status[] = {
    STATUS_FIELDS,
    { .name = "wwid", .type = F_STRING, .text = "The pinned WWID." },
    { .name = "size", .type = F_SIZE, .text = "Its size." },
    { .name = "hosts", MAP_OF(OBJECT_OF(lun_host_fields), .text = "As this host sees it."), .text = "Per host." },
    FIELD_END
};

static const struct column lun_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Target", .path = ".spec.target" },
    { .title = "LUN", .path = ".spec.lun" },
    { .title = "Size", .path = "@size:.status.size" },
    { .title = "Redundant", .path = "@condition:Redundant" },
    { .title = "Reason", .path = "@reason" },
    { .title = "WWID", .path = ".status.wwid", .wide = true },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field match_fields[] = {
    { .name = "vendor", .type = F_STRING, .check = check_oneline, .min = 1, .max = 64, .text = "Vendor as the device says (a regular expression)." },
    { .name = "product", .type = F_STRING, .check = check_oneline, .min = 1, .max = 64, .text = "Product, likewise." },
    { .name = "revision", .type = F_STRING, .check = check_oneline, .min = 1, .max = 64, .text = "Firmware revision, likewise." },
    FIELD_END
};

static const struct field policy_spec[] = {
    { .name = "match", OBJECT_OF(match_fields), .flags = FF_REQUIRED, .text = "Which devices it is about." },
    { .name = "productBlacklist", .type = F_STRING, .check = check_oneline, .min = 1, .max = 255, .text = "Products of that vendor that are no disks (a regular expression)." },
    { .name = "grouping", ENUM_OF("Failover", "Multibus", "GroupByPrio", "GroupBySerial", "GroupByNodeName"), .deflt = "\"GroupByPrio\"",
      .text = "Which paths are used at the same time." },
    { .name = "prio", .type = F_STRING, .check = check_word, .max = 64, .text = "How priorities of paths are found: const, alua, rdac, emc, ontap, hds, path_latency ..." },
    { .name = "prioArgs", .type = F_STRING, .check = check_oneline, .max = 255, .text = "Arguments of that." },
    { .name = "hardwareHandler", .type = F_STRING, .check = check_hw_handler, .text = "Kernel module for this array: \"0\", \"1 alua\", \"1 rdac\", \"1 emc\", \"1 hp_sw\"." },
    { .name = "checker", ENUM_OF("tur", "rdac", "directio", "readsector0", "emc_clariion", "hp_sw", "none"), .deflt = "\"tur\"", .text = "How a path is tested." },
    { .name = "selector", .type = F_STRING, .check = check_multipath_selector, .deflt = "\"service-time 0\"",
      .text = "Which path of a group gets the next command: \"round-robin 0\", \"queue-length 0\", \"service-time 0\"." },
    { .name = "failback", .type = F_DURATION, .values = WORDS("Immediate", "Manual", "FollowOver"), .deflt = "\"Manual\"", .max = DAY,
      .text = "Whether a better group is used again when it is back, or after how long." },
    { .name = "noPathRetry", .type = F_INT, .deflt = "12", .min = 0, .max = 300,
      .hint = "it has to be finite: with \"queue\", I/O without paths hangs for ever, and with it every failover of what uses it",
      .text = "So many polling intervals commands are kept when no path is left; then they fail, and the VM is moved." },
    { .name = "pollingInterval", .type = F_DURATION, .deflt = "\"5s\"", .min = SEC, .max = MINUTE, .text = "How often paths are tested." },
    { .name = "rrWeight", ENUM_OF("Uniform", "Priorities"), .text = "Weight of paths." },
    { .name = "rrMinIO", .type = F_INT, .min = 1, .max = 65536, .text = "Commands before the next path of the group is used." },
    { .name = "fastIOFailTimeout", .type = F_DURATION, .min = SEC, .max = 10 * MINUTE, .text = "When the transport gives commands of a lost path back." },
    { .name = "devLossTimeout", .type = F_DURATION, .min = SEC, .max = HOUR, .text = "When a lost path is forgotten." },
    FIELD_END
};

static const struct column policy_columns[] = {
    COLUMN_NAME,
    { .title = "Vendor", .path = ".spec.match.vendor" },
    { .title = "Product", .path = ".spec.match.product" },
    { .title = "Grouping", .path = ".spec.grouping" },
    { .title = "NoPathRetry", .path = ".spec.noPathRetry" },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static void target_check(const json_t *obj, void *problems)
{
    struct problems *ps = problems;
    const json_t *chap = jget(obj, "spec.chap");

    check_list_unique(obj, "spec.portals", NULL, ps);
    if (json_array_size(jget(obj, "spec.portals")) == 1) {
        problem_warn(ps, "spec.portals",
                     "one portal is one path: when it fails, every VM on this target stands still");
    }
    if (chap != NULL && (json_object_get(chap, "mutualUsername") == NULL) !=
                            (json_object_get(chap, "mutualPasswordRef") == NULL)) {
        problem_add(ps, "FieldValueInvalid", "spec.chap",
                    "mutualUsername and mutualPasswordRef go together");
    }
}

static void lun_check(const json_t *obj, void *problems)
{
    bool target = jget(obj, "spec.target") != NULL;
    bool lun = jget(obj, "spec.lun") != NULL;

    if (target != lun) {
        problem_add(problems, "FieldValueRequired", target ? "spec.lun" : "spec.target",
                    "target and lun go together: which LUN of which target is it?");
    } else if (!target && jget(obj, "spec.wwid") == NULL) {
        problem_add(problems, "FieldValueRequired", "spec.target",
                    "nothing says which LUN this is: give target and lun, or wwid");
    }
}

static void policy_check(const json_t *obj, void *problems)
{
    const json_t *match = jget(obj, "spec.match");

    if (json_is_object(match) && json_object_size(match) == 0) {
        problem_add(problems, "FieldValueRequired", "spec.match",
                    "an empty match would be about every device; give vendor, product or both");
    }
}

static const char *const no_short[] = { NULL };
static const char *const target_short[] = { "target", "targets", NULL };
static const char *const policy_short[] = { "mpp", NULL };

const struct kind kind_iscsi_target = {
    .name = "ISCSITarget",
    .plural = "iscsitargets",
    .singular = "iscsitarget",
    .short_names = target_short,
    .spec = target_spec,
    .status = target_status,
    .columns = target_columns,
    .text = "An iSCSI target and how hosts log in to it.",
    .check = target_check,
};

const struct kind kind_lun = {
    .name = "LUN",
    .plural = "luns",
    .singular = "lun",
    .short_names = no_short,
    .spec = lun_spec,
    .status = lun_status,
    .columns = lun_columns,
    .text = "A disk of the SAN. Its WWID is its identity, whatever its number or device node.",
    .check = lun_check,
};

const struct kind kind_multipath_policy = {
    .name = "MultipathPolicy",
    .plural = "multipathpolicies",
    .singular = "multipathpolicy",
    .short_names = policy_short,
    .spec = policy_spec,
    .status = common_status,
    .columns = policy_columns,
    .text = "How several paths to one disk are used, for one model of array.",
    .check = policy_check,
};
