/* What must never happen, looked at all the time: guests and volumes on two machines, locks that
 * change hands without a right to, two leaders in a term, replicas that differ, needless fencing,
 * proofs about hosts that live. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cmd/picketd/node.h"
#include "reconciler/agent_priv.h"
#include "reconciler/sim_drv.h"
#include "store/safety.h"
#include "tests/sim/sim_priv.h"

struct guest {
    struct machine *on; /* NULL: nowhere */
    struct machine *last;
    unsigned starts;
    uint64_t incarnation, token, top_token;
};

/* Who wrote to a volume last: a running guest writes all the time. */
struct writer {
    struct machine *m;
    char vm[64];
    uint64_t incarnation, token;
};

/* In the heap of the picketd. */
struct wrap {
    struct proc *p;
    struct rep_fsm fsm;
    struct rep_events events;
    struct store_watch *watch;
};

void check_new(struct sim *s)
{
    s->check = OBJ_NEW(struct simcheck);
}

static void free_values(struct map *m)
{
    const char *key;
    void *v;

    for (size_t i = 0; map_next(m, &i, &key, &v);) {
        free(v);
    }
    map_done(m);
}

void check_free(struct sim *s)
{
    free(s->check->hashes);
    map_done(&s->check->leaders);
    free_values(&s->check->locks);
    free_values(&s->guests);
    free_values(&s->writers);
    free(s->check);
}

/* A device said of one of them that it is off, and nothing spoke against it. */
static bool excused(const struct sim *s, const struct machine *a, const struct machine *b)
{
    return s->opts.lies && (a->lied_about || b->lied_about);
}

/* --- guests and volumes ------------------------------------------------------------------------
 */

static struct guest *guest_of(struct sim *s, const char *vm)
{
    struct guest *g = map_get(&s->guests, vm);

    if (g == NULL) {
        g = OBJ_NEW(struct guest);
        (void)map_put(&s->guests, vm, g);
    }
    return g;
}

/* P5: the lease, as the agent knows it, has not ended when a guest begins to run. */
static void check_lease(struct machine *m, const char *vm)
{
    struct proc *p = &m->procs[PROC_AGENT];
    struct renew_view v;
    struct proc *before;

    if (!p->alive || p->agent == NULL || p->agent->renew == NULL) {
        return; /* the driver had checked not_after_ms, which the agent took from its lease */
    }
    before = sim_enter(p);
    renew_view(p->agent->renew, &v);
    sim_leave(before);
    if (v.lease_until_ms < machine_ms(m)) {
        sim_violate(m->s, "P5: %s started on %s %" PRIu64 " ms after the end of its lease", vm,
                    m->name, machine_ms(m) - v.lease_until_ms);
    }
}

static void check_start_lock(struct machine *m, const char *vm, uint64_t incarnation,
                             uint64_t token)
{
    char name[300];
    const struct lockview *l;

    (void)snprintf(name, sizeof(name), "virtualmachines/%s", vm);
    l = map_get(&m->s->check->locks, name);
    /* An acquisition of the same holder that was thought lost may come late and renew the token
     * once more; nobody else has had the lock meanwhile. */
    if (l == NULL || l->owner != incarnation || token < l->since_token || token > l->owner_token) {
        sim_violate(m->s,
                    "P2: %s started on %s for incarnation %" PRIu64 " with token %" PRIu64
                    ", but the lock is with incarnation %" PRIu64 ", token %" PRIu64,
                    vm, m->name, incarnation, token, l == NULL ? 0 : l->owner,
                    l == NULL ? 0 : l->owner_token);
    }
}

void check_guest_started(struct machine *m, const char *vm, uint64_t incarnation, uint64_t token)
{
    struct sim *s = m->s;
    struct guest *g = guest_of(s, vm);

    sim_log(s, "%s: %s runs (incarnation %" PRIu64 ", token %" PRIu64 ")", m->name, vm, incarnation,
            token);
    if (g->on != NULL && g->on != m && !excused(s, g->on, m)) {
        sim_violate(s, "P1: %s runs on %s and on %s", vm, g->on->name, m->name);
    }
    if (token < g->top_token) {
        sim_violate(s, "P2: %s runs with token %" PRIu64 " after %" PRIu64, vm, token,
                    g->top_token);
    }
    check_lease(m, vm);
    check_start_lock(m, vm, incarnation, token);
    if (g->last != NULL && g->last != m) {
        s->stats.failovers++;
    }
    s->stats.starts++;
    g->starts++;
    g->on = g->last = m;
    g->incarnation = incarnation;
    g->token = token;
    g->top_token = token > g->top_token ? token : g->top_token;
}

