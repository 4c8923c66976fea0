/* put and get in a closed loop; fill; the open loop of the failover measurement. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "tests/bench/load.h"

struct rate;

struct client {
    struct load_op op; /* first */
    struct rate *r;
    struct load_link *link;
    uint64_t start_us;
    char key[64];
    bool busy;
};

struct rate {
    const struct load_opts *o;
    uv_loop_t loop;
    uv_timer_t timer;
    struct load_link **links;
    struct client *clients;
    struct load_times times;
    struct prng prng;
    char *value;
    uint64_t begin_us, end_us; /* what completes between them counts */
    uint64_t errors, filled, issued;
    char error[200];
    bool fill, over;
};

static void client_next(struct client *c);

static void on_done(struct load_op *op, const struct err *err, const char *value, size_t len,
                    bool changed)
{
    struct client *c = (struct client *)(void *)op;
    struct rate *r = c->r;
    uint64_t now = clock_now_us();

    (void)value;
    (void)len;
    (void)changed;
    c->busy = false;
    if (err != NULL) {
        r->errors++;
        (void)snprintf(r->error, sizeof(r->error), "%.190s", err->msg);
    } else {
        r->filled++;
        if (now >= r->begin_us && now < r->end_us) {
            load_times_add(&r->times, now - c->start_us);
        }
    }
    if (r->fill ? r->filled >= r->o->keys : now >= r->end_us) {
        r->over = true;
        uv_stop(&r->loop);
    } else if (c->link->ready) {
        client_next(c);
    }
}

static void client_next(struct client *c)
{
    struct rate *r = c->r;
    uint64_t k = r->fill ? r->issued : prng_below(&r->prng, r->o->keys);

    if (r->fill && r->issued >= r->o->keys + r->errors) {
        return;
    }
    r->issued++;
    /* Scattered over the key space also when filling. */
    (void)snprintf(c->key, sizeof(c->key), "%s%016" PRIx64, r->o->prefix,
                   k * UINT64_C(0x9e3779b97f4a7c15));
    c->op.key = c->key;
    c->op.value = r->value;
    c->op.vlen = r->o->value_bytes;
    c->start_us = clock_now_us();
    c->busy = true;
    load_link_issue(c->link, &c->op);
}

static bool all_ready(const struct rate *r)
{
    for (unsigned i = 0; i < r->o->conns; i++) {
        if (!r->links[i]->ready) {
            return false;
        }
    }
    return true;
}

static void on_tick(uv_timer_t *t)
{
    struct rate *r = t->data;
    uint64_t now = clock_now_us();

    if (r->begin_us == UINT64_MAX && all_ready(r)) {
        r->begin_us = now + (uint64_t)(r->o->warm * 1e6);
        r->end_us = r->begin_us + (uint64_t)(r->o->seconds * 1e6);
    }
    if (r->begin_us == UINT64_MAX) {
        return;
    }
    if (!r->fill && now >= r->end_us) {
        r->over = true;
        uv_stop(&r->loop);
        return;
    }
    for (unsigned i = 0; i < r->o->clients; i++) { /* the first op, or after a lost connection */
        if (!r->clients[i].busy && r->clients[i].link->ready) {
            client_next(&r->clients[i]);
        }
    }
}

static void rate_init(struct rate *r, const struct load_opts *o)
{
    CHECK(uv_loop_init(&r->loop) == 0);
    r->o = o;
    r->begin_us = r->end_us = UINT64_MAX;
    r->value = mem_alloc(o->value_bytes);
    prng_init(&r->prng, o->seed);
    for (unsigned i = 0; i < o->value_bytes; i++) {
        r->value[i] = (char)(prng_u64(&r->prng) & 0xff);
    }
    r->links = mem_alloc(o->conns * sizeof(*r->links));
    for (unsigned i = 0; i < o->conns; i++) {
        r->links[i] = load_link_new(&r->loop, &o->target, o->addresses[i % o->n_addresses]);
    }
    r->clients = mem_alloc(o->clients * sizeof(*r->clients));
    for (unsigned i = 0; i < o->clients; i++) {
        r->clients[i].r = r;
        r->clients[i].link = r->links[i % o->conns];
        r->clients[i].op.kind = str_eq(o->program, "get") ? LOAD_GET : LOAD_PUT;
        r->clients[i].op.done = on_done;
    }
    r->timer.data = r;
    CHECK(uv_timer_init(&r->loop, &r->timer) == 0);
}

