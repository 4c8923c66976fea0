#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

/* The cluster simulator: real picketd, picket-agent and watchdog code of up to 16 hosts in one
 * process and virtual time; replaced are only clocks, the event loop, byte streams, disks, the
 * hypervisor, fence devices and the hardware below the watchdog (docs/simulation.md).
 *
 * One seed decides everything: the same options, calls and seed give the same event log, byte for
 * byte.  One world a process; one thread.  Times are virtual milliseconds since the world began
 * (hosts see clocks of their own).  Machines are named node1 ... nodeN, the witness "witness".
 * Functions that take a machine abort on an unknown name: ask sim_machine_exists first.
 */

#include <jansson.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define SIM_HOSTS_MAX 16U
#define SIM_LINKS_MAX 2U

struct sim;

enum sim_proc { SIM_PICKETD, SIM_AGENT, SIM_WATCHDOG };

/* How hosts are fenced (spec.fencing of every Host and the devices of sim_base_yaml). */
enum sim_fencing {
    SIM_FENCE_PDU,      /* one rack PDU "pdu" for all */
    SIM_FENCE_BMC,      /* a management card each: "nodeN-bmc" */
    SIM_FENCE_BMC_PDU,  /* level 1 the card, level 2 the PDU */
    SIM_FENCE_WATCHDOG, /* the host's own watchdog "watchdog" */
    SIM_FENCE_PDU_WATCHDOG,
    SIM_FENCE_NONE,
};

#define SIM_SLOT_VOLUME "vg1/heartbeat"

struct sim_opts {
    uint64_t seed;
    unsigned hosts;           /* with agents; 1..16 */
    unsigned voters;          /* the first of them run a picketd; 0: 1, 3 or 5 by hosts */
    bool witness;             /* one machine more, with a picketd only (it is a voter) */
    unsigned links;           /* networks between the machines, 1 or 2; 0: 1 */
    unsigned heartbeat_ms;    /* 0: 500 */
    unsigned host_timeout_ms; /* 0: 3000 */
    bool freeze;              /* onQuorumLoss: Freeze */
    enum sim_fencing fencing;
    bool watchdog;        /* hosts have a hardware watchdog */
    unsigned watchdog_ms; /* W; 0: 5000 */
    unsigned boot_ms;     /* from power to processes, with jitter; 0: 8000 */
    unsigned fence_limit; /* maxPerWindow and maxPerHost; 0: 64 (no storm limit) */
    unsigned skew_ppm;    /* clocks run up to so much too fast or slow */
    bool slot;            /* a storage heartbeat: SIM_SLOT_VOLUME; wants a guest */
    bool lies;            /* what a device that lies breaks by that is no violation (safety.md 4) */
    bool no_restart;      /* what dies stays dead (no systemd); hosts that lost power stay off */
    FILE *log;            /* every line as it comes; may be NULL */
    bool debug;           /* also the products' own log lines */
};

/* The machines are on, nothing is booted, no object exists. */
struct sim *sim_new(const struct sim_opts *opts);
void sim_free(struct sim *s);
const struct sim_opts *sim_options(const struct sim *s);

/* --- time --------------------------------------------------------------------------------------
 */

uint64_t sim_time(const struct sim *s); /* ms */
void sim_run(struct sim *s, uint64_t ms);
/* Leave out so much of an uneventful time (safety.md 7): only between two runs, and only of a world
 * that has settled. */
void sim_skip(struct sim *s, uint64_t ms);
/* Run until done(ctx) is true, asked after every event; false when `ms` have passed before. */
bool sim_run_until(struct sim *s, bool (*done)(struct sim *s, void *ctx), void *ctx, uint64_t ms);

/* --- the user ----------------------------------------------------------------------------------
 */

/* The objects of a book-like cluster: Cluster, fence devices, hosts, `vms` virtual machines vm1...
 * with an exclusive volume each (the volumes exist on the simulated storage).  free() it. */
char *sim_base_yaml(struct sim *s, unsigned vms);
uint64_t sim_grace_ms(const struct sim_opts *o); /* its spec.fencing.startupGrace */
/* Apply a manifest through the real API as an administrator, trying again for up to `ms` of virtual
 * time (the world runs meanwhile).  Volumes named in it appear on the storage. */
int sim_apply(struct sim *s, const char *yaml, uint64_t ms, struct err *err) ERR_USED;
/* Any request as administrator from outside ("GET", "/apis/picket/v1/hosts"); repeated only while
 * it is known not to have happened.  *ret (may be NULL) is the caller's reference. */
int sim_request(struct sim *s, const char *method, const char *target, const json_t *body,
                uint64_t ms, json_t **ret, struct err *err) ERR_USED;
/* The same with a content type (merge patches and the like). */
int sim_request_as(struct sim *s, const char *method, const char *target, const char *content_type,
                   const json_t *body, uint64_t ms, json_t **ret, struct err *err) ERR_USED;
