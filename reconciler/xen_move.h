#ifndef RECONCILER_XEN_MOVE_H
#define RECONCILER_XEN_MOVE_H

/* Moving the memory of guests between two agents: one thread with a loop of its own copies between
 * libxl's file descriptor and a TLS stream, so that neither libxl nor the agent's loop waits for
 * the network.
 *
 * Both sides show the certificate of an agent of the cluster; the name in it must be that of the
 * host the other one expects.  xen_move_* are called by one other thread (libxl's); `notify` runs
 * on the mover's thread whenever the state of a move changed and must not block.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct xen_mover;
struct xen_move;

struct xen_mover_opts {
    const char *tls_cert, *tls_key, *tls_ca; /* NULL: plain (tests) */
    void (*notify)(void *ctx);
    void *ctx;
    uint64_t patience_ms; /* for the other end to appear; 0: 60 s */
};

/* ERR_INVALID, ERR_SYS: the certificate cannot be loaded. */
int xen_mover_new(const struct xen_mover_opts *opts, struct xen_mover **ret,
                  struct err *err) ERR_USED;
/* Breaks what is under way; every move was ended before. */
void xen_mover_free(struct xen_mover *m);

enum xen_move_state {
    XEN_MOVE_WAIT = 0, /* for the other end */
    XEN_MOVE_READY,    /* libxl may use its end */
    XEN_MOVE_DONE,     /* whole on the other side, or here and the other side knows */
    XEN_MOVE_FAILED,
};

struct xen_move_req {
    bool send;
    const char *vm, *uid, *migration;
    const char *peer;    /* name of the other host */
    const char *address; /* to connect to, or to listen on: "IP:PORT" */
    uint64_t bandwidth;  /* bytes a second when sending, 0: no limit */
};

/* libxl's end is a connected socket; it stays the move's until xen_move_eof or xen_move_end. */
struct xen_move *xen_move_begin(struct xen_mover *m, const struct xen_move_req *req, int *ret_fd);
enum xen_move_state xen_move_look(struct xen_move *v, struct err *err);
/* Sending: libxl has written everything; now the other side has to say that it is whole. */
void xen_move_eof(struct xen_move *v);
/* Receiving: libxl is done; the other side is told. */
void xen_move_finish(struct xen_move *v, bool ok, const char *message);
/* Over; breaks it when it is under way. Closes libxl's end. */
void xen_move_end(struct xen_move *v);

#endif