void check_guest_stopped(struct machine *m, const char *vm)
{
    struct guest *g = guest_of(m->s, vm);

    sim_log(m->s, "%s: %s does not run any more", m->name, vm);
    if (g->on == m) {
        g->on = NULL;
    }
}

void check_writer(struct machine *m, const char *volume, const char *vm, uint64_t incarnation,
                  uint64_t token)
{
    struct sim *s = m->s;
    struct writer *w = map_get(&s->writers, volume);

    if (w == NULL) {
        w = OBJ_NEW(struct writer);
        (void)map_put(&s->writers, volume, w);
    } else if (map_get(&w->m->running, w->vm) != NULL && (w->m != m || !str_eq(w->vm, vm)) &&
               !excused(s, w->m, m)) {
        sim_violate(s, "P1: %s on %s and %s on %s write to %s", w->vm, w->m->name, vm, m->name,
                    volume);
    }
    w->m = m;
    (void)str_copy(w->vm, sizeof(w->vm), vm);
    w->incarnation = incarnation;
    w->token = token;
}

/* Do both ends of a migration hold the lock? */
bool check_lock_shared(struct sim *s, const char *volume, const char *a, const char *b)
{
    const char *slash = strchr(volume, '/');
    char name[300];
    const struct lockview *l;
    unsigned found = 0;

    (void)snprintf(name, sizeof(name), "volumes/%s", slash == NULL ? volume : slash + 1);
    l = map_get(&s->check->locks, name);
    for (unsigned i = 0; l != NULL && i < s->n_machines; i++) {
        const struct machine *m = &s->machines[i];

        if ((str_eq(m->name, a) || str_eq(m->name, b)) && s->check->incs[i] != 0 &&
            (l->owner == s->check->incs[i] || l->peer == s->check->incs[i])) {
            found++;
        }
    }
    return found == 2;
}

void check_volume(struct machine *m, const char *volume, bool active)
{
    struct sim *s = m->s;

    if (!active) {
        return;
    }
    for (unsigned i = 0; i < s->n_machines; i++) {
        struct machine *o = &s->machines[i];

        if (o != m && map_get(&o->active, volume) != NULL &&
            !check_lock_shared(s, volume, o->name, m->name) && !excused(s, o, m)) {
            sim_violate(s, "P1: volume %s is active on %s and on %s", volume, o->name, m->name);
        }
    }
}

unsigned sim_vm_starts(const struct sim *s, const char *vm)
{
    const struct guest *g = map_get(&s->guests, vm);

    return g == NULL ? 0 : g->starts;
}

bool sim_writer(const struct sim *s, const char *volume, const char **ret_machine,
                uint64_t *ret_incarnation, uint64_t *ret_token)
{
    const struct writer *w = map_get(&s->writers, volume);

    if (w == NULL) {
        return false;
    }
    *ret_machine = w->m->name;
    *ret_incarnation = w->incarnation;
    *ret_token = w->token;
    return true;
}

/* --- locks -------------------------------------------------------------------------------------
 */

struct group { /* the commands of the entry that is being looked at */
    struct arena a;
    struct cmd *cmds;
    size_t n;
};

static void group_decode(struct group *g, const struct rep_cmd *cmds, size_t n)
{
    struct err err;

    g->cmds = arena_alloc(&g->a, (n + 1) * sizeof(*g->cmds));
    for (size_t i = 0; i < n; i++) {
        if (cmd_decode(cmds[i].data, cmds[i].len, &g->a, &g->cmds[g->n], &err) == 0) {
            g->n++;
        }
    }
}

static bool released(const struct group *g, const char *lock, uint64_t incarnation, uint64_t token)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct cmd *c = &g->cmds[i];

        for (size_t k = 0; c->op == CMD_RELEASE && k < c->safety.n_locks; k++) {
            if (c->safety.incarnation == incarnation && str_eq(c->safety.locks[k].lock, lock) &&
                c->safety.locks[k].token == token && c->actor.role == ACTOR_AGENT) {
                return true;
            }
        }
    }
    return false;
}

