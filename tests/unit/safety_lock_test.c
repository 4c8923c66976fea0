/* Locks, tokens and migrations.  Scenarios S5-S9 of docs/safety.md, and attempts to steal. */

#include "store_fixture.h"

#define VM1 "virtualmachines/vm1"
#define VM2 "virtualmachines/vm2"
#define LV1 "volumes/lv1"
#define LV2 "volumes/lv2"

static uint64_t inc_of(const char *host)
{
    return fx_s_host(host).incarnation;
}

static uint64_t take(const char *host, const char *lock)
{
    OK(fx_acquire(host, inc_of(host), lock));
    return fx_value();
}

/* --- acquire -----------------------------------------------------------------------------------
 */

static void tokens_are_fresh_and_grow(void **state)
{
    uint64_t a = take("n1", VM1);
    uint64_t b = take("n1", VM1); /* again: the old token is void */

    (void)state;
    assert_true(b > a);
    assert_int_equal(fx_lock(VM1).owner.token, b);
    assert_string_equal(fx_lock(VM1).owner.host, "n1");
    assert_string_equal(fx_lock(VM1).owner.reason, "test");
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", inc_of("n1"), VM1, a));
    OK(fx_lock_op(CMD_RELEASE, "n1", inc_of("n1"), VM1, b));
    assert_true(take("n2", VM1) > b);
}

static void a_held_lock_is_refused(void **state)
{
    (void)state;
    (void)take("n1", VM1);
    WANT(ERR_CONFLICT, fx_acquire("n2", inc_of("n2"), VM1));
    SAYS("n1");
    OWNER(VM1, inc_of("n1"));
}

static void all_or_nothing(void **state)
{
    struct cmd_lock_ref r[] = { { .lock = VM1, .uid = "uid-vm1" },
                                { .lock = LV1, .uid = "uid-lv1" } };
    struct cmd_lock_ref twice[] = { { .lock = VM2, .uid = "uid-vm2" },
                                    { .lock = VM2, .uid = "uid-vm2" } };
    uint64_t lv = take("n2", LV1);
    uint64_t rev = store_rev(fx.s);

    (void)state;
    WANT(ERR_CONFLICT, fx_locks_as(CMD_ACQUIRE, as_agent("n1"), inc_of("n1"), r, 2));
    OWNER(VM1, 0);
    WANT(ERR_INVALID, fx_locks_as(CMD_ACQUIRE, as_agent("n1"), inc_of("n1"), twice, 2));
    WANT(ERR_INVALID, fx_locks_as(CMD_ACQUIRE, as_agent("n1"), inc_of("n1"), twice, 0));
    assert_int_equal(store_rev(fx.s), rev);
    OK(fx_lock_op(CMD_RELEASE, "n2", inc_of("n2"), LV1, lv));
    OK(fx_locks_as(CMD_ACQUIRE, as_agent("n1"), inc_of("n1"), r, 2));
    assert_int_equal(fx.ans.n_values, 2);
    assert_int_equal(fx_lock(VM1).owner.token, fx.ans.values[0]);
    assert_int_equal(fx_lock(LV1).owner.token, fx.ans.values[1]);
    assert_int_equal(store_rev(fx.s), rev + 2);
    /* release: one wrong token, nothing happens */
    r[0].token = fx.ans.values[0];
    r[1].token = lv;
    WANT(ERR_STALE, fx_locks_as(CMD_RELEASE, as_agent("n1"), inc_of("n1"), r, 2));
    OWNER(VM1, inc_of("n1"));
    OWNER(LV1, inc_of("n1"));
}

static void only_the_host_itself_acquires(void **state)
{
    uint64_t n1 = inc_of("n1");
    struct cmd_lock_ref r = { .lock = VM1, .uid = "uid-vm1" };
    const struct actor others[] = { as_agent("n2"), as_executor("n1"), as_controller(), as_admin(),
                                    as_operator(),  as_user(),         as_raw() };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        WANT(ERR_DENIED, fx_locks_as(CMD_ACQUIRE, others[i], n1, &r, 1));
    }
    WANT(ERR_STALE, fx_locks_as(CMD_ACQUIRE, as_agent("n1"), 4711, &r, 1));
    OWNER(VM1, 0);
}

