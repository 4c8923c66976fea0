#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_map.h"
#include "reconciler/xen_priv.h"

/* Jobs on domains, step by step: each step begins one operation of libxl and returns; the next one
 * runs when that is over.  Only the worker's thread. */

#define DESTROYS_MAX 4U

enum stage {
    STAGE_CREATE = 1,
    STAGE_UNPAUSE,
    STAGE_UNDO,    /* a start that failed half-way is being removed; j->err says why */
    STAGE_DESTROY, /* one domain after the other */
    STAGE_SHUTDOWN,
    STAGE_ACPI,
    STAGE_PAUSE,
    STAGE_VCPUS,
};

/* --- starting ----------------------------------------------------------------------------------
 */

bool xen_too_late(const struct xen_job *j)
{
    uint64_t not_after_ms = __atomic_load_n(&j->not_after_ms, __ATOMIC_RELAXED);

    return not_after_ms != 0 && clock_now_ms() > not_after_ms;
}

/* The domain of a start that shall not go on is removed; then the job ends with what is in j->err
 * (or unclear, when it cannot be removed). */
static void undo(struct xen_job *j, int code, const char *why)
{
    j->failed = true;
    (void)err_set(&j->err, code, "%s", why);
    if (j->domid == XEN_NO_DOMID || libxl_domain_info(j->w->ctx, NULL, j->domid) != 0) {
        j->w->rescan = true;
        xen_job_done(j);
        return;
    }
    j->stage = STAGE_UNDO;
    xen_started(j, libxl_domain_destroy(j->w->ctx, j->domid, xen_how(j)));
}

static void undone(struct xen_job *j)
{
    struct xen_dom *d = xen_by_id(j->w, j->domid);

    if (j->rc != 0) {
        j->err.code = ERR_UNKNOWN_OUTCOME;
        (void)err_wrap(&j->err, "domain %" PRIu32 " could not be removed (%s) after", j->domid,
                       libxl_error_to_string((libxl_error)j->rc));
    } else if (d != NULL) {
        d->ending = true;
    }
    j->w->rescan = true; /* what is left is half a domain only once this job is over */
    xen_job_done(j);
}

static bool memory_fits(struct xen_job *j)
{
    uint64_t need = 0, have;
    libxl_physinfo p;

    libxl_physinfo_init(&p);
    if (libxl_domain_need_memory(j->w->ctx, &j->conf, XEN_NO_DOMID, &need) != 0 ||
        libxl_get_physinfo(j->w->ctx, &p) != 0) {
        libxl_physinfo_dispose(&p);
        return true; /* libxl will say why */
    }
    have = (p.free_pages + p.scrub_pages) * 4;
    have -= p.outstanding_pages * 4 < have ? p.outstanding_pages * 4 : have;
    libxl_physinfo_dispose(&p);
    if (have >= need) {
        return true;
    }
    xen_job_fail(j, ERR_DRIVER,
                 "%s needs %" PRIu64 " MiB and the hypervisor has %" PRIu64 " MiB left", j->vm,
                 need / 1024, have / 1024);
    return false;
}

bool xen_may_create(struct xen_job *j)
{
    struct xen_dom *d;
    bool more;

    if (xen_scan(j->w, &j->err) != 0) {
        j->failed = true;
        xen_job_done(j);
        return false;
    }
    d = xen_any(j->w, j->vm);
    if (d != NULL || xen_find(j->w, j->vm, &more) != NULL || more) {
        xen_job_fail(j, ERR_DRIVER, "a domain of %s exists already (number %" PRIu32 ", %s)", j->vm,
                     d->domid, dom_state_name(d->state));
        return false;
    }
    if (xen_too_late(j)) {
        xen_job_fail(j, ERR_TIMEOUT, "%s may not begin to run any more: the lease is too short",
                     j->vm);
        return false;
    }
    return memory_fits(j);
}

static void start(struct xen_job *j)
{
    if (!xen_may_create(j)) {
        return;
    }
    j->stage = STAGE_CREATE;
    xen_started(j, libxl_domain_create_new(j->w->ctx, &j->conf, &j->domid, xen_how(j), NULL));
}

