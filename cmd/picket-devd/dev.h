#ifndef CMD_PICKET_DEVD_DEV_H
#define CMD_PICKET_DEVD_DEV_H

/* The supervisor of a development cluster (docs/dev.md): hosts are process groups, their power is
 * SIGKILL, their network runs through relays of ours.
 *
 * One process, one loop, one thread.  Everything hangs off struct dev.
 */

#include <jansson.h>
#include <uv.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "cmd/picket-devd/addrs_plan.h"
#include "cmd/picket-devd/cuts_plan.h"

#define DEV_HOSTS_MAX 32
#define DEV_LINKS 2
#define DEV_PATH_MAX 512
/* sun_path has 108 bytes; below D come up to 36 ("/hosts/witness/watchdog.sock" and so on). */
#define DEV_DIR_MAX 70

#define DEV_MAGIC 0x4445565fU
#define DEV_HOST_MAGIC 0x484f5354U

struct dev;
struct wdog_dev;
struct net;
struct pdu;
struct learn;
struct ctl;

enum dev_power { DEV_OFF, DEV_ON, DEV_DYING };

struct dev_host {
    unsigned magic;
    struct dev *dev;
    int number; /* 1.., octet of its addresses */
    char name[64];
    bool voter;
    bool agent;
    char hardware_id[37];
    char boot_id[37]; /* of the running or last boot */
    uint64_t boots;
    uint64_t since_wall_ms; /* of the power state */
    enum dev_power power;
    bool wedged;      /* SIGSTOPped */
    bool plugged;     /* `dev power`: the cord */
    bool outlet_on;   /* the PDU's outlet; a host runs when it is plugged in and its outlet on */
    bool outlet_back; /* a reboot by the PDU: on again with the next boot */
    pid_t pgid;       /* while not DEV_OFF */
    int64_t boot_after_ms; /* once off: power on again after that long; -1: stay off */
    uint64_t dying_since_ms;
    char why[128]; /* of the last power change */
    uv_timer_t timer;
    struct wdog_dev *wdog;
};

/* Somebody who waits until a host is off, or on. */
struct dev_wait {
    TAILQ_ENTRY(dev_wait) link;
    struct dev_host *host;
    bool want_on;
    uint64_t deadline_ms;
    /* error NULL: it is.  The wait is off the list and freed after the call. */
    void (*cb)(void *ctx, const char *error);
    void *ctx;
};

struct dev {
    unsigned magic;
    uv_loop_t *loop;
    char dir[DEV_PATH_MAX];
    char bin_dir[DEV_PATH_MAX];
    char cluster_id[37];
    uint16_t port; /* peers; +1 API, +2 PDU, +3 gateway, +4 migration */
    struct dev_host hosts[DEV_HOSTS_MAX];
    size_t n_hosts;
    struct cuts cuts;
    struct addrs addrs;
    TAILQ_HEAD(, dev_wait) waits;
    uv_signal_t sigchld, sigterm, sigint;
    uv_timer_t tick;
    int lock_fd;
    int guard_fd; /* write end of the guard's pipe */
    pid_t guard_pid;
    bool stopping;
    bool stopped;
    char agent_memory[32];
    char agent_cpus[16];
    struct net *net;
    struct pdu *pdu;
    struct learn *learn;
    struct ctl *ctl;
};

