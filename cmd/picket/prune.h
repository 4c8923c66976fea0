#ifndef CMD_PICKET_PRUNE_H
#define CMD_PICKET_PRUNE_H

/* apply --prune: what carries the labels and is not declared any more goes. */

#include "cmd/picket/cli.h"
#include "cmd/picket/manifests.h"

/* After an apply.  Prints what it deletes; an exit code.  `labels` as for --selector. */
int prune_undeclared(struct cli *c, const struct manifests *ms, const char *labels, bool dry_run);

#endif
