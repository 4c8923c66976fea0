#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "fence/timing.h"
#include "fence/wdog.h"

#define BOOT "11111111-2222-3333-4444-555555555555"
#define T0 1000000U

static struct wdog_request request(enum wdog_op op, uint64_t deadline_ms)
{
    return (struct wdog_request){ .magic = WDOG_MAGIC,
                                  .version = WDOG_VERSION,
                                  .op = (uint16_t)op,
                                  .epoch = 5,
                                  .incarnation = 7,
                                  .deadline_boottime_ms = deadline_ms,
                                  .timeout_ms = 2000,
                                  .lmax_ms = 12000 };
}

static enum wdog_code ask(struct wdog_core *c, struct wdog_request rq, uint64_t now_ms,
                          struct wdog_todo *todo)
{
    memset(todo, 0, sizeof(*todo));
    return wdog_core_request(c, &rq, now_ms, todo);
}

static struct wdog_core armed_core(void)
{
    struct wdog_request rq = request(WDOG_ARM, T0 + 3000);
    struct wdog_todo todo;
    struct wdog_core c;

    wdog_core_init(&c, T0);
    assert_int_equal(ask(&c, rq, T0, &todo), WDOG_OK);
    assert_true(todo.arm);
    assert_false(c.armed); /* not before the device said so */
    wdog_core_armed(&c, &rq, WDOG_KIND_HARDWARE, true, 2000, T0, &todo);
    assert_true(c.armed && todo.save && todo.feed);
    assert_int_equal(todo.next_ms, T0 + 500);
    return c;
}

static void feeds_until_the_deadline(void **state)
{
    struct wdog_core c = armed_core();
    uint64_t last = T0;
    unsigned feeds = 0, said = 0;

    (void)state;
    for (uint64_t now = T0; now < T0 + 10000; now += 10) {
        struct wdog_todo todo = { 0 };

        wdog_core_step(&c, now, &todo);
        if (todo.feed) {
            assert_true(now < T0 + 3000);
            last = now;
            feeds++;
        }
        said += todo.expired ? 1 : 0;
        assert_true(todo.next_ms != 0 || now >= T0 + 3000);
    }
    assert_int_equal(feeds, 5); /* at 500 ... 2500 */
    assert_int_equal(last, T0 + 2500);
    assert_int_equal(said, 1);
    assert_true(c.expired);
}

static void wakes_for_the_deadline(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_todo todo = { 0 };

    (void)state;
    wdog_core_step(&c, T0 + 2900, &todo);
    assert_true(todo.feed);
    assert_int_equal(todo.next_ms, T0 + 3000);
}

static void a_new_deadline_goes_on(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_todo todo;

    (void)state;
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 5000), T0 + 2000, &todo), WDOG_OK);
    assert_true(todo.save && todo.feed && !todo.resumed);
    assert_int_equal(c.deadline_ms, T0 + 5000);
    /* An older one that comes late changes nothing. */
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 4000), T0 + 2100, &todo), WDOG_OK);
    assert_int_equal(c.deadline_ms, T0 + 5000);
    /* After the end, but the device still runs: the lease was renewed in time. */
    memset(&todo, 0, sizeof(todo));
    wdog_core_step(&c, T0 + 5000, &todo);
    assert_true(todo.expired && !todo.feed);
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 7000), T0 + 5500, &todo), WDOG_OK);
    assert_true(todo.resumed && todo.feed && !c.expired);
}

static void refuses_what_it_must(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_core before = c;
    struct wdog_request rq = request(WDOG_SET_DEADLINE, T0 + 4000);
    struct wdog_todo todo;

    (void)state;
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 100 + 12001), T0 + 100, &todo),
                     WDOG_ERR_BEYOND_LMAX);
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, UINT64_MAX), T0 + 100, &todo),
                     WDOG_ERR_BEYOND_LMAX);
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 100), T0 + 100, &todo),
                     WDOG_ERR_PASSED);
    rq.incarnation = 8;
    assert_int_equal(ask(&c, rq, T0 + 100, &todo), WDOG_ERR_STALE);
    rq.incarnation = 7;
    rq.epoch = 4;
    assert_int_equal(ask(&c, rq, T0 + 100, &todo), WDOG_ERR_STALE);
    rq = request(WDOG_ARM, T0 + 4000);
    rq.lmax_ms = 20000; /* fixed at arming */
    assert_int_equal(ask(&c, rq, T0 + 100, &todo), WDOG_ERR_ARMED);
    assert_false(todo.arm);
    assert_memory_equal(&c, &before, sizeof(c));
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 100 + 12000), T0 + 100, &todo),
                     WDOG_OK);
}

static void a_newer_epoch_counts(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_request rq = request(WDOG_SET_DEADLINE, T0 + 4000);
    struct wdog_todo todo;

    (void)state;
    rq.epoch = 6;
    rq.incarnation = 900;
    assert_int_equal(ask(&c, rq, T0 + 100, &todo), WDOG_OK);
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 5000), T0 + 100, &todo),
                     WDOG_ERR_STALE);
}

