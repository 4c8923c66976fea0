#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "base/stream_priv.h"

#define TLS_LOOK_MS 500U
#define TLS_FILE_MAX (1U << 20)
#define TLS_URI_PREFIX "picket:"

void tls_error_text(char *dst, size_t size)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e == 0 ? NULL : ERR_reason_error_string(e);

    if (reason != NULL) {
        (void)snprintf(dst, size, "%s", reason);
    } else {
        (void)snprintf(dst, size, "OpenSSL error %lx", e);
    }
    ERR_clear_error();
}

static int tls_fail(struct err *err, const char *what, const char *doing)
{
    char text[160];

    tls_error_text(text, sizeof(text));
    return err_set(err, ERR_INVALID, "%s: %s: %s", what, doing, text);
}

static BIO *tls_bio(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);

    CHECK(bio != NULL);
    return bio;
}

/* The first certificate is ours, further ones are sent along. */
static int tls_use_cert(SSL_CTX *ctx, const char *what, const char *pem, struct err *err)
{
    BIO *bio = tls_bio(pem);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    int rc;

    if (cert == NULL) {
        rc = tls_fail(err, what, "read certificate");
        goto out;
    }
    if (SSL_CTX_use_certificate(ctx, cert) != 1) {
        rc = tls_fail(err, what, "use certificate");
        goto out;
    }
    for (;;) {
        X509 *more = PEM_read_bio_X509(bio, NULL, NULL, NULL);

        if (more == NULL) {
            ERR_clear_error();
            break;
        }
        if (SSL_CTX_add0_chain_cert(ctx, more) != 1) {
            X509_free(more);
            rc = tls_fail(err, what, "use certificate chain");
            goto out;
        }
    }
    rc = 0;
out:
    X509_free(cert);
    BIO_free(bio);
    return rc;
}

static int tls_use_key(SSL_CTX *ctx, const char *what, const char *pem, struct err *err)
{
    BIO *bio = tls_bio(pem);
    /* The empty password keeps OpenSSL from asking on the terminal. */
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "");
    int rc;

    if (key == NULL) {
        rc = tls_fail(err, what, "read private key (encrypted keys are not supported)");
        goto out;
    }
    if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
        rc = tls_fail(err, what, "the private key does not belong to the certificate");
        goto out;
    }
    rc = 0;
out:
    EVP_PKEY_free(key);
    BIO_free(bio);
    return rc;
}

static int tls_use_ca(SSL_CTX *ctx, const char *what, const char *pem, struct err *err)
{
    BIO *bio = tls_bio(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int n = 0;
    int rc = 0;

    for (;;) {
        X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);

        if (ca == NULL) {
            break;
        }
        if (X509_STORE_add_cert(store, ca) != 1 || SSL_CTX_add_client_CA(ctx, ca) != 1) {
            rc = tls_fail(err, what, "use CA certificate");
        }
        X509_free(ca);
        n++;
    }
    if (rc == 0 && n == 0) {
        rc = tls_fail(err, what, "read CA certificate");
    }
    ERR_clear_error();
    BIO_free(bio);
    return rc;
}

static int tls_read_file(const char *file, char **ret, struct err *err)
{
    struct buf b;
    FILE *f = fopen(file, "re");
    size_t n;
    int rc;

    buf_init(&b, TLS_FILE_MAX);
    if (f == NULL) {
        rc = err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno, "open %s",
                        file);
        goto out;
    }
    do {
        uint8_t *p = buf_reserve(&b, 4096);

        if (p == NULL) {
            rc = err_set(err, ERR_TOO_LARGE, "%s: more than 1 MiB, this is no PEM file", file);
            goto out;
        }
        n = fread(p, 1, 4096, f);
        buf_commit(&b, n);
    } while (n > 0);
    if (ferror(f) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "read %s", file);
        goto out;
    }
    (void)buf_cstr(&b);
    *ret = buf_take(&b, NULL);
    rc = 0;
out:
    if (f != NULL) {
        (void)fclose(f);
    }
    if (b.data != NULL) {
        explicit_bzero(b.data, b.cap);
    }
    buf_done(&b);
    return rc;
}

