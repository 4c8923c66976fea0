#include "fence/wdog.h"

#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/obj.h"

#define FEED_MAX_MS 1000U

/* --- messages
 * --------------------------------------------------------------------------------------- */

enum wdog_code wdog_request_check(const void *data, size_t len, struct wdog_request *ret)
{
    struct wdog_request rq;

    if (len != sizeof(rq)) {
        return WDOG_ERR_MALFORMED;
    }
    memcpy(&rq, data, sizeof(rq));
    if (rq.magic != WDOG_MAGIC || rq.version != WDOG_VERSION || rq.op < WDOG_SET_DEADLINE ||
        rq.op > WDOG_STATUS) {
        return WDOG_ERR_MALFORMED;
    }
    *ret = rq;
    return WDOG_OK;
}

bool wdog_reply_check(const void *data, size_t len, struct wdog_reply *ret)
{
    struct wdog_reply rp;

    if (len != sizeof(rp)) {
        return false;
    }
    memcpy(&rp, data, sizeof(rp));
    if (rp.magic != WDOG_MAGIC || rp.version != WDOG_VERSION || rp.code > WDOG_ERR_ARMED ||
        rp.status.kind > WDOG_KIND_DEV) {
        return false;
    }
    *ret = rp;
    return true;
}

bool wdog_dev_check(const void *data, size_t len, struct wdog_dev_msg *ret)
{
    struct wdog_dev_msg m;

    if (len != sizeof(m)) {
        return false;
    }
    memcpy(&m, data, sizeof(m));
    if (m.magic != WDOG_DEV_MAGIC || m.op < WDOG_DEV_ARM || m.op > WDOG_DEV_DISARM) {
        return false;
    }
    *ret = m;
    return true;
}

const char *wdog_code_text(enum wdog_code c)
{
    switch (c) {
    case WDOG_OK:
        return "ok";
    case WDOG_ERR_MALFORMED:
        return "malformed request, or another version of the protocol";
    case WDOG_ERR_NOT_ARMED:
        return "the watchdog is not armed";
    case WDOG_ERR_BEYOND_LMAX:
        return "the deadline lies beyond now + Lmax";
    case WDOG_ERR_STALE:
        return "older epoch, or another incarnation than the one it was armed for";
    case WDOG_ERR_PASSED:
        return "the deadline has passed already";
    case WDOG_ERR_INVALID:
        return "timeout or Lmax out of range, or no revision";
    case WDOG_ERR_DEVICE:
        return "the watchdog device refused";
    case WDOG_ERR_ARMED:
        return "it is armed with another Lmax";
    }
    CHECK_UNREACHABLE();
}

const char *wdog_kind_name(enum wdog_kind k)
{
    switch (k) {
    case WDOG_KIND_NONE:
        return "None";
    case WDOG_KIND_HARDWARE:
        return "Hardware";
    case WDOG_KIND_XEN:
        return "Xen";
    case WDOG_KIND_SOFTDOG:
        return "Softdog";
    case WDOG_KIND_DEV:
        return "Dev";
    }
    CHECK_UNREACHABLE();
}

/* --- the core
 * --------------------------------------------------------------------------------------- */

static uint32_t feed_ms_of(uint32_t timeout_ms)
{
    return timeout_ms / 4 < FEED_MAX_MS ? timeout_ms / 4 : FEED_MAX_MS;
}

void wdog_core_init(struct wdog_core *c, uint64_t now_ms)
{
    memset(c, 0, sizeof(*c));
    c->started_ms = now_ms;
}

static void feed(struct wdog_core *c, uint64_t now_ms, struct wdog_todo *ret)
{
    if (c->last_feed_ms == 0 || now_ms >= c->last_feed_ms + c->feed_ms) {
        c->last_feed_ms = now_ms;
        ret->feed = true;
    }
    ret->next_ms = c->last_feed_ms + c->feed_ms;
}

void wdog_core_step(struct wdog_core *c, uint64_t now_ms, struct wdog_todo *ret)
{
    if (c->held) {
        feed(c, now_ms, ret);
        return;
    }
    if (!c->armed) {
        return;
    }
    if (now_ms >= c->deadline_ms) {
        ret->expired = !c->expired;
        c->expired = true;
        return;
    }
    feed(c, now_ms, ret);
    if (c->deadline_ms < ret->next_ms) {
        ret->next_ms = c->deadline_ms;
    }
}

