/* Fuzzing the native protocol's frames, as a member and as a client get them.
 *
 * The input is a stream of bytes as it comes out of a connection.  Frames are cut as native.c does;
 * what was decoded must encode to a message with the same meaning.  The first byte says which side.
 */

#include <stdlib.h>
#include <string.h>

#include "api/native_codec.h"
#include "base/obj.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(struct buf *b1, struct buf *b2)
{
    CHECK(b1->len == b2->len);
    CHECK(memcmp(b1->data, b2->data, b1->len) == 0);
}

static void one_req(const uint8_t *p, size_t n)
{
    struct arena a = { 0 };
    struct native_req r, back;
    struct buf b1 = { 0 }, b2 = { 0 };
    struct err err;
    int rc = native_req_decode(p, n, &a, &r, &err);

    if (rc == 0) {
        native_req_encode(&r, &b1);
        CHECK(native_req_decode(b1.data + NATIVE_HEAD, b1.len - NATIVE_HEAD, &a, &back, &err) == 0);
        native_req_encode(&back, &b2);
        check_same(&b1, &b2);
    } else {
        CHECK(rc == ERR_BAD_REQUEST || rc == ERR_UNSUPPORTED);
        CHECK(err.msg[0] != 0);
    }
    buf_done(&b1);
    buf_done(&b2);
    arena_done(&a);
}

static void one_ans(const uint8_t *p, size_t n)
{
    struct arena a = { 0 };
    struct native_ans r, back;
    struct buf b1 = { 0 }, b2 = { 0 };
    struct err err;
    int rc = native_ans_decode(p, n, &a, &r, &err);

    if (rc == 0) {
        if (r.kind == NATIVE_ERROR) {
            native_ans_err(&r, &err);
            CHECK(err.code < 0);
        }
        native_ans_encode(&r, &b1);
        CHECK(native_ans_decode(b1.data + NATIVE_HEAD, b1.len - NATIVE_HEAD, &a, &back, &err) == 0);
        native_ans_encode(&back, &b2);
        check_same(&b1, &b2);
    } else {
        CHECK(rc == ERR_BAD_REQUEST);
    }
    buf_done(&b1);
    buf_done(&b2);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool answers = size > 0 && (data[0] & 1) != 0;
    size_t at = 1, n = 0;
    struct err err;
    bool whole;

    while (at < size &&
           native_frame(data + at, size - at, NATIVE_MAX_REQUEST, &n, &whole, &err) == 0 && whole) {
        if (answers) {
            one_ans(data + at + NATIVE_HEAD, n);
        } else {
            one_req(data + at + NATIVE_HEAD, n);
        }
        at += NATIVE_HEAD + n;
    }
    return 0;
}
