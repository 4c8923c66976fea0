#include "raft/rep_offline.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/obj.h"
#include "base/str.h"
#include "raft/conf_codec.h"
#include "raft/group_codec.h"
#include "raft/snapfile.h"
#include "raft/wal.h"

#define OFFLINE_ADVICE                                                                             \
    "remove this member from the cluster, delete the directory and join again under a new id"

struct offline {
    const char *dir;
    struct rep_disk *disk;
    struct wal_log log;
    struct wal_scan scan;
    struct snap_meta newest;
    char (*snaps)[64];
    size_t n_snaps;
    struct rep_offline *ret;
    rep_offline_file_fn *on_file;
    void *ctx;
};

/* --- what is there --- */

static void offline_name(void *ctx, const char *name)
{
    struct offline *o = ctx;
    uint64_t index, term;

    if (snap_name_parse(name, &index, &term)) {
        o->snaps = mem_realloc(o->snaps, (o->n_snaps + 1) * sizeof(*o->snaps));
        (void)str_copy(o->snaps[o->n_snaps++], sizeof(o->snaps[0]), name);
    }
}

/* Names have the index in hex with leading zeroes. */
static int offline_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void offline_tell(struct offline *o, const char *name, uint64_t size, const char *what)
{
    o->ret->n_files++;
    o->ret->bytes += size;
    if (o->on_file != NULL) {
        o->on_file(o->ctx, name, size, what);
    }
}

static int offline_snapshot(struct offline *o, const char *name, struct err *err)
{
    uint64_t index, term;
    struct snap_meta m = { 0 };
    char what[128];
    int rc;

    rc = snapfile_verify(o->disk, name, err);
    if (rc == 0) {
        rc = snapfile_meta(o->disk, name, &m, err);
    }
    if (rc != 0) {
        return err_wrap(err, "%s", o->dir);
    }
    CHECK(snap_name_parse(name, &index, &term));
    if (m.index != index || m.term != term) {
        snap_meta_done(&m);
        return err_set(err, ERR_CORRUPT,
                       "%s/%s: byte 16: is another snapshot than its name says; " OFFLINE_ADVICE,
                       o->dir, name);
    }
    (void)snprintf(what, sizeof(what), "snapshot of entry %" PRIu64 ", term %" PRIu64, index, term);
    offline_tell(o, name, m.size, what);
    snap_meta_done(&o->newest); /* the list is in ascending order */
    o->newest = m;
    return 0;
}

static void offline_tell_log(struct offline *o)
{
    for (size_t i = 0; i < o->scan.n_segs; i++) {
        char name[64], what[128];

        wal_seg_name(o->scan.segs[i].seq, name);
        (void)snprintf(what, sizeof(what), "log, entries up to %" PRIu64,
                       o->scan.segs[i].max_index);
        offline_tell(o, name, o->scan.segs[i].size, what);
    }
}

static int offline_read(struct offline *o, struct err *err)
{
    struct stat st;
    int rc;

    if (stat(o->dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_NOT_FOUND, "%s: there is no such directory", o->dir);
    }
    rc = rep_disk_posix(o->dir, &o->disk, err);
    if (rc == 0) {
        rc = o->disk->list(o->disk, offline_name, o, err);
    }
    if (rc == 0 && o->n_snaps > 1) {
        qsort(o->snaps, o->n_snaps, sizeof(*o->snaps), offline_cmp);
    }
    for (size_t i = 0; rc == 0 && i < o->n_snaps; i++) {
        rc = offline_snapshot(o, o->snaps[i], err);
    }
    if (rc == 0) {
        rc = wal_replay(o->disk, o->dir, &o->log, &o->scan, err);
    }
    if (rc == 0 && o->n_snaps == 0 && o->scan.n_segs == 0) {
        rc = err_set(err, ERR_NOT_FOUND,
                     "%s: neither a log nor a snapshot is here; name the folder store/ of a "
                     "member's data",
                     o->dir);
    }
    if (rc == 0) {
        offline_tell_log(o);
    }
    return rc;
}

/* --- do they fit? --- */

static int offline_conf(struct offline *o, uint64_t index, const void *data, size_t len,
                        struct err *err)
{
    struct raft_configuration c;
    size_t n = 0;

    if (!conf_decode(data, len, &c)) {
        return err_set(err, ERR_CORRUPT,
                       "%s: entry %" PRIu64 " is no configuration; " OFFLINE_ADVICE, o->dir, index);
    }
    for (unsigned i = 0; i < c.n && n < REP_OFFLINE_MEMBERS; i++) {
        struct rep_peer_info *p = &o->ret->members[n];

        *p = (struct rep_peer_info){ .id = c.servers[i].id, .role = conf_role(c.servers[i].role) };
        n += conf_split(c.servers[i].address, p);
    }
    o->ret->n_members = n;
    o->ret->conf_index = index;
    raft_configuration_close(&c);
    return 0;
}

