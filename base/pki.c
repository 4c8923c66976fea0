#include "base/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/obj.h"
#include "base/pki_priv.h"
#include "base/str.h"

#define PKI_DAYS_DEFAULT 3650
#define PKI_DAYS_MAX 36500
#define PKI_CA_DAYS 7300
#define PKI_SERIAL_BITS 127 /* RFC 5280 section 4.1.2.2: positive, at most 20 octets */

int pki_fail(struct err *err, const char *doing)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = e == 0 ? NULL : ERR_reason_error_string(e);

    ERR_clear_error();
    return err_set(err, ERR_SYS, "%s: %s", doing, why == NULL ? "OpenSSL failed" : why);
}

/* --- files --- */

/* A file that did not exist before, in full and on the disk, or none at all. */
int pki_write_new(const char *file, mode_t mode, BIO *pem, struct err *err)
{
    char *data;
    long len = BIO_get_mem_data(pem, &data);
    int fd = -1;
    int rc;

    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return err_native(err, errno == EEXIST ? ERR_EXISTS : ERR_SYS, "errno", errno, "create %s",
                          file);
    }
    if (fchmod(fd, mode) != 0 || write(fd, data, (size_t)len) != len || fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "write %s", file);
        (void)unlink(file);
        goto out;
    }
    rc = 0;
out:
    (void)close(fd);
    return rc;
}

int pki_write_key(const char *file, EVP_PKEY *key, struct err *err)
{
    BIO *pem = BIO_new(BIO_s_secmem());
    int rc;

    CHECK(pem != NULL);
    if (PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) != 1) {
        rc = pki_fail(err, "encode private key");
        goto out;
    }
    rc = pki_write_new(file, 0600, pem, err);
out:
    BIO_free(pem);
    return rc;
}

static int pki_write_cert(const char *file, X509 *cert, struct err *err)
{
    BIO *pem = BIO_new(BIO_s_mem());
    int rc;

    CHECK(pem != NULL);
    if (PEM_write_bio_X509(pem, cert) != 1) {
        rc = pki_fail(err, "encode certificate");
        goto out;
    }
    rc = pki_write_new(file, 0644, pem, err);
out:
    BIO_free(pem);
    return rc;
}

/* The key first: a certificate without its key would look like a success. */
static int pki_write_pair(const char *cert_file, X509 *cert, const char *key_file, EVP_PKEY *key,
                          struct err *err)
{
    int rc;

    if (access(cert_file, F_OK) == 0) {
        return err_set(err, ERR_EXISTS, "create %s: the file exists; it is never overwritten",
                       cert_file);
    }
    rc = pki_write_key(key_file, key, err);
    if (rc != 0) {
        return rc;
    }
    rc = pki_write_cert(cert_file, cert, err);
    if (rc != 0) {
        (void)unlink(key_file);
    }
    return rc;
}

static FILE *pki_open(const char *file, struct err *err)
{
    FILE *f = fopen(file, "re");

    if (f == NULL) {
        (void)err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno, "open %s",
                         file);
    }
    return f;
}

int pki_read_ca(const char *dir, X509 **ret_cert, EVP_PKEY **ret_key, struct err *err)
{
    char *cert_file = mem_printf("%s/ca.crt", dir);
    char *key_file = mem_printf("%s/ca.key", dir);
    FILE *fc = NULL, *fk = NULL;
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    int rc;

    fc = pki_open(cert_file, err);
    fk = fc == NULL ? NULL : pki_open(key_file, err);
    if (fk == NULL) {
        rc = err->code;
        goto out;
    }
    cert = PEM_read_X509(fc, NULL, NULL, NULL);
    key = PEM_read_PrivateKey(fk, NULL, NULL, (void *)(uintptr_t) "");
    if (cert == NULL || key == NULL) {
        rc = pki_fail(err, cert == NULL ? cert_file : key_file);
        goto out;
    }
    if (X509_check_private_key(cert, key) != 1) {
        ERR_clear_error();
        rc = err_set(err, ERR_INVALID, "%s does not belong to %s", key_file, cert_file);
        goto out;
    }
    *ret_cert = cert;
    *ret_key = key;
    cert = NULL;
    key = NULL;
    rc = 0;
out:
    if (fc != NULL) {
        (void)fclose(fc);
    }
    if (fk != NULL) {
        (void)fclose(fk);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    free(cert_file);
    free(key_file);
    return rc;
}

/* --- certificates --- */

static int pki_add_name(X509_NAME *name, int nid, const char *text, struct err *err)
{
    if (text == NULL || text[0] == '\0') {
        return err_set(err, ERR_INVALID, "certificate: role and name must not be empty");
    }
    if (X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)(uintptr_t)text,
                                   -1, -1, 0) != 1) {
        ERR_clear_error();
        return err_set(err, ERR_INVALID,
                       "certificate: \"%s\" cannot stand in a subject (64 "
                       "characters at most)",
                       text);
    }
    return 0;
}

