#ifndef FENCE_TIMING_IO_H
#define FENCE_TIMING_IO_H

/* The derivation of the timeouts in the log of whoever goes by them.  Any thread. */

#include "fence/timing.h"

/* One line per value (as timing_rows) when `now` differs from what was logged last, then *last is
 * `now`.  *last all zero: nothing was logged yet. */
void timing_log(struct timing *last, const struct timing *now);

#endif
