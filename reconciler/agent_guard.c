#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/wdog.h"
#include "reconciler/agent_priv.h"

/* Guarding the host by its watchdog, and confirming terms.
 *
 *   OFF -> ARMING      something shall run here: picket-watchdog is told to arm
 *   -> CONFIRMING      it is armed, with what it read back: the store is told (guarded: true)
 *   -> ON              committed: locks may be acquired now
 *   -> UNGUARDING      nothing is held here any more: the store is asked for guarded: false
 *   -> DISARMING       committed: the watchdog may be disarmed
 *   -> OFF
 *
 * A host that holds nothing is never reset by its watchdog; one that holds something always is, but
 * under onQuorumLoss: Freeze, where guests stay and nobody counts on the watchdog. */

#define RETRY_MS 500U
#define IDLE_MS 5000U /* so long without anything held before the host is unguarded */

static bool armed_for_us(const struct agent *a, const struct renew_view *v)
{
    return v->wd.connected && v->wd.armed && !v->wd.expired && v->wd.incarnation == a->incarnation;
}

void agent_own_terms(struct agent *a, struct renew_terms *ret)
{
    struct renew_view v;

    renew_view(a->renew, &v);
    *ret = (struct renew_terms){
        .lease_ms = v.has_terms ? v.terms.lease_ms : (uint32_t)a->timing.lease_ms,
        .freeze = agent_freeze(a),
    };
    if (v.wd.connected && v.wd.armed && v.wd.timeout_ms != 0) {
        ret->wd = v.wd.kind;
        ret->watchdog_ms = v.wd.timeout_ms;
        ret->feed_ms = v.wd.feed_ms;
        ret->nowayout = v.wd.nowayout;
        ret->guarded =
            ret->wd != WDOG_KIND_NONE && (a->guard == GUARD_CONFIRMING || a->guard == GUARD_ON ||
                                          (a->incarnation == 0 && !v.wd.expired));
    }
}

static bool wanted_here(struct agent *a)
{
    size_t locks = vmx_locks_unclear(a->vmx);

    if (agent_freeze(a) || a->phase != AGENT_RUN) {
        return false;
    }
    return locks > 0 || obs_running(vmx_obs(a->vmx)) > 0 || vmx_busy(a->vmx) ||
           vmx_wants(a->vmx) > 0;
}

bool agent_guarded(struct agent *a, const char **ret_why)
{
    struct renew_view v;

    if (a->watchdog == NULL || agent_freeze(a)) {
        return true;
    }
    renew_view(a->renew, &v);
    if (a->guard == GUARD_ON && armed_for_us(a, &v)) {
        return true;
    }
    if (!v.wd.connected) {
        (void)snprintf(a->guard_why, sizeof(a->guard_why),
                       "picket-watchdog does not answer at %s: %s", a->watchdog, v.wd.error);
    } else if (v.wd.expired) {
        (void)str_copy(a->guard_why, sizeof(a->guard_why),
                       "the watchdog's deadline has passed: this host is about to be reset");
    } else if (!v.wd.armed) {
        (void)snprintf(a->guard_why, sizeof(a->guard_why), "the watchdog is not armed yet%s%s",
                       v.wd.error[0] != '\0' ? ": " : "", v.wd.error);
    } else if (v.wd.incarnation != a->incarnation) {
        (void)snprintf(a->guard_why, sizeof(a->guard_why),
                       "the watchdog is armed for incarnation %" PRIu64 ", not for %" PRIu64,
                       v.wd.incarnation, a->incarnation);
    } else {
        (void)str_copy(a->guard_why, sizeof(a->guard_why),
                       "the cluster has not confirmed yet that the watchdog guards this host");
    }
    *ret_why = a->guard_why;
    return false;
}

static void enter(struct agent *a, enum agent_guard g)
{
    static const char *const names[] = { "Off", "Arming",     "Confirming",
                                         "On",  "Unguarding", "Disarming" };

    if (a->guard != g) {
        lg_info("agent", "guard=%s was=%s", names[g], names[a->guard]);
        a->guard = g;
        a->guard_retry_ms = 0;
        vmx_kick_all(a->vmx);
    }
}

void agent_guard_forget(struct agent *a)
{
    if (a->guard_call != NULL) {
        api_cancel(a->guard_call);
        a->guard_call = NULL;
    }
    a->has_confirmed = false;
    enter(a, GUARD_OFF);
}

/* --- telling the store -------------------------------------------------------------------------
 */

