#ifndef RECONCILER_DEV_DRV_PRIV_H
#define RECONCILER_DEV_DRV_PRIV_H

/* Shared by the files of the dev driver (dev_drv*.c) only. */

#include <sys/types.h>

#include "base/map.h"
#include "reconciler/dev_drv.h"
#include "reconciler/host_ping.h"
#include "reconciler/xen_move.h"

#define DEV_DRV_MAGIC 0x64657664U
#define DEV_DISKS_MAX 64

/* A state file. */
struct dev_state {
    char *vm, *uid, *boot;
    char *tty; /* of its console, NULL: none */
    char *disks[DEV_DISKS_MAX];
    size_t n_disks;
    uint64_t incarnation, token, start, since_wall_ms, memory;
    pid_t pid;
    bool stopped;
    bool suspended; /* to be moved */
    uint64_t suspended_ms;
    enum dom_reason reason;
};

/* ERR_NOT_FOUND, ERR_CORRUPT, ERR_SYS. */
int dev_state_read(const char *path, struct dev_state *ret, struct err *err) ERR_USED;
void dev_state_done(struct dev_state *s);
/* Start time (/proc/PID/stat, field 22) and state letter of a process; false: there is none. */
bool dev_proc_stat(pid_t pid, uint64_t *ret_start, char *ret_letter);

/* A guest process that is watched. */
struct dev_guest {
    struct dev_drv *d;
    char *vm;
    int pidfd;
    pid_t pid;
    uv_poll_t poll;
    struct dev_state state;
};

struct dev_job {
    struct dev_job *next; /* in the list of finished ones, or of starts to come */
    struct dev_drv *d;
    struct drv_job *job;
    struct err err;
    bool failed;
    bool listed; /* finished, waiting for its callback */
    bool queued; /* a start that has not begun */
    /* a start under way */
    uv_process_t process;
    uv_pipe_t out;
    char text[1024];
    size_t n_text;
    int64_t status;
    unsigned open; /* handles that have not been closed */
    bool aborted;
    /* a live migration (dev_drv_mig.c) */
    struct dev_job *mig_next; /* in the list of those under way */
    int mig_stage;
    struct xen_move *move;
    enum xen_move_state mig_seen;
    int move_fd;    /* the guest's end: the move's */
    uv_pipe_t fifo; /* source: from the guest */
    uv_pipe_t wire; /* and to the move */
    uv_write_t write;
    char *chunk;
    int mig_code; /* to fail with, when everything has closed; 0: not */
    uint64_t suspended_ms;
};

struct dev_drv {
    struct drv drv; /* first */
    unsigned magic;
    uv_loop_t *loop;
    char *dir, *host, *boot_id, *guest_path;
    char *guests_dir, *active_dir, *san_dir;
    uint64_t memory_bytes, cpus;
    struct xen_mover *mover; /* NULL: it could not be made, nothing migrates */
    uv_async_t moved;        /* the state of a move changed */
    struct dev_job *migs;    /* under way */
    unsigned handles;        /* of the driver that have not closed */
    struct map guests;       /* vm -> struct dev_guest: running ones */
    struct map dying;        /* vm -> struct dev_job: destroys that wait for the exit */
    uv_timer_t timer;        /* runs the callbacks of finished jobs, and one start */
    struct dev_job *done, **done_tail;
    struct host_ping *ping; /* NULL: closed */
    struct dev_job *starts, **starts_tail;
    size_t jobs;
    bool closing;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

void dev_job_done(struct dev_job *j); /* j->err and j->failed are set */
/* The guest may not begin to run any more. */
bool dev_job_too_late(const struct dev_job *j);
int dev_job_fail(struct dev_job *j, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* dev_drv_dom.c */
char *dev_state_path(const struct dev_drv *d, const char *vm);
void dev_dom_start(struct dev_drv *d, struct dev_job *j);
void dev_dom_signal(struct dev_drv *d, struct dev_job *j);
void dev_dom_destroy(struct dev_drv *d, struct dev_job *j);
void dev_dom_abort(struct dev_drv *d, struct dev_job *j);
void dev_dom_list(struct dev_drv *d, struct dev_job *j);
void dev_guest_drop(struct dev_guest *g);
/* Does a guest that runs have this file open? */
bool dev_dom_uses(const struct dev_drv *d, const char *path);
uint64_t dev_dom_memory(const struct dev_drv *d);

/* Spawn picket-guest with what is in the job; its standard input is `fd`, or nothing (-1). */
void dev_dom_launch(struct dev_drv *d, struct dev_job *j, int fd);
void dev_dom_see(struct dev_drv *d, const char *vm);
struct dev_guest *dev_dom_watched(struct dev_drv *d, const char *vm); /* NULL: it does not run */
int dev_dom_send_signal(const struct dev_guest *g, int sig);
void dev_dom_settle(const struct dev_guest *g, bool stopped);

/* dev_drv_mig.c */
void dev_mig_open(struct dev_drv *d, const struct dev_drv_opts *opts);
void dev_mig_close(struct dev_drv *d);
void dev_mig_job(struct dev_drv *d, struct dev_job *j);
void dev_mig_abort(struct dev_drv *d, struct dev_job *j);
void dev_mig_launched(struct dev_drv *d, struct dev_job *j); /* RECEIVE: the launcher has ended */

/* dev_drv_vol.c */
char *dev_vol_path(const struct dev_drv *d, const char *group, const char *name);
bool dev_vol_active(const struct dev_drv *d, const char *group, const char *name);
void dev_vol_job(struct dev_drv *d, struct dev_job *j);
void dev_vol_list(struct dev_drv *d, struct dev_job *j);

#endif