static bool has_op(const struct group *g, enum cmd_op op)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->cmds[i].op == op) {
            return true;
        }
    }
    return false;
}

/* Did this very revision end the incarnation? */
static bool fenced_now(const struct store *st, uint64_t incarnation, uint64_t rev)
{
    struct arena a = { 0 };
    struct s_inc inc;
    struct err err;
    bool yes = s_inc_get(st, incarnation, &a, &inc, &err) == 0 && inc.state == INC_FENCED &&
               inc.state_rev == rev;

    arena_done(&a);
    return yes;
}

static bool is_live(const struct store *st, uint64_t incarnation)
{
    struct arena a = { 0 };
    struct s_inc inc;
    struct err err;
    bool yes = s_inc_get(st, incarnation, &a, &inc, &err) == 0 && inc.state == INC_LIVE;

    arena_done(&a);
    return yes;
}

static bool may_lose(const struct store *st, const struct group *g, const char *lock, uint64_t inc,
                     uint64_t token, uint64_t rev)
{
    return inc == 0 || released(g, lock, inc, token) || fenced_now(st, inc, rev) ||
           has_op(g, CMD_RECOVER);
}

static void lock_changed(struct sim *s, const struct store *st, const struct group *g,
                         const char *lock, const struct lockview *was, const struct lockview *is,
                         uint64_t rev)
{
    bool swapped = has_op(g, CMD_MIG_COMMIT) && was->owner == is->peer && was->peer == is->owner &&
                   was->owner != 0 && was->peer != 0;

    if (swapped) {
        return;
    }
    if ((was->owner != is->owner || was->owner_token != is->owner_token) &&
        !(was->owner == is->owner && has_op(g, CMD_ACQUIRE)) && /* its holder takes it anew */
        !may_lose(st, g, lock, was->owner, was->owner_token, rev)) {
        sim_violate(s,
                    "P2: %s left incarnation %" PRIu64 " for %" PRIu64
                    " without release, proof or commit (revision %" PRIu64 ")",
                    lock, was->owner, is->owner, rev);
    }
    if ((was->peer != is->peer || was->peer_token != is->peer_token) &&
        !may_lose(st, g, lock, was->peer, was->peer_token, rev)) {
        sim_violate(s,
                    "P2: the peer of %s, incarnation %" PRIu64 ", lost it (revision %" PRIu64 ")",
                    lock, was->peer, rev);
    }
    if (is->owner != 0 && (is->owner != was->owner || is->owner_token != was->owner_token) &&
        is->owner != was->peer) {
        if (!is_live(st, is->owner)) {
            sim_violate(s, "P2: %s was given to incarnation %" PRIu64 ", which is not Live", lock,
                        is->owner);
        }
        if (is->owner_token <= s->check->top_token) {
            sim_violate(s, "P2: the token %" PRIu64 " of %s was given before", is->owner_token,
                        lock);
        }
    }
}

static void view_of(const struct kv *v, struct lockview *ret)
{
    struct arena a = { 0 };
    struct s_lock l;
    struct err err;

    *ret = (struct lockview){ 0 };
    if (v != NULL && s_lock_decode(kv_value(v), v->vlen, &a, &l, &err) == 0) {
        *ret = (struct lockview){ .owner = l.owner.incarnation,
                                  .owner_token = l.owner.token,
                                  .peer = l.peer.incarnation,
                                  .peer_token = l.peer.token };
    }
    arena_done(&a);
}

static const char *host_of(const struct sim *s, uint64_t inc)
{
    for (unsigned i = 0; i < s->n_machines; i++) {
        if (inc != 0 && s->check->incs[i] == inc) {
            return s->machines[i].name;
        }
    }
    return "somebody";
}

