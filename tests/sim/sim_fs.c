/* Files of the simulated machines, for the few that the product keeps besides the store's log: the
 * linker sends open and its kin here (--wrap), and what comes from a simulated process stays in
 * memory.  A power cut loses what was not synced. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "tests/sim/sim_priv.h"

#define FD_BASE 100000
#define FDS 64

int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_read(int fd, void *data, size_t len);
ssize_t __real_write(int fd, const void *data, size_t len);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
FILE *__real_fopen(const char *path, const char *mode);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_link(const char *from, const char *to);
int __real_access(const char *path, int mode);
int __real_mkdir(const char *path, mode_t mode);
int __real_scandir(const char *dir, struct dirent ***ret, int (*filter)(const struct dirent *),
                   int (*cmp)(const struct dirent **, const struct dirent **));
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_read(int fd, void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_link(const char *from, const char *to);
int __wrap_access(const char *path, int mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_scandir(const char *dir, struct dirent ***ret, int (*filter)(const struct dirent *),
                   int (*cmp)(const struct dirent **, const struct dirent **));

static struct {
    struct simfile *f; /* NULL: a folder */
    const struct proc *owner;
    size_t at;
    bool used;
} fds[FDS];

static struct machine *here(void)
{
    return sim_world == NULL || sim_world->cur == NULL ? NULL : sim_world->cur->m;
}

static size_t find(const struct machine *m, const char *name)
{
    size_t i = 0;

    while (i < m->n_files && strcmp(m->files[i]->name, name) != 0) {
        i++;
    }
    return i;
}

static void file_free(struct simfile *f)
{
    free(f->name);
    free(f->data);
    free(f->durable);
    free(f);
}

static void drop(struct machine *m, size_t i)
{
    file_free(m->files[i]);
    m->files[i] = m->files[--m->n_files];
}

static struct simfile *make(struct machine *m, const char *name)
{
    struct simfile *f;
    size_t i = find(m, name);

    SIM_WORLD_BEGIN();
    if (i == m->n_files) {
        m->files = mem_realloc(m->files, (m->n_files + 1) * sizeof(*m->files));
        f = OBJ_NEW(struct simfile);
        f->name = mem_strdup(name);
        m->files[m->n_files++] = f;
    }
    f = m->files[i];
    f->len = 0;
    SIM_WORLD_END();
    return f;
}

int __wrap_open(const char *path, int flags, ...)
{
    struct machine *m = here();
    mode_t mode = 0;
    size_t i, fd = 0;
    va_list ap;

    va_start(ap, flags);
    if ((flags & O_CREAT) != 0) {
        mode = va_arg(ap, mode_t);
    }
    va_end(ap);
    if (m == NULL) {
        return __real_open(path, flags, mode);
    }
    while (fd < FDS && fds[fd].used) {
        fd++;
    }
    CHECK(fd < FDS);
    fds[fd].at = 0;
    fds[fd].f = NULL;
    if ((flags & O_DIRECTORY) == 0) {
        i = find(m, path);
        if (i == m->n_files && (flags & O_CREAT) == 0) {
            errno = ENOENT;
            return -1;
        }
        fds[fd].f = (flags & O_TRUNC) != 0 || i == m->n_files ? make(m, path) : m->files[i];
    }
    fds[fd].owner = sim_world->cur;
    fds[fd].used = true;
    return FD_BASE + (int)fd;
}

static bool ours(int fd)
{
    return fd >= FD_BASE && fd < FD_BASE + FDS;
}

int __wrap_close(int fd)
{
    if (!ours(fd)) {
        return __real_close(fd);
    }
    fds[fd - FD_BASE].used = false;
    return 0;
}

ssize_t __wrap_read(int fd, void *data, size_t len)
{
    struct simfile *f;
    size_t n;

    if (!ours(fd)) {
        return __real_read(fd, data, len);
    }
    f = fds[fd - FD_BASE].f;
    n = f->len - fds[fd - FD_BASE].at;
    n = n < len ? n : len;
    if (n > 0) {
        memcpy(data, f->data + fds[fd - FD_BASE].at, n);
    }
    fds[fd - FD_BASE].at += n;
    return (ssize_t)n;
}

/* What the product logs: "<6>2027-01-15T08:00:00.000Z picket/area text\n". */
static void product_line(const char *line, size_t len)
{
    const struct proc *p = sim_world->cur;
    static const char *const kinds[] = { [PROC_PICKETD] = "picketd",
                                         [PROC_AGENT] = "agent",
                                         [PROC_WATCHDOG] = "watchdog",
                                         [PROC_USER] = "user" };
    const char *slash = memchr(line, '/', len);

    if (sim_world->opts.debug && slash != NULL) {
        sim_log(sim_world, "%s %s/%.*s", p->m->name, kinds[p->kind], (int)(line + len - slash) - 2,
                slash + 1);
    }
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    struct simfile *f;

    if (fd == STDERR_FILENO && here() != NULL) {
        product_line(data, len);
        return (ssize_t)len;
    }
    if (!ours(fd)) {
        return __real_write(fd, data, len);
    }
    f = fds[fd - FD_BASE].f;
    SIM_WORLD_BEGIN();
    f->data = mem_realloc(f->data, f->len + len + 1);
    SIM_WORLD_END();
    memcpy(f->data + f->len, data, len);
    f->len += len;
    return (ssize_t)len;
}

