/* The fencing decision against random facts: whatever the world looks like, it keeps its promises.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/decide_plan.h"
#include "fence/timing.h"

#define SEEDS 60000U
#define HOSTS 4
#define LEVELS 3
#define DEVICES 2
#define RESULTS 4

static const char *const host_names[HOSTS] = { "n1", "n2", "n3", "n4" };
static const char *const device_names[] = { "d1", "d2", "d3" };

struct world {
    struct decide_facts f;
    struct decide_host hosts[HOSTS];
    struct decide_candidate cands[HOSTS + 1];
    struct decide_fencing fencings[HOSTS];
    struct decide_level levels[HOSTS][LEVELS], pinned[HOSTS][LEVELS];
    struct decide_device devs[HOSTS][LEVELS][DEVICES], pinned_devs[HOSTS][LEVELS][DEVICES];
    struct decide_result results[HOSTS][RESULTS];
    uint64_t history[HOSTS][3], all_history[4];
};

static struct prng rnd;

static bool chance(unsigned percent)
{
    return prng_below(&rnd, 100) < percent;
}

/* A time around now, or 0. */
static uint64_t some_time(uint64_t now_ms)
{
    static const uint64_t ago[] = { 0, 100, 400, 600, 900, 2000, 4000, 14000, 20000, 90000 };

    return chance(25) ? 0 : now_ms - ago[prng_below(&rnd, ARRAY_LEN(ago))];
}

static void random_device(struct decide_device *d, uint64_t now_ms)
{
    static const enum fence_type types[] = { FENCE_TYPE_APC_SNMP, FENCE_TYPE_IPMI,
                                             FENCE_TYPE_AGENT,    FENCE_TYPE_MANUAL,
                                             FENCE_TYPE_WATCHDOG, FENCE_TYPE_NULL };

    d->name = device_names[prng_below(&rnd, ARRAY_LEN(device_names))];
    d->type = types[prng_below(&rnd, ARRAY_LEN(types))];
    d->proof_class =
        fence_class_of(d->type, chance(50) ? "fence_apc" : "fence_dummy", NULL, chance(30));
    d->generation = 1 + prng_below(&rnd, 8) / 7;
    d->pinned = 1;
    d->missing = chance(5);
    d->paused = chance(5);
    d->max_concurrent = (uint32_t)prng_below(&rnd, 2);
    d->probe = (enum fence_outcome)prng_below(&rnd, 3);
    d->probe_ms = some_time(now_ms);
}

static void random_terms(struct decide_terms *t)
{
    *t = (struct decide_terms){ .lease_ms = 3000,
                                .watchdog_ms = chance(80) ? 2000 : 0,
                                .feed_ms = 500,
                                .wd = (enum decide_wd)prng_below(&rnd, 5),
                                .nowayout = chance(80),
                                .guarded = chance(80),
                                .freeze = chance(10) };
}

static void random_fencing(struct world *w, size_t i)
{
    struct decide_fencing *fc = &w->fencings[i];
    struct decide_host *h = &w->hosts[i];
    uint64_t now_ms = w->f.now_ms;

    fc->id = 10 + i;
    fc->attempt = prng_below(&rnd, 4);
    fc->n_levels = h->n_levels;
    fc->level = fc->n_levels > 0 ? (uint32_t)prng_below(&rnd, fc->n_levels) : 0;
    if (fc->n_levels == 0) {
        fc->attempt = 0;
    }
    memcpy(w->pinned_devs[i], w->devs[i], sizeof(w->devs[i]));
    for (size_t l = 0; l < fc->n_levels; l++) {
        w->pinned[i][l] = w->levels[i][l];
        w->pinned[i][l].devices = w->pinned_devs[i][l];
    }
    fc->levels = w->pinned[i];
    fc->executor = host_names[prng_below(&rnd, HOSTS)];
    fc->started_ms = some_time(now_ms);
    fc->vetoed = chance(10);
    fc->by_user = chance(20);
    fc->host_generation = 1;
    fc->wait_started_ms = some_time(now_ms);
    fc->n_results = fc->attempt == 0 ? 0 : prng_below(&rnd, RESULTS + 1);
    for (size_t r = 0; r < fc->n_results; r++) {
        w->results[i][r] =
            (struct decide_result){ .device = device_names[prng_below(&rnd, 3)],
                                    .attempt = 1 + prng_below(&rnd, fc->attempt),
                                    .result = (enum fence_outcome)prng_below(&rnd, 3),
                                    .at_ms = some_time(now_ms) };
    }
    fc->results = w->results[i];
    h->fencing = fc;
}

