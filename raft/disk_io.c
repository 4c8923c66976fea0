#include "raft/rep_env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/obj.h"

/* struct rep_disk on POSIX files.  Files are reached through the directory's descriptor, so that a
 * moved or replaced directory is never written to by mistake. */

#define DIRECT_ALIGN 4096U
#define DIRECT_MAX (4U << 20) /* larger writes go through the page cache */

struct rep_file {
    int fd;
    int direct;      /* the same file with O_DIRECT; -1: not opened yet, -2: not possible here */
    uint8_t *bounce; /* aligned copy of what is written directly */
    size_t bounce_size;
    char name[64];
};

struct disk_posix {
    struct rep_disk disk;
    int dirfd;
    char *dir;
};

static struct disk_posix *disk_of(struct rep_disk *d)
{
    return CONTAINER_OF(d, struct disk_posix, disk);
}

static int disk_fail(struct rep_disk *d, const char *name, const char *what, struct err *err)
{
    return err_native(err, ERR_SYS, "errno", errno, "%s %s/%s", what, disk_of(d)->dir, name);
}

static int disk_list(struct rep_disk *d, void (*cb)(void *ctx, const char *name), void *ctx,
                     struct err *err)
{
    int fd = openat(disk_of(d)->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *e;
    DIR *dir;

    if (fd < 0) {
        return disk_fail(d, "", "open", err);
    }
    dir = fdopendir(fd);
    CHECK(dir != NULL);
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] != '.') {
            cb(ctx, e->d_name);
        }
    }
    (void)closedir(dir);
    return 0;
}

static int disk_open(struct rep_disk *d, const char *name, enum rep_open mode,
                     struct rep_file **ret, struct err *err)
{
    static const int flags[] = {
        [REP_OPEN_READ] = O_RDONLY,
        [REP_OPEN_WRITE] = O_RDWR,
        [REP_OPEN_NEW] = O_RDWR | O_CREAT | O_TRUNC,
    };
    struct rep_file *f;
    int fd;

    CHECK(strlen(name) < sizeof(f->name));
    fd = openat(disk_of(d)->dirfd, name, flags[mode] | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return disk_fail(d, name, "open", err);
    }
    if (mode == REP_OPEN_NEW && fsync(disk_of(d)->dirfd) != 0) {
        (void)close(fd);
        return disk_fail(d, name, "fsync the directory of", err);
    }
    f = OBJ_NEW(struct rep_file);
    f->fd = fd;
    f->direct = -1;
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    *ret = f;
    return 0;
}

static void disk_close(struct rep_disk *d, struct rep_file *f)
{
    (void)d;
    if (f != NULL) {
        if (f->direct >= 0) {
            (void)close(f->direct);
        }
        (void)close(f->fd);
        free(f->bounce);
        free(f);
    }
}

static int disk_size(struct rep_disk *d, struct rep_file *f, uint64_t *ret, struct err *err)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0) {
        return disk_fail(d, f->name, "stat", err);
    }
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int disk_read(struct rep_disk *d, struct rep_file *f, uint64_t off, void *data, size_t len,
                     struct err *err)
{
    uint8_t *p = data;

