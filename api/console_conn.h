#ifndef API_CONSOLE_CONN_H
#define API_CONSOLE_CONN_H

/* One end of a connection that carries a console (console_codec.h): whole frames in, whole frames
 * out, within bounds, and the news that the other end is gone, also when it does not say so.
 *
 * Whoever feeds it stops when console_conn_send says so and goes on at on_room: then no more than
 * CONSOLE_HIGH bytes and what was read at once wait here, however slow the reader is.
 * All on the loop's thread.
 */

#include <uv.h>

#include "api/console_codec.h"
#include "base/stream.h"

#define CONSOLE_HIGH (512U << 10) /* above the low mark of any stream that is given to us */
#define CONSOLE_LOW (64U << 10)   /* for one that is dialled */
#define CONSOLE_PING_MS 10000U
#define CONSOLE_SILENCE_MS 35000U /* nothing came, or nothing was taken */

struct console_conn;

struct console_conn_cbs {
    void (*on_frame)(void *data, enum console_frame type, const uint8_t *p, size_t len);
    /* The other end is gone, stuck, or does not speak the protocol; once.  Close it. */
    void (*on_end)(void *data, const struct err *err);
    void (*on_room)(void *data); /* may be NULL */
};

/* The stream is the connection's from now on.  `rest` came with what opened it; its frames are
 * delivered in the next turn of the loop. */
struct console_conn *console_conn_new(uv_loop_t *loop, struct stream *s, const uint8_t *rest,
                                      size_t len, const struct console_conn_cbs *cbs, void *data);
/* Hand it on, from a callback too. */
void console_conn_own(struct console_conn *c, const struct console_conn_cbs *cbs, void *data);
/* False: full.  What was given is sent all the same, unless the other end is gone already. */
bool console_conn_send(struct console_conn *c, enum console_frame type, const void *p, size_t len);
bool console_conn_send_open(struct console_conn *c, const struct console_open *o);
/* Say why, and close. */
void console_conn_refuse(struct console_conn *c, const struct err *err);
void console_conn_pause(struct console_conn *c,
                        bool paused);            /* frames wait, silence is not judged */
void console_conn_close(struct console_conn *c); /* sends what waits; no callback comes any more */
const struct stream *console_conn_stream(const struct console_conn *c);

#endif
