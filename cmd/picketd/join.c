#include "cmd/picketd/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"
#include "cmd/picketd/certs.h"
#include "cmd/picketd/member.h"
#include "cmd/picketd/record.h"

#define TTL_MIN_MS 60000
#define TTL_MAX_MS (7LL * 24 * 3600 * 1000)
#define PEM_MAX 65536
#define DAY_MS (24ULL * 3600 * 1000)

struct join {
    struct rest *rest;
    bool voter;
    uint64_t id;
    char name[64];
    char token[192]; /* key of its record */
    json_t *record;  /* as it was */
    struct err err;  /* why not */
};

/* --- files beside the CA's certificate ---------------------------------------------------------
 */

static char *ca_dir(const struct node *n)
{
    const char *slash = strrchr(n->opts.tls_ca, '/');

    return slash == NULL ? mem_strdup(".")
                         : mem_strndup(n->opts.tls_ca, (size_t)(slash - n->opts.tls_ca));
}

static char *read_text(const char *file)
{
    FILE *f = fopen(file, "re");
    char *text;
    size_t n;

    if (f == NULL) {
        return NULL;
    }
    text = mem_alloc(PEM_MAX);
    n = fread(text, 1, PEM_MAX - 1, f);
    text[n] = 0;
    (void)fclose(f);
    return text;
}

static void wipe(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
    }
    free(text);
}

static json_t *ca_file(const struct node *n, const char *name)
{
    char *dir = ca_dir(n), *path = mem_printf("%s/%s", dir, name), *text = read_text(path);
    json_t *v = text == NULL ? json_null() : json_string(text);

    wipe(text);
    free(path);
    free(dir);
    return v;
}

static int check_can_sign(const struct node *n, struct err *err)
{
    char *dir = ca_dir(n), *path = mem_printf("%s/ca.key", dir);
    int rc = 0;

    if (access(path, R_OK) != 0) {
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s has no %s and cannot enrol hosts: ask another voter "
                     "(--server)",
                     n->opts.name, path);
    }
    free(path);
    free(dir);
    return rc;
}

/* --- tokens ------------------------------------------------------------------------------------
 */

static void token_key(const char *id, char *dst, size_t size)
{
    (void)snprintf(dst, size, "o/_tokens/%s", id);
}

struct token {
    struct rest *rest;
    json_t *answer;
};

static void token_stored(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct token *t = data;

    (void)ans;
    if (err != NULL) {
        json_decref(t->answer);
        rest_err(t->rest, err);
    } else {
        rest_json(t->rest, 201, t->answer);
    }
    free(t);
}

static int token_issue(const struct node *n, const char *id, uint64_t ttl_ms, json_t **ret,
                       struct err *err)
{
    struct pki_subject subject = {
        .role = JOIN_ROLE, .name = id, .cluster = n->opts.cluster, .days = ttl_ms / DAY_MS + 1
    };
    char *dir = ca_dir(n), *cert = NULL, *key = NULL;
    int rc = pki_issue_pem(dir, &subject, &cert, &key, err);

    if (rc == 0) {
        *ret = json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", id, "cluster", n->opts.cluster, "cert",
                         cert, "key", key, "ca", ca_file(n, "ca.crt"));
    }
    wipe(key);
    free(cert);
    free(dir);
    return rc;
}

static void token_make(struct rest *r)
{
    int64_t ttl = jget_int(r->body, "ttlMs", 3600000);
    struct token *t;
    json_t *record, *answer;
    uint8_t random[16];
    char id[33], key[64];
    struct err err;

    if (ttl < TTL_MIN_MS || ttl > TTL_MAX_MS) {
        (void)err_set(&err, ERR_INVALID, "ttlMs: a token lives from a minute to seven days");
        rest_err(r, &err);
        return;
    }
    clock_random(random, sizeof(random));
    str_hex(random, sizeof(random), id);
    if (token_issue(r->node, id, (uint64_t)ttl, &answer, &err) != 0) {
        rest_err(r, &err);
        return;
    }
    t = OBJ_NEW(struct token);
    *t = (struct token){ .rest = r, .answer = answer };
    token_key(id, key, sizeof(key));
    record = json_pack("{s:b, s:I, s:s}", "voter", jget_bool(r->body, "voter", false), "expiresMs",
                       (json_int_t)clock_wall_ms() + ttl, "by", r->req->peer.name);
    record_put(r->node, key, record, 0, token_stored, t);
    json_decref(record);
}

static bool refused(struct rest *r, const char *role, const char *what)
{
    struct err err = { 0 };

    if (!str_eq(r->req->method, "POST")) {
        (void)err_set(&err, ERR_METHOD, "%s: POST", what);
    } else if (!str_eq(r->req->peer.role, role)) {
        (void)err_set(&err, ERR_DENIED, "%s needs a certificate of role %s; you are %s \"%s\"",
                      what, role, r->req->peer.role, r->req->peer.name);
    } else {
        (void)check_can_sign(r->node, &err);
    }
    if (err.code != 0) {
        rest_err(r, &err);
    }
    return err.code != 0;
}

void rest_token(struct rest *r)
{
    if (!refused(r, "picket:admins", "making a token") && rest_body(r)) {
        token_make(r);
    }
}

/* --- joining -----------------------------------------------------------------------------------
 */

