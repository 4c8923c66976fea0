#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/obj.h"
#include "raft/rep_env.h"
#include "raft/rep_offline.h"

/* The directory of a node is locked with flock(2), which ends with the process however it ends. */

static int lock_make(const char *dir, struct err *err)
{
    struct rep_disk *disk;
    int rc = rep_disk_posix(dir, &disk, err); /* makes it */

    if (rc == 0) {
        disk->free(disk);
    }
    return rc;
}

int rep_dir_lock(const char *dir, bool make, int *ret_fd, struct err *err)
{
    int fd, rc;

    rc = make ? lock_make(dir, err) : 0;
    if (rc != 0) {
        return rc;
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno,
                          "open directory %s", dir);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *ret_fd = fd;
        return 0;
    }
    rc = errno == EWOULDBLOCK
             ? err_set(err, ERR_CONFLICT,
                       "%s: a running picketd, or another tool, works in this directory; stop it "
                       "first",
                       dir)
             : err_native(err, ERR_SYS, "errno", errno, "lock %s", dir);
    (void)close(fd);
    return rc;
}
