/* The loop's side of the host's network: what is known, what happens next, what is told. */

#include "net/nw_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nw_drv.h"
#include "net/nw_host_priv.h"
#include "net/nw_want.h"

#define SETTLE_MS 100          /* after a notification, more usually follow */
#define LOOK_AGAIN_MS 5000     /* after the kernel or the disk failed us */
#define FAILED_AGAIN_MS 300000 /* what the kernel refused is tried again so much later */
#define COMMIT_MS 30000        /* when no object says otherwise */

static void kick(struct nw_host *h);

static void shown_free(struct nw_shown *s)
{
    if (s != NULL) {
        nw_state_done(&s->state);
        free(s);
    }
}

/* --- refusals ----------------------------------------------------------------------------------
 */

static void refusal_free(struct nw_refusal *r)
{
    if (r != NULL) {
        free(r->digest);
        free(r->message);
        free(r);
    }
}

void nw_host_refuse(struct nw_host *h, const char *object, const char *digest, const char *message,
                    uint64_t retry_ms)
{
    struct nw_refusal *r = OBJ_NEW(struct nw_refusal);

    r->digest = mem_strdup(digest);
    r->message = mem_strdup(message);
    r->retry_ms = retry_ms;
    refusal_free(map_put(&h->refused, object, r));
}

static void drop_old_refusals(struct nw_host *h, uint64_t now)
{
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&h->refused, &i, &name, &v);) {
        struct nw_refusal *r = v;

        if (r->retry_ms != 0 && r->retry_ms <= now) {
            (void)map_del(&h->refused, name);
            refusal_free(r);
            h->dirty = true;
        }
    }
}

/* --- what should be ----------------------------------------------------------------------------
 */

static void digest_of(const json_t *object, char dst[20])
{
    char *text = json_dumps(jget(object, "spec"), JSON_COMPACT | JSON_SORT_KEYS);
    size_t len = text == NULL ? 0 : strlen(text);

    (void)snprintf(dst, 20, "%08x%08x", crc32c(0, text, len), crc32c(0x70696b74, text, len));
    free(text);
}

/* Why this spec is not tried again, or NULL. */
static const struct nw_refusal *refusal_of(struct nw_host *h, const char *object,
                                           const char *digest)
{
    struct nw_refusal *r = map_get(&h->refused, object);

    if (r == NULL) {
        return NULL;
    }
    if (!str_eq(r->digest, digest)) {
        (void)map_del(&h->refused, object);
        refusal_free(r);
        return NULL;
    }
    return r;
}

static void add_want(struct nw_host *h, const char *id, const json_t *object)
{
    struct nw_iface *f = &h->want.ifaces[h->want.n_ifaces];
    char plural[16];
    enum nw_kind kind = NW_OTHER;
    const struct nw_refusal *r;
    struct err err;

    (void)snprintf(plural, sizeof(plural), "%.*s", (int)strcspn(id, "/"), id);
    CHECK(nw_kind_from_plural(plural, &kind));
    if (!nw_want_applies(object, h->host, h->labels)) {
        shown_free(map_del(&h->shown, id));
        return;
    }
    if (nw_want_iface(kind, object, h->host, f, &err) != 0) {
        f->refused = arena_strdup(&h->cycle, err.msg);
        f->refused_reason = "Invalid";
    }
    digest_of(object, f->digest);
    r = refusal_of(h, id, f->digest);
    if (f->refused == NULL && r != NULL) {
        f->refused = arena_strdup(&h->cycle, r->message);
        f->refused_reason = r->retry_ms != 0 ? "Failed" : "RolledBack";
    }
    h->want.n_ifaces++;
}

static void keep_refused_removals(struct nw_host *h)
{
    for (size_t i = 0; i < h->record.n_items; i++) {
        struct nw_owned *o = &h->record.items[i];
        char id[40];
        const struct nw_refusal *r;

        (void)snprintf(id, sizeof(id), "%s/%s", nw_kind_plural(o->kind), o->name);
        r = map_get(&h->refused, id);
        o->keep = r != NULL && str_eq(r->digest, "deleted");
    }
}

