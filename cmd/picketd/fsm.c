#include "cmd/picketd/fsm.h"

static void fsm_apply(void *ctx, uint64_t index, uint64_t term, uint64_t leader_ms,
                      const struct rep_cmd *cmds, size_t n_cmds, struct buf *results)
{
    for (size_t i = 0; i < n_cmds; i++) {
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

struct rep_fsm store_fsm(struct store *s)
{
    return (struct rep_fsm){ .ctx = s,
                             .apply = fsm_apply,
                             .snap_begin = fsm_snap_begin,
                             .snap_write = fsm_snap_write,
                             .snap_end = fsm_snap_end,
                             .restore = fsm_restore,
                             .hash = fsm_hash };
}
