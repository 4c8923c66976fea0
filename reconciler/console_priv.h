#ifndef RECONCILER_CONSOLE_PRIV_H
#define RECONCILER_CONSOLE_PRIV_H

/* Shared by console_srv.c and console_tty.c only. */

#include <sys/queue.h>

#include "api/console_conn.h"
#include "api/upgrade.h"
#include "base/clock.h"
#include "reconciler/console.h"

#define CONSOLE_SRV_MAGIC 0x63736572U
#define CONSOLE_LINK_MAGIC 0x636c6e6bU
#define CONSOLE_SESSION_MAGIC 0x63736573U

#define CONSOLE_SESSIONS_MAX 64U
#define CONSOLE_ENDPOINTS_MAX 64U
#define CONSOLE_TYPED_HIGH (16U << 10) /* typed and not yet taken by the guest */
#define CONSOLE_TYPED_LOW (4U << 10)

/* The idle connection to one picketd. */
struct console_link {
    unsigned magic;
    struct console_srv *srv;
    char *endpoint;
    struct upgrade *dial;
    struct console_conn *conn;
    uv_timer_t timer; /* dials again */
    unsigned failures;
};

/* A terminal in somebody's hands. */
struct console_session {
    unsigned magic;
    struct console_srv *srv;
    LIST_ENTRY(console_session) link;
    struct console_conn *conn;
    struct console_open who;
    struct console_where at;
    char since[32];
    int fd;
    uv_poll_t poll;
    int events; /* polled for */
    uv_timer_t timer;
    unsigned handles;
    struct buf typed;
    bool slow;      /* the person's side takes nothing now: the terminal is not read */
    bool full;      /* the guest's side: the connection is not read */
    uint64_t ended; /* since when the terminal has been closed from the other side, 0: it is not */
    bool over;
};

struct console_srv {
    unsigned magic;
    uv_loop_t *loop;
    struct console_opts opts;
    char *host;
    struct console_link links[CONSOLE_ENDPOINTS_MAX];
    size_t n_links;
    LIST_HEAD(, console_session) sessions;
    size_t n_sessions;
    unsigned open; /* handles of links and sessions */
    struct prng prng;
    bool closing;
};

/* console_tty.c: takes the connection, also when it fails. */
void console_session_begin(struct console_srv *s, struct console_conn *conn,
                           const struct console_open *who);
void console_session_end(struct console_session *n, const struct err *err);

/* console_srv.c */
void console_srv_handle_closed(struct console_srv *s);

#endif
