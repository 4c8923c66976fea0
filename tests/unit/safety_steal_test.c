/* P2, by force: whatever sequence of commands arrives, from whomever, a lock changes its holder
 * only by (a) a release by token of the holder's own incarnation, or its own new Acquire, (b) the
 * entry in which exactly that incarnation becomes Fenced (or a reservation takes the lock from it),
 *   (c) the MigrationCommit of the owner, for its own peer,
 * and an incarnation gets to Fenced only from Lost or Fencing.  The checker looks at the records
 * before and after each command; it shares nothing with the code that decides. */

#include "store_random.h"

#include <inttypes.h>
#include <stdlib.h>

static const char *const LOCKS[] = { "virtualmachines/vm1", "virtualmachines/vm2",
                                     "virtualmachines/vm3", "volumes/lv1" };

struct world {
    struct s_lock locks[ARRAY_LEN(LOCKS)];
    struct s_inc incs[64];
    size_t n_incs;
    bool quarantined;
    uint64_t epoch;
};

static bool add_inc(void *ctx, const struct kv *v)
{
    struct world *w = ctx;
    struct err err;

    assert_true(w->n_incs < ARRAY_LEN(w->incs));
    assert_int_equal(s_inc_decode(kv_value(v), v->vlen, &fx.a, &w->incs[w->n_incs++], &err), 0);
    return true;
}

static void look(struct world *w)
{
    struct s_cluster c;
    struct err err;

    *w = (struct world){ 0 };
    for (size_t i = 0; i < ARRAY_LEN(LOCKS); i++) {
        w->locks[i] = fx_lock(LOCKS[i]);
    }
    store_prefix(fx.s, "s/inc/", add_inc, w);
    assert_int_equal(s_cluster_get(fx.s, &fx.a, &c, &err), 0);
    w->quarantined = c.quarantined;
    w->epoch = c.epoch;
}

static const struct s_inc *find(const struct world *w, uint64_t number)
{
    for (size_t i = 0; i < w->n_incs; i++) {
        if (w->incs[i].number == number) {
            return &w->incs[i];
        }
    }
    return NULL;
}

static bool became_fenced(const struct world *a, const struct world *b, uint64_t inc)
{
    const struct s_inc *was = find(a, inc);
    const struct s_inc *is = find(b, inc);

    return was != NULL && was->state != INC_FENCED && is != NULL && is->state == INC_FENCED;
}

static bool is_agent_of(const struct cmd *c, const char *host)
{
    return c->actor.role == ACTOR_AGENT && strcmp(c->actor.name, host) == 0;
}

static const struct cmd_lock_ref *named(const struct cmd *c, const char *lock)
{
    for (size_t i = 0; i < c->safety.n_locks; i++) {
        if (strcmp(c->safety.locks[i].lock, lock) == 0) {
            return &c->safety.locks[i];
        }
    }
    return NULL;
}

