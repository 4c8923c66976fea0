#ifndef CMD_PICKET_FENCE_H
#define CMD_PICKET_FENCE_H

/* `picket fence test`, as verb_fence hands it on: argv[0] is "test". */

#include "cmd/picket/cli.h"

int fence_test(struct cli *c, int argc, char **argv);

#endif
