#include "fence/dev.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/obj.h"
#include "base/str.h"

static const char *const type_names[] = {
    [FENCE_TYPE_NONE] = "",
    [FENCE_TYPE_APC_SNMP] = "ApcSnmp",
    [FENCE_TYPE_IPMI] = "Ipmi",
    [FENCE_TYPE_REDFISH] = "Redfish",
    [FENCE_TYPE_SCSI_RESERVATION] = "ScsiReservation",
    [FENCE_TYPE_WATCHDOG] = "Watchdog",
    [FENCE_TYPE_AGENT] = "Agent",
    [FENCE_TYPE_SSH] = "Ssh",
    [FENCE_TYPE_MANUAL] = "Manual",
    [FENCE_TYPE_NULL] = "Null",
};

static const char *const action_names[] = {
    [FENCE_ACTION_NONE] = "",     [FENCE_ACTION_STATUS] = "status", [FENCE_ACTION_OFF] = "off",
    [FENCE_ACTION_ON] = "on",     [FENCE_ACTION_REBOOT] = "reboot", [FENCE_ACTION_PROBE] = "probe",
    [FENCE_ACTION_LIST] = "list",
};

const char *fence_type_name(enum fence_type t)
{
    CHECK((size_t)t < ARRAY_LEN(type_names));
    return type_names[t];
}

enum fence_type fence_type_parse(const char *s)
{
    for (size_t i = 1; s != NULL && i < ARRAY_LEN(type_names); i++) {
        if (strcmp(s, type_names[i]) == 0) {
            return (enum fence_type)i;
        }
    }
    return FENCE_TYPE_NONE;
}

const char *fence_action_name(enum fence_action a)
{
    CHECK((size_t)a < ARRAY_LEN(action_names));
    return action_names[a];
}

enum fence_action fence_action_parse(const char *s)
{
    for (size_t i = 1; s != NULL && i < ARRAY_LEN(action_names); i++) {
        if (strcmp(s, action_names[i]) == 0) {
            return (enum fence_action)i;
        }
    }
    return FENCE_ACTION_NONE;
}

const char *fence_outcome_name(enum fence_outcome r)
{
    switch (r) {
    case FENCE_UNKNOWN:
        return "Unknown";
    case FENCE_SUCCEEDED:
        return "Succeeded";
    case FENCE_FAILED:
        return "Failed";
    }
    CHECK_UNREACHABLE();
}

const char *fence_power_name(enum fence_power p)
{
    switch (p) {
    case FENCE_POWER_UNKNOWN:
        return "Unknown";
    case FENCE_POWER_ON:
        return "On";
    case FENCE_POWER_OFF:
        return "Off";
    }
    CHECK_UNREACHABLE();
}

/* --- what a success proves
 * ------------------------------------------------------------------------- */

/* Programs of the package fence-agents (4.12.1) that switch the power of the host, or of the
 * machine that it is a guest of, and read it back. */
static const char *const power_programs[] = {
    "fence_amt_ws",      "fence_apc",
    "fence_apc_snmp",    "fence_bladecenter",
    "fence_cisco_ucs",   "fence_cyberpower_ssh",
    "fence_drac5",       "fence_eaton_snmp",
    "fence_emerson",     "fence_eps",
    "fence_hpblade",     "fence_idrac",
    "fence_ilo",         "fence_ilo2",
    "fence_ilo3",        "fence_ilo4",
    "fence_ilo5",        "fence_ilo_moonshot",
    "fence_ilo_mp",      "fence_ilo_ssh",
    "fence_imm",         "fence_intelmodular",
    "fence_ipdu",        "fence_ipmilan",
    "fence_ipmilanplus", "fence_lpar",
    "fence_netio",       "fence_pve",
    "fence_raritan",     "fence_rcd_serial",
    "fence_redfish",     "fence_rsa",
    "fence_rsb",         "fence_tripplite_snmp",
    "fence_virsh",       "fence_virt",
    "fence_vmware_rest", "fence_vmware_soap",
    "fence_wti",         "fence_xvm",
};

