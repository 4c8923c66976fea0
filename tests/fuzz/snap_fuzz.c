/* Snapshots from nowhere, the file and the state in it.
 *
 * The first byte chooses.  0: the bytes are the file.  1: the bytes are what the state machine
 * reads, with a file around them that is right.  2: they are the content of the state machine's
 * blocks, whose checksums are right too, so that the restore itself is reached.  A state that
 * cannot be read changes nothing; one that can is written and read again.  Seeds:
 * tests/fuzz/seeds.c.
 */

#include <stdlib.h>
#include <string.h>

#include <raft.h>

#include "base/obj.h"
#include "raft/snapfile.h"
#include "store/store.h"
#include "tests/unit/raft_memdisk.h"

#define NAME "snap-0000000000000007-0000000000000003.snap"
#define STATE_BLOCK ((size_t)256 << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the file ----------------------------------------------------------------------------------
 */

struct content {
    struct snap_content base;
    const uint8_t *data;
    size_t len;
};

static int fill(struct snap_content *base, struct rep_sink *sink, struct err *err)
{
    struct content *c = CONTAINER_OF(base, struct content, base);

    return sink->write(sink, c->data, c->len, err);
}

static void make_file(struct memdisk *d, const uint8_t *data, size_t len)
{
    struct content c = { .base = { .fill = fill }, .data = data, .len = len };
    struct snap_meta m = { .index = 7, .term = 3, .conf_index = 1 };
    struct raft_configuration conf;
    struct err err;

    raft_configuration_init(&conf);
    CHECK(raft_configuration_add(&conf, 1, "a@b:1", RAFT_VOTER) == 0);
    CHECK(raft_configuration_encode(&conf, &m.conf) == 0);
    raft_configuration_close(&conf);
    (void)snprintf(m.name, sizeof(m.name), "%s", NAME);
    CHECK(snapfile_write(&d->disk, &m, &c.base, &err) == 0);
    snap_meta_done(&m);
}

static void raw_file(struct memdisk *d, const uint8_t *data, size_t len)
{
    struct rep_file *f;
    struct err err;

    CHECK(d->disk.open(&d->disk, NAME, REP_OPEN_NEW, &f, &err) == 0);
    CHECK(d->disk.write(&d->disk, f, 0, data, len, true, &err) == 0);
    d->disk.close(&d->disk, f);
}

/* --- the state ---------------------------------------------------------------------------------
 */

struct restore {
    struct snap_reader reader;
    struct store *s;
};

static int get(void *ctx, void *data, size_t len, struct err *err)
{
    struct rep_source *source = ctx;

    return source->read(source, data, len, err);
}

static int use(struct snap_reader *u, struct rep_source *source, struct err *err)
{
    struct restore *r = CONTAINER_OF(u, struct restore, reader);
    uint64_t before = store_hash(r->s);
    int rc = store_restore(r->s, get, source, err);

    CHECK(rc == 0 || store_hash(r->s) == before);
    return rc;
}

static int put(void *ctx, const void *data, size_t len, struct err *err)
{
    (void)err;
    buf_add(ctx, data, len);
    return 0;
}

static void check_again(struct store *s)
{
    struct store_snap *snap = store_snap_begin(s);
    struct store *other = store_new(NULL);
    struct restore r = { .reader = { .use = use }, .s = other };
    struct buf b = { 0 };
    struct memdisk d;
    struct prng prng;
    struct err err;

    CHECK(store_snap_write(snap, put, &b, &err) == 0);
    store_snap_end(snap);
    prng_init(&prng, 1);
    memdisk_init(&d, &prng);
    make_file(&d, b.data, b.len);
    CHECK(snapfile_read(&d.disk, NAME, &r.reader, &err) == 0);
    CHECK(store_hash(other) == store_hash(s));
    memdisk_done(&d);
    store_free(other);
    buf_done(&b);
}

static void check_file(struct memdisk *d)
{
    struct restore r = { .reader = { .use = use }, .s = store_new(NULL) };
    struct snap_meta m = { 0 };
    struct err err = { 0 };
    int rc = snapfile_meta(&d->disk, NAME, &m, &err);

    if (rc == 0) {
        snap_meta_done(&m);
    }
    CHECK(rc == 0 || (rc == ERR_CORRUPT && strstr(err.msg, NAME) != NULL));
    rc = snapfile_verify(&d->disk, NAME, &err);
    CHECK(rc == 0 || rc == ERR_CORRUPT);
    rc = snapfile_read(&d->disk, NAME, &r.reader, &err);
    if (rc == 0) {
        check_again(r.s);
    } else {
        CHECK(rc == ERR_CORRUPT);
        CHECK(err.msg[0] != 0);
    }
    store_free(r.s);
}

static void add_block(struct buf *b, const uint8_t *data, size_t len)
{
    buf_add_u32(b, (uint32_t)len);
    buf_add_u32(b, crc32c(0, data, len));
    buf_add(b, data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memdisk d;
    struct prng prng;
    struct buf b = { 0 };

    if (size < 2 || size > STATE_BLOCK) {
        return 0;
    }
    prng_init(&prng, 1);
    memdisk_init(&d, &prng);
    switch (data[0] % 3) {
    case 0:
        raw_file(&d, data + 1, size - 1);
        break;
    case 1:
        make_file(&d, data + 1, size - 1);
        break;
    default:
        add_block(&b, data + 1, size - 1);
        add_block(&b, data, 0);
        make_file(&d, b.data, b.len);
        break;
    }
    check_file(&d);
    buf_done(&b);
    memdisk_done(&d);
    return 0;
}
