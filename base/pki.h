#ifndef BASE_PKI_H
#define BASE_PKI_H

/* The cluster's own certificate authority: ECDSA P-256 keys, X.509 v3, PEM files.
 *
 * Blocking; used by `picket init`, `picket dev` and the join service.  Key files are created with
 * mode 0600 and never overwritten (ERR_EXISTS).
 */

#include <stdint.h>

#include "base/err.h"

struct pki_subject {
    const char *role;    /* O: "picket:voters", "picket:agents", "picket:admins", ... */
    const char *name;    /* CN: host or user name */
    const char *cluster; /* written as URI SAN "picket:UUID" */
    const char *dns;     /* one DNS SAN more than the name, or NULL */
    const char *ip;      /* comma-separated IP SANs, or NULL */
    uint64_t days;       /* validity; 0: 3650 */
};

/* Make DIR/ca.crt and DIR/ca.key. */
int pki_make_ca(const char *dir, const char *cluster, struct err *err) ERR_USED;
/* Sign a fresh key with the CA of ca_dir: writes cert_file and key_file. */
int pki_issue(const char *ca_dir, const struct pki_subject *subject, const char *cert_file,
              const char *key_file, struct err *err) ERR_USED;

/* A fresh key in key_file, and a request for a certificate of it (PEM, PKCS #10; the caller frees).
 * What it says about names does not matter: who signs decides. */
int pki_request(const char *key_file, char **ret_csr, struct err *err) ERR_USED;
/* Sign a request, which must be signed by its own key (ERR_INVALID).  The caller frees *ret_cert.
 */
int pki_sign_request(const char *ca_dir, const char *csr, const struct pki_subject *subject,
                     char **ret_cert, struct err *err) ERR_USED;
/* A fresh key with its certificate as PEM texts; the caller wipes and frees the key. */
int pki_issue_pem(const char *ca_dir, const struct pki_subject *subject, char **ret_cert,
                  char **ret_key, struct err *err) ERR_USED;

#endif
