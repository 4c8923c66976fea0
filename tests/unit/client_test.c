/* The API client: configuration files, operations, errors, and the reflector against a small server
 * that can be made to misbehave. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/client.h"
#include "api/http_server.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"

#define CLUSTER "11111111-2222-4333-8444-555555555555"

static char test_dir[] = "/tmp/picket-api-XXXXXX";

static char *in_dir(const char *name)
{
    return mem_printf("%s/%s", test_dir, name);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* --- the server --- */

struct api {
    uv_loop_t loop;
    uv_timer_t guard;
    struct http_server *http;
    const char *address;
    struct api_client *client;
    uint64_t rev;
    json_t *objects;          /* name -> object */
    struct http_req *watcher; /* one at a time */
    char watch_from[32];      /* resourceVersion of the last watch */
    int lists, watches, closed;
    int compacted;  /* answer so many watches with 410 */
    int failing;    /* answer so many requests with 500 */
    uint64_t lag;   /* lists pretend to be so much behind */
    char last[512]; /* method, target and body of the last other request */
    const char *content_type;
    char type_seen[64];
};

static void watcher_gone(struct http_req *req)
{
    struct api *a = req->data;

    if (a->watcher == req) {
        a->watcher = NULL;
    }
    http_stream_end(req);
}

static json_t *version_meta(uint64_t rev)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRIu64, rev);
    return json_pack("{s:s}", "resourceVersion", text);
}

static void serve_list(struct api *a, struct http_req *req)
{
    json_t *items = json_array(), *list, *obj;
    const char *name;

    a->lists++;
    json_object_foreach (a->objects, name, obj) {
        (void)json_array_append(items, obj);
    }
    list = json_pack("{s:s, s:o, s:o}", "kind", "List", "metadata", version_meta(a->rev - a->lag),
                     "items", items);
    if (a->lag > 0) {
        a->lag = 0;
    }
    http_respond_json(req, 200, list);
    json_decref(list);
}

static void serve_watch(struct api *a, struct http_req *req)
{
    struct err err;

    a->watches++;
    (void)str_copy(a->watch_from, sizeof(a->watch_from), http_req_query(req, "resourceVersion"));
    assert_string_equal(http_req_query(req, "allowWatchBookmarks"), "true");
    if (a->compacted > 0) {
        a->compacted--;
        (void)err_set(&err, ERR_COMPACTED, "too old");
        http_respond_err(req, &err);
        return;
    }
    assert_null(a->watcher);
    req->on_abort = watcher_gone;
    req->data = a;
    a->watcher = req;
    http_stream_begin(req, 200, "application/json", NULL, 0);
}

static void serve_other(struct api *a, struct http_req *req)
{
    const struct http_header warnings[] = { { "Warning", "299 - \"spec.x is \\\"old\\\"\"" },
                                            { "Warning", "299 - \"second\"" } };
    const char *type = http_req_header(req, "Content-Type");
    struct err err;

    (void)snprintf(a->last, sizeof(a->last), "%s %s %.*s", req->method, req->target, (int)req->len,
                   (const char *)req->body);
    (void)str_copy(a->type_seen, sizeof(a->type_seen), type == NULL ? "" : type);
    if (str_ends(req->path, "/missing")) {
        (void)err_set(&err, ERR_NOT_FOUND, "vms \"missing\" not found");
        http_respond_err(req, &err);
    } else if (str_ends(req->path, "/stale")) {
        (void)err_set(&err, ERR_STALE, "token 3 is not 4");
        http_respond_err(req, &err);
    } else if (str_ends(req->path, "/text")) {
        http_respond(req, 502, "text/plain", "no\nway", 6, NULL, 0);
    } else if (str_ends(req->path, "/nojson")) {
        http_respond(req, 200, "text/plain", "<html>", 6, NULL, 0);
    } else if (str_ends(req->path, "/nothing")) {
        http_respond(req, 204, NULL, NULL, 0, NULL, 0);
    } else {
        http_respond(req, 200, "application/json", "{\"ok\":true}", 11, warnings, 2);
    }
}