static void arming_again_is_a_deadline(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_todo todo;

    (void)state;
    assert_int_equal(ask(&c, request(WDOG_ARM, T0 + 6000), T0 + 4000, &todo), WDOG_OK);
    assert_false(todo.arm);
    assert_int_equal(c.deadline_ms, T0 + 6000);
}

static void arm_checks_its_terms(void **state)
{
    struct wdog_core c;
    struct wdog_request rq = request(WDOG_ARM, T0 + 3000);
    struct wdog_todo todo;

    (void)state;
    wdog_core_init(&c, T0);
    rq.timeout_ms = 100;
    assert_int_equal(ask(&c, rq, T0, &todo), WDOG_ERR_INVALID);
    rq = request(WDOG_ARM, T0 + 3000);
    rq.lmax_ms = 0;
    assert_int_equal(ask(&c, rq, T0, &todo), WDOG_ERR_INVALID);
    assert_int_equal(ask(&c, request(WDOG_ARM, T0), T0, &todo), WDOG_ERR_PASSED);
    assert_int_equal(ask(&c, request(WDOG_ARM, T0 + 13000), T0, &todo), WDOG_ERR_BEYOND_LMAX);
    assert_int_equal(ask(&c, request(WDOG_SET_DEADLINE, T0 + 100), T0, &todo), WDOG_ERR_NOT_ARMED);
    assert_false(todo.arm || todo.save || todo.feed);
}

static void disarms_only_when_committed(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_request rq = request(WDOG_DISARM, 0);
    struct wdog_todo todo;

    (void)state;
    assert_int_equal(ask(&c, rq, T0 + 100, &todo), WDOG_ERR_INVALID); /* no revision */
    assert_true(c.armed);
    rq.revision = 99;
    rq.incarnation = 6;
    assert_int_equal(ask(&c, rq, T0 + 100, &todo), WDOG_ERR_STALE);
    rq.incarnation = 7;
    assert_int_equal(ask(&c, rq, T0 + 100, &todo), WDOG_OK);
    assert_true(todo.disarm && todo.save && !c.armed);
    /* nowayout: it cannot be stopped, so it is fed for ever. */
    assert_true(c.held);
    memset(&todo, 0, sizeof(todo));
    wdog_core_step(&c, T0 + 100000, &todo);
    assert_true(todo.feed && todo.next_ms == T0 + 100500);
    /* And can be armed again. */
    assert_int_equal(ask(&c, request(WDOG_ARM, T0 + 103000), T0 + 100000, &todo), WDOG_OK);
    assert_true(todo.arm);
}

static void disarm_of_a_stoppable_device(void **state)
{
    struct wdog_request rq = request(WDOG_ARM, T0 + 3000);
    struct wdog_todo todo = { 0 };
    struct wdog_core c;

    (void)state;
    wdog_core_init(&c, T0);
    wdog_core_armed(&c, &rq, WDOG_KIND_SOFTDOG, false, 60000, T0, &todo);
    assert_int_equal(c.feed_ms, 1000);
    rq = request(WDOG_DISARM, 0);
    rq.revision = 1;
    assert_int_equal(ask(&c, rq, T0 + 10, &todo), WDOG_OK);
    assert_false(c.held);
    assert_int_equal(todo.next_ms, 0);
}

static void saved_and_loaded(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_core d;
    struct wdog_saved s;
    struct wdog_todo todo = { 0 };
    struct wdog_status st;

    (void)state;
    wdog_core_save(&c, BOOT, &s);
    wdog_core_init(&d, T0);
    assert_true(wdog_core_load(&d, &s, sizeof(s), BOOT, T0 + 1000));
    assert_true(d.armed && d.nowayout);
    assert_int_equal(d.deadline_ms, T0 + 3000);
    assert_int_equal(d.lmax_ms, 12000);
    assert_int_equal(d.restarts, 1);
    wdog_core_step(&d, T0 + 1000, &todo);
    assert_true(todo.feed);
    /* Too late: armed, but never fed. */
    assert_true(wdog_core_load(&d, &s, sizeof(s), BOOT, T0 + 3000));
    memset(&todo, 0, sizeof(todo));
    wdog_core_step(&d, T0 + 3000, &todo);
    assert_true(todo.expired && !todo.feed);
    wdog_core_status(&d, &st);
    assert_int_equal(st.armed, 1);
    assert_int_equal(st.expired, 1);
    assert_int_equal(st.kind, WDOG_KIND_HARDWARE);
}

static void void_records(void **state)
{
    struct wdog_core c = armed_core();
    struct wdog_core d;
    struct wdog_saved s, bad;

    (void)state;
    wdog_core_save(&c, BOOT, &s);
    wdog_core_init(&d, T0);
    /* Another boot: its clock began anew. */
    assert_false(wdog_core_load(&d, &s, sizeof(s), "99999999-2222-3333-4444-555555555555", T0));
    assert_false(wdog_core_load(&d, &s, sizeof(s) - 1, BOOT, T0));
    for (size_t i = 0; i < sizeof(s); i++) {
        bad = s;
        ((uint8_t *)&bad)[i] ^= 0x10U;
        assert_false(wdog_core_load(&d, &bad, sizeof(bad), BOOT, T0));
    }
    /* A deadline further ahead than Lmax: the clock or the record is wrong. */
    assert_false(wdog_core_load(&d, &s, sizeof(s), BOOT, T0 - 10000));
    assert_false(d.armed);
}

