#ifndef RECONCILER_DRV_H
#define RECONCILER_DRV_H

/* What a hypervisor driver does for the agent: jobs in, three-valued results and events out.
 *
 * The shape is libxl's (an asynchronous operation per domain, abortable, events for deaths), so
 * that the dev, the simulated and the Xen driver are interchangeable.  Everything happens on the
 * thread of the agent's loop; a driver with threads of its own posts its results there.
 *
 * A job is the caller's memory and untouchable between drv_submit and its callback, which comes
 * exactly once and never before drv_submit has returned; at deadline_ms the caller aborts it, and
 * then it comes soon.
 * One job per domain (`vm`) may be in flight; enumerations and volume jobs run beside them.
 * Errors: ERR_TIMEOUT and ERR_CANCELED mean that nothing happened, ERR_UNKNOWN_OUTCOME that it may
 * have: look (DRV_ENUM_*) before anything else; ERR_UNSUPPORTED: this driver cannot; ERR_DRIVER: it
 * failed and changed nothing that an enumeration would not show.
 * Success means "told it to": only an observation makes a domain Running.
 */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* "I could not look" (UNKNOWN) is not "it is not there" (ABSENT). */
enum dom_state {
    DOM_UNKNOWN = 0,
    DOM_ABSENT,
    DOM_RUNNING,
    DOM_PAUSED,
    DOM_DYING,   /* being torn down; still holds its devices */
    DOM_STOPPED, /* shut down for `reason`, record not yet removed (DRV_DESTROY does) */
};
const char *dom_state_name(enum dom_state st); /* "Unknown", "Absent", ... */

enum dom_reason {
    DOM_REASON_NONE = 0,
    DOM_REASON_SHUTDOWN, /* after DRV_SHUTDOWN */
    DOM_REASON_POWEROFF, /* the guest powered itself off */
    DOM_REASON_REBOOT,   /* the guest asked to be started again */
    DOM_REASON_CRASH,
    DOM_REASON_VANISHED, /* ended without any reason on record */
};
const char *dom_reason_name(enum dom_reason r); /* "", "Shutdown", "GuestPoweroff", ... */

enum vol_state { VOL_UNKNOWN = 0, VOL_ABSENT, VOL_INACTIVE, VOL_ACTIVE };
const char *vol_state_name(enum vol_state st);

/* A domain as it was seen. */
struct drv_domain {
    char *vm;  /* name of the VirtualMachine */
    char *uid; /* of the VirtualMachine that it was started for; "" when it is not known */
    enum dom_state state;
    enum dom_reason reason; /* DOM_STOPPED only */
    char *detail;           /* one line for people, or NULL */
    uint64_t incarnation;   /* under which it was started, 0: not known */
    uint64_t token;
    uint64_t since_wall_ms;
    uint64_t memory_bytes;
    uint64_t memory_target_bytes; /* what it was last told to have; 0: this driver cannot say */
    uint32_t vcpus;               /* online; 0: this driver cannot say */
    int64_t id;                   /* domid or pid, for people */
    char *console;                /* where its console and its screen are, or NULL */
    char *tty;                    /* the console's terminal, which can be opened, or NULL */
};

struct drv_volume {
    char *group;
    char *name;
    enum vol_state state;
    uint64_t size_bytes; /* 0: this driver cannot say */
    bool open;           /* a domain or another opener uses it */
};

struct drv_capacity {
    uint64_t memory_bytes; /* for guests */
    uint64_t memory_free_bytes;
    uint64_t cpus;
    char *hypervisor; /* "dev", "xen-4.17.5" */
    char *firmware;   /* or NULL */
    bool live;        /* guests can migrate live */
    bool live_pv;     /* PV guests too */
};

/* A disk of a guest, resolved: what to open, under which name. */
struct drv_disk {
    const char *name;   /* spec.disks[].name */
    const char *target; /* xvda; "" when not given */
    const char *group;  /* volume group and volume; NULL for a file */
    const char *volume;
    const char *path; /* local file, when there is no volume */
    bool read_only;
};

enum drv_op {
    DRV_NONE = 0,
    DRV_START,    /* vm uid object disks incarnation token not_after_ms */
    DRV_SHUTDOWN, /* vm: ask the guest; the end is reported by an event */
    DRV_DESTROY,  /* vm: end it now, or remove the record of a stopped one */
    DRV_PAUSE,    /* vm */
    DRV_UNPAUSE,  /* vm */
    DRV_ADJUST,   /* vm object: memory and vcpus as the object has them, while it runs */
    /* Live migration (safety.md 2).  Both ends work at the same time and name the same `migration`.
     * SUSPEND sends the memory and ends well when the guest is suspended here and whole and paused
     * there; it runs on after ERR_CANCELED, ERR_DRIVER, ERR_UNSUPPORTED, and after
     * ERR_UNKNOWN_OUTCOME it may be suspended here and paused there, which an enumeration shows
     * (DOM_PAUSED).  Nothing but RESUME makes the source go on, nothing but UNPAUSE the target. */
    DRV_MIG_SUSPEND,    /* vm peer peer_address migration bandwidth; result.suspended_ms */
    DRV_MIG_RESUME,     /* vm: the source goes on; well when it runs already */
    DRV_MIG_RECEIVE,    /* vm uid object disks incarnation token peer peer_address migration */
    DRV_VOL_CREATE,     /* group volume size_bytes; under the group's metadata lock */
    DRV_VOL_GROW,       /* group volume size_bytes; likewise; whoever has it open sees it grow */
    DRV_VOL_ACTIVATE,   /* group volume token */
    DRV_VOL_DEACTIVATE, /* group volume */
    DRV_ENUM_DOMAINS,   /* result.domains: all of them, or an error */
    DRV_ENUM_VOLUMES,   /* result.volumes: all that exist or are active */
    DRV_CAPACITY,       /* result.capacity */
    DRV_PING,           /* name (an address) port: does it answer?  ERR_TIMEOUT, ERR_UNREACHABLE: it
                         * does not; other errors: it could not be asked.  Ends at deadline_ms */
    DRV_APPLY,          /* kind name object (NULL: deleted): LUN, Bond, ...; result.ready */
};
const char *drv_op_name(enum drv_op op); /* "start", ... */

