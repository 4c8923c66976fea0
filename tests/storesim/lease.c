/* Raw leases: clients that grant, use, keep and revoke them; the leader's part (the daemon's own
 * leasebook); and what was promised to whom. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "tests/storesim/sim.h"

#define TICK_MS 200U
/* A leader's clock may be that much faster than the client's (nemesis.c: 0.9 to 1.12). */
#define FASTEST 1.13

struct promise {
    uint64_t lease;
    uint64_t until;    /* nobody may end it by time before */
    uint64_t ended_at; /* by time; 0: not */
    uint64_t gone_at;  /* in any way */
    uint64_t ttl_ms;
    uint64_t kept_at; /* newest keep-alive that was acknowledged, or the grant */
};

struct asked {
    struct rep_req req; /* first */
    unsigned node;
    uint64_t call_id, lease;
    struct asked *next; /* all of this world: a node that crashes never answers */
};

static struct asked *all_asked;

static struct promise *promises;
static size_t n_promises, cap_promises;
static unsigned ending; /* the controller's client number, for its commands */

void lease_reset(void)
{
    while (all_asked != NULL) {
        struct asked *q = all_asked;

        all_asked = q->next;
        free(q);
    }
    free(promises);
    promises = NULL;
    n_promises = cap_promises = 0;
    ending = SIM_CLIENTS; /* no client: the leader */
}

static struct promise *promise_of(uint64_t lease)
{
    for (size_t i = n_promises; i > 0; i--) {
        if (promises[i - 1].lease == lease) {
            return &promises[i - 1];
        }
    }
    return NULL;
}

/* --- the leader --------------------------------------------------------------------------------
 */

static void end_done(struct sim_op *op)
{
    struct sim_node *n = &nodes[op->node];

    if (op->state != ST_OK && op->value == n->lead_term && n->lead_term != 0) {
        leasebook_not_ended(&n->book, op->lease, node_clock(n->i));
    }
}

static void end_one(struct sim_node *n, uint64_t lease)
{
    struct cmd c = { .op = CMD_LEASE, .number = lease };
    struct sim_op *op = op_new(ending, n->i, OP_COMMAND);

    c.actor = (struct actor){ ACTOR_CONTROLLER, node_name(n->i), n->lead_term };
    op->lease = lease;
    op->value = n->lead_term;
    op->done = end_done;
    story("%s ends lease %" PRIu64 " (op %" PRIu64 ")", node_name(n->i), lease, op->id);
    op_submit(op, &c);
}

void lease_tick(unsigned i)
{
    struct sim_node *n = &nodes[i];
    uint64_t due[16], clock = node_clock(i);
    size_t many;

    if (rep_of(i) == NULL || n->lead_term == 0 || n->book.watch == NULL || node_paused(i) ||
        clock < n->lease_next) {
        return;
    }
    n->lease_next = clock + TICK_MS;
    leasebook_pull(&n->book, clock);
    many = leasebook_due(&n->book, clock, due, ARRAY_LEN(due));
    for (size_t k = 0; k < many; k++) {
        end_one(n, due[k]);
    }
}

static void asked_done(struct rep_req *req, const struct err *err)
{
    struct asked *q = CONTAINER_OF(req, struct asked, req);
    struct sim_node *n = &nodes[q->node];
    struct leasebook_left left = { 0 };
    struct buf b = { 0 };

    if (err == NULL && n->lead_term != 0) {
        left = leasebook_ask(&n->book, q->lease, true, node_clock(n->i));
    }
    buf_add_u64(&b, left.left_s);
    buf_add_u64(&b, left.ttl_s);
    rep_reply(rep_of(q->node), q->call_id, err, b.data, err == NULL ? b.len : 0);
    buf_done(&b);
}

void lease_call(unsigned i, const uint8_t *data, size_t len, uint64_t call_id)
{
    struct rd r = rd_make(data, len);
    struct asked *q;
    struct err err;

    (void)rd_u8(&r);
    if (nodes[i].lead_term == 0) {
        (void)err_set(&err, ERR_NOT_LEADER, "%s does not lead", node_name(i));
        rep_reply(rep_of(i), call_id, &err, NULL, 0);
        return;
    }
    q = OBJ_NEW(struct asked);
    q->node = i;
    q->call_id = call_id;
    q->lease = rd_u64(&r);
    leasebook_pull(&nodes[i].book, node_clock(i));
    q->next = all_asked;
    all_asked = q;
    rep_read(rep_of(i), &q->req, 3000, asked_done);
}

/* --- what the log says -------------------------------------------------------------------------
 */

void lease_applied(const struct cmd *c, const struct cmd_answer *ans)
{
    struct promise *p;

    if (c->op != CMD_LEASE || ans->code != 0) {
        return;
    }
    if (c->number2 != 0) {
        if (n_promises == cap_promises) {
            cap_promises = cap_promises == 0 ? 64 : cap_promises * 2;
            promises = mem_realloc(promises, cap_promises * sizeof(*promises));
        }
        promises[n_promises++] =
            (struct promise){ .lease = ans->values[0],
                              .ttl_ms = c->number2 * 1000,
                              .kept_at = now(),
                              .until = now() + (uint64_t)((double)c->number2 * 1000 / FASTEST) };
        return;
    }
    p = promise_of(c->number);
    REQUIRE(p != NULL);
    p->gone_at = now();
    if (c->actor.role == ACTOR_CONTROLLER) {
        p->ended_at = now();
        totals.expiries++;
        if (now() < p->until) {
            FAIL("lease %" PRIu64 " ended by time, promised for %" PRIu64 " ms more", p->lease,
                 p->until - now());
        }
    }
}

