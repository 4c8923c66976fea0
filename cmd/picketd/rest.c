#include "cmd/picketd/rest.h"

#include <stdlib.h>
#include <string.h>

#include "api/manifest.h"
#include "api/native_codec.h"
#include "api/table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "base/version.h"
#include "cmd/picketd/auth.h"
#include "cmd/picketd/backup.h"
#include "cmd/picketd/certs.h"
#include "cmd/picketd/change.h"
#include "cmd/picketd/console.h"
#include "cmd/picketd/join.h"
#include "cmd/picketd/member.h"
#include "cmd/picketd/native.h"
#include "cmd/picketd/request.h"
#include "cmd/picketd/roles.h"
#include "cmd/picketd/v3.h"

#define PREFIX "/apis/" API_VERSION "/"
#define CONFLICT_MS 8000U /* less than a client waits */
#define PAUSE_MAX_MS 100U

void rest_free(struct rest *r)
{
    for (size_t i = 0; i < r->n_changes; i++) {
        change_done(&r->changes[i]);
    }
    free(r->changes);
    problems_done(&r->problems);
    json_decref(r->body);
    free(r);
}

/* Warnings of validation go out as Warning headers (RFC 7234 section 5.5), which kubectl prints. */
static size_t warning_headers(const struct rest *r, struct http_header *dst, char **text,
                              size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < r->problems.n && n < max; i++) {
        const struct problem *p = &r->problems.items[i];

        if (p->warning) {
            text[n] =
                mem_printf("299 - \"%s%s%s\"", p->path, p->path[0] == 0 ? "" : ": ", p->message);
            for (char *c = text[n] + 7; *c != 0 && c[1] != 0; c++) {
                *c = *c == '"' || (unsigned char)*c < ' ' ? '\'' : *c;
            }
            dst[n] = (struct http_header){ .name = "Warning", .value = text[n] };
            n++;
        }
    }
    return n;
}

static void answer(struct rest *r, int status, json_t *obj, const char *error)
{
    struct http_header headers[9];
    char *text[8];
    size_t n = warning_headers(r, headers, text, ARRAY_LEN(text));
    size_t n_headers = n;
    char *body = json_dumps(obj, JSON_COMPACT | JSON_ENCODE_ANY);

    CHECK(body != NULL);
    if (error != NULL) { /* Kubernetes' reasons are fewer than our codes */
        headers[n_headers++] = (struct http_header){ .name = HTTP_ERROR_HEADER, .value = error };
    }
    http_respond(r->req, status, "application/json", body, strlen(body), headers, n_headers);
    for (size_t i = 0; i < n; i++) {
        free(text[i]);
    }
    free(body);
    json_decref(obj);
    rest_free(r);
}

void rest_json(struct rest *r, int status, json_t *obj)
{
    answer(r, status, obj, NULL);
}

void rest_err(struct rest *r, const struct err *err)
{
    struct err said = *err;
    json_t *st;

    if (err->code == ERR_UNKNOWN_OUTCOME) {
        (void)err_set(&said, err->code,
                      "the request may have committed, or may yet: read back, or repeat it with "
                      "the same Picket-Request-Id (%.300s)",
                      err->msg);
    }
    st =
        status_from_err(&said, r->k == NULL ? NULL : r->k->plural, r->name[0] == 0 ? NULL : r->name,
                        problems_bad(&r->problems) ? &r->problems : NULL);

    answer(r, err_http(err->code), st, err_name(err->code));
}

static void read_then(void *data, const struct err *err)
{
    struct rest *r = data;

    if (err != NULL) {
        rest_err(r, err);
        return;
    }
    if (!request_again(r)) {
        r->after(r);
    }
}

void rest_read_then(struct rest *r, void (*after)(struct rest *r))
{
    r->after = after;
    node_read(r->node, read_then, r);
}

struct pause {
    uv_timer_t timer; /* first */
    struct rest *r;
};

static void pause_freed(uv_handle_t *h)
{
    free(h);
}

static void pause_over(uv_timer_t *t)
{
    struct pause *p = (struct pause *)t;

    node_read(p->r->node, read_then, p->r);
    uv_close((uv_handle_t *)t, pause_freed);
}

/* Somebody is always faster where many are at work; they shall not meet at the same moment again.
 */
static uint64_t pause_ms(unsigned tries)
{
    uint64_t max = tries < 7 ? 1ULL << tries : PAUSE_MAX_MS;
    uint8_t random;

    clock_random(&random, 1);
    return max * random / 256;
}

