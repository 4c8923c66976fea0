#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_priv.h"

/* The thread of libxl: its poll loop, its log, and the two mailboxes. */

#define STOP_MS 5000U   /* for operations that were aborted at the end; then they are left behind */
#define REOPEN_MS 2000U /* between two attempts to reach Xen again */
#define IDLE_MS 60000   /* longest sleep */

/* --- libxl's log -------------------------------------------------------------------------------
 */

static void on_log(struct xentoollog_logger *logger, xentoollog_level level, int errnoval,
                   const char *context, const char *format, va_list al)
    __attribute__((format(printf, 5, 0)));

static void on_log(struct xentoollog_logger *logger, xentoollog_level level, int errnoval,
                   const char *context, const char *format, va_list al)
{
    struct xen_work *w = CONTAINER_OF(logger, struct xen_work, log);
    char text[256];

    if (level < XTL_WARN) {
        return;
    }
    (void)vsnprintf(text, sizeof(text), format, al);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '"' ? '\'' : *p == '\n' ? ' ' : *p;
    }
    if (level >= XTL_ERROR) {
        /* "libxl_create.c:663:libxl__domain_make: Domain 3: ..." */
        const char *p = strstr(text, ": ");

        (void)str_copy(w->last_msg, sizeof(w->last_msg), p == NULL ? text : p + 2);
    }
    lg_warn("xen", "from=%s%s%s msg=\"%s\"", context == NULL ? "xen" : context,
            errnoval > 0 ? " errno=" : "", errnoval > 0 ? strerrorname_np(errnoval) : "", text);
}

static void on_disaster(void *user, libxl_event_type type, const char *msg, int errnoval)
{
    struct xen_work *w;

    OBJ_FROM(w, user, XEN_WORK_MAGIC);
    (void)type;
    lg_err("xen", "errno=%d err=\"%s\" msg=\"libxl lost events\"", errnoval, msg);
    w->disaster = true; /* libxl may not be called from here */
}

/* --- context -----------------------------------------------------------------------------------
 */

int xen_work_open(struct xen_work *w, struct err *err)
{
    static const libxl_childproc_hooks children = { .chldowner = libxl_sigchld_owner_mainloop };
    static const libxl_event_hooks hooks = { .event_occurs_mask = LIBXL_EVENTMASK_ALL,
                                             .event_occurs = xen_event,
                                             .disaster = on_disaster };
    int rc;

    w->log = (xentoollog_logger){ .vmessage = on_log };
    w->xs = xs_open(0);
    if (w->xs == NULL) {
        return err_native(err, ERR_DRIVER, "errno", errno,
                          "connect to xenstored (is the service xenstored running?)");
    }
    rc = libxl_ctx_alloc(&w->ctx, LIBXL_VERSION, 0, &w->log);
    if (rc != 0) {
        xs_close(w->xs);
        w->xs = NULL;
        w->ctx = NULL;
        return err_native(err, ERR_DRIVER, "libxl", rc, "open libxenlight (%s)", w->last_msg);
    }
    libxl_childproc_setmode(w->ctx, &children, NULL);
    libxl_event_register_callbacks(w->ctx, &hooks, w);
    return 0;
}

void xen_work_close(struct xen_work *w)
{
    xen_doms_free(w);
    /* A context with operations under way cannot be freed: it is left behind. */
    if (w->ctx != NULL && TAILQ_EMPTY(&w->jobs)) {
        (void)libxl_ctx_free(w->ctx);
    }
    if (w->xs != NULL) {
        xs_close(w->xs);
    }
    w->ctx = NULL;
    w->xs = NULL;
}

/* --- to the loop -------------------------------------------------------------------------------
 */

static void post(struct xen_work *w, struct xen_out *o)
{
    uv_mutex_lock(&w->lock);
    STAILQ_INSERT_TAIL(&w->outbox, o, link);
    if (w->notify != NULL) { /* else the loop has left us behind */
        (void)uv_async_send(w->notify);
    }
    uv_mutex_unlock(&w->lock);
}

void xen_post_event(struct xen_work *w, enum drv_event_kind kind, const struct drv_domain *d)
{
    struct xen_out *o = OBJ_NEW(struct xen_out);

    o->kind = kind;
    if (d != NULL) {
        drv_domain_copy(&o->domain, d);
    }
    post(w, o);
}

void xen_job_done(struct xen_job *j)
{
    struct xen_work *w = j->w;
    struct xen_out *o = OBJ_NEW(struct xen_out);

    CHECK(!j->pending);
    TAILQ_REMOVE(&w->jobs, j, link);
    o->job = j;
    post(w, o);
}

void xen_job_detach(struct xen_job *j)
{
    struct xen_out *o = OBJ_NEW(struct xen_out);

    CHECK(j->pending && !j->detached);
    j->detached = true; /* from here on nothing of the result is touched */
    o->job = j;
    o->early = true;
    post(j->w, o);
}

void xen_job_fail(struct xen_job *j, int code, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    j->failed = true;
    (void)err_set(&j->err, code, "%s", text);
    xen_job_done(j);
}

