#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

/* clang-format off */
static const struct field rule_spec[] = {
    { .name = "type", ENUM_OF("Together", "Apart", "OnHosts", "NotOnHosts"), .flags = FF_REQUIRED,
      .text = "All on one host; each on another host; only on these hosts; not on these hosts." },
    { .name = "strength", ENUM_OF("Required", "Preferred"), .deflt = "\"Required\"",
      .text = "Required is never broken: a VM rather does not run. Preferred is broken when nothing else fits." },
    { .name = "weight", .type = F_INT, .deflt = "100", .min = 1, .max = 100, .text = "How much a preferred rule counts against other ones." },
    { .name = "vms", LIST_OF(NAME_OF("VirtualMachine"), .text = "A VM."), .min = 1, .max = 1024, .text = "Which VMs. A rule has this or selector." },
    { .name = "selector", MAP_OF(.type = F_STRING, .check = check_label_value, .text = "The label's value."), .check = check_label_key, .min = 1, .max = 32, .text = "All VMs that have all these labels." },
    { .name = "topologyKey", .type = F_STRING, .check = check_label_key, .text = "Together and Apart: hosts with the same value of this label, such as rack, count as one place; without it each host is one." },
    { .name = "hosts", LIST_OF(NAME_OF("Host"), .text = "A host."), .min = 1, .max = 256, .text = "OnHosts and NotOnHosts: which hosts. Such a rule has this or hostSelector." },
    { .name = "hostSelector", MAP_OF(.type = F_STRING, .check = check_label_value, .text = "The label's value."), .check = check_label_key, .min = 1, .max = 32, .text = "All hosts that have all these labels." },
    FIELD_END
};

static const struct field rule_status[] = {
    STATUS_FIELDS,
    { .name = "violated", LIST_OF(.type = F_STRING, .text = "A VM."), .text = "VMs that break it now." },
    FIELD_END
};

