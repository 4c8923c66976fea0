#ifndef TESTS_UNIT_AGENT_FAKE_H
#define TESTS_UNIT_AGENT_FAKE_H

/* A picketd and a picket-watchdog that do what a test says, on unix sockets in a temporary folder:
 * for tests of the renewer and of the agent.  The watchdog's core is the real one.
 * Everything runs on the test's loop; requests are logged as "METHOD what" in order.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "api/http_server.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/wdog.h"

#define FAKE_LOG_MAX 4096
#define FAKE_L 2400U
#define FAKE_WAIT_MS 20000U

enum fake_mode {
    FAKE_OK = 0,
    FAKE_HANG,  /* no answer; kept until fake_answer_held */
    FAKE_503,   /* not the leader */
    FAKE_LOST,  /* renewals: LeaseLost */
    FAKE_STALE, /* renewals: not known any more */
};

struct fake_lock {
    uint64_t token;
    char uid[64];
};

struct fake {
    uv_loop_t *loop;
    struct http_server *server;
    const char *address;
    char endpoint[128];
    enum fake_mode mode;
    enum fake_mode lease_mode; /* of renewals only, when mode is FAKE_OK */
    bool no_secrets;
    bool hold_registration; /* GET registration waits for fake_answer_held */
    uint64_t epoch, incarnation, revision, token;
    uint64_t registered; /* incarnation that the store has before register; 0: none */
    char state[16];      /* of it */
    char boot[64];       /* of it */
    char log[FAKE_LOG_MAX][24];
    size_t n_log;
    uint64_t lease_received_ms; /* newest renewal */
    unsigned renewals;
    struct map locks;   /* name -> struct fake_lock */
    struct map objects; /* "plural/name" -> json_t */
    struct map reports; /* "Kind/name" -> json_t */
    unsigned full_reports, reports_taken;
    size_t sets;     /* of locks, asked for and given back */
    char refuse[48]; /* lock that nobody gets */
    json_t *terms;   /* newest POST terms */
    json_t *status;  /* newest PATCH of the Host's status */
    struct http_req *held[64];
    size_t n_held;
    struct http_req *watches[64];
    char watch_plural[64][32];
    size_t n_watches;
};

static inline void fake_note(struct fake *f, const char *what)
{
    if (f->n_log < FAKE_LOG_MAX) {
        (void)str_copy(f->log[f->n_log++], sizeof(f->log[0]), what);
    }
}

/* Position of the first (or, from, next) such request, -1: none. */
static inline int fake_find(const struct fake *f, const char *what, int from)
{
    for (int i = from; i < (int)f->n_log; i++) {
        if (str_eq(f->log[i], what)) {
            return i;
        }
    }
    return -1;
}

static inline size_t fake_count(const struct fake *f, const char *what)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n_log; i++) {
        n += str_eq(f->log[i], what);
    }
    return n;
}

static inline void fake_json(struct http_req *req, int status, json_t *j)
{
    http_respond_json(req, status, j);
    json_decref(j);
}

static inline void fake_error(struct http_req *req, int code, const char *msg)
{
    struct err err;

    (void)err_set(&err, code, "%s", msg);
    http_respond_err(req, &err);
}

static inline json_t *fake_terms(void)
{
    return json_pack("{s:i, s:i, s:i, s:s, s:s, s:b, s:b}", "leaseMs", (int)FAKE_L, "watchdogMs", 0,
                     "feedMs", 0, "onQuorumLoss", "Stop", "watchdog", "None", "nowayout", 0,
                     "guarded", 0);
}

static inline void fake_lease(struct fake *f, struct http_req *req, const json_t *body)
{
    f->renewals++;
    f->lease_received_ms = clock_now_ms();
    if (f->lease_mode == FAKE_LOST) {
        fake_error(req, ERR_REFUSED, "LeaseLost: incarnation 7 of node1 is Lost");
    } else if (f->lease_mode == FAKE_STALE ||
               (uint64_t)jget_int(body, "incarnation", 0) != f->incarnation) {
        fake_error(req, ERR_STALE, "incarnation is not one of node1: register again");
    } else if (f->lease_mode == FAKE_HANG) {
        f->held[f->n_held++] = req;
    } else {
        fake_json(req, 200,
                  json_pack("{s:i, s:o, s:i, s:I}", "leaseMs", (int)FAKE_L, "terms", fake_terms(),
                            "term", 2, "revision", (json_int_t)f->revision));
    }
}

