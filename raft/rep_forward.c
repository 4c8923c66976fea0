#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/le.h"
#include "raft/rep_core.h"

/* Commands proposed on a follower: whole groups travel to the leader, which puts the commands into
 * its own queue; the answers come back one by one and are given to the callers when the local state
 * has applied the entry too.
 *
 *   PROPOSE         tag u64, timeout ms u32, count u32, count times { len u32, bytes }
 *   PROPOSE_RESULT  count u32, count times { tag u64, slot u32, code u32 (0 or -err), index u64,
 *                   len u32, bytes }
 *
 * NOT_LEADER in an answer means that the command was not proposed: it goes back into the queue.
 * When the link breaks before the answer, the outcome is unknown. */

#define FORWARD_GROUPS_MAX 8u /* unanswered ones */

static void forward_send(struct rep *r, struct rep_group *g, uint64_t to, uint64_t now)
{
    uint64_t until = 0;
    size_t at;

    for (uint32_t i = 0; i < g->n; i++) {
        until = g->waits[i].deadline_ms > until ? g->waits[i].deadline_ms : until;
    }
    g->tag = ++r->next_tag;
    g->to = to;
    g->n_over = 0;
    at = frame_begin(&r->frame, FRAME_PROPOSE);
    buf_add_u64(&r->frame, g->tag);
    buf_add_u32(&r->frame, until > now ? (uint32_t)(until - now) : 0);
    buf_add_u32(&r->frame, g->n);
    buf_add(&r->frame, g->g.data + GROUP_HEAD, g->g.len - GROUP_HEAD);
    frame_end(&r->frame, at);
    (void)rep_send(r, to);
    g->next = NULL;
    *r->forwarded.tail = g;
    r->forwarded.tail = &g->next;
    r->forwarded.n++;
}

/* What others had sent to this node while it led, and what it has not proposed, goes back. */
static void forward_return(struct rep *r, struct rep_group *g)
{
    for (uint32_t i = 0; i < g->n;) {
        struct rep_wait *w = &g->waits[i];

        if (w->from == 0 || w->drop) {
            i++;
            continue;
        }
        for (uint32_t k = i; k < g->n && g->waits[k].from == w->from; k++) {
            g->waits[k].drop = true;
        }
        g->any_drop = true;
        i = rep_forward_answer(r, g, i, ERR_NOT_LEADER);
    }
}

void rep_forward_step(struct rep *r)
{
    uint64_t leader = rep_leader(r);
    uint64_t now;

    if (r->queue.n == 0 || r->raft.state == RAFT_LEADER || r->dead) {
        return;
    }
    for (struct rep_group *g = r->queue.head; g != NULL; g = g->next) {
        forward_return(r, g);
    }
    now = rep_now(r);
    if (now < r->forward_not_before_ms) {
        return;
    }
    while (r->queue.n > 0 && leader != 0 && leader != r->params.id &&
           r->forwarded.n < FORWARD_GROUPS_MAX && rep_can_send(r, leader)) {
        struct rep_group *g = r->queue.head;

        rep_queue_strip(r, g);
        g = rep_queue_pop(r);
        if (g->n == 0) {
            rep_group_put(r, g);
        } else {
            forward_send(r, g, leader, now);
        }
    }
}

/* --- the leader's side --- */

void rep_forward_request(struct rep *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    uint64_t tag = rd_u64(&rd), now = rep_now(r);
    uint32_t timeout = rd_u32(&rd), n = rd_u32(&rd);
    struct rep_group refused = { 0 };
    struct rep_wait waits[GROUP_CMDS_MAX];
    bool take =
        r->raft.state == RAFT_LEADER && r->queue_bytes + len <= REP_QUEUE_MAX && !wal_full(r->wal);

    for (uint32_t i = 0; i < n && n <= GROUP_CMDS_MAX; i++) {
        uint32_t size = rd_u32(&rd);
        const uint8_t *cmd = rd_bytes(&rd, size);
        struct rep_wait w = { .from = from, .tag = tag, .slot = i, .deadline_ms = now + timeout };

        if (cmd == NULL || size > GROUP_CMD_MAX) {
            break;
        }
        if (take) {
            *rep_queue_add(r, cmd, size) = w;
        } else {
            waits[refused.n++] = w;
        }
    }
    if (rd.bad || rd_left(&rd) != 0 || n > GROUP_CMDS_MAX) {
        lg_warn("raft", "peer=%" PRIu64 " msg=\"malformed forwarded commands\"", from);
    }
    refused.waits = waits;
    if (refused.n > 0) {
        (void)rep_forward_answer(r, &refused, 0,
                                 r->raft.state == RAFT_LEADER ? ERR_LIMIT : ERR_NOT_LEADER);
    }
}

uint32_t rep_forward_answer(struct rep *r, struct rep_group *g, uint32_t i, int code)
{
    uint64_t to = g->waits[i].from;
    uint32_t n = 0;
    size_t at, bytes = 0, count_at;

    at = frame_begin(&r->frame, FRAME_PROPOSE_RESULT);
    count_at = r->frame.len;
    buf_add_u32(&r->frame, 0);
    for (; i < g->n && g->waits[i].from == to && bytes < REP_APPEND_MAX; i++, n++) {
        const struct rep_wait *w = &g->waits[i];
        const struct buf *res = code == 0 ? &g->results[i] : NULL;

        buf_add_u64(&r->frame, w->tag);
        buf_add_u32(&r->frame, w->slot);
        buf_add_u32(&r->frame, (uint32_t)-code);
        buf_add_u64(&r->frame, g->apply.index);
        buf_add_u32(&r->frame, res == NULL ? 0 : (uint32_t)res->len);
        if (res != NULL) {
            buf_add(&r->frame, res->data, res->len);
            bytes += res->len;
        }
    }
    le_put32(r->frame.data + count_at, n);
    frame_end(&r->frame, at);
    (void)rep_send(r, to);
    if (code == 0) {
        rep_pump_eager(r, to); /* it gives the answers when it has applied the entry itself */
    }
    return i;
}

