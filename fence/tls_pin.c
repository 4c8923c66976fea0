#include "fence/tls_pin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#define CONNECT_MS 10000U
#define IDLE_MS 120000 /* longer than any operation takes */
#define CERT_S 86400L

/* --- fingerprints ------------------------------------------------------------------------------
 */

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int tls_pin_parse(const char *text, uint8_t ret[TLS_PIN_BYTES], struct err *err)
{
    size_t n = 0;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == ':') {
            continue;
        }
        if (digit(*p) < 0 || n == 2 * (size_t)TLS_PIN_BYTES) {
            n = 0;
            break;
        }
        ret[n / 2] = (uint8_t)(n % 2 == 0 ? digit(*p) << 4 : ret[n / 2] | digit(*p));
        n++;
    }
    return n == 2 * (size_t)TLS_PIN_BYTES
               ? 0
               : err_set(err, ERR_INVALID,
                         "a SHA-256 fingerprint has 64 hexadecimal digits; `openssl x509 -noout "
                         "-fingerprint -sha256` prints it");
}

/* --- sockets -----------------------------------------------------------------------------------
 */

static bool parse(const char *address, struct sockaddr_storage *ss, socklen_t *len)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
    const char *colon = strrchr(address, ':');
    char host[64];
    uint64_t port;

    memset(ss, 0, sizeof(*ss));
    if (colon == NULL || (size_t)(colon - address) >= sizeof(host) ||
        !str_parse_u64(colon + 1, &port) || port > UINT16_MAX) {
        return false;
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (host[0] == '[') {
        host[strlen(host) - 1] = '\0';
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        *len = sizeof(*in6);
        return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    *len = sizeof(*in);
    return inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

static int wait_fd(int fd, short events, uint64_t until_ms)
{
    uint64_t now = clock_now_ms();
    struct pollfd p = { .fd = fd, .events = events };

    return now < until_ms && poll(&p, 1, (int)(until_ms - now)) == 1 ? 0 : -1;
}

/* A non-blocking connected socket. */
static int dial(const char *address, uint64_t until_ms, int *ret, struct err *err)
{
    struct sockaddr_storage ss;
    socklen_t len, elen = sizeof(int);
    int e = 0, fd;

    if (!parse(address, &ss, &len)) {
        return err_set(err, ERR_INVALID, "%.100s is no address with a port", address);
    }
    fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "socket");
    }
    if (connect(fd, (const struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS) {
        e = errno;
    } else if (wait_fd(fd, POLLOUT, until_ms) != 0) {
        e = ETIMEDOUT;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &elen) != 0) {
        e = errno;
    }
    if (e != 0) {
        (void)close(fd);
        return err_native(err, e == ETIMEDOUT ? ERR_TIMEOUT : ERR_UNREACHABLE, "errno", e,
                          "connect to %s", address);
    }
    *ret = fd;
    return 0;
}

/* --- TLS ---------------------------------------------------------------------------------------
 */

static int handshake(SSL *ssl, bool server, uint64_t until_ms)
{
    for (;;) {
        int rc = server ? SSL_accept(ssl) : SSL_connect(ssl);
        int why = SSL_get_error(ssl, rc);

        if (rc == 1) {
            return 0;
        }
        if ((why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) ||
            wait_fd(SSL_get_fd(ssl), why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until_ms) !=
                0) {
            return -1;
        }
    }
}

static int compare(SSL *ssl, const char *address, const uint8_t pin[TLS_PIN_BYTES], struct err *err)
{
    X509 *cert = SSL_get1_peer_certificate(ssl);
    unsigned char got[EVP_MAX_MD_SIZE];
    char want_hex[2 * TLS_PIN_BYTES + 1], got_hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned int n = 0;
    bool ok = cert != NULL && X509_digest(cert, EVP_sha256(), got, &n) == 1 && n == TLS_PIN_BYTES;

    X509_free(cert);
    if (!ok) {
        return err_set(err, ERR_REFUSED, "%s shows no certificate", address);
    }
    if (memcmp(got, pin, TLS_PIN_BYTES) == 0) {
        return 0;
    }
    str_hex(pin, TLS_PIN_BYTES, want_hex);
    str_hex(got, n, got_hex);
    return err_set(err, ERR_REFUSED,
                   "the certificate of %s has the fingerprint %s, not %s (spec.tlsFingerprint)",
                   address, got_hex, want_hex);
}

/* A connection to the card, which has shown the pinned certificate. */
static int open_card(SSL_CTX *ctx, const char *address, const uint8_t pin[TLS_PIN_BYTES],
                     uint64_t timeout_ms, SSL **ret, struct err *err)
{
    uint64_t until = clock_now_ms() + timeout_ms;
    SSL *ssl;
    int fd = -1;
    int rc = dial(address, until, &fd, err);

    if (rc != 0) {
        return rc;
    }
    ssl = SSL_new(ctx);
    CHECK(ssl != NULL && SSL_set_fd(ssl, fd) == 1);
    if (handshake(ssl, false, until) != 0) {
        rc = err_set(err, ERR_UNREACHABLE, "no TLS with %s", address);
    } else {
        rc = compare(ssl, address, pin, err);
    }
    if (rc != 0) {
        SSL_free(ssl);
        (void)close(fd);
        return rc;
    }
    *ret = ssl;
    return 0;
}

static SSL_CTX *client_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    CHECK(ctx != NULL);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL); /* the pin is the check */
    (void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    return ctx;
}

