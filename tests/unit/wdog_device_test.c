/* cmd/picket-watchdog/device.c against a device that is a terminal: what is written to it can be
 * read at the other end, and its ioctls are answered here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    const char *identity; /* NULL: no watchdog */
    int timeout, min;     /* seconds */
    int gettimeout_errno;
    unsigned disabled;
} dog;

static int fake_ioctl(int fd, unsigned long request, void *arg)
{
    (void)fd;
    if (dog.identity == NULL) {
        errno = ENOTTY;
        return -1;
    }
    if (request == WDIOC_GETSUPPORT) {
        struct watchdog_info *info = arg;

        (void)snprintf((char *)info->identity, sizeof(info->identity), "%s", dog.identity);
    } else if (request == WDIOC_SETTIMEOUT && *(int *)arg < dog.min) {
        errno = EINVAL;
        return -1;
    } else if (request == WDIOC_SETTIMEOUT) {
        dog.timeout = *(int *)arg;
    } else if (request == WDIOC_GETTIMEOUT && dog.gettimeout_errno != 0) {
        errno = dog.gettimeout_errno;
        return -1;
    } else if (request == WDIOC_GETTIMEOUT) {
        *(int *)arg = dog.timeout;
    } else if (request == WDIOC_SETOPTIONS) {
        dog.disabled++;
    }
    return 0;
}

#define ioctl fake_ioctl
#include "cmd/picket-watchdog/device.c" /* NOLINT(bugprone-suspicious-include) */
#undef ioctl

struct rig {
    int master;
    char path[128];
    struct device d;
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct err err;

    assert_non_null(r);
    memset(&dog, 0, sizeof(dog));
    dog.identity = "iTCO_wdt";
    dog.timeout = 30;
    r->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    assert_true(r->master >= 0);
    assert_int_equal(grantpt(r->master), 0);
    assert_int_equal(unlockpt(r->master), 0);
    assert_int_equal(ptsname_r(r->master, r->path, sizeof(r->path)), 0);
    assert_int_equal(device_init(&r->d, r->path, &err), 0);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;

    device_close(&r->d);
    (void)close(r->master);
    free(r);
    return 0;
}

/* What came out at the other end. */
static size_t written(const struct rig *r, char text[16])
{
    ssize_t n = read(r->master, text, 16);

    return n > 0 ? (size_t)n : 0;
}

static void arms_feeds_and_disarms(void **state)
{
    struct rig *r = *state;
    struct err err;
    char text[16];

    assert_int_equal(device_arm(&r->d, 9500, &err), 0);
    assert_int_equal(r->d.timeout_ms, 10000); /* whole seconds, never less */
    assert_int_equal(r->d.kind, WDOG_KIND_HARDWARE);
    assert_false(r->d.nowayout);
    assert_int_equal(written(r, text), 0);
    assert_int_equal(device_feed(&r->d, &err), 0);
    assert_int_equal(written(r, text), 1);
    assert_int_equal(text[0], '\0'); /* not the magic V */
    device_disarm(&r->d);
    assert_int_equal(dog.disabled, 1);
    assert_int_equal(r->d.fd, -1);
    assert_int_equal(device_feed(&r->d, &err), ERR_SYS);
}

/* The driver keeps its own timeout: what is read back counts. */
static void the_time_that_is_read_back_counts(void **state)
{
    struct rig *r = *state;
    struct err err;

    dog.min = 15;
    assert_int_equal(device_arm(&r->d, 10000, &err), 0);
    assert_int_equal(r->d.timeout_ms, 30000);
}

static void kinds(void **state)
{
    static const struct {
        const char *identity;
        enum wdog_kind kind;
    } all[] = { { "Software Watchdog", WDOG_KIND_SOFTDOG },
                { "xen_wdt", WDOG_KIND_XEN },
                { "i6300ESB timer", WDOG_KIND_HARDWARE } };
    struct rig *r = *state;
    struct err err;

    for (size_t i = 0; i < 3; i++) {
        dog.identity = all[i].identity;
        assert_int_equal(device_arm(&r->d, 10000, &err), 0);
        assert_int_equal(r->d.kind, all[i].kind);
    }
}

/* Opening it started it: it is stopped again, and the reason has the path. */
static void what_cannot_be_used_is_stopped(void **state)
{
    struct rig *r = *state;
    struct err err;
    char text[16];

    dog.gettimeout_errno = EIO;
    assert_int_equal(device_arm(&r->d, 10000, &err), ERR_SYS);
    assert_non_null(strstr(err.msg, r->path));
    assert_int_equal(r->d.fd, -1);
    assert_int_equal(dog.disabled, 1);
    dog.gettimeout_errno = 0;
    dog.timeout = 0;
    dog.min = 1000;
    assert_int_equal(device_arm(&r->d, 10000, &err), ERR_DRIVER);
    assert_non_null(strstr(err.msg, "timeout of 0 s"));
    assert_int_equal(r->d.fd, -1);
    (void)written(r, text);
}

/* A device that is at work is not let go for one failed look. */
static void armed_stays_open(void **state)
{
    struct rig *r = *state;
    struct err err;

    assert_int_equal(device_arm(&r->d, 10000, &err), 0);
    dog.gettimeout_errno = EIO;
    assert_int_equal(device_arm(&r->d, 10000, &err), ERR_SYS);
    assert_true(r->d.fd >= 0);
    assert_int_equal(dog.disabled, 0);
    assert_int_equal(device_feed(&r->d, &err), 0);
}

static void no_watchdog(void **state)
{
    struct rig *r = *state;
    struct device other;
    char fifo[] = "/tmp/wdog-device-XXXXXX";
    struct err err;
    int fd;

    dog.identity = NULL;
    assert_int_equal(device_arm(&r->d, 10000, &err), ERR_SYS);
    assert_non_null(strstr(err.msg, "is no watchdog"));
    assert_int_equal(device_init(&other, "/nonexistent/watchdog", &err), 0);
    assert_int_equal(device_arm(&other, 10000, &err), ERR_SYS);
    assert_non_null(strstr(err.msg, "/nonexistent/watchdog"));
    fd = mkstemp(fifo);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(device_init(&other, fifo, &err), 0);
    assert_int_equal(device_arm(&other, 10000, &err), ERR_INVALID); /* and does not wait */
    assert_non_null(strstr(err.msg, "no character device"));
    assert_int_equal(unlink(fifo), 0);
}

/* After a stall: as short as the driver lets it be. */
static void hastens(void **state)
{
    struct rig *r = *state;
    struct err err;

    dog.min = 4;
    assert_int_equal(device_arm(&r->d, 20000, &err), 0);
    device_hasten(&r->d);
    assert_int_equal(dog.timeout, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arms_feeds_and_disarms, setup, teardown),
        cmocka_unit_test_setup_teardown(the_time_that_is_read_back_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_used_is_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(armed_stays_open, setup, teardown),
        cmocka_unit_test_setup_teardown(no_watchdog, setup, teardown),
        cmocka_unit_test_setup_teardown(hastens, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
