#ifndef TESTS_UNIT_RAFT_WORLD_H
#define TESTS_UNIT_RAFT_WORLD_H

/* A world for the replicated log: virtual time, one seed, nodes with crashing disks and skewed
 * clocks, links that stall, break, and may lose, double and reorder raft's own messages. Everything
 * that is product code is real; only struct rep_env is replaced. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "raft/frame_codec.h"
#include "raft/rep_env.h"
#include "tests/unit/raft_memdisk.h"

#ifndef WORLD_MAX
#define WORLD_MAX 5u
#endif
#define WORLD_HEARTBEAT 50u
#define WORLD_ELECTION 300u

struct world;

enum wev_kind { WEV_TICK, WEV_STEP, WEV_JOB, WEV_FRAME, WEV_UP, WEV_DOWN, WEV_LINK };

struct wev {
    uint64_t at, order;
    enum wev_kind kind;
    unsigned node, other;
    uint64_t life;  /* of the node; another one: the event is void */
    uint64_t epoch; /* of the link */
    enum rep_lane lane;
    struct rep_job *job;
    uint8_t *data;
    size_t len;
};

struct wlink { /* one direction; a pair shares up and epoch through the lower one */
    bool up;
    bool cut; /* this direction delivers nothing */
    uint64_t epoch;
    uint64_t last_at; /* delivery stays in order */
    uint64_t stalled_at, broken_at;
    size_t queued;
};

struct wnode {
    struct world *world;
    unsigned i;
    uint64_t id;
    char name[16];
    struct memdisk disk;
    struct rep *rep;
    bool used; /* takes part */
    bool died; /* env.die was called */
    bool paused;
    bool step_due; /* a WEV_STEP is on its way */
    uint64_t paused_until;
    uint64_t life;
    double rate; /* of its clock */
    uint64_t offset;
    int64_t wall_step;
    uint64_t lane_at[REP_LANES];
    unsigned disk_ms; /* slowest write */
    char why[256];
    struct prng prng;
    void *user;
};

struct world {
    uint64_t now, order;
    struct prng prng;
    struct wev *heap;
    size_t n, cap;
    struct wnode nodes[WORLD_MAX];
    struct wlink links[WORLD_MAX][WORLD_MAX];
    unsigned drop, twice, late; /* per mille, of raft's messages */
    unsigned net_ms;
    uint64_t snapshot_bytes, segment_bytes;
    size_t apply_slice, shed_keep;
    /* The user's part: the state machine and the events of a node. */
    struct rep_fsm (*fsm)(struct wnode *n);
    struct rep_events (*events)(struct wnode *n);
    void (*after)(struct wnode *n); /* after each event of a node */
    uint64_t frames, lost, crashes, deaths, torn;
};

/* --- events in order of time --- */

