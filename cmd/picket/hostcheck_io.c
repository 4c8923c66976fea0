/* Looking at a host: files below a root folder. Nothing is run, and no device is opened: opening a
 * watchdog starts it. */

#include "cmd/picket/hostcheck.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#define TEXT_MAX ((size_t)4 << 20)

static const char *take_text(struct buf *b, struct arena *a)
{
    char *text = arena_strndup(a, (const char *)b->data, b->len);
    size_t n = strlen(text);

    /* One line, as in /sys: without its end. */
    if (n > 0 && text[n - 1] == '\n' && strchr(text, '\n') == text + n - 1) {
        text[n - 1] = '\0';
    }
    buf_done(b);
    return text;
}

/* NULL: errno says why. */
static const char *read_text(const char *path, struct arena *a)
{
    struct buf b = { 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = -1;

    buf_init(&b, TEXT_MAX);
    if (fd >= 0) {
        uint8_t chunk[8192];

        while ((n = read(fd, chunk, sizeof(chunk))) > 0 && !b.overflow) {
            buf_add(&b, chunk, (size_t)n);
        }
        (void)close(fd);
    }
    if (n < 0) {
        buf_done(&b);
        return NULL;
    }
    if (b.len == 0) {
        buf_done(&b);
        return "";
    }
    return take_text(&b, a);
}

static const char *list_names(const char *path, struct arena *a)
{
    struct buf b = { 0 };
    DIR *d = opendir(path);

    if (d == NULL) {
        return NULL;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            buf_printf(&b, "%s%s", b.len == 0 ? "" : "\n", e->d_name);
        }
    }
    (void)closedir(d);
    return b.len == 0 ? "" : take_text(&b, a);
}

static void look_at(const char *full, struct hc_file *f, struct arena *a)
{
    struct stat st;

    if (stat(full, &st) != 0) {
        f->state = errno == ENOENT || errno == ENOTDIR ? HC_MISSING : HC_UNREADABLE;
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        f->text = list_names(full, a);
    } else if (!S_ISREG(st.st_mode) || str_ends(full, ".key")) {
        /* Devices and secrets: that they are there is all. */
        f->text = S_ISREG(st.st_mode) && access(full, R_OK) != 0 ? NULL : "";
    } else {
        f->text = read_text(full, a);
    }
    f->state = f->text == NULL ? HC_UNREADABLE : HC_PRESENT;
}

static const char *processes(const char *root, struct arena *a)
{
    const char *dir = arena_printf(a, "%s/proc", root);
    struct buf b = { 0 };
    DIR *d = opendir(dir);

    if (d == NULL) {
        return NULL;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        const char *comm = NULL;
        uint64_t pid;

        if (str_parse_u64(e->d_name, &pid)) {
            comm = read_text(arena_printf(a, "%s/%s/comm", dir, e->d_name), a);
        }
        if (comm != NULL) {
            buf_printf(&b, "\n%s", comm);
        }
    }
    (void)closedir(d);
    return b.len == 0 ? NULL : take_text(&b, a);
}

static enum hc_clock clock_state(void)
{
    struct timex t = { 0 };

    if (adjtimex(&t) < 0) {
        return HC_CLOCK_UNKNOWN;
    }
    return (t.status & STA_UNSYNC) != 0 ? HC_CLOCK_FREE : HC_CLOCK_SYNCED;
}

/* "/lib/modules/%r/modules.dep" */
static const char *real_path(const char *root, const char *path, const char *release,
                             struct arena *a)
{
    const char *r = strstr(path, "%r");

    if (r == NULL) {
        return arena_printf(a, "%s%s", root, path);
    }
    return arena_printf(a, "%s%.*s%s%s", root, (int)(r - path), path, release, r + 2);
}

void hc_look(const char *root, struct arena *a, struct hc_host *ret)
{
    size_t n = 0;
    struct hc_file *files;
    const char *release, *top = str_eq(root, "/") ? "" : root;

    release = read_text(arena_printf(a, "%s/proc/sys/kernel/osrelease", top), a);
    for (; hc_paths[n] != NULL; n++) {
    }
    files = ARENA_ARRAY(a, struct hc_file, n);
    for (size_t i = 0; i < n; i++) {
        files[i].path = hc_paths[i];
        look_at(real_path(top, hc_paths[i], release == NULL ? "" : release, a), &files[i], a);
    }
    *ret = (struct hc_host){ .files = files, .n_files = n, .processes = processes(top, a) };
    /* The kernel's clock is that of this machine, whatever the folder. */
    ret->clock = top[0] == '\0' ? clock_state() : HC_CLOCK_UNKNOWN;
}
