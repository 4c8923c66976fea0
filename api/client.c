/* Operations on objects: paths, JSON, errors, and running one to its end. */

#include "api/client.h"
#include "api/json_path.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "api/client_priv.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#define API_CALL_MAGIC 0xa91ca11dU
#define API_REPEAT_MS 30000U
#define API_PAUSE_MS 100
#define API_ROLE "picket:voters"
#define API_HOME_MS 3000 /* the first endpoint is the own host's: go back to it soon */

/* Around one http_call. */
struct api_call {
    unsigned magic;
    struct api_client *client;
    api_cb *cb;
    void *data;
    struct http_call *http;
    LIST_ENTRY(api_call) link;
};

/* --- errors --- */

static const struct {
    const char *name;
    int code;
} api_codes[] = {
#define API_CODE(name, value, http, retry, reason, text) { #name, name },
    ERR_TABLE(API_CODE)
#undef API_CODE
};

static int api_code_by_name(const char *name)
{
    for (size_t i = 0; name != NULL && i < ARRAY_LEN(api_codes); i++) {
        if (strcmp(api_codes[i].name, name) == 0) {
            return api_codes[i].code;
        }
    }
    return 0;
}

/* The first code of the table with that reason and status; 504 is thus an unknown outcome. */
static int api_code_by_reason(const char *reason, int status)
{
    if (status == 500) {
        return ERR_SYS; /* whatever it was, our disk is not corrupt */
    }
    for (size_t i = 0; i < ARRAY_LEN(api_codes); i++) {
        int code = api_codes[i].code;

        if (err_http(code) == status && (reason == NULL || str_eq(err_reason(code), reason))) {
            return code;
        }
    }
    return reason != NULL ? api_code_by_reason(NULL, status)
           : status < 500 ? ERR_BAD_REQUEST
                          : ERR_SYS;
}

int api_error_from_status(const json_t *status, struct err *err)
{
    const char *message = json_string_value(json_object_get(status, "message"));
    const char *reason = json_string_value(json_object_get(status, "reason"));
    int http = (int)json_integer_value(json_object_get(status, "code"));

    if (http < 400 || http > 599) {
        http = 500;
    }
    (void)err_set(err, api_code_by_reason(reason, http), "%s",
                  message != NULL ? message : http_status_text(http));
    err->native = http;
    err->origin = "http";
    return err->code;
}

int api_error_from_item(const json_t *item, struct err *err)
{
    int code = api_code_by_name(json_string_value(json_object_get(item, "error")));
    const char *message = json_string_value(json_object_get(item, "message"));

    code = code != 0 ? code : ERR_UNKNOWN_OUTCOME;
    (void)err_set(err, code, "%s", message != NULL ? message : err_text(code));
    err->native = err_http(code);
    err->origin = "http";
    return code;
}

int api_error_from_reply(const struct http_reply *reply, struct err *err)
{
    int named = api_code_by_name(http_header_get(&reply->headers, HTTP_ERROR_HEADER));
    json_t *status = json_loadb((const char *)reply->body, reply->len, 0, NULL);

    if (str_eq(json_string_value(json_object_get(status, "kind")), "Status")) {
        (void)api_error_from_status(status, err);
    } else {
        int len = (int)strcspn((const char *)reply->body, "\r\n");

        (void)err_set(err, api_code_by_reason(NULL, reply->status), "HTTP %d %s%s%.*s",
                      reply->status, http_status_text(reply->status), len > 0 ? ": " : "",
                      len > 200 ? 200 : len, (const char *)reply->body);
    }
    err->native = reply->status;
    err->origin = "http";
    if (named != 0) {
        err->code = named;
    }
    json_decref(status);
    return err->code;
}

/* --- the client --- */

int api_client_new(uv_loop_t *loop, const struct api_config *cfg, struct api_client **ret,
                   struct err *err)
{
    struct http_client_opts opts = { .home_ms = API_HOME_MS,
                                     .endpoints = (const char *const *)cfg->servers,
                                     .n_endpoints = cfg->n_servers,
                                     .tls = cfg->tls,
                                     .want_role = API_ROLE };
    struct api_client *c = OBJ_NEW(struct api_client);
    int rc;

