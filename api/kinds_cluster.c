#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

/* clang-format off */
static const struct field timing_fields[] = {
    { .name = "heartbeat", .type = F_DURATION, .deflt = "\"500ms\"", .min = 50, .max = MINUTE,
      .text = "How often an agent renews its lease. All other timeouts are derived from this and hostTimeout." },
    { .name = "hostTimeout", .type = F_DURATION, .deflt = "\"3s\"", .min = 200, .max = 10 * MINUTE,
      .text = "Length of a lease: a host that renewed nothing for this long is lost. At least four heartbeats." },
    { .name = "watchdog", .type = F_DURATION, .min = SEC, .max = 10 * MINUTE,
      .text = "Timeout wanted of the hardware watchdog of every host; what the device really took is read back. "
              "Without it: derived from hostTimeout." },
    FIELD_END
};

static const struct field capacity_fields[] = {
    { .name = "tolerateHostFailures", .type = F_INT, .deflt = "1", .min = 0, .max = 8,
      .text = "So many hosts may fail at once, and every VM with ha.policy Restart still finds room." },
    { .name = "onOvercommit", ENUM_OF("Reject", "Warn", "Ignore"), .deflt = "\"Warn\"",
      .text = "What happens to a change after which that is no longer so: refused, accepted with a warning, or not looked at." },
    { .name = "cpuOvercommit", .type = F_INT, .deflt = "4", .min = 1, .max = 100,
      .text = "Virtual CPUs that a host may carry per physical CPU." },
    { .name = "dom0Memory", .type = F_SIZE, .deflt = "\"1Gi\"", .max = TIB,
      .text = "Memory of every host that is left to dom0 and Xen. A host can say something else in memoryReserve." },
    FIELD_END
};

static const struct field placement_fields[] = {
    { .name = "strategy", ENUM_OF("Spread", "Pack"), .deflt = "\"Spread\"",
      .text = "Spread uses the emptiest host that fits, Pack the fullest." },
    { .name = "failback", ENUM_OF("Never", "WhenIdle", "Always"), .deflt = "\"Never\"",
      .text = "Whether a VM moves back when a better host returns. A VM can say something else." },
    FIELD_END
};

static const struct field migration_fields[] = {
    { .name = "parallel", .type = F_INT, .deflt = "2", .min = 1, .max = 32,
      .text = "So many live migrations may leave one host, and come to one host, at a time; others wait." },
    { .name = "bandwidth", .type = F_SIZE, .min = 64 * KIB,
      .text = "Bytes a second that one live migration may send; without it as fast as it goes." },
    FIELD_END
};

static const struct field fencing_fields[] = {
    { .name = "action", ENUM_OF("Off", "Reboot"), .deflt = "\"Off\"",
      .text = "What is left behind: the host stays off, or is switched on again once it was read back as off." },
    { .name = "startupGrace", .type = F_DURATION, .deflt = "\"20s\"", .max = HOUR,
      .text = "After a cold start of the whole cluster, or a time without a leader longer than hostTimeout, nobody is fenced for this long." },
    { .name = "maxPerWindow", .type = F_INT, .deflt = "2", .min = 1, .max = 64,
      .text = "At most so many hosts are fenced per window; beyond it a person has to decide." },
    { .name = "window", .type = F_DURATION, .deflt = "\"10m\"", .min = SEC, .max = 7 * DAY,
      .text = "The window of maxPerWindow and maxPerHost." },
    { .name = "maxPerHost", .type = F_INT, .deflt = "2", .min = 1, .max = 64,
      .text = "One host is fenced at most so often per window; then it is held until an operator releases it." },
    { .name = "minHealthy", .type = F_INT, .min = 0, .max = 256,
      .text = "Nobody is fenced while fewer hosts than this are healthy. Without it: more than half of all hosts." },
    { .name = "priorityDelay", .type = F_DURATION, .max = 10 * MINUTE,
      .text = "In a cluster of two hosts the one that runs more (the sum of its VMs' priorities) is fenced this much later." },
    { .name = "storageHeartbeat", NAME_OF("Volume"),
      .text = "A small shared Volume on which every host writes a sign of life. Evidence that is shown, and that contradicts the "
              "proofs Watchdog and Confirmation; it never keeps a lease alive and never releases anything." },
    { .name = "timeout", .type = F_DURATION, .deflt = "\"60s\"", .min = SEC, .max = HOUR,
      .text = "Longest time for one level; then its result is Unknown and the next level is tried." },
    { .name = "retryInterval", .type = F_DURATION, .deflt = "\"10s\"", .min = SEC, .max = HOUR,
      .text = "Pause before the levels are worked through again." },
    FIELD_END
};

