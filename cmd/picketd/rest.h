#ifndef CMD_PICKETD_REST_H
#define CMD_PICKETD_REST_H

/* The API of this picketd: routing, and what the handlers share.  Handlers answer their request
 * exactly once; the context lives until then.
 */

#include "api/http_server.h"
#include "api/valid.h"
#include "cmd/picketd/node.h"

/* http_server's on_request; ctx is the node. */
void rest_request(void *ctx, struct http_req *req);

struct rest {
    struct node *node;
    struct http_req *req;
    const struct kind *k; /* NULL for paths outside the kinds */
    char name[256];       /* "" for a collection */
    char sub[32];         /* "status", an operation, or "" */
    json_t *body;         /* parsed body, owned; NULL until needed */
    bool dry_run;
    struct actor actor; /* of an operation on a host: as whom it enters the log */
    unsigned tries;
    uint64_t until_ms;             /* of the last try, 0: none failed yet */
    void (*after)(struct rest *r); /* runs after the read point */
    struct change *changes;        /* of writes */
    size_t n_changes;
    struct problems problems;
    void *op;          /* of the handler */
    char request[128]; /* key of the request's record, "": no id was given (request.h) */
};

void rest_free(struct rest *r);
/* Answer and free. */
void rest_json(struct rest *r, int status, json_t *obj); /* steals obj */
void rest_err(struct rest *r, const struct err *err);
/* Run `after` once the local state is linearizable (or answer with the error). */
void rest_read_then(struct rest *r, void (*after)(struct rest *r));
/* The transaction failed since something was changed meanwhile: run `after` once more, in a moment.
 * False: it was tried for long enough. */
bool rest_again(struct rest *r);
/* Parse the body as JSON (or YAML by content type) into r->body; false: answered. */
bool rest_body(struct rest *r);
bool rest_wants_table(const struct rest *r);
void rest_warn(struct rest *r, const char *text);

/* Handlers. */
void rest_get(struct rest *r);
void rest_list(struct rest *r);
void rest_watch(struct rest *r);
void rest_create(struct rest *r);
void rest_update(struct rest *r);
void rest_patch(struct rest *r);
void rest_delete(struct rest *r);
void rest_apply(struct rest *r);
void rest_plan(struct rest *r);
void rest_host_op(struct rest *r);
void rest_cluster_view(struct rest *r);
void rest_metrics(struct rest *r);

#endif
