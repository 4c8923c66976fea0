#include "base/pki_priv.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/obj.h"

/* Certificates for keys of others: the request is made where the key stays. */

static char *bio_text(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);

    return mem_strndup(data, (size_t)len);
}

int pki_request(const char *key_file, char **ret_csr, struct err *err)
{
    X509_REQ *req = X509_REQ_new();
    BIO *pem = BIO_new(BIO_s_mem());
    EVP_PKEY *key = NULL;
    int rc;

    CHECK(req != NULL && pem != NULL);
    ERR_clear_error();
    rc = pki_new_key(&key, err);
    if (rc == 0 &&
        (X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(req, key) != 1 ||
         X509_REQ_sign(req, key, EVP_sha256()) <= 0 || PEM_write_bio_X509_REQ(pem, req) != 1)) {
        rc = pki_fail(err, "make a certificate request");
    }
    rc = rc != 0 ? rc : pki_write_key(key_file, key, err);
    if (rc == 0) {
        *ret_csr = bio_text(pem);
    }
    BIO_free(pem);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    return rc;
}

static int sign_key(const char *ca_dir, EVP_PKEY *key, const struct pki_subject *subject,
                    char **ret_cert, struct err *err)
{
    uint64_t seconds = 0;
    BIO *pem = BIO_new(BIO_s_mem());
    X509 *ca = NULL, *cert = NULL;
    EVP_PKEY *ca_key = NULL;
    int rc;

    CHECK(pem != NULL);
    rc = pki_check_cluster(subject->cluster, err);
    rc = rc != 0 ? rc : pki_read_ca(ca_dir, &ca, &ca_key, err);
    rc = rc != 0 ? rc : pki_validity(subject, &seconds, err);
    rc = rc != 0 ? rc : pki_new_cert(key, seconds, &cert, err);
    rc = rc != 0 ? rc : pki_fill_leaf(cert, ca, subject, err);
    rc = rc != 0 ? rc : pki_sign(cert, ca_key, err);
    if (rc == 0 && PEM_write_bio_X509(pem, cert) != 1) {
        rc = pki_fail(err, "encode certificate");
    }
    if (rc == 0) {
        *ret_cert = bio_text(pem);
    }
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    BIO_free(pem);
    return rc;
}

int pki_sign_request(const char *ca_dir, const char *csr, const struct pki_subject *subject,
                     char **ret_cert, struct err *err)
{
    BIO *bio = BIO_new_mem_buf(csr, -1);
    X509_REQ *req;
    EVP_PKEY *key;
    int rc;

    CHECK(bio != NULL);
    ERR_clear_error();
    req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    key = req == NULL ? NULL : X509_REQ_get0_pubkey(req);
    if (key == NULL || X509_REQ_verify(req, key) != 1) {
        ERR_clear_error();
        rc = err_set(err, ERR_INVALID, "this is no certificate request signed by its own key");
    } else {
        rc = sign_key(ca_dir, key, subject, ret_cert, err);
    }
    X509_REQ_free(req);
    BIO_free(bio);
    return rc;
}

int pki_issue_pem(const char *ca_dir, const struct pki_subject *subject, char **ret_cert,
                  char **ret_key, struct err *err)
{
    BIO *pem = BIO_new(BIO_s_secmem());
    EVP_PKEY *key = NULL;
    int rc;

    CHECK(pem != NULL);
    ERR_clear_error();
    rc = pki_new_key(&key, err);
    if (rc == 0 && PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) != 1) {
        rc = pki_fail(err, "encode private key");
    }
    rc = rc != 0 ? rc : sign_key(ca_dir, key, subject, ret_cert, err);
    if (rc == 0) {
        *ret_key = bio_text(pem);
    }
    BIO_free(pem);
    EVP_PKEY_free(key);
    return rc;
}