static void serve(void *ctx, struct http_req *req)
{
    struct api *a = ctx;
    struct err err;

    if (a->failing > 0) {
        a->failing--;
        (void)err_set(&err, ERR_SYS, "disk on fire");
        http_respond_err(req, &err);
    } else if (str_eq(req->method, "GET") && str_eq(req->path, API_PREFIX "/vms")) {
        if (str_eq(http_req_query(req, "watch"), "true")) {
            serve_watch(a, req);
        } else {
            serve_list(a, req);
        }
    } else {
        serve_other(a, req);
    }
}

static void emit(struct api *a, const char *type, json_t *obj)
{
    json_t *ev = json_pack("{s:s, s:O}", "type", type, "object", obj);
    char *text = json_dumps(ev, JSON_COMPACT);

    if (a->watcher != NULL) {
        (void)http_stream_write(a->watcher, text, strlen(text));
        (void)http_stream_write(a->watcher, "\n", 1);
    }
    free(text);
    json_decref(ev);
}

/* Store an object under the revision a->rev (raise it first, unless it is the same transaction). */
static void put(struct api *a, const char *name, int value)
{
    bool is_new = json_object_get(a->objects, name) == NULL;
    json_t *obj = json_pack("{s:o, s:i}", "metadata", version_meta(a->rev), "value", value);

    (void)json_object_set_new(json_object_get(obj, "metadata"), "name", json_string(name));
    emit(a, is_new ? "ADDED" : "MODIFIED", obj);
    (void)json_object_set_new(a->objects, name, obj);
}

static void del(struct api *a, const char *name)
{
    json_t *obj = json_incref(json_object_get(a->objects, name));
    json_t *meta = version_meta(++a->rev);

    (void)json_object_set_new(meta, "name", json_string(name));
    (void)json_object_set_new(obj, "metadata", meta);
    (void)json_object_del(a->objects, name);
    emit(a, "DELETED", obj);
    json_decref(obj);
}

static void bookmark(struct api *a)
{
    json_t *obj = json_pack("{s:o}", "metadata", version_meta(a->rev));

    emit(a, "BOOKMARK", obj);
    json_decref(obj);
}

static void end_watch(struct api *a)
{
    struct http_req *req = a->watcher;

    assert_non_null(req);
    a->watcher = NULL;
    http_stream_end(req);
}

/* --- the world --- */