static void malformed_messages(void **state)
{
    struct wdog_request rq = request(WDOG_STATUS, 0), got;
    struct wdog_reply rp = { .magic = WDOG_MAGIC, .version = WDOG_VERSION }, got_rp;
    struct wdog_dev_msg m = { .magic = WDOG_DEV_MAGIC, .op = WDOG_DEV_FEED }, got_m;

    (void)state;
    assert_int_equal(wdog_request_check(&rq, sizeof(rq), &got), WDOG_OK);
    assert_int_equal(wdog_request_check(&rq, sizeof(rq) - 1, &got), WDOG_ERR_MALFORMED);
    rq.version = 2;
    assert_int_equal(wdog_request_check(&rq, sizeof(rq), &got), WDOG_ERR_MALFORMED);
    rq.version = WDOG_VERSION;
    rq.op = 0;
    assert_int_equal(wdog_request_check(&rq, sizeof(rq), &got), WDOG_ERR_MALFORMED);
    rq.op = WDOG_STATUS + 1;
    assert_int_equal(wdog_request_check(&rq, sizeof(rq), &got), WDOG_ERR_MALFORMED);
    assert_true(wdog_reply_check(&rp, sizeof(rp), &got_rp));
    rp.code = 100;
    assert_false(wdog_reply_check(&rp, sizeof(rp), &got_rp));
    assert_true(wdog_dev_check(&m, sizeof(m), &got_m));
    m.op = 4;
    assert_false(wdog_dev_check(&m, sizeof(m), &got_m));
}

/* Random requests and times against the promises: never fed at or after the deadline, never a
 * deadline beyond Lmax, never disarmed without a revision, and a restart at any moment changes none
 * of that. */
static void promises_hold_at_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct prng p;
        struct wdog_core c;
        uint64_t now = T0;

        prng_init(&p, seed);
        wdog_core_init(&c, now);
        for (int i = 0; i < 400; i++) {
            enum wdog_op op = (enum wdog_op)(1 + prng_below(&p, 4));
            struct wdog_request rq = request(op, now - 1000 + prng_below(&p, 16000));
            struct wdog_todo todo = { 0 };
            bool was_armed = c.armed;

            rq.epoch = 4 + prng_below(&p, 3);
            rq.incarnation = 6 + prng_below(&p, 2);
            rq.revision = prng_below(&p, 2);
            if (prng_below(&p, 3) == 0) {
                if (wdog_core_request(&c, &rq, now, &todo) == WDOG_OK && todo.arm) {
                    wdog_core_armed(&c, &rq, WDOG_KIND_HARDWARE, true, 2000, now, &todo);
                }
            } else {
                wdog_core_step(&c, now, &todo);
            }
            if (todo.feed && !c.held) {
                assert_true(c.armed && now < c.deadline_ms);
            }
            if (c.armed) {
                assert_true(c.deadline_ms <= now + c.lmax_ms);
            }
            if (was_armed && !c.armed) {
                assert_true(op == WDOG_DISARM && rq.revision != 0);
            }
            if (prng_below(&p, 20) == 0) {
                struct wdog_saved s;
                struct wdog_core d;

                wdog_core_save(&c, BOOT, &s);
                wdog_core_init(&d, now);
                assert_true(wdog_core_load(&d, &s, sizeof(s), BOOT, now));
                assert_int_equal(d.armed, c.armed);
                assert_true(!c.armed || d.deadline_ms == c.deadline_ms);
                c = d;
            }
            now += prng_below(&p, 900);
        }
    }
}

/* The bound of the Watchdog proof holds for the core: the last feed is before the deadline, the
 * device ends the host within W of it. */
static void the_bound_covers_the_core(void **state)
{
    (void)state;
    for (uint64_t w = 1000; w <= 60000; w += 1000) {
        assert_true(timing_watchdog_bound_ms(3000, w, timing_feed_ms(w)) >= 3000 + w);
        assert_int_equal(timing_feed_ms(w), w / 4 < 1000 ? w / 4 : 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feeds_until_the_deadline),
        cmocka_unit_test(wakes_for_the_deadline),
        cmocka_unit_test(a_new_deadline_goes_on),
        cmocka_unit_test(refuses_what_it_must),
        cmocka_unit_test(a_newer_epoch_counts),
        cmocka_unit_test(arming_again_is_a_deadline),
        cmocka_unit_test(arm_checks_its_terms),
        cmocka_unit_test(disarms_only_when_committed),
        cmocka_unit_test(disarm_of_a_stoppable_device),
        cmocka_unit_test(saved_and_loaded),
        cmocka_unit_test(void_records),
        cmocka_unit_test(malformed_messages),
        cmocka_unit_test(promises_hold_at_random),
        cmocka_unit_test(the_bound_covers_the_core),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
