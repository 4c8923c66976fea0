#include "reconciler/host_lvm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "storage/cmd_exec.h"
#include "storage/dm_codec.h"
#include "storage/lvm_cmd_codec.h"
#include "storage/lvm_codec.h"

#define HOST_LVM_MAGIC 0x686c766dU
#define COMMANDS_MAX 16
#define DARK_MAX 64
#define DM_MS 3000U    /* kept back for the look at device-mapper, which touches no disk */
#define ENUM_MS 30000U /* an enumeration without a deadline of its own */

struct host_lvm {
    struct xen_storage storage; /* first */
    unsigned magic;
    uv_loop_t *loop;
    struct cmd_runner *runner;
    uv_timer_t soon; /* for answers that need no command */
    struct lvm_call *done, **done_tail;
    size_t calls;
    struct host_lvm_below below;
    char *programs;
    bool closing;
    int open;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

struct lvm_call {
    struct host_lvm *h;
    struct lvm_call *next; /* answered soon */
    struct drv_job *job;
    struct cmd *cmd;
    struct err err;
    bool failed;
    char *dark[DARK_MAX]; /* maps that are told to fail first */
    size_t n_dark, dark_at;
    bool dm; /* lvs has failed (err): now what device-mapper says */
};

static struct host_lvm *host(struct xen_storage *s)
{
    struct host_lvm *h = CONTAINER_OF(s, struct host_lvm, storage);

