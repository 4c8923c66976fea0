#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/str.h"

#include <string.h>

/* clang-format off */
static const struct field device_spec[] = {
    { .name = "type", ENUM_OF("ApcSnmp", "Ipmi", "Redfish", "ScsiReservation", "Watchdog", "Agent", "Ssh", "Manual", "Null"),
      .flags = FF_REQUIRED,
      .text = "ApcSnmp: a switched rack PDU. Ipmi, Redfish: a management card. ScsiReservation: cut off from its disks. Watchdog: "
              "the host's own watchdog. Agent: any fence_* program. Manual: a person. Ssh, Null: only in a lab." },
    { .name = "address", .type = F_ADDRESS, .flags = FF_PORT_OK,
      .text = "Where the device answers. An address, not a name: fencing has to work when DNS does not." },
    { .name = "port", .type = F_INT, .min = 1, .max = 65535, .text = "Port, when it is not the usual one." },
    { .name = "communityRef", OBJECT_OF(common_secret_ref), .text = "ApcSnmp: the community with the right to write." },
    { .name = "snmpVersion", ENUM_OF("v1", "v2c", "v3"), .text = "ApcSnmp: version of the protocol; v1 when nothing is said." },
    { .name = "authProtocol", ENUM_OF("MD5", "SHA", "SHA-256", "SHA-512"), .text = "ApcSnmp with v3: authentication." },
    { .name = "privProtocol", ENUM_OF("DES", "AES"), .text = "ApcSnmp with v3: encryption." },
    { .name = "privPasswordRef", OBJECT_OF(common_secret_ref), .text = "ApcSnmp with v3: password of the encryption." },
    { .name = "outlets", MAP_OF(LIST_OF(.type = F_QUANTITY, .min = 1, .max = 64, .text = "Number or name of an outlet."),
      .flags = FF_NONEMPTY, .min = 1, .max = 16, .text = "All outlets that feed the host."), .ref = "Host", .values = WORDS("Auto"),
      .min = 1, .max = 256,
      .text = "Which outlets feed which host: a map from host to a list of outlets, or Auto: those that carry the host's name." },
    { .name = "username", .type = F_STRING, .check = check_oneline, .min = 1, .max = 255, .text = "Login." },
    { .name = "passwordRef", OBJECT_OF(common_secret_ref), .text = "Password of the login." },
    { .name = "identityRef", OBJECT_OF(common_secret_ref), .text = "Ssh: the private key of the login, without passphrase." },
    { .name = "cipher", .type = F_INT, .min = 0, .max = 17, .text = "Ipmi: cipher suite (ipmitool -C)." },
    { .name = "system", .type = F_STRING, .check = check_oneline, .min = 1, .max = 255, .text = "Redfish: the system's path, when the card has several." },
    { .name = "tlsFingerprint", .type = F_STRING, .check = check_fingerprint, .min = 64, .max = 95,
      .text = "Redfish: SHA-256 fingerprint of the card's certificate, in hexadecimal, as `openssl x509 -fingerprint -sha256` prints it. "
              "Without it the certificate has to be signed by an authority that the picketds' hosts know." },
    { .name = "agent", .type = F_STRING, .check = check_fence_agent, .text = "Agent: name of the program, such as fence_ipmilan." },
    { .name = "parameters", MAP_OF(.type = F_QUANTITY, .text = "The value."), .check = check_word, .max = 64,
      .text = "Agent: parameters as the program names them (`picket explain fence_ipmilan` lists them). Passwords belong into passwordRef." },
    { .name = "provides", ENUM_OF("Power", "Storage", "None"),
      .text = "Agent: what a success proves. Only for programs that Picket does not know." },
    { .name = "luns", LIST_OF(NAME_OF("LUN"), .text = "A LUN."), .min = 1, .max = 256,
      .text = "ScsiReservation: the LUNs that it covers; without it all that the host uses." },
    { .name = "drainTime", .type = F_DURATION, .max = 10 * MINUTE,
      .text = "ScsiReservation: how long the array may still carry out commands that it had accepted." },
    { .name = "maxConcurrent", .type = F_INT, .deflt = "1", .min = 1, .max = 64, .text = "So many operations at a time." },
    { .name = "timeout", .type = F_DURATION, .min = 3 * SEC, .max = 10 * MINUTE,
      .text = "Longest time for one operation (off and reading it back); then its result is Unknown. Without it 10s." },
    { .name = "probeInterval", .type = F_DURATION, .deflt = "\"1m\"", .min = 5 * SEC, .max = DAY,
      .text = "How often the device is asked whether it answers; the condition Ready says what it said." },
    { .name = "paused", .type = F_BOOL, .deflt = "false", .text = "The device is not used." },
    FIELD_END
};

