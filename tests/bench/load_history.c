/* Operations with unique values on a few keys, each written down with when it began and ended:
 * input of tests/torture/check.py.
 *
 * A line is one JSON array: [client, op, key, argument, begin_us, end_us, outcome, result]
 *   op       "w" (write argument), "r" (read), "c" (compare-and-set, argument [old, new]), "d"
 *   outcome  "ok"; "fail": it certainly did not happen; "info": it may have happened, or may yet
 *   result   r: the value or null; c, d: true or false; else null
 * A client whose operation ended in "info" goes on under a new number, since the old one's
 * operation may take effect at any later time. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "tests/bench/load.h"

#define OP_MS 4000U /* then its outcome is unknown */
#define PAUSE_MS 5U

struct history;

/* One attempt; it outlives the client's interest in it when it takes too long. */
struct attempt {
    struct load_op op;          /* first */
    struct hist_client *client; /* NULL: given up */
    unsigned number;
    uint64_t begin_us;
    char key[64], value[64], old[64];
    bool has_old;
};

struct hist_client {
    struct history *h;
    struct attempt *now;
    unsigned number, at; /* at: link */
    uint64_t not_before_us;
    char seen[64][64]; /* the last value it saw of each key, for compares */
};

struct history {
    const struct load_opts *o;
    uv_loop_t loop;
    uv_timer_t timer;
    struct load_link **links;
    unsigned n_links;
    struct hist_client *clients;
    unsigned next_number;
    uint64_t serial, ops, end_us;
    struct prng prng;
    FILE *f;
};

static void put_text(FILE *f, const char *s)
{
    if (s == NULL) {
        (void)fputs("null", f);
    } else {
        (void)fprintf(f, "\"%s\"", s); /* our own keys and values need no escapes */
    }
}

static void write_line(struct history *h, const struct attempt *t, const char *outcome,
                       const char *result)
{
    static const char *const names[] = {
        [LOAD_PUT] = "w", [LOAD_GET] = "r", [LOAD_CAS] = "c", [LOAD_DELETE] = "d"
    };

    (void)fprintf(h->f, "[%u, \"%s\", \"%s\", ", t->number, names[t->op.kind], t->key);
    if (t->op.kind == LOAD_CAS) {
        (void)fputc('[', h->f);
        put_text(h->f, t->has_old ? t->old : NULL);
        (void)fprintf(h->f, ", \"%s\"]", t->value);
    } else {
        put_text(h->f, t->op.kind == LOAD_PUT ? t->value : NULL);
    }
    (void)fprintf(h->f, ", %" PRIu64 ", %" PRIu64 ", \"%s\", %s]\n", t->begin_us, clock_now_us(),
                  outcome, result);
    h->ops++;
}

/* What certainly did not happen; everything else may have. */
static bool did_not_happen(const struct err *err, enum load_kind kind)
{
    return kind == LOAD_GET || err->code == ERR_NO_QUORUM || err->code == ERR_NOT_LEADER ||
           err->code == ERR_LIMIT;
}

static void client_free(struct hist_client *c, bool unknown)
{
    c->now = NULL;
    c->not_before_us = clock_now_us() + PAUSE_MS * 1000U;
    if (unknown) {
        c->number = c->h->next_number++;
        c->at++; /* try another member */
    }
}

static void on_done(struct load_op *op, const struct err *err, const char *value, size_t len,
                    bool changed)
{
    struct attempt *t = (struct attempt *)(void *)op;
    struct hist_client *c = t->client;
    char text[80] = "null";

    if (c == NULL) {
        free(t); /* too late: it was written down as unknown */
        return;
    }
    if (err != NULL) {
        bool no = did_not_happen(err, op->kind);

        write_line(c->h, t, no ? "fail" : "info", "null");
        client_free(c, !no);
        c->at += no;
        free(t);
        return;
    }
    if (op->kind == LOAD_CAS || op->kind == LOAD_DELETE) {
        (void)snprintf(text, sizeof(text), "%s", changed ? "true" : "false");
    } else if (op->kind == LOAD_GET && value != NULL) {
        (void)snprintf(text, sizeof(text), "\"%.*s\"", (int)(len < 60 ? len : 60), value);
        (void)snprintf(c->seen[atoi(t->key + strlen(c->h->o->prefix)) % 64], 64, "%.*s",
                       (int)(len < 60 ? len : 60), value);
    }
    write_line(c->h, t, "ok", text);
    client_free(c, false);
    free(t);
}

