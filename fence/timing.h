#ifndef FENCE_TIMING_H
#define FENCE_TIMING_H

/* Every timeout of the product, derived from two knobs: the heartbeat H and the host timeout T.
 *
 * Pure: no clock, no I/O.  All values are milliseconds.  docs/timeouts.md is the same table for
 * people; a test compares its column of defaults with this code.  Sources: safety.md 3 and 4.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define TIMING_HEARTBEAT_DEFAULT_MS 500U
#define TIMING_HOST_TIMEOUT_DEFAULT_MS 3000U
#define TIMING_WATCHDOG_DEFAULT_MS                                                                 \
    10000U /* asked of a hardware watchdog; what it reads back counts */
#define TIMING_WATCHDOG_DEV_DEFAULT_MS 2000U /* `picket dev` */
#define TIMING_DEVICE_DEFAULT_MS 10000U
#define TIMING_STARTUP_GRACE_DEFAULT_MS 20000U

/* The knobs.  0 means: use the default or derive it. */
struct timing_in {
    uint64_t heartbeat_ms;      /* Cluster.spec.timing.heartbeat */
    uint64_t host_timeout_ms;   /* Cluster.spec.timing.hostTimeout */
    uint64_t watchdog_ms;       /* W: wanted, or read back once the device is armed */
    uint64_t election_ms;       /* override of the derived L/10 */
    uint64_t device_timeout_ms; /* one device operation from start to answer */
    uint64_t startup_grace_ms;
    bool dev; /* W defaults to 2 s */
};

struct timing {
    uint64_t heartbeat_ms;     /* H: between two renewals of an agent */
    uint64_t lease_ms;         /* L = T: deadline = time of sending the acknowledged renewal + L */
    uint64_t renew_timeout_ms; /* one renewal through one voter; then the next voter */
    uint64_t renew_connect_ms; /* for a new connection of the renewer to a voter */
    uint64_t stop_begin_ms; /* without an acknowledgement for L/2 the agent begins to stop guests */
    uint64_t drift_ms;      /* how far two clocks may run apart over L */
    uint64_t expiry_ms;     /* leader: receipt + L + drift */
    uint64_t loop_gap_ms;   /* a gap in the leader's loop longer than this extends every lease */
    uint64_t election_ms;   /* E: libraft draws each election timeout from [E, 2E) */
    uint64_t raft_heartbeat_ms;  /* E/6 */
    uint64_t barrier_ms;         /* allowance: first entry of a new leader */
    uint64_t reconnect_ms;       /* allowance: an agent finds the new leader */
    uint64_t failover_ms;        /* 2 * 2E + barrier + reconnect; <= L/2 */
    uint64_t watchdog_ms;        /* W */
    uint64_t feed_ms;            /* longest time between two feeds: W/4, at most 1 s */
    uint64_t lmax_ms;            /* picket-watchdog refuses deadlines beyond now + Lmax */
    uint64_t watchdog_bound_ms;  /* L + W + feed + drift of that sum */
    uint64_t device_timeout_ms;  /* one device operation; then its child process is killed */
    uint64_t attempt_timeout_ms; /* device timeout + L: the result may cross a change of leader */
    uint64_t probe_ms;           /* between two probes of a fence device */
    uint64_t backoff_ms;         /* after all levels failed; doubles per round */
    uint64_t backoff_max_ms;
    uint64_t startup_grace_ms; /* after a cold start of the whole cluster */
};

/* Drift over `ms`: 1 %, and 1 ms for the rounding, and at least 10 ms.  Two clocks that NTP may
 * slew by 500 ppm each, on crystals of 100 ppm, run apart by 0.12 %; the rest is for timer
 * granularity and virtual hosts. */
uint64_t timing_drift_ms(uint64_t ms);

/* Longest time between two feeds of a watchdog with timeout W. */
uint64_t timing_feed_ms(uint64_t watchdog_ms);

/* The bound of a Watchdog proof for the terms of one incarnation: L + W + feed + drift(L + W +
 * feed). */
uint64_t timing_watchdog_bound_ms(uint64_t lease_ms, uint64_t watchdog_ms, uint64_t feed_ms);

/* ERR_INVALID when the knobs break a relation of docs/timeouts.md; the message shows the arithmetic
 * and what to change.  *ret is untouched on failure. */
int timing_derive(const struct timing_in *in, struct timing *ret, struct err *err) ERR_USED;

/* One line per value, "name value derivation", as printed at start. */
void timing_print(const struct timing *t, struct buf *out);

/* The rows of the table, for the documentation test: name, value, derivation. */
typedef void timing_row_fn(void *ctx, const char *name, uint64_t ms, const char *derivation);
void timing_rows(const struct timing *t, timing_row_fn *fn, void *ctx);

#endif
