/* Writes the seeds of wal_fuzz, snap_fuzz, frame_fuzz and v3_fuzz with the real encoders:
 *
 *   make fuzz-seeds
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <raft.h>

#include "base/obj.h"
#include "raft/frame_codec.h"
#include "raft/group_codec.h"
#include "raft/hello_codec.h"
#include "raft/snapfile.h"
#include "raft/wal.h"
#include "store/store.h"
#include "tests/unit/raft_memdisk.h"

#define SEED_MAX 4096U

static const char *root;

static void seed(const char *target, const char *name, const void *data, size_t len)
{
    char path[512];
    FILE *f;

    CHECK(len <= SEED_MAX);
    (void)snprintf(path, sizeof(path), "%s/%s/%s", root, target, name);
    f = fopen(path, "wb");
    CHECK(f != NULL);
    CHECK(fwrite(data, 1, len, f) == len);
    CHECK(fclose(f) == 0);
    (void)printf("%s %zu\n", path, len);
}

/* --- log ---------------------------------------------------------------------------------------
 */

/* As wal_fuzz.c reads them: first index u16, term, vote; batches; records; edits. */
static void record(struct buf *b, enum wal_type type, uint8_t kind, uint16_t index, uint8_t term,
                   const char *data)
{
    buf_add_byte(b, (uint8_t)(type - WAL_ENTRY));
    buf_add_byte(b, kind);
    buf_add_u16(b, index);
    buf_add_byte(b, term);
    buf_add_byte(b, (uint8_t)strlen(data));
    buf_add_str(b, data);
}

static void file_head(struct buf *b, uint16_t first, uint8_t term, uint8_t batches)
{
    buf_add_u16(b, first);
    buf_add_byte(b, term);
    buf_add_byte(b, 1);
    buf_add_byte(b, batches);
}

static void log_seeds(void)
{
    struct buf b = { 0 };

    buf_add_byte(&b, 1);
    file_head(&b, 1, 1, 2);
    buf_add_byte(&b, 2);
    record(&b, WAL_META, 0, 1, 1, "");
    record(&b, WAL_ENTRY, RAFT_CHANGE, 1, 1, "configuration...");
    buf_add_byte(&b, 2);
    record(&b, WAL_ENTRY, RAFT_COMMAND, 2, 1, "command.");
    record(&b, WAL_ENTRY, RAFT_BARRIER, 3, 1, "barrier.");
    buf_add_byte(&b, 0);
    seed("wal", "entries", b.data, b.len);
    file_head(&b, 4, 1, 2); /* a second file that goes on */
    buf_add_byte(&b, 2);
    record(&b, WAL_TRUNCATE, 0, 3, 0, "");
    record(&b, WAL_ENTRY, RAFT_COMMAND, 3, 2, "other...");
    buf_add_byte(&b, 1);
    record(&b, WAL_RESET, 0, 40, 2, "");
    buf_add_byte(&b, 0);
    seed("wal", "two-files", b.data, b.len);
    b.data[b.len - 1] = 1; /* one byte of it changes */
    buf_add_u32(&b, WAL_BLOCK + 20);
    buf_add_byte(&b, 0x40);
    seed("wal", "damaged", b.data, b.len);
    buf_clear(&b);
    buf_add_byte(&b, 1);
    file_head(&b, 1, 3, 1);
    buf_add_byte(&b, 1);
    record(&b, WAL_ACKS, 0, 0, 0, "........................");
    buf_add_byte(&b, 0);
    seed("wal", "acks", b.data, b.len);
    buf_clear(&b);
    buf_add_byte(&b, 0);
    buf_add_byte(&b, 4);
    buf_add_str(&b, "no log at all");
    seed("wal", "raw", b.data, b.len);
    buf_done(&b);
}

/* --- snapshots ---------------------------------------------------------------------------------
 */

static int put(void *ctx, const void *data, size_t len, struct err *err)
{
    (void)err;
    buf_add(ctx, data, len);
    return 0;
}

static void give(struct store *s, struct cmd *c)
{
    static uint64_t index;
    struct buf b = { 0 }, out = { 0 };
    struct err err;

    CHECK(cmd_encode(c, &b, &err) == 0);
    store_apply(s, ++index, 1, 1000, b.data, b.len, &out);
    buf_done(&b);
    buf_done(&out);
}

static void give_put(struct store *s, const char *key, const char *value, uint64_t session)
{
    struct txn_op op = { .kind = TXN_PUT, .key = { (const uint8_t *)key, strlen(key) } };
    struct cmd c = { .op = CMD_TXN, .actor = { ACTOR_RAW, "seed", 0 }, .session = session };

    c.seq = c.ack = session;
    op.value = (struct bytes){ (const uint8_t *)value, strlen(value) };
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    give(s, &c);
}

