/* Golden tests of the planner of a virtual machine: tests/golden/plan/NAME.plan.
 *
 * A case is a title line "== ...", what is the case (env, want, have, lock, vol, intent, error
 * lines; times relative to now = 100000), a line "->", and the plan.  PICKET_GOLDEN=write rewrites
 * the plans; the cases stay.  docs/agent.md describes the table that these files spell out.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/vm_plan.h"

#define NOW 100000ULL
#define DIR_NAME "tests/golden/plan"

struct world {
    struct arena a;
    struct vm_env env;
    struct vm_want want;
    struct vm_have have;
    struct vm_vol vols[8];
    struct vm_intent intent;
};

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->env = (struct vm_env){
        .now_ms = NOW,
        .inc = VM_INC_LIVE,
        .incarnation = 7,
        .lease_until_ms = NOW + 2800,
        .lease_half_ms = NOW + 1300,
        .margin_ms = 500,
        .destroy_ms = 400,
        .effect_ms = 1000,
        .obs_max_age_ms = 5000,
        .token_max_age_ms = 3000,
        .step_ms = 2000,
        .stop_on_loss = true,
        .synced = true,
        .guarded = true,
        .guard_why = "the watchdog is not armed",
    };
    w->want = (struct vm_want){
        .name = "vm1",
        .exists = true,
        .uid = "u1",
        .generation = 3,
        .run = VM_RUN_RUNNING,
        .assign = VM_ASSIGN_HERE,
        .restart_count = 3,
        .restart_window_ms = 60000,
        .shutdown_timeout_ms = 30000,
    };
    w->have = (struct vm_have){ .uid = "", .seen_ms = NOW - 100 };
    w->have.vols = w->vols;
}

/* "key=value" or "key" of a line of words; NULL when it is not there. */
static char *word(struct world *w, const char *line, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = line; p != NULL; p = strchr(p, ' ')) {
        p += p[0] == ' ' ? 1 : 0;
        if (strncmp(p, key, n) == 0 && (p[n] == ' ' || p[n] == '\0')) {
            return arena_strdup(&w->a, "");
        }
        if (strncmp(p, key, n) == 0 && p[n] == '=') {
            return arena_strndup(&w->a, p + n + 1, strcspn(p + n + 1, " "));
        }
    }
    return NULL;
}

static uint64_t at(struct world *w, const char *line, const char *key, uint64_t fallback)
{
    const char *s = word(w, line, key);

    if (s == NULL) {
        return fallback;
    }
    return s[0] == '+' || s[0] == '-' ? NOW + (uint64_t)strtoll(s, NULL, 10)
                                      : strtoull(s, NULL, 10);
}

static int pick(struct world *w, const char *line, const char *key, const char *const *names,
                int fallback)
{
    const char *s = word(w, line, key);

    if (s == NULL) {
        return fallback;
    }
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], s) == 0) {
            return i;
        }
    }
    fail_msg("'%s' is not a value of %s in '%s'", s, key, line);
    return fallback;
}

static void read_env(struct world *w, const char *l)
{
    static const char *const incs[] = { "Unknown", "Live", "Lost", NULL };

    w->env.inc = (enum vm_inc)pick(w, l, "inc", incs, VM_INC_LIVE);
    w->env.lease_until_ms = at(w, l, "lease", w->env.lease_until_ms);
    w->env.lease_half_ms = at(w, l, "half", w->env.lease_half_ms);
    w->env.stop_on_loss = word(w, l, "freeze") == NULL;
    w->env.synced = word(w, l, "unsynced") == NULL;
    w->env.guarded = word(w, l, "unguarded") == NULL;
}

static void read_mig(struct world *w, const char *l)
{
    static const char *const roles[] = { "none", "source", "target", NULL };
    struct vm_mig *m = &w->want.mig;

    *m = (struct vm_mig){ .id = "m1", .peer = "node2", .address = "192.0.2.2:7445" };
    m->role = (enum vm_mig_role)pick(w, l, "mig", roles, VM_MIG_NONE);
    m->send = word(w, l, "send") != NULL;
    m->cancel = word(w, l, "cancel") != NULL;
    m->committed = word(w, l, "committed") != NULL;
}

