#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

/* clang-format off */
#define ADDRESSES_FIELD \
    { .name = "addresses", LIST_OF(.type = F_CIDR, .text = "Address with prefix length."), .max = 16, \
      .text = "Addresses of the host on this interface." }
#define GATEWAY_FIELD \
    { .name = "gateway", .type = F_ADDRESS, .text = "Default gateway through this interface." }
#define MTU_FIELD \
    { .name = "mtu", .type = F_INT, .min = 68, .max = 65535, .text = "Largest packet; without it the kernel's default." }
#define COMMIT_FIELD \
    { .name = "commitTimeout", .type = F_DURATION, .deflt = "\"30s\"", .min = SEC, .max = 10 * MINUTE, \
      .text = "A change after which the host cannot reach the cluster for this long is rolled back." }
#define PER_HOST_FIELD(f) \
    { .name = "perHost", MAP_OF(OBJECT_OF(f), .text = "What is different on this host."), .ref = "Host", .max = 256, \
      .text = "What is different on single hosts; a field given here replaces the general one." }

static const struct field bond_host_fields[] = {
    { .name = "members", LIST_OF(.type = F_STRING, .check = check_ifname, .text = "A network card."), .min = 1, .max = 16, .text = "Its network cards." },
    { .name = "primary", .type = F_STRING, .check = check_ifname, .text = "The preferred one." },
    ADDRESSES_FIELD,
    GATEWAY_FIELD,
    MTU_FIELD,
    FIELD_END
};

static const struct field bond_spec[] = {
    { .name = "members", LIST_OF(.type = F_STRING, .check = check_ifname, .text = "A network card."), .flags = FF_REQUIRED, .min = 1, .max = 16,
      .text = "Its network cards. They belong to the bond then and carry no address of their own." },
    { .name = "mode", ENUM_OF("ActiveBackup", "LACP", "BalanceRR", "BalanceXor", "Broadcast", "BalanceTLB", "BalanceALB"), .deflt = "\"ActiveBackup\"",
      .text = "How the cards are used. LACP (802.3ad) needs a switch that plays along." },
    { .name = "miimon", .type = F_DURATION, .deflt = "\"100ms\"", .min = 10, .max = 10 * SEC, .text = "How often the link of each card is looked at." },
    { .name = "upDelay", .type = F_DURATION, .max = 10 * MINUTE, .text = "A card is used again after its link was up for so long." },
    { .name = "downDelay", .type = F_DURATION, .max = MINUTE, .text = "A card is given up after its link was down for so long." },
    { .name = "primary", .type = F_STRING, .check = check_ifname, .text = "The preferred card of ActiveBackup, BalanceTLB and BalanceALB." },
    { .name = "lacpRate", ENUM_OF("Slow", "Fast"), .text = "LACP: Slow needs 90 s to see a dead partner, Fast 3 s; Fast when nothing is said." },
    { .name = "xmitHashPolicy", ENUM_OF("Layer2", "Layer23", "Layer34", "Encap23", "Encap34", "VlanSrcMac"), .text = "LACP and BalanceXor: which card a packet takes." },
    ADDRESSES_FIELD,
    GATEWAY_FIELD,
    MTU_FIELD,
    ON_HOSTS_FIELDS,
    PER_HOST_FIELD(bond_host_fields),
    COMMIT_FIELD,
    PAUSED_FIELD("the bond"),
    FIELD_END
};

static const struct field net_host_status[] = {
    { .name = "state", .type = F_STRING, .text = "Ready, Absent, Failed, RolledBack or Unknown." },
    { .name = "up", .type = F_BOOL, .text = "Whether it has a carrier." },
    { .name = "active", .type = F_STRING, .text = "Bond: the card in use." },
    { .name = "addresses", LIST_OF(.type = F_STRING, .text = "An address."), .text = "Addresses that it has." },
    { .name = "message", .type = F_STRING, .text = "What is the matter." },
    FIELD_END
};

static const struct field net_status[] = {
    STATUS_FIELDS,
    { .name = "hosts", MAP_OF(OBJECT_OF(net_host_status), .text = "As it is on this host."), .text = "Per host." },
    FIELD_END
};

