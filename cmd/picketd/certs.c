#include "cmd/picketd/certs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/manifest.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/pki.h"
#include "base/str.h"

#define LOOK_MIN_MS 1000U
#define LOOK_MAX_MS 3600000U
#define ASK_MS 5000U
#define MEMBERS_MAX 32

uint64_t certs_lifetime_s(const struct node *n)
{
    return n->opts.cert_lifetime_s != 0 ? n->opts.cert_lifetime_s : PKI_LIFETIME_S;
}

static char *ca_dir(const struct node *n)
{
    const char *slash = strrchr(n->opts.tls_ca, '/');

    return slash == NULL ? mem_strdup(".")
                         : mem_strndup(n->opts.tls_ca, (size_t)(slash - n->opts.tls_ca));
}

static bool can_sign(const struct node *n)
{
    char *dir = ca_dir(n), *key = mem_printf("%s/ca.key", dir);
    bool ok = access(key, R_OK) == 0;

    free(key);
    free(dir);
    return ok;
}

static int sign(const struct node *n, const struct pki_subject *who, const char *csr, char **ret,
                struct err *err)
{
    struct pki_subject s = *who;
    char *dir = ca_dir(n);
    int rc;

    s.cluster = n->opts.cluster;
    rc = pki_sign_request(dir, csr, &s, ret, err);
    free(dir);
    return rc;
}

/* --- for others --------------------------------------------------------------------------------
 */

static bool is_host(const char *role)
{
    return str_eq(role, "picket:voters") || str_eq(role, "picket:agents");
}

static int renew_check(const struct rest *r, struct err *err)
{
    const struct stream_peer *p = &r->req->peer;

    if (!str_eq(r->req->method, "POST")) {
        return err_set(err, ERR_METHOD, "renew: POST");
    }
    if (p->role[0] == 0 || p->name[0] == 0) {
        return err_set(err, ERR_UNAUTHORIZED, "a client certificate of this cluster is needed");
    }
    if (!can_sign(r->node)) {
        return err_set(err, ERR_NOT_LEADER, "%s does not hold the CA's key: ask another member",
                       r->node->opts.name);
    }
    return 0;
}

void rest_renew(struct rest *r)
{
    const struct stream_peer *p = &r->req->peer;
    struct pki_subject s = { .role = p->role, .name = p->name };
    char *cert = NULL;
    struct err err;

    s.seconds = is_host(p->role) ? certs_lifetime_s(r->node) : CERTS_USER_S;
    if (renew_check(r, &err) != 0) {
        rest_err(r, &err);
    } else if (!rest_body(r)) {
        return;
    } else if (sign(r->node, &s, jget_str(r->body, "request", ""), &cert, &err) != 0) {
        rest_err(r, &err);
    } else {
        lg_info("certs", "role=%s name=%s msg=\"certificate renewed\"", p->role, p->name);
        rest_json(r, 200, json_pack("{s:s}", "cert", cert));
    }
    free(cert);
}

void certs_call(struct node *n, const char *from_name, const uint8_t *data, size_t len,
                uint64_t call_id)
{
    struct pki_subject s = { .role = "picket:voters",
                             .name = from_name,
                             .seconds = certs_lifetime_s(n) };
    json_t *body = NULL;
    char *cert = NULL;
    struct err err;
    int rc;

    if (!can_sign(n)) {
        rc = err_set(&err, ERR_UNSUPPORTED, "%s does not hold the CA's key", n->opts.name);
    } else {
        rc = json_parse_strict((const char *)data, len, &body, &err);
    }
    if (rc == 0) {
        s.ip = jget_str(body, "ip", "");
        rc = sign(n, &s, jget_str(body, "request", ""), &cert, &err);
    }
    if (rc == 0) {
        lg_info("certs", "role=picket:voters name=%s msg=\"certificate renewed\"", from_name);
    }
    rep_reply(n->rep, call_id, rc == 0 ? NULL : &err, cert, cert == NULL ? 0 : strlen(cert));
    free(cert);
    json_decref(body);
}

/* --- the own one -------------------------------------------------------------------------------
 */

int64_t certs_left_s(const struct node *n)
{
    int64_t left, life;
    struct err err;

    if (n->opts.tls_cert == NULL || pki_cert_life(n->opts.tls_cert, &left, &life, &err) != 0) {
        return INT64_MAX;
    }
    return left;
}