/* Who asks, and under which id (Picket-Request-Id); each may be NULL: an administrator, none. */
struct sim_caller {
    const char *role, *name; /* as in a certificate: "picket:agents", "node1" */
    const char *id;
};
/* Once, whatever comes of it. */
int sim_request_by(struct sim *s, const struct sim_caller *by, const char *method,
                   const char *target, const json_t *body, uint64_t ms, json_t **ret,
                   struct err *err) ERR_USED;
/* GET one object. */
int sim_get(struct sim *s, const char *plural, const char *name, json_t **ret,
            struct err *err) ERR_USED;

/* --- machines ----------------------------------------------------------------------------------
 */

size_t sim_machines(const struct sim *s); /* the witness included, it is the last */
const char *sim_machine_name(const struct sim *s, size_t i);
bool sim_machine_exists(const struct sim *s, const char *name);
bool sim_has_agent(const struct sim *s, const char *machine);

void sim_power_off(struct sim *s, const char *machine); /* stays off until sim_power_on */
void sim_power_on(struct sim *s, const char *machine);
void sim_reset(struct sim *s, const char *machine); /* reboots by itself */
bool sim_is_on(const struct sim *s, const char *machine);
void sim_suspend(struct sim *s, const char *machine); /* everything stands still, guests too */
void sim_resume(struct sim *s, const char *machine);
void sim_wall_step(struct sim *s, const char *machine, int64_t ms);
/* Its clock runs `ppm` too fast (negative: too slow) from now on. */
void sim_clock_rate(struct sim *s, const char *machine, int ppm);

/* kill -9; systemd starts it again (a second later), but with no_restart.  `stay`: not this time,
 * until sim_start. */
void sim_kill(struct sim *s, const char *machine, enum sim_proc p, bool stay);
void sim_start(struct sim *s, const char *machine, enum sim_proc p);
void sim_pause(struct sim *s, const char *machine, enum sim_proc p);   /* SIGSTOP */
void sim_unpause(struct sim *s, const char *machine, enum sim_proc p); /* SIGCONT */
bool sim_running(const struct sim *s, const char *machine, enum sim_proc p);

/* --- network -----------------------------------------------------------------------------------
 */

#define SIM_ANY NULL /* every machine (the user's workstation is one: "admin") */
#define SIM_ALL_LINKS (-1)

/* Packets from `from` to `to` are lost on that link, one way; devices are not touched. */
void sim_cut(struct sim *s, const char *from, const char *to, int link, bool cut);
void sim_cut_both(struct sim *s, const char *a, const char *b, int link, bool cut);
/* From and to everybody, the fence devices included, on all links. */
void sim_isolate(struct sim *s, const char *machine, bool cut);
/* What NetworkChecks ask for is beyond a network of its own, which carries nothing else. */
void sim_gateway_cut(struct sim *s, const char *machine, bool cut);
void sim_heal(struct sim *s); /* every cut, of devices too */
/* One-way time of packets, uniformly drawn (µs). */
void sim_latency(struct sim *s, unsigned min_us, unsigned max_us);

/* --- fence devices -----------------------------------------------------------------------------
 */

enum sim_device {
    SIM_DEV_OK,
    SIM_DEV_SILENT,      /* answers nothing: Failed before, Unknown after a switching packet */
    SIM_DEV_REFUSES,     /* Failed */
    SIM_DEV_LATE,        /* switches, but so late that the executor has given up: Unknown */
    SIM_DEV_DEAF,        /* takes the command, switches nothing, reads back on: Unknown */
    SIM_DEV_LOST_ANSWER, /* switches, and the answer is lost: Unknown */
    SIM_DEV_LIES,        /* says off and switches nothing (breaks every promise but evidence) */
    SIM_DEV_WRONG,       /* switches another host off and says so of this one (wrong wiring) */
};
const char *sim_device_name(enum sim_device m);
/* `device` as its FenceDevice is called: "pdu", "node1-bmc"; false when there is none. */
bool sim_device_mode(struct sim *s, const char *device, enum sim_device mode);
/* Can the picketd of the machine reach the device? */
void sim_device_cut(struct sim *s, const char *machine, const char *device, bool cut);
void sim_device_latency(struct sim *s, const char *device, unsigned ms); /* of one operation */

/* --- guests and storage ------------------------------------------------------------------------
 */

enum sim_guest_event { SIM_VM_POWEROFF, SIM_VM_REBOOT, SIM_VM_CRASH };
bool sim_guest(struct sim *s, const char *vm, enum sim_guest_event what); /* false: runs nowhere */
void sim_guest_stubborn(struct sim *s, const char *vm, bool on); /* ignores shutdown requests */
/* The machine cannot reach the volume ("VG/LV"): activation fails. */
void sim_volume_cut(struct sim *s, const char *machine, const char *volume, bool cut);
/* The next jobs of the machine's hypervisor fail ("start", "destroy", ... as drv_op_name), hang or
 * end with an unknown outcome. */
