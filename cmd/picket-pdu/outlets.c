#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picket-pdu/pdu.h"

#define STATUS_MS 1000
#define PENDING_ANSWERS 32

/* Commands whose answer has not come: the supervisor answers "off" when the host is gone, and the
 * PDU does not wait for that, as real ones do not. */
static int waiting[PENDING_ANSWERS];
static size_t n_waiting;

static const char *command_name(long command)
{
    return command == 1 ? "on" : command == 2 ? "off" : "reboot";
}

static int supervisor_open(const char *path)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = -1;

    if (str_copy(sun.sun_path, sizeof(sun.sun_path), path)) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
        lg_warn("pdu", "msg=\"supervisor at %s: errno %d\"", path, errno);
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* Forget commands that were answered. */
static void reap_answers(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < n_waiting; i++) {
        struct pollfd pfd = { .fd = waiting[i], .events = POLLIN };
        char text[128];

        if (poll(&pfd, 1, 0) == 0) {
            waiting[kept++] = waiting[i];
            continue;
        }
        if (recv(waiting[i], text, sizeof(text) - 1, MSG_DONTWAIT) > 0 && !str_starts(text, "ok")) {
            lg_warn("pdu", "msg=\"the supervisor did not switch\"");
        }
        (void)close(waiting[i]);
    }
    n_waiting = kept;
}

static void supervisor_command(struct pdu *p, size_t i, long command)
{
    char line[96];
    int n = snprintf(line, sizeof(line), "%s %s\n", command_name(command), p->outlets[i].name);
    int fd;

    reap_answers();
    fd = n_waiting < PENDING_ANSWERS ? supervisor_open(p->control) : -1;
    if (fd < 0) {
        return;
    }
    if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
        (void)close(fd);
        return;
    }
    waiting[n_waiting++] = fd;
}

static enum pdu_power supervisor_status(struct pdu *p, size_t i)
{
    enum pdu_power power = PDU_POWER_UNKNOWN;
    char line[96];
    int n = snprintf(line, sizeof(line), "status %s\n", p->outlets[i].name);
    int fd = supervisor_open(p->control);
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    if (fd < 0) {
        return PDU_POWER_UNKNOWN;
    }
    if (send(fd, line, (size_t)n, MSG_NOSIGNAL) == n && poll(&pfd, 1, STATUS_MS) > 0) {
        ssize_t got = recv(fd, line, sizeof(line) - 1, 0);

        line[got > 0 ? got : 0] = '\0';
        if (str_starts(line, "on\n")) {
            power = PDU_POWER_ON;
        } else if (str_starts(line, "off\n")) {
            power = PDU_POWER_OFF;
        }
    }
    (void)close(fd);
    return power;
}

enum pdu_power pdu_outlet_power(struct pdu *p, size_t i)
{
    const struct pdu_outlet *o = &p->outlets[i];

    if (o->fail == PDU_LIE && o->said_off) {
        return PDU_POWER_OFF;
    }
    if (p->control != NULL) {
        return supervisor_status(p, i);
    }
    return o->on ? PDU_POWER_ON : PDU_POWER_OFF;
}

static void carry_out(struct pdu *p, size_t i, long command)
{
    struct pdu_outlet *o = &p->outlets[i];

    lg_info("pdu", "outlet=%s command=%s", o->name, command_name(command));
    if (p->control != NULL) {
        supervisor_command(p, i, command);
    }
    o->on = command != 2;
}

bool pdu_outlet_command(struct pdu *p, size_t i, long command, uint64_t now_ms)
{
    struct pdu_outlet *o = &p->outlets[i];

    CHECK(command >= 1 && command <= 3);
    switch (o->fail) {
    case PDU_OK:
    case PDU_SILENT: /* not asked for one of these */
        carry_out(p, i, command);
        return true;
    case PDU_LIE:
        o->said_off = command == 2;
        return true;
    case PDU_STUCK:
        return true;
    case PDU_SLOW:
        o->pending = (int)command;
        o->pending_ms = now_ms + o->slow_ms;
        return true;
    case PDU_REFUSE:
        return false;
    }
    CHECK_UNREACHABLE();
}

uint64_t pdu_outlets_due(struct pdu *p, uint64_t now_ms)
{
    uint64_t next_ms = 0;

    for (size_t i = 0; i < p->n_outlets; i++) {
        struct pdu_outlet *o = &p->outlets[i];

        if (o->pending_ms != 0 && now_ms >= o->pending_ms) {
            o->pending_ms = 0;
            carry_out(p, i, o->pending);
        }
        if (o->pending_ms != 0 && (next_ms == 0 || o->pending_ms < next_ms)) {
            next_ms = o->pending_ms;
        }
    }
    reap_answers();
    return next_ms;
}