static void created(struct xen_job *j)
{
    char text[ERR_MSG_MAX];

    if (j->rc != 0) {
        (void)snprintf(text, sizeof(text), "create the domain: %s%s%s",
                       libxl_error_to_string((libxl_error)j->rc),
                       j->w->last_msg[0] == '\0' ? "" : ": ", j->w->last_msg);
        undo(j, j->rc == ERROR_ABORTED ? ERR_CANCELED : ERR_DRIVER, text);
        return;
    }
    /* From here on it is a whole domain, whoever finds it. */
    xen_node_put(j->w, j->domid, XEN_MARK_READY, "1");
    if (xen_job_aborted(j)) {
        undo(j, ERR_CANCELED, "the start was aborted when the domain was built");
        return;
    }
    if (xen_too_late(j)) {
        undo(j, ERR_TIMEOUT, "building the domain took longer than the lease allows it to start");
        return;
    }
    j->stage = STAGE_UNPAUSE;
    xen_started(j, libxl_domain_unpause(j->w->ctx, j->domid, xen_how(j)));
}

static void started(struct xen_job *j)
{
    if (j->rc != 0) {
        undo(j, ERR_DRIVER, "the new domain cannot be unpaused");
        return;
    }
    lg_info("xen", "vm=%s domid=%" PRIu32 " token=%" PRIu64 " msg=\"started\"", j->vm, j->domid,
            j->token);
    xen_rescan(j->w);
    xen_job_done(j);
}

/* --- ending ------------------------------------------------------------------------------------
 */

static void destroy_next(struct xen_job *j)
{
    struct xen_dom *d = xen_any(j->w, j->vm);

    if (d == NULL || d->state == DOM_UNKNOWN || (d->ending && d->state == DOM_DYING)) {
        xen_job_done(j); /* gone, or dying: an observation says which */
        return;
    }
    if (++j->tries > DESTROYS_MAX) {
        xen_job_fail(j, ERR_UNKNOWN_OUTCOME, "domain %" PRIu32 " of %s does not go away", d->domid,
                     j->vm);
        return;
    }
    j->stage = STAGE_DESTROY;
    j->domid = d->domid;
    d->ending = true;
    xen_started(j, libxl_domain_destroy(j->w->ctx, d->domid, xen_how(j)));
}

static void destroyed(struct xen_job *j)
{
    struct xen_dom *d = xen_by_id(j->w, j->domid);
    bool gone = libxl_domain_info(j->w->ctx, NULL, j->domid) == ERROR_DOMAIN_NOTFOUND;

    if (!gone && j->rc != 0) {
        if (d != NULL) {
            d->ending = false;
        }
        xen_job_fail_rc(j, ERR_UNKNOWN_OUTCOME, j->rc, "destroy the domain");
        return;
    }
    xen_rescan(j->w);
    if (gone && xen_by_id(j->w, j->domid) != NULL) {
        xen_dom_gone(j->w, xen_by_id(j->w, j->domid));
    }
    destroy_next(j);
}

/* --- one operation on the one living domain ----------------------------------------------------
 */

struct xen_dom *xen_living(struct xen_job *j)
{
    bool more;
    struct xen_dom *d = xen_find(j->w, j->vm, &more);

    if (more) {
        xen_job_fail(j, ERR_DRIVER, "DuplicateRunning: two domains are %s; nothing is done to them",
                     j->vm);
        return NULL;
    }
    if (d == NULL || d->state == DOM_STOPPED) {
        xen_job_fail(j, ERR_DRIVER, "%s does not run on this host", j->vm);
        return NULL;
    }
    j->domid = d->domid;
    return d;
}

static void shut_down(struct xen_job *j)
{
    struct xen_dom *d = xen_living(j);

    if (d == NULL) {
        return;
    }
    d->asked = true;
    j->stage = STAGE_SHUTDOWN;
    xen_started(j, libxl_domain_shutdown(j->w->ctx, j->domid, xen_how(j)));
    if (!j->ready) {
        /* libxl waits up to a minute for the guest's word that it heard, and takes the request back
         * when it is aborted: so nobody waits with it. */
        xen_job_detach(j);
    }
}

/* A guest without Xen's drivers is asked by its power button. */
static void shutdown_asked(struct xen_job *j)
{
    if (j->stage == STAGE_SHUTDOWN && j->rc == ERROR_NOPARAVIRT && !j->detached) {
        j->stage = STAGE_ACPI;
        xen_started(j, libxl_send_trigger(j->w->ctx, j->domid, LIBXL_TRIGGER_POWER, 0, xen_how(j)));
        return;
    }
    if (j->detached) {
        if (j->rc != 0) {
            lg_warn("xen", "vm=%s rc=%d msg=\"the guest does not answer a request to shut down\"",
                    j->vm, j->rc);
        }
        xen_job_done(j);
        return;
    }
    if (j->rc != 0) {
        xen_job_fail_rc(j, ERR_DRIVER, j->rc, "ask the guest to shut down");
        return;
    }
    xen_job_done(j);
}