enum sim_job_fault { SIM_JOB_FAILS, SIM_JOB_UNKNOWN_DONE, SIM_JOB_UNKNOWN_NOT, SIM_JOB_HANGS };
void sim_job_fault(struct sim *s, const char *machine, const char *op, enum sim_job_fault f,
                   unsigned count);
bool sim_job_exists(const char *op);
/* The disk of the store: milliseconds of the slowest write; no room left; writes fail. */
void sim_disk_slow(struct sim *s, const char *machine, unsigned ms);
void sim_disk_full(struct sim *s, const char *machine, bool full);

/* --- looking -----------------------------------------------------------------------------------
 */

/* The machine on which a guest runs (or is paused), "" for none. */
const char *sim_vm_on(const struct sim *s, const char *vm);
unsigned sim_vm_starts(const struct sim *s, const char *vm); /* in the whole world so far */
/* The last writer of a volume "VG/LV" or vm's first disk: machine, incarnation, token. */
bool sim_writer(const struct sim *s, const char *volume, const char **ret_machine,
                uint64_t *ret_incarnation, uint64_t *ret_token);
const char *sim_leader(const struct sim *s); /* a node that leads with its barrier applied, or "" */
/* Of the newest state that any replica applied: state of a machine's newest incarnation ("Live",
 * "Lost", "Fencing", "Fenced", "" none). */
const char *sim_inc_state(const struct sim *s, const char *machine);
uint64_t sim_inc(const struct sim *s, const char *machine);

struct sim_stats {
    uint64_t faults;      /* injected through the functions above */
    uint64_t fencings;    /* opened */
    uint64_t proofs;      /* incarnations that became Fenced */
    uint64_t needless;    /* fencings of hosts that were healthy and connected: a violation */
    uint64_t power_offs;  /* by devices */
    uint64_t asked_twice; /* a device was asked while somebody else was asking it */
    uint64_t wd_resets;   /* by watchdogs */
    uint64_t failovers;   /* guests that started on another host than the one before */
    uint64_t starts;      /* of guests */
    uint64_t commands;    /* applied, counted once for all replicas */
    uint64_t elections;
    uint64_t requests;   /* of the user, acknowledged */
    uint64_t events;     /* of the scheduler */
    uint64_t host_ms;    /* virtual time times hosts */
    uint64_t skipped_ms; /* of it left out */
};
void sim_stats(const struct sim *s, struct sim_stats *ret);

/* --- checks ------------------------------------------------------------------------------------
 */

/* What broke first, or NULL.  The world goes on; each violation is a line "VIOLATION ..." of the
 * log. */
const char *sim_violation(const struct sim *s);
size_t sim_violations(const struct sim *s);
void sim_violate(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The user now and then writes to an object and watches it; what was acknowledged must be there in
 * the end, and watchers see every change once, in order. */
void sim_writers(struct sim *s, bool on);
/* After a heal: does everything placeable run, and does everything else say why?  Runs the world
 * for up to `ms`; what is missing then is a violation.  Also looks for orphaned locks. */
bool sim_settle(struct sim *s, uint64_t ms);
/* A bound for sim_settle from the options: lease, watchdog, device and boot times. */
uint64_t sim_settle_bound(const struct sim *s);

/* --- the log -----------------------------------------------------------------------------------
 */

/* A line: "  12.345678 text". */
void sim_log(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *sim_log_text(const struct sim *s); /* everything so far */
uint64_t sim_log_hash(const struct sim *s);
/* Called for every line (without time and newline). */
void sim_on_line(struct sim *s, void (*fn)(void *ctx, uint64_t ms, const char *line), void *ctx);

/* A random number below n from the world's seed, for whoever makes up stories. */
uint64_t sim_random(struct sim *s, uint64_t n);

/* --- random worlds -----------------------------------------------------------------------------
 */

/* One seed of the swarm: options, faults, heal, progress.  True: nothing broke. */
struct sim_swarm_result {
    struct sim_stats stats;
    unsigned hosts;
    size_t violations;
    char violation[512];
    uint64_t log_hash;
    char *log; /* free() it */
};
struct sim_swarm_args {
    uint64_t seed;
    unsigned minutes; /* under faults all the time */
    unsigned hours;   /* not 0: instead, storms and quiet times in turn, which are left out */
    FILE *log;
    bool debug;
};
bool sim_swarm(const struct sim_swarm_args *args, struct sim_swarm_result *ret);
/* The log of the world that sim_swarm runs now, for whoever dies in it. */
const char *sim_swarm_story(void);

#endif
