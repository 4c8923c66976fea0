#ifndef BASE_PKI_H
#define BASE_PKI_H

/* The cluster's own certificate authority: ECDSA P-256 keys, X.509 v3, PEM files.
 *
 * Blocking; used by `picket init`, `picket dev` and the join service.  Key files are created with
 * mode 0600 and never overwritten (ERR_EXISTS).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pki_subject {
    const char *role;    /* O: "picket:voters", "picket:agents", "picket:admins", ... */
    const char *name;    /* CN: host or user name */
    const char *cluster; /* written as URI SAN "picket:UUID" */
    const char *dns;     /* one DNS SAN more than the name, or NULL */
    const char *ip;      /* comma-separated IP SANs, or NULL */
    uint64_t days;       /* validity; 0: 3650 */
    uint64_t seconds;    /* the same in seconds, wins over days unless it is 0 */
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

/* --- renewal: a new key and certificate for who has one already --------------------------------
 *
 * pki_renew_begin, have the request signed, pki_renew_finish.  The old pair stays in use until
 * then; whoever loaded it with tls_ctx_load takes the new one by itself for its next connection.
 */

#define PKI_LIFETIME_S (90ULL * 24 * 3600) /* of voters and agents, unless told otherwise */

/* Seconds until it expires (negative: it has), and for how many it was issued. */
int pki_cert_life(const char *cert_file, int64_t *ret_left_s, int64_t *ret_life_s,
                  struct err *err) ERR_USED;
/* Its IP SANs as for pki_subject.ip. */
int pki_cert_ips(const char *cert_file, char *dst, size_t size, struct err *err) ERR_USED;
/* Time to renew: two thirds of its life are over. */
static inline bool pki_renew_due(int64_t left_s, int64_t life_s)
{
    return left_s * 3 <= life_s;
}
/* A fresh key in KEY.new and a request for it; the caller frees. */
int pki_renew_begin(const char *key_file, char **ret_csr, struct err *err) ERR_USED;
/* Put the new key and certificate into place.  ERR_INVALID: they do not belong together, and
 * nothing was changed. */
int pki_renew_finish(const char *cert_file, const char *key_file, const char *cert,
                     struct err *err) ERR_USED;
/* At start: end what a process that died in pki_renew_finish had begun. */
int pki_renew_recover(const char *cert_file, const char *key_file, struct err *err) ERR_USED;

#endif
