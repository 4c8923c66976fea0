#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/rep_core.h"

/* Memory of the log.
 *
 * The core keeps every entry from the last snapshot on, which is up to a quarter of a GiB.  An
 * entry that is applied and stored everywhere is needed for its index and term only, so its data is
 * freed: all but the newest REP_SHED_KEEP bytes, and what members still need that were heard of,
 * or asked for it, lately.
 *
 * Who comes back later than that and needs such an entry has it read back from the log's files:
 * rep_pump.c finds the data gone, all of the log is replayed on the file lane, and the core's
 * entries get their data again; what is not needed after all goes with the next step.
 * That must not wait for a quorum: the one who needs the data may be needed for it.  A snapshot
 * would, so one is taken only where the files turn out to be damaged.
 *
 * The core never looks at an entry's data after it was applied; it frees it, and freeing nothing is
 * fine.  Copies that the core holds for writes and sends under way are counted, and such an entry
 * is left alone. */

#define SHED_PATIENCE 20u /* election timeouts of silence, then nothing is kept for a member */
#define SHED_RETRY_MS 1000u
#define SHED_TRIES 3u
#define SHED_STEP 4096u /* entries freed in one step: well below a millisecond */

bool rep_shed_gone(const struct raft_entry *e)
{
    return e->type == RAFT_COMMAND && e->buf.base == NULL && e->buf.len > 0;
}

static unsigned shed_refs(const struct raft_log *l, raft_term term, raft_index index)
{
    const struct raft_entry_ref *ref = &l->refs[(index - 1) % l->refs_size];

    for (; ref != NULL; ref = ref->next) {
        if (ref->count > 0 && ref->term == term && ref->index == index) {
            return ref->count;
        }
    }
    return 0;
}

/* Is what this member lacks kept?  One that has nothing yet says nothing by itself. */
static bool shed_serves(const struct rep_peer *p, uint64_t now, uint64_t patience)
{
    bool heard = p->info.role != REP_SPARE && !p->below && now - p->info.last_contact_ms < patience;

    return heard || (p->short_ms != 0 && now - p->short_ms < patience);
}

/* What the core would send to it next: while it probes, that may be an entry that the member has
 * acknowledged, and it stays at it until it could be sent. */
static raft_index shed_needs(const struct raft_progress *p)
{
    return p->next_index <= p->match_index ? p->next_index : p->match_index + 1;
}

/* Entries up to this one are needed by nobody. */
static raft_index shed_limit(struct rep *r)
{
    raft_index limit = r->applied < r->raft.last_stored ? r->applied : r->raft.last_stored;
    uint64_t now = rep_now(r), patience = (uint64_t)SHED_PATIENCE * r->raft.election_timeout;

    for (size_t i = 0; i < r->n_peers && r->raft.state == RAFT_LEADER; i++) {
        const struct rep_peer *p = r->peers[i];
        const struct raft_progress *progress = rep_progress(r, p->info.id);

        if (progress != NULL && p->info.id != r->params.id && shed_serves(p, now, patience) &&
            shed_needs(progress) <= limit) {
            limit = shed_needs(progress) - 1;
        }
    }
    return limit;
}

/* Entries came and, with a snapshot, went. */
static void shed_count(struct rep *r)
{
    const struct raft_log *l = &r->raft.log;

    if (l->offset > r->shed) {
        r->shed = r->shed_counted = l->offset;
        r->shed_bytes = 0;
    }
    while (r->shed_counted < r->applied) {
        const struct raft_entry *e = guard_entry(&r->raft, r->shed_counted + 1);

        if (e == NULL) {
            break;
        }
        r->shed_bytes += rep_shed_gone(e) ? 0 : e->buf.len;
        r->shed_counted++;
    }
}

/* What arrived together lies in one piece of memory, and goes at once: how many entries from this
 * one on, 0 when they are to be left alone.  False: not yet. */
static bool shed_together(const struct rep *r, raft_index first, raft_index limit, size_t *ret_n)
{
    const struct raft_entry *e = guard_entry(&r->raft, first);
    const struct raft_entry *before = guard_entry(&r->raft, first - 1);
    const void *batch = e->batch;
    bool alone = rep_shed_gone(e) || (batch != NULL && before != NULL && before->batch == batch);
    size_t n = 0;

    do {
        if (first + n > limit) {
            return false;
        }
        alone =
            alone || e->type != RAFT_COMMAND || shed_refs(&r->raft.log, e->term, first + n) != 1;
        n++;
        e = guard_entry(&r->raft, first + n);
    } while (batch != NULL && e != NULL && e->batch == batch);
    *ret_n = alone ? 0 : n;
    return true;
}

