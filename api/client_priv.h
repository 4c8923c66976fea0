#ifndef API_CLIENT_PRIV_H
#define API_CLIENT_PRIV_H

/* What client.c and client_watch.c share.  Nobody else includes it. */

#include <sys/queue.h>

#include "api/client.h"

#define API_CLIENT_MAGIC 0xa91c11e4U

struct api_call;

struct api_client {
    unsigned magic;
    uv_loop_t *loop;
    struct http_client *http;
    LIST_HEAD(, api_call) calls;
    LIST_HEAD(, api_watch) watches;
    size_t n_watches; /* with those whose timer is still being closed */
    bool http_closed;
    void (*on_warning)(void *ctx, const char *text);
    void *warning_ctx;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* Replace host names by addresses, as far as they are known.  ERR_UNREACHABLE: none of them is. */
int api_config_resolve(struct api_config *cfg, struct err *err) ERR_USED;

/* Free it once everything of it is closed. */
void api_client_maybe_free(struct api_client *c);

#endif
