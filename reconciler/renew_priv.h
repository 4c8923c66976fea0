#ifndef RECONCILER_RENEW_PRIV_H
#define RECONCILER_RENEW_PRIV_H

/* Shared by renew.c and renew_wd.c only. */

#include <uv.h>

#include "api/http_client.h"
#include "base/wake.h"
#include "fence/slot.h"
#include "fence/wdog_client.h"
#include "reconciler/renew.h"

struct renew_endpoint {
    size_t index;
    char *name;
    struct http_client *client;
    struct http_call *call; /* under way, or NULL */
    struct renew_call *call_data;
    uint64_t tried; /* round in which it was asked last */
};

struct renew_call {
    struct renew *r;
    struct renew_endpoint *ep;
    uint64_t seq;
    uint64_t sent_ms;
    uint64_t incarnation, epoch;
    uint64_t revision; /* newest acknowledged when it was sent */
    bool failed;
    bool probe; /* asked only to see whether this way works */
};

struct renew {
    /* the renewer's thread only */
    uv_loop_t loop;
    uv_thread_t thread;
    uv_timer_t timer;
    struct renew_endpoint endpoints[RENEW_ENDPOINTS_MAX];
    size_t n_endpoints;
    size_t cur;
    bool probe, realtime;
    size_t probed; /* endpoint that was asked last only to see whether it answers */
    uint64_t round;
    char *target;
    char *wd_path;
    struct wdog_client wd;
    uv_timer_t wd_timer; /* looks for the reply to an arm or disarm */
    unsigned wd_looks;
    uint64_t wd_sent_seq; /* newest request that was sent */
    uint64_t wd_seen_seq; /* newest reply */
    uint64_t last_tick_ms;
    void (*on_change)(void *ctx);
    void *on_change_ctx;
    struct wake *wake; /* any thread */

    uv_mutex_t lock; /* guards everything below */
    struct renew_view view;
    struct slots *slots;
    struct renew_terms say;
    uint32_t heartbeat_ms, connect_ms;
    uint64_t seq;
    uint64_t lost_seq; /* acknowledgements up to here do not make the incarnation Live */
    bool changed;
    bool stop;
    bool kick;
    bool kick_wd;
    bool want_arm, want_disarm;
    uint32_t arm_timeout_ms, arm_lmax_ms;
    uint64_t disarm_revision;
};

void renew_notify(struct renew *r);

/* renew_wd.c; _deadline with the lock held, the others without. */
void renew_wd_init(struct renew *r);
void renew_wd_tick(struct renew *r);
void renew_wd_deadline(struct renew *r);
void renew_wd_close(struct renew *r);

#endif
