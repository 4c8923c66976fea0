/* Operations of the API that have a body, and calls between picketds, against everything that
 * answers them (ops_node.c).
 *
 * The input is a list of requests with the byte 0x1e between them, each a line and what follows it:
 *
 *     ROLE METHOD TARGET\nBODY        ROLE: g, h agent of n1, n2, o operator, A admin, v viewer,
 *                                     j token, V voter n2, r raw, - nobody
 *     call KIND\nPAYLOAD              KIND: a number of enum node_call
 *
 * Each is answered exactly once, an error with a reason, and nothing waits for ever.
 */

#include <stdlib.h>
#include <string.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/rest.h"
#include "tests/fuzz/ops_node.h"

#define STEPS_MAX 8U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct answer {
    unsigned n;
    int status;
    char *body;
};

static void on_respond(void *ctx, int status, const char *error, const void *body, size_t len)
{
    struct answer *a = ctx;

    (void)error;
    CHECK(a->n == 0);
    a->n = 1;
    a->status = status;
    a->body = mem_strndup(body, len);
}

static void on_begin(void *ctx, int status)
{
    ((struct answer *)ctx)->status = status;
}

static bool on_write(void *ctx, const void *data, size_t len)
{
    (void)ctx;
    (void)data;
    (void)len;
    return true;
}

static void on_end(void *ctx)
{
    struct answer *a = ctx;

    CHECK(a->n == 0);
    a->n = 1;
}

static const struct http_sink sink = {
    .respond = on_respond, .begin = on_begin, .write = on_write, .end = on_end
};

static void peer_of(char role, struct stream_peer *p)
{
    static const struct {
        char c;
        const char *role, *name;
    } roles[] = {
        { 'g', "picket:agents", "n1" },      { 'h', "picket:agents", "n2" },
        { 'o', "picket:operators", "olga" }, { 'A', "picket:admins", "admin" },
        { 'v', "picket:viewers", "vera" },   { 'j', "picket:joiners", "tok" },
        { 'V', "picket:voters", "n2" },      { 'r', "picket:raw", "raw" },
    };

    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (roles[i].c == role) {
            (void)str_copy(p->role, sizeof(p->role), roles[i].role);
            (void)str_copy(p->name, sizeof(p->name), roles[i].name);
        }
    }
}

/* What goes on for ever by design, or takes the connection over, is fuzzed elsewhere. */
static bool wanted(const char *method, const char *target)
{
    return (str_eq(method, "POST") || str_eq(method, "PUT") || str_eq(method, "PATCH") ||
            str_eq(method, "DELETE")) &&
           strstr(target, "native") == NULL && strstr(target, "console") == NULL &&
           strstr(target, "watch") == NULL && strstr(target, "backup") == NULL;
}

static void check_answer(const char *target, const struct answer *a)
{
    json_t *v = NULL;
    struct err err;

    CHECK(a->n == 1);
    CHECK(a->status >= 200 && a->status < 600);
    if (str_starts(target, "/apis/picket/") && a->body != NULL) {
        CHECK(json_parse_strict(a->body, strlen(a->body), &v, &err) == 0);
        CHECK(a->status < 400 || jget_str(v, "message", "")[0] != 0);
        json_decref(v);
    }
}

static void one_request(struct ops_node *f, char *head, const uint8_t *body, size_t len)
{
    char *method = strchr(head, ' '), *target = method == NULL ? NULL : strchr(method + 1, ' ');
    struct stream_peer peer = { .cluster = "5a8d43e1-0e1a-4d2c-8d0f-1f2a3b4c5d6e" };
    struct http_header type = { .name = "Content-Type",
                                .value = len > 0 && body[0] == '['
                                             ? "application/json-patch+json"
                                             : "application/merge-patch+json" };
    struct answer a = { 0 };
    struct http_req *req;
    struct err err;

    if (target == NULL) {
        return;
    }
    *method++ = 0;
    *target++ = 0;
    if (!wanted(method, target)) {
        return;
    }
    peer_of(head[0], &peer);
    req = http_req_make(&sink, &a, method, target, &type, str_eq(method, "PATCH"), body, len, &peer,
                        "10.0.0.7:1234", &err);
    if (req != NULL) {
        rest_request(&f->n, req);
        ops_run(f);
        check_answer(target, &a);
    }
    free(a.body);
}

static void one(struct ops_node *f, const uint8_t *data, size_t size)
{
    const uint8_t *nl = memchr(data, '\n', size);
    size_t head_len = nl == NULL ? size : (size_t)(nl - data);
    char *head = mem_strndup((const char *)data, head_len);
    const uint8_t *body = nl == NULL ? data + size : nl + 1;
    size_t len = (size_t)(data + size - body);
    uint64_t kind;

    if (!str_starts(head, "call ")) {
        one_request(f, head, body, len);
    } else if (str_parse_u64(head + 5, &kind) && kind < 100) {
        ops_call(f, (uint16_t)kind, body, len);
    }
    free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ops_node f;

    lg_set_level(LG_ERR);
    ops_pki();
    ops_start(&f);
    for (unsigned i = 0; i < STEPS_MAX && size > 0; i++) {
        const uint8_t *end = memchr(data, 0x1e, size);
        size_t n = end == NULL ? size : (size_t)(end - data);

        one(&f, data, n);
        data += end == NULL ? n : n + 1;
        size -= end == NULL ? n : n + 1;
    }
    ops_stop(&f);
    return 0;
}
