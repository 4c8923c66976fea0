/* Watch streams: one JSON event a line, as Kubernetes does it (API concepts, "Efficient detection
 * of changes").  A stream is a cursor in the store's history; a slow client only holds its own
 * cursor back and gets 410 Expired when it falls out of the ring. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/rest.h"

#define BOOKMARK_MS 5000U
#define NO_LEADER_MS 3000U /* a node that knows no leader for so long sends its watchers away */
#define BATCH_MAX 512

struct watch {
    struct rest *r;
    struct store_watch *w;
    uv_async_t wake;
    uv_timer_t timer;
    bool table, bookmarks, blocked, ended;
    char *labels, *fields;
    uint64_t bookmark_ms;
    uint64_t leaderless_ms; /* since when, 0: there is a leader */
    uint64_t end_ms;        /* timeoutSeconds, 0: none */
    uint64_t sent_rev;      /* of the last bookmark or event */
    unsigned closing;
};

static void watch_freed(uv_handle_t *h)
{
    struct watch *w = h->data;

    if (--w->closing > 0) {
        return;
    }
    free(w->labels);
    free(w->fields);
    rest_free(w->r);
    free(w);
}

static void watch_end(struct watch *w)
{
    if (w->ended) {
        return;
    }
    w->ended = true;
    if (w->w != NULL) {
        store_watch_free(w->w);
        w->w = NULL;
    }
    w->r->node->watches--;
    http_stream_end(w->r->req);
    w->closing = 2;
    uv_close((uv_handle_t *)&w->wake, watch_freed);
    uv_close((uv_handle_t *)&w->timer, watch_freed);
}

static void watch_abort(struct http_req *req)
{
    watch_end(req->data);
}

static void watch_line(struct watch *w, const char *type, json_t *obj)
{
    json_t *ev = json_pack("{s:s, s:o}", "type", type, "object", obj);
    char *text = json_dumps(ev, JSON_COMPACT);
    size_t n = strlen(text);

    text[n] = '\n'; /* in place of the NUL: the length says where it ends */
    w->blocked = !http_stream_write(w->r->req, text, n + 1);
    free(text);
    json_decref(ev);
}

static void watch_error(struct watch *w, const struct err *err)
{
    watch_line(w, "ERROR", status_from_err(err, w->r->k->plural, NULL, NULL));
    watch_end(w);
}

static bool watch_matches(struct watch *w, const json_t *obj)
{
    struct err err;
    bool match = true;

    if (w->labels != NULL &&
        selector_match(w->labels, jget(obj, "metadata.labels"), &match, &err) != 0) {
        return false;
    }
    if (match && w->fields != NULL && field_selector_match(w->fields, obj, &match, &err) != 0) {
        return false;
    }
    return match;
}

static void watch_object(struct watch *w, const char *type, json_t *obj)
{
    if (w->table) {
        json_t *items = json_pack("[o]", obj);
        const char *include = http_req_query(w->r->req, "includeObject");

        obj = table_build(w->r->k, items, jget_str(obj, "metadata.resourceVersion", ""),
                          include == NULL ? "Metadata" : include, clock_wall_ms());
        json_decref(items);
    }
    watch_line(w, type, obj);
}

/* With a selector an object can come into view or leave it without being made or deleted. */
static void watch_event(struct watch *w, const struct kv_event *ev)
{
    struct err err;
    json_t *now = ev->kv == NULL ? NULL : object_present(w->r->k, ev->kv, &err);
    json_t *before = ev->prev == NULL ? NULL : object_present(w->r->k, ev->prev, &err);
    bool is = now != NULL && watch_matches(w, now);
    bool was = before != NULL && watch_matches(w, before);

    if (is) {
        watch_object(w, was ? "MODIFIED" : "ADDED", now);
        now = NULL;
    } else if (was) {
        json_t *last = now != NULL ? now : before;
        char rev[24];

        (void)snprintf(rev, sizeof(rev), "%" PRIu64, ev->rev);
        jset(last, "metadata.resourceVersion", json_string(rev));
        watch_object(w, "DELETED", json_incref(last));
    }
    json_decref(now);
    json_decref(before);
    w->sent_rev = ev->rev;
}

static void watch_pump(struct watch *w)
{
    struct kv_event ev;
    struct err err;
    int rc = 0;

    for (int i = 0; i < BATCH_MAX && !w->ended && !w->blocked; i++) {
        rc = store_watch_next(w->w, &ev, &err);
        if (rc != 1) {
            break;
        }
        watch_event(w, &ev);
    }
    if (w->ended || rc == 0) {
        return;
    }
    if (rc == 1) {
        (void)uv_async_send(&w->wake); /* more: give others a turn first */
        return;
    }
    (void)err_set(&err, ERR_COMPACTED, "too old resource version: list again");
    watch_error(w, &err);
}

static void watch_wake(void *ctx)
{
    struct watch *w = ctx;

    (void)uv_async_send(&w->wake);
}

static void on_wake(uv_async_t *a)
{
    struct watch *w = a->data;

    if (!w->ended && !w->blocked) {
        watch_pump(w);
    }
}

static void watch_drain(struct http_req *req)
{
    struct watch *w = req->data;

    w->blocked = false;
    (void)uv_async_send(&w->wake);
}

static void watch_bookmark(struct watch *w, uint64_t rev, bool initial_end)
{
    char text[24];
    json_t *obj;

    (void)snprintf(text, sizeof(text), "%" PRIu64, rev);
    obj = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", API_VERSION, "kind", w->r->k->name,
                    "metadata", "resourceVersion", text);
    if (initial_end) {
        jset(obj, "metadata.annotations", json_pack("{s:s}", "k8s.io/initial-events-end", "true"));
    }
    w->sent_rev = rev;
    if (w->table) {
        json_t *none = json_array();
        json_t *table = table_build(w->r->k, none, text, "None", 0);

        json_decref(none);
        if (initial_end) {
            jset(table, "metadata.annotations",
                 json_incref(json_object_get(json_object_get(obj, "metadata"), "annotations")));
        }
        json_decref(obj);
        obj = table;
    }
    watch_line(w, "BOOKMARK", obj);
}