static void random_host(struct world *w, size_t i)
{
    struct decide_host *h = &w->hosts[i];
    uint64_t now_ms = w->f.now_ms;

    h->name = host_names[i];
    h->generation = 1 + prng_below(&rnd, 10) / 9;
    h->incarnation = 100 + i;
    h->state = (enum decide_state)prng_below(&rnd, 5);
    h->fenced_by = DECIDE_PROOF_OFF;
    h->lease_until_ms = some_time(now_ms) + prng_below(&rnd, 6000);
    h->suspect_ms = some_time(now_ms);
    h->asked_ms = some_time(now_ms);
    h->life_ms = some_time(now_ms);
    h->slot_ms = some_time(now_ms);
    h->rebooted = chance(10);
    h->conflict = chance(5);
    h->n_locks = (uint32_t)prng_below(&rnd, 3);
    h->priority = (int64_t)prng_below(&rnd, 3);
    h->maintenance = chance(10);
    random_terms(&h->terms);
    h->n_levels = prng_below(&rnd, LEVELS + 1);
    for (size_t l = 0; l < h->n_levels; l++) {
        w->levels[i][l].n_devices = 1 + prng_below(&rnd, DEVICES);
        w->levels[i][l].devices = w->devs[i][l];
        for (size_t d = 0; d < w->levels[i][l].n_devices; d++) {
            random_device(&w->devs[i][l][d], now_ms);
        }
    }
    h->levels = w->levels[i];
    if (h->state == DECIDE_INC_FENCING && chance(95)) {
        random_fencing(w, i);
    }
    h->n_history = prng_below(&rnd, 4);
    for (size_t k = 0; k < h->n_history; k++) {
        w->history[i][k] = some_time(now_ms);
    }
    h->history_ms = w->history[i];
}

static void random_world(struct world *w)
{
    struct decide_facts *f = &w->f;

    memset(w, 0, sizeof(*w));
    *f = (struct decide_facts){ .now_ms = 100000,
                                .quorate = chance(95),
                                .leader_since_ms = 100000 - prng_below(&rnd, 90000),
                                .self = host_names[0],
                                .heartbeat_ms = 500,
                                .lease_ms = 3000,
                                .drift_ms = 31,
                                .attempt_timeout_ms = 13000,
                                .backoff_ms = 5000,
                                .backoff_max_ms = 60000,
                                .probe_max_age_ms = 90000,
                                .slot_stale_ms = 3000 };
    f->grace_ms = chance(20) ? f->leader_since_ms : 0;
    f->returned = chance(50);
    f->policy = (struct decide_policy){ .reboot = chance(50),
                                        .pause_fencing = chance(10),
                                        .lab = chance(50),
                                        .watchdog_fallback = chance(50),
                                        .startup_grace_ms = 20000,
                                        .max_per_window = (uint32_t)prng_below(&rnd, 4),
                                        .max_per_host = (uint32_t)prng_below(&rnd, 4),
                                        .window_ms = 60000,
                                        .max_in_flight = (uint32_t)prng_below(&rnd, 3),
                                        .min_healthy = (uint32_t)prng_below(&rnd, 2),
                                        .priority_delay_ms = chance(50) ? 5000 : 0 };
    f->n_hosts = 1 + prng_below(&rnd, HOSTS);
    for (size_t i = 0; i < f->n_hosts; i++) {
        random_host(w, i);
    }
    f->hosts = w->hosts;
    f->n_candidates = prng_below(&rnd, HOSTS + 2);
    for (size_t i = 0; i < f->n_candidates; i++) {
        w->cands[i] = (struct decide_candidate){ .name = i < HOSTS ? host_names[i] : "witness",
                                                 .leader = i == 0,
                                                 .reachable = chance(80),
                                                 .voter = chance(80),
                                                 .fresh = chance(10) };
        w->cands[i].state = i < f->n_hosts ? w->hosts[i].state : DECIDE_INC_NONE;
    }
    f->candidates = w->cands;
    f->n_history = prng_below(&rnd, 5);
    for (size_t i = 0; i < f->n_history; i++) {
        w->all_history[i] = some_time(f->now_ms);
    }
    f->history_ms = w->all_history;
}

/* --- promises
 * ---------------------------------------------------------------------------------------- */

