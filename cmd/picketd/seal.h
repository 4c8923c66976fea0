#ifndef CMD_PICKETD_SEAL_H
#define CMD_PICKETD_SEAL_H

/* Secrets at rest: each value is sealed with AES-256-GCM (NIST SP 800-38D) under the cluster's
 * sealing key, bound to the name of its Secret and its key, as "sealed:1:<base64 of nonce, text,
 * tag>". The key is a file of 64 hex digits that every voter got when it joined; it is not in the
 * store.
 */

#include <jansson.h>

#include "cmd/picketd/node.h"

/* Read the key file into the node: --seal-key, or seal.key beside the CA's certificate (which a lab
 * makes itself).  Without one Secrets are refused. */
int seal_load(struct node *n, struct err *err) ERR_USED;
/* The caller frees the result. */
int seal_close(const struct node *n, const char *secret, const char *key, const char *text,
               char **ret, struct err *err) ERR_USED;
/* The caller wipes (explicit_bzero) and frees the result. */
int seal_open(const struct node *n, const char *secret, const char *key, const char *sealed,
              char **ret, struct err *err) ERR_USED;

/* Turn a Secret's data (base64) and stringData into sealed `data` of `obj`.  What the API shows has
 * no values, so an object that names none keeps those of `old` (stored form, may be NULL).
 * stringData adds to them; `data`, or with `replace` either of the two, says what there is from now
 * on.  A value equal to the old one keeps its sealed form, so that applying twice changes nothing.
 */
int seal_secret(const struct node *n, json_t *obj, const json_t *old, bool replace,
                struct err *err) ERR_USED;
/* The plain value of {secret, key}; the caller wipes and frees it. */
int seal_lookup(const struct node *n, const char *secret, const char *key, char **ret,
                struct err *err) ERR_USED;
/* The value that the reference {secret, key} at `path` of an object names (`key`: when it names
 * none); NULL when there is no reference.  For seal_wipe. */
int seal_ref(const struct node *n, const json_t *obj, const char *path, const char *key, char **ret,
             struct err *err) ERR_USED;
void seal_wipe(char *plain); /* and free; NULL is fine */

#endif
