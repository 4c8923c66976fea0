#ifndef RECONCILER_INTENT_H
#define RECONCILER_INTENT_H

/* Durable intent: what this host must not forget about a virtual machine when the agent dies.
 *
 * One JSON record a line, appended to one file; the newest of a machine counts.  (A file for each
 * was tried: when fifty machines start at once, making and replacing that many files is most of the
 * agent's work; ext4 looks at every inode freed within the last minutes for each new file.)  Times
 * are CLOCK_BOOTTIME, so a record of another boot loses its phase and its history and keeps only
 * its latch (domains and locks of that boot are gone).  Blocking, but without fsync for phases:
 * they matter only while the kernel lives, and that has the page.  A latch is synced, since it
 * outlives the boot.
 */

#include <jansson.h>

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

/* The records of one host, in the folder `dir`, which exists.  Every record is given to `fn`; one
 * that cannot be read is logged and skipped (the file as it was is kept as log.bad): what it said
 * is then not known, which the planner can live with (it looks before it acts).  Records of
 * versions that wrote a file for each machine are taken over.  NULL: ERR_SYS. */
struct intent_log;
struct intent_log *intent_open(const char *dir, const char *boot_id,
                               void (*fn)(void *ctx, const struct intent *i), void *ctx,
                               struct err *err) ERR_USED;
/* ERR_SYS: nothing was written, and the record before holds. */
int intent_save(struct intent_log *l, const struct intent *i, struct err *err) ERR_USED;
int intent_remove(struct intent_log *l, const char *vm, struct err *err) ERR_USED;
void intent_close(struct intent_log *l); /* NULL is fine */

/* A record as one line without its end; the caller frees it. */
char *intent_encode(const char *boot_id, const struct intent *i);
/* ERR_CORRUPT. */
int intent_decode(const json_t *j, const char *boot_id, struct intent *ret,
                  struct err *err) ERR_USED;

/* Replace a file atomically; `sync`: also fsync it and its folder. */
int intent_write_file(const char *path, const char *text, bool sync, struct err *err) ERR_USED;
/* A small text file as a string without its trailing newline; the caller frees it. */
int intent_read_file(const char *path, char **ret, struct err *err) ERR_USED;
/* Parts of these. */
int intent_write_all(int fd, const char *path, const char *text, size_t len,
                     struct err *err) ERR_USED;
int intent_sync_folder(const char *path, struct err *err) ERR_USED; /* that the file is in */

#endif
