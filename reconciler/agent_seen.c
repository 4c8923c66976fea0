#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* The newest epoch and revision that this host saw: older sources are refused (safety.md 1, 2). */

#define SAVE_MS 10000U

void agent_seen_load(struct agent *a)
{
    char *path = mem_printf("%s/seen.json", a->data);
    char *text = NULL;
    struct err err;
    json_t *j = NULL;

    if (intent_read_file(path, &text, &err) == 0) {
        j = json_loads(text, 0, NULL);
        if (j == NULL) {
            lg_warn("agent", "file=%s msg=\"not JSON: starting without it\"", path);
        }
    } else if (err.code != ERR_NOT_FOUND) {
        lg_warn("agent", "err=\"%s\"", err.msg);
    }
    (void)str_copy(a->seen.cluster, sizeof(a->seen.cluster), jget_str(j, "clusterID", ""));
    a->seen.epoch = (uint64_t)jget_int(j, "epoch", 0);
    a->seen.revision = (uint64_t)jget_int(j, "revision", 0);
    a->seen.lease_ms = (uint32_t)jget_int(j, "leaseMs", (int64_t)a->timing.lease_ms);
    a->seen.freeze = jget_bool(j, "freeze", false);
    json_decref(j);
    free(text);
    free(path);
}

void agent_seen_save(struct agent *a, bool now)
{
    uint64_t t = clock_now_ms();
    char *path, *text;
    struct err err;
    json_t *j;

    if (a->seen.epoch == 0 || (!now && t < a->seen_saved_ms + SAVE_MS)) {
        return;
    }
    a->seen_saved_ms = t;
    path = mem_printf("%s/seen.json", a->data);
    j = json_pack("{s:s, s:I, s:I, s:I, s:b}", "clusterID", a->seen.cluster, "epoch",
                  (json_int_t)a->seen.epoch, "revision", (json_int_t)a->seen.revision, "leaseMs",
                  (json_int_t)a->seen.lease_ms, "freeze", a->seen.freeze);
    text = json_dumps(j, JSON_INDENT(1) | JSON_SORT_KEYS);
    if (intent_write_file(path, text, now, &err) != 0) {
        lg_err("agent", "err=\"%s\"", err.msg);
    }
    free(text);
    json_decref(j);
    free(path);
}