static void read_want(struct world *w, const char *l)
{
    static const char *const runs[] = { "Stopped", "Running", "Paused", NULL };
    static const char *const assigns[] = { "none", "nowhere", "here", "elsewhere", NULL };
    static const char *const crashes[] = { "Restart", "Stop", "Preserve", NULL };
    const char *invalid = strstr(l, "invalid=");

    w->want.exists = word(w, l, "gone") == NULL;
    w->want.deleting = word(w, l, "deleting") != NULL;
    w->want.paused = word(w, l, "paused") != NULL;
    w->want.restart_on_poweroff = word(w, l, "poweroff") != NULL;
    w->want.run = (enum vm_run)pick(w, l, "run", runs, VM_RUN_RUNNING);
    w->want.assign = (enum vm_assign)pick(w, l, "assign", assigns, VM_ASSIGN_HERE);
    w->want.assigned_to = w->want.assign == VM_ASSIGN_ELSEWHERE ? "node2" : NULL;
    w->want.on_crash = (enum vm_on_crash)pick(w, l, "crash", crashes, VM_CRASH_RESTART);
    w->want.generation = at(w, l, "gen", 3);
    w->want.restart_count = (uint32_t)at(w, l, "limit", 3);
    w->want.memory_bytes = at(w, l, "memory", 0);
    w->want.vcpus = (uint32_t)at(w, l, "vcpus", 0);
    read_mig(w, l);
    w->want.invalid = invalid == NULL ? NULL : arena_strdup(&w->a, invalid + strlen("invalid="));
}

static void read_have(struct world *w, const char *l)
{
    static const char *const states[] = { "Unknown", "Absent",  "Running", "Paused",
                                          "Dying",   "Stopped", NULL };
    static const char *const reasons[] = { "None",        "Shutdown",   "GuestPoweroff",
                                           "GuestReboot", "GuestCrash", "Vanished",
                                           NULL };

    w->have.state = (enum dom_state)pick(w, l, "state", states, DOM_UNKNOWN);
    w->have.reason = (enum dom_reason)pick(w, l, "reason", reasons, DOM_REASON_NONE);
    w->have.seen_ms = at(w, l, "seen", NOW - 100);
    w->have.look_after_ms = at(w, l, "look-after", 0);
    w->have.memory_target_bytes = at(w, l, "memory", 0);
    w->have.vcpus = (uint32_t)at(w, l, "vcpus", 0);
    w->have.grow_failed = word(w, l, "grow-failed") != NULL;
    w->have.adjusted = word(w, l, "adjusted") != NULL;
    w->have.sent = word(w, l, "sent") != NULL;
    w->have.commit_refused = word(w, l, "refused") != NULL;
    w->have.mig_over = word(w, l, "over") != NULL;
    w->have.uid = word(w, l, "uid") == NULL ? "u1" : word(w, l, "uid");
}

static struct vm_lock read_lock(struct world *w, const char *l)
{
    static const char *const states[] = { "Unknown", "Free",        "Mine", "Other",
                                          "Peer",    "Quarantined", NULL };
    struct vm_lock lock;

    lock.state = (enum vm_lock_state)pick(w, l, "lock", states, VM_LOCK_UNKNOWN);
    lock.token = lock.state == VM_LOCK_MINE || lock.state == VM_LOCK_PEER ? 42 : 0;
    lock.read_ms = at(w, l, "read", NOW - 300);
    lock.peer_joined = word(w, l, "joined") != NULL;
    lock.aborted = word(w, l, "aborted") != NULL;
    lock.ownerless = word(w, l, "ownerless") != NULL;
    lock.confirmed_ms = at(w, l, "confirmed", lock.state == VM_LOCK_UNKNOWN ? 0 : NOW - 200);
    lock.holder = lock.state == VM_LOCK_OTHER ? "node2 (incarnation 8)" : NULL;
    return lock;
}

static void read_vol(struct world *w, const char *l)
{
    static const char *const states[] = { "Unknown", "Absent", "Inactive", "Active", NULL };
    struct vm_vol *v = &w->vols[w->have.n_vols++];

    assert_true(w->have.n_vols <= ARRAY_LEN(w->vols));
    v->name = arena_strndup(&w->a, l, strcspn(l, " "));
    v->wanted = word(w, l, "unwanted") == NULL;
    v->exclusive = word(w, l, "shared") == NULL;
    v->creatable = word(w, l, "foreign") == NULL;
    v->lock = read_lock(w, l);
    v->state = (enum vol_state)pick(w, l, "state", states, VOL_UNKNOWN);
    v->seen_ms = at(w, l, "seen", NOW - 100);
    v->size_bytes = strtoull(word(w, l, "size") == NULL ? "0" : word(w, l, "size"), NULL, 10);
    v->want_bytes = strtoull(word(w, l, "wants") == NULL ? "0" : word(w, l, "wants"), NULL, 10);
    v->used_by = word(w, l, "used-by");
}

