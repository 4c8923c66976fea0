#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/prio.h"

#define SERVICE_NICE (-10)
#define REALTIME_PRIORITY 10

static int failed(const char *what, struct err *err)
{
    return err_native(err, errno == EPERM || errno == EACCES ? ERR_DENIED : ERR_SYS, "errno", errno,
                      "%s", what);
}

int prio_service(bool keep, struct err *err)
{
    const struct sched_param none = { 0 };

    if (setpriority(PRIO_PROCESS, 0, SERVICE_NICE) != 0) {
        return failed("nice -10", err);
    }
    if (!keep && sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none) != 0) {
        int rc = failed("keep the priority from children", err);

        (void)setpriority(PRIO_PROCESS, 0, 0);
        return rc;
    }
    return 0;
}

int prio_session(struct err *err)
{
    int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
    char text[8];
    int n = snprintf(text, sizeof(text), "%d", SERVICE_NICE);
    int rc = 0;

    if (fd < 0) {
        return errno == ENOENT ? 0 : failed("open /proc/self/autogroup", err);
    }
    if (write(fd, text, (size_t)n) != n) {
        rc = failed("nice -10 of the session", err);
    }
    (void)close(fd);
    return rc;
}

int prio_realtime(struct err *err)
{
    const struct sched_param sp = { .sched_priority = REALTIME_PRIORITY };

    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &sp) != 0) {
        return failed("real-time priority", err);
    }
    return 0;
}