static enum wdog_code check_deadline(uint64_t deadline_ms, uint32_t lmax_ms, uint64_t now_ms)
{
    if (deadline_ms <= now_ms) {
        return WDOG_ERR_PASSED;
    }
    return deadline_ms - now_ms > lmax_ms ? WDOG_ERR_BEYOND_LMAX : WDOG_OK;
}

static bool stale(const struct wdog_core *c, const struct wdog_request *rq)
{
    return rq->epoch < c->epoch || (rq->epoch == c->epoch && rq->incarnation != c->incarnation);
}

static enum wdog_code set_deadline(struct wdog_core *c, const struct wdog_request *rq,
                                   uint64_t now_ms, struct wdog_todo *ret)
{
    enum wdog_code code;

    if (!c->armed) {
        return WDOG_ERR_NOT_ARMED;
    }
    if (stale(c, rq)) {
        return WDOG_ERR_STALE;
    }
    code = check_deadline(rq->deadline_boottime_ms, c->lmax_ms, now_ms);
    if (code != WDOG_OK) {
        return code;
    }
    c->epoch = rq->epoch;
    c->incarnation = rq->incarnation;
    if (rq->deadline_boottime_ms > c->deadline_ms) {
        c->deadline_ms = rq->deadline_boottime_ms;
    }
    ret->save = true;
    ret->resumed = c->expired;
    c->expired = false;
    return WDOG_OK;
}

static enum wdog_code request_arm(struct wdog_core *c, const struct wdog_request *rq,
                                  uint64_t now_ms, struct wdog_todo *ret)
{
    enum wdog_code code;

    if (rq->timeout_ms < WDOG_TIMEOUT_MIN_MS || rq->timeout_ms > WDOG_TIMEOUT_MAX_MS ||
        rq->lmax_ms < WDOG_LMAX_MIN_MS || rq->lmax_ms > WDOG_LMAX_MAX_MS) {
        return WDOG_ERR_INVALID;
    }
    if (c->armed) {
        return rq->lmax_ms == c->lmax_ms ? set_deadline(c, rq, now_ms, ret) : WDOG_ERR_ARMED;
    }
    if (rq->epoch < c->epoch) {
        return WDOG_ERR_STALE;
    }
    code = check_deadline(rq->deadline_boottime_ms, rq->lmax_ms, now_ms);
    if (code == WDOG_OK) {
        ret->arm = true;
        ret->want_timeout_ms = rq->timeout_ms;
    }
    return code;
}

static enum wdog_code request_disarm(struct wdog_core *c, const struct wdog_request *rq,
                                     struct wdog_todo *ret)
{
    if (!c->armed) {
        return WDOG_ERR_NOT_ARMED;
    }
    if (stale(c, rq)) {
        return WDOG_ERR_STALE;
    }
    if (rq->revision == 0) {
        return WDOG_ERR_INVALID;
    }
    c->armed = false;
    c->held = c->nowayout;
    c->expired = false;
    c->epoch = rq->epoch;
    ret->save = true;
    ret->disarm = true;
    return WDOG_OK;
}

enum wdog_code wdog_core_request(struct wdog_core *c, const struct wdog_request *rq,
                                 uint64_t now_ms, struct wdog_todo *ret)
{
    enum wdog_code code = WDOG_ERR_MALFORMED;

    switch ((enum wdog_op)rq->op) {
    case WDOG_SET_DEADLINE:
        code = set_deadline(c, rq, now_ms, ret);
        break;
    case WDOG_ARM:
        code = request_arm(c, rq, now_ms, ret);
        break;
    case WDOG_DISARM:
        code = request_disarm(c, rq, ret);
        break;
    case WDOG_STATUS:
        code = WDOG_OK;
        break;
    }
    wdog_core_step(c, now_ms, ret);
    return code;
}

