#include "cmd/picket/offline.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/str.h"

static void fsm_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                      const struct rep_cmd *cmds, size_t n, struct buf *results)
{
    for (size_t i = 0; i < n; i++) {
        store_apply(ctx, index, term, leader_ms, cmds[i].data, cmds[i].len, &results[i]);
    }
}

static void *fsm_snap_begin(void *ctx)
{
    return store_snap_begin(ctx);
}

static int fsm_put(void *ctx, const void *data, size_t len, struct err *err)
{
    struct rep_sink *sink = ctx;

    return sink->write(sink, data, len, err);
}

static int fsm_snap_write(void *ctx, void *snap, struct rep_sink *sink, struct err *err)
{
    (void)ctx;
    return store_snap_write(snap, fsm_put, sink, err);
}

static void fsm_snap_end(void *ctx, void *snap)
{
    (void)ctx;
    store_snap_end(snap);
}

static int fsm_get(void *ctx, void *data, size_t len, struct err *err)
{
    struct rep_source *source = ctx;

    return source->read(source, data, len, err);
}

static int fsm_restore(void *ctx, struct rep_source *source, struct err *err)
{
    return store_restore(ctx, fsm_get, source, err);
}

static uint64_t fsm_hash(void *ctx)
{
    return store_hash(ctx);
}

struct rep_fsm offline_fsm(struct store *s)
{
    return (struct rep_fsm){
        .ctx = s,
        .apply = fsm_apply,
        .snap_begin = fsm_snap_begin,
        .snap_write = fsm_snap_write,
        .snap_end = fsm_snap_end,
        .restore = fsm_restore,
        .hash = fsm_hash,
    };
}

bool offline_dir(const char *dir, char *dst, size_t size)
{
    struct stat st;
    int n = snprintf(dst, size, "%s/store", dir);

    if (n > 0 && (size_t)n < size && stat(dst, &st) == 0 && S_ISDIR(st.st_mode)) {
        return true;
    }
    return str_copy(dst, size, dir);
}

int offline_recover(struct store *s, uint64_t index, uint64_t term, const char **joined, size_t n,
                    uint64_t *ret_epoch, struct err *err)
{
    struct cmd c = { .op = CMD_RECOVER,
                     .actor = { .role = ACTOR_ADMIN, .name = "picket" },
                     .names = joined,
                     .n_names = n };
    struct arena a = { 0 };
    struct s_cluster cluster;
    struct cmd_answer ans;
    struct buf cmd = { 0 }, result = { 0 };
    int rc;

    rc = s_cluster_get(s, &a, &cluster, err);
    if (rc == 0) {
        c.number = cluster.epoch + 1;
        rc = cmd_encode(&c, &cmd, err);
    }
    if (rc == 0) {
        store_apply(s, index, term, clock_wall_ms(), cmd.data, cmd.len, &result);
        rc = cmd_answer_decode(result.data, result.len, &a, &ans, err);
    }
    if (rc == 0 && ans.code != 0) {
        rc = err_set(err, ans.code, "%s", ans.msg == NULL ? err_text(ans.code) : ans.msg);
    }
    *ret_epoch = c.number;
    buf_done(&cmd);
    buf_done(&result);
    arena_done(&a);
    return rc;
}
