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

static struct md_inode *inode_of(const char *name)
{
    const struct md_name *n = md_find(&disk, name);

    CHECK(n != NULL);
    return n->inode;
}

/* Only the head and the end are read for that: the head has to stand for itself. */
static void a_damaged_head_is_found_at_once(void **state)
{
    struct snap_meta m, got;
    struct err err;

    (void)state;
    use_len = 1000;
    assert_int_equal(write_one(&m, &err), 0);
    for (size_t at = 16; at < 40; at++) { /* index, term and the place of the configuration */
        inode_of(m.name)->data[at] ^= 0x01;
        assert_int_equal(snapfile_meta(&disk.disk, m.name, &got, &err), ERR_CORRUPT);
        inode_of(m.name)->data[at] ^= 0x01;
    }
    snap_meta_done(&m);
}

/* Every block is right and so is the end, but it is another file's. */
static void the_end_of_another_file(void **state)
{
    struct snap_meta m;
    struct err err;
    uint8_t foot[56];
    struct md_inode *i;

    (void)state;
    use_len = 1000;
    assert_int_equal(write_one(&m, &err), 0);
    i = inode_of(m.name);
    memcpy(foot, i->data + i->size - sizeof(foot), sizeof(foot));
    snap_meta_done(&m);
    content[10] ^= 0xff;
    assert_int_equal(write_one(&m, &err), 0);
    assert_int_equal(snapfile_verify(&disk.disk, m.name, &err), 0);
    i = inode_of(m.name);
    assert_memory_not_equal(foot, i->data + i->size - sizeof(foot), sizeof(foot));
    memcpy(i->data + i->size - sizeof(foot), foot, sizeof(foot));
    assert_int_equal(snapfile_verify(&disk.disk, m.name, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "do not belong together"));
    snap_meta_done(&m);
}

static bool used;

static int use_some(struct snap_reader *u, struct rep_source *source, struct err *err)
{
    int rc = source->read(source, back, 100, err);

    (void)u;
    used = rc == 0;
    return rc;
}

/* What is damaged never reaches the state machine, not even for a while. */
static void damaged_content_is_not_given_away(void **state)
{
    struct snap_reader reader = { .use = use_some };
    struct snap_meta m;
    struct err err;

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        content[i] = (uint8_t)prng_u64(&prng); /* stored as it is */
    }
    use_len = 1000;
    assert_int_equal(write_one(&m, &err), 0);
    inode_of(m.name)->data[m.size - 500] ^= 0x10;
    assert_int_equal(snapfile_read(&disk.disk, m.name, &reader, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "checksum"));
    assert_false(used);
    snap_meta_done(&m);
}

/* A peer's file may say anything, with checksums that are right. */
static void a_block_larger_than_blocks_are(void **state)
{
    struct snap_reader reader = { .use = use_some };
    uint8_t head[16] = { 0 };
    struct rep_file *f;
    struct snap_meta m;
    struct err err;
    uint32_t len = SNAP_BLOCK + 8, crc;
    uint64_t at;

    (void)state;
    use_len = 0;
    assert_int_equal(write_one(&m, &err), 0);
    at = m.size - 56 - 16; /* the empty block before the end */
    memcpy(head, &len, 4);
    memcpy(head + 4, &len, 4);
    crc = crc32c(crc32c(crc32c(0, head, 8), head + 12, 4), content, len);
    memcpy(head + 8, &crc, 4);
    assert_int_equal(disk.disk.open(&disk.disk, m.name, REP_OPEN_WRITE, &f, &err), 0);
    assert_int_equal(disk.disk.write(&disk.disk, f, at, head, 16, true, &err), 0);
    assert_int_equal(disk.disk.write(&disk.disk, f, at + 16, content, len, true, &err), 0);
    disk.disk.close(&disk.disk, f);
    assert_int_equal(snapfile_read(&disk.disk, m.name, &reader, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "damaged block"));
    assert_false(used);
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
        TEST(round_trip),
        TEST(the_reader_must_agree_on_the_length),
        TEST(damage_is_found),
        TEST(a_full_disk_leaves_the_old_one),
        TEST(names),
        TEST(a_damaged_head_is_found_at_once),
        TEST(the_end_of_another_file),
        TEST(damaged_content_is_not_given_away),
        TEST(a_block_larger_than_blocks_are),
    };

    return cmocka_run_group_tests_name("raft_snapfile", tests, NULL, NULL);
}
