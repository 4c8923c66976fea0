#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fence/timing.h"
#include "fence/wdog.h"
#include "store/safety.h"

static void defaults_hold(void **state)
{
    struct timing_in in = { 0 };
    struct timing t;
    struct err err;

    (void)state;
    assert_int_equal(timing_derive(&in, &t, &err), 0);
    assert_int_equal(t.heartbeat_ms, 500);
    assert_int_equal(t.lease_ms, 3000);
    assert_int_equal(t.stop_begin_ms, 1500);
    assert_int_equal(t.election_ms, 300);
    assert_int_equal(t.raft_heartbeat_ms, 50);
    assert_true(t.failover_ms <= t.lease_ms / 2);
    assert_int_equal(t.watchdog_bound_ms, 3000 + 10000 + 1000 + 141);
    assert_int_equal(t.renew_connect_ms, 2000);
    in.host_timeout_ms = 60000; /* a slow host, as in the lab */
    assert_int_equal(timing_derive(&in, &t, &err), 0);
    assert_int_equal(t.renew_connect_ms, 10000);
    in.host_timeout_ms = 1000;
    in.heartbeat_ms = 200;
    assert_int_equal(timing_derive(&in, &t, &err), 0);
    assert_int_equal(t.renew_connect_ms, 1000);
    in = (struct timing_in){ 0 };
    in.dev = true;
    assert_int_equal(timing_derive(&in, &t, &err), 0);
    assert_int_equal(t.watchdog_ms, 2000);
    assert_int_equal(t.watchdog_bound_ms, 3000 + 2000 + 500 + 56);
}

static void expect_refused(struct timing_in in, const char *part)
{
    struct timing t;
    struct err err = { 0 };

    memset(&t, 0x5a, sizeof(t));
    assert_int_equal(timing_derive(&in, &t, &err), ERR_INVALID);
    if (strstr(err.msg, part) == NULL) {
        fail_msg("'%s' does not say '%s'", err.msg, part);
    }
    assert_int_equal(((unsigned char *)&t)[0], 0x5a); /* untouched */
}

static void bad_knobs_are_refused_with_arithmetic(void **state)
{
    (void)state;
    expect_refused((struct timing_in){ .heartbeat_ms = 800 },
                   "4 * heartbeat 800 ms = 3200 ms > hostTimeout 3000 ms; lower timing.heartbeat "
                   "to 750ms or raise timing.hostTimeout to 3200ms");
    expect_refused((struct timing_in){ .heartbeat_ms = 50, .host_timeout_ms = 400 },
                   "two rounds 2 * 2 * 50 ms + barrier 25 ms + reconnect 25 ms = 250 ms > "
                   "hostTimeout/2 = 200 ms; raise timing.hostTimeout to at least 500ms");
    expect_refused((struct timing_in){ .election_ms = 400 }, "= 1850 ms > hostTimeout/2 = 1500 ms");
    expect_refused((struct timing_in){ .heartbeat_ms = 5 }, "timing.heartbeat is 5 ms");
    expect_refused((struct timing_in){ .host_timeout_ms = UINT64_MAX }, "too large");
    expect_refused((struct timing_in){ .watchdog_ms = 500 }, "between 1000 and 600000 ms");
    expect_refused((struct timing_in){ .device_timeout_ms = 2000 }, "device timeout is 2000 ms");
}

