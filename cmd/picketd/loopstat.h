#ifndef CMD_PICKETD_LOOPSTAT_H
#define CMD_PICKETD_LOOPSTAT_H

/* How long a turn of the loop takes, without what it waits: everything in picketd waits for the
 * longest.  Wall time tells what others see (it counts when the kernel ran somebody else),
 * processor time what was our own doing.  Loop thread only. */

#include <uv.h>

#include <stdint.h>

struct loopstat {
    uv_prepare_t prepare;
    uint64_t begin_us, idle_us, begin_cpu_us;
    uint64_t turns, over_10ms, over_50ms;
    uint64_t longest_us;         /* since the start */
    uint64_t max_us, max_cpu_us; /* since the last loopstat_take */
};

void loopstat_start(struct loopstat *s, uv_loop_t *loop);
/* The longest turn since the last call, wall and processor time. */
void loopstat_take(struct loopstat *s, uint64_t *ret_us, uint64_t *ret_cpu_us);

#endif