static void on_guard(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static void turn(struct api *a)
{
    static int n_dead;

    n_dead = uv_run(&a->loop, UV_RUN_ONCE) == 0 ? n_dead + 1 : 0;
    assert_true(n_dead < 3);
}

static void start_server(struct api *a)
{
    struct http_server_opts opts = { .on_request = serve, .ctx = a };
    struct err err;
    char *unix_address = mem_printf("unix:%s/api.sock", test_dir);

    assert_int_equal(http_server_new(&a->loop, &opts, &a->http, &err), 0);
    assert_int_equal(http_server_listen(a->http, unix_address, NULL, &a->address, &err), 0);
    free(unix_address);
}

static void api_open(struct api *a)
{
    struct api_config *cfg = NULL;
    struct err err;

    memset(a, 0, sizeof(*a));
    a->rev = 100;
    a->objects = json_object();
    assert_int_equal(uv_loop_init(&a->loop), 0);
    assert_int_equal(uv_timer_init(&a->loop, &a->guard), 0);
    assert_int_equal(uv_timer_start(&a->guard, on_guard, 60000, 0), 0);
    uv_unref((uv_handle_t *)&a->guard);
    start_server(a);
    assert_int_equal(api_config_make(a->address, NULL, NULL, NULL, NULL, &cfg, &err), 0);
    assert_int_equal(api_client_new(&a->loop, cfg, &a->client, &err), 0);
    api_config_free(cfg);
}

static void stop_server(struct api *a)
{
    struct http_req *req = a->watcher;

    a->watcher = NULL;
    http_server_close(a->http, NULL, NULL);
    a->http = NULL;
    if (req != NULL) {
        http_stream_end(req);
    }
}

static void on_closed(void *ctx)
{
    struct api *a = ctx;

    a->closed++;
}

static void api_done(struct api *a)
{
    api_client_close(a->client, on_closed, a);
    if (a->http != NULL) {
        stop_server(a);
    }
    uv_close((uv_handle_t *)&a->guard, NULL);
    assert_int_equal(uv_run(&a->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&a->loop), 0);
    assert_int_equal(a->closed, 1);
    json_decref(a->objects);
}

/* --- operations --- */

static void on_warning(void *ctx, const char *text)
{
    struct buf *b = ctx;

    buf_printf(b, "%s;", text);
}

static void test_operations(void **state)
{
    struct api a;
    struct buf warnings = { 0 };
    struct err err;
    json_t *obj = NULL, *body = json_pack("{s:s}", "a", "b");
    struct api_op op = { .method = "GET", .plural = "vms", .name = "web 1" };

    (void)state;
    api_open(&a);
    api_client_on_warning(a.client, on_warning, &warnings);
    assert_int_equal(api_run(a.client, &op, &obj, &err), 0);
    assert_true(json_is_true(json_object_get(obj, "ok")));
    json_decref(obj);
    assert_string_equal(a.last, "GET " API_PREFIX "/vms/web%201 ");
    assert_string_equal(buf_cstr(&warnings), "spec.x is \"old\";second;");
    op = (struct api_op){ .method = "PATCH",
                          .plural = "vms",
                          .name = "web",
                          .sub = "status",
                          .query = "dryRun=All",
                          .content_type = "application/merge-patch+json",
                          .body = body };
    assert_int_equal(api_run(a.client, &op, NULL, &err), 0);
    assert_string_equal(a.last, "PATCH " API_PREFIX "/vms/web/status?dryRun=All {\"a\":\"b\"}");
    assert_string_equal(a.type_seen, "application/merge-patch+json");
    op = (struct api_op){ .method = "POST", .target = "/v3/kv/put?x=y", .body = body };
    assert_int_equal(api_run(a.client, &op, NULL, &err), 0);
    assert_string_equal(a.last, "POST /v3/kv/put?x=y {\"a\":\"b\"}");
    assert_string_equal(a.type_seen, "application/json");
    op = (struct api_op){ .method = "DELETE", .plural = "vms", .name = "nothing" };
    assert_int_equal(api_run(a.client, &op, &obj, &err), 0);
    assert_null(obj);
    json_decref(body);
    buf_done(&warnings);
    api_done(&a);
}

static void expect_error(struct api *a, const char *name, int code, int http, const char *text)
{
    struct api_op op = { .method = "GET", .plural = "vms", .name = name };
    struct err err = { 0 };
    json_t *obj = NULL;

    assert_int_equal(api_run(a->client, &op, &obj, &err), code);
    assert_int_equal(err.native, http);
    if (strstr(err.msg, text) == NULL) {
        fail_msg("%s: %s", name, err.msg);
    }
    assert_null(obj);
}

static void test_errors(void **state)
{
    struct http_reply reply = { .status = 409, .body = (const uint8_t *)"", .len = 0 };
    struct err err;
    struct api a;

    (void)state;
    api_open(&a);
    expect_error(&a, "missing", ERR_NOT_FOUND, 404, "vms \"missing\" not found");
    expect_error(&a, "stale", ERR_STALE, 409, "token 3 is not 4"); /* not merely a Conflict */
    expect_error(&a, "text", ERR_DRIVER, 502, "HTTP 502 Bad Gateway: no");
    expect_error(&a, "nojson", ERR_SYS, 0, "not JSON");
    api_done(&a);
    assert_int_equal(api_error_from_reply(&reply, &err), ERR_EXISTS);
    reply.status = 504;
    assert_int_equal(api_error_from_reply(&reply, &err), ERR_UNKNOWN_OUTCOME);
    reply.status = 500;
    assert_int_equal(api_error_from_reply(&reply, &err), ERR_SYS);
    reply.status = 418;
    assert_int_equal(api_error_from_reply(&reply, &err), ERR_BAD_REQUEST);
    reply.status = 599;
    assert_int_equal(api_error_from_reply(&reply, &err), ERR_SYS);
    reply.status = 409;
    reply.body = (const uint8_t *)"{\"kind\":\"Status\",\"reason\":\"Conflict\",\"code\":409}";
    reply.len = strlen((const char *)reply.body);
    assert_int_equal(api_error_from_reply(&reply, &err), ERR_CONFLICT);
}

static void never_cb(void *data, const struct err *err, json_t *obj)
{
    (void)data;
    (void)err;
    (void)obj;
    fail_msg("called after a cancel");
}

static void test_cancel(void **state)
{
    struct api a;

    (void)state;
    api_open(&a);
    api_cancel(api_get(a.client, "vms", "x", never_cb, NULL));
    (void)api_create(a.client, "vms", a.objects, never_cb, NULL);
    api_done(&a); /* with one under way */
}

/* --- the reflector --- */

/* A copy kept by the reflector's callbacks. */
struct mirror {
    struct api *a;
    struct api_watch *w;
    json_t *objects; /* name -> value */
    json_t *seen;    /* during a list */
    int begins, syncs, events, connects, disconnects;
    struct err err;
    bool free_on_object;
    bool free_on_disconnect;
};

static void m_begin(void *data)
{
    struct mirror *m = data;

    m->begins++;
    json_decref(m->seen);
    m->seen = json_object();
}

static void m_object(void *data, enum api_event type, json_t *obj)
{
    struct mirror *m = data;
    const char *name = json_string_value(json_object_get(json_object_get(obj, "metadata"), "name"));

    assert_non_null(m->w);
    m->events++;
    if (type == API_DELETED) {
        (void)json_object_del(m->objects, name);
    } else {
        (void)json_object_set(m->objects, name, json_object_get(obj, "value"));
        if (m->seen != NULL) {
            (void)json_object_set_new(m->seen, name, json_true());
        }
    }
    if (m->free_on_object) {
        api_watch_free(m->w);
        m->w = NULL;
    }
}

static void m_synced(void *data)
{
    struct mirror *m = data;
    json_t *value;
    const char *name;
    void *tmp;

    m->syncs++;
    json_object_foreach_safe(m->objects, tmp, name, value)
    {
        if (json_object_get(m->seen, name) == NULL) {
            (void)json_object_del(m->objects, name);
        }
    }
    json_decref(m->seen);
    m->seen = NULL;
}

static void m_connected(void *data)
{
    struct mirror *m = data;

    m->connects++;
}

static void m_disconnected(void *data, const struct err *err)
{
    struct mirror *m = data;

    m->disconnects++;
    m->err = *err;
    if (m->free_on_disconnect) {
        api_watch_free(m->w);
        m->w = NULL;
    }
}

static const struct api_watch_cbs mirror_cbs = { .on_sync_begin = m_begin,
                                                 .on_object = m_object,
                                                 .on_synced = m_synced,
                                                 .on_connected = m_connected,
                                                 .on_disconnected = m_disconnected };

static void mirror_open(struct mirror *m, struct api *a)
{
    memset(m, 0, sizeof(*m));
    m->a = a;
    m->objects = json_object();
    m->w = api_watch_new(a->client, "vms", &mirror_cbs, m);
    assert_false(api_watch_synced(m->w));
}

static void mirror_done(struct mirror *m)
{
    json_decref(m->objects);
    json_decref(m->seen);
}

static void wait_for(struct api *a, const int *what, int n)
{
    while (*what < n) {
        turn(a);
    }
}

/* Both sides hold the same. */
static bool mirror_equal(struct mirror *m)
{
    json_t *obj;
    const char *name;

    if (json_object_size(m->objects) != json_object_size(m->a->objects)) {
        return false;
    }
    json_object_foreach (m->a->objects, name, obj) {
        if (!json_equal(json_object_get(obj, "value"), json_object_get(m->objects, name))) {
            return false;
        }
    }
    return true;
}

static void wait_equal(struct mirror *m)
{
    while (!mirror_equal(m)) {
        turn(m->a);
    }
}

static void test_reflector(void **state)
{
    struct mirror m;
    struct api a;

    (void)state;
    api_open(&a);
    a.rev = 101;
    put(&a, "one", 1);
    a.rev = 102;
    put(&a, "two", 2);
    mirror_open(&m, &a);
    wait_for(&a, &m.connects, 1);
    assert_int_equal(m.begins, 1);
    assert_int_equal(m.syncs, 1);
    assert_true(mirror_equal(&m));
    assert_true(api_watch_synced(m.w));
    assert_string_equal(a.watch_from, "102");
    a.rev++;
    put(&a, "three", 3);
    a.rev++;
    put(&a, "one", 10);
    del(&a, "two");
    wait_equal(&m);
    assert_int_equal(m.syncs, 1);
    assert_string_equal(api_watch_version(m.w), "105");
    api_watch_free(m.w);
    api_done(&a);
    assert_int_equal(m.disconnects, 0);
    mirror_done(&m);
}

/* The stream ends or breaks: go on where it was, without another list, losing nothing. */
static void test_reflector_reconnects(void **state)
{
    struct mirror m;
    struct api a;

    (void)state;
    api_open(&a);
    mirror_open(&m, &a);
    wait_for(&a, &m.connects, 1);
    a.rev = 150;
    bookmark(&a);
    end_watch(&a);
    wait_for(&a, &m.connects, 2);
    assert_string_equal(a.watch_from, "150"); /* the bookmark counted */
    assert_int_equal(m.disconnects, 0);       /* an orderly end is no failure */
    /* Half a transaction, then a break: resume before it. */
    a.rev = 151;
    put(&a, "x", 1);
    wait_equal(&m);
    stop_server(&a);
    wait_for(&a, &m.disconnects, 1);
    assert_false(api_watch_synced(m.w));
    start_server(&a);
    wait_for(&a, &m.connects, 3);
    assert_string_equal(a.watch_from, "150");
    put(&a, "x", 1);
    put(&a, "y", 2);
    wait_equal(&m);
    assert_int_equal(m.disconnects, 1);
    assert_int_equal(a.lists, 1);
    api_done(&a); /* with the watch alive: it goes with the client */
    mirror_done(&m);
}

/* 410: list again, and drop what is gone. */
static void test_reflector_compacted(void **state)
{
    struct mirror m;
    struct api a;
    json_t *status;

    (void)state;
    api_open(&a);
    put(&a, "old", 1);
    put(&a, "kept", 2);
    a.compacted = 1;
    mirror_open(&m, &a);
    wait_for(&a, &m.connects, 1);
    assert_int_equal(a.lists, 2);
    assert_int_equal(m.syncs, 2);
    assert_int_equal(m.disconnects, 1);
    assert_int_equal(m.err.code, ERR_COMPACTED);
    /* The same inside the stream. */
    a.rev += 50;
    (void)json_object_del(a.objects, "old");
    status = json_pack("{s:s, s:s, s:i, s:s}", "kind", "Status", "reason", "Expired", "code", 410,
                       "message", "gone");
    emit(&a, "ERROR", status);
    json_decref(status);
    wait_for(&a, &m.syncs, 3);
    assert_true(mirror_equal(&m));
    assert_int_equal(m.begins, 3);
    api_done(&a);
    mirror_done(&m);
}

/* A server that makes no sense, or is behind what was seen, is not believed. */
static void test_reflector_distrusts(void **state)
{
    struct mirror m;
    struct api a;

    (void)state;
    api_open(&a);
    a.failing = 2;
    mirror_open(&m, &a);
    wait_for(&a, &m.connects, 1);
    assert_int_equal(m.disconnects, 1); /* told once, tried three times */
    assert_int_equal(m.err.code, ERR_SYS);
    (void)http_stream_write(a.watcher, "garbage\n", 8);
    wait_for(&a, &m.disconnects, 2);
    wait_for(&a, &m.connects, 2);
    assert_int_equal(a.lists, 2);
    a.rev = 200;
    put(&a, "x", 1);
    wait_equal(&m);
    a.rev = 90; /* an event that goes back in time, and then a list that does */
    a.lag = 0;
    put(&a, "x", 2);
    wait_for(&a, &m.disconnects, 3);
    assert_int_equal(a.lists, 2);
    wait_for(&a, &a.lists, 4);
    assert_int_equal(m.syncs, 2); /* lists at 90 are refused, again and again */
    assert_false(mirror_equal(&m));
    a.rev = 201;
    wait_for(&a, &m.connects, 3);
    assert_true(mirror_equal(&m));
    api_done(&a);
    mirror_done(&m);
}

static void test_reflector_freed_in_callbacks(void **state)
{
    struct mirror m;
    struct api a;

    (void)state;
    api_open(&a);
    put(&a, "one", 1);
    put(&a, "two", 2);
    mirror_open(&m, &a);
    m.free_on_object = true; /* in the list */
    wait_for(&a, &m.events, 1);
    assert_null(m.w);
    mirror_done(&m);

    mirror_open(&m, &a);
    wait_for(&a, &m.connects, 1);
    m.free_on_object = true; /* in the stream */
    m.events = 0;
    a.rev++;
    put(&a, "one", 3);
    put(&a, "two", 4);
    wait_for(&a, &m.events, 1);
    mirror_done(&m);
    while (a.watcher != NULL) {
        turn(&a);
    }

    mirror_open(&m, &a);
    wait_for(&a, &m.connects, 1);
    m.free_on_disconnect = true;
    (void)http_stream_write(a.watcher, "[]\n", 3);
    wait_for(&a, &m.disconnects, 1);
    mirror_done(&m);
    api_done(&a);
}

/* --- configuration --- */

static void make_certs(void)
{
    struct pki_subject s = { .role = "picket:admins", .name = "root", .cluster = CLUSTER };
    char *crt = in_dir("u.crt"), *key = in_dir("u.key");
    struct err err;

    assert_int_equal(pki_make_ca(test_dir, CLUSTER, &err), 0);
    assert_int_equal(pki_issue(test_dir, &s, crt, key, &err), 0);
    free(crt);
    free(key);
}

static void test_config_round_trip(void **state)
{
    char *path = in_dir("conf"), *crt = in_dir("u.crt"), *key = in_dir("u.key");
    char *ca = in_dir("ca.crt"), *none = in_dir("none");
    struct api_config *cfg = NULL;
    struct stat st;
    struct err err;

    (void)state;
    for (int i = 0; i < 2; i++) { /* the second time it is replaced */
        assert_int_equal(api_config_write(path, "home", "10.0.0.1:7443,[fd00::1]:7443", crt, key,
                                          ca, CLUSTER, &err),
                         0);
    }
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    if (api_config_load(path, NULL, &cfg, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(cfg->n_servers, 2);
    assert_string_equal(cfg->servers[0], "10.0.0.1:7443");
    assert_string_equal(cfg->servers[1], "[fd00::1]:7443");
    assert_string_equal(cfg->cluster_id, CLUSTER);
    assert_string_equal(cfg->user, "home");
    assert_string_equal(cfg->context, "home");
    assert_non_null(cfg->tls);
    api_config_free(cfg);
    assert_int_equal(api_config_load(path, "away", &cfg, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "away"));
    /* By the environment. */
    assert_int_equal(setenv("PICKETCONFIG", path, 1), 0);
    assert_int_equal(api_config_load(NULL, NULL, &cfg, &err), 0);
    api_config_free(cfg);
    assert_int_equal(setenv("PICKETCONFIG", none, 1), 0);
    assert_int_equal(api_config_load(NULL, NULL, &cfg, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, none));
    assert_int_equal(unsetenv("PICKETCONFIG"), 0);
    assert_int_equal(api_config_write(path, "x", "a:1", none, key, ca, CLUSTER, &err),
                     ERR_NOT_FOUND);
    free(path);
    free(crt);
    free(key);
    free(ca);
    free(none);
}

/* A label of 70 bytes cannot be a name: refused by the resolver itself, without asking anybody. */
#define NO_NAME "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.net"

/* What kubectl writes, with file names and one server. */
static void test_config_kubeconfig(void **state)
{
    char *path = in_dir("kube");
    struct api_config *cfg = NULL;
    struct err err;

    (void)state;
    write_file(path,
               "apiVersion: v1\nkind: Config\npreferences: {}\ncurrent-context: c\n"
               "clusters:\n"
               "- name: other\n  cluster: {server: https://other:1}\n"
               "- name: s\n  cluster: {extensions: [{name: picket, extension: {servers: "
               "'unix:/run/p, http://localhost:5'}}]}\n"
               "- name: l\n  cluster: {server: 'http://" NO_NAME "'}\n"
               "- cluster:\n    certificate-authority: ca.crt\n    server: https://10.0.0.9/\n"
               "  name: k\n"
               "contexts:\n"
               "- context: {cluster: k, namespace: default, user: u}\n  name: c\n"
               "- context: {cluster: s}\n  name: sock\n"
               "- context: {cluster: l}\n  name: lost\n"
               "users:\n"
               "- name: u\n  user: {client-certificate: u.crt, client-key: u.key}\n");
    if (api_config_load(path, NULL, &cfg, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(cfg->servers[0], "10.0.0.9:443");
    assert_null(cfg->cluster_id);
    assert_non_null(cfg->tls);
    api_config_free(cfg);
    assert_int_equal(api_config_load(path, "sock", &cfg, &err), 0);
    assert_string_equal(cfg->servers[0], "unix:/run/p");
    if (access("/etc/hosts", R_OK) == 0) { /* where "localhost" is */
        assert_true(str_ends(cfg->servers[1], ":5"));
        assert_false(str_starts(cfg->servers[1], "localhost"));
    } else {
        assert_null(cfg->servers[1]);
    }
    assert_null(cfg->tls);
    api_config_free(cfg);
    assert_int_equal(api_config_load(path, "lost", &cfg, &err), ERR_UNREACHABLE);
    assert_non_null(strstr(err.msg, NO_NAME));
    assert_int_equal(setenv("PICKET_ADDRESS_MAP", "/some/map", 1), 0);
    assert_int_equal(api_config_load(path, "lost", &cfg, &err), 0);
    assert_string_equal(cfg->servers[0], NO_NAME ":80");
    api_config_free(cfg);
    assert_int_equal(unsetenv("PICKET_ADDRESS_MAP"), 0);
    free(path);
}

static void test_config_mistakes(void **state)
{
#define HEAD "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
#define CTX "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
#define USR "users: [{name: u, user: {client-certificate: u.crt, client-key: u.key}}]\n"
    static const struct {
        const char *text, *says;
        int code;
    } cases[] = {
        { "", "document", ERR_INVALID },
        { "a: [", "bad", 0 },
        { "apiVersion: v1\nkind: Config\n", "current-context", ERR_INVALID },
        { HEAD, "no \"c\"", ERR_INVALID },
        { HEAD CTX, "no \"k\"", ERR_INVALID },
        { HEAD CTX "clusters: [{name: k, cluster: {}}]\n", "server is missing", ERR_INVALID },
        { HEAD CTX "clusters: [{name: k, cluster: {server: 'https://'}}]\n", "https://HOST:PORT",
          ERR_INVALID },
        { HEAD CTX "clusters: [{name: k, cluster: {server: 'https://a/path'}}]\n", "without a path",
          ERR_INVALID },
        { HEAD CTX "clusters: [{name: k, cluster: {server: 'https://a:1'}}]\n", "no \"u\"",
          ERR_INVALID },
        { HEAD CTX USR "clusters: [{name: k, cluster: {server: 'https://a:1'}}]\n",
          "certificate-authority", ERR_INVALID },
        { HEAD CTX USR "clusters: [{name: k, cluster: {server: 'https://a:1', "
                       "insecure-skip-tls-verify: true}}]\n",
          "insecure-skip-tls-verify", ERR_INVALID },
        { HEAD CTX USR "clusters: [{name: k, cluster: {server: 'https://a:1', "
                       "certificate-authority-data: '!!!'}}]\n",
          "base64", ERR_INVALID },
        { HEAD CTX USR "clusters: [{name: k, cluster: {server: 'https://a:1', "
                       "certificate-authority: none.crt}}]\n",
          "none.crt", ERR_NOT_FOUND },
        { HEAD CTX "clusters: [{name: k, cluster: {server: 'https://a:1', "
                   "certificate-authority: ca.crt}}]\nusers: [{name: u, user: {token: x}}]\n",
          "certificates only", ERR_INVALID },
        { HEAD CTX USR "clusters: [{name: k, cluster: {server: 'https://a:1', "
                       "certificate-authority: u.key}}]\n",
          "CA certificate", ERR_INVALID },
        { HEAD CTX USR "clusters: [{name: k, cluster: {server: x, extensions: [{name: picket, "
                       "extension: {servers: 'https://a:1,http://b:2'}}]}}]\n",
          "do not mix", ERR_INVALID },
    };
    char *path = in_dir("bad");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct api_config *cfg = NULL;
        struct err err = { 0 };
        int rc;

        write_file(path, cases[i].text);
        rc = api_config_load(path, NULL, &cfg, &err);
        assert_int_not_equal(rc, 0);
        if (rc != err.code || (cases[i].code != 0 && rc != cases[i].code) ||
            strstr(err.msg, cases[i].says) == NULL || strstr(err.msg, path) == NULL) {
            fail_msg("%zu: %d: %s", i, rc, err.msg);
        }
        assert_null(cfg);
    }
    free(path);
}

static void test_config_make(void **state)
{
    struct api_config *cfg = NULL;
    struct err err;

    (void)state;
    assert_int_equal(
        api_config_make("unix:///run/x, 10.0.0.1:1", NULL, NULL, NULL, NULL, &cfg, &err), 0);
    assert_int_equal(cfg->n_servers, 2);
    assert_string_equal(cfg->servers[0], "unix:/run/x");
    assert_string_equal(cfg->servers[1], "10.0.0.1:1");
    assert_null(cfg->tls);
    api_config_free(cfg);
    assert_int_equal(api_config_make("", NULL, NULL, NULL, NULL, &cfg, &err), ERR_INVALID);
    assert_int_equal(api_config_make("https://a:1", NULL, NULL, NULL, NULL, &cfg, &err),
                     ERR_INVALID);
}

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(test_dir) == NULL) {
        return -1;
    }
    make_certs();
    return 0;
}

static int teardown(void **state)
{
    char cmd[100];

    (void)state;
    (void)snprintf(cmd, sizeof(cmd), "rm -rf %s", test_dir);
    return system(cmd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_reflector),
        cmocka_unit_test(test_reflector_reconnects),
        cmocka_unit_test(test_reflector_compacted),
        cmocka_unit_test(test_reflector_distrusts),
        cmocka_unit_test(test_reflector_freed_in_callbacks),
        cmocka_unit_test(test_config_round_trip),
        cmocka_unit_test(test_config_kubeconfig),
        cmocka_unit_test(test_config_mistakes),
        cmocka_unit_test(test_config_make),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
