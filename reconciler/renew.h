#ifndef RECONCILER_RENEW_H
#define RECONCILER_RENEW_H

/* The renewer: keeps this host's lease alive and hands its deadline to picket-watchdog.
 *
 * A thread with a loop of its own that does nothing else, so that no driver, disk or object work
 * can delay a renewal (safety.md 5).  Each heartbeat it posts hosts/H/lease to one endpoint (own
 * picketd first); without an answer by the next heartbeat the next endpoint is asked too; at most
 * one request is under way per endpoint.  The endpoints may be several addresses of one picketd,
 * one for each link to it.
 *
 * The deadline is CLOCK_BOOTTIME at which the acknowledged renewal was sent, plus L of the answer.
 * All functions may be called from any thread; on_change is called on the renewer's thread and may
 * do nothing but wake another one (uv_async_send).
 */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RENEW_ENDPOINTS_MAX 32

/* The terms of docs/architecture.md. */
struct renew_terms {
    uint32_t lease_ms;
    uint32_t watchdog_ms;
    uint32_t feed_ms;
    bool freeze; /* onQuorumLoss: Freeze */
    uint8_t wd;  /* enum wdog_kind */
    bool nowayout;
    bool guarded;
};

json_t *renew_terms_json(const struct renew_terms *t);
/* False when it is not an object of that form; *ret is untouched then. */
bool renew_terms_parse(const json_t *j, struct renew_terms *ret);
bool renew_terms_equal(const struct renew_terms *a, const struct renew_terms *b);

enum renew_state {
    RENEW_NONE = 0, /* no answer yet */
    RENEW_LIVE,
    RENEW_LOST,  /* the newest answer was LeaseLost; renewals go on, a reprieve may come */
    RENEW_STALE, /* the incarnation or epoch is not the cluster's: register again */
};
const char *renew_state_name(enum renew_state s);

/* What picket-watchdog said last. */
struct renew_wd {
    bool connected;
    bool armed;
    bool expired; /* it does not feed any more */
    bool nowayout;
    uint8_t kind; /* enum wdog_kind */
    uint32_t timeout_ms;
    uint32_t feed_ms;
    uint32_t lmax_ms;
    uint64_t deadline_ms;
    uint64_t last_feed_ms;
    uint64_t incarnation;
    char error[160]; /* why the last arm, disarm or deadline was refused, or "" */
};

struct renew_view {
    uint64_t incarnation, epoch;
    enum renew_state state;
    uint64_t lease_until_ms;  /* 0: none acknowledged in this process */
    uint64_t half_ms;         /* sent + L/2 of the same */
    uint32_t lease_ms;        /* L of the newest acknowledgement */
    struct renew_terms terms; /* offered by the newest acknowledgement */
    bool has_terms;
    uint64_t term, revision; /* of the newest acknowledgement */
    uint64_t acks, tries, refusals;
    uint64_t worst_ack_ms;  /* longest way of an acknowledged renewal, since renew_margins */
    uint64_t least_left_ms; /* shortest lease left when a new acknowledgement came */
    uint64_t worst_gap_ms;  /* longest delay of our own timer */
    char endpoint[128];     /* that answered last */
    char error[256];        /* of the newest failed try, or "" */
    struct renew_wd wd;
};

struct renew_opts {
    const char *host;
    const char *const *endpoints;
    size_t n_endpoints;
    const char *tls_cert, *tls_key, *tls_ca; /* NULL: plain (tests) */
    uint32_t heartbeat_ms;
    uint32_t connect_ms;          /* for a new connection; 0: 10 s, until it is known better */
    bool realtime;                /* its thread, where that is allowed (base/prio.h) */
    bool probe;                   /* every third heartbeat ask another endpoint too, each in turn */
    const char *watchdog;         /* socket of picket-watchdog, NULL: none */
    void (*on_change)(void *ctx); /* state, terms or watchdog changed */
    void *ctx;
};

struct renew;

int renew_start(const struct renew_opts *opts, struct renew **ret, struct err *err) ERR_USED;
/* Ends the thread and frees; the watchdog keeps its deadline.  NULL is fine. */
void renew_stop(struct renew *r);

/* Whose lease to renew from now on; 0: nobody's.  Another incarnation or epoch forgets the lease.
 */
void renew_target(struct renew *r, uint64_t incarnation, uint64_t epoch);
/* The agent's own statement, sent with each renewal. */
void renew_say(struct renew *r, const struct renew_terms *t);
void renew_timing(struct renew *r, uint32_t heartbeat_ms, uint32_t connect_ms);
/* Arm the watchdog for the present target (repeated until it is armed) with Lmax and the W wanted.
 * It needs a lease: the first deadline is the lease's. */
void renew_arm(struct renew *r, uint32_t timeout_ms, uint32_t lmax_ms);
/* Disarm it: Unguarded was committed at this revision. */
void renew_disarm(struct renew *r, uint64_t revision);
/* Signs of life of others on the shared volume travel with each renewal, and ours get its identity;
 * NULL: none any more.  It stays the caller's and is not used after the next call. */
struct slots;
void renew_slots(struct renew *r, struct slots *s);
void renew_view(struct renew *r, struct renew_view *ret);
/* Start new worst values (they were reported). */
void renew_margins_reset(struct renew *r);

#endif