static void make_want(struct nw_host *h)
{
    const char *id;
    void *v;

    arena_done(&h->cycle);
    h->undo = NULL;
    h->n_undo = 0;
    h->want =
        (struct nw_want){ .ifaces = ARENA_ARRAY(&h->cycle, struct nw_iface, h->objects.count + 1) };
    for (size_t i = 0; map_next(&h->objects, &i, &id, &v);) {
        add_want(h, id, v);
    }
    h->plan = (struct nw_plan){ .verdicts = ARENA_ARRAY(&h->cycle, struct nw_verdict,
                                                        h->want.n_ifaces + 1) };
    h->have_plan = true;
    keep_refused_removals(h);
}

static uint64_t commit_timeout(const struct nw_host *h)
{
    uint64_t ms = 0;

    for (size_t i = 0; i < h->want.n_ifaces; i++) {
        const struct nw_iface *f = &h->want.ifaces[i];

        if (f->commit_timeout > 0 && (ms == 0 || f->commit_timeout < ms) &&
            (h->part == NULL || json_object_get(h->part, f->object) != NULL)) {
            ms = f->commit_timeout;
        }
    }
    return ms == 0 ? COMMIT_MS : ms;
}

/* --- what is told ------------------------------------------------------------------------------
 */

static void confirming(const struct nw_host *h, const struct nw_iface *f, struct nw_state *s)
{
    bool concerned = h->part != NULL && json_object_get(h->part, f->object) != NULL;

    if (!concerned || h->confirm.state == NW_IDLE) {
        if (concerned && h->waits_for_quorum) {
            s->ready = false;
            (void)str_copy(s->reason, sizeof(s->reason), "WaitingForQuorum");
            (void)str_copy(s->message, sizeof(s->message),
                           "nothing is changed while the quorum is out of reach");
        }
        return;
    }
    s->ready = false;
    if (h->confirm.state == NW_UNDOING) {
        (void)str_copy(s->reason, sizeof(s->reason), "RollingBack");
        (void)str_copy(s->message, sizeof(s->message), h->undo_message);
    } else {
        (void)str_copy(s->reason, sizeof(s->reason), "Confirming");
        (void)str_copy(s->message, sizeof(s->message),
                       "changed; undone unless the quorum is reached within commitTimeout");
    }
}

bool nw_host_state(struct nw_host *h, const char *plural, const char *name, struct nw_state *ret)
{
    const struct nw_shown *s;
    char *id = mem_printf("%s/%s", plural, name);

    OBJ_CHECK(h, NW_HOST_MAGIC);
    s = map_get(&h->shown, id);
    free(id);
    if (s == NULL) {
        return false;
    }
    *ret = s->state;
    json_incref(ret->details);
    return true;
}

static void show_one(struct nw_host *h, size_t i)
{
    const struct nw_iface *f = &h->want.ifaces[i];
    struct nw_shown *now = OBJ_NEW(struct nw_shown);
    struct nw_shown *old = map_get(&h->shown, f->object);

    nw_state_make(f, &h->plan.verdicts[i], h->have_obs ? &h->obs : NULL, &now->state);
    confirming(h, f, &now->state);
    if (old != NULL && old->state.ready == now->state.ready &&
        str_eq(old->state.reason, now->state.reason) &&
        str_eq(old->state.message, now->state.message) &&
        json_equal(old->state.details, now->state.details)) {
        shown_free(now);
        return;
    }
    shown_free(map_put(&h->shown, f->object, now));
    if (h->changed != NULL) {
        h->changed(h->data, nw_kind_plural(f->kind), f->name);
    }
}

static void show(struct nw_host *h)
{
    for (size_t i = 0; h->have_plan && !h->closing && i < h->want.n_ifaces; i++) {
        show_one(h, i);
    }
}

/* --- work --------------------------------------------------------------------------------------
 */

