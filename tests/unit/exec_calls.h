#ifndef TESTS_UNIT_EXEC_CALLS_H
#define TESTS_UNIT_EXEC_CALLS_H

/* The lock table of the tests of the executor (exec_world.h), and the calls to it under way. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/exec.h"
#include "reconciler/sim_drv.h"

#define HOSTS 2
#define L 3000U

/* --- the lock table ----------------------------------------------------------------------------
 */

struct slot {
    uint64_t incarnation, token;
    int host;
};

struct lock {
    uint64_t incarnation, token; /* of the owner */
    int host;
    struct slot peer;
    bool aborted;
};

enum call_kind { CALL_ACQUIRE, CALL_RELEASE, CALL_READ, CALL_JOIN, CALL_COMMIT, CALL_ABORT };

struct call {
    struct world *w;
    struct host *h;
    enum call_kind kind;
    uint64_t at_ms;
    uint64_t incarnation;
    char *locks[16];
    uint64_t tokens[16];
    uint64_t peer_token;
    size_t n;
    vmx_acquired_cb *acquired;
    vmx_released_cb *released;
    vmx_read_cb *read;
    void *data;
    bool orphan; /* the agent that made it is dead */
};

struct host {
    struct world *w;
    int index;
    char name[16];
    struct drv *drv;
    struct vmx *x;
    uint64_t incarnation;
    bool up;     /* power */
    bool cut;    /* from the lock table: calls get no answer, no renewals */
    bool fenced; /* the incarnation cannot acquire any more */
    uint64_t lease_until_ms, half_ms;
    struct map intents; /* vm -> struct intent */
    struct map reports; /* vm -> state */
};

struct world {
    uint64_t now;
    struct prng rng;
    struct sim_san *san;
    struct host hosts[HOSTS];
    struct map locks;   /* name -> struct lock */
    struct map objects; /* "plural/name" -> json_t */
    struct call *calls[128];
    size_t n_calls;
    uint64_t last_token, last_incarnation;
    unsigned lose_reply; /* percent of calls that are applied without an answer */
    unsigned refuse;     /* percent of calls that fail without being applied */
    uint64_t acquires, releases, commits;
    bool auto_cycle;
};

static inline struct lock *lock_of(struct world *w, const char *name)
{
    struct lock *l = map_get(&w->locks, name);

    if (l == NULL) {
        l = OBJ_NEW(struct lock);
        (void)map_put(&w->locks, name, l);
    }
    return l;
}

static inline void drop_slot(struct lock *l, uint64_t incarnation)
{
    if (l->incarnation == incarnation) {
        l->incarnation = l->token = 0;
    }
    if (l->peer.incarnation == incarnation) {
        l->peer = (struct slot){ 0 };
        l->aborted = false;
    }
}

static inline int apply_acquire(struct world *w, struct call *c, struct err *err)
{
    if (c->h->fenced || c->incarnation != c->h->incarnation) {
        return err_set(err, ERR_REFUSED, "incarnation %" PRIu64 " is not Live", c->incarnation);
    }
    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        if (l->incarnation != c->incarnation && (l->incarnation != 0 || l->peer.incarnation != 0)) {
            return err_set(err, ERR_CONFLICT, "%s is held by %s", c->locks[i],
                           w->hosts[l->host].name);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        struct lock *l = lock_of(w, c->locks[i]);

        l->incarnation = c->incarnation;
        l->token = ++w->last_token;
        l->host = c->h->index;
        c->tokens[i] = w->last_token;
    }
    w->acquires++;
    return 0;
}

static inline int apply_release(struct world *w, struct call *c, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        if ((l->token != c->tokens[i] || l->incarnation != c->incarnation) &&
            (l->peer.token != c->tokens[i] || l->peer.incarnation != c->incarnation)) {
            return err_set(err, ERR_STALE, "%s is not held by token %" PRIu64, c->locks[i],
                           c->tokens[i]);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        const char *vm = strchr(c->locks[i], '/') + 1;

        /* Never released while it is in use here. */
        if (str_starts(c->locks[i], "virtualmachines/")) {
            assert_false(c->h->up && sim_drv_runs(c->h->drv, vm));
        } else if (str_starts(c->locks[i], "volumes/")) {
            assert_false(c->h->up && sim_drv_active(c->h->drv, "vg", vm));
        }
        drop_slot(lock_of(w, c->locks[i]), c->incarnation);
    }
    w->releases++;
    return 0;
}

/* --- migrations, as store/safety_mig.c has them
 * ------------------------------------------------- */

static inline int apply_join(struct world *w, struct call *c, struct err *err)
{
    if (c->h->fenced || c->incarnation != c->h->incarnation) {
        return err_set(err, ERR_REFUSED, "incarnation %" PRIu64 " is not Live", c->incarnation);
    }
    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        if (l->incarnation == 0 || l->peer.incarnation != 0 || l->host == c->h->index) {
            return err_set(err, ERR_CONFLICT, "%s cannot be joined", c->locks[i]);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        struct lock *l = lock_of(w, c->locks[i]);

        l->peer = (struct slot){ c->incarnation, ++w->last_token, c->h->index };
        l->aborted = false;
        c->tokens[i] = w->last_token;
    }
    return 0;
}