    c->magic = API_CLIENT_MAGIC;
    c->loop = loop;
    LIST_INIT(&c->calls);
    LIST_INIT(&c->watches);
    rc = http_client_new(loop, &opts, &c->http, err);
    if (rc != 0) {
        free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

static void api_http_closed_cb(void *ctx)
{
    struct api_client *c;

    OBJ_FROM(c, ctx, API_CLIENT_MAGIC);
    c->http_closed = true;
    api_client_maybe_free(c);
}

void api_client_maybe_free(struct api_client *c)
{
    void (*on_closed)(void *ctx) = c->on_closed;
    void *ctx = c->closed_ctx;

    if (!c->http_closed || c->n_watches > 0) {
        return;
    }
    c->magic = 0;
    free(c);
    if (on_closed != NULL) {
        on_closed(ctx);
    }
}

void api_client_close(struct api_client *c, void (*on_closed)(void *ctx), void *ctx)
{
    struct api_call *call;

    OBJ_CHECK(c, API_CLIENT_MAGIC);
    c->on_closed = on_closed;
    c->closed_ctx = ctx;
    while (!LIST_EMPTY(&c->watches)) {
        api_watch_free(LIST_FIRST(&c->watches));
    }
    http_client_close(c->http, api_http_closed_cb, c);
    while ((call = LIST_FIRST(&c->calls)) != NULL) {
        LIST_REMOVE(call, link);
        free(call);
    }
}

struct http_client *api_client_http(struct api_client *c)
{
    OBJ_CHECK(c, API_CLIENT_MAGIC);
    return c->http;
}

void api_client_on_warning(struct api_client *c, void (*fn)(void *ctx, const char *text), void *ctx)
{
    OBJ_CHECK(c, API_CLIENT_MAGIC);
    c->on_warning = fn;
    c->warning_ctx = ctx;
}

/* Warning: 299 - "text" (RFC 7234 section 5.5), with \" and \\ escaped. */
static void api_warn(struct api_client *c, const char *value)
{
    const char *open = strchr(value, '"');
    struct buf b = { 0 };

    if (open == NULL) {
        return;
    }
    for (const char *p = open + 1; *p != '\0' && *p != '"'; p++) {
        if (*p == '\\' && p[1] != '\0') {
            p++;
        }
        buf_add_byte(&b, (uint8_t)*p);
    }
    c->on_warning(c->warning_ctx, buf_cstr(&b));
    buf_done(&b);
}

static void api_warnings(struct api_client *c, const struct http_headers *headers)
{
    for (size_t i = 0; i < headers->count && c->on_warning != NULL; i++) {
        if (strcasecmp(headers->items[i].name, "Warning") == 0) {
            api_warn(c, headers->items[i].value);
        }
    }
}

/* --- one operation --- */

static int api_read_reply(const struct http_reply *reply, json_t **ret, struct err *err)
{
    json_error_t where;

    if (reply->status < 200 || reply->status > 299) {
        return api_error_from_reply(reply, err);
    }
    *ret = NULL;
    if (reply->len == 0) {
        return 0;
    }
    *ret = json_load_quick((const char *)reply->body, reply->len, JSON_DECODE_ANY, &where);
    if (*ret == NULL) {
        return err_set(err, ERR_SYS, "the server's answer is not JSON: %s", where.text);
    }
    return 0;
}

static void api_reply_cb(void *data, const struct err *err, const struct http_reply *reply)
{
    struct api_call *call;
    json_t *obj = NULL;
    struct err mine;
    void *cb_data;
    api_cb *cb;

    OBJ_FROM(call, data, API_CALL_MAGIC);
    if (reply != NULL) {
        api_warnings(call->client, &reply->headers);
        err = api_read_reply(reply, &obj, &mine) != 0 ? &mine : NULL;
    }
    cb = call->cb;
    cb_data = call->data;
    LIST_REMOVE(call, link);
    call->magic = 0;
    free(call);
    cb(cb_data, err, obj);
    json_decref(obj);
}

static void api_path(struct buf *b, const struct api_op *op)
{
    CHECK(op->plural != NULL);
    buf_add_str(b, API_PREFIX "/");
    http_escape(b, op->plural);
    if (op->name != NULL) {
        buf_add_byte(b, '/');
        http_escape(b, op->name);
    }
    if (op->sub != NULL) {
        buf_add_byte(b, '/');
        http_escape(b, op->sub);
    }
    if (op->query != NULL && op->query[0] != '\0') {
        buf_add_byte(b, '?');
        buf_add_str(b, op->query);
    }
}

struct http_call *api_start(struct api_client *c, const struct api_op *op, api_cb *cb, void *data)
{
    struct http_header headers[2] = {
        { "Accept", op->accept != NULL ? op->accept : "application/json" },
        { "Picket-Request-Id", op->request_id },
    };
    struct http_call_args a = { .method = op->method,
                                .headers = headers,
                                .n_headers = op->request_id != NULL ? 2 : 1,
                                .timeout_ms = op->timeout_ms,
                                .patience_ms = op->patience_ms,
                                .repeatable = op->repeatable };
    struct api_call *call = OBJ_NEW(struct api_call);
    struct buf path = { 0 };
    char *body = NULL;

    OBJ_CHECK(c, API_CLIENT_MAGIC);
    if (op->target == NULL) {
        api_path(&path, op);
    }
    a.target = op->target != NULL ? op->target : buf_cstr(&path);
    if (op->body != NULL) {
        body = json_dumps(op->body, JSON_COMPACT | JSON_ENCODE_ANY);
        CHECK(body != NULL);
        a.body = body;
        a.len = strlen(body);
        a.content_type = op->content_type != NULL ? op->content_type : "application/json";
    }
    call->magic = API_CALL_MAGIC;
    call->client = c;
    call->cb = cb;
    call->data = data;
    call->http = http_call(c->http, &a, api_reply_cb, call);
    LIST_INSERT_HEAD(&c->calls, call, link);
    free(body);
    buf_done(&path);
    return call->http;
}

void api_cancel(struct http_call *http)
{
    struct api_call *call;

    OBJ_FROM(call, http_call_data(http), API_CALL_MAGIC);
    http_call_cancel(http);
    LIST_REMOVE(call, link);
    call->magic = 0;
    free(call);
}

struct api_run {
    bool done;
    struct err err;
    json_t *obj;
};

static void api_run_cb(void *data, const struct err *err, json_t *obj)
{
    struct api_run *run = data;

    run->done = true;
    if (err != NULL) {
        run->err = *err;
    } else {
        run->obj = json_incref(obj);
    }
}

/* Writes that the server executes once under an id. */
static bool api_has_identity(const struct api_op *op)
{
    return strcmp(op->method, "GET") != 0 &&
           (op->target == NULL || str_eq(op->target, API_PREFIX "/apply"));
}

static void api_run_once(struct api_client *c, const struct api_op *op, struct api_run *run)
{
    *run = (struct api_run){ .done = false };
    (void)api_start(c, op, api_run_cb, run);
    while (!run->done) {
        (void)uv_run(c->loop, UV_RUN_ONCE);
    }
}

int api_run(struct api_client *c, const struct api_op *op, json_t **ret_obj, struct err *err)
{
    uint64_t until = clock_now_ms() + API_REPEAT_MS;
    struct api_op mine = *op;
    struct api_run run;
    char id[37];

    if (mine.request_id == NULL && api_has_identity(op)) {
        clock_uuid(id);
        mine.request_id = id;
    }
    api_run_once(c, &mine, &run);
    while (run.err.code == ERR_UNKNOWN_OUTCOME && mine.request_id != NULL &&
           clock_now_ms() < until) {
        (void)poll(NULL, 0, API_PAUSE_MS);
        api_run_once(c, &mine, &run);
    }
    if (run.err.code != 0) {
        *err = run.err;
        return err->code;
    }
    if (ret_obj != NULL) {
        *ret_obj = run.obj;
    } else {
        json_decref(run.obj);
    }
    return 0;
}

/* --- shorthands --- */

struct http_call *api_get(struct api_client *c, const char *plural, const char *name, api_cb *cb,
                          void *data)
{
    struct api_op op = { .method = "GET", .plural = plural, .name = name };

    CHECK(name != NULL);
    return api_start(c, &op, cb, data);
}

struct http_call *api_list(struct api_client *c, const char *plural, const char *query, api_cb *cb,
                           void *data)
{
    struct api_op op = { .method = "GET", .plural = plural, .query = query };

    return api_start(c, &op, cb, data);
}

struct http_call *api_create(struct api_client *c, const char *plural, const json_t *obj,
                             api_cb *cb, void *data)
{
    struct api_op op = { .method = "POST", .plural = plural, .body = obj };

    return api_start(c, &op, cb, data);
}

struct http_call *api_update(struct api_client *c, const char *plural, const char *name,
                             const char *sub, const json_t *obj, api_cb *cb, void *data)
{
    struct api_op op = { .method = "PUT", .plural = plural, .name = name, .sub = sub, .body = obj };

    CHECK(name != NULL);
    return api_start(c, &op, cb, data);
}

struct http_call *api_patch(struct api_client *c, const char *plural, const char *name,
                            const char *sub, const char *content_type, const char *query,
                            const json_t *patch, api_cb *cb, void *data)
{
    struct api_op op = { .method = "PATCH",
                         .plural = plural,
                         .name = name,
                         .sub = sub,
                         .content_type = content_type,
                         .query = query,
                         .body = patch };

    CHECK(name != NULL);
    return api_start(c, &op, cb, data);
}

struct http_call *api_delete(struct api_client *c, const char *plural, const char *name,
                             const json_t *options, api_cb *cb, void *data)
{
    struct api_op op = { .method = "DELETE", .plural = plural, .name = name, .body = options };

    CHECK(name != NULL);
    return api_start(c, &op, cb, data);
}
