#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/console_priv.h"

#define READ_MAX 4096U
#define LOOK_MS 250U
#define GRACE_MS 3000U /* for the reason why a terminal was closed to become known */
#define PTS "/dev/pts/"

/* One person at one terminal.  It ends when the person goes, when the guest does (seen by the
 * terminal's closing, or by another domain's being there), or when somebody takes it over. */

bool console_tty_ok(const char *path)
{
    size_t n;

    if (!str_starts(path, PTS)) {
        return false;
    }
    n = strspn(path + strlen(PTS), "0123456789");
    return n > 0 && n < 10 && path[strlen(PTS) + n] == '\0';
}

/* --- the end --- */

static void on_closed(uv_handle_t *h)
{
    struct console_session *n;
    struct console_srv *s;

    OBJ_FROM(n, h->data, CONSOLE_SESSION_MAGIC);
    s = n->srv;
    if (--n->handles == 0) {
        (void)close(n->fd);
        buf_done(&n->typed);
        n->magic = 0;
        free(n);
    }
    console_srv_handle_closed(s);
}

/* err NULL: the person has gone. */
static void session_close(struct console_session *n, const struct err *err)
{
    if (n->over) {
        return;
    }
    n->over = true;
    lg_info("console", "vm=%s by=\"%s\" via=%s why=\"%s\" msg=\"console closed\"", n->who.vm,
            n->who.by, n->who.via, err == NULL ? "detached" : err->msg);
    if (err == NULL) {
        console_conn_close(n->conn);
    } else {
        console_conn_refuse(n->conn, err);
    }
    LIST_REMOVE(n, link);
    n->srv->n_sessions--;
    uv_close((uv_handle_t *)&n->poll, on_closed);
    uv_close((uv_handle_t *)&n->timer, on_closed);
}

void console_session_end(struct console_session *n, const struct err *err)
{
    OBJ_CHECK(n, CONSOLE_SESSION_MAGIC);
    session_close(n, err);
}

/* --- the terminal --- */

static void on_poll(uv_poll_t *p, int status, int events);

static void poll_for(struct console_session *n)
{
    int events = (n->slow || n->ended != 0 ? 0 : UV_READABLE) |
                 (n->typed.len > 0 && n->ended == 0 ? UV_WRITABLE : 0);

    if (events == n->events || n->over) {
        return;
    }
    n->events = events;
    if (events == 0) {
        (void)uv_poll_stop(&n->poll);
    } else {
        CHECK(uv_poll_start(&n->poll, events, on_poll) == 0);
    }
}

/* The other side has closed it: the guest has ended, or xenconsoled has; on_look finds out. */
static void hung_up(struct console_session *n)
{
    n->ended = clock_now_ms();
    buf_clear(&n->typed);
}

static void tty_write(struct console_session *n)
{
    while (n->typed.len > 0 && n->ended == 0) {
        ssize_t k = write(n->fd, n->typed.data, n->typed.len);

        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k < 0 && errno != EAGAIN) {
            hung_up(n);
            break;
        }
        if (k <= 0) {
            break;
        }
        buf_consume(&n->typed, (size_t)k);
    }
    if (n->full && n->typed.len < CONSOLE_TYPED_LOW) {
        n->full = false;
        console_conn_pause(n->conn, false);
    }
}

