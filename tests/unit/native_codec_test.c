/* The native protocol's messages: what is written is read back, and nothing else is. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "api/native_codec.h"
#include "base/clock.h"
#include "base/obj.h"

static struct native_bytes text(const char *s)
{
    return (struct native_bytes){ .p = (const uint8_t *)s, .n = s == NULL ? 0 : strlen(s) };
}

static void same(struct native_bytes a, struct native_bytes b)
{
    assert_int_equal(a.p == NULL, b.p == NULL);
    assert_int_equal(a.n, b.n);
    assert_true(a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Decode the one frame in b, encode again: must be the same bytes. */
static struct native_req req_back(struct buf *b, struct arena *a)
{
    struct native_req r;
    struct buf again = { 0 };
    struct err err;
    size_t n;
    bool whole;

    assert_int_equal(native_frame(b->data, b->len, NATIVE_MAX_REQUEST, &n, &whole, &err), 0);
    assert_true(whole);
    assert_int_equal(n, b->len - NATIVE_HEAD);
    assert_int_equal(native_req_decode(b->data + NATIVE_HEAD, n, a, &r, &err), 0);
    native_req_encode(&r, &again);
    assert_int_equal(again.len, b->len);
    assert_memory_equal(again.data, b->data, b->len);
    buf_done(&again);
    return r;
}

static struct native_ans ans_back(struct buf *b, struct arena *a)
{
    struct native_ans r;
    struct buf again = { 0 };
    struct err err;

    assert_int_equal(native_ans_decode(b->data + NATIVE_HEAD, b->len - NATIVE_HEAD, a, &r, &err),
                     0);
    native_ans_encode(&r, &again);
    assert_int_equal(again.len, b->len);
    assert_memory_equal(again.data, b->data, b->len);
    buf_done(&again);
    return r;
}

static struct native_op ops3[] = {
    { .kind = NATIVE_OP_PUT, .flags = NATIVE_PREV | NATIVE_KEEP_LEASE, .lease = UINT64_MAX },
    { .kind = NATIVE_OP_DELETE, .flags = 0 },
    { .kind = NATIVE_OP_GET, .flags = NATIVE_KEYS_ONLY, .limit = 300 },
};

static struct native_req sample(enum native_call call)
{
    static struct native_cmp cmps[2];
    struct native_req r = { .id = 70000, .call = call, .number = 5, .number2 = 1U << 20 };

    ops3[0].key = text("a");
    ops3[0].value = text("");
    ops3[1].key = text("b");
    ops3[1].end = text("c");
    ops3[2].key = text("d");
    ops3[2].end = text("");
    cmps[0] = (struct native_cmp){ .target = NATIVE_CMP_VALUE, .result = 2 };
    cmps[0].key = text("k");
    cmps[0].value = text("v");
    cmps[1] = (struct native_cmp){ .target = 1, .result = 3, .number = 1U << 31 };
    cmps[1].key = text("k2");
    cmps[1].end = text("k3");
    r.key = text("from");
    r.end = text("to");
    r.flags = NATIVE_PROGRESS;
    r.method = text("GET");
    r.target = text("/apis/picket/v1/hosts?watch=true");
    r.body = text(NULL);
    r.cmps = cmps;
    r.n_cmps = 2;
    r.then = call == NATIVE_RANGE ? &ops3[2] : call == NATIVE_DELETE ? &ops3[1] : ops3;
    r.n_then = call == NATIVE_TXN ? 3 : 1;
    r.other = &ops3[1];
    r.n_other = 1;
    return r;
}

static void requests(void **state)
{
    (void)state;
    for (int call = NATIVE_RANGE; call <= NATIVE_CALL_MAX; call++) {
        struct native_req r = sample((enum native_call)call), back;
        struct arena a = { 0 };
        struct buf b = { 0 };

        native_req_encode(&r, &b);
        back = req_back(&b, &a);
        assert_int_equal(back.id, r.id);
        assert_int_equal(back.call, call);
        if (call == NATIVE_TXN) {
            assert_int_equal(back.n_cmps, 2);
            same(back.cmps[0].value, r.cmps[0].value);
            assert_int_equal(back.cmps[1].number, 1U << 31);
            assert_int_equal(back.n_then, 3);
            assert_int_equal(back.then[0].lease, UINT64_MAX);
            same(back.then[2].end, text(""));
            same(back.other[0].key, text("b"));
        } else if (call == NATIVE_OBJECT) {
            same(back.target, r.target);
            assert_null(back.body.p);
        } else if (call == NATIVE_WATCH) {
            same(back.key, r.key);
            assert_int_equal(back.flags, NATIVE_PROGRESS);
        }
        buf_done(&b);
        arena_done(&a);
    }
}