static const struct column bond_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Members", .path = ".spec.members" },
    { .title = "Mode", .path = ".spec.mode" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field bridge_host_fields[] = {
    { .name = "ports", LIST_OF(.type = F_STRING, .check = check_ifname, .text = "A bond, VLAN or network card."), .max = 32, .text = "Its ports." },
    ADDRESSES_FIELD,
    GATEWAY_FIELD,
    MTU_FIELD,
    FIELD_END
};

static const struct field bridge_spec[] = {
    { .name = "ports", LIST_OF(.type = F_STRING, .check = check_ifname, .text = "A bond, VLAN or network card."), .max = 32,
      .text = "What connects it with the world; none: guests of one host among themselves." },
    { .name = "stp", .type = F_BOOL, .deflt = "false", .text = "Spanning tree. Off is right unless bridges form a loop." },
    { .name = "forwardDelay", .type = F_DURATION, .deflt = "\"0s\"", .max = 30 * SEC,
      .text = "How long a new port listens before it forwards; with 0s a migrated guest is reachable at once." },
    { .name = "helloTime", .type = F_DURATION, .min = SEC, .max = 10 * SEC, .text = "Spanning tree: time between hellos." },
    { .name = "maxAge", .type = F_DURATION, .min = 6 * SEC, .max = 40 * SEC, .text = "Spanning tree: how long a hello is good." },
    { .name = "pathCost", .type = F_INT, .min = 1, .max = 65535, .text = "Spanning tree: cost of the ports." },
    { .name = "vlanFiltering", .type = F_BOOL, .deflt = "false", .text = "Whether the bridge looks at VLAN tags; needed for nics with a vlan." },
    ADDRESSES_FIELD,
    GATEWAY_FIELD,
    MTU_FIELD,
    ON_HOSTS_FIELDS,
    PER_HOST_FIELD(bridge_host_fields),
    COMMIT_FIELD,
    PAUSED_FIELD("the bridge"),
    FIELD_END
};

static const struct column bridge_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Ports", .path = ".spec.ports" },
    { .title = "STP", .path = ".spec.stp" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field vlan_host_fields[] = {
    { .name = "link", .type = F_STRING, .check = check_ifname, .text = "The interface below." },
    ADDRESSES_FIELD,
    GATEWAY_FIELD,
    MTU_FIELD,
    FIELD_END
};

static const struct field vlan_spec[] = {
    { .name = "link", .type = F_STRING, .flags = FF_REQUIRED, .check = check_ifname, .text = "The interface below: a bond, bridge or network card." },
    { .name = "id", .type = F_INT, .flags = FF_REQUIRED, .min = 1, .max = 4094, .text = "The tag." },
    ADDRESSES_FIELD,
    GATEWAY_FIELD,
    MTU_FIELD,
    ON_HOSTS_FIELDS,
    PER_HOST_FIELD(vlan_host_fields),
    COMMIT_FIELD,
    PAUSED_FIELD("the VLAN"),
    FIELD_END
};

static const struct column vlan_columns[] = {
    COLUMN_NAME,
    COLUMN_READY,
    { .title = "Link", .path = ".spec.link" },
    { .title = "ID", .path = ".spec.id" },
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field check_spec[] = {
    { .name = "targets", LIST_OF(.type = F_ADDRESS, .text = "An address that should answer a ping."), .flags = FF_REQUIRED, .min = 1, .max = 16,
      .text = "Whom every host pings; best something that guests need too, such as the gateway." },
    { .name = "threshold", .type = F_INT, .deflt = "1", .min = 1, .max = 16, .text = "So many targets have to answer." },
    { .name = "port", .type = F_INT, .min = 1, .max = 65535,
      .text = "Open a TCP connection to this port instead of a ping; a refused one is an answer, too." },
    { .name = "interval", .type = F_DURATION, .deflt = "\"1s\"", .min = 100, .max = HOUR, .text = "How often." },
    { .name = "timeout", .type = F_DURATION, .min = 50, .max = MINUTE, .text = "How long one answer may take; without it the interval." },
    { .name = "failures", .type = F_INT, .deflt = "5", .min = 1, .max = 1000, .text = "After so many failures in a row the host has no network." },
    { .name = "recoveries", .type = F_INT, .deflt = "5", .min = 1, .max = 1000, .text = "After so many successes in a row it has it again." },
    { .name = "action", ENUM_OF("MigrateAway", "Warn"), .deflt = "\"Warn\"",
      .text = "MigrateAway moves VMs live to a host whose check succeeds. When it fails everywhere, nothing moves." },
    ON_HOSTS_FIELDS,
    PAUSED_FIELD("the check"),
    FIELD_END
};

static const struct field check_host_status[] = {
    { .name = "state", ENUM_OF("Passing", "Failing", "Unknown"), .text = "What the host found." },
    { .name = "reachable", .type = F_INT, .text = "Targets that answered." },
    { .name = "since", .type = F_STRING, .text = "Since when." },
    { .name = "message", .type = F_STRING, .text = "Which did not answer." },
    FIELD_END
};

static const struct field check_status[] = {
    STATUS_FIELDS,
    { .name = "hosts", MAP_OF(OBJECT_OF(check_host_status), .text = "On this host."), .text = "Per host." },
    FIELD_END
};

static const struct column check_columns[] = {
    COLUMN_NAME,
    { .title = "Targets", .path = ".spec.targets" },
    { .title = "Action", .path = ".spec.action" },
    COLUMN_READY,
    { .title = "Reason", .path = "@reason" },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static void bond_check(const json_t *obj, void *problems)
{
    const char *mode = jget_str(obj, "spec.mode", "ActiveBackup");
    bool lacp = str_eq(mode, "LACP");
    const char *primary = jget_str(obj, "spec.primary", NULL);
    const json_t *members = jget(obj, "spec.members");
    bool found = false;

    check_name_ifname(obj, problems);
    check_list_unique(obj, "spec.members", NULL, problems);
    if (json_array_size(members) == 1) {
        problem_warn(problems, "spec.members", "a bond of one card protects against nothing");
    }
    if (!lacp && jget(obj, "spec.lacpRate") != NULL) {
        problem_add(problems, "FieldValueForbidden", "spec.lacpRate",
                    "is for mode LACP; this bond has mode %s", mode);
    }
    if (!lacp && !str_eq(mode, "BalanceXor") && jget(obj, "spec.xmitHashPolicy") != NULL) {
        problem_add(problems, "FieldValueForbidden", "spec.xmitHashPolicy",
                    "is for the modes LACP and BalanceXor; this bond has mode %s", mode);
    }
    for (size_t i = 0; i < json_array_size(members); i++) {
        found = found || str_eq(primary, json_string_value(json_array_get(members, i)));
    }
    if (primary != NULL && !found) {
        problem_add(problems, "FieldValueInvalid", "spec.primary", "\"%s\" is none of the members",
                    primary);
    }
}

static void bridge_check(const json_t *obj, void *problems)
{
    check_name_ifname(obj, problems);
    check_list_unique(obj, "spec.ports", NULL, problems);
    if (jget_bool(obj, "spec.stp", false) && jget_duration(obj, "spec.forwardDelay", 0) < 2000) {
        problem_add(problems, "FieldValueInvalid", "spec.forwardDelay",
                    "with stp the kernel wants 2s to 30s (802.1D); this is %s",
                    jget_str(obj, "spec.forwardDelay", "0s"));
    }
}

static void vlan_check(const json_t *obj, void *problems)
{
    check_name_ifname(obj, problems);
}

static void netcheck_check(const json_t *obj, void *problems)
{
    int64_t threshold = jget_int(obj, "spec.threshold", 1);
    size_t n = json_array_size(jget(obj, "spec.targets"));

    check_list_unique(obj, "spec.targets", NULL, problems);
    if (n > 0 && threshold > (int64_t)n) {
        problem_add(problems, "FieldValueInvalid", "spec.threshold",
                    "%lld targets have to answer, but there are only %zu", (long long)threshold, n);
    }
    if (n == 1 && str_eq(jget_str(obj, "spec.action", ""), "MigrateAway")) {
        problem_warn(problems, "spec.targets",
                     "one target: a path that only it uses looks like a host without network");
    }
}

static const char *const no_short[] = { NULL };
static const char *const bridge_short[] = { "br", NULL };
static const char *const check_short[] = { "nc", NULL };

const struct kind kind_bond = {
    .name = "Bond",
    .plural = "bonds",
    .singular = "bond",
    .short_names = no_short,
    .spec = bond_spec,
    .status = net_status,
    .columns = bond_columns,
    .text = "Several network cards as one interface. The object's name is the interface's name.",
    .check = bond_check,
};

const struct kind kind_bridge = {
    .name = "Bridge",
    .plural = "bridges",
    .singular = "bridge",
    .short_names = bridge_short,
    .spec = bridge_spec,
    .status = net_status,
    .columns = bridge_columns,
    .text = "A bridge that guests are connected to. The object's name is the interface's name.",
    .check = bridge_check,
};

const struct kind kind_vlan = {
    .name = "VLAN",
    .plural = "vlans",
    .singular = "vlan",
    .short_names = no_short,
    .spec = vlan_spec,
    .status = net_status,
    .columns = vlan_columns,
    .text = "A VLAN on an interface. The object's name is the interface's name.",
    .check = vlan_check,
};

const struct kind kind_network_check = {
    .name = "NetworkCheck",
    .plural = "networkchecks",
    .singular = "networkcheck",
    .short_names = check_short,
    .spec = check_spec,
    .status = check_status,
    .columns = check_columns,
    .text = "Whether hosts still reach the network that their guests are there for.",
    .check = netcheck_check,
};
