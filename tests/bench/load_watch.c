/* Watch fan-out: `clients` connections watch one key, `conns` putters write to it in a closed loop;
 * each value carries the time when its put was sent. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "tests/bench/load.h"

struct world;

struct putter {
    struct load_op op; /* first */
    struct world *w;
    struct load_link *link;
    char *value;
    bool busy;
};

struct world {
    const struct load_opts *o;
    uv_loop_t loop;
    uv_timer_t timer;
    struct load_link **watchers;
    struct putter *putters;
    unsigned n_putters;
    struct load_times times;
    uint64_t begin_us, end_us, puts, events, wait_until_us;
    char key[64];
    bool short_of;
};

static void on_event(void *data, const char *value, size_t len)
{
    struct world *w = data;
    uint64_t now = clock_now_us();
    uint64_t sent;

    if (len < sizeof(sent)) {
        return;
    }
    memcpy(&sent, value, sizeof(sent));
    if (sent >= w->begin_us && now < w->end_us) {
        w->events++;
        load_times_add(&w->times, now - sent);
    }
}

static void put_next(struct putter *p)
{
    uint64_t now = clock_now_us();

    memcpy(p->value, &now, sizeof(now));
    p->busy = true;
    load_link_issue(p->link, &p->op);
}

static void on_put(struct load_op *op, const struct err *err, const char *value, size_t len,
                   bool changed)
{
    struct putter *p = (struct putter *)(void *)op;
    struct world *w = p->w;
    uint64_t now = clock_now_us();

    (void)value;
    (void)len;
    (void)changed;
    p->busy = false;
    if (err == NULL && now >= w->begin_us && now < w->end_us) {
        w->puts++;
    }
    if (now < w->end_us && p->link->ready) {
        put_next(p);
    }
}

static bool ready(const struct world *w)
{
    for (unsigned i = 0; i < w->o->clients; i++) {
        if (!w->watchers[i]->watching) {
            return false;
        }
    }
    for (unsigned i = 0; i < w->n_putters; i++) {
        if (!w->putters[i].link->ready) {
            return false;
        }
    }
    return true;
}

static void on_tick(uv_timer_t *t)
{
    struct world *w = t->data;
    uint64_t now = clock_now_us();

    if (w->begin_us == UINT64_MAX) {
        if (now > w->wait_until_us) {
            w->short_of = true;
            uv_stop(&w->loop);
        } else if (ready(w)) {
            w->begin_us = now + (uint64_t)(w->o->warm * 1e6);
            w->end_us = w->begin_us + (uint64_t)(w->o->seconds * 1e6);
        }
        return;
    }
    if (now >= w->end_us) {
        uv_stop(&w->loop);
        return;
    }
    for (unsigned i = 0; i < w->n_putters; i++) {
        if (!w->putters[i].busy && w->putters[i].link->ready) {
            put_next(&w->putters[i]);
        }
    }
}

static void world_init(struct world *w, const struct load_opts *o)
{
    CHECK(uv_loop_init(&w->loop) == 0);
    w->o = o;
    w->begin_us = w->end_us = UINT64_MAX;
    w->wait_until_us = clock_now_us() + UINT64_C(90000000);
    (void)snprintf(w->key, sizeof(w->key), "%swatched", o->prefix);
    w->watchers = mem_alloc(o->clients * sizeof(*w->watchers));
    for (unsigned i = 0; i < o->clients; i++) {
        w->watchers[i] = load_link_new(&w->loop, &o->target, o->addresses[i % o->n_addresses]);
        load_link_watch(w->watchers[i], w->key, on_event, w);
    }
    w->n_putters = o->keys < 1000 ? o->keys : 1;
    w->putters = mem_alloc(w->n_putters * sizeof(*w->putters));
    for (unsigned i = 0; i < w->n_putters; i++) {
        struct putter *p = &w->putters[i];

        p->w = w;
        p->value = mem_alloc(o->value_bytes);
        p->link = load_link_new(&w->loop, &o->target, o->addresses[0]);
        p->op = (struct load_op){
            .kind = LOAD_PUT, .key = w->key, .value = p->value, .vlen = o->value_bytes
        };
        p->op.done = on_put;
    }
    w->timer.data = w;
    CHECK(uv_timer_init(&w->loop, &w->timer) == 0);
    CHECK(uv_timer_start(&w->timer, on_tick, 1, 5) == 0);
}

int load_watch_main(const struct load_opts *o)
{
    static struct world w;

    world_init(&w, o);
    (void)uv_run(&w.loop, UV_RUN_DEFAULT);
    if (w.short_of) {
        (void)fprintf(stderr, "load: not all of the %u watches were accepted in time\n",
                      o->clients);
        return 1;
    }
    load_times_sort(&w.times);
    printf("{\"events\": %" PRIu64 ", \"rate\": %.1f, \"puts\": %.1f, \"p50_us\": %u, "
           "\"p99_us\": %u}\n",
           w.events, (double)w.events / o->seconds, (double)w.puts / o->seconds,
           load_times_at(&w.times, 0.5), load_times_at(&w.times, 0.99));
    return w.events > 0 ? 0 : 1;
}
