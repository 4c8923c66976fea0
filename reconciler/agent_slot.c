#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/slot.h"
#include "reconciler/agent_priv.h"

/* The storage heartbeat: which volume, as the Cluster says now. */

/* "" when there is none; a Volume that is not known yet is waited for. */
static void wanted_path(struct agent *a, const json_t *cluster, char *dst, size_t size)
{
    const char *volume = jget_str(cluster, "spec.fencing.storageHeartbeat", NULL);
    const json_t *obj = volume == NULL ? NULL : agent_object(a, "volumes", volume);
    const char *group = jget_str(obj, "spec.volumeGroup", NULL);

    dst[0] = '\0';
    if (group == NULL) {
        return;
    }
    if (a->heartbeat_dir != NULL) {
        (void)snprintf(dst, size, "%s/%s-%s.heartbeat", a->heartbeat_dir, group, volume);
    } else {
        (void)snprintf(dst, size, "/dev/%s/%s", group, volume);
    }
}

void agent_slot_close(struct agent *a)
{
    if (a->renew != NULL) {
        renew_slots(a->renew, NULL);
    }
    slots_stop(a->slots);
    a->slots = NULL;
    free(a->slot_path);
    a->slot_path = NULL;
}

void agent_slot_follow(struct agent *a)
{
    const json_t *cluster = agent_object(a, "clusters", "cluster");
    struct slots_opts opts = { .host = a->name };
    char path[512];
    struct err err;

    wanted_path(a, cluster, path, sizeof(path));
    if (str_eq(a->slot_path == NULL ? "" : a->slot_path, path) &&
        a->slot_beat_ms == a->timing.heartbeat_ms) {
        return;
    }
    agent_slot_close(a);
    a->slot_beat_ms = a->timing.heartbeat_ms;
    if (path[0] == '\0') {
        return;
    }
    a->slot_path = mem_strdup(path);
    opts.path = path;
    opts.heartbeat_ms = (uint32_t)a->timing.heartbeat_ms;
    if (slots_start(&opts, &a->slots, &err) != 0) {
        lg_err("agent", "err=\"%s\"", err.msg);
        a->slots = NULL;
        return;
    }
    renew_slots(a->renew, a->slots);
    lg_info("agent", "path=%s msg=\"signs of life are written there\"", path);
}
