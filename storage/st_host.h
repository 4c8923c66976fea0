#ifndef STORAGE_ST_HOST_H
#define STORAGE_ST_HOST_H

/* Storage objects put into effect on this host: sessions, multipath maps, volume groups.
 *
 * Each application is a chain of looks (commands with a deadline), a pure plan, and its steps, and
 * a new look after them, until nothing is left to do or the deadline is near.  Applications of
 * different objects run beside each other: a disk that hangs holds up only what stands on it.
 * Everything on the loop's thread.  Commands: iscsiadm(8), multipathd(8), scsi_id(8), lvm(8).
 *
 * A group is written only by a caller who holds its lock and says so (`meta_lock`); without it the
 * answer is "LockNeeded".
 */

#include <jansson.h>
#include <uv.h>

#include "storage/st_plan.h"

struct st_host;
struct st_op;

struct st_host_opts {
    uv_loop_t *loop;
    const char *programs; /* folder in the place of every program's own, for tests; NULL: none */
    const char *etc;      /* NULL: "/etc" */
    const char *sys;      /* NULL: "/sys" */
    const char *data;     /* folder for what must survive an agent; NULL: nowhere (tests) */
};

struct st_answer {
    enum st_state state;
    const char *reason;
    const char *message;
    bool lock_needed;  /* again with meta_lock, and it will be written */
    bool changed;      /* something was done: what stands on it should look again */
    bool cut_off;      /* a reservation of this host was preempted: it has to be reset */
    uint64_t again_ms; /* look again after so long; 0: when the object changes */
    json_t *detail;    /* for the status: wwid, device, size, paths ...; borrowed, may be NULL */
};

/* Exactly once, never before st_apply has returned; the answer is valid during the call. */
typedef void st_answer_cb(void *ctx, const struct st_answer *ans);

struct st_host *st_host_new(const struct st_host_opts *opts);
/* Kinds that are ours: iscsitargets, multipathpolicies, luns, volumegroups. */
bool st_host_knows(const char *plural);
/* `object` NULL: deleted (what is on the disks stays).  It is copied.  deadline_ms: CLOCK_BOOTTIME.
 */
struct st_op *st_apply(struct st_host *h, const char *plural, const char *name,
                       const json_t *object, bool meta_lock, uint64_t deadline_ms, st_answer_cb *cb,
                       void *ctx);
/* Plain values that the object's next applications need (CHAP); NULL: those from before stay.
 * Copied; wiped when they are replaced, when the object goes, and at the end. */
void st_secrets(struct st_host *h, const char *plural, const char *name, const json_t *secrets);
/* The reservation key of this incarnation (fence/pr.h), as soon as there is one. */
void st_reservation_key(struct st_host *h, uint64_t key);
/* May volumes of this group be activated?  No: it wants reservations, and they are not in order. */
bool st_group_usable(const struct st_host *h, const char *group);
/* Multipath maps below this group that had no working path at the last look: a command that waits
 * for one must not hold up what follows.  Names are valid until the next application. */
size_t st_group_dark(const struct st_host *h, const char *group, const char **dst, size_t max);
struct st_initiator {
    char name[224];    /* what iscsid calls this host; "": nothing */
    char problem[400]; /* "": none */
};
/* Host.spec.iscsi.initiatorName put into effect, if there is one (NULL: none) and no session stands
 * in the way; what the name is. */
void st_initiator(struct st_host *h, const char *want, struct st_initiator *ret);
/* Every object of this host was applied once: from now on a group that no object names is not
 * Picket's (lvmlocal.conf). */
void st_host_synced(struct st_host *h);
/* Hurry: the answer (Unknown, "Canceled") comes soon. */
void st_op_abort(struct st_op *op);
/* What is under way is answered first. */
void st_host_close(struct st_host *h, void (*on_closed)(void *ctx), void *ctx);

#endif