static void shed_drop(struct rep *r, raft_index first, size_t n)
{
    struct raft_log *l = &r->raft.log;

    for (size_t i = 0; i < n; i++) {
        struct raft_entry *e =
            &l->entries[(l->front + (size_t)(first + i - l->offset - 1)) % l->size];

        if (e->batch == NULL) {
            raft_free(e->buf.base);
        } else if (i == 0) {
            raft_free(e->batch);
        }
        e->batch = NULL;
        e->buf.base = NULL;
    }
}

void rep_shed(struct rep *r)
{
    size_t keep = r->env.shed_keep == 0 ? REP_SHED_KEEP : r->env.shed_keep, n;
    raft_index limit;

    shed_count(r);
    if (r->shed_bytes <= keep) {
        return;
    }
    limit = shed_limit(r);
    limit = limit < r->shed + SHED_STEP ? limit : r->shed + SHED_STEP;
    while (r->shed < limit && r->shed_bytes > keep && shed_together(r, r->shed + 1, limit, &n)) {
        for (size_t i = 0; i == 0 || i < n; i++) {
            const struct raft_entry *e = guard_entry(&r->raft, r->shed + 1 + i);

            r->shed_bytes -= rep_shed_gone(e) ? 0 : e->buf.len;
        }
        shed_drop(r, r->shed + 1, n);
        r->shed += n == 0 ? 1 : n;
    }
}

/* --- somebody needs what is gone ---------------------------------------------------------------
 */

struct shed_load { /* the log, read back */
    struct rep_job job;
    struct rep *rep;
    struct wal_log log;
    struct err err;
    int rc;
};

static void load_run(struct rep_job *job)
{
    struct shed_load *l = CONTAINER_OF(job, struct shed_load, job);
    struct wal_scan scan;

    wal_log_done(&l->log); /* the simulators run the job of a node that died once more */
    l->rc = wal_replay(l->rep->env.disk, l->rep->params.dir, &l->log, &scan, &l->err);
    wal_scan_done(&scan);
}

/* The log may have gone on meanwhile: an entry is the same one if its index and term are. */
static void load_fill(struct rep *r, struct wal_log *log)
{
    const struct raft_log *l = &r->raft.log;

    for (size_t i = 0; i < log->n; i++) {
        raft_index index = log->base + 1 + i;
        struct wal_entry *from = &log->entries[i];
        struct raft_entry *e;

        if (guard_entry(&r->raft, index) == NULL) {
            continue;
        }
        e = &l->entries[(l->front + (size_t)(index - l->offset - 1)) % l->size];
        if (rep_shed_gone(e) && from->term == e->term && from->kind == e->type &&
            from->len == e->buf.len) {
            e->buf.base = from->data;
            from->data = NULL;
        }
    }
    r->shed = r->shed_counted = l->offset;
    r->shed_bytes = 0;
}

/* Perhaps a write that was under way was half seen.  If not, this member is not going to start
 * again: let the others have what it has while it runs. */
static void load_failed(struct rep *r, const struct err *err)
{
    lg_warn("raft", "try=%u msg=\"the log could not be read back for another member\" err=\"%s\"",
            ++r->shed_failed, err->msg);
    r->shed_not_before_ms = rep_now(r) + SHED_RETRY_MS;
    r->shed_lost = r->shed_failed >= SHED_TRIES;
}

static void load_done(struct rep_job *job)
{
    struct shed_load *l = CONTAINER_OF(job, struct shed_load, job);
    struct rep *r = l->rep;

    r->shed_loading = false;
    if (l->rc == 0 && !r->dead) {
        r->shed_failed = 0;
        load_fill(r, &l->log);
    } else if (!r->dead) {
        load_failed(r, &l->err);
    }
    wal_log_done(&l->log);
    free(l);
}

static void shed_barrier_cb(struct raft_barrier *req, int status)
{
    (void)status;
    CONTAINER_OF(req, struct rep, shed_barrier)->shed_asked = false;
}

/* The core thinks of a snapshot when it applies something: have it do so. */
static void shed_snapshot(struct rep *r)
{
    if (r->shed_asked || !guard_ready(&r->guard)) {
        return;
    }
    rep_snap_due(r);
    rep_enter(r);
    r->shed_asked = raft_barrier(&r->raft, &r->shed_barrier, shed_barrier_cb) == 0;
    rep_leave(r);
}

void rep_shed_tick(struct rep *r)
{
    struct shed_load *l;

    if (r->shed_lost) {
        shed_snapshot(r);
        return;
    }
    if (!r->shed_short || r->shed_loading || rep_now(r) < r->shed_not_before_ms) {
        return;
    }
    r->shed_short = false;
    r->shed_loading = true;
    l = OBJ_NEW(struct shed_load);
    l->rep = r;
    l->job = (struct rep_job){ .run = load_run, .done = load_done };
    r->env.submit(r->env.ctx, REP_LANE_FILE, &l->job);
}