static bool wev_before(const struct wev *a, const struct wev *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void world_push(struct world *w, struct wev e)
{
    size_t i = w->n++;

    if (w->n > w->cap) {
        w->cap = w->cap == 0 ? 256 : w->cap * 2;
        w->heap = mem_realloc(w->heap, w->cap * sizeof(*w->heap));
    }
    e.order = ++w->order;
    while (i > 0 && wev_before(&e, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = e;
}

static struct wev world_pop(struct world *w)
{
    struct wev top = w->heap[0], last = w->heap[--w->n];
    size_t i = 0;

    for (;;) {
        size_t c = 2 * i + 1;

        if (c + 1 < w->n && wev_before(&w->heap[c + 1], &w->heap[c])) {
            c++;
        }
        if (c >= w->n || !wev_before(&w->heap[c], &last)) {
            break;
        }
        w->heap[i] = w->heap[c];
        i = c;
    }
    if (w->n > 0) {
        w->heap[i] = last;
    }
    return top;
}

static uint64_t world_rand(struct world *w, uint64_t n)
{
    return prng_below(&w->prng, n);
}

/* --- the environment of a node --- */

static uint64_t we_now(void *ctx)
{
    const struct wnode *n = ctx;

    return n->offset + (uint64_t)((double)n->world->now * n->rate);
}

static uint64_t we_wall(void *ctx)
{
    const struct wnode *n = ctx;

    return 1700000000000U + we_now(ctx) + (uint64_t)n->wall_step;
}

static uint64_t we_random(void *ctx)
{
    struct wnode *n = ctx;

    return prng_u64(&n->prng);
}

static void we_submit(void *ctx, enum rep_lane lane, struct rep_job *job)
{
    struct wnode *n = ctx;
    struct world *w = n->world;
    /* A snapshot takes long, in terms of commands. */
    uint64_t most = lane == REP_LANE_SNAP ? 200ULL * n->disk_ms : n->disk_ms;
    uint64_t at = w->now + world_rand(w, most + 1);

    if (n->disk.frozen) { /* only the memory is cleaned up */
        job->run(job);
        job->done(job);
        return;
    }
    at = at < n->lane_at[lane] ? n->lane_at[lane] : at;
    n->lane_at[lane] = at;
    world_push(
        w,
        (struct wev){
            .at = at, .kind = WEV_JOB, .node = n->i, .life = n->life, .lane = lane, .job = job });
}

static void we_step_in(void *ctx, unsigned ms)
{
    struct wnode *n = ctx;
    struct world *w = n->world;

    if (!n->step_due) {
        n->step_due = true;
        world_push(
            w, (struct wev){ .at = w->now + ms, .kind = WEV_STEP, .node = n->i, .life = n->life });
    }
}

static struct wnode *world_by_id(struct world *w, uint64_t id)
{
    return id >= 1 && id <= WORLD_MAX ? &w->nodes[id - 1] : NULL;
}

static bool we_net_up(void *ctx, uint64_t id)
{
    struct wnode *n = ctx, *to = world_by_id(n->world, id);

    return to != NULL && to != n && n->world->links[n->i][to->i].up;
}

static void world_frame(struct world *w, struct wnode *n, struct wnode *to, const void *data,
                        size_t len, bool in_order)
{
    struct wlink *l = &w->links[n->i][to->i];
    uint64_t at = w->now + 1 + world_rand(w, w->net_ms);

    if (in_order) {
        at = at < l->last_at ? l->last_at : at;
        l->last_at = at;
    } else {
        at += world_rand(w, 400);
    }
    l->queued += len;
    world_push(w, (struct wev){ .at = at,
                                .kind = WEV_FRAME,
                                .node = to->i,
                                .other = n->i,
                                .life = to->life,
                                .epoch = l->epoch,
                                .data = mem_dup(data, len),
                                .len = len });
}

static bool we_net_send(void *ctx, uint64_t id, const void *frame, size_t len)
{
    struct wnode *n = ctx, *to = world_by_id(n->world, id);
    struct world *w = n->world;
    uint16_t kind = ((const uint8_t *)frame)[4];
    bool raft = kind >= FRAME_VOTE && kind <= FRAME_PROBE_ACK;

    if (!we_net_up(ctx, id)) {
        return false;
    }
    if (raft && world_rand(w, 1000) < w->drop) {
        w->lost++;
        return true; /* nobody can know */
    }
    w->frames++;
    world_frame(w, n, to, frame, len, !(raft && world_rand(w, 1000) < w->late));
    if (raft && world_rand(w, 1000) < w->twice) {
        world_frame(w, n, to, frame, len, false);
    }
    return true;
}

static size_t we_net_queued(void *ctx, uint64_t id)
{
    struct wnode *n = ctx, *to = world_by_id(n->world, id);

    return to == NULL ? 0 : n->world->links[n->i][to->i].queued;
}

static void we_net_members(void *ctx, const struct rep_peer_info *peers, size_t n)
{
    (void)ctx; /* here everybody is linked with everybody */
    (void)peers;
    (void)n;
}

static void we_die(void *ctx, const char *why)
{
    struct wnode *n = ctx;

    n->died = true;
    (void)snprintf(n->why, sizeof(n->why), "%s", why);
}

/* The process is gone: what is still on the lanes runs on the frozen disk, for the memory only. */
static void we_close(void *ctx)
{
    struct wnode *n = ctx;
    struct world *w = n->world;
    struct rep_job *jobs[256];
    size_t count = 0;

    for (size_t i = 0; i < w->n; i++) {
        struct wev *e = &w->heap[i];

        if (e->kind == WEV_JOB && e->node == n->i && e->life == n->life && e->job != NULL) {
            CHECK(count < ARRAY_LEN(jobs));
            jobs[count++] = e->job;
            e->job = NULL;
        }
    }
    for (size_t i = 0; i < count; i++) {
        jobs[i]->run(jobs[i]);
        jobs[i]->done(jobs[i]);
    }
}

/* --- nodes --- */

static void world_after(struct wnode *n)
{
    if (n->rep != NULL && !n->died) {
        rep_step(n->rep);
    }
    if (n->world->after != NULL) {
        n->world->after(n);
    }
}

static int world_open(struct world *w, unsigned i, struct err *err)
{
    struct wnode *n = &w->nodes[i];
    struct rep_params p = {
        .dir = n->name,
        .id = n->id,
        .name = n->name,
        .cluster = "sim",
        .heartbeat_ms = WORLD_HEARTBEAT,
        .election_ms = WORLD_ELECTION,
        .snapshot_bytes = w->snapshot_bytes,
        .segment_bytes = w->segment_bytes,
        .fsm = w->fsm(n),
        .events = w->events(n),
    };
    struct rep_env env = {
        .ctx = n,
        .now_ms = we_now,
        .wall_ms = we_wall,
        .random = we_random,
        .submit = we_submit,
        .net_send = we_net_send,
        .net_up = we_net_up,
        .net_queued = we_net_queued,
        .net_members = we_net_members,
        .step_in = we_step_in,
        .die = we_die,
        .close = we_close,
        .disk = &n->disk.disk,
        .segment_min = w->segment_bytes,
        .apply_slice = w->apply_slice,
        .shed_keep = w->shed_keep,
    };
    int rc;

    n->life = ++w->order;
    n->used = true;
    n->died = n->paused = n->step_due = false;
    memset(n->lane_at, 0, sizeof(n->lane_at));
    rc = rep_open_env(&p, &env, &n->rep, err);
    if (rc == 0) {
        world_push(w,
                   (struct wev){ .at = w->now + 1, .kind = WEV_TICK, .node = i, .life = n->life });
        world_after(n);
    }
    return rc;
}

static void world_link_break(struct world *w, unsigned a, unsigned b)
{
    uint64_t epoch = ++w->order;

    for (int k = 0; k < 2; k++, a ^= b, b ^= a, a ^= b) {
        struct wlink *l = &w->links[a][b];

        if (l->up) {
            world_push(w, (struct wev){ .at = w->now + 1 + world_rand(w, 20),
                                        .kind = WEV_DOWN,
                                        .node = a,
                                        .other = b,
                                        .life = w->nodes[a].life });
        }
        l->up = false;
        l->broken_at = w->now;
        l->epoch = epoch;
        l->queued = 0;
        l->last_at = 0;
    }
}

/* What was under way when the power failed: at most one job, a write of the log torn, others half
 * done. It is run again afterwards, on the frozen disk, for its memory. */
static void world_crash_job(struct world *w, struct wnode *n)
{
    for (size_t k = 0; k < w->n && !n->died && world_rand(w, 2) == 0; k++) {
        struct wev *e = &w->heap[k];

        if (e->kind != WEV_JOB || e->node != n->i || e->life != n->life || e->job == NULL) {
            continue;
        }
        if (e->lane == REP_LANE_WAL) {
            n->disk.tear = world_rand(w, 3) != 0;
            w->torn += n->disk.tear;
        } else {
            n->disk.freeze_after = 1 + (unsigned)world_rand(w, 12);
        }
        e->job->run(e->job);
        return;
    }
}

/* Power off. */
MD_USED static void world_crash(struct world *w, unsigned i)
{
    struct wnode *n = &w->nodes[i];

    world_crash_job(w, n);
    n->disk.frozen = true;
    n->disk.freeze_after = 0;
    rep_free(n->rep);
    n->rep = NULL;
    n->life = ++w->order;
    memdisk_crash(&n->disk);
    for (unsigned k = 0; k < WORLD_MAX; k++) {
        if (k != i) {
            world_link_break(w, i, k);
        }
    }
    w->crashes++;
}

MD_USED static void world_cut(struct world *w, unsigned from, unsigned to, bool cut)
{
    w->links[from][to].cut = cut;
    w->links[from][to].stalled_at = w->now;
}

/* Every 50 ms: links that stalled break, links that could be there come. */
static void world_links(struct world *w)
{
    for (unsigned a = 0; a < WORLD_MAX; a++) {
        for (unsigned b = 0; b < a; b++) {
            struct wlink *x = &w->links[a][b], *y = &w->links[b][a];
            bool may = w->nodes[a].rep != NULL && w->nodes[b].rep != NULL && !x->cut && !y->cut &&
                       !w->nodes[a].died && !w->nodes[b].died;
            uint64_t since = x->stalled_at > y->stalled_at ? x->stalled_at : y->stalled_at;

            if (x->up && (x->cut || y->cut) && w->now - since > 2 * WORLD_ELECTION) {
                world_link_break(w, a, b);
            } else if (!x->up && may && w->now > x->broken_at + 30 && world_rand(w, 3) == 0) {
                /* not before both sides were told that the one before is down */
                x->up = y->up = true;
                x->epoch = y->epoch = ++w->order;
                for (int k = 0; k < 2; k++) {
                    unsigned n = k == 0 ? a : b, o = k == 0 ? b : a;

                    world_push(w, (struct wev){ .at = w->now + 1,
                                                .kind = WEV_UP,
                                                .node = n,
                                                .other = o,
                                                .life = w->nodes[n].life,
                                                .epoch = x->epoch });
                    w->links[n][o].last_at = w->now + 2;
                }
            }
        }
    }
    world_push(w, (struct wev){ .at = w->now + 50, .kind = WEV_LINK });
}

static void world_deliver(struct world *w, struct wnode *n, struct wev *e)
{
    struct wlink *l = &w->links[e->other][n->i];
    struct frame f;
    struct err err;
    size_t used;

    if (e->epoch != l->epoch || !l->up) {
        return;
    }
    if (l->cut) { /* it stalls until it is healed or broken */
        struct wev again = *e;

        e->data = NULL;
        again.at = w->now + 20;
        l->last_at = again.at > l->last_at ? again.at : l->last_at;
        world_push(w, again);
        return;
    }
    l->queued -= e->len;
    CHECK(frame_next(e->data, e->len, &f, &used, &err) == 0 && used == e->len);
    rep_frame(n->rep, w->nodes[e->other].id, f.kind, f.data, f.len);
}

static void world_event(struct world *w, struct wev *e)
{
    struct wnode *n = &w->nodes[e->node];

    if (e->kind == WEV_LINK) {
        world_links(w);
        return;
    }
    if (e->life != n->life || n->rep == NULL || n->died) {
        return;
    }
    switch (e->kind) {
    case WEV_TICK:
        rep_tick(n->rep);
        world_push(w, (struct wev){ .at = w->now + (uint64_t)(WORLD_HEARTBEAT / n->rate),
                                    .kind = WEV_TICK,
                                    .node = n->i,
                                    .life = n->life });
        break;
    case WEV_STEP:
        n->step_due = false; /* world_after steps */
        break;
    case WEV_JOB:
        if (e->job == NULL) {
            return;
        }
        e->job->run(e->job);
        e->job->done(e->job);
        break;
    case WEV_FRAME:
        world_deliver(w, n, e);
        break;
    case WEV_UP:
        if (w->links[n->i][e->other].up && w->links[n->i][e->other].epoch == e->epoch) {
            rep_link_up(n->rep, w->nodes[e->other].id);
        }
        break;
    case WEV_DOWN:
        rep_link_down(n->rep, w->nodes[e->other].id);
        break;
    case WEV_LINK:
        break;
    }
    world_after(n);
}

/* One event.  A paused node's events wait until it goes on. */
static void world_step(struct world *w)
{
    struct wev e = world_pop(w);
    struct wnode *n = &w->nodes[e.node];

    CHECK(e.at >= w->now);
    w->now = e.at;
    if (e.kind != WEV_LINK && n->paused && n->paused_until > w->now && e.life == n->life) {
        e.at = n->paused_until;
        world_push(w, e);
        return;
    }
    world_event(w, &e);
    free(e.data);
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){ .net_ms = 5, .segment_bytes = 4u << 20 };
    prng_init(&w->prng, seed);
    for (unsigned i = 0; i < WORLD_MAX; i++) {
        struct wnode *n = &w->nodes[i];

        n->world = w;
        n->i = i;
        n->id = i + 1;
        n->disk_ms = 5;
        n->rate = 0.9 + (double)world_rand(w, 200) / 1000;
        n->offset = 1000 + world_rand(w, 100000);
        (void)snprintf(n->name, sizeof(n->name), "n%u", i + 1);
        prng_init(&n->prng, prng_u64(&w->prng));
        memdisk_init(&n->disk, &w->prng);
    }
    world_push(w, (struct wev){ .at = 1, .kind = WEV_LINK });
}

static void world_done(struct world *w)
{
    for (unsigned i = 0; i < WORLD_MAX; i++) {
        struct wnode *n = &w->nodes[i];

        n->disk.frozen = true;
        rep_free(n->rep);
        n->rep = NULL;
        n->disk.frozen = false;
        memdisk_done(&n->disk);
    }
    while (w->n > 0) {
        free(world_pop(w).data);
    }
    free(w->heap);
}

#endif
