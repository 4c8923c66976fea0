#ifndef API_NATIVE_CODEC_H
#define API_NATIVE_CODEC_H

/* The messages of the native protocol (docs/native-protocol.md), both directions.
 *
 * A frame is a length (u32, little-endian, of what follows) and one msgpack array.  What was
 * decoded points into the frame, arrays into the arena.  Formats only ever grow at the end of an
 * array.  Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/native_wire.h"
#include "base/arena.h"

#define NATIVE_PROTOCOL "picket/1" /* what Upgrade: says */
#define NATIVE_PATH "/native"
#define NATIVE_VERSION 1U

#define NATIVE_HEAD 4U                    /* bytes of the length */
#define NATIVE_MAX_REQUEST (20U << 20)    /* bytes of a request's array */
#define NATIVE_MAX_ANSWER (64U << 20)     /* of an answer's */
#define NATIVE_MAX_ID (UINT64_C(1) << 53) /* ids of requests are 1 to this */
#define NATIVE_MAX_OPS 4096U              /* of a transaction, each list */
#define NATIVE_MAX_KEY 4094U              /* CMD_MAX_KEY without "k/" */
#define NATIVE_MAX_VALUE (1536U << 10)    /* as CMD_MAX_VALUE */
#define NATIVE_MAX_EVENTS 65536U          /* of one message */
#define NATIVE_MAX_KVS (1U << 24)

enum native_call {
    NATIVE_RANGE = 1,     /* then[0]; number: at this revision (0: now) */
    NATIVE_PUT = 2,       /* then[0] */
    NATIVE_DELETE = 3,    /* then[0] */
    NATIVE_TXN = 4,       /* cmps, then, other */
    NATIVE_GRANT = 5,     /* number: lease id (0: any), number2: ttl in s */
    NATIVE_REVOKE = 6,    /* number: lease id */
    NATIVE_KEEPALIVE = 7, /* number: lease id */
    NATIVE_TTL = 8,       /* number: lease id */
    NATIVE_WATCH = 9,     /* key, end, number: first revision (0: from now), flags */
    NATIVE_CANCEL = 10,   /* number: id of the watch or object watch that is to end */
    NATIVE_COMPACT = 11,  /* number: revision */
    NATIVE_STATUS = 12,
    NATIVE_OBJECT = 13,  /* method, target, body: a request to the objects' API */
    NATIVE_SESSION = 14, /* number: which of the client's sessions, below NATIVE_SESSIONS */
    NATIVE_CALL_MAX = 14,
    NATIVE_ONCE = 15, /* on the wire only: in front of another call, see struct native_req */
};
#define NATIVE_SESSIONS 16U /* of one certificate */

enum native_op_kind { NATIVE_OP_PUT, NATIVE_OP_DELETE, NATIVE_OP_GET };

enum native_flag {
    NATIVE_PREV = 1,       /* PUT, DELETE, WATCH: with what was there before */
    NATIVE_KEEP_VALUE = 2, /* PUT: only attach the lease */
    NATIVE_KEEP_LEASE = 4, /* PUT */
    NATIVE_COUNT_ONLY = 8, /* GET */
    NATIVE_KEYS_ONLY = 16, /* GET */
    NATIVE_SERIALIZABLE = 32 /* RANGE: from the local state, which may be behind */,
    NATIVE_NO_PUT = 64,     /* WATCH */
    NATIVE_NO_DELETE = 128, /* WATCH */
    NATIVE_PROGRESS = 256,  /* WATCH: say now and then how far it is */
    NATIVE_FLAGS_ALL = 511,
};

struct native_op {
    enum native_op_kind kind;
    uint32_t flags;
    struct native_bytes key;
    struct native_bytes end; /* DELETE, GET: [key, end); absent: the one key; empty: from key on */
    struct native_bytes value; /* PUT */
    uint64_t lease;            /* PUT */
    uint64_t limit;            /* GET, 0: none */
};

/* Numbers as in store/cmd.h: enum cmp_target, enum cmp_result. */
#define NATIVE_CMP_VALUE 3U
#define NATIVE_CMP_TARGETS 5U
#define NATIVE_CMP_RESULTS 4U

