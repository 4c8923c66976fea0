/* Revisions, history, compaction: against a model that keeps every state. */

#include "store_fixture.h"

#include <stdlib.h>

/* --- by hand -----------------------------------------------------------------------------------
 */

static const char *value_at(const char *key, uint64_t rev)
{
    const struct kv *v = store_get(fx.s, key, strlen(key), rev);

    return v == NULL ? "(none)" : (const char *)kv_value(v);
}

static void versions_and_revisions(void **state)
{
    const struct kv *v;

    (void)state;
    OK(fx_put("k/a", "1")); /* 1 */
    OK(fx_put("k/b", "2")); /* 2 */
    OK(fx_put("k/a", "3")); /* 3 */
    OK(fx_del("k/a"));      /* 4 */
    OK(fx_put("k/a", "5")); /* 5 */
    OK(fx_put("k/a", "6")); /* 6 */
    assert_int_equal(store_rev(fx.s), 6);
    v = store_get_str(fx.s, "k/a");
    assert_int_equal(v->create_rev, 5);
    assert_int_equal(v->mod_rev, 6);
    assert_int_equal(v->version, 2);
    assert_string_equal(kv_key(v), "k/a");
    assert_string_equal(value_at("k/a", 0), "6");
    assert_string_equal(value_at("k/a", 1), "1");
    assert_string_equal(value_at("k/a", 2), "1");
    assert_string_equal(value_at("k/a", 3), "3");
    assert_string_equal(value_at("k/a", 4), "(none)");
    assert_string_equal(value_at("k/b", 1), "(none)");
    assert_string_equal(value_at("k/b", 6), "2");
    assert_int_equal(store_count(fx.s), 2);
    assert_int_equal(store_bytes(fx.s), 8);
}

static void what_changes_nothing_has_no_revision(void **state)
{
    (void)state;
    OK(fx_put("k/a", "1"));
    OK(fx_del("k/x"));
    assert_int_equal(store_rev(fx.s), 1);
    OK(fx_put("k/a", "1")); /* the same value is a change, as in etcd */
    assert_int_equal(store_rev(fx.s), 2);
}

static int compact(uint64_t rev)
{
    struct cmd c = { .op = CMD_COMPACT, .actor = as_raw(), .number = rev };

    return fx_apply(&c);
}

static void compaction_forgets(void **state)
{
    (void)state;
    OK(fx_put("k/a", "1"));
    OK(fx_put("k/a", "2"));
    OK(fx_del("k/a"));
    OK(fx_put("k/b", "4"));
    WANT(ERR_INVALID, compact(5));
    SAYS("future");
    OK(compact(2));
    assert_int_equal(store_compact_rev(fx.s), 2);
    assert_string_equal(value_at("k/a", 2), "2");
    WANT(ERR_COMPACTED, compact(2));
    WANT(ERR_COMPACTED, compact(1));
    OK(compact(4));
    assert_string_equal(value_at("k/b", 4), "4");
    assert_string_equal(value_at("k/a", 4), "(none)");
    assert_int_equal(store_rev(fx.s), 4);
    OK(fx_put("k/a", "5"));
    assert_int_equal(store_get_str(fx.s, "k/a")->version, 1);
}

static void the_history_is_bounded_by_count(void **state)
{
    struct store_limits limits = { .history_count = 10 };

    (void)state;
    (void)fx_teardown(NULL);
    (void)fx_setup_limits(&limits);
    for (int i = 0; i < 100; i++) {
        OK(fx_put("k/a", "x"));
        assert_true(store_rev(fx.s) - store_compact_rev(fx.s) <= 10);
    }
    assert_int_equal(store_compact_rev(fx.s), 90);
}

static void the_history_is_bounded_by_bytes(void **state)
{
    struct store_limits limits = { .history_bytes = 100000 };
    char value[5001];

    (void)state;
    (void)fx_teardown(NULL);
    (void)fx_setup_limits(&limits);
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    for (int i = 0; i < 100; i++) {
        OK(fx_put("k/a", value));
    }
    assert_in_range(store_rev(fx.s) - store_compact_rev(fx.s), 15, 20);
}

/* One revision larger than the bound stays: it is the present. */
static void the_newest_revision_always_stays(void **state)
{
    struct store_limits limits = { .history_bytes = 100, .history_count = 1 };

    (void)state;
    (void)fx_teardown(NULL);
    (void)fx_setup_limits(&limits);
    OK(fx_put("k/a", "a rather long value that takes more than a hundred bytes together with the "
                     "header of its version"));
    OK(fx_put("k/b", "1"));
    assert_int_equal(store_compact_rev(fx.s), 1);
    assert_string_equal(value_at("k/b", 2), "1");
}

