#include "reconciler/host_ping.h"

#include <stdlib.h>

#include "base/addrmap.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

struct hp_call {
    struct host_ping *h;
    struct hp_call *next;
    struct drv_job *job;
    struct ping *ping; /* NULL: it is not even tried */
    struct err err;    /* then why */
};

struct host_ping {
    uv_loop_t *loop;
    enum ping_how how;
    struct hp_call *calls;
    uv_timer_t timer; /* answers what is not tried */
    bool closing, timer_closed;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

static void close_if_idle(struct host_ping *h)
{
    void (*on_closed)(void *ctx) = h->on_closed;
    void *ctx = h->on_closed_ctx;

    if (h->closing && h->timer_closed && h->calls == NULL) {
        free(h);
        on_closed(ctx);
    }
}

static void answer(struct hp_call *c, const struct err *err)
{
    struct drv_job *job = c->job;
    struct hp_call **at = &c->h->calls;

    while (*at != c) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = c->next;
    job->drv_private = NULL;
    job->cb(job, err);
    free(c);
}

static void on_ping(void *data, const struct err *err)
{
    struct hp_call *c = data;
    struct host_ping *h = c->h;

    answer(c, err);
    close_if_idle(h);
}

static void answer_untried(struct host_ping *h)
{
    struct hp_call *c = h->calls;

    while (c != NULL) {
        if (c->ping == NULL) {
            answer(c, &c->err);
            c = h->calls; /* the callback may have asked for more */
        } else {
            c = c->next;
        }
    }
}

static void on_timer(uv_timer_t *t)
{
    answer_untried(t->data);
}

void host_ping_submit(struct host_ping *h, struct drv_job *job)
{
    struct hp_call *c = OBJ_NEW(struct hp_call);
    enum ping_how how = job->port != 0 ? PING_TCP : h->how;
    char address[80];
    int rc;

    *c = (struct hp_call){ .h = h, .next = h->calls, .job = job };
    h->calls = c;
    job->drv_private = c;
    rc = h->closing ? err_set(&c->err, ERR_CANCELED, "the driver is being closed")
                    : addr_resolve(job->name, job->port, how == PING_TCP ? ADDR_TCP : ADDR_UDP,
                                   address, sizeof(address), &c->err);
    if (rc == 0) {
        c->ping = ping_start(h->loop, how, address, job->deadline_ms, on_ping, c);
    } else if (!h->closing) {
        CHECK(uv_timer_start(&h->timer, on_timer, 0, 0) == 0);
    }
}

void host_ping_abort(struct host_ping *h, struct drv_job *job)
{
    struct hp_call *c = job->drv_private;

    (void)h;
    CHECK(c != NULL);
    if (c->ping != NULL) {
        ping_abort(c->ping);
    }
}

static void on_timer_closed(uv_handle_t *t)
{
    struct host_ping *h = t->data;

    answer_untried(h);
    h->timer_closed = true;
    close_if_idle(h);
}

void host_ping_close(struct host_ping *h, void (*on_closed)(void *ctx), void *ctx)
{
    h->closing = true;
    h->on_closed = on_closed;
    h->on_closed_ctx = ctx;
    for (struct hp_call *c = h->calls; c != NULL; c = c->next) {
        if (c->ping != NULL) {
            ping_abort(c->ping);
        }
    }
    uv_close((uv_handle_t *)&h->timer, on_timer_closed);
}

struct host_ping *host_ping_new(uv_loop_t *loop, enum ping_how how)
{
    struct host_ping *h = OBJ_NEW(struct host_ping);

    h->loop = loop;
    h->how = how;
    CHECK(uv_timer_init(loop, &h->timer) == 0);
    h->timer.data = h;
    return h;
}