static void read_intent(struct world *w, const char *l)
{
    struct vm_intent *i = &w->intent;
    const char *s;

    assert_true(vm_phase_parse(word(w, l, "phase"), &i->phase));
    i->since_ms = at(w, l, "since", NOW - 10000);
    if ((s = word(w, l, "why")) != NULL) {
        assert_true(vm_why_parse(s, &i->why));
    }
    if ((s = word(w, l, "latch")) != NULL) {
        assert_true(vm_latch_parse(s, &i->latch));
        i->latch_generation = at(w, l, "gen", 3);
    }
    i->n_restarts = (uint32_t)at(w, l, "ends", 0);
    i->restarts_total = i->n_restarts;
    for (uint32_t k = 0; k < i->n_restarts; k++) {
        i->restart_ms[k] = at(w, l, "last-end", NOW - 5000) - 100 * (i->n_restarts - 1 - k);
    }
}

static void read_line(struct world *w, const char *l)
{
    if (str_starts(l, "env ")) {
        read_env(w, l + 4);
    } else if (str_starts(l, "want ")) {
        read_want(w, l + 5);
    } else if (str_starts(l, "have ")) {
        read_have(w, l + 5);
    } else if (str_starts(l, "lock=")) {
        w->have.lock = read_lock(w, l);
    } else if (str_starts(l, "vol ")) {
        read_vol(w, l + 4);
    } else if (str_starts(l, "intent ")) {
        read_intent(w, l + 7);
    } else if (str_starts(l, "setup ")) {
        w->have.setup_failures = (uint32_t)at(w, l + 6, "failures", 0);
        w->have.setup_since_ms = at(w, l + 6, "since", NOW);
    } else if (str_starts(l, "error ")) {
        w->have.last_error = arena_strdup(&w->a, l + 6);
    } else {
        fail_msg("line not understood: '%s'", l);
    }
}

/* Read everything up to the next title into a world, plan, and print the case with its plan. */
static void run_case(char **lines, size_t n, struct buf *out)
{
    struct world w;
    struct vm_plan p;
    size_t i;

    world_init(&w);
    buf_printf(out, "%s\n", lines[0]);
    for (i = 1; i < n && strcmp(lines[i], "->") != 0; i++) {
        if (lines[i][0] != '\0') {
            buf_printf(out, "%s\n", lines[i]);
            read_line(&w, lines[i]);
        }
    }
    vm_plan(&w.env, &w.want, &w.have, &w.intent, &w.a, &p);
    buf_add_str(out, "->\n");
    vm_plan_format(&w.env, &p, out);
    buf_add_byte(out, '\n');
    arena_done(&w.a);
}

static char *read_all(const char *path)
{
    struct buf b = { 0 };
    FILE *f = fopen(path, "r");
    size_t n;

    assert_non_null(f);
    do {
        uint8_t *p = buf_reserve(&b, 4096);

        n = fread(p, 1, 4096, f);
        buf_commit(&b, n);
    } while (n > 0);
    assert_int_equal(fclose(f), 0);
    buf_add_byte(&b, 0);
    return buf_take(&b, NULL);
}

static void run_file(const char *path)
{
    struct buf out = { 0 };
    char *lines[4096];
    size_t n = 0, head = 0;
    char *text = read_all(path);
    char *want = mem_strdup(text);

    for (char *p = text, *q; *p != '\0'; p = q + 1) {
        q = strchr(p, '\n');
        assert_non_null(q);
        assert_true(n < ARRAY_LEN(lines));
        *q = '\0';
        lines[n++] = p;
    }
    for (size_t i = 0; i <= n; i++) {
        if (i == n || str_starts(lines[i], "== ")) {
            if (i > head) {
                run_case(lines + head, i - head, &out);
            }
            head = i;
        }
    }
    if (str_eq(getenv("PICKET_GOLDEN"), "write")) {
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_true(fputs(buf_cstr(&out), f) >= 0);
        assert_int_equal(fclose(f), 0);
    } else {
        assert_string_equal(buf_cstr(&out), want);
    }
    buf_done(&out);
    free(text);
    free(want);
}

