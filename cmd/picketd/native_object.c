/* Objects over the native protocol: the handlers of the HTTP API answer into frames, so that
 * validation and rights are the same by construction. */

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/native_priv.h"

static void sink_respond(void *ctx, int status, const char *error, const void *body, size_t len)
{
    struct native_work *w = ctx;
    struct native_ans a = { .kind = NATIVE_REPLY, .number = (uint64_t)status };

    w->http = NULL;
    if (error != NULL) {
        a.text = (struct native_bytes){ (const uint8_t *)error, strlen(error) };
    }
    a.body = (struct native_bytes){ len == 0 ? (const uint8_t *)"" : body, len };
    native_answer(w, &a);
}

static void sink_begin(void *ctx, int status)
{
    struct native_work *w = ctx;
    struct native_ans a = { .kind = NATIVE_REPLY, .number = (uint64_t)status };

    native_say(w, &a);
}

static bool sink_write(void *ctx, const void *data, size_t len)
{
    struct native_work *w = ctx;
    struct native_conn *c = w->conn;
    struct native_ans a = { .kind = NATIVE_PIECE };

    a.body = (struct native_bytes){ data, len };
    if (!c->closing) {
        native_say(w, &a);
    }
    return !native_blocked(c);
}

static void sink_end(void *ctx)
{
    struct native_work *w = ctx;
    struct native_ans a = { .kind = NATIVE_END };

    w->http = NULL;
    native_answer(w, &a);
}

static const struct http_sink object_sink = {
    .respond = sink_respond,
    .begin = sink_begin,
    .write = sink_write,
    .end = sink_end,
};

static bool path_allowed(const char *path)
{
    return str_starts(path, "/apis/" API_VERSION "/") || str_eq(path, "/cluster") ||
           str_eq(path, "/version");
}

static bool is_watch(const struct http_req *req)
{
    const char *w = http_req_query(req, "watch");

    return w != NULL && (*w == 0 || str_eq(w, "true") || str_eq(w, "1"));
}

void native_object(struct native_work *w, const struct native_req *req)
{
    static const struct http_header headers[] = { { "Content-Type", "application/json" },
                                                  { "Accept", "application/json" } };
    char *method = mem_strndup((const char *)req->method.p, req->method.n);
    char *target = mem_strndup((const char *)req->target.p, req->target.n);
    struct http_req *http;
    struct err err;

    http = http_req_make(&object_sink, w, method, target, headers, ARRAY_LEN(headers),
                         req->body.p == NULL ? (const uint8_t *)"" : req->body.p, req->body.n,
                         &w->conn->peer, w->conn->remote, &err);
    if (http != NULL && !path_allowed(http->path)) {
        (void)err_set(&err, ERR_NOT_FOUND, "%.200s is not reachable by the native protocol",
                      http->path);
        http_req_abort(http);
        http_respond(http, 404, NULL, NULL, 0, NULL, 0); /* to nobody: it frees the request */
        http = NULL;
    }
    if (http == NULL) {
        native_fail(w, &err);
    } else if (!is_watch(http) || native_work_watch(w)) {
        w->http = http;
        rest_request(w->node, http);
    } else {
        http_req_abort(http);
        http_respond(http, 429, NULL, NULL, 0, NULL, 0);
    }
    free(method);
    free(target);
}
