/* The reflector: list, watch, and again, until it is freed.
 *
 * It is in one of three states: listing (`list` set), watching (`lines` set), waiting (the timer
 * runs).  `dead` is looked at after every callback, since each of them may free the watch.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/client_priv.h"
#include "api/json_path.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#define API_WATCH_MAGIC 0xa91a7c48U
#define API_BACKOFF_MIN_MS 50
#define API_BACKOFF_MAX_MS 2000
#define API_SILENCE_MS 4000 /* four bookmarks of the server, which are asked for once a second */
#define API_LIST_MS 15000

struct api_watch {
    unsigned magic;
    struct api_client *client;
    char *plural;
    char *query;
    struct api_watch_cbs cbs;
    void *data;
    struct http_call *list;
    struct http_lines *lines;
    uv_timer_t timer;
    struct prng prng;
    /* One transaction changes several objects under one version, and the stream may break between
     * them: `resume` is the newest version of which everything was delivered. */
    char resume[64];
    char version[64];    /* newest seen; "" before the first list */
    uint64_t backoff_ms; /* before the next attempt */
    bool synced;         /* one list was delivered in full */
    bool relist;         /* the next attempt must list */
    bool connected;      /* the stream is open */
    bool down;           /* on_disconnected was called since it was connected */
    bool dead;
    LIST_ENTRY(api_watch) link;
};

static void watch_attempt(struct api_watch *w);
static void watch_open(struct api_watch *w);

/* --- failing and trying again --- */

static void watch_timer_cb(uv_timer_t *h)
{
    struct api_watch *w;

    OBJ_FROM(w, h->data, API_WATCH_MAGIC);
    if (!w->dead) {
        watch_attempt(w);
    }
}

/* Try again after the back-off, of which up to half is jitter. */
static void watch_retry(struct api_watch *w)
{
    uint64_t ms = w->backoff_ms / 2 + prng_below(&w->prng, w->backoff_ms / 2 + 1);

    CHECK(w->list == NULL);
    CHECK(w->lines == NULL);
    w->backoff_ms = w->backoff_ms * 2 < API_BACKOFF_MAX_MS ? w->backoff_ms * 2 : API_BACKOFF_MAX_MS;
    CHECK(uv_timer_start(&w->timer, watch_timer_cb, ms, 0) == 0);
}

/* Tell once that the view may be old, then try again. */
static void watch_failed(struct api_watch *w, const struct err *err)
{
    w->connected = false;
    if (!w->down) {
        w->down = true;
        if (w->cbs.on_disconnected != NULL) {
            w->cbs.on_disconnected(w->data, err);
        }
    }
    if (!w->dead) {
        watch_retry(w);
    }
}

/* Versions are numbers that only grow, for one server as for all of them together. */
static bool watch_is_older(const struct api_watch *w, const char *version)
{
    uint64_t have, got;

    return str_parse_u64(w->version, &have) && str_parse_u64(version, &got) && got < have;
}

static const char *watch_version_of(const json_t *obj)
{
    const json_t *meta = json_object_get(obj, "metadata");
    const char *v = json_string_value(json_object_get(meta, "resourceVersion"));

    return v == NULL ? "" : v;
}

/* --- watching --- */

static void watch_drop_stream(struct api_watch *w, const struct err *err, bool relist)
{
    http_lines_close(w->lines);
    w->lines = NULL;
    w->relist = w->relist || relist;
    watch_failed(w, err);
}

static void watch_bad_line(struct api_watch *w, const char *why)
{
    struct err err;

    (void)err_set(&err, ERR_SYS, "watch %s: %s", w->plural, why);
    watch_drop_stream(w, &err, true);
}

/* Note the version of an event; false when it makes no sense. */
static bool watch_advance(struct api_watch *w, const char *version, bool bookmark)
{
    if (version[0] == '\0' || strlen(version) >= sizeof(w->version) || watch_is_older(w, version)) {
        return false;
    }
    if (bookmark) {
        (void)str_copy(w->resume, sizeof(w->resume), version);
    } else if (!str_eq(w->version, version)) {
        memcpy(w->resume, w->version, sizeof(w->resume));
    }
    (void)str_copy(w->version, sizeof(w->version), version);
    return true;
}