/* A keep-alive was acknowledged: from when it was sent, the lease has its whole time. */
void lease_kept(struct sim_op *op, const uint8_t *data, size_t len)
{
    struct rd r = rd_make(data, len);
    uint64_t left = rd_u64(&r);
    struct promise *p = promise_of(op->lease);
    uint64_t until;

    totals.keepalives++;
    REQUIRE(!r.bad);
    if (left == 0) {
        return;
    }
    if (p == NULL) {
        FAIL("lease %" PRIu64 " was kept and nobody had granted it", op->lease);
    }
    until = op->began + (uint64_t)((double)p->ttl_ms / FASTEST);
    if (p->gone_at != 0 && p->gone_at < op->began) {
        FAIL("lease %" PRIu64 " was kept after it had gone", p->lease);
    }
    if (p->ended_at != 0 && p->ended_at < until) {
        FAIL("lease %" PRIu64 " was kept, and had ended by time", p->lease);
    }
    p->until = until > p->until ? until : p->until;
    p->kept_at = op->began > p->kept_at ? op->began : p->kept_at;
}

bool lease_all_ended(void)
{
    for (size_t i = 0; i < n_promises; i++) {
        const struct promise *p = &promises[i];

        if (p->gone_at == 0 && now() > p->kept_at + 2 * p->ttl_ms + 20000) {
            story("lease %" PRIu64 " of %" PRIu64 " ms is still there", p->lease, p->ttl_ms);
            return false;
        }
    }
    return true;
}

/* --- clients -----------------------------------------------------------------------------------
 */

static void grant_done(struct sim_op *op)
{
    struct sim_client *c = &clients[op->client];
    struct arena a = { 0 };
    struct cmd_answer ans;

    c->op = NULL;
    c->next_at = now() + rnd(opt.op_every + 1);
    c->answered += op->state == ST_OK || op->state == ST_REFUSED;
    if (op->state == ST_OK) {
        answer_of(op, &a, &ans);
        REQUIRE(ans.n_values == 1);
        c->lease = ans.values[0];
        arena_done(&a);
    } else {
        c->node = SIM_NODES;
    }
}

static void grant(struct sim_client *c)
{
    struct cmd cmd = { .op = CMD_LEASE, .actor = { ACTOR_RAW, "lease", 0 } };
    struct sim_op *op = op_new(c->i, c->node, OP_COMMAND);

    c->ttl_s = 1 + rnd(6);
    c->op = op;
    op->done = grant_done;
    cmd.number = chance(70) ? 0 : 1 + rnd(400);
    cmd.number2 = c->ttl_s;
    story("c%u op %" PRIu64 " at %s: lease for %" PRIu64 " s", c->i, op->id, node_name(op->node),
          c->ttl_s);
    op_submit(op, &cmd);
}

static void keep_done(struct sim_op *op)
{
    struct sim_client *c = &clients[op->client];
    const struct promise *p = promise_of(op->lease);

    c->op = NULL;
    c->next_at = now() + rnd(c->ttl_s * 400);
    c->answered += op->state == ST_OK;
    if (op->state != ST_OK) {
        c->node = SIM_NODES;
    }
    if (p == NULL || p->gone_at != 0) {
        c->lease = 0;
    }
}

static void attach(struct sim_client *c)
{
    struct txn_op put = { .kind = TXN_PUT, .lease = c->lease };
    struct cmd cmd = { .op = CMD_TXN, .actor = { ACTOR_RAW, "lease", 0 } };
    char key[32];

    (void)snprintf(key, sizeof(key), "k/l%u", (unsigned)rnd(12));
    put.key = (struct bytes){ (const uint8_t *)key, strlen(key) };
    put.value = (struct bytes){ (const uint8_t *)"held", 4 };
    cmd.txn.then_ops = &put;
    cmd.txn.n_then = 1;
    command(c, &cmd);
}

void client_lease(struct sim_client *c)
{
    struct cmd cmd = { .op = CMD_LEASE, .actor = { ACTOR_RAW, "lease", 0 }, .number = c->lease };
    uint64_t what = rnd(20);

    if (c->lease == 0) {
        grant(c);
    } else if (what < 8) {
        struct sim_op *op = op_new(c->i, c->node, OP_KEEP);

        op->lease = c->lease;
        op->done = keep_done;
        c->op = op;
        story("c%u op %" PRIu64 " at %s: keep %" PRIu64, c->i, op->id, node_name(op->node),
              op->lease);
        op_keep(op);
    } else if (what < 16) {
        attach(c);
    } else if (what == 16) {
        command(c, &cmd);
        c->lease = 0;
    } else if (what == 17) {
        c->lease = 0;                              /* forgotten: time ends it */
    } else if (!nemesis_healing()) {               /* then every client has to get on */
        c->next_at = now() + rnd(c->ttl_s * 1200); /* late with the next one */
    }
}
