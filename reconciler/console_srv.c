#include <stdlib.h>
#include <string.h>

#include "api/client.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/console_priv.h"

#define ADDRESS_MAX 128U
#define DIAL_MS 10000U
#define AGAIN_MIN_MS 500U
#define AGAIN_MAX_MS 10000U

/* Connections that wait for somebody to ask.  One that was taken is followed by another at once. */

static void dial(struct console_link *l);

void console_srv_handle_closed(struct console_srv *s)
{
    CHECK(s->open > 0);
    s->open--;
    if (!s->closing || s->open > 0) {
        return;
    }
    for (size_t i = 0; i < s->n_links; i++) {
        free(s->links[i].endpoint);
    }
    free(s->host);
    tls_ctx_unref(s->opts.tls);
    s->magic = 0;
    free(s);
}

static void on_link_closed(uv_handle_t *h)
{
    struct console_link *l;

    OBJ_FROM(l, h->data, CONSOLE_LINK_MAGIC);
    console_srv_handle_closed(l->srv);
}

static void on_again(uv_timer_t *t)
{
    struct console_link *l;

    OBJ_FROM(l, t->data, CONSOLE_LINK_MAGIC);
    dial(l);
}

/* With growing pauses, and not all agents at once when a picketd comes back. */
static void again(struct console_link *l)
{
    uint64_t ms = (uint64_t)AGAIN_MIN_MS << (l->failures < 6 ? l->failures : 6);

    ms = ms > AGAIN_MAX_MS ? AGAIN_MAX_MS : ms;
    l->failures++;
    ms = ms / 2 + prng_below(&l->srv->prng, ms);
    CHECK(uv_timer_start(&l->timer, on_again, ms, 0) == 0);
}

static void on_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct console_link *l = data;
    struct console_conn *conn = l->conn;
    struct console_open who;
    struct err err;

    l->conn = NULL;
    l->failures = 0;
    CHECK(uv_timer_start(&l->timer, on_again, 0, 0) == 0);
    if (type != CONSOLE_OPEN) {
        (void)err_set(&err, ERR_BAD_REQUEST, "a console begins with a request for one");
        console_conn_refuse(conn, &err);
    } else if (console_get_open(p, len, &who, &err) != 0) {
        console_conn_refuse(conn, &err);
    } else {
        console_session_begin(l->srv, conn, &who);
    }
}

static void on_end(void *data, const struct err *err)
{
    struct console_link *l = data;

    lg_debug("console", "endpoint=%s err=\"%s\"", l->endpoint, err->msg);
    console_conn_close(l->conn);
    l->conn = NULL;
    again(l);
}

static const struct console_conn_cbs link_cbs = { .on_frame = on_frame, .on_end = on_end };

static void on_open(void *data, struct stream *st, const uint8_t *rest, size_t len)
{
    struct console_link *l = data;

    l->dial = NULL;
    l->failures = 0;
    l->conn = console_conn_new(l->srv->loop, st, rest, len, &link_cbs, l);
}

static void on_fail(void *data, const struct err *err)
{
    struct console_link *l = data;

    l->dial = NULL;
    if (l->failures == 0) {
        lg_info("console", "endpoint=%s err=\"%s\" msg=\"no consoles through this picketd now\"",
                l->endpoint, err->msg);
    }
    again(l);
}

static const struct upgrade_cbs dial_cbs = { .on_open = on_open, .on_fail = on_fail };

static void dial(struct console_link *l)
{
    char *target = mem_printf(API_PREFIX "/hosts/%s/console", l->srv->host);
    struct upgrade_opts o = { .tls = l->srv->opts.tls,
                              .want_role = "picket:voters",
                              .target = target,
                              .protocol = CONSOLE_PROTOCOL,
                              .low_mark = CONSOLE_LOW,
                              .timeout_ms = DIAL_MS };
    char address[ADDRESS_MAX];
    struct err err;

    o.address = address;
    if (http_endpoint_resolve(l->endpoint, address, sizeof(address), &err) != 0 ||
        upgrade_open(l->srv->loop, &o, &dial_cbs, l, &l->dial, &err) != 0) {
        on_fail(l, &err);
    }
    free(target);
}

struct console_srv *console_srv_new(const struct console_opts *opts)
{
    struct console_srv *s = OBJ_NEW(struct console_srv);
    uint64_t seed;

    s->magic = CONSOLE_SRV_MAGIC;
    s->loop = opts->loop;
    s->opts = *opts;
    s->opts.tls = opts->tls == NULL ? NULL : tls_ctx_ref(opts->tls);
    s->host = mem_strdup(opts->host);
    clock_random(&seed, sizeof(seed));
    prng_init(&s->prng, seed);
    LIST_INIT(&s->sessions);
    for (size_t i = 0; i < opts->n_endpoints && i < CONSOLE_ENDPOINTS_MAX; i++) {
        struct console_link *l = &s->links[s->n_links++];

        l->magic = CONSOLE_LINK_MAGIC;
        l->srv = s;
        l->endpoint = mem_strdup(opts->endpoints[i]);
        l->timer.data = l;
        CHECK(uv_timer_init(s->loop, &l->timer) == 0);
        s->open++;
        CHECK(uv_timer_start(&l->timer, on_again, prng_below(&s->prng, AGAIN_MIN_MS), 0) == 0);
    }
    return s;
}

void console_srv_close(struct console_srv *s)
{
    struct console_session *n;
    struct err err;

    OBJ_CHECK(s, CONSOLE_SRV_MAGIC);
    CHECK(!s->closing);
    (void)err_set(&err, ERR_CANCELED, "picket-agent on %s stops; the guest goes on", s->host);
    while ((n = LIST_FIRST(&s->sessions)) != NULL) {
        console_session_end(n, &err);
    }
    s->closing = true;
    for (size_t i = 0; i < s->n_links; i++) {
        struct console_link *l = &s->links[i];

        if (l->dial != NULL) {
            upgrade_cancel(l->dial);
        }
        if (l->conn != NULL) {
            console_conn_close(l->conn);
        }
        uv_close((uv_handle_t *)&l->timer, on_link_closed);
    }
}

size_t console_srv_sessions(const struct console_srv *s)
{
    return s->n_sessions;
}
