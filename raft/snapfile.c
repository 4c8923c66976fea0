#include "raft/snapfile.h"

#include <inttypes.h>
#include <lz4.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "raft/conf_codec.h"
#include "raft/le.h"

/* Head:   0 magic[8]  8 crc u32  12 conf bytes u32  16 index  24 term  32 conf_index  40 zero[8]
 *         48 configuration
 * Block:  0 stored u32  4 raw u32 (equal: not compressed)  8 crc u32  12 number u32  16 bytes
 *         The last one has stored = raw = 0 and ends the content.
 * Foot:   0 magic[8]  8 crc u32  12 blocks u32  16 raw bytes u64  24 sha256[32]
 * A head's or foot's checksum covers what is behind it; a block's covers stored, raw, number,
 * bytes. */

#define HEAD_MAGIC "PKSNAP01"
#define FOOT_MAGIC "PKSNEND1"
#define HEAD_LEN 48u
#define BLOCK_HEAD 16u
#define FOOT_LEN 56u

void snap_meta_done(struct snap_meta *m)
{
    raft_free(m->conf.base);
    *m = (struct snap_meta){ 0 };
}

void snap_meta_copy(const struct snap_meta *src, struct snap_meta *dst)
{
    *dst = *src;
    dst->conf.base = raft_malloc(src->conf.len);
    CHECK(dst->conf.base != NULL);
    memcpy(dst->conf.base, src->conf.base, src->conf.len);
}

void snap_name(uint64_t index, uint64_t term, char dst[64])
{
    (void)snprintf(dst, 64, "snap-%016" PRIx64 "-%016" PRIx64 ".snap", index, term);
}

bool snap_name_parse(const char *name, uint64_t *ret_index, uint64_t *ret_term)
{
    char expect[64], *end;

    if (strncmp(name, "snap-", 5) != 0) {
        return false;
    }
    *ret_index = strtoull(name + 5, &end, 16);
    *ret_term = *end == '-' ? strtoull(end + 1, NULL, 16) : 0;
    snap_name(*ret_index, *ret_term, expect);
    return strcmp(name, expect) == 0;
}

/* --- writing --- */

struct snap_out {
    struct rep_sink sink;
    struct rep_disk *disk;
    struct rep_file *file;
    EVP_MD_CTX *sha;
    uint64_t off;
    uint64_t raw_total;
    uint32_t n_blocks;
    size_t fill;
    uint8_t *raw;    /* SNAP_BLOCK */
    uint8_t *stored; /* BLOCK_HEAD and the compressed bytes */
    size_t cap;
};

static int out_bytes(struct snap_out *o, const void *data, size_t len, struct err *err)
{
    int rc = o->disk->write(o->disk, o->file, o->off, data, len, false, err);

    o->off += len;
    CHECK(EVP_DigestUpdate(o->sha, data, len) == 1);
    return rc;
}

static uint32_t block_crc(const uint8_t *head, const uint8_t *data, size_t len)
{
    return crc32c(crc32c(crc32c(0, head, 8), head + 12, 4), data, len);
}

static int out_block(struct snap_out *o, struct err *err)
{
    uint8_t *h = o->stored;
    int n = LZ4_compress_default((const char *)o->raw, (char *)h + BLOCK_HEAD, (int)o->fill,
                                 (int)(o->cap - BLOCK_HEAD));
    size_t stored = n > 0 && (size_t)n < o->fill ? (size_t)n : o->fill;
    int rc;

    if (stored == o->fill) {
        memcpy(h + BLOCK_HEAD, o->raw, o->fill);
    }
    le_put32(h, (uint32_t)stored);
    le_put32(h + 4, (uint32_t)o->fill);
    le_put32(h + 12, o->n_blocks++);
    le_put32(h + 8, block_crc(h, h + BLOCK_HEAD, stored));
    rc = out_bytes(o, h, BLOCK_HEAD + stored, err);
    o->raw_total += o->fill;
    o->fill = 0;
    return rc;
}

