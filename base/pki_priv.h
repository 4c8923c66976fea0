#ifndef BASE_PKI_PRIV_H
#define BASE_PKI_PRIV_H

/* Shared by pki*.c only. */

#include <sys/types.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/pki.h"

#define PKI_DAY_S (24L * 3600)
#define PKI_BACKDATE_S PKI_DAY_S /* clocks of new hosts are often behind */

int pki_fail(struct err *err, const char *doing);
int pki_write_new(const char *file, mode_t mode, BIO *pem, struct err *err);
int pki_write_key(const char *file, EVP_PKEY *key, struct err *err);
int pki_read_ca(const char *dir, X509 **ret_cert, EVP_PKEY **ret_key, struct err *err);
int pki_new_key(EVP_PKEY **ret, struct err *err);
int pki_new_cert(EVP_PKEY *key, uint64_t seconds, X509 **ret, struct err *err);
/* How long a certificate for this subject is good; ERR_INVALID when it asks for too much. */
int pki_validity(const struct pki_subject *subject, uint64_t *ret_seconds, struct err *err);
int pki_fill_leaf(X509 *cert, X509 *ca, const struct pki_subject *subject, struct err *err);
int pki_sign(X509 *cert, EVP_PKEY *ca_key, struct err *err);
int pki_check_cluster(const char *cluster, struct err *err);

#endif