static int is_plan(const struct dirent *d)
{
    return str_ends(d->d_name, ".plan");
}

static void goldens(void **state)
{
    struct dirent **names;
    int n = scandir(DIR_NAME, &names, is_plan, alphasort);

    (void)state;
    assert_true(n >= 5); /* run from the top of the tree */
    for (int i = 0; i < n; i++) {
        char path[512];

        (void)snprintf(path, sizeof(path), DIR_NAME "/%s", names[i]->d_name);
        run_file(path);
        free(names[i]);
    }
    free(names);
}

static void random_lock(struct prng *r, struct vm_lock *l)
{
    l->state = prng_below(r, 2) == 0 ? VM_LOCK_MINE : (enum vm_lock_state)prng_below(r, 6);
    l->token = l->state == VM_LOCK_MINE || l->state == VM_LOCK_PEER ? 42 : 0;
    l->read_ms = NOW - prng_below(r, 6000);
    l->peer_joined = prng_below(r, 2) == 0;
    l->aborted = prng_below(r, 3) == 0;
    l->ownerless = prng_below(r, 5) == 0;
    l->confirmed_ms = NOW - prng_below(r, 5000);
    l->holder = "node2 (incarnation 8)";
}

static void random_mig(struct prng *r, struct world *w)
{
    w->want.mig = (struct vm_mig){ .id = "m1", .peer = "node2", .address = "192.0.2.2:7445" };
    w->want.mig.role = (enum vm_mig_role)prng_below(r, 3);
    w->want.mig.send = prng_below(r, 2) == 0;
    w->want.mig.cancel = prng_below(r, 4) == 0;
    w->want.mig.committed = prng_below(r, 4) == 0;
    w->have.sent = prng_below(r, 2) == 0;
    w->have.commit_refused = prng_below(r, 5) == 0;
    w->have.mig_over = prng_below(r, 4) == 0;
}

static void random_world(struct prng *r, struct world *w)
{
    world_init(w);
    random_mig(r, w);
    w->env.inc = prng_below(r, 2) == 0 ? VM_INC_LIVE : (enum vm_inc)prng_below(r, 3);
    w->env.lease_until_ms = NOW - 500 + prng_below(r, 3500);
    w->env.lease_half_ms = w->env.lease_until_ms - 1500;
    w->env.stop_on_loss = prng_below(r, 4) != 0;
    w->env.synced = prng_below(r, 5) != 0;
    w->env.guarded = prng_below(r, 5) != 0;
    w->want.exists = prng_below(r, 8) != 0;
    w->want.deleting = prng_below(r, 8) == 0;
    w->want.paused = prng_below(r, 8) == 0;
    w->want.run = (enum vm_run)prng_below(r, 3);
    w->want.assign = prng_below(r, 2) == 0 ? VM_ASSIGN_HERE : (enum vm_assign)prng_below(r, 4);
    w->want.on_crash = (enum vm_on_crash)prng_below(r, 3);
    w->want.restart_on_poweroff = prng_below(r, 2) == 0;
    w->have.state = (enum dom_state)prng_below(r, 6);
    w->have.reason = (enum dom_reason)prng_below(r, 6);
    w->have.uid = prng_below(r, 6) == 0 ? "u0" : "u1";
    w->have.seen_ms = NOW - prng_below(r, 6000);
    random_lock(r, &w->have.lock);
    w->have.n_vols = prng_below(r, 4);
    for (size_t i = 0; i < w->have.n_vols; i++) {
        struct vm_vol *v = &w->vols[i];

        v->name = "vol";
        v->wanted = prng_below(r, 4) != 0;
        v->exclusive = prng_below(r, 4) != 0;
        v->creatable = prng_below(r, 2) != 0;
        v->state = prng_below(r, 2) == 0 ? VOL_ACTIVE : (enum vol_state)prng_below(r, 4);
        v->seen_ms = NOW - prng_below(r, 6000);
        v->used_by = prng_below(r, 6) == 0 ? "vm2" : NULL;
        v->size_bytes = prng_below(r, 3);
        v->want_bytes = prng_below(r, 3);
        random_lock(r, &v->lock);
    }
    w->intent.phase = (enum vm_phase)prng_below(r, VM_PHASE_RECEIVING + 1);
    if (prng_below(r, 8) == 0) { /* else seldom all at once */
        w->intent.phase = VM_PHASE_SENDING;
        w->want.mig.role = VM_MIG_SOURCE;
        w->have.state = DOM_PAUSED;
        w->have.lock.state = VM_LOCK_MINE;
    }
    w->intent.why = w->intent.phase == VM_PHASE_STOPPING ? VM_WHY_POLICY : VM_WHY_NONE;
    w->intent.since_ms = NOW - prng_below(r, 60000);
    w->intent.latch = (enum vm_latch)prng_below(r, 3);
    w->intent.latch_generation = prng_below(r, 2) + 2;
    w->intent.n_restarts = (uint32_t)prng_below(r, 5);
    for (uint32_t k = 0; k < w->intent.n_restarts; k++) {
        w->intent.restart_ms[k] = NOW - 5000 + k;
    }
}

