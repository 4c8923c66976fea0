#include "reconciler/xen_drv.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/host_ping.h"
#include "reconciler/intent.h"
#include "reconciler/xen_map.h"
#include "reconciler/xen_priv.h"

/* The loop's side of the Xen driver: jobs become messages, messages become callbacks. */

#define GIVE_UP_MS 10000U
#define CAPABILITIES_FILE "/proc/xen/capabilities"

static struct xen_drv *xen(struct drv *d)
{
    struct xen_drv *x = CONTAINER_OF(d, struct xen_drv, drv);

    OBJ_CHECK(x, XEN_DRV_MAGIC);
    return x;
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void job_free(struct xen_job *j)
{
    if (j->has_conf) {
        libxl_domain_config_dispose(&j->conf);
    }
    libxl_bitmap_dispose(&j->cpus);
    for (size_t i = 0; i < j->n_domains; i++) {
        drv_domain_done(&j->domains[i]);
    }
    free(j->domains);
    free(j->capacity.hypervisor);
    free(j->vm);
    free(j->uid);
    free(j->text);
    free(j->peer);
    free(j->peer_address);
    free(j->migration);
    j->magic = 0;
    free(j);
}

static void answer(struct xen_drv *x, struct xen_job *j)
{
    struct drv_job *job = j->job;

    j->job = NULL;
    x->jobs--;
    job->drv_private = NULL;
    job->result.domains = j->domains;
    job->result.n_domains = j->failed ? 0 : j->n_domains;
    job->result.capacity = j->capacity;
    job->result.ready = j->ok_ready;
    job->result.message = j->text;
    job->result.suspended_ms = j->suspended_ms;
    job->cb(job, j->failed ? &j->err : NULL);
}

static void close_next(struct xen_drv *x);

static void take(struct xen_drv *x, struct xen_out *o)
{
    struct drv_event ev = { .kind = o->kind, .domain = &o->domain };

    if (o->ended) {
        CHECK(uv_thread_join(&x->w->thread) == 0);
        x->worker_ended = true;
    } else if (o->job == NULL) {
        drv_emit(&x->drv, &ev);
        drv_domain_done(&o->domain);
    } else {
        if (o->job->job != NULL) {
            TAILQ_REMOVE(&x->running, o->job, all);
            answer(x, o->job);
        }
        if (!o->early) {
            job_free(o->job);
        }
    }
    free(o);
}

static void on_notify(uv_async_t *h)
{
    struct xen_drv *x = h->data;
    struct xen_outs list = STAILQ_HEAD_INITIALIZER(list);
    struct xen_out *o;

    uv_mutex_lock(&x->w->lock);
    STAILQ_CONCAT(&list, &x->w->outbox);
    uv_mutex_unlock(&x->w->lock);
    while ((o = STAILQ_FIRST(&list)) != NULL) {
        STAILQ_REMOVE_HEAD(&list, link);
        take(x, o);
    }
    close_next(x);
}

/* --- jobs that do not end ----------------------------------------------------------------------
 */

static void arm(struct xen_drv *x);

/* libxl hangs: the caller is told that nobody knows, and the message is freed when it comes. */
static void give_up(struct xen_drv *x, struct xen_job *j, const char *why)
{
    struct drv_job *job = j->job;
    struct err err;

    TAILQ_REMOVE(&x->running, j, all);
    j->job = NULL;
    x->jobs--;
    job->drv_private = NULL;
    (void)err_set(&err, ERR_UNKNOWN_OUTCOME, "%s", why);
    job->cb(job, &err);
}

static struct xen_job *overdue(struct xen_drv *x, uint64_t now)
{
    struct xen_job *j;