static int out_write(struct rep_sink *s, const void *data, size_t len, struct err *err)
{
    struct snap_out *o = CONTAINER_OF(s, struct snap_out, sink);
    const uint8_t *p = data;
    int rc = 0;

    while (len > 0 && rc == 0) {
        size_t n = SNAP_BLOCK - o->fill < len ? SNAP_BLOCK - o->fill : len;

        memcpy(o->raw + o->fill, p, n);
        o->fill += n;
        p += n;
        len -= n;
        if (o->fill == SNAP_BLOCK) {
            rc = out_block(o, err);
        }
    }
    return rc;
}

static int out_head(struct snap_out *o, const struct snap_meta *m, struct err *err)
{
    uint8_t h[HEAD_LEN] = HEAD_MAGIC;
    int rc;

    CHECK(m->conf.len <= SNAP_CONF_MAX);
    le_put32(h + 12, (uint32_t)m->conf.len);
    le_put64(h + 16, m->index);
    le_put64(h + 24, m->term);
    le_put64(h + 32, m->conf_index);
    le_put32(h + 8, crc32c(crc32c(0, h + 12, HEAD_LEN - 12), m->conf.base, m->conf.len));
    rc = out_bytes(o, h, HEAD_LEN, err);
    return rc != 0 ? rc : out_bytes(o, m->conf.base, m->conf.len, err);
}

static int out_foot(struct snap_out *o, struct snap_meta *m, struct err *err)
{
    uint8_t end[BLOCK_HEAD] = { 0 }, f[FOOT_LEN] = FOOT_MAGIC;
    int rc;

    le_put32(end + 12, o->n_blocks);
    le_put32(end + 8, block_crc(end, NULL, 0));
    rc = out_bytes(o, end, sizeof(end), err);
    if (rc != 0) {
        return rc;
    }
    CHECK(EVP_DigestFinal_ex(o->sha, m->hash, NULL) == 1);
    le_put32(f + 12, o->n_blocks);
    le_put64(f + 16, o->raw_total);
    memcpy(f + 24, m->hash, SNAP_HASH);
    le_put32(f + 8, crc32c(0, f + 12, FOOT_LEN - 12));
    rc = o->disk->write(o->disk, o->file, o->off, f, FOOT_LEN, false, err);
    m->size = o->off + FOOT_LEN;
    return rc;
}

int snapfile_write(struct rep_disk *disk, struct snap_meta *m, struct snap_content *content,
                   struct err *err)
{
    struct snap_out o = { .sink = { .write = out_write }, .disk = disk };
    int rc;

    rc = disk->open(disk, "snapshot.tmp", REP_OPEN_NEW, &o.file, err);
    if (rc != 0) {
        return rc;
    }
    o.sha = EVP_MD_CTX_new();
    CHECK(o.sha != NULL && EVP_DigestInit_ex(o.sha, EVP_sha256(), NULL) == 1);
    o.cap = BLOCK_HEAD + (size_t)LZ4_compressBound(SNAP_BLOCK);
    o.raw = mem_alloc(SNAP_BLOCK);
    o.stored = mem_alloc(o.cap);
    rc = out_head(&o, m, err);
    if (rc == 0) {
        rc = content->fill(content, &o.sink, err);
    }
    if (rc == 0 && o.fill > 0) {
        rc = out_block(&o, err);
    }
    if (rc == 0) {
        rc = out_foot(&o, m, err);
    }
    if (rc == 0) {
        rc = disk->sync(disk, o.file, err);
    }
    disk->close(disk, o.file);
    EVP_MD_CTX_free(o.sha);
    free(o.raw);
    free(o.stored);
    return rc != 0 ? rc : disk->rename(disk, "snapshot.tmp", m->name, err);
}

/* --- reading --- */

struct snap_in {
    struct rep_source source;
    struct rep_disk *disk;
    const char *name;
    struct rep_file *file;
    EVP_MD_CTX *sha;
    uint64_t off;
    uint64_t raw_total;
    uint32_t n_blocks;
    bool ended;
    size_t pos, fill; /* in raw */
    uint8_t *raw;
    uint8_t *stored;
    size_t cap;
};

