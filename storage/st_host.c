#include "storage/st_priv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_path.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define COMMANDS_MAX 32
#define ARGV_MAX 24
#define AGAIN_READY_MS 30000U
#define AGAIN_NOT_MS 5000U

static const struct {
    const char *plural;
    void (*begin)(struct st_op *op);
} kinds[] = {
    { "iscsitargets", st_target_begin },
    { "multipathpolicies", st_policy_begin },
    { "luns", st_lun_begin },
    { "volumegroups", st_vg_begin },
};

bool st_host_knows(const char *plural)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(kinds[i].plural, plural)) {
            return true;
        }
    }
    return false;
}

/* --- objects -----------------------------------------------------------------------------------
 */

void st_lun_free(struct st_lun *l)
{
    if (l != NULL) {
        free(l->device);
        free(l->message);
        free(l->dark_map);
        free(l);
    }
}

/* What it was before: a group that is gone may still be registered on its LUNs. */
static json_t *remember(struct st_host *h, const char *plural, const char *name,
                        const json_t *object)
{
    char *key = mem_printf("%s/%s", plural, name);
    json_t *old = object == NULL ? map_del(&h->objects, key)
                                 : map_put(&h->objects, key, json_deep_copy(object));

    if (object == NULL && str_eq(plural, "luns")) {
        st_lun_free(map_del(&h->luns, name));
    }
    if (object == NULL || jget(object, "spec.chap") == NULL) {
        json_wipe(map_del(&h->secrets, key));
    }
    free(key);
    return old;
}

void st_secrets(struct st_host *h, const char *plural, const char *name, const json_t *secrets)
{
    char *key;

    if (secrets != NULL) {
        key = mem_printf("%s/%s", plural, name);
        json_wipe(map_put(&h->secrets, key, json_deep_copy(secrets)));
        free(key);
    }
}

const json_t *st_secrets_of(const struct st_host *h, const char *plural, const char *name)
{
    char *key = mem_printf("%s/%s", plural, name);
    const json_t *secrets = map_get(&h->secrets, key);

    free(key);
    return secrets;
}

const json_t *st_object(const struct st_host *h, const char *plural, const char *name)
{
    char *key = mem_printf("%s/%s", plural, name);
    const json_t *o = map_get(&h->objects, key);

    free(key);
    return o;
}

/* --- one application ---------------------------------------------------------------------------
 */

static void finish_close(struct st_host *h);

static void on_timer_closed(uv_handle_t *t)
{
    struct st_op *op = t->data;
    struct st_host *h = op->h;

    free(op);
    h->ops--;
    finish_close(h);
}

static void op_end(struct st_op *op)
{
    st_lun_release(op);
    op->cb(op->ctx, &op->ans);
    json_decref(op->ans.detail);
    json_decref(op->object);
    json_decref(op->before);
    arena_done(&op->a);
    free(op->plural);
    free(op->name);
    free(op->file);
    op->magic = 0;
    uv_close((uv_handle_t *)&op->timer, on_timer_closed);
}

void st_answer(struct st_op *op, enum st_state state, const char *reason, const char *message)
{
    (void)str_copy(op->reason, sizeof(op->reason), reason);
    (void)str_copy(op->message, sizeof(op->message), message);
    if (state != ST_READY && op->step_why[0] != '\0') {
        size_t len = strlen(op->message);

        (void)snprintf(op->message + len, sizeof(op->message) - len, "%s%s", len > 0 ? "; " : "",
                       op->step_why);
    }
    op->ans.changed = op->round > 1; /* another look follows steps only */
    op->ans.state = state;
    op->ans.reason = op->reason;
    op->ans.message = op->message;
    if (op->ans.again_ms == 0) {
        op->ans.again_ms = state == ST_READY ? AGAIN_READY_MS : AGAIN_NOT_MS;
    }
    st_later(op, 0, op_end);
}

static void on_timer(uv_timer_t *t)
{
    struct st_op *op = t->data;

    OBJ_CHECK(op, ST_OP_MAGIC);
    op->later(op);
}

