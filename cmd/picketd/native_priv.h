#ifndef CMD_PICKETD_NATIVE_PRIV_H
#define CMD_PICKETD_NATIVE_PRIV_H

/* What native*.c share.  Nobody else includes it. */

#include <sys/queue.h>

#include "api/native_codec.h"
#include "cmd/picketd/native.h"

#define NATIVE_CONN_MAGIC 0x9a71bec0U
#define NATIVE_WORK_MAGIC 0x9a71be30U

#define NATIVE_CONNS_MAX 4096U
/* A connection's window: when more is under way, nothing further is read from it. */
#define NATIVE_WINDOW_REQUESTS 4096U
#define NATIVE_WINDOW_BYTES (32U << 20)
#define NATIVE_WATCHES_MAX 4096U     /* of a connection, object watches included */
#define NATIVE_QUEUE_HIGH (1U << 20) /* unsent bytes: watches wait, nothing further is read */
#define NATIVE_IDLE_MS 120000U       /* without a request or a watch */
#define NATIVE_STUCK_MS 60000U       /* a client that takes nothing while bytes wait */
#define NATIVE_MARK_MS 5000U         /* between two progress marks */

struct native_conn;

/* A request under way, or a watch. */
struct native_work {
    unsigned magic;
    struct native_conn *conn; /* NULL: the client is gone, nobody wants the answer */
    struct node *node;
    uint64_t id;
    size_t bytes;  /* that it counts for in the window */
    bool watching; /* it stays when it was answered: in conn->watches, not in the window */
    LIST_ENTRY(native_work) entry;
    /* RANGE: a copy of the request. */
    struct arena arena;
    struct native_req req;
    /* KEEPALIVE, TTL. */
    struct rep_req call;
    uint64_t lease;
    uint64_t ttl; /* GRANT */
    /* OBJECT. */
    struct http_req *http;
    /* WATCH. */
    struct store_watch *watch;
    uint32_t flags;
    bool dirty;
    TAILQ_ENTRY(native_work) turn; /* in native->dirty */
};

LIST_HEAD(native_works, native_work);

struct native_conn {
    unsigned magic;
    struct native *server;
    struct stream *stream; /* NULL: closed */
    struct stream_peer peer;
    char remote[64];
    struct buf in;
    struct native_works works;   /* in the window */
    struct native_works watches; /* not in it */
    size_t n_works, n_watches, held;
    bool paused, full, reading, closing;
    uint64_t seen_ms; /* the last frame, or the last end of a request */
    size_t queued;    /* unsent bytes when they were looked at last */
    uint64_t moved_ms;
    LIST_ENTRY(native_conn) link;
};

struct native {
    struct node *node;
    LIST_HEAD(, native_conn) conns;
    size_t n_conns;
    TAILQ_HEAD(native_dirty, native_work) dirty; /* watches with something to pull */
    size_t n_dirty;
    uv_idle_t turn;
    uv_timer_t timer;
    unsigned ticks;
    struct buf out; /* scratch: frames on their way into a stream */
    /* The events of the last watch that was served, so that equal ones are encoded once; valid
     * within one turn (native_watch.c). */
    struct kv_event *events;
    size_t n_events, cap_events;
    struct kv_event *last;
    size_t n_last, cap_last;
    uint32_t last_flags;
    struct buf last_body;
};

/* native.c */
/* Serve dirty watches and connections that may be read again, in the next turn of the loop. */
void native_turn_soon(struct native *s);
struct native_work *native_work_new(struct native_conn *c, uint64_t id, size_t bytes);
/* Over: gives its window back and frees it. */
void native_work_done(struct native_work *w);
/* It stays, outside of the window; false: there are too many, and it was answered. */
bool native_work_watch(struct native_work *w);
/* Send whole frames. */
void native_send(struct native_conn *c, const struct buf *frames);
/* Encode and send; the work goes on. */
void native_say(struct native_work *w, struct native_ans *a);
/* The same, and the end of it. */
void native_answer(struct native_work *w, struct native_ans *a);
void native_fail(struct native_work *w, const struct err *err);
static inline bool native_blocked(const struct native_conn *c)
{
    return c->closing || stream_queued(c->stream) > NATIVE_QUEUE_HIGH;
}

/* native_kv.c: everything but WATCH and OBJECT. */
void native_kv(struct native_work *w, const struct native_req *req, const void *frame, size_t len);
/* A key of the client in our key space. */
struct bytes native_key(struct arena *a, struct native_bytes b);
struct bytes native_range_end(struct arena *a, struct native_bytes end);
struct native_kv native_kv_of(const struct kv *v);

/* native_watch.c */
void native_watch(struct native_work *w, const struct native_req *req);
void native_watch_stop(struct native_work *w); /* without a word */
void native_watch_turn(struct native *s);      /* serve those that are dirty */
void native_watch_dirty(struct native_work *w);
void native_watch_mark(struct native_work *w);

/* native_object.c */
void native_object(struct native_work *w, const struct native_req *req);

#endif
