#include "cmd/picketd/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "api/console_conn.h"
#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/roles.h"

#define WAITER_MAGIC 0x63777461U
#define SESSION_MAGIC 0x63736573U

#define SESSIONS_MAX 256U
#define WAITERS_MAX 4096U
#define WAITERS_OF_HOST                                                                            \
    (LINKS_MAX + 1U)     /* one over each link, and one that is gone without a word */
#define AGENT_MS 5000U   /* for the agent's connection to be there */
#define ANSWER_MS 10000U /* for its answer */

/* An agent's connection that nobody has asked for yet. */
struct waiter {
    unsigned magic;
    struct consoles *all;
    TAILQ_ENTRY(waiter) link; /* oldest first */
    struct console_conn *conn;
    char host[256];
};

enum stage { STAGE_READ, STAGE_AGENT, STAGE_ANSWER, STAGE_OPEN };

struct session {
    unsigned magic;
    struct consoles *all;
    LIST_ENTRY(session) link;
    enum stage stage;
    struct console_conn *person; /* NULL: gone */
    struct console_conn *agent;  /* NULL: not yet */
    struct console_open what;
    char host[256];
    uv_timer_t timer;
    bool reading; /* a read point is under way, which comes back to us */
    bool closing, timer_gone;
};

struct consoles {
    struct node *node;
    TAILQ_HEAD(waiters, waiter) waiters;
    size_t n_waiters;
    LIST_HEAD(, session) sessions;
    size_t n_sessions;
    struct console_open wish; /* from the request to the connection, within one call */
};

/* --- the end of a session ----------------------------------------------------------------------
 */

static void session_free(struct session *x)
{
    if (x->timer_gone && !x->reading) {
        x->magic = 0;
        free(x);
    }
}

static void on_timer_closed(uv_handle_t *h)
{
    struct session *x;

    OBJ_FROM(x, h->data, SESSION_MAGIC);
    x->timer_gone = true;
    session_free(x);
}

/* err NULL: the person has gone. */
static void session_end(struct session *x, const struct err *err)
{
    if (x->closing) {
        return;
    }
    x->closing = true;
    lg_info("console", "vm=%s host=%s by=\"%s\" why=\"%s\" msg=\"console closed\"", x->what.vm,
            x->host[0] == '\0' ? "-" : x->host, x->what.by, err == NULL ? "detached" : err->msg);
    if (err != NULL) {
        console_conn_refuse(x->person, err);
    } else {
        console_conn_close(x->person);
    }
    if (x->agent != NULL) {
        console_conn_close(x->agent);
    }
    LIST_REMOVE(x, link);
    x->all->n_sessions--;
    uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

static void on_late(uv_timer_t *t)
{
    struct session *x;
    struct err err;

    OBJ_FROM(x, t->data, SESSION_MAGIC);
    if (x->stage == STAGE_AGENT) {
        (void)err_set(&err, ERR_UNREACHABLE,
                      "the agent of %s, where %s is, has no connection to %s; is it up?", x->host,
                      x->what.vm, x->all->node->opts.name);
    } else {
        (void)err_set(&err, ERR_UNREACHABLE, "the agent of %s did not answer within %u s", x->host,
                      ANSWER_MS / 1000U);
    }
    session_end(x, &err);
}

/* --- passing on --------------------------------------------------------------------------------
 */

static void on_person_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct session *x;
    struct err err;

    OBJ_FROM(x, data, SESSION_MAGIC);
    if (x->stage != STAGE_OPEN || type != CONSOLE_DATA) {
        (void)err_set(&err, ERR_BAD_REQUEST, "only what was typed is expected, once it is open");
        session_end(x, &err);
    } else if (!console_conn_send(x->agent, type, p, len)) {
        console_conn_pause(x->person, true);
    }
}

static void on_person_end(void *data, const struct err *err)
{
    struct session *x;

    OBJ_FROM(x, data, SESSION_MAGIC);
    (void)err;
    session_end(x, NULL);
}

static void on_person_room(void *data)
{
    struct session *x;

    OBJ_FROM(x, data, SESSION_MAGIC);
    if (x->agent != NULL) {
        console_conn_pause(x->agent, false);
    }
}

static void on_agent_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct session *x;
    struct err err;

    OBJ_FROM(x, data, SESSION_MAGIC);
    if (type == CONSOLE_END) {
        console_get_end(p, len, &err);
        session_end(x, &err);
        return;
    }
    if (type == CONSOLE_OPENED && x->stage == STAGE_ANSWER) {
        x->stage = STAGE_OPEN;
        (void)uv_timer_stop(&x->timer);
        lg_info("console", "vm=%s host=%s by=\"%s\" msg=\"console opened\"", x->what.vm, x->host,
                x->what.by);
    } else if (type != CONSOLE_DATA || x->stage != STAGE_OPEN) {
        (void)err_set(&err, ERR_DRIVER, "the agent of %s does not keep to the protocol", x->host);
        session_end(x, &err);
        return;
    }
    if (!console_conn_send(x->person, type, p, len)) {
        console_conn_pause(x->agent, true);
    }
}