    OBJ_CHECK(h, HOST_LVM_MAGIC);
    return h;
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void finish_close(struct host_lvm *h);

static void answer(struct lvm_call *c, const struct err *err)
{
    struct host_lvm *h = c->h;
    struct drv_job *job = c->job;

    job->drv_private = NULL;
    h->calls--;
    for (size_t i = 0; i < c->n_dark; i++) {
        free(c->dark[i]);
    }
    free(c);
    job->cb(job, err);
    finish_close(h);
}

static void run_soon(uv_timer_t *t)
{
    struct host_lvm *h = t->data;
    struct lvm_call *list = h->done;

    h->done = NULL;
    h->done_tail = &h->done;
    while (list != NULL) {
        struct lvm_call *c = list;
        struct err err = c->err;

        list = c->next;
        answer(c, c->failed ? &err : NULL);
    }
}

/* A callback may not come before submit has returned. */
static void answer_soon(struct lvm_call *c)
{
    c->next = NULL;
    *c->h->done_tail = c;
    c->h->done_tail = &c->next;
    CHECK(uv_timer_start(&c->h->soon, run_soon, 0, 0) == 0);
}

static void emit(struct host_lvm *h, const struct drv_job *job, enum vol_state state)
{
    struct drv_volume v = { .state = state, .size_bytes = job->size_bytes };
    struct drv_event ev = { .kind = DRV_EV_VOLUME, .volume = &v };

    if (h->storage.on_event == NULL) {
        return;
    }
    v.group = mem_strdup(job->group);
    v.name = mem_strdup(job->volume);
    h->storage.on_event(h->storage.on_event_data, &ev);
    drv_volume_done(&v);
}

/* --- listing -----------------------------------------------------------------------------------
 */

static enum vol_state state_of(enum lvm_tri active)
{
    switch (active) {
    case LVM_YES:
        return VOL_ACTIVE;
    case LVM_NO:
        return VOL_INACTIVE;
    case LVM_UNKNOWN:
        return VOL_UNKNOWN;
    }
    CHECK_UNREACHABLE();
}

/* LVM could not read its disks; device-mapper needs none to tell what is active.  The list is no
 * list then (what is not active may exist or not), but nobody has to be without what is known. */
static void tell_active(struct host_lvm *h, const struct cmd_result *r, struct drv_job *job)
{
    struct dm_devices devices;
    struct arena a = { 0 };
    const char *group, *volume;
    struct err err;

    if (cmd_result_err(r, &err) != 0 || dm_parse(r->out, r->out_len, &a, &devices, &err) != 0) {
        lg_warn("storage", "err=\"%s\"", err.msg);
        arena_done(&a);
        return;
    }
    for (size_t i = 0; i < devices.n && h->storage.on_event != NULL; i++) {
        struct drv_volume v = { .state = VOL_ACTIVE, .open = devices.list[i].open > 0 };
        struct drv_event ev = { .kind = DRV_EV_VOLUME, .volume = &v };

        if (dm_lvm_name(&devices.list[i], &a, &group, &volume)) {
            v.group = mem_strdup(group);
            v.name = mem_strdup(volume);
            h->storage.on_event(h->storage.on_event_data, &ev);
            drv_volume_done(&v);
        }
    }
    job->result.active_told = true;
    arena_done(&a);
}

static void run(struct lvm_call *c);

static void listed(struct lvm_call *c, const struct cmd_result *r)
{
    struct drv_job *job = c->job;
    struct drv_volume *list = NULL;
    struct lvm_report report = { 0 };
    struct arena a = { 0 };
    struct err err;
    int rc = cmd_result_err(r, &err);

    if (rc == 0) {
        rc = lvm_report_parse(r->out, r->out_len, &a, &report, &err);
    }
    if (rc == 0) {
        list = mem_alloc((report.n_lvs + 1) * sizeof(*list));
        for (size_t i = 0; i < report.n_lvs; i++) {
            const struct lvm_lv *lv = &report.lvs[i];

            list[i] = (struct drv_volume){ .group = mem_strdup(lv->vg),
                                           .name = mem_strdup(lv->name),
                                           .state = state_of(lv->active),
                                           .size_bytes = lv->size,
                                           .open = lv->open != LVM_NO };
        }
        job->result.volumes = list;
        job->result.n_volumes = report.n_lvs;
    } else {
        arena_done(&a);
        c->err = err;
        c->err.code = ERR_DRIVER; /* nothing was changed by looking */
        c->dm = true;
        run(c);
        return;
    }
    answer(c, NULL);
    for (size_t i = 0; i < report.n_lvs && list != NULL; i++) {
        drv_volume_done(&list[i]);
    }
    free(list);
    arena_done(&a);
}

/* --- changing ----------------------------------------------------------------------------------
 */

static void on_command(void *ctx, const struct cmd_result *r)
{
    struct lvm_call *c = ctx;
    struct err err;
    int rc;

    c->cmd = NULL;
    if (c->dark_at < c->n_dark) {
        if (r->end != CMD_OK) { /* then the deactivation itself may hang, until its deadline */
            lg_warn("storage", "map=%s err=\"%s\"", c->dark[c->dark_at], r->why);
        }
        c->dark_at++;
        run(c);
        return;
    }
    if (c->dm) {
        err = c->err;
        tell_active(c->h, r, c->job);
        answer(c, &err);
        return;
    }
    if (c->job->op == DRV_ENUM_VOLUMES) {
        listed(c, r);
        return;
    }
    rc = cmd_result_err(r, &err);
    if (rc == 0) {
        emit(c->h, c->job,
             c->job->op == DRV_VOL_ACTIVATE || c->job->op == DRV_VOL_GROW || c->job->wipe
                 ? VOL_ACTIVE
                 : VOL_INACTIVE);
    }
    answer(c, rc == 0 ? NULL : &err);
}

/* Where only registrants may write, an unregistered host only gets errors. */
static int check_gate(const struct host_lvm *h, const struct drv_job *job, struct err *err)
{
    bool uses = job->op == DRV_VOL_ACTIVATE || job->op == DRV_VOL_CREATE || job->op == DRV_VOL_GROW;

    if (uses && h->below.usable != NULL && !h->below.usable(h->below.ctx, job->group)) {
        return err_set(err, ERR_DRIVER,
                       "group %s: its reservations are not in order on this host (picket describe "
                       "vg %s)",
                       job->group, job->group);
    }
    return 0;
}

static enum st_step_kind step_of(const struct drv_job *job)
{
    return job->op == DRV_VOL_CREATE     ? ST_VOL_CREATE
           : job->op == DRV_VOL_GROW     ? ST_VOL_GROW
           : job->op == DRV_VOL_ACTIVATE ? ST_VOL_ACTIVATE
           : job->wipe                   ? ST_VOL_WIPE_TABLE
                                         : ST_VOL_DEACTIVATE;
}

static int command(const struct lvm_call *c, struct arena *a, const char *const **ret,
                   struct err *err)
{
    const struct drv_job *job = c->job;
    struct st_step step = { .size = job->size_bytes, .why = "" };
    struct lvm_cmd cmd = { .group = job->group, .volume = job->volume };

    if (job->op == DRV_ENUM_VOLUMES) {
        *ret = lvm_look_argv(c->dm ? LVM_LOOK_DM : LVM_LOOK_LVS, a);
        return 0;
    }
    step.kind = step_of(job);
    if (c->dark_at < c->n_dark) {
        step.kind = ST_VOL_FAIL_NO_PATH;
        cmd.map = c->dark[c->dark_at];
    }
    return lvm_step_argv(&step, &cmd, a, ret, err);
}

/* The same program in the tests' folder. */
static const char *const *elsewhere(const struct host_lvm *h, const char *const *argv,
                                    struct arena *a)
{
    const char **v = ARENA_ARRAY(a, const char *, CMD_ARGS_MAX);

