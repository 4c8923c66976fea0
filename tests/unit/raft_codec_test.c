/* Groups, frames, hellos and configurations: round trips, and bytes of a hostile or broken peer. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/obj.h"
#include "raft/conf_codec.h"
#include "raft/frame_codec.h"
#include "raft/group_codec.h"
#include "raft/hello_codec.h"

static struct prng prng;
static struct rep_cmd cmds[GROUP_CMDS_MAX];

static void groups(void **state)
{
    struct group g = { 0 };
    uint64_t ms;
    size_t n;

    (void)state;
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t data[64];

        memset(data, (int)i, sizeof(data));
        assert_true(group_fits(&g, i % 60));
        group_add(&g, data, i % 60);
    }
    group_seal(&g, 123456789);
    assert_int_equal(g.len % 8, 0);
    assert_true(group_decode(g.data, g.len, &ms, cmds, &n));
    assert_int_equal(ms, 123456789);
    assert_int_equal(n, 300);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(cmds[i].len, i % 60);
        assert_int_equal(group_cmd(&g, i).len, i % 60);
        assert_true(cmds[i].len == 0 || cmds[i].data[cmds[i].len - 1] == (uint8_t)i);
    }
    for (size_t i = 0; i < g.len - 7; i++) { /* the padding is not covered */
        g.data[i] ^= 0x20;
        assert_false(group_decode(g.data, g.len, &ms, cmds, &n));
        g.data[i] ^= 0x20;
    }
    assert_false(group_decode(g.data, g.len - 8, &ms, cmds, &n));
    assert_false(group_decode(g.data, 8, &ms, cmds, &n));
    group_done(&g);
}

static void group_limits(void **state)
{
    static uint8_t big[GROUP_CMD_MAX];
    struct group g = { 0 };
    uint64_t ms;
    size_t n;

    (void)state;
    assert_true(group_fits(&g, sizeof(big))); /* an empty one takes any */
    group_add(&g, big, sizeof(big));
    assert_false(group_fits(&g, 1));
    group_seal(&g, 1);
    assert_true(group_decode(g.data, g.len, &ms, cmds, &n));
    assert_int_equal(n, 1);
    group_done(&g);
    for (unsigned i = 0; i < GROUP_CMDS_MAX; i++) {
        assert_true(group_fits(&g, 10));
        group_add(&g, "0123456789", 10);
    }
    assert_false(group_fits(&g, 0));
    group_done(&g);
}

static void free_message(struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES && m->append_entries.n_entries > 0) {
        raft_free(m->append_entries.entries[0].batch);
        raft_free(m->append_entries.entries);
    }
}

static void frames(void **state)
{
    struct raft_entry entries[3] = {
        { .term = 4, .type = RAFT_COMMAND, .buf = { .len = 16 } },
        { .term = 4, .type = RAFT_BARRIER, .buf = { .len = 8 } },
        { .term = 5, .type = RAFT_COMMAND, .buf = { .len = 800 } },
    };
    struct raft_message m = { .type = RAFT_IO_APPEND_ENTRIES }, got;
    struct buf b = { 0 };
    struct frame f;
    struct err err;
    size_t used;

    (void)state;
    for (int i = 0; i < 3; i++) {
        entries[i].buf.base = mem_alloc(entries[i].buf.len);
        memset(entries[i].buf.base, i + 1, entries[i].buf.len);
    }
    m.append_entries = (struct raft_append_entries){ .term = 5,
                                                     .prev_log_index = 9,
                                                     .prev_log_term = 3,
                                                     .leader_commit = 7,
                                                     .entries = entries,
                                                     .n_entries = 3 };
    frame_raft(&b, &m);
    for (size_t i = 0; i < b.len; i++) { /* any part of it: more is needed */
        assert_int_equal(frame_next(b.data, i, &f, &used, &err), 0);
        assert_int_equal(used, 0);
    }
    assert_int_equal(frame_next(b.data, b.len, &f, &used, &err), 0);
    assert_int_equal(used, b.len);
    assert_true(frame_raft_decode(f.kind, f.data, f.len, 2, &got));
    assert_int_equal(got.server_id, 2);
    assert_int_equal(got.append_entries.n_entries, 3);
    assert_int_equal(got.append_entries.prev_log_index, 9);
    assert_int_equal(got.append_entries.entries[2].term, 5);
    assert_int_equal(got.append_entries.entries[2].buf.len, 800);
    assert_memory_equal(got.append_entries.entries[2].buf.base, entries[2].buf.base, 800);
    free_message(&got);
    for (size_t i = 0; i < b.len; i++) { /* any changed byte is noticed */
        bool ok;

        b.data[i] ^= 0x01;
        ok = frame_next(b.data, b.len, &f, &used, &err) == 0 && used > 0;
        assert_false(ok);
        b.data[i] ^= 0x01;
    }
    for (int i = 0; i < 3; i++) {
        free(entries[i].buf.base);
    }
    buf_done(&b);
}

