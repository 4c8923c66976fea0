/* Watches: every change once, in order, or COMPACTED; also thousands of them at once. */

#include "store_fixture.h"

#include <stdlib.h>

static void wake(void *ctx)
{
    ++*(int *)ctx;
}

/* The next event as text: "PUT key=value rev<prev" or "DEL key rev<prev". */
static const char *next(struct store_watch *w)
{
    struct kv_event e;
    struct err err;
    int rc = store_watch_next(w, &e, &err);
    const char *prev;

    if (rc == 0) {
        return "-";
    }
    if (rc == ERR_COMPACTED) {
        return "COMPACTED";
    }
    assert_int_equal(rc, 1);
    prev = e.prev == NULL ? "" : (const char *)kv_value(e.prev);
    if (e.type == KV_DELETE) {
        assert_null(e.kv);
        return arena_printf(&fx.a, "DEL %s %u<%s", (const char *)e.key, (unsigned)e.rev, prev);
    }
    return arena_printf(&fx.a, "PUT %s=%s %u<%s", (const char *)e.key, (const char *)kv_value(e.kv),
                        (unsigned)e.rev, prev);
}

static struct store_watch *watch(const char *key, const char *end, uint64_t rev, int *woken)
{
    return store_watch_new(fx.s, key, strlen(key), end, end == NULL ? 0 : strlen(end), rev, wake,
                           woken);
}

static void from_now_on(void **state)
{
    int woken = 0;
    struct store_watch *w;

    (void)state;
    OK(fx_put("k/a", "0"));
    w = watch("k/a", NULL, 0, &woken);
    assert_string_equal(next(w), "-");
    OK(fx_put("k/b", "1"));
    assert_int_equal(woken, 0);
    assert_int_equal(store_watch_rev(w), 2);
    OK(fx_put("k/a", "2"));
    OK(fx_del("k/a"));
    assert_int_equal(woken, 1); /* once, until it was pulled dry */
    assert_int_equal(store_watch_rev(w), 2);
    assert_string_equal(next(w), "PUT k/a=2 3<0");
    assert_string_equal(next(w), "DEL k/a 4<2");
    assert_string_equal(next(w), "-");
    assert_int_equal(store_watch_rev(w), 4);
    OK(fx_put("k/a", "5"));
    assert_int_equal(woken, 2);
    assert_string_equal(next(w), "PUT k/a=5 5<");
    store_watch_free(w);
}

static void from_an_old_revision(void **state)
{
    int woken = 0;
    struct store_watch *w;

    (void)state;
    for (int i = 1; i <= 5; i++) {
        OK(fx_put("k/a", arena_printf(&fx.a, "%d", i)));
    }
    w = watch("k/", NULL, 3, &woken);
    assert_int_equal(store_watch_rev(w), 2);
    assert_string_equal(next(w), "PUT k/a=3 3<2");
    assert_string_equal(next(w), "PUT k/a=4 4<3");
    assert_int_equal(store_watch_rev(w), 4);
    assert_string_equal(next(w), "PUT k/a=5 5<4");
    assert_string_equal(next(w), "-");
    store_watch_free(w);
}

static void from_a_revision_to_come(void **state)
{
    int woken = 0;
    struct store_watch *w;

    (void)state;
    w = watch("k/", NULL, 3, &woken);
    OK(fx_put("k/a", "1"));
    OK(fx_put("k/a", "2"));
    assert_string_equal(next(w), "-");
    assert_int_equal(woken, 0);
    OK(fx_put("k/a", "3"));
    assert_int_equal(woken, 1);
    assert_string_equal(next(w), "PUT k/a=3 3<2");
    store_watch_free(w);
}

static void one_key_prefix_range(void **state)
{
    int n[4] = { 0 };
    struct store_watch *one = store_watch_new(fx.s, "k/a", 3, "k/a\0", 4, 0, wake, &n[0]);
    struct store_watch *pre = watch("k/a", NULL, 0, &n[1]);
    struct store_watch *pre2 = watch("k/a", "k/b", 0, &n[2]); /* the same in other words */
    struct store_watch *rng = watch("k/aa", "k/c", 0, &n[3]);

    (void)state;
    OK(fx_put("k/a", "1"));
    OK(fx_put("k/ab", "2"));
    OK(fx_put("k/b", "3"));
    OK(fx_put("k/c", "4"));
    assert_string_equal(next(one), "PUT k/a=1 1<");
    assert_string_equal(next(one), "-");
    assert_string_equal(next(pre), "PUT k/a=1 1<");
    assert_string_equal(next(pre), "PUT k/ab=2 2<");
    assert_string_equal(next(pre), "-");
    assert_string_equal(next(pre2), "PUT k/a=1 1<");
    assert_string_equal(next(pre2), "PUT k/ab=2 2<");
    assert_string_equal(next(pre2), "-");
    assert_string_equal(next(rng), "PUT k/ab=2 2<");
    assert_string_equal(next(rng), "PUT k/b=3 3<");
    assert_string_equal(next(rng), "-");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(n[i], 1);
    }
    store_watch_free(one);
    store_watch_free(pre);
    store_watch_free(pre2);
    store_watch_free(rng);
}

