/* Bytes from peers: frames, hellos, raft's messages, groups of commands, configurations.
 *
 * The first byte chooses: 0 a stream of frames, 1 the payload of a frame of the kind that the
 * second byte says, 2 a group, 3 a configuration.  What is taken encodes to the same meaning again.
 * Seeds: tests/fuzz/seeds.c.
 */

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "raft/conf_codec.h"
#include "raft/frame_codec.h"
#include "raft/group_codec.h"
#include "raft/hello_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void message_free(struct raft_message *m)
{
    struct raft_append_entries *a = &m->append_entries;

    if (m->type == RAFT_IO_APPEND_ENTRIES && a->n_entries > 0) {
        raft_free(a->entries[0].batch);
    }
    if (m->type == RAFT_IO_APPEND_ENTRIES && a->entries != NULL) {
        raft_free(a->entries);
    }
}

static void check_message(uint16_t kind, const uint8_t *p, size_t len)
{
    struct raft_message m, back;
    struct frame f;
    struct buf b = { 0 };
    struct err err;
    size_t used;

    if (!frame_raft_decode(kind, p, len, 5, &m)) {
        return;
    }
    CHECK(m.server_id == 5);
    if (m.type == RAFT_IO_APPEND_ENTRIES) {
        CHECK(m.append_entries.n_entries <= FRAME_ENTRIES_MAX);
    }
    frame_raft(&b, &m);
    CHECK(frame_next(b.data, b.len, &f, &used, &err) == 0);
    CHECK(used == b.len);
    CHECK(f.kind == kind);
    CHECK(frame_raft_decode(f.kind, f.data, f.len, 5, &back));
    CHECK(back.type == m.type);
    CHECK(f.len == len);
    message_free(&back);
    message_free(&m);
    buf_done(&b);
}

static void check_hello(const uint8_t *p, size_t len)
{
    struct hello h, back;
    struct frame f;
    struct buf b = { 0 };
    struct err err;
    size_t used;

    if (!hello_decode(p, len, &h)) {
        return;
    }
    CHECK(memchr(h.name, 0, sizeof(h.name)) != NULL);
    CHECK(memchr(h.cluster, 0, sizeof(h.cluster)) != NULL);
    (void)!hello_check(&h, &h, h.name, h.name, &err);
    hello_frame(&b, &h);
    CHECK(frame_next(b.data, b.len, &f, &used, &err) == 0);
    CHECK(hello_decode(f.data, f.len, &back));
    CHECK(back.from == h.from);
    CHECK(strcmp(back.name, h.name) == 0);
    buf_done(&b);
}

static void check_stream(const uint8_t *p, size_t size)
{
    struct frame f;
    struct err err;
    size_t used;

    while (size > 0) {
        int rc = frame_next(p, size, &f, &used, &err);

        if (rc != 0) {
            CHECK(rc == ERR_CORRUPT);
            return;
        }
        if (used == 0) {
            return;
        }
        CHECK(used <= size);
        CHECK(f.len <= FRAME_MAX);
        check_message(f.kind, f.data, f.len);
        p += used;
        size -= used;
    }
}

static void check_group(const uint8_t *p, size_t size)
{
    static struct rep_cmd cmds[GROUP_CMDS_MAX];
    uint8_t *copy = mem_dup(p, size); /* aligned, as raft gives it */
    struct group g = { 0 };
    uint64_t ms;
    size_t n;

    if (group_decode(copy, size, &ms, cmds, &n)) {
        CHECK(n <= GROUP_CMDS_MAX);
        for (size_t i = 0; i < n; i++) {
            CHECK(cmds[i].data >= copy);
            CHECK(cmds[i].data + cmds[i].len <= copy + size);
            group_add(&g, cmds[i].data, cmds[i].len);
        }
        if (n > 0) {
            group_seal(&g, ms);
            CHECK(g.len == size); /* what pads it is not looked at */
        }
        group_done(&g);
    }
    free(copy);
}

static void check_conf(const uint8_t *p, size_t size)
{
    struct raft_configuration c;
    struct rep_peer_info info;

    if (!conf_decode(p, size, &c)) {
        return;
    }
    CHECK(conf_valid(p, size));
    CHECK(c.n <= CONF_SERVERS_MAX);
    for (unsigned i = 0; i < c.n; i++) {
        (void)conf_split(c.servers[i].address, &info);
        CHECK(conf_get(&c, c.servers[i].id) != NULL);
    }
    CHECK(conf_voters(&c) <= c.n);
    raft_configuration_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
        check_stream(data + 1, size - 1);
        break;
    case 1:
        if (data[1] == FRAME_HELLO) {
            check_hello(data + 2, size - 2);
        } else {
            check_message(data[1], data + 2, size - 2);
        }
        break;
    case 2:
        check_group(data + 1, size - 1);
        break;
    default:
        check_conf(data + 1, size - 1);
        break;
    }
    return 0;
}
