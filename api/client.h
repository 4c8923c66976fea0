#ifndef API_CLIENT_H
#define API_CLIENT_H

/* The client of our own API: what the agent, the command line and `picket dev` stand on.
 *
 * Configuration is a kubeconfig file, so that kubectl and picket share one; several servers are
 * our extension (see api_config_load).  All on the loop's thread.
 */

#include <jansson.h>
#include <uv.h>

#include "api/http_client.h"

#define API_PREFIX "/apis/picket/v1"

struct api_config {
    char **servers; /* "HOST:PORT" or "unix:PATH" */
    size_t n_servers;
    struct tls_ctx *tls; /* NULL: all servers are unix sockets or plain http:// */
    char *cluster_id;    /* from the extension, or NULL */
    char *user;          /* name of the user entry */
    char *context;       /* name of the context in use */
};

/* Read a kubeconfig: current-context, its cluster (server, certificate-authority[-data]) and its
 * user (client-certificate[-data], client-key[-data]); file names are relative to the file.
 * More servers stand in the cluster entry:
 *   extensions: [{name: picket, extension: {servers: "https://a:7443,https://b:7443",
 *                                           cluster: UUID}}]
 * `path` NULL: $PICKETCONFIG, then the first of $KUBECONFIG, then ~/.picket/config, then
 * /etc/picket/admin.conf.  `context` NULL: current-context.
 * Host names are resolved here, once (blocking), unless there is an address map.
 * ERR_NOT_FOUND, ERR_INVALID (says line, what and why), ERR_DENIED (key file unreadable),
 * ERR_UNREACHABLE (no name of a server is known). */
int api_config_load(const char *path, const char *context, struct api_config **ret,
                    struct err *err) ERR_USED;
/* The same from parts: servers is comma-separated; files NULL for plain or unix sockets. */
int api_config_make(const char *servers, const char *cert, const char *key, const char *ca,
                    const char *cluster_id, struct api_config **ret, struct err *err) ERR_USED;
void api_config_free(struct api_config *cfg); /* NULL is fine */
/* Write a kubeconfig with the files embedded, mode 0600, replacing atomically what was there. */
int api_config_write(const char *path, const char *name, const char *servers, const char *cert,
                     const char *key, const char *ca, const char *cluster_id,
                     struct err *err) ERR_USED;

struct api_client;

/* The configuration is copied; servers must show a certificate of role "picket:voters". */
int api_client_new(uv_loop_t *loop, const struct api_config *cfg, struct api_client **ret,
                   struct err *err) ERR_USED;
void api_client_close(struct api_client *c, void (*on_closed)(void *ctx), void *ctx);
struct http_client *api_client_http(struct api_client *c);
/* Texts of `Warning:` headers of any answer. */
void api_client_on_warning(struct api_client *c, void (*fn)(void *ctx, const char *text),
                           void *ctx);

/* One operation.  Path: target, or /apis/picket/v1/PLURAL[/NAME][/SUB] with `query` behind '?'. */
struct api_op {
    const char *method; /* GET POST PUT PATCH DELETE */
    const char *target; /* a whole path with query; NULL: made of the next four */
    const char *plural;
    const char *name;         /* NULL: the collection */
    const char *sub;          /* "status", or NULL */
    const char *query;        /* escaped, or NULL */
    const char *content_type; /* NULL: application/json */
    const json_t *body;       /* NULL: none; only during the call */
    const char *accept;       /* NULL: application/json */
    uint64_t timeout_ms;      /* 0: 30 s */
    bool repeatable;          /* see http_client.h */
    uint64_t patience_ms;     /* see http_client.h */
    /* Header Picket-Request-Id: the server executes a write with one id once.  NULL: api_run makes
     * one for writes of objects and applies; api_start sends none. */
    const char *request_id;
};

/* Either err or obj is NULL; obj is the callback's to json_incref when it wants to keep it (NULL
 * too when the answer had no body).  An answer that is not 2xx becomes an error: the code from the
 * HTTP_ERROR_HEADER or the Status' reason, its message as the message, the HTTP status as native
 * ("http"). */
