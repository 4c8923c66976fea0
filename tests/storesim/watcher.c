/* Clients that watch: the stream of each is compared with what the model has, event by event.
 *
 * A watcher goes on elsewhere, from the revision after the last that it saw, when its node dies or
 * when it feels like it; it may be slow, and fall out of the history.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "tests/storesim/sim.h"

struct watcher {
    unsigned i, node; /* SIM_NODES: not open */
    struct store_watch *w;
    char key[32], end[32];
    struct bytes k, e; /* e absent: prefix */
    uint64_t next_rev; /* to go on from */
    size_t at;         /* position in the model's events */
    uint64_t restores; /* of the node, when it was opened */
    bool woken;
    uint64_t next_at;
    bool slow;
};

static struct watcher watchers[SIM_WATCHERS];

static void wake(void *ctx)
{
    struct watcher *w = ctx;

    w->woken = true;
}

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void choose_range(struct watcher *w)
{
    w->e = (struct bytes){ 0 };
    switch (rnd(5)) {
    case 0: /* one key */
        (void)snprintf(w->key, sizeof(w->key), "k/r%u", (unsigned)rnd(opt.registers));
        memcpy(w->end, w->key, sizeof(w->end));
        w->e = (struct bytes){ (const uint8_t *)w->end, strlen(w->key) + 1 };
        break;
    case 1:
        (void)snprintf(w->key, sizeof(w->key), "k/");
        break;
    case 2:
        (void)snprintf(w->key, sizeof(w->key), "s/");
        break;
    case 3: /* some range */
        (void)snprintf(w->key, sizeof(w->key), "k/g%c", (char)('a' + rnd(3)));
        (void)snprintf(w->end, sizeof(w->end), "k/r%u", (unsigned)rnd(opt.registers));
        w->e = text(w->end);
        break;
    default:
        (void)snprintf(w->key, sizeof(w->key), "k/g");
        break;
    }
    w->k = text(w->key);
}

static void close_watch(struct watcher *w)
{
    store_watch_free(w->w);
    w->w = NULL;
    w->node = SIM_NODES;
}

static void open_watch(struct watcher *w)
{
    unsigned i = pick_node();

    if (i == SIM_NODES) {
        return;
    }
    w->node = i;
    if (w->next_rev == 0) { /* list first, then watch: here the list is the store as it is */
        w->next_rev = store_rev(nodes[i].store) + 1;
    }
    w->at = model_after(&model, w->next_rev - 1);
    w->restores = nodes[i].restores;
    w->w = store_watch_new(nodes[i].store, w->k.p, w->k.n, w->e.p, w->e.n, w->next_rev, wake, w);
    w->woken = true; /* with a start in the past, pull right away */
    totals.watch_opened++;
    story("w%u watches %s from %" PRIu64 " at %s", w->i, w->key, w->next_rev, node_name(i));
}

static bool same_kv(const struct kv *v, const struct m_event *e)
{
    struct m_event is = { .rev = v->mod_rev,
                          .key = { v->bytes, v->klen },
                          .value = { kv_value(v), v->vlen },
                          .create_rev = v->create_rev,
                          .version = v->version,
                          .lease = v->lease };

    return model_same(&is, e);
}

static void check_prev(const struct watcher *w, const struct kv_event *ev, const struct m_event *e)
{
    const struct m_event *p = e->prev < 0 ? NULL : &model.events[e->prev];

    p = p != NULL && p->del ? NULL : p;
    if ((p == NULL) != (ev->prev == NULL) || (p != NULL && !same_kv(ev->prev, p))) {
        FAIL("w%u at %s: event of revision %" PRIu64 " says that %s was there before, the model %s",
             w->i, node_name(w->node), ev->rev, ev->prev == NULL ? "nothing" : "something",
             p == NULL ? "nothing" : "something else");
    }
}

static void check_event(struct watcher *w, const struct kv_event *ev)
{
    int64_t at = model_next(&model, w->at, w->k, w->e);
    const struct m_event *e = at < 0 ? NULL : &model.events[at];

    if (e == NULL || e->rev != ev->rev || e->del != (ev->type == KV_DELETE) ||
        e->key.n != ev->klen || memcmp(e->key.p, ev->key, ev->klen) != 0 ||
        (!e->del && !same_kv(ev->kv, e))) {
        FAIL("w%u at %s: event %.*s of revision %" PRIu64 ", next is %.*s of %" PRIu64, w->i,
             node_name(w->node), (int)ev->klen, (const char *)ev->key, ev->rev,
             e == NULL ? 7 : (int)e->key.n, e == NULL ? "nothing" : (const char *)e->key.p,
             e == NULL ? 0 : e->rev);
    }
    check_prev(w, ev, e);
    w->at = (size_t)at + 1;
    totals.watch_events++;
    /* all events of a revision come before the next one's: only behind the last it is complete */
    at = model_next(&model, w->at, w->k, w->e);
    if (at < 0 || model.events[at].rev > e->rev) {
        w->next_rev = e->rev + 1;
    }
}