static int in_corrupt(const struct snap_in *in, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "snapshot %s: byte %" PRIu64 ": %s; remove this member from the cluster, delete "
                   "its directory and join again under a new id",
                   in->name, in->off, what);
}

static int in_bytes(struct snap_in *in, void *data, size_t len, struct err *err)
{
    int rc = in->disk->read(in->disk, in->file, in->off, data, len, err);

    if (rc == 0) {
        in->off += len;
        CHECK(EVP_DigestUpdate(in->sha, data, len) == 1);
    }
    return rc;
}

/* ret may be NULL. */
static int in_head(struct snap_in *in, struct snap_meta *ret, struct err *err)
{
    uint8_t h[HEAD_LEN], *conf;
    size_t len;
    int rc;

    rc = in_bytes(in, h, HEAD_LEN, err);
    if (rc != 0) {
        return rc;
    }
    len = le_get32(h + 12);
    if (memcmp(h, HEAD_MAGIC, 8) != 0 || len > SNAP_CONF_MAX) {
        return in_corrupt(in, "no head of a snapshot", err);
    }
    conf = raft_malloc(len + 1);
    CHECK(conf != NULL);
    rc = in_bytes(in, conf, len, err);
    if (rc == 0 && (le_get32(h + 8) != crc32c(crc32c(0, h + 12, HEAD_LEN - 12), conf, len) ||
                    !conf_valid(conf, len))) {
        rc = in_corrupt(in, "damaged head", err);
    }
    if (rc != 0 || ret == NULL) {
        raft_free(conf);
        return rc;
    }
    ret->index = le_get64(h + 16);
    ret->term = le_get64(h + 24);
    ret->conf_index = le_get64(h + 32);
    ret->conf = (struct raft_buffer){ .base = conf, .len = len };
    return 0;
}

static int in_foot(struct snap_in *in, uint64_t at, uint8_t f[FOOT_LEN], struct err *err)
{
    int rc = in->disk->read(in->disk, in->file, at, f, FOOT_LEN, err);

    if (rc != 0) {
        return rc;
    }
    in->off = at;
    if (memcmp(f, FOOT_MAGIC, 8) != 0 || le_get32(f + 8) != crc32c(0, f + 12, FOOT_LEN - 12)) {
        return in_corrupt(in, "damaged end", err);
    }
    return 0;
}

static int in_end(struct snap_in *in, struct err *err)
{
    uint8_t f[FOOT_LEN], hash[SNAP_HASH];
    uint64_t size;
    int rc;

    rc = in->disk->size(in->disk, in->file, &size, err);
    if (rc == 0) {
        rc = in_foot(in, in->off, f, err);
    }
    if (rc != 0) {
        return rc;
    }
    CHECK(EVP_DigestFinal_ex(in->sha, hash, NULL) == 1);
    if (le_get32(f + 12) != in->n_blocks || le_get64(f + 16) != in->raw_total ||
        memcmp(f + 24, hash, SNAP_HASH) != 0 || size != in->off + FOOT_LEN) {
        return in_corrupt(in, "content and end do not belong together", err);
    }
    in->ended = true;
    return 0;
}

/* The next block into raw; at the end of the content, `ended` is set. */
static int in_block(struct snap_in *in, struct err *err)
{
    uint8_t h[BLOCK_HEAD];
    size_t stored, raw;
    int rc;

    rc = in_bytes(in, h, BLOCK_HEAD, err);
    if (rc != 0) {
        return rc;
    }
    stored = le_get32(h);
    raw = le_get32(h + 4);
    if (raw > SNAP_BLOCK || stored > raw || le_get32(h + 12) != in->n_blocks ||
        (stored == 0) != (raw == 0)) {
        return in_corrupt(in, "damaged block", err);
    }
    rc = in_bytes(in, in->stored, stored, err);
    if (rc != 0) {
        return rc;
    }
    if (le_get32(h + 8) != block_crc(h, in->stored, stored)) {
        return in_corrupt(in, "block with a wrong checksum", err);
    }
    if (raw == 0) {
        return in_end(in, err);
    }
    if (stored == raw) {
        memcpy(in->raw, in->stored, raw);
    } else if (LZ4_decompress_safe((const char *)in->stored, (char *)in->raw, (int)stored,
                                   SNAP_BLOCK) != (int)raw) {
        return in_corrupt(in, "block that cannot be decompressed", err);
    }
    in->n_blocks++;
    in->raw_total += raw;
    in->pos = 0;
    in->fill = raw;
    return 0;
}

