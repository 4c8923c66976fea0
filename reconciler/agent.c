#include "reconciler/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/agent_priv.h"

/* The parts and how they are joined: timers call vmx_run when something is due, the renewer's
 * thread wakes the loop when the lease changes, and every second the slow things get a turn. */

#define TICK_MS 1000U

const char *agent_phase(const struct agent *a)
{
    switch (a->phase) {
    case AGENT_LOOK:
        return "Looking";
    case AGENT_READ:
        return "ReadingRegistration";
    case AGENT_REGISTER:
        return "Registering";
    case AGENT_LEASE:
        return "WaitingForLease";
    case AGENT_LOCKS:
        return "ReadingLocks";
    case AGENT_INVENTORY:
        return "ReportingInventory";
    case AGENT_RUN:
        return "Running";
    case AGENT_REFUSED:
        return "Refused";
    }
    CHECK_UNREACHABLE();
}

uint64_t agent_jitter(const struct agent *a, uint32_t failures)
{
    uint64_t wait = 100;
    uint8_t r;

    (void)a;
    for (uint32_t i = 1; i < failures && wait < 2000; i++) {
        wait *= 2;
    }
    clock_random(&r, 1);
    return wait + wait * r / 512;
}

/* --- running the executor ----------------------------------------------------------------------
 */

static void on_run(uv_timer_t *t)
{
    struct agent *a;

    OBJ_FROM(a, t->data, AGENT_MAGIC);
    a->in_run = true;
    vmx_run(a->vmx);
    a->in_run = false;
    if (a->phase == AGENT_LOOK && vmx_looked(a->vmx)) {
        agent_boot_looked(a);
    }
    agent_report_volumes(a);
    agent_guard_step(a);
    agent_wake(a);
}

void agent_wake(struct agent *a)
{
    uint64_t now = clock_now_ms();
    uint64_t at;

    if (a->in_run || a->stopping || a->starting || a->vmx == NULL) {
        return;
    }
    at = vmx_next_ms(a->vmx);
    if (a->phase == AGENT_LOOK && vmx_looked(a->vmx)) {
        at = now; /* the first look is over */
    }
    if (at == 0) {
        (void)uv_timer_stop(&a->run_timer);
        return;
    }
    uv_update_time(a->loop);
    CHECK(uv_timer_start(&a->run_timer, on_run, at > now ? at - now : 0, 0) == 0);
}

/* What the time before the first acknowledgement of the next process goes by. */
static void note_terms(struct agent *a, const struct renew_view *v)
{
    if (v->has_terms && v->lease_ms != 0 &&
        (a->seen.lease_ms != v->lease_ms || a->seen.freeze != v->terms.freeze)) {
        a->seen.lease_ms = v->lease_ms;
        a->seen.freeze = v->terms.freeze;
        agent_seen_save(a, true);
    }
}

static void note_revision(struct agent *a, const struct renew_view *v)
{
    note_terms(a, v);
    if (v->revision == 0 || v->epoch != a->epoch) {
        return;
    }
    if (a->seen.epoch == a->epoch && v->revision < a->seen.revision && !a->source_old) {
        a->source_old = true;
        lg_err("agent",
               "revision=%llu seen=%llu msg=\"the cluster is behind what this host saw; nothing "
               "new begins here\"",
               (unsigned long long)v->revision, (unsigned long long)a->seen.revision);
    } else if (v->revision >= a->seen.revision) {
        if (a->source_old) {
            a->source_old = false;
            vmx_kick_all(a->vmx);
        }
        a->seen.revision = v->revision;
        agent_seen_save(a, false);
    }
}

/* The lease, the terms or the watchdog changed. */
static void on_renewed(struct agent *a)
{
    struct renew_view v;

    renew_view(a->renew, &v);
    note_revision(a, &v);
    agent_client_follow(a, v.endpoint);
    if (v.state == RENEW_STALE && a->phase > AGENT_LEASE && a->phase != AGENT_REFUSED) {
        agent_boot_again(a, "the lease is not known any more");
        return;
    }
    if (a->phase == AGENT_LEASE && v.state == RENEW_LIVE) {
        agent_boot_leased(a);
    }
    if (a->phase == AGENT_LEASE && v.state == RENEW_STALE) {
        agent_boot_again(a, "the registration is not known any more");
    }
    agent_guard_step(a);
    vmx_kick_all(a->vmx);
    agent_wake(a);
}

static void on_async(uv_async_t *h)
{
    struct agent *a;

    OBJ_FROM(a, h->data, AGENT_MAGIC);
    if (!a->stopping) {
        on_renewed(a);
    }
}

