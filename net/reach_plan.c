#include "net/reach_plan.h"

uint64_t reach_settle_ms(uint64_t interval_ms, uint64_t timeout_ms, uint64_t heartbeat_ms)
{
    /* Rounds of two hosts are at most an interval apart, end a timeout later at the latest, and one
     * lost or lucky packet is another round; then the report has to arrive. */
    return 2 * interval_ms + timeout_ms + 2 * heartbeat_ms;
}

static enum reach_verdict failing(struct reach_host *h, bool somebody, bool move, uint64_t settle,
                                  uint64_t now, uint64_t *ret_next)
{
    if (!move) {
        return REACH_WARN;
    }
    if (!somebody) {
        return REACH_EVERYWHERE;
    }
    if (h->alone_ms == 0) {
        h->alone_ms = now;
    }
    if (h->leaving || now >= h->alone_ms + settle) {
        return REACH_LEAVE;
    }
    if (*ret_next == 0 || h->alone_ms + settle < *ret_next) {
        *ret_next = h->alone_ms + settle;
    }
    return REACH_WAITS;
}

uint64_t reach_decide(struct reach_host *hosts, size_t n, bool move, uint64_t settle_ms,
                      uint64_t now_ms)
{
    uint64_t next = 0;
    bool somebody = false;

    for (size_t i = 0; i < n; i++) {
        somebody = somebody || hosts[i].state == REACH_PASSING;
    }
    for (size_t i = 0; i < n; i++) {
        struct reach_host *h = &hosts[i];

        if (h->state == REACH_FAILING) {
            h->verdict = failing(h, somebody, move, settle_ms, now_ms, &next);
        } else {
            h->verdict = h->state == REACH_PASSING ? REACH_FINE : REACH_BLIND;
        }
        if (h->verdict != REACH_WAITS && h->verdict != REACH_LEAVE) {
            h->alone_ms = 0;
        }
    }
    return next;
}