/* layout.c: names of files, what lasts (D/dev.json), certificates. */
int dev_path(const struct dev *d, char *dst, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int host_path(const struct dev_host *h, char *dst, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int dev_write_file(const char *path, const void *data, size_t len, struct err *err) ERR_USED;
int dev_mkdirs(const char *path, struct err *err) ERR_USED;
int dev_layout_create(struct dev *d, unsigned n_hosts, unsigned voters, bool witness,
                      struct err *err) ERR_USED;
int dev_layout_load(struct dev *d, struct err *err) ERR_USED; /* ERR_NOT_FOUND: a new cluster */
int dev_layout_save(struct dev *d, struct err *err) ERR_USED;
int dev_write_kubeconfig(struct dev *d, struct err *err) ERR_USED;
int dev_bin_dir(char *dst, size_t size, struct err *err) ERR_USED;
struct dev_host *dev_find_host(struct dev *d, const char *name);
struct dev_host *dev_host_number(struct dev *d, int number);
/* "node1", "operator", "pdu", "gateway"; -1: unknown. */
int dev_end_number(struct dev *d, const char *name);
const char *dev_end_name(struct dev *d, int end);

/* host.c: power. */
void host_init_timers(struct dev_host *h);
int host_boot(struct dev_host *h, const char *why, struct err *err) ERR_USED;
/* Cut the power.  boot_after_ms -1: it stays off. */
void host_kill(struct dev_host *h, const char *why, int64_t boot_after_ms);
/* Boot unless it is on, not plugged in, or its outlet is off. */
void host_on(struct dev_host *h, const char *why);
/* The PDU's three commands. */
void host_outlet(struct dev_host *h, bool on);
void host_outlet_reboot(struct dev_host *h);
bool host_outlet_reads_on(const struct dev_host *h); /* off only when nothing runs any more */
int host_signal(struct dev_host *h, int sig, struct err *err) ERR_USED; /* the whole group */
/* SIGSTOP and SIGCONT of everything that runs on the host. */
int host_wedge(struct dev_host *h, bool wedge, struct err *err) ERR_USED;
/* Its pid, 0: it does not run. */
pid_t host_process(const struct dev_host *h, const char *process);
int host_kill_process(struct dev_host *h, const char *process, int sig, struct err *err) ERR_USED;
void host_child_gone(struct dev_host *h, int status);
void dev_wait_power(struct dev_host *h, bool on, uint64_t timeout_ms,
                    void (*cb)(void *ctx, const char *error), void *ctx);
void dev_waits_check(struct dev *d);
void dev_waits_cancel(struct dev *d, void *ctx);

/* spawn.c: processes of ours. */
struct spawn {
    char *const *argv;
    char *const *env; /* NULL: ours */
    const char *log;  /* stdout and stderr, appended; NULL: inherited */
    int stdin_fd;     /* -1: /dev/null */
    const char *cwd;  /* NULL: ours */
    bool new_group;
    bool service; /* as systemd runs picketd: with priority (base/prio.h), where that is allowed */
};
/* The child gets SIGKILL when this process ends. */
int dev_spawn(const struct spawn *s, pid_t *ret_pid, struct err *err) ERR_USED;
int guard_start(struct dev *d, struct err *err) ERR_USED;
void guard_add(struct dev *d, pid_t pgid);
void guard_del(struct dev *d, pid_t pgid);
int guard_main(void); /* picket-devd --guard */

/* init.c: picket-devd --host-init FILE. */
int init_main(const char *file);
/* The description that init_main reads. */
json_t *init_describe(struct dev_host *h);

/* wdog_dev.c: the hardware watchdog of a host. */
int wdog_dev_open(struct dev_host *h, struct err *err) ERR_USED;
void wdog_dev_reset(struct dev_host *h); /* power was cut: disarmed */
void wdog_dev_close(struct dev_host *h);
json_t *wdog_dev_status(const struct dev_host *h);

/* net.c: relays. */
int net_open(struct dev *d, struct err *err) ERR_USED;
/* Power or cuts changed: freeze what is blocked now, close what was and is not any more. */
void net_changed(struct dev *d);
bool net_blocked(struct dev *d, int from, int to, int link);
void net_close(struct dev *d);
/* Find a free base port for every address that a cluster of this size uses. */
int net_choose_port(struct dev *d, struct err *err) ERR_USED;
json_t *net_status(struct dev *d);
/* udp.c: the way of one host to the PDU, and its gateway. */
struct udp_relay;
int udp_relay_open(struct dev *d, int host, const char *ip, uint16_t port, int to,
                   const char *target_ip, uint16_t target_port, struct udp_relay **ret,
                   struct err *err) ERR_USED;
void udp_relay_close(struct udp_relay *u);

/* addrs.c: the address maps of the hosts. */
int addrs_write_all(struct dev *d, struct err *err) ERR_USED;
int addrs_load(struct dev *d, struct err *err) ERR_USED; /* what was learned before */
int addrs_save(struct dev *d, struct err *err) ERR_USED;

/* learn.c: declared addresses, from the API. */
int learn_open(struct dev *d, struct err *err) ERR_USED;
void learn_close(struct dev *d);

/* pdu.c */
int pdu_open(struct dev *d, struct err *err) ERR_USED;
bool pdu_child_gone(struct dev *d, pid_t pid); /* was it the PDU? */
void pdu_close(struct dev *d);

/* ctl.c: D/devd.sock. */
int ctl_open(struct dev *d, struct err *err) ERR_USED;
void ctl_close(struct dev *d);
/* main.c */
void dev_stop(struct dev *d); /* end everything, then the loop */

#endif
