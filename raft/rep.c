#include "raft/rep.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/rep_snap.h"

#define SNAPSHOT_BYTES (64u << 20)
#define SEGMENT_BYTES (64u << 20)

/* --- the core's memory: its own handling of failed allocations is untested, so there are none ---
 */

static void *heap_check(void *p, size_t size)
{
    CHECK(p != NULL || size == 0);
    return p;
}

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return heap_check(malloc(size), size);
}

static void heap_free(void *data, void *p)
{
    (void)data;
    free(p);
}

static void *heap_calloc(void *data, size_t n, size_t size)
{
    (void)data;
    return heap_check(calloc(n, size), n * size);
}

static void *heap_realloc(void *data, void *p, size_t size)
{
    (void)data;
    return heap_check(realloc(p, size), size);
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    return heap_check(aligned_alloc(alignment, size), size);
}

static void heap_aligned_free(void *data, size_t alignment, void *p)
{
    (void)data;
    (void)alignment;
    free(p);
}

static struct raft_heap rep_heap = {
    .malloc = heap_malloc,
    .free = heap_free,
    .calloc = heap_calloc,
    .realloc = heap_realloc,
    .aligned_alloc = heap_aligned_alloc,
    .aligned_free = heap_aligned_free,
};

/* --- the guard's words --- */

static void hook_ready(void *ctx, raft_term term)
{
    rep_event(ctx, EVENT_READY)->a = term;
}

static void hook_fail(void *ctx, const char *why)
{
    rep_die(ctx, why);
}

static void hook_cut(void *ctx, raft_index index)
{
    struct rep *r = ctx;

    wal_add_truncate(r->wal, index);
    r->cut_pos = wal_pos(r->wal);
}

/* --- opening --- */

static int rep_check(const struct rep_params *p, struct err *err)
{
    if (p->id == 0 || p->name == NULL || p->name[0] == 0 || p->cluster == NULL || p->dir == NULL) {
        return err_set(err, ERR_INVALID, "the replicated log needs id, name, cluster and dir");
    }
    if (p->heartbeat_ms == 0 || p->election_ms < 2 * p->heartbeat_ms) {
        return err_set(
            err, ERR_INVALID,
            "heartbeat %u ms, election %u ms: the election time-out must be at least two "
            "heartbeats",
            p->heartbeat_ms, p->election_ms);
    }
    CHECK(p->fsm.apply != NULL && p->fsm.snap_begin != NULL && p->fsm.snap_write != NULL);
    CHECK(p->fsm.snap_end != NULL && p->fsm.restore != NULL);
    return 0;
}

static void rep_copy_params(struct rep *r, const struct rep_params *p)
{
    r->params = *p;
    r->params.name = mem_strdup(p->name);
    r->params.dir = mem_strdup(p->dir);
    r->params.cluster = mem_strdup(p->cluster);
    r->params.listen = NULL;
    r->params.tls = NULL;
    r->params.loop = NULL;
    r->params.snapshot_bytes = p->snapshot_bytes == 0 ? SNAPSHOT_BYTES : p->snapshot_bytes;
    r->params.segment_bytes = p->segment_bytes == 0 ? SEGMENT_BYTES : p->segment_bytes;
}

static void rep_init_core(struct rep *r)
{
    struct guard_hooks hooks = {
        .ctx = r, .on_ready = hook_ready, .on_fail = hook_fail, .on_cut = hook_cut
    };

    raft_heap_set(&rep_heap);
    rep_io_init(r);
    rep_snap_init(r);
    rep_propose_init(r);
    rep_read_init(r);
    CHECK(raft_init(&r->raft, &r->io, &r->fsm, r->params.id, r->params.name) == 0);
    guard_install(&r->guard, &r->raft, &hooks);
    raft_set_heartbeat_timeout(&r->raft, r->params.heartbeat_ms);
    raft_set_election_timeout(&r->raft, r->params.election_ms);
    raft_set_install_snapshot_timeout(&r->raft, 20 * r->params.election_ms);
    raft_set_snapshot_threshold(&r->raft, UINT_MAX);
    raft_set_snapshot_trailing(&r->raft, REP_TRAILING);
    raft_set_max_catch_up_rounds(&r->raft, 100);
    raft_set_max_catch_up_round_duration(&r->raft, 50000);
    raft_set_pre_vote(&r->raft, true);
    r->next_tag = r->env.random(r->env.ctx) >> 16; /* answers to an earlier life match nothing */
}

static int rep_start_core(struct rep *r, struct err *err)
{
    struct raft_configuration conf;
    const struct snap_meta *m = &r->snap->newest;
    int rv;

    if (m->index != 0) {
        CHECK(conf_decode(m->conf.base, m->conf.len, &conf));
        guard_set_snapshot_conf(&r->guard, &conf, m->conf_index);
        raft_configuration_close(&conf);
    }
    rep_enter(r);
    rv = raft_start(&r->raft);
    if (rv == 0) {
        guard_started(&r->guard);
    }
    r->started = rv == 0;
    rep_leave(r);
    for (size_t i = 0; r->load_err.code != 0 && i < r->n_load_bufs; i++) {
        raft_free(r->load_bufs[i]);
    }
    free(r->load_bufs);
    if (rv == 0) {
        return 0;
    }
    if (r->load_err.code != 0) {
        *err = r->load_err;
        return err_wrap(err, "%s", r->params.dir);
    }
    return err_native(err, ERR_CORRUPT, "raft", rv, "%s: start the raft core: %s", r->params.dir,
                      raft_errmsg(&r->raft));
}