static void client_next(struct hist_client *c)
{
    struct history *h = c->h;
    struct load_link *l = h->links[c->at % h->n_links];
    uint64_t k = prng_below(&h->prng, h->o->keys < 64 ? h->o->keys : 64);
    uint64_t dice = prng_below(&h->prng, 100);
    struct attempt *t;

    if (!l->ready) {
        c->at++;
        c->not_before_us = clock_now_us() + PAUSE_MS * 1000U;
        return;
    }
    t = OBJ_NEW(struct attempt);
    t->client = c;
    t->number = c->number;
    t->op.done = on_done;
    t->op.kind = dice < 40 ? LOAD_PUT : dice < 75 ? LOAD_GET : dice < 95 ? LOAD_CAS : LOAD_DELETE;
    (void)snprintf(t->key, sizeof(t->key), "%s%" PRIu64, h->o->prefix, k);
    (void)snprintf(t->value, sizeof(t->value), "v%" PRIu64, ++h->serial);
    t->has_old = c->seen[k][0] != 0 && prng_below(&h->prng, 8) != 0;
    (void)snprintf(t->old, sizeof(t->old), "%s", c->seen[k]);
    t->op.key = t->key;
    t->op.value = t->value;
    t->op.vlen = strlen(t->value);
    t->op.old = t->has_old ? t->old : NULL;
    t->op.old_len = strlen(t->old);
    t->begin_us = clock_now_us();
    c->now = t;
    if (prng_below(&h->prng, 20) == 0) {
        c->at++; /* the next one goes elsewhere */
    }
    load_link_issue(l, &t->op);
}

static void on_tick(uv_timer_t *timer)
{
    struct history *h = timer->data;
    uint64_t now = clock_now_us();

    for (unsigned i = 0; i < h->o->clients; i++) {
        struct hist_client *c = &h->clients[i];

        if (c->now != NULL && now - c->now->begin_us > OP_MS * 1000U) {
            write_line(h, c->now, c->now->op.kind == LOAD_GET ? "fail" : "info", "null");
            c->now->client = NULL;
            client_free(c, true);
        }
        if (c->now == NULL && now >= c->not_before_us && now < h->end_us) {
            client_next(c);
        }
    }
    if (now > h->end_us + OP_MS * 1000U + 500000) {
        uv_stop(&h->loop);
    }
    (void)fflush(h->f);
}

int load_history_main(const struct load_opts *o)
{
    static struct history h;

    CHECK(uv_loop_init(&h.loop) == 0);
    h.o = o;
    h.f = fopen(o->file == NULL ? "/dev/stdout" : o->file, "w");
    if (h.f == NULL) {
        perror(o->file);
        return 1;
    }
    prng_init(&h.prng, o->seed);
    /* Native links carry many operations, so one a member does; a JSON link is the client's. */
    h.n_links = (unsigned)o->n_addresses;
    h.links = mem_alloc(h.n_links * sizeof(*h.links));
    for (unsigned i = 0; i < h.n_links; i++) {
        h.links[i] = load_link_new(&h.loop, &o->target, o->addresses[i]);
    }
    h.clients = mem_alloc(o->clients * sizeof(*h.clients));
    for (unsigned i = 0; i < o->clients; i++) {
        h.clients[i].h = &h;
        h.clients[i].at = i;
        h.clients[i].number = h.next_number++;
    }
    h.serial = o->seed * UINT64_C(1000000000); /* values are unique across runs on one store */
    h.end_us = clock_now_us() + (uint64_t)(o->seconds * 1e6);
    h.timer.data = &h;
    CHECK(uv_timer_init(&h.loop, &h.timer) == 0);
    CHECK(uv_timer_start(&h.timer, on_tick, 100, 1) == 0);
    (void)uv_run(&h.loop, UV_RUN_DEFAULT);
    (void)fclose(h.f);
    printf("{\"ops\": %" PRIu64 "}\n", h.ops);
    return h.ops > 0 ? 0 : 1;
}
