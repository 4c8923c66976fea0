#ifndef RECONCILER_XEN_PRIV_H
#define RECONCILER_XEN_PRIV_H

/* Shared by the files of the Xen driver (xen_*.c) only. */

#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <sys/queue.h>
#include <uv.h>
#include <xenstore.h>

#include "base/map.h"
#include "reconciler/xen_drv.h"
#include "reconciler/xen_map.h"
#include "reconciler/xen_move.h"

#define XEN_DRV_MAGIC 0x78656e64U
#define XEN_JOB_MAGIC 0x78656e6aU
#define XEN_WORK_MAGIC 0x78656e77U
#define XEN_NO_DOMID ((uint32_t)INVALID_DOMID)

struct xen_work;

/* One job on the side of libxl.  The loop makes and frees it; between the two mailboxes it is the
 * worker's, but for `abort` (under the lock) and `job` (the loop's). */
struct xen_job {
    unsigned magic;
    TAILQ_ENTRY(xen_job) link; /* inbox, or the worker's list of running ones */
    TAILQ_ENTRY(xen_job) all;  /* the loop's list */
    uint64_t give_up_ms;       /* the loop's: aborted, and answered then in any case; 0: not */
    struct drv_job *job;       /* NULL: answered already, the loop gave up waiting */
    bool abort;

    enum drv_op op;
    char *vm, *uid;
    uint64_t incarnation, token, not_after_ms;
    libxl_domain_config conf;
    bool has_conf;
    uint64_t memory_kb;
    libxl_bitmap cpus;
    char *peer, *peer_address, *migration;
    uint64_t bandwidth;

    /* the worker's */
    struct xen_work *w;
    uint32_t domid;
    int stage;
    unsigned tries;
    libxl_asyncop_how how;
    bool pending;  /* libxl has it */
    bool ready;    /* libxl is done: step on */
    bool aborted;  /* libxl was asked to hurry */
    bool detached; /* answered already; libxl goes on, and only its end is waited for */
    int rc;        /* of libxl's last operation */
    struct xen_move *move;
    int move_fd; /* libxl's end; the move's */
    enum xen_move_state move_seen;
    struct err move_err;
    bool abort_seen;
    libxl_domain_restore_params restore;

    /* the result */
    struct err err;
    bool failed;
    struct drv_domain *domains;
    size_t n_domains;
    struct drv_capacity capacity;
    uint64_t suspended_ms;
    bool ok_ready;
    char *text; /* result.message */
};

TAILQ_HEAD(xen_jobs, xen_job);

/* From the worker to the loop, in order. */
struct xen_out {
    STAILQ_ENTRY(xen_out) link;
    struct xen_job *job; /* over; NULL: an event */
    bool early;          /* answer it, but libxl still has it */
    enum drv_event_kind kind;
    struct drv_domain domain;
    bool ended; /* the worker has ended */
};

STAILQ_HEAD(xen_outs, xen_out);

/* A domain that was seen. */
struct xen_dom {
    uint32_t domid;
    libxl_uuid uuid;
    char *vm, *uid;
    uint64_t incarnation, token, since_wall_ms;
    bool marked, ready;
    enum dom_state state; /* UNKNOWN: not in the last list, and nobody told of its death */
    int shutdown_reason;
    uint64_t memory_bytes;
    uint64_t target_bytes; /* of the balloon */
    uint32_t vcpus_online;
    char *console, *tty;
    bool suspended;        /* shut down to be moved */
    uint64_t suspended_ms; /* since then, as far as we saw */
    bool asked;            /* we asked it to shut down */
    bool ending;           /* we destroy it */
    bool dead;             /* its death was told */
    bool seen;             /* in the list of this scan */
    unsigned missed;       /* lists in a row without it */
    libxl_evgen_domain_death *evgen;
};

struct xen_work {
    unsigned magic;
    uv_thread_t thread;
    uv_mutex_t lock; /* of what both sides touch, up to `stop` */
    struct xen_jobs inbox;
    struct xen_outs outbox;
    bool any_abort, sigchld, stop;
    int wake_fd;        /* eventfd: the inbox has something */
    uv_async_t *notify; /* the outbox has something; NULL: nobody listens any more */

