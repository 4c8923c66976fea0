#ifndef RECONCILER_XEN_MOVE_PRIV_H
#define RECONCILER_XEN_MOVE_PRIV_H

/* Shared by xen_move_uv.c and xen_move_conn.c only; everything on the mover's thread. */

#include <sys/queue.h>
#include <uv.h>

#include "base/stream.h"
#include "reconciler/xen_move.h"
#include "reconciler/xen_move_codec.h"

#define MOVER_MAGIC 0x786d7672U
#define MOVE_MAGIC 0x786d6f76U

enum order { ORDER_BEGIN = 1, ORDER_EOF = 2, ORDER_FINISH = 4, ORDER_END = 8 };

struct xen_move {
    unsigned magic;
    TAILQ_ENTRY(xen_move) link;
    struct xen_mover *m;
    struct xen_hello hello;
    char *peer, *address;
    bool send;
    uint64_t bandwidth;
    /* under the mover's lock */
    unsigned orders; /* of the other thread, not yet followed */
    enum xen_move_state state;
    struct err err;
    bool result_ok;
    char result[256];
    int libxl_fd;
    /* the mover's own */
    int our_fd; /* until the pipe has it */
    uv_pipe_t pipe;
    bool pipe_open, reading, pipe_shut;
    struct stream *s;
    struct xen_frames frames;
    uv_timer_t timer; /* retries, patience, bandwidth */
    uint64_t until_ms;
    uint64_t ahead;            /* receiving: bytes not yet with libxl */
    uint64_t allowed, fill_ms; /* sending: bytes that may go now, since when */
    bool ended;                /* END seen, or sent */
    bool over;                 /* ORDER_END was followed: free it when all is closed */
    unsigned open;             /* handles and streams that are not closed */
    uint8_t chunk[XEN_MOVE_DATA_MAX];
};

struct xen_mover {
    unsigned magic;
    uv_loop_t loop;
    uv_thread_t thread;
    uv_mutex_t lock;
    uv_async_t async;
    TAILQ_HEAD(moves, xen_move) moves;
    bool stop; /* under the lock */
    struct tls_ctx *tls;
    struct listener *listener;
    TAILQ_HEAD(callers, caller) callers; /* connected, and not yet anybody's */
    char *listening;                     /* its address */
    uint64_t patience_ms;
    void (*notify)(void *ctx);
    void *ctx;
};

/* xen_move_uv.c */
void xen_move_state_set(struct xen_move *v, enum xen_move_state st);
void xen_move_fail(struct xen_move *v, const struct err *err);
void xen_move_disconnect(struct xen_move *v, bool flush);
void xen_move_closed(struct xen_move *v); /* one of its handles or streams is */
void xen_move_open_pipe(struct xen_move *v);
int xen_move_send(struct xen_move *v, enum xen_frame type, const void *data, size_t len,
                  struct err *err);
int xen_move_frame(void *ctx, enum xen_frame type, const uint8_t *data, size_t len,
                   struct err *err);
void xen_move_read_more(struct xen_move *v); /* sending: as much as may be sent now */

/* xen_move_conn.c */
void xen_move_connect(struct xen_move *v);
int xen_move_listen(struct xen_mover *m, const char *address, struct err *err) ERR_USED;
void xen_move_stop_listening(struct xen_mover *m);

#endif
