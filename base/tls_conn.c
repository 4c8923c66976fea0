#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "base/obj.h"
#include "base/str.h"
#include "base/stream_priv.h"

int tls_conn_init(struct tls_conn *t, struct tls_ctx *ctx, bool server, const char *want_role,
                  const char *want_name, struct err *err)
{
    OBJ_CHECK(ctx, TLS_CTX_MAGIC);
    memset(t, 0, sizeof(*t));
    if ((want_role != NULL && !str_copy(t->want_role, sizeof(t->want_role), want_role)) ||
        (want_name != NULL && !str_copy(t->want_name, sizeof(t->want_name), want_name))) {
        return err_set(err, ERR_INVALID, "the wanted role or name of the peer is too long");
    }
    tls_ctx_refresh(ctx);
    t->ctx = tls_ctx_ref(ctx);
    t->ssl = SSL_new(ctx->ssl);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    CHECK(t->ssl != NULL && t->in != NULL && t->out != NULL);
    SSL_set_bio(t->ssl, t->in, t->out);
    CHECK(SSL_set_app_data(t->ssl, t) == 1);
    if (server) {
        SSL_set_accept_state(t->ssl);
    } else {
        SSL_set_connect_state(t->ssl);
        if (want_name != NULL && strlen(want_name) <= TLSEXT_MAXLEN_host_name) {
            (void)SSL_set_tlsext_host_name(t->ssl, want_name);
        }
    }
    return 0;
}

void tls_conn_done(struct tls_conn *t)
{
    SSL_free(t->ssl);
    t->ssl = NULL;
    tls_ctx_unref(t->ctx);
    t->ctx = NULL;
}

void tls_conn_feed(struct tls_conn *t, const void *data, size_t len)
{
    CHECK(len <= STREAM_READ_MAX);
    if (len > 0) {
        CHECK(BIO_write(t->in, data, (int)len) == (int)len);
    }
}

/* An alert that says "I do not like your certificate" means that the peer did nothing for us. */
static bool tls_is_cert_alert(unsigned long e)
{
    switch (ERR_GET_REASON(e)) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return true;
    default:
        return false;
    }
}

static int tls_conn_error(struct tls_conn *t, const char *doing, struct err *err)
{
    unsigned long e = ERR_peek_last_error();
    char text[160];

    tls_error_text(text, sizeof(text));
    if (t->refusal[0] != '\0') {
        return err_set(err, ERR_UNAUTHORIZED, "TLS %s: the peer's certificate was refused: %s",
                       doing, t->refusal);
    }
    if (e != 0 && tls_is_cert_alert(e)) {
        return err_set(err, ERR_UNAUTHORIZED, "TLS %s: the peer refused our certificate: %s", doing,
                       text);
    }
    return err_set(err, ERR_UNREACHABLE, "TLS %s: %s", doing, e == 0 ? "connection broke" : text);
}

int tls_conn_handshake(struct tls_conn *t, bool *ret_done, struct err *err)
{
    int r;

    ERR_clear_error();
    r = SSL_do_handshake(t->ssl);
    if (r == 1) {
        *ret_done = true;
        return 0;
    }
    if (SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ) {
        *ret_done = false;
        return 0;
    }
    return tls_conn_error(t, "handshake", err);
}

int tls_conn_read(struct tls_conn *t, void *dst, size_t cap, size_t *ret_len, bool *ret_eof,
                  struct err *err)
{
    size_t n = 0;
    int e;

    ERR_clear_error();
    *ret_eof = false;
    *ret_len = 0;
    if (SSL_read_ex(t->ssl, dst, cap, &n) == 1) {
        *ret_len = n;
        return 0;
    }
    e = SSL_get_error(t->ssl, 0);
    if (e == SSL_ERROR_WANT_READ) {
        return 0;
    }
    if (e == SSL_ERROR_ZERO_RETURN) {
        *ret_eof = true;
        return 0;
    }
    return tls_conn_error(t, "read", err);
}

int tls_conn_write(struct tls_conn *t, const void *data, size_t len, struct err *err)
{
    size_t n = 0;

    ERR_clear_error();
    if (SSL_write_ex(t->ssl, data, len, &n) != 1) {
        return tls_conn_error(t, "write", err);
    }
    CHECK(n == len); /* a memory BIO takes everything */
    return 0;
}

void tls_conn_take(struct tls_conn *t, struct buf *wire)
{
    char *p;
    long n = BIO_get_mem_data(t->out, &p);

    if (n > 0) {
        buf_add(wire, p, (size_t)n);
        (void)BIO_reset(t->out);
    }
}

void tls_conn_shutdown(struct tls_conn *t)
{
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}