static void watch_event(struct api_watch *w, const char *type, json_t *obj)
{
    static const char *const names[] = { "ADDED", "MODIFIED", "DELETED" };
    static const enum api_event events[] = { API_ADDED, API_MODIFIED, API_DELETED };
    struct err err;

    if (str_eq(type, "ERROR")) {
        (void)api_error_from_status(obj, &err);
        (void)err_wrap(&err, "watch %s", w->plural);
        watch_drop_stream(w, &err, err.code == ERR_COMPACTED);
        return;
    }
    if (!watch_advance(w, watch_version_of(obj), str_eq(type, "BOOKMARK"))) {
        watch_bad_line(w, "an event without resourceVersion, or with one that goes back");
        return;
    }
    w->backoff_ms = API_BACKOFF_MIN_MS; /* the server really serves */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(type, names[i])) {
            w->cbs.on_object(w->data, events[i], obj);
            return;
        }
    }
    if (!str_eq(type, "BOOKMARK")) {
        watch_bad_line(w, "an event of unknown type");
    } else if (http_lines_away(w->lines)) {
        /* Everything up to the bookmark was delivered: go on at home, where we end when it ends. */
        http_lines_close(w->lines);
        w->lines = NULL;
        watch_open(w);
    }
}

static void watch_line_cb(void *data, const char *line, size_t len)
{
    struct api_watch *w;
    json_t *ev, *obj;

    OBJ_FROM(w, data, API_WATCH_MAGIC);
    if (len == 0) {
        return;
    }
    ev = json_load_quick(line, len, 0, NULL);
    obj = json_object_get(ev, "object");
    if (!json_is_object(obj)) {
        watch_bad_line(w, "a line that is no event");
    } else {
        watch_event(w, json_string_value(json_object_get(ev, "type")), obj);
    }
    json_decref(ev);
}

static void watch_open_cb(void *data)
{
    struct api_watch *w;

    OBJ_FROM(w, data, API_WATCH_MAGIC);
    w->connected = true;
    w->down = false;
    if (w->cbs.on_connected != NULL) {
        w->cbs.on_connected(w->data);
    }
}

static void watch_end_cb(void *data, const struct err *err, const struct http_reply *reply)
{
    struct api_watch *w;
    struct err mine;

    OBJ_FROM(w, data, API_WATCH_MAGIC);
    w->lines = NULL;
    if (err == NULL && reply == NULL) {
        watch_retry(w); /* the server's own time limit: nothing was missed */
        w->connected = false;
        return;
    }
    if (reply != NULL) {
        (void)api_error_from_reply(reply, &mine);
        w->relist = w->relist || mine.code == ERR_COMPACTED;
    } else {
        mine = *err;
    }
    (void)err_wrap(&mine, "watch %s", w->plural);
    watch_failed(w, &mine);
}

static void watch_open(struct api_watch *w)
{
    static const struct http_lines_cbs cbs = { .on_open = watch_open_cb,
                                               .on_line = watch_line_cb,
                                               .on_end = watch_end_cb };
    struct http_lines_args a = { .silence_ms = API_SILENCE_MS, .timeout_ms = API_SILENCE_MS };
    struct buf b = { 0 };

    buf_add_str(&b, API_PREFIX "/");
    http_escape(&b, w->plural);
    buf_add_str(&b, "?watch=true&allowWatchBookmarks=true&bookmarkSeconds=1&resourceVersion=");
    http_escape(&b, w->resume);
    if (w->query != NULL) {
        buf_add_byte(&b, '&');
        buf_add_str(&b, w->query);
    }
    a.target = buf_cstr(&b);
    w->lines = http_lines_open(w->client->http, &a, &cbs, w);
    buf_done(&b);
}

/* --- listing --- */

static void watch_deliver(struct api_watch *w, json_t *items)
{
    json_t *obj;
    size_t i;

    if (w->cbs.on_sync_begin != NULL) {
        w->cbs.on_sync_begin(w->data);
    }
    json_array_foreach (items, i, obj) {
        if (w->dead) {
            return;
        }
        w->cbs.on_object(w->data, API_ADDED, obj);
    }
    if (w->dead) {
        return;
    }
    w->synced = true;
    w->relist = false;
    if (w->cbs.on_synced != NULL) {
        w->cbs.on_synced(w->data);
    }
}

