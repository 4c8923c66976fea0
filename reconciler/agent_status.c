#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/wdog.h"
#include "reconciler/agent_priv.h"

/* The agent's part of the Host's status, written when it changed, with the conditions of others
 * kept (the list is written whole, under the resourceVersion that it was read with). */

#define CAPACITY_MS 15000U
#define MARGINS_MS 60000U
#define RETRY_MS 1000U

#ifndef PICKET_VERSION
#define PICKET_VERSION "0.1"
#endif

static void on_capacity(struct drv_job *job, const struct err *err)
{
    struct agent *a;

    OBJ_FROM(a, job->data, AGENT_MAGIC);
    a->capacity_busy = false;
    if (err != NULL) {
        lg_warn("agent", "err=\"%s\" msg=\"capacity unknown\"", err->msg);
        return;
    }
    a->capacity = job->result.capacity;
    free(a->hypervisor);
    a->hypervisor = mem_strdup(job->result.capacity.hypervisor);
    a->has_capacity = true;
}

void agent_status_capacity(struct agent *a)
{
    if (a->capacity_busy) {
        return;
    }
    a->capacity_busy = true;
    a->capacity_ms = clock_now_ms();
    a->capacity_job = (struct drv_job){ .magic = DRV_JOB_MAGIC,
                                        .op = DRV_CAPACITY,
                                        .deadline_ms = a->capacity_ms + 10000,
                                        .cb = on_capacity,
                                        .data = a };
    drv_submit(a->drv, &a->capacity_job);
}

static json_t *margins(struct agent *a)
{
    struct renew_view v;
    json_t *j;

    renew_view(a->renew, &v);
    j = json_pack("{s:I, s:I, s:I}", "worstAckMs", (json_int_t)v.worst_ack_ms, "worstGapMs",
                  (json_int_t)v.worst_gap_ms, "leaseMs", (json_int_t)v.lease_ms);
    if (v.least_left_ms != UINT64_MAX) {
        (void)json_object_set_new(j, "leastLeftMs", json_integer((json_int_t)v.least_left_ms));
    }
    renew_margins_reset(a->renew);
    return j;
}

static json_t *make_status(struct agent *a)
{
    char memory[24], free_memory[24];
    struct utsname uts = { 0 };
    json_t *status;

    (void)uname(&uts);
    str_format_size(a->capacity.memory_bytes, memory, sizeof(memory));
    str_format_size(a->capacity.memory_free_bytes, free_memory, sizeof(free_memory));
    status =
        json_pack("{s:s, s:s, s:{s:s, s:s, s:I}, s:I, s:{s:s, s:s, s:s}}", "bootID", a->boot_id,
                  "hardwareID", a->hardware_id, "capacity", "memory", memory, "memoryFree",
                  free_memory, "cpus", (json_int_t)a->capacity.cpus, "guests",
                  (json_int_t)obs_running(vmx_obs(a->vmx)), "versions", "picket", PICKET_VERSION,
                  "xen", a->hypervisor == NULL ? "" : a->hypervisor, "kernel", uts.release);
    jset(status, "capacity.liveMigration", json_boolean(a->capacity.live));
    jset(status, "capacity.liveMigrationPV", json_boolean(a->capacity.live_pv));
    if (a->on_status != NULL) {
        (void)str_copy(a->storage_why, sizeof(a->storage_why), a->on_status(a->ctx, status));
    }
    return status;
}

/* --- conditions --------------------------------------------------------------------------------
 */

struct own_cond {
    const char *type, *status, *reason;
    char message[256];
};

static void cond_watchdog(struct agent *a, struct own_cond *c)
{
    struct renew_view v;
    const char *why = "";

    renew_view(a->renew, &v);
    c->type = "WatchdogArmed";
    c->message[0] = '\0';
    if (a->watchdog == NULL) {
        c->status = "False";
        c->reason = "NoWatchdog";
        (void)str_copy(c->message, sizeof(c->message),
                       "the agent runs without --watchdog-socket: only fencing stops this host");
    } else if (agent_freeze(a)) {
        c->status = "False";
        c->reason = "Freeze";
        (void)str_copy(c->message, sizeof(c->message),
                       "onQuorumLoss is Freeze: guests stay, and nobody counts on the watchdog");
    } else if (agent_guarded(a, &why)) {
        c->status = "True";
        c->reason = wdog_kind_name((enum wdog_kind)v.wd.kind);
        (void)snprintf(c->message, sizeof(c->message),
                       "resets this host %.1fs after its lease ended",
                       (double)v.wd.timeout_ms / 1000.0);
    } else if (a->guard == GUARD_OFF && v.wd.connected && !v.wd.armed) {
        c->status = "True";
        c->reason = "Standby";
        (void)str_copy(c->message, sizeof(c->message),
                       "picket-watchdog answers; it is armed before this host takes a lock");
    } else {
        c->status = v.wd.connected ? "False" : "Unknown";
        c->reason = v.wd.connected ? "NotArmed" : "NotConnected";
        (void)str_copy(c->message, sizeof(c->message), why);
    }
}

/* All objects of these kinds in effect? */
static void cond_objects(struct agent *a, const char *type, const char *const *plurals, size_t n,
                         struct own_cond *c)
{
    size_t all = 0, ready = 0;
    const json_t *now;
    const char *key;

