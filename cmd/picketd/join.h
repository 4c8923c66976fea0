#ifndef CMD_PICKETD_JOIN_H
#define CMD_PICKETD_JOIN_H

/* Enrolment of hosts.
 *
 *   POST tokens {voter, ttlMs}   administrator: a token for one host: {id, cluster, ca, cert, key}
 *   POST join   {name, ip, address, agentRequest, voterRequest}
 *                                with a token's certificate: {cluster, id, ca, agentCert,
 *                                voterCert, caKey, sealKey}
 *
 * A token is a certificate of role "picket:joiners" with its key, so that enrolment too is mutual
 * TLS and pins the CA.  It may do nothing but join, once: its record in the store (record.h) is
 * deleted by compare-and-delete before anything is signed, and expires.  Only a picketd that has
 * ca.key beside its CA's certificate answers: every voter has it.
 */

#include "cmd/picketd/rest.h"

#define JOIN_ROLE "picket:joiners"

void rest_token(struct rest *r);
void rest_join(struct rest *r);

#endif