void st_later(struct st_op *op, uint64_t ms, void (*fn)(struct st_op *op))
{
    op->later = fn;
    CHECK(uv_timer_start(&op->timer, on_timer, ms, 0) == 0);
}

void st_reservation_key(struct st_host *h, uint64_t key)
{
    h->key = key;
}

size_t st_group_dark(const struct st_host *h, const char *group, const char **dst, size_t max)
{
    const json_t *luns = jget(st_object(h, "volumegroups", group), "spec.luns");
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(luns) && n < max; i++) {
        const struct st_lun *l = map_get(&h->luns, json_string_value(json_array_get(luns, i)));

        if (l != NULL && l->dark_map != NULL) {
            dst[n++] = l->dark_map;
        }
    }
    return n;
}

void st_host_synced(struct st_host *h)
{
    h->synced = true;
}

bool st_over(const struct st_op *op)
{
    return op->aborted || op->failed || op->h->closing || op->round >= ST_ROUNDS_MAX ||
           clock_now_ms() + ST_PAUSE_MS >= op->deadline_ms;
}

void st_round_begin(struct st_op *op)
{
    arena_done(&op->a);
    op->round++;
    op->has_sessions = op->has_maps = op->has_sigs = op->second_half = false;
    op->sessions = (struct iscsi_sessions){ 0 };
    op->maps = (struct mpath_maps){ 0 };
    op->report = (struct lvm_report){ 0 };
    op->look_why = "";
    op->disks = NULL;
    op->vg_disks = NULL;
    op->n_disks = op->disk_at = op->n_vg_disks = op->step_at = 0;
}

void st_detail(struct st_op *op, const char *key, json_t *value)
{
    if (op->ans.detail == NULL) {
        op->ans.detail = json_object();
    }
    (void)json_object_set_new(op->ans.detail, key, value);
}

struct st_op *st_apply(struct st_host *h, const char *plural, const char *name,
                       const json_t *object, bool meta_lock, uint64_t deadline_ms, st_answer_cb *cb,
                       void *ctx)
{
    struct st_op *op = OBJ_NEW(struct st_op);

    json_t *before;

    CHECK(st_host_knows(plural) && !h->closing);
    before = remember(h, plural, name, object);
    *op = (struct st_op){ .magic = ST_OP_MAGIC,
                          .h = h,
                          .plural = mem_strdup(plural),
                          .name = mem_strdup(name),
                          .object = json_deep_copy(object),
                          .before = before,
                          .meta_lock = meta_lock,
                          .deadline_ms = deadline_ms,
                          .cb = cb,
                          .ctx = ctx,
                          .look_why = "" };
    CHECK(uv_timer_init(h->loop, &op->timer) == 0);
    op->timer.data = op;
    h->ops++;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(kinds[i].plural, plural)) {
            st_later(op, 0, kinds[i].begin);
        }
    }
    return op;
}

void st_op_abort(struct st_op *op)
{
    OBJ_CHECK(op, ST_OP_MAGIC);
    op->aborted = true;
    if (op->cmd != NULL) {
        cmd_cancel(op->cmd);
    }
}

/* --- commands ----------------------------------------------------------------------------------
 */

const char *const *st_argv(struct arena *a, const char *program, ...)
{
    const char **v = ARENA_ARRAY(a, const char *, ARGV_MAX);
    size_t n = 0;
    va_list ap;

    v[n++] = program;
    va_start(ap, program);
    for (const char *s; (s = va_arg(ap, const char *)) != NULL;) {
        CHECK(n + 1 < ARGV_MAX);
        v[n++] = s;
    }
    va_end(ap);
    return v;
}

static void on_command(void *ctx, const struct cmd_result *r)
{
    struct st_op *op;

    OBJ_FROM(op, ctx, ST_OP_MAGIC);
    op->cmd = NULL;
    if (op->aborted || op->h->closing) {
        st_answer(op, ST_UNKNOWN, "Canceled", "it was called off");
        return;
    }
    op->next(op, r);
}

