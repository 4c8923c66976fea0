#ifndef TESTS_SIM_SIM_PRIV_H
#define TESTS_SIM_SIM_PRIV_H

/* Shared by the files of the simulator only. */

#include <uv.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/obj.h"
#include "fence/wdog.h"
#include "raft/rep_env.h"
#include "reconciler/drv.h"
#include "store/safety.h"
#include "tests/sim/sim.h"

struct node;
struct agent;
struct api_client;
struct machine;
struct simdisk;
struct simdev;
struct simcheck;
struct simwriter;

#define MACHINES_MAX (SIM_HOSTS_MAX + 2U) /* the witness, the user's workstation */
#define API_PORT 7443U
#define PEER_PORT 7640U
#define WALL_START 1800000000000ULL

/* --- heaps (sim_heap.c) ------------------------------------------------------------------------
 * malloc and free of the whole program.  Each process has a heap that goes when it dies. */

#define HEAP_WORLD 0U
extern unsigned sim_heap; /* what malloc takes from now */
void sim_heap_init(void); /* before anything uses OpenSSL */
unsigned sim_heap_new(void);
void sim_heap_drop(unsigned heap);
size_t sim_heap_bytes(unsigned heap);

/* --- events (sim_core.c) -----------------------------------------------------------------------
 */

/* Runs in the process' context; NULL: the world's. */
typedef void sim_fn(void *arg, uint64_t n);

struct ev {
    uint64_t at; /* µs */
    uint64_t order;
    struct proc *p; /* NULL: the world */
    uint64_t life;
    sim_fn *fn;
    void *arg;
    uint64_t n;
};

enum proc_kind { PROC_PICKETD, PROC_AGENT, PROC_WATCHDOG, PROC_USER };
#define PROCS 3U

struct proc {
    struct machine *m;
    enum proc_kind kind;
    bool alive, paused;
    bool stay;     /* is not started again */
    bool dying;    /* ends when the event is over */
    uint64_t life; /* changes with each start and end */
    uint64_t started_us;
    unsigned heap;
    char why[300];
    uv_loop_t *loop;
    struct ev *deferred;
    size_t n_deferred, deferred_cap;
    /* picketd */
    struct node *node;
    struct rep *rep;
    /* agent */
    struct agent *agent;
    struct drv shell;
    struct drv_job *shadows[256];
    uint64_t lease_until_ms; /* as the agent last knew it, its host's clock */
    /* user */
    struct api_client *api;
    char role[32], name[64]; /* of its certificate, "": an administrator */
};

struct simfile {
    char *name;
    char *data;
    size_t len, durable_len;
    char *durable;
    bool linked; /* in the folder on the medium */
};

struct dog { /* picket-watchdog and the hardware below it */
    struct wdog_core core;
    uint64_t step_gen;
    struct wdog_saved saved; /* on /run: gone with the boot */
    bool has_saved;
    uint64_t connection; /* of the client, 0: none */
    struct wdog_reply replies[16];
    size_t n_replies;
    /* the device */
    bool running;
    uint32_t timeout_ms;
    uint64_t fed_us;
    uint64_t gen;
};

struct machine {
    struct sim *s;
    unsigned i;
    char name[32];
    bool is_host;  /* with agent and hypervisor */
    bool is_voter; /* with picketd */
    bool powered;  /* current at the plug */
    bool booted;   /* processes may run */
    bool suspended;
    bool no_gateway; /* the users' network is cut */
    bool lied_about; /* a device said "off" of this very boot, and it is on */
    uint64_t boots, boot_gen, booted_us;
    uint64_t picketds; /* started so far */
    char boot_id[40], hardware_id[40];
    /* clock */
    uint64_t clk_world_us; /* since then ... */
    uint64_t clk_us;       /* ... when BOOTTIME was this ... */
    double rate;           /* ... it goes on so fast */
    int64_t wall_off_ms;
    struct prng prng;
    struct proc procs[PROCS];
    struct dog dog;
    struct simdisk *disk;
    struct simfile **files;
    size_t n_files;
    /* hypervisor */
    struct drv *drv;
    uint64_t drv_gen, drv_at_us;
    struct map running;     /* guests that run here now */
    struct map active;      /* volumes "VG/LV" active here */
    struct map unreachable; /* volumes */
    /* health, for needless fencing */
    uint64_t user_fenced; /* incarnation that a user wanted fenced, last */
    uint64_t hurt_us;     /* last moment at which anything was wrong with it or its network */
};

struct sim {
    struct sim_opts opts;
    uint64_t now; /* µs */
    uint64_t order;
    uint64_t same; /* events at this very moment so far */
    struct ev *heap;
    size_t n, cap;
    struct proc *cur;
    struct prng prng;
    struct machine machines[MACHINES_MAX];
    unsigned n_machines; /* without the workstation, which is machines[n_machines] */
    struct machine *admin;
    char cluster[40];
    char *bootstrap;
    /* network */
    bool cut[SIM_LINKS_MAX][MACHINES_MAX][MACHINES_MAX];
    unsigned lat_min, lat_max;
    struct sconn *conns;
    /* devices */
    struct simdev *devs;
    size_t n_devs;
    struct sim_san *san;
    uint8_t *slots;     /* the volume of the storage heartbeat, NULL: nobody has used it yet */
    struct map guests;  /* vm -> struct guest */
    struct map writers; /* "VG/LV" -> struct writer */
    struct simcheck *check;
    struct simwriter *writer;
    struct sim_stats stats;
    /* log */
    char *log;
    size_t log_len, log_cap;
    uint64_t log_hash;
    void (*on_line)(void *ctx, uint64_t ms, const char *line);
    void *on_line_ctx;
    char violation[512];
    size_t violations;
    bool stop; /* sim_run_until is satisfied */
    uint64_t next_life;
    bool hung; /* a job of a hypervisor may hang until its agent gives up */
};

