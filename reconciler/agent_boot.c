#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* The steps of a start.  A step that fails is repeated with a back-off; the reason is logged when
 * it is a new one. */

static void on_step_timer(uv_timer_t *t)
{
    struct agent *a;

    OBJ_FROM(a, t->data, AGENT_MAGIC);
    agent_boot_step(a);
}

static void enter(struct agent *a, enum agent_phase phase)
{
    a->phase = phase;
    a->step_failures = 0;
    free(a->step_error);
    a->step_error = NULL;
    lg_info("agent", "phase=%s", agent_phase(a));
}

static void go(struct agent *a, enum agent_phase phase)
{
    enter(a, phase);
    agent_boot_step(a);
}

static void again(struct agent *a, const char *why)
{
    if (!str_eq(a->step_error, why)) {
        lg_warn("agent", "phase=%s err=\"%s\" msg=\"trying again\"", agent_phase(a), why);
        free(a->step_error);
        a->step_error = mem_strdup(why);
    }
    a->step_failures++;
    CHECK(uv_timer_start(&a->step_timer, on_step_timer, agent_jitter(a, a->step_failures), 0) == 0);
}

static void refuse(struct agent *a, const char *why)
{
    enter(a, AGENT_REFUSED);
    lg_err("agent",
           "err=\"%s\" msg=\"this boot can never be part of the cluster again; the host "
           "has to be reset\"",
           why);
    renew_target(a->renew, 0, 0);
    if (a->on_reset != NULL) {
        a->on_reset(a->ctx, why);
    }
}

/* --- registration ------------------------------------------------------------------------------
 */

/* Another cluster, or an older epoch than this host has seen: not a source to follow. */
static bool source_ok(struct agent *a, const json_t *j, char *why, size_t size)
{
    const char *cluster = jget_str(j, "clusterID", "");
    uint64_t epoch = (uint64_t)jget_int(j, "epoch", 0);

    if (a->seen.cluster[0] != '\0' && !str_eq(a->seen.cluster, cluster)) {
        (void)snprintf(why, size, "this host belongs to cluster %s, not %s; to move it, remove %s",
                       a->seen.cluster, cluster, a->data);
        return false;
    }
    if (epoch == 0 || epoch < a->seen.epoch) {
        (void)snprintf(why, size,
                       "epoch %" PRIu64 " is older than %" PRIu64
                       ", which this host has seen: a restored or forgotten member of the cluster",
                       epoch, a->seen.epoch);
        return false;
    }
    if (epoch > a->seen.epoch) {
        a->seen.revision = 0;
    }
    a->seen.epoch = epoch;
    (void)str_copy(a->seen.cluster, sizeof(a->seen.cluster), cluster);
    agent_seen_save(a, true);
    return true;
}

static void on_registration(void *data, const struct err *err, json_t *j)
{
    struct agent *a;
    char why[512];

    OBJ_FROM(a, data, AGENT_MAGIC);
    a->step_call = NULL;
    if (err != NULL) {
        again(a, err->msg);
        return;
    }
    if (!source_ok(a, j, why, sizeof(why))) {
        again(a, why);
        return;
    }
    a->epoch = (uint64_t)jget_int(j, "epoch", 0);
    a->expected = (uint64_t)jget_int(j, "incarnation", 0);
    if (str_eq(jget_str(j, "bootID", ""), a->boot_id) &&
        str_eq(jget_str(j, "state", ""), "Fenced")) {
        refuse(a, "this boot of the host was fenced");
        return;
    }
    clock_uuid(a->nonce);
    go(a, AGENT_REGISTER);
}

static void read_registration(struct agent *a)
{
    struct api_op op = { .method = "GET",
                         .plural = "hosts",
                         .name = a->name,
                         .sub = "registration",
                         .timeout_ms = 5000 };

    a->step_call = api_start(a->api, &op, on_registration, a);
}

/* Refused for good, or only until the old incarnation is found to be lost? */
static bool burned(const struct err *err)
{
    return err->code == ERR_REFUSED &&
           (strstr(err->msg, "was fenced") != NULL || strstr(err->msg, "reset the host") != NULL);
}