static int compact(uint64_t rev)
{
    struct cmd c = { .op = CMD_COMPACT, .actor = as_raw(), .number = rev };

    return fx_apply(&c);
}

static void compaction_breaks_only_who_lags(void **state)
{
    int n[3] = { 0 };
    struct store_watch *idle = watch("k/x", NULL, 0, &n[0]);
    struct store_watch *slow = watch("k/a", NULL, 0, &n[1]);
    struct store_watch *late;

    (void)state;
    OK(fx_put("k/a", "1"));
    OK(fx_put("k/a", "2"));
    assert_string_equal(next(slow), "PUT k/a=1 1<");
    OK(compact(2));
    assert_string_equal(next(slow), "COMPACTED");
    assert_string_equal(next(slow), "COMPACTED");
    assert_string_equal(next(idle), "-"); /* it has missed nothing */
    OK(fx_put("k/x", "3"));
    assert_string_equal(next(idle), "PUT k/x=3 3<");
    late = watch("k/a", NULL, 2, &n[2]);
    assert_string_equal(next(late), "COMPACTED");
    store_watch_free(late);
    late = watch("k/", NULL, 3, &n[2]);
    assert_string_equal(next(late), "PUT k/x=3 3<");
    store_watch_free(late);
    store_watch_free(slow);
    store_watch_free(idle);
}

/* All of a transaction in one revision, in order. */
static void a_transaction_is_one_revision(void **state)
{
    struct txn_op ops[] = {
        { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("1") },
        { .kind = TXN_PUT, .key = bytes_str("k/b"), .value = bytes_str("2") },
        { .kind = TXN_DELETE, .key = bytes_str("k/a") },
        { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("3") },
    };
    int woken = 0;
    struct store_watch *w = watch("k/", NULL, 0, &woken);

    (void)state;
    OK(fx_txn_as(as_raw(), ops, 4));
    assert_int_equal(woken, 1);
    assert_string_equal(next(w), "PUT k/a=1 1<");
    assert_int_equal(store_watch_rev(w), 0); /* not all of revision 1 yet */
    assert_string_equal(next(w), "PUT k/b=2 1<");
    assert_string_equal(next(w), "DEL k/a 1<1");
    assert_string_equal(next(w), "PUT k/a=3 1<");
    assert_string_equal(next(w), "-");
    store_watch_free(w);
}

/* --- many, against a model ---------------------------------------------------------------------
 */

#define N_WATCHES 3000

struct many {
    struct store_watch *w;
    char key[16], end[16];
    int woken;
    uint64_t seen; /* last revision delivered */
    size_t events;
};

static struct many many[N_WATCHES];

static bool wants(const struct many *m, const char *key)
{
    if (m->end[0] == 0) {
        return strncmp(key, m->key, strlen(m->key)) == 0;
    }
    return strcmp(key, m->key) >= 0 && strcmp(key, m->end) < 0;
}

static void pull(struct many *m)
{
    struct kv_event e;
    struct err err;
    int rc;

    while ((rc = store_watch_next(m->w, &e, &err)) == 1) {
        assert_true(wants(m, e.key));
        assert_true(e.rev > m->seen);
        m->seen = e.rev;
        m->events++;
    }
    assert_int_equal(rc, 0);
    m->woken = 0;
}

static void thousands_see_everything_once(void **state)
{
    static size_t expected[N_WATCHES];
    struct prng p;

    (void)state;
    prng_init(&p, 42);
    memset(expected, 0, sizeof(expected));
    for (size_t i = 0; i < N_WATCHES; i++) {
        struct many *m = &many[i];

        *m = (struct many){ .seen = 0 };
        (void)snprintf(m->key, sizeof(m->key), "k/%02u", (unsigned)prng_below(&p, 100));
        if (prng_below(&p, 3) == 0) {
            m->key[3] = 0;
        } else if (prng_below(&p, 2) == 0) {
            (void)snprintf(m->end, sizeof(m->end), "k/%02u", (unsigned)prng_below(&p, 100));
        }
        m->w = watch(m->key, m->end[0] == 0 ? NULL : m->end, 0, &m->woken);
    }
    for (int i = 0; i < 1500; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "k/%02u", (unsigned)prng_below(&p, 100));
        OK(fx_put(key, "x"));
        for (size_t j = 0; j < N_WATCHES; j++) {
            expected[j] += wants(&many[j], key);
            assert_true(many[j].woken <= 1);
            /* whoever was not woken has nothing to see; the others pull when they like */
            if (many[j].woken == 0 || prng_below(&p, 8) == 0) {
                pull(&many[j]);
                assert_int_equal(many[j].events, expected[j]);
            }
        }
        arena_done(&fx.a);
    }
    for (size_t j = 0; j < N_WATCHES; j++) {
        pull(&many[j]);
        assert_int_equal(many[j].events, expected[j]);
        store_watch_free(many[j].w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(from_now_on),
        FX_TEST(from_an_old_revision),
        FX_TEST(from_a_revision_to_come),
        FX_TEST(one_key_prefix_range),
        FX_TEST(compaction_breaks_only_who_lags),
        FX_TEST(a_transaction_is_one_revision),
        FX_TEST(thousands_see_everything_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
