/* status.lastStop: when, where and why a machine stopped running last.
 *
 * A guest that was stopped and started again within a second leaves no other trace, and its owner
 * will ask.  Its agent's word counts, since a stop that the agent could not report at once (it had
 * lost its lease) is over when it can; without one, it is what this leader saw. */

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_priv.h"

#define SLACK_MS 10000U /* between what an agent and a leader call now */

static bool runs(const char *phase)
{
    return str_eq(phase, "Running") || str_eq(phase, "Paused") || str_eq(phase, "Migrating");
}

static bool ended(const char *phase)
{
    return str_eq(phase, "Starting") || str_eq(phase, "Stopping") || str_eq(phase, "Pending") ||
           str_eq(phase, "Stopped") || str_eq(phase, "Failed");
}

static void remember(json_t *next, uint64_t at_ms, const char *host, const char *reason,
                     const char *message)
{
    char at[32];

    str_format_time(at_ms, at, sizeof(at));
    jset(next, "status.lastStop",
         json_pack("{s:s, s:s, s:s, s:s}", "at", at, "host", host, "reason", reason, "message",
                   message));
}

/* As this leader saw it: of a host that was lost, when its lock is free. */
static void saw(struct pass *p, const json_t *old, json_t *next)
{
    const char *was = jget_str(old, "status.phase", "");
    const json_t *then = cond_get(old, "Ready");
    const json_t *now = cond_get(next, "Ready");

    if (!ended(jget_str(next, "status.phase", ""))) {
        return;
    }
    if (str_eq(was, "Unknown") && str_eq(jget_str(then, "reason", ""), "HostLost")) {
        remember(next, p->wall_ms, jget_str(old, "status.host", ""), "HostLost",
                 jget_str(then, "message", ""));
    } else if (runs(was)) {
        remember(next, p->wall_ms, jget_str(old, "status.host", ""), jget_str(now, "reason", ""),
                 jget_str(now, "message", ""));
    }
}

static void told(const char *host, const json_t *stop, json_t *next)
{
    uint64_t at = (uint64_t)jget_int(stop, "wallMs", 0);
    uint64_t known = 0;

    if (stop == NULL) {
        return;
    }
    (void)str_parse_time(jget_str(next, "status.lastStop.at", ""), &known);
    if (at > known ||
        (at + SLACK_MS >= known && str_eq(jget_str(next, "status.lastStop.host", ""), host))) {
        remember(next, at, host, jget_str(stop, "reason", ""), jget_str(stop, "message", ""));
    }
}

void ctl_stop_update(struct pass *p, const struct ctl_obj *vm, const char *host,
                     const json_t *report, json_t *next)
{
    saw(p, vm->json, next);
    told(host, jget(report, "lastStop"), next);
}
