/* How long turns of the loop take: what is not spent waiting for events.  Not part of NODE_OBJS:
 * tests with a loop of their own do without. */

#include "cmd/picketd/main_stall.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"

#define LOG_US 200000U

static void on_prepare(uv_prepare_t *h)
{
    struct stall *s = h->data;
    uint64_t now = clock_now_us();
    uint64_t idle = uv_metrics_idle_time(h->loop) / 1000;
    uint64_t whole = now - s->last_us;
    uint64_t waited = idle - s->last_idle_us;
    uint64_t busy = s->last_us == 0 || whole < waited ? 0 : whole - waited;

    s->last_us = now;
    s->last_idle_us = idle;
    s->turns++;
    s->over_10ms += busy > 10000;
    s->over_50ms += busy > 50000;
    s->max_us = busy > s->max_us ? busy : s->max_us;
    if (busy > LOG_US) {
        lg_warn("node", "busy_ms=%llu msg=\"one turn of the loop took long\"",
                (unsigned long long)(busy / 1000));
    }
}

struct stall *stall_start(uv_loop_t *loop)
{
    struct stall *s = OBJ_NEW(struct stall);

    s->prepare.data = s;
    (void)uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
    CHECK(uv_prepare_init(loop, &s->prepare) == 0);
    CHECK(uv_prepare_start(&s->prepare, on_prepare) == 0);
    uv_unref((uv_handle_t *)&s->prepare);
    return s;
}