/* On the renewer's thread. */
static void on_renew_change(void *ctx)
{
    struct agent *a = ctx;

    /* It may come before the handle is there; then agent_start looks once itself. */
    if (__atomic_load_n(&a->async_ready, __ATOMIC_ACQUIRE)) {
        (void)uv_async_send(&a->async);
    }
}

static void on_tick(uv_timer_t *t)
{
    struct agent *a;
    struct renew_view v;

    OBJ_FROM(a, t->data, AGENT_MAGIC);
    renew_view(a->renew, &v);
    note_revision(a, &v);
    agent_client_follow(a, v.endpoint);
    if (v.state == RENEW_LOST) {
        agent_boot_lost(a, clock_now_ms());
    }
    agent_client_tick(a, clock_now_ms());
    agent_locks_tick(a, clock_now_ms());
    agent_watch_tick(a, clock_now_ms());
    if (a->on_quorum != NULL && v.lease_until_ms > v.lease_ms) {
        a->on_quorum(a->ctx, v.lease_until_ms - v.lease_ms);
    }
    agent_apply_tick(a, clock_now_ms());
    agent_guard_step(a);
    agent_status_tick(a);
    agent_cert_tick(a, clock_now_ms());
}

/* --- start -------------------------------------------------------------------------------------
 */

static void free_agent(struct agent *a)
{
    agent_report_done(a);
    free(a->name);
    free(a->data);
    free(a->intents);
    intent_close(a->intent_log);
    free(a->boot_id);
    free(a->hardware_id);
    free(a->watchdog);
    free(a->heartbeat_dir);
    free(a->step_error);
    free(a->hypervisor);
    json_decref(a->status_sent);
    agent_client_free(a);
    a->magic = 0;
    free(a);
}

static void load_intent(void *ctx, const struct intent *i)
{
    vmx_load(ctx, i);
}

static int open_data(struct agent *a, struct err *err)
{
    if (mkdir(a->intents, 0700) != 0 && errno != EEXIST) {
        return err_native(err, ERR_SYS, "errno", errno, "create folder %s", a->intents);
    }
    agent_seen_load(a);
    a->intent_log = intent_open(a->intents, a->boot_id, load_intent, a->vmx, err);
    return a->intent_log == NULL ? err->code : 0;
}

static int open_clients(struct agent *a, const struct agent_opts *o, struct err *err)
{
    struct renew_opts ro = { .host = o->name,
                             .probe = true,
                             .realtime = o->realtime,
                             .endpoints = o->endpoints,
                             .n_endpoints = o->n_endpoints,
                             .tls_cert = o->tls_cert,
                             .tls_key = o->tls_key,
                             .tls_ca = o->tls_ca,
                             .heartbeat_ms = (uint32_t)a->timing.heartbeat_ms,
                             .watchdog = o->watchdog,
                             .on_change = on_renew_change,
                             .ctx = a };
    int rc = renew_start(&ro, &a->renew, err);

    return rc == 0 ? agent_client_open(a, o->endpoints[0], err) : rc;
}

static void init_timer(struct agent *a, uv_timer_t *t)
{
    CHECK(uv_timer_init(a->loop, t) == 0);
    t->data = a;
}

static void init_handles(struct agent *a)
{
    init_timer(a, &a->step_timer);
    init_timer(a, &a->run_timer);
    init_timer(a, &a->report_timer);
    init_timer(a, &a->tick);
    agent_check_init(a);
    init_timer(a, &a->sets_timer);
    CHECK(uv_async_init(a->loop, &a->async, on_async) == 0);
    a->async.data = a;
    __atomic_store_n(&a->async_ready, true, __ATOMIC_RELEASE);
    (void)uv_async_send(&a->async);
}

static struct agent *make(uv_loop_t *loop, const struct agent_opts *o, struct drv *drv)
{
    struct agent *a = OBJ_NEW(struct agent);
    struct timing_in in = { .dev = o->dev };
    struct plan_source src = { .object = agent_object, .ctx = a };
    struct vmx_opts vo = vmx_opts_default;
    struct err err;