static void on_work(uv_work_t *w)
{
    struct nw_host *h;

    OBJ_FROM(h, w->data, NW_HOST_MAGIC);
    nw_host_run(h);
}

static void after_work(uv_work_t *w, int status);

static void start(struct nw_host *h, enum nw_work doing)
{
    CHECK(!h->busy);
    h->busy = true;
    h->doing = doing;
    CHECK(uv_queue_work(h->loop, &h->work, on_work, after_work) == 0);
}

static void do_next(struct nw_host *h, enum nw_work next)
{
    h->has_next = true;
    h->next = next;
}

static void act(struct nw_host *h, enum nw_confirm_act a)
{
    switch (a) {
    case NW_ACT_NONE:
        return;
    case NW_ACT_APPLY:
        do_next(h, NW_WORK_APPLY);
        return;
    case NW_ACT_UNDO:
        if (h->confirm.why == NW_WHY_CUT_OFF) {
            (void)str_copy(h->undo_message, sizeof(h->undo_message),
                           "undone: the host could not reach the quorum after this change; change "
                           "the object to try again");
        }
        lg_warn("net", "msg=\"undoing a change\" why=\"%s\"", h->undo_message);
        do_next(h, NW_WORK_UNDO);
        return;
    case NW_ACT_KEEP:
    case NW_ACT_UNDONE:
        do_next(h, NW_WORK_SAVE);
        return;
    }
    CHECK_UNREACHABLE();
}

static void step(struct nw_host *h, enum nw_confirm_event ev, uint64_t at_ms)
{
    act(h, nw_confirm_step(&h->confirm, ev, at_ms));
}

static void after_look(struct nw_host *h, uint64_t now)
{
    if (h->rc != 0) {
        h->stir_ms = now + LOOK_AGAIN_MS;
        h->dirty = true;
        return;
    }
    h->waits_for_quorum = h->plan.n_ops > 0 && !h->may_change;
    if (h->plan.n_ops == 0) {
        json_decref(h->part);
        h->part = NULL;
    } else if (h->may_change) {
        h->confirm.timeout_ms = commit_timeout(h);
        step(h, NW_EV_START, now);
    }
}

static void after_undo(struct nw_host *h, uint64_t now)
{
    uint64_t retry = h->confirm.why == NW_WHY_FAILED ? now + FAILED_AGAIN_MS : 0;
    const char *object;
    json_t *digest;

    step(h, h->rc == 0 ? NW_EV_UNDONE : NW_EV_UNDO_FAILED, now);
    if (h->confirm.state != NW_IDLE || h->confirm.why == NW_WHY_CRASH) {
        return;
    }
    json_object_foreach (h->part, object, digest) {
        nw_host_refuse(h, object, json_string_value(digest), h->undo_message, retry);
    }
}

static void after_save(struct nw_host *h, uint64_t now)
{
    if (h->rc != 0) { /* the journal would undo a confirmed change at the next start */
        h->stir_ms = now + LOOK_AGAIN_MS;
        do_next(h, NW_WORK_SAVE);
        return;
    }
    h->recover = false;
    h->dirty = true;
    json_decref(h->part);
    h->part = NULL;
}

static void finish_close(struct nw_host *h);

static void after_work(uv_work_t *w, int status)
{
    struct nw_host *h;
    uint64_t now = clock_now_ms();

    OBJ_FROM(h, w->data, NW_HOST_MAGIC);
    CHECK(status == 0);
    h->busy = false;
    if (h->rc != 0) {
        lg_err("net", "msg=\"%s\"", h->err.msg);
    }
    switch (h->doing) {
    case NW_WORK_LOOK:
        after_look(h, now);
        break;
    case NW_WORK_APPLY:
        if (h->rc != 0) {
            (void)snprintf(h->undo_message, sizeof(h->undo_message), "undone: %.400s", h->err.msg);
        }
        step(h, h->rc == 0 ? NW_EV_APPLIED : NW_EV_FAILED, now);
        break;
    case NW_WORK_STATUS:
        break;
    case NW_WORK_UNDO:
        after_undo(h, now);
        break;
    case NW_WORK_SAVE:
        after_save(h, now);
        break;
    }
    if (h->closing) {
        finish_close(h);
        return;
    }
    show(h);
    kick(h);
}