/* Is a certificate that the CA signed also the one we want to talk to? */
static int tls_judge(const struct tls_conn *t, X509 *cert, struct err *err)
{
    struct stream_peer peer;
    int rc = tls_peer_from_cert(cert, &peer, err);

    if (rc != 0) {
        return rc;
    }
    if (t->ctx->cluster[0] != '\0' && !str_eq(peer.cluster, t->ctx->cluster)) {
        return err_set(err, ERR_UNAUTHORIZED, "peer %s belongs to cluster %s, not to %s", peer.name,
                       peer.cluster[0] == '\0' ? "(none)" : peer.cluster, t->ctx->cluster);
    }
    if (t->want_role[0] != '\0' && !str_eq(peer.role, t->want_role)) {
        return err_set(err, ERR_UNAUTHORIZED, "peer %s has role %s, want %s", peer.name,
                       peer.role[0] == '\0' ? "(none)" : peer.role, t->want_role);
    }
    if (t->want_name[0] != '\0' && !str_eq(peer.name, t->want_name)) {
        return err_set(err, ERR_UNAUTHORIZED, "peer is named %s, want %s", peer.name, t->want_name);
    }
    return 0;
}

/* OpenSSL calls it for each certificate of the chain, the peer's own (depth 0) last. */
static int tls_verify_cb(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_conn *t = SSL_get_app_data(ssl);
    struct err err;

    if (ok == 0) {
        (void)snprintf(t->refusal, sizeof(t->refusal), "%s",
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
        return 0;
    }
    if (X509_STORE_CTX_get_error_depth(store) > 0) {
        return 1;
    }
    if (tls_judge(t, X509_STORE_CTX_get_current_cert(store), &err) != 0) {
        (void)str_copy(t->refusal, sizeof(t->refusal), err.msg);
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return 1;
}

static SSL_CTX *tls_new_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    CHECK(ctx != NULL);
    CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_verify_cb);
    /* No resumption: each connection proves its certificate afresh. */
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(ctx, 0);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    return ctx;
}

int tls_ctx_load_pem(const char *what, const char *cert, const char *key, const char *ca,
                     const char *cluster, struct tls_ctx **ret, struct err *err)
{
    struct tls_ctx *t = OBJ_NEW(struct tls_ctx);
    int rc;

    t->magic = TLS_CTX_MAGIC;
    t->refs = 1;
    ERR_clear_error();
    t->ssl = tls_new_ctx();
    if (cluster != NULL && !str_copy(t->cluster, sizeof(t->cluster), cluster)) {
        rc = err_set(err, ERR_INVALID, "%s: the cluster id %s is too long", what, cluster);
        goto out;
    }
    rc = tls_use_cert(t->ssl, what, cert, err);
    rc = rc != 0 ? rc : tls_use_key(t->ssl, what, key, err);
    rc = rc != 0 ? rc : tls_use_ca(t->ssl, what, ca, err);
    if (rc == 0) {
        *ret = t;
        t = NULL;
    }
out:
    tls_ctx_unref(t);
    return rc;
}

static void tls_ctx_look(struct tls_ctx *t)
{
    struct stat st;

    t->looked_ms = clock_now_ms();
    if (stat(t->cert_file, &st) == 0) {
        t->mtime = st.st_mtim;
        t->inode = st.st_ino;
    }
}

int tls_ctx_load(const char *cert_file, const char *key_file, const char *ca_file,
                 const char *cluster, struct tls_ctx **ret, struct err *err)
{
    char *cert = NULL, *key = NULL, *ca = NULL, *what = NULL;
    int rc;

    rc = tls_read_file(cert_file, &cert, err);
    rc = rc != 0 ? rc : tls_read_file(key_file, &key, err);
    rc = rc != 0 ? rc : tls_read_file(ca_file, &ca, err);
    if (rc != 0) {
        goto out;
    }
    what = mem_printf("%s, %s, %s", cert_file, key_file, ca_file);
    rc = tls_ctx_load_pem(what, cert, key, ca, cluster, ret, err);
    if (rc == 0) {
        (*ret)->cert_file = mem_strdup(cert_file);
        (*ret)->key_file = mem_strdup(key_file);
        (*ret)->ca_file = mem_strdup(ca_file);
        tls_ctx_look(*ret);
    }
out:
    if (key != NULL) {
        explicit_bzero(key, strlen(key));
    }
    free(cert);
    free(key);
    free(ca);
    free(what);
    return rc;
}