static inline void fake_register(struct fake *f, struct http_req *req, const json_t *body)
{
    if (str_eq(f->state, "Fenced") && str_eq(f->boot, jget_str(body, "bootID", ""))) {
        fake_error(req, ERR_REFUSED, "boot id of host node1 was fenced: reset the host");
        return;
    }
    (void)str_copy(f->boot, sizeof(f->boot), jget_str(body, "bootID", ""));
    (void)str_copy(f->state, sizeof(f->state), "Live");
    f->registered = f->incarnation;
    fake_json(req, 200,
              json_pack("{s:I, s:I, s:s, s:o}", "incarnation", (json_int_t)f->incarnation, "epoch",
                        (json_int_t)f->epoch, "state", "Live", "terms", fake_terms()));
}

static inline json_t *fake_acquire(struct fake *f, const json_t *set)
{
    const json_t *locks = jget(set, "locks");
    json_t *tokens = json_array();

    for (size_t i = 0; i < json_array_size(locks); i++) {
        const json_t *l = json_array_get(locks, i);
        struct fake_lock *k = map_get(&f->locks, jget_str(l, "lock", ""));

        if (str_eq(jget_str(l, "lock", ""), f->refuse)) {
            json_decref(tokens);
            return json_pack("{s:s, s:s}", "error", "ERR_CONFLICT", "message",
                             "it is held by host node2");
        }
        if (k == NULL) {
            k = OBJ_NEW(struct fake_lock);
            (void)map_put(&f->locks, jget_str(l, "lock", ""), k);
        }
        k->token = ++f->token;
        (void)str_copy(k->uid, sizeof(k->uid), jget_str(l, "uid", ""));
        (void)json_array_append_new(tokens, json_integer((json_int_t)k->token));
    }
    return json_pack("{s:o}", "tokens", tokens);
}

static inline json_t *fake_release(struct fake *f, const json_t *set)
{
    const json_t *locks = jget(set, "locks");

    for (size_t i = 0; i < json_array_size(locks); i++) {
        const json_t *l = json_array_get(locks, i);
        struct fake_lock *k = map_get(&f->locks, jget_str(l, "lock", ""));

        if (k == NULL || k->token != (uint64_t)jget_int(l, "token", 0)) {
            return json_pack("{s:s, s:s}", "error", "ERR_STALE", "message",
                             "not held by that token");
        }
    }
    for (size_t i = 0; i < json_array_size(locks); i++) {
        free(map_del(&f->locks, jget_str(json_array_get(locks, i), "lock", "")));
    }
    return json_object();
}

/* Locks of several machines in one request, each set with an answer of its own. */
static inline void fake_sets(struct fake *f, struct http_req *req, const json_t *body,
                             json_t *(*one)(struct fake *f, const json_t *set))
{
    const json_t *sets = jget(body, "sets");
    json_t *answers = json_array();

    assert_true(json_array_size(sets) > 0);
    f->sets += json_array_size(sets);
    for (size_t i = 0; i < json_array_size(sets); i++) {
        (void)json_array_append_new(answers, one(f, json_array_get(sets, i)));
    }
    fake_json(req, 200, json_pack("{s:o}", "sets", answers));
}

static inline void fake_report(struct fake *f, struct http_req *req, const json_t *body)
{
    const json_t *items = jget(body, "items");

    f->reports_taken++;
    f->full_reports += jget_bool(body, "full", false);
    for (size_t i = 0; i < json_array_size(items); i++) {
        json_t *item = json_array_get(items, i);
        char *key = mem_printf("%s/%s", jget_str(item, "kind", ""), jget_str(item, "name", ""));

        json_decref(map_put(&f->reports, key, json_incref(item)));
        free(key);
    }
    fake_json(req, 200, json_pack("{s:I}", "revision", (json_int_t)++f->revision));
}

static inline const char *fake_reported(const struct fake *f, const char *key)
{
    return jget_str(map_get(&f->reports, key), "state", "");
}

static inline json_t *fake_lock_object(const char *name, const struct fake_lock *l, uint64_t inc)
{
    return json_pack("{s:{s:s}, s:{s:s, s:s, s:I, s:I}}", "metadata", "name", name, "status",
                     "object", name, "holder", "node1", "incarnation", (json_int_t)inc, "token",
                     (json_int_t)l->token);
}