int tls_pin_check(const char *address, const uint8_t pin[TLS_PIN_BYTES], uint64_t timeout_ms,
                  struct err *err)
{
    SSL_CTX *ctx = client_ctx();
    SSL *ssl = NULL;
    int rc = open_card(ctx, address, pin, timeout_ms, &ssl, err);

    if (rc == 0) {
        int fd = SSL_get_fd(ssl);

        (void)SSL_shutdown(ssl);
        SSL_free(ssl);
        (void)close(fd);
    }
    SSL_CTX_free(ctx);
    return rc;
}

/* What the agent is shown: a key and a certificate of this moment. */
static SSL_CTX *server_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();

    CHECK(ctx != NULL && key != NULL && cert != NULL);
    CHECK(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(cert), -CERT_S) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(cert), CERT_S) != NULL);
    CHECK(X509_set_pubkey(cert, key) == 1);
    CHECK(X509_sign(cert, key, EVP_sha256()) > 0);
    CHECK(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    (void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

/* --- the relay ---------------------------------------------------------------------------------
 */

static bool write_all(SSL *to, const char *data, int n)
{
    while (n > 0) {
        int rc = SSL_write(to, data, n);
        int why = SSL_get_error(to, rc);

        if (rc > 0) {
            data += rc;
            n -= rc;
        } else if ((why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) ||
                   wait_fd(SSL_get_fd(to), why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
                           clock_now_ms() + IDLE_MS) != 0) {
            return false;
        }
    }
    return true;
}

/* Everything that is there; false at the end of the connection. */
static bool move(SSL *from, SSL *to)
{
    char data[16384];

    for (;;) {
        int n = SSL_read(from, data, sizeof(data));

        if (n > 0) {
            if (!write_all(to, data, n)) {
                return false;
            }
            continue;
        }
        n = SSL_get_error(from, n);
        return n == SSL_ERROR_WANT_READ || n == SSL_ERROR_WANT_WRITE;
    }
}

static void pump(SSL *a, SSL *b)
{
    struct pollfd p[2] = { { .fd = SSL_get_fd(a), .events = POLLIN },
                           { .fd = SSL_get_fd(b), .events = POLLIN } };

    while (move(a, b) && move(b, a) && poll(p, 2, IDLE_MS) > 0) {
    }
    (void)SSL_shutdown(a);
    (void)SSL_shutdown(b);
}

struct relay {
    int fd;
    const char *address;
    const uint8_t *pin;
    SSL_CTX *client, *server;
};

static void relay_one(const struct relay *r, int fd)
{
    SSL *card = NULL, *agent;
    struct err err;

    if (open_card(r->client, r->address, r->pin, CONNECT_MS, &card, &err) != 0) {
        return; /* the agent sees a connection that ends: it failed */
    }
    agent = SSL_new(r->server);
    CHECK(agent != NULL && SSL_set_fd(agent, fd) == 1);
    if (handshake(agent, true, clock_now_ms() + CONNECT_MS) == 0) {
        pump(agent, card);
    }
}

/* A process for each connection; they end with this one. */
static void relay_run(const struct relay *r)
{
    (void)signal(SIGCHLD, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept4(r->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        pid_t pid = fd < 0 ? -1 : fork();

        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            relay_one(r, fd);
            _exit(0);
        }
        if (fd >= 0) {
            (void)close(fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            _exit(1);
        }
    }
}

static int listen_here(uint16_t *ret_port, struct err *err)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&in, sizeof(in)) != 0 || listen(fd, 8) != 0 ||
        getsockname(fd, (struct sockaddr *)&in, &len) != 0) {
        (void)err_native(err, ERR_SYS, "errno", errno, "listen on 127.0.0.1");
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    *ret_port = ntohs(in.sin_port);
    return fd;
}

int tls_pin_start(const char *address, const uint8_t pin[TLS_PIN_BYTES], struct tls_pin *ret,
                  struct err *err)
{
    pid_t parent = getpid();
    struct relay r = { .address = address, .pin = pin };

    *ret = (struct tls_pin){ 0 };
    r.fd = listen_here(&ret->port, err);
    if (r.fd < 0) {
        return err->code;
    }
    r.client = client_ctx();
    r.server = server_ctx();
    ret->pid = fork();
    if (ret->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            relay_run(&r);
        }
        _exit(1);
    }
    SSL_CTX_free(r.client);
    SSL_CTX_free(r.server);
    (void)close(r.fd);
    if (ret->pid < 0) {
        ret->pid = 0;
        return err_native(err, ERR_SYS, "errno", errno, "fork");
    }
    return 0;
}

void tls_pin_stop(struct tls_pin *p)
{
    if (p->pid > 0) {
        (void)kill(p->pid, SIGKILL);
        (void)waitpid(p->pid, NULL, 0);
    }
    p->pid = 0;
}
