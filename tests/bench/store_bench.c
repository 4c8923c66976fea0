/* The state machine alone: commands per second, reads per second, bytes per key, and how long a
 * snapshot is pinned.  Keys of 24 and values of 256 bytes, as the store's goals are stated.
 *
 *   store_bench [KEYS]      (default 1,000,000)
 *
 * Build by hand with libstore.a, libbase.a and -ljansson.
 *
 * Ratios between the lines say something; the numbers are those of the machine. */

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "store/cmd.h"
#include "store/store.h"

#define VALUE_BYTES 256U
#define WATCHES 5000U

static struct store *s;
static uint64_t idx;
static uint64_t start_us;

static void begin(void)
{
    start_us = clock_now_us();
}

static void report(const char *what, uint64_t n)
{
    uint64_t us = clock_now_us() - start_us;

    printf("%-44s %9.0f/s  %7.2f us each\n", what, (double)n * 1e6 / (double)(us == 0 ? 1 : us),
           (double)us / (double)n);
}

static size_t key_of(char *key, size_t size, uint64_t i)
{
    int n =
        snprintf(key, size, "k/bench/%016" PRIx64, (uint64_t)(i * UINT64_C(0x9e3779b97f4a7c15)));

    return (size_t)n;
}

/* Encode outside of what is measured: in the product the proposer's thread has done it. */
static void encode_put(struct buf *b, const char *key, size_t klen, const char *value,
                       uint64_t session, uint64_t seq)
{
    struct txn_op op = { .kind = TXN_PUT, .key = { (const uint8_t *)key, klen } };
    struct cmd c = { .op = CMD_TXN, .actor = { ACTOR_RAW, "bench", 0 } };
    struct err err;

    op.value = (struct bytes){ (const uint8_t *)value, VALUE_BYTES };
    c.session = session;
    c.seq = seq;
    c.ack = seq;
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    CHECK(cmd_encode(&c, b, &err) == 0);
}

static void puts_of(uint64_t from, uint64_t n, uint64_t session, const char *what)
{
    static char value[VALUE_BYTES + 1];
    struct buf *cmds = mem_alloc(1000 * sizeof(*cmds));
    struct buf out = { 0 };
    uint64_t us = 0;

    memset(value, 'v', VALUE_BYTES);
    for (uint64_t i = 0; i < n;) {
        uint64_t batch = n - i < 1000 ? n - i : 1000;
        char key[64];

        for (uint64_t k = 0; k < batch; k++) {
            buf_clear(&cmds[k]);
            encode_put(&cmds[k], key, key_of(key, sizeof(key), from + i + k), value, session,
                       i + k + 1);
        }
        begin();
        for (uint64_t k = 0; k < batch; k++) {
            buf_clear(&out);
            idx++;
            store_apply(s, idx, 1, 1000 + idx, cmds[k].data, cmds[k].len, &out);
        }
        us += clock_now_us() - start_us;
        i += batch;
    }
    start_us = clock_now_us() - us;
    report(what, n);
    for (size_t k = 0; k < 1000; k++) {
        buf_done(&cmds[k]);
    }
    free(cmds);
    buf_done(&out);
}

static void gets_of(uint64_t keys, uint64_t n)
{
    struct prng p;
    uint64_t found = 0;

    prng_init(&p, 1);
    begin();
    for (uint64_t i = 0; i < n; i++) {
        char key[64];
        size_t len = key_of(key, sizeof(key), prng_below(&p, keys));

        found += store_get(s, key, len, 0) != NULL;
    }
    report("gets, random", n);
    CHECK(found == n);
}

static bool count_one(void *ctx, const struct kv *v)
{
    (void)v;
    ++*(uint64_t *)ctx;
    return true;
}

static uint64_t open_session(void)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = { ACTOR_RAW, "bench", 0 }, .text = "bench" };
    struct arena a = { 0 };
    struct cmd_answer ans;
    struct buf b = { 0 };
    struct buf out = { 0 };
    struct err err;
    uint64_t id;

    CHECK(cmd_encode(&c, &b, &err) == 0);
    store_apply(s, ++idx, 1, 1000, b.data, b.len, &out);
    CHECK(cmd_answer_decode(out.data, out.len, &a, &ans, &err) == 0);
    CHECK(ans.n_values == 1);
    id = ans.values[0];
    buf_done(&b);
    buf_done(&out);
    arena_done(&a);
    return id;
}

static int count_bytes(void *ctx, const void *data, size_t len, struct err *err)
{
    (void)data;
    (void)err;
    *(uint64_t *)ctx += len;
    return 0;
}

static void snapshot(uint64_t keys)
{
    struct store_snap *snap;
    uint64_t bytes = 0;
    struct err err;

    begin();
    snap = store_snap_begin(s);
    report("snapshot: pin", 1);
    puts_of(0, 20000, 0, "puts while it is pinned (nodes are copied)");
    begin();
    CHECK(store_snap_write(snap, count_bytes, &bytes, &err) == 0);
    report("snapshot: keys written", keys);
    begin();
    store_snap_end(snap);
    report("snapshot: unpin", 1);
    printf("%-44s %9.1f MB\n", "snapshot: size", (double)bytes / 1e6);
}

static void many_watches(uint64_t keys)
{
    struct store_watch **w = mem_alloc(WATCHES * sizeof(struct store_watch *));

    for (uint64_t i = 0; i < WATCHES; i++) {
        char key[64];
        size_t len = key_of(key, sizeof(key), i * 7 % keys);

        w[i] = store_watch_new(s, key, i % 2 == 0 ? len : len - i % 5, NULL, 0, 0, NULL, NULL);
    }
    puts_of(0, 100000, 0, "puts under 5000 watches");
    for (uint64_t i = 0; i < WATCHES; i++) {
        store_watch_free(w[i]);
    }
    free(w);
}

int main(int argc, char **argv)
{
    uint64_t keys = 1000000;
    size_t before, used;
    uint64_t n = 0;

    if (argc > 1 && (!str_parse_u64(argv[1], &keys) || keys < 1000)) {
        (void)fprintf(stderr, "store_bench: \"%s\" is no number of keys from 1000 on\n", argv[1]);
        return 2;
    }
    before = mallinfo2().uordblks;
    s = store_new(&(struct store_limits){ .history_count = 1000, .quota_bytes = (size_t)8 << 30 });
    puts_of(0, keys, 0, "puts, new keys");
    used = mallinfo2().uordblks - before;
    printf("%-44s %9.1f bytes (%.1f beyond key and value)\n", "memory per key",
           (double)used / (double)keys, (double)(used - store_bytes(s)) / (double)keys);
    puts_of(0, keys / 4, 0, "puts, overwriting");
    puts_of(0, keys / 4, open_session(), "puts, overwriting, in a session");
    gets_of(keys, keys);
    begin();
    store_prefix(s, "k/", count_one, &n);
    report("range, per key", n);
    many_watches(keys);
    snapshot(keys);
    store_free(s);
    return 0;
}