/* Owned by the driver; valid only during the callback. */
struct drv_result {
    const struct drv_domain *domains;
    size_t n_domains;
    const struct drv_volume *volumes;
    size_t n_volumes;
    struct drv_capacity capacity;
    uint64_t suspended_ms; /* DRV_MIG_SUSPEND: since then the guest stands still (CLOCK_BOOTTIME) */
    bool ready;            /* DRV_APPLY: the object is in effect on this host */
    const char *reason;
    const char *message;
    bool active_told;     /* DRV_ENUM_VOLUMES failed, but events told of each that is active */
    bool changed;         /* DRV_APPLY: something was done: what stands on it should look again */
    bool cut_off;         /* DRV_APPLY: its disks were taken away from this host: reset it */
    bool lock_needed;     /* DRV_APPLY: again under the object's lock (job->token) */
    uint64_t again_ms;    /* DRV_APPLY: look again after so long; 0: when the object changes */
    const json_t *detail; /* DRV_APPLY: for the object's status, or NULL */
};

struct drv;
struct drv_job;

/* err is NULL on success. */
typedef void drv_job_cb(struct drv_job *job, const struct err *err);

#define DRV_JOB_MAGIC 0x64726a6fU

struct drv_job {
    unsigned magic; /* DRV_JOB_MAGIC */
    enum drv_op op;
    const char *vm;
    const char *uid;
    const json_t *object; /* the VirtualMachine, or the object of DRV_APPLY */
    const struct drv_disk *disks;
    size_t n_disks;
    const char *group;
    const char *volume;
    const char *kind; /* DRV_APPLY: plural */
    const char *name;
    const json_t *secrets; /* APPLY, START, MIG_RECEIVE: "spec.chap.passwordRef" -> plain value, or
                              NULL; not kept by the caller and never logged */
    uint16_t port;         /* DRV_PING: of a TCP connection, 0: an echo request */
    const char *peer;      /* migration: name of the other host */
    bool wipe; /* VOL_DEACTIVATE: it is open and another host has its lock: its openers get errors
                  from now on, and it stays until they close it */
    uint64_t reservation_key; /* DRV_APPLY: of this incarnation (fence/pr.h); 0: none yet */
    const char *peer_address; /* "IP:PORT": SUSPEND connects there, RECEIVE listens there */
    const char *migration;    /* its uid, the same on both ends */
    uint64_t bandwidth;       /* SUSPEND: bytes a second at most, 0: no limit */
    uint64_t size_bytes;
    uint64_t incarnation;
    uint64_t token;
    uint64_t not_after_ms; /* START, UNPAUSE, MIG_RESUME: the guest may not begin to run later
                              (CLOCK_BOOTTIME); 0: no matter when */
    uint64_t deadline_ms;  /* CLOCK_BOOTTIME; 0: none (refused but for enumerations) */
    drv_job_cb *cb;
    void *data;
    struct drv_result result;
    void *drv_private; /* the driver's while the job is in flight */
};

enum drv_event_kind {
    DRV_EV_DOMAIN, /* `domain` changed; ABSENT when it is gone */
    DRV_EV_VOLUME, /* `volume` changed */
    DRV_EV_DOUBT,  /* events may have been lost: enumerate everything */
};

struct drv_event {
    enum drv_event_kind kind;
    const struct drv_domain *domain; /* only during the call */
    const struct drv_volume *volume;
};
typedef void drv_event_cb(void *data, const struct drv_event *ev);

struct drv_ops {
    const char *name;
    void (*submit)(struct drv *d, struct drv_job *job);
    void (*abort)(struct drv *d, struct drv_job *job); /* hurry: the callback comes soon */
    void (*close)(struct drv *d, void (*on_closed)(void *ctx), void *ctx);
    /* job->not_after_ms is a later one now.  NULL: read from the job when it begins. */
    void (*extend)(struct drv *d, struct drv_job *job);
};

/* The first member of every driver's own struct. */
struct drv {
    const struct drv_ops *ops;
    drv_event_cb *on_event; /* set by drv_listen */
    void *on_event_data;
};

void drv_listen(struct drv *d, drv_event_cb *cb, void *data);
/* Checks the job's shape (our own mistakes) and hands it over. */
void drv_submit(struct drv *d, struct drv_job *job);
void drv_abort(struct drv *d, struct drv_job *job);
/* Of a DRV_START under way: the lease was renewed, so the guest may begin until then. */
void drv_extend(struct drv *d, struct drv_job *job, uint64_t not_after_ms);
/* Jobs in flight end with ERR_UNKNOWN_OUTCOME first.  Guests are not touched (P8). */
void drv_close(struct drv *d, void (*on_closed)(void *ctx), void *ctx);
/* For drivers: deliver an event if somebody listens. */
void drv_emit(struct drv *d, const struct drv_event *ev);

/* Deep copies for whoever keeps them. */
void drv_domain_copy(struct drv_domain *dst, const struct drv_domain *src);
void drv_domain_done(struct drv_domain *d);
void drv_volume_copy(struct drv_volume *dst, const struct drv_volume *src);
void drv_volume_done(struct drv_volume *v);

#endif
