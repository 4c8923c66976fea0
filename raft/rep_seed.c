#include <dirent.h>
#include <errno.h>
#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/conf_codec.h"
#include "raft/rep_offline.h"
#include "raft/snapfile.h"
#include "raft/wal.h"

/* The directory of a first member that begins with a state.
 *
 * The log first, then the snapshot: without it the directory has a log that starts at an entry of
 * which there is no snapshot, and nobody opens that. */

struct seed {
    bool failed;
    char why[ERR_MSG_MAX];
};

struct seed_content {
    struct snap_content content;
    const struct rep_fsm *fsm;
};

static uint64_t seed_random(void *ctx)
{
    uint64_t v;

    (void)ctx;
    clock_random(&v, sizeof(v));
    return v;
}

static void seed_submit(void *ctx, enum rep_lane lane, struct rep_job *job)
{
    (void)ctx;
    (void)lane;
    job->run(job);
    job->done(job);
}

static void seed_durable(void *ctx)
{
    (void)ctx;
}

static void seed_fail(void *ctx, const char *why)
{
    struct seed *s = ctx;

    s->failed = true;
    (void)str_copy(s->why, sizeof(s->why), why);
}

static int seed_log(struct rep_disk *disk, uint64_t index, uint64_t term, struct err *err)
{
    struct rep_env env = { .random = seed_random, .submit = seed_submit, .disk = disk };
    struct seed seed = { .failed = false };
    struct wal_opts opts = {
        .env = &env,
        .segment_bytes = WAL_SEGMENT_MIN,
        .dir = "new log",
        .ctx = &seed,
        .on_durable = seed_durable,
        .on_fail = seed_fail,
    };
    struct wal_log log = { 0 };
    struct wal_scan scan = { .batch_seq = 1 };
    struct wal *w;
    int rc;

    rc = wal_open(&opts, &log, &scan, &w, err);
    if (rc != 0) {
        return rc;
    }
    wal_add_meta(w, term, 0);
    wal_add_reset(w, index, term);
    wal_kick(w);
    if (seed.failed) {
        rc = err_set(err, ERR_SYS, "%s", seed.why);
    }
    CHECK(rc != 0 || wal_durable(w) == wal_pos(w));
    wal_free(w);
    return rc;
}

static int seed_fill(struct snap_content *c, struct rep_sink *sink, struct err *err)
{
    const struct rep_fsm *fsm = CONTAINER_OF(c, struct seed_content, content)->fsm;
    void *snap = fsm->snap_begin(fsm->ctx);
    int rc = fsm->snap_write(fsm->ctx, snap, sink, err);

    fsm->snap_end(fsm->ctx, snap);
    return rc;
}

static int seed_conf(const struct rep_member *me, struct raft_buffer *ret, struct err *err)
{
    struct raft_configuration c;
    char address[REP_ADDRESS_MAX + 64];
    int rc = conf_check_member(me, err);

    if (rc != 0) {
        return rc;
    }
    raft_configuration_init(&c);
    (void)snprintf(address, sizeof(address), "%s@%s", me->name, me->address);
    CHECK(raft_configuration_add(&c, me->id, address, RAFT_VOTER) == 0);
    CHECK(raft_configuration_encode(&c, ret) == 0);
    raft_configuration_close(&c);
    return 0;
}

/* A folder that does not exist is made by rep_disk_posix. */
static int seed_empty(const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int rc = 0;

    if (d == NULL) {
        return errno == ENOENT ? 0
                               : err_native(err, ERR_SYS, "errno", errno, "open directory %s", dir);
    }
    while (rc == 0 && (e = readdir(d)) != NULL) {
        if (str_starts(e->d_name, "wal-") || str_starts(e->d_name, "snap")) {
            rc = err_set(err, ERR_EXISTS,
                         "%s: there is a store already (%s); nothing was changed. Move the folder "
                         "away first, or name another one",
                         dir, e->d_name);
        }
    }
    (void)closedir(d);
    return rc;
}

int rep_offline_seed(const char *dir, const struct rep_member *me, uint64_t index, uint64_t term,
                     const struct rep_fsm *fsm, struct err *err)
{
    struct seed_content content = { .content = { .fill = seed_fill }, .fsm = fsm };
    struct snap_meta m = { .index = index, .term = term, .conf_index = index };
    struct rep_disk *disk = NULL;
    int rc;

    CHECK(index > 0 && term > 0);
    rc = seed_empty(dir, err);
    if (rc == 0) {
        rc = seed_conf(me, &m.conf, err);
    }
    if (rc == 0) {
        rc = rep_disk_posix(dir, &disk, err);
    }
    if (rc == 0) {
        rc = seed_log(disk, index, term, err);
    }
    if (rc == 0) {
        snap_name(index, term, m.name);
        rc = snapfile_write(disk, &m, &content.content, err);
    }
    snap_meta_done(&m);
    if (disk != NULL) {
        disk->free(disk);
    }
    return rc;
}
