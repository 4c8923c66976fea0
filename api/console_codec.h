#ifndef API_CONSOLE_CODEC_H
#define API_CONSOLE_CODEC_H

/* The frames of a guest's console on its way from the agent through a picketd to a person, all over
 * a connection that began as HTTP (`Upgrade: picket-console/1`).
 *
 * A frame is its type (one byte), the length of what follows (two bytes, big-endian) and that.
 * docs/decisions/0016-consoles-are-dialled-by-the-agent.md tells who sends what.  Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define CONSOLE_PROTOCOL "picket-console/1"
#define CONSOLE_HEAD 3U
#define CONSOLE_PAYLOAD_MAX 8192U
#define CONSOLE_ESCAPE 0x1dU /* ^], as in `xl console` and telnet */

enum console_frame {
    CONSOLE_OPEN = 1,   /* picketd to agent: struct console_open */
    CONSOLE_OPENED = 2, /* agent to person: the name of the terminal, as text */
    CONSOLE_DATA = 3,   /* both ways */
    CONSOLE_END = 4,    /* to person: why it is over, or was not opened; nothing follows */
    CONSOLE_PING = 5,   /* any: nothing; answered with PONG */
    CONSOLE_PONG = 6,
    CONSOLE_FRAME_MAX = 6,
};

/* Which console, for whom. */
struct console_open {
    char vm[256], uid[64];
    char by[200];  /* "picket:operators \"ann\"", for the one who comes second */
    char via[128]; /* the picketd that asks */
    bool take;     /* away from whoever has it */
};

void console_put(struct buf *b, enum console_frame type, const void *data, size_t len);
void console_put_open(struct buf *b, const struct console_open *o);
void console_put_end(struct buf *b, const struct err *err);

/* The first frame of [p, len).  *ret_used 0: it is not whole yet.  ERR_BAD_REQUEST: this is not the
 * protocol. */
int console_get(const uint8_t *p, size_t len, enum console_frame *ret_type,
                const uint8_t **ret_data, size_t *ret_len, size_t *ret_used,
                struct err *err) ERR_USED;
/* ERR_BAD_REQUEST. */
int console_get_open(const uint8_t *p, size_t len, struct console_open *ret,
                     struct err *err) ERR_USED;
/* Always gives an error. */
void console_get_end(const uint8_t *p, size_t len, struct err *ret);

#endif
