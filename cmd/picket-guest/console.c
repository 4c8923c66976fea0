/* The console of a dev guest: a pseudo terminal of which the guest itself holds the master, as
 * xenconsoled does for a domain, so that an agent opens /dev/pts/N for both.  What nobody reads
 * fills the terminal's buffer and is then dropped. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/str.h"
#include "cmd/picket-guest/guest.h"

#define FLOOD_MAX (64U << 20)

static void say(struct guest *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct guest *g, const char *fmt, ...)
{
    size_t room = sizeof(g->said) - g->n_said;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(g->said + g->n_said, room, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < room) {
        g->n_said += (size_t)n;
    }
}

static void prompt(struct guest *g)
{
    say(g, "%s> ", g->vm);
}

/* The other end stays open here, or the master would see a hang-up whenever nobody else has it. */
void console_open(struct guest *g)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    struct termios t;
    int other = -1;

    if (fd < 0 || grantpt(fd) != 0 || unlockpt(fd) != 0 ||
        ptsname_r(fd, g->tty, sizeof(g->tty)) != 0 ||
        (other = open(g->tty, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 || tcgetattr(other, &t) != 0) {
        g->tty[0] = '\0';
        return; /* a guest without a console is one, too; what was opened ends with it */
    }
    cfmakeraw(&t);
    (void)tcsetattr(other, TCSANOW, &t);
    g->console_fd = fd;
    say(g, "\r\n%s on %s, incarnation %s, token %s; \"help\" helps\r\n", g->vm, g->host,
        g->incarnation, g->token);
    prompt(g);
}

short console_events(const struct guest *g)
{
    return (short)(POLLIN | (g->n_said > 0 || g->flood > 0 ? POLLOUT : 0));
}

/* A line was typed: what the guest ends for, or NULL. */
static const char *command(struct guest *g)
{
    uint64_t n;

    g->typed[g->n_typed] = '\0';
    g->n_typed = 0;
    say(g, "\r\n");
    if (str_eq(g->typed, "poweroff")) {
        return "GuestPoweroff";
    }
    if (str_eq(g->typed, "reboot")) {
        return "GuestReboot";
    }
    if (str_eq(g->typed, "crash")) {
        return "GuestCrash";
    }
    if (str_eq(g->typed, "help")) {
        say(g, "status, flood BYTES, poweroff, reboot, crash\r\n");
    } else if (str_eq(g->typed, "status")) {
        say(g, "%s on %s, %" PRIu64 " writes\r\n", g->vm, g->host, g->seq);
    } else if (str_starts(g->typed, "flood ") && str_parse_u64(g->typed + 6, &n)) {
        g->flood = n < FLOOD_MAX ? n : FLOOD_MAX;
        g->flooded = 0;
        return NULL; /* the prompt comes behind it */
    } else if (g->typed[0] != '\0') {
        say(g, "%s: not found\r\n", g->typed);
    }
    prompt(g);
    return NULL;
}

static const char *hear(struct guest *g, const char *p, size_t n)
{
    const char *reason = NULL;

    for (size_t i = 0; i < n && reason == NULL; i++) {
        if (p[i] == '\r' || p[i] == '\n') {
            reason = command(g);
        } else if ((p[i] == 0x7f || p[i] == '\b') && g->n_typed > 0) {
            g->n_typed--;
            say(g, "\b \b");
        } else if (p[i] >= ' ' && p[i] < 0x7f && g->n_typed < sizeof(g->typed) - 1) {
            g->typed[g->n_typed++] = p[i];
            say(g, "%c", p[i]);
        }
    }
    return reason;
}

static void flood(struct guest *g)
{
    static const char line[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\r\n";
    const size_t len = sizeof(line) - 1;

    while (g->flood > 0) {
        size_t at = (size_t)(g->flooded % len);
        size_t want = g->flood < len - at ? (size_t)g->flood : len - at;
        ssize_t n = write(g->console_fd, line + at, want);

        if (n <= 0) {
            return;
        }
        g->flood -= (uint64_t)n;
        g->flooded += (uint64_t)n;
        if (g->flood == 0) {
            say(g, "\r\n");
            prompt(g);
        }
    }
}

static void write_said(struct guest *g)
{
    ssize_t n = g->n_said == 0 ? 0 : write(g->console_fd, g->said, g->n_said);

    if (n > 0) {
        memmove(g->said, g->said + n, g->n_said - (size_t)n);
        g->n_said -= (size_t)n;
    }
}

const char *console_step(struct guest *g)
{
    char text[256];
    ssize_t n = read(g->console_fd, text, sizeof(text));
    const char *reason = n > 0 ? hear(g, text, (size_t)n) : NULL;

    write_said(g);
    if (g->n_said == 0) {
        flood(g);
    }
    return reason;
}
