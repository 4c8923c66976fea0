/* Manifests from files, folders and standard input. */

#include "api/manifest.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX (64U << 20)
#define FILES_MAX 4096

static int read_all(int fd, const char *name, struct buf *out, struct err *err)
{
    for (;;) {
        uint8_t *p = buf_reserve(out, 65536);
        ssize_t n;

        if (p == NULL) {
            return err_set(err, ERR_TOO_LARGE, "%.200s: more than %u MiB", name, INPUT_MAX >> 20);
        }
        n = read(fd, p, 65536);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_native(err, ERR_SYS, "errno", errno, "read %.200s", name);
        }
        if (n == 0) {
            return 0;
        }
        buf_commit(out, (size_t)n);
    }
}

static int read_fd(int fd, const char *name, struct manifest **ret, struct err *err)
{
    struct buf text;
    int rc;

    buf_init(&text, INPUT_MAX);
    rc = read_all(fd, name, &text, err);
    if (rc == 0) {
        rc = manifest_parse(buf_cstr(&text), text.len, name, ret, err);
    }
    buf_done(&text);
    return rc;
}

static int read_file(const char *path, struct manifest **ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0) {
        return err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno,
                          "open %.300s", path);
    }
    rc = read_fd(fd, path, ret, err);
    (void)close(fd);
    return rc;
}

static int is_manifest(const struct dirent *e)
{
    return e->d_name[0] != '.' && (str_ends(e->d_name, ".yaml") || str_ends(e->d_name, ".yml") ||
                                   str_ends(e->d_name, ".json"));
}

/* Byte order, not that of the locale: the same everywhere. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_folder(const char *path, struct manifest **ret, struct err *err)
{
    struct dirent **list = NULL;
    int n = scandir(path, &list, is_manifest, by_name);
    int rc = 0;

    if (n < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "read folder %.300s", path);
    }
    if (n == 0) {
        rc = err_set(err, ERR_NOT_FOUND, "%.300s: no *.yaml, *.yml or *.json in this folder", path);
    } else if (n > FILES_MAX) {
        rc = err_set(err, ERR_TOO_LARGE, "%.300s: more than %d files in this folder", path,
                     FILES_MAX);
    }
    for (int i = 0; i < n; i++) {
        char *name = mem_printf("%s/%s", path, list[i]->d_name);

        rc = rc != 0 ? rc : read_file(name, ret, err);
        free(name);
        free(list[i]);
    }
    free(list);
    return rc;
}

int manifest_read_path(const char *path, struct manifest **ret, struct err *err)
{
    struct stat st;

    if (str_eq(path, "-")) {
        return read_fd(STDIN_FILENO, "-", ret, err);
    }
    if (stat(path, &st) != 0) {
        return err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno, "%.300s",
                          path);
    }
    return S_ISDIR(st.st_mode) ? read_folder(path, ret, err) : read_file(path, ret, err);
}