/* The story of a migration, as the lock of the machine tells it. */
static void tell_migration(struct sim *s, const char *lock, const struct lockview *was,
                           const struct lockview *is)
{
    const char *vm = strchr(lock, '/');

    if (!str_starts(lock, "virtualmachines/") ||
        (was->peer == is->peer && was->owner == is->owner)) {
        return;
    }
    if (was->peer == 0 && is->peer != 0) {
        sim_log(s, "cluster: %s joins the lock of %s", host_of(s, is->peer), vm + 1);
    } else if (is->peer != 0 && was->peer == is->owner && was->owner == is->peer) {
        sim_log(s, "cluster: %s owns %s now, by a migration", host_of(s, is->owner), vm + 1);
    } else if (was->peer != 0 && is->peer == 0) {
        sim_log(s, "cluster: %s has left the lock of %s", host_of(s, was->peer), vm + 1);
    }
}

static void on_lock(struct sim *s, const struct store *st, const struct group *g,
                    const struct kv_event *ev)
{
    const char *lock = (const char *)ev->key + strlen("s/lock/");
    struct lockview was, is;
    struct lockview *mine;

    view_of(ev->prev, &was);
    view_of(ev->kv, &is);
    lock_changed(s, st, g, lock, &was, &is, ev->rev);
    tell_migration(s, lock, &was, &is);
    mine = map_get(&s->check->locks, lock);
    if (mine == NULL) {
        mine = OBJ_NEW(struct lockview);
        (void)map_put(&s->check->locks, lock, mine);
    }
    is.since_token = is.owner != 0 && is.owner == was.owner ? mine->since_token : is.owner_token;
    *mine = is;
}

/* --- incarnations and fencings -----------------------------------------------------------------
 */

static bool impaired(const struct sim *s, const struct machine *m)
{
    if (!m->booted || m->suspended) {
        return true;
    }
    for (unsigned i = 0; i < PROCS; i++) {
        const struct proc *p = &m->procs[i];
        bool wanted = i == PROC_AGENT || (i == PROC_PICKETD && m->is_voter) ||
                      (i == PROC_WATCHDOG && s->opts.watchdog);

        if (wanted && (!p->alive || p->paused)) {
            return true;
        }
    }
    for (unsigned l = 0; l < SIM_LINKS_MAX; l++) {
        for (unsigned i = 0; i < s->n_machines; i++) {
            if (s->cut[l][m->i][i] || s->cut[l][i][m->i]) {
                return true;
            }
        }
    }
    return false;
}

static void on_fencing(struct sim *s, const struct kv_event *ev)
{
    struct arena a = { 0 };
    struct s_fencing f;
    struct err err;

    if (ev->prev != NULL || ev->kv == NULL ||
        s_fencing_decode(kv_value(ev->kv), ev->kv->vlen, &a, &f, &err) != 0) {
        arena_done(&a);
        return;
    }
    s->stats.fencings++;
    sim_log(s, "cluster: fencing %" PRIu64 " of %s (incarnation %" PRIu64 ") by %s: %s", f.id,
            f.host, f.incarnation, f.by, f.reason);
    if (sim_machine_exists(s, f.host) && !str_eq(f.by, "controller")) {
        sim_machine(s, f.host)->user_fenced = f.incarnation;
    } else if (sim_machine_exists(s, f.host) &&
               sim_machine(s, f.host)->user_fenced != f.incarnation) { /* else opened again */
        const struct machine *m = sim_machine(s, f.host);
        uint64_t quiet_us = (3ULL * s->opts.host_timeout_ms + 5000) * 1000;

        if (!impaired(s, m) && s->now > m->hurt_us + quiet_us) {
            s->stats.needless++;
            sim_violate(s, "needless: %s was healthy and connected for %" PRIu64 " ms", m->name,
                        (s->now - m->hurt_us) / 1000);
        }
    }
    arena_done(&a);
}

static void proved(struct sim *s, const struct machine *m, const struct s_inc *inc)
{
    bool heard = !impaired(s, m) && s->now > m->hurt_us + 2000ULL * s->opts.host_timeout_ms;

    s->stats.proofs++;
    if (inc->proof != PROOF_CONFIRMATION && inc->proof != PROOF_SCSI && m->booted &&
        str_eq(inc->boot_id, m->boot_id) && (heard || !excused(s, m, m))) {
        sim_violate(s, "P3: %s is proved to be gone (%d), but this very boot is on", m->name,
                    (int)inc->proof);
    }
}

