#ifndef TESTS_UNIT_RAFT_MEMDISK_H
#define TESTS_UNIT_RAFT_MEMDISK_H

/* A disk in memory that can crash: what was not synced is lost, sector by sector at random, and a
 * write that was under way is torn.  For struct rep_disk. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "raft/rep_env.h"

#define MD_SECTOR 512u
#define MD_USED __attribute__((unused)) /* not by every test */

struct md_inode {
    uint8_t *data;    /* what readers see */
    uint8_t *durable; /* what a crash leaves */
    size_t size, durable_size, cap;
    unsigned refs; /* names and open files */
};

struct rep_file {
    struct md_inode *inode;
    char name[64];
    struct rep_file *next, **link; /* all that are open */
};

struct md_name {
    char name[64];
    struct md_inode *inode;
};

struct memdisk {
    struct rep_disk disk;
    struct md_name names[512]; /* 8192 entries behind a snapshot, a block each, in small files */
    size_t n;
    struct rep_file *open;
    size_t used, room; /* bytes; room 0: no limit */
    bool fail_writes;  /* EIO */
    bool frozen;       /* nothing changes any more: the process is dead and only cleans up */
    bool tear;         /* the next durable write is torn: a random part of its sectors */
    struct prng *prng;
    unsigned writes;
    unsigned freeze_after; /* that many changes more, then frozen; 0: no */
};

static struct memdisk *md_of(struct rep_disk *d)
{
    return CONTAINER_OF(d, struct memdisk, disk);
}

/* Before each change: is it the one at which the power fails? */
static void md_count(struct memdisk *m)
{
    if (m->freeze_after > 0 && --m->freeze_after == 0) {
        m->frozen = true;
    }
}

static void md_unref(struct memdisk *m, struct md_inode *i)
{
    if (--i->refs == 0) {
        m->used -= i->cap;
        free(i->data);
        free(i->durable);
        free(i);
    }
}

static struct md_name *md_find(struct memdisk *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->names[i].name, name) == 0) {
            return &m->names[i];
        }
    }
    return NULL;
}

static int md_list(struct rep_disk *d, void (*cb)(void *ctx, const char *name), void *ctx,
                   struct err *err)
{
    struct memdisk *m = md_of(d);

    (void)err;
    for (size_t i = 0; i < m->n; i++) {
        cb(ctx, m->names[i].name);
    }
    return 0;
}

static bool md_grow(struct memdisk *m, struct md_inode *i, size_t size)
{
    size_t cap = i->cap == 0 ? 4096 : i->cap;

    while (cap < size) {
        cap *= 2;
    }
    if (cap == i->cap) {
        return true;
    }
    if (m->room != 0 && m->used + cap - i->cap > m->room) {
        return false;
    }
    m->used += cap - i->cap;
    i->data = mem_realloc(i->data, cap);
    i->durable = mem_realloc(i->durable, cap);
    memset(i->data + i->cap, 0, cap - i->cap);
    memset(i->durable + i->cap, 0, cap - i->cap);
    i->cap = cap;
    return true;
}

static int md_open(struct rep_disk *d, const char *name, enum rep_open mode, struct rep_file **ret,
                   struct err *err)
{
    struct memdisk *m = md_of(d);
    struct md_name *n = md_find(m, name);
    struct rep_file *f;

    if (mode == REP_OPEN_NEW) {
        md_count(m);
    }
    if (m->frozen || (n == NULL && mode != REP_OPEN_NEW)) {
        return err_set(err, ERR_SYS, "open %s: no such file", name);
    }
    if (mode == REP_OPEN_NEW) {
        if (n == NULL) {
            CHECK(m->n < ARRAY_LEN(m->names));
            n = &m->names[m->n++];
            (void)snprintf(n->name, sizeof(n->name), "%s", name);
        } else {
            md_unref(m, n->inode);
        }
        n->inode = OBJ_NEW(struct md_inode);
        n->inode->refs = 1;
    }
    f = OBJ_NEW(struct rep_file);
    f->inode = n->inode;
    f->inode->refs++;
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    f->next = m->open;
    f->link = &m->open;
    if (f->next != NULL) {
        f->next->link = &f->next;
    }
    m->open = f;
    *ret = f;
    return 0;
}

static void md_close(struct rep_disk *d, struct rep_file *f)
{
    if (f != NULL) {
        *f->link = f->next;
        if (f->next != NULL) {
            f->next->link = f->link;
        }
        md_unref(md_of(d), f->inode);
        free(f);
    }
}

static int md_size(struct rep_disk *d, struct rep_file *f, uint64_t *ret, struct err *err)
{
    (void)d;
    (void)err;
    *ret = f->inode->size;
    return 0;
}

static int md_read(struct rep_disk *d, struct rep_file *f, uint64_t off, void *data, size_t len,
                   struct err *err)
{
    (void)d;
    if (off > f->inode->size || len > f->inode->size - off) {
        return err_set(err, ERR_CORRUPT, "%s: ends early", f->name);
    }
    if (len > 0) {
        memcpy(data, f->inode->data + off, len);
    }
    return 0;
}

