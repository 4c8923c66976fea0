#ifndef FENCE_RUN_H
#define FENCE_RUN_H

/* One running operation inside picket-fence: its time, and the deadline of its switching packets.
 *
 * The parent may move that deadline while the operation runs, by lines on stdin.  Blocking code,
 * for the one thread of picket-fence only.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fence/dev.h"

struct fence_run {
    const struct fence_op *op;
    uint64_t until_ms;        /* of the whole operation, CLOCK_BOOTTIME */
    uint64_t switch_until_ms; /* no switching packet leaves after it */
    int in_fd;                /* non-blocking from now on; -1: no extensions */
    char line[128];
    size_t line_len;
};

/* The operation begins now. */
void fence_run_init(struct fence_run *r, const struct fence_op *op, int in_fd);

/* Bytes from in_fd that were read along with the operation. */
void fence_run_feed(struct fence_run *r, const char *data, size_t len);

uint64_t fence_run_left_ms(const struct fence_run *r);  /* 0: the time is up */
void fence_run_sleep(struct fence_run *r, uint64_t ms); /* at most what is left */

/* Right before a switching packet: take extensions from stdin, then 0 or ERR_CANCELED. */
int fence_run_may_switch(struct fence_run *r, struct err *err) ERR_USED;

#endif
