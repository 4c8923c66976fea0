#ifndef RAFT_CONF_CODEC_H
#define RAFT_CONF_CODEC_H

/* Raft's configuration entries (libraft 0.15.0, configuration.c): 1 version, 8 count, then for each
 * server 8 id, address with NUL, 1 role.  The library's own decoder trusts its input; this one does
 * not.  Addresses are "NAME@HOST:PORT".  Pure but for raft_malloc; any thread. */

#include <raft.h>

#include <stdbool.h>
#include <stddef.h>

#include "raft/rep.h"

#define CONF_SERVERS_MAX 64u

/* Is this a configuration that the library can decode? */
bool conf_valid(const void *data, size_t len);
/* ret is untouched on failure; close it with raft_configuration_close. */
bool conf_decode(const void *data, size_t len, struct raft_configuration *ret);
void conf_copy(const struct raft_configuration *src, struct raft_configuration *dst);
const struct raft_server *conf_get(const struct raft_configuration *c, raft_id id); /* or NULL */
size_t conf_voters(const struct raft_configuration *c);

/* "NAME@ADDRESS" to its parts; false when there is no '@' or a part is too long. */
bool conf_split(const char *s, struct rep_peer_info *ret);
/* Names and addresses as they may stand in a member; the message says what is wrong. */
int conf_check_member(const struct rep_member *m, struct err *err) ERR_USED;

int conf_role_to_raft(enum rep_member_role role);
enum rep_member_role conf_role(int raft_role);

#endif
