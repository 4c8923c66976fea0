#include <raft.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/obj.h"
#include "raft/conf_codec.h"
#include "raft/rep_env.h"
#include "raft/wal.h"

/* The first entry of a log: its configuration, index 1 in term 1, the same on every first member.
 */

struct boot {
    bool failed;
    char why[ERR_MSG_MAX];
};

static uint64_t boot_random(void *ctx)
{
    uint64_t v;

    (void)ctx;
    clock_random(&v, sizeof(v));
    return v;
}

/* There is nobody else to wait for: do it now. */
static void boot_submit(void *ctx, enum rep_lane lane, struct rep_job *job)
{
    (void)ctx;
    (void)lane;
    job->run(job);
    job->done(job);
}

static void boot_durable(void *ctx)
{
    (void)ctx;
}

static void boot_fail(void *ctx, const char *why)
{
    struct boot *b = ctx;

    b->failed = true;
    (void)snprintf(b->why, sizeof(b->why), "%s", why);
}

static int boot_conf(const struct rep_member *members, size_t n, struct raft_buffer *ret,
                     struct err *err)
{
    struct raft_configuration c;
    char address[REP_ADDRESS_MAX + 64];
    int rc = 0;

    raft_configuration_init(&c);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = conf_check_member(&members[i], err);
        if (rc != 0) {
            break;
        }
        (void)snprintf(address, sizeof(address), "%s@%s", members[i].name, members[i].address);
        if (raft_configuration_add(&c, members[i].id, address,
                                   conf_role_to_raft(members[i].role)) != 0) {
            rc = err_set(err, ERR_INVALID, "member %s: its id or address is there twice",
                         members[i].name);
        }
    }
    if (rc == 0 && (n > CONF_SERVERS_MAX || conf_voters(&c) == 0)) {
        rc = err_set(err, ERR_INVALID, "the first members need a voter and are at most %u",
                     CONF_SERVERS_MAX);
    }
    if (rc == 0) {
        CHECK(raft_configuration_encode(&c, ret) == 0);
    }
    raft_configuration_close(&c);
    return rc;
}

static int boot_write(struct rep_disk *disk, const struct raft_buffer *conf, struct err *err)
{
    struct rep_env env = { .random = boot_random, .submit = boot_submit, .disk = disk };
    struct boot boot = { .failed = false };
    struct wal_opts opts = {
        .env = &env,
        .segment_bytes = WAL_SEGMENT_MIN,
        .dir = "new log",
        .ctx = &boot,
        .on_durable = boot_durable,
        .on_fail = boot_fail,
    };
    struct wal_log log = { 0 };
    struct wal_scan scan = { .batch_seq = 1 };
    struct wal *w;
    int rc;

    rc = wal_open(&opts, &log, &scan, &w, err);
    if (rc != 0) {
        return rc;
    }
    wal_add_meta(w, 1, 0);
    wal_add_entry(w, 1, 1, RAFT_CHANGE, conf->base, conf->len);
    wal_kick(w);
    if (boot.failed) {
        rc = err_set(err, ERR_SYS, "%s", boot.why);
    }
    CHECK(rc != 0 || wal_durable(w) == wal_pos(w));
    wal_free(w);
    return rc;
}

int rep_bootstrap_disk(struct rep_disk *disk, const struct rep_member *members, size_t n,
                       struct err *err)
{
    struct raft_buffer conf = { 0 };
    struct wal_scan scan;
    struct wal_log log;
    bool used;
    int rc;

    rc = wal_replay(disk, "directory of the replicated log", &log, &scan, err);
    used = scan.n_segs > 0;
    wal_log_done(&log);
    wal_scan_done(&scan);
    if (rc != 0) {
        return rc;
    }
    if (used) {
        return err_set(err, ERR_EXISTS, "there is a log already; it was left as it is");
    }
    rc = boot_conf(members, n, &conf, err);
    if (rc == 0) {
        rc = boot_write(disk, &conf, err);
    }
    raft_free(conf.base);
    return rc;
}