void xen_job_fail_rc(struct xen_job *j, int code, int rc, const char *what)
{
    const char *msg = j->w->last_msg;

    j->failed = true;
    (void)err_native(&j->err, code, "libxl", rc, "%s: %s%s%s", what,
                     libxl_error_to_string((libxl_error)rc), msg[0] == '\0' ? "" : ": ", msg);
    xen_job_done(j);
}

/* --- operations of libxl -----------------------------------------------------------------------
 */

/* Maybe from within the call that began it, so it only leaves a note. */
static void on_ao(libxl_ctx *ctx, int rc, void *for_callback)
{
    struct xen_job *j;

    (void)ctx;
    OBJ_FROM(j, for_callback, XEN_JOB_MAGIC);
    j->rc = rc;
    j->ready = true;
}

const libxl_asyncop_how *xen_how(struct xen_job *j)
{
    CHECK(!j->pending);
    j->how = (libxl_asyncop_how){ .callback = on_ao, .u.for_callback = j };
    j->pending = true;
    j->ready = false;
    j->aborted = false;
    j->w->last_msg[0] = '\0';
    return &j->how;
}

void xen_started(struct xen_job *j, int rc)
{
    if (rc != 0) { /* it never began: no callback */
        j->rc = rc;
        j->ready = true;
    }
}

static struct xen_job *next_ready(struct xen_work *w)
{
    struct xen_job *j;

    TAILQ_FOREACH (j, &w->jobs, link) {
        if (j->ready) {
            return j;
        }
    }
    return NULL;
}

static void run_ready(struct xen_work *w)
{
    struct xen_job *j;

    xen_mig_poll(w);
    while ((j = next_ready(w)) != NULL) {
        j->ready = false;
        j->pending = false;
        xen_job_step(j);
        xen_mig_poll(w);
    }
}

static void abort_jobs(struct xen_work *w, bool all)
{
    struct xen_job *j;

    TAILQ_FOREACH (j, &w->jobs, link) {
        bool wanted;

        uv_mutex_lock(&w->lock);
        wanted = all || j->abort;
        j->abort = wanted;
        uv_mutex_unlock(&w->lock);
        if (wanted && j->pending && !j->ready && !j->aborted && !j->detached) {
            j->aborted = true;
            (void)libxl_ao_abort(w->ctx, &j->how); /* not found: it has just ended */
        }
    }
}

/* --- the thread --------------------------------------------------------------------------------
 */

void xen_work_wake(struct xen_work *w)
{
    uint64_t one = 1;

    (void)!write(w->wake_fd, &one, sizeof(one));
}

bool xen_job_aborted(struct xen_job *j)
{
    bool yes;

    uv_mutex_lock(&j->w->lock);
    yes = j->abort;
    uv_mutex_unlock(&j->w->lock);
    return yes;
}

/* An operation on the same machine that the loop has given up, and libxl not. */
static const struct xen_job *hanging(const struct xen_job *j)
{
    const struct xen_job *other;

    TAILQ_FOREACH (other, &j->w->jobs, link) {
        if (other != j && !other->detached && j->vm != NULL && str_eq(other->vm, j->vm)) {
            return other;
        }
    }
    return NULL;
}

static void begin(struct xen_work *w, struct xen_job *j, bool stop)
{
    const struct xen_job *other;

    j->w = w;
    j->domid = XEN_NO_DOMID;
    TAILQ_INSERT_TAIL(&w->jobs, j, link);
    other = hanging(j);
    if (w->ctx == NULL) {
        xen_job_fail(j, ERR_DRIVER, "Xen cannot be reached: %s", w->last_msg);
    } else if (xen_job_aborted(j) || stop) {
        xen_job_fail(j, ERR_CANCELED, "aborted before it began");
    } else if (other != NULL && j->op != DRV_DESTROY) { /* which may be the way out */
        xen_job_fail(j, ERR_DRIVER, "libxl still hangs in an earlier operation on %s (%s)", j->vm,
                     drv_op_name(other->op));
    } else {
        xen_job_begin(j);
    }
}

static void take_inbox(struct xen_work *w)
{
    struct xen_jobs list = TAILQ_HEAD_INITIALIZER(list);
    bool sigchld, aborts, stop;
    struct xen_job *j;

    uv_mutex_lock(&w->lock);
    TAILQ_CONCAT(&list, &w->inbox, link);
    sigchld = w->sigchld;
    aborts = w->any_abort;
    stop = w->stop;
    w->sigchld = false;
    w->any_abort = false;
    uv_mutex_unlock(&w->lock);
    if (sigchld && w->ctx != NULL) {
        libxl_childproc_sigchld_occurred(w->ctx);
    }
    while ((j = TAILQ_FIRST(&list)) != NULL) {
        TAILQ_REMOVE(&list, j, link);
        begin(w, j, stop);
    }
    if (stop && w->stop_ms == 0) {
        w->stop_ms = clock_now_ms() + STOP_MS;
        abort_jobs(w, true);
    }
    if (aborts) {
        abort_jobs(w, false);
    }
}