static void the_object_must_be_the_one_that_is_meant(void **state)
{
    struct cmd_lock_ref r = { .lock = VM1, .uid = "uid-of-the-one-before" };

    (void)state;
    WANT(ERR_CONFLICT, fx_locks_as(CMD_ACQUIRE, as_agent("n1"), inc_of("n1"), &r, 1));
    SAYS("uid");
    r.uid = NULL;
    WANT(ERR_CONFLICT, fx_locks_as(CMD_ACQUIRE, as_agent("n1"), inc_of("n1"), &r, 1));
    WANT(ERR_NOT_FOUND, fx_acquire("n1", inc_of("n1"), "virtualmachines/vm9"));
    OK(fx_acquire("n1", inc_of("n1"), "files/ocfs/disks/vm1.img")); /* a file is no object */
}

static void bad_lock_names(void **state)
{
    static const char *const BAD[] = { "vm1", "/vm1", "virtualmachines/", "", "a b/c", "a/\n" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct cmd_lock_ref r = { .lock = BAD[i], .uid = "x" };

        WANT(ERR_INVALID, fx_locks_as(CMD_ACQUIRE, as_agent("n1"), inc_of("n1"), &r, 1));
    }
}

/* S8, S9: one lock, whatever the way to it: the second host is refused. */
static void s08_two_hosts_one_group(void **state)
{
    (void)state;
    fx_object("volumegroups", "vg0");
    (void)take("n1", "volumegroups/vg0");
    WANT(ERR_CONFLICT, fx_acquire("n2", inc_of("n2"), "volumegroups/vg0"));
    WANT(ERR_CONFLICT, fx_acquire("n3", inc_of("n3"), "volumegroups/vg0"));
}

/* --- release -----------------------------------------------------------------------------------
 */

static void release_needs_incarnation_and_token(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t n2 = inc_of("n2");
    uint64_t t = take("n1", VM1);
    uint64_t other = take("n1", VM2);

    (void)state;
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, other));
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, 0));
    WANT(ERR_DENIED, fx_lock_op(CMD_RELEASE, "n2", n1, VM1, t));
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n2", n2, VM1, t));
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, LV1, t));
    OWNER(VM1, n1);
    OK(fx_lock_op(CMD_RELEASE, "n1", n1, VM1, t));
    OWNER(VM1, 0);
    OWNER(VM2, n1);
    assert_null(store_get_str(fx.s, "s/lock/" VM1)); /* a free lock leaves nothing behind */
}

/* S6: a Release whose reply was lost, then Running again. */
static void s06_a_release_that_comes_twice(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t t = take("n1", VM1);
    uint64_t again;

    (void)state;
    OK(fx_lock_op(CMD_RELEASE, "n1", n1, VM1, t));
    again = take("n1", VM1);
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, t));
    assert_int_equal(fx_lock(VM1).owner.token, again);
    OK(fx_lock_op(CMD_RELEASE, "n1", n1, VM1, again));
    (void)take("n2", VM1);
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, again));
    OWNER(VM1, inc_of("n2"));
}

static void a_lost_host_may_still_give_back(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t t = take("n1", VM1);

    (void)state;
    OK(fx_lost(n1));
    WANT(ERR_REFUSED, fx_acquire("n1", n1, VM1));
    OK(fx_lock_op(CMD_RELEASE, "n1", n1, VM1, t));
    OWNER(VM1, 0);
}

static void a_fenced_host_has_nothing_to_give(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t t = take("n1", VM1);

    (void)state;
    OK(fx_lost(n1));
    OK(fx_confirm_as(as_operator(), "n1", n1));
    (void)take("n2", VM1);
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, t));
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", n1, VM1, fx_lock(VM1).owner.token));
    OWNER(VM1, inc_of("n2"));
}

/* The next incarnation does not own what the one before it held. */
static void a_new_incarnation_begins_with_nothing(void **state)
{
    uint64_t n1 = inc_of("n1");
    uint64_t t = take("n1", VM1);
    uint64_t again;

    (void)state;
    OK(fx_lost(n1));
    OK(fx_register("n1", 2, n1));
    again = fx_value();
    OWNER(VM1, 0);
    WANT(ERR_STALE, fx_lock_op(CMD_RELEASE, "n1", again, VM1, t));
    WANT(ERR_REFUSED, fx_acquire("n1", n1, VM1)); /* by the old number */
    OK(fx_acquire("n1", again, VM1));
}

