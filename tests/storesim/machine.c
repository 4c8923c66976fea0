/* The real store behind the real log, through the daemon's own glue, with everything checked that
 * can be: the first node that applies an entry defines what it does (and the model has a word in
 * that); every other one must do the same, in the same order, with nothing left out. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "cmd/picketd/fsm.h"
#include "tests/storesim/sim.h"

struct entry {                  /* one group of the log */
    uint64_t index, term, prev; /* prev: the group before */
    uint64_t cmds, result;      /* hashes; result: answers and changes */
    uint64_t state;             /* hash of the store afterwards */
};

static struct entry *entries;
static size_t n_entries, cap_entries;
static uint64_t *leaders; /* by term: id */
static size_t n_leaders;

struct model model;
struct lockcheck locks;

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15ULL + (h << 6) + (h >> 2);
    return h * 0xff51afd7ed558ccdULL;
}

static uint64_t mix_bytes(uint64_t h, const void *p, size_t n)
{
    return mix(mix(h, n), crc32c((uint32_t)h, p, n));
}

void machine_reset(void)
{
    model_init(&model, opt.history);
}

void machine_done(void)
{
    totals.predicted += model.predicted;
    totals.lock_changes += locks.changes;
    model_done(&model);
    lockcheck_done(&locks);
    free(entries);
    free(leaders);
}

uint64_t machine_index(void)
{
    return n_entries == 0 ? 0 : entries[n_entries - 1].index;
}

/* One leader a term. */
void machine_led(unsigned i, uint64_t term)
{
    REQUIRE(term < 1000000);
    if (term >= n_leaders) {
        leaders = mem_realloc(leaders, (term + 64) * sizeof(*leaders));
        memset(leaders + n_leaders, 0, (term + 64 - n_leaders) * sizeof(*leaders));
        n_leaders = term + 64;
    }
    totals.elections += leaders[term] == 0;
    if (leaders[term] != 0 && leaders[term] != i + 1) {
        FAIL("term %" PRIu64 " has two leaders: %" PRIu64 " and %u", term, leaders[term], i + 1);
    }
    leaders[term] = i + 1;
}

static struct entry *entry_at(uint64_t index)
{
    size_t lo = 0, hi = n_entries;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (entries[mid].index < index) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < n_entries && entries[lo].index == index ? &entries[lo] : NULL;
}

static struct entry *entry_new(uint64_t index, uint64_t term)
{
    struct entry *e;

    if (n_entries == cap_entries) {
        cap_entries = cap_entries == 0 ? 1024 : cap_entries * 2;
        entries = mem_realloc(entries, cap_entries * sizeof(*entries));
    }
    e = &entries[n_entries++];
    *e = (struct entry){ .index = index, .term = term };
    e->prev = n_entries > 1 ? e[-1].index : 0;
    return e;
}

bool machine_is_current(const struct sim_node *n)
{
    return n->store != NULL && n->applied == machine_index() &&
           (n_entries == 0 || entries[n_entries - 1].state == store_hash(n->store));
}

/* --- what a command changed --------------------------------------------------------------------
 */

static void audit_open(struct sim_node *n)
{
    store_watch_free(n->audit);
    n->audit = store_watch_new(n->store, "", 0, NULL, 0, store_rev(n->store) + 1, NULL, NULL);
}

static struct m_event event_of(const struct kv_event *ev)
{
    struct m_event e = { .rev = ev->rev, .del = ev->type == KV_DELETE };

    e.key = (struct bytes){ ev->key, ev->klen };
    e.value = (struct bytes){ (const uint8_t *)"", 0 };
    if (ev->kv != NULL) {
        e.value = (struct bytes){ kv_value(ev->kv), ev->kv->vlen };
        e.create_rev = ev->kv->create_rev;
        e.version = ev->kv->version;
        e.lease = ev->kv->lease;
    }
    return e;
}

struct changes {
    struct m_event *events;
    size_t n, cap;
};

static uint64_t changes_pull(struct sim_node *n, struct changes *c, uint64_t h)
{
    struct kv_event ev;
    struct err err;
    int rc;

    c->n = 0;
    while ((rc = store_watch_next(n->audit, &ev, &err)) == 1) {
        struct m_event e = event_of(&ev);

        if (c->n == c->cap) {
            c->cap = c->cap == 0 ? 16 : c->cap * 2;
            c->events = mem_realloc(c->events, c->cap * sizeof(*c->events));
        }
        c->events[c->n++] = e;
        h = mix_bytes(mix_bytes(mix(h, e.rev), e.key.p, e.key.n), e.value.p, e.value.n);
        h = mix(mix(mix(h, e.create_rev), e.version), e.lease);
    }
    if (rc != 0) {
        FAIL("%s: the watch of everything, pulled after each command: %s", node_name(n->i),
             err.msg);
    }
    return h;
}

/* --- apply -------------------------------------------------------------------------------------
 */