struct native_cmp {
    uint32_t target, result;
    struct native_bytes key, end;
    struct native_bytes value; /* target NATIVE_CMP_VALUE */
    uint64_t number;           /* the others */
};

struct native_req {
    uint64_t id;
    enum native_call call;
    uint64_t session, seq,
        ack; /* session not 0: exactly once; PUT DELETE TXN GRANT REVOKE COMPACT */
    uint32_t flags;
    struct native_cmp *cmps;
    size_t n_cmps;
    struct native_op *then, *other;
    size_t n_then, n_other;
    struct native_bytes key, end;
    uint64_t number, number2;
    struct native_bytes method, target, body; /* OBJECT; no NUL in the first two */
    struct native_op one;                     /* where `then` points to for single operations */
};

enum native_kind {
    NATIVE_HELLO = 0,   /* id 0, the first frame of all: number: version, text: the node's name,
                           number2: requests that may be under way, number3: their bytes */
    NATIVE_RESULT = 1,  /* RANGE PUT DELETE TXN: rev, succeeded, ops */
    NATIVE_ERROR = 2,   /* number: -code (enum err_code), text */
    NATIVE_NUMBERS = 3, /* rev, number, number2: GRANT id, ttl; KEEPALIVE, TTL: left, granted;
                           REVOKE, COMPACT, WATCH: 0, 0 */
    NATIVE_EVENTS = 4,  /* rev, events: all of one revision (more: the rest follows) */
    NATIVE_MARK = 5,    /* WATCH: everything up to rev was delivered */
    NATIVE_END = 6,     /* a watch is over */
    NATIVE_NODE = 7,    /* STATUS: see struct native_node */
    NATIVE_REPLY = 8,   /* OBJECT: number: HTTP status, text: error's name or absent, body */
    NATIVE_PIECE = 9,   /* OBJECT with ?watch: body: one or more whole lines */
    NATIVE_KIND_MAX = 9,
};

struct native_kv {
    struct native_bytes key, value;
    uint64_t create_rev, mod_rev, version, lease;
};

struct native_result {
    enum native_op_kind kind;
    uint64_t count;        /* DELETE: removed; GET: matching (with a limit: at most limit + 1) */
    struct native_kv *kvs; /* GET: found; PUT, DELETE with NATIVE_PREV: what was there */
    size_t n_kvs;
};

struct native_event {
    bool deleted; /* then kv has key and mod_rev only */
    struct native_kv kv;
    bool has_prev;
    struct native_kv prev;
};

struct native_node {
    uint64_t id, leader, term, committed, applied, compact_rev, bytes, count;
};

struct native_ans {
    uint64_t id;
    enum native_kind kind;
    uint64_t rev;
    bool succeeded;
    bool more;
    struct native_result *ops;
    size_t n_ops;
    struct native_event *events;
    size_t n_events;
    uint64_t number, number2, number3;
    struct native_bytes text, body;
    struct native_node node;
};

/* Append one whole frame. */
void native_req_encode(const struct native_req *r, struct buf *out);
void native_ans_encode(const struct native_ans *a, struct buf *out);
void native_error_encode(uint64_t id, const struct err *err, struct buf *out);

/* `data` is the array of one frame, without its head.  Total: what is not a message gives
 * ERR_BAD_REQUEST with what and where; ret->id is set even then if it could be read. */
int native_req_decode(const void *data, size_t len, struct arena *a, struct native_req *ret,
                      struct err *err) ERR_USED;
int native_ans_decode(const void *data, size_t len, struct arena *a, struct native_ans *ret,
                      struct err *err) ERR_USED;
/* The error that an answer of kind NATIVE_ERROR carries. */
void native_ans_err(const struct native_ans *a, struct err *ret);

/* Is a whole frame at the front?  *ret_len its array's length, *ret_whole false when more bytes
 * are needed.  ERR_TOO_LARGE beyond max, ERR_BAD_REQUEST when empty. */
int native_frame(const void *data, size_t len, size_t max, size_t *ret_len, bool *ret_whole,
                 struct err *err) ERR_USED;

#endif
