#include "reconciler/drv.h"

#include <stdlib.h>

#include "base/obj.h"
#include "base/str.h"

const char *dom_state_name(enum dom_state st)
{
    switch (st) {
    case DOM_UNKNOWN:
        return "Unknown";
    case DOM_ABSENT:
        return "Absent";
    case DOM_RUNNING:
        return "Running";
    case DOM_PAUSED:
        return "Paused";
    case DOM_DYING:
        return "Dying";
    case DOM_STOPPED:
        return "Stopped";
    }
    CHECK_UNREACHABLE();
}

const char *dom_reason_name(enum dom_reason r)
{
    switch (r) {
    case DOM_REASON_NONE:
        return "";
    case DOM_REASON_SHUTDOWN:
        return "Shutdown";
    case DOM_REASON_POWEROFF:
        return "GuestPoweroff";
    case DOM_REASON_REBOOT:
        return "GuestReboot";
    case DOM_REASON_CRASH:
        return "GuestCrash";
    case DOM_REASON_VANISHED:
        return "Vanished";
    }
    CHECK_UNREACHABLE();
}

const char *vol_state_name(enum vol_state st)
{
    switch (st) {
    case VOL_UNKNOWN:
        return "Unknown";
    case VOL_ABSENT:
        return "Absent";
    case VOL_INACTIVE:
        return "Inactive";
    case VOL_ACTIVE:
        return "Active";
    }
    CHECK_UNREACHABLE();
}

const char *drv_op_name(enum drv_op op)
{
    static const char *const names[] = {
        [DRV_NONE] = "none",
        [DRV_START] = "start",
        [DRV_SHUTDOWN] = "shutdown",
        [DRV_DESTROY] = "destroy",
        [DRV_PAUSE] = "pause",
        [DRV_UNPAUSE] = "unpause",
        [DRV_ADJUST] = "adjust",
        [DRV_MIG_SUSPEND] = "migrate-suspend",
        [DRV_MIG_RESUME] = "migrate-resume",
        [DRV_MIG_RECEIVE] = "migrate-receive",
        [DRV_VOL_CREATE] = "volume-create",
        [DRV_VOL_GROW] = "volume-grow",
        [DRV_VOL_ACTIVATE] = "volume-activate",
        [DRV_VOL_DEACTIVATE] = "volume-deactivate",
        [DRV_ENUM_DOMAINS] = "enumerate-domains",
        [DRV_ENUM_VOLUMES] = "enumerate-volumes",
        [DRV_CAPACITY] = "capacity",
        [DRV_PING] = "ping",
        [DRV_APPLY] = "apply",
    };

    CHECK((size_t)op < ARRAY_LEN(names));
    return names[op];
}

void drv_listen(struct drv *d, drv_event_cb *cb, void *data)
{
    CHECK(d != NULL);
    d->on_event = cb;
    d->on_event_data = data;
}

static void check_job(const struct drv_job *job)
{
    OBJ_CHECK(job, DRV_JOB_MAGIC);
    CHECK(job->cb != NULL);
    switch (job->op) {
    case DRV_START:
    case DRV_MIG_RECEIVE:
        CHECK(job->uid != NULL);
        CHECK(job->object != NULL);
        CHECK(job->incarnation != 0);
        CHECK(job->token != 0);
        CHECK(job->vm != NULL);
        break;
    case DRV_ADJUST:
        CHECK(job->object != NULL);
        CHECK(job->vm != NULL);
        break;
    case DRV_SHUTDOWN:
    case DRV_DESTROY:
    case DRV_PAUSE:
    case DRV_UNPAUSE:
    case DRV_MIG_SUSPEND:
    case DRV_MIG_RESUME:
        CHECK(job->vm != NULL);
        break;
    case DRV_VOL_CREATE:
    case DRV_VOL_GROW:
    case DRV_VOL_ACTIVATE:
    case DRV_VOL_DEACTIVATE:
        CHECK(job->group != NULL);
        CHECK(job->volume != NULL);
        break;
    case DRV_APPLY:
        CHECK(job->kind != NULL);
        CHECK(job->name != NULL);
        break;
    case DRV_PING:
        CHECK(job->name != NULL);
        break;
    case DRV_ENUM_DOMAINS:
    case DRV_ENUM_VOLUMES:
    case DRV_CAPACITY:
        return; /* these may go without a deadline */
    case DRV_NONE:
        CHECK_UNREACHABLE();
    }
    CHECK(job->deadline_ms != 0);
}

void drv_submit(struct drv *d, struct drv_job *job)
{
    CHECK(d != NULL);
    check_job(job);
    job->drv_private = NULL;
    job->result = (struct drv_result){ 0 };
    d->ops->submit(d, job);
}

void drv_abort(struct drv *d, struct drv_job *job)
{
    OBJ_CHECK(job, DRV_JOB_MAGIC);
    d->ops->abort(d, job);
}

void drv_extend(struct drv *d, struct drv_job *job, uint64_t not_after_ms)
{
    OBJ_CHECK(job, DRV_JOB_MAGIC);
    CHECK(job->op == DRV_START && not_after_ms >= job->not_after_ms);
    job->not_after_ms = not_after_ms;
    if (d->ops->extend != NULL) {
        d->ops->extend(d, job);
    }
}

void drv_close(struct drv *d, void (*on_closed)(void *ctx), void *ctx)
{
    CHECK(d != NULL);
    d->on_event = NULL;
    d->ops->close(d, on_closed, ctx);
}

void drv_emit(struct drv *d, const struct drv_event *ev)
{
    if (d->on_event != NULL) {
        d->on_event(d->on_event_data, ev);
    }
}

void drv_domain_copy(struct drv_domain *dst, const struct drv_domain *src)
{
    *dst = *src;
    dst->vm = mem_strdup(src->vm);
    dst->uid = mem_strdup(src->uid);
    dst->detail = mem_strdup(src->detail);
    dst->console = mem_strdup(src->console);
    dst->tty = mem_strdup(src->tty);
}

void drv_domain_done(struct drv_domain *d)
{
    free(d->vm);
    free(d->uid);
    free(d->detail);
    free(d->console);
    free(d->tty);
    *d = (struct drv_domain){ 0 };
}

void drv_volume_copy(struct drv_volume *dst, const struct drv_volume *src)
{
    *dst = *src;
    dst->group = mem_strdup(src->group);
    dst->name = mem_strdup(src->name);
}

void drv_volume_done(struct drv_volume *v)
{
    free(v->group);
    free(v->name);
    *v = (struct drv_volume){ 0 };
}
