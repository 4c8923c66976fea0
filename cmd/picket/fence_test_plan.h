#ifndef CMD_PICKET_FENCE_TEST_PLAN_H
#define CMD_PICKET_FENCE_TEST_PLAN_H

/* What `picket fence test HOST` prints of the answer of hosts/H/fence-test.  Pure. */

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct fence_test_verdict {
    bool can;        /* somebody reaches every device of one level that proves power */
    bool storage;    /* or at least of one that proves that its disks were taken */
    bool suspicious; /* a plug reads Off while the host is alive */
    bool proved;     /* the wiring of that level was seen to work */
};

/* `now_wall_ms` is for ages. */
void fence_test_print(const json_t *answer, uint64_t now_wall_ms, struct buf *out,
                      struct fence_test_verdict *ret);

#endif