static void on_timer(uv_timer_t *t)
{
    struct nw_host *h;
    uint64_t now = clock_now_ms();

    OBJ_FROM(h, t->data, NW_HOST_MAGIC);
    if (!h->busy) {
        drop_old_refusals(h, now);
    }
    step(h, NW_EV_TICK, now);
    kick(h);
}

static void sooner(uint64_t *due, uint64_t at)
{
    *due = at != 0 && (*due == 0 || at < *due) ? at : *due;
}

static void rearm(struct nw_host *h, uint64_t now)
{
    uint64_t due = h->confirm.due_ms;
    const char *name;
    void *v;

    sooner(&due, h->stir_ms);
    for (size_t i = 0; map_next(&h->refused, &i, &name, &v);) {
        sooner(&due, ((struct nw_refusal *)v)->retry_ms);
    }
    if (due == 0) {
        (void)uv_timer_stop(&h->timer);
    } else {
        CHECK(uv_timer_start(&h->timer, on_timer, due > now ? due - now : 1, 0) == 0);
    }
}

static void start_look(struct nw_host *h, uint64_t now)
{
    uint64_t limit;

    h->dirty = false;
    h->stir_ms = 0;
    make_want(h);
    json_decref(h->part);
    h->part = NULL;
    limit = commit_timeout(h);
    h->may_change = h->confirmed_ms != 0 && now - h->confirmed_ms <= limit;
    start(h, NW_WORK_LOOK);
}

static void kick(struct nw_host *h)
{
    uint64_t now = clock_now_ms();
    bool stirred = h->stir_ms != 0 && h->stir_ms <= now;

    if (h->closing || h->busy) {
        return;
    }
    if (h->recover && h->confirm.state == NW_IDLE && !h->has_next) {
        (void)str_copy(h->undo_message, sizeof(h->undo_message),
                       "undone: the agent ended before the change was confirmed");
        step(h, NW_EV_RECOVER, now);
    }
    if (h->has_next && (h->next != NW_WORK_SAVE || h->stir_ms == 0 || stirred || h->rc == 0)) {
        h->has_next = false;
        start(h, h->next);
    } else if (!h->has_next && h->confirm.state == NW_IDLE && h->synced &&
               (stirred || (h->dirty && h->stir_ms == 0))) {
        start_look(h, now);
    } else if (!h->has_next && h->confirm.state == NW_WAITING && stirred) {
        h->stir_ms = 0;
        start(h, NW_WORK_STATUS);
    }
    rearm(h, now);
}

/* --- from outside ------------------------------------------------------------------------------
 */

static void on_monitor(uv_poll_t *p, int status, int events)
{
    struct nw_host *h;

    (void)events;
    OBJ_FROM(h, p->data, NW_HOST_MAGIC);
    if (status != 0 || nw_monitor_drain(h->monitor_fd)) {
        if (h->stir_ms == 0) {
            h->stir_ms = clock_now_ms() + SETTLE_MS;
        }
        kick(h);
    }
}

void nw_host_labels(struct nw_host *h, const json_t *labels)
{
    OBJ_CHECK(h, NW_HOST_MAGIC);
    json_decref(h->labels);
    h->labels = labels == NULL ? NULL : json_deep_copy(labels);
    h->dirty = true;
    kick(h);
}

void nw_host_put(struct nw_host *h, const char *plural, const char *name, const json_t *object)
{
    enum nw_kind kind = NW_OTHER;
    char *id;

    OBJ_CHECK(h, NW_HOST_MAGIC);
    CHECK(nw_kind_from_plural(plural, &kind));
    id = mem_printf("%s/%s", plural, name);
    if (object != NULL) {
        json_decref(map_put(&h->objects, id, json_deep_copy(object)));
    } else {
        json_decref(map_del(&h->objects, id));
        shown_free(map_del(&h->shown, id));
    }
    free(id);
    h->dirty = true;
    kick(h);
}

