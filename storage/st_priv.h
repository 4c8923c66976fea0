#ifndef STORAGE_ST_PRIV_H
#define STORAGE_ST_PRIV_H

/* Shared by st_host.c and the st_*_exec.c only. */

#include "base/map.h"
#include "storage/cmd_exec.h"
#include "storage/lun_plan.h"
#include "storage/pr_plan.h"
#include "storage/st_host.h"

#define ST_OP_MAGIC 0x73746f70U
#define ST_COMMAND_MS 20000U
#define ST_ROUNDS_MAX 12
#define ST_PAUSE_MS 700U /* after steps: udev and multipathd need a moment */

/* What the last application found out about a LUN; groups stand on it. */
struct st_lun {
    char *device; /* "/dev/mapper/...", "" when not ready */
    enum st_state state;
    char *message;
    char *dark_map; /* name of its multipath map when none of its paths works, or NULL */
};

/* What this boot has registered, by device; kept in the agent's folder. */
struct st_pr {
    uint64_t key; /* 0: nothing */
    bool missed;  /* the last look did not find it */
    bool ptpl;    /* the target keeps registrations through a loss of its power */
};

struct st_host {
    uv_loop_t *loop;
    char *programs, *etc, *sys, *data;
    struct cmd_runner *runner;
    struct map objects; /* "plural/name" -> json_t, as applied last */
    struct map luns;    /* name -> struct st_lun */
    struct map secrets; /* "plural/name" -> json_t of plain values */
    struct map logins;  /* "target portal" -> the LUN's struct st_op that logs in there just now */
    uint64_t logins_done;
    struct map prs;    /* device -> struct st_pr */
    struct map usable; /* names of reserved groups that may be activated */
    uint64_t key;      /* reservation key of this incarnation; 0: not known yet */
    size_t ops;
    bool synced; /* every object is known */
    bool closing;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

typedef void st_next(struct st_op *op, const struct cmd_result *r);

struct st_op {
    unsigned magic;
    struct st_host *h;
    char *plural, *name;
    json_t *object, *before; /* NULL: deleted; new */
    bool meta_lock;
    uint64_t deadline_ms;
    st_answer_cb *cb;
    void *ctx;
    uv_timer_t timer;
    struct cmd *cmd;
    st_next *next;
    void (*later)(struct st_op *op); /* the timer's */
    void (*then)(struct st_op *op);  /* after a look at the SAN */
    bool aborted;
    bool failed; /* a step: look once more, and leave the rest to the next application */
    struct st_answer ans;
    char reason[64], message[512];
    char step_why[512]; /* why the last step failed */
    unsigned round;
    uint64_t logins_seen; /* of the host's logins_done, when this one looked */
    bool waits;           /* for another LUN's login, which does not use up a round */
    uint32_t dark;        /* portals, by their place in the target, where a login failed just now */
    /* of a round; the arena is emptied between them */
    struct arena a;
    struct iscsi_sessions sessions;
    bool has_sessions;
    struct mpath_maps maps;
    bool has_maps;
    const char *look_why;
    struct lun_disk *disks;
    size_t n_disks, disk_at;
    struct lun_plan lun;
    struct lvm_report report;
    struct vg_disk *vg_disks;
    size_t n_vg_disks;
    bool leaving; /* the group's object is gone: only its registrations are looked at */
    bool pr_want;
    struct prp_lun *pr_luns;
    const char **pr_devices;
    size_t n_pr_luns, pr_at, pr_path;
    struct prp_plan pr;
    struct sig_verdict sigs;
    bool has_sigs;
    uint64_t edge_at;
    struct st_plan plan;
    size_t step_at;
    bool second_half; /* of a step that is two commands */
    char *file;       /* rendered configuration */
};

/* Run a command, then `next`.  What cannot be started is a failed result. */
void st_run(struct st_op *op, const char *const *argv, size_t output_max, st_next *next);
void st_later(struct st_op *op, uint64_t ms, void (*fn)(struct st_op *op));
void st_answer(struct st_op *op, enum st_state state, const char *reason, const char *message);
/* Nothing is left of the time, or somebody wants it to end. */
bool st_over(const struct st_op *op);
void st_round_begin(struct st_op *op);
const char *const *st_argv(struct arena *a, const char *program, ...) __attribute__((sentinel));
void st_lun_free(struct st_lun *l); /* NULL is fine */
const json_t *st_object(const struct st_host *h, const char *plural, const char *name);
/* NULL: none are known. */
const json_t *st_secrets_of(const struct st_host *h, const char *plural, const char *name);
void st_detail(struct st_op *op, const char *key, json_t *value);
/* The result's one line, or what it printed to standard error. */
void st_step_failed(struct st_op *op, const char *what, const struct cmd_result *r);

/* 0 or -errno; at most 256 KiB.  The text may hold secrets: st_buf_wipe. */
int st_file_read(const char *path, struct buf *ret);
/* Replaced as a whole, synced; `mode` as for chmod. */
int st_file_write(const char *path, const struct buf *b, unsigned mode);
void st_buf_wipe(struct buf *b); /* and buf_done */

/* st_target_exec.c: what a login at this target needs is known */
bool st_has_secrets(const struct st_host *h, const char *name, const json_t *target);
/* Our settings into the node records of this portal of the target `name`; failure: step_why. */
void st_record_set(struct st_op *op, const char *name, const char *portal);
/* st_lun_exec.c: at most LUN_PORTALS_MAX; the number of them */
size_t st_portals_of(struct st_op *op, const json_t *target, const char **dst);
/* st_vg_exec.c: look from the beginning; the group itself, once its reservations are in order */
void st_vg_look(struct st_op *op);
void st_vg_list(struct st_op *op);
/* st_pr_exec.c */
void st_pr_load(struct st_host *h);
bool st_pr_wanted(const json_t *group);
bool st_pr_concerns(const struct st_op *op); /* reserved, or registered from before */
void st_pr_look(struct st_op *op);
/* st_lvmconf_exec.c: lvmlocal.conf from the groups that were just listed; what is the matter with
 * it, "" when it is as it should be */
const char *st_lvm_conf(struct st_op *op);

void st_lun_begin(struct st_op *op);
/* This application ends: others may log in where it was about to. */
void st_lun_release(struct st_op *op);
void st_target_begin(struct st_op *op);
void st_policy_begin(struct st_op *op);
void st_vg_begin(struct st_op *op);
/* Sessions and maps, then `then`. */
void st_look_san(struct st_op *op, void (*then)(struct st_op *op));

#endif
