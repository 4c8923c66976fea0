#ifndef BASE_PKI_PRIV_H
#define BASE_PKI_PRIV_H

/* Shared by pki.c and pki_csr.c only. */

#include <sys/types.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/pki.h"

int pki_fail(struct err *err, const char *doing);
int pki_write_new(const char *file, mode_t mode, BIO *pem, struct err *err);
int pki_write_key(const char *file, EVP_PKEY *key, struct err *err);
int pki_read_ca(const char *dir, X509 **ret_cert, EVP_PKEY **ret_key, struct err *err);
int pki_new_key(EVP_PKEY **ret, struct err *err);
int pki_new_cert(EVP_PKEY *key, uint64_t days, X509 **ret, struct err *err);
int pki_fill_leaf(X509 *cert, X509 *ca, const struct pki_subject *subject, struct err *err);
int pki_sign(X509 *cert, EVP_PKEY *ca_key, struct err *err);
int pki_check_cluster(const char *cluster, struct err *err);

#endif
