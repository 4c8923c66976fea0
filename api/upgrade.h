#ifndef API_UPGRADE_H
#define API_UPGRADE_H

/* Open a connection to an API server and agree on another protocol than HTTP on it.
 *
 * Exactly one of the two callbacks comes, later, unless it was cancelled.  All on the loop's
 * thread.
 */

#include <uv.h>

#include "base/stream.h"

struct upgrade;

struct upgrade_opts {
    const char *address;   /* as for stream_connect */
    struct tls_ctx *tls;   /* NULL: plain */
    const char *want_role; /* NULL: any */
    const char *target;    /* path and query, escaped */
    const char *protocol;  /* of `Upgrade:` */
    uint64_t timeout_ms;   /* for everything; 0: 5 s */
    size_t low_mark;       /* of the stream */
};

struct upgrade_cbs {
    /* Agreed.  The stream is the callee's from now on (it sets its own callbacks and data); `rest`
     * came behind the answer. */
    void (*on_open)(void *data, struct stream *s, const uint8_t *rest, size_t len);
    /* ERR_UNREACHABLE, ERR_TIMEOUT, or what the server answered instead. */
    void (*on_fail)(void *data, const struct err *err);
};

/* Everything is copied. */
int upgrade_open(uv_loop_t *loop, const struct upgrade_opts *opts, const struct upgrade_cbs *cbs,
                 void *data, struct upgrade **ret, struct err *err) ERR_USED;
void upgrade_cancel(struct upgrade *u); /* no callback comes any more */

#endif
