#include <string.h>

#include "base/obj.h"
#include "raft/conf_codec.h"
#include "raft/guard_priv.h"

/* The core's log as the guard reads it (log.c of 0.15.0), and configurations from it. */

size_t guard_log_len(const struct raft *r)
{
    const struct raft_log *l = &r->log;

    return l->back >= l->front ? l->back - l->front : l->size - l->front + l->back;
}

const struct raft_entry *guard_entry(const struct raft *r, raft_index index)
{
    const struct raft_log *l = &r->log;
    size_t n = guard_log_len(r);

    if (index <= l->offset || index - l->offset > n) {
        return NULL;
    }
    return &l->entries[(l->front + (size_t)(index - l->offset - 1)) % l->size];
}

raft_term guard_term_of(const struct raft *r, raft_index index)
{
    const struct raft_entry *e;

    if (index != 0 && index == r->log.snapshot.last_index) {
        return r->log.snapshot.last_term;
    }
    e = guard_entry(r, index);
    return e == NULL ? 0 : e->term;
}

/* The newest configuration at or below `index`; where the entry is gone, the snapshot's. */
static bool conf_find(struct guard *g, raft_index index, struct raft_configuration *ret,
                      raft_index *ret_index)
{
    struct raft *r = g->raft;
    raft_index last = r->log.offset + guard_log_len(r);

    for (raft_index i = index < last ? index : last; i > r->log.offset; i--) {
        const struct raft_entry *e = guard_entry(r, i);

        if (e != NULL && e->type == RAFT_CHANGE) {
            *ret_index = i;
            return conf_decode(e->buf.base, e->buf.len, ret);
        }
    }
    if (g->snap_conf_index == 0 || g->snap_conf_index > index) {
        return false;
    }
    conf_copy(&g->snap_conf, ret);
    *ret_index = g->snap_conf_index;
    return true;
}

bool guard_conf_before(struct guard *g, raft_index index)
{
    struct raft *r = g->raft;
    struct raft_configuration c, committed;
    raft_index at, committed_at = 0;

    if (!conf_find(g, index - 1, &c, &at)) {
        guard_fail(g, "the log holds no configuration to fall back to");
        return false;
    }
    if (at > r->commit_index && conf_find(g, r->commit_index, &committed, &committed_at)) {
        raft_configuration_close(&committed);
    }
    raft_configuration_close(&r->configuration);
    r->configuration = c;
    r->configuration_index = at > r->commit_index ? committed_at : at;
    r->configuration_uncommitted_index = at > r->commit_index ? at : 0;
    return true;
}

void guard_set_snapshot_conf(struct guard *g, const struct raft_configuration *conf,
                             raft_index index)
{
    raft_configuration_close(&g->snap_conf);
    conf_copy(conf, &g->snap_conf);
    g->snap_conf_index = index;
}

bool guard_may_snapshot(const struct guard *g)
{
    const struct raft *r = g->raft;

    return r->configuration_uncommitted_index == 0 && r->configuration_index <= r->last_applied;
}