void nw_host_synced(struct nw_host *h)
{
    OBJ_CHECK(h, NW_HOST_MAGIC);
    h->synced = true;
    h->dirty = true;
    kick(h);
}

void nw_host_confirm(struct nw_host *h, uint64_t sent_ms)
{
    OBJ_CHECK(h, NW_HOST_MAGIC);
    h->confirmed_ms = sent_ms > h->confirmed_ms ? sent_ms : h->confirmed_ms;
    h->dirty = h->dirty || h->waits_for_quorum;
    step(h, NW_EV_CONFIRMED, sent_ms);
    kick(h);
}

bool nw_host_idle(const struct nw_host *h)
{
    return !h->busy && !h->dirty && !h->has_next && h->stir_ms == 0 &&
           h->confirm.state == NW_IDLE && !h->recover && !h->waits_for_quorum;
}

/* --- life --------------------------------------------------------------------------------------
 */

static void free_host(struct nw_host *h)
{
    const char *name;
    void *v;

    for (size_t i = 0; map_next(&h->objects, &i, &name, &v);) {
        json_decref(v);
    }
    for (size_t i = 0; map_next(&h->refused, &i, &name, &v);) {
        refusal_free(v);
    }
    for (size_t i = 0; map_next(&h->shown, &i, &name, &v);) {
        shown_free(v);
    }
    map_done(&h->objects);
    map_done(&h->refused);
    map_done(&h->shown);
    json_decref(h->labels);
    json_decref(h->part);
    arena_done(&h->record_arena);
    arena_done(&h->cycle);
    arena_done(&h->obs_arena);
    if (h->monitor_fd >= 0) {
        (void)close(h->monitor_fd);
    }
    free(h->dir);
    free(h->host);
    free(h->boot_id);
    h->magic = 0;
    free(h);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct nw_host *h;
    void (*on_closed)(void *ctx);
    void *ctx;

    OBJ_FROM(h, handle->data, NW_HOST_MAGIC);
    if (--h->handles > 0) {
        return;
    }
    on_closed = h->on_closed;
    ctx = h->on_closed_ctx;
    free_host(h);
    if (on_closed != NULL) {
        on_closed(ctx);
    }
}

static void finish_close(struct nw_host *h)
{
    uv_close((uv_handle_t *)&h->timer, on_handle_closed);
    uv_close((uv_handle_t *)&h->monitor, on_handle_closed);
}

void nw_host_close(struct nw_host *h, void (*on_closed)(void *ctx), void *ctx)
{
    OBJ_CHECK(h, NW_HOST_MAGIC);
    CHECK(!h->closing);
    h->closing = true;
    h->on_closed = on_closed;
    h->on_closed_ctx = ctx;
    if (!h->busy) {
        finish_close(h);
    }
}

int nw_host_new(const struct nw_host_opts *opts, struct nw_host **ret, struct err *err)
{
    struct nw_host *h = OBJ_NEW(struct nw_host);
    int rc;

    h->magic = NW_HOST_MAGIC;
    h->loop = opts->loop;
    h->dir = mem_strdup(opts->dir);
    h->host = mem_strdup(opts->host);
    h->boot_id = mem_strdup(opts->boot_id);
    h->changed = opts->changed;
    h->data = opts->data;
    h->monitor_fd = -1;
    rc = nw_host_load(h, err);
    rc = rc != 0 ? rc : nw_monitor_open(&h->monitor_fd, err);
    if (rc != 0) {
        free_host(h);
        return rc;
    }
    CHECK(uv_timer_init(h->loop, &h->timer) == 0);
    CHECK(uv_poll_init(h->loop, &h->monitor, h->monitor_fd) == 0);
    CHECK(uv_poll_start(&h->monitor, UV_READABLE, on_monitor) == 0);
    h->timer.data = h;
    h->monitor.data = h;
    h->work.data = h;
    h->handles = 2;
    kick(h);
    *ret = h;
    return 0;
}
