#ifndef CMD_PICKETD_AUTH_H
#define CMD_PICKETD_AUTH_H

/* Who may do what, by the certificate's role (docs/architecture.md, "Identity"). */

#include "api/http_server.h"
#include "api/kind.h"
#include "store/cmd.h"

enum auth_verb { AUTH_READ, AUTH_WRITE, AUTH_STATUS };

/* May this peer do that to objects of the kind (name NULL: a collection)?  0, ERR_UNAUTHORIZED or
 * ERR_DENIED with the reason. */
int auth_object(const struct stream_peer *peer, const struct kind *k, const char *name,
                enum auth_verb verb, struct err *err) ERR_USED;
/* An operation of the agent of `host`. */
int auth_agent(const struct stream_peer *peer, const char *host, struct err *err) ERR_USED;
/* Fencing by hand, confirmations. */
int auth_operator(const struct stream_peer *peer, struct err *err) ERR_USED;
/* The console of a guest: as good as a password of it. */
int auth_console(const struct stream_peer *peer, const char *vm, struct err *err) ERR_USED;
/* As whom commands of this peer enter the log. */
struct actor auth_actor(const struct stream_peer *peer);

#endif