/* Whatever is accepted keeps the relations; nothing overflows. */
static void accepted_knobs_keep_the_relations(void **state)
{
    static const uint64_t values[] = { 0,    1,     20,    50,    100,    500,    1000,
                                       3000, 10000, 60000, 90000, 300000, 600000, UINT64_MAX };
    unsigned accepted = 0;

    (void)state;
    for (size_t h = 0; h < sizeof(values) / sizeof(values[0]); h++) {
        for (size_t l = 0; l < sizeof(values) / sizeof(values[0]); l++) {
            struct timing_in in = { .heartbeat_ms = values[h], .host_timeout_ms = values[l] };
            struct timing t;
            struct err err;

            if (timing_derive(&in, &t, &err) != 0) {
                assert_true(err.msg[0] != '\0');
                continue;
            }
            accepted++;
            assert_true(4 * t.heartbeat_ms <= t.lease_ms);
            assert_true(4 * t.election_ms + t.barrier_ms + t.reconnect_ms <= t.stop_begin_ms);
            assert_true(t.expiry_ms > t.lease_ms);
            assert_true(t.renew_connect_ms <= t.lease_ms);
            assert_true(t.renew_connect_ms <= 2000 || 3 * t.renew_connect_ms <= t.stop_begin_ms);
            assert_true(t.lmax_ms >= t.lease_ms && t.lmax_ms <= WDOG_LMAX_MAX_MS);
            assert_true(t.watchdog_bound_ms > t.lease_ms + t.watchdog_ms + t.feed_ms);
            assert_true(t.attempt_timeout_ms > t.device_timeout_ms);
            assert_true(t.startup_grace_ms >= 2 * t.lease_ms);
        }
    }
    assert_true(accepted > 20);
}

struct doc {
    char *text;
    unsigned rows;
};

static void find_row(void *ctx, const char *name, uint64_t ms, const char *derivation)
{
    struct doc *doc = ctx;
    char want[256];

    (void)snprintf(want, sizeof(want), "\n| `%s` | %" PRIu64 " ms | %s |", name, ms, derivation);
    if (strstr(doc->text, want) == NULL) {
        fail_msg("docs/timeouts.md has no row '%s'", want + 1);
    }
    doc->rows++;
}

static void the_doc_says_what_the_code_does(void **state)
{
    struct timing_in in = { 0 };
    struct doc doc = { 0 };
    struct timing t;
    struct err err;
    FILE *f = fopen("docs/timeouts.md", "r");
    unsigned in_doc = 0;
    size_t n;

    (void)state;
    assert_non_null(f);
    doc.text = calloc(1, 65536);
    assert_non_null(doc.text);
    n = fread(doc.text, 1, 65535, f);
    assert_true(n > 1000);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(timing_derive(&in, &t, &err), 0);
    timing_rows(&t, find_row, &doc);
    for (const char *p = doc.text; (p = strstr(p, "\n| `")) != NULL; p++) {
        in_doc++;
    }
    assert_int_equal(in_doc, doc.rows);
    free(doc.text);
}

/* The store computes the bound itself: what this side takes for passed, the store must, too. */
static void the_bound_is_not_below_the_stores(void **state)
{
    (void)state;
    for (uint32_t lease = 600; lease < 20000; lease += 97) {
        for (uint32_t w = 1000; w < 70000; w += 997) {
            struct terms t = { .lease_ms = lease, .watchdog_ms = w };

            t.feed_ms = (uint32_t)timing_feed_ms(w);
            assert_true(timing_watchdog_bound_ms(lease, w, t.feed_ms) >= s_watchdog_bound_ms(&t));
        }
    }
}

static void print_shows_every_row(void **state)
{
    struct timing_in in = { 0 };
    struct buf out = { 0 };
    struct timing t;
    struct err err;

    (void)state;
    assert_int_equal(timing_derive(&in, &t, &err), 0);
    timing_print(&t, &out);
    assert_non_null(
        strstr(buf_cstr(&out), "expiry             3031 ms  L + drift, after receipt\n"));
    assert_non_null(strstr(buf_cstr(&out), "startup_grace     20000 ms"));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(bad_knobs_are_refused_with_arithmetic),
        cmocka_unit_test(accepted_knobs_keep_the_relations),
        cmocka_unit_test(the_doc_says_what_the_code_does),
        cmocka_unit_test(the_bound_is_not_below_the_stores),
        cmocka_unit_test(print_shows_every_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