/* Everything up to this node's revision was seen. */
static void check_dry(struct watcher *w)
{
    int64_t at = model_next(&model, w->at, w->k, w->e);
    uint64_t rev = store_rev(nodes[w->node].store);

    if (at >= 0 && model.events[at].rev <= rev) {
        FAIL("w%u at %s: nothing more, but %.*s of revision %" PRIu64 " was left out (now %" PRIu64
             ")",
             w->i, node_name(w->node), (int)model.events[at].key.n,
             (const char *)model.events[at].key.p, model.events[at].rev, rev);
    }
    if (rev + 1 > w->next_rev) {
        w->next_rev = rev + 1; /* nothing of ours in between */
        w->at = model_after(&model, rev);
    }
    REQUIRE(store_watch_rev(w->w) == rev);
}

static void compacted(struct watcher *w, const struct err *err)
{
    const struct sim_node *n = &nodes[w->node];

    /* the rest of the last revision that it saw may be compacted, although none of it is wanted */
    if (w->next_rev > store_compact_rev(n->store) + 1 && n->restores == w->restores) {
        FAIL("w%u at %s: told that its revisions are compacted, but %" PRIu64 " is not: %s", w->i,
             node_name(w->node), w->next_rev, err->msg);
    }
    totals.watch_compacted++;
    story("w%u at %s: %s", w->i, node_name(w->node), err->msg);
    if (w->next_rev <= store_compact_rev(n->store)) {
        w->next_rev = 0; /* list again */
    }
    close_watch(w);
    w->next_at = now() + rnd(500);
}

static void pull(struct watcher *w)
{
    uint64_t most = w->slow ? 1 + rnd(3) : 1000;
    struct kv_event ev;
    struct err err;
    int rc = 1;

    w->woken = false;
    while (most-- > 0 && (rc = store_watch_next(w->w, &ev, &err)) == 1) {
        check_event(w, &ev);
    }
    if (rc == 1) {
        w->woken = true; /* slow: the rest waits */
    } else if (rc == 0) {
        check_dry(w);
    } else {
        compacted(w, &err);
    }
}

static void watcher_step(struct watcher *w)
{
    w->next_at = now() + 1 + rnd(w->slow ? 1500 : 60);
    if (w->w == NULL) {
        open_watch(w);
    } else if (rep_of(w->node) == NULL) {
        close_watch(w);
    } else if (chance(2)) {
        w->slow = chance(30);
        close_watch(w);
    } else if (w->woken) {
        pull(w);
    } else {
        check_dry(w); /* nobody woke it: there is nothing */
    }
}

void watchers_step(void)
{
    for (unsigned i = 0; i < opt.watchers; i++) {
        if (watchers[i].next_at <= now()) {
            watcher_step(&watchers[i]);
        }
    }
}

void watchers_setup(void)
{
    for (unsigned i = 0; i < opt.watchers; i++) {
        watchers[i] = (struct watcher){ .i = i, .node = SIM_NODES, .next_at = rnd(2000) };
        watchers[i].slow = chance(30);
        watchers[i].next_rev = chance(50) ? 1 : 0;
        choose_range(&watchers[i]);
    }
}

void watchers_node_down(unsigned i)
{
    for (unsigned k = 0; k < opt.watchers; k++) {
        if (watchers[k].w != NULL && watchers[k].node == i) {
            close_watch(&watchers[k]);
            watchers[k].next_at = now() + rnd(1000);
        }
    }
}

void watchers_teardown(void)
{
    for (unsigned k = 0; k < opt.watchers; k++) {
        if (watchers[k].w != NULL) {
            close_watch(&watchers[k]);
        }
    }
}

/* All of them have seen everything. */
bool watchers_current(void)
{
    for (unsigned k = 0; k < opt.watchers; k++) {
        watchers[k].slow = false;
        if (watchers[k].w == NULL || watchers[k].next_rev <= model.rev ||
            model_next(&model, watchers[k].at, watchers[k].k, watchers[k].e) >= 0) {
            return false;
        }
    }
    return true;
}
