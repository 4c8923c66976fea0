/* Asking all members of the cluster at once. */

#include "cmd/picket/cli.h"

#include <stdlib.h>

#include "api/valid.h"
#include "base/obj.h"

#define PICK_MS 1500

struct member_call {
    struct members *all;
    struct api_client *client;
    struct http_call *call; /* NULL: over */
    size_t i;
};

struct members {
    struct member_call *calls;
    size_t left;
    void (*on_done)(void *ctx, size_t i, const struct err *err, json_t *obj);
    void *ctx;
};

static void member_done(void *data, const struct err *err, json_t *obj)
{
    struct member_call *m = data;

    m->call = NULL;
    m->all->left--;
    m->all->on_done(m->all->ctx, m->i, err, obj);
}

static void member_start(struct cli *c, struct member_call *m, const char *target,
                         uint64_t timeout_ms)
{
    struct api_op op = { .method = "GET", .target = target, .timeout_ms = timeout_ms };
    struct api_config one = *c->cfg;
    struct err err = { 0 };

    one.servers = &c->cfg->servers[m->i];
    one.n_servers = 1;
    m->all->left++;
    if (api_client_new(&c->loop, &one, &m->client, &err) != 0) {
        member_done(m, &err, NULL);
        return;
    }
    m->call = api_start(m->client, &op, member_done, m);
}

void cli_ask_members(struct cli *c, const char *target, uint64_t timeout_ms,
                     void (*on_done)(void *ctx, size_t i, const struct err *err, json_t *obj),
                     bool (*stop)(void *ctx), void *ctx)
{
    size_t n = c->cfg->n_servers;
    struct members all = { .on_done = on_done, .ctx = ctx };

    all.calls = mem_alloc((n + 1) * sizeof(all.calls[0]));
    for (size_t i = 0; i < n; i++) {
        all.calls[i].all = &all;
        all.calls[i].i = i;
        member_start(c, &all.calls[i], target, timeout_ms);
    }
    while (all.left > 0 && (stop == NULL || !stop(ctx))) {
        (void)uv_run(&c->loop, UV_RUN_ONCE);
    }
    for (size_t i = 0; i < n; i++) {
        if (all.calls[i].client != NULL) {
            api_client_close(all.calls[i].client, NULL, NULL); /* what is under way ends silently */
        }
    }
    free(all.calls);
}

struct pick {
    bool *answered; /* one for each member */
    bool found;
    size_t quorate; /* the first that knows a leader, if found */
};

static void pick_done(void *ctx, size_t i, const struct err *err, json_t *obj)
{
    struct pick *p = ctx;

    p->answered[i] = err == NULL;
    if (err == NULL && !p->found && jget_bool(obj, "quorate", false)) {
        p->found = true;
        p->quorate = i;
    }
}

static bool pick_found(void *ctx)
{
    return ((struct pick *)ctx)->found;
}

static void swap(char **servers, size_t a, size_t b)
{
    char *s = servers[a];

    servers[a] = servers[b];
    servers[b] = s;
}

/* Those that answered come first, and are the only ones that are asked further. */
static void keep_answered(struct cli *c, const bool *answered)
{
    size_t n = 0;

    for (size_t i = 0; i < c->cfg->n_servers; i++) {
        if (answered[i]) {
            swap(c->cfg->servers, n++, i);
        }
    }
    for (size_t i = n; n > 0 && i < c->cfg->n_servers; i++) {
        free(c->cfg->servers[i]);
    }
    c->cfg->n_servers = n > 0 ? n : c->cfg->n_servers;
}

void cli_pick_server(struct cli *c)
{
    struct pick p = { 0 };

    if (c->cfg->n_servers < 2) {
        return;
    }
    p.answered = mem_alloc(c->cfg->n_servers * sizeof(p.answered[0]));
    cli_ask_members(c, "/cluster", PICK_MS, pick_done, pick_found, &p);
    if (p.found) {
        swap(c->cfg->servers, 0, p.quorate);
    } else {
        keep_answered(c, p.answered);
    }
    free(p.answered);
}