/* What changes something can be asked for under a session; what reads, or is no request, cannot. */
static void once(void **state)
{
    static const enum native_call can[] = { NATIVE_PUT,   NATIVE_DELETE, NATIVE_TXN,
                                            NATIVE_GRANT, NATIVE_REVOKE, NATIVE_COMPACT };

    (void)state;
    for (int call = NATIVE_RANGE; call <= NATIVE_CALL_MAX; call++) {
        struct native_req r = sample((enum native_call)call), back;
        struct arena a = { 0 };
        struct buf b = { 0 };
        struct err err;
        bool may = false;
        int rc;

        for (size_t i = 0; i < ARRAY_LEN(can); i++) {
            may = may || can[i] == (enum native_call)call;
        }
        r.session = 9;
        r.seq = UINT64_MAX;
        r.ack = 3;
        native_req_encode(&r, &b);
        rc = native_req_decode(b.data + NATIVE_HEAD, b.len - NATIVE_HEAD, &a, &back, &err);
        assert_int_equal(rc, may ? 0 : ERR_BAD_REQUEST);
        if (may) {
            assert_int_equal(back.call, call);
            assert_true(back.session == 9 && back.seq == UINT64_MAX && back.ack == 3);
        }
        buf_done(&b);
        arena_done(&a);
    }
}

static struct native_ans sample_ans(enum native_kind kind)
{
    static struct native_kv kvs[2];
    static struct native_result results[2];
    static struct native_event events[2];
    struct native_ans a = { .id = kind == NATIVE_HELLO ? 0 : 9, .kind = kind, .rev = 77 };

    kvs[0] = (struct native_kv){ .create_rev = 1, .mod_rev = 2, .version = 3, .lease = 4 };
    kvs[0].key = text("key");
    kvs[0].value = text("value");
    kvs[1].key = text("other");
    results[0] =
        (struct native_result){ .kind = NATIVE_OP_GET, .count = 9, .kvs = kvs, .n_kvs = 2 };
    results[1] = (struct native_result){ .kind = NATIVE_OP_DELETE, .count = 1 };
    events[0] = (struct native_event){ .kv = kvs[0], .has_prev = true, .prev = kvs[1] };
    events[1] = (struct native_event){ .deleted = true, .kv = kvs[1] };
    a.succeeded = true;
    a.more = true;
    a.ops = results;
    a.n_ops = 2;
    a.events = events;
    a.n_events = 2;
    a.number = 101;
    a.number2 = 102;
    a.number3 = 103;
    a.text = text("text");
    a.body = text("body");
    a.node = (struct native_node){ .id = 1, .count = 8 };
    return a;
}

static void answers(void **state)
{
    (void)state;
    for (int kind = 0; kind <= NATIVE_KIND_MAX; kind++) {
        struct native_ans r = sample_ans((enum native_kind)kind), back;
        struct arena a = { 0 };
        struct buf b = { 0 };

        native_ans_encode(&r, &b);
        back = ans_back(&b, &a);
        assert_int_equal(back.id, r.id);
        if (kind == NATIVE_RESULT) {
            assert_true(back.succeeded);
            assert_int_equal(back.n_ops, 2);
            same(back.ops[0].kvs[0].value, text("value"));
            assert_null(back.ops[0].kvs[1].value.p);
            assert_int_equal(back.ops[1].count, 1);
        } else if (kind == NATIVE_EVENTS) {
            assert_true(back.more);
            assert_true(back.events[0].has_prev && !back.events[1].has_prev);
            assert_true(back.events[1].deleted);
        } else if (kind == NATIVE_NODE) {
            assert_int_equal(back.node.count, 8);
        }
        buf_done(&b);
        arena_done(&a);
    }
}

static void errors_carry_their_code(void **state)
{
    struct arena a = { 0 };
    struct buf b = { 0 };
    struct native_ans back;
    struct err err, got;

    (void)state;
    (void)err_set(&err, ERR_COMPACTED, "too old: %d", 7);
    native_error_encode(5, &err, &b);
    back = ans_back(&b, &a);
    assert_int_equal(back.kind, NATIVE_ERROR);
    native_ans_err(&back, &got);
    assert_int_equal(got.code, ERR_COMPACTED);
    assert_string_equal(got.msg, "too old: 7");
    buf_done(&b);
    arena_done(&a);
}

static void frames(void **state)
{
    static const uint8_t part[] = { 5, 0, 0 }, zero[4] = { 0 }, huge[] = { 0xff, 0xff, 0xff, 0xff };
    static const uint8_t open[] = { 2, 0, 0, 0, 1 };
    struct err err;
    bool whole = true;
    size_t n;

    (void)state;
    assert_int_equal(native_frame(part, sizeof(part), 100, &n, &whole, &err), 0);
    assert_false(whole);
    assert_int_equal(native_frame(open, sizeof(open), 100, &n, &whole, &err), 0);
    assert_false(whole);
    assert_int_equal(native_frame(zero, sizeof(zero), 100, &n, &whole, &err), ERR_BAD_REQUEST);
    assert_int_equal(native_frame(huge, sizeof(huge), NATIVE_MAX_REQUEST, &n, &whole, &err),
                     ERR_TOO_LARGE);
}

