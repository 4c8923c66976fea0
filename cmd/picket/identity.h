#ifndef CMD_PICKET_IDENTITY_H
#define CMD_PICKET_IDENTITY_H

/* The verbs about members, identity, backups and the files of a stopped member, and their help. */

#include "cmd/picket/cli.h"

extern const char member_help[];
extern const char store_help[];

int verb_member(struct cli *c, int argc, char **argv);
int verb_store(struct cli *c, int argc, char **argv);

#endif