static void on_registered(void *data, const struct err *err, json_t *j)
{
    struct agent *a;

    OBJ_FROM(a, data, AGENT_MAGIC);
    a->step_call = NULL;
    if (err != NULL && burned(err)) {
        refuse(a, err->msg);
        return;
    }
    if (err != NULL) {
        bool unknown = err->code == ERR_UNKNOWN_OUTCOME;

        again(a, err->msg);
        if (!unknown) {
            a->phase = AGENT_READ; /* compare-and-set: read again first */
        }                          /* else the same nonce once more: the same answer */
        return;
    }
    a->incarnation = (uint64_t)jget_int(j, "incarnation", 0);
    a->epoch = (uint64_t)jget_int(j, "epoch", (int64_t)a->epoch);
    if (a->incarnation == 0) {
        again(a, "the answer to register names no incarnation");
        return;
    }
    lg_info("agent", "incarnation=%" PRIu64 " epoch=%" PRIu64 " state=%s msg=\"registered\"",
            a->incarnation, a->epoch, jget_str(j, "state", ""));
    vmx_set_incarnation(a->vmx, a->incarnation);
    agent_guard_forget(a);
    renew_target(a->renew, a->incarnation, a->epoch);
    enter(a, AGENT_LEASE);
}

static void do_register(struct agent *a)
{
    struct renew_terms terms;
    json_t *body;

    agent_own_terms(a, &terms);
    body = json_pack("{s:s, s:s, s:I, s:s, s:o}", "bootID", a->boot_id, "hardwareID",
                     a->hardware_id, "expectedIncarnation", (json_int_t)a->expected, "nonce",
                     a->nonce, "terms", renew_terms_json(&terms));
    a->step_call = agent_post(a, "register", body, true, 10000, on_registered, a);
}

/* --- locks, inventory --------------------------------------------------------------------------
 */

static void on_locks(void *data, const struct err *err, json_t *j)
{
    struct agent *a;

    OBJ_FROM(a, data, AGENT_MAGIC);
    a->step_call = NULL;
    if (err != NULL) {
        again(a, err->msg);
        return;
    }
    agent_locks_apply(a, jget(j, "items"), a->sent_ms, VMX_LIST_ALL);
    a->list_ms = a->sent_ms;
    go(a, AGENT_INVENTORY);
}

static void read_locks(struct agent *a)
{
    a->sent_ms = clock_now_ms();
    a->step_call = agent_read(a, "locks", NULL, NULL, on_locks, a);
}

void agent_boot_inventoried(struct agent *a)
{
    if (a->phase == AGENT_INVENTORY) {
        enter(a, AGENT_RUN);
        a->volumes_version++; /* tell about all of them */
        agent_watch_start(a);
        vmx_kick_all(a->vmx);
        agent_wake(a);
    }
}

void agent_boot_looked(struct agent *a)
{
    if (a->phase == AGENT_LOOK) {
        go(a, AGENT_READ);
    }
}

void agent_boot_leased(struct agent *a)
{
    if (a->phase == AGENT_LEASE) {
        go(a, AGENT_LOCKS);
    }
}

void agent_boot_again(struct agent *a, const char *why)
{
    lg_warn("agent", "err=\"%s\" msg=\"registering again\"", why);
    if (a->step_call != NULL) {
        api_cancel(a->step_call);
        a->step_call = NULL;
    }
    go(a, AGENT_READ);
}

void agent_boot_step(struct agent *a)
{
    if (a->step_call != NULL || a->stopping) {
        return;
    }
    switch (a->phase) {
    case AGENT_READ:
        read_registration(a);
        return;
    case AGENT_REGISTER:
        do_register(a);
        return;
    case AGENT_LOCKS:
        read_locks(a);
        return;
    case AGENT_INVENTORY:
        agent_report_send_full(a);
        return;
    case AGENT_LOOK:
    case AGENT_LEASE:
    case AGENT_RUN:
    case AGENT_REFUSED:
        return;
    }
    CHECK_UNREACHABLE();
}

/* --- while the lease is lost -------------------------------------------------------------------
 */

static void on_lost_read(void *data, const struct err *err, json_t *j)
{
    struct agent *a;

    OBJ_FROM(a, data, AGENT_MAGIC);
    a->step_call = NULL;
    if (err == NULL && (uint64_t)jget_int(j, "epoch", 0) >= a->epoch) {
        if ((uint64_t)jget_int(j, "incarnation", 0) > a->incarnation) {
            refuse(a, "another boot of this host has replaced this one");
        } else if ((uint64_t)jget_int(j, "incarnation", 0) == a->incarnation &&
                   str_eq(jget_str(j, "state", ""), "Fenced")) {
            refuse(a, "this boot of the host was fenced");
        }
    }
    agent_boot_step(a); /* the lease may be back: a step that came meanwhile had to wait */
}

void agent_boot_lost(struct agent *a, uint64_t now)
{
    struct api_op op = { .method = "GET",
                         .plural = "hosts",
                         .name = a->name,
                         .sub = "registration",
                         .timeout_ms = 5000 };

    if (a->step_call != NULL || a->phase == AGENT_REFUSED || now < a->lost_read_ms + 1000) {
        return;
    }
    a->lost_read_ms = now;
    a->step_call = api_start(a->api, &op, on_lost_read, a);
}