/* Cut off from the quorum this node sees no changes; another one may. */
static bool watch_is_blind(struct watch *w)
{
    uint64_t now = clock_now_ms();

    if (rep_leader(w->r->node->rep) != 0) {
        w->leaderless_ms = 0;
    } else if (w->leaderless_ms == 0) {
        w->leaderless_ms = now;
    }
    return w->leaderless_ms != 0 && now - w->leaderless_ms >= NO_LEADER_MS;
}

static void on_timer(uv_timer_t *t)
{
    struct watch *w = t->data;

    if (w->ended) {
        return;
    }
    if ((w->end_ms != 0 && clock_now_ms() >= w->end_ms) || watch_is_blind(w)) {
        watch_end(w);
        return;
    }
    if (w->bookmarks && !w->blocked) {
        watch_pump(w);
        if (!w->ended && !w->blocked) {
            watch_bookmark(w, store_watch_rev(w->w), false);
        }
    }
}

/* Everything that exists now, as ADDED. */
struct initial {
    struct watch *w;
};

static bool initial_visit(void *ctx, const struct kv *v)
{
    struct initial *in = ctx;
    struct err err;
    json_t *obj = object_present(in->w->r->k, v, &err);

    if (obj != NULL && watch_matches(in->w, obj)) {
        watch_object(in->w, "ADDED", json_incref(obj));
    }
    json_decref(obj);
    return true;
}

static void watch_initial(struct watch *w, const char *prefix, bool mark)
{
    struct initial in = { .w = w };

    store_prefix(w->r->node->store, prefix, initial_visit, &in);
    if (mark) {
        watch_bookmark(w, store_rev(w->r->node->store), true);
    }
}

static void watch_options(struct watch *w)
{
    struct http_req *req = w->r->req;
    const char *labels = http_req_query(req, "labelSelector");
    const char *fields = http_req_query(req, "fieldSelector");
    const char *timeout = http_req_query(req, "timeoutSeconds");
    const char *every = http_req_query(req, "bookmarkSeconds"); /* ours: how often */
    uint64_t s;

    if (every != NULL && str_parse_u64(every, &s) && s > 0 && s <= 60) {
        w->bookmark_ms = s * 1000;
    }
    w->table = rest_wants_table(w->r);
    w->bookmarks = str_eq(http_req_query(req, "allowWatchBookmarks"), "true");
    w->labels = labels == NULL || *labels == 0 ? NULL : mem_strdup(labels);
    w->fields = fields == NULL || *fields == 0 ? NULL : mem_strdup(fields);
    if (timeout != NULL && str_parse_u64(timeout, &s) && s > 0) {
        w->end_ms = clock_now_ms() + s * 1000;
    }
}

/* resourceVersion: none or 0: what is there, then changes; else: the changes after it. */
static bool watch_from(struct rest *r, uint64_t *ret_from, bool *ret_initial, struct err *err)
{
    const char *rv = http_req_query(r->req, "resourceVersion");
    bool send = str_eq(http_req_query(r->req, "sendInitialEvents"), "true");
    uint64_t rev = 0;

    if (rv != NULL && *rv != 0 && !str_parse_u64(rv, &rev)) {
        (void)err_set(err, ERR_BAD_REQUEST, "resourceVersion=%.40s is not a version of this server",
                      rv);
        return false;
    }
    *ret_initial = rev == 0 || send;
    *ret_from = (*ret_initial ? store_rev(r->node->store) : rev) + 1;
    if (*ret_from <= store_compact_rev(r->node->store)) {
        (void)err_set(err, ERR_COMPACTED, "too old resource version: %" PRIu64 " (%" PRIu64 ")",
                      rev, store_compact_rev(r->node->store));
        return false;
    }
    return true;
}

static void watch_open(struct rest *r, uint64_t from, bool initial)
{
    struct watch *w = OBJ_NEW(struct watch);
    char prefix[OBJECT_KEY_MAX];

    w->r = r;
    w->bookmark_ms = BOOKMARK_MS;
    watch_options(w);
    object_prefix(r->k, prefix, sizeof(prefix));
    w->wake.data = w;
    w->timer.data = w;
    CHECK(uv_async_init(r->node->loop, &w->wake, on_wake) == 0);
    CHECK(uv_timer_init(r->node->loop, &w->timer) == 0);
    CHECK(uv_timer_start(&w->timer, on_timer, w->bookmark_ms, w->bookmark_ms) == 0);
    w->w = store_watch_new(r->node->store, prefix, strlen(prefix), NULL, 0, from, watch_wake, w);
    r->req->data = w;
    r->req->on_abort = watch_abort;
    r->req->on_drain = watch_drain;
    r->node->watches++;
    http_stream_begin(r->req, 200, "application/json", NULL, 0);
    if (initial) {
        watch_initial(w, prefix, str_eq(http_req_query(r->req, "sendInitialEvents"), "true"));
    }
    (void)uv_async_send(&w->wake);
}

static void watch_go(struct rest *r)
{
    struct err err = { 0 };
    uint64_t from;
    bool initial;

    if (!watch_from(r, &from, &initial, &err)) {
        rest_err(r, &err);
        return;
    }
    watch_open(r, from, initial);
}

void rest_watch(struct rest *r)
{
    rest_read_then(r, watch_go);
}