static int in_read(struct rep_source *s, void *data, size_t len, struct err *err)
{
    struct snap_in *in = CONTAINER_OF(s, struct snap_in, source);
    uint8_t *p = data;
    int rc;

    while (len > 0) {
        size_t n = in->fill - in->pos < len ? in->fill - in->pos : len;

        memcpy(p, in->raw + in->pos, n);
        in->pos += n;
        p += n;
        len -= n;
        if (len == 0) {
            break;
        }
        if (in->ended) {
            return in_corrupt(in, "the content ends too early", err);
        }
        rc = in_block(in, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int in_open(struct snap_in *in, struct rep_disk *disk, const char *name, struct err *err)
{
    int rc;

    *in = (struct snap_in){ .source = { .read = in_read }, .disk = disk, .name = name };
    rc = disk->open(disk, name, REP_OPEN_READ, &in->file, err);
    if (rc != 0) {
        return rc;
    }
    in->sha = EVP_MD_CTX_new();
    CHECK(in->sha != NULL && EVP_DigestInit_ex(in->sha, EVP_sha256(), NULL) == 1);
    in->raw = mem_alloc(SNAP_BLOCK);
    in->stored = mem_alloc(SNAP_BLOCK);
    return 0;
}

static void in_close(struct snap_in *in)
{
    in->disk->close(in->disk, in->file);
    EVP_MD_CTX_free(in->sha);
    free(in->raw);
    free(in->stored);
}

int snapfile_meta(struct rep_disk *disk, const char *name, struct snap_meta *ret, struct err *err)
{
    struct snap_meta m = { 0 };
    uint8_t f[FOOT_LEN];
    struct snap_in in;
    int rc;

    rc = in_open(&in, disk, name, err);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(m.name, sizeof(m.name), "%s", name);
    rc = in_head(&in, &m, err);
    if (rc == 0) {
        rc = disk->size(disk, in.file, &m.size, err);
    }
    if (rc == 0 && m.size < HEAD_LEN + BLOCK_HEAD + FOOT_LEN) {
        rc = in_corrupt(&in, "the file was cut short", err);
    }
    if (rc == 0) {
        rc = in_foot(&in, m.size - FOOT_LEN, f, err);
    }
    in_close(&in);
    if (rc != 0) {
        snap_meta_done(&m);
        return rc;
    }
    memcpy(m.hash, f + 24, SNAP_HASH);
    *ret = m;
    return 0;
}

int snapfile_read(struct rep_disk *disk, const char *name, struct snap_reader *user,
                  struct err *err)
{
    struct snap_in in;
    int rc;

    rc = in_open(&in, disk, name, err);
    if (rc != 0) {
        return rc;
    }
    rc = in_head(&in, NULL, err);
    if (rc == 0) {
        rc = user->use(user, &in.source, err);
    }
    if (rc == 0 && in.pos < in.fill) {
        rc = in_corrupt(&in, "the content is longer than the state machine expects", err);
    }
    if (rc == 0 && !in.ended) {
        rc = in_block(&in, err);
    }
    if (rc == 0 && !in.ended) {
        rc = in_corrupt(&in, "the content is longer than the state machine expects", err);
    }
    in_close(&in);
    return rc;
}

static int check_use(struct snap_reader *u, struct rep_source *s, struct err *err)
{
    struct snap_in *in = CONTAINER_OF(s, struct snap_in, source);
    int rc = 0;

    (void)u;
    while (rc == 0 && !in->ended) {
        rc = in_block(in, err);
    }
    in->pos = in->fill;
    return rc;
}

int snapfile_verify(struct rep_disk *disk, const char *name, struct err *err)
{
    struct snap_reader reader = { .use = check_use };

    return snapfile_read(disk, name, &reader, err);
}