    a->magic = AGENT_MAGIC;
    agent_sets_init(a);
    a->loop = loop;
    a->name = mem_strdup(o->name);
    a->data = mem_strdup(o->data);
    a->intents = mem_printf("%s/intents", o->data);
    a->boot_id = mem_strdup(o->boot_id);
    a->hardware_id = mem_strdup(o->hardware_id);
    a->watchdog = mem_strdup(o->watchdog);
    a->heartbeat_dir = mem_strdup(o->heartbeat_dir);
    for (size_t i = 0; i < o->n_endpoints && i < RENEW_ENDPOINTS_MAX; i++) {
        a->endpoints[a->n_endpoints++] = mem_strdup(o->endpoints[i]);
    }
    a->tls_cert = mem_strdup(o->tls_cert);
    a->tls_key = mem_strdup(o->tls_key);
    a->tls_ca = mem_strdup(o->tls_ca);
    a->watchdog_timeout_ms = o->watchdog_timeout_ms;
    a->dev = o->dev;
    a->on_reset = o->on_reset;
    a->on_quorum = o->on_quorum;
    a->on_host = o->on_host;
    a->on_synced = o->on_synced;
    a->on_status = o->on_status;
    a->ctx = o->ctx;
    a->drv = drv;
    a->started_ms = clock_now_ms();
    CHECK(timing_derive(&in, &a->timing, &err) == 0);
    if (o->dev) {
        vo.start_ms = 10000;
        vo.obs.confirm_gap_ms = 300;
    } else { /* building a big guest, and ending one with its device model, takes its time */
        vo.start_ms = 300000;
        vo.stop_ms = 90000;
        vo.volume_ms = 90000;
        vo.look_ms = 30000;
    }
    src.host = a->name;
    a->vmx = vmx_new(&vo, &agent_vmx_ops, a, drv, &src);
    return a;
}

int agent_start(uv_loop_t *loop, const struct agent_opts *opts, struct drv *drv, struct agent **ret,
                struct err *err)
{
    struct agent *a;
    int rc;

    if (!str_is_name(opts->name) || opts->boot_id[0] == '\0' || opts->hardware_id[0] == '\0') {
        return err_set(err, ERR_INVALID, "a host name, a boot id and a hardware id are needed");
    }
    a = make(loop, opts, drv);
    a->starting = true; /* nothing to wake yet */
    rc = open_data(a, err);
    if (rc == 0) {
        rc = open_clients(a, opts, err);
    }
    if (rc != 0) {
        renew_stop(a->renew);
        drv_listen(drv, NULL, NULL);
        vmx_free(a->vmx);
        free_agent(a);
        return rc;
    }
    init_handles(a);
    a->starting = false;
    CHECK(uv_timer_start(&a->tick, on_tick, 0, TICK_MS) == 0);
    vmx_look(a->vmx);
    agent_status_capacity(a);
    agent_wake(a);
    *ret = a;
    return 0;
}

/* --- stop --------------------------------------------------------------------------------------
 */

static void part_closed(struct agent *a)
{
    void (*on_stopped)(void *ctx) = a->on_stopped;
    void *ctx = a->on_stopped_ctx;

    CHECK(a->closing > 0);
    if (--a->closing > 0) {
        return;
    }
    agent_apply_done(a);
    agent_check_done(a);
    vmx_free(a->vmx);
    agent_watch_stop(a);
    agent_locks_done(a);
    agent_sets_done(a);
    free_agent(a);
    if (on_stopped != NULL) {
        on_stopped(ctx);
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    part_closed(h->data);
}

static void on_part_closed(void *ctx)
{
    part_closed(ctx);
}

void agent_stop(struct agent *a, void (*on_stopped)(void *ctx), void *ctx)
{
    uv_handle_t *handles[] = { (uv_handle_t *)&a->step_timer,   (uv_handle_t *)&a->run_timer,
                               (uv_handle_t *)&a->report_timer, (uv_handle_t *)&a->tick,
                               (uv_handle_t *)&a->check_timer,  (uv_handle_t *)&a->sets_timer,
                               (uv_handle_t *)&a->async };

    OBJ_CHECK(a, AGENT_MAGIC);
    CHECK(!a->stopping);
    a->stopping = true;
    a->on_stopped = on_stopped;
    a->on_stopped_ctx = ctx;
    agent_seen_save(a, true);
    agent_slot_close(a);
    renew_stop(a->renew);
    a->renew = NULL;
    a->closing = (unsigned)ARRAY_LEN(handles) + 1;
    for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
        uv_close(handles[i], on_handle_closed);
    }
    for (size_t i = 0; i < a->n_caches; i++) {
        api_watch_free(a->caches[i].watch);
        a->caches[i].watch = NULL;
    }
    a->closing += agent_client_close(a, on_part_closed);
    drv_close(a->drv, on_part_closed, a);
}