/* --- the follower's side --- */

static struct rep_group *forward_find(struct rep *r, uint64_t from, uint64_t tag)
{
    for (struct rep_group *g = r->forwarded.head; g != NULL; g = g->next) {
        if (g->tag == tag && g->to == from) {
            return g;
        }
    }
    return NULL;
}

static void forward_again(struct rep *r, struct rep_group *g, uint32_t slot)
{
    struct rep_wait *w = &g->waits[slot];
    struct rep_cmd c = group_cmd(&g->g, slot);
    struct rep_wait *again;

    if (w->req != NULL) {
        again = rep_queue_add(r, c.data, c.len);
        again->req = w->req;
        again->cb = w->cb;
        again->deadline_ms = w->deadline_ms;
    }
    w->req = NULL;
    w->state = WAIT_OVER;
}

static void forward_one(struct rep *r, struct rep_group *g, uint32_t slot, int code, uint64_t index,
                        const uint8_t *data, size_t len)
{
    struct rep_wait *w = &g->waits[slot];

    if (w->state != WAIT_OPEN) {
        return;
    }
    if (code == ERR_NOT_LEADER) {
        /* We shall soon know better who leads; do not ask at the speed of the network. */
        r->forward_not_before_ms = rep_now(r) + r->params.heartbeat_ms;
        forward_again(r, g, slot);
    } else if (code != 0) {
        rep_wait_fail(r, w, code, err_text(code));
    } else {
        if (g->cap_results < g->n) {
            g->results = mem_realloc(g->results, g->cap_waits * sizeof(*g->results));
            memset(g->results + g->cap_results, 0,
                   (g->cap_waits - g->cap_results) * sizeof(*g->results));
            g->cap_results = g->cap_waits;
        }
        buf_clear(&g->results[slot]);
        buf_add(&g->results[slot], data, len);
        w->index = index;
        w->state = WAIT_READY;
        return;
    }
    g->n_over++;
}

void rep_forward_result(struct rep *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct rd rd = rd_make(data, len);
    uint32_t n = rd_u32(&rd);

    for (uint32_t i = 0; i < n; i++) {
        uint64_t tag = rd_u64(&rd);
        uint32_t slot = rd_u32(&rd), code = rd_u32(&rd);
        uint64_t index = rd_u64(&rd);
        uint32_t size = rd_u32(&rd);
        const uint8_t *result = rd_bytes(&rd, size);
        struct rep_group *g = forward_find(r, from, tag);

        if (rd.bad || code > 1000) {
            lg_warn("raft", "peer=%" PRIu64 " msg=\"malformed answer to forwarded commands\"",
                    from);
            return;
        }
        if (g != NULL && slot < g->n) {
            forward_one(r, g, slot, -(int)code, index, result, size);
        }
    }
    rep_forward_ready(r);
}

static void forward_collect(struct rep *r)
{
    struct rep_group **p = &r->forwarded.head;

    r->forwarded.tail = p;
    while (*p != NULL) {
        struct rep_group *g = *p;

        if (g->n_over < g->n) {
            p = &g->next;
            r->forwarded.tail = p;
            continue;
        }
        *p = g->next;
        r->forwarded.n--;
        rep_group_put(r, g);
    }
}

/* The answers that came from the leader, for entries that are applied here now. */
void rep_forward_ready(struct rep *r)
{
    uint64_t applied = rep_applied(r);
    bool any = false;

    for (struct rep_group *g = r->forwarded.head; g != NULL; g = g->next) {
        for (uint32_t i = 0; i < g->n; i++) {
            struct rep_wait *w = &g->waits[i];
            struct rep_req *req = w->req;

            if (w->state != WAIT_READY || w->index > applied) {
                continue;
            }
            w->state = WAIT_OVER;
            w->req = NULL;
            g->n_over++;
            any = true;
            if (req != NULL) {
                w->cb(req, NULL, w->index, g->results[i].data, g->results[i].len);
            }
        }
        any = any || g->n_over == g->n;
    }
    if (any) {
        forward_collect(r);
    }
}

void rep_forward_tick(struct rep *r, uint64_t now)
{
    for (struct rep_group *g = r->forwarded.head; g != NULL; g = g->next) {
        for (uint32_t i = 0; i < g->n; i++) {
            struct rep_wait *w = &g->waits[i];

            if (w->state != WAIT_OVER && w->deadline_ms <= now) {
                rep_wait_fail(r, w, ERR_UNKNOWN_OUTCOME,
                              "the leader's answer did not come in time");
                g->n_over++;
            }
        }
    }
    forward_collect(r);
}

void rep_forward_down(struct rep *r, uint64_t id)
{
    for (struct rep_group *g = r->forwarded.head; g != NULL; g = g->next) {
        for (uint32_t i = 0; g->to == id && i < g->n; i++) {
            struct rep_wait *w = &g->waits[i];

            if (w->state == WAIT_OPEN) {
                rep_wait_fail(r, w, ERR_UNKNOWN_OUTCOME,
                              "the link to the leader broke before its answer");
                g->n_over++;
            }
        }
    }
    forward_collect(r);
}
