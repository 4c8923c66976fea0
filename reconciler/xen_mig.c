#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_priv.h"

/* Moving a guest while it runs: libxl makes and takes the stream, the mover carries it.
 *
 * Nothing here ever makes the source go on (DRV_MIG_RESUME does, after a committed abort) or the
 * target run (DRV_UNPAUSE does, after the commit): see safety.md 2.  Only libxl's thread. */

enum stage {
    MIG_WAIT = 1, /* for the other host */
    MIG_SEND,     /* libxl sends, then the guest is suspended */
    MIG_RESULT,   /* everything was sent: is it whole there? */
    MIG_RESTORE,  /* libxl restores */
    MIG_TOLD,     /* restored; the other host is being told */
    MIG_REMOVE,   /* what was restored half is being removed */
    MIG_RESUME,
};

/* On the mover's thread. */
void xen_mig_notify(void *ctx)
{
    xen_work_wake(ctx);
}

static void move_end(struct xen_job *j)
{
    if (j->move != NULL) {
        xen_move_end(j->move);
        j->move = NULL;
    }
}

static void fail(struct xen_job *j, int code, const char *why)
{
    char text[ERR_MSG_MAX];

    (void)str_copy(text, sizeof(text), why); /* it may be the move's */
    move_end(j);
    xen_job_fail(j, code, "%s", text);
}

static bool begin_move(struct xen_job *j, bool send)
{
    struct xen_move_req req = { .send = send,
                                .vm = j->vm,
                                .uid = j->uid,
                                .migration = j->migration,
                                .peer = j->peer,
                                .address = j->peer_address,
                                .bandwidth = j->bandwidth };

    if (j->w->mover == NULL) {
        xen_job_fail(j, ERR_UNSUPPORTED, "this agent was started without what migration needs");
        return false;
    }
    if (j->migration == NULL || j->peer == NULL || j->peer_address == NULL || j->uid == NULL) {
        xen_job_fail(j, ERR_INVALID, "a migration needs its name, the other host and an address");
        return false;
    }
    j->move = xen_move_begin(j->w->mover, &req, &j->move_fd);
    j->stage = MIG_WAIT;
    return true;
}

/* --- source ------------------------------------------------------------------------------------
 */

static void send_begin(struct xen_job *j)
{
    struct xen_dom *d = xen_living(j);
    const struct xen_host_caps *caps = &j->w->caps;
    libxl_dominfo info;
    bool pv;

    if (d == NULL) {
        return;
    }
    if (d->suspended || !d->ready) {
        xen_job_fail(j, ERR_DRIVER, "domain %" PRIu32 " of %s %s", d->domid, j->vm,
                     d->suspended ? "is suspended already" : "is not complete");
        return;
    }
    libxl_dominfo_init(&info);
    pv = libxl_domain_info(j->w->ctx, &info, d->domid) == 0 &&
         info.domain_type == LIBXL_DOMAIN_TYPE_PV;
    libxl_dominfo_dispose(&info);
    if (pv && !caps->pv_logdirty) {
        xen_job_fail(j, ERR_UNSUPPORTED,
                     "%s of this host cannot track the memory of a PV guest (built without shadow "
                     "paging): move it cold, or make it PVH",
                     caps->version);
        return;
    }
    if (j->uid == NULL) {
        j->uid = mem_strdup(d->uid);
    }
    (void)begin_move(j, true);
}

static void sent(struct xen_job *j)
{
    struct xen_dom *d;
    char text[ERR_MSG_MAX];

    xen_rescan(j->w);
    d = xen_by_id(j->w, j->domid);
    if (j->rc == 0 && d != NULL && d->suspended) {
        xen_move_eof(j->move);
        j->stage = MIG_RESULT;
        return;
    }
    (void)snprintf(text, sizeof(text), "send the guest: %s%s%.400s",
                   libxl_error_to_string((libxl_error)j->rc), j->move_err.code == 0 ? "" : ": ",
                   j->move_err.code == 0 ? "" : j->move_err.msg);
    /* Not whole there in any case, but suspended it stays until the abort is committed. */
    fail(j, d != NULL && d->suspended ? ERR_UNKNOWN_OUTCOME : ERR_DRIVER, text);
}

