#ifndef TESTS_FUZZ_OPS_NODE_H
#define TESTS_FUZZ_OPS_NODE_H

/* A picketd for fuzzing: the store and everything that answers requests and calls are real; there
 * is no replicated log, no network and no device.  Commands, reads and calls are answered from a
 * queue, never within the call that asks, as in the real one.  It always leads, alone.
 */

#include <uv.h>

#include "cmd/picketd/node.h"

struct ops_node {
    struct node n; /* first */
    uv_loop_t loop;
    uint64_t index;
};

/* Once in a process: a folder with a CA. */
void ops_pki(void);
/* With cluster n1, n2 (n1 is registered), a machine, a token "tok". */
void ops_start(struct ops_node *f);
void ops_stop(struct ops_node *f);
/* Answer everything that waits, and what follows from it. */
void ops_run(struct ops_node *f);
/* A call from another picketd; it must be answered once, which this checks. */
void ops_call(struct ops_node *f, uint16_t kind, const uint8_t *data, size_t len);

#endif
