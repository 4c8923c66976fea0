#include "cmd/picketd/loopstat.h"

#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"

#define LOG_US 200000U

static uint64_t cpu_us(void)
{
    struct timespec ts;

    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

static void turn_over(struct loopstat *s, uint64_t busy_us, uint64_t used_us)
{
    s->over_10ms += busy_us > 10000;
    s->over_50ms += busy_us > 50000;
    s->max_us = busy_us > s->max_us ? busy_us : s->max_us;
    s->longest_us = busy_us > s->longest_us ? busy_us : s->longest_us;
    s->max_cpu_us = used_us > s->max_cpu_us ? used_us : s->max_cpu_us;
    if (busy_us > LOG_US) {
        lg_warn("node",
                "busy_ms=%" PRIu64 " cpu_ms=%" PRIu64 " msg=\"one turn of the loop took long\"",
                busy_us / 1000, used_us / 1000);
    }
}

/* Once a turn, right before the loop waits. */
static void on_prepare(uv_prepare_t *h)
{
    struct loopstat *s = h->data;
    uint64_t now = clock_now_us(), cpu = cpu_us();
    uint64_t idle = uv_metrics_idle_time(h->loop) / 1000U;
    uint64_t all = now - s->begin_us, waited = idle - s->idle_us;
    uint64_t busy = all > waited ? all - waited : 0;

    if (s->turns++ > 0) {
        turn_over(s, busy, cpu - s->begin_cpu_us);
    }
    s->begin_us = now;
    s->begin_cpu_us = cpu;
    s->idle_us = idle;
}

void loopstat_start(struct loopstat *s, uv_loop_t *loop)
{
    *s = (struct loopstat){ 0 };
    s->prepare.data = s;
    CHECK(uv_loop_configure(loop, UV_METRICS_IDLE_TIME) == 0);
    CHECK(uv_prepare_init(loop, &s->prepare) == 0);
    CHECK(uv_prepare_start(&s->prepare, on_prepare) == 0);
}

void loopstat_take(struct loopstat *s, uint64_t *ret_us, uint64_t *ret_cpu_us)
{
    *ret_us = s->max_us;
    *ret_cpu_us = s->max_cpu_us;
    s->max_us = s->max_cpu_us = 0;
}