static inline json_t *fake_list(struct fake *f, const char *plural)
{
    json_t *items = json_array();
    char version[32];
    const char *key;
    void *v;

    for (size_t i = 0; str_eq(plural, "locks") && map_next(&f->locks, &i, &key, &v);) {
        (void)json_array_append_new(items, fake_lock_object(key, v, f->incarnation));
    }
    for (size_t i = 0; map_next(&f->objects, &i, &key, &v);) {
        if (str_starts(key, plural) && key[strlen(plural)] == '/') {
            (void)json_array_append(items, v);
        }
    }
    (void)snprintf(version, sizeof(version), "%" PRIu64, f->revision);
    return json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "picket/v1", "kind", "List",
                     "metadata", "resourceVersion", version, "items", items);
}

static inline void fake_put(struct fake *f, const char *plural, const char *name, json_t *o)
{
    char *key = mem_printf("%s/%s", plural, name);
    char version[32];
    json_t *ev;
    char *line;
    bool was;

    (void)snprintf(version, sizeof(version), "%" PRIu64, ++f->revision);
    jset(o, "metadata.name", json_string(name));
    jset(o, "metadata.resourceVersion", json_string(version));
    was = map_get(&f->objects, key) != NULL;
    ev = json_pack("{s:s, s:O}", "type", was ? "MODIFIED" : "ADDED", "object", o);
    json_decref(map_put(&f->objects, key, o));
    line = json_dumps(ev, JSON_COMPACT);
    for (size_t i = 0; i < f->n_watches; i++) {
        if (str_eq(f->watch_plural[i], plural) && f->watches[i] != NULL) {
            (void)http_stream_write(f->watches[i], line, strlen(line));
            (void)http_stream_write(f->watches[i], "\n", 1);
        }
    }
    free(line);
    json_decref(ev);
    free(key);
}

static inline void fake_watch_gone(struct http_req *req)
{
    struct fake *f = req->data;

    for (size_t i = 0; i < f->n_watches; i++) {
        if (f->watches[i] == req) {
            f->watches[i] = NULL;
        }
    }
    http_stream_end(req);
}

static inline void fake_watch(struct fake *f, struct http_req *req, const char *plural)
{
    assert_true(f->n_watches < ARRAY_LEN(f->watches));
    (void)str_copy(f->watch_plural[f->n_watches], sizeof(f->watch_plural[0]), plural);
    f->watches[f->n_watches++] = req;
    req->data = f;
    req->on_abort = fake_watch_gone;
    http_stream_begin(req, 200, "application/json", NULL, 0);
}

static inline void fake_host_op(struct fake *f, struct http_req *req, const char *op,
                                const json_t *body)
{
    char what[24];

    if (!str_eq(op, "lease")) {
        (void)snprintf(what, sizeof(what), "%.3s %.16s", req->method, op);
        fake_note(f, what);
    }
    if (str_eq(op, "registration") && f->hold_registration) {
        f->held[f->n_held++] = req;
    } else if (str_eq(op, "registration")) {
        fake_json(req, 200,
                  json_pack("{s:I, s:s, s:s, s:I, s:s, s:s, s:s, s:b}", "epoch",
                            (json_int_t)f->epoch, "clusterID", "c1", "hostUID", "h1", "incarnation",
                            (json_int_t)f->registered, "state", f->state, "bootID", f->boot,
                            "hardwareID", "hw1", "lab", 1));
    } else if (str_eq(op, "register")) {
        fake_register(f, req, body);
    } else if (str_eq(op, "lease")) {
        fake_lease(f, req, body);
    } else if (str_eq(op, "terms")) {
        json_decref(f->terms);
        f->terms = json_deep_copy(json_object_get(body, "terms"));
        fake_json(
            req, 200,
            json_pack("{s:o, s:I}", "terms", fake_terms(), "revision", (json_int_t)++f->revision));
    } else if (str_eq(op, "acquire")) {
        fake_sets(f, req, body, fake_acquire);
    } else if (str_eq(op, "release")) {
        fake_sets(f, req, body, fake_release);
    } else if (str_eq(op, "report")) {
        fake_report(f, req, body);
    } else if (str_eq(op, "secrets")) {
        if (f->no_secrets) {
            fake_error(req, ERR_NOT_FOUND, "Secret san not found");
        } else {
            fake_json(req, 200,
                      json_pack("{s:{s:s}}", "values",
                                str_eq(jget_str(body, "kind", ""), "ISCSITarget")
                                    ? "spec.chap.passwordRef"
                                    : "spec.graphics.passwordRef",
                                "geheim"));
        }
    } else if (str_eq(op, "status")) {
        json_decref(f->status);
        f->status = json_deep_copy(json_object_get(body, "status"));
        fake_json(req, 200, json_object());
    } else {
        fake_error(req, ERR_NOT_FOUND, op);
    }
}