static void resume_begin(struct xen_job *j)
{
    const struct xen_dom *d = xen_living(j);

    if (d == NULL) {
        return;
    }
    if (!d->suspended) {
        xen_job_done(j);
        return;
    }
    if (xen_too_late(j)) {
        xen_job_fail(j, ERR_TIMEOUT, "%s may not go on any more", j->vm);
        return;
    }
    j->stage = MIG_RESUME;
    xen_started(j, libxl_domain_resume(j->w->ctx, j->domid, 1, xen_how(j)));
}

static void resumed(struct xen_job *j)
{
    if (j->rc != 0) {
        xen_job_fail_rc(j, ERR_DRIVER, j->rc, "resume the guest");
        return;
    }
    lg_info("xen", "vm=%s domid=%" PRIu32 " msg=\"goes on here\"", j->vm, j->domid);
    xen_rescan(j->w);
    xen_job_done(j);
}

/* --- target ------------------------------------------------------------------------------------
 */

static void receive_begin(struct xen_job *j)
{
    if (xen_may_create(j)) {
        (void)begin_move(j, false);
    }
}

static void restore(struct xen_job *j)
{
    libxl_domain_restore_params_init(&j->restore);
    j->restore.stream_version = 2;
    j->stage = MIG_RESTORE;
    xen_started(j, libxl_domain_create_restore(j->w->ctx, &j->conf, &j->domid, j->move_fd, -1,
                                               &j->restore, xen_how(j), NULL));
}

/* What there is of it goes; then the job ends with what is in j->err. */
static void remove_half(struct xen_job *j, int code, const char *why)
{
    char text[ERR_MSG_MAX];

    (void)str_copy(text, sizeof(text), why);
    if (j->move != NULL) {
        xen_move_finish(j->move, false, text);
    }
    j->failed = true;
    (void)err_set(&j->err, code, "%s", text);
    if (j->domid == XEN_NO_DOMID || libxl_domain_info(j->w->ctx, NULL, j->domid) != 0) {
        move_end(j);
        j->w->rescan = true;
        xen_job_done(j);
        return;
    }
    j->stage = MIG_REMOVE;
    xen_started(j, libxl_domain_destroy(j->w->ctx, j->domid, xen_how(j)));
}

static void removed(struct xen_job *j)
{
    struct xen_dom *d = xen_by_id(j->w, j->domid);

    if (j->rc != 0) {
        j->err.code = ERR_UNKNOWN_OUTCOME;
    } else if (d != NULL) {
        d->ending = true;
    }
    move_end(j);
    j->w->rescan = true;
    xen_job_done(j);
}

static void restored(struct xen_job *j)
{
    char text[ERR_MSG_MAX];

    if (j->rc != 0) {
        (void)snprintf(text, sizeof(text), "restore the guest: %s%s%s",
                       libxl_error_to_string((libxl_error)j->rc),
                       j->w->last_msg[0] == '\0' ? "" : ": ", j->w->last_msg);
        remove_half(j, j->rc == ERROR_ABORTED ? ERR_CANCELED : ERR_DRIVER, text);
        return;
    }
    xen_node_put(j->w, j->domid, XEN_MARK_READY, "1");
    xen_move_finish(j->move, true, "");
    j->stage = MIG_TOLD;
}

/* --- what the mover says -----------------------------------------------------------------------
 */