static void abandon_jobs(struct xen_work *w, const char *why)
{
    struct xen_job *j;

    while ((j = TAILQ_FIRST(&w->jobs)) != NULL) {
        j->pending = false;
        if (j->move != NULL) {
            xen_move_end(j->move);
            j->move = NULL;
        }
        if (j->detached) {
            xen_job_done(j);
        } else {
            xen_job_fail(j, ERR_UNKNOWN_OUTCOME, "%s", why);
        }
    }
}

/* libxl said that it can no longer be relied upon: begin anew with another context. */
static void reopen(struct xen_work *w)
{
    struct err err;

    if (w->disaster) {
        w->disaster = false;
        /* Jobs of the old context still point to it: close it while they are listed. */
        xen_work_close(w);
        abandon_jobs(w, "libxl lost its events and was opened anew");
        xen_post_event(w, DRV_EV_DOUBT, NULL);
    }
    if (w->ctx == NULL && clock_now_ms() >= w->reopen_ms) {
        w->reopen_ms = clock_now_ms() + REOPEN_MS;
        if (xen_work_open(w, &err) != 0) {
            (void)str_copy(w->last_msg, sizeof(w->last_msg), err.msg);
            lg_err("xen", "err=\"%s\"", err.msg);
            return;
        }
        xen_post_event(w, DRV_EV_DOUBT, NULL);
        w->rescan = true;
    }
}

static int before_poll(struct xen_work *w, int *ret_timeout)
{
    struct timeval now;
    int n, rc;

    *ret_timeout = w->rescan ? 0 : w->ctx == NULL ? (int)REOPEN_MS : IDLE_MS;
    if (w->ctx == NULL) {
        return 0;
    }
    do {
        n = w->n_fds - 1;
        (void)gettimeofday(&now, NULL);
        rc = libxl_osevent_beforepoll(w->ctx, &n, w->fds + 1, ret_timeout, now);
        if (rc == ERROR_BUFFERFULL) {
            w->n_fds = n + 8;
            w->fds = mem_realloc(w->fds, (size_t)w->n_fds * sizeof(*w->fds));
        }
    } while (rc == ERROR_BUFFERFULL);
    if (rc != 0) {
        lg_err("xen", "rc=%d msg=\"libxl cannot be polled\"", rc);
        w->disaster = true;
        return 0;
    }
    return n;
}

/* Is somebody waiting for libxl? */
static bool busy(const struct xen_work *w)
{
    const struct xen_job *j;

    TAILQ_FOREACH (j, &w->jobs, link) {
        if (!j->detached) {
            return true;
        }
    }
    return false;
}

static void poll_once(struct xen_work *w)
{
    struct timeval now;
    uint64_t count;
    int timeout, n;

    n = before_poll(w, &timeout);
    if (w->stop_ms != 0 && (timeout < 0 || timeout > 200)) {
        timeout = busy(w) ? 200 : 0;
    }
    if (!TAILQ_EMPTY(&w->jobs) && next_ready(w) != NULL) {
        timeout = 0;
    }
    w->fds[0] = (struct pollfd){ .fd = w->wake_fd, .events = POLLIN };
    if (poll(w->fds, (nfds_t)n + 1, timeout) < 0) {
        CHECK(errno == EINTR || errno == ENOMEM);
        return;
    }
    if (w->ctx != NULL && !w->disaster) {
        (void)gettimeofday(&now, NULL);
        libxl_osevent_afterpoll(w->ctx, n, w->fds + 1, now);
    }
    if ((w->fds[0].revents & POLLIN) != 0) {
        (void)!read(w->wake_fd, &count, sizeof(count));
    }
}

void xen_rescan(struct xen_work *w)
{
    struct err err;

    w->rescan = false;
    if (xen_scan(w, &err) != 0) {
        lg_warn("xen", "err=\"%s\"", err.msg);
        xen_post_event(w, DRV_EV_DOUBT, NULL); /* whoever hears it enumerates again */
    }
}

static void run(void *arg)
{
    struct xen_work *w;
    struct xen_out *o = OBJ_NEW(struct xen_out);

    OBJ_FROM(w, arg, XEN_WORK_MAGIC);
    while (w->stop_ms == 0 || (busy(w) && clock_now_ms() < w->stop_ms)) {
        reopen(w);
        if (w->rescan && w->ctx != NULL) { /* before jobs: they rely on what was seen */
            xen_rescan(w);
        }
        take_inbox(w);
        run_ready(w);
        poll_once(w);
        run_ready(w);
    }
    xen_work_close(w);
    abandon_jobs(w, "the driver is being closed");
    o->ended = true;
    post(w, o);
}

int xen_work_start(struct xen_work *w)
{
    w->n_fds = 16;
    w->fds = mem_alloc((size_t)w->n_fds * sizeof(*w->fds));
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->rescan = true;
    CHECK(w->wake_fd >= 0);
    return uv_thread_create(&w->thread, run, w);
}
