#ifndef CMD_PICKETD_ROLES_H
#define CMD_PICKETD_ROLES_H

/* May this peer do that?  First the certificate's own role (auth.h), then what RoleBindings give to
 * people, as this picketd knows them: a binding that was taken away counts until its change has
 * arrived here.  Roles only add.  Hosts, members, joiners and raw programs get nothing by them:
 * what they may do is part of the safety rules.
 */

#include "cmd/picketd/auth.h"
#include "cmd/picketd/rest.h"

/* The object (name "": all, or one to be made), or what is below it.  Verbs: get list watch create
 * update patch delete; of hosts also fence and confirm.  0, ERR_UNAUTHORIZED or ERR_DENIED. */
int auth_may(struct node *n, const struct stream_peer *peer, const struct kind *k, const char *sub,
             const char *name, const char *verb, struct err *err) ERR_USED;
/* What a request means. */
const char *auth_verb_of(const struct rest *r);
/* An operation of people on a host; *ret is as whom it enters the log: whoever a role lets fence is
 * an operator there. */
int auth_host_op(struct node *n, const struct stream_peer *peer, const char *host, const char *verb,
                 struct actor *ret, struct err *err) ERR_USED;

/* POST selfsubjectaccessreviews (JSON or protobuf), selfsubjectreviews. */
bool roles_review(struct rest *r); /* false: it is another path */

#endif
