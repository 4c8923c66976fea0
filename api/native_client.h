#ifndef API_NATIVE_CLIENT_H
#define API_NATIVE_CLIENT_H

/* A client of the native protocol: one connection to one member, any number of calls on it.
 *
 * Calls are sent at once and answered in any order.  There are no time-outs here but for the
 * opening: a caller that has waited long enough closes the client.  When the connection ends,
 * every open call gets ERR_UNKNOWN_OUTCOME (ERR_UNREACHABLE before the connection was open), then
 * on_end comes; going on to another member is the caller's decision.  All on the loop's thread; no
 * callback runs before the call that started it has returned, and none after native_client_close.
 */

#include <uv.h>

#include "api/native_codec.h"
#include "base/stream.h"

struct native_client;

struct native_client_opts {
    const char *address;   /* as stream_connect wants it: "A.B.C.D:PORT", "unix:PATH" */
    struct tls_ctx *tls;   /* NULL: plain */
    const char *want_role; /* role in the server's certificate; NULL: any */
    uint64_t connect_ms;   /* until the protocol is agreed; 0: 5 s */
};

struct native_client_cbs {
    /* May be NULL.  `hello` is the member's first message. */
    void (*on_open)(void *data, const struct native_ans *hello);
    /* It did not open, or is over: close the client (from here, too). */
    void (*on_end)(void *data, const struct err *err);
};

int native_client_open(uv_loop_t *loop, const struct native_client_opts *opts,
                       const struct native_client_cbs *cbs, void *data, struct native_client **ret,
                       struct err *err) ERR_USED;
/* No callback comes any more; the memory goes when the loop has closed the handles. */
void native_client_close(struct native_client *c);

/* Either err (also for NATIVE_ERROR answers) or ans is NULL; both only during the call.  For a
 * watch (NATIVE_WATCH, NATIVE_OBJECT with ?watch) it comes again and again, until err or
 * NATIVE_END. */
typedef void native_ans_cb(void *data, const struct err *err, const struct native_ans *ans);

/* Everything of req is copied, its id is chosen here and returned (for NATIVE_CANCEL).  Calls made
 * before on_open are sent then. */
uint64_t native_client_call(struct native_client *c, const struct native_req *req,
                            native_ans_cb *cb, void *data);
/* Shorthands. */
uint64_t native_client_put(struct native_client *c, struct native_bytes key,
                           struct native_bytes value, native_ans_cb *cb, void *data);
uint64_t native_client_get(struct native_client *c, struct native_bytes key, bool serializable,
                           native_ans_cb *cb, void *data);

/* Calls that wait for an answer, watches included. */
size_t native_client_pending(const struct native_client *c);
/* Stop reading (back-pressure), or go on. */
void native_client_pause(struct native_client *c, bool paused);

#endif