static void on_inc(struct sim *s, const struct kv_event *ev)
{
    struct arena a = { 0 };
    struct s_inc inc;
    struct err err;

    if (ev->kv != NULL && s_inc_decode(kv_value(ev->kv), ev->kv->vlen, &a, &inc, &err) == 0 &&
        sim_machine_exists(s, inc.host)) {
        struct machine *m = sim_machine(s, inc.host);
        struct simcheck *c = s->check;
        bool other = c->incs[m->i] != inc.number;

        if (inc.number >= c->incs[m->i]) {
            if (other || c->states[m->i] != inc.state) {
                sim_log(s, "cluster: %s incarnation %" PRIu64 " (%s) %s%s%s", m->name, inc.number,
                        inc.boot_id, inc_state_name(inc.state), inc.reason[0] == 0 ? "" : ": ",
                        inc.reason);
                if (inc.state == INC_FENCED) {
                    proved(s, m, &inc);
                }
            }
            c->incs[m->i] = inc.number;
            c->states[m->i] = inc.state;
            (void)str_copy(c->boots[m->i], sizeof(c->boots[0]), inc.boot_id);
        } else if (inc.state == INC_FENCED && inc.state_rev == ev->rev) {
            proved(s, m, &inc);
        }
    }
    arena_done(&a);
}

uint64_t sim_inc(const struct sim *s, const char *machine)
{
    return s->check->incs[sim_machine(s, machine)->i];
}

const char *sim_inc_state(const struct sim *s, const char *machine)
{
    unsigned i = sim_machine(s, machine)->i;

    return s->check->incs[i] == 0 ? "" : inc_state_name(s->check->states[i]);
}

/* --- every applied entry -----------------------------------------------------------------------
 */

static void check_hash(struct sim *s, const struct proc *p, uint64_t index, uint64_t hash)
{
    struct simcheck *c = s->check;

    if (index >= c->n_hashes) {
        size_t n = (size_t)index + 4096;

        c->hashes = mem_realloc(c->hashes, n * sizeof(*c->hashes));
        memset(c->hashes + c->n_hashes, 0, (n - c->n_hashes) * sizeof(*c->hashes));
        c->n_hashes = n;
    }
    if (c->hashes[index] == 0) {
        c->hashes[index] = hash;
    } else if (c->hashes[index] != hash) {
        sim_violate(s, "the state of %s at index %" PRIu64 " differs from another replica's",
                    p->m->name, index);
    }
}

/* The changes of this revision, which nobody applied before. */
static void look_event(struct sim *s, const struct store *st, const struct group *g,
                       const struct kv_event *ev)
{
    const char *key = ev->key;

    if (str_starts(key, "s/lock/")) {
        on_lock(s, st, g, ev);
    } else if (str_starts(key, "s/inc/")) {
        on_inc(s, ev);
    } else if (str_starts(key, "s/fencing/")) {
        on_fencing(s, ev);
    }
}

static uint64_t new_tokens(const struct simcheck *c)
{
    uint64_t top = c->top_token;
    const char *key;
    void *v;

    for (size_t i = 0; map_next(&c->locks, &i, &key, &v);) {
        const struct lockview *l = v;

        top = l->owner_token > top ? l->owner_token : top;
        top = l->peer_token > top ? l->peer_token : top;
    }
    return top;
}

static void look_changes(struct sim *s, struct wrap *w, const struct rep_cmd *cmds, size_t n)
{
    struct store *st = w->p->node->store;
    struct simcheck *c = s->check;
    struct group g = { 0 };
    struct kv_event ev;
    struct err err;
    uint64_t rev = c->rev;
    int rc;

    while ((rc = store_watch_next(w->watch, &ev, &err)) == 1) {
        if (ev.rev <= c->rev) {
            continue;
        }
        if (g.cmds == NULL) {
            group_decode(&g, cmds, n);
        }
        SIM_WORLD_BEGIN();
        look_event(s, st, &g, &ev);
        SIM_WORLD_END();
        rev = ev.rev;
    }
    if (rc != 0) { /* a snapshot was installed */
        store_watch_free(w->watch);
        w->watch = NULL;
    }
    if (rev != c->rev) {
        c->top_token = new_tokens(c);
    }
    c->rev = rev > c->rev ? rev : c->rev;
    arena_done(&g.a);
}

static void no_wake(void *ctx)
{
    (void)ctx;
}

