#include "fence/timing.h"

#include <inttypes.h>
#include <string.h>

#include "base/obj.h"

#define HEARTBEAT_MIN_MS 20U
#define HOST_TIMEOUT_MAX_MS 600000U
#define ELECTION_MIN_MS 50U
#define ALLOWANCE_MIN_MS 25U       /* a round trip with a write to disk on a local network */
#define RENEW_CONNECT_MIN_MS 2000U /* a TLS handshake on a loaded host */
#define WATCHDOG_MIN_MS 1000U
#define WATCHDOG_MAX_MS 600000U
/* Off is a write and two readings at least 1 s apart, each with room for one lost packet of 0.5 s.
 */
#define DEVICE_MIN_MS 3000U
#define DEVICE_MAX_MS 600000U
#define GRACE_MAX_MS 3600000U
#define FEED_MAX_MS 1000U
#define LMAX_LEASES 4U

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t timing_drift_ms(uint64_t ms)
{
    return max_u64(10, ms / 100 + 1);
}

uint64_t timing_feed_ms(uint64_t watchdog_ms)
{
    return min_u64(FEED_MAX_MS, watchdog_ms / 4);
}

uint64_t timing_watchdog_bound_ms(uint64_t lease_ms, uint64_t watchdog_ms, uint64_t feed_ms)
{
    uint64_t sum = lease_ms + watchdog_ms + feed_ms;

    return sum + timing_drift_ms(sum);
}

static int check_range(const char *name, uint64_t ms, uint64_t min_ms, uint64_t max_ms,
                       struct err *err)
{
    if (ms >= min_ms && ms <= max_ms) {
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "%s is %" PRIu64 " ms, but must be between %" PRIu64 " and %" PRIu64 " ms", name,
                   ms, min_ms, max_ms);
}

static int check_ranges(const struct timing *t, struct err *err)
{
    int rc;

    rc = check_range("timing.heartbeat", t->heartbeat_ms, HEARTBEAT_MIN_MS, HOST_TIMEOUT_MAX_MS,
                     err);
    if (rc == 0) {
        rc = check_range("timing.hostTimeout", t->lease_ms, HEARTBEAT_MIN_MS, HOST_TIMEOUT_MAX_MS,
                         err);
    }
    if (rc == 0) {
        rc = check_range("the watchdog's timeout", t->watchdog_ms, WATCHDOG_MIN_MS, WATCHDOG_MAX_MS,
                         err);
    }
    if (rc == 0) {
        rc = check_range("the election timeout", t->election_ms, ELECTION_MIN_MS,
                         HOST_TIMEOUT_MAX_MS, err);
    }
    if (rc == 0) {
        rc = check_range("the device timeout", t->device_timeout_ms, DEVICE_MIN_MS, DEVICE_MAX_MS,
                         err);
    }

    return rc;
}

static int check_relations(const struct timing *t, struct err *err)
{
    uint64_t half = t->lease_ms / 2;

    if (4 * t->heartbeat_ms > t->lease_ms) {
        return err_set(err, ERR_INVALID,
                       "four heartbeats must fit in a lease: 4 * heartbeat %" PRIu64
                       " ms = %" PRIu64 " ms > hostTimeout %" PRIu64
                       " ms; lower timing.heartbeat to %" PRIu64
                       "ms or raise timing.hostTimeout to %" PRIu64 "ms",
                       t->heartbeat_ms, 4 * t->heartbeat_ms, t->lease_ms, t->lease_ms / 4,
                       4 * t->heartbeat_ms);
    }
    if (t->failover_ms > half) {
        return err_set(err, ERR_INVALID,
                       "an election must fit in half a lease: two rounds 2 * 2 * %" PRIu64
                       " ms + barrier %" PRIu64 " ms + reconnect %" PRIu64 " ms = %" PRIu64
                       " ms > hostTimeout/2 = %" PRIu64
                       " ms; raise timing.hostTimeout to at least %" PRIu64 "ms",
                       t->election_ms, t->barrier_ms, t->reconnect_ms, t->failover_ms, half,
                       2 * t->failover_ms);
    }
    if (t->raft_heartbeat_ms * 3 > t->election_ms) {
        return err_set(err, ERR_INVALID,
                       "three raft heartbeats must fit in an election timeout: 3 * %" PRIu64
                       " ms > %" PRIu64 " ms",
                       t->raft_heartbeat_ms, t->election_ms);
    }
    return 0;
}

static uint64_t or_default(uint64_t v, uint64_t def)
{
    return v != 0 ? v : def;
}

static void derive_lease(const struct timing_in *in, struct timing *t)
{
    t->heartbeat_ms = or_default(in->heartbeat_ms, TIMING_HEARTBEAT_DEFAULT_MS);
    t->lease_ms = or_default(in->host_timeout_ms, TIMING_HOST_TIMEOUT_DEFAULT_MS);
    t->renew_timeout_ms = t->heartbeat_ms;
    t->renew_connect_ms = max_u64(
        t->lease_ms / 6, t->lease_ms < RENEW_CONNECT_MIN_MS ? t->lease_ms : RENEW_CONNECT_MIN_MS);
    t->stop_begin_ms = t->lease_ms / 2;
    t->drift_ms = timing_drift_ms(t->lease_ms);
    t->expiry_ms = t->lease_ms + t->drift_ms;
    t->loop_gap_ms = t->heartbeat_ms;
}

