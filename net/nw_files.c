#include "net/nw_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/obj.h"

static int sync_dir(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0 || fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "sync folder %s", dir);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

static int write_synced(const char *path, const json_t *v, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = 0;

    if (fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "create %s", path);
    }
    if (json_dumpfd(v, fd, JSON_INDENT(1) | JSON_SORT_KEYS) != 0 || fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "write %s", path);
    }
    if (close(fd) != 0 && rc == 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "close %s", path);
    }
    return rc;
}

int nw_file_write(const char *dir, const char *name, const json_t *v, struct err *err)
{
    char *path = mem_printf("%s/%s", dir, name);
    char *temp = mem_printf("%s/%s.new", dir, name);
    int rc = write_synced(temp, v, err);

    if (rc == 0 && rename(temp, path) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "rename %s", temp);
    }
    rc = rc != 0 ? rc : sync_dir(dir, err);
    free(path);
    free(temp);
    return rc;
}

int nw_file_read(const char *dir, const char *name, json_t **ret, struct err *err)
{
    char *path = mem_printf("%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    json_error_t e;
    int rc = 0;

    *ret = NULL;
    if (fd < 0 && errno != ENOENT) {
        rc = err_native(err, ERR_SYS, "errno", errno, "open %s", path);
    } else if (fd >= 0) {
        *ret = json_loadfd(fd, JSON_REJECT_DUPLICATES, &e);
        if (*ret == NULL) {
            rc = err_set(err, ERR_CORRUPT, "%s, line %d: %s", path, e.line, e.text);
        }
        (void)close(fd);
    }
    free(path);
    return rc;
}

int nw_file_remove(const char *dir, const char *name, struct err *err)
{
    char *path = mem_printf("%s/%s", dir, name);
    int rc = 0;

    if (unlink(path) != 0 && errno != ENOENT) {
        rc = err_native(err, ERR_SYS, "errno", errno, "remove %s", path);
    }
    rc = rc != 0 ? rc : sync_dir(dir, err);
    free(path);
    return rc;
}
