#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/obj.h"
#include "raft/rep_snap.h"

/* Starting: the newest snapshot, then the log behind it.
 *
 * The snapshot wins: entries that it covers and that contradict it, or a log that ends before it,
 * are what an installed snapshot has replaced, when the process ended between the two writes. */

#define LOAD_ADVICE                                                                                \
    "remove this member from the cluster, delete the directory and join again under a new id"

struct load_names {
    char newest[64];
    uint64_t index, term;
    bool tmp;
};

static void load_name(void *ctx, const char *name)
{
    struct load_names *l = ctx;
    uint64_t index, term;

    if (!snap_name_parse(name, &index, &term)) {
        return;
    }
    if (index > l->index || (index == l->index && term > l->term)) {
        memcpy(l->newest, name, strlen(name) + 1);
        l->index = index;
        l->term = term;
    }
}

static int load_snapshot(struct rep *r, struct err *err)
{
    struct load_names l = { .index = 0 };
    int rc;

    rc = r->env.disk->list(r->env.disk, load_name, &l, err);
    if (rc != 0 || l.index == 0) {
        return rc;
    }
    rc = snapfile_meta(r->env.disk, l.newest, &r->snap->newest, err);
    if (rc == 0 && (r->snap->newest.index != l.index || r->snap->newest.term != l.term)) {
        rc =
            err_set(err, ERR_CORRUPT, "%s/%s: is another snapshot than its name says; " LOAD_ADVICE,
                    r->params.dir, l.newest);
    }
    return rc;
}

static void load_discard(struct rep *r, uint64_t base)
{
    for (size_t i = 0; i < r->log.n; i++) {
        raft_free(r->log.entries[i].data);
    }
    r->log.n = 0;
    r->log.base = base;
}

/* Make log and snapshot fit together; *ret_reset: the log on the disk has to be told. */
static int load_fit(struct rep *r, bool *ret_reset, struct err *err)
{
    const struct snap_meta *m = &r->snap->newest;
    struct wal_log *log = &r->log;
    uint64_t last = log->base + log->n;

    *ret_reset = false;
    if (m->index == 0) {
        if (log->base != 0) {
            return err_set(err, ERR_CORRUPT,
                           "%s: the log starts at entry %" PRIu64
                           " and there is no snapshot of what is before; " LOAD_ADVICE,
                           r->params.dir, log->base + 1);
        }
        if (log->n > 0 && log->entries[0].kind != RAFT_CHANGE) {
            return err_set(err, ERR_CORRUPT,
                           "%s: the log does not start with a configuration; " LOAD_ADVICE,
                           r->params.dir);
        }
        return 0;
    }
    if (log->base > m->index) {
        return err_set(err, ERR_CORRUPT,
                       "%s: the log starts at entry %" PRIu64
                       ", the newest snapshot ends at %" PRIu64 "; " LOAD_ADVICE,
                       r->params.dir, log->base + 1, m->index);
    }
    if (log->base == m->index) {
        return 0;
    }
    if (last < m->index || log->entries[m->index - log->base - 1].term != m->term) {
        load_discard(r, m->index);
        *ret_reset = true;
    }
    return 0;
}

static int load_check_confs(struct rep *r, struct err *err)
{
    for (size_t i = 0; i < r->log.n; i++) {
        const struct wal_entry *e = &r->log.entries[i];

        if (e->kind == RAFT_CHANGE && !conf_valid(e->data, e->len)) {
            return err_set(err, ERR_CORRUPT,
                           "%s: entry %" PRIu64 " is no configuration; " LOAD_ADVICE, r->params.dir,
                           r->log.base + 1 + i);
        }
        if (r->log.base + 1 + i > r->snap->newest.index) {
            r->log_bytes += e->len;
        }
    }
    return 0;
}

static void load_durable(void *ctx)
{
    rep_io_durable(ctx);
}

static void load_fail(void *ctx, const char *why)
{
    struct rep *r = ctx;

    /* Never a second try: what is on the medium now is unknown (docs/raft.md, rule 5). */
    rep_die(r, why);
}

int rep_load(struct rep *r, struct err *err)
{
    struct wal_opts opts = {
        .env = &r->env,
        .segment_bytes = r->params.segment_bytes,
        .dir = r->params.dir,
        .ctx = r,
        .on_durable = load_durable,
        .on_fail = load_fail,
    };
    struct wal_scan scan = { 0 };
    bool reset;
    int rc;

    rc = wal_replay(r->env.disk, r->params.dir, &r->log, &scan, err);
    if (rc == 0) {
        rc = load_snapshot(r, err);
    }
    if (rc == 0) {
        rc = load_fit(r, &reset, err);
    }
    if (rc == 0) {
        rc = load_check_confs(r, err);
    }
    if (rc == 0) {
        rc = wal_open(&opts, &r->log, &scan, &r->wal, err);
    }
    wal_scan_done(&scan);
    if (rc != 0) {
        return rc;
    }
    if (reset) {
        wal_add_reset(r->wal, r->snap->newest.index, r->snap->newest.term);
    }
    r->io_term = r->log.term;
    r->n_acks = r->log.n_acks;
    memcpy(r->acks, r->log.acks, sizeof(r->acks));
    return 0;
}

int rep_load_core(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snap,
                  raft_index *start, struct raft_entry **entries, size_t *n)
{
    struct rep *r = io->impl;
    struct wal_log *log = &r->log;

    *term = log->term;
    *vote = log->vote;
    *snap = r->snap->newest.index == 0 ? NULL : rep_snap_core(&r->snap->newest);
    *start = log->base + 1;
    *n = log->n;
    *entries = NULL;
    if (log->n > 0) {
        *entries = raft_calloc(log->n, sizeof(**entries));
        CHECK(*entries != NULL);
    }
    r->load_bufs = mem_alloc((log->n + 1) * sizeof(*r->load_bufs));
    r->n_load_bufs = log->n;
    for (size_t i = 0; i < log->n; i++) {
        struct raft_entry *e = &(*entries)[i];

        e->term = log->entries[i].term;
        e->type = log->entries[i].kind;
        e->buf = (struct raft_buffer){ .base = log->entries[i].data, .len = log->entries[i].len };
        r->load_bufs[i] = log->entries[i].data;
        log->entries[i].data = NULL;
    }
    wal_log_done(log);
    return 0;
}