typedef void api_cb(void *data, const struct err *err, json_t *obj);

struct http_call *api_start(struct api_client *c, const struct api_op *op, api_cb *cb, void *data);
void api_cancel(struct http_call *http);
/* Run the client's loop until the operation is over: for programs that do nothing else meanwhile. A
 * write with a request id whose outcome is unknown is repeated, for half a minute at most.
 * *ret_obj (may be NULL) is the caller's reference. */
int api_run(struct api_client *c, const struct api_op *op, json_t **ret_obj,
            struct err *err) ERR_USED;

/* Shorthands of api_start. */
struct http_call *api_get(struct api_client *c, const char *plural, const char *name, api_cb *cb,
                          void *data);
struct http_call *api_list(struct api_client *c, const char *plural, const char *query, api_cb *cb,
                           void *data);
struct http_call *api_create(struct api_client *c, const char *plural, const json_t *obj,
                             api_cb *cb, void *data);
/* Replace; `sub` "status" or NULL.  The resourceVersion in obj makes it conditional. */
struct http_call *api_update(struct api_client *c, const char *plural, const char *name,
                             const char *sub, const json_t *obj, api_cb *cb, void *data);
/* `content_type`: application/merge-patch+json, application/json-patch+json or
 * application/apply-patch+yaml (then query "fieldManager=..."). */
struct http_call *api_patch(struct api_client *c, const char *plural, const char *name,
                            const char *sub, const char *content_type, const char *query,
                            const json_t *patch, api_cb *cb, void *data);
/* `options` is a DeleteOptions object or NULL. */
struct http_call *api_delete(struct api_client *c, const char *plural, const char *name,
                             const json_t *options, api_cb *cb, void *data);

/* The error of one part of an answer: {error: "ERR_...", message}. */
int api_error_from_item(const json_t *item, struct err *err);

/* Turn an answer that is not 2xx into an error, from its Status body if it has one. */
int api_error_from_reply(const struct http_reply *reply, struct err *err);

enum api_event { API_ADDED, API_MODIFIED, API_DELETED };

/* The same from a Status object, as it comes in a watch. */
int api_error_from_status(const json_t *status, struct err *err);

/* A reflector: list, then watch from the list's resourceVersion, for ever.
 * After each list comes on_sync_begin, on_object(ADDED) for everything that exists, on_synced: who
 * keeps a copy drops at on_synced what was not named since on_sync_begin.  Then single changes.
 * After a reconnect a change may be named a second time with the same resourceVersion.
 * It lists again only when the server forgot the version (410) or the stream made no sense;
 * otherwise it reconnects where it was, with a back-off of 50 ms to 2 s with jitter, on another
 * endpoint if need be.  4 s without even a bookmark count as a dead connection.  A server that is
 * behind the newest resourceVersion seen is refused (safety.md 2). */
struct api_watch;

struct api_watch_cbs {
    void (*on_sync_begin)(void *data);                               /* may be NULL */
    void (*on_object)(void *data, enum api_event type, json_t *obj); /* obj is borrowed */
    void (*on_synced)(void *data);                                   /* may be NULL */
    void (*on_disconnected)(void *data, const struct err *err);      /* may be NULL */
    void (*on_connected)(void *data); /* the watch stream is open (again); may be NULL */
};

struct api_watch *api_watch_new(struct api_client *c, const char *plural,
                                const struct api_watch_cbs *cbs, void *data);
/* The same with a selector or other list options ("labelSelector=..."), escaped; NULL: none. */
struct api_watch *api_watch_query(struct api_client *c, const char *plural, const char *query,
                                  const struct api_watch_cbs *cbs, void *data);
void api_watch_free(struct api_watch *w); /* also from its callbacks; none comes any more */
/* Has everything been listed, and is the stream up?  The newest resourceVersion seen ("" none). */
bool api_watch_synced(const struct api_watch *w);
const char *api_watch_version(const struct api_watch *w);

#endif