void tls_ctx_refresh(struct tls_ctx *t)
{
    struct tls_ctx *fresh = NULL;
    struct timespec mtime = t->mtime;
    ino_t inode = t->inode;
    struct err err;
    SSL_CTX *old;

    if (t->cert_file == NULL || clock_now_ms() - t->looked_ms < TLS_LOOK_MS) {
        return;
    }
    tls_ctx_look(t);
    if (t->inode == inode && t->mtime.tv_sec == mtime.tv_sec && t->mtime.tv_nsec == mtime.tv_nsec) {
        return;
    }
    if (tls_ctx_load(t->cert_file, t->key_file, t->ca_file,
                     t->cluster[0] == '\0' ? NULL : t->cluster, &fresh, &err) != 0) {
        lg_warn("tls", "file=%s err=\"%s\" msg=\"the old certificate stays in use\"", t->cert_file,
                err.msg);
        t->mtime = mtime; /* try again with the next connection */
        t->inode = inode;
        return;
    }
    old = t->ssl; /* connections that were made with it keep it alive */
    t->ssl = fresh->ssl;
    fresh->ssl = old;
    tls_ctx_unref(fresh);
    lg_info("tls", "file=%s msg=\"the renewed certificate is in use\"", t->cert_file);
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *t)
{
    OBJ_CHECK(t, TLS_CTX_MAGIC);
    t->refs++;
    return t;
}

void tls_ctx_unref(struct tls_ctx *t)
{
    if (t == NULL) {
        return;
    }
    OBJ_CHECK(t, TLS_CTX_MAGIC);
    if (--t->refs > 0) {
        return;
    }
    SSL_CTX_free(t->ssl);
    free(t->cert_file);
    free(t->key_file);
    free(t->ca_file);
    t->magic = 0;
    free(t);
}

/* One text field of a subject into dst; false when it is too long or holds a NUL. */
static bool tls_name_field(X509 *cert, int nid, char *dst, size_t size)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int pos = X509_NAME_get_index_by_NID(name, nid, -1);
    unsigned char *utf8 = NULL;
    bool ok;
    int n;

    dst[0] = '\0';
    if (pos < 0) {
        return true;
    }
    n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, pos)));
    if (n < 0) {
        return false;
    }
    ok = strlen((char *)utf8) == (size_t)n && str_copy(dst, size, (char *)utf8);
    OPENSSL_free(utf8);
    return ok;
}

static bool tls_name_cluster(X509 *cert, char *dst, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool ok = true;

    dst[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *gn = sk_GENERAL_NAME_value(names, i);
        const char *uri;

        if (gn->type != GEN_URI) {
            continue;
        }
        uri = (const char *)ASN1_STRING_get0_data(gn->d.uniformResourceIdentifier);
        if (!str_starts(uri, TLS_URI_PREFIX)) {
            continue;
        }
        ok = strlen(uri) == (size_t)ASN1_STRING_length(gn->d.uniformResourceIdentifier) &&
             str_copy(dst, size, uri + strlen(TLS_URI_PREFIX));
        break;
    }
    GENERAL_NAMES_free(names);
    return ok;
}

int tls_peer_from_cert(X509 *cert, struct stream_peer *ret, struct err *err)
{
    struct stream_peer p;

    memset(&p, 0, sizeof(p));
    if (!tls_name_field(cert, NID_organizationName, p.role, sizeof(p.role)) ||
        !tls_name_field(cert, NID_commonName, p.name, sizeof(p.name)) ||
        !tls_name_cluster(cert, p.cluster, sizeof(p.cluster))) {
        return err_set(err, ERR_UNAUTHORIZED,
                       "a field of the peer's certificate is too long or holds a NUL");
    }
    *ret = p;
    return 0;
}
