#ifndef CMD_PICKETD_CERTS_H
#define CMD_PICKETD_CERTS_H

/* Certificates renew themselves.
 *
 *   POST renew  {request: CSR}  -> {cert}: a certificate of the same role, name and cluster as the
 *   one that the caller shows, for another key.  Any member that holds the CA's key signs; one that
 *   does not answers 503, ask another.
 *
 * This node's own is renewed at two thirds of its life: signed here, or by a member that holds the
 * CA's key (NODE_CALL_RENEW).  Loop thread only.
 */

#include "cmd/picketd/rest.h"

#define CERTS_USER_S (365ULL * 24 * 3600) /* life of a certificate of a person or program */

/* Before the certificate is loaded: finish what was begun, and renew one that has expired meanwhile
 * when the CA's key is here.  Failures are logged: what is there is used then. */
void certs_start(const struct node *n);
void certs_tick(struct node *n);
void rest_renew(struct rest *r);
void certs_call(struct node *n, const char *from_name, const uint8_t *data, size_t len,
                uint64_t call_id);
/* Life of the certificates of voters and agents, as the options say. */
uint64_t certs_lifetime_s(const struct node *n);
/* Seconds until the own one expires; INT64_MAX without one. */
int64_t certs_left_s(const struct node *n);

#endif