    while (len > 0) {
        ssize_t n = pread(f->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return disk_fail(d, f->name, "read", err);
        }
        if (n == 0) {
            return err_set(err, ERR_CORRUPT, "%s/%s: ends at byte %llu, %zu more were expected",
                           disk_of(d)->dir, f->name, (unsigned long long)off, len);
        }
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* The log is written in whole blocks and never read again before a restart: past the page cache,
 * each write is one request to the disk and costs no copy into fresh pages.  NULL: not possible. */
static void *disk_bounce(struct rep_file *f, uint64_t off, const void *data, size_t len)
{
    char path[64];
    void *p;

    if (f->direct == -2 || off % DIRECT_ALIGN != 0 || len % DIRECT_ALIGN != 0 || len > DIRECT_MAX) {
        return NULL;
    }
    if (f->direct == -1) {
        /* Through the descriptor: the name may be another file's by now. */
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
        f->direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
        if (f->direct < 0) {
            f->direct = -2;
            return NULL;
        }
    }
    if (f->bounce_size < len) {
        if (posix_memalign(&p, DIRECT_ALIGN, len) != 0) {
            return NULL;
        }
        free(f->bounce);
        f->bounce = p;
        f->bounce_size = len;
    }
    memcpy(f->bounce, data, len);
    return f->bounce;
}

static int disk_write(struct rep_disk *d, struct rep_file *f, uint64_t off, const void *data,
                      size_t len, bool durable, struct err *err)
{
    struct iovec v = { .iov_base = durable ? disk_bounce(f, off, data, len) : NULL,
                       .iov_len = len };
    bool direct = v.iov_base != NULL;

    if (!direct) {
        /* Our own copy of the pointer: iovec has no const. */
        memcpy(&v.iov_base, &data, sizeof(data));
    }
    while (v.iov_len > 0) {
        ssize_t n =
            pwritev2(direct ? f->direct : f->fd, &v, 1, (off_t)off, durable ? RWF_DSYNC : 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && direct && errno == EINVAL) { /* this file system, or an odd rest */
            (void)close(f->direct);
            f->direct = -2;
            direct = false;
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return disk_fail(d, f->name, "write", err);
        }
        v.iov_base = (uint8_t *)v.iov_base + n;
        v.iov_len -= (size_t)n;
        off += (uint64_t)n;
    }
    return 0;
}

static int disk_sync(struct rep_disk *d, struct rep_file *f, struct err *err)
{
    return fsync(f->fd) == 0 ? 0 : disk_fail(d, f->name, "fsync", err);
}

static int disk_rename(struct rep_disk *d, const char *from, const char *to, struct err *err)
{
    int fd = disk_of(d)->dirfd;

    if (renameat(fd, from, fd, to) != 0 || fsync(fd) != 0) {
        return disk_fail(d, from, "rename", err);
    }
    return 0;
}

static int disk_remove(struct rep_disk *d, const char *name, struct err *err)
{
    int fd = disk_of(d)->dirfd;

    if ((unlinkat(fd, name, 0) != 0 && errno != ENOENT) || fsync(fd) != 0) {
        return disk_fail(d, name, "remove", err);
    }
    return 0;
}

static void disk_free(struct rep_disk *d)
{
    struct disk_posix *p = disk_of(d);

    (void)close(p->dirfd);
    free(p->dir);
    free(p);
}

/* mkdir -p, each level made durable in its parent. */
static int disk_mkdirs(const char *dir, struct err *err)
{
    char path[4096];
    size_t len = strlen(dir);

    if (len == 0 || len >= sizeof(path)) {
        return err_set(err, ERR_INVALID, "directory of the replicated log: bad path \"%s\"", dir);
    }
    memcpy(path, dir, len + 1);
    for (char *p = path + 1;; p++) {
        char c = *p;

        if (c != '/' && c != 0) {
            continue;
        }
        *p = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return err_native(err, ERR_SYS, "errno", errno, "make directory %s", path);
        }
        *p = c;
        if (c == 0) {
            return 0;
        }
    }
}

int rep_disk_posix(const char *dir, struct rep_disk **ret, struct err *err)
{
    struct disk_posix *p;
    int fd, rc;

    rc = disk_mkdirs(dir, err);
    if (rc != 0) {
        return rc;
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "open directory %s", dir);
    }
    p = OBJ_NEW(struct disk_posix);
    p->dirfd = fd;
    p->dir = mem_strdup(dir);
    p->disk = (struct rep_disk){
        .list = disk_list,
        .open = disk_open,
        .close = disk_close,
        .size = disk_size,
        .read = disk_read,
        .write = disk_write,
        .sync = disk_sync,
        .rename = disk_rename,
        .remove = disk_remove,
        .free = disk_free,
    };
    *ret = &p->disk;
    return 0;
}