static int watch_check_list(struct api_watch *w, const json_t *list, struct err *err)
{
    const char *version = watch_version_of(list);

    if (!json_is_array(json_object_get(list, "items")) || version[0] == '\0' ||
        strlen(version) >= sizeof(w->version)) {
        return err_set(err, ERR_SYS, "the answer is no list with a resourceVersion");
    }
    if (watch_is_older(w, version)) {
        http_client_avoid(w->client->http, http_client_endpoint(w->client->http));
        return err_set(err, ERR_STALE, "the server is at %s, behind %s which was seen already",
                       version, w->version);
    }
    return 0;
}

static void watch_list_cb(void *data, const struct err *err, json_t *list)
{
    struct api_watch *w;
    struct err mine;

    OBJ_FROM(w, data, API_WATCH_MAGIC);
    w->list = NULL;
    if (err != NULL) {
        mine = *err;
    } else if (watch_check_list(w, list, &mine) == 0) {
        (void)watch_advance(w, watch_version_of(list), true);
        watch_deliver(w, json_object_get(list, "items"));
        if (!w->dead) {
            watch_open(w);
        }
        return;
    }
    (void)err_wrap(&mine, "list %s", w->plural);
    watch_failed(w, &mine);
}

static void watch_attempt(struct api_watch *w)
{
    struct api_op op = {
        .method = "GET", .plural = w->plural, .query = w->query, .timeout_ms = API_LIST_MS
    };

    CHECK(w->list == NULL);
    CHECK(w->lines == NULL);
    if (w->synced && !w->relist) {
        watch_open(w);
    } else {
        w->list = api_start(w->client, &op, watch_list_cb, w);
    }
}

/* --- the interface --- */

struct api_watch *api_watch_query(struct api_client *c, const char *plural, const char *query,
                                  const struct api_watch_cbs *cbs, void *data)
{
    struct api_watch *w = OBJ_NEW(struct api_watch);
    uint64_t seed;

    OBJ_CHECK(c, API_CLIENT_MAGIC);
    CHECK(cbs->on_object != NULL);
    w->magic = API_WATCH_MAGIC;
    w->client = c;
    w->plural = mem_strdup(plural);
    w->query = query == NULL || query[0] == '\0' ? NULL : mem_strdup(query);
    w->cbs = *cbs;
    w->data = data;
    w->backoff_ms = API_BACKOFF_MIN_MS;
    clock_random(&seed, sizeof(seed));
    prng_init(&w->prng, seed);
    CHECK(uv_timer_init(c->loop, &w->timer) == 0);
    w->timer.data = w;
    LIST_INSERT_HEAD(&c->watches, w, link);
    c->n_watches++;
    watch_attempt(w);
    return w;
}

struct api_watch *api_watch_new(struct api_client *c, const char *plural,
                                const struct api_watch_cbs *cbs, void *data)
{
    return api_watch_query(c, plural, NULL, cbs, data);
}

static void watch_closed_cb(uv_handle_t *h)
{
    struct api_watch *w;
    struct api_client *c;

    OBJ_FROM(w, h->data, API_WATCH_MAGIC);
    c = w->client;
    free(w->plural);
    free(w->query);
    w->magic = 0;
    free(w);
    CHECK(c->n_watches > 0);
    c->n_watches--;
    api_client_maybe_free(c);
}

void api_watch_free(struct api_watch *w)
{
    if (w == NULL) {
        return;
    }
    OBJ_CHECK(w, API_WATCH_MAGIC);
    CHECK(!w->dead);
    w->dead = true;
    if (w->list != NULL) {
        api_cancel(w->list);
        w->list = NULL;
    }
    if (w->lines != NULL) {
        http_lines_close(w->lines);
        w->lines = NULL;
    }
    LIST_REMOVE(w, link);
    uv_close((uv_handle_t *)&w->timer, watch_closed_cb);
}

bool api_watch_synced(const struct api_watch *w)
{
    OBJ_CHECK(w, API_WATCH_MAGIC);
    return w->synced && w->connected;
}

const char *api_watch_version(const struct api_watch *w)
{
    OBJ_CHECK(w, API_WATCH_MAGIC);
    return w->version;
}
