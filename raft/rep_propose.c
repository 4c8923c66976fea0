#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/rep_core.h"

/* Proposals: collected into groups, a group is one raft entry.
 *
 * A command waits in the queue whatever this node is; at each step the queue's groups are proposed
 * (by the leader, at most REP_GROUPS_INFLIGHT at a time) or sent to the leader (rep_forward.c).  As
 * long as a command is in the queue it has certainly not happened; from then on only its
 * application tells, and a time-out or a lost leadership means an unknown outcome. */

static void queue_push(struct rep_groups *q, struct rep_group *g)
{
    g->next = NULL;
    *q->tail = g;
    q->tail = &g->next;
    q->n++;
}

struct rep_group *rep_group_new(struct rep *r)
{
    struct rep_group *g = r->group_pool;

    if (g == NULL) {
        g = OBJ_NEW(struct rep_group);
    } else {
        r->group_pool = g->next;
    }
    g->rep = r;
    g->next = NULL;
    g->n = g->n_over = 0;
    g->any_drop = false;
    g->status = 0;
    return g;
}

void rep_group_put(struct rep *r, struct rep_group *g)
{
    group_done(&g->g);
    for (size_t i = 0; i < g->cap_results; i++) {
        buf_clear(&g->results[i]);
    }
    g->next = r->group_pool;
    r->group_pool = g;
}

static struct rep_wait *group_wait(struct rep_group *g)
{
    if (g->n == g->cap_waits) {
        g->cap_waits = g->cap_waits == 0 ? 16 : g->cap_waits * 2;
        g->waits = mem_realloc(g->waits, g->cap_waits * sizeof(*g->waits));
    }
    g->waits[g->n] = (struct rep_wait){ .state = WAIT_OPEN };
    return &g->waits[g->n++];
}

static struct rep_group *queue_last(struct rep *r)
{
    return r->queue.n == 0 ? NULL : CONTAINER_OF(r->queue.tail, struct rep_group, next);
}

struct rep_wait *rep_queue_add(struct rep *r, const void *cmd, size_t len)
{
    struct rep_group *g = queue_last(r);

    if (g == NULL || g->g.count != g->n || !group_fits(&g->g, len)) {
        g = rep_group_new(r);
        queue_push(&r->queue, g);
    }
    group_add(&g->g, cmd, len);
    r->queue_bytes += len;
    return group_wait(g);
}

static void propose_refuse(struct rep *r, struct rep_req *req, rep_propose_cb *cb, int code,
                           const char *text)
{
    struct err err;

    (void)err_set(&err, code, "%s", text);
    rep_fail(r, REQ_PROPOSE, req, (void (*)(void))cb, &err);
}

void rep_propose(struct rep *r, struct rep_req *req, const void *cmd, size_t len,
                 uint64_t timeout_ms, rep_propose_cb *cb)
{
    struct rep_wait *w;

    OBJ_CHECK(r, REP_MAGIC);
    if (len > GROUP_CMD_MAX) {
        propose_refuse(r, req, cb, ERR_TOO_LARGE, "the command is larger than 2 MiB");
        return;
    }
    if (r->queue_bytes + len > REP_QUEUE_MAX) {
        propose_refuse(r, req, cb, ERR_LIMIT, "64 MiB of commands are waiting already");
        return;
    }
    if (wal_full(r->wal) && r->raft.state == RAFT_LEADER) {
        propose_refuse(r, req, cb, ERR_LIMIT,
                       "no space for the log on this node's disk: make room, nothing was written");
        return;
    }
    w = rep_queue_add(r, cmd, len);
    w->req = req;
    w->cb = cb;
    w->deadline_ms = rep_now(r) + timeout_ms;
}

void rep_wait_fail(struct rep *r, struct rep_wait *w, int code, const char *text)
{
    if (w->req != NULL) {
        propose_refuse(r, w->req, w->cb, code, text);
    }
    w->req = NULL;
    w->state = WAIT_OVER;
}

/* --- proposing --- */

/* Rebuild the queue's first group without the commands that are not to be proposed any more. */
void rep_queue_strip(struct rep *r, struct rep_group *g)
{
    struct group old = g->g;
    uint32_t n = 0;

    if (!g->any_drop) {
        return;
    }
    g->g = (struct group){ 0 };
    for (uint32_t i = 0; i < g->n; i++) {
        struct rep_cmd c = group_cmd(&old, i);

        if (g->waits[i].drop) {
            r->queue_bytes -= c.len;
            continue;
        }
        group_add(&g->g, c.data, c.len);
        g->waits[n++] = g->waits[i];
    }
    g->n = n;
    g->any_drop = false;
    group_done(&old);
}