#define MUST(e)                                                                                    \
    do {                                                                                           \
        if (!(e)) {                                                                                \
            fail_msg("lock %s: op %d by role %d (%s): not so: %s", b->lock ? b->lock : a->lock,    \
                     (int)c->op, (int)c->actor.role, c->actor.name, #e);                           \
        }                                                                                          \
    } while (0)

/* A holder that was in the lock is not in it any more: why? */
static void check_gone(const struct cmd *c, const struct world *wa, const struct world *wb,
                       const struct s_lock *a, const struct s_lock *b,
                       const struct s_lock_slot *slot)
{
    const struct cmd_lock_ref *ref = named(c, a->lock);

    if (became_fenced(wa, wb, slot->incarnation)) {
        return;
    }
    if (wa->quarantined) {
        return; /* from a backup: nobody knows what it says (checked by safety_epoch_test) */
    }
    if (c->op == CMD_PROOF && c->safety.proof == PROOF_SCSI) {
        const struct s_inc *inc = find(wb, slot->incarnation);

        MUST(c->actor.role == ACTOR_CONTROLLER && inc != NULL && inc->proof == PROOF_SCSI);
        return;
    }
    MUST(c->op == CMD_RELEASE);
    MUST(c->safety.incarnation == slot->incarnation);
    MUST(is_agent_of(c, slot->host));
    MUST(ref != NULL && ref->token == slot->token);
}

/* A holder that was not in the lock before is in it now: was it allowed to? */
static void check_new(const struct cmd *c, const struct world *wa, const struct s_lock *a,
                      const struct s_lock *b, const struct s_lock_slot *slot)
{
    const struct s_inc *inc = find(wa, slot->incarnation);

    MUST(inc != NULL && inc->state == INC_LIVE);
    MUST(strcmp(inc->host, slot->host) == 0 && is_agent_of(c, slot->host));
    MUST(inc->epoch == wa->epoch);
    MUST(slot->token > a->owner.token && slot->token > a->peer.token);
    if (wa->quarantined) {
        MUST(c->op == CMD_INVENTORY);
        return;
    }
    if (slot == &b->owner) {
        MUST(c->op == CMD_ACQUIRE);
        MUST(a->owner.incarnation == 0 && a->peer.incarnation == 0);
    } else {
        MUST(c->op == CMD_MIG_JOIN);
        MUST(a->owner.incarnation != 0 && a->peer.incarnation == 0);
    }
}

/* The owner changed from one that is still there to another one that was there: a commit. */
static void check_swap(const struct cmd *c, const struct s_lock *a, const struct s_lock *b)
{
    const struct cmd_lock_ref *ref = named(c, a->lock);

    MUST(c->op == CMD_MIG_COMMIT);
    MUST(c->safety.incarnation == a->owner.incarnation && is_agent_of(c, a->owner.host));
    MUST(ref != NULL && ref->token == a->owner.token);
    MUST(!a->migration_aborted);
    MUST(b->owner.token == a->peer.token && b->peer.token == a->owner.token);
}

static bool in_lock(const struct s_lock *l, uint64_t inc)
{
    return inc != 0 && (l->owner.incarnation == inc || l->peer.incarnation == inc);
}

static void check_lock(const struct cmd *c, const struct world *wa, const struct world *wb,
                       const struct s_lock *a, const struct s_lock *b)
{
    const struct s_lock_slot *was[] = { &a->owner, &a->peer };
    const struct s_lock_slot *is[] = { &b->owner, &b->peer };

    for (int i = 0; i < 2; i++) {
        if (was[i]->incarnation != 0 && !in_lock(b, was[i]->incarnation)) {
            check_gone(c, wa, wb, a, b, was[i]);
        }
        if (is[i]->incarnation != 0 && !in_lock(a, is[i]->incarnation)) {
            check_new(c, wa, a, b, is[i]);
        }
    }
    if (a->owner.incarnation != b->owner.incarnation && in_lock(b, a->owner.incarnation) &&
        in_lock(a, b->owner.incarnation) && !a->quarantined) {
        check_swap(c, a, b);
    }
    /* a peer does not become the owner by itself */
    if (a->peer.incarnation != 0 && a->peer.incarnation == b->owner.incarnation &&
        !a->quarantined) {
        MUST(c->op == CMD_MIG_COMMIT);
    }
    MUST(b->owner.incarnation == 0 || b->owner.incarnation != b->peer.incarnation);
    for (int i = 0; i < 2; i++) {
        const struct s_inc *inc = find(wb, is[i]->incarnation);

        if (is[i]->incarnation != 0 && !b->quarantined) {
            MUST(inc != NULL && inc->state != INC_FENCED); /* nothing fenced holds anything */
        }
    }
}

static void check_incs(const struct cmd *c, const struct world *wa, const struct world *wb)
{
    for (size_t i = 0; i < wa->n_incs; i++) {
        const struct s_inc *a = &wa->incs[i];
        const struct s_inc *b = find(wb, a->number);

        if (b == NULL || a->state == b->state) {
            continue;
        }
        assert_int_not_equal(a->state, INC_FENCED); /* terminal */
        if (b->state == INC_FENCED) {
            assert_true(a->state == INC_LOST || a->state == INC_FENCING);
            assert_true(c->op == CMD_PROOF || c->op == CMD_CONFIRM || c->op == CMD_REGISTER);
        }
        if (b->state == INC_LIVE) {
            assert_int_equal(c->op, CMD_REPRIEVE);
        }
        if (b->state == INC_FENCING) {
            assert_int_equal(c->op, CMD_FENCE_OPEN);
        }
    }
}

/* At most one incarnation of a host is not Fenced. */
static void check_hosts(const struct world *w)
{
    for (size_t i = 0; i < w->n_incs; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_false(w->incs[i].state != INC_FENCED && w->incs[j].state != INC_FENCED &&
                         strcmp(w->incs[i].host, w->incs[j].host) == 0);
        }
    }
}

static size_t done[CMD_OP_MAX + 1]; /* commands that succeeded */

static void one_run(uint64_t seed, int steps, bool lab)
{
    static struct world before, after;
    struct prng p;

    prng_init(&p, seed);
    (void)fx_teardown(NULL);
    (void)fx_setup(NULL);
    rnd_world(lab);
    for (int i = 0; i < steps; i++) {
        struct cmd c = rnd_cmd(&p);
        struct buf b = { 0 };
        struct err err;

        look(&before);
        if (cmd_encode(&c, &b, &err) == 0 && fx_apply_raw(fx.s, b.data, b.len, fx.term) == 0) {
            done[c.op]++;
        }
        buf_done(&b);
        look(&after);
        for (size_t k = 0; k < ARRAY_LEN(LOCKS); k++) {
            check_lock(&c, &before, &after, &before.locks[k], &after.locks[k]);
        }
        check_incs(&c, &before, &after);
        check_hosts(&after);
        arena_done(&fx.a);
    }
}

static void no_sequence_of_commands_steals_a_lock(void **state)
{
    const char *more = getenv("STEAL_SEEDS");
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : 40;

    (void)state;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        one_run(seed, 2000, seed % 4 == 0);
    }
    /* the test is worth something only if things really happened */
    for (int op = CMD_NONE + 1; op <= CMD_OP_MAX; op++) {
        static const int NEVER[] = { CMD_FEATURE, CMD_INIT };
        bool skip = op > CMD_FEATURE && op < CMD_INIT;

        for (size_t i = 0; i < ARRAY_LEN(NEVER); i++) {
            skip = skip || op == NEVER[i];
        }
        if (!skip && done[op] < 3) {
            fail_msg("op %d succeeded only %zu times", op, done[op]);
        }
        if (getenv("STEAL_SHOW") != NULL) {
            print_message("op %d: %zu\n", op, done[op]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(no_sequence_of_commands_steals_a_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