bool rest_again(struct rest *r)
{
    uint64_t now = clock_now_ms();
    struct pause *p;

    if (r->until_ms == 0) {
        r->until_ms = now + CONFLICT_MS;
    }
    if (now >= r->until_ms) {
        return false;
    }
    r->tries++;
    lg_debug("rest", "tries=%u changes=%zu msg=\"something was changed meanwhile: once more\"",
             r->tries, r->n_changes);
    p = OBJ_NEW(struct pause);
    p->r = r;
    CHECK(uv_timer_init(r->node->loop, &p->timer) == 0);
    CHECK(uv_timer_start(&p->timer, pause_over, pause_ms(r->tries), 0) == 0);
    return true;
}

bool rest_wants_table(const struct rest *r)
{
    const char *accept = http_req_header(r->req, "accept");

    return accept != NULL && strstr(accept, "as=Table") != NULL;
}

void rest_warn(struct rest *r, const char *text)
{
    problem_warn(&r->problems, "", "%s", text);
}

static json_t *body_yaml(const char *text, size_t len, struct err *err)
{
    struct manifest *m = NULL;
    json_t *v = NULL;

    if (manifest_parse(text, len, "body", &m, err) != 0) {
        return NULL;
    }
    if (manifest_count(m) == 1) {
        v = json_incref(manifest_doc(m, 0)->obj);
    } else {
        (void)err_set(err, ERR_BAD_REQUEST, "body: one document is expected, not %zu",
                      manifest_count(m));
    }
    manifest_free(m);
    return v;
}

bool rest_body(struct rest *r)
{
    const char *type = http_req_header(r->req, "content-type");
    const char *text = (const char *)r->req->body;
    struct err err;

    if (r->req->len == 0) {
        r->body = json_object();
        return true;
    }
    if (type != NULL && strstr(type, "protobuf") != NULL) {
        (void)err_set(&err, ERR_UNSUPPORTED, "body: protobuf is not supported, send JSON");
    } else if (type != NULL && strstr(type, "yaml") != NULL && text[0] != '{') {
        r->body = body_yaml(text, r->req->len, &err);
    } else if (json_parse_strict(text, r->req->len, &r->body, &err) != 0) {
        r->body = NULL;
        err.code = ERR_BAD_REQUEST;
    }
    if (r->body == NULL) {
        rest_err(r, &err);
        return false;
    }
    return true;
}

/* --- routing -----------------------------------------------------------------------------------
 */

static void not_found(struct rest *r)
{
    struct err err;

    (void)err_set(&err, ERR_NOT_FOUND, "the server could not find the requested resource %.200s",
                  r->req->path);
    rest_err(r, &err);
}

static void bad_method(struct rest *r)
{
    struct err err;

    (void)err_set(&err, ERR_METHOD, "%.16s is not possible on %.200s", r->req->method,
                  r->req->path);
    rest_err(r, &err);
}

static bool truthy(const char *s)
{
    return s != NULL && (*s == 0 || str_eq(s, "true") || str_eq(s, "1"));
}

static void route_object(struct rest *r)
{
    const char *m = r->req->method;
    bool read = str_eq(m, "GET") || str_eq(m, "HEAD");
    bool status = str_eq(r->sub, "status");
    struct err err;

    if (auth_may(r->node, &r->req->peer, r->k, status ? "status" : "", r->name, auth_verb_of(r),
                 &err) != 0) {
        rest_err(r, &err);
    } else if (!read && r->k->read_only) {
        (void)err_set(&err, ERR_METHOD,
                      "%s are a view of what the cluster did; they cannot be written",
                      r->k->plural);
        rest_err(r, &err);
    } else if (read && r->name[0] == 0) {
        if (truthy(http_req_query(r->req, "watch"))) {
            rest_watch(r);
        } else {
            rest_list(r);
        }
    } else if (read) {
        rest_get(r);
    } else if (str_eq(m, "POST") && r->name[0] == 0) {
        rest_create(r);
    } else if (str_eq(m, "PUT") && r->name[0] != 0) {
        rest_update(r);
    } else if (str_eq(m, "PATCH") && r->name[0] != 0) {
        rest_patch(r);
    } else if (str_eq(m, "DELETE") && !status) {
        rest_delete(r);
    } else {
        bad_method(r);
    }
}