static size_t group_bytes(const struct rep_group *g)
{
    return g->n == 0 ? 0 : g->g.len - GROUP_HEAD - (size_t)4 * g->n;
}

struct rep_group *rep_queue_pop(struct rep *r)
{
    struct rep_group *g = r->queue.head;

    r->queue.head = g->next;
    if (--r->queue.n == 0) {
        r->queue.tail = &r->queue.head;
    }
    r->queue_bytes -= group_bytes(g);
    g->next = NULL;
    return g;
}

static void inflight_remove(struct rep *r, struct rep_group *g)
{
    struct rep_group **p = &r->inflight;

    while (*p != g) {
        CHECK(*p != NULL);
        p = &(*p)->next;
    }
    *p = g->next;
    g->next = NULL;
    r->n_inflight--;
}

static void propose_cb(struct raft_apply *req, int status, void *result)
{
    struct rep_group *g = CONTAINER_OF(req, struct rep_group, apply);
    struct rep *r = g->rep;
    struct rep_event *e;

    inflight_remove(r, g);
    g->status = status;
    if (status != 0) {
        e = rep_event(r, EVENT_LOST);
        e->group = g;
        return;
    }
    /* The event of this very application is the last one: rep_fsm_apply has just made it. */
    CHECK(result == r && r->n_events > 0);
    e = &r->events[r->n_events - 1];
    CHECK(e->kind == EVENT_APPLIED && e->a == req->index && e->entry.base != NULL);
    e->group = g;
}

static bool propose_group(struct rep *r, struct rep_group *g)
{
    size_t len = g->g.len;
    struct raft_buffer b;
    int rv;

    group_seal(&g->g, r->env.wall_ms(r->env.ctx));
    b = (struct raft_buffer){ .base = g->g.data, .len = g->g.len };
    g->next = r->inflight;
    r->inflight = g;
    r->n_inflight++;
    rep_enter(r);
    rv = raft_apply(&r->raft, &g->apply, &b, 1, propose_cb);
    if (rv != 0) {
        inflight_remove(r, g);
        g->g.len = len;
    } else {
        g->g = (struct group){ 0 };
    }
    rep_leave(r);
    return rv == 0;
}

static bool propose_allowed(const struct rep *r)
{
    return guard_ready(&r->guard) && r->raft.transfer == NULL && r->transfer_to == 0 &&
           !wal_full(r->wal) && r->n_pending < REP_PENDING_MAX;
}

void rep_propose_step(struct rep *r)
{
    while (!r->dead && r->queue.n > 0 && r->n_inflight < REP_GROUPS_INFLIGHT &&
           propose_allowed(r)) {
        struct rep_group *g = r->queue.head;

        rep_queue_strip(r, g);
        g = rep_queue_pop(r);
        if (g->n == 0) {
            rep_group_put(r, g);
            continue;
        }
        if (!propose_group(r, g)) {
            g->next = r->queue.head;
            r->queue.head = g;
            if (r->queue.n++ == 0) {
                r->queue.tail = &g->next;
            }
            r->queue_bytes += group_bytes(g);
            return;
        }
    }
}

/* --- applying ---
 *
 * The core says what is committed, possibly all at once: after a restart that is the whole log.  It
 * is given to the state machine in the events that follow, REP_APPLY_SLICE bytes in a step, so that
 * heartbeats and votes do not wait for it.  The entries' memory is the core's log's: it is not cut
 * below what the state machine has (rep_snap.c), and before a snapshot takes the log's place all is
 * applied (rep_spool.c). */

int rep_fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct rep *r = fsm->data;
    struct rep_event *e = rep_event(r, EVENT_APPLIED);

    e->a = r->raft.last_applied + 1;
    e->b = guard_term_of(&r->raft, e->a);
    e->entry = *buf;
    r->n_pending++;
    r->pending += buf->len;
    *result = r;
    return 0;
}

static void keep_results(struct rep *r, struct rep_group *g)
{
    if (g->cap_results < g->n) {
        g->results = mem_realloc(g->results, g->cap_waits * sizeof(*g->results));
        memset(g->results + g->cap_results, 0,
               (g->cap_waits - g->cap_results) * sizeof(*g->results));
        g->cap_results = g->cap_waits;
    }
    for (uint32_t i = 0; i < g->n; i++) {
        struct buf swap = g->results[i];

        g->results[i] = r->results[i];
        r->results[i] = swap;
    }
}