static void on_agent_end(void *data, const struct err *err)
{
    struct session *x;
    struct err e;

    OBJ_FROM(x, data, SESSION_MAGIC);
    (void)err_set(&e, ERR_UNREACHABLE, "the agent of %s has gone: %.200s (the guest goes on)",
                  x->host, err->msg);
    session_end(x, &e);
}

static void on_agent_room(void *data)
{
    struct session *x;

    OBJ_FROM(x, data, SESSION_MAGIC);
    console_conn_pause(x->person, false);
}

static const struct console_conn_cbs person_cbs = { .on_frame = on_person_frame,
                                                    .on_end = on_person_end,
                                                    .on_room = on_person_room };
static const struct console_conn_cbs agent_cbs = { .on_frame = on_agent_frame,
                                                   .on_end = on_agent_end,
                                                   .on_room = on_agent_room };

/* --- agents that wait --------------------------------------------------------------------------
 */

static void waiter_free(struct waiter *w)
{
    TAILQ_REMOVE(&w->all->waiters, w, link);
    w->all->n_waiters--;
    w->magic = 0;
    free(w);
}

static void waiter_drop(struct waiter *w)
{
    console_conn_close(w->conn);
    waiter_free(w);
}

static void on_waiter_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct waiter *w;

    OBJ_FROM(w, data, WAITER_MAGIC);
    (void)type;
    (void)p;
    (void)len;
    lg_warn("console", "host=%s msg=\"its agent spoke before it was asked; dropped\"", w->host);
    waiter_drop(w);
}

static void on_waiter_end(void *data, const struct err *err)
{
    struct waiter *w;

    OBJ_FROM(w, data, WAITER_MAGIC);
    (void)err;
    waiter_drop(w);
}

static const struct console_conn_cbs waiter_cbs = { .on_frame = on_waiter_frame,
                                                    .on_end = on_waiter_end };

/* The newest: an older one may be of an agent that is gone without a word. */
static struct waiter *waiter_of(struct consoles *s, const char *host)
{
    struct waiter *w;

    TAILQ_FOREACH_REVERSE(w, &s->waiters, waiters, link)
    {
        if (str_eq(w->host, host)) {
            return w;
        }
    }
    return NULL;
}

/* There are enough of this host, or of all: the oldest goes. */
static void make_room(struct consoles *s, const char *host)
{
    struct waiter *w, *oldest = NULL;
    size_t n = 0;

    TAILQ_FOREACH (w, &s->waiters, link) {
        if (str_eq(w->host, host)) {
            oldest = oldest == NULL ? w : oldest;
            n++;
        }
    }
    if (n >= WAITERS_OF_HOST) {
        waiter_drop(oldest);
    } else if (s->n_waiters >= WAITERS_MAX) {
        waiter_drop(TAILQ_FIRST(&s->waiters));
    }
}

/* --- the beginning of a session ----------------------------------------------------------------
 */

static void ask_agent(struct session *x, struct waiter *w)
{
    x->stage = STAGE_ANSWER;
    x->agent = w->conn;
    console_conn_own(x->agent, &agent_cbs, x);
    waiter_free(w);
    CHECK(uv_timer_start(&x->timer, on_late, ANSWER_MS, 0) == 0);
    (void)console_conn_send_open(x->agent, &x->what);
}

/* Where is it, and may it have a console? */
static int find_vm(struct session *x, struct err *err)
{
    json_t *vm = node_object(x->all->node, "virtualmachines", x->what.vm, err);
    const char *host = jget_str(vm, "status.host", "");
    int rc = 0;

    if (vm == NULL) {
        return err->code;
    }
    if (host[0] == '\0') {
        rc = err_set(err, ERR_REFUSED,
                     "%s does not run (phase %s): there is no console; `picket why vm %s` tells "
                     "more",
                     x->what.vm, jget_str(vm, "status.phase", "Pending"), x->what.vm);
    } else {
        (void)str_copy(x->host, sizeof(x->host), host);
        (void)str_copy(x->what.uid, sizeof(x->what.uid), jget_str(vm, "metadata.uid", ""));
    }
    json_decref(vm);
    return rc;
}