/* They cut a host off its disks and leave it running. */
static const char *const storage_programs[] = { "fence_mpath", "fence_scsi" };

/* They prove nothing, whatever the device says that it provides: they only ask, wait or pretend. */
static const char *const useless_programs[] = {
    "fence_ack_manual", "fence_dummy",  "fence_heuristics_ping",
    "fence_kdump",      "fence_legacy", "fence_null",
    "fence_sanlock",    "fence_sbd",    "fence_watchdog",
};

static bool listed(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static enum fence_class class_of_program(const char *program, const char *provides)
{
    if (program == NULL || listed(useless_programs, ARRAY_LEN(useless_programs), program)) {
        return FENCE_CLASS_NONE;
    }
    if (listed(storage_programs, ARRAY_LEN(storage_programs), program)) {
        return FENCE_CLASS_STORAGE;
    }
    if (str_eq(provides, "None")) {
        return FENCE_CLASS_NONE;
    }
    if (listed(power_programs, ARRAY_LEN(power_programs), program) || str_eq(provides, "Power")) {
        return FENCE_CLASS_POWER;
    }
    return str_eq(provides, "Storage") ? FENCE_CLASS_STORAGE : FENCE_CLASS_NONE;
}

enum fence_class fence_class_of(enum fence_type t, const char *program, const char *provides,
                                bool lab)
{
    switch (t) {
    case FENCE_TYPE_APC_SNMP:
    case FENCE_TYPE_IPMI:
    case FENCE_TYPE_REDFISH:
        return FENCE_CLASS_POWER;
    case FENCE_TYPE_SCSI_RESERVATION:
        return FENCE_CLASS_STORAGE;
    case FENCE_TYPE_AGENT:
        return class_of_program(program, provides);
    case FENCE_TYPE_NULL:
        return lab ? FENCE_CLASS_POWER : FENCE_CLASS_NONE;
    case FENCE_TYPE_NONE:
    case FENCE_TYPE_WATCHDOG: /* has a proof of its own */
    case FENCE_TYPE_SSH:      /* a host that can be asked to stop is not proved to have stopped */
    case FENCE_TYPE_MANUAL:   /* so has a person */
        return FENCE_CLASS_NONE;
    }
    CHECK_UNREACHABLE();
}

/* --- outlets
 * --------------------------------------------------------------------------------------- */

static bool outlet_is_of(const char *outlet, const char *host)
{
    size_t n = strlen(host);
    char c;

    if (n == 0 || strncasecmp(outlet, host, n) != 0) {
        return false;
    }
    if (outlet[n] == '\0') {
        return true;
    }
    if (strchr("-._/", outlet[n]) == NULL || outlet[n + 1] == '\0' || outlet[n + 2] != '\0') {
        return false;
    }
    c = (char)toupper((unsigned char)outlet[n + 1]);
    return (c >= 'A' && c <= 'H') || (c >= '0' && c <= '9');
}

size_t fence_outlets_match(const struct fence_outlet *outlets, size_t n, const char *host,
                           size_t ret[FENCE_MAX_OUTLETS])
{
    size_t count = 0;

    CHECK(n <= FENCE_MAX_OUTLETS);
    for (size_t i = 0; i < n; i++) {
        if (outlet_is_of(outlets[i].name, host)) {
            ret[count++] = i;
        }
    }
    return count;
}

void fence_answer_set(struct fence_answer *ans, enum fence_outcome result, const char *fmt, ...)
{
    va_list ap;

    ans->result = result;
    va_start(ap, fmt);
    (void)vsnprintf(ans->detail, sizeof(ans->detail), fmt, ap);
    va_end(ap);
    for (char *p = ans->detail; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e) {
            *p = ' ';
        }
    }
}
