#include "cmd/picket-watchdog/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/obj.h"
#include "base/str.h"

#define DEV_REPLY_MS 1000

int device_init(struct device *d, const char *spec, struct err *err)
{
    const char *path = spec;

    *d = (struct device){ .fd = -1, .how = DEVICE_LINUX };
    if (strcmp(spec, "none") == 0) {
        d->how = DEVICE_NONE;
    } else if (str_starts(spec, "dev:")) {
        d->how = DEVICE_DEV;
        path = spec + 4;
    }
    if (!str_copy(d->path, sizeof(d->path), path)) {
        return err_set(err, ERR_INVALID, "--device %s: the path is too long", spec);
    }
    return 0;
}

static void device_close(struct device *d)
{
    if (d->fd >= 0) {
        (void)close(d->fd);
    }
    d->fd = -1;
}

/* --- Linux
 * ------------------------------------------------------------------------------------------ */

static bool read_nowayout(const char *path)
{
    const char *digits = path + strcspn(path, "0123456789");
    char name[160], text[4];
    ssize_t n;
    int fd;

    (void)snprintf(name, sizeof(name), "/sys/class/watchdog/watchdog%s/nowayout",
                   *digits != '\0' ? digits : "0");
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = read(fd, text, sizeof(text));
    (void)close(fd);
    return n > 0 && text[0] == '1';
}

static enum wdog_kind kind_of(const char *identity)
{
    if (strstr(identity, "xen_wdt") != NULL || strstr(identity, "Xen") != NULL) {
        return WDOG_KIND_XEN;
    }
    return strstr(identity, "Software Watchdog") != NULL ? WDOG_KIND_SOFTDOG : WDOG_KIND_HARDWARE;
}

static void linux_disarm(struct device *d)
{
    int off = WDIOS_DISABLECARD;

    (void)ioctl(d->fd, WDIOC_SETOPTIONS, &off);
    (void)!write(d->fd, "V", 1); /* the magic close */
    device_close(d);
}

/* Never waits: a FIFO without a reader would.  A character device is all that is asked for before
 * it is opened, because that starts a watchdog. */
static int linux_open(struct device *d, struct err *err)
{
    struct stat st;

    if (stat(d->path, &st) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "--device %s: is its driver loaded?",
                          d->path);
    }
    if (!S_ISCHR(st.st_mode)) {
        return err_set(err, ERR_INVALID, "--device %s is no character device", d->path);
    }
    d->fd = open(d->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (d->fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "open %s%s", d->path,
                          errno == EBUSY ? ": another program feeds it, stop that one first" : "");
    }
    return 0;
}

static int linux_set(struct device *d, uint32_t timeout_ms, struct err *err)
{
    struct watchdog_info info = { 0 };
    int seconds = (int)((timeout_ms + 999) / 1000);

    if (ioctl(d->fd, WDIOC_GETSUPPORT, &info) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "%s is no watchdog: WDIOC_GETSUPPORT",
                          d->path);
    }
    /* A driver without SETTIMEOUT keeps its own; what it reads back counts either way. */
    (void)ioctl(d->fd, WDIOC_SETTIMEOUT, &seconds);
    if (ioctl(d->fd, WDIOC_GETTIMEOUT, &seconds) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "%s: WDIOC_GETTIMEOUT", d->path);
    }
    if (seconds <= 0 || (uint32_t)seconds > WDOG_TIMEOUT_MAX_MS / 1000) {
        return err_set(err, ERR_DRIVER, "%s reads back a timeout of %d s", d->path, seconds);
    }
    d->timeout_ms = (uint32_t)seconds * 1000;
    d->kind = kind_of((const char *)info.identity);
    d->nowayout = read_nowayout(d->path);
    return 0;
}

/* What cannot be used is not left running: nobody would feed it. */
static int linux_arm(struct device *d, uint32_t timeout_ms, struct err *err)
{
    bool fresh = d->fd < 0;
    int rc = fresh ? linux_open(d, err) : 0;

    if (rc == 0) {
        rc = linux_set(d, timeout_ms, err);
        if (rc != 0 && fresh) {
            linux_disarm(d);
        }
    }
    return rc;
}

/* The shortest timeout that the driver takes; some refuse less than a few seconds. */
static void linux_hasten(struct device *d)
{
    for (uint32_t ms = 1000; ms <= d->timeout_ms; ms += 1000) {
        int seconds = (int)(ms / 1000);

        if (ioctl(d->fd, WDIOC_SETTIMEOUT, &seconds) == 0) {
            return;
        }
    }
}