static const struct decide_host *host_of(const struct world *w, const struct decide_item *it)
{
    for (size_t i = 0; i < w->f.n_hosts; i++) {
        if (w->hosts[i].name == it->host) {
            return &w->hosts[i];
        }
    }
    fail_msg("a decision about nobody");
    abort();
}

/* The newest thing that any device of the level said in the running attempt; counts the Succeeded.
 */
static size_t devices_off(const struct decide_fencing *fc, bool *ret_all_power)
{
    const struct decide_level *l = &fc->levels[fc->level];
    size_t n = 0;

    *ret_all_power = true;
    for (size_t d = 0; d < l->n_devices; d++) {
        *ret_all_power = *ret_all_power && l->devices[d].proof_class == FENCE_CLASS_POWER;
        for (size_t r = 0; r < fc->n_results; r++) {
            if (fc->results[r].attempt == fc->attempt &&
                str_eq(fc->results[r].device, l->devices[d].name)) {
                n += fc->results[r].result == FENCE_SUCCEEDED ? 1 : 0;
                break;
            }
        }
    }
    return n;
}

static void check_proof(const struct world *w, const struct decide_host *h,
                        const struct decide_item *it)
{
    const struct decide_fencing *fc = h->fencing;
    bool all_power;

    assert_non_null(fc);
    assert_int_equal(h->state, DECIDE_INC_FENCING);
    assert_int_equal(it->fencing, fc->id);
    assert_int_equal(it->attempt, fc->attempt);
    assert_false(h->conflict);
    assert_false(fc->vetoed);
    if (it->proof == DECIDE_PROOF_OFF) {
        assert_true(fc->attempt > 0);
        assert_int_equal(devices_off(fc, &all_power), fc->levels[fc->level].n_devices);
        assert_true(all_power);
        assert_string_not_equal(fc->executor, h->name);
        assert_int_equal(h->generation, fc->host_generation);
        return;
    }
    assert_int_equal(it->proof, DECIDE_PROOF_WATCHDOG);
    assert_null(decide_watchdog_refusal(&h->terms, w->f.policy.lab));
    assert_true(fc->wait_started_ms != 0);
    assert_int_equal(it->elapsed_ms, w->f.now_ms - fc->wait_started_ms);
    assert_true(it->elapsed_ms >= timing_watchdog_bound_ms(3000, 2000, 500));
    assert_true(h->slot_ms == 0 || w->f.now_ms - h->slot_ms > w->f.slot_stale_ms);
    assert_true(h->life_ms == 0 || w->f.now_ms - h->life_ms > 1000);
}

static void check_attempt(const struct world *w, const struct decide_host *h,
                          const struct decide_item *it)
{
    const struct decide_fencing *fc = h->fencing;
    const struct decide_level *l;

    assert_non_null(fc);
    assert_int_equal(it->attempt, fc->attempt + 1);
    assert_true(it->level < fc->n_levels);
    l = &fc->levels[it->level];
    for (size_t d = 0; d < l->n_devices; d++) {
        assert_int_equal(l->devices[d].proof_class, FENCE_CLASS_POWER);
        assert_false(l->devices[d].missing || l->devices[d].paused);
        assert_int_not_equal(l->devices[d].type, FENCE_TYPE_MANUAL);
    }
    assert_string_not_equal(it->executor, h->name);
    for (size_t i = 0; i < w->f.n_candidates; i++) {
        const struct decide_candidate *k = &w->cands[i];

        if (str_eq(k->name, it->executor)) {
            assert_true(k->reachable && !k->fresh);
            assert_true(k->state == DECIDE_INC_LIVE || k->state == DECIDE_INC_NONE);
        }
    }
    assert_false(h->rebooted || h->conflict);
    if (!fc->by_user) {
        assert_false(w->f.policy.pause_fencing || h->maintenance);
    }
}

static void check_open(const struct world *w, const struct decide_host *h)
{
    const struct decide_policy *p = &w->f.policy;

    assert_int_equal(h->state, DECIDE_INC_LOST);
    assert_true(h->n_locks > 0); /* nobody is fenced needlessly */
    assert_false(h->maintenance || p->pause_fencing || h->conflict || h->rebooted);
    assert_true(w->f.grace_ms == 0 || w->f.now_ms >= w->f.grace_ms + p->startup_grace_ms);
    assert_true(h->asked_ms == 0 || w->f.now_ms - h->asked_ms > 1000);
}