extern struct sim *sim_world; /* there is one */

void sim_post(struct proc *p, uint64_t delay_us, sim_fn *fn, void *arg, uint64_t n);
/* Step into a process (NULL: the world) from within another context, and back. */
struct proc *sim_enter(struct proc *p);
void sim_leave(struct proc *before);
/* Leave for the world's heap while the simulator works inside a call of a process. */
#define SIM_WORLD_BEGIN()                                                                          \
    unsigned sim_saved_heap = sim_heap;                                                            \
    sim_heap = HEAP_WORLD
#define SIM_WORLD_END() sim_heap = sim_saved_heap

uint64_t sim_rand(uint64_t n);
struct machine *sim_machine(const struct sim *s, const char *name);
void sim_core_free(struct sim *s);
void proc_run_deferred(struct proc *p);
void sim_crash_on_check(void);

/* --- clocks (sim_clock.c) --- */
uint64_t machine_us(const struct machine *m); /* its CLOCK_BOOTTIME */
uint64_t machine_ms(const struct machine *m);
/* World delay until the machine's clock shows `ms` from now. */
uint64_t machine_delay_us(const struct machine *m, uint64_t ms);
void machine_clock_set(struct machine *m, double rate); /* go on from now */

/* --- event loop (sim_uv.c) --- */
uv_loop_t *sim_loop_new(void);
void sim_uv_reset(void);

/* --- network (sim_stream.c) --- */
void sim_net_reset(void);
void sim_net_skip(struct sim *s, uint64_t us);
void sim_net_proc_died(struct proc *p);
void sim_net_machine_died(struct machine *m);
bool sim_path(const struct sim *s, unsigned link, unsigned from, unsigned to);
void machine_address(const struct machine *m, unsigned link, unsigned port, char *dst, size_t size);

/* --- raft's world (sim_rep.c) --- */
struct simdisk *simdisk_new(struct machine *m);
void simdisk_free(struct simdisk *d);
/* The picketd of this machine has died; `power`: and what was not synced is lost. */
void sim_rep_died(struct proc *p, bool power);

/* --- files (sim_fs.c) --- */
void simfs_proc_died(const struct proc *p); /* what it had open is closed */
void simfs_power_off(struct machine *m);
void simfs_free(struct machine *m);
void simfs_put(struct machine *m, const char *path, const char *text);

/* --- hypervisor (sim_guest.c) --- */
void guest_machine_new(struct machine *m);
void guest_machine_free(struct machine *m);
void guest_power_off(struct machine *m);
void guest_agent_died(struct proc *p);
void guest_shell_init(struct proc *p);
void sim_job_faults_end(struct machine *m);
void guest_wake(struct machine *m); /* look when the hypervisor has something to do next */
void guest_san_add(struct sim *s, const char *group, const char *name);

/* --- watchdog (sim_wdog.c) --- */
void dog_start(struct proc *p);
void dog_died(struct proc *p);
void dog_power_off(struct machine *m);

/* --- fence devices (sim_fence.c) --- */
void sim_devs_new(struct sim *s);
void sim_devs_free(struct sim *s);
void sim_devs_isolate(struct sim *s, const struct machine *m, bool cut);
const char *sim_dev_name(const struct sim *s, size_t i);
void sim_devs_heal(struct sim *s);

/* --- machines (sim_host.c) --- */
void machine_new(struct sim *s, unsigned i, const char *name, bool host, bool voter);
void machine_free(struct machine *m);
void machine_power(struct machine *m, bool on, const char *why);
void machine_reset(struct machine *m, const char *why);
void proc_start(struct proc *p);
void proc_expected(struct proc *p); /* start it, if it is one that runs there */
void proc_end(struct proc *p, bool power, const char *why);
/* Random numbers of one thing that happens to a machine: always the same ones in the same world,
 * whatever else draws.  So a story changes little when the product sends a packet more. */
struct prng machine_prng(const struct machine *m, uint64_t what, uint64_t times);
/* Something is wrong with it now: a fencing would not be needless. */
void machine_hurt(struct machine *m);

/* --- checkers (sim_check.c) --- */
struct lockview {
    uint64_t owner, owner_token, peer, peer_token;
    uint64_t since_token; /* the owner's first one since somebody else had it, or nobody */
};

struct simcheck {
    uint64_t *hashes; /* of the state, by index; 0: not known */
    size_t n_hashes;
    struct map leaders; /* term -> machine */
    struct map locks;   /* name -> struct lockview: the newest state that anybody applied */
    uint64_t rev;       /* of it */
    uint64_t index;
    uint64_t top_token;
    uint64_t incs[MACHINES_MAX];
    enum inc_state states[MACHINES_MAX];
    char boots[MACHINES_MAX][40];
};

void check_new(struct sim *s);
void check_free(struct sim *s);
struct rep_fsm check_wrap_fsm(struct proc *p, const struct rep_fsm *real);
struct rep_events check_wrap_events(struct proc *p, const struct rep_events *real);
void check_guest_started(struct machine *m, const char *vm, uint64_t incarnation, uint64_t token);
void check_writer(struct machine *m, const char *volume, const char *vm, uint64_t incarnation,
                  uint64_t token);
void check_guest_stopped(struct machine *m, const char *vm);
void check_volume(struct machine *m, const char *volume, bool active);
bool check_lock_shared(struct sim *s, const char *volume, const char *a, const char *b);

/* --- user (sim_user.c, sim_writer.c) --- */
void user_start(struct sim *s);
void writer_final(struct sim *s);

/* --- sim_settle.c --- */
/* Every host is on, registered and Live. */
bool sim_quiet(struct sim *s);

#endif