static const struct field storage_fields[] = {
    { .name = "quota", .type = F_SIZE, .min = 64 * 1024, .max = TIB,
      .text = "Bytes of all keys and values; 2Gi without it. What grows is refused when it is used up; deletions always go." },
    { .name = "rawQuota", .type = F_SIZE, .min = 64 * 1024, .max = TIB,
      .text = "Of these, bytes of the raw key space; half of quota without it." },
    FIELD_END
};

static const struct field cluster_version[] = {
    { .name = "name", .type = F_STRING, .flags = FF_LIST_KEY, .text = "Name of the picketd." },
    { .name = "version", .type = F_STRING, .text = "Its version." },
    { .name = "featureLevel", .type = F_INT, .text = "The highest feature level that it knows." },
    FIELD_END
};

static const struct field cluster_spec[] = {
    { .name = "onQuorumLoss", ENUM_OF("Stop", "Freeze"), .deflt = "\"Stop\"",
      .text = "What a host that loses its lease does with its guests: stop them (they can be taken over), or let them run "
              "(they then wait for a fence device or an operator)." },
    { .name = "timing", OBJECT_OF(timing_fields), .deflt = "{}", .text = "The two knobs of which all timeouts are made." },
    { .name = "capacity", OBJECT_OF(capacity_fields), .deflt = "{}", .text = "Room that is kept for failures." },
    { .name = "placement", OBJECT_OF(placement_fields), .deflt = "{}", .text = "Which host a VM gets." },
    { .name = "migration", OBJECT_OF(migration_fields), .deflt = "{}", .text = "How VMs move." },
    { .name = "fencing", OBJECT_OF(fencing_fields), .deflt = "{}", .text = "When and how hosts are fenced." },
    { .name = "paused", .type = F_BOOL, .deflt = "false",
      .text = "Maintenance of the whole cluster: nothing is started, stopped or moved. Fencing goes on unless pauseFencing." },
    { .name = "pauseFencing", .type = F_BOOL, .deflt = "false", .text = "Nobody is fenced. Then nothing fails over, either." },
    { .name = "lab", .type = F_BOOL, .deflt = "false",
      .text = "Allow the devices Ssh and Null and virtual hosts with a watchdog. Never with data that you care about." },
    { .name = "storage", OBJECT_OF(storage_fields), .text = "How much the replicated store may hold." },
    { .name = "orphans", ENUM_OF("Report", "Stop"), .deflt = "\"Report\"",
      .text = "What happens to a domain on a host that no VirtualMachine describes." },
    FIELD_END
};

static const struct field cluster_capacity_status[] = {
    { .name = "proof", ENUM_OF("Proved", "Refuted", "NotProved"),
      .text = "Whether tolerateHostFailures holds now, and how surely." },
    { .name = "tolerates", .type = F_INT, .text = "The number of host failures that was proved to be survived." },
    { .name = "worst", LIST_OF(.type = F_STRING, .text = "A host."), .text = "The worst set of failing hosts found." },
    { .name = "unplaced", LIST_OF(.type = F_STRING, .text = "A VM."), .text = "The VMs that would be left over then." },
    { .name = "message", .type = F_STRING, .text = "The same for people." },
    FIELD_END
};

static const struct field cluster_counts[] = {
    { .name = "total", .type = F_INT, .text = "All that are declared." },
    { .name = "ready", .type = F_INT, .text = "Those that are ready." },
    FIELD_END
};

static const struct field cluster_voter[] = {
    { .name = "name", .type = F_STRING, .flags = FF_LIST_KEY, .text = "Name of the picketd." },
    { .name = "reachable", .type = F_BOOL, .text = "Whether the leader hears from it." },
    { .name = "role", .type = F_STRING, .text = "Voter, Standby or Spare." },
    { .name = "version", .type = F_STRING, .text = "Its version." },
    FIELD_END
};