/* --- migration ---------------------------------------------------------------------------------
 */

static uint64_t source, target, src_token, dst_token;

static void begin_migration(void)
{
    source = inc_of("n1");
    target = inc_of("n2");
    src_token = take("n1", VM1);
    OK(fx_lock_op(CMD_MIG_JOIN, "n2", target, VM1, 0));
    dst_token = fx_value();
    OWNER(VM1, source);
    PEER(VM1, target);
}

static void a_migration_commits(void **state)
{
    (void)state;
    begin_migration();
    OK(fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    OWNER(VM1, target);
    PEER(VM1, source);
    assert_int_equal(fx_lock(VM1).owner.token, dst_token);
    assert_int_equal(fx_lock(VM1).peer.token, src_token);
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token)); /* once */
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_ABORT, "n1", source, VM1, src_token));  /* too late */
    OK(fx_lock_op(CMD_RELEASE, "n1", source, VM1, src_token));
    PEER(VM1, 0);
    OWNER(VM1, target);
    WANT(ERR_CONFLICT, fx_acquire("n3", inc_of("n3"), VM1));
}

static void vm_and_volumes_migrate_together(void **state)
{
    struct cmd_lock_ref r[] = { { .lock = VM1, .uid = "uid-vm1" },
                                { .lock = LV1, .uid = "uid-lv1" } };

    (void)state;
    source = inc_of("n1");
    target = inc_of("n2");
    r[0].token = take("n1", VM1);
    r[1].token = take("n1", LV1);
    OK(fx_locks_as(CMD_MIG_JOIN, as_agent("n2"), target, r, 1));
    WANT(ERR_REFUSED, fx_locks_as(CMD_MIG_COMMIT, as_agent("n1"), source, r, 2));
    OWNER(VM1, source);
    OK(fx_locks_as(CMD_MIG_JOIN, as_agent("n3"), inc_of("n3"), r + 1, 1));
    WANT(ERR_REFUSED, fx_locks_as(CMD_MIG_COMMIT, as_agent("n1"), source, r, 2));
    SAYS("another peer");
    OK(fx_lock_op(CMD_RELEASE, "n3", inc_of("n3"), LV1, fx_lock(LV1).peer.token));
    OK(fx_locks_as(CMD_MIG_JOIN, as_agent("n2"), target, r + 1, 1));
    OK(fx_locks_as(CMD_MIG_COMMIT, as_agent("n1"), source, r, 2));
    OWNER(VM1, target);
    OWNER(LV1, target);
}

static int commit_naming(uint64_t peer_token)
{
    struct cmd c = fx_safety(CMD_MIG_COMMIT, as_agent("n1"), source);
    struct cmd_lock_ref r = { .lock = VM1, .uid = "uid-vm1", .token = src_token };

    c.safety.locks = &r;
    c.safety.n_locks = 1;
    c.safety.attempt = peer_token;
    return fx_apply(&c);
}

/* The commit of an earlier migration arrives when another target has joined. */
static void a_late_commit_means_another_peer(void **state)
{
    uint64_t first;

    (void)state;
    begin_migration();
    first = dst_token;
    OK(fx_lock_op(CMD_MIG_ABORT, "n1", source, VM1, src_token));
    OK(fx_lock_op(CMD_RELEASE, "n2", target, VM1, first));
    OK(fx_lock_op(CMD_MIG_JOIN, "n2", target, VM1, 0));
    dst_token = fx_value();
    WANT(ERR_STALE, commit_naming(first));
    SAYS("the commit means");
    OWNER(VM1, source);
    OK(commit_naming(dst_token));
    OWNER(VM1, target);
}

