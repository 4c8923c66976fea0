#include "reconciler/renew_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

/* The renewer's end of picket-watchdog.  Replies are taken at the next heartbeat, and those to arm
 * and disarm, for which guests may be waiting, a few milliseconds later; nothing here waits. */

#define LOOK_MS 10U
#define LOOKS_MAX 30U

static void apply_status(struct renew *r, const struct wdog_status *s)
{
    struct renew_wd *w = &r->view.wd;

    if (w->armed != (s->armed != 0) || w->expired != (s->expired != 0) || w->kind != s->kind ||
        w->timeout_ms != s->timeout_ms) {
        r->changed = true;
    }
    w->armed = s->armed != 0;
    w->expired = s->expired != 0;
    w->nowayout = s->nowayout != 0;
    w->kind = s->kind;
    w->timeout_ms = s->timeout_ms;
    w->feed_ms = s->feed_ms;
    w->lmax_ms = s->lmax_ms;
    w->deadline_ms = s->deadline_boottime_ms;
    w->last_feed_ms = s->last_feed_boottime_ms;
    w->incarnation = s->incarnation;
}

static void disconnected(struct renew *r, const char *why)
{
    struct renew_wd *w = &r->view.wd;

    if (w->connected) {
        lg_warn("renew", "watchdog=%s err=\"%s\"", r->wd_path, why);
        r->changed = true;
    }
    w->connected = false;
    (void)str_copy(w->error, sizeof(w->error), why);
}

static void take_reply(struct renew *r, const struct wdog_reply *reply)
{
    struct renew_wd *w = &r->view.wd;

    r->wd_seen_seq = reply->seq;
    apply_status(r, &reply->status);
    if (reply->code == WDOG_OK) {
        w->error[0] = '\0';
        return;
    }
    if (!str_eq(w->error, wdog_code_text((enum wdog_code)reply->code))) {
        lg_warn("renew", "watchdog=%s err=\"%s\"", r->wd_path,
                wdog_code_text((enum wdog_code)reply->code));
        r->changed = true;
    }
    (void)str_copy(w->error, sizeof(w->error), wdog_code_text((enum wdog_code)reply->code));
}

static void drain(struct renew *r)
{
    struct wdog_reply reply;
    struct err err;

    while (r->wd.fd >= 0) {
        int rc = wdog_client_recv(&r->wd, &reply, &err);

        if (rc == ERR_TIMEOUT) {
            return;
        }
        if (rc != 0) {
            disconnected(r, err.msg);
            return;
        }
        take_reply(r, &reply);
    }
}

static void send_request(struct renew *r, struct wdog_request *rq)
{
    struct err err;

    rq->epoch = r->view.epoch;
    rq->incarnation = r->view.incarnation;
    r->wd_sent_seq = rq->seq;
    if (wdog_client_send(&r->wd, rq, &err) != 0 && err.code != ERR_LIMIT) {
        disconnected(r, err.msg);
    }
}

static bool connect_wd(struct renew *r)
{
    struct err err;

    if (r->wd.fd >= 0) {
        return true;
    }
    if (wdog_client_open(&r->wd, r->wd_path, &err) != 0) {
        disconnected(r, err.msg);
        return false;
    }
    r->view.wd.connected = true;
    r->changed = true;
    return true;
}

#define LMAX_SPARE_MS 100U /* between our clock reading and the watchdog's */

/* The end of the lease, or less: the watchdog refuses what is further ahead than the Lmax of its
 * arming, and a lease may have become longer since.  A nearer deadline only ends the host earlier.
 */
static uint64_t deadline_for(const struct renew *r, uint32_t lmax_ms)
{
    uint64_t until = r->view.lease_until_ms;
    uint64_t most = clock_now_ms() + lmax_ms - (lmax_ms > LMAX_SPARE_MS ? LMAX_SPARE_MS : 0);

    return lmax_ms != 0 && until > most ? most : until;
}

/* The next thing to tell it: disarm, arm, or just ask how it is. */
static void say_something(struct renew *r)
{
    struct renew_view *v = &r->view;
    struct wdog_request rq;
    bool lease = v->lease_until_ms > clock_now_ms();

    if (r->want_disarm && v->wd.armed) {
        wdog_client_prepare(&r->wd, &rq, WDOG_DISARM);
        rq.revision = r->disarm_revision;
    } else if (r->want_arm && !v->wd.armed && lease && v->state == RENEW_LIVE) {
        wdog_client_prepare(&r->wd, &rq, WDOG_ARM);
        rq.timeout_ms = r->arm_timeout_ms;
        rq.lmax_ms = r->arm_lmax_ms;
        rq.deadline_boottime_ms = deadline_for(r, r->arm_lmax_ms);
    } else {
        wdog_client_prepare(&r->wd, &rq, WDOG_STATUS);
    }
    send_request(r, &rq);
}

static void on_look(uv_timer_t *t)
{
    struct renew *r = t->data;

    uv_mutex_lock(&r->lock);
    drain(r);
    if (r->wd_seen_seq >= r->wd_sent_seq || ++r->wd_looks >= LOOKS_MAX || r->wd.fd < 0) {
        (void)uv_timer_stop(t);
    }
    uv_mutex_unlock(&r->lock);
    renew_notify(r);
}

void renew_wd_init(struct renew *r)
{
    CHECK(uv_timer_init(&r->loop, &r->wd_timer) == 0);
    r->wd_timer.data = r;
}

void renew_wd_tick(struct renew *r)
{
    if (r->wd_path == NULL) {
        return;
    }
    uv_mutex_lock(&r->lock);
    drain(r);
    if (connect_wd(r)) {
        say_something(r);
        if ((r->want_disarm && r->view.wd.armed) || (r->want_arm && !r->view.wd.armed)) {
            r->wd_looks = 0;
            CHECK(uv_timer_start(&r->wd_timer, on_look, LOOK_MS, LOOK_MS) == 0);
        }
    }
    uv_mutex_unlock(&r->lock);
}

/* A new deadline, right after the acknowledgement. */
void renew_wd_deadline(struct renew *r)
{
    struct renew_view *v = &r->view;
    struct wdog_request rq;

    if (r->wd_path == NULL) {
        return;
    }
    drain(r);
    if (r->wd.fd < 0 || !v->wd.armed || v->state != RENEW_LIVE) {
        return;
    }
    wdog_client_prepare(&r->wd, &rq, WDOG_SET_DEADLINE);
    rq.deadline_boottime_ms = deadline_for(r, v->wd.lmax_ms);
    send_request(r, &rq);
}

void renew_wd_close(struct renew *r)
{
    (void)uv_timer_stop(&r->wd_timer);
    uv_close((uv_handle_t *)&r->wd_timer, NULL);
    if (r->wd.fd >= 0) {
        wdog_client_close(&r->wd);
    }
}