static const struct field device_status[] = {
    STATUS_FIELDS,
    { .name = "lastProbe", .type = F_STRING, .text = "When it was asked last." },
    { .name = "model", .type = F_STRING, .text = "What it says it is." },
    { .name = "outlets", .type = F_ANY, .text = "Outlets as the device names them." },
    { .name = "probes", .type = F_ANY, .text = "Per picketd: what it found when it asked the device last." },
    { .name = "tested", .type = F_ANY, .text = "Per host: when the wiring was proved by a power cycle, and for which generation." },
    { .name = "busy", .type = F_INT, .text = "Operations under way." },
    FIELD_END
};

static const struct column device_columns[] = {
    COLUMN_NAME,
    { .title = "Type", .path = ".spec.type" },
    { .title = "Address", .path = ".spec.address" },
    COLUMN_READY,
    { .title = "Reason", .path = "@reason" },
    { .title = "Last-Probe", .path = "@since:.status.lastProbe", .wide = true },
    { .title = "Model", .path = ".status.model", .wide = true },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field fencing_spec[] = {
    { .name = "host", NAME_OF("Host"), .text = "Whom." },
    { .name = "incarnation", .type = F_INT, .text = "Exactly this incarnation of it." },
    { .name = "reason", .type = F_STRING, .text = "Why." },
    { .name = "by", .type = F_STRING, .text = "controller, or the user that asked for it." },
    { .name = "levels", .type = F_ANY, .text = "Levels and device generations as they were when it began." },
    FIELD_END
};

static const struct field fencing_result[] = {
    { .name = "device", .type = F_STRING, .text = "Which device." },
    { .name = "attempt", .type = F_INT, .text = "In which attempt." },
    { .name = "result", ENUM_OF("Unknown", "Succeeded", "Failed"), .text = "What was read back. Unknown never releases anything." },
    { .name = "detail", .type = F_STRING, .text = "What the device said." },
    { .name = "time", .type = F_STRING, .text = "When." },
    FIELD_END
};

static const struct field fencing_status[] = {
    STATUS_FIELDS,
    { .name = "state", ENUM_OF("Open", "Succeeded", "Canceled"), .text = "Succeeded: the host is proved to be off." },
    { .name = "attempt", .type = F_INT, .text = "The number of the attempt, 0: none yet." },
    { .name = "level", .type = F_INT, .text = "Which level of the host's fencing, from 1; 0: none yet." },
    { .name = "executor", .type = F_STRING, .text = "The host whose picketd carries it out." },
    { .name = "veto", .type = F_STRING, .text = "Why the attempt can prove nothing any more." },
    { .name = "results", LIST_OF(OBJECT_OF(fencing_result), .text = "A result."), .text = "What each device said, the newest 64." },
    { .name = "proof", ENUM_OF("None", "Off", "Reboot", "Watchdog", "ScsiReservation", "Confirmation"), .text = "How it was proved." },
    { .name = "opened", .type = F_STRING, .text = "When it began." },
    { .name = "closed", .type = F_STRING, .text = "When it ended." },
    { .name = "message", .type = F_STRING, .text = "What is going on, for people." },
    FIELD_END
};

static const struct column fencing_columns[] = {
    COLUMN_NAME,
    { .title = "Host", .path = ".spec.host" },
    { .title = "Incarnation", .path = ".spec.incarnation" },
    { .title = "State", .path = ".status.state" },
    { .title = "Proof", .path = ".status.proof" },
    { .title = "Attempt", .path = ".status.attempt" },
    { .title = "Executor", .path = ".status.executor" },
    { .title = "Reason", .path = ".spec.reason", .wide = true },
    { .title = "By", .path = ".spec.by", .wide = true },
    { .title = "Opened", .path = "@since:.status.opened" },
    COLUMN_END
};

static const struct field confirmation_spec[] = {
    { .name = "host", NAME_OF("Host"), .flags = FF_REQUIRED | FF_IMMUTABLE, .text = "The host that is off." },
    { .name = "incarnation", .type = F_INT, .flags = FF_REQUIRED | FF_IMMUTABLE, .min = 1, .max = INT64_MAX,
      .text = "Which incarnation of it (`picket get host NAME -o wide`): a host that came back is another one." },
    { .name = "statement", .type = F_STRING, .flags = FF_REQUIRED | FF_IMMUTABLE, .check = check_oneline, .min = 10, .max = 1000,
      .text = "What you verified and how, in words; it has to name the host. Kept for the record." },
    FIELD_END
};

static const struct field confirmation_status[] = {
    STATUS_FIELDS,
    { .name = "accepted", .type = F_BOOL, .text = "Whether it proved anything." },
    { .name = "fencing", .type = F_STRING, .text = "The Fencing that it closed." },
    { .name = "by", .type = F_STRING, .text = "The user who said so." },
    { .name = "time", .type = F_STRING, .text = "When." },
    { .name = "message", .type = F_STRING, .text = "Why it was not accepted." },
    FIELD_END
};

static const struct column confirmation_columns[] = {
    COLUMN_NAME,
    { .title = "Host", .path = ".spec.host" },
    { .title = "Incarnation", .path = ".spec.incarnation" },
    { .title = "Accepted", .path = ".status.accepted" },
    { .title = "By", .path = ".status.by" },
    { .title = "Statement", .path = ".spec.statement", .wide = true },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

/* Which members belong to which types ("*": every type has it). */
static const struct device_rule {
    const char *field;
    const char *types;
    const char *required_by;
} device_rules[] = {
    { "address", " ApcSnmp Ipmi Redfish Agent Ssh ", " ApcSnmp Ipmi Redfish Ssh " },
    { "port", " ApcSnmp Ipmi Redfish Agent Ssh ", "" },
    { "communityRef", " ApcSnmp ", "" },
    { "snmpVersion", " ApcSnmp ", "" },
    { "authProtocol", " ApcSnmp ", "" },
    { "privProtocol", " ApcSnmp ", "" },
    { "privPasswordRef", " ApcSnmp ", "" },
    { "outlets", " ApcSnmp Agent ", " ApcSnmp " },
    { "username", " ApcSnmp Ipmi Redfish Agent Ssh ", " Ipmi Redfish Ssh " },
    { "passwordRef", " ApcSnmp Ipmi Redfish Agent ", " Ipmi Redfish " },
    { "identityRef", " Ssh ", " Ssh " },
    { "cipher", " Ipmi ", "" },
    { "system", " Redfish ", "" },
    { "tlsFingerprint", " Redfish ", "" },
    { "agent", " Agent ", " Agent " },
    { "parameters", " Agent ", "" },
    { "provides", " Agent ", "" },
    { "luns", " ScsiReservation ", "" },
    { "drainTime", " ScsiReservation ", "" },
};

static bool type_in(const char *types, const char *type)
{
    char word[40];

    (void)snprintf(word, sizeof(word), " %s ", type);
    return strstr(types, word) != NULL;
}

static void check_device_fields(const json_t *spec, const char *type, struct problems *ps)
{
    for (size_t i = 0; i < sizeof(device_rules) / sizeof(device_rules[0]); i++) {
        const struct device_rule *r = &device_rules[i];
        bool there = json_object_get(spec, r->field) != NULL;
        char path[64];

        (void)snprintf(path, sizeof(path), "spec.%s", r->field);
        if (there && !type_in(r->types, type)) {
            problem_add(ps, "FieldValueForbidden", path,
                        "a device of type %s has no %s; only these have:%.*s", type, r->field,
                        (int)strlen(r->types) - 1, r->types);
        } else if (!there && type_in(r->required_by, type)) {
            problem_add(ps, "FieldValueRequired", path, "a device of type %s needs it", type);
        }
    }
}

static void check_snmp(const json_t *spec, struct problems *ps)
{
    bool v3 = str_eq(jget_str(spec, "snmpVersion", "v1"), "v3");
    static const char *const v3_fields[] = { "username",     "passwordRef",     "authProtocol",
                                             "privProtocol", "privPasswordRef", NULL };

    if (!v3 && jget(spec, "communityRef") == NULL) {
        problem_add(ps, "FieldValueRequired", "spec.communityRef",
                    "SNMP %s needs a community; put it into a Secret and name it here: "
                    "communityRef: {secret: NAME, key: community}",
                    jget_str(spec, "snmpVersion", "v1"));
    }
    if (!v3 && count_present(spec, v3_fields) > 0) {
        problem_add(ps, "FieldValueInvalid", "spec.snmpVersion",
                    "logins and passwords are for SNMP v3; this device says %s",
                    jget_str(spec, "snmpVersion", "v1"));
    }
    if (v3 && (jget(spec, "username") == NULL || jget(spec, "passwordRef") == NULL)) {
        problem_add(ps, "FieldValueRequired", "spec.username",
                    "SNMP v3 needs username and passwordRef");
    }
    if (v3 && (jget(spec, "privProtocol") == NULL) != (jget(spec, "privPasswordRef") == NULL)) {
        problem_add(ps, "FieldValueInvalid", "spec.privProtocol",
                    "privProtocol and privPasswordRef go together");
    }
}

static void device_check(const json_t *obj, void *problems)
{
    struct problems *ps = problems;
    const char *type = jget_str(obj, "spec.type", "");
    const json_t *spec = jget(obj, "spec");

    if (*type == 0) {
        return;
    }
    check_device_fields(spec, type, ps);
    if (str_eq(type, "ApcSnmp")) {
        check_snmp(spec, ps);
    }
    if (str_eq(type, "Ssh") || str_eq(type, "Null")) {
        problem_warn(ps, "spec.type",
                     "%s works only in a cluster with spec.lab: true; it protects nothing", type);
    }
    if (jget(spec, "port") != NULL && strchr(jget_str(spec, "address", ""), ':') != NULL &&
        strchr(jget_str(spec, "address", ""), '.') != NULL) {
        problem_add(ps, "FieldValueInvalid", "spec.port", "the address already has a port");
    }
}

static void confirmation_check(const json_t *obj, void *problems)
{
    const char *host = jget_str(obj, "spec.host", "");
    const char *statement = jget_str(obj, "spec.statement", "");

    if (*host != 0 && *statement != 0 && strstr(statement, host) == NULL) {
        problem_add(problems, "FieldValueInvalid", "spec.statement",
                    "does not name the host \"%s\"; say what you verified, for example "
                    "\"I saw that %s has no power\"",
                    host, host);
    }
}

static const char *const device_short[] = { "fd", NULL };
static const char *const no_short[] = { NULL };

const struct kind kind_fence_device = {
    .name = "FenceDevice",
    .plural = "fencedevices",
    .singular = "fencedevice",
    .short_names = device_short,
    .spec = device_spec,
    .status = device_status,
    .columns = device_columns,
    .text = "Something that can prove that a host is off.",
    .check = device_check,
};

const struct kind kind_fencing = {
    .name = "Fencing",
    .plural = "fencings",
    .singular = "fencing",
    .short_names = no_short,
    .spec = fencing_spec,
    .status = fencing_status,
    .columns = fencing_columns,
    .read_only = true,
    .one_shot = true,
    .text = "One fencing of one incarnation of a host. Made by the leader, or by `picket fence "
            "HOST`; read only.",
};

const struct kind kind_fence_confirmation = {
    .name = "FenceConfirmation",
    .plural = "fenceconfirmations",
    .singular = "fenceconfirmation",
    .short_names = no_short,
    .spec = confirmation_spec,
    .status = confirmation_status,
    .columns = confirmation_columns,
    .one_shot = true,
    .text = "An operator's word that one incarnation of a host is off (`picket confirm-off HOST`).",
    .check = confirmation_check,
};
