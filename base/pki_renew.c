#include "base/pki_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/obj.h"
#include "base/str.h"

/* The files of a renewal: KEY.new first, then CERT.new; then the key is renamed, then the
 * certificate.  Who dies between the two renames finds a CERT.new that fits the key. */

static X509 *read_cert(const char *file, struct err *err)
{
    FILE *f = fopen(file, "re");
    X509 *cert;

    if (f == NULL) {
        (void)err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno, "open %s",
                         file);
        return NULL;
    }
    cert = PEM_read_X509(f, NULL, NULL, NULL);
    (void)fclose(f);
    if (cert == NULL) {
        ERR_clear_error();
        (void)err_set(err, ERR_INVALID, "%s: this is no certificate", file);
    }
    return cert;
}

static EVP_PKEY *read_key(const char *file)
{
    FILE *f = fopen(file, "re");
    EVP_PKEY *key;

    if (f == NULL) {
        return NULL;
    }
    key = PEM_read_PrivateKey(f, NULL, NULL, (void *)(uintptr_t) "");
    (void)fclose(f);
    ERR_clear_error();
    return key;
}

static bool fits(const char *cert_file, const char *key_file)
{
    struct err err;
    X509 *cert = read_cert(cert_file, &err);
    EVP_PKEY *key = cert == NULL ? NULL : read_key(key_file);
    bool ok = key != NULL && X509_check_private_key(cert, key) == 1;

    ERR_clear_error();
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok;
}

int pki_cert_life(const char *cert_file, int64_t *ret_left_s, int64_t *ret_life_s, struct err *err)
{
    X509 *cert = read_cert(cert_file, err);
    int days, secs, all_days, all_secs;
    int rc = 0;

    if (cert == NULL) {
        return err->code;
    }
    if (ASN1_TIME_diff(&days, &secs, NULL, X509_get0_notAfter(cert)) != 1 ||
        ASN1_TIME_diff(&all_days, &all_secs, X509_get0_notBefore(cert), X509_get0_notAfter(cert)) !=
            1) {
        rc = pki_fail(err, "read the validity of a certificate");
    } else {
        *ret_left_s = (int64_t)days * PKI_DAY_S + secs;
        *ret_life_s = (int64_t)all_days * PKI_DAY_S + all_secs - PKI_BACKDATE_S;
    }
    X509_free(cert);
    return rc;
}

int pki_cert_ips(const char *cert_file, char *dst, size_t size, struct err *err)
{
    X509 *cert = read_cert(cert_file, err);
    GENERAL_NAMES *names;
    size_t len = 0;

    dst[0] = 0;
    if (cert == NULL) {
        return err->code;
    }
    names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *gn = sk_GENERAL_NAME_value(names, i);
        char text[INET6_ADDRSTRLEN];
        int n;

        if (gn->type != GEN_IPADD) {
            continue;
        }
        n = ASN1_STRING_length(gn->d.iPAddress);
        if (inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(gn->d.iPAddress), text,
                      sizeof(text)) != NULL &&
            len + strlen(text) + 2 < size) {
            len += (size_t)snprintf(dst + len, size - len, "%s%s", len > 0 ? "," : "", text);
        }
    }
    GENERAL_NAMES_free(names);
    X509_free(cert);
    return 0;
}

int pki_renew_begin(const char *key_file, char **ret_csr, struct err *err)
{
    char *fresh = mem_printf("%s.new", key_file);
    int rc;

    (void)unlink(fresh); /* of a renewal that did not come to its end */
    rc = pki_request(fresh, ret_csr, err);
    free(fresh);
    return rc;
}

static void sync_dir(const char *file)
{
    char *copy = mem_strdup(file);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    free(copy);
}

static int put_cert(const char *file, const char *text, struct err *err)
{
    BIO *pem = BIO_new(BIO_s_mem());
    int rc;

    CHECK(pem != NULL);
    CHECK(BIO_puts(pem, text) >= 0);
    (void)unlink(file);
    rc = pki_write_new(file, 0644, pem, err);
    BIO_free(pem);
    return rc;
}

int pki_renew_finish(const char *cert_file, const char *key_file, const char *cert, struct err *err)
{
    char *key_new = mem_printf("%s.new", key_file), *cert_new = mem_printf("%s.new", cert_file);
    int rc = put_cert(cert_new, cert, err);

    if (rc == 0 && !fits(cert_new, key_new)) {
        rc = err_set(err, ERR_INVALID, "the new certificate does not belong to %s", key_new);
        (void)unlink(cert_new);
    }
    if (rc == 0 && (rename(key_new, key_file) != 0 || rename(cert_new, cert_file) != 0)) {
        rc = err_native(err, ERR_SYS, "errno", errno, "put %s and its key into place", cert_new);
    }
    sync_dir(cert_file);
    free(key_new);
    free(cert_new);
    return rc;
}

int pki_renew_recover(const char *cert_file, const char *key_file, struct err *err)
{
    char *cert_new = mem_printf("%s.new", cert_file);
    int rc = 0;

    if (!fits(cert_file, key_file) && fits(cert_new, key_file) &&
        rename(cert_new, cert_file) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "rename %s to %s", cert_new, cert_file);
    }
    free(cert_new);
    return rc;
}