static int pki_add_ext(X509 *cert, X509 *issuer, int nid, const char *value, struct err *err)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int ok;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok ? 0 : pki_fail(err, "certificate extension");
}

static void pki_san_text(GENERAL_NAMES *names, int type, const char *text)
{
    GENERAL_NAME *gn = GENERAL_NAME_new();
    ASN1_IA5STRING *s = ASN1_IA5STRING_new();

    CHECK(gn != NULL && s != NULL);
    CHECK(ASN1_STRING_set(s, text, -1) == 1);
    GENERAL_NAME_set0_value(gn, type, s);
    CHECK(sk_GENERAL_NAME_push(names, gn) > 0);
}

static int pki_san_ips(GENERAL_NAMES *names, const char *list, struct err *err)
{
    char *copy = mem_strdup(list);
    char *save = NULL;
    int rc = 0;

    for (char *ip = strtok_r(copy, ", ", &save); ip != NULL && rc == 0;
         ip = strtok_r(NULL, ", ", &save)) {
        ASN1_OCTET_STRING *bytes = a2i_IPADDRESS(ip);
        GENERAL_NAME *gn;

        if (bytes == NULL) {
            ERR_clear_error();
            rc = err_set(err, ERR_INVALID, "certificate: \"%s\" is not an IP address", ip);
            break;
        }
        gn = GENERAL_NAME_new();
        CHECK(gn != NULL);
        GENERAL_NAME_set0_value(gn, GEN_IPADD, bytes);
        CHECK(sk_GENERAL_NAME_push(names, gn) > 0);
    }
    free(copy);
    return rc;
}

static int pki_add_san(X509 *cert, const struct pki_subject *subject, struct err *err)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    char *uri = mem_printf("picket:%s", subject->cluster);
    int rc;

    CHECK(names != NULL);
    pki_san_text(names, GEN_URI, uri);
    if (str_is_name(subject->name)) {
        pki_san_text(names, GEN_DNS, subject->name);
    }
    if (subject->dns != NULL) {
        pki_san_text(names, GEN_DNS, subject->dns);
    }
    rc = subject->ip == NULL ? 0 : pki_san_ips(names, subject->ip, err);
    if (rc == 0 && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) != 1) {
        rc = pki_fail(err, "certificate SAN");
    }
    GENERAL_NAMES_free(names);
    free(uri);
    return rc;
}

static int pki_set_serial(X509 *cert)
{
    BIGNUM *bn = BN_new();
    int ok;

    CHECK(bn != NULL);
    ok = BN_rand(bn, PKI_SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) != NULL;
    BN_free(bn);
    return ok;
}

/* Version, serial, validity and key; no names and no extensions yet. */
int pki_new_cert(EVP_PKEY *key, uint64_t seconds, X509 **ret, struct err *err)
{
    X509 *cert = X509_new();

    CHECK(cert != NULL);
    if (X509_set_version(cert, X509_VERSION_3) != 1 || pki_set_serial(cert) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(cert), -PKI_BACKDATE_S) == NULL ||
        X509_gmtime_adj(X509_getm_notAfter(cert), (long)seconds) == NULL ||
        X509_set_pubkey(cert, key) != 1) {
        X509_free(cert);
        return pki_fail(err, "make certificate");
    }
    *ret = cert;
    return 0;
}

int pki_validity(const struct pki_subject *subject, uint64_t *ret_seconds, struct err *err)
{
    uint64_t days = subject->days != 0 ? subject->days : PKI_DAYS_DEFAULT;

    if (days > PKI_DAYS_MAX || subject->seconds > PKI_DAYS_MAX * (uint64_t)PKI_DAY_S) {
        return err_set(err, ERR_INVALID, "certificate: a validity of more than %d days is refused",
                       PKI_DAYS_MAX);
    }
    *ret_seconds = subject->seconds != 0 ? subject->seconds : days * (uint64_t)PKI_DAY_S;
    return 0;
}

int pki_sign(X509 *cert, EVP_PKEY *ca_key, struct err *err)
{
    return X509_sign(cert, ca_key, EVP_sha256()) > 0 ? 0 : pki_fail(err, "sign certificate");
}

