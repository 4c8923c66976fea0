#ifndef CMD_PICKET_IDENTITY_H
#define CMD_PICKET_IDENTITY_H

/* The verbs about members, identity, backups and the files of a stopped member, and their help. */

#include "cmd/picket/cli.h"

extern const char backup_help[];
extern const char host_help[];
extern const char init_help[];
extern const char join_help[];
extern const char member_help[];
extern const char token_help[];
extern const char recover_help[];
extern const char renew_help[];
extern const char restore_help[];
extern const char store_help[];

int verb_backup(struct cli *c, int argc, char **argv);
int verb_recover(struct cli *c, int argc, char **argv);
int verb_renew(struct cli *c, int argc, char **argv);
int verb_restore(struct cli *c, int argc, char **argv);
int verb_init(struct cli *c, int argc, char **argv);
int verb_host(struct cli *c, int argc, char **argv);
int verb_join(struct cli *c, int argc, char **argv);
int verb_token(struct cli *c, int argc, char **argv);
int verb_member(struct cli *c, int argc, char **argv);
int verb_store(struct cli *c, int argc, char **argv);

#endif