/* PLURAL[/NAME[/SUB]] */
static void route_kind(struct rest *r, const char *rest)
{
    char plural[64];
    const char *slash = strchr(rest, '/');
    const char *sub = slash == NULL ? NULL : strchr(slash + 1, '/');
    size_t n = slash == NULL ? strlen(rest) : (size_t)(slash - rest);

    if (n >= sizeof(plural)) {
        not_found(r);
        return;
    }
    memcpy(plural, rest, n);
    plural[n] = 0;
    r->k = kind_by_plural(plural);
    if (r->k == NULL) {
        not_found(r);
        return;
    }
    if (slash != NULL) {
        size_t len = sub == NULL ? strlen(slash + 1) : (size_t)(sub - slash - 1);

        if (len == 0 || len >= sizeof(r->name) ||
            (sub != NULL && !str_copy(r->sub, sizeof(r->sub), sub + 1))) {
            not_found(r);
            return;
        }
        memcpy(r->name, slash + 1, len);
        r->name[len] = 0;
    }
    if (str_eq(r->k->name, "Host") && str_eq(r->sub, "console")) {
        console_wait_request(r);
    } else if (str_eq(r->k->name, "VirtualMachine") && str_eq(r->sub, "console")) {
        console_request(r);
    } else if (str_eq(r->k->name, "Host") && r->sub[0] != 0 && !str_eq(r->sub, "status")) {
        rest_host_op(r);
    } else if (r->sub[0] != 0 && !str_eq(r->sub, "status")) {
        not_found(r);
    } else {
        route_object(r);
    }
}

static json_t *version_json(void)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "major", "1", "minor", "32", "gitVersion",
                     "v1.32.0+picket-" PICKET_VERSION, "platform", "linux/amd64");
}

static json_t *discover(const struct http_req *req)
{
    const char *accept = http_req_header(req, "accept");
    bool aggregated = accept != NULL && strstr(accept, "APIGroupDiscoveryList") != NULL;

    if (str_eq(req->path, "/api")) {
        return discovery_api_versions();
    }
    if (str_eq(req->path, "/apis")) {
        return aggregated ? discovery_aggregated() : discovery_groups();
    }
    if (str_eq(req->path, "/apis/" API_VERSION)) {
        return discovery_resources();
    }
    if (str_eq(req->path, "/openapi/v3")) {
        return openapi_v3_index();
    }
    if (str_eq(req->path, "/openapi/v3/apis/" API_VERSION)) {
        return openapi_v3_group();
    }
    return str_eq(req->path, "/version") ? version_json() : NULL;
}

static bool route_discovery(struct rest *r)
{
    json_t *doc = discover(r->req);
    char *body;

    if (doc == NULL) {
        return false;
    }
    if (!str_eq(jget_str(doc, "kind", ""), "APIGroupDiscoveryList")) {
        rest_json(r, 200, doc);
        return true;
    }
    body = json_dumps(doc, JSON_COMPACT);
    http_respond(r->req, 200,
                 "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", body,
                 strlen(body), NULL, 0);
    free(body);
    json_decref(doc);
    rest_free(r);
    return true;
}

static void route_health(struct rest *r)
{
    bool ready = r->node->session != 0 && rep_leader(r->node->rep) != 0;

    if (str_eq(r->req->path, "/healthz") || str_eq(r->req->path, "/livez") || ready) {
        http_respond(r->req, 200, "text/plain", "ok\n", 3, NULL, 0);
    } else {
        http_respond(r->req, 503, "text/plain", "no quorum\n", 10, NULL, 0);
    }
    rest_free(r);
}

void rest_request(void *ctx, struct http_req *req)
{
    struct rest *r = OBJ_NEW(struct rest);
    const char *dry;

    r->node = ctx;
    r->req = req;
    dry = http_req_query(req, "dryRun");
    r->dry_run = dry != NULL && str_eq(dry, "All");
    if (!request_begin(r)) {
        return;
    }
    if (str_eq(req->path, PREFIX "join") || str_eq(req->peer.role, JOIN_ROLE)) {
        rest_join(r); /* and nothing else for whoever has only a token */
    } else if (str_starts(req->path, PREFIX)) {
        const char *rest = req->path + strlen(PREFIX);

        if (str_eq(rest, "apply")) {
            rest_apply(r);
        } else if (str_eq(rest, "plan")) {
            rest_plan(r);
        } else if (str_eq(rest, "tokens")) {
            rest_token(r);
        } else if (str_eq(rest, "renew")) {
            rest_renew(r);
        } else if (str_eq(rest, "backup")) {
            rest_backup(r);
        } else if (str_eq(rest, "members") || str_starts(rest, "members/")) {
            rest_members(r, rest + strlen("members"));
        } else {
            route_kind(r, rest);
        }
    } else if (str_eq(req->path, "/healthz") || str_eq(req->path, "/livez") ||
               str_eq(req->path, "/readyz")) {
        route_health(r);
    } else if (str_starts(req->path, "/v3/") || str_starts(req->path, "/v3beta/")) {
        v3_request(r, strchr(req->path + 1, '/') + 1);
    } else if (str_eq(req->path, NATIVE_PATH)) {
        native_request(r);
    } else if (roles_review(r)) {
        return;
    } else if (str_eq(req->path, "/cluster")) {
        rest_cluster_view(r);
    } else if (str_eq(req->path, "/metrics")) {
        rest_metrics(r);
    } else if (!route_discovery(r)) {
        not_found(r);
    }
}