void wdog_core_armed(struct wdog_core *c, const struct wdog_request *rq, enum wdog_kind kind,
                     bool nowayout, uint32_t timeout_ms, uint64_t now_ms, struct wdog_todo *ret)
{
    CHECK(timeout_ms >= WDOG_TIMEOUT_MIN_MS);
    CHECK(timeout_ms <= WDOG_TIMEOUT_MAX_MS);
    CHECK(!c->armed);
    c->armed = true;
    c->held = false;
    c->expired = false;
    c->kind = kind;
    c->nowayout = nowayout;
    c->timeout_ms = timeout_ms;
    c->feed_ms = feed_ms_of(timeout_ms);
    c->lmax_ms = rq->lmax_ms;
    c->epoch = rq->epoch;
    c->incarnation = rq->incarnation;
    c->deadline_ms = rq->deadline_boottime_ms;
    ret->arm = false;
    ret->save = true;
    wdog_core_step(c, now_ms, ret);
}

void wdog_core_status(const struct wdog_core *c, struct wdog_status *ret)
{
    *ret = (struct wdog_status){
        .armed = c->armed ? 1 : 0,
        .kind = (uint8_t)c->kind,
        .nowayout = c->nowayout ? 1 : 0,
        .expired = c->expired ? 1 : 0,
        .timeout_ms = c->timeout_ms,
        .feed_ms = c->feed_ms,
        .lmax_ms = c->lmax_ms,
        .epoch = c->epoch,
        .incarnation = c->incarnation,
        .deadline_boottime_ms = c->armed ? c->deadline_ms : 0,
        .last_feed_boottime_ms = c->last_feed_ms,
        .started_boottime_ms = c->started_ms,
        .build = WDOG_VERSION,
        .restarts = c->restarts,
    };
}

/* --- the saved record
 * -------------------------------------------------------------------------------- */

static uint32_t saved_crc(const struct wdog_saved *s)
{
    return crc32c(0, s, offsetof(struct wdog_saved, crc));
}

void wdog_core_save(const struct wdog_core *c, const char *boot_id, struct wdog_saved *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->magic = WDOG_MAGIC;
    ret->version = WDOG_VERSION;
    ret->armed = c->armed ? 1 : c->held ? 2 : 0;
    ret->kind = (uint8_t)((unsigned)c->kind | (c->nowayout ? 0x80U : 0U));
    ret->timeout_ms = c->timeout_ms;
    ret->lmax_ms = c->lmax_ms;
    ret->epoch = c->epoch;
    ret->incarnation = c->incarnation;
    ret->deadline_ms = c->deadline_ms;
    ret->restarts = c->restarts;
    memcpy(ret->boot_id, boot_id, strnlen(boot_id, sizeof(ret->boot_id) - 1));
    ret->crc = saved_crc(ret);
}

static bool saved_ok(const struct wdog_saved *s, const char *boot_id, uint64_t now_ms)
{
    return s->magic == WDOG_MAGIC && s->version == WDOG_VERSION && s->crc == saved_crc(s) &&
           s->armed <= 2 && (s->kind & 0x7fU) <= WDOG_KIND_DEV &&
           s->boot_id[sizeof(s->boot_id) - 1] == '\0' && strcmp(s->boot_id, boot_id) == 0 &&
           (s->armed == 0 ||
            (s->timeout_ms >= WDOG_TIMEOUT_MIN_MS && s->timeout_ms <= WDOG_TIMEOUT_MAX_MS)) &&
           (s->armed != 1 || s->deadline_ms <= now_ms + s->lmax_ms);
}

bool wdog_core_load(struct wdog_core *c, const void *data, size_t len, const char *boot_id,
                    uint64_t now_ms)
{
    struct wdog_saved s;

    if (len != sizeof(s)) {
        return false;
    }
    memcpy(&s, data, sizeof(s));
    if (!saved_ok(&s, boot_id, now_ms)) {
        return false;
    }
    wdog_core_init(c, now_ms);
    c->armed = s.armed == 1;
    c->held = s.armed == 2;
    c->kind = (enum wdog_kind)(s.kind & 0x7fU);
    c->nowayout = (s.kind & 0x80U) != 0;
    c->timeout_ms = s.timeout_ms;
    c->feed_ms = feed_ms_of(s.timeout_ms);
    c->lmax_ms = s.lmax_ms;
    c->epoch = s.epoch;
    c->incarnation = s.incarnation;
    c->deadline_ms = s.deadline_ms;
    c->restarts = s.restarts + 1;
    return true;
}