static void wrap_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                       const struct rep_cmd *cmds, size_t n_cmds, struct buf *results)
{
    struct wrap *w = ctx;
    struct sim *s = sim_world;
    struct store *st = w->p->node->store;

    if (w->watch == NULL) {
        w->watch = store_watch_new(st, "s/", 2, NULL, 0, store_rev(st) + 1, no_wake, w);
    }
    w->fsm.apply(w->fsm.ctx, index, term, leader_ms, cmds, n_cmds, results);
    SIM_WORLD_BEGIN();
    check_hash(s, w->p, index, store_hash(st));
    SIM_WORLD_END();
    if (index > s->check->index) {
        s->check->index = index;
        s->stats.commands += n_cmds;
    }
    look_changes(s, w, cmds, n_cmds);
}

static void *wrap_snap_begin(void *ctx)
{
    struct wrap *w = ctx;

    return w->fsm.snap_begin(w->fsm.ctx);
}

static int wrap_snap_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    struct wrap *w = ctx;

    return w->fsm.snap_write(w->fsm.ctx, snap, sink, err);
}

static void wrap_snap_end(void *ctx, void *snap)
{
    struct wrap *w = ctx;

    w->fsm.snap_end(w->fsm.ctx, snap);
}

static int wrap_restore(void *ctx, struct rep_source *source, struct err *err)
{
    struct wrap *w = ctx;

    return w->fsm.restore(w->fsm.ctx, source, err);
}

static uint64_t wrap_hash(void *ctx)
{
    struct wrap *w = ctx;

    return w->fsm.hash(w->fsm.ctx);
}

static struct wrap *wrap_of(struct proc *p)
{
    struct wrap *w = OBJ_NEW(struct wrap);

    w->p = p;
    return w;
}

struct rep_fsm check_wrap_fsm(struct proc *p, const struct rep_fsm *real)
{
    struct wrap *w = wrap_of(p);

    w->fsm = *real;
    return (struct rep_fsm){ .ctx = w,
                             .apply = wrap_apply,
                             .snap_begin = wrap_snap_begin,
                             .snap_write = wrap_snap_write,
                             .snap_end = wrap_snap_end,
                             .restore = wrap_restore,
                             .hash = wrap_hash };
}

/* --- leaders -----------------------------------------------------------------------------------
 */

static void wrap_role(void *ctx, enum rep_role role, uint64_t term, uint64_t leader)
{
    struct wrap *w = ctx;
    struct sim *s = sim_world;
    struct machine *was;
    char key[32];

    if (role == REP_LEADER) {
        SIM_WORLD_BEGIN();
        (void)snprintf(key, sizeof(key), "%" PRIu64, term);
        was = map_get(&s->check->leaders, key);
        if (was != NULL && was != w->p->m) {
            sim_violate(s, "two leaders in term %" PRIu64 ": %s and %s", term, was->name,
                        w->p->m->name);
        } else if (was == NULL) {
            (void)map_put(&s->check->leaders, key, w->p->m);
            s->stats.elections++;
            sim_log(s, "cluster: %s leads in term %" PRIu64, w->p->m->name, term);
        }
        SIM_WORLD_END();
    }
    w->events.on_role(w->events.ctx, role, term, leader);
}

static void wrap_ready(void *ctx, uint64_t term)
{
    struct wrap *w = ctx;

    w->events.on_lead_ready(w->events.ctx, term);
}

static void wrap_applied(void *ctx, uint64_t index, uint64_t hash)
{
    struct wrap *w = ctx;

    w->events.on_applied(w->events.ctx, index, hash);
}

static void wrap_call(void *ctx, uint64_t from, const char *name, uint16_t kind,
                      const uint8_t *data, size_t len, uint64_t id)
{
    struct wrap *w = ctx;

    w->events.on_call(w->events.ctx, from, name, kind, data, len, id);
}

struct rep_events check_wrap_events(struct proc *p, const struct rep_events *real)
{
    struct wrap *w = wrap_of(p);

    w->events = *real;
    return (struct rep_events){ .ctx = w,
                                .on_role = wrap_role,
                                .on_lead_ready = wrap_ready,
                                .on_applied = wrap_applied,
                                .on_call = wrap_call };
}
