#ifndef CMD_PICKETD_V3_H
#define CMD_PICKETD_V3_H

/* The raw key space in the JSON form of etcd 3.4's gateway (etcd: api_grpc_gateway.md, rpc.proto),
 * so that programs written against it run unchanged.  Its keys are k/<bytes>; nothing else can be
 * read or written through it.  64-bit numbers are strings, keys and values base64, fields that are
 * zero are left out.
 */

#include "cmd/picketd/rest.h"

/* Paths below /v3/. */
void v3_request(struct rest *r, const char *path);

/* --- shared by v3*.c --- */

/* A field by its proto name ("range_end") or its JSON name ("rangeEnd"). */
const json_t *v3_get(const json_t *obj, const char *name);
int v3_u64(const json_t *obj, const char *name, uint64_t *ret, struct err *err) ERR_USED;
bool v3_bool(const json_t *obj, const char *name);
/* An enum by its name or number; names ends with NULL. */
int v3_enum(const json_t *obj, const char *name, const char *const *names, unsigned *ret,
            struct err *err) ERR_USED;
/* base64 bytes; absent gives p == NULL. */
int v3_bytes(const json_t *obj, const char *name, struct arena *a, struct bytes *ret,
             struct err *err) ERR_USED;
/* key and range_end in our key space; *ret_end.p is NULL for a single key. */
int v3_range(const json_t *obj, struct arena *a, struct bytes *ret_key, struct bytes *ret_end,
             struct err *err) ERR_USED;
void v3_set_u64(json_t *obj, const char *name, uint64_t v); /* leaves out 0 */
json_t *v3_header(const struct node *n, uint64_t revision);
json_t *v3_kv(const void *key, size_t klen, const void *value, size_t vlen, uint64_t create,
              uint64_t mod, uint64_t version, uint64_t lease);
/* Answer with etcd's error form. */
void v3_err(struct rest *r, const struct err *err);

/* Commands. */
int v3_txn_decode(const json_t *body, struct arena *a, struct cmd_txn *ret,
                  struct err *err) ERR_USED;
int v3_put_decode(const json_t *body, struct arena *a, struct txn_op *ret,
                  struct err *err) ERR_USED;
int v3_delete_decode(const json_t *body, struct arena *a, struct txn_op *ret,
                     struct err *err) ERR_USED;
int v3_range_decode(const json_t *body, struct arena *a, struct txn_op *ret,
                    struct err *err) ERR_USED;
json_t *v3_answer(const struct txn_answer *ans); /* response_range, ... without header */

/* May this peer use the raw key space?  0, ERR_UNAUTHORIZED or ERR_DENIED. */
int v3_allowed(const struct stream_peer *peer, struct err *err) ERR_USED;

/* The body of a watch. */
struct v3_watch {
    struct bytes key, end; /* a range also for a single key */
    uint64_t from;         /* first revision; 0: from now */
    uint64_t id;
    bool prev_kv, no_put, no_delete, progress;
};
int v3_watch_decode(const json_t *body, struct arena *a, struct v3_watch *ret,
                    struct err *err) ERR_USED;

void v3_watch_request(struct rest *r);
void v3_lease(struct rest *r, const char *path);

#endif
