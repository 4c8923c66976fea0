#ifndef TESTS_UNIT_RAFT_FIXTURE_H
#define TESTS_UNIT_RAFT_FIXTURE_H

/* libraft's own cluster in memory, with our guard around each server's raft_io: for scripted
 * stories that need exact control over who hears whom.  A state machine is the letters that were
 * applied. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <raft.h>
#include <raft/fixture.h>
#include <string.h>

#include "base/obj.h"
#include "raft/guard.h"

#define FX_MAX 5u

struct fx {
    struct raft_fixture f;
    unsigned n;
    struct guard guards[FX_MAX];
    struct raft_fsm fsm[FX_MAX];
    char text[FX_MAX][64]; /* letters applied, without the barriers */
    struct raft_apply req[32];
    int status[32]; /* of the command with this letter, -1: not called back */
    unsigned n_req;
};

static int fx_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    char *text = fsm->data;
    size_t len = strlen(text);

    if (len + 1 < 64) {
        text[len] = *(const char *)buf->base;
    }
    *result = NULL;
    return 0;
}

static int fx_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    (void)fsm;
    (void)bufs;
    (void)n;
    return RAFT_BUSY;
}

static int fx_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

static void fx_ready(void *ctx, raft_term term)
{
    (void)ctx;
    assert_true(term > 0);
}

static void fx_fail(void *ctx, const char *why)
{
    (void)ctx;
    fail_msg("the guard gave up: %s", why);
}

static void fx_cut(void *ctx, raft_index index)
{
    (void)ctx;
    fail_msg("unexpected cut at %llu", index);
}

static struct raft *fx_raft(struct fx *x, unsigned i)
{
    return raft_fixture_get(&x->f, i);
}

/* Assert that the library did what it was told. */
static void fx_ok(int rv)
{
    assert_int_equal(rv, 0);
}

static void fx_open(struct fx *x, unsigned n, bool guarded)
{
    struct guard_hooks hooks = { .on_ready = fx_ready, .on_fail = fx_fail, .on_cut = fx_cut };
    struct raft_configuration conf;

    memset(x, 0, sizeof(*x)); /* also what raft_fixture_initialize forgets (rule 16) */
    x->n = n;
    fx_ok(raft_fixture_initialize(&x->f));
    for (unsigned i = 0; i < n; i++) {
        x->fsm[i] = (struct raft_fsm){ .version = 1,
                                       .data = x->text[i],
                                       .apply = fx_apply,
                                       .snapshot = fx_snapshot,
                                       .restore = fx_restore };
        fx_ok(raft_fixture_grow(&x->f, &x->fsm[i]));
        x->guards[i].off = !guarded;
        guard_install(&x->guards[i], fx_raft(x, i), &hooks);
    }
    fx_ok(raft_fixture_configuration(&x->f, n, &conf));
    fx_ok(raft_fixture_bootstrap(&x->f, &conf));
    raft_configuration_close(&conf);
    fx_ok(raft_fixture_start(&x->f));
    for (unsigned i = 0; i < n; i++) {
        guard_started(&x->guards[i]);
    }
}

static void fx_close(struct fx *x)
{
    raft_fixture_close(&x->f);
    for (unsigned i = 0; i < x->n; i++) {
        guard_done(&x->guards[i]);
    }
}

static void fx_cb(struct raft_apply *req, int status, void *result)
{
    int *slot = req->data;

    (void)result;
    *slot = status;
}

/* Propose one letter; the result is where its status will be. */
static const int *fx_propose(struct fx *x, unsigned i, char letter)
{
    struct raft_buffer b = { .len = 8 };
    unsigned k = x->n_req++;

    assert_true(k < 32);
    b.base = raft_malloc(8);
    memset(b.base, letter, 8);
    x->status[k] = -1;
    x->req[k].data = &x->status[k];
    fx_ok(raft_apply(fx_raft(x, i), &x->req[k], &b, 1, fx_cb));
    return &x->status[k];
}

static void fx_link(struct fx *x, unsigned from, unsigned to, bool up)
{
    if (up) {
        raft_fixture_desaturate(&x->f, from, to);
    } else {
        raft_fixture_saturate(&x->f, from, to);
    }
}

static void fx_links(struct fx *x, unsigned i, bool up)
{
    for (unsigned j = 0; j < x->n; j++) {
        if (j != i) {
            fx_link(x, i, j, up);
            fx_link(x, j, i, up);
        }
    }
}

/* Step until server i leads, which is the only one that is in a hurry. */
static bool fx_lead(struct fx *x, unsigned i, unsigned max_ms)
{
    raft_time until = raft_fixture_time(&x->f) + max_ms;

    for (unsigned j = 0; j < x->n; j++) {
        struct raft *r = fx_raft(x, j);
        unsigned ms = j == i ? 1000 : 2000;

        raft_fixture_set_randomized_election_timeout(&x->f, j, ms); /* from the next reset on */
        if (r->state == RAFT_FOLLOWER) {
            r->follower_state.randomized_election_timeout = ms;
        }
    }
    while (raft_fixture_time(&x->f) < until) {
        raft_fixture_step(&x->f);
        if (raft_fixture_alive(&x->f, i) && fx_raft(x, i)->state == RAFT_LEADER) {
            return true;
        }
    }
    return false;
}

#endif
