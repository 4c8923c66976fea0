/* Bytes that are no commands: each gives an answer, none does harm. */

#include "store_any.h"

#include <stdlib.h>

#include "store/mpk.h"

/* --- hostile bytes -----------------------------------------------------------------------------
 */

/* Any bytes give a command or ERR_INVALID; the sanitizers look on. */
static void any_bytes_are_survived(void **state)
{
    (void)state;
    prng_init(&rng, 11);
    for (int i = 0; i < 400; i++) {
        struct cmd c = any_cmd();
        struct buf b = { 0 };
        struct cmd back;
        struct err err;

        assert_int_equal(cmd_encode(&c, &b, &err), 0);
        for (int k = 0; k < 60; k++) {
            uint8_t *copy = mem_dup(b.data, b.len);
            size_t len = b.len;
            int rc;

            for (uint64_t n = prng_below(&rng, 4); n > 0; n--) {
                copy[prng_below(&rng, len < 200 ? len : 200)] = (uint8_t)prng_u64(&rng);
            }
            if (prng_below(&rng, 3) == 0) {
                len = (size_t)prng_below(&rng, len);
            }
            rc = cmd_decode(copy, len, &fx.a, &back, &err);
            assert_true(rc == 0 || rc == ERR_INVALID);
            free(copy);
        }
        buf_done(&b);
        arena_done(&fx.a);
    }
}

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    prng_init(&rng, 13);
    for (int i = 0; i < 200; i++) {
        struct cmd c = any_cmd();
        struct buf b = { 0 };
        struct cmd back;
        struct err err;

        assert_int_equal(cmd_encode(&c, &b, &err), 0);
        for (size_t len = 0; len < b.len; len += 1 + len / 50) {
            assert_int_equal(cmd_decode(b.data, len, &fx.a, &back, &err), ERR_INVALID);
            arena_done(&fx.a);
        }
        buf_add_byte(&b, 0xc0);
        assert_int_equal(cmd_decode(b.data, b.len, &fx.a, &back, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "too many"));
        buf_done(&b);
        arena_done(&fx.a);
    }
}

/* A count that promises more than there is must not be believed. */
static void a_lying_count_allocates_nothing(void **state)
{
    static const uint8_t LIE[] = { 0x97, 1,    0,    0,    0,    0,    0x93, 7,   0xc0,
                                   0,    0x93, 0x90, 0xdd, 0xff, 0xff, 0xff, 0xff };
    struct cmd c;
    struct err err;

    (void)state;
    assert_int_equal(cmd_decode(LIE, sizeof(LIE), &fx.a, &c, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "txn.then"));
    assert_true(fx.a.total < 4096);
}

static void deep_nesting_is_passed_over_without_recursion(void **state)
{
    size_t n = 1000000;
    uint8_t *p = mem_alloc(n);
    struct mpk m = mpk_make(p, n, &fx.a);
    struct err err;

    (void)state;
    memset(p, 0x91, n - 1); /* [[[[...nil]]]] */
    p[n - 1] = 0xc0;
    mpk_skip(&m, 1, "deep");
    assert_int_equal(mpk_end(&m, ERR_INVALID, "deep", &err), 0);
    free(p);
}

/* An undecodable entry gives an answer and changes nothing, on every replica alike. */
static void an_undecodable_command_is_answered(void **state)
{
    (void)state;
    OK(fx_put("k/a", "1"));
    WANT(ERR_INVALID, fx_apply_raw(fx.s, "\x97garbage", 8, fx.term));
    WANT(ERR_INVALID, fx_apply_raw(fx.s, "", 0, fx.term));
    assert_int_equal(store_rev(fx.s), 1);
    assert_int_equal(store_index(fx.s), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(any_bytes_are_survived),
        FX_TEST(every_truncation_is_an_error),
        FX_TEST(a_lying_count_allocates_nothing),
        FX_TEST(deep_nesting_is_passed_over_without_recursion),
        FX_TEST(an_undecodable_command_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
