#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/slot.h"

#define ALIGN 4096U
#define STALE_BEATS 120U /* a sector that nobody moved for so many heartbeats may be taken */

struct slots {
    char host[SLOT_HOST_MAX];
    char path[512];
    uint32_t heartbeat_ms;

    /* the thread only */
    int fd;
    uint8_t *image, *sector; /* aligned for direct I/O */
    uint64_t counter;

    pthread_mutex_t lock; /* guards what follows */
    unsigned refs;        /* the thread, and who started it */
    bool stop;
    uint64_t epoch, incarnation;
    struct slot_table table;
    char error[200];
};

static void unref(struct slots *s)
{
    bool last;

    (void)pthread_mutex_lock(&s->lock);
    last = --s->refs == 0;
    (void)pthread_mutex_unlock(&s->lock);
    if (last) {
        (void)pthread_mutex_destroy(&s->lock);
        free(s->image);
        free(s->sector);
        free(s);
    }
}

static void set_error(struct slots *s, const char *what, int native)
{
    struct err err;

    (void)err_native(&err, ERR_SYS, "errno", native, "storage heartbeat %s: %s", s->path, what);
    (void)pthread_mutex_lock(&s->lock);
    if (s->error[0] == '\0') {
        lg_warn("slot", "msg=\"%s\"", err.msg);
    }
    (void)str_copy(s->error, sizeof(s->error), err.msg);
    (void)pthread_mutex_unlock(&s->lock);
}

static void set_ok(struct slots *s)
{
    (void)pthread_mutex_lock(&s->lock);
    if (s->error[0] != '\0') {
        lg_info("slot", "path=%s msg=\"the storage heartbeat works\"", s->path);
    }
    s->error[0] = '\0';
    (void)pthread_mutex_unlock(&s->lock);
}

/* Past every cache: others write there.  A file system without direct I/O is one for tests. */
static bool open_volume(struct slots *s)
{
    struct stat st;

    if (s->fd >= 0) {
        return true;
    }
    s->fd = open(s->path, O_RDWR | O_CLOEXEC | O_DSYNC | O_DIRECT);
    if (s->fd < 0 && (errno == EINVAL || (errno == ENOENT && !str_starts(s->path, "/dev/")))) {
        s->fd = open(s->path, O_RDWR | O_CLOEXEC | O_DSYNC | O_CREAT, 0600);
    }
    if (s->fd < 0) {
        set_error(s, "open", errno);
        return false;
    }
    if (fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < (off_t)SLOT_FILE_BYTES &&
        ftruncate(s->fd, SLOT_FILE_BYTES) != 0) {
        set_error(s, "make room", errno);
        (void)close(s->fd);
        s->fd = -1;
    }
    return s->fd >= 0;
}

static void lost(struct slots *s, const char *what, int native)
{
    set_error(s, what, native);
    (void)close(s->fd);
    s->fd = -1;
}

static bool write_own(struct slots *s, int at, const struct slot_rec *r)
{
    slot_encode(r, s->sector);
    return pwrite(s->fd, s->sector, SLOT_BYTES, (off_t)at * (off_t)SLOT_BYTES) ==
           (ssize_t)SLOT_BYTES;
}

static void beat(struct slots *s)
{
    struct slot_rec rec = { 0 };
    ssize_t n;
    int at;

    if (!open_volume(s)) {
        return;
    }
    n = pread(s->fd, s->image, SLOT_FILE_BYTES, 0);
    if (n != (ssize_t)SLOT_FILE_BYTES) {
        lost(s, "read 128 KiB", n < 0 ? errno : EIO);
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    slot_table_feed(&s->table, s->image, clock_now_ms());
    at = slot_table_pick(&s->table, s->host, clock_now_ms(),
                         (uint64_t)STALE_BEATS * s->heartbeat_ms);
    rec.epoch = s->epoch;
    rec.incarnation = s->incarnation;
    (void)pthread_mutex_unlock(&s->lock);
    if (at < 0) {
        set_error(s, "no free sector", ENOSPC);
        return;
    }
    (void)str_copy(rec.host, sizeof(rec.host), s->host);
    rec.counter = ++s->counter;
    rec.wall_ms = clock_wall_ms();
    if (rec.incarnation != 0 && !write_own(s, at, &rec)) {
        lost(s, "write", errno);
        return;
    }
    set_ok(s);
}

static bool stopped(struct slots *s)
{
    bool stop;

    (void)pthread_mutex_lock(&s->lock);
    stop = s->stop;
    (void)pthread_mutex_unlock(&s->lock);
    return stop;
}

static void *thread_main(void *arg)
{
    struct slots *s = arg;

    while (!stopped(s)) {
        struct timespec ts = { .tv_sec = s->heartbeat_ms / 1000,
                               .tv_nsec = (long)(s->heartbeat_ms % 1000) * 1000000 };

        beat(s);
        (void)nanosleep(&ts, NULL);
    }
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    unref(s);
    return NULL;
}

static void *aligned(size_t size)
{
    void *p = NULL;

    CHECK(posix_memalign(&p, ALIGN, size) == 0);
    memset(p, 0, size);
    return p;
}

int slots_start(const struct slots_opts *opts, struct slots **ret, struct err *err)
{
    struct slots *s = OBJ_NEW(struct slots);
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    s->fd = -1;
    s->refs = 2;
    s->heartbeat_ms = opts->heartbeat_ms;
    s->counter = clock_wall_ms(); /* never a value that was there before */
    (void)str_copy(s->host, sizeof(s->host), opts->host);
    (void)str_copy(s->path, sizeof(s->path), opts->path);
    s->image = aligned(SLOT_FILE_BYTES);
    s->sector = aligned(ALIGN);
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    CHECK(pthread_attr_init(&attr) == 0);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, thread_main, s);
    (void)pthread_attr_destroy(&attr);
    if (rc != 0) {
        s->refs = 1;
        unref(s);
        return err_native(err, ERR_SYS, "errno", rc, "thread of the storage heartbeat");
    }
    *ret = s;
    return 0;
}

void slots_stop(struct slots *s)
{
    if (s != NULL) {
        (void)pthread_mutex_lock(&s->lock);
        s->stop = true;
        (void)pthread_mutex_unlock(&s->lock);
        unref(s);
    }
}

void slots_identity(struct slots *s, uint64_t epoch, uint64_t incarnation)
{
    (void)pthread_mutex_lock(&s->lock);
    s->epoch = epoch;
    s->incarnation = incarnation;
    (void)pthread_mutex_unlock(&s->lock);
}

size_t slots_seen(struct slots *s, struct slot_seen *dst, size_t max)
{
    uint64_t now_ms = clock_now_ms();
    size_t n = 0;

    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < SLOT_COUNT && n < max; i++) {
        const struct slot_track *t = &s->table.slots[i];

        if (!t->used || t->changed_ms == 0 || str_eq(t->rec.host, s->host)) {
            continue;
        }
        dst[n] = (struct slot_seen){ .epoch = t->rec.epoch, .incarnation = t->rec.incarnation };
        dst[n].age_ms = now_ms > t->changed_ms ? now_ms - t->changed_ms : 0;
        (void)str_copy(dst[n++].host, SLOT_HOST_MAX, t->rec.host);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

void slots_error(struct slots *s, char *dst, size_t size)
{
    (void)pthread_mutex_lock(&s->lock);
    (void)str_copy(dst, size, s->error);
    (void)pthread_mutex_unlock(&s->lock);
}