    TAILQ_FOREACH (j, &x->running, all) {
        if (j->give_up_ms != 0 && now >= j->give_up_ms) {
            return j;
        }
    }
    return NULL;
}

static void on_timer(uv_timer_t *t)
{
    struct xen_drv *x = t->data;
    uint64_t now = clock_now_ms();
    struct xen_job *j;

    while ((j = overdue(x, now)) != NULL) {
        lg_err("xen", "vm=%s op=%s msg=\"libxl does not end it\"", j->vm == NULL ? "" : j->vm,
               drv_op_name(j->op));
        give_up(x, j, "libxl hangs in it; look before anything else is tried");
    }
    if (x->closing && now >= x->close_ms) {
        while ((j = TAILQ_FIRST(&x->running)) != NULL) {
            give_up(x, j, "the driver is being closed");
        }
    }
    arm(x);
    close_next(x);
}

static void arm(struct xen_drv *x)
{
    uint64_t at = x->closing ? x->close_ms : UINT64_MAX;
    uint64_t now = clock_now_ms();
    const struct xen_job *j;

    TAILQ_FOREACH (j, &x->running, all) {
        if (j->give_up_ms != 0 && j->give_up_ms < at) {
            at = j->give_up_ms;
        }
    }
    if (at != UINT64_MAX && !uv_is_closing((uv_handle_t *)&x->timer)) {
        CHECK(uv_timer_start(&x->timer, on_timer, at > now ? at - now : 1, 0) == 0);
    }
}

/* --- submitting --------------------------------------------------------------------------------
 */

/* Through the outbox, since a callback may not come before submit has returned. */
static void fail_soon(struct xen_drv *x, struct xen_job *j)
{
    struct xen_out *o = OBJ_NEW(struct xen_out);

    j->failed = true;
    o->job = j;
    uv_mutex_lock(&x->w->lock);
    STAILQ_INSERT_TAIL(&x->w->outbox, o, link);
    uv_mutex_unlock(&x->w->lock);
    (void)uv_async_send(&x->notify);
}

static void send_job(struct xen_drv *x, struct xen_job *j)
{
    uv_mutex_lock(&x->w->lock);
    TAILQ_INSERT_TAIL(&x->w->inbox, j, link);
    uv_mutex_unlock(&x->w->lock);
    xen_work_wake(x->w);
}

static char **disk_paths(struct xen_drv *x, const struct drv_job *job)
{
    char **paths = mem_alloc((job->n_disks + 1) * sizeof(*paths));

    for (size_t i = 0; i < job->n_disks; i++) {
        const struct drv_disk *d = &job->disks[i];

        paths[i] = d->volume != NULL ? x->storage->ops->path(x->storage, d->group, d->volume)
                                     : mem_strdup(d->path);
    }
    return paths;
}

/* The configuration of a domain that is to be made. */
static int make_conf(struct xen_drv *x, struct xen_job *j)
{
    const struct drv_job *job = j->job;
    char **paths = disk_paths(x, job);
    struct xen_map_in in = {
        .vm = job->vm,
        .uid = job->uid,
        .object = job->object,
        .disks = job->disks,
        .paths = (const char *const *)paths,
        .n_disks = job->n_disks,
        .incarnation = job->incarnation,
        .token = job->token,
        .since_wall_ms = clock_wall_ms(),
        .vnc_password =
            json_string_value(json_object_get(job->secrets, "spec.graphics.passwordRef")),
    };
    int rc = xen_map(&in, &j->conf, &j->err);

    j->has_conf = true;
    for (size_t i = 0; i < job->n_disks; i++) {
        free(paths[i]);
    }
    free(paths);
    return rc;
}

static struct xen_job *job_new(const struct drv_job *job)
{
    struct xen_job *j = OBJ_NEW(struct xen_job);