static void check_reprieve(const struct decide_host *h)
{
    const struct decide_fencing *fc = h->fencing;

    assert_false(h->conflict || h->rebooted);
    assert_true(h->asked_ms != 0);
    if (h->state == DECIDE_INC_LOST) {
        return;
    }
    assert_int_equal(h->state, DECIDE_INC_FENCING);
    if (fc->by_user) { /* only what could not even be tried */
        assert_int_equal(fc->attempt, 0);
        assert_int_equal(fc->n_results, 0);
    }
    for (size_t r = 0; r < fc->n_results; r++) {
        assert_int_equal(fc->results[r].result, FENCE_FAILED);
    }
    assert_true(fc->attempt == 0 || fc->n_results > 0);
}

static void check_item(const struct world *w, const struct decide_item *it)
{
    const struct decide_host *h = host_of(w, it);

    assert_int_equal(it->incarnation, h->incarnation);
    assert_true(it->why[0] != '\0' && it->reason[0] != '\0');
    switch (it->kind) {
    case DECIDE_PROOF:
        check_proof(w, h, it);
        return;
    case DECIDE_FENCE_ATTEMPT:
        check_attempt(w, h, it);
        return;
    case DECIDE_FENCE_OPEN:
        check_open(w, h);
        return;
    case DECIDE_REPRIEVE:
        check_reprieve(h);
        return;
    case DECIDE_MARK_LOST:
        assert_int_equal(h->state, DECIDE_INC_LIVE);
        assert_true(h->rebooted ||
                    (w->f.now_ms > h->lease_until_ms && w->f.now_ms > w->f.leader_since_ms + 3031));
        return;
    case DECIDE_WATCHDOG_WAIT:
        assert_true(w->f.now_ms >= w->f.leader_since_ms + 3031);
        assert_int_equal(h->fencing->wait_started_ms, 0);
        return;
    case DECIDE_TRANSFER_LEADERSHIP:
        assert_string_equal(h->name, w->f.self);
        assert_string_not_equal(it->executor, w->f.self);
        return;
    case DECIDE_VETO:
    case DECIDE_FENCE_REOPEN:
    case DECIDE_POWER_ON:
    case DECIDE_HOLD:
    case DECIDE_WAIT:
        return;
    }
    fail_msg("unknown kind");
}

static void check_plan(const struct world *w, const struct decide_plan *p)
{
    uint32_t opened = 0, in_window = 0;
    unsigned acts[HOSTS] = { 0 };

    if (!w->f.quorate) {
        assert_int_equal(p->n_items, 0);
    }
    for (size_t i = 0; i < p->n_items; i++) {
        const struct decide_item *it = &p->items[i];
        const struct decide_host *h = host_of(w, it);

        check_item(w, it);
        opened += it->kind == DECIDE_FENCE_OPEN ? 1 : 0;
        if (it->kind != DECIDE_WATCHDOG_WAIT) {
            acts[h - w->hosts]++;
        }
        if (it->kind == DECIDE_TRANSFER_LEADERSHIP) {
            assert_int_equal(p->n_items, 1); /* and nothing else is decided */
        }
    }
    for (size_t i = 0; i < w->f.n_hosts; i++) {
        assert_true(acts[i] <= 1); /* one step at a time */
        assert_non_null(p->conds[i].message);
        assert_true(p->conds[i].message[0] != '\0' && p->conds[i].fencing_message[0] != '\0');
    }
    for (size_t i = 0; i < w->f.n_history; i++) {
        in_window += w->f.history_ms[i] + w->f.policy.window_ms > w->f.now_ms ? 1 : 0;
    }
    if (w->f.policy.max_per_window > 0 && opened > 0) {
        assert_true(opened + in_window <= w->f.policy.max_per_window);
    }
    assert_true(p->recheck_at_ms == 0 || p->recheck_at_ms > w->f.now_ms);
}

/* The worlds have to be rich enough to reach every decision. */
static void promises_hold(void **state)
{
    unsigned seen[DECIDE_WAIT + 1] = { 0 };
    struct world *w = calloc(1, sizeof(*w));

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct arena a = { 0 };
        struct decide_plan p;

        prng_init(&rnd, seed);
        random_world(w);
        decide_plan(&w->f, &a, &p);
        check_plan(w, &p);
        for (size_t i = 0; i < p.n_items; i++) {
            seen[p.items[i].kind]++;
        }
        arena_done(&a);
    }
    for (int k = 0; k <= DECIDE_WAIT; k++) {
        if (seen[k] < 20) {
            fail_msg("%s was decided %u times only", decide_kind_name((enum decide_kind)k),
                     seen[k]);
        }
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(promises_hold) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
