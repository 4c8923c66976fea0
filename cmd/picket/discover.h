#ifndef CMD_PICKET_DISCOVER_H
#define CMD_PICKET_DISCOVER_H

/* `picket host discover`, a part of the verb `host` (hostcheck.c). */

#include "cmd/picket/cli.h"

/* Ask each portal for its targets, with this host's open-iscsi below `root`, and print them; an
 * exit code. */
int host_discover(struct cli *c, const char *root, char **portals, size_t n, bool yaml);

#endif