static void on_read(void *data, const struct err *read_err)
{
    struct session *x;
    struct waiter *w;
    struct err err;

    OBJ_FROM(x, data, SESSION_MAGIC);
    x->reading = false;
    if (x->closing) {
        session_free(x);
        return;
    }
    if (read_err != NULL) {
        session_end(x, read_err);
        return;
    }
    if (find_vm(x, &err) != 0) {
        session_end(x, &err);
        return;
    }
    w = waiter_of(x->all, x->host);
    if (w != NULL) {
        ask_agent(x, w);
        return;
    }
    x->stage = STAGE_AGENT; /* somebody else may just have got the one that was there */
    CHECK(uv_timer_start(&x->timer, on_late, AGENT_MS, 0) == 0);
}

static void waiter_take(void *data, struct stream *st, const uint8_t *rest, size_t len)
{
    struct consoles *s = data;
    struct waiter *w = OBJ_NEW(struct waiter);
    struct session *x;

    w->magic = WAITER_MAGIC;
    w->all = s;
    (void)str_copy(w->host, sizeof(w->host), stream_peer(st)->name);
    make_room(s, w->host);
    w->conn = console_conn_new(s->node->loop, st, rest, len, &waiter_cbs, w);
    TAILQ_INSERT_TAIL(&s->waiters, w, link);
    s->n_waiters++;
    LIST_FOREACH(x, &s->sessions, link)
    {
        if (x->stage == STAGE_AGENT && str_eq(x->host, w->host)) {
            ask_agent(x, w);
            return;
        }
    }
}

static void person_take(void *data, struct stream *st, const uint8_t *rest, size_t len)
{
    struct consoles *s = data;
    struct session *x = OBJ_NEW(struct session);
    const struct stream_peer *peer = stream_peer(st);

    x->magic = SESSION_MAGIC;
    x->all = s;
    x->what.take = s->wish.take;
    (void)str_copy(x->what.vm, sizeof(x->what.vm), s->wish.vm);
    (void)str_copy(x->what.via, sizeof(x->what.via), s->node->opts.name);
    (void)snprintf(x->what.by, sizeof(x->what.by), "%.60s %.120s", peer->role, peer->name);
    x->timer.data = x;
    CHECK(uv_timer_init(s->node->loop, &x->timer) == 0);
    LIST_INSERT_HEAD(&s->sessions, x, link);
    s->n_sessions++;
    x->person = console_conn_new(s->node->loop, st, rest, len, &person_cbs, x);
    x->reading = true;
    node_read(s->node, on_read, x);
}

/* --- requests ----------------------------------------------------------------------------------
 */

static void upgraded(struct rest *r, http_take_fn *take, void *data)
{
    struct err err;

    if (!http_upgrade(r->req, CONSOLE_PROTOCOL, take, data)) {
        (void)err_set(&err, ERR_BAD_REQUEST,
                      "a console speaks \"Upgrade: %s\" only, on a connection of its own (use "
                      "`picket console`)",
                      CONSOLE_PROTOCOL);
        rest_err(r, &err);
        return;
    }
    rest_free(r);
}

static int may(const struct rest *r, struct err *err)
{
    if (!str_eq(r->req->method, "GET")) {
        return err_set(err, ERR_METHOD, "a console needs GET");
    }
    return str_eq(r->k->name, "Host")
               ? auth_agent(&r->req->peer, r->name, err)
               : auth_may(r->node, &r->req->peer, r->k, "console", r->name, "get", err);
}

void console_wait_request(struct rest *r)
{
    struct err err;

    if (may(r, &err) != 0) {
        rest_err(r, &err);
        return;
    }
    upgraded(r, waiter_take, r->node->consoles);
}

void console_request(struct rest *r)
{
    struct consoles *s = r->node->consoles;
    const char *take = http_req_query(r->req, "take");
    struct err err;
    int rc = may(r, &err);

    if (rc == 0 && s->n_sessions >= SESSIONS_MAX) {
        rc = err_set(&err, ERR_LIMIT, "%u consoles are open through %s already", SESSIONS_MAX,
                     r->node->opts.name);
    }
    if (rc != 0) {
        rest_err(r, &err);
        return;
    }
    s->wish.take = take != NULL && str_eq(take, "true");
    (void)str_copy(s->wish.vm, sizeof(s->wish.vm), r->name);
    upgraded(r, person_take, s);
}

size_t consoles_open(const struct consoles *s)
{
    return s->n_sessions;
}

struct consoles *consoles_new(struct node *n)
{
    struct consoles *s = OBJ_NEW(struct consoles);

    s->node = n;
    TAILQ_INIT(&s->waiters);
    LIST_INIT(&s->sessions);
    return s;
}