static const struct field cluster_status[] = {
    STATUS_FIELDS,
    { .name = "clusterID", .type = F_STRING, .text = "Made at init; every certificate names it." },
    { .name = "epoch", .type = F_INT, .text = "Minted at init and by every restore and recover." },
    { .name = "leader", .type = F_STRING, .text = "The picketd that leads." },
    { .name = "term", .type = F_INT, .text = "Its Raft term." },
    { .name = "revision", .type = F_INT, .text = "Revision of the store when this was written." },
    { .name = "featureLevel", .type = F_INT, .text = "The formats and commands that all members know." },
    { .name = "versions", LIST_OF(OBJECT_OF(cluster_version), .text = "A member."),
      .text = "What the members said of themselves; the feature level rises when all know it." },
    { .name = "quorum", .type = F_BOOL, .text = "Whether a majority of the voters is reachable." },
    { .name = "quarantined", .type = F_BOOL, .text = "After a restore: not all hosts have told what they run." },
    { .name = "voters", LIST_OF(OBJECT_OF(cluster_voter), .text = "A voter."), .text = "The picketd that vote." },
    { .name = "hosts", OBJECT_OF(cluster_counts), .text = "Hosts." },
    { .name = "virtualMachines", OBJECT_OF(cluster_counts), .text = "VMs that should run, and those that do." },
    { .name = "capacity", OBJECT_OF(cluster_capacity_status), .text = "What the capacity proof found." },
    { .name = "timing", .type = F_ANY, .text = "The timeouts that were derived." },
    FIELD_END
};

static const struct column cluster_columns[] = {
    COLUMN_NAME,
    { .title = "Quorum", .path = ".status.quorum" },
    { .title = "Leader", .path = ".status.leader" },
    { .title = "Hosts", .path = ".status.hosts.ready" },
    { .title = "VMs", .path = ".status.virtualMachines.ready" },
    { .title = "Tolerates", .path = ".status.capacity.tolerates" },
    { .title = "Paused", .path = ".spec.paused" },
    { .title = "Term", .path = ".status.term", .wide = true },
    { .title = "Epoch", .path = ".status.epoch", .wide = true },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

/* safety.md 3: a few lost renewals must not look like a dead host; four is what the derived
 * timeouts need. */
static void check_timing(const json_t *obj, struct problems *ps)
{
    uint64_t heartbeat = jget_duration(obj, "spec.timing.heartbeat", 500);
    uint64_t timeout = jget_duration(obj, "spec.timing.hostTimeout", 3000);
    uint64_t grace = jget_duration(obj, "spec.fencing.startupGrace", 20000);
    char beat[40], have[40], least[40], most[40];

    str_format_duration(heartbeat, beat, sizeof(beat));
    str_format_duration(timeout, have, sizeof(have));
    str_format_duration(4 * heartbeat, least, sizeof(least));
    str_format_duration(timeout / 4, most, sizeof(most));
    if (timeout < 4 * heartbeat) {
        problem_add(
            ps, "FieldValueInvalid", "spec.timing.hostTimeout",
            "%s is less than 4 heartbeats: 4 x %s = %s; raise hostTimeout to at least %s or lower "
            "heartbeat to at most %s",
            have, beat, least, least, most);
    }
    if (grace < timeout) {
        str_format_duration(grace, least, sizeof(least));
        problem_warn(ps, "spec.fencing.startupGrace",
                     "%s is shorter than hostTimeout (%s): after a power cut, hosts that boot "
                     "slowly are fenced "
                     "while they boot",
                     least, have);
    }
}

static void cluster_check(const json_t *obj, void *problems)
{
    struct problems *ps = problems;

    check_timing(obj, ps);
    if (str_eq(jget_str(obj, "spec.onQuorumLoss", "Stop"), "Freeze")) {
        problem_warn(ps, "spec.onQuorumLoss",
                     "with Freeze the watchdog never proves that a host is dead: without a working "
                     "fence device its VMs wait for `picket confirm-off`");
    }
    if (jget_bool(obj, "spec.pauseFencing", false)) {
        problem_warn(ps, "spec.pauseFencing",
                     "while fencing is paused no VM of a dead host is started elsewhere");
    }
    if (jget_bool(obj, "spec.lab", false)) {
        problem_warn(ps, "spec.lab",
                     "lab clusters accept proofs that prove nothing; never use it with real data");
    }
}

static const char *const cluster_short[] = { NULL };

const struct kind kind_cluster = {
    .name = "Cluster",
    .plural = "clusters",
    .singular = "cluster",
    .short_names = cluster_short,
    .spec = cluster_spec,
    .status = cluster_status,
    .columns = cluster_columns,
    .singleton = "cluster",
    .text = "Policies of the whole cluster; there is exactly one, called \"cluster\".",
    .check = cluster_check,
};