static void pause_or_not(struct xen_job *j)
{
    const struct xen_dom *d = xen_living(j);

    if (d == NULL) {
        return;
    }
    if (!d->ready || d->suspended) {
        xen_job_fail(j, ERR_DRIVER, "domain %" PRIu32 " of %s %s", d->domid, j->vm,
                     d->suspended ? "is suspended to be moved" : "is not complete");
        return;
    }
    if (j->op == DRV_UNPAUSE && xen_too_late(j)) {
        xen_job_fail(j, ERR_TIMEOUT, "%s may not begin to run any more", j->vm);
        return;
    }
    j->stage = STAGE_PAUSE;
    xen_started(j, j->op == DRV_PAUSE ? libxl_domain_pause(j->w->ctx, j->domid, xen_how(j))
                                      : libxl_domain_unpause(j->w->ctx, j->domid, xen_how(j)));
}

static void simple_end(struct xen_job *j, const char *what)
{
    if (j->rc != 0) {
        xen_job_fail_rc(j, ERR_DRIVER, j->rc, what);
        return;
    }
    xen_rescan(j->w);
    xen_job_done(j);
}

/* --- changing it while it runs -----------------------------------------------------------------
 */

static void adjust(struct xen_job *j)
{
    const struct xen_dom *d = xen_living(j);
    int rc;

    if (d == NULL) {
        return;
    }
    j->w->last_msg[0] = '\0';
    rc = libxl_set_memory_target(j->w->ctx, j->domid, (int64_t)j->memory_kb, 0, 1);
    if (rc != 0) {
        xen_job_fail_rc(j, ERR_DRIVER, rc, "set the memory of the guest");
        return;
    }
    j->stage = STAGE_VCPUS;
    xen_started(j, libxl_set_vcpuonline(j->w->ctx, j->domid, &j->cpus, xen_how(j)));
}

/* --- all ---------------------------------------------------------------------------------------
 */

void xen_job_begin(struct xen_job *j)
{
    switch (j->op) {
    case DRV_START:
        start(j);
        return;
    case DRV_SHUTDOWN:
        shut_down(j);
        return;
    case DRV_DESTROY:
        xen_rescan(j->w);
        destroy_next(j);
        return;
    case DRV_PAUSE:
    case DRV_UNPAUSE:
        pause_or_not(j);
        return;
    case DRV_ADJUST:
        adjust(j);
        return;
    case DRV_MIG_SUSPEND:
    case DRV_MIG_RESUME:
    case DRV_MIG_RECEIVE:
        xen_mig_begin(j);
        return;
    case DRV_ENUM_DOMAINS:
        xen_list(j);
        return;
    case DRV_CAPACITY:
        xen_capacity(j);
        return;
    case DRV_NONE:
    case DRV_VOL_CREATE:
    case DRV_VOL_GROW:
    case DRV_VOL_ACTIVATE:
    case DRV_VOL_DEACTIVATE:
    case DRV_ENUM_VOLUMES:
    case DRV_PING:
    case DRV_APPLY:
        break; /* not for this thread */
    }
    CHECK_UNREACHABLE();
}

void xen_job_step(struct xen_job *j)
{
    if (j->op == DRV_MIG_SUSPEND || j->op == DRV_MIG_RESUME || j->op == DRV_MIG_RECEIVE) {
        xen_mig_step(j);
        return;
    }
    switch ((enum stage)j->stage) {
    case STAGE_CREATE:
        created(j);
        return;
    case STAGE_UNPAUSE:
        started(j);
        return;
    case STAGE_UNDO:
        undone(j);
        return;
    case STAGE_DESTROY:
        destroyed(j);
        return;
    case STAGE_SHUTDOWN:
    case STAGE_ACPI:
        shutdown_asked(j);
        return;
    case STAGE_PAUSE:
        simple_end(j, j->op == DRV_PAUSE ? "pause the domain" : "unpause the domain");
        return;
    case STAGE_VCPUS:
        simple_end(j, "set the processors of the guest");
        return;
    }
    CHECK_UNREACHABLE();
}
