#ifndef RECONCILER_AGENT_H
#define RECONCILER_AGENT_H

/* The agent of one host: registers it, keeps its lease, and makes what runs here equal to what
 * should.
 *
 * Order of a start, each step repeated until it succeeds: look at what runs; read the registration;
 * register; first acknowledged renewal; read the locks; report the inventory; then watch and
 * reconcile.  Nothing is started, stopped or released before the look, and nothing new begins
 * before the wish is known.  Stopping an agent touches no guest (P8).
 * Everything on the loop's thread, but for the renewer (renew.h).
 */

#include <uv.h>

#include "reconciler/console.h"
#include "reconciler/drv.h"

struct agent;

struct agent_opts {
    const char *name; /* of the host */
    const char *data; /* folder for what must survive; exists */
    const char *const *endpoints;
    size_t n_endpoints;
    const char *tls_cert, *tls_key, *tls_ca; /* NULL: plain (tests) */
    const char *watchdog;                    /* socket of picket-watchdog, NULL: none */
    const char *boot_id;
    const char *hardware_id;
    const char *heartbeat_dir;    /* where the storage heartbeat is a file (dev), NULL: in /dev */
    uint32_t watchdog_timeout_ms; /* W wanted; 0: from the cluster's timing */
    bool dev;                     /* timing defaults of `picket dev` */
    bool realtime;                /* renewals by a real-time thread, where that is allowed */
    /* The host must be reset: this boot can never be part of the cluster again (safety.md 1). */
    void (*on_reset)(void *ctx, const char *why);
    /* Once a second: the newest renewal that was acknowledged left at sent_ms.  May be NULL. */
    void (*on_quorum)(void *ctx, uint64_t sent_ms);
    /* The Host object, whenever it changes; every object of the host was handed to the driver.  May
     * be NULL. */
    void (*on_host)(void *ctx, const json_t *host);
    void (*on_synced)(void *ctx);
    /* Adds to the Host's status what only the parts of the host know; what is wrong with its
     * storage as a whole ("": nothing), valid until the next call.  May be NULL. */
    const char *(*on_status)(void *ctx, json_t *status);
    void *ctx;
};

/* The driver is the agent's from now on (agent_stop closes it).  ERR_INVALID, ERR_SYS: data folder;
 * on failure the driver stays the caller's. */
int agent_start(uv_loop_t *loop, const struct agent_opts *opts, struct drv *drv, struct agent **ret,
                struct err *err) ERR_USED;
/* Let go of everything and free; guests, locks and the watchdog's deadline stay. */
void agent_stop(struct agent *a, void (*on_stopped)(void *ctx), void *ctx);

/* The console of a guest of this host, as console_opts.where wants it. */
int agent_console(struct agent *a, const char *vm, struct console_where *ret,
                  struct err *err) ERR_USED;

/* For tests and the status: the step it is in ("Running" when it reconciles). */
const char *agent_phase(const struct agent *a);

#endif