    c->type = type;
    c->status = "True";
    c->reason = "AllReady";
    c->message[0] = '\0';
    for (size_t p = 0; p < n; p++) {
        char *prefix = mem_printf("%s/", plurals[p]);

        for (size_t i = 0; (now = agent_report_next(a, &i, &key)) != NULL;) {
            if (!str_starts(key, prefix)) {
                continue;
            }
            all++;
            if (str_eq(jget_str(now, "state", ""), "Ready")) {
                ready++;
            } else if (c->message[0] == '\0') {
                (void)snprintf(c->message, sizeof(c->message), "%s: %s", key,
                               jget_str(now, "message", ""));
            }
        }
        free(prefix);
    }
    if (ready < all) {
        c->status = "False";
        c->reason = "NotReady";
    }
}

static void own_conditions(struct agent *a, struct own_cond conds[3])
{
    static const char *const storage[] = { "luns", "iscsitargets", "volumegroups",
                                           "sharedfilesystems" };
    static const char *const network[] = { "bonds", "bridges", "vlans" };

    cond_watchdog(a, &conds[0]);
    cond_objects(a, "StorageReady", storage, ARRAY_LEN(storage), &conds[1]);
    if (a->storage_why[0] != '\0' && str_eq(conds[1].status, "True")) {
        conds[1].status = "False";
        conds[1].reason = "InitiatorName";
        (void)str_copy(conds[1].message, sizeof(conds[1].message), a->storage_why);
    }
    cond_objects(a, "NetworkReady", network, ARRAY_LEN(network), &conds[2]);
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void on_written(void *data, const struct err *err, json_t *j)
{
    struct agent *a;

    (void)j;
    OBJ_FROM(a, data, AGENT_MAGIC);
    a->status_call = NULL;
    if (err != NULL) {
        if (a->status_failures++ == 3) { /* conflicts with other writers are ordinary */
            lg_warn("agent", "err=\"%s\" msg=\"status not written, trying again\"", err->msg);
        }
        json_decref(a->status_sent);
        a->status_sent = NULL;
        a->status_retry_ms = clock_now_ms() + RETRY_MS;
        return;
    }
    a->status_failures = 0;
}

static bool conditions_merged(struct agent *a, const json_t *host, json_t *copy)
{
    struct own_cond conds[3];
    bool changed = false;

    (void)host;
    own_conditions(a, conds);
    for (size_t i = 0; i < ARRAY_LEN(conds); i++) {
        changed = cond_set(copy, conds[i].type, conds[i].status, conds[i].reason, conds[i].message,
                           clock_wall_ms()) ||
                  changed;
    }
    return changed;
}

/* Renewals that were late by an eighth of the lease or more are told once a minute, and once more
 * when they are in time again; else margins go along when anything else is written. */
static bool margins_due(struct agent *a, uint64_t now)
{
    struct renew_view v;
    bool was = a->margins_news;

    if (now < a->margins_ms + MARGINS_MS) {
        return false;
    }
    renew_view(a->renew, &v);
    a->margins_news = 8 * v.worst_ack_ms >= v.lease_ms || 8 * v.worst_gap_ms >= v.lease_ms;
    return was || a->margins_news;
}

static void write_status(struct agent *a, const json_t *host)
{
    json_t *copy = json_deep_copy(host);
    json_t *status = make_status(a);
    bool conds = conditions_merged(a, host, copy);
    struct api_op op = { .method = "PATCH",
                         .plural = "hosts",
                         .name = a->name,
                         .sub = "status",
                         .content_type = "application/merge-patch+json",
                         .timeout_ms = 10000 }; /* less than a retired client is kept */
    uint64_t now = clock_now_ms();
    json_t *patch;

    if (!conds && a->status_sent != NULL && json_equal(status, a->status_sent) &&
        !margins_due(a, now)) {
        json_decref(status);
        json_decref(copy);
        return;
    }
    json_decref(a->status_sent);
    a->status_sent = json_deep_copy(status);
    if (a->margins_ms == 0 || now >= a->margins_ms + MARGINS_MS) {
        a->margins_ms = now;
        (void)json_object_set_new(status, "margins", margins(a));
        (void)json_object_set_new(status, "appliedRevision",
                                  json_integer((json_int_t)a->seen.revision));
    }
    (void)json_object_set(status, "conditions",
                          json_object_get(json_object_get(copy, "status"), "conditions"));
    patch = json_pack("{s:{s:s}, s:o}", "metadata", "resourceVersion",
                      jget_str(host, "metadata.resourceVersion", ""), "status", status);
    op.body = patch;
    a->status_call = api_start(a->api, &op, on_written, a);
    json_decref(patch);
    json_decref(copy);
}

void agent_status_tick(struct agent *a)
{
    uint64_t now = clock_now_ms();
    const json_t *host;

    if (a->capacity_busy && now > a->capacity_job.deadline_ms) {
        a->capacity_job.deadline_ms = UINT64_MAX;
        drv_abort(a->drv, &a->capacity_job);
    }
    if (now >= a->capacity_ms + CAPACITY_MS) {
        agent_status_capacity(a);
    }
    host = agent_object(a, "hosts", a->name);
    if (a->phase != AGENT_RUN || host == NULL || !a->has_capacity || a->status_call != NULL ||
        now < a->status_retry_ms) {
        return;
    }
    write_status(a, host);
}