static inline void fake_lock_get(struct fake *f, struct http_req *req, const char *name)
{
    char *object = mem_strdup(name);
    struct fake_lock *l;

    object[strcspn(object, ".")] = '/';
    l = map_get(&f->locks, object);
    if (l == NULL) {
        fake_error(req, ERR_NOT_FOUND, name);
    } else {
        fake_json(req, 200, fake_lock_object(object, l, f->incarnation));
    }
    free(object);
}

static inline void fake_request(void *ctx, struct http_req *req)
{
    struct fake *f = ctx;
    const char *p = req->path + strlen("/apis/picket/v1/");
    json_t *body = req->len == 0 ? NULL : json_loadb((const char *)req->body, req->len, 0, NULL);

    if (f->mode == FAKE_HANG) {
        f->held[f->n_held++] = req;
    } else if (f->mode == FAKE_503) {
        fake_error(req, ERR_NOT_LEADER, "not the leader");
    } else if (str_starts(p, "hosts/node1/")) {
        fake_host_op(f, req, p + strlen("hosts/node1/"), body);
    } else if (str_starts(p, "locks/")) {
        fake_lock_get(f, req, p + strlen("locks/"));
    } else if (str_eq(http_req_query(req, "watch"), "true") ||
               str_eq(http_req_query(req, "watch"), "1")) {
        fake_watch(f, req, p);
    } else {
        fake_note(f, str_eq(p, "locks") ? "GET locks" : "GET list");
        fake_json(req, 200, fake_list(f, p));
    }
    json_decref(body);
}

/* Answer what was held as if it had just come. */
static inline void fake_answer_held(struct fake *f)
{
    size_t n = f->n_held;
    struct http_req *held[64];

    memcpy(held, f->held, sizeof(held));
    f->n_held = 0;
    for (size_t i = 0; i < n; i++) {
        fake_request(f, held[i]);
    }
}