static const struct column rule_columns[] = {
    COLUMN_NAME,
    { .title = "Type", .path = ".spec.type" },
    { .title = "Strength", .path = ".spec.strength" },
    { .title = "VMs", .path = ".spec.vms" },
    { .title = "Hosts", .path = ".spec.hosts" },
    { .title = "Violated", .path = ".status.violated" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field migration_spec[] = {
    { .name = "vm", NAME_OF("VirtualMachine"), .flags = FF_REQUIRED | FF_IMMUTABLE, .text = "What moves." },
    { .name = "target", NAME_OF("Host"), .values = WORDS("Auto"), .deflt = "\"Auto\"", .flags = FF_IMMUTABLE, .text = "Where to; Auto lets placement choose." },
    { .name = "mode", ENUM_OF("Auto", "Live", "Cold"), .deflt = "\"Auto\"", .flags = FF_IMMUTABLE, .text = "While it runs, or stopped and started again. Auto moves it live where that is possible, else cold where the VM's spec.migration.fallback allows it." },
    { .name = "timeout", .type = F_DURATION, .deflt = "\"10m\"", .flags = FF_IMMUTABLE, .min = SEC, .max = DAY, .text = "After so long it is given up." },
    { .name = "bandwidth", .type = F_SIZE, .flags = FF_IMMUTABLE, .min = 64 * KIB, .text = "Bytes a second at most; without it the cluster's migration.bandwidth." },
    { .name = "cause", ENUM_OF("HostMaintenance", "Failback", "RuleViolated", "Preempted"), .flags = FF_IMMUTABLE, .text = "Why, when placement asked for it: HostMaintenance, Failback, RuleViolated, Preempted." },
    { .name = "onTimeout", ENUM_OF("Cancel", "Cold"), .deflt = "\"Cancel\"", .flags = FF_IMMUTABLE, .text = "Then: stay where it is, or move it cold." },
    FIELD_END
};

static const struct field migration_journal[] = {
    { .name = "time", .type = F_STRING, .text = "When." },
    { .name = "phase", .type = F_STRING, .text = "Which phase began." },
    { .name = "message", .type = F_STRING, .text = "What happened." },
    FIELD_END
};

static const struct field migration_status[] = {
    STATUS_FIELDS,
    { .name = "phase", ENUM_OF("Pending", "Preparing", "Running", "Committing", "Canceling", "Succeeded", "Failed", "Canceled"), .text = "Where it stands." },
    { .name = "method", ENUM_OF("Live", "Cold"), .text = "How it moves." },
    { .name = "reason", .type = F_STRING, .text = "Why it ended as it did, for programs." },
    { .name = "outcome", .type = F_STRING, .text = "What follows when it has been called back." },
    { .name = "source", .type = F_STRING, .text = "Where the VM was." },
    { .name = "sourceIncarnation", .type = F_INT, .text = "The incarnation of that host." },
    { .name = "target", .type = F_STRING, .text = "Where it goes." },
    { .name = "targetIncarnation", .type = F_INT, .text = "The incarnation of that host." },
    { .name = "address", .type = F_STRING, .text = "Where the target listens." },
    { .name = "bandwidth", .type = F_INT, .text = "Bytes a second at most; 0: no limit." },
    { .name = "phaseSince", .type = F_STRING, .text = "When this phase began." },
    { .name = "started", .type = F_STRING, .text = "When it began." },
    { .name = "finished", .type = F_STRING, .text = "When it ended." },
    { .name = "downtimeMs", .type = F_INT, .text = "How long the guest stood still." },
    { .name = "message", .type = F_STRING, .text = "What happened." },
    { .name = "journal", LIST_OF(OBJECT_OF(migration_journal), .text = "A phase."), .text = "Every phase, in order." },
    FIELD_END
};

static const struct column migration_columns[] = {
    COLUMN_NAME,
    { .title = "VM", .path = ".spec.vm" },
    { .title = "Mode", .path = ".spec.mode" },
    { .title = "Method", .path = ".status.method" },
    { .title = "Phase", .path = ".status.phase" },
    { .title = "Source", .path = ".status.source" },
    { .title = "Target", .path = ".status.target" },
    { .title = "Message", .path = ".status.message" },
    { .title = "Cause", .path = ".spec.cause", .wide = true },
    { .title = "Reason", .path = ".status.reason", .wide = true },
    { .title = "Downtime-Ms", .path = ".status.downtimeMs", .wide = true },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static void rule_check_hosts(const json_t *obj, const char *type, struct problems *ps)
{
    static const char *const names[] = { "hosts", "hostSelector", NULL };
    size_t n = count_present(jget(obj, "spec"), names);
    bool wants = str_eq(type, "OnHosts") || str_eq(type, "NotOnHosts");

    if (wants && jget(obj, "spec.topologyKey") != NULL) {
        problem_add(ps, "FieldValueForbidden", "spec.topologyKey",
                    "is for Together and Apart; this rule has type %s", type);
    }
    if (wants && n == 0) {
        problem_add(ps, "FieldValueRequired", "spec.hosts", "%s needs hosts or hostSelector", type);
    } else if (!wants && n > 0) {
        problem_add(ps, "FieldValueForbidden", "spec.hosts",
                    "%s is about VMs among themselves; for hosts use OnHosts or NotOnHosts", type);
    }
}

static void rule_check(const json_t *obj, void *problems)
{
    static const char *const names[] = { "vms", "selector", NULL };
    const char *type = jget_str(obj, "spec.type", "");
    bool among = str_eq(type, "Together") || str_eq(type, "Apart");
    size_t n_vms = json_array_size(jget(obj, "spec.vms"));
    size_t n = count_present(jget(obj, "spec"), names);

    if (*type == 0) {
        return;
    }
    if (n == 0) {
        problem_add(problems, "FieldValueRequired", "spec.vms",
                    "nothing says which VMs: give vms or selector");
    } else if (n > 1) {
        problem_add(problems, "FieldValueInvalid", "spec.selector",
                    "both vms and selector are given; give one of them");
    } else if (among && n_vms == 1) {
        problem_add(
            problems, "FieldValueInvalid", "spec.vms",
            "%s is about two or more VMs, this names one; add another one or use a selector", type);
    }
    check_list_unique(obj, "spec.vms", NULL, problems);
    check_list_unique(obj, "spec.hosts", NULL, problems);
    rule_check_hosts(obj, type, problems);
}

static const char *const rule_short[] = { "pr", NULL };
static const char *const migration_short[] = { "mig", NULL };

const struct kind kind_placement_rule = {
    .name = "PlacementRule",
    .plural = "placementrules",
    .singular = "placementrule",
    .short_names = rule_short,
    .spec = rule_spec,
    .status = rule_status,
    .columns = rule_columns,
    .text = "Which VMs run together, apart, on or not on which hosts.",
    .check = rule_check,
};

const struct kind kind_migration = {
    .name = "Migration",
    .plural = "migrations",
    .singular = "migration",
    .short_names = migration_short,
    .spec = migration_spec,
    .status = migration_status,
    .columns = migration_columns,
    .one_shot = true,
    .text = "Moves one VM once. It leaves no constraint behind.",
};