static void not_started(struct st_op *op)
{
    struct cmd_result r = { .end = CMD_FAILED, .status = 127, .out = "", .errors = "" };

    (void)str_copy(r.why, sizeof(r.why), op->step_why);
    op->step_why[0] = '\0';
    op->next(op, &r);
}

/* The same program in the tests' folder. */
static const char *const *elsewhere(struct st_op *op, const char *const *argv)
{
    const char **v = ARENA_ARRAY(&op->a, const char *, CMD_ARGS_MAX);
    size_t n = 1;

    v[0] = arena_printf(&op->a, "%s/%s", op->h->programs, strrchr(argv[0], '/') + 1);
    for (; argv[n] != NULL; n++) {
        v[n] = argv[n];
    }
    return v;
}

void st_run(struct st_op *op, const char *const *argv, size_t output_max, st_next *next)
{
    uint64_t now = clock_now_ms();
    uint64_t left = op->deadline_ms > now ? op->deadline_ms - now : 1;
    struct cmd_spec spec = { .argv = op->h->programs != NULL ? elsewhere(op, argv) : argv,
                             .timeout_ms = left < ST_COMMAND_MS ? left : ST_COMMAND_MS,
                             .output_max = output_max };
    struct err err;

    op->next = next;
    if (cmd_start(op->h->runner, &spec, on_command, op, &op->cmd, &err) != 0) {
        op->cmd = NULL;
        (void)str_copy(op->step_why, sizeof(op->step_why), err.msg);
        st_later(op, 0, not_started);
    }
}

void st_step_failed(struct st_op *op, const char *what, const struct cmd_result *r)
{
    if (r->end != CMD_OK) {
        op->failed = true;
        (void)snprintf(op->step_why, sizeof(op->step_why), "%.80s: %s", what, r->why);
        lg_warn("storage", "object=%s/%s step=\"%s\" err=\"%s\"", op->plural, op->name, what,
                r->why);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

struct st_host *st_host_new(const struct st_host_opts *opts)
{
    struct st_host *h = OBJ_NEW(struct st_host);

    h->loop = opts->loop;
    h->programs = mem_strdup(opts->programs);
    h->etc = mem_strdup(opts->etc != NULL ? opts->etc : "/etc");
    h->sys = mem_strdup(opts->sys != NULL ? opts->sys : "/sys");
    h->data = mem_strdup(opts->data);
    st_pr_load(h);
    h->runner = cmd_runner_new(opts->loop, COMMANDS_MAX);
    return h;
}

static void on_runner_closed(void *ctx)
{
    struct st_host *h = ctx;
    void (*on_closed)(void *c) = h->on_closed;
    void *on_closed_ctx = h->on_closed_ctx;
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&h->objects, &i, &key, &v);) {
        json_decref(v);
    }
    for (size_t i = 0; map_next(&h->luns, &i, &key, &v);) {
        st_lun_free(v);
    }
    for (size_t i = 0; map_next(&h->secrets, &i, &key, &v);) {
        json_wipe(v);
    }
    map_done(&h->secrets);
    for (size_t i = 0; map_next(&h->prs, &i, &key, &v);) {
        free(v);
    }
    map_done(&h->prs);
    map_done(&h->usable);
    map_done(&h->objects);
    map_done(&h->luns);
    map_done(&h->logins);
    free(h->programs);
    free(h->etc);
    free(h->sys);
    free(h->data);
    free(h);
    on_closed(on_closed_ctx);
}

static void finish_close(struct st_host *h)
{
    if (h->closing && h->ops == 0 && h->runner != NULL) {
        struct cmd_runner *r = h->runner;

        h->runner = NULL;
        cmd_runner_close(r, on_runner_closed, h);
    }
}

void st_host_close(struct st_host *h, void (*on_closed)(void *ctx), void *ctx)
{
    h->closing = true;
    h->on_closed = on_closed;
    h->on_closed_ctx = ctx;
    finish_close(h);
}
