#ifndef FENCE_APC_H
#define FENCE_APC_H

/* What to do with the outlets of a PDU that answers to APC's PowerNet-MIB, apart from how its
 * packets travel.
 *
 * Off: read the power; switch off what is not off; then read until every plug has read off twice,
 * at least 1 s apart, with no other reading between.  Reboot: the same, and on again only when that
 * is proved.  All plugs of a host are off before any is switched on.
 *
 * No clock and no I/O of its own; blocks as its io does.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fence/dev.h"

#define APC_READBACK_MS 1000U /* between the two readings (safety.md 4) */

/* rPDUOutletControlOutletCommand */
enum apc_command { APC_ON = 1, APC_OFF = 2, APC_REBOOT = 3 };

struct apc_io {
    void *ctx;
    /* Power of n plugs, by one request.  ERR_TIMEOUT: no answer; ERR_NOT_FOUND: no such plug;
     * ERR_DRIVER: an error was answered. */
    int (*status)(void *ctx, const uint32_t *plugs, size_t n, enum fence_power *ret,
                  struct err *err);
    /* 0: acknowledged.  ERR_REFUSED: answered with an error, ERR_CANCELED: never sent; nothing was
     * switched.  ERR_UNKNOWN_OUTCOME: sent and not answered. */
    int (*command)(void *ctx, uint32_t plug, enum apc_command cmd, struct err *err);
    /* Outlets with their names. */
    int (*names)(void *ctx, struct fence_outlet ret[FENCE_MAX_OUTLETS], size_t *ret_n,
                 struct err *err);
    uint64_t (*now_ms)(void *ctx);
    uint64_t (*left_ms)(void *ctx); /* of the operation's time */
    void (*sleep)(void *ctx, uint64_t ms);
};

/* Carry out op; *ans is always set. */
void apc_run(const struct fence_op *op, const struct apc_io *io, struct fence_answer *ans);

#endif