    v[0] = arena_printf(a, "%s/%s", h->programs, strrchr(argv[0], '/') + 1);
    for (size_t n = 1; argv[n] != NULL; n++) {
        v[n] = argv[n];
    }
    return v;
}

/* For the next command.  A look that is cut short shall still ask device-mapper in its time. */
static uint64_t time_for(const struct lvm_call *c, uint64_t now)
{
    uint64_t until = c->job->deadline_ms;
    uint64_t left = until == 0 ? ENUM_MS : until > now ? until - now : 1;

    if (c->dm) {
        return left < DM_MS ? DM_MS : left;
    }
    return c->job->op == DRV_ENUM_VOLUMES && left > 2U * DM_MS ? left - DM_MS : left;
}

/* The next command of the call. */
static void run(struct lvm_call *c)
{
    struct host_lvm *h = c->h;
    const struct drv_job *job = c->job;
    const char *const *argv = NULL;
    struct cmd_spec spec;
    struct arena a = { 0 };
    struct err started = { 0 };
    int rc = h->closing ? err_set(&started, ERR_CANCELED, "the driver is being closed")
                        : check_gate(h, job, &started);

    rc = rc == 0 ? command(c, &a, &argv, &started) : rc;
    if (rc == 0) {
        spec = (struct cmd_spec){ .argv = h->programs != NULL ? elsewhere(h, argv, &a) : argv,
                                  .timeout_ms = time_for(c, clock_now_ms()) };
        rc = cmd_start(h->runner, &spec, on_command, c, &c->cmd, &started);
    }
    if (rc != 0 && !c->dm) { /* else lvs' own reason is the one to tell */
        c->err = started;
    }
    if (rc != 0) {
        c->failed = true;
        answer_soon(c);
    }
    arena_done(&a);
}

static void collect_dark(struct lvm_call *c)
{
    const struct host_lvm_below *b = &c->h->below;
    const char *names[DARK_MAX];

    if (c->job->op == DRV_VOL_DEACTIVATE && b->dark != NULL) {
        c->n_dark = b->dark(b->ctx, c->job->group, names, DARK_MAX);
    }
    for (size_t i = 0; i < c->n_dark; i++) {
        c->dark[i] = mem_strdup(names[i]);
    }
}

static void lvm_submit(struct xen_storage *s, struct drv_job *job)
{
    struct host_lvm *h = host(s);
    struct lvm_call *c = OBJ_NEW(struct lvm_call);

    c->h = h;
    c->job = job;
    job->drv_private = c;
    h->calls++;
    if (job->op == DRV_ENUM_VOLUMES && h->programs == NULL && access(LVM_PROGRAM, X_OK) != 0) {
        answer_soon(c); /* no LVM, no volumes */
        return;
    }
    collect_dark(c);
    run(c);
}

static void lvm_abort(struct xen_storage *s, struct drv_job *job)
{
    struct lvm_call *c = job->drv_private;

    (void)host(s);
    if (c->cmd != NULL) {
        cmd_cancel(c->cmd);
    }
}

static char *lvm_path(struct xen_storage *s, const char *group, const char *volume)
{
    struct arena a = { 0 };
    char *path;

    (void)host(s);
    path = lvm_name_ok(group) && lvm_name_ok(volume)
               ? mem_strdup(lvm_mapper_path(&a, group, volume))
               : NULL;
    arena_done(&a);
    return path;
}

/* --- closing -----------------------------------------------------------------------------------
 */

static void on_part_closed(void *ctx)
{
    struct host_lvm *h = ctx;
    void (*on_closed)(void *c) = h->on_closed;
    void *on_closed_ctx = h->on_closed_ctx;

    if (--h->open > 0) {
        return;
    }
    h->magic = 0;
    free(h->programs);
    free(h);
    on_closed(on_closed_ctx);
}

static void on_timer_closed(uv_handle_t *t)
{
    on_part_closed(t->data);
}

static void finish_close(struct host_lvm *h)
{
    if (h->closing && h->calls == 0 && !uv_is_closing((uv_handle_t *)&h->soon)) {
        uv_close((uv_handle_t *)&h->soon, on_timer_closed);
    }
}

static void lvm_close(struct xen_storage *s, void (*on_closed)(void *ctx), void *ctx)
{
    struct host_lvm *h = host(s);

    h->closing = true;
    h->open = 2;
    h->on_closed = on_closed;
    h->on_closed_ctx = ctx;
    cmd_runner_close(h->runner, on_part_closed, h);
    finish_close(h);
}

void host_lvm_below(struct xen_storage *s, const struct host_lvm_below *below)
{
    host(s)->below = *below;
}

void host_lvm_programs(struct xen_storage *s, const char *dir)
{
    struct host_lvm *h = host(s);

    free(h->programs);
    h->programs = mem_strdup(dir);
}

struct xen_storage *host_lvm_new(uv_loop_t *loop)
{
    static const struct xen_storage_ops ops = {
        .submit = lvm_submit, .abort = lvm_abort, .path = lvm_path, .close = lvm_close
    };
    struct host_lvm *h = OBJ_NEW(struct host_lvm);

    h->storage.ops = &ops;
    h->magic = HOST_LVM_MAGIC;
    h->loop = loop;
    h->runner = cmd_runner_new(loop, COMMANDS_MAX);
    h->done_tail = &h->done;
    CHECK(uv_timer_init(loop, &h->soon) == 0);
    h->soon.data = h;
    return &h->storage;
}
