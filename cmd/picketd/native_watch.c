/* Watches of the raw key space over the native protocol.
 *
 * A watch is a cursor into the store's history.  The store marks it dirty; each turn of the loop
 * serves a slice of the dirty ones, as far as their clients take bytes.  So a thousand watches do
 * not hold up the next write, and what was written while a watch waited for its slice goes out with
 * one send.  Watches that have the same to
 * say (a thousand clients on one key) share one encoding: only the head of the frame differs. */

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "cmd/picketd/native_priv.h"

#define BATCH_EVENTS 1024U
#define BATCH_BYTES (256U << 10)
/* Watches served in one turn of the loop.  With many that wait, a small slice lets more writes
 * through before it is a watch's turn again: each send carries more events (measured with 1000
 * watches of one key and one writer: 150,000 events/s with 64, 450,000 with 16). */
#define SLICE 64U
#define SLICE_CROWD 16U
#define CROWD 256U

void native_watch_dirty(struct native_work *w)
{
    struct native *s = w->conn->server;

    if (!w->dirty) {
        w->dirty = true;
        s->n_dirty++;
        TAILQ_INSERT_TAIL(&s->dirty, w, turn);
        native_turn_soon(s);
    }
}

static void on_wake(void *ctx)
{
    native_watch_dirty(ctx);
}

static void dirty_leave(struct native_work *w)
{
    struct native *s = w->conn->server;

    TAILQ_REMOVE(&s->dirty, w, turn);
    w->dirty = false;
    s->n_dirty--;
}

void native_watch_stop(struct native_work *w)
{
    if (w->watch == NULL) {
        return;
    }
    if (w->dirty) {
        dirty_leave(w);
    }
    store_watch_free(w->watch);
    w->watch = NULL;
    w->node->watches--;
}

/* --- encoding ----------------------------------------------------------------------------------
 */

static struct native_event event_of(const struct kv_event *ev, uint32_t flags)
{
    struct native_event e = { .deleted = ev->type == KV_DELETE };

    if (ev->type == KV_DELETE) {
        e.kv.key = (struct native_bytes){ (const uint8_t *)ev->key + 2, ev->klen - 2 };
        e.kv.mod_rev = ev->rev;
    } else {
        e.kv = native_kv_of(ev->kv);
    }
    if ((flags & NATIVE_PREV) != 0 && ev->prev != NULL) {
        e.has_prev = true;
        e.prev = native_kv_of(ev->prev);
    }
    return e;
}

static bool same_as_last(const struct native *s, uint32_t flags)
{
    if (s->n_events != s->n_last || flags != s->last_flags) {
        return false;
    }
    for (size_t i = 0; i < s->n_events; i++) {
        const struct kv_event *a = &s->events[i], *b = &s->last[i];

        if (a->rev != b->rev || a->type != b->type || a->kv != b->kv || a->prev != b->prev ||
            a->key != b->key) {
            return false;
        }
    }
    return true;
}

/* What follows the id in a frame of s->events: into last_body. */
static void encode_body(struct native *s, uint32_t flags, bool more)
{
    struct native_ans a = { .id = 1, .kind = NATIVE_EVENTS, .more = more };
    struct buf whole = { 0 };

    a.rev = s->events[s->n_events - 1].rev;
    a.n_events = s->n_events;
    a.events = mem_alloc(s->n_events * sizeof(*a.events));
    for (size_t i = 0; i < s->n_events; i++) {
        a.events[i] = event_of(&s->events[i], flags);
    }
    native_ans_encode(&a, &whole);
    buf_clear(&s->last_body);
    /* Behind the length, the array's head and the id 1, one byte each. */
    buf_add(&s->last_body, whole.data + NATIVE_HEAD + 2, whole.len - NATIVE_HEAD - 2);
    buf_done(&whole);
    free(a.events);
    if (s->cap_last < s->n_events) {
        s->cap_last = s->cap_events;
        s->last = mem_realloc(s->last, s->cap_last * sizeof(*s->last));
    }
    memcpy(s->last, s->events, s->n_events * sizeof(*s->last));
    s->n_last = s->n_events;
    s->last_flags = flags;
}

static void send_body(struct native_work *w)
{
    struct native *s = w->conn->server;
    struct buf *out = &s->out;

    buf_clear(out);
    buf_add_u32(out, 0);
    nwire_array(out, 5);
    nwire_uint(out, w->id);
    buf_add(out, s->last_body.data, s->last_body.len);
    for (size_t i = 0, n = out->len - NATIVE_HEAD; i < NATIVE_HEAD; i++) {
        out->data[i] = (uint8_t)(n >> (8 * i));
    }
    native_send(w->conn, out);
}

/* --- pulling -----------------------------------------------------------------------------------
 */

