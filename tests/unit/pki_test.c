/* The certificate authority: what is in the certificates, and what is refused. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/obj.h"
#include "base/pki.h"
#include "base/stream.h"

#define CLUSTER "11111111-2222-4333-8444-555555555555"

static char test_dir[] = "/tmp/picket-pki-XXXXXX";

static const char *at(const char *name)
{
    static char paths[8][128];
    static size_t next;
    char *p = paths[next++ % 8];

    (void)snprintf(p, sizeof(paths[0]), "%s/%s", test_dir, name);
    return p;
}

static X509 *read_cert(const char *path)
{
    FILE *f = fopen(path, "r");
    X509 *cert;

    assert_non_null(f);
    cert = PEM_read_X509(f, NULL, NULL, NULL);
    assert_non_null(cert);
    (void)fclose(f);
    return cert;
}

static unsigned mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

/* Does the CA vouch for the certificate, for this use? */
static bool verifies(X509 *ca, X509 *cert, int purpose)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool ok;

    assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
    assert_int_equal(X509_STORE_CTX_set_purpose(ctx, purpose), 1);
    ok = X509_verify_cert(ctx) == 1;
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return ok;
}

static void test_issue(void **state)
{
    struct pki_subject s = { .role = "picket:voters",
                             .name = "host-a",
                             .cluster = CLUSTER,
                             .dns = "api.example.net",
                             .ip = "10.1.2.3, fd00::1",
                             .days = 30 };
    X509 *ca, *cert;
    struct err err;
    time_t soon = time(NULL) + 29 * 86400, later = time(NULL) + 31 * 86400;

    (void)state;
    assert_int_equal(pki_make_ca(at("ca"), CLUSTER, &err), 0);
    assert_int_equal(pki_issue(at("ca"), &s, at("a.crt"), at("a.key"), &err), 0);
    assert_int_equal(mode_of(at("ca/ca.key")), 0600);
    assert_int_equal(mode_of(at("a.key")), 0600);
    assert_int_equal(mode_of(at("a.crt")), 0644);
    ca = read_cert(at("ca/ca.crt"));
    cert = read_cert(at("a.crt"));
    assert_true(verifies(ca, cert, X509_PURPOSE_SSL_SERVER));
    assert_true(verifies(ca, cert, X509_PURPOSE_SSL_CLIENT));
    assert_int_equal(X509_check_ca(cert), 0);
    assert_true(X509_check_ca(ca) > 0);
    assert_int_equal(X509_check_host(cert, "host-a", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "api.example.net", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "host-b", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(cert, "10.1.2.3", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "fd00::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "10.1.2.4", 0), 0);
    assert_int_equal(X509_cmp_time(X509_get0_notAfter(cert), &soon), 1);
    assert_int_equal(X509_cmp_time(X509_get0_notAfter(cert), &later), -1);
    X509_free(ca);
    X509_free(cert);
}

static void test_other_ca_does_not_vouch(void **state)
{
    struct pki_subject s = { .role = "picket:agents", .name = "b", .cluster = CLUSTER };
    X509 *ca, *cert;
    struct err err;

    (void)state;
    assert_int_equal(pki_make_ca(at("other"), CLUSTER, &err), 0);
    assert_int_equal(pki_issue(at("other"), &s, at("b.crt"), at("b.key"), &err), 0);
    ca = read_cert(at("ca/ca.crt"));
    cert = read_cert(at("b.crt"));
    assert_false(verifies(ca, cert, X509_PURPOSE_SSL_CLIENT));
    X509_free(ca);
    X509_free(cert);
}

static void test_never_overwrites(void **state)
{
    struct pki_subject s = { .role = "r", .name = "n", .cluster = CLUSTER };
    struct err err;
    struct stat before, after;

    (void)state;
    assert_int_equal(stat(at("ca/ca.key"), &before), 0);
    assert_int_equal(pki_make_ca(at("ca"), CLUSTER, &err), ERR_EXISTS);
    assert_int_equal(stat(at("ca/ca.key"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(pki_issue(at("ca"), &s, at("c.crt"), at("a.key"), &err), ERR_EXISTS);
    assert_int_not_equal(access(at("c.crt"), F_OK), 0); /* nothing half-done is left */
    assert_int_equal(pki_issue(at("ca"), &s, at("a.crt"), at("c.key"), &err), ERR_EXISTS);
    assert_int_not_equal(access(at("c.key"), F_OK), 0);
}

static void refuse(const struct pki_subject *s, const char *text)
{
    struct err err;

    assert_int_equal(pki_issue(at("ca"), s, at("d.crt"), at("d.key"), &err), ERR_INVALID);
    if (strstr(err.msg, text) == NULL) {
        fail_msg("%s", err.msg);
    }
    assert_int_not_equal(access(at("d.crt"), F_OK), 0);
    assert_int_not_equal(access(at("d.key"), F_OK), 0);
}

static void test_bad_subjects(void **state)
{
    char longer[100];

    (void)state;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    refuse(&(struct pki_subject){ .name = "n", .cluster = CLUSTER }, "must not be empty");
    refuse(&(struct pki_subject){ .role = "r", .name = "", .cluster = CLUSTER },
           "must not be empty");
    refuse(&(struct pki_subject){ .role = "r", .name = longer, .cluster = CLUSTER }, "64");
    refuse(&(struct pki_subject){ .role = "r", .name = "n" }, "cluster id");
    refuse(&(struct pki_subject){ .role = "r", .name = "n", .cluster = longer }, "cluster id");
    refuse(&(struct pki_subject){ .role = "r", .name = "n", .cluster = CLUSTER, .ip = "1.2.3" },
           "\"1.2.3\" is not an IP address");
    refuse(&(struct pki_subject){ .role = "r", .name = "n", .cluster = CLUSTER, .days = 1000000 },
           "validity");
}

static void test_bad_files(void **state)
{
    struct pki_subject s = { .role = "r", .name = "n", .cluster = CLUSTER };
    struct tls_ctx *tls = NULL;
    struct err err;
    FILE *f;

    (void)state;
    assert_int_equal(pki_issue(at("nowhere"), &s, at("e.crt"), at("e.key"), &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "nowhere/ca.crt"));
    assert_int_equal(pki_make_ca(at("no/such/dir"), CLUSTER, &err), ERR_SYS);
    /* The key of another certificate; a file that is none; a file that is missing. */
    assert_int_equal(tls_ctx_load(at("a.crt"), at("b.key"), at("ca/ca.crt"), NULL, &tls, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "does not belong"));
    f = fopen(at("junk"), "w");
    assert_non_null(f);
    (void)fputs("junk", f);
    (void)fclose(f);
    assert_int_equal(tls_ctx_load(at("junk"), at("a.key"), at("ca/ca.crt"), NULL, &tls, &err),
                     ERR_INVALID);
    assert_int_equal(tls_ctx_load(at("a.crt"), at("junk"), at("ca/ca.crt"), NULL, &tls, &err),
                     ERR_INVALID);
    assert_int_equal(tls_ctx_load(at("a.crt"), at("a.key"), at("junk"), NULL, &tls, &err),
                     ERR_INVALID);
    assert_int_equal(tls_ctx_load(at("a.crt"), at("gone"), at("ca/ca.crt"), NULL, &tls, &err),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "gone"));
    assert_null(tls);
    assert_int_equal(tls_ctx_load(at("a.crt"), at("a.key"), at("ca/ca.crt"), CLUSTER, &tls, &err),
                     0);
    tls_ctx_unref(tls_ctx_ref(tls));
    tls_ctx_unref(tls);
}

static void write_file(const char *file, const char *text)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static char *signed_for(const char *csr)
{
    struct pki_subject s = {
        .role = "picket:voters", .name = "n1", .cluster = CLUSTER, .ip = "10.0.0.1", .seconds = 300
    };
    struct err err;
    char *cert = NULL;

    assert_int_equal(pki_sign_request(at("ca"), csr, &s, &cert, &err), 0);
    return cert;
}

/* A renewal replaces both files or none, and a process that has the old pair loaded takes the new
 * one by itself. */
static void test_renewal(void **state)
{
    struct pki_subject s = { .role = "picket:voters",
                             .name = "n1",
                             .cluster = CLUSTER,
                             .ip = "10.0.0.1,10.1.0.1",
                             .seconds = 90 };
    char cert_file[200], key_file[200], fresh[220], ips[100];
    char *csr = NULL, *other = NULL, *cert;
    struct tls_ctx *tls = NULL;
    int64_t left, life;
    struct err err;

    (void)state;
    (void)snprintf(cert_file, sizeof(cert_file), "%s", at("r.crt"));
    (void)snprintf(key_file, sizeof(key_file), "%s", at("r.key"));
    assert_int_equal(pki_issue(at("ca"), &s, cert_file, key_file, &err), 0);
    assert_int_equal(pki_cert_life(cert_file, &left, &life, &err), 0);
    assert_int_equal(life, 90);
    assert_true(left > 60 && left <= 90);
    assert_false(pki_renew_due(left, life));
    assert_true(pki_renew_due(30, 90));
    assert_true(pki_renew_due(-5, 90));
    assert_int_equal(pki_cert_ips(cert_file, ips, sizeof(ips), &err), 0);
    assert_string_equal(ips, "10.0.0.1,10.1.0.1");

    assert_int_equal(pki_renew_begin(key_file, &csr, &err), 0);
    free(csr);
    assert_int_equal(pki_renew_begin(key_file, &csr, &err), 0); /* the first one came to nothing */
    assert_int_equal(pki_request(at("foreign.key"), &other, &err), 0);
    cert = signed_for(other);
    assert_int_equal(pki_renew_finish(cert_file, key_file, cert, &err), ERR_INVALID);
    free(cert);
    assert_int_equal(pki_renew_finish(cert_file, key_file, "junk", &err), ERR_INVALID);
    assert_int_equal(pki_cert_life(cert_file, &left, &life, &err), 0);
    assert_int_equal(life, 90);

    cert = signed_for(csr);
    assert_int_equal(pki_renew_finish(cert_file, key_file, cert, &err), 0);
    assert_int_equal(pki_cert_life(cert_file, &left, &life, &err), 0);
    assert_int_equal(life, 300);
    assert_int_equal(tls_ctx_load(cert_file, key_file, at("ca/ca.crt"), CLUSTER, &tls, &err), 0);
    tls_ctx_unref(tls);
    free(cert);
    free(csr);

    /* killed between the two renames: the new certificate is not in its place yet */
    assert_int_equal(pki_renew_begin(key_file, &csr, &err), 0);
    cert = signed_for(csr);
    (void)snprintf(fresh, sizeof(fresh), "%s.new", key_file);
    assert_int_equal(rename(fresh, key_file), 0);
    (void)snprintf(fresh, sizeof(fresh), "%s.new", cert_file);
    write_file(fresh, cert);
    assert_int_equal(tls_ctx_load(cert_file, key_file, at("ca/ca.crt"), CLUSTER, &tls, &err),
                     ERR_INVALID);
    assert_int_equal(pki_renew_recover(cert_file, key_file, &err), 0);
    assert_int_equal(tls_ctx_load(cert_file, key_file, at("ca/ca.crt"), CLUSTER, &tls, &err), 0);
    tls_ctx_unref(tls);
    assert_int_equal(pki_renew_recover(cert_file, key_file, &err), 0); /* nothing to do */
    free(cert);
    free(csr);
    free(other);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(test_dir) == NULL ? -1 : 0;
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
        cmocka_unit_test(test_issue),
        cmocka_unit_test(test_other_ca_does_not_vouch),
        cmocka_unit_test(test_never_overwrites),
        cmocka_unit_test(test_bad_subjects),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_renewal),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