static void tty_read(struct console_session *n)
{
    char text[READ_MAX];
    ssize_t k = read(n->fd, text, sizeof(text));

    if (k < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (k <= 0) {
        hung_up(n);
    } else if (!console_conn_send(n->conn, CONSOLE_DATA, text, (size_t)k)) {
        n->slow = true;
    }
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct console_session *n;

    OBJ_FROM(n, p->data, CONSOLE_SESSION_MAGIC);
    if (status != 0) {
        hung_up(n);
    }
    if ((events & UV_WRITABLE) != 0) {
        tty_write(n);
    }
    if ((events & UV_READABLE) != 0 && n->ended == 0) {
        tty_read(n);
    }
    poll_for(n);
}

/* --- the person --- */

static void on_frame(void *data, enum console_frame type, const uint8_t *p, size_t len)
{
    struct console_session *n;
    struct err err;

    OBJ_FROM(n, data, CONSOLE_SESSION_MAGIC);
    if (type != CONSOLE_DATA) {
        (void)err_set(&err, ERR_BAD_REQUEST, "only what was typed is expected here");
        session_close(n, &err);
        return;
    }
    if (n->ended != 0) {
        return;
    }
    buf_add(&n->typed, p, len);
    tty_write(n);
    if (n->typed.len > CONSOLE_TYPED_HIGH && !n->full) {
        n->full = true;
        console_conn_pause(n->conn, true);
    }
    poll_for(n);
}

static void on_end(void *data, const struct err *err)
{
    struct console_session *n;

    OBJ_FROM(n, data, CONSOLE_SESSION_MAGIC);
    (void)err;
    session_close(n, NULL);
}

static void on_room(void *data)
{
    struct console_session *n;

    OBJ_FROM(n, data, CONSOLE_SESSION_MAGIC);
    n->slow = false;
    poll_for(n);
}

static const struct console_conn_cbs session_cbs = {
    .on_frame = on_frame,
    .on_end = on_end,
    .on_room = on_room,
};

/* --- the guest --- */

/* Is the guest the one whose terminal this is?  Else why not. */
static int still(const struct console_session *n, struct err *err)
{
    struct console_where now = { 0 };
    int rc = n->srv->opts.where(n->srv->opts.ctx, n->who.vm, &now, err);

    if (rc == 0 && (now.id != n->at.id || !str_eq(now.uid, n->at.uid))) {
        rc =
            err_set(err, ERR_CANCELED,
                    "%s was started again: this was the console of the guest before it", n->who.vm);
    }
    return rc;
}

static void on_look(uv_timer_t *t)
{
    struct console_session *n;
    uint64_t now = clock_now_ms();
    struct err err;
    int rc;

    OBJ_FROM(n, t->data, CONSOLE_SESSION_MAGIC);
    rc = still(n, &err);
    if (rc != 0 && rc != ERR_TIMEOUT) {
        err.code = ERR_CANCELED; /* it was there: this is its end, no mistake in the question */
        session_close(n, &err);
    } else if (n->ended != 0 && now - n->ended > GRACE_MS) {
        (void)err_set(&err, ERR_CANCELED,
                      "%s was closed by the side of the guest; what became of %s is not known yet",
                      n->at.tty, n->who.vm);
        session_close(n, &err);
    }
}

/* --- the beginning --- */

static struct console_session *held(struct console_srv *s, const char *vm)
{
    struct console_session *n;

    LIST_FOREACH(n, &s->sessions, link)
    {
        if (str_eq(n->who.vm, vm)) {
            return n;
        }
    }
    return NULL;
}

/* The only one who has it, from now on. */
static int make_room(struct console_srv *s, const struct console_open *who, struct err *err)
{
    struct console_session *n = held(s, who->vm);
    struct err taken;

    if (n != NULL && !who->take) {
        return err_set(err, ERR_CONFLICT,
                       "%s has the console of %s since %s, through %s; `picket console --take %s` "
                       "takes it over",
                       n->who.by, who->vm, n->since, n->who.via, who->vm);
    }
    if (n != NULL) {
        (void)err_set(&taken, ERR_CANCELED, "%s has taken the console of %s over", who->by,
                      who->vm);
        session_close(n, &taken);
    } else if (s->n_sessions >= CONSOLE_SESSIONS_MAX) {
        return err_set(err, ERR_LIMIT, "%u consoles are open on %s already", CONSOLE_SESSIONS_MAX,
                       s->host);
    }
    return 0;
}

static int raw(int fd, const char *tty, struct err *err)
{
    struct termios t;

    if (tcgetattr(fd, &t) != 0) {
        return err_native(err, ERR_DRIVER, "errno", errno, "%s is no terminal", tty);
    }
    cfmakeraw(&t);
    if (tcsetattr(fd, TCSANOW, &t) != 0) {
        return err_native(err, ERR_DRIVER, "errno", errno, "set up %s", tty);
    }
    return 0;
}

static int open_tty(const char *tty, int *ret_fd, struct err *err)
{
    int fd;

    if (!console_tty_ok(tty)) {
        return err_set(err, ERR_REFUSED, "\"%.60s\" is not the name of a terminal (/dev/pts/N)",
                       tty);
    }
    fd = open(tty, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_native(err, ERR_DRIVER, "errno", errno, "open %s", tty);
    }
    if (raw(fd, tty, err) != 0) {
        (void)close(fd);
        return err->code;
    }
    *ret_fd = fd;
    return 0;
}

/* The terminal, if whoever asks may have it. */
static int admit(struct console_srv *s, const struct console_open *who, struct console_where *ret,
                 int *ret_fd, struct err *err)
{
    int rc = s->opts.where(s->opts.ctx, who->vm, ret, err);

    if (rc == 0 && who->uid[0] != '\0' && !str_eq(who->uid, ret->uid)) {
        rc = err_set(err, ERR_CONFLICT, "what runs on %s as %s is another machine (uid %s)",
                     s->host, who->vm, ret->uid);
    }
    rc = rc != 0 ? rc : make_room(s, who, err);
    return rc != 0 ? rc : open_tty(ret->tty, ret_fd, err);
}

static void session_open(struct console_session *n)
{
    struct console_srv *s = n->srv;
    struct buf where = { 0 };

    n->poll.data = n;
    n->timer.data = n;
    n->handles = 2;
    s->open += 2;
    str_format_time(clock_wall_ms(), n->since, sizeof(n->since));
    LIST_INSERT_HEAD(&s->sessions, n, link);
    s->n_sessions++;
    CHECK(uv_timer_init(s->loop, &n->timer) == 0);
    CHECK(uv_timer_start(&n->timer, on_look, LOOK_MS, LOOK_MS) == 0);
    console_conn_own(n->conn, &session_cbs, n);
    lg_info("console", "vm=%s tty=%s by=\"%s\" via=%s msg=\"console opened\"", n->who.vm, n->at.tty,
            n->who.by, n->who.via);
    buf_printf(&where, "%s on %s", n->at.tty, s->host);
    (void)console_conn_send(n->conn, CONSOLE_OPENED, where.data, where.len);
    buf_done(&where);
    poll_for(n);
}

void console_session_begin(struct console_srv *s, struct console_conn *conn,
                           const struct console_open *who)
{
    struct console_where at = { 0 };
    struct console_session *n;
    struct err err;
    int fd = -1, rc;

    if (admit(s, who, &at, &fd, &err) != 0) {
        console_conn_refuse(conn, &err);
        return;
    }
    n = OBJ_NEW(struct console_session);
    n->magic = CONSOLE_SESSION_MAGIC;
    n->srv = s;
    n->conn = conn;
    n->who = *who;
    n->at = at;
    n->fd = fd;
    rc = uv_poll_init(s->loop, &n->poll, fd);
    if (rc != 0) {
        (void)close(fd);
        free(n);
        (void)err_set(&err, ERR_SYS, "watch %s: %s", at.tty, uv_strerror(rc));
        console_conn_refuse(conn, &err);
        return;
    }
    session_open(n);
}