    /* the worker's own */
    libxl_ctx *ctx; /* NULL: Xen cannot be reached now */
    struct xs_handle *xs;
    xentoollog_logger log; /* not first: found by CONTAINER_OF */
    char last_msg[256];    /* newest error of libxl */
    struct xen_jobs jobs;  /* running */
    struct map doms;       /* domid -> struct xen_dom */
    struct map told;       /* vm -> struct drv_domain: what the loop was told last */
    struct map odd;        /* names that no machine can have, logged once */
    struct pollfd *fds;
    int n_fds;
    bool rescan;
    bool disaster;
    uint64_t stop_ms;
    uint64_t reopen_ms;
    struct xen_host_caps caps;
    struct xen_mover *mover; /* NULL: no live migration */
};

struct xen_drv {
    struct drv drv; /* first */
    unsigned magic;
    uv_loop_t *loop;
    struct xen_storage *storage;
    struct host_apply *apply;
    struct host_ping *ping;
    struct xen_work *w;
    uv_async_t notify;
    uv_signal_t sigchld;
    uv_timer_t timer;              /* of jobs that do not end after their abort, and of closing */
    TAILQ_HEAD(, xen_job) running; /* not yet answered */
    uint64_t give_up_ms;           /* after an abort, and for closing */
    uint64_t close_ms;
    size_t jobs; /* of ours, not yet answered */
    bool closing, finishing, worker_ended;
    int open; /* handles and parts that are being closed */
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

/* --- xen_work.c: the thread -------------------------------------------------------------------
 */
int xen_work_open(struct xen_work *w, struct err *err) ERR_USED; /* context and xenstore */
void xen_work_close(struct xen_work *w);
int xen_work_start(struct xen_work *w) ERR_USED;
void xen_work_wake(struct xen_work *w);
/* From the worker to the loop. */
void xen_post_event(struct xen_work *w, enum drv_event_kind kind, const struct drv_domain *d);
void xen_job_done(struct xen_job *j);
/* Answer it with success now though libxl goes on; xen_job_done follows. */
void xen_job_detach(struct xen_job *j);
bool xen_job_aborted(struct xen_job *j);
/* The job ends so; returns nothing useful, to be called last. */
void xen_job_fail(struct xen_job *j, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with libxl's number and its newest message. */
void xen_job_fail_rc(struct xen_job *j, int code, int rc, const char *what);
/* What libxl has to be given to tell j of its end. */
const libxl_asyncop_how *xen_how(struct xen_job *j);
/* After a call that was given xen_how(j). */
void xen_started(struct xen_job *j, int rc);

/* --- xen_dom.c: jobs on domains ---------------------------------------------------------------
 */
void xen_job_begin(struct xen_job *j);
void xen_job_step(struct xen_job *j); /* libxl's operation is over: j->rc */
/* The one living domain of the job's machine (j->domid too), or the job fails. */
struct xen_dom *xen_living(struct xen_job *j);
/* Nothing of it is here and there is room for it, or the job fails. */
bool xen_may_create(struct xen_job *j);
/* The guest may not begin to run any more. */
bool xen_too_late(const struct xen_job *j);

/* --- xen_look.c: what is there ----------------------------------------------------------------
 */
/* List everything, tell the loop what changed. */
int xen_scan(struct xen_work *w, struct err *err) ERR_USED;
void xen_list(struct xen_job *j);     /* DRV_ENUM_DOMAINS */
void xen_capacity(struct xen_job *j); /* DRV_CAPACITY */
void xen_event(void *user, libxl_event *ev);
/* The living domain of this machine, NULL: none, or more than one (*ret_more). */
struct xen_dom *xen_find(struct xen_work *w, const char *vm, bool *ret_more);
struct xen_dom *xen_by_id(struct xen_work *w, uint32_t domid);
/* Any domain of this machine, dying ones too. */
struct xen_dom *xen_any(struct xen_work *w, const char *vm);
/* It is gone: forget it, and say so. */
void xen_dom_gone(struct xen_work *w, struct xen_dom *d);
void xen_doms_free(struct xen_work *w);
char *xen_node(const struct xen_work *w, uint32_t domid, const char *node); /* freed by caller */
void xen_node_put(const struct xen_work *w, uint32_t domid, const char *node, const char *value);
void xen_caps(struct xen_work *w);
/* A scan whose failure is only logged (the loop is told to look again). */
void xen_rescan(struct xen_work *w);

/* --- xen_mig.c: moving while running -----------------------------------------------------------
 */
void xen_mig_begin(struct xen_job *j);
void xen_mig_step(struct xen_job *j);
void xen_mig_poll(struct xen_work *w); /* what the mover says */
void xen_mig_notify(void *ctx);        /* on the mover's thread */

#endif