static void first_time(struct sim_node *n, uint64_t index, uint64_t term, const struct rep_cmd *c,
                       const struct buf *result, const struct changes *ch, size_t bytes_before)
{
    struct m_seen seen = { .term = term,
                           .cmd = c->data,
                           .cmd_len = c->len,
                           .answer = result->data,
                           .answer_len = result->len,
                           .events = ch->events,
                           .n_events = ch->n,
                           .compact_rev = store_compact_rev(n->store),
                           .bytes_before = bytes_before,
                           .quota = opt.quota };
    struct arena a = { 0 };
    struct cmd_answer ans;
    struct cmd cmd;
    struct err err;

    if (model_apply(&model, &seen, &err) != 0) {
        FAIL("%s, entry %" PRIu64 ": %s", node_name(n->i), index, err.msg);
    }
    REQUIRE(store_rev(n->store) == model.rev);
    REQUIRE(cmd_decode(c->data, c->len, &a, &cmd, &err) == 0);
    REQUIRE(cmd_answer_decode(result->data, result->len, &a, &ans, &err) == 0);
    if (lockcheck_apply(&locks, &cmd, &ans, ch->events, ch->n, &err) != 0) {
        FAIL("%s, entry %" PRIu64 ": %s", node_name(n->i), index, err.msg);
    }
    lease_applied(&cmd, &ans);
    op_applied(&cmd, index, result->data, result->len);
    totals.applied++;
    arena_done(&a);
}

static void apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                  const struct rep_cmd *cmds, size_t n_cmds, struct buf *results)
{
    struct sim_node *n = ctx;
    struct entry *e = entry_at(index);
    bool first = e == NULL;
    uint64_t h_cmds = 0, h_result = 0;
    static struct changes ch;

    REQUIRE(index > n->applied); /* nothing twice */
    if (first && index <= machine_index()) {
        FAIL("%s applies entry %" PRIu64 ", which others have passed over", node_name(n->i), index);
    }
    if (first) {
        e = entry_new(index, term);
    }
    if (n->applied < e->prev) {
        FAIL("%s applies entry %" PRIu64 " after %" PRIu64 " and leaves out %" PRIu64,
             node_name(n->i), index, n->applied, e->prev);
    }
    for (size_t i = 0; i < n_cmds; i++) {
        size_t before = store_bytes(n->store);

        n->fsm.apply(n->fsm.ctx, index, term, leader_ms, &cmds[i], 1, &results[i]);
        h_cmds = mix_bytes(h_cmds, cmds[i].data, cmds[i].len);
        h_result = mix_bytes(h_result, results[i].data, results[i].len);
        h_result = changes_pull(n, &ch, h_result);
        if (first) {
            first_time(n, index, term, &cmds[i], &results[i], &ch, before);
        }
    }
    e = entry_at(index);
    if (first) {
        e->cmds = h_cmds;
        e->result = h_result;
        e->state = store_hash(n->store);
        story("%s applies %" PRIu64 ": %zu commands, revision %" PRIu64, node_name(n->i), index,
              n_cmds, store_rev(n->store));
    }
    if (e->term != term || e->cmds != h_cmds) {
        FAIL("%s: entry %" PRIu64 " of term %" PRIu64 " is not the one of term %" PRIu64
             " that others applied",
             node_name(n->i), index, term, e->term);
    }
    if (e->result != h_result) {
        FAIL("%s: entry %" PRIu64 " gave other answers or changes than before", node_name(n->i),
             index);
    }
    if (e->state != store_hash(n->store)) {
        FAIL("%s: another state at entry %" PRIu64, node_name(n->i), index);
    }
    n->applied = index;
}

uint64_t machine_state_after(uint64_t index)
{
    const struct entry *e = entry_at(index);

    REQUIRE(e != NULL);
    return e->state;
}

/* --- the rest of the machine: the glue's own, with the state compared after a restore ----------
 */

static void *snap_begin(void *ctx)
{
    struct sim_node *n = ctx;

    return n->fsm.snap_begin(n->fsm.ctx);
}

static int snap_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    struct sim_node *n = ctx;

    return n->fsm.snap_write(n->fsm.ctx, snap, sink, err);
}

static void snap_end(void *ctx, void *snap)
{
    struct sim_node *n = ctx;

    n->fsm.snap_end(n->fsm.ctx, snap);
}

static int restore(void *ctx, struct rep_source *source, struct err *err)
{
    struct sim_node *n = ctx;
    const struct entry *e;
    int rc = n->fsm.restore(n->fsm.ctx, source, err);

    if (rc != 0) {
        return rc;
    }
    e = entry_at(store_index(n->store));
    if (store_index(n->store) != 0 && (e == NULL || e->state != store_hash(n->store))) {
        FAIL("%s: the snapshot up to %" PRIu64 " gives another state", node_name(n->i),
             store_index(n->store));
    }
    REQUIRE(store_index(n->store) >= n->applied);
    n->applied = store_index(n->store);
    n->restores++;
    totals.restores++;
    audit_open(n);
    story("%s restored up to %" PRIu64, node_name(n->i), n->applied);
    return 0;
}

static uint64_t hash(void *ctx)
{
    struct sim_node *n = ctx;

    return n->fsm.hash(n->fsm.ctx);
}

struct rep_fsm machine_fsm(struct sim_node *n)
{
    return (struct rep_fsm){ .ctx = n,
                             .apply = apply,
                             .snap_begin = snap_begin,
                             .snap_write = snap_write,
                             .snap_end = snap_end,
                             .restore = restore,
                             .hash = hash };
}

void machine_start(struct sim_node *n)
{
    struct store_limits limits = { .history_count = opt.history, .quota_bytes = opt.quota };

    n->store = store_new(&limits);
    n->fsm = store_fsm(n->store);
    n->applied = 0;
    audit_open(n);
}

void machine_stop(struct sim_node *n)
{
    store_watch_free(n->audit);
    n->audit = NULL;
    store_free(n->store);
    n->store = NULL;
}
