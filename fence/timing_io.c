#include "fence/timing_io.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"

static void log_row(void *ctx, const char *name, uint64_t ms, const char *derivation)
{
    (void)ctx;
    lg_info("timing", "%s=%" PRIu64 "ms why=\"%s\"", name, ms, derivation);
}

void timing_log(struct timing *last, const struct timing *now)
{
    if (memcmp(last, now, sizeof(*last)) != 0) { /* no padding: all members are uint64_t */
        *last = *now;
        timing_rows(now, log_row, NULL);
    }
}