static inline int apply_commit(struct world *w, struct call *c, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        if (l->incarnation != c->incarnation || l->token != c->tokens[i]) {
            return err_set(err, ERR_STALE, "%s is not owned by this token", c->locks[i]);
        }
        if (l->peer.incarnation == 0 || l->aborted ||
            w->hosts[l->peer.host].incarnation != l->peer.incarnation ||
            w->hosts[l->peer.host].fenced) {
            return err_set(err, ERR_REFUSED, "%s: no peer that could take it", c->locks[i]);
        }
    }
    if (lock_of(w, c->locks[0])->peer.token != c->peer_token) {
        return err_set(err, ERR_STALE, "another migration");
    }
    for (size_t i = 0; i < c->n; i++) {
        struct lock *l = lock_of(w, c->locks[i]);
        struct slot source = { l->incarnation, l->token, l->host };

        l->incarnation = l->peer.incarnation;
        l->token = l->peer.token;
        l->host = l->peer.host;
        l->peer = source;
    }
    w->commits++;
    return 0;
}

static inline int apply_abort(struct world *w, struct call *c, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct lock *l = lock_of(w, c->locks[i]);

        if (l->incarnation != c->incarnation || l->token != c->tokens[i]) {
            return err_set(err, ERR_STALE, "%s is not owned by this token", c->locks[i]);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        struct lock *l = lock_of(w, c->locks[i]);

        l->aborted = l->aborted || l->peer.incarnation != 0;
    }
    return 0;
}

static inline struct vmx_lock_info info_of(struct world *w, const char *name, const struct lock *l)
{
    return (struct vmx_lock_info){ .lock = name,
                                   .incarnation = l->incarnation,
                                   .token = l->token,
                                   .host = w->hosts[l->host].name,
                                   .peer_incarnation = l->peer.incarnation,
                                   .peer_token = l->peer.token,
                                   .peer_host = w->hosts[l->peer.host].name,
                                   .aborted = l->aborted };
}

static inline void answer_read(struct world *w, struct call *c)
{
    struct vmx_lock_info infos[16];

    for (size_t i = 0; i < c->n; i++) {
        infos[i] = info_of(w, c->locks[i], lock_of(w, c->locks[i]));
    }
    c->read(c->data, NULL, infos, c->n);
}

static inline void answer(struct call *c, const struct err *err)
{
    if (c->kind == CALL_ACQUIRE || c->kind >= CALL_JOIN) {
        c->acquired(c->data, err, c->tokens, err == NULL ? c->n : 0);
    } else if (c->kind == CALL_RELEASE) {
        c->released(c->data, err);
    } else {
        c->read(c->data, err, NULL, 0);
    }
}

static inline void run_call(struct world *w, struct call *c)
{
    struct err err = { 0 };
    bool reach = !c->h->cut;
    bool refuse = prng_below(&w->rng, 100) < w->refuse;
    bool lose = prng_below(&w->rng, 100) < w->lose_reply;
    int rc = 0;

    if (!reach || refuse) {
        rc = err_set(&err, reach ? ERR_UNREACHABLE : ERR_UNKNOWN_OUTCOME, "no answer");
    } else if (c->kind == CALL_ACQUIRE) {
        rc = apply_acquire(w, c, &err);
    } else if (c->kind == CALL_RELEASE) {
        rc = apply_release(w, c, &err);
    } else if (c->kind == CALL_JOIN) {
        rc = apply_join(w, c, &err);
    } else if (c->kind == CALL_COMMIT) {
        rc = apply_commit(w, c, &err);
    } else if (c->kind == CALL_ABORT) {
        rc = apply_abort(w, c, &err);
    }
    if (rc == 0 && lose) {
        rc = err_set(&err, ERR_UNKNOWN_OUTCOME, "the reply was lost");
    }
    if (c->orphan) {
        return;
    }
    if (rc == 0 && c->kind == CALL_READ) {
        answer_read(w, c);
    } else {
        answer(c, rc == 0 ? NULL : &err);
    }
}

static inline void call_free(struct call *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->locks[i]);
    }
    free(c);
}

static inline struct call *call_new(struct host *h, enum call_kind kind,
                                    const struct vmx_lock_ref *refs, size_t n, void *data)
{
    struct call *c = OBJ_NEW(struct call);
    struct world *w = h->w;

    assert_true(n <= ARRAY_LEN(c->locks));
    c->w = w;
    c->h = h;
    c->kind = kind;
    c->incarnation = h->incarnation;
    c->n = n;
    c->data = data;
    c->at_ms = w->now + 1 + prng_below(&w->rng, 30);
    for (size_t i = 0; i < n; i++) {
        c->locks[i] = mem_strdup(refs[i].lock);
        c->tokens[i] = refs[i].token;
    }
    assert_true(w->n_calls < ARRAY_LEN(w->calls));
    w->calls[w->n_calls++] = c;
    return c;
}

static inline void op_acquire(void *ctx, const struct vmx_lock_ref *refs, size_t n,
                              const char *reason, vmx_acquired_cb *cb, void *data)
{
    (void)reason;
    call_new(ctx, CALL_ACQUIRE, refs, n, data)->acquired = cb;
}

static inline void op_release(void *ctx, const struct vmx_lock_ref *refs, size_t n,
                              vmx_released_cb *cb, void *data)
{
    call_new(ctx, CALL_RELEASE, refs, n, data)->released = cb;
}

static inline void op_migrate(void *ctx, enum vmx_mig_op op, const struct vmx_lock_ref *refs,
                              size_t n, uint64_t peer_token, vmx_acquired_cb *cb, void *data)
{
    static const enum call_kind kinds[] = {
        [VMX_MIG_JOIN] = CALL_JOIN, [VMX_MIG_COMMIT] = CALL_COMMIT, [VMX_MIG_ABORT] = CALL_ABORT
    };
    struct call *c = call_new(ctx, kinds[op], refs, n, data);

    c->acquired = cb;
    c->peer_token = peer_token;
}

static inline void op_read(void *ctx, const struct vmx_lock_ref *refs, size_t n, vmx_read_cb *cb,
                           void *data)
{
    call_new(ctx, CALL_READ, refs, n, data)->read = cb;
}

#endif