struct seen {
    char text[256];
};

static bool see(void *ctx, const struct kv *v)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);

    (void)snprintf(s->text + n, sizeof(s->text) - n, "%s=%s ", kv_key(v),
                   (const char *)kv_value(v));
    return strcmp(kv_key(v), "k/stop") != 0;
}

static void ranges(void **state)
{
    struct seen s = { "" };

    (void)state;
    OK(fx_put("k/a", "1"));
    OK(fx_put("k/a/b", "2"));
    OK(fx_put("k/b", "3"));
    OK(fx_put("k/stop", "4"));
    OK(fx_put("k/z", "5"));
    OK(fx_del("k/a"));
    store_prefix(fx.s, "k/a", see, &s);
    assert_string_equal(s.text, "k/a/b=2 ");
    s = (struct seen){ "" };
    store_range(fx.s, "k/a", 3, "k/b", 3, 5, see, &s);
    assert_string_equal(s.text, "k/a=1 k/a/b=2 ");
    s = (struct seen){ "" };
    store_range(fx.s, "", 0, NULL, 0, 0, see, &s);
    assert_string_equal(s.text, "k/a/b=2 k/b=3 k/stop=4 ");
    s = (struct seen){ "" };
    store_range(fx.s, "k/b", 3, "k/b", 3, 0, see, &s);
    assert_string_equal(s.text, "");
}

static void a_version_may_be_held(void **state)
{
    const struct kv *v;

    (void)state;
    OK(fx_put("k/a", "1"));
    v = kv_ref(store_get_str(fx.s, "k/a"));
    OK(fx_put("k/a", "2"));
    OK(fx_del("k/a"));
    OK(compact(3));
    assert_string_equal((const char *)kv_value(v), "1");
    kv_unref(v);
}

/* --- against a model ---------------------------------------------------------------------------
 */

#define N_KEYS 40
#define N_REVS 3000

/* model[rev][key]: value, 0 for none */
static uint32_t model[N_REVS + 1][N_KEYS];

static void check_model(struct prng *p, uint64_t rev)
{
    char key[16];

    for (int i = 0; i < 60; i++) {
        uint64_t from = store_compact_rev(fx.s) > 0 ? store_compact_rev(fx.s) : 1;
        uint64_t at = from + prng_below(p, rev - from + 1);
        size_t k = (size_t)prng_below(p, N_KEYS);
        char want[16];

        (void)snprintf(key, sizeof(key), "k/%02zu", k);
        (void)snprintf(want, sizeof(want), "%u", model[at][k]);
        assert_string_equal(value_at(key, at), model[at][k] == 0 ? "(none)" : want);
    }
}

static void every_old_state_can_be_read(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct store_limits limits = { .history_count = seed == 4 ? 100 : 0 };
        struct prng p;
        uint64_t rev = 0;

        prng_init(&p, seed);
        (void)fx_teardown(NULL);
        (void)fx_setup_limits(&limits);
        memset(model, 0, sizeof(model));
        while (rev < N_REVS) {
            size_t k = (size_t)prng_below(&p, N_KEYS);
            char key[16], value[16];

            (void)snprintf(key, sizeof(key), "k/%02zu", k);
            if (prng_below(&p, 3) == 0) {
                OK(fx_del(key));
                if (model[rev][k] == 0) {
                    continue;
                }
                memcpy(model[rev + 1], model[rev], sizeof(model[0]));
                model[++rev][k] = 0;
            } else {
                (void)snprintf(value, sizeof(value), "%u", (unsigned)rev + 7);
                OK(fx_put(key, value));
                memcpy(model[rev + 1], model[rev], sizeof(model[0]));
                model[rev + 1][k] = (uint32_t)rev + 7;
                rev++;
            }
            assert_int_equal(store_rev(fx.s), rev);
            if (rev % 50 == 0) {
                check_model(&p, rev);
                arena_done(&fx.a);
            }
            if (prng_below(&p, 200) == 0 && rev > store_compact_rev(fx.s)) {
                OK(compact(store_compact_rev(fx.s) + 1 +
                           prng_below(&p, rev - store_compact_rev(fx.s))));
            }
        }
        OK(compact(rev));
        check_model(&p, rev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(versions_and_revisions),
        FX_TEST(what_changes_nothing_has_no_revision),
        FX_TEST(compaction_forgets),
        FX_TEST(the_history_is_bounded_by_count),
        FX_TEST(the_history_is_bounded_by_bytes),
        FX_TEST(the_newest_revision_always_stays),
        FX_TEST(ranges),
        FX_TEST(a_version_may_be_held),
        FX_TEST(every_old_state_can_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