int rep_open_env(const struct rep_params *params, const struct rep_env *env, struct rep **ret,
                 struct err *err)
{
    struct rep *r;
    int rc;

    rc = rep_check(params, err);
    if (rc != 0) {
        env->close(env->ctx);
        if (env->free != NULL) {
            env->free(env->ctx);
        }
        return rc;
    }
    r = OBJ_NEW(struct rep);
    r->magic = REP_MAGIC;
    r->env = *env;
    rep_copy_params(r, params);
    rep_init_core(r);
    rc = rep_load(r, err);
    if (rc == 0) {
        rc = rep_start_core(r, err);
    }
    if (rc != 0) {
        rep_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

/* --- the end, for tests --- */

static void rep_free_snapshot(struct rep *r)
{
    struct raft_snapshot *s = &r->raft.snapshot.pending;

    /* The core was closed while a snapshot was under way. */
    if (s->term != 0) {
        raft_configuration_close(&s->configuration);
        (void)r->fsm.snapshot_finalize(&r->fsm, &s->bufs, &s->n_bufs);
    }
}

static void rep_free_events(struct rep *r)
{
    for (size_t i = r->next_event; i < r->n_events; i++) {
        struct rep_event *e = &r->events[i];

        free(e->failure);
        if (e->group != NULL) {
            rep_group_put(r, e->group);
        }
        if (e->call != NULL) {
            buf_done(&e->call->data);
            free(e->call);
        }
    }
    free(r->events);
}

void rep_free(struct rep *r)
{
    if (r == NULL) {
        return;
    }
    OBJ_CHECK(r, REP_MAGIC);
    r->dead = true;
    raft_close(&r->raft, NULL); /* calls io.close, which stops the environment */
    rep_free_snapshot(r);
    rep_free_events(r);
    rep_propose_done(r);
    rep_read_done(r);
    rep_call_done(r);
    rep_member_done(r);
    rep_snap_done(r);
    guard_done(&r->guard);
    wal_free(r->wal);
    wal_log_done(&r->log);
    for (size_t i = 0; i < r->n_peers; i++) {
        free(r->peers[i]->hint);
        free(r->peers[i]);
    }
    buf_done(&r->frame);
    free((char *)(uintptr_t)r->params.name);
    free((char *)(uintptr_t)r->params.dir);
    free((char *)(uintptr_t)r->params.cluster);
    if (r->env.free != NULL) {
        r->env.free(r->env.ctx);
    }
    r->magic = 0;
    free(r);
}

/* --- what is --- */

enum rep_role rep_role(const struct rep *r)
{
    switch (r->raft.state) {
    case RAFT_FOLLOWER:
        return REP_FOLLOWER;
    case RAFT_CANDIDATE:
        return REP_CANDIDATE;
    case RAFT_LEADER:
        return REP_LEADER;
    default:
        return REP_UNAVAILABLE;
    }
}

uint64_t rep_term(const struct rep *r)
{
    return r->raft.current_term;
}

uint64_t rep_leader(const struct rep *r)
{
    switch (r->raft.state) {
    case RAFT_FOLLOWER:
        return r->raft.follower_state.current_leader.id;
    case RAFT_LEADER:
        return r->raft.transfer == NULL ? r->params.id : 0;
    default:
        return 0;
    }
}

const char *rep_leader_name(const struct rep *r)
{
    uint64_t id = rep_leader(r);
    const struct rep_peer *p = id == 0 ? NULL : rep_peer(r, id);

    return p == NULL ? "" : p->info.name;
}

uint64_t rep_applied(const struct rep *r)
{
    return r->n_pending > 0 ? r->applied : r->raft.last_applied;
}

uint64_t rep_committed(const struct rep *r)
{
    return r->raft.commit_index;
}

bool rep_lead_ready(const struct rep *r)
{
    return guard_ready(&r->guard) && r->ready_term == r->raft.current_term;
}

void rep_stats(const struct rep *r, struct rep_stats *ret)
{
    const struct guard_stats *g = &r->guard.stats;

    *ret = (struct rep_stats){
        .log_first = r->raft.log.offset + 1,
        .log_last = r->raft.log.offset + guard_log_len(&r->raft),
        .log_data_bytes = r->shed_bytes,
        .snapshot_index = r->snap->newest.index,
        .snapshot_bytes = r->snap->newest.size,
        .snapshot_writing = r->snap->take != NULL,
        .queued_bytes = r->queue_bytes,
        .inflight = r->n_inflight,
        .disk_full = wal_full(r->wal),
        .guard_hits = g->acks_delayed + g->acks_clamped + g->acks_muted + g->rollbacks +
                      g->conflicts_put_off + g->commits_clamped + g->votes_refused +
                      g->confs_settled + g->compacted_skipped + g->elections_asked_again +
                      g->terms_raised,
    };
    wal_stats(r->wal, ret);
}

size_t rep_peers(const struct rep *r, struct rep_peer_info *dst, size_t max)
{
    const struct raft_configuration *c = &r->raft.configuration;
    uint64_t now = rep_now(r);
    size_t n = 0;

    for (unsigned i = 0; i < c->n && n < max; i++) {
        const struct rep_peer *p = rep_peer(r, c->servers[i].id);
        struct rep_peer_info *d = &dst[n];

        if (p == NULL) {
            continue;
        }
        *d = p->info;
        if (d->id == r->params.id) {
            d->last_contact_ms = now;
        }
        d->reachable = d->last_contact_ms != 0 && now - d->last_contact_ms < r->params.election_ms;
        if (r->raft.state == RAFT_LEADER) {
            d->match_index = r->raft.leader_state.progress[i].match_index;
        }
        n++;
    }
    return n;
}
