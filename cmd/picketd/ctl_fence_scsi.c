/* Which locks a persistent reservation releases. */

#include "base/str.h"
#include "cmd/picketd/ctl_fence_priv.h"

struct covered {
    struct pass *p;
    const char *devs[CMD_MAX_DEVICES];
    size_t n_devs;
    struct cmd_lock_ref *refs; /* NULL: only count */
    size_t n;
};

static void covered_visit(void *ctx, const char *lock)
{
    struct covered *q = ctx;
    struct err err;

    if (s_scsi_covers(q->p->c->node->store, q->devs, q->n_devs, lock, &err) != 0) {
        return;
    }
    if (q->refs != NULL && q->n < CMD_MAX_LOCKS) {
        q->refs[q->n] = (struct cmd_lock_ref){ .lock = arena_strdup(&q->p->a, lock) };
    }
    q->n++;
}

/* Locks of the incarnation that a level of ScsiReservation devices covers; at most as many as fit
 * into one command, the rest comes with the next one. */
size_t fence_covered_locks(struct pass *p, const struct s_fencing *f, uint32_t level,
                           struct cmd_lock_ref *refs)
{
    struct covered q = { .p = p, .refs = refs };
    const struct cmd_fence_level *l = &f->levels[level];

    for (size_t i = 0; i < l->n_devices && q.n_devs < CMD_MAX_DEVICES; i++) {
        if (str_eq(l->devices[i].type, "ScsiReservation")) {
            q.devs[q.n_devs++] = l->devices[i].name;
        }
    }
    if (q.n_devs > 0) {
        s_locks_of(p->c->node->store, f->incarnation, covered_visit, &q);
    }
    return q.n < CMD_MAX_LOCKS ? q.n : CMD_MAX_LOCKS;
}

void fence_proof_locks(struct pass *p, const struct decide_item *it, struct cmd_safety *ret)
{
    struct s_fencing f;
    struct err err;

    ret->locks = ARENA_ARRAY(&p->a, struct cmd_lock_ref, CMD_MAX_LOCKS);
    if (s_fencing_get(p->c->node->store, it->fencing, &p->a, &f, &err) == 0 &&
        it->level < f.n_levels) {
        ret->n_locks = fence_covered_locks(p, &f, it->level, ret->locks);
    }
}