static void md_sector(struct md_inode *i, size_t off, size_t len)
{
    memcpy(i->durable + off, i->data + off, len);
    i->durable_size = off + len > i->durable_size ? off + len : i->durable_size;
}

static int md_write(struct rep_disk *d, struct rep_file *f, uint64_t off, const void *data,
                    size_t len, bool durable, struct err *err)
{
    struct memdisk *m = md_of(d);
    struct md_inode *i = f->inode;

    m->writes++;
    md_count(m);
    if (m->fail_writes || m->frozen) {
        return err_set(err, ERR_SYS, "write %s: input/output error", f->name);
    }
    if (!md_grow(m, i, (size_t)off + len)) {
        return err_set(err, ERR_SYS, "write %s: no space left on device", f->name);
    }
    memcpy(i->data + off, data, len);
    i->size = off + len > i->size ? (size_t)off + len : i->size;
    for (size_t s = (size_t)off; durable && s < off + len; s += MD_SECTOR) {
        size_t n = off + len - s < MD_SECTOR ? (size_t)(off + len - s) : MD_SECTOR;

        if (!m->tear || prng_below(m->prng, 2) == 0) {
            md_sector(i, s, n);
        }
    }
    return 0;
}

static int md_sync(struct rep_disk *d, struct rep_file *f, struct err *err)
{
    md_count(md_of(d));
    if (md_of(d)->fail_writes || md_of(d)->frozen) {
        return err_set(err, ERR_SYS, "fsync %s: input/output error", f->name);
    }
    if (f->inode->size > 0) {
        memcpy(f->inode->durable, f->inode->data, f->inode->size);
    }
    f->inode->durable_size = f->inode->size;
    return 0;
}

static void md_drop_name(struct memdisk *m, const char *name)
{
    struct md_name *n = md_find(m, name);

    if (n != NULL) {
        md_unref(m, n->inode);
        *n = m->names[--m->n];
    }
}

static int md_remove(struct rep_disk *d, const char *name, struct err *err)
{
    struct memdisk *m = md_of(d);

    (void)err;
    md_count(m);
    if (!m->frozen) {
        md_drop_name(m, name);
    }
    return 0;
}

static int md_rename(struct rep_disk *d, const char *from, const char *to, struct err *err)
{
    struct memdisk *m = md_of(d);

    md_count(m);
    if (m->frozen || md_find(m, from) == NULL) {
        return err_set(err, ERR_SYS, "rename %s: no such file", from);
    }
    md_drop_name(m, to);
    (void)snprintf(md_find(m, from)->name, sizeof(m->names[0].name), "%s", to);
    return 0;
}

static void memdisk_init(struct memdisk *m, struct prng *prng)
{
    *m = (struct memdisk){ .prng = prng };
    m->disk = (struct rep_disk){
        .list = md_list,
        .open = md_open,
        .close = md_close,
        .size = md_size,
        .read = md_read,
        .write = md_write,
        .sync = md_sync,
        .rename = md_rename,
        .remove = md_remove,
    };
}

/* An exact copy of what would be there after a crash. */
MD_USED static void memdisk_clone(const struct memdisk *src, struct memdisk *dst)
{
    for (size_t k = 0; k < src->n; k++) {
        const struct md_inode *from = src->names[k].inode;
        struct md_inode *to = OBJ_NEW(struct md_inode);

        CHECK(dst->n < ARRAY_LEN(dst->names));
        dst->names[dst->n] = src->names[k];
        dst->names[dst->n++].inode = to;
        to->refs = 1;
        CHECK(md_grow(dst, to, from->durable_size + 1));
        to->size = to->durable_size = from->durable_size;
        memcpy(to->data, from->durable, from->durable_size);
        memcpy(to->durable, from->durable, from->durable_size);
    }
}

/* The power fails: unsynced sectors survive or not.  The owners of the handles are gone; what is
 * still open was opened twice (raft_world.h runs again what was under way). */
MD_USED static void memdisk_crash(struct memdisk *m)
{
    while (m->open != NULL) {
        md_close(&m->disk, m->open);
    }
    for (size_t k = 0; k < m->n; k++) {
        struct md_inode *i = m->names[k].inode;

        for (size_t s = 0; s < i->size; s += MD_SECTOR) {
            size_t n = i->size - s < MD_SECTOR ? i->size - s : MD_SECTOR;

            if (memcmp(i->data + s, i->durable + s, n) != 0 && prng_below(m->prng, 2) == 0) {
                md_sector(i, s, n);
            }
        }
        i->size = i->durable_size;
        if (i->cap > 0) {
            memcpy(i->data, i->durable, i->cap);
        }
    }
    m->tear = m->frozen = false;
    m->freeze_after = 0;
}

static void memdisk_done(struct memdisk *m)
{
    while (m->n > 0) {
        md_unref(m, m->names[--m->n].inode);
    }
    CHECK(m->used == 0);
}

#endif