struct content {
    struct snap_content base;
    const struct buf *b;
};

static int fill(struct snap_content *base, struct rep_sink *sink, struct err *err)
{
    const struct content *c = CONTAINER_OF(base, struct content, base);

    return sink->write(sink, c->b->data, c->b->len, err);
}

static void snapshot_file(const struct buf *state, struct buf *ret)
{
    struct content c = { .base = { .fill = fill }, .b = state };
    struct snap_meta m = { .index = 7, .term = 3, .conf_index = 1 };
    struct raft_configuration conf;
    struct memdisk d;
    struct prng prng;
    struct err err;

    prng_init(&prng, 1);
    memdisk_init(&d, &prng);
    raft_configuration_init(&conf);
    CHECK(raft_configuration_add(&conf, 1, "a@b:1", RAFT_VOTER) == 0);
    CHECK(raft_configuration_encode(&conf, &m.conf) == 0);
    raft_configuration_close(&conf);
    snap_name(7, 3, m.name);
    CHECK(snapfile_write(&d.disk, &m, &c.base, &err) == 0);
    buf_add(ret, d.names[0].inode->data, d.names[0].inode->size);
    snap_meta_done(&m);
    memdisk_done(&d);
}

static void snapshot_seeds_of(struct store *s, const char *name)
{
    struct store_snap *snap = store_snap_begin(s);
    struct buf state = { 0 }, b = { 0 };
    char full[64];
    struct err err;

    CHECK(store_snap_write(snap, put, &state, &err) == 0);
    store_snap_end(snap);
    buf_add_byte(&b, 0);
    snapshot_file(&state, &b);
    (void)snprintf(full, sizeof(full), "%s-file", name);
    seed("snap", full, b.data, b.len);
    buf_clear(&b);
    buf_add_byte(&b, 1);
    buf_add(&b, state.data, state.len);
    (void)snprintf(full, sizeof(full), "%s-state", name);
    seed("snap", full, b.data, b.len);
    buf_clear(&b);
    buf_add_byte(&b, 2);
    buf_add(&b, state.data + 8, state.len - 16); /* one block, without its head and the last one */
    (void)snprintf(full, sizeof(full), "%s-block", name);
    seed("snap", full, b.data, b.len);
    buf_done(&b);
    buf_done(&state);
}

static void snapshot_seeds(void)
{
    struct store *s = store_new(NULL);
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = { ACTOR_RAW, "seed", 0 }, .text = "seed" };

    snapshot_seeds_of(s, "empty");
    give_put(s, "k/a", "1", 0);
    give_put(s, "k/b", "2", 0);
    give_put(s, "k/a", "3", 0);
    snapshot_seeds_of(s, "keys");
    give(s, &c);
    give_put(s, "k/c", "4", 1);
    c = (struct cmd){ .op = CMD_LEASE, .actor = { ACTOR_RAW, "seed", 0 }, .number2 = 30 };
    give(s, &c);
    c = (struct cmd){
        .op = CMD_INIT, .actor = { ACTOR_ADMIN, "root", 0 }, .text = "c", .number = 1
    };
    give(s, &c);
    c = (struct cmd){ .op = CMD_COMPACT, .actor = { ACTOR_RAW, "seed", 0 }, .number = 2 };
    give(s, &c);
    snapshot_seeds_of(s, "sessions");
    store_free(s);
}

/* --- frames ------------------------------------------------------------------------------------
 */

static void frame_seed(const char *name, const struct buf *frames, bool payload)
{
    struct buf b = { 0 };

    buf_add_byte(&b, payload ? 1 : 0);
    if (payload) { /* the kind instead of the head */
        buf_add_byte(&b, frames->data[4]);
        buf_add(&b, frames->data + FRAME_HEAD, frames->len - FRAME_HEAD);
    } else {
        buf_add(&b, frames->data, frames->len);
    }
    seed("frame", name, b.data, b.len);
    buf_done(&b);
}

static void message_seeds(void)
{
    struct raft_entry e[2] = { { .term = 1, .type = RAFT_COMMAND },
                               { .term = 2, .type = RAFT_BARRIER } };
    struct raft_message m = { .type = RAFT_IO_REQUEST_VOTE };
    struct buf b = { 0 }, all = { 0 };
    static char data[16] = "0123456789abcde";

    m.request_vote.term = 3;
    m.request_vote.candidate_id = 2;
    m.request_vote.pre_vote = true;
    frame_raft(&b, &m);
    frame_seed("vote", &b, true);
    buf_add(&all, b.data, b.len);
    buf_clear(&b);
    m = (struct raft_message){ .type = RAFT_IO_APPEND_ENTRIES };
    e[0].buf = e[1].buf = (struct raft_buffer){ .base = data, .len = 16 };
    m.append_entries.term = 3;
    m.append_entries.prev_log_index = 7;
    m.append_entries.entries = e;
    m.append_entries.n_entries = 2;
    frame_raft(&b, &m);
    frame_seed("append", &b, true);
    buf_add(&all, b.data, b.len);
    buf_clear(&b);
    m = (struct raft_message){ .type = RAFT_IO_APPEND_ENTRIES_RESULT };
    m.append_entries_result.term = 3;
    frame_raft(&b, &m);
    frame_seed("append-result", &b, true);
    buf_add(&all, b.data, b.len);
    frame_seed("stream", &all, false);
    buf_done(&b);
    buf_done(&all);
}