static int offline_gap(const struct offline *o, struct err *err)
{
    const struct wal_log *log = &o->log;

    if (log->base > o->newest.index) {
        return err_set(err, ERR_CORRUPT,
                       "%s: the log starts at entry %" PRIu64
                       ", the newest snapshot ends at %" PRIu64
                       " (0: there is none); " OFFLINE_ADVICE,
                       o->dir, log->base + 1, o->newest.index);
    }
    if (o->newest.index == 0 && log->n > 0 && log->entries[0].kind != RAFT_CHANGE) {
        return err_set(err, ERR_CORRUPT,
                       "%s: the log does not start with a configuration; " OFFLINE_ADVICE, o->dir);
    }
    return 0;
}

/* Number of the log's first entry behind the snapshot, as a position in log.entries.  A log that
 * contradicts the snapshot was about to be replaced by it. */
static size_t offline_behind(const struct offline *o)
{
    const struct wal_log *log = &o->log;
    uint64_t at = o->newest.index;

    if (at == 0 || at == log->base) {
        return 0;
    }
    if (log->base + log->n < at || log->entries[at - log->base - 1].term != o->newest.term) {
        return log->n;
    }
    return (size_t)(at - log->base);
}

static int offline_entry(struct offline *o, size_t i, const struct rep_fsm *fsm, struct err *err)
{
    static struct rep_cmd cmds[GROUP_CMDS_MAX];
    const struct wal_entry *e = &o->log.entries[i];
    uint64_t index = o->log.base + 1 + i, leader_ms;
    struct buf *results;
    size_t n;

    if (e->kind == RAFT_CHANGE) {
        return offline_conf(o, index, e->data, e->len, err);
    }
    if (e->kind != RAFT_COMMAND) {
        return 0;
    }
    if (!group_decode(e->data, e->len, &leader_ms, cmds, &n)) {
        return err_set(err, ERR_CORRUPT,
                       "%s: entry %" PRIu64
                       " cannot be decoded: it is of another release or damaged; " OFFLINE_ADVICE,
                       o->dir, index);
    }
    if (fsm == NULL) {
        return 0;
    }
    results = mem_alloc((n + 1) * sizeof(*results));
    fsm->apply(fsm->ctx, index, e->term, leader_ms, cmds, n, results);
    for (size_t k = 0; k < n; k++) {
        buf_done(&results[k]);
    }
    free(results);
    return 0;
}

struct offline_restore {
    struct snap_reader reader;
    const struct rep_fsm *fsm;
};

static int restore_use(struct snap_reader *u, struct rep_source *source, struct err *err)
{
    const struct rep_fsm *fsm = CONTAINER_OF(u, struct offline_restore, reader)->fsm;

    return fsm->restore(fsm->ctx, source, err);
}

static int offline_state(struct offline *o, const struct rep_fsm *fsm, struct err *err)
{
    struct offline_restore restore = { .reader = { .use = restore_use }, .fsm = fsm };
    size_t from;
    int rc;

    rc = offline_gap(o, err);
    if (rc == 0 && o->newest.index != 0) {
        rc = offline_conf(o, o->newest.conf_index, o->newest.conf.base, o->newest.conf.len, err);
    }
    if (rc == 0 && o->newest.index != 0 && fsm != NULL) {
        rc = snapfile_read(o->disk, o->newest.name, &restore.reader, err);
    }
    from = rc == 0 ? offline_behind(o) : 0;
    for (size_t i = from; rc == 0 && i < o->log.n; i++) {
        rc = offline_entry(o, i, fsm, err);
    }
    if (rc == 0) {
        o->ret->term = o->log.term;
        o->ret->vote = o->log.vote;
        o->ret->snap_index = o->newest.index;
        o->ret->snap_term = o->newest.term;
        o->ret->first = (from < o->log.n ? o->log.base + from : o->newest.index) + 1;
        o->ret->last = from < o->log.n ? o->log.base + o->log.n : o->newest.index;
        o->ret->torn = o->scan.torn;
    }
    return rc;
}

static int offline_run(struct offline *o, const struct rep_fsm *fsm, struct err *err)
{
    int rc;

    *o->ret = (struct rep_offline){ 0 };
    rc = offline_read(o, err);
    if (rc == 0) {
        rc = offline_state(o, fsm, err);
    }
    wal_log_done(&o->log);
    wal_scan_done(&o->scan);
    snap_meta_done(&o->newest);
    free(o->snaps);
    if (o->disk != NULL) {
        o->disk->free(o->disk);
    }
    return rc;
}

int rep_offline_check(const char *dir, rep_offline_file_fn *on_file, void *ctx,
                      struct rep_offline *ret, struct err *err)
{
    struct offline o = { .dir = dir, .ret = ret, .on_file = on_file, .ctx = ctx };

    return offline_run(&o, NULL, err);
}

int rep_offline_load(const char *dir, const struct rep_fsm *fsm, struct rep_offline *ret,
                     struct err *err)
{
    struct offline o = { .dir = dir, .ret = ret };

    return offline_run(&o, fsm, err);
}