/* --- `picket dev`
 * ----------------------------------------------------------------------------------- */

static int dev_send(struct device *d, enum wdog_dev_op op, uint32_t timeout_ms)
{
    struct wdog_dev_msg m = { .magic = WDOG_DEV_MAGIC, .op = op, .timeout_ms = timeout_ms };

    return send(d->fd, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(m) ? 0 : -1;
}

static int dev_connect(struct device *d, struct err *err)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    device_close(d);
    CHECK(str_copy(sun.sun_path, sizeof(sun.sun_path), d->path));
    d->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0 || connect(d->fd, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
        int rc = err_native(err, ERR_UNREACHABLE, "errno", errno, "supervisor at %s", d->path);

        device_close(d);
        return rc;
    }
    return 0;
}

static int dev_arm(struct device *d, uint32_t timeout_ms, struct err *err)
{
    struct pollfd pfd = { .events = POLLIN };
    struct wdog_dev_msg reply;
    char data[sizeof(reply) + 1];
    ssize_t n;
    int rc = dev_connect(d, err);

    if (rc != 0) {
        return rc;
    }
    if (dev_send(d, WDOG_DEV_ARM, timeout_ms) != 0) {
        return err_native(err, ERR_UNREACHABLE, "errno", errno, "supervisor at %s", d->path);
    }
    pfd.fd = d->fd;
    (void)poll(&pfd, 1, DEV_REPLY_MS);
    n = recv(d->fd, data, sizeof(data), MSG_DONTWAIT);
    if (n <= 0 || !wdog_dev_check(data, (size_t)n, &reply) || reply.op != WDOG_DEV_ARM ||
        reply.timeout_ms < WDOG_TIMEOUT_MIN_MS || reply.timeout_ms > WDOG_TIMEOUT_MAX_MS) {
        return err_set(err, ERR_DRIVER, "supervisor at %s did not confirm ARM", d->path);
    }
    d->timeout_ms = reply.timeout_ms;
    d->kind = WDOG_KIND_DEV;
    d->nowayout = true; /* a lost connection does not disarm */
    return 0;
}

/* --- either
 * ----------------------------------------------------------------------------------------- */

int device_arm(struct device *d, uint32_t timeout_ms, struct err *err)
{
    switch (d->how) {
    case DEVICE_NONE:
        return err_set(err, ERR_NOT_FOUND, "this host has no watchdog (--device none)");
    case DEVICE_LINUX:
        return linux_arm(d, timeout_ms, err);
    case DEVICE_DEV:
        return dev_arm(d, timeout_ms, err);
    }
    CHECK_UNREACHABLE();
}

int device_feed(struct device *d, struct err *err)
{
    switch (d->how) {
    case DEVICE_NONE:
        return 0;
    case DEVICE_LINUX:
        if (d->fd >= 0 && write(d->fd, "\0", 1) == 1) {
            return 0;
        }
        return err_native(err, ERR_SYS, "errno", d->fd < 0 ? EBADF : errno, "feed %s", d->path);
    case DEVICE_DEV:
        if (d->fd >= 0 && dev_send(d, WDOG_DEV_FEED, 0) == 0) {
            return 0;
        }
        return err_native(err, ERR_UNREACHABLE, "errno", d->fd < 0 ? EBADF : errno,
                          "supervisor at %s", d->path);
    }
    CHECK_UNREACHABLE();
}

void device_hasten(struct device *d)
{
    switch (d->how) {
    case DEVICE_NONE:
        return;
    case DEVICE_LINUX:
        linux_hasten(d);
        return;
    case DEVICE_DEV:
        (void)dev_send(d, WDOG_DEV_ARM, WDOG_TIMEOUT_MIN_MS);
        return;
    }
    CHECK_UNREACHABLE();
}

void device_disarm(struct device *d)
{
    switch (d->how) {
    case DEVICE_NONE:
        return;
    case DEVICE_LINUX:
        if (d->fd >= 0 && !d->nowayout) {
            linux_disarm(d);
        }
        return;
    case DEVICE_DEV:
        if (d->fd >= 0) {
            (void)dev_send(d, WDOG_DEV_DISARM, 0);
        }
        return;
    }
    CHECK_UNREACHABLE();
}