static void on_terms(void *data, const struct err *err, json_t *j)
{
    struct agent *a;
    struct renew_view v;

    OBJ_FROM(a, data, AGENT_MAGIC);
    a->guard_call = NULL;
    if (err != NULL) {
        lg_warn("agent", "err=\"%s\" msg=\"terms not confirmed\"", err->msg);
        a->has_confirmed = false;
        a->guard_retry_ms = clock_now_ms() + RETRY_MS;
        return;
    }
    a->has_confirmed = true;
    if (a->guard == GUARD_CONFIRMING && a->confirmed.guarded) {
        enter(a, GUARD_ON);
    } else if (a->guard == GUARD_UNGUARDING && !a->confirmed.guarded) {
        int64_t revision;

        renew_view(a->renew, &v);
        revision = jget_int(j, "revision", (int64_t)v.revision);
        renew_disarm(a->renew, revision > 0 ? (uint64_t)revision : 1);
        enter(a, GUARD_DISARMING);
    }
    agent_wake(a);
}

static void post_terms(struct agent *a, const struct renew_terms *t)
{
    json_t *body = agent_body(a);
    struct renew_view v;

    renew_view(a->renew, &v);
    a->confirmed_offer = v.terms;
    a->confirmed = *t;
    a->has_confirmed = false;
    (void)json_object_set_new(body, "terms", renew_terms_json(t));
    a->guard_call = agent_post(a, "terms", body, true, 5000, on_terms, a);
}

/* Terms that differ from what the store was told last, or a new offer: say what is so here.  What
 * the store counts on is what was both offered and confirmed. */
static void confirm(struct agent *a, const struct renew_terms *t)
{
    struct renew_view v;

    renew_view(a->renew, &v);
    if (!a->has_confirmed || !renew_terms_equal(t, &a->confirmed) ||
        (v.has_terms && !renew_terms_equal(&v.terms, &a->confirmed_offer))) {
        post_terms(a, t);
    }
}

/* --- the steps ---------------------------------------------------------------------------------
 */

static void step_on(struct agent *a, const struct renew_view *v, const struct renew_terms *own,
                    bool wanted, uint64_t now)
{
    if (v->wd.connected && !v->wd.armed) {
        lg_warn("agent", "msg=\"the watchdog is not armed any more; arming it again\"");
        enter(a, GUARD_OFF);
        return;
    }
    if (wanted) {
        a->idle_since_ms = 0;
        if (v->wd.connected) {
            confirm(a, own);
        }
        return;
    }
    if (a->idle_since_ms == 0) {
        a->idle_since_ms = now;
    }
    if (agent_freeze(a) || now >= a->idle_since_ms + IDLE_MS) {
        a->idle_since_ms = 0;
        enter(a, GUARD_UNGUARDING);
        agent_guard_step(a);
    }
}

static uint32_t wanted_timeout(const struct agent *a)
{
    return a->watchdog_timeout_ms != 0 ? a->watchdog_timeout_ms : (uint32_t)a->timing.watchdog_ms;
}

static void step_off(struct agent *a, const struct renew_view *v, const struct renew_terms *own,
                     bool wanted)
{
    if (!wanted) {
        if (v->wd.connected && v->wd.armed) {
            enter(a, GUARD_UNGUARDING); /* left armed by a former process */
            return;
        }
        if (v->has_terms && a->phase == AGENT_RUN) {
            confirm(a, own);
        }
        return;
    }
    renew_arm(a->renew, wanted_timeout(a), (uint32_t)a->timing.lmax_ms);
    enter(a, GUARD_ARMING);
}

static void step_unguarding(struct agent *a, const struct renew_terms *own)
{
    struct renew_terms t = *own;

    t.guarded = false;
    post_terms(a, &t);
}

void agent_guard_step(struct agent *a)
{
    uint64_t now = clock_now_ms();
    struct renew_terms own;
    struct renew_view v;
    bool wanted;

    if (a->stopping || a->guard_call != NULL || now < a->guard_retry_ms || a->incarnation == 0 ||
        a->phase < AGENT_RUN || a->phase == AGENT_REFUSED) {
        return;
    }
    renew_view(a->renew, &v);
    wanted = a->watchdog != NULL && wanted_here(a);
    if (a->guard == GUARD_ARMING && armed_for_us(a, &v)) {
        enter(a, GUARD_CONFIRMING);
    }
    agent_own_terms(a, &own);
    renew_say(a->renew, &own);
    if (v.state != RENEW_LIVE) {
        return;
    }
    switch (a->guard) {
    case GUARD_OFF:
        step_off(a, &v, &own, wanted);
        return;
    case GUARD_ARMING:
        return;
    case GUARD_CONFIRMING:
        post_terms(a, &own);
        return;
    case GUARD_ON:
        step_on(a, &v, &own, wanted, now);
        return;
    case GUARD_UNGUARDING:
        step_unguarding(a, &own);
        return;
    case GUARD_DISARMING:
        if (v.wd.connected && !v.wd.armed) {
            enter(a, GUARD_OFF);
        }
        return;
    }
    CHECK_UNREACHABLE();
}
