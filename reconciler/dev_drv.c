#include "reconciler/dev_drv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/dev_drv_priv.h"

static struct dev_drv *dev(struct drv *d)
{
    struct dev_drv *v = CONTAINER_OF(d, struct dev_drv, drv);

    OBJ_CHECK(v, DEV_DRV_MAGIC);
    return v;
}

static void run_done(uv_timer_t *t);

/* --- jobs that are over ------------------------------------------------------------------------
 */

void dev_job_done(struct dev_job *j)
{
    struct dev_drv *d = j->d;

    CHECK(!j->listed);
    j->listed = true;
    j->next = NULL;
    *d->done_tail = j;
    d->done_tail = &j->next;
    CHECK(uv_timer_start(&d->timer, run_done, 0, 0) == 0);
}

bool dev_job_too_late(const struct dev_job *j)
{
    return j->job->not_after_ms != 0 && clock_now_ms() > j->job->not_after_ms;
}

int dev_job_fail(struct dev_job *j, int code, const char *fmt, ...)
{
    va_list ap;
    char text[ERR_MSG_MAX];

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    j->failed = true;
    (void)err_set(&j->err, code, "%s", text);
    dev_job_done(j);
    return code;
}

static void answer(struct dev_drv *d, struct dev_job *j)
{
    static char name[] = "dev";
    struct drv_job *job = j->job;

    if (j->failed) {
        job->cb(job, &j->err);
        return;
    }
    switch (job->op) {
    case DRV_ENUM_DOMAINS:
        dev_dom_list(d, j);
        return;
    case DRV_ENUM_VOLUMES:
        dev_vol_list(d, j);
        return;
    case DRV_CAPACITY: {
        uint64_t used = dev_dom_memory(d);

        job->result.capacity = (struct drv_capacity){
            .memory_bytes = d->memory_bytes,
            .memory_free_bytes = d->memory_bytes > used ? d->memory_bytes - used : 0,
            .cpus = d->cpus,
            .hypervisor = name,
            .live = d->mover != NULL,
            .live_pv = d->mover != NULL,
        };
        break;
    }
    case DRV_APPLY:
        job->result.ready = true;
        job->result.reason = "DevHost";
        job->result.message = "nothing to set up on a dev host";
        break;
    case DRV_NONE:
    case DRV_START:
    case DRV_SHUTDOWN:
    case DRV_DESTROY:
    case DRV_PAUSE:
    case DRV_UNPAUSE:
    case DRV_ADJUST:
    case DRV_MIG_SUSPEND:
    case DRV_MIG_RESUME:
    case DRV_MIG_RECEIVE:
    case DRV_VOL_CREATE:
    case DRV_VOL_GROW:
    case DRV_VOL_ACTIVATE:
    case DRV_VOL_DEACTIVATE:
    case DRV_PING:
        break;
    }
    job->result.suspended_ms = j->suspended_ms;
    job->cb(job, NULL);
}

static void close_if_idle(struct dev_drv *d);

/* --- starts ------------------------------------------------------------------------------------
 *
 * To fork takes milliseconds, and after a takeover fifty guests start at once: one in each turn of
 * the loop, so that nothing else of the agent waits for all of them. */

static void start_queue(struct dev_drv *d, struct dev_job *j)
{
    j->queued = true;
    j->next = NULL;
    *d->starts_tail = j;
    d->starts_tail = &j->next;
    if (!uv_is_active((uv_handle_t *)&d->timer)) {
        CHECK(uv_timer_start(&d->timer, run_done, 0, 0) == 0);
    }
}

static void start_next(struct dev_drv *d)
{
    struct dev_job *j = d->starts;

    if (j == NULL) {
        return;
    }
    d->starts = j->next;
    if (d->starts == NULL) {
        d->starts_tail = &d->starts;
    }
    j->queued = false;
    dev_dom_start(d, j);
    if (d->starts != NULL && !uv_is_active((uv_handle_t *)&d->timer)) {
        CHECK(uv_timer_start(&d->timer, run_done, 1, 0) == 0); /* 0 would come before any input */
    }
}

static void start_cancel(struct dev_drv *d, struct dev_job *j)
{
    struct dev_job **p = &d->starts;

    while (*p != j) {
        p = &(*p)->next;
    }
    *p = j->next;
    if (*p == NULL) {
        d->starts_tail = p;
    }
    j->queued = false;
    (void)dev_job_fail(j, ERR_CANCELED, "the start of %s was aborted before it began", j->job->vm);
}

static void run_done(uv_timer_t *t)
{
    struct dev_drv *d = t->data;
    struct dev_job *list = d->done;

    d->done = NULL;
    d->done_tail = &d->done;
    while (list != NULL) {
        struct dev_job *j = list;

        list = j->next;
        d->jobs--;
        answer(d, j);
        free(j);
    }
    start_next(d);
    close_if_idle(d);
}

/* --- the driver --------------------------------------------------------------------------------
 */

