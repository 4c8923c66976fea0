#ifndef CMD_PICKETD_MAIN_STALL_H
#define CMD_PICKETD_MAIN_STALL_H

/* Loop stalls: the time of each turn of the loop that was not spent waiting.  Loop thread only;
 * lives as long as the process. */

#include <stdint.h>
#include <uv.h>

struct stall {
    uv_prepare_t prepare;
    uint64_t last_us, last_idle_us;
    uint64_t turns, over_10ms, over_50ms;
    uint64_t max_us; /* longest turn since the start */
};

struct stall *stall_start(uv_loop_t *loop);

#endif