int load_rate_main(const struct load_opts *o)
{
    static struct rate r;

    rate_init(&r, o);
    CHECK(uv_timer_start(&r.timer, on_tick, 1, 5) == 0);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    load_times_sort(&r.times);
    printf("{\"ops\": %zu, \"rate\": %.1f, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u, "
           "\"errors\": %" PRIu64 ", \"error\": \"%.150s\"}\n",
           r.times.n, (double)r.times.n / o->seconds, load_times_at(&r.times, 0.5),
           load_times_at(&r.times, 0.99), load_times_at(&r.times, 1), r.errors, r.error);
    return r.times.n > 0 ? 0 : 1;
}

int load_fill_main(const struct load_opts *o)
{
    static struct rate r;
    uint64_t start;

    rate_init(&r, o);
    r.fill = true;
    start = clock_now_us();
    CHECK(uv_timer_start(&r.timer, on_tick, 1, 5) == 0);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    printf("{\"ops\": %" PRIu64 ", \"seconds\": %.3f, \"errors\": %" PRIu64 "}\n", r.filled,
           (double)(clock_now_us() - start) / 1e6, r.errors);
    return 0;
}

/* --- open loop --------------------------------------------------------------------------------
 *
 * One put each interval, each on the next address, whatever became of those before.  To FILE goes a
 * line "START END ok|error-code" for each, in microseconds of CLOCK_BOOTTIME. */

#define OPEN_JSON_LINKS 600U /* an address; etcd lets a put without a leader hang for 7 s */
#define OPEN_LINKS (2 * OPEN_JSON_LINKS)

struct shot {
    struct load_op op; /* first */
    FILE *f;
    struct load_link *link;
    uint64_t start_us;
    char key[64];
};

struct open_world {
    const struct load_opts *o;
    uv_loop_t loop;
    uv_timer_t timer;
    struct load_link *links[OPEN_LINKS];
    bool busy[OPEN_LINKS];
    size_t n;
    unsigned turn;
    uint64_t end_us, shots;
    FILE *f;
};

static struct open_world *open_of;

static void shot_done(struct load_op *op, const struct err *err, const char *value, size_t len,
                      bool changed)
{
    struct shot *s = (struct shot *)(void *)op;

    (void)value;
    (void)len;
    (void)changed;
    (void)fprintf(s->f, "%" PRIu64 " %" PRIu64 " %d\n", s->start_us, clock_now_us(),
                  err == NULL ? 0 : err->code);
    for (size_t i = 0; i < open_of->n; i++) {
        if (open_of->links[i] == s->link) {
            open_of->busy[i] = false;
        }
    }
    free(s);
}

static void on_shot(uv_timer_t *t)
{
    struct open_world *w = t->data;
    struct shot *s;

    if (clock_now_us() > w->end_us) {
        uv_stop(&w->loop);
        return;
    }
    for (size_t i = 0; i < w->n; i++) {
        size_t k = (w->turn + i) % w->n;

        if (!w->links[k]->ready || w->busy[k]) {
            continue;
        }
        w->turn = (unsigned)k + 1;
        w->busy[k] = w->o->target.proto == LOAD_JSON;
        s = OBJ_NEW(struct shot);
        s->f = w->f;
        s->link = w->links[k];
        s->start_us = clock_now_us();
        (void)snprintf(s->key, sizeof(s->key), "%sopen/%" PRIu64, w->o->prefix, w->shots++ % 1000);
        s->op = (struct load_op){
            .kind = LOAD_PUT, .key = s->key, .value = "open", .vlen = 4, .done = shot_done
        };
        load_link_issue(s->link, &s->op);
        return;
    }
}

int load_open_main(const struct load_opts *o)
{
    static struct open_world w;

    CHECK(uv_loop_init(&w.loop) == 0);
    open_of = &w;
    w.o = o;
    w.f = fopen(o->file == NULL ? "/dev/stdout" : o->file, "w");
    if (w.f == NULL) {
        perror(o->file);
        return 1;
    }
    (void)setvbuf(w.f, NULL, _IOLBF, 0);
    /* A JSON connection is blocked by a put that hangs: there must be enough of them. */
    w.n = o->n_addresses * (o->target.proto == LOAD_JSON ? OPEN_JSON_LINKS : 1);
    if (w.n > OPEN_LINKS) {
        (void)fprintf(stderr, "load open: two addresses at most with --proto json\n");
        return 2;
    }
    for (size_t i = 0; i < w.n; i++) {
        w.links[i] = load_link_new(&w.loop, &o->target, o->addresses[i % o->n_addresses]);
    }
    w.end_us = clock_now_us() + (uint64_t)(o->seconds * 1e6);
    w.timer.data = &w;
    CHECK(uv_timer_init(&w.loop, &w.timer) == 0);
    CHECK(uv_timer_start(&w.timer, on_shot, 300, o->interval_ms) == 0);
    (void)uv_run(&w.loop, UV_RUN_DEFAULT);
    (void)fclose(w.f);
    return 0;
}