static void dev_submit(struct drv *drv, struct drv_job *job)
{
    struct dev_drv *d = dev(drv);
    struct dev_job *j;

    if (job->op == DRV_PING) {
        host_ping_submit(d->ping, job);
        return;
    }
    j = OBJ_NEW(struct dev_job);
    j->d = d;
    j->job = job;
    job->drv_private = j;
    d->jobs++;
    switch (job->op) {
    case DRV_START:
        start_queue(d, j);
        return;
    case DRV_SHUTDOWN:
    case DRV_PAUSE:
    case DRV_UNPAUSE:
        dev_dom_signal(d, j);
        return;
    case DRV_DESTROY:
        dev_dom_destroy(d, j);
        return;
    case DRV_VOL_CREATE:
    case DRV_VOL_GROW:
    case DRV_VOL_ACTIVATE:
    case DRV_VOL_DEACTIVATE:
        dev_vol_job(d, j);
        return;
    case DRV_ENUM_DOMAINS:
    case DRV_ENUM_VOLUMES:
    case DRV_CAPACITY:
    case DRV_APPLY:
        dev_job_done(j); /* the answer is made when it is given */
        return;
    case DRV_ADJUST:
        (void)dev_job_fail(j, ERR_UNSUPPORTED, "a dev guest has no memory that could be changed");
        return;
    case DRV_MIG_SUSPEND:
    case DRV_MIG_RESUME:
    case DRV_MIG_RECEIVE:
        dev_mig_job(d, j);
        return;
    case DRV_PING:
    case DRV_NONE:
        break;
    }
    CHECK_UNREACHABLE();
}

static void dev_abort(struct drv *drv, struct drv_job *job)
{
    struct dev_job *j = job->drv_private;

    if (job->op == DRV_PING) {
        host_ping_abort(dev(drv)->ping, job);
        return;
    }
    CHECK(j != NULL);
    if (j->queued) {
        start_cancel(dev(drv), j);
    } else if (!j->listed) {
        dev_dom_abort(dev(drv), j);
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    struct dev_drv *d = h->data;
    void (*on_closed)(void *ctx) = d->on_closed;
    void *ctx = d->on_closed_ctx;

    if (--d->handles > 0) {
        return;
    }
    map_done(&d->guests);
    map_done(&d->dying);
    free(d->dir);
    free(d->host);
    free(d->boot_id);
    free(d->guest_path);
    free(d->guests_dir);
    free(d->active_dir);
    free(d->san_dir);
    d->magic = 0;
    free(d);
    if (on_closed != NULL) {
        on_closed(ctx);
    }
}

static void close_if_idle(struct dev_drv *d)
{
    if (d->closing && d->jobs == 0 && d->ping == NULL && !uv_is_closing((uv_handle_t *)&d->timer)) {
        if (d->mover != NULL) {
            xen_mover_free(d->mover);
            d->mover = NULL;
        }
        uv_close((uv_handle_t *)&d->timer, on_handle_closed);
        uv_close((uv_handle_t *)&d->moved, on_handle_closed);
    }
}

static void on_ping_closed(void *ctx)
{
    struct dev_drv *d = ctx;

    d->ping = NULL;
    close_if_idle(d);
}

static void dev_close(struct drv *drv, void (*on_closed)(void *ctx), void *ctx)
{
    struct dev_drv *d = dev(drv);
    const char *vm;
    void *v;

    d->closing = true;
    d->on_closed = on_closed;
    d->on_closed_ctx = ctx;
    for (size_t i = 0; map_next(&d->dying, &i, &vm, &v);) {
        (void)map_del(&d->dying, vm);
        (void)dev_job_fail(v, ERR_UNKNOWN_OUTCOME, "the driver is being closed");
    }
    dev_mig_close(d);
    for (size_t i = 0; map_next(&d->guests, &i, &vm, &v);) {
        dev_guest_drop(v); /* it runs on */
    }
    host_ping_close(d->ping, on_ping_closed, d);
}

static int make_dir(const char *path, struct err *err)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_native(err, ERR_SYS, "errno", errno, "create folder %s", path);
    }
    return 0;
}

static int make_dirs(struct dev_drv *d, struct err *err)
{
    char *hosts = mem_printf("%s/hosts", d->dir);
    char *host = mem_printf("%s/hosts/%s", d->dir, d->host);
    const char *const dirs[] = { d->dir, hosts, host, d->guests_dir, d->active_dir, d->san_dir };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(dirs); i++) {
        rc = make_dir(dirs[i], err);
    }
    free(hosts);
    free(host);
    return rc;
}

int dev_drv_new(const struct dev_drv_opts *opts, struct drv **ret, struct err *err)
{
    static const struct drv_ops ops = {
        .name = "dev", .submit = dev_submit, .abort = dev_abort, .close = dev_close
    };
    struct dev_drv *d;
    int rc;

    if (!str_is_name(opts->host) || strchr(opts->boot_id, '\n') != NULL) {
        return err_set(err, ERR_INVALID, "\"%s\" is not a host name", opts->host);
    }
    d = OBJ_NEW(struct dev_drv);
    d->drv.ops = &ops;
    d->magic = DEV_DRV_MAGIC;
    d->loop = opts->loop;
    d->dir = mem_strdup(opts->dir);
    d->host = mem_strdup(opts->host);
    d->boot_id = mem_strdup(opts->boot_id);
    d->guest_path = mem_strdup(opts->guest);
    d->guests_dir = mem_printf("%s/hosts/%s/guests", opts->dir, opts->host);
    d->active_dir = mem_printf("%s/hosts/%s/active", opts->dir, opts->host);
    d->san_dir = mem_printf("%s/san", opts->dir);
    d->memory_bytes = opts->memory_bytes;
    d->cpus = opts->cpus;
    d->done_tail = &d->done;
    d->starts_tail = &d->starts;
    CHECK(uv_timer_init(d->loop, &d->timer) == 0);
    d->timer.data = d;
    d->ping = host_ping_new(d->loop, PING_UDP);
    d->handles = 2;
    dev_mig_open(d, opts);
    rc = make_dirs(d, err);
    if (rc != 0) {
        drv_close(&d->drv, NULL, NULL);
        return rc;
    }
    *ret = &d->drv;
    return 0;
}