static void frame_seeds(void)
{
    struct hello h = {
        .version = HELLO_VERSION, .from = 1, .to = 2, .boot = 9, .name = "host1", .cluster = "0b5e"
    };
    struct raft_configuration conf;
    struct raft_buffer encoded;
    struct group g = { 0 };
    struct buf b = { 0 };

    hello_frame(&b, &h);
    frame_seed("hello", &b, true);
    message_seeds();
    buf_clear(&b);
    group_add(&g, "first", 5);
    group_add(&g, "second command", 14);
    group_seal(&g, 1700000000000);
    buf_add_byte(&b, 2);
    buf_add(&b, g.data, g.len);
    seed("frame", "group", b.data, b.len);
    group_done(&g);
    buf_clear(&b);
    raft_configuration_init(&conf);
    CHECK(raft_configuration_add(&conf, 1, "host1@10.0.0.1:7640", RAFT_VOTER) == 0);
    CHECK(raft_configuration_add(&conf, 2, "host2@10.0.0.2:7640", RAFT_STANDBY) == 0);
    CHECK(raft_configuration_encode(&conf, &encoded) == 0);
    buf_add_byte(&b, 3);
    buf_add(&b, encoded.base, encoded.len);
    seed("frame", "configuration", b.data, b.len);
    raft_free(encoded.base);
    raft_configuration_close(&conf);
    buf_done(&b);
}

/* --- the raw key space -------------------------------------------------------------------------
 */

static void v3_seeds(void)
{
    static const char *const BODIES[][2] = {
        { "put", "{\"key\":\"Zm9v\",\"value\":\"YmFy\",\"lease\":\"7\",\"prev_kv\":true}" },
        { "range",
          "{\"key\":\"Zm9v\",\"range_end\":\"Zm9w\",\"limit\":\"10\",\"keys_only\":true}" },
        { "everything", "{\"key\":\"AA==\",\"rangeEnd\":\"AA==\",\"countOnly\":true}" },
        { "delete", "{\"key\":\"Zm9v\",\"range_end\":\"AA==\",\"prev_kv\":true}" },
        { "lease",
          "[{\"ID\":\"7\",\"TTL\":\"60\"},{\"key\":\"Zm9v\",\"value\":\"YmFy\",\"lease\":7},"
          "{\"ID\":7}]" },
        { "txn",
          "{\"compare\":[{\"key\":\"Zm9v\",\"target\":\"VALUE\",\"value\":\"YmFy\"},"
          "{\"key\":\"Zm9v\",\"target\":\"CREATE\",\"result\":\"GREATER\",\"createRevision\":"
          "\"0\"}],\"success\":[{\"request_put\":{\"key\":\"Zm9v\",\"value\":\"YQ==\"}},"
          "{\"requestRange\":{\"key\":\"Zm9v\"}}],\"failure\":[{\"request_delete_range\":"
          "{\"key\":\"Zm9v\"}}]}" },
        { "watch",
          "{\"create_request\":{\"key\":\"Zm9v\",\"range_end\":\"Zm9w\",\"start_revision\":"
          "\"1\",\"progress_notify\":true,\"filters\":[\"NOPUT\"],\"prev_kv\":true}}" },
        { "watch-story",
          "[{\"key\":\"Zm9v\",\"value\":\"YQ==\"},{\"key\":\"Zm9v\",\"range_end\":\"AA==\"},"
          "{\"createRequest\":{\"key\":\"AA==\",\"range_end\":\"AA==\",\"start_revision\":\"1\","
          "\"filters\":[0,1],\"watch_id\":\"3\"}}]" },
        { "ignore", "{\"key\":\"Zm9v\",\"ignore_value\":true,\"ignoreLease\":true}" },
    };

    for (size_t i = 0; i < ARRAY_LEN(BODIES); i++) {
        seed("v3", BODIES[i][0], BODIES[i][1], strlen(BODIES[i][1]));
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: seeds FOLDER\n");
        return 2;
    }
    root = argv[1];
    log_seeds();
    snapshot_seeds();
    frame_seeds();
    v3_seeds();
    return 0;
}
