/* POST /v3/watch: a stream of {"result": WatchResponse}, one a line.  As behind etcd's gateway the
 * request body holds the create_request; the stream ends with the connection. */

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/v3.h"

#define BATCH_MAX 256
#define PROGRESS_MS 10000U

struct v3_watcher {
    struct rest *r;
    struct store_watch *w;
    uv_async_t wake;
    uv_timer_t timer;
    struct v3_watch q; /* its bytes are valid until the watch has begun */
    bool blocked, ended;
    unsigned closing;
};

static void freed(uv_handle_t *h)
{
    struct v3_watcher *w = h->data;

    if (--w->closing == 0) {
        rest_free(w->r);
        free(w);
    }
}

static void finish(struct v3_watcher *w)
{
    if (w->ended) {
        return;
    }
    w->ended = true;
    store_watch_free(w->w);
    w->r->node->watches--;
    http_stream_end(w->r->req);
    w->closing = 2;
    uv_close((uv_handle_t *)&w->wake, freed);
    uv_close((uv_handle_t *)&w->timer, freed);
}

static void on_abort(struct http_req *req)
{
    finish(req->data);
}

static void send_result(struct v3_watcher *w, json_t *result)
{
    json_t *line = json_pack("{s:o}", "result", result);
    char *text = json_dumps(line, JSON_COMPACT);
    size_t n = strlen(text);

    text[n] = '\n';
    w->blocked = !http_stream_write(w->r->req, text, n + 1);
    free(text);
    json_decref(line);
}

static json_t *result_head(struct v3_watcher *w, uint64_t rev)
{
    json_t *j = json_pack("{s:o}", "header", v3_header(w->r->node, rev));

    v3_set_u64(j, "watch_id", w->q.id);
    return j;
}

static void compacted(struct v3_watcher *w)
{
    json_t *j = result_head(w, store_rev(w->r->node->store));

    (void)json_object_set_new(j, "canceled", json_true());
    v3_set_u64(j, "compact_revision", store_compact_rev(w->r->node->store));
    send_result(w, j);
    finish(w);
}

static json_t *event_json(const struct v3_watcher *w, const struct kv_event *ev)
{
    json_t *j = json_object();

    if (ev->type == KV_DELETE) {
        (void)json_object_set_new(j, "type", json_string("DELETE"));
        (void)json_object_set_new(j, "kv", v3_kv(ev->key, ev->klen, NULL, 0, 0, ev->rev, 0, 0));
    } else {
        const struct kv *v = ev->kv;

        (void)json_object_set_new(j, "kv",
                                  v3_kv(kv_key(v), v->klen, kv_value(v), v->vlen, v->create_rev,
                                        v->mod_rev, v->version, v->lease));
    }
    if (w->q.prev_kv && ev->prev != NULL) {
        const struct kv *v = ev->prev;

        (void)json_object_set_new(j, "prev_kv",
                                  v3_kv(kv_key(v), v->klen, kv_value(v), v->vlen, v->create_rev,
                                        v->mod_rev, v->version, v->lease));
    }
    return j;
}

/* All events of one revision go into one response. */
static void flush(struct v3_watcher *w, json_t **events, uint64_t rev)
{
    if (json_array_size(*events) > 0) {
        json_t *j = result_head(w, rev);

        (void)json_object_set_new(j, "events", *events);
        send_result(w, j);
        *events = json_array();
    }
}

static void pump(struct v3_watcher *w)
{
    json_t *events = json_array();
    struct kv_event ev;
    struct err err;
    uint64_t rev = 0;
    int rc = 0;

    for (int i = 0; i < BATCH_MAX; i++) {
        rc = store_watch_next(w->w, &ev, &err);
        if (rc != 1) {
            break;
        }
        if (ev.rev != rev) {
            flush(w, &events, rev);
            rev = ev.rev;
        }
        if (!(ev.type == KV_PUT ? w->q.no_put : w->q.no_delete)) {
            (void)json_array_append_new(events, event_json(w, &ev));
        }
    }
    flush(w, &events, rev);
    json_decref(events);
    if (rc == 1) {
        (void)uv_async_send(&w->wake);
    } else if (rc != 0) {
        compacted(w);
    }
}

static void on_wake(uv_async_t *h)
{
    struct v3_watcher *w = h->data;

    if (!w->ended && !w->blocked) {
        pump(w);
    }
}

static void store_wake(void *ctx)
{
    struct v3_watcher *w = ctx;

    (void)uv_async_send(&w->wake);
}

static void on_drain(struct http_req *req)
{
    struct v3_watcher *w = req->data;

    w->blocked = false;
    (void)uv_async_send(&w->wake);
}

static void on_timer(uv_timer_t *t)
{
    struct v3_watcher *w = t->data;

    if (!w->ended && !w->blocked && w->q.progress) {
        pump(w);
        if (!w->ended && !w->blocked) {
            send_result(w, result_head(w, store_watch_rev(w->w)));
        }
    }
}

static void watch_start(struct v3_watcher *w)
{
    const struct v3_watch *q = &w->q;
    struct node *n = w->r->node;
    json_t *j;

    w->wake.data = w;
    w->timer.data = w;
    CHECK(uv_async_init(n->loop, &w->wake, on_wake) == 0);
    CHECK(uv_timer_init(n->loop, &w->timer) == 0);
    CHECK(uv_timer_start(&w->timer, on_timer, PROGRESS_MS, PROGRESS_MS) == 0);
    w->r->req->data = w;
    w->r->req->on_abort = on_abort;
    w->r->req->on_drain = on_drain;
    n->watches++;
    w->w = store_watch_new(n->store, q->key.p, q->key.n, q->end.p, q->end.n,
                           q->from == 0 ? store_rev(n->store) + 1 : q->from, store_wake, w);
    http_stream_begin(w->r->req, 200, "application/json", NULL, 0);
    j = result_head(w, store_rev(n->store));
    (void)json_object_set_new(j, "created", json_true());
    send_result(w, j);
    if (q->from != 0 && q->from <= store_compact_rev(n->store)) {
        compacted(w);
    } else {
        (void)uv_async_send(&w->wake);
    }
}

void v3_watch_request(struct rest *r)
{
    struct v3_watcher *w = OBJ_NEW(struct v3_watcher);
    struct arena a = { 0 };
    struct err err;

    w->r = r;
    if (v3_watch_decode(r->body, &a, &w->q, &err) != 0) {
        v3_err(r, &err);
        free(w);
    } else {
        watch_start(w);
    }
    arena_done(&a);
}