void rep_apply_event(struct rep *r, struct rep_event *e)
{
    uint64_t leader_ms;
    size_t n;

    if (e->entry.base == NULL) {
        return;
    }
    if (!group_decode(e->entry.base, e->entry.len, &leader_ms, r->cmds, &n)) {
        rep_die(r,
                "a committed entry cannot be decoded: this log is of another release or damaged");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        buf_clear(&r->results[i]);
    }
    CHECK(r->n_pending > 0 && e->a > r->applied);
    r->params.fsm.apply(r->params.fsm.ctx, e->a, e->b, leader_ms, r->cmds, n, r->results);
    e->b = r->params.fsm.hash == NULL ? 0 : r->params.fsm.hash(r->params.fsm.ctx);
    if (e->group != NULL) {
        keep_results(r, e->group);
    }
    r->applied = e->a;
    r->n_pending--;
    r->pending -= e->entry.len;
    r->slice += e->entry.len;
    r->log_bytes += e->entry.len;
    e->entry.base = NULL;
    rep_snap_due(r);
}

void rep_apply_all(struct rep *r)
{
    for (size_t i = r->next_event; i < r->n_events && r->n_pending > 0 && !r->dead; i++) {
        if (r->events[i].kind == EVENT_APPLIED) {
            rep_apply_event(r, &r->events[i]);
        }
    }
}

/* The waiters of a group that was applied or lost. */
void rep_propose_applied(struct rep *r, struct rep_event *e)
{
    struct rep_group *g = e->group;
    uint64_t index = e->a;

    if (g == NULL) {
        return;
    }
    for (uint32_t i = 0; i < g->n;) {
        struct rep_wait *w = &g->waits[i];

        if (w->from != 0) {
            g->apply.index = index;
            i = rep_forward_answer(r, g, i, g->status == 0 ? 0 : ERR_UNKNOWN_OUTCOME);
            continue;
        }
        i++;
        if (w->req == NULL) {
            continue;
        }
        if (g->status == 0) {
            struct rep_req *req = w->req;

            w->req = NULL;
            w->cb(req, NULL, index, g->results[i - 1].data, g->results[i - 1].len);
        } else {
            rep_wait_fail(r, w, ERR_UNKNOWN_OUTCOME,
                          "leadership was lost before the command was committed; it may still be");
        }
    }
    rep_group_put(r, g);
}

/* --- time-outs --- */

static void propose_expire(struct rep *r, struct rep_group *g, uint64_t now, bool proposed)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct rep_wait *w = &g->waits[i];

        if (w->deadline_ms > now || w->drop || (proposed && w->req == NULL)) {
            continue;
        }
        if (proposed) {
            rep_wait_fail(r, w, ERR_UNKNOWN_OUTCOME,
                          "the command was not committed in time; it may still be");
            continue;
        }
        if (w->from != 0) {
            /* One at a time: time-outs are rare. */
            struct rep_group one = { .waits = w, .n = 1 };

            (void)rep_forward_answer(r, &one, 0, ERR_NO_QUORUM);
        } else {
            rep_wait_fail(r, w, ERR_NO_QUORUM,
                          "no leader with a quorum took the command in time; it did not happen");
        }
        w->drop = true;
        g->any_drop = true;
    }
}

void rep_propose_tick(struct rep *r, uint64_t now)
{
    for (struct rep_group *g = r->queue.head; g != NULL; g = g->next) {
        propose_expire(r, g, now, false);
    }
    for (struct rep_group *g = r->inflight; g != NULL; g = g->next) {
        propose_expire(r, g, now, true);
    }
}

void rep_propose_init(struct rep *r)
{
    r->queue.tail = &r->queue.head;
    r->forwarded.tail = &r->forwarded.head;
    r->results = mem_alloc(GROUP_CMDS_MAX * sizeof(*r->results));
}

static void group_free(struct rep_group *g)
{
    while (g != NULL) {
        struct rep_group *next = g->next;

        group_done(&g->g);
        for (size_t i = 0; i < g->cap_results; i++) {
            buf_done(&g->results[i]);
        }
        free(g->results);
        free(g->waits);
        free(g);
        g = next;
    }
}

void rep_propose_done(struct rep *r)
{
    group_free(r->queue.head);
    group_free(r->forwarded.head);
    group_free(r->inflight);
    group_free(r->group_pool);
    for (size_t i = 0; i < GROUP_CMDS_MAX; i++) {
        buf_done(&r->results[i]);
    }
    free(r->results);
}
