#include "fence/agent_rules.h"

#include <ctype.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define STATUS_OFF 2
#define NAME_MAX_LEN 64U

bool agent_rules_program_ok(const char *name)
{
    return name != NULL && str_starts(name, "fence_") &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

/* Agents take a-b for a_b. */
static bool normalise(const char *name, char dst[NAME_MAX_LEN])
{
    if (name[0] == '\0' || !str_copy(dst, NAME_MAX_LEN, name)) {
        return false;
    }
    for (char *p = dst; *p != '\0'; p++) {
        *p = *p == '-' ? '_' : (char)tolower((unsigned char)*p);
        if (!isalnum((unsigned char)*p) && *p != '_') {
            return false;
        }
    }
    return true;
}

static bool ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

static bool one_of(const char *s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(s, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

const char *agent_rules_param_refused(const char *name)
{
    static const char *const ours[] = { "action", "option", "agent", "help", "version" };
    static const char *const lies[] = { "missing_as_off", "record_only", "suppress_errors" };
    static const char *const files[] = { "debug", "debug_file", "logfile", "status_file" };
    static const char *const runs[] = { "script", "exec", "ssh_options" };
    char n[NAME_MAX_LEN];

    if (!normalise(name, n)) {
        return "a name has letters, digits, _ and - only, and less than 64 of them";
    }
    if (one_of(n, ours, ARRAY_LEN(ours))) {
        return "the action is not the device's to choose";
    }
    if (one_of(n, lies, ARRAY_LEN(lies))) {
        return "what an agent cannot see is not off";
    }
    if (one_of(n, files, ARRAY_LEN(files))) {
        return "a device may not name a file to be written";
    }
    if (one_of(n, runs, ARRAY_LEN(runs)) || ends(n, "_script") ||
        (ends(n, "_path") && strcmp(n, "api_path") != 0)) {
        return "a device may not name a program to be run";
    }
    return NULL;
}

/* Everything on our list of power programs is made with fencing.py, but for these. */
static bool says_status(const char *program)
{
    static const char *const silent[] = { "fence_virt", "fence_xvm" };

    return fence_class_of(FENCE_TYPE_AGENT, program, NULL, false) == FENCE_CLASS_POWER &&
           !one_of(program, silent, ARRAY_LEN(silent));
}

bool agent_rules_says_off(const char *program, int exit_status, const char *output)
{
    if (exit_status != STATUS_OFF) {
        return false;
    }
    return !says_status(program) || strstr(output, "Status: OFF") != NULL;
}