static void source_moved(struct xen_job *j, enum xen_move_state st)
{
    const struct xen_dom *d;

    if (j->stage == MIG_WAIT && st == XEN_MOVE_READY) {
        j->stage = MIG_SEND;
        xen_started(j, libxl_domain_suspend(j->w->ctx, j->domid, j->move_fd, LIBXL_SUSPEND_LIVE,
                                            xen_how(j)));
    } else if (j->stage == MIG_WAIT && st == XEN_MOVE_FAILED) {
        fail(j, ERR_DRIVER, j->move_err.msg);
    } else if (j->stage == MIG_RESULT && st == XEN_MOVE_FAILED) {
        fail(j, ERR_UNKNOWN_OUTCOME, j->move_err.msg);
    } else if (j->stage == MIG_RESULT && st == XEN_MOVE_DONE) {
        d = xen_by_id(j->w, j->domid);
        j->suspended_ms = d == NULL ? 0 : d->suspended_ms;
        move_end(j);
        lg_info("xen", "vm=%s domid=%" PRIu32 " peer=%s msg=\"suspended here, whole there\"", j->vm,
                j->domid, j->peer);
        xen_job_done(j);
    }
}

static void target_moved(struct xen_job *j, enum xen_move_state st)
{
    if (j->stage == MIG_WAIT && st == XEN_MOVE_READY) {
        restore(j);
    } else if (j->stage == MIG_WAIT && st == XEN_MOVE_FAILED) {
        fail(j, ERR_DRIVER, j->move_err.msg);
    } else if (j->stage == MIG_TOLD && (st == XEN_MOVE_DONE || st == XEN_MOVE_FAILED)) {
        /* Whether or not the source heard it: it is whole, and paused. */
        move_end(j);
        lg_info("xen", "vm=%s domid=%" PRIu32 " peer=%s msg=\"whole and paused\"", j->vm, j->domid,
                j->peer);
        xen_rescan(j->w);
        xen_job_done(j);
    }
}

static void aborted(struct xen_job *j)
{
    switch ((enum stage)j->stage) {
    case MIG_WAIT:
        fail(j, ERR_CANCELED, "the migration was aborted before it began");
        return;
    case MIG_RESULT:
        fail(j, ERR_UNKNOWN_OUTCOME,
             "aborted when everything was sent; the guest is suspended here and perhaps whole "
             "there");
        return;
    case MIG_TOLD:
        target_moved(j, XEN_MOVE_DONE);
        return;
    case MIG_SEND: /* libxl was told */
    case MIG_RESTORE:
    case MIG_REMOVE:
    case MIG_RESUME:
        return;
    }
    CHECK_UNREACHABLE();
}

static struct xen_job *next_moved(struct xen_work *w)
{
    struct xen_job *j;

    TAILQ_FOREACH (j, &w->jobs, link) {
        if (j->move != NULL && !j->pending && !j->ready &&
            (j->move_seen != xen_move_look(j->move, &j->move_err) ||
             (xen_job_aborted(j) && !j->abort_seen))) {
            return j;
        }
        if (j->move != NULL) {
            (void)xen_move_look(j->move, &j->move_err);
        }
    }
    return NULL;
}

void xen_mig_poll(struct xen_work *w)
{
    struct xen_job *j;

    while ((j = next_moved(w)) != NULL) {
        if (xen_job_aborted(j) && !j->abort_seen) {
            j->abort_seen = true;
            aborted(j);
            continue;
        }
        j->move_seen = xen_move_look(j->move, &j->move_err);
        if (j->op == DRV_MIG_RECEIVE) {
            target_moved(j, j->move_seen);
        } else {
            source_moved(j, j->move_seen);
        }
    }
}

/* --- all ---------------------------------------------------------------------------------------
 */

void xen_mig_begin(struct xen_job *j)
{
    switch (j->op) {
    case DRV_MIG_SUSPEND:
        send_begin(j);
        return;
    case DRV_MIG_RESUME:
        resume_begin(j);
        return;
    default:
        CHECK(j->op == DRV_MIG_RECEIVE);
        receive_begin(j);
        return;
    }
}

void xen_mig_step(struct xen_job *j)
{
    switch ((enum stage)j->stage) {
    case MIG_SEND:
        sent(j);
        return;
    case MIG_RESTORE:
        restored(j);
        return;
    case MIG_REMOVE:
        removed(j);
        return;
    case MIG_RESUME:
        resumed(j);
        return;
    case MIG_WAIT:
    case MIG_RESULT:
    case MIG_TOLD:
        break; /* not libxl's */
    }
    CHECK_UNREACHABLE();
}