static void only_the_source_commits(void **state)
{
    struct cmd_lock_ref r = { .lock = VM1, .token = 0 };

    (void)state;
    begin_migration();
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_COMMIT, "n2", target, VM1, dst_token));
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_COMMIT, "n2", target, VM1, src_token));
    WANT(ERR_DENIED, fx_lock_op(CMD_MIG_COMMIT, "n2", source, VM1, src_token));
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, dst_token));
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_COMMIT, "n3", inc_of("n3"), VM1, src_token));
    r.token = src_token;
    WANT(ERR_DENIED, fx_locks_as(CMD_MIG_COMMIT, as_controller(), source, &r, 1));
    WANT(ERR_DENIED, fx_locks_as(CMD_MIG_COMMIT, as_admin(), source, &r, 1));
    OWNER(VM1, source);
}

static void an_aborted_migration_cannot_commit(void **state)
{
    (void)state;
    begin_migration();
    WANT(ERR_STALE,
         fx_lock_op(CMD_MIG_ABORT, "n2", target, VM1, dst_token)); /* the target cannot */
    OK(fx_lock_op(CMD_MIG_ABORT, "n1", source, VM1, src_token));
    OK(fx_lock_op(CMD_MIG_ABORT, "n1", source, VM1, src_token)); /* nor does twice harm */
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    SAYS("aborted");
    OWNER(VM1, source);
    PEER(VM1, target); /* until it has destroyed what it had */
    WANT(ERR_CONFLICT, fx_lock_op(CMD_MIG_JOIN, "n3", inc_of("n3"), VM1, 0));
    OK(fx_lock_op(CMD_RELEASE, "n2", target, VM1, dst_token));
    PEER(VM1, 0);
    /* another try */
    OK(fx_lock_op(CMD_MIG_JOIN, "n3", inc_of("n3"), VM1, 0));
    OK(fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    OWNER(VM1, inc_of("n3"));
}

static void a_controller_may_abort(void **state)
{
    struct cmd_lock_ref r = { .lock = VM1 };
    struct actor old = as_controller();

    (void)state;
    begin_migration();
    r.token = dst_token;
    WANT(ERR_STALE, fx_locks_as(CMD_MIG_ABORT, as_controller(), source, &r, 1));
    r.token = src_token;
    old.term--;
    WANT(ERR_STALE, fx_locks_as(CMD_MIG_ABORT, old, source, &r, 1));
    OK(fx_locks_as(CMD_MIG_ABORT, as_controller(), source, &r, 1));
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
}

static void joining_needs_a_live_source_elsewhere(void **state)
{
    (void)state;
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_JOIN, "n2", inc_of("n2"), VM1, 0)); /* held by nobody */
    begin_migration();
    WANT(ERR_CONFLICT, fx_lock_op(CMD_MIG_JOIN, "n3", inc_of("n3"), VM1, 0)); /* one peer */
    (void)take("n1", VM2);
    WANT(ERR_CONFLICT, fx_lock_op(CMD_MIG_JOIN, "n1", source, VM2, 0)); /* not with itself */
    OK(fx_lost(source));
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_JOIN, "n3", inc_of("n3"), VM2, 0));
    SAYS("Lost");
}

static void a_lost_end_cannot_commit(void **state)
{
    (void)state;
    begin_migration();
    OK(fx_lost(target));
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    SAYS("abort");
    OK(fx_reprieve(target, 0));
    OK(fx_lost(source));
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    OWNER(VM1, source);
}

/* S7: the source dies after the target was restored, before the commit. */
static void s07_source_dies_before_the_commit(void **state)
{
    (void)state;
    begin_migration();
    OK(fx_lost(source));
    OK(fx_confirm_as(as_operator(), "n1", source));
    OWNER(VM1, 0);
    PEER(VM1, target); /* a proof clears only the slot of its incarnation */
    WANT(ERR_CONFLICT, fx_acquire("n3", inc_of("n3"), VM1));
    WANT(ERR_CONFLICT, fx_acquire("n2", target, VM1)); /* first destroy, then release */
    SAYS("peer");
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_COMMIT, "n2", target, VM1, dst_token));
    WANT(ERR_REFUSED, fx_del_as(as_user(), "o/" VM1, NULL));
    OK(fx_lock_op(CMD_RELEASE, "n2", target, VM1, dst_token));
    OK(fx_acquire("n3", inc_of("n3"), VM1));
}