static void install(const struct node *n, const char *cert)
{
    struct err err;

    if (pki_renew_finish(n->opts.tls_cert, n->opts.tls_key, cert, &err) != 0) {
        lg_err("certs", "file=%s left_s=%" PRId64 " msg=\"not renewed\" err=\"%s\"",
               n->opts.tls_cert, certs_left_s(n), err.msg);
    } else {
        lg_info("certs", "file=%s left_s=%" PRId64 " msg=\"renewed\"", n->opts.tls_cert,
                certs_left_s(n));
    }
}

static void renew_here(const struct node *n, const char *csr, const char *ips)
{
    struct pki_subject s = {
        .role = "picket:voters", .name = n->opts.name, .ip = ips, .seconds = certs_lifetime_s(n)
    };
    char *cert = NULL;
    struct err err;

    if (sign(n, &s, csr, &cert, &err) == 0) {
        install(n, cert);
    } else {
        lg_err("certs", "file=%s msg=\"not renewed\" err=\"%s\"", n->opts.tls_cert, err.msg);
    }
    free(cert);
}

struct ask {
    struct rep_req req; /* first */
    struct node *n;
};

static void asked(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct ask *a = CONTAINER_OF(req, struct ask, req);
    char *cert;

    if (err != NULL) {
        lg_warn("certs", "file=%s left_s=%" PRId64 " msg=\"not renewed yet\" err=\"%s\"",
                a->n->opts.tls_cert, certs_left_s(a->n), err->msg);
    } else {
        cert = mem_strndup((const char *)data, len);
        install(a->n, cert);
        free(cert);
    }
    free(a);
}

/* One after the other, from one look to the next. */
static void renew_there(struct node *n, const char *csr, const char *ips)
{
    struct rep_peer_info peers[MEMBERS_MAX];
    size_t count = rep_peers(n->rep, peers, MEMBERS_MAX);
    struct ask *a;
    json_t *body;
    char *text;

    for (size_t i = 0; i < count; i++) {
        const struct rep_peer_info *p = &peers[n->certs_asked++ % count];

        if (p->id == n->id) {
            continue;
        }
        a = OBJ_NEW(struct ask);
        a->n = n;
        body = json_pack("{s:s, s:s}", "request", csr, "ip", ips);
        text = json_dumps(body, JSON_COMPACT);
        rep_call(n->rep, p->id, NODE_CALL_RENEW, text, strlen(text), ASK_MS, &a->req, asked);
        free(text);
        json_decref(body);
        return;
    }
}

static void renew_own(struct node *n, bool started)
{
    char ips[512], *csr = NULL;
    struct err err;

    if (pki_cert_ips(n->opts.tls_cert, ips, sizeof(ips), &err) != 0 ||
        pki_renew_begin(n->opts.tls_key, &csr, &err) != 0) {
        lg_err("certs",
               "file=%s left_s=%" PRId64 " msg=\"cannot be renewed: may picketd write beside it?\" "
               "err=\"%s\"",
               n->opts.tls_cert, certs_left_s(n), err.msg);
        return;
    }
    if (can_sign(n)) {
        renew_here(n, csr, ips);
    } else if (started) {
        renew_there(n, csr, ips);
    }
    free(csr);
}

void certs_start(const struct node *n)
{
    struct err err;

    if (n->opts.tls_cert == NULL) {
        return;
    }
    if (pki_renew_recover(n->opts.tls_cert, n->opts.tls_key, &err) != 0) {
        lg_warn("certs", "msg=\"%s\"", err.msg);
    }
    if (certs_left_s(n) <= 0) {
        lg_warn("certs", "file=%s msg=\"expired while picketd did not run\"", n->opts.tls_cert);
        renew_own((struct node *)(uintptr_t)n, false);
    }
}

void certs_tick(struct node *n)
{
    uint64_t now = clock_now_ms(), every;
    int64_t left, life;
    struct err err;

    if (n->opts.tls_cert == NULL || now < n->certs_next_ms) {
        return;
    }
    if (pki_cert_life(n->opts.tls_cert, &left, &life, &err) != 0) {
        lg_warn("certs", "msg=\"%s\"", err.msg);
        n->certs_next_ms = now + LOOK_MAX_MS;
        return;
    }
    every = (uint64_t)(life > 0 ? life : 0) * 1000 / 50;
    every = every < LOOK_MIN_MS ? LOOK_MIN_MS : every > LOOK_MAX_MS ? LOOK_MAX_MS : every;
    n->certs_next_ms = now + every;
    if (pki_renew_due(left, life)) {
        renew_own(n, true);
    }
}