/* A file's fsync keeps its bytes; a folder's keeps names, which here every fsync does. */
int __wrap_fsync(int fd)
{
    struct simfile *f;

    if (!ours(fd)) {
        return __real_fsync(fd);
    }
    f = fds[fd - FD_BASE].f;
    if (f == NULL) {
        struct machine *m = here();

        for (size_t i = 0; m != NULL && i < m->n_files; i++) {
            m->files[i]->linked = true;
        }
        return 0;
    }
    SIM_WORLD_BEGIN();
    free(f->durable);
    f->durable = mem_dup(f->data == NULL ? "" : f->data, f->len);
    f->durable_len = f->len;
    SIM_WORLD_END();
    return 0;
}

int __wrap_fdatasync(int fd)
{
    return ours(fd) ? __wrap_fsync(fd) : __real_fdatasync(fd);
}

/* For reading only. */
FILE *__wrap_fopen(const char *path, const char *mode)
{
    struct machine *m = here();
    size_t i;

    if (m == NULL) {
        return __real_fopen(path, mode);
    }
    i = find(m, path);
    if (i == m->n_files || m->files[i]->len == 0 || mode[0] != 'r') {
        errno = ENOENT;
        return NULL;
    }
    return fmemopen(m->files[i]->data, m->files[i]->len, "r");
}

int __wrap_rename(const char *from, const char *to)
{
    struct machine *m = here();
    size_t i;

    if (m == NULL) {
        return __real_rename(from, to);
    }
    i = find(m, to);
    if (find(m, from) == m->n_files) {
        errno = ENOENT;
        return -1;
    }
    if (i < m->n_files) {
        drop(m, i);
    }
    i = find(m, from);
    SIM_WORLD_BEGIN();
    free(m->files[i]->name);
    m->files[i]->name = mem_strdup(to);
    SIM_WORLD_END();
    return 0;
}

int __wrap_unlink(const char *path)
{
    struct machine *m = here();
    size_t i;

    if (m == NULL) {
        return __real_unlink(path);
    }
    i = find(m, path);
    if (i == m->n_files) {
        errno = ENOENT;
        return -1;
    }
    drop(m, i);
    return 0;
}

int __wrap_link(const char *from, const char *to)
{
    if (here() == NULL) {
        return __real_link(from, to);
    }
    errno = ENOTSUP;
    return -1;
}

int __wrap_access(const char *path, int mode)
{
    struct machine *m = here();

    if (m == NULL) {
        return __real_access(path, mode);
    }
    if (find(m, path) < m->n_files) {
        return 0;
    }
    errno = ENOENT;
    return -1;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return here() == NULL ? __real_mkdir(path, mode) : 0;
}

static int by_name(const void *a, const void *b)
{
    const struct dirent *const *x = a, *const *y = b;

    return strcmp((*x)->d_name, (*y)->d_name);
}

int __wrap_scandir(const char *dir, struct dirent ***ret, int (*filter)(const struct dirent *),
                   int (*cmp)(const struct dirent **, const struct dirent **))
{
    struct machine *m = here();
    size_t len = strlen(dir), n = 0;

    if (m == NULL) {
        return __real_scandir(dir, ret, filter, cmp);
    }
    *ret = mem_alloc((m->n_files + 1) * sizeof(**ret));
    for (size_t i = 0; i < m->n_files; i++) {
        const char *name = m->files[i]->name;
        struct dirent d = { .d_type = DT_REG };

        if (strncmp(name, dir, len) != 0 || name[len] != '/' ||
            strlen(name + len + 1) >= sizeof(d.d_name) || strchr(name + len + 1, '/') != NULL) {
            continue;
        }
        (void)str_copy(d.d_name, sizeof(d.d_name), name + len + 1);
        if (filter == NULL || filter(&d) != 0) {
            (*ret)[n++] = mem_dup(&d, sizeof(d));
        }
    }
    if (n > 1) {
        qsort(*ret, n, sizeof(**ret), by_name);
    }
    return (int)n;
}

/* --- for the machine ---------------------------------------------------------------------------
 */

void simfs_put(struct machine *m, const char *path, const char *text)
{
    struct simfile *f = make(m, path);

    f->data = mem_strdup(text);
    f->durable = mem_strdup(text);
    f->len = f->durable_len = strlen(text);
    f->linked = true;
}

/* A file whose name was never synced may be gone, one whose bytes were not has old ones. */
void simfs_proc_died(const struct proc *p)
{
    for (size_t i = 0; i < FDS; i++) {
        fds[i].used = fds[i].used && fds[i].owner != p;
    }
}

void simfs_power_off(struct machine *m)
{
    for (size_t i = 0; i < m->n_files;) {
        struct simfile *f = m->files[i];

        if (!f->linked && sim_rand(2) == 0) {
            drop(m, i);
            continue;
        }
        f->linked = true;
        if (f->durable == NULL || f->durable_len != f->len ||
            memcmp(f->durable, f->data, f->len) != 0) {
            bool kept = sim_rand(2) == 0;

            if (!kept) {
                free(f->data);
                f->data = f->durable == NULL ? NULL : mem_dup(f->durable, f->durable_len);
                f->len = f->durable == NULL ? 0 : f->durable_len;
            }
        }
        i++;
    }
}

void simfs_free(struct machine *m)
{
    while (m->n_files > 0) {
        drop(m, 0);
    }
    free(m->files);
}
