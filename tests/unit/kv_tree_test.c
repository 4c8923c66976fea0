/* The B+tree against a sorted list, with pinned roots that must not change. */

#include "store_fixture.h"

#include <stdlib.h>

#include "store/kvtree.h"
#include "store/store_priv.h"

struct model {
    const struct kv *all[20000]; /* sorted, each with a reference */
    size_t n;
};

static struct model model;

static size_t model_find(const void *key, size_t klen, bool *exact)
{
    size_t lo = 0, hi = model.n;

    *exact = false;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = kv_key_cmp(model.all[mid]->bytes, model.all[mid]->klen, key, klen);

        if (c == 0) {
            *exact = true;
            return mid;
        }
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void both_put(struct kvtree *t, const void *key, size_t klen)
{
    const struct kv *v = kv_new(key, klen, "v", 1);
    const struct kv *old;
    bool exact;
    size_t i = model_find(key, klen, &exact);

    old = kvtree_put(t, kv_ref(v));
    if (exact) {
        assert_ptr_equal(old, model.all[i]);
        kv_unref(old);
        kv_unref(model.all[i]);
        model.all[i] = v;
        return;
    }
    assert_null(old);
    memmove(&model.all[i + 1], &model.all[i], (model.n - i) * sizeof(model.all[0]));
    model.all[i] = v;
    model.n++;
}

static void both_del(struct kvtree *t, const void *key, size_t klen)
{
    bool exact;
    size_t i = model_find(key, klen, &exact);
    const struct kv *old = kvtree_del(t, key, klen);

    if (!exact) {
        assert_null(old);
        return;
    }
    assert_ptr_equal(old, model.all[i]);
    kv_unref(old);
    kv_unref(model.all[i]);
    model.n--;
    memmove(&model.all[i], &model.all[i + 1], (model.n - i) * sizeof(model.all[0]));
}

static void model_clear(void)
{
    for (size_t i = 0; i < model.n; i++) {
        kv_unref(model.all[i]);
    }
    model.n = 0;
}

static void assert_same(const struct kvtree *t, struct prng *p)
{
    struct kvtree_iter it;
    size_t from = model.n > 0 ? (size_t)prng_below(p, model.n) : 0;

    assert_true(kvtree_check(t));
    assert_int_equal(t->count, model.n);
    if (model.n == 0) {
        return;
    }
    kvtree_seek(&it, t->root, model.all[from]->bytes, model.all[from]->klen);
    for (size_t i = from; i < model.n; i++) {
        assert_ptr_equal(kvtree_next(&it), model.all[i]);
    }
    assert_null(kvtree_next(&it));
}

/* Keys that share long prefixes, with zero bytes and with one that begins another. */
static size_t random_key(struct prng *p, uint8_t *key)
{
    static const char *const PREFIX[] = { "", "o/virtualmachines/", "o/virtualmachines/vm", "k/a" };
    const char *prefix = PREFIX[prng_below(p, 4)];
    size_t n = strlen(prefix);
    size_t more = 1 + (size_t)prng_below(p, 4);

    memcpy(key, prefix, n);
    for (size_t i = 0; i < more; i++) {
        static const uint8_t ALPHABET[] = { 0, 1, 'a', 'b', 'c', 'x', 0xff };

        key[n++] = ALPHABET[prng_below(p, sizeof(ALPHABET))];
    }
    return n;
}

static void random_ops_match_a_sorted_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct kvtree t = { 0 };
        struct prng p;
        uint8_t key[64];

        prng_init(&p, seed);
        for (int i = 0; i < 6000; i++) {
            size_t n = random_key(&p, key);

            if (prng_below(&p, 10) < (i / 1500 % 2 == 0 ? 8U : 3U)) {
                both_put(&t, key, n);
            } else {
                both_del(&t, key, n);
            }
            if (i % 500 == 0) {
                assert_same(&t, &p);
            }
        }
        while (model.n > 0) {
            const struct kv *v = kv_ref(model.all[prng_below(&p, model.n)]);

            both_del(&t, v->bytes, v->klen);
            kv_unref(v);
        }
        assert_true(kvtree_check(&t));
        assert_null(t.root);
        kvtree_done(&t);
    }
}

static void ascending_and_descending_keys(void **state)
{
    struct kvtree t = { 0 };
    struct prng p;
    char key[32];

    (void)state;
    prng_init(&p, 1);
    for (int i = 0; i < 10000; i++) {
        both_put(&t, key, (size_t)snprintf(key, sizeof(key), "up/%08d", i));
    }
    for (int i = 5000; i > 0; i--) {
        both_put(&t, key, (size_t)snprintf(key, sizeof(key), "down/%08d", i));
    }
    assert_same(&t, &p);
    for (int i = 0; i < 10000; i++) {
        both_del(&t, key, (size_t)snprintf(key, sizeof(key), "up/%08d", i));
    }
    assert_same(&t, &p);
    kvtree_done(&t);
    model_clear();
}

/* What a pinned root shows stays as it was, whatever happens to the tree. */
static void pinned_roots_do_not_change(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct kvtree t = { 0 };
        struct kvnode *pin[3];
        const struct kv **want[3];
        size_t n[3];
        struct prng p;
        uint8_t key[64];

        prng_init(&p, seed * 77);
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i < 1500; i++) {
                size_t len = random_key(&p, key);

                if (prng_below(&p, 3) > 0) {
                    both_put(&t, key, len);
                } else {
                    both_del(&t, key, len);
                }
            }
            pin[k] = kvtree_pin(&t);
            n[k] = model.n;
            want[k] = mem_alloc(model.n * sizeof(*want[k]) + 1);
            for (size_t i = 0; i < model.n; i++) {
                want[k][i] = kv_ref(model.all[i]);
            }
        }
        for (int i = 0; i < 1500; i++) {
            both_del(&t, key, random_key(&p, key));
        }
        kvtree_done(&t); /* even gone */
        for (int k = 2; k >= 0; k--) {
            struct kvtree_iter it;

            kvtree_seek(&it, pin[k], "", 0);
            for (size_t i = 0; i < n[k]; i++) {
                assert_ptr_equal(kvtree_next(&it), want[k][i]);
                kv_unref(want[k][i]);
            }
            assert_null(kvtree_next(&it));
            kvtree_unpin(pin[k]);
            free(want[k]);
        }
        model_clear();
    }
}

static void an_empty_tree_has_nothing(void **state)
{
    struct kvtree t = { 0 };
    struct kvtree_iter it;

    (void)state;
    assert_null(kvtree_get(&t, "a", 1));
    assert_null(kvtree_del(&t, "a", 1));
    kvtree_seek(&it, t.root, "a", 1);
    assert_null(kvtree_next(&it));
    assert_null(kvtree_pin(&t));
    kvtree_unpin(NULL);
    assert_true(kvtree_check(&t));
    kvtree_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_ops_match_a_sorted_list),
        cmocka_unit_test(ascending_and_descending_keys),
        cmocka_unit_test(pinned_roots_do_not_change),
        cmocka_unit_test(an_empty_tree_has_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