static inline void fake_open(struct fake *f, uv_loop_t *loop, const char *dir, const char *name)
{
    struct http_server_opts o = { .on_request = fake_request, .ctx = f };
    struct err err;

    memset(f, 0, sizeof(*f));
    f->loop = loop;
    f->epoch = 1;
    f->incarnation = 7;
    f->revision = 100;
    (void)snprintf(f->endpoint, sizeof(f->endpoint), "unix:%s/%s.sock", dir, name);
    if (http_server_new(loop, &o, &f->server, &err) != 0 ||
        http_server_listen(f->server, f->endpoint, NULL, &f->address, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static inline void fake_close(struct fake *f)
{
    const char *key;
    void *v;

    http_server_close(f->server, NULL, NULL);
    for (size_t i = 0; i < f->n_held; i++) {
        http_respond(f->held[i], 503, NULL, "", 0, NULL, 0);
    }
    for (size_t i = 0; i < f->n_watches; i++) {
        if (f->watches[i] != NULL) {
            http_stream_end(f->watches[i]);
        }
    }
    for (size_t i = 0; map_next(&f->locks, &i, &key, &v);) {
        free(v);
    }
    for (size_t i = 0; map_next(&f->objects, &i, &key, &v);) {
        json_decref(v);
    }
    for (size_t i = 0; map_next(&f->reports, &i, &key, &v);) {
        json_decref(v);
    }
    map_done(&f->locks);
    map_done(&f->objects);
    map_done(&f->reports);
    json_decref(f->terms);
    json_decref(f->status);
}

/* --- picket-watchdog ---------------------------------------------------------------------------
 */

struct fake_wdog {
    int fd;
    char path[128];
    uv_poll_t listen;
    struct fake_wdog_conn *conn; /* the newest; NULL: none */
    struct wdog_core core;
    unsigned deadlines, arms, disarms;
};

struct fake_wdog_conn {
    struct fake_wdog *w;
    uv_poll_t poll;
    int fd;
};

static inline void fake_wdog_conn_closed(uv_handle_t *h)
{
    struct fake_wdog_conn *c = h->data;

    (void)close(c->fd);
    free(c);
}

static inline void fake_wdog_drop(struct fake_wdog_conn *c)
{
    if (c->w->conn == c) {
        c->w->conn = NULL;
    }
    uv_close((uv_handle_t *)&c->poll, fake_wdog_conn_closed);
}

static inline void fake_wdog_talk(uv_poll_t *p, int status, int events)
{
    struct fake_wdog_conn *c = p->data;
    struct fake_wdog *w = c->w;
    struct wdog_todo todo = { 0 };
    struct wdog_request rq;
    struct wdog_reply reply = { .magic = WDOG_MAGIC, .version = WDOG_VERSION };
    char msg[256];
    ssize_t n = recv(c->fd, msg, sizeof(msg), MSG_DONTWAIT);

    (void)status;
    (void)events;
    if (n <= 0) {
        fake_wdog_drop(c);
        return;
    }
    assert_int_equal(wdog_request_check(msg, (size_t)n, &rq), WDOG_OK);
    reply.code = (uint16_t)wdog_core_request(&w->core, &rq, clock_now_ms(), &todo);
    if (todo.arm) {
        wdog_core_armed(&w->core, &rq, WDOG_KIND_DEV, true, rq.timeout_ms, clock_now_ms(), &todo);
        w->arms++;
    }
    w->disarms += rq.op == WDOG_DISARM && reply.code == WDOG_OK;
    w->deadlines += rq.op == WDOG_SET_DEADLINE && reply.code == WDOG_OK;
    reply.seq = rq.seq;
    wdog_core_status(&w->core, &reply.status);
    (void)send(c->fd, &reply, sizeof(reply), MSG_NOSIGNAL);
}

static inline void fake_wdog_accept(uv_poll_t *p, int status, int events)
{
    struct fake_wdog *w = p->data;
    struct fake_wdog_conn *c = OBJ_NEW(struct fake_wdog_conn);

    (void)status;
    (void)events;
    c->w = w;
    c->fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(c->fd >= 0);
    assert_int_equal(uv_poll_init(p->loop, &c->poll, c->fd), 0);
    c->poll.data = c;
    w->conn = c;
    assert_int_equal(uv_poll_start(&c->poll, UV_READABLE, fake_wdog_talk), 0);
}

static inline void fake_wdog_open(struct fake_wdog *w, uv_loop_t *loop, const char *dir)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    memset(w, 0, sizeof(*w));
    wdog_core_init(&w->core, clock_now_ms());
    (void)snprintf(w->path, sizeof(w->path), "%s/wdog.sock", dir);
    assert_true(str_copy(a.sun_path, sizeof(a.sun_path), w->path));
    w->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(w->fd >= 0);
    assert_int_equal(bind(w->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(w->fd, 4), 0);
    assert_int_equal(uv_poll_init(loop, &w->listen, w->fd), 0);
    w->listen.data = w;
    assert_int_equal(uv_poll_start(&w->listen, UV_READABLE, fake_wdog_accept), 0);
}

static inline void fake_wdog_close(struct fake_wdog *w)
{
    uv_close((uv_handle_t *)&w->listen, NULL);
    if (w->conn != NULL) {
        fake_wdog_drop(w->conn);
    }
    (void)uv_run(w->listen.loop, UV_RUN_NOWAIT);
    (void)close(w->fd);
}

/* --- helpers -----------------------------------------------------------------------------------
 */

static inline void spin(uv_loop_t *loop)
{
    struct timespec nap = { 0, 1000000 };

    (void)uv_run(loop, UV_RUN_NOWAIT);
    (void)nanosleep(&nap, NULL);
}

static inline void spin_for(uv_loop_t *loop, uint64_t ms)
{
    uint64_t end = clock_now_ms() + ms;

    while (clock_now_ms() < end) {
        spin(loop);
    }
}

#define WAIT_FOR(loop, cond)                                                                       \
    do {                                                                                           \
        uint64_t wait_end = clock_now_ms() + FAKE_WAIT_MS;                                         \
        while (!(cond) && clock_now_ms() < wait_end) {                                             \
            spin(loop);                                                                            \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

static inline int fake_remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

#endif
