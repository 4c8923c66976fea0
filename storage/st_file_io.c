/* Small configuration files, read whole and replaced whole. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/obj.h"
#include "storage/st_priv.h"

#define FILE_MAX (256U * 1024U)

int st_file_read(const char *path, struct buf *ret)
{
    char *text = mem_alloc(FILE_MAX + 1);
    FILE *f = fopen(path, "re");
    size_t len = f == NULL ? 0 : fread(text, 1, FILE_MAX + 1, f);
    int rc = f == NULL ? -errno : ferror(f) != 0 ? -EIO : len > FILE_MAX ? -EFBIG : 0;

    if (f != NULL) {
        (void)fclose(f);
    }
    if (rc == 0) {
        buf_add(ret, text, len);
    }
    explicit_bzero(text, len);
    free(text);
    return rc;
}

int st_file_write(const char *path, const struct buf *b, unsigned mode)
{
    char *tmp = mem_printf("%s.picket", path);
    int fd, rc = 0;

    (void)unlink(tmp); /* left by a crash, maybe with another mode */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, b->data, b->len) != (ssize_t)b->len || fchmod(fd, (mode_t)mode) != 0 ||
        fsync(fd) != 0) {
        rc = errno == 0 ? -EIO : -errno;
    }
    if (fd >= 0) {
        rc = close(fd) == 0 || rc != 0 ? rc : -errno;
    }
    if (rc == 0 && rename(tmp, path) != 0) {
        rc = -errno;
    }
    if (rc != 0) {
        (void)unlink(tmp);
    }
    free(tmp);
    return rc;
}

void st_buf_wipe(struct buf *b)
{
    if (b->data != NULL) {
        explicit_bzero(b->data, b->len);
    }
    buf_done(b);
}