/* Only the owner lets the guest run; the source goes on only when nobody else can (safety.md 2). */
static void check_migration(const struct world *w, const struct vm_plan *p, enum act_kind k)
{
    const struct vm_lock *l = &w->have.lock;
    enum vm_phase phase = w->intent.phase;

    if (k == ACT_UNPAUSE && (phase == VM_PHASE_RECEIVING || l->state == VM_LOCK_PEER)) {
        assert_int_equal(l->state, VM_LOCK_MINE);
    }
    if (k == ACT_MIG_RESUME) {
        assert_int_equal(l->state, VM_LOCK_MINE);
        assert_true(l->aborted || !l->peer_joined);
        assert_true(vm_lease_good(&w->env));
    }
    if (k == ACT_MIG_COMMIT) {
        assert_int_equal(l->state, VM_LOCK_MINE);
        assert_int_equal(phase, VM_PHASE_SENDING);
        assert_int_equal(w->have.state, DOM_PAUSED);
        assert_true(w->have.sent && l->peer_joined && !l->aborted);
    }
    if (k == ACT_MIG_SEND) {
        assert_int_equal(l->state, VM_LOCK_MINE);
        assert_int_equal(p->intent.phase, VM_PHASE_SENDING); /* written before it begins */
        assert_true(l->peer_joined && !l->aborted);
    }
    if (k == ACT_MIG_RECEIVE) {
        assert_int_equal(l->state, VM_LOCK_PEER);
        assert_int_equal(p->intent.phase, VM_PHASE_RECEIVING);
        assert_int_equal(w->have.state, DOM_ABSENT);
        assert_true(!l->aborted && w->env.guarded && vm_lease_good(&w->env));
    }
}