static void all_kinds(void **state)
{
    struct raft_message m[4] = { { .type = RAFT_IO_APPEND_ENTRIES_RESULT },
                                 { .type = RAFT_IO_REQUEST_VOTE },
                                 { .type = RAFT_IO_REQUEST_VOTE_RESULT },
                                 { .type = RAFT_IO_TIMEOUT_NOW } };
    struct raft_message got;
    struct buf b = { 0 };
    struct frame f;
    struct err err;
    size_t used;

    (void)state;
    m[0].append_entries_result = (struct raft_append_entries_result){ 1, 2, 3 };
    m[1].request_vote = (struct raft_request_vote){ 4, 2, 6, 7, true, false };
    m[2].request_vote_result = (struct raft_request_vote_result){ 8, true, raft_tribool_false };
    m[3].timeout_now = (struct raft_timeout_now){ 9, 10, 11 };
    for (int i = 0; i < 4; i++) {
        buf_clear(&b);
        frame_raft(&b, &m[i]);
        assert_int_equal(frame_next(b.data, b.len, &f, &used, &err), 0);
        assert_true(frame_raft_decode(f.kind, f.data, f.len, 2, &got));
        assert_int_equal(got.type, m[i].type);
        assert_false(frame_raft_decode(f.kind, f.data, f.len - 1, 2, &got));
    }
    /* A vote for somebody else than the sender. */
    buf_clear(&b);
    frame_raft(&b, &m[1]);
    assert_int_equal(frame_next(b.data, b.len, &f, &used, &err), 0);
    assert_false(frame_raft_decode(f.kind, f.data, f.len, 3, &got));
    buf_done(&b);
}

/* Whatever the bytes, decoding ends and stays within them (the sanitizers watch). */
static void hostile_bytes(void **state)
{
    uint8_t data[400];
    struct raft_message m;
    struct hello h;
    size_t accepted = 0;

    (void)state;
    prng_init(&prng, 3);
    for (int round = 0; round < 200000; round++) {
        size_t len = prng_below(&prng, sizeof(data));
        uint16_t kind = (uint16_t)(FRAME_VOTE + prng_below(&prng, 5));

        for (size_t i = 0; i < len; i++) {
            data[i] = prng_below(&prng, 3) == 0 ? (uint8_t)prng_u64(&prng) : 0;
        }
        if (kind == FRAME_APPEND && len > 36) {
            data[0] = 1; /* a term */
            data[32] = (uint8_t)prng_below(&prng, 4);
        }
        if (frame_raft_decode(kind, data, len, 2, &m)) {
            accepted++;
            free_message(&m);
        }
        (void)hello_decode(data, len, &h);
        (void)conf_valid(data, len);
        (void)group_decode(data, len, &(uint64_t){ 0 }, cmds, &(size_t){ 0 });
    }
    assert_true(accepted > 0);
}

static void an_entry_that_is_no_configuration(void **state)
{
    struct raft_entry e = { .term = 1, .type = RAFT_CHANGE, .buf = { .len = 16 } };
    struct raft_message m = { .type = RAFT_IO_APPEND_ENTRIES }, got;
    struct raft_configuration c;
    struct buf b = { 0 };

    (void)state;
    e.buf.base = mem_alloc(16);
    m.append_entries = (struct raft_append_entries){ .term = 1, .entries = &e, .n_entries = 1 };
    frame_raft(&b, &m);
    assert_false(frame_raft_decode(FRAME_APPEND, b.data + FRAME_HEAD, b.len - FRAME_HEAD, 2, &got));
    free(e.buf.base);
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 1, "a@b:1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&c, &e.buf), 0);
    buf_clear(&b);
    frame_raft(&b, &m);
    assert_true(frame_raft_decode(FRAME_APPEND, b.data + FRAME_HEAD, b.len - FRAME_HEAD, 2, &got));
    free_message(&got);
    for (size_t len = 0; len < e.buf.len - 7; len++) {
        assert_true(!conf_valid(e.buf.base, len) || len >= 25);
    }
    raft_configuration_close(&c);
    raft_free(e.buf.base);
    buf_done(&b);
}

