/* Fuzzing the door of the state machine: bytes as they come out of the log.
 *
 * What is decoded must encode to the same meaning again, and whatever is applied must give an
 * answer that can be read, without a failed CHECK.  The input is a series of commands, each behind
 * its length (u16, little-endian), given to one small cluster.  Seeds in tests/fuzz/corpus/cmd:
 * histories of successful commands as tests/unit/store_random.h makes them, for the same cluster.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/obj.h"
#include "store/cmd.h"
#include "store/store.h"

#define TERM 5U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(struct store *s, uint64_t index, const void *cmd, size_t len)
{
    struct cmd_answer ans;
    struct arena a = { 0 };
    struct buf out = { 0 };
    struct err err;

    store_apply(s, index, TERM, 1000 + index, cmd, len, &out);
    CHECK(cmd_answer_decode(out.data, out.len, &a, &ans, &err) == 0);
    CHECK(ans.code == 0 || ans.msg != NULL);
    buf_done(&out);
    arena_done(&a);
}

static void give(struct store *s, uint64_t index, const struct cmd *c)
{
    struct buf b = { 0 };
    struct err err;

    CHECK(cmd_encode(c, &b, &err) == 0);
    apply(s, index, b.data, b.len);
    buf_done(&b);
}

static void put(struct store *s, uint64_t index, const char *key, const char *json)
{
    struct txn_op op = { .kind = TXN_PUT, .key = { (const uint8_t *)key, strlen(key) } };
    struct cmd c = { .op = CMD_TXN, .actor = { ACTOR_ADMIN, "root", 0 } };
    struct buf v = { 0 };

    objval_encode(1, 0, json, strlen(json), &v);
    op.value = (struct bytes){ v.data, v.len };
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    give(s, index, &c);
    buf_done(&v);
}

/* The cluster of tests/unit/store_random.h. */
static struct store *small_cluster(uint64_t *index)
{
    static const char *const OBJECTS[] = { "virtualmachines/vm1", "virtualmachines/vm2",
                                           "virtualmachines/vm3", "volumes/lv1" };
    struct cmd c = {
        .op = CMD_INIT, .actor = { ACTOR_ADMIN, "root", 0 }, .text = "c", .number = 1
    };
    struct store *s = store_new(NULL);
    char key[64], json[160];

    give(s, ++*index, &c);
    put(s, ++*index, "o/fencedevices/pdu", "{\"spec\":{\"type\":\"ApcSnmp\"}}");
    for (int i = 1; i <= 3; i++) {
        (void)snprintf(key, sizeof(key), "o/hosts/n%d", i);
        (void)snprintf(json, sizeof(json),
                       "{\"metadata\":{\"uid\":\"uid-n%d\"},\"spec\":{\"fencing\":[{\"devices\":"
                       "[\"pdu\"]}]}}",
                       i);
        put(s, ++*index, key, json);
    }
    for (size_t i = 0; i < ARRAY_LEN(OBJECTS); i++) {
        (void)snprintf(key, sizeof(key), "o/%s", OBJECTS[i]);
        (void)snprintf(json, sizeof(json), "{\"metadata\":{\"uid\":\"uid-%s\"}}",
                       strchr(OBJECTS[i], '/') + 1);
        put(s, ++*index, key, json);
    }
    return s;
}

/* Decoding is total, and encoding what was decoded gives the same meaning. */
static void check_codec(const uint8_t *p, size_t len)
{
    struct arena a = { 0 };
    struct buf b1 = { 0 };
    struct buf b2 = { 0 };
    struct cmd c, back;
    struct err err;

    if (cmd_decode(p, len, &a, &c, &err) == 0) {
        CHECK(cmd_encode(&c, &b1, &err) == 0);
        CHECK(cmd_decode(b1.data, b1.len, &a, &back, &err) == 0);
        CHECK(cmd_encode(&back, &b2, &err) == 0);
        CHECK(b1.len == b2.len);
        CHECK(memcmp(b1.data, b2.data, b1.len) == 0);
    } else {
        CHECK(err.code == ERR_INVALID);
    }
    buf_done(&b1);
    buf_done(&b2);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t index = 0;
    struct store *s = small_cluster(&index);

    while (size >= 2) {
        size_t len = (size_t)data[0] | (size_t)data[1] << 8;

        data += 2;
        size -= 2;
        len = len < size ? len : size;
        check_codec(data, len);
        apply(s, ++index, data, len);
        data += len;
        size -= len;
    }
    store_free(s);
    return 0;
}