/* Each prefix of a good message, and the message with a byte more, is refused. */
static void cut_and_extended(void **state)
{
    (void)state;
    for (int call = NATIVE_RANGE; call <= NATIVE_CALL_MAX; call++) {
        struct native_req r = sample((enum native_call)call), back;
        struct arena a = { 0 };
        struct buf b = { 0 };
        struct err err;

        native_req_encode(&r, &b);
        for (size_t n = 0; n + NATIVE_HEAD < b.len; n++) {
            assert_int_equal(native_req_decode(b.data + NATIVE_HEAD, n, &a, &back, &err),
                             ERR_BAD_REQUEST);
        }
        buf_add_byte(&b, 0);
        assert_int_equal(
            native_req_decode(b.data + NATIVE_HEAD, b.len - NATIVE_HEAD, &a, &back, &err),
            ERR_BAD_REQUEST);
        buf_done(&b);
        arena_done(&a);
    }
}

static void refuse(const char *bytes, size_t len, int code, const char *words)
{
    struct arena a = { 0 };
    struct native_req r;
    struct err err;

    assert_int_equal(native_req_decode(bytes, len, &a, &r, &err), code);
    if (strstr(err.msg, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
    }
    arena_done(&a);
}

#define REFUSE(bytes, code, words) refuse(bytes, sizeof(bytes) - 1, code, words)

static void refused_with_reason(void **state)
{
    (void)state;
    REFUSE("", ERR_BAD_REQUEST, "request is missing");
    REFUSE("\x93\x00\x0c\xc0", ERR_BAD_REQUEST, "id"); /* id 0 */
    REFUSE("\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x0c", ERR_BAD_REQUEST, "id");
    REFUSE("\x92\x01\x63", ERR_UNSUPPORTED, "call 99"); /* not known */
    REFUSE("\x92\x01\x00", ERR_UNSUPPORTED, "call 0");
    REFUSE("\x93\x01\x0c\x01", ERR_BAD_REQUEST, "arguments");        /* STATUS has none */
    REFUSE("\x96\x01\x02\xc0\xa1v\x00\x00", ERR_BAD_REQUEST, "key"); /* no key */
    REFUSE("\x96\x01\x02\xa0\xa1v\x00\x00", ERR_BAD_REQUEST, "key"); /* an empty key */
    REFUSE("\x96\x01\x02\xa1k\xa1v\x00\xcd\x02\x00", ERR_BAD_REQUEST, "flags");
    REFUSE("\x95\x01\x04\x90\xdd\xff\xff\xff\xff\x90", ERR_BAD_REQUEST, "operations");
    REFUSE("\x95\x01\x04\xdc\x10\x01\x90\x90", ERR_BAD_REQUEST, "compares");
    REFUSE("\x95\x01\x04\x90\x91\x94\x01\xa1k\xc0\x01\x90\x00", ERR_BAD_REQUEST, "end");
    REFUSE("\x95\x01\x0d\xa3G\x00T\xa1/\xc0", ERR_BAD_REQUEST, "method"); /* a NUL */
    REFUSE("\x96\x01\x02\xc6\xff\xff\xff\xff\xa1v\x00\x00", ERR_BAD_REQUEST, "key");
    REFUSE("\x81\x01\x02", ERR_BAD_REQUEST, "request"); /* a map */
}

/* Whatever changed bytes mean, they are decoded to something that encodes, or refused. */
static void random_damage(void **state)
{
    struct prng rng;
    unsigned good = 0, bad = 0;

    (void)state;
    prng_init(&rng, 20261123);
    for (unsigned round = 0; round < 20000; round++) {
        struct native_req r = sample((enum native_call)(1 + round % NATIVE_CALL_MAX)), back;
        struct native_ans s = sample_ans((enum native_kind)(round % (NATIVE_KIND_MAX + 1))), sback;
        struct arena a = { 0 };
        struct buf b = { 0 }, again = { 0 };
        struct err err;
        int rc;

        if (round % 2 == 0) {
            native_req_encode(&r, &b);
        } else {
            native_ans_encode(&s, &b);
        }
        for (unsigned i = 0; i < 1 + round % 3; i++) {
            b.data[NATIVE_HEAD + prng_below(&rng, b.len - NATIVE_HEAD)] = (uint8_t)prng_u64(&rng);
        }
        if (round % 2 == 0) {
            rc = native_req_decode(b.data + NATIVE_HEAD, b.len - NATIVE_HEAD, &a, &back, &err);
            if (rc == 0) {
                native_req_encode(&back, &again);
            }
        } else {
            rc = native_ans_decode(b.data + NATIVE_HEAD, b.len - NATIVE_HEAD, &a, &sback, &err);
            if (rc == 0) {
                native_ans_encode(&sback, &again);
            }
        }
        good += rc == 0;
        bad += rc != 0;
        assert_true(rc == 0 || rc == ERR_BAD_REQUEST || rc == ERR_UNSUPPORTED);
        assert_int_equal(rc == 0, again.len > 0);
        buf_done(&b);
        buf_done(&again);
        arena_done(&a);
    }
    assert_true(good > 1000);
    assert_true(bad > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(once),
        cmocka_unit_test(answers),
        cmocka_unit_test(errors_carry_their_code),
        cmocka_unit_test(frames),
        cmocka_unit_test(cut_and_extended),
        cmocka_unit_test(refused_with_reason),
        cmocka_unit_test(random_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