/* S7: the target dies after the commit, the source has not released yet. */
static void s07_target_dies_after_the_commit(void **state)
{
    (void)state;
    begin_migration();
    OK(fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    OK(fx_lost(target));
    OK(fx_confirm_as(as_operator(), "n2", target));
    OWNER(VM1, 0);
    PEER(VM1, source);
    WANT(ERR_CONFLICT, fx_acquire("n3", inc_of("n3"), VM1));
    OK(fx_lock_op(CMD_RELEASE, "n1", source, VM1, src_token));
    OK(fx_acquire("n3", inc_of("n3"), VM1));
}

static void s07_target_dies_before_the_commit(void **state)
{
    (void)state;
    begin_migration();
    OK(fx_lost(target));
    OK(fx_confirm_as(as_operator(), "n2", target));
    OWNER(VM1, source);
    PEER(VM1, 0);
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    OK(fx_lock_op(CMD_MIG_ABORT, "n1", source, VM1, src_token)); /* nothing to flag, no harm */
    OK(fx_lock_op(CMD_MIG_JOIN, "n3", inc_of("n3"), VM1, 0));
    OK(fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
}

static void an_owner_may_release_before_its_peer(void **state)
{
    (void)state;
    begin_migration();
    OK(fx_lock_op(CMD_RELEASE, "n1", source, VM1, src_token));
    OWNER(VM1, 0);
    PEER(VM1, target);
    WANT(ERR_CONFLICT, fx_acquire("n1", source, VM1));
    OK(fx_lock_op(CMD_RELEASE, "n2", target, VM1, dst_token));
    OWNER(VM1, 0);
    PEER(VM1, 0);
    (void)take("n1", VM1);
}

static void a_reacquire_voids_the_running_commit(void **state)
{
    uint64_t again;

    (void)state;
    begin_migration();
    again = take("n1", VM1); /* the source's agent was started again */
    WANT(ERR_STALE, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, src_token));
    PEER(VM1, target);
    /* The peer's token is older than the newest owner's now: tokens only grow. */
    WANT(ERR_REFUSED, fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, again));
    SAYS("aborted");
    OWNER(VM1, source);
    OK(fx_lock_op(CMD_RELEASE, "n2", target, VM1, dst_token));
    OK(fx_lock_op(CMD_MIG_JOIN, "n2", target, VM1, 0));
    assert_true(fx_value() > again);
    OK(fx_lock_op(CMD_MIG_COMMIT, "n1", source, VM1, again));
    OWNER(VM1, target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_CLUSTER_TEST(tokens_are_fresh_and_grow),
        FX_CLUSTER_TEST(a_held_lock_is_refused),
        FX_CLUSTER_TEST(all_or_nothing),
        FX_CLUSTER_TEST(only_the_host_itself_acquires),
        FX_CLUSTER_TEST(the_object_must_be_the_one_that_is_meant),
        FX_CLUSTER_TEST(bad_lock_names),
        FX_CLUSTER_TEST(s08_two_hosts_one_group),
        FX_CLUSTER_TEST(release_needs_incarnation_and_token),
        FX_CLUSTER_TEST(s06_a_release_that_comes_twice),
        FX_CLUSTER_TEST(a_lost_host_may_still_give_back),
        FX_CLUSTER_TEST(a_fenced_host_has_nothing_to_give),
        FX_CLUSTER_TEST(a_new_incarnation_begins_with_nothing),
        FX_CLUSTER_TEST(a_migration_commits),
        FX_CLUSTER_TEST(vm_and_volumes_migrate_together),
        FX_CLUSTER_TEST(a_late_commit_means_another_peer),
        FX_CLUSTER_TEST(only_the_source_commits),
        FX_CLUSTER_TEST(an_aborted_migration_cannot_commit),
        FX_CLUSTER_TEST(a_controller_may_abort),
        FX_CLUSTER_TEST(joining_needs_a_live_source_elsewhere),
        FX_CLUSTER_TEST(a_lost_end_cannot_commit),
        FX_CLUSTER_TEST(s07_source_dies_before_the_commit),
        FX_CLUSTER_TEST(s07_target_dies_after_the_commit),
        FX_CLUSTER_TEST(s07_target_dies_before_the_commit),
        FX_CLUSTER_TEST(an_owner_may_release_before_its_peer),
        FX_CLUSTER_TEST(a_reacquire_voids_the_running_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
