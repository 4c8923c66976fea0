#ifndef CMD_PICKET_DEV_H
#define CMD_PICKET_DEV_H

/* `picket dev`: the client of picket-devd (its control protocol: cmd/picket-devd/ctl.c). */

#include "cmd/picket/cli.h"

#define DEV_DIR_SIZE 512

/* --dir, else the default folder; made absolute.  CLI_OK or an exit code after a message. */
int dev_dir(struct cli *c, const char *given, char dst[DEV_DIR_SIZE]);
/* One request; steals rq.  CLI_OK, or an exit code after a message; *ret may be NULL. */
int dev_call(struct cli *c, const char *dir, json_t *rq, json_t **ret);
/* Is there a supervisor?  Without a message. */
bool dev_alive(const char *dir);

int dev_up(struct cli *c, int argc, char **argv);
int dev_logs(struct cli *c, int argc, char **argv);

#endif