static bool wanted(const struct native_work *w, const struct kv_event *ev)
{
    return (w->flags & (ev->type == KV_DELETE ? NATIVE_NO_DELETE : NATIVE_NO_PUT)) == 0;
}

static size_t event_bytes(const struct kv_event *ev)
{
    return ev->klen + (ev->kv == NULL ? 0 : ev->kv->vlen) + (ev->prev == NULL ? 0 : ev->prev->vlen);
}

/* The next events into s->events.  1: there may be more, 0: that was all, or an error. */
static int pull(struct native_work *w, struct err *err)
{
    struct native *s = w->conn->server;
    struct kv_event ev;
    size_t bytes = 0;
    int rc = 1;

    s->n_events = 0;
    while (s->n_events < BATCH_EVENTS && bytes < BATCH_BYTES &&
           (rc = store_watch_next(w->watch, &ev, err)) == 1) {
        if (!wanted(w, &ev)) {
            continue;
        }
        if (s->n_events == s->cap_events) {
            s->cap_events = s->cap_events == 0 ? 16 : s->cap_events * 2;
            s->events = mem_realloc(s->events, s->cap_events * sizeof(*s->events));
        }
        s->events[s->n_events++] = ev;
        bytes += event_bytes(&ev);
    }
    return rc;
}

static void watch_compacted(struct native_work *w)
{
    struct err err;

    (void)err_set(&err, ERR_COMPACTED,
                  "the events up to revision %llu are gone: read again, then watch from there",
                  (unsigned long long)store_compact_rev(w->node->store));
    native_watch_stop(w);
    native_fail(w, &err);
}

static void serve(struct native_work *w)
{
    struct native_conn *c = w->conn;
    struct native *s = c->server;
    struct err err;
    int rc;

    if (native_blocked(c)) {
        return; /* on_drain makes it dirty again */
    }
    rc = pull(w, &err);
    if (s->n_events > 0) {
        if (!same_as_last(s, w->flags)) {
            /* With rc 1 the next pull may begin within the same revision. */
            encode_body(s, w->flags, rc == 1);
        }
        send_body(w);
    }
    if (c->closing) {
        return; /* w is gone */
    }
    if (rc == 1) {
        native_watch_dirty(w); /* others first */
    } else if (rc != 0) {
        watch_compacted(w);
    }
}

void native_watch_turn(struct native *s)
{
    struct native_work *w, *last = TAILQ_LAST(&s->dirty, native_dirty);
    bool end = last == NULL;
    size_t n = 0, slice = s->n_dirty > CROWD ? SLICE_CROWD : SLICE;

    s->n_last = 0;
    while (!end && (w = TAILQ_FIRST(&s->dirty)) != NULL) {
        /* Those that come now wait for the next turn. */
        end = w == last || ++n == slice;
        dirty_leave(w);
        serve(w);
    }
    if (!TAILQ_EMPTY(&s->dirty)) {
        native_turn_soon(s);
    }
    s->n_last = 0; /* the events' memory is not ours beyond this turn */
}

/* --- beginning and progress --------------------------------------------------------------------
 */

void native_watch_mark(struct native_work *w)
{
    struct native_ans mark = { .kind = NATIVE_MARK };

    if (w->watch == NULL || (w->flags & NATIVE_PROGRESS) == 0 || w->dirty ||
        native_blocked(w->conn) || rep_leader(w->node->rep) == 0) {
        return; /* without a leader nobody knows what was not seen */
    }
    mark.rev = store_watch_rev(w->watch);
    native_say(w, &mark);
}

void native_watch(struct native_work *w, const struct native_req *req)
{
    struct store *s = w->node->store;
    struct native_ans out = { .kind = NATIVE_NUMBERS, .rev = store_rev(s) };
    uint64_t from = req->number == 0 ? store_rev(s) + 1 : req->number;
    struct arena a = { 0 };
    struct bytes key = native_key(&a, req->key);
    struct bytes end = native_range_end(&a, req->end);
    struct err err;

    if (end.p == NULL) { /* one key: up to the key right behind it */
        uint8_t *p = arena_alloc(&a, key.n + 1);

        memcpy(p, key.p, key.n);
        end = (struct bytes){ .p = p, .n = key.n + 1 };
    }
    if (from <= store_compact_rev(s)) {
        (void)err_set(&err, ERR_COMPACTED, "the events up to revision %llu are gone",
                      (unsigned long long)store_compact_rev(s));
        native_fail(w, &err);
    } else if (native_work_watch(w)) {
        w->flags = req->flags;
        w->watch = store_watch_new(s, key.p, key.n, end.p, end.n, from, on_wake, w);
        w->node->watches++;
        native_watch_dirty(w);
        native_say(w, &out);
    }
    arena_done(&a);
}