static void hellos(void **state)
{
    struct hello self = {
        .version = 1, .from = 7, .boot = 1, .name = "host-a", .cluster = "cluster-1"
    };
    struct hello h = { 0 }, got;
    struct buf b = { 0 };
    struct err err;

    (void)state;
    h.version = 1;
    h.from = 8;
    h.to = 7;
    h.boot = 2;
    memcpy(h.name, "host-b", 7);
    memcpy(h.cluster, "cluster-1", 10);
    h.epoch = 3;
    h.round = 4;
    hello_frame(&b, &h);
    assert_true(hello_decode(b.data + FRAME_HEAD, b.len - FRAME_HEAD, &got));
    assert_int_equal(got.epoch, 3);
    assert_int_equal(got.round, 4);
    /* what an older version does not say */
    assert_true(hello_decode(b.data + FRAME_HEAD, b.len - FRAME_HEAD - 12, &got));
    assert_int_equal(got.epoch + got.round, 0);
    for (size_t cut = 1; cut < 12; cut++) {
        assert_false(hello_decode(b.data + FRAME_HEAD, b.len - FRAME_HEAD - cut, &got));
    }
    assert_true(hello_decode(b.data + FRAME_HEAD, b.len - FRAME_HEAD, &got));
    assert_int_equal(got.from, 8);
    assert_int_equal(got.to, 7);
    assert_int_equal(got.boot, 2);
    assert_string_equal(got.name, "host-b");
    assert_string_equal(got.cluster, "cluster-1");
    assert_int_equal(hello_check(&got, &self, "host-b", "host-b", &err), 0);
    assert_int_equal(hello_check(&got, &self, NULL, "", &err), 0);
    assert_int_equal(hello_check(&got, &self, "host-c", "host-b", &err), ERR_REFUSED);
    assert_non_null(strstr(err.msg, "host-c"));
    assert_int_equal(hello_check(&got, &self, "host-b", "host-c", &err), ERR_REFUSED);
    assert_non_null(strstr(err.msg, "certificate"));
    got.to = 9;
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), ERR_REFUSED);
    got = h;
    got.from = 7;
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), ERR_REFUSED);
    got = h;
    got.version = 2;
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), ERR_REFUSED);
    got = h;
    memcpy(got.cluster, "cluster-2", 10);
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), ERR_REFUSED);
    assert_non_null(strstr(err.msg, "cluster-2"));
    got = h; /* epochs: an unknown one fits, another one does not, whichever is older */
    self.epoch = 3;
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), 0);
    got.epoch = 0;
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), 0);
    got.epoch = 2;
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), ERR_REFUSED);
    assert_non_null(strstr(err.msg, "epoch 2"));
    got.epoch = 4;
    assert_int_equal(hello_check(&got, &self, NULL, NULL, &err), ERR_REFUSED);
    assert_non_null(strstr(err.msg, "this node only of epoch 3"));
    /* only a voter of this very cluster, under its own name, makes a state count no more */
    assert_true(hello_supersedes(&got, &self, "host-b"));
    assert_false(hello_supersedes(&got, &self, "host-c"));
    assert_false(hello_supersedes(&self, &got, NULL));
    self.epoch = 0;
    assert_false(hello_supersedes(&got, &self, "host-b"));
    self.epoch = 3;
    memcpy(got.cluster, "cluster-2", 10);
    assert_false(hello_supersedes(&got, &self, "host-b"));
    buf_done(&b);
}

static void members(void **state)
{
    struct rep_member m = { .id = 1, .name = "host-a", .address = "10.0.0.1:7000" };
    struct rep_peer_info info;
    struct err err;

    (void)state;
    assert_int_equal(conf_check_member(&m, &err), 0);
    m.name = "a@b";
    assert_int_equal(conf_check_member(&m, &err), ERR_INVALID);
    m.name = "";
    assert_int_equal(conf_check_member(&m, &err), ERR_INVALID);
    m.name = "a";
    m.id = 0;
    assert_int_equal(conf_check_member(&m, &err), ERR_INVALID);
    m.id = 1;
    m.address = NULL;
    assert_int_equal(conf_check_member(&m, &err), ERR_INVALID);
    assert_true(conf_split("host-a@[::1]:70", &info));
    assert_string_equal(info.name, "host-a");
    assert_string_equal(info.address, "[::1]:70");
    assert_false(conf_split("host-a", &info));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups),        cmocka_unit_test(group_limits),
        cmocka_unit_test(frames),        cmocka_unit_test(all_kinds),
        cmocka_unit_test(hostile_bytes), cmocka_unit_test(an_entry_that_is_no_configuration),
        cmocka_unit_test(hellos),        cmocka_unit_test(members),
    };

    return cmocka_run_group_tests_name("raft_codec", tests, NULL, NULL);
}
