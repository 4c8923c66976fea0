#ifndef RECONCILER_INTENT_H
#define RECONCILER_INTENT_H

/* Durable intent: what this host must not forget about a virtual machine when the agent dies.
 *
 * One small JSON file per vm, replaced atomically.  Times in it are CLOCK_BOOTTIME, so a record of
 * another boot loses its phase and its history and keeps only its latch (domains and locks of that
 * boot are gone).  Blocking, but without fsync for phases: they matter only while the kernel lives,
 * and that has the page.  A latch is synced, since it outlives the boot.
 */

#include "reconciler/vm_plan.h"

struct intent_vol {
    char *group;
    char *name;
};

struct intent {
    char *vm;
    char *uid;
    uint64_t incarnation;
    uint64_t token;
    struct vm_intent plan;
    struct intent_vol *vols; /* locked or activated for it */
    size_t n_vols;
};

void intent_init(struct intent *i, const char *vm);
void intent_done(struct intent *i);
void intent_add_vol(struct intent *i, const char *group, const char *name); /* once */
bool intent_has_vol(const struct intent *i, const char *name);
void intent_drop_vol(struct intent *i, const char *name);

/* `dir` exists. ERR_SYS. */
int intent_save(const char *dir, const char *boot_id, const struct intent *i,
                struct err *err) ERR_USED;
int intent_remove(const char *dir, const char *vm, struct err *err) ERR_USED;
/* Every record; one that cannot be read is logged, renamed to NAME.bad and skipped: what it said is
 * then not known, which the planner can live with (it looks before it acts). */
int intent_load(const char *dir, const char *boot_id, void (*fn)(void *ctx, const struct intent *i),
                void *ctx, struct err *err) ERR_USED;

/* Replace a file atomically; `sync`: also fsync it and its folder. */
int intent_write_file(const char *path, const char *text, bool sync, struct err *err) ERR_USED;
/* A small text file as a string without its trailing newline; the caller frees it. */
int intent_read_file(const char *path, char **ret, struct err *err) ERR_USED;

#endif