/* What no plan may ever do, whatever the world looks like (safety.md 2, 3 and 5). */
static void check_rules(const struct world *w, const struct vm_plan *p)
{
    const struct vm_env *e = &w->env;
    bool known = w->have.seen_ms + e->obs_max_age_ms >= NOW && w->have.state != DOM_UNKNOWN;

    for (size_t i = 0; i < p->n_acts; i++) {
        enum act_kind k = p->acts[i].kind;

        assert_true(p->acts[i].not_after_ms > NOW || k == ACT_DESTROY);
        assert_true(known || k == ACT_LOOK);
        check_migration(w, p, k);
        if (k == ACT_START) {
            assert_int_equal(w->have.state, DOM_ABSENT);
            assert_int_equal(w->have.lock.state, VM_LOCK_MINE);
            assert_int_equal(e->inc, VM_INC_LIVE);
            assert_true(e->guarded && e->synced);
            assert_true(p->acts[i].not_after_ms <= e->lease_until_ms);
            assert_true(e->lease_until_ms >= NOW + e->margin_ms);
            assert_true(w->want.exists && !w->want.deleting && !w->want.paused);
            assert_int_equal(w->want.assign, VM_ASSIGN_HERE);
            assert_int_equal(p->intent.phase, VM_PHASE_STARTING);
            assert_int_equal(p->n_acts, 1);
            for (size_t v = 0; v < w->have.n_vols; v++) {
                const struct vm_vol *vol = &w->vols[v];

                assert_true(!vol->wanted || vol->state == VOL_ACTIVE);
                assert_true(!vol->wanted || !vol->exclusive || vol->lock.state == VM_LOCK_MINE);
                assert_true(!vol->wanted || !vol->exclusive || vol->used_by == NULL);
            }
        }
        if (k == ACT_RELEASE) {
            assert_int_equal(w->have.state, DOM_ABSENT);
            for (size_t v = 0; v < w->have.n_vols; v++) {
                const struct vm_vol *vol = &w->vols[v];

                assert_true(vol->lock.state != VM_LOCK_MINE || vol->used_by != NULL ||
                            ((vol->state == VOL_INACTIVE || vol->state == VOL_ABSENT) &&
                             vol->seen_ms + e->obs_max_age_ms >= NOW));
            }
        }
        if (k == ACT_DEACTIVATE) {
            assert_int_equal(w->have.state, DOM_ABSENT);
        }
        if (k == ACT_DESTROY && (w->have.state == DOM_RUNNING || w->have.state == DOM_PAUSED)) {
            bool lease = e->stop_on_loss && vm_lease_ending(e);
            bool timeout = p->intent.phase == VM_PHASE_STOPPING &&
                           p->intent.since_ms + w->want.shutdown_timeout_ms <= NOW;
            bool foreign = w->have.lock.state == VM_LOCK_OTHER;
            /* The end of a migration that has left, was aborted, or is nobody's any more. */
            bool left =
                w->have.lock.state == VM_LOCK_PEER &&
                (w->intent.phase == VM_PHASE_SENDING || w->want.mig.role == VM_MIG_SOURCE ||
                 w->have.lock.aborted || w->have.lock.ownerless || w->have.state == DOM_RUNNING);
            bool lost =
                w->have.lock.state == VM_LOCK_FREE &&
                (w->intent.phase == VM_PHASE_SENDING || w->intent.phase == VM_PHASE_RECEIVING);

            assert_true(lease || timeout || foreign || left || lost);
        }
    }
    if (p->n_acts == 0 && p->blocked_why == NULL && w->want.exists && vm_lease_good(e)) {
        /* Nothing to do and nothing in the way: then all is as it should be. */
        assert_true(w->have.state == DOM_RUNNING || w->have.state == DOM_PAUSED ||
                    w->have.state == DOM_ABSENT);
    }
    if (p->done) {
        assert_int_equal(w->have.state, DOM_ABSENT);
        assert_int_not_equal(w->have.lock.state, VM_LOCK_MINE);
    }
}

static void never_unsafe(void **state)
{
    struct prng r;
    size_t starts = 0, releases = 0, destroys = 0, commits = 0, resumes = 0;

    (void)state;
    prng_init(&r, 20261123);
    for (int i = 0; i < 200000; i++) {
        struct world w;
        struct vm_plan p;

        random_world(&r, &w);
        vm_plan(&w.env, &w.want, &w.have, &w.intent, &w.a, &p);
        check_rules(&w, &p);
        for (size_t k = 0; k < p.n_acts; k++) {
            starts += p.acts[k].kind == ACT_START;
            releases += p.acts[k].kind == ACT_RELEASE;
            destroys += p.acts[k].kind == ACT_DESTROY;
            commits += p.acts[k].kind == ACT_MIG_COMMIT;
            resumes += p.acts[k].kind == ACT_MIG_RESUME;
        }
        arena_done(&w.a);
    }
    /* The walk has to get to the interesting places, or it proves nothing. */
    assert_true(starts > 50);
    assert_true(releases > 500);
    assert_true(destroys > 500);
    assert_true(commits > 50 && resumes > 50);
}

static void names_round_trip(void **state)
{
    (void)state;
    for (int i = VM_PHASE_NONE; i <= VM_PHASE_RECEIVING; i++) {
        enum vm_phase p = VM_PHASE_NONE;

        assert_true(vm_phase_parse(vm_phase_name((enum vm_phase)i), &p));
        assert_int_equal(p, i);
    }
    for (int i = VM_WHY_NONE; i <= VM_WHY_START_FAILED; i++) {
        enum vm_why p = VM_WHY_NONE;

        assert_true(vm_why_parse(vm_why_name((enum vm_why)i), &p));
        assert_int_equal(p, i);
    }
    for (int i = VM_LATCH_NONE; i <= VM_LATCH_GAVE_UP; i++) {
        enum vm_latch p = VM_LATCH_NONE;

        assert_true(vm_latch_parse(vm_latch_name((enum vm_latch)i), &p));
        assert_int_equal(p, i);
    }
    assert_false(vm_phase_parse("Flying", &(enum vm_phase){ VM_PHASE_NONE }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(never_unsafe),
        cmocka_unit_test(names_round_trip),
    };

    return cmocka_run_group_tests_name("vmplan", tests, NULL, NULL);
}