int pki_new_key(EVP_PKEY **ret, struct err *err)
{
    *ret = EVP_EC_gen("P-256");
    return *ret != NULL ? 0 : pki_fail(err, "make a P-256 key");
}

static int pki_fill_ca(X509 *cert, const struct pki_subject *subject, struct err *err)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int rc;

    rc = pki_add_name(name, NID_organizationName, subject->role, err);
    rc = rc != 0 ? rc : pki_add_name(name, NID_commonName, subject->name, err);
    if (rc == 0 && X509_set_issuer_name(cert, name) != 1) {
        rc = pki_fail(err, "certificate issuer");
    }
    rc = rc != 0
             ? rc
             : pki_add_ext(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0", err);
    rc = rc != 0 ? rc : pki_add_ext(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign", err);
    rc = rc != 0 ? rc : pki_add_ext(cert, cert, NID_subject_key_identifier, "hash", err);
    return rc != 0 ? rc : pki_add_san(cert, subject, err);
}

int pki_fill_leaf(X509 *cert, X509 *ca, const struct pki_subject *subject, struct err *err)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int rc;

    rc = pki_add_name(name, NID_organizationName, subject->role, err);
    rc = rc != 0 ? rc : pki_add_name(name, NID_commonName, subject->name, err);
    if (rc == 0 && X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1) {
        rc = pki_fail(err, "certificate issuer");
    }
    rc = rc != 0 ? rc : pki_add_ext(cert, ca, NID_basic_constraints, "critical,CA:FALSE", err);
    rc = rc != 0 ? rc : pki_add_ext(cert, ca, NID_key_usage, "critical,digitalSignature", err);
    rc = rc != 0 ? rc : pki_add_ext(cert, ca, NID_ext_key_usage, "serverAuth,clientAuth", err);
    rc = rc != 0 ? rc : pki_add_ext(cert, ca, NID_subject_key_identifier, "hash", err);
    rc = rc != 0 ? rc : pki_add_ext(cert, ca, NID_authority_key_identifier, "keyid:always", err);
    return rc != 0 ? rc : pki_add_san(cert, subject, err);
}

int pki_check_cluster(const char *cluster, struct err *err)
{
    if (cluster == NULL || cluster[0] == '\0' || strlen(cluster) >= 40) {
        return err_set(err, ERR_INVALID,
                       "certificate: the cluster id must have 1 to 39 characters");
    }
    return 0;
}

int pki_make_ca(const char *dir, const char *cluster, struct err *err)
{
    struct pki_subject subject = { .role = "picket:ca", .name = "picket-ca", .cluster = cluster };
    char *cert_file = mem_printf("%s/ca.crt", dir);
    char *key_file = mem_printf("%s/ca.key", dir);
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    int rc;

    ERR_clear_error();
    rc = pki_check_cluster(cluster, err);
    if (rc == 0 && mkdir(dir, 0700) != 0 && errno != EEXIST) {
        rc = err_native(err, ERR_SYS, "errno", errno, "create %s", dir);
    }
    rc = rc != 0 ? rc : pki_new_key(&key, err);
    rc = rc != 0 ? rc : pki_new_cert(key, PKI_CA_DAYS * (uint64_t)PKI_DAY_S, &cert, err);
    rc = rc != 0 ? rc : pki_fill_ca(cert, &subject, err);
    rc = rc != 0 ? rc : pki_sign(cert, key, err);
    rc = rc != 0 ? rc : pki_write_pair(cert_file, cert, key_file, key, err);
    X509_free(cert);
    EVP_PKEY_free(key);
    free(cert_file);
    free(key_file);
    return rc;
}

int pki_issue(const char *ca_dir, const struct pki_subject *subject, const char *cert_file,
              const char *key_file, struct err *err)
{
    uint64_t seconds = 0;
    EVP_PKEY *key = NULL, *ca_key = NULL;
    X509 *cert = NULL, *ca = NULL;
    int rc;

    ERR_clear_error();
    rc = pki_check_cluster(subject->cluster, err);
    rc = rc != 0 ? rc : pki_validity(subject, &seconds, err);
    rc = rc != 0 ? rc : pki_read_ca(ca_dir, &ca, &ca_key, err);
    rc = rc != 0 ? rc : pki_new_key(&key, err);
    rc = rc != 0 ? rc : pki_new_cert(key, seconds, &cert, err);
    rc = rc != 0 ? rc : pki_fill_leaf(cert, ca, subject, err);
    rc = rc != 0 ? rc : pki_sign(cert, ca_key, err);
    rc = rc != 0 ? rc : pki_write_pair(cert_file, cert, key_file, key, err);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return rc;
}