static void derive_raft(const struct timing_in *in, struct timing *t)
{
    t->election_ms = or_default(in->election_ms, max_u64(t->lease_ms / 10, ELECTION_MIN_MS));
    t->raft_heartbeat_ms = max_u64(t->election_ms / 6, 1);
    t->barrier_ms = max_u64(t->lease_ms / 30, ALLOWANCE_MIN_MS);
    t->reconnect_ms = max_u64(t->lease_ms / 20, ALLOWANCE_MIN_MS);
    t->failover_ms = 4 * t->election_ms + t->barrier_ms + t->reconnect_ms;
}

static void derive_fencing(const struct timing_in *in, struct timing *t)
{
    t->watchdog_ms = or_default(in->watchdog_ms, in->dev ? TIMING_WATCHDOG_DEV_DEFAULT_MS
                                                         : TIMING_WATCHDOG_DEFAULT_MS);
    t->feed_ms = timing_feed_ms(t->watchdog_ms);
    t->lmax_ms = LMAX_LEASES * t->lease_ms;
    t->watchdog_bound_ms = timing_watchdog_bound_ms(t->lease_ms, t->watchdog_ms, t->feed_ms);
    t->device_timeout_ms = or_default(in->device_timeout_ms, TIMING_DEVICE_DEFAULT_MS);
    t->attempt_timeout_ms = t->device_timeout_ms + t->lease_ms;
    t->probe_ms = 3 * t->device_timeout_ms;
    t->backoff_ms = t->device_timeout_ms / 2;
    t->backoff_max_ms = 6 * t->device_timeout_ms;
    t->startup_grace_ms =
        max_u64(or_default(in->startup_grace_ms, TIMING_STARTUP_GRACE_DEFAULT_MS), 2 * t->lease_ms);
}

int timing_derive(const struct timing_in *in, struct timing *ret, struct err *err)
{
    struct timing t;
    int rc;

    CHECK(in != NULL);
    CHECK(ret != NULL);
    memset(&t, 0, sizeof(t));
    /* Out of range before any arithmetic, so that nothing below can overflow. */
    if (in->heartbeat_ms > HOST_TIMEOUT_MAX_MS || in->host_timeout_ms > HOST_TIMEOUT_MAX_MS ||
        in->watchdog_ms > WATCHDOG_MAX_MS || in->election_ms > HOST_TIMEOUT_MAX_MS ||
        in->device_timeout_ms > DEVICE_MAX_MS || in->startup_grace_ms > GRACE_MAX_MS) {
        return err_set(err, ERR_INVALID,
                       "a timing knob is too large: heartbeat %" PRIu64 ", hostTimeout %" PRIu64
                       ", watchdog %" PRIu64 ", election %" PRIu64 ", device %" PRIu64
                       " ms may be at most 10m, startupGrace %" PRIu64 " ms at most 1h",
                       in->heartbeat_ms, in->host_timeout_ms, in->watchdog_ms, in->election_ms,
                       in->device_timeout_ms, in->startup_grace_ms);
    }
    derive_lease(in, &t);
    derive_raft(in, &t);
    derive_fencing(in, &t);
    rc = check_ranges(&t, err);
    if (rc == 0) {
        rc = check_relations(&t, err);
    }
    if (rc == 0) {
        *ret = t;
    }
    return rc;
}

void timing_rows(const struct timing *t, timing_row_fn *fn, void *ctx)
{
    fn(ctx, "heartbeat", t->heartbeat_ms, "knob H");
    fn(ctx, "lease", t->lease_ms, "L = knob T (hostTimeout)");
    fn(ctx, "renew_timeout", t->renew_timeout_ms, "H");
    fn(ctx, "renew_connect", t->renew_connect_ms, "L/6, at least 2 s, at most L");
    fn(ctx, "stop_begin", t->stop_begin_ms, "L/2; 4*H must fit in L");
    fn(ctx, "drift", t->drift_ms, "1 % of L + 1 ms, at least 10 ms");
    fn(ctx, "expiry", t->expiry_ms, "L + drift, after receipt");
    fn(ctx, "loop_gap", t->loop_gap_ms, "H");
    fn(ctx, "election", t->election_ms, "E = L/10, at least 50 ms; drawn from E to 2E");
    fn(ctx, "raft_heartbeat", t->raft_heartbeat_ms, "E/6");
    fn(ctx, "barrier", t->barrier_ms, "L/30, at least 25 ms");
    fn(ctx, "reconnect", t->reconnect_ms, "L/20, at least 25 ms");
    fn(ctx, "failover", t->failover_ms, "2 rounds * 2E + barrier + reconnect; must fit in L/2");
    fn(ctx, "watchdog", t->watchdog_ms, "W, wanted or read back");
    fn(ctx, "feed", t->feed_ms, "W/4, at most 1 s");
    fn(ctx, "lmax", t->lmax_ms, "4*L");
    fn(ctx, "watchdog_bound", t->watchdog_bound_ms, "L + W + feed, + 1 % of the sum + 1 ms");
    fn(ctx, "device_timeout", t->device_timeout_ms, "knob");
    fn(ctx, "attempt_timeout", t->attempt_timeout_ms, "device_timeout + L");
    fn(ctx, "probe", t->probe_ms, "3 * device_timeout");
    fn(ctx, "backoff", t->backoff_ms, "device_timeout/2, doubled per round");
    fn(ctx, "backoff_max", t->backoff_max_ms, "6 * device_timeout");
    fn(ctx, "startup_grace", t->startup_grace_ms, "knob, at least 2*L");
}

static void print_row(void *ctx, const char *name, uint64_t ms, const char *derivation)
{
    struct buf *out = ctx;

    buf_printf(out, "%-15s %7" PRIu64 " ms  %s\n", name, ms, derivation);
}

void timing_print(const struct timing *t, struct buf *out)
{
    timing_rows(t, print_row, out);
}
