#include "cmd/picket-watchdog/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "fence/wdog.h"

int options_parse(int argc, char **argv, struct options *o, struct err *err)
{
    static const struct option longs[] = { { "socket", required_argument, NULL, 's' },
                                           { "state", required_argument, NULL, 'f' },
                                           { "device", required_argument, NULL, 'd' },
                                           { "timeout-ms", required_argument, NULL, 't' },
                                           { "boot-id-file", required_argument, NULL, 'b' },
                                           { NULL, 0, NULL, 0 } };
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            o->socket = optarg;
            break;
        case 'f':
            o->state = optarg;
            break;
        case 'd':
            o->device = optarg;
            break;
        case 'b':
            o->boot_id_file = optarg;
            break;
        case 't':
            if (!str_parse_u64(optarg, &o->timeout_ms) || o->timeout_ms > WDOG_TIMEOUT_MAX_MS) {
                return err_set(err, ERR_INVALID, "--timeout-ms %s: give at most %u", optarg,
                               WDOG_TIMEOUT_MAX_MS);
            }
            break;
        default:
            return err_set(err, ERR_INVALID,
                           "usage: picket-watchdog [--socket PATH] [--state FILE] [--device "
                           "/dev/watchdog|dev:PATH|none] [--timeout-ms N] [--boot-id-file FILE]");
        }
    }
    return 0;
}

int options_read_boot_id(const char *path, char *dst, size_t size, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, dst, size - 1) : -1;

    if (fd >= 0) {
        (void)close(fd);
    }
    if (n <= 0) {
        return err_native(err, ERR_SYS, "errno", errno, "boot id in %s", path);
    }
    dst[n] = '\0';
    dst[strcspn(dst, "\n")] = '\0';
    return 0;
}
