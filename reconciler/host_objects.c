#include "reconciler/host_objects.h"

#include <stdlib.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nw_host.h"
#include "storage/st_host.h"

#define HOST_OBJECTS_MAGIC 0x686f626aU
#define NET_LOOK_MS 250U
#define NET_SETTLE_MS 20000U /* a state that is not reached by then is reported as it is */
#define AGAIN_MS 15000U

struct host_objects {
    struct host_apply apply; /* first */
    unsigned magic;
    uv_loop_t *loop;
    struct st_host *st;
    struct nw_host *nw;
    struct ho_call *calls; /* of the network and of nobody */
    char *host;
    json_t *labels; /* of the Host object; NULL: not known yet */
    char *initiator_want;
    uint64_t initiator_ms; /* looked at again then */
    struct st_initiator initiator;
    uv_timer_t timer;
    bool closing;
    unsigned open;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

struct ho_call {
    struct host_objects *h;
    struct ho_call *next;
    struct drv_job *job;
    struct st_op *op; /* storage */
    bool net;
    bool elsewhere; /* not for this host */
    uint64_t until_ms;
};

static struct host_objects *objects(struct host_apply *a)
{
    struct host_objects *h = CONTAINER_OF(a, struct host_objects, apply);

    OBJ_CHECK(h, HOST_OBJECTS_MAGIC);
    return h;
}

static bool is_net(const char *plural)
{
    return str_eq(plural, "bonds") || str_eq(plural, "bridges") || str_eq(plural, "vlans");
}

/* --- storage -----------------------------------------------------------------------------------
 */

static void on_storage(void *ctx, const struct st_answer *ans)
{
    struct ho_call *c = ctx;
    struct drv_job *job = c->job;

    job->result.ready = ans->state == ST_READY;
    job->result.reason = ans->reason;
    job->result.message = ans->message;
    job->result.lock_needed = ans->lock_needed;
    job->result.changed = ans->changed;
    job->result.cut_off = ans->cut_off;
    job->result.again_ms = ans->again_ms;
    job->result.detail = ans->detail;
    job->drv_private = NULL;
    free(c);
    job->cb(job, NULL);
}

/* --- network -----------------------------------------------------------------------------------
 */

static void look_again(uv_timer_t *t);

static void unlink_call(struct ho_call *c)
{
    struct ho_call **at = &c->h->calls;

    while (*at != c) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = c->next;
}

static void answer_net(struct ho_call *c)
{
    struct drv_job *job = c->job;
    struct nw_state s = { 0 };
    bool known = job->object != NULL && nw_host_state(c->h->nw, job->kind, job->name, &s);

    unlink_call(c);
    free(c);
    job->drv_private = NULL;
    job->result.ready = known ? s.ready : true;
    job->result.reason = known ? s.reason : job->object == NULL ? "Deleted" : HOST_NOT_HERE;
    job->result.message = known ? s.message : "";
    job->result.detail = known ? s.details : NULL;
    job->result.again_ms = AGAIN_MS;
    job->cb(job, NULL);
    nw_state_done(&s);
}

static void answer_nobody(struct ho_call *c)
{
    struct drv_job *job = c->job;
    bool elsewhere = c->elsewhere;

    unlink_call(c);
    free(c);
    job->drv_private = NULL;
    job->result.ready = true;
    job->result.reason = elsewhere ? HOST_NOT_HERE : "NothingToDo";
    job->result.message = "";
    job->result.again_ms = elsewhere ? AGAIN_MS : 0; /* labels of the host change */
    job->cb(job, NULL);
}

static bool settled(const struct ho_call *c, uint64_t now)
{
    return c->h->closing || nw_host_idle(c->h->nw) || now >= c->until_ms;
}

static void arm(struct host_objects *h, uint64_t ms)
{
    if (!h->closing) {
        CHECK(uv_timer_start(&h->timer, look_again, ms, 0) == 0);
    }
}

static void look_again(uv_timer_t *t)
{
    struct host_objects *h = t->data;
    uint64_t now = clock_now_ms();
    struct ho_call *c = h->calls;

    while (c != NULL) {
        struct ho_call *next = c->next;

        if (!c->net) {
            answer_nobody(c);
        } else if (settled(c, now)) {
            answer_net(c);
        }
        c = next;
    }
    if (h->calls != NULL) {
        arm(h, NET_LOOK_MS);
    }
}

/* --- jobs --------------------------------------------------------------------------------------
 */

static void ho_submit(struct host_apply *a, struct drv_job *job)
{
    struct host_objects *h = objects(a);
    struct ho_call *c = OBJ_NEW(struct ho_call);

    *c = (struct ho_call){ .h = h, .job = job, .until_ms = clock_now_ms() + NET_SETTLE_MS };
    job->drv_private = c;
    if (st_host_knows(job->kind)) {
        if (job->object == NULL || obj_on_host(job->object, h->host, h->labels)) {
            if (job->reservation_key != 0) {
                st_reservation_key(h->st, job->reservation_key);
            }
            st_secrets(h->st, job->kind, job->name, job->secrets);
            c->op = st_apply(h->st, job->kind, job->name, job->object, job->token != 0,
                             job->deadline_ms, on_storage, c);
            return;
        }
        c->elsewhere = true;
    }
    c->net = is_net(job->kind);
    c->next = h->calls;
    h->calls = c;
    if (c->net) {
        nw_host_put(h->nw, job->kind, job->name, job->object);
    }
    arm(h, c->net ? NET_LOOK_MS : 0);
}

static void ho_abort(struct host_apply *a, struct drv_job *job)
{
    struct ho_call *c = job->drv_private;
    struct host_objects *h = objects(a);

    if (c->op != NULL) {
        st_op_abort(c->op);
    } else {
        c->until_ms = 0;
        arm(h, 0);
    }
}

/* --- the agent's word --------------------------------------------------------------------------
 */

void host_objects_confirm(struct host_apply *a, uint64_t sent_ms)
{
    nw_host_confirm(objects(a)->nw, sent_ms);
}

void host_objects_host(struct host_apply *a, const json_t *host)
{
    struct host_objects *h = objects(a);
    const json_t *labels = jget(host, "metadata.labels");

    json_decref(h->labels);
    h->labels = json_deep_copy(labels);
    nw_host_labels(h->nw, labels);
    free(h->initiator_want);
    h->initiator_want = mem_strdup(jget_str(host, "spec.iscsi.initiatorName", ""));
    h->initiator_ms = 0;
}

const char *host_objects_status(struct host_apply *a, json_t *status)
{
    struct host_objects *h = objects(a);
    uint64_t now = clock_now_ms();

    if (now >= h->initiator_ms && !h->closing) {
        h->initiator_ms = now + AGAIN_MS;
        st_initiator(h->st, h->initiator_want, &h->initiator);
    }
    if (h->initiator.name[0] != '\0') {
        (void)json_object_set_new(status, "iscsi",
                                  json_pack("{s:s}", "initiatorName", h->initiator.name));
    }
    return h->initiator.problem;
}

bool host_objects_group_usable(void *host_apply, const char *group)
{
    return st_group_usable(objects(host_apply)->st, group);
}

size_t host_objects_group_dark(void *host_apply, const char *group, const char **dst, size_t max)
{
    return st_group_dark(objects(host_apply)->st, group, dst, max);
}

void host_objects_synced(struct host_apply *a)
{
    struct host_objects *h = objects(a);

    st_host_synced(h->st);
    nw_host_synced(h->nw);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void part_closed(void *ctx)
{
    struct host_objects *h = ctx;
    void (*on_closed)(void *c) = h->on_closed;
    void *on_closed_ctx = h->on_closed_ctx;

    if (--h->open > 0) {
        return;
    }
    h->magic = 0;
    json_decref(h->labels);
    free(h->initiator_want);
    free(h->host);
    free(h);
    on_closed(on_closed_ctx);
}

static void timer_closed(uv_handle_t *t)
{
    part_closed(t->data);
}

static void ho_close(struct host_apply *a, void (*on_closed)(void *ctx), void *ctx)
{
    struct host_objects *h = objects(a);

    h->closing = true;
    h->on_closed = on_closed;
    h->on_closed_ctx = ctx;
    h->open = 3;
    look_again(&h->timer);
    st_host_close(h->st, part_closed, h);
    nw_host_close(h->nw, part_closed, h);
    uv_close((uv_handle_t *)&h->timer, timer_closed);
}

int host_objects_new(const struct host_objects_opts *opts, struct host_apply **ret, struct err *err)
{
    static const struct host_apply_ops ops = { .submit = ho_submit,
                                               .abort = ho_abort,
                                               .close = ho_close };
    struct st_host_opts so = { .loop = opts->loop, .data = opts->data };
    struct nw_host_opts no = {
        .loop = opts->loop, .dir = opts->data, .host = opts->host, .boot_id = opts->boot_id
    };
    struct host_objects *h = OBJ_NEW(struct host_objects);
    int rc = nw_host_new(&no, &h->nw, err);

    if (rc != 0) {
        free(h);
        return rc;
    }
    h->apply.ops = &ops;
    h->magic = HOST_OBJECTS_MAGIC;
    h->loop = opts->loop;
    h->host = mem_strdup(opts->host);
    h->st = st_host_new(&so);
    CHECK(uv_timer_init(opts->loop, &h->timer) == 0);
    h->timer.data = h;
    *ret = &h->apply;
    return 0;
}