static int join_sign(const struct join *j, const char *role, const char *csr, json_t *answer,
                     const char *field, struct err *err)
{
    const struct rest *r = j->rest;
    struct pki_subject subject = { .role = role,
                                   .name = j->name,
                                   .cluster = r->node->opts.cluster,
                                   .seconds = certs_lifetime_s(r->node),
                                   .ip = jget_str(r->body, "ip", "") };
    char *dir = ca_dir(r->node), *cert = NULL;
    int rc = pki_sign_request(dir, csr, &subject, &cert, err);

    if (rc == 0) {
        (void)json_object_set_new(answer, field, json_string(cert));
    }
    free(cert);
    free(dir);
    return rc;
}

static void join_free(struct join *j)
{
    json_decref(j->record);
    free(j);
}

static void join_finish(struct join *j)
{
    struct rest *r = j->rest;
    json_t *answer =
        json_pack("{s:s, s:I, s:b, s:o}", "cluster", r->node->opts.cluster, "id", (json_int_t)j->id,
                  "voter", j->voter, "ca", ca_file(r->node, "ca.crt"));
    struct err err;
    int rc;

    rc = join_sign(j, "picket:agents", jget_str(r->body, "agentRequest", ""), answer, "agentCert",
                   &err);
    if (rc == 0 && j->voter) {
        rc = join_sign(j, "picket:voters", jget_str(r->body, "voterRequest", ""), answer,
                       "voterCert", &err);
        (void)json_object_set_new(answer, "caKey", ca_file(r->node, "ca.key"));
        (void)json_object_set_new(answer, "sealKey", ca_file(r->node, "seal.key"));
    }
    if (rc != 0) {
        json_decref(answer);
        rest_err(r, &err);
    } else {
        lg_info("join", "name=%s voter=%d id=%" PRIu64 " msg=\"host enrolled\"", j->name, j->voter,
                j->id);
        rest_json(r, 200, answer);
    }
    join_free(j);
}

static void join_given_back(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct join *j = data;
    struct err e;

    (void)ans;
    (void)err_set(&e, j->err.code, "%s; the token is %s", j->err.msg,
                  err == NULL ? "still good" : "used up");
    rest_err(j->rest, &e);
    join_free(j);
}

/* Did nothing happen, for sure?  Then the token has let nobody in. */
static bool join_nothing_done(int code)
{
    return code == ERR_CONFLICT || code == ERR_EXISTS || code == ERR_INVALID ||
           code == ERR_NOT_LEADER || code == ERR_NO_QUORUM;
}

static void join_added(void *data, const struct err *err, json_t *answer)
{
    struct join *j = data;

    if (err != NULL && join_nothing_done(err->code)) {
        j->err = *err;
        record_put(j->rest->node, j->token, j->record, 0, join_given_back, j);
        return;
    }
    if (err != NULL) {
        rest_err(j->rest, err);
        join_free(j);
        return;
    }
    j->id = (uint64_t)jget_int(answer, "id", 0);
    join_finish(j);
}

/* The token is used up now, unless it turns out that nobody was let in by it. */
static void join_spent(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct join *j = data;
    struct err e;

    (void)ans;
    if (err != NULL) {
        (void)err_set(&e, err->code == ERR_CONFLICT ? ERR_DENIED : err->code, "%s",
                      err->code == ERR_CONFLICT ? "the token was used already" : err->msg);
        rest_err(j->rest, &e);
        join_free(j);
    } else if (j->voter) {
        member_ask_patient(j->rest->node,
                           json_pack("{s:s, s:s, s:s, s:b}", "op", "add", "name", j->name,
                                     "address", jget_str(j->rest->body, "address", ""), "voter", 1),
                           join_added, j);
    } else {
        join_finish(j);
    }
}

static int join_check(const struct rest *r, const json_t *record, struct err *err)
{
    const char *name = jget_str(r->body, "name", "");

    if (record == NULL) {
        return err_set(err, ERR_DENIED,
                       "the token was used already, or is none of this cluster: "
                       "`picket token create` makes another");
    }
    if ((uint64_t)jget_int(record, "expiresMs", 0) < clock_wall_ms()) {
        return err_set(err, ERR_DENIED,
                       "the token has expired: `picket token create` makes "
                       "another");
    }
    if (!str_is_name(name) || strlen(name) >= 64) {
        return err_set(err, ERR_INVALID, "name: \"%.64s\" is no host name", name);
    }
    return jget_bool(record, "voter", false)
               ? member_addable(r->node, name, jget_str(r->body, "address", ""), err)
               : 0;
}

static void join_go(struct rest *r)
{
    struct join *j = OBJ_NEW(struct join);
    struct err err;
    uint64_t rev;

    j->rest = r;
    token_key(r->req->peer.name, j->token, sizeof(j->token));
    j->record = record_get(r->node->store, j->token, &rev);
    if (join_check(r, j->record, &err) != 0) {
        rest_err(r, &err);
        join_free(j);
        return;
    }
    j->voter = jget_bool(j->record, "voter", false);
    (void)str_copy(j->name, sizeof(j->name), jget_str(r->body, "name", ""));
    record_put(r->node, j->token, NULL, rev, join_spent, j);
}

void rest_join(struct rest *r)
{
    if (!refused(r, JOIN_ROLE, "joining") && rest_body(r)) {
        rest_read_then(r, join_go);
    }
}
