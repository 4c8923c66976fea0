/* Snapshot files on the disk in memory. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/snapfile.h"
#include "tests/unit/raft_memdisk.h"

static struct memdisk disk;
static struct prng prng;

#define CONTENT (5u * SNAP_BLOCK / 2)

static uint8_t content[CONTENT], back[CONTENT];
static size_t use_len;

static int fill(struct snap_content *c, struct rep_sink *sink, struct err *err)
{
    size_t pos = 0;

    (void)c;
    while (pos < use_len) { /* odd pieces */
        size_t n = use_len - pos < 70001 ? use_len - pos : 70001;
        int rc = sink->write(sink, content + pos, n, err);

        if (rc != 0) {
            return rc;
        }
        pos += n;
    }
    return 0;
}

static size_t want_len;

static int use(struct snap_reader *u, struct rep_source *source, struct err *err)
{
    (void)u;
    return source->read(source, back, want_len, err);
}

static int write_one(struct snap_meta *m, struct err *err)
{
    struct raft_configuration conf;
    struct snap_content c = { .fill = fill };

    *m = (struct snap_meta){ .index = 77, .term = 5, .conf_index = 3 };
    raft_configuration_init(&conf);
    assert_int_equal(raft_configuration_add(&conf, 1, "a@b:1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&conf, &m->conf), 0);
    raft_configuration_close(&conf);
    snap_name(m->index, m->term, m->name);
    return snapfile_write(&disk.disk, m, &c, err);
}

static int begin(void **state)
{
    (void)state;
    prng_init(&prng, 11);
    memdisk_init(&disk, &prng);
    for (size_t i = 0; i < CONTENT; i++) { /* a part that compresses, a part that does not */
        content[i] = i < CONTENT / 2 ? (uint8_t)(i / 1000) : (uint8_t)prng_u64(&prng);
    }
    use_len = want_len = CONTENT;
    return 0;
}

static int end(void **state)
{
    (void)state;
    memdisk_done(&disk);
    return 0;
}

static void round_trip(void **state)
{
    static const size_t sizes[] = { 0, 1, SNAP_BLOCK - 1, SNAP_BLOCK, SNAP_BLOCK + 1, CONTENT };
    struct snap_reader reader = { .use = use };
    struct snap_meta m, got;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        use_len = want_len = sizes[i];
        memset(back, 0, sizeof(back));
        assert_int_equal(write_one(&m, &err), 0);
        assert_int_equal(snapfile_meta(&disk.disk, m.name, &got, &err), 0);
        assert_int_equal(got.index, 77);
        assert_int_equal(got.term, 5);
        assert_int_equal(got.conf_index, 3);
        assert_int_equal(got.size, m.size);
        assert_memory_equal(got.hash, m.hash, SNAP_HASH);
        assert_int_equal(got.conf.len, m.conf.len);
        assert_int_equal(snapfile_verify(&disk.disk, m.name, &err), 0);
        assert_int_equal(snapfile_read(&disk.disk, m.name, &reader, &err), 0);
        assert_memory_equal(back, content, sizes[i]);
        assert_null(md_find(&disk, "snapshot.tmp"));
        snap_meta_done(&m);
        snap_meta_done(&got);
    }
}

static void the_reader_must_agree_on_the_length(void **state)
{
    struct snap_reader reader = { .use = use };
    struct snap_meta m;
    struct err err;

    (void)state;
    use_len = SNAP_BLOCK + 100;
    assert_int_equal(write_one(&m, &err), 0);
    want_len = use_len - 1;
    assert_int_equal(snapfile_read(&disk.disk, m.name, &reader, &err), ERR_CORRUPT);
    want_len = SNAP_BLOCK; /* exactly at a block's end */
    assert_int_equal(snapfile_read(&disk.disk, m.name, &reader, &err), ERR_CORRUPT);
    want_len = use_len + 1;
    assert_int_equal(snapfile_read(&disk.disk, m.name, &reader, &err), ERR_CORRUPT);
    snap_meta_done(&m);
}

static void damage_is_found(void **state)
{
    struct md_inode *inode;
    struct snap_meta m;
    struct err err;
    const struct md_name *name;

    (void)state;
    use_len = 200000;
    assert_int_equal(write_one(&m, &err), 0);
    name = md_find(&disk, m.name);
    CHECK(name != NULL);
    inode = name->inode;
    for (int round = 0; round < 400; round++) {
        size_t at = round < 150 ? (size_t)round : prng_below(&prng, inode->size);

        inode->data[at] ^= 0x08;
        assert_int_equal(snapfile_verify(&disk.disk, m.name, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, m.name));
        inode->data[at] ^= 0x08;
    }
    for (size_t cut = 1; cut < 3000; cut += 97) {
        inode->size -= cut;
        assert_int_equal(snapfile_verify(&disk.disk, m.name, &err), ERR_CORRUPT);
        inode->size += cut;
    }
    assert_int_equal(snapfile_verify(&disk.disk, m.name, &err), 0);
    snap_meta_done(&m);
}

static void a_full_disk_leaves_the_old_one(void **state)
{
    struct snap_meta m, got;
    struct err err;

    (void)state;
    use_len = 1000;
    assert_int_equal(write_one(&m, &err), 0);
    snap_meta_done(&m);
    disk.room = disk.used + 100000;
    use_len = CONTENT;
    assert_int_equal(write_one(&m, &err), ERR_SYS);
    snap_meta_done(&m);
    assert_int_equal(
        snapfile_meta(&disk.disk, "snap-000000000000004d-0000000000000005.snap", &got, &err), 0);
    snap_meta_done(&got);
}

static void names(void **state)
{
    uint64_t index, term;
    char name[64];

    (void)state;
    snap_name(0x1234, 0xff, name);
    assert_true(snap_name_parse(name, &index, &term));
    assert_int_equal(index, 0x1234);
    assert_int_equal(term, 0xff);
    assert_false(snap_name_parse("snap-1-2.snap", &index, &term));
    assert_false(snap_name_parse("snapshot.tmp", &index, &term));
    assert_false(snap_name_parse("receive.tmp", &index, &term));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(round_trip),      TEST(the_reader_must_agree_on_the_length),
        TEST(damage_is_found), TEST(a_full_disk_leaves_the_old_one),
        TEST(names),
    };

    return cmocka_run_group_tests_name("raft_snapfile", tests, NULL, NULL);
}
