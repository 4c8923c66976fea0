/* Hosts on which a machine failed to start, or ended too often: avoided for a while, longer each
 * time.
 *
 * The agent gives up after ha.restartLimit and says so in its report; what is remembered is in
 * status.avoid, so that it outlives the report and the leader. */

#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl_priv.h"

#define AVOID_MS 60000U       /* the first time; doubled each time */
#define AVOID_MAX_MS 1800000U /* at most */
#define FORGET_MS 3600000U    /* after the end of the last time */

static json_t *entry_of(const json_t *list, const char *host)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *e = json_array_get(list, i);

        if (str_eq(jget_str(e, "host", ""), host)) {
            return e;
        }
    }
    return NULL;
}

static uint64_t time_of(const json_t *e, const char *field)
{
    uint64_t ms = 0;

    (void)str_parse_time(jget_str(e, field, ""), &ms);
    return ms;
}

static bool gave_up(const json_t *report, int64_t generation)
{
    const char *reason = jget_str(report, "reason", "");

    return str_eq(jget_str(report, "state", ""), "Crashed") &&
           !jget_bool(report, "halted", false) &&
           jget_int(report, "generation", -1) == generation &&
           (str_eq(reason, "StartFailed") || str_eq(reason, "RestartLimit"));
}

/* The same words of an agent count once: it goes on saying them until the machine is elsewhere. */
static bool counted(const json_t *e, const json_t *report)
{
    return e != NULL && jget_int(e, "incarnation", 0) == jget_int(report, "incarnation", -1) &&
           jget_int(e, "restarts", 0) >= jget_int(report, "restarts", 0);
}

static void remember(struct pass *p, json_t *list, const char *host, const json_t *report)
{
    json_t *e = entry_of(list, host);
    int64_t failures = jget_int(e, "failures", 0) + 1;
    uint64_t wait = AVOID_MS;
    char until[32];

    if (counted(e, report)) {
        return;
    }
    for (int64_t i = 1; i < failures && wait < AVOID_MAX_MS; i++) {
        wait *= 2;
    }
    wait = wait > AVOID_MAX_MS ? AVOID_MAX_MS : wait;
    str_format_time(p->wall_ms + wait, until, sizeof(until));
    if (e == NULL) {
        e = json_object();
        (void)json_array_append_new(list, e);
    }
    jset(e, "host", json_string(host));
    jset(e, "reason", json_string(jget_str(report, "reason", "")));
    jset(e, "message", json_string(jget_str(report, "message", "")));
    jset(e, "failures", json_integer(failures));
    jset(e, "until", json_string(until));
    jset(e, "incarnation", json_integer(jget_int(report, "incarnation", 0)));
    jset(e, "restarts", json_integer(jget_int(report, "restarts", 0)));
    p->c->avoid_ms = p->now_ms; /* count anew when the next time ends */
}

void ctl_avoid_update(struct pass *p, const struct ctl_obj *vm, const char *host,
                      const json_t *report, json_t *next)
{
    int64_t generation = jget_int(vm->json, "metadata.generation", 0);
    json_t *list = json_deep_copy(jget(vm->json, "status.avoid"));

    if (list == NULL || jget_int(vm->json, "status.avoidGeneration", generation) != generation) {
        json_decref(list);
        list = json_array();
    }
    for (size_t i = json_array_size(list); i > 0; i--) {
        if (time_of(json_array_get(list, i - 1), "until") + FORGET_MS < p->wall_ms) {
            (void)json_array_remove(list, i - 1);
        }
    }
    if (report != NULL && gave_up(report, generation)) {
        remember(p, list, host, report);
    }
    if (json_array_size(list) == 0) {
        (void)json_object_del(json_object_get(next, "status"), "avoid");
        (void)json_object_del(json_object_get(next, "status"), "avoidGeneration");
        json_decref(list);
        return;
    }
    jset(next, "status.avoid", list);
    jset(next, "status.avoidGeneration", json_integer(generation));
}

bool ctl_avoid_active(const struct pass *p, const json_t *entry)
{
    return time_of(entry, "until") > p->wall_ms;
}

/* When a time ends, placement is asked again. */
void ctl_avoid_pass(struct pass *p)
{
    const struct kind *k = kind_by_plural("virtualmachines");
    struct controller *c = p->c;
    uint64_t next = 0;
    struct ctl_obj *o;

    if (c->avoid_ms == 0 || p->now_ms < c->avoid_ms) {
        pass_recheck(p, c->avoid_ms);
        return;
    }
    for (size_t pos = 0; (o = world_next(c->world, k, &pos)) != NULL;) {
        const json_t *list = jget(o->json, "status.avoid");

        for (size_t i = 0; i < json_array_size(list); i++) {
            uint64_t until = time_of(json_array_get(list, i), "until");

            if (until > p->wall_ms && (next == 0 || until < next)) {
                next = until;
            }
        }
    }
    c->place_dirty = true;
    c->avoid_ms = next == 0 ? 0 : p->now_ms + (next - p->wall_ms) + 1;
    pass_recheck(p, c->avoid_ms);
}
