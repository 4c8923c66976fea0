/* Wakes reach a loop on another thread, and a real-time one does not spin for its sender. */

#include "base/wake.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/obj.h"
#include "base/prio.h"

#define ROUNDS 200

struct sleeper {
    uv_loop_t loop;
    pthread_t thread;
    struct wake *wake;
    int cpu;       /* to be on, or -1 */
    bool realtime; /* wanted; the machine may refuse */
    bool refused;
    _Atomic bool ready, stop;
    _Atomic unsigned woken;
    uint64_t cpu_ms;
};

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    CHECK(pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0);
}

static void on_wake(void *ctx)
{
    struct sleeper *s = ctx;

    s->woken++;
    if (s->stop) {
        wake_close(s->wake);
    }
}

static void *sleeper_main(void *arg)
{
    struct sleeper *s = arg;
    struct timespec t;
    struct err err;

    if (s->cpu >= 0) {
        pin(s->cpu);
    }
    s->refused = s->realtime && prio_realtime(&err) != 0;
    s->ready = true;
    CHECK(uv_run(&s->loop, UV_RUN_DEFAULT) == 0);
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    s->cpu_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    return NULL;
}

static void sleeper_start(struct sleeper *s)
{
    CHECK(uv_loop_init(&s->loop) == 0);
    s->wake = wake_new(&s->loop, on_wake, s);
    CHECK(pthread_create(&s->thread, NULL, sleeper_main, s) == 0);
    while (!s->ready) {
        (void)sched_yield();
    }
}

static void sleeper_end(struct sleeper *s)
{
    s->stop = true;
    wake_send(s->wake);
    CHECK(pthread_join(s->thread, NULL) == 0);
    CHECK(uv_loop_close(&s->loop) == 0);
}

static void every_wake_is_seen(void **state)
{
    struct sleeper s = { .cpu = -1 };

    (void)state;
    sleeper_start(&s);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned before = s.woken;

        wake_send(s.wake);
        while (s.woken == before) {
            (void)sched_yield();
        }
    }
    sleeper_end(&s);
    assert_true(s.woken > ROUNDS);
}

/* The sender shares its processor with the sleeper, which takes it the moment it is woken.  With a
 * uv_async_t this costs 0.95 s of spinning each time. */
static void realtime_does_not_spin(void **state)
{
    struct sleeper s = { .cpu = sched_getcpu(), .realtime = true };
    cpu_set_t was;

    (void)state;
    CHECK(pthread_getaffinity_np(pthread_self(), sizeof(was), &was) == 0);
    sleeper_start(&s);
    pin(s.cpu);
    for (unsigned i = 0; i < ROUNDS; i++) {
        wake_send(s.wake);
    }
    sleeper_end(&s);
    CHECK(pthread_setaffinity_np(pthread_self(), sizeof(was), &was) == 0);
    if (s.refused) {
        skip(); /* no CAP_SYS_NICE */
    }
    assert_true(s.woken > 0);
    assert_in_range(s.cpu_ms, 0, 900);
}

static void closing_nothing_is_nothing(void **state)
{
    (void)state;
    wake_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wake_is_seen),
        cmocka_unit_test(realtime_does_not_spin),
        cmocka_unit_test(closing_nothing_is_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
