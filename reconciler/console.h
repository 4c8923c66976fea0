#ifndef RECONCILER_CONSOLE_H
#define RECONCILER_CONSOLE_H

/* The consoles of this host's guests, for people who ask some picketd for one.
 *
 * The agent listens nowhere: it keeps one idle connection to every picketd, and a picketd that is
 * asked for a console takes the one that it has
 * (docs/decisions/0016-consoles-are-dialled-by-the-agent.md).  A guest has one console, which one
 * person has at a time.  Reading from a terminal stops while the person's side is slow; writing to
 * it, while the guest does not read.  Nothing here touches a guest's state. All on the loop's
 * thread.
 */

#include <uv.h>

#include "api/console_codec.h"
#include "base/stream.h"

struct console_srv;

/* Where a guest's console is now. */
struct console_where {
    char tty[64];
    char uid[64]; /* of the VirtualMachine */
    int64_t id;   /* of the domain: another one is another guest */
};

struct console_opts {
    uv_loop_t *loop;
    const char *host;
    const char *const *endpoints; /* of picketds */
    size_t n_endpoints;
    struct tls_ctx *tls; /* NULL: plain (tests) */
    /* 0, or why there is none: ERR_NOT_FOUND and ERR_REFUSED for good, ERR_TIMEOUT for now. */
    int (*where)(void *ctx, const char *vm, struct console_where *ret, struct err *err);
    void *ctx;
};

/* Everything is copied. */
struct console_srv *console_srv_new(const struct console_opts *opts);
/* Sessions end with a word. */
void console_srv_close(struct console_srv *s);
size_t console_srv_sessions(const struct console_srv *s);

/* May this be the terminal of a guest ("/dev/pts/7")?  What names it comes from a store that others
 * write to, too. */
bool console_tty_ok(const char *path);

#endif