    j->magic = XEN_JOB_MAGIC;
    j->op = job->op;
    if (job->op != DRV_ENUM_DOMAINS && job->op != DRV_CAPACITY) {
        j->vm = mem_strdup(job->vm);
    }
    j->uid = mem_strdup(job->uid);
    j->incarnation = job->incarnation;
    j->token = job->token;
    j->not_after_ms = job->not_after_ms;
    j->peer = mem_strdup(job->peer);
    j->peer_address = mem_strdup(job->peer_address);
    j->migration = mem_strdup(job->migration);
    j->bandwidth = job->bandwidth;
    libxl_bitmap_init(&j->cpus);
    return j;
}

static void submit_own(struct xen_drv *x, struct drv_job *job)
{
    struct xen_job *j = job_new(job);

    j->job = job;
    job->drv_private = j;
    x->jobs++;
    TAILQ_INSERT_TAIL(&x->running, j, all);
    if (x->closing || x->worker_ended) {
        (void)err_set(&j->err, ERR_CANCELED, "the driver is being closed");
        fail_soon(x, j);
        return;
    }
    if ((job->op == DRV_START || job->op == DRV_MIG_RECEIVE) && make_conf(x, j) != 0) {
        fail_soon(x, j);
        return;
    }
    if (job->op == DRV_ADJUST) {
        j->memory_kb = xen_map_memory_kb(job->object);
        xen_bits_first(&j->cpus, xen_map_vcpus(job->object));
    }
    send_job(x, j);
}

static void apply_nobody(struct xen_drv *x, struct drv_job *job)
{
    struct xen_job *j = job_new(job);

    j->job = job;
    job->drv_private = j;
    x->jobs++;
    TAILQ_INSERT_TAIL(&x->running, j, all);
    (void)err_set(&j->err, ERR_UNSUPPORTED, "%s %s: this agent sets up nothing but guests",
                  job->kind, job->name);
    fail_soon(x, j);
}

static bool for_storage(enum drv_op op)
{
    return op == DRV_VOL_CREATE || op == DRV_VOL_GROW || op == DRV_VOL_ACTIVATE ||
           op == DRV_VOL_DEACTIVATE || op == DRV_ENUM_VOLUMES;
}

static void xen_submit(struct drv *d, struct drv_job *job)
{
    struct xen_drv *x = xen(d);

    if (for_storage(job->op)) {
        x->storage->ops->submit(x->storage, job);
    } else if (job->op == DRV_PING) {
        host_ping_submit(x->ping, job);
    } else if (job->op != DRV_APPLY) {
        submit_own(x, job);
    } else if (x->apply != NULL) {
        x->apply->ops->submit(x->apply, job);
    } else {
        apply_nobody(x, job);
    }
}

/* The worker looks at it right before the guest runs. */
static void xen_extend(struct drv *d, struct drv_job *job)
{
    struct xen_job *j = job->drv_private;

    (void)d;
    if (j != NULL) {
        __atomic_store_n(&j->not_after_ms, job->not_after_ms, __ATOMIC_RELAXED);
    }
}

static void xen_abort(struct drv *d, struct drv_job *job)
{
    struct xen_drv *x = xen(d);
    struct xen_job *j = job->drv_private;

    if (for_storage(job->op)) {
        x->storage->ops->abort(x->storage, job);
        return;
    }
    if (job->op == DRV_PING) {
        host_ping_abort(x->ping, job);
        return;
    }
    if (job->op == DRV_APPLY && x->apply != NULL) {
        x->apply->ops->abort(x->apply, job);
        return;
    }
    CHECK(j != NULL);
    uv_mutex_lock(&x->w->lock);
    j->abort = true;
    x->w->any_abort = true;
    uv_mutex_unlock(&x->w->lock);
    xen_work_wake(x->w);
    j->give_up_ms = clock_now_ms() + x->give_up_ms;
    arm(x);
}

/* --- signals and events ------------------------------------------------------------------------
 */

static void on_sigchld(uv_signal_t *s, int sig)
{
    struct xen_drv *x = s->data;

    (void)sig;
    uv_mutex_lock(&x->w->lock);
    x->w->sigchld = true;
    uv_mutex_unlock(&x->w->lock);
    xen_work_wake(x->w);
}

static void on_storage_event(void *data, const struct drv_event *ev)
{
    struct xen_drv *x = data;

    drv_emit(&x->drv, ev);
}

/* --- closing -----------------------------------------------------------------------------------
 */

static void work_free(struct xen_work *w)
{
    struct xen_out *o;

    while ((o = STAILQ_FIRST(&w->outbox)) != NULL) {
        STAILQ_REMOVE_HEAD(&w->outbox, link);
        drv_domain_done(&o->domain);
        free(o);
    }
    if (w->mover != NULL) {
        xen_mover_free(w->mover);
    }
    if (w->wake_fd >= 0) {
        (void)close(w->wake_fd);
    }
    uv_mutex_destroy(&w->lock);
    free(w->fds);
    free(w);
}

static void on_part_closed(void *ctx)
{
    struct xen_drv *x = ctx;
    void (*on_closed)(void *c) = x->on_closed;
    void *on_closed_ctx = x->on_closed_ctx;

    if (--x->open > 0) {
        return;
    }
    if (x->worker_ended) {
        work_free(x->w); /* else libxl hangs with it, and it is left behind */
    }
    x->magic = 0;
    free(x);
    if (on_closed != NULL) {
        on_closed(on_closed_ctx);
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    on_part_closed(h->data);
}

/* Once nothing of ours runs any more (or libxl hangs for good), close what is left. */
static void close_next(struct xen_drv *x)
{
    if (!x->closing || x->finishing || x->jobs > 0 ||
        (!x->worker_ended && clock_now_ms() < x->close_ms)) {
        return;
    }
    x->finishing = true;
    x->open = 5 + (x->apply != NULL);
    if (!x->worker_ended) {
        lg_err("xen", "msg=\"libxl hangs; its thread is left behind\"");
        uv_mutex_lock(&x->w->lock);
        x->w->notify = NULL;
        uv_mutex_unlock(&x->w->lock);
    }
    uv_close((uv_handle_t *)&x->timer, on_handle_closed);
    uv_close((uv_handle_t *)&x->sigchld, on_handle_closed);
    uv_close((uv_handle_t *)&x->notify, on_handle_closed);
    if (x->apply != NULL) {
        x->apply->ops->close(x->apply, on_part_closed, x);
    }
    host_ping_close(x->ping, on_part_closed, x);
    x->storage->on_event = NULL;
    x->storage->ops->close(x->storage, on_part_closed, x);
}

static void xen_close(struct drv *d, void (*on_closed)(void *ctx), void *ctx)
{
    struct xen_drv *x = xen(d);

    x->closing = true;
    x->close_ms = clock_now_ms() + x->give_up_ms;
    x->on_closed = on_closed;
    x->on_closed_ctx = ctx;
    uv_mutex_lock(&x->w->lock);
    x->w->stop = true;
    uv_mutex_unlock(&x->w->lock);
    xen_work_wake(x->w);
    arm(x);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static int in_dom0(struct err *err)
{
    const char *path = getenv("PICKET_XEN_CAPABILITIES");
    char *text = NULL;
    bool dom0;

    path = path == NULL ? CAPABILITIES_FILE : path; /* elsewhere for tests */
    if (intent_read_file(path, &text, err) != 0) {
        return err_set(err, ERR_UNSUPPORTED,
                       "this machine does not run Xen (%s cannot be read): boot it with Xen, or "
                       "mount xenfs on /proc/xen; --driver dev runs guests as processes",
                       path);
    }
    dom0 = strstr(text, "control_d") != NULL;
    free(text);
    return dom0 ? 0
                : err_set(err, ERR_UNSUPPORTED,
                          "this is a guest of Xen, not its dom0 (%s): picket-agent runs in dom0",
                          path);
}

const struct xen_host_caps *xen_drv_caps(struct drv *d)
{
    return &xen(d)->w->caps;
}

static struct xen_work *work_new(struct xen_drv *x)
{
    struct xen_work *w = OBJ_NEW(struct xen_work);

    w->magic = XEN_WORK_MAGIC;
    w->notify = &x->notify;
    w->wake_fd = -1;
    TAILQ_INIT(&w->inbox);
    TAILQ_INIT(&w->jobs);
    STAILQ_INIT(&w->outbox);
    CHECK(uv_mutex_init(&w->lock) == 0);
    return w;
}

static int open_mover(struct xen_work *w, const struct xen_drv_opts *opts, struct err *err)
{
    struct xen_mover_opts o = { .tls_cert = opts->tls_cert,
                                .tls_key = opts->tls_key,
                                .tls_ca = opts->tls_ca,
                                .patience_ms = opts->patience_ms,
                                .notify = xen_mig_notify,
                                .ctx = w };

    return xen_mover_new(&o, &w->mover, err);
}

static void handles(struct xen_drv *x)
{
    CHECK(uv_async_init(x->loop, &x->notify, on_notify) == 0);
    CHECK(uv_timer_init(x->loop, &x->timer) == 0);
    CHECK(uv_signal_init(x->loop, &x->sigchld) == 0);
    x->notify.data = x;
    x->timer.data = x;
    x->sigchld.data = x;
    CHECK(uv_signal_start(&x->sigchld, on_sigchld, SIGCHLD) == 0);
    x->ping = host_ping_new(x->loop, PING_ICMP);
}

int xen_drv_new(const struct xen_drv_opts *opts, struct drv **ret, struct err *err)
{
    static const struct drv_ops ops = { .name = "xen",
                                        .submit = xen_submit,
                                        .abort = xen_abort,
                                        .close = xen_close,
                                        .extend = xen_extend };
    struct xen_drv *x;
    int rc = in_dom0(err);

    if (rc != 0) {
        return rc;
    }
    x = OBJ_NEW(struct xen_drv);
    x->drv.ops = &ops;
    x->magic = XEN_DRV_MAGIC;
    x->loop = opts->loop;
    x->give_up_ms = opts->give_up_ms == 0 ? GIVE_UP_MS : opts->give_up_ms;
    TAILQ_INIT(&x->running);
    x->w = work_new(x);
    rc = open_mover(x->w, opts, err);
    if (rc == 0) {
        rc = xen_work_open(x->w, err);
    }
    if (rc != 0) {
        work_free(x->w);
        free(x);
        return rc;
    }
    xen_caps(x->w);
    x->storage = opts->storage;
    x->apply = opts->apply;
    x->storage->on_event = on_storage_event;
    x->storage->on_event_data = x;
    handles(x);
    CHECK(xen_work_start(x->w) == 0);
    lg_info("xen", "version=%s pv=%d hvm=%d hap=%d pvLogDirty=%d", x->w->caps.version,
            x->w->caps.pv, x->w->caps.hvm, x->w->caps.hap, x->w->caps.pv_logdirty);
    *ret = &x->drv;
    return 0;
}
