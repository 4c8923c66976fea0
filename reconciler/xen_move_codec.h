#ifndef RECONCILER_XEN_MOVE_CODEC_H
#define RECONCILER_XEN_MOVE_CODEC_H

/* What two agents say to each other while a guest moves: frames of a type, a length and bytes.
 *
 *   source                               target
 *   HELLO {version, vm, uid, migration}
 *                                        OK          somebody waits for this one
 *   DATA ... DATA END                                libxl's stream, in pieces
 *                                        RESULT {ok, message}  whole and paused, or why not
 *
 * RESULT can also come instead of OK: nobody waits for it (yet).  Pure; any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define XEN_MOVE_HEADER 5
#define XEN_MOVE_TEXT_MAX 4096 /* HELLO and RESULT */
#define XEN_MOVE_DATA_MAX 65536
#define XEN_MOVE_VERSION 1

enum xen_frame {
    XEN_FRAME_HELLO = 1,
    XEN_FRAME_OK,
    XEN_FRAME_DATA,
    XEN_FRAME_END,
    XEN_FRAME_RESULT,
};

struct xen_hello {
    char vm[254], uid[64], migration[64];
};

/* Frames out of bytes as they arrive.  A zeroed struct is one that has seen nothing. */
struct xen_frames {
    struct buf pending;
    bool broken;
};

/* The frame's bytes are valid during the call.  Anything but 0 stops the feeding (and is returned).
 */
typedef int xen_frame_cb(void *ctx, enum xen_frame type, const uint8_t *data, size_t len,
                         struct err *err);

/* ERR_CORRUPT: not a frame, or one that is too long; nothing is read after that. */
int xen_frames_feed(struct xen_frames *f, const uint8_t *data, size_t len, xen_frame_cb *cb,
                    void *ctx, struct err *err) ERR_USED;
void xen_frames_done(struct xen_frames *f);

void xen_frame_put(struct buf *out, enum xen_frame type, const void *data, size_t len);
void xen_hello_put(struct buf *out, const struct xen_hello *h);
int xen_hello_get(const uint8_t *data, size_t len, struct xen_hello *ret, struct err *err) ERR_USED;
void xen_result_put(struct buf *out, bool ok, const char *message);
/* 0, ERR_DRIVER with the other side's message, ERR_CORRUPT. */
int xen_result_get(const uint8_t *data, size_t len, struct err *err) ERR_USED;

#endif
